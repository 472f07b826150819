//! The commands' manual pages, in roff, from their rows.

use super::COMMANDS;
use super::arguments::{COMMON, Command, Flag, usage};
use super::failure::USAGE;

/// The page of a command, section 1.
pub fn page(command: &Command) -> String {
    let mut page = format!(
        ".\\\" Made from the command's row; a test compares it.\n\
         .TH SLABSTASH\\-{} 1 \"\" \"slabstash {}\" \"User Commands\"\n.ad l\n.nh\n\
         .SH NAME\nslabstash\\-{} \\- {}\n.SH SYNOPSIS\n.B slabstash {}\n{}\n.SH DESCRIPTION\n",
        command.name.to_uppercase(),
        env!("CARGO_PKG_VERSION"),
        command.name,
        roff(command.summary),
        command.name,
        roff(command.words),
    );
    for (at, paragraph) in command.about.iter().enumerate() {
        page.push_str(if at > 0 { ".PP\n" } else { "" });
        page.push_str(&format!("{}\n", roff(paragraph)));
    }
    page.push_str(
        ".PP\nAn address is host:port, [v6]:port or unix:/path; without any it is 127.0.0.1:11211.\n.SH OPTIONS\n",
    );
    for flag in command.flags.iter().chain(COMMON) {
        page.push_str(&entry(flag));
    }
    page.push_str(".SH EXIT STATUS\n");
    for (code, meaning) in command.exit.iter().chain(&[(USAGE, "The command line is wrong.")]) {
        page.push_str(&format!(".TP\n.B {code}\n{}\n", roff(meaning)));
    }
    page.push_str(".SH EXAMPLES\n");
    for (line, purpose) in command.examples {
        page.push_str(&format!(".TP\n.B {}\n{}\n", roff(line), roff(purpose)));
    }
    let others: Vec<String> = COMMANDS
        .iter()
        .filter(|other| other.name != command.name)
        .map(|other| format!("slabstash\\-{}(1)", other.name))
        .collect();
    page.push_str(&format!(".SH SEE ALSO\nslabstash(1), {}\n", others.join(", ")));
    page
}

fn entry(flag: &Flag) -> String {
    format!(".TP\n.B {}\n{}\n", roff(usage(flag).trim_start()), roff(flag.help))
}

/// Text as roff shows it: backslashes and dashes are special, and so is a dot or a quote that starts a line.
fn roff(text: &str) -> String {
    let escape = |line: &str| {
        let line = line.replace('\\', "\\e").replace('-', "\\-");
        if line.starts_with(['.', '\'']) { format!("\\&{line}") } else { line }
    };
    text.split('\n').map(escape).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// With `SLABSTASH_WRITE_MAN_PAGE` set this writes the pages instead of comparing them.
    #[test]
    fn packaged_man_pages_of_commands_are_the_generated_ones() {
        for command in COMMANDS {
            let path = format!("{}/packaging/man/slabstash-{}.1", env!("CARGO_MANIFEST_DIR"), command.name);
            let page = page(command);
            if std::env::var_os("SLABSTASH_WRITE_MAN_PAGE").is_some() {
                std::fs::write(&path, &page).expect("the directory packaging/man exists");
            }
            let packaged = std::fs::read_to_string(&path).unwrap_or_default();
            assert!(packaged == page, "{path} is old: SLABSTASH_WRITE_MAN_PAGE=1 cargo test man_page");
        }
    }

    #[test]
    fn rows_are_whole() {
        for command in COMMANDS {
            let row = command.name;
            assert!(!command.summary.is_empty() && !command.about.is_empty() && !command.examples.is_empty(), "{row}");
            assert!(command.exit.iter().any(|(code, _)| *code == 0) && command.exit.is_sorted(), "{row}");
            let mut names: Vec<&str> = command.flags.iter().chain(COMMON).map(|flag| flag.name).collect();
            let mut letters: Vec<char> = command.flags.iter().chain(COMMON).filter_map(|flag| flag.short).collect();
            let (name_count, letter_count) = (names.len(), letters.len());
            names.sort_unstable();
            names.dedup();
            letters.sort_unstable();
            letters.dedup();
            assert_eq!((names.len(), letters.len()), (name_count, letter_count), "{row}: a flag stands twice");
            let help = super::super::arguments::help(command);
            for (line, _) in command.examples {
                assert!(line.contains(&format!("slabstash {row}")), "{row}: {line}");
            }
            assert!(help.lines().all(|line| line.chars().count() <= 120), "{help}");
        }
    }
}
