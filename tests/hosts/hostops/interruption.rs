//! Scripts that are killed at each of their commands, and scripts that are overtaken there.

use std::io::Write as _;
use std::path::Path;

use tagship::domain::host::{HostError, Release, TransferSet};
use tagship::hosts::ssh::script::AnswerLines;
use tagship::hosts::sync::rsync::TransferEnd;
use tagship::hosts::{publish, sync};

use crate::hostops::local_host::{Host, SHELLS, Tree, answered, digest_of, feed};

const HOUR: u64 = 1_700_000_000;

/// Puts text before a script that performs `action` before the n-th command that touches anything.
/// The count is in a file, since many commands run in subshells.
fn interrupted(script: &[u8], n: usize, action: &str) -> (Vec<u8>, tempfile::NamedTempFile) {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(b"0\n").unwrap();
    let count = file.path().display();
    let before = format!(
        "set -T\ntrap 'case $BASH_COMMAND in mv*|rm*|cp*|ln*|mkdir*|chmod*|sync*|printf*|xargs*|find*|sha256sum*|cd*) read -r cut_n <{count}; cut_n=$((cut_n+1)); echo \"$cut_n\" >{count}; if [ \"$cut_n\" -eq {n} ]; then {action}; fi;; esac' DEBUG\n"
    );
    ([before.as_bytes(), script].concat(), file)
}

const BASH: &[&str] = &["bash", "--posix"];

/// Performs a script that is killed before its n-th command; `None` if it has fewer.
fn killed(script: &[u8], n: usize) -> Option<()> {
    let (script, _count) = interrupted(script, n, "kill -KILL $$ $BASHPID");
    match answered(1, &feed(BASH, &script)) {
        Err(HostError::Lost(_)) => Some(()),
        Ok(_) => None,
        Err(error) => panic!("{n}: {error}"),
    }
}

/// Performs a script; before its n-th command, another one runs completely. `None` if it has fewer
/// commands.
fn overtaken_by(
    host: &Host,
    stale: &[u8],
    n: usize,
    other: &[u8],
) -> Option<Result<AnswerLines, HostError>> {
    let path = host.path().with_file_name("other.sh");
    let said = host.path().with_file_name("other.said");
    std::fs::write(&path, other).unwrap();
    let _ = std::fs::remove_file(&said);
    let action = format!("sh -s <{} >{} 2>&1", path.display(), said.display());
    let (script, _count) = interrupted(stale, n, &action);
    let output = feed(BASH, &script);
    let said = std::fs::read_to_string(said).ok()?;
    assert!(
        said.ends_with("done\n") && !said.contains("refused"),
        "{n}: {said}"
    );
    // An overtaken script may print errors about missing files; its answer counts.
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    let output = std::process::Output {
        stderr: Vec::new(),
        ..output
    };
    let answer = answered(1, &output);
    assert!(!matches!(answer, Err(HostError::Lost(_))), "{n}: {stderr}");
    Some(answer)
}

/// r1 is live, r2 complete beside it, with files of several kinds.
fn two_releases() -> (Host, Tree, Release, Tree, Release) {
    let host = Host::new(SHELLS[0]);
    let one = Tree::new();
    one.file("a", "one", 0o644, HOUR)
        .file("same", "same", 0o755, HOUR)
        .file("gone/below", "x", 0o644, HOUR)
        .link("link", "a");
    let two = one.twin();
    two.file("a", "two", 0o644, HOUR + 60).without("gone");
    let (r1, r2) = (one.release("r1"), two.release("r2"));
    host.stage(1, &one, &r1);
    host.publish(1, &r1, "1").unwrap();
    (host, one, r1, two, r2)
}

/// What must hold whenever nothing runs: `current` names a complete release, and every release
/// whose manifest exists has the tree of that manifest.
fn holds(host: &Host, when: &str) {
    let state = host.inspect().unwrap();
    let live = state.live.expect(when);
    assert!(
        state.releases.iter().any(|release| release.id == live),
        "{when}"
    );
    for release in &state.releases {
        assert_eq!(
            digest_of(&host.release(release)),
            release.digest,
            "{when}: {}",
            release.id
        );
    }
}

fn send(host: &Host, fence: u64, tree: &Tree, base: &Release, based: bool) {
    let set = if based {
        TransferSet::Changed(vec![b"a".to_vec()])
    } else {
        TransferSet::LinkDest(base.id.clone())
    };
    assert_eq!(
        host.transfer(fence, tree.path(), &set),
        TransferEnd::Complete
    );
}

#[test]
fn a_preparation_that_is_killed_anywhere_can_be_made_again() {
    let (host, _, r1, two, r2) = two_releases();
    for fence in [1, 2] {
        for n in 1.. {
            let script = host.preparation(fence, &r2, Some(&r1), &[b"gone"], &[]);
            let whole = killed(&script, n).is_none();
            holds(&host, &format!("fence {fence}, killed at {n}"));
            let reply = host.prepare(fence, &r2, Some(&r1), &[b"gone"]).unwrap();
            assert!(
                format!("{reply:?}").contains("based: true"),
                "{n}: {reply:?}"
            );
            if whole {
                assert!(n > 10, "{n}");
                break;
            }
        }
    }
    send(&host, 2, &two, &r1, true);
    host.seal(2, &r2).unwrap();
    holds(&host, "at last");
}

#[test]
fn a_seal_that_is_killed_anywhere_can_be_made_again() {
    for n in 1.. {
        let (host, _, r1, two, r2) = two_releases();
        host.prepare(1, &r2, None, &[]).unwrap();
        send(&host, 1, &two, &r1, false);
        let script = sync::seal(&host.place(1), host.seq(), &r2, None).unwrap();
        let whole = killed(&script, n).is_none();
        holds(&host, &format!("killed at {n}"));
        host.seal(1, &r2).unwrap();
        holds(&host, &format!("killed at {n}, repeated"));
        assert_eq!(host.inspect().unwrap().releases.len(), 2);
        if whole {
            assert!(n > 8, "{n}");
            break;
        }
    }
}

#[test]
fn interrupted_release_can_be_sent_again() {
    for n in 1.. {
        let (host, _, r1, two, r2) = two_releases();
        host.prepare(1, &r2, None, &[]).unwrap();
        send(&host, 1, &two, &r1, false);
        let script = sync::seal(&host.place(1), host.seq(), &r2, None).unwrap();
        let whole = killed(&script, n).is_none();
        let reply = host.prepare(2, &r2, Some(&r1), &[b"gone"]).unwrap();
        if !format!("{reply:?}").contains("staged: true") {
            send(&host, 2, &two, &r1, true);
            host.seal(2, &r2).unwrap();
        }
        holds(&host, &format!("killed at {n}, anew"));
        assert_eq!(host.publish(2, &r2, "2").unwrap().as_deref(), Some("r1"));
        if whole {
            break;
        }
    }
}

#[test]
fn killed_switch_can_be_repeated_and_knows_the_previous() {
    for n in 1.. {
        let (host, _, _, two, r2) = two_releases();
        host.stage(1, &two, &r2);
        let script = host.switch(1, &r2, "2");
        let whole = killed(&script, n).is_none();
        holds(&host, &format!("killed at {n}"));
        assert_eq!(
            host.publish(1, &r2, "2").unwrap().as_deref(),
            Some("r1"),
            "{n}"
        );
        assert_eq!(host.live().as_deref(), Some("r2"));
        if whole {
            assert!(n > 6, "{n}");
            break;
        }
    }
}

#[test]
fn a_deletion_that_is_killed_anywhere_leaves_no_half_release() {
    for n in 1.. {
        let (host, one, r1, two, r2) = two_releases();
        host.stage(1, &two, &r2);
        host.stage(1, &one, &one.release("r0"));
        host.publish(1, &r2, "2").unwrap();
        let place = host.place(1);
        let failed = [r1.id.clone()];
        let script = publish::prune(&place, host.seq(), 1, &[], &failed).unwrap();
        let whole = killed(&script, n).is_none();
        holds(&host, &format!("killed at {n}"));
        host.prune(1, 1, &[], &[&r1]).unwrap();
        holds(&host, &format!("killed at {n}, repeated"));
        assert_eq!(host.inspect().unwrap().releases.len(), 1);
        assert_eq!(entries(&host.path().join("releases")), ["r2"], "{n}");
        assert_eq!(
            entries(&host.path().join(".tagship/manifests")),
            ["r2"],
            "{n}"
        );
        if whole {
            assert!(n > 10, "{n}");
            break;
        }
    }
}

fn entries(directory: &Path) -> Vec<String> {
    let mut names: Vec<String> = std::fs::read_dir(directory)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

#[test]
fn stale_switch_loses_at_any_point() {
    let mut fenced = 0;
    for n in 1.. {
        let (host, one, _, two, r2) = two_releases();
        host.stage(1, &two, &r2);
        let r3 = one.release("r3");
        host.stage(1, &one, &r3);
        let stale = host.switch(1, &r2, "2");
        let newer = host.switch(9, &r3, "3");
        let Some(answer) = overtaken_by(&host, &stale, n, &newer) else {
            assert!(n > 6, "{n}");
            break;
        };
        assert_eq!(host.live().as_deref(), Some("r3"), "{n}: {answer:?}");
        holds(&host, &format!("overtaken at {n}"));
        match answer {
            Err(HostError::Fenced { ours: 1, held: 9 }) => fenced += 1,
            // It had switched before.
            Ok(_) => assert_eq!(
                host.publish(9, &r3, "3").unwrap().as_deref(),
                Some("r2"),
                "{n}"
            ),
            Err(error) => panic!("{n}: {error}"),
        }
    }
    assert!(fenced > 4, "{fenced}");
}

#[test]
fn stale_seal_loses_at_any_point() {
    for n in 1.. {
        let (host, _, r1, two, r2) = two_releases();
        host.prepare(1, &r2, None, &[]).unwrap();
        send(&host, 1, &two, &r1, false);
        let stale = sync::seal(&host.place(1), host.seq(), &r2, None).unwrap();
        let newer = host.preparation(9, &r2, Some(&r1), &[b"gone"], &[]);
        let Some(answer) = overtaken_by(&host, &stale, n, &newer) else {
            assert!(n > 8, "{n}");
            break;
        };
        holds(&host, &format!("overtaken at {n}"));
        let complete = host.inspect().unwrap().releases.contains(&r2);
        match &answer {
            Ok(_) => assert!(complete, "{n}"),
            Err(HostError::Fenced { ours: 1, held: 9 }) => {}
            Err(error) => panic!("{n}: {error}"),
        }
        // The newer agent continues normally.
        if !complete {
            send(&host, 9, &two, &r1, true);
            host.seal(9, &r2).unwrap();
        }
        holds(&host, &format!("overtaken at {n}, complete"));
    }
}

#[test]
fn stale_preparation_and_deletion_lose_at_any_point() {
    for n in 1.. {
        let (host, one, r1, two, r2) = two_releases();
        host.stage(1, &one, &one.release("r0"));
        let prepare = |fence| host.preparation(fence, &r2, Some(&r1), &[b"gone"], &[]);
        let prune = publish::prune(&host.place(1), host.seq(), 1, &[], &[]).unwrap();
        let by_preparing = overtaken_by(&host, &prepare(1), n, &prepare(7));
        if by_preparing.is_some() {
            send(&host, 7, &two, &r1, true);
            host.seal(7, &r2).unwrap();
            holds(&host, &format!("preparation overtaken at {n}"));
        }
        let newer = host.switch(8, &r1, "8");
        let by_switching = overtaken_by(&host, &prune, n, &newer);
        holds(&host, &format!("deletion overtaken at {n}"));
        if by_preparing.is_none() && by_switching.is_none() {
            assert!(n > 8, "{n}");
            break;
        }
    }
}

#[test]
fn earlier_script_of_the_same_agent_loses_at_any_point() {
    for n in 1.. {
        let (host, one, r1, two, r2) = two_releases();
        host.stage(1, &two, &r2);
        let r3 = one.release("r3");
        host.stage(1, &one, &r3);
        // A switch that was believed lost, and its rollback.
        let lost = host.switch(1, &r2, "2");
        let back = host.switch(1, &r1, "2-back");
        if overtaken_by(&host, &lost, n, &back).is_none() {
            break;
        }
        assert_eq!(host.live().as_deref(), Some("r1"), "{n}");
    }
}

/// Two agents act at once: in any order, the higher fence's switch is live at the end.
#[test]
fn concurrent_switches_are_won_by_the_higher_fence() {
    let (host, one, r1, two, r2) = two_releases();
    host.stage(1, &two, &r2);
    let _ = one;
    let mut lost = 0;
    for round in 0..300_u64 {
        let (low, high) = (10 + 2 * round, 11 + 2 * round);
        let key = |fence: u64| format!("race-{fence}");
        let stale = host.switch(low, &r1, &key(low));
        let newer = host.switch(high, &r2, &key(high));
        let shell = SHELLS[usize::try_from(round).unwrap() % 2];
        let answers = std::thread::scope(|scope| {
            let stale = scope.spawn(|| answered(low, &feed(shell, &stale)));
            let newer = scope.spawn(|| answered(high, &feed(shell, &newer)));
            (stale.join().unwrap(), newer.join().unwrap())
        });
        assert!(answers.1.is_ok(), "{round}: {answers:?}");
        assert_eq!(host.live().as_deref(), Some("r2"), "{round}: {answers:?}");
        lost += usize::from(answers.0.is_err());
    }
    assert!(lost > 0, "they never met");
}

/// Many agents use a new host at once: one fence remains at the end.
#[test]
fn concurrent_first_claims_leave_one_fence() {
    for round in 0..20 {
        let host = Host::new(SHELLS[round % 2]);
        let tree = Tree::new();
        tree.file("a", "a", 0o644, HOUR);
        let release = tree.release("r1");
        let scripts: Vec<Vec<u8>> = (1..=6)
            .map(|fence| host.preparation(fence, &release, None, &[], &[]))
            .collect();
        let shell = host.shell;
        std::thread::scope(|scope| {
            for (script, fence) in scripts.iter().zip(1..) {
                scope.spawn(move || match answered(fence, &feed(shell, script)) {
                    Ok(_) | Err(HostError::Fenced { .. }) => {}
                    Err(error) => panic!("{error}"),
                });
            }
        });
        assert_eq!(host.inspect().unwrap().fence, 6);
        let names = entries(&host.path().join(".tagship"));
        assert_eq!(names, ["fence-6", "journal", "manifests"]);
        host.stage(6, &tree, &release);
    }
}
