//! The metrics of prometheus/memcached_exporter 0.16: its names, types, labels and help texts, so that dashboards and alerts
//! made for it go on working, and its sources, which are lines of `stats`, `stats settings`, `stats items` and
//! `stats slabs`. The mistakes are kept, too: `uptime` is a counter, two help texts say HOT.
//!
//! Those about external storage and the proxy are left out, as the exporter leaves them out for a memcached that has
//! neither. One metric is one row; the order is the alphabet's, as the exporter's.

use super::facts::{Facts, Lines};
use super::text::{Kind, Text};

/// Where a value comes from.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Source {
    /// Always 1.
    One,
    /// A line of `stats`.
    General(&'static str),
    /// Stores without the cas commands, which memcached counts among them.
    Sets,
    /// A line of `stats settings`.
    Settings(&'static str),
    /// The same, while the LRU crawler is on.
    Crawler(&'static str),
    /// The same for `yes` or `no`.
    Flag(&'static str),
    /// A line of each class of `stats items`.
    Items(&'static str),
    /// A line of each class of `stats slabs`.
    Slabs(&'static str),
    /// [`Source::Sets`] of each class; memcached counts no cas misses there.
    SlabSets,
}

use Source::{Crawler, Flag, General, Items, One, Sets, Settings, SlabSets, Slabs};

/// A metric: its series have their labels written out, with `{slab}` and `{version}` where these belong and quotes that are
/// single.
#[derive(Debug)]
struct Family {
    name: &'static str,
    kind: Kind,
    help: &'static str,
    series: &'static [(&'static str, Source)],
}

/// Writes all of them.
pub(super) fn write(facts: &Facts<'_>, text: &mut Text) {
    for family in FAMILIES {
        let mut has_head = false;
        for (labels, source) in family.series {
            values(*source, facts, &mut |slab, value| {
                if !std::mem::replace(&mut has_head, true) {
                    text.family(family.name, family.kind, family.help);
                }
                let labels = labels.replace('\'', "\"").replace("{version}", facts.general.text("version"));
                text.raw_sample(family.name, &labels.replace("{slab}", slab), value);
            });
        }
    }
}

/// Visits the values of a source, with the slab class of each. What memcached does not show has none.
fn values(source: Source, facts: &Facts<'_>, visit: &mut dyn FnMut(&str, f64)) {
    let has_crawler = facts.settings.text("lru_crawler") == "yes";
    let value = match source {
        One => Some(1.0),
        General(name) => facts.general.number(name),
        Sets => sets(&facts.general, &["cas_misses", "cas_hits", "cas_badval"]),
        Settings(name) => facts.settings.number(name),
        Crawler(name) => facts.settings.number(name).filter(|_| has_crawler),
        Flag(name) => has_crawler.then(|| f64::from(u8::from(facts.settings.text(name) == "yes"))),
        Items(name) => {
            for (slab, lines) in &facts.items {
                lines.number(name).into_iter().for_each(|value| visit(&slab.to_string(), value));
            }
            None
        }
        Slabs(_) | SlabSets => {
            for (slab, lines) in &facts.slabs {
                let value = match source {
                    Slabs(name) => lines.number(name),
                    _ => sets(lines, &["cas_hits", "cas_badval"]),
                };
                value.into_iter().for_each(|value| visit(&slab.to_string(), value));
            }
            None
        }
    };
    value.into_iter().for_each(|value| visit("", value));
}

fn sets(lines: &Lines, others: &[&str]) -> Option<f64> {
    let others: f64 = others.iter().filter_map(|name| lines.number(name)).sum();
    Some(lines.number("cmd_set")? - others)
}

macro_rules! families {
    ($($name:ident $kind:ident $help:literal { $($labels:literal $source:expr),* })*) => {
        static FAMILIES: &[Family] = &[$(Family {
            name: stringify!($name),
            kind: Kind::$kind,
            help: $help,
            series: &[$(($labels, $source)),*],
        },)*];
    };
}

families! {
    memcached_accepting_connections Gauge "The Memcached server is currently accepting new connections."
        { "" General("accepting_conns") }
    memcached_commands_total Counter "Total number of all requests broken down by command (get, set, etc.) and status."
        { "command='get',status='hit'" General("get_hits"),
          "command='get',status='miss'" General("get_misses"),
          "command='delete',status='hit'" General("delete_hits"),
          "command='delete',status='miss'" General("delete_misses"),
          "command='incr',status='hit'" General("incr_hits"),
          "command='incr',status='miss'" General("incr_misses"),
          "command='decr',status='hit'" General("decr_hits"),
          "command='decr',status='miss'" General("decr_misses"),
          "command='cas',status='hit'" General("cas_hits"),
          "command='cas',status='miss'" General("cas_misses"),
          "command='touch',status='hit'" General("touch_hits"),
          "command='touch',status='miss'" General("touch_misses"),
          "command='cas',status='badval'" General("cas_badval"),
          "command='flush',status='hit'" General("cmd_flush"),
          "command='set',status='hit'" Sets }
    memcached_connections_listener_disabled_total Counter "Number of times that memcached has hit its connections limit and disabled its listener."
        { "" General("listen_disabled_num") }
    memcached_connections_rejected_total Counter "Total number of connections rejected due to hitting the memcached's -c limit in maxconns_fast mode."
        { "" General("rejected_connections") }
    memcached_connections_total Counter "Total number of connections opened since the server started running."
        { "" General("total_connections") }
    memcached_connections_yielded_total Counter "Total number of connections yielded running due to hitting the memcached's -R limit."
        { "" General("conn_yields") }
    memcached_current_bytes Gauge "Current number of bytes used to store items." { "" General("bytes") }
    memcached_current_connections Gauge "Current number of open connections." { "" General("curr_connections") }
    memcached_current_items Gauge "Current number of items stored by this instance." { "" General("curr_items") }
    memcached_direct_reclaims_total Counter "Times worker threads had to directly reclaim or evict items."
        { "" General("direct_reclaims") }
    memcached_item_no_memory_total Counter "The number of times an item could not be stored due to no more memory."
        { "" General("store_no_memory") }
    memcached_item_too_large_total Counter "The number of times an item exceeded the max-item-size when being stored."
        { "" General("store_too_large") }
    memcached_items_evicted_total Counter "Total number of valid items removed from cache to free memory for new items."
        { "" General("evictions") }
    memcached_items_reclaimed_total Counter "Total number of times an entry was stored using memory from an expired entry."
        { "" General("reclaimed") }
    memcached_items_total Counter "Total number of items stored during the life of this instance."
        { "" General("total_items") }
    memcached_limit_bytes Gauge "Number of bytes this server is allowed to use for storage."
        { "" General("limit_maxbytes") }
    memcached_lru_crawler_enabled Gauge "Whether the LRU crawler is enabled." { "" Flag("lru_crawler") }
    memcached_lru_crawler_hot_max_factor Gauge "Set idle age of HOT LRU to COLD age * this"
        { "" Crawler("hot_max_factor") }
    memcached_lru_crawler_hot_percent Gauge "Percent of slab memory reserved for HOT LRU."
        { "" Crawler("hot_lru_pct") }
    memcached_lru_crawler_items_checked_total Counter "Total items examined by LRU Crawler."
        { "" General("crawler_items_checked") }
    memcached_lru_crawler_maintainer_thread Gauge "Split LRU mode and background threads."
        { "" Flag("lru_maintainer_thread") }
    memcached_lru_crawler_moves_to_cold_total Counter "Total number of items moved from HOT/WARM to COLD LRU's."
        { "" General("moves_to_cold") }
    memcached_lru_crawler_moves_to_warm_total Counter "Total number of items moved from COLD to WARM LRU."
        { "" General("moves_to_warm") }
    memcached_lru_crawler_moves_within_lru_total Counter "Total number of items reshuffled within HOT or WARM LRU's."
        { "" General("moves_within_lru") }
    memcached_lru_crawler_reclaimed_total Counter "Total items freed by LRU Crawler."
        { "" General("crawler_reclaimed") }
    memcached_lru_crawler_sleep Gauge "Microseconds to sleep between LRU crawls." { "" Crawler("lru_crawler_sleep") }
    memcached_lru_crawler_starts_total Counter "Times an LRU crawler was started." { "" General("lru_crawler_starts") }
    memcached_lru_crawler_to_crawl Gauge "Max items to crawl per slab per run." { "" Crawler("lru_crawler_tocrawl") }
    memcached_lru_crawler_warm_max_factor Gauge "Set idle age of WARM LRU to COLD age * this"
        { "" Crawler("warm_max_factor") }
    memcached_lru_crawler_warm_percent Gauge "Percent of slab memory reserved for WARM LRU."
        { "" Crawler("warm_lru_pct") }
    memcached_malloced_bytes Gauge "Number of bytes of memory allocated to slab pages."
        { "" General("total_malloced") }
    memcached_max_connections Gauge "Maximum number of clients allowed." { "" Settings("maxconns") }
    memcached_process_system_cpu_seconds_total Counter "Accumulated system time for this process."
        { "" General("rusage_system") }
    memcached_process_user_cpu_seconds_total Counter "Accumulated user time for this process."
        { "" General("rusage_user") }
    memcached_read_bytes_total Counter "Total number of bytes read by this server from network."
        { "" General("bytes_read") }
    memcached_slab_chunk_size_bytes Gauge "Number of bytes allocated to each chunk within this slab class."
        { "slab='{slab}'" Slabs("chunk_size") }
    memcached_slab_chunks_free Gauge "Number of chunks not yet allocated items."
        { "slab='{slab}'" Slabs("free_chunks") }
    memcached_slab_chunks_free_end Gauge "Number of free chunks at the end of the last allocated page."
        { "slab='{slab}'" Slabs("free_chunks_end") }
    memcached_slab_chunks_per_page Gauge "Number of chunks within a single page for this slab class."
        { "slab='{slab}'" Slabs("chunks_per_page") }
    memcached_slab_chunks_used Gauge "Number of chunks allocated to an item." { "slab='{slab}'" Slabs("used_chunks") }
    memcached_slab_cold_items Gauge "Number of items presently stored in the COLD LRU."
        { "slab='{slab}'" Items("number_cold") }
    memcached_slab_commands_total Counter "Total number of all requests broken down by command (get, set, etc.) and status per slab."
        { "command='get',slab='{slab}',status='hit'" Slabs("get_hits"),
          "command='delete',slab='{slab}',status='hit'" Slabs("delete_hits"),
          "command='incr',slab='{slab}',status='hit'" Slabs("incr_hits"),
          "command='decr',slab='{slab}',status='hit'" Slabs("decr_hits"),
          "command='cas',slab='{slab}',status='hit'" Slabs("cas_hits"),
          "command='touch',slab='{slab}',status='hit'" Slabs("touch_hits"),
          "command='cas',slab='{slab}',status='badval'" Slabs("cas_badval"),
          "command='set',slab='{slab}',status='hit'" SlabSets }
    memcached_slab_current_chunks Gauge "Number of chunks allocated to this slab class."
        { "slab='{slab}'" Slabs("total_chunks") }
    memcached_slab_current_items Gauge "Number of items currently stored in this slab class."
        { "slab='{slab}'" Items("number") }
    memcached_slab_current_pages Gauge "Number of pages allocated to this slab class."
        { "slab='{slab}'" Slabs("total_pages") }
    memcached_slab_hot_age_seconds Gauge "Age of the oldest item in HOT LRU." { "slab='{slab}'" Items("age_hot") }
    memcached_slab_hot_items Gauge "Number of items presently stored in the HOT LRU."
        { "slab='{slab}'" Items("number_hot") }
    memcached_slab_items_age_seconds Gauge "Number of seconds the oldest item has been in the slab class."
        { "slab='{slab}'" Items("age") }
    memcached_slab_items_crawler_reclaimed_total Counter "Number of items freed by the LRU Crawler."
        { "slab='{slab}'" Items("crawler_reclaimed") }
    memcached_slab_items_evicted_nonzero_total Counter "Total number of times an item which had an explicit expire time set had to be evicted from the LRU before it expired."
        { "slab='{slab}'" Items("evicted_nonzero") }
    memcached_slab_items_evicted_time_seconds Counter "Seconds since the last access for the most recent item evicted from this class."
        { "slab='{slab}'" Items("evicted_time") }
    memcached_slab_items_evicted_total Counter "Total number of times an item had to be evicted from the LRU before it expired."
        { "slab='{slab}'" Items("evicted") }
    memcached_slab_items_evicted_unfetched_total Counter "Total nmber of items evicted and never fetched."
        { "slab='{slab}'" Items("evicted_unfetched") }
    memcached_slab_items_expired_unfetched_total Counter "Total number of valid items evicted from the LRU which were never touched after being set."
        { "slab='{slab}'" Items("expired_unfetched") }
    memcached_slab_items_moves_to_cold Counter "Number of items moved from HOT or WARM into COLD."
        { "slab='{slab}'" Items("moves_to_cold") }
    memcached_slab_items_moves_to_warm Counter "Number of items moves from COLD into WARM."
        { "slab='{slab}'" Items("moves_to_warm") }
    memcached_slab_items_moves_within_lru Counter "Number of times active items were bumped within HOT or WARM."
        { "slab='{slab}'" Items("moves_within_lru") }
    memcached_slab_items_outofmemory_total Counter "Total number of items for this slab class that have triggered an out of memory error."
        { "slab='{slab}'" Items("outofmemory") }
    memcached_slab_items_reclaimed_total Counter "Total number of items reclaimed."
        { "slab='{slab}'" Items("reclaimed") }
    memcached_slab_items_tailrepairs_total Counter "Total number of times the entries for a particular ID need repairing."
        { "slab='{slab}'" Items("tailrepairs") }
    memcached_slab_lru_hits_total Counter "Number of get_hits to the LRU."
        { "lru='hot',slab='{slab}'" Items("hits_to_hot"),
          "lru='warm',slab='{slab}'" Items("hits_to_warm"),
          "lru='cold',slab='{slab}'" Items("hits_to_cold"),
          "lru='temporary',slab='{slab}'" Items("hits_to_temp") }
    memcached_slab_mem_requested_bytes Counter "Number of bytes of memory actual items take up within a slab."
        { "slab='{slab}'" Items("mem_requested") }
    memcached_slab_temporary_items Gauge "Number of items presently stored in the TEMPORARY LRU."
        { "slab='{slab}'" Items("number_temp") }
    memcached_slab_warm_age_seconds Gauge "Age of the oldest item in HOT LRU." { "slab='{slab}'" Items("age_warm") }
    memcached_slab_warm_items Gauge "Number of items presently stored in the WARM LRU."
        { "slab='{slab}'" Items("number_warm") }
    memcached_time_seconds Gauge "current UNIX time according to the server." { "" General("time") }
    memcached_up Gauge "Could the memcached server be reached." { "" One }
    memcached_uptime_seconds Counter "Number of seconds since the server started." { "" General("uptime") }
    memcached_version Gauge "The version of this memcached server." { "version='{version}'" One }
    memcached_written_bytes_total Counter "Total number of bytes sent by this server to network."
        { "" General("bytes_written") }
}

/// Names and types of all rows, for the documentation's test.
#[cfg(test)]
pub(super) fn names() -> impl Iterator<Item = (&'static str, &'static str)> {
    FAMILIES.iter().map(|family| (family.name, family.kind.name()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_in_order_and_whole() {
        assert!(FAMILIES.is_sorted_by_key(|family| family.name));
        assert_eq!(FAMILIES.len() + ABSENT.len(), EXPORTER_METRICS);
        for family in FAMILIES {
            assert!(family.name.starts_with("memcached_") && !family.series.is_empty(), "{}", family.name);
            let has_labels = family.series[0].0.contains('=');
            assert!(has_labels || family.series.len() == 1, "{}", family.name);
        }
        for &name in &ABSENT {
            assert!(!FAMILIES.iter().any(|family| family.name == name), "{name}");
        }
    }

    /// Descriptions in the exporter's source.
    const EXPORTER_METRICS: usize = 103;

    /// What the exporter has and a memcached without external storage and proxy has not.
    #[rustfmt::skip]
    const ABSENT: [&str; 33] = [
        "memcached_extstore_bytes_evicted_total", "memcached_extstore_bytes_fragmented",
        "memcached_extstore_bytes_limit", "memcached_extstore_bytes_read_total", "memcached_extstore_bytes_used",
        "memcached_extstore_bytes_written_total", "memcached_extstore_compact_lost_total",
        "memcached_extstore_compact_rescued_total", "memcached_extstore_compact_skipped_total",
        "memcached_extstore_io_queue_depth", "memcached_extstore_objects_evicted_total",
        "memcached_extstore_objects_read_total", "memcached_extstore_objects_used",
        "memcached_extstore_objects_written_total", "memcached_extstore_pages_allocated_total",
        "memcached_extstore_pages_evicted_total", "memcached_extstore_pages_free",
        "memcached_extstore_pages_reclaimed_total", "memcached_extstore_pages_used", "memcached_proxy_backend_failed",
        "memcached_proxy_backend_marked_bad_total", "memcached_proxy_backend_total",
        "memcached_proxy_config_cron_fails_total", "memcached_proxy_config_cron_runs_total",
        "memcached_proxy_config_reload_fails_total", "memcached_proxy_config_reloads_total",
        "memcached_proxy_conn_errors_total", "memcached_proxy_conn_oom_total", "memcached_proxy_conn_requests_total",
        "memcached_proxy_req_active", "memcached_proxy_request_failed_depth_total",
        "memcached_round_robin_fallback_total", "memcached_unexpected_napi_ids_total",
    ];
}
