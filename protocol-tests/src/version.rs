//! The memcached version a server claims, which decides the cases it has to pass.

use std::fmt;
use std::str::FromStr;

/// A release number such as `1.6.45`; ordered as releases are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Version(pub u16, pub u16, pub u16);

/// The release slabstash is compatible with, assumed for a server that does not name one.
pub const REFERENCE: Version = Version(1, 6, 45);

impl FromStr for Version {
    type Err = String;

    fn from_str(text: &str) -> Result<Version, String> {
        let numbers: Result<Vec<u16>, _> = text.trim().split('.').map(str::parse).collect();
        match numbers.as_deref() {
            Ok([major, minor, patch]) => Ok(Version(*major, *minor, *patch)),
            _ => Err(format!("'{text}' is no version such as 1.6.45")),
        }
    }
}

impl fmt::Display for Version {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}.{}.{}", self.0, self.1, self.2)
    }
}

#[cfg(test)]
mod tests {
    use super::Version;

    #[test]
    fn orders_by_number_not_by_text() {
        let old: Version = "1.6.9".parse().unwrap();
        let new: Version = "1.6.18\n".parse().unwrap();
        assert!(old < new);
        assert_eq!(new.to_string(), "1.6.18");
        assert!("1.6".parse::<Version>().is_err());
        assert!("1.6.x".parse::<Version>().is_err());
    }
}
