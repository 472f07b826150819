//! What one connection may be answered.
//!
//! The order of a connection's requests is the order in which they took effect, so what its answers have shown binds its
//! later answers, beyond what the times say.

use std::collections::HashMap;

use super::ledger::{End, Ledger};
use super::link::TIMEOUT;
use super::value::{Filler, Label};

/// Nanoseconds are counted in steps of this, so that a time can carry the number of its connection.
pub const STEP: u64 = 256;

/// A second of the run's time.
pub const SECOND: u64 = 1_000_000_000 * STEP;

/// What a connection knows of a key.
#[derive(Clone, Copy, Debug, Default)]
struct Known {
    /// The latest begin of a write or delete that the connection has seen the effect of.
    floor: u64,
    /// Its own writes below this number have been replaced or deleted by itself.
    own_from: u64,
    /// When it saw a CAS id last, and which.
    seen: u64,
    cas: u64,
}

/// Checks the answers of a connection.
#[derive(Debug)]
pub struct Checker {
    /// Number of the connection, below [`STEP`].
    pub connection: u64,
    known: HashMap<u32, Known>,
    /// Hits that could be neither right nor wrong: their writes are too many writes ago.
    pub undecided: u64,
}

impl Checker {
    /// Nothing has been answered yet.
    pub fn new(connection: u64) -> Checker {
        Checker { connection, known: HashMap::new(), undecided: 0 }
    }

    /// The server is another one.
    pub fn forget(&mut self) {
        self.known.clear();
    }

    /// A hit: `floor` is the key's from when the read began, at `begin`; `now` is when the answer had come.
    #[allow(clippy::too_many_arguments)]
    pub fn hit(
        &mut self,
        ledger: &Ledger,
        filler: &Filler,
        key: u32,
        value: &[u8],
        cas: u64,
        floor: u64,
        begin: u64,
        now: u64,
    ) -> Result<Label, String> {
        let label = filler.read(value).map_err(|what| format!("key {key}: a value that is {what}"))?;
        if label.key != key {
            return Err(format!("key {key}: a value of key {}", label.key));
        }
        if !ledger.is_known(key, label.number) {
            return Err(format!("key {key}: a value that nobody wrote"));
        }
        let known = self.known.entry(key).or_default();
        let floor = floor.max(known.floor);
        let is_own = label.begin % STEP == self.connection;
        if is_own && label.number < known.own_from {
            return Err(format!("key {key}: write {} after write {} of the same client", label.number, known.own_from));
        }
        self.undecided += u64::from(check_age(ledger, &label, floor, begin)?);
        if cas != 0 {
            ledger.see_cas(key, label.number, cas).map_err(|error| format!("key {key}: {error}"))?;
            if known.seen != 0 && label.begin > known.seen && cas <= known.cas {
                return Err(format!("key {key}: CAS id {cas} of a later write than the one with {}", known.cas));
            }
            if cas > known.cas {
                (known.seen, known.cas) = (now, cas);
            }
        }
        known.floor = known.floor.max(label.begin);
        // Whoever reads later must not read what had ended before this one began.
        ledger.raise(key, label.begin);
        Ok(label)
    }

    /// A write of this connection was acknowledged.
    pub fn wrote(&mut self, key: u32, number: u64, begin: u64) {
        let known = self.known.entry(key).or_default();
        known.own_from = known.own_from.max(number);
        known.floor = known.floor.max(begin);
    }

    /// A delete of this connection was acknowledged; its last write before had this number.
    pub fn deleted(&mut self, key: u32, last: u64, begin: u64) {
        self.wrote(key, last + 1, begin);
    }
}

/// Whether a value may be read by what began at `begin`, when the key's floor was `floor`. True when nobody knows.
pub fn check_age(ledger: &Ledger, label: &Label, floor: u64, begin: u64) -> Result<bool, String> {
    let lived = label.expires;
    let (end, is_sure) = match ledger.end_of(label.key, label.number) {
        End::Open => return Ok(false),
        End::Refused => return Err(format!("key {}: a value that was refused", label.key)),
        End::At(end) => (end, true),
        End::Forgotten => (label.begin + (TIMEOUT.as_secs() + 5) * SECOND, false),
    };
    if end < floor {
        let age = (floor - end) / (SECOND / 1_000_000);
        return Err(format!("key {}: write {}, which had ended {age} us before a later one", label.key, label.number));
    }
    if lived != 0 && begin > end + (lived + EXPIRY_SLACK_SECONDS) * SECOND {
        return Err(format!("key {}: write {}, which should have expired after {lived} s", label.key, label.number));
    }
    Ok(!is_sure && label.begin < floor)
}

/// A coarse clock, and a loop's turn.
const EXPIRY_SLACK_SECONDS: u64 = 2;
