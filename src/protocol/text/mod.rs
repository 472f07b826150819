//! The text protocol: classic commands and meta commands on lines.
