//! Side-by-side benchmarks: starts slabstash and memcached on one machine, loads both in turn over loopback, checks every
//! reply, and compares what an operation costs the server.
//!
//! A map, from the top:
//!
//! - [`options`]: the command line
//! - [`runner`]: the order of workloads, rounds and servers
//! - [`workload`]: what is measured, a file per family
//! - [`load`]: the client; [`server`]: starting, asking and metering a server
//! - [`replay`]: traces, against a server or in process
//! - [`report`]: tables, samples, plot
//! - [`metric`], [`statistics`], [`random`], [`machine`], [`error`]: values that all of these share

mod error;
mod load;
mod machine;
mod metric;
mod options;
mod random;
mod replay;
mod report;
mod runner;
mod server;
mod statistics;
mod workload;

use std::env;
use std::path::PathBuf;
use std::process::ExitCode;

use crate::error::Error;
use crate::options::{Action, Options};
use crate::server::Binary;

fn main() -> ExitCode {
    let words: Vec<String> = env::args().skip(1).collect();
    let parsed = Options::parse(&words).map(|mut options| {
        let traces = &mut options.parameters.traces;
        *traces = traces.take().or_else(|| env::var_os("TRACES").map(PathBuf::from));
        options
    });
    match parsed.and_then(|options| act(&options)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("slabstash-bench: {error}");
            ExitCode::FAILURE
        }
    }
}

fn act(options: &Options) -> Result<(), Error> {
    match options.action {
        Action::Help => print!("{}", options::help()),
        Action::List => print!("{}", options::list()),
        Action::Policies => print!("{}", replay::policies::compare(&options.parameters)?),
        Action::Run => run(options)?,
    }
    Ok(())
}

/// What was measured before a failure is reported all the same.
fn run(options: &Options) -> Result<(), Error> {
    let binaries = match options.servers.is_empty() {
        true => Binary::defaults()?,
        false => options.servers.clone(),
    };
    if options.leaves_traces_out() {
        eprintln!("slabstash-bench: only a generated trace is replayed; {}", replay::plan::NO_FOLDER);
    }
    let machine = machine::describe();
    let run = runner::run(options, &binaries)?;
    if !run.measured.is_empty() {
        let method = format!(
            "{} rounds of {:?} after {:?} of warm-up, servers in turn",
            options.rounds, options.time, options.warm_up
        );
        let markdown = report::markdown::render(&run, &machine, &method);
        print!("{markdown}");
        if let Some(folder) = &options.output {
            report::write(&run, &markdown, folder)?;
        }
    }
    run.failure.map_or(Ok(()), Err)
}
