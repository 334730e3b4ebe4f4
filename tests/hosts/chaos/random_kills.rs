//! The agent is killed at random moments of releases, again and again.

use std::time::Duration;

use tagship::base::crash::LABELS;

use crate::chaos::promises::{Chaos, Fate, kills, random_time, seed};
use tagship_tests::random::Random;

/// The minimum number, however many moments have a name.
const RANDOM_MIN: u64 = 8;
/// The limit for one world: it grows with every push, and each tree on its disks is checked after
/// each kill.
const KILLS_OF_A_WORLD: u64 = 40;

#[test]
fn killed_agent_runs_each_program_once() {
    let seed = seed();
    let mut random = Random::new(seed);
    let count = kills()
        .saturating_sub(2 * LABELS.len() as u64)
        .max(RANDOM_MIN);
    eprintln!("SEED={seed} KILLS={}: {count} at random moments", kills());
    let mut chaos = Chaos::with_programs();
    for number in 1..=count {
        if number % KILLS_OF_A_WORLD == 0 {
            chaos.comes_to_rest();
            chaos = Chaos::with_programs();
        }
        match random.below(4) {
            0 => drop(chaos.push(Fate::Waits, &[])),
            1 => {
                chaos.push(Fate::Succeeds, &[]);
                chaos.push(Fate::Succeeds, &[]);
            }
            2 => {
                chaos.push(Fate::Waits, &[]);
                chaos.approve_one();
            }
            _ => drop(chaos.push(Fate::Succeeds, &[])),
        }
        let moment = Duration::from_millis(random.below(1_500));
        random_time(moment);
        chaos.kill();
        eprintln!("SEED={seed}: kill {number} after {moment:?}");
        chaos.stage.start_agent();
        // Sometimes the next kill comes before the recovery from this one.
        if random.below(3) > 0 {
            chaos.comes_to_rest();
        }
    }
    chaos.comes_to_rest();
    chaos.kill();
    chaos.leaves_nothing();
}
