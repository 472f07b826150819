//! Slot sizes. A class spans items that differ by a quarter in size; slots come in finer steps, so that an item wastes
//! at most a few percent of its slot. Our items are smaller than memcached's (see [`item`](super::super::item)), so a
//! class' slots are smaller than its nominal chunk.

use super::super::ids::SLOTS_MAX;
use super::super::item::{HEAD_BYTES_MAX, HEADER_BYTES};
use super::classes::ClassTable;
use super::regions::{GRANULE_BYTES, REGION_BYTES_MAX};

/// Most bins of a class; the steps between small ones have [`STEP_BYTES_MIN`].
pub const BINS_MAX: usize = 64;

/// Smallest step between slot sizes.
const STEP_BYTES_MIN: usize = 2;

/// Slot sizes that a class with few spans has, spread over its bins: this many, or fewer where memory is small.
const SHARES_FEW: usize = 8;

/// A partition's share of the memory limit over this is what the partly filled spans of one class may take.
const CLASS_SLACK_SHARE: usize = 512;

/// Spans that a class needs for each further slot size.
const SPANS_PER_SHARE: usize = 8;

/// Most that memcached's arithmetic gives for an item, over the bytes it takes here: header, CAS id, NUL, CR LF.
const NOMINAL_OVERHEAD_MAX: usize = 48 + 8 + 1 + 2 - HEADER_BYTES;

/// Least that memcached's arithmetic gives over the bytes here: without the CAS id there, with a wide one here.
const NOMINAL_OVERHEAD_MIN: usize = 48 + 1 + 2 - HEADER_BYTES - 8;

/// Heads of large items are in class 0, in slots of these steps.
const HEAD_STEP_BYTES: usize = 64;

/// The memory limit over this is the size of a span, more or less; so there are some thousands of them: few enough to
/// look through, and enough for all bins of all partitions.
const SPANS_NOMINAL: usize = 4096;

/// Smallest size of a span, more or less, while memory is not so small that the spans of all classes would not fit well.
const SPAN_BYTES_MIN: usize = 64 * 1024;

/// Smallest size of a span, more or less, in any case.
const SPAN_BYTES_LEAST: usize = 16 * 1024;

/// Largest size of a span, more or less: several fit into a region.
const SPAN_BYTES_MAX: usize = REGION_BYTES_MAX / 4;

/// Slots that are a little less than whole pages of the system may have spans up to this size, or so many times the smallest.
const AWKWARD_SPAN_BYTES_MAX: usize = 384 * 1024;
const AWKWARD_FACTOR: usize = 6;

/// A span's end that belongs to no slot may be one part in so many.
const TAIL_PARTS: usize = 512;

/// Slot sizes of one class: `base + step * (bin + 1)`.
#[derive(Clone, Debug)]
pub struct BinRow {
    base: usize,
    step: usize,
    /// 2^32 over the step, rounded up: multiplying by it and dropping 32 bits is dividing, for what is below 2^16.
    step_inverse: u64,
    count: usize,
    shares_min: usize,
    /// By bin.
    span_bytes: Vec<usize>,
}

impl BinRow {
    fn new(base: usize, step: usize, count: usize, sizing: Sizing) -> Self {
        let span_bytes = (1..=count).map(|steps| fitting_span(base + step * steps, sizing)).collect();
        let step_inverse = (1_u64 << 32).div_ceil(step as u64);
        Self { base, step, step_inverse, count, shares_min: sizing.shares_min, span_bytes }
    }

    /// The smallest bin whose slots hold `bytes`.
    #[inline]
    pub fn bin_of(&self, bytes: usize) -> usize {
        debug_assert!(bytes <= self.base + self.step * self.count);
        let steps = (bytes.saturating_sub(self.base + 1) as u64 * self.step_inverse) >> 32;
        (steps as usize).min(self.count - 1)
    }

    /// Bytes of a bin's slots.
    pub fn slot_bytes(&self, bin: usize) -> usize {
        self.base + self.step * (bin + 1)
    }

    /// The bin whose slots an item of `bin` gets in a class that has so many spans: the more spans, the better the fit,
    /// but there are not more slot sizes than spans can be filled with.
    pub fn share_of(&self, bin: usize, spans: usize) -> usize {
        let bins = self.count.div_ceil(self.shares(spans));
        (bin / bins * bins + bins - 1).min(self.count - 1)
    }

    /// Slot sizes in use in a class that has so many spans, at most.
    pub fn shares(&self, spans: usize) -> usize {
        (spans / SPANS_PER_SHARE).clamp(self.shares_min, BINS_MAX)
    }

    /// Whether an item of `bin` may stay in a slot of bin `roomier`.
    #[inline]
    pub fn is_near(&self, bin: usize, roomier: usize) -> bool {
        bin <= roomier && roomier - bin < self.count.div_ceil(self.shares_min)
    }

    /// Number of bins.
    pub fn count(&self) -> usize {
        self.count
    }

    /// Bytes of a span of a bin.
    #[inline]
    pub fn span_bytes(&self, bin: usize) -> usize {
        self.span_bytes[bin]
    }
}

/// The least size of a span, from about the least on, that leaves next to nothing behind its last slot, in a slab page.
fn fitting_span(slot_bytes: usize, sizing: Sizing) -> usize {
    let least_bytes = sizing.span_bytes_least;
    let least = (least_bytes / slot_bytes).clamp(SLOTS_LEAST, SLOTS_MAX);
    let awkward = AWKWARD_SPAN_BYTES_MAX.min(AWKWARD_FACTOR * least_bytes);
    let most = (2 * least).max(awkward / slot_bytes).min(SLOTS_MAX).min(sizing.page_bytes / slot_bytes).max(least);
    let mut best = (0, 0);
    for slots in least..=most {
        let bytes = (slots * slot_bytes).next_multiple_of(GRANULE_BYTES);
        let tail = bytes - slots * slot_bytes;
        if tail * TAIL_PARTS <= bytes {
            return bytes;
        }
        if best.0 == 0 || tail * best.0 < best.1 * bytes {
            best = (bytes, tail);
        }
    }
    best.0
}

/// How large spans are, and how many slot sizes a class has at least.
#[derive(Clone, Copy)]
struct Sizing {
    span_bytes_least: usize,
    shares_min: usize,
    page_bytes: usize,
}

impl Sizing {
    /// For a memory limit of so many partitions. Each class of each partition has a partly filled span for each of its
    /// slot sizes, which must not come to a large part of the limit.
    fn new(limit_bytes: usize, partitions: usize, page_bytes: usize) -> Self {
        let slack_bytes = limit_bytes / partitions.max(1) / CLASS_SLACK_SHARE;
        let least = slack_bytes.clamp(SPAN_BYTES_LEAST, SPAN_BYTES_MIN);
        let span_bytes_least = (limit_bytes / SPANS_NOMINAL).clamp(least, SPAN_BYTES_MAX).min(page_bytes);
        let shares_min = (slack_bytes / span_bytes_least).clamp(1, SHARES_FEW);
        Self { span_bytes_least, shares_min, page_bytes }
    }
}

/// Fewest slots in a span.
const SLOTS_LEAST: usize = 4;

/// Slot sizes of all classes.
#[derive(Clone, Debug)]
pub struct BinTable {
    rows: Vec<BinRow>,
}

impl BinTable {
    /// The bins for a class table and a memory limit of so many partitions; classes whose items are never kept inline
    /// have bins too, which stay unused.
    pub fn new(classes: &ClassTable, limit_bytes: usize, partitions: usize) -> Self {
        let sizing = Sizing::new(limit_bytes, partitions, classes.page_bytes());
        let count = HEAD_BYTES_MAX.div_ceil(HEAD_STEP_BYTES);
        let mut rows = vec![BinRow::new(0, HEAD_STEP_BYTES, count, sizing)];
        for class in 1..=classes.largest() {
            let below = if class == 1 { 0 } else { classes.chunk_bytes(class - 1) };
            let least = below.saturating_sub(NOMINAL_OVERHEAD_MAX).max(HEADER_BYTES);
            let most = classes.chunk_bytes(class).saturating_sub(NOMINAL_OVERHEAD_MIN).max(HEADER_BYTES + 8);
            let base = least / STEP_BYTES_MIN * STEP_BYTES_MIN;
            let step = (most - base).div_ceil(BINS_MAX).next_multiple_of(STEP_BYTES_MIN);
            rows.push(BinRow::new(base, step, (most - base).div_ceil(step), sizing));
        }
        Self { rows }
    }

    /// The bins of a class; class 0 is for heads of large items.
    #[inline]
    pub fn row(&self, class: usize) -> &BinRow {
        &self.rows[class]
    }

    /// Number of classes, class 0 included.
    pub fn classes(&self) -> usize {
        self.rows.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::sizes;
    use crate::store::config::Config;
    use crate::store::item::Shape;

    #[test]
    fn every_inline_item_fits_its_bin() {
        let classes = ClassTable::new(&Config::default());
        let bins = BinTable::new(&classes, 64 << 20, 1);
        for key_bytes in [1, 20, 250] {
            for value_bytes in 0..16_000 {
                for (has_flags, has_cas, has_wide_cas) in
                    [(false, true, false), (true, true, true), (false, false, true), (true, false, false)]
                {
                    let nominal = sizes::item_bytes(key_bytes, value_bytes, has_flags, has_cas);
                    let row = bins.row(usize::from(classes.class_of(nominal)));
                    let bytes = Shape { key_bytes, tail_bytes: value_bytes, has_flags, has_wide_cas }.bytes();
                    let slot = row.slot_bytes(row.bin_of(bytes));
                    assert!(slot >= bytes, "key {key_bytes} value {value_bytes}: {bytes} in {slot}");
                    assert!(slot - bytes < row.step.max(8), "{bytes} in {slot}");
                }
            }
        }
    }

    #[test]
    fn the_bin_is_the_quotient() {
        let bins = BinTable::new(&ClassTable::new(&Config::default()), 64 << 20, 1);
        for row in (0..bins.classes()).map(|class| bins.row(class)) {
            for bytes in 0..=row.slot_bytes(row.count() - 1).min(1 << 16) {
                let quotient = bytes.saturating_sub(row.base + 1) / row.step;
                assert_eq!(row.bin_of(bytes), quotient.min(row.count - 1), "{bytes} in steps of {}", row.step);
            }
        }
    }

    #[test]
    fn heads_fit() {
        let bins = BinTable::new(&ClassTable::new(&Config::default()), 64 << 20, 1);
        let row = bins.row(0);
        assert!(row.slot_bytes(row.bin_of(HEAD_BYTES_MAX)) >= HEAD_BYTES_MAX);
    }

    #[test]
    fn spans_end_with_their_last_slot() {
        for limit_bytes in [1 << 20, 256 << 20, 8 << 30, 1 << 40] {
            let classes = ClassTable::new(&Config::default());
            let bins = BinTable::new(&classes, limit_bytes, 1);
            let inline = usize::from(classes.class_of(16 * 1024));
            for class in 0..=inline {
                let row = bins.row(class);
                assert!(row.count() <= BINS_MAX);
                for bin in 0..row.count() {
                    let (slot, span) = (row.slot_bytes(bin), row.span_bytes(bin));
                    assert!(span / slot <= SLOTS_MAX, "{slot} in {span}");
                    assert_eq!(span % GRANULE_BYTES, 0);
                    let parts = if limit_bytes > 1 << 20 { 100 } else { 20 };
                    assert!(span % slot * parts <= span, "{} of {span} bytes lost with slots of {slot}", span % slot);
                    let least = Sizing::new(limit_bytes, 1, classes.page_bytes()).span_bytes_least;
                    let is_large_enough = span + slot >= least.min(SLOTS_MAX * slot);
                    let awkward = AWKWARD_SPAN_BYTES_MAX.min(AWKWARD_FACTOR * least);
                    let most = (2 * least.max(SLOTS_LEAST * slot)).max(awkward);
                    let is_fitting = is_large_enough && span <= most + 8192;
                    assert!(is_fitting, "slots of {slot} in {span} bytes");
                }
            }
        }
    }

    #[test]
    fn a_class_with_more_spans_has_more_slot_sizes() {
        let classes = ClassTable::new(&Config::default());
        let bins = BinTable::new(&classes, 64 << 20, 1);
        for class in 1..=classes.largest() {
            let row = bins.row(class);
            let sizes = |spans: usize| {
                let mut shares: Vec<usize> = (0..row.count()).map(|bin| row.share_of(bin, spans)).collect();
                assert!(shares.iter().enumerate().all(|(bin, &share)| share >= bin));
                assert!(shares.iter().enumerate().all(|(bin, &share)| row.is_near(bin, share)), "class {class}");
                shares.dedup();
                shares.len()
            };
            assert!(sizes(0) <= SHARES_FEW);
            assert_eq!(sizes(SPANS_PER_SHARE * BINS_MAX), row.count());
        }
    }

    #[test]
    fn partly_filled_spans_of_small_caches_are_few_and_small() {
        let classes = ClassTable::new(&Config::default());
        for (mib, partitions) in [(2, 1), (9, 1), (64, 1), (64, 4), (256, 1), (1024, 16)] {
            let limit_bytes = mib << 20;
            let bins = BinTable::new(&classes, limit_bytes, partitions);
            // Small items, of which spans may have any size.
            let row = bins.row(10);
            let slack = row.shares(0) * row.span_bytes(0) * partitions;
            assert!(slack <= limit_bytes / 32, "{mib} MiB, {partitions} partitions: {slack} bytes");
            assert!(row.is_near(0, row.share_of(0, 0)));
        }
    }

    #[test]
    fn spans_have_a_largest_size() {
        let sizing = |limit_bytes: usize| Sizing::new(limit_bytes, 1, 4 << 20);
        assert_eq!(sizing(SPAN_BYTES_MAX * SPANS_NOMINAL).span_bytes_least, SPAN_BYTES_MAX);
        assert_eq!(sizing(1 << 50).span_bytes_least, SPAN_BYTES_MAX);
        // Twice the least, or for slots that end before a page of the system does, so much.
        let largest = |least: usize| {
            let sizing = Sizing { span_bytes_least: least, ..sizing(0) };
            (4000..4096).step_by(8).map(|slot_bytes| fitting_span(slot_bytes, sizing)).max().expect("some")
        };
        for least in [64 << 10, 96 << 10, 128 << 10] {
            let largest = largest(least);
            assert!((AWKWARD_SPAN_BYTES_MAX / 2..=AWKWARD_SPAN_BYTES_MAX).contains(&largest), "{largest}");
        }
        assert!(largest(SPAN_BYTES_MAX) <= 2 * SPAN_BYTES_MAX);
    }
}
