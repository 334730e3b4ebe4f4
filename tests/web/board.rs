//! The board: what it shows to whom, in which language, and how it follows what happens.

use std::time::Duration;

use reqwest::{Method, Response, StatusCode};
use serde_json::{Value, json};
use tagship::domain::host::{HostState, ReleaseId};
use tagship::domain::task::{Event, Outcome, StepResult};
use tagship::identity::account::Role;

use crate::client::{Browser, Program};
use crate::server::{Options, TestServer, at, ended};

/// A second project, and a user who may see only `qa` of the first.
const MORE: &str = r#"
[[projects]]
name = "till"
repository = "/srv/git/till.git"
[projects.environments.production]
group = "web"
deploy_to = "/srv/till"
[[projects.rules]]
pattern = "till-*"
environment = "production"
[[freezes]]
name = "always"
projects = ["till"]
from = "2026-01-01 00:00"
until = "2099-01-01 00:00"
[[grants]]
to = ["quinn"]
role = "viewer"
project = "shop"
environment = "qa"
"#;

async fn server() -> TestServer {
    TestServer::start_with(Options {
        grants: MORE,
        ..Options::default()
    })
    .await
}

/// Asserts that the page has these texts, in this order.
#[track_caller]
fn in_order(page: &str, texts: &[&str]) {
    let mut from = 0;
    for text in texts {
        let found = page[from..].find(text);
        from += found.unwrap_or_else(|| panic!("no {text:?} after {from} in {page}")) + text.len();
    }
}

#[tokio::test]
async fn board_begins_with_what_its_reader_can_approve() {
    let server = server().await;
    server.succeeded("release-1.1").await;
    server.running("release-1.2").await;
    server.waiting("release-1.3").await;
    server.waiting("release-1.4").await;
    server.proposed("release-1.5").await;
    let alice = Browser::of(&server, "alice", Role::Approver).await;
    let (status, page) = alice.get("/").await;
    assert_eq!(status, StatusCode::OK);
    in_order(
        &page,
        &[
            "<title>(2) Board",
            "You can approve 2.",
            "For you",
            "release-1.3",
            "Round prices at the till",
            "first release",
            "needs 1 approval",
            "release-1.4",
            "In progress",
            "<progress value=\"2\" max=\"11\"",
            "stage 2 of 3, stage: 0 of 3 hosts done",
            "Next",
            "release-1.5",
            "id=\"live\"",
            "release-1.1",
            "Recent",
        ],
    );
    // Who submitted them, and who may only look, has nothing to do.
    for (name, role) in [("bob", Role::Approver), ("vera", Role::Viewer)] {
        let (_, page) = Browser::of(&server, name, role).await.get("/").await;
        in_order(
            &page,
            &[
                "<title>Board",
                "Nothing waits for you.",
                "Waiting for others",
                "needs 1 approval",
            ],
        );
        assert!(!page.contains("you can approve"), "{page}");
    }
    server.end().await;
}

#[tokio::test]
async fn board_is_in_the_readers_language() {
    let server = server().await;
    let task = server.waiting("release-1.3").await;
    server.running("release-1.4").await;
    let alice = Browser::of(&server, "alice", Role::Approver).await;
    let get = async |path: &str| {
        let request = alice.ask(Method::GET, path);
        let answer = request.header("accept-language", "zh-CN").send().await;
        answer.unwrap().text().await.unwrap()
    };
    let page = get("/").await;
    in_order(
        &page,
        &[
            "有 1 个上线单等您审批。",
            "待我处理",
            "待审批",
            "首次发布",
            "还需 1 人审批",
            "第 2 / 3 阶段 stage：3 台主机已完成 0 台",
            "线上版本",
        ],
    );
    assert!(!page.contains("approv"), "{page}");
    let rejected = Event::Rejected {
        by: "alice".to_owned(),
        reason: "no".to_owned(),
    };
    server.append(&task, vec![rejected]).await;
    let page = get("/tasks").await;
    in_order(
        &page,
        &[
            "placeholder=\"tag、标题",
            "已驳回",
            "操作人：alice，原因：no",
        ],
    );
    server.end().await;
}

#[tokio::test]
async fn environment_shows_release_next_task_and_health() {
    let server = server().await;
    server.succeeded("release-1.1").await;
    let failed = server.running("release-1.2").await;
    let message = "web-2: sync: no space".to_owned();
    server
        .append(
            &failed,
            vec![
                ended(at(1, 1, 0), StepResult::Stopped),
                Event::Finished(Outcome::Failed { message }),
            ],
        )
        .await;
    server.waiting("release-1.3").await;
    server.disable_a_host("disk").await;
    let store = &server.store;
    let live = store.live("shop", "production").await.unwrap();
    let elsewhere = HostState {
        live: Some(ReleaseId("/srv/old".to_owned())),
        ..HostState::default()
    };
    let place = ("shop", "production", "web-1");
    store
        .note_host_state(place, &live["web-1"], &elsewhere, server.now())
        .await
        .unwrap();
    let vera = Browser::of(&server, "vera", Role::Viewer).await;
    let (_, page) = vera.get("/?project=shop&environment=production").await;
    in_order(
        &page,
        &[
            "id=\"live\"",
            "shop <span class=\"muted\">production",
            "release-1.1",
            "since ",
            "bob",
            "Drift on web-1",
            "web-3 is disabled",
            "Next",
            "release-1.3",
            "Last task",
            "release-1.2",
            "failed",
            "Failed",
            "release-1.2",
            "web-2: sync: no space",
            "Recent",
            "release-1.1",
        ],
    );
    assert!(!page.contains(">qa<"), "{page}");
    let (_, page) = vera.get("/?project=till").await;
    in_order(
        &page,
        &[
            "till",
            "Nothing is live.",
            "Releases are frozen until 2099-01-01",
        ],
    );
    server.end().await;
}

#[tokio::test]
async fn rollback_is_marked_on_the_board() {
    let server = server().await;
    let first = server.succeeded("release-1.1").await;
    server.succeeded("release-1.2").await;
    let root = Program::of(&server, "root", Role::Admin).await;
    let (status, _) = root.post("rollback", json!({ "task": first.id })).await;
    assert_eq!(status, StatusCode::CREATED);
    let (_, board) = root.get("status").await;
    let groups = ["for_you", "waiting", "running", "next"];
    let tasks = groups
        .iter()
        .flat_map(|group| board[group]["tasks"].as_array().unwrap());
    let marks: Vec<&Value> = tasks.map(|task| &task["rollback"]).collect();
    assert_eq!(marks, [&json!(true)], "{board}");
    let vera = Browser::of(&server, "vera", Role::Viewer).await;
    let (_, page) = vera.get("/").await;
    in_order(
        &page,
        &["<span class=\"badge warn\">rollback</span>", "release-1.1"],
    );
    server.end().await;
}

#[tokio::test]
async fn board_shows_only_what_its_reader_may_see() {
    let server = server().await;
    server.succeeded("release-1.1").await;
    server.waiting("release-1.2").await;
    let quinn = Browser::of(&server, "quinn", Role::None).await;
    for path in ["/", "/tasks"] {
        let (status, page) = quinn.get(path).await;
        assert_eq!(status, StatusCode::OK);
        for hidden in ["release-", "production", ">till", "waiting <"] {
            assert!(!page.contains(hidden), "{path}: {hidden} in {page}");
        }
    }
    let account = server.accounts.get("quinn").await.unwrap();
    let program = Program::with(&server, &server.token(&account).await);
    let (_, board) = program.get("status").await;
    let places: Vec<&str> = board["environments"]
        .as_array()
        .unwrap()
        .iter()
        .map(|place| place["environment"].as_str().unwrap())
        .collect();
    assert_eq!(places, ["qa"]);
    for group in ["for_you", "waiting", "running", "next", "failed", "recent"] {
        assert_eq!(board[group], json!({ "total": 0, "tasks": [] }), "{group}");
    }
    server.end().await;
}

#[tokio::test]
async fn filters_are_links_with_counts() {
    let server = server().await;
    server.waiting("release-1.1").await;
    server.waiting("release-1.2").await;
    server.running("release-1.3").await;
    let vera = Browser::of(&server, "vera", Role::Viewer).await;
    let (_, page) = vera.get("/?project=shop").await;
    for link in [
        "href=\"/?project=shop\" aria-current=\"true\">shop <span class=\"count\">3</span>",
        "href=\"/?project=till\">till <span class=\"count\">0</span>",
        "href=\"/?project=shop&#38;environment=production\">production <span class=\"count\">3</span>",
        "href=\"/?project=shop&#38;environment=qa\">qa <span class=\"count\">0</span>",
    ] {
        assert!(page.contains(link), "no {link} in {page}");
    }
    let (_, page) = vera.get("/tasks?words=release&state=waiting").await;
    for link in [
        "href=\"/tasks?words=release\">All</a>",
        "href=\"/tasks?state=waiting&#38;words=release\" aria-current=\"true\">waiting <span class=\"count\">2</span>",
        "href=\"/tasks?state=running&#38;words=release\">running <span class=\"count\">1</span>",
    ] {
        assert!(page.contains(link), "no {link} in {page}");
    }
    assert!(page.contains(&format!("placeholder=\"{}\"", tagship::store::SEARCHED)));
    server.end().await;
}

/// The data of the next event `parts`: the title, and the HTML of the parts by their ids.
async fn parts(stream: &mut Response) -> Value {
    let mut all = Vec::new();
    // An event may arrive in several pieces, also within a character.
    while !(all.ends_with(b"\n\n") && String::from_utf8_lossy(&all).contains("event:parts")) {
        let chunk = tokio::time::timeout(Duration::from_secs(20), stream.chunk()).await;
        all.extend(chunk.unwrap().unwrap().expect("a stream without an end"));
    }
    let text = String::from_utf8(all).unwrap();
    let line = text
        .lines()
        .rfind(|line| line.starts_with("data:"))
        .unwrap();
    serde_json::from_str(&line["data:".len()..]).unwrap()
}

fn ids(parts: &Value) -> Vec<&str> {
    let parts = parts["parts"].as_array().unwrap().iter();
    parts.map(|part| part[0].as_str().unwrap()).collect()
}

#[tokio::test]
async fn board_stream_sends_the_parts_that_have_changed() {
    let server = server().await;
    let task = server.waiting("release-1.1").await;
    let alice = Browser::of(&server, "alice", Role::Approver).await;
    let request = alice.ask(Method::GET, "/events?page=board&project=shop");
    let mut stream = request.send().await.unwrap();
    assert_eq!(stream.status(), StatusCode::OK);
    let first = parts(&mut stream).await;
    assert_eq!(first["title"], "(1) Board");
    assert_eq!(ids(&first), ["board-now", "board-live", "board-ended"]);
    server.disable_a_host("disk").await;
    let then = parts(&mut stream).await;
    assert_eq!(ids(&then), ["board-live"], "nothing else has changed");
    assert!(then.to_string().contains("web-3 is disabled"), "{then}");
    let rejected = Event::Rejected {
        by: "bob".to_owned(),
        reason: "<b>no".to_owned(),
    };
    server.append(&task, vec![rejected]).await;
    let then = parts(&mut stream).await;
    assert_eq!(then["title"], "Board");
    assert!(then.to_string().contains("by bob: &#60;b&#62;no"), "{then}");
    server.end().await;
}

#[tokio::test]
async fn list_stream_sends_the_filtered_list() {
    let server = server().await;
    server.waiting("release-1.1").await;
    let vera = Browser::of(&server, "vera", Role::Viewer).await;
    let request = vera.ask(Method::GET, "/events?page=tasks&tag=release-1");
    let mut stream = request.send().await.unwrap();
    assert!(parts(&mut stream).await.to_string().contains("release-1.1"));
    server.waiting("release-1.2").await;
    let then = parts(&mut stream).await;
    assert_eq!(ids(&then), ["list"]);
    assert!(then.to_string().contains("release-1.2"), "{then}");
    for query in [
        "page=none",
        "page=board&page=tasks",
        "project=shop",
        "page=board&state=failed",
    ] {
        let (status, _) = vera.get(&format!("/events?{query}")).await;
        assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY, "{query}");
    }
    server.end().await;
}
