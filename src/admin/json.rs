//! Writes JSON: objects, arrays, texts, numbers. Commas and quotes are its business, so a document is well-formed however it
//! is put together; that each `begin` has its `end` is the business of the closures.

use std::fmt::Write;

use super::body::{Body, NoMemory};

/// A document that is being written. Writing to a body does not fail, so results are not looked at.
#[derive(Default)]
pub(super) struct Json {
    text: Body,
    /// The next value stands behind another one.
    needs_comma: bool,
}

impl Json {
    /// A document that is one object.
    pub fn document(fill: impl FnOnce(&mut Json)) -> Result<String, NoMemory> {
        let mut json = Json::default();
        json.wrap('{', '}', fill);
        json.text.push('\n');
        json.text.finish()
    }

    fn wrap(&mut self, open: char, close: char, fill: impl FnOnce(&mut Json)) {
        self.value(|text| text.push(open));
        self.needs_comma = false;
        fill(self);
        self.text.push(close);
        self.needs_comma = true;
    }

    fn value(&mut self, write: impl FnOnce(&mut Body)) {
        if self.needs_comma {
            self.text.push(',');
        }
        write(&mut self.text);
        self.needs_comma = true;
    }

    /// The name of the next member of an object.
    fn name(&mut self, name: &str) {
        self.value(|text| quote(name, text));
        self.text.push(':');
        self.needs_comma = false;
    }

    /// An object as a member.
    pub fn object(&mut self, name: &str, fill: impl FnOnce(&mut Json)) {
        self.name(name);
        self.wrap('{', '}', fill);
    }

    /// An array as a member.
    pub fn array(&mut self, name: &str, fill: impl FnOnce(&mut Json)) {
        self.name(name);
        self.wrap('[', ']', fill);
    }

    /// A member.
    pub fn member(&mut self, name: &str, value: impl Into<Value>) {
        self.name(name);
        self.item(value);
    }

    /// An object as an element of an array.
    pub fn item_object(&mut self, fill: impl FnOnce(&mut Json)) {
        self.wrap('{', '}', fill);
    }

    /// An array as an element of an array.
    pub fn item_array(&mut self, fill: impl FnOnce(&mut Json)) {
        self.wrap('[', ']', fill);
    }

    /// An element of an array.
    pub fn item(&mut self, value: impl Into<Value>) {
        let value = value.into();
        self.value(|text| {
            let _ = match value {
                Value::Null => write!(text, "null"),
                Value::Flag(flag) => write!(text, "{flag}"),
                Value::Whole(number) => write!(text, "{number}"),
                // JSON has no infinity.
                Value::Real(number) if !number.is_finite() => write!(text, "null"),
                Value::Real(number) => write!(text, "{}", (number * 1e6).round() / 1e6),
                Value::Text(ref words) => {
                    quote(words, text);
                    Ok(())
                }
            };
        });
    }
}

fn quote(words: &str, text: &mut Body) {
    text.push('"');
    for character in words.chars() {
        match character {
            '"' => text.push_str("\\\""),
            '\\' => text.push_str("\\\\"),
            // The last is for those who put JSON into a page.
            '\0'..='\x1f' | '\x7f' | '<' => {
                let _ = write!(text, "\\u{:04x}", u32::from(character));
            }
            other => text.push(other),
        }
    }
    text.push('"');
}

/// A value that holds no others.
pub(super) enum Value {
    Null,
    Flag(bool),
    Whole(i64),
    Real(f64),
    Text(String),
}

impl<T: Into<Value>> From<Option<T>> for Value {
    fn from(value: Option<T>) -> Self {
        value.map_or(Value::Null, Into::into)
    }
}

macro_rules! values {
    ($($type:ty => |$value:ident| $made:expr;)*) => {
        $(impl From<$type> for Value {
            fn from($value: $type) -> Self { $made }
        })*
    };
}

values! {
    bool => |flag| Value::Flag(flag);
    u32 => |number| Value::Whole(i64::from(number));
    i64 => |number| Value::Whole(number);
    u64 => |number| Value::Whole(i64::try_from(number).unwrap_or(i64::MAX));
    usize => |number| Value::Whole(i64::try_from(number).unwrap_or(i64::MAX));
    f64 => |number| Value::Real(number);
    &str => |text| Value::Text(text.to_owned());
    String => |text| Value::Text(text);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_well_formed() {
        let text = Json::document(|json| {
            json.member("a\"b", "x\n\\\u{1}<é");
            json.array("list", |json| {
                json.item(1u64);
                json.item(-2i64);
                json.item(0.1 + 0.2);
                json.item(f64::INFINITY);
                json.item(None::<u32>);
                json.item_array(|_| {});
                json.item_object(|json| json.member("is", true));
            });
            json.object("empty", |_| {});
            json.member("last", u64::MAX);
        });
        let expected = concat!(
            r#"{"a\"b":"x\u000a\\\u0001\u003cé","list":[1,-2,0.3,null,null,[],{"is":true}],"#,
            r#""empty":{},"last":9223372036854775807}"#,
            "\n"
        );
        assert_eq!(text.as_deref(), Ok(expected));
    }
}
