//! Layer 4: the admin listener. What the server knows of itself, by HTTP, on an address of its own: `/metrics` for
//! Prometheus, `/stats.json` and `/history.json` for the dashboard at `/`, `/healthz` and `/readyz`. It changes nothing,
//! shows no values, and shows names of keys only when that is allowed.
//!
//! One thread of its own serves it, beside the workers: it waits for its sockets and once a second for the clock, when it
//! adds a row to the history. Everything is bounded: connections, bytes of a request, time.
//!
//! | file | what |
//! |---|---|
//! | `socket`, `client`, `http` | the listener; one connection; requests and answers |
//! | `body` | an answer while it is being written |
//! | `facts` | all that is known, gathered once for an answer |
//! | `exporter`, `own`, `text` | `/metrics`: the exporter's metrics, our own, the format |
//! | `document`, `json`, `warnings` | `/stats.json` |
//! | `history` | `/history.json`: seconds and minutes in rings |
//! | `health` | `/healthz`, `/readyz` |
//! | `page` | the files of the dashboard |

mod body;
mod client;
mod document;
mod exporter;
mod facts;
mod health;
mod history;
mod http;
mod json;
mod own;
mod page;
mod socket;
mod text;
mod warnings;

use std::hash::{BuildHasher, Hasher, RandomState};
use std::io::{self, ErrorKind};
use std::thread;
use std::time::{Duration, Instant};

use mio::{Events, Interest, Poll, Token};
use slab::Slab;

use crate::base::sync::{Arc, AtomicBool, Ordering, Waker};
use crate::command::Service;

use body::NoMemory;
use client::{Client, Next};
use facts::{Curtain, Facts};
use health::Health;
use history::History;
use http::{Answer, Hosts, Outcome, Request, Status};

pub use socket::{Address, Listener};

/// Version of the JSON documents.
const SCHEMA: u32 = 1;

/// What the admin listener is told.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where it listens.
    pub address: Address,
    /// It may be known by a name, since other machines reach it.
    pub is_remote_allowed: bool,
    /// Names of keys and prefixes are shown.
    pub shows_keys: bool,
    /// This program's version.
    pub version: String,
    /// `stats settings` of a server without options.
    pub default_settings: Vec<(&'static str, String)>,
    /// Another one for each start.
    pub start_id: String,
    /// Unix time of the start.
    pub started_at_unix: i64,
}

impl Config {
    /// A random `start_id`.
    pub fn random_start_id() -> String {
        format!("{:016x}", RandomState::new().build_hasher().finish())
    }
}

/// Tells the listener that the server is about to end.
#[derive(Debug)]
pub struct Stopper {
    is_stopping: AtomicBool,
    waker: Waker,
}

impl Stopper {
    /// From now on `/readyz` says that the server stops.
    pub fn stop(&self) {
        self.is_stopping.store(true, Ordering::SeqCst);
        if let Err(error) = self.waker.wake() {
            log::warn!("cannot wake the admin listener: {error}");
        }
    }
}

/// Serves on a thread of its own until the process ends.
pub fn start(listener: Listener, config: Config, service: Arc<Service>) -> io::Result<Arc<Stopper>> {
    let admin = Admin::new(listener, config, service)?;
    let stopper = Arc::clone(&admin.stopper);
    thread::Builder::new().name("admin".to_owned()).spawn(move || admin.run())?;
    Ok(stopper)
}

/// The thread's state.
struct Admin {
    service: Arc<Service>,
    poll: Poll,
    stopper: Arc<Stopper>,
    listener: Listener,
    /// Connections may wait to be accepted.
    is_pending: bool,
    /// clients.len() <= CLIENTS_MAX
    clients: Slab<Client>,
    content: Content,
    tick_at: Instant,
}

/// What answers are made of.
struct Content {
    config: Config,
    curtain: Curtain,
    history: History,
    health: Health,
}

impl Admin {
    fn new(mut listener: Listener, config: Config, service: Arc<Service>) -> io::Result<Self> {
        let poll = Poll::new()?;
        poll.registry().register(listener.source(), LISTENER, Interest::READABLE)?;
        let waker = Waker::new(poll.registry(), WAKER)?;
        let content = Content {
            curtain: Curtain::new(config.shows_keys),
            history: History::new(&service),
            health: Health::default(),
            config,
        };
        Ok(Self {
            stopper: Arc::new(Stopper { is_stopping: AtomicBool::new(false), waker }),
            service,
            poll,
            listener,
            is_pending: true,
            clients: Slab::new(),
            content,
            tick_at: Instant::now() + TICK,
        })
    }

    fn run(mut self) {
        let mut events = Events::with_capacity(64);
        loop {
            let timeout = self.wake_at().saturating_duration_since(Instant::now());
            if let Err(error) = self.poll.poll(&mut events, Some(timeout))
                && error.kind() != ErrorKind::Interrupted
            {
                log::error!("admin listener: poll: {error}");
                return;
            }
            let now = Instant::now();
            if self.stopper.is_stopping.load(Ordering::SeqCst) {
                self.content.health.stop();
            }
            self.tick(now);
            for event in &events {
                match event.token() {
                    LISTENER => self.is_pending = true,
                    WAKER => {}
                    Token(key) => self.advance(key, now),
                }
            }
            self.accept(now);
            self.clients.retain(|_, client| client.deadline > now);
        }
    }

    fn wake_at(&self) -> Instant {
        let deadlines = self.clients.iter().map(|(_, client)| client.deadline);
        deadlines.fold(self.tick_at, Instant::min)
    }

    /// Ends the seconds that have passed.
    fn tick(&mut self, now: Instant) {
        if now < self.tick_at {
            return;
        }
        let seconds = now.duration_since(self.tick_at).as_secs() + 1;
        self.tick_at += TICK * u32::try_from(seconds).unwrap_or(u32::MAX);
        self.content.health.tick(seconds, &self.service);
        self.content.history.tick(seconds, &self.service);
        for observation in self.service.observations.iter().flatten() {
            for _ in 0..fading_seconds(seconds) {
                observation.hot_keys.lock().fade();
            }
        }
        for _ in 0..fading_seconds(seconds) {
            self.service.prefixes.fade_sampled();
        }
        // Descriptors may have become free since accepting failed.
        self.is_pending = true;
    }

    fn accept(&mut self, now: Instant) {
        while self.is_pending {
            let mut stream = match self.listener.accept() {
                Ok(stream) => stream,
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) if error.kind() == ErrorKind::ConnectionAborted => continue,
                // With anything but EAGAIN it is tried again at the next tick.
                Err(_) => {
                    self.is_pending = false;
                    return;
                }
            };
            self.make_room();
            let vacant = self.clients.vacant_entry();
            let key = vacant.key();
            if stream.register(self.poll.registry(), Token(key)).is_ok() {
                vacant.insert(Client::new(stream, now));
                self.advance(key, now);
            }
        }
    }

    /// Makes room for one more connection: of those that keep the listener waiting the one that does so for longest has to
    /// go, so that nobody can shut the others out by doing nothing.
    fn make_room(&mut self) {
        if self.clients.len() < CLIENTS_MAX {
            return;
        }
        let slowest = self.clients.iter().min_by_key(|(_, client)| (!client.is_reading(), client.deadline));
        if let Some(key) = slowest.map(|(key, _)| key) {
            self.clients.remove(key);
        }
    }

    fn advance(&mut self, key: usize, now: Instant) {
        let hosts = match (&self.content.config.address, self.content.config.is_remote_allowed) {
            (Address::Internet(_), false) => Hosts::Local,
            _ => Hosts::Any,
        };
        let (content, service) = (&self.content, &self.service);
        let Some(client) = self.clients.get_mut(key) else {
            return;
        };
        if client.advance(now, hosts, &mut |outcome| content.answer(outcome, service)) == Next::Close {
            self.clients.remove(key);
        }
    }
}

impl Content {
    fn answer(&self, outcome: &Outcome, service: &Service) -> Vec<u8> {
        match outcome {
            Outcome::Request(request) => self.route(request, service).bytes(request.is_head),
            Outcome::Refused(status) => Answer::status(*status).bytes(false),
            Outcome::Partial => Answer::status(Status::BadRequest).bytes(false),
        }
    }

    fn route(&self, request: &Request, service: &Service) -> Answer {
        let health = |answer: health::Answer| {
            let status = if answer.is_well { Status::Ok } else { Status::Unavailable };
            Answer::new(status, http::TEXT, answer.text)
        };
        let made = |content_type, text: Result<String, NoMemory>| match text {
            Ok(text) => Answer::new(Status::Ok, content_type, text),
            Err(NoMemory) => Answer::status(Status::Unavailable),
        };
        match request.path.as_str() {
            "/metrics" => made(http::PROMETHEUS, self.metrics(service)),
            "/stats.json" => made(http::JSON, self.stats(service)),
            "/history.json" => match after(&request.query) {
                Ok(after) => made(http::JSON, self.history.document(&self.config.start_id, after)),
                Err(status) => Answer::status(status),
            },
            "/healthz" => health(self.health.check()),
            "/readyz" => health(self.health.check_ready(service)),
            path => match page::FILES.iter().find(|file| file.path == path) {
                Some(file) => Answer::new(Status::Ok, file.content_type, file.body),
                None => Answer::status(Status::NotFound),
            },
        }
    }

    fn facts<'a>(&'a self, service: &'a Service) -> Result<Facts<'a>, NoMemory> {
        Facts::gather(service, &self.config, &self.curtain)
    }

    fn stats(&self, service: &Service) -> Result<String, NoMemory> {
        document::write(&self.facts(service)?, &self.history, &self.health)
    }

    fn metrics(&self, service: &Service) -> Result<String, NoMemory> {
        let facts = self.facts(service)?;
        let mut text = text::Text::default();
        exporter::write(&facts, &mut text);
        own::write(&facts, &mut text);
        text.finish()
    }
}

/// How often what is hot fades when so many seconds have passed.
fn fading_seconds(seconds: u64) -> u64 {
    seconds.min(FADING_SECONDS_MAX)
}

/// The number of `after=`, if the query is that; other queries are no mistake.
fn after(query: &str) -> Result<Option<u64>, Status> {
    match query.split('&').find_map(|part| part.strip_prefix("after=")) {
        None => Ok(None),
        Some(number) => number.parse().map(Some).map_err(|_| Status::BadRequest),
    }
}

const LISTENER: Token = Token(usize::MAX);
const WAKER: Token = Token(usize::MAX - 1);
/// Connections at a time.
const CLIENTS_MAX: usize = 8;
/// A row of the history.
const TICK: Duration = Duration::from_secs(1);
/// After so many seconds without a tick nothing is hot any more.
const FADING_SECONDS_MAX: u64 = 600;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stats::observation::WorkerObservation;
    use crate::stats::sampled_prefixes::PrefixUse;
    use crate::store;

    fn content(shows_keys: bool) -> Content {
        let config = Config {
            address: Address::Internet("127.0.0.1:9150".parse().expect("an address")),
            is_remote_allowed: false,
            shows_keys,
            version: "0.0.1".to_owned(),
            default_settings: Vec::new(),
            start_id: "00".to_owned(),
            started_at_unix: 7,
        };
        let service = service();
        Content {
            curtain: Curtain::new(shows_keys),
            history: History::new(&service),
            health: Health::default(),
            config,
        }
    }

    fn service() -> Service {
        let mut service = Service::in_process(store::Config::default());
        service.observations = Some(vec![WorkerObservation::default().into()].into());
        service
    }

    fn get(content: &Content, service: &Service, path: &str, query: &str) -> Answer {
        let request = Request { path: path.to_owned(), query: query.to_owned(), is_head: false };
        content.route(&request, service)
    }

    #[test]
    fn every_path_has_its_answer() {
        let (content, service) = (content(false), service());
        for (path, status, content_type) in [
            ("/", Status::Ok, "text/html; charset=utf-8"),
            ("/metrics", Status::Ok, http::PROMETHEUS),
            ("/stats.json", Status::Ok, http::JSON),
            ("/history.json", Status::Ok, http::JSON),
            ("/healthz", Status::Ok, http::TEXT),
            ("/readyz", Status::Unavailable, http::TEXT),
            ("/metrics/", Status::NotFound, http::TEXT),
            ("", Status::NotFound, http::TEXT),
            ("/../etc/passwd", Status::NotFound, http::TEXT),
        ] {
            let answer = get(&content, &service, path, "");
            assert_eq!((answer.status, answer.content_type), (status, content_type), "{path}");
            assert!(!answer.body.is_empty());
        }
    }

    #[test]
    fn history_is_asked_for_by_number() {
        let (content, service) = (content(false), service());
        for (query, status) in
            [("", Status::Ok), ("after=3", Status::Ok), ("x&after=0", Status::Ok), ("after=x", Status::BadRequest)]
        {
            assert_eq!(get(&content, &service, "/history.json", query).status, status, "{query}");
        }
    }

    #[test]
    fn names_of_keys_are_shown_only_when_that_is_allowed() {
        let service = service();
        let observation = &service.observations.as_ref().expect("observations")[0];
        for _ in 0..5 {
            observation.hot_keys.lock().record(b"zebra:\xff\"%", 1);
        }
        service.prefixes.set_enabled(true);
        service.prefixes.record_set(b"zebra:1");
        for _ in 0..20 {
            service.prefixes.record_sample(b"zebra-crossing:1", PrefixUse::Delete, 64);
        }
        for shows_keys in [false, true] {
            let content = content(shows_keys);
            for path in ["/metrics", "/stats.json"] {
                let body = String::from_utf8(get(&content, &service, path, "").body.into_owned()).expect("text");
                assert_eq!(body.contains("zebra"), shows_keys, "{path}");
                assert_eq!(body.contains("zebra-crossing"), shows_keys, "{path}");
                let counted = if path == "/metrics" { "} 768" } else { "\"deletes\":768" };
                assert!(body.contains(counted), "{path}: twelve of the twenty samples are under its name: {body}");
                let escaped =
                    if path == "/metrics" { "key=\"zebra:%FF\\\"%25\"" } else { "\"key\":\"zebra:%FF\\\"%25\"" };
                assert_eq!(body.contains(escaped), shows_keys, "{path}: {body}");
            }
        }
    }

    /// The tables of docs/metrics.md name every metric with its type, and nothing else.
    #[test]
    fn the_documentation_lists_all_metrics() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/metrics.md");
        let page = std::fs::read_to_string(path).expect("the page");
        let rows = page.lines().filter_map(|line| line.strip_prefix("| `")?.split_once("` | "));
        let rows = rows.filter(|(name, _)| name.starts_with("memcached_") || name.starts_with("slabstash_"));
        let documented: Vec<(&str, &str)> =
            rows.map(|(name, rest)| (name, rest.split(' ').next().unwrap_or_default())).collect();
        let written: Vec<(&str, &str)> = exporter::names().chain(own::names()).collect();
        assert_eq!(documented, written);
    }

    #[test]
    fn so_many_hot_keys_and_prefixes_are_shown() {
        let service = service();
        let observation = &service.observations.as_ref().expect("observations")[0];
        service.prefixes.set_enabled(true);
        for number in 0..300 {
            (0..5).for_each(|_| observation.hot_keys.lock().record(format!("hot{number}").as_bytes(), 1));
            service.prefixes.record_set(format!("prefix{number}:1").as_bytes());
        }
        let content = content(true);
        let facts = content.facts(&service).expect("memory");
        assert_eq!((facts.hot_keys.len(), facts.prefixes.len()), (facts::HOT_KEYS_MAX, facts::PREFIXES_MAX));
    }

    #[test]
    fn a_clock_that_jumps_lets_nothing_fade_for_longer_than_it_matters() {
        assert_eq!(fading_seconds(1), 1);
        assert_eq!(fading_seconds(FADING_SECONDS_MAX + 1), FADING_SECONDS_MAX);
        assert_eq!(fading_seconds(u64::MAX), FADING_SECONDS_MAX);
        // What was as hot as can be is cold after that.
        let observation = WorkerObservation::default();
        observation.hot_keys.lock().record(b"k", 1 << 20);
        (0..FADING_SECONDS_MAX).for_each(|_| observation.hot_keys.lock().fade());
        let hottest = crate::stats::hot_keys::hottest([observation.hot_keys.lock()].into_iter(), 1).expect("memory");
        assert!(hottest.iter().all(|hot| hot.per_second < 0.1), "{hottest:?}");
    }
}

#[cfg(all(test, feature = "loom"))]
mod models {
    use super::*;
    use crate::base::sync::model::{check, thread};

    /// The loop of `Admin::run` without sockets, whose next tick never comes.
    #[test]
    fn who_stops_the_listener_wakes_it() {
        check(|| {
            let (waker, poll) = Waker::with_poll();
            let stopper = Arc::new(Stopper { is_stopping: AtomicBool::new(false), waker });
            let stopping = Arc::clone(&stopper);
            let stopping = thread::spawn(move || stopping.stop());
            poll.wait();
            assert!(stopper.is_stopping.load(Ordering::SeqCst));
            stopping.join().expect("no panic");
        });
    }
}
