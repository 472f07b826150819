//! Where the value of a storage command goes, decided when its length is known and before its bytes have come.

use crate::store::value::LargeBuffer;
use crate::store::{Fit, StoreError};

use super::service::Context;

/// What is there for a value.
pub(super) enum Room {
    /// It fits into a partition: it is stored from the input once all of it is there.
    Inline,
    /// A buffer of its own, which the network reads into.
    Large(LargeBuffer),
    /// None: it is to be skipped, and the command refused.
    Refused(StoreError),
}

/// Finds room for a value of `value_bytes`.
#[inline]
pub(super) fn find(key_bytes: usize, value_bytes: usize, flags: u32, context: &Context<'_>) -> Room {
    let store = &context.service.store;
    match store.fit(key_bytes, value_bytes, flags) {
        Fit::Inline => Room::Inline,
        Fit::Large => match store.large_buffer(key_bytes, value_bytes, flags, context.now) {
            Ok(buffer) => Room::Large(buffer),
            Err(error) => Room::Refused(error),
        },
        Fit::TooLarge => Room::Refused(StoreError::TooLarge),
    }
}
