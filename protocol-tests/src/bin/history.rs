//! Checks the history of every key of a server under load, for as long as one likes.
//!
//! ```text
//! history [--seconds N] [--operations N] [--connections N] [--threads N] [--keys N] [--counters N] [--batch N]
//!         [--seed N] [--restart SECONDS] [--warm-restart SECONDS] [--manager] [--report SECONDS] [--tls] [--calm] [--text]
//!         [-- OPTIONS OF THE SERVER...]
//! ```
//!
//! The server is chosen as for the tests (`README.md`). `--calm` leaves out flushes, page moves and changes of the memory
//! limit, `--text` the binary protocol. `--restart` kills the server, which then has nothing; `--warm-restart` stops it in
//! order, and the next one has what it left: in a file (`-e`), with `--manager` in the hands of a service manager. They do not
//! go together with a memory limit that changes, which a kept cache has to fit, so `--warm-restart` leaves that out. Ends with
//! 0, with 1 after a violation, with 64 after a wrong option.

use std::process::{ExitCode, id};

use protocol_tests::history::client::Load;
use protocol_tests::history::keeper::Keeping;
use protocol_tests::history::runner::{Plan, Target, run};
use protocol_tests::server::Program;

fn main() -> ExitCode {
    let plan = match plan(std::env::args().skip(1)) {
        Ok(plan) => plan,
        Err(error) => {
            eprintln!("history: {error}");
            return ExitCode::from(64);
        }
    };
    println!("--seed {}", plan.seed);
    match run(&plan) {
        Err(error) => {
            eprintln!("history: {error}");
            ExitCode::FAILURE
        }
        Ok(summary) => {
            println!("{summary:?}");
            if summary.violations.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
        }
    }
}

fn plan(mut words: impl Iterator<Item = String>) -> Result<Plan, String> {
    let mut program = Program::from_environment()?;
    let mut options: Vec<String> = ["-m", "32", "-t", "2"].map(str::to_string).to_vec();
    let mut plan = Plan {
        server: Target::Port(0),
        seconds: 60,
        operations: 0,
        connections: 16,
        threads: 2,
        seed: u64::from(id()),
        is_disturbed: true,
        is_flushed: false,
        restart_seconds: 0,
        warm_restart_seconds: 0,
        keeping: Keeping::File,
        report_seconds: 10,
        load: Load { keys: 20_000, counters: 100, batch: 200, has_binary: true },
    };
    while let Some(word) = words.next() {
        let mut number = || -> Result<u64, String> {
            let value = words.next().ok_or_else(|| format!("{word} needs a number"))?;
            value.parse().map_err(|_| format!("'{value}' is no number"))
        };
        match word.as_str() {
            "--seconds" => plan.seconds = number()?,
            "--operations" => (plan.operations, plan.seconds) = (number()?, u64::MAX),
            "--connections" => plan.connections = number()?.clamp(1, 250),
            "--threads" => plan.threads = number()?.clamp(1, 64),
            "--keys" => plan.load.keys = number()?.clamp(100, 10_000_000) as u32,
            "--counters" => plan.load.counters = number()?.min(100_000) as u32,
            "--batch" => plan.load.batch = number()?.clamp(1, 5000) as usize,
            "--seed" => plan.seed = number()?,
            "--restart" => plan.restart_seconds = number()?,
            "--warm-restart" => plan.warm_restart_seconds = number()?,
            "--manager" => plan.keeping = Keeping::Manager,
            "--report" => plan.report_seconds = number()?,
            "--tls" => program.is_encrypted = true,
            "--calm" => plan.is_disturbed = false,
            "--text" => plan.load.has_binary = false,
            "--" => {
                options = words.by_ref().collect();
                break;
            }
            _ => return Err(format!("there is no option '{word}'")),
        }
    }
    plan.server = Target::Program(Box::new(program), options);
    Ok(plan)
}
