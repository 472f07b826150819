//! What the packages say of the program holds: its version, and the files they are made of.

use std::fs;
use std::path::Path;

const VERSION: &str = env!("CARGO_PKG_VERSION");

fn read(path: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

#[test]
fn versions_are_the_programs() {
    let changelog = read("packaging/debian/changelog");
    assert!(changelog.starts_with(&format!("slabstash ({VERSION}-")), "packaging/debian/changelog");
    let spec = read("packaging/rpm/slabstash.spec");
    assert!(spec.contains("%changelog\n* ") && spec.contains(&format!("> - {VERSION}-1\n")), "slabstash.spec");
    let example = read("packaging/kubernetes/slabstash.yaml");
    assert!(example.contains(&format!("image: slabstash:{VERSION}\n")), "packaging/kubernetes/slabstash.yaml");
    let image = read("packaging/container/Containerfile");
    assert!(
        image.contains(&format!("FROM rust:{}-", env!("CARGO_PKG_RUST_VERSION"))),
        "packaging/container/Containerfile"
    );
}

#[test]
fn rpm_lists_every_unit() {
    let spec = read("packaging/rpm/slabstash.spec");
    for entry in fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/packaging/systemd")).expect("the folder of units") {
        let name = entry.expect("an entry").file_name().into_string().expect("a plain name");
        if name.ends_with(".service") || name.ends_with(".socket") {
            assert!(spec.contains(&format!("%{{unitdir}}/{name}\n")), "{name} is not in the packages");
        }
    }
}

/// A restart that keeps the cache takes a line for systemd and, before systemd 254, an option for the program. For a long time
/// no package had either.
#[test]
fn every_unit_keeps_the_cache_over_a_restart() {
    for unit in ["slabstash.service", "slabstash@.service"] {
        let text = read(&format!("packaging/systemd/{unit}"));
        assert!(text.contains("\nFileDescriptorStoreMax=1\n"), "{unit}");
        let start = text.lines().find(|line| line.starts_with("ExecStart=")).expect("a line that starts it");
        assert!(start.contains(" -o warm_restart"), "{unit}: {start}");
    }
    // These are made of slabstash.service, with a line of their own to start it.
    for script in ["packaging/debian/build", "packaging/rpm/build"] {
        let script = read(script);
        assert!(script.contains("-o warm_restart,config_file=") || script.contains("-o warm_restart,sysconfig_file="));
    }
}

/// memcached's unit is made from ours by editing lines; an edit that finds nothing is a unit without that setting.
#[test]
fn unit_of_memcacheds_name_is_whole() {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/packaging/memcached-unit");
    let words = [
        "/etc/memcached.conf",
        "A cache",
        "/usr/bin/memcached -o config_file=/etc/memcached.conf",
        "ExecStartPre=true",
    ];
    let output = std::process::Command::new("sh").arg(script).args(words).output().expect("sh runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let unit = String::from_utf8(output.stdout).expect("text");
    for line in [
        "Description=A cache",
        "Type=notify",
        "ExecStartPre=true",
        "ExecStart=/usr/bin/memcached -o config_file=/etc/memcached.conf",
        "FileDescriptorStoreMax=1",
        "Restart=always",
        "NoNewPrivileges=true",
        "ProtectSystem=full",
        "WantedBy=multi-user.target",
    ] {
        assert_eq!(unit.lines().filter(|found| *found == line).count(), 1, "{line}\n{unit}");
    }
    for left_out in ["ReadWritePaths", "ProtectHome", "UMask", "EnvironmentFile", "$OPTIONS", "/usr/bin/slabstash"] {
        assert!(!unit.contains(left_out), "{left_out}\n{unit}");
    }
}
