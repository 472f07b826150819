//! Why a command ends early: one line for the operator and an exit status.
//!
//! The variants are causes; the texts name the node, since several may be asked at once.

use std::fmt;
use std::io;

use super::address::Address;

/// What ended a command.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Failure {
    /// The command line is wrong.
    Usage(String),
    /// No connection came about: refused, unknown host, no route.
    Unreachable {
        /// Whom.
        address: Address,
        /// The system's reason.
        cause: String,
    },
    /// The node did not answer in time.
    Silent {
        /// Who.
        address: Address,
    },
    /// The node closed the connection or it broke.
    Lost {
        /// Who.
        address: Address,
        /// The system's reason, or that it was closed.
        cause: String,
    },
    /// The node answers, but not what was expected: an error line, or another protocol.
    Answer {
        /// Who.
        address: Address,
        /// The line, without its end, cut to a readable length.
        line: String,
    },
    /// A file or the standard output could not be read or written, or holds something else than it should.
    File(String),
    /// Whoever read our output has gone; nothing is wrong and nothing is left to do.
    OutputClosed,
}

impl Failure {
    /// The exit status: 64 for a wrong command line, as for the daemon, 1 for everything that went wrong later.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Usage(_) => USAGE,
            Self::OutputClosed => 0,
            _ => 1,
        }
    }

    /// An error of writing our output.
    pub fn output(error: io::Error) -> Failure {
        match error.kind() {
            io::ErrorKind::BrokenPipe => Self::OutputClosed,
            _ => Self::File(format!("cannot write the output: {error}")),
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Usage(text) | Self::File(text) => out.write_str(text),
            Self::Unreachable { address, cause } => write!(out, "{address}: cannot connect: {cause}"),
            Self::Silent { address } => write!(out, "{address}: no answer in time"),
            Self::Lost { address, cause } => write!(out, "{address}: connection lost: {cause}"),
            Self::Answer { address, line } => write!(out, "{address}: unexpected answer: {line}"),
            Self::OutputClosed => out.write_str("the output was closed"),
        }
    }
}

/// Exit status of a wrong command line (`EX_USAGE`).
pub const USAGE: u8 = 64;
