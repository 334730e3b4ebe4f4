//! Maps pushers to accounts: `[users.NAME]` lists names on the git server, system users and SSH
//! keys. Used by the agent, and for the line shown to the pusher.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD};
use sha2::{Digest as _, Sha256};

use super::keys::{Config, UserConfig};
use super::local::system_user;
use crate::base::user::user_or_number;
use crate::domain::rule::Pushers;

impl UserConfig {
    pub(super) fn settle(&mut self) {
        for key in &mut self.ssh_keys {
            let words: Vec<&str> = key.split_whitespace().take(2).collect();
            *key = words.join(" ");
        }
    }

    /// Whether the user is this system user, for a repository. One identified by its path has no
    /// git server with its own names, so `gitlab` means the same there.
    fn is_system_user(&self, name: &str, repository: &str) -> bool {
        let named = self
            .gitlab
            .as_deref()
            .filter(|_| repository.starts_with('/'));
        self.system.as_deref() == Some(name) || named == Some(name)
    }
}

impl Config {
    /// Returns the account of the user with this name on the git server.
    #[must_use]
    pub fn account_of(&self, pusher: &str) -> Option<&str> {
        self.account(|user| user.gitlab.as_deref() == Some(pusher))
    }

    /// Returns the account of a system user who pushes to a repository.
    #[must_use]
    pub fn account_of_system_user(&self, name: &str, repository: &str) -> Option<&str> {
        self.account(|user| user.is_system_user(name, repository))
    }

    /// Returns the account of the user who pushes with this public SSH key.
    #[must_use]
    pub fn account_of_key(&self, key: &str) -> Option<&str> {
        self.account(|user| user.ssh_keys.iter().any(|own| own == key))
    }

    fn account(&self, is_theirs: impl Fn(&UserConfig) -> bool) -> Option<&str> {
        let mut users = self.users.iter();
        let (name, _) = users.find(|(_, user)| is_theirs(user))?;
        Some(name)
    }

    /// Returns what the hook needs about the pushers of a repository.
    pub(super) fn pushers(&self, repository: &str) -> Pushers {
        let mut pushers = Pushers {
            git_user: system_user(&self.agent.git_user).map(|user| user.uid),
            ..Pushers::default()
        };
        let add = |accounts: &mut BTreeMap<String, String>, pusher: &str, account: Option<&str>| {
            if let Some(account) = account {
                accounts.insert(pusher.to_owned(), account.to_owned());
            }
        };
        // The accounts are those that the agent finds: the hook names them to the pusher.
        for user in self.users.values() {
            if let Some(name) = &user.gitlab {
                add(&mut pushers.names, name, self.account_of(name));
            }
            for name in user.gitlab.iter().chain(&user.system) {
                let Some(uid) = system_user(name).map(|found| found.uid) else {
                    continue;
                };
                let account = self.account_of_system_user(&user_or_number(uid), repository);
                add(&mut pushers.system, &uid.to_string(), account);
            }
            for key in &user.ssh_keys {
                add(&mut pushers.keys, key, self.account_of_key(key));
            }
        }
        pushers
    }
}

/// Returns the fingerprint of a public key, `SHA256:…`, as `ssh-keygen -l` prints it. Any other
/// text is returned unchanged.
#[must_use]
pub fn fingerprint(key: &str) -> String {
    let encoded = key.split_once(' ').map_or(key, |(_, encoded)| encoded);
    match STANDARD.decode(encoded) {
        Ok(bytes) => format!("SHA256:{}", STANDARD_NO_PAD.encode(Sha256::digest(bytes))),
        Err(_) => key.to_owned(),
    }
}

/// Whether a text is a public key: its type and its encoded data name the same kind.
pub(super) fn is_public_key(text: &str) -> bool {
    let Some((kind, encoded)) = text.split_once(' ') else {
        return false;
    };
    let Ok(bytes) = STANDARD.decode(encoded) else {
        return false;
    };
    let length = u32::try_from(kind.len()).unwrap_or(0).to_be_bytes();
    bytes
        .strip_prefix(&length)
        .is_some_and(|rest| rest.starts_with(kind.as_bytes()))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::path::Path;

    use super::super::parse;
    use super::Config;

    #[test]
    fn ssh_key_is_a_public_key_of_one_account() {
        const KEY: &str =
            "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIGFhYWFhYWFhYWFhYWFhYWFhYWFhYWFhYWFhYWFhYWFh";
        let config = read(&format!(
            "[users.alice]\nssh_keys = [\"{KEY}  alice@example.com\"]\n"
        ));
        assert_eq!(config.account_of_key(KEY), Some("alice"));
        for wrong in [
            "SHA256:TGIk2D1DFZBKmjWssB2+Qdiona/OUK1TSuWAAHMK+n0",
            "ssh-ed25519 AAAA",
            &KEY.replace("ssh-ed25519", "ssh-rsa"),
            &format!("no-pty {KEY}"),
        ] {
            let reported = complaints(&format!("[users.alice]\nssh_keys = [\"{wrong}\"]\n"));
            assert!(
                reported[0].contains("is no public key: write the line"),
                "{reported:?}"
            );
        }
        let twice = complaints(&format!(
            "[users.alice]\nssh_keys = [\"{KEY}\"]\n[users.bob]\nssh_keys = [\"{KEY} b\"]\n"
        ));
        assert!(
            twice[0].contains("is already the account alice"),
            "{twice:?}"
        );
    }

    #[test]
    fn system_user_belongs_to_one_account() {
        let users = "[users.alice]\nsystem = \"root\"\n[users.zoe]\ngitlab = \"root\"\n";
        read(users);
        let on_this_machine = complaints(&format!("{users}{SHOP}"));
        assert_eq!(
            on_this_machine,
            [
                "c.toml:4:10: `root` is already the account alice (for a repository given by its \
                 path, `gitlab` names a system user): one person, one account"
            ]
        );
        let twice = "[users.alice]\ngitlab = \"a\"\n[users.bob]\ngitlab = \"a\"\n";
        let reported = complaints(&format!("{twice}{SHOP}"));
        assert_eq!(
            reported,
            ["c.toml:4:10: `a` is already the account alice: one person, one account"]
        );
    }

    #[test]
    fn pusher_may_be_named_twice_for_the_same_account() {
        let key =
            "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIGFhYWFhYWFhYWFhYWFhYWFhYWFhYWFhYWFhYWFhYWFh";
        read(&format!(
            "[users.alice]\nsystem = \"root\"\ngitlab = \"root\"\nssh_keys = [\"{key}\", \"{key} b\"]\n{SHOP}"
        ));
    }

    #[test]
    fn hook_and_agent_take_the_same_account() {
        let mut config = read(&format!("[users.alice]\nsystem = \"root\"\n{SHOP}"));
        let mut other = config.users["alice"].clone();
        other.gitlab = Some("root".to_owned());
        config.users.insert("zoe".to_owned(), other);
        for repository in ["/srv/git/shop.git", "alice/shop"] {
            let pushers = config.pushers(repository);
            let of_agent = config.account_of_system_user("root", repository);
            assert_eq!(of_agent, Some("alice"));
            assert_eq!(pushers.system["0"], "alice", "{repository}");
            assert_eq!(config.account_of("root"), Some("zoe"));
            assert_eq!(pushers.names["root"], "zoe");
        }
    }

    const SHOP: &str = r#"
[hosts.web1]
address = "192.0.2.1"
[groups]
web = ["web1"]
[[projects]]
name = "shop"
repository = "/srv/git/shop.git"
environments.qa = { group = "web", deploy_to = "/srv/qa" }
"#;

    fn read(text: &str) -> Config {
        parse("c.toml", text, Path::new("/etc")).unwrap()
    }

    fn complaints(text: &str) -> Vec<String> {
        let problems = parse("c.toml", text, Path::new("/etc")).unwrap_err();
        problems.0.iter().map(ToString::to_string).collect()
    }
}
