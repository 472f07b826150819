//! Numbers that name things inside a partition.

/// Bits of an [`ItemId`] that name the slot in its span.
pub const SLOT_BITS: u32 = 15;

/// Most slots in a span.
pub const SLOTS_MAX: usize = 1 << SLOT_BITS;

/// Most spans in a partition: span 0 is never used, so that id 0 is no item.
pub const SPANS_MAX: usize = 1 << (32 - SLOT_BITS);

/// An item's place in its partition: span number and slot number. 0 is no item.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default, Debug)]
pub struct ItemId(pub u32);

impl ItemId {
    /// No item.
    pub const NONE: ItemId = ItemId(0);

    /// The item in slot `slot` of span `span`.
    #[inline]
    pub fn new(span: usize, slot: usize) -> Self {
        debug_assert!(span < SPANS_MAX && slot < SLOTS_MAX);
        Self(((span as u32) << SLOT_BITS) | slot as u32)
    }

    /// Whether this is no item.
    #[inline]
    pub fn is_none(self) -> bool {
        self.0 == 0
    }

    /// Its span.
    #[inline]
    pub fn span(self) -> usize {
        (self.0 >> SLOT_BITS) as usize
    }

    /// Its slot.
    #[inline]
    pub fn slot(self) -> usize {
        self.0 as usize & (SLOTS_MAX - 1)
    }
}
