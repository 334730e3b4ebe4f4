//! The API agrees with its description: every routed address is described and vice versa, and every
//! answer in these tests matches its schema.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::LazyLock;

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use tagship::engine::request::VERBS;
use tagship::identity::account::Role;
use tagship::server::openapi;

use crate::client::{Program, plan_of};
use crate::server::TestServer;

pub(crate) static DOCUMENT: LazyLock<Value> =
    LazyLock::new(|| serde_json::from_str(openapi::document()).unwrap());

/// Checks an answer against the description of its address; other tests pass all their answers.
#[track_caller]
pub(crate) fn keeps(method: &str, path: &str, status: StatusCode, answer: &Value) {
    let path = path.split('?').next().unwrap();
    let Some((described, operation)) = operation(method, path) else {
        assert!(
            matches!(status.as_u16(), 404 | 405),
            "{method} {path} is answered with {status} and described nowhere"
        );
        return;
    };
    let code = status.as_str().to_owned();
    // Refusals are described by their codes; errors of the transport or the agent need not be.
    let named = status.is_client_error() && !matches!(status.as_u16(), 400 | 408);
    let responses = &operation["responses"];
    let fallback = || responses.get("default").filter(|_| !named);
    let response = responses.get(&code).or_else(fallback);
    let response = response
        .unwrap_or_else(|| panic!("{method} {described}: {code} is not described: {answer}"));
    let response = resolved(response);
    let Some(schema) = response["content"]["application/json"].get("schema") else {
        assert_eq!(
            *answer,
            Value::Null,
            "{method} {described}: {code} says nothing of a body"
        );
        return;
    };
    fits(schema, answer, &format!("{method} {described}: {code}"));
}

fn resolved(described: &Value) -> &Value {
    match described["$ref"].as_str() {
        Some(place) => DOCUMENT.pointer(place.trim_start_matches('#')).unwrap(),
        None => described,
    }
}

fn fits(schema: &Value, value: &Value, what: &str) {
    let mut whole = schema.clone();
    whole["components"] = DOCUMENT["components"].clone();
    let validator = jsonschema::options()
        .should_validate_formats(true)
        .build(&whole)
        .unwrap();
    let errors: Vec<String> = validator
        .iter_errors(value)
        .map(|error| format!("{}: {error}", error.instance_path()))
        .collect();
    assert!(errors.is_empty(), "{what}: {errors:#?}\n{value:#}");
}

/// The matching path of the document, with its operation. Names take precedence over parameters.
fn operation(method: &str, path: &str) -> Option<(&'static str, &'static Value)> {
    let wanted: Vec<&str> = path.split('/').collect();
    let paths = DOCUMENT["paths"].as_object().unwrap();
    let mut fitting: Vec<_> = paths
        .iter()
        .filter(|(described, _)| {
            let described: Vec<&str> = described.split('/').collect();
            described.len() == wanted.len()
                && described
                    .iter()
                    .zip(&wanted)
                    .all(|(part, name)| part == name || part.starts_with('{'))
        })
        .filter_map(|(described, item)| {
            let operation = item.get(method.to_lowercase())?;
            Some((described.as_str(), operation))
        })
        .collect();
    fitting.sort_by_key(|(described, _)| described.matches('{').count());
    fitting.first().copied()
}

/// `GET /api/v1/tasks/{}`: all operations that the document describes below `/api/v1`.
fn described() -> BTreeSet<String> {
    let mut all = BTreeSet::new();
    for (path, item) in DOCUMENT["paths"].as_object().unwrap() {
        let Some(path) = path.strip_prefix("/api/v1/") else {
            continue;
        };
        let segments: Vec<&str> = path
            .split('/')
            .map(|part| if part.starts_with('{') { "{}" } else { part })
            .collect();
        for method in item.as_object().unwrap().keys() {
            if method != "parameters" {
                all.insert(format!("{} {}", method.to_uppercase(), segments.join("/")));
            }
        }
    }
    all
}

/// The routes of `api.rs` below `/api/v1`, read from the arms of its `match`es: `["tasks", id]`,
/// with `what @ ("a" | "b")` for several names.
pub(crate) fn routed() -> BTreeSet<String> {
    let text = include_str!("../../src/server/api.rs");
    let begins = |text: &str| text.find("async fn get(").unwrap();
    let post = text.find("async fn post(").unwrap();
    let delete = text.find("(\"DELETE\", [").unwrap();
    let mut all = BTreeSet::from(["GET openapi.json".to_owned()]);
    for (end, _) in text.match_indices("] =>") {
        let begin = text[..end].rfind('[').unwrap();
        let pattern = text[begin + 1..end].replace('\n', " ");
        let method = match begin {
            _ if begin > post => "POST",
            _ if begin > begins(text) => "GET",
            _ if begin > delete && !pattern.contains("..") => "DELETE",
            _ => continue,
        };
        let written = meant(&pattern).into_iter();
        all.extend(written.map(|path| format!("{method} {path}")));
    }
    all
}

/// The paths that the pattern of an arm means: `"tasks", id`, with `what @ ("a" | "b")` for several
/// names.
pub(crate) fn meant(pattern: &str) -> Vec<String> {
    let parts = pattern.split(',').map(str::trim);
    let mut paths = vec![Vec::new()];
    for part in parts.filter(|part| !part.is_empty()) {
        let names: Vec<String> = if let Some((_, names)) = part.split_once(" @ ") {
            let names = names.trim_matches(['(', ')']).split(" | ");
            names
                .map(|name| name.trim_matches('"').to_owned())
                .collect()
        } else if part.starts_with('"') {
            vec![part.trim_matches('"').to_owned()]
        } else {
            vec!["{}".to_owned()]
        };
        paths = paths
            .iter()
            .flat_map(|path: &Vec<String>| {
                names.iter().map(|name| {
                    let mut path = path.clone();
                    path.push(name.clone());
                    path
                })
            })
            .collect();
    }
    paths.iter().map(|path| path.join("/")).collect()
}

/// `POST tasks/{}/approve`: the requests on a task, by all names that are accepted.
pub(crate) fn requests() -> BTreeSet<String> {
    let names = VERBS
        .iter()
        .flat_map(|row| [Some(row.name), row.alias].into_iter().flatten());
    names
        .map(|name| format!("POST tasks/{{}}/{name}"))
        .collect()
}

#[test]
fn each_verb_is_described_with_its_fields() {
    for row in &VERBS {
        let of = |name: &str| &DOCUMENT["paths"][format!("/api/v1/tasks/{{id}}/{name}")]["post"];
        let described = of(row.name);
        let schema = &described["requestBody"]["content"]["application/json"]["schema"];
        let fields = schema["properties"].as_object();
        let fields: BTreeSet<&str> = fields
            .into_iter()
            .flatten()
            .map(|(name, _)| &**name)
            .collect();
        assert_eq!(
            fields,
            BTreeSet::from_iter(row.fields.iter().map(|field| field.name)),
            "{}",
            row.name
        );
        assert_eq!(described.get("deprecated"), None, "{}", row.name);
        if let Some(alias) = row.alias {
            assert_eq!(of(alias)["deprecated"], true, "{alias}");
            assert_eq!(
                of(alias)["requestBody"],
                described["requestBody"],
                "{alias}"
            );
        }
    }
}

/// Forms and pages are written by hand.
#[test]
fn each_verb_has_a_form_and_is_documented() {
    let forms = include_str!("../../templates/web/part/requests.html");
    let requests = include_str!("../../docs/web.md");
    let commands = include_str!("../../docs/command-line.md");
    for row in &VERBS {
        let name = row.name;
        let named = |page: &str, forms: [String; 2]| forms.iter().any(|form| page.contains(form));
        assert!(forms.contains(&format!("/{name}\"")), "no form: {name}");
        assert!(
            named(requests, [format!("/{name}`"), format!("`{name}`")]),
            "docs/web.md: {name}"
        );
        assert!(
            named(commands, [format!("tagship {name} "), format!("--{name} ")]),
            "docs/command-line.md: {name}"
        );
    }
}

#[test]
fn routes_and_api_description_match() {
    let mut routed = routed();
    assert!(routed.remove("POST tasks/{}/{}"), "{routed:?}");
    routed.extend(requests());
    assert!(
        routed.len() > 25,
        "the routes are written in another way: {routed:#?}"
    );
    let described = described();
    let missing: Vec<_> = routed.difference(&described).collect();
    let dead: Vec<_> = described.difference(&routed).collect();
    assert!(
        missing.is_empty(),
        "routed, but not in openapi.json: {missing:#?}"
    );
    assert!(
        dead.is_empty(),
        "in openapi.json, but not routed: {dead:#?}"
    );
}

#[test]
fn every_schema_lists_its_required_fields() {
    // Otherwise `{}` would be a valid answer.
    for (name, schema) in DOCUMENT["components"]["schemas"].as_object().unwrap() {
        if schema["type"] == "object" && schema.get("properties").is_some() {
            assert!(schema.get("required").is_some(), "{name} has no `required`");
        }
    }
}

#[test]
fn schema_violation_would_be_detected() {
    let schema = json!({ "$ref": "#/components/schemas/TaskList" });
    let broken = [
        json!({ "tasks": [] }),
        json!({ "tasks": [{ "id": "7" }], "next": null }),
        json!({ "tasks": {}, "next": null }),
    ];
    for answer in broken {
        let seen = std::panic::catch_unwind(|| fits(&schema, &answer, "on purpose"));
        assert!(seen.is_err(), "{answer}");
    }
}

/// One call of every operation that succeeds, and one for each kind of refusal.
#[tokio::test]
async fn every_operation_answers_and_refuses_as_described() {
    let server = TestServer::start().await;
    let root = Program::of(&server, "root", Role::Admin).await;
    let viewer = Program::of(&server, "vera", Role::Viewer).await;
    let nobody = Program::with(&server, "tagship_none");
    let first = server.succeeded("release-1.1").await;
    server.succeeded("release-1.2").await;
    let mut done: BTreeMap<String, BTreeSet<u16>> = BTreeMap::new();
    let mut calls: Vec<(&str, String, Option<Value>)> = vec![
        (
            "POST",
            "users".into(),
            Some(json!({ "name": "dora", "role": "approver" })),
        ),
        (
            "POST",
            "users/dora".into(),
            Some(json!({ "groups": ["pm"], "disabled": false })),
        ),
        (
            "POST",
            "users/dora/tokens".into(),
            Some(json!({ "name": "laptop" })),
        ),
        (
            "POST",
            "users/dora/password".into(),
            Some(json!({ "password": "correct horse battery" })),
        ),
        ("POST", "rollback".into(), Some(json!({ "task": first.id }))),
        (
            "POST",
            "hosts/web-3/disable".into(),
            Some(json!({ "reason": "disk" })),
        ),
        ("POST", "hosts/web-3/enable".into(), Some(json!({}))),
    ];
    for path in [
        "openapi.json",
        "tasks",
        "tasks/1",
        "hooks",
        "agent",
        "hosts",
        "live",
        "status",
        "users",
        "users/dora/tokens",
    ] {
        calls.push(("GET", path.to_owned(), None));
    }
    for (what, body) in [
        ("reject", json!({ "reason": "no" })),
        ("withdraw", json!({})),
    ] {
        let task = server.waiting(&format!("release-2-{what}")).await;
        calls.push(("POST", format!("tasks/{}/{what}", task.id), Some(body)));
        if what == "withdraw" {
            calls.push(("POST", format!("tasks/{}/retry", task.id), Some(json!({}))));
        }
    }
    let task = server.waiting("release-3").await;
    let plan = plan_of(&task);
    calls.push((
        "POST",
        format!("tasks/{}/approve", task.id),
        Some(json!({ "plan": plan })),
    ));
    calls.push(("DELETE", "users/dora".into(), None));
    // A later task that has begun prevents an older one from being retried, so this one comes last.
    calls.push(("POST", "tasks/RUNNING/stop".into(), Some(json!({}))));
    for (method, mut path, body) in calls {
        if path.contains("RUNNING") {
            let running = server.running("release-4").await;
            path = path.replace("RUNNING", &running.id.to_string());
        }
        let method = Method::from_bytes(method.as_bytes()).unwrap();
        for (who, refused) in [(&nobody, true), (&viewer, false), (&root, false)] {
            let (status, _) = who.call(method.clone(), &path, body.clone()).await;
            assert!(
                !refused || status == 401 || path == "openapi.json",
                "{path}: {status}"
            );
            let full = format!("/api/v1/{path}");
            let (described, _) = operation(method.as_str(), &full).unwrap();
            let seen = done.entry(format!("{method} {described}")).or_default();
            seen.insert(status.as_u16());
            if std::ptr::eq(who, &root) {
                assert!(status.is_success(), "{method} {path}: {status}");
            }
        }
        let (status, _) = root
            .call(method.clone(), &format!("{path}/no/such"), body)
            .await;
        assert_eq!(status, StatusCode::NOT_FOUND);
    }
    let wrong = [
        ("tasks?state=none", 422),
        ("tasks?cursor=none", 422),
        ("tasks?since=soon", 422),
        ("hooks?outcome=none", 422),
        ("hooks?cursor=1.0", 422),
        ("hooks/99", 404),
        ("hooks/x", 404),
        ("tasks/99", 404),
    ];
    for (path, code) in wrong {
        let (status, answer) = root.get(path).await;
        assert_eq!(status.as_u16(), code, "{path}: {answer}");
    }
    let (status, _) = root.post("hooks/99/replay", json!({})).await;
    assert_eq!(status, StatusCode::NOT_FOUND);
    assert!(done.len() > 15, "{done:#?}");
    server.end().await;
}
