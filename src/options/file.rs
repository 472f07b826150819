//! Options from the files in which distributions keep memcached's: `/etc/memcached.conf` of Debian, read as its
//! `systemd-memcached-wrapper` does, and `/etc/sysconfig/memcached` of Fedora, read as systemd and its unit do.
//!
//! Either comes down to words, which are followed as if they stood on the command line in the place of the suboption that
//! names the file; later options win, as ever. What is said about a wrong one begins with the file's path. A `-` before
//! the path lets the file be missing, as in systemd's units. Who reads files is not known here: the function that does
//! comes with the invocation.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::PathBuf;

use super::draft::{Draft, Early, Value};
use super::{EXIT_FAILURE, Failure, take_words};

/// How a file is written.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Grammar {
    /// Debian's: options as on the command line, one or more a line.
    Lines,
    /// Fedora's: assignments to `PORT`, `USER`, `CACHESIZE`, `MAXCONN` and `OPTIONS`.
    Variables,
}

/// Follows the options of the file that `value` names.
pub(super) fn follow(draft: &mut Draft, value: Value<'_>, grammar: Grammar) -> Result<(), Early> {
    let (path, may_be_missing) = match value.raw() {
        [b'-', path @ ..] => (path, true),
        path => (path, false),
    };
    let path = PathBuf::from(OsStr::from_bytes(path));
    let shown = path.display().to_string();
    let refuse = |text: String| Early::from(Failure::new(EXIT_FAILURE, format!("{shown}: {text}")));
    if draft.is_in_file {
        return Err(refuse(format!("a file of options cannot name another (-o {})", value.name)));
    }
    let Some(read) = draft.read_file else {
        return Err(refuse("files cannot be read here".to_string()));
    };
    let bytes = match read(&path) {
        Ok(bytes) => bytes,
        Err(error) if may_be_missing && error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(refuse(crate::sys::error_text(&error))),
    };
    let words = match grammar {
        Grammar::Lines => words_of_lines(&bytes),
        Grammar::Variables => words_of_variables(&bytes),
    };
    let words = words.map_err(refuse)?;
    draft.is_in_file = true;
    draft.has_read_file = true;
    let program = draft.options.identity.program.clone();
    let followed = take_words(draft, &program, &words, false);
    draft.is_in_file = false;
    followed.map_err(|early| match early {
        Early::Refuse(failure) => Failure { message: format!("{shown}: {}", failure.message), ..failure }.into(),
        print => print,
    })
}

/// Comments, `-d…` and `-h…` are left out, and so is what does not begin with a dash (`logfile`, which means the init
/// script's own log).
fn words_of_lines(bytes: &[u8]) -> Result<Vec<OsString>, String> {
    let mut words = Vec::new();
    for (number, line) in (1..).zip(bytes.split(|byte| *byte == b'\n')) {
        let is_comment = |at: &usize| line[*at] == b'#' && (*at == 0 || line[*at - 1] != b'\\');
        let end = (0..line.len()).find(is_comment).unwrap_or(line.len());
        let line = line[..end].trim_ascii();
        let is_followed = line.first() == Some(&b'-') && !matches!(line.get(1), Some(b'd' | b'h'));
        if is_followed {
            words.extend(split(line).map_err(|text| format!("line {number}: {text}"))?);
        }
    }
    Ok(words)
}

/// The variables that Fedora's unit uses, in its order. Those that are not set leave the default.
fn words_of_variables(bytes: &[u8]) -> Result<Vec<OsString>, String> {
    let mut values: [Option<Vec<u8>>; VARIABLES.len()] = Default::default();
    let mut line = Vec::new();
    for (number, part) in (1..).zip(bytes.split(|byte| *byte == b'\n')) {
        line.extend_from_slice(part);
        if line.last() == Some(&b'\\') && !line.trim_ascii_start().starts_with(b"#") {
            line.pop();
            continue;
        }
        let whole = std::mem::take(&mut line);
        let whole = whole.trim_ascii();
        if whole.is_empty() || whole[0] == b'#' || whole[0] == b';' {
            continue;
        }
        let Some(equals) = memchr::memchr(b'=', whole) else {
            return Err(format!("line {number}: not an assignment"));
        };
        let name = whole[..equals].trim_ascii();
        let Some(at) = VARIABLES.iter().position(|(variable, _)| variable.as_bytes() == name) else {
            continue;
        };
        let value = unquote(whole[equals + 1..].trim_ascii()).map_err(|text| format!("line {number}: {text}"))?;
        values[at] = Some(value);
    }
    let mut words = Vec::new();
    for ((_, option), value) in VARIABLES.iter().zip(values) {
        let value = value.filter(|value| !value.trim_ascii().is_empty());
        match (value, option) {
            (None, _) => {}
            (Some(value), Some(option)) => words.extend([OsString::from(option), OsString::from_vec(value)]),
            (Some(value), None) => words.extend(split(&value)?),
        }
    }
    Ok(words)
}

/// Variables with the option that each stands for; the last is split into words.
const VARIABLES: [(&str, Option<&str>); 5] =
    [("PORT", Some("-p")), ("USER", Some("-u")), ("CACHESIZE", Some("-m")), ("MAXCONN", Some("-c")), ("OPTIONS", None)];

/// Words as a shell separates them, by blanks outside of quotes; nothing is expanded.
fn split(text: &[u8]) -> Result<Vec<OsString>, String> {
    let mut words = Vec::new();
    let mut rest = text.trim_ascii_start();
    while !rest.is_empty() {
        let (word, length) = word(rest, true)?;
        words.push(OsString::from_vec(word));
        rest = rest[length..].trim_ascii_start();
    }
    Ok(words)
}

/// A value without its quotes.
fn unquote(text: &[u8]) -> Result<Vec<u8>, String> {
    Ok(word(text, false)?.0)
}

/// The first word and where it ends; with `ends_at_blank` at the first blank outside of quotes.
fn word(text: &[u8], ends_at_blank: bool) -> Result<(Vec<u8>, usize), String> {
    let mut word = Vec::new();
    let mut quote = None;
    let mut bytes = text.iter().copied().enumerate();
    while let Some((at, byte)) = bytes.next() {
        match (quote, byte) {
            (None, b' ' | b'\t' | b'\r') if ends_at_blank => return Ok((word, at)),
            (None, b'"' | b'\'') => quote = Some(byte),
            (Some(open), _) if open == byte => quote = None,
            (None | Some(b'"'), b'\\') => match bytes.next() {
                // In double quotes a backslash takes effect before these only.
                Some((_, next)) if quote.is_none() || matches!(next, b'"' | b'\\' | b'$' | b'`') => word.push(next),
                Some((_, next)) => word.extend([byte, next]),
                None => word.push(byte),
            },
            _ => word.push(byte),
        }
    }
    match quote {
        None => Ok((word, text.len())),
        Some(quote) => Err(format!("no closing {}", char::from(quote))),
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{invocation, run_in};
    use super::super::{Host, Invocation, ListenAddress, Parsed, Port, parse};
    use super::*;
    use std::io;
    use std::path::Path;

    #[track_caller]
    fn check(grammar: Grammar, text: &str, expected: Result<&[&str], &str>) {
        let found = match grammar {
            Grammar::Lines => words_of_lines(text.as_bytes()),
            Grammar::Variables => words_of_variables(text.as_bytes()),
        };
        let found = found.map(|words| words.into_iter().map(|word| word.to_string_lossy().into_owned()).collect());
        let expected = expected.map(|words| words.iter().map(|word| word.to_string()).collect::<Vec<_>>());
        assert_eq!(found, expected.map_err(str::to_string), "{text}");
    }

    /// The file that Debian 12 installs, its comments shortened.
    const DEBIAN: &str = "# memcached default config file\n# 2003 - Jay Bonci\n\n-d\n\n\
        # Log memcached's output to /var/log/memcached\nlogfile /var/log/memcached.log\n\n# Be verbose\n# -v\n\n-m 64\n\n\
        -p 11211\n\n-u memcache\n\n-l 127.0.0.1\n\n# -c 1024\n# -k\n# -M\n# -r\n\n\
        -P /var/run/memcached/memcached.pid\n";

    /// The file that Fedora installs.
    const FEDORA: &str =
        "PORT=\"11211\"\nUSER=\"memcached\"\nMAXCONN=\"1024\"\nCACHESIZE=\"64\"\nOPTIONS=\"-l 127.0.0.1,::1\"\n";

    #[test]
    fn files_of_the_distributions() {
        let debian =
            ["-m", "64", "-p", "11211", "-u", "memcache", "-l", "127.0.0.1", "-P", "/var/run/memcached/memcached.pid"];
        check(Grammar::Lines, DEBIAN, Ok(&debian));
        let fedora = ["-p", "11211", "-u", "memcached", "-m", "64", "-c", "1024", "-l", "127.0.0.1,::1"];
        check(Grammar::Variables, FEDORA, Ok(&fedora));
    }

    #[test]
    fn lines_as_the_wrapper_reads_them() {
        let check = |text: &str, expected| check(Grammar::Lines, text, expected);
        check("", Ok(&[]));
        check("  -vv  \r\n-m\t5 # five\n#-m 6", Ok(&["-vv", "-m", "5"]));
        check("-D \\# -M # c \\# d", Ok(&["-D", "#", "-M"]));
        check("-D '#'", Err("line 1: no closing '"));
        check("-d\n-help\n-d -m 5\n--daemon\n-D :", Ok(&["--daemon", "-D", ":"]));
        check("-o 'a b','c' -s \"/x y\"\n", Ok(&["-o", "a b,c", "-s", "/x y"]));
        check("-m 5\n\n-s 'x", Err("line 3: no closing '"));
        check("logfile /var/log/x\nuser me", Ok(&[]));
    }

    #[test]
    fn variables_as_systemd_reads_them() {
        let check = |text: &str, expected| check(Grammar::Variables, text, expected);
        check("", Ok(&[]));
        check("# PORT=1\n; PORT=2\nPORT=3\nPORT='4'", Ok(&["-p", "4"]));
        check("MAXCONN=10\nUSER=\"\"\nOTHER=x\n CACHESIZE = 5 ", Ok(&["-m", "5", "-c", "10"]));
        check("OPTIONS=\"-l ::1 -o 'a b',c\"", Ok(&["-l", "::1", "-o", "a b,c"]));
        check("OPTIONS='-D \"\\\"\" -vv'", Ok(&["-D", "\"", "-vv"]));
        check("OPTIONS=\"-l ::1 \\\n  -vv\"\nPORT=1", Ok(&["-p", "1", "-l", "::1", "-vv"]));
        check("OPTIONS=-vv\\ -M", Ok(&["-vv", "-M"]));
        check("# a comment \\\nPORT=1", Ok(&["-p", "1"]));
        check("PORT", Err("line 1: not an assignment"));
        check("OPTIONS=\"-vv", Err("line 1: no closing \""));
        check("OPTIONS=\"-D '\"", Err("no closing '"));
    }

    fn read(path: &Path) -> io::Result<Vec<u8>> {
        match path.to_str() {
            Some("/etc/memcached.conf") => Ok(DEBIAN.into()),
            Some("/etc/sysconfig/memcached") => Ok(FEDORA.into()),
            Some("/open") => Ok(b"-p 5".into()),
            Some("/bad") => Ok(b"-m 5\n-c 0".into()),
            Some("/loop") => Ok(b"-o config_file=/loop".into()),
            Some("/locked") => Err(io::Error::from_raw_os_error(13)),
            _ => Err(io::Error::from_raw_os_error(2)),
        }
    }

    fn with_files(arguments: &[&str]) -> Invocation {
        Invocation { read_file: Some(read), ..invocation("slabstash", arguments) }
    }

    #[test]
    fn options_of_a_file_stand_in_its_place() {
        let options =
            run_in(&with_files(&["-m", "1024", "-c", "7", "-o", "config_file=/etc/memcached.conf", "-c", "8"]));
        assert_eq!(options.memory_limit_bytes, 64 << 20);
        assert_eq!(options.max_connections, 8);
        assert_eq!(options.user.as_deref(), Some("memcache"));
        assert_eq!(options.listen, [ListenAddress::plain(Host::Named("127.0.0.1".to_string()))]);
        assert!(!options.daemonize);
        let options = run_in(&with_files(&["-o", "sysconfig_file=-/etc/sysconfig/memcached,config_file=-/none"]));
        assert_eq!((options.tcp_port, options.max_connections), (Port::Number(11211), 1024));
        assert_eq!(options.listen.len(), 2);
    }

    #[test]
    fn without_a_listener_a_file_means_what_memcached_would_do() {
        let listen = |arguments: &[&str]| run_in(&with_files(arguments)).listen.clone();
        assert_eq!(listen(&["-o", "config_file=/open"]), [ListenAddress::plain(Host::Any)]);
        let loopback = [ListenAddress::plain(Host::Named("127.0.0.1".to_string()))];
        assert_eq!(listen(&["-o", "config_file=-/none"]), loopback);
        assert_eq!(listen(&["-o", "config_file=/open", "-l", "127.0.0.1"]), loopback);
    }

    #[test]
    fn what_is_wrong_with_a_file_names_it() {
        #[track_caller]
        fn refuse(list: &str, message: &str) {
            match parse(&with_files(&["-o", list])) {
                Err(failure) => assert_eq!((failure.message.as_str(), failure.exit_code), (message, 1)),
                Ok(Parsed::Run(_) | Parsed::Print { .. }) => panic!("{list}"),
            }
        }
        refuse("config_file=/none", "/none: No such file or directory");
        refuse("config_file=-/locked", "/locked: Permission denied");
        refuse("sysconfig_file=/none", "/none: No such file or directory");
        refuse("config_file=/bad", "/bad: Maximum connections must be greater than 0");
        refuse("config_file", "Missing config_file argument");
        refuse("config_file=/loop", "/loop: /loop: a file of options cannot name another (-o config_file)");
    }
}
