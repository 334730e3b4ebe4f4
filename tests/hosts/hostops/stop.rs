//! Stopping programs on a host: all their children end, an attempt stopped before its start never
//! begins, and only programs that have ended are reported as ended.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use tagship::domain::host::{Run, RunEnd};
use tagship::hosts::ssh::runner::{self, AttemptEnd};
use tagship_tests::eventually::eventually;
use tagship_tests::program::script;

use crate::hostops::attempt::{Ending, ended, heard, shell};
use crate::hostops::local_host::{Host, SHELLS};

#[test]
fn stop_ends_processes_that_ignore_term_or_change_session() {
    for shells in SHELLS {
        let host = Host::new(shells);
        let _ending = Ending(&host, "k");
        let text = format!(
            "trap '' TERM; setsid sh -c 'trap \"\" TERM; while :; do sleep 1; done' & (setsid sleep 300 &) ; echo up >'{}'; while :; do sleep 1; done",
            host.marks().display()
        );
        let follower = host.follow(&host.script(1, &shell("k", &text), 0));
        eventually("it is up", || host.marks().exists().then_some(()));
        assert!(host.carriers("k").len() > 3);
        assert_eq!(host.kill("k").end, Ok(AttemptEnd::Killed));
        assert!(host.carriers("k").is_empty());
        let heard = heard(1, follower);
        assert_eq!(heard.end, ended(137), "and its end was written");
        assert_eq!(
            host.kill("k").end,
            Ok(AttemptEnd::Killed),
            "twice is as once"
        );
    }
}

#[test]
fn attempt_stopped_before_its_start_never_runs() {
    for shells in SHELLS {
        let host = Host::new(shells);
        assert_eq!(
            host.kill("k").end,
            Ok(AttemptEnd::Killed),
            "nothing was ever done here"
        );
        assert_eq!(host.result("k").end, Ok(AttemptEnd::Barred));
        // A request that was on its way may arrive after the stop.
        let late = shell("k", &format!("echo begun >>'{}'", host.marks().display()));
        assert_eq!(host.run(&late).end, Ok(AttemptEnd::Barred));
        assert_eq!(host.run(&shell("other", "true")).end, ended(0));
        assert_eq!(host.kill("k").end, Ok(AttemptEnd::Killed));
        let run = shell("k", &format!("echo begun >>'{}'", host.marks().display()));
        assert_eq!(host.run(&run).end, Ok(AttemptEnd::Barred));
        assert!(!host.marks().exists());
    }
}

/// The runner has begun and is held just before it starts the program.
#[test]
fn stop_between_begin_and_start_prevents_the_program() {
    let host = Host::new(SHELLS[0]);
    assert_eq!(host.run(&shell("first", "true")).end, ended(0));
    let _ending = Ending(&host, "k");
    let own = host.path().with_file_name("own");
    let gate = host.path().with_file_name("gate");
    let waiting = format!(
        "#!/bin/sh\nuntil [ -e '{}' ]; do sleep 0.02; done\n",
        gate.display()
    );
    script(&own.join("sync"), &waiting);
    let run = shell("k", &format!("echo begun >>'{}'", host.marks().display()));
    let path = format!("PATH={}:$PATH\n", own.display());
    let script = [path.as_bytes(), &host.script(1, &run, 0)].concat();
    let follower = host.follow(&script);
    eventually("it is begun", || host.journal("k").exists().then_some(()));
    let mut killing = host.follow(&runner::kill(&host.deploy_to(), "k").unwrap());
    eventually("it is to stop", || {
        host.journal("k").join("stop").exists().then_some(())
    });
    for _ in 0..20 {
        assert_eq!(host.result("k").end, Ok(AttemptEnd::Run(RunEnd::Running)));
    }
    assert!(
        killing.try_wait().unwrap().is_none(),
        "the runner may still start it"
    );
    std::fs::write(gate, "").unwrap();
    assert_eq!(heard(0, killing).end, Ok(AttemptEnd::Killed));
    assert!(host.carriers("k").is_empty());
    heard(1, follower);
    assert!(!host.marks().exists());
}

/// Waits without a pause, so that the next action comes at that very moment.
fn spin_until(holds: impl Fn() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(10);
    while !holds() {
        assert!(Instant::now() < deadline);
        std::hint::spin_loop();
    }
}

/// A kill at any moment of a start: afterwards nothing of it runs, and nothing starts.
#[test]
fn a_stop_that_races_with_the_start_wins() {
    stop_races_with_the_start_of(str::to_owned);
}

/// A check starts one program after another, each under a name that the stop's caller does not
/// know.
#[test]
fn a_stop_that_races_with_the_start_of_a_part_wins() {
    stop_races_with_the_start_of(|attempt| format!("{attempt}.7-1795219200000"));
}

fn stop_races_with_the_start_of(named: impl Fn(&str) -> String) {
    let host = Host::new(SHELLS[0]);
    assert_eq!(host.run(&shell("first", "true")).end, ended(0));
    let ends: BTreeSet<String> = (0..60).map(|round| race(&host, round, &named)).collect();
    assert!(ends.len() > 1, "never at another moment: {ends:?}");
}

#[test]
fn a_stop_that_races_with_the_first_start_of_all_wins() {
    for round in 0..40 {
        race(&Host::new(SHELLS[0]), round, &str::to_owned);
    }
}

/// One race; returns the result that the caller of the attempt saw.
fn race(host: &Host, round: u32, named: &dyn Fn(&str) -> String) -> String {
    let marks = || std::fs::read_to_string(host.marks()).unwrap_or_default();
    let attempt = format!("k-{round}");
    let key = named(&attempt);
    let text = format!("echo {key} >>'{}'; exec sleep 300", host.marks().display());
    let run = shell(&key, &text);
    let _ending = Ending(host, &key);
    let script = host.script(1, &run, 0);
    let killing = runner::kill(&host.deploy_to(), &attempt).unwrap();
    let follower = host.follow(&script);
    // The stop comes at another moment each time.
    let journal = host.journal(&key);
    let turn = host
        .path()
        .join(format!(".tagship/fence-1/turn-{}", host.last_seq()));
    match round % 6 {
        0 => {}
        1 => spin_until(|| turn.exists() || journal.exists()),
        2 => spin_until(|| turn.join("run").exists() || journal.exists()),
        3 => spin_until(|| turn.join("run/runner").exists() || journal.exists()),
        4 => spin_until(|| journal.exists()),
        _ => spin_until(|| journal.join("program").exists()),
    }
    assert_eq!(heard(0, host.follow(&killing)).end, Ok(AttemptEnd::Killed));
    let begun = marks();
    let end = heard(1, follower).end;
    // A runner that came too late is still about to leave.
    eventually("all are gone", || {
        host.carriers(&key).is_empty().then_some(())
    });
    assert_eq!(marks(), begun, "{round}: {end:?}");
    format!("{end:?}")
}

/// Simulates a process of another user: our signals do not reach it.
#[test]
fn unkillable_timed_out_program_is_not_reported_ended() {
    for shells in SHELLS {
        let host = Host::new(shells);
        let _ending = Ending(&host, "k");
        let run = Run {
            timeout: Duration::from_secs(1),
            ..shell("k", "exec sleep 300")
        };
        let script = String::from_utf8(host.script(1, &run, 0)).unwrap();
        let powerless = script
            .replace("kill -TERM", "true -TERM")
            .replace("kill -KILL", "true -KILL");
        assert_ne!(powerless, script);
        let unended = Ok(AttemptEnd::Run(RunEnd::Unended));
        assert_eq!(heard(1, host.follow(powerless.as_bytes())).end, unended);
        assert!(!host.carriers("k").is_empty(), "it runs on");
        assert_eq!(host.result("k").end, unended);
        assert_eq!(host.kill("k").end, Ok(AttemptEnd::Killed));
        eventually("all are gone", || {
            host.carriers("k").is_empty().then_some(())
        });
        assert_eq!(host.result("k").end, unended, "nobody saw how it ended");
    }
}

#[test]
fn stop_ends_only_the_parts_of_its_attempt() {
    for shells in SHELLS {
        let host = Host::new(shells);
        let keys = [
            "5-a-1-2-1",
            "5-a-1-2-1.again",
            "5-a-1-2-1.0-99",
            "5-a-1-2-11",
        ];
        let endings = keys.map(|key| Ending(&host, key));
        let followers = keys.map(|key| {
            let script = host.script(1, &shell(key, "echo up; exec sleep 300"), 0);
            let follower = host.follow(&script);
            eventually("it runs", || {
                let out = std::fs::read(host.journal(key).join("out"));
                out.is_ok_and(|out| out == b"up\n").then_some(())
            });
            follower
        });
        // This one has ended, and left something.
        let left = "(setsid sleep 301 >/dev/null 2>&1 </dev/null &); true";
        let _left = Ending(&host, "5-a-1-2-1.1-99");
        assert_eq!(host.run(&shell("5-a-1-2-1.1-99", left)).end, ended(0));
        eventually("only what it left is there", || {
            (host.carriers("5-a-1-2-1.1-99").len() == 1).then_some(())
        });
        assert_eq!(host.kill("5-a-1-2-1").end, Ok(AttemptEnd::Killed));
        for key in &keys[..3] {
            assert!(host.carriers(key).is_empty(), "{key}");
        }
        assert!(host.carriers("5-a-1-2-1.1-99").is_empty());
        assert!(!host.carriers("5-a-1-2-11").is_empty(), "another attempt");
        // And none begins any more.
        let marks = host.marks();
        let late = shell("5-a-1-2-1.2-99", &format!("echo >>'{}'", marks.display()));
        assert_eq!(host.run(&late).end, Ok(AttemptEnd::Barred));
        assert!(!marks.exists());
        drop(endings);
        for follower in followers {
            heard(1, follower);
        }
    }
}

#[test]
fn a_program_whose_journal_was_deleted_is_ended_by_its_cookie() {
    let host = Host::new(SHELLS[0]);
    let _ending = Ending(&host, "k");
    let follower = host.follow(&host.script(1, &shell("k", "exec sleep 300"), 0));
    eventually("it runs", || {
        host.journal("k").join("program").exists().then_some(())
    });
    std::fs::remove_dir_all(host.path().join(".tagship/journal")).unwrap();
    assert_eq!(host.kill("k").end, Ok(AttemptEnd::Killed));
    eventually("all are gone", || {
        host.carriers("k").is_empty().then_some(())
    });
    let _ = follower.wait_with_output();
}
