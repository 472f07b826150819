//! Facts about this process that `stats` shows: its id and the processor time it has used.

use std::time::Duration;

use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeVal;

/// Processor time of the whole process, all threads together.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct ProcessorTime {
    /// Spent in this program.
    pub user: Duration,
    /// Spent in the kernel on its behalf.
    pub system: Duration,
}

/// The process' id.
pub fn id() -> u32 {
    std::process::id()
}

/// The host's name; empty if it is not known.
pub fn host_name() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}

/// The processor time used so far; zero if the system does not tell.
pub fn processor_time() -> ProcessorTime {
    match getrusage(UsageWho::RUSAGE_SELF) {
        Ok(usage) => ProcessorTime { user: duration(usage.user_time()), system: duration(usage.system_time()) },
        Err(_) => ProcessorTime::default(),
    }
}

fn duration(time: TimeVal) -> Duration {
    let seconds = u64::try_from(time.tv_sec()).unwrap_or(0);
    let micros = u64::try_from(time.tv_usec()).unwrap_or(0);
    Duration::from_secs(seconds) + Duration::from_micros(micros)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn processor_time_grows_with_work() {
        let before = processor_time();
        let mut sum = 0u64;
        while processor_time() == before {
            for number in 0..100_000u64 {
                sum = std::hint::black_box(sum.wrapping_add(number));
            }
        }
        let after = processor_time();
        assert!(after.user >= before.user && after.system >= before.system);
        assert_ne!(id(), 0);
        assert!(!host_name().is_empty());
    }
}
