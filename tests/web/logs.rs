//! The output of steps as text.

use std::time::Duration;

use reqwest::{Method, Response, StatusCode};
use tagship::domain::host::OUTPUT_KEPT_BYTES;
use tagship::domain::task::{Event, Outcome};
use tagship::engine::executor::effects::StepLogs as _;
use tagship::identity::account::Role;
use tagship_tests::{assert_text_eq, unindent};

use crate::client::{Browser, Program, both};
use crate::server::{TestServer, at, ended, staged};

async fn text(program: &Program, path: &str) -> String {
    let response = program.ask(Method::GET, path).send().await.unwrap();
    assert_eq!(response.status(), StatusCode::OK);
    assert_eq!(
        response.headers()["content-type"],
        "text/plain; charset=utf-8"
    );
    response.text().await.unwrap()
}

/// Reads until `wanted` has arrived; panics if nothing more arrives.
pub(crate) async fn until(response: &mut Response, wanted: &str) -> String {
    let mut all = String::new();
    while !all.contains(wanted) {
        let chunk = tokio::time::timeout(Duration::from_secs(20), response.chunk()).await;
        let chunk = chunk
            .unwrap_or_else(|_| panic!("no {wanted:?} in {all:?}"))
            .unwrap();
        let chunk = chunk.unwrap_or_else(|| panic!("ended without {wanted:?}: {all:?}"));
        all.push_str(std::str::from_utf8(&chunk).unwrap());
    }
    all
}

#[tokio::test]
async fn lines_name_host_and_step_where_there_are_several() {
    let server = TestServer::start().await;
    let vera = Program::of(&server, "vera", Role::Viewer).await;
    let task = server.running("release-1.4").await;
    let path = format!("tasks/{}/log", task.id);
    assert_eq!(text(&vera, &path).await, "");
    let log = |host, step, attempt| server.logs.step(task.id, host, step, attempt);
    log("web-1", "stage.sync", 1).line("begun");
    log("web-1", "stage.sync", 1).write_at(0, b"one\ntwo\nthree");
    assert_eq!(text(&vera, &path).await, "begun\none\ntwo\nthree\n");
    log("web-2", "stage.sync", 2).write_at(0, b"again\n");
    let all = unindent(
        "
        web-1 stage.sync| begun
        web-1 stage.sync| one
        web-1 stage.sync| two
        web-2 stage.sync #2| again
        web-1 stage.sync| three
        ",
    );
    assert_text_eq(&text(&vera, &path).await, &all, "all steps");
    assert_eq!(text(&vera, &format!("{path}?host=web-2")).await, "again\n");
    assert_eq!(
        text(&vera, &format!("{path}?host=web-2&step=sync")).await,
        "again\n"
    );
    let of_step = text(&vera, &format!("{path}?step=stage.sync")).await;
    assert_text_eq(&of_step, &all, "one step");
    assert_eq!(text(&vera, &format!("{path}?step=publish")).await, "");
    assert_eq!(vera.get("tasks/99/log").await.0, StatusCode::NOT_FOUND);
    server.end().await;
}

/// The error for a missing part of a log.
async fn missing(program: &Program, path: &str) -> String {
    let (status, said) = program.get(path).await;
    assert_eq!(status, StatusCode::NOT_FOUND, "{path}: {said}");
    said["error"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn unknown_host_or_step_error_lists_the_existing_ones() {
    let server = TestServer::start().await;
    let vera = Program::of(&server, "vera", Role::Viewer).await;
    let task = server.running("release-1.4").await;
    let id = task.id;
    let path = format!("tasks/{id}/log");
    let ask = async |query: &str| missing(&vera, &format!("{path}?{query}")).await;
    for query in ["host=nope", "host=nope&follow=true", "host=nope&step=sync"] {
        let said = ask(query).await;
        let wanted = format!("task {id} has no host nope: it has agent, web-1, web-2, web-3");
        assert_eq!(said, wanted);
    }
    let steps = "checkout.checkout, stage.sync, stage.run, switch.publish, switch.run";
    for query in ["step=nope", "step=nope&follow=true", "step=switch"] {
        let said = ask(query).await;
        let (what, there) = said.split_once(": it has ").unwrap();
        let (_, step) = query.split_once('=').unwrap();
        let step = step.trim_end_matches("&follow=true");
        assert_eq!(what, format!("task {id} has no step {step}"));
        assert_eq!(there, steps);
    }
    assert_eq!(
        ask("host=agent&step=sync").await,
        format!("task {id} has no step sync on agent: it has checkout.checkout")
    );
    // Steps that have not begun are listed, in a rollback too; so are those that only the log has.
    for query in ["host=web-2&step=publish", "step=back.switch.publish"] {
        assert_eq!(text(&vera, &format!("{path}?{query}")).await, "");
    }
    server.logs.step(id, "agent", "landing", 1).line("found it");
    assert_eq!(
        text(&vera, &format!("{path}?step=landing")).await,
        "found it\n"
    );
    // Its hosts and steps are not known yet.
    let early = server.proposed("release-1.5").await;
    let path = format!("tasks/{}/log?host=nope", early.id);
    assert_eq!(text(&vera, &path).await, "");
    let reason = "it never landed".to_owned();
    server
        .append(
            &early,
            vec![Event::Expired {
                reason,
                is_final: false,
            }],
        )
        .await;
    let said = missing(&vera, &path).await;
    assert!(said.ends_with("has no host nope: it has none"), "{said}");
    server.end().await;
}

/// Lines of 16 bytes with their numbers.
fn numbers(lines: std::ops::Range<u64>) -> String {
    lines.map(|number| format!("{number:015}\n")).collect()
}

/// The numbers of the lines of a log, and the bytes that it reports as missing.
fn read_numbers(log: &str) -> (Vec<u64>, u64) {
    let (mut read, mut missing) = (Vec::new(), 0);
    for line in log.lines() {
        match line.strip_prefix("[... ") {
            Some(cut) => {
                assert!(cut.contains("bytes are missing here"), "{line}");
                let count: u64 = cut.split(' ').next().unwrap().parse().unwrap();
                missing += count;
            }
            None => read.push(line.parse().unwrap()),
        }
    }
    (read, missing)
}

#[tokio::test]
async fn long_log_has_its_beginning_and_end_and_counts_the_cut() {
    const LINES: u64 = 1 << 21;
    const STEP: u64 = 1 << 14;
    let server = TestServer::start().await;
    let vera = Program::of(&server, "vera", Role::Viewer).await;
    let task = server.running("release-1.4").await;
    let path = format!("tasks/{}/log?host=web-1&step=sync", task.id);
    let log = server.logs.step(task.id, "web-1", "stage.sync", 1);
    let write = |from: u64| log.write_at(from * 16, numbers(from..from + STEP).as_bytes());
    (0..LINES / 4).step_by(STEP as usize).for_each(write);
    let followed = vera.ask(Method::GET, &format!("{path}&follow=true"));
    let mut followed = followed.send().await.unwrap();
    let first = until(&mut followed, "000000000000000\n").await;
    (LINES / 4..LINES).step_by(STEP as usize).for_each(write);
    let kept = usize::try_from(OUTPUT_KEPT_BYTES / 16).unwrap();
    let holds = |log: &str| {
        let (read, missing) = read_numbers(log);
        assert_eq!(read.len() as u64 * 16 + missing, LINES * 16);
        assert!(read[..kept].iter().copied().eq(0..kept as u64));
        let last = LINES - kept as u64;
        assert!(read[read.len() - kept..].iter().copied().eq(last..LINES));
        missing
    };
    let missing = holds(&text(&vera, &path).await);
    assert!(missing > LINES * 16 / 4, "{missing}");
    let mut all = first;
    while !all.ends_with(&numbers(LINES - 1..LINES)) {
        let chunk = tokio::time::timeout(Duration::from_secs(60), followed.chunk()).await;
        all.push_str(std::str::from_utf8(&chunk.unwrap().unwrap().unwrap()).unwrap());
    }
    holds(&all);
    // The page has the last lines.
    let vera = Browser::of(&server, "vera-2", Role::Viewer).await;
    let (_, page) = vera.get(&format!("/tasks/{}", task.id)).await;
    assert!(
        page.contains(numbers(LINES - 1..LINES).trim_end()),
        "{page}"
    );
    server.end().await;
}

#[tokio::test]
async fn a_step_that_has_not_begun_is_followed_to_its_beginning() {
    let server = TestServer::start().await;
    let vera = Program::of(&server, "vera", Role::Viewer).await;
    let task = server.running("release-1.4").await;
    let path = format!("tasks/{}/log?step=publish&follow=true", task.id);
    let mut response = vera.ask(Method::GET, &path).send().await.unwrap();
    assert_eq!(response.status(), StatusCode::OK);
    let log = server.logs.step(task.id, "web-2", "switch.publish", 1);
    log.line("live");
    assert_eq!(
        until(&mut response, "live\n").await,
        "web-2 switch.publish| live\n"
    );
    server.end().await;
}

#[tokio::test]
async fn long_log_arrives_complete_and_in_order() {
    let server = TestServer::start().await;
    let vera = Program::of(&server, "vera", Role::Viewer).await;
    let task = server.running("release-1.4").await;
    let lines: String = (0..40_000)
        .map(|number| format!("line {number}\n"))
        .collect();
    let log = server.logs.step(task.id, "web-1", "stage.run", 1);
    log.write_at(0, lines.as_bytes());
    let path = format!("tasks/{}/log", task.id);
    assert!(text(&vera, &path).await == lines);
    // The page holds only the end of it.
    let browser = Browser::of(&server, "willy", Role::Viewer).await;
    let (_, page) = browser.get(&format!("/tasks/{}", task.id)).await;
    assert!(page.contains("line 39999") && !page.contains("line 30000\n"));
    assert!(page.len() < 200_000);
    server.end().await;
}

#[tokio::test]
async fn terminal_control_characters_are_escaped() {
    let server = TestServer::start().await;
    let vera = Program::of(&server, "vera", Role::Viewer).await;
    let task = server.running("release-1.4").await;
    let log = server.logs.step(task.id, "web-1", "stage.run", 1);
    log.write_at(0, b"\x1b]0;owned\x07\xff\n<script>\n");
    let shown = text(&vera, &format!("tasks/{}/log", task.id)).await;
    assert_eq!(shown, "\\x1b]0;owned\\x07\u{fffd}\n<script>\n");
    let browser = Browser::of(&server, "willy", Role::Viewer).await;
    let (_, page) = browser.get(&format!("/tasks/{}", task.id)).await;
    assert!(page.contains("&#60;script&#62;"));
    let response = browser
        .ask(Method::GET, &format!("/tasks/{}/log", task.id))
        .send();
    let (_, shown) = both(response.await.unwrap()).await;
    assert!(shown.contains("<script>"), "plain text stays as it is");
    server.end().await;
}

#[tokio::test]
async fn follower_gets_every_log_line_and_the_end() {
    let server = TestServer::start().await;
    let vera = Program::of(&server, "vera", Role::Viewer).await;
    let task = server.running("release-1.4").await;
    let log = server.logs.step(task.id, "web-2", "stage.sync", 1);
    log.write_at(0, b"first\nsec");
    let request = vera.ask(Method::GET, &format!("tasks/{}/log?follow=true", task.id));
    let mut response = request.send().await.unwrap();
    assert_eq!(
        until(&mut response, "first\n").await,
        "web-2 stage.sync| first\n"
    );
    log.write_at(9, b"ond\n");
    assert_eq!(
        until(&mut response, "second").await,
        "web-2 stage.sync| second\n"
    );
    let late = server.logs.step(task.id, "web-3", "stage.sync", 1);
    late.line("it begins");
    assert_eq!(
        until(&mut response, "begins\n").await,
        "web-3 stage.sync| it begins\n"
    );
    late.line("the last line");
    let events = vec![
        ended(at(1, 1, 0), staged()),
        Event::Finished(Outcome::Failed {
            message: "no".to_owned(),
        }),
    ];
    server.append(&task, events).await;
    assert_eq!(
        response.text().await.unwrap(),
        "web-3 stage.sync| the last line\n"
    );
    server.end().await;
}

#[tokio::test]
async fn a_line_without_end_is_cut_and_not_kept() {
    let server = TestServer::start().await;
    let vera = Program::of(&server, "vera", Role::Viewer).await;
    let task = server.running("release-1.4").await;
    let log = server.logs.step(task.id, "web-1", "stage.run", 1);
    log.write_at(0, "x".repeat(300_000).as_bytes());
    let shown = text(&vera, &format!("tasks/{}/log", task.id)).await;
    assert_eq!(shown.matches('x').count(), 300_000);
    assert!(shown.lines().all(|line| line.len() <= 100_000));
    server.end().await;
}

/// Each file is checked once per round, not once for each other file.
#[tokio::test]
async fn log_of_hundreds_of_hosts_is_fast_and_in_order() {
    let server = TestServer::start().await;
    let vera = Program::of(&server, "vera", Role::Viewer).await;
    let task = server.running("release-1.4").await;
    let mut all = String::new();
    for host in 0..400 {
        let name = format!("host-{host:03}");
        for step in ["stage.run", "stage.sync"] {
            let log = server.logs.step(task.id, &name, step, 1);
            log.write_at(0, b"done\n");
            all.push_str(&format!("{name} {step}| done\n"));
        }
    }
    let soon = Duration::from_secs(20);
    let path = format!("tasks/{}/log", task.id);
    let whole = tokio::time::timeout(soon, text(&vera, &path)).await;
    assert!(whole.expect("it takes too long") == all);
    let browser = Browser::of(&server, "willy", Role::Viewer).await;
    let page = format!("/tasks/{}", task.id);
    let shown = tokio::time::timeout(soon, browser.get(&page)).await;
    let (_, page) = shown.expect("the page takes too long");
    assert!(page.contains("host-000 stage.run| done"), "{page}");
    server.end().await;
}
