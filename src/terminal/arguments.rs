//! The commands' own command lines: each command is a row that its help text, its manual page and its parser come from.
//!
//! Flags may stand before, between and after the words, as `--name value`, `--name=value`, `-n value` and `-nvalue`;
//! `--` ends them. This is less than the daemon's getopt, on purpose: nothing here must be as memcached has it.

use std::ffi::OsString;
use std::fs;
use std::str::FromStr;
use std::time::Duration;

use super::connection::Access;
use super::failure::Failure;
use super::tls::{Files, Tls};

/// A command.
pub struct Command {
    /// The word after `slabstash`.
    pub name: &'static str,
    /// What it does, in half a line.
    pub summary: &'static str,
    /// Its words, as the usage line shows them.
    pub words: &'static str,
    /// Paragraphs about it.
    pub about: &'static [&'static str],
    /// Its flags, besides those that all have.
    pub flags: &'static [Flag],
    /// What it ends with, besides 64 for a wrong command line.
    pub exit: &'static [(u8, &'static str)],
    /// Command lines and what they are good for.
    pub examples: &'static [(&'static str, &'static str)],
    /// Does it. What it returns is the exit status.
    pub run: fn(&Arguments) -> Result<u8, Failure>,
}

/// A flag of a command.
pub struct Flag {
    /// Its letter, if it has one.
    pub short: Option<char>,
    /// Its name.
    pub name: &'static str,
    /// What its value is; empty for a flag without one.
    pub value: &'static str,
    /// What it does.
    pub help: &'static str,
}

/// What all commands take.
pub const COMMON: &[Flag] = &[
    Flag {
        short: None,
        name: "timeout",
        value: "SECONDS",
        help: "how long a node may take to accept a connection, and for each answer (default: 2)",
    },
    Flag {
        short: None,
        name: "auth",
        value: "FILE",
        help: "log in as the first line of FILE says, USER:PASSWORD, where nodes run with -Y",
    },
    Flag { short: None, name: "tls", value: "", help: "speak TLS, which nodes do that run with -Z" },
    Flag { short: None, name: "ca", value: "FILE", help: "trust the authorities in FILE instead of the system's" },
    Flag { short: None, name: "cert", value: "FILE", help: "show the certificate in FILE" },
    Flag { short: None, name: "key", value: "FILE", help: "its private key, where it is in a file of its own" },
    Flag {
        short: None,
        name: "server-name",
        value: "NAME",
        help: "the name in certificates, if it is not the address",
    },
    Flag { short: Some('h'), name: "help", value: "", help: "say how to use it" },
];

/// A command line, read.
#[derive(Default, Debug)]
pub struct Arguments {
    given: Vec<(&'static str, String)>,
    /// What is no flag.
    pub words: Vec<String>,
}

impl Arguments {
    /// Reads the words after the command's name.
    pub fn parse(command: &'static Command, raw: &[OsString]) -> Result<Arguments, Failure> {
        let mut read = Arguments::default();
        let mut texts = raw.iter().map(|word| word.to_str());
        let unreadable = || Failure::Usage("a word of the command line is no UTF-8".to_owned());
        let mut are_words = false;
        while let Some(text) = texts.next() {
            let text = text.ok_or_else(unreadable)?;
            if are_words || text == "-" || !text.starts_with('-') {
                read.words.push(text.to_owned());
            } else if text == "--" {
                are_words = true;
            } else {
                let (flag, glued) = find(command, text)?;
                let value = match (flag.value, glued) {
                    ("", None) => String::new(),
                    ("", Some(_)) => return Err(Failure::Usage(format!("--{} takes no value", flag.name))),
                    (_, Some(value)) => value.to_owned(),
                    (placeholder, None) => {
                        let missing = || Failure::Usage(format!("--{} needs a value, {placeholder}", flag.name));
                        texts.next().ok_or_else(missing)?.ok_or_else(unreadable)?.to_owned()
                    }
                };
                read.given.push((flag.name, value));
            }
        }
        Ok(read)
    }

    /// Whether a flag was given.
    pub fn has(&self, name: &str) -> bool {
        self.text(name).is_some()
    }

    /// A flag's value; of several the last.
    pub fn text(&self, name: &str) -> Option<&str> {
        self.given.iter().rev().find(|(given, _)| *given == name).map(|(_, value)| value.as_str())
    }

    /// All values of a flag that may be given several times.
    pub fn texts(&self, name: &str) -> Vec<&str> {
        self.given.iter().filter(|(given, _)| *given == name).map(|(_, value)| value.as_str()).collect()
    }

    /// A flag's value as a number within bounds.
    pub fn number<T>(&self, name: &str, least: T, most: T) -> Result<Option<T>, Failure>
    where
        T: FromStr + PartialOrd + std::fmt::Display + Copy,
    {
        let Some(text) = self.text(name) else { return Ok(None) };
        let number: Option<T> = text.parse().ok();
        match number.filter(|number| *number >= least && *number <= most) {
            Some(number) => Ok(Some(number)),
            None => Err(Failure::Usage(format!("--{name} {text:?} is no number from {least} to {most}"))),
        }
    }

    /// How to reach the nodes.
    pub fn access(&self) -> Result<Access, Failure> {
        let seconds = self.number("timeout", 0.01, 3600.0)?.unwrap_or(2.0);
        let login = match self.text("auth") {
            None => None,
            Some(path) => Some(login(path)?),
        };
        Ok(Access { timeout: Duration::from_secs_f64(seconds), login, tls: self.tls()? })
    }

    /// Flags that make nothing secure without `--tls` are refused, so that nobody believes they do.
    fn tls(&self) -> Result<Option<Tls>, Failure> {
        if !self.has("tls") {
            let stray = ["ca", "cert", "key", "server-name"].into_iter().find(|name| self.has(name));
            return stray.map_or(Ok(None), |name| Err(Failure::Usage(format!("--{name} is for --tls"))));
        }
        let files = Files {
            authorities: self.text("ca"),
            chain: self.text("cert"),
            key: self.text("key"),
            name: self.text("server-name"),
        };
        Tls::load(files).map(Some)
    }
}

/// The flag that a text names, and the value in the same word.
fn find<'a>(command: &'static Command, text: &'a str) -> Result<(&'static Flag, Option<&'a str>), Failure> {
    let mut flags = command.flags.iter().chain(COMMON);
    let found = match text.strip_prefix("--") {
        Some(long) => {
            let (name, value) = long.split_once('=').map_or((long, None), |(name, value)| (name, Some(value)));
            flags.find(|flag| flag.name == name).map(|flag| (flag, value))
        }
        None => {
            let mut letters = text[1..].chars();
            let letter = letters.next();
            let rest = letters.as_str();
            let value = (!rest.is_empty()).then_some(rest);
            flags.find(|flag| flag.short.is_some() && flag.short == letter).map(|flag| (flag, value))
        }
    };
    let unknown = || Failure::Usage(format!("there is no flag {text}; slabstash {} --help lists them", command.name));
    found.ok_or_else(unknown)
}

/// `user password` from a file's first line `user:password`.
fn login(path: &str) -> Result<String, Failure> {
    let text = fs::read_to_string(path).map_err(|error| Failure::File(format!("cannot read {path}: {error}")))?;
    let line = text.lines().next().unwrap_or_default();
    match line.split_once(':') {
        Some((user, password)) if !user.is_empty() && !password.is_empty() => Ok(format!("{user} {password}")),
        _ => Err(Failure::File(format!("{path}: the first line is not USER:PASSWORD"))),
    }
}

/// What `--help` prints.
pub fn help(command: &Command) -> String {
    let mut text = format!("usage: slabstash {} {}\n\n", command.name, command.words);
    for paragraph in command.about {
        text.push_str(paragraph);
        text.push_str("\n\n");
    }
    for flag in command.flags.iter().chain(COMMON) {
        text.push_str(&format!("  {:<28} {}\n", usage(flag), flag.help));
    }
    text.push_str(
        "\nAn address is host:port, [v6]:port or unix:/path; without any it is 127.0.0.1:11211.\n\nexit status:\n",
    );
    for (code, meaning) in command.exit.iter().chain(&[(super::failure::USAGE, "wrong command line")]) {
        text.push_str(&format!("  {code:<4} {meaning}\n"));
    }
    text.push_str("\nexamples:\n");
    for (line, purpose) in command.examples {
        text.push_str(&format!("  {line}\n      {purpose}\n"));
    }
    text
}

/// `-i, --interval SECONDS`.
pub fn usage(flag: &Flag) -> String {
    let letter = flag.short.map_or("    ".to_owned(), |letter| format!("-{letter}, "));
    let value = if flag.value.is_empty() { String::new() } else { format!(" {}", flag.value) };
    format!("{letter}--{}{value}", flag.name)
}

#[cfg(test)]
mod tests {
    use super::*;

    static COMMAND: Command = Command {
        name: "test",
        summary: "",
        words: "",
        about: &[],
        flags: &[
            Flag { short: Some('n'), name: "number", value: "N", help: "" },
            Flag { short: Some('j'), name: "json", value: "", help: "" },
        ],
        exit: &[],
        examples: &[],
        run: |_| Ok(0),
    };

    fn parse(line: &str) -> Result<Arguments, Failure> {
        let words: Vec<OsString> = line.split_whitespace().map(OsString::from).collect();
        Arguments::parse(&COMMAND, &words)
    }

    #[track_caller]
    fn check(line: &str, number: Option<u32>, has_json: bool, words: &[&str]) {
        let read = parse(line).expect("a right command line");
        assert_eq!(read.number("number", 0, 100), Ok(number));
        assert_eq!(read.has("json"), has_json);
        assert_eq!(read.words, words);
    }

    #[track_caller]
    fn refuse(line: &str, message: &str) {
        let read = parse(line).and_then(|read| read.number("number", 1u32, 100));
        assert_eq!(read, Err(Failure::Usage(message.to_owned())));
    }

    #[test]
    fn flags_stand_anywhere() {
        check("", None, false, &[]);
        check("a -n 5 b --json", Some(5), true, &["a", "b"]);
        check("-n5 --number=6 -", Some(6), false, &["-"]);
        check("-j -- -n --json", None, true, &["-n", "--json"]);
    }

    #[test]
    fn others_are_refused() {
        refuse("--numbers 5", "there is no flag --numbers; slabstash test --help lists them");
        refuse("-x", "there is no flag -x; slabstash test --help lists them");
        refuse("-n", "--number needs a value, N");
        refuse("--json=1", "--json takes no value");
        refuse("-jn", "--json takes no value");
        refuse("-n 0", "--number \"0\" is no number from 1 to 100");
        refuse("-n x", "--number \"x\" is no number from 1 to 100");
    }

    #[test]
    fn access_has_a_default_and_bounds() {
        let access = parse("").and_then(|read| read.access()).expect("access");
        assert_eq!((access.timeout, access.login), (Duration::from_secs(2), None));
        assert!(access.tls.is_none());
        for line in ["--ca x", "--cert x", "--key x", "--server-name x", "--tls --key x"] {
            assert!(matches!(parse(line).and_then(|read| read.access()), Err(Failure::Usage(_))), "{line}");
        }
        for line in ["--timeout 0", "--timeout -1", "--timeout inf", "--timeout NaN", "--timeout x"] {
            assert!(matches!(parse(line).and_then(|read| read.access()), Err(Failure::Usage(_))), "{line}");
        }
        let missing = parse("--auth /nonexistent/file").and_then(|read| read.access());
        assert!(matches!(missing, Err(Failure::File(_))));
    }
}
