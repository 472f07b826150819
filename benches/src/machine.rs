//! The machine under the benchmark: which cores the servers and the load get, how many files may be open, and what the
//! report says about it.
//!
//! Only loads on cores of their own measure a server; so the first cores go to the server's workers and the rest to the
//! client. Affinity is inherited by children and threads, so it is set on the calling thread just before it starts them.

use std::fs;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

use crate::error::Error;

/// Which cores serve and which load.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Placement {
    /// One core per worker of the server, as far as there are any.
    pub server: Vec<usize>,
    /// The other cores, or all of them if no other is left.
    pub load: Vec<usize>,
}

impl Placement {
    /// Divides the cores for a server with so many workers.
    pub fn new(cores: &[usize], workers: usize) -> Placement {
        let (server, load) = cores.split_at(workers.min(cores.len()));
        let load = if load.is_empty() { cores } else { load };
        Placement { server: server.to_vec(), load: load.to_vec() }
    }

    /// Whether server and load meet on a core; then only the ratios between servers mean something.
    pub fn is_shared(&self) -> bool {
        self.server.iter().any(|core| self.load.contains(core))
    }
}

/// The cores that this process may use.
pub fn cores() -> Result<Vec<usize>, Error> {
    let set = sched_getaffinity(None).map_err(Error::system("read the allowed cores"))?;
    Ok((0..CpuSet::MAX_CPU).filter(|&core| set.is_set(core)).collect())
}

/// Binds the calling thread, and what it starts from now on, to these cores.
pub fn bind(cores: &[usize]) -> Result<(), Error> {
    let mut set = CpuSet::new();
    for &core in cores {
        set.set(core);
    }
    sched_setaffinity(None, &set).map_err(Error::system("bind to cores"))
}

/// Raises the limit of open files as far as allowed and returns it.
pub fn raise_open_files() -> u64 {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit { current: limit.maximum, maximum: limit.maximum };
    match setrlimit(Resource::Nofile, raised) {
        Ok(()) => limit.maximum.unwrap_or(u64::MAX),
        Err(_) => limit.current.unwrap_or(u64::MAX),
    }
}

/// One line on processor, kernel and congestion control, for the head of the report.
pub fn describe() -> String {
    let read = |path| fs::read_to_string(path).unwrap_or_default();
    let info = read("/proc/cpuinfo");
    let model = info
        .lines()
        .find_map(|line| line.strip_prefix("model name")?.split_once(':'))
        .map_or("unknown processor", |(_, name)| name.trim());
    let cores = cores().map_or(0, |cores| cores.len());
    let kernel = read("/proc/sys/kernel/osrelease");
    let congestion = read("/proc/sys/net/ipv4/tcp_congestion_control");
    format!("{model}, {cores} cores, Linux {}, {}", kernel.trim(), congestion.trim())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(cores: &[usize], workers: usize, server: &[usize], load: &[usize], shared: bool) {
        let placement = Placement::new(cores, workers);
        assert_eq!((&placement.server[..], &placement.load[..]), (server, load));
        assert_eq!(placement.is_shared(), shared);
    }

    #[test]
    fn placements() {
        check(&[0, 1], 1, &[0], &[1], false);
        check(&[2, 5, 7, 9], 2, &[2, 5], &[7, 9], false);
        check(&[0, 1], 2, &[0, 1], &[0, 1], true);
        check(&[0], 1, &[0], &[0], true);
        check(&[3], 4, &[3], &[3], true);
    }
}
