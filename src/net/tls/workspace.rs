//! What the encrypted connections of a worker share: memory for one record in each direction, and the count and the log
//! of what goes wrong.

use rustls::Error;

use crate::base::sync::Arc;
use crate::command::Service;
use crate::stats::events::connection_encryption_failed;

/// A worker's share of encryption. It holds memory only when the server encrypts.
pub struct Workspace {
    service: Arc<Service>,
    worker: usize,
    /// Received bytes, in front of them what is left of an earlier receipt: [`INPUT_BYTES`] long.
    pub(super) input: Box<[u8]>,
    /// Bytes in it since the last receipt.
    pub(super) received: usize,
    /// Encrypted bytes on their way to the socket: room for `plain` encrypted.
    pub(super) output: Box<[u8]>,
    /// Plaintext from several places, to be encrypted as one.
    pub(super) plain: Box<[u8]>,
    /// Coarse time of the last line in the log, and failures since that were not logged.
    logged: Option<u32>,
    unlogged: u64,
}

impl Workspace {
    /// A workspace for worker number `worker` that encrypts `send_bytes` at a time; `None` where nothing is encrypted.
    pub fn new(service: Arc<Service>, worker: usize, send_bytes: Option<usize>) -> Self {
        let space = |bytes: usize| vec![0; bytes].into_boxed_slice();
        let (input, plain, output) = match send_bytes {
            None => (space(0), space(0), space(0)),
            Some(bytes) => {
                let bytes = bytes.max(1);
                let records = bytes.div_ceil(RECORD_PLAIN_BYTES_MAX) + 2;
                (space(INPUT_BYTES), space(bytes), space(bytes + records * RECORD_OVERHEAD_BYTES_MAX + CONTROL_BYTES))
            }
        };
        Self { service, worker, input, received: 0, output, plain, logged: None, unlogged: 0 }
    }

    /// Counts a session that was negotiated from the start.
    pub(super) fn note_new_session(&self) {
        self.service.workers[self.worker].ssl_new_sessions.add(1);
    }

    /// Counts and tells of a failure. `peer` is only asked for when somebody reads it.
    pub(super) fn note_failure(
        &mut self,
        is_handshaking: bool,
        descriptor: i32,
        reason: &str,
        peer: impl FnOnce() -> String,
    ) {
        let counters = &self.service.workers[self.worker];
        match is_handshaking {
            true => counters.ssl_handshake_errors.add(1),
            false => counters.ssl_proto_errors.add(1),
        }
        connection_encryption_failed(&self.service.events, descriptor, reason);
        let now = self.service.clock.now().seconds;
        if self.logged.is_some_and(|logged| now < logged.saturating_add(LOG_INTERVAL_SECONDS)) {
            self.unlogged += 1;
            return;
        }
        let what = if is_handshaking { "TLS handshake" } else { "TLS" };
        let more = match std::mem::take(&mut self.unlogged) {
            0 => String::new(),
            count => format!(" ({count} more failures since the last line)"),
        };
        log::warn!("{what} with {} failed: {reason}{more}", peer());
        self.logged = Some(now);
    }
}

/// A failure of rustls in few words.
pub(super) fn error_text(error: &Error) -> String {
    match error {
        // The usual case: somebody speaks plain memcached, or HTTP.
        Error::InvalidMessage(_) => format!("not TLS ({error})"),
        _ => error.to_string(),
    }
}

/// Plaintext of one record, at most (RFC 8446, 5.1).
pub(super) const RECORD_PLAIN_BYTES_MAX: usize = 16 * 1024;
/// A whole record, at most: header, plaintext and 2048 bytes that TLS 1.2 allows for padding.
pub(super) const RECORD_BYTES_MAX: usize = 5 + RECORD_PLAIN_BYTES_MAX + 2048;
/// Received in one call of the system, at most.
pub(super) const RECEIVE_BYTES_MAX: usize = 64 * 1024;
/// Received and not yet digested, at most: rustls takes handshake messages of up to 64 KiB, in records.
pub(super) const KEPT_BYTES_MAX: usize = 96 * 1024;
const INPUT_BYTES: usize = KEPT_BYTES_MAX + RECEIVE_BYTES_MAX;
/// Header, nonce and tag of a record: 5 + 8 + 16 bytes in TLS 1.2, 5 + 1 + 16 in TLS 1.3.
const RECORD_OVERHEAD_BYTES_MAX: usize = 64;
/// Room for a handshake message that goes out with the rest; the largest is a record.
const CONTROL_BYTES: usize = RECORD_BYTES_MAX;
/// A worker logs a failure at most this often: scanners knock on every port.
const LOG_INTERVAL_SECONDS: u32 = 10;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store;

    /// A record that finds no room would end its connection.
    #[test]
    fn what_is_encrypted_at_once_has_room() {
        for bytes in [1, 1024, 16 * 1024, 16 * 1024 + 1, 1 << 20] {
            let service = Arc::new(Service::in_process(store::Config::default()));
            let space = Workspace::new(service, 0, Some(bytes));
            // Header, nonce and tag in TLS 1.2, where they are longest, and a message of rustls' own before.
            let records = bytes.div_ceil(1 << 14);
            let needed = bytes + records * (5 + 8 + 16) + 5 + (1 << 14) + 2048;
            let room = space.output.len();
            assert!((needed..needed + needed / 8 + 200).contains(&room), "{room} for {needed} bytes");
            // What was kept, and one receipt.
            assert_eq!((space.plain.len(), space.input.len()), (bytes, (96 + 64) * 1024));
        }
    }

    #[test]
    fn failures_in_a_row_are_one_line() {
        let mut space = Workspace::new(Arc::new(Service::in_process(store::Config::default())), 0, Some(1024));
        let fail = |space: &mut Workspace| space.note_failure(true, 7, "it was no hello", || "somebody".to_owned());
        (0..3).for_each(|_| fail(&mut space));
        assert_eq!(space.unlogged, 2);
        // As if the first had been so long ago.
        space.logged = space.logged.map(|logged| logged - LOG_INTERVAL_SECONDS);
        (0..2).for_each(|_| fail(&mut space));
        assert_eq!(space.unlogged, 1, "the others are in the line");
        assert_eq!(space.service.workers[0].ssl_handshake_errors.value(), 5);
    }
}
