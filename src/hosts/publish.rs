//! Makes a complete release live by one rename; also the rollback, which is the same switch to an
//! earlier release. Also inspects a host and deletes old releases. Pure: it builds scripts and
//! reads their answers. `ssh_host::SshHosts` performs them.
//!
//! `current` is renamed from under `.tagship/fence-N`, so a stale agent's switch fails in the
//! kernel. The previously live release is on the host's disk before the switch, under the key of
//! the switch: a repeated request with the same key returns the same answer.

use crate::domain::host::{
    DIFFERING_NAMES_MAX, DeployTarget, Existing, HostError, HostState, Leftover, LocalChanges,
    ReleaseId, Reply, is_own,
};
use crate::hosts::ssh::script::{
    AnswerLines, InvalidValue, OpSequence, Script, absolute, file_name, invalid_answer, linked,
};
use crate::hosts::sync::{WALK, as_it_is, host_state_text, read_host_state_line};

/// The maximum length of a displayed file name, in characters.
const NAME_CHARS_MAX: usize = 200;

/// Returns the script for [`Op::Inspect`](crate::domain::host::Op::Inspect).
///
/// # Errors
/// [`InvalidValue`] if the path is invalid on the host.
pub fn inspect(deploy_to: &str) -> Result<Vec<u8>, InvalidValue> {
    let script = Script::new().set("ts_at", absolute("deploy_to", deploy_to)?)?;
    Ok(host_state_text(&script, include_str!("publish/inspect.sh")))
}

/// Reads the answer to [`inspect`].
///
/// # Errors
/// [`HostError::Refused`] if the answer is invalid.
pub fn read_host_state(lines: &AnswerLines) -> Result<HostState, HostError> {
    let mut state = HostState::default();
    for (word, value) in lines.iter() {
        read_host_state_line(&mut state, word, value)?;
    }
    Ok(state)
}

/// Returns the script for [`Op::Publish`](crate::domain::host::Op::Publish).
///
/// # Errors
/// [`InvalidValue`] if a path, name or key is invalid on the host.
pub fn publish(
    target: &DeployTarget,
    seq: OpSequence,
    release: &ReleaseId,
    over: &[ReleaseId],
    key: &str,
    existing: Existing,
) -> Result<Vec<u8>, InvalidValue> {
    let release = match existing {
        Existing::Equal => file_name("release", &release.0)?,
        Existing::AsItIs | Existing::Found => linked(&release.0)?,
    };
    let script = Script::at(target, seq)?
        .set("ts_release", release)?
        .set("ts_over", &targets(over)?)?
        .set("ts_key", file_name("key", key)?)?
        .set("ts_kept", as_it_is(existing))?
        .set("ts_walk", WALK)?;
    Ok(host_state_text(&script, include_str!("publish/publish.sh")))
}

/// Reads the answer to [`publish`].
///
/// # Errors
/// [`HostError::Refused`] if the answer is invalid.
pub fn read_published(lines: &AnswerLines) -> Result<Reply, HostError> {
    let release = |word, text: &str| match linked(text) {
        Ok(text) => Ok(ReleaseId(text.to_owned())),
        Err(_) => Err(invalid_answer(word, text)),
    };
    if let Ok(live) = lines.only("occupied") {
        let live = release("occupied", live)?;
        return Ok(Reply::Occupied { live });
    }
    let mut lines = lines.iter();
    let was = match lines.next() {
        Some(("was", "-")) => None,
        Some(("was", text)) => Some(release("was", text)?),
        Some((word, value)) => return Err(invalid_answer(word, value)),
        None => return Err(invalid_answer("was", "nothing")),
    };
    let mut state = HostState::default();
    let mut differs: Option<LocalChanges> = None;
    let mut uncompared = None;
    for (word, value) in lines {
        match (word, &mut differs) {
            ("uncompared", _) => uncompared = Some(shown(value)),
            ("differ", None) => {
                let files = value.parse().map_err(|_| invalid_answer(word, value))?;
                let names = Vec::new();
                differs = Some(LocalChanges { files, names });
            }
            ("differing", Some(differs)) if differs.names.len() < DIFFERING_NAMES_MAX => {
                differs.names.push(shown(value));
            }
            _ => read_host_state_line(&mut state, word, value)?,
        }
    }
    Ok(Reply::Published {
        was,
        state,
        differs,
        uncompared,
    })
}

/// Returns the name of a file as it may be displayed.
fn shown(name: &str) -> String {
    let name = name.chars().take(NAME_CHARS_MAX);
    name.map(|letter| if letter.is_control() { '?' } else { letter })
        .collect()
}

/// Returns the script for [`Op::Prune`](crate::domain::host::Op::Prune).
///
/// # Errors
/// [`InvalidValue`] if a path or name is invalid on the host.
pub fn prune(
    target: &DeployTarget,
    seq: OpSequence,
    keep: u32,
    protect: &[ReleaseId],
    failed: &[ReleaseId],
) -> Result<Vec<u8>, InvalidValue> {
    let failed: Result<Vec<&str>, InvalidValue> = failed
        .iter()
        .map(|release| file_name("release", &release.0))
        .collect();
    let script = Script::at(target, seq)?
        .number("ts_keep", u64::from(keep))
        .set("ts_protect", &targets(protect)?)?
        .set("ts_failed", &failed?.join(" "))?;
    Ok(host_state_text(&script, include_str!("publish/prune.sh")))
}

/// Returns the targets of `current`, one per line.
fn targets(releases: &[ReleaseId]) -> Result<String, InvalidValue> {
    let targets: Result<Vec<&str>, InvalidValue> =
        releases.iter().map(|release| linked(&release.0)).collect();
    Ok(targets?.join("\n"))
}

/// Reads the answer to [`prune`].
///
/// # Errors
/// [`HostError::Refused`] if the answer is invalid.
pub fn read_pruned(lines: &AnswerLines, deploy_to: &str) -> Result<Reply, HostError> {
    let mut deleted = Vec::new();
    let mut left: Vec<Leftover> = Vec::new();
    for (word, value) in lines.iter() {
        match (word, left.last_mut()) {
            ("deleted", _) => {
                let name = file_name("release", value).map_err(|_| invalid_answer(word, value))?;
                deleted.push(ReleaseId(name.to_owned()));
            }
            ("left", _) if is_own(value, deploy_to) => left.push(Leftover {
                path: value.to_owned(),
                reason: String::new(),
            }),
            ("because", Some(last)) if last.reason.is_empty() => {
                last.reason = value.chars().filter(|c| !c.is_control()).collect();
            }
            _ => return Err(invalid_answer(word, value)),
        }
    }
    Ok(Reply::Pruned {
        deleted,
        leftovers: left,
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn lines(pairs: &[(&str, &str)]) -> AnswerLines {
        let mut lines = AnswerLines::default();
        for (word, value) in pairs {
            lines.add((*word).into(), (*value).into(), 1).unwrap();
        }
        lines
    }

    #[test]
    fn refused_switch_names_the_live_release() {
        let occupied = |pairs: &[(&str, &str)]| read_published(&lines(pairs));
        let live = ReleaseId("r3".into());
        assert_eq!(
            occupied(&[("occupied", "r3")]).unwrap(),
            Reply::Occupied { live }
        );
        for bad in [
            &[("occupied", "")][..],
            &[("occupied", "a b")],
            &[("occupied", "r3"), ("was", "r1")],
        ] {
            assert!(occupied(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn switch_names_the_previous_release() {
        let published = |pairs: &[(&str, &str)]| read_published(&lines(pairs));
        let was = |text: &str| match published(&[("was", text)]).unwrap() {
            Reply::Published { was, .. } => was.map(|release| release.0),
            other => panic!("{other:?}"),
        };
        assert_eq!(was("-"), None);
        assert_eq!(was("r1").as_deref(), Some("r1"));
        assert_eq!(was("/srv/old shop/v3").as_deref(), Some("/srv/old shop/v3"));
        for bad in [
            &[][..],
            &[("was", "")],
            &[("was", "a b")],
            &[("was", "a/\u{7}b")],
            &[("was", "a/\u{fffd}b")],
            &[("was", "a"), ("was", "b")],
            &[("was", "a"), ("differ", "many")],
            &[("was", "a"), ("differing", "a")],
            &[("differ", "1"), ("was", "a")],
        ] {
            assert!(published(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn differing_file_names_are_limited_and_sanitized() {
        let mut pairs = vec![("was", "r2"), ("differ", "9"), ("differing", "a\u{1b}[2Jb")];
        let Reply::Published { differs, .. } = read_published(&lines(&pairs)).unwrap() else {
            panic!();
        };
        let names = vec!["a?[2Jb".to_owned()];
        assert_eq!(differs, Some(LocalChanges { files: 9, names }));
        pairs.extend([("differing", "c"); DIFFERING_NAMES_MAX]);
        assert!(read_published(&lines(&pairs)).is_err());
    }

    #[test]
    fn leftover_must_be_below_the_deploy_target() {
        for (path, deploy_to, own) in [
            ("/srv/shop/.tagship/trash/r1", "/srv/shop", true),
            ("/srv/shop/releases/r1", "/srv/shop", true),
            ("/home/deploy/shop/releases/r1", "~/shop", true),
            ("/srv/shop/.tagship/trash/r1/it's", "/srv/shop", true),
            ("/srv/shop/.tagship/fence-7/left-partial", "/srv/shop", true),
            ("/srv/shop/.tagship/fence-7/partial", "/srv/shop", false),
            ("/srv/shop/.tagship.new.7", "/srv/shop", true),
            ("/srv/shop/.tagship.new.", "/srv/shop", false),
            ("/srv/shop/.tagship.new.7/../..", "/srv/shop", false),
            (
                "/srv/shop/.tagship/fence-x/left-partial",
                "/srv/shop",
                false,
            ),
            (
                "/srv/shop/.tagship/fence-7/left-a/../..",
                "/srv/shop",
                false,
            ),
            ("/", "/srv/shop", false),
            ("/srv/shop", "/srv/shop", false),
            ("/srv/shop/", "/srv/shop", false),
            ("/srv/shop/current", "/srv/shop", false),
            ("/srv/shop/releases/", "/srv/shop", false),
            ("/srv/shop/releases/../../..", "/srv/shop", false),
            ("/srv/shop/releases//r1", "/srv/shop", false),
            ("/srv/shop/releases/r1\u{7}", "/srv/shop", false),
            ("/srv/shop2/releases/r1", "/srv/shop", false),
            ("/etc", "~/shop", false),
            ("x/shop/releases/r1", "~/shop", false),
        ] {
            assert_eq!(is_own(path, deploy_to), own, "{path} of {deploy_to}");
            let pairs = lines(&[("left", path), ("because", "Permission denied")]);
            assert_eq!(read_pruned(&pairs, deploy_to).is_ok(), own, "{path}");
        }
    }

    #[test]
    fn invalid_release_name_never_reaches_a_host() {
        let target = DeployTarget {
            deploy_to: "/srv/shop".into(),
            fence: 1,
        };
        for name in [
            "",
            ".",
            "..",
            "a/b",
            "a b",
            "$(reboot)",
            "a\nb",
            "é",
            ".hidden",
        ] {
            let release = ReleaseId(name.into());
            assert!(
                publish(
                    &target,
                    OpSequence(1),
                    &release,
                    &[],
                    "1-2-3-4",
                    Existing::Equal
                )
                .is_err(),
                "{name:?}"
            );
            assert!(
                prune(&target, OpSequence(1), 3, &[], &[release]).is_err(),
                "{name:?}"
            );
        }
    }
}
