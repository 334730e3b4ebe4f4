//! What the hook and the agent share.

pub mod rule;
pub mod spool;
