//! Standard error: the log, memcached's verbose lines among it, and the few lines that are always said.
//!
//! Nobody waits for whoever takes the lines: one that cannot be written at once is left out and counted, and the count is
//! told when lines are taken again. A worker that waited would keep all its clients waiting.

use std::io::{self, Write};

use log::LevelFilter;
use rustix::event::{PollFd, PollFlags, Timespec, poll};

/// Starts the log at the level that `-v` asks for. Lines are bare text, as memcached's are; tools look for those.
pub fn start(verbosity: u8) {
    let mut builder = env_logger::Builder::new();
    builder.filter_level(LevelFilter::Trace);
    builder.format(|buffer, record| writeln!(buffer, "{}", record.args()));
    builder.target(env_logger::Target::Pipe(Box::new(Lines::default())));
    // A program that embeds the server may have a log of its own.
    let _ = builder.try_init();
    set_verbosity(verbosity);
}

/// Changes the level while the server runs.
pub fn set_verbosity(verbosity: u8) {
    log::set_max_level(match verbosity {
        0 => LevelFilter::Warn,
        1 => LevelFilter::Info,
        2 => LevelFilter::Debug,
        _ => LevelFilter::Trace,
    });
}

/// Writes a line whatever the level. That nobody listens is no reason to stop.
pub fn say(text: &str) {
    let _ = Lines::default().write(format!("{text}\n").as_bytes());
}

/// Standard error, a line with each write.
#[derive(Default)]
struct Lines {
    /// Lines that were not written since one was.
    left_out: u64,
}

impl Write for Lines {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let mut standard_error = io::stderr().lock();
        if self.left_out > 0 && takes_lines() {
            let _ = writeln!(standard_error, "{} lines of the log were left out, nobody took them", self.left_out);
            self.left_out = 0;
        }
        if takes_lines() {
            let [start, end] = cut(line);
            let _ = standard_error.write_all(start);
            let _ = standard_error.write_all(end);
        } else {
            self.left_out += 1;
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// What is written of a line: as much as fits whenever anything does, and its end.
fn cut(line: &[u8]) -> [&[u8]; 2] {
    if line.len() <= LINE_BYTES_MAX { [line, b""] } else { [&line[..LINE_BYTES_MAX], b"\n"] }
}

/// Whether standard error takes a line without waiting. A pipe or socket that does takes a page; whatever cannot be asked
/// is believed to.
fn takes_lines() -> bool {
    let standard_error = io::stderr();
    let mut asked = [PollFd::new(&standard_error, PollFlags::OUT)];
    let ready = poll(&mut asked, Some(&Timespec { tv_sec: 0, tv_nsec: 0 }));
    ready.is_ok_and(|count| count > 0) || ready.is_err()
}

/// Longer lines are cut: a page of a pipe, with the line end.
const LINE_BYTES_MAX: usize = 4095;

#[cfg(test)]
mod tests {
    use super::{LINE_BYTES_MAX, cut};

    #[test]
    fn long_lines_are_cut() {
        let written = |bytes: usize| {
            let line = [vec![b'x'; bytes - 1], b"\n".to_vec()].concat();
            let written = cut(&line).concat();
            assert!(written.ends_with(b"x\n") && !written.ends_with(b"\n\n"));
            written.len()
        };
        assert_eq!(written(LINE_BYTES_MAX), LINE_BYTES_MAX);
        assert_eq!(written(LINE_BYTES_MAX + 1), LINE_BYTES_MAX + 1);
        assert_eq!(written(LINE_BYTES_MAX + 2), LINE_BYTES_MAX + 1);
    }
}
