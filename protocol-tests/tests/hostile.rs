//! A live server under mutated transcripts: whatever is sent, it goes on serving, keeps a canary's value, shows nobody
//! what is not theirs, and has no more memory and connections in use afterwards. One of the servers listens with TLS, one
//! wants a login, which some clients have and some do not.
//!
//! | variable | meaning |
//! |---|---|
//! | `HOSTILE_INPUTS` | inputs in all, 400000 |
//! | `HOSTILE_SEED` | a number; printed at the start, the process' id otherwise |
//! | `HOSTILE_OPTIONS` | options of the one server tried, instead of a few in turn |

use std::env;
use std::process;
use std::thread;
use std::time::{Duration, Instant};

use protocol_tests::case::Setting;
use protocol_tests::mutate::Mutator;
use protocol_tests::pump::{Pump, Pumped};
use protocol_tests::server::{Program, Server};
use protocol_tests::tls::Trust;

#[test]
fn mutated_transcripts_do_no_harm() {
    let program = Program::from_environment().unwrap();
    let inputs = number("HOSTILE_INPUTS").unwrap_or(INPUTS_DEFAULT) as usize;
    let seed = number("HOSTILE_SEED").unwrap_or_else(|| u64::from(process::id()));
    println!("HOSTILE_SEED={seed} HOSTILE_INPUTS={inputs}");
    let servers = match env::var("HOSTILE_OPTIONS") {
        Ok(options) => vec![options],
        Err(_) => OPTIONS.iter().map(ToString::to_string).collect(),
    };
    for options in &servers {
        if let Err(error) = run(&program, options, seed, inputs / servers.len()) {
            panic!("HOSTILE_SEED={seed} HOSTILE_OPTIONS='{options}': {error}");
        }
    }
}

fn number(name: &str) -> Option<u64> {
    env::var(name).ok()?.parse().ok()
}

/// Tries one server.
fn run(program: &Program, options: &str, seed: u64, inputs: usize) -> Result<(), String> {
    let is_encrypted = options.split_whitespace().any(|word| word == "-Z");
    let program = Program { is_encrypted, ..program.clone() };
    // Without -F an input would flush the canary away.
    let words = options.split_whitespace().filter(|word| *word != "-Z").map(str::to_string);
    let setting = Setting {
        options: words.chain(["-F".to_string()]).collect(),
        files: vec![("users".to_string(), b"user:pass\n".to_vec())],
        ..Setting::default()
    };
    let folder = env::temp_dir().join(format!("hostile-{}", process::id()));
    let mut server = Server::start(&program, &setting, folder)?;
    let has_login = options.contains("-Y");
    let door = Door { port: server.port, trust: server.trust.clone(), has_login };
    let mut canary = Canary::new(&door)?;
    // Full memory is flat memory, with evictions; without them it is full soon enough.
    if !options.contains("-M") {
        canary.fill(memory_limit(options))?;
    }
    canary.check(true)?;
    let connections_before = canary.connections()?;
    let clients: Vec<_> = (0..CLIENTS)
        .map(|client| {
            let door = door.clone();
            thread::spawn(move || attack(&door, seed.wrapping_mul(CLIENTS).wrapping_add(client), inputs))
        })
        .collect();
    let mut rounds = 0;
    let mut memory = Vec::new();
    while clients.iter().any(|client| !client.is_finished()) {
        server.expect_running()?;
        canary.check(rounds % 8 == 0)?;
        memory.push(server.resident_bytes()?);
        rounds += 1;
        thread::sleep(CANARY_PAUSE);
    }
    let mut answered = 0;
    for client in clients {
        answered += client.join().map_err(|_| "a client panicked".to_string())??;
    }
    server.expect_running()?;
    canary.check(true)?;
    let deadline = Instant::now() + SETTLE_TIMEOUT;
    while canary.connections()? > connections_before {
        if Instant::now() > deadline {
            return Err(format!("{} connections, {connections_before} before", canary.connections()?));
        }
        thread::sleep(CANARY_PAUSE);
    }
    let resident = server.resident_bytes()?;
    let at = |parts: usize| memory.get(memory.len() * parts / 8).copied().unwrap_or(resident);
    let (warm, half_way) = (at(1).max(at(2)), at(4));
    let (seen, gone, mebibytes) = (canary.seen, canary.gone, |bytes: usize| bytes as f64 / f64::from(1 << 20));
    println!(
        "'{options}': {inputs} inputs, {answered} bytes of replies, {seen} canaries seen, {gone} gone, {:.1} MiB in use, \
         {:.1} half way, {:.1} before",
        mebibytes(resident),
        mebibytes(half_way),
        mebibytes(warm)
    );
    if seen == 0 {
        return Err(format!("no canary was ever seen, {gone} were gone"));
    }
    // Under ThreadSanitizer most of it is the sanitizer's.
    if env::var_os("TSAN_OPTIONS").is_some() {
        return Ok(());
    }
    if resident > memory_limit(options) + RESIDENT_SLACK_BYTES {
        return Err(format!("{resident} bytes of memory afterwards"));
    }
    // Memory is full from the start, and buffers have been used by a quarter; in a long run other sizes have come by half.
    let base = if inputs >= LONG_INPUTS_MIN { half_way } else { warm };
    if resident > base + FLAT_SLACK_BYTES {
        return Err(format!("{resident} bytes of memory afterwards, {base} before"));
    }
    Ok(())
}

/// The `-m` among the options, in bytes.
fn memory_limit(options: &str) -> usize {
    let words: Vec<&str> = options.split_whitespace().collect();
    let limit = words.windows(2).find(|pair| pair[0] == "-m").and_then(|pair| pair[1].parse().ok());
    limit.unwrap_or(64) << 20
}

/// How to get into a server.
#[derive(Clone)]
struct Door {
    port: u16,
    trust: Option<Trust>,
    has_login: bool,
}

impl Door {
    fn open(&self) -> Result<Pump, String> {
        Pump::open_by(self.port, self.trust.as_ref())
    }

    /// A connection that may do everything.
    fn open_and_log_in(&self) -> Result<Pump, String> {
        let mut pump = self.open()?;
        if self.has_login {
            pump.send(b"set login 0 0 9\r\nuser pass\r\n")?;
            while !pump.received.ends_with(b"\r\n") {
                if pump.wait()? == Pumped::Closed {
                    break;
                }
            }
            if pump.received != b"STORED\r\n" {
                return Err(format!("the login is answered '{}'", pump.received.escape_ascii()));
            }
            pump.received.clear();
        }
        Ok(pump)
    }
}

/// One client: a few connections, of which one at a time gets a batch.
fn attack(door: &Door, seed: u64, inputs: usize) -> Result<usize, String> {
    let mut mutator = Mutator::new(seed)?;
    let mut connections: Vec<Option<Pump>> = (0..CONNECTIONS_PER_CLIENT).map(|_| None).collect();
    let mut batch = Vec::new();
    let mut left = inputs / CLIENTS as usize;
    let mut answered = 0;
    while left > 0 {
        let index = mutator.random().below(connections.len());
        // A connection that has logged in speaks text; what has not may try both.
        let has_logged_in = door.has_login && index % 3 != 2;
        let is_binary = index % 3 == 2;
        let mut pump = match connections[index].take() {
            Some(pump) => pump,
            None if has_logged_in => door.open_and_log_in()?,
            None => door.open()?,
        };
        batch.clear();
        let count = (1 + mutator.random().below(BATCH_INPUTS_MAX)).min(left);
        (0..count).for_each(|_| mutator.append(is_binary, &mut batch));
        left -= count;
        let cut = match mutator.random().one_in(2) {
            true => mutator.random().below(batch.len() + 1),
            false => batch.len(),
        };
        let (first, second) = batch.split_at(cut);
        let mut pumped = pump.send(first)?;
        if pumped == Pumped::Done {
            pumped = pump.send(second)?;
        }
        if pumped == Pumped::Done {
            pumped = pump.drain();
        }
        check_replies(&mut pump)?;
        // A connection in the middle of a value swallows everything: it must not live long.
        match (pumped, mutator.random().below(DISCONNECT_ONE_IN)) {
            (Pumped::Closed, _) | (Pumped::Done, 0) => {}
            (Pumped::Done, 1 | 2) => {
                pump.finish()?;
                answered += check_replies(&mut pump)?;
            }
            (Pumped::Done, _) => connections[index] = Some(pump),
        }
    }
    Ok(answered)
}

/// No reply holds a piece of the canary's values. Returns how many bytes of replies there were.
fn check_replies(pump: &mut Pump) -> Result<usize, String> {
    let is_leak = |window: &[u8]| window == SECRET;
    let position = pump.received.iter().enumerate().filter(|(_, byte)| **byte == SECRET[0]).find_map(|(at, _)| {
        let window = pump.received.get(at..at + SECRET.len())?;
        is_leak(window).then_some(at)
    });
    if let Some(at) = position {
        let from = at.saturating_sub(100);
        return Err(format!("a client was shown '{}'", pump.received[from..at + SECRET.len()].escape_ascii()));
    }
    // A cut reply may go on with a piece.
    let kept = pump.received.len().min(SECRET.len() - 1);
    let checked = pump.received.len() - kept;
    pump.received.drain(..checked);
    Ok(checked)
}

/// Values under keys that nobody else knows, small and large, so that their memory is used before and after others'.
struct Canary {
    door: Door,
    pump: Pump,
    seen: usize,
    gone: usize,
}

impl Canary {
    fn new(door: &Door) -> Result<Canary, String> {
        Ok(Canary { door: door.clone(), pump: door.open_and_log_in()?, seen: 0, gone: 0 })
    }

    /// Stores so much that memory is full.
    fn fill(&mut self, limit_bytes: usize) -> Result<(), String> {
        let value = vec![b'.'; FILLER_BYTES];
        for number in 0..limit_bytes / FILLER_BYTES * 5 / 4 {
            let set = [format!("set filler-{number} 0 0 {FILLER_BYTES}\r\n").as_bytes(), &value, b"\r\n"].concat();
            let reply = self.ask(&set, b"\r\n")?;
            if reply != b"STORED\r\n" {
                return Err(format!("a filler is answered '{}'", reply.escape_ascii()));
            }
        }
        match self.number("evictions")? {
            0 => Err("memory is not full".to_string()),
            _ => Ok(()),
        }
    }

    /// Looks at the values, and stores them again if they are gone or `is_renewed`.
    fn check(&mut self, is_renewed: bool) -> Result<(), String> {
        if is_renewed {
            // Over a new connection, which any worker may get.
            self.pump = self.door.open_and_log_in()?;
        }
        for length in SECRET_LENGTHS {
            let key = format!("canary-{length}-3141592653");
            let value: Vec<u8> = SECRET.iter().copied().cycle().take(length).collect();
            let hit = [format!("VALUE {key} 3 {length}\r\n").as_bytes(), &value, b"\r\nEND\r\n"].concat();
            let reply = self.ask(format!("get {key}\r\n").as_bytes(), b"END\r\n")?;
            if reply == hit {
                self.seen += 1;
            } else if reply == b"END\r\n" {
                self.gone += 1;
            } else {
                let shown = &reply[..reply.len().min(200)];
                return Err(format!("the canary's value is '{}', {} bytes", shown.escape_ascii(), reply.len()));
            }
            if is_renewed || reply != hit {
                let set = [format!("set {key} 3 0 {length}\r\n").as_bytes(), &value, b"\r\n"].concat();
                let reply = self.ask(&set, b"\r\n")?;
                if reply != b"STORED\r\n" && !reply.starts_with(b"SERVER_ERROR out of memory") {
                    return Err(format!("the canary is answered '{}'", reply.escape_ascii()));
                }
            }
        }
        Ok(())
    }

    fn connections(&mut self) -> Result<usize, String> {
        self.number("curr_connections")
    }

    /// A number among the statistics.
    fn number(&mut self, name: &str) -> Result<usize, String> {
        let reply = self.ask(b"stats\r\n", b"END\r\n")?;
        let text = String::from_utf8_lossy(&reply);
        let prefix = format!("STAT {name} ");
        let line = text.lines().find_map(|line| line.strip_prefix(&prefix));
        line.and_then(|number| number.parse().ok()).ok_or_else(|| format!("no {name}"))
    }

    fn ask(&mut self, request: &[u8], end: &[u8]) -> Result<Vec<u8>, String> {
        self.pump.received.clear();
        let mut pumped = self.pump.send(request)?;
        while pumped == Pumped::Done && !self.pump.received.ends_with(end) {
            pumped = self.pump.wait()?;
        }
        match pumped {
            Pumped::Done => Ok(std::mem::take(&mut self.pump.received)),
            Pumped::Closed => Err("the canary's connection is closed".to_string()),
        }
    }
}

/// A run in CI: about twenty seconds.
const INPUTS_DEFAULT: u64 = 400_000;

/// So many are a long run.
const LONG_INPUTS_MIN: usize = 1_000_000;
const FLAT_SLACK_BYTES: usize = 4 << 20;

const FILLER_BYTES: usize = 9000;

const OPTIONS: [&str; 6] = [
    "-t 2 -m 64",
    "-t 2 -m 2 -o slab_chunk_max=16",
    "-t 2 -m 8 -M",
    "-t 2 -m 8 -C",
    "-t 2 -m 8 -Z",
    "-t 2 -m 8 -Y {file:users}",
];

const CLIENTS: u64 = 2;
const CONNECTIONS_PER_CLIENT: usize = 6;
const BATCH_INPUTS_MAX: usize = 20;
const DISCONNECT_ONE_IN: usize = 8;

/// Begins each canary's value; no input can make it.
const SECRET: &[u8] = b"~nobody but the canary has ever sent this~";
const SECRET_LENGTHS: [usize; 5] = [60, 900, 12_000, 40_000, 700_000];

/// First pages of classes above the limit, buffers, code.
const RESIDENT_SLACK_BYTES: usize = 80 << 20;

const CANARY_PAUSE: Duration = Duration::from_millis(20);
const SETTLE_TIMEOUT: Duration = Duration::from_secs(20);
