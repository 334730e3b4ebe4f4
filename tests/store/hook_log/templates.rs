//! How a template classifies a rule's parameters: read once for all records that arrived together,
//! and again for the next ones.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use tagship::base::clock::{Clock as _, SystemClock};
use tagship::config;
use tagship::domain::approval::Role;

use super::{Fixture, at_once, configuration};

/// The shop's rule gives a password and a name to this template; templates lie in `templates/`.
fn fixture(directory: &Path, template: &str) -> Fixture {
    fs::create_dir(directory.join("templates")).unwrap();
    let rule = format!(
        "pattern = \"release-\"\ntemplate = \"{template}\"\nparams = {{ DB_PASSWORD = \"hunter2\", DB = \"main\" }}"
    );
    let text = configuration().replace("pattern = \"release-\"", &rule);
    let text = format!("[agent]\ntemplates_dir = \"templates\"\n{text}");
    let mut fixture = Fixture::new();
    fixture.config = Arc::new(config::parse("c.toml", &text, directory).unwrap());
    fixture
}

/// A template whose password is of this kind.
fn migrate(kind: &str) -> String {
    format!(
        "id = 32\nname = \"migrate\"\nparams = [{{ name = \"DB_PASSWORD\", kind = \"{kind}\" }}, {{ name = \"DB\" }}]\n\
         [[stage]]\nname = \"run\"\nhosts = \"{{group}}\"\nsteps = [{{ run = \"true\" }}]\n"
    )
}

fn shown(fixture: &Fixture, id: u64) -> Vec<String> {
    let submission = at_once(fixture.store.task(id)).unwrap().submission;
    submission.parameters.keys().cloned().collect()
}

/// Only the template says which of a rule's parameters are secret: it is read before anything is
/// stored.
#[test]
fn rule_secret_is_kept_apart_and_template_number_resolved() {
    let directory = tempfile::tempdir().unwrap();
    let mut fixture = fixture(directory.path(), "32");
    let file = directory.path().join("templates/migrate.toml");
    fs::write(file, migrate("secret")).unwrap();
    fixture.push("alice/shop", "release-1", '0', '1');
    fixture.withdraw(1);
    fixture.replay(1, Role::Approver).unwrap();
    for id in [1, 2] {
        let submission = at_once(fixture.store.task(id)).unwrap().submission;
        assert_eq!(submission.template, "migrate");
        assert_eq!(shown(&fixture, id), ["DB"]);
        assert_eq!(submission.secret("DB_PASSWORD"), Some("hunter2"));
        assert_eq!(at_once(fixture.store.head(id)).unwrap().template, "migrate");
    }
}

#[test]
fn changed_template_applies_to_the_next_records() {
    let directory = tempfile::tempdir().unwrap();
    let mut fixture = fixture(directory.path(), "migrate");
    let file = directory.path().join("templates/migrate.toml");
    for (id, kind) in [(1, "text"), (2, "secret"), (3, "text")] {
        fs::write(&file, migrate(kind)).unwrap();
        fixture.push("alice/shop", &format!("release-{id}"), '0', '1');
    }
    assert_eq!(shown(&fixture, 1), ["DB", "DB_PASSWORD"]);
    assert_eq!(shown(&fixture, 2), ["DB"]);
    assert_eq!(shown(&fixture, 3), ["DB", "DB_PASSWORD"]);
}

/// It is unknown then what is secret.
#[test]
fn rule_values_of_an_unreadable_template_stay_hidden() {
    let directory = tempfile::tempdir().unwrap();
    let mut fixture = fixture(directory.path(), "migrate");
    let file = directory.path().join("templates/migrate.toml");
    for (id, written) in [(1, None), (2, Some("name = \"migr"))] {
        if let Some(text) = written {
            fs::write(&file, text).unwrap();
        }
        fixture.push("alice/shop", &format!("release-{id}"), '0', '1');
        let submission = at_once(fixture.store.task(id)).unwrap().submission;
        assert!(submission.parameters.is_empty() && submission.secrets.is_empty());
        let kept = ["DB", "DB_PASSWORD"].map(|name| submission.secret(name));
        assert_eq!(kept, [Some("main"), Some("hunter2")]);
        assert!(!format!("{submission:?}").contains("hunter2"));
    }
}

/// `cargo test --test store hook_log::templates::a_thousand -- --ignored --nocapture`: the cost of
/// reading templates for each record, and once for all that arrived together.
#[test]
#[ignore = "measures"]
fn a_thousand_records_at_once_and_one_by_one() {
    let took = |together: bool| {
        let directory = tempfile::tempdir().unwrap();
        let mut fixture = fixture(directory.path(), "migrate");
        for number in 0..20 {
            let text = migrate("secret").replace("id = 32\nname = \"migrate\"", "");
            let text = format!("name = \"other-{number}\"\n{text}");
            let file = directory.path().join(format!("templates/{number}.toml"));
            fs::write(file, text).unwrap();
        }
        let file = directory.path().join("templates/migrate.toml");
        fs::write(file, migrate("secret")).unwrap();
        let began = SystemClock.now();
        for number in 0..1_000 {
            let record = fixture.record("alice/shop", &format!("release-{number}"), '0', '1');
            fixture.write(&format!("{number}.toml"), Some(record));
            if !together {
                fixture.take_all().unwrap();
            }
        }
        fixture.take_all().unwrap();
        assert_eq!(shown(&fixture, 1_000), ["DB"]);
        SystemClock.now().duration_since(began)
    };
    let (one_by_one, together) = (took(false), took(true));
    let ratio = one_by_one.as_secs_f64() / together.as_secs_f64();
    println!("one by one {one_by_one:?}, together {together:?}: {ratio:.1} times");
}
