//! Memory for listings: replies whose length depends on how much there is to list, and not on the request.
//!
//! A session makes sure of some room ahead of each request, which listings outgrow. They ask here for what each of their
//! lines needs. Where the system gives none the reply is torn, so the connection ends, and nothing else does.

use crate::store::Store;

use super::output::Output;

/// Whether there is memory for `bytes` more; if not, the reply is torn. Memory that the store has set aside for this is
/// used first.
pub(super) fn make_room_or_tear(bytes: usize, output: &mut Output, store: &Store) -> bool {
    if output.is_torn() {
        return false;
    }
    let has_room = output.bytes().try_reserve(bytes).is_ok()
        || (store.release_reserve() && output.bytes().try_reserve(bytes).is_ok());
    if !has_room {
        output.tear();
    }
    has_room
}

/// The same for those who hold a lock of the store.
pub(super) fn reserve_or_tear(bytes: usize, output: &mut Output) -> bool {
    let has_room = !output.is_torn() && output.bytes().try_reserve(bytes).is_ok();
    if !has_room {
        output.tear();
    }
    has_room
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::testing::service;

    /// A reply of `stats detail dump` or `stats conns` that found no memory ended the process.
    #[test]
    fn a_listing_without_memory_is_torn() {
        let service = service();
        let mut output = Output::new();
        assert!(make_room_or_tear(100, &mut output, &service.store) && reserve_or_tear(100, &mut output));
        assert!(output.bytes().capacity() >= 100 && !output.is_torn());
        assert!(!make_room_or_tear(usize::MAX / 2, &mut output, &service.store) && output.is_torn());
        // What is torn stays so.
        assert!(!make_room_or_tear(1, &mut output, &service.store) && !reserve_or_tear(1, &mut output));
        let mut output = Output::new();
        assert!(!reserve_or_tear(usize::MAX / 2, &mut output) && output.is_torn());
    }
}
