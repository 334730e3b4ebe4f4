#![allow(clippy::unwrap_used)]

use std::path::Path;
use std::time::Duration;

use super::*;
use crate::domain::rule::Schedule;
use crate::domain::template::OnFailure;

/// A valid configuration that has one of everything.
const SHOP: &str = r#"
[hosts.web1]
address = "192.0.2.1"
[hosts.web2]
address = "192.0.2.2"
[groups]
web = ["web1", "web2"]

[[projects]]
name = "shop"
repository = "/srv/git/shop.git"
[projects.environments.qa]
group = "web"
deploy_to = "/srv/qa/"
[projects.environments.production]
group = "web"
deploy_to = "/srv/shop"
[[projects.rules]]
pattern = "qa-*"
environment = "qa"
schedule = "ready"
[[projects.rules]]
pattern = "release-[0-9.]+$"
environment = "production"
"#;

pub(super) fn read(text: &str) -> Config {
    match parse("c.toml", text, Path::new("/etc/tagship")) {
        Ok(config) => config,
        Err(problems) => panic!("{problems}"),
    }
}

fn complaints(text: &str) -> Vec<String> {
    match parse("c.toml", text, Path::new("/etc/tagship")) {
        Ok(_) => Vec::new(),
        Err(problems) => problems.0.iter().map(ToString::to_string).collect(),
    }
}

/// [`SHOP`] with one text in place of another, which must be there.
pub(super) fn shop_with(old: &str, new: &str) -> String {
    assert!(SHOP.contains(old), "{old}");
    SHOP.replacen(old, new, 1)
}

#[test]
fn built_in_configuration_listens_on_loopback() {
    let config = load(&ConfigSource::BuiltIn).unwrap();
    assert!(config.agent.listen.ip().is_loopback());
    assert!(config.agent.data_dir.is_absolute());
    assert!(config.agent.data_dir.ends_with("var/lib"));
    assert!(
        Templates::load(&config.agent.templates_dir)
            .problems()
            .is_empty()
    );
}

#[test]
fn an_empty_file_is_all_defaults() {
    let config = read("");
    assert_eq!(config.agent, AgentConfig::default());
    assert_eq!(config.public_url(), "http://127.0.0.1:8424");
    assert_eq!(config.socket(), Path::new("/var/lib/tagship/agent.sock"));
    assert_eq!(config.agent.landing_timeout, Duration::from_secs(300));
}

#[test]
fn relative_paths_are_relative_to_the_file() {
    let config = read(
        "[agent]\ndata_dir = \"var\"\nspool_dir = \"/spool\"\nsocket = \"s\"\n[ssh]\nidentity = \"key\"\n\
         [git]\ntoken_file = \"token\"\n[hosts.a]\nidentity = \"a-key\"\n[hosts.b]\n",
    );
    assert_eq!(config.agent.data_dir, Path::new("/etc/tagship/var"));
    assert_eq!(config.agent.spool_dir, Path::new("/spool"));
    assert_eq!(config.socket(), Path::new("/etc/tagship/s"));
    assert_eq!(
        config.known_hosts(),
        Path::new("/etc/tagship/var/ssh/known_hosts")
    );
    assert_eq!(
        config.git.token_file.as_deref(),
        Some(Path::new("/etc/tagship/token"))
    );
    assert_eq!(
        config.endpoint("a").unwrap().identity,
        Path::new("/etc/tagship/a-key")
    );
    assert_eq!(
        config.endpoint("b").unwrap().identity,
        Path::new("/etc/tagship/key")
    );
}

#[test]
fn config_file_is_loaded_relative_to_its_directory() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("config.toml");
    std::fs::write(&file, "[agent]\ndata_dir = \"d\"\n").unwrap();
    let config = load(&ConfigSource::File(file.clone())).unwrap();
    assert_eq!(config.agent.data_dir, dir.path().join("d"));
    std::fs::write(&file, "[agent]\ndata_dri = \"d\"\n").unwrap();
    let error = load(&ConfigSource::File(file.clone()))
        .unwrap_err()
        .to_string();
    let expected = format!(
        "{}:2:1: unknown key `data_dri`: did you mean `data_dir`?",
        file.display()
    );
    assert_eq!(error, expected);
    let error = load(&ConfigSource::File(dir.path().to_owned()))
        .unwrap_err()
        .to_string();
    assert!(error.starts_with("can't read "), "{error}");
}

#[test]
fn a_project_has_the_defaults_that_the_documentation_promises() {
    let config = read(SHOP);
    let shop = config.project("shop").unwrap();
    assert_eq!(shop.git_url(), "/srv/git/shop.git");
    let qa = &shop.environments["qa"];
    assert_eq!(qa.deploy_to("web1"), "/srv/qa");
    assert_eq!((qa.keep_releases, qa.self_approval), (5, false));
    assert_eq!(qa.on_failure, OnFailure::Rollback);
    assert_eq!(qa.approvals, ["1".parse().unwrap()]);
    let release = &shop.rules[1];
    assert_eq!(release.schedule, Schedule::New);
    assert_eq!(release.template, "git-release");
    assert_eq!(release.expires, Duration::from_secs(7 * 86_400));
    assert!(release.supersede && !release.refuse_older);
}

#[test]
fn host_inherits_missing_keys_from_ssh_section() {
    let config = read(
        "[ssh]\nuser = \"ship\"\nport = 2222\nidentity = \"/k\"\n[hosts.web1]\nuser = \"root\"\njump = \"gate\"\n\
         [hosts.gate]\naddress = \"192.0.2.9\"\nport = 22\n",
    );
    let web1 = config.endpoint("web1").unwrap();
    assert_eq!(
        (web1.address.as_str(), web1.port, web1.user.as_str()),
        ("web1", 2222, "root")
    );
    assert_eq!(web1.jump.as_deref(), Some("gate"));
    let gate = config.endpoint("gate").unwrap();
    assert_eq!(
        (gate.address.as_str(), gate.port, gate.user.as_str()),
        ("192.0.2.9", 22, "ship")
    );
    assert_eq!(config.endpoint("web9"), None);
}

#[test]
fn pusher_name_belongs_to_one_account() {
    let config = read("[users.alice]\ngitlab = \"alice.a\"\n[users.bob]\n");
    assert_eq!(config.account_of("alice.a"), Some("alice"));
    assert_eq!(config.account_of("bob"), None);
    let twice = complaints("[users.alice]\ngitlab = \"a\"\n[users.bob]\ngitlab = \"a\"\n");
    assert_eq!(
        twice,
        ["c.toml:4:10: `a` is already the account alice: one person, one account"]
    );
    let twice = complaints("[users.alice]\nsystem = \"a\"\n[users.bob]\nsystem = \"a\"\n");
    assert!(
        twice[0].contains("`a` is already the account alice"),
        "{twice:?}"
    );
    // On different servers these may be two users.
    read("[users.alice]\nsystem = \"a\"\n[users.bob]\ngitlab = \"a\"\n");
}

#[test]
fn all_config_errors_are_reported_in_file_order() {
    let text = SHOP
        .replace("\"web2\"]", "\"wbe2\"]")
        .replace("qa-*", "qa-(")
        .replace(
            "environment = \"production\"",
            "environment = \"prodution\"",
        )
        .replace("\"/srv/qa/\"", "\"srv/qa\"");
    assert_eq!(
        complaints(&text),
        [
            "c.toml:7:16: no host is named `wbe2`: did you mean `web2`?",
            "c.toml:14:13: `deploy_to` is not an absolute path below /: write a path like \"/srv/shop\"",
            "c.toml:19:11: bad regular expression: unclosed group",
            "c.toml:24:15: no environment of this project is named `prodution`: did you mean `production`?",
        ]
    );
}

#[test]
fn invalid_deploy_to_is_refused() {
    for deploy_to in [
        "",
        "/",
        "///",
        "srv/shop",
        "/srv/../etc",
        "/srv/..",
        "/srv/./a",
        "/srv//a",
        "/srv/a\\nb",
        "/srv/{TAG}",
        "/srv/{HOST",
        "~/shop",
    ] {
        let complaints = complaints(&shop_with("/srv/qa/", deploy_to));
        assert!(
            complaints
                .iter()
                .any(|c| c.starts_with("c.toml:14:13: `deploy_to`")),
            "{deploy_to}: {complaints:?}"
        );
    }
    assert!(complaints(&shop_with("/srv/qa/", "/srv/{HOST}/shop..x")).is_empty());
}

#[test]
fn environments_may_not_share_a_deploy_target() {
    for (deploy_to, collides) in [
        ("/srv/shop", true),
        ("/srv/shop/", true),
        ("/srv/shop/qa", true),
        ("/srv", true),
        ("/srv/web1", false),
        ("/srv/shop-qa", false),
        ("/srv/{HOST}", false),
    ] {
        let complaints = complaints(&shop_with("/srv/qa/", deploy_to));
        assert_eq!(
            !complaints.is_empty(),
            collides,
            "{deploy_to}: {complaints:?}"
        );
        assert!(
            complaints
                .iter()
                .all(|c| c.contains("belongs to environment")),
            "{complaints:?}"
        );
    }
    let by_host = shop_with("/srv/qa/", "/srv/{HOST}").replace("/srv/shop\"", "/srv/web2\"");
    assert_eq!(complaints(&by_host).len(), 1);
}

#[test]
fn deploy_targets_are_compared_by_machine_not_name() {
    let one_machine = shop_with("192.0.2.2", "192.0.2.1");
    let found = complaints(&one_machine);
    assert_eq!(found.len(), 2, "{found:?}");
    assert!(
        found[0].contains("which is the machine of host web1"),
        "{found:?}"
    );
    let other_port = shop_with("\"192.0.2.2\"", "\"192.0.2.1\"\nport = 2222");
    assert!(complaints(&other_port).is_empty());
    let named = one_machine
        .replace("/srv/qa/", "/srv/{HOST}/qa")
        .replace("/srv/shop\"", "/srv/{HOST}/shop\"");
    assert!(complaints(&named).is_empty());
}

#[test]
fn jump_host_cycle_is_refused() {
    let circle = "[hosts.a]\njump = \"b\"\n[hosts.b]\njump = \"a\"\n[hosts.c]\njump = \"a\"\n";
    assert_eq!(
        complaints(circle),
        [
            "c.toml:2:8: host a is reached through itself: break the circle",
            "c.toml:4:8: host b is reached through itself: break the circle",
        ]
    );
    assert_eq!(
        complaints("[hosts.gate1]\n[hosts.a]\njump = \"gate\"\n"),
        ["c.toml:3:8: no host is named `gate`: did you mean `gate1`?"]
    );
    assert!(complaints("[hosts.a]\njump = \"b\"\n[hosts.b]\njump = \"c\"\n[hosts.c]\n").is_empty());
}

/// A part of [`SHOP`], its replacement, and a part of the expected error.
const WRONG: &[(&str, &str, &str)] = &[
    (
        "web = [\"web1\", \"web2\"]",
        "web = [\"web1\", \"web2\"]\nempty = []",
        "group empty is empty",
    ),
    ("\"web2\"]", "\"web1\"]", "is listed twice"),
    (
        "group = \"web\"",
        "group = \"wbe\"",
        "no group is named `wbe`: did you mean `web`?",
    ),
    (
        "[hosts.web1]",
        "[hosts.agent]\n[hosts.web1]",
        "the name of the agent's own machine",
    ),
    (
        "[hosts.web1]",
        "[hosts.\"-x\"]\n[hosts.web1]",
        "is no name for a host",
    ),
    ("\"192.0.2.1\"", "\"-oProxyCommand=x\"", "is no address"),
    ("\"192.0.2.1\"", "\"192.0.2.1:22\"", "as `port` and `user`"),
    ("\"192.0.2.1\"", "\"[::1]22\"", "is no address"),
    (
        "\"192.0.2.1\"",
        "\"[::1]:2222\"\nport = 22",
        "is no address",
    ),
    (
        "name = \"shop\"",
        "name = \"my shop\"",
        "is no name for a project",
    ),
    (
        "repository = \"/srv/git/shop.git\"",
        "repository = \"alice/shop\"",
        "key `git_url` is missing",
    ),
    (
        "name = \"shop\"",
        "name = \"shop\"\ngit_url = \"ext::sh -c x\"",
        "is no URL to fetch from",
    ),
    (
        "name = \"shop\"",
        "name = \"shop\"\ngit_url = \"ext::x\"",
        "is no URL to fetch from",
    ),
    (
        "name = \"shop\"",
        "name = \"shop\"\ngit_url = \"--upload-pack=x\"",
        "is no URL to fetch from",
    ),
    (
        "name = \"shop\"",
        "name = \"shop\"\ngit_url = \"ssh://-oProxyCommand=x/a\"",
        "is no URL to fetch from",
    ),
    (
        "name = \"shop\"",
        "name = \"shop\"\nsource = \"../x\"",
        "is no sub-directory",
    ),
    (
        "name = \"shop\"",
        "name = \"shop\"\nsource = \"/x\"",
        "is no sub-directory",
    ),
    (
        "[projects.environments.qa]",
        "[projects.environments.qa]\nlayout = \"in-place\"",
        "this version does not support layout \"in-place\"",
    ),
    (
        "[projects.environments.qa]",
        "[projects.environments.qa]\nkeep_releases = 1",
        "at least 2",
    ),
    (
        "[projects.environments.qa]",
        "[projects.environments.qa]\nexclude = [\"\"]",
        "an excluded path is empty",
    ),
    (
        "[projects.environments.qa]",
        "[projects.environments.qa]\nshared = [\"../log\"]",
        "is no shared path",
    ),
    (
        "[projects.environments.qa]",
        "[projects.environments.qa]\nshared = [\"log\", \"log/web\"]",
        "overlap",
    ),
    (
        "[projects.environments.qa]",
        "[projects.environments.qa]\nowner = \"a b\"",
        "is no owner",
    ),
    (
        "[projects.environments.qa]",
        "[projects.environments.qa]\napprovals = []",
        "`approvals` is empty",
    ),
    (
        "[projects.environments.qa]",
        "[projects.environments.qa]\napprovals = [\"1 of\"]",
        "is no approval",
    ),
    (
        "[projects.environments.qa]",
        "[projects.environments.qa]\napprovals = [\"1 of @PM\"]",
        "no group can be called `PM`: write `pm`",
    ),
    (
        "[projects.environments.qa]",
        "[projects.environments.qa]\napprovals = [\"1 of Bob\"]",
        "no account can be called `Bob`: write `bob`",
    ),
    (
        "[projects.environments.qa]",
        "[users.Alice]\n[projects.environments.qa]",
        "no account can be called `Alice`: write `alice`",
    ),
    (
        "pattern = \"qa-*\"",
        "pattern = \"a)(b\"",
        "bad regular expression",
    ),
    (
        "schedule = \"ready\"",
        "schedule = \"redy\"",
        "did you mean `ready`?",
    ),
    (
        "schedule = \"ready\"",
        "expires = \"0s\"",
        "expires at once",
    ),
    (
        "schedule = \"ready\"",
        "expires = \"tomorrow\"",
        "is no duration",
    ),
    (
        "[groups]",
        "[agent]\ntime_zone = \"Mars/Olympus\"\n[groups]",
        "no time zone is named",
    ),
    (
        "[groups]",
        "[agent]\npublic_url = \"ship.example.com\"\n[groups]",
        "is no URL",
    ),
    (
        "[groups]",
        "[agent]\nparallel_hosts = 0\n[groups]",
        "at least 1",
    ),
    (
        "[groups]",
        "[agent]\nlanding_timeout = \"0s\"\n[groups]",
        "a timeout of 0 expires every task",
    ),
    (
        "[groups]",
        "[agent]\nlisten = \"everywhere\"\n[groups]",
        "invalid socket address",
    ),
    (
        "[groups]",
        "[ssh]\nconnect_timeout = \"0s\"\n[groups]",
        "a timeout of 0 fails every connection",
    ),
];

#[test]
fn unusable_values_are_refused() {
    for (old, new, part) in WRONG {
        let text = shop_with(old, new);
        let complaints = complaints(&text);
        assert!(
            complaints.iter().any(|c| c.contains(part)),
            "{new}: {complaints:?}"
        );
    }
}

#[test]
fn overlong_socket_path_is_refused_before_bind() {
    let text = format!("[agent]\ndata_dir = \"/{}\"\n", "d".repeat(100));
    let complaints = complaints(&text);
    assert!(complaints[0].contains("107 bytes"), "{complaints:?}");
}

#[test]
fn project_names_and_repositories_are_unique() {
    let again = SHOP
        .split_once("[[projects]]")
        .unwrap()
        .1
        .replace("/srv/qa", "/opt/qa");
    let again = again.replace("/srv/shop\"", "/opt/shop\"");
    let twice = complaints(&format!("{SHOP}[[projects]]{again}"));
    assert!(
        twice
            .iter()
            .any(|c| c.contains("two projects are named `shop`")),
        "{twice:?}"
    );
    assert!(
        twice
            .iter()
            .any(|c| c.contains("releases this repository already")),
        "{twice:?}"
    );
    let docs = again.replace("name = \"shop\"", "name = \"docs\"\nsource = \"docs\"");
    assert!(complaints(&format!("{SHOP}[[projects]]{docs}")).is_empty());
}

#[test]
fn usual_repository_address_forms_are_accepted() {
    for url in [
        "https://git.example.com/alice/shop.git",
        "ssh://git@git.example.com:2222/alice/shop.git",
        "git@git.example.com:alice/shop.git",
        "git.example.com:shop.git",
        "file:///srv/git/shop.git",
        "/srv/git/shop.git",
        "./shop.git",
    ] {
        let text = shop_with(
            "name = \"shop\"",
            &format!("name = \"shop\"\ngit_url = \"{url}\""),
        );
        assert!(
            complaints(&text).is_empty(),
            "{url}: {:?}",
            complaints(&text)
        );
    }
}

#[test]
fn grant_must_name_existing_targets() {
    let grants = |lines: &str| {
        let text = format!("{SHOP}\n[[grants]]\n{lines}");
        match super::parse("c.toml", &text, Path::new("/")) {
            Ok(_) => Vec::new(),
            Err(problems) => problems.0.iter().map(|p| p.message.clone()).collect(),
        }
    };
    assert!(grants("to = [\"alice\", \"@pm\"]\nrole = \"approver\"\n").is_empty());
    let all =
        "to = [\"nobody-yet\"]\nrole = \"viewer\"\nproject = \"shop\"\nenvironment = \"qa\"\n";
    assert!(grants(all).is_empty(), "{:?}", grants(all));
    for (lines, complaint) in [
        ("to = []\nrole = \"viewer\"\n", "a grant without users"),
        (
            "to = [\"@\"]\nrole = \"viewer\"\n",
            "neither an account nor a group",
        ),
        (
            "to = [\"bob\"]\nrole = \"aprover\"\n",
            "did you mean `approver`?",
        ),
        ("to = [\"bob\"]\nrole = \"none\"\n", "grants nothing"),
        (
            "to = [\"bob\"]\nrole = \"viewer\"\nproject = \"shopp\"\n",
            "no project is named `shopp`: did you mean `shop`?",
        ),
        (
            "to = [\"bob\"]\nrole = \"viewer\"\nproject = \"shop\"\nenvironment = \"qaa\"\n",
            "no environment of this project is named `qaa`: did you mean `qa`?",
        ),
        (
            "to = [\"bob\"]\nrole = \"viewer\"\nenvironment = \"moon\"\n",
            "no environment of any project is named `moon`",
        ),
        (
            "to = [\"bob\"]\nrole = \"viewer\"\nprojekt = \"shop\"\n",
            "unknown key `projekt`: did you mean `project`?",
        ),
    ] {
        let found: Vec<String> = grants(lines);
        let as_told = found.len() == 1 && found[0].contains(complaint);
        assert!(as_told, "{lines}: {found:?}");
    }
}

#[test]
fn bracketed_address_is_accepted_with_its_port() {
    for (text, address, port) in [
        ("\"::1\"", "::1", 22),
        ("\"2001:DB8:0::7\"", "2001:db8::7", 22),
        ("\"[::1]\"", "::1", 22),
        ("\"[::1]:2222\"", "::1", 2222),
        ("\"[2001:DB8::7]\"\nport = 2200", "2001:db8::7", 2200),
        ("\"[::1]:2222\"\nport = 2222", "::1", 2222),
    ] {
        let config = read(&SHOP.replace("\"192.0.2.1\"", text));
        let endpoint = config.endpoint("web1").unwrap();
        assert_eq!((endpoint.address.as_str(), endpoint.port), (address, port));
    }
}
