//! Pages against the memory limit, for the whole process.
//!
//! Users see memory in pages of 1 MiB that belong to slab classes, as in memcached. Here a page is an amount, not a
//! place: a class that owns `n` pages may use `n` MiB, in spans of slots (many, spread over partitions) and in chunks of
//! large values. The rules for giving out pages are memcached's: from the pool; below the limit; and the first page of a
//! class even above it.
//!
//! What is beside the items: memcached takes a hash table, chunk ends and thread structures on top of the limit, 2 to 8
//! percent of it. Here a page stands for a little more than 1 MiB, and the indexes of the partitions may have
//! [`INDEX_SHARE`] of the limit and a page on top; for what they take above that, classes may have fewer pages.
//!
//! Lock order: a partition's lock, then this one. Taken once per span or chunk, never per request.

use memmap2::MmapMut;

use crate::base::sizes::PAGE_BYTES;
use crate::base::sync::Mutex;

use super::regions::{GRANULE_BYTES, REGION_BYTES_MAX};

/// Memory that a page stands for.
pub const PAGE_MEMORY_BYTES: usize = PAGE_BYTES + 6 * 1024;

/// The indexes may have one part in so many of the limit on top of it, and a page.
const INDEX_SHARE: usize = 64;

/// Regions may take one part in so many of the limit more than the spans in them, and a region.
const REGION_SHARE: usize = 64;

/// Pages by class; see the module comment.
pub struct Budget {
    state: Mutex<State>,
}

struct State {
    limit_bytes: usize,
    /// Bytes that only count (`T_MEMD_INITIAL_MALLOC`).
    initial_bytes: usize,
    /// Pages by class; class 0 is unused.
    pages: Vec<usize>,
    /// Bytes in use by class: used[c] <= pages[c] * PAGE_MEMORY_BYTES, but for a short time after a page was taken away.
    used: Vec<usize>,
    /// Free pages that belong to no class.
    pool: usize,
    /// Regions that were given back, kept for reuse.
    spare: Vec<MmapMut>,
    /// Bytes of all regions, the spare ones included.
    mapped: usize,
    /// Bytes of the partitions' indexes.
    index_bytes: usize,
    /// Regions are to be huge pages.
    is_huge: bool,
}

impl State {
    fn pages(&self) -> usize {
        self.pages.iter().sum::<usize>() + self.pool
    }

    fn malloced(&self) -> usize {
        self.initial_bytes + self.pages() * PAGE_BYTES
    }

    /// The limit without the pages that the indexes have taken.
    fn page_limit(&self) -> usize {
        let allowed = self.limit_bytes / INDEX_SHARE + PAGE_BYTES;
        let excess = self.index_bytes.saturating_sub(allowed) / PAGE_BYTES * PAGE_BYTES;
        self.limit_bytes.saturating_sub(excess)
    }

    fn is_full(&self) -> bool {
        self.malloced() + PAGE_BYTES > self.page_limit()
    }

    fn has_room(&self, class: usize, bytes: usize) -> bool {
        self.used[class] + bytes <= self.pages[class] * PAGE_MEMORY_BYTES
    }

    /// Size of the region to map for a span of `bytes`: a huge page while that is not much more than the pages stand for,
    /// nor more than the limit allows, and else no more than the span needs.
    fn region_bytes(&self, bytes: usize) -> usize {
        let in_use = self.pages() * PAGE_MEMORY_BYTES + self.limit_bytes / REGION_SHARE + REGION_BYTES_MAX;
        let in_all = self.page_limit() / PAGE_BYTES * PAGE_MEMORY_BYTES;
        if self.is_huge && self.mapped + REGION_BYTES_MAX <= in_use.min(in_all) {
            REGION_BYTES_MAX
        } else {
            bytes.next_multiple_of(GRANULE_BYTES)
        }
    }

    /// Unmaps spare regions while more is mapped than the pages stand for.
    fn trim(&mut self, wanted: usize) {
        let allowed = self.pages() * PAGE_MEMORY_BYTES;
        while self.mapped + wanted > allowed {
            let Some(region) = self.spare.pop() else { return };
            self.mapped -= region.len();
        }
    }
}

/// Pages as a snapshot shows them.
#[derive(Clone, Debug)]
pub struct PageCounts {
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
}

impl PageCounts {
    /// Whether no further page fits below the limit.
    pub fn is_full(&self) -> bool {
        self.malloced_bytes + PAGE_BYTES > self.page_limit_bytes
    }
}

impl Budget {
    /// A budget of `limit_bytes` for `classes` classes (class 0 included). With `is_huge` regions are as
    /// large as huge pages, and the system is asked for those.
    pub fn new(limit_bytes: usize, initial_bytes: usize, classes: usize, is_huge: bool) -> Self {
        let state = State {
            limit_bytes,
            initial_bytes,
            pages: vec![0; classes],
            used: vec![0; classes],
            pool: 0,
            spare: Vec::new(),
            mapped: 0,
            index_bytes: 0,
            is_huge,
        };
        Self { state: Mutex::new(state) }
    }

    /// Takes `bytes` for a class, with a new page when it needs one. False when there is none to be had.
    pub fn take(&self, class: usize, bytes: usize) -> bool {
        let state = &mut *self.state.lock();
        while !state.has_room(class, bytes) {
            if state.pool > 0 {
                state.pool -= 1;
            } else if state.pages[class] > 0 && state.is_full() {
                return false;
            }
            state.pages[class] += 1;
        }
        state.used[class] += bytes;
        true
    }

    /// Gives `bytes` of a class back to it.
    pub fn give_back(&self, class: usize, bytes: usize) {
        let state = &mut *self.state.lock();
        state.used[class] -= bytes;
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

    /// Memory for a span that was [taken](Budget::take): a region that holds at least `bytes`; `None` when the system has
    /// none.
    pub fn map(&self, bytes: usize) -> Option<MmapMut> {
        let state = &mut *self.state.lock();
        let region_bytes = state.region_bytes(bytes);
        if let Some(position) = state.spare.iter().rposition(|region| region.len() == region_bytes) {
            return Some(state.spare.swap_remove(position));
        }
        state.trim(region_bytes);
        let region = MmapMut::map_anon(region_bytes).ok()?;
        if region_bytes == REGION_BYTES_MAX {
            // A wish: a system without huge pages serves as well.
            let _ = region.advise(memmap2::Advice::HugePage);
        }
        state.mapped += region_bytes;
        Some(region)
    }

    /// Takes a region back.
    pub fn unmap(&self, region: MmapMut) {
        let state = &mut *self.state.lock();
        state.spare.push(region);
        state.trim(0);
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
            if state.pages[source] == 0 || state.used[source] > (state.pages[source] - 1) * PAGE_MEMORY_BYTES {
                return false;
            }
            state.pages[source] -= 1;
        }
        if target != 0 {
            state.pages[target] += 1;
        } else if !state.is_full() {
            state.pool += 1;
        } else {
            state.trim(0);
        }
        true
    }

    /// An index that took `before` bytes takes `after` now.
    pub fn resize_index(&self, before: usize, after: usize) {
        let state = &mut *self.state.lock();
        state.index_bytes = state.index_bytes + after - before;
    }

    /// Sets the limit; pages above it go back by and by.
    pub fn set_limit(&self, bytes: usize) {
        let state = &mut *self.state.lock();
        state.limit_bytes = bytes;
        while state.pool > 0 && state.malloced() > state.page_limit() {
            state.pool -= 1;
        }
        state.trim(0);
    }

    /// All numbers at this moment.
    pub fn counts(&self) -> PageCounts {
        let state = &*self.state.lock();
        PageCounts {
            pages: state.pages.clone(),
            used: state.used.clone(),
            pool: state.pool,
            malloced_bytes: state.malloced(),
            limit_bytes: state.limit_bytes,
            page_limit_bytes: state.page_limit(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_class_gets_its_first_page_above_the_limit() {
        let budget = Budget::new(2 * PAGE_BYTES, 0, 4, false);
        assert!(budget.take(1, PAGE_MEMORY_BYTES) && budget.take(1, PAGE_MEMORY_BYTES));
        assert!(!budget.take(1, 1));
        assert!(budget.take(2, 64 << 10));
        assert!(budget.take(2, PAGE_MEMORY_BYTES - (64 << 10)));
        assert!(!budget.take(2, 1));
        assert_eq!(budget.counts().malloced_bytes, 3 * PAGE_BYTES);
    }

    #[test]
    fn pages_go_to_the_pool_only_below_the_limit() {
        let budget = Budget::new(2 * PAGE_BYTES, 0, 4, false);
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
        let budget = Budget::new(2 * PAGE_BYTES, 0, 2, false);
        assert!(budget.take(1, 64 << 10));
        let span = budget.map(64 << 10).expect("memory");
        budget.unmap(span);
        assert_eq!(budget.state.lock().spare.len(), 1);
        assert!(budget.map(64 << 10).is_some());
        assert!(budget.state.lock().spare.is_empty());
    }

    #[test]
    fn a_large_index_takes_pages() {
        let budget = Budget::new(64 * PAGE_BYTES, 0, 2, false);
        budget.resize_index(0, 2 * PAGE_BYTES);
        assert!(budget.take(1, 60 * PAGE_MEMORY_BYTES));
        budget.resize_index(2 * PAGE_BYTES, 5 * PAGE_BYTES);
        assert_eq!((budget.counts().page_limit_bytes, budget.counts().limit_bytes), (61 << 20, 64 << 20));
        assert!(budget.take(1, PAGE_MEMORY_BYTES));
        assert!(!budget.take(1, PAGE_MEMORY_BYTES));
        budget.resize_index(5 * PAGE_BYTES, 0);
        assert!(budget.take(1, 3 * PAGE_MEMORY_BYTES));
        assert!(!budget.take(1, 1));
    }
}
