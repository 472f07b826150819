//! The slabstash daemon.

use std::io::Write;
use std::path::PathBuf;

use slabstash::command::service::ProtocolChoice;
use slabstash::server::{self, Config, ListenItem, UnixSocket};
use slabstash::{command, store};

fn main() {
    let code = match server::run(configure()) {
        Ok(()) => 0,
        Err(failure) => {
            if !failure.message.is_empty() {
                let _ = writeln!(std::io::stderr(), "{}", failure.message);
            }
            failure.exit_code
        }
    };
    std::process::exit(code);
}

/// A minimal command line, `letter=value` words, until the options land.
fn configure() -> Config {
    let mut config = Config {
        tcp_port: Some(11211),
        udp_port: None,
        listen: Vec::new(),
        listen_text: String::new(),
        unix_socket: None,
        protocol: ProtocolChoice::Negotiate,
        backlog: 1024,
        user: None,
        pid_file: None,
        is_daemon: false,
        has_core_files: false,
        is_memory_locked: false,
        port_file: std::env::var_os("MEMCACHED_PORT_FILENAME").map(PathBuf::from),
        verbosity: 0,
        load_logins: None,
        settings_report: Box::new(|_| Vec::new()),
        store: store::Config::default(),
        command: command_config(),
    };
    for word in std::env::args().skip(1) {
        let (name, value) = word.split_once('=').unwrap_or((&word, ""));
        let number = value.parse::<usize>().unwrap_or(0);
        match name {
            "p" => config.tcp_port = Some(number as u16),
            "U" => config.udp_port = Some(number as u16),
            "u" => config.user = Some(value.to_owned()),
            "t" => config.command.threads = number,
            "c" => config.command.max_connections = number,
            "R" => config.command.requests_per_event = number as u32,
            "v" => config.verbosity = number as u8,
            "d" => config.is_daemon = true,
            "k" => config.is_memory_locked = true,
            "r" => config.has_core_files = true,
            "P" => config.pid_file = Some(PathBuf::from(value)),
            "slow" => config.command.is_maxconns_fast = false,
            "idle" => config.command.idle_timeout_seconds = number as u32,
            "buffers" => config.command.read_buffers_max = number,
            "s" => {
                config.unix_socket = Some(UnixSocket {
                    path: PathBuf::from(value),
                    mode: 0o700,
                });
            }
            "l" => {
                config.listen_text = value.to_owned();
                config.listen.push(ListenItem {
                    host: Some(value.to_owned()),
                    port: None,
                    protocol: ProtocolChoice::Negotiate,
                });
            }
            _ => {}
        }
    }
    config
}

fn command_config() -> command::Config {
    command::Config {
        version: "1.6.45".to_owned(),
        is_shutdown_enabled: true,
        is_flush_enabled: true,
        is_dump_enabled: true,
        is_watch_enabled: true,
        has_debug_commands: false,
        is_maxconns_fast: true,
        max_connections: 1024,
        threads: 4,
        requests_per_event: 20,
        idle_timeout_seconds: 0,
        read_buffers_max: 0,
        watcher_buffer_bytes: 256 * 1024,
        prefix_delimiter: b':',
        auth_file: None,
    }
}
