//! What can end a run: a wrong command line, a server that does not serve, a reply that is not the expected one, a
//! system call that failed. Every one of them ends the whole run, for figures beside a failure would mislead.

use std::fmt;
use std::io;

use crate::load::batch::Mismatch;

/// Why a run ended early.
#[derive(Debug)]
pub enum Error {
    /// The command line cannot be understood; the text says what about it.
    Usage(String),
    /// A server did not start, stopped early or lacks something that a workload needs.
    Server {
        /// The name given to it on the command line.
        name: String,
        /// What went wrong.
        cause: String,
    },
    /// A reply differs from the bytes that the request must get.
    Reply(Mismatch),
    /// Any of these, with the circumstances.
    During {
        /// Which workload on which server.
        what: String,
        /// What happened.
        source: Box<Error>,
    },
    /// Micro-benchmarks need more instructions than on record.
    Worse(Vec<String>),
    /// The system refused something.
    System {
        /// What was tried.
        action: &'static str,
        /// What the system said.
        source: io::Error,
    },
}

impl Error {
    /// For `map_err`: names the action that a system error interrupted.
    pub fn system<E: Into<io::Error>>(action: &'static str) -> impl FnOnce(E) -> Error {
        move |source| Error::System { action, source: source.into() }
    }

    /// For `map_err`: adds the circumstances.
    pub fn during(what: String) -> impl FnOnce(Error) -> Error {
        move |source| Error::During { what, source: Box::new(source) }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::Usage(text) => write!(out, "{text}"),
            Error::Server { name, cause } => write!(out, "{name}: {cause}"),
            Error::Reply(mismatch) => write!(out, "wrong reply: {mismatch}"),
            Error::During { what, source } => write!(out, "{what}: {source}"),
            Error::Worse(items) => write!(out, "more instructions than on record: {}", items.join(", ")),
            Error::System { action, source } => write!(out, "{action}: {source}"),
        }
    }
}

impl From<Mismatch> for Error {
    fn from(mismatch: Mismatch) -> Error {
        Error::Reply(mismatch)
    }
}
