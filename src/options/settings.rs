//! `stats settings`: the lines of memcached 1.6.45, all 77, in its order, and some of our own at the end.
//!
//! The values come from the rows of the option tables; here are only the order and the two lines that no option sets.
//! Lines about parts that are not here (external storage) are printed with memcached's defaults, since tools look
//! for names. What changes while the server runs is known to others: they pass it by name, and that wins.

use super::draft::Draft;
use super::row::{Row, Setting};
use super::{Invocation, Options, check, table};

/// The whole list as the command line left it.
pub fn settings_report(options: &Options) -> Vec<(&'static str, String)> {
    ORDER.iter().map(|name| (*name, value_of(name, options))).collect()
}

/// The whole list as an empty command line leaves it for the same name on the same machine.
pub fn default_settings(options: &Options) -> Vec<(&'static str, String)> {
    let invocation = Invocation { core_count: options.core_count, ..Invocation::default() };
    let draft = Draft::new(options.identity.clone(), &invocation);
    let defaults = check::finish(draft, &invocation);
    settings_report(&defaults.expect("a test gives every name an empty command line"))
}

/// A function that gives the whole list, with the values that are passed in place of those of the command line.
/// The layer that answers commands cannot see the options, so it is handed this. Names it does not know are left out.
#[allow(clippy::type_complexity, reason = "the one place that spells it")]
pub fn settings_reporter(
    options: &Options,
) -> Box<dyn Fn(&[(&'static str, String)]) -> Vec<(&'static str, String)> + Send + Sync> {
    let at_start = settings_report(options);
    Box::new(move |current| {
        let value_now = |(name, value): &(&'static str, String)| {
            let found = current.iter().find(|(current_name, _)| current_name == name);
            (*name, found.map_or(value, |(_, value)| value).clone())
        };
        at_start.iter().map(value_now).collect()
    })
}

fn value_of(name: &str, options: &Options) -> String {
    let fixed = FIXED.iter().find(|(fixed, _)| *fixed == name);
    if let Some((_, value)) = fixed {
        return (*value).to_string();
    }
    let setting = settings().find(|setting| setting.0 == name);
    let setting = setting.expect("a test finds a row for every name of ORDER");
    (setting.1)(options)
}

fn settings() -> impl Iterator<Item = &'static Setting> {
    table::all().flat_map(|row: &'static Row| row.settings)
}

/// No option sets these: the mark of `flush_all`, the bytes of client flags, and how far the sandbox holds.
const FIXED: &[(&str, &str)] = &[("oldest", "0"), ("client_flags_size", "4"), ("seccomp", "no"), ("landlock_abi", "0")];

/// memcached's order. Tools read by name, but people compare two servers line by line.
#[rustfmt::skip]
const ORDER: [&str; 85] = [
    "maxbytes", "maxconns", "tcpport", "udpport", "inter", "verbosity", "oldest", "evictions", "domain_socket", "umask",
    "shutdown_command", "growth_factor", "chunk_size", "num_threads", "num_threads_per_udp", "stat_key_prefix",
    "detail_enabled", "reqs_per_event", "cas_enabled", "tcp_backlog", "binding_protocol", "auth_enabled_sasl",
    "auth_enabled_ascii", "item_size_max", "maxconns_fast", "hashpower_init", "slab_reassign", "slab_automove",
    "slab_automove_ratio", "slab_automove_window", "slab_chunk_max", "lru_crawler", "lru_crawler_sleep",
    "lru_crawler_tocrawl", "tail_repair_time", "flush_enabled", "dump_enabled", "hash_algorithm",
    "lru_maintainer_thread", "lru_segmented", "hot_lru_pct", "warm_lru_pct", "hot_max_factor", "warm_max_factor",
    "temp_lru", "temporary_ttl", "idle_timeout", "watcher_logbuf_size", "worker_logbuf_size", "read_buf_mem_limit",
    "track_sizes", "inline_ascii_response", "ext_item_size", "ext_item_age", "ext_low_ttl", "ext_recache_rate",
    "ext_wbuf_size", "ext_compact_under", "ext_drop_under", "ext_max_sleep", "ext_max_frag", "slab_automove_freeratio",
    "ext_drop_unread", "ssl_enabled", "ssl_chain_cert", "ssl_key", "ssl_verify_mode", "ssl_keyformat", "ssl_ciphers",
    "ssl_ca_cert", "ssl_wbuf_size", "ssl_session_cache", "ssl_kernel_tls", "ssl_min_version", "num_napi_ids",
    "memory_file", "client_flags_size", "eviction_policy", "sandbox", "seccomp", "landlock_abi", "udp_reply_factor",
    "admin_listen", "admin_remote", "admin_keys",
];

#[cfg(test)]
mod tests {
    use super::super::{Invocation, Parsed, parse};
    use super::*;

    fn options(arguments: &[&str]) -> Box<Options> {
        let invocation = Invocation {
            program: "memcached".into(),
            arguments: arguments.iter().map(Into::into).collect(),
            core_count: 4,
            ..Invocation::default()
        };
        match parse(&invocation) {
            Ok(Parsed::Run(options)) => options,
            other => panic!("{arguments:?}: {other:?}"),
        }
    }

    #[test]
    fn every_name_has_one_source() {
        for name in ORDER {
            let rows = settings().filter(|setting| setting.0 == name).count();
            let fixed = FIXED.iter().filter(|(fixed, _)| *fixed == name).count();
            assert_eq!(rows + fixed, 1, "{name}");
        }
        assert_eq!(settings().count() + FIXED.len(), ORDER.len());
    }

    #[test]
    fn defaults_are_those_of_memcached() {
        let shown: Vec<String> =
            settings_report(&options(&[])).iter().map(|(name, value)| format!("{name} {value}")).collect();
        let expected: Vec<&str> = MEMCACHED_DEFAULTS.lines().collect();
        let (shared, own) = shown.split_at(expected.len());
        assert_eq!(shared, expected);
        let expected = "eviction_policy quick_demotion\nsandbox auto\nseccomp no\nlandlock_abi 0\nudp_reply_factor 1\n\
            admin_listen NULL\nadmin_remote no\nadmin_keys no";
        assert_eq!(own.join("\n"), expected);
    }

    #[test]
    fn options_show() {
        #[track_caller]
        fn check(arguments: &[&str], name: &str, expected: &str) {
            let report = settings_report(&options(arguments));
            let found = report.iter().find(|(found, _)| *found == name).map(|(_, value)| value.as_str());
            assert_eq!(found, Some(expected), "{arguments:?}");
        }
        check(&["-m", "100"], "maxbytes", "104857600");
        check(&["-p", "-1"], "tcpport", "-1");
        check(&["-U", "5"], "tcpport", "5");
        check(&["-s", "/tmp/x"], "tcpport", "11211");
        check(&["-s", "/tmp/x"], "domain_socket", "/tmp/x");
        check(&["-l", "a,b", "-l", "c"], "inter", "a,b,c");
        check(&["-l", "a,b"], "num_threads_per_udp", "1");
        check(&["-l", "a", "-t", "3"], "num_threads_per_udp", "3");
        check(&["-l", "127.0.0.1", "-l", "127.0.0"], "inter", "127.0.0.1");
        check(&["-M"], "evictions", "off");
        check(&["-a", "777"], "umask", "777");
        check(&["-D", "#x"], "stat_key_prefix", "#");
        check(&["-D", "#"], "detail_enabled", "yes");
        check(&["-Y", "/etc/users"], "auth_enabled_ascii", "/etc/users");
        check(&["-Y", "/etc/users"], "binding_protocol", "ascii");
        check(&["-F"], "flush_enabled", "no");
        check(&["-X"], "dump_enabled", "no");
        check(&["-C"], "cas_enabled", "no");
        check(&["-A"], "shutdown_command", "yes");
        check(&["-I", "2m"], "item_size_max", "2097152");
        check(&["-N", "2"], "num_napi_ids", "2");
        check(&["-o", "temporary_ttl=30"], "temporary_ttl", "30");
        check(&["-o", "temporary_ttl=30"], "temp_lru", "yes");
        check(&["-o", "no_modern"], "hash_algorithm", "jenkins");
        check(&["-o", "no_modern"], "slab_chunk_max", "1048576");
        check(&["-o", "no_modern"], "lru_crawler", "no");
        check(&["-o", "no_modern,lru_maintainer"], "lru_segmented", "yes");
        check(&["-o", "no_lru_maintainer"], "lru_maintainer_thread", "no");
        check(&["-o", "eviction_policy=flat"], "lru_segmented", "no");
        check(&["-o", "eviction_policy=quick_demotion"], "lru_segmented", "yes");
        for tuned in ["lru_maintainer", "hot_lru_pct=30", "warm_lru_pct=30", "hot_max_factor=1", "warm_max_factor=1"] {
            check(&["-o", tuned], "eviction_policy", "segmented");
        }
        check(&["-o", "no_modern,hot_lru_pct=30"], "eviction_policy", "flat");
        check(&["-o", "lru_maintainer,eviction_policy=quick_demotion"], "eviction_policy", "quick_demotion");
        check(&["-o", "read_buf_mem_limit=5"], "read_buf_mem_limit", "5242880");
        check(&["-o", "hashpower=20"], "hashpower_init", "20");
        check(&["-o", "sandbox=off"], "sandbox", "off");
        check(&["-o", "drop_privileges"], "sandbox", "required");
        check(&["-o", "drop_privileges,no_drop_privileges"], "sandbox", "off");
        check(&["-o", "udp_reply_factor=0"], "udp_reply_factor", "0");
        check(&["-o", "admin_listen=[::1]:9150"], "admin_listen", "[::1]:9150");
        check(&["-o", "admin_listen=unix:/run/x"], "admin_listen", "unix:/run/x");
        check(&["-o", "admin_remote,admin_keys"], "admin_remote", "yes");
        check(&["-o", "admin_keys"], "admin_keys", "yes");
    }

    #[test]
    fn defaults_are_those_of_an_empty_command_line() {
        for program in ["memcached", "memcached-debug", "slabstash"] {
            let invocation = |arguments: &[&str]| Invocation {
                program: program.into(),
                arguments: arguments.iter().map(Into::into).collect(),
                core_count: 3,
                ..Invocation::default()
            };
            let parsed = |arguments: &[&str]| match parse(&invocation(arguments)) {
                Ok(Parsed::Run(options)) => options,
                other => panic!("{other:?}"),
            };
            let defaults = settings_report(&parsed(&[]));
            let set = parsed(&["-m", "100", "-t", "7", "-o", "no_modern", "-u", "root"]);
            assert_eq!(default_settings(&set), defaults, "{program}");
            assert_ne!(settings_report(&set), defaults);
        }
    }

    #[test]
    fn current_values_win() {
        let reporter = settings_reporter(&options(&[]));
        let report = reporter(&[("verbosity", "2".to_string()), ("unheard_of", "1".to_string())]);
        assert_eq!(report.len(), ORDER.len());
        assert_eq!(report[5], ("verbosity", "2".to_string()));
        assert_eq!(report[6], ("oldest", "0".to_string()));
    }

    /// As memcached 1.6.45 prints them; the `ext_` lines are from a build with external storage.
    const MEMCACHED_DEFAULTS: &str = "\
maxbytes 67108864
maxconns 1024
tcpport 11211
udpport 0
inter NULL
verbosity 0
oldest 0
evictions on
domain_socket NULL
umask 700
shutdown_command no
growth_factor 1.25
chunk_size 48
num_threads 4
num_threads_per_udp 4
stat_key_prefix :
detail_enabled no
reqs_per_event 20
cas_enabled yes
tcp_backlog 1024
binding_protocol auto-negotiate
auth_enabled_sasl no
auth_enabled_ascii no
item_size_max 1048576
maxconns_fast yes
hashpower_init 0
slab_reassign yes
slab_automove 1
slab_automove_ratio 0.80
slab_automove_window 10
slab_chunk_max 524288
lru_crawler yes
lru_crawler_sleep 100
lru_crawler_tocrawl 0
tail_repair_time 0
flush_enabled yes
dump_enabled yes
hash_algorithm murmur3
lru_maintainer_thread yes
lru_segmented yes
hot_lru_pct 20
warm_lru_pct 40
hot_max_factor 0.20
warm_max_factor 2.00
temp_lru no
temporary_ttl 61
idle_timeout 0
watcher_logbuf_size 262144
worker_logbuf_size 65536
read_buf_mem_limit 0
track_sizes no
inline_ascii_response no
ext_item_size 512
ext_item_age 4294967295
ext_low_ttl 0
ext_recache_rate 2000
ext_wbuf_size 4194304
ext_compact_under 0
ext_drop_under 0
ext_max_sleep 1000000
ext_max_frag 0.80
slab_automove_freeratio 0.010
ext_drop_unread no
ssl_enabled no
ssl_chain_cert (null)
ssl_key (null)
ssl_verify_mode 0
ssl_keyformat 1
ssl_ciphers NULL
ssl_ca_cert NULL
ssl_wbuf_size 16384
ssl_session_cache no
ssl_kernel_tls no
ssl_min_version tlsv1.2
num_napi_ids 0
memory_file (null)
client_flags_size 4";
}
