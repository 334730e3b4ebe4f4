//! The verbs: what a person can request of a task, one row each. Routes of API and pages with their
//! description, the fields that they read, audit entries, refusals, help and answers follow from
//! this table. What is offered follows from [`AllowedRequest`]. Tests make each row's example, and compare the
//! table with the forms of the page and the documentation. A rollback is no verb of a task: it makes
//! a task of its own ([`super::roll_back`]).

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::TaskRequest;
use crate::domain::permission::Role;
use crate::domain::plan::PlanDigest;

/// What a person can request of a task.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verb {
    Approve,
    Reject,
    Withdraw,
    Stop,
    Retry,
    Skip,
    OverrideFreeze,
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
    /// In the API description and in the help.
    pub summary: &'static str,
    /// Completes the refusal "the task cannot be …".
    pub done: &'static str,
    /// Completes "task 7 is …" once the agent has accepted it; the name of a host may follow.
    pub accepted: &'static str,
    /// The fields of its body.
    pub fields: &'static [VerbField],
    pub example: VerbExample,
}

/// A field of a verb's body.
#[derive(Debug)]
pub struct VerbField {
    pub name: &'static str,
    pub is_required: bool,
    /// Its JSON schema.
    pub schema: &'static str,
}

/// A request that succeeds, for tests.
#[derive(Debug)]
pub struct VerbExample {
    /// The lowest role that may make it on every task.
    pub role: Role,
    /// The task: `waiting`, `running`, `failed`, at a `gate`, or `frozen`.
    pub task: &'static str,
    /// `{plan}` is the digest of the task's plan.
    pub body: &'static str,
}

const fn field(name: &'static str, is_required: bool, schema: &'static str) -> VerbField {
    VerbField {
        name,
        is_required,
        schema,
    }
}

const fn example(role: Role, task: &'static str, body: &'static str) -> VerbExample {
    VerbExample { role, task, body }
}

const TEXT: &str = r#"{"type": "string"}"#;
const NOT_EMPTY: &str = r#"{"type": "string", "minLength": 1}"#;
const TIME: &str = r#"{"type": ["string", "null"], "format": "date-time"}"#;

#[rustfmt::skip]
pub const VERBS: [VerbSpec; 8] = [
    VerbSpec {
        verb: Verb::Approve, name: "approve", alias: None, summary: "Approve a task's plan",
        done: "approved", accepted: "approved",
        fields: &[
            field("plan", true, TEXT),
            field("comment", false, TEXT),
            field("not_before", false, TIME),
            field("emergency", false, r#"{"type": "string", "description": "Give every missing approval, with a reason; requires the role admin"}"#),
        ],
        example: example(Role::Approver, "waiting", r#"{"plan":"{plan}"}"#),
    },
    VerbSpec {
        verb: Verb::Reject, name: "reject", alias: None, summary: "Reject a task",
        done: "rejected", accepted: "rejected",
        fields: &[field("reason", true, TEXT)],
        example: example(Role::Approver, "waiting", r#"{"reason":"no"}"#),
    },
    VerbSpec {
        verb: Verb::Withdraw, name: "withdraw", alias: None, summary: "Withdraw a task that has not started",
        done: "withdrawn", accepted: "withdrawn",
        fields: &[field("reason", false, TEXT)],
        example: example(Role::Approver, "waiting", r#"{"reason":"no"}"#),
    },
    VerbSpec {
        verb: Verb::Stop, name: "stop", alias: None, summary: "Stop a running task, or one of its hosts",
        done: "stopped", accepted: "asked to stop",
        fields: &[field("host", false, r#"{"type": ["string", "null"], "description": "Stop only this host"}"#)],
        example: example(Role::Approver, "running", r#"{"host":"web-2"}"#),
    },
    VerbSpec {
        verb: Verb::Retry, name: "retry", alias: None, summary: "Retry a task that failed, was stopped, or never started",
        done: "retried", accepted: "asked to retry",
        fields: &[],
        example: example(Role::Approver, "failed", "{}"),
    },
    VerbSpec {
        verb: Verb::Skip, name: "skip", alias: None, summary: "Skip a host",
        done: "continued without a host", accepted: "asked to skip",
        fields: &[field("host", true, TEXT), field("reason", true, NOT_EMPTY)],
        example: example(Role::Approver, "running", r#"{"host":"web-3","reason":"broken"}"#),
    },
    VerbSpec {
        verb: Verb::OverrideFreeze, name: "override-freeze", alias: None, summary: "Run a task during a freeze; requires the role admin",
        done: "exempted from a freeze", accepted: "exempted from the freeze",
        fields: &[field("reason", true, NOT_EMPTY)],
        example: example(Role::Admin, "frozen", r#"{"reason":"now"}"#),
    },
    VerbSpec {
        verb: Verb::Resume, name: "resume", alias: Some("go"), summary: "Resume a task that waits at a gate",
        done: "resumed", accepted: "asked to resume",
        fields: &[field("host", false, r#"{"type": ["string", "null"], "description": "Resume only this host, if it waits at the gate of a step"}"#)],
        example: example(Role::Approver, "gate", "{}"),
    },
];

impl VerbSpec {
    #[must_use]
    pub fn has_field(&self, name: &str) -> bool {
        self.fields.iter().any(|field| field.name == name)
    }
}

/// A request that a task allows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum AllowedRequest {
    Approve,
    /// Give all missing approvals in an emergency.
    Emergency,
    Reject,
    Withdraw,
    Stop,
    /// Stop one of its hosts.
    StopHost,
    /// Skip one of its hosts.
    Skip,
    Retry,
    /// Resume at a gate. `go` is its name in JSON since the first version.
    #[serde(rename = "go")]
    Resume,
    /// Run despite a freeze.
    OverrideFreeze,
    /// Roll back to what this task made live, also if it did not succeed.
    Rollback,
    /// Roll back to the good release before the live one.
    RollbackBefore,
}

impl AllowedRequest {
    /// The requests for a whole task, in the order in which they are offered.
    #[rustfmt::skip]
    pub const OF_TASK: [Self; 8] = [
        Self::Approve, Self::Emergency, Self::Reject, Self::Withdraw,
        Self::OverrideFreeze, Self::Stop, Self::Retry, Self::Resume,
    ];

    /// The requests for one of its hosts.
    pub const OF_HOST: [Self; 2] = [Self::StopHost, Self::Skip];

    /// Returns the request, with a reason if it needs one; `None` for a rollback.
    pub(super) fn request(self, plan: &PlanDigest, host: &str) -> Option<TaskRequest> {
        let reason = "because".to_owned();
        let host = host.to_owned();
        let approve = |emergency| TaskRequest::Approve {
            plan: plan.clone(),
            comment: String::new(),
            not_before: None,
            emergency,
        };
        Some(match self {
            Self::Approve => approve(None),
            Self::Emergency => approve(Some(reason)),
            Self::Reject => TaskRequest::Reject { reason },
            Self::Withdraw => TaskRequest::Withdraw { reason },
            Self::Stop => TaskRequest::Stop { host: None },
            Self::StopHost => TaskRequest::Stop { host: Some(host) },
            Self::Skip => TaskRequest::Skip { host, reason },
            Self::Retry => TaskRequest::Retry,
            Self::Resume => TaskRequest::Resume { host: None },
            Self::OverrideFreeze => TaskRequest::OverrideFreeze { reason },
            Self::Rollback | Self::RollbackBefore => return None,
        })
    }

    /// Returns the command for it, which follows `tagship`.
    #[must_use]
    pub fn command(self, id: u64, project: &str, environment: &str) -> String {
        match (self, self.texts()) {
            (Self::RollbackBefore, _) => {
                format!("rollback --project {project} --environment {environment}")
            }
            (_, (verb, options, _)) => format!("{verb} {id}{options}"),
        }
    }

    /// Returns how a refusal suggests it; empty if it does not.
    pub(super) fn suggestion(self) -> &'static str {
        self.texts().2
    }

    /// Returns its command, the options of that, and the suggestion.
    fn texts(self) -> (&'static str, &'static str, &'static str) {
        match self {
            Self::Approve => ("approve", "", "approve it"),
            Self::Emergency => ("approve", " --emergency REASON", ""),
            Self::Reject => ("reject", " --reason …", "reject it"),
            Self::Withdraw => ("withdraw", "", "withdraw it"),
            Self::Stop => ("stop", "", "stop it"),
            Self::StopHost => ("stop", " --host NAME", ""),
            Self::Skip => ("skip", " --host NAME --reason …", ""),
            Self::Retry => ("retry", "", "retry it"),
            Self::Resume => ("resume", "", "resume it at its gate"),
            Self::OverrideFreeze => ("resume", " --override-freeze REASON", ""),
            Self::Rollback | Self::RollbackBefore => ("rollback", "", ""),
        }
    }
}

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
        let spec = verb.spec();
        if let Some(unknown) = body.keys().find(|field| !spec.has_field(field)) {
            let names: Vec<&str> = spec.fields.iter().map(|field| field.name).collect();
            let known = match names.as_slice() {
                [] => "no field".to_owned(),
                names => format!("`{}`", names.join("`, `")),
            };
            let name = spec.name;
            return Err(format!("unknown field `{unknown}`, {name} takes {known}"));
        }
        body.insert(TAG.to_owned(), Value::from(spec.name));
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
        let fields = verb.spec().fields.iter().map(|field| field.name);
        fields
            .map(|name| {
                let value = match name {
                    "not_before" => "2026-11-21T22:30:00Z",
                    name => name,
                };
                (name.to_owned(), Value::from(value))
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
