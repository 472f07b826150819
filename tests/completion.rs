//! The bash completion in `packaging/completion`: it is the one made from the rows, and bash offers what it should.
#![cfg(feature = "terminal")]

use std::fs;
use std::process::Command;

const PATH: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/packaging/completion/slabstash");

/// With `SLABSTASH_WRITE_COMPLETION` set this writes the script instead of comparing it.
#[test]
fn packaged_completion_is_the_generated_one() {
    let script = format!("{}{}", slabstash::options::completion(), slabstash::terminal::completion::completion());
    if std::env::var_os("SLABSTASH_WRITE_COMPLETION").is_some() {
        fs::write(PATH, &script).expect("the directory packaging/completion exists");
    }
    let packaged = fs::read_to_string(PATH).unwrap_or_default();
    assert!(packaged == script, "{PATH} is old: SLABSTASH_WRITE_COMPLETION=1 cargo test --test completion");
}

/// What bash puts in place of the rest of the word after the last of its word breaks.
fn offers(line: &str) -> Vec<String> {
    let script = format!(
        "compopt() {{ :; }}; source '{PATH}'; COMP_LINE=$1 COMP_POINT=${{#1}} _slabstash; printf '%s\\n' \"${{COMPREPLY[@]}}\""
    );
    let output = Command::new("bash").args(["--norc", "-c", &script, "bash", line]).output().expect("bash runs");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && errors.is_empty(), "{line}: {errors}");
    String::from_utf8_lossy(&output.stdout).lines().filter(|line| !line.is_empty()).map(str::to_owned).collect()
}

#[track_caller]
fn check(line: &str, expected: &[&str]) {
    assert_eq!(offers(line), expected, "{line}");
}

#[test]
fn options_are_completed() {
    check("slabstash --disable-e", &["--disable-evictions"]);
    check("memcached --memory-l", &["--memory-limit="]);
    check("slabstash -m 64 --pidf", &["--pidfile="]);
    check("slabstash -B a", &["auto", "ascii"]);
    check("slabstash --protocol b", &["binary"]);
    // Readline has cut the word at the equals sign.
    check("slabstash --protocol=b", &["binary"]);
    check("slabstash -u roo", &["root"]);
    check("slabstash -m 6", &[]);
    check("slabstash -o ext_", &[]);
    assert!(offers("slabstash -").len() > 40);
}

#[test]
fn suboptions_are_completed() {
    check("slabstash -o hot_m", &["hot_max_factor="]);
    check("slabstash -o modern,hot_m", &["modern,hot_max_factor="]);
    check("slabstash --extended idle", &["idle_timeout="]);
    check("slabstash -o eviction_policy=f", &["flat"]);
    check("slabstash -o track_sizes,eviction_policy=q", &["quick_demotion"]);
    check("slabstash -o eviction_policy=flat,hot_m", &["flat,hot_max_factor="]);
}

#[test]
fn files_are_completed() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/packaging");
    let page = format!("{folder}/man/slabstash.1");
    check(&format!("slabstash -P {folder}/man/slabstash.1"), &[&page]);
    check(&format!("slabstash --pidfile={folder}/man/slabstash.1"), &[&page]);
    check(&format!("slabstash -o ssl_key={folder}/man/slabstash.1"), &[&page]);
    check(&format!("slabstash dump cache-1 --output={folder}/man/slabstash.1"), &[&page]);
}

#[test]
fn commands_are_completed() {
    check("slabstash to", &["top"]);
    check("slabstash stats sl", &["slabs"]);
    check("slabstash stats localhost:11211 settings --cha", &["--changed"]);
    check("slabstash top --interval 1", &[]);
    // By memcached's name there are no commands.
    check("memcached to", &[]);
    check("/usr/bin/memcached --vers", &["--version"]);
    for command in slabstash::terminal::COMMANDS {
        assert!(offers("slabstash ").iter().any(|offered| offered == command.name), "{}", command.name);
        assert!(offers(&format!("slabstash {} --", command.name)).contains(&"--timeout".to_owned()));
    }
}
