//! What a pusher sees, and which records wait for the agent.

use std::process::Stdio;

use tagship::base::user::user_name;
use tagship::domain::rule::{OnSpoolError, ProjectRules, Pushers, Schedule};
use tagship_tests::git::{Pushed, output_of};
use tagship_tests::program::script;

use crate::hook::shop::{Shop, rule, rules};

const ZERO: &str = "0000000000000000000000000000000000000000";

#[test]
fn a_branch_is_silent_and_starts_nothing() {
    let shop = Shop::new();
    shop.tree().commit_files("second", &[("a", "b")]);
    let pushed = shop
        .tree()
        .push(["origin", "HEAD:main", "HEAD:refs/heads/release-1.0"]);
    assert!(pushed.success, "{}", pushed.text);
    assert_eq!(pushed.remote_lines(), [""; 0]);
    assert_eq!(shop.records(), []);
}

#[test]
fn branch_passes_without_a_spool() {
    let shop = Shop::new();
    std::fs::remove_dir_all(shop.spool()).unwrap();
    shop.tree().commit_files("second", &[("a", "b")]);
    let pushed = shop.tree().push(["origin", "HEAD:main"]);
    assert!(pushed.success, "{}", pushed.text);
    assert_eq!(pushed.remote_lines(), [""; 0]);
}

#[test]
fn a_tag_that_no_rule_matches_gets_one_line_and_no_record() {
    let shop = Shop::new();
    shop.tree().tag("v9", "HEAD");
    let pushed = shop.tree().push_tag("v9");
    assert!(pushed.success, "{}", pushed.text);
    assert_eq!(
        pushed.remote_lines(),
        ["tagship: v9: no rule matches; nothing will be released (shop has qa-, release-, watch-)"]
    );
    assert_eq!(shop.records(), []);
}

#[test]
fn unmatched_tag_message_lists_only_a_few_patterns() {
    let shop = Shop::new();
    let mut published = rules("shop", OnSpoolError::Reject);
    let named = |pattern: &str| rule(pattern, "qa", Schedule::Ready);
    published.projects = vec![
        ProjectRules {
            name: "shop".to_owned(),
            rules: (1..=7).map(|n| named(&format!("qa{n}-"))).collect(),
        },
        ProjectRules {
            name: "cart".to_owned(),
            rules: vec![named(&format!("c{}", "x".repeat(80))), named("r\u{202e}-")],
        },
    ];
    for name in ["till", "desk", "door"] {
        published.projects.push(ProjectRules {
            name: name.to_owned(),
            rules: Vec::new(),
        });
    }
    shop.publish(published);
    shop.tree().tag("v9", "HEAD");
    let pushed = shop.tree().push_tag("v9");
    let line = format!(
        "tagship: v9: no rule matches; nothing will be released \
         (shop has qa1-, qa2-, qa3-, qa4-, qa5- and 2 more; cart has c{}…, r\\u{{202e}}-; \
         till has no rules; and 2 projects more)",
        "x".repeat(59)
    );
    assert_eq!(pushed.remote_lines(), [line]);
}

#[test]
fn a_repository_without_rules_is_left_alone() {
    let shop = Shop::new();
    shop.publish(rules("another", OnSpoolError::Reject));
    shop.tree().tag("qa-1", "HEAD");
    let pushed = shop.tree().push_tag("qa-1");
    assert!(pushed.success, "{}", pushed.text);
    assert_eq!(pushed.remote_lines(), [""; 0]);
    assert_eq!(shop.records(), []);
}

#[test]
fn a_tag_that_a_rule_matches_waits_for_the_agent() {
    let shop = Shop::new();
    shop.tree().tag("release-1.0", "HEAD");
    let pushed = shop.tree().push_tag("release-1.0");
    assert!(pushed.success, "{}", pushed.text);
    assert_eq!(
        pushed.remote_lines(),
        [
            "tagship: release-1.0 → shop production (rule 2); waits for approval by 1 of @pm, if no tag of this push is newer; http://127.0.0.1:8080/tasks"
        ]
    );
    let records = shop.records();
    assert_eq!(records.len(), 1);
    let record = &records[0];
    assert_eq!(record.repository, "shop");
    assert_eq!(record.reference, "refs/tags/release-1.0");
    assert_eq!(record.old, ZERO);
    assert_eq!(record.new, shop.tree().resolve("release-1.0"));
    assert!(record.pusher.starts_with("uid:"), "{record:?}");
}

#[test]
fn pusher_sees_the_required_approvals() {
    let shop = Shop::new();
    let own = rustix::process::geteuid().as_raw();
    let pushers = |git_user, system: &[(u32, &str)]| Pushers {
        git_user,
        system: system
            .iter()
            .map(|(uid, name)| (uid.to_string(), (*name).to_owned()))
            .collect(),
        ..Pushers::default()
    };
    let shown = user_name(own).unwrap_or_else(|| format!("number {own}"));
    let unknown = format!(
        "by 1 of @pm, and by 1 more approver since no account is known for system user {shown}, if no"
    );
    for (tag, pushers, self_approval, words) in [
        (
            "release-1",
            pushers(Some(own), &[(own, "alice")]),
            false,
            "by 1 of @pm, other than alice, if no",
        ),
        // A name that the git user did not report.
        (
            "release-2",
            pushers(None, &[(own, "alice")]),
            false,
            "by 1 of @pm, other than alice, if no",
        ),
        (
            "release-3",
            pushers(Some(own), &[(own, "alice")]),
            true,
            "by 1 of @pm, if no",
        ),
        ("release-4", pushers(Some(own), &[]), false, &unknown),
        (
            "release-5",
            pushers(Some(own), &[(own + 1, "alice")]),
            true,
            &unknown,
        ),
    ] {
        let mut file = rules("shop", OnSpoolError::Reject);
        file.pushers = Some(pushers);
        file.projects[0].rules[1].self_approval = self_approval;
        shop.publish(file);
        shop.tree().tag(tag, "HEAD");
        let pushed = shop.tree().push_tag(tag);
        assert!(pushed.remote_lines()[0].contains(words), "{}", pushed.text);
    }
}

#[test]
fn key_that_logged_in_is_recorded_and_its_account_named() {
    let shop = Shop::new();
    let key = "ssh-ed25519 AAAA+/==";
    let login = shop.directory().join("login");
    std::fs::write(&login, format!("publickey {key}\n")).unwrap();
    let mut file = rules("shop", OnSpoolError::Reject);
    file.pushers = Some(Pushers {
        git_user: Some(rustix::process::geteuid().as_raw()),
        keys: [(key.to_owned(), "alice".to_owned())].into(),
        ..Pushers::default()
    });
    shop.publish(file);
    shop.tree().tag("release-1", "HEAD");
    let push = |to: &str| {
        let mut push = shop.tree().push_command(["origin", to]);
        Pushed::from(push.env("SSH_USER_AUTH", &login).output().unwrap())
    };
    let pushed = push("refs/tags/release-1");
    assert!(
        pushed.text.contains("other than alice, "),
        "{}",
        pushed.text
    );
    assert_eq!(shop.records()[0].ssh_key, key);

    // What the pusher's session sets does not replace the key, nor skip the record.
    for (number, repository) in ["project-7", "wiki-7"].into_iter().enumerate() {
        let to = format!("refs/tags/release-1:refs/tags/release-1{number}");
        let mut push = shop.tree().push_command(["origin", to.as_str()]);
        push.env("SSH_USER_AUTH", &login)
            .env("GL_REPOSITORY", repository)
            .env("GL_USERNAME", "bob");
        let pushed = Pushed::from(push.output().unwrap());
        assert!(
            pushed.text.contains("other than alice, "),
            "{}",
            pushed.text
        );
        assert_eq!(shop.records()[1 + number].ssh_key, key);
        assert_ne!(shop.records()[1 + number].pusher, "bob");
    }

    // A path that is not a file delays no push.
    std::fs::remove_file(&login).unwrap();
    output_of(std::process::Command::new("mkfifo").arg(&login));
    let pushed = push("refs/tags/release-1:refs/tags/release-2");
    assert!(pushed.success, "{}", pushed.text);
    assert_eq!(shop.records()[3].ssh_key, "");
}

#[test]
fn each_schedule_message_states_the_next_step() {
    let shop = Shop::new();
    for (tag, words) in [
        (
            "qa-1",
            "tagship: qa-1 → shop qa (rule 1); queued for qa; the newest tag of this push runs; ",
        ),
        (
            "watch-1",
            "tagship: watch-1 → shop production (rule 3); is only observed, nothing is done; ",
        ),
    ] {
        shop.tree().tag(tag, "HEAD");
        let pushed = shop.tree().push_tag(tag);
        assert!(
            pushed.remote_lines()[0].starts_with(words),
            "{}",
            pushed.text
        );
    }
    assert_eq!(shop.records().len(), 2);
}

#[test]
fn annotated_lightweight_and_blob_tags_are_recorded_alike() {
    let shop = Shop::new();
    shop.tree().tag("qa-light", "HEAD");
    shop.tree().annotate("qa-heavy", "HEAD");
    let blob = shop.tree().resolve("HEAD:index.html");
    shop.tree().tag("qa-blob", &blob);
    for tag in ["qa-light", "qa-heavy", "qa-blob"] {
        assert!(shop.tree().push_tag(tag).success);
    }
    // The agent checks what the tag points to; the hook records what git passed to it.
    let new: Vec<_> = shop.records().into_iter().map(|r| r.new).collect();
    assert_eq!(
        new,
        [
            shop.tree().resolve("HEAD"),
            shop.tree().resolve("refs/tags/qa-heavy"),
            blob
        ]
    );
    assert_ne!(new[0], new[1], "an annotated tag is an object of its own");
}

#[test]
fn sha256_repository_records_64_digits() {
    let shop = Shop::sha256();
    shop.tree().tag("qa-1", "HEAD");
    assert!(shop.tree().push_tag("qa-1").success);
    let records = shop.records();
    assert_eq!(records[0].old, "0".repeat(64));
    assert_eq!(records[0].new, shop.tree().resolve("HEAD"));
}

#[test]
fn moved_tag_is_recorded_with_its_old_object() {
    let shop = Shop::new();
    let first = shop.tree().resolve("HEAD");
    shop.tree().tag("release-1", "HEAD");
    assert!(shop.tree().push_tag("release-1").success);
    let second = shop.tree().commit_files("second", &[("a", "b")]);
    shop.tree().tag("release-1", "HEAD");
    let pushed = shop.tree().push_tag("release-1");
    assert!(pushed.success, "{}", pushed.text);
    let moved = format!(
        "tagship: release-1 moved from {} to {}",
        &first[..12],
        &second[..12]
    );
    let lines = pushed.remote_lines();
    assert_eq!(lines[0], moved, "{}", pushed.text);
    assert!(lines[1].starts_with("tagship: release-1 → shop production (rule 2); "));
    let records = shop.records();
    assert_eq!(records.len(), 2);
    assert_eq!((&records[1].old, &records[1].new), (&first, &second));
    assert_ne!(records[0].id, records[1].id);
}

#[test]
fn deleted_tag_is_recorded_as_a_hint() {
    let shop = Shop::new();
    let commit = shop.tree().resolve("HEAD");
    shop.tree().tag("release-1", "HEAD");
    assert!(shop.tree().push_tag("release-1").success);
    let pushed = shop.tree().push_deletion("release-1");
    assert!(pushed.success, "{}", pushed.text);
    assert_eq!(
        pushed.remote_lines(),
        ["tagship: release-1 deleted: what waits for it in shop production (rule 2) is withdrawn"]
    );
    let records = shop.records();
    assert_eq!((&records[1].old, records[1].new.as_str()), (&commit, ZERO));
}

#[test]
fn a_deleted_tag_that_no_rule_matches_is_silent() {
    let shop = Shop::new();
    shop.tree().tag("v9", "HEAD");
    shop.tree().push_tag("v9");
    let pushed = shop.tree().push_deletion("v9");
    assert!(pushed.success, "{}", pushed.text);
    assert_eq!(pushed.remote_lines(), [""; 0]);
    assert_eq!(shop.records(), []);
}

#[test]
fn tag_and_branch_of_the_same_name_make_one_record() {
    let shop = Shop::new();
    shop.tree().tag("release-1", "HEAD");
    let pushed = shop.tree().push([
        "origin",
        "HEAD:refs/heads/release-1",
        "refs/tags/release-1:refs/tags/release-1",
    ]);
    assert!(pushed.success, "{}", pushed.text);
    let records = shop.records();
    assert_eq!(records.len(), 1);
    assert_eq!(records[0].reference, "refs/tags/release-1");
}

#[test]
fn an_atomic_push_whose_other_ref_is_refused_leaves_only_a_hint() {
    let shop = Shop::new();
    // The old hook refuses one branch; ours runs only if the old one accepts.
    shop.installation_after_old_hook("#!/bin/sh\ncase $1 in *locked) exit 1;; esac\n");
    shop.tree().tag("release-1", "HEAD");
    let pushed = shop.tree().push([
        "--atomic",
        "origin",
        "refs/tags/release-1:refs/tags/release-1",
        "HEAD:refs/heads/zz-locked",
    ]);
    assert!(!pushed.success, "{}", pushed.text);
    assert_eq!(shop.repo().resolve("refs/tags/release-1"), None);
    // Exit code 0 proves nothing: the agent asks the git server whether the tag landed.
    let records = shop.records();
    assert!(records.len() <= 1, "{records:?}");
    assert!(records.iter().all(|r| r.reference == "refs/tags/release-1"));
}

#[test]
fn thousand_tags_in_one_push_make_a_thousand_records() {
    let shop = Shop::new();
    for number in 0..1000 {
        shop.tree().tag(format!("qa-{number:04}"), "HEAD");
    }
    let pushed = shop.tree().push(["origin", "refs/tags/*:refs/tags/*"]);
    assert!(pushed.success, "{}", pushed.text);
    let mut names: Vec<_> = shop.records().into_iter().map(|r| r.reference).collect();
    names.sort();
    let wanted: Vec<_> = (0..1000).map(|n| format!("refs/tags/qa-{n:04}")).collect();
    assert_eq!(names, wanted);
    assert_eq!(
        std::fs::read_dir(shop.spool().join("tmp")).unwrap().count(),
        0
    );
}

#[test]
fn broken_spool_refuses_only_the_tag() {
    let shop = Shop::new();
    shop.break_spool();
    shop.tree().tag("release-1", "HEAD");
    shop.tree().tag("v9", "HEAD");
    let pushed = shop.tree().push_tag("release-1");
    assert!(!pushed.success);
    let lines = pushed.remote_lines();
    assert!(
        lines[0].starts_with("tagship: release-1 could not be handed over: cannot write "),
        "{lines:?}"
    );
    assert_eq!(
        lines[1],
        "tagship: release-1 is refused, so that it is not lost; push it again when this is fixed"
    );
    assert!(
        !pushed.text.contains("→"),
        "no promise is made: {}",
        pushed.text
    );
    assert!(!pushed.text.contains("GL-HOOK-ERR"), "{}", pushed.text);
    assert_eq!(shop.repo().resolve("refs/tags/release-1"), None);
    assert!(
        shop.tree().push_tag("v9").success,
        "no rule, no record, no harm"
    );
    assert!(shop.tree().push(["origin", "HEAD:more"]).success);
}

#[test]
fn broken_spool_passes_the_tag_if_the_policy_allows() {
    let shop = Shop::new();
    shop.publish(rules("shop", OnSpoolError::Accept));
    shop.break_spool();
    shop.tree().tag("release-1", "HEAD");
    let pushed = shop.tree().push_tag("release-1");
    assert!(pushed.success, "{}", pushed.text);
    let lines = pushed.remote_lines();
    assert!(lines[0].contains("could not be handed over"), "{lines:?}");
    assert_eq!(
        lines[1],
        "tagship: release-1 is accepted, and nothing will be released unless a user runs: tagship submit"
    );
    assert!(shop.repo().resolve("refs/tags/release-1").is_some());
}

#[test]
fn missing_spool_is_not_a_repository_without_rules() {
    let shop = Shop::new();
    std::fs::remove_dir_all(shop.spool()).unwrap();
    shop.tree().tag("release-1", "HEAD");
    let pushed = shop.tree().push_tag("release-1");
    assert!(!pushed.success, "{}", pushed.text);
    assert!(pushed.text.contains("cannot reach"), "{}", pushed.text);
}

#[test]
fn hook_settings_override_the_agents_policy() {
    let shop = Shop::new();
    let mut install = shop.installation();
    install.on_spool_error = Some(OnSpoolError::Accept);
    install.run().unwrap();
    std::fs::remove_dir_all(shop.spool()).unwrap();
    shop.tree().tag("release-1", "HEAD");
    let pushed = shop.tree().push_tag("release-1");
    assert!(pushed.success, "{}", pushed.text);
    assert!(pushed.text.contains("is accepted"), "{}", pushed.text);
}

#[test]
fn rules_that_cannot_be_understood_refuse_the_tag_by_name() {
    let shop = Shop::new();
    let path = tagship::engine::spool::rules_path(&shop.spool(), "shop").unwrap();
    for (text, complaint) in [
        ("format = 2\n", "format 2, which is newer"),
        ("format = 1\nrepository = 7\n", "shop.toml"),
        (
            "format = 1\nrepository = \"shop\"\n[[projects]]\nname = \"shop\"\n[[projects.rules]]\npattern = \"qa-(\"\nenvironment = \"qa\"\nschedule = \"ready\"\n",
            "project shop, rule 1: pattern \"qa-(\" cannot be used: unclosed group",
        ),
    ] {
        std::fs::write(&path, text).unwrap();
        shop.tree().tag("qa-1", "HEAD");
        let pushed = shop.tree().push_tag("qa-1");
        assert!(!pushed.success, "{}", pushed.text);
        assert!(pushed.text.contains(complaint), "{}", pushed.text);
    }
}

#[test]
fn disconnecting_pusher_loses_no_record() {
    let shop = Shop::new();
    shop.tree().tag("release-1", "HEAD");
    let mut command = shop
        .tree()
        .push_command(["origin", "refs/tags/release-1:refs/tags/release-1"]);
    let mut child = command
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    drop(child.stderr.take());
    child.wait().unwrap();
    assert_eq!(shop.records().len(), 1);
    assert!(shop.repo().resolve("refs/tags/release-1").is_some());
}

#[test]
fn each_project_of_a_repository_applies_its_rules() {
    let shop = Shop::new();
    let mut file = rules("shop", OnSpoolError::Reject);
    file.projects.push(ProjectRules {
        name: "admin".to_owned(),
        rules: vec![rule("release-2", "production", Schedule::New)],
    });
    shop.publish(file);
    shop.tree().tag("release-2", "HEAD");
    let pushed = shop.tree().push_tag("release-2");
    let lines = pushed.remote_lines();
    assert!(lines[0].contains("→ shop production (rule 2)"), "{lines:?}");
    assert!(
        lines[1].contains("→ admin production (rule 1)"),
        "{lines:?}"
    );
    assert_eq!(shop.records().len(), 1, "one push of one ref, one record");
}

impl Shop {
    fn installation_after_old_hook(&self, text: &str) {
        tagship::setup::install::uninstall(
            &self.repo().path,
            tagship::setup::install::GitServerKind::Bare,
        )
        .unwrap();
        script(&self.repo().path.join("hooks/update"), text);
        self.install();
    }
}
