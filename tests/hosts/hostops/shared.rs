//! Paths of `shared`: what exists is used as it is, and what is wrong is named.

use std::os::unix::fs::{PermissionsExt as _, chown, symlink};
use std::path::Path;

use tagship::domain::host::{HostError, Reply, SharedFault};
use tagship::hosts::sync;

use crate::hostops::local_host::{AS_SERVICE, Host, SERVICE, SHELLS};
use crate::hostops::release::first_tree;

fn prepared(host: &Host, shared: &[&str]) -> Result<Vec<SharedFault>, HostError> {
    let shared: Vec<String> = shared.iter().map(|path| (*path).to_owned()).collect();
    let release = first_tree().release("r1");
    let script = host.preparation(1, &release, None, &[], &shared);
    match sync::read_prepared(&host.ask(1, &script)?)? {
        Reply::Prepared { shared_faults, .. } => Ok(shared_faults),
        other => panic!("{other:?}"),
    }
}

fn missing(path: &str, reason: &str) -> SharedFault {
    SharedFault::Missing {
        path: path.to_owned(),
        reason: reason.to_owned(),
    }
}

fn refusal<T: std::fmt::Debug>(answer: Result<T, HostError>) -> String {
    match answer {
        Err(HostError::Refused(why)) => why,
        other => panic!("{other:?}"),
    }
}

#[test]
fn shared_path_that_exists_is_used_whatever_it_is() {
    for shell in SHELLS {
        let host = Host::new(shell);
        let shared = host.path().join("shared");
        std::fs::create_dir_all(shared.join("keys")).unwrap();
        std::fs::write(shared.join("keys/id_rsa"), "secret").unwrap();
        symlink("keys", shared.join("log")).unwrap();
        let wanted = ["keys/id_rsa", "log", "public/up loads", "it's $(x)/\\0"];
        assert_eq!(prepared(&host, &wanted), Ok(vec![]), "{shell:?}");
        let secret = std::fs::read_to_string(shared.join("keys/id_rsa"));
        assert_eq!(secret.unwrap(), "secret");
        for made in &wanted[2..] {
            assert!(shared.join(made).is_dir(), "{made}");
        }
    }
}

#[test]
fn shared_link_that_points_nowhere_is_named() {
    for shell in SHELLS {
        for path in ["log", "log/web"] {
            let host = Host::new(shell);
            std::fs::create_dir_all(host.path().join("shared")).unwrap();
            symlink("/nowhere/log", host.path().join("shared/log")).unwrap();
            let why = refusal(prepared(&host, &[path]));
            let named = "shared/log is a link to what is not there: /nowhere/log";
            assert!(why.ends_with(named), "{why}");
        }
        let host = Host::new(shell);
        std::fs::create_dir_all(host.path()).unwrap();
        symlink("/nowhere", host.path().join("shared")).unwrap();
        let why = refusal(prepared(&host, &["log"]));
        let named = "shared is a link to what is not there: /nowhere";
        assert!(why.ends_with(named), "{why}");
    }
}

#[test]
fn shared_file_that_cannot_be_used_is_reported() {
    for shell in SHELLS {
        let host = Host::new(shell);
        let shared = host.path().join("shared");
        std::fs::create_dir_all(shared.join("a.env")).unwrap();
        symlink("/nowhere/b", shared.join("b.env")).unwrap();
        std::fs::write(shared.join("c.env"), "").unwrap();
        let faults = prepared(&host, &["a.env", "b.env", "c.env", "d.env"]).unwrap();
        let directory = SharedFault::Directory {
            path: "a.env".to_owned(),
        };
        let dangling = "shared/b.env is a link to what is not there: /nowhere/b";
        let expected = vec![directory, missing("b.env", dangling), missing("d.env", "")];
        assert_eq!(faults, expected, "{shell:?}");
    }
}

#[test]
fn invisible_shared_file_is_not_called_missing_alone() {
    if !rustix::process::geteuid().is_root() {
        eprintln!("SKIPPED: only root becomes another user");
        return;
    }
    let host = Host::new(AS_SERVICE[0]);
    let own = |path: &Path| chown(path, Some(SERVICE), Some(SERVICE)).unwrap();
    let shared = host.path().join("shared");
    std::fs::create_dir_all(shared.join("keys")).unwrap();
    own(host.path().parent().unwrap());
    own(&host.path());
    own(&shared);
    std::fs::write(shared.join("keys/a.pem"), "").unwrap();
    let mode = std::fs::Permissions::from_mode(0o700);
    std::fs::set_permissions(shared.join("keys"), mode).unwrap();
    let faults = prepared(&host, &["keys/a.pem"]).unwrap();
    let [SharedFault::Missing { path, reason }] = faults.as_slice() else {
        panic!("{faults:?}");
    };
    assert_eq!(path, "keys/a.pem");
    assert!(
        reason.ends_with(" may not see what is in shared/keys"),
        "{reason}"
    );
}
