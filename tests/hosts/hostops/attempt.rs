//! A program runs under the runner, independent of the connection.

#![allow(
    clippy::disallowed_methods,
    reason = "a test bounds how long it waits by the machine's clock"
)]

use std::collections::BTreeMap;
use std::io::Read as _;
use std::process::{Child, Command};
use std::time::{Duration, Instant};

use tagship::domain::host::{HOME, HostError, OUTPUT_KEPT_BYTES, Run, RunCommand, RunEnd};
use tagship::hosts::ssh::runner::{self, Attempt, AttemptEnd};
use tagship::hosts::ssh::script::{AnswerItem, AnswerReader, overtaken};
use tagship_tests::eventually::eventually;

use crate::hostops::local_host::{Host, Mounted, SHELLS, start};

/// The answer of a script about an attempt.
#[derive(Debug)]
pub(crate) struct Heard {
    pub(crate) end: Result<AttemptEnd, HostError>,
    pub(crate) output: Vec<u8>,
    /// The ranges of bytes that the host has not kept; zeros replace them.
    gaps: Vec<(usize, usize)>,
    notes: Vec<String>,
}

impl Heard {
    fn of(fence: u64, stdout: &[u8]) -> Self {
        let mut answer = AnswerReader::default();
        let mut attempt = Attempt::default();
        let mut output: Vec<u8> = Vec::new();
        let mut gaps = Vec::new();
        let mut error = None;
        let mut receive = |item: AnswerItem| {
            if let AnswerItem::Data { offset, bytes } = &item {
                let offset = usize::try_from(*offset).unwrap();
                assert!(offset >= output.len(), "nothing comes twice");
                if offset > output.len() && !output.is_empty() {
                    gaps.push((output.len(), offset));
                }
                output.resize(offset, 0);
                output.extend_from_slice(bytes);
            } else if let Some(seq) = overtaken(&item) {
                error = Some(HostError::Refused(format!("overtaken by {seq}")));
            } else if let Err(refusal) = attempt.receive(item, fence) {
                error = Some(refusal);
            }
        };
        answer.feed(stdout, &mut receive).unwrap();
        let (end, notes) = attempt.into_end();
        let end = match (error, end) {
            (Some(error), _) => Err(error),
            (None, Some(end)) if answer.is_done() => Ok(end),
            _ => Err(HostError::Lost("incomplete".into())),
        };
        Self {
            end,
            output,
            gaps,
            notes,
        }
    }

    fn text(&self) -> String {
        String::from_utf8(self.output.clone()).unwrap()
    }
}

/// Waits for a script's end.
pub(crate) fn heard(fence: u64, child: Child) -> Heard {
    let output = child.wait_with_output().unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stderr), "");
    Heard::of(fence, &output.stdout)
}

impl Host {
    pub(crate) fn script(&self, fence: u64, run: &Run, offset: u64) -> Vec<u8> {
        runner::run(&self.place(fence), self.seq(), run, offset).unwrap()
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
    pub(crate) fn follow(&self, script: &[u8]) -> Child {
        start(self.shell, script)
    }

    pub(crate) fn result(&self, key: &str) -> Heard {
        let script = runner::result(&self.deploy_to(), key, 0).unwrap();
        heard(0, self.follow(&script))
    }

    pub(crate) fn kill(&self, key: &str) -> Heard {
        let script = runner::kill(&self.deploy_to(), key).unwrap();
        heard(0, self.follow(&script))
    }

    pub(crate) fn journal(&self, key: &str) -> std::path::PathBuf {
        self.path().join(".tagship/journal").join(key)
    }

    /// The processes that have the attempt's cookie.
    pub(crate) fn carriers(&self, key: &str) -> Vec<i32> {
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

    /// A file in which programs of a test leave marks.
    pub(crate) fn marks(&self) -> std::path::PathBuf {
        self.path().with_file_name("marks")
    }
}

pub(crate) fn shell(key: &str, text: &str) -> Run {
    Run {
        key: key.into(),
        command: RunCommand::Shell(text.into()),
        directory: "/".into(),
        environment: BTreeMap::new(),
        timeout: Duration::from_secs(30),
    }
}

pub(crate) fn ended(code: i32) -> Result<AttemptEnd, HostError> {
    Ok(AttemptEnd::Run(RunEnd::Ended {
        code,
        values: BTreeMap::new(),
    }))
}

/// Ends whatever an attempt left behind, also when the test fails.
pub(crate) struct Ending<'a>(pub(crate) &'a Host, pub(crate) &'a str);

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
fn program_exit_code_is_reported() {
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
fn arguments_variables_and_text_arrive_unchanged() {
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

/// As on a hardened host, whose file system of `deploy_to` or of homes is mounted noexec.
#[test]
fn script_runs_where_no_file_may_be_executed() {
    for shells in SHELLS {
        let host = Host::new(shells);
        std::fs::create_dir_all(host.path()).unwrap();
        let options = ["-t", "tmpfs", "-o", "noexec", "tmpfs"];
        let Some(_mounted) = Mounted::at(host.path(), &options) else {
            return;
        };
        let prints = "printf '<%s>' \"${0##*/}\" \"$-\" \"$@\"";
        for (key, first, flags) in [
            ("k-plain", "#!/bin/sh", ""),
            ("k-flag", "#! /bin/sh \t-u ", "u"),
            ("k-env", "#!/usr/bin/env -S sh -f", "f"),
            ("k-none", "#", ""),
        ] {
            let run = Run {
                command: RunCommand::Script {
                    name: "job".into(),
                    text: format!("{first}\n{prints}\n"),
                    arguments: vec!["a b".into()],
                },
                ..shell(key, "")
            };
            let heard = host.run(&run);
            assert_eq!(heard.end, ended(0), "{first}: {heard:?}");
            let text = heard.text();
            let shown: Vec<&str> = text.split('>').collect();
            assert_eq!((shown[0], shown[2]), ("<job", "<a b"), "{first}: {text}");
            assert!(shown[1].contains(flags), "{first}: {text}");
        }
    }
}

#[test]
fn program_keeps_the_users_umask() {
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
fn program_passes_output_values_on() {
    let host = Host::new(SHELLS[0]);
    let text = "printf 'URL=http://x/?a=b\\n' >>\"$TAGSHIP_OUTPUT\"; printf 'LAST=1' >>\"$TAGSHIP_OUTPUT\"";
    let heard = host.run(&shell("k", text));
    let values = BTreeMap::from([
        ("LAST".to_owned(), "1".to_owned()),
        ("URL".to_owned(), "http://x/?a=b".to_owned()),
    ]);
    assert_eq!(
        heard.end,
        Ok(AttemptEnd::Run(RunEnd::Ended { code: 0, values }))
    );
    let text = "yes A=123456789 | head -c 100000 >\"$TAGSHIP_OUTPUT\"";
    let heard = host.run(&shell("k-long", text));
    assert!(
        matches!(&heard.end, Ok(AttemptEnd::Run(RunEnd::BadOutput { why })) if why.contains("longer than")),
        "{heard:?}"
    );
}

#[test]
fn replaced_output_file_fails_the_step() {
    let host = Host::new(SHELLS[0]);
    let ways = [
        "mkfifo \"$TAGSHIP_OUTPUT\"",
        "mkdir \"$TAGSHIP_OUTPUT\"",
        "ln -s /dev/zero \"$TAGSHIP_OUTPUT\"",
        "true",
    ];
    for (number, way) in ways.into_iter().enumerate() {
        let text = format!("echo A=1 >\"$TAGSHIP_OUTPUT\"; rm \"$TAGSHIP_OUTPUT\"; {way}");
        let heard = host.run(&shell(&format!("k-{number}"), &text));
        let why = match &heard.end {
            Ok(AttemptEnd::Run(RunEnd::BadOutput { why })) => why,
            _ => panic!("{way}: {heard:?}"),
        };
        assert!(
            why.starts_with("$TAGSHIP_OUTPUT is not a file any more: "),
            "{why}"
        );
    }
}

#[test]
fn output_is_bytes_and_its_limit_does_not_affect_programs() {
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
        let heard = host.run(&shell("k-much", "seq 1000000 6999999; exit 5"));
        assert_eq!(heard.end, ended(5));
        let printed: Vec<u8> = (1_000_000..7_000_000_u32)
            .flat_map(|number| format!("{number}\n").into_bytes())
            .collect();
        for heard in [heard, host.result("k-much")] {
            assert!(heard.notes.is_empty(), "{:?}", heard.notes);
            assert_eq!(heard.output.len(), printed.len());
            let kept = usize::try_from(OUTPUT_KEPT_BYTES).unwrap();
            let mut wanted = printed.clone();
            for &(from, to) in &heard.gaps {
                assert!(from >= kept && to <= printed.len() - kept, "{from} {to}");
                wanted[from..to].fill(0);
            }
            assert!(heard.output == wanted);
        }
        assert_eq!(host.result("k-much").gaps.len(), 1);
        let journal = host.path().join(".tagship/journal/k-much");
        let files = std::fs::read_dir(journal).unwrap().flatten();
        let sizes: Vec<u64> = files.map(|file| file.metadata().unwrap().len()).collect();
        let all: u64 = sizes.iter().sum();
        assert!(all < 4 * OUTPUT_KEPT_BYTES, "{sizes:?}");
    }
}

#[test]
fn background_process_does_not_delay_the_result() {
    let host = Host::new(SHELLS[0]);
    let _ending = Ending(&host, "k");
    let begun = Instant::now();
    let heard = host.run(&shell("k", "sleep 300 & echo started"));
    assert_eq!((heard.end, heard.output), (ended(0), b"started\n".to_vec()));
    assert!(begun.elapsed() < Duration::from_secs(10));
    assert!(!host.carriers("k").is_empty(), "nobody asked to end it");
    assert_eq!(host.kill("k").end, Ok(AttemptEnd::Killed));
    assert!(host.carriers("k").is_empty());
}

#[test]
fn silent_program_times_out_with_its_children() {
    for shells in SHELLS {
        let host = Host::new(shells);
        let _ending = Ending(&host, "k");
        let text = "trap '' TERM; setsid sh -c 'trap \"\" TERM; sleep 300; sleep 300' & sleep 300; sleep 300";
        let run = Run {
            timeout: Duration::from_secs(1),
            ..shell("k", text)
        };
        let begun = Instant::now();
        assert_eq!(host.run(&run).end, Ok(AttemptEnd::Run(RunEnd::TimedOut)));
        assert!(begun.elapsed() < Duration::from_secs(20));
        assert_eq!(host.result("k").end, Ok(AttemptEnd::Run(RunEnd::TimedOut)));
        eventually("all are gone", || {
            host.carriers("k").is_empty().then_some(())
        });
    }
}

#[test]
fn cut_connection_ends_no_program_and_loses_no_output() {
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
        assert_eq!(host.result("k").end, Ok(AttemptEnd::Run(RunEnd::Running)));
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
fn concurrent_starts_of_one_attempt_run_it_once() {
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
            Ok(AttemptEnd::Run(RunEnd::Running)),
            "the program runs on"
        );
        kill(&program);
        let unknown = Ok(AttemptEnd::Run(RunEnd::Unknown));
        assert_eq!(heard(1, follower).end, unknown);
        assert_eq!(host.result("k").end, unknown);
        assert_eq!(host.run(&shell("k", "echo never again")).end, unknown);
        assert_eq!(host.kill("k").end, Ok(AttemptEnd::Killed));
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
    assert_eq!(host.result("k").end, Ok(AttemptEnd::Run(RunEnd::Unknown)));
    follower.wait().unwrap();
}

#[test]
fn begun_attempt_is_followed_and_never_restarted() {
    let host = Host::new(SHELLS[0]);
    let follow = |key| {
        let script = runner::follow(&host.deploy_to(), key, 0).unwrap();
        heard(1, host.follow(&script))
    };
    let unknown = Ok(AttemptEnd::Run(RunEnd::Unknown));
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
fn lost_fence_starts_no_program() {
    let host = Host::new(SHELLS[0]);
    assert_eq!(host.run(&shell("first", "true")).end, ended(0));
    let run = shell("k", &format!("echo begun >>'{}'", host.marks().display()));
    let newer = host.follow(&host.script(9, &shell("newer", "true"), 0));
    assert_eq!(heard(9, newer).end, ended(0));
    assert_eq!(
        host.run(&run).end,
        Err(HostError::Fenced { ours: 1, held: 9 })
    );
    assert_eq!(host.result("k").end, Ok(AttemptEnd::Run(RunEnd::NotBegun)));
    assert!(!host.marks().exists());
}

#[test]
fn missing_working_directory_is_named() {
    let host = Host::new(SHELLS[0]);
    let run = Run {
        directory: "/no/such/place".into(),
        ..shell("k", "true")
    };
    let Err(HostError::Refused(why)) = host.run(&run).end else {
        panic!("there is no such place");
    };
    assert!(why.contains("/no/such/place"), "{why}");
    assert_eq!(host.result("k").end, Ok(AttemptEnd::Run(RunEnd::NotBegun)));
}
