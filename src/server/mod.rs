//! Layer 5: start, signals, ordered stop.
//!
//! Start, in memcached's order: background process, certificates (root may read more), limits, user, locked memory, logins, sockets, threads, pid file.
//! Whatever fails before the first client could connect ends the process with a message and memcached's exit code.
//!
//! Stop: listeners are closed, the Unix socket's file is removed, workers finish the replies of requests they have
//! read, for less than a second; a second signal does not wait for that.

pub mod config;
mod from_options;
mod logging;
mod sockets;

use std::io;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use crossbeam::channel::{Receiver, Sender, bounded};

use crate::admin;
use crate::base::sync::{Arc, AtomicU8, AtomicU32, CachePadded, Mutex};
use crate::base::time::Clock;
use crate::command::service::{Certificates, Logins};
use crate::command::{Control, Service};
use crate::net::acceptor::{Acceptor, Stopper};
use crate::net::inbox::Inbox;
use crate::net::tls::Identities;
use crate::net::udp::Endpoint;
use crate::net::worker::Worker;
use crate::options::{EXIT_FAILURE, EXIT_NO_USER, EXIT_SYSTEM, EXIT_USAGE};
use crate::stats::connections::{ConnectionEntry, ConnectionState, ConnectionTable};
use crate::stats::counters::WorkerCounters;
use crate::stats::events::EventHub;
use crate::stats::observation::WorkerObservation;
use crate::stats::prefix::PrefixTable;
use crate::store::Store;
use crate::sys::daemon::{self, Side};
use crate::sys::signals::{Signal, Signals, raise};
use crate::sys::user::{self, UserError};
use crate::sys::{error_text, limits, pid_file};

pub use config::{Config, ListenItem, LoadLogins, UnixSocket, partitions};
use sockets::{Sockets, UdpEndpoint};

/// Why the server did not start.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Failure {
    /// What to print to standard error, without a last line end; may be empty.
    pub message: String,
    /// The process' exit code.
    pub exit_code: i32,
}

impl Failure {
    fn new(exit_code: i32, message: impl Into<String>) -> Self {
        Self { message: message.into(), exit_code }
    }

    fn system(what: &str, error: &io::Error) -> Self {
        Self::new(EXIT_SYSTEM, format!("{what}: {}", error_text(error)))
    }
}

/// Runs the server until it is stopped. The result is the process' end, apart from the foreground process of `-d`,
/// which ends here when the background one is ready.
pub fn run(mut config: Config) -> Result<(), Failure> {
    logging::start(config.verbosity);
    let background = match config.is_daemon {
        false => None,
        true => match daemon::start() {
            Ok(Side::Background(background)) => Some(background),
            Ok(Side::Foreground { exit_code: 0 }) => return Ok(()),
            Ok(Side::Foreground { exit_code }) => return Err(Failure::new(exit_code, "")),
            Err(error) => {
                return Err(Failure::system("failed to daemon() in order to daemonize", &error));
            }
        },
    };
    // With `-d` the foreground process has left by now, so each of them is said once.
    for warning in &config.warnings {
        logging::say(warning);
    }
    for note in &config.notes {
        log::warn!("{note}");
    }
    // Before the user changes: private keys are root's, mostly.
    let identities = config.tls.take().map(Identities::load).transpose();
    let identities = identities.map_err(|text| Failure::new(EXIT_USAGE, text))?.map(Arc::new);
    prepare_process(&config)?;
    let mut signals = Signals::new().map_err(|error| Failure::system("cannot take signals", &error))?;
    let keeps = (config.has_core_files, config.verbosity > 0);
    let running = Running::start(config, identities)?;
    running.announce();
    if let Some(background) = background
        && let Err(error) = background.detach(keeps.0, keeps.1)
    {
        log::warn!("cannot detach: {}", error_text(&error));
    }
    running.serve(&mut signals);
    Ok(())
}

/// Limits, user, locked memory.
fn prepare_process(config: &Config) -> Result<(), Failure> {
    if config.has_core_files {
        limits::allow_core_files().map_err(|_| Failure::new(EXIT_SYSTEM, "failed to ensure corefile creation"))?;
    }
    limits::set_descriptors(config.command.max_connections as u64).map_err(|_| {
        Failure::new(
            EXIT_SYSTEM,
            "failed to set rlimit for open files. Try starting as root or requesting smaller \
             maxconns value.",
        )
    })?;
    if let (true, Some(name)) = (user::is_root(), &config.user) {
        user::become_user(name).map_err(|error| match error {
            UserError::Unknown => Failure::new(EXIT_NO_USER, format!("can't find the user {name} to switch to")),
            UserError::Groups => Failure::new(EXIT_SYSTEM, "failed to drop supplementary groups"),
            UserError::User => Failure::new(EXIT_SYSTEM, format!("failed to assume identity of user {name}")),
        })?;
    }
    if config.is_memory_locked
        && let Err(error) = limits::lock_memory()
    {
        let text = error_text(&error);
        logging::say(&format!("warning: -k invalid, mlockall() failed: {text}"));
    }
    Ok(())
}

/// A server that serves.
struct Running {
    service: Arc<Service>,
    stopper: Arc<Stopper>,
    inboxes: Vec<Arc<Inbox>>,
    /// Closed when the last thread has ended.
    ended: Receiver<()>,
    load_logins: Option<Box<LoadLogins>>,
    /// `-s` and `-P`, to be removed at the end.
    socket_file: Option<PathBuf>,
    pid_file: Option<PathBuf>,
    /// Where it serves, if that is to be said.
    address: Option<String>,
    admin: Option<Admin>,
}

/// The admin listener at work.
struct Admin {
    stopper: Arc<admin::Stopper>,
    address: admin::Address,
}

impl Running {
    fn start(mut config: Config, identities: Option<Arc<Identities>>) -> Result<Self, Failure> {
        config.make_paths_absolute();
        let load_logins = config.load_logins.take();
        let logins = match &load_logins {
            Some(load) => Some(Arc::new(load().map_err(|text| Failure::new(EXIT_FAILURE, text))?)),
            None => None,
        };
        let sockets = Sockets::open(&config, identities.as_ref())?;
        let admin = config.admin.clone().map(open_admin).transpose()?;
        let threads = config.command.threads;
        let descriptors = sockets.listeners.len() + DESCRIPTORS_PER_THREAD * threads;
        if descriptors >= config.command.max_connections.saturating_sub(1) {
            let text = "Maxconns setting is too low, use -c to increase.";
            return Err(Failure::new(EXIT_FAILURE, text));
        }
        if let Some(path) = &config.port_file {
            sockets.write_port_file(path)?;
        }
        let address = sockets.text();
        let unix_socket = config.unix_socket.take();
        let socket_file = unix_socket.map(|unix| config::absolute(&unix.path));
        let pid_path = config.pid_file.take();
        let is_daemon = config.is_daemon;
        let is_announced = config.is_announced;
        let send_bytes = identities.as_ref().map(|identities| identities.send_bytes());
        let service = Arc::new(service(config, logins, identities));
        let (stopper, inboxes, ended) = start_threads(&service, sockets, send_bytes)
            .map_err(|error| Failure::system("cannot start threads", &error))?;
        let admin = admin.map(|(listener, config)| start_admin(listener, config, &service)).transpose()?;
        for remark in pid_path.as_deref().map(pid_file::write).unwrap_or_default() {
            logging::say(&remark);
        }
        Ok(Self {
            service,
            stopper,
            inboxes,
            ended,
            load_logins,
            socket_file,
            pid_file: pid_path.filter(|_| is_daemon),
            address: is_announced.then_some(address),
            admin,
        })
    }

    fn announce(&self) {
        if log::log_enabled!(log::Level::Debug) {
            for class in self.service.store.snapshot().classes {
                let (number, bytes, count) = (class.class, class.chunk_bytes, class.chunks_per_page);
                log::debug!("slab class {number:3}: chunk size {bytes:9} perslab {count:7}");
            }
        }
        if let Some(address) = &self.address {
            let (process, workers) = (std::process::id(), self.inboxes.len());
            logging::say(&format!("slabstash is serving on {address} (pid {process}, {workers} workers)"));
            if let Some(admin) = &self.admin {
                logging::say(&format!("metrics and dashboard are on {}", admin.address));
            }
        }
    }

    /// Obeys signals until one says stop, then stops.
    fn serve(self, signals: &mut Signals) {
        loop {
            match signals.wait() {
                Some(Signal::Reload) => self.reload(),
                Some(Signal::StopGracefully) => {
                    logging::say("Gracefully stopping");
                    break;
                }
                Some(Signal::Stop) | None => break,
            }
        }
        signals.arm();
        self.stop();
        log::info!("Exiting normally");
    }

    fn reload(&self) {
        if let Some(certificates) = &self.service.certificates
            && let Err(text) = certificates.refresh(self.service.clock.now())
        {
            log::warn!("Could not reload TLS certificates on SIGHUP: {text}");
        }
        let Some(load) = &self.load_logins else {
            return;
        };
        match load() {
            Ok(logins) => *self.service.logins.lock() = Some(Arc::new(logins)),
            Err(text) => log::warn!("{text}"),
        }
    }

    fn stop(self) {
        if let Some(admin) = &self.admin {
            admin.stopper.stop();
            if let admin::Address::Unix(path) = &admin.address {
                remove_socket(path);
            }
        }
        self.stopper.stop();
        if let Some(path) = &self.socket_file {
            remove_socket(path);
        }
        if let Some(remark) = self.pid_file.as_deref().and_then(pid_file::remove) {
            logging::say(&remark);
        }
        for inbox in &self.inboxes {
            inbox.stop();
        }
        // The result is an error either way: the last thread has ended, or the time is up.
        let _ = self.ended.recv_deadline(Instant::now() + STOP_TIMEOUT);
    }
}

/// Opens the admin listener's socket; it is served later, when the threads start.
fn open_admin(mut config: admin::Config) -> Result<(admin::Listener, admin::Config), Failure> {
    let listener = admin::Listener::open(&config.address)
        .map_err(|error| Failure::system(&format!("failed to listen on admin_listen={}", config.address), &error))?;
    config.address = listener.address(&config.address);
    Ok((listener, config))
}

fn start_admin(listener: admin::Listener, config: admin::Config, service: &Arc<Service>) -> Result<Admin, Failure> {
    let address = config.address.clone();
    let stopper = admin::start(listener, config, Arc::clone(service))
        .map_err(|error| Failure::system("cannot start the admin listener", &error))?;
    Ok(Admin { stopper, address })
}

fn remove_socket(path: &Path) {
    if let Err(error) = std::fs::remove_file(path) {
        let text = error_text(&error);
        log::info!("cannot remove {}: {text}", path.display());
    }
}

fn service(config: Config, logins: Option<Arc<Logins>>, identities: Option<Arc<Identities>>) -> Service {
    let events = Arc::new(EventHub::default());
    let workers = (0..config.command.threads).map(|_| CachePadded::new(WorkerCounters::default()));
    let observations = || (0..config.command.threads).map(|_| CachePadded::new(WorkerObservation::default()));
    Service {
        store: Store::new(config.store, Arc::clone(&events)),
        workers: workers.collect(),
        observations: config.admin.is_some().then(|| observations().collect()),
        prefixes: PrefixTable::new(config.command.prefix_delimiter, config.is_detail_enabled),
        config: config.command,
        clock: Arc::new(Clock::start()),
        connections: ConnectionTable::default(),
        events,
        control: Box::new(|control| match control {
            Control::Shutdown => raise(Signal::Stop),
            Control::ShutdownGracefully => raise(Signal::StopGracefully),
            Control::Verbosity(verbosity) => logging::set_verbosity(verbosity),
        }),
        verbosity: AtomicU8::new(config.verbosity),
        settings_report: config.settings_report,
        logins: Mutex::new(logins),
        certificates: identities.map(|identities| Certificates {
            has_session_cache: identities.has_session_cache(),
            ends_at_unix: {
                let identities = Arc::clone(&identities);
                Box::new(move || identities.ends_at_unix())
            },
            reload: Box::new(move || identities.reload()),
            read_at_seconds: AtomicU32::new(0),
        }),
    }
}

type Threads = (Arc<Stopper>, Vec<Arc<Inbox>>, Receiver<()>);

fn start_threads(service: &Arc<Service>, sockets: Sockets, send_bytes: Option<usize>) -> io::Result<Threads> {
    let threads = service.config.threads;
    let mut workers = Vec::with_capacity(threads);
    for index in 0..threads {
        workers.push(Worker::new(index, Arc::clone(service), send_bytes)?);
    }
    for (index, endpoint) in sockets.endpoints.into_iter().enumerate() {
        workers[index % threads].add_endpoint(open_endpoint(service, endpoint))?;
    }
    let inboxes: Vec<_> = workers.iter().map(Worker::inbox).collect();
    let acceptor = Acceptor::new(Arc::clone(service), sockets.listeners, inboxes.clone())?;
    let stopper = acceptor.stopper();
    let (ending, ended) = bounded(0);
    for (index, worker) in workers.into_iter().enumerate() {
        spawn(format!("worker {index}"), &ending, move || worker.run())?;
    }
    spawn("acceptor".to_owned(), &ending, move || acceptor.run())?;
    Ok((stopper, inboxes, ended))
}

/// Starts a thread that holds a clone of `ending` as long as it runs.
fn spawn(name: String, ending: &Sender<()>, run: impl FnOnce() + Send + 'static) -> io::Result<()> {
    let ending = ending.clone();
    thread::Builder::new().name(name).spawn(move || {
        run();
        drop(ending);
    })?;
    Ok(())
}

fn open_endpoint(service: &Service, endpoint: UdpEndpoint) -> Endpoint {
    let entry = service.connections.open(ConnectionEntry::new(
        endpoint.descriptor,
        endpoint.text.into(),
        "".into(),
        ConnectionState::Read,
        service.clock.now().seconds,
    ));
    log::debug!("<{} server listening (udp)", endpoint.descriptor);
    Endpoint::new(endpoint.socket, endpoint.protocol, entry)
}

/// What memcached counts for each thread besides connections.
const DESCRIPTORS_PER_THREAD: usize = 5;
/// How long threads may take to finish.
const STOP_TIMEOUT: Duration = Duration::from_millis(800);
