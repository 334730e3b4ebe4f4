//! Commands about tasks, against a real agent's web server.

mod logs;
mod progress;

use std::io::{BufRead as _, BufReader, Read as _};
use std::time::Duration;

use tagship::config::TemplateCache;
use tagship::domain::plan::Plan;
use tagship::domain::task::{Event, Outcome, Pause};
use tagship::engine::executor::effects::StepLogs as _;
use tagship::identity::account::Role;
use tagship::server::{Web, WebLimits};
use tagship_tests::contract::assert_task;

use crate::command::lab::{Lab, holds, said, started};
use crate::server::{COMMIT, at, ended, staged};

#[tokio::test(flavor = "multi_thread")]
async fn tasks_are_listed_newest_first() {
    let lab = Lab::new().await;
    lab.server.waiting("release-1").await;
    lab.clock.advance(std::time::Duration::from_secs(60));
    lab.server.running("release-2").await;
    lab.server.proposed("release-\u{1b}[2J").await;
    holds(lab.local(&["tasks"]).stdout(
        r#"
        ID  STATE     PROJECT  ENVIRONMENT  TAG                COMMIT     BY   CREATED
        3   proposed  shop     production   release-\u{1b}[2J  -          bob  2026-11-21 16:01:00 CET
        2   running   shop     production   release-2          3f2a9c1b2  bob  2026-11-21 16:01:00 CET
        1   waiting   shop     production   release-1          3f2a9c1b2  bob  2026-11-21 16:00:00 CET
        "#,
    ));
    let ids = |arguments: &[&str]| {
        let said = said(lab.local(arguments));
        let tasks = said.json()["tasks"].as_array().unwrap().clone();
        let ids: Vec<u64> = tasks
            .iter()
            .map(|task| task["id"].as_u64().unwrap())
            .collect();
        ids
    };
    assert_eq!(ids(&["tasks", "--json"]), [3, 2, 1]);
    assert_eq!(ids(&["tasks", "--json", "--state", "waiting"]), [1]);
    assert_eq!(
        ids(&["tasks", "--json", "--project", "shop", "--limit", "2"]),
        [3, 2]
    );
    assert_eq!(ids(&["tasks", "--json", "--before", "2"]), [1]);
    holds(
        lab.local(&["tasks", "--environment", "qa"])
            .stderr("no task matches\n"),
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn waiting_task_shows_its_missing_approvals() {
    let lab = Lab::new().await;
    let task = lab.server.waiting("release-1").await;
    let plan = &task.landed.unwrap().terms.plan.0[..12];
    let shown = lab.remote("carol", Role::Approver, &["show", "1"]).await;
    holds(shown.stdout(&format!(
        r#"
        task 1: release-1 of shop to production
          state      waiting
          submitted  by bob, 2026-11-21 16:00:00 CET
          commit     {COMMIT}
                     "Round prices at the till, not in the basket" by carol, 2026-11-20 17:00:00 CET
          template   shop-release; runs when approved
          plan       {plan}
          compared   first release on web-1, web-2, web-3
          missing    approval: 1 (has 0)
          expires    2026-11-28 16:00:00 CET

        stages
          STAGE     HOST   STEP      STATE    BEGAN  TOOK  RESULT
          checkout  agent  checkout  pending
          stage     web-1  sync      pending
          stage     web-1  run       pending
          stage     web-2  sync      pending
          stage     web-3  sync      pending
          switch    web-1  publish   pending
          switch    web-1  run       pending
          switch    web-2  publish   pending
          switch    web-2  run       pending
          switch    web-3  publish   pending
          switch    web-3  run       pending

        next: approve with `tagship approve 1`, or reject with `tagship reject 1 --reason …`
        "#,
    )));
}

#[tokio::test(flavor = "multi_thread")]
async fn succeeded_task_shows_each_hosts_steps() {
    let lab = Lab::new().await;
    lab.server.succeeded("release-1").await;
    let said = said(lab.local(&["show", "1"]));
    for part in [
        "  state      succeeded\n",
        "  approved   by alice (@pm), 2026-11-21 16:00:00 CET: ready when you are\n",
        "  release    20261121-160114-3f2a9c1\n",
        "  checkout  agent  checkout  succeeded  16:00:00  0.0 s  4312 files\n",
        "  switch    web-3  run       succeeded  16:00:00  0.0 s  exit 0\n",
    ] {
        assert!(said.stdout.contains(part), "no {part:?} in {said}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn show_json_contains_the_promised_fields() {
    let lab = Lab::new().await;
    lab.server.running("release-1").await;
    let task = said(lab.local(&["show", "1", "--json"])).json();
    assert_task(&task);
    // Unchanged from the API.
    let url = format!("{}/api/v1/tasks/1", lab.server.url);
    let account = lab.server.account("dave", Role::Admin, &[]).await;
    let token = lab.server.token(&account).await;
    let api = reqwest::Client::new()
        .get(url)
        .bearer_auth(token)
        .send()
        .await
        .unwrap();
    let mut api: serde_json::Value = api.json().await.unwrap();
    api["may"] = task["may"].clone();
    assert_eq!(api, task);
}

#[tokio::test(flavor = "multi_thread")]
async fn missing_task_is_named() {
    let lab = Lab::new().await;
    holds(
        lab.local(&["show", "7"])
            .stderr("error: there is no task 7; see `tagship tasks`, or the list of tasks\n")
            .status(1),
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_approver_approves_exactly_the_plan_they_saw() {
    let lab = Lab::new().await;
    let task = lab.server.waiting("release-1").await;
    let digest = task.landed.unwrap().terms.plan.0;
    let other = "f".repeat(12);
    let approve = |plan: &str| {
        vec![
            "approve".to_owned(),
            "1".to_owned(),
            "--plan".to_owned(),
            plan.to_owned(),
        ]
    };
    let run = async |plan: &str| {
        let arguments = approve(plan);
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        said(lab.remote("carol", Role::Approver, &arguments).await)
    };
    let refused = run(&other).await;
    assert_eq!(refused.status, Some(1));
    assert_eq!(
        refused.stderr,
        format!(
            "error: the plan of task 1 is {}, not {other}; look at it again with `tagship show 1`\n",
            &digest[..12]
        )
    );
    let short = run(&digest[..4]).await;
    assert!(short.stderr.contains("is no digest"), "{short}");
    assert!(lab.server.store.task(1).await.unwrap().approvals.is_empty());

    let taken = run(&digest[..12]).await;
    assert_eq!(
        taken.stdout, "task 1 is approved; it is scheduled\n",
        "{taken}"
    );
    assert_eq!(taken.status, Some(0));
    let approvals = lab.server.store.task(1).await.unwrap().approvals;
    assert_eq!(
        (approvals[0].by.as_str(), approvals[0].plan.0.as_str()),
        ("carol", digest.as_str())
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn approval_of_several_says_what_is_still_missing() {
    let lab = Lab::new().await;
    let task = lab.server.proposed("release-1").await;
    let two = |plan: &mut Plan| plan.approvals[0].count = 2;
    lab.server.landed_with(&task, two).await;
    lab.server.account("pat", Role::Approver, &[]).await;
    let alone = said(lab.remote("victor", Role::Viewer, &["show", "1"]).await);
    let words = "next: task 1 waits for 2 approvals, and only pat can approve it (an admin adds approvers with `tagship user set ACCOUNT --role approver`); `tagship approve 1`\n";
    assert!(alone.stdout.ends_with(words), "{alone}");
    let test = lab.remote("carol", Role::Approver, &["approve", "1"]).await;
    holds(test.stdout(
        "your approval of task 1 counts; it still waits for 1 more approval: pat; `tagship approve 1`\n",
    ));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_approval_may_wait_for_its_time() {
    let lab = Lab::new().await;
    lab.server.waiting("release-1").await;
    let arguments = [
        "approve",
        "1",
        "--at",
        "2030-01-01T06:30+01:00",
        "--comment",
        "at night",
    ];
    let test = lab.remote("carol", Role::Approver, &arguments).await;
    holds(test.stdout("task 1 is approved; it is scheduled for 2030-01-01 06:30:00 CET\n"));
    let task = lab.server.store.task(1).await.unwrap();
    assert_eq!(task.approvals[0].comment, "at night");
}

#[tokio::test(flavor = "multi_thread")]
async fn refused_approval_states_the_reason() {
    let lab = Lab::new().await;
    lab.server.waiting("release-1").await;
    let local = said(lab.local(&["approve", "1"]));
    assert_eq!(local.status, Some(1));
    assert!(
        local.stderr.contains("whose approval does not count"),
        "{local}"
    );
    let viewer = said(lab.remote("victor", Role::Viewer, &["approve", "1"]).await);
    assert_eq!(
        viewer.stderr,
        "error: victor has the role viewer in shop production (template shop-release); to approve a task requires the role approver: ask an admin for it\n"
    );
    lab.server.proposed("release-2").await;
    let early = said(lab.remote("carol", Role::Approver, &["approve", "2"]).await);
    assert_eq!(
        early.stderr,
        "error: task 2 has no plan that could be approved; it is proposed\n"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn each_request_reports_its_result() {
    let lab = Lab::new().await;
    lab.server.waiting("release-1").await;
    holds(
        lab.local(&["reject", "1", "--reason", "not today"]).stdout(
            "task 1 is rejected: by os:root: not today\n"
                .replace("os:root", &me())
                .as_str(),
        ),
    );
    lab.server.waiting("release-2").await;
    let withdrawn = said(lab.local(&["withdraw", "2"]));
    assert!(
        withdrawn.stdout.starts_with("task 2 is withdrawn"),
        "{withdrawn}"
    );
    holds(lab.local(&["retry", "2"]).stdout(
        "task 2 is asked to retry; it waits for 1 approval; no account can approve it (in an emergency: `tagship approve 2 --emergency REASON`)\n",
    ));
    lab.server.running("release-3").await;
    holds(lab.local(&["stop", "3"]).stdout(&format!(
        "task 3 is asked to stop; it is stopping: asked by {}\n",
        me()
    )));
    holds(
        lab.local(&["stop", "1"])
            .stderr(
                "error: task 1 is rejected: it cannot be stopped; it has ended; push a new tag\n",
            )
            .status(1),
    );
}

/// The user of these tests, as the agent sees them.
pub(crate) fn me() -> String {
    let output = std::process::Command::new("id")
        .arg("-un")
        .output()
        .unwrap();
    format!("os:{}", String::from_utf8(output.stdout).unwrap().trim())
}

#[tokio::test(flavor = "multi_thread")]
async fn paused_task_is_resumed() {
    let lab = Lab::new().await;
    let task = lab.server.running("release-1").await;
    let pause = Pause::Gate { stage: 2 };
    lab.server
        .append(
            &task,
            vec![ended(at(1, 1, 0), staged()), Event::Paused(pause)],
        )
        .await;
    holds(
        lab.local(&["resume", "1"])
            .stdout("task 1 is asked to resume; it is running\n"),
    );
}

/// The events from the state that `running` leaves to the given outcome.
fn to_the_end(outcome: Outcome) -> Vec<Event> {
    vec![ended(at(1, 1, 0), staged()), Event::Finished(outcome)]
}

#[tokio::test(flavor = "multi_thread")]
async fn waiting_ends_with_the_task_and_succeeds_only_if_it_does() {
    let failed = Outcome::Failed {
        message: "web-2: sync: the disk is full".to_owned(),
    };
    for (stop, outcome, status, last) in [
        (true, Outcome::Stopped, 0, ""),
        (
            false,
            failed,
            1,
            "error: task 1 is failed: web-2: sync: the disk is full; see `tagship log 1`, fix the cause, then `tagship retry 1` or push a new tag\n",
        ),
    ] {
        let lab = Lab::new().await;
        let task = lab.server.running("release-1").await;
        let (verb, task) = if stop {
            ("stop", task)
        } else {
            let pause = Event::Paused(Pause::Gate { stage: 2 });
            ("resume", lab.server.append(&task, vec![pause]).await)
        };
        drop(task);
        let test = lab.local(&[verb, "1", "--wait"]);
        let mut child = started(&test);
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        // It reports that the request was accepted, then follows.
        let first = tokio::task::block_in_place(|| lines.next().unwrap().unwrap());
        assert!(first.starts_with("task 1 is "), "{first}");
        let task = lab.server.store.task(1).await.unwrap();
        lab.server.append(&task, to_the_end(outcome)).await;
        let rest: Vec<String> = tokio::task::block_in_place(|| lines.map(Result::unwrap).collect());
        assert!(
            rest.iter()
                .any(|line| line.contains(" CET step ended web-2 stage.sync")),
            "{rest:?}"
        );
        assert!(rest.last().unwrap().contains(" CET finished "), "{rest:?}");
        let bar = rest.iter().any(|line| line.contains("hosts done"));
        assert!(!bar, "a bar is for terminals: {rest:?}");
        let output = tokio::task::block_in_place(|| child.wait_with_output().unwrap());
        assert_eq!(String::from_utf8_lossy(&output.stderr), last);
        assert_eq!(output.status.code(), Some(status));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn rollback_targets_a_task_or_the_previous_release() {
    let lab = Lab::new().await;
    lab.server.succeeded("release-1").await;
    lab.server.succeeded("release-2").await;
    let to = said(
        lab.remote("carol", Role::Approver, &["rollback", "1"])
            .await,
    );
    assert_eq!(to.status, Some(0), "{to}");
    let words = "task 3 rolls back shop production to release-1 (";
    assert!(to.stdout.starts_with(words), "{to}");
    assert!(to.stdout.contains("by task 1), from release-2\n"), "{to}");
    assert!(to.stdout.contains("\ntask 3 is scheduled"), "{to}");
    let before = [
        "rollback",
        "--project",
        "shop",
        "--environment",
        "production",
        "--json",
    ];
    let before = said(lab.remote("carol", Role::Approver, &before).await);
    assert_eq!(before.json()["origin"]["to"], 1, "{before}");
    holds(
        lab.local(&["rollback", "--project", "shop", "--environment", "qa"])
            .stderr("error: nothing is live in shop qa\n")
            .status(1),
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn rollback_names_missing_approvers_and_does_not_hang() {
    let lab = Lab::new().await;
    lab.server.succeeded("release-1").await;
    lab.server.succeeded("release-2").await;
    lab.server.account("bob", Role::Approver, &[]).await;
    lab.server.account("victor", Role::Viewer, &[]).await;
    let waits = "task 3 waits for 1 approval: bob; `tagship approve 3` (in an emergency: `tagship approve 3 --emergency REASON`)\n";
    let back = said(lab.local(&["rollback", "1"]));
    assert!(back.stdout.ends_with(waits), "{back}");
    let again = said(lab.local(&["rollback", "1", "--wait"]));
    assert_eq!(again.status, Some(3), "{again}");
    let waits = waits
        .replace("task 3", "task 4")
        .replace("approve 3", "approve 4");
    assert!(again.stderr.ends_with(&waits), "{again}");
    let emergency = ["approve", "4", "--emergency", "the shop is down"];
    let given = said(lab.local(&emergency));
    assert_eq!(given.status, Some(0), "{given}");
    let shown = said(lab.local(&["show", "4"])).stdout;
    let words = format!("by {} in an EMERGENCY (the shop is down)", me());
    assert!(shown.contains(&words), "{shown}");
    let listed = said(lab.local(&["tasks"])).stdout;
    assert!(listed.contains("scheduled (EMERGENCY)"), "{listed}");
}

#[tokio::test(flavor = "multi_thread")]
async fn rollback_says_that_the_task_of_its_release_failed() {
    let lab = Lab::new().await;
    lab.server.succeeded("release-1").await;
    lab.server.failed_live("release-2").await;
    lab.server.succeeded("release-3").await;
    let back = said(lab.local(&["rollback", "2"])).stdout;
    assert!(back.contains("task 2 did not succeed (failed)\n"), "{back}");
    let shown = said(lab.local(&["show", "4"])).stdout;
    assert!(
        shown.contains("task 2 did not succeed (failed)\n"),
        "{shown}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn rollback_to_the_live_release_reports_no_change() {
    let lab = Lab::new().await;
    lab.server.succeeded("release-1").await;
    let back = said(lab.local(&["rollback", "1"]));
    let words = "this rollback changes nothing: release-1 is already live\n";
    assert!(back.stdout.contains(words), "{back}");
}

#[tokio::test(flavor = "multi_thread")]
async fn other_server_is_not_mistaken_for_an_agent() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let answering = std::thread::spawn(move || {
        use std::io::Write as _;
        let (mut stream, _) = listener.accept().unwrap();
        let mut head = [0; 1024];
        assert!(stream.read(&mut head).unwrap() > 0);
        let answer = "HTTP/1.1 502 Bad Gateway\r\nserver: nginx\r\ncontent-length: 6\r\n\r\n<html>";
        stream.write_all(answer.as_bytes()).unwrap();
    });
    holds(
        crate::command::program::Test::new()
            .variable("TAGSHIP_URL", &url)
            .arguments(["tasks"])
            .stderr(&format!(
                "error: {url} answered 502 (from nginx); is it the address of a tagship agent?\n"
            ))
            .status(1),
    );
    answering.join().unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn waiting_client_survives_an_agent_restart() {
    let mut lab = Lab::new().await;
    let task = lab.server.running("release-1").await;
    let test = lab.local(&["stop", "1", "--wait"]);
    let mut child = started(&test);
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    tokio::task::block_in_place(|| lines.next().unwrap().unwrap());
    drop(task);
    lab.server.ask_to_end();
    lab.server.ended().await;

    // Events during an outage are reported afterwards.
    let task = lab.server.store.task(1).await.unwrap();
    lab.server.append(&task, to_the_end(Outcome::Stopped)).await;
    std::fs::remove_file(&lab.server.socket).unwrap();
    let unix = tokio::net::UnixListener::bind(&lab.server.socket).unwrap();
    let tcp = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let web = Web {
        store: lab.server.store.clone(),
        accounts: lab.server.accounts.clone(),
        sessions: lab.server.sessions.clone(),
        config: lab.server.config.clone(),
        templates: TemplateCache::new(&lab.server.config.agent.templates_dir),
        logs: lab.server.logs.clone(),
        clock: lab.clock.clone(),
        limits: WebLimits::default(),
    };
    let serving = tokio::spawn(web.serve(tcp, Some(unix), std::future::pending()));
    let rest: Vec<String> = tokio::task::block_in_place(|| lines.map(Result::unwrap).collect());
    assert!(
        rest.last().unwrap().contains(" CET finished stopped"),
        "{rest:?}"
    );
    let output = tokio::task::block_in_place(|| child.wait_with_output().unwrap());
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    serving.abort();
}
