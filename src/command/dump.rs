//! Lists of keys: `lru_crawler metadump`, `lru_crawler mgdump` and `stats cachedump`.
//!
//! A dump runs in steps between which other connections get their turn. A step visits the store a bounded number of
//! times and adds nothing while the client has not taken what is queued, so a dump of any size needs little memory. A
//! key that stays in the store from the dump's beginning to its end is listed.

use std::io::Write;

use crate::base::key::uri_encode;
use crate::protocol::text::base64;
use crate::store::{DumpCursor, ItemView};

use super::listing::{make_room_or_tear, reserve_or_tear};
use super::output::{LINES_BYTES_MAX, Output};
use super::service::Context;

/// What a dump writes about each item.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Format {
    /// `metadump`: `key=... exp=... la=... cas=... fetch=... cls=... size=... flags=... `.
    Metadata,
    /// `mgdump`: a meta get command for each key.
    MetaGets,
}

/// A dump in progress.
#[derive(Debug)]
pub struct Dump {
    format: Format,
    /// Bit n is class n.
    classes: u64,
    /// `None` when all items were visited.
    cursor: Option<DumpCursor>,
    is_begun: bool,
}

/// Items asked for in one visit to the store.
const VISIT_ITEMS_MAX: usize = 64;
/// Memory made sure of for what they are listed as: each has a key of 250 bytes, of which three may be made of one.
const VISIT_BYTES: usize = VISIT_ITEMS_MAX * 1024;
/// Visits to the store in one step; bounds a step through empty regions.
const STEP_VISITS_MAX: usize = 32;

impl Dump {
    /// A dump of the items of `classes` (bit n is class n) from the start.
    pub fn new(format: Format, classes: u64) -> Self {
        Self { format, classes, cursor: Some(DumpCursor::default()), is_begun: false }
    }

    /// Adds the next lines; true when the dump is complete, its last line included. Call it again once the client has
    /// taken some of the output.
    pub fn step(&mut self, output: &mut Output, context: &mut Context<'_>) -> bool {
        if !self.is_begun {
            output.push(b"OK\r\n");
            self.is_begun = true;
        }
        let (format, now) = (self.format, context.now);
        for _ in 0..STEP_VISITS_MAX {
            let Some(cursor) = self.cursor else {
                output.push(match format {
                    Format::Metadata => b"END\r\n",
                    Format::MetaGets => b"EN\r\n",
                });
                return true;
            };
            if output.pending() >= LINES_BYTES_MAX {
                return false;
            }
            let store = &context.service.store;
            if !make_room_or_tear(VISIT_BYTES, output, store) {
                return true;
            }
            let out = output.bytes();
            self.cursor = store.dump(cursor, self.classes, VISIT_ITEMS_MAX, now, &mut |item| match format {
                Format::Metadata => write_metadata(item, context, out),
                Format::MetaGets => write_meta_get(item, out),
            });
        }
        false
    }
}

fn write_metadata(item: &ItemView<'_>, context: &Context<'_>, out: &mut Vec<u8>) {
    out.extend_from_slice(b"key=");
    uri_encode(item.key(), out);
    let exptime = match item.exptime() {
        0 => -1,
        exptime => context.now.unix(exptime),
    };
    // The line ends with a space and a bare line feed. Writing to a vector does not fail.
    let _ = writeln!(
        out,
        " exp={exptime} la={} cas={} fetch={} cls={} size={} flags={} ",
        context.now.unix(context.now.seconds - item.idle_seconds(context.now)),
        item.cas(),
        if item.is_fetched() { "yes" } else { "no" },
        item.class(),
        item.item_bytes(),
        item.flags(),
    );
}

fn write_meta_get(item: &ItemView<'_>, out: &mut Vec<u8>) {
    out.extend_from_slice(b"mg ");
    if item.marks().is_binary_key {
        base64::encode(item.key(), out);
        out.extend_from_slice(b" b");
    } else {
        out.extend_from_slice(item.key());
    }
    out.extend_from_slice(b"\r\n");
}

/// Memory made sure of for a line: a key, two numbers and words.
const CACHEDUMP_LINE_BYTES: usize = 512;

/// Most bytes of a `stats cachedump` reply, `END` included.
const CACHEDUMP_BYTES_MAX: usize = 2 * 1024 * 1024;

/// `stats cachedump`: the items of one class' COLD segment from the newest on, `limit` at most (0 is all that fit).
/// Keys that were given in base64 are left out.
pub fn cachedump(class: u8, limit: u32, output: &mut Output, context: &Context<'_>) {
    let (start, now) = (output.bytes().len(), context.now);
    let mut shown = 0;
    context.service.store.cachedump(class, now, &mut |item| {
        reserve_or_tear(CACHEDUMP_LINE_BYTES, output)
            && write_cachedump_line(item, context, start, &mut shown, limit, output.bytes())
    });
    if reserve_or_tear(b"END\r\n".len(), output) {
        output.push(b"END\r\n");
    }
}

/// Writes one line; false when no further line is wanted.
fn write_cachedump_line(
    item: &ItemView<'_>,
    context: &Context<'_>,
    start: usize,
    shown: &mut u32,
    limit: u32,
    out: &mut Vec<u8>,
) -> bool {
    if item.marks().is_binary_key {
        return true;
    }
    let line_start = out.len();
    // A key is cut off at a NUL, as in memcached.
    let key = item.key().split(|&byte| byte == 0).next();
    out.extend_from_slice(b"ITEM ");
    out.extend_from_slice(key.unwrap_or_default());
    let exptime = match item.exptime() {
        0 => 0,
        exptime => context.now.unix(exptime),
    };
    let _ = write!(out, " [{} b; {exptime} s]\r\n", item.value().len());
    if out.len() - start + b"END\r\n\0".len() > CACHEDUMP_BYTES_MAX {
        out.truncate(line_start);
        return false;
    }
    *shown += 1;
    limit == 0 || *shown < limit
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::admin_testing::{Fixture, text};

    #[track_caller]
    fn check(format: Format, fixture: &Fixture, expected: &[&str]) {
        let mut output = Output::new();
        let mut dump = Dump::new(format, u64::MAX);
        while !fixture.with(|context| dump.step(&mut output, context)) {}
        let text = text(&mut output);
        let mut lines: Vec<&str> = text.split_inclusive('\n').collect();
        assert_eq!(lines.first(), Some(&"OK\r\n"));
        let last = lines.len() - 1;
        lines[1..last].sort_unstable();
        assert_eq!(lines[1..], *expected);
    }

    #[test]
    fn metadata_lines_end_in_a_space_and_a_bare_line_feed() {
        let fixture = Fixture::new();
        check(Format::Metadata, &fixture, &["END\r\n"]);
        fixture.set(b"foo", b"bar", 0, 0, false);
        fixture.set(b"a b#", b"bar", 5, 200, false);
        fixture.set(b"dead", b"bar", 0, 99, false);
        check(
            Format::Metadata,
            &fixture,
            &[
                "key=a%20b%23 exp=1700000200 la=1700000100 cas=2 fetch=no cls=1 size=70 flags=5 \n",
                "key=foo exp=-1 la=1700000100 cas=2 fetch=no cls=1 size=65 flags=0 \n",
                "END\r\n",
            ],
        );
    }

    #[test]
    fn meta_gets_encode_binary_keys() {
        let fixture = Fixture::new();
        fixture.set(b"foo", b"bar", 0, 0, false);
        fixture.set(b"\x00\xff\x10\x80", b"bar", 0, 0, true);
        check(Format::MetaGets, &fixture, &["mg AP8QgA== b\r\n", "mg foo\r\n", "EN\r\n"]);
    }

    #[test]
    fn a_step_adds_nothing_while_the_output_is_full() {
        let fixture = Fixture::new();
        fixture.set(b"foo", b"bar", 0, 0, false);
        let mut dump = Dump::new(Format::MetaGets, u64::MAX);
        let mut output = Output::new();
        output.push(&[0; LINES_BYTES_MAX]);
        assert!(!fixture.with(|context| dump.step(&mut output, context)));
        assert!(!fixture.with(|context| dump.step(&mut output, context)));
        assert_eq!(output.pending(), LINES_BYTES_MAX + 4);
        output.clear();
        assert!(fixture.with(|context| dump.step(&mut output, context)));
        assert_eq!(text(&mut output), "mg foo\r\nEN\r\n");
    }

    /// A step through a store of so many items, of which none is listed.
    fn steps(items: usize, is_done: &mut dyn FnMut(&mut Dump, &mut Output, &Fixture) -> bool) -> usize {
        let fixture = Fixture::new();
        (0..items).for_each(|number| fixture.set(format!("k{number}").as_bytes(), b"", 0, 0, false));
        let mut dump = Dump::new(Format::MetaGets, 1 << 30);
        let mut output = Output::new();
        (1..).find(|_| is_done(&mut dump, &mut output, &fixture)).expect("an end")
    }

    /// Buckets count as items do, so that an empty region is no way around the bound.
    #[test]
    fn a_step_visits_a_bounded_number_of_items() {
        let (few, many) = (VISIT_ITEMS_MAX * STEP_VISITS_MAX, 40_000);
        let mut step = |dump: &mut Dump, output: &mut Output, fixture: &Fixture| {
            fixture.with(|context| dump.step(output, context))
        };
        let count = steps(many, &mut step);
        // A visit ends with the bucket that it is in, of a dozen items, and the buckets are counted too.
        assert!((many / few..=2 * many / few).contains(&count), "{count} steps");
    }

    #[test]
    fn a_visit_lists_a_bounded_number_of_items() {
        let fixture = Fixture::new();
        (0..1000).for_each(|number| fixture.set(format!("k{number}").as_bytes(), b"", 0, 0, false));
        let mut output = Output::new();
        // Room for the lines of one visit.
        output.push(&vec![0; LINES_BYTES_MAX - 5]);
        let mut dump = Dump::new(Format::MetaGets, u64::MAX);
        assert!(!fixture.with(|context| dump.step(&mut output, context)));
        let listed = text(&mut output).matches("mg k").count();
        assert!((VISIT_ITEMS_MAX / 2..VISIT_ITEMS_MAX + 32).contains(&listed), "{listed} items");
    }
}
