//! The parts of a random world: template, hosts, `on_failure`, freezes.

use std::collections::BTreeSet;
use std::sync::{Arc, OnceLock};

use tagship::domain::approval::freeze::{Calendar, Freeze, FreezePeriod};
use tagship::domain::template::{OnFailure, Template};
use tagship_tests::random::Random;

use crate::doubles::with_scripts;
use crate::driver::Sim;

/// A stage that stages, a program in it, checks, batches, gates of stages and steps, steps of one
/// host, of the agent and of another user, scripts.
const STAGES: [&str; 6] = [
    r#"
[[stage]]
name = "stage"
steps = [{ use = "sync" }]
[[stage]]
name = "switch"
steps = [{ use = "publish" }]
"#,
    r#"
[[stage]]
name = "stage"
steps = [{ use = "sync" }, { run = ["migrate"], in = "release", once = true }]
[[stage]]
name = "switch"
batch = 1
steps = [{ use = "publish" }, { use = "check", tcp = "{HOST}:80", retries = 0 }]
"#,
    r#"
[[stage]]
name = "stage"
steps = [{ use = "sync" }]
[[stage]]
name = "switch"
gate = "hand"
steps = [{ use = "publish" }, { run = ["reload"] }]
"#,
    r#"
[[stage]]
name = "stage"
steps = [{ use = "sync" }, { run = ["warm"], gate = "hand" }]
[[stage]]
name = "switch"
batch = 1
steps = [{ use = "publish", gate = "timed" }, { run = ["reload"], gate = "hand" }]
"#,
    r#"
[[stage]]
name = "stage"
steps = [{ use = "sync" }, { run = ["drain"], host = "d" }]
[[stage]]
name = "switch"
gate = "timed"
steps = [{ use = "publish" }, { script = "after.sh", user = "ops" }, { run = ["fill"], host = "d" }]
"#,
    r#"
[[stage]]
name = "tell"
steps = [{ run = ["tell"], host = "agent" }]
[[stage]]
name = "stage"
steps = [{ use = "sync" }]
[[stage]]
name = "switch"
steps = [{ use = "publish" }, { use = "check", command = ["is-up"], retries = 0 }]
"#,
];

fn templates() -> &'static [Template] {
    static TEMPLATES: OnceLock<Vec<Template>> = OnceLock::new();
    TEMPLATES.get_or_init(|| {
        let checkout =
            "name = \"t\"\n[[stage]]\nname = \"checkout\"\nsteps = [{ use = \"checkout\" }]\n";
        let parse = |stages| Template::parse("t.toml", &format!("{checkout}{stages}")).unwrap();
        STAGES.map(parse).map(with_scripts).to_vec()
    })
}

/// Worlds begin at 2027-01-15 08:00 UTC, a Friday.
const FREEZES: [(&str, &str); 3] = [
    ("2027-01-15 08:02", "2027-01-15 10:00"),
    ("07:30", "08:30"),
    ("09:00", "09:30"),
];

pub(crate) fn sim(random: &mut Random) -> Sim {
    let mut sim = Sim::with(random.pick(templates()).unwrap().clone());
    {
        let mut ground = sim.ground.lock().unwrap();
        ground
            .hosts
            .truncate(if random.per_mille(700) { 2 } else { 3 });
        if let Some(placement) = &mut ground.placement {
            placement.keep_releases = 2;
        }
        let on_failure = [
            OnFailure::Rollback,
            OnFailure::Rollback,
            OnFailure::Pause,
            OnFailure::Stop,
            OnFailure::Continue,
        ];
        ground.on_failure = *random.pick(&on_failure).unwrap();
        if random.per_mille(300) {
            ground.pause_timeout_s = Some(3600);
        }
    }
    sim.reconciles = random.per_mille(500);
    if random.per_mille(250) {
        let (from, until) = random.pick(&FREEZES).unwrap();
        sim.calendar = Arc::new(Calendar {
            freezes: vec![Freeze {
                name: "fair".to_owned(),
                reason: String::new(),
                projects: BTreeSet::new(),
                environments: BTreeSet::from(["production".to_owned()]),
                window: FreezePeriod::parse(from, until, None).unwrap(),
            }],
            ..Calendar::default()
        });
    }
    sim
}

/// How many effects in a thousand have a fault.
pub(crate) fn faults(random: &mut Random) -> u64 {
    *random.pick(&[0, 5, 20, 60]).unwrap()
}
