//! `slabstash check`: whether nodes work, in the manner of monitoring plugins.
//!
//! A line for each node, the worst level as exit status. A probe key is stored, read and deleted, so that a node that
//! accepts connections and does nothing is found out.

use std::io::{Write, stdout};
use std::process;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use super::address::Address;
use super::arguments::{Arguments, Command, Flag};
use super::connection::{Access, Connection};
use super::failure::Failure;
use super::findings::{Finding, Level, Limits, findings};
use super::sample::Sample;
use super::text::{bytes, json_object, json_string, latency, percent, seconds};

/// The command's row.
pub const COMMAND: Command = Command {
    name: "check",
    summary: "say whether nodes work and what is wrong with them",
    words: "[ADDRESS...] [FLAGS]",
    about: &[
        "Connects to each node, stores, reads and deletes a key of its own, and looks at the statistics for what is wrong or\n\
         will be soon: connections near their limit, a low hit ratio, evictions of what was just used, memory that was not\n\
         there. Prints a line for each node, with its figures after a bar as monitoring plugins do.",
        "With --probe only a node that does not work fails, so that a container is not restarted for a warning.",
    ],
    flags: &[
        Flag { short: Some('j'), name: "json", value: "", help: "print one JSON object, with a member for each node" },
        Flag { short: None, name: "probe", value: "", help: "exit with 0 on warnings too" },
        Flag { short: None, name: "read-only", value: "", help: "store nothing" },
        Flag {
            short: None,
            name: "hit-ratio",
            value: "PERCENT",
            help: "warn below this, after 1000 gets; 0 is never (default: 50)",
        },
        Flag {
            short: None,
            name: "eviction-age",
            value: "SECONDS",
            help: "warn when what was accessed within it is evicted; 0 is never (default: 300)",
        },
        Flag { short: None, name: "connections", value: "PERCENT", help: "warn above this share of -c (default: 80)" },
    ],
    exit: &[
        (0, "all nodes are well"),
        (1, "warning: somebody should look at it"),
        (2, "critical: a node does not answer, or does not do its work"),
    ],
    examples: &[
        ("slabstash check cache-1 cache-2 cache-3", "for a monitoring system"),
        ("slabstash check --probe unix:/run/slabstash.sock", "as a container's liveness probe"),
    ],
    run,
};

/// What is known of a node after a look at it.
struct Report {
    level: Level,
    /// What is wrong, or that nothing is.
    text: String,
    /// Name, value and unit of the figures; empty where the node did not answer.
    figures: Vec<(&'static str, String, &'static str)>,
}

fn run(arguments: &Arguments) -> Result<u8, Failure> {
    let addresses = Address::parse_all(&arguments.words)?;
    let access = arguments.access()?;
    let limits = limits(arguments)?;
    let is_probed = !arguments.has("read-only");
    let mut text = String::new();
    let mut members = Vec::new();
    let mut worst = Level::Ok;
    for address in &addresses {
        let report = report(address, &access, &limits, is_probed);
        worst = worst.max(report.level);
        text.push_str(&report.line(address));
        members.push((address.to_string(), report.json()));
    }
    if arguments.has("json") {
        let members: Vec<(&str, String)> = members.iter().map(|(name, json)| (name.as_str(), json.clone())).collect();
        text = format!("{}\n", json_object(&members));
    }
    stdout().write_all(text.as_bytes()).map_err(Failure::output)?;
    Ok(match worst {
        Level::Ok => 0,
        Level::Warning => u8::from(!arguments.has("probe")),
        Level::Critical => 2,
    })
}

fn limits(arguments: &Arguments) -> Result<Limits, Failure> {
    let mut limits = Limits::default();
    if let Some(percent) = arguments.number("hit-ratio", 0.0, 100.0)? {
        limits.hit_ratio_min = percent / 100.0;
    }
    if let Some(seconds) = arguments.number("eviction-age", 0, u64::MAX)? {
        limits.eviction_age_min_seconds = seconds;
    }
    if let Some(percent) = arguments.number("connections", 1.0, 100.0)? {
        limits.connections_warning = percent / 100.0;
        limits.connections_critical = limits.connections_critical.max(limits.connections_warning);
    }
    Ok(limits)
}

fn report(address: &Address, access: &Access, limits: &Limits, is_probed: bool) -> Report {
    let began = Instant::now();
    let looked = Connection::open(address, access).and_then(|mut connection| {
        let sample = Sample::take(&mut connection)?;
        // After the sample, so that the figures are those of a node left alone.
        let probe = if is_probed { Some(probe(&mut connection, &key())?) } else { None };
        Ok((sample, probe))
    });
    match looked {
        Ok((sample, probe)) => Report::of(&sample, probe, limits),
        Err(failure) => {
            let text = failure.to_string();
            // The line begins with the address already.
            let text = text.strip_prefix(&format!("{address}: ")).unwrap_or(&text);
            let text = format!("{text} (after {})", latency(began.elapsed()));
            Report { level: Level::Critical, text, figures: Vec::new() }
        }
    }
}

/// A key that nobody else uses.
fn key() -> String {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    format!("slabstash-check:{}:{}", process::id(), since.as_nanos())
}

/// Stores, reads and deletes `key`. The time that all three took.
fn probe(connection: &mut Connection, key: &str) -> Result<Duration, Failure> {
    let began = Instant::now();
    let mut expect = |request: String, wanted: &[&[u8]]| {
        let mut line = connection.ask(request.as_bytes())?;
        for (at, expected) in wanted.iter().enumerate() {
            if at > 0 {
                line = connection.line()?;
            }
            if line != *expected {
                return Err(connection.surprise(&line));
            }
        }
        Ok(())
    };
    let value = format!("VALUE {key} 1 {}", PROBE_VALUE.len());
    expect(format!("set {key} 1 {PROBE_SECONDS} {}\r\n{PROBE_VALUE}\r\n", PROBE_VALUE.len()), &[b"STORED"])?;
    expect(format!("get {key}\r\n"), &[value.as_bytes(), PROBE_VALUE.as_bytes(), b"END"])?;
    expect(format!("delete {key}\r\n"), &[b"DELETED"])?;
    Ok(began.elapsed())
}

impl Report {
    fn of(sample: &Sample, probe: Option<Duration>, limits: &Limits) -> Report {
        let found = findings(sample, limits);
        let level = found.iter().map(|finding| finding.level).max().unwrap_or(Level::Ok);
        let mut texts: Vec<String> = found.into_iter().map(|finding: Finding| finding.text).collect();
        if texts.is_empty() {
            texts.push(summary(sample));
        }
        let milliseconds = |time: Duration| format!("{:.3}", time.as_secs_f64() * 1000.0);
        let mut figures = vec![("round_trip", milliseconds(sample.round_trip), "ms")];
        if let Some(time) = probe {
            figures.push(("probe", milliseconds(time), "ms"));
        }
        if let Some(ratio) = sample.hit_ratio() {
            figures.push(("hit_ratio", format!("{:.2}", ratio * 100.0), "%"));
        }
        figures.push(("memory", format!("{:.2}", sample.memory_share() * 100.0), "%"));
        if let Some(resident) = sample.resident_bytes {
            figures.push(("resident", resident.to_string(), "B"));
        }
        figures.push(("connections", sample.number("curr_connections").to_string(), ""));
        figures.push(("items", sample.number("curr_items").to_string(), ""));
        figures.push(("evictions", sample.number("evictions").to_string(), "c"));
        Report { level, text: texts.join("; "), figures }
    }

    /// `OK - 127.0.0.1:11211: … | round_trip=0.120ms …`
    fn line(&self, address: &Address) -> String {
        let figures: Vec<String> =
            self.figures.iter().map(|(name, value, unit)| format!("{name}={value}{unit}")).collect();
        let bar = if figures.is_empty() { "" } else { " | " };
        format!("{} - {address}: {}{bar}{}\n", self.level.word(), self.text, figures.join(" "))
    }

    fn json(&self) -> String {
        let mut fields =
            vec![("status", json_string(&self.level.word().to_lowercase())), ("text", json_string(&self.text))];
        let units = [("ms", "_ms"), ("%", "_percent"), ("B", "_bytes")];
        let names: Vec<String> = self
            .figures
            .iter()
            .map(|(name, _, unit)| {
                let suffix = units.iter().find(|(short, _)| short == unit).map_or("", |(_, suffix)| suffix);
                format!("{name}{suffix}")
            })
            .collect();
        fields.extend(names.iter().zip(&self.figures).map(|(name, (_, value, _))| (name.as_str(), value.clone())));
        json_object(&fields)
    }
}

/// A healthy node in half a line.
fn summary(sample: &Sample) -> String {
    let ratio = sample.hit_ratio().map_or(String::new(), |ratio| format!(", hit ratio {}", percent(ratio)));
    format!(
        "version {}, up {}, {} of {} used{ratio}",
        sample.version(),
        seconds(sample.number("uptime")),
        bytes(sample.paged_bytes),
        bytes(sample.number("limit_maxbytes")),
    )
}

/// Not a number and not empty, so that a node that mixes answers up is found out.
const PROBE_VALUE: &str = "slabstash check";

/// The key is gone soon, should its deletion not come through.
const PROBE_SECONDS: u32 = 10;

#[cfg(test)]
mod tests {
    use super::super::sample::testing;
    use super::*;

    fn quiet() -> Limits {
        Limits { eviction_age_min_seconds: 0, ..Limits::default() }
    }

    fn address() -> Address {
        Address::standard()
    }

    #[test]
    fn a_healthy_node_is_a_line_with_figures() {
        let sample = testing::sample("memcached", Instant::now(), &[("uptime", 187)]);
        let report = Report::of(&sample, Some(Duration::from_micros(1500)), &quiet());
        let line = report.line(&address());
        let start = "OK - 127.0.0.1:11211: version 1.6.45, up 3m07s, ";
        assert!(line.starts_with(start), "{line}");
        assert!(line.contains("hit ratio 83.3% | round_trip=0.250ms probe=1.500ms hit_ratio=83.33% memory="), "{line}");
        let json = report.json();
        assert!(json.starts_with("{\"status\":\"ok\",\"text\":\"version 1.6.45"), "{json}");
        assert!(json.contains("\"probe_ms\":1.500,\"hit_ratio_percent\":83.33,"), "{json}");
    }

    #[test]
    fn the_worst_finding_is_the_level() {
        let sample = testing::sample("slabstash", Instant::now(), &[("accepting_conns", 0), ("malloc_fails", 1)]);
        let report = Report::of(&sample, None, &quiet());
        assert_eq!(report.level, Level::Critical);
        let line = report.line(&address());
        assert!(line.starts_with("CRITICAL - 127.0.0.1:11211: accepts no connections"), "{line}");
        assert!(line.contains("; the system had no memory 1 times (malloc_fails) | "), "{line}");
        assert!(Report::of(&sample, None, &Limits::default()).text.contains("evicts items"));
    }
}
