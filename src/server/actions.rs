//! What people may read and do, for pages, JSON API and CODO's API alike: each of them reads a request,
//! calls a function here, and shows what it returns.
//!
//! The right to an action is tested here, and its entry in the audit is made here. Nothing here knows
//! HTML, JSON or a form; nothing here is performed: `engine` appends the events.

pub(super) mod account;
mod approvers;
pub(super) mod hooks;
pub(super) mod people;
pub(super) mod places;
pub(super) mod submit;
pub(super) mod tasks;
pub(super) mod templates;
