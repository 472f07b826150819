//! Asking the nodes, and the admin listeners of those that have one, off the thread that draws.
//!
//! A poller keeps one connection and makes a new one after every failure, so a node that dies is down at the next look and
//! up again at the look after it is back. Threads end with the process, or when nobody takes their updates any more.

use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;
use std::time::{Duration, Instant};

use super::super::address::Address;
use super::super::connection::{Access, Connection};
use super::super::failure::Failure;
use super::super::hot_keys::HotKeys;
use super::super::inside::Inside;
use super::super::sample::Sample;
use crate::base::sync::{Arc, AtomicBool, Mutex, Ordering};

/// What came of a look at a node.
#[derive(Debug)]
pub struct Update {
    /// Which of the nodes.
    pub node: usize,
    /// What it said, or why not.
    pub result: Result<Sample, Failure>,
    /// What its admin listener said, if it was asked.
    pub inside: Option<Result<Inside, Failure>>,
}

/// A node to look at.
#[derive(Clone, Debug)]
pub struct Target {
    /// Where it is.
    pub address: Address,
    /// Where its admin listener is.
    pub admin: Option<Address>,
}

/// Begins to look at nodes; there is an update for each node and look.
pub fn start(targets: &[Target], access: &Access, interval: Duration) -> Receiver<Update> {
    let (sender, receiver) = channel();
    for (node, target) in targets.iter().enumerate() {
        let (target, access, sender) = (target.clone(), access.clone(), sender.clone());
        thread::spawn(move || poll(node, &target, &access, interval, &sender));
    }
    receiver
}

fn poll(node: usize, target: &Target, access: &Access, interval: Duration, sender: &Sender<Update>) {
    let mut connection = None;
    let mut next = Instant::now();
    loop {
        let result = look(&mut connection, &target.address, access);
        // A node that is down has no listener either.
        let admin = target.admin.as_ref().filter(|_| result.is_ok());
        let inside = admin.map(|admin| Inside::take(admin, access.timeout));
        if result.is_err() {
            connection = None;
        }
        if sender.send(Update { node, result, inside }).is_err() {
            return;
        }
        // A look that took longer than the interval is not made up for.
        next = (next + interval).max(Instant::now());
        thread::sleep(next.saturating_duration_since(Instant::now()));
    }
}

fn look(connection: &mut Option<Connection>, address: &Address, access: &Access) -> Result<Sample, Failure> {
    let open = match connection {
        Some(open) => open,
        None => connection.insert(Connection::open(address, access)?),
    };
    Sample::take(open)
}

/// What a watched node has shown of its keys.
#[derive(Clone, Debug, Default)]
pub struct Seen {
    /// Whether the node has agreed to be watched.
    pub is_watched: bool,
    /// The keys.
    pub keys: HotKeys,
    /// Why there are no more.
    pub failure: Option<Failure>,
}

/// A node's log of fetches, watched until this is dropped.
#[derive(Debug)]
pub struct Watch {
    /// Written by the watching thread, read by the drawing one.
    seen: Arc<Mutex<Seen>>,
    is_over: Arc<AtomicBool>,
}

impl Watch {
    /// Begins to watch.
    pub fn start(address: &Address, access: &Access) -> Watch {
        let watch = Watch { seen: Arc::default(), is_over: Arc::default() };
        let (address, access) = (address.clone(), access.clone());
        let (seen, is_over) = (Arc::clone(&watch.seen), Arc::clone(&watch.is_over));
        thread::spawn(move || {
            if let Err(failure) = follow(&address, &access, &seen, &is_over) {
                seen.lock().failure = Some(failure);
            }
        });
        watch
    }

    /// What was seen so far.
    pub fn seen(&self) -> Seen {
        self.seen.lock().clone()
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::Relaxed);
    }
}

fn follow(address: &Address, access: &Access, seen: &Mutex<Seen>, is_over: &AtomicBool) -> Result<(), Failure> {
    // A short timeout: it is also how soon the thread notes that nobody looks any more.
    let access = Access { timeout: access.timeout.min(NOTICE), ..access.clone() };
    let mut connection = Connection::open(address, &access)?;
    let line = connection.ask(b"watch fetchers\r\n")?;
    if line != b"OK" {
        return Err(connection.surprise(&line));
    }
    seen.lock().is_watched = true;
    let mut faded = Instant::now();
    while !is_over.load(Ordering::Relaxed) {
        connection.extend();
        let line = match connection.line() {
            Ok(line) => line,
            // A node without fetches has nothing to say.
            Err(Failure::Silent { .. }) => continue,
            Err(failure) => return Err(failure),
        };
        let mut seen = seen.lock();
        seen.keys.push_line(&line);
        while connection.has_line() {
            seen.keys.push_line(&connection.line()?);
        }
        if faded.elapsed() > FADE {
            seen.keys.fade();
            faded = Instant::now();
        }
    }
    connection.close();
    Ok(())
}

/// How soon a watch ends when it is dropped.
const NOTICE: Duration = Duration::from_millis(500);

/// What was seen counts half after this.
const FADE: Duration = Duration::from_secs(10);
