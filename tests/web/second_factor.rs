//! The second factor, and logging in with it: by the page, over the API, and as CODO does.

use std::sync::Arc;
use std::time::Duration;

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use tagship::base::clock::{Clock as _, ManualClock};
use tagship::identity::account::{Role, code_at};

use crate::client::{Browser, Program, client, form};
use crate::server::{Options, TestServer};

/// Alice with a password and a second factor, on a clock that moves by hand.
async fn with_factor() -> (
    TestServer,
    Arc<ManualClock>,
    tagship::base::secret::SecretString,
) {
    let clock = Arc::new(ManualClock::at("2026-11-21T15:00:00Z".parse().unwrap()));
    let server = TestServer::start_with(Options {
        clock: clock.clone(),
        ..Options::default()
    })
    .await;
    let account = server.account("alice", Role::Approver, &[]).await;
    server.password(&account, "correct horse").await;
    let alice = Program::with(&server, &server.token(&account).await);
    let (status, begun) = alice.post("users/alice/totp/begin", json!({})).await;
    assert_eq!(status, StatusCode::CREATED);
    let secret = tagship::base::secret::SecretString::from(begun["secret"].as_str().unwrap());
    assert!(begun["uri"].as_str().unwrap().contains("tagship"));
    let confirm = json!({ "code": code_at(&secret, clock.now()).unwrap() });
    let (status, _) = alice.post("users/alice/totp/confirm", confirm).await;
    assert_eq!(status, StatusCode::NO_CONTENT);
    clock.advance(Duration::from_secs(30));
    (server, clock, secret)
}

#[tokio::test]
async fn the_page_draws_the_secret_and_a_wrong_code_does_not_cost_it() {
    let server = TestServer::start().await;
    let alice = Browser::of(&server, "alice", Role::Approver).await;
    let (status, page) = alice.post("/users/alice/totp/begin", &[]).await;
    assert_eq!(status, StatusCode::OK);
    let secret = page.split_once("<code class=\"secret\">").unwrap().1;
    let secret = secret.split_once('<').unwrap().0.to_owned();
    let drawn = page
        .split_once(" d=\"")
        .unwrap()
        .1
        .split_once('"')
        .unwrap()
        .0;
    let shown = format!("otpauth://totp/tagship:alice?secret={secret}&issuer=tagship");
    assert_eq!(
        drawn,
        tagship::identity::account::Qr::of(&shown).unwrap().path()
    );
    let wrong = [("code", "000000")];
    let (status, page) = alice.post("/users/alice/totp/confirm", &wrong).await;
    assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY);
    assert!(page.contains("does not match the secret"), "{page}");
    assert!(!page.contains(&secret), "it is shown once");
    let secret = tagship::base::secret::SecretString::from(secret);
    let code = code_at(&secret, server.now()).unwrap();
    let (status, _) = alice
        .post("/users/alice/totp/confirm", &[("code", &code)])
        .await;
    assert_eq!(status, StatusCode::SEE_OTHER);
    let account = server.accounts.get("alice").await.unwrap();
    assert!(account.second_factor.is_some());
    server.end().await;
}

#[tokio::test]
async fn the_page_asks_for_the_code_in_a_second_step() {
    let (server, clock, secret) = with_factor().await;
    let send = async |path: &str, cookie: &str, fields: &[(&str, &str)]| {
        let request = client().post(format!("{}{path}", server.url));
        let request = request
            .header("cookie", cookie)
            .header("accept", "text/html");
        form(request, fields).send().await.unwrap()
    };
    let fields = [
        ("name", "alice"),
        ("password", "correct horse"),
        ("next", "/hosts"),
    ];
    let first = send("/login", "", &fields).await;
    assert_eq!(first.headers()["location"], "/login/code?next=%2Fhosts");
    let cookie = first.headers()["set-cookie"].to_str().unwrap();
    let halfway = cookie.split(';').next().unwrap().to_owned();
    assert!(!cookie.contains("tagship_session"), "{cookie}");
    // A half-way login is no session, under any cookie name.
    let value = halfway.split_once('=').unwrap().1;
    for cookie in [halfway.clone(), format!("tagship_session={value}")] {
        let page = client().get(format!("{}/hosts", server.url));
        let page = page.header("cookie", cookie).header("accept", "text/html");
        assert_eq!(page.send().await.unwrap().status(), StatusCode::SEE_OTHER);
    }
    let wrong = send("/login/code", &halfway, &[("code", "000000")]).await;
    assert_eq!(wrong.status(), StatusCode::UNAUTHORIZED);
    let nobody = code_at(&secret, clock.now()).unwrap();
    let without = send("/login/code", "", &[("code", &nobody)]).await;
    assert_eq!(without.headers()["location"], "/login");
    let code = [("code", nobody.as_str()), ("next", "/hosts")];
    let second = send("/login/code", &halfway, &code).await;
    assert_eq!(second.headers()["location"], "/hosts");
    let cookies: Vec<_> = second.headers().get_all("set-cookie").iter().collect();
    let session = cookies[0].to_str().unwrap().split(';').next().unwrap();
    let page = client().get(format!("{}/hosts", server.url));
    let page = page.header("cookie", session).send().await.unwrap();
    assert_eq!(page.status(), StatusCode::OK);
    server.end().await;
}

#[tokio::test]
async fn codo_login_answers_with_codo_codes() {
    let (server, clock, secret) = with_factor().await;
    let log_in = async |body: Value| {
        let request = client().post(format!("{}/api/accounts/login/", server.url));
        // Some of its clients send no content type.
        let response = request.body(body.to_string()).send().await.unwrap();
        let cookie = response.headers().get("set-cookie").cloned();
        let answer: Value = response.json().await.unwrap();
        (answer, cookie)
    };
    let of = |dynamic: Value| json!({ "username": "alice", "password": "correct horse", "dynamic": dynamic });
    let code = |answer: &Value| answer["code"].as_i64().unwrap();
    let empty = log_in(json!({ "username": "alice" })).await.0;
    assert_eq!(code(&empty), -1);
    let wrong = log_in(json!({ "username": "alice", "password": "x" }))
        .await
        .0;
    assert_eq!(code(&wrong), -4);
    let unknown = log_in(json!({ "username": "zoe", "password": "x" }))
        .await
        .0;
    assert_eq!(unknown, wrong);
    assert_eq!(code(&log_in(of(json!(""))).await.0), 1);
    assert_eq!(code(&log_in(of(Value::Null)).await.0), 1);
    assert_eq!(code(&log_in(of(json!("000000"))).await.0), -5);
    let now = code_at(&secret, clock.now()).unwrap();
    let (answer, cookie) = log_in(of(json!(now))).await;
    assert_eq!((code(&answer), &answer["msg"]), (0, &json!("登录成功")));
    assert_eq!(answer["username"], "alice");
    let key = answer["auth_key"].as_str().unwrap();
    let cookie = cookie.unwrap();
    let cookie = cookie.to_str().unwrap();
    assert!(cookie.starts_with(&format!("auth_key={key};")) && cookie.contains("Max-Age=86400"));
    assert_eq!(code(&log_in(of(json!(now))).await.0), -5, "a replay");
    // It is no session of the pages, and ends after a day.
    let page = client().get(format!("{}/api/v1/tasks", server.url));
    let page = page.header("cookie", format!("tagship_session={key}; auth_key={key}"));
    assert_eq!(
        page.send().await.unwrap().status(),
        StatusCode::UNAUTHORIZED
    );
    let speaks = async || {
        let of = server.sessions.of_auth_key(&key.into()).await.unwrap();
        of.map(|account| account.name)
    };
    assert_eq!(speaks().await.as_deref(), Some("alice"));
    clock.advance(Duration::from_secs(24 * 3600));
    assert_eq!(speaks().await, None);
    server.end().await;
}

#[tokio::test]
async fn a_second_factor_is_reset_by_a_code_of_it_or_an_admin() {
    let (server, clock, secret) = with_factor().await;
    let account = server.accounts.get("alice").await.unwrap();
    let alice = Program::with(&server, &server.token(&account).await);
    let other = Program::of(&server, "bob", Role::Approver).await;
    let (status, _) = other.post("users/alice/totp/reset", json!({})).await;
    assert_eq!(status, StatusCode::FORBIDDEN);
    let (status, answer) = alice.post("users/alice/totp/reset", json!({})).await;
    assert_eq!(status, StatusCode::FORBIDDEN, "{answer}");
    let code = json!({ "code": code_at(&secret, clock.now()).unwrap() });
    let (status, _) = alice.post("users/alice/totp/reset", code).await;
    assert_eq!(status, StatusCode::NO_CONTENT);
    alice.post("users/alice/totp/begin", json!({})).await;
    let root = Program::of(&server, "root", Role::Admin).await;
    let (status, _) = root.post("users/alice/totp/reset", json!({})).await;
    assert_eq!(status, StatusCode::NO_CONTENT);
    server.end().await;
}

#[tokio::test]
async fn foreign_page_cannot_log_a_user_in() {
    let server = TestServer::start().await;
    for path in ["/api/accounts/login/", "/login/code"] {
        let request = client().request(Method::POST, format!("{}{path}", server.url));
        let request = request.header("origin", "https://evil.example.com");
        let response = request.body("{}").send().await.unwrap();
        assert_eq!(response.status(), StatusCode::FORBIDDEN, "{path}");
    }
    server.end().await;
}
