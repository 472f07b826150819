//! What a node's admin listener says of its requests: how long they take, what they store, which keys they name. As lines,
//! so that the screen and the printed text show the same.

use std::time::Duration;

use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::Stylize;
use ratatui::text::Line;
use ratatui::widgets::Paragraph;

use super::super::inside::Inside;
use super::super::text::{bytes, count, latency, percent, seconds};
use super::board::Node;

/// Draws the view.
pub fn draw(frame: &mut Frame, node: &Node, area: Rect) {
    let inside = match &node.inside {
        Some(Ok(inside)) => inside,
        other => {
            let text = match other {
                Some(Err(failure)) => failure.to_string().red(),
                _ if node.has_admin => "asking ...".into(),
                _ => "--admin tells top where the node's admin listener is".into(),
            };
            return frame.render_widget(Paragraph::new(text), area);
        }
    };
    let [left, middle, right] =
        Layout::horizontal([Constraint::Length(58), Constraint::Length(34), Constraint::Min(0)]).areas(area);
    let shown = |lines: Vec<String>| Paragraph::new(lines.into_iter().map(Line::raw).collect::<Vec<_>>());
    frame.render_widget(shown(latencies(inside)), left);
    frame.render_widget(shown(sizes(inside)), middle);
    frame.render_widget(shown(times(inside)), right);
}

/// The hot keys that an admin listener tells of.
pub fn hot_keys(node: &Node) -> Vec<Line<'static>> {
    match &node.inside {
        None => vec![Line::raw("asking ...")],
        Some(Err(failure)) => vec![Line::from(failure.to_string().red())],
        Some(Ok(inside)) if inside.hot_keys.is_empty() => vec![Line::raw("no key is hot")],
        Some(Ok(inside)) => hot_key_lines(inside).into_iter().map(Line::raw).collect(),
    }
}

/// Likewise, as text.
pub fn hot_key_lines(inside: &Inside) -> Vec<String> {
    let line = |rate: String, share: f64, name: &str| format!("{:>7} {rate:>12}  {name}", percent(share));
    inside.hot_keys.iter().map(|hot| line(format!("{:.1}/s", hot.per_second), hot.share, &hot.name)).collect()
}

/// A table of the commands that were seen, and the end of the certificate.
pub fn latencies(inside: &Inside) -> Vec<String> {
    let mut lines = vec![format!("{:<10} {:>10} {:>8} {:>8} {:>8}", "command", "requests", "samples", "p50", "p99")];
    for one in &inside.latencies {
        let (requests, samples) = (count(one.requests), count(one.samples));
        let (p50, p99) = (short(one.p50), short(one.p99));
        lines.push(format!("{:<10} {requests:>10} {samples:>8} {p50:>8} {p99:>8}", one.command));
    }
    lines.push(match inside.latencies.is_empty() {
        true => "no requests sampled yet".to_owned(),
        false => format!("in the last {} seconds, estimated from samples", inside.window_seconds),
    });
    if let Some(days) = inside.certificate_days {
        lines.push(format!("a certificate ends in {days:.1} days"));
    }
    lines
}

/// Sizes of stored values by their share of the stores.
pub fn sizes(inside: &Inside) -> Vec<String> {
    let all: u64 = inside.sizes.iter().map(|size| size.1).sum();
    let rows = inside.sizes.iter().map(|&(bound, count)| (format!("up to {}", bytes(bound)), count));
    shares("values stored", rows, all)
}

/// Times to live of stored values, likewise.
pub fn times(inside: &Inside) -> Vec<String> {
    let all = inside.ttls.iter().map(|ttl| ttl.1).sum::<u64>() + inside.without_ttl;
    let name = |bound: Option<u64>| bound.map_or("longer".to_owned(), |bound| format!("up to {}", seconds(bound)));
    let rows = inside.ttls.iter().map(|&(bound, count)| (name(bound), count));
    let endless = Some(("without an end".to_owned(), inside.without_ttl)).filter(|row| row.1 > 0);
    shares("times to live", rows.chain(endless), all)
}

fn shares(title: &str, rows: impl Iterator<Item = (String, u64)>, all: u64) -> Vec<String> {
    let mut lines = vec![title.to_owned()];
    lines.extend(rows.map(|(name, count)| format!("{:>7}  {name}", percent(count as f64 / all.max(1) as f64))));
    if lines.len() == 1 {
        lines.push("no stores sampled yet".to_owned());
    }
    lines
}

/// A latency, which may be a few microseconds.
fn short(time: Duration) -> String {
    match time.as_micros() {
        micros @ ..1000 => format!("{micros} us"),
        _ => latency(time),
    }
}
