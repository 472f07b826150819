//! Pages against the memory limit, for the whole process.
//!
//! Users see memory in pages of 1 MiB that belong to slab classes, as in memcached. Here a page is an amount, not a
//! place: a class that owns `n` pages may use `n` MiB, in spans of slots (many, spread over partitions) and in chunks of
//! large values. There are two sets of rules. The fixed ones are memcached's: pages come from the pool; below the limit; and
//! the first page of a class even above it. By the elastic ones, while memory follows the need (see
//! [`rebalance`](super::super::rebalance)), the bytes of all classes together are limited, and pages are labels that go
//! where the bytes are.
//!
//! What is beside the items: memcached takes a hash table, chunk ends and thread structures on top of the limit, 2 to 8
//! percent of it. Here a page stands for a little more than 1 MiB, and the indexes of the partitions may have
//! [`INDEX_SHARE`] of the limit on top, and half a page at least, which is what memcached's smallest hash table takes; for
//! what they take above that, classes may have fewer pages.
//!
//! Lock order: a partition's lock, then this one. Taken once per span or chunk, never per request.

use std::collections::BTreeMap;

use memmap2::MmapMut;

use crate::base::sync::{AtomicUsize, Mutex, Ordering};

use super::regions::{GRANULE_BYTES, REGION_BYTES_MAX};

/// One part in so many of memory can be borrowed, and at least two spans.
const BORROWED_PART: usize = 32;
const BORROWED_BYTES_MIN: usize = 2 * GRANULE_BYTES;
const BORROWED_PAGE_PART: usize = 2;

/// Memory that a page stands for.
pub const fn page_memory_bytes(page_bytes: usize) -> usize {
    page_bytes + page_bytes / 1024 * 5
}

/// The indexes may have one part in so many of the limit on top of it.
const INDEX_SHARE: usize = 66;

/// Regions may take one part in so many of the limit more than the spans in them, and a region.
const REGION_SHARE: usize = 64;

/// The reserve is one part in so many of the limit, within bounds.
const RESERVE_SHARE: usize = 32;
const RESERVE_BYTES_MIN: usize = 512 * 1024;
const RESERVE_BYTES_MAX: usize = 8 * 1024 * 1024;

/// Wishes for memory that are forgone after a refusal before the system is asked again.
const FORGONE_MAX: u32 = 65536;

/// Pages by class; see the module comment.
pub struct Budget {
    state: Mutex<State>,
    /// Bytes that may still be taken, as a hint that spares the lock when memory is full; `usize::MAX` under the fixed
    /// rules. Written with the lock held.
    room: AtomicUsize,
}

struct State {
    page_bytes: usize,
    is_elastic: bool,
    limit_bytes: usize,
    /// Bytes that only count (`T_MEMD_INITIAL_MALLOC`).
    initial_bytes: usize,
    /// Pages by class; class 0 is unused.
    pages: Vec<usize>,
    /// Bytes in use by class. By the fixed rules used[c] <= pages[c] * page_memory(), but for a short time after a page
    /// was taken away; by the elastic ones the sum is what is limited.
    used: Vec<usize>,
    /// Sum of `used`.
    used_total: usize,
    /// What the elastic rules allow after the limit was lowered, until the mover has given the difference back, page by
    /// page: stores go on in the memory that they evict from.
    ceiling: usize,
    /// The class that is to give a page up, 0 for none: what is given back of it is not taken again meanwhile.
    leaving: usize,
    /// Free pages that belong to no class.
    pool: usize,
    /// Pages that went from a class to another as labels.
    followed: u64,
    /// Memory that was given back, kept for reuse, by its size; no list is empty.
    spare: BTreeMap<usize, Vec<MmapMut>>,
    /// Bytes of all mapped memory, the spare included.
    mapped: usize,
    /// Bytes that holders of budget have from the allocator.
    allocated: usize,
    /// Bytes of the partitions' indexes.
    index_bytes: usize,
    /// Regions are to be huge pages.
    is_huge: bool,
    /// Memory that is given back goes to the system at once.
    is_closing: bool,
    /// Memory for everything else than items, held so that the store cannot take it, and let go when the system refuses
    /// memory. From then on the store makes do with what it has.
    reserve: Option<MmapMut>,
    /// Since memory was refused: what went back to the system, and can be had again.
    returned: usize,
    /// Since memory was refused: how often it would have been asked for.
    forgone: u32,
    /// How often the system refused memory.
    refusals: u64,
}

/// Size of the reserve under a limit.
fn reserve_bytes(limit_bytes: usize) -> usize {
    (limit_bytes / RESERVE_SHARE).clamp(RESERVE_BYTES_MIN, RESERVE_BYTES_MAX)
}

/// Bytes with those that can be borrowed.
fn borrowable(bytes: usize, page_bytes: usize) -> usize {
    bytes + (bytes / BORROWED_PART).max(page_bytes / BORROWED_PAGE_PART).max(BORROWED_BYTES_MIN)
}

impl State {
    fn pages(&self) -> usize {
        self.pages.iter().sum::<usize>() + self.pool
    }

    /// Memory that one stands for.
    fn page_memory(&self) -> usize {
        page_memory_bytes(self.page_bytes)
    }

    fn malloced(&self) -> usize {
        self.initial_bytes + self.pages() * self.page_bytes
    }

    /// The limit without what the indexes have taken.
    fn page_limit(&self) -> usize {
        let allowed = (self.limit_bytes / INDEX_SHARE).max(self.page_bytes / 2);
        let excess = self.index_bytes.saturating_sub(allowed);
        self.limit_bytes.saturating_sub(excess)
    }

    fn is_full(&self) -> bool {
        self.malloced() + self.page_bytes > self.page_limit()
    }

    /// What a class may take by the fixed rules.
    fn allowed(&self, class: usize) -> usize {
        let is_leaving = class == self.leaving && self.pages[class] > 1;
        (self.pages[class] - usize::from(is_leaving)) * self.page_memory()
    }

    fn has_room(&self, class: usize, bytes: usize) -> bool {
        self.used[class] + bytes <= self.allowed(class)
    }

    /// Size of the region to map for a span of `bytes`: a huge page while that is not much more than what is in use, nor
    /// more than the limit allows, and else no more than the span needs.
    fn region_bytes(&self, bytes: usize) -> usize {
        let used = if self.is_elastic { self.used_total } else { self.pages() * self.page_memory() };
        let in_use = used + self.limit_bytes / REGION_SHARE + REGION_BYTES_MAX;
        if self.is_huge && self.mapped + self.allocated + REGION_BYTES_MAX <= in_use.min(self.capacity()) {
            REGION_BYTES_MAX
        } else {
            bytes.next_multiple_of(GRANULE_BYTES)
        }
    }

    /// Bytes that the elastic rules allow all classes together.
    fn capacity(&self) -> usize {
        let bytes = self.page_limit().saturating_sub(self.initial_bytes);
        bytes + bytes / self.page_bytes * (self.page_memory() - self.page_bytes)
    }

    fn room(&self) -> usize {
        if self.is_elastic { self.capacity().max(self.ceiling).saturating_sub(self.used_total) } else { usize::MAX }
    }

    /// A page for a class that has none with room, by the fixed rules.
    fn add_page(&mut self, class: usize) -> bool {
        if self.pool > 0 {
            self.pool -= 1;
        } else if self.pages[class] > 0 && self.is_full() {
            return false;
        }
        self.pages[class] += 1;
        true
    }

    /// Gives a class the labels of pages for the bytes that it uses, by the elastic rules. Each class may have begun a page,
    /// so labels can be short; then those go without that lack the smallest part of a page.
    fn label(&mut self, class: usize) {
        while self.pages[class] * self.page_memory() < self.used[class] {
            let lacking = self.used[class] - self.pages[class] * self.page_memory();
            let donor = (1..self.pages.len()).max_by_key(|&other| self.unused(other)).unwrap_or(class);
            if self.pool > 0 {
                self.pool -= 1;
            } else if self.is_full() && self.unused(donor) + lacking.min(self.page_memory()) > self.page_memory() {
                self.pages[donor] -= 1;
                self.followed += 1;
            } else if self.is_full() && self.pages[class] > 0 {
                return;
            }
            self.pages[class] += 1;
        }
    }

    /// Bytes of a class' pages that it does not use; 0 if it has but one page and uses that.
    fn unused(&self, class: usize) -> usize {
        match (self.pages[class], self.used[class]) {
            (1, 1..) => 0,
            (pages, used) => (pages * self.page_memory()).saturating_sub(used),
        }
    }

    /// Unmaps spare memory, the largest first, while there is more memory than may be in use.
    fn trim(&mut self, wanted: usize) {
        let allowed = match self.is_closing {
            true => 0,
            false if self.is_elastic => self.capacity(),
            false => self.pages() * self.page_memory(),
        };
        while self.mapped + self.allocated + wanted > allowed {
            if self.drop_largest().is_none() {
                return;
            }
        }
    }

    /// Memory of this size, spare or new; `None` when the system has none.
    fn map(&mut self, bytes: usize) -> Option<MmapMut> {
        if let Some(memory) = self.reuse(bytes) {
            return Some(memory);
        }
        self.trim(bytes);
        let memory = self.ask(bytes)?;
        self.mapped += bytes;
        Some(memory)
    }

    /// Fresh memory of the system. What it refuses it gets asked for again only when memory went back meanwhile, or after
    /// many wishes: the rest of the process needs memory too, and cannot do without.
    fn ask(&mut self, bytes: usize) -> Option<MmapMut> {
        if self.reserve.is_none() {
            self.forgone += 1;
            if self.forgone.is_multiple_of(FORGONE_MAX) {
                self.reserve = MmapMut::map_anon(reserve_bytes(self.limit_bytes)).ok();
                self.returned = 0;
            }
        }
        if self.reserve.is_some() {
            match MmapMut::map_anon(bytes) {
                Ok(memory) => return Some(memory),
                Err(_) => {
                    self.refusals += 1;
                    self.reserve = None;
                }
            }
        }
        let spare: usize = self.spare.iter().map(|(size, list)| size * list.len()).sum();
        if self.returned + spare < bytes {
            return None;
        }
        while self.returned < bytes {
            self.drop_largest()?;
        }
        self.returned -= bytes;
        MmapMut::map_anon(bytes).ok()
    }

    /// Gives the largest piece of spare memory back to the system.
    fn drop_largest(&mut self) -> Option<()> {
        let largest = self.spare.last_key_value().map(|(&bytes, _)| bytes)?;
        drop(self.reuse(largest));
        self.mapped -= largest;
        if self.reserve.is_none() {
            self.returned += largest;
        }
        Some(())
    }

    /// Spare memory of this size.
    fn reuse(&mut self, bytes: usize) -> Option<MmapMut> {
        let list = self.spare.get_mut(&bytes)?;
        let memory = list.pop();
        if list.is_empty() {
            self.spare.remove(&bytes);
        }
        memory
    }
}

/// Pages as a snapshot shows them.
#[derive(Clone, Debug)]
pub struct PageCounts {
    /// Bytes of a page.
    pub page_bytes: usize,
    /// Pages by class.
    pub pages: Vec<usize>,
    /// Bytes in use by class.
    pub used: Vec<usize>,
    /// Free pages.
    pub pool: usize,
    /// Bytes of all pages.
    pub malloced_bytes: usize,
    /// The limit.
    pub limit_bytes: usize,
    /// What of the limit pages may take: less, when the indexes are large.
    pub page_limit_bytes: usize,
    /// Bytes in use that the limit does not allow; borrowed ones do not count.
    pub excess_bytes: usize,
    /// Pages that followed the use of memory from a class to another.
    pub followed: u64,
}

impl PageCounts {
    /// Memory that a page stands for.
    pub fn page_memory_bytes(&self) -> usize {
        page_memory_bytes(self.page_bytes)
    }

    /// Whether no further page fits below the limit.
    pub fn is_full(&self) -> bool {
        self.malloced_bytes + self.page_bytes > self.page_limit_bytes
    }
}

impl Budget {
    /// A budget of `limit_bytes` in pages of `page_bytes` for `classes` classes (class 0 included), of which
    /// `initial_bytes` are taken. With `is_huge` regions are as large as huge pages, and the system is asked for those.
    pub fn new((limit_bytes, page_bytes): (usize, usize), initial_bytes: usize, classes: usize, is_huge: bool) -> Self {
        let state = State {
            page_bytes,
            is_elastic: false,
            limit_bytes,
            initial_bytes,
            pages: vec![0; classes],
            used: vec![0; classes],
            used_total: 0,
            ceiling: 0,
            leaving: 0,
            pool: 0,
            followed: 0,
            spare: BTreeMap::new(),
            mapped: 0,
            allocated: 0,
            index_bytes: 0,
            is_huge,
            is_closing: false,
            reserve: MmapMut::map_anon(reserve_bytes(limit_bytes)).ok(),
            returned: 0,
            forgone: 0,
            refusals: 0,
        };
        Self { state: Mutex::new(state), room: AtomicUsize::new(usize::MAX) }
    }

    /// Chooses the rules from now on.
    pub fn set_elastic(&self, is_elastic: bool) {
        let state = &mut *self.state.lock();
        state.is_elastic = is_elastic;
        self.show(state);
    }

    /// Takes `bytes` for a class, with a new page when it needs one. False when there is none to be had.
    pub fn take(&self, class: usize, bytes: usize) -> bool {
        if self.room.load(Ordering::Relaxed) < bytes {
            return false;
        }
        let state = &mut *self.state.lock();
        if state.room() < bytes {
            return false;
        }
        while !state.is_elastic && !state.has_room(class, bytes) {
            if !state.add_page(class) {
                return false;
            }
        }
        self.add_used(state, class, bytes);
        true
    }

    /// Takes `bytes` for a class ahead of memory that will be given back soon; a small part of all memory can be borrowed
    /// at a time.
    pub fn borrow(&self, class: usize, bytes: usize) -> bool {
        let state = &mut *self.state.lock();
        let (used, allowed) = match state.is_elastic {
            true => (state.used_total, state.capacity()),
            false => (state.used[class], state.allowed(class)),
        };
        if used + bytes > borrowable(allowed, state.page_bytes) {
            return false;
        }
        self.add_used(state, class, bytes);
        true
    }

    /// Takes `bytes` for a class within its first page, whatever the limit: for a class that would otherwise fail.
    pub fn take_first(&self, class: usize, bytes: usize) -> bool {
        let state = &mut *self.state.lock();
        if state.used[class] + bytes > state.page_memory() {
            return false;
        }
        if !state.is_elastic && state.pages[class] == 0 {
            state.pages[class] = 1;
        }
        self.add_used(state, class, bytes);
        true
    }

    fn add_used(&self, state: &mut State, class: usize, bytes: usize) {
        state.used[class] += bytes;
        state.used_total += bytes;
        if state.is_elastic {
            state.label(class);
        }
        self.show(state);
    }

    fn show(&self, state: &State) {
        self.room.store(state.room(), Ordering::Relaxed);
    }

    /// Gives `bytes` of a class back: to it, or by the elastic rules to whoever asks next.
    pub fn give_back(&self, class: usize, bytes: usize) {
        let state = &mut *self.state.lock();
        state.used[class] -= bytes;
        state.used_total -= bytes;
        self.show(state);
    }

    /// Moves `bytes` in use from one class to another, with a page when the target has no room for them. The source may
    /// then use more than its pages until it is moved out of.
    pub fn transfer(&self, source: usize, target: usize, bytes: usize) {
        let state = &mut *self.state.lock();
        while !state.has_room(target, bytes) {
            if state.pages[source] > 0 {
                state.pages[source] -= 1;
            }
            state.pages[target] += 1;
        }
        state.used[source] -= bytes;
        state.used[target] += bytes;
    }

    /// Memory for bytes that were [taken](Budget::take); `None` when the system has none.
    pub fn map(&self, bytes: usize) -> Option<MmapMut> {
        self.state.lock().map(bytes)
    }

    /// The limit.
    pub fn limit_bytes(&self) -> usize {
        self.state.lock().limit_bytes
    }

    /// Lets the reserve go because the system has refused memory to somebody else; false when it is gone already.
    pub fn release_reserve(&self) -> bool {
        let state = &mut *self.state.lock();
        let is_released = state.reserve.take().is_some();
        state.refusals += u64::from(is_released);
        is_released
    }

    /// How often the system refused memory, for `stats`.
    pub fn refusals(&self) -> u64 {
        self.state.lock().refusals
    }

    /// Says that `bytes` that were [taken](Budget::take) come from the allocator.
    pub fn note_allocated(&self, bytes: usize) {
        let state = &mut *self.state.lock();
        state.allocated += bytes;
        state.trim(0);
    }

    /// Says that the allocator has `bytes` back.
    pub fn note_freed(&self, bytes: usize) {
        self.state.lock().allocated -= bytes;
    }

    /// Bytes that are mapped, the spare included, and bytes from the allocator.
    #[cfg(test)]
    pub(crate) fn held(&self) -> (usize, usize) {
        let state = self.state.lock();
        (state.mapped, state.allocated)
    }

    /// [`Budget::map`] for a span: a region that holds at least `bytes`.
    pub fn map_region(&self, bytes: usize) -> Option<MmapMut> {
        let region = {
            // Under one lock, or several partitions at a time would map the last huge page that there is room for.
            let state = &mut *self.state.lock();
            let region_bytes = state.region_bytes(bytes);
            state.map(region_bytes).or_else(|| state.map(bytes.next_multiple_of(GRANULE_BYTES)))?
        };
        if region.len() == REGION_BYTES_MAX {
            // A wish: a system without huge pages serves as well.
            let _ = region.advise(memmap2::Advice::HugePage);
        }
        Some(region)
    }

    /// Takes memory back.
    pub fn unmap(&self, memory: MmapMut) {
        let state = &mut *self.state.lock();
        state.spare.entry(memory.len()).or_default().push(memory);
        state.trim(0);
    }

    /// From now on memory that is given back is the system's at once: the store is being taken apart.
    pub fn close(&self) {
        let state = &mut *self.state.lock();
        state.is_closing = true;
        state.trim(0);
    }

    /// Gives a class a further page, for what is on one that it is to give up; false when memory is full.
    pub fn add_page(&self, class: usize) -> bool {
        let state = &mut *self.state.lock();
        let has_room = !state.is_full();
        state.pages[class] += usize::from(has_room);
        has_room
    }

    /// Says which class is to give a page up, 0 for none.
    pub fn set_leaving(&self, class: usize) {
        self.state.lock().leaving = class;
    }

    /// Moves a free page from a class to another (0 is the pool, or the system while the limit is exceeded). False when
    /// the source still uses it.
    pub fn move_page(&self, source: usize, target: usize) -> bool {
        let state = &mut *self.state.lock();
        if source == 0 {
            if state.pool == 0 {
                return false;
            }
            state.pool -= 1;
        } else {
            if state.pages[source] == 0 || state.used[source] > (state.pages[source] - 1) * state.page_memory() {
                return false;
            }
            state.pages[source] -= 1;
        }
        if target != 0 {
            state.pages[target] += 1;
        } else if !state.is_full() {
            state.pool += 1;
        } else {
            state.ceiling = state.ceiling.saturating_sub(state.page_memory());
            state.trim(0);
        }
        self.show(state);
        true
    }

    /// An index that took `before` bytes takes `after` now.
    pub fn resize_index(&self, before: usize, after: usize) {
        let state = &mut *self.state.lock();
        state.index_bytes = state.index_bytes + after - before;
        self.show(state);
    }

    /// Sets the limit; pages above it go back by and by.
    pub fn set_limit(&self, bytes: usize) {
        let state = &mut *self.state.lock();
        state.limit_bytes = bytes;
        state.ceiling = state.used_total;
        while state.pool > 0 && state.malloced() > state.page_limit() {
            state.pool -= 1;
        }
        state.trim(0);
        self.show(state);
    }

    /// `stats reset`.
    pub fn reset_counters(&self) {
        self.state.lock().followed = 0;
    }

    /// All numbers at this moment.
    pub fn counts(&self) -> PageCounts {
        let state = &*self.state.lock();
        PageCounts {
            page_bytes: state.page_bytes,
            pages: state.pages.clone(),
            used: state.used.clone(),
            pool: state.pool,
            malloced_bytes: state.malloced(),
            limit_bytes: state.limit_bytes,
            page_limit_bytes: state.page_limit(),
            excess_bytes: match state.is_elastic {
                true => state.used_total.saturating_sub(borrowable(state.capacity(), state.page_bytes)),
                false => state.malloced().saturating_sub(state.page_limit()),
            },
            followed: state.followed,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::sizes::PAGE_BYTES;

    const PAGE_MEMORY_BYTES: usize = page_memory_bytes(PAGE_BYTES);

    #[test]
    fn a_class_gets_its_first_page_above_the_limit() {
        let budget = Budget::new((2 * PAGE_BYTES, PAGE_BYTES), 0, 4, false);
        assert!(budget.take(1, PAGE_MEMORY_BYTES) && budget.take(1, PAGE_MEMORY_BYTES));
        assert!(!budget.take(1, 1));
        assert!(budget.take(2, 64 << 10));
        assert!(budget.take(2, PAGE_MEMORY_BYTES - (64 << 10)));
        assert!(!budget.take(2, 1));
        assert_eq!(budget.counts().malloced_bytes, 3 * PAGE_BYTES);
    }

    #[test]
    fn elastic_memory_goes_to_whoever_asks() {
        let budget = Budget::new((3 * PAGE_BYTES, PAGE_BYTES), 0, 4, false);
        let shown = |budget: &Budget| (budget.counts().pages, budget.counts().followed, budget.counts().excess_bytes);
        budget.set_elastic(true);
        assert!(budget.take(1, 3 * PAGE_MEMORY_BYTES));
        assert!(!budget.take(1, 1) && !budget.take(2, 1));
        assert!(budget.borrow(1, PAGE_MEMORY_BYTES / 4) && !budget.borrow(1, PAGE_MEMORY_BYTES) && !budget.take(2, 1));
        // What is borrowed has no page.
        assert_eq!(shown(&budget), (vec![0, 3, 0, 0], 0, 0));
        budget.give_back(1, PAGE_MEMORY_BYTES / 2);
        // Both classes have begun a page.
        assert!(budget.take(2, PAGE_MEMORY_BYTES / 4));
        assert_eq!(shown(&budget), (vec![0, 3, 1, 0], 0, 0));
        assert!(!budget.take(2, PAGE_MEMORY_BYTES / 2));
        budget.give_back(1, PAGE_MEMORY_BYTES);
        // Class 1 uses little of its third page, class 2 more than the half of a second one.
        assert!(budget.take(2, PAGE_MEMORY_BYTES));
        assert_eq!(shown(&budget), (vec![0, 2, 2, 0], 1, 0));
        assert!(budget.take_first(3, PAGE_MEMORY_BYTES) && !budget.take_first(3, 1));
        assert_eq!(shown(&budget), (vec![0, 2, 1, 1], 2, PAGE_MEMORY_BYTES - PAGE_BYTES / BORROWED_PAGE_PART));
    }

    /// Clients that store on took the memory of a page again as it was being given up, and the move went on for ever.
    #[test]
    fn what_a_class_gives_up_it_does_not_take_again() {
        let budget = Budget::new((4 << 20, 1 << 20), 0, 3, false);
        let page = budget.counts().page_memory_bytes();
        assert!(budget.take(1, 2 * page) && budget.take(2, 2 * page));
        budget.give_back(1, page / 2);
        budget.set_leaving(1);
        assert!(!budget.take(1, page / 4));
        budget.give_back(2, page / 2);
        assert!(budget.take(2, page / 4));
        budget.give_back(1, page / 2);
        assert!(!budget.take(1, page / 4) && budget.move_page(1, 2));
        budget.set_leaving(0);
        budget.give_back(1, page / 2);
        assert!(budget.take(1, page / 4));
    }

    #[test]
    fn pages_go_to_the_pool_only_below_the_limit() {
        let budget = Budget::new((2 * PAGE_BYTES, PAGE_BYTES), 0, 4, false);
        assert!(budget.take(1, 2 * PAGE_MEMORY_BYTES) && budget.take(2, 1));
        assert!(!budget.move_page(1, 0));
        budget.give_back(1, 2 * PAGE_MEMORY_BYTES);
        assert!(budget.move_page(1, 0));
        assert_eq!((budget.counts().pool, budget.counts().malloced_bytes), (0, 2 * PAGE_BYTES));
        assert!(budget.move_page(1, 0));
        assert_eq!((budget.counts().pool, budget.counts().malloced_bytes), (1, 2 * PAGE_BYTES));
        assert!(budget.take(3, PAGE_MEMORY_BYTES));
        assert_eq!(budget.counts().pool, 0);
    }

    #[test]
    fn spans_are_reused_and_given_back() {
        let budget = Budget::new((2 * PAGE_BYTES, PAGE_BYTES), 0, 2, false);
        assert!(budget.take(1, 64 << 10));
        let span = budget.map(64 << 10).expect("memory");
        budget.unmap(span);
        assert_eq!(budget.state.lock().spare.len(), 1);
        assert!(budget.map(64 << 10).is_some());
        assert!(budget.state.lock().spare.is_empty());
    }

    /// Spare spans stayed beside chunks from the allocator: with values of 16 to 64 KiB after small ones, up to twice the
    /// limit was resident.
    #[test]
    fn spare_memory_makes_room_for_what_is_allocated() {
        let budget = Budget::new((2 * PAGE_BYTES, PAGE_BYTES), 0, 2, false);
        budget.set_elastic(true);
        let spans: Vec<_> = (0..8).map(|_| budget.map(256 << 10).expect("memory")).collect();
        spans.into_iter().for_each(|span| budget.unmap(span));
        assert_eq!(budget.state.lock().mapped, 2 << 20);
        budget.note_allocated(1 << 20);
        assert_eq!(budget.state.lock().mapped, 1 << 20);
        budget.note_freed(1 << 20);
        assert!(budget.map(1 << 20).is_some());
        assert_eq!(budget.state.lock().mapped, 2 << 20);
    }

    #[test]
    fn a_large_index_takes_pages() {
        let budget = Budget::new((64 * PAGE_BYTES, PAGE_BYTES), 0, 2, false);
        budget.resize_index(0, 2 * PAGE_BYTES);
        assert!(budget.take(1, 60 * PAGE_MEMORY_BYTES));
        budget.resize_index(2 * PAGE_BYTES, 4 * PAGE_BYTES);
        // An index of 1/66 of the limit is free.
        assert_eq!(budget.counts().page_limit_bytes, (60 << 20) + (64 << 20) / INDEX_SHARE);
        assert!(!budget.take(1, PAGE_MEMORY_BYTES));
        budget.resize_index(4 * PAGE_BYTES, 3 * PAGE_BYTES);
        assert!(budget.take(1, PAGE_MEMORY_BYTES));
        assert!(!budget.take(1, PAGE_MEMORY_BYTES));
        budget.resize_index(3 * PAGE_BYTES, 4 * PAGE_BYTES);
        budget.resize_index(4 * PAGE_BYTES, 0);
        assert!(budget.take(1, 3 * PAGE_MEMORY_BYTES));
        assert!(!budget.take(1, 1));
        // With little memory it is half a page.
        let budget = Budget::new((8 * PAGE_BYTES, PAGE_BYTES), 0, 2, false);
        budget.resize_index(0, PAGE_BYTES);
        assert_eq!(budget.counts().page_limit_bytes, 8 * PAGE_BYTES - PAGE_BYTES / 2);
    }

    /// The store took memory until none was left, and the next small allocation of anybody ended the process.
    #[test]
    fn what_the_system_refuses_is_not_asked_for_at_once_again() {
        let budget = Budget::new((64 * PAGE_BYTES, PAGE_BYTES), 0, 2, false);
        budget.set_elastic(true);
        let memory = budget.map(8192).expect("memory");
        assert!(budget.map(1 << 60).is_none());
        assert_eq!(budget.refusals(), 1);
        assert!(budget.state.lock().reserve.is_none() && budget.map(4096).is_none());
        // Memory that came back may be exchanged for memory of another size.
        budget.unmap(memory);
        assert!(budget.map(4096).is_some() && budget.map(4096).is_some() && budget.map(4096).is_none());
        assert!((0..FORGONE_MAX).any(|_| budget.map(4096).is_some()));
        assert!(budget.state.lock().reserve.is_some());
        // Others that were refused some may have the reserve.
        assert!(budget.release_reserve() && !budget.release_reserve() && budget.map(4096).is_none());
        assert_eq!(budget.refusals(), 2);
    }

    #[test]
    fn the_reserve_is_a_share_within_bounds() {
        assert_eq!(reserve_bytes(0), RESERVE_BYTES_MIN);
        assert_eq!(reserve_bytes(64 << 20), 2 << 20);
        assert_eq!(reserve_bytes(RESERVE_BYTES_MAX * RESERVE_SHARE), RESERVE_BYTES_MAX);
        assert_eq!(reserve_bytes(1 << 40), RESERVE_BYTES_MAX);
    }
}

#[cfg(all(test, feature = "loom"))]
mod models {
    use super::*;
    use crate::base::sizes::PAGE_BYTES;
    use crate::base::sync::Arc;
    use crate::base::sync::model::{check, thread};

    const PAGE_MEMORY_BYTES: usize = page_memory_bytes(PAGE_BYTES);

    fn elastic(pages: usize, is_huge: bool) -> Arc<Budget> {
        let budget = Budget::new((pages * PAGE_BYTES, PAGE_BYTES), 0, 4, is_huge);
        budget.set_elastic(true);
        Arc::new(budget)
    }

    fn on_thread<T: 'static>(budget: &Arc<Budget>, act: impl FnOnce(&Budget) -> T + 'static) -> thread::JoinHandle<T> {
        let budget = Arc::clone(budget);
        thread::spawn(move || act(&budget))
    }

    /// The hint is what the numbers say, and these add up.
    fn check_sums(budget: &Budget) {
        let state = budget.state.lock();
        assert_eq!(budget.room.load(Ordering::Relaxed), state.room());
        assert_eq!(state.used.iter().sum::<usize>(), state.used_total);
        assert!(state.used_total <= state.capacity());
    }

    #[test]
    fn what_is_left_goes_to_one() {
        check(|| {
            let budget = elastic(2, false);
            assert!(budget.take(1, PAGE_MEMORY_BYTES));
            let other = on_thread(&budget, |budget| budget.take(2, PAGE_MEMORY_BYTES));
            let is_mine = budget.take(1, PAGE_MEMORY_BYTES);
            assert!(is_mine != other.join().expect("no panic"));
            check_sums(&budget);
        });
    }

    #[test]
    fn what_is_given_back_can_be_taken() {
        check(|| {
            let budget = elastic(2, false);
            assert!(budget.take(1, 2 * PAGE_MEMORY_BYTES));
            let other = on_thread(&budget, |budget| budget.give_back(1, PAGE_MEMORY_BYTES));
            budget.give_back(1, PAGE_MEMORY_BYTES);
            let is_early = budget.take(2, 2 * PAGE_MEMORY_BYTES);
            other.join().expect("no panic");
            assert!(is_early || budget.take(2, 2 * PAGE_MEMORY_BYTES), "both pages");
            check_sums(&budget);
        });
    }

    #[test]
    fn a_page_is_moved_or_used() {
        check(|| {
            let budget = Arc::new(Budget::new((2 * PAGE_BYTES, PAGE_BYTES), 0, 4, false));
            assert!(budget.take(1, 2 * PAGE_MEMORY_BYTES));
            budget.give_back(1, PAGE_MEMORY_BYTES);
            let mover = on_thread(&budget, |budget| budget.move_page(1, 2));
            let is_taken = budget.take(1, PAGE_MEMORY_BYTES);
            assert!(is_taken != mover.join().expect("no panic"));
            let counts = budget.counts();
            assert_eq!(counts.pages.iter().sum::<usize>(), 2);
            assert!(counts.pages.iter().zip(&counts.used).all(|(pages, used)| *used <= pages * PAGE_MEMORY_BYTES));
        });
    }

    /// Two partitions asked for a region at a time, each saw room for one huge page, and both got it.
    #[test]
    fn the_last_huge_page_goes_to_one() {
        check(|| {
            let budget = elastic(3, true);
            let other = on_thread(&budget, |budget| budget.map_region(64 << 10));
            let mine = budget.map_region(64 << 10);
            let other = other.join().expect("no panic");
            assert!(mine.is_some() && other.is_some());
            let state = budget.state.lock();
            assert!(state.mapped <= state.capacity(), "{} of {} bytes", state.mapped, state.capacity());
        });
    }
}
