//! A plain oracle of the protocol: connections that speak text, meta or binary commands to one server, pipelined and cut
//! anywhere, and for each command the reply that memcached's rules demand.
//!
//! The oracle keeps whole values in a map and knows nothing of partitions, slabs, batches or buffers. It says each reply
//! to the byte, CAS ids included: an id is the next one of the key's partition, and which partition a key has is all that
//! is asked of the store. Memory is never short here; times are never close to a flush.

mod binary;
mod items;
mod meta;
mod text;

use slabstash::base::sync::Arc;
use slabstash::command::Service;

use crate::bytes::Bytes;
use crate::drive::{self, Cuts, End, START_SECONDS, by_session, by_socket, now};

use items::Items;

/// Checks an input: connections one after another, each of some commands.
pub fn check(input: &[u8]) {
    let mut bytes = Bytes(input);
    let partitions = if bytes.one_in(2) { 4 } else { 1 };
    let mut oracle = Oracle::new(Arc::new(Service::in_process(drive::config(partitions))), partitions);
    for _ in 0..CONNECTIONS_MAX {
        if bytes.is_empty() || !oracle.connect(&mut bytes) {
            return;
        }
    }
}

const CONNECTIONS_MAX: usize = 8;
const COMMANDS_MAX: usize = 200;
/// Bytes that one input may send; then values are short.
const VALUE_BYTES_MAX: usize = 3 << 20;

/// Replies after which a connection gets no more commands.
const EXPECTED_BYTES_MAX: usize = 1 << 20;

/// What one connection sends, and what it has to be answered.
#[derive(Default)]
struct Script {
    input: Vec<u8>,
    expected: Vec<u8>,
    /// The server closes behind the last reply.
    is_ended: bool,
}

impl Script {
    /// Adds a line and its reply.
    fn line(&mut self, line: impl AsRef<[u8]>, reply: impl AsRef<[u8]>) {
        self.input.extend_from_slice(line.as_ref());
        self.input.extend_from_slice(b"\r\n");
        self.expected.extend_from_slice(reply.as_ref());
    }

    /// Adds what is answered, if it is.
    fn answer(&mut self, reply: impl AsRef<[u8]>, is_quiet: bool) {
        if !is_quiet {
            self.expected.extend_from_slice(reply.as_ref());
        }
    }
}

/// The server and what it should hold.
struct Oracle {
    service: Arc<Service>,
    items: Items,
    /// Bytes that may still be sent as values.
    budget: usize,
}

impl Oracle {
    fn new(service: Arc<Service>, partitions: usize) -> Self {
        let hasher = Arc::clone(&service);
        let partition = move |key: &[u8]| (hasher.store.hash(key).0 >> 48) as usize % partitions;
        let items = Items::new(partitions, Box::new(partition), START_SECONDS);
        Self { service, items, budget: VALUE_BYTES_MAX }
    }

    /// One connection: the time may have gone on, then some commands. False when it was left in the middle, and what the
    /// server holds is not known.
    fn connect(&mut self, bytes: &mut Bytes<'_>) -> bool {
        let kind = bytes.byte();
        let seed = u32::from(bytes.two());
        self.items.seconds += [0, 0, 1, 5][usize::from(kind >> 2 & 3)];
        let mut script = Script::default();
        let count = 1 + bytes.below(COMMANDS_MAX);
        for _ in 0..count {
            if bytes.is_empty() || script.is_ended || script.expected.len() > EXPECTED_BYTES_MAX {
                break;
            }
            match kind & 1 {
                0 if bytes.one_in(3) => self.meta(bytes, &mut script),
                0 => self.text(bytes, &mut script),
                _ => self.packet(bytes, &mut script),
            }
        }
        let cuts = if kind & 16 == 0 { Cuts::Whole } else { Cuts::of(seed, script.input.len()) };
        let now = now(self.items.seconds);
        let talk = match kind & 2 {
            0 => by_session(&self.service, &script.input, cuts, now),
            _ => by_socket(&self.service, &script.input, cuts, now),
        };
        if talk.end == End::TooMuch {
            return false;
        }
        if talk.sent != script.expected {
            let at = talk.sent.iter().zip(&script.expected).take_while(|(sent, expected)| sent == expected).count();
            let show = |text: &[u8]| text[at.saturating_sub(80)..text.len().min(at + 160)].escape_ascii().to_string();
            panic!(
                "replies differ at byte {at}\nexpected: …{}…\nreceived: …{}…\ninput: {}",
                show(&script.expected),
                show(&talk.sent),
                script.input[..script.input.len().min(6000)].escape_ascii()
            );
        }
        assert_eq!(talk.end, if script.is_ended { End::Closed } else { End::Open });
        true
    }

    /// One of a few keys.
    fn key(&mut self, bytes: &mut Bytes<'_>) -> Vec<u8> {
        match bytes.byte() % 20 {
            0 => vec![b'l'; 250],
            1 => b"\xff\x80odd\x01".to_vec(),
            2 => b"noreply".to_vec(),
            number => format!("k{number}").into_bytes(),
        }
    }

    /// A value, mostly a short one.
    fn value(&mut self, bytes: &mut Bytes<'_>) -> Vec<u8> {
        let (kind, choice) = (bytes.byte() % 10, bytes.byte());
        let length = match kind {
            0..3 => usize::from(choice % 64),
            3..6 => return NUMBERS[usize::from(choice) % NUMBERS.len()].as_bytes().to_vec(),
            6 => {
                let mut value = NUMBERS[usize::from(choice) % NUMBERS.len()].as_bytes().to_vec();
                value.resize(value.len() + [1, 5, 60, 17_000][usize::from(choice >> 6)], b' ');
                return value;
            }
            7 => usize::from(bytes.two()) % 5000,
            // Around where values get a buffer of their own.
            8 => 16_200 + usize::from(choice),
            _ => [20_000, 70_000, 524_200, 1_048_300][usize::from(choice >> 6)] + usize::from(choice & 63) * 4,
        };
        let length = if length > self.budget { length % 50 } else { length };
        // Short ones go on when it is used up.
        self.budget = self.budget.saturating_sub(length);
        // Line ends and spaces in it mean nothing. Not byte by byte: counting what was reached is slow.
        let word = [choice, b'\r', b'\n', b' ', choice ^ 0x55, b'x', b'\0'];
        let mut value = word.repeat(length.div_ceil(word.len()));
        value.truncate(length);
        value
    }

    /// Client flags.
    fn flags(&mut self, bytes: &mut Bytes<'_>) -> u32 {
        [0, 0, 1, 4_294_967_295][bytes.below(4)]
    }

    /// An expiry time as it is sent.
    fn exptime(&mut self, bytes: &mut Bytes<'_>) -> i32 {
        [0, 0, 0, 1, 3, 100, -1, 2_592_000, 2_592_001, 2_000_000_000][bytes.below(10)]
    }

    /// A number for a delta or the like.
    fn delta(&mut self, bytes: &mut Bytes<'_>) -> u64 {
        [0, 1, 1, 9, 1000, u64::MAX, 1 << 63][bytes.below(7)]
    }

    /// A CAS id: the key's own, or nearly.
    fn cas(&mut self, key: &[u8], bytes: &mut Bytes<'_>) -> u64 {
        let own = self.items.find(key).map_or(77, |item| item.cas);
        match bytes.below(6) {
            0 => own.wrapping_add(1),
            1 => own.wrapping_sub(1),
            2 => 0,
            _ => own,
        }
    }
}

/// Values that count as numbers, and some that do not.
const NUMBERS: [&str; 16] = [
    "0",
    "1",
    "9",
    "10",
    "99",
    "5 ",
    "18446744073709551615",
    "18446744073709551616",
    "007",
    " 5",
    "-0",
    "-1",
    "+3",
    "12abc",
    "5\r\n6",
    "",
];
