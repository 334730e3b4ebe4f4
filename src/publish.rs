//! A complete release becomes the live one, by one rename; also the way back, which is the same
//! switch to an earlier release. And what goes with it: seeing what stands, deleting what is old.
//! Pure: it builds scripts and reads their answers. `remote::SshHosts` performs them.
//!
//! `current` is renamed from under `.tagship/fence-N`, so a stale agent's switch fails in the kernel.
//! What was live is on the host's disk before the switch, under the key of the switch: asked again,
//! the same key answers the same.

use crate::host::{HostError, Place, ReleaseId, Reply, Standing};
use crate::remote::script::{Lines, Script, Turn, Unfit, absolute, file_name, nonsense};
use crate::sync::{read_standing_line, standing_text};

/// Script for [`Op::Inspect`](crate::host::Op::Inspect).
///
/// # Errors
/// [`Unfit`] where the path cannot be one on the host.
pub fn inspect(deploy_to: &str) -> Result<Vec<u8>, Unfit> {
    let script = Script::new().set("ts_at", absolute("deploy_to", deploy_to)?)?;
    Ok(standing_text(&script, include_str!("publish/inspect.sh")))
}

/// Reads the answer to [`inspect`].
///
/// # Errors
/// [`HostError::Refused`] where the answer is none.
pub fn read_standing(lines: &Lines) -> Result<Standing, HostError> {
    let mut standing = Standing::default();
    for (word, value) in lines.iter() {
        read_standing_line(&mut standing, word, value)?;
    }
    Ok(standing)
}

/// Script for [`Op::Publish`](crate::host::Op::Publish).
///
/// # Errors
/// [`Unfit`] where a path, name or key cannot be one on the host.
pub fn publish(
    place: &Place,
    turn: Turn,
    release: &ReleaseId,
    over: &[ReleaseId],
    key: &str,
) -> Result<Vec<u8>, Unfit> {
    let script = Script::at(place, turn)?
        .set("ts_release", file_name("release", &release.0)?)?
        .set("ts_over", &names(over)?)?
        .set("ts_key", file_name("key", key)?)?;
    Ok(standing_text(&script, include_str!("publish/publish.sh")))
}

/// Reads the answer to [`publish`].
///
/// # Errors
/// [`HostError::Refused`] where the answer is none.
pub fn read_published(lines: &Lines) -> Result<Reply, HostError> {
    let release = |word, name: &str| match file_name("release", name) {
        Ok(name) => Ok(ReleaseId(name.to_owned())),
        Err(_) => Err(nonsense(word, name)),
    };
    if let Ok(live) = lines.only("occupied") {
        let live = release("occupied", live)?;
        return Ok(Reply::Occupied { live });
    }
    let was = match lines.only("was")? {
        "-" => None,
        name => Some(release("was", name)?),
    };
    Ok(Reply::Published { was })
}

/// Script for [`Op::Prune`](crate::host::Op::Prune).
///
/// # Errors
/// [`Unfit`] where a path or name cannot be one on the host.
pub fn prune(
    place: &Place,
    turn: Turn,
    keep: u32,
    protect: &[ReleaseId],
    failed: &[ReleaseId],
) -> Result<Vec<u8>, Unfit> {
    let script = Script::at(place, turn)?
        .number("ts_keep", u64::from(keep))
        .set("ts_protect", &names(protect)?)?
        .set("ts_failed", &names(failed)?)?;
    Ok(standing_text(&script, include_str!("publish/prune.sh")))
}

fn names(releases: &[ReleaseId]) -> Result<String, Unfit> {
    let names: Result<Vec<&str>, Unfit> = releases
        .iter()
        .map(|release| file_name("release", &release.0))
        .collect();
    Ok(names?.join(" "))
}

/// Reads the answer to [`prune`].
///
/// # Errors
/// [`HostError::Refused`] where the answer is none.
pub fn read_pruned(lines: &Lines) -> Result<Reply, HostError> {
    let mut deleted = Vec::new();
    for (word, value) in lines.iter() {
        if word != "deleted" {
            return Err(nonsense(word, value));
        }
        let name = file_name("release", value).map_err(|_| nonsense(word, value))?;
        deleted.push(ReleaseId(name.to_owned()));
    }
    Ok(Reply::Pruned { deleted })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn lines(said: &[(&str, &str)]) -> Lines {
        let mut lines = Lines::default();
        for (word, value) in said {
            lines.hear((*word).into(), (*value).into(), 1).unwrap();
        }
        lines
    }

    #[test]
    fn a_switch_that_was_not_made_names_what_is_live() {
        let occupied = |said: &[(&str, &str)]| read_published(&lines(said));
        let live = ReleaseId("r3".into());
        assert_eq!(
            occupied(&[("occupied", "r3")]).unwrap(),
            Reply::Occupied { live }
        );
        for bad in [
            &[("occupied", "")][..],
            &[("occupied", "a/b")],
            &[("occupied", "r3"), ("was", "r1")],
        ] {
            assert!(occupied(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_switch_names_what_was_live() {
        let was = |said: &[(&str, &str)]| read_published(&lines(said));
        assert_eq!(
            was(&[("was", "-")]).unwrap(),
            Reply::Published { was: None }
        );
        assert_eq!(
            was(&[("was", "r1")]).unwrap(),
            Reply::Published {
                was: Some(ReleaseId("r1".into()))
            }
        );
        for bad in [
            &[][..],
            &[("was", "")],
            &[("was", "a/b")],
            &[("was", "a"), ("was", "b")],
        ] {
            assert!(was(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_name_that_is_no_release_never_reaches_a_host() {
        let place = Place {
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
                publish(&place, Turn(1), &release, &[], "1-2-3-4").is_err(),
                "{name:?}"
            );
            assert!(
                prune(&place, Turn(1), 3, &[], &[release]).is_err(),
                "{name:?}"
            );
        }
    }
}
