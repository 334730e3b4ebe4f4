//! Tasks that are submitted by API and by form.

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use tagship::domain::permission::Scope;
use tagship::domain::task::Event;
use tagship::identity::account::Role;

use crate::client::{Browser, Program, assert_error, client};
use crate::server::{Options, TestServer};

pub(crate) fn restart() -> Value {
    json!({
        "template": "restart",
        "params": { "SERVICE": "shop" },
        "hosts": { "1": ["127.0.0.1"], "2": ["web-2", "web-3"] },
        "title": "restart <b>all</b>",
    })
}

async fn post(program: &Program, key: Option<&str>, order: &Value) -> (StatusCode, Value) {
    let mut request = program.ask(Method::POST, "tasks").json(order);
    if let Some(key) = key {
        request = request.header("idempotency-key", key);
    }
    let response = request.send().await.unwrap();
    (response.status(), response.json().await.unwrap())
}

/// How many tasks there are.
pub(crate) async fn count(program: &Program) -> usize {
    let (_, list) = program.get("tasks").await;
    list["tasks"].as_array().unwrap().len()
}

#[tokio::test]
async fn submitted_task_records_its_user_and_channel() {
    let server = TestServer::start().await;
    let bob = Program::of(&server, "bob", Role::Submitter).await;
    let order = json!({ "details": "why\nnot", "run_at": "2030-01-01 12:00", "submitter": "root", "approvers": ["alice"] });
    let mut asked = restart();
    for (name, value) in order.as_object().unwrap() {
        asked[name] = value.clone();
    }
    let (status, task) = post(&bob, None, &asked).await;
    assert_eq!(status, StatusCode::CREATED, "{task}");
    assert_eq!(task["state"], "proposed");
    assert_eq!(task["submitter"], "bob");
    assert_eq!(task["claimed_submitter"], "root");
    assert_eq!(task["origin"], json!({ "kind": "submitted", "via": "api" }));
    assert_eq!(task["schedule"], "new");
    assert_eq!(task["run_at"], "2030-01-01T11:00:00Z");
    assert_eq!(
        task["hosts"],
        json!({ "1": ["web-1"], "2": ["web-2", "web-3"] })
    );
    assert_eq!(task["parameters"], json!({ "SERVICE": "shop" }));
    let mut secret = restart();
    secret["params"]["KEY"] = "hunter2".into();
    let (_, task) = post(&bob, None, &secret).await;
    assert_eq!(
        task["parameters"]["KEY"], "[REDACTED]",
        "its template says so"
    );
    let (_, listed) = bob.get("tasks").await;
    assert_eq!(listed["tasks"][0]["title"], "restart <b>all</b>");
    server.end().await;
}

#[tokio::test]
async fn one_key_makes_one_task_in_header_or_body() {
    let server = TestServer::start().await;
    let bob = Program::of(&server, "bob", Role::Submitter).await;
    let (status, first) = post(&bob, Some("k-1"), &restart()).await;
    assert_eq!(status, StatusCode::CREATED);
    let (status, again) = post(&bob, Some("k-1"), &restart()).await;
    assert_eq!((status, &again["id"]), (StatusCode::OK, &first["id"]));
    let mut other = restart();
    other["idempotency_key"] = "k-1".into();
    let (status, again) = post(&bob, None, &other).await;
    assert_eq!((status, &again["id"]), (StatusCode::OK, &first["id"]));
    other["title"] = "another".into();
    let (status, refused) = post(&bob, None, &other).await;
    assert_eq!(status, StatusCode::CONFLICT);
    assert_error(&refused, "k-1");
    let (status, refused) = post(&bob, Some("k-2"), &other).await;
    assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY, "{refused}");
    let (status, _) = post(&bob, Some(&"k".repeat(201)), &restart()).await;
    assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY);
    assert_eq!(count(&bob).await, 1);
    server.end().await;
}

#[tokio::test]
async fn submission_errors_are_reported_by_field() {
    let server = TestServer::start().await;
    let bob = Program::of(&server, "bob", Role::Submitter).await;
    let wrong = json!({ "template": "restart", "params": { "SERVICE": "A" }, "hosts": { "1": "web-9", "3": "web-1" }, "titel": 1 });
    let (status, told) = post(&bob, Some("k"), &wrong).await;
    assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY);
    assert_eq!(told["problems"][0]["field"], "titel");
    let wrong = json!({ "template": "restart", "params": { "SERVICE": "A" }, "hosts": { "1": "web-9", "3": "web-1" } });
    let (_, told) = post(&bob, Some("k"), &wrong).await;
    let fields: Vec<&str> = told["problems"]
        .as_array()
        .unwrap()
        .iter()
        .map(|problem| problem["field"].as_str().unwrap())
        .collect();
    assert_eq!(
        fields,
        ["hosts.1", "params.SERVICE", "hosts.2", "hosts.3"],
        "{told}"
    );
    for body in ["[]", "", "{", "null"] {
        let request = bob
            .ask(Method::POST, "tasks")
            .body(body)
            .header("content-type", "application/json");
        let status = request.send().await.unwrap().status();
        assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY, "{body}");
    }
    assert_eq!(count(&bob).await, 0);
    server.end().await;
}

#[tokio::test]
async fn submit_and_ready_require_their_rights() {
    let server = TestServer::start().await;
    let viewer = Program::of(&server, "vera", Role::Viewer).await;
    let submitter = Program::of(&server, "bob", Role::Submitter).await;
    let approver = Program::of(&server, "alice", Role::Approver).await;
    let (status, told) = post(&viewer, None, &restart()).await;
    assert_eq!(status, StatusCode::FORBIDDEN, "{told}");
    let mut ready = restart();
    ready["schedule"] = "ready".into();
    let (status, told) = post(&submitter, None, &ready).await;
    assert_eq!(status, StatusCode::FORBIDDEN);
    assert_error(&told, "the role approver");
    let (status, _) = post(&approver, None, &ready).await;
    assert_eq!(status, StatusCode::CREATED);
    assert_eq!(count(&viewer).await, 1);
    server.end().await;
}

#[tokio::test]
async fn a_secret_is_in_no_answer_and_on_no_page() {
    let server = TestServer::start().await;
    let bob = Browser::of(&server, "bob", Role::Admin).await;
    let program = Program::of(&server, "ci", Role::Submitter).await;
    let mut order = restart();
    order["secrets"] = json!({ "PASSWORD": "hunter2-hunter2" });
    let (status, task) = post(&program, None, &order).await;
    assert_eq!(status, StatusCode::CREATED);
    assert_eq!(task["parameters"]["PASSWORD"], "[REDACTED]");
    let id = task["id"].as_u64().unwrap();
    let kept = server.store.task(id).await.unwrap();
    assert_eq!(
        kept.submission.secrets["PASSWORD"].expose(),
        "hunter2-hunter2"
    );
    let mut seen = vec![task.to_string()];
    for path in [
        format!("tasks/{id}"),
        format!("tasks/{id}/order"),
        "tasks".to_owned(),
    ] {
        seen.push(program.get(&path).await.1.to_string());
    }
    for path in [
        format!("/tasks/{id}"),
        format!("/submit?repeat={id}"),
        "/".to_owned(),
    ] {
        let (status, page) = bob.get(&path).await;
        assert_eq!(status, StatusCode::OK, "{path}");
        seen.push(page);
    }
    for text in seen {
        assert!(!text.contains("hunter2"), "{text}");
    }
    server.end().await;
}

#[tokio::test]
async fn the_form_of_a_template_submits_a_task_without_scripts() {
    let server = TestServer::start().await;
    let bob = Browser::of(&server, "bob", Role::Submitter).await;
    let (_, page) = bob.get("/submit").await;
    assert!(page.contains("/submit?template=restart"), "{page}");
    let (status, page) = bob.get("/submit?template=restart").await;
    assert_eq!(status, StatusCode::OK);
    for part in [
        "What to restart",
        "name=\"param.SERVICE\"",
        "name=\"hosts.1\" value=\"web-3\"",
        "name=\"hosts.2\"",
        "<option selected>soft</option>",
        "name=\"secret.KEY\" type=\"password\"",
        "time zone Europe/Berlin",
    ] {
        assert!(page.contains(part), "no {part} in {page}");
    }
    assert!(
        !page.contains("name=\"schedule\""),
        "a submitter may not choose"
    );
    let fields = [
        ("template", "restart"),
        ("idempotency_key", "page-1"),
        ("title", "by hand"),
        ("param.SERVICE", "shop"),
        ("param.PASSWORD", ""),
        ("hosts.1", "web-1"),
        ("hosts.1", "web-2"),
        ("hosts.2", "web-3"),
        ("run_at", ""),
        ("details", "one\r\ntwo"),
    ];
    for _ in 0..2 {
        let (status, page) = bob.post("/submit", &fields).await;
        assert_eq!(status, StatusCode::SEE_OTHER, "{page}");
    }
    let task = server.store.task(1).await.unwrap();
    assert_eq!(task.submission.hosts[&1], ["web-1", "web-2"]);
    assert_eq!(task.submission.request().unwrap().details, "one\ntwo");
    assert!(
        server.store.task(2).await.is_err(),
        "two clicks make one task"
    );
    let (status, _) = bob.post_bare("/submit", &fields).await;
    assert_eq!(
        status,
        StatusCode::FORBIDDEN,
        "without the token of the page"
    );
    server.end().await;
}

#[tokio::test]
async fn invalid_form_keeps_its_input_and_names_the_errors() {
    let server = TestServer::start().await;
    let bob = Browser::of(&server, "bob", Role::Submitter).await;
    let fields = [
        ("template", "restart"),
        ("title", "a \"quoted\" title"),
        ("param.SERVICE", "Shop; reboot"),
        ("hosts.1", "web-1"),
    ];
    let (status, page) = bob.post("/submit", &fields).await;
    assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY);
    for part in [
        "Nothing was submitted",
        "<code>params.SERVICE</code>",
        "<code>hosts.2</code>",
        "value=\"Shop; reboot\"",
        "value=\"web-1\" checked",
    ] {
        assert!(page.contains(part), "no {part} in {page}");
    }
    let (status, page) = bob
        .post("/submit", &[("json", "{\"template\": \"restrat\"}")])
        .await;
    assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY);
    assert!(page.contains("did you mean `restart`?"), "{page}");
    let (status, page) = bob.post("/submit", &[("json", "{")]).await;
    assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY, "{page}");
    assert!(server.store.task(1).await.is_err());
    let (status, _) = bob
        .post("/submit", &[("json", &restart().to_string())])
        .await;
    assert_eq!(status, StatusCode::SEE_OTHER);
    server.end().await;
}

#[tokio::test]
async fn task_is_pasted_in_codo_notation() {
    let server = TestServer::start().await;
    let bob = Browser::of(&server, "bob", Role::Submitter).await;
    let pasted = |hosts: &str| {
        json!({
            "task_name": "这是通过JSON提交的任务",
            "submitter": "alice",
            "temp_id": "70",
            "exec_time": "2019-5-24 09:09:50",
            "args": "{'SERVICE': 'shop', 'OTHER': 1}",
            "details": "这里是备注",
            "hosts": hosts,
        })
        .to_string()
    };
    let wrong = pasted("{1: '127.0.0.1', 2 '127.0.0.2'}");
    let (status, page) = bob.post("/submit", &[("json", &wrong)]).await;
    assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY);
    assert!(page.contains("hosts: character"), "{page}");
    assert!(
        page.contains("这是通过JSON提交的任务"),
        "what was pasted stays"
    );
    let right = pasted("{1: '127.0.0.1', 2: '127.0.0.2'}");
    let (status, page) = bob.post("/submit", &[("json", &right)]).await;
    assert_eq!(status, StatusCode::SEE_OTHER, "{page}");
    let task = server.store.task(1).await.unwrap().submission;
    assert_eq!(task.title, "这是通过JSON提交的任务");
    assert_eq!(task.submitter.name, "bob", "whoever logged in");
    let request = task.request().unwrap();
    assert_eq!(request.claimed_submitter, "alice");
    assert_eq!(task.parameters["SERVICE"], "shop");
    assert_eq!(task.hosts[&1], ["web-1"]);
    assert!(request.details.contains("OTHER=1"), "{request:?}");
    server.end().await;
}

#[tokio::test]
async fn an_earlier_task_fills_the_form_in() {
    let server = TestServer::start().await;
    let bob = Browser::of(&server, "bob", Role::Submitter).await;
    let fields = [
        ("template", "restart"),
        ("title", "weekly"),
        ("param.SERVICE", "shop"),
        ("secret.PASSWORD", "hunter2"),
        ("hosts.1", "web-1"),
        ("hosts.2", "web-3"),
    ];
    assert_eq!(bob.post("/submit", &fields).await.0, StatusCode::SEE_OTHER);
    let (_, page) = bob.get("/tasks/1").await;
    assert!(page.contains("/submit?repeat=1"), "{page}");
    let (_, page) = bob.get("/submit?repeat=1").await;
    for part in [
        "value=\"weekly\"",
        "name=\"param.SERVICE\" value=\"shop\"",
        "name=\"hosts.2\" value=\"web-3\" checked",
        "name=\"hosts.1\" value=\"web-1\" checked",
    ] {
        assert!(page.contains(part), "no {part} in {page}");
    }
    // A pushed release can be submitted again, too.
    server.waiting("release-9").await;
    let (status, _) = bob.get("/submit?repeat=2").await;
    assert_eq!(status, StatusCode::NOT_FOUND, "its template is no file");
    server.end().await;
}

#[tokio::test]
async fn a_viewer_is_not_offered_the_form() {
    let server = TestServer::start_with(Options::default()).await;
    let vera = Browser::of(&server, "vera", Role::Viewer).await;
    let (_, page) = vera.get("/").await;
    assert!(!page.contains("/submit"));
    assert_eq!(vera.get("/submit").await.0, StatusCode::FORBIDDEN);
    let (status, _) = vera
        .post("/submit", &[("json", &restart().to_string())])
        .await;
    assert_eq!(status, StatusCode::FORBIDDEN);
    server.end().await;
}

#[tokio::test]
async fn task_without_project_is_shown_by_its_title() {
    let server = TestServer::start().await;
    let alice = Browser::of(&server, "alice", Role::Approver).await;
    let program = Program::of(&server, "ci", Role::Submitter).await;
    let (_, task) = post(&program, None, &restart()).await;
    let id = task["id"].as_u64().unwrap();
    let task = server.store.task(id).await.unwrap();
    server
        .append(
            &task,
            vec![Event::Withdrawn {
                by: "ci".to_owned(),
                reason: String::new(),
            }],
        )
        .await;
    for path in ["/", "/tasks/1"] {
        let (status, page) = alice.get(path).await;
        assert_eq!(status, StatusCode::OK);
        assert!(
            page.contains("restart &#60;b&#62;all") || page.contains("restart &lt;b&gt;all"),
            "{page}"
        );
    }
    server.end().await;
}

#[tokio::test]
async fn form_shows_nothing_hidden_from_its_reader() {
    let server = TestServer::start_with(Options {
        grants: "[[grants]]\nto = [\"tim\"]\nrole = \"submitter\"\ntemplate = \"restart\"\n",
        templates: &[
            "name = \"wipe\"\nparams = [{ name = \"TAG_OF\", kind = \"tag\" }]\n[[stage]]\nname = \"s\"\nhosts = \"{1}\"\nsteps = [{ run = \"true\" }]\n",
            "name = \"pick\"\nparams = [{ name = \"OF\", kind = \"tag\" }]\n[[stage]]\nname = \"s\"\nhosts = \"{1}\"\nsteps = [{ run = \"true\" }]\n",
        ],
        ..Options::default()
    })
    .await;
    server.waiting("release-1.4").await;
    let tim = Browser::of(&server, "tim", Role::None).await;
    let (status, page) = tim.get("/submit").await;
    assert_eq!(status, StatusCode::OK, "{page}");
    assert!(page.contains("restart"), "{page}");
    assert!(
        !page.contains("wipe") && !page.contains("release-1.4"),
        "{page}"
    );
    assert_eq!(
        tim.get("/submit?template=wipe").await.0,
        StatusCode::NOT_FOUND
    );
    let root = Browser::of(&server, "root", Role::Admin).await;
    let (_, page) = root.get("/submit?template=pick").await;
    assert!(
        page.contains("release-1.4"),
        "whoever sees it is offered it: {page}"
    );
    // A token that may submit, and read nothing.
    let account = server.account("ci", Role::Approver, &[]).await;
    let token = server.token_for(&account, [Scope::Submit].into_iter().collect());
    let asked = client().get(format!("{}/submit?repeat=1", server.url));
    let answer = asked.bearer_auth(token.await).send().await.unwrap();
    assert_eq!(answer.status(), StatusCode::FORBIDDEN);
    server.end().await;
}
