//! The bash completion of the options, from their rows.
//!
//! The text is the whole script but for the commands' part, which [`crate`]'s `terminal` makes from its own rows: where
//! that follows, it defines `_slabstash_command`. What is refused or without meaning is not offered. The script needs
//! nothing of the bash-completion package beyond being found by it, so it can be sourced alone.

use crate::store::Policy;

use super::row::{Argument, Row, Support};
use super::table;

/// The script up to where the commands' part follows.
pub fn completion() -> String {
    let mut choices: Vec<(&str, Vec<&str>)> = CHOICES.iter().map(|(name, words)| (*name, words.to_vec())).collect();
    choices.push(("eviction_policy", Policy::ALL.iter().map(|policy| policy.name()).collect()));
    let mut arms = String::new();
    for row in offered(table::ROWS.iter()) {
        let action = match row.argument {
            Argument::None => continue,
            _ if row.short == Some(b'o') => "_slabstash_suboptions \"$2\"",
            _ => &action(row, &choices),
        };
        arms.push_str(&format!("        {}) {action} ;;\n", spellings(row).join(" | ")));
    }
    let mut suboption_arms = String::new();
    for row in offered(table::shown_suboptions()).filter(|row| row.argument != Argument::None) {
        suboption_arms.push_str(&format!("        {}) {} ;;\n", row.name, action(row, &choices)));
    }
    let words: Vec<String> = offered(table::ROWS.iter()).flat_map(words).collect();
    let suboptions: Vec<String> = offered(table::shown_suboptions()).map(suboption_word).collect();
    SCRIPT
        .replace("{options}", &wrapped(&words))
        .replace("{suboptions}", &wrapped(&suboptions))
        .replace("{option arms}", &arms)
        .replace("{suboption arms}", &suboption_arms)
}

/// The rows worth offering.
fn offered(rows: impl Iterator<Item = &'static Row>) -> impl Iterator<Item = &'static Row> {
    rows.filter(|row| row.support == Support::Full && !row.help.is_empty())
}

/// `-p` and `--port`.
fn spellings(row: &Row) -> Vec<String> {
    let letter = row.short.map(|letter| format!("-{}", char::from(letter)));
    let long = (!row.name.is_empty()).then(|| format!("--{}", row.name));
    letter.into_iter().chain(long).collect()
}

/// The same as typed: an equals sign says that a value follows.
fn words(row: &'static Row) -> Vec<String> {
    let mut words = spellings(row);
    if let (Argument::Required(_), Some(long)) = (row.argument, words.iter_mut().find(|word| word.starts_with("--"))) {
        long.push('=');
    }
    words
}

fn suboption_word(row: &'static Row) -> String {
    let equals = if matches!(row.argument, Argument::Required(_)) { "=" } else { "" };
    format!("{}{equals}", row.name)
}

/// What completes a value, by its name in help.
fn action(row: &Row, choices: &[(&str, Vec<&str>)]) -> String {
    if let Some((_, words)) = choices.iter().find(|(name, _)| *name == row.name) {
        return format!("_slabstash_words \"$2\" {}", words.join(" "));
    }
    match row.argument {
        Argument::Required("file") => "_slabstash_files \"$2\"".to_owned(),
        Argument::Required("user") => "_slabstash_users \"$2\"".to_owned(),
        _ => ":".to_owned(),
    }
}

/// Words in lines of up to 100 characters, indented.
fn wrapped(words: &[String]) -> String {
    let mut lines = vec![String::from("   ")];
    for word in words {
        if lines.last().is_some_and(|line| line.len() + 1 + word.len() > 100) {
            lines.push(String::from("   "));
        }
        if let Some(line) = lines.last_mut() {
            line.push(' ');
            line.push_str(word);
        }
    }
    lines.join("\n")
}

/// Values that are one of a few words, by the option's long name. The policies come from the store.
const CHOICES: &[(&str, &[&str])] =
    &[("protocol", &["auto", "ascii", "binary"]), ("sandbox", &["auto", "required", "off"])];

const SCRIPT: &str = r#"# shellcheck shell=bash
# bash completion for slabstash(1), also as memcached(1)
# Made from the option tables and the commands' rows; a test compares it.

# Each of these adds to COMPREPLY what may stand where the word so far, $1, stands.

_slabstash_words() {
    local word=$1
    shift
    mapfile -t -O "${#COMPREPLY[@]}" COMPREPLY < <(compgen -W "$*" -- "$word")
}

_slabstash_files() {
    mapfile -t -O "${#COMPREPLY[@]}" COMPREPLY < <(compgen -f -- "$1")
    compopt -o filenames 2> /dev/null
}

_slabstash_users() {
    mapfile -t -O "${#COMPREPLY[@]}" COMPREPLY < <(compgen -u -- "$1")
}

# A list with commas, whose last element is still to be completed.
_slabstash_suboptions() {
    local last=${1##*,}
    if [[ $last == *=* ]]; then
        _slabstash_suboption_value "${last%%=*}" "${last#*=}"
    else
        local suboptions="
{suboptions}"
        _slabstash_words "$last" "$suboptions"
    fi
    local before=${1%"${1##*[,=]}"} at
    [[ $last == *=* ]] || before=${1%"$last"}
    for at in "${!COMPREPLY[@]}"; do
        COMPREPLY[at]=$before${COMPREPLY[at]}
    done
    [[ ${COMPREPLY[*]} == *= ]] && compopt -o nospace 2> /dev/null
}

_slabstash_suboption_value() {
    case $1 in
{suboption arms}    esac
}

# The value $2 of option $1; fails if the option takes none.
_slabstash_value() {
    case $1 in
{option arms}        *) return 1 ;;
    esac
}

# What is typed ends with the last of the words "$@".
_slabstash_daemon() {
    local current=${*: -1} previous=${*: -2:1} options="
{options}"
    if [[ $previous == -* ]] && _slabstash_value "$previous" "$current"; then
        return
    fi
    if [[ $current == --*=* ]]; then
        _slabstash_value "${current%%=*}" "${current#*=}"
        local at
        for at in "${!COMPREPLY[@]}"; do
            COMPREPLY[at]=${current%%=*}=${COMPREPLY[at]}
        done
    elif [[ $current == -* ]]; then
        _slabstash_words "$current" "$options"
        [[ ${COMPREPLY[*]} == --*= ]] && compopt -o nospace 2> /dev/null
    fi
}

_slabstash() {
    COMPREPLY=()
    # The line is split here, since COMP_WORDS is cut at = and : as well.
    local line=${COMP_LINE:0:COMP_POINT} words at
    read -ra words <<< "$line"
    [[ $line == *[[:space:]] ]] && words+=("")
    ((${#words[@]} > 1)) || return 0
    if [[ ${words[0]##*/} == memcached* ]] || ! declare -F _slabstash_command > /dev/null ||
        ! _slabstash_command "${words[@]:1}"; then
        _slabstash_daemon "${words[@]}"
    fi
    # Readline keeps what stands before the last of these characters.
    local kept=${words[-1]%"${words[-1]##*[=:]}"}
    [[ $COMP_WORDBREAKS == *[=:]* ]] || kept=
    for at in "${!COMPREPLY[@]}"; do
        COMPREPLY[at]=${COMPREPLY[at]#"$kept"}
    done
    return 0
}

complete -F _slabstash slabstash memcached
"#;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_refused_or_without_meaning_is_not_offered() {
        let script = completion();
        let is_offered = |word: &str| script.split_whitespace().any(|found| found.trim_end_matches(['=', '"']) == word);
        for row in table::ROWS.iter().filter(|row| !row.help.is_empty() || row.support != Support::Full) {
            for word in spellings(row) {
                assert_eq!(is_offered(&word), row.support == Support::Full, "{word}");
            }
        }
        for row in table::suboptions().filter(|row| !row.help.is_empty() || row.support != Support::Full) {
            assert_eq!(is_offered(row.name), row.support == Support::Full, "{}", row.name);
        }
        assert!(!script.contains('{') || !script.contains("arms}"), "{script}");
    }

    #[test]
    fn choices_are_those_of_the_options() {
        for (name, words) in CHOICES {
            let row = table::all().find(|row| row.name == *name).expect("a row of that name");
            for word in *words {
                assert!(row.help.concat().contains(word), "{name} {word}");
            }
        }
    }
}
