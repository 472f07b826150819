//! The command line. Every option is a row of [`FLAGS`]; parsing and the help text come from there.

use std::path::PathBuf;
use std::time::Duration;

use crate::error::Error;
use crate::micro;
use crate::server::{Binary, Launch};
use crate::workload::{self, Entry, Parameters};

/// What to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Measure.
    Run,
    /// Replay traces in process under every eviction policy.
    Policies,
    /// Name the workloads.
    List,
    /// Count the instructions of the micro-benchmarks.
    Instructions,
    /// Do the micro-benchmarks' work and count nothing.
    RunItems,
    /// Explain the options.
    Help,
}

/// A checked command line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// What to do.
    pub action: Action,
    /// Names of workloads or families; none means all.
    pub workloads: Vec<String>,
    /// Servers; none means the defaults. The last one is the reference.
    pub servers: Vec<Binary>,
    /// Rounds per workload.
    pub rounds: usize,
    /// How long a round counts.
    pub time: Duration,
    /// How long a round loads before that.
    pub warm_up: Duration,
    /// How servers run.
    pub launch: Launch,
    /// Names of micro-benchmarks or families; none means all.
    pub items: Vec<String>,
    /// The file with their figures on record.
    pub baseline: PathBuf,
    /// Whether to put figures on record instead of comparing them with it.
    pub is_recording: bool,
    /// How much worse than on record an item may be; `None`: any figure will do.
    pub tolerance_percent: Option<u64>,
    /// Where to write the report, beside standard output.
    pub output: Option<PathBuf>,
    /// What workloads are made with.
    pub parameters: Parameters,
}

impl Options {
    /// Whether servers run under callgrind, which counts instructions and nothing else.
    pub fn is_callgrind(&self) -> bool {
        self.launch == Launch::Callgrind
    }

    fn new() -> Options {
        Options {
            action: Action::Run,
            workloads: Vec::new(),
            servers: Vec::new(),
            rounds: 5,
            time: Duration::from_secs(3),
            warm_up: Duration::from_secs(1),
            launch: Launch::Plain,
            items: Vec::new(),
            baseline: PathBuf::from(BASELINE),
            is_recording: false,
            tolerance_percent: Some(3),
            output: None,
            parameters: Parameters::default(),
        }
    }

    /// Reads the words after the program's name.
    pub fn parse(words: &[String]) -> Result<Options, Error> {
        let mut options = Options::new();
        let has = |name: &str| words.iter().any(|word| word == name);
        // These set many others, so they go before them wherever they stand.
        if has("--callgrind") {
            options.rounds = 1;
        }
        if has("--quick") {
            options.rounds = 1;
            options.tolerance_percent = None;
            options.time = Duration::from_secs(1);
            options.warm_up = Duration::from_millis(200);
            options.parameters = Parameters::quick();
        }
        let mut words = words.iter().peekable();
        while let Some(word) = words.next() {
            let (name, attached) = match word.split_once('=') {
                Some((name, value)) => (name, Some(value)),
                None => (word.as_str(), None),
            };
            let flag = FLAGS
                .iter()
                .find(|flag| flag.name == name)
                .ok_or_else(|| Error::Usage(format!("unknown option {word}; see --help")))?;
            let mut values: Vec<&str> = attached.into_iter().collect();
            let wanted = if attached.is_some() { 0 } else { flag.values.at_most() };
            while values.len() < wanted {
                match words.next_if(|word| !word.starts_with("--")) {
                    Some(value) => values.push(value),
                    None => break,
                }
            }
            if values.is_empty() != (flag.values == Values::None) {
                let problem = if values.is_empty() { "needs a value" } else { "takes no value" };
                return Err(Error::Usage(format!("{name} {problem}")));
            }
            for value in if values.is_empty() { vec![""] } else { values } {
                (flag.apply)(&mut options, value)
                    .map_err(|problem| Error::Usage(format!("{name} {value}: {problem}")))?;
            }
        }
        Ok(options)
    }

    /// The workloads to run, in the order of the table, each once.
    pub fn entries(&self) -> Vec<&'static Entry> {
        let is_wanted = |entry: &&Entry| {
            let names = |name: &String| workload::named(name).iter().any(|it| it.name == entry.name);
            match self.workloads.is_empty() {
                true => !(self.leaves_traces_out() && entry.needs_traces()),
                false => self.workloads.iter().any(names),
            }
        };
        workload::ALL.iter().filter(is_wanted).collect()
    }

    /// Whether the workloads that need traces are left out: they were not asked for by name, and there are none.
    pub fn leaves_traces_out(&self) -> bool {
        self.workloads.is_empty() && self.parameters.traces.is_none()
    }
}

/// How many values an option takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Values {
    None,
    One,
    Several,
}

impl Values {
    fn at_most(self) -> usize {
        match self {
            Values::None => 0,
            Values::One => 1,
            Values::Several => usize::MAX,
        }
    }
}

struct Flag {
    name: &'static str,
    values: Values,
    shown: &'static str,
    help: &'static str,
    apply: fn(&mut Options, &str) -> Result<(), String>,
}

const FLAGS: &[Flag] = &[
    Flag {
        name: "--workload",
        values: Values::Several,
        shown: "NAME...",
        help: "run only these workloads or families (get-1, density)",
        apply: |options, value| match workload::named(value).is_empty() {
            true => Err("no such workload; see --list".to_string()),
            false => {
                options.workloads.push(value.to_string());
                Ok(())
            }
        },
    },
    Flag {
        name: "--server",
        values: Values::Several,
        shown: "NAME=PATH...",
        help: "servers in place of slabstash and memcached, the reference last; \"N=PATH -x\" adds options",
        apply: |options, value| {
            let binary = Binary::parse(value)?;
            if options.servers.iter().any(|other| other.name == binary.name) {
                return Err("there is a server of this name".to_string());
            }
            options.servers.push(binary);
            Ok(())
        },
    },
    Flag {
        name: "--rounds",
        values: Values::One,
        shown: "N",
        help: "rounds per workload, each on every server in turn (5)",
        apply: |options, value| number(value, 1, 1000).map(|it| options.rounds = it as usize),
    },
    Flag {
        name: "--seconds",
        values: Values::One,
        shown: "S",
        help: "length of a round (3)",
        apply: |options, value| duration(value, 0.1, 3600.0).map(|it| options.time = it),
    },
    Flag {
        name: "--warm-up",
        values: Values::One,
        shown: "S",
        help: "load before each round that does not count (1)",
        apply: |options, value| duration(value, 0.0, 600.0).map(|it| options.warm_up = it),
    },
    Flag {
        name: "--output",
        values: Values::One,
        shown: "DIR",
        help: "write results.md, samples.csv and ratios.svg there",
        apply: |options, value| {
            options.output = Some(PathBuf::from(value));
            Ok(())
        },
    },
    Flag {
        name: "--keys",
        values: Values::One,
        shown: "N",
        help: "items of most workloads (100000)",
        apply: |options, value| number(value, 1, 100_000_000).map(|it| options.parameters.keys = it),
    },
    Flag {
        name: "--cold-keys",
        values: Values::One,
        shown: "N",
        help: "items of get-cold (1000000; the published figures use 4000000)",
        apply: |options, value| number(value, 1, 100_000_000).map(|it| options.parameters.cold_keys = it),
    },
    Flag {
        name: "--value-bytes",
        values: Values::One,
        shown: "N",
        help: "size of values, but for workloads about sizes (100)",
        apply: |options, value| number(value, 16, 1_000_000).map(|it| options.parameters.value_bytes = it as usize),
    },
    Flag {
        name: "--connections",
        values: Values::One,
        shown: "N",
        help: "in place of each workload's own number",
        apply: |options, value| number(value, 1, 1000).map(|it| options.parameters.connections = Some(it as usize)),
    },
    Flag {
        name: "--depth",
        values: Values::One,
        shown: "N",
        help: "requests per batch, in place of each workload's own number",
        apply: |options, value| number(value, 1, 1000).map(|it| options.parameters.depth = Some(it)),
    },
    Flag {
        name: "--rate",
        values: Values::One,
        shown: "N",
        help: "requests per second of open, in place of a share of what the reference reaches",
        apply: |options, value| number(value, 1, 100_000_000).map(|it| options.parameters.rate = Some(it)),
    },
    Flag {
        name: "--stream-rate",
        values: Values::One,
        shown: "N",
        help: "1 MiB values per second beside open-*-streaming, half of them read, half written (200)",
        apply: |options, value| number(value, 1, 100_000).map(|it| options.parameters.stream_rate = it),
    },
    Flag {
        name: "--idle-connections",
        values: Values::One,
        shown: "N",
        help: "connections of idle (10000)",
        apply: |options, value| number(value, 1, 1_000_000).map(|it| options.parameters.idle_connections = it as usize),
    },
    Flag {
        name: "--density-mib",
        values: Values::One,
        shown: "N",
        help: "memory limit of the servers in density (256)",
        apply: |options, value| number(value, 16, 1 << 20).map(|it| options.parameters.density_mib = it),
    },
    Flag {
        name: "--callgrind",
        values: Values::None,
        shown: "",
        help: "count the servers' user instructions by callgrind, and nothing else; one round",
        apply: |options, _| {
            options.launch = Launch::Callgrind;
            Ok(())
        },
    },
    Flag {
        name: "--real-time",
        values: Values::None,
        shown: "",
        help: "run servers at real-time priority, so that nothing else takes their core: for tails; needs chrt and the right",
        apply: |options, _| {
            options.launch = Launch::RealTime;
            Ok(())
        },
    },
    Flag {
        name: "--instructions",
        values: Values::None,
        shown: "",
        help: "count the instructions of the micro-benchmarks and compare them with those on record",
        apply: |options, _| {
            options.action = Action::Instructions;
            Ok(())
        },
    },
    Flag {
        name: "--item",
        values: Values::Several,
        shown: "NAME...",
        help: "only these micro-benchmarks or families (parse-get, session)",
        apply: |options, value| {
            let names = [value.to_string()];
            match micro::named(&names).is_empty() {
                true => Err("no such item; see --list".to_string()),
                false => {
                    options.items.extend(names);
                    Ok(())
                }
            }
        },
    },
    Flag {
        name: "--tolerance",
        values: Values::One,
        shown: "PERCENT",
        help: "exit with 1 if an item needs so many more instructions than on record (3)",
        apply: |options, value| number(value, 0, 1000).map(|it| options.tolerance_percent = Some(it)),
    },
    Flag {
        name: "--record",
        values: Values::None,
        shown: "",
        help: "with --instructions: put the figures on record",
        apply: |options, _| {
            options.is_recording = true;
            Ok(())
        },
    },
    Flag {
        name: "--baseline",
        values: Values::One,
        shown: "FILE",
        help: "the record (benches/instructions.txt)",
        apply: |options, value| {
            options.baseline = PathBuf::from(value);
            Ok(())
        },
    },
    Flag {
        name: "--traces",
        values: Values::One,
        shown: "DIR",
        help: "folder of the traces that replay wants (the variable TRACES)",
        apply: |options, value| {
            options.parameters.traces = Some(PathBuf::from(value));
            Ok(())
        },
    },
    Flag {
        name: "--run-items",
        values: Values::None,
        shown: "",
        help: "do the micro-benchmarks' work, to be run under a profiler; --instructions uses it",
        apply: |options, _| {
            options.action = Action::RunItems;
            Ok(())
        },
    },
    Flag {
        name: "--replay-mib",
        values: Values::One,
        shown: "N",
        help: "memory of a replay, about: so many copies of the trace are played that its share is that (64)",
        apply: |options, value| number(value, 1, 1 << 16).map(|it| options.parameters.replay_mib = it),
    },
    Flag {
        name: "--policies",
        values: Values::None,
        shown: "",
        help: "replay the traces in process under every eviction policy, and do nothing else",
        apply: |options, _| {
            options.action = Action::Policies;
            Ok(())
        },
    },
    Flag {
        name: "--quick",
        values: Values::None,
        shown: "",
        help: "one round of one second each with little data: does everything work?",
        apply: |_, _| Ok(()),
    },
    Flag {
        name: "--list",
        values: Values::None,
        shown: "",
        help: "name the workloads and the micro-benchmarks",
        apply: |options, _| {
            options.action = Action::List;
            Ok(())
        },
    },
    Flag {
        name: "--help",
        values: Values::None,
        shown: "",
        help: "this text",
        apply: |options, _| {
            options.action = Action::Help;
            Ok(())
        },
    },
];

/// The text of `--help`.
pub fn help() -> String {
    let mut text = "slabstash-bench: slabstash and memcached side by side\n\n".to_string();
    for flag in FLAGS {
        let head = format!("{} {}", flag.name, flag.shown);
        text += &format!("  {head:<22} {}\n", flag.help);
    }
    text
}

/// The text of `--list`.
pub fn list() -> String {
    let line = |entry: &Entry| format!("{:<22} {}\n", entry.name, entry.summary);
    let workloads: String = workload::ALL.iter().map(line).collect();
    let items: Vec<&str> = micro::items().map(|item| item.name).collect();
    format!("{workloads}\nCounted by --instructions: {}\n", items.join(", "))
}

/// The record that belongs to the sources.
const BASELINE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/instructions.txt");

fn number(text: &str, min: u64, max: u64) -> Result<u64, String> {
    let number: u64 = text.parse().map_err(|_| "not a number".to_string())?;
    match (min..=max).contains(&number) {
        true => Ok(number),
        false => Err(format!("not between {min} and {max}")),
    }
}

fn duration(text: &str, min: f64, max: f64) -> Result<Duration, String> {
    let seconds: f64 = text.parse().map_err(|_| "not a number".to_string())?;
    match (min..=max).contains(&seconds) {
        true => Ok(Duration::from_secs_f64(seconds)),
        false => Err(format!("not between {min} and {max}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Options, String> {
        let words: Vec<String> = line.split_whitespace().map(str::to_string).collect();
        Options::parse(&words).map_err(|error| error.to_string())
    }

    #[track_caller]
    fn check(line: &str, change: impl FnOnce(&mut Options)) {
        let mut expected = Options::new();
        change(&mut expected);
        assert_eq!(parse(line), Ok(expected));
    }

    #[test]
    fn accepted() {
        check("", |_| {});
        check("--rounds 7", |o| o.rounds = 7);
        check("--rounds=7", |o| o.rounds = 7);
        check("--seconds 0.5", |o| o.time = Duration::from_millis(500));
        check("--warm-up 0", |o| o.warm_up = Duration::ZERO);
        check("--list", |o| o.action = Action::List);
        check("--callgrind", |o| (o.launch, o.rounds) = (Launch::Callgrind, 1));
        check("--rounds 2 --callgrind", |o| (o.launch, o.rounds) = (Launch::Callgrind, 2));
        check("--real-time", |o| o.launch = Launch::RealTime);
        check("--instructions --item parse", |o| {
            (o.action, o.items) = (Action::Instructions, vec!["parse".to_string()]);
        });
        check("--tolerance 5 --baseline x --record", |o| {
            (o.tolerance_percent, o.baseline, o.is_recording) = (Some(5), PathBuf::from("x"), true);
        });
        check("--output dir", |o| o.output = Some(PathBuf::from("dir")));
        check("--keys 10 --depth 4", |o| {
            (o.parameters.keys, o.parameters.depth) = (10, Some(4));
        });
        check("--workload get-1 set-1 --workload density", |o| {
            o.workloads = ["get-1", "set-1", "density"].map(str::to_string).to_vec();
        });
        check("--server a=x b=y", |o| {
            o.servers = ["a=x", "b=y"].map(|it| Binary::parse(it).unwrap()).to_vec();
        });
        check("--server=a=x", |o| o.servers = vec![Binary::parse("a=x").unwrap()]);
    }

    #[test]
    fn quick_yields_to_explicit_options_on_either_side() {
        let options = parse("--keys 5 --quick --rounds 3").unwrap();
        assert_eq!((options.parameters.keys, options.rounds), (5, 3));
        assert_eq!((options.time, options.tolerance_percent), (Duration::from_secs(1), None));
        assert_eq!(options.parameters.cold_keys, Parameters::quick().cold_keys);
    }

    #[test]
    fn refused() {
        #[track_caller]
        fn check(line: &str, problem: &str) {
            let text = parse(line).unwrap_err();
            assert!(text.contains(problem), "{line}: {text}");
        }
        check("--nonsense", "unknown option");
        check("get-1", "unknown option");
        check("--rounds", "needs a value");
        check("--rounds 1 2", "unknown option 2");
        check("--rounds x", "not a number");
        check("--rounds 0", "not between");
        check("--seconds NaN", "not between");
        check("--seconds -1", "not between");
        check("--list=x", "takes no value");
        check("--workload nothing", "no such workload");
        check("--item nothing", "no such item");
        check("--workload --list", "needs a value");
        check("--server memcached", "NAME=PATH");
        check("--server a=x a=y", "of this name");
    }

    #[test]
    fn workloads_run_once_and_in_order() {
        let options = parse("--workload set-1 get-1 set-1 open-80 open").unwrap();
        let names: Vec<_> = options.entries().iter().map(|entry| entry.name).collect();
        assert_eq!(names, ["get-1", "set-1", "open-50", "open-80", "open-50-streaming", "open-80-streaming"]);
        let all = |line| parse(line).unwrap().entries().len();
        assert_eq!(all("--traces x"), workload::ALL.len());
        assert_eq!(all(""), workload::ALL.iter().filter(|entry| !entry.needs_traces()).count());
        assert_eq!(all("--workload replay"), 16);
    }

    #[test]
    fn the_help_names_every_option() {
        let text = help();
        assert!(FLAGS.iter().all(|flag| text.contains(flag.name) && !flag.help.is_empty()));
    }
}
