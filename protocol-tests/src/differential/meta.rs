//! Meta commands, as clients send them: flags in any order, keys also in base64.

use super::stream::{Batch, Command, Piece, Stream};

impl Stream {
    /// Adds a meta command.
    pub(super) fn meta(&mut self, batch: &mut Batch) {
        match self.random.below(100) {
            0..40 => self.meta_get(batch),
            40..72 => self.meta_set(batch),
            72..82 => self.meta_delete(batch),
            82..96 => self.meta_count(batch),
            96..98 => self.meta_debug(batch),
            _ => self.sync(batch),
        }
    }

    /// The key, its text in the command, and whether that is base64.
    fn meta_key(&mut self) -> (Vec<u8>, Vec<u8>, bool) {
        if self.random.one_in(6) {
            let key = self.pinned();
            let text = base64(&key).into_bytes();
            return (key, text, true);
        }
        let key = self.key();
        (key.clone(), key, false)
    }

    fn meta_get(&mut self, batch: &mut Batch) {
        let (key, text, is_base64) = self.meta_key();
        let mut flags = self.some_of(&["v", "s", "k", "t", "c", "f", "h", "l", "q", "u", "O<"], is_base64);
        self.fetches(&key);
        if self.random.one_in(6) {
            flags.push(Flag::Text(["N0", "N200000", "N-1"][self.random.below(3)].to_string()));
        }
        if self.random.one_in(6) {
            flags.push(Flag::Text(["R0", "R10", "R400000"][self.random.below(3)].to_string()));
        }
        if self.random.one_in(6) {
            flags.push(Flag::Text(format!("T{}", self.exptime())));
        }
        if self.random.one_in(10) {
            flags.push(Flag::Cas('C'));
        }
        if self.random.one_in(10) {
            flags.push(Flag::Text(self.explicit_cas()));
        }
        let command = self.meta_command("mg", &text, None, flags, &key);
        batch.commands.push(command);
    }

    fn meta_set(&mut self, batch: &mut Batch) {
        let (key, text, is_base64) = self.meta_key();
        let value = self.value();
        let mut flags = self.some_of(&["k", "c", "s", "q", "O<"], is_base64);
        if self.random.one_in(3) {
            flags.push(Flag::Text(format!("F{}", self.flags())));
        }
        if self.random.one_in(4) {
            flags.push(Flag::Text(format!("T{}", self.exptime())));
        }
        if self.random.one_in(4) {
            flags.push(Flag::Text(format!("M{}", self.random.choose(&["S", "E", "A", "P", "R", "APPEND"]))));
        }
        if self.random.one_in(5) {
            flags.push(Flag::Cas('C'));
        }
        if self.random.one_in(12) {
            flags.push(Flag::Text("I".to_string()));
        }
        if self.random.one_in(10) {
            flags.push(Flag::Text("N200000".to_string()));
        }
        if self.random.one_in(10) {
            flags.push(Flag::Text(self.explicit_cas()));
        }
        let mut command = self.meta_command("ms", &text, Some(value.len()), flags, &key);
        command.push(&value);
        command.push("\r\n");
        batch.commands.push(command);
    }

    fn meta_delete(&mut self, batch: &mut Batch) {
        let (key, text, is_base64) = self.meta_key();
        let mut flags = self.some_of(&["k", "q", "I", "O<"], is_base64);
        if self.random.one_in(5) {
            flags.push(Flag::Text(format!("T{}", self.exptime())));
        }
        if self.random.one_in(5) {
            flags.push(Flag::Cas('C'));
        }
        if self.random.one_in(5) {
            flags.push(Flag::Text("x".to_string()));
            if self.random.one_in(2) {
                flags.push(Flag::Text(format!("F{}", self.flags())));
            }
        }
        if self.random.one_in(10) {
            flags.push(Flag::Text(self.explicit_cas()));
        }
        let command = self.meta_command("md", &text, None, flags, &key);
        batch.commands.push(command);
    }

    fn meta_count(&mut self, batch: &mut Batch) {
        let is_wide = self.random.one_in(4) && !self.is_private;
        let key = if is_wide { WIDE_KEY.to_vec() } else { self.counter() };
        self.counts(&key, batch);
        let mut flags = self.some_of(&["t", "c", "k", "v", "q", "O<"], false);
        if self.random.one_in(3) {
            flags.push(Flag::Text(format!("D{}", if is_wide { "7".to_string() } else { self.digits() })));
        }
        if self.random.one_in(3) && !is_wide {
            flags.push(Flag::Text(format!("M{}", self.random.choose(&["I", "D", "+", "-", "INCR", "DECR"]))));
        }
        if is_wide {
            flags.push(Flag::Text("N0".to_string()));
            flags.push(Flag::Text("J10000000000000000000".to_string()));
        } else if self.random.one_in(3) {
            flags.push(Flag::Text(["N0", "N200000"][self.random.below(2)].to_string()));
            if self.random.one_in(2) {
                flags.push(Flag::Text(format!("J{}", self.digits())));
            }
        }
        if self.random.one_in(6) {
            flags.push(Flag::Cas('C'));
        }
        if is_wide && self.random.one_in(2) {
            flags.push(Flag::Text(format!("T{}", self.exptime())));
        }
        if is_wide && self.random.one_in(2) {
            flags.push(Flag::Text(self.explicit_cas()));
        }
        let command = self.meta_command("ma", &key, None, flags, &key);
        batch.commands.push(command);
    }

    fn meta_debug(&mut self, batch: &mut Batch) {
        let mut command = Command::bytes("me ");
        command.push(self.key());
        command.push("\r\n");
        batch.commands.push(command);
    }

    /// Some of the flags in any order, with `b` for a key in base64.
    fn some_of(&mut self, names: &[&str], is_base64: bool) -> Vec<Flag> {
        let mut flags = Vec::new();
        for name in names {
            if !self.random.one_in(3) {
                continue;
            }
            flags.push(Flag::Text(match *name {
                "O<" => format!("O{}", self.random.below(1 << 40)),
                name => name.to_string(),
            }));
        }
        if is_base64 {
            flags.push(Flag::Text("b".to_string()));
        }
        flags
    }

    /// A CAS id that no server chooses by itself.
    fn explicit_cas(&mut self) -> String {
        format!("E{}", EXPLICIT_CAS + self.random.number() % EXPLICIT_CAS)
    }

    fn meta_command(
        &mut self,
        verb: &str,
        text: &[u8],
        length: Option<usize>,
        mut flags: Vec<Flag>,
        key: &[u8],
    ) -> Command {
        let mut command = Command::bytes(verb);
        command.push(" ");
        command.push(text);
        if let Some(length) = length {
            command.push(format!(" {length}"));
        }
        while !flags.is_empty() {
            let index = self.random.below(flags.len());
            command.push(" ");
            match flags.swap_remove(index) {
                Flag::Text(text) => command.push(text),
                Flag::Cas(letter) => {
                    command.push(letter.to_string());
                    let cas: Piece = self.cas_of(key, false);
                    command.pieces.push(cas);
                }
            }
        }
        command.push(self.line_end());
        command
    }
}

/// A flag with its argument.
#[derive(Clone, Debug, PartialEq)]
enum Flag {
    Text(String),
    Cas(char),
}

/// Text of bytes, in the alphabet of RFC 4648.
pub fn base64(bytes: &[u8]) -> String {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for group in bytes.chunks(3) {
        let bits = group.iter().fold(0u32, |bits, byte| bits << 8 | u32::from(*byte)) << (8 * (3 - group.len()));
        for place in 0..4 {
            match place <= group.len() {
                true => text.push(char::from(LETTERS[(bits >> (18 - 6 * place) & 63) as usize])),
                false => text.push('='),
            }
        }
    }
    text
}

/// A key whose number always has as many digits.
const WIDE_KEY: &[u8] = b"wide";

/// From here on CAS ids are the stream's.
pub const EXPLICIT_CAS: u64 = 1 << 50;

#[cfg(test)]
mod tests {
    use super::base64;

    #[test]
    fn base64_is_the_usual_one() {
        for (bytes, text) in [("", ""), ("a", "YQ=="), ("ab", "YWI="), ("abc", "YWJj"), ("abcd", "YWJjZA==")] {
            assert_eq!(base64(bytes.as_bytes()), text);
        }
    }
}
