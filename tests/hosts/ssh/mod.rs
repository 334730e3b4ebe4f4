//! Connections, commands and rsync against a real sshd and the system's rsync.

mod bulk;
mod commands;
mod failures;
mod idle;
mod logins;
mod many_hosts;
mod scripts;
mod servers;
mod targets;
mod transfers;
mod trust;
