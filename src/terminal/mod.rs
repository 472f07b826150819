//! `slabstash top|stats|keys|dump|load|check`: a client for operators.
//!
//! It stands beside the daemon, not in it: it knows nodes by their address and the text protocol alone, so everything
//! works on a memcached as well; `top` shows more of a node whose admin listener it is told of. Of this crate it sees [`crate::base`] only, and only `main` sees it; the feature
//! `terminal`, on by default, leaves all of it out.
//!
//! ```text
//!   main ── COMMANDS ─┬─ stats, keys, dump, load, check     a file each: its row, its flags, its work
//!                     └─ top ── poll, board, view, plain
//!   below them   sample ── findings     what a node says at a moment, and what is wrong with it
//!                statistics, classes, settings, listing, hot_keys     what answers mean
//!                inside     what a node's admin listener says, where it has one
//!                connection ── address, tls     bytes, deadlines, login, encryption
//!   beside them  arguments, man, completion     one row per command: parser, help, manual page, bash completion
//!                text, progress, failure
//! ```

pub mod address;
pub mod arguments;
pub mod check;
pub mod classes;
pub mod completion;
pub mod connection;
pub mod dump;
pub mod failure;
pub mod findings;
pub mod hot_keys;
pub mod inside;
pub mod keys;
pub mod listing;
pub mod load;
pub mod man;
pub mod progress;
pub mod sample;
pub mod settings;
pub mod statistics;
pub mod stats;
pub mod text;
pub mod tls;
pub mod top;

use std::ffi::{OsStr, OsString};
use std::io::{Write, stdout};

use self::arguments::{Arguments, Command};
use self::failure::Failure;

/// All commands.
pub static COMMANDS: &[Command] =
    &[top::COMMAND, stats::COMMAND, keys::COMMAND, dump::COMMAND, load::COMMAND, check::COMMAND];

/// The command that a word names.
pub fn command(word: &OsStr) -> Option<&'static Command> {
    COMMANDS.iter().find(|command| command.name == word)
}

/// Runs a command with the words after its name, says what went wrong, and gives the exit status.
pub fn run(command: &'static Command, words: &[OsString]) -> u8 {
    let result = Arguments::parse(command, words).and_then(|arguments| {
        if arguments.has("help") {
            return stdout().write_all(arguments::help(command).as_bytes()).map(|()| 0).map_err(Failure::output);
        }
        (command.run)(&arguments)
    });
    result.unwrap_or_else(|failure| {
        if failure != Failure::OutputClosed {
            eprintln!("slabstash: {failure}");
        }
        failure.exit_code()
    })
}
