//! A spill bucket: a cache line of items that did not fit into their buckets, shared by the buckets of a group. Who links
//! to it, and when, is the [index](super)'s business.

use super::super::ids::ItemId;

/// Items in a spill bucket.
pub(super) const SPILL_PLACES: usize = 10;

/// Buckets that share spill buckets; a power of two.
pub(super) const GROUP: usize = 16;

/// A bucket's number within its group.
pub(super) fn owner_of(number: usize) -> u8 {
    (number % GROUP) as u8
}

/// See the module comment.
#[derive(Clone, Copy)]
#[repr(align(64))]
pub(super) struct Spill {
    pub(super) items: [ItemId; SPILL_PLACES],
    /// By place; 0 is free.
    pub(super) tags: [u8; SPILL_PLACES],
    /// By place: the bucket's number within its group.
    pub(super) owners: [u8; SPILL_PLACES],
    /// Number of the next spill bucket, plus 1; 0 is none. Not 0: all items here and behind have one owner.
    pub(super) next: u32,
}

const _: () = assert!(size_of::<Spill>() == 64);

impl Spill {
    pub(super) const EMPTY: Spill =
        Spill { items: [ItemId::NONE; SPILL_PLACES], tags: [0; SPILL_PLACES], owners: [0; SPILL_PLACES], next: 0 };

    /// Puts an item in a free place; false when there is none.
    pub(super) fn insert(&mut self, tag: u8, owner: u8, id: ItemId) -> bool {
        match self.tags.iter().position(|&other| other == 0) {
            Some(place) => {
                self.tags[place] = tag;
                self.owners[place] = owner;
                self.items[place] = id;
                true
            }
            None => false,
        }
    }

    /// Frees a place.
    pub(super) fn clear(&mut self, place: usize) {
        self.tags[place] = 0;
        self.items[place] = ItemId::NONE;
    }

    /// Free places.
    pub(super) fn free(&self) -> usize {
        self.tags.iter().filter(|&&tag| tag == 0).count()
    }

    /// Places of an owner.
    pub(super) fn places_of(&self, owner: u8) -> impl DoubleEndedIterator<Item = usize> + '_ {
        (0..SPILL_PLACES).filter(move |&place| self.tags[place] != 0 && self.owners[place] == owner)
    }
}
