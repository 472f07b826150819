//! Stand-in for the meta commands.

use super::output::Output;
use super::service::Context;
use crate::store::StoreError;
use crate::store::value::NewValue;

/// An `ms` request without key and data.
#[derive(Debug)]
pub struct MetaSet {
    /// Client flags.
    pub flags: u32,
}

/// An owned key.
#[derive(Debug)]
pub struct KeyBuffer {
    bytes: [u8; 250],
    length: usize,
}

impl KeyBuffer {
    /// The key.
    pub fn as_slice(&self) -> &[u8] {
        &self.bytes[..self.length]
    }
}

/// What an `ms` line comes to.
#[derive(Debug)]
pub enum SetLine {
    /// A data block follows.
    Data {
        /// The request.
        set: MetaSet,
        /// Its key.
        key: KeyBuffer,
        /// Bytes of the data block without CR LF.
        value_bytes: usize,
    },
    /// Refused.
    Refused {
        /// The reply, with CR LF.
        reply: &'static [u8],
        /// Bytes to swallow before the reply.
        swallow: Option<usize>,
    },
}

/// Executes mg, md, ma, me.
pub fn execute(
    _word: [u8; 2],
    _line: &[u8],
    _descriptor: i32,
    output: &mut Output,
    _context: &mut Context<'_>,
) {
    output.push(b"ERROR\r\n");
}

/// Parses an `ms` line.
pub fn parse_set(_line: &[u8]) -> SetLine {
    SetLine::Refused {
        reply: b"ERROR\r\n",
        swallow: None,
    }
}

/// Stores.
pub fn store(
    _set: &MetaSet,
    _key: &[u8],
    _value: NewValue<'_>,
    _descriptor: i32,
    output: &mut Output,
    _context: &mut Context<'_>,
) {
    output.push(b"HD\r\n");
}

/// Refuses.
pub fn refuse(
    _set: &MetaSet,
    _key: &[u8],
    _error: StoreError,
    output: &mut Output,
    _context: &mut Context<'_>,
) {
    output.push(b"SERVER_ERROR object too large for cache\r\n");
}
