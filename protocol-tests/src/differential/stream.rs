//! The stream: batches of commands without end, the same for the same seed.
//!
//! Four in five commands are ones a client would send; one in five is broken, by a table of known mistakes or by chance.
//! Commands that only keep these apart are not counted. Batches speak text (classic and meta mixed) or binary.
//!
//! What depends on how the system cuts the input, or on when a thread runs, is left out or put behind a [`sync`](Sync):
//!
//! - memcached pads a number that gets shorter, unless something still refers to the item: a reply that waits to be sent,
//!   or the queue of fetched items, which a thread empties at its time. A number that was fetched is stored anew before it
//!   is counted with;
//! - a key that is too long in a `get` drops the replies that wait;
//! - a line above 2048 bytes that is no `get` closes the connection, unless it arrives at once;
//! - memcached gives the first classic store of a connection the id that an earlier connection left behind, if its last
//!   store was a binary one or a refused `ms`: each batch begins with a store that nobody looks at;
//! - `ma` with `T` or `E` loses both in memcached when the new number is longer: here its numbers have one length;
//! - memcached's flush misses items that were fetched in its own second: [`Pair::flush`](super::pair::Pair::flush) waits;
//! - crawls, page moves, dumps, watchers, delayed flushes and short expiry times take their time. The clock's case files
//!   are played against memcached too.

use std::collections::{BTreeSet, HashSet};

use crate::random::Random;

/// A part of a command.
#[derive(Clone, Debug, PartialEq)]
pub enum Piece {
    /// These bytes.
    Bytes(Vec<u8>),
    /// The CAS id that the server being asked has given a key, plus something, in digits or as eight bytes.
    Cas {
        /// The key.
        key: Vec<u8>,
        /// What is added; wraps.
        offset: i64,
        /// Eight bytes in network order.
        is_binary: bool,
    },
}

/// What a command is there for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Kind {
    /// A client would send it.
    #[default]
    Valid,
    /// It breaks a rule.
    Broken,
    /// It keeps others apart, and is not counted.
    Filler,
}

/// One command, with its data. Broken ones may be anything.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Command {
    /// What is sent.
    pub pieces: Vec<Piece>,
    /// What for.
    pub kind: Kind,
}

impl Command {
    /// A command of bytes only.
    pub fn bytes(bytes: impl Into<Vec<u8>>) -> Command {
        Command { pieces: vec![Piece::Bytes(bytes.into())], kind: Kind::Valid }
    }

    /// A command that is not counted.
    pub fn filler(bytes: impl Into<Vec<u8>>) -> Command {
        Command { kind: Kind::Filler, ..Command::bytes(bytes) }
    }

    /// Deletes a key.
    pub fn forget(key: &[u8]) -> Command {
        Command::bytes([b"delete ", key, b"\r\n"].concat())
    }

    /// Adds bytes.
    pub fn push(&mut self, bytes: impl AsRef<[u8]>) {
        match self.pieces.last_mut() {
            Some(Piece::Bytes(last)) => last.extend_from_slice(bytes.as_ref()),
            _ => self.pieces.push(Piece::Bytes(bytes.as_ref().to_vec())),
        }
    }

    /// The bytes of a server whose CAS ids `cas` knows.
    pub fn append_to(&self, out: &mut Vec<u8>, cas: impl Fn(&[u8]) -> u64) {
        for piece in &self.pieces {
            match piece {
                Piece::Bytes(bytes) => out.extend_from_slice(bytes),
                Piece::Cas { key, offset, is_binary } => {
                    let number = cas(key).wrapping_add_signed(*offset);
                    match is_binary {
                        true => out.extend(number.to_be_bytes()),
                        false => out.extend(number.to_string().bytes()),
                    }
                }
            }
        }
    }
}

/// All that one connection says.
#[derive(Clone, Debug, Default)]
pub struct Batch {
    /// Whether it is in the binary protocol.
    pub is_binary: bool,
    /// The command that is broken by chance, if there is one: what becomes of the rest is not known.
    pub mutated: Option<usize>,
    /// In their order.
    pub commands: Vec<Command>,
}

impl Batch {
    /// How many commands are of a kind.
    pub fn count(&self, kind: Kind) -> usize {
        self.commands.iter().filter(|command| command.kind == kind).count()
    }

    /// Commands that count.
    pub fn counted(&self) -> usize {
        self.commands.len() - self.count(Kind::Filler)
    }

    /// The last command breaks a rule.
    fn mark_broken(&mut self) {
        if let Some(last) = self.commands.last_mut() {
            last.kind = Kind::Broken;
        }
    }

    /// All bytes for a server whose CAS ids `cas` knows, and where those of the mutated command begin.
    pub fn input(&self, cas: impl Fn(&[u8]) -> u64) -> (Vec<u8>, Option<usize>) {
        let (mut input, mut mutated_at) = (Vec::new(), None);
        for (index, command) in self.commands.iter().enumerate() {
            if self.mutated == Some(index) {
                mutated_at = Some(input.len());
            }
            command.append_to(&mut input, &cas);
        }
        (input, mutated_at)
    }
}

impl Batch {
    /// The commands for people, each with its first bytes.
    pub fn shown(&self) -> String {
        let mut text = String::from("\nthe batch:\n");
        for command in &self.commands {
            let mut bytes = Vec::new();
            command.append_to(&mut bytes, |_| 0);
            let length = bytes.len();
            bytes.truncate(200);
            text.push_str(&format!("{} ({length} bytes)\n", bytes.escape_ascii()));
        }
        text
    }
}

/// Makes batches.
#[derive(Debug)]
pub struct Stream {
    pub(super) random: Random,
    batches: u64,
    /// A broken command is being made: it has keys of its own, so that what it does to them does not matter later.
    pub(super) is_private: bool,
    /// Keys that were fetched since they were stored to be counted with.
    fetched: HashSet<Vec<u8>>,
    /// The keys used so far, while a script is made.
    keys: BTreeSet<Vec<u8>>,
    has_memory: bool,
}

impl Stream {
    /// The stream of a seed.
    pub fn new(seed: u64) -> Stream {
        Stream {
            random: Random::new(seed),
            batches: 0,
            is_private: false,
            fetched: HashSet::new(),
            keys: BTreeSet::from([b"wide".to_vec(), b"first".to_vec()]),
            has_memory: false,
        }
    }

    /// The next batch.
    pub fn batch(&mut self) -> Batch {
        self.batches += 1;
        let is_binary = self.random.one_in(3);
        let mut batch = Batch { is_binary, ..Batch::default() };
        if !is_binary {
            batch.commands.push(Command::filler("set first 0 0 1\r\nx\r\ndelete first\r\n"));
        }
        for _ in 0..1 + self.random.below(BATCH_COMMANDS_MAX) {
            if batch.commands.len() < 2 || self.random.below(100) >= BROKEN_PERCENT {
                self.valid(&mut batch);
                continue;
            }
            self.sync(&mut batch);
            if !self.random.one_in(3) {
                self.is_private = true;
                match is_binary {
                    true => self.broken_packet(&mut batch),
                    false => self.broken_line(&mut batch),
                }
                batch.mark_broken();
                self.is_private = false;
                self.sync(&mut batch);
                continue;
            }
            // What becomes of the rest is not known, so little follows.
            self.is_private = true;
            self.mutated(&mut batch);
            batch.mark_broken();
            batch.mutated = Some(batch.commands.len() - 1);
            for _ in 0..self.random.below(3) {
                self.sync(&mut batch);
                match is_binary {
                    true => self.packet(&mut batch),
                    // The id of a refused `ms` would go to a classic store.
                    false => self.meta(&mut batch),
                }
            }
            self.is_private = false;
            break;
        }
        batch
    }

    /// A batch of some bytes and no broken commands; for being cut everywhere.
    pub fn script(&mut self, bytes: usize, is_binary: bool) -> Batch {
        self.batches += 1;
        self.has_memory = true;
        self.fetched.clear();
        let mut batch = Batch { is_binary, ..Batch::default() };
        let length = |batch: &Batch| {
            let mut out = Vec::new();
            batch.commands.iter().for_each(|command| command.append_to(&mut out, |_| 0));
            out.len()
        };
        while length(&batch) < bytes {
            let before = batch.commands.len();
            self.valid(&mut batch);
            if length(&batch) > bytes + SCRIPT_SLACK_BYTES {
                batch.commands.truncate(before);
            }
        }
        batch
    }

    fn valid(&mut self, batch: &mut Batch) {
        match batch.is_binary {
            true => self.packet(batch),
            false => self.line(batch),
        }
    }

    fn line(&mut self, batch: &mut Batch) {
        match self.random.below(100) {
            0..70 => self.classic(batch),
            _ => self.meta(batch),
        }
    }

    /// A command after which no reply waits.
    pub(super) fn sync(&mut self, batch: &mut Batch) {
        let noop = match batch.is_binary {
            true => Command::filler([0x80, 0x0a].into_iter().chain([0; 22]).collect::<Vec<u8>>()),
            false => Command::filler("mn\r\n"),
        };
        batch.commands.push(noop);
    }

    /// Takes note of a fetch.
    pub(super) fn fetches(&mut self, key: &[u8]) {
        if !self.fetched.contains(key) {
            self.fetched.insert(key.to_vec());
        }
    }

    /// Sees to it that nothing refers to the number under the key.
    pub(super) fn counts(&mut self, key: &[u8], batch: &mut Batch) {
        if !self.fetched.remove(key) {
            return;
        }
        let digits = self.digits();
        let mut command = match batch.is_binary {
            false => Command::bytes([b"set ", key, format!(" 0 0 {}\r\n", digits.len()).as_bytes()].concat()),
            true => {
                let body = (8 + key.len() + digits.len()) as u32;
                let mut header = vec![0x80, 0x01, 0, key.len() as u8, 8, 0, 0, 0];
                header.extend(body.to_be_bytes());
                Command::bytes([&header, &[0; 20][..], key].concat())
            }
        };
        command.push(&digits);
        if !batch.is_binary {
            command.push("\r\n");
        }
        batch.commands.push(command);
    }

    /// A key to use: mostly one of a few.
    pub(super) fn key(&mut self) -> Vec<u8> {
        if self.is_private {
            return format!("private-{:08}-{}", self.batches, self.random.below(3)).into_bytes();
        }
        let key = match self.random.below(24) {
            0 => format!("long{:-<246}", self.random.below(4)).into_bytes(),
            1 => format!("missing{}", self.random.below(1000)).into_bytes(),
            2 => format!("\x01odd\x7f\t{}", self.random.below(4)).into_bytes(),
            3 => [b"\xff\x80high".as_slice(), &[b'0' + self.random.below(4) as u8]].concat(),
            4 => self.pinned(),
            5 => self.counter(),
            _ => format!("k{}", self.random.below(60)).into_bytes(),
        };
        self.remember(key)
    }

    /// A key of a number.
    pub(super) fn counter(&mut self) -> Vec<u8> {
        match self.is_private {
            true => self.key(),
            false => {
                let key = format!("n{}", self.random.below(12)).into_bytes();
                self.remember(key)
            }
        }
    }

    /// A key to count with, mostly of a number. Not one in base64.
    pub(super) fn countable(&mut self) -> Vec<u8> {
        match self.random.one_in(10) && !self.is_private {
            true => {
                let key = format!("k{}", self.random.below(60)).into_bytes();
                self.remember(key)
            }
            false => self.counter(),
        }
    }

    /// A key for base64.
    pub(super) fn pinned(&mut self) -> Vec<u8> {
        let number = self.random.below(6);
        match self.is_private {
            true => format!("private-binary-{:08}-{number}", self.batches).into_bytes(),
            false => self.remember(format!("binary{number}").into_bytes()),
        }
    }

    fn remember(&mut self, key: Vec<u8>) -> Vec<u8> {
        if self.has_memory && !self.keys.contains(&key) {
            self.keys.insert(key.clone());
        }
        key
    }

    /// The keys of the scripts so far.
    pub fn keys(&self) -> impl Iterator<Item = &[u8]> {
        self.keys.iter().map(Vec::as_slice)
    }

    /// A value; short ones are frequent.
    pub(super) fn value(&mut self) -> Vec<u8> {
        let length = match self.random.below(200) {
            // What is not taken for data is taken for a line, which must not become too long.
            _ if self.is_private => self.random.below(300),
            0..120 => self.random.below(50),
            120..170 => self.random.below(700),
            170..190 => self.random.below(5000),
            190..199 => self.random.below(20_000),
            _ => self.random.below(VALUE_BYTES_MAX),
        };
        self.value_of(length)
    }

    /// A value of some bytes, none of them a space at its ends.
    pub(super) fn value_of(&mut self, length: usize) -> Vec<u8> {
        if self.random.one_in(6) && length <= 20 {
            return self.digits().into_bytes();
        }
        let word = self.random.number().to_le_bytes().map(|byte| if byte < b'!' { byte + b'!' } else { byte });
        word.into_iter().cycle().take(length).collect()
    }

    /// A number that fits 64 bits.
    pub(super) fn digits(&mut self) -> String {
        match self.random.below(6) {
            0 => "0".to_string(),
            1 => self.random.below(10).to_string(),
            2 => u64::MAX.to_string(),
            3 => self.random.number().to_string(),
            _ => self.random.below(1_000_000).to_string(),
        }
    }

    /// An expiry time: never, at once, or not during this run.
    pub(super) fn exptime(&mut self) -> String {
        match self.random.below(10) {
            0 => "-1".to_string(),
            1 => (100_000 + self.random.below(900_000)).to_string(),
            2 => "2592000".to_string(),
            3 => "2000000000".to_string(),
            _ => "0".to_string(),
        }
    }

    /// Client flags.
    pub(super) fn flags(&mut self) -> u32 {
        match self.random.below(4) {
            0 => self.random.number() as u32,
            1 => self.random.below(300) as u32,
            _ => 0,
        }
    }

    /// The CAS id of a key as the server knows it, or nearly.
    pub(super) fn cas_of(&mut self, key: &[u8], is_binary: bool) -> Piece {
        let offset = match self.random.below(8) {
            0 => 1,
            1 => -1,
            _ => 0,
        };
        Piece::Cas { key: key.to_vec(), offset, is_binary }
    }
}

/// Options of both, and of slabstash alone. Memory is enough for everything: what is evicted is another matter.
pub const OPTIONS: [(&str, &str); 5] = [
    ("-m 1024 -t 2", ""),
    ("-m 1024 -t 2", "-o partitions=16"),
    ("-m 1024 -t 1 -C", ""),
    ("-m 1024 -t 1 -o slab_chunk_max=16", "-o eviction_policy=segmented"),
    ("-m 1024 -t 4 -I 2m -f 1.08 -n 10 -R 3", "-o eviction_policy=flat"),
];

/// A script that is cut at each byte.
pub const SCRIPT_BYTES: usize = 4096;

/// Commands of a batch.
const BATCH_COMMANDS_MAX: usize = 100;

/// So often a command is to be broken. The first of a batch and some that go with others never are: one in five is.
const BROKEN_PERCENT: usize = 24;

const VALUE_BYTES_MAX: usize = 70_000;

/// A script to be cut everywhere may be longer than asked by this.
const SCRIPT_SLACK_BYTES: usize = 300;

#[cfg(test)]
mod tests {
    use super::{Kind, Stream};

    fn bytes(seed: u64, batches: usize) -> Vec<u8> {
        let mut stream = Stream::new(seed);
        let mut out = Vec::new();
        for _ in 0..batches {
            stream.batch().commands.iter().for_each(|command| command.append_to(&mut out, |key| key.len() as u64));
        }
        out
    }

    #[test]
    fn a_seed_is_all_there_is() {
        assert_eq!(bytes(3, 50), bytes(3, 50));
        assert_ne!(bytes(3, 50), bytes(4, 50));
    }

    #[test]
    fn one_command_in_five_is_broken() {
        let mut stream = Stream::new(7);
        let (mut broken, mut counted) = (0, 0);
        for _ in 0..6000 {
            let batch = stream.batch();
            broken += batch.count(Kind::Broken);
            counted += batch.counted();
        }
        let percent = broken as f64 * 100.0 / counted as f64;
        assert!((19.5..20.5).contains(&percent), "{percent} percent of {counted}");
    }

    #[test]
    fn all_protocols_and_mistakes_are_there() {
        let out = bytes(1, 400);
        let has = |text: &[u8]| out.windows(text.len()).any(|window| window == text);
        for word in [&b"gets "[..], b"cas ", b"mg ", b"ms ", b"ma ", b"md ", b"me ", b"incr ", b"\x80\x01", b"\x80\x1d"]
        {
            assert!(has(word), "{}", word.escape_ascii());
        }
    }
}
