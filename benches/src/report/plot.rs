//! The plot: per workload and server a bar for how many times better than the reference the headline figure is, and a
//! mark where the target wants its end. The scale is logarithmic, so that twice as good and half as good are bars of one
//! length to either side of the line.
//!
//!     get-1            |####:           1.3
//!     set-pipelined    |###########  :  3.2
//!     idle         ####|                0.7
//!                      1   2   4

use std::fmt::Write as _;

use crate::metric::{Direction, Metric};
use crate::report::target::{self, Scale, Subject};
use crate::runner::{Measured, Run};

/// An SVG picture; `machine` is a line about where the run was made.
pub fn render(run: &Run, machine: &str) -> String {
    let bars = bars(run);
    let axis = Axis::over(&bars);
    let bottom = TOP + bars.len() as f64 * BAR_STEP + 4.0;
    let height = bottom + 62.0;
    let mut out = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{WIDTH}\" height=\"{height}\" \
         viewBox=\"0 0 {WIDTH} {height}\" font-family=\"sans-serif\" font-size=\"12\">\n\
         <rect width=\"100%\" height=\"100%\" fill=\"#ffffff\"/>\n"
    );
    let names: Vec<String> = run.servers.iter().map(|(name, version)| format!("{name} {version}")).collect();
    let reference = run.servers.last().map_or("", |(name, _)| name.as_str());
    text(&mut out, 16.0, 28.0, "font-size=\"17\" font-weight=\"bold\"", &names.join(" against "));
    text(&mut out, 16.0, 46.0, "fill=\"#555555\"", machine);
    grid(&mut out, &axis, bottom);
    for (index, bar) in bars.iter().enumerate() {
        draw(&mut out, bar, &axis, TOP + index as f64 * BAR_STEP);
    }
    let middle = LEFT + PLOT_WIDTH / 2.0;
    let caption = format!("times better than {reference} (logarithmic; right of 1 is an advantage)");
    text(&mut out, middle, bottom + 34.0, "text-anchor=\"middle\"", &caption);
    legend(&mut out, bottom + 52.0);
    out + "</svg>\n"
}

/// From a gain to a place.
struct Axis {
    /// Powers of two at the ends: low < 0 < high.
    low: f64,
    high: f64,
}

impl Axis {
    fn over(bars: &[Bar]) -> Axis {
        let powers = || bars.iter().flat_map(|bar| [Some(bar.gain), bar.target]).flatten().map(f64::log2);
        Axis { low: powers().fold(-1.0, f64::min).floor(), high: powers().fold(1.0, f64::max).ceil() }
    }

    fn x(&self, gain: f64) -> f64 {
        LEFT + (gain.log2() - self.low) / (self.high - self.low) * PLOT_WIDTH
    }
}

fn grid(out: &mut String, axis: &Axis, bottom: f64) {
    for power in axis.low as i32..=axis.high as i32 {
        let gain = 2f64.powi(power);
        let x = axis.x(gain);
        let stroke = if power == 0 { "#222222" } else { "#dddddd" };
        push(out, &format!("<line x1=\"{x:.1}\" y1=\"{TOP}\" x2=\"{x:.1}\" y2=\"{bottom}\" stroke=\"{stroke}\"/>"));
        let label = if power < 0 { format!("1/{}", 2f64.powi(-power)) } else { format!("{gain}") };
        text(out, x, bottom + 16.0, "text-anchor=\"middle\" fill=\"#555555\"", &label);
    }
}

fn draw(out: &mut String, bar: &Bar, axis: &Axis, top: f64) {
    let (from, to) = (axis.x(bar.gain.min(1.0)), axis.x(bar.gain.max(1.0)));
    let color = match bar.target {
        Some(target) if bar.gain >= target => MET,
        Some(_) if bar.gain >= 1.0 => SHORT,
        None if bar.gain >= 1.0 => MET,
        _ => BEHIND,
    };
    let (y, baseline) = (top + 3.0, top + 15.0);
    text(out, LEFT - 8.0, baseline, "text-anchor=\"end\"", &bar.label);
    push(
        out,
        &format!(
            "<rect x=\"{from:.1}\" y=\"{y:.1}\" width=\"{:.1}\" height=\"{BAR_HEIGHT}\" fill=\"{color}\"/>",
            to - from
        ),
    );
    if let Some(target) = bar.target {
        let (x, end) = (axis.x(target), y + BAR_HEIGHT + 2.0);
        push(
            out,
            &format!(
                "<line x1=\"{x:.1}\" y1=\"{:.1}\" x2=\"{x:.1}\" y2=\"{end:.1}\" stroke=\"#111111\" stroke-width=\"3\"/>",
                y - 2.0
            ),
        );
    }
    let wanted = bar.target.map_or(String::new(), |target| format!(" of {target:.2}"));
    text(out, LEFT + PLOT_WIDTH + 10.0, baseline, "", &format!("{:.2}{wanted}", bar.gain));
}

fn legend(out: &mut String, baseline: f64) {
    let mut x = LEFT;
    for (color, words) in [(MET, "target met, or none"), (SHORT, "ahead, short of its target"), (BEHIND, "behind")] {
        push(
            out,
            &format!("<rect x=\"{x:.1}\" y=\"{:.1}\" width=\"12\" height=\"12\" fill=\"{color}\"/>", baseline - 10.0),
        );
        text(out, x + 17.0, baseline, "fill=\"#555555\"", words);
        x += 45.0 + words.len() as f64 * 6.2;
    }
    let (y1, y2) = (baseline - 12.0, baseline + 4.0);
    push(
        out,
        &format!(
            "<line x1=\"{x:.1}\" y1=\"{y1:.1}\" x2=\"{x:.1}\" y2=\"{y2:.1}\" stroke=\"#111111\" stroke-width=\"3\"/>"
        ),
    );
    text(out, x + 8.0, baseline, "fill=\"#555555\"", "target");
}

struct Bar {
    label: String,
    gain: f64,
    /// The gain that is wanted.
    target: Option<f64>,
}

fn bars(run: &Run) -> Vec<Bar> {
    let others = run.servers.len().saturating_sub(1);
    let mut bars = Vec::new();
    for workload in &run.measured {
        let subject = subject(workload);
        let is_own = |it: &&target::Target| it.subject == subject && it.scale == Scale::Ratio;
        let target = target::of(workload.name).find(is_own).map(|target| as_gain(subject, target.value));
        for (index, (server, _)) in run.servers[..others].iter().enumerate() {
            let name = match others {
                1 => workload.name.to_string(),
                _ => format!("{}, {server}", workload.name),
            };
            let label = format!("{name} ({})", subject.title(workload));
            bars.extend(gain(workload, subject, index).map(|gain| Bar { label, gain, target }));
        }
    }
    bars
}

/// The headline, where the processor time of an operation gives way to its cycles.
fn subject(workload: &Measured) -> Subject {
    match workload.headline {
        Metric::CpuTime => Subject::Cost,
        metric => Subject::Only(metric),
    }
}

/// How many times better.
fn gain(workload: &Measured, subject: Subject, server: usize) -> Option<f64> {
    let target = target::Target::ratio_of(subject);
    let gain = as_gain(subject, target.measured(workload, server)?.median);
    (gain.is_finite() && gain > 0.0).then_some(gain)
}

fn as_gain(subject: Subject, ratio: f64) -> f64 {
    match subject.direction() {
        Direction::Down => 1.0 / ratio,
        Direction::Up | Direction::Neither => ratio,
    }
}

/// `attributes` are those of the element beside its place.
fn text(out: &mut String, x: f64, y: f64, attributes: &str, content: &str) {
    let content = content.replace('&', "&amp;").replace('<', "&lt;");
    push(out, &format!("<text x=\"{x:.1}\" y=\"{y:.1}\" {attributes}>{content}</text>"));
}

fn push(out: &mut String, element: &str) {
    writeln!(out, "{element}").expect("a string takes every write");
}

const WIDTH: f64 = 960.0;
const LEFT: f64 = 280.0;
const PLOT_WIDTH: f64 = 560.0;
const TOP: f64 = 66.0;
const BAR_STEP: f64 = 22.0;
const BAR_HEIGHT: f64 = 15.0;
const MET: &str = "#2f7d4f";
const SHORT: &str = "#d39b2a";
const BEHIND: &str = "#b5442e";

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
    fn targets_are_gains_too() {
        let targets: Vec<Option<f64>> = bars(&fixture::run()).iter().map(|bar| bar.target).collect();
        assert_eq!(targets, [Some(1.0 / 0.88), Some(1.45)]);
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
        let bar = bars(&run).remove(0);
        assert_eq!((bar.gain, bar.label.as_str()), (4.0, "get-1 (cycles/op)"));
    }

    #[test]
    fn the_axis_has_room_for_all_bars_and_marks() {
        let bar = |gain, target| Bar { label: String::new(), gain, target };
        let axis = Axis::over(&[bar(3.0, Some(5.0)), bar(0.2, None)]);
        assert_eq!((axis.low, axis.high), (-3.0, 3.0));
        assert_eq!((axis.x(0.125), axis.x(8.0)), (LEFT, LEFT + PLOT_WIDTH));
        let axis = Axis::over(&[]);
        assert_eq!((axis.low, axis.high), (-1.0, 1.0));
    }

    #[test]
    fn a_picture_is_complete_and_escaped() {
        let mut run = fixture::run();
        run.servers[1].0 = "a<b&c".to_string();
        let picture = render(&run, "a machine");
        assert!(picture.starts_with("<svg") && picture.ends_with("</svg>\n"));
        assert!(picture.contains("a&lt;b&amp;c") && picture.contains(">a machine<"));
        assert_eq!(picture.matches("<rect x=").count(), 2 + 3);
        assert_eq!(picture.matches("stroke-width=\"3\"").count(), 2 + 1);
    }
}
