//! Which host keys are trusted, and the errors for others.

use std::fs;
use std::process::Command;

use tagship::hosts::ssh::known_hosts::HostName;
use tagship::hosts::ssh::{Connection, Pinned, Reach, RemoteError, append, offered_key};
use tagship_tests::sshd::{Kind, Sshd, make_key};

use crate::ssh::targets::{dialer, file, hasty_dialer, refused, run, target};

#[tokio::test(flavor = "multi_thread")]
async fn unknown_host_key_is_refused_with_a_remedy() {
    let sshd = Sshd::settings().start();
    let mut target = target(&sshd, 0);
    target.known_hosts = file(&sshd, "nobody-yet");
    let error = refused(&target).await;
    let text = error.to_string();
    assert!(
        matches!(error, RemoteError::UnknownHostKey { .. }),
        "{text}"
    );
    assert!(text.contains("tagship hosts enroll web0"), "{text}");
    assert!(text.contains(&sshd.fingerprint()), "{text}");
    assert!(text.contains(&target.to_string()), "{text}");
    assert_eq!(error.reach(), Reach::NotReached);
    assert!(!target.known_hosts.exists());
    assert!(!sshd.log().contains("Accepted"), "{}", sshd.log());
}

#[tokio::test(flavor = "multi_thread")]
async fn changed_host_key_is_refused_with_both_fingerprints() {
    let sshd = Sshd::settings().start();
    let target = target(&sshd, 0);
    let other = file(&sshd, "other");
    make_key(&other, Kind::Ed25519, "");
    let other_key = fs::read_to_string(file(&sshd, "other.pub")).unwrap();
    let text = format!("# pins\n[127.0.0.1]:{} {other_key}", sshd.port);
    fs::write(&target.known_hosts, text).unwrap();
    let error = refused(&target).await;
    let text = error.to_string();
    assert!(
        matches!(error, RemoteError::ChangedHostKey { line: 2, .. }),
        "{text}"
    );
    let listed = Command::new("ssh-keygen")
        .arg("-lf")
        .arg(&other)
        .output()
        .unwrap();
    let listed = String::from_utf8(listed.stdout).unwrap();
    for wanted in [
        "attack",
        &sshd.fingerprint(),
        listed.split(' ').nth(1).unwrap(),
        &format!("{}:2", target.known_hosts.display()),
    ] {
        assert!(text.contains(wanted), "{wanted} in {text}");
    }
    assert!(!sshd.log().contains("Accepted"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revoked_host_key_is_refused_though_a_pin_trusts_it() {
    let sshd = Sshd::settings().start();
    let target = target(&sshd, 0);
    let pins = fs::read_to_string(&target.known_hosts).unwrap();
    let revoked = format!("{pins}@revoked * {}\n", sshd.host_key());
    fs::write(&target.known_hosts, revoked).unwrap();
    let error = refused(&target).await;
    assert!(
        matches!(error, RemoteError::RevokedHostKey { line: 2, .. }),
        "{error}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_hashed_by_ssh_keygen_is_understood() {
    let sshd = Sshd::settings().start();
    let target = target(&sshd, 0);
    let hashed = Command::new("ssh-keygen")
        .arg("-Hf")
        .arg(&target.known_hosts)
        .output()
        .unwrap();
    assert!(hashed.status.success());
    let text = fs::read_to_string(&target.known_hosts).unwrap();
    assert!(text.starts_with("|1|"), "{text}");
    let connection = Connection::open(&target, &dialer()).await.unwrap();
    assert!(run(&connection, "true").await.exit.success());
}

#[tokio::test(flavor = "multi_thread")]
async fn pin_for_another_port_does_not_apply() {
    let sshd = Sshd::settings().start();
    let target = target(&sshd, 0);
    let text = format!("127.0.0.1 {0}\n[127.0.0.1]:1 {0}\n", sshd.host_key());
    fs::write(&target.known_hosts, text).unwrap();
    let error = refused(&target).await;
    assert!(
        matches!(error, RemoteError::UnknownHostKey { .. }),
        "{error}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_rsa_host_key_is_verified() {
    let sshd = Sshd::settings().rsa_host_key().start();
    let connection = Connection::open(&target(&sshd, 0), &dialer())
        .await
        .unwrap();
    assert!(run(&connection, "true").await.exit.success());
}

/// The server has both types; only the pinned one may be requested.
#[tokio::test(flavor = "multi_thread")]
async fn server_with_several_keys_is_asked_for_the_pinned_one() {
    for pinned in [Kind::Ed25519, Kind::Rsa] {
        let second = tempfile::tempdir().unwrap();
        let second_key = second.path().join("key");
        let settings = match pinned {
            Kind::Ed25519 => Sshd::settings(),
            Kind::Rsa | Kind::RsaPem => Sshd::settings().rsa_host_key(),
        };
        let other = match pinned {
            Kind::Ed25519 => Kind::Rsa,
            Kind::Rsa | Kind::RsaPem => Kind::Ed25519,
        };
        make_key(&second_key, other, "");
        let sshd = settings
            .line(&format!("HostKey {}", second_key.display()))
            .start();
        let connection = Connection::open(&target(&sshd, 0), &dialer())
            .await
            .unwrap();
        assert!(run(&connection, "true").await.exit.success());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn pin_of_a_key_type_the_server_lacks_is_an_error() {
    let sshd = Sshd::settings().rsa_host_key().start();
    let target = target(&sshd, 0);
    let other = file(&sshd, "other");
    make_key(&other, Kind::Ed25519, "");
    let key = fs::read_to_string(file(&sshd, "other.pub")).unwrap();
    fs::write(
        &target.known_hosts,
        format!("[127.0.0.1]:{} {key}", sshd.port),
    )
    .unwrap();
    let error = refused(&target).await;
    assert!(
        matches!(error, RemoteError::NoUsableHostKey { .. }),
        "{error}"
    );
    assert!(error.to_string().contains("ssh-ed25519"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_is_enrolled_by_its_key_without_logging_in() {
    for settings in [Sshd::settings(), Sshd::settings().rsa_host_key()] {
        let sshd = settings.start();
        let mut target = target(&sshd, 0);
        target.known_hosts = file(&sshd, "mine");
        let dialer = hasty_dialer();
        let key = offered_key(&dialer, &target).await.unwrap();
        assert_eq!(key.fingerprint(), sshd.fingerprint());
        assert!(!target.known_hosts.exists(), "looking pins nothing");
        let host = HostName::new(&target.address, target.port);
        assert_eq!(
            append(&target.known_hosts, &host, &key).unwrap(),
            Pinned::Added
        );
        Connection::open(&target, &dialer).await.unwrap();
        let fingerprint = sshd.fingerprint();
        let accepted = sshd.log().matches("Accepted publickey").count();
        assert_eq!(accepted, 1, "{fingerprint}: {}", sshd.log());
    }
}
