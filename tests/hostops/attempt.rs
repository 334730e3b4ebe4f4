//! A program runs under the runner, whatever becomes of the connection.

#![allow(
    clippy::disallowed_methods,
    reason = "a test bounds how long it waits by the machine's clock"
)]

use std::collections::{BTreeMap, BTreeSet};
use std::io::{Read as _, Write as _};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tagship::host::{HOME, HostError, Run, RunCommand, RunEnd};
use tagship::remote::runner::{self, Attempt, End, OUTPUT_BYTES_MAX};
use tagship::remote::script::{Answer, Said, overtaken};

use crate::place::{Host, SHELLS};
use crate::support::eventually::eventually;

/// What a script about an attempt said.
#[derive(Debug)]
pub(crate) struct Heard {
    pub(crate) end: Result<End, HostError>,
    pub(crate) output: Vec<u8>,
    notes: Vec<String>,
}

impl Heard {
    fn of(fence: u64, stdout: &[u8]) -> Self {
        let mut answer = Answer::default();
        let mut attempt = Attempt::default();
        let mut output: Vec<u8> = Vec::new();
        let mut error = None;
        let mut hear = |said: Said| {
            if let Said::Data { offset, bytes } = &said {
                let offset = usize::try_from(*offset).unwrap();
                assert!(offset <= output.len() || output.is_empty());
                output.resize(offset, 0);
                output.extend_from_slice(bytes);
            } else if let Some(turn) = overtaken(&said) {
                error = Some(HostError::Refused(format!("overtaken by {turn}")));
            } else if let Err(refusal) = attempt.hear(said, fence) {
                error = Some(refusal);
            }
        };
        answer.feed(stdout, &mut hear).unwrap();
        let (end, notes) = attempt.into_end();
        let end = match (error, end) {
            (Some(error), _) => Err(error),
            (None, Some(end)) if answer.is_done() => Ok(end),
            _ => Err(HostError::Lost("incomplete".into())),
        };
        Self { end, output, notes }
    }

    fn text(&self) -> String {
        String::from_utf8(self.output.clone()).unwrap()
    }
}

/// Waits for a script's end.
fn heard(fence: u64, child: Child) -> Heard {
    let output = child.wait_with_output().unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stderr), "");
    Heard::of(fence, &output.stdout)
}

impl Host {
    fn script(&self, fence: u64, run: &Run, offset: u64) -> Vec<u8> {
        runner::run(&self.place(fence), self.turn(), run, offset).unwrap()
    }

    pub(crate) fn run(&self, run: &Run) -> Heard {
        Heard::of(
            1,
            &self
                .follow(&self.script(1, run, 0))
                .wait_with_output()
                .unwrap()
                .stdout,
        )
    }

    /// Performs a script in the background.
    fn follow(&self, script: &[u8]) -> Child {
        let mut child = Command::new(self.shell[0])
            .args(&self.shell[1..])
            .arg("-s")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        child.stdin.take().unwrap().write_all(script).unwrap();
        child
    }

    fn result(&self, key: &str) -> Heard {
        let script = runner::result(&self.deploy_to(), key, 0).unwrap();
        heard(0, self.follow(&script))
    }

    fn kill(&self, key: &str) -> Heard {
        let script = runner::kill(&self.deploy_to(), key).unwrap();
        heard(0, self.follow(&script))
    }

    fn journal(&self, key: &str) -> std::path::PathBuf {
        self.path().join(".tagship/journal").join(key)
    }

    /// The processes that carry the attempt's cookie.
    fn carriers(&self, key: &str) -> Vec<i32> {
        let cookie = format!("TAGSHIP_RUN={}", self.journal(key).display());
        let mut carriers = Vec::new();
        for entry in std::fs::read_dir("/proc").unwrap() {
            let entry = entry.unwrap();
            let Some(pid) = entry
                .file_name()
                .to_str()
                .and_then(|name| name.parse().ok())
            else {
                continue;
            };
            let environ = std::fs::read(entry.path().join("environ")).unwrap_or_default();
            if environ
                .split(|&byte| byte == 0)
                .any(|line| line == cookie.as_bytes())
            {
                carriers.push(pid);
            }
        }
        carriers
    }

    /// A file in which programs of a test leave their marks.
    fn marks(&self) -> std::path::PathBuf {
        self.path().with_file_name("marks")
    }
}

fn shell(key: &str, text: &str) -> Run {
    Run {
        key: key.into(),
        command: RunCommand::Shell(text.into()),
        directory: "/".into(),
        environment: BTreeMap::new(),
        timeout: Duration::from_secs(30),
    }
}

pub(crate) fn ended(code: i32) -> Result<End, HostError> {
    Ok(End::Run(RunEnd::Ended {
        code,
        values: BTreeMap::new(),
    }))
}

/// Ends whatever an attempt left behind, also when the test fails.
struct Ending<'a>(&'a Host, &'a str);

impl Drop for Ending<'_> {
    fn drop(&mut self) {
        for pid in self.0.carriers(self.1) {
            let _ = Command::new("kill")
                .arg("-KILL")
                .arg(pid.to_string())
                .status();
        }
    }
}

#[test]
fn a_program_ends_with_its_own_code() {
    for shells in SHELLS {
        let host = Host::new(shells);
        for (key, text, code) in [
            ("k-0", "true", 0),
            ("k-3", "exit 3", 3),
            ("k-255", "exit 255", 255),
            ("k-sig", "kill -KILL $$", 137),
            ("k-term", "kill -TERM $$", 143),
            ("k-none", "exec /no/such/program 2>/dev/null", 127),
        ] {
            let heard = host.run(&shell(key, text));
            assert_eq!(heard.end, ended(code), "{text}");
            assert_eq!(host.result(key).end, ended(code), "{text}");
        }
        let run = Run {
            command: RunCommand::Argv(vec!["no-such-program".into()]),
            ..shell("k-argv", "")
        };
        let heard = host.run(&run);
        assert_eq!(heard.end, ended(127));
        assert!(heard.text().contains("no-such-program"), "{heard:?}");
    }
}

#[test]
fn words_variables_and_text_arrive_as_they_were_given() {
    let hostile = "it's \"a\" $(touch /tmp/x) `id` ${HOME} \\ \n* ; & | ü -n";
    for shells in SHELLS {
        let host = Host::new(shells);
        let environment = BTreeMap::from([
            ("TAG".to_owned(), hostile.to_owned()),
            ("PATH".to_owned(), "/usr/bin:/bin:/own".to_owned()),
            ("TAGSHIP_OUTPUT".to_owned(), "/elsewhere".to_owned()),
        ]);
        let run = Run {
            command: RunCommand::Argv(vec![
                "printf".into(),
                "<%s>".into(),
                hostile.into(),
                String::new(),
                "-e".into(),
            ]),
            ..shell("k-words", "")
        };
        assert_eq!(host.run(&run).text(), format!("<{hostile}><><-e>"));
        let run = Run {
            environment,
            ..shell(
                "k-env",
                "printf '%s|%s|%s' \"$TAG\" \"$PATH\" \"$TAGSHIP_OUTPUT\"; cat",
            )
        };
        let expected = format!(
            "{hostile}|/usr/bin:/bin:/own|{}/output",
            host.journal("k-env").display()
        );
        assert_eq!(host.run(&run).text(), expected, "and nothing to read");
        let run = Run {
            directory: HOME.into(),
            ..shell(
                "k-home",
                "[ \"$PWD\" -ef \"$HOME\" ] && printf home; printf %s \"${TAGSHIP_EXPORTS-}\"",
            )
        };
        assert_eq!(host.run(&run).text(), "home");
    }
}

#[test]
fn a_program_keeps_the_mask_of_the_user() {
    let host = Host::new(SHELLS[0]);
    for mask in ["0027", "0002"] {
        let run = shell(&format!("k-{mask}"), "umask");
        let script = [
            format!("umask {mask}\n").as_bytes(),
            &host.script(1, &run, 0),
        ]
        .concat();
        assert_eq!(heard(1, host.follow(&script)).text(), format!("{mask}\n"));
    }
}

#[test]
fn a_program_hands_values_on() {
    let host = Host::new(SHELLS[0]);
    let text = "printf 'URL=http://x/?a=b\\nnonsense\\n' >>\"$TAGSHIP_OUTPUT\"; printf 'LAST=1' >>\"$TAGSHIP_OUTPUT\"";
    let heard = host.run(&shell("k", text));
    let values = BTreeMap::from([
        ("LAST".to_owned(), "1".to_owned()),
        ("URL".to_owned(), "http://x/?a=b".to_owned()),
    ]);
    assert_eq!(heard.end, Ok(End::Run(RunEnd::Ended { code: 0, values })));
    assert_eq!(heard.notes.len(), 1, "{heard:?}");
    let text = "yes A=123456789 | head -c 100000 >\"$TAGSHIP_OUTPUT\"";
    let heard = host.run(&shell("k-long", text));
    assert!(heard.notes[0].contains("too long"), "{heard:?}");
}

#[test]
fn output_is_bytes_and_is_kept_up_to_a_limit_without_hurting_the_program() {
    for shells in SHELLS {
        let host = Host::new(shells);
        let heard = host.run(&shell(
            "k-bytes",
            r"printf 'a\377\000b\r\n@tagship-answer-1\ndone\nno newline'",
        ));
        assert_eq!(
            heard.output,
            b"a\xff\0b\r\n@tagship-answer-1\ndone\nno newline"
        );
        let heard = host.run(&shell("k-closed", "exec >&- 2>&-; exit 4"));
        assert_eq!(heard.end, ended(4));
        let text = "head -c 50000000 /dev/zero | tr '\\0' x; exit 5";
        let heard = host.run(&shell("k-much", text));
        assert_eq!(heard.end, ended(5));
        assert_eq!(heard.output.len() as u64, OUTPUT_BYTES_MAX);
        assert!(heard.notes[0].contains("kept"), "{:?}", heard.notes);
        assert!(heard.output.iter().all(|&byte| byte == b'x'));
    }
}

#[test]
fn what_a_program_leaves_behind_does_not_hold_its_result_back() {
    let host = Host::new(SHELLS[0]);
    let _ending = Ending(&host, "k");
    let begun = Instant::now();
    let heard = host.run(&shell("k", "sleep 300 & echo started"));
    assert_eq!((heard.end, heard.output), (ended(0), b"started\n".to_vec()));
    assert!(begun.elapsed() < Duration::from_secs(10));
    assert!(!host.carriers("k").is_empty(), "nobody asked to end it");
    assert_eq!(host.kill("k").end, Ok(End::Killed));
    assert!(host.carriers("k").is_empty());
}

#[test]
fn a_program_that_prints_nothing_still_times_out_with_all_it_started() {
    for shells in SHELLS {
        let host = Host::new(shells);
        let _ending = Ending(&host, "k");
        let text = "trap '' TERM; setsid sh -c 'trap \"\" TERM; sleep 300; sleep 300' & sleep 300; sleep 300";
        let run = Run {
            timeout: Duration::from_secs(1),
            ..shell("k", text)
        };
        let begun = Instant::now();
        assert_eq!(host.run(&run).end, Ok(End::Run(RunEnd::TimedOut)));
        assert!(begun.elapsed() < Duration::from_secs(20));
        assert_eq!(host.result("k").end, Ok(End::Run(RunEnd::TimedOut)));
        eventually("all are gone", || {
            host.carriers("k").is_empty().then_some(())
        });
    }
}

#[test]
fn a_cut_connection_ends_nothing_and_the_rest_is_heard_later() {
    for shells in SHELLS {
        let host = Host::new(shells);
        let _ending = Ending(&host, "k");
        std::fs::create_dir(host.path()).unwrap();
        let gate = host.path().with_file_name("gate");
        let text = format!(
            "echo begun >>'{}'; echo first; while [ ! -e '{}' ]; do sleep 0.02; done; echo second; exit 6",
            host.marks().display(),
            gate.display()
        );
        let run = shell("k", &text);
        let mut cut = host.follow(&host.script(1, &run, 0));
        let mut stdout = cut.stdout.take().unwrap();
        let mut seen = Vec::new();
        while !seen.windows(6).any(|window| window == b"first\n") {
            let mut piece = [0; 100];
            let count = stdout.read(&mut piece).unwrap();
            seen.extend_from_slice(&piece[..count]);
        }
        drop(stdout);
        cut.kill().unwrap();
        cut.wait().unwrap();
        assert_eq!(host.result("k").end, Ok(End::Run(RunEnd::Running)));
        assert_eq!(host.result("k").text(), "first\n");
        let again = host.follow(&host.script(1, &run, 6));
        std::fs::write(gate, "").unwrap();
        let heard = heard(1, again);
        assert_eq!(heard.end, ended(6));
        assert_eq!(heard.output, b"\0\0\0\0\0\0second\n", "from the offset on");
        assert_eq!(host.run(&run).text(), "first\nsecond\n");
        assert_eq!(
            std::fs::read_to_string(host.marks()).unwrap(),
            "begun\n",
            "once"
        );
    }
}

#[test]
fn many_that_ask_for_one_attempt_start_it_once() {
    for shells in SHELLS {
        let host = Host::new(shells);
        for round in 0..5 {
            let text = format!("echo {round} >>'{}'; exit 7", host.marks().display());
            let run = shell(&format!("k-{round}"), &text);
            let asking: Vec<Child> = (0..6)
                .map(|_| host.follow(&host.script(1, &run, 0)))
                .collect();
            let mut ends = 0;
            for child in asking {
                // An earlier script that was overtaken says so, and has started nothing.
                ends += usize::from(heard(1, child).end == ended(7));
            }
            assert!(ends >= 1);
            assert_eq!(host.run(&run).end, ended(7));
        }
        let marks = std::fs::read_to_string(host.marks()).unwrap();
        assert_eq!(marks, "0\n1\n2\n3\n4\n");
    }
}

#[test]
fn an_attempt_whose_runner_was_killed_has_an_unknown_end() {
    for shells in SHELLS {
        let host = Host::new(shells);
        let _ending = Ending(&host, "k");
        let follower = host.follow(&host.script(1, &shell("k", "echo x; sleep 300"), 0));
        let pid_in = |file: &str| {
            eventually(file, || {
                let text = std::fs::read_to_string(host.journal("k").join(file)).ok()?;
                Some(text.split(' ').next()?.to_owned())
            })
        };
        let kill = |pid: &str| Command::new("kill").args(["-KILL", pid]).status().unwrap();
        let (runner, program) = (pid_in("runner"), pid_in("program"));
        kill(&runner);
        assert_eq!(
            host.result("k").end,
            Ok(End::Run(RunEnd::Running)),
            "the program runs on"
        );
        kill(&program);
        let unknown = Ok(End::Run(RunEnd::Unknown));
        assert_eq!(heard(1, follower).end, unknown);
        assert_eq!(host.result("k").end, unknown);
        assert_eq!(host.run(&shell("k", "echo never again")).end, unknown);
        assert_eq!(host.kill("k").end, Ok(End::Killed));
        assert!(host.carriers("k").is_empty());
    }
}

#[test]
fn an_attempt_of_another_boot_has_an_unknown_end() {
    let host = Host::new(SHELLS[0]);
    let _ending = Ending(&host, "k");
    let mut follower = host.follow(&host.script(1, &shell("k", "sleep 300"), 0));
    for file in ["runner", "program"] {
        let path = host.journal("k").join(file);
        let text = eventually(file, || {
            std::fs::read_to_string(&path)
                .ok()
                .filter(|t| !t.is_empty())
        });
        let mut words: Vec<&str> = text.split_whitespace().collect();
        words[2] = "another-boot";
        std::fs::write(path, format!("{}\n", words.join(" "))).unwrap();
    }
    assert_eq!(host.result("k").end, Ok(End::Run(RunEnd::Unknown)));
    follower.wait().unwrap();
}

#[test]
fn what_ignores_term_or_left_for_another_session_is_ended_and_shown_to_be() {
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
        assert_eq!(host.kill("k").end, Ok(End::Killed));
        assert!(host.carriers("k").is_empty());
        let heard = heard(1, follower);
        assert_eq!(heard.end, ended(137), "and its end was written");
        assert_eq!(host.kill("k").end, Ok(End::Killed), "twice is as once");
    }
}

#[test]
fn an_attempt_that_was_stopped_before_it_began_never_begins() {
    for shells in SHELLS {
        let host = Host::new(shells);
        assert_eq!(
            host.kill("k").end,
            Ok(End::Killed),
            "nothing was ever done here"
        );
        assert_eq!(host.result("k").end, Ok(End::Barred));
        // What was on its way when the stop came may arrive after it.
        let late = shell("k", &format!("echo begun >>'{}'", host.marks().display()));
        assert_eq!(host.run(&late).end, Ok(End::Barred));
        assert_eq!(host.run(&shell("other", "true")).end, ended(0));
        assert_eq!(host.kill("k").end, Ok(End::Killed));
        let run = shell("k", &format!("echo begun >>'{}'", host.marks().display()));
        assert_eq!(host.run(&run).end, Ok(End::Barred));
        assert!(!host.marks().exists());
    }
}

/// The runner has begun and is held just before it starts the program.
#[test]
fn a_stop_between_begin_and_start_waits_for_the_runner_and_bars_the_program() {
    let host = Host::new(SHELLS[0]);
    assert_eq!(host.run(&shell("first", "true")).end, ended(0));
    let _ending = Ending(&host, "k");
    let own = host.path().with_file_name("own");
    let gate = host.path().with_file_name("gate");
    std::fs::create_dir(&own).unwrap();
    let waiting = format!(
        "#!/bin/sh\nuntil [ -e '{}' ]; do sleep 0.02; done\n",
        gate.display()
    );
    std::fs::write(own.join("sync"), waiting).unwrap();
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(own.join("sync"), mode).unwrap();
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
        assert_eq!(host.result("k").end, Ok(End::Run(RunEnd::Running)));
    }
    assert!(
        killing.try_wait().unwrap().is_none(),
        "the runner may still start it"
    );
    std::fs::write(gate, "").unwrap();
    assert_eq!(heard(0, killing).end, Ok(End::Killed));
    assert!(host.carriers("k").is_empty());
    heard(1, follower);
    assert!(!host.marks().exists());
}

/// Waits without a pause, so that what follows comes at that very moment.
fn spin_until(holds: impl Fn() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(10);
    while !holds() {
        assert!(Instant::now() < deadline);
        std::hint::spin_loop();
    }
}

/// Kill at any moment of a start: afterwards nothing of it lives, and nothing comes to life.
#[test]
fn a_stop_that_races_with_the_start_wins() {
    stop_races_with_the_start_of(str::to_owned);
}

/// As a check starts one program after another, each under a name that nobody who stops it knows.
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

/// One race; how the attempt ended for whoever started it.
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
        .join(format!(".tagship/fence-1/turn-{}", host.last_turn()));
    match round % 6 {
        0 => {}
        1 => spin_until(|| turn.exists() || journal.exists()),
        2 => spin_until(|| turn.join("run").exists() || journal.exists()),
        3 => spin_until(|| turn.join("run/runner").exists() || journal.exists()),
        4 => spin_until(|| journal.exists()),
        _ => spin_until(|| journal.join("program").exists()),
    }
    assert_eq!(heard(0, host.follow(&killing)).end, Ok(End::Killed));
    let begun = marks();
    let end = heard(1, follower).end;
    // A runner that came too late is still about to leave.
    eventually("all are gone", || {
        host.carriers(&key).is_empty().then_some(())
    });
    assert_eq!(marks(), begun, "{round}: {end:?}");
    format!("{end:?}")
}

/// What belongs to another user, say: no signal of ours reaches it.
#[test]
fn a_program_that_passes_its_limit_and_cannot_be_ended_is_not_said_to_have_ended() {
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
        let unended = Ok(End::Run(RunEnd::Unended));
        assert_eq!(heard(1, host.follow(powerless.as_bytes())).end, unended);
        assert!(!host.carriers("k").is_empty(), "it runs on");
        assert_eq!(host.result("k").end, unended);
        assert_eq!(host.kill("k").end, Ok(End::Killed));
        eventually("all are gone", || {
            host.carriers("k").is_empty().then_some(())
        });
        assert_eq!(host.result("k").end, unended, "nobody saw how it ended");
    }
}

#[test]
fn stopping_an_attempt_ends_all_its_parts_and_nothing_else() {
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
        assert_eq!(host.kill("5-a-1-2-1").end, Ok(End::Killed));
        for key in &keys[..3] {
            assert!(host.carriers(key).is_empty(), "{key}");
        }
        assert!(host.carriers("5-a-1-2-1.1-99").is_empty());
        assert!(!host.carriers("5-a-1-2-11").is_empty(), "another attempt");
        // And none begins any more.
        let marks = host.marks();
        let late = shell("5-a-1-2-1.2-99", &format!("echo >>'{}'", marks.display()));
        assert_eq!(host.run(&late).end, Ok(End::Barred));
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
    assert_eq!(host.kill("k").end, Ok(End::Killed));
    eventually("all are gone", || {
        host.carriers("k").is_empty().then_some(())
    });
    let _ = follower.wait_with_output();
}

#[test]
fn an_attempt_that_is_known_to_have_begun_is_followed_and_never_started() {
    let host = Host::new(SHELLS[0]);
    let follow = |key| {
        let script = runner::follow(&host.deploy_to(), key, 0).unwrap();
        heard(1, host.follow(&script))
    };
    let unknown = Ok(End::Run(RunEnd::Unknown));
    assert_eq!(follow("k").end, unknown, "nothing stands there");
    let run = shell(
        "k",
        &format!("echo x >>'{}'; echo out", host.marks().display()),
    );
    assert_eq!(host.run(&run).end, ended(0));
    let heard = follow("k");
    assert_eq!((heard.text().as_str(), heard.end), ("out\n", ended(0)));
    std::fs::remove_dir_all(host.journal("k")).unwrap();
    assert_eq!(follow("k").end, unknown, "it was deleted");
    assert_eq!(std::fs::read_to_string(host.marks()).unwrap(), "x\n");
}

#[test]
fn a_fence_that_was_lost_starts_nothing() {
    let host = Host::new(SHELLS[0]);
    assert_eq!(host.run(&shell("first", "true")).end, ended(0));
    let run = shell("k", &format!("echo begun >>'{}'", host.marks().display()));
    let newer = host.follow(&host.script(9, &shell("newer", "true"), 0));
    assert_eq!(heard(9, newer).end, ended(0));
    assert_eq!(
        host.run(&run).end,
        Err(HostError::Fenced { ours: 1, held: 9 })
    );
    assert_eq!(host.result("k").end, Ok(End::Run(RunEnd::NotBegun)));
    assert!(!host.marks().exists());
}

#[test]
fn a_directory_that_is_not_there_is_named() {
    let host = Host::new(SHELLS[0]);
    let run = Run {
        directory: "/no/such/place".into(),
        ..shell("k", "true")
    };
    let Err(HostError::Refused(why)) = host.run(&run).end else {
        panic!("there is no such place");
    };
    assert!(why.contains("/no/such/place"), "{why}");
    assert_eq!(host.result("k").end, Ok(End::Run(RunEnd::NotBegun)));
}
