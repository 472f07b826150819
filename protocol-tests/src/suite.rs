//! Runs case files against a program and reports in the words of `cargo test`.
//!
//! Cases are played by several workers. Each has a server of its own, so no case sees another's items or counters, and
//! starts another one only when the next case wants other options; the queue is sorted to make that rare.

use std::collections::VecDeque;
use std::env;
use std::path::{Path, PathBuf};
use std::process::{ExitCode, id};
use std::sync::Mutex;
use std::thread;
use std::time::Instant;

use crate::case::{Case, Setting, load_folder};
use crate::cuts::positions;
use crate::play::play;
use crate::server::{Program, Server};

/// What became of a case.
enum Verdict {
    Passed { runs: usize },
    Ignored(String),
    Failed(String),
}

/// Runs the case files under `folder` that the command line asks for.
pub fn main(folder: &Path) -> ExitCode {
    run(folder, Transport::Plain)
}

/// The same over TLS: each case whole and cut in a few places, which are places of the encrypted bytes. Cases whose names
/// contain a word of `left_out` are about a server without TLS, and a real memcached is not asked those of `also_left_out`.
pub fn main_over_tls(
    folder: &Path,
    left_out: &'static [&'static str],
    also_left_out: &'static [&'static str],
) -> ExitCode {
    run(folder, Transport::Tls { left_out, also_left_out })
}

/// What carries the transcripts.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Transport {
    Plain,
    Tls { left_out: &'static [&'static str], also_left_out: &'static [&'static str] },
}

fn run(folder: &Path, transport: Transport) -> ExitCode {
    let request = match Request::from_arguments(env::args().skip(1)) {
        Ok(request) => request,
        Err(error) => return give_up(&error),
    };
    let mut cases = match load_folder(folder) {
        Ok(cases) => cases,
        Err(error) => return give_up(&error),
    };
    let total = cases.len();
    cases.retain(|case| request.wants(&case.name));
    if request.is_list {
        cases.iter().for_each(|case| println!("{}: test", case.name));
        return ExitCode::SUCCESS;
    }
    let mut program = match Program::from_environment() {
        Ok(program) => program,
        Err(error) => return give_up(&error),
    };
    if let Transport::Tls { left_out, also_left_out } = transport {
        if !program.help.contains("enable-ssl") {
            println!("\ntest result: ok. 0 passed; 0 failed; {total} ignored: this server has no TLS\n");
            return ExitCode::SUCCESS;
        }
        program.is_encrypted = true;
        let is_named = |case: &Case, words: &[&str]| words.iter().any(|word| case.name.contains(word));
        let is_left_out =
            |case: &Case| is_named(case, left_out) || program.is_reference && is_named(case, also_left_out);
        cases.retain(|case| !is_left_out(case));
    }
    // A program that cannot be started at all is one failure, not hundreds.
    if let Err(error) = Server::start(&program, &Setting::default(), scratch_folder(usize::MAX)) {
        return give_up(&error);
    }
    println!("\nrunning {} tests against {} ({})", cases.len(), program.path.display(), program.version);
    let started = Instant::now();
    report(run_all(&program, cases, request.workers), total, started)
}

fn give_up(error: &str) -> ExitCode {
    eprintln!("error: {error}");
    ExitCode::FAILURE
}

/// What the command line asks for, in the words of libtest as far as they make sense here.
struct Request {
    filters: Vec<String>,
    is_list: bool,
    workers: usize,
}

impl Request {
    fn from_arguments(arguments: impl Iterator<Item = String>) -> Result<Request, String> {
        let mut request = Request { filters: Vec::new(), is_list: false, workers: WORKERS };
        let mut arguments = arguments;
        while let Some(argument) = arguments.next() {
            match argument.as_str() {
                "--list" => request.is_list = true,
                "--test-threads" => {
                    let count = arguments.next().and_then(|count| count.parse().ok());
                    request.workers = count.filter(|count| *count > 0).ok_or("--test-threads needs a number")?;
                }
                option if option.starts_with('-') => {}
                _ => request.filters.push(argument),
            }
        }
        Ok(request)
    }

    fn wants(&self, name: &str) -> bool {
        self.filters.is_empty() || self.filters.iter().any(|filter| name.contains(filter.as_str()))
    }
}

fn run_all(program: &Program, mut cases: Vec<Case>, workers: usize) -> Vec<(String, Verdict)> {
    cases.sort_by_key(|case| {
        let Setting { is_fresh, options, files, environment, .. } = case.setting.clone();
        (is_fresh, options, files, environment)
    });
    let queue = Mutex::new(VecDeque::from(cases));
    let verdicts = Mutex::new(Vec::new());
    thread::scope(|scope| {
        for number in 0..workers {
            let (queue, verdicts) = (&queue, &verdicts);
            scope.spawn(move || {
                let mut worker = Worker { program, folder: scratch_folder(number), current: None };
                // The queue must not stay locked while a case runs, as it would inside a `while let`.
                let next = || lock(queue).pop_front();
                while let Some(case) = next() {
                    let started = Instant::now();
                    let verdict = worker.judge(&case);
                    print_verdict(&case.name, &verdict, started);
                    lock(verdicts).push((case.name, verdict));
                }
            });
        }
    });
    verdicts.into_inner().unwrap_or_else(|poisoned| poisoned.into_inner())
}

/// Locks a queue or a list, which a panic elsewhere cannot leave half changed.
fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}

fn scratch_folder(number: usize) -> PathBuf {
    env::temp_dir().join(format!("protocol-tests-{}-{number}", id()))
}

struct Worker<'p> {
    program: &'p Program,
    folder: PathBuf,
    /// The server kept for the next case, and what it was started for.
    current: Option<(Server, Setting)>,
}

impl Worker<'_> {
    fn judge(&mut self, case: &Case) -> Verdict {
        if let Some(needs) = case.setting.needs.filter(|needs| *needs > self.program.version) {
            return Verdict::Ignored(format!("needs {needs}"));
        }
        if let Some(word) = case.setting.has.as_ref().filter(|word| !self.program.help.contains(*word)) {
            return Verdict::Ignored(format!("has no {word}"));
        }
        let writes = match self.attempt(case, None) {
            Ok(writes) => writes,
            Err(error) => return Verdict::Failed(error),
        };
        let mut cuts = positions(&writes, case.setting.cut);
        if self.program.is_encrypted && cuts.len() > ENCRYPTED_CUTS_MAX {
            let step = cuts.len() / ENCRYPTED_CUTS_MAX;
            cuts = cuts.into_iter().step_by(step.max(1)).take(ENCRYPTED_CUTS_MAX).collect();
        }
        for cut in &cuts {
            if let Err(error) = self.attempt(case, Some(*cut)) {
                return Verdict::Failed(format!("cut at {cut}: {error}"));
            }
        }
        Verdict::Passed { runs: 1 + cuts.len() }
    }

    /// A run; a real memcached has a second try, on a new server. Once in some ten thousand runs its `flush_all` leaves an
    /// item of the current second alive. Slabstash has no such excuse.
    fn attempt(&mut self, case: &Case, cut: Option<usize>) -> Result<Vec<Vec<u8>>, String> {
        match self.run(case, cut) {
            Err(_) if self.program.is_reference => self.run(case, cut),
            result => result,
        }
    }

    fn run(&mut self, case: &Case, cut: Option<usize>) -> Result<Vec<Vec<u8>>, String> {
        let setting = &case.setting;
        let is_like = |kept: &Setting| {
            kept.options == setting.options && kept.files == setting.files && kept.environment == setting.environment
        };
        let kept = self.current.take().filter(|(_, kept)| !setting.is_fresh && is_like(kept));
        let mut server = match kept {
            Some((server, _)) => server,
            None => Server::start(self.program, setting, self.folder.clone())?,
        };
        // After a failure the server's state is anybody's guess, so it is not kept.
        let writes = play(case, cut, self.program.version, &mut server)?;
        if !setting.is_fresh {
            self.current = Some((server, setting.clone()));
        }
        Ok(writes)
    }
}

fn print_verdict(name: &str, verdict: &Verdict, started: Instant) {
    let seconds = started.elapsed().as_secs_f64();
    match verdict {
        Verdict::Passed { runs } => println!("test {name} ... ok ({runs} runs, {seconds:.2}s)"),
        Verdict::Ignored(reason) => println!("test {name} ... ignored, {reason}"),
        Verdict::Failed(_) => println!("test {name} ... FAILED"),
    }
}

fn report(verdicts: Vec<(String, Verdict)>, total: usize, started: Instant) -> ExitCode {
    let (mut passed, mut ignored, mut played, mut failures) = (0, 0, 0, Vec::new());
    let judged = verdicts.len();
    for (name, verdict) in verdicts {
        match verdict {
            Verdict::Passed { runs } => (passed, played) = (passed + 1, played + runs),
            Verdict::Ignored(_) => ignored += 1,
            Verdict::Failed(error) => failures.push((name, error)),
        }
    }
    failures.sort();
    if !failures.is_empty() {
        println!("\nfailures:\n");
        for (name, error) in &failures {
            println!("---- {name} ----\n{error}\n");
        }
    }
    println!(
        "\ntest result: {}. {passed} passed; {} failed; {ignored} ignored; 0 measured; {} filtered out; {played} runs; \
         finished in {:.2}s\n",
        if failures.is_empty() { "ok" } else { "FAILED" },
        failures.len(),
        total - judged,
        started.elapsed().as_secs_f64(),
    );
    if failures.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Cuts of a case over TLS, where each run begins with a handshake.
const ENCRYPTED_CUTS_MAX: usize = 3;

/// Runs wait for replies most of the time, so more workers than processors are fine.
const WORKERS: usize = 6;
