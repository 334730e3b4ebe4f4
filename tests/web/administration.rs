//! The pages around releases, in both languages: people, hook log, hosts, templates, submission,
//! rollback and projects.

use reqwest::{Method, StatusCode};
use tagship::base::language::Language;
use tagship::domain::host::{HostState, ReleaseId};
use tagship::domain::task::{Event, Outcome, StepResult};
use tagship::identity::account::Role;
use tagship::store::HookOutcome;

use crate::client::{Browser, both};
use crate::server::{COMMIT, Options, TestServer, at, began, ended, staged};

/// Two freezes: one that is always in force, one in an environment that does not exist here.
const FREEZES: &str = r#"
[[freezes]]
name = "fair"
reason = "trade fair"
environments = ["qa"]
from = "00:00"
until = "00:00"
[[freezes]]
name = "elsewhere"
projects = ["shop"]
environments = ["production"]
from = "2027-12-24 18:00"
until = "2027-12-27"
[[grants]]
to = ["quinn"]
role = "viewer"
project = "shop"
environment = "qa"
"#;

async fn server() -> TestServer {
    TestServer::start_with(Options {
        grants: FREEZES,
        ..Options::default()
    })
    .await
}

/// A task that fails on its second host before any host switches.
async fn failed(server: &TestServer, tag: &str) {
    let task = server.running(tag).await;
    let message = "web-2: sync: rsync ended with 12".to_owned();
    let failed = StepResult::Failed {
        message: message.clone(),
        exit_code: Some(12),
        omits_exit: false,
        is_final: false,
    };
    let events = vec![
        ended(at(1, 1, 0), failed),
        began(at(1, 2, 0)),
        ended(at(1, 2, 0), staged()),
        Event::Finished(Outcome::Failed { message }),
    ];
    server.append(&task, events).await;
}

/// The page as a browser shows it that asks for Chinese.
async fn in_chinese(browser: &Browser, path: &str) -> String {
    let request = browser.ask(Method::GET, path);
    let request = request.header("accept-language", "zh-CN,zh;q=0.9,en;q=0.8");
    let (status, page) = both(request.send().await.unwrap()).await;
    assert_eq!(status, StatusCode::OK, "{path}");
    page
}

#[tokio::test]
async fn every_page_is_in_the_language_of_its_reader() {
    let server = server().await;
    server.succeeded("release-1.3").await;
    server.succeeded("release-1.4").await;
    let outcome = HookOutcome::NoRule { reasons: vec![] };
    server.heard(COMMIT, Some("shop"), outcome).await;
    let root = Browser::of(&server, "root", Role::Admin).await;
    for (path, english, chinese) in [
        ("/users", "Add a user", "添加用户"),
        ("/users", "admin", "管理员"),
        ("/users/root", "Create token", "创建令牌"),
        ("/users/root", "Set up second factor", "设置两步验证"),
        ("/users/root", "see tasks, logs and hosts", "查看上线单"),
        ("/users/root", "Delegate approvals", "委托审批"),
        ("/hooks", "no rule", "无匹配规则"),
        ("/hooks/1", "no rule matches", "没有匹配的规则"),
        ("/hooks/1", "Replay", "重新处理"),
        ("/hosts", "Live releases", "线上版本"),
        ("/hosts", "Disable web-1", "摘除 web-1"),
        ("/templates", "SERVICE (required)", "SERVICE（必填）"),
        ("/templates/restart", "Current version", "当前版本"),
        ("/templates/restart", "on {1}", "主机：{1}"),
        ("/submit", "Choose a template", "选择发布模板"),
        (
            "/submit?template=restart",
            "Start no earlier",
            "最早开始时间",
        ),
        (
            "/rollback?project=shop&environment=production",
            "Roll back to release-1.3",
            "回滚到 release-1.3",
        ),
        ("/projects/shop", "Freeze calendar", "封网日历"),
        ("/projects/shop", "trade fair", "封网至"),
        ("/audit", "No entries found.", "没有审计记录。"),
    ] {
        let (status, page) = root.get(path).await;
        assert_eq!(status, StatusCode::OK, "{path}: {page}");
        assert!(page.contains(english), "{path}: no {english}: {page}");
        assert!(page.contains("<html lang=\"en\">"), "{path}");
        let page = in_chinese(&root, path).await;
        assert!(page.contains(chinese), "{path}: no {chinese}: {page}");
        assert!(page.contains("<html lang=\"zh-CN\">"), "{path}");
    }
    server.end().await;
}

#[tokio::test]
async fn new_token_has_no_scope_until_one_is_ticked() {
    let server = TestServer::start().await;
    let alice = Browser::of(&server, "alice", Role::Approver).await;
    let (_, page) = alice.get("/users/alice").await;
    for scope in ["read", "submit", "approve", "admin"] {
        let unticked = format!("<input type=\"checkbox\" name=\"{scope}\" value=\"yes\">");
        assert!(page.contains(&unticked), "{scope}: {page}");
    }
    let path = "/users/alice/tokens";
    let (status, page) = alice.post(path, &[("label", "ci")]).await;
    assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY);
    assert!(page.contains("a token without a scope permits nothing"));
    let (status, page) = alice.post(path, &[("label", "ci"), ("read", "yes")]).await;
    assert_eq!(status, StatusCode::OK);
    assert!(page.contains("<span class=\"tag\">read</span>"), "{page}");
    assert!(!page.contains("<span class=\"tag\">admin</span>"), "{page}");
    server.end().await;
}

#[tokio::test]
async fn language_is_chosen_on_ones_own_page() {
    let server = TestServer::start().await;
    let root = Browser::of(&server, "root", Role::Admin).await;
    let alice = Browser::of(&server, "alice", Role::Viewer).await;
    let choice = "<select name=\"language\">";
    assert!(!root.get("/users/alice").await.1.contains(choice));
    assert!(alice.get("/users/alice").await.1.contains(choice));
    let (status, _) = alice.post("/language", &[("language", "zh")]).await;
    assert_eq!(status, StatusCode::SEE_OTHER);
    let account = server.accounts.get("alice").await.unwrap();
    assert_eq!(account.language, Some(Language::Chinese));
    let (_, page) = alice.get("/users/alice").await;
    let chosen = "<option value=\"zh\" lang=\"zh-CN\" selected>中文</option>";
    assert!(page.contains(chosen) && page.contains("令牌"), "{page}");
    server.end().await;
}

#[tokio::test]
async fn hook_log_names_the_projects_of_a_push() {
    let server = TestServer::start().await;
    let outcome = HookOutcome::NoRule { reasons: vec![] };
    server.heard(COMMIT, Some("shop"), outcome).await;
    let other = "7".repeat(40);
    let unknown = HookOutcome::UnknownRepository;
    server.heard(&other, None, unknown).await;
    let vera = Browser::of(&server, "vera", Role::Viewer).await;
    let (_, page) = vera.get("/hooks").await;
    let arrow = "<span aria-hidden=\"true\">→</span>";
    for place in ["shop", "/srv/git/shop.git"] {
        assert!(page.contains(&format!("{arrow} {place}</span>")), "{page}");
    }
    server.end().await;
}

#[tokio::test]
async fn drift_is_said_in_chinese() {
    let server = TestServer::start().await;
    server.succeeded("release-1.4").await;
    let vera = Browser::of(&server, "vera", Role::Viewer).await;
    let live = server.store.live("shop", "production").await.unwrap();
    let seen = HostState {
        live: Some(ReleaseId("20260101-000000-0000000".to_owned())),
        ..HostState::default()
    };
    let place = ("shop", "production", "web-1");
    let now = server.now();
    let drift = server
        .store
        .note_host_state(place, &live["web-1"], &seen, now)
        .await;
    assert!(drift.unwrap().is_some());
    let page = in_chinese(&vera, "/hosts").await;
    let said = "current 指向 20260101-000000-0000000，tagship 切换到的是";
    assert!(page.contains(said), "{page}");
    assert!(page.contains("首次发现"), "{page}");
    server.end().await;
}

#[tokio::test]
async fn project_page_offers_rollback_only_to_good_releases_not_live() {
    let server = server().await;
    let first = server.succeeded("release-1.3").await;
    failed(&server, "release-1.4").await;
    let last = server.succeeded("release-1.5").await;
    let alice = Browser::of(&server, "alice", Role::Approver).await;
    let vera = Browser::of(&server, "vera", Role::Viewer).await;
    let (status, page) = alice.get("/projects/shop").await;
    assert_eq!(status, StatusCode::OK);
    let offered: Vec<&str> = page.split("href=\"/tasks/").skip(1).collect();
    let offered = offered.iter().filter_map(|rest| rest.split_once('"'));
    let offered = offered.filter_map(|(path, _)| path.strip_suffix("/rollback"));
    assert_eq!(offered.collect::<Vec<_>>(), [first.id.to_string()]);
    assert!(page.contains("release-1.5") && page.contains("did not succeed"));
    let (_, page) = vera.get("/projects/shop").await;
    assert!(!page.contains("rollback\""), "{page}");
    let live = format!("href=\"/tasks/{}\"", last.id);
    assert!(page.contains(&live), "{page}");
    server.end().await;
}

#[tokio::test]
async fn project_page_compares_two_releases_by_their_tasks() {
    let server = server().await;
    let mut releases = Vec::new();
    for tag in ["release-1.3", "release-1.4", "release-1.5"] {
        let task = server.succeeded(tag).await;
        releases.push(task.work.unwrap().release.0);
    }
    let vera = Browser::of(&server, "vera", Role::Viewer).await;
    // The order of the two does not matter.
    for [from, to] in [[0, 2], [2, 0]] {
        let (from, to) = (&releases[from], &releases[to]);
        let path = format!("/projects/shop?environment=production&from={from}&to={to}");
        let (_, page) = vera.get(&path).await;
        let (_, compared) = page
            .split_once("between release-1.3 and release-1.5")
            .unwrap();
        let (compared, _) = compared.split_once("</ul>").unwrap();
        let tasks = compared.split("href=\"/tasks/").skip(1);
        let tasks = tasks.map(|rest| rest.split('"').next().unwrap());
        assert_eq!(tasks.collect::<Vec<_>>(), ["3", "2"], "{compared}");
    }
    let unknown = "/projects/shop?environment=production&from=x&to=y";
    let (status, page) = vera.get(unknown).await;
    assert_eq!(status, StatusCode::OK);
    assert!(!page.contains("What came between"), "{page}");
    server.end().await;
}

#[tokio::test]
async fn project_page_is_silent_about_what_its_reader_may_not_see() {
    let server = server().await;
    server.succeeded("release-1.3").await;
    let quinn = Browser::of(&server, "quinn", Role::None).await;
    let (status, page) = quinn.get("/projects/shop").await;
    assert_eq!(status, StatusCode::OK, "{page}");
    assert!(page.contains("fair") && page.contains("Frozen until"));
    for hidden in ["production", "release-1.3", "elsewhere", "reported a push"] {
        assert!(!page.contains(hidden), "{hidden}: {page}");
    }
    let tim = Browser::of(&server, "tim", Role::None).await;
    let (status, unseen) = tim.get("/projects/shop").await;
    assert_eq!(status, StatusCode::NOT_FOUND);
    let (_, unknown) = tim.get("/projects/none").await;
    assert_eq!(unseen.replace("shop", "none"), unknown);
    server.end().await;
}

#[tokio::test]
async fn project_page_says_when_its_hook_last_reported() {
    let server = server().await;
    let vera = Browser::of(&server, "vera", Role::Viewer).await;
    let (_, page) = vera.get("/projects/shop").await;
    assert!(page.contains("has not reported a push yet"), "{page}");
    let heard = tagship::store::SeenPush {
        push: None,
        record: COMMIT[..32].to_owned(),
        repository: "/srv/git/shop.git".to_owned(),
        reference: "refs/tags/release-2.0".to_owned(),
        old: "0".repeat(40),
        new: COMMIT.to_owned(),
        pusher: "bob".to_owned(),
        ssh_key: String::new(),
        system_user: false,
        owner: 990,
        pushed_at: None,
    };
    let report = tagship::store::hook_report(&heard, server.now());
    server.store.kv().commit(report).await.unwrap();
    let (_, page) = vera.get("/projects/shop").await;
    assert!(page.contains("The hook last reported a push at"), "{page}");
    assert!(page.contains("/hooks?project=shop"), "{page}");
    server.end().await;
}
