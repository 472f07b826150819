//! One encrypted connection: records of the socket to bytes of the client, and back.
//!
//! ```text
//!   socket -> workspace.input -> rustls decrypts in place -> the caller's slices
//!             ^ received: the start of a record                 plain: what did not fit there
//!   caller's slices -> one record or more in workspace.output -> socket
//!                                                  unsent: what did not fit the socket
//! ```
//! The worker lends the memory ([`Workspace`]); between turns a connection keeps only what could not go on, so an idle
//! one has no buffer at all. The handshake is part of reading: its answers are sent from there.
//!
//! A write that the socket takes in part is not reported until all of it is out (`owed`). The caller offers the same
//! bytes again, which is what it does with whatever was not taken; what was encrypted cannot be taken back.
//!
//! Where the system gives no memory for what a connection keeps, TLS has failed on it. What rustls asks for itself, a record
//! at most, is not in our hands.

use std::fmt;
use std::io::{self, ErrorKind, IoSlice, IoSliceMut, Read, Write};
use std::os::fd::AsRawFd;

use mio::net::TcpStream;
use rustls::server::UnbufferedServerConnection;
use rustls::unbuffered::{ConnectionState, UnbufferedStatus};
use rustls::{Error, HandshakeKind};

use super::workspace::{KEPT_BYTES_MAX, RECEIVE_BYTES_MAX, RECORD_BYTES_MAX, Workspace, error_text};

/// A TCP connection with TLS on it.
pub struct TlsStream {
    socket: TcpStream,
    session: UnbufferedServerConnection,
    /// Received and not digested yet: part of a record, or of a handshake message. `received.len() <= KEPT_BYTES_MAX`
    received: Vec<u8>,
    /// Decrypted, and more than the caller had room for; read up to `plain_read`.
    plain: Vec<u8>,
    /// `plain_read < plain.len()`, or both are 0
    plain_read: usize,
    /// Encrypted, and more than the socket took.
    unsent: Vec<u8>,
    /// Bytes of the caller in `unsent`, to be reported as written once that is out.
    owed: usize,
    /// The client has sent something.
    has_spoken: bool,
    /// The handshake is not complete.
    is_handshaking: bool,
    /// The last receipt showed that nothing waits in the socket.
    is_socket_drained: bool,
    /// The client said that it sends no more.
    is_ended: bool,
    /// TLS has failed; nothing more is read.
    is_failed: bool,
}

impl TlsStream {
    /// The server's side of TLS on a connected socket.
    pub fn new(socket: TcpStream, session: UnbufferedServerConnection) -> Self {
        Self {
            socket,
            session,
            received: Vec::new(),
            plain: Vec::new(),
            plain_read: 0,
            unsent: Vec::new(),
            owed: 0,
            has_spoken: false,
            is_handshaking: true,
            is_socket_drained: false,
            is_ended: false,
            is_failed: false,
        }
    }

    /// The socket.
    pub fn socket(&mut self) -> &mut TcpStream {
        &mut self.socket
    }

    /// The descriptor's number.
    pub fn descriptor(&self) -> i32 {
        self.socket.as_raw_fd()
    }

    /// Whether the handshake goes on.
    pub fn is_handshaking(&self) -> bool {
        self.is_handshaking
    }

    /// Whether the client's bytes wait for nothing but the socket, so that reading can stop until it is readable.
    pub fn is_drained(&self) -> bool {
        self.is_socket_drained && self.plain.is_empty() && !self.is_ended && !self.is_failed
    }

    /// Whether something waits for the socket that no caller knows of: answers of the handshake.
    pub fn has_own_output(&self) -> bool {
        self.owed == 0 && !self.unsent.is_empty()
    }

    /// Reads decrypted bytes into `slices`, in order. Errors are those of the socket; `InvalidData` when TLS failed, which
    /// has been counted; `Interrupted` when there was much to do and nothing to show for it yet.
    pub fn read(&mut self, slices: &mut [IoSliceMut<'_>], workspace: &mut Workspace) -> io::Result<usize> {
        let mut sink = Sink { slices, slice: 0, offset: 0, count: 0 };
        if !self.plain.is_empty() {
            self.plain_read += sink.take(&self.plain[self.plain_read..]);
            if self.plain_read == self.plain.len() {
                self.plain = Vec::new();
                self.plain_read = 0;
            }
            // What the last receipt showed is old: an event may have come since, and would be forgotten.
            self.is_socket_drained = false;
            return Ok(sink.count);
        }
        for _ in 0..RECEIVES_MAX {
            if self.is_failed {
                return Err(ErrorKind::InvalidData.into());
            }
            if self.is_ended {
                return Ok(0);
            }
            self.send_unsent()?;
            if !self.receive(sink.space(), workspace)? {
                return self.end_of_socket(workspace);
            }
            self.digest_received(&mut sink, workspace);
            // What the handshake has to say goes out before the next read, and an alert before the connection is closed.
            self.send_unsent()?;
            if sink.count > 0 {
                return Ok(sink.count);
            }
        }
        Err(ErrorKind::Interrupted.into())
    }

    /// Receives once, behind a copy of `received` in the workspace. False at the end of the stream.
    fn receive(&mut self, space: usize, workspace: &mut Workspace) -> io::Result<bool> {
        let kept = self.received.len();
        // A whole record has to fit, or nothing of it could be read; what the caller has no room for would be copied twice.
        let limit = space.saturating_sub(kept).clamp(RECORD_BYTES_MAX, RECEIVE_BYTES_MAX);
        let count = self.socket.read(&mut workspace.input[kept..kept + limit])?;
        self.is_socket_drained = count < limit;
        workspace.input[..kept].copy_from_slice(&self.received);
        self.received.clear();
        workspace.received = kept + count;
        self.has_spoken |= count > 0;
        Ok(count > 0)
    }

    fn end_of_socket(&mut self, workspace: &mut Workspace) -> io::Result<usize> {
        self.is_ended = true;
        // A probe that connects and leaves is no failure.
        if self.is_handshaking && self.has_spoken {
            self.fail("the client left", workspace);
        }
        Ok(0)
    }

    /// Lets rustls work on the workspace's input and keeps what it leaves.
    fn digest_received(&mut self, sink: &mut Sink<'_, '_>, workspace: &mut Workspace) {
        let Workspace { input, output, received, .. } = workspace;
        let input = &mut input[..*received];
        let mut start = 0;
        let mut failure = None;
        loop {
            let UnbufferedStatus { mut discard, state, .. } = self.session.process_tls_records(&mut input[start..]);
            match state {
                Ok(ConnectionState::ReadTraffic(mut traffic)) => {
                    while let Some(Ok(record)) = traffic.next_record() {
                        discard += record.discard;
                        let taken = sink.take(record.payload);
                        // Nothing may be kept behind what is missing.
                        if failure.is_none() && !keep(&mut self.plain, &record.payload[taken..]) {
                            failure = Some(NO_MEMORY.to_owned());
                        }
                    }
                }
                Ok(ConnectionState::EncodeTlsData(mut data)) => match data.encode(output) {
                    Ok(count) if keep(&mut self.unsent, &output[..count]) => {}
                    Ok(_) => failure = failure.or(Some(NO_MEMORY.to_owned())),
                    // A message of rustls is at most a record, for which there is room.
                    Err(error) => failure = failure.or(Some(error.to_string())),
                },
                Ok(ConnectionState::TransmitTlsData(data)) => data.done(),
                Ok(ConnectionState::PeerClosed) => self.is_ended = true,
                Ok(ConnectionState::WriteTraffic(_) | ConnectionState::BlockedHandshake) => {
                    start += discard;
                    break;
                }
                // `Closed`, or early data, which is not offered.
                Ok(_) => {
                    self.is_ended = true;
                    start += discard;
                    break;
                }
                Err(error) => {
                    failure = failure.or(Some(error_text(&error)));
                    break;
                }
            }
            start += discard;
        }
        if !keep(&mut self.received, &input[start..]) {
            failure = failure.or(Some(NO_MEMORY.to_owned()));
        }
        // Before a failure is counted: the handshake may have ended in the same packet.
        if self.is_handshaking && !self.session.is_handshaking() {
            self.is_handshaking = false;
            if self.session.handshake_kind() != Some(HandshakeKind::Resumed) {
                workspace.note_new_session();
            }
        }
        if failure.is_none() && self.received.len() > KEPT_BYTES_MAX {
            failure = Some("a handshake message is too large".to_owned());
        }
        if let Some(reason) = failure {
            self.take_alert(workspace);
            return self.fail(&reason, workspace);
        }
        if self.received.is_empty() && self.received.capacity() > 0 {
            self.received = Vec::new();
        }
    }

    /// Takes what rustls has to say of a failure. It must not see the input that failed again, nor any other.
    fn take_alert(&mut self, workspace: &mut Workspace) {
        let output = &mut workspace.output;
        while self.session.wants_write() {
            match self.session.process_tls_records(&mut []).state {
                Ok(ConnectionState::EncodeTlsData(mut data)) => match data.encode(output) {
                    Ok(count) if keep(&mut self.unsent, &output[..count]) => {}
                    _ => return,
                },
                _ => return,
            }
        }
    }

    /// Ends the handshake's hour: the client took too long.
    pub fn time_out(&mut self, workspace: &mut Workspace) {
        self.fail("the client was too slow", workspace);
    }

    fn fail(&mut self, reason: &str, workspace: &mut Workspace) {
        self.is_failed = true;
        let socket = &self.socket;
        let peer = || socket.peer_addr().map_or_else(|_| "a client".to_owned(), |address| address.to_string());
        workspace.note_failure(self.is_handshaking, self.socket.as_raw_fd(), reason, peer);
    }

    /// Encrypts and sends what it can of `slices`. `WouldBlock` when the socket is full, even if it took a part; the same
    /// bytes have to be offered again.
    pub fn write(&mut self, slices: &[IoSlice<'_>], workspace: &mut Workspace) -> io::Result<usize> {
        if self.is_failed {
            return Err(ErrorKind::InvalidData.into());
        }
        self.send_unsent()?;
        if !self.unsent.is_empty() {
            return Err(ErrorKind::WouldBlock.into());
        }
        if self.owed > 0 {
            return Ok(std::mem::take(&mut self.owed));
        }
        let Workspace { output, plain, .. } = workspace;
        let plain = match slices {
            [single] => &single[..single.len().min(plain.len())],
            many => gather(many, plain),
        };
        let length = plain.len();
        let encrypted = self.encrypt(plain, output)?;
        let sent = loop {
            // What is encrypted has to be sent or kept, whatever interrupts.
            match self.socket.write(&output[..encrypted]) {
                Ok(sent) => break sent,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => break 0,
                Err(error) => return Err(error),
            }
        };
        if sent == encrypted {
            return Ok(length);
        }
        if !keep(&mut self.unsent, &output[sent..encrypted]) {
            self.fail(NO_MEMORY, workspace);
            return Err(ErrorKind::OutOfMemory.into());
        }
        self.owed = length;
        Err(ErrorKind::WouldBlock.into())
    }

    /// Encrypts `plain` into `output`, which is large enough, behind messages of rustls' own that are due.
    fn encrypt(&mut self, plain: &[u8], output: &mut [u8]) -> io::Result<usize> {
        let mut end = 0;
        loop {
            // rustls wants to see what it left the last time, a handshake message in parts perhaps.
            let UnbufferedStatus { discard, state, .. } = self.session.process_tls_records(&mut self.received);
            match state {
                Ok(ConnectionState::WriteTraffic(mut traffic)) => {
                    let count = traffic.encrypt(plain, &mut output[end..]).map_err(io::Error::other)?;
                    return Ok(end + count);
                }
                Ok(ConnectionState::EncodeTlsData(mut data)) => {
                    end += data.encode(&mut output[end..]).map_err(io::Error::other)?;
                }
                Ok(ConnectionState::TransmitTlsData(data)) => data.done(),
                Ok(ConnectionState::PeerClosed) => self.is_ended = true,
                Ok(_) => return Err(ErrorKind::NotConnected.into()),
                Err(error) => return Err(broken(error)),
            }
            self.received.drain(..discard);
        }
    }

    /// Sends what waits, as far as the socket takes it; an error only when it is broken.
    fn send_unsent(&mut self) -> io::Result<()> {
        if self.unsent.is_empty() {
            return Ok(());
        }
        match self.socket.write(&self.unsent) {
            Ok(sent) if sent == self.unsent.len() => self.unsent = Vec::new(),
            Ok(sent) => drop(self.unsent.drain(..sent)),
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {}
            Err(error) => return Err(error),
        }
        Ok(())
    }

    /// Tells the client that the server sends no more, if the socket takes it at once. The connection is dropped next.
    pub fn say_goodbye(&mut self, workspace: &mut Workspace) {
        if self.is_handshaking || self.is_failed || !self.unsent.is_empty() {
            return;
        }
        let state = self.session.process_tls_records(&mut self.received).state;
        if let Ok(ConnectionState::WriteTraffic(mut traffic)) = state
            && let Ok(count) = traffic.queue_close_notify(&mut workspace.output)
        {
            // A client that is gone does not mind.
            let _ = self.socket.write(&workspace.output[..count]);
        }
    }
}

impl fmt::Debug for TlsStream {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("TlsStream")
            .field("socket", &self.socket)
            .field("is_handshaking", &self.is_handshaking)
            .field("is_ended", &self.is_ended)
            .field("is_failed", &self.is_failed)
            .finish_non_exhaustive()
    }
}

/// Appends bytes to what a connection keeps; false, and nothing is appended, without memory.
fn keep(kept: &mut Vec<u8>, bytes: &[u8]) -> bool {
    let has_room = kept.try_reserve(bytes.len()).is_ok();
    if has_room {
        kept.extend_from_slice(bytes);
    }
    has_room
}

fn broken(error: Error) -> io::Error {
    io::Error::new(ErrorKind::InvalidData, error)
}

/// Copies what fits of `slices` to `space`, in order.
fn gather<'s>(slices: &[IoSlice<'_>], space: &'s mut [u8]) -> &'s [u8] {
    let mut end = 0;
    for slice in slices {
        let count = slice.len().min(space.len() - end);
        space[end..end + count].copy_from_slice(&slice[..count]);
        end += count;
    }
    &space[..end]
}

/// The caller's slices while they are being filled.
struct Sink<'a, 'b> {
    slices: &'a mut [IoSliceMut<'b>],
    /// The slice that is being filled, and how far.
    slice: usize,
    offset: usize,
    /// Bytes taken.
    count: usize,
}

impl Sink<'_, '_> {
    /// Room left.
    fn space(&self) -> usize {
        let all: usize = self.slices.iter().map(|slice| slice.len()).sum();
        all - self.count
    }

    /// Takes what fits of `bytes`, and says how much that is.
    fn take(&mut self, bytes: &[u8]) -> usize {
        let mut taken = 0;
        while taken < bytes.len() && self.slice < self.slices.len() {
            let free = &mut self.slices[self.slice][self.offset..];
            let count = free.len().min(bytes.len() - taken);
            free[..count].copy_from_slice(&bytes[taken..taken + count]);
            taken += count;
            if count == free.len() {
                (self.slice, self.offset) = (self.slice + 1, 0);
            } else {
                self.offset += count;
            }
        }
        self.count += taken;
        taken
    }
}

/// Why TLS fails on a connection that keeps what there is no memory for.
const NO_MEMORY: &str = "no memory for what has to wait";
/// Receipts of one read that bring nothing for the caller, at most: handshakes, or a client that sends empty records.
const RECEIVES_MAX: usize = 4;

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(sizes: &[usize], parts: &[&str], expected: &[&str], left: usize) {
        let mut spaces: Vec<Vec<u8>> = sizes.iter().map(|size| vec![b'.'; *size]).collect();
        let mut slices: Vec<_> = spaces.iter_mut().map(|space| IoSliceMut::new(space)).collect();
        let mut sink = Sink { slices: &mut slices, slice: 0, offset: 0, count: 0 };
        let offered: usize = parts.iter().map(|part| part.len()).sum();
        let taken: usize = parts.iter().map(|part| sink.take(part.as_bytes())).sum();
        assert_eq!((sink.count, offered - taken), (taken, left));
        assert_eq!(sink.space(), sizes.iter().sum::<usize>() - taken);
        let filled: Vec<_> = spaces.iter().map(|space| String::from_utf8_lossy(space).into_owned()).collect();
        assert_eq!(filled, expected);
    }

    #[test]
    fn slices_are_filled_in_order() {
        check(&[4], &["ab", "c"], &["abc."], 0);
        check(&[2, 3], &["abcd", "ef"], &["ab", "cde"], 1);
        check(&[0, 2, 0, 1], &["abc"], &["", "ab", "", "c"], 0);
        check(&[], &["abc"], &[], 3);
        check(&[3], &[], &["..."], 0);
    }

    #[test]
    fn gathering_stops_where_room_ends() {
        let slices = [IoSlice::new(b"abc"), IoSlice::new(b""), IoSlice::new(b"defg")];
        assert_eq!(gather(&slices, &mut [0; 5]), b"abcde");
        assert_eq!(gather(&slices, &mut [0; 9]), b"abcdefg");
    }

    /// A server's side of TLS with a certificate that is none, and its client, who has sent a part of a handshake message
    /// of 64 KiB, a byte in each record.
    fn trickled(bytes: usize) -> (TlsStream, Workspace, std::net::TcpStream) {
        use rustls::crypto::ring;
        use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
        use rustls::sign::{CertifiedKey, SingleCertAndKey};
        let algorithm = &::ring::signature::ECDSA_P256_SHA256_ASN1_SIGNING;
        let random = ::ring::rand::SystemRandom::new();
        let key = ::ring::signature::EcdsaKeyPair::generate_pkcs8(algorithm, &random).expect("a key");
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.as_ref().to_vec()));
        let provider = ring::default_provider();
        let key = provider.key_provider.load_private_key(key).expect("a key");
        let identity = CertifiedKey::new(vec![CertificateDer::from(vec![0; 9])], key);
        let configuration = rustls::ServerConfig::builder_with_provider(provider.into())
            .with_safe_default_protocol_versions()
            .expect("versions")
            .with_no_client_auth()
            .with_cert_resolver(std::sync::Arc::new(SingleCertAndKey::from(identity)));
        let session = UnbufferedServerConnection::new(configuration.into()).expect("a session");
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a socket");
        socket2::SockRef::from(&listener).set_recv_buffer_size(1 << 20).expect("a socket");
        let mut client = std::net::TcpStream::connect(listener.local_addr().expect("an address")).expect("connected");
        let (socket, _) = listener.accept().expect("a connection");
        let message = [1, 0, 0xff, 0xff].into_iter().chain(std::iter::repeat(7));
        let records: Vec<u8> = message.flat_map(|byte| [22, 3, 1, 0, 1, byte]).take(bytes).collect();
        client.write_all(&records).expect("room");
        let mut seen = vec![0; bytes + 1];
        while socket.peek(&mut seen).expect("bytes") < bytes {}
        socket.set_nonblocking(true).expect("a socket");
        let service = crate::command::Service::in_process(crate::store::Config::default());
        let workspace = Workspace::new(crate::base::sync::Arc::new(service), 0, Some(16 * 1024));
        (TlsStream::new(TcpStream::from_std(socket), session), workspace, client)
    }

    #[test]
    fn a_read_that_brings_nothing_receives_a_bounded_number_of_times() {
        let (mut stream, mut workspace, _client) = trickled(90_000);
        let mut space = [0];
        let error = stream.read(&mut [IoSliceMut::new(&mut space)], &mut workspace).expect_err("no byte");
        assert_eq!(error.kind(), ErrorKind::Interrupted);
        // The least each time: a whole record has to fit.
        assert_eq!(stream.received.len(), RECEIVES_MAX * RECORD_BYTES_MAX);
    }

    #[test]
    fn one_receipt_is_bounded_however_much_room_there_is() {
        let (mut stream, mut workspace, _client) = trickled(90_000);
        assert!(stream.receive(1 << 20, &mut workspace).expect("bytes"));
        assert_eq!(workspace.received, RECEIVE_BYTES_MAX);
    }

    #[test]
    fn a_handshake_message_in_many_records_ends_the_connection() {
        for (bytes, is_kept) in [(KEPT_BYTES_MAX, true), (KEPT_BYTES_MAX + 1, false)] {
            let (mut stream, mut workspace, _client) = trickled(bytes);
            let mut space = [0; 64 * 1024];
            let mut read =
                || stream.read(&mut [IoSliceMut::new(&mut space)], &mut workspace).expect_err("no byte").kind();
            let end = std::iter::repeat_with(&mut read).find(|kind| *kind != ErrorKind::Interrupted);
            let expected = if is_kept { ErrorKind::WouldBlock } else { ErrorKind::InvalidData };
            assert_eq!((end, stream.is_failed), (Some(expected), !is_kept), "{bytes} bytes");
        }
    }
}
