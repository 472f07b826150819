//! What the server is told: the parts' own settings and what only start and stop need.

use std::path::{Path, PathBuf};

use crate::admin;
use crate::command;
use crate::command::service::{ProtocolChoice, SettingsReport};
use crate::net::tls::{self, identities::Policy};
use crate::store::{self, config::PARTITIONS_MAX};

use super::logins::LoginConfig;
use super::privileges;

/// Settings of a server.
pub struct Config {
    /// `-p`; `None` is off, 0 any free port.
    pub tcp_port: Option<u16>,
    /// `-U`; likewise.
    pub udp_port: Option<u16>,
    /// `-l`; empty for all interfaces.
    pub listen: Vec<ListenItem>,
    /// `-l` as it was written, for messages; `None` without `-l`.
    pub listen_text: Option<String>,
    /// `-s`.
    pub unix_socket: Option<UnixSocket>,
    /// `-B`.
    pub protocol: ProtocolChoice,
    /// `-b`.
    pub backlog: i32,
    /// `-o sock_cookie_id`: the mark of the network's listening sockets; 0 for none.
    pub socket_mark: u32,
    /// `-u`.
    pub user: Option<String>,
    /// `-P`.
    pub pid_file: Option<PathBuf>,
    /// `-d`.
    pub is_daemon: bool,
    /// `-r`.
    pub has_core_files: bool,
    /// `-k`.
    pub is_memory_locked: bool,
    /// `MEMCACHED_PORT_FILENAME`.
    pub port_file: Option<PathBuf>,
    /// `-o sandbox`.
    pub privileges: privileges::Config,
    /// `-o udp_reply_factor`: how many times as long as its request a reply over UDP may be; 0 is any length.
    pub udp_reply_factor: u32,
    /// `-v`, counted.
    pub verbosity: u8,
    /// Say on standard error where the server serves. memcached says nothing.
    pub is_announced: bool,
    /// Said on standard error at start, whatever the verbosity.
    pub warnings: Vec<String>,
    /// Remarks on options, to be logged once.
    pub notes: Vec<String>,
    /// `-D`: `stats detail` counts from the start.
    pub is_detail_enabled: bool,
    /// `-e`.
    pub memory_file: Option<PathBuf>,
    /// `-o warm_restart`, `-o no_warm_restart`.
    pub warm_restart: Option<bool>,
    /// `-Z`.
    pub tls: Option<tls::Config>,
    /// `-Y` or `-S`.
    pub logins: Option<LoginConfig>,
    /// `stats settings`.
    pub settings_report: Box<SettingsReport>,
    /// `-o admin_listen`.
    pub admin: Option<admin::Config>,
    /// The store's settings.
    pub store: store::Config,
    /// Settings that commands obey, `-t` and `-c` among them.
    pub command: command::Config,
}

/// One item of `-l`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ListenItem {
    /// Name or address; `None` for `*`.
    pub host: Option<String>,
    /// Port, when it is given.
    pub port: Option<u16>,
    /// Protocol spoken there, when it is not that of `-B`.
    pub protocol: Option<ProtocolChoice>,
    /// How its connections are encrypted; `None` is not at all. Without `-Z` none are.
    pub encryption: Option<Policy>,
}

/// `-s` and `-a`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct UnixSocket {
    /// Where it lies.
    pub path: PathBuf,
    /// Permissions of the file.
    pub mode: u32,
}

impl Config {
    /// Makes paths independent of the working directory, which a daemon leaves.
    pub(super) fn make_paths_absolute(&mut self) {
        self.pid_file = self.pid_file.as_deref().map(absolute);
        self.port_file = self.port_file.as_deref().map(absolute);
        if let Some(admin::Config { address: admin::Address::Unix(path), .. }) = &mut self.admin {
            *path = absolute(path);
        }
        self.memory_file = self.memory_file.as_deref().map(absolute);
    }
}

/// `path`, independent of the working directory.
pub(super) fn absolute(path: &Path) -> PathBuf {
    std::path::absolute(path).unwrap_or(path.to_owned())
}

/// How many partitions a store of `memory_limit_bytes` gets when no option says so: more than threads, so that locks
/// seldom meet, but few enough that requests in a row share them and each has pages for its slab classes. A power of two.
pub fn partitions(memory_limit_bytes: usize, threads: usize) -> usize {
    let least = memory_limit_bytes.div_ceil(PARTITION_BYTES_MAX).next_power_of_two();
    let wanted = match threads {
        // Nobody else waits for the lock, and one partition can look for all keys of a batch at once.
        0 | 1 => 1,
        _ => (memory_limit_bytes / PARTITION_BYTES_MIN).clamp(1, PARTITIONS_PER_THREAD * threads),
    };
    (1 << wanted.ilog2()).max(least).min(PARTITIONS_MAX)
}

/// Two workers over four partitions cost 0.77 of what they do over sixteen: requests in a row share their visits.
const PARTITIONS_PER_THREAD: usize = 2;

/// Least memory of a partition.
const PARTITION_BYTES_MIN: usize = 16 << 20;

/// Most memory of a partition, whose items are known by 32-bit numbers.
const PARTITION_BYTES_MAX: usize = 32 << 30;

/// Memory limit from which on huge pages are asked for without `-L`: a smaller cache is found without them.
pub(super) const HUGE_PAGES_LIMIT_MIN: usize = 128 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn partitions_follow_memory_and_threads() {
        assert_eq!(partitions(0, 4), 1);
        assert_eq!(partitions(1 << 30, 1), 1);
        assert_eq!(partitions(64 << 20, 4), 4);
        assert_eq!(partitions(100 << 20, 4), 4);
        assert_eq!(partitions(1 << 30, 4), 8);
        assert_eq!(partitions(1 << 40, 1), 32);
        assert_eq!(partitions(1 << 40, 3), 32);
        assert_eq!(partitions(1 << 50, 1000), 1024);
    }
}
