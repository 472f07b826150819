//! Numbers and bytes as people read them, and JSON.
//!
//! What comes from a node may hold any byte; [`printable`] makes sure that none of them reaches a terminal as a command.

use std::time::Duration;

/// Bytes as text that is safe on a terminal: what is no printable UTF-8 stands as `\xNN`, a backslash as `\\`.
pub fn printable(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        for letter in chunk.valid().chars() {
            match letter {
                '\\' => text.push_str("\\\\"),
                letter if letter.is_control() || is_invisible(letter) => {
                    let mut encoded = [0; 4];
                    push_hex(&mut text, letter.encode_utf8(&mut encoded).as_bytes());
                }
                letter => text.push(letter),
            }
        }
        push_hex(&mut text, chunk.invalid());
    }
    text
}

/// Marks that change the direction of the text after them, or take no place.
fn is_invisible(letter: char) -> bool {
    matches!(letter, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
}

fn push_hex(text: &mut String, bytes: &[u8]) {
    for byte in bytes {
        text.push_str(&format!("\\x{byte:02x}"));
    }
}

/// Decodes `%XX`. A `%` that begins no such thing stands for itself.
pub fn uri_decode(text: &[u8]) -> Vec<u8> {
    let digit = |at: usize| text.get(at).and_then(|byte| char::from(*byte).to_digit(16));
    let mut bytes = Vec::with_capacity(text.len());
    let mut at = 0;
    while at < text.len() {
        match (text[at], digit(at + 1), digit(at + 2)) {
            (b'%', Some(high), Some(low)) => {
                bytes.push((high * 16 + low) as u8);
                at += 3;
            }
            (byte, ..) => {
                bytes.push(byte);
                at += 1;
            }
        }
    }
    bytes
}

/// Base 64 with padding, as the meta protocol's `b` flag has it.
pub fn base64(bytes: &[u8]) -> String {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for group in bytes.chunks(3) {
        let byte = |at: usize| u32::from(group.get(at).copied().unwrap_or(0));
        let bits = byte(0) << 16 | byte(1) << 8 | byte(2);
        for place in 0..4 {
            let letter = LETTERS[(bits >> (18 - 6 * place) & 63) as usize];
            text.push(if place <= group.len() { char::from(letter) } else { '=' });
        }
    }
    text
}

/// The bytes of [`base64`] text; `None` if it is none.
pub fn base64_decode(text: &[u8]) -> Option<Vec<u8>> {
    let value = |letter: u8| match letter {
        b'A'..=b'Z' => Some(letter - b'A'),
        b'a'..=b'z' => Some(letter - b'a' + 26),
        b'0'..=b'9' => Some(letter - b'0' + 52),
        b'+' => Some(62),
        b'/' => Some(63),
        _ => None,
    };
    if !text.len().is_multiple_of(4) {
        return None;
    }
    let unpadded = text.strip_suffix(b"==").or_else(|| text.strip_suffix(b"=")).unwrap_or(text);
    let mut bytes = Vec::with_capacity(text.len() / 4 * 3);
    for group in unpadded.chunks(4) {
        let mut bits = 0;
        for (place, letter) in group.iter().enumerate() {
            bits |= u32::from(value(*letter)?) << (18 - 6 * place);
        }
        bytes.extend_from_slice(&bits.to_be_bytes()[1..group.len()]);
    }
    Some(bytes)
}

/// A number of bytes with one decimal: `1.5 GiB`; below 1 KiB as it is.
pub fn bytes(count: u64) -> String {
    scaled(count, 1024.0, &[" B", " KiB", " MiB", " GiB", " TiB", " PiB"])
}

/// A count with one decimal from 10 000 on: `9999`, `12.3k`.
pub fn count(count: u64) -> String {
    if count < 10_000 { count.to_string() } else { scaled(count, 1000.0, &["", "k", "M", "G", "T", "P"]) }
}

fn scaled(count: u64, step: f64, units: &[&str]) -> String {
    let mut value = count as f64;
    let mut unit = 0;
    // What would be shown as 1024.0 belongs to the next unit.
    while value >= step - 0.05 && unit + 1 < units.len() {
        value /= step;
        unit += 1;
    }
    if unit == 0 { format!("{count}{}", units[0]) } else { format!("{value:.1}{}", units[unit]) }
}

/// Seconds by their two largest units: `42s`, `3m07s`, `2h05m`, `9d04h`.
pub fn seconds(seconds: u64) -> String {
    match seconds {
        0..60 => format!("{seconds}s"),
        60..3600 => format!("{}m{:02}s", seconds / 60, seconds % 60),
        3600..86_400 => format!("{}h{:02}m", seconds / 3600, seconds % 3600 / 60),
        _ => format!("{}d{:02}h", seconds / 86_400, seconds % 86_400 / 3600),
    }
}

/// A round trip: `0.12 ms`, `34 ms`, `1.2 s`.
pub fn latency(time: Duration) -> String {
    let milliseconds = time.as_secs_f64() * 1000.0;
    match milliseconds {
        ..10.0 => format!("{milliseconds:.2} ms"),
        10.0..1000.0 => format!("{milliseconds:.0} ms"),
        _ => format!("{:.1} s", milliseconds / 1000.0),
    }
}

/// A share of 1 as percent with one decimal.
pub fn percent(share: f64) -> String {
    format!("{:.1}%", share * 100.0)
}

/// A JSON string with its quotes.
pub fn json_string(text: &str) -> String {
    let mut quoted = String::with_capacity(text.len() + 2);
    quoted.push('"');
    for letter in text.chars() {
        match letter {
            '"' => quoted.push_str("\\\""),
            '\\' => quoted.push_str("\\\\"),
            letter if letter.is_control() => quoted.push_str(&format!("\\u{:04x}", u32::from(letter))),
            letter => quoted.push(letter),
        }
    }
    quoted.push('"');
    quoted
}

/// A statistic as JSON: a number where its text is one as JSON writes it, a string otherwise.
pub fn json_value(text: &str) -> String {
    let digits = text.strip_prefix('-').unwrap_or(text);
    let (whole, fraction) = digits.split_once('.').map_or((digits, None), |(whole, part)| (whole, Some(part)));
    let is_digits = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    let is_whole = is_digits(whole) && (whole == "0" || !whole.starts_with('0'));
    if is_whole && fraction.is_none_or(is_digits) { text.to_owned() } else { json_string(text) }
}

/// A JSON object of fields whose values are JSON already.
pub fn json_object(fields: &[(&str, String)]) -> String {
    let fields: Vec<String> = fields.iter().map(|(name, value)| format!("{}:{value}", json_string(name))).collect();
    format!("{{{}}}", fields.join(","))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_made_printable() {
        assert_eq!(printable("käse:1".as_bytes()), "käse:1");
        assert_eq!(printable(b"a\x1b[2J\0\\\xff\r\n"), "a\\x1b[2J\\x00\\\\\\xff\\x0d\\x0a");
        assert_eq!(printable("\u{202e}x\u{85}".as_bytes()), "\\xe2\\x80\\xaex\\xc2\\x85");
    }

    #[test]
    fn keys_are_decoded() {
        assert_eq!(uri_decode(b"a%25b%00%2f%zz%2"), b"a%b\0/%zz%2");
        for text in [&b""[..], b"a", b"ab", b"abc", b"\0\x01\x02 ", &[255; 10]] {
            assert_eq!(base64_decode(base64(text).as_bytes()).as_deref(), Some(text));
        }
        assert_eq!(base64(b"\0\x01\x02 "), "AAECIA==");
        for text in [&b"A"[..], b"A===", b"AAE*", b"AA=A"] {
            assert_eq!(base64_decode(text), None, "{text:?}");
        }
    }

    #[test]
    fn numbers_are_readable() {
        for (number, text) in [(0, "0 B"), (1023, "1023 B"), (1024, "1.0 KiB"), (1 << 30, "1.0 GiB")] {
            assert_eq!(bytes(number), text);
        }
        assert_eq!(bytes((1 << 20) - 1), "1.0 MiB");
        for (number, text) in [(9999, "9999"), (10_000, "10.0k"), (999_999, "1.0M"), (u64::MAX, "18446.7P")] {
            assert_eq!(count(number), text);
        }
        for (number, text) in [(59, "59s"), (187, "3m07s"), (7500, "2h05m"), (792_000, "9d04h")] {
            assert_eq!(seconds(number), text);
        }
        for (micros, text) in [(120, "0.12 ms"), (34_000, "34 ms"), (1_200_000, "1.2 s")] {
            assert_eq!(latency(Duration::from_micros(micros)), text);
        }
        assert_eq!(percent(0.9876), "98.8%");
    }

    #[test]
    fn json_is_json() {
        assert_eq!(json_string("a\"\\\n"), "\"a\\\"\\\\\\u000a\"");
        for number in ["0", "-1", "12", "0.80", "2.00"] {
            assert_eq!(json_value(number), number);
        }
        for text in ["", "-", "01", "1.", ".5", "1.6.45", "yes", "1e3"] {
            assert_eq!(json_value(text), json_string(text));
        }
        assert_eq!(json_object(&[("a", "1".to_owned()), ("b", json_string("x"))]), "{\"a\":1,\"b\":\"x\"}");
    }
}
