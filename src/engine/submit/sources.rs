//! What an order is checked against.

use jiff::Timestamp;

use crate::config::{Config, Templates};
use crate::domain::permission::PermissionTarget;

/// What the user may see. Everything else is treated as absent, and no error names it.
pub trait Visibility: Sync {
    /// Whether the user may see what happens in a scope.
    fn sees(&self, target: &PermissionTarget) -> bool;
    /// Whether the user's list of templates has this one.
    fn lists(&self, library: &Templates, template: &str) -> bool;
    /// Whether the user's list of hosts has this one.
    fn host(&self, name: &str) -> bool;
}

/// What an order is checked against.
pub struct ResolveSources<'a> {
    pub config: &'a Config,
    pub library: &'a Templates,
    pub viewer: &'a dyn Visibility,
    /// Hosts that are disabled.
    pub disabled: &'a [String],
    pub now: Timestamp,
}
