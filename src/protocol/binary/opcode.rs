//! The opcodes as one table: what each is, and what it demands of extras, key and value.
//!
//! Opcodes that are not in the table are unknown commands, among them verbosity (0x1b) and the range operations, as in
//! memcached 1.6.

use super::header::Header;

/// What a request asks for. Quiet opcodes ask for the same as their twins.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[allow(missing_docs)]
pub enum Command {
    Get,
    GetWithKey,
    Set,
    Add,
    Replace,
    Append,
    Prepend,
    Delete,
    Increment,
    Decrement,
    Touch,
    GetAndTouch,
    GetAndTouchWithKey,
    Flush,
    Noop,
    Version,
    Stat,
    Quit,
    /// Which mechanisms there are to log in.
    SaslList,
    /// The first message of a login.
    SaslStart,
    /// A later one.
    SaslStep,
}

/// Whether a part must be there.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Part {
    /// It must not.
    Absent,
    /// It must.
    Present,
    /// As the client likes. A value nobody reads is taken for the next request, as in memcached.
    Any,
}

/// One opcode.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Opcode {
    /// Its number.
    pub code: u8,
    /// What it asks for.
    pub command: Command,
    /// Whether success, or for reads a miss, goes without an answer.
    pub is_quiet: bool,
    extras_bytes: &'static [u8],
    key: Part,
    value: Part,
}

impl Opcode {
    /// The opcode of this number.
    pub fn find(code: u8) -> Option<&'static Opcode> {
        let index = *INDEXES.get(usize::from(code))?;
        OPCODES.get(usize::from(index))
    }

    /// Whether the parts of a request are what the opcode demands. The lengths are known to add up.
    pub fn accepts(&self, header: &Header, value_bytes: usize) -> bool {
        let is_fine = |part: Part, bytes: usize| match part {
            Part::Absent => bytes == 0,
            Part::Present => bytes != 0,
            Part::Any => true,
        };
        self.extras_bytes.iter().any(|&bytes| usize::from(bytes) == header.extras_bytes)
            && is_fine(self.key, header.key_bytes)
            && is_fine(self.value, value_bytes)
    }
}

const LOUD: bool = false;
const QUIET: bool = true;

const fn row(
    code: u8,
    command: Command,
    is_quiet: bool,
    extras_bytes: &'static [u8],
    key: Part,
    value: Part,
) -> Opcode {
    Opcode { code, command, is_quiet, extras_bytes, key, value }
}

/// All known opcodes.
#[rustfmt::skip]
pub const OPCODES: [Opcode; 35] = {
    use Command::*;
    use Part::*;
    [
        row(0x00, Get, LOUD, &[0], Present, Absent),
        row(0x01, Set, LOUD, &[8], Present, Any),
        row(0x02, Add, LOUD, &[8], Present, Any),
        row(0x03, Replace, LOUD, &[8], Present, Any),
        row(0x04, Delete, LOUD, &[0], Present, Absent),
        row(0x05, Increment, LOUD, &[20], Present, Absent),
        row(0x06, Decrement, LOUD, &[20], Present, Absent),
        row(0x07, Quit, LOUD, &[0], Absent, Absent),
        row(0x08, Flush, LOUD, &[0, 4], Absent, Absent),
        row(0x09, Get, QUIET, &[0], Present, Absent),
        row(0x0a, Noop, LOUD, &[0], Absent, Absent),
        row(0x0b, Version, LOUD, &[0], Absent, Absent),
        row(0x0c, GetWithKey, LOUD, &[0], Present, Absent),
        row(0x0d, GetWithKey, QUIET, &[0], Present, Absent),
        row(0x0e, Append, LOUD, &[0], Present, Any),
        row(0x0f, Prepend, LOUD, &[0], Present, Any),
        row(0x10, Stat, LOUD, &[0], Any, Any),
        row(0x11, Set, QUIET, &[8], Present, Any),
        row(0x12, Add, QUIET, &[8], Present, Any),
        row(0x13, Replace, QUIET, &[8], Present, Any),
        row(0x14, Delete, QUIET, &[0], Present, Absent),
        row(0x15, Increment, QUIET, &[20], Present, Absent),
        row(0x16, Decrement, QUIET, &[20], Present, Absent),
        row(0x17, Quit, QUIET, &[0], Absent, Absent),
        row(0x18, Flush, QUIET, &[0, 4], Absent, Absent),
        row(0x19, Append, QUIET, &[0], Present, Any),
        row(0x1a, Prepend, QUIET, &[0], Present, Any),
        row(0x1c, Touch, LOUD, &[4], Present, Any),
        row(0x1d, GetAndTouch, LOUD, &[4], Present, Any),
        row(0x1e, GetAndTouch, QUIET, &[4], Present, Any),
        row(0x20, SaslList, LOUD, &[0], Absent, Absent),
        row(0x21, SaslStart, LOUD, &[0], Present, Any),
        row(0x22, SaslStep, LOUD, &[0], Present, Any),
        row(0x23, GetAndTouchWithKey, LOUD, &[4], Present, Any),
        row(0x24, GetAndTouchWithKey, QUIET, &[4], Present, Any),
    ]
};

/// Place of each opcode in [`OPCODES`] by its number; past the end for unknown ones.
const INDEXES: [u8; 256] = {
    let mut indexes = [u8::MAX; 256];
    let mut index = 0;
    while index < OPCODES.len() {
        indexes[OPCODES[index].code as usize] = index as u8;
        index += 1;
    }
    indexes
};

#[cfg(test)]
mod tests {
    use super::{Command, OPCODES, Opcode};
    use crate::protocol::binary::header::Header;

    #[test]
    fn the_table_is_in_order_and_found_by_number() {
        assert!(OPCODES.windows(2).all(|pair| pair[0].code < pair[1].code));
        for opcode in &OPCODES {
            assert_eq!(Opcode::find(opcode.code), Some(opcode));
        }
        for code in [0x1b, 0x1f, 0x25, 0x30, 0x77, 0xff] {
            assert_eq!(Opcode::find(code), None);
        }
    }

    #[test]
    fn every_quiet_opcode_has_a_loud_twin_with_the_same_demands() {
        for quiet in OPCODES.iter().filter(|opcode| opcode.is_quiet) {
            let twins: Vec<_> =
                OPCODES.iter().filter(|opcode| !opcode.is_quiet && opcode.command == quiet.command).collect();
            assert_eq!(twins.len(), 1, "{quiet:?}");
            assert_eq!(twins[0].extras_bytes, quiet.extras_bytes);
            assert_eq!((twins[0].key, twins[0].value), (quiet.key, quiet.value));
        }
    }

    #[track_caller]
    fn check(code: u8, extras_bytes: usize, key_bytes: usize, value_bytes: usize, expected: bool) {
        let header = Header {
            opcode: code,
            key_bytes,
            extras_bytes,
            body_bytes: extras_bytes + key_bytes + value_bytes,
            opaque: [0; 4],
            cas: 0,
        };
        let opcode = Opcode::find(code).unwrap();
        assert_eq!(opcode.accepts(&header, value_bytes), expected);
    }

    #[test]
    fn layouts_are_checked() {
        assert_eq!(Opcode::find(0).unwrap().command, Command::Get);
        check(0x00, 0, 1, 0, true);
        check(0x00, 0, 0, 0, false);
        check(0x00, 1, 1, 0, false);
        check(0x00, 0, 1, 1, false);
        check(0x01, 8, 1, 0, true);
        check(0x01, 8, 1, 9, true);
        check(0x01, 4, 1, 9, false);
        check(0x01, 8, 0, 9, false);
        check(0x05, 20, 1, 0, true);
        check(0x05, 20, 1, 1, false);
        check(0x08, 0, 0, 0, true);
        check(0x08, 4, 0, 0, true);
        check(0x08, 3, 0, 0, false);
        check(0x0a, 0, 1, 0, false);
        check(0x10, 0, 0, 3, true);
        check(0x1c, 4, 1, 3, true);
        check(0x21, 0, 0, 3, false);
    }
}
