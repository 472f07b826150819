//! Slot sizes. A class spans items that differ by a quarter in size; slots come in finer steps, so that an item wastes
//! at most a few percent of its slot. Our items are smaller than memcached's (see [`item`](super::super::item)), so a
//! class' slots are smaller than its nominal chunk.

use super::super::item::{HEAD_BYTES_MAX, HEADER_BYTES};
use super::classes::ClassTable;

/// Steps a class is divided in, at least; small classes have steps of [`STEP_BYTES_MIN`].
const STEPS: usize = 8;

/// Smallest step between slot sizes.
const STEP_BYTES_MIN: usize = 8;

/// Most that memcached's arithmetic gives for an item, over the bytes it takes here: header, CAS id, NUL, CR LF.
const NOMINAL_OVERHEAD_MAX: usize = 48 + 8 + 1 + 2 - HEADER_BYTES;

/// Least that memcached's arithmetic gives over the bytes here: without the CAS id there, with a wide one here.
const NOMINAL_OVERHEAD_MIN: usize = 48 + 1 + 2 - HEADER_BYTES - 8;

/// Heads of large items are in class 0, in slots of these steps.
const HEAD_STEP_BYTES: usize = 64;

/// A span of small slots.
const SPAN_BYTES_SMALL: usize = 64 * 1024;
/// A span of large slots, of which a small span would waste its end.
const SPAN_BYTES_LARGE: usize = 256 * 1024;

/// Slots up to this size are in small spans.
const SMALL_SLOT_BYTES_MAX: usize = 4096;

/// Slot sizes of one class: `base + step * (bin + 1)`.
#[derive(Clone, Copy, Debug)]
pub struct BinRow {
    base: usize,
    step: usize,
    count: usize,
    span_bytes: usize,
}

impl BinRow {
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

    /// Number of bins.
    pub fn count(&self) -> usize {
        self.count
    }

    /// Bytes of a span of this class.
    pub fn span_bytes(&self) -> usize {
        self.span_bytes
    }
}

/// Slot sizes of all classes.
#[derive(Clone, Debug)]
pub struct BinTable {
    rows: Vec<BinRow>,
}

impl BinTable {
    /// The bins for a class table. `inline_bytes_max` is the largest item by memcached's arithmetic that is kept inline;
    /// classes above it have bins too, which stay unused.
    pub fn new(classes: &ClassTable) -> Self {
        let heads = BinRow {
            base: 0,
            step: HEAD_STEP_BYTES,
            count: HEAD_BYTES_MAX.div_ceil(HEAD_STEP_BYTES),
            span_bytes: SPAN_BYTES_SMALL,
        };
        let mut rows = vec![heads];
        for class in 1..=classes.largest() {
            let below = if class == 1 { 0 } else { classes.chunk_bytes(class - 1) };
            let least = below.saturating_sub(NOMINAL_OVERHEAD_MAX).max(HEADER_BYTES);
            let most = classes.chunk_bytes(class).saturating_sub(NOMINAL_OVERHEAD_MIN).max(HEADER_BYTES + 8);
            let base = least / STEP_BYTES_MIN * STEP_BYTES_MIN;
            let step = (most - base).div_ceil(STEPS).next_multiple_of(STEP_BYTES_MIN);
            let step = if most - base <= STEPS * STEP_BYTES_MIN { STEP_BYTES_MIN } else { step };
            let count = (most - base).div_ceil(step);
            let is_small = classes.chunk_bytes(class) <= SMALL_SLOT_BYTES_MAX;
            let span_bytes = if is_small { SPAN_BYTES_SMALL } else { SPAN_BYTES_LARGE };
            rows.push(BinRow { base, step, count, span_bytes });
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
        let bins = BinTable::new(&classes);
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
                    assert!(slot - bytes < row.step.max(8) + 16, "{bytes} in {slot}");
                }
            }
        }
    }

    #[test]
    fn heads_fit() {
        let bins = BinTable::new(&ClassTable::new(&Config::default()));
        let row = bins.row(0);
        assert!(row.slot_bytes(row.bin_of(HEAD_BYTES_MAX)) >= HEAD_BYTES_MAX);
    }
}
