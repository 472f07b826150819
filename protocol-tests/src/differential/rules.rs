//! What may differ between two servers that are both right, by name. Everything else must be equal to the byte.

/// A reason why two answers that are not equal are both right.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Rule {
    /// A CAS id is a server's own business. It must be there, stand for the same store on both sides, and stay the same
    /// while nothing is stored.
    CasId,
    /// Seconds until an item expires: the clocks of the two tick at different moments.
    Clock,
    /// Seconds since an item was fetched: which fetches count depends on the LRU (`docs/compatibility.md`, "Eviction
    /// policies").
    Idle,
    /// Behind a packet that is broken by chance something may come that is no packet. memcached drops the replies that wait
    /// then, this server sends them: its answer may be longer, by whole packets.
    WrongMagic,
    /// In a text that is broken by chance a value may never come to its end. memcached keeps the replies before it back until
    /// it does, and drops them when the connection ends; this server sends them: its answer may be longer, by whole lines, but
    /// not by more than there are requests from the broken one on. The same holds for a packet that is not finished.
    UnfinishedValue,
    /// A server that closes a connection with requests unread, behind a packet that it refuses, makes the system reset it:
    /// replies still on their way can be lost, of either server, and a large one can be cut. The other's answer may be longer.
    Reset,
    /// The name of the release, when the two are not of the same.
    Release,
}

impl Rule {
    /// All of them.
    pub const ALL: [Rule; 7] =
        [Rule::CasId, Rule::Clock, Rule::Idle, Rule::WrongMagic, Rule::UnfinishedValue, Rule::Reset, Rule::Release];
}

/// Seconds by which two clocks that were read at the same time may differ.
pub const CLOCK_SECONDS_MAX: u64 = 2;

/// General statistics that may differ at the end of the same stream, and why. All others are equal.
pub const STATISTICS: &[(&str, &str)] = &[
    ("pid", "two processes"),
    ("uptime", "started one after the other"),
    ("time", "asked one after the other"),
    ("version", "two releases"),
    ("libevent", "no libevent here: docs/compatibility.md, Statistics"),
    ("rusage_user", "what it costs is not compared here"),
    ("rusage_system", "what it costs is not compared here"),
    ("max_connections", "by the limit of descriptors"),
    ("curr_connections", "closed ones are noticed at their time"),
    ("total_connections", "memcached counts its own"),
    ("connection_structures", "memcached keeps them"),
    ("response_obj_bytes", "what waits: docs/compatibility.md, Statistics"),
    ("response_obj_count", "what waits: docs/compatibility.md, Statistics"),
    ("read_buf_count", "one for each worker: docs/compatibility.md, Statistics"),
    ("read_buf_bytes", "one for each worker: docs/compatibility.md, Statistics"),
    ("read_buf_bytes_free", "one for each worker: docs/compatibility.md, Statistics"),
    ("reserved_fds", "nothing is set aside: docs/compatibility.md, Statistics"),
    ("conn_yields", "how often a connection gives way depends on how its input arrives"),
    ("hash_power_level", "of another index: docs/compatibility.md, Statistics"),
    ("hash_bytes", "of another index: docs/compatibility.md, Statistics"),
    ("slabs_moved", "memory follows the need at once: docs/compatibility.md, Memory"),
    ("slab_reassign_rescues", "memory follows the need at once: docs/compatibility.md, Memory"),
    ("slab_reassign_chunk_rescues", "memory follows the need at once: docs/compatibility.md, Memory"),
    ("slab_reassign_inline_reclaim", "memory follows the need at once: docs/compatibility.md, Memory"),
    ("slab_global_page_pool", "memory follows the need at once: docs/compatibility.md, Memory"),
    ("bytes_read", "CAS ids of another length, and the questions of this test"),
    ("bytes_written", "CAS ids of another length"),
    ("total_malloced", "pages are amounts: docs/compatibility.md, Memory"),
    ("cmd_set", "memcached counts a store before its data is there, here one that is cut off does not count"),
    ("total_items", "memcached makes a new item to count with while something refers to the old one"),
    ("lrutail_reflocked", "no reply refers to an item: docs/compatibility.md, Different"),
    ("lru_maintainer_juggles", "how often a thread runs"),
    ("lru_crawler_starts", "how often a thread runs"),
    ("crawler_reclaimed", "expired items go when somebody meets them"),
    ("crawler_items_checked", "how often a thread runs"),
    ("reclaimed", "expired items go when somebody meets them"),
    ("get_expired", "expired items go when somebody meets them"),
    ("get_flushed", "flushed items go when somebody meets them"),
    ("expired_unfetched", "expired items go when somebody meets them"),
    ("evicted_unfetched", "what is evicted is another matter: docs/compatibility.md, Memory"),
    ("evicted_active", "what is evicted is another matter: docs/compatibility.md, Memory"),
    ("evictions", "what is evicted is another matter: docs/compatibility.md, Memory"),
    ("direct_reclaims", "what is evicted is another matter: docs/compatibility.md, Memory"),
    ("moves_to_cold", "another policy: docs/compatibility.md, Eviction policies"),
    ("moves_to_warm", "another policy: docs/compatibility.md, Eviction policies"),
    ("moves_within_lru", "another policy: docs/compatibility.md, Eviction policies"),
    ("curr_items", "expired items go when somebody meets them; the items themselves are compared one by one"),
    ("bytes", "expired items go when somebody meets them; the items themselves are compared one by one"),
];

#[cfg(test)]
mod tests {
    use super::{Rule, STATISTICS};

    #[test]
    fn every_difference_has_its_place_in_the_documents() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/compatibility.md");
        let text = std::fs::read_to_string(path).unwrap();
        for rule in Rule::ALL {
            assert!(text.contains(&format!("`{rule:?}`")), "{rule:?} is not in docs/compatibility.md");
        }
        for (name, reason) in STATISTICS {
            if let Some((_, heading)) = reason.split_once("docs/compatibility.md, ") {
                assert!(text.lines().any(|line| line.trim_start_matches('#').trim() == heading), "{name}: {heading}");
            }
        }
    }
}
