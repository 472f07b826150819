//! The text of an answer while it is being written. It is as long as the server has slab classes, prefixes and history, up to
//! some hundred kilobytes, and asks for its memory with care: what the system refuses makes it no text at all, and the answer
//! says so. Who writes need not look.

use std::fmt;

/// A text that is being written.
#[derive(Default, Debug)]
pub(super) struct Body {
    text: String,
    /// Something is missing, for want of memory.
    is_torn: bool,
}

/// The system gives no memory for an answer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct NoMemory;

impl Body {
    /// Appends a text.
    pub fn push_str(&mut self, text: &str) {
        if self.reserve(text.len()) {
            self.text.push_str(text);
        }
    }

    /// Appends a character.
    pub fn push(&mut self, character: char) {
        self.push_str(character.encode_utf8(&mut [0; 4]));
    }

    /// What was written, if it is whole.
    pub fn finish(self) -> Result<String, NoMemory> {
        if self.is_torn { Err(NoMemory) } else { Ok(self.text) }
    }

    /// Makes room. After a refusal nothing more is asked for.
    fn reserve(&mut self, bytes: usize) -> bool {
        self.is_torn = self.is_torn || self.text.try_reserve(bytes).is_err();
        !self.is_torn
    }
}

/// Does not fail, so results need not be looked at.
impl fmt::Write for Body {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.push_str(text);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fmt::Write;

    fn write(body: &mut Body) {
        body.push('{');
        body.push_str("é");
        let _ = write!(body, "{}", 12);
        body.push('}');
    }

    #[test]
    fn a_text_is_whole_or_none() {
        let mut body = Body::default();
        write(&mut body);
        assert_eq!(body.finish(), Ok("{é12}".to_owned()));
        let mut body = Body::default();
        write(&mut body);
        // More than there can be.
        assert!(!body.reserve(usize::MAX));
        write(&mut body);
        assert_eq!(body.text, "{é12}");
        assert_eq!(body.finish(), Err(NoMemory));
    }
}
