//! What the process gives up once it serves ([`crate::sys::sandbox`]), and how that is told.
//!
//! Files go first, before there are threads, and system calls last. Whoever starts a thread asks for [`Restricted`], so that
//! none is there before. By default the kernel's lack of either lock is taken as it is, with a warning; with
//! `-o sandbox=required` (memcached's `drop_privileges`) a process that cannot filter its system calls does not start. Landlock
//! is asked for either way and insisted on never: kernels have it since 5.13 only, and not all turn it on.

use crate::base::sync::{Arc, Mutex};
use crate::command::service::SettingsReport;
use crate::options::{EXIT_FAILURE, Sandbox};
use crate::sys::process;
use crate::sys::sandbox::{Level, Needs, calls, files};

use super::Failure;

/// Settings of the sandbox.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Config {
    /// Whether it is wanted.
    pub sandbox: Sandbox,
    /// Files stay within reach: memcached's own tests put theirs anywhere.
    pub is_relaxed: bool,
    /// What the process does with files while it serves and when it stops. Who adds to that adds here.
    pub needs: Needs,
}

/// The process' rights as they go.
pub struct Privileges {
    config: Config,
    /// Written at the start, read by `stats settings`.
    level: Arc<Mutex<Level>>,
}

impl Privileges {
    /// Nothing is given up yet.
    pub fn new(config: Config) -> Self {
        Self { config, level: Arc::default() }
    }

    /// `inner` with the level that was reached.
    pub fn report(&self, inner: Box<SettingsReport>) -> Box<SettingsReport> {
        let level = Arc::clone(&self.level);
        Box::new(move |current| {
            let mut current = current.to_vec();
            current.extend(settings(*level.lock()));
            inner(&current)
        })
    }

    /// Gives up files. Threads that run already keep theirs, so there should be none but this one.
    pub fn restrict_files(&self) -> Restricted {
        if self.config.sandbox == Sandbox::Off || self.config.is_relaxed {
            return Restricted(());
        }
        if let Some(count @ 2..) = process::thread_count() {
            log::warn!("Landlock does not bind {} threads that were started too early", count - 1);
        }
        match files::restrict(&self.config.needs) {
            Ok(0) => log::warn!("no Landlock: the kernel has none, so files are as the user has them"),
            Ok(abi) => self.level.lock().landlock_abi = abi,
            Err(text) => log::warn!("no Landlock: {text}"),
        }
        Restricted(())
    }

    /// Gives up system calls, for all threads.
    pub fn filter_calls(&self) -> Result<(), Failure> {
        if self.config.sandbox == Sandbox::Off {
            return Ok(());
        }
        let may_write = self.config.is_relaxed || self.config.needs.has_writing();
        match calls::filter(may_write) {
            Ok(()) => self.level.lock().has_call_filter = true,
            Err(text) if self.config.sandbox == Sandbox::Required => {
                let text = format!("-o sandbox=required: the system calls cannot be filtered: {text}");
                return Err(Failure::new(EXIT_FAILURE, text));
            }
            Err(text) => log::warn!("no filter of system calls: {text}"),
        }
        Ok(())
    }

    /// How far it went, in a line.
    pub fn text(&self) -> String {
        match self.config.sandbox {
            Sandbox::Off => "privileges: all kept, as -o sandbox=off says".to_owned(),
            _ => format!("privileges: {}", sentence(*self.level.lock())),
        }
    }
}

/// Files were given up, or this is as far as it goes: from here on there may be threads.
pub struct Restricted(());

fn settings(level: Level) -> [(&'static str, String); 2] {
    let has_filter = if level.has_call_filter { "yes" } else { "no" };
    [("seccomp", has_filter.to_owned()), ("landlock_abi", level.landlock_abi.to_string())]
}

fn sentence(level: Level) -> String {
    let calls = if level.has_call_filter { "system calls filtered" } else { "system calls not filtered" };
    match level.landlock_abi {
        0 => format!("{calls}, files as the user has them"),
        abi => format!("{calls}, files restricted (Landlock ABI {abi})"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_level_is_told() {
        let config = Config { sandbox: Sandbox::Off, is_relaxed: false, needs: Needs::default() };
        let privileges = Privileges::new(config);
        let _ = privileges.restrict_files();
        assert!(privileges.filter_calls().is_ok());
        assert_eq!(privileges.text(), "privileges: all kept, as -o sandbox=off says");
        let report = privileges.report(Box::new(|current| current.to_vec()));
        let lines = |given: &str| report(&[("verbosity", given.to_owned())]).into_iter().map(|(_, value)| value);
        assert_eq!(lines("1").collect::<Vec<_>>(), ["1", "no", "0"]);
        *privileges.level.lock() = Level { landlock_abi: 7, has_call_filter: true };
        assert_eq!(lines("2").collect::<Vec<_>>(), ["2", "yes", "7"]);
        assert_eq!(sentence(Level::default()), "system calls not filtered, files as the user has them");
        let level = Level { landlock_abi: 3, has_call_filter: true };
        assert_eq!(sentence(level), "system calls filtered, files restricted (Landlock ABI 3)");
    }
}
