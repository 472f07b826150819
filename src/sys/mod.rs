//! Layer 1: what std and mio lack of the system: users, limits, the daemon, facts about the process.

pub mod process;
