//! The meta commands: `mg` (`get`), `ms` (`set`), `md` (`delete`), `ma` (`arithmetic`), `me` (`debug`). `mn` is
//! answered in `text`.
//!
//! A command is one visit to its key. The reply is a code, then what the flags ask for in the order they were given; a
//! refusal takes the place of everything the command had written so far, but what it had done stays done, as in
//! memcached.

mod arithmetic;
mod debug;
mod delete;
mod get;
mod set;
#[cfg(test)]
pub(super) mod testing;
#[cfg(test)]
mod tests;

pub use set::{MetaSet, SetLine, parse_set, refuse, store};

use crate::base::key::KEY_BYTES_MAX;
use crate::base::time::Now;
use crate::protocol::text::base64;
use crate::protocol::text::meta::{Refusal, Request};
use crate::protocol::text::reply;

use super::output::Output;
use super::service::Context;

/// A whole reply that takes the place of a command's own.
type Reply = &'static [u8];

/// Preparing an `ma` line has one message for everything.
const ARITHMETIC_REFUSED: Reply = b"CLIENT_ERROR invalid or duplicate flag\r\n";

/// Executes `mg`, `md`, `ma` or `me`. `line` is the whole line without its end.
pub fn execute(word: [u8; 2], line: &[u8], output: &mut Output, context: &mut Context<'_>) {
    let mark = output.mark();
    if let Err(reply) = dispatch(word, line, output, context) {
        output.truncate(mark);
        output.push(reply);
    }
}

fn dispatch(word: [u8; 2], line: &[u8], output: &mut Output, context: &mut Context<'_>) -> Result<(), Reply> {
    let mut request = Request::new(line);
    if !request.split(2) {
        return Err(Refusal::BadFormat.reply());
    }
    if word == *b"me" {
        request.check_key()?;
        return debug::show(&request, output, context);
    }
    match request.check() {
        Ok(()) => {}
        Err(_) if word == *b"ma" => return Err(ARITHMETIC_REFUSED),
        Err(refusal) => return Err(refusal.reply()),
    }
    let mut decoded = None;
    let key = key_of(&request, &mut decoded);
    match word {
        [_, b'g'] => get::get(&request, key, output, context),
        [_, b'd'] => delete::delete(&request, key, output, context),
        _ => arithmetic::change(&request, key, output, context),
    }
}

impl From<Refusal> for Reply {
    fn from(refusal: Refusal) -> Self {
        refusal.reply()
    }
}

/// A key of its own, decoded.
#[derive(Clone, Copy, Debug)]
pub struct KeyBuffer {
    bytes: [u8; KEY_BYTES_MAX],
    /// length <= KEY_BYTES_MAX
    length: u8,
}

impl KeyBuffer {
    /// A copy of `key`; what is over the limit is cut off.
    pub fn new(key: &[u8]) -> Self {
        let length = key.len().min(KEY_BYTES_MAX);
        let mut bytes = [0; KEY_BYTES_MAX];
        bytes[..length].copy_from_slice(&key[..length]);
        Self { bytes, length: length as u8 }
    }

    /// The key that `text` is the base64 of; empty when it is not base64, which checked requests never are.
    fn decoded(text: &[u8]) -> Self {
        let mut bytes = [0; KEY_BYTES_MAX];
        let length = base64::decode(text, &mut bytes).unwrap_or(0);
        Self { bytes, length: length as u8 }
    }

    /// The key.
    pub fn as_slice(&self) -> &[u8] {
        self.bytes.get(..usize::from(self.length)).unwrap_or(&[])
    }
}

/// The key a request means.
fn key_of<'a>(request: &Request<'a>, decoded: &'a mut Option<KeyBuffer>) -> &'a [u8] {
    if request.has(b'b') { decoded.insert(KeyBuffer::decoded(request.key())).as_slice() } else { request.key() }
}

/// Appends ` k<key>`, with ` b` behind it when the key is shown in base64.
fn push_key(key: &[u8], is_binary_key: bool, out: &mut Vec<u8>) {
    out.extend_from_slice(b" k");
    if is_binary_key {
        base64::encode(key, out);
        out.extend_from_slice(b" b");
    } else {
        out.extend_from_slice(key);
    }
}

/// Appends ` `, the flag's letter and a number.
fn push_number(letter: u8, number: u64, out: &mut Vec<u8>) {
    out.extend_from_slice(&[b' ', letter]);
    reply::number(number, out);
}

/// Appends ` t` and the seconds until `exptime`, -1 for never. Wraps for the past, as memcached's unsigned number does.
fn push_ttl(exptime: u32, now: Now, out: &mut Vec<u8>) {
    if exptime == 0 {
        out.extend_from_slice(b" t-1");
    } else {
        push_number(b't', u64::from(exptime.wrapping_sub(now.seconds)), out);
    }
}

/// Appends ` ` and the opaque as it was sent.
fn push_opaque(opaque: &[u8], out: &mut Vec<u8>) {
    out.push(b' ');
    out.extend_from_slice(opaque);
}

/// Writes the reply of a command that has no item to show: the code, `O` and `k`.
fn push_bare_reply(code: &[u8], request: &Request<'_>, key: &[u8], output: &mut Output) -> Result<(), Reply> {
    let opaque = request.opaque()?;
    let out = output.bytes();
    out.extend_from_slice(code);
    for flag in request.flags() {
        match flag.letter {
            b'O' => push_opaque(opaque, out),
            b'k' => push_key(key, request.has(b'b'), out),
            _ => {}
        }
    }
    out.extend_from_slice(b"\r\n");
    Ok(())
}
