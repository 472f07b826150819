//! Executes one line of the text protocol: finds the family of its command word and hands it over.
//!
//! Core commands are known by the very start of the line. Administrative commands are known by the first token, so they
//! work behind leading spaces. What is neither answers `ERROR`, or looks like HTTP and ends the connection.

use std::borrow::Cow;

use crate::protocol::text::classic::{self, NOREPLY, Verb};
use crate::protocol::text::line::{LINE_BYTES_MIN, Tokens};
use crate::protocol::text::reply;

use super::admin::{self, AdminOutcome};
use super::apply::Mode;
use super::dump::Dump;
use super::output::{Mark, Output};
use super::retrieval::{self, Looked, Lookup};
use super::service::Context;
use super::session::CloseReason;
use super::storage::LargeStore;
use super::watch::Watching;
use super::{arithmetic, meta, removal, statistics, storage, verbose, watch};

/// What a line leaves to be done.
pub(super) enum Step {
    /// Nothing. So many bytes behind the line are done with, too.
    Done { data_bytes: usize },
    /// Nothing, but the client waits for its reply: the turn ends.
    Flush,
    /// The line is to be executed again when so many bytes behind it are there. Nothing has been done.
    NeedsData { data_bytes: usize },
    /// Bytes behind the line are to be thrown away; then the reply is due.
    Swallow { bytes: usize, reply: Cow<'static, [u8]> },
    /// A large value follows.
    Large(Box<LargeStore>),
    /// The last `left` bytes of the line are keys that wait for the next turn.
    Keys { lookup: Lookup, left: usize },
    /// A dump goes on.
    Dump(Dump),
    /// The connection watches from now on.
    Watch(Watching),
    /// Send, then close.
    Close(CloseReason),
    /// Close without sending.
    Abort(CloseReason),
}

const DONE: Step = Step::Done { data_bytes: 0 };

/// A line and what surrounds it.
#[derive(Clone, Copy)]
pub(super) struct Line<'a> {
    /// The line without its end.
    pub text: &'a [u8],
    /// Its length with its end.
    pub bytes: usize,
    /// The input behind it.
    pub behind: &'a [u8],
    /// Where the replies of this turn begin.
    pub turn: Mark,
}

/// Executes a line.
#[inline(never)]
pub(super) fn execute(line: &Line<'_>, output: &mut Output, context: &mut Context<'_>) -> Step {
    if verbose::is_on() {
        return execute_shown(line, output, context);
    }
    execute_line(line, output, context)
}

/// Executes a line and shows it with its reply (`-vv`).
#[cold]
fn execute_shown(line: &Line<'_>, output: &mut Output, context: &mut Context<'_>) -> Step {
    verbose::command(context.descriptor, line.text);
    let start = output.bytes().len();
    let step = execute_line(line, output, context);
    if let Some(reply) = output.bytes().get(start..) {
        verbose::reply(context.descriptor, reply);
    }
    step
}

#[inline]
fn execute_line(line: &Line<'_>, output: &mut Output, context: &mut Context<'_>) -> Step {
    if line.bytes < LINE_BYTES_MIN {
        output.push(reply::BAD_LINE);
        return DONE;
    }
    let (verb, arguments) = classic::verb(line.text);
    let mode = match verb {
        Verb::Get => return get(line, arguments, false, output, context),
        Verb::Gets => return get(line, arguments, true, output, context),
        Verb::Meta(word) => {
            meta::execute(word, line.text, output, context);
            return DONE;
        }
        Verb::MetaSet => {
            return storage::execute_meta(line.text, line.behind, output, context);
        }
        Verb::Set => Mode::Set,
        Verb::Add => Mode::Add,
        Verb::Replace => Mode::Replace,
        Verb::Append => Mode::Append,
        Verb::Prepend => Mode::Prepend,
        Verb::Cas => Mode::Cas,
        _ => return execute_dataless(verb, arguments, line, output, context),
    };
    let behind = line.behind;
    storage::execute(mode, arguments, behind, output, context)
}

/// Commands without a data block, but the frequent ones.
fn execute_dataless(
    verb: Verb,
    arguments: &[u8],
    line: &Line<'_>,
    output: &mut Output,
    context: &mut Context<'_>,
) -> Step {
    match verb {
        Verb::Gat => return get_and_touch(line, arguments, false, output, context),
        Verb::Gats => return get_and_touch(line, arguments, true, output, context),
        Verb::Delete => removal::delete(arguments, output, context),
        Verb::Touch => removal::touch(arguments, output, context),
        Verb::Incr => arithmetic::execute(arguments, true, output, context),
        Verb::Decr => arithmetic::execute(arguments, false, output, context),
        Verb::MetaNoop => {
            output.push(reply::META_NOOP);
            return Step::Flush;
        }
        Verb::Version => reply::version(&context.service.config.version, output.bytes()),
        Verb::Quit => return Step::Close(CloseReason::Normal),
        Verb::Stats => {
            statistics::execute(Tokens::split(line.text).as_slice(), output, context);
        }
        Verb::Watch => {
            let tokens = Tokens::split(line.text);
            if let Some(watching) = watch::execute(tokens.as_slice(), output, context) {
                return Step::Watch(watching);
            }
        }
        _ => return execute_other(line, output, context),
    }
    DONE
}

fn get(line: &Line<'_>, arguments: &[u8], has_cas: bool, output: &mut Output, context: &mut Context<'_>) -> Step {
    let lookup = Lookup { deadline: None, has_cas, is_resumed: false };
    match classic::retrieval(arguments) {
        Ok(keys) => look_up(lookup, keys, line, output, context),
        Err(refusal) => {
            output.push(refusal.reply);
            DONE
        }
    }
}

fn get_and_touch(
    line: &Line<'_>,
    arguments: &[u8],
    has_cas: bool,
    output: &mut Output,
    context: &mut Context<'_>,
) -> Step {
    match classic::retrieval_and_touch(arguments) {
        Ok((exptime, keys)) => {
            let deadline = Some(context.now.deadline(i64::from(exptime)));
            look_up(Lookup { deadline, has_cas, is_resumed: false }, keys, line, output, context)
        }
        Err(refusal) => {
            output.push(refusal.reply);
            DONE
        }
    }
}

#[inline]
fn look_up(lookup: Lookup, keys: &[u8], line: &Line<'_>, output: &mut Output, context: &mut Context<'_>) -> Step {
    match retrieval::look_up(lookup, keys, output, context) {
        Looked::Done => DONE,
        Looked::Paused { consumed } => Step::Keys { lookup, left: keys.len() - consumed },
        Looked::BadKey => {
            refuse_key(lookup, keys, line, output);
            DONE
        }
        Looked::NoReplies => {
            context.counters().response_obj_oom.add(1);
            output.truncate(line.turn);
            output.push(reply::NO_MEMORY_WRITING);
            DONE
        }
    }
}

/// Answers a key that is too long. memcached drops the replies of earlier commands that were not sent yet together with
/// the values of this one, and ends its answer with an empty line; clients see the same here.
#[cold]
fn refuse_key(lookup: Lookup, keys: &[u8], line: &Line<'_>, output: &mut Output) {
    output.truncate(line.turn);
    let is_noreply = lookup.deadline.is_none() && classic::is_long_key_silent(keys);
    if !is_noreply {
        output.push(reply::BAD_LINE);
    }
    output.push(b"\r\n");
}

/// Administrative and unknown commands.
fn execute_other(line: &Line<'_>, output: &mut Output, context: &mut Context<'_>) -> Step {
    let tokens = Tokens::split(line.text);
    let is_noreply = tokens.last() == Some(NOREPLY);
    if let Some(word) = tokens.as_slice().first()
        && ADMIN_WORDS.contains(word)
    {
        let mark = output.mark();
        let outcome = admin::execute(tokens.as_slice(), is_noreply, output, context);
        if is_noreply {
            output.truncate(mark);
        }
        match outcome {
            AdminOutcome::Done => return DONE,
            AdminOutcome::Dump(dump) => return Step::Dump(dump),
            AdminOutcome::Abort => return Step::Abort(CloseReason::Normal),
            AdminOutcome::Unknown => {}
        }
    }
    if let [_, .., last] = tokens.as_slice()
        && last.starts_with(b"HTTP/")
    {
        return Step::Abort(CloseReason::Error);
    }
    if !is_noreply {
        output.push(reply::ERROR);
    }
    DONE
}

/// Words of administrative commands. Whether the last two are known is for [`admin`] to say.
const ADMIN_WORDS: [&[u8]; 10] = [
    b"flush_all",
    b"verbosity",
    b"cache_memlimit",
    b"lru",
    b"lru_crawler",
    b"slabs",
    b"shutdown",
    b"refresh_certs",
    b"debugtime",
    b"debugitem",
];
