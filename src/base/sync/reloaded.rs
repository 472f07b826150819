//! A value that is read by all and replaced as a whole, by whoever reads it anew from its source: certificates, logins.

use super::{Arc, Mutex};

/// The value in force.
#[derive(Debug)]
pub struct Reloaded<T> {
    /// Written with `reading` held, read by anyone; held for a copy.
    current: Mutex<Arc<T>>,
    /// Held from before the source is read until what was read is in force, so that what is in force is what the last
    /// reader found. Taken before `current`.
    reading: Mutex<()>,
}

impl<T> Reloaded<T> {
    /// The first value.
    pub fn new(value: T) -> Self {
        Self { current: Mutex::new(Arc::new(value)), reading: Mutex::new(()) }
    }

    /// The value in force, to be kept for as long as one likes.
    pub fn current(&self) -> Arc<T> {
        Arc::clone(&self.current.lock())
    }

    /// Puts what `read` finds in force; `None` leaves what is. One `read` goes on at a time; others wait for it.
    pub fn reload(&self, read: impl FnOnce() -> Option<T>) {
        let _reading = self.reading.lock();
        if let Some(fresh) = read() {
            *self.current.lock() = Arc::new(fresh);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_taken_stays_and_nothing_read_changes_nothing() {
        let reloaded = Reloaded::new(1);
        let taken = reloaded.current();
        reloaded.reload(|| None);
        assert!(Arc::ptr_eq(&taken, &reloaded.current()));
        reloaded.reload(|| Some(2));
        assert_eq!((*taken, *reloaded.current()), (1, 2));
    }
}

#[cfg(all(test, feature = "loom"))]
mod models {
    use super::*;
    use crate::base::sync::model::{check, thread};
    use crate::base::sync::{AtomicUsize, Ordering};

    /// A SIGHUP and a `refresh_certs` at a time: one had read the old files, the other read and put in force the new ones,
    /// then the first put the old ones in force, for good.
    #[test]
    fn of_two_reloads_the_later_file_stays() {
        check(|| {
            let reloaded = Arc::new(Reloaded::new(0));
            let file = Arc::new(AtomicUsize::new(1));
            let other = {
                let (reloaded, file) = (Arc::clone(&reloaded), Arc::clone(&file));
                thread::spawn(move || reloaded.reload(|| Some(file.load(Ordering::SeqCst))))
            };
            file.store(2, Ordering::SeqCst);
            reloaded.reload(|| Some(file.load(Ordering::SeqCst)));
            assert_eq!(*reloaded.current(), 2);
            other.join().expect("no panic");
            assert_eq!(*reloaded.current(), 2);
        });
    }
}
