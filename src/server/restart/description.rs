//! What a kept cache says about itself, in the words of memcached's metadata file: the settings it was made with, the time,
//! and what the store knows beside its items.
//!
//! ```text
//! Tmain
//! Kformat 1
//! Kmaxbytes 67108864
//! ...
//! ```
//! The settings have to be the same again, as in memcached: another memory limit or item size is a reason to start with a
//! clean cache. Times are on the coarse clock, which goes on after the restart with the seconds that passed by the wall clock.

use std::collections::BTreeMap;
use std::fmt::Write;

use crate::base::time::Now;
use crate::options::SLAB_PAGE_BYTES;
use crate::store::{self, SavedState};

use super::format::FORMAT;

/// See the module comment.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Description {
    /// Number drawn for this writing.
    pub stream: u64,
    /// The coarse second, and the unix time of second 0.
    pub clock: Now,
    /// Unix time at which it was written.
    pub stop_time: i64,
    /// What the store knows.
    pub state: SavedState,
    /// Number of the last event for watchers.
    pub event: u64,
}

/// Why a kept cache is not taken; all but the first are followed by a start with a clean one.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Unfit {
    /// [restart] corrupt metadata file
    NotOurs,
    /// It has not all lines, or one cannot be understood.
    Incomplete(&'static str),
    /// It was written by another program or version.
    Format(String),
    /// A setting is another one now: its name and what it was.
    Setting(&'static str, String),
    /// It was written in the future.
    Clock {
        /// When, by the wall clock of then.
        stop_time: i64,
    },
}

impl Unfit {
    /// The reason in words, with memcached's where it has some.
    pub fn text(&self) -> String {
        match self {
            Unfit::NotOurs => "corrupt metadata file".to_owned(),
            Unfit::Incomplete(name) => format!("missing some metadata lines [{name}]"),
            Unfit::Format(format) => format!("saved by another program or version [format: {format}]"),
            Unfit::Setting(name, old) => format!("restart incompatible due to setting for [{name}] [old value: {old}]"),
            Unfit::Clock { stop_time } => {
                format!("saved at a time that is still to come, is the clock right? [stop_time: {stop_time}]")
            }
        }
    }
}

impl Description {
    /// Its text for a store with `settings`.
    pub fn text(&self, settings: &store::Config) -> String {
        let state = &self.state;
        let mut text = String::from("Tmain\n");
        let mut line = |name: &str, value: &dyn std::fmt::Display| {
            // Writing to a string does not fail.
            let _ = writeln!(text, "K{name} {value}");
        };
        line("format", &FORMAT);
        line("stream", &self.stream);
        for (name, value) in of_settings(settings) {
            line(name, &value);
        }
        line("current_time", &self.clock.seconds);
        line("process_started", &self.clock.epoch);
        line("stop_time", &self.stop_time);
        line("current_cas", &state.cas_bound);
        line("logger_gid", &self.event);
        line("hashpower", &state.hash_power);
        line("flush_through", &state.flush[0]);
        line("flush_delayed", &state.flush[1]);
        line("oldest_live", &state.flush[2]);
        text
    }

    /// Reads a text. The cache it describes may be taken by a store with `settings` at `unix_now`.
    pub fn parse(text: &[u8], settings: &store::Config, unix_now: i64) -> Result<Self, Unfit> {
        let text = String::from_utf8_lossy(text);
        let mut lines = text.lines();
        if !lines.next().is_some_and(|first| first.starts_with('T')) {
            return Err(Unfit::NotOurs);
        }
        let pairs = lines.filter_map(|line| line.strip_prefix('K')?.split_once(' '));
        let pairs: BTreeMap<&str, &str> = pairs.collect();
        let format = pairs.get("format").copied().unwrap_or("none");
        if format.parse() != Ok(FORMAT) {
            return Err(Unfit::Format(format.chars().take(20).collect()));
        }
        for (name, value) in of_settings(settings) {
            let old = pairs.get(name).copied().ok_or(Unfit::Incomplete(name))?;
            if old != value {
                return Err(Unfit::Setting(name, old.to_owned()));
            }
        }
        let stop_time = number(&pairs, "stop_time")?;
        let seconds: u32 = number(&pairs, "current_time")?;
        if stop_time > unix_now
            || i64::from(seconds).saturating_add(unix_now.saturating_sub(stop_time)) >= i64::from(u32::MAX)
        {
            return Err(Unfit::Clock { stop_time });
        }
        Ok(Self {
            stream: number(&pairs, "stream")?,
            clock: Now { seconds, epoch: number(&pairs, "process_started")? },
            stop_time,
            state: SavedState {
                cas_bound: number(&pairs, "current_cas")?,
                flush: [
                    number(&pairs, "flush_through")?,
                    number(&pairs, "flush_delayed")?,
                    number(&pairs, "oldest_live")?,
                ],
                hash_power: number(&pairs, "hashpower")?,
            },
            event: number(&pairs, "logger_gid")?,
        })
    }

    /// The moment on the coarse clock that unix time `unix_now` is, when the cache was checked at that time.
    pub fn resumed(&self, unix_now: i64) -> Now {
        let seconds = i64::from(self.clock.seconds) + (unix_now - self.stop_time).max(0);
        Now { seconds: seconds.min(i64::from(u32::MAX)) as u32, epoch: self.clock.epoch }
    }
}

fn number<N: std::str::FromStr>(pairs: &BTreeMap<&str, &str>, name: &'static str) -> Result<N, Unfit> {
    pairs.get(name).and_then(|text| text.parse().ok()).ok_or(Unfit::Incomplete(name))
}

/// The settings that have to be the same, with memcached's names.
fn of_settings(config: &store::Config) -> [(&'static str, String); 8] {
    let slab_config = match &config.slab_sizes {
        Some(sizes) => sizes.iter().map(u32::to_string).collect::<Vec<_>>().join("-"),
        None => config.growth_factor.to_string(),
    };
    [
        ("slab_config", slab_config),
        ("maxbytes", config.memory_limit_bytes.to_string()),
        ("chunk_size", config.chunk_size_min.to_string()),
        ("item_size_max", config.item_size_max.to_string()),
        ("slab_chunk_size_max", config.slab_chunk_max.to_string()),
        ("slab_page_size", SLAB_PAGE_BYTES.to_string()),
        ("use_cas", config.has_cas.to_string()),
        ("slab_reassign", config.has_slab_reassign.to_string()),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    const STOPPED: i64 = 1_700_001_000;

    fn description() -> Description {
        Description {
            stream: 12,
            clock: Now { seconds: 1062, epoch: 1_699_999_938 },
            stop_time: STOPPED,
            state: SavedState { cas_bound: 77, flush: [1, 0, 3], hash_power: 17 },
            event: 5,
        }
    }

    #[track_caller]
    fn refuse(change: impl Fn(String) -> String, expected: Unfit) {
        let text = change(description().text(&store::Config::default()));
        assert_eq!(Description::parse(text.as_bytes(), &store::Config::default(), STOPPED), Err(expected));
    }

    #[test]
    fn descriptions_come_back() {
        let settings = store::Config { slab_sizes: Some(vec![100, 200]), ..store::Config::default() };
        let text = description().text(&settings);
        assert_eq!(Description::parse(text.as_bytes(), &settings, STOPPED + 9), Ok(description()));
        assert!(text.contains("Kslab_config 100-200\n"));
    }

    #[test]
    fn the_coarse_clock_goes_on() {
        let later = description().resumed(STOPPED + 30);
        assert_eq!(later, Now { seconds: 1092, epoch: 1_699_999_938 });
        assert_eq!(description().resumed(STOPPED).seconds, 1062);
    }

    #[test]
    fn what_does_not_fit_is_said() {
        refuse(|_| String::new(), Unfit::NotOurs);
        refuse(|text| text[1..].to_owned(), Unfit::NotOurs);
        refuse(|text| text.replace("Kformat 1", "Kformat 2"), Unfit::Format("2".to_owned()));
        refuse(|text| text.replace("Kformat 1\n", ""), Unfit::Format("none".to_owned()));
        refuse(|text| text.replace("maxbytes 67108864", "maxbytes 1"), Unfit::Setting("maxbytes", "1".to_owned()));
        refuse(|text| text.replace("use_cas true", "use_cas yes"), Unfit::Setting("use_cas", "yes".to_owned()));
        refuse(|text| text.replace("Kitem_size_max", "Kitem_size"), Unfit::Incomplete("item_size_max"));
        refuse(|text| text.replace("hashpower 17", "hashpower -1"), Unfit::Incomplete("hashpower"));
        refuse(
            |text| text.replace(&STOPPED.to_string(), &(STOPPED + 1).to_string()),
            Unfit::Clock { stop_time: STOPPED + 1 },
        );
        refuse(
            |text| text.replace("current_time 1062", "current_time 4294967295"),
            Unfit::Clock { stop_time: STOPPED },
        );
        refuse(|text| text.replace(&STOPPED.to_string(), &i64::MIN.to_string()), Unfit::Clock { stop_time: i64::MIN });
    }

    #[test]
    fn a_text_cut_anywhere_is_refused() {
        let text = description().text(&store::Config::default());
        // The last line may lack its end, or a digit of a number of more than one.
        for end in 0..text.len() - 2 {
            let cut = Description::parse(&text.as_bytes()[..end], &store::Config::default(), STOPPED);
            assert!(cut.is_err(), "{end}");
        }
    }
}
