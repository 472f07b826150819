//! What the store counts. Plain numbers: a partition's lock covers them, a snapshot adds them up.

/// Declares a struct of `u64` counters with its sum.
macro_rules! counters {
    ($(#[$meta:meta])* $name:ident { $($(#[$field_meta:meta])* $field:ident,)* }) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
        pub struct $name { $($(#[$field_meta])* pub $field: u64,)* }
        impl $name {
            /// Adds another set of counters to this one.
            pub fn add(&mut self, other: &Self) { $(self.$field += other.$field;)* }
        }
    };
}

counters! {
    /// Counters of one slab class; `stats slabs` and `stats items` show them.
    ClassCounters {
        /// Hits by get in HOT.
        hits_to_hot,
        /// Hits by get in WARM.
        hits_to_warm,
        /// Hits by get in COLD.
        hits_to_cold,
        /// Hits by get in TEMP.
        hits_to_temp,
        /// Storage commands for which an item of this class was made.
        cmd_set,
        /// Hits by touch and gat.
        touch_hits,
        /// Successful deletes.
        delete_hits,
        /// Successful increments.
        incr_hits,
        /// Successful decrements.
        decr_hits,
        /// Matching compare-and-swaps.
        cas_hits,
        /// Compare-and-swaps that did not match.
        cas_badval,
        /// Live items thrown away for memory.
        evicted,
        /// Of these, with an exptime.
        evicted_nonzero,
        /// Of these, never fetched.
        evicted_unfetched,
        /// Of these, marked active.
        evicted_active,
        /// Expired items never fetched.
        expired_unfetched,
        /// Dead items found at an LRU tail.
        reclaimed,
        /// Dead items found by the crawler.
        crawler_reclaimed,
        /// Items the crawler looked at.
        crawler_items_checked,
        /// Tail items that were in use.
        lrutail_reflocked,
        /// Items moved to COLD.
        moves_to_cold,
        /// Items moved to WARM.
        moves_to_warm,
        /// Items moved to the head of their own segment.
        moves_within_lru,
        /// Rounds in which a store had to free memory for itself.
        direct_reclaims,
        /// Stores refused for lack of memory.
        outofmemory,
        /// Kept for `stats items`; items are never repaired here.
        tailrepairs,
    }
}

impl ClassCounters {
    /// All hits by get.
    pub fn get_hits(&self) -> u64 {
        self.hits_to_hot + self.hits_to_warm + self.hits_to_cold + self.hits_to_temp
    }
}

counters! {
    /// Counters that belong to no class.
    StoreCounters {
        /// Misses by get.
        get_misses,
        /// Lookups that met an expired item.
        get_expired,
        /// Lookups that met a flushed item.
        get_flushed,
        /// Misses by touch and gat.
        touch_misses,
        /// Misses by delete.
        delete_misses,
        /// Misses by incr.
        incr_misses,
        /// Misses by decr.
        decr_misses,
        /// Misses by cas.
        cas_misses,
        /// Items ever linked.
        total_items,
        /// Stores refused because the item is over the limit (text and meta).
        store_too_large,
        /// Stores refused for lack of memory (text and meta).
        store_no_memory,
        /// Items copied by the page mover.
        reassign_rescues,
        /// Chunks kept by the page mover.
        reassign_chunk_rescues,
        /// Dead items freed by the page mover.
        reassign_inline_reclaim,
        /// Times the page mover met an item in use.
        reassign_busy_items,
        /// Items the page mover had to delete.
        reassign_busy_deletes,
        /// Times the page mover found no free memory.
        reassign_busy_nomem,
        /// Pages moved.
        slabs_moved,
        /// Steps of LRU maintenance that moved something or looked.
        lru_maintainer_juggles,
        /// Crawls started.
        lru_crawler_starts,
    }
}
