//! The table of suboptions of `-o`, in the order of memcached's help.
//!
//! Rows of the same kind as those of [`super::table`]; the names are whole, without prefixes, and a suboption that
//! takes no value ignores one (`modern=1`), as memcached does. Our own (from `partitions` on) stand at the end.

use crate::store::Policy;
use crate::store::config::PARTITIONS_MAX;

use super::draft::TEMPORARY_TTL_SECONDS;
use super::file::{self, Grammar};
use super::row::Apply::{Set, Take};
use super::row::{Argument, PLAIN, Row, Support, yes_no};
use super::{EXIT_FAILURE, Failure, Sandbox, number};

/// The suboptions.
pub(super) static ROWS: &[Row] = &[
    Row {
        name: "maxconns_fast",
        help: &["immediately close new connections after limit (default: {default})"],
        default: Some(|draft| enabled(draft.options.maxconns_fast)),
        apply: Set(|options| options.maxconns_fast = true),
        settings: &[("maxconns_fast", |options| yes_no(options.maxconns_fast))],
        ..PLAIN
    },
    Row {
        name: "no_maxconns_fast",
        help: &["leave new connections waiting after limit"],
        apply: Set(|options| options.maxconns_fast = false),
        ..PLAIN
    },
    Row {
        name: "hashpower",
        argument: Argument::Required("num"),
        help: &["size of the hash table at start (accepted, no effect)"],
        support: Support::NoMeaning("the index sizes itself"),
        apply: Take(|draft, value| {
            let power = value.integer();
            if power < 12 {
                let complaint = format!("Initial hashtable multiplier of {power} is too low");
                return Err(Failure::new(EXIT_FAILURE, complaint).into());
            }
            let advice = "Choose a value based on \"STAT hash_power_level\" from a running instance";
            let complaint = format!("Initial hashtable multiplier of {power} is too high\n{advice}");
            draft.options.hash_power = value.integer_between(12, 32, &complaint)?;
            Ok(())
        }),
        settings: &[("hashpower_init", |options| options.hash_power.to_string())],
        ..PLAIN
    },
    Row {
        name: "tail_repair_time",
        argument: Argument::Required("seconds"),
        help: &["age of a stuck LRU tail item (accepted, no effect)"],
        support: Support::NoMeaning("no reference to an item outlives its request, so none can get stuck"),
        apply: Take(|draft, value| {
            let complaint = "Cannot set tail_repair_time to less than 10 seconds";
            draft.options.tail_repair_time_seconds = value.integer_between(10, i32::MAX, complaint)?;
            Ok(())
        }),
        settings: &[("tail_repair_time", |options| options.tail_repair_time_seconds.to_string())],
        ..PLAIN
    },
    Row {
        name: "hash_algorithm",
        argument: Argument::Required("name"),
        help: &["jenkins, murmur3 or xxh3 (accepted, no effect)"],
        support: Support::NoMeaning("keys are hashed with a seed of each process's own"),
        apply: Take(|draft, value| {
            draft.options.hash_algorithm = match value.raw() {
                b"jenkins" => "jenkins",
                b"murmur3" => "murmur3",
                b"xxh3" => "xxh3",
                _ => {
                    let complaint = "Unknown hash_algorithm option (jenkins, murmur3, xxh3)";
                    return Err(Failure::new(EXIT_FAILURE, complaint).into());
                }
            };
            Ok(())
        }),
        settings: &[("hash_algorithm", |options| options.hash_algorithm.to_string())],
        ..PLAIN
    },
    Row {
        name: "lru_crawler",
        help: &["enable LRU Crawler (the default)"],
        apply: Set(|options| options.lru_crawler = true),
        settings: &[("lru_crawler", |options| yes_no(options.lru_crawler))],
        ..PLAIN
    },
    Row {
        name: "no_lru_crawler",
        help: &["disable LRU Crawler"],
        apply: Set(|options| options.lru_crawler = false),
        ..PLAIN
    },
    Row {
        name: "lru_crawler_sleep",
        argument: Argument::Required("microseconds"),
        help: &["microseconds to sleep between items", "default is {default}. (accepted, no effect)"],
        support: Support::NoMeaning("the crawler goes in small steps between requests"),
        default: Some(|draft| draft.options.lru_crawler_sleep_micros.to_string()),
        apply: Take(|draft, value| {
            let complaint = "LRU crawler sleep must be between 0 and 1 second";
            draft.options.lru_crawler_sleep_micros = value.integer_between(0, 1_000_000, complaint)?;
            Ok(())
        }),
        settings: &[("lru_crawler_sleep", |options| options.lru_crawler_sleep_micros.to_string())],
        ..PLAIN
    },
    Row {
        name: "lru_crawler_tocrawl",
        argument: Argument::Required("num"),
        help: &["max items to crawl per slab per run", "default is {default} (unlimited)"],
        default: Some(|draft| draft.options.lru_crawler_tocrawl.to_string()),
        apply: Take(|draft, value| {
            let complaint = "lru_crawler_tocrawl takes a numeric 32bit value";
            let given = number::strict_unsigned(value.raw());
            draft.options.lru_crawler_tocrawl = given.ok_or_else(|| Failure::new(EXIT_FAILURE, complaint))?;
            Ok(())
        }),
        settings: &[("lru_crawler_tocrawl", |options| options.lru_crawler_tocrawl.to_string())],
        ..PLAIN
    },
    Row {
        name: "read_buf_mem_limit",
        argument: Argument::Required("megabytes"),
        help: &[
            "limit in megabytes for connection read/response buffers.",
            "do not adjust unless you have high (20k+) conn. limits.",
            "0 means unlimited (default: {default})",
        ],
        default: Some(|draft| (draft.options.read_buffer_limit_bytes / (1024 * 1024)).to_string()),
        apply: Take(|draft, value| {
            draft.options.read_buffer_limit_bytes = u64::from(value.unsigned()?) * 1024 * 1024;
            Ok(())
        }),
        settings: &[("read_buf_mem_limit", |options| options.read_buffer_limit_bytes.to_string())],
        ..PLAIN
    },
    Row {
        name: "resp_obj_mem_limit",
        help: &["replaced by read_buf_mem_limit (accepted, no effect)"],
        support: Support::NoMeaning("memcached gave it up as well"),
        apply: Take(|draft, _| {
            let warning = "DEPRECATED: resp_obj_mem_limit no longer used. See read_buf_mem_limit,";
            draft.options.warnings.push(warning.to_string());
            Ok(())
        }),
        ..PLAIN
    },
    Row {
        name: "lru_maintainer",
        help: &["evict as memcached does: HOT, WARM and COLD lists", "(eviction_policy=segmented)"],
        apply: Take(|draft, _| {
            draft.options.lru_maintainer = true;
            draft.options.eviction_policy = Policy::Segmented;
            Ok(())
        }),
        settings: &[
            ("lru_maintainer_thread", |options| yes_no(options.lru_maintainer)),
            ("lru_segmented", |options| yes_no(options.eviction_policy.is_segmented())),
        ],
        ..PLAIN
    },
    Row {
        name: "no_lru_maintainer",
        help: &["disable new LRU system: one flat list per class", "(eviction_policy=flat)"],
        apply: Take(|draft, _| {
            draft.options.lru_maintainer = false;
            draft.options.eviction_policy = Policy::Flat;
            Ok(())
        }),
        ..PLAIN
    },
    Row {
        name: "hot_lru_pct",
        argument: Argument::Required("percent"),
        help: &["pct of slab memory to reserve for hot lru.", "(requires lru_maintainer, default pct: {default})"],
        default: Some(|draft| draft.options.hot_lru_percent.to_string()),
        apply: Take(|draft, value| {
            draft.options.hot_lru_percent = value.integer_between(1, 79, "hot_lru_pct must be > 1 and < 80")?;
            draft.tune_segmented();
            Ok(())
        }),
        settings: &[("hot_lru_pct", |options| options.hot_lru_percent.to_string())],
        ..PLAIN
    },
    Row {
        name: "warm_lru_pct",
        argument: Argument::Required("percent"),
        help: &["pct of slab memory to reserve for warm lru.", "(requires lru_maintainer, default pct: {default})"],
        default: Some(|draft| draft.options.warm_lru_percent.to_string()),
        apply: Take(|draft, value| {
            draft.options.warm_lru_percent = value.integer_between(1, 79, "warm_lru_pct must be > 1 and < 80")?;
            draft.tune_segmented();
            Ok(())
        }),
        settings: &[("warm_lru_pct", |options| options.warm_lru_percent.to_string())],
        ..PLAIN
    },
    Row {
        name: "hot_max_factor",
        argument: Argument::Required("factor"),
        help: &["items idle > cold lru age * drop from hot lru. (default: {default})"],
        default: Some(|draft| format!("{:.2}", draft.options.hot_max_factor)),
        apply: Take(|draft, value| {
            draft.options.hot_max_factor = value.real_above(0.0, f64::MAX, "hot_max_factor must be > 0")?;
            draft.tune_segmented();
            Ok(())
        }),
        settings: &[("hot_max_factor", |options| format!("{:.2}", options.hot_max_factor))],
        ..PLAIN
    },
    Row {
        name: "warm_max_factor",
        argument: Argument::Required("factor"),
        help: &["items idle > cold lru age * this drop from warm. (default: {default})"],
        default: Some(|draft| format!("{:.2}", draft.options.warm_max_factor)),
        apply: Take(|draft, value| {
            draft.options.warm_max_factor = value.real_above(0.0, f64::MAX, "warm_max_factor must be > 0")?;
            draft.tune_segmented();
            Ok(())
        }),
        settings: &[("warm_max_factor", |options| format!("{:.2}", options.warm_max_factor))],
        ..PLAIN
    },
    Row {
        name: "temporary_ttl",
        argument: Argument::Required("seconds"),
        help: &["TTL's below get separate LRU, evicted last.", "(requires lru_maintainer, default: {default})"],
        default: Some(|draft| draft.temporary_ttl_seconds.to_string()),
        apply: Take(|draft, value| {
            draft.temporary_lru = true;
            draft.temporary_ttl_seconds = value.integer() as u32;
            Ok(())
        }),
        settings: &[
            ("temp_lru", |options| yes_no(options.temporary_ttl_seconds.is_some())),
            ("temporary_ttl", |options| options.temporary_ttl_seconds.unwrap_or(TEMPORARY_TTL_SECONDS).to_string()),
        ],
        ..PLAIN
    },
    Row {
        name: "idle_timeout",
        argument: Argument::Required("seconds"),
        help: &["timeout for idle connections. (default: {default}, no timeout)"],
        default: Some(|draft| draft.options.idle_timeout_seconds.to_string()),
        apply: Take(|draft, value| {
            draft.options.idle_timeout_seconds = value.integer().max(0).unsigned_abs();
            Ok(())
        }),
        settings: &[("idle_timeout", |options| options.idle_timeout_seconds.to_string())],
        ..PLAIN
    },
    Row {
        name: "slab_chunk_max",
        argument: Argument::Required("kilobytes"),
        help: &["maximum slab size in kilobytes. use extreme care. (default: {default})"],
        default: Some(|draft| (draft.slab_chunk_max / 1024).to_string()),
        apply: Take(|draft, value| {
            let refuse = |complaint: String| Failure::new(EXIT_FAILURE, complaint);
            let kilobytes = number::strict_integer(value.raw()).ok_or_else(|| refuse(value.unparsed()))?;
            if kilobytes <= 0 {
                return Err(refuse("slab_chunk_max must be >= 0".to_string()).into());
            }
            if kilobytes > 1024 {
                return Err(refuse("slab_chunk_max must be specified in kilobytes.".to_string()).into());
            }
            draft.slab_chunk_max = kilobytes * 1024;
            draft.slab_chunk_max_is_given = true;
            Ok(())
        }),
        settings: &[("slab_chunk_max", |options| options.slab_chunk_max.to_string())],
        ..PLAIN
    },
    Row {
        name: "no_chunked_items",
        help: &["let the largest chunk be a whole page"],
        apply: Take(|draft, _| {
            draft.slab_chunk_max = super::SLAB_PAGE_BYTES as i32;
            Ok(())
        }),
        ..PLAIN
    },
    Row {
        name: "slab_sizes",
        argument: Argument::Required("a-b-c"),
        help: &["sizes of the slab classes, ascending, separated by dashes"],
        apply: Take(|draft, value| {
            draft.slab_sizes_text = Some(value.raw().to_vec());
            Ok(())
        }),
        ..PLAIN
    },
    Row {
        name: "slab_reassign",
        help: &["let memory move between slab classes (the default)"],
        apply: Set(|options| options.slab_reassign = true),
        settings: &[("slab_reassign", |options| yes_no(options.slab_reassign))],
        ..PLAIN
    },
    Row {
        name: "no_slab_reassign",
        help: &["keep memory in the slab class that got it first"],
        apply: Set(|options| options.slab_reassign = false),
        ..PLAIN
    },
    Row {
        name: "slab_automove",
        argument: Argument::Optional,
        help: &["how eagerly memory moves by itself, 0 to 2 (default: {default})"],
        default: Some(|draft| draft.options.slab_automove.to_string()),
        apply: Take(|draft, value| {
            draft.options.slab_automove = match value.bytes {
                Some(_) => value.integer_between(0, 2, "slab_automove must be between 0 and 2")?,
                None => 1,
            };
            Ok(())
        }),
        settings: &[("slab_automove", |options| options.slab_automove.to_string())],
        ..PLAIN
    },
    Row {
        name: "no_slab_automove",
        help: &["never move memory without being told"],
        apply: Set(|options| options.slab_automove = 0),
        ..PLAIN
    },
    Row {
        name: "slab_automove_ratio",
        argument: Argument::Required("ratio"),
        help: &["age ratio between classes that moves memory (default: {default})"],
        default: Some(|draft| format!("{:.2}", draft.options.slab_automove_ratio)),
        apply: Take(|draft, value| {
            let complaint = "slab_automove_ratio must be > 0 and < 1";
            draft.options.slab_automove_ratio = value.real_above(0.0, 1.0, complaint)?;
            Ok(())
        }),
        settings: &[("slab_automove_ratio", |options| format!("{:.2}", options.slab_automove_ratio))],
        ..PLAIN
    },
    Row {
        name: "slab_automove_window",
        argument: Argument::Required("num"),
        help: &["looks at the classes before memory moves (default: {default})"],
        default: Some(|draft| draft.options.slab_automove_window.to_string()),
        apply: Take(|draft, value| {
            let complaint = "slab_automove_window must be > 2 and < 1800";
            draft.options.slab_automove_window = value.integer_between(3, 1800, complaint)?;
            Ok(())
        }),
        settings: &[("slab_automove_window", |options| options.slab_automove_window.to_string())],
        ..PLAIN
    },
    Row {
        name: "watcher_logbuf_size",
        argument: Argument::Required("kilobytes"),
        help: &["size in kilobytes of per-watcher write buffer. (default: {default})"],
        default: Some(|draft| (draft.options.watcher_buffer_bytes / 1024).to_string()),
        apply: Take(|draft, value| {
            draft.options.watcher_buffer_bytes = u64::from(value.unsigned()?) * 1024;
            Ok(())
        }),
        settings: &[("watcher_logbuf_size", |options| options.watcher_buffer_bytes.to_string())],
        ..PLAIN
    },
    Row {
        name: "worker_logbuf_size",
        argument: Argument::Required("kilobytes"),
        help: &[
            "size in kilobytes of per-worker-thread buffer for watchers. (default: {default})",
            "(accepted, no effect)",
        ],
        support: Support::NoMeaning("what watchers are to see goes to their buffers at once"),
        default: Some(|draft| (draft.options.worker_log_buffer_bytes / 1024).to_string()),
        apply: Take(|draft, value| {
            draft.options.worker_log_buffer_bytes = u64::from(value.unsigned()?) * 1024;
            Ok(())
        }),
        settings: &[("worker_logbuf_size", |options| options.worker_log_buffer_bytes.to_string())],
        ..PLAIN
    },
    Row {
        name: "track_sizes",
        help: &["enable dynamic reports for 'stats sizes' command.", "note that counts for each size are approximate."],
        apply: Set(|options| options.track_sizes = true),
        settings: &[("track_sizes", |options| yes_no(options.track_sizes))],
        ..PLAIN
    },
    Row {
        name: "no_hashexpand",
        help: &["disables hash table expansion (accepted, no effect)"],
        support: Support::NoMeaning("the index grows in small steps that disturb nobody"),
        ..PLAIN
    },
    Row {
        name: "modern",
        help: &["enables options which will be default in future.", "currently: nothing"],
        support: Support::NoMeaning("there are no newer defaults, in memcached neither"),
        ..PLAIN
    },
    Row {
        name: "no_modern",
        help: &["uses defaults of previous major version (1.4.x)"],
        apply: Take(|draft, _| {
            draft.take_old_defaults();
            Ok(())
        }),
        ..PLAIN
    },
    Row {
        name: "inline_ascii_resp",
        support: Support::NoMeaning("memcached gave it up as well"),
        settings: &[("inline_ascii_response", |_| yes_no(false))],
        ..PLAIN
    },
    Row { name: "no_inline_ascii_resp", support: Support::NoMeaning("memcached gave it up as well"), ..PLAIN },
    // memcached's names for `sandbox`. They are in no help text: its suite looks for one there and then wants a process
    // that dies of a refused system call.
    Row { name: "drop_privileges", apply: Set(|options| options.sandbox = Sandbox::Required), ..PLAIN },
    Row { name: "no_drop_privileges", apply: Set(|options| options.sandbox = Sandbox::Off), ..PLAIN },
    Row { name: "relaxed_privileges", apply: Set(|options| options.is_sandbox_relaxed = true), ..PLAIN },
    Row {
        name: "sock_cookie_id",
        argument: Argument::Required("num"),
        help: &["attributes an ID to a socket for ip filtering/firewalls"],
        apply: Take(|draft, value| {
            draft.options.socket_mark = number::strict_unsigned(value.raw()).unwrap_or(0);
            Ok(())
        }),
        ..PLAIN
    },
    Row {
        name: "partitions",
        argument: Argument::Required("num"),
        help: &[
            "parts of the store with a lock each: a power of two up to 1024;",
            "1 makes LRU order exact, 0 means automatic (default: {default})",
        ],
        default: Some(|draft| draft.options.partitions.to_string()),
        apply: Take(|draft, value| {
            let given = value.unsigned()?;
            if given > PARTITIONS_MAX as u32 || (given != 0 && !given.is_power_of_two()) {
                let complaint = "partitions must be 0 or a power of two up to 1024";
                return Err(Failure::new(EXIT_FAILURE, complaint).into());
            }
            draft.options.partitions = given;
            Ok(())
        }),
        ..PLAIN
    },
    Row {
        name: "warm_restart",
        help: &[
            "hand the cache to the service manager at every stop, and take it",
            "back at the start (default: if $FDSTORE says that it keeps some)",
        ],
        apply: Set(|options| options.warm_restart = Some(true)),
        ..PLAIN
    },
    Row {
        name: "no_warm_restart",
        help: &["do not"],
        apply: Set(|options| options.warm_restart = Some(false)),
        ..PLAIN
    },
    Row {
        name: "eviction_policy",
        argument: Argument::Required("name"),
        help: &[
            "which items go when memory is full: quick_demotion, segmented",
            "(memcached's; also chosen by tuning it: lru_maintainer,",
            "hot_lru_pct and the like) or flat (default: {default})",
        ],
        default: Some(|draft| draft.options.eviction_policy.name().to_string()),
        apply: Take(|draft, value| {
            let complaint = "eviction_policy must be quick_demotion, segmented or flat";
            let policy = Policy::named(value.raw()).ok_or_else(|| Failure::new(EXIT_FAILURE, complaint))?;
            draft.options.eviction_policy = policy;
            Ok(())
        }),
        settings: &[("eviction_policy", |options| options.eviction_policy.name().to_string())],
        ..PLAIN
    },
    Row {
        name: "debug_commands",
        help: &["enable the commands of memcached's debug build (debugtime, debugitem)"],
        apply: Set(|options| options.debug_commands = true),
        ..PLAIN
    },
    Row {
        name: "sandbox",
        argument: Argument::Required("when"),
        help: &[
            "give up the rights that a cache does not need, once it serves: auto (as",
            "far as the kernel has seccomp and Landlock), required or off (default: {default})",
        ],
        default: Some(|draft| draft.options.sandbox.name().to_string()),
        apply: Take(|draft, value| {
            let all = [Sandbox::Off, Sandbox::Auto, Sandbox::Required];
            let named = all.into_iter().find(|sandbox| sandbox.name().as_bytes() == value.raw());
            let complaint = "sandbox must be auto, required or off";
            draft.options.sandbox = named.ok_or_else(|| Failure::new(EXIT_FAILURE, complaint))?;
            Ok(())
        }),
        settings: &[("sandbox", |options| options.sandbox.name().to_string())],
        ..PLAIN
    },
    Row {
        name: "udp_reply_factor",
        argument: Argument::Required("num"),
        help: &[
            "how many times as long as its request a reply over UDP may be, but",
            "for clients on this machine; 0 is any length (default: {default})",
        ],
        default: Some(|draft| draft.options.udp_reply_factor.to_string()),
        apply: Take(|draft, value| {
            draft.options.udp_reply_factor = value.unsigned()?;
            Ok(())
        }),
        settings: &[("udp_reply_factor", |options| options.udp_reply_factor.to_string())],
        ..PLAIN
    },
    Row {
        name: "config_file",
        argument: Argument::Required("file"),
        help: &[
            "follow the options in a file like Debian's /etc/memcached.conf;",
            "with a dash before its path it may be missing",
        ],
        apply: Take(|draft, value| file::follow(draft, value, Grammar::Lines)),
        ..PLAIN
    },
    Row {
        name: "sysconfig_file",
        argument: Argument::Required("file"),
        help: &["the same for one like Fedora's /etc/sysconfig/memcached"],
        apply: Take(|draft, value| file::follow(draft, value, Grammar::Variables)),
        ..PLAIN
    },
];

fn enabled(is_on: bool) -> String {
    if is_on { "enabled" } else { "disabled" }.to_string()
}
