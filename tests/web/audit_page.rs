//! The page of the audit: its filters, its pages, and who may read it.

use jiff::Timestamp;
use reqwest::StatusCode;
use tagship::identity::account::Role;
use tagship::store::audit::{AuditAction, Ledger};

use crate::client::Browser;
use crate::server::TestServer;

fn action(by: &str, what: &str, task: Option<u64>, on: &str) -> AuditAction {
    AuditAction {
        by: by.to_owned(),
        from: "127.0.0.1".to_owned(),
        what: what.to_owned(),
        task,
        on: on.to_owned(),
        result: "done".to_owned(),
    }
}

/// The numbers of the entries that a page shows, in its order.
fn entries(page: &str) -> Vec<u64> {
    let rows = page.split("<tr id=\"entry-").skip(1);
    rows.map(|rest| rest.split('"').next().unwrap().parse().unwrap())
        .collect()
}

/// A server with three entries, and its admin.
async fn three() -> (TestServer, Browser) {
    let server = TestServer::start().await;
    let task = server.waiting("release-1.4").await.id;
    let refused = AuditAction {
        result: "refused: <b>vera</b> may not".to_owned(),
        ..action("vera", "approve", Some(task), "")
    };
    let ledger = Ledger::new(server.store.kv());
    for (entry, at) in [
        (
            action("alice", "approve", Some(task), "looks good"),
            "2026-11-20T10:00:00Z",
        ),
        (
            action("bob", "disable host", None, "web-2: its disk"),
            "2026-11-21T10:00:00Z",
        ),
        (refused, "2026-11-22T10:00:00Z"),
    ] {
        let at: Timestamp = at.parse().unwrap();
        ledger.note(entry, at).await.unwrap();
    }
    let root = Browser::of(&server, "root", Role::Admin).await;
    (server, root)
}

#[tokio::test]
async fn audit_page_filters_by_person_action_place_and_time() {
    let (server, root) = three().await;
    for (query, found) in [
        ("", &[3, 2, 1][..]),
        ("?by=alice", &[1]),
        ("?by=alic", &[]),
        ("?what=approve", &[3, 1]),
        ("?what=disable+host&by=bob", &[2]),
        ("?task=1", &[3, 1]),
        ("?on=WEB-2", &[2]),
        ("?on=production", &[3, 1]),
        ("?since=2026-11-21", &[3, 2]),
        ("?since=2026-11-21&until=2026-11-21", &[2]),
        ("?by=&what=&task=&on=&since=&until=2026-11-20", &[1]),
    ] {
        let (status, page) = root.get(&format!("/audit{query}")).await;
        assert_eq!(status, StatusCode::OK, "{query}: {page}");
        assert_eq!(entries(&page), found, "{query}");
    }
    let (_, page) = root.get("/audit?what=approve&on=production").await;
    assert!(
        page.contains("<option value=\"approve\" selected>"),
        "{page}"
    );
    assert!(page.contains("name=\"on\" value=\"production\""), "{page}");
    assert!(page.contains("&#60;b&#62;vera"), "{page}");
    assert!(page.contains("href=\"/tasks/1\""), "{page}");
    for wrong in ["?task=one", "?since=yesterday", "?colour=red"] {
        let (status, _) = root.get(&format!("/audit{wrong}")).await;
        assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY, "{wrong}");
    }
    server.end().await;
}

#[tokio::test]
async fn audit_page_continues_with_the_same_filters() {
    let server = TestServer::start().await;
    let ledger = Ledger::new(server.store.kv());
    for number in 0..130 {
        let by = if number % 2 == 0 { "alice" } else { "bob" };
        let noted = ledger.note(action(by, "log in", None, ""), server.now());
        noted.await.unwrap();
    }
    let root = Browser::of(&server, "root", Role::Admin).await;
    let (_, page) = root.get("/audit?by=alice").await;
    let first = entries(&page);
    assert_eq!((first.len(), first[0], first[49]), (50, 129, 31));
    assert!(!page.contains("Newest"), "it is the first page");
    let (_, more) = page
        .split_once("href=\"/audit?by=alice&#38;before=")
        .unwrap();
    let before = more.split('"').next().unwrap();
    let (_, page) = root.get(&format!("/audit?by=alice&before={before}")).await;
    let rest = entries(&page);
    assert_eq!((rest.len(), rest[0], rest[14]), (15, 29, 1));
    assert!(!page.contains("before="), "it is the last page");
    assert!(page.contains("href=\"/audit?by=alice\""), "{page}");
    server.end().await;
}

#[tokio::test]
async fn audit_page_is_linked_for_those_who_may_read_it() {
    let (server, root) = three().await;
    let carol = Browser::of(&server, "carol", Role::Approver).await;
    let link = "<a href=\"/audit\">";
    assert!(root.get("/hosts").await.1.contains(link));
    assert!(!carol.get("/hosts").await.1.contains(link));
    let (status, page) = carol.get("/audit").await;
    assert_eq!(status, StatusCode::FORBIDDEN);
    assert_eq!(entries(&page), [0; 0]);
    server.end().await;
}

#[tokio::test]
async fn audit_page_names_actions_in_chinese() {
    let (server, root) = three().await;
    let (status, _) = root.post("/language", &[("language", "zh")]).await;
    assert_eq!(status, StatusCode::SEE_OTHER);
    let (_, page) = root.get("/audit").await;
    assert!(
        page.contains("审批通过") && page.contains("摘除主机"),
        "{page}"
    );
    assert!(page.contains("<span class=\"notes\">disable host</span>"));
    assert!(page.contains("已拒绝"), "{page}");
    server.end().await;
}
