//! What a worker lends, and a connection without a worker, for tests of turns.

use std::io::Write;
use std::os::unix::net::UnixStream;
use std::time::Instant;

use crate::base::sync::Arc;
use crate::command::Service;
use crate::command::service::ProtocolChoice;
use crate::stats::connections::{ConnectionEntry, ConnectionState};
use crate::store;

use super::address::Peer;
use super::connection::Connection;
use super::inbox::NewConnection;
use super::stream::Stream;
use super::tools::Tools;

/// The tools of a worker with memcached's defaults.
pub fn tools() -> Tools {
    tools_of(Service::in_process(store::Config::default()))
}

/// The tools of a worker of `service`.
pub fn tools_of(service: Service) -> Tools {
    Tools::new(0, Arc::new(service), Instant::now(), None, Arc::new(|_| {}))
}

/// A socket pair: one end for a worker, and the other one for a client that does not wait.
pub fn pair(service: &Service) -> (NewConnection, UnixStream) {
    let (ours, theirs) = UnixStream::pair().expect("a pair");
    ours.set_nonblocking(true).expect("a socket");
    theirs.set_nonblocking(true).expect("a socket");
    let stream = Stream::Unix(mio::net::UnixStream::from_std(ours));
    let entry = ConnectionEntry::new(stream.descriptor(), "".into(), "".into(), ConnectionState::NewCommand, 0);
    let entry = service.connections.open(entry);
    (NewConnection { stream, peer: Peer::Local, protocol: ProtocolChoice::Negotiate, entry }, theirs)
}

/// A connection that has been sent `request`, and the client.
pub fn connection(request: &[u8], tools: &Tools) -> (Connection, UnixStream) {
    let (new, mut client) = pair(&tools.service);
    client.write_all(request).expect("room");
    let mut connection = Connection::new(new, tools.now);
    connection.note_readable(false);
    (connection, client)
}
