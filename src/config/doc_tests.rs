//! `docs/config.md` says what the code does.

#![allow(clippy::unwrap_used)]

use std::path::Path;

use super::keys::{
    AgentConfig, Config, EnvironmentConfig, ExecutionUser, FreezeWindow, GitConfig, Host, LocalRun,
    LogConfig, Project, RuleConfig, Ssh, StoreConfig, UserConfig,
};
use super::{ConfigOrigin, Templates, parse};
use crate::domain::document::doc_tests::{IsValue, assert_keys, examples, fields_of, rows};
use crate::domain::permission::Grant;
use crate::domain::plan::PushLimits;

const PAGE: &str = include_str!("../../docs/config.md");

#[test]
fn the_page_describes_every_key_and_no_other() {
    assert_keys::<AgentConfig>(PAGE, "[agent]");
    assert_keys::<StoreConfig>(PAGE, "[store]");
    assert_keys::<GitConfig>(PAGE, "[git]");
    assert_keys::<Ssh>(PAGE, "[ssh]");
    assert_keys::<LogConfig>(PAGE, "[log]");
    assert_keys::<Host>(PAGE, "[hosts.NAME]");
    assert_keys::<ExecutionUser>(PAGE, "[execution_users.NAME]");
    assert_keys::<LocalRun>(PAGE, "[local_run]");
    assert_keys::<Project>(PAGE, "[[projects]]");
    assert_keys::<PushLimits>(PAGE, "[projects.limits]");
    assert_keys::<EnvironmentConfig>(PAGE, "[projects.environments.NAME]");
    assert_keys::<RuleConfig>(PAGE, "[[projects.rules]]");
    assert_keys::<FreezeWindow>(PAGE, "[[freezes]]");
    assert_keys::<UserConfig>(PAGE, "[users.NAME]");
    assert_keys::<Grant>(PAGE, "[[grants]]");
    for table in fields_of::<Config>() {
        assert!(PAGE.contains(&format!("[{table}")), "{table}");
    }
}

/// A file in which `@HEADING@` marks where keys of that table can be added.
const TEMPLATE: &str = "[agent]\n@[agent]@\n[store]\n@[store]@\n[ssh]\n@[ssh]@\n[log]\n@[log]@\n\
    [hosts.a]\n@[hosts.NAME]@\n[groups]\nweb = [\"a\"]\n\
    [[projects]]\nname = \"shop\"\nrepository = \"/srv/git/shop.git\"\n@[[projects]]@\n\
    [projects.limits]\n@[projects.limits]@\n\
    [projects.environments.qa]\ngroup = \"web\"\ndeploy_to = \"/srv/shop\"\n@[projects.environments.NAME]@\n\
    [[projects.rules]]\npattern = \"qa-*\"\nenvironment = \"qa\"\n@[[projects.rules]]@\n";

/// The configuration when `lines` are in the table of this heading.
fn read_with(heading: &str, lines: &str) -> String {
    let text: String = TEMPLATE
        .lines()
        .map(|line| match line.strip_prefix('@') {
            Some(name) if name.strip_suffix('@') == Some(heading) => format!("{lines}\n"),
            Some(_) => "\n".to_owned(),
            None => format!("{line}\n"),
        })
        .collect();
    let mut config = parse("c.toml", &text, Path::new("/")).unwrap();
    config.origin = ConfigOrigin::default();
    format!("{config:?}")
}

#[test]
fn the_defaults_on_the_page_are_those_of_the_code() {
    let mut compared = 0;
    for heading in [
        "[agent]",
        "[store]",
        "[ssh]",
        "[log]",
        "[[projects]]",
        "[projects.limits]",
        "[projects.environments.NAME]",
        "[[projects.rules]]",
    ] {
        for row in rows(PAGE, heading) {
            if row.is_value == IsValue::Yes {
                let line = format!("{} = {}", row.key, row.default);
                assert_eq!(
                    read_with(heading, &line),
                    read_with(heading, ""),
                    "{heading} {line}"
                );
                compared += 1;
            }
        }
    }
    assert!(
        compared > 20,
        "only {compared} defaults were found on the page"
    );
}

#[test]
fn wrong_default_on_the_page_is_detected() {
    assert_ne!(read_with("[ssh]", "port = 23"), read_with("[ssh]", ""));
}

#[test]
fn both_readmes_show_the_same_configuration() {
    let shown = |readme| {
        let mut config = parse("c.toml", examples(readme)[0], Path::new("/")).unwrap();
        config.origin = ConfigOrigin::default();
        format!("{config:?}")
    };
    assert_eq!(
        shown(include_str!("../../README.md")),
        shown(include_str!("../../README.zh-CN.md"))
    );
}

#[test]
fn the_examples_on_the_page_load() {
    let mut all = examples(PAGE);
    assert!(!all.is_empty());
    for readme in [
        include_str!("../../README.md"),
        include_str!("../../README.zh-CN.md"),
    ] {
        let whole = examples(readme);
        assert_eq!(whole.len(), 1, "a newcomer begins with it");
        all.extend(whole);
    }
    let library = Templates::load(Path::new("/nowhere/templates"));
    for example in all {
        let config = match parse("example.toml", example, Path::new("/etc/tagship")) {
            Ok(config) => config,
            Err(problems) => panic!("{problems}"),
        };
        assert_eq!(library.mismatches(&config), []);
    }
}
