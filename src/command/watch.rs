//! `watch`: a connection that listens to the server's events instead of sending commands.
//!
//! After the `OK` all input of the connection is ignored; its session calls [`Watching::drain`] whenever it was woken or
//! the client has taken what was queued. A slow client's lines stay in the hub's bounded buffer, where the overflow is
//! counted and told as `skipped=`.

use crate::protocol::text::line::is_keyword;
use crate::stats::events::{Subscription, class};

use super::output::{LINES_BYTES_MAX, Output};
use super::service::Context;

/// Words after `watch` in the order in which abbreviations are tried. The proxy's classes are accepted as memcached
/// accepts them, and nothing is ever sent to them.
const CLASSES: [(&str, u32); 10] = [
    ("rawcmds", class::RAWCMDS),
    ("evictions", class::EVICTIONS),
    ("fetchers", class::FETCHERS),
    ("mutations", class::MUTATIONS),
    ("sysevents", class::SYSEVENTS),
    ("connevents", class::CONNEVENTS),
    ("proxyreqs", 0),
    ("proxyevents", 0),
    ("proxyuser", 0),
    ("deletions", class::DELETIONS),
];

/// A connection that watches. Dropping it ends the watch.
#[derive(Debug)]
pub struct Watching {
    subscription: Subscription,
}

impl Watching {
    /// Queues the lines that are waiting, if the client keeps up with what was queued before.
    pub fn drain(&mut self, output: &mut Output) {
        if output.pending() < LINES_BYTES_MAX {
            self.subscription.drain_to(output.bytes());
        }
    }

    /// Whether lines are waiting.
    pub fn has_events(&self) -> bool {
        self.subscription.has_events()
    }
}

/// Executes `watch`, `tokens[0]`. On success the connection only watches from now on.
pub fn execute(tokens: &[&[u8]], output: &mut Output, context: &mut Context<'_>) -> Option<Watching> {
    let service = context.service;
    if !service.config.is_watch_enabled {
        output.push(b"CLIENT_ERROR watch commands not allowed\r\n");
        return None;
    }
    if !output.is_empty() {
        output.push(b"ERROR cannot pipeline other commands before watch\r\n");
        return None;
    }
    let Some(classes) = classes(tokens.get(1..).unwrap_or_default()) else {
        output.push(b"ERROR\r\n");
        return None;
    };
    let buffer_bytes_max = service.config.watcher_buffer_bytes;
    match service.events.subscribe(classes, buffer_bytes_max, context.wake.handle()) {
        Ok(subscription) => {
            output.push(b"OK\r\n");
            Some(Watching { subscription })
        }
        Err(_) => {
            output.push(b"WATCHER_TOO_MANY log watcher limit reached\r\n");
            None
        }
    }
}

/// The classes that the words name; `None` when one of them is unknown. No word means fetchers.
fn classes(words: &[&[u8]]) -> Option<u32> {
    if words.is_empty() {
        return Some(class::FETCHERS);
    }
    let mut mask = 0;
    for word in words {
        let (_, class) = CLASSES.iter().find(|(name, _)| is_keyword(word, name))?;
        mask |= class;
    }
    Some(mask)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::admin_testing::{Fixture, text};

    #[track_caller]
    fn check(words: &[&[u8]], expected: Option<u32>) {
        assert_eq!(classes(words), expected, "{words:?}");
    }

    #[test]
    fn words_are_abbreviated_in_order() {
        check(&[], Some(class::FETCHERS));
        check(&[b"f", b"m"], Some(class::FETCHERS | class::MUTATIONS));
        check(&[b"deletions", b"evictions"], Some(class::DELETIONS | class::EVICTIONS));
        check(&[b"proxyuser"], Some(0));
        check(&[b"x"], None);
        check(&[b"f", b"noreply"], None);
    }

    #[test]
    fn a_watcher_gets_ok_then_lines_until_it_is_dropped() {
        let fixture = Fixture::new();
        let mut output = Output::new();
        let mut watching = fixture.with(|context| execute(&[b"watch", b"deletions"], &mut output, context)).unwrap();
        assert_eq!(text(&mut output), "OK\r\n");
        let events = &fixture.service.events;
        events.emit(class::DELETIONS, |line| line.extend_from_slice(b"type=deleted key=a"));
        assert!(watching.has_events());
        assert_eq!(fixture.wakes(), 1);
        watching.drain(&mut output);
        assert!(text(&mut output).ends_with(" gid=1 type=deleted key=a\n"));
        assert!(!watching.has_events());
        drop(watching);
        assert!(!events.is_watched(u32::MAX));
    }

    #[test]
    fn a_full_output_leaves_lines_in_the_buffer() {
        let fixture = Fixture::new();
        let mut output = Output::new();
        let mut watching = fixture.with(|context| execute(&[b"watch"], &mut output, context)).unwrap();
        output.push(&[0; LINES_BYTES_MAX]);
        let events = &fixture.service.events;
        events.emit(class::FETCHERS, |line| line.extend_from_slice(b"x"));
        watching.drain(&mut output);
        assert!(watching.has_events());
        output.clear();
        watching.drain(&mut output);
        assert!(!watching.has_events());
    }

    #[test]
    fn refusals_have_memcacheds_words() {
        let mut fixture = Fixture::new();
        let refuse = |fixture: &Fixture, tokens: &[&[u8]], output: &mut Output| {
            assert!(fixture.with(|context| execute(tokens, output, context)).is_none());
            text(output)
        };
        assert_eq!(refuse(&fixture, &[b"watch", b"x"], &mut Output::new()), "ERROR\r\n");
        let mut busy = Output::new();
        busy.push(b"VERSION x\r\n");
        assert_eq!(
            refuse(&fixture, &[b"watch"], &mut busy),
            "VERSION x\r\nERROR cannot pipeline other commands before watch\r\n"
        );
        let held: Vec<_> =
            (0..20).map(|_| fixture.with(|context| execute(&[b"watch"], &mut Output::new(), context))).collect();
        assert_eq!(refuse(&fixture, &[b"watch"], &mut Output::new()), "WATCHER_TOO_MANY log watcher limit reached\r\n");
        drop(held);
        fixture.service.config.is_watch_enabled = false;
        assert_eq!(refuse(&fixture, &[b"watch"], &mut Output::new()), "CLIENT_ERROR watch commands not allowed\r\n");
    }
}
