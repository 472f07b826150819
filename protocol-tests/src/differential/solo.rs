//! One server whose answers are recorded, or compared with a record.

use std::collections::BTreeMap;
use std::env;
use std::process;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::Duration;

use super::canonical::Canonical;
use super::ending::Ending;
use super::pair::{DUMPS_MAX, FLUSH_PAUSE, ask_line, exchange, is_lasting};
use super::record::{Answer, Form, Record};
use super::rules::{Rule, STATISTICS};
use super::stream::{Batch, Command};
use crate::case::Setting;
use crate::server::{Program, Server};

/// A server, what it has shown, and the record of another.
#[derive(Debug)]
pub struct Solo {
    server: Server,
    canonical: Canonical,
    /// What is compared with, or made.
    pub record: Record,
    /// How often a difference was allowed, by rule.
    pub uses: BTreeMap<Rule, u64>,
}

impl Solo {
    /// Starts the server.
    pub fn start(program: &Program, options: &str, record: Record) -> Result<Solo, String> {
        static SERVERS: AtomicU32 = AtomicU32::new(0);
        let number = SERVERS.fetch_add(1, Ordering::Relaxed);
        let setting =
            Setting { options: options.split_whitespace().map(str::to_string).collect(), ..Setting::default() };
        let folder = env::temp_dir().join(format!("recorded-{}-{number}", process::id()));
        let server = Server::start(program, &setting, folder)?;
        Ok(Solo { server, canonical: Canonical::default(), record, uses: BTreeMap::new() })
    }

    /// Says all of a batch over a new connection, cut at `cuts`, and compares what comes, or records it.
    pub fn play(&mut self, batch: &Batch, cuts: &[f64], has_pauses: bool, form: Form) -> Result<(), String> {
        let (ending, pump) = self.say(batch, cuts, has_pauses)?;
        let answer = Answer { bytes: &pump.received, is_reset: pump.is_reset };
        let rule = self.record.answer(&mut self.canonical, (batch, ending), answer, form)?;
        if let Some(rule) = rule {
            *self.uses.entry(rule).or_default() += 1;
        }
        Ok(())
    }

    /// Says all of a batch; nobody looks at the answer.
    pub fn prepare(&mut self, batch: &Batch) -> Result<(), String> {
        self.say(batch, &[], false).map(drop)
    }

    fn say(&mut self, batch: &Batch, cuts: &[f64], has_pauses: bool) -> Result<(Ending, crate::pump::Pump), String> {
        let (input, mutated_at) = batch.input(|key| self.canonical.cas(key));
        let ending = Ending::of(batch, &input, mutated_at);
        let pump = exchange([self.server.port], [input], cuts, has_pauses)?.remove(0);
        self.server.expect_running()?;
        Ok((ending, pump))
    }

    /// Forgets what was shown, and begins with the record again.
    pub fn begin_again(&mut self, record: Record) {
        (self.canonical, self.record) = (Canonical::default(), record);
    }

    /// [`Pair::flush`](super::pair::Pair::flush).
    pub fn flush(&mut self, is_binary: bool) -> Result<(), String> {
        thread::sleep(FLUSH_PAUSE);
        let flush = match is_binary {
            true => Command::bytes([0x80, 0x08].into_iter().chain([0; 22]).collect::<Vec<u8>>()),
            false => Command::bytes("flush_all\r\n"),
        };
        self.play(&Batch { is_binary, commands: vec![flush], ..Batch::default() }, &[], false, Form::Each)
    }

    /// [`Pair::compare_items`](super::pair::Pair::compare_items). A dump leaves out what a thread holds, so an item is there
    /// that is in one of several.
    pub fn items(&mut self) -> Result<(), String> {
        let mut items: BTreeMap<Vec<u8>, Vec<u8>> = BTreeMap::new();
        for _ in 0..DUMPS_MAX {
            let dump = ask_line(&self.server, b"lru_crawler metadump all\r\n")?;
            for line in dump.split_inclusive(|byte| *byte == b'\n').filter(|line| is_lasting(line)) {
                let name = line.split(|byte| *byte == b' ').next().unwrap_or(line);
                items.insert(name.to_vec(), line.to_vec());
            }
            thread::sleep(DUMP_PAUSE);
        }
        let all: Vec<u8> = items.into_values().flatten().collect();
        self.text(&all).map_err(|error| format!("the items: {error}"))
    }

    /// [`Pair::compare_statistics`](super::pair::Pair::compare_statistics).
    pub fn statistics(&mut self) -> Result<(), String> {
        let answer = ask_line(&self.server, b"stats\r\n")?;
        let text = String::from_utf8_lossy(&answer);
        let mut lines = String::new();
        for line in text.lines() {
            let line = line.strip_prefix("STAT ").unwrap_or(line);
            let name = line.split(' ').next().unwrap_or("");
            let is_compared = STATISTICS.iter().all(|(allowed, _)| *allowed != name);
            lines.push_str(if is_compared { line } else { name });
            lines.push_str("\r\n");
        }
        self.text(lines.as_bytes()).map_err(|error| format!("the statistics: {error}"))
    }

    fn text(&mut self, text: &[u8]) -> Result<(), String> {
        let answer = Answer { bytes: text, is_reset: false };
        let asked = (&Batch::default(), Ending::default());
        self.record.answer(&mut self.canonical, asked, answer, Form::Each).map(drop)
    }
}

/// Between two dumps, for threads to let go of what they hold.
const DUMP_PAUSE: Duration = Duration::from_millis(300);
