//! The two files: users and passwords as memcached reads them, with hashes besides.
//!
//! ```text
//! -Y                     user:password                     at most 8 entries
//! MEMCACHED_SASL_PWDB    user@realm:password[:anything]    at most 1024 entries
//! either                 user:$argon2id$v=19$m=19456,t=2,p=1$salt$hash
//! ```
//! memcached passes over lines of the second file that have no colon. Here such a line, unless it is blank or begins with
//! `#`, is an error, and so is one that is longer than memcached's buffer: nobody could log in by either.

use super::accounts::{Accounts, Format, LINE_BYTES_MAX};
use super::hashed::{self, Hash};

/// Most entries of a `-Y` file; later ones are not read.
const PAIRS_MAX: usize = 8;

/// Most entries of a SASL password file. All are compared at each login.
const LINES_MAX: usize = 1024;

/// Most bytes of either file.
pub const FILE_BYTES_MAX: u64 = 512 * 1024;

/// Reads the contents of a `-Y` file: lines `user:password`. The error is the end of memcached's message, to follow
/// `Authfile [<path>] `.
pub fn parse_auth_file(bytes: &[u8]) -> Result<Accounts, String> {
    let mut accounts = Accounts::new(Format::Pair);
    let mut rest = bytes;
    // An empty file is an empty entry, which is malformed.
    while accounts.count() == 0 || (!rest.is_empty() && accounts.count() < PAIRS_MAX) {
        let line_bytes = memchr::memchr(b'\n', rest).map_or(rest.len(), |end| end + 1);
        // A longer entry is cut off there and is the last.
        let entry_bytes = line_bytes.min(LINE_BYTES_MAX);
        let (entry, after) = rest.split_at(entry_bytes);
        // A NUL ends a user's name that has no colon yet, and so the entry is malformed.
        let colon = entry
            .iter()
            .position(|&byte| byte == b':' || byte == 0)
            .filter(|&position| entry.get(position) == Some(&b':'));
        let Some(colon) = colon else {
            return Err("has a malformed entry. Should be 'user:password'".to_owned());
        };
        let tail = entry.get(colon + 1..).unwrap_or_default();
        let end = tail.iter().position(|byte| matches!(byte, b'\n' | b'\r' | 0));
        let secret_end = colon + 1 + end.unwrap_or(tail.len());
        let line = entry.get(..secret_end).unwrap_or_default();
        add(&mut accounts, line, colon, secret_end)?;
        // memcached takes the end of the text for the end of the file when an entry ends with it or with a NUL.
        match end.and_then(|end| tail.get(end)) {
            None | Some(0) => break,
            Some(_) => rest = after,
        }
    }
    Ok(accounts)
}

/// Reads the contents of a SASL password file. The error is to follow `SASL password file [<path>] `.
pub fn parse_sasl_file(bytes: &[u8]) -> Result<Accounts, String> {
    let mut accounts = Accounts::new(Format::Line);
    for (index, line) in bytes.split(|&byte| byte == b'\n').enumerate() {
        let number = index + 1;
        let Some(colon) = memchr::memchr(b':', line) else {
            match line.trim_ascii() {
                [] | [b'#', ..] => continue,
                _ => return Err(format!("has a malformed entry in line {number}. Should be 'user@realm:password'")),
            }
        };
        // memcached's buffer takes the line end and a NUL besides.
        if line.len() >= LINE_BYTES_MAX {
            return Err(format!("has a line of more than {} bytes: line {number}", LINE_BYTES_MAX - 1));
        }
        if accounts.count() == LINES_MAX {
            return Err(format!("has more than {LINES_MAX} entries"));
        }
        let tail = line.get(colon + 1..).unwrap_or_default();
        let end = tail.iter().position(|byte| matches!(byte, b':' | b'\r' | 0)).unwrap_or(tail.len());
        add(&mut accounts, line, colon, colon + 1 + end).map_err(|text| format!("{text}: line {number}"))?;
    }
    Ok(accounts)
}

/// Adds the entry `line` whose password lies between the colon and `secret_end`.
fn add(accounts: &mut Accounts, line: &[u8], colon: usize, secret_end: usize) -> Result<(), String> {
    let user = line.get(..colon).unwrap_or_default();
    let secret = line.get(colon + 1..secret_end).unwrap_or_default();
    if secret.starts_with(hashed::PREFIX) {
        let hash = Hash::parse(secret).map_err(|text| format!("has a hash that cannot be used ({text})"))?;
        accounts.add_hashed(user, hash);
    } else {
        accounts.add_plain(line, colon, secret_end);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(result: Result<Accounts, String>, expected: Result<&[(&str, &str)], &str>) {
        let pairs = result.as_ref().map(Accounts::pairs).map_err(String::as_str);
        let expected: Result<Vec<(&[u8], &[u8])>, _> =
            expected.map(|pairs| pairs.iter().map(|(user, secret)| (user.as_bytes(), secret.as_bytes())).collect());
        assert_eq!(pairs, expected);
    }

    #[test]
    fn auth_files_are_read_as_memcached_reads_them() {
        check(parse_auth_file(b"u:p"), Ok(&[("u", "p")]));
        check(parse_auth_file(b":\n"), Ok(&[("", "")]));
        check(parse_auth_file(b"a:b:c\r\nx:y\r\n"), Ok(&[("a", "b:c"), ("x", "y")]));
        check(parse_auth_file(b"u:p\0z\nx:y\n"), Ok(&[("u", "p")]));
        for malformed in [&b""[..], b"\n", b"u\n", b"u:p\n\nx:y\n", b"u:p\nx", b"u\0:p\n"] {
            check(parse_auth_file(malformed), Err("has a malformed entry. Should be 'user:password'"));
        }
        let nine: String = (1..10).map(|number| format!("x{number}:y\n")).collect();
        assert_eq!(parse_auth_file(nine.as_bytes()).unwrap().count(), 8);
    }

    #[test]
    fn a_long_entry_is_cut_off_and_is_the_last() {
        let file = |password_bytes: usize| {
            let password = "p".repeat(password_bytes);
            parse_auth_file(format!("u:{password}\nx:y\n").as_bytes()).unwrap()
        };
        assert_eq!(file(252).count(), 2);
        for password_bytes in [253, 300] {
            let accounts = file(password_bytes);
            assert_eq!((accounts.count(), accounts.pairs()[0].1.len()), (1, 253));
        }
    }

    #[test]
    fn sasl_files_are_read_as_memcached_reads_them() {
        check(parse_sasl_file(b""), Ok(&[]));
        check(parse_sasl_file(b"\n# a comment\n \n"), Ok(&[]));
        check(parse_sasl_file(b"u@h:p"), Ok(&[("u@h", "p")]));
        check(
            parse_sasl_file(b"u@h:p:\nv@h:p:q:r\r\nw@h:\r\n:\n"),
            Ok(&[("u@h", "p"), ("v@h", "p"), ("w@h", ""), ("", "")]),
        );
        check(parse_sasl_file(b"#u:p\nu:p\0q\n"), Ok(&[("#u", "p"), ("u", "p")]));
        let malformed = "has a malformed entry in line 2. Should be 'user@realm:password'";
        check(parse_sasl_file(b"u@h:p\nu@h p\n"), Err(malformed));
        let long = |bytes: usize| format!("u@h:{}\n", "p".repeat(bytes - 4));
        assert_eq!(parse_sasl_file(long(254).as_bytes()).unwrap().count(), 1);
        check(parse_sasl_file(long(255).as_bytes()), Err("has a line of more than 254 bytes: line 1"));
        assert_eq!(parse_sasl_file("u:p\n".repeat(1024).as_bytes()).unwrap().count(), 1024);
        check(parse_sasl_file("u:p\n".repeat(1025).as_bytes()), Err("has more than 1024 entries"));
    }

    #[test]
    fn hashes_are_no_passwords() {
        let hash = "$argon2id$v=19$m=32,t=1,p=1$c29tZXNhbHQ$MDEyMzQ1Njc4OWFiY2RlZg";
        let accounts = parse_auth_file(format!("u:{hash}\nv:p\n").as_bytes()).unwrap();
        assert_eq!((accounts.count(), accounts.pairs()), (2, vec![(&b"v"[..], &b"p"[..])]));
        let accounts = parse_sasl_file(format!("u@h:{hash}:x\n").as_bytes()).unwrap();
        assert_eq!((accounts.count(), accounts.pairs()), (1, vec![]));
        let bad = "has a hash that cannot be used (only argon2id is known)";
        check(parse_auth_file(b"u:$argon2i$v=19$m=32,t=1,p=1$c29tZXNhbHQ$MDEyMzQ1Njc4OWFiY2RlZg\n"), Err(bad));
        check(parse_sasl_file(b"\nu:$argon2d$\n"), Err(&format!("{bad}: line 2")));
    }
}
