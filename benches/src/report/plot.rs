//! The plot: per workload and server a bar for how many times better than the reference the headline figure is. The
//! scale is logarithmic, so that twice as good and half as good are bars of one length to either side of the line.
//!
//!     get-1            |####  1.3
//!     set-pipelined    |###########  3.9
//!     idle         ####|  0.7
//!                      1

use std::fmt::Write as _;

use crate::metric::{Direction, Metric};
use crate::runner::{Measured, Run};

/// An SVG picture.
pub fn render(run: &Run) -> String {
    let bars = bars(run);
    let reach = bars.iter().map(|bar| bar.gain.log2().abs()).fold(1.0, f64::max).ceil();
    let height = TOP + bars.len() as f64 * BAR_STEP + 20.0;
    let x = |gain: f64| LEFT + (gain.log2() + reach) / (2.0 * reach) * PLOT_WIDTH;
    let mut out = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{WIDTH}\" height=\"{height}\" \
         font-family=\"sans-serif\" font-size=\"12\">\n\
         <rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n"
    );
    let reference = run.servers.last().map_or("", |(name, _)| name.as_str());
    text(&mut out, 10.0, 20.0, "start", &format!("times better than {reference}"));
    for power in -(reach as i32)..=reach as i32 {
        let (gain, place) = (2f64.powi(power), x(2f64.powi(power)));
        let shade = if power == 0 { "#000" } else { "#ddd" };
        let bottom = height - 15.0;
        push(
            &mut out,
            &format!("<line x1=\"{place:.1}\" y1=\"{TOP}\" x2=\"{place:.1}\" y2=\"{bottom}\" stroke=\"{shade}\"/>"),
        );
        text(&mut out, place, TOP - 5.0, "middle", &format!("{gain}"));
    }
    for (index, bar) in bars.iter().enumerate() {
        let top = TOP + index as f64 * BAR_STEP + 4.0;
        let (from, to) = (x(bar.gain.min(1.0)), x(bar.gain.max(1.0)));
        let color = if bar.gain >= 1.0 { "#3a7d44" } else { "#b5442e" };
        text(&mut out, 10.0, top + 12.0, "start", &bar.label);
        push(
            &mut out,
            &format!(
                "<rect x=\"{from:.1}\" y=\"{top}\" width=\"{:.1}\" height=\"{BAR_HEIGHT}\" fill=\"{color}\"/>",
                to - from
            ),
        );
        text(&mut out, WIDTH - 10.0, top + 12.0, "end", &format!("{:.2}", bar.gain));
    }
    out + "</svg>\n"
}

struct Bar {
    label: String,
    gain: f64,
}

fn bars(run: &Run) -> Vec<Bar> {
    let others = run.servers.len().saturating_sub(1);
    let mut bars = Vec::new();
    for workload in &run.measured {
        for (index, (server, _)) in run.servers[..others].iter().enumerate() {
            let name = match others {
                1 => workload.name.to_string(),
                _ => format!("{}, {server}", workload.name),
            };
            bars.extend(
                gain(workload, index).map(|(gain, subject)| Bar { label: format!("{name} ({subject})"), gain }),
            );
        }
    }
    bars
}

/// How many times better, and in what. The cost of an operation is counted in cycles where they are known.
fn gain(workload: &Measured, server: usize) -> Option<(f64, &'static str)> {
    let metric = workload.headline;
    if let (Metric::CpuTime, Some(ratio)) = (metric, cycles_ratio(workload, server)) {
        return Some((1.0 / ratio, "cycles/op"));
    }
    let ratio = workload.ratio(server, metric)?.median;
    let gain = match metric.description().direction {
        Direction::Down => 1.0 / ratio,
        Direction::Up | Direction::Neither => ratio,
    };
    (gain.is_finite() && gain > 0.0).then_some((gain, metric.description().title))
}

fn cycles_ratio(workload: &Measured, server: usize) -> Option<f64> {
    let cycles = |server| {
        let user = workload.summary(server, Metric::UserCycles)?.median;
        Some(user + workload.summary(server, Metric::KernelCycles)?.median)
    };
    Some(cycles(server)? / cycles(workload.samples.len() - 1)?)
}

fn text(out: &mut String, x: f64, y: f64, anchor: &str, content: &str) {
    let content = content.replace('&', "&amp;").replace('<', "&lt;");
    push(out, &format!("<text x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\">{content}</text>"));
}

fn push(out: &mut String, element: &str) {
    writeln!(out, "{element}").expect("a string takes every write");
}

const WIDTH: f64 = 860.0;
const LEFT: f64 = 260.0;
const PLOT_WIDTH: f64 = 530.0;
const TOP: f64 = 50.0;
const BAR_STEP: f64 = 22.0;
const BAR_HEIGHT: f64 = 15.0;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::fixture;

    #[test]
    fn longer_is_better_whatever_the_direction() {
        let gains: Vec<f64> = bars(&fixture::run()).iter().map(|bar| bar.gain).collect();
        assert_eq!(gains, [1.0 / 0.375, 1.5]);
    }

    #[test]
    fn cycles_come_before_time() {
        let mut run = fixture::run();
        for (server, cycles) in [(0, 100.0), (1, 400.0)] {
            for sample in &mut run.measured[0].samples[server] {
                sample.insert(Metric::UserCycles, cycles);
                sample.insert(Metric::KernelCycles, cycles);
            }
        }
        assert_eq!(gain(&run.measured[0], 0), Some((4.0, "cycles/op")));
    }

    #[test]
    fn a_picture_is_complete_and_escaped() {
        let mut run = fixture::run();
        run.servers[1].0 = "a<b&c".to_string();
        let picture = render(&run);
        assert!(picture.starts_with("<svg") && picture.ends_with("</svg>\n"));
        assert!(picture.contains("a&lt;b&amp;c"));
        assert_eq!(picture.matches("<rect x=").count(), 2);
    }
}
