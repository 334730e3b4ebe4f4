//! Parses the dicts that clients of the CODO API send as text: the output of Python's `str` for a
//! dict, or JSON. Pure; the accept API calls it for `args`, `hosts` and `associated_user`.
//!
//! Strict: literals only, nothing is evaluated. Depth and size are limited; anything else is an
//! error with its position. It follows "Literals" of the Python Language Reference
//! (<https://docs.python.org/3/reference/lexical_analysis.html#literals>) and RFC 8259 where the
//! two agree on what a text means. Where they differ, a text that neither `repr` nor a JSON encoder
//! writes is refused. Python 2 writes UTF-8 as `'\xe4\xb8\xad'` and marks `u'…'` and `1L`; these
//! are read as intended.

use std::fmt;

/// How deep lists and dicts may nest.
const DEPTH_MAX: usize = 16;

/// The longest text, in bytes.
pub(in crate::server) const BYTES_MAX: usize = 64 * 1024;

/// A value as it was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::server) enum Literal {
    Nothing,
    Truth(bool),
    /// The digits as written, without Python 2's `L`.
    Number(String),
    Text(String),
    List(Vec<Literal>),
    /// In the order written; no key occurs twice.
    Dict(Vec<(String, Literal)>),
}

/// Why a text is not a literal, and where.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("character {position}: {problem}")]
pub(in crate::server) struct NoLiteral {
    /// In characters, from 1.
    pub(in crate::server) position: usize,
    problem: String,
}

impl Literal {
    /// Parses a text that is one literal.
    pub(in crate::server) fn parse(text: &str) -> Result<Self, NoLiteral> {
        let mut reader = LiteralParser {
            text,
            rest: text,
            depth: 0,
        };
        if text.len() > BYTES_MAX {
            return Err(NoLiteral {
                position: 1,
                problem: format!(
                    "the text has {} bytes, at most {BYTES_MAX} are allowed: send less",
                    text.len()
                ),
            });
        }
        let value = reader.value()?;
        reader.space();
        if reader.rest.is_empty() {
            Ok(value)
        } else {
            Err(reader.problem("unexpected text after the value: send one dict"))
        }
    }

    /// Returns the kind of value, for a message.
    pub(in crate::server) fn kind(&self) -> &'static str {
        match self {
            Self::Nothing => "None",
            Self::Truth(_) => "a boolean",
            Self::Number(_) => "a number",
            Self::Text(_) => "a string",
            Self::List(_) => "a list",
            Self::Dict(_) => "a dict",
        }
    }
}

/// Formats the value as Python's `str` does: a parameter gets this text as its value.
impl fmt::Display for Literal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Nothing => f.write_str("None"),
            Self::Truth(true) => f.write_str("True"),
            Self::Truth(false) => f.write_str("False"),
            Self::Number(text) | Self::Text(text) => f.write_str(text),
            Self::List(_) | Self::Dict(_) => f.write_str(&self.json().to_string()),
        }
    }
}

impl Literal {
    /// Lists and dicts are passed on as JSON, which every language reads.
    fn json(&self) -> serde_json::Value {
        use serde_json::Value;
        match self {
            Self::Nothing => Value::Null,
            Self::Truth(truth) => Value::Bool(*truth),
            Self::Number(digits) => {
                serde_json::from_str(digits).unwrap_or_else(|_| Value::String(digits.clone()))
            }
            Self::Text(text) => Value::String(text.clone()),
            Self::List(items) => items.iter().map(Self::json).collect(),
            Self::Dict(items) => items
                .iter()
                .map(|(key, value)| (key.clone(), value.json()))
                .collect(),
        }
    }
}

struct LiteralParser<'t> {
    text: &'t str,
    rest: &'t str,
    depth: usize,
}

impl<'t> LiteralParser<'t> {
    fn problem(&self, problem: impl Into<String>) -> NoLiteral {
        let read = &self.text[..self.text.len() - self.rest.len()];
        NoLiteral {
            position: read.chars().count() + 1,
            problem: problem.into(),
        }
    }

    fn space(&mut self) {
        self.rest = self.rest.trim_start_matches([' ', '\t', '\r', '\n']);
    }

    fn takes(&mut self, token: &str) -> bool {
        match self.rest.strip_prefix(token) {
            Some(rest) => {
                self.rest = rest;
                true
            }
            None => false,
        }
    }

    fn next(&mut self) -> Option<char> {
        let next = self.rest.chars().next()?;
        self.rest = &self.rest[next.len_utf8()..];
        Some(next)
    }

    fn value(&mut self) -> Result<Literal, NoLiteral> {
        self.space();
        match self.rest.chars().next() {
            None => Err(self.problem("the text ends where a value is expected")),
            Some('{') => self.nested(Self::dict),
            Some('[') => self.nested(|reader| reader.list(']')),
            Some('(') => self.nested(|reader| reader.list(')')),
            Some('\'' | '"') => Ok(Literal::Text(self.string(Characters::default())?)),
            Some('-' | '0'..='9') => self.number(),
            Some(_) => self.word(),
        }
    }

    fn nested(
        &mut self,
        read: impl FnOnce(&mut Self) -> Result<Literal, NoLiteral>,
    ) -> Result<Literal, NoLiteral> {
        if self.depth == DEPTH_MAX {
            return Err(self.problem(format!(
                "lists and dicts are nested deeper than {DEPTH_MAX}: flatten them"
            )));
        }
        self.depth += 1;
        self.next();
        let value = read(self)?;
        self.depth -= 1;
        Ok(value)
    }

    fn dict(&mut self) -> Result<Literal, NoLiteral> {
        let mut items: Vec<(String, Literal)> = Vec::new();
        let mut keys = std::collections::BTreeSet::new();
        while !self.ends('}') {
            let before = self.rest;
            let key = match self.value()? {
                Literal::Text(key) => key,
                Literal::Number(key) if !key.contains(['.', 'e', 'E']) => key,
                Literal::Number(_) => {
                    self.rest = before;
                    return Err(self.problem("a key must be a string or an integer"));
                }
                other => {
                    self.rest = before;
                    return Err(self.problem(format!(
                        "{} cannot be a key: use a string or a number",
                        other.kind()
                    )));
                }
            };
            if !keys.insert(key.clone()) {
                self.rest = before;
                return Err(self.problem(format!("duplicate key {key:?}")));
            }
            self.space();
            if !self.takes(":") {
                return Err(self.problem("expected `:` and the value of the key"));
            }
            items.push((key, self.value()?));
            self.comma('}')?;
        }
        Ok(Literal::Dict(items))
    }

    fn list(&mut self, end: char) -> Result<Literal, NoLiteral> {
        let mut items = Vec::new();
        while !self.ends(end) {
            items.push(self.value()?);
            self.comma(end)?;
        }
        Ok(Literal::List(items))
    }

    fn ends(&mut self, end: char) -> bool {
        self.space();
        if self.rest.starts_with(end) {
            self.next();
            return true;
        }
        false
    }

    /// Reads the comma between two items; a trailing one is allowed.
    fn comma(&mut self, end: char) -> Result<(), NoLiteral> {
        self.space();
        if self.takes(",") || self.rest.starts_with(end) {
            return Ok(());
        }
        Err(self.problem(format!("expected `,` or `{end}`")))
    }

    fn number(&mut self) -> Result<Literal, NoLiteral> {
        let length = self
            .rest
            .find(|c: char| !matches!(c, '0'..='9' | '+' | '-' | '.' | 'e' | 'E'))
            .unwrap_or(self.rest.len());
        let digits = &self.rest[..length];
        // Numbers follow RFC 8259; Python writes them the same way.
        if serde_json::from_str::<serde_json::Number>(digits).is_err() {
            return Err(self.problem("not a number"));
        }
        self.rest = &self.rest[length..];
        if !digits.contains(['.', 'e', 'E']) {
            self.takes("L");
        }
        Ok(Literal::Number(digits.to_owned()))
    }

    fn word(&mut self) -> Result<Literal, NoLiteral> {
        let length = self
            .rest
            .find(|c: char| !c.is_alphanumeric() && c != '_')
            .unwrap_or(self.rest.len());
        let (word, rest) = self.rest.split_at(length);
        let value = match word {
            "None" | "null" => Literal::Nothing,
            "True" | "true" => Literal::Truth(true),
            "False" | "false" => Literal::Truth(false),
            "u" if rest.starts_with(['\'', '"']) => {
                self.rest = rest;
                return Ok(Literal::Text(self.string(Characters::unicode())?));
            }
            _ => {
                return Err(self.problem(
                    "expected a dict, a list, a quoted string, a number, None, True or False",
                ));
            }
        };
        self.rest = rest;
        Ok(value)
    }

    fn string(&mut self, mut text: Characters) -> Result<String, NoLiteral> {
        let begin = self.rest;
        let quote = self.next();
        loop {
            let before = self.rest;
            match self.next() {
                None => {
                    self.rest = begin;
                    return Err(self.problem("the string has no closing quote"));
                }
                Some('\n' | '\r') => {
                    self.rest = before;
                    return Err(self.problem("a line ends inside a string: write \\n"));
                }
                Some('\\') => {
                    let escape = self.escape();
                    match escape {
                        Some(escape) => text.push_escape(escape),
                        None => {
                            self.rest = before;
                            return Err(self.problem("unknown escape"));
                        }
                    }
                }
                next if next == quote => break,
                Some(plain) => text.push(plain),
            }
        }
        text.whole().ok_or_else(|| {
            self.rest = begin;
            self.problem("the string has half of a surrogate pair")
        })
    }

    fn escape(&mut self) -> Option<Escape> {
        Some(Escape::Unit(match self.next()? {
            plain @ ('\\' | '\'' | '"' | '/') => u32::from(plain),
            'n' => 0x0a,
            't' => 0x09,
            'r' => 0x0d,
            'b' => 0x08,
            'f' => 0x0c,
            'x' => return Some(Escape::Byte(u8::try_from(self.hex(2)?).ok()?)),
            'u' => self.hex(4)?,
            'U' => self.hex(8)?,
            _ => return None,
        }))
    }

    fn hex(&mut self, digits: usize) -> Option<u32> {
        let text = self.rest.get(..digits)?;
        if !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return None;
        }
        self.rest = &self.rest[digits..];
        u32::from_str_radix(text, 16).ok()
    }
}

#[derive(Clone, Copy)]
enum Escape {
    /// `\xNN`: a character below 256 in Python 3, a byte of UTF-8 in Python 2.
    Byte(u8),
    /// Anything else: a character, or half of one in JSON.
    Unit(u32),
}

/// A text under construction.
#[derive(Default)]
struct Characters {
    units: Vec<Escape>,
    /// Contains something that Python 2 would have written as bytes.
    beyond_ascii: bool,
}

impl Characters {
    /// For a text marked `u`: nothing in it is a byte, whatever else it contains.
    fn unicode() -> Self {
        Self {
            beyond_ascii: true,
            ..Self::default()
        }
    }

    fn push(&mut self, plain: char) {
        self.push_escape(Escape::Unit(u32::from(plain)));
    }

    fn push_escape(&mut self, escape: Escape) {
        self.beyond_ascii |= matches!(escape, Escape::Unit(unit) if unit > 0x7f);
        self.units.push(escape);
    }

    /// Returns the whole text; `None` if it contains half of a surrogate pair.
    fn whole(self) -> Option<String> {
        if !self.beyond_ascii {
            let bytes = self.units.iter().filter_map(|unit| match unit {
                Escape::Byte(byte) => Some(*byte),
                Escape::Unit(unit) => u8::try_from(*unit).ok(),
            });
            if let Ok(text) = String::from_utf8(bytes.collect()) {
                return Some(text);
            }
        }
        let mut text = String::new();
        let mut units = self.units.into_iter().map(|unit| match unit {
            Escape::Byte(byte) => u32::from(byte),
            Escape::Unit(unit) => unit,
        });
        while let Some(unit) = units.next() {
            let code = match unit {
                0xd800..=0xdbff => {
                    let low = units.next().filter(|low| (0xdc00..=0xdfff).contains(low))?;
                    0x10000 + ((unit - 0xd800) << 10) + (low - 0xdc00)
                }
                other => other,
            };
            text.push(char::from_u32(code)?);
        }
        Some(text)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use proptest::prelude::*;

    use super::*;

    fn text(value: &str) -> Literal {
        Literal::Text(value.to_owned())
    }

    fn dict(items: &[(&str, Literal)]) -> Literal {
        let items = items
            .iter()
            .map(|(key, value)| ((*key).to_owned(), value.clone()));
        Literal::Dict(items.collect())
    }

    #[test]
    fn client_literals_parse() {
        for (given, expected) in [
            ("{}", dict(&[])),
            ("{1: '192.0.2.101'}", dict(&[("1", text("192.0.2.101"))])),
            (
                "{1: '192.0.2.101', 2: 'a,b',}",
                dict(&[("1", text("192.0.2.101")), ("2", text("a,b"))]),
            ),
            (
                r#"{"VERSION":"1.0", "N": -1.5e3, "X": null, "Y": true}"#,
                dict(&[
                    ("VERSION", text("1.0")),
                    ("N", Literal::Number("-1.5e3".to_owned())),
                    ("X", Literal::Nothing),
                    ("Y", Literal::Truth(true)),
                ]),
            ),
            (
                "{'group-1': ['alice', \"o'neil\"], 'X': None, 'Y': False}",
                dict(&[
                    (
                        "group-1",
                        Literal::List(vec![text("alice"), text("o'neil")]),
                    ),
                    ("X", Literal::Nothing),
                    ("Y", Literal::Truth(false)),
                ]),
            ),
            (" {u'A': u'\\u4e2d\\u6587', 'N': 3L} ", {
                dict(&[("A", text("中文")), ("N", Literal::Number("3".to_owned()))])
            }),
            ("{'A': ('x', {'b': ()})}", {
                let inner = dict(&[("b", Literal::List(Vec::new()))]);
                dict(&[("A", Literal::List(vec![text("x"), inner]))])
            }),
        ] {
            assert_eq!(Literal::parse(given), Ok(expected), "{given}");
        }
    }

    #[test]
    fn chinese_text_is_preserved_in_every_notation() {
        for given in [
            "'中文'",
            r"'\xe4\xb8\xad\xe6\x96\x87'",
            r"u'\u4e2d\u6587'",
            r#""\u4e2d\u6587""#,
        ] {
            assert_eq!(Literal::parse(given), Ok(text("中文")), "{given}");
        }
        assert_eq!(Literal::parse(r"'中\xa0文'"), Ok(text("中\u{a0}文")));
        assert_eq!(Literal::parse(r"'\xad'"), Ok(text("\u{ad}")));
        assert_eq!(Literal::parse(r"'\xc3\xa9'"), Ok(text("é")));
        // As in either version of Python.
        assert_eq!(Literal::parse(r"u'\xc3\xa9'"), Ok(text("Ã©")));
        assert_eq!(Literal::parse(r#""\ud83d\ude80""#), Ok(text("🚀")));
        assert_eq!(Literal::parse(r"'\U0001f680'"), Ok(text("🚀")));
    }

    #[test]
    fn invalid_literal_is_refused_with_its_position() {
        for (given, position) in [
            ("", 1),
            ("{", 2),
            ("{1}", 3),
            ("{1: }", 5),
            ("{1: 'a' 2: 'b'}", 9),
            ("{'中': x}", 7),
            ("{1: __import__('os')}", 5),
            ("{'a': 'b' + 'c'}", 11),
            ("{'a': 'b", 7),
            ("{'a': 'b\nc'}", 9),
            ("{'a': '\\q'}", 8),
            ("{'a': '\\x4'}", 8),
            ("{'a': 1, 'a': 2}", 10),
            ("{1: 'a', '1': 'b'}", 10),
            ("{[]: 1}", 2),
            ("{1.0: 'a'}", 2),
            ("{1e2: 'a'}", 2),
            ("{'a': 01}", 7),
            ("{'a': 1_000}", 8),
            ("{'a': 1} {}", 10),
            (r#"{"a": "\ud83d"}"#, 7),
            ("{'a': b'x'}", 7),
        ] {
            let error = Literal::parse(given).unwrap_err();
            assert_eq!(error.position, position, "{given}: {error}");
        }
    }

    #[test]
    fn depth_and_size_are_bounded() {
        let nested = |depth| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
        assert!(Literal::parse(&nested(DEPTH_MAX)).is_ok());
        assert!(Literal::parse(&nested(DEPTH_MAX + 1)).is_err());
        assert!(Literal::parse(&"[".repeat(BYTES_MAX)).is_err());
        let long = |bytes| format!("'{}'", "x".repeat(bytes));
        assert!(Literal::parse(&long(BYTES_MAX - 2)).is_ok());
        assert!(Literal::parse(&long(BYTES_MAX - 1)).is_err());
    }

    #[test]
    fn many_short_texts_parse() {
        let texts = "'',".repeat(BYTES_MAX / 3 - 1);
        let Literal::List(read) = Literal::parse(&format!("[{texts}]")).unwrap() else {
            panic!("no list");
        };
        assert_eq!(read.len(), BYTES_MAX / 3 - 1);
    }

    #[test]
    fn a_value_becomes_the_text_that_python_shows() {
        for (given, shown) in [
            ("None", "None"),
            ("True", "True"),
            ("7", "7"),
            ("'a b'", "a b"),
            ("['a', 1, None]", r#"["a",1,null]"#),
            ("{'a': {'b': False}}", r#"{"a":{"b":false}}"#),
        ] {
            assert_eq!(Literal::parse(given).unwrap().to_string(), shown);
        }
    }

    /// As Python 3's `repr` writes a text, every character beyond ASCII as it is.
    fn repr(text: &str) -> String {
        let mut out = String::from("'");
        for c in text.chars() {
            match c {
                '\\' => out.push_str("\\\\"),
                '\'' => out.push_str("\\'"),
                '\n' => out.push_str("\\n"),
                '\r' => out.push_str("\\r"),
                '\t' => out.push_str("\\t"),
                control if control < ' ' || control == '\x7f' => {
                    out.push_str(&format!("\\x{:02x}", u32::from(control)));
                }
                plain => out.push(plain),
            }
        }
        out.push('\'');
        out
    }

    proptest! {
        #[test]
        fn text_roundtrips_in_both_notations(given in any::<String>()) {
            prop_assert_eq!(Literal::parse(&repr(&given)), Ok(text(&given)));
            let json = serde_json::to_string(&given).unwrap();
            prop_assert_eq!(Literal::parse(&json), Ok(text(&given)));
        }

        #[test]
        fn literal_parser_never_panics(given in "[\\[\\]{}(),:'\"\\\\xuU0-9a-fL \n中-]*") {
            let _ = Literal::parse(&given);
        }
    }
}
