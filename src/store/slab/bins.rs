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

/// Slot sizes that a class with few spans has: this many, spread over its bins.
const SHARES_MIN: usize = 8;

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

/// Smallest size of a span, more or less.
const SPAN_BYTES_MIN: usize = 64 * 1024;

/// Largest size of a span, more or less: several fit into a region.
const SPAN_BYTES_MAX: usize = REGION_BYTES_MAX / 4;

/// Slots that are a little less than whole pages may have spans up to this size.
const AWKWARD_SPAN_BYTES_MAX: usize = 384 * 1024;

/// A span's end that belongs to no slot may be one part in so many.
const TAIL_PARTS: usize = 512;

/// Slot sizes of one class: `base + step * (bin + 1)`.
#[derive(Clone, Debug)]
pub struct BinRow {
    base: usize,
    step: usize,
    count: usize,
    /// By bin.
    span_bytes: Vec<usize>,
}

impl BinRow {
    fn new(base: usize, step: usize, count: usize, span_bytes_least: usize) -> Self {
        let span_bytes = (1..=count).map(|steps| fitting_span(base + step * steps, span_bytes_least)).collect();
        Self { base, step, count, span_bytes }
    }

    /// The smallest bin whose slots hold `bytes`.
    #[inline]
    pub fn bin_of(&self, bytes: usize) -> usize {
        debug_assert!(bytes <= self.base + self.step * self.count);
        (bytes.saturating_sub(self.base + 1) / self.step).min(self.count - 1)
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
        (spans / SPANS_PER_SHARE).clamp(SHARES_MIN, BINS_MAX)
    }

    /// Whether an item of `bin` may stay in a slot of bin `roomier`.
    #[inline]
    pub fn is_near(&self, bin: usize, roomier: usize) -> bool {
        bin <= roomier && roomier - bin < self.count.div_ceil(SHARES_MIN)
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

/// The least size of a span, from about `least_bytes` on, that leaves next to nothing behind its last slot.
fn fitting_span(slot_bytes: usize, least_bytes: usize) -> usize {
    let least = (least_bytes / slot_bytes).clamp(SLOTS_LEAST, SLOTS_MAX);
    let most = (2 * least).max(AWKWARD_SPAN_BYTES_MAX / slot_bytes).min(SLOTS_MAX);
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

/// Fewest slots in a span.
const SLOTS_LEAST: usize = 4;

/// Slot sizes of all classes.
#[derive(Clone, Debug)]
pub struct BinTable {
    rows: Vec<BinRow>,
}

impl BinTable {
    /// The bins for a class table and a memory limit; classes whose items are never kept inline have bins too, which
    /// stay unused.
    pub fn new(classes: &ClassTable, limit_bytes: usize) -> Self {
        let span_bytes_least = (limit_bytes / SPANS_NOMINAL).clamp(SPAN_BYTES_MIN, SPAN_BYTES_MAX);
        let count = HEAD_BYTES_MAX.div_ceil(HEAD_STEP_BYTES);
        let mut rows = vec![BinRow::new(0, HEAD_STEP_BYTES, count, span_bytes_least)];
        for class in 1..=classes.largest() {
            let below = if class == 1 { 0 } else { classes.chunk_bytes(class - 1) };
            let least = below.saturating_sub(NOMINAL_OVERHEAD_MAX).max(HEADER_BYTES);
            let most = classes.chunk_bytes(class).saturating_sub(NOMINAL_OVERHEAD_MIN).max(HEADER_BYTES + 8);
            let base = least / STEP_BYTES_MIN * STEP_BYTES_MIN;
            let step = (most - base).div_ceil(BINS_MAX).next_multiple_of(STEP_BYTES_MIN);
            rows.push(BinRow::new(base, step, (most - base).div_ceil(step), span_bytes_least));
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
        let bins = BinTable::new(&classes, 64 << 20);
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
    fn heads_fit() {
        let bins = BinTable::new(&ClassTable::new(&Config::default()), 64 << 20);
        let row = bins.row(0);
        assert!(row.slot_bytes(row.bin_of(HEAD_BYTES_MAX)) >= HEAD_BYTES_MAX);
    }

    #[test]
    fn spans_end_with_their_last_slot() {
        for limit_bytes in [1 << 20, 256 << 20, 8 << 30, 1 << 40] {
            let classes = ClassTable::new(&Config::default());
            let bins = BinTable::new(&classes, limit_bytes);
            let inline = usize::from(classes.class_of(16 * 1024));
            for class in 0..=inline {
                let row = bins.row(class);
                assert!(row.count() <= BINS_MAX);
                for bin in 0..row.count() {
                    let (slot, span) = (row.slot_bytes(bin), row.span_bytes(bin));
                    assert!(span / slot <= SLOTS_MAX, "{slot} in {span}");
                    assert_eq!(span % GRANULE_BYTES, 0);
                    assert!(span % slot * 100 <= span, "{} of {span} bytes lost with slots of {slot}", span % slot);
                    let least = (limit_bytes / SPANS_NOMINAL).clamp(SPAN_BYTES_MIN, SPAN_BYTES_MAX);
                    let is_large_enough = span + slot >= least.min(SLOTS_MAX * slot);
                    let is_fitting = is_large_enough && span <= (2 * least).max(AWKWARD_SPAN_BYTES_MAX) + 8192;
                    assert!(is_fitting, "slots of {slot} in {span} bytes");
                }
            }
        }
    }

    #[test]
    fn a_class_with_more_spans_has_more_slot_sizes() {
        let classes = ClassTable::new(&Config::default());
        let bins = BinTable::new(&classes, 64 << 20);
        for class in 1..=classes.largest() {
            let row = bins.row(class);
            let sizes = |spans: usize| {
                let mut shares: Vec<usize> = (0..row.count()).map(|bin| row.share_of(bin, spans)).collect();
                assert!(shares.iter().enumerate().all(|(bin, &share)| share >= bin));
                assert!(shares.iter().enumerate().all(|(bin, &share)| row.is_near(bin, share)), "class {class}");
                shares.dedup();
                shares.len()
            };
            assert!(sizes(0) <= SHARES_MIN);
            assert_eq!(sizes(SPANS_PER_SHARE * BINS_MAX), row.count());
        }
    }
}
