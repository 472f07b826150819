//! Administrative text commands: flush_all, verbosity, cache_memlimit, lru, lru_crawler, slabs, shutdown,
//! refresh_certs, and the debug words of memcached's own tests.
//!
//! They are looked up by their first token when a line is no core command, and they work on tokens alone. Sub-commands
//! are compared over the client's length ([`is_keyword`]). A trailing `noreply` counts as a token, so that some commands
//! do nothing with it, as in memcached; the caller throws away the reply.

use crate::base::sizes::CLASSES_MAX;
use crate::base::sync::Ordering;
use crate::protocol::text::line::is_keyword;
use crate::protocol::text::number::{c_double, c_u32, strict_i32, strict_i64, strict_u32};
use crate::store::{Crawl, DebugItem, Policy, Reassign, Tuning};

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

/// Executes an administrative command. `tokens` are the first 23 of the line, a `noreply` among them included.
pub fn execute(tokens: &[&[u8]], is_noreply: bool, output: &mut Output, context: &mut Context<'_>) -> AdminOutcome {
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
        b"refresh_certs" => refresh_certs(output, context),
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
        match tokens.get(1).and_then(|token| strict_i32(token)) {
            Some(exptime) => exptime,
            None => return Answer::Line("CLIENT_ERROR invalid exptime argument"),
        }
    };
    context.flush(i64::from(exptime));
    OK
}

fn refresh_certs(output: &mut Output, context: &Context<'_>) -> Answer {
    let Some(certificates) = &context.service.certificates else {
        return Answer::Line("Error TLS not enabled");
    };
    match certificates.refresh(context.now) {
        Ok(()) => OK,
        Err(text) => {
            log::warn!("{text}");
            output.push(text.as_bytes());
            output.push(b"\r\n");
            Answer::Outcome(AdminOutcome::Done)
        }
    }
}

/// Highest level that `verbosity` sets.
const VERBOSITY_MAX: u32 = 2;

fn verbosity(tokens: &[&[u8]], context: &Context<'_>) -> Answer {
    let Some(level) = tokens.get(1).and_then(|token| strict_u32(token)) else {
        return BAD_FORMAT;
    };
    let level = level.min(VERBOSITY_MAX) as u8;
    context.service.verbosity.store(level, Ordering::Relaxed);
    (context.service.control)(Control::Verbosity(level));
    OK
}

fn cache_memlimit(tokens: &[&[u8]], context: &Context<'_>) -> Answer {
    match tokens.get(1).and_then(|token| strict_u32(token)) {
        None => ERROR,
        Some(0..8) => Answer::Line("MEMLIMIT_TOO_SMALL cannot set maxbytes to less than 8m"),
        Some(1_000_000_001..) => Answer::Line("MEMLIMIT_ADJUST_FAILED input value is megabytes not bytes"),
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
            match Policy::ALL.into_iter().find(|policy| is_keyword(mode, policy.name())) {
                Some(policy) => tune(context, |tuning| tuning.policy = policy),
                None => ERROR,
            }
        }
        [_, word, ttl, ..] if is_keyword(word, "temp_ttl") && is_maintained => {
            let Some(ttl) = strict_i32(ttl) else {
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
    let [Some(hot), Some(warm)] = percents.map(strict_u32) else {
        return ERROR;
    };
    let [Some(hot_factor), Some(warm_factor)] = factors.map(c_double) else {
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
        // Who tunes memcached's policy wants it.
        if tuning.policy == Policy::QuickDemotion {
            tuning.policy = Policy::Segmented;
        }
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
        [_, word, classes] if is_keyword(word, "metadump") => dump(Format::Metadata, classes, output, context),
        [_, word, classes] if is_keyword(word, "mgdump") => dump(Format::MetaGets, classes, output, context),
        [_, word, items] if is_keyword(word, "tocrawl") => match strict_u32(items) {
            Some(items) => tune(context, |tuning| tuning.crawler_items_max = items),
            None => BAD_FORMAT,
        },
        [_, word, micros] if is_keyword(word, "sleep") => match strict_u32(micros) {
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
        [_, word] if is_keyword(word, "disable") => tune(context, |tuning| tuning.has_crawler = false),
        _ => ERROR,
    }
}

const CRAWLER_DISABLED: Answer = Answer::Line("CLIENT_ERROR lru crawler disabled");
const BAD_CLASS: Answer = Answer::Line("BADCLASS invalid class id");
const NOTHING_TO_CRAWL: Answer = Answer::Line("NOTSTARTED no items to crawl");

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
    for id in token.split(|&byte| byte == b',').filter(|id| !id.is_empty()) {
        match c_u32(id) {
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
        Some(Target::Classes(classes)) => match store.crawl(classes, context.now) {
            // memcached crawls empty classes like any other.
            Crawl::Started | Crawl::NotStarted => OK,
            Crawl::Busy => Answer::Line("BUSY currently processing crawler request"),
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
        [_, word, source, target] if is_keyword(word, "reassign") => reassign(source, target, context),
        [_, word, what, rest @ ..] if is_keyword(word, "automove") => automove(what, rest.first().copied(), context),
        _ => ERROR,
    }
}

fn reassign(source: &[u8], target: &[u8], context: &Context<'_>) -> Answer {
    let store = &context.service.store;
    if !store.config().has_slab_reassign {
        return Answer::Line("CLIENT_ERROR slab reassignment disabled");
    }
    let (Some(source), Some(target)) = (strict_i32(source), strict_i32(target)) else {
        return BAD_FORMAT;
    };
    match store.reassign(source, target, context.now) {
        Reassign::Running => OK,
        Reassign::Busy => Answer::Line("BUSY currently processing reassign request"),
        Reassign::BadClass => Answer::Line("BADCLASS invalid src or dst class id"),
        Reassign::NoSpare => Answer::Line("NOSPARE source class has no spare pages"),
        Reassign::Same => Answer::Line("SAME src and dst class are identical"),
    }
}

fn automove(what: &[u8], value: Option<&[u8]>, context: &Context<'_>) -> Answer {
    if is_keyword(what, "ratio") {
        match value.and_then(c_double) {
            Some(ratio) => tune(context, |tuning| tuning.automove_ratio = ratio),
            None => ERROR,
        }
    } else if is_keyword(what, "freeratio") {
        match value.and_then(c_double) {
            Some(ratio) => tune(context, |tuning| tuning.automove_free_ratio = ratio),
            None => ERROR,
        }
    } else if is_keyword(what, "window") {
        match value.and_then(strict_u32) {
            Some(window @ 3..=1800) => tune(context, |tuning| tuning.automove_window = window),
            Some(_) => Answer::Line("CLIENT_ERROR automove window too low or too high"),
            None => BAD_FORMAT,
        }
    } else {
        match strict_u32(what) {
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
        match strict_i64(word) {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::admin_testing::{Fixture, text};
    use crate::store;

    /// Executes a line: its outcome and what was queued.
    fn run(fixture: &Fixture, line: &str) -> (AdminOutcome, String) {
        let tokens: Vec<&[u8]> = line.split_whitespace().map(str::as_bytes).collect();
        let is_noreply = tokens.last() == Some(&&b"noreply"[..]);
        let mut output = Output::new();
        let outcome = fixture.with(|context| execute(&tokens, is_noreply, &mut output, context));
        (outcome, text(&mut output))
    }

    #[track_caller]
    fn check_on(fixture: &Fixture, line: &str, expected: &str) {
        let (outcome, reply) = run(fixture, line);
        assert!(matches!(outcome, AdminOutcome::Done), "{line}: {outcome:?}");
        assert_eq!(reply.strip_suffix("\r\n"), Some(expected), "{line}");
    }

    #[track_caller]
    fn check(line: &str, expected: &str) {
        check_on(&Fixture::new(), line, expected);
    }

    const BAD_FORMAT: &str = "CLIENT_ERROR bad command line format";

    #[test]
    fn other_words_are_unknown() {
        let fixture = Fixture::new();
        for line in ["", "get a", "flush", "FLUSH_ALL", "debugtime 5", "debugitem ref a", "extstore", "misbehave"] {
            let (outcome, reply) = run(&fixture, line);
            assert!(matches!(outcome, AdminOutcome::Unknown), "{line}");
            assert_eq!(reply, "");
        }
        check("refresh_certs", "Error TLS not enabled");
    }

    #[test]
    fn flush_all_takes_an_exptime() {
        let invalid = "CLIENT_ERROR invalid exptime argument";
        check("flush_all", "OK");
        check("flush_all noreply", "OK");
        check("flush_all 0 0", "OK");
        check("flush_all -5", "OK");
        check("flush_all 10 noreply", "OK");
        check("flush_all x", invalid);
        check("flush_all noreply 1", invalid);
        check("flush_all 2147483648", invalid);
        let mut fixture = Fixture::new();
        fixture.service.config.is_flush_enabled = false;
        check_on(&fixture, "flush_all", "CLIENT_ERROR flush_all not allowed");
        assert_eq!(fixture.service.worker_totals().cmd_flush, 1);
    }

    #[test]
    fn verbosity_is_capped_and_told_to_the_server() {
        check("verbosity", BAD_FORMAT);
        check("verbosity -1", BAD_FORMAT);
        let fixture = Fixture::new();
        check_on(&fixture, "verbosity 1 x", "OK");
        check_on(&fixture, "verbosity 9 noreply", "OK");
        assert_eq!(*fixture.controls.lock(), [Control::Verbosity(1), Control::Verbosity(2)]);
        assert_eq!(fixture.service.verbosity.load(Ordering::Relaxed), 2);
    }

    #[test]
    fn cache_memlimit_takes_mebibytes() {
        check("cache_memlimit", "ERROR");
        check("cache_memlimit x", "ERROR");
        check("cache_memlimit 7", "MEMLIMIT_TOO_SMALL cannot set maxbytes to less than 8m");
        check("cache_memlimit 8 junk", "OK");
        check("cache_memlimit 1000000000", "OK");
        check("cache_memlimit 1000000001", "MEMLIMIT_ADJUST_FAILED input value is megabytes not bytes");
    }

    #[test]
    fn lru_words_tune_the_store() {
        check("lru", "ERROR");
        check("lru x", "ERROR");
        check("lru mode", "ERROR");
        check("lru mode x", "ERROR");
        check("lru temp_ttl x", "ERROR");
        check("lru tune 10 20 0.1", "ERROR");
        check("lru tune 10 20 0.1 0.2x", "ERROR");
        check("lru tune 50 40 0.1 1", "ERROR hot and warm pcts must not exceed 80");
        check("lru tune 4294967295 2 0.1 1", "ERROR hot and warm pcts must not exceed 80");
        check("lru tune 10 20 0 1", "ERROR hot/warm age factors must be greater than 0");
        let fixture = Fixture::new();
        check_on(&fixture, "lru tune 10 25 0.1 3 junk", "OK");
        assert_eq!(fixture.service.store.tuning().policy, Policy::Segmented);
        check_on(&fixture, "lru mode quick_demotion", "OK");
        assert_eq!(fixture.service.store.tuning().policy, Policy::QuickDemotion);
        check_on(&fixture, "lru m f", "OK");
        check_on(&fixture, "lru temp_ttl 9 noreply", "OK");
        let tuning = fixture.service.store.tuning();
        assert_eq!((tuning.hot_lru_percent, tuning.warm_lru_percent), (10, 25));
        assert_eq!((tuning.hot_max_factor, tuning.warm_max_factor), (0.1, 3.0));
        assert!(tuning.policy == Policy::Flat && tuning.has_temp_lru);
        assert_eq!(tuning.temporary_ttl_seconds, 9);
        check_on(&fixture, "lru mode segmented", "OK");
        check_on(&fixture, "lru temp_ttl -1", "OK");
        let tuning = fixture.service.store.tuning();
        assert!(tuning.policy == Policy::Segmented && !tuning.has_temp_lru);
        assert_eq!(tuning.temporary_ttl_seconds, 9);
        fixture.service.store.tune(|tuning| tuning.has_maintainer = false);
        check_on(&fixture, "lru mode flat", "ERROR");
        check_on(&fixture, "lru temp_ttl 9", "ERROR");
        check_on(&fixture, "lru tune 10 20 1 1", "OK");
    }

    #[test]
    fn slabs_words() {
        check("slabs", "ERROR");
        check("slabs automove", "ERROR");
        check("slabs x y", "ERROR");
        check("slabs a 3", "ERROR");
        check("slabs automove x", BAD_FORMAT);
        check("slabs automove window", BAD_FORMAT);
        check("slabs automove window 2", "CLIENT_ERROR automove window too low or too high");
        check("slabs automove window 1801", "CLIENT_ERROR automove window too low or too high");
        check("slabs automove ratio", "ERROR");
        check("slabs automove ratio x", "ERROR");
        check("slabs automove freeratio 0.5", "OK");
        let fixture = Fixture::new();
        check_on(&fixture, "slabs automove 2 noreply", "OK");
        check_on(&fixture, "slabs automove ratio 0.7", "OK");
        check_on(&fixture, "slabs automove window 20 x", "OK");
        let tuning = fixture.service.store.tuning();
        assert_eq!((tuning.automove, tuning.automove_window), (2, 20));
        assert_eq!(tuning.automove_ratio, 0.7);
    }

    #[test]
    fn slabs_reassign_wants_two_numbers() {
        check("slabs reassign 1", "ERROR");
        check("slabs reassign 1 2 noreply", "ERROR");
        check("slabs reassign a 1", BAD_FORMAT);
        check("slabs reassign 1 2147483648", BAD_FORMAT);
        check("slabs r 1 2", "NOSPARE source class has no spare pages");
        let fixture = Fixture::with_store(store::Config { has_slab_reassign: false, ..store::Config::default() });
        check_on(&fixture, "slabs reassign a b", "CLIENT_ERROR slab reassignment disabled");
    }

    #[test]
    fn lru_crawler_words() {
        check("lru_crawler", "ERROR");
        check("lru_crawler x", "ERROR");
        check("lru_crawler disable noreply", "ERROR");
        check("lru_crawler enable", "ERROR failed to start lru crawler thread");
        check("lru_crawler tocrawl x", BAD_FORMAT);
        check("lru_crawler sleep x", BAD_FORMAT);
        check("lru_crawler sleep 1000001", "CLIENT_ERROR sleep must be one second or less");
        check("lru_crawler crawl hash", "ERROR an unknown error happened");
        for bad in ["0", "64", "x", "1,x", "-1"] {
            check(&format!("lru_crawler crawl {bad}"), "BADCLASS invalid class id");
            check(&format!("lru_crawler metadump {bad}"), "BADCLASS invalid class id");
        }
        check("lru_crawler crawl ,", "NOTSTARTED no items to crawl");
        check("lru_crawler mgdump ,", "NOTSTARTED no items to crawl");
        let fixture = Fixture::new();
        check_on(&fixture, "lru_crawler tocrawl 7", "OK");
        check_on(&fixture, "lru_crawler sleep 1000000", "OK");
        check_on(&fixture, "lru_crawler d", "OK");
        check_on(&fixture, "lru_crawler disable", "OK");
        let tuning = fixture.service.store.tuning();
        assert_eq!((tuning.crawler_items_max, tuning.crawler_sleep_micros), (7, 1_000_000));
        for word in ["crawl", "metadump", "mgdump"] {
            let line = format!("lru_crawler {word} all");
            check_on(&fixture, &line, "CLIENT_ERROR lru crawler disabled");
        }
        check_on(&fixture, "lru_crawler e", "OK");
        assert!(fixture.service.store.tuning().has_crawler);
    }

    #[test]
    fn dumps_begin_on_an_empty_queue_only() {
        let mut fixture = Fixture::new();
        for target in ["all", "hash", "1,2", "+1"] {
            let (outcome, reply) = run(&fixture, &format!("lru_crawler metadump {target}"));
            assert!(matches!(outcome, AdminOutcome::Dump(_)), "{target}");
            assert_eq!(reply, "");
        }
        let tokens: [&[u8]; 3] = [b"lru_crawler", b"mgdump", b"all"];
        let mut output = Output::new();
        output.push(b"EN\r\n");
        fixture.with(|context| execute(&tokens, false, &mut output, context));
        assert_eq!(text(&mut output), "EN\r\nERROR cannot pipeline other commands before mgdump\r\n");
        fixture.service.config.is_dump_enabled = false;
        check_on(&fixture, "lru_crawler metadump all", "ERROR metadump not allowed");
        check_on(&fixture, "lru_crawler mgdump all", "ERROR key dump not allowed");
    }

    #[test]
    fn shutdown_aborts_the_connection() {
        let mut fixture = Fixture::new();
        check_on(&fixture, "shutdown x", "CLIENT_ERROR invalid shutdown mode");
        check_on(&fixture, "shutdown noreply", "CLIENT_ERROR invalid shutdown mode");
        check_on(&fixture, "shutdown g x", "CLIENT_ERROR invalid shutdown mode");
        assert!(fixture.controls.lock().is_empty());
        for line in ["shutdown", "shutdown g"] {
            let (outcome, reply) = run(&fixture, line);
            assert!(matches!(outcome, AdminOutcome::Abort));
            assert_eq!(reply, "");
        }
        assert_eq!(*fixture.controls.lock(), [Control::Shutdown, Control::ShutdownGracefully]);
        fixture.service.config.is_shutdown_enabled = false;
        check_on(&fixture, "shutdown", "SERVER_ERROR: shutdown not enabled");
    }

    #[test]
    fn debug_words_need_their_option() {
        let mut fixture = Fixture::new();
        fixture.service.config.has_debug_commands = true;
        let before = fixture.service.clock.now().seconds;
        for (line, expected) in [
            ("debugtime", "ERROR"),
            ("debugtime 5x", "ERROR"),
            ("debugtime p", "OK"),
            ("debugtime 100", "OK"),
            ("debugtime r", "OK"),
            ("debugtime -1", "OK"),
            ("debugitem", "ERROR"),
            ("debugitem ref", "ERROR"),
            ("debugitem x y", "ERROR"),
            ("debugitem lock a", "OK"),
            ("debugitem unref a", "MISS"),
        ] {
            check_on(&fixture, line, expected);
        }
        let passed = fixture.service.clock.now().seconds - before;
        assert!((99..=104).contains(&passed));
    }
}
