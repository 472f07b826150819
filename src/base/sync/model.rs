//! The checkers' side of the door. A checker runs a model, a closure with threads of its own, over and over, and chooses
//! at every lock and atomic which thread goes on.
//!
//! loom (`--features loom`) tries all orders with up to `LOOM_MAX_PREEMPTIONS` switches (3) and, for atomics, every value
//! that the memory model lets a thread see: for single hand-overs. It does not know the total order of `SeqCst`
//! operations, so what is proven here does not rest on it. shuttle (`--features shuttle`) tries `SHUTTLE_ITERATIONS` orders (200) at
//! random from `SHUTTLE_SEED`, which it prints, with atomics that are never late: for scenarios of many steps.
//!
//! The types have the names and signatures of those they stand for, as far as this crate uses them. The queue and the
//! waker are made from the checker's lock; what is proven with them holds as far as crossbeam's queue hands over what
//! was pushed before, and the kernel's eventfd wakes a poll.

use std::collections::VecDeque;
use std::fmt;
use std::io;
use std::ops::{Deref, DerefMut};
use std::sync::TryLockError;
use std::sync::atomic::AtomicU64 as CountOfOrders;

#[cfg(feature = "loom")]
use loom as checker;
#[cfg(not(feature = "loom"))]
use shuttle as checker;

pub use checker::sync::atomic::{AtomicBool, AtomicI64, AtomicU8, AtomicU32, AtomicU64, AtomicUsize};
pub use checker::thread;

use super::{Arc, Ordering};

/// Runs a model in every order that is to be tried, panics in one that fails, and prints how many there were.
pub fn check(model: impl Fn() + Send + Sync + 'static) {
    let orders = Arc::new(CountOfOrders::new(0));
    let counted = Arc::clone(&orders);
    run(move || {
        counted.fetch_add(1, Ordering::Relaxed);
        model();
    });
    let name = std::thread::current().name().unwrap_or_default().to_string();
    println!("{} orders of {name}", orders.load(Ordering::Relaxed));
}

#[cfg(feature = "loom")]
fn run(model: impl Fn() + Send + Sync + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound.get_or_insert(PREEMPTIONS_MAX);
    builder.max_branches = BRANCHES_MAX;
    builder.check(model);
}

#[cfg(not(feature = "loom"))]
fn run(model: impl Fn() + Send + Sync + 'static) {
    let number = |name: &str| std::env::var(name).ok()?.parse().ok();
    let seed = number("SHUTTLE_SEED").unwrap_or_else(|| u64::from(std::process::id()));
    let iterations = number("SHUTTLE_ITERATIONS").unwrap_or(ITERATIONS) as usize;
    println!("SHUTTLE_SEED={seed} SHUTTLE_ITERATIONS={iterations}");
    let mut config = shuttle::Config::new();
    config.stack_size = STACK_BYTES;
    config.silence_warnings = true;
    let scheduler = shuttle::scheduler::RandomScheduler::new_from_seed(seed, iterations);
    shuttle::Runner::new(scheduler, config).run(model);
}

#[cfg(feature = "loom")]
const PREEMPTIONS_MAX: usize = 3;
#[cfg(feature = "loom")]
const BRANCHES_MAX: usize = 10_000;
#[cfg(not(feature = "loom"))]
const ITERATIONS: u64 = 200;
#[cfg(not(feature = "loom"))]
const STACK_BYTES: usize = 1 << 20;

/// Stands for parking_lot's.
#[derive(Default)]
pub struct Mutex<T: ?Sized>(checker::sync::Mutex<T>);

/// Unlocks when dropped.
pub struct MutexGuard<'a, T: ?Sized>(checker::sync::MutexGuard<'a, T>);

impl<T> Mutex<T> {
    /// An unlocked one.
    pub fn new(value: T) -> Self {
        Self(checker::sync::Mutex::new(value))
    }

    /// What it held.
    pub fn into_inner(self) -> T {
        self.0.into_inner().expect("no thread has panicked")
    }
}

impl<T: ?Sized> Mutex<T> {
    /// Waits for it.
    pub fn lock(&self) -> MutexGuard<'_, T> {
        MutexGuard(self.0.lock().expect("no thread has panicked"))
    }

    /// Takes it if it is free.
    pub fn try_lock(&self) -> Option<MutexGuard<'_, T>> {
        match self.0.try_lock() {
            Ok(guard) => Some(MutexGuard(guard)),
            Err(TryLockError::WouldBlock) => None,
            Err(TryLockError::Poisoned(_)) => panic!("a thread has panicked"),
        }
    }
}

impl<T: ?Sized> fmt::Debug for Mutex<T> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Mutex")
    }
}

impl<T: ?Sized> Deref for MutexGuard<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0
    }
}

impl<T: ?Sized> DerefMut for MutexGuard<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        &mut self.0
    }
}

/// Stands for crossbeam's queue.
#[derive(Debug)]
pub struct SegQueue<T>(Mutex<VecDeque<T>>);

impl<T> SegQueue<T> {
    /// An empty one.
    #[allow(clippy::new_without_default)]
    pub fn new() -> Self {
        Self(Mutex::new(VecDeque::new()))
    }

    /// Adds to the end.
    pub fn push(&self, value: T) {
        self.0.lock().push_back(value);
    }

    /// Takes the first.
    pub fn pop(&self) -> Option<T> {
        self.0.lock().pop_front()
    }
}

/// Stands for mio's: its poll is a [`Poll`].
#[derive(Debug)]
pub struct Waker(Arc<Bell>);

/// What a loop waits for.
pub struct Poll(Arc<Bell>);

struct Bell {
    is_rung: checker::sync::Mutex<bool>,
    rings: checker::sync::Condvar,
}

impl fmt::Debug for Bell {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Bell")
    }
}

impl Waker {
    /// Wakes nobody: of a poll in the system, which a model has none of.
    pub fn new(_registry: &mio::Registry, _token: mio::Token) -> io::Result<Self> {
        Ok(Self::with_poll().0)
    }

    /// A waker and what it wakes.
    pub fn with_poll() -> (Self, Poll) {
        let bell = Arc::new(Bell { is_rung: checker::sync::Mutex::new(false), rings: checker::sync::Condvar::new() });
        (Self(Arc::clone(&bell)), Poll(bell))
    }

    /// Wakes the poll, or the next one.
    pub fn wake(&self) -> io::Result<()> {
        *self.0.is_rung.lock().expect("no thread has panicked") = true;
        self.0.rings.notify_one();
        Ok(())
    }
}

impl Poll {
    /// Waits until woken. A model in which nobody does so stands still, which the checker reports.
    pub fn wait(&self) {
        let mut is_rung = self.0.is_rung.lock().expect("no thread has panicked");
        while !*is_rung {
            is_rung = self.0.rings.wait(is_rung).expect("no thread has panicked");
        }
        *is_rung = false;
    }

    /// Whether it was woken: a poll that does not wait.
    pub fn is_woken(&self) -> bool {
        std::mem::take(&mut *self.0.is_rung.lock().expect("no thread has panicked"))
    }
}
