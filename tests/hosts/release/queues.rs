//! Queues: which tasks run concurrently, and which one after another.

use std::fs;

use tagship_tests::git::tag_ref;
use tagship_tests::world::Settings;

use crate::stage::{HOSTS, Start as _, publishing};
use crate::tree::Tree;

#[test]
fn projects_are_released_side_by_side() {
    // Each waits until all three run: in sequence they would wait forever.
    let meet = r#"
        [[stage.steps]]
        name = "meet"
        once = true
        timeout = "60s"
        run = 'mkdir -p "{DIR}/met/$PROJECT"; until [ "$(ls "{DIR}/met" | wc -l)" -eq 3 ]; do sleep 0.1; done'
        "#;
    let mut settings = Settings::default().template("steps", &publishing(meet));
    for project in ["shop", "docs", "api"] {
        settings = settings.project(project).environment(
            "qa",
            "qa-",
            "--\nschedule = 'ready'\ntemplate = 'steps'",
        );
    }
    let stage = settings.start();
    for (number, shop) in stage.projects.iter().enumerate() {
        let tag = format!("qa-{number}");
        let commit = shop.tree.commit_files("first", &[("index.html", &tag)]);
        shop.tree.tag(&tag, &commit);
        assert!(shop.tree.push_tag(&tag).success);
    }
    for (number, project) in ["shop", "docs", "api"].into_iter().enumerate() {
        let tag = format!("qa-{number}");
        let id = stage.api.task_of(&tag);
        let task = stage.api.until_state(id, "succeeded");
        assert_eq!(task["project"], project);
        let wanted = Tree::archived(
            &stage.projects[number].repo,
            tag_ref(&tag).to_str().unwrap(),
        );
        for host in HOSTS {
            let current = stage.place_of(project, host, "qa").join("current/");
            assert_eq!(
                Tree::read(&current).differences(&wanted),
                [""; 0],
                "{project} {host}"
            );
        }
    }
}

#[test]
fn tasks_of_one_environment_run_in_push_order() {
    let work = r#"
        [[stage.steps]]
        name = "work"
        once = true
        run = 'echo "begin $TAG" >>"{DIR}/order"; sleep 0.2; echo "end $TAG" >>"{DIR}/order"'
        "#;
    let stage = Settings::default()
        .template("steps", &publishing(work))
        .environment(
            "qa",
            "qa-",
            "--\nschedule = 'ready'\nsupersede = false\ntemplate = 'steps'",
        )
        .start();
    let tags = ["qa-1", "qa-2", "qa-3", "qa-4"];
    // The last two tag the same commit: each is a release of its own.
    for (tag, content) in tags.iter().zip(["1\n", "2\n", "3\n", "3\n"]) {
        stage.commit(tag, &[("index.html", content)]);
    }
    let last = stage.tree().resolve("qa-3");
    stage.tree().tag("qa-4", &last);
    for tag in tags {
        stage.push(tag);
    }
    let mut releases = Vec::new();
    for tag in tags {
        let id = stage.api.task_of(tag);
        let task = stage.api.until_state(id, "succeeded");
        releases.push(task["release"].as_str().unwrap().to_owned());
    }
    let order = fs::read_to_string(stage.path("order")).unwrap();
    let wanted: String = tags
        .iter()
        .map(|tag| format!("begin {tag}\nend {tag}\n"))
        .collect();
    assert_eq!(order, wanted);
    releases.sort();
    releases.dedup();
    assert_eq!(releases.len(), 4, "{releases:?}");
    stage.assert_live(&HOSTS, "qa", "qa-4");
}
