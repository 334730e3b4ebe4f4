//! Which ref becomes which task, and why not.

#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

use tagship_hook::rule::{
    Decision, FORMAT, Malformed, OnSpoolError, ProjectRules, Pushers, Rule, RuleSet, RulesFile,
    RulesFileError, Schedule, Verdict, is_object_id, is_reference, is_zero,
};

const ZERO: &str = "0000000000000000000000000000000000000000";
const OLD: &str = "1111111111111111111111111111111111111111";
const NEW: &str = "abcdef0123456789abcdef0123456789abcdef01";

fn rule(pattern: &str, schedule: Schedule) -> Rule {
    Rule {
        supersede: true,
        pattern: pattern.to_owned(),
        environment: "production".to_owned(),
        template: String::new(),
        schedule,
        approval: String::new(),
        self_approval: false,
    }
}

fn set(patterns: &[&str]) -> RuleSet {
    let rules = patterns.iter().map(|p| rule(p, Schedule::New)).collect();
    RuleSet::checked("shop", rules).unwrap()
}

/// The number of the rule that matches, counted from 1.
fn winner(patterns: &[&str], tag: &str) -> Option<usize> {
    set(patterns)
        .first_match(tag)
        .unwrap()
        .map(|(index, _)| index + 1)
}

#[test]
fn the_first_rule_that_matches_wins() {
    let patterns = ["release-2", "release-", "rel"];
    assert_eq!(winner(&patterns, "release-2.1"), Some(1));
    assert_eq!(winner(&patterns, "release-1"), Some(2));
    assert_eq!(winner(&patterns, "relax"), Some(3));
    assert_eq!(winner(&patterns, "v1"), None);
}

#[test]
fn a_pattern_is_matched_from_the_start_and_open_at_the_end() {
    assert_eq!(winner(&["qa-*"], "qa-7"), Some(1));
    assert_eq!(winner(&["qa-*"], "qa"), Some(1), "the dash may be missing");
    assert_eq!(winner(&["qa-"], "my-qa-7"), None);
    assert_eq!(winner(&["qa-\\d+$"], "qa-7"), Some(1));
    assert_eq!(winner(&["qa-\\d+$"], "qa-7-rc"), None);
    assert_eq!(
        winner(&["qa|release"], "my-release"),
        None,
        "each branch from the start"
    );
    assert_eq!(
        winner(&["(?m)^b"], "a\nb"),
        None,
        "the start of the name, not of a line"
    );
    assert_eq!(winner(&[""], "anything"), Some(1));
}

#[test]
fn only_tags_are_matched() {
    let rules = set(&[".*"]);
    for reference in [
        "refs/heads/release-1",
        "refs/notes/x",
        "HEAD",
        "refs/tagsx/y",
        "",
    ] {
        assert_eq!(
            rules.decide(reference.as_bytes(), ZERO, NEW).unwrap(),
            Decision::NotATag
        );
    }
}

#[test]
fn new_moved_and_deleted_tags_are_distinguished() {
    let rules = set(&["release-"]);
    let decide = |old, new| rules.decide(b"refs/tags/release-1", old, new).unwrap();
    for (old, new) in [(ZERO, NEW), (OLD, NEW)] {
        assert!(matches!(
            decide(old, new),
            Decision::Matched {
                tag: "release-1",
                index: 0,
                ..
            }
        ));
    }
    // git also runs the hook for a tag that does not exist.
    for (old, new) in [(OLD, ZERO), (ZERO, ZERO)] {
        assert!(matches!(
            decide(old, new),
            Decision::Deleted { index: 0, .. }
        ));
    }
    assert_eq!(
        rules.decide(b"refs/tags/v1", OLD, ZERO).unwrap(),
        Decision::NoRule { tag: "v1" }
    );
}

#[test]
fn object_ids_have_40_or_64_digits() {
    for length in [40, 64] {
        assert!(is_object_id(&"a".repeat(length)));
        assert!(is_zero(&"0".repeat(length)));
    }
    for length in [0, 39, 41, 63, 65] {
        assert!(!is_object_id(&"a".repeat(length)));
        assert!(!is_zero(&"0".repeat(length)));
    }
    assert!(!is_object_id(&"A".repeat(40)));
    assert!(!is_object_id(&"g".repeat(40)));
    assert!(!is_zero(NEW));
}

#[test]
fn impossible_hook_arguments_are_malformed() {
    let rules = set(&[".*"]);
    let decide = |reference: &'static [u8], old, new| rules.decide(reference, old, new).unwrap();
    assert_eq!(
        decide(b"refs/tags/a", ZERO, "xyz"),
        Decision::Malformed(Malformed::ObjectId("xyz".to_owned()))
    );
    let long = "a".repeat(64);
    assert_eq!(
        rules.decide(b"refs/tags/a", ZERO, &long).unwrap(),
        Decision::Malformed(Malformed::DifferentLengths)
    );
    assert_eq!(
        decide(b"refs/tags/", ZERO, NEW),
        Decision::Malformed(Malformed::EmptyTag)
    );
    assert_eq!(decide(b"refs/tags/\xff", ZERO, NEW), Decision::NotUtf8);
}

#[test]
fn unqueryable_tag_name_is_never_released() {
    let set = set(&["qa-"]);
    let new = "1".repeat(40);
    let long = format!("qa-{}", "x".repeat(1_000));
    for tag in [
        "qa-1\u{85}",
        "qa-1\u{9b}",
        "qa-1\n",
        "qa-1 x",
        "qa-*",
        "qa-a:b",
        "qa-a..b",
        "qa-1^{}",
        "qa-@{1}",
        "qa-1/",
        &long,
    ] {
        let reference = format!("refs/tags/{tag}");
        let decision = set.decide(reference.as_bytes(), &"0".repeat(40), &new);
        assert_eq!(decision.unwrap(), Decision::UnsafeName, "{tag:?}");
    }
    for tag in ["qa-ünï", "qa-$(touch${IFS}p)", "qa-a;b'\"", "qa-a/b"] {
        let reference = format!("refs/tags/{tag}");
        let decision = set.decide(reference.as_bytes(), &"0".repeat(40), &new);
        assert!(
            matches!(decision.unwrap(), Decision::Matched { .. }),
            "{tag}"
        );
    }
}

#[test]
fn a_ref_is_a_path_below_refs_of_at_most_a_thousand_bytes() {
    let of_length = |bytes: usize| format!("refs/tags/{}", "x".repeat(bytes - 10));
    assert!(is_reference("refs/tags/v1") && is_reference("refs/heads/main"));
    assert!(is_reference(&of_length(1_000)));
    assert!(!is_reference(&of_length(1_001)));
    for name in [
        "v1",
        "tags/v1",
        "refs/tags/",
        "refs/tags/v1/",
        "xrefs/tags/v1",
    ] {
        assert!(!is_reference(name), "{name}");
    }
}

#[test]
fn malformed_call_and_rules_errors_are_readable() {
    for (malformed, told) in [
        (
            Malformed::ObjectId("x".repeat(100)),
            format!(
                "\"{}\" is not an object id (40 or 64 lower-case hexadecimal digits)",
                "x".repeat(80)
            ),
        ),
        (
            Malformed::DifferentLengths,
            "old and new object id differ in length".to_owned(),
        ),
        (Malformed::EmptyTag, "the tag has no name".to_owned()),
    ] {
        assert_eq!(malformed.to_string(), told);
    }
    let told = |error: RulesFileError| error.to_string();
    assert_eq!(
        told(RulesFileError::Newer { format: 2 }),
        "format 2 is newer than this program understands (1); install the hook of the agent's version"
    );
    assert_eq!(
        told(RulesFileError::Malformed("no `=` \n".to_owned())),
        "no `=`; restart the agent, which writes it again"
    );
}

#[test]
fn schedule_name_equals_its_config_value() {
    for (schedule, name) in [
        (Schedule::Ready, "ready"),
        (Schedule::New, "new"),
        (Schedule::Observe, "observe"),
    ] {
        assert_eq!(schedule.to_string(), name);
        let text = format!("pattern = \"a\"\nenvironment = \"qa\"\nschedule = \"{name}\"\n");
        assert_eq!(toml::from_str::<Rule>(&text).unwrap().schedule, schedule);
    }
}

#[test]
fn rules_keep_their_order_and_their_projects_name() {
    let sets = file().rule_sets();
    assert_eq!(sets.len(), 1);
    assert_eq!(sets[0].project(), "shop");
    let patterns: Vec<&str> = sets[0].rules().map(|rule| rule.pattern.as_str()).collect();
    let written: Vec<String> = file().projects[0]
        .rules
        .iter()
        .map(|rule| rule.pattern.clone())
        .collect();
    assert_eq!(patterns, written);
    // Alone it is invalid, although it would be valid inside the group that anchors it.
    assert!(RuleSet::checked("shop", vec![rule("a)(b", Schedule::New)]).is_err());
}

#[test]
fn every_rule_verdict_displays_its_reason() {
    for (verdict, told) in [
        (Verdict::Wins, "matches, and decides"),
        (
            Verdict::Shadowed { winner: 4 },
            "would match too, but rule 4 comes first",
        ),
        (
            Verdict::StartsOtherwise {
                prefix: "qa-".to_owned(),
            },
            "does not match: the name does not start with \"qa-\"",
        ),
        (Verdict::DoesNotMatch, "does not match"),
    ] {
        assert_eq!(verdict.to_string(), told);
    }
}

#[test]
fn invalid_pattern_is_reported_with_project_and_number() {
    for (pattern, reason) in [
        ("release-(", "unclosed group"),
        ("release-)(", "unopened group"),
        (
            "release-(?=x)",
            "look-around, including look-ahead and look-behind, is not supported",
        ),
        (r"(a)\1", "backreferences are not supported"),
        ("(a{1000}){1000}", "size limit"),
    ] {
        let rules = vec![rule("qa-", Schedule::Ready), rule(pattern, Schedule::New)];
        let error = RuleSet::checked("shop", rules).unwrap_err();
        assert_eq!((error.number, error.pattern.as_str()), (2, pattern));
        let text = error.to_string();
        assert!(text.starts_with("project shop, rule 2: pattern "), "{text}");
        assert!(text.contains(reason), "{text}");
    }
}

#[test]
fn pattern_with_other_prefix_is_not_compiled() {
    // Unchecked, as in the hook: the broken pattern is an error only when it is needed.
    let rules = RuleSet::new("shop", vec![rule("release-(", Schedule::New)]);
    assert_eq!(rules.first_match("qa-1").unwrap(), None);
    assert_eq!(rules.first_match("release-1").unwrap_err().number, 1);
}

#[test]
fn unicode_names_and_patterns_match() {
    assert_eq!(
        winner(&[r"v\d+$"], "v٣"),
        Some(1),
        "a digit is a digit in any script"
    );
    assert_eq!(winner(&[r"\w+$"], "größe"), Some(1));
    assert_eq!(winner(&["größe-"], "größe-1"), Some(1));
    assert_eq!(winner(&["(?i)größe-"], "GRÖSSE-1"), None);
    assert_eq!(
        winner(&["(?i)\u{212a}-"], "k-1"),
        Some(1),
        "the Kelvin sign folds to k"
    );
    assert_eq!(winner(&[r"(?i)\x{212a}-"], "k-1"), Some(1));
    assert_eq!(winner(&[r"\p{Lu}-"], "Q-1"), Some(1));
    assert_eq!(winner(&["."], "🚀"), Some(1));
}

#[test]
fn explanation_lists_the_verdict_of_every_rule() {
    let rules = set(&["qa-", "release-[a-z]+$", "1", "release-", ".*"]);
    let verdicts: Vec<_> = rules
        .explain("refs/tags/release-1")
        .unwrap()
        .into_iter()
        .map(|explained| (explained.number, explained.verdict))
        .collect();
    assert_eq!(
        verdicts,
        [
            (
                1,
                Verdict::StartsOtherwise {
                    prefix: "qa-".to_owned()
                }
            ),
            (2, Verdict::DoesNotMatch),
            (3, Verdict::MatchesLater { at: 9 }),
            (4, Verdict::Wins),
            (5, Verdict::Shadowed { winner: 4 }),
        ]
    );
    assert_eq!(
        Verdict::MatchesLater { at: 9 }.to_string(),
        "does not match: it fits only from character 9 on, and a pattern counts from the start (write .* before it)"
    );
}

fn file() -> RulesFile {
    RulesFile {
        format: FORMAT,
        repository: "alice/shop".to_owned(),
        on_spool_error: OnSpoolError::Accept,
        page: "http://127.0.0.1:8080/tasks".to_owned(),
        pushers: Some(Pushers {
            git_user: Some(990),
            keys: [("ssh-ed25519 AAAA+/==".to_owned(), "alice".to_owned())].into(),
            ..Pushers::default()
        }),
        projects: vec![ProjectRules {
            name: "shop".to_owned(),
            rules: vec![
                rule(r"qa-\d+'''\u{1F680}", Schedule::Ready),
                rule("x\"\"\"\ty", Schedule::Observe),
            ],
        }],
    }
}

#[test]
fn rules_file_roundtrips() {
    let text = file().to_text().unwrap();
    assert_eq!(RulesFile::parse(&text).unwrap(), file());
}

#[test]
fn rules_file_of_adjacent_version_is_read() {
    let text = file()
        .to_text()
        .unwrap()
        .replace("repository =", "colour = \"blue\"\nrepository =")
        .replace("pattern =", "weight = 3\npattern =");
    assert_eq!(RulesFile::parse(&text).unwrap(), file());
    let least = "format = 1\nrepository = \"shop\"\n";
    let least = RulesFile::parse(least).unwrap();
    assert_eq!(least.on_spool_error, OnSpoolError::Reject);
    assert_eq!(least.projects, []);
}

#[test]
fn rules_file_of_later_format_is_refused() {
    for text in [
        "format = 2\nrepository = \"shop\"\n",
        "format = 9\nrules = 3\n",
    ] {
        let error = RulesFile::parse(text).unwrap_err();
        assert!(matches!(error, RulesFileError::Newer { .. }), "{error}");
    }
    for text in [
        "",
        "format = 0\nrepository = \"shop\"\n",
        "format = 1\n",
        "format",
    ] {
        let error = RulesFile::parse(text).unwrap_err();
        assert!(matches!(error, RulesFileError::Malformed(_)), "{error}");
    }
}
