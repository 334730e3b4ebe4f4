//! The pusher, from what a server and sshd report.

use tagship_hook::pusher::{KEY_LENGTH_MAX, Pusher, is_key, key_of_login};

#[test]
fn only_the_git_users_record_is_believed() {
    let of = |owner| Pusher::from_record("alice", "ssh-ed25519 AAAA", owner, Some(990));
    assert_eq!(of(990), Pusher::Key("ssh-ed25519 AAAA"));
    assert_eq!(of(1000), Pusher::System(1000));
    assert_eq!(
        Pusher::from_record("alice", "", 990, Some(990)),
        Pusher::Name("alice")
    );
    assert_eq!(
        Pusher::from_record("uid:7", "", 990, Some(990)),
        Pusher::System(7)
    );
    assert_eq!(
        Pusher::from_record("", "", 990, Some(990)),
        Pusher::System(990)
    );
    assert_eq!(
        Pusher::from_record("alice", "", 990, None),
        Pusher::System(990)
    );
}

#[test]
fn login_key_is_its_first_public_key() {
    for (told, key) in [
        ("publickey ssh-ed25519 AAAA\n", Some("ssh-ed25519 AAAA")),
        ("publickey ssh-rsa AA+/=\npassword\n", Some("ssh-rsa AA+/=")),
        (
            "password\npublickey ssh-rsa AA\npublickey ssh-rsa BB\n",
            Some("ssh-rsa AA"),
        ),
        ("publickey ssh-ed25519-cert-v01@openssh.com AAAA\n", None),
        ("keyboard-interactive/pam\n", None),
        ("publickey ssh-ed25519\n", None),
        ("publickey ssh-ed25519 AA\u{1b}[31m\n", None),
        ("", None),
    ] {
        assert_eq!(key_of_login(told).as_deref(), key, "{told:?}");
    }
    assert!(!is_key(&format!("ssh-rsa {}", "A".repeat(KEY_LENGTH_MAX))));
}
