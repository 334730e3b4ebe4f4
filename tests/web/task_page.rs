//! The page of a task: what would change, who decides, how far it is, and what went wrong.

use std::sync::Arc;
use std::time::Duration;

use reqwest::Method;
use tagship::base::clock::ManualClock;
use tagship::domain::host::ReleaseId;
use tagship::domain::plan::Plan;
use tagship::domain::task::{
    ChangedPath, CommitLine, ComparedRelease, ComparedWith, Description, Event, Outcome, Relation,
    StepResult, TagInfo, Task,
};
use tagship::engine::executor::effects::StepLogs as _;
use tagship::identity::account::Role;

use crate::client::{Browser, both};
use crate::server::{
    COMMIT, OLDER, Options, TestServer, at, began, description, ended, person, staged,
};

/// Reads a page as a browser that asks for Chinese.
async fn in_chinese(browser: &Browser, path: &str) -> String {
    let request = browser.ask(Method::GET, path);
    let request = request.header("accept-language", "zh-CN,zh;q=0.9,en;q=0.8");
    both(request.send().await.unwrap()).await.1
}

#[track_caller]
fn says(page: &str, all: &[&str]) {
    for said in all {
        assert!(page.contains(said), "no {said:?} in {page}");
    }
}

fn ahead(commits: u64) -> Description {
    let mut described = description();
    let commit = |number: u64| CommitLine {
        commit: format!("{number:x}").repeat(40),
        subject: format!("Change {number}"),
        author: "carol".to_owned(),
        at: "2026-11-20T09:30:00Z".parse().unwrap(),
    };
    let comparison = &mut described.comparisons[0];
    comparison.live = Some(OLDER.to_owned());
    comparison.relation = Relation::Ahead { commits };
    comparison.coming = (1..=commits).map(commit).collect();
    comparison.files_changed = 23;
    comparison.paths = vec![ChangedPath {
        status: 'M',
        path: "app/till.py".to_owned(),
    }];
    described
}

/// A waiting task, compared with the release of another one.
async fn replaces(server: &TestServer, live: &Task, described: &Description) -> Task {
    let task = server.waiting_with("release-1.5", described).await;
    let bytes = serde_json::to_vec(described).unwrap();
    let compared = Event::Compared {
        description: server.store.put_blob(&bytes).await.unwrap(),
        with: ComparedWith {
            live: vec![ComparedRelease {
                release: ReleaseId("20261121-160114-3f2a9c1".to_owned()),
                task: live.id,
                tag: live.tag().to_owned(),
                commit: Some(OLDER.to_owned()),
                since: Some(server.now()),
                hosts: 3,
            }],
            relations: described.relations(),
        },
    };
    server.append(&task, vec![compared]).await
}

#[tokio::test]
async fn sentence_sums_up_what_would_go_live() {
    let clock = Arc::new(ManualClock::at("2026-11-24T13:02:00Z".parse().unwrap()));
    let server = TestServer::start_with(Options {
        clock,
        ..Options::default()
    })
    .await;
    let live = server.succeeded("release-1.4").await;
    let mut described = ahead(7);
    described.tag = Some(TagInfo {
        name: "release-1.5".to_owned(),
        named_as_ref: true,
        tagger: Some(person("bob")),
        message: "Prices are rounded at the till.".to_owned(),
    });
    let task = replaces(&server, &live, &described).await;
    let alice = Browser::of(&server, "alice", Role::Approver).await;
    let path = format!("/tasks/{}", task.id);
    let (_, page) = alice.get(&path).await;
    says(
        &page,
        &[
            "3 hosts of shop production; replaces release-1.4, live since Tue 14:02 by bob; 7 commits, 23 files; waits for 1 approval",
            "<h3>Release note</h3>",
            "Prices are rounded at the till.",
            "<b>Approve</b><span class=\"object\"><span>release-1.5</span>&nbsp;<span>\u{2192} production</span></span>",
            "<b>Reject</b><span class=\"object\"><span>release-1.5</span>&nbsp;<span>\u{2192} production</span></span>",
        ],
    );
    let chinese = in_chinese(&alice, &path).await;
    says(
        &chinese,
        &[
            "<html lang=\"zh-CN\">",
            "shop production 的 3 台主机；替换 release-1.4（bob 于 周二 14:02 上线）；7 个提交，23 个文件；待审批：需 1 人",
            "<h3>发布说明</h3>",
            "<b>通过</b><span class=\"object\"><span>release-1.5</span>",
            "主机失败时：已切换的主机回滚。",
            "把 /srv/shop/current 切换到新版本",
            "每批 1 台",
        ],
    );
    let order = ["id=\"changes\"", "id=\"requests\"", "id=\"approvals\""];
    let order = order.map(|part| page.find(part).unwrap());
    assert!(
        order.is_sorted(),
        "what changes is read before the decision"
    );
    server.end().await;
}

#[tokio::test]
async fn up_to_ten_commits_are_not_folded() {
    let server = TestServer::start().await;
    let alice = Browser::of(&server, "alice", Role::Approver).await;
    for (commits, unfolded) in [(10, true), (11, false)] {
        let tag = format!("release-1.{commits}");
        let task = server.waiting_with(&tag, &ahead(commits)).await;
        let (_, page) = alice.get(&format!("/tasks/{}", task.id)).await;
        let title = format!("Commits added ({commits})");
        let open = format!("<details data-key=\"{title}\" open>");
        assert_eq!(page.contains(&open), unfolded, "{page}");
        says(&page, &[&title, "Change 1 <span", "carol"]);
    }
    server.end().await;
}

#[tokio::test]
async fn changes_are_linked_if_the_project_has_a_page() {
    let web = "web = \"https://gitlab.example.com/group/shop/\"";
    for (project, linked) in [("", false), (web, true)] {
        let server = TestServer::start_with(Options {
            project,
            ..Options::default()
        })
        .await;
        let task = server.waiting_with("release-1.5", &ahead(1)).await;
        let alice = Browser::of(&server, "alice", Role::Approver).await;
        let (_, page) = alice.get(&format!("/tasks/{}", task.id)).await;
        let link =
            format!("href=\"https://gitlab.example.com/group/shop/-/compare/{OLDER}...{COMMIT}\"");
        assert_eq!(page.contains(&link), linked, "{page}");
        server.end().await;
    }
}

#[tokio::test]
async fn commit_that_passed_elsewhere_is_named_to_those_who_see_it() {
    let server = TestServer::start_with(Options {
        grants: "[[grants]]\nto = [\"gina\"]\nrole = \"approver\"\nproject = \"shop\"\nenvironment = \"production\"\n",
        ..Options::default()
    })
    .await;
    let qa = server.passed_qa().await;
    let task = server.waiting("release-1.5").await;
    let path = format!("/tasks/{}", task.id);
    let alice = Browser::of(&server, "alice", Role::Approver).await;
    let said = format!(
        "<a href=\"/tasks/{}\">This commit passed qa as qa-1.5",
        qa.id
    );
    says(&alice.get(&path).await.1, &[&said]);
    let gina = Browser::of(&server, "gina", Role::None).await;
    let (_, page) = gina.get(&path).await;
    says(&page, &["release-1.5"]);
    assert!(!page.contains("This commit passed"), "{page}");
    let other = server
        .waiting_with("release-1.6", &{
            let mut other = description();
            other.commit = OLDER.to_owned();
            other
        })
        .await;
    let (_, page) = alice.get(&format!("/tasks/{}", other.id)).await;
    assert!(!page.contains("This commit passed"), "{page}");
    server.end().await;
}

#[tokio::test]
async fn running_task_shows_its_time_against_the_usual_one() {
    let clock = Arc::new(ManualClock::at("2026-11-24T13:02:00Z".parse().unwrap()));
    let server = TestServer::start_with(Options {
        clock: clock.clone(),
        ..Options::default()
    })
    .await;
    let alice = Browser::of(&server, "alice", Role::Approver).await;
    let first = server.running("release-1.0").await;
    let path = format!("/tasks/{}", first.id);
    let (_, page) = alice.get(&path).await;
    says(
        &page,
        &["Running for</span> <b data-elapsed=\"0\">0:00</b>"],
    );
    assert!(!page.contains("<progress"), "there is no usual time yet");
    clock.advance(Duration::from_secs(1));
    server.finished(first).await;
    for seconds in [184, 3_600] {
        let task = server.running("release-1.1").await;
        clock.advance(Duration::from_secs(seconds));
        server.finished(task).await;
    }
    let task = server.running("release-1.2").await;
    clock.advance(Duration::from_secs(61));
    let path = format!("/tasks/{}", task.id);
    let (_, page) = alice.get(&path).await;
    let bar = "<progress class=\"usual\" data-elapsed=\"61\" value=\"61\" max=\"184\"";
    says(&page, &[">1:01</b>", "usually 3 min 4 s", bar]);
    let chinese = in_chinese(&alice, &path).await;
    says(
        &chinese,
        &["已执行", "通常 3 分 4 秒", "执行中：第 2/3 阶段 stage"],
    );
    clock.advance(Duration::from_secs(200));
    says(
        &alice.get(&path).await.1,
        &["longer than usual (3 min 4 s)", "value=\"261\" max=\"184\""],
    );
    server.end().await;
}

#[tokio::test]
async fn phases_of_an_ended_task_are_drawn() {
    let clock = Arc::new(ManualClock::at("2026-11-24T13:02:00Z".parse().unwrap()));
    let server = TestServer::start_with(Options {
        clock: clock.clone(),
        ..Options::default()
    })
    .await;
    let task = server.running("release-1.0").await;
    let alice = Browser::of(&server, "alice", Role::Approver).await;
    let path = format!("/tasks/{}", task.id);
    assert!(!alice.get(&path).await.1.contains("<svg"));
    clock.advance(Duration::from_secs(90));
    server.finished(task).await;
    let (_, page) = alice.get(&path).await;
    assert_eq!(page.matches("<svg").count(), 3, "{page}");
    says(
        &page,
        &[
            "<th scope=\"row\">Stage 2: stage</th>",
            "<rect class=\"good\" x=\"0\" y=\"0\" width=\"1000\" height=\"10\"/>",
            "<td class=\"nowrap\">1 min 30 s</td>",
            "<dt>Took</dt><dd>1 min 30 s</dd>",
        ],
    );
    // All stages are done, so none is open.
    assert!(!page.contains("<details class=\"stage\" data-key=\"Stage 2: stage\" open>"));
    server.end().await;
}

#[tokio::test]
async fn equal_errors_are_one_with_the_line_of_the_log() {
    let server = TestServer::start().await;
    let task = server.running("release-1.4").await;
    let failed = |host: &str| StepResult::Failed {
        message: format!("{host}: the disk of {host} is full"),
        exit_code: None,
        omits_exit: false,
        is_final: false,
    };
    let log = server.logs.step(task.id, "web-2", "stage.sync", 1);
    log.write_at(0, b"sending app\nwrite failed: <No space left>\n\n");
    let events = vec![
        ended(at(1, 1, 0), failed("web-2")),
        began(at(1, 2, 0)),
        ended(at(1, 2, 0), failed("web-3")),
        Event::Finished(Outcome::Failed {
            message: "web-2, web-3: the disk of {HOST} is full".to_owned(),
        }),
    ];
    let task = server.append(&task, events).await;
    let alice = Browser::of(&server, "alice", Role::Approver).await;
    let path = format!("/tasks/{}", task.id);
    let (_, page) = alice.get(&path).await;
    assert_eq!(
        page.matches("<li class=\"notice bad\">").count(),
        1,
        "{page}"
    );
    says(
        &page,
        &[
            "failed: errors on 2 hosts",
            "<b>sync</b> web-2 and web-3 <span class=\"badge bad\">2 hosts</span>",
            "<p>the disk of {HOST} is full</p>",
            "<pre class=\"quote\">write failed: &#60;No space left&#62;</pre>",
            &format!("<a href=\"{path}/log?host=web-2&amp;step=stage.sync\">Log of sync on web-2"),
        ],
    );
    says(
        &in_chinese(&alice, &path).await,
        &[
            "发布失败：2 台主机出错",
            "2 台主机</span>",
            "web-2 的 sync 日志",
        ],
    );
    server.end().await;
}

#[tokio::test]
async fn single_error_is_quoted_once() {
    let server = TestServer::start().await;
    let task = server.running("release-1.4").await;
    let log = server.logs.step(task.id, "web-2", "stage.sync", 1);
    log.line("connection refused");
    let failed = StepResult::Failed {
        message: "web-2: connection refused".to_owned(),
        exit_code: None,
        omits_exit: false,
        is_final: false,
    };
    server.append(&task, vec![ended(at(1, 1, 0), failed)]).await;
    let alice = Browser::of(&server, "alice", Role::Approver).await;
    let (_, page) = alice.get(&format!("/tasks/{}", task.id)).await;
    says(&page, &["<p>web-2: connection refused</p>"]);
    assert!(!page.contains("class=\"quote\""), "{page}");
    server.end().await;
}

#[tokio::test]
async fn log_of_the_landing_is_hidden_unless_it_failed() {
    let server = TestServer::start().await;
    let alice = Browser::of(&server, "alice", Role::Approver).await;
    let hidden = "<section class=\"card\" hidden id=\"logs\">";
    let shown = async |task: &Task| {
        let (_, page) = alice.get(&format!("/tasks/{}", task.id)).await;
        assert_eq!(page.contains("data-logs"), !page.contains(hidden), "{page}");
        !page.contains(hidden)
    };
    let task = server.proposed("release-1.4").await;
    let log = server.logs.step(task.id, "agent", "land", 1);
    log.line("the tag is not there");
    assert!(shown(&task).await, "it has not landed yet");
    let task = server.landed(&task, &description()).await;
    assert!(!shown(&task).await, "it has landed");
    let task = server.approve(&task).await;
    let task = server.start_work(&task).await;
    assert!(shown(&task).await, "its steps run");
    server.end().await;
}

#[tokio::test]
async fn finished_hosts_are_folded_where_there_are_many() {
    let server = TestServer::start().await;
    let task = server.proposed("release-1.4").await;
    let more = |plan: &mut Plan| {
        for number in 4..=8 {
            let mut host = plan.hosts[0].clone();
            host.name = format!("web-{number}");
            for stage in &mut plan.stages[1..] {
                stage.hosts.push(host.name.clone());
            }
            plan.hosts.push(host);
        }
    };
    let task = server.landed_with(&task, more).await;
    let task = server.approve(&task).await;
    let task = server.start_work(&task).await;
    let events = vec![ended(at(1, 1, 0), staged())];
    let task = server.append(&task, events).await;
    let alice = Browser::of(&server, "alice", Role::Approver).await;
    let (_, page) = alice.get(&format!("/tasks/{}", task.id)).await;
    says(
        &page,
        &[
            "<details class=\"stage\" data-key=\"Stage 2: stage\" open>",
            "1 of 8 hosts done",
            "<summary>1 host done</summary>",
        ],
    );
    let (_, folded) = page.split_once("<summary>1 host done</summary>").unwrap();
    let (folded, _) = folded.split_once("</details>").unwrap();
    says(folded, &["<th scope=\"row\">web-2</th>"]);
    assert!(!folded.contains(">web-3<"), "{folded}");
    server.end().await;
}
