//! Each cause has one error: it names the cause first, then the remedy.

use std::os::unix::fs::symlink;
use std::path::Path;

use tagship::domain::host::{HostError, HostState, Op, Reply};
use tagship_tests::sshd::Sshd;

use crate::hostops::local_host::{Host, SHELLS};
use crate::hostops::over_ssh::{Site, ask, stage};
use crate::hostops::release::first_tree;

/// What a login does instead of the script, and the parts of the error; empty: it works.
const LOGINS: [(&str, &[&str]); 7] = [
    (
        "exec /usr/sbin/nologin",
        &[
            "currently not available",
            "give that user a login shell that runs commands",
        ],
    ),
    (
        "exit 0",
        &[
            "before it did anything",
            "give that user a login shell that runs commands",
        ],
    ),
    (
        "echo 'Access only by VPN.'; exit 3",
        &[
            "Access only by VPN.",
            "give that user a login shell that runs commands",
        ],
    ),
    (
        "echo 'Access only by VPN.' >&2; exit 3",
        &[
            "Access only by VPN.",
            "give that user a login shell that runs commands",
        ],
    ),
    // As `exec fish` in a `.bashrc`: another language reads the script.
    (
        "cat >/dev/null; echo 'fish: Unknown command: ts_main' >&2; exit 127",
        &[
            "Unknown command",
            "give that user a login shell that runs commands",
        ],
    ),
    (
        "echo Welcome; cat /etc/hostname; exec sh -c \"$SSH_ORIGINAL_COMMAND\"",
        &[],
    ),
    (
        "printf '\\033[1mno newline'; exec sh -c \"$SSH_ORIGINAL_COMMAND\"",
        &[],
    ),
];

#[tokio::test(flavor = "multi_thread")]
async fn login_that_runs_no_script_is_named_noisy_login_accepted() {
    for (login, words) in LOGINS {
        let line = format!("ForceCommand {login}");
        let site = Site::on(Sshd::settings().line(&line).start());
        let hosts = site.hosts_of(vec![site.target(0)]);
        let deploy_to = site.path("web0").to_str().unwrap().to_owned();
        let answer = ask(&hosts, "web0", Op::Inspect { deploy_to }).await;
        if words.is_empty() {
            assert_eq!(
                answer,
                Ok(Reply::Inspected(HostState::default())),
                "{login}"
            );
            continue;
        }
        let Err(HostError::Refused(why)) = answer else {
            panic!("{login}: {answer:?}");
        };
        for word in words {
            assert!(why.contains(word), "{login}: no {word:?} in {why}");
        }
    }
}

/// Such a command passes `exec sh -s`, but not the command that starts rsync.
#[tokio::test(flavor = "multi_thread")]
async fn command_that_is_split_at_its_blanks_is_named() {
    let line = "ForceCommand $SSH_ORIGINAL_COMMAND";
    let site = Site::on(Sshd::settings().line(line).start());
    let hosts = site.hosts_of(vec![site.target(0)]);
    let tree = first_tree();
    let release = tree.release("r1");
    let place = site.place("web0", 1);
    let staged = stage(&hosts, "web0", &place, &tree, &release, None).await;
    let why = staged.unwrap_err().to_string();
    for word in ["ForceCommand", "sh -c \"$SSH_ORIGINAL_COMMAND\""] {
        assert!(why.contains(word), "no {word} in {why}");
    }
}

/// The kernel's message is the same; `df -i` distinguishes them.
#[test]
fn exhausted_inodes_are_distinguished_from_full_disk() {
    let fails = "mkdir() { echo 'mkdir: cannot create directory: No space left on device' >&2; return 1; }\n";
    let df = |used: &str| {
        format!(
            "df() {{ printf 'Filesystem Inodes IUsed IFree IUse%% On\\nx 9 9 {used} /\\n'; }}\n"
        )
    };
    for shell in SHELLS {
        for (used, remedy) in [
            (
                "0 100%%",
                "delete files on the host until df -i shows free inodes",
            ),
            ("5 50%%", "free space on the host's disk"),
        ] {
            let host = Host::new(shell);
            let release = first_tree().release("r1");
            let script = host.preparation(1, &release, None, &[], &[]);
            let whole = [fails.as_bytes(), df(used).as_bytes(), &script].concat();
            let answer = host.ask(1, &whole).map(drop);
            let Err(HostError::Refused(why)) = answer else {
                panic!("{used}: {answer:?}");
            };
            assert!(why.starts_with(remedy), "{used}: {why}");
            assert!(why.contains("No space left on device"), "{used}: {why}");
        }
    }
}

/// Half of them would give an error that names another cause, or hide a mount.
#[test]
fn missing_program_is_named_before_anything_changes() {
    let names = std::fs::read_to_string("src/hosts/sync/tools.sh").unwrap();
    let names: Vec<&str> = names.split('\'').nth(1).unwrap().split(' ').collect();
    let paths = std::env::var("PATH").unwrap();
    let programs = tempfile::tempdir().unwrap();
    for name in &names {
        let mut real = paths.split(':').map(|path| Path::new(path).join(name));
        let real = real.find(|path| path.exists()).unwrap();
        symlink(real, programs.path().join(name)).unwrap();
    }
    let path = format!("PATH='{}'\n", programs.path().display());
    for shell in SHELLS {
        for name in &names {
            let (own, aside) = (programs.path().join(name), programs.path().join("aside"));
            std::fs::rename(&own, &aside).unwrap();
            let host = Host::new(shell);
            let release = first_tree().release("r1");
            let script = host.preparation(1, &release, None, &[], &[]);
            let answer = host.ask(1, &[path.as_bytes(), &script].concat()).map(drop);
            std::fs::rename(&aside, &own).unwrap();
            let Err(HostError::Refused(why)) = answer else {
                panic!("{name}: {answer:?}");
            };
            let named = format!("the host has no {name}: install coreutils");
            let itself = "the host has no tr or no head: install coreutils";
            let is_itself = ["tr", "head"].contains(name) && why.starts_with(itself);
            assert!(why.starts_with(&named) || is_itself, "{name}: {why}");
            assert!(!host.path().exists(), "{name}");
        }
    }
}
