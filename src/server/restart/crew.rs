//! Threads that do one job together, and are gone when it is done.

use std::panic::resume_unwind;
use std::thread;

/// Does `work` on so many threads at a time, which are told their numbers; returns when all have ended.
pub fn together(threads: usize, work: impl Fn(usize) + Sync) {
    thread::scope(|scope| {
        let work = &work;
        let crew: Vec<_> = (0..threads).map(|number| scope.spawn(move || work(number))).collect();
        // One by one, since ThreadSanitizer knows of a join and not of how std's scope waits.
        for member in crew {
            if let Err(panic) = member.join() {
                resume_unwind(panic);
            }
        }
    });
}
