//! The OpenAPI description of the API: `openapi.json`, where one entry describes every verb.

use std::sync::LazyLock;

use crate::engine::request::{VERBS, VerbField, VerbSpec};

const FILE: &str = include_str!("openapi.json");
/// Where the entry for all verbs begins, and the one after it.
const VERB: &str = "  \"/api/v1/tasks/{id}/{verb}\": {";
const AFTER: &str = "  \"/api/v1/tasks/{id}/order\": {";

static DOCUMENT: LazyLock<String> = LazyLock::new(|| {
    let begin = FILE.find(VERB).unwrap_or(FILE.len());
    let end = FILE.find(AFTER).unwrap_or(FILE.len());
    let entry = &FILE[begin..end];
    let mut document = FILE[..begin].to_owned();
    for row in &VERBS {
        let summary = format!("\"summary\": \"{}\"", row.summary);
        document += &described(entry, row, row.name, &summary);
        if let Some(alias) = row.alias {
            let name = row.name;
            let summary =
                format!("\"deprecated\": true, \"summary\": \"The former name of {name}\"");
            document += &described(entry, row, alias, &summary);
        }
    }
    document + &FILE[end..]
});

/// Returns the description.
#[must_use]
pub fn document() -> &'static str {
    &DOCUMENT
}

/// Returns the entry of a verb under one of its names.
fn described(entry: &str, row: &VerbSpec, name: &str, summary: &str) -> String {
    let property = |field: &VerbField| format!("\"{}\": {}", field.name, field.schema);
    let properties: Vec<String> = row.fields.iter().map(property).collect();
    let required = row.fields.iter().filter(|field| field.is_required);
    let required: Vec<String> = required
        .map(|field| format!("\"{}\"", field.name))
        .collect();
    let listed = match required.as_slice() {
        [] => String::new(),
        names => format!("\"required\": [{}], ", names.join(", ")),
    };
    let properties = properties.join(", ");
    let schema = format!(
        r#"{{"type": "object", "properties": {{{properties}}}, {listed}"additionalProperties": false}}"#
    );
    entry
        .replace("{verb}", name)
        .replace("\"summary\": \"{summary}\"", summary)
        .replace("\"{required}\"", &(!required.is_empty()).to_string())
        .replace("\"{schema}\"", &schema)
}
