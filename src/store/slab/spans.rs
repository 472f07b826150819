//! A partition's memory: spans, each divided in equal slots of one bin of one class.
//!
//! ```text
//! span  | slot | slot | slot | ... | never used yet |
//!         live   free   live         ^ fresh
//! ```
//! Free slots of a span form a list through their first bytes; spans of a bin that have a free slot form a list through
//! their numbers. Taking and giving back a slot are a few steps each.

use std::cmp::Reverse;

use memmap2::MmapMut;

use super::super::ids::{ItemId, SLOTS_MAX, SPANS_MAX};
use super::super::item;
use super::bins::{BINS_MAX, BinRow, BinTable};
use super::regions::{Part, Regions};

/// A span's head.
struct Span {
    /// Where it lies; `None` for a number that is free for reuse.
    part: Option<Part>,
    class: u8,
    bin: u8,
    /// The page mover is emptying it: no slot may be taken.
    is_leaving: bool,
    /// Listed among the bin's spans with a free slot.
    is_listed: bool,
    slot_bytes: u32,
    slots: u16,
    /// Live slots: used <= fresh <= slots
    used: u16,
    /// Slots from here on were never used.
    fresh: u16,
    /// First free slot below `fresh`, plus 1; 0 is none.
    free: u16,
    /// Neighbours in the bin's list.
    next: u32,
    prev: u32,
    /// Order of assignment.
    age: u64,
}

/// All spans of a partition.
pub struct Spans {
    /// Number 0 is never used.
    spans: Vec<Span>,
    regions: Regions,
    /// Numbers free for reuse.
    vacant: Vec<u32>,
    /// By class and bin: first span with a free slot; 0 is none.
    open: Vec<Vec<u32>>,
    /// By class: bit n is set when bin n has a span with a free slot.
    open_bins: Vec<u64>,
    /// By class: the bin for which the last span was wanted.
    wanted: Vec<u8>,
    /// Spans by class.
    counts: Vec<usize>,
    /// Bytes of spans by class.
    bytes: Vec<usize>,
    /// Free slots by class, in bytes.
    free_bytes: Vec<usize>,
    /// Live slots by class.
    used: Vec<usize>,
    assigned: u64,
}

/// `open_bins` has a bit for each.
const _: () = assert!(BINS_MAX <= u64::BITS as usize);

/// The rest of a region is made a span if it is at least one part in so many of what was wanted.
const REST_PARTS: usize = 16;

/// What a span holds, for the mover.
#[derive(Clone, Copy, Debug)]
pub struct SpanFacts {
    /// Its number.
    pub span: usize,
    /// Live slots.
    pub used: usize,
    /// Order of assignment; smaller is older.
    pub age: u64,
}

impl Spans {
    /// No spans yet.
    pub fn new(bins: &BinTable) -> Self {
        let classes = bins.classes();
        Self {
            spans: vec![Span::vacant()],
            regions: Regions::default(),
            vacant: Vec::new(),
            open: (0..classes).map(|class| vec![0; bins.row(class).count()]).collect(),
            open_bins: vec![0; classes],
            wanted: vec![u8::MAX; classes],
            counts: vec![0; classes],
            bytes: vec![0; classes],
            free_bytes: vec![0; classes],
            used: vec![0; classes],
            assigned: 0,
        }
    }

    /// The bytes from an item's slot on, and perhaps more behind it. Empty when there is no such slot any more, or it was
    /// not used since its span was added (there may be old bytes).
    #[inline(always)]
    pub fn slot(&self, id: ItemId) -> &[u8] {
        match self.spans.get(id.span()) {
            Some(&Span { part: Some(part), slot_bytes, fresh, .. }) if id.slot() < usize::from(fresh) => {
                self.regions.bytes_from(part, id.slot() * slot_bytes as usize)
            }
            _ => &[],
        }
    }

    /// The bytes of an item's slot.
    #[inline(always)]
    pub fn slot_mut(&mut self, id: ItemId) -> &mut [u8] {
        let span = &self.spans[id.span()];
        let slot_bytes = span.slot_bytes as usize;
        match span.part {
            Some(part) => self.regions.bytes_mut(part, id.slot() * slot_bytes, slot_bytes),
            None => &mut [],
        }
    }

    /// Class and bin of an item's slot.
    #[inline]
    pub fn place(&self, id: ItemId) -> (usize, usize) {
        let span = &self.spans[id.span()];
        (usize::from(span.class), usize::from(span.bin))
    }

    /// Spans of a class.
    pub fn count(&self, class: usize) -> usize {
        self.counts[class]
    }

    /// Bytes of a class' spans.
    pub fn bytes(&self, class: usize) -> usize {
        self.bytes[class]
    }

    /// Bytes of the span that an item is in.
    pub fn size(&self, id: ItemId) -> usize {
        self.spans[id.span()].part.map_or(0, |part| part.bytes())
    }

    /// Bytes of free slots of a class.
    pub fn free_bytes(&self, class: usize) -> usize {
        self.free_bytes[class]
    }

    /// Live slots of a class.
    pub fn used_slots(&self, class: usize) -> usize {
        self.used[class]
    }

    /// Whether a further span can be named: there is a number, and memory for what is kept about it.
    pub fn has_number(&mut self) -> bool {
        !self.vacant.is_empty() || self.spans.len() < SPANS_MAX && self.spans.try_reserve(1).is_ok()
    }

    /// Takes memory for a span of `bytes` from what there is, or of what is left somewhere, if it is a good part of that.
    pub fn take_part(&mut self, bytes: usize, slot_bytes: usize) -> Option<Part> {
        self.regions.take(bytes, (bytes / REST_PARTS).max(slot_bytes))
    }

    /// Adds memory to take from.
    pub fn add_region(&mut self, memory: MmapMut) {
        self.regions.add(memory);
    }

    /// Adds a span for a bin.
    pub fn add(&mut self, part: Part, class: usize, bin: usize, slot_bytes: usize) {
        let slots = (part.bytes() / slot_bytes).min(SLOTS_MAX);
        let number = match self.vacant.pop() {
            Some(number) => number as usize,
            None => {
                self.spans.push(Span::vacant());
                self.spans.len() - 1
            }
        };
        self.assigned += 1;
        self.counts[class] += 1;
        self.bytes[class] += part.bytes();
        self.free_bytes[class] += slots * slot_bytes;
        self.spans[number] = Span {
            part: Some(part),
            class: class as u8,
            bin: bin as u8,
            slot_bytes: slot_bytes as u32,
            slots: slots as u16,
            age: self.assigned,
            ..Span::vacant()
        };
        self.list(number);
    }

    /// Takes an empty span away; returns its size, and the memory of its region when nothing else is in it.
    pub fn remove(&mut self, number: usize) -> Option<(usize, Option<MmapMut>)> {
        self.unlist(number);
        let span = &mut self.spans[number];
        debug_assert_eq!(span.used, 0);
        let class = usize::from(span.class);
        let free = usize::from(span.slots) * span.slot_bytes as usize;
        let part = span.part.take()?;
        if !span.is_leaving {
            self.free_bytes[class] -= free;
        }
        self.counts[class] -= 1;
        self.bytes[class] -= part.bytes();
        self.vacant.push(number as u32);
        Some((part.bytes(), self.regions.give_back(part)))
    }

    /// The bin to give a span to that is wanted for items of `bin`: that very one when the last span of the class was
    /// wanted for it too (values of one size fill their slots to the byte), else one that similar items share.
    pub fn choose_bin(&self, row: &BinRow, class: usize, bin: usize) -> usize {
        if usize::from(self.wanted[class]) == bin { bin } else { row.share_of(bin, self.counts[class]) }
    }

    /// The last span added to a class was wanted for items of `bin`. Not to be told of spans that could not be added: a
    /// store that finds its class full asks many times.
    pub fn note_wanted(&mut self, class: usize, bin: usize) {
        self.wanted[class] = bin as u8;
    }

    /// Takes a free slot of the smallest bin from `least` to `most` that has one.
    #[inline]
    pub fn take_between(&mut self, class: usize, least: usize, most: usize) -> Option<ItemId> {
        let bins = self.open_bins[class] >> least;
        let bin = least + bins.trailing_zeros() as usize;
        if bins == 0 || bin > most { None } else { self.take(class, bin) }
    }

    /// Takes a free slot of a bin.
    #[inline]
    pub fn take(&mut self, class: usize, bin: usize) -> Option<ItemId> {
        let number = self.open[class][bin] as usize;
        if number == 0 {
            return None;
        }
        let span = &mut self.spans[number];
        let slot = if span.free != 0 {
            let slot = usize::from(span.free - 1);
            let link = span.part.map(|part| self.regions.bytes_from(part, slot * span.slot_bytes as usize));
            span.free = match link {
                Some([low, high, ..]) => u16::from_le_bytes([*low, *high]),
                _ => 0,
            };
            slot
        } else {
            span.fresh += 1;
            usize::from(span.fresh - 1)
        };
        span.used += 1;
        self.used[class] += 1;
        self.free_bytes[class] -= span.slot_bytes as usize;
        if span.used == span.slots {
            self.unlist(number);
        }
        Some(ItemId::new(number, slot))
    }

    /// Gives a slot back.
    #[inline]
    pub fn give_back(&mut self, id: ItemId) {
        let number = id.span();
        let span = &mut self.spans[number];
        if let Some(part) = span.part {
            let slot_bytes = span.slot_bytes as usize;
            let slot = self.regions.bytes_mut(part, id.slot() * slot_bytes, slot_bytes);
            item::clear(slot);
            slot[..2].copy_from_slice(&span.free.to_le_bytes());
        }
        span.free = id.slot() as u16 + 1;
        span.used -= 1;
        self.used[usize::from(span.class)] -= 1;
        if !span.is_leaving {
            self.free_bytes[usize::from(span.class)] += span.slot_bytes as usize;
            if !span.is_listed {
                self.list(number);
            }
        }
    }

    /// Copies the first `bytes` bytes of a slot to a slot of another span.
    pub fn copy(&mut self, from: ItemId, to: ItemId, bytes: usize) {
        let start = |id: ItemId| {
            let span = &self.spans[id.span()];
            span.part.map(|part| (part, id.slot() * span.slot_bytes as usize))
        };
        if let (Some(source), Some(target)) = (start(from), start(to)) {
            self.regions.copy(source, target, bytes);
        }
    }

    /// Stops a span's slots from being taken, so that it can be emptied.
    pub fn start_leaving(&mut self, number: usize) {
        self.unlist(number);
        let span = &mut self.spans[number];
        if !span.is_leaving {
            span.is_leaving = true;
            self.free_bytes[usize::from(span.class)] -= usize::from(span.slots - span.used) * span.slot_bytes as usize;
        }
    }

    /// Lets a span's slots be taken again.
    pub fn stop_leaving(&mut self, number: usize) {
        let span = &mut self.spans[number];
        if span.part.is_none() || !span.is_leaving {
            return;
        }
        span.is_leaving = false;
        self.free_bytes[usize::from(span.class)] += usize::from(span.slots - span.used) * span.slot_bytes as usize;
        if span.used < span.slots {
            self.list(number);
        }
    }

    /// The first live item of a span at slot `from` or behind.
    pub fn next_live(&self, number: usize, from: usize) -> Option<ItemId> {
        let span = &self.spans[number];
        let part = span.part?;
        (from..usize::from(span.fresh)).find_map(|slot| {
            let start = slot * span.slot_bytes as usize;
            let slot_bytes = self.regions.bytes_from(part, start);
            (!item::is_free(slot_bytes)).then(|| ItemId::new(number, slot))
        })
    }

    /// All spans, those of a region one after the other.
    pub fn in_place_order(&self) -> Vec<usize> {
        let parts = self.spans.iter().enumerate().filter_map(|(number, span)| Some((span.part?.place(), number)));
        let mut parts: Vec<_> = parts.collect();
        parts.sort_unstable();
        parts.into_iter().map(|(_, number)| number).collect()
    }

    /// Takes a span away with what is in it, for a partition that is given up; returns its region's memory when nothing else
    /// is in it. Neither lists nor sums are kept.
    pub fn abandon(&mut self, number: usize) -> Option<MmapMut> {
        let part = self.spans.get_mut(number)?.part.take()?;
        self.regions.give_back(part)
    }

    /// The span of a class to empty: the one with the smallest share of live slots, counted in eighths. Among those, one of
    /// the region that has the most free, since memory goes back in whole regions; then the one with the fewest, the oldest.
    pub fn emptiest(&self, class: usize) -> Option<SpanFacts> {
        self.of_class(class).min_by_key(|facts| {
            let span = &self.spans[facts.span];
            let eighths = (facts.used * 8).div_ceil(usize::from(span.slots).max(1));
            let region_free = span.part.map_or(0, |part| self.regions.free_beside(part));
            (eighths, Reverse(region_free), facts.used, facts.age)
        })
    }

    /// The span of a class that was assigned first.
    pub fn oldest(&self, class: usize) -> Option<SpanFacts> {
        self.of_class(class).min_by_key(|facts| facts.age)
    }

    /// Spans of a class that are not being emptied.
    fn of_class(&self, class: usize) -> impl Iterator<Item = SpanFacts> {
        self.spans.iter().enumerate().skip(1).filter_map(move |(number, span)| {
            let is_candidate = usize::from(span.class) == class && span.part.is_some() && !span.is_leaving;
            is_candidate.then_some(SpanFacts { span: number, used: usize::from(span.used), age: span.age })
        })
    }

    fn list(&mut self, number: usize) {
        let (class, bin) = self.place(ItemId::new(number, 0));
        let first = self.open[class][bin];
        let span = &mut self.spans[number];
        span.is_listed = true;
        span.prev = 0;
        span.next = first;
        if first != 0 {
            self.spans[first as usize].prev = number as u32;
        }
        self.open[class][bin] = number as u32;
        self.open_bins[class] |= 1 << bin;
    }

    fn unlist(&mut self, number: usize) {
        let span = &mut self.spans[number];
        if !span.is_listed {
            return;
        }
        span.is_listed = false;
        let (class, bin, next, prev) = (usize::from(span.class), usize::from(span.bin), span.next, span.prev);
        if prev == 0 {
            self.open[class][bin] = next;
            if next == 0 {
                self.open_bins[class] &= !(1 << bin);
            }
        } else {
            self.spans[prev as usize].next = next;
        }
        if next != 0 {
            self.spans[next as usize].prev = prev;
        }
    }
}

impl Span {
    fn vacant() -> Self {
        Self {
            part: None,
            class: 0,
            bin: 0,
            is_leaving: false,
            is_listed: false,
            slot_bytes: 0,
            slots: 0,
            used: 0,
            fresh: 0,
            free: 0,
            next: 0,
            prev: 0,
            age: 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::config::Config;
    use crate::store::slab::classes::ClassTable;

    #[test]
    fn slots_are_taken_and_given_back() {
        let bins = BinTable::new(&ClassTable::new(&Config::default()), 64 << 20, 1);
        let mut spans = Spans::new(&bins);
        let slot_bytes = bins.row(1).slot_bytes(2);
        assert!(spans.take(1, 2).is_none());
        for _ in 0..2 {
            spans.add_region(MmapMut::map_anon(4096).expect("memory"));
            let part = spans.take_part(4096, slot_bytes).expect("a part");
            spans.add(part, 1, 2, slot_bytes);
        }
        let per_span = 4096 / slot_bytes;
        let mut ids: Vec<ItemId> = std::iter::from_fn(|| spans.take(1, 2)).collect();
        assert_eq!(ids.len(), 2 * per_span);
        assert_eq!(spans.free_bytes(1), 0);
        for &id in &ids {
            spans.slot_mut(id)[24] = 1;
        }
        ids.sort_by_key(|id| id.0);
        ids.dedup();
        assert_eq!(ids.len(), 2 * per_span);
        for &id in &ids {
            spans.give_back(id);
        }
        assert_eq!(spans.free_bytes(1), 2 * per_span * slot_bytes);
        let facts = spans.emptiest(1).expect("a span");
        assert_eq!(facts.used, 0);
        spans.start_leaving(facts.span);
        assert_eq!(std::iter::from_fn(|| spans.take(1, 2)).count(), per_span);
        assert!(spans.remove(facts.span).is_some());
        assert_eq!(spans.count(1), 1);
    }

    /// Spans emptied in any region left so much of each in use that memory rose to 1.7 times its limit.
    #[test]
    fn a_span_beside_free_memory_is_emptied_first() {
        let bins = BinTable::new(&ClassTable::new(&Config::default()), 64 << 20, 1);
        let mut spans = Spans::new(&bins);
        let slot_bytes = bins.row(1).slot_bytes(2);
        for _ in 0..2 {
            spans.add_region(MmapMut::map_anon(4 * 4096).expect("memory"));
            for _ in 0..4 {
                let part = spans.take_part(4096, slot_bytes).expect("a part");
                spans.add(part, 1, 2, slot_bytes);
            }
        }
        let ids: Vec<ItemId> = std::iter::from_fn(|| spans.take(1, 2)).collect();
        for &id in &ids {
            spans.slot_mut(id)[24] = 1;
        }
        // A span of the second region goes.
        let gone: Vec<ItemId> = ids.iter().copied().filter(|id| id.span() == 6).collect();
        gone.iter().for_each(|&id| spans.give_back(id));
        spans.remove(6);
        // An item less in another one does not matter; half of them do.
        spans.give_back(ids.iter().copied().find(|id| id.span() == 1).expect("an item"));
        assert_eq!(spans.emptiest(1).expect("a span").span, 5);
        let half: Vec<ItemId> = ids.iter().copied().filter(|id| id.span() == 2).collect();
        half.iter().skip(half.len() / 2).for_each(|&id| spans.give_back(id));
        assert_eq!(spans.emptiest(1).expect("a span").span, 2);
    }

    #[test]
    fn no_more_spans_are_made_than_there_are_numbers() {
        let bins = BinTable::new(&ClassTable::new(&Config::default()), 64 << 20, 1);
        let mut spans = Spans::new(&bins);
        spans.spans.resize_with(SPANS_MAX - 1, Span::vacant);
        assert!(spans.has_number());
        let last = ItemId::new(SPANS_MAX - 1, SLOTS_MAX - 1);
        assert_eq!((last.0, last.span(), last.slot()), (u32::MAX, SPANS_MAX - 1, SLOTS_MAX - 1));
        spans.spans.push(Span::vacant());
        assert!(!spans.has_number());
        spans.vacant.push(7);
        assert!(spans.has_number(), "one that was given back");
    }
}
