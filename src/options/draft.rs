//! Options while they are being read.
//!
//! Some values are kept as given (an `int` of memcached's) until [`super::check`] has seen the whole command line, and
//! some only matter there: whether `-p` was given at all, for instance.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use crate::store::Policy;

use super::row::{Apply, Argument, Row, Support};
use super::tls::Tls;
use super::{
    Admin, EXIT_FAILURE, Failure, Host, Identity, Invocation, ListenAddress, Options, Port, Protocol, ReadFile,
    SLAB_PAGE_BYTES, Sandbox, number, table,
};

/// The state between two options.
pub(super) struct Draft {
    /// What will come out; the fields below are poured into it at the end.
    pub options: Options,
    pub tcp_port: i32,
    pub udp_port: i32,
    pub tcp_is_given: bool,
    pub udp_is_given: bool,
    pub protocol_is_given: bool,
    pub threads_are_given: bool,
    pub memory_megabytes: i32,
    pub item_size_max: i32,
    pub slab_chunk_max: i32,
    pub slab_chunk_max_is_given: bool,
    pub slab_sizes_text: Option<Vec<u8>>,
    pub temporary_lru: bool,
    pub temporary_ttl_seconds: u32,
    pub read_file: Option<ReadFile>,
    /// Whether the options at hand are those of a file.
    pub is_in_file: bool,
    /// Whether there was a file with memcached's options.
    pub has_read_file: bool,
}

/// Why reading stops before the end.
#[derive(Debug)]
pub(super) enum Early {
    /// The option asks for a text.
    Print(String),
    /// The option cannot be followed.
    Refuse(Failure),
}

/// An option's value, leading white space dropped.
#[derive(Clone, Copy)]
pub(super) struct Value<'a> {
    pub name: &'static str,
    pub bytes: Option<&'a [u8]>,
}

impl Draft {
    /// The state before the first option: the defaults.
    pub fn new(identity: Identity, invocation: &Invocation) -> Draft {
        let environment = &invocation.environment;
        let malloc = environment.initial_malloc.as_ref();
        let malloc = malloc.and_then(|text| text.to_str()).and_then(|text| text.trim().parse().ok());
        let mut options = default_options(identity, invocation.core_count.max(1));
        options.sasl_password_file = environment.sasl_password_file.as_ref().map(PathBuf::from);
        options.sasl_configuration = environment.sasl_configuration.clone();
        options.port_file = environment.memcached_port_filename.as_ref().map(PathBuf::from);
        options.initial_malloc_bytes = malloc.unwrap_or(0);
        Draft {
            options,
            tcp_port: 11211,
            udp_port: 0,
            tcp_is_given: false,
            udp_is_given: false,
            protocol_is_given: false,
            threads_are_given: false,
            memory_megabytes: 64,
            item_size_max: 1024 * 1024,
            slab_chunk_max: SLAB_PAGE_BYTES as i32 / 2,
            slab_chunk_max_is_given: false,
            slab_sizes_text: None,
            temporary_lru: false,
            temporary_ttl_seconds: TEMPORARY_TTL_SECONDS,
            read_file: invocation.read_file,
            is_in_file: false,
            has_read_file: false,
        }
    }

    /// Follows one option or suboption.
    pub fn take(&mut self, row: &'static Row, value: Value<'_>) -> Result<(), Early> {
        match row.support {
            Support::Full => {}
            Support::NoMeaning(reason) => {
                let note = format!("{} has no meaning here: {reason}", row.title());
                if !self.options.notes.contains(&note) {
                    self.options.notes.push(note);
                }
            }
            Support::Refused(exit_code, message) => {
                return Err(Failure::new(exit_code, message.replace("{name}", row.name)).into());
            }
        }
        if matches!(row.argument, Argument::Required(_)) && value.bytes.is_none() {
            return Err(Failure::new(EXIT_FAILURE, missing(row.name)).into());
        }
        match row.apply {
            Apply::Set(set) => set(&mut self.options),
            Apply::Take(take) => take(self, value)?,
        }
        Ok(())
    }

    /// Follows a comma list of suboptions, left to right; an empty list and a last comma are fine.
    pub fn take_extended(&mut self, list: &[u8]) -> Result<(), Early> {
        let mut rest = list;
        while !rest.is_empty() {
            let end = memchr::memchr(b',', rest).unwrap_or(rest.len());
            let element = &rest[..end];
            rest = &rest[(end + 1).min(rest.len())..];
            let (name, bytes) = match memchr::memchr(b'=', element) {
                Some(at) => (&element[..at], Some(&element[at + 1..])),
                None => (element, None),
            };
            let is_known = |row: &&'static Row| row.name.as_bytes() == name && row.exists_for(&self.options.identity);
            let Some(row) = table::suboptions().find(is_known) else {
                let element = String::from_utf8_lossy(element);
                return Err(Failure::new(EXIT_FAILURE, format!("Illegal suboption \"{element}\"")).into());
            };
            self.take(row, Value { name: row.name, bytes })?;
        }
        Ok(())
    }

    /// A rule of memcached's segmented LRU was given: whoever tunes that policy wants it.
    pub fn tune_segmented(&mut self) {
        if self.options.eviction_policy == Policy::QuickDemotion {
            self.options.eviction_policy = Policy::Segmented;
        }
    }

    /// What memcached calls its previous defaults.
    pub fn take_old_defaults(&mut self) {
        if !self.slab_chunk_max_is_given {
            self.slab_chunk_max = SLAB_PAGE_BYTES as i32;
        }
        self.options.slab_reassign = false;
        self.options.slab_automove = 0;
        self.options.maxconns_fast = false;
        self.options.eviction_policy = Policy::Flat;
        self.options.hash_algorithm = "jenkins";
        self.options.lru_crawler = false;
        self.options.lru_maintainer = false;
    }
}

impl<'a> Value<'a> {
    /// The raw bytes; none counts as empty.
    pub fn raw(self) -> &'a [u8] {
        self.bytes.unwrap_or_default()
    }

    /// As text.
    pub fn text(self) -> String {
        String::from_utf8_lossy(self.raw()).into_owned()
    }

    /// As a path.
    pub fn path(self) -> PathBuf {
        PathBuf::from(OsStr::from_bytes(self.raw()))
    }

    /// As memcached's `atoi` reads it.
    pub fn integer(self) -> i32 {
        number::loose_integer(self.raw())
    }

    /// As `atoi` reads it, when it is in the range; otherwise fails with `complaint`.
    pub fn integer_between(self, least: i32, most: i32, complaint: &str) -> Result<u32, Early> {
        let given = self.integer();
        if given < least || given > most {
            return Err(Failure::new(EXIT_FAILURE, complaint).into());
        }
        Ok(given.unsigned_abs())
    }

    /// As `atoi` reads it, when it is above 0; otherwise fails with `complaint`.
    pub fn positive(self, complaint: &str) -> Result<u32, Early> {
        self.integer_between(1, i32::MAX, complaint)
    }

    /// As `atof` reads it, when it is above `floor` and at most `most`; otherwise fails with `complaint`.
    pub fn real_above(self, floor: f64, most: f64, complaint: &str) -> Result<f64, Early> {
        let given = number::loose_real(self.raw());
        if given > floor && given <= most {
            return Ok(given);
        }
        Err(Failure::new(EXIT_FAILURE, complaint).into())
    }

    /// As a whole 32-bit number without sign; otherwise fails as most suboptions do.
    pub fn unsigned(self) -> Result<u32, Early> {
        let given = number::strict_unsigned(self.raw());
        given.ok_or_else(|| Failure::new(EXIT_FAILURE, self.unparsed()).into())
    }

    /// The complaint about a value that is no number.
    pub fn unparsed(self) -> String {
        format!("could not parse argument to {}", self.name)
    }
}

impl From<Failure> for Early {
    fn from(failure: Failure) -> Early {
        Early::Refuse(failure)
    }
}

fn missing(name: &str) -> String {
    match name {
        "hashpower" | "tail_repair_time" | "idle_timeout" => {
            format!("Missing numeric argument for {name}")
        }
        "lru_crawler_sleep" | "lru_crawler_tocrawl" => format!("Missing {name} value"),
        _ => format!("Missing {name} argument"),
    }
}

fn default_options(identity: Identity, threads: usize) -> Options {
    let host = if identity.is_memcached { Host::Any } else { Host::Named("127.0.0.1".to_string()) };
    let debug_commands = identity.is_debug;
    Options {
        identity,
        tcp_port: Port::Number(11211),
        udp_port: Port::Off,
        tcp_port_setting: 11211,
        udp_port_setting: 0,
        listen: vec![ListenAddress::plain(host)],
        listen_text: None,
        unix_socket: None,
        unix_mask: 0o700,
        backlog: 1024,
        socket_mark: 0,
        protocol: Protocol::Negotiate,
        port_file: None,
        daemonize: false,
        core_dumps: false,
        user: None,
        pid_file: None,
        lock_memory: false,
        large_pages: false,
        verbosity: 0,
        sandbox: Sandbox::Auto,
        is_sandbox_relaxed: false,
        udp_reply_factor: UDP_REPLY_FACTOR,
        threads,
        max_connections: 1024,
        maxconns_fast: true,
        requests_per_event: 20,
        idle_timeout_seconds: 0,
        read_buffer_limit_bytes: 0,
        watcher_buffer_bytes: 256 * 1024,
        worker_log_buffer_bytes: 64 * 1024,
        memory_limit_bytes: 64 * 1024 * 1024,
        initial_malloc_bytes: 0,
        evictions: true,
        cas: true,
        growth_factor: 1.25,
        chunk_size_min: 48,
        item_size_max: 1024 * 1024,
        slab_chunk_max: SLAB_PAGE_BYTES / 2,
        slab_sizes: None,
        slab_reassign: true,
        slab_automove: 1,
        slab_automove_ratio: 0.8,
        slab_automove_window: 10,
        partitions: 0,
        eviction_policy: Policy::default(),
        lru_maintainer: true,
        hot_lru_percent: 20,
        warm_lru_percent: 40,
        hot_max_factor: 0.2,
        warm_max_factor: 2.0,
        temporary_ttl_seconds: None,
        lru_crawler: true,
        lru_crawler_sleep_micros: 100,
        lru_crawler_tocrawl: 0,
        shutdown_command: false,
        flush_enabled: true,
        dump_enabled: true,
        watch_enabled: true,
        debug_commands,
        detail_enabled: false,
        prefix_delimiter: b':',
        track_sizes: false,
        auth_file: None,
        has_sasl: false,
        sasl_password_file: None,
        sasl_configuration: None,
        memory_file: None,
        warm_restart: None,
        tls: Tls::default(),
        admin: Admin::default(),
        core_count: threads,
        hash_power: 0,
        hash_algorithm: "murmur3",
        tail_repair_time_seconds: 0,
        napi_ids: 0,
        warnings: Vec::new(),
        notes: Vec::new(),
    }
}

/// The limit for the list of short-lived items, once it is asked for.
pub(super) const TEMPORARY_TTL_SECONDS: u32 = 61;

/// How many times as long as its request a reply over UDP may be: who forges a sender gains nothing.
const UDP_REPLY_FACTOR: u32 = 1;
