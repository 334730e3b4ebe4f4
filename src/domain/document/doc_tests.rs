//! Compares a page of `docs/` with the structs that read the file it describes.
//!
//! A page has one `## ` heading for each table of the file; the first column of the Markdown table
//! below it names the keys. Code blocks marked `toml` are whole files.

#![allow(clippy::unwrap_used)]

use std::collections::BTreeSet;
use std::fmt;

use serde::de::{self, Deserialize, Deserializer, Visitor};

/// One row of a table of keys.
pub(crate) struct Row<'p> {
    pub(crate) key: &'p str,
    /// The content of the column "default", without the backticks of code.
    pub(crate) default: &'p str,
    /// Whether that is code: a TOML value.
    pub(crate) is_value: IsValue,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum IsValue {
    Yes,
    No,
}

/// The rows of the table below the heading that holds `heading` as code.
pub(crate) fn rows<'p>(page: &'p str, heading: &str) -> Vec<Row<'p>> {
    let code = format!("`{heading}`");
    let section = page
        .split("\n## ")
        .find(|section| section.lines().next().unwrap().contains(&code))
        .unwrap_or_else(|| panic!("no heading for {code}"));
    section
        .lines()
        .filter(|line| line.starts_with("| `"))
        .map(|line| {
            let cells: Vec<&str> = line.split(" | ").map(str::trim).collect();
            let key = cells[0].trim_start_matches("| ").trim_matches('`');
            let value = cells[2].strip_prefix('`').and_then(|v| v.strip_suffix('`'));
            let value = value.filter(|value| !value.contains('`'));
            Row {
                key,
                default: value.unwrap_or(cells[2]),
                is_value: if value.is_some() {
                    IsValue::Yes
                } else {
                    IsValue::No
                },
            }
        })
        .collect()
}

/// The keys below a heading are exactly the fields of `T`.
pub(crate) fn assert_keys<T: for<'de> Deserialize<'de>>(page: &str, heading: &str) {
    let in_page: BTreeSet<&str> = rows(page, heading).iter().map(|row| row.key).collect();
    let in_code: BTreeSet<&str> = fields_of::<T>().iter().copied().collect();
    assert_eq!(
        in_page, in_code,
        "page (left) and code (right), `{heading}`"
    );
}

/// The code blocks of a page that are marked `toml`.
pub(crate) fn examples(page: &str) -> Vec<&str> {
    page.split("\n```toml\n")
        .skip(1)
        .map(|rest| rest.split_once("\n```").unwrap().0)
        .collect()
}

/// The names of the fields that serde reads into `T`.
pub(crate) fn fields_of<T: for<'de> Deserialize<'de>>() -> &'static [&'static str] {
    match T::deserialize(FieldLister) {
        Err(Fields(fields)) => fields,
        Ok(_) => panic!("no struct"),
    }
}

/// A deserializer that only notes which fields a struct asks for.
struct FieldLister;

#[derive(Debug)]
struct Fields(&'static [&'static str]);

impl fmt::Display for Fields {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.0)
    }
}

impl std::error::Error for Fields {}

impl de::Error for Fields {
    fn custom<T: fmt::Display>(message: T) -> Self {
        panic!("{message}")
    }
}

impl<'de> Deserializer<'de> for FieldLister {
    type Error = Fields;

    fn deserialize_any<V: Visitor<'de>>(self, _: V) -> Result<V::Value, Fields> {
        panic!("no struct")
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        fields: &'static [&'static str],
        _: V,
    ) -> Result<V::Value, Fields> {
        Err(Fields(fields))
    }

    serde::forward_to_deserialize_any! {
        bool i8 i16 i32 i64 u8 u16 u32 u64 f32 f64 char str string bytes byte_buf option unit
        unit_struct newtype_struct seq tuple tuple_struct map enum identifier ignored_any
    }
}
