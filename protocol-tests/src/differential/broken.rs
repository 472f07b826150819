//! Commands that break a rule: by a table of the mistakes that each command knows, and by chance.

use super::stream::{Batch, Command, Piece, Stream};

impl Stream {
    /// Adds a line that breaks a rule, with the data that would belong to it.
    pub(super) fn broken_line(&mut self, batch: &mut Batch) {
        let line = self.random.choose(&MISTAKES);
        let key = String::from_utf8_lossy(&self.key()).into_owned();
        let long = "x".repeat(251);
        let line = line.replace('@', &key).replace('#', &long).replace("$", &"o".repeat(40));
        // Where a line may stand alone, noreply may be behind it.
        let line = match line.contains('\n') || !self.random.one_in(20) {
            true => format!("{line}\r\n"),
            false => format!("{line} noreply\r\n"),
        };
        batch.commands.push(Command::bytes(line));
    }

    /// Adds a command that is changed in a few places.
    pub(super) fn mutated(&mut self, batch: &mut Batch) {
        let mut made = Batch { is_binary: batch.is_binary, ..Batch::default() };
        match batch.is_binary {
            true => self.packet(&mut made),
            // Commands about the server change more than keys of their own.
            false if self.random.one_in(3) => self.meta(&mut made),
            false => loop {
                made.commands.clear();
                self.classic(&mut made);
                if made.commands.iter().any(takes_a_key) {
                    break;
                }
            },
        }
        let mut command = made.commands.pop().unwrap_or_else(|| Command::filler(""));
        for _ in 0..=self.random.below(3) {
            let index = self.random.below(command.pieces.len());
            if let Some(Piece::Bytes(bytes)) = command.pieces.get_mut(index) {
                change(&mut self.random, bytes, batch.is_binary);
            }
        }
        batch.commands.append(&mut made.commands);
        batch.commands.push(command);
    }
}

fn takes_a_key(command: &Command) -> bool {
    let Some(Piece::Bytes(bytes)) = command.pieces.first() else { return false };
    let key = b"private-";
    bytes.windows(key.len()).any(|window| window == key)
}

fn change(random: &mut crate::random::Random, bytes: &mut Vec<u8>, is_binary: bool) {
    if bytes.is_empty() {
        return;
    }
    // Values are long and keep nothing: most changes belong in front.
    let reach = if random.one_in(4) { bytes.len() } else { bytes.len().min(60) };
    let at = random.below(reach);
    let end = (at + 1 + random.below(8)).min(bytes.len());
    match random.below(8) {
        0 => bytes[at] ^= 1 << random.below(8),
        1 => bytes[at] = BYTES[random.below(BYTES.len())],
        2 => bytes[at] = random.number() as u8,
        3 => drop(bytes.drain(at..end)),
        4 => {
            let piece = bytes[at..end].to_vec();
            bytes.splice(at..at, piece);
        }
        5 => {
            let byte = BYTES[random.below(BYTES.len())];
            let count = [1, 2, 30, 249, 250, 251][random.below(6)];
            bytes.splice(at..at, std::iter::repeat_n(byte, count));
        }
        6 => bytes.truncate(at.max(1)),
        _ if is_binary => {
            let at = [2, 3, 4, 5, 6, 10, 11][random.below(7)];
            if let Some(byte) = bytes.get_mut(at) {
                *byte = [0, 1, 4, 8, 20, 250, 251, 255][random.below(8)];
            }
        }
        _ => {
            let Some(start) = (at..bytes.len().min(at + 40)).find(|&index| bytes[index].is_ascii_digit()) else {
                return;
            };
            let digits = bytes[start..].iter().take_while(|byte| byte.is_ascii_digit()).count();
            let number = random.choose(&NUMBERS);
            bytes.splice(start..start + digits, number.bytes());
        }
    }
}

/// Bytes that mean something to a parser.
const BYTES: [u8; 14] = *b"\0\r\n \t0-+9=kq\x80\xff";

const NUMBERS: [&str; 16] = [
    "0",
    "-0",
    "-1",
    "+1",
    "007",
    "250",
    "251",
    "65536",
    "2147483647",
    "2147483648",
    "4294967295",
    "4294967296",
    "18446744073709551615",
    "18446744073709551616",
    "99999999999999999999999",
    "1.5",
];

/// Lines that are refused. `@` is a key, `#` one that is too long, `$` an opaque that is too long.
const MISTAKES: [&str; 129] = [
    // Words that are no commands.
    "nonsense",
    "nonsense @ 1 2 3",
    "GET @",
    "Set @ 0 0 1",
    " get @",
    "\tget @",
    "get\t@",
    "setx @ 0 0 1",
    "se @",
    "",
    "x",
    " ",
    "mnn",
    // Too few words.
    "get",
    "gets",
    "get ",
    "gat",
    "gat 0",
    "gats 0",
    "set",
    "set @",
    "set @ 0",
    "set @ 0 0",
    "add @ 0 0",
    "replace @ 0",
    "append @",
    "prepend",
    "cas",
    "cas @ 0 0",
    "incr",
    "incr @",
    "decr @",
    "touch",
    "touch @",
    "delete",
    "verbosity",
    "cache_memlimit",
    "lru",
    "lru tune",
    "lru tune 1",
    "lru nothing",
    "slabs",
    "slabs reassign",
    "slabs reassign 1",
    "slabs automove",
    "lru_crawler",
    "lru_crawler sleep",
    "lru_crawler tocrawl",
    "lru_crawler nothing 1",
    // Lengths.
    "set @ 0 0 x",
    "set @ 0 0 -1",
    "set @ 0 0 1.5",
    "set @ 0 0 +3",
    "set @ 0 0 2147483647",
    "set @ 0 0 99999999999",
    "set @ 0 0 000000000003",
    "set @ 0 0 3\r\nabcd",
    "set @ 0 0 3\r\nab",
    "set @ 0 0 3\r\nabc\n",
    "set @ 0 0 0\r\nx",
    "append @ 0 0 2\r\nabcd",
    "ms @ x",
    "ms @ -1",
    "ms @ 3\r\nabcd",
    "ms @ 2147483646",
    "ms @ S3\r\nabc",
    // Numbers.
    "set @ x 0 3\r\nabc",
    "set @ -1 0 3\r\nabc",
    "set @ 0 x 3\r\nabc",
    "set @ 99999999999999999999 0 3\r\nabc",
    "set @ 0 99999999999999999999 3\r\nabc",
    "set @ 4294967296 0 3\r\nabc",
    "add @ 0x10 0 3\r\nabc",
    "cas @ 0 0 3\r\nabc",
    "cas @ 0 0 3 x\r\nabc",
    "cas @ 0 0 3 -1\r\nabc",
    "cas @ 0 0 3 18446744073709551616\r\nabc",
    "cas @ 0 0 3 0\r\nabc",
    "incr @ x",
    "incr @ -1",
    "incr @ 1x",
    "decr @ 18446744073709551616",
    "incr @ +1",
    "touch @ x",
    "touch @ 99999999999",
    "gat x @",
    "gats +5 @",
    "flush_all x",
    "verbosity x",
    "cache_memlimit x",
    "cache_memlimit 7",
    "cache_memlimit 1000000001",
    "lru tune 80 20 1 1",
    "lru tune 20 20 0 1",
    "lru tune 20 20 x 1",
    "slabs automove 3",
    "slabs automove x",
    "slabs automove window 1",
    "slabs automove ratio x",
    "slabs reassign x 1",
    "slabs reassign 0 99",
    "slabs reassign 5 5",
    "lru_crawler sleep 1000001",
    "lru_crawler sleep x",
    "lru_crawler tocrawl x",
    // Keys.
    "set # 0 0 3\r\nabc",
    "set # 0 0 3 noreply\r\nabc",
    "incr # 1",
    "touch # 0",
    "delete #",
    "ms # 3\r\nabc",
    "mg # v",
    "md #",
    "ma #",
    "me #",
    "ms @ 3 b\r\nabc",
    "mg ==== b v",
    "md Y b",
    // Flags.
    "mg",
    "ms",
    "ms @",
    "md",
    "ma",
    "mg @ v v",
    "mg @ O$",
    "mg @ v T",
    "ma @ D",
    "md @ Tx",
    "ms @ 3 T\r\nabc",
];

#[cfg(test)]
mod tests {
    use super::MISTAKES;

    #[test]
    fn no_mistake_is_there_twice() {
        let mut seen = std::collections::HashSet::new();
        assert!(MISTAKES.iter().all(|line| seen.insert(*line)));
    }
}
