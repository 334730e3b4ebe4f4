//! Connections and bodies that are slow, cut or too large.

use std::time::Duration;

use reqwest::{Method, StatusCode};
use serde_json::json;
use tagship::identity::account::Role;
use tagship::server::WebLimits;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::client::{Browser, Program, assert_error, both, client, form};
use crate::server::{Options, TestServer};

async fn impatient() -> TestServer {
    TestServer::start_with(Options {
        limits: WebLimits {
            head: Duration::from_millis(100),
            body: Duration::from_millis(100),
            ..WebLimits::default()
        },
        ..Options::default()
    })
    .await
}

#[tokio::test]
async fn incomplete_request_head_is_cut_off() {
    let server = impatient().await;
    let mut socket = TcpStream::connect(&server.host).await.unwrap();
    socket
        .write_all(b"GET / HTTP/1.1\r\nHost: x\r\nX-Slow: ")
        .await
        .unwrap();
    let mut answer = Vec::new();
    let read = socket.read_to_end(&mut answer);
    let ended = tokio::time::timeout(Duration::from_secs(20), read).await;
    // With or without a 408, as long as it ends.
    let _ = ended.expect("the connection is cut");
    server.end().await;
}

#[tokio::test]
async fn incomplete_request_body_is_given_up() {
    let server = impatient().await;
    let mut socket = TcpStream::connect(&server.host).await.unwrap();
    let head = "POST /login HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Type: application/x-www-form-urlencoded\r\nContent-Length: 30\r\n\r\nname=a";
    socket.write_all(head.as_bytes()).await.unwrap();
    let mut answer = String::new();
    let read = socket.read_to_string(&mut answer);
    let ended = tokio::time::timeout(Duration::from_secs(20), read).await;
    ended.expect("an answer").unwrap();
    assert!(answer.starts_with("HTTP/1.1 408"), "{answer}");
    server.end().await;
}

#[tokio::test]
async fn request_bodies_are_bounded_and_parsed() {
    let server = TestServer::start().await;
    let root = Program::of(&server, "root", Role::Admin).await;
    let long = json!({ "name": "x".repeat(70_000), "role": "viewer" });
    let (status, _) = root.post("users", long).await;
    assert_eq!(status, StatusCode::PAYLOAD_TOO_LARGE);
    for wrong in [
        json!({ "name": "x", "role": "king" }),
        json!({ "name": "x", "role": "viewer", "colour": "red" }),
        json!(["x"]),
    ] {
        let (status, answer) = root.post("users", wrong).await;
        assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY);
        assert_error(&answer, "the body is invalid");
    }
    let request = root
        .ask(Method::POST, "users")
        .body("{")
        .header("content-type", "application/json");
    assert_eq!(
        request.send().await.unwrap().status(),
        StatusCode::UNPROCESSABLE_ENTITY
    );
    let request = root
        .ask(Method::POST, "users")
        .body("{}")
        .header("content-type", "text/plain");
    assert_eq!(
        request.send().await.unwrap().status(),
        StatusCode::UNSUPPORTED_MEDIA_TYPE
    );
    let alice = Browser::of(&server, "alice", Role::Approver).await;
    let fields = [("csrf", alice.csrf.as_str()), ("colour", "red")];
    let request = form(alice.ask(Method::POST, "/tasks/1/stop"), &fields);
    assert_eq!(
        request.send().await.unwrap().status(),
        StatusCode::UNPROCESSABLE_ENTITY
    );
    server.end().await;
}

#[tokio::test]
async fn unknown_route_or_method_is_named() {
    let server = TestServer::start().await;
    let root = Program::of(&server, "root", Role::Admin).await;
    let (status, answer) = root.get("taks").await;
    assert_eq!(status, StatusCode::NOT_FOUND);
    assert_error(&answer, "GET /api/v1/taks");
    let request = root.ask(Method::PUT, "tasks").send().await.unwrap();
    assert_eq!(request.status(), StatusCode::METHOD_NOT_ALLOWED);
    assert_eq!(request.headers()["allow"], "GET, HEAD, POST, DELETE");
    let alice = Browser::of(&server, "alice", Role::Approver).await;
    let (status, page) = alice.get("/taks").await;
    assert_eq!(status, StatusCode::NOT_FOUND);
    assert!(page.contains("<h1>Not found</h1>"));
    server.end().await;
}

#[tokio::test]
async fn health_and_metrics_are_served() {
    let server = TestServer::start().await;
    server.waiting("release-1.4").await;
    server.succeeded("release-1.3").await;
    let get = async |path: &str| {
        let url = format!("{}/{path}", server.url);
        both(client().get(url).send().await.unwrap()).await
    };
    assert_eq!(get("healthz").await, (StatusCode::OK, "ok\n".to_owned()));
    let (status, metrics) = get("metrics").await;
    assert_eq!(status, StatusCode::OK);
    assert!(
        metrics.contains("tagship_tasks{state=\"waiting\"} 1\n"),
        "{metrics}"
    );
    assert!(
        metrics.contains("tagship_web_requests_total{status=\"2xx\"} 1\n"),
        "{metrics}"
    );
    assert!(metrics.contains("tagship_uptime_seconds "));
    let head = client()
        .head(format!("{}/healthz", server.url))
        .send()
        .await
        .unwrap();
    assert_eq!(head.status(), StatusCode::OK);
    server.end().await;
}

#[tokio::test]
async fn excess_connections_wait_for_a_free_slot() {
    let server = TestServer::start_with(Options {
        limits: WebLimits {
            connections: 1,
            ..WebLimits::default()
        },
        ..Options::default()
    })
    .await;
    let first = TcpStream::connect(&server.host).await.unwrap();
    let url = format!("{}/healthz", server.url);
    let second = tokio::spawn(async move { client().get(url).send().await.unwrap().status() });
    drop(first);
    let second = tokio::time::timeout(Duration::from_secs(20), second).await;
    assert_eq!(second.unwrap().unwrap(), StatusCode::OK);
    server.end().await;
}
