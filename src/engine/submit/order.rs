//! An order, read from JSON field by field, so that all its problems are reported at once.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::{FieldProblem, SubmitError};
use crate::base::secret::sha256_hex;
use crate::domain::document::hint;
use crate::domain::plan::GIVEN_HOSTS_MAX;
use crate::domain::task::{ManualRequest, Submission, Task};
use crate::domain::template::{Hidden, can_be_tag, is_name, is_parameter_name};

/// The longest title, in characters.
pub const TITLE_CHARS_MAX: usize = 200;
/// The longest remarks, in characters.
pub const DETAILS_CHARS_MAX: usize = 10_000;
/// The maximum number of parameters, including secrets.
pub const PARAMS_MAX: usize = 100;
/// The longest value of a parameter, in bytes.
pub const VALUE_BYTES_MAX: usize = 8 * 1024;
/// The maximum size of all values together, in bytes.
pub const VALUES_BYTES_MAX: usize = 40 * 1024;
/// The maximum number of accounts that are asked to approve.
pub const APPROVERS_MAX: usize = 50;
/// The longest idempotency key, in characters.
pub const KEY_CHARS_MAX: usize = 200;
/// The longest name of anything else, in characters.
const NAME_CHARS_MAX: usize = 64;
/// The longest tag, in bytes.
const TAG_BYTES_MAX: usize = 200;
/// The longest name or address of a host, in characters: the limit of DNS.
const HOST_CHARS_MAX: usize = 253;

/// A request to submit a task.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct SubmissionOrder {
    /// Name or number of the template.
    pub template: String,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub params: BTreeMap<String, String>,
    /// Parameters whose values are never shown.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub secrets: BTreeMap<String, Hidden>,
    /// Names or addresses of hosts, by the number of their group.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub hosts: BTreeMap<u8, Vec<String>>,
    /// `new` (the default) waits for approval, `ready` does not.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub schedule: String,
    /// Not before this time: RFC 3339, or `2026-11-21 22:30` in the agent's time zone.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub run_at: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub title: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub details: String,
    /// Accounts that are asked to approve.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub approvers: Vec<String>,
    /// Who is to look after the task; shown.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub executor: String,
    /// The submitter that the client names; shown, never trusted.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub submitter: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub project: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub environment: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub tag: String,
    /// The same key from the same submitter returns the same task.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub idempotency_key: Option<String>,
}

/// The fields of an order, listed if a field is unknown.
const FIELDS: [&str; 15] = [
    "template",
    "params",
    "secrets",
    "hosts",
    "schedule",
    "run_at",
    "title",
    "details",
    "approvers",
    "executor",
    "submitter",
    "project",
    "environment",
    "tag",
    "idempotency_key",
];

impl SubmissionOrder {
    /// Reads an order from JSON.
    ///
    /// # Errors
    /// [`SubmitError::Problems`]: every invalid field, with what it should be.
    pub fn read(value: &Value) -> Result<Self, SubmitError> {
        let Value::Object(fields) = value else {
            let message = format!("must be an object, not {}", kind(value));
            return Err(SubmitError::Problems(vec![FieldProblem::new(
                "body", message,
            )]));
        };
        let mut reader = OrderReader {
            fields,
            problems: Vec::new(),
        };
        for name in fields.keys() {
            if !FIELDS.contains(&name.as_str()) {
                reader.unknown(name);
            }
        }
        let order = Self {
            template: reader.template(),
            params: reader.values("params"),
            secrets: reader
                .values("secrets")
                .into_iter()
                .map(|(name, value)| (name, Hidden::from(value)))
                .collect(),
            hosts: reader.hosts(),
            schedule: reader.line("schedule"),
            run_at: reader.line("run_at"),
            title: reader.line("title"),
            details: reader.text("details"),
            approvers: reader.approvers(),
            executor: reader.line("executor"),
            submitter: reader.line("submitter"),
            project: reader.line("project"),
            environment: reader.line("environment"),
            tag: reader.line("tag"),
            idempotency_key: Some(reader.line("idempotency_key")).filter(|key| !key.is_empty()),
        };
        let mut problems = reader.problems;
        problems.extend(order.problems());
        if problems.is_empty() {
            Ok(order)
        } else {
            Err(SubmitError::Problems(problems))
        }
    }

    /// Returns the fields that are too long or have invalid characters; for orders made without
    /// [`SubmissionOrder::read`].
    #[must_use]
    pub fn problems(&self) -> Vec<FieldProblem> {
        let mut problems = Vec::new();
        let mut line = |field: &str, value: &str, most: usize| {
            if value.chars().count() > most {
                problems.push(FieldProblem::new(field, too_long(most)));
            }
            if value.chars().any(char::is_control) {
                problems.push(FieldProblem::new(
                    field,
                    "holds a control character: take it out",
                ));
            }
        };
        line("template", &self.template, NAME_CHARS_MAX);
        line("title", &self.title, TITLE_CHARS_MAX);
        line("executor", &self.executor, NAME_CHARS_MAX);
        line("submitter", &self.submitter, NAME_CHARS_MAX);
        line("project", &self.project, NAME_CHARS_MAX);
        line("environment", &self.environment, NAME_CHARS_MAX);
        line("run_at", &self.run_at, NAME_CHARS_MAX);
        let key = self.idempotency_key.as_deref().unwrap_or_default();
        line("idempotency_key", key, KEY_CHARS_MAX);
        for approver in &self.approvers {
            line("approvers", approver, NAME_CHARS_MAX);
        }
        for (number, hosts) in &self.hosts {
            for host in hosts {
                line(&format!("hosts.{number}"), host, HOST_CHARS_MAX);
            }
        }
        problems.extend(self.longer_problems());
        problems
    }

    fn longer_problems(&self) -> Vec<FieldProblem> {
        let mut problems = Vec::new();
        if self.details.chars().count() > DETAILS_CHARS_MAX {
            problems.push(FieldProblem::new("details", too_long(DETAILS_CHARS_MAX)));
        }
        if has_control(&self.details) {
            problems.push(FieldProblem::new("details", CONTROL));
        }
        if self.approvers.len() > APPROVERS_MAX {
            let message = format!("names more than {APPROVERS_MAX} accounts: name fewer");
            problems.push(FieldProblem::new("approvers", message));
        }
        for name in &self.approvers {
            if !is_name(name.strip_prefix("os:").unwrap_or(name)) {
                let message = format!("`{}` is no account's name", shown(name));
                problems.push(FieldProblem::new("approvers", message));
            }
        }
        if !self.tag.is_empty() && !is_tag(&self.tag) {
            problems.push(FieldProblem::new(
                "tag",
                "is no tag's name: write it as git shows it, `release-1.4`",
            ));
        }
        for (number, hosts) in &self.hosts {
            let field = format!("hosts.{number}");
            if hosts.len() > GIVEN_HOSTS_MAX {
                let message = format!(
                    "has {} hosts, more than {GIVEN_HOSTS_MAX}: submit several tasks",
                    hosts.len()
                );
                problems.push(FieldProblem::new(field, message));
            } else if hosts.is_empty() {
                problems.push(FieldProblem::new(
                    field,
                    "names no host: name one, or take it out",
                ));
            }
        }
        problems.extend(self.value_problems());
        problems
    }

    fn value_problems(&self) -> Vec<FieldProblem> {
        let mut problems = Vec::new();
        let open = self
            .params
            .iter()
            .map(|(name, value)| (name, value.as_str()));
        let hidden = self.secrets.iter();
        let values: Vec<(&String, &str)> = open
            .chain(hidden.map(|(name, value)| (name, value.expose())))
            .collect();
        if values.len() > PARAMS_MAX {
            let message = format!("has more than {PARAMS_MAX} parameters: give fewer");
            problems.push(FieldProblem::new("params", message));
        }
        if values.iter().map(|(_, value)| value.len()).sum::<usize>() > VALUES_BYTES_MAX {
            let message = format!(
                "all values together are longer than {VALUES_BYTES_MAX} bytes: put them into a file"
            );
            problems.push(FieldProblem::new("params", message));
        }
        for (name, value) in values {
            let field = format!("params.{}", shown(name));
            if !is_parameter_name(name) {
                problems.push(FieldProblem::new(
                    field,
                    "is no parameter's name: use A-Z, 0-9 and _, up to 64 characters",
                ));
                continue;
            }
            if value.len() > VALUE_BYTES_MAX {
                let message = format!("is longer than {VALUE_BYTES_MAX} bytes: shorten it");
                problems.push(FieldProblem::new(field.as_str(), message));
            }
            if has_control(value) {
                problems.push(FieldProblem::new(field, CONTROL));
            }
        }
        let twice = self
            .params
            .keys()
            .filter(|name| self.secrets.contains_key(*name));
        problems.extend(twice.map(|name| {
            let message = "is given twice, openly and as a secret: take one out";
            FieldProblem::new(format!("params.{}", shown(name)), message)
        }));
        problems
    }

    /// Returns a digest of the content: equal orders have equal digests.
    #[must_use]
    pub fn digest(&self) -> String {
        let content = Self {
            idempotency_key: None,
            ..self.clone()
        };
        sha256_hex(&serde_json::to_vec(&content).unwrap_or_default())
    }

    /// Returns an order for another task like this one, without its time and its secrets.
    #[must_use]
    pub fn again(task: &Task) -> Self {
        let Submission {
            project,
            environment,
            template,
            parameters,
            hosts,
            title,
            ..
        } = Submission::clone(&task.submission);
        let ManualRequest {
            details,
            approvers,
            executor,
            ..
        } = task.submission.request().cloned().unwrap_or_default();
        Self {
            template,
            params: parameters,
            hosts,
            title,
            details,
            approvers,
            executor,
            project,
            environment,
            tag: task.tag().to_owned(),
            ..Self::default()
        }
    }
}

const CONTROL: &str =
    "holds a control character other than the end of a line or a tab: take it out";

fn has_control(text: &str) -> bool {
    text.chars()
        .any(|c| c.is_control() && !matches!(c, '\n' | '\r' | '\t'))
}

fn too_long(most: usize) -> String {
    format!("is longer than {most} characters: shorten it")
}

/// Quotes an untrusted name for a message.
fn shown(name: &str) -> String {
    name.escape_debug().take(NAME_CHARS_MAX).collect()
}

/// Whether this is the name of a tag that is not too long.
fn is_tag(name: &str) -> bool {
    name.len() <= TAG_BYTES_MAX && can_be_tag(name)
}

struct OrderReader<'v> {
    fields: &'v Map<String, Value>,
    problems: Vec<FieldProblem>,
}

impl OrderReader<'_> {
    fn refuse(&mut self, field: &str, message: impl Into<String>) {
        self.problems.push(FieldProblem::new(field, message));
    }

    fn unknown(&mut self, name: &str) {
        let hint = hint(name, &FIELDS, || {
            format!("take one of {}", FIELDS.join(", "))
        });
        self.refuse(&shown(name), format!("is no field: {hint}"));
    }

    /// Reads text of several lines. An absent or `null` field is empty.
    fn text(&mut self, field: &str) -> String {
        match self.fields.get(field) {
            None | Some(Value::Null) => String::new(),
            Some(Value::String(text)) => text.clone(),
            Some(other) => {
                self.refuse(field, format!("must be text, not {}", kind(other)));
                String::new()
            }
        }
    }

    fn line(&mut self, field: &str) -> String {
        self.text(field).trim_matches(' ').to_owned()
    }

    fn template(&mut self) -> String {
        match self.fields.get("template") {
            Some(Value::Number(number)) if number.is_u64() => number.to_string(),
            _ => self.line("template"),
        }
    }

    fn object(&mut self, field: &str) -> Vec<(String, Value)> {
        match self.fields.get(field) {
            None | Some(Value::Null) => Vec::new(),
            Some(Value::Object(entries)) => entries
                .iter()
                .map(|(name, value)| (name.clone(), value.clone()))
                .collect(),
            Some(other) => {
                self.refuse(field, format!("must be an object, not {}", kind(other)));
                Vec::new()
            }
        }
    }

    fn values(&mut self, field: &str) -> BTreeMap<String, String> {
        let mut values = BTreeMap::new();
        for (name, value) in self.object(field) {
            let value = match value {
                Value::String(text) => text,
                Value::Number(number) => number.to_string(),
                Value::Bool(flag) => flag.to_string(),
                other => {
                    let message = format!("must be text, not {}", kind(&other));
                    self.refuse(&format!("{field}.{}", shown(&name)), message);
                    continue;
                }
            };
            values.insert(name, value);
        }
        values
    }

    /// Reads `{"1": ["web1", "web2"]}` or `{"1": "web1,web2"}`.
    fn hosts(&mut self) -> BTreeMap<u8, Vec<String>> {
        let mut groups = BTreeMap::new();
        for (number, hosts) in self.object("hosts") {
            let field = format!("hosts.{}", shown(&number));
            let Some(number) = group_number(&number) else {
                self.refuse(&field, "is no group: groups are numbered 1 to 9");
                continue;
            };
            if let Some(hosts) = self.names(&field, &hosts) {
                groups.insert(number, hosts);
            }
        }
        groups
    }

    fn approvers(&mut self) -> Vec<String> {
        let Some(value) = self.fields.get("approvers") else {
            return Vec::new();
        };
        if value.is_null() {
            return Vec::new();
        }
        self.names("approvers", value).unwrap_or_default()
    }

    /// Reads a list of names, or text with commas between them; `None` if it is neither.
    fn names(&mut self, field: &str, value: &Value) -> Option<Vec<String>> {
        let wrong = match value {
            Value::String(text) => return Some(split(text)),
            Value::Array(values) => {
                let names: Option<Vec<String>> = values
                    .iter()
                    .map(|value| value.as_str().map(|name| name.trim_matches(' ').to_owned()))
                    .collect();
                if let Some(names) = names {
                    return Some(names);
                }
                "a list with something else than text in it"
            }
            other => kind(other),
        };
        self.refuse(field, format!("must be a list of names, not {wrong}"));
        None
    }
}

/// Splits `web1, web2`, or one name per line.
fn split(text: &str) -> Vec<String> {
    text.split([',', '\n'])
        .map(|name| name.trim_matches([' ', '\r', '\t']).to_owned())
        .filter(|name| !name.is_empty())
        .collect()
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a truth value",
        Value::Number(_) => "a number",
        Value::String(_) => "text",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}

/// Parses the number of a group of hosts: one digit from 1 to 9, so that no group can be written in
/// two ways.
#[must_use]
pub fn group_number(written: &str) -> Option<u8> {
    match written.as_bytes() {
        [digit @ b'1'..=b'9'] => Some(digit - b'0'),
        _ => None,
    }
}
