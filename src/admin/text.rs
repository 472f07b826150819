//! Prometheus' text format, version 0.0.4: a head for each metric, then its samples. The caller keeps the samples of a metric
//! together, and labels in the alphabet's order.

use std::fmt::Write;

use super::body::{Body, NoMemory};

/// What kind of metric it is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Kind {
    /// Only grows, until a restart or `stats reset`.
    Counter,
    /// May fall.
    Gauge,
    /// Counts by upper bound.
    Histogram,
}

impl Kind {
    pub fn name(self) -> &'static str {
        match self {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
            Kind::Histogram => "histogram",
        }
    }
}

/// A text that is being written. Writing to a body does not fail, so results are not looked at.
#[derive(Default)]
pub(super) struct Text(Body);

impl Text {
    /// Begins a metric.
    pub fn family(&mut self, name: &str, kind: Kind, help: &str) {
        let help = help.replace('\\', "\\\\").replace('\n', "\\n");
        let _ = writeln!(self.0, "# HELP {name} {help}\n# TYPE {name} {}", kind.name());
    }

    /// A sample whose labels are written out and escaped already.
    pub fn raw_sample(&mut self, name: &str, labels: &str, value: f64) {
        self.0.push_str(name);
        if !labels.is_empty() {
            let _ = write!(self.0, "{{{labels}}}");
        }
        let _ = writeln!(self.0, " {}", Number(value));
    }

    /// A sample.
    pub fn sample(&mut self, name: &str, labels: &[(&str, &str)], value: f64) {
        self.raw_sample(name, &written(labels), value);
    }

    /// The samples of a histogram with the same labels: (upper bound, count of that bucket alone) ascending, the last bound
    /// being infinite, and the sum of all values.
    pub fn histogram(
        &mut self,
        name: &str,
        labels: &[(&str, &str)],
        buckets: impl Iterator<Item = (f64, u64)>,
        sum: f64,
    ) {
        let (labels, mut count) = (written(labels), 0);
        let separator = if labels.is_empty() { "" } else { "," };
        for (bound, bucket) in buckets {
            count += bucket;
            let labels = format!("{labels}{separator}le=\"{}\"", Number(bound));
            self.raw_sample(&format!("{name}_bucket"), &labels, count as f64);
        }
        self.raw_sample(&format!("{name}_sum"), &labels, sum);
        self.raw_sample(&format!("{name}_count"), &labels, count as f64);
    }

    /// What was written.
    pub fn finish(self) -> Result<String, NoMemory> {
        self.0.finish()
    }
}

fn written(labels: &[(&str, &str)]) -> String {
    let mut text = String::new();
    for (name, value) in labels {
        let separator = if text.is_empty() { "" } else { "," };
        let _ = write!(text, "{separator}{name}=\"");
        for character in value.chars() {
            match character {
                '\\' => text.push_str("\\\\"),
                '"' => text.push_str("\\\""),
                '\n' => text.push_str("\\n"),
                other => text.push(other),
            }
        }
        text.push('"');
    }
    text
}

/// A number as the format wants it.
struct Number(f64);

impl std::fmt::Display for Number {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.0 {
            value if value == f64::INFINITY => formatter.write_str("+Inf"),
            value => write!(formatter, "{value}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_are_written_as_the_format_wants() {
        let mut text = Text::default();
        text.family("a_total", Kind::Counter, "Says \\ and\nmore.");
        text.sample("a_total", &[], 3.0);
        text.sample("a_total", &[("x", "a\"b\\c\nd"), ("y", "")], 18_446_744_073_709_551_615.0);
        text.family("h", Kind::Histogram, "H.");
        text.histogram("h", &[("k", "v")], [(0.001, 2), (0.5, 0), (f64::INFINITY, 1)].into_iter(), 1.25);
        text.histogram("h", &[], [(1.0, 1)].into_iter(), 0.000_002);
        let expected = "\
# HELP a_total Says \\\\ and\\nmore.
# TYPE a_total counter
a_total 3
a_total{x=\"a\\\"b\\\\c\\nd\",y=\"\"} 18446744073709552000
# HELP h H.
# TYPE h histogram
h_bucket{k=\"v\",le=\"0.001\"} 2
h_bucket{k=\"v\",le=\"0.5\"} 2
h_bucket{k=\"v\",le=\"+Inf\"} 3
h_sum{k=\"v\"} 1.25
h_count{k=\"v\"} 3
h_bucket{le=\"1\"} 1
h_sum 0.000002
h_count 1
";
        assert_eq!(text.finish().as_deref(), Ok(expected));
    }
}
