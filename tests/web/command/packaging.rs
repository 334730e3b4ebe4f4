//! What `make install` installs beside the programs: manual pages and completions.

use std::collections::BTreeSet;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::Path;
use std::process::Command;

use tagship_tests::git::output_of;

use crate::command::help::commands;
use crate::command::program::Test;

/// The names of the files in a directory.
fn names(directory: &Path) -> BTreeSet<String> {
    let entries = std::fs::read_dir(directory).unwrap();
    let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    names.collect()
}

#[test]
fn every_command_has_a_manual_page() {
    let test = Test::new().arguments(["man", "share/man1"]);
    let output = test.output();
    assert!(output.status.success(), "{output:?}");
    let pages = test.path("share/man1");
    let all = commands().into_iter().map(|(words, _)| {
        let words = ["tagship".to_owned()].into_iter().chain(words);
        format!("{}.1", words.collect::<Vec<_>>().join("-"))
    });
    assert_eq!(names(&pages), all.collect());
    let approve = std::fs::read_to_string(pages.join("tagship-approve.1")).unwrap();
    for part in [
        ".TH tagship-approve 1",
        "Approve a task",
        "\\-\\-comment",
        "only if it succeeds",
    ] {
        assert!(approve.contains(part), "no {part:?} in {approve}");
    }
}

#[test]
fn directory_that_cannot_be_written_is_named() {
    Test::new()
        .file("share", "")
        .arguments(["man", "share/man1"])
        .stderr("error: cannot write manual pages into share/man1: Not a directory (os error 20)\n")
        .status(1)
        .run();
}

#[test]
fn make_install_adds_manual_pages_and_completions() {
    let directory = tempfile::tempdir().unwrap();
    let programs = directory.path().join("release");
    std::fs::create_dir(&programs).unwrap();
    symlink(env!("CARGO_BIN_EXE_tagship"), programs.join("tagship")).unwrap();
    std::fs::write(programs.join("update"), "a hook").unwrap();
    let into = directory.path().join("into");
    // The programs count as built.
    output_of(
        Command::new("make")
            .args(["--old-file=build", "install", "PREFIX=/usr"])
            .arg(format!("RELEASE={}", programs.display()))
            .arg(format!("DESTDIR={}", into.display())),
    );
    let usr = into.join("usr");
    for (file, mode) in [
        ("bin/tagship", 0o755),
        ("libexec/tagship/update", 0o755),
        ("lib/systemd/system/tagship.service", 0o644),
        ("share/man/man1/tagship-hosts-enroll.1", 0o644),
        ("share/bash-completion/completions/tagship", 0o644),
        ("share/zsh/site-functions/_tagship", 0o644),
        ("share/fish/vendor_completions.d/tagship.fish", 0o644),
    ] {
        let metadata = std::fs::metadata(usr.join(file)).unwrap();
        assert!(metadata.len() > 0, "{file} is empty");
        assert_eq!(metadata.permissions().mode() & 0o777, mode, "{file}");
    }
    let unit = std::fs::read_to_string(usr.join("lib/systemd/system/tagship.service")).unwrap();
    assert!(unit.contains("/usr/bin/tagship serve"), "{unit}");
}
