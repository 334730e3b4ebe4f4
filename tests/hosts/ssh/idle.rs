//! Connections that are kept after a task for the next one.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tagship::domain::host::{
    DeployTarget, Existing, HostError, Op, ReleaseId, Reply, Run, RunCommand, RunEnd,
};
use tagship::hosts::ssh::{
    Connection, DialSettings, Dialer, IdleLimits, Keepalive, RemoteError, RsyncTransport,
    SshIdentity, SshTarget,
};
use tagship::hosts::ssh_host::SshHosts;
use tagship_tests::proxy::{Direction, Fault, Proxy};
use tagship_tests::sshd::{Kind, Sshd, make_key};
use tagship_tests::until;
use tokio::time::Instant;

use crate::hostops::over_ssh::ask;
use crate::ssh::scripts::{perform, sessions_started};
use crate::ssh::targets::{file, run, target, target_through};

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

/// A host that is reached through a jump host.
fn behind(jump: &Sshd, host: SshTarget) -> SshTarget {
    let bastion = SshTarget {
        name: "bastion".into(),
        ..target(jump, 0)
    };
    SshTarget {
        jump: Some(Box::new(bastion)),
        ..host
    }
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
    // They end when the dialer is dropped.
    drop(dialer);
    assert!(until(|| sshd.sessions().is_empty()));
}

#[tokio::test(flavor = "multi_thread")]
async fn zero_time_or_zero_connections_keeps_none() {
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
async fn kept_connection_that_was_cut_is_replaced() {
    let sshd = Sshd::settings().start();
    let (target, dialer) = (target(&sshd, 0), keeper());
    for number in 1..=5 {
        task(&target, &dialer).await;
        assert_eq!(logins(&sshd), number);
        sshd.kill_sessions();
        if number % 2 == 0 {
            // Otherwise the next task comes before the end is noticed.
            assert!(until(|| sshd.sessions().is_empty()));
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn kept_connection_that_went_silent_is_replaced_quickly() {
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
async fn kept_connection_that_went_silent_is_closed_before_its_use() {
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
async fn kept_connection_is_only_for_its_user_key_and_address() {
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
    let unknown = SshTarget {
        user: "no-such-user".into(),
        ..ours.clone()
    };
    let refused = Connection::open(&unknown, &dialer).await;
    assert!(matches!(refused, Err(RemoteError::Unauthorized { .. })));
    task(&ours, &dialer).await;
    assert_eq!(logins(&sshd), before);
}

#[tokio::test(flavor = "multi_thread")]
async fn host_key_no_longer_trusted_ends_a_kept_connection() {
    let sshd = Sshd::settings().start();
    let (target, dialer) = (target(&sshd, 0), keeper());
    task(&target, &dialer).await;
    fs::write(&target.known_hosts, "# empty\n").unwrap();
    let refused = Connection::open(&target, &dialer).await.map(drop);
    assert!(
        matches!(refused, Err(RemoteError::UnknownHostKey { .. })),
        "{refused:?}"
    );
    assert!(until(|| sshd.sessions().is_empty()));
}

#[tokio::test(flavor = "multi_thread")]
async fn replaced_key_file_ends_a_kept_connection() {
    let sshd = Sshd::settings().start();
    let (target, dialer) = (target(&sshd, 0), keeper());
    task(&target, &dialer).await;
    fs::remove_file(&target.identity.file).unwrap();
    make_key(&target.identity.file, Kind::Ed25519, "");
    let refused = Connection::open(&target, &dialer).await;
    assert!(matches!(refused, Err(RemoteError::Unauthorized { .. })));
}

#[tokio::test(flavor = "multi_thread")]
async fn of_too_many_the_least_recently_used_one_is_closed() {
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
async fn kept_connection_is_closed_after_its_idle_timeout() {
    let sshd = Sshd::settings().start();
    let dialer = keeping(Duration::from_millis(400), 10);
    task(&target(&sshd, 0), &dialer).await;
    assert!(until(|| sshd.sessions().is_empty()));
    task(&target(&sshd, 0), &dialer).await;
    assert!(until(|| sshd.sessions().is_empty()));
    assert_eq!(logins(&sshd), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn connection_with_an_abandoned_command_is_not_kept() {
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

/// A login keeps its groups and startup files, so the remedy for a failure may need a new one.
#[tokio::test(flavor = "multi_thread")]
async fn connection_is_not_kept_after_a_refusal_or_failed_program() {
    let sshd = Sshd::settings().start();
    let (target, dialer) = (target(&sshd, 0), keeper());
    let deploy_to = |name: &str| file(&sshd, name).to_str().unwrap().to_owned();
    fs::create_dir(file(&sshd, "shop")).unwrap();
    let place = |name: &str| DeployTarget {
        deploy_to: deploy_to(name),
        fence: 1,
    };
    let inspect = Op::Inspect {
        deploy_to: deploy_to("shop"),
    };
    let refused = Op::Publish {
        target: place("missing"),
        release: ReleaseId("r1".into()),
        over: Vec::new(),
        key: "1".into(),
        existing: Existing::Equal,
    };
    let program = |code: i32| Op::Run {
        target: place("shop"),
        run: Run {
            key: format!("k-{code}"),
            command: RunCommand::Shell(format!("exit {code}")),
            directory: "/".into(),
            environment: BTreeMap::new(),
            timeout: Duration::from_secs(60),
        },
    };
    task(&target, &dialer).await;
    for (op, kept) in [
        (inspect, true),
        (refused, false),
        (program(3), false),
        (program(0), true),
    ] {
        let transport = RsyncTransport {
            program: PathBuf::from(env!("CARGO_BIN_EXE_tagship")),
            runtime_dir: file(&sshd, "run"),
            rsync: PathBuf::from("rsync"),
        };
        let hosts = SshHosts::new(vec![target.clone()], Arc::clone(&dialer), transport);
        let (label, before) = (op.label(), logins(&sshd));
        let reply = ask(&hosts, "web0", op).await;
        drop(hosts);
        match &reply {
            Err(HostError::Refused(_)) => assert!(!kept, "{label}: {reply:?}"),
            Ok(Reply::Run(RunEnd::Ended { code, .. })) => assert_eq!(*code == 0, kept),
            Ok(Reply::Inspected(_)) => assert!(kept, "{label}"),
            other => panic!("{label}: {other:?}"),
        }
        if !kept {
            assert!(until(|| sshd.sessions().is_empty()), "{label}");
        }
        task(&target, &dialer).await;
        assert_eq!(logins(&sshd) - before, usize::from(!kept), "{label}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn kept_connection_answers_the_keepalives_of_the_server() {
    let sshd = Sshd::settings()
        .line("ClientAliveInterval 1")
        .line("ClientAliveCountMax 1")
        .line("MaxSessions 1")
        .start();
    let proxy = Proxy::start(sshd.socket(), Fault::None);
    let target = target_through(&sshd, proxy.port());
    // It requests none itself.
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
    let target = behind(&outer, target(&inner, 0));
    let dialer = keeper();
    for _ in 0..3 {
        task(&target, &dialer).await;
    }
    assert_eq!((logins(&outer), logins(&inner)), (1, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn jump_host_that_is_no_longer_trusted_leads_to_no_host() {
    let outer = Sshd::settings().start();
    let inner = Sshd::settings().hosts(3).start();
    let hosts = [1, 2, 3].map(|host| behind(&outer, target(&inner, host)));
    let dialer = keeper();
    for host in &hosts[..2] {
        task(host, &dialer).await;
    }
    assert_eq!((logins(&outer), logins(&inner)), (1, 2));
    let jump = hosts[0].jump.as_deref().unwrap();
    fs::write(&jump.known_hosts, "# empty\n").unwrap();
    // The last one never had a connection, and the other two still have one.
    for host in hosts.iter().rev() {
        let refused = Connection::open(host, &dialer).await.map(drop);
        assert!(
            matches!(refused, Err(RemoteError::Jump { .. })),
            "{refused:?}"
        );
    }
    assert!(until(
        || outer.sessions().is_empty() && inner.sessions().is_empty()
    ));
}

#[tokio::test(flavor = "multi_thread")]
async fn jump_host_that_went_silent_is_connected_to_again() {
    let outer = Sshd::settings().start();
    let inner = Sshd::settings().hosts(3).start();
    let hosts = [1, 2, 3].map(|host| behind(&outer, target(&inner, host)));
    // No keepalive detects it in time.
    let dialer = Dialer::new(DialSettings {
        handshake_timeout: Duration::from_secs(4),
        idle: IdleLimits {
            timeout: Duration::from_secs(600),
            connections: 10,
        },
        ..DialSettings::default()
    });
    for host in &hosts[..2] {
        task(host, &dialer).await;
    }
    outer.freeze_sessions();
    for host in hosts.iter().rev() {
        task(host, &dialer).await;
    }
    assert_eq!(logins(&outer), 2);
}
