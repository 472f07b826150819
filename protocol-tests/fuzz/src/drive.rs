//! Conversations in process: bytes in, in pieces of any size, and bytes out.
//!
//! [`by_session`] is the conversation alone, without sockets. [`by_socket`] is a whole [`Connection`], with its reads, its
//! buffers and its sends, on one end of a socket pair.

use std::io::{IoSlice, Read, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::time::Instant;

use slabstash::base::sync::Arc;
use slabstash::base::time::Now;
use slabstash::command::service::{ProtocolChoice, Scratch, Wake};
use slabstash::command::{Context, Next, Output, Service, Session};
use slabstash::net::address::Peer;
use slabstash::net::connection::{Connection, Verdict};
use slabstash::net::inbox::NewConnection;
use slabstash::net::stream::Stream;
use slabstash::net::tools::Tools;
use slabstash::stats::connections::{ConnectionEntry, ConnectionState};
use slabstash::store;

use crate::random::Random;

/// Coarse seconds at which conversations begin: behind what the service's own clock shows, which is read by `flush_all`.
pub const START_SECONDS: u32 = 1000;

/// A moment on the scale of all conversations.
pub fn now(seconds: u32) -> Now {
    Now { seconds, epoch: 1_700_000_000 }
}

/// A store with few slab classes: tables for forty of them would take most of the time of a run.
pub fn config(partitions: usize) -> store::Config {
    store::Config { slab_sizes: Some(vec![128, 512, 2048, 17_000]), partitions, ..store::Config::default() }
}

/// How a conversation stands when all of its input has been handed in.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum End {
    /// More may come.
    Open,
    /// The server closed, behind all of its replies.
    Closed,
    /// The server closed without what it had not sent yet. Over a socket this is not told from [`End::Closed`].
    Aborted,
    /// There was more to send than [`SENT_BYTES_MAX`].
    TooMuch,
}

/// What came of a conversation.
#[derive(Debug)]
pub struct Talk {
    /// The replies.
    pub sent: Vec<u8>,
    /// How it ended.
    pub end: End,
}

/// Replies beyond this are not looked at; the conversation ends there.
pub const SENT_BYTES_MAX: usize = 2 << 20;

/// How input is cut into pieces, and how long replies wait.
#[derive(Clone, Debug)]
pub enum Cuts {
    /// Not at all, and every reply is sent at once.
    Whole,
    /// Into single bytes.
    Bytes,
    /// Anywhere.
    Random(Random),
}

impl Cuts {
    /// The cuts that a seed means for `bytes` of input.
    pub fn of(seed: u32, bytes: usize) -> Self {
        match seed % 8 {
            0 if bytes <= BYTEWISE_BYTES_MAX => Self::Bytes,
            _ => Self::Random(Random::new(u64::from(seed))),
        }
    }

    /// The bytes of the next piece, at least 1 and at most `left`.
    fn piece(&mut self, left: usize) -> usize {
        let bytes = match self {
            Self::Whole => left,
            Self::Bytes => 1,
            Self::Random(random) => {
                let largest = PIECES[random.below(PIECES.len())];
                1 + random.below(largest)
            }
        };
        bytes.min(left)
    }

    /// Whether replies wait for a further turn.
    fn defers(&mut self) -> bool {
        match self {
            Self::Whole | Self::Bytes => false,
            Self::Random(random) => random.one_in(2),
        }
    }

    /// Whether a large value is read to where it belongs.
    fn receives(&mut self) -> bool {
        match self {
            Self::Whole => true,
            Self::Bytes => false,
            Self::Random(random) => random.one_in(2),
        }
    }
}

const BYTEWISE_BYTES_MAX: usize = 8192;
const PIECES: [usize; 10] = [1, 2, 8, 24, 60, 300, 2048, 4096, 20_000, 100_000];

/// One call of the session.
fn process(
    service: &Service,
    session: &mut Session,
    input: &[u8],
    output: &mut Output,
    now: Now,
    scratch: &mut Scratch,
) -> (usize, Next) {
    let target: Arc<dyn Fn(usize) + Send + Sync> = Arc::new(|_| {});
    let mut context = Context {
        service,
        worker: 0,
        now,
        wake: Wake { target: &target, token: 0 },
        descriptor: 7,
        peer: &"10.0.0.1:4000",
        scratch,
    };
    let progress = session.process(input, output, &mut context);
    assert!(progress.consumed <= input.len(), "consumed {} of {}", progress.consumed, input.len());
    (progress.consumed, progress.next)
}

/// Takes what is queued.
fn send(output: &mut Output, sent: &mut Vec<u8>) {
    while !output.is_empty() {
        let pending = output.pending();
        let mut slices = [IoSlice::new(&[]); 4];
        let count = output.slices(&mut slices, usize::MAX);
        let mut bytes = 0;
        for slice in &slices[..count] {
            sent.extend_from_slice(slice);
            bytes += slice.len();
        }
        assert!(bytes > 0 && bytes <= pending, "{bytes} bytes shown of {pending} pending");
        output.advance(bytes);
        assert_eq!(output.pending(), pending - bytes);
    }
}

/// The conversation alone: a session, fed as a connection feeds it.
pub fn by_session(service: &Service, input: &[u8], mut cuts: Cuts, now: Now) -> Talk {
    let mut session = Session::new(ProtocolChoice::Negotiate);
    let (mut output, mut scratch) = (Output::new(), Scratch::default());
    let (mut tail, mut sent) = (Vec::new(), Vec::new());
    let mut rest = input;
    let mut idle_turns = 0;
    while !rest.is_empty() {
        let (piece, behind) = rest.split_at(cuts.piece(rest.len()));
        rest = behind;
        let mut piece = piece;
        while tail.is_empty()
            && !piece.is_empty()
            && cuts.receives()
            && let Some(space) = session.receive_space()
        {
            let count = space.len().min(piece.len());
            space[..count].copy_from_slice(&piece[..count]);
            session.received(count);
            piece = &piece[count..];
        }
        tail.extend_from_slice(piece);
        loop {
            let (consumed, next) = process(service, &mut session, &tail, &mut output, now, &mut scratch);
            tail.drain(..consumed);
            match next {
                Next::Abort(_) => return Talk { sent, end: End::Aborted },
                Next::Yield if output.pending() < DEFERRED_BYTES_MAX && cuts.defers() => {}
                _ => send(&mut output, &mut sent),
            }
            if sent.len() > SENT_BYTES_MAX {
                return Talk { sent, end: End::TooMuch };
            }
            match next {
                Next::Close(_) => return Talk { sent, end: End::Closed },
                Next::Input { bytes } if !session.has_work() => {
                    assert!(bytes == 0 || bytes > tail.len(), "asks for {bytes} bytes and has {}", tail.len());
                    break;
                }
                _ => {}
            }
            idle_turns = if consumed > 0 || !output.is_empty() { 0 } else { idle_turns + 1 };
            assert!(idle_turns < IDLE_TURNS_MAX, "no progress with {}", tail.escape_ascii());
        }
    }
    // A state's name can be asked for at any time.
    session.state();
    Talk { sent, end: End::Open }
}

/// As a connection's own limit.
const DEFERRED_BYTES_MAX: usize = 32 * 1024;
/// Turns in a row that neither take input nor leave a reply: a dump's steps over empty buckets.
const IDLE_TURNS_MAX: usize = 100_000;

/// A whole connection on a socket pair. When all input is there the client closes its side, and replies are read to their
/// end.
pub fn by_socket(service: &Arc<Service>, input: &[u8], mut cuts: Cuts, now: Now) -> Talk {
    let (mut client, server) = UnixStream::pair().expect("a socket pair");
    client.set_nonblocking(true).expect("a socket that does not block");
    server.set_nonblocking(true).expect("a socket that does not block");
    let entry = ConnectionEntry::new(7, "unix".into(), "unix".into(), ConnectionState::NewCommand, now.seconds);
    let new = NewConnection {
        stream: Stream::Unix(mio::net::UnixStream::from_std(server)),
        peer: Peer::Local,
        protocol: ProtocolChoice::Negotiate,
        entry: service.connections.open(entry),
    };
    let tools = Tools::new(0, Arc::clone(service), Instant::now(), None, Arc::new(|_| {}));
    let mut peer =
        Socket { connection: Connection::new(new, now), tools: Tools { now, ..tools }, is_closed: false, turns: 0 };
    let mut sent = Vec::new();
    let mut rest = input;
    let end = loop {
        let mut piece = &rest[..cuts.piece(rest.len())];
        rest = &rest[piece.len()..];
        let is_last = piece.is_empty();
        if is_last {
            if peer.is_closed {
                break End::Closed;
            }
            // A server that closes from here on does so because the client did.
            let _ = client.shutdown(Shutdown::Write);
            peer.work(true);
            while !peer.is_closed {
                receive(&mut client, &mut sent);
                if sent.len() > SENT_BYTES_MAX {
                    break;
                }
                peer.go_on();
                peer.work(true);
            }
            receive(&mut client, &mut sent);
            break End::Open;
        }
        while !piece.is_empty() && !peer.is_closed {
            match client.write(piece) {
                Ok(count) => piece = &piece[count..],
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
                // The server has closed.
                Err(_) => break,
            }
            peer.work(false);
            receive(&mut client, &mut sent);
            peer.go_on();
        }
        while !peer.is_closed && receive(&mut client, &mut sent) && sent.len() <= SENT_BYTES_MAX {
            peer.go_on();
        }
        if peer.is_closed {
            receive(&mut client, &mut sent);
            break End::Closed;
        }
        if sent.len() > SENT_BYTES_MAX {
            break End::TooMuch;
        }
    };
    peer.connection.release(&mut peer.tools.pool);
    service.connections.close(peer.connection.entry());
    let end = if sent.len() > SENT_BYTES_MAX { End::TooMuch } else { end };
    Talk { sent, end }
}

/// The server's end of a socket pair, with what a worker lends it.
struct Socket {
    connection: Connection,
    tools: Tools,
    is_closed: bool,
    turns: usize,
}

impl Socket {
    /// Lets the connection work on what the socket has.
    fn work(&mut self, is_read_closed: bool) {
        if !self.is_closed && self.connection.note_readable(is_read_closed) {
            self.turn();
        }
    }

    /// Lets it go on once the client has read.
    fn go_on(&mut self) {
        if !self.is_closed && self.connection.note_writable() {
            self.turn();
        }
    }

    /// Turns until the connection waits.
    fn turn(&mut self) {
        loop {
            self.turns += 1;
            assert!(self.turns < TURNS_MAX, "a connection that turns forever");
            match self.connection.turn(1, &mut self.tools) {
                Verdict::Again | Verdict::AgainLater => {}
                Verdict::Wait | Verdict::WaitHolding => return,
                Verdict::Close(_) => {
                    self.is_closed = true;
                    return;
                }
            }
        }
    }
}

/// Reads what there is; false when there was nothing.
fn receive(client: &mut UnixStream, sent: &mut Vec<u8>) -> bool {
    let mut buffer = [0; 65_536];
    let before = sent.len();
    while let Ok(count @ 1..) = client.read(&mut buffer) {
        sent.extend_from_slice(&buffer[..count]);
    }
    sent.len() > before
}

/// Far more than any input takes.
const TURNS_MAX: usize = 10_000_000;
