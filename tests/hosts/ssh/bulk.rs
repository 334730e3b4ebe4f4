//! Much data, both ways at once.

use sha2::{Digest, Sha256};
use tagship::hosts::ssh::{Connection, Reach, Stream};
use tagship_tests::random::Random;
use tagship_tests::sshd::Sshd;

use crate::ssh::targets::{LONG, dialer, open, target};

const MANY: usize = 300_000_000;

fn noise(length: usize) -> Vec<u8> {
    Random::new(1).bytes(length)
}

/// Sends `input` through `cat`; the digest of what came back, and its length.
async fn echo(connection: &Connection, input: &[u8]) -> (String, usize) {
    let (mut digest, mut length) = (Sha256::new(), 0);
    let mut on_output = |stream, bytes: &[u8]| {
        if stream == Stream::Stdout {
            digest.update(bytes);
            length += bytes.len();
        }
    };
    let exit = connection.exec("cat", input, &mut on_output, LONG).await;
    assert!(exit.unwrap().success());
    (format!("{:x}", digest.finalize()), length)
}

fn digest(bytes: &[u8]) -> String {
    format!("{:x}", Sha256::digest(bytes))
}

#[tokio::test(flavor = "multi_thread")]
async fn three_hundred_megabytes_both_ways_arrive_unchanged() {
    let sshd = Sshd::settings().start();
    let connection = open(&sshd).await;
    let input = noise(MANY);
    assert_eq!(echo(&connection, &input).await, (digest(&input), MANY));
}

/// The window is tracked for each channel; three share one link here.
#[tokio::test(flavor = "multi_thread")]
async fn channels_side_by_side_do_not_disturb_each_other() {
    let sshd = Sshd::settings().start();
    let connection = open(&sshd).await;
    let inputs: Vec<Vec<u8>> = [10_000_001, 20_000_003, 30_000_007].map(noise).into();
    let echoes = inputs.iter().map(|input| echo(&connection, input));
    for (input, echoed) in inputs.iter().zip(futures::future::join_all(echoes).await) {
        assert_eq!(echoed, (digest(input), input.len()));
    }
}

/// The faster cipher does not support new keys; the host is remembered, and the next try succeeds.
#[tokio::test(flavor = "multi_thread")]
async fn rekeying_server_breaks_at_most_one_command() {
    let sshd = Sshd::settings().line("RekeyLimit 20M").start();
    let dialer = dialer();
    let connection = Connection::open(&target(&sshd, 0), &dialer).await.unwrap();
    let input = noise(100_000_000);
    let error = connection
        .capture("cat", &input, 0, LONG)
        .await
        .unwrap_err();
    assert_eq!(error.reach(), Reach::Lost, "{error}");
    assert!(error.to_string().contains("RekeyLimit"), "{error}");
    for _ in 0..2 {
        let echoed = echo(&connection, &input).await;
        assert_eq!(echoed, (digest(&input), input.len()));
    }
    let another = Connection::open(&target(&sshd, 0), &dialer).await.unwrap();
    assert_eq!(echo(&another, &input).await.0, digest(&input));
}
