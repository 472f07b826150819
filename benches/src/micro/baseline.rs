//! Figures on record: a text file with a line per item, and a head that says with what it was made, since another
//! compiler makes another program. [`compare`] sets a count beside it.

use std::fmt::Write as _;

use crate::micro::Count;

/// A record.
#[derive(Clone, Debug, PartialEq)]
pub struct Baseline {
    /// Compiler and valgrind.
    pub tools: String,
    /// The figures.
    pub counts: Vec<Count>,
}

impl Baseline {
    /// As a file.
    pub fn render(&self) -> String {
        let mut out = format!("# {HEAD}\n{TOOLS}{}\n", self.tools);
        for count in &self.counts {
            writeln!(out, "{:<26} {:>9.1}", count.name, count.instructions).expect("a string takes every write");
        }
        out
    }

    /// From a file; says which line is wrong.
    pub fn parse(text: &str) -> Result<Baseline, String> {
        let tools = text.lines().find_map(|line| line.strip_prefix(TOOLS)).unwrap_or("unknown tools").to_string();
        let count = |line: &str| {
            let mut words = line.split_whitespace();
            let (name, instructions) = (words.next()?, words.next()?.parse().ok()?);
            words.next().is_none().then(|| Count { name: name.to_string(), instructions })
        };
        let lines = text.lines().filter(|line| !line.starts_with('#') && !line.trim().is_empty());
        let counts = lines.map(|line| count(line).ok_or_else(|| format!("not an item and a number: {line}")));
        Ok(Baseline { tools, counts: counts.collect::<Result<_, _>>()? })
    }

    /// This record with some counts in place of the earlier ones; those of other items stay.
    pub fn with(self, tools: String, counts: &[Count]) -> Baseline {
        let newer = |name: &str| counts.iter().find(|count| count.name == name);
        let mut all: Vec<Count> =
            self.counts.into_iter().map(|count| newer(&count.name).cloned().unwrap_or(count)).collect();
        for count in counts {
            if all.iter().all(|other| other.name != count.name) {
                all.push(count.clone());
            }
        }
        Baseline { tools, counts: all }
    }
}

/// What a count is beside a record.
pub struct Comparison {
    /// The table.
    pub markdown: String,
    /// Items that cost more than the tolerance allows.
    pub worse: Vec<String>,
}

/// Compares; `tolerance` is a share, 0.03 for three percent.
pub fn compare(counts: &[Count], baseline: &Baseline, tolerance: f64) -> Comparison {
    let mut markdown = "| item | old | new | ratio | |\n| --- | ---: | ---: | ---: | --- |\n".to_string();
    let mut worse = Vec::new();
    for Count { name, instructions } in counts {
        let old = baseline.counts.iter().find(|old| old.name == *name).map(|old| old.instructions);
        let (shown, ratio, verdict) = match old {
            None => (String::new(), String::new(), "not on record"),
            Some(old) => {
                (format!("{old:.1}"), format!("{:.3}", instructions / old), verdict(old, *instructions, tolerance))
            }
        };
        if verdict == WORSE {
            worse.push(name.clone());
        }
        writeln!(markdown, "| {name} | {shown} | {instructions:.1} | {ratio} | {verdict} |")
            .expect("a string takes every write");
    }
    Comparison { markdown, worse }
}

fn verdict(old: f64, new: f64, tolerance: f64) -> &'static str {
    let slack = (old * tolerance).max(INSTRUCTIONS_TOLERATED);
    if new > old + slack {
        WORSE
    } else if new < old - slack {
        "better"
    } else {
        ""
    }
}

const HEAD: &str =
    "Instructions per operation. Written by: cargo run --release -p slabstash-bench -- --instructions --record";
const TOOLS: &str = "# made with ";
const WORSE: &str = "WORSE";

/// A loop laid out otherwise is not a regression of something that takes ten instructions.
const INSTRUCTIONS_TOLERATED: f64 = 2.0;

#[cfg(test)]
mod tests {
    use super::*;

    fn count(name: &str, instructions: f64) -> Count {
        Count { name: name.to_string(), instructions }
    }

    fn baseline(counts: &[Count]) -> Baseline {
        Baseline { tools: "rustc 1".to_string(), counts: counts.to_vec() }
    }

    #[test]
    fn a_record_survives_its_file() {
        let record = baseline(&[count("get", 1234.5), count("a-much-longer-name-than-others", 7.0)]);
        assert_eq!(Baseline::parse(&record.render()), Ok(record));
        assert!(Baseline::parse("get\n").is_err());
        assert!(Baseline::parse("get x\n").is_err());
        assert!(Baseline::parse("get 1 2\n").is_err());
        assert_eq!(Baseline::parse("").unwrap().counts, []);
    }

    #[test]
    fn some_counts_replace_their_own_only() {
        let record = baseline(&[count("a", 1.0), count("b", 2.0)])
            .with("rustc 2".to_string(), &[count("b", 3.0), count("c", 4.0)]);
        assert_eq!(record.counts, [count("a", 1.0), count("b", 3.0), count("c", 4.0)]);
        assert_eq!(record.tools, "rustc 2");
    }

    #[test]
    fn worse_is_more_than_the_tolerance() {
        #[track_caller]
        fn check(old: f64, new: f64, expected: &str) {
            let comparison = compare(&[count("x", new)], &baseline(&[count("x", old)]), 0.03);
            assert_eq!(comparison.worse.len(), usize::from(expected == WORSE));
            let ratio = new / old;
            assert!(comparison.markdown.ends_with(&format!("| x | {old:.1} | {new:.1} | {ratio:.3} | {expected} |\n")));
        }
        check(1000.0, 1000.0, "");
        check(1000.0, 1030.0, "");
        check(1000.0, 1031.0, WORSE);
        check(1000.0, 969.0, "better");
        check(10.0, 12.0, "");
        check(10.0, 12.1, WORSE);
        let unknown = compare(&[count("x", 1.0)], &baseline(&[]), 0.03);
        assert!(unknown.worse.is_empty() && unknown.markdown.contains("not on record"));
    }
}
