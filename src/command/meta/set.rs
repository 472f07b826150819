//! `ms`: a line that says what to store, then the data.
//!
//! The data may arrive much later than the line, so the line is boiled down to a [`MetaSet`] that owns what the reply
//! needs.

use crate::protocol::text::meta::{OPAQUE_BYTES_MAX, Refusal, Request};
use crate::store::StoreError;
use crate::store::value::NewValue;

use super::super::apply::{self, Mode, StoreRequest, Stored};
use super::super::output::Output;
use super::super::service::Context;
use super::{KeyBuffer, Reply, key_of, push_key, push_number, push_opaque};

const BAD_MODE: Reply = b"CLIENT_ERROR invalid mode for ms M token\r\n";
const TOO_LARGE: Reply = b"SERVER_ERROR object too large for cache\r\n";
const NO_MEMORY: Reply = b"SERVER_ERROR out of memory storing object\r\n";

/// What an `ms` line says.
// The usual variant is the large one; boxing it would allocate for every request.
#[allow(clippy::large_enum_variant)]
#[derive(Debug)]
pub enum SetLine {
    /// The data is to be read and handed to [`store`].
    Data {
        /// What to do with it.
        set: MetaSet,
        /// The key, decoded.
        key: KeyBuffer,
        /// Bytes of the data, without its line end.
        value_bytes: usize,
    },
    /// The line is refused.
    Refused {
        /// The reply, to be sent after skipping.
        reply: Reply,
        /// Bytes of the data block to skip, its line end included; `None` when what follows is the next command.
        swallow: Option<usize>,
    },
}

/// An `ms` command that waits for its data.
#[derive(Clone, Debug)]
pub struct MetaSet {
    mode: Mode,
    /// Client flags, for [`crate::store::Store::fit`].
    pub flags: u32,
    exptime_seconds: i64,
    compare: u64,
    new_cas: Option<u64>,
    is_stale_allowed: bool,
    is_binary_key: bool,
    is_quiet: bool,
    /// Letters of the flags that come back, in order; 0 is none.
    echoes: [u8; ECHOES_MAX],
    opaque: [u8; OPAQUE_BYTES_MAX],
    /// opaque_length <= OPAQUE_BYTES_MAX
    opaque_length: u8,
}

/// O, k, c and s come back, each at most once.
const ECHOES_MAX: usize = 4;

/// Reads an `ms` line, without its end.
pub fn parse_set(line: &[u8]) -> SetLine {
    let malformed = SetLine::Refused { reply: Refusal::BadFormat.reply(), swallow: None };
    let mut request = Request::new(line);
    if !request.split(3) {
        return malformed;
    }
    let Some(value_bytes) = request.data_bytes() else { return malformed };
    let checked = request.check().map_err(Refusal::reply);
    match checked.and_then(|()| MetaSet::new(&request)) {
        Ok(set) => {
            let mut decoded = None;
            let key = KeyBuffer::new(key_of(&request, &mut decoded));
            SetLine::Data { set, key, value_bytes }
        }
        Err(reply) => SetLine::Refused { reply, swallow: Some(value_bytes + 2) },
    }
}

impl MetaSet {
    fn new(request: &Request<'_>) -> Result<Self, Reply> {
        let is_vivified = request.has(b'N');
        let has_compare = request.has(b'C');
        let mode = match request.mode() {
            None | Some(b'S' | b'R') if has_compare => Mode::Cas,
            None | Some(b'S') => Mode::Set,
            Some(b'R') => Mode::Replace,
            Some(b'E') => Mode::Add,
            Some(b'A') if is_vivified => Mode::AppendVivify,
            Some(b'A') => Mode::Append,
            Some(b'P') if is_vivified => Mode::PrependVivify,
            Some(b'P') => Mode::Prepend,
            Some(_) => return Err(BAD_MODE),
        };
        let lifetime = match mode {
            Mode::AppendVivify | Mode::PrependVivify => b'N',
            _ => b'T',
        };
        let mut opaque = [0; OPAQUE_BYTES_MAX];
        let sent = request.opaque()?;
        opaque[..sent.len()].copy_from_slice(sent);
        let mut echoes = [0; ECHOES_MAX];
        let returned = request.flags().iter().map(|flag| flag.letter).filter(|letter| b"Okcs".contains(letter));
        for (echo, letter) in echoes.iter_mut().zip(returned) {
            *echo = letter;
        }
        Ok(Self {
            mode,
            flags: request.number(b'F').unwrap_or(0) as u32,
            exptime_seconds: request.seconds(lifetime).unwrap_or(0),
            compare: request.number(b'C').unwrap_or(0),
            // memcached takes 0 for "not given" here, unlike in the other commands.
            new_cas: request.number(b'E').filter(|&cas| cas != 0),
            is_stale_allowed: mode == Mode::Cas && request.has(b'I'),
            is_binary_key: request.has(b'b'),
            is_quiet: request.has(b'q'),
            echoes,
            opaque,
            opaque_length: sent.len() as u8,
        })
    }

    fn opaque(&self) -> &[u8] {
        self.opaque.get(..usize::from(self.opaque_length)).unwrap_or(&[])
    }
}

/// Stores the data of an `ms` command and answers it.
pub fn store(set: &MetaSet, key: &[u8], value: NewValue<'_>, output: &mut Output, context: &mut Context<'_>) {
    let request = StoreRequest {
        mode: set.mode,
        key,
        flags: set.flags,
        exptime: context.now.deadline(set.exptime_seconds),
        compare: set.compare,
        new_cas: set.new_cas,
        is_stale_allowed: set.is_stale_allowed,
        is_binary_key: set.is_binary_key,
        value,
    };
    let outcome = apply::store(request, context);
    let code = match outcome.stored {
        Stored::Stored if set.is_quiet => return,
        Stored::Stored => b"HD",
        Stored::NotStored => b"NS",
        Stored::Exists => b"EX",
        Stored::NotFound => b"NF",
        Stored::NoMemory => return refuse(key, StoreError::NoMemory, output, context),
    };
    let out = output.bytes();
    out.extend_from_slice(code);
    for &letter in &set.echoes {
        match letter {
            b'O' => push_opaque(set.opaque(), out),
            b'k' => push_key(key, set.is_binary_key, out),
            b'c' => push_number(b'c', outcome.cas, out),
            b's' => push_number(b's', outcome.value_bytes as u64, out),
            _ => break,
        }
    }
    out.extend_from_slice(b"\r\n");
}

/// Answers an `ms` command whose data cannot be stored. The old item goes in every mode, so that nobody reads what was
/// meant to be replaced.
pub fn refuse(key: &[u8], error: StoreError, output: &mut Output, context: &mut Context<'_>) {
    let service = context.service;
    let hash = service.store.hash(key);
    service.store.entry(key, hash, context.now, |entry| {
        entry.remove();
        match error {
            StoreError::TooLarge => entry.counters().store_too_large += 1,
            StoreError::NoMemory => entry.counters().store_no_memory += 1,
        }
    });
    output.push(match error {
        StoreError::TooLarge => TOO_LARGE,
        StoreError::NoMemory => NO_MEMORY,
    });
}
