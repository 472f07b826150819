//! The tables. Workloads that yield the same figures share a table, so that no cell is empty; then a table of ratios
//! and one of targets.

use std::fmt::Write as _;

use crate::metric::{Direction, Metric};
use crate::report::target;
use crate::runner::{Measured, Run};

/// The whole report; `machine` is a line about where it was made and `method` one about how.
pub fn render(run: &Run, machine: &str, method: &str) -> String {
    let mut out = String::new();
    line(&mut out, &format!("# {}\n", title(run)));
    for (name, version) in &run.servers {
        line(&mut out, &format!("- {name}: version {version}"));
    }
    line(&mut out, &format!("- {machine}"));
    line(&mut out, &format!("- {method}"));
    let shared: Vec<&str> = run.measured.iter().filter(|it| it.is_shared).map(|it| it.name).collect();
    if !shared.is_empty() {
        let text = "server and client shared cores, which leaves little meaning to rates and latencies";
        line(&mut out, &format!("- {text}: {}", shared.join(", ")));
    }
    for group in groups(&run.measured) {
        figures(&mut out, run, &group);
    }
    if run.servers.len() > 1 {
        ratios(&mut out, run);
        targets(&mut out, run);
    }
    out
}

fn title(run: &Run) -> String {
    let names: Vec<&str> = run.servers.iter().map(|(name, _)| name.as_str()).collect();
    names.join(" and ")
}

/// Workloads by the figures they yield, in the order of their first appearance.
fn groups(measured: &[Measured]) -> Vec<Vec<&Measured>> {
    let mut groups: Vec<Vec<&Measured>> = Vec::new();
    for workload in measured {
        match groups.iter_mut().find(|group| group[0].metrics() == workload.metrics()) {
            Some(group) => group.push(workload),
            None => groups.push(vec![workload]),
        }
    }
    groups
}

/// Medians of the rounds; the first column of figures and the headline have their spread.
fn figures(out: &mut String, run: &Run, group: &[&Measured]) {
    let metrics = group[0].metrics();
    let mut heads = vec!["workload".to_string(), "server".to_string()];
    heads.extend(metrics.iter().map(|metric| metric.description().title.to_string()));
    head(out, &heads);
    for workload in group {
        for (index, (server, _)) in run.servers.iter().enumerate() {
            let mut cells = vec![workload.name.to_string(), server.clone()];
            for &metric in &metrics {
                cells.push(cell(workload, index, metric));
            }
            row(out, &cells);
        }
    }
}

fn cell(workload: &Measured, server: usize, metric: Metric) -> String {
    let Some(summary) = workload.summary(server, metric) else {
        return String::new();
    };
    let text = metric.description().format(summary.median);
    let has_spread = metric == Metric::OperationRate || metric == workload.headline;
    match has_spread && workload.samples[server].len() > 1 {
        true => format!("{text} ±{:.0} %", summary.spread() * 100.0),
        false => text,
    }
}

/// Medians of the ratios to the reference, with the range over the rounds.
fn ratios(out: &mut String, run: &Run) {
    let reference = run.servers.len() - 1;
    line(out, &format!("\nRatios to {}, median (lowest to highest round):", run.servers[reference].0));
    for group in groups(&run.measured) {
        let is_compared = |metric: &Metric| metric.description().direction != Direction::Neither;
        let metrics: Vec<Metric> = group[0].metrics().into_iter().filter(is_compared).collect();
        let mut heads = vec!["workload".to_string(), "server".to_string()];
        heads.extend(metrics.iter().map(|metric| metric.description().name().to_string()));
        head(out, &heads);
        for workload in group {
            for (index, (server, _)) in run.servers[..reference].iter().enumerate() {
                let mut cells = vec![workload.name.to_string(), server.clone()];
                for &metric in &metrics {
                    cells.push(workload.ratio(index, metric).map_or(String::new(), |ratio| {
                        match workload.samples[index].len() {
                            1 => format!("{:.2}", ratio.median),
                            _ => format!("{:.2} ({:.2} to {:.2})", ratio.median, ratio.min, ratio.max),
                        }
                    }));
                }
                row(out, &cells);
            }
        }
    }
}

/// What was to be reached, and what was. A target whose figure this machine does not give stays without one.
fn targets(out: &mut String, run: &Run) {
    let mut rows = Vec::new();
    for workload in &run.measured {
        for target in target::of(workload.name) {
            for (index, (server, _)) in run.servers[..run.servers.len() - 1].iter().enumerate() {
                let measured = target.measured(workload, index).map(|summary| summary.median);
                let (shown, verdict) = match measured {
                    Some(value) => (target.format(value), if target.is_met(value) { "yes" } else { "no" }),
                    None => (String::new(), "not measured"),
                };
                let title = target.title(workload);
                let cells = [workload.name, server, &title, &target.bound(), &shown, verdict];
                rows.push(cells.map(str::to_string));
            }
        }
    }
    if rows.is_empty() {
        return;
    }
    line(out, &format!("\nTargets; ratios are to {}:", run.servers[run.servers.len() - 1].0));
    head(out, &["workload", "server", "figure", "target", "measured", "met"].map(str::to_string));
    rows.iter().for_each(|cells| row(out, cells));
}

fn head(out: &mut String, cells: &[String]) {
    line(out, "");
    row(out, cells);
    let rule: Vec<String> = (0..cells.len()).map(|index| if index < 2 { "---" } else { "---:" }.to_string()).collect();
    row(out, &rule);
}

fn row(out: &mut String, cells: &[String]) {
    line(out, &format!("| {} |", cells.join(" | ")));
}

fn line(out: &mut String, text: &str) {
    writeln!(out, "{text}").expect("a string takes every write");
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::fixture;

    #[test]
    fn a_report() {
        let expected = "\
# ours and theirs

- ours: version 1.0
- theirs: version 2.0
- a machine
- a method

| workload | server | ops/s | CPU ns/op | p99 µs |
| --- | --- | ---: | ---: | ---: |
| get-1 | ours | 3 000 ±33 % | 250 ±0 % | 50 |
| get-1 | theirs | 1 500 ±33 % | 750 ±33 % | 50 |

| workload | server | items held |
| --- | --- | ---: |
| density-10 | ours | 300 |
| density-10 | theirs | 200 |

Ratios to theirs, median (lowest to highest round):

| workload | server | ops/s | CPU ns/op | p99 |
| --- | --- | ---: | ---: | ---: |
| get-1 | ours | 2.00 (2.00 to 2.00) | 0.38 (0.25 to 0.50) | 1.00 (1.00 to 1.00) |

| workload | server | items held |
| --- | --- | ---: |
| density-10 | ours | 1.50 |

Targets; ratios are to theirs:

| workload | server | figure | target | measured | met |
| --- | --- | ---: | ---: | ---: | ---: |
| get-1 | ours | instr u/op | ≤ 700 |  | not measured |
| get-1 | ours | CPU time/op, ratio | ≤ 0.88 | 0.375 | yes |
| density-10 | ours | items held, ratio | ≥ 1.45 | 1.500 | yes |
| density-10 | ours | RSS, ratio | ≤ 1.00 |  | not measured |
";
        assert_eq!(render(&fixture::run(), "a machine", "a method"), expected);
    }

    #[test]
    fn one_server_has_no_ratios() {
        let mut run = fixture::run();
        run.servers.pop();
        run.measured.iter_mut().for_each(|it| drop(it.samples.pop()));
        assert!(!render(&run, "", "").contains("Ratios"));
    }
}
