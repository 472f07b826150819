//! Reading JSON: as much as documents of a node's admin listener need. Writing it is a few functions in [`super::text`].

/// A value.
#[derive(Clone, PartialEq, Debug)]
pub enum Value {
    /// `null`.
    Null,
    /// `true` or `false`.
    Flag(bool),
    /// A number.
    Number(f64),
    /// A string; half of a surrogate pair in it is U+FFFD.
    Text(String),
    /// An array.
    List(Vec<Value>),
    /// An object, in the order of the document.
    Object(Vec<(String, Value)>),
}

impl Value {
    /// Reads a document; `None` if it is none, or nested too deeply.
    pub fn parse(text: &str) -> Option<Value> {
        let mut reader = Reader { rest: text };
        let value = reader.value(DEPTH_MAX)?;
        reader.skip_space();
        reader.rest.is_empty().then_some(value)
    }

    /// The member at a path of names, `a.b.c`; `null` if there is none.
    pub fn at(&self, path: &str) -> &Value {
        path.split('.').fold(self, |value, name| match value {
            Value::Object(members) => members.iter().find(|member| member.0 == name).map_or(&Value::Null, |it| &it.1),
            _ => &Value::Null,
        })
    }

    /// The number, if it is one.
    pub fn number(&self) -> Option<f64> {
        match self {
            Value::Number(number) => Some(*number),
            _ => None,
        }
    }

    /// The number as a count; 0 if it is none.
    pub fn count(&self) -> u64 {
        self.number().unwrap_or(0.0) as u64
    }

    /// The text, if it is one.
    pub fn text(&self) -> Option<&str> {
        match self {
            Value::Text(text) => Some(text),
            _ => None,
        }
    }

    /// The values of a list; none if it is no list.
    pub fn items(&self) -> &[Value] {
        match self {
            Value::List(items) => items,
            _ => &[],
        }
    }
}

struct Reader<'a> {
    rest: &'a str,
}

impl Reader<'_> {
    fn skip_space(&mut self) {
        self.rest = self.rest.trim_start_matches([' ', '\t', '\n', '\r']);
    }

    /// Takes this text if it comes next.
    fn take(&mut self, text: &str) -> Option<()> {
        self.rest = self.rest.strip_prefix(text)?;
        Some(())
    }

    /// Takes this text, which may stand behind space.
    fn has(&mut self, text: &str) -> bool {
        self.skip_space();
        self.take(text).is_some()
    }

    fn value(&mut self, depth: u32) -> Option<Value> {
        self.skip_space();
        let depth = depth.checked_sub(1)?;
        match self.rest.chars().next()? {
            'n' => self.take("null").map(|()| Value::Null),
            't' => self.take("true").map(|()| Value::Flag(true)),
            'f' => self.take("false").map(|()| Value::Flag(false)),
            '"' => self.string().map(Value::Text),
            '[' => {
                let mut items = Vec::new();
                self.list('[', ']', |reader| {
                    items.push(reader.value(depth)?);
                    Some(())
                })?;
                Some(Value::List(items))
            }
            '{' => {
                let mut members = Vec::new();
                self.list('{', '}', |reader| {
                    reader.skip_space();
                    let name = reader.string()?;
                    reader.has(":").then_some(())?;
                    members.push((name, reader.value(depth)?));
                    Some(())
                })?;
                Some(Value::Object(members))
            }
            _ => self.number(),
        }
    }

    fn list(&mut self, open: char, close: char, mut item: impl FnMut(&mut Self) -> Option<()>) -> Option<()> {
        let close = close.to_string();
        self.take(&open.to_string())?;
        if self.has(&close) {
            return Some(());
        }
        loop {
            item(self)?;
            if self.has(&close) {
                return Some(());
            }
            self.has(",").then_some(())?;
        }
    }

    fn number(&mut self) -> Option<Value> {
        let end = self.rest.find(|letter: char| !matches!(letter, '0'..='9' | '-' | '+' | '.' | 'e' | 'E'));
        let (digits, rest) = self.rest.split_at(end.unwrap_or(self.rest.len()));
        self.rest = rest;
        digits.parse().ok().map(Value::Number)
    }

    fn string(&mut self) -> Option<String> {
        self.take("\"")?;
        let mut text = String::new();
        loop {
            let end = self.rest.find(['"', '\\'])?;
            let (plain, rest) = self.rest.split_at(end);
            text.push_str(plain);
            self.rest = rest;
            if self.take("\"").is_some() {
                return Some(text);
            }
            self.take("\\")?;
            let letter = self.rest.chars().next()?;
            self.rest = &self.rest[letter.len_utf8()..];
            text.push(match letter {
                '"' | '\\' | '/' => letter,
                'b' => '\u{8}',
                'f' => '\u{c}',
                'n' => '\n',
                'r' => '\r',
                't' => '\t',
                'u' => {
                    let code = u32::from_str_radix(self.rest.get(..4)?, 16).ok()?;
                    self.rest = &self.rest[4..];
                    char::from_u32(code).unwrap_or(char::REPLACEMENT_CHARACTER)
                }
                _ => return None,
            });
        }
    }
}

/// Lists and objects within each other.
const DEPTH_MAX: u32 = 32;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn documents_are_read() {
        let value = Value::parse(
            " {\"a\" : {\"b\":[1, -2.5e1,true,false , null,[],{}]},\"c\":\"x\\\"\\\\\\/\\n\\u00e4\\ud800y\u{20ac}\"}\n",
        );
        let value = value.expect("a document");
        let numbers = value.at("a.b").items();
        assert_eq!((numbers.len(), numbers[0].count(), numbers[1].number()), (7, 1, Some(-25.0)));
        assert_eq!((&numbers[2], &numbers[4], &numbers[6]), (&Value::Flag(true), &Value::Null, &Value::Object(vec![])));
        assert_eq!(value.at("c").text(), Some("x\"\\/\n\u{e4}\u{fffd}y\u{20ac}"));
        assert_eq!((value.at("a.x"), value.at("c.b"), value.at("a").items().len()), (&Value::Null, &Value::Null, 0));
    }

    #[test]
    fn others_are_refused() {
        let deep = "[".repeat(100_000);
        for text in [
            "",
            "nul",
            "[1",
            "[1,]",
            "{\"a\"}",
            "{a:1}",
            "\"a",
            "\"\\x\"",
            "\"\\u12\"",
            "1 2",
            "--1",
            "{\"a\":1,}",
            &deep,
        ] {
            assert_eq!(Value::parse(text), None, "{:.20}", text);
        }
    }

    #[test]
    fn a_document_cut_anywhere_is_refused() {
        let text = "{\"a\":[1,{\"b\":\"x\\n\u{e4}\"}],\"c\":null}";
        for end in (0..text.len()).filter(|end| text.is_char_boundary(*end)) {
            assert_eq!(Value::parse(&text[..end]), None, "{}", &text[..end]);
        }
        assert!(Value::parse(text).is_some());
    }
}
