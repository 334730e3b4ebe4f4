//! The command line, as people and scripts use it: the real program, its output and exit codes.

mod accounts;
mod agent;
mod check;
mod color;
mod complete;
mod displayed_names;
mod docs;
mod drift;
mod enroll;
mod errors;
mod filters;
mod git_group;
mod help;
mod install;
mod interventions;
mod lab;
mod packaging;
mod preload;
mod program;
mod rules;
mod serve;
mod status;
mod submit;
mod templates;
mod unreported_tags;
