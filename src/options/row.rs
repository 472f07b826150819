//! An option as one value.
//!
//! [`super::table`] and [`super::extended`] are lists of these; every other part of the command line reads them.

use super::draft::{Draft, Early, Value};
use super::{Identity, Options};

/// One option or suboption.
pub(super) struct Row {
    /// The letter; suboptions have none.
    pub short: Option<u8>,
    /// The long name, or the suboption's; `-D` has none.
    pub name: &'static str,
    pub argument: Argument,
    /// Lines for `-h`; none hides the row there. `{default}` stands for the value so far.
    pub help: &'static [&'static str],
    pub default: Option<fn(&Draft) -> String>,
    pub support: Support,
    /// What it does when `support` lets it.
    pub apply: Apply,
    /// Its lines of `stats settings`.
    pub settings: &'static [Setting],
}

/// Whether a value follows, and its name in help.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Argument {
    None,
    /// Only glued to the name by `=`.
    Optional,
    Required(&'static str),
}

/// How far an option is supported.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Support {
    /// It does what it says.
    Full,
    /// It is accepted and checked, and changes nothing for this reason.
    NoMeaning(&'static str),
    /// It is refused with this code and message, where `{name}` stands for its name.
    Refused(i32, &'static str),
}

/// What an option does.
#[derive(Clone, Copy)]
pub(super) enum Apply {
    /// Sets options, whatever the value.
    Set(fn(&mut Options)),
    /// Reads the value, and may end the reading.
    Take(fn(&mut Draft, Value<'_>) -> Result<(), Early>),
}

/// One line of `stats settings`: its name and how to write its value.
pub(super) type Setting = (&'static str, fn(&Options) -> String);

impl Row {
    /// How to name the option in a sentence.
    pub fn title(&self) -> String {
        match (self.short, self.name) {
            (Some(letter), "") => format!("-{}", char::from(letter)),
            (Some(letter), name) => format!("-{} (--{name})", char::from(letter)),
            (None, name) => format!("-o {name}"),
        }
    }

    /// Some suboptions exist in debug builds of memcached only.
    pub fn exists_for(&self, identity: &Identity) -> bool {
        self.name != "relaxed_privileges" || identity.is_debug
    }
}

/// Starting point of most rows, for `..PLAIN`.
pub(super) const PLAIN: Row = Row {
    short: None,
    name: "",
    argument: Argument::None,
    help: &[],
    default: None,
    support: Support::Full,
    apply: Apply::Set(|_| ()),
    settings: &[],
};

/// `yes` or `no`, as `stats settings` writes a switch.
pub(super) fn yes_no(is_on: bool) -> String {
    if is_on { "yes" } else { "no" }.to_string()
}
