//! Which settings of a node are not memcached's defaults.

use super::statistics::Statistics;

/// A setting that somebody chose.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Changed {
    /// Its name in `stats settings`.
    pub name: String,
    /// Its value.
    pub value: String,
    /// memcached's default; `None` where this table has none, for what is newer than it.
    pub default: Option<&'static str>,
}

/// Settings that differ from the default, in the node's order. What a node of another kind or age adds is listed too.
pub fn changed(settings: &Statistics) -> Vec<Changed> {
    let mut found = Vec::new();
    for (name, value) in settings.iter() {
        let default = DEFAULTS.iter().find(|(known, _)| *known == name).map(|(_, default)| *default);
        let is_default = default == Some(value) || OTHER_DEFAULTS.contains(&(name, value));
        if !NOT_CHOSEN.contains(&name) && !is_default {
            found.push(Changed { name: name.to_owned(), value: value.to_owned(), default });
        }
    }
    found
}

/// Settings that nobody chooses: they follow from the machine, the build or the past.
const NOT_CHOSEN: &[&str] =
    &["oldest", "num_threads_per_udp", "client_flags_size", "umask", "lru_crawler_tocrawl", "seccomp", "landlock_abi"];

/// Defaults of memcached 1.6 that are no more, and of slabstash where it has others.
const OTHER_DEFAULTS: &[(&str, &str)] = &[("slab_automove_window", "30"), ("num_napi_ids", "(null)")];

/// `stats settings` of memcached 1.6.45 without options, and slabstash's own lines at the end.
const DEFAULTS: &[(&str, &str)] = &[
    ("maxbytes", "67108864"),
    ("maxconns", "1024"),
    ("tcpport", "11211"),
    ("udpport", "0"),
    ("inter", "NULL"),
    ("verbosity", "0"),
    ("evictions", "on"),
    ("domain_socket", "NULL"),
    ("shutdown_command", "no"),
    ("growth_factor", "1.25"),
    ("chunk_size", "48"),
    ("num_threads", "4"),
    ("stat_key_prefix", ":"),
    ("detail_enabled", "no"),
    ("reqs_per_event", "20"),
    ("cas_enabled", "yes"),
    ("tcp_backlog", "1024"),
    ("binding_protocol", "auto-negotiate"),
    ("auth_enabled_sasl", "no"),
    ("auth_enabled_ascii", "no"),
    ("item_size_max", "1048576"),
    ("maxconns_fast", "yes"),
    ("hashpower_init", "0"),
    ("slab_reassign", "yes"),
    ("slab_automove", "1"),
    ("slab_automove_ratio", "0.80"),
    ("slab_automove_window", "10"),
    ("slab_chunk_max", "524288"),
    ("lru_crawler", "yes"),
    ("lru_crawler_sleep", "100"),
    ("tail_repair_time", "0"),
    ("flush_enabled", "yes"),
    ("dump_enabled", "yes"),
    ("hash_algorithm", "murmur3"),
    ("lru_maintainer_thread", "yes"),
    ("lru_segmented", "yes"),
    ("hot_lru_pct", "20"),
    ("warm_lru_pct", "40"),
    ("hot_max_factor", "0.20"),
    ("warm_max_factor", "2.00"),
    ("temp_lru", "no"),
    ("temporary_ttl", "61"),
    ("idle_timeout", "0"),
    ("watcher_logbuf_size", "262144"),
    ("worker_logbuf_size", "65536"),
    ("read_buf_mem_limit", "0"),
    ("track_sizes", "no"),
    ("inline_ascii_response", "no"),
    ("drop_privileges", "no"),
    ("ext_item_size", "512"),
    ("ext_item_age", "4294967295"),
    ("ext_low_ttl", "0"),
    ("ext_recache_rate", "2000"),
    ("ext_wbuf_size", "4194304"),
    ("ext_compact_under", "0"),
    ("ext_drop_under", "0"),
    ("ext_max_sleep", "1000000"),
    ("ext_max_frag", "0.80"),
    ("slab_automove_freeratio", "0.010"),
    ("ext_drop_unread", "no"),
    ("ssl_enabled", "no"),
    ("ssl_chain_cert", "(null)"),
    ("ssl_key", "(null)"),
    ("ssl_verify_mode", "0"),
    ("ssl_keyformat", "1"),
    ("ssl_ciphers", "NULL"),
    ("ssl_ca_cert", "NULL"),
    ("ssl_wbuf_size", "16384"),
    ("ssl_session_cache", "no"),
    ("ssl_kernel_tls", "no"),
    ("ssl_min_version", "tlsv1.2"),
    ("proxy_enabled", "no"),
    ("proxy_uring_enabled", "no"),
    ("num_napi_ids", "0"),
    ("memory_file", "(null)"),
    ("eviction_policy", "quick_demotion"),
    ("sandbox", "auto"),
    ("udp_reply_factor", "1"),
    ("admin_listen", "NULL"),
    ("admin_remote", "no"),
    ("admin_keys", "no"),
];

#[cfg(test)]
mod tests {
    use super::*;

    fn names(settings: &str) -> Vec<String> {
        changed(&Statistics::of(settings)).into_iter().map(|changed| changed.name).collect()
    }

    #[test]
    fn only_what_was_chosen_is_listed() {
        assert_eq!(names(include_str!("samples/memcached-settings.txt")), ["maxbytes", "tcpport", "inter"]);
        let slabstash = names(include_str!("samples/slabstash-settings.txt"));
        assert_eq!(slabstash, ["maxbytes", "tcpport", "inter", "num_threads"]);
    }

    #[test]
    fn own_defaults_are_defaults() {
        let own = "STAT eviction_policy quick_demotion\nSTAT sandbox auto\nSTAT seccomp yes\nSTAT landlock_abi 7\n\
            STAT udp_reply_factor 1\nSTAT admin_listen NULL\nSTAT admin_remote no\nSTAT admin_keys no";
        assert_eq!(names(own), [""; 0]);
        assert_eq!(names("STAT sandbox off\nSTAT seccomp no"), ["sandbox"]);
    }

    #[test]
    fn an_unknown_setting_is_listed() {
        let expected = Changed { name: "new".to_owned(), value: "1".to_owned(), default: None };
        assert_eq!(changed(&Statistics::of("STAT new 1\nSTAT maxconns 1024")), [expected]);
    }
}
