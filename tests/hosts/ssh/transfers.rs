//! The system's rsync over a connection.

use std::ffi::OsString;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use tagship::hosts::ssh::{
    Connection, Reach, RemoteError, RsyncCommand, RsyncEnd, RsyncExit, RsyncTransport, Stream,
};
use tagship_tests::proxy::{Direction, Fault, Proxy};
use tagship_tests::sshd::Sshd;
use tagship_tests::until;

use crate::ssh::targets::{LONG, file, hasty_dialer, open, target_through};

fn transport(sshd: &Sshd) -> RsyncTransport {
    RsyncTransport {
        program: PathBuf::from(env!("CARGO_BIN_EXE_tagship")),
        runtime_dir: file(sshd, "run"),
        rsync: PathBuf::from("rsync"),
    }
}

/// A tree with nested directories, odd names, a link, an empty and a larger file.
fn make_tree(root: &Path) {
    for number in 0..300 {
        let directory = root.join(format!("d{}/e{}", number % 7, number % 3));
        fs::create_dir_all(&directory).unwrap();
        let text = format!("file {number}\n").repeat(number * 3);
        fs::write(directory.join(format!("f{number}")), text).unwrap();
    }
    for name in [
        "with space",
        "quote's",
        "$(touch x);&|",
        "ünïcode",
        "*",
        "-rf",
    ] {
        fs::write(root.join(name), name).unwrap();
    }
    fs::write(root.join("large"), vec![b'x'; 3_000_000]).unwrap();
    std::os::unix::fs::symlink("large", root.join("link")).unwrap();
}

#[track_caller]
fn assert_same(left: &Path, right: &Path) {
    let output = Command::new("diff")
        .arg("-r")
        .arg("--no-dereference")
        .args([left, right])
        .output();
    let output = output.unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stdout)
    );
}

fn arguments<'a>(words: impl IntoIterator<Item = &'a str>) -> Vec<OsString> {
    words.into_iter().map(OsString::from).collect()
}

fn command(from: &Path, to: &Path, options: &[&str]) -> RsyncCommand {
    let destination = format!("host:{}/", to.display());
    RsyncCommand {
        arguments: arguments(
            ["-a", "--stats"]
                .into_iter()
                .chain(options.iter().copied())
                .chain(["./", &destination]),
        ),
        stdin: Vec::new(),
        directory: from.to_owned(),
        login_timeout: LONG,
        stall_timeout: LONG,
    }
}

async fn rsync(
    connection: &Connection,
    transport: &RsyncTransport,
    command: &RsyncCommand,
) -> (RsyncExit, String) {
    let mut output = Vec::new();
    let mut on_output = |stream, bytes: &[u8]| {
        if stream == Stream::Stdout {
            output.extend_from_slice(bytes);
        }
    };
    let exit = connection
        .rsync(transport, command, &mut on_output)
        .await
        .unwrap();
    (exit, String::from_utf8(output).unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn tree_arrives_identical_and_a_resend_is_empty() {
    let sshd = Sshd::settings().start();
    let connection = open(&sshd).await;
    let transport = transport(&sshd);
    let (from, to) = (
        file(&sshd, "from here"),
        file(&sshd, "to the 'other' $place"),
    );
    make_tree(&from);
    let command = command(&from, &to, &[]);
    let (exit, output) = rsync(&connection, &transport, &command).await;
    assert_eq!(exit.end, RsyncEnd::Code(0), "{:?}", exit.stderr);
    assert_same(&from, &to);
    assert!(
        output.contains("Number of regular files transferred: 307"),
        "{output}"
    );
    assert!(exit.bytes_sent > 3_000_000 && exit.bytes_received > 0);

    let (exit, output) = rsync(&connection, &transport, &command).await;
    assert_eq!(exit.end, RsyncEnd::Code(0));
    assert!(
        output.contains("Number of regular files transferred: 0"),
        "{output}"
    );
    assert!(exit.bytes_sent < 100_000, "{}", exit.bytes_sent);
    assert_eq!(fs::read_dir(&transport.runtime_dir).unwrap().count(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_of_files_is_read_from_standard_input() {
    let sshd = Sshd::settings().start();
    let connection = open(&sshd).await;
    let (from, to) = (file(&sshd, "from"), file(&sshd, "to"));
    make_tree(&from);
    let mut command = command(&from, &to, &["--from0", "--files-from=-"]);
    command.stdin = b"quote's\0d1/e1/f1\0-rf\0".to_vec();
    let (exit, _) = rsync(&connection, &transport(&sshd), &command).await;
    assert_eq!(exit.end, RsyncEnd::Code(0), "{:?}", exit.stderr);
    let mut arrived: Vec<_> = fs::read_dir(&to)
        .unwrap()
        .map(|e| e.unwrap().file_name())
        .collect();
    arrived.sort();
    assert_eq!(arrived, ["-rf", "d1", "quote's"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn several_transfers_run_at_once_on_one_connection() {
    let sshd = Sshd::settings().start();
    let connection = open(&sshd).await;
    let from = file(&sshd, "from");
    make_tree(&from);
    let transport = transport(&sshd);
    let commands: Vec<RsyncCommand> = (0..6)
        .map(|number| command(&from, &file(&sshd, &format!("to{number}")), &[]))
        .collect();
    let transfers = commands
        .iter()
        .map(|command| rsync(&connection, &transport, command));
    for (number, (exit, _)) in futures::future::join_all(transfers)
        .await
        .iter()
        .enumerate()
    {
        assert_eq!(exit.end, RsyncEnd::Code(0), "{:?}", exit.stderr);
        assert_same(&from, &file(&sshd, &format!("to{number}")));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_incomplete_transfer_shows_code_23_and_the_reason() {
    let sshd = Sshd::settings().start();
    let connection = open(&sshd).await;
    let (from, to) = (file(&sshd, "from"), file(&sshd, "to"));
    make_tree(&from);
    let mut command = command(&from, &to, &["--files-from=-"]);
    command.stdin = b"large\nnot-there\n".to_vec();
    let (exit, _) = rsync(&connection, &transport(&sshd), &command).await;
    assert_eq!(exit.end, RsyncEnd::Code(23));
    assert!(
        exit.stderr.iter().any(|line| line.contains("not-there")),
        "{:?}",
        exit.stderr
    );
    assert!(to.join("large").exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn missing_rsync_error_quotes_the_remote_shell() {
    let sshd = Sshd::settings().start();
    let connection = open(&sshd).await;
    let from = file(&sshd, "from");
    make_tree(&from);
    let command = command(&from, &file(&sshd, "to"), &["--rsync-path=no-such-rsync"]);
    let (exit, _) = rsync(&connection, &transport(&sshd), &command).await;
    assert_ne!(exit.end, RsyncEnd::Code(0));
    assert!(
        exit.stderr
            .iter()
            .any(|line| line.contains("no-such-rsync")),
        "{:?}",
        exit.stderr
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn unknown_rsync_arguments_fail_at_once() {
    let sshd = Sshd::settings().start();
    let connection = open(&sshd).await;
    let command = command(&file(&sshd, "."), &file(&sshd, "to"), &["--no-such-option"]);
    let (exit, _) = rsync(&connection, &transport(&sshd), &command).await;
    assert_eq!(exit.end, RsyncEnd::Code(1));
    assert!(
        crate::ssh::targets::run(&connection, "true")
            .await
            .exit
            .success()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn missing_local_rsync_is_a_local_error() {
    let sshd = Sshd::settings().start();
    let connection = open(&sshd).await;
    let mut transport = transport(&sshd);
    transport.rsync = PathBuf::from("/no/such/rsync");
    let command = command(&file(&sshd, "."), &file(&sshd, "to"), &[]);
    let result = connection.rsync(&transport, &command, &mut |_, _| ()).await;
    let error = result.unwrap_err();
    assert_eq!(error.reach(), Reach::Local, "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_runtime_directory_that_others_may_enter_is_not_used() {
    let sshd = Sshd::settings().start();
    let connection = open(&sshd).await;
    let transport = transport(&sshd);
    fs::create_dir(&transport.runtime_dir).unwrap();
    tagship_tests::sshd::chmod(&transport.runtime_dir, 0o755);
    let command = command(&file(&sshd, "."), &file(&sshd, "to"), &[]);
    let error = connection
        .rsync(&transport, &command, &mut |_, _| ())
        .await
        .unwrap_err();
    assert!(error.to_string().contains("0700"), "{error}");
}

/// The processes whose command line names this directory.
fn processes_about(directory: &Path) -> Vec<String> {
    let wanted = directory.display().to_string();
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc").unwrap().flatten() {
        let line = fs::read(entry.path().join("cmdline")).unwrap_or_default();
        let line = String::from_utf8_lossy(&line).replace('\0', " ");
        if line.contains(&wanted) && (line.contains("rsync") || line.contains("transport")) {
            found.push(line);
        }
    }
    found
}

async fn broken_transfer(fault: Fault, stall_timeout: Duration) -> (RemoteError, Sshd) {
    let sshd = Sshd::settings().start();
    let proxy = Proxy::start(sshd.socket(), fault);
    let target = target_through(&sshd, proxy.port());
    let connection = Connection::open(&target, &hasty_dialer()).await.unwrap();
    let (from, to) = (file(&sshd, "from"), file(&sshd, "to"));
    fs::create_dir(&from).unwrap();
    fs::write(from.join("large"), vec![1; 40_000_000]).unwrap();
    let mut command = command(&from, &to, &[]);
    command.stall_timeout = stall_timeout;
    let transfer = async {
        connection
            .rsync(&transport(&sshd), &command, &mut |_, _| ())
            .await
    };
    let result = tokio::time::timeout(Duration::from_secs(20), transfer).await;
    let error = result.expect("it is noticed").expect_err("it is an error");
    assert!(until(|| processes_about(&file(&sshd, "run")).is_empty()));
    assert_eq!(fs::read_dir(file(&sshd, "run")).unwrap().count(), 0);
    (error, sshd)
}

#[tokio::test(flavor = "multi_thread")]
async fn cut_transfer_is_lost_and_leaves_no_process() {
    let fault = Fault::CutAfter(Direction::ToServer, 5_000_000);
    let (error, sshd) = broken_transfer(fault, LONG).await;
    assert!(matches!(error, RemoteError::Lost { .. }), "{error}");
    let arrived = fs::metadata(file(&sshd, "to/large"));
    assert!(arrived.is_err() || arrived.unwrap().size() < 40_000_000);
}

#[tokio::test(flavor = "multi_thread")]
async fn stalled_transfer_is_lost_and_leaves_no_process() {
    let fault = Fault::StallAfter(Direction::ToServer, 5_000_000);
    let (error, _) = broken_transfer(fault, LONG).await;
    assert!(matches!(error, RemoteError::Lost { .. }), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn idle_transfer_is_ended() {
    let sshd = Sshd::settings().start();
    let connection = open(&sshd).await;
    let from = file(&sshd, "from");
    fs::create_dir(&from).unwrap();
    // A remote side that accepts everything and never answers.
    let silent = file(&sshd, "silent");
    fs::write(&silent, "#!/bin/sh\nexec cat >/dev/null\n").unwrap();
    tagship_tests::sshd::chmod(&silent, 0o755);
    let path = format!("--rsync-path={}", silent.display());
    let mut command = command(&from, &file(&sshd, "to"), &[&path]);
    command.stall_timeout = Duration::from_secs(1);
    let result = connection
        .rsync(&transport(&sshd), &command, &mut |_, _| ())
        .await;
    let error = result.unwrap_err();
    assert!(matches!(error, RemoteError::TimedOut { .. }), "{error}");
    assert!(until(|| processes_about(&file(&sshd, "run")).is_empty()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_transfer_that_is_dropped_leaves_no_process_and_no_socket() {
    let sshd = Sshd::settings().start();
    let connection = open(&sshd).await;
    let (from, to) = (file(&sshd, "from"), file(&sshd, "to"));
    fs::create_dir(&from).unwrap();
    fs::write(from.join("large"), vec![1; 100_000_000]).unwrap();
    let command = command(&from, &to, &["--bwlimit=1000"]);
    let transport = transport(&sshd);
    let mut ignore = |_: Stream, _: &[u8]| ();
    let transfer = connection.rsync(&transport, &command, &mut ignore);
    let begun = tokio::task::spawn_blocking({
        let to = to.clone();
        move || until(|| to.exists())
    });
    tokio::select! {
        _ = transfer => panic!("it ended"),
        begun = begun => assert!(begun.unwrap()),
    }
    assert!(until(|| processes_about(&file(&sshd, "run")).is_empty()));
    assert_eq!(fs::read_dir(&transport.runtime_dir).unwrap().count(), 0);
    assert!(
        crate::ssh::targets::run(&connection, "true")
            .await
            .exit
            .success()
    );
}

/// A transfer of one file over a login that runs something first.
async fn transfer_behind(
    login: &str,
    login_timeout: Duration,
) -> (Result<RsyncExit, RemoteError>, Sshd) {
    let line = format!("ForceCommand {login}");
    let sshd = Sshd::settings().line(&line).start();
    let connection = open(&sshd).await;
    let (from, to) = (file(&sshd, "from"), file(&sshd, "to"));
    fs::create_dir(&from).unwrap();
    fs::write(from.join("one"), "1").unwrap();
    let mut command = command(&from, &to, &[]);
    command.login_timeout = login_timeout;
    let ended = connection
        .rsync(&transport(&sshd), &command, &mut |_, _| ())
        .await;
    (ended, sshd)
}

#[tokio::test(flavor = "multi_thread")]
async fn login_that_reads_for_a_while_takes_nothing_from_rsync() {
    let login = "timeout 1 cat >/dev/null; eval \"$SSH_ORIGINAL_COMMAND\"";
    let (ended, sshd) = transfer_behind(login, LONG).await;
    let exit = ended.unwrap();
    assert_eq!(exit.end, RsyncEnd::Code(0), "{:?}", exit.stderr);
    assert_eq!(fs::read_to_string(file(&sshd, "to/one")).unwrap(), "1");
}

/// As `exec bash` in a `.bashrc`: the new shell knows no command, and would execute what comes.
#[tokio::test(flavor = "multi_thread")]
async fn login_that_runs_no_command_gets_no_byte_of_rsync() {
    let got = tempfile::NamedTempFile::new().unwrap();
    let login = format!("exec cat >{}", got.path().display());
    let (ended, _sshd) = transfer_behind(&login, Duration::from_secs(1)).await;
    let error = ended.unwrap_err();
    assert_eq!(error.reach(), Reach::Local, "{error}");
    for words in ["did not begin there within 1s", ".bashrc", "interactive"] {
        assert!(error.to_string().contains(words), "no {words} in {error}");
    }
    assert_eq!(fs::read(got.path()).unwrap(), b"");
}
