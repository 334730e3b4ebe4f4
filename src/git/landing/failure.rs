//! Interprets the messages of a git that failed. They are stable under `LC_ALL=C`; versions differ
//! at most in parts that are not checked here.

use super::damage::{self, names_object};
use super::program;
use super::{GitSource, LandingError, RemoteFailure, fsck};

/// The last lines of git's messages are shown, up to this many.
const SHOWN_MAX: usize = 3;

/// What the messages of a failure contain. The first row with a match counts.
const FAILURES: [(RemoteFailure, &[&str]); 7] = [
    (RemoteFailure::Partial, &["promisor remote"]),
    (RemoteFailure::Alternate, &[ALTERNATE]),
    // What git says if the server cannot read an object; its `upload-pack` runs in the repository.
    (
        RemoteFailure::Damaged,
        &[
            "repository corruption on the remote side",
            "upload-pack: not our ref",
            "(stored in ./objects/",
            "object file ./objects/",
            "pack has bad object at offset",
        ],
    ),
    (RemoteFailure::HostKey, &["Host key verification failed"]),
    (
        RemoteFailure::Credentials,
        &[
            "Permission denied",
            "could not read Username",
            "could not read Password",
            "Authentication failed",
            "terminal prompts disabled",
            "error: 403",
        ],
    ),
    (
        RemoteFailure::Unreachable,
        &[
            "Could not resolve",
            "ssh: connect to host",
            "Failed to connect to",
            "Connection refused",
            "Connection reset",
            "Connection closed",
            "timed out",
            "Network is unreachable",
            "No route to host",
        ],
    ),
    (
        RemoteFailure::NotFound,
        &[
            "does not appear to be a git repository",
            "not found",
            "does not exist",
        ],
    ),
];
const ALTERNATE: &str = "unable to normalize alternate object path";

/// Returns why git failed.
pub(super) fn failure_of(
    source: &GitSource,
    operation: &'static str,
    messages: &[String],
) -> LandingError {
    let all = messages.join("\n");
    let has = |patterns: &[&str]| patterns.iter().any(|token| all.contains(token));
    if has(&[
        "mismatched algorithms",
        "unknown object format",
        "hash algorithm",
    ]) {
        return LandingError::ObjectFormat {
            project: source.project.clone(),
        };
    }
    if let Some(detail) = fsck::refusal(messages) {
        return LandingError::Fsck {
            project: source.project.clone(),
            detail,
        };
    }
    if has(&["not a git repository: "]) {
        return LandingError::Mirror {
            mirror: source.mirror.clone(),
            detail: "is not a git repository".to_owned(),
        };
    }
    if let Some(line) = own_object(source, messages) {
        damage::mark(&source.mirror);
        return LandingError::DamagedMirror {
            mirror: source.mirror.clone(),
            detail: line.clone(),
        };
    }
    let failure = if program::out_of_memory(messages).is_some() {
        RemoteFailure::Memory
    } else {
        let matching = FAILURES.iter().find(|(_, patterns)| has(patterns));
        matching.map_or(RemoteFailure::Other, |(failure, _)| *failure)
    };
    LandingError::Remote {
        project: source.project.clone(),
        doing: operation,
        failure,
        detail: detail(source, failure, messages),
    }
}

/// Returns the line about an object in the mirror, which is named by its whole path.
fn own_object<'m>(source: &GitSource, messages: &'m [String]) -> Option<&'m String> {
    let objects = format!("{}/objects/", source.mirror.display());
    let about = |line: &&String| {
        line.contains(&objects) && (line.contains("is corrupt") || line.contains("is empty"))
    };
    messages.iter().find(about)
}

/// Returns the lines that name the cause.
fn detail(source: &GitSource, failure: RemoteFailure, messages: &[String]) -> String {
    let relevant: Vec<&str> = messages
        .iter()
        .map(String::as_str)
        .filter(|line| !line.is_empty() && !line.contains('%'))
        .filter(|line| {
            !line.starts_with("Please make sure") && !line.starts_with("and the repository")
        })
        .collect();
    let cause = match failure {
        RemoteFailure::Damaged | RemoteFailure::Partial => {
            relevant.iter().position(|line| names_object(line))
        }
        RemoteFailure::Alternate => relevant.iter().position(|line| line.contains(ALTERNATE)),
        _ => None,
    };
    let shown = match cause {
        // The following lines are consequences.
        Some(at) => &relevant[at..=at],
        None => &relevant[relevant.len().saturating_sub(SHOWN_MAX)..],
    };
    let known_hosts = match failure {
        RemoteFailure::HostKey => format!(
            " / {} (`[git] known_hosts`) holds no key that fits",
            source.known_hosts.display()
        ),
        _ => String::new(),
    };
    match shown {
        [] => "it failed and said nothing".to_owned(),
        lines => lines.join(" / ") + &known_hosts,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::git::landing::Timeouts;

    fn source() -> GitSource {
        GitSource {
            project: "shop".to_owned(),
            git_url: "/srv/git/shop.git".to_owned(),
            mirror: "/nowhere/mirrors/shop.git".into(),
            identity: None,
            known_hosts: "/etc/tagship/known_hosts".into(),
            token_file: None,
            timeouts: Timeouts::default(),
            limits: crate::domain::plan::PushLimits::default(),
        }
    }

    fn read(lines: &[&str]) -> LandingError {
        let messages: Vec<String> = lines.iter().map(|line| (*line).to_owned()).collect();
        failure_of(&source(), "fetch", &messages)
    }

    #[test]
    fn git_errors_lead_to_advice() {
        for (line, expected) in [
            ("Host key verification failed.", RemoteFailure::HostKey),
            (
                "git@git.example.com: Permission denied (publickey).",
                RemoteFailure::Credentials,
            ),
            (
                "fatal: '/x' does not appear to be a git repository",
                RemoteFailure::NotFound,
            ),
            (
                "fatal: the remote end hung up unexpectedly",
                RemoteFailure::Other,
            ),
            (
                "fatal: remote error: upload-pack: not our ref 86616f54a9c070f9a210b53011ea3114e5e4127b",
                RemoteFailure::Damaged,
            ),
        ] {
            let error = read(&[line]);
            let LandingError::Remote { failure, .. } = &error else {
                panic!("{error}");
            };
            assert_eq!(*failure, expected, "{line}");
        }
        let error = read(&["fatal: mismatched algorithms: client sha1; server sha256"]);
        assert!(matches!(error, LandingError::ObjectFormat { .. }));
    }

    #[test]
    fn only_a_lost_connection_leads_to_the_network() {
        let advice = "see whether the agent's machine reaches the git server";
        for line in [
            "ssh: Could not resolve hostname git.example.com: Name or service not known",
            "fatal: unable to access 'https://x/': Could not resolve host: x",
            "ssh: connect to host 192.0.2.1 port 22: Connection timed out",
            "fatal: unable to access 'https://x/': Failed to connect to x port 443 after 9 ms",
        ] {
            assert!(read(&[line]).to_string().ends_with(advice), "{line}");
        }
        let error = read(&[
            "error: could not expand include path '~/.config/git/config'",
            "fatal: bad config line 2 in file /x",
        ]);
        assert_eq!(
            error.to_string(),
            "project shop: git fetch: error: could not expand include path \
             '~/.config/git/config' / fatal: bad config line 2 in file /x"
        );
    }

    #[test]
    fn unusable_server_repository_is_named_with_its_cause() {
        let id = "86616f54a9c070f9a210b53011ea3114e5e4127b";
        let corrupt = "fatal: git upload-pack: aborting due to possible repository corruption on the remote side.";
        let lost = format!("remote: fatal: could not fetch {id} from promisor remote");
        let text = read(&["remote: warning: lazy fetching disabled", &lost, corrupt]).to_string();
        assert!(text.contains(&lost) && text.contains("--refetch"), "{text}");
        let gone = "error: unable to normalize alternate object path: /srv/base/objects";
        let refused = format!("fatal: remote error: upload-pack: not our ref {id}");
        let text = read(&[gone, &refused]).to_string();
        assert!(text.contains("/srv/base/objects; correct"), "{text}");
    }

    #[test]
    fn damage_of_the_mirror_is_not_the_servers() {
        let own = "fatal: loose object 8661 (stored in /nowhere/mirrors/shop.git/objects/86/61) is corrupt";
        assert!(matches!(read(&[own]), LandingError::DamagedMirror { .. }));
    }
}
