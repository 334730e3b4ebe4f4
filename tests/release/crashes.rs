//! The agent is killed without a warning, again and again.

use std::collections::BTreeMap;
use std::fs;
use std::sync::mpsc;
use std::time::Duration;

use crate::chance::Chance;
use crate::stage::{HOSTS, Settings, TEMPLATE};

const KILLS: u64 = 12;

/// Runs on every host before and after the switch: a line for each start.
const COUNTED: &str = r#"
[[stage.steps]]
name = "migrate"
run = 'echo "$TAG $HOST before" >>"{DIR}/counted.$HOST"; sleep 0.3'
[[stage]]
name = "switch"
hosts = "{group}"
[[stage.steps]]
use = "publish"
[[stage.steps]]
name = "reload"
run = 'sleep 0.3; echo "$TAG $HOST after" >>"{DIR}/counted.$HOST"'
"#;

#[test]
fn an_agent_that_is_killed_at_any_moment_ends_the_task_well_and_runs_every_program_once() {
    let before = TEMPLATE.replace(
        r#"steps = [{ use = "sync" }]"#,
        "[[stage.steps]]\nuse = \"sync\"",
    );
    let mut stage = Settings::default()
        .template("steps", &format!("{before}{COUNTED}"))
        .environment("qa", "qa-", "--\nschedule = 'ready'\ntemplate = 'steps'")
        .start();
    let seed = 20_261_121;
    let mut chance = Chance::of(seed);
    // Nobody sends: receiving is a way to let a random time go by.
    let (_silent, random_time) = mpsc::channel::<()>();
    for number in 1..=KILLS {
        let tag = format!("qa-{number}");
        let content = format!("{number}\n").repeat(2000);
        stage.commit(
            &tag,
            &[
                ("index.html", &content),
                (&format!("new/{number}"), &content),
            ],
        );
        stage.push(&tag);
        let moment = Duration::from_millis(chance.below(2_500));
        let _ = random_time.recv_timeout(moment);
        stage.kill_agent();
        eprintln!("seed {seed}: killed {moment:?} after the push of {tag}");
        stage.start_agent();
        let id = stage.api.task_of(&tag);
        stage.api.until_state(id, "succeeded");
        stage.assert_live(&HOSTS, "qa", &tag);
    }
    for host in HOSTS {
        let text = fs::read_to_string(stage.path().join(format!("counted.{host}"))).unwrap();
        let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
        for line in text.lines() {
            *counts.entry(line).or_default() += 1;
        }
        assert_eq!(counts.len() as u64, KILLS * 2, "{host}: {counts:?}");
        assert!(
            counts.values().all(|count| *count == 1),
            "{host}: {counts:?}"
        );
    }
    assert_eq!(stage.api.tasks().len() as u64, KILLS);
}
