//! Who is authenticated, who may do what, and requests that do not come from our own pages.

use reqwest::{Method, StatusCode};
use serde_json::json;
use tagship::domain::permission::Scope;
use tagship::domain::rule::Schedule;
use tagship::domain::task::{Event, ManualRequest, Origin, State, Submission, Submitter};
use tagship::identity::account::Role;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::UnixStream;

use crate::client::{Browser, Program, assert_error, both, client, form, plan_of};
use crate::server::{Options, TestServer, description, submission};

#[tokio::test]
async fn unauthenticated_request_is_refused() {
    let server = TestServer::start().await;
    let task = server.waiting("release-1.4").await;
    for path in ["tasks", "tasks/1", "tasks/1/log", "users", "hosts", "live"] {
        let stranger = Program::with(&server, "tagship_0000");
        let (status, answer) = stranger.get(path).await;
        assert_eq!(status, StatusCode::UNAUTHORIZED, "{path}");
        assert_error(&answer, "token");
        let url = format!("{}/api/v1/{path}", server.url);
        let response = client().get(url).send().await.unwrap();
        assert_eq!(response.status(), StatusCode::UNAUTHORIZED, "{path}");
        assert_eq!(response.headers()["www-authenticate"], "Bearer");
    }
    let page = format!("{}/tasks/{}?x=1", server.url, task.id);
    let response = client()
        .get(page)
        .header("accept", "text/html")
        .send()
        .await
        .unwrap();
    assert_eq!(response.status(), StatusCode::SEE_OTHER);
    let location = response.headers()["location"].to_str().unwrap();
    assert_eq!(
        location,
        format!("/login?next=%2Ftasks%2F{}%3Fx%3D1", task.id)
    );
    server.end().await;
}

#[tokio::test]
async fn viewer_may_read_and_sees_the_missing_right() {
    let server = TestServer::start().await;
    let task = server.waiting("release-1.4").await;
    let plan = plan_of(&task);
    let vera = Program::of(&server, "vera", Role::Viewer).await;
    let path = format!("tasks/{}", task.id);
    let (_, shown) = vera.get(&path).await;
    assert_eq!(shown["may"], json!([]));
    let (status, answer) = vera
        .post(&format!("{path}/approve"), json!({ "plan": plan }))
        .await;
    assert_eq!(status, StatusCode::FORBIDDEN);
    assert_error(&answer, "requires the role approver");
    for what in ["stop", "retry", "go", "withdraw"] {
        let (status, _) = vera.post(&format!("{path}/{what}"), json!({})).await;
        assert_eq!(status, StatusCode::FORBIDDEN, "{what}");
    }
    for (path, body) in [
        ("rollback", json!({ "task": 1 })),
        ("users", json!({ "name": "x", "role": "admin" })),
        (
            "users/bob/password",
            json!({ "password": "long enough it is" }),
        ),
        ("users/bob/tokens", json!({})),
        ("hosts/web-1/disable", json!({ "reason": "x" })),
    ] {
        let (status, answer) = vera.post(path, body).await;
        assert_eq!(status, StatusCode::FORBIDDEN, "{path}");
        assert_error(&answer, "role");
    }
    for path in ["users", "users/bob/tokens"] {
        assert_eq!(vera.get(path).await.0, StatusCode::FORBIDDEN, "{path}");
    }
    let (status, _) = vera
        .post("users/vera/tokens", json!({ "name": "mine" }))
        .await;
    assert_eq!(status, StatusCode::CREATED);
    assert_eq!(
        server.store.task(task.id).await.unwrap().state,
        State::Waiting
    );
    server.end().await;
}

#[tokio::test]
async fn the_submitter_may_withdraw_and_not_approve() {
    let server = TestServer::start().await;
    let task = server.waiting("release-1.4").await;
    let plan = plan_of(&task);
    let bob = Program::of(&server, "bob", Role::Approver).await;
    let path = format!("tasks/{}", task.id);
    let (status, answer) = bob
        .post(&format!("{path}/approve"), json!({ "plan": plan }))
        .await;
    assert_eq!(status, StatusCode::FORBIDDEN);
    assert_error(&answer, "another approver");
    let (status, _) = bob.post(&format!("{path}/withdraw"), json!({})).await;
    assert_eq!(status, StatusCode::OK);
    server.end().await;
}

#[tokio::test]
async fn a_form_without_the_sessions_token_changes_nothing() {
    let server = TestServer::start().await;
    let task = server.waiting("release-1.4").await;
    let alice = Browser::of(&server, "alice", Role::Admin).await;
    let eve = Browser::of(&server, "eve", Role::Admin).await;
    let plan = plan_of(&task);
    let approve = format!("/tasks/{}/approve", task.id);
    for csrf in [None, Some(""), Some("0"), Some(eve.csrf.as_str())] {
        let mut fields = vec![("plan", plan.as_str())];
        fields.extend(csrf.map(|csrf| ("csrf", csrf)));
        let (status, page) = alice.post_bare(&approve, &fields).await;
        assert_eq!(status, StatusCode::FORBIDDEN, "{csrf:?}");
        assert!(page.contains("load the page again"));
    }
    for path in [
        "/rollback",
        "/hosts/web-1/disable",
        "/users",
        "/users/eve/remove",
        "/logout",
    ] {
        let fields = [
            ("task", "1"),
            ("reason", "x"),
            ("name", "x"),
            ("role", "admin"),
        ];
        let taken: &[&str] = match path {
            "/rollback" => &["task"],
            "/users" => &["name", "role"],
            "/hosts/web-1/disable" => &["reason"],
            _ => &[],
        };
        let fields: Vec<_> = fields
            .iter()
            .copied()
            .filter(|(name, _)| taken.contains(name))
            .collect();
        let (status, _) = alice.post_bare(path, &fields).await;
        assert_eq!(status, StatusCode::FORBIDDEN, "{path}");
    }
    // A session's call of the API needs the header.
    let api = format!("/api/v1/tasks/{}/withdraw", task.id);
    let request = alice.ask(Method::POST, &api).json(&json!({}));
    assert_eq!(
        request.send().await.unwrap().status(),
        StatusCode::FORBIDDEN
    );
    assert_eq!(
        server.store.task(task.id).await.unwrap().state,
        State::Waiting
    );
    let request = alice.ask(Method::POST, &api).json(&json!({}));
    let request = request.header("x-csrf-token", &alice.csrf);
    assert_eq!(request.send().await.unwrap().status(), StatusCode::OK);
    server.end().await;
}

#[tokio::test]
async fn page_of_another_site_cannot_send_requests() {
    let server = TestServer::start().await;
    let task = server.waiting("release-1.4").await;
    let alice = Browser::of(&server, "alice", Role::Admin).await;
    let plan = plan_of(&task);
    let approve = format!("/tasks/{}/approve", task.id);
    let fields = [("plan", plan.as_str()), ("csrf", alice.csrf.as_str())];
    let foreign = [
        ("origin", "https://evil.example.com".to_owned()),
        ("origin", "null".to_owned()),
        ("origin", format!("http://{}.example.com", server.host)),
        ("sec-fetch-site", "cross-site".to_owned()),
        ("sec-fetch-site", "same-site".to_owned()),
    ];
    for (name, value) in foreign {
        let request = form(alice.ask(Method::POST, &approve), &fields).header(name, &value);
        let (status, page) = both(request.send().await.unwrap()).await;
        assert_eq!(status, StatusCode::FORBIDDEN, "{name}: {value}");
        assert!(page.contains("another site"));
        let login = form(
            client().post(format!("{}/login", server.url)),
            &[("name", "x"), ("password", "y")],
        );
        let response = login.header(name, &value).send().await.unwrap();
        assert_eq!(response.status(), StatusCode::FORBIDDEN, "{name}: {value}");
    }
    let request = form(alice.ask(Method::POST, &approve), &fields).header("origin", &server.url);
    assert_eq!(
        request.send().await.unwrap().status(),
        StatusCode::SEE_OTHER
    );
    server.end().await;
}

/// A request over the Unix socket, as text.
async fn over_the_socket(server: &TestServer, request: &str) -> String {
    let mut socket = UnixStream::connect(&server.socket).await.unwrap();
    socket.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    socket.read_to_string(&mut answer).await.unwrap();
    answer
}

fn request(method: &str, path: &str, body: &str) -> String {
    format!(
        "{method} {path} HTTP/1.1\r\nHost: agent\r\nConnection: close\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )
}

#[tokio::test]
async fn system_user_is_an_admin_whose_approval_does_not_count() {
    let server = TestServer::start().await;
    let task = server.waiting("release-1.4").await;
    let plan = plan_of(&task);
    let answer = over_the_socket(&server, &request("GET", "/api/v1/users", "")).await;
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    let approve = format!("/api/v1/tasks/{}/approve", task.id);
    let body = json!({ "plan": plan }).to_string();
    let answer = over_the_socket(&server, &request("POST", &approve, &body)).await;
    assert!(answer.starts_with("HTTP/1.1 403"), "{answer}");
    assert!(answer.contains("local_approval"), "{answer}");
    let withdraw = format!("/api/v1/tasks/{}/withdraw", task.id);
    let answer = over_the_socket(&server, &request("POST", &withdraw, "{}")).await;
    assert!(answer.contains("by os:"), "{answer}");
    server.end().await;

    let server = TestServer::start_with(Options {
        agent: "local_approval = true",
        ..Options::default()
    })
    .await;
    let task = server.waiting("release-1.4").await;
    let approve = format!("/api/v1/tasks/{}/approve", task.id);
    let answer = over_the_socket(&server, &request("POST", &approve, &body)).await;
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    server.end().await;
}

/// A task that ran without approval does not exempt a rollback to it from approval.
#[tokio::test]
async fn local_users_rollback_always_waits_for_approval() {
    let server = TestServer::start().await;
    let ready = Submission {
        schedule: Schedule::Ready,
        ..submission("release-1.4")
    };
    let task = server.propose(ready).await;
    let task = server.landed(&task, &description()).await;
    let task = server.append(&task, vec![Event::Due]).await;
    let task = server.start_work(&task).await;
    let task = server.finished(task).await;
    assert_eq!(task.state, State::Succeeded);
    let asked = request("POST", "/api/v1/rollback", r#"{"task":1}"#);
    let answer = over_the_socket(&server, &asked).await;
    assert!(answer.starts_with("HTTP/1.1 201"), "{answer}");
    assert_eq!(server.store.task(2).await.unwrap().state, State::Waiting);
    // An approver's own approval counts, so their rollback needs no other.
    let bob = Program::of(&server, "bob", Role::Approver).await;
    let (_, answer) = bob.post("rollback", json!({ "task": 1 })).await;
    assert_eq!(answer["state"], "scheduled", "{answer}");
    server.end().await;
}

/// If a rule lets tags run at once, a rollback needs no approval either.
#[tokio::test]
async fn local_rollback_needs_no_approval_where_tags_need_none() {
    let server = TestServer::start_with(Options {
        grants: "[[projects.rules]]\npattern = \"qa-.*\"\nenvironment = \"production\"\nschedule = \"ready\"",
        ..Options::default()
    })
    .await;
    server.succeeded("release-1.4").await;
    let asked = request("POST", "/api/v1/rollback", r#"{"task":1}"#);
    let answer = over_the_socket(&server, &asked).await;
    assert!(answer.starts_with("HTTP/1.1 201"), "{answer}");
    let state = server.store.task(2).await.unwrap().state;
    assert!(matches!(state, State::Scheduled { .. }), "{state:?}");
    server.end().await;
}

/// An admin, and no other user, gives missing approvals in an emergency, visibly.
#[tokio::test]
async fn emergency_requires_an_admin_and_is_marked_everywhere() {
    let server = TestServer::start().await;
    server.succeeded("release-1.3").await;
    let task = server.waiting("release-1.4").await;
    let plan = plan_of(&task);
    let body = json!({ "plan": plan, "emergency": "the shop is down" });
    let approve = format!("tasks/{}/approve", task.id);
    let back = json!({ "task": 1, "emergency": "the shop is down" });
    let carol = Program::of(&server, "carol", Role::Approver).await;
    for (path, body) in [(approve.as_str(), &body), ("rollback", &back)] {
        let (status, answer) = carol.post(path, body.clone()).await;
        assert_eq!(status, StatusCode::FORBIDDEN, "{path}: {answer}");
    }
    let root = Program::of(&server, "root", Role::Admin).await;
    let (_, shown) = root.get(&format!("tasks/{}", task.id)).await;
    let may = shown["may"].as_array().unwrap();
    assert!(may.contains(&json!("emergency")), "{shown}");
    let blank = json!({ "plan": plan, "emergency": " " });
    let (status, _) = root.post(&approve, blank).await;
    assert_eq!(
        status,
        StatusCode::UNPROCESSABLE_ENTITY,
        "a reason is needed"
    );
    let (status, answer) = root.post(&approve, body).await;
    assert_eq!(status, StatusCode::OK, "{answer}");
    assert_eq!(answer["approvals"][0]["emergency"], "the shop is down");
    assert_eq!(answer["state"], "scheduled");
    let (status, answer) = root.post("rollback", back).await;
    assert_eq!(status, StatusCode::CREATED, "{answer}");
    assert_eq!(answer["approvals"][0]["emergency"], "the shop is down");
    let (_, list) = root.get("tasks").await;
    for line in &list["tasks"].as_array().unwrap()[..2] {
        assert_eq!(line["emergency"], true, "{line}");
    }
    let (_, audit) = root.get("audit").await;
    let whats: Vec<&str> = audit["entries"]
        .as_array()
        .unwrap()
        .iter()
        .map(|entry| entry["what"].as_str().unwrap())
        .collect();
    assert_eq!(
        whats[..2],
        ["roll back in an emergency", "approve in an emergency"]
    );
    for entry in &audit["entries"].as_array().unwrap()[..2] {
        assert!(
            entry["on"].to_string().contains("the shop is down"),
            "{entry}"
        );
    }
    let hana = Browser::of(&server, "hana", Role::Viewer).await;
    for path in ["/".to_owned(), format!("/tasks/{}", task.id)] {
        let (_, page) = hana.get(&path).await;
        assert!(page.contains("EMERGENCY"), "{path}");
    }
    let (_, page) = hana.get(&format!("/tasks/{}", task.id)).await;
    assert!(page.contains("the shop is down"));
    server.end().await;
}

/// A token that may submit only tasks that wait for approval cannot run one without.
#[tokio::test]
async fn reopening_a_ready_task_requires_the_run_right() {
    let server = TestServer::start().await;
    let alice = server.account("alice", Role::Approver, &[]).await;
    let ready = Submission {
        origin: Origin::Submitted(ManualRequest::default()),
        schedule: Schedule::Ready,
        submitter: Submitter {
            name: "alice".to_owned(),
            account: Some("alice".to_owned()),
        },
        ..submission("release-1.4")
    };
    let task = server.propose(ready).await;
    let expired = Event::Expired {
        reason: "never landed".to_owned(),
        is_final: false,
    };
    server.append(&task, vec![expired]).await;
    let submits = [Scope::Read, Scope::Submit].into_iter().collect();
    let alone = Program::with(&server, &server.token_for(&alice, submits).await);
    let (status, answer) = alone.post("tasks/1/retry", json!({})).await;
    assert_eq!(status, StatusCode::FORBIDDEN, "{answer}");
    let whole = Program::with(&server, &server.token(&alice).await);
    let (status, answer) = whole.post("tasks/1/retry", json!({})).await;
    assert_eq!(status, StatusCode::OK, "{answer}");
    server.end().await;
}

#[tokio::test]
async fn token_over_the_socket_identifies_the_user() {
    let server = TestServer::start().await;
    let vera = server.account("vera", Role::Viewer, &[]).await;
    let token = server.token(&vera).await;
    let asked = request("GET", "/api/v1/users", "").replace(
        "Connection",
        &format!("Authorization: Bearer {token}\r\nConnection"),
    );
    let answer = over_the_socket(&server, &asked).await;
    assert!(answer.starts_with("HTTP/1.1 403"), "{answer}");
    server.end().await;
}

#[tokio::test]
async fn disabled_user_loses_session_and_token_at_once() {
    let server = TestServer::start().await;
    let root = Program::of(&server, "root", Role::Admin).await;
    let account = server.account("alice", Role::Viewer, &[]).await;
    let token = Program::with(&server, &server.token(&account).await);
    let (cookie, _) = server.session(&account).await;
    let page = || async {
        let page = client().get(format!("{}/hosts", server.url));
        let page = page.header("cookie", &cookie).header("accept", "text/html");
        page.send().await.unwrap().status()
    };
    assert_eq!(page().await, StatusCode::OK);
    assert_eq!(token.get("hosts").await.0, StatusCode::OK);
    let (status, user) = root.post("users/alice", json!({ "disabled": true })).await;
    assert_eq!(status, StatusCode::OK);
    assert_eq!(user["disabled"], true);
    assert_eq!(page().await, StatusCode::SEE_OTHER);
    assert_eq!(token.get("hosts").await.0, StatusCode::UNAUTHORIZED);
    root.post("users/alice", json!({ "disabled": false })).await;
    assert_eq!(page().await, StatusCode::SEE_OTHER, "it has ended");
    assert_eq!(token.get("hosts").await.0, StatusCode::OK);
    server.end().await;
}

#[tokio::test]
async fn admin_changes_rights_and_the_change_is_audited() {
    let server = TestServer::start().await;
    let root = Program::of(&server, "root", Role::Admin).await;
    let bob = Program::of(&server, "bob", Role::Viewer).await;
    let change = json!({ "role": "admin", "groups": ["pm"] });
    let (status, _) = bob.post("users/bob", change.clone()).await;
    assert_eq!(status, StatusCode::FORBIDDEN, "nobody raises themselves");
    let (status, user) = root.post("users/bob", change).await;
    assert_eq!(status, StatusCode::OK, "{user}");
    assert_eq!(
        (user["role"].as_str(), user["groups"][0].as_str()),
        (Some("admin"), Some("pm"))
    );
    // From the next request on.
    let (status, entries) = bob.get("audit").await;
    assert_eq!(status, StatusCode::OK);
    let last = &entries["entries"][0];
    assert_eq!(last["what"], "change user");
    assert_eq!(last["on"], "bob: role admin, groups pm");
    let (status, _) = root.post("users/bob", json!({})).await;
    assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY);
    let wrong = json!({ "groups": ["@pm"] });
    let (status, _) = root.post("users/bob", wrong).await;
    assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY);
    for (program, name) in [(&root, "root"), (&bob, "bob")] {
        let out = json!({ "disabled": true });
        let (status, answer) = program.post(&format!("users/{name}"), out).await;
        assert_eq!(status, StatusCode::CONFLICT);
        assert_eq!(
            answer["error"],
            "you cannot disable yourself; ask another admin"
        );
        let (status, _) = program
            .call(Method::DELETE, &format!("users/{name}"), None)
            .await;
        assert_eq!(status, StatusCode::CONFLICT);
    }
    root.post("users/bob", json!({ "role": "viewer" })).await;
    let (status, answer) = root.post("users/root", json!({ "role": "viewer" })).await;
    assert_eq!(status, StatusCode::CONFLICT, "{answer}");
    server.end().await;
}

#[tokio::test]
async fn the_page_of_a_user_changes_their_rights() {
    let server = TestServer::start().await;
    let root = Browser::of(&server, "root", Role::Admin).await;
    let alice = Browser::of(&server, "alice", Role::Viewer).await;
    let (_, page) = root.get("/users/alice").await;
    let chosen = "<option value=\"viewer\" selected>viewer</option>";
    assert!(page.contains(chosen), "{page}");
    let fields = [("role", "approver"), ("groups", "@pm, ops")];
    let (status, _) = root.post("/users/alice/change", &fields).await;
    assert_eq!(status, StatusCode::SEE_OTHER);
    let account = server.accounts.get("alice").await.unwrap();
    assert_eq!(account.role, Role::Approver);
    assert!(account.groups.iter().eq(["ops", "pm"]));
    let (status, _) = alice.post("/users/alice/change", &fields).await;
    assert_eq!(status, StatusCode::FORBIDDEN);
    root.post("/users/alice/disable", &[]).await;
    let (_, page) = root.get("/users/alice").await;
    assert!(page.contains("Enable alice"), "{page}");
    assert_eq!(alice.get("/").await.0, StatusCode::SEE_OTHER);
    root.post("/users/alice/enable", &[]).await;
    let account = server.accounts.get("alice").await.unwrap();
    assert_eq!(account.status, tagship::identity::account::Status::Active);
    server.end().await;
}
