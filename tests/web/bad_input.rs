//! Invalid submissions, by mistake or by malice, by the API, by the form and by pasted JSON: a
//! clear error names the field, and nothing is created. (CODO's API: `codo_refused`; the command
//! line: `tests/web/command`.)

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use tagship::identity::account::Role;

use crate::client::{Browser, Program};
use crate::server::{Options, TestServer};
use crate::submit::{count, restart};

const FREE: &str = "name = \"free\"\nfree_hosts = true\nparams = [{ name = \"NOTE\" }]\n[[stage]]\nname = \"all\"\nhosts = \"{1}\"\nsteps = [{ run = \"true\" }]\n";

async fn server() -> TestServer {
    TestServer::start_with(Options {
        templates: &[FREE],
        ..Options::default()
    })
    .await
}

/// The fields that are text of one or more lines.
const TEXTS: [&str; 11] = [
    "template",
    "title",
    "details",
    "schedule",
    "run_at",
    "executor",
    "submitter",
    "project",
    "environment",
    "tag",
    "idempotency_key",
];

/// Orders that are refused, with the field that is named.
fn wrong() -> Vec<(Value, String)> {
    let mut cases = Vec::new();
    let mut case = |field: &str, value: Value, named: &str| {
        let mut order = restart();
        order[field] = value;
        cases.push((order, named.to_owned()));
    };
    for text in TEXTS {
        for value in [json!(1.5), json!(true), json!(["x"]), json!({ "x": 1 })] {
            case(text, value, text);
        }
        // Below the limit of the body, and above that of every field.
        case(text, json!("x".repeat(20_000)), text);
        for control in ["a\u{0}b", "a\u{1b}[2Jb", "a\u{7f}"] {
            case(text, json!(control), text);
        }
    }
    case("template", Value::Null, "template");
    case("template", json!(" "), "template");
    for unknown in ["none", "99", "-1", "../../etc/passwd", "restart; reboot"] {
        case("template", json!(unknown), "template");
    }
    for wrong in [json!(1), json!(true), json!("x"), json!([])] {
        for field in ["params", "secrets"] {
            case(field, wrong.clone(), field);
        }
        if !wrong.is_string() && !wrong.is_array() {
            case("approvers", wrong.clone(), "approvers");
        }
        case("hosts", wrong, "hosts");
    }
    case("params", Value::Null, "params.SERVICE");
    for value in [Value::Null, json!([]), json!({})] {
        case("params", json!({ "SERVICE": value }), "params.SERVICE");
    }
    for value in ["", "Shop", "$(reboot)", "shop\n", "a\u{0}b"] {
        case("params", json!({ "SERVICE": value }), "params.SERVICE");
    }
    let params = |name: &str, value: &str| {
        let mut params = json!({ "SERVICE": "shop" });
        params[name] = value.into();
        params
    };
    case(
        "params",
        params("PASSWORD", "\u{1b}]0;x\u{7}"),
        "params.PASSWORD",
    );
    case(
        "params",
        params("PASSWORD", &"x".repeat(9000)),
        "params.PASSWORD",
    );
    case("params", params("MODE", "soft; reboot"), "params.MODE");
    case("params", params("OTHER", "x"), "params.OTHER");
    case("params", params("LD_PRELOAD=x", "x"), "params.LD_PRELOAD=x");
    case("params", params("$(reboot)", "x"), "params.$(reboot)");
    case("secrets", json!({ "SERVICE": "shop" }), "params.SERVICE");
    let many: serde_json::Map<String, Value> =
        (0..101).map(|n| (format!("P{n}"), json!("x"))).collect();
    case("params", Value::Object(many), "params");
    case("hosts", Value::Null, "hosts.1");
    case("hosts", json!({ "1": "web-1" }), "hosts.2");
    for (given, named) in [
        (json!({ "0": "web-1" }), "hosts.0"),
        (json!({ "10": "web-1" }), "hosts.10"),
        (json!({ "x": "web-1" }), "hosts.x"),
        (json!({ "1": 1 }), "hosts.1"),
        (json!({ "1": [1] }), "hosts.1"),
        (json!({ "1": [] , "2": "web-1" }), "hosts.1"),
        (json!({ "1": "web-9", "2": "web-1" }), "hosts.1"),
        (json!({ "1": "127.0.0.1; reboot", "2": "web-1" }), "hosts.1"),
        (json!({ "1": "-oProxyCommand=x", "2": "web-1" }), "hosts.1"),
        (json!({ "1": "a\u{0}b", "2": "web-1" }), "hosts.1"),
        (json!({ "1": "x".repeat(300), "2": "web-1" }), "hosts.1"),
        (
            json!({ "1": "web-1", "2": "web-2", "3": "web-3" }),
            "hosts.3",
        ),
    ] {
        case("hosts", given, named);
    }
    for name in ["a b", "$(reboot)", "../x", "a\u{1b}"] {
        case("approvers", json!([name]), "approvers");
    }
    for tag in ["a b", "-x", "a..b", "a\u{1b}", "$(x) y", "refs/tags/../x"] {
        case("tag", json!(tag), "tag");
    }
    case("run_at", json!("soon"), "run_at");
    case("run_at", json!("2026-02-30 10:00"), "run_at");
    case("schedule", json!("ready; x"), "schedule");
    case("project", json!("shop; x"), "project");
    case("environment", json!("$(x)"), "project");
    cases.push((free(101), "hosts.1".to_owned()));
    cases
}

/// A task for this many hosts.
fn free(count: usize) -> Value {
    let hosts: Vec<String> = (0..count).map(|n| format!("127.0.1.{n}")).collect();
    json!({ "template": "free", "hosts": { "1": hosts } })
}

#[tokio::test]
async fn invalid_order_names_the_field_and_makes_no_task() {
    let server = server().await;
    let bob = Program::of(&server, "bob", Role::Admin).await;
    let alice = Browser::of(&server, "alice", Role::Admin).await;
    for (order, named) in wrong() {
        let shown: String = order.to_string().chars().take(300).collect();
        let (status, answer) = bob.post("tasks", order.clone()).await;
        assert_eq!(
            status,
            StatusCode::UNPROCESSABLE_ENTITY,
            "{shown}: {answer}"
        );
        let fields: Vec<&str> = answer["problems"]
            .as_array()
            .unwrap()
            .iter()
            .map(|problem| problem["field"].as_str().unwrap())
            .collect();
        assert!(
            fields.contains(&named.as_str()),
            "{shown}: {named} is not in {answer}"
        );
        // The same, pasted: the page shows the same problems.
        let pasted = order.to_string();
        let (status, page) = alice.post("/submit", &[("json", &pasted)]).await;
        assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY, "{shown}");
        assert!(page.contains(&named), "{shown}: {named}");
    }
    assert_eq!(count(&bob).await, 0, "something was made");
    let (status, answer) = bob.post("tasks", free(100)).await;
    assert_eq!(
        status,
        StatusCode::CREATED,
        "a hundred hosts are taken: {answer}"
    );
    server.end().await;
}

#[tokio::test]
async fn invalid_form_is_shown_again_and_makes_no_task() {
    let server = server().await;
    let alice = Browser::of(&server, "alice", Role::Admin).await;
    let good = [
        ("template", "restart"),
        ("param.SERVICE", "shop"),
        ("hosts.1", "web-1"),
        ("hosts.2", "web-2"),
    ];
    let long = "x".repeat(20_000);
    let many: Vec<String> = (0..101).map(|n| format!("127.0.1.{n}")).collect();
    let many = many.join(", ");
    for (field, value) in [
        ("title", "a\u{1b}[2Jb"),
        ("title", &long),
        ("details", &long),
        ("details", "a\u{0}b"),
        ("executor", &long),
        ("schedule", "later"),
        ("run_at", "soon"),
        ("tag", "a b"),
        ("approvers", "$(reboot)"),
        ("place", "vault/cellar"),
        ("param.SERVICE", "Shop; reboot"),
        ("param.PASSWORD", "a\u{7}b"),
        ("param.PASSWORD", &long),
        ("param.MODE", "medium"),
        ("param.OTHER", "x"),
        ("secret.KEY", "a\u{1b}b"),
        ("secret.OTHER", "x"),
        ("hosts.1", "web-9"),
        ("hosts.1", "127.0.0.1; reboot"),
        ("hosts.1", &many),
        ("hosts.3", "web-1"),
        ("hosts.0", "web-1"),
        ("idempotency_key", &long),
        ("colour", "red"),
        ("json", "{"),
    ] {
        let mut fields: Vec<(&str, &str)> = good.to_vec();
        fields.retain(|(name, _)| *name != field);
        fields.push((field, value));
        let (status, page) = alice.post("/submit", &fields).await;
        let shown: String = value.chars().take(40).collect();
        assert_eq!(
            status,
            StatusCode::UNPROCESSABLE_ENTITY,
            "{field}={shown:?}: {page}"
        );
    }
    for field in good {
        let fields: Vec<(&str, &str)> = good.iter().copied().filter(|one| *one != field).collect();
        let (status, _) = alice.post("/submit", &fields).await;
        assert_eq!(
            status,
            StatusCode::UNPROCESSABLE_ENTITY,
            "without {}",
            field.0
        );
    }
    let mut fields = good.to_vec();
    fields[0].1 = "none";
    let (status, page) = alice.post("/submit", &fields).await;
    assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY, "{page}");
    let (_, list) = alice.get("/").await;
    assert!(!list.contains("/tasks/1\""), "something was made");
    let (status, _) = alice.post("/submit", &good).await;
    assert_eq!(
        status,
        StatusCode::SEE_OTHER,
        "the same without a mistake is taken"
    );
    server.end().await;
}

#[tokio::test]
async fn ten_megabyte_fields_are_answered_and_block_no_user() {
    let server = server().await;
    let bob = Program::of(&server, "bob", Role::Admin).await;
    let alice = Browser::of(&server, "alice", Role::Admin).await;
    let long = "x".repeat(10 * 1024 * 1024);
    for field in TEXTS
        .into_iter()
        .chain(["params", "secrets", "hosts", "approvers", "x"])
    {
        let mut order = restart();
        order[field] = match field {
            "params" | "secrets" => json!({ "PASSWORD": long }),
            "hosts" => json!({ "1": long }),
            _ => json!(long),
        };
        let sent = bob.ask(Method::POST, "tasks").json(&order).send().await;
        let status = sent.unwrap().status();
        assert_eq!(status, StatusCode::PAYLOAD_TOO_LARGE, "{field}");
    }
    for field in [
        "json",
        "title",
        "param.SERVICE",
        "secret.KEY",
        "hosts.1",
        "csrf",
    ] {
        let (status, _) = alice.post("/submit", &[(field, &long)]).await;
        assert_eq!(status, StatusCode::PAYLOAD_TOO_LARGE, "{field}");
    }
    assert_eq!(count(&bob).await, 0);
    let (status, _) = bob.post("tasks", restart()).await;
    assert_eq!(status, StatusCode::CREATED, "the next one is served");
    server.end().await;
}

/// Characters that are special to a shell, which must arrive byte for byte.
const METACHARACTERS: &str =
    "$(touch pwned) `id` ; | & > < * ? ~ ! # \\ \" ' {a,b} %s --x\n\tnew 长";

#[tokio::test]
async fn shell_metacharacters_arrive_unchanged() {
    let server = server().await;
    let bob = Program::of(&server, "bob", Role::Submitter).await;
    let alice = Browser::of(&server, "alice", Role::Submitter).await;
    let line = METACHARACTERS.replace(['\n', '\t'], " ");
    let order = json!({
        "template": "free", "hosts": { "1": "127.0.1.1" }, "params": { "NOTE": METACHARACTERS },
        "title": line, "details": METACHARACTERS,
    });
    let (status, task) = bob.post("tasks", order.clone()).await;
    assert_eq!(status, StatusCode::CREATED, "{task}");
    let pasted = order.to_string();
    let form = [
        ("template", "free"),
        ("hosts.1", "127.0.1.1"),
        ("param.NOTE", METACHARACTERS),
        ("title", &line),
        ("details", METACHARACTERS),
    ];
    for fields in [form.as_slice(), &[("json", &pasted)]] {
        let (status, page) = alice.post("/submit", fields).await;
        assert_eq!(status, StatusCode::SEE_OTHER, "{page}");
    }
    for id in 1..=3 {
        let kept = server.store.task(id).await.unwrap().submission;
        assert_eq!(kept.parameters["NOTE"], METACHARACTERS, "task {id}");
        assert_eq!(
            (
                kept.title.as_str(),
                kept.request().unwrap().details.as_str()
            ),
            (line.as_str(), METACHARACTERS)
        );
        let (_, page) = alice.get(&format!("/tasks/{id}")).await;
        assert!(!page.contains("< * ?"), "it is escaped: {page}");
    }
    server.end().await;
}

#[tokio::test]
async fn concurrent_orders_with_one_key_make_one_task() {
    let server = server().await;
    let bob = Program::of(&server, "bob", Role::Submitter).await;
    let mut order = restart();
    order["idempotency_key"] = "k".into();
    let posts = (0..8).map(|_| bob.post("tasks", order.clone()));
    let answers = futures::future::join_all(posts).await;
    let made = answers
        .iter()
        .filter(|(status, _)| *status == StatusCode::CREATED);
    assert_eq!(made.count(), 1);
    for (status, task) in &answers {
        assert!(status.is_success(), "{status} {task}");
        assert_eq!(task["id"], answers[0].1["id"]);
    }
    // With other content one of them wins, and the others get an error.
    let posts = (0..8).map(|number| {
        let mut order = restart();
        order["idempotency_key"] = "other".into();
        order["title"] = format!("number {number}").into();
        bob.post("tasks", order)
    });
    let answers = futures::future::join_all(posts).await;
    let statuses: Vec<u16> = answers.iter().map(|(status, _)| status.as_u16()).collect();
    assert_eq!(
        statuses.iter().filter(|status| **status == 201).count(),
        1,
        "{statuses:?}"
    );
    assert_eq!(
        statuses.iter().filter(|status| **status == 409).count(),
        7,
        "{statuses:?}"
    );
    // A form that is sent twice, by two clicks.
    let alice = Browser::of(&server, "alice", Role::Submitter).await;
    let (_, page) = alice.get("/submit?template=restart").await;
    let (_, key) = page
        .split_once("name=\"idempotency_key\" value=\"")
        .unwrap();
    let (key, _) = key.split_once('"').unwrap();
    let fields = [
        ("template", "restart"),
        ("param.SERVICE", "shop"),
        ("hosts.1", "web-1"),
        ("hosts.2", "web-2"),
        ("idempotency_key", key),
    ];
    let clicks = (0..4).map(|_| alice.post("/submit", &fields));
    for (status, page) in futures::future::join_all(clicks).await {
        assert_eq!(status, StatusCode::SEE_OTHER, "{page}");
    }
    assert_eq!(count(&bob).await, 3);
    server.end().await;
}
