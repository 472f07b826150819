//! Facts about this process that statistics show: its id, the processor time it has used, the memory it has.

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

/// Number of its threads, the caller's among them; `None` if the system does not tell.
pub fn thread_count() -> Option<usize> {
    std::fs::read_dir("/proc/self/task").ok().map(Iterator::count)
}

/// Memory of the whole process.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct ProcessMemory {
    /// Bytes in physical memory.
    pub resident_bytes: u64,
    /// Bytes that were moved out to swap.
    pub swapped_bytes: u64,
}

/// The memory in use now; zero if the system does not tell.
pub fn memory() -> ProcessMemory {
    memory_of(&std::fs::read_to_string("/proc/self/status").unwrap_or_default())
}

fn memory_of(status: &str) -> ProcessMemory {
    let bytes = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        let kibibytes = line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok());
        kibibytes.unwrap_or(0) * 1024
    };
    ProcessMemory { resident_bytes: bytes("VmRSS"), swapped_bytes: bytes("VmSwap") }
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
    fn memory_is_read_from_status() {
        let status = "Name:\tx\nVmRSSx:\t9 kB\nVmRSS:\t     123 kB\nVmSwap:\t4 kB\n";
        let expected = ProcessMemory { resident_bytes: 123 * 1024, swapped_bytes: 4096 };
        assert_eq!(memory_of(status), expected);
        assert_eq!(memory_of(""), ProcessMemory::default());
        assert!(memory().resident_bytes > 100_000);
    }

    #[test]
    fn threads_are_counted() {
        let (end, ended) = std::sync::mpsc::channel::<()>();
        std::thread::scope(|scope| {
            scope.spawn(move || ended.recv());
            assert!(thread_count().is_some_and(|count| count >= 2));
            drop(end);
        });
    }

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
