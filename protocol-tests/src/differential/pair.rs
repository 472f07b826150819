//! Two servers that are told the same.

use std::env;
use std::process;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::compare::Comparison;
use super::ending::Ending;
use super::rules::STATISTICS;
use super::stream::{Batch, Command};
use crate::case::Setting;
use crate::pump::{Pump, Pumped};
use crate::server::{Program, Server};

/// Two servers with the same options, and what is known of both.
#[derive(Debug)]
pub struct Pair {
    servers: [Server; 2],
    /// What was found equal so far, and by which rules.
    pub comparison: Comparison,
}

impl Pair {
    /// Starts both. Where `options` of one has words the other does not know, they are in `own`.
    pub fn start(programs: [&Program; 2], options: &str, own: [&str; 2]) -> Result<Pair, String> {
        static PAIRS: AtomicU32 = AtomicU32::new(0);
        let pair = PAIRS.fetch_add(1, Ordering::Relaxed);
        let start = |index: usize| {
            let words = options.split_whitespace().chain(own[index].split_whitespace());
            let setting = Setting { options: words.map(str::to_string).collect(), ..Setting::default() };
            let folder = env::temp_dir().join(format!("differential-{}-{pair}-{index}", process::id()));
            Server::start(programs[index], &setting, folder)
        };
        let mut comparison = Comparison::default();
        comparison.has_two_releases = programs[0].version != programs[1].version;
        Ok(Pair { servers: [start(0)?, start(1)?], comparison })
    }

    /// Says all of a batch over a new connection to both, cut at `cuts` (shares of the whole, ascending), and compares
    /// what they answer.
    pub fn play(&mut self, batch: &Batch, cuts: &[f64], has_pauses: bool) -> Result<(), String> {
        let inputs = [0, 1].map(|index| batch.input(|key| self.comparison.cas(index, key)));
        let ending = Ending::of(batch, &inputs[0].0, inputs[0].1);
        let ports = [self.servers[0].port, self.servers[1].port];
        let answers = exchange(ports, inputs.map(|(input, _)| input), cuts, has_pauses)?;
        self.comparison.resets = [answers[0].is_reset, answers[1].is_reset];
        self.comparison.answers(batch.is_binary, ending, [&answers[0].received, &answers[1].received])?;
        for server in &mut self.servers {
            server.expect_running()?;
        }
        Ok(())
    }

    /// Empties both. memcached looks for items of the present second at the ends of its lists only, and so misses some
    /// that were fetched in it: here no item is that new.
    pub fn flush(&mut self, is_binary: bool) -> Result<(), String> {
        thread::sleep(FLUSH_PAUSE);
        let flush = match is_binary {
            true => Command::bytes([0x80, 0x08].into_iter().chain([0; 22]).collect::<Vec<u8>>()),
            false => Command::bytes("flush_all\r\n"),
        };
        self.play(&Batch { is_binary, commands: vec![flush], ..Batch::default() }, &[], false)
    }

    /// Compares what both are left with, item by item, by a dump. memcached's leaves out items that its own threads hold or
    /// move at that moment, so a difference is one only if it stays.
    pub fn compare_items(&mut self) -> Result<(), String> {
        self.comparison.resets = [false; 2];
        let mut result = Ok(());
        for _ in 0..DUMPS_MAX {
            let dumps = self.each(b"lru_crawler metadump all\r\n")?;
            let [first, second] = dumps.map(|dump| {
                let lines = dump.split_inclusive(|byte| *byte == b'\n').filter(|line| is_lasting(line));
                let mut lines: Vec<Vec<u8>> = lines.map(<[u8]>::to_vec).collect();
                lines.sort();
                lines.concat()
            });
            result = self.comparison.answers(false, Ending::default(), [&first, &second]);
            if result.is_ok() {
                break;
            }
        }
        result.map_err(|error| format!("the items: {error}"))
    }

    /// Compares the general statistics.
    pub fn compare_statistics(&self) -> Result<(), String> {
        let [first, second] = self.each(b"stats\r\n")?.map(|text| String::from_utf8_lossy(&text).into_owned());
        let name = |line: &str| line.split(' ').nth(1).unwrap_or("").to_string();
        let is_allowed = |line: &str| STATISTICS.iter().any(|(allowed, _)| *allowed == name(line));
        let differences: Vec<String> = first
            .lines()
            .zip(second.lines())
            .filter(|(one, other)| one != other && (name(one) != name(other) || !is_allowed(one)))
            .map(|(one, other)| format!("'{one}' and '{other}'"))
            .collect();
        if !differences.is_empty() {
            return Err(format!("the statistics: {}", differences.join(", ")));
        }
        match first.lines().count() == second.lines().count() {
            true => Ok(()),
            false => Err("the statistics: other lines".to_string()),
        }
    }

    /// What both answer to a line.
    fn each(&self, line: &[u8]) -> Result<[Vec<u8>; 2], String> {
        Ok([ask_line(&self.servers[0], line)?, ask_line(&self.servers[1], line)?])
    }
}

/// What a server answers to a line, up to an `END`.
pub(super) fn ask_line(server: &Server, line: &[u8]) -> Result<Vec<u8>, String> {
    let mut pump = Pump::open(server.port)?;
    pump.send(line)?;
    // A dump ends with its connection in old releases, so the sending side stays open until all has come.
    while !pump.received.ends_with(b"END\r\n") {
        if pump.wait()? == Pumped::Closed {
            break;
        }
    }
    Ok(std::mem::take(&mut pump.received))
}

/// Whether a line of a dump is of an item that does not expire while the streams are played: no command of theirs asks for
/// that, but one that is broken by chance can.
pub(super) fn is_lasting(line: &[u8]) -> bool {
    let time = line.split(|byte| *byte == b' ').find_map(|word| word.strip_prefix(b"exp="));
    let time = time.and_then(|digits| std::str::from_utf8(digits).ok()?.parse::<u64>().ok());
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    time.is_none_or(|time| time.abs_diff(now) > SHORT_LIFE_SECONDS)
}

/// Says each server its input over a new connection, cut at `cuts` (shares of the whole, ascending), and takes all that
/// comes until it closes.
pub(super) fn exchange<const N: usize>(
    ports: [u16; N],
    inputs: [Vec<u8>; N],
    cuts: &[f64],
    has_pauses: bool,
) -> Result<Vec<Pump>, String> {
    let mut pumps = ports.into_iter().map(Pump::open).collect::<Result<Vec<Pump>, String>>()?;
    let mut sent = [0; N];
    for share in cuts.iter().copied().chain([1.0]) {
        for (index, input) in inputs.iter().enumerate() {
            let end = ((input.len() as f64 * share).round() as usize).clamp(sent[index], input.len());
            // A server may close before it has read everything; what it said counts.
            if pumps[index].send(&input[sent[index]..end])? == Pumped::Closed {
                pumps[index].drain();
            }
            sent[index] = end;
        }
        if has_pauses && share < 1.0 {
            thread::sleep(CUT_PAUSE);
        }
    }
    pumps.iter_mut().for_each(Pump::end_sending);
    for pump in &mut pumps {
        while pump.wait()? == Pumped::Done {}
    }
    Ok(pumps)
}

/// Until every clock has gone on, and the second after it has begun.
pub(super) const FLUSH_PAUSE: Duration = Duration::from_millis(2200);

/// Dumps of the items that are compared, until two are equal.
pub(super) const DUMPS_MAX: usize = 5;

/// Between the pieces of an input, so that a server reads the first one alone, mostly.
const CUT_PAUSE: Duration = Duration::from_micros(150);

/// Below the shortest life that the streams ask for.
const SHORT_LIFE_SECONDS: u64 = 50_000;

#[cfg(test)]
mod tests {
    use super::{SystemTime, UNIX_EPOCH, is_lasting};

    /// A broken command stored an item for a second: one server's dump came before its end, the other's behind.
    #[test]
    fn what_expires_meanwhile_is_no_item() {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
        let line = |time: String| format!("key=a exp={time} la=3 cas=2\n").into_bytes();
        assert!(!is_lasting(&line((now + 1).to_string())) && !is_lasting(&line((now - 1).to_string())));
        assert!(is_lasting(&line((now + 99_000).to_string())) && is_lasting(&line("-1".to_string())));
        assert!(is_lasting(&line(format!("-{now}"))) && is_lasting(b"END\r\n"));
    }
}
