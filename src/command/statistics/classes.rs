//! `stats items`, `stats slabs` and `stats sizes`: what is known per slab class and per item size.

use crate::base::time::Now;
use crate::store::Tuning;
use crate::store::snapshot::{ClassSnapshot, Snapshot};

use super::super::service::Context;
use super::Emit;

/// Emits `stats items`: the classes that hold items.
pub fn items(context: &Context<'_>, emit: Emit<'_>) {
    let store = &context.service.store;
    items_of(&store.snapshot(), &store.tuning(), context.now, emit);
}

/// Emits `stats slabs`: the classes that own pages, and the totals.
pub fn slabs(context: &Context<'_>, emit: Emit<'_>) {
    slabs_of(&context.service.store.snapshot(), emit);
}

/// Emits `stats sizes`: how many items there are of each size, in steps of 32 bytes.
pub fn sizes(context: &Context<'_>, emit: Emit<'_>) {
    let store = &context.service.store;
    if !store.config().has_size_tracking {
        return emit("sizes_status", "disabled");
    }
    for (bytes, count) in store.size_histogram() {
        emit(&bytes.to_string(), &count.to_string());
    }
}

/// A field of `stats items`: its name, when it is shown, and its value.
type ItemsField = (&'static str, Shown, fn(&ClassSnapshot, Now) -> u64);

/// When a field of `stats items` is shown.
#[derive(Clone, Copy)]
enum Shown {
    Always,
    /// With the LRU maintainer.
    Maintained,
    /// With the LRU maintainer and TEMP.
    Temporary,
}

/// Positions of the segments in a [`ClassSnapshot`].
const HOT: usize = 0;
const WARM: usize = 1;
const COLD: usize = 2;
const TEMP: usize = 3;

const ITEMS_FIELDS: &[ItemsField] = &[
    ("number", Shown::Always, |class, _| class.item_count() as u64),
    ("number_hot", Shown::Maintained, |class, _| class.items[HOT] as u64),
    ("number_warm", Shown::Maintained, |class, _| class.items[WARM] as u64),
    ("number_cold", Shown::Maintained, |class, _| class.items[COLD] as u64),
    ("number_temp", Shown::Temporary, |class, _| class.items[TEMP] as u64),
    ("age_hot", Shown::Maintained, |class, now| tail_age(class, HOT, now)),
    ("age_warm", Shown::Maintained, |class, now| tail_age(class, WARM, now)),
    ("age", Shown::Always, |class, now| tail_age(class, COLD, now)),
    ("mem_requested", Shown::Always, |class, _| class.mem_requested as u64),
    ("evicted", Shown::Always, |class, _| class.counters.evicted),
    ("evicted_nonzero", Shown::Always, |class, _| class.counters.evicted_nonzero),
    ("evicted_time", Shown::Always, |class, _| u64::from(class.evicted_time)),
    ("outofmemory", Shown::Always, |class, _| class.counters.outofmemory),
    ("tailrepairs", Shown::Always, |class, _| class.counters.tailrepairs),
    ("reclaimed", Shown::Always, |class, _| class.counters.reclaimed),
    ("expired_unfetched", Shown::Always, |class, _| class.counters.expired_unfetched),
    ("evicted_unfetched", Shown::Always, |class, _| class.counters.evicted_unfetched),
    ("evicted_active", Shown::Maintained, |class, _| class.counters.evicted_active),
    ("crawler_reclaimed", Shown::Always, |class, _| class.counters.crawler_reclaimed),
    ("crawler_items_checked", Shown::Always, |class, _| class.counters.crawler_items_checked),
    ("lrutail_reflocked", Shown::Always, |class, _| class.counters.lrutail_reflocked),
    ("moves_to_cold", Shown::Maintained, |class, _| class.counters.moves_to_cold),
    ("moves_to_warm", Shown::Maintained, |class, _| class.counters.moves_to_warm),
    ("moves_within_lru", Shown::Maintained, |class, _| class.counters.moves_within_lru),
    ("direct_reclaims", Shown::Maintained, |class, _| class.counters.direct_reclaims),
    ("hits_to_hot", Shown::Maintained, |class, _| class.counters.hits_to_hot),
    ("hits_to_warm", Shown::Maintained, |class, _| class.counters.hits_to_warm),
    ("hits_to_cold", Shown::Maintained, |class, _| class.counters.hits_to_cold),
    ("hits_to_temp", Shown::Maintained, |class, _| class.counters.hits_to_temp),
];

/// Seconds since the last access of a segment's tail; 0 when the segment is empty.
fn tail_age(class: &ClassSnapshot, segment: usize, now: Now) -> u64 {
    match class.tail_times[segment] {
        0 => 0,
        time => u64::from(now.seconds.saturating_sub(time)),
    }
}

/// `stats items` of a given state.
pub(super) fn items_of(snapshot: &Snapshot, tuning: &Tuning, now: Now, emit: Emit<'_>) {
    for class in snapshot.classes.iter().filter(|class| class.item_count() > 0) {
        for (name, shown, value) in ITEMS_FIELDS {
            let is_shown = match shown {
                Shown::Always => true,
                Shown::Maintained => tuning.has_maintainer,
                Shown::Temporary => tuning.has_maintainer && tuning.has_temp_lru,
            };
            if is_shown {
                let name = format!("items:{}:{name}", class.class);
                emit(&name, &value(class, now).to_string());
            }
        }
    }
}

type SlabsField = (&'static str, fn(&ClassSnapshot) -> u64);

const SLABS_FIELDS: &[SlabsField] = &[
    ("chunk_size", |class| class.chunk_bytes as u64),
    ("chunks_per_page", |class| class.chunks_per_page as u64),
    ("total_pages", |class| class.pages as u64),
    ("total_chunks", |class| (class.pages * class.chunks_per_page) as u64),
    ("used_chunks", |class| class.used_chunks as u64),
    ("free_chunks", |class| class.free_chunks as u64),
    // Dead in memcached, too.
    ("free_chunks_end", |_| 0),
    ("get_hits", |class| class.counters.get_hits()),
    ("cmd_set", |class| class.counters.cmd_set),
    ("delete_hits", |class| class.counters.delete_hits),
    ("incr_hits", |class| class.counters.incr_hits),
    ("decr_hits", |class| class.counters.decr_hits),
    ("cas_hits", |class| class.counters.cas_hits),
    ("cas_badval", |class| class.counters.cas_badval),
    ("touch_hits", |class| class.counters.touch_hits),
];

/// `stats slabs` of a given state.
pub(super) fn slabs_of(snapshot: &Snapshot, emit: Emit<'_>) {
    let mut active_slabs = 0;
    for class in snapshot.classes.iter().filter(|class| class.pages > 0) {
        active_slabs += 1;
        for (name, value) in SLABS_FIELDS {
            let name = format!("{}:{name}", class.class);
            emit(&name, &value(class).to_string());
        }
    }
    emit("active_slabs", &active_slabs.to_string());
    emit("total_malloced", &snapshot.malloced_bytes.to_string());
}
