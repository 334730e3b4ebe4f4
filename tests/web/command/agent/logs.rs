//! Logs of steps, printed and followed.

use super::*;

fn to_a_failure() -> Vec<Event> {
    to_the_end(Outcome::Failed {
        message: "x".to_owned(),
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn the_log_of_a_step_is_printed_and_followed_to_the_end() {
    let lab = Lab::new().await;
    let task = lab.server.running("release-1").await;
    let write = |host: &str, text: &str| {
        lab.server
            .logs
            .step(1, host, "stage.sync", 1)
            .write_at(0, text.as_bytes());
    };
    write("web-1", "17 files\n");
    write("web-2", "begun\n");
    let alone = said(lab.local(&["log", "1", "--host", "web-1", "--step", "sync"]));
    assert_eq!(alone.stdout, "17 files\n", "{alone}");
    for (asked, why) in [
        (
            &["log", "1", "--host", "nope"][..],
            "error: task 1 has no host nope: it has agent, web-1, web-2, web-3\n",
        ),
        (
            &["log", "1", "--host", "wbe-2"],
            "error: task 1 has no host wbe-2: it has agent, web-1, web-2, web-3; did you mean web-2?\n",
        ),
        (
            &["log", "1", "-f", "--step", "nope", "--host", "agent"],
            "error: task 1 has no step nope on agent: it has checkout.checkout\n",
        ),
    ] {
        let refused = said(lab.local(asked));
        assert_eq!((refused.status, refused.stderr.as_str()), (Some(1), why));
    }
    let both = said(lab.local(&["log", "1"]));
    assert!(both.stdout.contains("web-2 stage.sync| begun\n"), "{both}");

    let test = lab.local(&["log", "1", "-f"]);
    let mut child = started(&test);
    let mut lines = BufReader::new(child.stdout.take().unwrap());
    let mut first = String::new();
    tokio::task::block_in_place(|| lines.read_line(&mut first).unwrap());
    lab.server.append(&task, to_a_failure()).await;
    let mut rest = String::new();
    tokio::task::block_in_place(|| lines.read_to_string(&mut rest).unwrap());
    assert!(
        format!("{first}{rest}").contains("web-2 stage.sync| begun\n"),
        "{first}{rest}"
    );
    let status = tokio::task::block_in_place(|| child.wait().unwrap());
    assert_eq!(
        status.code(),
        Some(0),
        "a log was followed to its end, however the task ended"
    );
}

/// The agent ends a followed log after a time limit; the reader notices nothing.
#[tokio::test(flavor = "multi_thread")]
async fn log_followed_over_reconnects_is_printed_once() {
    let lab = Lab::with(WebLimits {
        stream: Duration::from_millis(300),
        ..WebLimits::default()
    })
    .await;
    let task = lab.server.running("release-1").await;
    let log = lab.server.logs.step(1, "web-1", "stage.sync", 1);
    log.write_at(0, b"one\n");
    let test = lab.local(&["log", "1", "-f"]);
    let mut child = started(&test);
    let mut lines = BufReader::new(child.stdout.take().unwrap());
    let mut text = String::new();
    tokio::task::block_in_place(|| lines.read_line(&mut text).unwrap());
    // The second connection was opened when the first one ended.
    let opened = || async {
        let metrics = reqwest::get(format!("{}/metrics", lab.server.url)).await;
        metrics
            .unwrap()
            .text()
            .await
            .unwrap()
            .contains("tagship_streams 1")
    };
    let over_and_opened = async {
        for wanted in [false, true] {
            while opened().await != wanted {
                tokio::task::yield_now().await;
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(30), over_and_opened)
        .await
        .unwrap();
    log.write_at(4, b"two\n");
    let failed = Outcome::Failed {
        message: "x".to_owned(),
    };
    lab.server.append(&task, to_the_end(failed)).await;
    tokio::task::block_in_place(|| lines.read_to_string(&mut text).unwrap());
    assert_eq!(text, "web-1 stage.sync| one\nweb-1 stage.sync| two\n");
    assert!(tokio::task::block_in_place(|| child.wait().unwrap()).success());
}

#[tokio::test(flavor = "multi_thread")]
async fn on_a_terminal_the_hosts_are_drawn_below_the_log() {
    let lab = Lab::new().await;
    let task = lab.server.running("release-1").await;
    let config = lab.local(&["log", "1", "-f"]);
    let program = env!("CARGO_BIN_EXE_tagship");
    let path = config.path("config.toml");
    let call = format!(
        "stty cols 60 rows 20; exec {program} --config {} log 1 -f",
        path.display()
    );
    let mut child = std::process::Command::new("script")
        .args(["-qefc", &call, "/dev/null"])
        .env("TERM", "xterm")
        .env("NO_COLOR", "1")
        .stdin(std::process::Stdio::null())
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let mut screen = BufReader::new(child.stdout.take().unwrap());
    let mut text = String::new();
    while !text.contains("web-3") {
        let read = tokio::task::block_in_place(|| screen.read_line(&mut text).unwrap());
        assert!(read > 0, "{text:?}");
    }
    lab.server.append(&task, to_a_failure()).await;
    tokio::task::block_in_place(|| screen.read_to_string(&mut text).unwrap());
    assert!(
        text.contains("task 1 shop to production: running\u{1b}[K\r\n"),
        "{text:?}"
    );
    assert!(
        text.contains("  web-2  0/3   stage.sync         running\u{1b}[K\r\n"),
        "{text:?}"
    );
    assert!(text.contains("A\rtask 1 "), "redrawn in place: {text:?}");
    assert!(
        text.contains("task 1 shop to production: failed: x\u{1b}[K\r\n"),
        "{text:?}"
    );
    assert!(tokio::task::block_in_place(|| child.wait().unwrap()).success());
}
