//! A CODO task request, parsed field by field before anything is looked up (pure).

use std::collections::BTreeSet;

use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use serde_json::{Map, Value};

use super::literal::Literal;
use super::refusal::CodoRefusal;
use crate::engine::submit;

/// The default `exec_time`: so late that nothing runs by mistake.
const FAR_FUTURE: &str = "2038-10-25 14:00:00";

/// A task as a client describes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct CodoTaskRequest {
    pub(super) name: String,
    pub(super) template: String,
    pub(super) submitter: String,
    pub(super) executor: String,
    pub(super) schedule: String,
    /// As written; see [`CodoTaskRequest::run_at`].
    exec_time: String,
    pub(super) args: Vec<(String, Literal)>,
    /// Addresses, by group number.
    pub(super) hosts: Vec<(u8, Vec<String>)>,
    /// Names of people, by the client's own groups.
    pub(super) associated: Vec<(String, Vec<String>)>,
    pub(super) details: String,
}

impl CodoTaskRequest {
    /// # Errors
    /// The first problem found.
    pub(super) fn read(body: &[u8]) -> Result<Self, CodoRefusal> {
        let value: Value = serde_json::from_slice(body).map_err(|error| {
            CodoRefusal::malformed(format!("the body is not JSON: {error}; send an object"))
        })?;
        let Value::Object(fields) = &value else {
            return Err(CodoRefusal::malformed(
                "the body is JSON, but not an object: send one with the task's fields",
            ));
        };
        let fields = CodoFields(fields);
        let missing: Vec<&str> = ["task_name", "temp_id", "submitter"]
            .into_iter()
            .filter(|field| fields.is_missing(field))
            .collect();
        if !missing.is_empty() {
            return Err(CodoRefusal::missing(missing.join(", ")));
        }
        Ok(Self {
            name: fields.text("task_name")?,
            template: fields.number_or_text("temp_id")?,
            submitter: fields.text("submitter")?,
            executor: fields.text("executor")?,
            schedule: schedule(fields.text("schedule")?)?,
            exec_time: fields.text("exec_time")?,
            args: fields.dict("args")?,
            hosts: fields.hosts()?,
            associated: fields.associated()?,
            details: fields.text("details")?,
        })
    }

    /// Returns when the task is to run; `None`: at once, or once approved. A time in the past means
    /// at once. Without a time, a task that needs approval has none; any other waits until someone
    /// acts on it.
    ///
    /// # Errors
    /// The field does not hold a time.
    pub(super) fn run_at(
        &self,
        zone: &TimeZone,
        now: Timestamp,
    ) -> Result<Option<Timestamp>, CodoRefusal> {
        let text = match self.exec_time.trim() {
            "" if self.schedule == "ready" => FAR_FUTURE,
            "" => return Ok(None),
            text => text,
        };
        let wrong = || {
            let shown: String = text.escape_debug().take(40).collect();
            CodoRefusal::malformed(format!(
                "exec_time: `{shown}` is not a time: write YYYY-MM-DD HH:MM:SS"
            ))
        };
        let at = DateTime::strptime("%Y-%m-%d %H:%M:%S", text).map_err(|_| wrong())?;
        let at = at.to_zoned(zone.clone()).map_err(|_| wrong())?.timestamp();
        Ok(Some(at).filter(|at| *at > now))
    }
}

fn schedule(text: String) -> Result<String, CodoRefusal> {
    match text.as_str() {
        "" | "new" => Ok("new".to_owned()),
        "ready" => Ok(text),
        other => {
            let shown: String = other.escape_debug().take(40).collect();
            Err(CodoRefusal::malformed(format!(
                "schedule: `{shown}` is invalid: send new or ready"
            )))
        }
    }
}

struct CodoFields<'b>(&'b Map<String, Value>);

impl CodoFields<'_> {
    fn is_missing(&self, field: &str) -> bool {
        match self.0.get(field) {
            None | Some(Value::Null) => true,
            Some(Value::String(text)) => text.trim().is_empty(),
            Some(_) => false,
        }
    }

    /// Returns an empty text if the field is missing.
    fn text(&self, field: &str) -> Result<String, CodoRefusal> {
        match self.0.get(field) {
            None | Some(Value::Null) => Ok(String::new()),
            Some(Value::String(text)) => Ok(text.trim().to_owned()),
            Some(_) => Err(CodoRefusal::malformed(format!("{field}: must be a string"))),
        }
    }

    fn number_or_text(&self, field: &str) -> Result<String, CodoRefusal> {
        match self.0.get(field) {
            Some(Value::Number(number)) if number.is_u64() => Ok(number.to_string()),
            Some(Value::Number(_)) => Err(CodoRefusal::malformed(format!(
                "{field}: must be an integer or a string"
            ))),
            _ => self.text(field),
        }
    }

    /// Parses the dict in a text field.
    fn dict(&self, field: &str) -> Result<Vec<(String, Literal)>, CodoRefusal> {
        let text = self.text(field).map_err(|_| {
            CodoRefusal::malformed(format!(
                "{field}: must be a string that holds a dict, as written by Python's str or a JSON encoder"
            ))
        })?;
        if text.is_empty() {
            return Ok(Vec::new());
        }
        match Literal::parse(&text) {
            Ok(Literal::Dict(items)) => Ok(items),
            Ok(Literal::Nothing) => Ok(Vec::new()),
            Ok(other) => Err(CodoRefusal::malformed(format!(
                "{field}: must hold a dict, not {}",
                other.kind()
            ))),
            Err(error) => Err(CodoRefusal::malformed(format!("{field}: {error}"))),
        }
    }

    fn hosts(&self) -> Result<Vec<(u8, Vec<String>)>, CodoRefusal> {
        let groups = self.dict("hosts")?;
        let mut seen = BTreeSet::new();
        groups
            .into_iter()
            .map(|(number, addresses)| {
                let shown: String = number.escape_debug().take(40).collect();
                let group = submit::group_number(&number).ok_or_else(|| {
                    CodoRefusal::malformed(format!("hosts: `{shown}` is not a group: use 1 to 9"))
                })?;
                if !seen.insert(group) {
                    return Err(CodoRefusal::malformed(format!("hosts: group {group} is given twice")));
                }
                let addresses = match addresses {
                    Literal::Text(text) => text,
                    Literal::Nothing => String::new(),
                    other => {
                        return Err(CodoRefusal::malformed(format!(
                            "hosts: group {group} must be a string of comma-separated addresses, not {}",
                            other.kind()
                        )));
                    }
                };
                let addresses = addresses.split(',').map(|one| one.trim().to_owned());
                let addresses: Vec<String> = addresses.collect();
                let nobody = addresses.iter().all(String::is_empty);
                Ok((group, if nobody { Vec::new() } else { addresses }))
            })
            .collect()
    }

    fn associated(&self) -> Result<Vec<(String, Vec<String>)>, CodoRefusal> {
        let groups = self.dict("associated_user")?;
        groups
            .into_iter()
            .map(|(group, names)| {
                let names: Option<Vec<String>> = match names {
                    Literal::Text(name) => Some(vec![name]),
                    Literal::List(names) => names
                        .into_iter()
                        .map(|name| match name {
                            Literal::Text(name) => Some(name),
                            _ => None,
                        })
                        .collect(),
                    _ => None,
                };
                let names = names.ok_or_else(|| {
                    let shown: String = group.escape_debug().take(40).collect();
                    CodoRefusal::malformed(format!(
                        "associated_user: `{shown}` must be a list of names"
                    ))
                })?;
                Ok((group, names))
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use serde_json::json;

    use super::*;

    fn read(fields: &Value) -> Result<CodoTaskRequest, CodoRefusal> {
        let mut body = json!({ "task_name": "n", "temp_id": "1", "submitter": "bob" });
        for (name, value) in fields.as_object().unwrap() {
            body[name] = value.clone();
        }
        CodoTaskRequest::read(body.to_string().as_bytes())
    }

    fn berlin() -> TimeZone {
        TimeZone::get("Europe/Berlin").unwrap()
    }

    fn now() -> Timestamp {
        "2026-11-21T12:00:00Z".parse().unwrap()
    }

    #[test]
    fn omitted_fields_have_defaults() {
        let sent = read(&json!({ "temp_id": 32, "executor": null })).unwrap();
        assert_eq!(sent.template, "32");
        assert_eq!(sent.schedule, "new");
        assert_eq!((sent.executor.as_str(), sent.details.as_str()), ("", ""));
        assert!(sent.args.is_empty() && sent.hosts.is_empty() && sent.associated.is_empty());
        assert_eq!(sent.run_at(&berlin(), now()), Ok(None));
    }

    #[test]
    fn dicts_in_text_are_read() {
        let sent = read(&json!({
            "args": "{'TAG': 'v1', \"N\": 1}",
            "hosts": "{1: '192.0.2.1, 192.0.2.2', '2': ''}",
            "associated_user": "{'group-1': ['alice', 'bob'], 'pm': 'carol'}",
        }))
        .unwrap();
        assert_eq!(sent.args.len(), 2);
        let both = vec!["192.0.2.1".to_owned(), "192.0.2.2".to_owned()];
        assert_eq!(sent.hosts, [(1, both), (2, Vec::new())]);
        let names: Vec<&String> = sent.associated.iter().flat_map(|(_, n)| n).collect();
        assert_eq!(names, ["alice", "bob", "carol"]);
    }

    #[test]
    fn time_uses_the_agents_zone_and_past_means_now() {
        let at = |exec_time: &str| {
            let sent = read(&json!({ "exec_time": exec_time, "schedule": "ready" })).unwrap();
            sent.run_at(&berlin(), now()).map_err(|_| "refused")
        };
        let time = |text: &str| Ok(Some(text.parse::<Timestamp>().unwrap()));
        assert_eq!(at("2026-11-21 13:00:01"), time("2026-11-21T12:00:01Z"));
        assert_eq!(at("2027-5-4 09:09:50"), time("2027-05-04T07:09:50Z"));
        assert_eq!(at(""), time("2038-10-25T12:00:00Z"));
        assert_eq!(at("2026-11-21 13:00:00"), Ok(None));
        assert_eq!(at("2019-5-24 09:09:50"), Ok(None));
        for wrong in ["tomorrow", "2026-13-01 00:00:00", "2026-11-21", "0"] {
            assert_eq!(at(wrong), Err("refused"), "{wrong}");
        }
    }

    #[test]
    fn invalid_fields_are_named() {
        for (fields, words) in [
            (json!({ "task_name": 7 }), "task_name: must be a string"),
            (json!({ "temp_id": 1.5 }), "temp_id: must be an integer"),
            (json!({ "temp_id": ["1"] }), "temp_id: must be a string"),
            (
                json!({ "args": { "A": 1 } }),
                "args: must be a string that holds",
            ),
            (
                json!({ "args": "[1]" }),
                "args: must hold a dict, not a list",
            ),
            (json!({ "args": "{'A': x}" }), "args: character 7: expected"),
            (json!({ "hosts": "{0: 'a'}" }), "hosts: `0` is not a group"),
            (
                json!({ "hosts": "{1: ['a']}" }),
                "hosts: group 1 must be a string",
            ),
            (
                json!({ "associated_user": "{'g': [1]}" }),
                "associated_user: `g`",
            ),
            (json!({ "schedule": "now" }), "schedule: `now`"),
            (json!({ "details": [] }), "details: must be a string"),
        ] {
            let refusal = read(&fields).unwrap_err();
            assert!(
                refusal.detail.contains(words),
                "{fields}: {}",
                refusal.detail
            );
            assert_eq!(refusal.code, -1);
        }
        for body in ["", "[]", "{", "task_name=n", "\u{0}"] {
            assert_eq!(
                CodoTaskRequest::read(body.as_bytes()).unwrap_err().code,
                -1,
                "{body}"
            );
        }
    }

    #[test]
    fn required_fields_that_are_missing_are_all_named() {
        let refusal = CodoTaskRequest::read(br#"{"temp_id": "1", "task_name": " "}"#).unwrap_err();
        assert_eq!(
            (refusal.code, refusal.detail.as_str()),
            (6, "task_name, submitter")
        );
    }
}
