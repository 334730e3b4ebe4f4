//! `docs/templates.md` says what the code does.

use super::file::{ParamFile, StageFile, TemplateFile};
use super::reader::StepFile;
use super::{
    CHECK_INTERVAL_DEFAULT, CHECK_RETRIES_DEFAULT, CHECK_TIMEOUT_DEFAULT, RUN_TIMEOUT_DEFAULT,
    SUPPLIED, Template,
};
use crate::domain::document::doc_tests::{assert_keys, examples, rows};
use crate::domain::document::duration;

const PAGE: &str = include_str!("../../../docs/templates.md");

#[test]
fn the_page_describes_every_key_and_no_other() {
    assert_keys::<TemplateFile>(PAGE, "template");
    assert_keys::<ParamFile>(PAGE, "[[params]]");
    assert_keys::<StageFile>(PAGE, "[[stage]]");
    assert_keys::<StepFile>(PAGE, "steps");
}

#[test]
fn page_lists_every_predefined_parameter() {
    for name in SUPPLIED {
        assert!(PAGE.contains(&format!("`{name}`")), "{name}");
    }
}

#[test]
fn the_defaults_of_steps_are_those_of_the_code() {
    let default = |key: &str| {
        let rows = rows(PAGE, "steps");
        rows.iter()
            .find(|row| row.key == key)
            .map(|row| row.default)
    };
    let interval = format!("\"{}\"", duration::format(CHECK_INTERVAL_DEFAULT));
    assert_eq!(default("interval"), Some(interval.as_str()));
    assert_eq!(
        default("retries"),
        Some(CHECK_RETRIES_DEFAULT.to_string().as_str())
    );
    let timeout = format!(
        "{} minutes; {} seconds for a check",
        RUN_TIMEOUT_DEFAULT.as_secs() / 60,
        CHECK_TIMEOUT_DEFAULT.as_secs()
    );
    assert_eq!(default("timeout"), Some(timeout.as_str()));
}

#[test]
fn the_examples_on_the_page_are_templates() {
    let examples = examples(PAGE);
    assert!(!examples.is_empty());
    for example in examples {
        if let Err(problems) = Template::parse("example.toml", example) {
            panic!("{problems}");
        }
    }
}
