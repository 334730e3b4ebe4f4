//! `tagship hosts enroll`: a key is stored only after a user confirmed it.

use std::io::{Read as _, Write as _};
use std::path::PathBuf;
use std::process::{Command, Stdio};

use tagship_tests::sshd::Sshd;

use crate::command::program::{Said, Test};

struct Lab {
    test: Test,
    sshd: Sshd,
}

impl Lab {
    fn new() -> Self {
        Self {
            test: Test::new(),
            sshd: Sshd::settings().start(),
        }
    }

    fn known_hosts(&self) -> PathBuf {
        self.test.path("data/ssh/known_hosts")
    }

    fn enroll(&self, arguments: &[&str]) -> Said {
        Test::new()
            .arguments(["--config", &self.config(), "hosts", "enroll"])
            .arguments(arguments.iter().copied())
            .said()
    }

    fn config(&self) -> String {
        let dir = self.test.directory().display();
        let port = self.sshd.port;
        let config = format!(
            "[agent]\ndata_dir = \"{dir}/data\"\n[hosts.web1]\naddress = \"127.0.0.1\"\nport = {port}\n"
        );
        let path = self.test.path("config.toml");
        std::fs::write(&path, config).unwrap();
        path.display().to_string()
    }

    /// On a terminal, with this input.
    fn enroll_asked(&self, answer: &str) -> String {
        let program = env!("CARGO_BIN_EXE_tagship");
        let call = format!("{program} --config {} hosts enroll web1", self.config());
        let mut child = Command::new("script")
            .args(["-qefc", &call, "/dev/null"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut typing = child.stdin.take().unwrap();
        let mut screen = child.stdout.take().unwrap();
        let mut text = Vec::new();
        let mut byte = [0];
        // Answers after the question, as people do.
        while !text.ends_with(b"[yes/no] ") && screen.read(&mut byte).unwrap() > 0 {
            text.push(byte[0]);
        }
        typing.write_all(answer.as_bytes()).unwrap();
        drop(screen.read_to_end(&mut text));
        child.wait().unwrap();
        String::from_utf8_lossy(&text).into_owned()
    }

    fn remembers(&self) -> String {
        std::fs::read_to_string(self.known_hosts()).unwrap_or_default()
    }
}

#[test]
fn no_host_key_is_stored_without_confirmation() {
    let lab = Lab::new();
    let said = lab.enroll(&["web1"]);
    assert_eq!(said.status, Some(1), "{said}");
    let fingerprint = lab.sshd.fingerprint();
    assert!(
        said.stderr
            .contains(&format!("shows the host key ssh-ed25519 {fingerprint}\n")),
        "{said}"
    );
    assert!(
        said.stderr
            .contains(&format!("give --fingerprint {fingerprint} ")),
        "{said}"
    );
    assert_eq!(lab.remembers(), "");
}

#[test]
fn host_key_with_the_expected_fingerprint_is_stored() {
    let lab = Lab::new();
    let fingerprint = lab.sshd.fingerprint();
    let said = lab.enroll(&["web1", "--fingerprint", &fingerprint]);
    assert_eq!(said.status, Some(0), "{said}");
    assert!(
        said.stdout
            .starts_with(&format!("web1 is enrolled: {fingerprint} is in ")),
        "{said}"
    );
    assert_eq!(
        lab.remembers(),
        format!("[127.0.0.1]:{} {}\n", lab.sshd.port, lab.sshd.host_key())
    );
    let again = lab.enroll(&["web1"]);
    assert_eq!(
        again.stdout,
        format!("web1 is enrolled already: {fingerprint}\n")
    );
    assert_eq!(again.status, Some(0));
}

#[test]
fn mismatched_fingerprint_is_refused() {
    let lab = Lab::new();
    let other = format!("SHA256:{}", "A".repeat(43));
    let said = lab.enroll(&["web1", "--fingerprint", &other]);
    assert_eq!(said.status, Some(1), "{said}");
    assert!(
        said.stderr
            .contains(&format!("not {other}; no key was stored")),
        "{said}"
    );
    assert_eq!(lab.remembers(), "");
}

#[test]
fn yes_option_stores_the_shown_host_key() {
    let lab = Lab::new();
    let said = lab.enroll(&["web1", "--yes"]);
    assert_eq!(said.status, Some(0), "{said}");
    assert!(lab.remembers().contains(&lab.sshd.host_key()));
}

#[test]
fn changed_host_key_never_replaces_the_old_one() {
    let lab = Lab::new();
    assert_eq!(lab.enroll(&["web1", "--yes"]).status, Some(0));
    // The host has another key of the same type now.
    let other = Sshd::settings().start();
    let line = format!("[127.0.0.1]:{} {}\n", lab.sshd.port, other.host_key());
    std::fs::write(lab.known_hosts(), &line).unwrap();
    let said = lab.enroll(&["web1", "--yes"]);
    assert_eq!(said.status, Some(1), "{said}");
    assert!(said.stderr.contains("delete that line first"), "{said}");
    assert_eq!(lab.remembers(), line);
}

#[test]
fn a_host_that_is_not_configured_is_refused() {
    let lab = Lab::new();
    let said = lab.enroll(&["web2", "--yes"]);
    assert_eq!(
        said.stderr,
        "error: no host is named web2; the configuration has web1; did you mean web1?\n"
    );
    assert_eq!(said.status, Some(1));
}

#[test]
fn terminal_prompt_accepts_only_yes() {
    let lab = Lab::new();
    for no in ["no\n", "y\n", "\n"] {
        let text = lab.enroll_asked(no);
        assert!(text.contains(&lab.sshd.fingerprint()), "{text}");
        assert!(text.contains("error: no key was stored"), "{text}");
        assert_eq!(lab.remembers(), "");
    }
    let text = lab.enroll_asked("yes\n");
    assert!(text.contains("web1 is enrolled: SHA256:"), "{text}");
    assert!(lab.remembers().contains(&lab.sshd.host_key()));
}
