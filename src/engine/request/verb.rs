//! The verbs: what a person can request of a task, one row each. Routes of API and pages, the fields
//! that they read, audit entries, refusals and answers follow from this table. Tests compare it with
//! the OpenAPI description, the forms of the page and the documentation. A rollback is no verb of a
//! task: it makes a task of its own ([`super::roll_back`]).

use serde_json::{Map, Value};

use super::TaskRequest;

/// What a person can request of a task.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verb {
    Approve,
    Reject,
    Withdraw,
    Stop,
    Skip,
    OverrideFreeze,
    Retry,
    Resume,
}

/// A row of the table.
#[derive(Debug)]
pub struct VerbSpec {
    pub verb: Verb,
    /// In routes, forms, audit entries and on the command line.
    pub name: &'static str,
    /// A former name, deprecated, which routes and forms still accept.
    pub alias: Option<&'static str>,
    /// The fields of its body.
    pub fields: &'static [&'static str],
    /// Completes the refusal "the task cannot be …".
    pub done: &'static str,
    /// Completes "task 7 is …" once the agent has accepted it; the name of a host may follow.
    pub accepted: &'static str,
}

const fn row(
    verb: Verb,
    name: &'static str,
    fields: &'static [&'static str],
    done: &'static str,
    accepted: &'static str,
) -> VerbSpec {
    VerbSpec {
        verb,
        name,
        alias: match verb {
            Verb::Resume => Some("go"),
            _ => None,
        },
        fields,
        done,
        accepted,
    }
}

#[rustfmt::skip]
pub const VERBS: [VerbSpec; 8] = [
    row(Verb::Approve, "approve", &["plan", "comment", "not_before", "emergency"], "approved", "approved"),
    row(Verb::Reject, "reject", &["reason"], "rejected", "rejected"),
    row(Verb::Withdraw, "withdraw", &["reason"], "withdrawn", "withdrawn"),
    row(Verb::Stop, "stop", &["host"], "stopped", "asked to stop"),
    row(Verb::Skip, "skip", &["host", "reason"], "continued without a host", "asked to skip"),
    row(Verb::OverrideFreeze, "override-freeze", &["reason"], "exempted from a freeze", "exempted from the freeze"),
    row(Verb::Retry, "retry", &[], "retried", "asked to retry"),
    row(Verb::Resume, "resume", &["host"], "resumed", "asked to resume"),
];

impl Verb {
    /// Returns the verb of a name or former name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        let row = VERBS
            .iter()
            .find(|row| row.name == name || row.alias == Some(name));
        row.map(|row| row.verb)
    }

    #[must_use]
    pub fn spec(self) -> &'static VerbSpec {
        &VERBS[self as usize]
    }
}

/// The tag of a serialized [`TaskRequest`].
const TAG: &str = "request";

impl TaskRequest {
    /// Reads a request from the fields of a JSON body.
    ///
    /// # Errors
    /// Names the field that is unknown, missing or of a wrong type.
    pub fn parse(verb: Verb, mut body: Map<String, Value>) -> Result<Self, String> {
        let VerbSpec { name, fields, .. } = verb.spec();
        if let Some(unknown) = body.keys().find(|field| !fields.contains(&field.as_str())) {
            let known = match fields {
                [] => "no field".to_owned(),
                fields => format!("`{}`", fields.join("`, `")),
            };
            return Err(format!("unknown field `{unknown}`, {name} takes {known}"));
        }
        body.insert(TAG.to_owned(), Value::from(*name));
        serde_json::from_value(Value::Object(body)).map_err(|error| error.to_string())
    }

    /// Returns the JSON body of the request.
    #[must_use]
    pub fn body(&self) -> Map<String, Value> {
        let mut body = match serde_json::to_value(self) {
            Ok(Value::Object(body)) => body,
            _ => Map::new(),
        };
        body.retain(|field, value| field != TAG && !value.is_null());
        body
    }

    #[must_use]
    pub fn verb(&self) -> Verb {
        match self {
            Self::Approve { .. } => Verb::Approve,
            Self::Reject { .. } => Verb::Reject,
            Self::Withdraw { .. } => Verb::Withdraw,
            Self::Stop { .. } => Verb::Stop,
            Self::Skip { .. } => Verb::Skip,
            Self::OverrideFreeze { .. } => Verb::OverrideFreeze,
            Self::Retry => Verb::Retry,
            Self::Resume { .. } => Verb::Resume,
        }
    }

    /// Returns the comment or reason, or an empty text.
    #[must_use]
    pub fn remark(&self) -> &str {
        match self {
            Self::Approve {
                emergency: Some(reason),
                ..
            }
            | Self::Reject { reason }
            | Self::Withdraw { reason }
            | Self::Skip { reason, .. }
            | Self::OverrideFreeze { reason } => reason,
            Self::Approve { comment, .. } => comment,
            Self::Stop { .. } | Self::Retry | Self::Resume { .. } => "",
        }
    }

    /// Completes "task 7 is …" once the agent has accepted the request.
    #[must_use]
    pub fn accepted(&self) -> String {
        let accepted = self.verb().spec().accepted;
        match self {
            Self::Approve {
                emergency: Some(_), ..
            } => format!("{accepted} in an EMERGENCY"),
            Self::Stop { host: Some(host) }
            | Self::Resume { host: Some(host) }
            | Self::Skip { host, .. } => format!("{accepted} {host}"),
            _ => accepted.to_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn example(verb: Verb) -> Map<String, Value> {
        let fields = verb.spec().fields.iter();
        fields
            .map(|field| {
                let value = match *field {
                    "not_before" => "2026-11-21T22:30:00Z",
                    field => field,
                };
                ((*field).to_owned(), Value::from(value))
            })
            .collect()
    }

    #[test]
    fn each_verb_is_read_from_its_name_and_fields() {
        for (index, row) in VERBS.iter().enumerate() {
            assert_eq!(row.verb as usize, index, "{}", row.name);
            for name in [Some(row.name), row.alias].into_iter().flatten() {
                assert_eq!(Verb::named(name), Some(row.verb));
            }
            let body = example(row.verb);
            let request = TaskRequest::parse(row.verb, body.clone()).unwrap();
            assert_eq!(request.verb(), row.verb);
            assert_eq!(request.body(), body, "{}", row.name);
        }
        assert_eq!(Verb::named("rollback"), None);
    }

    #[test]
    fn unknown_and_missing_fields_are_named() {
        for row in &VERBS {
            for field in ["request", "surprise"] {
                let mut body = example(row.verb);
                body.insert(field.to_owned(), Value::from("x"));
                let refused = TaskRequest::parse(row.verb, body).unwrap_err();
                assert!(refused.contains(&format!("unknown field `{field}`")));
            }
        }
        let refused = TaskRequest::parse(Verb::Approve, Map::new()).unwrap_err();
        assert!(refused.contains("`plan`"), "{refused}");
        let refused = TaskRequest::parse(Verb::Skip, Map::new()).unwrap_err();
        assert!(refused.contains("`host`"), "{refused}");
    }
}
