//! The environment of git: what it and its children inherit of the agent's, and what is set.

use std::ffi::OsString;

use crate::base::user;

/// Environment variables that git and its child processes inherit, beside `HOME`.
const KEPT: [&str; 16] = [
    "PATH",
    "USER",
    "LOGNAME",
    "TMPDIR",
    "XDG_CONFIG_HOME",
    "SSH_AUTH_SOCK",
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
    "http_proxy",
    "https_proxy",
    "no_proxy",
    "all_proxy",
    "HTTPS_PROXY",
    "NO_PROXY",
    "ALL_PROXY",
    "LD_LIBRARY_PATH",
];

pub(super) fn environment() -> Vec<(OsString, OsString)> {
    let kept = KEPT.iter().filter_map(|name| {
        let value = std::env::var_os(name)?;
        Some((OsString::from(name), value))
    });
    let set = [
        ("LC_ALL", "C"),
        ("GIT_TERMINAL_PROMPT", "0"),
        ("GIT_ASKPASS", ""),
        ("GIT_PAGER", "cat"),
        ("GIT_SSH_VARIANT", "ssh"),
    ];
    let set = set.map(|(name, value)| (name.into(), value.into()));
    let uid = rustix::process::geteuid().as_raw();
    let home = ("HOME".into(), home(std::env::var_os("HOME"), uid));
    kept.chain(set).chain([home]).collect()
}

/// Returns the home of git. Its configuration includes files below `~`, so that it fails without
/// one; many supervisors start the agent without it.
fn home(inherited: Option<OsString>, uid: u32) -> OsString {
    inherited
        .filter(|home| !home.is_empty())
        .or_else(|| user::user_home(uid).map(OsString::from))
        .unwrap_or_else(|| "/".into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn git_has_a_home_without_the_variable() {
        assert_eq!(home(Some("/srv/alice".into()), 0), "/srv/alice");
        assert_eq!(home(None, 0), "/root");
        assert_eq!(home(Some(OsString::new()), 0), "/root");
        assert_eq!(home(None, 4_000_000_000), "/");
        let set = environment();
        assert_eq!(set.iter().filter(|(name, _)| name == "HOME").count(), 1);
    }
}
