//! An agent whose user is not in the git user's group: it could not read the hook's records. This
//! needs root; without root it says so and passes.

use std::os::unix::fs::{PermissionsExt as _, chown};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

const AGENT: u32 = 61_005;
/// A user that every Debian has, with a group of the same name and number.
const GIT_USER: &str = "daemon";
const GIT_GROUP: u32 = 1;

/// A directory of the agent, with the program in it: others may not read the build directory.
fn directory() -> Option<tempfile::TempDir> {
    if !rustix::process::geteuid().is_root() {
        eprintln!("not root: the test with several system users was not run");
        return None;
    }
    let dir = tempfile::tempdir().unwrap();
    std::fs::set_permissions(dir.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
    chown(dir.path(), Some(AGENT), Some(AGENT)).unwrap();
    let program = Path::new(env!("CARGO_BIN_EXE_tagship"));
    tagship_tests::program::copy(program, &dir.path().join("tagship"));
    let config = format!(
        "[agent]\nlisten = \"127.0.0.1:0\"\ndata_dir = \"data\"\nspool_dir = \"spool\"\ngit_user = \"{GIT_USER}\"\n"
    );
    std::fs::write(config_of(&dir), config).unwrap();
    Some(dir)
}

fn config_of(dir: &tempfile::TempDir) -> PathBuf {
    dir.path().join("config.toml")
}

fn as_agent(dir: &tempfile::TempDir, groups: &str, command: &str) -> Output {
    Command::new("setpriv")
        .args([
            format!("--reuid={AGENT}"),
            format!("--regid={AGENT}"),
            groups.to_owned(),
        ])
        .arg(dir.path().join("tagship"))
        .args([command, "--config"])
        .arg(config_of(dir))
        .output()
        .unwrap()
}

#[test]
fn agent_outside_the_git_group_fails_with_a_remedy() {
    let Some(dir) = directory() else { return };
    let remedy = format!("usermod -aG {GIT_USER} {AGENT}, then restart the agent");

    let served = as_agent(&dir, "--clear-groups", "serve");
    let said = String::from_utf8_lossy(&served.stderr);
    assert!(!served.status.success(), "{said}");
    assert!(said.contains(&remedy), "{said}");
    assert!(
        !dir.path().join("spool").exists(),
        "what it makes there it could not read"
    );

    let checked = as_agent(&dir, "--clear-groups", "check");
    let found = String::from_utf8_lossy(&checked.stdout);
    assert!(found.contains("FAIL agent: 61005 is not in"), "{found}");
    assert!(found.contains(&remedy), "{found}");

    let member = as_agent(&dir, &format!("--groups={GIT_GROUP}"), "check");
    let found = String::from_utf8_lossy(&member.stdout);
    assert!(!found.contains(&remedy), "{found}");
}
