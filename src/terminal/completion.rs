//! The commands' part of the bash completion, from their rows.
//!
//! It follows the part that `options` makes, which has the helpers that it calls.

use super::COMMANDS;
use super::arguments::{COMMON, Command, Flag};

/// The function `_slabstash_command`, which fails where no command is typed.
pub fn completion() -> String {
    let names: Vec<&str> = COMMANDS.iter().map(|command| command.name).collect();
    let mut arms = String::new();
    for command in COMMANDS {
        arms.push_str(&arm(command));
    }
    SCRIPT.replace("{names}", &names.join(" ")).replace("{arms}", &arms)
}

/// How a command's flags and words are completed.
fn arm(command: &Command) -> String {
    let flags = || command.flags.iter().chain(COMMON);
    let all: Vec<String> = flags().flat_map(spellings).collect();
    let mut text = format!("        {})\n            flags=\"{}\"", command.name, all.join(" "));
    // Words in brackets are those to choose from: `[ADDRESS...] [display|settings]`.
    let words: Vec<&str> = command.words.split(['[', ']']).filter(|part| part.contains('|')).collect();
    if !words.is_empty() {
        text.push_str(&format!(" choices=\"{}\"", words.join(" ").replace('|', " ")));
    }
    text.push('\n');
    let valued = |is_file: bool| -> Vec<String> {
        let is_meant = |flag: &&Flag| !flag.value.is_empty() && (flag.value == "FILE") == is_file;
        flags().filter(is_meant).flat_map(spellings).collect()
    };
    for (name, spellings) in [("files", valued(true)), ("values", valued(false))] {
        text.push_str(&format!("            {name}=\" {} \"\n", spellings.join(" ")));
    }
    text.push_str("            ;;\n");
    text
}

/// `-i` and `--interval`.
fn spellings(flag: &Flag) -> Vec<String> {
    let letter = flag.short.map(|letter| format!("-{letter}"));
    letter.into_iter().chain([format!("--{}", flag.name)]).collect()
}

const SCRIPT: &str = r#"
# A command of slabstash: "$@" are its name, its words and flags. Fails if the first word is no command.
_slabstash_command() {
    local current=${*: -1} previous flags choices files values
    if (($# == 1)); then
        [[ $current == -* ]] && return 1
        _slabstash_words "$current" {names}
        return 0
    fi
    previous=${*: -2:1}
    case $1 in
{arms}        *) return 1 ;;
    esac
    if [[ $files == *" $previous "* ]]; then
        _slabstash_files "$current"
    elif [[ $values == *" $previous "* ]]; then
        :
    elif [[ $current == --*=* ]]; then
        [[ $files == *" ${current%%=*} "* ]] && _slabstash_files "${current#*=}"
        local at
        for at in "${!COMPREPLY[@]}"; do
            COMPREPLY[at]=${current%%=*}=${COMPREPLY[at]}
        done
    elif [[ $current == -* ]]; then
        _slabstash_words "$current" "$flags"
    else
        _slabstash_words "$current" "$choices"
        mapfile -t -O "${#COMPREPLY[@]}" COMPREPLY < <(compgen -A hostname -- "$current")
    fi
}
"#;
