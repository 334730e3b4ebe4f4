//! The actions shared by the pages, the JSON API and CODO's API. Each of them parses a request,
//! calls a function here and renders the result.
//!
//! Permissions are checked here, and audit entries are made here. Nothing here knows HTML, JSON or
//! forms, and nothing is executed: `engine` appends the events.

pub(super) mod account;
mod approvers;
pub(super) mod board;
pub(super) mod hooks;
pub(super) mod hosts;
pub(super) mod precedents;
pub(super) mod submit;
pub(super) mod tasks;
pub(super) mod templates;
pub(super) mod users;
