//! The repository and the pusher, from the environment of each kind of server.

#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

use tagship_hook::origin::{PushOrigin, Server};
use tagship_hook::rule::OnSpoolError;
use tagship_hook::settings::{Settings, SettingsError};

fn origin(variables: &[(&str, &str)]) -> PushOrigin {
    PushOrigin::new(|name| {
        variables
            .iter()
            .find(|(other, _)| *other == name)
            .map(|(_, value)| (*value).to_owned())
    })
}

fn expect(variables: &[(&str, &str)], server: Server, keys: &[&str], pusher: &str) {
    let found = origin(variables);
    assert_eq!(found.server, server, "{variables:?}");
    assert_eq!(found.keys, keys, "{variables:?}");
    assert_eq!(found.pusher, pusher, "{variables:?}");
}

#[test]
fn each_server_is_identified_by_its_variables() {
    let gitlab = [
        ("GL_REPOSITORY", "project-7"),
        ("GL_PROJECT_PATH", "alice/shop"),
        ("GL_USERNAME", "alice"),
        ("GL_ID", "user-3"),
    ];
    expect(
        &gitlab,
        Server::GitLab,
        &["alice/shop", "project-7"],
        "alice",
    );
    expect(
        &[
            ("GL_REPOSITORY", "project-7"),
            ("GL_USERNAME", ""),
            ("GL_ID", "key-4"),
        ],
        Server::GitLab,
        &["project-7"],
        "key-4",
    );
    expect(
        &[("GL_REPO", "group/shop"), ("GL_USER", "bob")],
        Server::Gitolite,
        &["group/shop"],
        "bob",
    );
    expect(
        &[
            ("GITEA_REPO_NAME", "shop"),
            ("GITEA_REPO_USER_NAME", "alice"),
            ("GITEA_PUSHER_NAME", "bob"),
            ("GITEA_REPO_IS_WIKI", "false"),
        ],
        Server::Gitea,
        &["alice/shop"],
        "bob",
    );
    expect(&[], Server::Plain, &[], "");
    expect(&[("GL_REPOSITORY", "")], Server::Plain, &[], "");
}

#[test]
fn variables_are_ignored_where_settings_name_the_repository() {
    let settings = |repository: Option<&str>| Settings {
        spool_dir: "/var/spool/tagship".into(),
        repository: repository.map(str::to_owned),
        on_spool_error: None,
    };
    let plain = settings(Some("/srv/git/shop.git"));
    for variables in [
        [("GL_REPOSITORY", "project-7"), ("GL_USERNAME", "bob")],
        [("GL_REPOSITORY", "wiki-7"), ("GL_USERNAME", "bob")],
        [("GL_REPO", "shop"), ("GL_USER", "bob")],
        [("GITEA_REPO_NAME", "shop"), ("GITEA_PUSHER_NAME", "bob")],
    ] {
        let found = origin(&variables).with_settings(&plain);
        assert_eq!(found, origin(&[]), "{variables:?}");
        let found = origin(&variables).with_settings(&settings(None));
        assert_eq!(found, origin(&variables), "{variables:?}");
    }
}

#[test]
fn wikis_and_snippets_have_no_project_key() {
    for id in ["wiki-7", "design-7", "snippet-7", "group-3-wiki", "project"] {
        let variables = [("GL_REPOSITORY", id), ("GL_PROJECT_PATH", "alice/shop")];
        assert!(origin(&variables).keys.is_empty(), "{id}");
    }
    let wiki = [
        ("GITEA_REPO_NAME", "shop"),
        ("GITEA_REPO_USER_NAME", "alice"),
        ("GITEA_REPO_IS_WIKI", "true"),
    ];
    assert!(origin(&wiki).keys.is_empty());
}

#[test]
fn overlong_pusher_name_is_truncated() {
    let name = "ü".repeat(10_000);
    let found = origin(&[("GL_REPO", "shop"), ("GL_USER", &name)]);
    assert_eq!(found.pusher.chars().count(), 255);
}

#[test]
fn hook_settings_roundtrip() {
    let settings = Settings {
        spool_dir: "/var/spool/tag \"ship\"".into(),
        repository: Some("alice/shop".to_owned()),
        on_spool_error: Some(OnSpoolError::Accept),
    };
    let text = settings.to_text().unwrap();
    assert_eq!(Settings::parse("x.toml".as_ref(), &text).unwrap(), settings);
}

#[test]
fn settings_that_are_wrong_are_named() {
    for (text, wanted) in [
        ("", "missing field `spool_dir`"),
        ("spool_dir = \"spool\"\n", "must be an absolute path"),
        (
            "spool_dir = \"/s\"\non_spool_eror = \"accept\"\n",
            "unknown field `on_spool_eror`",
        ),
        (
            "spool_dir = \"/s\"\non_spool_error = \"maybe\"\n",
            "unknown variant `maybe`",
        ),
    ] {
        let error = Settings::parse("x.toml".as_ref(), text).unwrap_err();
        assert!(matches!(error, SettingsError::Malformed(..)));
        let error = error.to_string();
        assert!(
            error.starts_with("x.toml: ") && error.contains(wanted),
            "{error}"
        );
    }
}
