//! Hosts that do not exist, stop answering, or disconnect.

use std::net::TcpListener;
use std::time::Duration;

use tagship::hosts::ssh::{Connection, Reach, Reachability, RemoteError, Stream, WaitPhase};
use tagship_tests::proxy::{Direction, Fault, Proxy};
use tagship_tests::sshd::{Sshd, free_port};

use crate::ssh::targets::{LONG, hasty_dialer, open, refused, run, target, target_through};

#[tokio::test(flavor = "multi_thread")]
async fn a_closed_port_is_unreachable_at_once() {
    let sshd = Sshd::settings().start();
    let target = target_through(&sshd, free_port());
    let error = refused(&target).await;
    assert!(matches!(error, RemoteError::Unreachable { .. }), "{error}");
    assert!(error.to_string().contains("refused"), "{error}");
    assert_eq!(error.reach(), Reach::NotReached);
}

#[tokio::test(flavor = "multi_thread")]
async fn unresolvable_address_is_unreachable() {
    let sshd = Sshd::settings().start();
    let mut target = target(&sshd, 0);
    target.address = "web1.invalid".into();
    let error = refused(&target).await;
    assert_eq!(error.reach(), Reach::NotReached, "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn silent_listener_times_out() {
    let sshd = Sshd::settings().start();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let target = target_through(&sshd, listener.local_addr().unwrap().port());
    let error = refused(&target).await;
    let silent = |phase| phase == WaitPhase::ShakingHands;
    assert!(
        matches!(error, RemoteError::Silent { phase, .. } if silent(phase)),
        "{error}"
    );
    assert_eq!(error.reach(), Reach::NotReached);
}

#[tokio::test(flavor = "multi_thread")]
async fn server_that_hangs_up_is_retried_and_then_given_up() {
    let sshd = Sshd::settings().start();
    let proxy = Proxy::start(sshd.socket(), Fault::CutAfter(Direction::ToServer, 1));
    let error = refused(&target_through(&sshd, proxy.port())).await;
    let RemoteError::Dropped { attempts, .. } = error else {
        panic!("{error}");
    };
    assert!((2..20).contains(&attempts), "{attempts}");
}

#[tokio::test(flavor = "multi_thread")]
async fn server_that_hangs_up_is_reported_until_it_is_back() {
    let sshd = Sshd::settings().start();
    let port = free_port();
    let address = std::net::SocketAddr::from(([127, 0, 0, 1], port));
    let proxy = Proxy::start_at(
        address,
        sshd.socket(),
        Fault::CutAfter(Direction::ToServer, 1),
    );
    let presence = Reachability::default();
    let mut changes = presence.changes();
    let target = target_through(&sshd, port);
    let opening = tokio::spawn({
        let (target, presence) = (target.clone(), presence.clone());
        async move {
            Connection::open_reporting(&target, &crate::ssh::targets::dialer(), presence).await
        }
    });
    changes.changed().await.unwrap();
    let away = changes.borrow_and_update().clone().unwrap();
    assert!(away.reason.contains(&target.to_string()), "{away:?}");
    drop(proxy);
    let _passes = Proxy::start_at(address, sshd.socket(), Fault::None);
    assert!(opening.await.unwrap().is_ok());
    assert_eq!(*changes.borrow_and_update(), None);
}

/// Runs a command that reports its start and then waits; calls `act`; returns the error.
async fn lost_while_running(connection: &Connection, act: impl FnOnce()) -> RemoteError {
    let (begun, mut begins) = tokio::sync::mpsc::unbounded_channel();
    let mut on_output = |_: Stream, _: &[u8]| {
        let _ = begun.send(());
    };
    let running = connection.exec("echo begun; exec sleep 30", b"", &mut on_output, LONG);
    tokio::pin!(running);
    tokio::select! {
        end = &mut running => panic!("{end:?}"),
        _ = begins.recv() => {}
    }
    act();
    running.await.unwrap_err()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_process_that_is_killed_leaves_the_result_unknown() {
    let sshd = Sshd::settings().start();
    let connection = open(&sshd).await;
    let error = lost_while_running(&connection, || sshd.kill_sessions()).await;
    assert!(matches!(error, RemoteError::Lost { .. }), "{error}");
    assert_eq!(error.reach(), Reach::Lost);
    // The next command uses another link.
    assert_eq!(run(&connection, "echo back").await.stdout, b"back\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cut_wire_leaves_the_result_unknown() {
    let sshd = Sshd::settings().start();
    let proxy = Proxy::start(sshd.socket(), Fault::None);
    let target = target_through(&sshd, proxy.port());
    let connection = Connection::open(&target, &hasty_dialer()).await.unwrap();
    let error = lost_while_running(&connection, || proxy.cut()).await;
    assert_eq!(error.reach(), Reach::Lost, "{error}");
    assert_eq!(run(&connection, "echo back").await.stdout, b"back\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn stalled_connection_is_detected() {
    let sshd = Sshd::settings().start();
    let proxy = Proxy::start(sshd.socket(), Fault::None);
    let target = target_through(&sshd, proxy.port());
    let connection = Connection::open(&target, &hasty_dialer()).await.unwrap();
    let noticed = lost_while_running(&connection, || proxy.stall());
    let error = tokio::time::timeout(Duration::from_secs(10), noticed)
        .await
        .unwrap();
    assert_eq!(error.reach(), Reach::Lost, "{error}");
    assert!(error.to_string().contains("nothing was heard"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn suspended_server_process_is_detected() {
    let sshd = Sshd::settings().start();
    let connection = Connection::open(&target(&sshd, 0), &hasty_dialer())
        .await
        .unwrap();
    let noticed = lost_while_running(&connection, || sshd.freeze_sessions());
    let error = tokio::time::timeout(Duration::from_secs(10), noticed)
        .await
        .unwrap();
    assert_eq!(error.reach(), Reach::Lost, "{error}");
}

/// Five times the time after which a dead peer would count as lost.
#[tokio::test(flavor = "multi_thread")]
async fn a_command_that_is_only_quiet_is_not_lost() {
    let sshd = Sshd::settings().start();
    let connection = Connection::open(&target(&sshd, 0), &hasty_dialer())
        .await
        .unwrap();
    assert_eq!(
        run(&connection, "sleep 4.5; echo done").await.stdout,
        b"done\n"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn stall_during_a_large_upload_is_detected() {
    let sshd = Sshd::settings().start();
    let fault = Fault::StallAfter(Direction::ToServer, 3_000_000);
    let proxy = Proxy::start(sshd.socket(), fault);
    let target = target_through(&sshd, proxy.port());
    let connection = Connection::open(&target, &hasty_dialer()).await.unwrap();
    let input = vec![7; 50_000_000];
    let sending = connection.capture("cat >/dev/null", &input, 0, LONG);
    let error = tokio::time::timeout(Duration::from_secs(15), sending)
        .await
        .unwrap();
    assert_eq!(error.unwrap_err().reach(), Reach::Lost);
}

#[tokio::test(flavor = "multi_thread")]
async fn dead_idle_connection_is_replaced_before_sending() {
    let sshd = Sshd::settings().start();
    let connection = open(&sshd).await;
    run(&connection, "true").await;
    sshd.kill_sessions();
    assert!(tagship_tests::until(|| connection.is_closed()));
    assert_eq!(run(&connection, "echo back").await.stdout, b"back\n");
    assert!(!connection.is_closed());
}
