//! The keys for logging in.

use std::fs;
use std::path::PathBuf;

use tagship::hosts::ssh::{Connection, IdentityError, Reach, RemoteError, SshTarget};
use tagship_tests::sshd::{Kind, Sshd, chmod, make_key};

use crate::ssh::targets::{dialer, file, refused, run, target};

/// A target with a fresh key that the server knows.
fn with_key(sshd: &Sshd, kind: Kind, passphrase: &str) -> SshTarget {
    let key = file(sshd, "own_key");
    make_key(&key, kind, passphrase);
    sshd.authorize(&file(sshd, "own_key.pub"));
    let mut target = target(sshd, 0);
    target.identity.file = key;
    target
}

fn passphrase_file(sshd: &Sshd, passphrase: &str) -> PathBuf {
    let path = file(sshd, "passphrase");
    fs::write(&path, passphrase).unwrap();
    chmod(&path, 0o600);
    path
}

async fn lets_in(target: &SshTarget) {
    let connection = Connection::open(target, &dialer()).await.unwrap();
    assert!(run(&connection, "true").await.exit.success());
}

#[tokio::test(flavor = "multi_thread")]
async fn rsa_keys_in_both_formats_log_in() {
    for kind in [Kind::Rsa, Kind::RsaPem] {
        let sshd = Sshd::settings().start();
        lets_in(&with_key(&sshd, kind, "")).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn encrypted_keys_are_opened_by_the_passphrase_in_a_file() {
    for kind in [Kind::Ed25519, Kind::Rsa, Kind::RsaPem] {
        let sshd = Sshd::settings().start();
        let mut target = with_key(&sshd, kind, "open sesame");
        target.identity.passphrase_file = Some(passphrase_file(&sshd, "open sesame\n# of 2026\n"));
        lets_in(&target).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_passphrase_names_both_files() {
    for kind in [Kind::Ed25519, Kind::Rsa, Kind::RsaPem] {
        let sshd = Sshd::settings().start();
        let mut target = with_key(&sshd, kind, "open sesame");
        target.identity.passphrase_file = Some(passphrase_file(&sshd, "open barley"));
        let error = refused(&target).await;
        let text = error.to_string();
        let RemoteError::Identity { source, .. } = error else {
            panic!("{text}");
        };
        assert!(
            matches!(source, IdentityError::WrongPassphrase { .. }),
            "{text}"
        );
        assert!(
            text.contains("own_key") && text.contains("passphrase"),
            "{text}"
        );
        assert!(!text.contains("barley"), "{text}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn encrypted_key_without_a_passphrase_is_reported() {
    for kind in [Kind::Ed25519, Kind::RsaPem] {
        let sshd = Sshd::settings().start();
        let error = refused(&with_key(&sshd, kind, "open sesame")).await;
        assert!(error.to_string().contains("passphrase_file"), "{error}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn needless_passphrase_is_ignored() {
    let sshd = Sshd::settings().start();
    let mut target = with_key(&sshd, Kind::Ed25519, "");
    target.identity.passphrase_file = Some(passphrase_file(&sshd, "whatever"));
    lets_in(&target).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_others_can_read_is_not_used() {
    let sshd = Sshd::settings().start();
    for mode in [0o644, 0o640, 0o604] {
        chmod(&sshd.identity(), mode);
        let error = refused(&target(&sshd, 0)).await;
        assert!(error.to_string().contains("chmod 600"), "{error}");
        assert_eq!(error.reach(), Reach::NotReached);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn invalid_or_missing_key_file_is_named() {
    let sshd = Sshd::settings().start();
    let mut target = target(&sshd, 0);
    target.identity.file = file(&sshd, "missing");
    assert!(refused(&target).await.to_string().contains("missing"));
    target.identity.file = file(&sshd, "prose");
    fs::write(
        &target.identity.file,
        "-----BEGIN OPENSSH PRIVATE KEY-----\nAAAA\n",
    )
    .unwrap();
    chmod(&target.identity.file, 0o600);
    let error = refused(&target).await;
    assert!(error.to_string().contains("not a private key"), "{error}");
}

fn ssh_keygen(arguments: &[&str], key: &std::path::Path) {
    let mut keygen = std::process::Command::new("ssh-keygen");
    let made = keygen.args(arguments).arg("-f").arg(key).output().unwrap();
    assert!(made.status.success(), "{made:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn unusable_key_format_is_named_with_a_remedy() {
    let sshd = Sshd::settings().start();
    let mut target = target(&sshd, 0);
    // The passphrase is right in each case.
    target.identity.passphrase_file = Some(passphrase_file(&sshd, "open sesame"));
    let encrypted = ["-q", "-t", "ed25519", "-N", "open sesame", "-Z"];
    for cipher in ["chacha20-poly1305@openssh.com", "aes256-gcm@openssh.com"] {
        target.identity.file = file(&sshd, &format!("key-{cipher}"));
        ssh_keygen(&[&encrypted[..], &[cipher]].concat(), &target.identity.file);
        let text = refused(&target).await.to_string();
        let remedy = "ssh-keygen -p -Z aes256-ctr -f ";
        assert!(text.contains(cipher) && text.contains(remedy), "{text}");
        assert!(!text.contains("does not open"), "{text}");
        // The remedy works.
        let convert = ["-q", "-p", "-P", "open sesame", "-N", "open sesame"];
        let convert = [&convert[..], &["-Z", "aes256-ctr"]].concat();
        ssh_keygen(&convert, &target.identity.file);
        sshd.authorize(&target.identity.file.with_extension("com.pub"));
        lets_in(&target).await;
    }
    ssh_keygen(&["-q", "-t", "ecdsa", "-N", ""], &file(&sshd, "ecdsa"));
    fs::write(file(&sshd, "empty"), "\n").unwrap();
    let pem = "-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\nDEK-Info: DES-EDE3-CBC,00\n\nAAAA\n-----END RSA PRIVATE KEY-----\n";
    fs::write(file(&sshd, "des"), pem).unwrap();
    for (name, what, remedy) in [
        (
            "ecdsa",
            "ECDSA (ecdsa-sha2-nistp256)",
            "ssh-keygen -t ed25519",
        ),
        ("ecdsa.pub", "public half", "without `.pub`"),
        ("empty", "is empty", "ssh-keygen -t ed25519"),
        ("des", "DES-EDE3-CBC", "ssh-keygen -p -Z aes256-ctr"),
    ] {
        target.identity.file = file(&sshd, name);
        chmod(&target.identity.file, 0o600);
        let text = refused(&target).await.to_string();
        let path = target.identity.file.display().to_string();
        assert!(text.contains(&path), "{text}");
        assert!(text.contains(what) && text.contains(remedy), "{text}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn key_reformatted_by_an_editor_logs_in() {
    let sshd = Sshd::settings().start();
    let target = with_key(&sshd, Kind::Ed25519, "");
    let key = fs::read_to_string(&target.identity.file).unwrap();
    for text in [
        format!("\u{feff}{key}"),
        key.replace('\n', "\r\n"),
        format!("\n\n{}", key.trim_end()),
        key.lines().map(|line| format!("  {line} \n")).collect(),
    ] {
        fs::write(&target.identity.file, text).unwrap();
        lets_in(&target).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn unknown_key_is_refused_with_its_fingerprint() {
    let sshd = Sshd::settings().start();
    let mut target = target(&sshd, 0);
    target.identity.file = file(&sshd, "stranger");
    make_key(&target.identity.file, Kind::Ed25519, "");
    let error = refused(&target).await;
    let text = error.to_string();
    assert!(matches!(error, RemoteError::Unauthorized { .. }), "{text}");
    assert!(
        text.contains("SHA256:") && text.contains("authorized_keys"),
        "{text}"
    );
    assert_eq!(error.reach(), Reach::NotReached);
}

#[tokio::test(flavor = "multi_thread")]
async fn replaced_key_file_is_read_again() {
    let sshd = Sshd::settings().start();
    let mut target = target(&sshd, 0);
    target.identity.file = file(&sshd, "own_key");
    make_key(&target.identity.file, Kind::Ed25519, "");
    let dialer = dialer();
    assert!(Connection::open(&target, &dialer).await.is_err());
    fs::copy(sshd.identity(), &target.identity.file).unwrap();
    assert!(Connection::open(&target, &dialer).await.is_ok());
}
