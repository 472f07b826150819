//! Who holds memory of large values and does not move: a client that began a value and stopped, or asked for one and does
//! not read. The worker closes those when somebody else found no memory, and leaves them alone otherwise.

/// How a connection has moved since it was last looked at.
#[derive(Default, Debug)]
pub struct Held {
    /// Bytes of values received and of replies sent, up to [`MOVED_BYTES_MIN`].
    moved: u16,
    /// Whether it held memory when it was last looked at.
    was_holding: bool,
}

impl Held {
    /// Notes that so many bytes went to or from the client.
    #[inline]
    pub fn note_moved(&mut self, bytes: usize) {
        self.moved = (usize::from(self.moved) + bytes).min(MOVED_BYTES_MIN.into()) as u16;
    }

    /// Whether it held memory then and now, and moved less than [`MOVED_BYTES_MIN`] in between. Begins anew with that.
    pub fn is_stuck(&mut self, is_holding: bool) -> bool {
        let was_holding = std::mem::replace(&mut self.was_holding, is_holding);
        let moved = std::mem::take(&mut self.moved);
        is_holding && was_holding && moved < MOVED_BYTES_MIN
    }
}

/// Bytes that have to go to or from a client from one look to the next, for memory that others want.
const MOVED_BYTES_MIN: u16 = 16 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_holds_and_does_not_move_is_stuck() {
        let mut held = Held::default();
        // Not at the first look: it may have begun just now.
        assert!(!held.is_stuck(true));
        held.note_moved(100);
        assert!(held.is_stuck(true));
        held.note_moved(20_000);
        held.note_moved(usize::MAX >> 1);
        assert!(!held.is_stuck(true));
        held.note_moved(usize::from(MOVED_BYTES_MIN) - 1);
        assert!(held.is_stuck(true));
        held.note_moved(usize::from(MOVED_BYTES_MIN));
        assert!(!held.is_stuck(true));
        assert!(!held.is_stuck(false));
        assert!(!held.is_stuck(true) && held.is_stuck(true));
    }
}
