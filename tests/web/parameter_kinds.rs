//! Kinds of parameters, required ones and patterns, by the API and by the page.

use reqwest::StatusCode;
use serde_json::{Value, json};
use tagship::identity::account::Role;

use crate::client::{Browser, Program};
use crate::server::{Options, TestServer, submission};

const KINDS: &str = r#"
name = "kinds"
id = 71
params = [
    { name = "CANDIDATE", alias = "Which release", kind = "tag", required = true },
    { name = "SIZE", kind = "choice", choices = ["small", "large"], required = true },
    { name = "LEVEL", kind = "choice", choices = ["1", "2"], default = "2" },
    { name = "CODE", pattern = "[A-Z]{2}[0-9]+" },
    { name = "KEY", kind = "secret", required = true, pattern = ".{4,}" },
]
[[stage]]
name = "all"
hosts = "{1}"
steps = [{ run = "true" }]
"#;

async fn server() -> TestServer {
    TestServer::start_with(Options {
        templates: &[KINDS],
        ..Options::default()
    })
    .await
}

const GOOD: [(&str, &str); 4] = [
    ("CANDIDATE", "release-1.4"),
    ("SIZE", "large"),
    ("CODE", "AB12"),
    ("KEY", "hunter2"),
];

/// Invalid values; `None`: the parameter is omitted.
const WRONG: [(&str, Option<&str>); 15] = [
    ("CANDIDATE", None),
    ("CANDIDATE", Some("a b")),
    ("CANDIDATE", Some("-x")),
    ("CANDIDATE", Some("a..b")),
    ("CANDIDATE", Some("x.lock")),
    ("CANDIDATE", Some("$(id)~1")),
    ("SIZE", None),
    ("SIZE", Some("medium")),
    ("SIZE", Some("Large")),
    ("LEVEL", Some("3")),
    ("CODE", Some("ab12")),
    ("CODE", Some("AB12; x")),
    ("CODE", Some("xAB12")),
    ("KEY", None),
    ("KEY", Some("abc")),
];

fn given(changed: Option<(&str, Option<&'static str>)>) -> Vec<(String, String)> {
    let mut given: Vec<(String, String)> = GOOD
        .iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
        .collect();
    if let Some((name, value)) = changed {
        given.retain(|(known, _)| known != name);
        given.extend(value.map(|value| (name.to_owned(), value.to_owned())));
    }
    given
}

fn order(params: Vec<(String, String)>) -> Value {
    let params: serde_json::Map<String, Value> = params
        .into_iter()
        .map(|(name, value)| (name, value.into()))
        .collect();
    json!({ "template": 71, "params": params, "hosts": { "1": "web-1" } })
}

/// The fields as a browser sends them.
fn form(params: &[(String, String)]) -> Vec<(String, String)> {
    let mut fields = vec![
        ("template".to_owned(), "kinds".to_owned()),
        ("hosts.1".to_owned(), "web-1".to_owned()),
    ];
    for (name, value) in params {
        let kind = if name == "KEY" { "secret" } else { "param" };
        fields.push((format!("{kind}.{name}"), value.clone()));
    }
    fields
}

async fn send(browser: &Browser, fields: &[(String, String)]) -> (StatusCode, String) {
    let fields: Vec<(&str, &str)> = fields
        .iter()
        .map(|(n, v)| (n.as_str(), v.as_str()))
        .collect();
    browser.post("/submit", &fields).await
}

#[tokio::test]
async fn each_parameter_kind_is_validated_by_api_and_page() {
    let server = server().await;
    let bob = Program::of(&server, "bob", Role::Submitter).await;
    let alice = Browser::of(&server, "alice", Role::Submitter).await;
    for (name, value) in WRONG {
        let params = given(Some((name, value)));
        let (status, answer) = bob.post("tasks", order(params.clone())).await;
        assert_eq!(
            status,
            StatusCode::UNPROCESSABLE_ENTITY,
            "{name} {value:?}: {answer}"
        );
        let problems = answer["problems"].as_array().unwrap();
        assert_eq!(problems.len(), 1, "{name} {value:?}: {answer}");
        assert_eq!(problems[0]["field"], format!("params.{name}"));
        let (status, page) = send(&alice, &form(&params)).await;
        assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY, "{name} {value:?}");
        assert!(
            page.contains(&format!("parameter {name}")),
            "{name} {value:?}: {page}"
        );
    }
    assert!(server.store.task(1).await.is_err(), "nothing was made");
    let (status, task) = bob.post("tasks", order(given(None))).await;
    assert_eq!(status, StatusCode::CREATED, "{task}");
    let (status, page) = send(&alice, &form(&given(None))).await;
    assert_eq!(status, StatusCode::SEE_OTHER, "{page}");
    for id in [1, 2] {
        let kept = server.store.task(id).await.unwrap().submission;
        assert_eq!(kept.parameters["CANDIDATE"], "release-1.4");
        assert_eq!(kept.secrets["KEY"].expose(), "hunter2");
        assert!(!kept.parameters.contains_key("KEY"), "it is kept apart");
    }
    server.end().await;
}

#[tokio::test]
async fn form_has_a_matching_input_for_each_kind() {
    let server = server().await;
    server.proposed("release-7.7").await;
    let alice = Browser::of(&server, "alice", Role::Submitter).await;
    let (_, page) = alice.get("/submit?template=kinds").await;
    let field = |name: &str| {
        let at = page
            .find(&format!(".{name}\""))
            .unwrap_or_else(|| panic!("no {name}: {page}"));
        let begin = page[..at].rfind("<label").unwrap();
        let end = at + page[at..].find("</label>").unwrap();
        page[begin..end].to_owned()
    };
    let release = field("CANDIDATE");
    assert!(
        release.contains("Which release") && release.contains(" required"),
        "{release}"
    );
    assert!(release.contains("list=\"tags-CANDIDATE\""), "{release}");
    assert!(page.contains("<option value=\"release-7.7\">"), "{page}");
    let size = field("SIZE");
    assert!(
        size.contains("<select") && size.contains("small") && size.contains("large"),
        "{size}"
    );
    let level = field("LEVEL");
    assert!(
        level.contains(" selected") && !level.contains(" required"),
        "{level}"
    );
    assert!(field("CODE").contains("must match"));
    let key = field("KEY");
    assert!(
        key.contains("type=\"password\"") && key.contains(" required"),
        "{key}"
    );
    server.end().await;
}

/// Earlier versions stored a rule's value for a secret among the other parameters.
#[tokio::test]
async fn secret_stored_openly_by_earlier_version_is_not_shown() {
    let server = server().await;
    let mut pushed = submission("release-6.1");
    let given = [("KEY", "hunter2"), ("MODE", "fast")];
    pushed.parameters = given
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .into();
    let parameters = pushed.parameters.clone();
    let task = server.propose(pushed).await;
    let id = task.id;
    let alice = Browser::of(&server, "alice", Role::Admin).await;
    let bob = Program::of(&server, "bob", Role::Admin).await;
    for landed in [false, true] {
        if landed {
            let planned = server.landed_with(&task, |plan| {
                plan.parameters = parameters.clone();
                plan.secrets = vec!["KEY".to_owned()];
            });
            planned.await;
        }
        for path in [format!("/tasks/{id}"), "/".to_owned()] {
            let (status, page) = alice.get(&path).await;
            assert_eq!(status, StatusCode::OK, "{path}");
            assert!(!page.contains("hunter2"), "{path}: {page}");
        }
        for path in ["", "/order", "/log"] {
            let (_, answer) = bob.get(&format!("tasks/{id}{path}")).await;
            assert!(!answer.to_string().contains("hunter2"), "{path}: {answer}");
        }
        let (_, list) = bob.get("tasks?words=hunter2").await;
        assert_eq!(list["tasks"], serde_json::json!([]));
    }
    let (_, task) = bob.get(&format!("tasks/{id}")).await;
    assert_eq!(task["parameters"]["KEY"], "[REDACTED]");
    assert_eq!(task["parameters"]["MODE"], "fast");
    let (_, order) = bob.get(&format!("tasks/{id}/order")).await;
    assert_eq!(order["order"]["params"]["MODE"], "fast");
    assert_eq!(order["secrets"], serde_json::json!(["KEY"]));
    server.end().await;
}
