//! Signals, as values that one thread waits for.
//!
//! SIGINT and SIGTERM stop, SIGUSR1 stops gracefully, SIGHUP reloads. SIGPIPE is ignored by Rust's runtime. Once
//! [`Signals::arm`] was called, the next stop signal ends the process where it stands.

use std::io;

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM, SIGUSR1};
use signal_hook::{flag, iterator, low_level};

use crate::base::sync::{Arc, Ordering, SignalFlag};

/// What a signal asks for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Signal {
    /// SIGINT, SIGTERM.
    Stop,
    /// SIGUSR1.
    StopGracefully,
    /// SIGHUP.
    Reload,
}

/// The process' signals.
pub struct Signals {
    signals: iterator::Signals,
    is_armed: Arc<SignalFlag>,
}

impl Signals {
    /// Takes over the process' signals.
    pub fn new() -> io::Result<Self> {
        let is_armed = Arc::new(SignalFlag::new(false));
        for signal in [SIGINT, SIGTERM, SIGUSR1] {
            flag::register_conditional_shutdown(signal, 0, Arc::clone(&is_armed))?;
        }
        Ok(Self { signals: iterator::Signals::new([SIGINT, SIGTERM, SIGUSR1, SIGHUP])?, is_armed })
    }

    /// Waits for a signal. `None` never comes in practice: the source has ended.
    pub fn wait(&mut self) -> Option<Signal> {
        self.signals.forever().find_map(|signal| match signal {
            SIGINT | SIGTERM => Some(Signal::Stop),
            SIGUSR1 => Some(Signal::StopGracefully),
            SIGHUP => Some(Signal::Reload),
            _ => None,
        })
    }

    /// From now on a stop signal ends the process at once.
    pub fn arm(&self) {
        self.is_armed.store(true, Ordering::SeqCst);
    }
}

/// Raises a signal in this process, for commands that ask for the same.
pub fn raise(signal: Signal) {
    let number = match signal {
        Signal::Stop => SIGINT,
        Signal::StopGracefully => SIGUSR1,
        Signal::Reload => SIGHUP,
    };
    if let Err(error) = low_level::raise(number) {
        log::error!("cannot raise a signal: {error}");
    }
}
