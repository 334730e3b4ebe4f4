//! What is promised, held against what happens: the agent is killed at every named moment and at
//! random ones, connections are cut and stall, servers and hooks are killed amid what they do, disks
//! are full, the clock is set back, steps do not want to end. Real git, hook, agent, sshd and rsync;
//! the hosts' disks are compared afterwards. `docs/testing.md` describes it.

mod world;

mod crowd;
mod disk;
mod moments;
mod network;
mod points;
mod stop;
mod unknown;
