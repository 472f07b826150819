//! The keys of a node, as `lru_crawler metadump` and `lru_crawler mgdump` list them.
//!
//! [`Listing`] is a stream: a large cache is never held here. Items that are stored while it runs may be missing, and
//! items that are gone since may be listed; that is the crawler's nature.

use super::connection::Connection;
use super::failure::Failure;
use super::text::{base64_decode, uri_decode};

/// One item, without its value.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Entry {
    /// The key, decoded: any bytes.
    pub key: Vec<u8>,
    /// What else is known of it; nothing from `mgdump`.
    pub facts: Option<Facts>,
}

/// What `metadump` tells of an item.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Facts {
    /// Unix time at which it expires; `None` is never.
    pub expires: Option<i64>,
    /// Unix time of its last access.
    pub accessed: i64,
    /// Its CAS id.
    pub cas: u64,
    /// Whether it was fetched since it was stored.
    pub is_fetched: bool,
    /// Its slab class.
    pub class: u32,
    /// Bytes it takes by memcached's arithmetic, header and key included.
    pub bytes: u64,
    /// Client flags; not told by older nodes.
    pub flags: Option<u64>,
}

/// Which dump to ask for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Dump {
    /// Everything about every item.
    Meta,
    /// Keys only; memcached has it from 1.6.19 on.
    Keys,
}

/// A dump that is being received.
#[derive(Debug)]
pub struct Listing {
    connection: Connection,
    /// The line that answered the request, where it was an entry already.
    first: Option<Vec<u8>>,
    /// Lines so far, for the message should one not be understood.
    is_over: bool,
}

impl Listing {
    /// Asks for a dump of some slab classes, or of all if there are none.
    pub fn start(mut connection: Connection, dump: Dump, classes: &[u32]) -> Result<Listing, Failure> {
        let word = match dump {
            Dump::Meta => "metadump",
            Dump::Keys => "mgdump",
        };
        let classes = match classes {
            [] => "all".to_owned(),
            some => some.iter().map(u32::to_string).collect::<Vec<_>>().join(","),
        };
        let line = connection.ask(format!("lru_crawler {word} {classes}\r\n").as_bytes())?;
        // memcached says OK before the first entry or not, by its version; what cannot be dumped is told at once.
        let is_refused = [&b"ERROR"[..], b"CLIENT_ERROR", b"SERVER_ERROR", b"BUSY", b"BADCLASS", b"NOSPARE"]
            .iter()
            .any(|refusal| line.starts_with(refusal));
        if is_refused {
            return Err(connection.surprise(&line));
        }
        let first = (line != b"OK").then_some(line);
        Ok(Listing { connection, first, is_over: false })
    }

    /// The next entry; `None` at the end.
    pub fn next_entry(&mut self) -> Result<Option<Entry>, Failure> {
        if self.is_over {
            return Ok(None);
        }
        let line = match self.first.take() {
            Some(line) => line,
            None => {
                self.connection.extend();
                self.connection.line()?
            }
        };
        if line == b"END" || line == b"EN" {
            self.is_over = true;
            return Ok(None);
        }
        entry(&line).map(Some).ok_or_else(|| self.connection.surprise(&line))
    }
}

/// Reads `key=… exp=…` or `mg KEY[ b]`.
pub fn entry(line: &[u8]) -> Option<Entry> {
    if let Some(rest) = line.strip_prefix(b"mg ") {
        let mut words = rest.split(|byte| *byte == b' ').filter(|word| !word.is_empty());
        let key = words.next()?;
        let key = if words.next() == Some(b"b") { base64_decode(key)? } else { key.to_vec() };
        return Some(Entry { key, facts: None });
    }
    let text = std::str::from_utf8(line).ok()?;
    let field = |name: &str| text.split(' ').find_map(|word| word.strip_prefix(name)?.strip_prefix('='));
    let key = text.split(' ').next()?.strip_prefix("key=")?;
    let expires: i64 = field("exp")?.parse().ok()?;
    Some(Entry {
        key: uri_decode(key.as_bytes()),
        facts: Some(Facts {
            expires: (expires != -1).then_some(expires),
            accessed: field("la")?.parse().ok()?,
            cas: field("cas").and_then(|cas| cas.parse().ok()).unwrap_or(0),
            is_fetched: field("fetch")? == "yes",
            class: field("cls")?.parse().ok()?,
            bytes: field("size")?.parse().ok()?,
            flags: field("flags").and_then(|flags| flags.parse().ok()),
        }),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metadump_lines_are_read() {
        let new = b"key=a%25b%00 exp=1795451006 la=1795450906 cas=3 fetch=yes cls=1 size=63 flags=7 ";
        let old = b"key=a%25b%00 exp=-1 la=1795450906 cas=3 fetch=no cls=1 size=63";
        let facts = Facts {
            expires: Some(1_795_451_006),
            accessed: 1_795_450_906,
            cas: 3,
            is_fetched: true,
            class: 1,
            bytes: 63,
            flags: Some(7),
        };
        assert_eq!(entry(new), Some(Entry { key: b"a%b\0".to_vec(), facts: Some(facts) }));
        let facts = Facts { expires: None, is_fetched: false, flags: None, ..facts };
        assert_eq!(entry(old), Some(Entry { key: b"a%b\0".to_vec(), facts: Some(facts) }));
    }

    #[test]
    fn mgdump_lines_are_read() {
        assert_eq!(entry(b"mg a%b"), Some(Entry { key: b"a%b".to_vec(), facts: None }));
        assert_eq!(entry(b"mg AAECIA== b"), Some(Entry { key: b"\0\x01\x02 ".to_vec(), facts: None }));
    }

    #[test]
    fn other_lines_are_not() {
        for line in ["", "END", "ERROR", "mg", "mg ", "mg A b", "key=a", "key=a exp=x la=1 fetch=no cls=1 size=1"] {
            assert_eq!(entry(line.as_bytes()), None, "{line}");
        }
    }
}
