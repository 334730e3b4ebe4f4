//! Many hosts, busy servers, and hosts behind another one.

use std::pin::{Pin, pin};
use std::task::{Context, Poll};
use std::time::Duration;

use futures::future::join_all;
use tagship::hosts::ssh::{Connection, RemoteError, SshTarget};
use tagship_tests::sshd::{Sshd, free_port};
use tokio::task::coop::consume_budget;

use crate::ssh::targets::{dialer, refused, run, target};

#[tokio::test(flavor = "multi_thread")]
async fn thirty_logins_succeed_despite_a_server_limit() {
    let sshd = Sshd::settings()
        .hosts(15)
        .line("MaxStartups 2:100:4")
        .start();
    let dialer = dialer();
    let targets: Vec<SshTarget> = (0..30)
        .map(|number| target(&sshd, number % 15 + 1))
        .collect();
    let opened = join_all(
        targets
            .iter()
            .map(|target| Connection::open(target, &dialer)),
    )
    .await;
    for connection in opened {
        let connection = connection.unwrap();
        assert!(run(&connection, "true").await.exit.success());
    }
    // Otherwise the server was not too busy, and the test proves nothing.
    assert!(sshd.log().contains("MaxStartups"), "{}", sshd.log());
}

/// The host at `inner`, reached through the server `outer`.
fn behind(outer: &Sshd, inner: &Sshd, host: u8) -> SshTarget {
    SshTarget {
        jump: Some(Box::new(SshTarget {
            name: "bastion".into(),
            ..target(outer, 0)
        })),
        ..target(inner, host)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn hosts_behind_a_jump_host_share_one_connection_to_it() {
    let outer = Sshd::settings().start();
    let inner = Sshd::settings().hosts(15).start();
    let dialer = dialer();
    let targets: Vec<SshTarget> = (1..=15).map(|host| behind(&outer, &inner, host)).collect();
    let opened = join_all(
        targets
            .iter()
            .map(|target| Connection::open(target, &dialer)),
    )
    .await;
    let opened: Vec<Connection> = opened.into_iter().map(Result::unwrap).collect();
    for connection in &opened {
        assert_eq!(run(connection, "echo through").await.stdout, b"through\n");
    }
    assert_eq!(outer.log().matches("Accepted publickey").count(), 1);
    drop(opened);
    assert!(tagship_tests::until(|| inner.sessions().is_empty()));
    assert!(tagship_tests::until(|| outer.sessions().is_empty()));
}

#[tokio::test(flavor = "multi_thread")]
async fn jump_host_carries_much_data_both_ways_at_once() {
    let (outer, inner) = (Sshd::settings().start(), Sshd::settings().start());
    let connection = Connection::open(&behind(&outer, &inner, 0), &dialer())
        .await
        .unwrap();
    let input: Vec<u8> = (0..60_000_000u32).map(|n| (n % 253) as u8).collect();
    let echoed = connection
        .capture("cat", &input, input.len(), crate::ssh::targets::LONG)
        .await
        .unwrap();
    assert!(echoed.stdout == input);
}

#[tokio::test(flavor = "multi_thread")]
async fn lost_jump_host_drops_its_hosts_and_is_reconnected() {
    let (outer, inner) = (Sshd::settings().start(), Sshd::settings().start());
    let connection = Connection::open(&behind(&outer, &inner, 0), &dialer())
        .await
        .unwrap();
    outer.kill_sessions();
    assert!(tagship_tests::until(|| connection.is_closed()));
    assert_eq!(run(&connection, "echo back").await.stdout, b"back\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn failure_behind_a_jump_host_names_both_hosts() {
    let outer = Sshd::settings().start();
    let inner = Sshd::settings().start();
    let mut target = behind(&outer, &inner, 0);
    target.port = free_port();
    let error = refused(&target).await;
    assert!(matches!(error, RemoteError::Jump { .. }), "{error}");
    let text = error.to_string();
    assert!(text.contains("bastion") && text.contains("web0"), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_key_of_a_host_behind_a_jump_host_is_checked_too() {
    let (outer, inner) = (Sshd::settings().start(), Sshd::settings().start());
    let mut target = behind(&outer, &inner, 0);
    target.known_hosts = inner.directory().join("nobody-yet");
    let error = refused(&target).await;
    assert!(
        matches!(error, RemoteError::UnknownHostKey { .. }),
        "{error}"
    );
}

/// tokio's budget: what a task may do in one poll before it has to yield.
const BUDGET: usize = 128;

/// Resumes with almost no budget left, like one of hundreds of hosts in one task.
struct Crowded<F> {
    inner: Pin<Box<F>>,
    polls: usize,
}

impl<F: Future> Future for Crowded<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        self.polls += 1;
        for _ in 0..BUDGET - self.polls % 8 {
            if pin!(consume_budget()).poll(cx).is_pending() {
                break;
            }
        }
        self.inner.as_mut().poll(cx)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn command_gets_its_input_despite_a_small_poll_budget() {
    let sshd = Sshd::settings().start();
    let connection = crate::ssh::targets::open(&sshd).await;
    let input = vec![b'x'; 100_000];
    for round in 0..16 {
        let (connection, input) = (connection.clone(), input.clone());
        let echoed = tokio::spawn(Crowded {
            inner: Box::pin(async move {
                let limit = Duration::from_secs(20);
                connection.capture("cat", &input, input.len(), limit).await
            }),
            polls: round,
        });
        let echoed = echoed.await.unwrap();
        let echoed = echoed.unwrap_or_else(|error| panic!("round {round}: {error}"));
        assert_eq!(echoed.stdout.len(), 100_000, "round {round}");
    }
}
