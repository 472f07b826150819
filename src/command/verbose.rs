//! What `-vv` shows of a text conversation, in memcached's form: the command, the reply's first line, the keys sent.
//!
//! What a client sends is shown escaped and cut, so that nobody can write to the operator's terminal or fill the log.

use log::{Level, debug, log_enabled};

/// Bytes of a line that are shown.
const SHOWN_BYTES_MAX: usize = 512;

/// Whether anything is to be shown. One relaxed load.
#[inline]
pub(super) fn is_on() -> bool {
    log_enabled!(Level::Debug)
}

/// The protocol that the first byte has chosen.
#[cold]
pub(super) fn protocol(descriptor: i32, name: &str) {
    debug!("{descriptor}: Client using the {name} protocol");
}

/// A command line.
#[cold]
pub(super) fn command(descriptor: i32, line: &[u8]) {
    debug!("<{descriptor} {}", shown(line));
}

/// A key whose value is sent.
#[cold]
pub(super) fn sending_key(descriptor: i32, key: &[u8]) {
    debug!(">{descriptor} sending key {}", shown(key));
}

/// A reply, by its `END` or else its first line; values are not shown.
#[cold]
pub(super) fn reply(descriptor: i32, reply: &[u8]) {
    if !reply.is_empty() {
        debug!(">{descriptor} {}", shown(shown_line(reply)));
    }
}

fn shown_line(reply: &[u8]) -> &[u8] {
    if reply.ends_with(b"END\r\n") {
        return b"END";
    }
    let end = reply.iter().position(|&byte| byte == b'\r').unwrap_or(reply.len());
    &reply[..end]
}

fn shown(bytes: &[u8]) -> String {
    bytes[..bytes.len().min(SHOWN_BYTES_MAX)].escape_ascii().to_string()
}

#[cfg(test)]
mod tests {
    use super::{shown, shown_line};

    #[test]
    fn nothing_raw_and_nothing_long_is_shown() {
        assert_eq!(shown(b"get a\x1b[2J\r%n"), "get a\\x1b[2J\\r%n");
        assert_eq!(shown(&[b'a'; 100_000]).len(), 512);
    }

    #[test]
    fn replies_are_shown_without_values() {
        assert_eq!(shown_line(b"STORED\r\n"), b"STORED");
        assert_eq!(shown_line(b"VALUE a 0 1\r\nx\r\nEND\r\n"), b"END");
        assert_eq!(shown_line(b"VA 1\r\nx\r\n"), b"VA 1");
    }
}
