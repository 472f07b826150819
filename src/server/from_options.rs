//! From the command line's options to the settings of the parts.

use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use crate::base::sizes::{MEMCACHED_BUFFER_BYTES, PAGE_BYTES};
use crate::command::service::ProtocolChoice;
use crate::net::tls;
use crate::net::tls::identities::{File, KeyFormat, Policy, Verification};
use crate::options::{self, AdminAddress, Encryption, Host, Options, Port, TlsVersion, VerifyMode};
use crate::sys::sandbox::Needs;
use crate::{admin, command, store};

use super::config::{Config, HUGE_PAGES_LIMIT_MIN, ListenItem, UnixSocket, absolute, partitions};
use super::logins::LoginConfig;
use super::privileges;

impl From<&Options> for Config {
    fn from(options: &Options) -> Self {
        Config {
            tcp_port: port(options.tcp_port),
            udp_port: port(options.udp_port),
            listen: options.listen.iter().map(listen_item).collect(),
            listen_text: options.listen_text.clone(),
            unix_socket: options
                .unix_socket
                .as_ref()
                .map(|path| UnixSocket { path: path.clone(), mode: options.unix_mask & 0o777 }),
            protocol: protocol(options.protocol),
            backlog: options.backlog,
            socket_mark: options.socket_mark,
            user: options.user.clone(),
            pid_file: options.pid_file.clone(),
            is_daemon: options.daemonize,
            has_core_files: options.core_dumps,
            is_memory_locked: options.lock_memory,
            port_file: options.port_file.clone(),
            privileges: privileges_config(options),
            udp_reply_factor: options.udp_reply_factor,
            verbosity: options.verbosity.min(3) as u8,
            is_announced: !options.identity.is_memcached,
            warnings: options.warnings.clone(),
            notes: options.notes.clone(),
            is_detail_enabled: options.detail_enabled,
            memory_file: options.memory_file.clone(),
            warm_restart: options.warm_restart,
            tls: options.tls.is_enabled.then(|| tls_config(&options.tls)),
            logins: logins(options),
            settings_report: options::settings_reporter(options),
            admin: admin_config(options),
            store: store_config(options),
            command: command_config(options),
        }
    }
}

fn port(port: Port) -> Option<u16> {
    match port {
        Port::Off => None,
        Port::Ephemeral => Some(0),
        Port::Number(number) => Some(number),
    }
}

fn protocol(protocol: options::Protocol) -> ProtocolChoice {
    match protocol {
        options::Protocol::Negotiate => ProtocolChoice::Negotiate,
        options::Protocol::Ascii => ProtocolChoice::Text,
        options::Protocol::Binary => ProtocolChoice::Binary,
    }
}

fn listen_item(address: &options::ListenAddress) -> ListenItem {
    ListenItem {
        host: match &address.host {
            Host::Any => None,
            Host::Named(name) => Some(name.clone()),
        },
        port: address.port,
        protocol: address.protocol.map(protocol),
        encryption: match address.encryption {
            Encryption::Default => Some(Policy::Configured),
            Encryption::Plain => None,
            Encryption::NoPeer => Some(Policy::Anonymous),
            Encryption::Peer => Some(Policy::Mutual),
        },
    }
}

fn tls_config(options: &options::Tls) -> tls::Config {
    tls::Config {
        chain: options.chain.as_deref().map(file),
        key: options.key.as_deref().map(file),
        key_format: match options.key_format {
            options::KeyFormat::Pem => KeyFormat::Pem,
            options::KeyFormat::Der => KeyFormat::Der,
            options::KeyFormat::Unknown(_) => KeyFormat::Unknown,
        },
        authorities: options.authorities.as_deref().map(file),
        verification: match options.verify_mode {
            VerifyMode::None => Verification::None,
            VerifyMode::Request => Verification::Optional,
            VerifyMode::Require | VerifyMode::Once => Verification::Required,
        },
        ciphers: options.ciphers.clone(),
        is_tls13_only: options.min_version == TlsVersion::V1_3,
        has_session_cache: options.has_session_cache,
        send_bytes: options.write_buffer_bytes as usize,
    }
}

fn admin_config(options: &Options) -> Option<admin::Config> {
    let address = match options.admin.listen.clone()? {
        AdminAddress::Internet(address) => admin::Address::Internet(address),
        AdminAddress::Unix(path) => admin::Address::Unix(path),
    };
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Some(admin::Config {
        address,
        is_remote_allowed: options.admin.is_remote_allowed,
        shows_keys: options.admin.shows_keys,
        version: options::Identity::VERSION.to_owned(),
        default_settings: options::default_settings(options),
        start_id: admin::Config::random_start_id(),
        started_at_unix: now.as_secs() as i64,
    })
}

/// A file to be read again later, when the working directory may be another.
fn file(path: &Path) -> File {
    File { path: absolute(path), shown: shown(path) }
}

/// What the process needs of the file system while it serves. Parts that read, write or remove files later add theirs.
fn privileges_config(options: &Options) -> privileges::Config {
    let tls = &options.tls;
    let read_again = [tls.chain.as_ref(), tls.key.as_ref(), tls.authorities.as_ref()];
    let password_file = logins(options).map(|config| config.file().to_owned());
    let read_again = read_again.into_iter().filter(|_| tls.is_enabled).chain([password_file.as_ref()]);
    let admin_socket = match &options.admin.listen {
        Some(AdminAddress::Unix(path)) => Some(path),
        _ => None,
    };
    let pid_file = options.pid_file.as_ref().filter(|_| options.daemonize);
    let removed = [options.unix_socket.as_ref(), pid_file, admin_socket];
    // The admin listener shows what the process takes.
    let own_facts = options.admin.listen.as_ref().map(|_| Path::new("/proc/self/status").to_owned());
    let mut needs = Needs {
        read: read_again.flatten().map(|path| absolute(path)).chain(own_facts).collect(),
        remove: removed.into_iter().flatten().map(|path| absolute(path)).collect(),
        write: Vec::new(),
    };
    if let Some(folder) = options.memory_file.as_deref().map(absolute).as_deref().and_then(Path::parent) {
        needs.write.push(folder.to_owned());
    }
    if options.core_dumps {
        needs.write.push(absolute(Path::new(".")));
    }
    privileges::Config { sandbox: options.sandbox, is_relaxed: options.is_sandbox_relaxed, needs }
}

fn store_config(options: &Options) -> store::Config {
    let memory_limit_bytes = options.memory_limit_bytes as usize;
    let defaults = store::Tuning::default();
    let tuning = store::Tuning {
        has_maintainer: options.lru_maintainer,
        policy: options.eviction_policy,
        hot_lru_percent: options.hot_lru_percent,
        warm_lru_percent: options.warm_lru_percent,
        hot_max_factor: options.hot_max_factor,
        warm_max_factor: options.warm_max_factor,
        has_temp_lru: options.temporary_ttl_seconds.is_some(),
        temporary_ttl_seconds: options.temporary_ttl_seconds.unwrap_or(defaults.temporary_ttl_seconds),
        has_crawler: options.lru_crawler,
        crawler_sleep_micros: options.lru_crawler_sleep_micros,
        crawler_items_max: options.lru_crawler_tocrawl,
        automove: options.slab_automove,
        automove_ratio: options.slab_automove_ratio,
        automove_window: options.slab_automove_window,
        ..defaults
    };
    store::Config {
        memory_limit_bytes,
        page_bytes: PAGE_BYTES,
        hash_seed: None,
        item_size_max: options.item_size_max as usize,
        chunk_size_min: options.chunk_size_min as usize,
        growth_factor: options.growth_factor,
        slab_chunk_max: options.slab_chunk_max as usize,
        slab_sizes: options.slab_sizes.clone(),
        has_evictions: options.evictions,
        has_cas: options.cas,
        partitions: match options.partitions {
            0 => partitions(memory_limit_bytes, options.threads),
            count => count as usize,
        },
        has_huge_pages: options.large_pages || memory_limit_bytes >= HUGE_PAGES_LIMIT_MIN,
        has_size_tracking: options.track_sizes,
        has_slab_reassign: options.slab_reassign,
        malloced_bytes_initial: options.initial_malloc_bytes as usize,
        tuning,
    }
}

fn command_config(options: &Options) -> command::Config {
    let threads = options.threads.max(1);
    command::Config {
        version: options::Identity::MEMCACHED_VERSION.to_owned(),
        is_shutdown_enabled: options.shutdown_command,
        is_flush_enabled: options.flush_enabled,
        is_dump_enabled: options.dump_enabled,
        is_watch_enabled: options.watch_enabled,
        has_debug_commands: options.debug_commands,
        is_maxconns_fast: options.maxconns_fast,
        max_connections: options.max_connections as usize,
        threads,
        requests_per_event: options.requests_per_event,
        idle_timeout_seconds: options.idle_timeout_seconds,
        read_buffers_max: match options.read_buffer_limit_bytes / threads as u64 / MEMCACHED_BUFFER_BYTES as u64 {
            0 if options.read_buffer_limit_bytes > 0 => 1,
            count => count as usize,
        },
        watcher_buffer_bytes: options.watcher_buffer_bytes as usize,
        prefix_delimiter: options.prefix_delimiter,
    }
}

/// With both, `-Y` decides: then no listener speaks the binary protocol.
fn logins(options: &Options) -> Option<LoginConfig> {
    if let Some(file) = &options.auth_file {
        return Some(LoginConfig::Text { file: absolute(file) });
    }
    let file = options.sasl_password_file.as_ref().filter(|_| options.has_sasl)?;
    Some(LoginConfig::Sasl { file: absolute(file), folders: options.sasl_configuration.clone() })
}

fn shown(path: &Path) -> String {
    path.display().to_string()
}
