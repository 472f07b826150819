//! What a node's admin listener knows and `stats` does not: latencies by command, sizes and times to live, hot keys at no
//! further cost, the end of the certificate, warnings. Only slabstash has one, and only with `-o admin_listen`.
//!
//! It is asked by HTTP, in plain text and without a login, for its `/stats.json`; docs/metrics.md describes that.

use std::time::Duration;

use super::address::Address;
use super::connection::{Access, Connection};
use super::failure::Failure;
use super::findings::{Finding, Level};
use super::json::Value;

/// What it said.
#[derive(Clone, PartialEq, Default, Debug)]
pub struct Inside {
    /// Over how long the latencies were taken.
    pub window_seconds: u64,
    /// Commands that were seen in this time.
    pub latencies: Vec<CommandLatency>,
    /// Sampled stores by size, each with its upper bound in bytes.
    pub sizes: Vec<(u64, u64)>,
    /// Sampled stores by time to live, each with its upper bound in seconds; `None` is longer than all bounds.
    pub ttls: Vec<(Option<u64>, u64)>,
    /// Sampled stores without an end.
    pub without_ttl: u64,
    /// Keys that are asked for most, the hottest first.
    pub hot_keys: Vec<HotKey>,
    /// Days until a certificate of the node ends, with TLS.
    pub certificate_days: Option<f64>,
    /// What it warns of.
    pub warnings: Vec<Finding>,
}

/// How long a command takes.
#[derive(Clone, PartialEq, Debug)]
pub struct CommandLatency {
    /// Its name.
    pub command: String,
    /// Requests, estimated.
    pub requests: u64,
    /// How many of these were looked at.
    pub samples: u64,
    /// Half of them were faster.
    pub p50: Duration,
    /// 99 of 100 were faster.
    pub p99: Duration,
}

/// A key that is asked for often.
#[derive(Clone, PartialEq, Debug)]
pub struct HotKey {
    /// Its name, or `#` and its hash where names are hidden.
    pub name: String,
    /// Requests per second, or a little less.
    pub per_second: f64,
    /// Its share of all keys asked for.
    pub share: f64,
}

impl Inside {
    /// Asks an admin listener.
    pub fn take(address: &Address, timeout: Duration) -> Result<Inside, Failure> {
        // It has a connection for each request, and neither a login nor encryption.
        let mut connection = Connection::open(address, &Access { timeout, login: None, tls: None })?;
        let status = connection.ask(b"GET /stats.json HTTP/1.0\r\nHost: localhost\r\n\r\n")?;
        if !status.starts_with(b"HTTP/1.") || status.get(8..13) != Some(b" 200 ") {
            return Err(connection.surprise(&status));
        }
        let mut body_bytes = None;
        loop {
            let line = connection.line()?;
            if line.is_empty() {
                break;
            }
            let line = String::from_utf8_lossy(&line).to_ascii_lowercase();
            if let Some(count) = line.strip_prefix("content-length:") {
                body_bytes = count.trim().parse().ok().filter(|count| *count <= BODY_BYTES_MAX);
            }
        }
        let mut body = Vec::new();
        connection.body(body_bytes.ok_or_else(|| connection.surprise(b"no length"))?, |piece| {
            body.extend_from_slice(piece);
            Ok(())
        })?;
        let document = std::str::from_utf8(&body).ok().and_then(Value::parse);
        match document {
            Some(document) if document.at("schema").count() == SCHEMA => Ok(Inside::of(&document)),
            _ => Err(connection.surprise(&body)),
        }
    }

    /// What a document says; what it lacks is not known.
    pub fn of(document: &Value) -> Inside {
        let pairs = |path: &str| document.at(path).items().iter().map(Value::items);
        let count = |pair: &[Value]| pair.get(1).map_or(0, Value::count);
        Inside {
            window_seconds: document.at("latency.window_seconds").count(),
            latencies: document.at("latency.commands").items().iter().filter_map(CommandLatency::of).collect(),
            sizes: pairs("stored.sizes").map(|pair| (pair.first().map_or(0, Value::count), count(pair))).collect(),
            ttls: pairs("stored.ttls")
                .map(|pair| (pair.first().and_then(Value::number).map(|bound| bound as u64), count(pair)))
                .collect(),
            without_ttl: document.at("stored.without_ttl").count(),
            hot_keys: document.at("hot_keys.keys").items().iter().map(HotKey::of).collect(),
            certificate_days: document.at("certificate.days_left").number(),
            warnings: document.at("warnings").items().iter().map(warning).collect(),
        }
    }
}

impl CommandLatency {
    /// `None` for a command that was not seen.
    fn of(value: &Value) -> Option<CommandLatency> {
        let micros = |name: &str| value.at(name).number().map(|micros| Duration::from_nanos((micros * 1000.0) as u64));
        Some(CommandLatency {
            command: value.at("command").text()?.to_owned(),
            requests: value.at("requests").count(),
            samples: value.at("samples").count(),
            p50: micros("p50_us")?,
            p99: micros("p99_us")?,
        })
    }
}

impl HotKey {
    fn of(value: &Value) -> HotKey {
        let hidden = || format!("#{}", value.at("hash").text().unwrap_or("?"));
        HotKey {
            name: value.at("key").text().map_or_else(hidden, str::to_owned),
            per_second: value.at("per_second").number().unwrap_or(0.0),
            share: value.at("share").number().unwrap_or(0.0),
        }
    }
}

fn warning(value: &Value) -> Finding {
    let level = match value.at("severity").text() {
        Some("critical") => Level::Critical,
        _ => Level::Warning,
    };
    Finding { level, text: value.at("text").text().unwrap_or("?").to_owned() }
}

/// The schema that this reads.
const SCHEMA: u64 = 1;

/// No document is longer.
const BODY_BYTES_MAX: usize = 4 << 20;

/// A document, for tests.
#[cfg(test)]
pub mod testing {
    use super::super::json::Value;
    use super::Inside;

    /// Something of everything.
    pub fn inside() -> Inside {
        let text = "{\"schema\":1,\"latency\":{\"window_seconds\":87,\"commands\":[\
            {\"command\":\"get\",\"requests\":880000,\"samples\":20000,\"p50_us\":8,\"p99_us\":112.5},\
            {\"command\":\"ma\",\"requests\":0,\"samples\":0,\"p50_us\":null,\"p99_us\":null}]},\
            \"stored\":{\"sizes\":[[64,30],[128,10]],\"ttls\":[[60,5],[null,1]],\"without_ttl\":34},\
            \"hot_keys\":{\"names_shown\":false,\"keys\":[\
            {\"key\":null,\"hash\":\"77aa\",\"per_second\":812.5,\"share\":0.25},\
            {\"key\":\"user:1\",\"hash\":\"77ab\",\"per_second\":8,\"share\":0.01}]},\
            \"certificate\":{\"days_left\":6.5},\
            \"warnings\":[{\"severity\":\"critical\",\"code\":\"x\",\"text\":\"Worker 1 stands.\"},\
            {\"severity\":\"warning\",\"code\":\"y\",\"text\":\"Memory is short.\"}]}";
        Inside::of(&Value::parse(text).expect("a document"))
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::TcpListener;
    use std::thread;

    use super::testing::inside;
    use super::*;

    #[test]
    fn a_document_is_understood() {
        let inside = inside();
        assert_eq!((inside.window_seconds, inside.latencies.len(), inside.certificate_days), (87, 1, Some(6.5)));
        let get = &inside.latencies[0];
        assert_eq!((get.command.as_str(), get.requests, get.samples), ("get", 880_000, 20_000));
        assert_eq!((get.p50, get.p99), (Duration::from_micros(8), Duration::from_nanos(112_500)));
        assert_eq!((&inside.sizes[..], inside.without_ttl), (&[(64, 30), (128, 10)][..], 34));
        assert_eq!(inside.ttls, [(Some(60), 5), (None, 1)]);
        assert_eq!((inside.hot_keys[0].name.as_str(), inside.hot_keys[1].name.as_str()), ("#77aa", "user:1"));
        let levels: Vec<Level> = inside.warnings.iter().map(|warning| warning.level).collect();
        assert_eq!(levels, [Level::Critical, Level::Warning]);
        assert_eq!(Inside::of(&Value::Null), Inside::default());
    }

    /// What a listener that gives this answer comes to.
    fn asked(answer: &str) -> Result<Inside, Failure> {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = Address::parse(&listener.local_addr().expect("bound").to_string()).expect("an address");
        let answer = answer.to_owned();
        let server = thread::spawn(move || {
            let (mut stream, _) = listener.accept().expect("a client");
            let mut request = [0; 1024];
            let count = stream.read(&mut request).expect("a request");
            assert!(request[..count].ends_with(b"\r\n\r\n"));
            stream.write_all(answer.as_bytes()).expect("sent");
        });
        let result = Inside::take(&address, Duration::from_secs(10));
        server.join().expect("no panic");
        result
    }

    #[test]
    fn answers_are_checked() {
        let answer = |status: &str, length: usize, body: &str| {
            asked(&format!("HTTP/1.1 {status}\r\nContent-Type: x\r\ncontent-length: {length}\r\n\r\n{body}"))
        };
        assert_eq!(answer("200 OK", 12, "{\"schema\":1}"), Ok(Inside::default()));
        for (status, length, body) in [
            ("403 Forbidden", 12, "{\"schema\":1}"),
            ("200 OK", 12, "{\"schema\":2}"),
            ("200 OK", 11, "{\"schema\":1}"),
            ("200 OK", BODY_BYTES_MAX + 1, "{\"schema\":1}"),
        ] {
            let result = answer(status, length, body);
            assert!(matches!(result, Err(Failure::Answer { .. })), "{status} {length} {body}: {result:?}");
        }
        assert!(matches!(answer("200 OK", 13, "{\"schema\":1}"), Err(Failure::Lost { .. })));
        assert!(matches!(asked("ERROR\r\n"), Err(Failure::Answer { .. })));
    }
}
