//! The grammar of `getopt_long`, as GNU's C library reads a command line.
//!
//! - `-p 5`, `-p5`, `-vv`, `-vp5`: short options cluster; a value is the rest of the word or the next word, whatever
//!   that looks like.
//! - `--port 5`, `--port=5`, `--po=5`: long options may be cut to any prefix that fits one name only; the whole name
//!   always fits.
//! - Words that are no option are stepped over, `--` ends the options, and with `POSIXLY_CORRECT` the first such word
//!   does.
//!
//! The texts of the complaints are GNU's too. What an option means is not known here; values come out as raw bytes.

use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt;

use super::row::{Argument, Row};

/// Reads a command line option by option.
pub(super) struct Reader<'a> {
    program: &'a str,
    arguments: &'a [OsString],
    rows: &'static [Row],
    stops_at_word: bool,
    /// The next word to look at: `0 <= index <= arguments.len()`.
    index: usize,
    /// What is left of a word of short options.
    cluster: &'a [u8],
}

/// One option as it stands on the command line.
pub(super) struct Found<'a> {
    /// Its row of the table.
    pub row: &'static Row,
    /// Its value, when it has one.
    pub value: Option<&'a [u8]>,
}

impl<'a> Reader<'a> {
    /// A reader at the start of `arguments`, which do not include the program's own name.
    pub fn new(program: &'a str, arguments: &'a [OsString], rows: &'static [Row]) -> Reader<'a> {
        Reader { program, arguments, rows, stops_at_word: false, index: 0, cluster: &[] }
    }

    /// Makes the first word that is no option the end of the options.
    pub fn stop_at_word(mut self) -> Reader<'a> {
        self.stops_at_word = true;
        self
    }

    /// The next option; `None` at the end, or the complaint about what cannot be one.
    pub fn next(&mut self) -> Result<Option<Found<'a>>, String> {
        if !self.cluster.is_empty() {
            return self.short().map(Some);
        }
        while let Some(word) = self.next_word() {
            if word == b"--" {
                return Ok(None);
            }
            if let Some(long) = word.strip_prefix(b"--") {
                return self.long(long).map(Some);
            }
            if word.len() > 1 && word[0] == b'-' {
                self.cluster = &word[1..];
                return self.short().map(Some);
            }
            if self.stops_at_word {
                return Ok(None);
            }
        }
        Ok(None)
    }

    fn next_word(&mut self) -> Option<&'a [u8]> {
        let word = self.arguments.get(self.index)?.as_bytes();
        self.index += 1;
        Some(word)
    }

    fn short(&mut self) -> Result<Found<'a>, String> {
        let (letter, rest) = (self.cluster[0], &self.cluster[1..]);
        let program = self.program;
        let Some(row) = self.rows.iter().find(|row| row.short == Some(letter)) else {
            return Err(format!("{program}: invalid option -- '{}'", char::from(letter)));
        };
        if !matches!(row.argument, Argument::Required(_)) {
            self.cluster = rest;
            return Ok(Found { row, value: None });
        }
        self.cluster = &[];
        let value = if rest.is_empty() { self.next_word() } else { Some(rest) };
        match value {
            Some(_) => Ok(Found { row, value }),
            None => Err(format!("{program}: option requires an argument -- '{}'", char::from(letter))),
        }
    }

    fn long(&mut self, word: &'a [u8]) -> Result<Found<'a>, String> {
        let equals = memchr::memchr(b'=', word);
        let (name, glued) = match equals {
            Some(at) => (&word[..at], Some(&word[at + 1..])),
            None => (word, None),
        };
        let row = self.named(name, word)?;
        let program = self.program;
        match row.argument {
            Argument::None if glued.is_some() => {
                Err(format!("{program}: option '--{}' doesn't allow an argument", row.name))
            }
            Argument::Required(_) if glued.is_none() => match self.next_word() {
                Some(value) => Ok(Found { row, value: Some(value) }),
                None => Err(format!("{program}: option '--{}' requires an argument", row.name)),
            },
            _ => Ok(Found { row, value: glued }),
        }
    }

    /// The row of a long name or of its only possible completion; `word` is for the complaint.
    fn named(&self, name: &[u8], word: &[u8]) -> Result<&'static Row, String> {
        let has_long = |row: &&'static Row| !row.name.is_empty();
        if let Some(row) = self.rows.iter().filter(has_long).find(|row| row.name.as_bytes() == name) {
            return Ok(row);
        }
        let mut fitting: Vec<&'static Row> =
            self.rows.iter().filter(has_long).filter(|row| row.name.as_bytes().starts_with(name)).collect();
        let word = String::from_utf8_lossy(word);
        match fitting.len() {
            0 => Err(format!("{}: unrecognized option '--{word}'", self.program)),
            1 => Ok(fitting.remove(0)),
            _ => {
                fitting.sort_by_key(|row| LONG_ORDER.iter().position(|at| row.short == Some(*at)));
                let names: Vec<String> = fitting.iter().map(|row| format!("'--{}'", row.name)).collect();
                let names = names.join(" ");
                Err(format!("{}: option '--{word}' is ambiguous; possibilities: {names}", self.program))
            }
        }
    }
}

/// The order of memcached's list of long names, in which complaints name the possibilities.
const LONG_ORDER: &[u8] = b"aAZpsUmMckhiVrvdluPfntLRCbBISFXWYeoN";

#[cfg(test)]
mod tests {
    use super::super::table;
    use super::*;

    fn read(arguments: &[&str], posix: bool) -> String {
        let arguments: Vec<OsString> = arguments.iter().map(OsString::from).collect();
        let mut reader = Reader::new("memcached", &arguments, table::ROWS);
        if posix {
            reader = reader.stop_at_word();
        }
        let mut seen = Vec::new();
        loop {
            match reader.next() {
                Ok(None) => return seen.join(" "),
                Err(complaint) => {
                    seen.push(complaint);
                    return seen.join(" ");
                }
                Ok(Some(found)) => {
                    let letter = found.row.short.map_or('?', char::from);
                    match found.value {
                        Some(value) => seen.push(format!("{letter}={}", String::from_utf8_lossy(value))),
                        None => seen.push(letter.to_string()),
                    }
                }
            }
        }
    }

    #[track_caller]
    fn check(arguments: &[&str], expected: &str) {
        assert_eq!(read(arguments, false), expected, "{arguments:?}");
    }

    #[test]
    fn values_glued_and_apart() {
        check(&["-p", "5"], "p=5");
        check(&["-p5"], "p=5");
        check(&["-l::1", "-s/tmp/x.sock"], "l=::1 s=/tmp/x.sock");
        check(&["--port", "5", "--port=6", "--port="], "p=5 p=6 p=");
        check(&["-vvMp5"], "v v M p=5");
        check(&["-p", "-U"], "p=-U");
        check(&["-p", "--"], "p=--");
        check(&["--port", "--help"], "p=--help");
        check(&["-p", ""], "p=");
        check(&["--verbose", "--verbose=3", "-v3"], "v v=3 v memcached: invalid option -- '3'");
    }

    #[test]
    fn prefixes_that_fit_one_name() {
        check(&["--po=5", "--daem"], "p=5 d");
        check(
            &["--listen=a", "--list=b"],
            "l=a memcached: option '--list=b' is ambiguous; possibilities: '--listen' '--listen-backlog'",
        );
        check(
            &["--li"],
            "memcached: option '--li' is ambiguous; possibilities: '--license' '--listen' '--listen-backlog'",
        );
    }

    #[test]
    fn possibilities_come_in_the_order_of_memcached() {
        check(
            &["--disable"],
            "memcached: option '--disable' is ambiguous; possibilities: '--disable-evictions' \
             '--disable-cas' '--disable-flush-all' '--disable-dumping' '--disable-watch'",
        );
        assert_eq!(LONG_ORDER.len() + 1, table::ROWS.len(), "all but -D");
    }

    #[test]
    fn words_are_stepped_over() {
        check(&["word", "-v", "-", "other", "-M"], "v M");
        check(&["-v", "--", "-M"], "v");
        assert_eq!(read(&["-v", "word", "-M"], true), "v");
    }

    #[test]
    fn complaints_are_those_of_gnu() {
        check(&["-q"], "memcached: invalid option -- 'q'");
        check(&["-v:"], "v memcached: invalid option -- ':'");
        check(&["-p"], "memcached: option requires an argument -- 'p'");
        check(&["--port"], "memcached: option '--port' requires an argument");
        check(&["--daemon=1"], "memcached: option '--daemon' doesn't allow an argument");
        check(&["--foo=1"], "memcached: unrecognized option '--foo=1'");
    }
}
