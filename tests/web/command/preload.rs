//! A library that is loaded before all others (`LD_PRELOAD`), as tests of clocks do it.

use std::process::Command;

const PROGRAM: &str = env!("CARGO_BIN_EXE_tagship");
const FAKETIME: &str = "/usr/lib/x86_64-linux-gnu/faketime/libfaketime.so.1";

/// Such a library may allocate memory before the program's allocator can read the clock: the two
/// would wait for each other.
#[test]
fn preloaded_libraries_keep_the_allocator_of_the_system() {
    let symbols = Command::new("nm")
        .args(["--dynamic", "--defined-only", PROGRAM])
        .output()
        .unwrap();
    assert!(symbols.status.success(), "{symbols:?}");
    let symbols = String::from_utf8(symbols.stdout).unwrap();
    let ours = symbols.lines().filter(|line| {
        let name = line.rsplit(' ').next().unwrap_or_default();
        ["malloc", "calloc", "free", "realloc"].contains(&name)
    });
    assert_eq!(ours.collect::<Vec<_>>(), [""; 0]);
}

#[test]
fn program_starts_under_another_clock() {
    if !std::path::Path::new(FAKETIME).exists() {
        eprintln!("SKIPPED: libfaketime is not installed");
        return;
    }
    let status = Command::new("timeout")
        .args(["20", PROGRAM, "--version"])
        .env("LD_PRELOAD", FAKETIME)
        .env("FAKETIME", "+40d")
        .env("FAKETIME_DONT_FAKE_MONOTONIC", "1")
        .status()
        .unwrap();
    assert!(status.success(), "{status}");
}
