//! `tagship hosts enroll`: a key is remembered only when somebody has said that it is right.

use std::path::PathBuf;

use crate::support::sshd::Sshd;
use crate::test::{Said, Test};

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
        let dir = self.test.directory().display();
        let port = self.sshd.port;
        let config = format!(
            "[agent]\ndata_dir = \"{dir}/data\"\n[hosts.web1]\naddress = \"127.0.0.1\"\nport = {port}\n"
        );
        let path = self.test.path("config.toml");
        std::fs::write(&path, config).unwrap();
        Test::new()
            .arguments(["--config", path.to_str().unwrap(), "hosts", "enroll"])
            .arguments(arguments.iter().copied())
            .said()
    }

    fn remembers(&self) -> String {
        std::fs::read_to_string(self.known_hosts()).unwrap_or_default()
    }
}

#[test]
fn nothing_is_remembered_where_nobody_can_be_asked() {
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
fn the_key_with_the_given_fingerprint_is_remembered() {
    let lab = Lab::new();
    let fingerprint = lab.sshd.fingerprint();
    let said = lab.enroll(&["web1", "--fingerprint", &fingerprint]);
    assert_eq!(said.status, Some(0), "{said}");
    assert!(
        said.stdout
            .starts_with(&format!("web1 is enrolled: {fingerprint} stands in ")),
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
fn another_fingerprint_than_the_given_one_is_refused() {
    let lab = Lab::new();
    let other = format!("SHA256:{}", "A".repeat(43));
    let said = lab.enroll(&["web1", "--fingerprint", &other]);
    assert_eq!(said.status, Some(1), "{said}");
    assert!(
        said.stderr
            .contains(&format!("not {other}; nothing was remembered")),
        "{said}"
    );
    assert_eq!(lab.remembers(), "");
}

#[test]
fn yes_remembers_what_is_shown() {
    let lab = Lab::new();
    let said = lab.enroll(&["web1", "--yes"]);
    assert_eq!(said.status, Some(0), "{said}");
    assert!(lab.remembers().contains(&lab.sshd.host_key()));
}

#[test]
fn a_changed_key_is_never_remembered_over_the_old_one() {
    let lab = Lab::new();
    assert_eq!(lab.enroll(&["web1", "--yes"]).status, Some(0));
    // Another key of the same type stands there now.
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
        "error: no host is named web2; the configuration has web1\n"
    );
    assert_eq!(said.status, Some(1));
}
