//! Where a node is: `host`, `host:port`, `[v6]:port`, `unix:/path` or `/path`.

use std::fmt;
use std::net::Ipv6Addr;
use std::path::PathBuf;

use super::failure::Failure;

/// A node's address, not yet looked up.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum Address {
    /// A host name or an internet address, and a port.
    Tcp {
        /// Without brackets.
        host: String,
        /// Never 0.
        port: u16,
    },
    /// A Unix socket's path.
    Unix(PathBuf),
}

impl Address {
    /// memcached's port on this machine.
    pub fn standard() -> Address {
        Address::Tcp { host: "127.0.0.1".to_owned(), port: PORT }
    }

    /// Reads an address as users write it.
    pub fn parse(text: &str) -> Result<Address, Failure> {
        let wrong = || Failure::Usage(format!("{text:?} is no address: use host:port, [v6]:port or unix:/path"));
        if let Some(path) = text.strip_prefix("unix:").or_else(|| text.starts_with('/').then_some(text)) {
            return if path.is_empty() { Err(wrong()) } else { Ok(Address::Unix(path.into())) };
        }
        let (host, port) = match text.strip_prefix('[') {
            Some(rest) => {
                let (host, after) = rest.split_once(']').ok_or_else(wrong)?;
                let port = if after.is_empty() { None } else { Some(after.strip_prefix(':').ok_or_else(wrong)?) };
                (host, port)
            }
            None if is_v6(text) => (text, None),
            None => text.split_once(':').map_or((text, None), |(host, port)| (host, Some(port))),
        };
        let port = match port {
            None => PORT,
            Some(digits) => digits.parse().ok().filter(|port| *port != 0).ok_or_else(wrong)?,
        };
        let is_name = |letter: char| letter.is_ascii_alphanumeric() || ".-_".contains(letter);
        if host.is_empty() || !is_v6(host) && !host.chars().all(is_name) {
            return Err(wrong());
        }
        Ok(Address::Tcp { host: host.to_owned(), port })
    }

    /// Reads addresses; none is the standard one.
    pub fn parse_all(texts: &[String]) -> Result<Vec<Address>, Failure> {
        if texts.is_empty() {
            return Ok(vec![Address::standard()]);
        }
        texts.iter().map(|text| Address::parse(text)).collect()
    }

    /// Reads the one address of a command that works on one node.
    pub fn parse_one(texts: &[String]) -> Result<Address, Failure> {
        match texts {
            [] => Ok(Address::standard()),
            [text] => Address::parse(text),
            [_, more, ..] => Err(Failure::Usage(format!("one node only: what is {more:?}?"))),
        }
    }

    /// Reads where the admin listeners of nodes are: none, one for each node in their order, or for all of them a port on
    /// the node's own host.
    pub fn parse_admins(texts: &[&str], nodes: &[Address]) -> Result<Vec<Option<Address>>, Failure> {
        match texts {
            [] => Ok(vec![None; nodes.len()]),
            [text] if is_port(text) => nodes.iter().map(|node| node.with_port(text).map(Some)).collect(),
            _ if texts.len() == nodes.len() => {
                let pairs = texts.iter().zip(nodes);
                pairs.map(|(text, node)| Address::parse_admin(text, node).map(Some)).collect()
            }
            _ => Err(Failure::Usage(format!(
                "--admin is a port for all nodes, or given once for each: {} for {}",
                texts.len(),
                nodes.len()
            ))),
        }
    }

    fn parse_admin(text: &str, node: &Address) -> Result<Address, Failure> {
        if is_port(text) {
            return node.with_port(text);
        }
        match Address::parse(text)? {
            // There is no port that an admin listener has by default.
            Address::Tcp { port: PORT, .. } if !text.ends_with(&format!(":{PORT}")) => {
                Err(Failure::Usage(format!("--admin {text:?} has no port")))
            }
            address => Ok(address),
        }
    }

    /// Another port of the same host.
    fn with_port(&self, text: &str) -> Result<Address, Failure> {
        let host = match self {
            Address::Tcp { host, .. } => host.clone(),
            Address::Unix(_) => "127.0.0.1".to_owned(),
        };
        let port = text.parse().ok().filter(|port| *port != 0);
        let port = port.ok_or_else(|| Failure::Usage(format!("--admin {text:?} is no port")))?;
        Ok(Address::Tcp { host, port })
    }

    /// Whether the node is a process of this machine for certain, so that `/proc` tells of it.
    pub fn is_local(&self) -> bool {
        match self {
            Address::Unix(_) => true,
            Address::Tcp { host, .. } => host == "localhost" || host == "::1" || host.starts_with("127."),
        }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = match self {
            Address::Tcp { host, port } if host.contains(':') => format!("[{host}]:{port}"),
            Address::Tcp { host, port } => format!("{host}:{port}"),
            Address::Unix(path) => format!("unix:{}", path.display()),
        };
        out.pad(&text)
    }
}

fn is_port(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

/// An address of IPv6, with or without the interface it is reached by.
fn is_v6(text: &str) -> bool {
    let (address, zone) = text.split_once('%').unwrap_or((text, "0"));
    address.parse::<Ipv6Addr>().is_ok() && !zone.is_empty() && zone.chars().all(|letter| letter.is_ascii_graphic())
}

/// memcached's port.
const PORT: u16 = 11211;

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, expected: &str) {
        assert_eq!(Address::parse(text).map(|address| address.to_string()), Ok(expected.to_owned()));
    }

    #[track_caller]
    fn refuse(text: &str) {
        assert!(matches!(Address::parse(text), Err(Failure::Usage(_))), "{text}");
    }

    #[test]
    fn addresses_are_read() {
        check("cache-1.example", "cache-1.example:11211");
        check("127.0.0.1:4000", "127.0.0.1:4000");
        check("[::1]:4000", "[::1]:4000");
        check("[::1]", "[::1]:11211");
        check("::1", "[::1]:11211");
        check("[fe80::1%eth0]:1", "[fe80::1%eth0]:1");
        check("unix:/run/x.sock", "unix:/run/x.sock");
        check("/run/x.sock", "unix:/run/x.sock");
        check("unix:x.sock", "unix:x.sock");
    }

    #[test]
    fn others_are_refused() {
        for text in [
            "",
            ":1",
            "a:",
            "a:0",
            "a:65536",
            "a:b",
            "[::1",
            "[::1]4000",
            "[]:1",
            "unix:",
            "a b:1",
            "a\n:1",
            "a:b:1",
            "::1%",
        ] {
            refuse(text);
        }
    }

    #[track_caller]
    fn check_admins(texts: &[&str], expected: Option<&[&str]>) {
        let nodes = ["a", "[::1]:7", "/x"].map(|text| Address::parse(text).expect("an address"));
        let admins = Address::parse_admins(texts, &nodes).ok().map(|admins| {
            let shown = admins.iter().map(|admin| admin.as_ref().map_or("-".to_owned(), ToString::to_string));
            shown.collect::<Vec<_>>()
        });
        let expected = expected.map(|texts| texts.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>());
        assert_eq!(admins, expected, "{texts:?}");
    }

    #[test]
    fn admin_listeners_belong_to_nodes() {
        check_admins(&[], Some(&["-", "-", "-"]));
        check_admins(&["9150"], Some(&["a:9150", "[::1]:9150", "127.0.0.1:9150"]));
        check_admins(&["b:1", "9150", "unix:/y"], Some(&["b:1", "[::1]:9150", "unix:/y"]));
        check_admins(&["b:11211", "1", "2"], Some(&["b:11211", "[::1]:1", "127.0.0.1:2"]));
        for refused in [&["b:1"][..], &["1", "2"], &["0"], &["65536"], &["b", "1", "2"], &["b:x", "1", "2"]] {
            check_admins(refused, None);
        }
    }

    #[test]
    fn local_addresses_are_known() {
        for (text, is_local) in [("127.0.0.2:1", true), ("[::1]:1", true), ("/x", true), ("10.0.0.1:1", false)] {
            assert_eq!(Address::parse(text).map(|address| address.is_local()), Ok(is_local), "{text}");
        }
    }
}
