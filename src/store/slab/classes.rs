//! The slab class table, computed as memcached computes it, so that class ids, chunk sizes and the class of an item are
//! the same to everybody who looks (`stats slabs`, `stats items`, `slabs reassign`, `cls=` in dumps).

use crate::base::sizes::CLASSES_MAX;

use super::super::config::Config;

/// Ids run from 1 to at most this number.
pub const CLASS_MAX: usize = CLASSES_MAX as usize - 1;

/// Chunk sizes are rounded up to this many bytes.
const CHUNK_ALIGN: usize = 8;

/// Granule of the lookup table from item bytes to class.
const GRANULE: usize = 8;

/// Item sizes up to this are looked up in one step, larger ones by search.
const TABLE_BYTES: usize = 16 * 1024;

/// The class table.
#[derive(Clone, Debug)]
pub struct ClassTable {
    /// Chunk size by class id; entry 0 is unused. Ascending.
    sizes: Vec<usize>,
    /// Class by item bytes in granules, for items up to [`TABLE_BYTES`].
    by_granule: Vec<u8>,
    page_bytes: usize,
}

impl ClassTable {
    /// The table for a configuration.
    pub fn new(config: &Config) -> Self {
        let mut sizes = vec![0];
        match &config.slab_sizes {
            Some(list) => {
                for &size in list.iter().take(CLASS_MAX - 1) {
                    sizes.push((size as usize).next_multiple_of(CHUNK_ALIGN));
                }
            }
            None => {
                let mut size = 48 + config.chunk_size_min;
                while sizes.len() < CLASS_MAX && (size as f64) < config.slab_chunk_max as f64 / config.growth_factor {
                    size = size.next_multiple_of(CHUNK_ALIGN);
                    sizes.push(size);
                    size = (size as f64 * config.growth_factor) as usize;
                }
            }
        }
        sizes.push(config.slab_chunk_max);
        let mut table = Self { sizes, by_granule: Vec::new(), page_bytes: config.page_bytes };
        table.by_granule = (0..=TABLE_BYTES / GRANULE).map(|granule| table.search(granule * GRANULE)).collect();
        table
    }

    fn search(&self, item_bytes: usize) -> u8 {
        let found = self.sizes[1..].partition_point(|&size| size < item_bytes) + 1;
        found.min(self.largest()) as u8
    }

    /// Largest class id.
    pub fn largest(&self) -> usize {
        self.sizes.len() - 1
    }

    /// The class of an item: the smallest chunk that holds it, or the largest class for a chunked item.
    #[inline]
    pub fn class_of(&self, item_bytes: usize) -> u8 {
        match self.by_granule.get(item_bytes.div_ceil(GRANULE)) {
            Some(&class) => class,
            None => self.search(item_bytes),
        }
    }

    /// Chunk size of a class in bytes.
    pub fn chunk_bytes(&self, class: usize) -> usize {
        self.sizes[class]
    }

    /// Bytes of a page.
    pub fn page_bytes(&self) -> usize {
        self.page_bytes
    }

    /// Chunks of a class in a page.
    pub fn chunks_per_page(&self, class: usize) -> usize {
        (self.page_bytes / self.sizes[class]).max(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(config: &Config, expected: &[(usize, usize, usize)]) {
        let table = ClassTable::new(config);
        for &(class, size, per_page) in expected {
            assert_eq!(table.chunk_bytes(class), size, "size of class {class}");
            assert_eq!(table.chunks_per_page(class), per_page, "chunks per page of class {class}");
            assert_eq!(usize::from(table.class_of(size)), class);
            assert_eq!(usize::from(table.class_of(size + 1)), (class + 1).min(table.largest()));
        }
        assert_eq!(table.largest(), expected.last().map_or(0, |last| last.0));
    }

    #[test]
    fn the_default_table_is_memcacheds() {
        let expected = [
            (1, 96, 10922),
            (2, 120, 8738),
            (3, 152, 6898),
            (4, 192, 5461),
            (5, 240, 4369),
            (15, 2320, 451),
            (22, 11104, 94),
            (25, 21696, 48),
            (31, 82792, 12),
            (38, 394840, 2),
            (39, 524288, 2),
        ];
        check(&Config::default(), &expected);
    }

    #[test]
    fn other_limits_give_other_tails() {
        let chunk_max = |bytes| Config { slab_chunk_max: bytes, ..Config::default() };
        check(&chunk_max(16384), &[(22, 11104, 94), (23, 16384, 64)]);
        check(&chunk_max(4096), &[(16, 2904, 361), (17, 4096, 256)]);
        check(&chunk_max(1024), &[(10, 752, 1394), (11, 1024, 1024)]);
        check(&chunk_max(1 << 20), &[(39, 493552, 2), (41, 771184, 1), (42, 1048576, 1)]);
        let explicit = Config { slab_sizes: Some(vec![100, 200, 300]), ..Config::default() };
        check(&explicit, &[(1, 104, 10082), (2, 200, 5242), (3, 304, 3449), (4, 524288, 2)]);
    }
}
