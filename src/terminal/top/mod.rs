//! `slabstash top`: several nodes at a glance, on the whole terminal or once as text.
//!
//! [`poll`] asks the nodes, a thread each, so that a node that hangs holds nobody up; [`board`] keeps what they said and
//! what is looked at; [`view`] draws it, with [`requests`] for what admin listeners say, [`plain`] prints it and [`json`] tells it to scripts. This file is the loop: updates and keys in, pictures out.

mod board;
mod columns;
mod json;
mod plain;
mod poll;
mod requests;
mod view;

use std::io::{IsTerminal, Write, stdout};
use std::sync::mpsc::Receiver;
use std::time::{Duration, Instant, SystemTime};

use ratatui::crossterm::event::{self, Event, KeyCode, KeyEvent, KeyEventKind, KeyModifiers};

use self::board::{Board, Tab};
use self::poll::{Target, Update, Watch};
use super::address::Address;
use super::arguments::{Arguments, Command, Flag};
use super::connection::Access;
use super::failure::Failure;
use crate::base::sync::{Arc, Ordering, SignalFlag};

/// The command's row.
pub const COMMAND: Command = Command {
    name: "top",
    summary: "watch nodes on the whole terminal",
    words: "[ADDRESS...] [FLAGS]",
    about: &[
        "Shows nodes side by side, and one of them closely: operations, hit ratio and round trip with their history, memory\n\
         by slab class and what is wasted, evictions with the age of the oldest item, connections, settings that differ\n\
         from memcached's defaults, hot keys, warnings. A node that is down is shown as down until it is back.",
        "With --admin it asks the nodes' admin listeners (-o admin_listen), too, and shows what their dashboards show: how long\n\
         requests take by command, sizes and times to live of what is stored, the end of the certificate, the warnings, and\n\
         hot keys at no further cost to the node. Those listeners speak neither TLS nor a login.",
        "Keys: up and down choose a node, left and right or 1 to 6 what is shown of it, page up and down scroll, q quits.\n\
         Hot keys are a sample from the node's log of fetches (watch fetchers); the node is watched only while they are\n\
         shown, since that costs it something, and not at all with --admin.",
        "Where the standard output is no terminal, or with --once, it prints two tables and ends. With --json it prints a line\n\
         for each node and interval instead, until it is ended, and with --once the second of each node: a JSON object of\n\
         what the screen shows, in which null is what is not known.",
    ],
    flags: &[
        Flag { short: Some('i'), name: "interval", value: "SECONDS", help: "time between two looks (default: 1)" },
        Flag { short: Some('j'), name: "json", value: "", help: "print a JSON object for each node and interval" },
        Flag { short: Some('1'), name: "once", value: "", help: "print text after one interval and end" },
        Flag {
            short: Some('k'),
            name: "hot-keys",
            value: "",
            help: "begin with the hot keys; with --once or --json print them too",
        },
        Flag {
            short: Some('a'),
            name: "admin",
            value: "ADDRESS",
            help: "ask admin listeners: host:port or unix:/path once for each node, or one port for all",
        },
    ],
    exit: &[(0, "the end; with --once: all nodes answered"), (1, "with --once: a node did not answer")],
    examples: &[
        ("slabstash top cache-1 cache-2 cache-3", "three nodes side by side"),
        ("slabstash top --once -i 10 --hot-keys", "what happened within ten seconds, as text"),
        ("slabstash top --admin 9150 cache-1 cache-2", "with what the nodes' admin listeners know"),
        ("slabstash top --json -i 60 cache-1 cache-2 >> cache.jsonl", "a log to look into later"),
    ],
    run,
};

fn run(arguments: &Arguments) -> Result<u8, Failure> {
    let addresses = Address::parse_all(&arguments.words)?;
    let admins = Address::parse_admins(&arguments.texts("admin"), &addresses)?;
    let targets: Vec<Target> =
        addresses.into_iter().zip(admins).map(|(address, admin)| Target { address, admin }).collect();
    let access = arguments.access()?;
    let seconds = arguments.number("interval", 0.1, 3600.0)?.unwrap_or(1.0);
    let interval = Duration::from_secs_f64(seconds);
    let has_hot_keys = arguments.has("hot-keys");
    let form = if arguments.has("json") { Form::Lines } else { Form::Tables };
    let is_once = arguments.has("once");
    if is_once || form == Form::Lines || !stdout().is_terminal() {
        let is_endless = form == Form::Lines && !is_once;
        let looks_max = if is_endless { u64::MAX } else { LOOKS_FOR_RATES };
        return print(&targets, &access, interval, has_hot_keys, form, looks_max);
    }
    let updates = poll::start(&targets, &access, interval);
    let mut board = Board::new(&targets, interval);
    if has_hot_keys {
        board.tab = Tab::HotKeys;
    }
    on_terminal(board, &access, &updates)?;
    Ok(0)
}

/// What is printed where nothing is drawn.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Form {
    /// Tables, at the end.
    Tables,
    /// A line for each look.
    Lines,
}

/// Looks an interval apart, and what is to be said about them.
fn print(
    targets: &[Target],
    access: &Access,
    interval: Duration,
    has_hot_keys: bool,
    form: Form,
    looks_max: u64,
) -> Result<u8, Failure> {
    // Who has an admin listener need not be watched.
    let watch = |target: &Target| target.admin.is_none().then(|| Watch::start(&target.address, access));
    let watches: Vec<Option<Watch>> = match has_hot_keys {
        true => targets.iter().map(watch).collect(),
        false => Vec::new(),
    };
    let updates = poll::start(targets, access, interval);
    let mut board = Board::new(targets, interval);
    board.prints_hot_keys = has_hot_keys;
    let mut out = stdout();
    // A poller sends an update for each look, whatever comes of it.
    while !board.nodes.iter().all(|node| node.looks >= looks_max) {
        let Ok(update) = updates.recv() else { break };
        let at = update.node;
        board.take(update);
        let node = &mut board.nodes[at];
        node.hot_keys = watches.get(at).and_then(Option::as_ref).map(Watch::seen);
        // A node that waits for others to be looked at is not told of again.
        let is_due = node.looks == looks_max || looks_max == u64::MAX;
        if form == Form::Lines && is_due {
            out.write_all(json::line(node, has_hot_keys, SystemTime::now()).as_bytes()).map_err(Failure::output)?;
        }
    }
    if form == Form::Tables {
        out.write_all(plain::text(&board).as_bytes()).map_err(Failure::output)?;
    }
    Ok(u8::from(board.nodes.iter().any(|node| node.sample().is_none())))
}

/// Takes the terminal, and gives it back whatever happens.
fn on_terminal(mut board: Board, access: &Access, updates: &Receiver<Update>) -> Result<(), Failure> {
    let is_ended = Arc::new(SignalFlag::new(false));
    // Not SIGHUP: with the terminal gone there is nothing to give back, and reading its end would not return.
    for signal in [signal_hook::consts::SIGTERM, signal_hook::consts::SIGINT] {
        let registered = signal_hook::flag::register(signal, Arc::clone(&is_ended));
        registered.map_err(|error| Failure::File(format!("cannot wait for signals: {error}")))?;
    }
    let mut terminal =
        ratatui::try_init().map_err(|error| Failure::File(format!("cannot use the terminal: {error}")))?;
    let result = draw_until_end(&mut terminal, &mut board, access, updates, &is_ended);
    ratatui::restore();
    result
}

fn draw_until_end(
    terminal: &mut ratatui::DefaultTerminal,
    board: &mut Board,
    access: &Access,
    updates: &Receiver<Update>,
    is_ended: &SignalFlag,
) -> Result<(), Failure> {
    let broken = |error| Failure::File(format!("cannot use the terminal: {error}"));
    let mut watch: Option<(usize, Watch)> = None;
    let mut drawn: Option<Instant> = None;
    while !is_ended.load(Ordering::Relaxed) {
        let mut is_changed = drawn.is_none_or(|drawn| drawn.elapsed() > REDRAW);
        while let Ok(update) = updates.try_recv() {
            board.take(update);
            is_changed = true;
        }
        // Who looks at hot keys has the chosen node watched, and only that.
        let is_wanted = board.tab == Tab::HotKeys && !board.node().has_admin;
        let wanted = is_wanted.then_some(board.chosen);
        if watch.as_ref().map(|(node, _)| *node) != wanted {
            watch = wanted.map(|node| (node, Watch::start(&board.nodes[node].address, access)));
        }
        if is_changed {
            if let Some((node, watch)) = &watch {
                board.nodes[*node].hot_keys = Some(watch.seen());
            }
            terminal.draw(|frame| view::draw(frame, board)).map_err(broken)?;
            drawn = Some(Instant::now());
        }
        if event::poll(KEY_WAIT).map_err(broken)? {
            match event::read().map_err(broken)? {
                Event::Key(key) if key.kind == KeyEventKind::Press => {
                    if is_quit(key) {
                        return Ok(());
                    }
                    press(board, key.code);
                    drawn = None;
                }
                Event::Resize(..) => drawn = None,
                _ => {}
            }
        }
    }
    Ok(())
}

fn is_quit(key: KeyEvent) -> bool {
    let has_control = key.modifiers.contains(KeyModifiers::CONTROL);
    matches!(key.code, KeyCode::Char('q') | KeyCode::Esc) || has_control && key.code == KeyCode::Char('c')
}

/// What a key does to the board.
fn press(board: &mut Board, code: KeyCode) {
    match code {
        KeyCode::Down | KeyCode::Char('j') => board.choose(1),
        KeyCode::Up | KeyCode::Char('k') => board.choose(-1),
        KeyCode::Right | KeyCode::Tab => board.turn(1),
        KeyCode::Left | KeyCode::BackTab => board.turn(-1),
        KeyCode::PageDown => board.scroll(SCROLL_LINES),
        KeyCode::PageUp => board.scroll(-SCROLL_LINES),
        KeyCode::Char(digit @ '1'..='6') => board.open(digit as usize - '1' as usize),
        _ => {}
    }
}

/// What happened between two looks is known after so many.
const LOOKS_FOR_RATES: u64 = 2;

/// How long a key press is waited for before updates are looked at again.
const KEY_WAIT: Duration = Duration::from_millis(50);

/// Without news the picture is drawn anew after this, for ages that grow.
const REDRAW: Duration = Duration::from_secs(1);

const SCROLL_LINES: isize = 10;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_move_the_board() {
        let target = |host| Target { address: Address::parse(host).expect("an address"), admin: None };
        let mut board = Board::new(&["a", "b", "c"].map(target), Duration::from_secs(1));
        for (code, chosen, tab) in [
            (KeyCode::Down, 1, Tab::Overview),
            (KeyCode::Char('j'), 2, Tab::Overview),
            (KeyCode::Down, 2, Tab::Overview),
            (KeyCode::Up, 1, Tab::Overview),
            (KeyCode::Right, 1, Tab::Slabs),
            (KeyCode::Char('5'), 1, Tab::Warnings),
            (KeyCode::Tab, 1, Tab::Requests),
            (KeyCode::Tab, 1, Tab::Overview),
            (KeyCode::BackTab, 1, Tab::Requests),
            (KeyCode::Char('4'), 1, Tab::HotKeys),
            (KeyCode::Char('7'), 1, Tab::HotKeys),
            (KeyCode::Char('6'), 1, Tab::Requests),
        ] {
            press(&mut board, code);
            assert_eq!((board.chosen, board.tab), (chosen, tab), "{code:?}");
        }
        press(&mut board, KeyCode::PageDown);
        assert_eq!(board.scrolled, 10);
        press(&mut board, KeyCode::PageUp);
        press(&mut board, KeyCode::PageUp);
        assert_eq!(board.scrolled, 0);
    }

    #[test]
    fn three_keys_quit() {
        for (code, modifiers, expected) in [
            (KeyCode::Char('q'), KeyModifiers::NONE, true),
            (KeyCode::Esc, KeyModifiers::NONE, true),
            (KeyCode::Char('c'), KeyModifiers::CONTROL, true),
            (KeyCode::Char('c'), KeyModifiers::NONE, false),
        ] {
            assert_eq!(is_quit(KeyEvent::new(code, modifiers)), expected);
        }
    }
}
