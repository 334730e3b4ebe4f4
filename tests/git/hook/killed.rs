//! The hook is killed at every one of its system calls: strace injects the signal.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs;
use std::os::unix::process::ExitStatusExt as _;
use std::process::{Command, ExitStatus, Stdio};
use std::time::Duration;

use tagship::engine::spool;
use tagship_tests::program::script;

use crate::hook::shop::Shop;

const ZERO: &str = "0000000000000000000000000000000000000000";
const NEW: &str = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";

/// The hook of a shop under strace with these options.
fn traced(shop: &Shop, options: &[&str]) -> ExitStatus {
    let status = Command::new("strace")
        .args(["-f", "-o"])
        .arg(shop.directory().join("trace"))
        .args(options)
        .args(["hooks/update", "refs/tags/qa-1", ZERO, NEW])
        .current_dir(&shop.repo().path)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    status.expect("strace is installed (apt-get install strace)")
}

/// Every system call that the hook makes: its name, and how often.
fn calls(shop: &Shop) -> BTreeMap<String, usize> {
    assert!(traced(shop, &[]).success());
    let mut calls = BTreeMap::new();
    let trace = fs::read_to_string(shop.directory().join("trace")).unwrap();
    for line in trace.lines() {
        let name = line
            .split_whitespace()
            .nth(1)
            .and_then(|call| call.split_once('('));
        if let Some((name, _)) = name {
            *calls.entry(name.to_owned()).or_default() += 1;
        }
    }
    // strace also reports the call that starts the program itself.
    calls.remove("execve");
    calls
}

fn empty(shop: &Shop) {
    for part in ["tmp", "new"] {
        for entry in fs::read_dir(shop.spool().join(part)).unwrap() {
            fs::remove_file(entry.unwrap().path()).unwrap();
        }
    }
}

#[test]
fn hook_killed_at_any_syscall_leaves_no_partial_record() {
    let shop = Shop::new();
    let calls = calls(&shop);
    empty(&shop);
    let mut left = [0, 0, 0];
    for (call, times) in &calls {
        for time in 1..=*times {
            let inject = format!("inject={call}:signal=KILL:when={time}");
            let status = traced(&shop, &["-e", &inject]);
            // Calls of the timer thread may not occur.
            assert!(
                status.signal() == Some(9) || status.success(),
                "{call} {time}: {status}"
            );
            let waiting = spool::waiting(&shop.spool()).unwrap();
            for record in &waiting {
                let read = spool::read(&shop.spool(), record);
                let read = read.unwrap_or_else(|error| panic!("{call} {time}: {error}"));
                assert_eq!(read.record.reference, "refs/tags/qa-1");
            }
            let unfinished = fs::read_dir(shop.spool().join("tmp")).unwrap().count();
            assert!(waiting.len() <= 1 && unfinished <= 1, "{call} {time}");
            assert!(!status.success() || waiting.len() == 1, "{call} {time}");
            match (waiting.len(), unfinished) {
                (0, 0) => left[0] += 1,
                (0, 1) => left[1] += 1,
                _ => left[2] += 1,
            }
            // An hour later the agent deletes what was never handed over.
            let later = Duration::from_secs(1 << 40);
            let swept = spool::sweep(&shop.spool(), later, Duration::ZERO).unwrap();
            assert_eq!(swept, unfinished, "{call} {time}");
            empty(&shop);
        }
    }
    eprintln!(
        "killed {} times: nothing, a temporary file, a record: {left:?}",
        left.iter().sum::<i32>()
    );
    assert!(left.iter().all(|count| *count > 0), "{left:?}");
}

#[test]
fn killed_hook_refuses_its_push_but_not_the_next() {
    let shop = Shop::new();
    let update = shop.repo().path.join("hooks/update");
    let program = shop.repo().path.join("hooks/update.program");
    fs::rename(&update, &program).unwrap();
    for entry in fs::read_dir(shop.repo().path.join("hooks")).unwrap() {
        // The settings are beside the program, under its name.
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        if let Some(rest) = name
            .strip_prefix("update.")
            .filter(|rest| *rest != "program")
        {
            fs::copy(
                &path,
                program.with_file_name(format!("update.program.{rest}")),
            )
            .unwrap();
        }
    }
    for (number, (call, time)) in [
        ("openat", 1),
        ("write", 1),
        ("fsync", 1),
        ("rename", 1),
        ("fsync", 2),
        ("exit_group", 1),
    ]
    .into_iter()
    .enumerate()
    {
        let tag = format!("qa-{number}");
        let commit = shop.tree().commit_files(&tag, &[("index.html", &tag)]);
        shop.tree().tag(&tag, &commit);
        script(
            &update,
            &format!(
                "#!/bin/sh\nexec strace -f -o /dev/null -e inject={call}:signal=KILL:when={time} hooks/update.program \"$@\"\n"
            ),
        );
        let pushed = shop.tree().push_tag(&tag);
        assert!(!pushed.success, "{call} {time}: {}", pushed.text);
        let reference: OsString = format!("refs/tags/{tag}").into();
        assert_eq!(shop.repo().resolve(&reference), None, "{call} {time}");
        let hints = shop.records().len();
        script(&update, "#!/bin/sh\nexec hooks/update.program \"$@\"\n");
        let pushed = shop.tree().push_tag(&tag);
        assert!(pushed.success, "{}", pushed.text);
        assert_eq!(shop.repo().resolve(&reference), Some(commit));
        assert_eq!(shop.records().len(), hints + 1, "{call} {time}");
    }
}
