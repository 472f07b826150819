//! What an operation costs the server. Operations per second depend on the client as well; the server's own work does
//! not, so it is the figure to compare.
//!
//! - Processor time: the nanoseconds that the scheduler counted for every thread, or where it does not count them, the
//!   clock ticks of the process (10 ms each, so rounds must not be short).
//! - Instructions and cycles, user and kernel: `perf stat` on the process, where perf is there and the processor counts.
//! - User instructions, for a server under callgrind: what callgrind counts.
//!
//! A meter must be started and stopped while the server is idle. Then the window is exactly the work between, and it
//! does not matter when perf began to count.

use std::fs;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use rustix::param::clock_ticks_per_second;
use rustix::process::{Pid, Signal, kill_process};

use crate::error::Error;
use crate::metric::Metric;
use crate::valgrind;

/// Whether the processor's counters can be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Counters {
    /// By perf.
    Perf,
    /// Not at all.
    Missing,
    /// Not those of the processor; but all servers run under callgrind.
    Callgrind,
}

impl Counters {
    /// Tries perf on a trivial program.
    pub fn detect() -> Counters {
        let output = perf(&["true"]).output();
        match output.map(|output| parse(&String::from_utf8_lossy(&output.stderr))) {
            Ok(counts) if !counts.is_empty() => Counters::Perf,
            _ => Counters::Missing,
        }
    }
}

/// A running measurement of one server.
pub struct Meter {
    id: u32,
    counters: Counters,
    cpu_nanoseconds: u64,
    perf: Option<Child>,
}

/// What the server spent.
#[derive(Debug, PartialEq)]
pub struct Cost {
    /// Processor time of all threads.
    pub cpu_nanoseconds: u64,
    /// The counters that were there.
    pub counts: Vec<(Metric, f64)>,
}

impl Meter {
    /// Begins to count; the server is idle.
    pub fn start(id: u32, counters: Counters) -> Result<Meter, Error> {
        let perf = match counters {
            Counters::Missing => None,
            Counters::Callgrind => {
                valgrind::zero(id)?;
                None
            }
            Counters::Perf => {
                let child = perf(&["-p", &id.to_string()]).spawn().map_err(Error::system("start perf"))?;
                std::thread::sleep(PERF_ATTACH_TIME);
                Some(child)
            }
        };
        Ok(Meter { id, counters, cpu_nanoseconds: cpu_nanoseconds(id)?, perf })
    }

    /// Ends it; the server is idle again.
    pub fn stop(self) -> Result<Cost, Error> {
        let cpu_nanoseconds = cpu_nanoseconds(self.id)?.saturating_sub(self.cpu_nanoseconds);
        let mut counts = Vec::new();
        if self.counters == Counters::Callgrind {
            counts.push((Metric::UserInstructions, valgrind::dump(self.id)?));
        }
        if let Some(child) = self.perf {
            if let Some(id) = Pid::from_raw(child.id() as i32) {
                kill_process(id, Signal::INT).map_err(Error::system("stop perf"))?;
            }
            let output = child.wait_with_output().map_err(Error::system("wait for perf"))?;
            counts = parse(&String::from_utf8_lossy(&output.stderr));
        }
        Ok(Cost { cpu_nanoseconds, counts })
    }
}

fn perf(arguments: &[&str]) -> Command {
    let events: Vec<&str> = EVENTS.iter().map(|&(event, _)| event).collect();
    let mut command = Command::new("perf");
    command
        .env("LC_ALL", "C")
        .args(["stat", "-x", ";", "-e", &events.join(",")])
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped());
    command
}

/// Reads `COUNT;UNIT;EVENT;...` lines and leaves out what was not counted.
fn parse(report: &str) -> Vec<(Metric, f64)> {
    report
        .lines()
        .filter_map(|line| {
            let mut fields = line.split(';');
            let count: f64 = fields.next()?.parse().ok()?;
            let name = fields.nth(1)?;
            let &(_, metric) = EVENTS.iter().find(|&&(event, _)| event == name)?;
            Some((metric, count))
        })
        .collect()
}

fn cpu_nanoseconds(id: u32) -> Result<u64, Error> {
    let threads = fs::read_dir(format!("/proc/{id}/task")).map_err(Error::system("list the server's threads"))?;
    // A thread may end between listing and reading.
    let counted: u64 = threads
        .flatten()
        .filter_map(|thread| fs::read_to_string(thread.path().join("schedstat")).ok())
        .filter_map(|text| text.split(' ').next()?.parse::<u64>().ok())
        .sum();
    if counted > 0 {
        return Ok(counted);
    }
    let stat =
        fs::read_to_string(format!("/proc/{id}/stat")).map_err(Error::system("read the server's processor time"))?;
    Ok(ticks(&stat).unwrap_or(0) * (1_000_000_000 / clock_ticks_per_second()))
}

/// User and system ticks of a process: fields 14 and 15, counted after the name, which may hold anything.
fn ticks(stat: &str) -> Option<u64> {
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace().skip(11);
    let user: u64 = fields.next()?.parse().ok()?;
    let system: u64 = fields.next()?.parse().ok()?;
    Some(user + system)
}

const EVENTS: &[(&str, Metric)] = &[
    ("instructions:u", Metric::UserInstructions),
    ("instructions:k", Metric::KernelInstructions),
    ("cycles:u", Metric::UserCycles),
    ("cycles:k", Metric::KernelCycles),
];
const PERF_ATTACH_TIME: Duration = Duration::from_millis(300);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn perf_reports() {
        let report = "\
# started\n\
123456;;instructions:u;1000;100.00;;\n\
<not counted>;;instructions:k;0;100.00;;\n\
<not supported>;;cycles:u;0;100.00;;\n\
99.5;;cycles:k;1000;100.00;;\n";
        let expected = [(Metric::UserInstructions, 123456.0), (Metric::KernelCycles, 99.5)];
        assert_eq!(parse(report), expected);
        assert_eq!(parse("perf: command not found\n"), []);
    }

    #[test]
    fn ticks_stand_after_any_name() {
        let stat = "7 (a) b (c)) S 1 7 7 0 -1 4194560 155 0 0 0 12 30 0 0 20 0 10 0 100 1 2";
        assert_eq!(ticks(stat), Some(42));
        assert_eq!(ticks("7 (x) S 1"), None);
    }

    #[test]
    fn a_living_process_has_used_time_and_a_missing_one_is_an_error() {
        assert!(cpu_nanoseconds(std::process::id()).unwrap() > 0);
        assert!(cpu_nanoseconds(u32::MAX).is_err());
    }
}
