//! Checks the promises under real faults. The agent is killed at every named moment and at random
//! ones. Connections are cut and stall, servers and hooks are killed at work, disks are full, the
//! clock is set back, steps do not end. Real git, hook, agent, sshd and rsync; the hosts' disks are
//! compared afterwards. `docs/testing.md` describes it.

mod promises;

mod disk;
mod kill_points;
mod many_pushes;
mod network;
mod random_kills;
mod stop;
mod unknown_results;

use tagship_tests::world::Settings;

use crate::stage::publishing;

/// `qa-` tags are released to web1 at once, and these steps follow.
fn on_one_host(steps: &str) -> Settings {
    Settings::default()
        .group("solo = ['web1']")
        .template("steps", &publishing(steps))
        .environment(
            "qa",
            "qa-",
            "group = 'solo'\n--\nschedule = 'ready'\ntemplate = 'steps'",
        )
}
