//! Hostile inputs: transcripts of all three protocols, broken at random.
//!
//! An input is one transcript, as it is or changed in a few places: bits, bytes, numbers, lengths, cuts, repetitions,
//! pieces of another transcript. The same seed makes the same inputs.

use crate::packet::Packet;
use crate::random::Random;
use crate::template::Bindings;
use crate::version::REFERENCE;

/// Makes inputs without end.
#[derive(Debug)]
pub struct Mutator {
    random: Random,
    transcripts: Vec<Vec<u8>>,
    binary_from: usize,
}

impl Mutator {
    /// The inputs of a seed.
    pub fn new(seed: u64) -> Result<Mutator, String> {
        let mut transcripts: Vec<Vec<u8>> = TEXT.iter().map(|text| text.to_vec()).collect();
        transcripts.extend(LARGE.iter().map(|&(line, bytes)| large(line, bytes)));
        let binary_from = transcripts.len();
        for packets in BINARY {
            let mut transcript = Vec::new();
            for packet in packets.split('|') {
                transcript.extend(Packet::request(packet.trim())?.build(&Bindings::new(REFERENCE))?);
            }
            transcripts.push(transcript);
        }
        transcripts.push(large_packet(0x01, 8, 20_000));
        transcripts.push(large_packet(0x0e, 0, 30_000));
        Ok(Mutator { random: Random::new(seed), transcripts, binary_from })
    }

    /// Appends the next input to `out`. Binary ones only fit a connection that began so.
    pub fn append(&mut self, is_binary: bool, out: &mut Vec<u8>) {
        let start = out.len();
        let mut index = self.pick(is_binary);
        if self.transcripts[index].len() > LARGE_BYTES && !self.random.one_in(20) {
            index = self.pick(is_binary);
        }
        let mut input = self.transcripts[index].clone();
        if !self.random.one_in(4) {
            for _ in 0..=self.random.below(CHANGES_MAX) {
                self.change(&mut input, is_binary);
            }
        }
        input.truncate(INPUT_BYTES_MAX);
        out.extend_from_slice(&input);
        debug_assert!(out.len() >= start);
    }

    /// The source of all choices.
    pub fn random(&mut self) -> &mut Random {
        &mut self.random
    }

    fn pick(&mut self, is_binary: bool) -> usize {
        // Now and then the wrong protocol.
        if is_binary != self.random.one_in(100) {
            self.binary_from + self.random.below(self.transcripts.len() - self.binary_from)
        } else {
            self.random.below(self.binary_from)
        }
    }

    fn change(&mut self, input: &mut Vec<u8>, is_binary: bool) {
        if input.is_empty() {
            return;
        }
        let at = self.random.below(input.len());
        let end = (at + 1 + self.random.below(40)).min(input.len());
        match self.random.below(12) {
            0 => input[at] ^= 1 << self.random.below(8),
            1 => input[at] = BYTES[self.random.below(BYTES.len())],
            2 => input[at] = self.random.number() as u8,
            3 => drop(input.drain(at..end)),
            4 => {
                let piece = input[at..end].to_vec();
                input.splice(at..at, piece);
            }
            5 => {
                let byte = BYTES[self.random.below(BYTES.len())];
                let count = [1, 3, 200, 250, 251, 1100, 2040, 2048][self.random.below(8)];
                input.splice(at..at, std::iter::repeat_n(byte, count));
            }
            6 => input.truncate(at),
            7 => {
                let other = self.pick(is_binary);
                let other = &self.transcripts[other];
                let from = self.random.below(other.len());
                let to = (from + 60).min(other.len());
                input.splice(at..end, other[from..to].iter().copied());
            }
            _ if is_binary => self.change_length(input),
            _ => self.change_number(input, at),
        }
    }

    /// Puts an interesting number in place of the first one at or behind `at`.
    fn change_number(&mut self, input: &mut Vec<u8>, at: usize) {
        let Some(start) = (at..input.len()).find(|&index| input[index].is_ascii_digit()) else {
            return;
        };
        let digits = input[start..].iter().take_while(|byte| byte.is_ascii_digit()).count();
        let number = self.random.choose(&NUMBERS);
        input.splice(start..start + digits, number.bytes());
    }

    /// Changes a length field of the first header.
    fn change_length(&mut self, input: &mut [u8]) {
        let number =
            [0, 1, 8, 20, 24, 250, 251, 255, 16_384, 65_535, 1 << 20, 1 << 30, u32::MAX][self.random.below(13)];
        let bytes = number.to_be_bytes();
        let field = [2..4, 4..5, 8..12, 16..20][self.random.below(4)].clone();
        if let Some(place) = input.get_mut(field) {
            let from = bytes.len() - place.len();
            place.copy_from_slice(&bytes[from..]);
        }
    }
}

fn large(line: &str, value_bytes: usize) -> Vec<u8> {
    let mut transcript = format!("{line}\r\n").into_bytes();
    transcript.extend(std::iter::repeat_n(b'x', value_bytes));
    transcript.extend(b"\r\nget large\r\n");
    transcript
}

fn large_packet(opcode: u8, extras_bytes: u8, value_bytes: usize) -> Vec<u8> {
    let body = u32::from(extras_bytes) + 5 + value_bytes as u32;
    let mut packet = vec![0x80, opcode, 0, 5, extras_bytes, 0, 0, 0];
    packet.extend(body.to_be_bytes());
    packet.extend([0; 12]);
    packet.extend(std::iter::repeat_n(0, usize::from(extras_bytes)));
    packet.extend(b"large");
    packet.extend(std::iter::repeat_n(b'y', value_bytes));
    packet
}

const CHANGES_MAX: usize = 4;
const LARGE_BYTES: usize = 4000;
const INPUT_BYTES_MAX: usize = 1_200_000;

/// Bytes that mean something to a parser.
const BYTES: [u8; 16] = *b"\0\r\n \t0-+9:=kqx\x80\xff";

const NUMBERS: [&str; 30] = [
    "0",
    "-0",
    "-1",
    "1",
    "2",
    "9",
    "30",
    "60",
    "61",
    "249",
    "250",
    "251",
    "1023",
    "1024",
    "2048",
    "8191",
    "16320",
    "16383",
    "16384",
    "16385",
    "65536",
    "524288",
    "1000000",
    "1048576",
    "2147483647",
    "2147483648",
    "4294967295",
    "4294967296",
    "18446744073709551615",
    "99999999999999999999",
];

const LARGE: [(&str, usize); 7] = [
    ("set large 5 0 16384", 16384),
    ("set large 0 100 20000", 20000),
    ("append large 0 0 20000", 20000),
    ("prepend large 0 0 5000", 5000),
    ("ms large S100000 T90 I c", 100_000),
    ("set large 0 0 600000", 600_000),
    ("set large 0 0 1048000", 1_048_000),
];

const TEXT: [&[u8]; 48] = [
    b"set a 0 0 5\r\nhello\r\nget a\r\n",
    b"set b 4294967295 60 1\r\nx\r\ngets a b c\r\n",
    b"add c 1 -1 3 noreply\r\nabc\r\nget c\r\n",
    b"replace a 0 0 0\r\n\r\n",
    b"append a 0 0 3\r\nxyz\r\nprepend a 0 0 2\r\n<<\r\n",
    b"set n 0 0 20\r\n18446744073709551615\r\nincr n 1\r\ndecr n 18446744073709551615\r\n",
    b"set n 0 0 1\r\n9\r\nincr n 1\r\ndecr n 5\r\nincr n 18446744073709551615 noreply\r\n",
    b"cas a 0 0 3 12\r\nabc\r\n",
    b"gets a\r\ncas a 0 0 2 1 noreply\r\nxx\r\n",
    b"touch a 10\r\ngat 0 a b c d\r\ngats 100 a n\r\n",
    b"delete a\r\ndelete b 0\r\ndelete c noreply\r\ndelete n 5\r\n",
    b"get a b c d e f g h i j k l m n o p q r s t u v w x y z\r\n",
    b"get aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa large large a\r\n",
    b"version\r\nverbosity 0\r\nverbosity 0 noreply\r\n",
    b"flush_all\r\nflush_all 5\r\nflush_all 0 noreply\r\nflush_all -1\r\n",
    b"stats\r\n",
    b"stats items\r\nstats slabs\r\nstats sizes\r\n",
    b"stats settings\r\nstats conns\r\n",
    b"stats cachedump 1 10\r\nstats cachedump 0 0\r\nstats cachedump 63 2\r\n",
    b"stats detail on\r\nget a:b\r\nset a:c 0 0 1\r\nz\r\nstats detail dump\r\nstats detail off\r\n",
    b"stats reset\r\nstats nothing\r\n",
    b"lru_crawler crawl all\r\nlru_crawler tocrawl 10\r\nlru_crawler sleep 0\r\n",
    b"lru_crawler metadump all\r\n",
    b"lru_crawler mgdump hash\r\n",
    b"lru_crawler disable\r\nlru_crawler enable\r\n",
    b"lru tune 10 20 0.1 2.0\r\nlru mode flat\r\nlru mode segmented\r\nlru temp_ttl 30\r\n",
    b"slabs reassign 1 2\r\nslabs reassign -1 5\r\nslabs reassign 31 0\r\nslabs automove 1\r\nslabs automove 2\r\n",
    b"slabs automove ratio 0.5\r\nslabs automove window 3\r\nslabs automove freeratio 0.1\r\n",
    b"watch fetchers mutations evictions\r\n",
    b"watch sysevents connevents deletions rawcmds\r\n",
    b"quit\r\n",
    b"shutdown\r\nrefresh_certs\r\nmisbehave\r\ndebugtime 5\r\ndebugitem ref a\r\n",
    b"mn\r\n",
    b"mg a v f k s t c l h O123 q\r\nmn\r\n",
    b"mg x N30 v t E77 T20 R10\r\nmg x v\r\n",
    b"mg YWJj b k v\r\nms YWJj 3 b\r\nabc\r\nmd YWJj b q\r\n",
    b"ms a 5 T30 F7 c k Oabc I C5 E18446744073709551615 q\r\nhello\r\n",
    b"ms a 3 MA N60\r\nabc\r\nms a 3 MP\r\nabc\r\nms a 3 ME\r\nabc\r\nms a 3 MR\r\nabc\r\n",
    b"ms a S3\r\nabc\r\nms a 2147483647\r\n",
    b"md a I T30 x C1 E5 k O9\r\nmd a q\r\n",
    b"ma n\r\nma n MD D5 v t c k q\r\nma new N0 J13 D2 T30 E1152921504606846976 v\r\n",
    b"me a\r\nme nothing b\r\nmg a k v\r\n",
    b"ms sized S10000 T0\r\n",
    b"set half 0 0 100\r\npart of it",
    b"gat\r\nget\r\nget \r\nset\r\nincr a\r\ntouch\r\ncas a 0 0\r\n",
    b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
    b"\r\n\n\r\r\n \r\nget  a  \r\n",
    b"set a 0 2592001 1\r\nx\r\nset a 0 4000000000 1\r\nx\r\nget a\r\n",
];

const BINARY: [&str; 14] = [
    "set key=a extras=00000005_00000000 value=hello | get key=a | getk key=a opaque=00000007",
    "add key=b extras=00000000_0000003c value=1 cas=5 | replace key=b extras=00000000_00000000 value=xy",
    "append key=a value=tail | prepend key=a value=head | appendq key=a value=q | prependq key=none value=q",
    "incr key=n extras=0000000000000001_0000000000000005_00000000 | decr key=n extras=0000000000000009_0000000000000000_ffffffff",
    "incrq key=m extras=ffffffffffffffff_ffffffffffffffff_0000000a | decrq key=m extras=0000000000000001_0000000000000000_00000000",
    "getq key=a | getkq key=none | getq key=large | noop opaque=0000beef",
    "delete key=a | deleteq key=b | delete key=c cas=9",
    "touch key=a extras=00000064 | gat key=a extras=00000000 | gatq key=a extras=00000005 | gatk key=a extras=00000005",
    "stat | stat key=items | stat key=slabs | stat key=sizes | stat key=reset | stat key=settings",
    "stat key=detail\\son | stat key=detail\\sdump | stat key=detail\\soff | stat key=rubbish",
    "version | noop | flush | flushq extras=00000005 | verbosity extras=00000000",
    "setq key=a extras=00000000_00000000 value=quiet | setq key=b extras=00000000_ffffffff value= | noop",
    "sasl_list | sasl_auth key=PLAIN value=user | sasl_step key=PLAIN value=x | 0x55 key=a value=b",
    "quitq | get key=a | quit",
];

#[cfg(test)]
mod tests {
    use super::Mutator;

    #[test]
    fn a_seed_is_all_there_is() {
        let inputs = |seed| {
            let mut mutator = Mutator::new(seed).unwrap();
            let mut out = Vec::new();
            (0..500).for_each(|index| mutator.append(index % 2 == 0, &mut out));
            out
        };
        assert_eq!(inputs(7), inputs(7));
        assert_ne!(inputs(7), inputs(8));
    }
}
