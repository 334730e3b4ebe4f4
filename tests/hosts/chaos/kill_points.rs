//! The agent is killed right before and right after every effect that it has on the world.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::process::ExitStatusExt as _;
use std::time::Duration;

use tagship::base::crash::{LABELS, VARIABLE};

use crate::chaos::promises::{Chaos, Fate, seed};
use tagship_tests::random::Random;

/// The time limit for reaching an effect.
const REACHED_WITHIN: Duration = Duration::from_secs(60);

/// One moment at which the agent dies.
struct Moment {
    label: &'static str,
    side: &'static str,
    count: u64,
}

impl Moment {
    fn arm(&self, chaos: &mut Chaos) {
        let text = format!("{}:{}:{}", self.label, self.side, self.count);
        chaos.stage.variables(vec![(VARIABLE, text)]);
    }

    /// Makes the agent reach this moment.
    fn provoke(&self, chaos: &mut Chaos) {
        match self.label {
            "host.kill" => {
                let tag = chaos.push(Fate::Stopped, &["slow"]);
                let id = chaos.stage.api.task_of(&tag);
                let hosts = crate::chaos::promises::HOSTS;
                chaos.stage.api.until_logged(id, &hosts, &["waiting"]);
                chaos.ask(&tag, "stop");
            }
            "git.unpin" => {
                let tag = chaos.push(Fate::Withdrawn, &[]);
                let id = chaos.stage.api.task_of(&tag);
                chaos.stage.api.until_state(id, "waiting");
                chaos.ask(&tag, "withdraw");
            }
            "spool.set_aside" => {
                let spool = chaos.spool_directory();
                let name = "0-bad.toml";
                fs::write(spool.join("tmp").join(name), "no record\n").unwrap();
                fs::rename(spool.join("tmp").join(name), spool.join("new").join(name)).unwrap();
            }
            _ => {
                chaos.push(Fate::Succeeds, &[]);
            }
        }
    }

    fn die(&self, chaos: &mut Chaos) {
        let Self { label, side, count } = self;
        let status = chaos.stage.agent_ends(REACHED_WITHIN);
        let status = status.unwrap_or_else(|| {
            panic!("{label} is never reached for the {count}. time ({side} it)")
        });
        assert_eq!(status.signal(), Some(9), "{label} {side}: {status}");
        chaos.disks_are_whole();
    }
}

/// Kills the agent at this moment, lets another one finish all work, and checks the result.
fn killed_at(chaos: &mut Chaos, moment: &Moment) -> u64 {
    let mut kills = 1;
    if moment.label == "host.run_result" {
        // It is requested only after another agent has begun something.
        let begun = Moment {
            label: "host.run",
            ..*moment
        };
        begun.arm(chaos);
        chaos.stage.start_agent();
        begun.provoke(chaos);
        begun.die(chaos);
        moment.arm(chaos);
        chaos.stage.spawn_agent();
        moment.die(chaos);
        kills += 1;
    } else if moment.label == "git.tags" {
        // Each start looks for tags that were made while no agent ran.
        moment.arm(chaos);
        chaos.stage.spawn_agent();
        moment.die(chaos);
    } else {
        moment.arm(chaos);
        chaos.stage.start_agent();
        moment.provoke(chaos);
        moment.die(chaos);
    }
    chaos.stage.variables(Vec::new());
    chaos.stage.start_agent();
    chaos.comes_to_rest();
    chaos.stage.kill_agent();
    kills
}

/// Chooses one of several equal effects of a release.
fn count(label: &str, random: &mut Random) -> u64 {
    match label {
        "store.commit" => 1 + random.below(8),
        "host.run" | "host.run_result" => 1,
        label if label.starts_with("host.") => 1 + random.below(2),
        _ => 1,
    }
}

fn all(mut chaos: Chaos, labels: &[&'static str], seed: u64) -> u64 {
    let mut random = Random::new(seed);
    chaos.push(Fate::Succeeds, &[]);
    chaos.comes_to_rest();
    chaos.kill();
    let mut kills = 0;
    for label in labels {
        for side in ["before", "after"] {
            let count = count(label, &mut random);
            let moment = Moment { label, side, count };
            eprintln!("SEED={seed}: {label} {side}, {count}.");
            kills += killed_at(&mut chaos, &moment);
        }
    }
    chaos.leaves_nothing();
    kills
}

/// Whether the effect is on a host, or uses a host's answer.
fn on_a_host(label: &str) -> bool {
    label.starts_with("host.") || label.starts_with("log.")
}

#[test]
fn agent_dying_at_any_local_effect_loses_nothing() {
    let own: Vec<&str> = LABELS
        .into_iter()
        .filter(|label| !on_a_host(label))
        .collect();
    assert!(all(Chaos::plain(), &own, seed()) >= 2 * own.len() as u64);
}

#[test]
fn agent_dying_at_any_host_effect_loses_nothing() {
    let hosts: Vec<&str> = LABELS
        .into_iter()
        .filter(|label| on_a_host(label))
        .collect();
    assert!(all(Chaos::with_programs(), &hosts, seed()) >= 2 * hosts.len() as u64);
}

/// The list of effects is complete: it names all effects in the sources, and no others.
#[test]
fn effect_list_matches_the_sources() {
    let mut named = BTreeSet::new();
    let mut open = vec![std::path::PathBuf::from("src")];
    while let Some(directory) = open.pop() {
        for entry in fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                open.push(path);
                continue;
            }
            let text = String::from_utf8_lossy(&fs::read(&path).unwrap()).into_owned();
            let calls = ["crash::before(\"", "crash::after(\"", "=> \"host."];
            for (call, prefix) in calls.iter().zip(["", "", "host."]) {
                for part in text.split(call).skip(1) {
                    let label = part.split('"').next().unwrap();
                    named.insert(format!("{prefix}{label}"));
                }
            }
        }
    }
    // Used only by `tagship check` and tests: it changes nothing.
    assert!(named.remove("host.inspect"));
    let listed: BTreeSet<String> = LABELS.into_iter().map(str::to_owned).collect();
    assert_eq!(named, listed);
}
