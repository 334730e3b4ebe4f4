//! The main use with real programs: `git push` with the compiled hook, the agent as a separate
//! process, sshd, rsync. Results are checked through the API and on the hosts' disks.

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
