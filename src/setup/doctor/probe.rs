//! Builds the script that checks a host, as text for `sh`, and parses its answer (pure).

use std::collections::BTreeMap;

use super::shared::{self, DeployPathNeeds};
use super::{CheckFinding, Subject, access};
use crate::domain::host::{BrokenCurrent, RELEASES_APART, is_own, remove_as_root, unmount};
use crate::hosts::ssh::preamble::{EndlessPreamble, Preamble};
use crate::hosts::ssh::script::{InvalidValue, absolute, quote};

const PROBE: &str = concat!(
    include_str!("../../hosts/ssh/sh/mounts.sh"),
    include_str!("../../hosts/sync/shared.sh"),
    include_str!("../../hosts/sync/tools.sh"),
    include_str!("probe.sh")
);
/// Marks the beginning of the answer; earlier output is a login shell's.
const MARKER: &[u8] = b"\n@tagship-check\n";
const MARKER_LINE: &str = "@tagship-check";
const ANSWER_BYTES_MAX: usize = 256 * 1024;
/// The prefix of the script's temporary directory.
const SCRATCH: &str = ".tagship-check.";
/// The tolerated clock difference of a host.
const CLOCK_OFFSET_MAX_S: u64 = 300;
/// With less free space a release is likely to fail.
const FREE_KIB_MIN: u64 = 64 * 1024;
/// A release may well have this number of files.
pub(super) const INODES_MIN: u64 = 2_000;
/// The oldest rsync that supports the options in use.
const RSYNC_MIN: (u32, u32) = (3, 1);

/// Returns the script that checks a host and these deploy paths on it.
///
/// # Errors
/// An invalid path.
pub(super) fn script<'p>(
    targets: impl IntoIterator<Item = (&'p str, &'p DeployPathNeeds)>,
) -> Result<String, InvalidValue> {
    let mut text = PROBE.to_owned();
    // A group is executed only once its closing brace was read.
    text.push_str("{\nbegin\nmachine\n");
    for (deploy_to, needs) in targets {
        text.push_str("place ");
        text.push_str(&quote("deploy_to", absolute("deploy_to", deploy_to)?)?);
        let directories = needs.shared_directories.iter();
        let directories = directories.map(|path| format!("{path}/"));
        for path in needs.shared_files.iter().cloned().chain(directories) {
            text.push(' ');
            text.push_str(&quote("a shared path", &path)?);
        }
        text.push('\n');
    }
    text.push_str("say done -\nexit\n} </dev/null\n");
    Ok(text)
}

/// Returns the script that checks what a step needs of its execution user.
pub(super) fn login_script() -> String {
    let text = PROBE;
    format!("{text}{{\nlogin\nexit\n}} </dev/null\n")
}

/// Returns the directory that the script made for a test file; `None` if it made none, or if the
/// host returned another form of name.
pub(super) fn scratch(answer: &str) -> Option<&str> {
    let lines = answer.lines().skip_while(|line| *line != MARKER_LINE);
    let path = lines
        .filter_map(|line| line.strip_prefix("scratch "))
        .next()?;
    let (_, name) = path.rsplit_once('/')?;
    (name.starts_with(SCRATCH) && absolute("scratch", path).is_ok()).then_some(path)
}

/// Returns a script that prints the received file, and deletes it with its directory.
pub(super) fn fetch_script(scratch: &str, file: &str) -> Result<String, InvalidValue> {
    let directory = quote("scratch", scratch)?;
    let path = quote("scratch", &format!("{scratch}/{file}"))?;
    Ok(format!(
        "{{\nprintf '\\n{MARKER_LINE}\\n'\ncat {path}\nrm -f {path}\nrmdir {directory} && echo gone\nexit\n}} </dev/null\n"
    ))
}

/// Parses the answer to [`fetch_script`]: the file's content, and whether all was deleted.
pub(super) fn fetched(answer: &str) -> (String, bool) {
    let lines = answer
        .lines()
        .skip_while(|line| *line != MARKER_LINE)
        .skip(1);
    let mut lines: Vec<&str> = lines.collect();
    let gone = lines.last() == Some(&"gone");
    if gone {
        lines.pop();
    }
    (lines.join("\n"), gone)
}

/// Returns the findings in an answer about an execution user.
pub(super) fn login_findings(subject: &Subject, answer: &str) -> Vec<CheckFinding> {
    let answers = match parse_answer(subject, answer) {
        Ok(answers) => answers,
        Err(invalid) => return vec![invalid],
    };
    let failures: Vec<CheckFinding> = answers
        .iter()
        .filter_map(|(key, value)| match *key {
            "homeless" => Some(CheckFinding::fail(
                subject,
                format!("tasks are kept in the home directory {value}, which cannot be written"),
                "make it, and give it to that user (chown)",
            )),
            _ => tool(subject, key, value),
        })
        .collect();
    if !failures.is_empty() {
        return failures;
    }
    vec![CheckFinding::ok(
        subject,
        format!("logged in as {}", login_user(&answers)),
    )]
}

/// The answer as it arrives, and the beginning of the login's earlier output.
pub(super) struct ProbeAnswer {
    /// `None` once the marker was found.
    preamble: Option<Preamble>,
    text: Vec<u8>,
    /// Standard error before the marker: a login that refuses may print its reason there.
    errors: Vec<u8>,
}

impl Default for ProbeAnswer {
    fn default() -> Self {
        Self {
            preamble: Some(Preamble::new(MARKER)),
            text: Vec::new(),
            errors: Vec::new(),
        }
    }
}

impl ProbeAnswer {
    /// # Errors
    /// [`EndlessPreamble`] if the login never stops printing.
    pub(super) fn read(&mut self, bytes: &[u8]) -> Result<(), EndlessPreamble> {
        let mut new = bytes;
        if let Some(preamble) = &mut self.preamble
            && let Some(answer) = preamble.pass(bytes)?
        {
            self.preamble = None;
            self.text = MARKER.to_vec();
            new = answer;
        }
        let room = ANSWER_BYTES_MAX.saturating_sub(self.text.len());
        self.text.extend_from_slice(&new[..room.min(new.len())]);
        Ok(())
    }

    pub(super) fn read_errors(&mut self, bytes: &[u8]) {
        if !self.has_begun() {
            let room = ANSWER_BYTES_MAX.saturating_sub(self.errors.len());
            self.errors
                .extend_from_slice(&bytes[..room.min(bytes.len())]);
        }
    }

    /// Whether the script has begun.
    pub(super) fn has_begun(&self) -> bool {
        self.preamble.is_none()
    }

    pub(super) fn into_text(mut self) -> String {
        if !self.has_begun() {
            self.text.push(b'\n');
            self.text.append(&mut self.errors);
        }
        String::from_utf8_lossy(&self.text).into_owned()
    }
}

/// Splits an answer into words and values.
fn parse_answer<'a>(
    subject: &Subject,
    answer: &'a str,
) -> Result<Vec<(&'a str, &'a str)>, CheckFinding> {
    let marker = MARKER.trim_ascii();
    let lines = answer.lines().skip_while(|line| line.as_bytes() != marker);
    let answers: Vec<(&str, &str)> = lines
        .skip(1)
        .filter_map(|line| line.split_once(' '))
        .collect();
    if answers.last() == Some(&("done", "-")) {
        return Ok(answers);
    }
    let begin: String = answer.trim().chars().take(200).collect();
    Err(CheckFinding::fail(
        subject,
        format!("the host ran no shell script to its end; it said {begin:?}"),
        "give the login user a plain shell, without ForceCommand, whose startup files (.bashrc) neither exit, read nor exec another shell",
    ))
}

fn is_own_in(targets: &BTreeMap<String, DeployPathNeeds>, path: &str) -> bool {
    targets.keys().any(|deploy_to| is_own(path, deploy_to))
}

/// Returns the login user, in a form that a command may contain.
fn login_user<'a>(answers: &[(&'a str, &'a str)]) -> &'a str {
    let user = answers.iter().find(|(key, _)| *key == "user");
    let plain = |user: &&str| {
        let is_plain = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
        !user.starts_with('-') && user.chars().all(is_plain)
    };
    user.map(|(_, user)| *user).filter(plain).unwrap_or("?")
}

/// Returns the findings in an answer about a host. `now_s` is the local time in seconds since 1970.
pub(super) fn findings(
    subject: &Subject,
    answer: &str,
    targets: &BTreeMap<String, DeployPathNeeds>,
    now_s: i64,
) -> Vec<CheckFinding> {
    let answers = match parse_answer(subject, answer) {
        Ok(answers) => answers,
        Err(invalid) => return vec![invalid],
    };
    let user = login_user(&answers);
    let mut findings = vec![CheckFinding::ok(subject, format!("logged in as {user}"))];
    let before = findings.len();
    findings.extend(
        answers
            .iter()
            .filter_map(|(key, value)| tool(subject, key, value)),
    );
    if findings.len() == before {
        findings.push(CheckFinding::ok(subject, "all programs are there"));
    }
    findings.extend(
        answers
            .iter()
            .filter(|(key, value)| !matches!(*key, "left" | "mounted") || is_own_in(targets, value))
            .filter_map(|(key, value)| check_target(subject, key, value, user)),
    );
    let of_shared = answers.iter();
    findings
        .extend(of_shared.filter_map(|(key, value)| shared::finding(subject, key, value, targets)));
    findings.extend(
        answers
            .iter()
            .filter(|(key, _)| *key == "clock")
            .filter_map(|(_, clock)| clock_offset(subject, clock, now_s)),
    );
    findings
}

/// Reports a program that is missing or unsuitable.
fn tool(subject: &Subject, key: &str, value: &str) -> Option<CheckFinding> {
    let package = match value {
        "rsync" | "grep" | "sed" => value,
        "find" | "xargs" => "findutils",
        "setsid" => "util-linux",
        _ => "coreutils",
    };
    let remedy = format!("install {package} there");
    match key {
        "missing" => Some(CheckFinding::fail(
            subject,
            format!("no {value} on the host"),
            remedy,
        )),
        "notgnu" => Some(CheckFinding::fail(
            subject,
            format!("{value} on the host is not GNU's"),
            remedy,
        )),
        "rsync" if !is_new_enough(value) => Some(CheckFinding::fail(
            subject,
            format!(
                "rsync {value} on the host is older than {}.{}",
                RSYNC_MIN.0, RSYNC_MIN.1
            ),
            "install a newer one there",
        )),
        _ => None,
    }
}

/// Whether the version suffices; an unreadable one is accepted.
fn is_new_enough(version: &str) -> bool {
    let mut numbers = version.split('.').map(str::parse::<u32>);
    match (numbers.next(), numbers.next()) {
        (Some(Ok(major)), Some(Ok(minor))) => (major, minor) >= RSYNC_MIN,
        _ => true,
    }
}

fn check_target(subject: &Subject, key: &str, value: &str, user: &str) -> Option<CheckFinding> {
    let fail = |what: String, remedy: &str| Some(CheckFinding::fail(subject, what, remedy));
    match key {
        "notdir" => fail(
            format!("{value} is no directory"),
            "move it away, or correct deploy_to",
        ),
        "real" => fail(
            format!("{value} is a real directory or file, not tagship's link"),
            BrokenCurrent::Directory.remedy(),
        ),
        "dangling" => fail(
            format!("{value} points to what is not there, or what the login user may not see"),
            BrokenCurrent::Dangling.remedy(),
        ),
        "apart" if value.ends_with("/releases") => Some(CheckFinding::warn(
            subject,
            format!("{value} {RELEASES_APART}"),
            "",
        )),
        "apart" => fail(
            format!(
                "{value} is on another file system than deploy_to, so current cannot be switched by a rename"
            ),
            "put both on one file system, or let deploy_to name another directory",
        ),
        "inodes" => {
            let (free, path) = value.split_once(' ')?;
            let free = free.parse().ok().filter(|free: &u64| *free < INODES_MIN)?;
            fail(
                format!("only {free} inodes are free for {path}"),
                "delete what has many small files on that file system, or lower keep_releases",
            )
        }
        "mounted" => Some(CheckFinding::warn(
            subject,
            format!("{value} is mounted in what tagship is to delete"),
            unmount(value),
        )),
        "left" => Some(CheckFinding::warn(
            subject,
            format!("{value} could not be deleted by the login user"),
            remove_as_root(value),
        )),
        "unrecorded" => unrecorded(subject, value),
        "free" => {
            let (free, path) = value.split_once(' ')?;
            match free.parse::<u64>() {
                Ok(free) if free < FREE_KIB_MIN => fail(
                    format!("only {} MiB are free for {path}", free / 1024),
                    "make room on that file system, or lower keep_releases",
                ),
                Ok(free) => Some(CheckFinding::ok(
                    subject,
                    format!("{path} can be written, {} MiB are free", free / 1024),
                )),
                Err(_) => Some(CheckFinding::ok(subject, format!("{path} can be written"))),
            }
        }
        _ => access::finding(subject, key, value, user),
    }
}

/// Reports releases that retention does not know: their records in `.tagship` were deleted.
fn unrecorded(subject: &Subject, value: &str) -> Option<CheckFinding> {
    let (count, path) = value.split_once(' ')?;
    Some(CheckFinding::warn(
        subject,
        format!(
            "releases in {path} without a record in .tagship: {count}; tagship never deletes them"
        ),
        "delete there by hand what no rollback needs, but never what current points to",
    ))
}

fn clock_offset(subject: &Subject, clock: &str, now_s: i64) -> Option<CheckFinding> {
    let there: i64 = clock.trim().parse().ok()?;
    let off = there.saturating_sub(now_s);
    if off.unsigned_abs() <= CLOCK_OFFSET_MAX_S {
        return None;
    }
    let direction = if off > 0 { "ahead" } else { "behind" };
    Some(CheckFinding::fail(
        subject,
        format!("its clock is {} s {direction}", off.unsigned_abs()),
        "let NTP set it",
    ))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::super::CheckStatus;
    use super::*;
    use crate::domain::plan::SharedMissing;

    fn web1() -> Subject {
        Subject::Host("web1".into())
    }

    fn places() -> BTreeMap<String, DeployPathNeeds> {
        let needs = |shared_missing| DeployPathNeeds {
            shared_files: [".env".to_owned()].into(),
            shared_missing,
            ..DeployPathNeeds::default()
        };
        BTreeMap::from([
            ("/srv/shop".to_owned(), needs(SharedMissing::Fail)),
            ("/srv/qa".to_owned(), needs(SharedMissing::Warn)),
        ])
    }

    #[test]
    fn host_output_never_becomes_a_command() {
        let answer = "\n@tagship-check\nuser x;reboot\nclock 1000\nleft /\nleft /srv/shop/current\n\
                      left /srv/shop/releases/../..\nunmade /srv/shop\ndone -\n";
        let found = findings(&web1(), answer, &places(), 1000);
        for finding in &found {
            assert!(!finding.remedy.contains("reboot"), "{finding:?}");
            assert!(!finding.remedy.contains("rm -rf"), "{finding:?}");
        }
        assert!(
            found
                .iter()
                .any(|found| found.remedy.contains("install -d -o ?"))
        );
    }

    #[test]
    fn missing_shared_files_and_leftovers_are_named_with_a_remedy() {
        let answer = "\n@tagship-check\nuser deploy\nmissing-shared /srv/shop/shared/.env\nmissing-shared /srv/qa/shared/.env\nmissing-shared /srv/qa/shared/other\nleft /srv/shop/.tagship/trash/r1\nmounted /srv/shop/releases/r0/up\ndone -\n";
        let found = findings(&web1(), answer, &places(), 1000);
        let answers: Vec<(CheckStatus, &str)> = found
            .iter()
            .filter(|finding| finding.status != CheckStatus::Ok)
            .map(|finding| (finding.status, finding.text.as_str()))
            .collect();
        assert_eq!(
            answers,
            [
                (
                    CheckStatus::Warn,
                    "/srv/shop/.tagship/trash/r1 could not be deleted by the login user"
                ),
                (
                    CheckStatus::Warn,
                    "/srv/shop/releases/r0/up is mounted in what tagship is to delete"
                ),
                (
                    CheckStatus::Fail,
                    "shared file /srv/shop/shared/.env is missing"
                ),
                (
                    CheckStatus::Warn,
                    "shared file /srv/qa/shared/.env is missing"
                ),
            ]
        );
        assert!(found.iter().any(|finding| {
            finding
                .remedy
                .contains("rm -rf '/srv/shop/.tagship/trash/r1'")
        }));
    }

    fn failures(answers: &str) -> Vec<String> {
        let mut heard = ProbeAnswer::default();
        heard.read(&[b'x'; 2 * ANSWER_BYTES_MAX]).unwrap();
        heard.read(MARKER).unwrap();
        heard
            .read(format!("user deploy\nclock 1000\n{answers}done -\n").as_bytes())
            .unwrap();
        findings(&web1(), &heard.into_text(), &places(), 1000)
            .into_iter()
            .filter(|finding| finding.status == CheckStatus::Fail)
            .map(|finding| finding.text)
            .collect()
    }

    #[test]
    fn a_host_that_has_everything_has_no_failure() {
        assert_eq!(
            failures("rsync 3.2.7\ninodes 2000 /srv/shop\nfree 1048576 /srv/shop\n"),
            Vec::<String>::new()
        );
    }

    #[test]
    fn each_probe_fault_is_reported() {
        for (answers, what) in [
            ("missing rsync\n", "no rsync on the host"),
            ("notgnu find\n", "find on the host is not GNU's"),
            ("rsync 3.0.9\n", "rsync 3.0.9 on the host is older than 3.1"),
            ("notdir /srv\n", "/srv is no directory"),
            (
                "unwritable /srv\n",
                "/srv cannot be written by the login user",
            ),
            (
                "immutable /srv/shop/releases\n",
                "/srv/shop/releases is immutable, so nothing can be written in it",
            ),
            (
                "readonly /srv/shop\n",
                "/srv/shop is on a file system that is mounted read-only",
            ),
            (
                "unmade /srv/shop\n",
                "/srv/shop is not there, and the login user cannot make it",
            ),
            (
                "real /srv/shop/current\n",
                "/srv/shop/current is a real directory or file, not tagship's link",
            ),
            (
                "dangling /srv/shop/current\n",
                "/srv/shop/current points to what is not there, or what the login user may not see",
            ),
            (
                "apart /srv/shop/.tagship\n",
                "/srv/shop/.tagship is on another file system than deploy_to, so current cannot be switched by a rename",
            ),
            ("free 1024 /srv/shop\n", "only 1 MiB are free for /srv/shop"),
            (
                "inodes 12 /srv/shop\n",
                "only 12 inodes are free for /srv/shop",
            ),
            ("clock 2000\n", "its clock is 1000 s ahead"),
            (
                "clock -9223372036854775808\n",
                "its clock is 9223372036854775808 s behind",
            ),
        ] {
            assert_eq!(failures(answers), [what]);
        }
    }

    #[test]
    fn truncated_probe_answer_is_a_failure() {
        for answer in [
            "",
            "This account is not available.\n",
            "\n@tagship-check\nuser deploy\n",
        ] {
            let found = findings(&web1(), answer, &places(), 1000);
            assert_eq!(found.len(), 1, "{answer:?}");
            assert_eq!(found[0].status, CheckStatus::Fail, "{answer:?}");
        }
    }

    #[test]
    fn transfer_directory_must_come_from_the_script() {
        let answers =
            |path: &str| format!("scratch /x/.tagship-check.0\n{MARKER_LINE}\nscratch {path}\n");
        let good = "/srv/shop/.tagship-check.a1B2c3D4";
        assert_eq!(scratch(&answers(good)), Some(good));
        for bad in ["/etc", "/srv/../.tagship-check.a", ".tagship-check.a", ""] {
            assert_eq!(scratch(&answers(bad)), None, "{bad}");
        }
    }

    #[test]
    fn deploy_target_is_quoted_in_the_script() {
        let needs = DeployPathNeeds {
            shared_files: [".env".to_owned()].into(),
            shared_directories: ["log".to_owned()].into(),
            ..DeployPathNeeds::default()
        };
        let text = script([("/srv/it's $(touch x)", &needs)]).unwrap();
        assert!(text.contains(
            "\nplace '/srv/it'\\''s $(touch x)' '.env' 'log/'\nsay done -\nexit\n} </dev/null\n"
        ));
        assert!(script([("srv", &needs)]).is_err());
    }
}
