//! 500 pushes from 20 clients at once, while the agent is killed and started again.

use std::collections::BTreeSet;
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::Duration;

use tagship_tests::git::{WorkTree, output_of};
use tagship_tests::random::Random;
use tagship_tests::world::Settings;

use crate::chaos::promises::seed;
use crate::stage::{Stage, Start as _};

const PROJECTS: [&str; 4] = ["shop", "docs", "api", "web"];
const CLIENTS: usize = 20;
const PUSHES_OF_A_CLIENT: usize = 25;

/// A client's own clone, with all its tags.
fn client(stage: &Stage, number: usize) -> WorkTree {
    let shop = &stage.projects[number % PROJECTS.len()];
    let path = stage.path(format!("clients/{number}"));
    let tree = WorkTree::clone(&shop.repo, path);
    let head = tree.resolve("origin/main");
    for push in 0..PUSHES_OF_A_CLIENT {
        tree.tag(format!("watch-{number}-{push}"), &head);
    }
    tree
}

/// All tasks: project and tag.
fn tasks(stage: &Stage) -> Vec<(String, String)> {
    let mut found = Vec::new();
    let mut before = u64::MAX >> 1;
    loop {
        let list = stage.api.get(&format!("/tasks?limit=200&before={before}"));
        let page = list["tasks"].as_array().unwrap();
        let Some(last) = page.last() else {
            return found;
        };
        before = last["id"].as_u64().unwrap();
        let text = |value: &serde_json::Value| value.as_str().unwrap().to_owned();
        found.extend(
            page.iter()
                .map(|task| (text(&task["project"]), text(&task["tag"]))),
        );
    }
}

#[test]
fn each_of_500_pushes_is_one_task_despite_agent_kills() {
    let mut settings = Settings::default();
    for project in PROJECTS {
        settings =
            settings
                .project(project)
                .environment("watch", "watch-", "--\nschedule = 'observe'");
    }
    let mut stage = settings.start();
    for shop in &stage.projects {
        shop.tree.commit_files("first", &[("index.html", "one\n")]);
        assert!(shop.tree.push(["origin", "HEAD:main"]).success);
        output_of(shop.repo.git().args(["config", "receive.autogc", "false"]));
    }
    let clients: Vec<WorkTree> = (0..CLIENTS).map(|number| client(&stage, number)).collect();
    let seed = seed();
    let mut random = Random::new(seed);
    let (done, ended) = channel();
    let threads: Vec<_> = clients
        .into_iter()
        .enumerate()
        .map(|(number, tree)| {
            let done = done.clone();
            std::thread::spawn(move || {
                for push in 0..PUSHES_OF_A_CLIENT {
                    let tag = format!("watch-{number}-{push}");
                    let pushed = tree.push_tag(&tag);
                    assert!(pushed.success, "{tag}: {}", pushed.text);
                    let _ = done.send((PROJECTS[number % PROJECTS.len()].to_owned(), tag));
                }
            })
        })
        .collect();
    drop(done);
    let mut accepted = BTreeSet::new();
    let mut kills = 0;
    let mut next = 10;
    loop {
        match ended.recv_timeout(Duration::from_secs(60)) {
            Ok(push) => accepted.insert(push),
            Err(RecvTimeoutError::Disconnected) => break,
            Err(RecvTimeoutError::Timeout) => panic!("no push ends any more"),
        };
        if accepted.len() >= next {
            stage.kill_agent();
            stage.start_agent();
            kills += 1;
            next = accepted.len() + 20 + random.index(60);
        }
    }
    for thread in threads {
        thread.join().unwrap();
    }
    eprintln!("SEED={seed}: {} pushes, {kills} kills", accepted.len());
    assert_eq!(accepted.len(), CLIENTS * PUSHES_OF_A_CLIENT);
    assert!(kills > 3, "{kills}");
    // Task numbers increase by one.
    for id in 1..=accepted.len() as u64 {
        stage.api.until_task(id);
        stage.api.until_state(id, "observed");
    }
    let found = tasks(&stage);
    assert_eq!(
        found.len(),
        accepted.len(),
        "exactly one task for each push"
    );
    assert_eq!(found.into_iter().collect::<BTreeSet<_>>(), accepted);
}
