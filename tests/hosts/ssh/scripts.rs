//! Scripts that one shell on the host runs one after another.

use std::time::Duration;

use tagship::hosts::ssh::{CommandOutput, Connection, Exit, Reach, RemoteError, Stream};
use tagship_tests::sshd::Sshd;
use tagship_tests::until;
use tokio::sync::Notify;

use crate::ssh::targets::{LONG, open, run};

/// Performs a script; returns its end and all its output.
pub(crate) async fn perform(connection: &Connection, script: &str) -> CommandOutput {
    tried(connection, script, LONG).await.unwrap()
}

async fn tried(
    connection: &Connection,
    script: &str,
    timeout: Duration,
) -> Result<CommandOutput, RemoteError> {
    let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
    let mut keep = |stream, bytes: &[u8]| match stream {
        Stream::Stdout => stdout.extend_from_slice(bytes),
        Stream::Stderr => stderr.extend_from_slice(bytes),
    };
    let exit = connection
        .script(script.as_bytes(), &mut keep, &Notify::new(), timeout)
        .await?;
    Ok(CommandOutput {
        exit,
        stdout,
        stderr,
        dropped: 0,
    })
}

/// How often the server started something for a client.
pub(crate) fn sessions_started(sshd: &Sshd) -> usize {
    sshd.log().matches("Starting session: command").count()
}

#[tokio::test(flavor = "multi_thread")]
async fn scripts_in_sequence_take_one_session_of_the_server() {
    let sshd = Sshd::settings().line("MaxSessions 1").start();
    let connection = open(&sshd).await;
    for code in 0..20 {
        let done = perform(
            &connection,
            &format!("echo {code}; echo e{code} >&2; exit {code}"),
        )
        .await;
        assert_eq!(done.exit, Exit::Code(code));
        assert_eq!(done.stdout, format!("{code}\n").as_bytes());
        assert_eq!(done.stderr, format!("e{code}\n").as_bytes());
    }
    assert_eq!(sessions_started(&sshd), 1);
    assert_eq!(sshd.log().matches("Accepted publickey").count(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_of_a_script_is_left_for_the_next_one() {
    let sshd = Sshd::settings().start();
    let connection = open(&sshd).await;
    let spoil = "VALUE=left; export VALUE; cd /tmp; umask 077; set -f; set -- left; \
        work() { echo left; }; trap 'echo left' EXIT HUP; exec 3>&1; alias ls=left; exit 9";
    assert_eq!(perform(&connection, spoil).await.exit, Exit::Code(9));
    let look = "echo \"${VALUE-}|$#|$(umask)|$-\"; pwd; command -v work; trap; echo / /*";
    let after = perform(&connection, look).await;
    let fresh = perform(&open(&sshd).await, look).await;
    assert_eq!(
        String::from_utf8_lossy(&after.stdout),
        String::from_utf8_lossy(&fresh.stdout)
    );
    let home = run(&connection, "pwd").await.stdout;
    assert_eq!(perform(&connection, "pwd").await.stdout, home);
    assert_eq!(sessions_started(&sshd), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn bytes_of_a_script_are_never_taken_for_its_end() {
    let sshd = Sshd::settings().start();
    let connection = open(&sshd).await;
    let script =
        "printf '\\036tagship-end-0 7\\n\\036\\036'; head -c 3000000 /dev/zero | tr '\\0' '\\036'";
    let done = perform(&connection, script).await;
    assert_eq!(done.exit, Exit::Code(0));
    let mut wanted = b"\x1etagship-end-0 7\n".to_vec();
    wanted.resize(wanted.len() + 2 + 3_000_000, 0x1e);
    assert!(done.stdout == wanted);
    assert_eq!(perform(&connection, "echo next").await.stdout, b"next\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn mark_of_an_earlier_script_does_not_end_a_later_one() {
    let sshd = Sshd::settings()
        .line("ForceCommand sent=$(mktemp); export sent; tee \"$sent\" | sh -s")
        .start();
    let connection = open(&sshd).await;
    perform(&connection, "true").await;
    let replay = "mark=$(grep -o 'tagship-end-[0-9a-f]*' \"$sent\" | head -n 1); \
        rm -f \"$sent\"; printf '\\036%s 0\\n' \"$mark\"; echo \"${#mark}\"; exit 7";
    let done = perform(&connection, replay).await;
    assert_eq!(done.exit, Exit::Code(7));
    assert!(done.stdout.ends_with(b" 0\n44\n"), "{done:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn long_script_arrives_whole() {
    let sshd = Sshd::settings().start();
    let connection = open(&sshd).await;
    let script = format!("text='{}'; echo ${{#text}}", "x".repeat(3_000_000));
    for _ in 0..2 {
        assert_eq!(perform(&connection, &script).await.stdout, b"3000000\n");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn script_that_reads_its_input_reads_none_of_the_next_one() {
    let sshd = Sshd::settings().start();
    let connection = open(&sshd).await;
    for _ in 0..2 {
        let done = perform(&connection, "cat; echo read").await;
        assert_eq!(done.stdout, b"read\n");
    }
    assert_eq!(sessions_started(&sshd), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn program_that_a_login_leaves_behind_delays_no_script() {
    let sshd = Sshd::settings()
        .line("ForceCommand sleep 600 & eval \"$SSH_ORIGINAL_COMMAND\"")
        .start();
    let connection = open(&sshd).await;
    let began = tokio::time::Instant::now();
    for _ in 0..3 {
        assert_eq!(perform(&connection, "echo on").await.stdout, b"on\n");
    }
    assert!(began.elapsed() < Duration::from_secs(3));
    // A shell that ends delays it only for a moment.
    let done = perform(&connection, "echo off; kill -KILL $$; sleep 10").await;
    assert_eq!(
        (done.stdout, done.exit),
        (b"off\n".to_vec(), Exit::Signal("KILL".into()))
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn login_that_reads_its_input_to_the_end_gets_eof() {
    let sshd = Sshd::settings()
        .line("ForceCommand cat >/dev/null; eval \"$SSH_ORIGINAL_COMMAND\"")
        .start();
    let done = perform(&open(&sshd).await, "echo never").await;
    assert_eq!((done.stdout, done.exit), (Vec::new(), Exit::Code(0)));
}

#[tokio::test(flavor = "multi_thread")]
async fn shell_of_a_long_first_script_runs_the_next_one() {
    let sshd = Sshd::settings().start();
    let connection = open(&sshd).await;
    for (script, said) in [("sleep 4; echo one", "one\n"), ("echo two", "two\n")] {
        assert_eq!(perform(&connection, script).await.stdout, said.as_bytes());
    }
    assert_eq!(sessions_started(&sshd), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn scripts_at_once_do_not_wait_for_each_other() {
    let sshd = Sshd::settings().start();
    let connection = open(&sshd).await;
    let directory = sshd.directory().display().to_string();
    // Each waits for the other.
    let meet = |ours: &str, theirs: &str| {
        format!("cd {directory}; touch {ours}; until test -e {theirs}; do sleep 0.05; done")
    };
    let (one, other) = (meet("one", "other"), meet("other", "one"));
    let (one, other) = tokio::join!(perform(&connection, &one), perform(&connection, &other));
    assert_eq!((one.exit, other.exit), (Exit::Code(0), Exit::Code(0)));
    perform(&connection, "true").await;
    assert_eq!(sessions_started(&sshd), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn script_that_kills_its_shell_differs_from_a_lost_one() {
    let sshd = Sshd::settings().start();
    let connection = open(&sshd).await;
    perform(&connection, "true").await;
    // `$$` is the shell above the script.
    let error = tried(&connection, "kill -KILL $$; sleep 10", LONG).await;
    let error = error.map(|done| done.exit);
    assert_eq!(error.unwrap(), Exit::Signal("KILL".into()));
    assert_eq!(perform(&connection, "echo on").await.stdout, b"on\n");
    let cut = tried(&connection, "echo begun; sleep 600", LONG);
    let kill = async {
        assert!(until(|| sessions_started(&sshd) == 2));
        sshd.kill_sessions();
    };
    let (cut, ()) = tokio::join!(cut, kill);
    assert_eq!(cut.unwrap_err().reach(), Reach::Lost);
    assert_eq!(perform(&connection, "echo back").await.stdout, b"back\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn script_that_takes_too_long_is_abandoned_with_its_shell() {
    let sshd = Sshd::settings().start();
    let connection = open(&sshd).await;
    let script = "echo one; sleep 2; echo two";
    let error = tried(&connection, script, Duration::from_millis(200)).await;
    assert!(matches!(error, Err(RemoteError::TimedOut { .. })));
    let done = perform(&connection, "echo mine").await;
    assert_eq!(
        (done.stdout, done.exit),
        (b"mine\n".to_vec(), Exit::Code(0))
    );
}

/// As `exec 2>&1` in a `.bashrc`.
#[tokio::test(flavor = "multi_thread")]
async fn login_with_one_output_keeps_its_shell_for_the_next_script() {
    let sshd = Sshd::settings()
        .line("ForceCommand exec 2>&1; exec sh -c \"$SSH_ORIGINAL_COMMAND\"")
        .start();
    let connection = open(&sshd).await;
    for code in 0..5 {
        let done = perform(&connection, &format!("echo {code} >&2; exit {code}")).await;
        assert_eq!(done.exit, Exit::Code(code));
        assert_eq!(done.stdout, format!("{code}\n").as_bytes());
    }
    let sessions = sshd.log().matches("Starting session: ").count();
    assert_eq!(sessions, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn login_shell_that_refuses_ends_the_script_with_its_reason() {
    let sshd = Sshd::settings()
        .line("ForceCommand echo 'this account is not available'; exit 5")
        .start();
    let done = perform(&open(&sshd).await, "echo never").await;
    assert_eq!(done.exit, Exit::Code(5));
    assert_eq!(done.stdout, b"this account is not available\n");
}
