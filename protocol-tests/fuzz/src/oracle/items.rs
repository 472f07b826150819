//! What the server should hold, and what the commands of all protocols do to it.

use std::collections::HashMap;

use crate::drive::now;

/// An item.
#[derive(Clone, Debug)]
pub(super) struct Item {
    pub value: Vec<u8>,
    pub flags: u32,
    /// Coarse second at which it ends; 0 is never.
    pub exptime: u32,
    pub cas: u64,
    pub is_fetched: bool,
    pub is_stale: bool,
    pub is_won: bool,
    /// Its key was given in base64.
    pub is_binary: bool,
}

/// How a store ends.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Outcome {
    Stored,
    NotStored,
    Exists,
    NotFound,
    TooLarge,
}

/// How a store treats what is there.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Mode {
    Set,
    Add,
    Replace,
    Append,
    Prepend,
    Cas,
}

/// A store.
pub(super) struct NewItem {
    pub mode: Mode,
    pub value: Vec<u8>,
    pub flags: u32,
    pub exptime: u32,
    /// The id to compare with; 0 is none.
    pub compare: u64,
    /// The id it gets, if it is given.
    pub cas: Option<u64>,
    /// A lower id stores too.
    pub allows_stale: bool,
    pub is_binary: bool,
    /// A join with nothing there makes an item.
    pub vivifies: bool,
}

/// How a count ends.
pub(super) enum Counted {
    Done { value: u64, cas: u64 },
    NotFound,
    NonNumeric,
    Exists,
}

type PartitionOf = Box<dyn Fn(&[u8]) -> usize>;

/// All items.
pub(super) struct Items {
    items: HashMap<Vec<u8>, Item>,
    partition: PartitionOf,
    /// The next CAS id of each partition.
    cas: Vec<u64>,
    pub seconds: u32,
}

impl Items {
    pub fn new(partitions: usize, partition: PartitionOf, seconds: u32) -> Self {
        let step = partitions as u64;
        // memcached's first item has CAS id 2.
        let cas = (0..step).map(|number| {
            if step == 1 {
                2
            } else if number < 2 {
                number + step
            } else {
                number
            }
        });
        Self { items: HashMap::new(), partition, cas: cas.collect(), seconds }
    }

    /// The coarse second that an exptime means.
    pub fn deadline(&self, exptime: i64) -> u32 {
        match exptime {
            0 => 0,
            ..0 => 1,
            1..=2_592_000 => self.seconds + exptime as u32,
            // A unix time: one in the past is over at once.
            _ => (exptime - now(0).epoch).clamp(1, i64::from(u32::MAX)) as u32,
        }
    }

    /// The live item under a key.
    pub fn find(&mut self, key: &[u8]) -> Option<&mut Item> {
        if self.items.get(key).is_some_and(|item| item.exptime != 0 && item.exptime <= self.seconds) {
            self.items.remove(key);
        }
        self.items.get_mut(key)
    }

    /// The item that the present command has put in place or found, dead or not.
    pub fn put_back(&mut self, key: &[u8]) -> &mut Item {
        self.items.get_mut(key).expect("an item found just now")
    }

    pub fn remove(&mut self, key: &[u8]) -> bool {
        let is_there = self.find(key).is_some();
        self.items.remove(key);
        is_there
    }

    pub fn flush(&mut self) {
        self.items.clear();
    }

    pub fn next_cas(&mut self, key: &[u8]) -> u64 {
        let place = (self.partition)(key);
        let cas = self.cas[place];
        self.cas[place] += self.cas.len() as u64;
        cas
    }

    /// Puts an item in place.
    pub fn put(&mut self, key: &[u8], value: Vec<u8>, flags: u32, exptime: u32, cas: Option<u64>) -> &mut Item {
        let cas = cas.unwrap_or_else(|| self.next_cas(key));
        let item =
            Item { value, flags, exptime, cas, is_fetched: false, is_stale: false, is_won: false, is_binary: false };
        self.items.insert(key.to_vec(), item);
        self.items.get_mut(key).expect("an item just put")
    }

    /// Whether an item would be over the item size limit.
    pub fn is_too_large(key: &[u8], value_bytes: usize, flags: u32) -> bool {
        Self::item_bytes(key, value_bytes, flags) > 1 << 20
    }

    fn item_bytes(key: &[u8], value_bytes: usize, flags: u32) -> usize {
        48 + 8 + key.len() + 1 + if flags == 0 { 0 } else { 4 } + value_bytes + 2
    }

    /// A store; what becomes of the present item when the new one is too large is for the caller.
    pub fn store(&mut self, key: &[u8], new: NewItem) -> (Outcome, u64, usize) {
        let given = new.value.len();
        if Self::is_too_large(key, given, new.flags) {
            return (Outcome::TooLarge, 0, given);
        }
        let present = self.find(key).cloned();
        let refused = |stored| (stored, 0, given);
        let mut exptime = new.exptime;
        let mut stale = None;
        match (new.mode, &present) {
            (Mode::Set, _) | (Mode::Add, None) | (Mode::Replace, Some(_)) => {}
            (Mode::Add, Some(_)) | (Mode::Replace, None) => return refused(Outcome::NotStored),
            (Mode::Cas, None) => return refused(Outcome::NotFound),
            (Mode::Cas, Some(old)) if new.compare == old.cas && new.compare != 0 => {}
            (Mode::Cas, Some(old)) if new.allows_stale && new.compare != 0 && new.compare < old.cas => {
                exptime = old.exptime;
                stale = Some(old.is_won);
            }
            (Mode::Cas, Some(_)) => return refused(Outcome::Exists),
            (Mode::Append | Mode::Prepend, None) if new.vivifies => {}
            (Mode::Append | Mode::Prepend, None) => return refused(Outcome::NotStored),
            (Mode::Append | Mode::Prepend, Some(old)) => {
                if new.compare != 0 && new.compare != old.cas {
                    return refused(Outcome::Exists);
                }
                let parts = match new.mode {
                    Mode::Append => [old.value.as_slice(), &new.value],
                    _ => [new.value.as_slice(), &old.value],
                };
                let value = parts.concat();
                if Self::is_too_large(key, value.len(), old.flags) {
                    return refused(Outcome::NotStored);
                }
                let bytes = value.len();
                let (flags, exptime) = (old.flags, old.exptime);
                let cas = self.put(key, value, flags, exptime, new.cas).cas;
                return (Outcome::Stored, cas, bytes);
            }
        }
        let item = self.put(key, new.value, new.flags, exptime, new.cas);
        item.is_binary = new.is_binary;
        if let Some(is_won) = stale {
            item.is_stale = true;
            item.is_won = is_won;
        }
        (Outcome::Stored, item.cas, given)
    }

    /// An increment or decrement.
    pub fn count(&mut self, key: &[u8], is_up: bool, delta: u64, compare: u64, new_cas: Option<u64>) -> Counted {
        let Some(old) = self.find(key).cloned() else { return Counted::NotFound };
        // What memcached keeps in several chunks is never a number.
        if old.value.is_empty() || Self::item_bytes(key, old.value.len(), old.flags) > 512 << 10 {
            return Counted::NonNumeric;
        }
        if compare != 0 && compare != old.cas {
            return Counted::Exists;
        }
        let Some(number) = number(&old.value) else { return Counted::NonNumeric };
        let value = if is_up { number.wrapping_add(delta) } else { number.saturating_sub(delta) };
        let mut text = value.to_string().into_bytes();
        if text.len() > old.value.len() {
            let cas = self.put(key, text, old.flags, old.exptime, new_cas).cas;
            return Counted::Done { value, cas };
        }
        text.resize(old.value.len(), b' ');
        let cas = new_cas.unwrap_or_else(|| self.next_cas(key));
        let item = self.find(key).expect("the item");
        (item.value, item.cas) = (text, cas);
        Counted::Done { value, cas }
    }
}

/// The number that C's `strtoull` reads at the start of a value that CR LF follows.
fn number(value: &[u8]) -> Option<u64> {
    let is_space = |byte: &u8| matches!(byte, b' ' | 9..=13);
    let text: Vec<u8> = value.iter().copied().skip_while(is_space).collect();
    let (is_negative, text) = match text.split_first() {
        Some((b'-', rest)) => (true, rest),
        Some((b'+', rest)) => (false, rest),
        _ => (false, &text[..]),
    };
    let digits: String = text.iter().take_while(|byte| byte.is_ascii_digit()).map(|&byte| char::from(byte)).collect();
    let ends_well = text.get(digits.len()).is_none_or(|byte| is_space(byte) || *byte == 0);
    let number = digits.parse::<u128>().ok().filter(|_| ends_well)?;
    u64::try_from(number).ok().filter(|&number| number == 0 || !is_negative)
}
