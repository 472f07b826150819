//! What is measured: one row per metric says how it is called, in which unit it is printed and which direction is good.
//! A [`Sample`] is what one round on one server gave.

use std::collections::BTreeMap;

/// A figure that a round can yield. The order is that of the columns.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Metric {
    /// Requests per second that the client offered, whatever came back.
    OfferedRate,
    /// Verified operations per second.
    OperationRate,
    /// Instructions per operation, in the server's own code.
    UserInstructions,
    /// Instructions per operation, in the kernel on the server's behalf.
    KernelInstructions,
    /// Cycles per operation, in the server's own code.
    UserCycles,
    /// Cycles per operation, in the kernel on the server's behalf.
    KernelCycles,
    /// The server's processor time per operation.
    CpuTime,
    /// The cost of an operation (see [`cost`]) over that of the same server with one worker.
    WorkerCost,
    /// The cost of an operation over that of the same server without the admin listener.
    ObservedCost,
    /// The server's processor time over wall time; 100 is one core.
    Busy,
    /// Half of the batches were answered within this time.
    P50,
    /// 99 of 100 batches were answered within this time.
    P99,
    /// 999 of 1000 batches were answered within this time.
    P999,
    /// Bytes per second of large values that streamed beside the requests.
    Streamed,
    /// Items that the server holds.
    Items,
    /// Gets that found nothing, over all gets.
    MissShare,
    /// Sets that the server refused for want of memory, in a million.
    Refused,
    /// Bytes of keys and values held over resident memory.
    DataShare,
    /// Resident memory without the bytes of keys and values, per item.
    ItemOverhead,
    /// Resident memory over the memory limit, at the end.
    LimitShare,
    /// The highest of those that were taken.
    LimitShareMax,
    /// The share of the newest items that the server holds at the end.
    Held,
    /// The lowest of those that were taken.
    HeldMin,
    /// Seconds until the hit ratio is back after a change.
    BackAfter,
    /// Hits over gets in the last second.
    HitRatio,
    /// Growth of resident memory per open connection.
    ConnectionBytes,
    /// The server's resident memory.
    ResidentMemory,
}

/// Whether a larger figure is an advantage.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// More is better.
    Up,
    /// Less is better.
    Down,
    /// A circumstance, neither good nor bad.
    Neither,
}

/// How a metric is shown.
pub struct Description {
    /// The metric.
    pub metric: Metric,
    /// The head of its column, with the unit.
    pub title: &'static str,
    /// A unit of the column in units of the sample.
    pub scale: f64,
    /// Digits after the point.
    pub decimals: usize,
    /// What is an advantage.
    pub direction: Direction,
}

/// Every metric, in the order of the columns.
pub const DESCRIPTIONS: &[Description] = &[
    row(Metric::OfferedRate, "offered/s", 1.0, 0, Direction::Neither),
    row(Metric::OperationRate, "ops/s", 1.0, 0, Direction::Up),
    row(Metric::UserInstructions, "instr u/op", 1.0, 0, Direction::Down),
    row(Metric::KernelInstructions, "instr k/op", 1.0, 0, Direction::Down),
    row(Metric::UserCycles, "cycles u/op", 1.0, 0, Direction::Down),
    row(Metric::KernelCycles, "cycles k/op", 1.0, 0, Direction::Down),
    row(Metric::CpuTime, "CPU ns/op", 1.0, 0, Direction::Down),
    row(Metric::WorkerCost, "cost to 1 worker", 1.0, 2, Direction::Down),
    row(Metric::ObservedCost, "cost to unobserved", 1.0, 3, Direction::Down),
    row(Metric::Busy, "busy %", 0.01, 0, Direction::Neither),
    row(Metric::P50, "p50 µs", 1e3, 0, Direction::Down),
    row(Metric::P99, "p99 µs", 1e3, 0, Direction::Down),
    row(Metric::P999, "p99.9 µs", 1e3, 0, Direction::Down),
    row(Metric::Streamed, "streamed MiB/s", 1048576.0, 0, Direction::Neither),
    row(Metric::Items, "items held", 1.0, 0, Direction::Up),
    row(Metric::MissShare, "misses %", 0.01, 2, Direction::Down),
    row(Metric::Refused, "refused ppm", 1.0, 0, Direction::Down),
    row(Metric::DataShare, "data/RSS", 1.0, 3, Direction::Up),
    row(Metric::ItemOverhead, "overhead B/item", 1.0, 1, Direction::Down),
    row(Metric::LimitShare, "RSS/-m", 1.0, 3, Direction::Down),
    row(Metric::LimitShareMax, "highest RSS/-m", 1.0, 3, Direction::Down),
    row(Metric::Held, "held %", 0.01, 1, Direction::Up),
    row(Metric::HeldMin, "lowest held %", 0.01, 1, Direction::Up),
    row(Metric::BackAfter, "back after s", 1.0, 0, Direction::Down),
    row(Metric::HitRatio, "hit %", 0.01, 1, Direction::Up),
    row(Metric::ConnectionBytes, "RSS B/connection", 1.0, 0, Direction::Down),
    row(Metric::ResidentMemory, "RSS MiB", 1048576.0, 1, Direction::Down),
];

const fn row(metric: Metric, title: &'static str, scale: f64, decimals: usize, direction: Direction) -> Description {
    Description { metric, title, scale, decimals, direction }
}

impl Metric {
    /// Its row of the table.
    pub fn description(self) -> &'static Description {
        let is_own = |row: &&Description| row.metric == self;
        DESCRIPTIONS.iter().find(is_own).expect("a test checks that every metric has a row")
    }
}

impl Description {
    /// The head without a unit that a ratio does not have; "per operation" stays, for it says what it is a ratio of.
    pub fn name(&self) -> &'static str {
        self.title.trim_end_matches(" µs").trim_end_matches(" MiB")
    }

    /// A figure in the unit of the column, with a space between groups of three digits.
    pub fn format(&self, value: f64) -> String {
        let text = format!("{:.*}", self.decimals, value / self.scale);
        let (whole, rest) = text.split_at(text.find('.').unwrap_or(text.len()));
        let mut grouped = String::new();
        for (index, digit) in whole.chars().enumerate() {
            let left = whole.len() - index;
            if index > 0 && left % 3 == 0 && !grouped.ends_with('-') {
                grouped.push(' ');
            }
            grouped.push(digit);
        }
        grouped + rest
    }
}

/// The figures of one round on one server; what the workload does not measure is absent.
pub type Sample = BTreeMap<Metric, f64>;

/// What an operation costs: all its cycles where the processor counts them, otherwise its processor time.
pub fn cost(sample: &Sample) -> Option<f64> {
    match (sample.get(&Metric::UserCycles), sample.get(&Metric::KernelCycles)) {
        (Some(user), Some(kernel)) => Some(user + kernel),
        _ => sample.get(&Metric::CpuTime).copied(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_in_the_order_of_the_enum() {
        for (index, description) in DESCRIPTIONS.iter().enumerate() {
            assert_eq!(description.metric as usize, index, "{}", description.title);
        }
        assert_eq!(Metric::ResidentMemory as usize + 1, DESCRIPTIONS.len());
    }

    #[test]
    fn cycles_come_before_time() {
        let mut sample = Sample::from([(Metric::CpuTime, 5.0), (Metric::UserCycles, 7.0)]);
        assert_eq!(cost(&sample), Some(5.0));
        sample.insert(Metric::KernelCycles, 1.0);
        assert_eq!(cost(&sample), Some(8.0));
        assert_eq!(cost(&Sample::new()), None);
    }

    #[test]
    fn numbers_are_grouped_and_scaled() {
        #[track_caller]
        fn check(metric: Metric, value: f64, expected: &str) {
            assert_eq!(metric.description().format(value), expected);
        }
        check(Metric::OperationRate, 0.4, "0");
        check(Metric::OperationRate, 999.0, "999");
        check(Metric::OperationRate, 1234567.0, "1 234 567");
        check(Metric::ConnectionBytes, -123456.0, "-123 456");
        check(Metric::ConnectionBytes, -12.0, "-12");
        check(Metric::P50, 1_234_000.0, "1 234");
        check(Metric::Busy, 0.985, "98");
        check(Metric::DataShare, 0.5954, "0.595");
        check(Metric::ResidentMemory, 1.5 * 1048576.0, "1.5");
    }
}
