//! Commands on one connection.

use std::time::Duration;

use tagship::hosts::ssh::{Exit, Reach, RemoteError, Stream};
use tagship_tests::sshd::Sshd;
use tagship_tests::until;

use crate::ssh::targets::{LONG, open, run};

#[tokio::test(flavor = "multi_thread")]
async fn output_errors_and_exit_code_come_back() {
    let sshd = Sshd::settings().start();
    let connection = open(&sshd).await;
    let done = run(&connection, "echo out; echo err >&2; exit 7").await;
    assert_eq!(done.exit, Exit::Code(7));
    assert_eq!(done.stdout, b"out\n");
    assert!(String::from_utf8_lossy(&done.stderr).ends_with("err\n"));
    assert_eq!(run(&connection, "true").await.exit, Exit::Code(0));
    assert_eq!(
        run(&connection, "kill -TERM $$").await.exit,
        Exit::Signal("TERM".into())
    );
    assert_eq!(
        run(&connection, "no-such-program").await.exit,
        Exit::Code(127)
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn standard_input_arrives_whole_and_ends() {
    let sshd = Sshd::settings().start();
    let connection = open(&sshd).await;
    let input: Vec<u8> = (0..5_000_000u32).map(|n| (n % 251) as u8).collect();
    let done = connection
        .capture("cat", &input, input.len(), LONG)
        .await
        .unwrap();
    assert!(done.stdout == input);
    // A command that reads none of it still ends.
    let done = connection
        .capture("exit 3", &input, 10, LONG)
        .await
        .unwrap();
    assert_eq!(done.exit, Exit::Code(3));
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_commands_run_at_once() {
    let sshd = Sshd::settings().start();
    let connection = open(&sshd).await;
    // Each waits for all the others: in sequence they would wait forever.
    let commands = (0..10).map(|number| {
        let connection = connection.clone();
        let directory = sshd.directory().display().to_string();
        let command = format!(
            "cd {directory}; touch here-{number}; \
             until test $(ls here-* | wc -l) = 10; do sleep 0.05; done; echo {number}"
        );
        async move { run(&connection, &command).await.stdout }
    });
    let outputs = futures::future::join_all(commands).await;
    for (number, output) in outputs.iter().enumerate() {
        assert_eq!(*output, format!("{number}\n").as_bytes());
    }
    assert_eq!(sshd.log().matches("Accepted publickey").count(), 1);
}

/// OpenSSH counts every channel that was not closed by us against `MaxSessions`, and the library
/// closes none.
#[tokio::test(flavor = "multi_thread")]
async fn sequential_commands_may_exceed_the_session_limit() {
    let sshd = Sshd::settings().line("MaxSessions 3").start();
    let connection = open(&sshd).await;
    for number in 0..10 {
        let done = run(&connection, &format!("echo {number}")).await;
        assert_eq!(done.stdout, format!("{number}\n").as_bytes());
    }
    assert_eq!(sshd.log().matches("Accepted publickey").count(), 4);
}

#[tokio::test(flavor = "multi_thread")]
async fn concurrent_commands_may_exceed_the_session_limit() {
    let sshd = Sshd::settings().line("MaxSessions 2").start();
    let connection = open(&sshd).await;
    let commands = (0..12).map(|number| {
        let connection = connection.clone();
        async move { run(&connection, &format!("echo {number}")).await.stdout }
    });
    for (number, output) in futures::future::join_all(commands).await.iter().enumerate() {
        assert_eq!(*output, format!("{number}\n").as_bytes());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn refused_session_is_reported_and_runs_nothing() {
    let sshd = Sshd::settings().line("MaxSessions 0").start();
    let connection = open(&sshd).await;
    let error = connection.capture("true", b"", 0, LONG).await.unwrap_err();
    assert!(
        matches!(error, RemoteError::ChannelRefused { .. }),
        "{error}"
    );
    assert_eq!(error.reach(), Reach::NotReached);
}

/// If the reader is slower than the host, the host has to wait: nothing here may buffer all of its
/// output.
#[tokio::test(flavor = "multi_thread")]
async fn fast_output_is_throttled_by_a_slow_reader() {
    let sshd = Sshd::settings().start();
    let connection = open(&sshd).await;
    let all_written = sshd.directory().join("all-written");
    let command = format!(
        "head -c 80000000 /dev/zero; touch {}",
        all_written.display()
    );
    let (_never, nothing) = std::sync::mpsc::channel::<()>();
    let mut slow_reader = move |_: Stream, _: &[u8]| {
        let _ = nothing.recv_timeout(Duration::from_millis(10));
    };
    let error = connection
        .exec(&command, b"", &mut slow_reader, Duration::from_secs(4))
        .await
        .unwrap_err();
    assert!(matches!(error, RemoteError::TimedOut { .. }), "{error}");
    assert_eq!(error.reach(), Reach::Lost);
    assert!(!all_written.exists());
    // The connection stays usable, and the abandoned script does not block it.
    assert_eq!(run(&connection, "echo on").await.stdout, b"on\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn endlessly_printing_command_times_out() {
    let sshd = Sshd::settings().start();
    let connection = open(&sshd).await;
    let endless = connection.capture("yes", b"", 10, Duration::from_secs(1));
    let error = endless.await.unwrap_err();
    assert!(matches!(error, RemoteError::TimedOut { .. }), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn dropped_command_does_not_block_the_next() {
    let sshd = Sshd::settings().start();
    let connection = open(&sshd).await;
    for _ in 0..3 {
        let (begun, mut begins) = tokio::sync::mpsc::unbounded_channel();
        let mut on_output = move |stream: Stream, bytes: &[u8]| {
            if stream == Stream::Stdout {
                let _ = begun.send(bytes.to_vec());
            }
        };
        let endless = connection.exec("echo $$; exec yes", b"", &mut on_output, LONG);
        let first = tokio::select! {
            _ = endless => panic!("yes ended"),
            first = begins.recv() => first.unwrap(),
        };
        let first = String::from_utf8(first).unwrap();
        let process = format!("/proc/{}", first.lines().next().unwrap());
        assert_eq!(run(&connection, "echo on").await.stdout, b"on\n");
        assert!(until(|| !std::path::Path::new(&process).exists()));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn background_process_holding_output_causes_no_timeout() {
    let sshd = Sshd::settings().start();
    let connection = open(&sshd).await;
    let command = "sleep 60 & echo started; exit 4";
    let done = connection.capture(command, b"", 100, LONG);
    let done = tokio::time::timeout(LONG / 4, done).await.unwrap().unwrap();
    assert_eq!(done.exit, Exit::Code(4));
    assert_eq!(done.stdout, b"started\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn captured_output_is_capped_and_the_excess_counted() {
    let sshd = Sshd::settings().start();
    let connection = open(&sshd).await;
    let command = "head -c 3000000 /dev/zero";
    let done = connection.capture(command, b"", 1000, LONG).await.unwrap();
    assert_eq!(done.stdout.len(), 1000);
    assert!(done.dropped >= 2_999_000);
    assert!(done.exit.success());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_too_long_for_the_host_is_refused_before_it_is_sent() {
    let sshd = Sshd::settings().start();
    let connection = open(&sshd).await;
    let long = format!(": {}", "x".repeat(119_000));
    assert!(run(&connection, &long).await.exit.success());
    let error = connection
        .capture(&"x".repeat(130_000), b"", 0, LONG)
        .await
        .unwrap_err();
    assert!(
        matches!(error, RemoteError::CommandTooLong { .. }),
        "{error}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_closed_connection_runs_nothing_more() {
    let sshd = Sshd::settings().start();
    let connection = open(&sshd).await;
    assert!(!connection.is_closed());
    connection.close().await;
    assert!(connection.is_closed());
    let error = connection.capture("true", b"", 0, LONG).await.unwrap_err();
    assert_eq!(error.reach(), Reach::NotReached);
}

#[tokio::test(flavor = "multi_thread")]
async fn dropping_the_last_clone_closes_the_connection() {
    let sshd = Sshd::settings().start();
    let connection = open(&sshd).await;
    run(&connection, "true").await;
    let other = connection.clone();
    drop(connection);
    run(&other, "true").await;
    assert!(!sshd.sessions().is_empty());
    drop(other);
    assert!(until(|| sshd.sessions().is_empty()));
}
