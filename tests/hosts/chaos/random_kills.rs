//! The agent is killed at random moments of releases, again and again.

use std::time::Duration;

use tagship::base::crash::LABELS;

use crate::chance::Chance;
use crate::chaos::promises::{Fate, World, kills, random_time, seed};

/// At least so many, however many moments have a name.
const RANDOM_MIN: u64 = 8;
/// A world grows with every push, and each tree on its disks is looked at after each kill.
const KILLS_OF_A_WORLD: u64 = 40;

#[test]
fn killed_agent_runs_each_program_once() {
    let seed = seed();
    let mut chance = Chance::of(seed);
    let random = kills()
        .saturating_sub(2 * LABELS.len() as u64)
        .max(RANDOM_MIN);
    eprintln!("SEED={seed} KILLS={}: {random} at random moments", kills());
    let mut world = World::with_programs();
    for number in 1..=random {
        if number % KILLS_OF_A_WORLD == 0 {
            world.comes_to_rest();
            world = World::with_programs();
        }
        match chance.below(4) {
            0 => drop(world.push(Fate::Waits, &[])),
            1 => {
                world.push(Fate::Succeeds, &[]);
                world.push(Fate::Succeeds, &[]);
            }
            2 => {
                world.push(Fate::Waits, &[]);
                world.approve_one();
            }
            _ => drop(world.push(Fate::Succeeds, &[])),
        }
        let moment = Duration::from_millis(chance.below(1_500));
        random_time(moment);
        world.kill();
        eprintln!("SEED={seed}: kill {number} after {moment:?}");
        world.stage.start_agent();
        // Sometimes the next blow falls before this one is healed.
        if chance.below(3) > 0 {
            world.comes_to_rest();
        }
    }
    world.comes_to_rest();
    world.kill();
    world.leaves_nothing();
}
