//! What `stats` answers: names and values in the node's order.

use super::text::{json_object, json_value, printable};

/// One answer to `stats`, whole.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Statistics {
    entries: Vec<(String, String)>,
}

impl Statistics {
    /// Takes `STAT name value`. False if the line is something else.
    pub fn push_line(&mut self, line: &[u8]) -> bool {
        let Some(rest) = line.strip_prefix(b"STAT ") else { return false };
        // A value may be empty or hold blanks; a name holds none.
        let end = rest.iter().position(|byte| *byte == b' ').unwrap_or(rest.len());
        let value = rest.get(end + 1..).unwrap_or_default();
        self.entries.push((printable(&rest[..end]), printable(value)));
        true
    }

    /// A value's text.
    pub fn text(&self, name: &str) -> Option<&str> {
        self.entries.iter().find(|(found, _)| found == name).map(|(_, value)| value.as_str())
    }

    /// A value that is a whole number.
    pub fn number(&self, name: &str) -> Option<u64> {
        self.text(name)?.parse().ok()
    }

    /// The sum of those of the named values that are there.
    pub fn sum(&self, names: &[&str]) -> u64 {
        names.iter().filter_map(|name| self.number(name)).fold(0, u64::saturating_add)
    }

    /// Names and values in the node's order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.entries.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }

    /// Whether nothing was answered.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// One JSON object.
    pub fn json(&self) -> String {
        let fields: Vec<(&str, String)> = self.iter().map(|(name, value)| (name, json_value(value))).collect();
        json_object(&fields)
    }

    /// Reads what `stats` answered, `END` or not.
    #[cfg(test)]
    pub fn of(text: &str) -> Statistics {
        let mut statistics = Statistics::default();
        for line in text.lines().filter(|line| *line != "END") {
            assert!(statistics.push_line(line.as_bytes()), "{line}");
        }
        statistics
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_read() {
        let statistics = Statistics::of("STAT pid 7\nSTAT libevent 2.1.12 stable\nSTAT empty \nSTAT none\nEND");
        assert_eq!(statistics.number("pid"), Some(7));
        assert_eq!(statistics.text("libevent"), Some("2.1.12 stable"));
        assert_eq!(statistics.text("empty"), Some(""));
        assert_eq!(statistics.text("none"), Some(""));
        assert_eq!(statistics.number("libevent"), None);
        assert_eq!(statistics.sum(&["pid", "pid", "absent"]), 14);
        assert_eq!(statistics.json(), r#"{"pid":7,"libevent":"2.1.12 stable","empty":"","none":""}"#);
        assert!(!Statistics::default().push_line(b"ERROR"));
        assert!(!Statistics::default().push_line(b"STATS a 1"));
    }
}
