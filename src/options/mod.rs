//! The command line: memcached 1.6.45's, option by option.
//!
//! [`parse`] takes everything it depends on as an [`Invocation`] and gives back what to do: run with [`Options`], print
//! a text and leave, or fail with a message and an exit code. It opens nothing, reads no file and keeps no state, so a
//! bad option is reported before any socket exists.
//!
//! One table is the source of all of it: a `row::Row` is an option as one value (names, argument, help text, how it
//! is supported, what it does, its lines of `stats settings`). From the rows come parsing (`getopt` has the grammar),
//! `-h` and the man page ([`help`]), and `stats settings` (`settings`). The rules that bind several options are in
//! `check`, the grammar of `-l` in `listen`.
//!
//! What the rows cannot decide alone is left to the server: names are resolved and users looked up there, and limits of
//! the system (descriptors, core files, locked memory) are raised there.

mod absent;
mod admin;
mod check;
mod draft;
mod extended;
mod getopt;
mod help;
mod identity;
mod listen;
mod number;
mod row;
mod settings;
mod table;
mod tls;

use std::ffi::OsString;
use std::path::PathBuf;

use crate::store::Policy;

use crate::base::sizes::PAGE_BYTES;

use draft::{Draft, Early, Value};

pub use admin::{Admin, AdminAddress};
pub use help::{help, man_page};
pub use identity::Identity;
pub use listen::{Encryption, Host, ListenAddress};
pub use settings::{default_settings, settings_report, settings_reporter};
pub use tls::{KeyFormat, Tls, TlsVersion, VerifyMode};

/// All that a command line's meaning depends on.
#[derive(Clone, Debug, Default)]
pub struct Invocation {
    /// `argv[0]`.
    pub program: OsString,
    /// The words after it.
    pub arguments: Vec<OsString>,
    /// The real or effective user is root.
    pub is_root: bool,
    /// Processor cores this process may use; the default for `-t`.
    pub core_count: usize,
    /// The environment variables that matter.
    pub environment: Environment,
}

/// The environment variables that matter, as found.
#[derive(Clone, Debug, Default)]
pub struct Environment {
    /// `SLABSTASH_NAME`: the name to go by when the program is called `slabstash`, for wrapper scripts.
    pub slabstash_name: Option<OsString>,
    /// `MEMCACHED_PORT_FILENAME`: where to write the ports that were bound.
    pub memcached_port_filename: Option<OsString>,
    /// `T_MEMD_INITIAL_MALLOC`: pretend that many bytes are in use already (a test's way to a huge cache).
    pub initial_malloc: Option<OsString>,
    /// `POSIXLY_CORRECT`: the first word that is no option ends the options.
    pub posixly_correct: bool,
}

/// What a command line asks for.
#[derive(Debug)]
pub enum Parsed {
    /// To run.
    Run(Box<Options>),
    /// To print a text to standard output and leave.
    Print {
        /// The text, with its line ends.
        text: String,
        /// The exit code.
        exit_code: i32,
    },
}

/// A command line that cannot be followed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// For standard error, without the last line end.
    pub message: String,
    /// The exit code: one of the `EXIT_` constants.
    pub exit_code: i32,
}

/// Most bad values.
pub const EXIT_FAILURE: i32 = 1;
/// Options that do not fit together (`EX_USAGE`).
pub const EXIT_USAGE: i32 = 64;
/// A user that does not exist (`EX_NOUSER`).
pub const EXIT_NO_USER: i32 = 67;
/// The system refused something, an address most often (`EX_OSERR`).
pub const EXIT_SYSTEM: i32 = 71;
/// A slab page, as large as memcached's; [`PAGE_BYTES`] in the options' measure.
pub const SLAB_PAGE_BYTES: u32 = PAGE_BYTES as u32;

/// Where TCP or UDP listens when an address of `-l` does not say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Port {
    /// Not at all.
    Off,
    /// On a port of the system's choice.
    Ephemeral,
    /// On this port.
    Number(u16),
}

/// What a connection may speak.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// Either; the first byte decides.
    Negotiate,
    /// Text only.
    Ascii,
    /// Binary only.
    Binary,
}

/// Everything the command line settles, checked: what does not fit together cannot be found in here.
#[derive(Clone, Debug)]
pub struct Options {
    /// The name to go by and the versions to tell.
    pub identity: Identity,

    /// TCP (`-p`), after the rules about `-s` and `-U`.
    pub tcp_port: Port,
    /// UDP (`-U`), after the rule about `-s`.
    pub udp_port: Port,
    /// The number of `-p` as `stats settings` shows it while no port is bound.
    pub tcp_port_setting: i32,
    /// The number of `-U` as `stats settings` shows it while no port is bound.
    pub udp_port_setting: i32,
    /// Where TCP and UDP listen; never empty.
    pub listen: Vec<ListenAddress>,
    /// The text of all `-l`, comma-joined, when there was one.
    pub listen_text: Option<String>,
    /// The path of the Unix socket (`-s`).
    pub unix_socket: Option<PathBuf>,
    /// The permissions of that socket (`-a`).
    pub unix_mask: u32,
    /// The queue length for `listen` (`-b`), as given.
    pub backlog: i32,
    /// A mark for listening sockets (`-o sock_cookie_id`); 0 for none.
    pub socket_mark: u32,
    /// What connections speak (`-B`); text only with `-Y`.
    pub protocol: Protocol,
    /// Where to write the ports that were bound (`MEMCACHED_PORT_FILENAME`).
    pub port_file: Option<PathBuf>,

    /// Run in the background (`-d`).
    pub daemonize: bool,
    /// Raise the limit for core files (`-r`).
    pub core_dumps: bool,
    /// The user to become before sockets are bound (`-u`); only root can.
    pub user: Option<String>,
    /// Where to write the process id (`-P`).
    pub pid_file: Option<PathBuf>,
    /// Keep all memory resident (`-k`).
    pub lock_memory: bool,
    /// Ask for huge pages (`-L`).
    pub large_pages: bool,
    /// How many `-v`.
    pub verbosity: u32,

    /// Worker threads (`-t`).
    pub threads: usize,
    /// How many there are without `-t`.
    pub core_count: usize,
    /// Connections at a time (`-c`).
    pub max_connections: u32,
    /// Connections beyond the limit are refused with a message, rather than left waiting.
    pub maxconns_fast: bool,
    /// Requests of one connection before the others get their turn (`-R`).
    pub requests_per_event: u32,
    /// Idle clients are closed after this long; 0 for never.
    pub idle_timeout_seconds: u32,
    /// Memory for read buffers and replies; 0 for no limit.
    pub read_buffer_limit_bytes: u64,
    /// Buffer of one watcher.
    pub watcher_buffer_bytes: u64,
    /// Log buffer of one worker.
    pub worker_log_buffer_bytes: u64,

    /// Memory for items (`-m`).
    pub memory_limit_bytes: u64,
    /// Bytes to count as in use from the start (`T_MEMD_INITIAL_MALLOC`).
    pub initial_malloc_bytes: u64,
    /// Full memory evicts; otherwise it is an error (`-M`).
    pub evictions: bool,
    /// Items have a CAS value (`-C`).
    pub cas: bool,
    /// Step from one slab class to the next (`-f`); above 1.
    pub growth_factor: f64,
    /// Smallest room for key, value and flags (`-n`).
    pub chunk_size_min: u32,
    /// Largest item (`-I`): 1 KiB to 1 GiB, at most half of memory, a multiple of `slab_chunk_max`.
    pub item_size_max: u32,
    /// Largest chunk, in bytes: divides [`SLAB_PAGE_BYTES`].
    pub slab_chunk_max: u32,
    /// Sizes of the slab classes, ascending, when given one by one.
    pub slab_sizes: Option<Vec<u32>>,
    /// Pages move between classes.
    pub slab_reassign: bool,
    /// How eagerly they move by themselves: 0 to 2.
    pub slab_automove: u32,
    /// Age ratio between classes that makes a page move: 0 < ratio <= 1.
    pub slab_automove_ratio: f64,
    /// Looks to take before moving: 3 to 1800.
    pub slab_automove_window: u32,
    /// Partitions of the store: a power of two up to 1024, or 0 to let the store choose.
    pub partitions: u32,

    /// Which items go when memory is full.
    pub eviction_policy: Policy,
    /// The maintainer moves items between the lists.
    pub lru_maintainer: bool,
    /// Share of memory for HOT: 1 to 79, at most 80 together with WARM.
    pub hot_lru_percent: u32,
    /// Share of memory for WARM.
    pub warm_lru_percent: u32,
    /// Items in HOT may idle this many times COLD's age; above 0.
    pub hot_max_factor: f64,
    /// Items in WARM may idle this many times COLD's age; above 0.
    pub warm_max_factor: f64,
    /// Items that live no longer than this get a list of their own, when the list is wanted.
    pub temporary_ttl_seconds: Option<u32>,
    /// The crawler runs.
    pub lru_crawler: bool,
    /// Its pause between items: 0 to 1000000.
    pub lru_crawler_sleep_micros: u32,
    /// Items it looks at per class and run; 0 for all.
    pub lru_crawler_tocrawl: u32,

    /// `shutdown` works (`-A`).
    pub shutdown_command: bool,
    /// `flush_all` works (`-F` switches it off).
    pub flush_enabled: bool,
    /// The dump commands work (`-X` switches them off).
    pub dump_enabled: bool,
    /// `watch` works (`-W` switches it off).
    pub watch_enabled: bool,
    /// `debugtime` and `debugitem` work.
    pub debug_commands: bool,
    /// `stats detail` counts from the start (`-D`).
    pub detail_enabled: bool,
    /// Ends the prefix of a key for `stats detail` (`-D`).
    pub prefix_delimiter: u8,
    /// `stats sizes` counts.
    pub track_sizes: bool,
    /// Users and passwords of the text protocol (`-Y`).
    pub auth_file: Option<PathBuf>,
    /// Encryption of TCP connections (`-Z` and `-o ssl_…`).
    pub tls: Tls,
    /// Metrics and the like (`-o admin_…`).
    pub admin: Admin,

    /// As `stats settings` shows it: the table here sizes itself.
    pub hash_power: u32,
    /// As `stats settings` shows it: the hash here is another.
    pub hash_algorithm: &'static str,
    /// As `stats settings` shows it: no item needs repair here.
    pub tail_repair_time_seconds: u32,
    /// As `stats settings` shows it: connections here go round robin.
    pub napi_ids: u32,

    /// For standard error at start, always.
    pub warnings: Vec<String>,
    /// For the log at start, once: options that were accepted and mean nothing here.
    pub notes: Vec<String>,
}

/// Reads a command line.
pub fn parse(invocation: &Invocation) -> Result<Parsed, Failure> {
    match follow(invocation) {
        Ok(options) => Ok(Parsed::Run(Box::new(options))),
        Err(Early::Print(text)) => Ok(Parsed::Print { text, exit_code: 0 }),
        Err(Early::Refuse(failure)) => Err(failure),
    }
}

/// Takes the options in order, since `-h` and `no_modern` depend on what stands before them.
fn follow(invocation: &Invocation) -> Result<Options, Early> {
    let identity = Identity::of(invocation);
    let program = identity.program.clone();
    let mut draft = Draft::new(identity, invocation);
    let mut reader = getopt::Reader::new(&program, &invocation.arguments, table::ROWS);
    if invocation.environment.posixly_correct {
        reader = reader.stop_at_word();
    }
    loop {
        match reader.next() {
            Ok(Some(found)) => {
                let value = Value { name: found.row.name, bytes: found.value.map(number::skip_space) };
                draft.take(found.row, value)?;
            }
            Ok(None) => return Ok(check::finish(draft, invocation)?),
            Err(complaint) => {
                let message = format!("{complaint}\nIllegal argument \"?\"");
                return Err(Failure::new(EXIT_FAILURE, message).into());
            }
        }
    }
}

impl Failure {
    fn new(exit_code: i32, message: impl Into<String>) -> Failure {
        Failure { message: message.into(), exit_code }
    }
}

#[cfg(test)]
mod tests;
