//! `/api/task/v2/task/accept/`, called as CODO's clients call it: the same requests, the same
//! texts.

use std::sync::Arc;
use std::time::Duration;

use reqwest::{Client, RequestBuilder, Response, StatusCode};
use serde_json::{Value, json};
use tagship::base::clock::ManualClock;
use tagship::domain::rule::Schedule;
use tagship::domain::task::{Submission, Via};
use tagship::identity::account::Role;

use crate::client::{both, client};
use crate::server::{Options, TestServer};

const TEMPLATES: &[&str] = &[
    r#"
    id = 40
    name = "notice"
    [[stage]]
    name = "all"
    hosts = "{1}"
    steps = [{ run = "true" }]
    "#,
    r#"
    id = 41
    name = "versioned"
    params = [{ name = "VERSION", alias = "版本", required = true }, { name = "MODE", pattern = "fast|slow" }]
    [[stage]]
    name = "all"
    hosts = "{1}"
    steps = [{ run = "true" }]
    "#,
    r#"
    id = 42
    name = "two"
    [[stage]]
    name = "first"
    hosts = "{1}"
    steps = [{ run = "true" }]
    [[stage]]
    name = "second"
    hosts = "{2}"
    steps = [{ run = "true" }]
    "#,
    r#"
    id = 44
    name = "secret"
    params = [{ name = "PASSWORD", kind = "secret" }]
    [[stage]]
    name = "all"
    hosts = "{1}"
    steps = [{ run = "true" }]
    "#,
    r#"
    id = 43
    name = "free"
    free_hosts = true
    [[stage]]
    name = "all"
    hosts = "{1}"
    steps = [{ run = "true" }]
    "#,
];

pub(crate) async fn server() -> TestServer {
    TestServer::start_with(options()).await
}

pub(crate) fn options() -> Options {
    Options {
        templates: TEMPLATES,
        ..Options::default()
    }
}

/// A client as in CODO's documents: a GET for the key, then a POST of text without a content type.
pub(crate) struct Codo {
    client: Client,
    address: String,
    auth_key: String,
}

impl Codo {
    pub(crate) async fn of(server: &TestServer, name: &str, role: Role) -> Self {
        let account = server.account(name, role, &[]).await;
        Self::with(server, &server.token(&account).await)
    }

    pub(crate) fn with(server: &TestServer, auth_key: &str) -> Self {
        Self {
            client: client(),
            address: format!("{}/api/task/v2/task/accept/", server.url),
            auth_key: auth_key.to_owned(),
        }
    }

    pub(crate) fn get(&self) -> RequestBuilder {
        let cookie = format!("auth_key={}", self.auth_key);
        self.client.get(&self.address).header("cookie", cookie)
    }

    pub(crate) fn post(&self, csrf_key: &str, body: impl Into<reqwest::Body>) -> RequestBuilder {
        let cookie = format!("auth_key={}; csrf_key={csrf_key}", self.auth_key);
        let request = self.client.post(&self.address).header("cookie", cookie);
        request.body(body)
    }

    pub(crate) async fn key(&self) -> String {
        let (status, answer) = said(self.get().send().await.unwrap()).await;
        assert_eq!(status, StatusCode::OK, "{answer}");
        answer["csrf_key"].as_str().unwrap().to_owned()
    }

    pub(crate) async fn send(&self, body: impl Into<reqwest::Body>) -> (StatusCode, Value) {
        let key = self.key().await;
        said(self.post(&key, body).send().await.unwrap()).await
    }

    /// Submits [`fields`] with these changes.
    pub(crate) async fn submit(&self, changed: &Value) -> (StatusCode, Value) {
        self.send(fields(changed).to_string()).await
    }

    pub(crate) async fn submitted(&self, server: &TestServer, changed: &Value) -> Submission {
        let (status, answer) = self.submit(changed).await;
        assert_eq!(
            (status, &answer["code"]),
            (StatusCode::OK, &json!(0)),
            "{answer}"
        );
        let task = server.store.task(answer["list_id"].as_u64().unwrap()).await;
        Submission::clone(&task.unwrap().submission)
    }
}

pub(crate) async fn said(response: Response) -> (StatusCode, Value) {
    let (status, text) = both(response).await;
    let value = serde_json::from_str(&text).unwrap_or_else(|_| panic!("no JSON: {text}"));
    (status, value)
}

/// A valid task with these fields changed; a `null` field is omitted.
pub(crate) fn fields(changed: &Value) -> Value {
    let mut fields = json!({
        "task_name": "a notice",
        "temp_id": "40",
        "args": "{}",
        "details": "",
        "hosts": "{1: '127.0.0.1'}",
        "submitter": "somebody else",
        "exec_time": "2019-5-24 09:09:50",
        "schedule": "new",
        "executor": "nobody",
    });
    for (name, value) in changed.as_object().unwrap() {
        if value.is_null() {
            fields.as_object_mut().unwrap().remove(name);
        } else {
            fields[name] = value.clone();
        }
    }
    fields
}

pub(crate) async fn count(server: &TestServer) -> usize {
    let tasks = server.store.list(&Default::default(), None, 200).await;
    tasks.unwrap().len()
}

#[tokio::test]
async fn task_is_submitted_in_codo_format() {
    let server = server().await;
    let alice = Codo::of(&server, "alice", Role::Submitter).await;
    let got = alice.get().send().await.unwrap();
    let cookie = got.headers()["set-cookie"].to_str().unwrap().to_owned();
    let (status, answer) = said(got).await;
    let key = answer["csrf_key"].as_str().unwrap();
    assert_eq!(status, StatusCode::OK);
    assert_eq!(
        (&answer["code"], &answer["msg"]),
        (&json!(0), &json!("获取csrf_key成功"))
    );
    assert!(cookie.starts_with(&format!("csrf_key={key}; ")), "{cookie}");
    assert!(cookie.contains("; Max-Age=1800"), "{cookie}");

    let body = fields(&json!({
        "task_name": "脚本任务",
        "details": "这里是备注",
        "exec_time": "2036-01-02 03:04:05",
    }));
    let posted = alice.post(key, body.to_string()).send().await.unwrap();
    let (status, answer) = said(posted).await;
    assert_eq!(status, StatusCode::OK);
    assert_eq!(
        answer,
        json!({ "code": 0, "msg": "Task creation success, ID：1", "list_id": 1 })
    );
    let task = server.store.task(1).await.unwrap().submission;
    let request = task.request().unwrap();
    assert_eq!(request.via, Via::Codo);
    assert_eq!(
        (task.title.as_str(), request.details.as_str()),
        ("脚本任务", "这里是备注")
    );
    assert_eq!(task.template, "notice");
    assert_eq!(task.hosts[&1], ["web-1"]);
    assert_eq!(task.schedule, Schedule::New);
    assert_eq!(request.executor, "nobody");
    assert_eq!(
        request.run_at,
        Some("2036-01-02T02:04:05Z".parse().unwrap())
    );
    assert_eq!(
        task.submitter.account.as_deref(),
        Some("alice"),
        "whoever logged in"
    );
    assert_eq!(
        request.claimed_submitter, "somebody else",
        "shown, not trusted"
    );
    assert!(task.involved.is_empty(), "no account is called so");
    server.end().await;
}

/// One token submits for all pushers: the user that it names may not approve.
#[tokio::test]
async fn submitter_named_by_the_client_may_not_approve() {
    let server = TestServer::start_with(Options {
        grants: "[users.bob]\ngitlab = \"Bob.B\"\n",
        ..options()
    })
    .await;
    let hook = Codo::of(&server, "hook", Role::Submitter).await;
    for (number, (named, expected)) in [("alice", vec!["alice"]), ("Bob.B", vec!["bob"])]
        .into_iter()
        .enumerate()
    {
        let key = &hook.key().await;
        let body = fields(&json!({ "submitter": named }));
        let posted = hook.post(key, body.to_string()).send().await.unwrap();
        let (status, answer) = said(posted).await;
        assert_eq!(status, StatusCode::OK, "{answer}");
        let id = u64::try_from(number).unwrap() + 1;
        let task = server.store.task(id).await.unwrap().submission;
        assert!(task.involved.iter().eq(expected.iter()), "{task:?}");
    }
    server.end().await;
}

#[tokio::test]
async fn the_key_may_be_a_cookie_or_a_parameter_or_a_bearer() {
    let server = server().await;
    let alice = Codo::of(&server, "alice", Role::Submitter).await;
    let address = format!("{}?auth_key={}", alice.address, alice.auth_key);
    let (status, answer) = said(client().get(&address).send().await.unwrap()).await;
    assert_eq!(status, StatusCode::OK, "{answer}");
    let csrf = answer["csrf_key"].as_str().unwrap();
    let post = client().post(format!("{address}&csrf_key={csrf}"));
    let post = post.body(fields(&json!({})).to_string());
    let (status, answer) = said(post.send().await.unwrap()).await;
    assert_eq!(
        (status, &answer["code"]),
        (StatusCode::OK, &json!(0)),
        "{answer}"
    );
    let bearer = client().get(&alice.address).bearer_auth(&alice.auth_key);
    assert_eq!(bearer.send().await.unwrap().status(), StatusCode::OK);
    server.end().await;
}

#[tokio::test]
async fn csrf_key_and_submission_require_a_valid_auth_key() {
    let server = server().await;
    let alice = Codo::of(&server, "alice", Role::Submitter).await;
    let csrf = alice.key().await;
    let body = fields(&json!({})).to_string();
    for auth_key in ["", "none", "tagship_0000"] {
        let stranger = Codo::with(&server, auth_key);
        for request in [stranger.get(), stranger.post(&csrf, body.clone())] {
            let (status, answer) = said(request.send().await.unwrap()).await;
            assert_eq!(status, StatusCode::UNAUTHORIZED, "{answer}");
            assert_eq!(answer["code"], 401);
        }
    }
    assert_eq!(count(&server).await, 0);
    server.end().await;
}

#[track_caller]
fn assert_csrf(answer: &(StatusCode, Value)) {
    assert_eq!(answer.0, StatusCode::PAYMENT_REQUIRED, "{}", answer.1);
    assert_eq!(answer.1["code"], 402);
    assert_eq!(answer.1["msg"], "csrf error.");
}

#[tokio::test]
async fn csrf_key_is_valid_for_one_task() {
    let server = server().await;
    let alice = Codo::of(&server, "alice", Role::Submitter).await;
    let key = alice.key().await;
    let body = fields(&json!({})).to_string();
    let first = said(alice.post(&key, body.clone()).send().await.unwrap()).await;
    assert_eq!(first.1["code"], 0, "{}", first.1);
    let other = fields(&json!({ "task_name": "another" })).to_string();
    for again in [body, other, "nonsense".to_owned()] {
        let again = alice.post(&key, again).send().await.unwrap();
        assert_csrf(&said(again).await);
    }
    assert_eq!(count(&server).await, 1);
    server.end().await;
}

#[tokio::test]
async fn missing_forged_or_foreign_csrf_key_is_refused() {
    let server = server().await;
    let alice = Codo::of(&server, "alice", Role::Submitter).await;
    let bob = Codo::of(&server, "bob", Role::Admin).await;
    let body = fields(&json!({})).to_string();
    let of_bob = bob.key().await;
    for key in ["", "x", &of_bob, &alice.key().await[1..]] {
        let posted = alice.post(key, body.clone()).send().await.unwrap();
        assert_csrf(&said(posted).await);
    }
    assert_eq!(count(&server).await, 0);
    server.end().await;
}

#[tokio::test]
async fn a_csrf_key_lives_half_an_hour() {
    let clock = Arc::new(ManualClock::at("2026-11-21T12:00:00Z".parse().unwrap()));
    let server = TestServer::start_with(Options {
        clock: clock.clone(),
        ..options()
    })
    .await;
    let alice = Codo::of(&server, "alice", Role::Submitter).await;
    let (early, late) = (alice.key().await, alice.key().await);
    let body = fields(&json!({})).to_string();
    clock.advance(Duration::from_secs(1799));
    let posted = alice.post(&early, body.clone()).send().await.unwrap();
    assert_eq!(said(posted).await.1["code"], 0);
    clock.advance(Duration::from_secs(1));
    let posted = alice.post(&late, body).send().await.unwrap();
    assert_csrf(&said(posted).await);
    server.end().await;
}

#[tokio::test]
async fn concurrent_posts_with_one_csrf_key_make_one_task() {
    let server = server().await;
    let alice = Codo::of(&server, "alice", Role::Submitter).await;
    for round in 0..4 {
        let key = alice.key().await;
        let posts = (0..6).map(|_| {
            let post = alice.post(&key, fields(&json!({})).to_string());
            async move { said(post.send().await.unwrap()).await }
        });
        let answers = futures::future::join_all(posts).await;
        let (taken, refused): (Vec<_>, Vec<_>) =
            answers.iter().partition(|(_, answer)| answer["code"] == 0);
        assert_eq!(taken.len(), 1, "{answers:?}");
        refused.into_iter().for_each(assert_csrf);
        assert_eq!(count(&server).await, round + 1);
    }
    server.end().await;
}

#[tokio::test]
async fn csrf_key_use_is_remembered_after_a_restart() {
    let before = server().await;
    let alice = Codo::of(&before, "alice", Role::Submitter).await;
    let (used, fresh) = (alice.key().await, alice.key().await);
    let body = fields(&json!({})).to_string();
    let posted = alice.post(&used, body.clone()).send().await.unwrap();
    assert_eq!(said(posted).await.1["code"], 0);
    let kv = before.store.kv();
    before.end().await;
    let after = TestServer::start_with(Options {
        kv: Some(kv),
        ..options()
    })
    .await;
    let alice = Codo::with(&after, &alice.auth_key);
    let posted = alice.post(&used, body.clone()).send().await.unwrap();
    assert_csrf(&said(posted).await);
    let posted = alice.post(&fresh, body).send().await.unwrap();
    assert_eq!(said(posted).await.1["list_id"], 2);
    after.end().await;
}

#[tokio::test]
async fn a_page_of_another_site_cannot_submit() {
    let server = server().await;
    let alice = Codo::of(&server, "alice", Role::Submitter).await;
    let key = alice.key().await;
    let post = alice.post(&key, fields(&json!({})).to_string());
    let post = post.header("origin", "https://elsewhere.example.com");
    let (status, answer) = said(post.send().await.unwrap()).await;
    assert_eq!(
        (status, &answer["code"]),
        (StatusCode::FORBIDDEN, &json!(403))
    );
    assert_eq!(count(&server).await, 0);
    server.end().await;
}

#[tokio::test]
async fn ready_requires_the_right_to_run_without_approval() {
    let server = server().await;
    let ready = json!({ "schedule": "ready" });
    for (name, role, task, status) in [
        ("vera", Role::Viewer, &json!({}), StatusCode::FORBIDDEN),
        ("sam", Role::Submitter, &ready, StatusCode::FORBIDDEN),
        ("sue", Role::Submitter, &json!({}), StatusCode::OK),
        ("andy", Role::Approver, &ready, StatusCode::OK),
    ] {
        let requester = Codo::of(&server, name, role).await;
        let before = count(&server).await;
        let (answered, answer) = requester.submit(task).await;
        assert_eq!(answered, status, "{name}: {answer}");
        let taken = usize::from(status == StatusCode::OK);
        assert_eq!(count(&server).await - before, taken, "{name}");
        if taken == 0 {
            assert_eq!(answer["code"], 403);
            let msg = answer["msg"].as_str().unwrap();
            assert!(msg.contains("requires the role"), "{msg}");
        }
    }
    server.end().await;
}

#[tokio::test]
async fn args_are_read_from_python_and_from_json_and_stay_whole() {
    let server = server().await;
    let alice = Codo::of(&server, "alice", Role::Submitter).await;
    for (args, version) in [
        ("{'VERSION':'你可以看到我'}", "你可以看到我"),
        (r#"{"VERSION": "\u4f60\u597d"}"#, "你好"),
        (
            r#"{'VERSION': "o'neil; $(reboot) `x` && | > \\ {TAG}"}"#,
            "o'neil; $(reboot) `x` && | > \\ {TAG}",
        ),
        ("{'VERSION': 7}", "7"),
        ("{'VERSION': None}", "None"),
        ("{'VERSION': True}", "True"),
        ("{u'VERSION': u'\\u4e2d'}", "中"),
        ("{'VERSION': ['a', {'b': 1}]}", r#"["a",{"b":1}]"#),
        ("{'VERSION': 'a\\tb\\nc'}", "a\tb\nc"),
    ] {
        let task = alice
            .submitted(&server, &json!({ "temp_id": 41, "args": args }))
            .await;
        assert_eq!(task.parameters["VERSION"], version, "{args}");
    }
    server.end().await;
}

#[tokio::test]
async fn unknown_args_are_shown_and_reach_no_program() {
    let server = server().await;
    let alice = Codo::of(&server, "alice", Role::Submitter).await;
    let args = "{'TAG': 'codo-beta0.3', 'APP_NAME': 'Web', 'FLOW_ID': 1, 'lower': 'x'}";
    let task = alice
        .submitted(&server, &json!({ "args": args, "details": "see there" }))
        .await;
    let names: Vec<&String> = task.parameters.keys().collect();
    assert_eq!(names, ["TAG"], "a task of no project may bring this");
    assert_eq!(
        task.request().unwrap().details,
        "see there\n(args unknown to the template: APP_NAME=Web, FLOW_ID=1, lower=x)"
    );
    server.end().await;
}

#[tokio::test]
async fn a_secret_arg_is_kept_apart() {
    let server = server().await;
    let alice = Codo::of(&server, "alice", Role::Submitter).await;
    let task = json!({ "temp_id": 44, "args": "{'PASSWORD': 'hunter2 hunter2'}" });
    let task = alice.submitted(&server, &task).await;
    assert!(task.parameters.is_empty());
    assert_eq!(task.secrets["PASSWORD"].expose(), "hunter2 hunter2");
    server.end().await;
}

#[tokio::test]
async fn associated_people_with_accounts_are_asked_to_approve() {
    let server = server().await;
    let alice = Codo::of(&server, "alice", Role::Submitter).await;
    server.account("carol", Role::Approver, &[]).await;
    let task = json!({ "associated_user": "{'group-1': ['carol', '杨红飞', 'carol']}" });
    let task = alice.submitted(&server, &task).await;
    let request = task.request().unwrap();
    assert_eq!(request.approvers, ["carol"]);
    assert_eq!(
        request.details,
        "(associated_user without an account: 杨红飞)"
    );
    server.end().await;
}

#[tokio::test]
async fn addresses_must_be_configured_unless_the_template_is_free() {
    let server = server().await;
    let alice = Codo::of(&server, "alice", Role::Submitter).await;
    let hosts = "{'1': '127.0.0.3,127.0.0.1', 2: ' 127.0.0.2 '}";
    let task = json!({ "temp_id": "two", "hosts": hosts });
    let task = alice.submitted(&server, &task).await;
    assert_eq!(task.hosts[&1], ["web-3", "web-1"]);
    assert_eq!(task.hosts[&2], ["web-2"]);
    let free = json!({ "temp_id": 43, "hosts": "{1: '127.0.0.77,127.0.0.1'}" });
    let task = alice.submitted(&server, &free).await;
    assert_eq!(task.hosts[&1], ["127.0.0.77", "web-1"]);
    for (given, kept) in [
        ("2001:db8::7", "2001:db8::7"),
        ("[2001:db8::7]", "2001:db8::7"),
        ("[2001:DB8::7]:2200", "[2001:db8::7]:2200"),
    ] {
        let free = json!({ "temp_id": 43, "hosts": format!("{{1: '{given}'}}") });
        let task = alice.submitted(&server, &free).await;
        assert_eq!(task.hosts[&1], [kept], "{given}");
    }
    server.end().await;
}

#[tokio::test]
async fn tag_determines_its_configured_environment() {
    let server = server().await;
    let alice = Codo::of(&server, "alice", Role::Submitter).await;
    let release = |tag: &str, url: &str| {
        let args = format!("{{'TAG': '{tag}', 'GIT_URL': '{url}', 'APP_NAME': 'Web'}}");
        json!({ "temp_id": "1", "args": args, "hosts": "{1: '127.0.0.1,127.0.0.2,127.0.0.3'}" })
    };
    let task = alice
        .submitted(&server, &release("release-7", "/srv/git/shop.git"))
        .await;
    assert_eq!(
        (task.project.as_str(), task.environment.as_str()),
        ("shop", "production")
    );
    assert_eq!(task.reference, "refs/tags/release-7");
    assert_eq!(task.object, "", "pinned when it lands");
    for (tag, url, words) in [
        (
            "release-7",
            "git@git.example.com:other/other.git",
            "no configured project",
        ),
        ("release-7", "", "args.GIT_URL: is missing"),
        ("", "/srv/git/shop.git", "args.TAG: is missing"),
        ("elsewhere-7", "/srv/git/shop.git", "production, qa"),
        ("rel ease", "/srv/git/shop.git", "args.TAG"),
    ] {
        let before = count(&server).await;
        let (status, answer) = alice.submit(&release(tag, url)).await;
        assert_eq!(
            (status, &answer["code"]),
            (StatusCode::OK, &json!(-6)),
            "{answer}"
        );
        let detail = answer["detail"].as_str().unwrap();
        assert!(detail.contains(words), "{tag} {url}: {detail}");
        assert_eq!(count(&server).await, before);
    }
    server.end().await;
}
