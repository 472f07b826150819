//! Administrative text commands: flush_all, verbosity, cache_memlimit, lru, lru_crawler, slabs, shutdown,
//! refresh_certs, and the debug words of memcached's own tests.
//!
//! They are looked up by their first token when a line is no core command, and they work on tokens alone. Sub-commands
//! are compared over the client's length ([`is_keyword`]). A trailing `noreply` counts as a token, so that some commands
//! do nothing with it, as in memcached; the caller throws away the reply.

use crate::base::sync::Ordering;
use crate::store::{Crawl, DebugItem, Reassign, Tuning};

use super::admin_numbers::{
    is_keyword, parse_class_id, parse_double, parse_i32, parse_i64, parse_u32,
};
use super::dump::{Dump, Format};
use super::output::Output;
use super::service::{Context, Control};

/// What became of a line.
#[derive(Debug)]
pub enum AdminOutcome {
    /// It was executed and answered.
    Done,
    /// It is no administrative command.
    Unknown,
    /// A dump has begun; step it until it is finished.
    Dump(Dump),
    /// Close the connection without sending what is queued (`shutdown`).
    Abort,
}

/// A reply without its line end, or an outcome that is more than a reply.
enum Answer {
    Line(&'static str),
    Outcome(AdminOutcome),
}

const OK: Answer = Answer::Line("OK");
const ERROR: Answer = Answer::Line("ERROR");
const BAD_FORMAT: Answer = Answer::Line("CLIENT_ERROR bad command line format");

/// Executes an administrative command. `tokens` are the first 23 tokens of `line`, a `noreply` among them included.
pub fn execute(
    line: &[u8],
    tokens: &[&[u8]],
    is_noreply: bool,
    descriptor: i32,
    output: &mut Output,
    context: &mut Context<'_>,
) -> AdminOutcome {
    let _ = (line, descriptor);
    let Some(command) = tokens.first() else {
        return AdminOutcome::Unknown;
    };
    let has_debug_commands = context.service.config.has_debug_commands;
    let answer = match *command {
        b"flush_all" => flush_all(tokens, is_noreply, context),
        b"verbosity" => verbosity(tokens, context),
        b"cache_memlimit" => cache_memlimit(tokens, context),
        b"lru" => lru(tokens, context),
        b"lru_crawler" => lru_crawler(tokens, output, context),
        b"slabs" => slabs(tokens, context),
        b"shutdown" => shutdown(tokens, context),
        b"refresh_certs" => Answer::Line("Error TLS not enabled"),
        b"debugtime" if has_debug_commands => debugtime(tokens, context),
        b"debugitem" if has_debug_commands => debugitem(tokens, context),
        _ => return AdminOutcome::Unknown,
    };
    match answer {
        Answer::Line(text) => {
            output.push(text.as_bytes());
            output.push(b"\r\n");
            AdminOutcome::Done
        }
        Answer::Outcome(outcome) => outcome,
    }
}

fn flush_all(tokens: &[&[u8]], is_noreply: bool, context: &Context<'_>) -> Answer {
    context.counters().cmd_flush.add(1);
    if !context.service.config.is_flush_enabled {
        return Answer::Line("CLIENT_ERROR flush_all not allowed");
    }
    let tokens_without_exptime = if is_noreply { 2 } else { 1 };
    let exptime = if tokens.len() == tokens_without_exptime {
        0
    } else {
        match tokens.get(1).and_then(|token| parse_i32(token)) {
            Some(exptime) => exptime,
            None => return Answer::Line("CLIENT_ERROR invalid exptime argument"),
        }
    };
    let at = (exptime > 0).then(|| context.now.deadline(i64::from(exptime)));
    context.service.store.flush(at, context.now);
    OK
}

/// Highest level that `verbosity` sets.
const VERBOSITY_MAX: u32 = 2;

fn verbosity(tokens: &[&[u8]], context: &Context<'_>) -> Answer {
    let Some(level) = tokens.get(1).and_then(|token| parse_u32(token)) else {
        return BAD_FORMAT;
    };
    let level = level.min(VERBOSITY_MAX) as u8;
    context.service.verbosity.store(level, Ordering::Relaxed);
    (context.service.control)(Control::Verbosity(level));
    OK
}

fn cache_memlimit(tokens: &[&[u8]], context: &Context<'_>) -> Answer {
    match tokens.get(1).and_then(|token| parse_u32(token)) {
        None => ERROR,
        Some(0..8) => Answer::Line("MEMLIMIT_TOO_SMALL cannot set maxbytes to less than 8m"),
        Some(1_000_000_001..) => {
            Answer::Line("MEMLIMIT_ADJUST_FAILED input value is megabytes not bytes")
        }
        Some(mebibytes) => {
            let store = &context.service.store;
            store.set_memory_limit((mebibytes as usize).saturating_mul(1 << 20));
            OK
        }
    }
}

fn lru(tokens: &[&[u8]], context: &Context<'_>) -> Answer {
    let store = &context.service.store;
    let is_maintained = store.tuning().has_maintainer;
    match tokens {
        [_, word, hot, warm, hot_factor, warm_factor, ..] if is_keyword(word, "tune") => {
            lru_tune([hot, warm], [hot_factor, warm_factor], context)
        }
        [_, word, mode, ..] if is_keyword(word, "mode") && is_maintained => {
            let is_segmented = if is_keyword(mode, "flat") {
                false
            } else if is_keyword(mode, "segmented") {
                true
            } else {
                return ERROR;
            };
            tune(context, |tuning| tuning.is_segmented = is_segmented)
        }
        [_, word, ttl, ..] if is_keyword(word, "temp_ttl") && is_maintained => {
            let Some(ttl) = parse_i32(ttl) else {
                return ERROR;
            };
            tune(context, |tuning| match u32::try_from(ttl) {
                Ok(seconds) => {
                    tuning.has_temp_lru = true;
                    tuning.temporary_ttl_seconds = seconds;
                }
                Err(_) => tuning.has_temp_lru = false,
            })
        }
        _ => ERROR,
    }
}

/// Most percent for HOT and WARM together.
const HOT_AND_WARM_PERCENT_MAX: u32 = 80;

fn lru_tune(percents: [&[u8]; 2], factors: [&[u8]; 2], context: &Context<'_>) -> Answer {
    let [Some(hot), Some(warm)] = percents.map(parse_u32) else {
        return ERROR;
    };
    let [Some(hot_factor), Some(warm_factor)] = factors.map(parse_double) else {
        return ERROR;
    };
    // memcached adds in 32 bits and lets a sum that wraps pass; such shares mean nothing to the store.
    if hot.saturating_add(warm) > HOT_AND_WARM_PERCENT_MAX {
        return Answer::Line("ERROR hot and warm pcts must not exceed 80");
    }
    if hot_factor <= 0.0 || warm_factor <= 0.0 {
        return Answer::Line("ERROR hot/warm age factors must be greater than 0");
    }
    tune(context, |tuning| {
        tuning.hot_lru_percent = hot;
        tuning.warm_lru_percent = warm;
        tuning.hot_max_factor = hot_factor;
        tuning.warm_max_factor = warm_factor;
    })
}

fn tune(context: &Context<'_>, change: impl FnOnce(&mut Tuning)) -> Answer {
    context.service.store.tune(change);
    OK
}

fn lru_crawler(tokens: &[&[u8]], output: &Output, context: &Context<'_>) -> Answer {
    match tokens {
        [_, word, classes] if is_keyword(word, "crawl") => crawl(classes, context),
        [_, word, classes] if is_keyword(word, "metadump") => {
            dump(Format::Metadata, classes, output, context)
        }
        [_, word, classes] if is_keyword(word, "mgdump") => {
            dump(Format::MetaGets, classes, output, context)
        }
        [_, word, items] if is_keyword(word, "tocrawl") => match parse_u32(items) {
            Some(items) => tune(context, |tuning| tuning.crawler_items_max = items),
            None => BAD_FORMAT,
        },
        [_, word, micros] if is_keyword(word, "sleep") => match parse_u32(micros) {
            Some(1_000_001..) => Answer::Line("CLIENT_ERROR sleep must be one second or less"),
            Some(micros) => tune(context, |tuning| tuning.crawler_sleep_micros = micros),
            None => BAD_FORMAT,
        },
        [_, word] if is_keyword(word, "enable") => {
            if context.service.store.tuning().has_crawler {
                return Answer::Line("ERROR failed to start lru crawler thread");
            }
            tune(context, |tuning| tuning.has_crawler = true)
        }
        [_, word] if is_keyword(word, "disable") => {
            tune(context, |tuning| tuning.has_crawler = false)
        }
        _ => ERROR,
    }
}

const CRAWLER_DISABLED: Answer = Answer::Line("CLIENT_ERROR lru crawler disabled");
const BAD_CLASS: Answer = Answer::Line("BADCLASS invalid class id");
const NOTHING_TO_CRAWL: Answer = Answer::Line("NOTSTARTED no items to crawl");

/// Number of slab class ids, id 0 for the global page pool included.
const CLASSES_MAX: u32 = 64;

/// What `crawl`, `metadump` and `mgdump` walk over.
enum Target {
    /// Slab classes; bit n is class n.
    Classes(u64),
    /// The whole hash table.
    Hash,
}

fn parse_target(token: &[u8]) -> Option<Target> {
    match token {
        b"all" => return Some(Target::Classes(!1)),
        b"hash" => return Some(Target::Hash),
        _ => {}
    }
    let mut classes = 0;
    for id in token
        .split(|&byte| byte == b',')
        .filter(|id| !id.is_empty())
    {
        match parse_class_id(id) {
            Some(id @ 1..CLASSES_MAX) => classes |= 1 << id,
            _ => return None,
        }
    }
    Some(Target::Classes(classes))
}

fn crawl(token: &[u8], context: &Context<'_>) -> Answer {
    let store = &context.service.store;
    if !store.tuning().has_crawler {
        return CRAWLER_DISABLED;
    }
    match parse_target(token) {
        None => BAD_CLASS,
        Some(Target::Hash) => Answer::Line("ERROR an unknown error happened"),
        Some(Target::Classes(0)) => NOTHING_TO_CRAWL,
        Some(Target::Classes(classes)) => match store.crawl(classes) {
            Crawl::Started => OK,
            Crawl::Busy => Answer::Line("BUSY currently processing crawler request"),
            Crawl::NotStarted => NOTHING_TO_CRAWL,
        },
    }
}

fn dump(format: Format, token: &[u8], output: &Output, context: &Context<'_>) -> Answer {
    if !context.service.store.tuning().has_crawler {
        return CRAWLER_DISABLED;
    }
    if !context.service.config.is_dump_enabled {
        return Answer::Line(match format {
            Format::Metadata => "ERROR metadump not allowed",
            Format::MetaGets => "ERROR key dump not allowed",
        });
    }
    if !output.is_empty() {
        return Answer::Line(match format {
            Format::Metadata => "ERROR cannot pipeline other commands before metadump",
            Format::MetaGets => "ERROR cannot pipeline other commands before mgdump",
        });
    }
    let classes = match parse_target(token) {
        None => return BAD_CLASS,
        Some(Target::Classes(0)) => return NOTHING_TO_CRAWL,
        Some(Target::Classes(classes)) => classes,
        Some(Target::Hash) => u64::MAX,
    };
    Answer::Outcome(AdminOutcome::Dump(Dump::new(format, classes)))
}

fn slabs(tokens: &[&[u8]], context: &Context<'_>) -> Answer {
    match tokens {
        [_, word, source, target] if is_keyword(word, "reassign") => {
            reassign(source, target, context)
        }
        [_, word, what, rest @ ..] if is_keyword(word, "automove") => {
            automove(what, rest.first().copied(), context)
        }
        _ => ERROR,
    }
}

fn reassign(source: &[u8], target: &[u8], context: &Context<'_>) -> Answer {
    let store = &context.service.store;
    if !store.config().has_slab_reassign {
        return Answer::Line("CLIENT_ERROR slab reassignment disabled");
    }
    let (Some(source), Some(target)) = (parse_i32(source), parse_i32(target)) else {
        return BAD_FORMAT;
    };
    match store.reassign(source, target) {
        Reassign::Running => OK,
        Reassign::Busy => Answer::Line("BUSY currently processing reassign request"),
        Reassign::BadClass => Answer::Line("BADCLASS invalid src or dst class id"),
        Reassign::NoSpare => Answer::Line("NOSPARE source class has no spare pages"),
        Reassign::Same => Answer::Line("SAME src and dst class are identical"),
    }
}

fn automove(what: &[u8], value: Option<&[u8]>, context: &Context<'_>) -> Answer {
    if is_keyword(what, "ratio") {
        match value.and_then(parse_double) {
            Some(ratio) => tune(context, |tuning| tuning.automove_ratio = ratio),
            None => ERROR,
        }
    } else if is_keyword(what, "freeratio") {
        match value.and_then(parse_double) {
            Some(ratio) => tune(context, |tuning| tuning.automove_free_ratio = ratio),
            None => ERROR,
        }
    } else if is_keyword(what, "window") {
        match value.and_then(parse_u32) {
            Some(window @ 3..=1800) => tune(context, |tuning| tuning.automove_window = window),
            Some(_) => Answer::Line("CLIENT_ERROR automove window too low or too high"),
            None => BAD_FORMAT,
        }
    } else {
        match parse_u32(what) {
            Some(level @ 0..=2) => tune(context, |tuning| tuning.automove = level),
            Some(_) => ERROR,
            None => BAD_FORMAT,
        }
    }
}

fn shutdown(tokens: &[&[u8]], context: &Context<'_>) -> Answer {
    if !context.service.config.is_shutdown_enabled {
        return Answer::Line("SERVER_ERROR: shutdown not enabled");
    }
    let control = match tokens {
        [_] => Control::Shutdown,
        [_, word] if is_keyword(word, "graceful") => Control::ShutdownGracefully,
        _ => return Answer::Line("CLIENT_ERROR invalid shutdown mode"),
    };
    (context.service.control)(control);
    Answer::Outcome(AdminOutcome::Abort)
}

fn debugtime(tokens: &[&[u8]], context: &Context<'_>) -> Answer {
    let Some(word) = tokens.get(1) else {
        return ERROR;
    };
    let clock = &context.service.clock;
    if is_keyword(word, "p") {
        clock.pause();
    } else if is_keyword(word, "r") {
        clock.resume();
    } else {
        match parse_i64(word) {
            Some(seconds) => clock.shift(seconds),
            None => return ERROR,
        }
    }
    OK
}

fn debugitem(tokens: &[&[u8]], context: &Context<'_>) -> Answer {
    const ACTIONS: [(&str, DebugItem); 4] = [
        ("lock", DebugItem::Lock),
        ("unlock", DebugItem::Unlock),
        ("ref", DebugItem::Reference),
        ("unref", DebugItem::Unreference),
    ];
    let [_, word, key, ..] = tokens else {
        return ERROR;
    };
    let Some((_, action)) = ACTIONS.iter().find(|(name, _)| is_keyword(word, name)) else {
        return ERROR;
    };
    let is_there = context.service.store.debug_item(*action, key, context.now);
    match action {
        DebugItem::Reference | DebugItem::Unreference if !is_there => Answer::Line("MISS"),
        _ => OK,
    }
}
