//! Counters of a worker thread. One worker writes a set, anyone may read it; sums are made on demand.

use crate::base::sync::{AtomicU64, Ordering};

/// A counter that one thread writes and any thread reads: no read-modify-write on the bus. Setting it to zero, which any
/// thread may do, leaves the count alone and moves what it is compared with, so that no addition undoes it.
#[derive(Default, Debug)]
pub struct Counter {
    /// Written by the owning worker alone.
    count: AtomicU64,
    /// What `count` was at the last reset. base <= count
    base: AtomicU64,
}

impl Counter {
    /// Adds `count`. Only the owning worker may call it.
    #[inline]
    pub fn add(&self, count: u64) {
        self.count.store(self.count.load(Ordering::Relaxed).wrapping_add(count), Ordering::Relaxed);
    }

    /// The value.
    pub fn value(&self) -> u64 {
        // In this order: whoever sees a base sees at least the count that it was taken from.
        let base = self.base.load(Ordering::Acquire);
        self.count.load(Ordering::Relaxed).wrapping_sub(base)
    }

    /// Back to zero (`stats reset`).
    pub fn reset(&self) {
        self.base.fetch_max(self.count.load(Ordering::Relaxed), Ordering::AcqRel);
    }
}

/// Declares the counters of a worker once: struct, sum and reset.
macro_rules! worker_counters {
    ($($(#[$meta:meta])* $field:ident,)*) => {
        /// Counters of one worker.
        #[derive(Default, Debug)]
        pub struct WorkerCounters { $($(#[$meta])* pub $field: Counter,)* }

        /// Sums over workers.
        #[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
        pub struct WorkerTotals { $($(#[$meta])* pub $field: u64,)* }

        impl WorkerTotals {
            /// Adds one worker's counters.
            pub fn add(&mut self, worker: &WorkerCounters) { $(self.$field += worker.$field.value();)* }
        }

        impl WorkerCounters {
            /// Sets all counters to zero (`stats reset`).
            pub fn reset(&self) { $(self.$field.reset();)* }
        }
    };
}

worker_counters! {
    /// `flush_all` and binary flush commands.
    cmd_flush,
    /// `me` commands.
    cmd_meta,
    /// Attempts to authenticate.
    auth_cmds,
    /// Failed attempts.
    auth_errors,
    /// Failures to log in: no such user, or another password.
    auth_failed_credentials,
    /// What was sent as a login is none.
    auth_failed_malformed,
    /// SASL mechanisms asked for that are not offered.
    auth_failed_mechanism,
    /// Logins refused because too many passwords waited to be verified.
    auth_failed_busy,
    /// Logins refused because the system gave no memory to verify a password.
    auth_failed_memory,
    /// Commands before the login.
    auth_failed_command,
    /// Connections closed by idle_timeout.
    idle_kicks,
    /// Bytes read from the network.
    bytes_read,
    /// Bytes written to the network.
    bytes_written,
    /// Connections that used up their turn with requests left.
    conn_yields,
    /// Connections closed for lack of reply memory.
    response_obj_oom,
    /// Connections closed or refused for lack of read buffers.
    read_buf_oom,
    /// TLS sessions negotiated from the start.
    ssl_new_sessions,
    /// TLS handshakes that failed.
    ssl_handshake_errors,
    /// TLS connections that failed after the handshake.
    ssl_proto_errors,
}

#[cfg(all(test, feature = "loom"))]
mod models {
    use super::*;
    use crate::base::sync::Arc;
    use crate::base::sync::model::{check, thread};

    /// `stats reset` while a worker counted: the worker had read the old value and wrote it back with its addition.
    #[test]
    fn an_addition_does_not_undo_a_reset() {
        check(|| {
            let counter = Arc::new(Counter::default());
            counter.add(1000);
            let resetting = Arc::clone(&counter);
            let resetting = thread::spawn(move || {
                resetting.reset();
                assert!(resetting.value() <= 2);
            });
            counter.add(1);
            counter.add(1);
            resetting.join().expect("no panic");
            assert!(counter.value() <= 2, "{}", counter.value());
        });
    }

    /// A reader that saw a reset before the additions that came before it would show a number beyond all bounds.
    #[test]
    fn a_reader_sees_no_count_that_never_was() {
        check(|| {
            let counter = Arc::new(Counter::default());
            let worker = Arc::clone(&counter);
            let worker = thread::spawn(move || {
                worker.add(5);
                worker.reset();
                worker.add(1);
            });
            let seen = counter.value();
            assert!([0, 1, 5, 6].contains(&seen), "{seen}");
            worker.join().expect("no panic");
            assert_eq!(counter.value(), 1);
        });
    }
}
