//! The numbers that order claims on hosts (fences). Pure.
//!
//! A claim's number is a time in milliseconds, followed by bits chosen by its agent. A host may
//! show any number: it raises only the numbers used on *that* host, and only as far as a fast clock
//! of another agent would explain.

use super::HostError;

/// Number of bits of a fence that its agent chooses. The rest is a time in milliseconds.
pub const FENCE_SALT_BITS: u32 = 20;

/// Maximum lead of a host's fence or sequence number over ours: a wrong clock is hardly off by
/// more.
const AHEAD_MAX_S: u64 = 366 * 24 * 3600;

/// Returns the highest fence accepted from a host, given our own.
#[must_use]
pub fn fence_max(ours: u64) -> u64 {
    ours.saturating_add((AHEAD_MAX_S * 1000) << FENCE_SALT_BITS)
}

/// Returns the highest turn accepted from a host, in microseconds, given our own.
#[must_use]
pub fn op_sequence_max(ours: u64) -> u64 {
    ours.saturating_add(AHEAD_MAX_S * 1_000_000)
}

/// Returns the turn for the time in a fence, in microseconds.
#[must_use]
pub fn op_sequence_of(fence: u64) -> u64 {
    (fence >> FENCE_SALT_BITS) * 1000
}

/// Returns the error for a place held by another claim, or for a fence that is implausible.
#[must_use]
pub fn fenced(ours: u64, held: u64) -> HostError {
    if held > ours && held <= fence_max(ours) {
        return HostError::Fenced { ours, held };
    }
    HostError::Refused(format!(
        "the host shows fence {held}, which no agent can have taken: if no other agent releases there, delete .tagship/fence-{held} on the host, or rename it to .tagship/fence-0 where it is the only one, then retry"
    ))
}

/// Returns by how many milliseconds to raise claims on a host, so that this and later ones exceed
/// the fence it has shown; `None` if that fence is implausible.
#[must_use]
pub fn raise_above(claim: u64, seen: u64) -> Option<u64> {
    if seen > fence_max(claim) {
        return None;
    }
    (seen >> FENCE_SALT_BITS)
        .checked_sub(claim >> FENCE_SALT_BITS)?
        .checked_add(1)
}

/// Returns the fence of a claim, raised by `raise_ms`. If that overflows, it is returned unchanged,
/// and the host refuses it.
#[must_use]
pub fn raised(claim: u64, raise_ms: u64) -> u64 {
    let lift = raise_ms.checked_mul(1 << FENCE_SALT_BITS);
    lift.and_then(|lift| claim.checked_add(lift))
        .unwrap_or(claim)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const CLAIM: u64 = (1_790_000_000_000 << FENCE_SALT_BITS) | 7;

    #[test]
    fn lifted_claims_exceed_shown_fences_and_keep_order() {
        for ahead_ms in [0, 1, 40 * 86_400_000] {
            let seen = CLAIM + (ahead_ms << FENCE_SALT_BITS) + 3;
            let lift = raise_above(CLAIM, seen).unwrap();
            assert!(raised(CLAIM, lift) > seen);
            assert!(raised(CLAIM + 1, lift) > raised(CLAIM, lift));
        }
    }

    #[test]
    fn implausible_fence_lifts_nothing_and_overflows_nothing() {
        for seen in [u64::MAX, i64::MAX.cast_unsigned(), fence_max(CLAIM) + 1] {
            assert_eq!(raise_above(CLAIM, seen), None);
            let HostError::Refused(why) = fenced(CLAIM, seen) else {
                panic!("{seen} is no claim");
            };
            assert!(why.contains(&format!(".tagship/fence-{seen}")), "{why}");
        }
        assert_eq!(fence_max(u64::MAX), u64::MAX);
        assert_eq!(op_sequence_max(u64::MAX), u64::MAX);
        assert_eq!(raised(CLAIM, u64::MAX), CLAIM);
        assert_eq!(raised(u64::MAX, 1), u64::MAX);
        assert_eq!(raise_above(CLAIM, 0), None);
    }
}
