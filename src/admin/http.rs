//! HTTP/1.0 and 1.1 as far as it is needed: one GET or HEAD, one answer, then the connection is closed. `httparse` reads
//! the head; what follows it is not looked at.
//!
//! A browser on the same machine is a way in for any page on the web: a name of the attacker's may resolve to 127.0.0.1, and
//! then its scripts may read what is answered. So on a loopback address `Host` has to be an address or `localhost`.

use std::borrow::Cow;
use std::net::IpAddr;

use httparse::{EMPTY_HEADER, Error, Request as Head, Status as Parsed};

/// Longest head of a request.
pub(super) const HEAD_BYTES_MAX: usize = 8 * 1024;
/// Most headers of a request.
const HEADERS_MAX: usize = 64;

/// A request that may be answered.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Request {
    /// The path, without the query.
    pub path: String,
    /// What follows the `?`, empty without.
    pub query: String,
    /// HEAD: the answer goes without its body.
    pub is_head: bool,
}

/// What the bytes received so far come to.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Outcome {
    /// The head is not all there.
    Partial,
    Request(Request),
    /// Not to be answered but with this.
    Refused(Status),
}

/// Statuses of answers.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Status {
    Ok,
    BadRequest,
    Forbidden,
    NotFound,
    MethodNotAllowed,
    HeadTooLarge,
    Unavailable,
    VersionNotSupported,
}

impl Status {
    fn line(self) -> &'static str {
        match self {
            Status::Ok => "200 OK",
            Status::BadRequest => "400 Bad Request",
            Status::Forbidden => "403 Forbidden",
            Status::NotFound => "404 Not Found",
            Status::MethodNotAllowed => "405 Method Not Allowed",
            Status::HeadTooLarge => "431 Request Header Fields Too Large",
            Status::Unavailable => "503 Service Unavailable",
            Status::VersionNotSupported => "505 HTTP Version Not Supported",
        }
    }
}

/// Which hosts a request may name.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Hosts {
    /// Addresses and `localhost`.
    Local,
    /// Any: the listener is meant to be known by a name, or it is a Unix socket.
    Any,
}

/// Reads a request off the start of `input`.
pub(super) fn parse(input: &[u8], hosts: Hosts) -> Outcome {
    let mut headers = [EMPTY_HEADER; HEADERS_MAX];
    let mut head = Head::new(&mut headers);
    match head.parse(input) {
        Ok(Parsed::Complete(bytes)) if bytes > HEAD_BYTES_MAX => return Outcome::Refused(Status::HeadTooLarge),
        Ok(Parsed::Complete(_)) => {}
        Ok(Parsed::Partial) if input.len() >= HEAD_BYTES_MAX => return Outcome::Refused(Status::HeadTooLarge),
        Ok(Parsed::Partial) => return Outcome::Partial,
        Err(Error::TooManyHeaders) => return Outcome::Refused(Status::HeadTooLarge),
        Err(Error::Version) => return Outcome::Refused(Status::VersionNotSupported),
        Err(_) => return Outcome::Refused(Status::BadRequest),
    }
    let is_head = match head.method {
        Some("GET") => false,
        Some("HEAD") => true,
        _ => return Outcome::Refused(Status::MethodNotAllowed),
    };
    let mut named = head.headers.iter().filter(|header| header.name.eq_ignore_ascii_case("host"));
    match (named.next(), named.next(), head.version) {
        (Some(host), None, _) if hosts == Hosts::Any || is_local(host.value) => {}
        (Some(_), None, _) => return Outcome::Refused(Status::Forbidden),
        (None, None, Some(0)) => {}
        _ => return Outcome::Refused(Status::BadRequest),
    }
    let target = head.path.unwrap_or_default();
    if !target.starts_with('/') {
        return Outcome::Refused(Status::BadRequest);
    }
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    Outcome::Request(Request { path: path.to_owned(), query: query.to_owned(), is_head })
}

/// Whether a `Host` is an address or `localhost`, with or without a port.
fn is_local(host: &[u8]) -> bool {
    let Ok(host) = std::str::from_utf8(host) else {
        return false;
    };
    let name = match host.strip_prefix('[') {
        Some(bracketed) => match bracketed.split_once(']') {
            Some((address, "")) => address,
            Some((address, port)) if port.starts_with(':') => address,
            _ => return false,
        },
        None => host.split_once(':').map_or(host, |(name, _)| name),
    };
    name.eq_ignore_ascii_case("localhost") || name.parse::<IpAddr>().is_ok()
}

/// An answer.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Answer {
    pub status: Status,
    pub content_type: &'static str,
    pub body: Cow<'static, [u8]>,
}

impl Answer {
    pub fn new(status: Status, content_type: &'static str, body: impl Into<Cow<'static, str>>) -> Self {
        let body = match body.into() {
            Cow::Borrowed(text) => Cow::Borrowed(text.as_bytes()),
            Cow::Owned(text) => Cow::Owned(text.into_bytes()),
        };
        Self { status, content_type, body }
    }

    /// A status in words.
    pub fn status(status: Status) -> Self {
        Self::new(status, TEXT, format!("{}\n", status.line()))
    }

    /// The bytes of the answer; `is_head` leaves out the body. Without memory for it another answer says so.
    pub fn bytes(&self, is_head: bool) -> Vec<u8> {
        let allow = match self.status {
            Status::MethodNotAllowed => "Allow: GET, HEAD\r\n",
            _ => "",
        };
        let head = format!(
            "HTTP/1.1 {}\r\nContent-Type: {}\r\nContent-Length: {}\r\n{allow}{HEADERS}\r\n",
            self.status.line(),
            self.content_type,
            self.body.len(),
        );
        let mut bytes = head.into_bytes();
        if is_head {
            return bytes;
        }
        if bytes.try_reserve_exact(self.body.len()).is_err() {
            return Answer::status(Status::Unavailable).bytes(is_head);
        }
        bytes.extend_from_slice(&self.body);
        bytes
    }
}

/// Plain text.
pub(super) const TEXT: &str = "text/plain; charset=utf-8";
/// Prometheus' text format.
pub(super) const PROMETHEUS: &str = "text/plain; version=0.0.4; charset=utf-8";
/// JSON.
pub(super) const JSON: &str = "application/json";

/// Headers of every answer: nothing is kept, nothing from outside is loaded, nothing is framed.
const HEADERS: &str = "Cache-Control: no-store\r\n\
    Connection: close\r\n\
    Content-Security-Policy: default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; \
    img-src 'self' data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'\r\n\
    Cross-Origin-Resource-Policy: same-origin\r\n\
    Referrer-Policy: no-referrer\r\n\
    X-Content-Type-Options: nosniff\r\n";

#[cfg(test)]
mod tests {
    use super::*;

    fn request(path: &str, query: &str, is_head: bool) -> Outcome {
        Outcome::Request(Request { path: path.to_owned(), query: query.to_owned(), is_head })
    }

    #[track_caller]
    fn check(input: &str, expected: Outcome) {
        assert_eq!(parse(input.as_bytes(), Hosts::Local), expected, "{input:?}");
    }

    #[test]
    fn requests_are_read() {
        check("GET / HTTP/1.0\r\n\r\n", request("/", "", false));
        check("GET /metrics HTTP/1.1\r\nHost: 127.0.0.1:9150\r\nAccept: */*\r\n\r\n", request("/metrics", "", false));
        check("HEAD /a?after=3&b HTTP/1.1\r\nhost:[::1]:1\r\n\r\nrest", request("/a", "after=3&b", true));
        let whole = "GET /x HTTP/1.1\r\nHost: localhost\r\n\r\n";
        for end in 0..whole.len() {
            check(&whole[..end], Outcome::Partial);
        }
        check(whole, request("/x", "", false));
    }

    #[test]
    fn what_is_wrong_is_refused() {
        for (input, status) in [
            ("POST / HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n", Status::MethodNotAllowed),
            ("get / HTTP/1.0\r\n\r\n", Status::MethodNotAllowed),
            ("GET / HTTP/1.1\r\n\r\n", Status::BadRequest),
            ("GET / HTTP/1.1\r\nHost: 1.1.1.1\r\nHost: 1.1.1.1\r\n\r\n", Status::BadRequest),
            ("GET http://x/ HTTP/1.0\r\n\r\n", Status::BadRequest),
            ("GET / HTTP/2.0\r\n\r\n", Status::VersionNotSupported),
            ("GET / HTTP/1.1\r\nBad Header: 1\r\n\r\n", Status::BadRequest),
            ("get greeting\r\n", Status::BadRequest),
            ("\x16\x03\x01\x02\x00\x01\x00", Status::BadRequest),
        ] {
            check(input, Outcome::Refused(status));
        }
        check(&format!("GET /{} HTTP/1.1", "a".repeat(HEAD_BYTES_MAX)), Outcome::Refused(Status::HeadTooLarge));
        let headers = "A: b\r\n".repeat(HEADERS_MAX + 1);
        check(&format!("GET / HTTP/1.1\r\n{headers}\r\n"), Outcome::Refused(Status::HeadTooLarge));
    }

    #[test]
    fn names_of_others_are_no_hosts() {
        for host in ["evil.example", "127.0.0.1.evil.example:80", "localhost.evil", "", "[::1", "[::1]x", "é"] {
            let input = format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n");
            let refused = parse(input.as_bytes(), Hosts::Local);
            assert!(matches!(refused, Outcome::Refused(Status::Forbidden | Status::BadRequest)), "{host}: {refused:?}");
        }
        let input = "GET / HTTP/1.1\r\nHost: cache-1.example:9150\r\n\r\n";
        assert_eq!(parse(input.as_bytes(), Hosts::Any), request("/", "", false));
        for host in ["LocalHost:9150", "10.0.0.1", "[fe80::1]:9150"] {
            assert!(is_local(host.as_bytes()), "{host}");
        }
    }

    #[test]
    fn answers_have_their_length_and_no_body_for_head() {
        let answer = Answer::new(Status::Ok, TEXT, "hello");
        let text = String::from_utf8(answer.bytes(false)).unwrap();
        assert!(
            text.starts_with("HTTP/1.1 200 OK\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: 5\r\n")
        );
        assert!(text.ends_with("\r\n\r\nhello") && !text.contains("Allow"));
        assert!(String::from_utf8(answer.bytes(true)).unwrap().ends_with("nosniff\r\n\r\n"));
        let refusal = String::from_utf8(Answer::status(Status::MethodNotAllowed).bytes(false)).unwrap();
        assert!(refusal.contains("Allow: GET, HEAD\r\n") && refusal.ends_with("\r\n\r\n405 Method Not Allowed\n"));
    }
}
