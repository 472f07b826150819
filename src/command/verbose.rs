//! What `-vv` shows of a conversation, in memcached's form. Text: the command, the reply's first line, the keys sent.
//! Binary: the headers of packets, the text of errors, and what a get or a set names.
//!
//! What a client sends is shown escaped and cut, so that nobody can write to the operator's terminal or fill the log.

use log::{Level, debug, log_enabled};

use crate::protocol::binary::header::HEADER_BYTES;
use crate::protocol::binary::opcode::Command;

/// Bytes of a line that are shown.
const SHOWN_BYTES_MAX: usize = 512;

/// Whether anything is to be shown. One relaxed load.
#[inline(always)]
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

/// The header of a binary request.
#[cold]
pub(super) fn packet(descriptor: i32, packet: &[u8]) {
    debug!(
        "{}",
        shown_header(&format!("<{descriptor} Read binary protocol data:"), &format!("<{descriptor}   "), packet)
    );
}

/// What a binary request names.
#[cold]
pub(super) fn operation(descriptor: i32, command: Command, key: &[u8], value_bytes: usize) {
    let word = match command {
        Command::Get | Command::GetWithKey => "GET",
        Command::Touch | Command::GetAndTouch | Command::GetAndTouchWithKey => "TOUCH",
        Command::Set => "SET",
        Command::Add => "ADD",
        Command::Replace => "REPLACE",
        Command::Delete => return debug!("Deleting {}", shown(key)),
        Command::Stat => "STATS",
        _ => return,
    };
    let key = shown(key);
    match command {
        Command::Set | Command::Add | Command::Replace => {
            debug!("<{descriptor} {word} {key} Value len is {value_bytes}");
        }
        _ => debug!("<{descriptor} {word} {key}"),
    }
}

/// The headers of binary replies, and what errors say.
#[cold]
pub(super) fn packets(descriptor: i32, replies: &[u8]) {
    let mut rest = replies;
    while let Some(reply) = Reply::first(rest) {
        if let Some(error) = reply.error {
            debug!(">{descriptor} Writing an error: {}", shown(error));
        }
        let title = format!(">{descriptor} Writing bin response:");
        debug!("{}", shown_header(&title, &format!(">{descriptor}  "), rest));
        // A large value is not among these bytes; it ends them.
        rest = rest.get(reply.bytes..).unwrap_or_default();
    }
}

/// A reply as far as it is shown.
struct Reply<'a> {
    error: Option<&'a [u8]>,
    /// Header and body.
    bytes: usize,
}

impl<'a> Reply<'a> {
    fn first(bytes: &'a [u8]) -> Option<Self> {
        let (header, body) = bytes.split_first_chunk::<HEADER_BYTES>()?;
        let body_bytes = u32::from_be_bytes([header[8], header[9], header[10], header[11]]) as usize;
        let (has_key, is_error) = (header[2..4] != [0, 0], header[6..8] != [0, 0]);
        let error = body.get(..body_bytes).filter(|body| is_error && !has_key && !body.is_empty());
        Some(Self { error, bytes: HEADER_BYTES + body_bytes })
    }
}

/// A packet's header, four bytes to a line.
fn shown_header(title: &str, start: &str, packet: &[u8]) -> String {
    let mut text = title.to_owned();
    for word in packet[..packet.len().min(HEADER_BYTES)].chunks(4) {
        text.push_str(&format!("\n{start}"));
        for byte in word {
            text.push_str(&format!(" 0x{byte:02x}"));
        }
    }
    text
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
    use super::{Reply, shown, shown_header, shown_line};

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

    #[test]
    fn binary_replies_are_shown_by_their_headers() {
        let mut reply = [0; 24];
        (reply[0], reply[7], reply[11]) = (0x81, 1, 9);
        let whole = [&reply[..], b"Not found"].concat();
        let found = Reply::first(&whole).map(|reply| (reply.error, reply.bytes));
        assert_eq!(found, Some((Some(&b"Not found"[..]), 33)));
        // A key is not an error's text, and a body that is elsewhere is not shown.
        reply[3] = 9;
        assert_eq!(Reply::first(&[&reply[..], b"not\nfound"].concat()).and_then(|reply| reply.error), None);
        assert_eq!(Reply::first(&whole[..32]).map(|reply| (reply.error, reply.bytes)), Some((None, 33)));
        assert!(Reply::first(&whole[..23]).is_none());
        let text = shown_header(">7 Writing bin response:", ">7  ", &whole);
        assert!(text.starts_with(">7 Writing bin response:\n>7   0x81 0x00 0x00 0x00\n>7   0x00 "), "{text}");
        assert_eq!(text.lines().count(), 7);
    }
}
