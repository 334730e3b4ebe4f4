//! Connections, commands and rsync against a real sshd and the system's rsync.

mod bulk;
mod commands;
mod crowd;
mod failures;
mod idle;
mod logins;
mod scripts;
mod servers;
mod transfers;
mod trust;
mod world;
