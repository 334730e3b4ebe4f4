//! `tagship submit`, asked of a real agent's web.

use tagship::account::Role;

use crate::lab::{Lab, holds, said};

const RESTART: [&str; 8] = [
    "submit",
    "restart",
    "--param",
    "SERVICE=shop",
    "--hosts",
    "1=web-1,127.0.0.2",
    "--hosts",
    "2=web-3",
];

fn with<'a>(more: &[&'a str]) -> Vec<&'a str> {
    RESTART.iter().chain(more).copied().collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_task_is_submitted_with_everything_that_was_said() {
    let lab = Lab::new().await;
    let arguments = with(&[
        "--title",
        "weekly",
        "--at",
        "22:30",
        "--approver",
        "alice",
        "--details",
        "why",
    ]);
    holds(
        lab.local(&arguments)
            .stdout("task 1 is submitted; it is proposed\n"),
    );
    let task = lab.world.store.task(1).await.unwrap().submission;
    assert_eq!(task.hosts[&1], ["web-1", "web-2"]);
    assert_eq!(
        (task.title.as_str(), task.details.as_str()),
        ("weekly", "why")
    );
    assert_eq!(
        task.run_at.unwrap().to_string().len(),
        "2026-11-21T21:30:00Z".len()
    );
    assert_eq!(task.approvers, ["alice"]);
    let shown = said(lab.local(&["show", "1"]));
    assert!(
        shown
            .stdout
            .starts_with("task 1: weekly on web-1, web-2, web-3\n"),
        "{shown}"
    );
    let listed = said(lab.local(&["tasks"]));
    assert!(
        listed
            .stdout
            .contains("proposed  -        -            weekly"),
        "{listed}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_secret_comes_from_standard_input_or_a_file_and_is_not_shown() {
    let lab = Lab::new().await;
    let arguments = with(&["--secret", "PASSWORD", "--id"]);
    holds(lab.local(&arguments).stdin("hunter2\n").stdout("1\n"));
    let task = lab.world.store.task(1).await.unwrap();
    assert_eq!(task.submission.secrets["PASSWORD"].expose(), "hunter2");
    let shown = said(lab.local(&["show", "1", "--json"]));
    assert!(!shown.stdout.contains("hunter2"));
    assert_eq!(shown.json()["parameters"]["PASSWORD"], "[REDACTED]");
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("password");
    std::fs::write(&file, "hunter3").unwrap();
    let given = format!("PASSWORD={}", file.display());
    let told = said(lab.local(&with(&["--secret", &given])));
    assert!(told.stdout.contains("task 2 is submitted"), "{told}");
    let task = lab.world.store.task(2).await.unwrap();
    assert_eq!(task.submission.secrets["PASSWORD"].expose(), "hunter3");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_earlier_task_is_repeated_with_what_is_said_anew() {
    let lab = Lab::new().await;
    said(
        lab.local(&with(&["--secret", "PASSWORD", "--title", "weekly"]))
            .stdin("hunter2\n"),
    );
    let told = said(lab.local(&["submit", "--repeat", "1", "--hosts", "2=web-2"]));
    assert!(
        told.stderr.contains("PASSWORD; give them with --secret"),
        "{told}"
    );
    let task = lab.world.store.task(2).await.unwrap().submission;
    assert_eq!(task.title, "weekly");
    assert_eq!(task.hosts[&1], ["web-1", "web-2"]);
    assert_eq!(task.hosts[&2], ["web-2"]);
    assert!(task.secrets.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_says_all_of_it_and_a_key_makes_one_task() {
    let lab = Lab::new().await;
    let order = r#"{"template": 70, "params": {"SERVICE": "shop"}, "hosts": {"1": "web-1", "2": "web-2"}, "idempotency_key": "k"}"#;
    for _ in 0..2 {
        let test = lab.local(&["submit", "--json", "-", "--id"]).stdin(order);
        holds(test.stdout("1\n"));
    }
    holds(
        lab.local(&["submit", "--json", "-"])
            .stdin("{")
            .status(1)
            .stderr("error: --json: -: EOF while parsing an object at line 1 column 1\n"),
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_wrong_is_told_and_nothing_is_made() {
    let lab = Lab::new().await;
    let arguments = [
        "submit",
        "restart",
        "--param",
        "SERVICE=Shop",
        "--hosts",
        "1=web-9",
    ];
    let told = said(lab.local(&arguments));
    assert_eq!(told.status, Some(1));
    for part in [
        "nothing was submitted",
        "params.SERVICE",
        "hosts.1",
        "hosts.2",
    ] {
        assert!(told.stderr.contains(part), "no {part}: {told}");
    }
    let told = said(
        lab.remote("bob", Role::Submitter, &with(&["--ready"]))
            .await,
    );
    assert!(told.stderr.contains("takes the role approver"), "{told}");
    let told = said(lab.local(&["submit", "restart", "--hosts", "web-1"]));
    assert!(told.stderr.contains("write 1=web1,web2"), "{told}");
    assert!(lab.world.store.task(1).await.is_err());
}
