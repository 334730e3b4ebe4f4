//! Connections that are kept after their last use, for the next one who asks.

use std::fs;
use std::sync::Arc;
use std::time::Duration;

use tagship::hosts::remote::{
    Connection, DialSettings, Dialer, IdleLimits, Keepalive, RemoteError, SshIdentity, SshTarget,
};
use tokio::time::Instant;

use crate::scripts::{perform, sessions_started};
use crate::support::proxy::{Direction, Fault, Proxy};
use crate::support::sshd::{Kind, Sshd, make_key};
use crate::support::until;
use crate::world::{file, run, target, target_through};

fn keeping(timeout: Duration, connections: usize) -> Arc<Dialer> {
    Dialer::new(DialSettings {
        connect_timeout: Duration::from_secs(5),
        keepalive: Keepalive {
            interval: Duration::from_millis(300),
            missed: 3,
        },
        idle: IdleLimits {
            timeout,
            connections,
        },
        ..DialSettings::default()
    })
}

fn keeper() -> Arc<Dialer> {
    keeping(Duration::from_secs(600), 10)
}

/// What a task does: opens a connection, uses it, leaves it.
async fn task(target: &SshTarget, dialer: &Arc<Dialer>) {
    let connection = Connection::open(target, dialer).await.unwrap();
    let done = perform(&connection, "echo done").await;
    assert_eq!(done.stdout, b"done\n");
}

fn logins(sshd: &Sshd) -> usize {
    sshd.log().matches("Accepted publickey").count()
}

#[tokio::test(flavor = "multi_thread")]
async fn next_task_needs_neither_login_nor_session() {
    let sshd = Sshd::settings().start();
    let (target, dialer) = (target(&sshd, 0), keeper());
    for _ in 0..20 {
        task(&target, &dialer).await;
    }
    assert_eq!((logins(&sshd), sessions_started(&sshd)), (1, 1));
    // The last user of all ends them.
    drop(dialer);
    assert!(until(|| sshd.sessions().is_empty()));
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_kept_where_the_time_or_the_number_is_zero() {
    for (timeout, connections) in [(0, 10), (600, 0)] {
        let sshd = Sshd::settings().start();
        let dialer = keeping(Duration::from_secs(timeout), connections);
        for _ in 0..3 {
            task(&target(&sshd, 0), &dialer).await;
        }
        assert_eq!(logins(&sshd), 3);
        assert!(until(|| sshd.sessions().is_empty()));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn kept_connection_that_was_cut_is_replaced_unnoticed() {
    let sshd = Sshd::settings().start();
    let (target, dialer) = (target(&sshd, 0), keeper());
    for number in 1..=5 {
        task(&target, &dialer).await;
        assert_eq!(logins(&sshd), number);
        sshd.kill_sessions();
        if number % 2 == 0 {
            // Else the next task comes before anything was heard of it.
            assert!(until(|| sshd.sessions().is_empty()));
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn kept_connection_that_went_silent_holds_up_no_task_for_long() {
    let sshd = Sshd::settings().start();
    let (target, dialer) = (target(&sshd, 0), keeper());
    task(&target, &dialer).await;
    sshd.freeze_sessions();
    let began = Instant::now();
    task(&target, &dialer).await;
    assert!(began.elapsed() < Duration::from_secs(10));
    assert_eq!(logins(&sshd), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn kept_connection_that_went_silent_is_closed_before_anybody_asks() {
    let sshd = Sshd::settings().start();
    let proxy = Proxy::start(sshd.socket(), Fault::None);
    task(&target_through(&sshd, proxy.port()), &keeper()).await;
    proxy.stall();
    assert!(until(|| sshd.sessions().is_empty()));
}

#[tokio::test(flavor = "multi_thread")]
async fn kept_connection_whose_shell_was_ended_is_not_used() {
    let sshd = Sshd::settings().start();
    let (target, dialer) = (target(&sshd, 0), keeper());
    let connection = Connection::open(&target, &dialer).await.unwrap();
    let shell = perform(&connection, "echo $$").await.stdout;
    drop(connection);
    let shell = String::from_utf8(shell).unwrap();
    let killer = Connection::open(&target, &keeper()).await.unwrap();
    run(&killer, &format!("kill -KILL {shell}")).await;
    for _ in 0..3 {
        task(&target, &dialer).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn kept_connection_is_for_its_own_user_key_and_address_alone() {
    let sshd = Sshd::settings().hosts(2).start();
    let dialer = keeper();
    let ours = target(&sshd, 1);
    task(&ours, &dialer).await;
    let key = file(&sshd, "other_key");
    make_key(&key, Kind::Ed25519, "");
    sshd.authorize(&file(&sshd, "other_key.pub"));
    let others = [
        target(&sshd, 2),
        SshTarget {
            identity: SshIdentity {
                file: key,
                passphrase_file: None,
            },
            ..ours.clone()
        },
        SshTarget {
            jump: Some(Box::new(target(&sshd, 0))),
            ..ours.clone()
        },
    ];
    let mut before = logins(&sshd);
    for other in others {
        task(&other, &dialer).await;
        assert!(logins(&sshd) > before, "{other}");
        before = logins(&sshd);
    }
    let nobody = SshTarget {
        user: "no-such-user".into(),
        ..ours.clone()
    };
    let refused = Connection::open(&nobody, &dialer).await;
    assert!(matches!(refused, Err(RemoteError::Unauthorized { .. })));
    task(&ours, &dialer).await;
    assert_eq!(logins(&sshd), before);
}

#[tokio::test(flavor = "multi_thread")]
async fn kept_connection_is_not_used_once_the_host_key_is_not_trusted() {
    let sshd = Sshd::settings().start();
    let (target, dialer) = (target(&sshd, 0), keeper());
    task(&target, &dialer).await;
    fs::write(&target.known_hosts, "# nobody\n").unwrap();
    let refused = Connection::open(&target, &dialer).await.map(drop);
    assert!(
        matches!(refused, Err(RemoteError::UnknownHostKey { .. })),
        "{refused:?}"
    );
    assert!(until(|| sshd.sessions().is_empty()));
}

#[tokio::test(flavor = "multi_thread")]
async fn kept_connection_is_not_used_once_the_key_file_was_replaced() {
    let sshd = Sshd::settings().start();
    let (target, dialer) = (target(&sshd, 0), keeper());
    task(&target, &dialer).await;
    fs::remove_file(&target.identity.file).unwrap();
    make_key(&target.identity.file, Kind::Ed25519, "");
    let refused = Connection::open(&target, &dialer).await;
    assert!(matches!(refused, Err(RemoteError::Unauthorized { .. })));
}

#[tokio::test(flavor = "multi_thread")]
async fn of_too_many_the_one_that_was_used_longest_ago_is_closed() {
    let sshd = Sshd::settings().hosts(3).start();
    let dialer = keeping(Duration::from_secs(600), 2);
    for host in [1, 2, 1, 3] {
        task(&target(&sshd, host), &dialer).await;
    }
    assert_eq!(logins(&sshd), 3);
    for (host, logins_then) in [(3, 3), (1, 3), (2, 4)] {
        task(&target(&sshd, host), &dialer).await;
        assert_eq!(logins(&sshd), logins_then, "host {host}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn kept_connection_is_closed_when_its_time_is_over() {
    let sshd = Sshd::settings().start();
    let dialer = keeping(Duration::from_millis(400), 10);
    task(&target(&sshd, 0), &dialer).await;
    assert!(until(|| sshd.sessions().is_empty()));
    task(&target(&sshd, 0), &dialer).await;
    assert!(until(|| sshd.sessions().is_empty()));
    assert_eq!(logins(&sshd), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn connection_with_a_command_that_was_given_up_is_not_kept() {
    let sshd = Sshd::settings().start();
    let (target, dialer) = (target(&sshd, 0), keeper());
    let connection = Connection::open(&target, &dialer).await.unwrap();
    perform(&connection, "true").await;
    let mut unheard = |_, _: &[u8]| ();
    let brief = Duration::from_millis(200);
    let given_up = connection.exec("sleep 600", b"", &mut unheard, brief);
    given_up.await.unwrap_err();
    drop(connection);
    assert!(until(|| sshd.sessions().is_empty()));
    task(&target, &dialer).await;
    assert_eq!(logins(&sshd), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn server_that_asks_for_signs_of_life_gets_them_from_a_kept_connection() {
    let sshd = Sshd::settings()
        .line("ClientAliveInterval 1")
        .line("ClientAliveCountMax 1")
        .line("MaxSessions 1")
        .start();
    let proxy = Proxy::start(sshd.socket(), Fault::None);
    let target = target_through(&sshd, proxy.port());
    // It asks for none itself.
    let dialer = Dialer::new(DialSettings {
        idle: IdleLimits {
            timeout: Duration::from_secs(600),
            connections: 1,
        },
        ..DialSettings::default()
    });
    task(&target, &dialer).await;
    let answered = proxy.passed(Direction::ToServer);
    let question = 3 * 40;
    assert!(until(
        || proxy.passed(Direction::ToServer) > answered + question
    ));
    task(&target, &dialer).await;
    assert_eq!(logins(&sshd), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn host_behind_a_jump_host_is_kept_with_it() {
    let outer = Sshd::settings().start();
    let inner = Sshd::settings().start();
    let mut target = target(&inner, 0);
    target.jump = Some(Box::new(SshTarget {
        name: "bastion".into(),
        ..crate::world::target(&outer, 0)
    }));
    let dialer = keeper();
    for _ in 0..3 {
        task(&target, &dialer).await;
    }
    assert_eq!((logins(&outer), logins(&inner)), (1, 1));
    // What is not trusted on the way is not used either.
    let jump = target.jump.as_deref().unwrap();
    fs::write(&jump.known_hosts, "# nobody\n").unwrap();
    let refused = Connection::open(&target, &dialer).await.map(drop);
    assert!(
        matches!(refused, Err(RemoteError::Jump { .. })),
        "{refused:?}"
    );
    assert!(until(
        || outer.sessions().is_empty() && inner.sessions().is_empty()
    ));
}
