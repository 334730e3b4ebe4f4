//! The main job on real things: `git push` with the compiled hook, the agent as a process of its
//! own, sshd, rsync; asked through its API, and looked at on the hosts' disks.

mod api_doc;
mod chain;
mod faults;
mod idle;
mod interventions;
mod outputs;
mod pushes;
mod queues;
mod restore;
mod steps;
mod submit;
mod templates;
mod unmanaged_releases;
