//! The hook, under real `git push`.

mod installation;
mod killed;
mod names;
mod program;
mod push;
mod rules;
mod servers;
mod shop;
mod users;
