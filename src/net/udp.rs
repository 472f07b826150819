//! The UDP transport: one request datagram, one fresh session, one group of reply datagrams for each response.
//!
//! ```text
//!   0       2        4      6          8
//!   | id    | number | total| reserved | payload, at most 1392 bytes in a reply
//! ```
//! All fields are big endian. A request is one datagram: `total` is 1 and there is a payload, everything else is
//! ignored without an answer. Replies repeat the id, count from 0, carry their number of datagrams as `total` and 0 as
//! `reserved`. What does not fit the socket's send buffer is lost, as datagrams are; nothing is queued.
//!
//! Nobody knows who really sent a datagram, so a reply may go to a victim of the sender. All that is sent for a request is
//! therefore at most `udp_reply_factor` times as long as the request, headers included, those of the network counted once
//! for the request and once for each datagram of the reply. A longer reply is not sent; the text protocol says so
//! instead. Clients on loopback addresses, which no network forges, get replies of any length, as from memcached. A reply for
//! which the system gives no memory is not sent either; the text protocol says so as far as there is memory for that.
//!
//! Each request in the datagram has its response, and so has each key of a multiget, the last one's with `END`. As in
//! memcached every response is a group of datagrams that is numbered anew, so that a client knows the end of a multiget
//! only by looking. memcached also sends a datagram without payload, `total` 0, for an empty response that comes first;
//! here it has none. And memcached keeps a half-received `set` and takes the next datagrams, of any client, for its
//! value; here a request ends with its datagram.

use std::io;
use std::net::SocketAddr;
use std::os::fd::AsRawFd;

use mio::net::UdpSocket;
use mio::{Interest, Registry, Token};

use crate::base::sync::Arc;
use crate::command::service::{Context, ProtocolChoice, Wake};
use crate::command::{Next, Output, Session};
use crate::protocol::text::reply::NO_MEMORY_WRITING;
use crate::stats::connections::{ConnectionEntry, ConnectionState};

use super::tools::Tools;

/// A bound UDP socket. Served by one worker.
#[derive(Debug)]
pub struct Endpoint {
    socket: UdpSocket,
    protocol: ProtocolChoice,
    /// How many times as long as its request a reply may be; 0 is any length.
    reply_factor: u32,
    /// Keeps its line in the table of connections.
    _entry: Arc<ConnectionEntry>,
    is_readable: bool,
    datagram: Vec<u8>,
    output: Output,
    reply: Reply,
}

impl Endpoint {
    /// An endpoint on `socket`. A reply is at most `reply_factor` times as long as its request, 0 is any length.
    pub fn new(socket: UdpSocket, protocol: ProtocolChoice, reply_factor: u32, entry: Arc<ConnectionEntry>) -> Self {
        Self {
            socket,
            protocol,
            reply_factor,
            _entry: entry,
            is_readable: false,
            datagram: Vec::new(),
            output: Output::with_boundaries(),
            reply: Reply::default(),
        }
    }

    /// Registers the socket.
    pub fn register(&mut self, registry: &Registry, token: Token) -> io::Result<()> {
        registry.register(&mut self.socket, token, Interest::READABLE)
    }

    /// Notes that datagrams wait; true when that is news.
    pub fn note_readable(&mut self) -> bool {
        !std::mem::replace(&mut self.is_readable, true)
    }

    /// Answers a bounded number of datagrams; true when more may wait.
    pub fn turn(&mut self, tools: &mut Tools) -> bool {
        for _ in 0..DATAGRAMS_PER_TURN {
            if tools.is_stopping {
                return false;
            }
            if !self.is_readable {
                break;
            }
            match self.socket.recv_from(&mut tools.read_buffer) {
                Ok((length, client)) => {
                    tools.counters.bytes_read.add(length as u64);
                    if let Some(request) = Request::parse(&tools.read_buffer[..length]) {
                        self.answer(length, request.id, client, tools);
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => self.is_readable = false,
                // An ICMP error for an earlier reply; the next datagram is as good as ever.
                Err(_) => {}
            }
        }
        self.is_readable
    }

    fn answer(&mut self, length: usize, id: u16, client: SocketAddr, tools: &mut Tools) {
        let payload = &tools.read_buffer[HEADER_BYTES..length];
        let mut context = Context {
            service: &tools.service,
            worker: tools.worker,
            now: tools.now,
            wake: Wake { target: &tools.wake, token: usize::MAX },
            descriptor: self.socket.as_raw_fd(),
            peer: &client,
            scratch: &mut tools.scratch,
        };
        let mut session = Session::new(self.protocol);
        let result = converse(&mut session, payload, &mut self.output, &mut self.reply, &mut context);
        let bytes_max = reply_bytes_max(length, client, self.reply_factor).unwrap_or(usize::MAX);
        let refusal = match result {
            Err(NoMemory) => Some(NO_MEMORY_WRITING),
            Ok(()) => (self.reply.sent_bytes() > bytes_max).then_some(TOO_LONG),
        };
        if let Some(line) = refusal {
            let is_text = payload.first() != Some(&BINARY_REQUEST);
            self.reply.refuse(line, is_text, bytes_max);
        }
        let sent = self.send(id, client);
        tools.counters.bytes_written.add(sent);
        self.reply.clear();
        self.reply.shrink(REPLY_BYTES_KEPT);
        self.output.shrink(REPLY_BYTES_KEPT);
    }

    /// Sends the reply; returns how many bytes went out.
    fn send(&mut self, id: u16, client: SocketAddr) -> u64 {
        let mut bytes = 0;
        for datagram in self.reply.responses().flat_map(|response| Datagrams::new(id, response)) {
            self.datagram.clear();
            datagram.write(&mut self.datagram);
            match self.socket.send_to(&self.datagram, client) {
                Ok(sent) => bytes += sent as u64,
                Err(_) => break,
            }
        }
        bytes
    }
}

/// Lets a session answer one payload, as far as one reply may go.
///
/// A session that waits for its replies to be sent goes on at once. As in memcached a watcher is not answered; nor is a
/// dump that does not end.
fn converse(
    session: &mut Session,
    payload: &[u8],
    output: &mut Output,
    reply: &mut Reply,
    context: &mut Context<'_>,
) -> Result<(), NoMemory> {
    let store = &context.service.store;
    let mut rest = payload;
    for _ in 0..YIELDS_MAX {
        let progress = session.process(rest, output, context);
        // What the store has set aside for this is used before a client is turned away.
        let is_taken = !output.is_torn()
            && (reply.take(output).is_ok() || (store.release_reserve() && reply.take(output).is_ok()));
        if !is_taken {
            output.clear();
            return Err(NoMemory);
        }
        if session.state() == ConnectionState::Watch {
            // Nothing is sent of what a further turn would bring.
            break;
        }
        rest = &rest[progress.consumed..];
        let may_go_on = reply.bytes.len() <= REPLY_BYTES_MAX && (progress.consumed > 0 || session.has_work());
        match progress.next {
            Next::Yield if may_go_on => {}
            Next::Input { .. } if may_go_on && session.has_work() => {}
            Next::Abort(_) => {
                reply.clear();
                break;
            }
            Next::Yield | Next::Input { .. } | Next::Close(_) => break,
        }
    }
    if session.state() == ConnectionState::Watch {
        reply.clear();
    }
    Ok(())
}

/// The system gives no memory for a reply.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct NoMemory;

/// All that is sent for one request datagram.
#[derive(Default, Debug)]
struct Reply {
    bytes: Vec<u8>,
    /// Where responses begin in `bytes`, in ascending order.
    boundaries: Vec<usize>,
}

impl Reply {
    /// Takes over what `output` holds: all of it, or nothing without memory.
    fn take(&mut self, output: &mut Output) -> Result<(), NoMemory> {
        self.bytes.try_reserve(output.pending()).map_err(|_| NoMemory)?;
        self.boundaries.try_reserve(output.boundaries().len()).map_err(|_| NoMemory)?;
        let begin = self.bytes.len();
        self.boundaries.extend(output.boundaries().iter().map(|boundary| begin + boundary));
        while !output.is_empty() {
            let mut slices = [io::IoSlice::new(&[]); SLICES_MAX];
            let count = output.slices(&mut slices, usize::MAX);
            let mut moved = 0;
            for slice in &slices[..count] {
                self.bytes.extend_from_slice(slice);
                moved += slice.len();
            }
            output.advance(moved);
        }
        output.clear();
        Ok(())
    }

    /// The responses. Some may be empty.
    fn responses(&self) -> impl Iterator<Item = &[u8]> {
        let mut begin = 0;
        self.boundaries.iter().copied().chain([self.bytes.len()]).map(move |end| {
            let response = self.bytes.get(begin..end).unwrap_or_default();
            begin = end;
            response
        })
    }

    /// Bytes of all the datagrams that it takes, with the network's headers.
    fn sent_bytes(&self) -> usize {
        let datagrams = |response: &[u8]| response.len().div_ceil(PAYLOAD_BYTES_MAX);
        let sent_bytes = |response: &[u8]| response.len() + datagrams(response) * (HEADER_BYTES + NETWORK_HEADER_BYTES);
        self.responses().map(sent_bytes).sum()
    }

    /// Says `line` in its place, to who reads text and if that is not too long itself.
    fn refuse(&mut self, line: &[u8], is_text: bool, bytes_max: usize) {
        self.clear();
        if is_text && line.len() + HEADER_BYTES + NETWORK_HEADER_BYTES <= bytes_max {
            self.bytes.extend_from_slice(line);
        }
    }

    /// Gives memory back that has grown past `bytes_max`. Nothing may wait.
    fn shrink(&mut self, bytes_max: usize) {
        if self.bytes.capacity() > bytes_max {
            self.bytes = Vec::new();
        }
        if size_of_val(self.boundaries.spare_capacity_mut()) > bytes_max {
            self.boundaries = Vec::new();
        }
    }

    fn clear(&mut self) {
        self.bytes.clear();
        self.boundaries.clear();
    }
}

/// How long a reply may be to a request datagram of `request_bytes`, the network's headers of both included; `None` is any
/// length.
fn reply_bytes_max(request_bytes: usize, client: SocketAddr, factor: u32) -> Option<usize> {
    let is_bound = factor > 0 && !client.ip().to_canonical().is_loopback();
    let payload_bytes = request_bytes.saturating_mul(factor as usize);
    is_bound.then(|| payload_bytes.saturating_add(NETWORK_HEADER_BYTES))
}

/// A well-formed request datagram.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Request {
    id: u16,
}

impl Request {
    fn parse(datagram: &[u8]) -> Option<Self> {
        let (header, payload) = datagram.split_first_chunk::<HEADER_BYTES>()?;
        let total = u16::from_be_bytes([header[4], header[5]]);
        (total == 1 && !payload.is_empty()).then_some(Self { id: u16::from_be_bytes([header[0], header[1]]) })
    }
}

/// A response cut into datagrams.
struct Datagrams<'a> {
    id: u16,
    total: u16,
    pieces: std::iter::Enumerate<std::slice::Chunks<'a, u8>>,
}

/// One datagram of a response.
struct Datagram<'a> {
    id: u16,
    number: u16,
    total: u16,
    payload: &'a [u8],
}

impl<'a> Datagrams<'a> {
    /// Nothing for an empty response, and for one that cannot be numbered.
    fn new(id: u16, reply: &'a [u8]) -> Self {
        let count = reply.len().div_ceil(PAYLOAD_BYTES_MAX);
        let (total, reply) = match u16::try_from(count) {
            Ok(total) => (total, reply),
            Err(_) => (0, &reply[..0]),
        };
        Self { id, total, pieces: reply.chunks(PAYLOAD_BYTES_MAX).enumerate() }
    }
}

impl<'a> Iterator for Datagrams<'a> {
    type Item = Datagram<'a>;

    fn next(&mut self) -> Option<Datagram<'a>> {
        let (number, payload) = self.pieces.next()?;
        Some(Datagram { id: self.id, number: number as u16, total: self.total, payload })
    }
}

impl Datagram<'_> {
    fn write(&self, datagram: &mut Vec<u8>) {
        for field in [self.id, self.number, self.total, 0] {
            datagram.extend_from_slice(&field.to_be_bytes());
        }
        datagram.extend_from_slice(self.payload);
    }
}

/// In place of a reply that would be longer than its request allows.
const TOO_LONG: &[u8] = b"SERVER_ERROR too large\r\n";
/// The first byte of a request in the binary protocol.
const BINARY_REQUEST: u8 = 0x80;
/// The frame header.
const HEADER_BYTES: usize = 8;
/// What each datagram costs below: headers of IPv6 and UDP, which are the longest. Many short responses are mostly that.
const NETWORK_HEADER_BYTES: usize = 40 + 8;
/// Payload of a reply datagram: memcached's 1400 with the header.
const PAYLOAD_BYTES_MAX: usize = 1392;
/// Datagrams answered before other sockets get a turn.
const DATAGRAMS_PER_TURN: usize = 16;
/// Turns a session gets for one datagram.
const YIELDS_MAX: usize = 64;
/// A session that yields with a reply longer than this gets no further turn.
const REPLY_BYTES_MAX: usize = 2 * 1024 * 1024;
/// Slices of a reply taken over at once.
const SLICES_MAX: usize = 16;
/// A larger reply buffer is given back.
const REPLY_BYTES_KEPT: usize = 64 * 1024;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::{self, Service};
    use crate::net::testing;

    #[test]
    fn requests_are_one_datagram_with_a_payload() {
        let request = |bytes: &[u8]| Request::parse(bytes).map(|request| request.id);
        assert_eq!(request(b"\x01\x02\0\0\0\x01\0\0x"), Some(0x0102));
        assert_eq!(request(b"\x01\x02\0\x05\0\x01\xff\xffx"), Some(0x0102));
        assert_eq!(request(b"\x01\x02\0\0\0\x01\0\0"), None);
        assert_eq!(request(b"\x01\x02\0\0\0\x02\0\0x"), None);
        assert_eq!(request(b"\x01\x02\0\0\0\0\0\0x"), None);
        for length in 0..8 {
            assert_eq!(request(&b"\x01\x02\0\0\0\x01\0\0"[..length]), None);
        }
    }

    #[track_caller]
    fn check_reply(length: usize, payloads: &[usize]) {
        let reply = vec![7; length];
        let mut seen = Vec::new();
        for (number, datagram) in Datagrams::new(0xabcd, &reply).enumerate() {
            let mut bytes = Vec::new();
            datagram.write(&mut bytes);
            let header = [0xab, 0xcd, 0, number as u8, 0, payloads.len() as u8, 0, 0];
            assert_eq!(bytes[..8], header);
            seen.push(bytes.len() - 8);
        }
        assert_eq!(seen, payloads);
    }

    #[test]
    fn replies_are_cut_and_numbered() {
        check_reply(0, &[]);
        check_reply(1, &[1]);
        check_reply(1392, &[1392]);
        check_reply(1393, &[1392, 1]);
        check_reply(3000, &[1392, 1392, 216]);
    }

    #[test]
    fn responses_are_numbered_by_themselves() {
        let check = |boundaries: &[usize], expected: &[&[u8]]| {
            let reply = Reply { bytes: b"abcde".to_vec(), boundaries: boundaries.to_vec() };
            let found: Vec<&[u8]> = reply.responses().filter(|piece| !piece.is_empty()).collect();
            assert_eq!(found, expected, "{boundaries:?}");
        };
        check(&[], &[b"abcde"]);
        check(&[0], &[b"abcde"]);
        check(&[0, 0, 3, 3], &[b"abc", b"de"]);
        check(&[0, 1, 5, 5], &[b"a", b"bcde"]);
    }

    #[test]
    fn a_reply_goes_on_where_the_last_output_ended() {
        let (mut reply, mut output) = (Reply::default(), Output::with_boundaries());
        for parts in [["ab", "c"], ["", "de"]] {
            for part in parts {
                assert!(output.begin_reply());
                output.push(part.as_bytes());
            }
            assert_eq!(reply.take(&mut output), Ok(()));
        }
        assert_eq!((reply.bytes.as_slice(), reply.boundaries.as_slice()), (&b"abcde"[..], &[0, 2, 3, 3][..]));
        assert!(output.is_empty() && output.boundaries().is_empty());
    }

    #[test]
    fn a_reply_is_bound_by_its_request() {
        #[track_caller]
        fn check(request_bytes: usize, client: &str, factor: u32, expected: Option<usize>) {
            let client = client.parse().expect("an address");
            assert_eq!(reply_bytes_max(request_bytes, client, factor), expected);
        }
        check(15, "192.0.2.1:53", 3, Some(45 + 48));
        check(15, "192.0.2.1:53", 1, Some(15 + 48));
        check(15, "192.0.2.1:53", 0, None);
        check(15, "[2001:db8::1]:53", 3, Some(45 + 48));
        check(15, "127.0.0.1:4000", 3, None);
        check(15, "[::1]:4000", 3, None);
        check(15, "[::ffff:127.0.0.1]:4000", 3, None);
        check(usize::MAX, "192.0.2.1:53", u32::MAX, Some(usize::MAX));
    }

    #[test]
    fn a_reply_that_is_too_long_is_not_sent() {
        let mut reply = Reply { bytes: vec![b'x'; 2000], boundaries: vec![0, 1500] };
        assert_eq!(reply.sent_bytes(), 1500 + 500 + 3 * (8 + 48));
        reply.refuse(TOO_LONG, true, 32 + 48);
        assert_eq!((reply.bytes.as_slice(), reply.sent_bytes()), (&b"SERVER_ERROR too large\r\n"[..], 32 + 48));
        reply.refuse(TOO_LONG, true, 31 + 48);
        assert_eq!(reply.sent_bytes(), 0);
        reply.refuse(TOO_LONG, false, 1000);
        assert_eq!(reply.sent_bytes(), 0);
    }

    #[test]
    fn replies_beyond_the_numbering_are_dropped() {
        let reply = vec![0; 65535 * PAYLOAD_BYTES_MAX + 1];
        assert_eq!(Datagrams::new(1, &reply).count(), 0);
    }

    fn endpoint(service: &Service) -> (Endpoint, std::net::UdpSocket) {
        let server = UdpSocket::bind("127.0.0.1:0".parse().expect("an address")).expect("a socket");
        let client = std::net::UdpSocket::bind("127.0.0.1:0").expect("a socket");
        client.connect(server.local_addr().expect("an address")).expect("a peer");
        let entry = ConnectionEntry::new(0, "".into(), "".into(), ConnectionState::Read, 0);
        let entry = service.connections.open(entry);
        (Endpoint::new(server, ProtocolChoice::Negotiate, 0, entry), client)
    }

    #[test]
    fn few_datagrams_are_answered_in_a_turn() {
        let mut tools = testing::tools();
        let (mut endpoint, client) = endpoint(&Arc::clone(&tools.service));
        let sent = DATAGRAMS_PER_TURN + 3;
        for _ in 0..sent {
            client.send(b"\0\x01\0\0\0\x01\0\0mn\r\n").expect("sent");
        }
        client.set_nonblocking(true).expect("a socket");
        let answers = || std::iter::from_fn(|| client.recv(&mut [0; 100]).ok()).count();
        assert!(endpoint.note_readable());
        assert!(endpoint.turn(&mut tools), "more wait");
        assert_eq!(answers(), DATAGRAMS_PER_TURN);
        assert!(!endpoint.turn(&mut tools));
        assert_eq!(answers(), sent - DATAGRAMS_PER_TURN);
    }

    #[test]
    fn a_large_reply_leaves_a_small_buffer() {
        let mut tools = testing::tools();
        let (mut endpoint, client) = endpoint(&Arc::clone(&tools.service));
        let value = "v".repeat(9000);
        let mut service_client = command::testing::Client::new(&tools.service);
        service_client.feed(format!("set k 0 0 9000\r\n{value}\r\n").as_bytes());
        drop(service_client);
        client.send(format!("\0\x01\0\0\0\x01\0\0get{}\r\n", " k".repeat(10)).as_bytes()).expect("sent");
        endpoint.note_readable();
        endpoint.turn(&mut tools);
        assert!(tools.service.workers[0].bytes_written.value() > 90_000);
        assert!(endpoint.reply.bytes.capacity() <= REPLY_BYTES_KEPT, "{}", endpoint.reply.bytes.capacity());
        assert!(endpoint.output.bytes().capacity() <= REPLY_BYTES_KEPT);
    }

    /// What a datagram of this payload is answered, by a session with so many requests in a turn as by default.
    fn answer(payload: &[u8], prepare: &[u8]) -> Reply {
        let service = command::testing::service();
        let mut client = command::testing::Client::new(&service);
        client.feed(prepare);
        client.visit(|_, context| {
            let (mut output, mut reply) = (Output::with_boundaries(), Reply::default());
            let mut session = Session::new(ProtocolChoice::Negotiate);
            assert_eq!(converse(&mut session, payload, &mut output, &mut reply, context), Ok(()));
            reply
        })
    }

    #[test]
    fn a_datagram_has_a_bounded_number_of_turns() {
        let answered = |requests: usize| answer(&b"mg k v\r\n".repeat(requests), b"").bytes.len() / b"EN\r\n".len();
        assert_eq!(answered(YIELDS_MAX * 20), YIELDS_MAX * 20);
        assert_eq!(answered(YIELDS_MAX * 20 + 500), YIELDS_MAX * 20);
    }

    /// A list of a class without items adds nothing to the reply, whose length is what ends others: it went through up to a million
    /// items.
    #[test]
    fn a_list_that_shows_nothing_gets_no_further_turn() {
        let sets = |count: usize| (0..count).flat_map(|key| format!("set {key} 0 0 0 noreply\r\n\r\n").into_bytes());
        let answered = |count| answer(b"lru_crawler metadump 63\r\n", &sets(count).collect::<Vec<_>>()).bytes;
        assert_eq!(answered(10), b"OK\r\nEND\r\n");
        assert_eq!(answered(40_000), b"");
    }

    #[test]
    fn a_long_reply_gets_no_further_turn() {
        let set = [&b"set k 0 0 200000\r\n"[..], &[b'v'; 200_000], b"\r\n"].concat();
        let reply = answer(&b"get k\r\n".repeat(50), &set);
        // A turn ends with 256 KiB of replies, and one more.
        let most = REPLY_BYTES_MAX + 512 * 1024;
        assert!((REPLY_BYTES_MAX..most).contains(&reply.bytes.len()), "{} bytes", reply.bytes.len());
        assert_eq!(answer(&b"mn\r\n".repeat(50), &set).boundaries.len(), 50);
    }

    #[test]
    fn a_reply_of_many_parts_is_taken_over_whole() {
        let set = [&b"set k 0 0 20000\r\n"[..], &[b'v'; 20_000], b"\r\n"].concat();
        let request = [&b"get"[..], &b" k".repeat(2 * SLICES_MAX), b"\r\n"].concat();
        let header = b"VALUE k 0 20000\r\n\r\n".len();
        assert_eq!(answer(&request, &set).bytes.len(), 2 * SLICES_MAX * (20_000 + header) + b"END\r\n".len());
    }
}
