//! Layer 5: start, signals, ordered stop.
//!
//! Start, in memcached's order: background process, certificates (root may read more), limits, user, locked memory, logins,
//! sockets, pid file, threads. In between and last the process gives up what it does not need: files before the threads,
//! system calls after them. Whatever fails before the first client could connect ends the process with a message and
//! memcached's exit code.
//!
//! Stop: who has connected is accepted and the listeners are closed, the Unix socket's file is removed, workers answer what
//! was received, for less than a second, then the cache is kept, if it is to be ([`restart`]); a second signal waits for none
//! of that.

mod activation;
pub mod config;
mod from_options;
mod logging;
mod logins;
pub mod privileges;
mod restart;
mod sockets;
mod supervision;

use std::io;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded};

use crate::admin;
use crate::base::sizes::DESCRIPTORS_PER_THREAD;
use crate::base::sync::{Arc, AtomicU8, AtomicU32, CachePadded};
use crate::command::login::Logins;
use crate::command::service::Certificates;
use crate::command::{Control, Service};
use crate::net::acceptor::{Acceptor, Stopper};
use crate::net::inbox::Inbox;
use crate::net::tls::Identities;
use crate::net::udp::Endpoint;
use crate::net::worker::Worker;
use crate::options::{EXIT_FAILURE, EXIT_NO_USER, EXIT_NOT_SAVED, EXIT_SYSTEM, EXIT_USAGE};
use crate::stats::connections::{ConnectionEntry, ConnectionState, ConnectionTable};
use crate::stats::counters::WorkerCounters;
use crate::stats::events::EventHub;
use crate::stats::observation::WorkerObservation;
use crate::stats::prefix::PrefixTable;
use crate::sys::daemon::{self, Side};
use crate::sys::inherited::{self, Inherited, take_named};
use crate::sys::service_manager::ServiceManager;
use crate::sys::signals::{Signal, Signals, raise};
use crate::sys::user::{self, UserError};
use crate::sys::{error_text, limits, pid_file};

pub use config::{Config, ListenItem, UnixSocket, partitions};
pub use logins::LoginConfig;
use privileges::{Privileges, Restricted};
use restart::{Begun, KEPT_NAME, Keeper};
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
    let inherited =
        inherited::take().map_err(|error| Failure::system("cannot take the service manager's sockets", &error))?;
    let manager = Arc::new(service_manager());
    if config.is_daemon && (manager.is_there() || !inherited.is_empty()) {
        config.notes.push("-d has no meaning under a service manager: it watches this very process".to_owned());
        config.is_daemon = false;
    }
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
    let privileges = Privileges::new(config.privileges.clone());
    let running = Running::start(config, identities, &privileges, manager, inherited)?;
    let background = background.map(|background| background.prepare(keeps.0));
    if let Err(failure) = privileges.filter_calls() {
        let _ = running.stop(Signal::Stop);
        return Err(failure);
    }
    running.announce(&privileges.text());
    if let Some(background) = background
        && let Err(error) = background.and_then(|detachable| detachable.detach(keeps.1))
    {
        log::warn!("cannot detach: {}", error_text(&error));
    }
    running.serve(&mut signals)
}

/// The service manager; one that cannot be reached is none.
fn service_manager() -> ServiceManager {
    ServiceManager::from_environment().unwrap_or_else(|error| {
        log::warn!("cannot reach the service manager (NOTIFY_SOCKET): {}", error_text(&error));
        ServiceManager::default()
    })
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
    if config.has_core_files
        && let Err(error) = limits::allow_dumping()
    {
        log::warn!("-r: there will be no core file: {}", error_text(&error));
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
    manager: Arc<ServiceManager>,
    keeper: Keeper,
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
    fn start(
        mut config: Config,
        identities: Option<Arc<Identities>>,
        privileges: &Privileges,
        manager: Arc<ServiceManager>,
        mut inherited: Vec<Inherited>,
    ) -> Result<Self, Failure> {
        config.make_paths_absolute();
        let (logins, verifier) = config.logins.clone().map(logins::open).transpose()?.unzip();
        let sockets = match activation::sockets(&config, identities.as_ref(), &mut inherited)? {
            Some(sockets) => {
                // Its file is the service manager's to remove.
                config.unix_socket = None;
                sockets
            }
            None => Sockets::open(&config, identities.as_ref())?,
        };
        let kept = take_named(&mut inherited, KEPT_NAME);
        for Inherited { name, .. } in inherited {
            log::info!("nobody knows the service manager's descriptor {name}; it is closed");
        }
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
        config.settings_report = privileges.report(config.settings_report);
        let reply_factor = config.udp_reply_factor;
        // Last of what can fail, since a kept cache is used once.
        let is_managed = restart::is_wanted(config.warm_restart, &manager);
        let mut keeper = Keeper::new(config.memory_file.as_deref(), is_managed, kept, &manager)?;
        let events = Arc::new(EventHub::default());
        let begun = keeper.begin(&config.store, &events, threads, &manager)?;
        let service = Arc::new(service(config, logins, identities, events, begun));
        for remark in pid_path.as_deref().map(pid_file::write).unwrap_or_default() {
            logging::say(&remark);
        }
        let restricted = privileges.restrict_files();
        let fail = |error| Failure::system("cannot start threads", &error);
        verifier.map(|verifier| verifier.start(&restricted)).transpose().map_err(fail)?;
        // Before anybody is served, so that its history begins with the first request.
        let admin = admin.map(|(listener, config)| start_admin(listener, config, &service)).transpose()?;
        let (stopper, inboxes, ended) =
            start_threads(&service, sockets, send_bytes, reply_factor, &restricted).map_err(fail)?;
        Ok(Self {
            service,
            stopper,
            inboxes,
            ended,
            manager,
            keeper,
            socket_file,
            pid_file: pid_path.filter(|_| is_daemon),
            address: is_announced.then_some(address),
            admin,
        })
    }

    fn announce(&self, privileges: &str) {
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
            logging::say(privileges);
        } else {
            log::info!("{privileges}");
        }
    }

    /// Obeys signals until one says stop, then stops. The error is that of keeping the cache.
    fn serve(self, signals: &mut Signals) -> Result<(), Failure> {
        let supervision = supervision::start(&self.manager, &self.service, &self.inboxes, &self.stopper);
        self.manager.ready(&supervision::status(&self.service));
        let signal = loop {
            match signals.wait() {
                Some(Signal::Reload) => {
                    self.manager.reloading();
                    self.reload();
                    self.manager.ready(&supervision::status(&self.service));
                }
                Some(Signal::StopGracefully) => {
                    logging::say("Gracefully stopping");
                    break Signal::StopGracefully;
                }
                Some(Signal::Stop) | None => break Signal::Stop,
            }
        };
        signals.arm();
        drop(supervision);
        self.manager.stopping();
        self.stop(signal)?;
        log::info!("Exiting normally");
        Ok(())
    }

    fn reload(&self) {
        if let Some(certificates) = &self.service.certificates
            && let Err(text) = certificates.refresh(self.service.clock.now())
        {
            log::warn!("Could not reload TLS certificates on SIGHUP: {text}");
        }
        if let Some(logins) = &self.service.logins
            && let Err(text) = logins.reload()
        {
            log::warn!("{text}");
        }
    }

    fn stop(self, signal: Signal) -> Result<(), Failure> {
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
        let is_kept = self.keeper.is_for(signal);
        let end = await_threads(&self.ended, is_kept, || self.inboxes.iter().for_each(|inbox| inbox.stop()));
        let kept = match end {
            _ if !is_kept => Ok(()),
            // What a thread still serves may be newer than what is saved.
            End::Late => {
                Err(Failure::new(EXIT_NOT_SAVED, "[restart] a thread does not end, so the cache is not saved"))
            }
            End::All => self.keeper.save(&self.service, &self.manager),
        };
        if let Some(remark) = self.pid_file.as_deref().and_then(pid_file::remove) {
            logging::say(&remark);
        }
        kept
    }
}

/// How a wait for the threads came out.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum End {
    /// All have ended.
    All,
    /// The time is up.
    Late,
}

/// Waits for the end of all threads, longer when the cache is to be kept. The acceptor tells the workers to stop; after a
/// while without it `tell_workers` does.
fn await_threads(ended: &Receiver<()>, is_kept: bool, tell_workers: impl FnOnce()) -> End {
    let deadline = Instant::now() + if is_kept { KEEP_TIMEOUT } else { STOP_TIMEOUT };
    // The results are errors either way: the last thread has ended, or the time is up.
    if ended.recv_timeout(ACCEPTOR_TIMEOUT) == Err(RecvTimeoutError::Timeout) {
        // The acceptor has told them, unless it ended long ago.
        tell_workers();
    }
    match ended.recv_deadline(deadline) {
        Err(RecvTimeoutError::Timeout) => End::Late,
        _ => End::All,
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

fn service(
    config: Config,
    logins: Option<Logins>,
    identities: Option<Arc<Identities>>,
    events: Arc<EventHub>,
    begun: Begun,
) -> Service {
    let workers = (0..config.command.threads).map(|_| Arc::new(CachePadded::new(WorkerCounters::default())));
    let observations = || (0..config.command.threads).map(|_| CachePadded::new(WorkerObservation::default()));
    Service {
        store: begun.store,
        workers: workers.collect(),
        observations: config.admin.is_some().then(|| observations().collect()),
        prefixes: PrefixTable::new(config.command.prefix_delimiter, config.is_detail_enabled),
        config: config.command,
        clock: Arc::new(begun.clock),
        connections: ConnectionTable::default(),
        events,
        control: Box::new(|control| match control {
            Control::Shutdown => raise(Signal::Stop),
            Control::ShutdownGracefully => raise(Signal::StopGracefully),
            Control::Verbosity(verbosity) => logging::set_verbosity(verbosity),
        }),
        verbosity: AtomicU8::new(config.verbosity),
        settings_report: config.settings_report,
        logins,
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

fn start_threads(
    service: &Arc<Service>,
    sockets: Sockets,
    send_bytes: Option<usize>,
    reply_factor: u32,
    _restricted: &Restricted,
) -> io::Result<Threads> {
    let threads = service.config.threads;
    let mut workers = Vec::with_capacity(threads);
    for index in 0..threads {
        workers.push(Worker::new(index, Arc::clone(service), send_bytes)?);
    }
    for (index, endpoint) in sockets.endpoints.into_iter().enumerate() {
        workers[index % threads].add_endpoint(open_endpoint(service, endpoint, reply_factor))?;
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

fn open_endpoint(service: &Service, endpoint: UdpEndpoint, reply_factor: u32) -> Endpoint {
    let entry = service.connections.open(ConnectionEntry::new(
        endpoint.descriptor,
        endpoint.text.into(),
        "".into(),
        ConnectionState::Read,
        service.clock.now().seconds,
    ));
    log::debug!("<{} server listening (udp)", endpoint.descriptor);
    Endpoint::new(endpoint.socket, endpoint.protocol, reply_factor, entry)
}

/// How long the acceptor may take to stop the workers.
const ACCEPTOR_TIMEOUT: Duration = Duration::from_millis(100);
/// How long threads may take to finish when the cache is to be kept.
const KEEP_TIMEOUT: Duration = Duration::from_secs(10);
/// How long threads may take to finish.
const STOP_TIMEOUT: Duration = Duration::from_millis(800);

#[cfg(test)]
mod tests {
    use super::*;

    /// How the wait ended, and when the workers were told and it was over.
    fn wait(is_kept: bool, threads: Option<Duration>) -> (End, Option<Duration>, Duration) {
        let (sender, ended) = bounded::<()>(0);
        let begin = Instant::now();
        let thread = thread::spawn(move || {
            thread::sleep(threads.unwrap_or(STOP_TIMEOUT + Duration::from_millis(300)));
            drop(sender);
        });
        let mut told = None;
        let end = await_threads(&ended, is_kept, || told = Some(begin.elapsed()));
        let over = begin.elapsed();
        thread.join().expect("no panic");
        (end, told, over)
    }

    /// Here the time is the subject.
    #[test]
    fn threads_that_do_not_end_are_waited_for_so_long() {
        let (end, told, _) = wait(false, Some(Duration::ZERO));
        assert_eq!((end, told), (End::All, None));
        let (end, told, over) = wait(false, None);
        assert_eq!(end, End::Late);
        let told = told.expect("nobody else told them");
        assert!(told >= ACCEPTOR_TIMEOUT && told < STOP_TIMEOUT, "{told:?}");
        assert!(over >= STOP_TIMEOUT && over < STOP_TIMEOUT + Duration::from_millis(280), "{over:?}");
        // A cache is worth a longer wait.
        assert_eq!(wait(true, None).0, End::All);
    }
}
