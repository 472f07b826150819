//! The table of nodes: its columns, for the picture and the text.

use super::super::sample::{Rates, Sample};
use super::super::text::{bytes, count, latency, percent, seconds};
use super::board::Node;

/// A column of the table of nodes.
pub struct Column {
    /// Its heading.
    pub name: &'static str,
    /// Columns of the terminal it takes.
    pub width: u16,
    /// Where there is no room for all, those with the highest rank go first.
    pub rank: u8,
    /// What stands in it for a node that is up; nothing where it is not known.
    cell: fn(&Sample, Option<&Rates>) -> Option<String>,
}

/// All columns after the node's address and its state.
pub const COLUMNS: &[Column] = &[
    Column { name: "version", width: 8, rank: 9, cell: |sample, _| Some(sample.version().to_owned()) },
    Column { name: "up", width: 7, rank: 6, cell: |sample, _| Some(seconds(sample.number("uptime"))) },
    Column { name: "ops/s", width: 7, rank: 0, cell: |_, rates| Some(rate(rates?.operations)) },
    Column { name: "get/s", width: 7, rank: 5, cell: |_, rates| Some(rate(rates?.gets)) },
    Column { name: "set/s", width: 7, rank: 5, cell: |_, rates| Some(rate(rates?.sets)) },
    Column { name: "hit", width: 6, rank: 1, cell: |sample, rates| hit_ratio(sample, rates).map(percent) },
    Column { name: "trip", width: 8, rank: 4, cell: |sample, _| Some(latency(sample.round_trip)) },
    Column { name: "memory", width: 9, rank: 2, cell: |sample, _| Some(bytes(sample.paged_bytes)) },
    Column { name: "full", width: 6, rank: 3, cell: |sample, _| Some(percent(sample.memory_share().min(1.0))) },
    Column { name: "items", width: 6, rank: 7, cell: |sample, _| Some(count(sample.number("curr_items"))) },
    Column { name: "evict/s", width: 7, rank: 3, cell: |_, rates| Some(rate(rates?.evictions)) },
    Column { name: "oldest", width: 7, rank: 7, cell: |sample, _| sample.classes.oldest_seconds().map(seconds) },
    Column { name: "conns", width: 6, rank: 4, cell: |sample, _| Some(count(sample.number("curr_connections"))) },
    Column { name: "in/s", width: 9, rank: 8, cell: |_, rates| Some(bytes(rates?.bytes_in as u64)) },
    Column { name: "out/s", width: 9, rank: 8, cell: |_, rates| Some(bytes(rates?.bytes_out as u64)) },
];

impl Column {
    /// The cell of a node; a dash where it is not known.
    pub fn cell(&self, node: &Node) -> String {
        let known = node.sample().and_then(|sample| (self.cell)(sample, node.rates.as_ref()));
        known.unwrap_or_else(|| "-".to_owned())
    }
}

/// Those columns that fit beside each other into `width`, with a blank before each.
pub fn fitting(width: u16) -> Vec<&'static Column> {
    let mut columns: Vec<&Column> = COLUMNS.iter().collect();
    let total = |columns: &[&Column]| columns.iter().map(|column| column.width + 1).sum::<u16>();
    while total(&columns) > width {
        let last = columns.iter().enumerate().max_by_key(|(at, column)| (column.rank, *at));
        let Some((at, _)) = last else { break };
        columns.remove(at);
    }
    columns
}

/// The hit ratio of the last interval, or without gets in it since the start.
pub fn hit_ratio(sample: &Sample, rates: Option<&Rates>) -> Option<f64> {
    rates.and_then(|rates| rates.hit_ratio).or_else(|| sample.hit_ratio())
}

/// A rate per second.
pub fn rate(rate: f64) -> String {
    count(rate.round() as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(width: u16) -> Vec<&'static str> {
        fitting(width).iter().map(|column| column.name).collect()
    }

    #[test]
    fn the_least_important_columns_go_first() {
        assert_eq!(names(200).len(), COLUMNS.len());
        assert_eq!(names(41), ["ops/s", "hit", "memory", "full", "evict/s"]);
        assert_eq!(names(8), ["ops/s"]);
        assert!(names(0).is_empty());
    }
}
