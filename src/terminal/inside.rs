//! What a node's admin listener knows and `stats` does not: latencies by command, sizes and times to live, hot keys at no
//! further cost, the end of the certificate, warnings. Only slabstash has one, and only with `-o admin_listen`.
//!
//! It is asked by HTTP, in plain text and without a login, for its `/stats.json`; docs/metrics.md describes that. `httparse`
//! reads the head of the answer and `serde_json` the document.

use std::time::Duration;

use httparse::{EMPTY_HEADER, Response, Status};
use serde_json::Value;

use super::address::Address;
use super::connection::{Access, Connection};
use super::failure::Failure;
use super::findings::{Finding, Level};

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
        connection.extend();
        connection.send(b"GET /stats.json HTTP/1.0\r\nHost: localhost\r\n\r\n")?;
        let body_bytes = head(&mut connection)?;
        let mut body = Vec::new();
        connection.body(body_bytes, |piece| {
            body.extend_from_slice(piece);
            Ok(())
        })?;
        match serde_json::from_slice::<Value>(&body) {
            Ok(document) if document["schema"] == SCHEMA => Ok(Inside::of(&document)),
            _ => Err(connection.surprise(&body)),
        }
    }

    /// What a document says; what it lacks is not known.
    pub fn of(document: &Value) -> Inside {
        let (latency, stored) = (&document["latency"], &document["stored"]);
        Inside {
            window_seconds: count(&latency["window_seconds"]),
            latencies: items(&latency["commands"]).iter().filter_map(CommandLatency::of).collect(),
            sizes: items(&stored["sizes"]).iter().map(|pair| (count(&pair[0]), count(&pair[1]))).collect(),
            ttls: items(&stored["ttls"]).iter().map(|pair| (pair[0].as_u64(), count(&pair[1]))).collect(),
            without_ttl: count(&stored["without_ttl"]),
            hot_keys: items(&document["hot_keys"]["keys"]).iter().map(HotKey::of).collect(),
            certificate_days: document["certificate"]["days_left"].as_f64(),
            warnings: items(&document["warnings"]).iter().map(warning).collect(),
        }
    }
}

impl CommandLatency {
    /// `None` for a command that was not seen.
    fn of(value: &Value) -> Option<CommandLatency> {
        let micros = |name: &str| value[name].as_f64().map(|micros| Duration::from_nanos((micros * 1000.0) as u64));
        Some(CommandLatency {
            command: value["command"].as_str()?.to_owned(),
            requests: count(&value["requests"]),
            samples: count(&value["samples"]),
            p50: micros("p50_us")?,
            p99: micros("p99_us")?,
        })
    }
}

impl HotKey {
    fn of(value: &Value) -> HotKey {
        let hidden = || format!("#{}", value["hash"].as_str().unwrap_or("?"));
        HotKey {
            name: value["key"].as_str().map_or_else(hidden, str::to_owned),
            per_second: value["per_second"].as_f64().unwrap_or(0.0),
            share: value["share"].as_f64().unwrap_or(0.0),
        }
    }
}

/// Takes the head of an answer, for the length of the body.
fn head(connection: &mut Connection) -> Result<usize, Failure> {
    let mut head = Vec::new();
    loop {
        let line = connection.line()?;
        head.extend_from_slice(&line);
        head.extend_from_slice(b"\r\n");
        let mut headers = [EMPTY_HEADER; HEADERS_MAX];
        let mut response = Response::new(&mut headers);
        // What is no answer, or not the one hoped for, is seen at its first line.
        match response.parse(&head) {
            Ok(_) if response.code.is_some_and(|code| code != 200) => return Err(connection.surprise(&line)),
            Ok(Status::Complete(_)) => {
                let length = response.headers.iter().find(|header| header.name.eq_ignore_ascii_case("content-length"));
                let length = length.and_then(|header| std::str::from_utf8(header.value).ok()?.parse().ok());
                let body_bytes = length.filter(|bytes| *bytes <= BODY_BYTES_MAX);
                return body_bytes.ok_or_else(|| connection.surprise(b"no length"));
            }
            Ok(Status::Partial) if head.len() <= HEAD_BYTES_MAX => {}
            Ok(Status::Partial) | Err(_) => return Err(connection.surprise(&line)),
        }
    }
}

fn warning(value: &Value) -> Finding {
    let level = match value["severity"].as_str() {
        Some("critical") => Level::Critical,
        _ => Level::Warning,
    };
    Finding { level, text: value["text"].as_str().unwrap_or("?").to_owned() }
}

/// The number; 0 if it is none.
fn count(value: &Value) -> u64 {
    value.as_u64().unwrap_or(0)
}

/// The values of an array; none if it is none.
fn items(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

/// The schema that this reads.
const SCHEMA: u64 = 1;

/// No document is longer.
const BODY_BYTES_MAX: usize = 4 << 20;

/// No head is longer.
const HEAD_BYTES_MAX: usize = 8 << 10;

/// No head has more headers.
const HEADERS_MAX: usize = 64;

/// A document, for tests.
#[cfg(test)]
pub mod testing {
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
        Inside::of(&serde_json::from_str(text).expect("a document"))
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
        let deep = "[".repeat(100_000);
        for (status, length, body) in [
            ("200 OK", deep.len(), deep.as_str()),
            ("200 OK", 2, "{}"),
            ("403 Forbidden", 12, "{\"schema\":1}"),
            ("200 OK", 12, "{\"schema\":2}"),
            ("200 OK", 11, "{\"schema\":1}"),
            ("200 OK", BODY_BYTES_MAX + 1, "{\"schema\":1}"),
        ] {
            let result = answer(status, length, body);
            assert!(matches!(result, Err(Failure::Answer { .. })), "{status} {length} {body:.20}: {result:?}");
        }
        assert!(matches!(answer("200 OK", 13, "{\"schema\":1}"), Err(Failure::Lost { .. })));
        assert!(matches!(asked("ERROR\r\n"), Err(Failure::Answer { .. })));
        let head = |headers: &str| asked(&format!("HTTP/1.1 200 OK\r\n{headers}\r\n{{}}"));
        for headers in ["", "Content-Length: x\r\n", "no header\r\n", &"a: b\r\n".repeat(HEADERS_MAX + 1)] {
            let result = head(headers);
            assert!(matches!(result, Err(Failure::Answer { .. })), "{headers:.20}: {result:?}");
        }
        let endless = asked(&"\r\n".repeat(HEAD_BYTES_MAX));
        assert!(matches!(endless, Err(Failure::Answer { .. })), "{endless:?}");
    }
}
