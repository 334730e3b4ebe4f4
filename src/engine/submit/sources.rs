//! What an order is compared with.

use jiff::Timestamp;

use crate::config::{Config, Templates};
use crate::domain::right::PermissionTarget;

/// What whoever asks may know of. The rest is to them as if it were not there, and no complaint
/// names it.
pub trait Visibility: Sync {
    /// Whether they may know of what happens in a place.
    fn place(&self, place: &PermissionTarget) -> bool;
    /// Whether the list of templates shows them this one.
    fn lists(&self, template: &str) -> bool;
    /// Whether the list of hosts shows them this one.
    fn host(&self, name: &str) -> bool;
}

/// What an order is held against.
pub struct ResolveSources<'a> {
    pub config: &'a Config,
    pub library: &'a Templates,
    pub sight: &'a dyn Visibility,
    /// Hosts that stay out.
    pub disabled: &'a [String],
    pub now: Timestamp,
}
