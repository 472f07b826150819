//! Warm restart: the cache outlives the process.
//!
//! ```text
//!   old process ── graceful stop ──> file of -e, or memory that the service manager keeps ── start ──> new process
//! ```
//! The live store is ordinary memory. At the stop its items are written out one after the other, and its memory is given back
//! on the way; at the start they are read, checked, and put in order before the first client is served. So nothing of a cache
//! is ever in two places for longer than a restart takes, and the formats in memory are free to change with each version: what
//! is kept has a form of its own ([`format`]).
//!
//! A kept cache is used whole or not at all. When anything about it is wrong (see [`Unfit`] and [`Bad`]), one line says so
//! and the start is with a clean cache. It is used once: who takes it destroys what says that it is whole before reading on.

mod crew;
mod description;
mod format;
mod load;
mod memory_file;
mod progress;
mod save;
#[cfg(test)]
mod tests;

use std::env;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustix::fs::{MemfdFlags, memfd_create};

use crate::base::hash::KeyHasher;
use crate::base::sync::Arc;
use crate::base::time::{Clock, Now};
use crate::command::Service;
use crate::options::{EXIT_FAILURE, EXIT_NOT_SAVED, EXIT_SYSTEM};
use crate::stats::events::EventHub;
use crate::store::{self, Store};
use crate::sys::error_text;
use crate::sys::service_manager::ServiceManager;
use crate::sys::signals::Signal;

use super::{Failure, logging};
use description::{Description, Unfit};
use load::{Bad, Loaded};
use memory_file::MemoryFile;
use progress::Progress;
use save::Written;

/// The name under which the service manager keeps the cache.
pub const KEPT_NAME: &str = "slabstash-cache";

/// How much longer than the last sign of progress the service manager is asked to wait.
const PATIENCE: Duration = Duration::from_secs(30);

/// What becomes of the cache when the server stops.
#[derive(Debug)]
pub enum Keeper {
    /// It is lost.
    Nobody,
    /// `-e`: it goes to a file at a graceful stop.
    File(MemoryFile),
    /// The service manager gets it at any ordered stop; these are what it had from before.
    Manager(Vec<OwnedFd>),
}

/// Whether the service manager is to keep the cache: when it is asked to, or by itself says that it can. (systemd says so from
/// version 254 on.)
pub fn is_wanted(choice: Option<bool>, manager: &ServiceManager) -> bool {
    if choice == Some(true) && !manager.is_there() {
        log::warn!("-o warm_restart: no service manager is there to keep the cache (NOTIFY_SOCKET is not set)");
    }
    let is_offered = || env::var("FDSTORE").is_ok_and(|count| count.parse::<u32>().is_ok_and(|count| count > 0));
    manager.is_there() && choice.unwrap_or_else(is_offered)
}

/// Why a kept cache is not used.
#[derive(Clone, PartialEq, Eq, Debug)]
enum Dropped {
    Unfit(Unfit),
    Bad(Bad),
    /// The metadata file and what is beside it do not belong together.
    Strange,
}

impl Dropped {
    fn text(&self) -> String {
        match self {
            Dropped::Unfit(unfit) => unfit.text(),
            Dropped::Bad(bad) => format!("cannot use the saved cache, {}", bad.text()),
            Dropped::Strange => "cannot use the saved cache, it is not the one that the metadata is about".to_owned(),
        }
    }
}

/// A store to begin with.
pub struct Begun {
    /// The store.
    pub store: Store,
    /// The clock that its items count on.
    pub clock: Clock,
}

impl Keeper {
    /// What `-e` says, or else the service manager, if it is to keep the cache; `kept` is what it has kept.
    pub fn new(
        memory_file: Option<&Path>,
        is_managed: bool,
        kept: Vec<OwnedFd>,
        manager: &ServiceManager,
    ) -> Result<Self, Failure> {
        let keeper = match memory_file {
            Some(path) => Keeper::File(MemoryFile::open(path).map_err(|text| Failure::new(EXIT_SYSTEM, text))?),
            None if is_managed => return Ok(Keeper::Manager(kept)),
            None => Keeper::Nobody,
        };
        if !kept.is_empty() {
            log::warn!("[restart] the service manager has kept a cache that nobody wants, it is dropped");
            manager.forget(KEPT_NAME);
            give_up(kept);
        }
        Ok(keeper)
    }

    /// The kept cache, if there is one that can be used; else an empty one.
    pub fn begin(
        &mut self,
        config: &store::Config,
        events: &Arc<EventHub>,
        threads: usize,
        manager: &ServiceManager,
    ) -> Result<Begun, Failure> {
        let say = |text: &str| {
            manager.extend_timeout(PATIENCE);
            manager.status(&format!("reading the saved cache, {text}"));
            logging::say(&format!("[restart] reading the saved cache, {text}"));
        };
        let reader = Reader { config, events, threads, unix_now: unix_now(), say: &say };
        let taken = match self {
            Keeper::Nobody => None,
            Keeper::File(file) => reader.take_file(file)?,
            Keeper::Manager(kept) => {
                if !kept.is_empty() {
                    manager.forget(KEPT_NAME);
                }
                reader.take_kept(std::mem::take(kept))
            }
        };
        Ok(taken
            .unwrap_or_else(|| Begun { store: Store::new(config.clone(), Arc::clone(events)), clock: Clock::start() }))
    }

    /// Whether a stop by this signal keeps the cache: memcached's file is written at a graceful stop only. The service manager
    /// ends a service the same way whether it will start it again or not.
    pub fn is_for(&self, signal: Signal) -> bool {
        match self {
            Keeper::Nobody => false,
            Keeper::File(_) => signal == Signal::StopGracefully,
            Keeper::Manager(_) => true,
        }
    }

    /// Keeps the cache of a server that has stopped; its store is empty afterwards.
    pub fn save(&self, service: &Service, manager: &ServiceManager) -> Result<(), Failure> {
        let now = service.clock.now();
        let description = Description {
            // A hasher's seed is as random as anything here.
            stream: KeyHasher::random().hash(&now.epoch.to_le_bytes()).0,
            clock: now,
            stop_time: unix_now(),
            state: service.store.saved_state(),
            event: service.events.last_number(),
        };
        let say = |text: &str| {
            manager.extend_timeout(PATIENCE);
            manager.status(&format!("saving the cache, {text}"));
            logging::say(&format!("[restart] saving the cache, {text}"));
        };
        let writer =
            Writer { store: &service.store, description: &description, threads: service.config.threads, say: &say };
        manager.extend_timeout(PATIENCE);
        match self {
            Keeper::Nobody => Ok(()),
            Keeper::File(file) => writer.save_file(file).map_err(|error| {
                let (path, text) = (file.path().display(), error_text(&error));
                Failure::new(EXIT_NOT_SAVED, format!("[restart] cannot save the cache to {path}: {text}"))
            }),
            Keeper::Manager(_) => writer.hand_over(manager).map_err(|error| {
                let text = error_text(&error);
                Failure::new(EXIT_NOT_SAVED, format!("[restart] cannot hand the cache to the service manager: {text}"))
            }),
        }
    }
}

/// What a start knows that looks for a kept cache.
struct Reader<'a> {
    config: &'a store::Config,
    events: &'a Arc<EventHub>,
    threads: usize,
    unix_now: i64,
    say: &'a (dyn Fn(&str) + Sync),
}

impl Reader<'_> {
    fn take_file(&self, file: &MemoryFile) -> Result<Option<Begun>, Failure> {
        let path = file.metadata_path();
        let metadata = file.take_metadata().map_err(|error| {
            let (path, text) = (path.display(), error_text(&error));
            Failure::new(EXIT_SYSTEM, format!("[restart] cannot take metadata file {path}: {text}"))
        })?;
        let begun = match metadata {
            None => {
                log::warn!("[restart] no metadata save file, starting with a clean cache");
                None
            }
            Some(text) => match Description::parse(&text, self.config, self.unix_now) {
                Err(Unfit::NotOurs) => {
                    let text =
                        format!("[restart] corrupt metadata file {}: remove it, or name another -e", path.display());
                    return Err(Failure::new(EXIT_FAILURE, text));
                }
                Err(unfit) => self.drop(&Dropped::Unfit(unfit)),
                Ok(_) => self.take(&file.file, Some(&text)).unwrap_or_else(|dropped| self.drop(&dropped)),
            },
        };
        file.clear();
        Ok(begun)
    }

    /// The first of the descriptors that holds a whole cache; the memory of all of them is given up.
    fn take_kept(&self, kept: Vec<OwnedFd>) -> Option<Begun> {
        let mut begun = None;
        let mut kept = kept.into_iter();
        for descriptor in kept.by_ref() {
            let file = File::from(descriptor);
            begun = self.take(&file, None).unwrap_or_else(|dropped| self.drop(&dropped));
            give_up(Some(file.into()));
            if begun.is_some() {
                break;
            }
        }
        give_up(kept);
        begun
    }

    fn drop(&self, dropped: &Dropped) -> Option<Begun> {
        log::warn!("[restart] {}, starting with a clean cache", dropped.text());
        None
    }

    /// Takes the cache in `file`, which is to have this description, if one is expected.
    fn take(&self, file: &File, expected: Option<&[u8]>) -> Result<Option<Begun>, Dropped> {
        let (header, text) = load::open(file).map_err(Dropped::Bad)?;
        if expected.is_some_and(|expected| expected != text) {
            return Err(Dropped::Strange);
        }
        let description = Description::parse(&text, self.config, self.unix_now).map_err(Dropped::Unfit)?;
        if description.stream != header.stream {
            return Err(Dropped::Strange);
        }
        let now = description.resumed(self.unix_now);
        let store = Store::new(self.config.clone(), Arc::clone(self.events));
        store.restore_state(&description.state);
        let progress = Progress::new(header.items, self.say);
        let loaded = load::load(file, &header, &store, now, self.threads, &progress).map_err(Dropped::Bad)?;
        self.events.go_on_after(description.event);
        let seconds = progress.seconds();
        logging::say(&format!("[restart] {} in {seconds:.1} s", summary(&loaded)));
        Ok(Some(Begun { store, clock: Clock::resume_at(now.epoch, now.seconds) }))
    }
}

/// Frees the memory behind descriptors, which somebody else may hold still.
fn give_up(kept: impl IntoIterator<Item = OwnedFd>) {
    for descriptor in kept {
        // Something that has no length has no memory.
        let _ = File::from(descriptor).set_len(0);
    }
}

fn summary(loaded: &Loaded) -> String {
    let Loaded { items, expired, left_out } = loaded;
    let mut text = format!("the cache is back, {items} items");
    if *expired > 0 {
        text.push_str(&format!(", {expired} have expired"));
    }
    if *left_out > 0 {
        text.push_str(&format!(", {left_out} did not fit"));
    }
    text
}

/// What a stop knows that keeps a cache.
struct Writer<'a> {
    store: &'a Store,
    description: &'a Description,
    threads: usize,
    say: &'a (dyn Fn(&str) + Sync),
}

impl Writer<'_> {
    fn save_file(&self, file: &MemoryFile) -> io::Result<()> {
        let text = self.description.text(self.store.config());
        file.file.set_len(0)?;
        let saved = self.save(&file.file, &text).and_then(|()| file.write_metadata(&text));
        if saved.is_err() {
            file.clear();
        }
        saved
    }

    fn hand_over(&self, manager: &ServiceManager) -> io::Result<()> {
        let flags = MemfdFlags::CLOEXEC | MemfdFlags::NOEXEC_SEAL;
        let memory = memfd_create(KEPT_NAME, flags)
            // Kernels before 6.3 do not know of the seal.
            .or_else(|_| memfd_create(KEPT_NAME, MemfdFlags::CLOEXEC))?;
        let file = File::from(memory);
        self.save(&file, &self.description.text(self.store.config()))?;
        manager.keep(KEPT_NAME, &[file.as_fd()])?;
        Ok(())
    }

    fn save(&self, file: &File, text: &str) -> io::Result<()> {
        let items = self.store.snapshot().curr_items as u64;
        let progress = Progress::new(items, self.say);
        let description = (text, self.description.stream);
        let now: Now = self.description.clock;
        let Written { items, bytes } = save::save(file, self.store, description, now, self.threads, &progress)?;
        let seconds = progress.seconds();
        logging::say(&format!("[restart] {items} items are saved, {bytes} bytes in {seconds:.1} s"));
        Ok(())
    }
}

fn unix_now() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO).as_secs() as i64
}
