//! The suboptions of `-o` for the admin listener, rows of the kind of [`super::table`], and what they settle. memcached has
//! none of them.

use std::ffi::OsStr;
use std::fmt;
use std::net::SocketAddr;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use super::draft::{Early, Value};
use super::row::Apply::{Set, Take};
use super::row::{Argument, PLAIN, Row, yes_no};
use super::{EXIT_FAILURE, EXIT_USAGE, Failure};

/// The admin listener: metrics, health, the dashboard.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Admin {
    /// Where it listens; off without.
    pub listen: Option<AdminAddress>,
    /// It may be reached from other machines.
    pub is_remote_allowed: bool,
    /// It shows names of keys and prefixes.
    pub shows_keys: bool,
}

/// Where the admin listener listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AdminAddress {
    /// An address and a port, 0 for any free one.
    Internet(SocketAddr),
    /// A Unix socket, for this user alone.
    Unix(PathBuf),
}

impl fmt::Display for AdminAddress {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            AdminAddress::Internet(address) => address.fmt(out),
            AdminAddress::Unix(path) => write!(out, "unix:{}", path.display()),
        }
    }
}

/// The suboptions.
pub(super) static ROWS: &[Row] = &[
    Row {
        name: "admin_listen",
        argument: Argument::Required("addr"),
        help: &[
            "serve Prometheus metrics, JSON, health checks and a dashboard by HTTP",
            "there: 127.0.0.1:9150, [::1]:9150 or unix:/path (default: off)",
        ],
        apply: Take(take_listen),
        settings: &[("admin_listen", |options| {
            options.admin.listen.as_ref().map_or_else(|| "NULL".to_owned(), ToString::to_string)
        })],
        ..PLAIN
    },
    Row {
        name: "admin_remote",
        help: &["let admin_listen be an address that other machines reach; there is no login"],
        apply: Set(|options| options.admin.is_remote_allowed = true),
        settings: &[("admin_remote", |options| yes_no(options.admin.is_remote_allowed))],
        ..PLAIN
    },
    Row {
        name: "admin_keys",
        help: &["show hot keys and prefixes by name there, not by a hash"],
        apply: Set(|options| options.admin.shows_keys = true),
        settings: &[("admin_keys", |options| yes_no(options.admin.shows_keys))],
        ..PLAIN
    },
];

fn take_listen(draft: &mut super::draft::Draft, value: Value<'_>) -> Result<(), Early> {
    let text = value.text();
    let address = match value.raw().strip_prefix(b"unix:") {
        Some(b"") => None,
        Some(path) => Some(AdminAddress::Unix(OsStr::from_bytes(path).into())),
        None => text.parse().ok().map(AdminAddress::Internet),
    };
    let Some(address) = address else {
        let complaint = format!("admin_listen must be an address with a port or unix:/path, not \"{text}\"");
        return Err(Failure::new(EXIT_FAILURE, complaint).into());
    };
    draft.options.admin.listen = Some(address);
    Ok(())
}

/// An address that other machines reach has to be meant.
pub(super) fn check(admin: &Admin) -> Result<(), Failure> {
    match &admin.listen {
        Some(AdminAddress::Internet(address)) if !address.ip().is_loopback() && !admin.is_remote_allowed => {
            let text = format!("admin_listen={address} is no loopback address; -o admin_remote allows it");
            Err(Failure::new(EXIT_USAGE, text))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{refuse, run};
    use super::*;

    #[track_caller]
    fn check(arguments: &[&str], expected: Admin) {
        assert_eq!(run("memcached", arguments).admin, expected, "{arguments:?}");
    }

    fn internet(text: &str) -> Option<AdminAddress> {
        Some(AdminAddress::Internet(text.parse().expect("an address")))
    }

    #[test]
    fn it_is_off_and_loopback_unless_told() {
        check(&[], Admin::default());
        check(&["-o", "admin_keys,admin_remote"], Admin { is_remote_allowed: true, shows_keys: true, listen: None });
        check(&["-o", "admin_listen=127.0.0.1:9150"], Admin { listen: internet("127.0.0.1:9150"), ..Admin::default() });
        check(&["-o", "admin_listen=[::1]:0"], Admin { listen: internet("[::1]:0"), ..Admin::default() });
        let unix = Some(AdminAddress::Unix("/run/x".into()));
        check(&["-o", "admin_listen=unix:/run/x"], Admin { listen: unix, ..Admin::default() });
        let remote = Admin { listen: internet("0.0.0.0:1"), is_remote_allowed: true, shows_keys: false };
        check(&["-o", "admin_listen=0.0.0.0:1", "-o", "admin_remote"], remote);
    }

    #[test]
    fn what_is_wrong_is_said() {
        for text in ["", "9150", "localhost:9150", "127.0.0.1", "unix:", "127.0.0.1:65536"] {
            let message = format!("admin_listen must be an address with a port or unix:/path, not \"{text}\"");
            refuse(&["-o", &format!("admin_listen={text}")], 1, &message);
        }
        let message = "admin_listen=10.0.0.1:9150 is no loopback address; -o admin_remote allows it";
        refuse(&["-o", "admin_listen=10.0.0.1:9150"], 64, message);
    }
}
