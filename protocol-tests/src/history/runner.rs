//! A run: clients under way, a hand that disturbs the server, and a summary at intervals.

use std::env;
use std::process;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::thread;
use std::time::{Duration, Instant};

use super::client::{Client, Load, Shared};
use super::keeper::{Keeper, Keeping};
use super::ledger::Ledger;
use super::link::Link;
use super::race;
use super::value::Filler;
use crate::case::Setting;
use crate::random::Random;
use crate::server::{Program, Server};
use crate::tls::Trust;

/// What to run.
#[derive(Clone, Debug)]
pub struct Plan {
    /// What to start; a server that listens already, on a loopback port, otherwise.
    pub server: Target,
    /// How long.
    pub seconds: u64,
    /// Ends earlier when so many requests have been answered; 0 is never.
    pub operations: u64,
    /// Connections, at most 250, over so many threads.
    pub connections: u64,
    /// See `connections`.
    pub threads: u64,
    /// Seed of everything that is chosen.
    pub seed: u64,
    /// Whether the server is told to flush, to move pages, to crawl, and to change its memory limit.
    pub is_disturbed: bool,
    /// Flushes and nothing else.
    pub is_flushed: bool,
    /// The server is killed and started anew after so many seconds, again and again; 0 is never.
    pub restart_seconds: u64,
    /// The server is stopped in order after so many seconds and started anew with the cache it left; 0 is never.
    pub warm_restart_seconds: u64,
    /// How the cache is kept then.
    pub keeping: Keeping,
    /// Seconds between two summaries; 0 is none.
    pub report_seconds: u64,
    /// What is asked for.
    pub load: Load,
}

/// Whom to ask.
#[derive(Clone, Debug)]
pub enum Target {
    /// A program, started with these options.
    Program(Box<Program>, Vec<String>),
    /// Whoever listens there.
    Port(u16),
}

/// What came out.
#[derive(Clone, Debug, Default)]
pub struct Summary {
    /// Requests that were answered.
    pub operations: u64,
    /// Values that were found, and checked.
    pub hits: u64,
    /// Requests refused for want of memory.
    pub refused: u64,
    /// Hits about which nothing could be said.
    pub undecided: u64,
    /// Counters compared at rest.
    pub counters: u64,
    /// Times the server was killed and started anew.
    pub restarts: u64,
    /// Times it was stopped in order and started with its cache.
    pub warm_restarts: u64,
    /// Hits on what was written before the last of these.
    pub kept: u64,
    /// Keys that several connections added at a time.
    pub races: u64,
    /// What was wrong; the clients stop at the first one each.
    pub violations: Vec<String>,
}

/// Where the clients connect to. They hold it while a batch is under way, so whoever may write it sees the server at rest.
#[derive(Debug)]
struct Door {
    port: u16,
    trust: Option<Trust>,
    generation: u64,
    /// Another one after the server was killed.
    cache: u64,
}

/// What the runner and the clients' threads share.
struct Stage {
    shared: Arc<Shared>,
    door: RwLock<Door>,
    is_over: AtomicBool,
    is_killing: AtomicBool,
    violations: Mutex<Vec<String>>,
    failures: Mutex<Vec<String>>,
    generation: AtomicU64,
}

/// Runs a plan. A violation is in the summary; an error says that the run could not go on.
pub fn run(plan: &Plan) -> Result<Summary, String> {
    let mut keeper = match (&plan.server, plan.warm_restart_seconds) {
        (Target::Program(program, _), 1..) => Some(Keeper::new(plan.keeping, program)?),
        _ => None,
    };
    let mut server = start(plan, 0, keeper.as_ref())?;
    let door = match (&plan.server, &server) {
        (_, Some(server)) => Door { port: server.port, trust: server.trust.clone(), generation: 0, cache: 0 },
        (Target::Port(port), None) => Door { port: *port, trust: None, generation: 0, cache: 0 },
        (Target::Program(..), None) => return Err("no server".to_string()),
    };
    let shared = Arc::new(Shared {
        ledger: Ledger::new(plan.load.keys as usize, plan.load.counters as usize),
        filler: Filler::default(),
        start: Instant::now(),
        load: plan.load.clone(),
        operations: AtomicU64::new(0),
        hits: AtomicU64::new(0),
        refused: AtomicU64::new(0),
        undecided: AtomicU64::new(0),
        kept_at: AtomicU64::new(0),
        kept: AtomicU64::new(0),
        value_bytes_max: AtomicU64::new(VALUE_SIZES[0]),
    });
    let stage = Arc::new(Stage {
        shared,
        door: RwLock::new(door),
        is_over: AtomicBool::new(false),
        is_killing: AtomicBool::new(false),
        violations: Mutex::default(),
        failures: Mutex::default(),
        generation: AtomicU64::new(0),
    });
    let threads: Vec<_> = (0..plan.threads)
        .map(|thread| {
            let stage = Arc::clone(&stage);
            let clients: Vec<Client> = (0..plan.connections)
                .filter(|connection| connection % plan.threads == thread)
                .map(|connection| Client::new(Arc::clone(&stage.shared), connection, plan.seed))
                .collect();
            thread::spawn(move || work(&stage, clients))
        })
        .collect();
    let mut summary = Summary::default();
    let result = conduct(plan, &stage, (&mut server, &mut keeper), &mut summary);
    stage.is_over.store(true, Ordering::SeqCst);
    for thread in threads {
        thread.join().map_err(|_| "a client panicked".to_string())?;
    }
    result?;
    summary.operations = stage.shared.operations.load(Ordering::SeqCst);
    summary.hits = stage.shared.hits.load(Ordering::SeqCst);
    summary.refused = stage.shared.refused.load(Ordering::SeqCst);
    summary.undecided = stage.shared.undecided.load(Ordering::SeqCst);
    summary.kept = stage.shared.kept.load(Ordering::SeqCst);
    // What cannot be decided is not checked: there must be little of it.
    if summary.undecided * UNDECIDED_ONE_IN > summary.hits + UNDECIDED_FREE {
        summary.violations.push(format!("{} of {} hits are undecided", summary.undecided, summary.hits));
    }
    summary.violations.append(&mut locked(&stage.violations));
    if let Some(failure) = locked(&stage.failures).first() {
        return Err(failure.clone());
    }
    if let Some(server) = &mut server {
        server.expect_running()?;
    }
    Ok(summary)
}

fn locked<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn start(plan: &Plan, generation: u64, keeper: Option<&Keeper>) -> Result<Option<Server>, String> {
    let Target::Program(program, options) = &plan.server else { return Ok(None) };
    let mut program = program.as_ref().clone();
    let mut setting = Setting { options: options.clone(), ..Setting::default() };
    if let Some(keeper) = keeper {
        keeper.prepare(&mut program, &mut setting);
    }
    let folder = env::temp_dir().join(format!("history-{}-{generation}", process::id()));
    Server::start(&program, &setting, folder).map(Some)
}

/// A thread's clients: each sends a batch, then each takes its answers, so batches of all of them are under way together.
fn work(stage: &Stage, mut clients: Vec<Client>) {
    let mut generation = 0;
    while !stage.is_over.load(Ordering::SeqCst) {
        let door = stage.door.read().unwrap_or_else(PoisonError::into_inner);
        if door.generation != generation {
            generation = door.generation;
            clients.iter_mut().for_each(Client::abandon);
        }
        for client in &mut clients {
            let connected =
                if client.is_connected() { Ok(()) } else { client.connect(door.port, door.trust.as_ref(), door.cache) };
            if let Err(error) = connected.and_then(|()| client.ask()) {
                broke(stage, client, error);
            }
        }
        for client in &mut clients {
            if !client.is_connected() {
                continue;
            }
            match client.check() {
                Ok(Ok(())) => {}
                Ok(Err(violation)) => {
                    locked(&stage.violations).push(violation);
                    stage.is_over.store(true, Ordering::SeqCst);
                    return;
                }
                Err(error) => broke(stage, client, error),
            }
        }
        drop(door);
        if stage.is_killing.load(Ordering::SeqCst) {
            thread::sleep(KILL_POLL);
        }
    }
}

/// A connection broke: that is fine while the server is being killed.
fn broke(stage: &Stage, client: &mut Client, error: String) {
    client.abandon();
    if !stage.is_killing.load(Ordering::SeqCst) {
        locked(&stage.failures).push(error);
        stage.is_over.store(true, Ordering::SeqCst);
    }
}

/// Disturbs the server, looks at the counters at rest, restarts and reports, until the run is over.
fn conduct(plan: &Plan, stage: &Stage, nodes: Nodes<'_>, summary: &mut Summary) -> Result<(), String> {
    let (server, keeper) = nodes;
    let mut random = Random::new(!plan.seed);
    let shared = &stage.shared;
    let (mut ticks, mut reported) = (0u64, (Instant::now(), 0u64));
    let (mut restarted, mut kept) = (Instant::now(), Instant::now());
    while shared.start.elapsed().as_secs() < plan.seconds && !stage.is_over.load(Ordering::SeqCst) {
        thread::sleep(TICK);
        ticks += 1;
        let operations = shared.operations.load(Ordering::Relaxed);
        if plan.operations > 0 && operations >= plan.operations {
            break;
        }
        if plan.is_disturbed || plan.is_flushed {
            disturb(plan, stage, &mut random)?;
        }
        if ticks % REST_TICKS == 0 {
            let door = stage.door.write().unwrap_or_else(PoisonError::into_inner);
            rest(stage, &door, plan, summary)?;
        }
        if ticks % PHASE_TICKS == 0 {
            let size = VALUE_SIZES[random.below(VALUE_SIZES.len())];
            shared.value_bytes_max.store(size, Ordering::Relaxed);
        }
        if plan.restart_seconds > 0 && restarted.elapsed().as_secs() >= plan.restart_seconds && server.is_some() {
            restart(plan, stage, (server, keeper), false)?;
            restarted = Instant::now();
            summary.restarts += 1;
        }
        if plan.warm_restart_seconds > 0 && kept.elapsed().as_secs() >= plan.warm_restart_seconds && server.is_some() {
            restart(plan, stage, (server, keeper), true)?;
            kept = Instant::now();
            summary.warm_restarts += 1;
        }
        let elapsed = reported.0.elapsed().as_secs_f64();
        if plan.report_seconds > 0 && elapsed >= plan.report_seconds as f64 {
            let resident = server.as_ref().and_then(|server| server.resident_bytes().ok()).unwrap_or(0);
            println!(
                "{:6} s: {operations} operations, {} hits checked, {} refused, {} undecided, {}+{} restarts, {:.0} operations/s, {} MiB, {} violations",
                shared.start.elapsed().as_secs(),
                shared.hits.load(Ordering::Relaxed),
                shared.refused.load(Ordering::Relaxed),
                shared.undecided.load(Ordering::Relaxed),
                summary.restarts,
                summary.warm_restarts,
                (operations - reported.1) as f64 / elapsed,
                resident >> 20,
                locked(&stage.violations).len(),
            );
            reported = (Instant::now(), operations);
        }
    }
    Ok(())
}

/// Asks something of the server over a connection of its own.
fn ask(door: &Door, line: &str) -> Result<String, String> {
    let mut link = Link::open(door.port, door.trust.as_ref())?;
    link.send(format!("{line}\r\nmn\r\n").as_bytes())?;
    loop {
        if let Some(answer) = link.received().strip_suffix(b"MN\r\n") {
            return Ok(String::from_utf8_lossy(answer).into_owned());
        }
        link.wait().map_err(|error| format!("'{line}': {error}"))?;
    }
}

fn disturb(plan: &Plan, stage: &Stage, random: &mut Random) -> Result<(), String> {
    let door = stage.door.read().unwrap_or_else(PoisonError::into_inner);
    if random.one_in(FLUSH_ONE_IN) {
        let begin = stage.shared.now(0);
        let answer = ask(&door, "flush_all")?;
        if answer != "OK\r\n" {
            return Err(format!("flush_all is answered '{answer}'"));
        }
        stage.shared.ledger.flush(begin);
    }
    if !plan.is_disturbed {
        return Ok(());
    }
    let line = match random.below(8) {
        0..4 => format!("slabs reassign {} {}", random.below(40) as i64 - 1, random.below(40)),
        // A kept cache fits a limit as at the start.
        4 if plan.warm_restart_seconds == 0 => format!("cache_memlimit {}", [8, 9, 16, 32, 64][random.below(5)]),
        4 | 5 => "lru_crawler crawl all".to_string(),
        6 => format!("slabs automove {}", random.below(3)),
        _ => format!("lru mode {}", random.choose(&["flat", "segmented"])),
    };
    // Whether it can be done now is the server's business.
    ask(&door, &line)?;
    Ok(())
}

/// Nothing is under way: counters hold as many counts as were answered.
fn rest(stage: &Stage, door: &Door, plan: &Plan, summary: &mut Summary) -> Result<(), String> {
    for counter in 0..plan.load.counters.min(COUNTERS_AT_REST) {
        let answer = ask(door, &format!("mg c{counter:06} v"))?;
        let Some(number) = answer.lines().nth(1) else { continue };
        let number = number.parse().map_err(|_| format!("a counter holds '{answer}'"))?;
        summary.counters += 1;
        if let Err(violation) = stage.shared.ledger.check_counter(counter, number) {
            summary.violations.push(violation);
            stage.is_over.store(true, Ordering::SeqCst);
        }
    }
    let evictions = evictions(door)?;
    let wrong = race::add(door.port, door.trust.as_ref(), summary.races, plan.load.has_binary)?;
    summary.races += race::KEYS as u64;
    // What was evicted in between could be added again.
    if !wrong.is_empty() && evictions == self::evictions(door)? {
        summary.violations.extend(wrong);
        stage.is_over.store(true, Ordering::SeqCst);
    }
    Ok(())
}

fn evictions(door: &Door) -> Result<Option<u64>, String> {
    let stats = ask(door, "stats")?;
    Ok(stats.lines().find_map(|line| line.strip_prefix("STAT evictions ")?.trim().parse().ok()))
}

type Nodes<'a> = (&'a mut Option<Server>, &'a mut Option<Keeper>);

/// Ends the server in the middle of everything and starts another one: with the cache it left after an ordered stop, with
/// nothing after it was killed.
fn restart(plan: &Plan, stage: &Stage, nodes: Nodes<'_>, is_warm: bool) -> Result<(), String> {
    let (server, keeper) = nodes;
    stage.is_killing.store(true, Ordering::SeqCst);
    if let (true, Some(server), Some(keeper)) = (is_warm, server.as_mut(), keeper.as_mut()) {
        keeper.stop(server)?;
    }
    *server = None;
    let generation = stage.generation.fetch_add(1, Ordering::SeqCst) + 1;
    let mut door = stage.door.write().unwrap_or_else(PoisonError::into_inner);
    let shared = &stage.shared;
    *server = start(plan, generation, keeper.as_ref())?;
    let Some(new) = server.as_ref() else { return Ok(()) };
    let mut cache = door.cache;
    if is_warm {
        shared.kept_at.store(shared.now(0), Ordering::SeqCst);
    } else {
        shared.ledger.flush(shared.now(0));
        shared.ledger.restart();
        shared.kept_at.store(0, Ordering::SeqCst);
        cache += 1;
    }
    *door = Door { port: new.port, trust: new.trust.clone(), generation, cache };
    stage.is_killing.store(false, Ordering::SeqCst);
    Ok(())
}

/// Between two disturbances.
const TICK: Duration = Duration::from_millis(50);
const KILL_POLL: Duration = Duration::from_millis(1);

/// Ticks between flushes, on average: seldom enough for values to expire in between.
const FLUSH_ONE_IN: usize = 160;

/// Ticks between looks at the counters, and changes of the sizes of values.
const REST_TICKS: u64 = 40;
const PHASE_TICKS: u64 = 100;

const COUNTERS_AT_REST: u32 = 20;

/// Hits that may be undecided, and how many in any case.
const UNDECIDED_ONE_IN: u64 = 1000;
const UNDECIDED_FREE: u64 = 1000;

/// Largest values of the phases, one after the other at random; small ones come more often.
const VALUE_SIZES: [u64; 6] = [500, 500, 500, 5_000, 60_000, 900_000];
