//! The table of options: each one as a single value.
//!
//! The rows say how an option is written, what help says about it, how far it is supported, what it does to the draft,
//! and which lines of `stats settings` show it. Parsing, `-h`, the man page and `stats settings` all read the rows, so
//! a new option is a new row and nothing else. The order is that of memcached's help.
//!
//! The suboptions of `-o` are rows of the same kind, in [`super::extended`], [`super::tls`], [`super::admin`] and
//! [`super::absent`].

use std::fmt::Write as _;

use super::draft::{Draft, Early, Value};
use super::row::Apply::{Set, Take};
use super::row::{Argument, PLAIN, Row, Support, yes_no};
use super::{EXIT_FAILURE, EXIT_USAGE, Failure, Protocol, help, number};
use super::{absent, admin, extended, tls};

/// Every option, every suboption, and what is refused.
pub(super) fn all() -> impl Iterator<Item = &'static Row> {
    ROWS.iter().chain(suboptions())
}

/// The suboptions of `-o`, those that are refused last.
pub(super) fn suboptions() -> impl Iterator<Item = &'static Row> {
    shown_suboptions().chain(absent::ROWS)
}

/// The suboptions that help and man page list.
pub(super) fn shown_suboptions() -> impl Iterator<Item = &'static Row> {
    extended::ROWS.iter().chain(tls::ROWS).chain(admin::ROWS)
}

/// The options with a letter.
pub(super) static ROWS: &[Row] = &[
    Row {
        short: Some(b'p'),
        name: "port",
        argument: Argument::Required("num"),
        help: &["TCP port to listen on (default: {default})", "0 is off, -1 lets the system choose"],
        default: Some(|draft| draft.tcp_port.to_string()),
        apply: Take(|draft, value| {
            draft.tcp_port = value.integer();
            draft.tcp_is_given = true;
            Ok(())
        }),
        settings: &[("tcpport", |options| options.tcp_port_setting.to_string())],
        ..PLAIN
    },
    Row {
        short: Some(b'U'),
        name: "udp-port",
        argument: Argument::Required("num"),
        help: &["UDP port to listen on (default: {default}, off)"],
        default: Some(|draft| draft.udp_port.to_string()),
        apply: Take(|draft, value| {
            draft.udp_port = value.integer();
            draft.udp_is_given = true;
            Ok(())
        }),
        settings: &[("udpport", |options| options.udp_port_setting.to_string())],
        ..PLAIN
    },
    Row {
        short: Some(b's'),
        name: "unix-socket",
        argument: Argument::Required("file"),
        help: &["UNIX socket to listen on (disables network support", "unless -p or -l is given as well)"],
        apply: Take(|draft, value| {
            draft.options.unix_socket = Some(value.path());
            Ok(())
        }),
        settings: &[("domain_socket", |options| match &options.unix_socket {
            Some(path) => path.to_string_lossy().into_owned(),
            None => "NULL".to_string(),
        })],
        ..PLAIN
    },
    Row {
        short: Some(b'a'),
        name: "unix-mask",
        argument: Argument::Required("mask"),
        help: &["access mask for UNIX socket, in octal (default: {default})"],
        default: Some(|draft| format!("{:o}", draft.options.unix_mask)),
        apply: Take(|draft, value| {
            draft.options.unix_mask = number::loose_octal(value.raw());
            Ok(())
        }),
        settings: &[("umask", |options| format!("{:o}", options.unix_mask))],
        ..PLAIN
    },
    Row {
        short: Some(b'A'),
        name: "enable-shutdown",
        help: &["enable ascii \"shutdown\" command"],
        apply: Set(|options| options.shutdown_command = true),
        settings: &[("shutdown_command", |options| yes_no(options.shutdown_command))],
        ..PLAIN
    },
    Row {
        short: Some(b'l'),
        name: "listen",
        argument: Argument::Required("addr"),
        help: &[
            "interface to listen on (default: {default})",
            "can specify multiple comma separated listeners configured with different protocols",
            "if TLS/SSL is enabled, 'notls', 'btls', 'mtls' prefix can be used to",
            "specify for specific listeners no tls, basic tls, or peer-auth tls (i.e -l mtls:127.0.0.1:11212)",
            "format: proto[<protocol>]:tag[<name>]:ip:port",
            "i.e -l proto[binary]:tag[services]:127.0.0.1:11211,proto[ascii]:tag_tools_:127.0.0.1:11212",
        ],
        default: Some(|draft| if draft.options.identity.is_memcached { "INADDR_ANY" } else { "127.0.0.1" }.to_string()),
        apply: Take(|draft, value| {
            let given = value.text();
            match &mut draft.options.listen_text {
                // memcached drops a list that is part of what it has.
                Some(list) if list.contains(&given) => {}
                Some(list) => {
                    // Writing to a string cannot fail.
                    let _ = write!(list, ",{given}");
                }
                none => *none = Some(given),
            }
            Ok(())
        }),
        settings: &[
            ("inter", |options| options.listen_text.clone().unwrap_or_else(|| "NULL".to_string())),
            ("num_threads_per_udp", |options| {
                let is_list = options.listen_text.as_ref().is_some_and(|list| list.contains(','));
                if is_list { 1 } else { options.threads }.to_string()
            }),
        ],
        ..PLAIN
    },
    Row {
        short: Some(b'd'),
        name: "daemon",
        help: &["run as a daemon"],
        apply: Set(|options| options.daemonize = true),
        ..PLAIN
    },
    Row {
        short: Some(b'r'),
        name: "enable-coredumps",
        help: &["maximize core file limit"],
        apply: Set(|options| options.core_dumps = true),
        ..PLAIN
    },
    Row {
        short: Some(b'u'),
        name: "user",
        argument: Argument::Required("user"),
        help: &["assume identity of <username> (only when run as root)"],
        apply: Take(|draft, value| {
            draft.options.user = Some(value.text());
            Ok(())
        }),
        ..PLAIN
    },
    Row {
        short: Some(b'm'),
        name: "memory-limit",
        argument: Argument::Required("num"),
        help: &["item memory in megabytes (default: {default})"],
        default: Some(|draft| draft.memory_megabytes.to_string()),
        apply: Take(|draft, value| {
            draft.memory_megabytes = value.integer();
            Ok(())
        }),
        settings: &[("maxbytes", |options| options.memory_limit_bytes.to_string())],
        ..PLAIN
    },
    Row {
        short: Some(b'M'),
        name: "disable-evictions",
        help: &["return error on memory exhausted instead of evicting"],
        apply: Set(|options| options.evictions = false),
        settings: &[("evictions", |options| if options.evictions { "on" } else { "off" }.to_string())],
        ..PLAIN
    },
    Row {
        short: Some(b'c'),
        name: "conn-limit",
        argument: Argument::Required("num"),
        help: &["max simultaneous connections (default: {default})"],
        default: Some(|draft| draft.options.max_connections.to_string()),
        apply: Take(|draft, value| {
            draft.options.max_connections = value.positive("Maximum connections must be greater than 0")?;
            Ok(())
        }),
        settings: &[("maxconns", |options| options.max_connections.to_string())],
        ..PLAIN
    },
    Row {
        short: Some(b'k'),
        name: "lock-memory",
        help: &["lock down all paged memory"],
        apply: Set(|options| options.lock_memory = true),
        ..PLAIN
    },
    Row {
        short: Some(b'v'),
        name: "verbose",
        argument: Argument::Optional,
        help: &[
            "verbose (print errors/warnings while in event loop)",
            "-vv: very verbose (also print client commands/responses)",
            "-vvv: extremely verbose (internal state transitions)",
        ],
        apply: Set(|options| options.verbosity = options.verbosity.saturating_add(1)),
        settings: &[("verbosity", |options| options.verbosity.to_string())],
        ..PLAIN
    },
    Row {
        short: Some(b'h'),
        name: "help",
        help: &["print this help and exit"],
        apply: Take(|draft, _| Err(Early::Print(help::help_for(draft)))),
        ..PLAIN
    },
    Row {
        short: Some(b'i'),
        name: "license",
        help: &["print license and exit"],
        apply: Take(|draft, _| {
            let introduction = draft.options.identity.introduction();
            Err(Early::Print(format!("{introduction}\n\n{}", include_str!("../../LICENSE"))))
        }),
        ..PLAIN
    },
    Row {
        short: Some(b'V'),
        name: "version",
        help: &["print version and exit"],
        apply: Take(|draft, _| Err(Early::Print(format!("{}\n", draft.options.identity.introduction())))),
        ..PLAIN
    },
    Row {
        short: Some(b'P'),
        name: "pidfile",
        argument: Argument::Required("file"),
        help: &["save PID in <file>, only removed with -d option"],
        apply: Take(|draft, value| {
            draft.options.pid_file = Some(value.path());
            Ok(())
        }),
        ..PLAIN
    },
    Row {
        short: Some(b'f'),
        name: "slab-growth-factor",
        argument: Argument::Required("num"),
        help: &["chunk size growth factor (default: {default})"],
        default: Some(|draft| format!("{:.2}", draft.options.growth_factor)),
        apply: Take(|draft, value| {
            draft.options.growth_factor = value.real_above(1.0, f64::MAX, "Factor must be greater than 1")?;
            Ok(())
        }),
        settings: &[("growth_factor", |options| format!("{:.2}", options.growth_factor))],
        ..PLAIN
    },
    Row {
        short: Some(b'n'),
        name: "slab-min-size",
        argument: Argument::Required("bytes"),
        help: &["min space used for key+value+flags (default: {default})"],
        default: Some(|draft| draft.options.chunk_size_min.to_string()),
        apply: Take(|draft, value| {
            draft.options.chunk_size_min = value.positive("Chunk size must be greater than 0")?;
            Ok(())
        }),
        settings: &[("chunk_size", |options| options.chunk_size_min.to_string())],
        ..PLAIN
    },
    Row {
        short: Some(b'L'),
        name: "enable-largepages",
        help: &["try to use large memory pages (if available)"],
        apply: Set(|options| options.large_pages = true),
        ..PLAIN
    },
    Row {
        short: Some(b'D'),
        argument: Argument::Required("char"),
        help: &[
            "use <char> as the delimiter between key prefixes and IDs.",
            "This is used for per-prefix stats reporting. The default is",
            "\"{default}\". If this option is specified, stats collection",
            "is turned on automatically; if not, then it may be turned on",
            "by sending the \"stats detail on\" command to the server.",
        ],
        default: Some(|draft| char::from(draft.options.prefix_delimiter).to_string()),
        apply: Take(|draft, value| {
            let Some(delimiter) = value.raw().first() else {
                return Err(Failure::new(EXIT_FAILURE, "No delimiter specified").into());
            };
            draft.options.prefix_delimiter = *delimiter;
            draft.options.detail_enabled = true;
            Ok(())
        }),
        settings: &[
            ("stat_key_prefix", |options| char::from(options.prefix_delimiter).to_string()),
            ("detail_enabled", |options| yes_no(options.detail_enabled)),
        ],
        ..PLAIN
    },
    Row {
        short: Some(b't'),
        name: "threads",
        argument: Argument::Required("num"),
        help: &["number of threads to use (default: {default})"],
        default: Some(|draft| draft.options.threads.to_string()),
        apply: Take(apply_threads),
        settings: &[("num_threads", |options| options.threads.to_string())],
        ..PLAIN
    },
    Row {
        short: Some(b'R'),
        name: "max-reqs-per-event",
        argument: Argument::Required("num"),
        help: &[
            "maximum number of requests per event, limits the",
            "requests processed per connection to prevent",
            "starvation (default: {default})",
        ],
        default: Some(|draft| draft.options.requests_per_event.to_string()),
        apply: Take(|draft, value| {
            let complaint = "Number of requests per event must be greater than 0";
            draft.options.requests_per_event = value.positive(complaint)?;
            Ok(())
        }),
        settings: &[("reqs_per_event", |options| options.requests_per_event.to_string())],
        ..PLAIN
    },
    Row {
        short: Some(b'C'),
        name: "disable-cas",
        help: &["disable use of CAS"],
        apply: Set(|options| options.cas = false),
        settings: &[("cas_enabled", |options| yes_no(options.cas))],
        ..PLAIN
    },
    Row {
        short: Some(b'b'),
        name: "listen-backlog",
        argument: Argument::Required("num"),
        help: &["set the backlog queue limit (default: {default})"],
        default: Some(|draft| draft.options.backlog.to_string()),
        apply: Take(|draft, value| {
            draft.options.backlog = value.integer();
            Ok(())
        }),
        settings: &[("tcp_backlog", |options| options.backlog.to_string())],
        ..PLAIN
    },
    Row {
        short: Some(b'B'),
        name: "protocol",
        argument: Argument::Required("name"),
        help: &["protocol - one of ascii, binary, or auto (default: {default})"],
        default: Some(|draft| protocol_name(draft.options.protocol).to_string()),
        apply: Take(apply_protocol),
        settings: &[("binding_protocol", |options| protocol_name(options.protocol).to_string())],
        ..PLAIN
    },
    Row {
        short: Some(b'I'),
        name: "max-item-size",
        argument: Argument::Required("num"),
        help: &["adjusts max item size", "(default: {default}, min: 1k, max: 1024m)"],
        default: Some(|draft| format!("{}m", draft.item_size_max / (1024 * 1024))),
        apply: Take(|draft, value| {
            let unit = match value.raw().last() {
                Some(b'k' | b'K') => 1024,
                Some(b'm' | b'M') => 1024 * 1024,
                _ => 1,
            };
            draft.item_size_max = value.integer().saturating_mul(unit);
            Ok(())
        }),
        settings: &[("item_size_max", |options| options.item_size_max.to_string())],
        ..PLAIN
    },
    Row {
        short: Some(b'S'),
        name: "enable-sasl",
        support: Support::Refused(EXIT_USAGE, "This server is not built with SASL support."),
        settings: &[("auth_enabled_sasl", |_| yes_no(false))],
        ..PLAIN
    },
    Row {
        short: Some(b'F'),
        name: "disable-flush-all",
        help: &["disable flush_all command"],
        apply: Set(|options| options.flush_enabled = false),
        settings: &[("flush_enabled", |options| yes_no(options.flush_enabled))],
        ..PLAIN
    },
    Row {
        short: Some(b'X'),
        name: "disable-dumping",
        help: &["disable stats cachedump, stats detail, and lru_crawler metadump"],
        apply: Set(|options| options.dump_enabled = false),
        settings: &[("dump_enabled", |options| yes_no(options.dump_enabled))],
        ..PLAIN
    },
    Row {
        short: Some(b'W'),
        name: "disable-watch",
        help: &["disable watch commands (live logging)"],
        apply: Set(|options| options.watch_enabled = false),
        ..PLAIN
    },
    Row {
        short: Some(b'Y'),
        name: "auth-file",
        argument: Argument::Required("file"),
        help: &["enable ASCII protocol authentication. format:", "user:pass\\nuser2:pass2\\n"],
        apply: Take(|draft, value| {
            draft.options.auth_file = Some(value.path());
            Ok(())
        }),
        settings: &[("auth_enabled_ascii", |options| match &options.auth_file {
            Some(path) => path.to_string_lossy().into_owned(),
            None => yes_no(false),
        })],
        ..PLAIN
    },
    Row {
        short: Some(b'e'),
        name: "memory-file",
        argument: Argument::Required("file"),
        support: Support::Refused(
            EXIT_USAGE,
            "-e (memory-file) is not in this version: every start is an empty cache.",
        ),
        settings: &[("memory_file", |_| "(null)".to_string())],
        ..PLAIN
    },
    Row {
        short: Some(b'Z'),
        name: "enable-ssl",
        help: &["enable TLS/SSL"],
        apply: Set(|options| options.tls.is_enabled = true),
        settings: &[("ssl_enabled", |options| yes_no(options.tls.is_enabled))],
        ..PLAIN
    },
    Row {
        short: Some(b'o'),
        name: "extended",
        argument: Argument::Required("list"),
        help: &["comma separated list of extended options"],
        apply: Take(|draft, value| draft.take_extended(value.raw())),
        ..PLAIN
    },
    Row {
        short: Some(b'N'),
        name: "napi-ids",
        argument: Argument::Required("num"),
        help: &["number of napi ids (accepted, no effect)"],
        support: Support::NoMeaning("connections are spread over the workers round robin"),
        apply: Take(|draft, value| {
            draft.options.napi_ids = value.positive("Maximum number of NAPI IDs must be greater than 0")?;
            Ok(())
        }),
        settings: &[("num_napi_ids", |options| options.napi_ids.to_string())],
        ..PLAIN
    },
];

fn apply_threads(draft: &mut Draft, value: Value<'_>) -> Result<(), Early> {
    let threads = value.positive("Number of threads must be greater than 0")?;
    if threads > THREADS_MAX {
        let complaint = format!("Number of threads must not be greater than {THREADS_MAX}");
        return Err(Failure::new(EXIT_FAILURE, complaint).into());
    }
    if threads > THREADS_ADVISED {
        draft.options.warnings.push(MANY_THREADS.to_string());
    }
    draft.options.threads = threads as usize;
    draft.threads_are_given = true;
    Ok(())
}

fn apply_protocol(draft: &mut Draft, value: Value<'_>) -> Result<(), Early> {
    draft.options.protocol = match value.raw() {
        b"auto" => Protocol::Negotiate,
        b"binary" => Protocol::Binary,
        b"ascii" => Protocol::Ascii,
        _ => {
            let given = value.text();
            let complaint =
                format!("Invalid value for binding protocol: {given}\n -- should be one of auto, binary, or ascii");
            return Err(Failure::new(EXIT_USAGE, complaint).into());
        }
    };
    draft.protocol_is_given = true;
    Ok(())
}

fn protocol_name(protocol: Protocol) -> &'static str {
    match protocol {
        Protocol::Negotiate => "auto-negotiate",
        Protocol::Ascii => "ascii",
        Protocol::Binary => "binary",
    }
}

/// More workers than this are refused: memcached would try, and fail later.
const THREADS_MAX: u32 = 1024;
/// More workers than this are served with a warning, as memcached does.
const THREADS_ADVISED: u32 = 64;
const MANY_THREADS: &str = "WARNING: Setting a high number of worker threads is not recommended.\n \
    Set this value to the number of cores in your machine or less.";
