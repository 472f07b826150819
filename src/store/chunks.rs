//! Memory of large values: chunks of the class' nominal size, shared by all partitions.
//!
//! A large value is charged to its slab class as memcached charges it, one chunk of the class' size, or a row of
//! largest-class chunks and a fitting last one. Each chunk is an allocation of its own, so a page of such a class is an
//! account: which chunks belong to a page is a label, and a page can go as soon as that many chunks are free, wherever
//! they are; the live ones of the page get the labels of the freed ones and are counted as rescued. While memory is not full
//! a page can go even without: its chunks get the label of a new one.
//!
//! Chunks are mappings of their own, so that what they held is the system's again when sizes change: an allocator keeps it.
//! Small ones, though, would need too many mappings where memory is large; they come from the allocator (see [`mapped_from`]).
//!
//! Lock order: a partition's lock, then this pool's, then the budget's.

use std::fmt;

use slab::Slab;

use crate::base::sync::{Arc, AtomicUsize, Mutex, Ordering};

use super::slab::budget::{Budget, page_memory_bytes};
use super::slab::classes::ClassTable;
use super::value::{Chunk, ChunkHome, ChunkMemory, LargeBuffer};

/// memcached's head of a chunk: decides the class of the last chunk of a chunked item.
const CHUNK_HEADER_BYTES: usize = 48;

/// Mappings that small chunks may take, about half of what Linux allows a process (`vm.max_map_count`).
const MAPPINGS_MAX: usize = 32 * 1024;

/// Smaller chunks would waste too much of their last 4 KiB.
const MAPPED_BYTES_MIN: usize = 16 * 1024;

/// Chunks of this size and more are mapped, however many there may be.
const MAPPED_BYTES_ALWAYS: usize = 64 * 1024;

/// Size from which on chunks are mapped, below a memory limit.
fn mapped_from(limit_bytes: usize) -> usize {
    (limit_bytes / MAPPINGS_MAX).clamp(MAPPED_BYTES_MIN, MAPPED_BYTES_ALWAYS)
}

/// Values on their way in may hold all of memory but one part in so many.
const UPLOADS_KEPT_OUT_OF: usize = 4;

#[derive(Default)]
struct ClassChunks {
    /// Page label by chunk id.
    labels: Slab<u32>,
    free: Vec<(u32, ChunkMemory)>,
    /// Chunks by page label.
    pages: Vec<usize>,
}

/// The pool.
pub struct ChunkPool {
    classes: ClassTable,
    budget: Arc<Budget>,
    /// Size from which on chunks are mapped.
    mapped_from: usize,
    state: Mutex<Vec<ClassChunks>>,
    /// Free chunks of all classes, as a hint that spares the lock. Written with the lock held.
    free: AtomicUsize,
    /// Bytes of values on their way in.
    uploading: AtomicUsize,
}

/// The share of one value in what is on its way in; counted as long as this lives.
pub struct UploadCharge {
    pool: Arc<ChunkPool>,
    bytes: usize,
}

impl Drop for UploadCharge {
    fn drop(&mut self) {
        self.pool.uploading.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

impl fmt::Debug for UploadCharge {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("UploadCharge").field("bytes", &self.bytes).finish_non_exhaustive()
    }
}

impl ChunkPool {
    /// An empty pool for about `limit_bytes` of chunks.
    pub fn new(classes: ClassTable, budget: Arc<Budget>, limit_bytes: usize) -> Arc<Self> {
        let state = (0..=classes.largest()).map(|_| ClassChunks::default()).collect();
        Arc::new(Self {
            classes,
            budget,
            mapped_from: mapped_from(limit_bytes),
            state: Mutex::new(state),
            free: AtomicUsize::new(0),
            uploading: AtomicUsize::new(0),
        })
    }

    /// Budget one chunk of a class takes.
    pub fn cost(&self, class: usize) -> usize {
        page_memory_bytes(self.classes.page_bytes()) / self.classes.chunks_per_page(class)
    }

    /// The classes of the chunks for a value in an item of `item_bytes`, in order: `count` of the first class, then one
    /// of the second.
    pub fn plan(&self, item_bytes: usize, value_bytes: usize) -> Plan {
        let largest = self.classes.largest();
        let chunk_max = self.classes.chunk_bytes(largest);
        if item_bytes <= chunk_max {
            let class = usize::from(self.classes.class_of(item_bytes));
            return Plan { class, count: 1, last: None };
        }
        let rest = value_bytes % chunk_max;
        let last = (rest > 0).then(|| usize::from(self.classes.class_of(rest + CHUNK_HEADER_BYTES)));
        Plan { class: largest, count: value_bytes / chunk_max, last }
    }

    /// A buffer of chunks that nobody else has to go for; `None` when there are too few.
    pub fn free_buffer(self: &Arc<Self>, item_bytes: usize, value_bytes: usize) -> Option<LargeBuffer> {
        let plan = self.plan(item_bytes, value_bytes);
        let classes = std::iter::repeat_n(plan.class, plan.count).chain(plan.last);
        let taken: Option<Vec<_>> = classes.map(|class| self.take(class)).collect();
        Some(LargeBuffer::new(taken?, value_bytes, self.begin_upload(value_bytes)?))
    }

    /// A chunk of a class; `None` when the class may not have more memory.
    pub fn take(self: &Arc<Self>, class: usize) -> Option<Arc<Chunk>> {
        let mut state = self.state.lock();
        let chunks = &mut state[class];
        let (id, data) = match chunks.free.pop() {
            Some(free) => {
                self.free.fetch_sub(1, Ordering::Relaxed);
                free
            }
            None => self.make(class, chunks)?,
        };
        drop(state);
        Some(Arc::new(Chunk::new(data, ChunkHome { pool: Arc::clone(self), class: class as u8, id })))
    }

    fn make(&self, class: usize, chunks: &mut ClassChunks) -> Option<(u32, ChunkMemory)> {
        if !self.budget.take(class, self.cost(class)) {
            return None;
        }
        let Some(data) = self.memory(class) else {
            self.budget.give_back(class, self.cost(class));
            return None;
        };
        let per_page = self.classes.chunks_per_page(class);
        let label = match chunks.pages.iter().position(|&count| count < per_page) {
            Some(label) => label,
            None => {
                chunks.pages.push(0);
                chunks.pages.len() - 1
            }
        };
        chunks.pages[label] += 1;
        Some((chunks.labels.insert(label as u32) as u32, data))
    }

    fn memory(&self, class: usize) -> Option<ChunkMemory> {
        let bytes = self.classes.chunk_bytes(class);
        if self.is_mapped(bytes)
            && let Some(memory) = self.budget.map(bytes)
        {
            return Some(ChunkMemory::Mapped(memory));
        }
        let mut data = Vec::new();
        data.try_reserve_exact(bytes).ok()?;
        data.resize(bytes, 0);
        self.budget.note_allocated(bytes);
        Some(ChunkMemory::Allocated(data.into_boxed_slice()))
    }

    /// Whether chunks of so many bytes are mapped, rather than the allocator's.
    pub(super) fn is_mapped(&self, chunk_bytes: usize) -> bool {
        chunk_bytes >= self.mapped_from
    }

    /// Memory of all chunks, live or free, whose size is `chosen`.
    #[cfg(test)]
    pub(super) fn bytes_of(&self, chosen: impl Fn(usize) -> bool) -> usize {
        let sizes = (1..=self.classes.largest()).map(|class| (class, self.classes.chunk_bytes(class)));
        let state = self.state.lock();
        sizes.filter(|(_, bytes)| chosen(*bytes)).map(|(class, bytes)| state[class].labels.len() * bytes).sum()
    }

    /// Gives up the memory of a chunk that is free.
    fn release(&self, class: usize, data: ChunkMemory) {
        self.free.fetch_sub(1, Ordering::Relaxed);
        match data {
            ChunkMemory::Mapped(memory) => self.budget.unmap(memory),
            ChunkMemory::Allocated(memory) => self.budget.note_freed(memory.len()),
        }
        self.budget.give_back(class, self.cost(class));
    }

    /// Counts a value of so many bytes as on its way in; `None` when those that are hold as much as they may. So however
    /// many clients begin values and never end them, a part of memory is left to everybody else.
    pub fn begin_upload(self: &Arc<Self>, bytes: usize) -> Option<UploadCharge> {
        let limit = self.budget.limit_bytes();
        let allowed = (limit - limit / UPLOADS_KEPT_OUT_OF).max(bytes.saturating_mul(2));
        // Two threads may each be the last: what matters is that the sum is bounded.
        if self.uploading.load(Ordering::Relaxed).saturating_add(bytes) > allowed {
            return None;
        }
        self.uploading.fetch_add(bytes, Ordering::Relaxed);
        Some(UploadCharge { pool: Arc::clone(self), bytes })
    }

    pub(super) fn give_back(&self, class: u8, id: u32, data: ChunkMemory) {
        let state = &mut *self.state.lock();
        state[usize::from(class)].free.push((id, data));
        self.free.fetch_add(1, Ordering::Relaxed);
    }

    /// Chunks of a class: (live, free).
    pub fn counts(&self, class: usize) -> (usize, usize) {
        let chunks = &self.state.lock()[class];
        (chunks.labels.len() - chunks.free.len(), chunks.free.len())
    }

    /// Gives the memory of free chunks back to the class, at least `bytes` of it; false when there is not enough.
    pub fn release_free(&self, class: usize, bytes: usize) -> bool {
        let wanted = bytes.div_ceil(self.cost(class));
        let chunks = &mut self.state.lock()[class];
        if chunks.free.len() < wanted {
            return false;
        }
        for _ in 0..wanted {
            if let Some((id, data)) = chunks.free.pop() {
                let label = chunks.labels.remove(id as usize);
                chunks.pages[label as usize] -= 1;
                self.release(class, data);
            }
        }
        true
    }

    /// Gives the memory of free chunks of any class up, `bytes` of it or what there is; whether there was some.
    pub fn release_any(&self, bytes: usize) -> bool {
        if self.free.load(Ordering::Relaxed) == 0 {
            return false;
        }
        let mut released = 0;
        for (class, chunks) in self.state.lock().iter_mut().enumerate() {
            while released < bytes
                && let Some((id, data)) = chunks.free.pop()
            {
                let label = chunks.labels.remove(id as usize);
                chunks.pages[label as usize] -= 1;
                self.release(class, data);
                released += self.cost(class);
            }
        }
        released > 0
    }

    /// Frees the memory of `count` chunks, all of them free, on account of the oldest page; returns how many live
    /// chunks of that page were kept, or `None` when fewer chunks are free.
    pub fn release_page(&self, class: usize, count: usize) -> Option<usize> {
        let chunks = &mut self.state.lock()[class];
        if chunks.free.len() < count {
            return None;
        }
        let victim = chunks.pages.iter().position(|&members| members > 0)? as u32;
        // The victim's own free chunks go first, that is, they are sorted to the end.
        let labels = &chunks.labels;
        chunks.free.sort_by_key(|(id, _)| labels.get(*id as usize) == Some(&victim));
        let mut is_free = vec![false; chunks.labels.capacity()];
        for (id, _) in &chunks.free {
            is_free[*id as usize] = true;
        }
        let mut live: Vec<usize> =
            chunks.labels.iter().filter(|(id, label)| **label == victim && !is_free[*id]).map(|(id, _)| id).collect();
        let mut rescued = 0;
        for _ in 0..count {
            let Some((id, data)) = chunks.free.pop() else {
                break;
            };
            let label = chunks.labels.remove(id as usize);
            self.release(class, data);
            if label == victim {
                chunks.pages[victim as usize] -= 1;
            } else if let Some(kept) = live.pop() {
                chunks.labels[kept] = label;
                chunks.pages[victim as usize] -= 1;
                rescued += 1;
            } else {
                chunks.pages[label as usize] -= 1;
            }
        }
        Some(rescued)
    }

    /// Puts what is on the oldest page of a class on a new one, which the class has got for it; returns how many live chunks
    /// that are. Since pages are labels, nothing is copied.
    pub fn renew_page(&self, class: usize) -> usize {
        let chunks = &mut self.state.lock()[class];
        let Some(oldest) = chunks.pages.iter().position(|&members| members > 0) else { return 0 };
        // The new one is the last; those behind the oldest move up.
        chunks.pages[oldest..].rotate_left(1);
        let (oldest, newest) = (oldest as u32, chunks.pages.len() as u32 - 1);
        for (_, label) in chunks.labels.iter_mut().filter(|(_, label)| **label >= oldest) {
            *label = if *label == oldest { newest } else { *label - 1 };
        }
        let free = chunks.free.iter().filter(|(id, _)| chunks.labels.get(*id as usize) == Some(&newest)).count();
        chunks.pages[newest as usize] - free
    }
}

/// Chunks of a large value; see [`ChunkPool::plan`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Plan {
    /// Class of all chunks but the last.
    pub class: usize,
    /// How many of that class.
    pub count: usize,
    /// Class of a further, last chunk.
    pub last: Option<usize>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::sizes::PAGE_BYTES;
    use crate::store::config::Config;

    fn pool(pages: usize) -> Arc<ChunkPool> {
        let classes = ClassTable::new(&Config { slab_chunk_max: 16384, ..Config::default() });
        let budget = Arc::new(Budget::new((pages * PAGE_BYTES, PAGE_BYTES), 0, classes.largest() + 1, false));
        ChunkPool::new(classes, budget, pages * PAGE_BYTES)
    }

    #[test]
    fn chunks_come_back_and_pages_go() {
        let pool = pool(2);
        let mut taken: Vec<_> = std::iter::from_fn(|| pool.take(23)).collect();
        assert_eq!((taken.len(), pool.counts(23)), (128, (128, 0)));
        assert_eq!(pool.release_page(23, 64), None);
        taken.truncate(64);
        assert_eq!(pool.counts(23), (64, 64));
        // The free ones are the younger page's; the oldest page goes, and its live chunks stay.
        assert_eq!(pool.release_page(23, 64), Some(64));
        assert_eq!((pool.counts(23), pool.budget.counts().used[23]), ((64, 0), page_memory_bytes(PAGE_BYTES)));
        drop(taken);
        assert_eq!(pool.release_page(23, 64), Some(0));
        assert_eq!(pool.budget.counts().used[23], 0);
    }

    #[test]
    fn what_is_live_on_a_page_is_on_its_successor() {
        let pool = pool(2);
        assert_eq!(pool.renew_page(23), 0);
        let mut taken: Vec<_> = std::iter::from_fn(|| pool.take(23)).take(100).collect();
        drop(taken.drain(..4));
        assert_eq!((pool.renew_page(23), pool.renew_page(23), pool.renew_page(23)), (60, 36, 60));
        assert_eq!(pool.counts(23), (96, 4));
        drop(taken.drain(..36));
        // The second page, which is the oldest by now, goes with four of the other's free chunks, and its own stay.
        assert_eq!(pool.release_page(23, 36), Some(36));
        assert_eq!(pool.state.lock()[23].pages.iter().sum::<usize>(), 64);
    }

    #[test]
    fn small_chunks_are_mapped_while_mappings_suffice() {
        assert_eq!(
            [64 << 20, 512 << 20, 1 << 30, 2 << 30, 64 << 30].map(mapped_from),
            [16384, 16384, 32768, 65536, 65536]
        );
    }

    #[test]
    fn plans_follow_memcached() {
        let pool = pool(2);
        assert_eq!(pool.plan(16384, 16000), Plan { class: 23, count: 1, last: None });
        assert_eq!(pool.plan(30066, 30000), Plan { class: 23, count: 1, last: Some(23) });
        assert_eq!(pool.plan(32835, 32768), Plan { class: 23, count: 2, last: None });
        assert_eq!(pool.plan(32935, 32868), Plan { class: 23, count: 2, last: Some(3) });
    }
}

#[cfg(all(test, feature = "loom"))]
mod models {
    use super::*;
    use crate::base::sizes::PAGE_BYTES;
    use crate::base::sync::model::{check, thread};
    use crate::store::config::Config;

    /// Chunks of two classes, from the allocator and mapped, that are taken, shared, let go of on another thread and given
    /// up, all at a time.
    #[test]
    fn chunks_are_nobodys_or_somebodys() {
        check(|| {
            let classes = ClassTable::new(&Config::default());
            let budget = Arc::new(Budget::new((2 * PAGE_BYTES, PAGE_BYTES), 0, classes.largest() + 1, false));
            let large = usize::from(classes.class_of(20_000));
            let pool = ChunkPool::new(classes, Arc::clone(&budget), 2 * PAGE_BYTES);
            let (mine, theirs) = (pool.take(1).expect("a chunk"), pool.take(1).expect("a chunk"));
            let (other, shared) = (Arc::clone(&pool), Arc::clone(&mine));
            let other = thread::spawn(move || {
                drop((theirs, shared));
                drop(other.take(large));
            });
            drop(mine);
            drop(pool.take(1));
            pool.release_any(1);
            other.join().expect("no panic");
            let free: usize = pool.state.lock().iter().map(|chunks| chunks.free.len()).sum();
            assert_eq!(pool.free.load(Ordering::Relaxed), free, "the hint");
            for class in [1, large] {
                let (live, free) = pool.counts(class);
                assert_eq!((live, budget.counts().used[class]), (0, free * pool.cost(class)), "class {class}");
                assert_eq!(pool.state.lock()[class].pages.iter().sum::<usize>(), free);
            }
            while pool.release_any(1) {}
            assert_eq!(budget.counts().used.iter().sum::<usize>(), 0);
        });
    }
}
