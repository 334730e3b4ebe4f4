//! Which temporary lockouts are already in the audit.

use std::collections::BTreeSet;
use std::sync::Mutex;

use jiff::Timestamp;

use crate::base::mutex::lock;

/// The most lockouts remembered at once; more leave no entry.
const SHUT_MAX: usize = 1000;

/// End times of lockouts that are already in the audit.
#[derive(Default)]
pub(in crate::server) struct LockoutEnds(Mutex<BTreeSet<Timestamp>>);

impl LockoutEnds {
    /// Whether the lockout that ends then is not in the audit yet.
    pub(super) fn is_news(&self, until: Timestamp, now: Timestamp) -> bool {
        let mut known = lock(&self.0);
        *known = known.split_off(&now);
        known.len() < SHUT_MAX && known.insert(until)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn temporary_refusal_is_audited_once() {
        let lockouts = LockoutEnds::default();
        let at = |second| Timestamp::constant(second, 0);
        assert!(lockouts.is_news(at(900), at(0)));
        assert!(!lockouts.is_news(at(900), at(1)));
        assert!(lockouts.is_news(at(905), at(1)), "somebody else's");
        assert!(!lockouts.is_news(at(905), at(904)));
        assert_eq!(lockouts.0.lock().map(|known| known.len()).unwrap_or(0), 1);
    }
}
