//! Standard error: the log, memcached's verbose lines among it, and the few lines that are always said.

use std::io::Write;

use log::LevelFilter;

/// Starts the log at the level that `-v` asks for. Lines are bare text, as memcached's are; tools look for those.
pub fn start(verbosity: u8) {
    let mut builder = env_logger::Builder::new();
    builder.filter_level(LevelFilter::Trace);
    builder.format(|buffer, record| writeln!(buffer, "{}", record.args()));
    // A program that embeds the server may have a log of its own.
    let _ = builder.try_init();
    set_verbosity(verbosity);
}

/// Changes the level while the server runs.
pub fn set_verbosity(verbosity: u8) {
    log::set_max_level(match verbosity {
        0 => LevelFilter::Warn,
        1 => LevelFilter::Info,
        2 => LevelFilter::Debug,
        _ => LevelFilter::Trace,
    });
}

/// Writes a line whatever the level. That nobody listens is no reason to stop.
pub fn say(text: &str) {
    let _ = writeln!(std::io::stderr(), "{text}");
}
