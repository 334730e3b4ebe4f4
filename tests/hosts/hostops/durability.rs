//! The order in which data reaches a host's disk: the system calls of the scripts, traced by
//! strace.

use std::process::{Command, Stdio};

use std::io::Write as _;

use tagship::domain::host::TransferSet;
use tagship::hosts::sync;
use tagship::hosts::sync::rsync::TransferEnd;

use crate::hostops::attempt::shell as program;
use crate::hostops::local_host::{Host, SHELLS, Tree};

const HOUR_1: u64 = 1_700_000_000;

/// One system call that syncs or renames, with its paths.
#[derive(Debug)]
struct Call {
    syncs: bool,
    text: String,
}

impl Call {
    fn syncs(&self, path: &str) -> bool {
        self.syncs && self.text.contains(path)
    }

    fn renames(&self, from: &str, to: &str) -> bool {
        let at = self.text.find(from);
        !self.syncs && at.is_some_and(|at| self.text[at + from.len()..].contains(to))
    }
}

/// Performs a script under strace; returns what it synced and renamed, in order.
fn watched(shell: &[&str], script: &[u8]) -> Vec<Call> {
    let trace = tempfile::NamedTempFile::new().unwrap();
    let mut child = Command::new("strace")
        .args(["-f", "-y", "-z", "-qq", "-s", "4096"])
        .args([
            "-e",
            "trace=fsync,fdatasync,syncfs,sync,rename,renameat,renameat2",
        ])
        .arg("-o")
        .arg(trace.path())
        .args(shell)
        .arg("-s")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("strace is installed (apt-get install strace)");
    child.stdin.take().unwrap().write_all(script).unwrap();
    let said = child.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&said.stdout).into_owned();
    assert!(
        said.ends_with("done\n") && !said.contains("refused"),
        "{said}"
    );
    let text = std::fs::read_to_string(trace.path()).unwrap();
    let calls = text.lines().filter_map(|line| {
        let call = line.split_once(' ')?.1.trim();
        let name = call.split_once('(')?.0;
        Some(Call {
            syncs: name.contains("sync"),
            text: call.to_owned(),
        })
    });
    calls.collect()
}

/// The index of the first call for which this holds.
fn first(calls: &[Call], is: impl Fn(&Call) -> bool) -> usize {
    calls
        .iter()
        .position(is)
        .unwrap_or_else(|| panic!("{calls:#?}"))
}

fn last(calls: &[Call], is: impl Fn(&Call) -> bool) -> usize {
    calls
        .iter()
        .rposition(is)
        .unwrap_or_else(|| panic!("{calls:#?}"))
}

#[test]
fn tree_is_synced_before_it_enters_releases() {
    for shell in SHELLS {
        let host = Host::named(shell, "shop");
        let tree = Tree::new();
        tree.file("a", "a", 0o644, HOUR_1);
        let release = tree.release("r1");
        host.prepare(1, &release, None, &[]).unwrap();
        let end = host.transfer(1, tree.path(), &TransferSet::Whole);
        assert_eq!(end, TransferEnd::Complete);
        let script = sync::seal(&host.place(1), host.seq(), &release, None).unwrap();
        let calls = watched(shell, &script);
        let tree_synced = last(&calls, |call| call.syncs("/sealing"));
        let manifest_synced = first(&calls, |call| call.syncs("/manifest>"));
        let recorded = first(&calls, |call| {
            call.renames("/manifest\"", "/manifests/r1\"")
        });
        let there = first(&calls, |call| call.renames("/sealing\"", "/releases/r1\""));
        assert!(tree_synced < recorded && recorded < there, "{calls:#?}");
        assert!(manifest_synced < recorded, "{calls:#?}");
        // Both directories, before it is reported.
        for directory in ["/manifests>", "/releases>"] {
            assert!(
                last(&calls, |call| call.syncs(directory)) > there,
                "{calls:#?}"
            );
        }
    }
}

#[test]
fn record_of_what_was_live_is_synced_before_the_switch() {
    for shell in SHELLS {
        let host = Host::named(shell, "shop");
        let tree = Tree::new();
        tree.file("a", "a", 0o644, HOUR_1);
        let releases = [tree.release("r1"), tree.release("r2")];
        for (number, release) in releases.iter().enumerate() {
            host.stage(1, &tree, release);
            let key = format!("key-{number}");
            let calls = watched(shell, &host.switch(1, release, &key));
            let written = first(&calls, |call| {
                call.renames("/was\"", &format!("/journal/{key}\""))
            });
            let file = first(&calls, |call| call.syncs(&format!("/journal/{key}>")));
            let directory = first(&calls, |call| call.syncs("/journal>"));
            let switched = first(&calls, |call| call.renames("/current\"", "/current\""));
            assert!(written < file && written < directory, "{calls:#?}");
            assert!(file < switched && directory < switched, "{calls:#?}");
            // And the switch, before it is reported.
            let synced = last(&calls, |call| call.syncs(&top(&host)));
            assert!(synced > switched, "{calls:#?}");
        }
    }
}

fn top(host: &Host) -> String {
    format!("{}>", host.path().display())
}

#[test]
fn attempt_is_synced_before_its_program_and_its_end_after() {
    for shell in SHELLS {
        let host = Host::named(shell, "shop");
        std::fs::create_dir(host.path()).unwrap();
        std::fs::write(host.path().join("before"), "").unwrap();
        let mut run = program("k", "mv -T before after");
        run.directory = host.deploy_to();
        let calls = watched(shell, &host.script(1, &run, 0));
        let began = first(&calls, |call| call.renames("/run\"", "/journal/k\""));
        let ran = first(&calls, |call| call.renames("\"before\"", "\"after\""));
        for place in ["/journal/k/runner>", "/journal/k>", "/journal>"] {
            let synced = first(&calls, |call| call.syncs(place));
            assert!(began < synced && synced < ran, "{place}: {calls:#?}");
        }
        let ended = first(&calls, |call| call.renames("/.end\"", "/end\""));
        for place in ["/journal/k/end>", "/journal/k>"] {
            let synced = last(&calls, |call| call.syncs(place));
            assert!(ran < ended && ended < synced, "{place}: {calls:#?}");
        }
    }
}
