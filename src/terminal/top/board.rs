//! What `top` knows of the nodes, and what of it is looked at. No terminal here, so tests can play it.

use std::collections::VecDeque;
use std::time::Duration;

use super::super::address::Address;
use super::super::failure::Failure;
use super::super::findings::{Finding, Level, Limits, findings};
use super::super::inside::Inside;
use super::super::sample::{Rates, Sample};
use super::poll::{Seen, Target, Update};

/// Everything that is drawn.
#[derive(Debug)]
pub struct Board {
    /// In the order of the command line; never empty.
    pub nodes: Vec<Node>,
    /// The node that is looked at closely: `chosen < nodes.len()`.
    pub chosen: usize,
    /// What is shown of it.
    pub tab: Tab,
    /// Lines that its list is scrolled down.
    pub scrolled: usize,
    /// Whether hot keys are printed, where nothing is drawn.
    pub prints_hot_keys: bool,
    /// Time between two looks.
    pub interval: Duration,
}

/// What can be shown of a node.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Tab {
    /// Figures and their history.
    Overview,
    /// Memory by slab class.
    Slabs,
    /// What differs from the default.
    Settings,
    /// Which keys are asked for most.
    HotKeys,
    /// What is wrong.
    Warnings,
    /// How long requests take and what they store, as the admin listener says.
    Requests,
}

/// All tabs in their order.
pub const TABS: &[(Tab, &str)] = &[
    (Tab::Overview, "Overview"),
    (Tab::Slabs, "Slabs"),
    (Tab::Settings, "Settings"),
    (Tab::HotKeys, "Hot keys"),
    (Tab::Warnings, "Warnings"),
    (Tab::Requests, "Requests"),
];

/// A node and its past.
#[derive(Debug)]
pub struct Node {
    /// Where it is.
    pub address: Address,
    /// Whether its admin listener is asked.
    pub has_admin: bool,
    /// What it said last, or why it did not; `None` before the first look.
    pub last: Option<Result<Sample, Failure>>,
    /// What happened between the last two looks, where that can be told.
    pub rates: Option<Rates>,
    /// The newest last; `history.len() <= HISTORY_MAX`.
    pub history: VecDeque<Point>,
    /// What its admin listener said last, or why it did not; `None` where it is not asked.
    pub inside: Option<Result<Inside, Failure>>,
    /// What is wrong with it, by its statistics and by its admin listener, the worst first.
    pub findings: Vec<Finding>,
    /// The keys it was asked for, while it is watched.
    pub hot_keys: Option<Seen>,
    /// Looks taken.
    pub looks: u64,
}

/// A node at one look. `None` is: not known, for a node that was down or had just come up.
#[derive(Clone, Copy, Default, PartialEq, Debug)]
pub struct Point {
    /// Commands on keys per second.
    pub operations: Option<u64>,
    /// Hits per thousand gets.
    pub hit_permille: Option<u64>,
    /// Round trip in microseconds.
    pub round_trip_micros: Option<u64>,
    /// Evictions per second.
    pub evictions: Option<u64>,
    /// Connections.
    pub connections: Option<u64>,
}

impl Board {
    /// Nodes nobody has looked at yet.
    pub fn new(targets: &[Target], interval: Duration) -> Board {
        let nodes = targets.iter().map(Node::new).collect();
        Board { nodes, chosen: 0, tab: Tab::Overview, scrolled: 0, prints_hot_keys: false, interval }
    }

    /// Takes what came of a look.
    pub fn take(&mut self, update: Update) {
        if let Some(node) = self.nodes.get_mut(update.node) {
            node.take(update.result, update.inside);
        }
    }

    /// The node that is looked at closely.
    pub fn node(&self) -> &Node {
        &self.nodes[self.chosen]
    }

    /// Chooses a node further down or up.
    pub fn choose(&mut self, step: isize) {
        self.chosen = self.chosen.saturating_add_signed(step).min(self.nodes.len() - 1);
        self.scrolled = 0;
    }

    /// Turns to a tab further right or left, round the ends.
    pub fn turn(&mut self, step: isize) {
        let at = TABS.iter().position(|(tab, _)| *tab == self.tab).unwrap_or(0);
        self.open((at + TABS.len()).saturating_add_signed(step) % TABS.len());
    }

    /// Turns to a tab by its place.
    pub fn open(&mut self, at: usize) {
        if let Some((tab, _)) = TABS.get(at) {
            self.tab = *tab;
            self.scrolled = 0;
        }
    }

    /// Scrolls the tab's list.
    pub fn scroll(&mut self, lines: isize) {
        self.scrolled = self.scrolled.saturating_add_signed(lines).min(SCROLL_MAX);
    }
}

impl Node {
    fn new(target: &Target) -> Node {
        Node {
            address: target.address.clone(),
            has_admin: target.admin.is_some(),
            last: None,
            rates: None,
            history: VecDeque::new(),
            inside: None,
            findings: Vec::new(),
            hot_keys: None,
            looks: 0,
        }
    }

    /// What it said last, if that was not a failure.
    pub fn sample(&self) -> Option<&Sample> {
        self.last.as_ref()?.as_ref().ok()
    }

    /// What its admin listener said last, if that was not a failure.
    pub fn inside(&self) -> Option<&Inside> {
        self.inside.as_ref()?.as_ref().ok()
    }

    /// Why it is down.
    pub fn failure(&self) -> Option<&Failure> {
        self.last.as_ref()?.as_ref().err()
    }

    fn take(&mut self, result: Result<Sample, Failure>, inside: Option<Result<Inside, Failure>>) {
        self.looks += 1;
        self.rates = match (self.sample(), &result) {
            (Some(before), Ok(after)) => Rates::between(before, after),
            _ => None,
        };
        self.findings = result.as_ref().map_or(Vec::new(), |sample| findings(sample, &Limits::default()));
        match &inside {
            Some(Ok(inside)) => self.findings.extend(inside.warnings.iter().cloned()),
            Some(Err(failure)) => {
                let text = format!("its admin listener does not answer: {failure}");
                self.findings.push(Finding { level: Level::Warning, text });
            }
            None => {}
        }
        self.findings.sort_by_key(|finding| std::cmp::Reverse(finding.level));
        self.inside = inside;
        if self.history.len() == HISTORY_MAX {
            self.history.pop_front();
        }
        self.history.push_back(point(result.as_ref().ok(), self.rates.as_ref()));
        self.last = Some(result);
    }
}

fn point(sample: Option<&Sample>, rates: Option<&Rates>) -> Point {
    Point {
        operations: rates.map(|rates| rates.operations.round() as u64),
        hit_permille: rates.and_then(|rates| rates.hit_ratio).map(|ratio| (ratio * 1000.0).round() as u64),
        round_trip_micros: sample.and_then(|sample| u64::try_from(sample.round_trip.as_micros()).ok()),
        evictions: rates.map(|rates| rates.evictions.round() as u64),
        connections: sample.map(|sample| sample.number("curr_connections")),
    }
}

/// Looks that are remembered; wider than any terminal.
const HISTORY_MAX: usize = 600;

/// Further than any list is long.
const SCROLL_MAX: usize = 1000;

/// Boards of recorded answers, for tests.
#[cfg(test)]
pub mod testing {
    use std::time::{Duration, Instant};

    use super::super::super::address::Address;
    use super::super::super::failure::Failure;
    use super::super::super::inside::testing::inside;
    use super::super::super::sample::testing::sample;
    use super::super::poll::{Target, Update};
    use super::Board;

    /// Three nodes: memcached, slabstash with its admin listener, and one that is down; three looks each.
    pub fn board() -> Board {
        let addresses = ["127.0.0.1:23111", "[::1]:23112", "unix:/run/cache.sock"];
        let addresses: Vec<Address> = addresses.iter().map(|text| Address::parse(text).expect("an address")).collect();
        let admins = [None, Address::parse("[::1]:9150").ok(), None];
        let targets = addresses.iter().cloned().zip(admins).map(|(address, admin)| Target { address, admin });
        let mut board = Board::new(&targets.collect::<Vec<_>>(), Duration::from_secs(1));
        let start = Instant::now();
        for look in 0..3u64 {
            let taken = start + Duration::from_secs(look);
            let counters = [
                ("uptime", 100 + look),
                ("cmd_get", 10_000 * look * (look + 1)),
                ("get_hits", 9_000 * look * (look + 1)),
                ("get_misses", 1_000 * look * (look + 1)),
                ("cmd_set", 2_000 * look),
                ("evictions", 42_224 + 12 * look),
            ];
            board.take(Update { node: 0, result: Ok(sample("memcached", taken, &counters)), inside: None });
            let inside = Some(Ok(inside()));
            board.take(Update { node: 1, result: Ok(sample("slabstash", taken, &counters)), inside });
            let failure = Failure::Unreachable { address: addresses[2].clone(), cause: "no such file".to_owned() };
            board.take(Update { node: 2, result: Err(failure), inside: None });
        }
        board
    }
}

#[cfg(test)]
mod tests {
    use super::testing::board;
    use super::*;

    #[test]
    fn looks_become_history() {
        let board = board();
        let operations: Vec<Option<u64>> = board.nodes[0].history.iter().map(|point| point.operations).collect();
        assert_eq!(operations, [None, Some(22_000), Some(42_000)]);
        assert_eq!(board.nodes[1].history[2].hit_permille, Some(900));
        assert_eq!(board.nodes[2].history[2], Point::default());
        assert!(board.nodes[2].sample().is_none() && board.nodes[2].failure().is_some());
    }

    #[test]
    fn a_node_that_comes_back_has_rates_after_two_looks() {
        let mut board = board();
        let up = board.nodes[0].last.take();
        board.nodes[0].last = board.nodes[2].last.clone();
        let sample = up.and_then(Result::ok).expect("a sample");
        board.take(Update { node: 0, result: Ok(sample.clone()), inside: None });
        assert_eq!(board.nodes[0].rates, None);
        let mut later = sample;
        later.taken += Duration::from_secs(1);
        board.take(Update { node: 0, result: Ok(later), inside: None });
        assert_eq!(board.nodes[0].rates.map(|rates| rates.operations), Some(0.0));
    }

    #[test]
    fn what_the_admin_listener_says_is_found_wrong_too() {
        let mut board = board();
        let texts = |board: &Board| -> Vec<(Level, String)> {
            board.nodes[1].findings.iter().map(|finding| (finding.level, finding.text.clone())).collect()
        };
        let found = texts(&board);
        assert_eq!(found[0], (Level::Critical, "Worker 1 stands.".to_owned()));
        assert!(
            found.contains(&(Level::Warning, "Memory is short.".to_owned()))
                && found.is_sorted_by_key(|one| std::cmp::Reverse(one.0))
        );
        let sample = board.nodes[1].sample().expect("it is up").clone();
        let address = Address::parse("127.0.0.1:9150").expect("an address");
        board.take(Update { node: 1, result: Ok(sample), inside: Some(Err(Failure::Silent { address })) });
        assert!(board.nodes[1].inside().is_none() && board.nodes[1].sample().is_some());
        let text = "its admin listener does not answer: 127.0.0.1:9150: no answer in time".to_owned();
        assert!(texts(&board).contains(&(Level::Warning, text)));
    }

    #[test]
    fn history_is_bounded() {
        let mut board = board();
        for _ in 0..2 * HISTORY_MAX {
            let result = board.nodes[2].last.clone().expect("a look");
            board.take(Update { node: 2, result, inside: None });
        }
        assert_eq!(board.nodes[2].history.len(), HISTORY_MAX);
    }
}
