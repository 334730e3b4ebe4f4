//! `tagship submit`, against a real agent's web server.

use tagship::identity::account::Role;

use crate::command::lab::{Lab, holds, said, started};

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
async fn task_is_submitted_with_every_option() {
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
    let task = lab.server.store.task(1).await.unwrap().submission;
    let request = task.request().unwrap();
    assert_eq!(task.hosts[&1], ["web-1", "web-2"]);
    assert_eq!(
        (task.title.as_str(), request.details.as_str()),
        ("weekly", "why")
    );
    assert_eq!(
        request.run_at.unwrap().to_string().len(),
        "2026-11-21T21:30:00Z".len()
    );
    assert_eq!(request.approvers, ["alice"]);
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
async fn secret_from_stdin_or_file_is_not_shown() {
    let lab = Lab::new().await;
    let arguments = with(&["--secret", "PASSWORD", "--id"]);
    holds(lab.local(&arguments).stdin("hunter2\n").stdout("1\n"));
    let task = lab.server.store.task(1).await.unwrap();
    assert_eq!(task.submission.secrets["PASSWORD"].expose(), "hunter2");
    let shown = said(lab.local(&["show", "1", "--json"]));
    assert!(!shown.stdout.contains("hunter2"));
    assert_eq!(shown.json()["parameters"]["PASSWORD"], "[REDACTED]");
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("password");
    std::fs::write(&file, "hunter3").unwrap();
    let given = format!("PASSWORD={}", file.display());
    let run = said(lab.local(&with(&["--secret", &given])));
    assert!(run.stdout.contains("task 2 is submitted"), "{run}");
    let task = lab.server.store.task(2).await.unwrap();
    assert_eq!(task.submission.secrets["PASSWORD"].expose(), "hunter3");
}

#[tokio::test(flavor = "multi_thread")]
async fn earlier_task_is_repeated_with_overrides() {
    let lab = Lab::new().await;
    said(
        lab.local(&with(&["--secret", "PASSWORD", "--title", "weekly"]))
            .stdin("hunter2\n"),
    );
    let run = said(lab.local(&["submit", "--repeat", "1", "--hosts", "2=web-2"]));
    assert!(
        run.stderr.contains("PASSWORD; give them with --secret"),
        "{run}"
    );
    let task = lab.server.store.task(2).await.unwrap().submission;
    assert_eq!(task.title, "weekly");
    assert_eq!(task.hosts[&1], ["web-1", "web-2"]);
    assert_eq!(task.hosts[&2], ["web-2"]);
    assert!(task.secrets.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn submission_file_with_a_key_makes_one_task() {
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
async fn invalid_submission_is_reported_and_makes_no_task() {
    let lab = Lab::new().await;
    let arguments = [
        "submit",
        "restart",
        "--param",
        "SERVICE=Shop",
        "--hosts",
        "1=web-9",
    ];
    let run = said(lab.local(&arguments));
    assert_eq!(run.status, Some(1));
    for part in [
        "nothing was submitted",
        "params.SERVICE",
        "hosts.1",
        "hosts.2",
    ] {
        assert!(run.stderr.contains(part), "no {part}: {run}");
    }
    let run = said(
        lab.remote("bob", Role::Submitter, &with(&["--ready"]))
            .await,
    );
    assert!(run.stderr.contains("requires the role approver"), "{run}");
    let run = said(lab.local(&["submit", "restart", "--hosts", "web-1"]));
    assert!(run.stderr.contains("write 1=web1,web2"), "{run}");
    assert!(lab.server.store.task(1).await.is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_input_is_refused_with_a_message() {
    let lab = Lab::new().await;
    let many: Vec<String> = (0..101).map(|n| format!("127.0.1.{n}")).collect();
    let many = format!("1={}", many.join(","));
    let long = format!("PASSWORD={}", "x".repeat(9_000));
    let cases: [(&[&str], &str); 12] = [
        (&["submit"], "<TEMPLATE>"),
        (&["submit", "none"], "no template has this name"),
        (&["submit", "../../etc/passwd"], "no template has this name"),
        (
            &with(&["--title", "a\u{1b}[2Jb"]),
            "title: holds a control character",
        ),
        (
            &with(&["--details", "a\u{8}b"]),
            "details: holds a control character",
        ),
        (
            &with(&["--param", "PASSWORD=a\u{7}b"]),
            "params.PASSWORD: holds a control",
        ),
        (
            &with(&["--param", &long]),
            "params.PASSWORD: is longer than",
        ),
        (&with(&["--param", "$(id)=x"]), "is no parameter's name"),
        (&with(&["--hosts", &many]), "more than 100"),
        (&with(&["--hosts", "1=-oProxyCommand=x"]), "hosts.1"),
        (&with(&["--approver", "$(reboot)"]), "is no account's name"),
        (
            &with(&["--project", "shop", "--tag", "a b"]),
            "is no tag's name",
        ),
    ];
    for (arguments, words) in cases {
        let run = said(lab.local(arguments));
        let shown: String = arguments.join(" ").chars().take(200).collect();
        assert_ne!(run.status, Some(0), "{shown}: {run}");
        assert!(run.stderr.contains(words), "{shown}: {run}");
        assert!(
            !run.stderr.contains(['\u{1b}', '\u{7}', '\u{8}']),
            "{shown}"
        );
    }
    let huge = format!("{{\"template\": \"{}\"}}", "x".repeat(10 * 1024 * 1024));
    let run = said(
        lab.local(&["submit", "--json", "huge.json"])
            .file("huge.json", &huge),
    );
    assert_ne!(run.status, Some(0), "{run}");
    assert!(run.stderr.contains("longer than 65536 bytes"), "{run}");
    for (order, words) in [
        ("[]", "must be an object"),
        (r#"{"template": ["x"]}"#, "template: must be text"),
        (r#"{"templat": "restart"}"#, "did you mean `template`?"),
        (
            r#"{"template": "restart", "hosts": 1}"#,
            "hosts: must be an object",
        ),
    ] {
        let run = said(lab.local(&["submit", "--json", "-"]).stdin(order));
        assert_eq!(run.status, Some(1), "{order}: {run}");
        assert!(run.stderr.contains(words), "{order}: {run}");
    }
    assert!(
        lab.server.store.task(1).await.is_err(),
        "something was made"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn shell_metacharacters_arrive_unchanged() {
    let lab = Lab::new().await;
    let value = "$(touch pwned) `id` ; | & > < * ? ~ ! # \\ \" ' {a,b} %s --x 长";
    let param = format!("PASSWORD={value}");
    let more = ["--param", &param, "--title", value, "--details", value];
    let made = said(lab.local(&with(&more)));
    assert_eq!(made.status, Some(0), "{made}");
    let kept = lab.server.store.task(1).await.unwrap().submission;
    assert_eq!(kept.parameters["PASSWORD"], value);
    let details = &kept.request().unwrap().details;
    assert_eq!((kept.title.as_str(), details.as_str()), (value, value));
}

#[tokio::test(flavor = "multi_thread")]
async fn concurrent_submissions_with_one_key_make_one_task() {
    let lab = Lab::new().await;
    let arguments = with(&["--key", "nightly", "--id"]);
    let tests: Vec<_> = (0..4).map(|_| lab.local(&arguments)).collect();
    let children: Vec<_> = tests.iter().map(started).collect();
    for child in children {
        let output = tokio::task::block_in_place(|| child.wait_with_output()).unwrap();
        assert_eq!(String::from_utf8_lossy(&output.stdout), "1\n");
    }
    assert!(lab.server.store.task(2).await.is_err());
    let other = said(lab.local(&with(&["--key", "nightly", "--title", "another"])));
    assert_eq!(other.status, Some(1));
    assert!(other.stderr.contains("was used for task 1"), "{other}");
}
