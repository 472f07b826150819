//! What a memcached has answered to a stream, kept in a file: so that the stream can be compared where there is no such
//! memcached.
//!
//! ```text
//! file    "memcached 1.6.45, ..."\n  epoch  entry  entry ...
//! entry   digest of the requests, 4 bytes
//!         flags: 1 the connection was reset, 2 folded, 4 whole
//!         number of replies | digest of each, 2 bytes; or, folded, of all, 8 bytes
//!         number of clocks  | each
//! ```
//! Numbers have seven bits a byte, low ones first; clocks have their sign in the lowest bit. Replies are told by their
//! [canonical](super::canonical) form; two bytes of it let one difference in 65536 pass, and seldom two in a row.

use super::canonical::{Canonical, Fnv, Reply};
use super::compare::{is_whole, longer, shorter, shown};
use super::ending::Ending;
use super::rules::Rule;
use super::stream::{Batch, Piece};

/// How much of the replies to a batch is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// Something of each.
    Each,
    /// One digest of all: for many replies that differ in little.
    Folded,
}

/// An answer, and how its connection ended.
#[derive(Clone, Copy, Debug)]
pub struct Answer<'a> {
    /// All that came.
    pub bytes: &'a [u8],
    /// Whether the connection was reset.
    pub is_reset: bool,
}

/// A record that is made, or read.
#[derive(Clone, Debug)]
pub struct Record {
    bytes: Vec<u8>,
    /// Read up to here; `None` for one that is made.
    read: Option<usize>,
    /// Seconds by which the clock has gone on since the record was made.
    later: i64,
}

impl Record {
    /// A record to be made now, by something that says of itself what it is.
    pub fn make(title: &str, epoch: u64) -> Record {
        let mut record = Record { bytes: format!("{title}\n").into_bytes(), read: None, later: 0 };
        record.write(epoch);
        record
    }

    /// A record to compare with now; it must be of this title.
    pub fn open(bytes: Vec<u8>, title: &str, epoch: u64) -> Result<Record, String> {
        let end = bytes.iter().position(|byte| *byte == b'\n').ok_or("no record")?;
        let found = String::from_utf8_lossy(&bytes[..end]).into_owned();
        if found != title {
            return Err(format!("the record is of '{found}', not of '{title}': {ANEW}"));
        }
        let mut record = Record { bytes, read: Some(end + 1), later: 0 };
        record.later = epoch as i64 - record.number()? as i64;
        Ok(record)
    }

    /// What is to be kept of a record that was made.
    pub fn into_bytes(self) -> Vec<u8> {
        self.bytes
    }

    /// Whether all that was recorded has been compared.
    pub fn is_at_end(&self) -> bool {
        self.read.is_none_or(|at| at == self.bytes.len())
    }

    /// Adds an answer to the record, or compares it; returns the rule by which it is longer or shorter, if it is.
    pub fn answer(
        &mut self,
        canonical: &mut Canonical,
        (batch, ending): (&Batch, Ending),
        answer: Answer<'_>,
        form: Form,
    ) -> Result<Option<Rule>, String> {
        if self.read.is_some() {
            return self.compare(canonical, (batch, ending), answer, form);
        }
        let replies = canonical.replies(batch.is_binary, answer.bytes, usize::MAX);
        self.bytes.extend(digest_of(batch).to_le_bytes());
        let is_answer_whole = is_whole(batch.is_binary, answer.bytes);
        let flag = |is_set: bool, flag: u8| if is_set { flag } else { 0 };
        self.bytes
            .push(flag(answer.is_reset, RESET) | flag(form == Form::Folded, FOLDED) | flag(is_answer_whole, WHOLE));
        self.write(replies.len() as u64);
        match form {
            Form::Each => replies.iter().for_each(|reply| self.bytes.extend(short(reply).to_le_bytes())),
            Form::Folded => self.bytes.extend(folded(&replies).to_le_bytes()),
        }
        let clocks: Vec<i64> = replies.iter().flat_map(|reply| reply.clocks.iter().copied()).collect();
        self.write(clocks.len() as u64);
        clocks.iter().for_each(|clock| self.write(clock.unsigned_abs() << 1 | u64::from(clock.is_negative())));
        Ok(None)
    }

    fn compare(
        &mut self,
        canonical: &mut Canonical,
        (batch, ending): (&Batch, Ending),
        answer: Answer<'_>,
        form: Form,
    ) -> Result<Option<Rule>, String> {
        if self.take::<4>()? != digest_of(batch).to_le_bytes() {
            return Err(format!("the stream is another one than that of the record: {ANEW}"));
        }
        let [flags] = self.take()?;
        if (flags & FOLDED != 0) != (form == Form::Folded) {
            return Err(format!("the record has another form: {ANEW}"));
        }
        let count = self.number()? as usize;
        let mut replies = canonical.replies(batch.is_binary, answer.bytes, count);
        if answer.is_reset && ending.may_be_reset && !is_whole(batch.is_binary, answer.bytes) {
            // A large reply was on its way and came in part.
            replies.pop();
        }
        match form {
            Form::Folded => {
                if self.take()? != folded(&replies).to_le_bytes() || count != replies.len() {
                    return Err(format!("other replies, {} and not {count}", replies.len()));
                }
            }
            Form::Each => {
                for index in 0..count {
                    let digest = u16::from_le_bytes(self.take()?);
                    if let Some(reply) = replies.get(index).filter(|reply| short(reply) != digest) {
                        let before = index.checked_sub(1).map(|index| replies[index].shown(answer.bytes));
                        return Err(format!(
                            "reply {index} at {} is another one, behind {}\n+ {}",
                            reply.start,
                            before.unwrap_or_default(),
                            reply.shown(answer.bytes)
                        ));
                    }
                }
            }
        }
        let mut clocks = replies.iter().flat_map(|reply| reply.clocks.iter().copied());
        for _ in 0..self.number()? {
            let number = self.number()?;
            let recorded = (number >> 1) as i64 * if number & 1 == 0 { 1 } else { -1 };
            if let Some(clock) = clocks.next().filter(|&clock| !self.is_near(recorded, clock)) {
                return Err(format!("{clock} seconds to live, not {recorded}"));
            }
        }
        // Replies of memcached that were cut are told from ours that are not by their digests.
        let known: usize = replies.iter().map(|reply| reply.length).sum();
        if replies.len() == count && known < answer.bytes.len() {
            let surplus = &answer.bytes[known..];
            let rule = longer(batch.is_binary, ending, surplus, flags & RESET != 0).filter(|_| flags & WHOLE != 0);
            return rule.map(Some).ok_or_else(|| format!("a surplus of {}", shown(surplus)));
        }
        if replies.len() < count {
            // How long the missing ones are is not known, so an empty one stands for them.
            let rule = shorter(batch.is_binary, ending, &[], answer.is_reset).filter(|_| count <= ending.replies_max);
            return rule.map(Some).ok_or_else(|| format!("{} replies instead of {count}", replies.len()));
        }
        Ok(None)
    }

    /// Whether seconds to live are those of the record: by the time since the item was stored, or by the time of day.
    fn is_near(&self, recorded: i64, clock: i64) -> bool {
        // A dump has the time of day itself.
        [0, self.later, -self.later].iter().any(|by| recorded.abs_diff(clock + by) <= CLOCK_SLACK_SECONDS)
    }

    fn write(&mut self, mut number: u64) {
        while number >= 0x80 {
            self.bytes.push(number as u8 | 0x80);
            number >>= 7;
        }
        self.bytes.push(number as u8);
    }

    fn number(&mut self) -> Result<u64, String> {
        let (mut number, mut shift) = (0, 0);
        loop {
            let [byte] = self.take()?;
            number |= u64::from(byte & 0x7f) << shift;
            shift += 7;
            if byte & 0x80 == 0 {
                return Ok(number);
            }
            if shift > 63 {
                return Err("the record is broken".to_string());
            }
        }
    }

    fn take<const N: usize>(&mut self) -> Result<[u8; N], String> {
        let at = self.read.unwrap_or(self.bytes.len());
        let bytes = self.bytes.get(at..at + N).and_then(|bytes| bytes.try_into().ok());
        self.read = Some(at + N);
        bytes.ok_or_else(|| format!("the record ends too soon: {ANEW}"))
    }
}

/// Stands for what is asked.
fn digest_of(batch: &Batch) -> u32 {
    let mut hash = Fnv::new();
    for piece in batch.commands.iter().flat_map(|command| &command.pieces) {
        match piece {
            Piece::Bytes(bytes) => hash.bytes(bytes),
            Piece::Cas { key, offset, is_binary } => {
                hash.bytes(key);
                hash.number(*offset as u64 ^ u64::from(*is_binary) << 32);
            }
        }
    }
    hash.0 as u32
}

fn short(reply: &Reply) -> u16 {
    (reply.digest >> 40) as u16
}

fn folded(replies: &[Reply]) -> u64 {
    let mut hash = Fnv::new();
    replies.iter().for_each(|reply| hash.number(reply.digest));
    hash.0
}

const RESET: u8 = 1;
const FOLDED: u8 = 2;
const WHOLE: u8 = 4;

/// What to do about a record that does not fit.
const ANEW: &str = "record it anew, protocol-tests/recorded/README.md says how";

/// Seconds by which the time between a store and a fetch may differ: one machine is slower than another.
const CLOCK_SLACK_SECONDS: u64 = 900;

#[cfg(test)]
mod tests {
    use super::{Answer, Batch, Canonical, Ending, Form, Record, Rule};
    use crate::differential::stream::Command;

    fn batch() -> Batch {
        Batch { commands: vec![Command::bytes("get a\r\n")], ..Batch::default() }
    }

    fn made(answer: &[u8], is_reset: bool, form: Form) -> Vec<u8> {
        let mut record = Record::make("a title", 1000);
        let answer = Answer { bytes: answer, is_reset };
        record.answer(&mut Canonical::default(), (&batch(), Ending::default()), answer, form).unwrap();
        record.into_bytes()
    }

    fn compared(
        record: &[u8],
        answer: &[u8],
        is_reset: bool,
        ending: Ending,
        form: Form,
    ) -> Result<Option<Rule>, String> {
        let mut record = Record::open(record.to_vec(), "a title", 5000)?;
        let answer = Answer { bytes: answer, is_reset };
        let result = record.answer(&mut Canonical::default(), (&batch(), ending), answer, form)?;
        assert!(record.is_at_end());
        Ok(result)
    }

    #[test]
    fn a_record_knows_its_answer() {
        for form in [Form::Each, Form::Folded] {
            let record = made(b"HD t7000 c5\r\nHD c6\r\n", false, form);
            let check = |answer: &[u8]| compared(&record, answer, false, Ending::default(), form);
            assert_eq!(check(b"HD t6999 c17\r\nHD c19\r\n"), Ok(None));
            // By the time of day, which has gone on by 4000 seconds.
            assert_eq!(check(b"HD t3000 c17\r\nHD c19\r\n"), Ok(None));
            assert!(check(b"HD t1000 c17\r\nHD c19\r\n").is_err());
            assert!(check(b"HD t7000 c17\r\nHD c17\r\n").is_err());
            assert!(check(b"HD t7000 c17\r\nHD c19 s3\r\n").is_err());
            assert!(check(b"HD t7000 c17\r\n").is_err());
            assert!(check(b"HD t7000 c17\r\nHD c19\r\nHD\r\n").is_err());
        }
    }

    #[test]
    fn a_longer_answer_needs_a_rule() {
        let record = made(b"MN\r\n", false, Form::Each);
        let check = |answer: &[u8], ending: Ending| compared(&record, answer, false, ending, Form::Each);
        let unfinished = Ending { is_unfinished: true, tail_replies_max: 1, ..Ending::default() };
        assert_eq!(check(b"MN\r\nERROR\r\n", unfinished), Ok(Some(Rule::UnfinishedValue)));
        assert!(check(b"MN\r\nERROR\r\nERROR\r\n", unfinished).is_err());
        assert!(check(b"MN\r\nERR", unfinished).is_err());
        assert!(check(b"MN\r\nERROR\r\n", Ending::default()).is_err());
        let broken = Ending { may_be_reset: true, replies_max: 2, ..Ending::default() };
        assert!(check(b"MN\r\nERROR\r\n", broken).is_err());
        let record = made(b"MN\r\n", true, Form::Each);
        assert_eq!(compared(&record, b"MN\r\nERROR\r\n", false, broken, Form::Each), Ok(Some(Rule::Reset)));
    }

    /// What was said beyond the record had its CAS ids numbered, so that all later ids were other ones.
    #[test]
    fn ids_of_a_surplus_have_no_counterpart() {
        let mut record = Record::make("a title", 0);
        let asked = (&batch(), Ending { is_unfinished: true, tail_replies_max: 1, ..Ending::default() });
        let both = |record: &mut Record, canonical: &mut Canonical, answers: [&[u8]; 2]| {
            answers.map(|bytes| record.answer(canonical, asked, Answer { bytes, is_reset: false }, Form::Each))
        };
        let results = both(&mut record, &mut Canonical::default(), [b"HD c3\r\n", b"HD c4\r\n"]);
        assert_eq!(results, [Ok(None), Ok(None)]);
        let mut record = Record::open(record.into_bytes(), "a title", 0).unwrap();
        let results = both(&mut record, &mut Canonical::default(), [b"HD c3\r\nHD c8\r\n", b"HD c9\r\n"]);
        assert_eq!(results, [Ok(Some(Rule::UnfinishedValue)), Ok(None)]);
    }

    #[test]
    fn a_shorter_answer_needs_a_reset() {
        let record = made(b"MN\r\nERROR\r\n", false, Form::Each);
        let broken = Ending { may_be_reset: true, replies_max: 2, ..Ending::default() };
        for (is_reset, ending, is_equal) in
            [(true, broken, true), (false, broken, false), (true, Ending::default(), false)]
        {
            assert_eq!(compared(&record, b"MN\r\n", is_reset, ending, Form::Each).is_ok(), is_equal);
        }
        assert!(compared(&record, b"END\r\n", true, broken, Form::Each).is_err());
    }

    #[test]
    fn what_does_not_fit_is_said() {
        let record = made(b"MN\r\n", false, Form::Each);
        assert!(Record::open(record.clone(), "another title", 0).is_err());
        assert!(compared(&record[..record.len() - 1], b"MN\r\n", false, Ending::default(), Form::Each).is_err());
        let mut opened = Record::open(record, "a title", 0).unwrap();
        let other = Batch { commands: vec![Command::bytes("get b\r\n")], ..Batch::default() };
        let answer = Answer { bytes: b"MN\r\n", is_reset: false };
        assert!(opened.answer(&mut Canonical::default(), (&other, Ending::default()), answer, Form::Each).is_err());
    }
}
