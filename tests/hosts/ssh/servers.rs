//! Servers with other settings than the default.

use tagship::hosts::ssh::{Connection, Reach, RemoteError};
use tagship_tests::sshd::{Settings, Sshd};

use crate::ssh::targets::{LONG, dialer, refused, run, target};

fn configured(lines: &[&str]) -> Sshd {
    let with = |settings: Settings, line: &&str| settings.line(line);
    lines.iter().fold(Sshd::settings(), with).start()
}

#[tokio::test(flavor = "multi_thread")]
async fn servers_with_short_lists_of_algorithms_are_understood() {
    for lines in [
        &["Ciphers aes256-gcm@openssh.com"][..],
        &["Ciphers chacha20-poly1305@openssh.com"],
        &["Ciphers aes256-ctr", "MACs hmac-sha2-256"],
        &["KexAlgorithms curve25519-sha256@libssh.org"],
        &["MACs hmac-sha2-512-etm@openssh.com,hmac-sha2-256"],
        &["HostKeyAlgorithms ssh-ed25519"],
    ] {
        let sshd = configured(lines);
        let connection = Connection::open(&target(&sshd, 0), &dialer())
            .await
            .unwrap();
        let input = vec![5; 1_000_000];
        let echoed = connection
            .capture("cat", &input, input.len(), LONG)
            .await
            .unwrap();
        assert!(echoed.stdout == input, "{lines:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn missing_common_algorithm_error_names_a_remedy() {
    for lines in [
        &["Ciphers aes128-ctr"][..],
        &["MACs hmac-sha2-512-etm@openssh.com"],
        &["KexAlgorithms diffie-hellman-group14-sha256"],
    ] {
        let sshd = configured(lines);
        let error = refused(&target(&sshd, 0)).await;
        assert!(
            matches!(error, RemoteError::Handshake { .. }),
            "{lines:?}: {error}"
        );
        assert!(error.to_string().contains("hmac-sha2-256"), "{error}");
        assert_eq!(error.reach(), Reach::NotReached);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn server_keepalive_requests_are_answered() {
    let sshd = configured(&["ClientAliveInterval 1", "ClientAliveCountMax 1"]);
    let connection = Connection::open(&target(&sshd, 0), &dialer())
        .await
        .unwrap();
    assert_eq!(
        run(&connection, "sleep 5; echo done").await.stdout,
        b"done\n"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn banner_and_motd_are_not_treated_as_output() {
    let sshd = Sshd::settings()
        .line("Banner /etc/passwd")
        .line("PrintMotd yes")
        .start();
    let connection = Connection::open(&target(&sshd, 0), &dialer())
        .await
        .unwrap();
    assert_eq!(run(&connection, "echo only").await.stdout, b"only\n");
}
