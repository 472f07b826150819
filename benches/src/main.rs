//! Side-by-side benchmarks: starts slabstash and memcached on one machine, loads both in turn over loopback, checks every
//! reply, and compares what an operation costs the server.
//!
//! A map, from the top:
//!
//! - [`options`]: the command line
//! - [`runner`]: the order of workloads, rounds and servers
//! - [`workload`]: what is measured, a file per family
//! - [`load`]: the client; [`server`]: starting, asking and metering a server
//! - [`micro`]: the parts of slabstash in process, by instructions; [`valgrind`]: how those are counted
//! - [`replay`]: traces, against a server or in process
//! - [`report`]: tables, samples, plot
//! - [`metric`], [`statistics`], [`random`], [`machine`], [`error`]: values that all of these share

mod error;
mod load;
mod machine;
mod metric;
mod micro;
mod options;
mod random;
mod replay;
mod report;
mod runner;
mod server;
mod statistics;
mod valgrind;
mod workload;

use std::env;
use std::fs;
use std::io::ErrorKind;
use std::path::PathBuf;
use std::process::ExitCode;

use crate::error::Error;
use crate::micro::baseline::{self, Baseline};
use crate::options::{Action, Options};
use crate::server::{Binary, Launch};
use crate::valgrind::Folder;

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
        Action::Instructions => instructions(options)?,
        Action::RunItems => micro::run_items(&options.items),
        Action::Policies => print!("{}", replay::policies::compare(&options.parameters)?),
        Action::Run => run(options)?,
    }
    Ok(())
}

/// Counts the micro-benchmarks and compares them with the record, or makes the record.
fn instructions(options: &Options) -> Result<(), Error> {
    if let Some(tool) = valgrind::missing() {
        eprintln!("slabstash-bench: nothing counted: there is no {tool} (it is in the package valgrind)");
        return Ok(());
    }
    let tools = format!("{}, {}", valgrind::first_line_of("rustc"), valgrind::version());
    let counts = micro::count(&options.items)?;
    let record = match fs::read_to_string(&options.baseline) {
        Ok(text) => Baseline::parse(&text)
            .map_err(|problem| Error::Usage(format!("{}: {problem}", options.baseline.display())))?,
        Err(error) if error.kind() == ErrorKind::NotFound => Baseline { tools: tools.clone(), counts: Vec::new() },
        Err(error) => return Err(Error::System { action: "read the record", source: error }),
    };
    let tolerance = options.tolerance_percent.map_or(f64::INFINITY, |percent| percent as f64 / 100.0);
    let comparison = baseline::compare(&counts, &record, tolerance);
    if record.tools != tools {
        println!("On record with {}; counted with {tools}.\n", record.tools);
    }
    print!("{}", comparison.markdown);
    if options.is_recording {
        let text = record.with(tools, &counts).render();
        return fs::write(&options.baseline, text).map_err(Error::system("write the record"));
    }
    match comparison.worse.is_empty() {
        true => Ok(()),
        false => Err(Error::Worse(comparison.worse)),
    }
}

/// What was measured before a failure is reported all the same.
fn run(options: &Options) -> Result<(), Error> {
    let _folder = match (options.launch, valgrind::missing()) {
        (Launch::Callgrind, None) => Some(Folder::new()?),
        (Launch::Callgrind, Some(tool)) => {
            return Err(valgrind::failure(&format!("there is no {tool}; install the package valgrind")));
        }
        (Launch::Plain | Launch::RealTime, _) => None,
    };
    let mut binaries = match options.servers.is_empty() {
        true => Binary::defaults()?,
        false => options.servers.clone(),
    };
    binaries.iter_mut().for_each(|binary| binary.launch = options.launch);
    if let Some(folder) = &options.output {
        report::make_folder(folder)?;
    }
    if options.leaves_traces_out() {
        eprintln!("slabstash-bench: only a generated trace is replayed; {}", replay::plan::NO_FOLDER);
    }
    let machine = machine::describe();
    let run = runner::run(options, &binaries)?;
    if !run.measured.is_empty() {
        let how = match options.launch {
            Launch::Plain => "",
            Launch::Callgrind => ", user instructions counted by callgrind",
            Launch::RealTime => ", which run at real-time priority",
        };
        let method = format!(
            "{} rounds of {:?} after {:?} of warm-up, servers in turn{how}",
            options.rounds, options.time, options.warm_up
        );
        let markdown = report::markdown::render(&run, &machine, &method);
        print!("{markdown}");
        if let Some(folder) = &options.output {
            report::write(&run, &machine, &markdown, folder)?;
        }
    }
    run.failure.map_or(Ok(()), Err)
}
