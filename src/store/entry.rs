//! A visit to one key, under its partition's lock: what the layer above may see and do.

use crate::base::hash::KeyHash;
use crate::base::time::Now;

use super::allocate::Peers;
use super::counters::{ClassCounters, StoreCounters};
use super::ids::ItemId;
use super::item::{self, Item};
use super::partition::Partition;
use super::value::{NewValue, Value};

/// Why something could not be stored.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum StoreError {
    /// The item is over the item size limit.
    TooLarge,
    /// No memory, and nothing evictable.
    NoMemory,
}

/// What a lookup met.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Found {
    /// A live item.
    Hit,
    /// Nothing.
    Miss,
    /// An expired item; it is gone now.
    Expired,
    /// An item that a `flush_all` covers; it is gone now.
    Flushed,
}

/// Marks of the meta protocol on an item.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Marks {
    /// Invalidated, may still be served as stale.
    pub is_stale: bool,
    /// One client has been told to recache.
    pub is_win_sent: bool,
    /// The key was given in base64.
    pub is_binary_key: bool,
}

impl Marks {
    /// As bits of the item's marks.
    pub(super) fn bits(self) -> u8 {
        let bit = |is_set: bool, bit: u8| if is_set { bit } else { 0 };
        bit(self.is_stale, item::STALE)
            | bit(self.is_win_sent, item::WIN_SENT)
            | bit(self.is_binary_key, item::BINARY_KEY)
    }
}

/// An item to be linked by [`Entry::insert`].
#[derive(Debug)]
pub struct NewItem<'a> {
    /// Client flags.
    pub flags: u32,
    /// Coarse time at which it expires, 0 for never ([`Now::deadline`]).
    pub exptime: u32,
    /// The CAS id it gets; `None` for the next one of the partition.
    pub cas: Option<u64>,
    /// Its bytes.
    pub value: NewValue<'a>,
    /// Meta marks it starts with.
    pub marks: Marks,
}

/// Where an item probably is, from [`super::Store::locate`]. It is checked when it is used: the item may have moved or
/// gone meanwhile.
#[derive(Clone, Copy, Default, Debug)]
pub struct Hint(pub(super) ItemId);

impl Hint {
    /// Nothing is known.
    pub const NONE: Hint = Hint(ItemId::NONE);
}

/// A read-only view of a linked item. Its methods decode on demand.
#[derive(Clone, Copy)]
pub struct ItemView<'a> {
    partition: &'a Partition,
    id: ItemId,
    item: Item<'a>,
}

impl<'a> ItemView<'a> {
    #[inline]
    pub(super) fn new(partition: &'a Partition, id: ItemId, item: Item<'a>) -> Self {
        Self { partition, id, item }
    }

    /// The key.
    #[inline]
    pub fn key(&self) -> &'a [u8] {
        self.item.key()
    }

    /// The value; copy it out or clone its handle.
    #[inline]
    pub fn value(&self) -> Value<'a> {
        self.partition.value_of(self.item)
    }

    /// The value when it is inline and the client flags are 0, as nearly always.
    #[inline(always)]
    pub fn plain_value(&self) -> Option<&'a [u8]> {
        self.item.plain_tail()
    }

    /// Client flags.
    #[inline]
    pub fn flags(&self) -> u32 {
        self.item.flags()
    }

    /// Coarse time at which it expires, 0 for never.
    pub fn exptime(&self) -> u32 {
        self.item.exptime()
    }

    /// Coarse time of the last access that counted (or the store). After a flush it may be in the future for a while: see
    /// [`flush`](super::flush).
    pub fn last_access(&self) -> u32 {
        self.item.time()
    }

    /// Seconds since then.
    pub fn idle_seconds(&self, now: Now) -> u32 {
        now.seconds.saturating_sub(self.last_access())
    }

    /// CAS id; 0 when CAS is off.
    pub fn cas(&self) -> u64 {
        if self.partition.shared.config.has_cas { self.item.cas() } else { 0 }
    }

    /// Slab class.
    pub fn class(&self) -> u8 {
        self.partition.class(self.id) as u8
    }

    /// Bytes of the item by memcached's arithmetic.
    pub fn item_bytes(&self) -> usize {
        self.partition.facts(self.id).bytes
    }

    /// Whether it was fetched since it was stored.
    pub fn is_fetched(&self) -> bool {
        self.item.has(item::FETCHED)
    }

    /// Meta marks.
    pub fn marks(&self) -> Marks {
        Marks {
            is_stale: self.item.has(item::STALE),
            is_win_sent: self.item.has(item::WIN_SENT),
            is_binary_key: self.item.has(item::BINARY_KEY),
        }
    }

    /// Whether incr and decr refuse it for its size (memcached's chunked items).
    pub fn is_chunked(&self) -> bool {
        self.item_bytes() > self.partition.shared.config.slab_chunk_max
    }
}

/// What a get does with the item that it finds. A closure will do; a type of its own may have itself inlined.
pub trait ReadItem {
    /// Reads the item; false when the get is not to be counted.
    fn read(self, item: &ItemView<'_>) -> bool;
}

impl<F: FnOnce(&ItemView<'_>) -> bool> ReadItem for F {
    #[inline(always)]
    fn read(self, item: &ItemView<'_>) -> bool {
        self(item)
    }
}

/// See the module comment. Made by [`super::Store::entry`].
pub struct Entry<'a> {
    partition: &'a mut Partition,
    peers: Peers<'a>,
    key: &'a [u8],
    hash: KeyHash,
    now: Now,
    found: Found,
    /// The linked item, [`ItemId::NONE`] without one.
    id: ItemId,
}

impl<'a> Entry<'a> {
    #[inline(always)]
    pub(super) fn new(
        partition: &'a mut Partition,
        peers: Peers<'a>,
        key: &'a [u8],
        (hash, hint): (KeyHash, Hint),
        now: Now,
    ) -> Self {
        let (found, id) = partition.lookup(key, hash, hint, now);
        Self { partition, peers, key, hash, now, found, id: id.unwrap_or(ItemId::NONE) }
    }

    /// What the lookup met. Stays as it was when the entry changes.
    #[inline]
    pub fn found(&self) -> Found {
        self.found
    }

    /// The linked item, if there is one now.
    #[inline]
    pub fn item(&self) -> Option<ItemView<'_>> {
        (!self.id.is_none()).then(|| ItemView::new(self.partition, self.id, self.partition.item(self.id)))
    }

    /// Marks a fetch: the LRU bump of get, gat and mg.
    #[inline]
    pub fn bump(&mut self) {
        if !self.id.is_none() {
            let marks = self.partition.item(self.id).marks();
            self.partition.bump(self.id, marks, self.now);
        }
    }

    /// Counts a get hit in the item's class and segment.
    #[inline]
    pub fn count_get_hit(&mut self) {
        if !self.id.is_none() {
            let marks = self.partition.item(self.id).marks();
            self.partition.count_get_hit(self.id, marks);
        }
    }

    /// Refreshes the item's place in the LRU without marking a fetch (memcached's `do_item_update`).
    pub fn refresh(&mut self) {
        if !self.id.is_none() {
            self.partition.refresh(self.id, self.now);
        }
    }

    /// Links an item under the key, in place of the present one; returns its CAS id (0 when CAS is off). May evict
    /// others. On an error the present item stays, unless the search for memory has thrown it away.
    #[inline(never)]
    pub fn insert(&mut self, item: NewItem<'_>) -> Result<u64, StoreError> {
        self.insert_here(item)
    }

    /// [`Entry::insert`], made for its caller: what is known of the item there is not asked again.
    #[inline(always)]
    pub fn insert_here(&mut self, item: NewItem<'_>) -> Result<u64, StoreError> {
        if matches!(self.found, Found::Expired | Found::Flushed) && !self.partition.tuning.policy.is_segmented() {
            // memcached's flat LRU meets the dead item when it looks for memory, before it looks the key up.
            self.partition.recount_as_reclaimed(self.found);
            self.found = Found::Miss;
        }
        match self.partition.insert(self.key, self.hash, self.id, item, self.now, self.peers) {
            Ok((id, cas)) => {
                self.id = id;
                Ok(cas)
            }
            Err(error) => {
                // The search for memory may have thrown the present item away.
                self.id = self.partition.find(self.key, self.hash).unwrap_or(ItemId::NONE);
                Err(error)
            }
        }
    }

    /// Stores a value without client flags over the item that is there, when hardly anything else changes by that; returns
    /// its class. `None`, with nothing done, when [`Entry::insert_here`] has to do it.
    #[inline(always)]
    pub fn overwrite_plain(&mut self, value: &[u8], exptime: u32) -> Option<u8> {
        self.partition.overwrite(self.id, value, exptime, self.now).map(|class| class as u8)
    }

    /// Unlinks the item.
    pub fn remove(&mut self) {
        if !self.id.is_none() {
            self.partition.unlink(self.id, self.hash);
            self.id = ItemId::NONE;
        }
    }

    /// Overwrites the item's value with bytes of the same length (incr and decr in place). The value must be inline.
    pub fn overwrite_number(&mut self, value: &[u8]) {
        if !self.id.is_none() {
            item::overwrite_tail(self.partition.spans.slot_mut(self.id), value);
        }
    }

    /// Overwrites the item's large value with `text` and spaces behind it, so that it keeps its length. A reply that waits
    /// to be sent keeps the old bytes; false, with nothing done, when there is no free memory for others.
    #[cold]
    pub fn overwrite_large_number(&mut self, text: &[u8]) -> bool {
        let Some(item) = self.item().map(|view| view.item).filter(|item| item.has(item::LARGE)) else { return false };
        let (number, item_bytes) = (item.large_number(), self.partition.facts(self.id).bytes);
        let Some(value) = self.partition.large.get_mut(number) else { return false };
        if value.overwrite_number(text) {
            return true;
        }
        let Some(mut buffer) = self.partition.shared.chunks.free_buffer(item_bytes, value.len()) else { return false };
        buffer.fill(text);
        while buffer.missing() > 0 {
            let space = buffer.space();
            let count = space.len();
            space.fill(b' ');
            buffer.advance(count);
        }
        *value = buffer.finish();
        true
    }

    /// Sets the coarse time at which the item expires, 0 for never.
    pub fn set_exptime(&mut self, exptime: u32) {
        if !self.id.is_none() {
            item::set_exptime(self.partition.spans.slot_mut(self.id), exptime);
        }
    }

    /// Sets the item's CAS id.
    pub fn set_cas(&mut self, cas: u64) {
        if !self.id.is_none() {
            self.id = self.partition.set_cas(self.id, self.key, self.hash, cas, self.now, self.peers);
        }
    }

    /// Takes the next CAS id of the partition; unique in the process.
    pub fn next_cas(&mut self) -> u64 {
        self.partition.next_cas()
    }

    /// Sets the item's meta marks.
    pub fn set_marks(&mut self, marks: Marks) {
        if !self.id.is_none() {
            let slot = self.partition.spans.slot_mut(self.id);
            let kept = Item::new(slot).marks() & (item::FETCHED | item::ACTIVE | item::LARGE);
            item::set_marks(slot, kept | marks.bits());
        }
    }

    /// Counters of a class.
    #[inline]
    pub fn class_counters(&mut self, class: u8) -> &mut ClassCounters {
        let class = usize::from(class).min(self.partition.classes.len() - 1);
        &mut self.partition.classes[class].counters
    }

    /// Counters of no class.
    #[inline]
    pub fn counters(&mut self) -> &mut StoreCounters {
        &mut self.partition.counters
    }
}
