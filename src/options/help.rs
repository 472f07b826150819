//! The texts made from the tables: `-h` and the man page.
//!
//! `-h` keeps memcached's shape, because programs look into it: the version comes first, each option starts a line, and
//! an option stands there only if it works. Suites probe for words such as `unix-socket` and conclude that a part is
//! there, so what is refused must not appear at all. The man page lists that too, under its own heading.

use super::draft::Draft;
use super::row::{Argument, Row, Support};
use super::{Identity, Invocation, table};

/// What `-h` prints when no option stands before it.
pub fn help(identity: &Identity, core_count: usize) -> String {
    help_for(&Draft::new(identity.clone(), &Invocation { core_count, ..Invocation::default() }))
}

/// The manual page in roff, section 1.
pub fn man_page() -> String {
    let invocation = Invocation { program: "slabstash".into(), ..Invocation::default() };
    let draft = Draft::new(Identity::of(&invocation), &invocation);
    let mut page = MAN_START.replace("{version}", Identity::VERSION);
    let is_listed = |row: &&Row| !row.help.is_empty() && row.support == Support::Full;
    for row in table::ROWS.iter().filter(is_listed) {
        push_man_entry(&mut page, row, &draft);
    }
    page.push_str(MAN_EXTENDED);
    for row in table::shown_suboptions().filter(is_listed) {
        push_man_entry(&mut page, row, &draft);
    }
    page.push_str(MAN_NO_MEANING);
    for row in table::all() {
        if let Support::NoMeaning(reason) = row.support {
            push_man_item(&mut page, &row.title(), &[reason.to_string()]);
        }
    }
    page.push_str(MAN_REFUSED);
    let is_refused = |row: &&Row| matches!(row.support, Support::Refused(..));
    let refused: Vec<String> = table::all().filter(is_refused).map(Row::title).collect();
    page.push_str(&roff(&refused.join(", ")));
    page.push_str(MAN_END);
    page
}

/// What `-h` prints after the options in `draft`.
pub(super) fn help_for(draft: &Draft) -> String {
    let mut text = draft.options.identity.introduction();
    text.push('\n');
    for row in table::ROWS {
        push_help_entry(&mut text, &usage(row), row, draft);
        if row.short == Some(b'o') {
            for row in table::shown_suboptions() {
                push_help_entry(&mut text, &format!("   - {}:", row.name), row, draft);
            }
        }
    }
    text
}

/// `-p, --port=<num>`.
fn usage(row: &Row) -> String {
    let letter = char::from(row.short.unwrap_or_default());
    match (row.name, row.argument) {
        ("", Argument::Required(value)) => format!("-{letter} <{value}>"),
        (name, Argument::Required(value)) => format!("-{letter}, --{name}=<{value}>"),
        (name, _) => format!("-{letter}, --{name}"),
    }
}

fn push_help_entry(text: &mut String, usage: &str, row: &Row, draft: &Draft) {
    for (index, line) in row.help.iter().enumerate() {
        let start = if index == 0 { usage } else { "" };
        let line = with_default(line, row, draft);
        text.push_str(&format!("{start:<HELP_COLUMN$} {line}\n"));
    }
}

fn with_default(line: &str, row: &Row, draft: &Draft) -> String {
    match row.default {
        Some(default) => line.replace("{default}", &default(draft)),
        None => line.to_string(),
    }
}

fn push_man_entry(page: &mut String, row: &Row, draft: &Draft) {
    let title = match (row.short, row.argument) {
        (Some(_), _) => usage(row),
        (None, Argument::Required(value)) => format!("{}=<{value}>", row.name),
        (None, _) => row.name.to_string(),
    };
    let is_per_machine = row.short == Some(b't');
    let with_default = |line: &&str| match is_per_machine {
        true => line.replace("{default}", "one per processor core"),
        false => with_default(line, row, draft),
    };
    let lines: Vec<String> = row.help.iter().map(with_default).collect();
    push_man_item(page, &title, &lines);
}

fn push_man_item(page: &mut String, title: &str, lines: &[String]) {
    let lines: Vec<String> = lines.iter().map(|line| roff(line)).collect();
    let text = lines.join(
        "
.br
",
    );
    page.push_str(&format!(
        ".TP
.B {}
{text}
",
        roff(title)
    ));
}

/// Text as roff shows it: backslashes and dashes are special, and so is a dot or a quote that starts a line.
fn roff(text: &str) -> String {
    let escape = |line: &str| {
        let line = line.replace('\\', "\\e").replace('-', "\\-");
        if line.starts_with(['.', '\'']) { format!("\\&{line}") } else { line }
    };
    text.split('\n').map(escape).collect::<Vec<_>>().join("\n")
}

/// Where the texts of `-h` start, less the blank before them.
const HELP_COLUMN: usize = 25;

const MAN_START: &str = r#".\" Made from the option tables; a test compares it with them.
.TH SLABSTASH 1 "" "slabstash {version}" "User Commands"
.ad l
.nh
.SH NAME
slabstash \- memcached\-compatible cache daemon
.SH SYNOPSIS
.B slabstash
.RI [ options ]
.br
.B slabstash top|stats|keys|dump|load|check
.RI [ addresses ]
.RI [ flags ]
.SH DESCRIPTION
.B slabstash
keeps keys and values in memory and serves them over memcached's text, meta and binary protocols.
It takes the command line of memcached 1.6.45. Options are followed in order; a long option may be cut to any prefix
that fits one name only.
.PP
The name it is called by matters. Called by a name that begins with
.BR memcached ,
it introduces itself as memcached does, and listens on all interfaces when there is no
.BR \-l .
Called
.BR slabstash ,
it listens on 127.0.0.1, unless a file of
.B config_file
or
.B sysconfig_file
was read that names no address: then on all interfaces. A name that begins with
.B memcached\-debug
enables the debug commands too. By any name it refuses to run as root without
.BR \-u .
.PP
Called by its own name with the name of a command first, it is a client of running nodes instead, memcached's too; the
commands have pages of their own.
.SH OPTIONS
"#;

const MAN_EXTENDED: &str = ".SH EXTENDED OPTIONS
A comma separated list after
.BR \\-o ,
which may be given several times.
";

const MAN_NO_MEANING: &str = ".SH OPTIONS WITHOUT MEANING
These are accepted and checked as in memcached, change nothing, and are named once in the log.
";

const MAN_REFUSED: &str = ".SH REFUSED OPTIONS
These end the program with a message, before any socket is opened:
";

const MAN_END: &str = r#"
.SH ENVIRONMENT
.TP
.B MEMCACHED_PORT_FILENAME
A file to write the ports to that were bound, one line for each.
.TP
.B MEMCACHED_SASL_PWDB
Users and passwords for
.BR \-S ,
which does not start without it: lines user@realm:password.
.TP
.B SASL_CONF_PATH
Folders, separated by colons, where
.B \-S
looks for libsasl's memcached.conf; its mech_list is obeyed. Without it /etc/sasl and /etc/sasl2.
.TP
.B SLABSTASH_NAME
The name to go by when the program is called
.BR slabstash ,
for wrapper scripts.
.TP
.BR NOTIFY_SOCKET ", " WATCHDOG_USEC ", " WATCHDOG_PID
Where the service manager is told of readiness, reload, load and stop, and how often it wants a sign of life.
.TP
.BR LISTEN_PID ", " LISTEN_FDS ", " LISTEN_FDNAMES
Sockets from the service manager. They are served in place of those of
.BR \-p ", " \-U ", " \-l " and " \-s ;
a name may hold words of
.BR \-l ,
separated by commas: notls, btls, mtls, ascii, binary, negotiating.
.TP
.B POSIXLY_CORRECT
The first word that is no option ends the options.
.SH EXIT STATUS
.TP
.B 0
A normal end;
.BR \-h ,
.BR \-i ,
.BR \-V .
.TP
.B 1
A bad value, or an option that does not exist.
.TP
.B 64
Options that do not fit together, or a part that is not here.
.TP
.B 67
The user of
.B \-u
does not exist.
.TP
.B 71
The system refused something, an address most often.
.TP
.B 74
The cache could not be saved for the next start.
.SH SIGNALS
.B SIGINT
and
.B SIGTERM
end the program when what was received is answered, within a second, and when the cache is handed to the service manager, if that
keeps it,
.B SIGUSR1
does so with a word and saves the cache to the file of
.BR \-e ,
a second one of them ends it at once, and
.B SIGHUP
reads the file of
.B \-Y
or
.B \-S
and the TLS certificates again. What cannot be read leaves the old in force and a line in the log.
.SH SEE ALSO
slabstash-top(1), slabstash-stats(1), slabstash-keys(1), slabstash-dump(1), slabstash-load(1), slabstash-check(1),
docs/operations.md, docs/security.md and docs/compatibility.md of the distribution, https://docs.memcached.org
"#;

#[cfg(test)]
mod tests {
    use super::*;

    fn help_as(program: &str) -> String {
        let invocation = Invocation { program: program.into(), ..Invocation::default() };
        help(&Identity::of(&invocation), 4)
    }

    #[test]
    fn probes_find_what_is_there_and_nothing_else() {
        for program in ["memcached", "/x/memcached-debug", "slabstash"] {
            let text = help_as(program).to_lowercase();
            for absent in ["ext_path", "proxy_config", "no_drop_privileges"] {
                assert!(!text.contains(absent), "{program}: {absent}");
            }
            for present in ["sasl", "unix-socket", "enable-ssl", "ssl_chain_cert"] {
                assert!(text.contains(present), "{program}: {present}");
            }
        }
    }

    #[test]
    fn first_line_introduces() {
        assert_eq!(help_as("./memcached").lines().next(), Some("memcached 1.6.45"));
        assert_eq!(help_as("memcached-debug").lines().next(), Some("memcached 1.6.45"));
        let own = format!("slabstash {} (memcached 1.6.45)", Identity::VERSION);
        assert_eq!(help_as("slabstash").lines().next(), Some(own.as_str()));
    }

    #[test]
    fn lines_have_the_shape_of_memcached() {
        let text = help_as("memcached");
        for line in [
            "-p, --port=<num>          TCP port to listen on (default: 11211)",
            "-U, --udp-port=<num>      UDP port to listen on (default: 0, off)",
            "-l, --listen=<addr>       interface to listen on (default: INADDR_ANY)",
            "-m, --memory-limit=<num>  item memory in megabytes (default: 64)",
            "-t, --threads=<num>       number of threads to use (default: 4)",
            "   - maxconns_fast:       immediately close new connections after limit (default: enabled)",
            "   - hot_max_factor:      items idle > cold lru age * drop from hot lru. (default: 0.20)",
        ] {
            assert!(text.lines().any(|found| found == line), "{line}\n{text}");
        }
        assert!(!text.contains("{default}"));
    }

    /// With `SLABSTASH_WRITE_MAN_PAGE` set this writes the page instead of comparing it.
    #[test]
    fn packaged_man_page_is_the_generated_one() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/packaging/man/slabstash.1");
        let page = man_page();
        if std::env::var_os("SLABSTASH_WRITE_MAN_PAGE").is_some() {
            std::fs::write(path, &page).expect("the directory packaging/man exists");
        }
        let packaged = std::fs::read_to_string(path).unwrap_or_default();
        assert!(packaged == page, "packaging/man/slabstash.1 is old: SLABSTASH_WRITE_MAN_PAGE=1 cargo test man_page");
    }

    #[test]
    fn special_characters_are_escaped() {
        assert_eq!(roff("a-b\\n\n.x\n'y"), "a\\-b\\en\n\\&.x\n\\&'y");
    }
}
