//! Searches, as page, API and command line ask for them.

use serde::{Deserialize, Deserializer, Serialize};

use crate::store::HookEntry;

/// What a form sends where nothing was written counts as not asked.
pub(super) fn written<'de, D: Deserializer<'de>>(given: D) -> Result<Option<String>, D::Error> {
    let text = Option::<String>::deserialize(given)?;
    Ok(text.filter(|text| !text.trim().is_empty()))
}

/// `GET /api/v1/hooks?…`: which entries of the hook log.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct HookQuery {
    #[serde(deserialize_with = "written", skip_serializing_if = "Option::is_none")]
    pub project: Option<String>,
    /// A part of the ref's name.
    #[serde(
        rename = "ref",
        deserialize_with = "written",
        skip_serializing_if = "Option::is_none"
    )]
    pub reference: Option<String>,
    #[serde(deserialize_with = "written", skip_serializing_if = "Option::is_none")]
    pub pusher: Option<String>,
    /// One of [`OUTCOME_NAMES`](crate::store::OUTCOME_NAMES).
    #[serde(deserialize_with = "written", skip_serializing_if = "Option::is_none")]
    pub outcome: Option<String>,
    /// A time with an offset, or a day or time in the agent's zone.
    #[serde(deserialize_with = "written", skip_serializing_if = "Option::is_none")]
    pub since: Option<String>,
    #[serde(deserialize_with = "written", skip_serializing_if = "Option::is_none")]
    pub until: Option<String>,
    /// Where to go on: `next` of the answer before, with the same search.
    #[serde(deserialize_with = "written", skip_serializing_if = "Option::is_none")]
    pub cursor: Option<String>,
    /// Default 50, at most 200.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit: Option<usize>,
}

impl HookQuery {
    /// What a cursor belongs to: the search without its place and size.
    #[must_use]
    pub fn search(&self) -> Self {
        Self {
            cursor: None,
            limit: None,
            ..self.clone()
        }
    }
}

/// `GET /api/v1/hooks`: newest first.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HookList {
    pub hooks: Vec<HookEntry>,
    /// The cursor with which to go on; `null` at the end. There may be more even where this answer
    /// holds less than was asked for: one answer looks at so many entries only.
    pub next: Option<String>,
}
