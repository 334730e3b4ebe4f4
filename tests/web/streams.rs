//! Server-sent events.

use std::time::Duration;

use reqwest::{Method, Response, StatusCode};
use serde_json::Value;
use tagship::domain::task::Event;
use tagship::engine::executor::effects::StepLogs as _;
use tagship::identity::account::Role;
use tagship::server::WebLimits;

use crate::client::Browser;
use crate::logs::until;
use crate::server::{Options, TestServer};

async fn open(browser: &Browser, path: &str) -> Response {
    let response = browser.ask(Method::GET, path).send().await.unwrap();
    assert_eq!(response.status(), StatusCode::OK);
    assert_eq!(response.headers()["content-type"], "text/event-stream");
    response
}

/// The data of the last received event.
fn data(text: &str) -> Value {
    let line = text
        .lines()
        .rfind(|line| line.starts_with("data:"))
        .unwrap();
    serde_json::from_str(&line["data:".len()..]).unwrap()
}

#[tokio::test]
async fn stream_reports_what_has_changed() {
    let server = TestServer::start().await;
    let task = server.waiting("release-1.4").await;
    let alice = Browser::of(&server, "alice", Role::Approver).await;
    let mut stream = open(&alice, &format!("/tasks/{}/events", task.id)).await;
    let first = until(&mut stream, "\n\n").await;
    let first = if first.contains("event:task") {
        first
    } else {
        until(&mut stream, "id:").await
    };
    let now = data(&first);
    assert_eq!(now["state"], "waiting");
    assert!(first.contains(&format!("id:{}", task.events)));
    let event = Event::Rejected {
        by: "alice".to_owned(),
        reason: "<script>alert(1)</script>".to_owned(),
    };
    server.append(&task, vec![event]).await;
    let now = data(&until(&mut stream, "\"rejected\"").await);
    assert_eq!(now["state"], "rejected");
    assert!(
        now["title"]
            .as_str()
            .unwrap()
            .starts_with("rejected: release-1.4")
    );
    let parts = now["parts"].as_array().unwrap();
    let statement = parts[0][1].as_str().unwrap();
    assert_eq!(parts[0][0], "statement");
    assert!(
        statement.contains("was rejected by alice: &#60;script&#62;"),
        "{statement}"
    );
    server.end().await;
}

#[tokio::test]
async fn stream_resumes_at_the_browsers_last_event() {
    let server = TestServer::start().await;
    let task = server.running("release-1.4").await;
    let alice = Browser::of(&server, "alice", Role::Approver).await;
    let log = server.logs.step(task.id, "web-2", "stage.sync", 1);
    log.write_at(0, b"one\n");
    let path = format!("/tasks/{}/events", task.id);
    let request = alice
        .ask(Method::GET, &path)
        .header("last-event-id", task.events.to_string());
    let mut stream = request.send().await.unwrap();
    let text = until(&mut stream, "event:log").await;
    assert!(!text.contains("event:task"), "nothing has changed: {text}");
    let text = if text.contains("data:{") {
        text
    } else {
        until(&mut stream, "data:{").await
    };
    let shown = data(&text);
    assert_eq!(shown["replace"], true);
    assert_eq!(shown["text"], "web-2 stage.sync| one\n");
    log.write_at(4, b"two\n");
    let shown = data(&until(&mut stream, "two").await);
    assert_eq!(shown["replace"], false);
    assert_eq!(shown["text"], "web-2 stage.sync| two\n");
    server.end().await;
}

#[tokio::test]
async fn stream_without_parts_only_signals_task_changes() {
    let server = TestServer::start().await;
    let task = server.waiting("release-1.4").await;
    let alice = Browser::of(&server, "alice", Role::Approver).await;
    let path = format!("/tasks/{}/events?parts=false", task.id);
    let mut stream = open(&alice, &path).await;
    let first = until(&mut stream, "\n\n").await;
    assert_eq!(data(&first), task.id, "what changed before is seen then");
    let log = server.logs.step(task.id, "web-2", "stage.sync", 1);
    log.write_at(0, b"one\n");
    let event = Event::Rejected {
        by: "alice".to_owned(),
        reason: "no".to_owned(),
    };
    server.append(&task, vec![event]).await;
    let next = until(&mut stream, "\n\n").await;
    assert!(next.contains("event:task"), "{next}");
    assert_eq!(data(&next), task.id);
    server.end().await;
}

#[tokio::test]
async fn end_of_a_task_is_streamed_at_once() {
    let server = TestServer::start_with(Options {
        limits: WebLimits {
            together: Duration::from_secs(3600),
            ..WebLimits::default()
        },
        ..Options::default()
    })
    .await;
    let alice = Browser::of(&server, "alice", Role::Approver).await;
    for parts in ["true", "false"] {
        let task = server.waiting("release-1.4").await;
        let path = format!("/tasks/{}/events?parts={parts}", task.id);
        let mut stream = open(&alice, &path).await;
        until(&mut stream, "event:task").await;
        let event = Event::Rejected {
            by: "alice".to_owned(),
            reason: "no".to_owned(),
        };
        server.append(&task, vec![event]).await;
        until(&mut stream, "event:task").await;
    }
    server.end().await;
}

#[tokio::test]
async fn list_stream_reports_new_tasks() {
    let server = TestServer::start().await;
    let vera = Browser::of(&server, "vera", Role::Viewer).await;
    let mut stream = open(&vera, "/events").await;
    until(&mut stream, "retry:").await;
    let mut ids = Vec::new();
    // The stream may not watch yet when its head has arrived.
    while ids.is_empty() {
        server.proposed(&format!("release-{}", ids.len())).await;
        let next = tokio::time::timeout(Duration::from_secs(1), until(&mut stream, "data:[")).await;
        ids = next.map(|text| vec![text]).unwrap_or_default();
    }
    server.end().await;
}

#[tokio::test]
async fn idle_stream_sends_keepalives_and_ends_on_time() {
    let server = TestServer::start_with(Options {
        limits: WebLimits {
            heartbeat: Duration::from_millis(20),
            stream: Duration::from_millis(600),
            ..WebLimits::default()
        },
        ..Options::default()
    })
    .await;
    let task = server.waiting("release-1.4").await;
    let alice = Browser::of(&server, "alice", Role::Approver).await;
    let stream = open(&alice, &format!("/tasks/{}/events", task.id)).await;
    let text = stream.text().await.unwrap();
    let heartbeats = text.lines().filter(|line| *line == ":").count();
    assert!(heartbeats > 2, "{text}");
    server.end().await;
}

#[tokio::test]
async fn streams_are_counted_and_bounded() {
    let server = TestServer::start_with(Options {
        limits: WebLimits {
            streams: 1,
            ..WebLimits::default()
        },
        ..Options::default()
    })
    .await;
    let task = server.waiting("release-1.4").await;
    let alice = Browser::of(&server, "alice", Role::Approver).await;
    let path = format!("/tasks/{}/events", task.id);
    let first = open(&alice, &path).await;
    let second = alice.ask(Method::GET, &path).send().await.unwrap();
    assert_eq!(second.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert!(second.headers().contains_key("retry-after"));
    drop(first);
    // Its slot is free once the server has seen that the reader is gone.
    let deadline = tokio::time::Instant::now() + Duration::from_secs(20);
    loop {
        let again = alice.ask(Method::GET, &path).send().await.unwrap();
        if again.status() == StatusCode::OK {
            break;
        }
        assert!(tokio::time::Instant::now() < deadline);
        tokio::task::yield_now().await;
    }
    server.end().await;
}

#[tokio::test]
async fn single_user_cannot_take_all_streams() {
    let server = TestServer::start_with(Options {
        limits: WebLimits {
            streams_each: 1,
            ..WebLimits::default()
        },
        ..Options::default()
    })
    .await;
    let task = server.waiting("release-1.4").await;
    let path = format!("/tasks/{}/events", task.id);
    let alice = Browser::of(&server, "alice", Role::Approver).await;
    let bob = Browser::of(&server, "bob", Role::Approver).await;
    let _first = open(&alice, &path).await;
    let second = alice.ask(Method::GET, &path).send().await.unwrap();
    assert_eq!(second.status(), StatusCode::SERVICE_UNAVAILABLE);
    open(&bob, &path).await;
    server.end().await;
}

/// Otherwise a log could be read with a token that was revoked long ago.
#[tokio::test]
async fn a_followed_log_is_cut_after_a_while() {
    let server = TestServer::start_with(Options {
        limits: WebLimits {
            stream: Duration::from_millis(200),
            ..WebLimits::default()
        },
        ..Options::default()
    })
    .await;
    let task = server.running("release-1.4").await;
    let alice = Browser::of(&server, "alice", Role::Viewer).await;
    let path = format!("/tasks/{}/log?follow=true", task.id);
    let log = alice.ask(Method::GET, &path).send().await.unwrap();
    assert_eq!(log.status(), StatusCode::OK);
    assert!(log.text().await.is_err(), "it is cut, which is not its end");
    server.end().await;
}

#[tokio::test]
async fn agent_shutdown_ends_streams() {
    let mut server = TestServer::start_with(Options {
        limits: WebLimits {
            grace: Duration::from_secs(3600),
            ..WebLimits::default()
        },
        ..Options::default()
    })
    .await;
    let task = server.running("release-1.4").await;
    let alice = Browser::of(&server, "alice", Role::Approver).await;
    let events = open(&alice, &format!("/tasks/{}/events", task.id)).await;
    let list = open(&alice, "/events").await;
    let path = format!("/tasks/{}/log?follow=true", task.id);
    let log = alice.ask(Method::GET, &path).send().await.unwrap();
    server.ask_to_end();
    tokio::time::timeout(Duration::from_secs(20), server.ended())
        .await
        .unwrap();
    for stream in [events, list, log] {
        stream.text().await.unwrap();
    }
    let refused = alice.ask(Method::GET, "/").send().await;
    assert!(refused.is_err_and(|error| error.is_connect()));
}
