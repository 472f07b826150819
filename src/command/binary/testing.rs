//! Packets and a connection for tests of the binary protocol.

use super::super::meta::testing::TestServer;
use super::super::session::{CloseReason, Next, Progress};
use super::BinaryState;

/// A request packet, loosely put together so that wrong ones can be made.
#[derive(Clone)]
pub(super) struct Request {
    pub(super) opcode: u8,
    pub(super) extras: Vec<u8>,
    pub(super) key: Vec<u8>,
    pub(super) value: Vec<u8>,
    pub(super) cas: u64,
    pub(super) body_bytes: Option<u32>,
}

pub(super) fn request(opcode: u8) -> Request {
    Request { opcode, extras: Vec::new(), key: Vec::new(), value: Vec::new(), cas: 0, body_bytes: None }
}

impl Request {
    pub(super) fn key(mut self, key: &[u8]) -> Self {
        self.key = key.to_vec();
        self
    }

    pub(super) fn extras(mut self, extras: &[u8]) -> Self {
        self.extras = extras.to_vec();
        self
    }

    /// Flags and exptime.
    pub(super) fn item(self, flags: u32, exptime: u32) -> Self {
        let extras = [flags.to_be_bytes(), exptime.to_be_bytes()].concat();
        self.extras(&extras)
    }

    /// Delta, initial and exptime.
    pub(super) fn delta(self, delta: u64, initial: u64, exptime: u32) -> Self {
        let mut extras = [delta.to_be_bytes(), initial.to_be_bytes()].concat();
        extras.extend_from_slice(&exptime.to_be_bytes());
        self.extras(&extras)
    }

    pub(super) fn value(mut self, value: &[u8]) -> Self {
        self.value = value.to_vec();
        self
    }

    pub(super) fn cas(mut self, cas: u64) -> Self {
        self.cas = cas;
        self
    }

    pub(super) fn body_bytes(mut self, body_bytes: u32) -> Self {
        self.body_bytes = Some(body_bytes);
        self
    }

    pub(super) fn bytes(&self) -> Vec<u8> {
        let sum = self.extras.len() + self.key.len() + self.value.len();
        let mut bytes = vec![0x80, self.opcode];
        bytes.extend_from_slice(&(self.key.len() as u16).to_be_bytes());
        bytes.extend_from_slice(&[self.extras.len() as u8, 9, 9, 9]);
        bytes.extend_from_slice(&self.body_bytes.unwrap_or(sum as u32).to_be_bytes());
        bytes.extend_from_slice(&[0xde, 0xad, 0xbe, self.opcode]);
        bytes.extend_from_slice(&self.cas.to_be_bytes());
        bytes.extend_from_slice(&self.extras);
        bytes.extend_from_slice(&self.key);
        bytes.extend_from_slice(&self.value);
        bytes
    }
}

/// A reply packet.
#[derive(PartialEq, Eq, Debug)]
pub(super) struct Reply {
    pub(super) opcode: u8,
    pub(super) status: u16,
    pub(super) extras: Vec<u8>,
    pub(super) key: String,
    pub(super) value: String,
    pub(super) cas: u64,
}

pub(super) fn reply(opcode: u8, status: u16) -> Reply {
    Reply { opcode, status, extras: Vec::new(), key: String::new(), value: String::new(), cas: 0 }
}

pub(super) fn error(opcode: u8, status: u16, text: &str) -> Reply {
    reply(opcode, status).value(text.as_bytes())
}

impl Reply {
    pub(super) fn extras(mut self, extras: &[u8]) -> Self {
        self.extras = extras.to_vec();
        self
    }

    pub(super) fn key(mut self, key: &str) -> Self {
        self.key = key.into();
        self
    }

    pub(super) fn value(mut self, value: &[u8]) -> Self {
        self.value = String::from_utf8_lossy(value).into();
        self
    }

    pub(super) fn cas(mut self, cas: u64) -> Self {
        self.cas = cas;
        self
    }
}

pub(super) fn replies_in(mut bytes: &[u8]) -> Vec<Reply> {
    let mut replies = Vec::new();
    while !bytes.is_empty() {
        let number = |range: std::ops::Range<usize>| {
            bytes[range].iter().fold(0u64, |number, &byte| number << 8 | u64::from(byte))
        };
        assert_eq!((bytes[0], bytes[5]), (0x81, 0));
        assert_eq!(bytes[12..16], [0xde, 0xad, 0xbe, bytes[1]]);
        let body = &bytes[24..24 + number(8..12) as usize];
        let (extras, rest) = body.split_at(usize::from(bytes[4]));
        let (key, value) = rest.split_at(number(2..4) as usize);
        replies.push(Reply {
            opcode: bytes[1],
            status: number(6..8) as u16,
            extras: extras.to_vec(),
            key: String::from_utf8_lossy(key).into(),
            value: String::from_utf8_lossy(value).into(),
            cas: number(16..24),
        });
        bytes = &bytes[24 + body.len()..];
    }
    replies
}

/// A connection of its own.
pub(super) struct Connection {
    pub(super) server: TestServer,
    pub(super) state: BinaryState,
    /// Input that was not used up.
    pub(super) kept: Vec<u8>,
}

impl Connection {
    pub(super) fn new() -> Self {
        Self { server: TestServer::new(), state: BinaryState::default(), kept: Vec::new() }
    }

    pub(super) fn step(&mut self) -> Progress {
        let (state, input) = (&mut self.state, &self.kept);
        let progress = self.server.with(|output, context| state.process(input, output, context));
        self.kept.drain(..progress.consumed);
        progress
    }

    /// Sends bytes as the network would; what came back, and how the connection stands.
    pub(super) fn send(&mut self, bytes: &[u8]) -> (Vec<Reply>, Next) {
        self.kept.extend_from_slice(bytes);
        loop {
            let next = self.step().next;
            if next != Next::Yield {
                return (replies_in(&self.server.replies()), next);
            }
        }
    }

    #[track_caller]
    pub(super) fn check(&mut self, requests: &[Request], expected: &[Reply]) {
        let bytes: Vec<u8> = requests.iter().flat_map(Request::bytes).collect();
        let (replies, next) = self.send(&bytes);
        assert_eq!(replies, expected);
        assert!(matches!(next, Next::Input { .. }), "{next:?}");
        assert!(self.kept.is_empty());
    }

    /// The same request, refused so that the connection closes.
    #[track_caller]
    pub(super) fn check_close(request: Request, expected: &[Reply]) {
        let mut connection = Self::new();
        let (replies, next) = connection.send(&request.bytes());
        assert_eq!(replies, expected);
        assert_eq!(next, Next::Close(CloseReason::Error));
    }
}
