//! The table of open connections, for `stats conns`, `curr_connections` and the like. Entries are written by the worker
//! that owns the connection and read by whoever asks for statistics. An entry knows its place in the table, so that
//! opening and closing take the same time however many are open.

use std::collections::BTreeMap;

use slab::Slab;

use crate::base::sync::{Arc, AtomicU8, AtomicU32, AtomicU64, Mutex, Ordering};

/// State of a connection as `stats conns` names it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
#[allow(missing_docs)]
pub enum ConnectionState {
    Listening,
    NewCommand,
    Waiting,
    Read,
    ParseCommand,
    Write,
    Nread,
    Swallow,
    Closing,
    Mwrite,
    Watch,
}

/// What the table knows of one connection.
#[derive(Debug)]
pub struct ConnectionEntry {
    /// Descriptor number.
    pub descriptor: i32,
    /// Peer address as shown (`tcp:127.0.0.1:4000`), or a listener's own.
    pub address: Arc<str>,
    /// The listener it came from; empty for listeners.
    pub listen_address: Arc<str>,
    /// Its key in the table's `entries`, from [`ConnectionTable::open`] on.
    slot: usize,
    state: AtomicU8,
    /// Replies queued.
    pub replies_waiting: AtomicU32,
    /// Coarse seconds of the last command.
    pub last_command: AtomicU32,
}

impl ConnectionEntry {
    /// A new entry in state `state`. It is in no table yet.
    pub fn new(
        descriptor: i32,
        address: Arc<str>,
        listen_address: Arc<str>,
        state: ConnectionState,
        now_seconds: u32,
    ) -> Self {
        Self {
            descriptor,
            address,
            listen_address,
            slot: usize::MAX,
            state: AtomicU8::new(state as u8),
            replies_waiting: AtomicU32::new(0),
            last_command: AtomicU32::new(now_seconds),
        }
    }

    /// Sets the state.
    #[inline]
    pub fn set_state(&self, state: ConnectionState) {
        self.state.store(state as u8, Ordering::Relaxed);
    }

    /// The state's name as shown, `conn_...`.
    pub fn state_name(&self) -> &'static str {
        const NAMES: [&str; 11] = [
            "conn_listening",
            "conn_new_cmd",
            "conn_waiting",
            "conn_read",
            "conn_parse_cmd",
            "conn_write",
            "conn_nread",
            "conn_swallow",
            "conn_closing",
            "conn_mwrite",
            "conn_watch",
        ];
        NAMES.get(usize::from(self.state.load(Ordering::Relaxed))).copied().unwrap_or("conn_closed")
    }
}

/// All open connections and listeners, with the counters that go with opening and closing them.
#[derive(Default, Debug)]
pub struct ConnectionTable {
    entries: Mutex<Slab<Arc<ConnectionEntry>>>,
    /// Connections ever opened, listeners included.
    pub total: AtomicU64,
    /// Connections refused by maxconns_fast.
    pub rejected: AtomicU64,
    /// Times accepting was stopped for want of descriptors.
    pub listen_disabled: AtomicU64,
    /// Microseconds during which accepting was stopped.
    pub listen_disabled_micros: AtomicU64,
    /// 1 while connections are accepted.
    pub is_accepting: AtomicU8,
    /// Most connections open at a time.
    pub structures: AtomicU64,
}

impl ConnectionTable {
    /// Adds a connection or listener.
    pub fn open(&self, mut entry: ConnectionEntry) -> Arc<ConnectionEntry> {
        let mut entries = self.entries.lock();
        let vacant = entries.vacant_entry();
        entry.slot = vacant.key();
        let entry = Arc::clone(vacant.insert(Arc::new(entry)));
        self.total.fetch_add(1, Ordering::Relaxed);
        self.structures.fetch_max(entries.len() as u64, Ordering::Relaxed);
        entry
    }

    /// Takes a connection out. It is one of this table's; a second time does nothing.
    pub fn close(&self, entry: &Arc<ConnectionEntry>) {
        let mut entries = self.entries.lock();
        if entries.get(entry.slot).is_some_and(|other| Arc::ptr_eq(other, entry)) {
            entries.remove(entry.slot);
        }
    }

    /// Open connections and listeners.
    pub fn count(&self) -> usize {
        self.entries.lock().len()
    }

    /// The addresses of the listeners, each with its open connections, sorted.
    pub fn by_listener(&self) -> Vec<(String, u64)> {
        let mut counts: BTreeMap<Arc<str>, u64> = BTreeMap::new();
        for (_, entry) in self.entries.lock().iter() {
            match entry.listen_address.is_empty() {
                true => *counts.entry(Arc::clone(&entry.address)).or_default() += 0,
                false => *counts.entry(Arc::clone(&entry.listen_address)).or_default() += 1,
            }
        }
        counts.into_iter().map(|(address, count)| (address.to_string(), count)).collect()
    }

    /// Replies queued on all connections.
    pub fn replies_waiting(&self) -> u64 {
        self.entries.lock().iter().map(|(_, entry)| u64::from(entry.replies_waiting.load(Ordering::Relaxed))).sum()
    }

    /// `stats reset`.
    pub fn reset_counters(&self) {
        for counter in [&self.total, &self.rejected, &self.listen_disabled, &self.listen_disabled_micros] {
            counter.store(0, Ordering::Relaxed);
        }
    }

    /// All entries, sorted by descriptor; `None` when the system gives no memory for so many.
    pub fn list(&self) -> Option<Vec<Arc<ConnectionEntry>>> {
        let entries = self.entries.lock();
        let mut list = Vec::new();
        list.try_reserve_exact(entries.len()).ok()?;
        list.extend(entries.iter().map(|(_, entry)| Arc::clone(entry)));
        drop(entries);
        // In place: the stable sort would ask for memory.
        list.sort_unstable_by_key(|entry| entry.descriptor);
        Some(list)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(descriptor: i32) -> ConnectionEntry {
        ConnectionEntry::new(descriptor, "tcp:a".into(), "".into(), ConnectionState::Read, 1)
    }

    #[track_caller]
    fn check(table: &ConnectionTable, descriptors: &[i32]) {
        let listed: Vec<i32> = table.list().expect("memory").iter().map(|entry| entry.descriptor).collect();
        assert_eq!(listed, descriptors);
        assert_eq!(table.count(), descriptors.len());
    }

    #[test]
    fn connections_are_counted_by_listener() {
        let table = ConnectionTable::default();
        let open = |address: &str, listener: &str| {
            table.open(ConnectionEntry::new(1, address.into(), listener.into(), ConnectionState::Read, 1));
        };
        open("tcp:one", "");
        open("unix:two", "");
        for _ in 0..3 {
            open("tcp:client", "tcp:one");
        }
        assert_eq!(table.by_listener(), [("tcp:one".to_owned(), 3), ("unix:two".to_owned(), 0)]);
    }

    #[test]
    fn a_closed_entry_takes_no_other_with_it() {
        let table = ConnectionTable::default();
        let opened = [7, 5, 6].map(|descriptor| table.open(entry(descriptor)));
        check(&table, &[5, 6, 7]);
        table.close(&opened[1]);
        check(&table, &[6, 7]);
        let again = table.open(entry(5));
        table.close(&opened[1]);
        check(&table, &[5, 6, 7]);
        table.close(&again);
        table.close(&opened[0]);
        table.close(&opened[2]);
        check(&table, &[]);
        assert_eq!(table.total.load(Ordering::Relaxed), 4);
        assert_eq!(table.structures.load(Ordering::Relaxed), 3);
    }
}

#[cfg(all(test, feature = "loom"))]
mod models {
    use super::*;
    use crate::base::sync::model::{check, thread};

    #[test]
    fn who_is_listed_is_open() {
        check(|| {
            let table = Arc::new(ConnectionTable::default());
            let open = |table: &ConnectionTable, descriptor| {
                table.open(ConnectionEntry::new(descriptor, "a".into(), "b".into(), ConnectionState::Read, 1))
            };
            let first = open(&table, 1);
            let other = Arc::clone(&table);
            let other = thread::spawn(move || {
                let second = open(&other, 2);
                second.set_state(ConnectionState::Watch);
                other.close(&first);
                other.close(&first);
            });
            let third = open(&table, 3);
            let listed = table.list().expect("memory");
            assert!(listed.iter().any(|entry| Arc::ptr_eq(entry, &third)));
            other.join().expect("no panic");
            let descriptors: Vec<i32> = table.list().expect("memory").iter().map(|entry| entry.descriptor).collect();
            assert_eq!((&descriptors[..], table.count()), (&[2, 3][..], 2));
            assert_eq!(table.total.load(Ordering::Relaxed), 3);
            assert!((2..=3).contains(&table.structures.load(Ordering::Relaxed)));
        });
    }
}
