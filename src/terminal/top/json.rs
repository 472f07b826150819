//! What `top` knows of a node as a line of JSON, for scripts: a line for each look at each node.
//!
//! Names end with their unit; what is not known, as rates at the first look, is `null`. Nodes do not wait for each other, so
//! lines of several nodes come in the order of their answers.

use std::time::{SystemTime, UNIX_EPOCH};

use super::super::inside::Inside;
use super::super::sample::Sample;
use super::super::text::{json_object, json_string, printable};
use super::board::Node;
use super::columns::hit_ratio;
use super::plain::{HOT_KEYS, state};

/// The line about a node, with its end.
pub fn line(node: &Node, has_hot_keys: bool, now: SystemTime) -> String {
    let since = now.duration_since(UNIX_EPOCH).unwrap_or_default();
    let mut fields = vec![
        ("time", format!("{:.3}", since.as_secs_f64())),
        ("node", json_string(&node.address.to_string())),
        ("state", json_string(state(node))),
    ];
    if let Some(failure) = node.failure() {
        fields.push(("error", json_string(&failure.to_string())));
    }
    if let Some(sample) = node.sample() {
        fields.extend(figures(node, sample));
    }
    let findings = node.findings.iter().map(|finding| {
        let level = finding.level.word().to_lowercase();
        json_object(&[("level", json_string(&level)), ("text", json_string(&finding.text))])
    });
    fields.push(("findings", array(findings)));
    if let Some(inside) = &node.inside {
        fields.push(match inside {
            Ok(inside) => ("admin", admin(inside)),
            Err(failure) => ("admin", json_object(&[("error", json_string(&failure.to_string()))])),
        });
    }
    if let Some(inside) = node.inside().filter(|_| has_hot_keys) {
        let keys = inside.hot_keys.iter().map(|hot| {
            json_object(&[
                ("key", json_string(&hot.name)),
                ("ratio", format!("{:.4}", hot.share)),
                ("per_second", format!("{:.1}", hot.per_second)),
            ])
        });
        fields.push(("hot_keys", array(keys)));
    } else if let Some(seen) = &node.hot_keys {
        let keys = seen.keys.top(HOT_KEYS).into_iter().map(|(key, share)| {
            json_object(&[("key", json_string(&printable(&key))), ("ratio", format!("{share:.4}"))])
        });
        fields.push(("hot_keys", array(keys)));
    }
    format!("{}\n", json_object(&fields))
}

/// What the admin listener says beside hot keys and warnings, which have their place already.
fn admin(inside: &Inside) -> String {
    let milliseconds = |time: std::time::Duration| format!("{:.4}", time.as_secs_f64() * 1000.0);
    let latencies = inside.latencies.iter().map(|one| {
        json_object(&[
            ("command", json_string(&one.command)),
            ("requests", one.requests.to_string()),
            ("samples", one.samples.to_string()),
            ("p50_ms", milliseconds(one.p50)),
            ("p99_ms", milliseconds(one.p99)),
        ])
    });
    let pair = |bound: String, count: u64| array([bound, count.to_string()].into_iter());
    json_object(&[
        ("window_seconds", inside.window_seconds.to_string()),
        ("latencies", array(latencies)),
        ("value_bytes", array(inside.sizes.iter().map(|&(bound, count)| pair(bound.to_string(), count)))),
        ("ttl_seconds", array(inside.ttls.iter().map(|&(bound, count)| pair(known(bound), count)))),
        ("without_ttl", inside.without_ttl.to_string()),
        ("certificate_days", known(inside.certificate_days.map(|days| format!("{days:.1}")))),
    ])
}

/// The columns of the table, and their limits.
fn figures(node: &Node, sample: &Sample) -> Vec<(&'static str, String)> {
    let rates = node.rates.as_ref();
    let rate = |rate: Option<f64>| known(rate.map(|rate| format!("{rate:.1}")));
    let number = |name: &str| sample.number(name).to_string();
    vec![
        ("version", json_string(sample.version())),
        ("uptime_seconds", number("uptime")),
        ("operations_per_second", rate(rates.map(|rates| rates.operations))),
        ("gets_per_second", rate(rates.map(|rates| rates.gets))),
        ("sets_per_second", rate(rates.map(|rates| rates.sets))),
        ("others_per_second", rate(rates.map(|rates| rates.others))),
        ("hit_ratio", known(hit_ratio(sample, rates).map(|ratio| format!("{ratio:.4}")))),
        ("round_trip_ms", format!("{:.3}", sample.round_trip.as_secs_f64() * 1000.0)),
        ("memory_bytes", sample.paged_bytes.to_string()),
        ("memory_limit_bytes", number("limit_maxbytes")),
        ("resident_bytes", known(sample.resident_bytes)),
        ("items", number("curr_items")),
        ("evictions_per_second", rate(rates.map(|rates| rates.evictions))),
        ("reclaimed_per_second", rate(rates.map(|rates| rates.reclaimed))),
        ("oldest_seconds", known(sample.classes.oldest_seconds())),
        ("connections", number("curr_connections")),
        ("connections_max", number("max_connections")),
        ("connections_per_second", rate(rates.map(|rates| rates.connections))),
        ("received_bytes_per_second", rate(rates.map(|rates| rates.bytes_in))),
        ("sent_bytes_per_second", rate(rates.map(|rates| rates.bytes_out))),
    ]
}

fn known(value: Option<impl ToString>) -> String {
    value.map_or("null".to_owned(), |value| value.to_string())
}

fn array(values: impl Iterator<Item = String>) -> String {
    format!("[{}]", values.collect::<Vec<_>>().join(","))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::board::testing::board;
    use super::super::poll::Seen;
    use super::*;

    fn now() -> SystemTime {
        UNIX_EPOCH + Duration::from_millis(1_700_000_000_250)
    }

    #[track_caller]
    fn has(line: &str, parts: &[&str]) {
        for part in parts {
            assert!(line.contains(part), "no {part} in {line}");
        }
        assert!(line.ends_with("}\n") && line.lines().count() == 1, "{line}");
    }

    #[test]
    fn a_node_is_a_line() {
        let mut board = board();
        let mut seen = Seen::default();
        seen.keys.push_line(b"ts=1 gid=1 type=item_get key=a%22 status=found");
        board.nodes[0].hot_keys = Some(seen);
        let line = line(&board.nodes[0], true, now());
        assert!(line.starts_with("{\"time\":1700000000.250,\"node\":\"127.0.0.1:23111\",\"state\":\"up\","), "{line}");
        has(
            &line,
            &[
                "\"version\":\"1.6.45\",\"uptime_seconds\":102,\"operations_per_second\":42000.0,",
                "\"hit_ratio\":0.9000,\"round_trip_ms\":0.250,",
                "\"resident_bytes\":null,",
                "\"evictions_per_second\":12.0,",
                "\"findings\":[{\"level\":\"warning\",\"text\":\"slab class",
                "\"hot_keys\":[{\"key\":\"a\\\"\",\"ratio\":1.0000}]}",
            ],
        );
    }

    #[test]
    fn what_is_not_known_is_null_and_who_is_down_is_down() {
        let mut board = board();
        board.nodes[1].rates = None;
        has(&line(&board.nodes[1], false, now()), &["\"operations_per_second\":null,", "\"hit_ratio\":0."]);
        let down = line(&board.nodes[2], false, now());
        let end = "\"node\":\"unix:/run/cache.sock\",\"state\":\"down\",\
             \"error\":\"unix:/run/cache.sock: cannot connect: no such file\",\"findings\":[]}\n";
        assert!(down.ends_with(end), "{down}");
    }

    #[test]
    fn what_the_admin_listener_says_is_a_member() {
        let board = board();
        let text = line(&board.nodes[1], true, now());
        has(
            &text,
            &[
                "\"findings\":[{\"level\":\"critical\",\"text\":\"Worker 1 stands.\"},",
                "\"admin\":{\"window_seconds\":87,\"latencies\":[{\"command\":\"get\",\"requests\":880000,\"samples\":20000,\
                 \"p50_ms\":0.0080,\"p99_ms\":0.1125}],\"value_bytes\":[[64,30],[128,10]],\
                 \"ttl_seconds\":[[60,5],[null,1]],\"without_ttl\":34,\"certificate_days\":6.5}",
                "\"hot_keys\":[{\"key\":\"#77aa\",\"ratio\":0.2500,\"per_second\":812.5},",
            ],
        );
        assert!(!line(&board.nodes[1], false, now()).contains("hot_keys"), "nobody asked for them");
        assert!(!line(&board.nodes[0], true, now()).contains("\"admin\""), "it was not asked");
    }
}
