//! Memory of large values: chunks of the class' nominal size, shared by all partitions.
//!
//! A large value is charged to its slab class as memcached charges it, one chunk of the class' size, or a row of
//! largest-class chunks and a fitting last one. Each chunk is an allocation of its own, so a page of such a class is an
//! account: which chunks belong to a page is a label, and a page can go as soon as that many chunks are free, wherever
//! they are; the live ones of the page get the labels of the freed ones and are counted as rescued.
//!
//! Chunks of [`MAPPED_BYTES_MIN`] and more are mappings of their own, so that what they held is the system's again when
//! sizes change. Smaller ones would need too many mappings; they come from the allocator.
//!
//! Lock order: a partition's lock, then this pool's, then the budget's.

use slab::Slab;

use crate::base::sync::{Arc, AtomicUsize, Mutex, Ordering};

use super::slab::budget::{Budget, PAGE_MEMORY_BYTES};
use super::slab::classes::ClassTable;
use super::value::{Chunk, ChunkHome, ChunkMemory, LargeBuffer};

/// memcached's head of a chunk: decides the class of the last chunk of a chunked item.
const CHUNK_HEADER_BYTES: usize = 48;

/// Smallest chunk that is mapped by itself.
const MAPPED_BYTES_MIN: usize = 64 * 1024;

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
    state: Mutex<Vec<ClassChunks>>,
    /// Free chunks of all classes, as a hint that spares the lock. Written with the lock held.
    free: AtomicUsize,
}

impl ChunkPool {
    /// An empty pool.
    pub fn new(classes: ClassTable, budget: Arc<Budget>) -> Arc<Self> {
        let state = (0..=classes.largest()).map(|_| ClassChunks::default()).collect();
        Arc::new(Self { classes, budget, state: Mutex::new(state), free: AtomicUsize::new(0) })
    }

    /// Budget one chunk of a class takes.
    pub fn cost(&self, class: usize) -> usize {
        PAGE_MEMORY_BYTES / self.classes.chunks_per_page(class)
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
        if bytes >= MAPPED_BYTES_MIN
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

    /// Gives up the memory of a chunk that is free.
    fn release(&self, class: usize, data: ChunkMemory) {
        self.free.fetch_sub(1, Ordering::Relaxed);
        match data {
            ChunkMemory::Mapped(memory) => self.budget.unmap(memory),
            ChunkMemory::Allocated(memory) => self.budget.note_freed(memory.len()),
        }
        self.budget.give_back(class, self.cost(class));
    }

    /// Makes a buffer out of chunks.
    pub fn buffer(chunks: Vec<Arc<Chunk>>, value_bytes: usize) -> LargeBuffer {
        LargeBuffer::new(chunks, value_bytes)
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
        let budget = Arc::new(Budget::new(pages * PAGE_BYTES, 0, classes.largest() + 1, false));
        ChunkPool::new(classes, budget)
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
        assert_eq!((pool.counts(23), pool.budget.counts().used[23]), ((64, 0), PAGE_MEMORY_BYTES));
        drop(taken);
        assert_eq!(pool.release_page(23, 64), Some(0));
        assert_eq!(pool.budget.counts().used[23], 0);
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
