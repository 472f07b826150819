//! Case files: transcripts of what clients send and what a server answers.
//!
//! ```text
//! # A comment. Directives above the first case hold for the whole file.
//! needs: 1.6.18
//!
//! == a value is returned with its flags
//! > set foo 5 0 3
//! > bar
//! < STORED
//!
//! > get foo
//! < VALUE foo 5 3
//! < bar
//! < END
//! ```
//!
//! | line | meaning |
//! |---|---|
//! | `== TITLE` | begins a case |
//! | `> TEXT` `>> TEXT` | send TEXT and CRLF; send TEXT alone |
//! | `>x HEX` `>bin PACKET` | send bytes; send a binary packet (see [`crate::packet`]) |
//! | `>eof` `>close` | the client ends its sending side; closes |
//! | `< TEXT` `<< TEXT` `<x HEX` `<bin PACKET` | expect the same |
//! | `<close` | expect the server to close, with nothing before it |
//! | `[NAME]` | further lines are about another connection; the first one is `[main]` |
//! | `pause: MILLISECONDS` | let time pass, where the clock is the subject |
//!
//! TEXT is a template (see [`crate::template`]). Send lines that follow each other form one write; a blank line ends it.
//! Expect lines that follow each other are matched as one. When a case ends, every connection that was used and not closed
//! is probed (`mn`, or a binary noop) and must have nothing else to say.
//!
//! | directive | meaning |
//! |---|---|
//! | `needs: VERSION` | older servers are not asked |
//! | `has: WORD` | a server whose `-h` does not name WORD is not asked |
//! | `options: WORDS` | started with these; servers are shared by cases with equal options, `flush_all` in between |
//! | `file: NAME TEXT` | a file with this content; `{file:NAME}` in options and environment is its path, `{folder}` its folder |
//! | `environment: NAME=VALUE` | a variable it is started with |
//! | `fresh: REASON` | each run has its own server |
//! | `reset: no REASON` | no `flush_all` before a run |
//! | `cut: no REASON`, `cut: COUNT REASON` | never cut the input; only at up to COUNT places |
//! | `end: open REASON` | do not probe at the end |
//! | `canary: yes` | a key set before must be there afterwards |
//! | `exit: CODE` | the server must end by itself with this code |

use std::fs;
use std::path::{Path, PathBuf};

use crate::packet::Packet;
use crate::template::{Piece, parse, parse_hex};
use crate::version::Version;

/// One transcript.
#[derive(Clone, Debug)]
pub struct Case {
    /// File and title, as reported.
    pub name: String,
    /// What it is run with.
    pub setting: Setting,
    /// What happens, in order.
    pub steps: Vec<Step>,
}

/// The directives of a case.
#[derive(Clone, Debug, Default)]
pub struct Setting {
    /// Minimum version of the server.
    pub needs: Option<Version>,
    /// A feature the server's help must name.
    pub has: Option<String>,
    /// Command line options.
    pub options: Vec<String>,
    /// Files that options refer to.
    pub files: Vec<(String, Vec<u8>)>,
    /// Variables of the environment.
    pub environment: Vec<(String, String)>,
    /// Whether each run has its own server.
    pub is_fresh: bool,
    /// Whether nothing is flushed before a run.
    pub is_unreset: bool,
    /// Whether connections are not probed at the end.
    pub is_left_open: bool,
    /// Whether a canary key is set before and checked after.
    pub has_canary: bool,
    /// Where the input is cut.
    pub cut: CutRule,
    /// The status the server must exit with.
    pub exit: Option<i32>,
}

/// At how many places the input of a case is cut.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub enum CutRule {
    /// At each byte, as far as the input is short.
    #[default]
    Everywhere,
    /// At no more than so many places.
    AtMost(usize),
}

/// Something that happens on one connection.
#[derive(Clone, Debug)]
pub struct Step {
    /// The line it begins at.
    pub line: usize,
    /// The connection it happens on.
    pub connection: String,
    /// What happens.
    pub action: Action,
}

/// What happens in a step.
#[derive(Clone, Debug)]
pub enum Action {
    /// One write.
    Send(Vec<Piece>),
    /// Input that must come.
    Expect(Vec<Piece>),
    /// The server must close the connection, without sending anything before.
    ExpectClose,
    /// The client ends its sending side.
    EndSending,
    /// The client closes.
    Close,
    /// Time passes.
    Pause(u64),
}

/// Reads all case files under a folder, in the order of their paths.
pub fn load_folder(folder: &Path) -> Result<Vec<Case>, String> {
    let mut files = Vec::new();
    collect_files(folder, &mut files)?;
    files.sort();
    let mut cases = Vec::new();
    for file in files {
        let text = fs::read_to_string(&file).map_err(|error| format!("{}: {error}", file.display()))?;
        let name = file.strip_prefix(folder).unwrap_or(&file).with_extension("");
        cases.extend(parse_file(&name.display().to_string(), &text)?);
    }
    Ok(cases)
}

/// Parses the text of one case file.
pub fn parse_file(name: &str, text: &str) -> Result<Vec<Case>, String> {
    let mut reader = Reader {
        file: name,
        defaults: Setting::default(),
        cases: Vec::new(),
        connection: String::new(),
        is_open: false,
    };
    for (index, line) in text.lines().enumerate() {
        let number = index + 1;
        reader.read_line(number, line).map_err(|error| format!("{name}.case:{number}: {error}"))?;
    }
    for (index, case) in reader.cases.iter().enumerate() {
        if reader.cases[..index].iter().any(|other| other.name == case.name) {
            return Err(format!("'{}' exists twice", case.name));
        }
    }
    Ok(reader.cases)
}

fn collect_files(folder: &Path, files: &mut Vec<PathBuf>) -> Result<(), String> {
    let fail = |error: std::io::Error| format!("{}: {error}", folder.display());
    for entry in fs::read_dir(folder).map_err(fail)? {
        let path = entry.map_err(fail)?.path();
        if path.is_dir() {
            collect_files(&path, files)?;
        } else if path.extension().is_some_and(|extension| extension == "case") {
            files.push(path);
        }
    }
    Ok(())
}

struct Reader<'f> {
    file: &'f str,
    defaults: Setting,
    cases: Vec<Case>,
    connection: String,
    /// Whether the last step may still grow by further lines of its kind.
    is_open: bool,
}

impl Reader<'_> {
    fn read_line(&mut self, number: usize, line: &str) -> Result<(), String> {
        if line.is_empty() {
            self.is_open = false;
            return Ok(());
        }
        if line.starts_with('#') {
            return Ok(());
        }
        if let Some(title) = line.strip_prefix("== ") {
            let name = format!("{}: {title}", self.file);
            self.cases.push(Case { name, setting: self.defaults.clone(), steps: Vec::new() });
            self.connection = "main".to_string();
            self.is_open = false;
            return Ok(());
        }
        if let Some(name) = line.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            self.connection = name.to_string();
            self.is_open = false;
            return Ok(());
        }
        if line.starts_with(['<', '>']) {
            return self.read_step(number, line);
        }
        match line.split_once(": ") {
            Some(("pause", milliseconds)) => {
                let pause = milliseconds.parse().map_err(|_| format!("'{milliseconds}' is no number"))?;
                self.push(number, Action::Pause(pause))
            }
            Some((name, value)) => {
                let setting = match self.cases.last_mut() {
                    Some(case) if case.steps.is_empty() => &mut case.setting,
                    Some(_) => return Err("directives stand before the steps".to_string()),
                    None => &mut self.defaults,
                };
                set(setting, name, value)
            }
            None => Err(format!("cannot read '{line}'")),
        }
    }

    fn read_step(&mut self, number: usize, line: &str) -> Result<(), String> {
        match line {
            "<close" => return self.push(number, Action::ExpectClose),
            ">eof" => return self.push(number, Action::EndSending),
            ">close" => return self.push(number, Action::Close),
            _ => {}
        }
        let is_send = line.starts_with('>');
        let (kind, text) = line[1..].split_once(' ').unwrap_or((&line[1..], ""));
        let pieces = match kind {
            "" => {
                let mut pieces = parse(text)?;
                pieces.push(Piece::Bytes(b"\r\n".to_vec()));
                pieces
            }
            ">" | "<" => parse(text)?,
            "x" => vec![Piece::Bytes(parse_hex(text)?)],
            "bin" if is_send => vec![Piece::Packet(Box::new(Packet::request(text)?))],
            "bin" => vec![Piece::Packet(Box::new(Packet::response(text)?))],
            _ => return Err(format!("cannot read '{line}'")),
        };
        let last = self.cases.last_mut().and_then(|case| case.steps.last_mut()).filter(|_| self.is_open);
        match last.map(|step| &mut step.action) {
            Some(Action::Send(open)) if is_send => open.extend(pieces),
            Some(Action::Expect(open)) if !is_send => open.extend(pieces),
            _ => self.push(number, if is_send { Action::Send(pieces) } else { Action::Expect(pieces) })?,
        }
        Ok(())
    }

    fn push(&mut self, line: usize, action: Action) -> Result<(), String> {
        self.is_open = true;
        let case = self.cases.last_mut().ok_or("a step outside a case")?;
        case.steps.push(Step { line, connection: self.connection.clone(), action });
        Ok(())
    }
}

fn set(setting: &mut Setting, name: &str, value: &str) -> Result<(), String> {
    let (word, reason) = value.split_once(' ').unwrap_or((value, ""));
    match (name, word) {
        ("needs", _) => setting.needs = Some(value.parse()?),
        ("has", _) => setting.has = Some(value.to_string()),
        ("options", _) => setting.options = value.split_ascii_whitespace().map(str::to_string).collect(),
        ("file", name) => setting.files.push((name.to_string(), crate::template::expand_constant(reason)?)),
        ("environment", _) => {
            let (name, value) = value.split_once('=').ok_or("'environment' is NAME=VALUE")?;
            setting.environment.push((name.to_string(), value.to_string()));
        }
        ("fresh", _) => setting.is_fresh = true,
        ("canary", "yes") => setting.has_canary = true,
        ("exit", code) => setting.exit = Some(code.parse().map_err(|_| format!("'{code}' is no exit status"))?),
        ("cut" | "reset" | "end", _) if reason.is_empty() => {
            return Err(format!("'{name}' needs a reason"));
        }
        ("cut", "no") => setting.cut = CutRule::AtMost(0),
        ("cut", count) => setting.cut = CutRule::AtMost(count.parse().map_err(|_| format!("'{count}' is no count"))?),
        ("reset", "no") => setting.is_unreset = true,
        ("end", "open") => setting.is_left_open = true,
        _ => return Err(format!("unknown directive '{name}: {value}'")),
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::{Action, CutRule, parse_file};
    use crate::version::Version;

    #[test]
    fn groups_lines_into_steps() {
        let text =
            "needs: 1.6.18\n\n== one\n# note\n> a\n>> b\n\n> c\n< d\n< e\n[other]\n< f\n<close\n== two\n>x 00 ff\n";
        let cases = parse_file("f", text).unwrap();
        assert_eq!(cases.len(), 2);
        assert_eq!(cases[0].name, "f: one");
        assert_eq!(cases[0].setting.needs, Some(Version(1, 6, 18)));
        assert_eq!(cases[0].steps.len(), 5);
        assert_eq!(cases[0].steps[3].connection, "other");
        assert!(matches!(cases[0].steps[4].action, Action::ExpectClose));
        assert_eq!(cases[1].steps[0].connection, "main");
    }

    #[test]
    fn a_case_overrides_its_file() {
        let text = "options: -F\nreset: no it cannot flush\n== one\noptions: -M -m 2\ncut: 4 slow\n> a\n== two\n> b\n";
        let cases = parse_file("f", text).unwrap();
        assert_eq!(cases[0].setting.options, ["-M", "-m", "2"]);
        assert_eq!(cases[0].setting.cut, CutRule::AtMost(4));
        assert_eq!(cases[1].setting.options, ["-F"]);
        assert!(cases[1].setting.is_unreset);
        assert_eq!(cases[1].setting.cut, CutRule::Everywhere);
    }

    #[test]
    fn names_the_line_it_cannot_read() {
        for (text, line) in [
            ("> a\n", 1),
            ("== a\nnope\n", 2),
            ("== a\n> {nope}\n", 2),
            ("== a\n> b\nneeds: 1.6.18\n", 3),
            ("== a\ncut: no\n", 2),
            ("== a\n>bin nope\n", 2),
        ] {
            let error = parse_file("f", text).unwrap_err();
            assert!(error.starts_with(&format!("f.case:{line}: ")), "{error}");
        }
        assert!(parse_file("f", "== a\n== a\n").is_err());
    }
}
