//! The page mover: carries out `slabs reassign`, the automove policy's decisions and a lowered memory limit, in bounded
//! steps.
//!
//! A page is an amount (see [`budget`](super::slab::budget)): a class gives one up by using one page less. Memory of
//! large values is given up by freeing chunks, or while memory is not full by using another page, memory of small items by
//! emptying spans, the emptiest and oldest first, item by item into other slots.

use crate::base::time::Now;
use crate::stats::events::class as event_class;

use super::Store;
use super::automove::{Automove, Sample};
use super::maintain::{Evacuated, Tally};
use super::slab::budget::PageCounts;
use super::slab::spans::{SpanFacts, Spans};

/// Most items moved in a step.
const ITEMS_PER_STEP: usize = 256;

/// Steps after which stealing a page is given up: a page has at most 2^15 slots of 32 bytes.
const STEAL_STEPS_MAX: usize = 4096;

/// Steps that `slabs reassign` does at once, so that a small page has moved when the client hears of it.
const STEPS_AT_ONCE: usize = 64;

/// Stuck steps after which a move may evict even though memory is not full.
const STUCK_STEPS_MAX: u32 = 200;

/// Seconds that first pages above the limit stay before other classes give way.
pub(super) const EXCESS_SECONDS_MAX: u32 = 10;

/// A move in progress.
#[derive(Debug)]
struct Job {
    source: usize,
    target: usize,
    /// Pages still to be moved.
    pages: usize,
    is_evicting: bool,
    /// Asked for by `slabs reassign`.
    is_manual: bool,
    stuck_steps: u32,
    /// The span being emptied: partition and number.
    span: Option<(usize, usize)>,
}

impl Job {
    /// The span of a partition to empty next: the oldest when an operator asks, as in memcached, else the cheapest.
    fn candidate(&self, spans: &Spans) -> Option<SpanFacts> {
        if self.is_manual { spans.oldest(self.source) } else { spans.emptiest(self.source) }
    }
}

/// The mover's state.
#[derive(Default)]
pub(super) struct Mover {
    job: Option<Job>,
    automove: Automove,
    /// Coarse second in which the policy last ran.
    ran: u32,
    /// Since when more pages are out than the limit allows; 0 while that is not so.
    excess_since: u32,
    /// The limit was lowered: give pages back without waiting.
    is_shrinking: bool,
    pub(super) status: &'static str,
    pub(super) slabs_moved: u64,
    pub(super) chunk_rescues: u64,
    pub(super) tally: Tally,
}

/// What [`Store::reassign`] answers.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Reassign {
    /// The move has been started.
    Running,
    /// Another move is in progress.
    Busy,
    /// No such class.
    BadClass,
    /// The source has no page to spare.
    NoSpare,
    /// Source and target are the same.
    Same,
}

impl Mover {
    pub(super) fn new() -> Self {
        Self { status: "none", ..Self::default() }
    }

    pub(super) fn is_running(&self) -> bool {
        self.job.is_some()
    }

    pub(super) fn shrink(&mut self) {
        self.is_shrinking = true;
    }

    fn start(&mut self, source: usize, target: usize, pages: usize, is_evicting: bool) {
        self.job = Some(Job { source, target, pages, is_evicting, is_manual: false, stuck_steps: 0, span: None });
    }
}

/// What a step of a job came to.
enum Step {
    /// A page is free to be moved.
    Ready,
    More,
    Stuck(&'static str),
}

impl Store {
    /// `slabs reassign`: begins to move a page from class `source` (-1 for any, 0 for the pool) to class `target` (0 for
    /// the pool). The first `STEPS_AT_ONCE` steps are done here, the rest by maintenance.
    pub fn reassign(&self, source: i32, target: i32, now: Now) -> Reassign {
        let started = self.start_reassign(source, target);
        if started == Reassign::Running {
            for _ in 0..STEPS_AT_ONCE {
                if !self.move_step(now) {
                    break;
                }
            }
        }
        started
    }

    fn start_reassign(&self, source: i32, target: i32) -> Reassign {
        let mut mover = self.mover.lock();
        if mover.is_running() {
            return Reassign::Busy;
        }
        if source == target {
            return Reassign::Same;
        }
        let counts = self.shared.budget.counts();
        let largest = self.shared.classes.largest() as i32;
        let source = if source == -1 { self.donor(&counts, target).map_or(-1, |class| class as i32) } else { source };
        if !(0..=largest).contains(&source) || !(0..=largest).contains(&target) {
            return Reassign::BadClass;
        }
        let (source, target) = (source as usize, target as usize);
        let has_spare = if source == 0 { counts.pool > 0 } else { counts.pages[source] >= 2 };
        if !has_spare {
            return Reassign::NoSpare;
        }
        // As in memcached, a page that an operator asks for may cost evictions.
        mover.job =
            Some(Job { source, target, pages: 1, is_evicting: true, is_manual: true, stuck_steps: 0, span: None });
        Reassign::Running
    }

    /// The class with the most pages, if it can spare one.
    fn donor(&self, counts: &PageCounts, not: i32) -> Option<usize> {
        (1..counts.pages.len())
            .filter(|&class| class as i32 != not && counts.pages[class] >= 2)
            .max_by_key(|&class| counts.pages[class])
    }

    /// One bounded step of the mover; true while it has work in hand.
    pub(super) fn move_step(&self, now: Now) -> bool {
        let Some(mut mover) = self.mover.try_lock() else {
            return false;
        };
        if mover.job.is_none() {
            self.choose_job(&mut mover, now);
        }
        let Some(mut job) = mover.job.take() else {
            return false;
        };
        self.shared.budget.set_leaving(job.source);
        match self.job_step(&mut job, &mut mover, now) {
            Step::Ready => {
                if self.shared.budget.move_page(job.source, job.target) {
                    mover.slabs_moved += 1;
                    job.pages -= 1;
                    job.stuck_steps = 0;
                } else {
                    job.stuck_steps += 1;
                    if job.stuck_steps > STUCK_STEPS_MAX {
                        // Others took the page.
                        job.pages = 0;
                    }
                }
                mover.status = "pass";
            }
            Step::More => mover.status = "from_slab",
            Step::Stuck(status) => {
                mover.status = status;
                job.stuck_steps += 1;
                job.is_evicting |= job.stuck_steps > STUCK_STEPS_MAX;
            }
        }
        if job.pages > 0 {
            mover.job = Some(job);
            return true;
        }
        self.shared.budget.set_leaving(0);
        if let Some((partition, span)) = job.span {
            self.partitions[partition].lock().spans.stop_leaving(span);
        }
        true
    }

    /// Works towards the source using one page less.
    fn job_step(&self, job: &mut Job, mover: &mut Mover, now: Now) -> Step {
        if job.source == 0 {
            return Step::Ready;
        }
        let counts = self.shared.budget.counts();
        if counts.pages[job.source] < 2 && job.target == 0 {
            // Others took its pages meanwhile.
            job.pages = 1;
            return Step::Ready;
        }
        let allowed = counts.pages[job.source].saturating_sub(1) * counts.page_memory_bytes();
        let excess = counts.used[job.source].saturating_sub(allowed);
        if excess == 0 {
            return Step::Ready;
        }
        if let Some((partition, span)) = job.span {
            return self.evacuate_step(job, mover, partition, span, now);
        }
        if self.free_chunks(job, mover, excess) || self.renew_chunks(job, mover) {
            return Step::More;
        }
        if let Some(partition) = self.next_partition(job) {
            // Looked at again and marked under one lock: from then on nobody else drops the span.
            let spans = &mut self.partitions[partition].lock().spans;
            if let Some(facts) = job.candidate(spans) {
                spans.start_leaving(facts.span);
                job.span = Some((partition, facts.span));
            }
            return Step::More;
        }
        if (job.is_evicting || counts.is_full()) && self.evict_chunks(job, mover, excess, now) {
            return Step::More;
        }
        Step::Stuck("busy_active")
    }

    /// Evicts items of the source, as many as its page takes and a step may: of a few at a time the chunks would be in use
    /// again before there are enough, while clients store. False when there is none.
    fn evict_chunks(&self, job: &Job, mover: &mut Mover, excess: usize, now: Now) -> bool {
        for number in 0..ITEMS_PER_STEP {
            if !self.evict_oldest(job.source, now) {
                return number > 0;
            }
            mover.tally.busy_nomem += 1;
            if self.free_chunks(job, mover, excess) {
                break;
            }
        }
        true
    }

    /// The partition that has the span to empty next.
    fn next_partition(&self, job: &Job) -> Option<usize> {
        let candidates = self.partitions.iter().enumerate().filter_map(|(number, partition)| {
            let facts = job.candidate(&partition.lock().spans)?;
            let cost = if job.is_manual { 0 } else { facts.used };
            Some((cost, facts.age, number))
        });
        candidates.min().map(|(_, _, number)| number)
    }

    fn evacuate_step(&self, job: &mut Job, mover: &mut Mover, partition: usize, span: usize, now: Now) -> Step {
        let mut locked = self.partitions[partition].lock();
        match locked.evacuate(span, ITEMS_PER_STEP, job.is_evicting, now, &mut mover.tally) {
            Evacuated::Empty => {
                if let Some(bytes) = locked.release_span(span) {
                    self.shared.budget.give_back(job.source, bytes);
                }
                job.span = None;
                Step::More
            }
            Evacuated::More => Step::More,
            Evacuated::Stuck(status) => Step::Stuck(status),
        }
    }

    /// Gives up chunks of large values worth `excess` bytes, if so many are free.
    fn free_chunks(&self, job: &Job, mover: &mut Mover, excess: usize) -> bool {
        let chunks = &self.shared.chunks;
        match chunks.release_page(job.source, excess.div_ceil(chunks.cost(job.source))) {
            Some(rescued) => {
                mover.chunk_rescues += rescued as u64;
                true
            }
            None => false,
        }
    }

    /// Keeps the chunks of large values that are on a page which an operator wants, on a new page, while there is memory for
    /// one: as in memcached nothing is evicted then.
    fn renew_chunks(&self, job: &Job, mover: &mut Mover) -> bool {
        let chunks = &self.shared.chunks;
        let is_renewed = job.is_manual && chunks.counts(job.source).0 > 0 && self.shared.budget.add_page(job.source);
        if is_renewed {
            mover.chunk_rescues += chunks.renew_page(job.source) as u64;
        }
        is_renewed
    }

    /// Once a second: the policy, and pages above the limit.
    fn choose_job(&self, mover: &mut Mover, now: Now) {
        if mover.ran == now.seconds || !self.shared.config.has_slab_reassign {
            return;
        }
        mover.ran = now.seconds;
        let tuning = self.tuning();
        if tuning.automove == 0 {
            return;
        }
        let counts = self.shared.budget.counts();
        let excess_bytes = match mover.is_shrinking {
            true => counts.malloced_bytes.saturating_sub(counts.page_limit_bytes),
            false => counts.excess_bytes,
        };
        let excess = excess_bytes.div_ceil(counts.page_bytes);
        if excess == 0 {
            mover.is_shrinking = false;
            mover.excess_since = 0;
        } else {
            if mover.excess_since == 0 {
                mover.excess_since = now.seconds;
            }
            let is_due = mover.is_shrinking || now.seconds.saturating_sub(mover.excess_since) >= EXCESS_SECONDS_MAX;
            if is_due && let Some(source) = self.donor(&counts, 0) {
                mover.start(source, 0, excess.min(counts.pages[source] - 1), true);
                return;
            }
            // Each class has one page.
            mover.is_shrinking &= !is_due;
        }
        let samples = self.samples(&counts, now);
        let window = tuning.automove_window.clamp(3, 1800) as usize;
        let decision = mover.automove.run(&samples, window, tuning.automove_ratio, counts.is_full());
        if let Some(decision) = decision {
            let pages = decision.pages.min(counts.pages[decision.source].saturating_sub(1));
            if pages > 0 {
                mover.start(decision.source, decision.target, pages, counts.is_full() && counts.pool == 0);
                self.emit_move(decision.source, decision.target);
            }
        }
    }

    fn samples(&self, counts: &PageCounts, now: Now) -> Vec<Sample> {
        let mut samples: Vec<Sample> = vec![Sample::default(); counts.pages.len()];
        for (class, sample) in samples.iter_mut().enumerate().skip(1) {
            sample.pages = counts.pages[class];
            let unspent = (counts.pages[class] * counts.page_memory_bytes()).saturating_sub(counts.used[class]);
            let free = self.shared.chunks.counts(class).1 * self.shared.chunks.cost(class);
            sample.free_pages = (unspent + free) as f64 / counts.page_bytes as f64;
        }
        for partition in &self.partitions {
            let partition = partition.lock();
            for (class, sample) in samples.iter_mut().enumerate().skip(1) {
                let state = &partition.classes[class];
                sample.evicted += state.counters.evicted;
                sample.outofmemory += state.counters.outofmemory;
                sample.free_pages += partition.spans.free_bytes(class) as f64 / counts.page_bytes as f64;
                if let Some(time) = partition.victim_time(class) {
                    sample.age = sample.age.max(u64::from(now.seconds.saturating_sub(time)));
                }
            }
        }
        samples
    }

    fn emit_move(&self, source: usize, target: usize) {
        if self.shared.events.is_watched(event_class::SYSEVENTS) {
            self.shared.events.emit(event_class::SYSEVENTS, |line| {
                line.extend_from_slice(format!("type=slab_move src={source} dst={target} state=ok").as_bytes());
            });
        }
    }

    /// Frees a page of any class for a class of large values that has no chunk to evict, at any cost. Classes are tried
    /// from the one with the most pages on, since all memory of one may be on its way in or out.
    pub(super) fn steal_page(&self, target: usize, now: Now) -> bool {
        let mut mover = self.mover.lock();
        let pages = self.shared.budget.counts().pages;
        let mut sources: Vec<usize> = (1..pages.len()).filter(|&class| class != target && pages[class] > 0).collect();
        sources.sort_by_key(|&class| std::cmp::Reverse(pages[class]));
        sources.into_iter().any(|source| self.steal_page_of(source, target, &mut mover, now))
    }

    fn steal_page_of(&self, source: usize, target: usize, mover: &mut Mover, now: Now) -> bool {
        let mut job = Job { source, target, pages: 1, is_evicting: true, is_manual: false, stuck_steps: 0, span: None };
        let is_moved =
            step_until_moved(|| self.job_step(&mut job, mover, now), || self.shared.budget.move_page(source, target));
        if let Some((partition, span)) = job.span {
            self.partitions[partition].lock().spans.stop_leaving(span);
        }
        is_moved
    }
}

/// Steps until a page is ready and moved, but not for ever: after a failed move others were faster with what was freed.
fn step_until_moved(mut step: impl FnMut() -> Step, mut move_page: impl FnMut() -> bool) -> bool {
    for _ in 0..STEAL_STEPS_MAX {
        match step() {
            Step::Ready if move_page() => return true,
            Step::Ready | Step::More => {}
            Step::Stuck(_) => return false,
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::sizes::PAGE_BYTES;
    use crate::base::sync::Arc;
    use crate::store::Config;
    use crate::store::tests::{now, set};

    /// A store with four pages of small items, of which each third has gone.
    fn store() -> Store {
        let store = Store::new(Config::default(), Arc::default());
        let mut number = 0_u32;
        let counts = || store.shared.budget.counts();
        while counts().used[1] + PAGE_BYTES / 8 < 4 * counts().page_memory_bytes() {
            set(&store, &number.to_le_bytes(), b"v", 0, 0, now(100)).expect("stored");
            number += 1;
        }
        for number in (0..number).filter(|number| number % 3 == 0) {
            store.entry(&number.to_le_bytes(), store.hash(&number.to_le_bytes()), now(100), |entry| entry.remove());
        }
        store
    }

    #[test]
    fn a_step_moves_a_bounded_number_of_items() {
        let store = store();
        assert_eq!(store.start_reassign(1, 2), Reassign::Running);
        let rescues = || store.mover.lock().tally.rescues as usize;
        while rescues() == 0 {
            assert!(store.move_step(now(100)));
        }
        assert_eq!(rescues(), ITEMS_PER_STEP);
    }

    #[test]
    fn an_operator_waits_for_a_bounded_number_of_steps() {
        let store = store();
        assert_eq!(store.reassign(1, 2, now(100)), Reassign::Running);
        assert!(store.mover.lock().is_running(), "there is more to do");
        let steps = (1..).find(|_| !store.move_step(now(100)) || !store.mover.lock().is_running()).expect("an end");
        let all = self::store();
        assert_eq!(all.start_reassign(1, 2), Reassign::Running);
        let steps_of_all = (1..).find(|_| !all.move_step(now(100)) || !all.mover.lock().is_running()).expect("an end");
        assert_eq!(steps, steps_of_all - STEPS_AT_ONCE);
    }

    /// An item that had to leave its span evicted others until one left a slot large enough for it: here all of the class, in one
    /// hold of the lock.
    #[test]
    fn an_item_that_leaves_evicts_few_others() {
        let store = Store::new(Config::default(), Arc::default());
        let class = usize::from(store.class_of(store.item_bytes(4, 500, 0)));
        let small = (400..500).find(|&bytes| usize::from(store.class_of(store.item_bytes(4, bytes, 0))) == class);
        let key = |number: u32| number.to_le_bytes();
        for number in 0..150 {
            set(&store, &key(number), &[1; 500], 0, 0, now(100)).expect("stored");
        }
        let span = store.partitions[0].lock().spans.oldest(class).expect("a span").span;
        let mut number = 1000;
        let evicted = |store: &Store| store.partitions[0].lock().classes[class].counters.evicted;
        while evicted(&store) == 0 {
            set(&store, &key(number), &vec![2; small.expect("a size")], 0, 0, now(101)).expect("stored");
            number += 1;
        }
        let partition = &mut *store.partitions[0].lock();
        let items = partition.spans.oldest(class).map_or(0, |facts| facts.used as u64);
        let (before, mut tally) = (partition.classes[class].counters.evicted, Tally::default());
        while !matches!(partition.evacuate(span, ITEMS_PER_STEP, true, now(102), &mut tally), Evacuated::Empty) {}
        let evicted = partition.classes[class].counters.evicted - before;
        assert!(evicted > 0 && evicted <= 5 * items, "{evicted} of {number} for {items}");
    }

    #[test]
    fn a_page_that_others_take_is_given_up() {
        let mut steps = 0;
        let mut step = || {
            steps += 1;
            if steps % 2 == 0 { Step::Ready } else { Step::More }
        };
        assert!(!step_until_moved(&mut step, || false));
        assert_eq!(steps, STEAL_STEPS_MAX);
        assert!(step_until_moved(|| Step::Ready, || true));
        assert!(!step_until_moved(|| Step::Stuck("locked"), || true));
    }
}
