//! Records are complete and durable, and are checked when they are read.

#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::time::Duration;

use tagship_hook::rule::{FORMAT, OnSpoolError, RulesFile};
use tagship_hook::spool::{
    self, BAD, NEW, RECORD_LIMIT, Record, RecordId, SpoolError, TMP, Waiting,
};
use tempfile::TempDir;

fn new_spool() -> (TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let spool = dir.path().join("spool");
    spool::setup(&spool, None).unwrap();
    (dir, spool)
}

fn record(time: i64) -> Record {
    Record {
        push: None,
        format: FORMAT,
        id: RecordId::random().unwrap(),
        repository: "alice/shop".to_owned(),
        reference: "refs/tags/release-'\"\\🚀".to_owned(),
        old: "0".repeat(40),
        new: "a".repeat(40),
        pusher: "alice\n[x]".to_owned(),
        ssh_key: "ssh-ed25519 AAAA+/==".to_owned(),
        time,
    }
}

fn plant(spool: &Path, name: &str, bytes: impl AsRef<[u8]>) -> Waiting {
    std::fs::write(spool.join(NEW).join(name), bytes).unwrap();
    Waiting {
        name: OsString::from(name),
    }
}

#[test]
fn record_roundtrips_with_its_owner() {
    let (_dir, spool) = new_spool();
    let written = record(1_795_284_574_502);
    spool::write(&spool, &written).unwrap();
    let waiting = spool::waiting(&spool).unwrap();
    assert_eq!(waiting.len(), 1);
    let received = spool::read(&spool, &waiting[0]).unwrap();
    assert_eq!(received.record, written);
    let own = std::fs::metadata(&spool).unwrap().uid();
    assert_eq!(received.owner, own);
    assert_eq!(std::fs::read_dir(spool.join(TMP)).unwrap().count(), 0);
}

#[test]
fn the_oldest_record_comes_first() {
    let (_dir, spool) = new_spool();
    for time in [30, 10, 20, 1_795_284_574_502, 9] {
        spool::write(&spool, &record(time)).unwrap();
    }
    let times: Vec<_> = spool::waiting(&spool)
        .unwrap()
        .iter()
        .map(|waiting| spool::read(&spool, waiting).unwrap().record.time)
        .collect();
    assert_eq!(times, [9, 10, 20, 30, 1_795_284_574_502]);
}

#[test]
fn record_ids_are_unique() {
    let ids: BTreeSet<_> = (0..1000).map(|_| RecordId::random().unwrap()).collect();
    assert_eq!(ids.len(), 1000);
    assert!(ids.iter().all(|id| id.as_str().len() == 32));
}

#[test]
fn only_the_group_may_access_the_spool() {
    let (_dir, spool) = new_spool();
    for (part, mode) in [
        ("", 0o3770),
        (TMP, 0o3770),
        (NEW, 0o3770),
        (BAD, 0o2750),
        ("rules", 0o2750),
    ] {
        let data = std::fs::metadata(spool.join(part)).unwrap();
        assert_eq!(data.permissions().mode() & 0o7777, mode, "{part:?}");
    }
    // Again, over a directory whose mode was changed.
    std::fs::set_permissions(spool.join(NEW), std::fs::Permissions::from_mode(0o777)).unwrap();
    spool::setup(&spool, None).unwrap();
    let data = std::fs::metadata(spool.join(NEW)).unwrap();
    assert_eq!(data.permissions().mode() & 0o7777, 0o3770);
}

#[test]
fn unwritable_spool_error_names_the_path() {
    let (_dir, spool) = new_spool();
    std::fs::remove_dir(spool.join(TMP)).unwrap();
    let error = spool::write(&spool, &record(1)).unwrap_err().to_string();
    assert!(
        error.starts_with("cannot write ") && error.contains("/spool/tmp/"),
        "{error}"
    );
    assert!(spool::probe(&spool).is_err());
    spool::setup(&spool, None).unwrap();
    spool::probe(&spool).unwrap();
    std::fs::remove_dir(spool.join(NEW)).unwrap();
    assert!(spool::write(&spool, &record(1)).is_err());
    assert!(spool::probe(&spool).is_err());
    assert_eq!(
        std::fs::read_dir(spool.join(TMP)).unwrap().count(),
        0,
        "nothing is left behind"
    );
}

#[test]
fn oversized_record_is_neither_written_nor_read() {
    let (_dir, spool) = new_spool();
    let mut large = record(1);
    large.reference.push_str(&"x".repeat(RECORD_LIMIT as usize));
    let error = spool::write(&spool, &large).unwrap_err();
    assert!(matches!(error, SpoolError::TooLarge(_)), "{error}");
    let planted = plant(&spool, "large", large.to_text().unwrap());
    let error = spool::read(&spool, &planted).unwrap_err();
    assert!(
        matches!(error, SpoolError::TooLarge(_)) && error.is_bad_file(),
        "{error}"
    );
}

#[test]
fn record_of_adjacent_version_is_read_later_one_kept() {
    let (_dir, spool) = new_spool();
    let written = record(1);
    let text = written.to_text().unwrap();
    let planted = plant(&spool, "more", format!("colour = \"blue\"\n{text}"));
    assert_eq!(spool::read(&spool, &planted).unwrap().record, written);
    let planted = plant(&spool, "later", text.replace("format = 1", "format = 2"));
    let error = spool::read(&spool, &planted).unwrap_err();
    assert!(
        matches!(error, SpoolError::Newer { format: 2, .. }),
        "{error}"
    );
    assert!(
        !error.is_bad_file(),
        "it waits for the agent that understands it"
    );
}

#[test]
fn invalid_record_is_refused_by_name_and_set_aside() {
    let (_dir, spool) = new_spool();
    let text = record(1).to_text().unwrap();
    let zero = "0".repeat(40);
    for (name, text) in [
        ("empty", String::new()),
        ("half", text[..text.len() / 2].to_owned()),
        ("old-format", text.replace("format = 1", "format = 0")),
        ("id", text.replace("id = \"", "id = \"../")),
        ("branch", text.replace("refs/tags/", "refs/heads/")),
        ("zero", text.replace(&zero, "000")),
        ("kinds", text.replace(&zero, &"0".repeat(64))),
        ("repository", text.replace("alice/shop", "")),
    ] {
        let planted = plant(&spool, name, text);
        let error = spool::read(&spool, &planted).unwrap_err();
        assert!(error.is_bad_file(), "{name}: {error}");
        assert!(
            error.to_string().contains(&format!("/new/{name}")),
            "{error}"
        );
        let aside = spool::quarantine(&spool, &planted).unwrap();
        assert!(aside.is_file() && aside.starts_with(spool.join(BAD)));
    }
    let planted = plant(&spool, "bytes", b"\xff\xfe");
    assert!(spool::read(&spool, &planted).unwrap_err().is_bad_file());
    spool::quarantine(&spool, &planted).unwrap();
    assert_eq!(spool::waiting(&spool).unwrap(), []);
}

#[test]
fn setting_aside_overwrites_no_file_of_the_same_name() {
    let (_dir, spool) = new_spool();
    let bad = spool.join(BAD);
    std::fs::create_dir(bad.join("x")).unwrap();
    std::fs::write(bad.join("x/kept"), "kept").unwrap();
    for content in ["one", "two"] {
        let planted = plant(&spool, "x", content);
        let aside = spool::quarantine(&spool, &planted).unwrap();
        assert_eq!(std::fs::read_to_string(aside).unwrap(), content);
    }
    std::fs::create_dir(spool.join(NEW).join("x")).unwrap();
    std::fs::write(spool.join(NEW).join("x/y"), "").unwrap();
    let waiting = spool::waiting(&spool).unwrap();
    let aside = spool::quarantine(&spool, &waiting[0]).unwrap();
    assert!(aside.join("y").is_file());
    assert!(bad.join("x/kept").is_file());
    assert_eq!(spool::waiting(&spool).unwrap(), []);
}

#[test]
fn a_link_is_not_followed() {
    let (dir, spool) = new_spool();
    let elsewhere = dir.path().join("elsewhere");
    std::fs::write(&elsewhere, record(1).to_text().unwrap()).unwrap();
    symlink(&elsewhere, spool.join(NEW).join("link")).unwrap();
    let waiting = spool::waiting(&spool).unwrap();
    let error = spool::read(&spool, &waiting[0]).unwrap_err();
    assert!(matches!(error, SpoolError::NotAFile(_)), "{error}");
    spool::quarantine(&spool, &waiting[0]).unwrap();
    assert!(elsewhere.is_file());
}

#[test]
fn removing_a_record_twice_succeeds() {
    let (_dir, spool) = new_spool();
    spool::write(&spool, &record(1)).unwrap();
    let waiting = spool::waiting(&spool).unwrap();
    spool::remove(&spool, &waiting[0]).unwrap();
    spool::remove(&spool, &waiting[0]).unwrap();
    assert_eq!(spool::waiting(&spool).unwrap(), []);
}

#[test]
fn old_leftovers_of_killed_hooks_are_removed() {
    let (_dir, spool) = new_spool();
    let left = spool.join(TMP).join("left");
    std::fs::write(&left, "half").unwrap();
    let written = u64::try_from(std::fs::metadata(&left).unwrap().mtime()).unwrap();
    let hour = Duration::from_secs(3600);
    let at = |seconds| Duration::from_secs(written + seconds);
    assert_eq!(spool::sweep(&spool, at(3599), hour).unwrap(), 0);
    assert_eq!(spool::sweep(&spool, at(3601), hour).unwrap(), 1);
    assert!(!left.exists());
}

fn rules(repository: &str) -> RulesFile {
    RulesFile {
        format: FORMAT,
        repository: repository.to_owned(),
        on_spool_error: OnSpoolError::Reject,
        page: String::new(),
        pushers: None,
        projects: Vec::new(),
    }
}

#[test]
fn published_rules_are_found_by_their_repository() {
    let (_dir, spool) = new_spool();
    let keys = [
        "alice/shop",
        "alice%2Fshop",
        "alice_shop",
        "Alice/shop",
        ".hidden",
        "größe",
    ];
    let files: Vec<_> = keys.iter().map(|key| rules(key)).collect();
    spool::publish_rules(&spool, &files).unwrap();
    for key in keys {
        let found = spool::read_rules(&spool, key).unwrap().unwrap();
        assert_eq!(found.repository, key);
    }
    assert_eq!(spool::read_rules(&spool, "bob/shop").unwrap(), None);
    assert_eq!(spool::read_rules(&spool, "").unwrap(), None);
}

#[test]
fn rules_of_a_removed_project_are_deleted() {
    let (_dir, spool) = new_spool();
    spool::publish_rules(&spool, &[rules("a"), rules("b")]).unwrap();
    let inode = |key| {
        let path = spool::rules_path(&spool, key).unwrap();
        std::fs::metadata(path).unwrap().ino()
    };
    let before = inode("b");
    spool::publish_rules(&spool, &[rules("b")]).unwrap();
    assert_eq!(spool::read_rules(&spool, "a").unwrap(), None);
    assert_eq!(
        inode("b"),
        before,
        "what did not change is not written again"
    );
}

#[test]
fn missing_rules_directory_is_an_error() {
    let (_dir, spool) = new_spool();
    std::fs::remove_dir(spool.join("rules")).unwrap();
    let error = spool::read_rules(&spool, "shop").unwrap_err();
    assert!(error.to_string().contains("cannot reach"), "{error}");
}

#[test]
fn a_key_that_makes_no_file_name_is_refused() {
    let (_dir, spool) = new_spool();
    for key in [String::new(), "x".repeat(241), "/".repeat(100)] {
        let error = spool::publish_rules(&spool, &[rules(&key)]).unwrap_err();
        assert!(matches!(error, SpoolError::Repository(_)), "{error}");
    }
}
