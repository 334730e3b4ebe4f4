//! Programs that a test writes and starts. Another process writes the file: a child that this process
//! forks meanwhile would hold it open for writing, and its start would fail with ETXTBSY.

use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};

/// Puts an executable script at `path`, with the directories above it.
#[track_caller]
pub fn script(path: &Path, text: &str) {
    let mut install = Command::new("install")
        .args(["-D", "-m", "0755", "/dev/stdin"])
        .arg(path)
        .stdin(Stdio::piped())
        .spawn()
        .expect("install(1) starts");
    let mut stdin = install.stdin.take().expect("it is piped");
    stdin.write_all(text.as_bytes()).expect("install(1) reads");
    drop(stdin);
    assert!(install.wait().expect("it ends").success(), "{path:?}");
}

/// Copies a program, mode 0755.
#[track_caller]
pub fn copy(from: &Path, to: &Path) {
    let copied = Command::new("install")
        .args(["-D", "-m", "0755"])
        .args([from, to])
        .status();
    assert!(copied.expect("install(1) starts").success(), "{to:?}");
}
