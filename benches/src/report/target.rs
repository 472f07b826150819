//! What slabstash is to reach, as data: a row says for which workload, which figure, and how much. The report sets what
//! was measured beside it, and the plot has a mark where the headline's bar should end.
//!
//! A ratio is over the reference in the same round; the reference of the targets is memcached 1.6.45.

use crate::metric::{Direction, Metric, cost};
use crate::report::paired_ratios;
use crate::runner::Measured;
use crate::statistics::Summary;

/// A figure to be reached.
pub struct Target {
    /// The workload, or the family of several.
    workload: &'static str,
    /// What is looked at.
    pub subject: Subject,
    /// To what it is compared.
    pub scale: Scale,
    /// The value that is still good. Whether less or more is better, the metric says.
    pub value: f64,
}

/// What is looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Subject {
    /// All cycles of an operation, or its processor time where there are no counters.
    Cost,
    /// One metric.
    Only(Metric),
}

/// To what a figure is compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scale {
    /// The reference's.
    Ratio,
    /// Nothing: in the unit of the sample.
    Figure,
}

/// Names that stand for all workloads whose names begin with them and a dash.
const FAMILIES: [&str; 2] = ["density", "replay"];

/// Every target.
pub const TARGETS: &[Target] = &[
    figure("get-1", Metric::UserInstructions, 700.0),
    cost_ratio("get-1", 0.88),
    figure("set-1", Metric::UserInstructions, 1000.0),
    cost_ratio("set-1", 0.84),
    cost_ratio("get-pipelined", 0.22),
    cost_ratio("set-pipelined", 0.28),
    cost_ratio("multiget-50", 0.28),
    cost_ratio("mg-pipelined", 0.25),
    cost_ratio("binary-getq-pipelined", 0.25),
    cost_ratio("get-cold", 0.25),
    cost_ratio("get-64k", 0.90),
    cost_ratio("set-64k", 0.90),
    cost_ratio("get-1m", 0.90),
    cost_ratio("set-1m", 0.90),
    figure("two-workers-uniform", Metric::WorkerCost, 1.15),
    figure("two-workers-hot", Metric::WorkerCost, 1.5),
    figure("get-1-observed", Metric::ObservedCost, 1.01),
    figure("get-pipelined-observed", Metric::ObservedCost, 1.01),
    ratio("density-10", Metric::Items, 1.45),
    ratio("density-100", Metric::Items, 1.25),
    ratio("density-500", Metric::Items, 1.10),
    ratio("density-4000", Metric::Items, 1.13),
    ratio("density-mixed", Metric::Items, 1.15),
    ratio("density", Metric::ResidentMemory, 1.0),
    figure("density-100", Metric::ItemOverhead, 40.0),
    ratio("idle", Metric::ConnectionBytes, 1.0),
    ratio("open-50-streaming", Metric::P99, 0.8),
    ratio("open-50-streaming", Metric::P999, 0.8),
    ratio("open-80-streaming", Metric::P99, 0.8),
    ratio("open-80-streaming", Metric::P999, 0.8),
    ratio("connect-get-close", Metric::OperationRate, 1.0),
    ratio("replay", Metric::MissShare, 1.01),
    figure("replay", Metric::LimitShare, 1.1),
    // 1.10 of -m and 16 MiB, at -m 64.
    figure("regimes", Metric::LimitShare, 1.35),
    ratio("shift", Metric::BackAfter, 0.5),
    ratio("shift", Metric::P999, 1.0),
    cost_ratio("get-1-tls", 1.0),
    cost_ratio("get-pipelined-tls", 1.0),
];

const fn cost_ratio(workload: &'static str, value: f64) -> Target {
    Target { workload, subject: Subject::Cost, scale: Scale::Ratio, value }
}

const fn ratio(workload: &'static str, metric: Metric, value: f64) -> Target {
    Target { workload, subject: Subject::Only(metric), scale: Scale::Ratio, value }
}

const fn figure(workload: &'static str, metric: Metric, value: f64) -> Target {
    Target { workload, subject: Subject::Only(metric), scale: Scale::Figure, value }
}

/// The targets of a workload.
pub fn of(workload: &str) -> impl Iterator<Item = &'static Target> {
    TARGETS.iter().filter(move |target| {
        let is_of = |rest: &str| rest.is_empty() || (FAMILIES.contains(&target.workload) && rest.starts_with('-'));
        workload.strip_prefix(target.workload).is_some_and(is_of)
    })
}

impl Target {
    /// A ratio that nobody has set a value for.
    pub fn ratio_of(subject: Subject) -> Target {
        Target { workload: "", subject, scale: Scale::Ratio, value: 1.0 }
    }

    /// What a server, not the reference, has reached; `None` if it was not measured.
    pub fn measured(&self, workload: &Measured, server: usize) -> Option<Summary> {
        let candidate = self.subject.values(workload, server);
        match self.scale {
            Scale::Figure => Summary::of(&candidate),
            Scale::Ratio => {
                let reference = self.subject.values(workload, workload.samples.len() - 1);
                paired_ratios(&candidate, &reference)
            }
        }
    }

    /// Whether a value is good.
    pub fn is_met(&self, value: f64) -> bool {
        match self.subject.direction() {
            Direction::Up => value >= self.value,
            Direction::Down | Direction::Neither => value <= self.value,
        }
    }

    /// A measured value, with a digit more than the target has, so that it shows on which side it is.
    pub fn format(&self, value: f64) -> String {
        self.format_with(value, 3)
    }

    fn format_with(&self, value: f64, decimals: usize) -> String {
        match (self.scale, self.subject) {
            (Scale::Figure, Subject::Only(metric)) => metric.description().format(value),
            _ => format!("{value:.decimals$}"),
        }
    }

    /// `≤ 0.25`
    pub fn bound(&self) -> String {
        let sign = if self.subject.direction() == Direction::Up { "≥" } else { "≤" };
        format!("{sign} {}", self.format_with(self.value, 2))
    }

    /// What is compared, and with what.
    pub fn title(&self, workload: &Measured) -> String {
        match self.scale {
            Scale::Ratio => format!("{}, ratio", self.subject.title(workload)),
            Scale::Figure => self.subject.title(workload).to_string(),
        }
    }
}

impl Subject {
    /// What an advantage is.
    pub fn direction(self) -> Direction {
        match self {
            Subject::Cost => Direction::Down,
            Subject::Only(metric) => metric.description().direction,
        }
    }

    /// Its values by round.
    pub fn values(self, workload: &Measured, server: usize) -> Vec<f64> {
        let value = |sample| match self {
            Subject::Cost => cost(sample),
            Subject::Only(metric) => sample.get(&metric).copied(),
        };
        workload.samples[server].iter().filter_map(value).collect()
    }

    /// How it is called; the name of the cost tells what it was measured in.
    pub fn title(self, workload: &Measured) -> &'static str {
        let metrics = workload.metrics();
        match self {
            Subject::Only(metric) => metric.description().name(),
            Subject::Cost if metrics.contains(&Metric::KernelCycles) => "cycles/op",
            Subject::Cost => "CPU time/op",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::fixture;
    use crate::workload;

    #[test]
    fn every_target_belongs_to_a_workload() {
        for target in TARGETS {
            assert!(!workload::named(target.workload).is_empty(), "{}", target.workload);
        }
    }

    #[test]
    fn targets_of_a_name_and_of_its_family() {
        let subjects = |name| of(name).map(|target| target.subject).collect::<Vec<_>>();
        assert_eq!(subjects("get-cold"), [Subject::Cost]);
        assert_eq!(subjects("open-50"), []);
        let of_family = [Subject::Only(Metric::Items), Subject::Only(Metric::ResidentMemory)];
        assert_eq!(subjects("density-10"), of_family);
    }

    #[test]
    fn ratios_and_figures_are_met_or_not() {
        let run = fixture::run();
        let (get, density) = (&run.measured[0], &run.measured[1]);
        #[track_caller]
        fn check(target: &Target, workload: &Measured, measured: f64, is_met: bool, bound: &str) {
            assert_eq!(target.measured(workload, 0).unwrap().median, measured);
            assert_eq!((target.is_met(measured), target.bound().as_str()), (is_met, bound));
        }
        check(&cost_ratio("x", 0.38), get, 0.375, true, "≤ 0.38");
        check(&cost_ratio("x", 0.37), get, 0.375, false, "≤ 0.37");
        check(&ratio("x", Metric::Items, 1.5), density, 1.5, true, "≥ 1.50");
        check(&ratio("x", Metric::Items, 1.6), density, 1.5, false, "≥ 1.60");
        check(&figure("x", Metric::CpuTime, 250.0), get, 250.0, true, "≤ 250");
        assert_eq!(figure("x", Metric::UserInstructions, 1.0).measured(get, 0), None);
        assert_eq!(cost_ratio("x", 1.0).title(get), "CPU time/op, ratio");
    }
}
