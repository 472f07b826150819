//! Logins: what a server that wants them knows, and how a claim is checked.
//!
//! ```text
//!   text (-Y), ../binary/sasl (-S) ── Claim ──> Logins::check ── Accepted, Refused
//!                                                    │ Costly: a hash
//!                                                    v
//!                                               Verification ── the verifier's thread ── Ticket, wake ──> the connection
//! ```
//! A connection whose login waits for the verifier reads nothing, so that its later requests stay in order and nothing
//! grows. Which thread verifies, and how files are read, is the server's business.
//!
//! | file | what |
//! |---|---|
//! | `accounts` | the entries, and comparing in constant time |
//! | `files` | the two file formats |
//! | `hashed` | argon2 |
//! | `mechanism` | PLAIN and CRAM-MD5 |
//! | `failures` | counters and log |
//! | `text` | the conversation of `-Y`; that of `-S` is in `../binary/sasl.rs` |

pub mod accounts;
pub mod failures;
pub mod files;
pub mod hashed;
pub mod mechanism;
mod random;
#[cfg(test)]
pub(super) mod tests;
mod text;

use crate::base::sync::{Arc, AtomicU8, Ordering, Reloaded};

use accounts::{Accounts, Check, Claim};
use failures::Cause;
use mechanism::Sasl;

pub use text::Login;

/// How clients log in.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Method {
    /// `-Y`: a text `set` whose value is user and password.
    Text,
    /// `-S`: SASL over the binary protocol.
    Sasl(Sasl),
}

/// Why a file's entries are not there. The text is a line for the operator.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum LoadError {
    /// The file cannot be used; entries read before stay in force.
    Unusable(String),
    /// The file is gone, and with it everybody's right to log in.
    Gone(String),
}

/// The file of entries.
pub struct Source {
    /// Reads it.
    pub load: Box<dyn Fn() -> Result<Accounts, LoadError> + Send + Sync>,
    /// Whether it is another than was last read: true once for each change. Asked at each login.
    pub has_changed: Box<dyn Fn() -> bool + Send + Sync>,
}

/// Takes verifications to another thread; false when too many wait there.
pub type Verify = dyn Fn(Verification) -> bool + Send + Sync;

/// Everything about logins.
pub struct Logins {
    /// How clients log in.
    pub method: Method,
    accounts: Reloaded<Accounts>,
    source: Source,
    verify: Box<Verify>,
}

impl Logins {
    /// Reads the entries for the first time. The error is a line for the operator.
    pub fn load(method: Method, source: Source, verify: Box<Verify>) -> Result<Self, String> {
        let accounts = (source.load)().map_err(|error| match error {
            LoadError::Unusable(text) | LoadError::Gone(text) => text,
        })?;
        Ok(Self { method, accounts: Reloaded::new(accounts), source, verify })
    }

    /// Reads the entries again. The error is a line for the operator.
    pub fn reload(&self) -> Result<(), String> {
        let mut result = Ok(());
        self.accounts.reload(|| self.read(&mut result));
        result
    }

    /// The entries to be put in force, if so, and what is wrong with the file.
    fn read(&self, result: &mut Result<(), String>) -> Option<Accounts> {
        match (self.source.load)() {
            Ok(accounts) => Some(accounts),
            Err(LoadError::Gone(text)) => {
                *result = Err(text);
                Some(Accounts::new(accounts::Format::Line))
            }
            Err(LoadError::Unusable(text)) => {
                *result = Err(text);
                None
            }
        }
    }

    /// Number of entries in force.
    pub fn count(&self) -> usize {
        self.accounts.current().count()
    }

    /// The entries in force, read again if the file is another. While somebody reads it, others wait: they must not be
    /// let in by entries that are gone.
    pub fn accounts(&self) -> Arc<Accounts> {
        let mut result = Ok(());
        self.accounts.reload(|| if (self.source.has_changed)() { self.read(&mut result) } else { None });
        if let Err(text) = result {
            log::warn!("{text}");
        }
        self.accounts.current()
    }

    /// Checks a claim; `wake` makes what calls the connection back when that takes long.
    pub fn check(&self, claim: Claim, wake: impl FnOnce() -> Arc<dyn Fn() + Send + Sync>) -> Answer {
        let accounts = self.accounts();
        match accounts.check(&claim) {
            Check::Accepted => Answer::Accepted,
            Check::Refused => Answer::Refused(Cause::Credentials),
            Check::Costly => {
                let ticket = Ticket(Arc::new(AtomicU8::new(WAITING)));
                let verification = Verification { accounts, claim, answer: Arc::clone(&ticket.0), wake: wake() };
                match (self.verify)(verification) {
                    true => Answer::Later(ticket),
                    false => Answer::Refused(Cause::Busy),
                }
            }
        }
    }
}

/// Result of [`Logins::check`].
#[derive(Debug)]
pub enum Answer {
    /// The claim is true.
    Accepted,
    /// It is not.
    Refused(Cause),
    /// The connection will be woken when the ticket knows.
    Later(Ticket),
}

/// Stands for an answer that is not there yet.
#[derive(Debug)]
pub struct Ticket(Arc<AtomicU8>);

impl Ticket {
    /// The answer, if it is there.
    pub fn answer(&self) -> Option<Result<(), Cause>> {
        match self.0.load(Ordering::Acquire) {
            WAITING => None,
            ACCEPTED => Some(Ok(())),
            NO_MEMORY => Some(Err(Cause::Memory)),
            _ => Some(Err(Cause::Credentials)),
        }
    }
}

/// A claim on its way to the verifier. Whoever drops it unasked refuses it.
pub struct Verification {
    accounts: Arc<Accounts>,
    claim: Claim,
    /// Shared with the ticket, whose connection may be gone.
    answer: Arc<AtomicU8>,
    wake: Arc<dyn Fn() + Send + Sync>,
}

impl Verification {
    /// Answers, if anybody still waits for it: tens of milliseconds.
    pub fn run(self) {
        if Arc::strong_count(&self.answer) > 1 {
            let answer = match self.accounts.verify(&self.claim) {
                Ok(true) => ACCEPTED,
                Ok(false) => REFUSED,
                Err(_) => NO_MEMORY,
            };
            self.answer.store(answer, Ordering::Release);
        }
    }
}

impl Drop for Verification {
    fn drop(&mut self) {
        // Fails when the answer is there already.
        let _ = self.answer.compare_exchange(WAITING, REFUSED, Ordering::AcqRel, Ordering::Acquire);
        (self.wake)();
    }
}

const WAITING: u8 = 0;
const ACCEPTED: u8 = 1;
const REFUSED: u8 = 2;
const NO_MEMORY: u8 = 3;

#[cfg(all(test, feature = "loom"))]
mod models {
    use super::*;
    use crate::base::sync::model::{check, thread};
    use crate::base::sync::{AtomicUsize, Mutex, Waker};

    /// Logins of as many entries as `file` says, looked at again when that is another number, as `server/logins.rs` does
    /// with a file's stamp.
    fn logins(file: &Arc<AtomicUsize>) -> Logins {
        let seen = Arc::new(Mutex::new(0));
        let (watched, last, file) = (Arc::clone(file), Arc::clone(&seen), Arc::clone(file));
        let has_changed = move || {
            let now = watched.load(Ordering::SeqCst);
            std::mem::replace(&mut *last.lock(), now) != now
        };
        let load = move || {
            *seen.lock() = file.load(Ordering::SeqCst);
            let mut accounts = Accounts::new(accounts::Format::Pair);
            (0..file.load(Ordering::SeqCst)).for_each(|_| accounts.add_plain(b"u:p", 1, 3));
            Ok(accounts)
        };
        let source = Source { load: Box::new(load), has_changed: Box::new(has_changed) };
        Logins::load(Method::Text, source, Box::new(|_| false)).expect("a file")
    }

    /// The file was changed while a login on another worker read it: the entries that were gone stayed in force, as those
    /// that had been read last were the older ones, until the next change.
    #[test]
    fn a_login_after_a_change_sees_the_change() {
        check(|| {
            let file = Arc::new(AtomicUsize::new(1));
            let logins = Arc::new(logins(&file));
            file.store(2, Ordering::SeqCst);
            let other = Arc::clone(&logins);
            let other = thread::spawn(move || other.accounts().count());
            assert_eq!(logins.accounts().count(), 2);
            file.store(3, Ordering::SeqCst);
            assert_eq!(logins.accounts().count(), 3);
            assert!(other.join().expect("no panic") >= 2);
            assert_eq!(logins.accounts().count(), 3);
        });
    }

    /// Gives a claim to another thread, which does `act` with it, and waits to be woken for the answer.
    fn answer(password: &'static [u8], act: fn(Verification)) -> Option<Result<(), Cause>> {
        let mut accounts = Accounts::new(accounts::Format::Pair);
        accounts.add_plain(b"u:p", 1, 3);
        let (waker, poll) = Waker::with_poll();
        let ticket = Ticket(Arc::new(AtomicU8::new(WAITING)));
        let verification = Verification {
            accounts: Arc::new(accounts),
            claim: Claim { user: b"u".to_vec(), bare_user: None, password: password.to_vec() },
            answer: Arc::clone(&ticket.0),
            wake: Arc::new(move || waker.wake().expect("woken")),
        };
        let verifier = thread::spawn(move || act(verification));
        poll.wait();
        let answer = ticket.answer();
        verifier.join().expect("no panic");
        assert_eq!(ticket.answer(), answer, "an answer does not change");
        answer
    }

    #[test]
    fn who_is_woken_has_an_answer() {
        check(|| assert_eq!(answer(b"p", Verification::run), Some(Ok(()))));
        check(|| assert_eq!(answer(b"x", Verification::run), Some(Err(Cause::Credentials))));
        check(|| assert_eq!(answer(b"p", drop), Some(Err(Cause::Credentials))));
    }
}
