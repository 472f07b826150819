//! Micro-benchmarks: what the parts of slabstash cost, in instructions. The library is called in process, under callgrind
//! ([`crate::valgrind`]), so figures do not depend on what else the machine does, and a change of one percent shows.
//!
//! ```text
//! count():  valgrind ... slabstash-bench --run-items     a process of its own
//!             run_items():  for each item: prepare, work once to warm up, written_region(counted_region(work))
//!                                                                    callgrind writes a file ---^ when it returns
//! ```
//! A figure is the instructions of a whole piece of work over its operations; the loop around them, some two to five
//! instructions per operation, is part of it. Seeds of hash tables differ from run to run, which moves figures of the
//! store by some tenths of a percent.
//!
//! - [`parse`], [`reply`]: the protocols; [`partition`]: the store; [`session`]: everything between two sockets
//! - [`observed`]: the same conversations while some of their calls are looked at closely
//! - [`baseline`]: figures on record, and what has changed since

pub mod baseline;

mod observed;
mod parse;
mod partition;
mod reply;
mod session;

use std::env;
use std::hint::black_box;
use std::process::{Command, Stdio};

use crate::error::Error;
use crate::valgrind::{self, Folder};

/// Something to be counted.
pub struct Item {
    /// How it is called.
    pub name: &'static str,
    /// Makes all that it needs beforehand.
    prepare: fn() -> Prepared,
}

/// An item ready to work. It works twice; only the second time counts.
struct Prepared {
    /// Operations of one piece of work.
    operations: u64,
    work: Box<dyn FnMut()>,
}

impl Prepared {
    /// Work that does its operation for each of some subjects.
    fn each<T: 'static>(subjects: Vec<T>, mut operation: impl FnMut(&T) + 'static) -> Prepared {
        let operations = subjects.len() as u64;
        Prepared { operations, work: Box::new(move || subjects.iter().for_each(|it| operation(black_box(it)))) }
    }

    /// The same, where a subject stands for so many operations.
    fn counting(self, operations: u64) -> Prepared {
        Prepared { operations: self.operations * operations, ..self }
    }
}

const fn item(name: &'static str, prepare: fn() -> Prepared) -> Item {
    Item { name, prepare }
}

/// All items, in the order of the report.
pub fn items() -> impl Iterator<Item = &'static Item> {
    [parse::ITEMS, reply::ITEMS, partition::ITEMS, session::ITEMS, observed::ITEMS].into_iter().flatten()
}

/// The items of a name or a family (`parse`); all items if no name is given.
pub fn named(names: &[String]) -> Vec<&'static Item> {
    let is_named = |item: &&Item| {
        let is_it = |name: &String| {
            item.name.strip_prefix(name.as_str()).is_some_and(|rest| rest.is_empty() || rest.starts_with('-'))
        };
        names.is_empty() || names.iter().any(is_it)
    };
    items().filter(is_named).collect()
}

/// An item's instructions per operation.
#[derive(Clone, Debug, PartialEq)]
pub struct Count {
    /// The item.
    pub name: String,
    /// Instructions per operation.
    pub instructions: f64,
}

/// Counts items in a process of its own.
pub fn count(names: &[String]) -> Result<Vec<Count>, Error> {
    let folder = Folder::new()?;
    let program = env::current_exe().map_err(Error::system("find this program"))?;
    let mut command = Command::new("valgrind");
    command
        .args(["--tool=callgrind", "--quiet"])
        .args([format!("--toggle-collect={COUNTED}"), format!("--dump-after={WRITTEN}")])
        .arg(format!("--callgrind-out-file={}/{FILES}", folder.path().display()))
        .arg(program)
        .arg("--run-items");
    if !names.is_empty() {
        command.arg("--item").args(names);
    }
    let output =
        command.stdin(Stdio::null()).stderr(Stdio::inherit()).output().map_err(Error::system("run valgrind"))?;
    if !output.status.success() {
        return Err(valgrind::failure(&format!("it ended with {}", output.status)));
    }
    let lines = String::from_utf8_lossy(&output.stdout).into_owned();
    let files = valgrind::dumps(folder.path(), FILES)?;
    if files.len() != lines.lines().count() {
        let cause = format!("{} items ran, but it counted {}", lines.lines().count(), files.len());
        return Err(valgrind::failure(&cause));
    }
    let mut counts = Vec::new();
    for (line, file) in lines.lines().zip(&files) {
        let (name, operations) = line.split_once(' ').ok_or_else(|| valgrind::failure("an item said nothing"))?;
        let operations: f64 = operations.parse().map_err(|_| valgrind::failure("an item said no number"))?;
        let instructions = valgrind::total_of(file)? / operations;
        counts.push(Count { name: name.to_string(), instructions });
    }
    Ok(counts)
}

/// Does the work of items, under callgrind or any other tool; a line per item on standard output has its name and the
/// number of its operations.
pub fn run_items(names: &[String]) {
    for item in named(names) {
        eprintln!("counting {}", item.name);
        let mut prepared = (item.prepare)();
        (prepared.work)();
        written_region(&mut prepared.work);
        println!("{} {}", item.name, prepared.operations);
    }
}

/// When this returns callgrind writes down what it has counted. It takes one order per function only, so there are two
/// functions; it knows them by their names ([`WRITTEN`], [`COUNTED`]).
#[inline(never)]
fn written_region(work: &mut dyn FnMut()) {
    counted_region(work);
    black_box(());
}

/// What callgrind counts.
#[inline(never)]
fn counted_region(work: &mut dyn FnMut()) {
    work();
    // Here and above it keeps the call from becoming a jump, behind which callgrind would not see the function return.
    black_box(());
}

const COUNTED: &str = "*counted_region*";
const WRITTEN: &str = "*written_region*";
const FILES: &str = "items";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique_and_every_item_works() {
        let mut names: Vec<_> = items().map(|item| item.name).collect();
        for item in items() {
            let mut prepared = (item.prepare)();
            assert!(prepared.operations > 0, "{}", item.name);
            (prepared.work)();
            (prepared.work)();
        }
        names.sort_unstable();
        let count = names.len();
        names.dedup();
        assert_eq!(names.len(), count);
    }

    #[test]
    fn items_by_name_and_family() {
        let names = |name: &str| named(&[name.to_string()]).iter().map(|item| item.name).collect::<Vec<_>>();
        assert_eq!(names("parse-get"), ["parse-get"]);
        assert!(names("parse").len() > 3);
        assert!(names("par").is_empty());
        assert_eq!(named(&[]).len(), items().count());
    }
}
