//! The hook as it is shipped: statically linked, built once per test process.

use std::path::PathBuf;
use std::process::Command;
use std::sync::OnceLock;

/// The program `update`, linked statically. Building it takes a while the first time; after that
/// cargo detects that it is fresh.
pub fn hook_program() -> PathBuf {
    static PROGRAM: OnceLock<PathBuf> = OnceLock::new();
    PROGRAM.get_or_init(build).clone()
}

fn build() -> PathBuf {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let triple = host_triple();
    let output = Command::new(&cargo)
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .args(["rustc", "--release", "--quiet", "--locked"])
        .args(["-p", "tagship-hook", "--bin", "update", "--target", &triple])
        .args(["--message-format", "json"])
        .args(["--", "-C", "target-feature=+crt-static"])
        .output()
        .expect("cargo can be started");
    assert!(
        output.status.success(),
        "the hook does not build: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8_lossy(&output.stdout)
        .lines()
        .filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok())
        .find_map(|message| message["executable"].as_str().map(PathBuf::from))
        .expect("cargo names the program that it built")
}

/// The platform that programs are built for here: `x86_64-unknown-linux-gnu`.
pub fn host_triple() -> String {
    let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let output = Command::new(rustc)
        .arg("-vV")
        .output()
        .expect("rustc can be started");
    String::from_utf8_lossy(&output.stdout)
        .lines()
        .find_map(|line| line.strip_prefix("host: "))
        .expect("rustc names its host")
        .to_owned()
}
