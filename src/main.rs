//! The slabstash daemon: reads the command line, says what is wrong with it, or serves. Called by its own name with the
//! name of a command first, it is a client instead.

use std::env;
use std::fs;
use std::io::{Write, stderr, stdout};
use std::process::ExitCode;
use std::thread::available_parallelism;

use slabstash::options::{self, Environment, Identity, Invocation, Parsed};
#[cfg(feature = "terminal")]
use slabstash::terminal;
use slabstash::{server, sys};

fn main() -> ExitCode {
    let invocation = invocation();
    if let Some(status) = command(&invocation) {
        return status;
    }
    let parsed = options::parse(&invocation);
    let options = match parsed {
        Ok(Parsed::Run(options)) => options,
        Ok(Parsed::Print { text, exit_code }) => {
            let _ = stdout().write_all(text.as_bytes());
            return code(exit_code);
        }
        Err(failure) => return complain(&failure.message, failure.exit_code),
    };
    match server::run(server::Config::from(&*options)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => complain(&failure.message, failure.exit_code),
    }
}

/// Runs the command that the first word names; `None` if it names none. memcached takes no words and ignores them, so by
/// its name there are no commands.
#[cfg(feature = "terminal")]
fn command(invocation: &Invocation) -> Option<ExitCode> {
    let (word, rest) = invocation.arguments.split_first()?;
    let command = terminal::command(word).filter(|_| !Identity::of(invocation).is_memcached)?;
    Some(ExitCode::from(terminal::run(command, rest)))
}

/// This program was built without its commands. Who wants one must not get a daemon.
#[cfg(not(feature = "terminal"))]
fn command(invocation: &Invocation) -> Option<ExitCode> {
    let word = invocation.arguments.first()?.to_str()?;
    let is_command = ["top", "stats", "keys", "dump", "load", "check"].contains(&word);
    let is_meant = is_command && !Identity::of(invocation).is_memcached;
    is_meant.then(|| complain(&format!("slabstash {word}: this program is built without its commands"), 64))
}

fn invocation() -> Invocation {
    let mut words = env::args_os();
    Invocation {
        program: words.next().unwrap_or_else(|| "slabstash".into()),
        arguments: words.collect(),
        is_root: sys::user::is_root(),
        core_count: available_parallelism().map_or(1, |count| count.get()),
        environment: Environment {
            slabstash_name: env::var_os("SLABSTASH_NAME"),
            memcached_port_filename: env::var_os("MEMCACHED_PORT_FILENAME"),
            initial_malloc: env::var_os("T_MEMD_INITIAL_MALLOC"),
            posixly_correct: env::var_os("POSIXLY_CORRECT").is_some(),
        },
        read_file: Some(|path| fs::read(path)),
    }
}

fn complain(message: &str, exit_code: i32) -> ExitCode {
    if !message.is_empty() {
        let _ = writeln!(stderr(), "{message}");
    }
    code(exit_code)
}

fn code(exit_code: i32) -> ExitCode {
    ExitCode::from(u8::try_from(exit_code).unwrap_or(1))
}
