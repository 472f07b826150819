//! What a run leaves: Markdown tables on standard output, and with `--output` the same as a file together with every
//! sample ([`csv`]) and a plot of the ratios ([`plot`]). Both know the targets ([`target`]).

pub mod csv;
pub mod markdown;
pub mod plot;
pub mod target;

use std::fs;
use std::path::Path;

use crate::error::Error;
use crate::metric::Metric;
use crate::runner::{Measured, Run};
use crate::statistics::{Summary, paired_ratios};

/// Makes the folder of a report if need be, before anything has been measured in vain.
pub fn make_folder(folder: &Path) -> Result<(), Error> {
    fs::create_dir_all(folder).map_err(Error::system("make the folder of the report"))
}

/// Writes all files into a folder.
pub fn write(run: &Run, machine: &str, markdown: &str, folder: &Path) -> Result<(), Error> {
    let write = |name: &str, text: &str| fs::write(folder.join(name), text).map_err(Error::system("write the report"));
    write("results.md", markdown)?;
    write("samples.csv", &csv::render(run))?;
    write("ratios.svg", &plot::render(run, machine))
}

impl Measured {
    /// The metrics that all servers have, in the order of the columns.
    pub fn metrics(&self) -> Vec<Metric> {
        let Some(first) = self.samples.first().and_then(|rounds| rounds.first()) else {
            return Vec::new();
        };
        let is_everywhere = |metric: &Metric| self.samples.iter().flatten().all(|sample| sample.contains_key(metric));
        first.keys().copied().filter(is_everywhere).collect()
    }

    /// The rounds of a server, summarized.
    pub fn summary(&self, server: usize, metric: Metric) -> Option<Summary> {
        Summary::of(&self.values(server, metric))
    }

    /// A server over the reference, which is the last one.
    pub fn ratio(&self, server: usize, metric: Metric) -> Option<Summary> {
        let reference = self.samples.len().checked_sub(1)?;
        paired_ratios(&self.values(server, metric), &self.values(reference, metric))
    }

    fn values(&self, server: usize, metric: Metric) -> Vec<f64> {
        self.samples[server].iter().filter_map(|sample| sample.get(&metric).copied()).collect()
    }
}

#[cfg(test)]
pub mod fixture {
    //! A run for the tests of the report.

    use super::*;
    use crate::metric::Sample;

    /// Two servers, two workloads, two rounds.
    pub fn run() -> Run {
        let sample = |figures: &[(Metric, f64)]| figures.iter().copied().collect::<Sample>();
        let load = |rate, cost| sample(&[(Metric::OperationRate, rate), (Metric::CpuTime, cost), (Metric::P99, 5e4)]);
        let density = |items| sample(&[(Metric::Items, items)]);
        Run {
            servers: vec![("ours".to_string(), "1.0".to_string()), ("theirs".to_string(), "2.0".to_string())],
            measured: vec![
                Measured {
                    name: "get-1",
                    headline: Metric::CpuTime,
                    is_shared: false,
                    samples: vec![
                        vec![load(2000.0, 250.0), load(4000.0, 250.0)],
                        vec![load(1000.0, 500.0), load(2000.0, 1000.0)],
                    ],
                },
                Measured {
                    name: "density-10",
                    headline: Metric::Items,
                    is_shared: false,
                    samples: vec![vec![density(300.0)], vec![density(200.0)]],
                },
            ],
            failure: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ratios_are_over_the_last_server() {
        let run = fixture::run();
        let get = &run.measured[0];
        assert_eq!(get.ratio(0, Metric::OperationRate).unwrap().median, 2.0);
        let cost = get.ratio(0, Metric::CpuTime).unwrap();
        assert_eq!((cost.min, cost.median, cost.max), (0.25, 0.375, 0.5));
        assert_eq!(get.ratio(1, Metric::CpuTime).unwrap().median, 1.0);
        assert_eq!(get.ratio(0, Metric::Items), None);
    }

    #[test]
    fn metrics_are_those_that_everyone_has() {
        let mut run = fixture::run();
        run.measured[0].samples[1][0].remove(&Metric::P99);
        assert_eq!(run.measured[0].metrics(), [Metric::OperationRate, Metric::CpuTime]);
    }
}
