//! A whole connection: any bytes in, cut anywhere. Nothing panics, what is answered does not depend on the cuts, and a
//! conversation alone answers as a connection with a socket does.
//!
//! What may depend on the cuts, here as in memcached, is told from the input: see [`Exceptions`].

use slabstash::base::sync::Arc;
use slabstash::command::Service;
use slabstash::protocol::text::line::UNFINISHED_BYTES_MAX;
use slabstash::store::Config;

use crate::drive::{self, Cuts, End, START_SECONDS, Talk, by_session, by_socket, now};

/// Checks an input: a transcript, and behind it four bytes that choose the cuts.
pub fn check(input: &[u8]) {
    let Some((transcript, seed)) = input.split_last_chunk::<4>() else {
        return;
    };
    let seed = u32::from_le_bytes(*seed);
    let (transcript, outline) = expanded(transcript);
    let exceptions = Exceptions::of(&outline);
    let whole = by_session(&service(seed), &transcript, Cuts::Whole, now(START_SECONDS));
    let cut = by_session(&service(seed), &transcript, Cuts::of(seed, transcript.len()), now(START_SECONDS));
    exceptions.compare(&whole, &cut, "cut");
    let socket = by_socket(&service(seed), &transcript, Cuts::of(seed >> 3, transcript.len()), now(START_SECONDS));
    exceptions.compare(&whole, &socket, "socket");
}

/// A service like new, which samples requests or does not. Its largest item is small: three conversations with it take
/// most of the time of an execution.
fn service(seed: u32) -> Arc<Service> {
    let config = Config { item_size_max: 128 << 10, slab_chunk_max: 64 << 10, ..drive::config(1) };
    let mut service = Service::in_process(config);
    if seed.is_multiple_of(3) {
        service.observations = Some(vec![Default::default()].into());
    }
    Arc::new(service)
}

/// The transcript with `0xFE n` in place of many bytes, so that short inputs hold large values: what is sent, and its
/// outline, in which many bytes are fewer.
fn expanded(transcript: &[u8]) -> (Vec<u8>, Vec<u8>) {
    let (mut bytes, mut outline) = (Vec::with_capacity(transcript.len()), Vec::with_capacity(transcript.len()));
    let mut rest = transcript;
    let mut budget = EXPANDED_BYTES_MAX;
    while let Some((&first, behind)) = rest.split_first() {
        rest = behind;
        match (first, rest.split_first()) {
            (LONG, Some((&index, behind))) => {
                let count = LENGTHS[usize::from(index) % LENGTHS.len()].min(budget);
                budget -= count;
                bytes.resize(bytes.len() + count, b'x');
                outline.resize(outline.len() + count.min(OUTLINE_BYTES_MAX), b'x');
                rest = behind;
            }
            _ => {
                bytes.push(first);
                outline.push(first);
            }
        }
    }
    (bytes, outline)
}

/// Bytes of a repetition in the outline: too many for a key, and for an unfinished line.
const OUTLINE_BYTES_MAX: usize = 2100;

/// Announces a repetition.
const LONG: u8 = 0xfe;
const EXPANDED_BYTES_MAX: usize = 400_000;

/// Lengths at which a server changes its mind, and some in between.
const LENGTHS: [usize; 24] = [
    10, 100, 249, 250, 251, 1000, 2000, 2046, 2048, 4096, 8192, 16_000, 16_320, 16_384, 20_000, 30_000, 65_534, 65_536,
    70_000, 100_000, 130_800, 131_000, 131_072, 150_000,
];

/// What an input may do that lets replies depend on cuts or time.
#[derive(Debug)]
struct Exceptions {
    /// A key that is too long in a get takes the replies of its turn back.
    has_long_key: bool,
    /// A line longer than an unfinished one may be closes the connection, unless it arrives at once.
    has_long_line: bool,
    /// Statistics show times and buffers, and watchers times.
    has_statistics: bool,
    is_watching: bool,
    /// Dumps are in the order of hashes, and those differ from service to service.
    has_dump: bool,
}

impl Exceptions {
    fn of(input: &[u8]) -> Self {
        let has = |text: &[u8]| input.windows(text.len()).any(|window| window == text);
        let mut lines = input.split(|&byte| byte == b'\n');
        Self {
            has_long_key: lines.clone().any(has_long_key),
            has_long_line: lines.any(|line| line.len() >= UNFINISHED_BYTES_MAX),
            has_statistics: has(b"stats") || has(b"\x80\x10"),
            is_watching: has(b"watch"),
            has_dump: has(b"dump"),
        }
    }

    #[track_caller]
    fn compare(&self, whole: &Talk, other: &Talk, name: &str) {
        if self.has_long_key || self.is_watching || whole.end == End::TooMuch || other.end == End::TooMuch {
            return;
        }
        if self.has_statistics || self.has_dump {
            // What is left to be seen is that both ended alike.
            assert!(self.has_long_line || is_alike(whole.end, other.end), "{name}: {:?}, {:?}", whole.end, other.end);
            return;
        }
        let is_aborted = whole.end == End::Aborted || other.end == End::Aborted;
        // An abort over a socket shows as a close.
        if is_aborted || self.has_long_line {
            assert!(self.has_long_line || is_alike(whole.end, other.end), "{name}: {:?}, {:?}", whole.end, other.end);
            let bytes = whole.sent.len().min(other.sent.len());
            assert!(whole.sent[..bytes] == other.sent[..bytes], "{}", difference(whole, other, name));
            return;
        }
        assert!(whole.end == other.end && whole.sent == other.sent, "{}", difference(whole, other, name));
    }
}

fn is_alike(one: End, other: End) -> bool {
    (one == End::Open) == (other == End::Open)
}

/// Whether a line gets a key of more than 250 bytes.
fn has_long_key(line: &[u8]) -> bool {
    let word = |word: &[u8]| line.windows(word.len()).position(|window| window == word);
    let Some(start) = [word(b"get"), word(b"gat")].into_iter().flatten().min() else {
        return false;
    };
    line[start..].split(|&byte| byte == b' ').any(|token| token.len() > 250)
}

fn difference(whole: &Talk, other: &Talk, name: &str) -> String {
    let at = whole.sent.iter().zip(&other.sent).take_while(|(one, other)| one == other).count();
    let show = |talk: &Talk| {
        let from = at.saturating_sub(60);
        let end = talk.sent.len().min(at + 200);
        format!("{:?}, {} bytes: …{}…", talk.end, talk.sent.len(), talk.sent[from..end].escape_ascii())
    };
    format!("replies differ at byte {at}\nwhole: {}\n{name}: {}", show(whole), show(other))
}
