//! The program alone: how it is linked, what it needs, and how it handles unusual calls.

use std::ffi::OsStr;
use std::io::Read;
use std::os::unix::ffi::OsStrExt;
use std::process::{Command, Output, Stdio};

use tagship_tests::hook::hook_program;

use crate::hook::shop::Shop;

const ZERO: &str = "0000000000000000000000000000000000000000";
const NEW: &str = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";

/// The installed hook of a shop, called as git calls it.
fn hook(shop: &Shop) -> Command {
    let mut command = Command::new("hooks/update");
    command
        .current_dir(&shop.repo().path)
        .env_clear()
        .stdin(Stdio::null());
    command
}

fn text(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

#[test]
fn hook_is_linked_statically() {
    let output = Command::new("ldd").arg(hook_program()).output().unwrap();
    let text = text(&output);
    assert!(
        text.contains("statically linked") || text.contains("not a dynamic executable"),
        "{text}"
    );
}

#[test]
fn hook_depends_only_on_regex_serde_and_toml() {
    let manifest = concat!(env!("CARGO_MANIFEST_DIR"), "/hooks/Cargo.toml");
    let manifest: toml::Table = std::fs::read_to_string(manifest).unwrap().parse().unwrap();
    let names: Vec<_> = manifest["dependencies"]
        .as_table()
        .unwrap()
        .keys()
        .collect();
    assert_eq!(names, ["regex", "serde", "toml"]);
}

#[test]
fn hook_prints_its_version_and_format() {
    let output = Command::new(hook_program())
        .arg("--version")
        .env_clear()
        .output()
        .unwrap();
    assert_eq!(
        text(&output),
        format!("tagship-hook {} (format 1)\n", env!("CARGO_PKG_VERSION"))
    );
}

#[test]
fn a_wrong_number_of_arguments_is_refused_with_a_reason() {
    let shop = Shop::new();
    for arguments in [
        &[][..],
        &["refs/tags/qa-1"],
        &["refs/tags/qa-1", ZERO, NEW, "more"],
    ] {
        let output = hook(&shop).args(arguments).output().unwrap();
        assert_eq!(output.status.code(), Some(1));
        assert_eq!(
            text(&output),
            format!(
                "tagship: called with {} arguments; git's update hook takes three: REF OLD NEW\n",
                arguments.len()
            )
        );
    }
}

#[test]
fn invalid_object_id_is_refused() {
    let shop = Shop::new();
    for (old, new) in [
        (ZERO, "a"),
        ("", NEW),
        (ZERO, &NEW.to_uppercase()),
        (ZERO, &"a".repeat(64)),
    ] {
        let output = hook(&shop)
            .args(["refs/tags/qa-1", old, new])
            .output()
            .unwrap();
        assert_eq!(output.status.code(), Some(1), "{old} {new}");
        assert!(text(&output).contains("not called as git calls it"));
    }
    assert_eq!(shop.records(), []);
}

#[test]
fn without_settings_a_tag_is_refused_and_a_branch_is_not() {
    let run = |reference: &str| {
        Command::new(hook_program())
            .env_clear()
            .args([reference, ZERO, NEW])
            .output()
            .unwrap()
    };
    let output = run("refs/tags/qa-1");
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output).contains("the hook has no settings: looked for"));
    let output = run("refs/heads/main");
    assert_eq!(
        (output.status.code(), text(&output)),
        (Some(0), String::new())
    );
}

#[test]
fn non_utf8_tag_gets_one_line_and_is_never_released() {
    let shop = Shop::new();
    let output = hook(&shop)
        .arg(OsStr::from_bytes(b"refs/tags/qa-\xff"))
        .args([ZERO, NEW])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(0));
    assert_eq!(
        text(&output),
        "tagship: the tag's name is not UTF-8; it is never released\n"
    );
    assert_eq!(shop.records(), []);
}

#[test]
fn closed_stdio_changes_neither_record_nor_exit_code() {
    let shop = Shop::new();
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let status = hook(&shop)
        .args(["refs/tags/qa-1", ZERO, NEW])
        .stdout(writer.try_clone().unwrap())
        .stderr(writer)
        .status()
        .unwrap();
    assert_eq!(status.code(), Some(0));
    assert_eq!(shop.records().len(), 1);
}

#[test]
fn stalled_pusher_delays_the_hook_at_most_two_seconds() {
    let shop = Shop::new();
    let (mut reader, mut writer) = std::io::pipe().unwrap();
    fill(&mut writer);
    let mut child = hook(&shop)
        .args(["refs/tags/qa-1", ZERO, NEW])
        .stdout(Stdio::null())
        .stderr(writer)
        .spawn()
        .unwrap();
    let status = child.wait().unwrap();
    // Ended by its own deadline, with the record durable: the ref may be written.
    assert_eq!(status.code(), Some(0));
    assert_eq!(shop.records().len(), 1);
    let mut read = Vec::new();
    reader.read_to_end(&mut read).unwrap();
    assert!(!read.windows(7).any(|part| part == b"tagship"));
}

/// Fills a pipe completely.
fn fill(writer: &mut std::io::PipeWriter) {
    use std::io::Write;
    let flags = rustix::fs::fcntl_getfl(&*writer).unwrap();
    rustix::fs::fcntl_setfl(&*writer, flags | rustix::fs::OFlags::NONBLOCK).unwrap();
    while writer.write(&[b'.'; 4096]).is_ok() {}
    while writer.write(b".").is_ok() {}
    rustix::fs::fcntl_setfl(&*writer, flags).unwrap();
}

#[test]
fn a_disk_that_does_not_answer_ends_the_hook_with_a_refusal() {
    let shop = Shop::new();
    // Opening a named pipe without a writer blocks forever, like a dead network disk.
    let settings = shop.repo().path.join("hooks/update.tagship.toml");
    pipe_instead_of(&settings);
    let output = hook(&shop)
        .env("GL_REPOSITORY", "project-7")
        .args(["refs/tags/qa-1", ZERO, NEW])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(
        text(&output).lines().collect::<Vec<_>>(),
        [
            "tagship: the spool did not answer within 2 seconds",
            "tagship: the tag is refused, so that it is not lost; push it again later",
            "GL-HOOK-ERR: tagship: the spool did not answer within 2 seconds",
        ]
    );
}

#[test]
fn pipe_in_place_of_the_rules_is_named_at_once() {
    let shop = Shop::new();
    let rules = tagship::engine::spool::rules_path(&shop.spool(), "shop").unwrap();
    pipe_instead_of(&rules);
    let output = hook(&shop)
        .args(["refs/tags/qa-1", ZERO, NEW])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(
        text(&output).contains("shop.toml is not a plain file"),
        "{}",
        text(&output)
    );
}

fn pipe_instead_of(path: &std::path::Path) {
    std::fs::remove_file(path).unwrap();
    assert!(Command::new("mkfifo").arg(path).status().unwrap().success());
}

#[test]
fn the_record_is_durable_before_the_exit() {
    let shop = Shop::new();
    let trace = shop.directory().join("trace");
    let traced = Command::new("strace")
        .args([
            "-f",
            "-e",
            "trace=fsync,rename,renameat,renameat2,exit_group",
        ])
        .arg("-o")
        .arg(&trace)
        .arg("hooks/update")
        .args(["refs/tags/qa-1", ZERO, NEW])
        .current_dir(&shop.repo().path)
        .stderr(Stdio::null())
        .status();
    let Ok(status) = traced else {
        eprintln!("strace is not installed here: the order of system calls was not looked at");
        return;
    };
    assert!(status.success());
    let calls: Vec<String> = std::fs::read_to_string(&trace)
        .unwrap()
        .lines()
        .filter_map(|line| Some(line.split_once(' ')?.1.trim().split('(').next()?.to_owned()))
        .filter(|call| call.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_'))
        .collect();
    assert_eq!(calls, ["fsync", "rename", "fsync", "exit_group"]);
}
