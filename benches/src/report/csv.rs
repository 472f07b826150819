//! Every sample of a run, one figure per line, in the unit of the sample (seconds as nanoseconds, memory as bytes).

use std::fmt::Write as _;

use crate::runner::Run;

/// `workload,server,round,metric,value`
pub fn render(run: &Run) -> String {
    let mut out = "workload,server,round,metric,value\n".to_string();
    for workload in &run.measured {
        for ((server, _), rounds) in run.servers.iter().zip(&workload.samples) {
            for (round, sample) in (1..).zip(rounds) {
                for (metric, value) in sample {
                    writeln!(out, "{},{server},{round},{metric:?},{value}", workload.name)
                        .expect("a string takes every write");
                }
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::fixture;

    #[test]
    fn a_line_per_figure() {
        let text = render(&fixture::run());
        assert_eq!(text.lines().count(), 1 + 4 * 3 + 2);
        assert!(text.contains("\nget-1,theirs,2,CpuTime,1000\n"), "{text}");
    }
}
