#![allow(clippy::unwrap_used)]

use std::path::Path;
use std::sync::Arc;

use super::tests::{read, shop_with};
use super::{TemplateCache, Templates};

const RUN: &str = "[[stage]]\nname = \"s\"\nsteps = [{ run = \"true\" }]\n";

fn library(files: &[(&str, &str)]) -> Templates {
    let dir = tempfile::tempdir().unwrap();
    for (name, text) in files {
        std::fs::write(dir.path().join(name), text).unwrap();
    }
    Templates::load(dir.path())
}

#[test]
fn missing_template_directory_leaves_built_in_templates() {
    let library = Templates::load(Path::new("/nowhere/templates"));
    assert!(library.problems().is_empty());
    let release = library.find("git-release").unwrap();
    assert_eq!(library.find("1"), Some(release));
    assert!(
        library
            .text(&release.digest)
            .unwrap()
            .contains("git-release")
    );
    assert_eq!(library.find("other"), None);
}

#[test]
fn file_number_overrides_a_built_in_template_number() {
    let library = library(&[("mine.toml", &format!("name = \"mine\"\nid = 1\n{RUN}"))]);
    assert!(library.problems().is_empty());
    assert_eq!(library.find("1").unwrap().name, "mine");
    let numbered = library.templates().filter(|t| t.id == Some(1));
    assert_eq!(numbered.count(), 1, "two of one number confuse people");
    assert!(library.find("git-release").is_some());
}

#[test]
fn template_number_may_be_quoted_in_rules_and_grants() {
    let grant = "[[grants]]\nto = [\"alice\"]\nrole = \"approver\"\ntemplate = 7\n";
    let last = "environment = \"production\"\n";
    for number in ["7", "\"7\""] {
        let rule = format!(
            "[[projects.rules]]\npattern = \"v\"\nenvironment = \"qa\"\ntemplate = {number}\n{grant}"
        );
        let config = read(&shop_with(last, &format!("{last}{rule}")));
        assert_eq!(config.projects[0].rules.last().unwrap().template, "7");
        assert_eq!(config.grants[0].template.as_deref(), Some("7"));
    }
}

#[test]
fn template_file_overrides_the_built_in_template() {
    let text = format!("name = \"git-release\"\nid = 7\n{RUN}");
    let library = library(&[("mine.toml", &text), ("notes.txt", "no template")]);
    assert!(library.problems().is_empty());
    assert_eq!(library.find("git-release").unwrap().id, Some(7));
    assert_eq!(library.templates().count(), 1);
}

#[test]
fn invalid_file_still_hides_the_built_in_template() {
    let wrong = format!("name = \"git-release\"\nstagee = 1\n{RUN}");
    for (file, text) in [
        ("mine.toml", wrong.as_str()),
        ("git-release.toml", "name = "),
    ] {
        let library = library(&[(file, text)]);
        assert_eq!(library.find("git-release"), None, "{file}");
        assert_eq!(library.problems().len(), 1, "{file}");
    }
}

#[test]
fn invalid_template_file_does_not_affect_the_others() {
    let good = format!("name = \"good\"\n{RUN}");
    let library = library(&[("bad.toml", "nam = 1"), ("good.toml", &good)]);
    assert!(library.find("good").is_some() && library.find("git-release").is_some());
    assert!(!library.problems().is_empty());
}

#[test]
fn template_names_and_numbers_are_unique() {
    let a = format!("name = \"a\"\nid = 7\n{RUN}");
    let b = format!("name = \"b\"\nid = 7\n{RUN}");
    let library = library(&[("1.toml", &a), ("2.toml", &a), ("3.toml", &b)]);
    let problems: Vec<String> = library
        .problems()
        .iter()
        .map(|p| p.message.clone())
        .collect();
    assert_eq!(
        problems,
        [
            "another file has the template `a` already: rename one",
            "template `a` has the same `id` already: change one",
        ]
    );
}

#[test]
fn rules_and_templates_must_fit_each_other() {
    let release = format!(
        "name = \"shop-release\"\nparams = [{{ name = \"MODE\", required = true, pattern = \"fast|slow\" }}]\n{RUN}"
    );
    let given = "name = \"given\"\n[[stage]]\nname = \"s\"\nhosts = \"{1}\"\nsteps = [{ run = \"true\" }]\n";
    let build = "name = \"build\"\n[[stage]]\nname = \"s\"\nhosts = \"builders\"\nsteps = [{ run = \"true\" }]\n";
    let library = library(&[("r.toml", &release), ("g.toml", given), ("b.toml", build)]);
    let misfits = |template: &str| -> Vec<String> {
        let config = read(&shop_with("schedule = \"ready\"", template));
        library
            .mismatches(&config)
            .iter()
            .map(ToString::to_string)
            .collect()
    };
    assert!(misfits("template = \"git-release\"").is_empty());
    assert!(misfits("template = \"shop-release\"\nparams = { MODE = \"fast\" }").is_empty());
    assert_eq!(
        misfits("template = \"shop-relaese\""),
        ["c.toml:21:12: no template is named `shop-relaese`: did you mean `shop-release`?"]
    );
    assert_eq!(
        misfits("template = \"shop-release\"\nparams = { MODE = \"no\", TAG = \"x\" }"),
        [
            "c.toml:22:10: parameter TAG is supplied by tagship: take it out",
            "c.toml:22:10: parameter MODE must match `fast|slow`, and does not",
        ]
    );
    assert!(misfits("template = \"shop-release\"")[0].contains("MODE is missing"));
    assert!(misfits("template = \"given\"")[0].contains("a tag gives none"));
    assert!(misfits("template = \"build\"")[0].contains("which is not in [groups]"));
}

#[test]
fn grant_of_missing_template_is_reported_with_its_line() {
    let library = library(&[]);
    let misfits = |template: &str| -> Vec<String> {
        let grant =
            format!("[[grants]]\nto = [\"bob\"]\nrole = \"viewer\"\ntemplate = \"{template}\"");
        let config = read(&shop_with("schedule = \"ready\"", &grant));
        let problems = library.mismatches(&config);
        problems.iter().map(ToString::to_string).collect()
    };
    assert_eq!(misfits("git-release"), [""; 0]);
    assert_eq!(misfits("1"), [""; 0]);
    let found = misfits("git-relaese");
    assert_eq!(found.len(), 1);
    assert!(
        found[0].ends_with("no template is named `git-relaese`: did you mean `git-release`?"),
        "{found:?}"
    );
}

/// A file that exists and can't be read, not even by root: a link to itself.
fn unreadable(dir: &Path, name: &str) {
    std::os::unix::fs::symlink(name, dir.join(name)).unwrap();
}

#[test]
fn unreadable_file_puts_unclaimed_templates_in_doubt() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(
        dir.path().join("mine.toml"),
        format!("name = \"mine\"\n{RUN}"),
    )
    .unwrap();
    unreadable(dir.path(), "other.toml");
    let library = Templates::load(dir.path());
    assert!(!library.is_in_doubt("mine"));
    assert!(library.is_in_doubt("other"));
    // The file may replace the built-in template.
    assert!(library.is_in_doubt("git-release"));
    assert_eq!(library.problems().len(), 1);
}

#[test]
fn unreadable_file_still_hides_the_built_in_template() {
    let dir = tempfile::tempdir().unwrap();
    unreadable(dir.path(), "git-release.toml");
    assert_eq!(Templates::load(dir.path()).find("git-release"), None);
}

#[test]
fn unreadable_template_directory_puts_all_in_doubt() {
    let dir = tempfile::tempdir().unwrap();
    unreadable(dir.path(), "tasks");
    let library = Templates::load(&dir.path().join("tasks"));
    assert!(library.is_in_doubt("git-release") && library.is_in_doubt("mine"));
}

#[test]
fn unreadable_template_is_reported_with_a_remedy() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("file");
    std::fs::write(&file, "").unwrap();
    for templates_dir in [file.clone(), file.join("templates")] {
        let library = Templates::load(&templates_dir);
        let problem = library.problems()[0].to_string();
        let remedy = "move it away, or choose another [agent] templates_dir";
        assert!(problem.ends_with(remedy), "{problem}");
    }
    std::fs::create_dir(dir.path().join("one.toml")).unwrap();
    let problem = Templates::load(dir.path()).problems()[0].to_string();
    assert!(
        problem.ends_with("in the place of a file: rename it"),
        "{problem}"
    );
}

#[test]
fn unreadable_script_puts_its_template_in_doubt() {
    let template = "name = \"mine\"\n[[stage]]\nname = \"s\"\nsteps = [{ script = \"go.sh\" }]\n";
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("mine.toml"), template).unwrap();
    let library = Templates::load(dir.path());
    assert!(library.is_in_doubt("mine"), "a script that is not there");
    unreadable(dir.path(), "go.sh");
    let library = Templates::load(dir.path());
    assert!(library.is_in_doubt("mine"));
}

#[test]
fn invalid_file_puts_unclaimed_templates_in_doubt() {
    let good = format!("name = \"good\"\n{RUN}");
    // A file while it is being written: cut off, also within a character.
    for half in [&b"name = \"mine\"\n[[sta"[..], b"name = \"d\xc3", b""] {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("mine.toml"), half).unwrap();
        std::fs::write(dir.path().join("good.toml"), &good).unwrap();
        let library = Templates::load(dir.path());
        for name in ["mine", "7"] {
            assert!(library.is_in_doubt(name), "{name} {half:?}");
        }
        for name in ["good", "git-release"] {
            assert!(!library.is_in_doubt(name), "{name} {half:?}");
        }
    }
}

#[test]
fn directory_or_lock_file_puts_no_template_in_doubt() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir(dir.path().join("directory.toml")).unwrap();
    // An editor's lock file.
    std::os::unix::fs::symlink("alice@example.com", dir.path().join(".#mine.toml")).unwrap();
    let library = Templates::load(dir.path());
    for name in ["git-release", "mine", "directory"] {
        assert!(!library.is_in_doubt(name), "{name}");
    }
    assert_eq!(library.problems().len(), 2);
}

#[tokio::test]
async fn templates_are_read_again_only_after_a_change() {
    let cache = TemplateCache::new(Path::new("templates/tasks"));
    assert!(Arc::ptr_eq(&cache.current().await, &cache.current().await));
    let dir = tempfile::tempdir().unwrap();
    let cache = TemplateCache::new(dir.path());
    assert_eq!(cache.current().await.find("mine"), None);
    let script = "[[stage]]\nname = \"s\"\nsteps = [{ script = \"go.sh\" }]\n";
    let texts = [RUN, script].map(|steps| format!("name = \"mine\"\n{steps}"));
    let mut versions = Vec::new();
    for (text, run) in [(&texts[0], "1"), (&texts[1], "1"), (&texts[1], "2")] {
        std::fs::write(dir.path().join("go.sh"), run).unwrap();
        std::fs::write(dir.path().join("mine.toml"), text).unwrap();
        let library = cache.current().await;
        versions.push(library.version("mine").unwrap());
    }
    assert!(versions[0] != versions[1] && versions[1] != versions[2]);
    std::fs::remove_file(dir.path().join("mine.toml")).unwrap();
    assert_eq!(cache.current().await.find("mine"), None);
}
