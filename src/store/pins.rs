//! Pins that memcached's own tests put on items (`debugitem`), to see what the page mover does with items in use.
//! Empty in daily use.

use super::ids::ItemId;

/// Pinned items of a partition.
#[derive(Default)]
pub struct Pins {
    locked: Vec<ItemId>,
    referenced: Vec<ItemId>,
}

impl Pins {
    /// Whether there are none.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.locked.is_empty() && self.referenced.is_empty()
    }

    /// Why an item must stay, as `slab_reassign_last_busy_status` names it.
    #[inline]
    pub fn reason(&self, id: ItemId) -> Option<&'static str> {
        if self.is_empty() {
            None
        } else if self.locked.contains(&id) {
            Some("locked")
        } else if self.referenced.contains(&id) {
            Some("busy_floating")
        } else {
            None
        }
    }

    /// `debugitem lock`.
    pub fn lock(&mut self, id: ItemId) {
        self.locked.push(id);
    }

    /// `debugitem unlock`: memcached unlocks by hash, so all go.
    pub fn unlock_all(&mut self) {
        self.locked.clear();
    }

    /// `debugitem ref`.
    pub fn reference(&mut self, id: ItemId) {
        self.referenced.push(id);
    }

    /// `debugitem unref`.
    pub fn unreference(&mut self, id: ItemId) {
        if let Some(position) = self.referenced.iter().position(|&other| other == id) {
            self.referenced.swap_remove(position);
        }
    }

    /// The item has been unlinked.
    #[inline]
    pub fn forget(&mut self, id: ItemId) {
        if !self.is_empty() {
            self.locked.retain(|&other| other != id);
            self.referenced.retain(|&other| other != id);
        }
    }

    /// The item has moved.
    pub fn moved(&mut self, old: ItemId, new: ItemId) {
        for pin in self.locked.iter_mut().chain(&mut self.referenced) {
            if *pin == old {
                *pin = new;
            }
        }
    }
}
