//! The main job on real things: `git push` with the compiled hook, the agent as a process of its
//! own, sshd, rsync; asked through its API, and looked at on the hosts' disks.

mod api_doc;
mod chain;
mod faults;
mod found;
mod hands;
mod idle;
mod outputs;
mod projects;
mod pushes;
mod restore;
mod steps;
mod submit;
mod templates;
