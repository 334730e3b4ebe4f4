//! Random worlds: a seed draws a template, hosts, what people do and when, and what strikes the
//! agents. `SEED=n cargo test --test simulation replay -- --nocapture` plays one seed again and
//! tells what happened; `SEEDS=n` in the environment plays so many instead of the usual number, and
//! `FROM=n` begins with that one.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use jiff::SignedDuration;
use tagship::clock::Clock as _;
use tagship::host::RunEnd;
use tagship::request::{Back, Request};
use tagship::store::kv::Row;
use tagship::store::{Filter, Head};
use tagship::template::{OnFailure, Template};

use crate::at_once::at_once;
use crate::driver::{Halt, Sim};
use crate::host::{Program, well};
use crate::random::Random;
use crate::rest::promises_hold;

/// How many seeds a test run plays.
const SEEDS: u64 = 20_000;

const TAGS: [&str; 5] = ["qa-1", "prod-1", "release-1", "release-2", "other"];
const LABELS: [&str; 6] = [
    "host.prepare",
    "host.transfer",
    "host.seal",
    "host.publish",
    "host.verify",
    "host.run",
];

fn templates() -> &'static [Template] {
    static TEMPLATES: OnceLock<Vec<Template>> = OnceLock::new();
    TEMPLATES.get_or_init(|| {
        let checkout = "name = \"t\"\n[[stage]]\nname = \"checkout\"\nsteps = [{ use = \"checkout\" }]\n";
        [
            "[[stage]]\nname = \"stage\"\nsteps = [{ use = \"sync\" }]\n\
             [[stage]]\nname = \"switch\"\nsteps = [{ use = \"publish\" }]\n",
            "[[stage]]\nname = \"stage\"\nsteps = [{ use = \"sync\" }, { run = [\"migrate\"], in = \"release\", once = true }]\n\
             [[stage]]\nname = \"switch\"\nbatch = 1\nsteps = [{ use = \"publish\" }, { use = \"check\", tcp = \"{HOST}:80\", retries = 0 }]\n",
            "[[stage]]\nname = \"stage\"\nsteps = [{ use = \"sync\" }]\n\
             [[stage]]\nname = \"switch\"\ngate = \"hand\"\nsteps = [{ use = \"publish\" }, { run = [\"reload\"] }]\n",
        ]
        .iter()
        .map(|stages| Template::parse("t.toml", &format!("{checkout}{stages}")).unwrap())
        .collect()
    })
}

/// One world, and what is still to happen in it.
struct Play {
    sim: Sim,
    random: Random,
    deeds: u64,
    commits: u64,
    backup: Option<Vec<Row>>,
    /// What came after the backup is not known any more.
    restored: bool,
}

impl Play {
    fn new(seed: u64) -> Self {
        let mut random = Random::new(seed);
        let template = random.pick(templates()).unwrap().clone();
        let sim = Sim::with(template);
        {
            let mut ground = sim.ground.lock().unwrap();
            ground
                .hosts
                .truncate(if random.per_mille(700) { 2 } else { 3 });
            if let Some(placement) = &mut ground.placement {
                placement.keep_releases = 2;
            }
            ground.on_failure = *random
                .pick(&[
                    OnFailure::Rollback,
                    OnFailure::Rollback,
                    OnFailure::Pause,
                    OnFailure::Stop,
                    OnFailure::Continue,
                ])
                .unwrap();
        }
        let blows = [0, 5, 20, 60][usize::try_from(random.below(4)).unwrap()];
        sim.fate.draw(random.next(), blows, 60);
        Self {
            sim,
            deeds: 3 + random.below(9),
            random,
            commits: 0,
            backup: None,
            restored: false,
        }
    }

    fn play(&mut self) {
        while self.deeds > 0 {
            let halt = self.sim.run();
            self.deed();
            self.deeds -= 1;
            if halt == Halt::Interrupted {
                self.sim.resume();
            }
        }
        self.heal();
        if !self.restored {
            promises_hold(&self.sim);
        }
    }

    /// Whatever struck ends, and everything comes to rest.
    fn heal(&mut self) {
        let sim = &mut self.sim;
        sim.fate.note("all is well from here on".to_owned());
        sim.fate.calm();
        sim.fate.forgive();
        *sim.well.lock().unwrap() = true;
        *sim.fleet.program.lock().unwrap() = well();
        sim.go_on();
        sim.ring();
        sim.rest();
    }

    /// The heads of all tasks, newest first.
    fn tasks(&self) -> Vec<Head> {
        at_once(self.sim.store().list(&Filter::default(), None, 100)).unwrap()
    }

    fn commit(&mut self) -> String {
        // Sometimes an older commit again.
        if self.commits == 0 || self.random.per_mille(800) {
            self.commits += 1;
        }
        let which = self.commits - self.random.below(self.commits.min(3));
        format!("{which:040x}")
    }

    /// Somebody does something, or something happens.
    fn deed(&mut self) {
        match self.random.below(100) {
            0..34 => self.push(),
            34..40 => self.delete(),
            40..62 => self.answer(),
            62..72 => self.meddle(),
            72..77 => self.go_back(),
            77..81 => self.set_clock(),
            81..90 => self.trouble(),
            90..94 => self.agents(),
            94..97 => self.save(),
            _ => self.mend(),
        }
    }

    fn note(&self, what: String) {
        self.sim.fate.note(what);
    }

    fn push(&mut self) {
        let tag = *self.random.pick(&TAGS).unwrap();
        let object = self.commit();
        self.note(format!("push {tag} {}", &object[36..]));
        self.sim.hook(tag, &object);
        match self.random.below(10) {
            // The hook's word comes first; the ref follows, or never does.
            0 => {}
            1..4 => {
                let in_time =
                    SignedDuration::from_secs(i64::try_from(self.random.below(200)).unwrap());
                self.sim.run_for(in_time);
                self.sim.move_ref(tag, &object);
                self.sim.resume();
            }
            _ => self.sim.move_ref(tag, &object),
        }
    }

    fn delete(&mut self) {
        let tag = *self.random.pick(&TAGS).unwrap();
        self.note(format!("delete {tag}"));
        let nothing = "0".repeat(40);
        self.sim.hook(tag, &nothing);
        self.sim.move_ref(tag, &nothing);
    }

    /// Somebody says yes or no to a task that waits.
    fn answer(&mut self) {
        let mut waiting = self.tasks();
        waiting.retain(|task| ["waiting", "paused"].contains(&task.state.as_str()));
        let Some(task) = self.random.pick(&waiting) else {
            return;
        };
        let id = task.id;
        self.note(format!("answer {id}"));
        if task.state == "paused" {
            let request = if self.random.per_mille(700) {
                Request::Go { host: None }
            } else {
                Request::Retry
            };
            let _ = self.sim.ask(id, "bob", &request);
            return;
        }
        match self.random.below(10) {
            0 => {
                let refused = self.sim.approve_from(id, "alice", None);
                assert!(refused.is_err(), "she submitted it");
            }
            1 => {
                let reason = "no".to_owned();
                let _ = self.sim.ask(id, "bob", &Request::Reject { reason });
            }
            2 => {
                let later = self.sim.clock.now() + SignedDuration::from_hours(2);
                let _ = self.sim.approve_from(id, "bob", Some(later));
            }
            _ => drop(self.sim.approve(id)),
        }
    }

    /// Somebody asks something of any task.
    fn meddle(&mut self) {
        let tasks = self.tasks();
        let Some(task) = self.random.pick(&tasks) else {
            return;
        };
        let reason = "because".to_owned();
        let request = match self.random.below(4) {
            0 => Request::Withdraw { reason },
            1 => Request::Stop { host: None },
            _ => Request::Retry,
        };
        self.note(format!("{request:?} of {} ({})", task.id, task.state));
        let _ = self.sim.ask(task.id, "bob", &request);
    }

    fn go_back(&mut self) {
        let tasks = self.tasks();
        let back = match self.random.pick(&tasks) {
            Some(task) if self.random.per_mille(500) => Back::ToTask(task.id),
            _ => Back::Before {
                project: "shop".to_owned(),
                environment: "production".to_owned(),
            },
        };
        self.note(format!("roll back {back:?}"));
        let _ = self.sim.roll_back(&back);
    }

    fn set_clock(&mut self) {
        let seconds = [-86_400, -3_600, -5, 5, 600, 3_600, 86_400];
        let seconds = *self.random.pick(&seconds).unwrap();
        self.note(format!("the clock jumps by {seconds} s"));
        let now = self.sim.clock.now();
        self.sim.clock.set(now + SignedDuration::from_secs(seconds));
    }

    /// A host refuses, a service is unwell, a program fails.
    fn trouble(&mut self) {
        match self.random.below(3) {
            0 => {
                let host = *self.random.pick(&["a", "b", "c"]).unwrap();
                let label = *self.random.pick(&LABELS).unwrap();
                self.note(format!("{host} refuses {label}"));
                self.sim.fate.refuse(label, host, "it would not");
            }
            1 => {
                self.note("the service is unwell".to_owned());
                *self.sim.well.lock().unwrap() = false;
            }
            _ => {
                let mood = self.random.below(3);
                self.note(format!("programs are in mood {mood}"));
                *self.sim.fleet.program.lock().unwrap() = mood_of(mood);
            }
        }
    }

    fn mend(&mut self) {
        self.note("mended".to_owned());
        self.sim.fate.forgive();
        *self.sim.well.lock().unwrap() = true;
        *self.sim.fleet.program.lock().unwrap() = well();
    }

    /// An agent is suspended while another one starts, and goes on later.
    fn agents(&mut self) {
        match self.sim.agents() {
            0 => {}
            1 => {
                self.note("the agent stalls, another one starts".to_owned());
                self.sim.fate.share_store(true);
                self.sim.stall();
                self.sim.start();
            }
            _ => {
                self.note("the stalled agents go on".to_owned());
                self.sim.go_on();
            }
        }
    }

    /// A backup is taken, or takes the store's place.
    fn save(&mut self) {
        match self.backup.take() {
            Some(rows) if self.random.per_mille(500) => {
                self.note("the store is restored from a backup".to_owned());
                self.restored = true;
                self.sim.restore(&rows);
            }
            _ => {
                self.note("a backup is taken".to_owned());
                self.backup = Some(self.sim.backup());
            }
        }
    }
}

fn mood_of(mood: u64) -> Program {
    Arc::new(move |_, key| {
        let end = |code| RunEnd::Ended {
            code,
            values: std::collections::BTreeMap::new(),
        };
        match (mood, key.len() % 2) {
            (0, _) => (end(1), Duration::ZERO),
            (1, _) => (end(0), Duration::from_secs(90)),
            (_, 0) => (RunEnd::Unknown, Duration::ZERO),
            (_, _) => (end(0), Duration::from_secs(5)),
        }
    })
}

fn play(seed: u64) -> Play {
    let mut play = Play::new(seed);
    play.play();
    play
}

/// Every effect, blow and deed of a world.
fn trace(seed: u64) -> String {
    play(seed).sim.fate.trace(0)
}

/// Plays a part of the seeds; a failing one is named with the command that plays it again.
fn soak(part: u64, parts: u64) {
    let seeds = std::env::var("SEEDS").map_or(SEEDS, |seeds| seeds.parse().unwrap());
    let from = std::env::var("FROM").map_or(0, |from| from.parse().unwrap());
    for seed in (from + part..from + seeds).step_by(usize::try_from(parts).unwrap()) {
        if catch_unwind(AssertUnwindSafe(|| drop(play(seed)))).is_err() {
            panic!(
                "seed {seed} breaks a promise; see it with\n    \
                 SEED={seed} cargo test --test simulation replay -- --nocapture"
            );
        }
    }
}

#[test]
fn promises_hold_in_random_worlds_one() {
    soak(0, 4);
}

#[test]
fn promises_hold_in_random_worlds_two() {
    soak(1, 4);
}

#[test]
fn promises_hold_in_random_worlds_three() {
    soak(2, 4);
}

#[test]
fn promises_hold_in_random_worlds_four() {
    soak(3, 4);
}

#[test]
fn the_same_seed_gives_the_same_effects() {
    for seed in 0..200 {
        assert_eq!(trace(seed), trace(seed), "seed {seed}");
    }
}

/// Plays the seed of the environment, and tells what happened.
#[test]
fn replay() {
    let Ok(seed) = std::env::var("SEED") else {
        return;
    };
    println!("{}", trace(seed.parse().unwrap()));
}
