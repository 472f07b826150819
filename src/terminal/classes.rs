//! Memory by slab class, from `stats slabs` and `stats items`, and memcached-tool's table of it.

use super::statistics::Statistics;
use crate::base::sizes;

/// One slab class that owns pages.
#[derive(Clone, Default, PartialEq, Eq, Debug)]
pub struct Class {
    /// Its number, from 1 on.
    pub id: u32,
    /// Bytes of a chunk.
    pub chunk_bytes: u64,
    /// Pages it owns.
    pub pages: u64,
    /// Chunks its pages have by memcached's sizes; slabstash's items are smaller, so more may be in use.
    pub chunks: u64,
    /// Chunks in use.
    pub chunks_used: u64,
    /// Chunks for which there is room.
    pub chunks_free: u64,
    /// Items, which may take more than one chunk.
    pub items: u64,
    /// Bytes that its items asked for.
    pub requested_bytes: u64,
    /// Seconds since the last access of the item that would be evicted next.
    pub age_seconds: u64,
    /// Items evicted.
    pub evicted: u64,
    /// Seconds for which the item evicted last had not been accessed.
    pub evicted_age_seconds: u64,
    /// Stores that failed for lack of memory.
    pub out_of_memory: u64,
}

impl Class {
    /// Bytes of its pages.
    pub fn page_bytes(&self) -> u64 {
        self.pages.saturating_mul(sizes::PAGE_BYTES as u64)
    }

    /// Bytes of its pages that hold nothing of an item: what is free, and what chunks are larger than their items.
    /// slabstash stores an item in less than it asks for by memcached's arithmetic; then only what is free counts.
    pub fn wasted_bytes(&self) -> u64 {
        let capacity = self.chunks_used.saturating_add(self.chunks_free);
        let free = match capacity {
            0 => self.page_bytes(),
            _ => (self.page_bytes() as f64 * self.chunks_free as f64 / capacity as f64) as u64,
        };
        free.max(self.page_bytes().saturating_sub(self.requested_bytes))
    }

    /// Whether every chunk is in use, as memcached-tool shows it.
    pub fn is_full(&self) -> bool {
        self.chunks_used >= self.chunks
    }
}

/// All classes that own pages, by number.
#[derive(Clone, Default, PartialEq, Eq, Debug)]
pub struct Classes(pub Vec<Class>);

impl Classes {
    /// Puts both answers together.
    pub fn of(slabs: &Statistics, items: &Statistics) -> Classes {
        let mut classes: Vec<Class> = Vec::new();
        for (name, value) in slabs.iter() {
            let Some((id, field)) = name.split_once(':') else { continue };
            if let (Ok(id), Ok(value)) = (id.parse(), value.parse()) {
                class(&mut classes, id).set_slab(field, value);
            }
        }
        for (name, value) in items.iter() {
            let Some((id, field)) = name.strip_prefix("items:").and_then(|rest| rest.split_once(':')) else { continue };
            if let (Ok(id), Ok(value)) = (id.parse(), value.parse()) {
                class(&mut classes, id).set_item(field, value);
            }
        }
        classes.retain(|class| class.pages > 0);
        classes.sort_by_key(|class| class.id);
        Classes(classes)
    }

    /// Seconds since the last access of the item that has not been accessed for longest; `None` without items.
    pub fn oldest_seconds(&self) -> Option<u64> {
        self.0.iter().filter(|class| class.items > 0).map(|class| class.age_seconds).max()
    }

    /// Bytes of pages that hold nothing of an item.
    pub fn wasted_bytes(&self) -> u64 {
        self.0.iter().map(Class::wasted_bytes).fold(0, u64::saturating_add)
    }

    /// Bytes of all pages.
    pub fn page_bytes(&self) -> u64 {
        self.0.iter().map(Class::page_bytes).fold(0, u64::saturating_add)
    }

    /// The table that `memcached-tool HOST display` prints, to the byte.
    pub fn display(&self) -> String {
        let mut text = "  #  Item_Size  Max_age   Pages   Count   Full?  Evicted Evict_Time OOM\n".to_owned();
        for class in &self.0 {
            let size = match class.chunk_bytes {
                bytes @ ..1024 => format!("{bytes}B"),
                bytes => format!("{:.1}K", bytes as f64 / 1024.0),
            };
            text.push_str(&format!(
                "{:3} {size:>8} {:9}s {:7} {:7} {:>7} {:8} {:8} {:4}\n",
                class.id,
                class.age_seconds,
                class.pages,
                class.items,
                if class.is_full() { "yes" } else { " no" },
                class.evicted,
                class.evicted_age_seconds,
                class.out_of_memory,
            ));
        }
        text
    }
}

impl Class {
    fn set_slab(&mut self, field: &str, value: u64) {
        match field {
            "chunk_size" => self.chunk_bytes = value,
            "total_pages" => self.pages = value,
            "total_chunks" => self.chunks = value,
            "used_chunks" => self.chunks_used = value,
            "free_chunks" => self.chunks_free = value,
            _ => {}
        }
    }

    fn set_item(&mut self, field: &str, value: u64) {
        match field {
            "number" => self.items = value,
            "mem_requested" => self.requested_bytes = value,
            "age" => self.age_seconds = value,
            "evicted" => self.evicted = value,
            "evicted_time" => self.evicted_age_seconds = value,
            "outofmemory" => self.out_of_memory = value,
            _ => {}
        }
    }
}

/// The class with this number, made if it is new.
fn class(classes: &mut Vec<Class>, id: u32) -> &mut Class {
    let at = classes.iter().position(|class| class.id == id).unwrap_or_else(|| {
        classes.push(Class { id, ..Class::default() });
        classes.len() - 1
    });
    &mut classes[at]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn real_answers_are_put_together() {
        for (slabs, items) in [
            (include_str!("samples/memcached-slabs.txt"), include_str!("samples/memcached-items.txt")),
            (include_str!("samples/slabstash-slabs.txt"), include_str!("samples/slabstash-items.txt")),
        ] {
            let classes = Classes::of(&Statistics::of(slabs), &Statistics::of(items));
            assert!(classes.0.len() > 1);
            assert!(classes.0.is_sorted_by_key(|class| class.id));
            for class in &classes.0 {
                assert!(class.items > 0 && class.items <= class.chunks_used, "{class:?}");
                assert!(class.requested_bytes > 0 && class.wasted_bytes() < class.page_bytes(), "{class:?}");
            }
            assert!(classes.0.iter().any(|class| class.evicted > 0));
            assert!(classes.wasted_bytes() < classes.page_bytes());
        }
    }

    #[test]
    fn the_table_is_that_of_memcached_tool() {
        let slabs = Statistics::of(include_str!("samples/memcached-slabs.txt"));
        let items = Statistics::of(include_str!("samples/memcached-items.txt"));
        let table = include_str!("samples/memcached-tool-display.txt");
        assert_eq!(Classes::of(&slabs, &items).display(), table);
    }

    #[test]
    fn classes_without_pages_are_left_out() {
        let slabs = Statistics::of("STAT 1:total_pages 0\nSTAT active_slabs 0\nSTAT total_malloced 0");
        assert_eq!(Classes::of(&slabs, &Statistics::default()), Classes::default());
        assert_eq!(Classes::default().oldest_seconds(), None);
    }
}
