//! What is promised, held against what happens: the agent is killed at every named moment and at
//! random ones, connections are cut and stall, servers and hooks are killed amid what they do, disks
//! are full, the clock is set back, steps do not want to end. Real git, hook, agent, sshd and rsync;
//! the hosts' disks are compared afterwards. `docs/testing.md` describes it.

mod promises;

mod disk;
mod kill_points;
mod many_pushes;
mod network;
mod random_kills;
mod stop;
mod unknown_results;
