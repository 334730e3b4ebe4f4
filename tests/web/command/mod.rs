//! The command line, as people and scripts use it: the real program, its words and its exit codes.

mod agent;
mod called;
mod check;
mod docs;
mod drift;
mod enroll;
mod errors;
mod hands;
mod help;
mod install;
mod lab;
mod outsider;
mod people;
mod preload;
mod rules;
mod serve;
mod submit;
mod templates;
mod test;
mod unseen;
