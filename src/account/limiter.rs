//! Slows down guessing: counts failed logins for each account and address, and for each address. In
//! memory, bounded, forgotten at a restart. Somebody who guesses from one address never locks the
//! owner out of theirs.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::time::Duration;

use jiff::Timestamp;

/// Failures are forgotten so long after the first of them.
const WINDOW: Duration = Duration::from_secs(15 * 60);
/// Failures in the window, for one account from one address.
const ACCOUNT_FAILURES_MAX: u32 = 5;
/// Failures in the window from one address, whatever the accounts.
const ADDRESS_FAILURES_MAX: u32 = 50;
/// Wrong codes in the window for one account, from all addresses.
const CODE_FAILURES_MAX: u32 = 20;
/// What is counted at once; beyond it the oldest counts are forgotten.
const COUNTS_MAX: usize = 10_000;
/// And so many are left then.
const COUNTS_LEFT: usize = 9_000;

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Subject {
    Account(String, IpAddr),
    Address(IpAddr),
    /// Codes of an account, from wherever: whoever guesses at them knows the password already.
    Codes(String),
}

struct Count {
    failures: u32,
    since: Timestamp,
}

#[derive(Default)]
pub(super) struct Limiter {
    counts: HashMap<Subject, Count>,
}

impl Limiter {
    /// Counts an attempt as failed before it is made, so that attempts side by side count too. The
    /// error is when the next one is allowed.
    pub(super) fn begin(
        &mut self,
        account: &str,
        from: IpAddr,
        now: Timestamp,
    ) -> Result<(), Timestamp> {
        self.count(&subjects(account, from), now)
    }

    /// As [`Limiter::begin`], for a code.
    pub(super) fn begin_code(
        &mut self,
        account: &str,
        from: IpAddr,
        now: Timestamp,
    ) -> Result<(), Timestamp> {
        let [of_account, of_address] = subjects(account, from);
        let codes = (Subject::Codes(account.to_owned()), CODE_FAILURES_MAX);
        self.count(&[of_account, of_address, codes], now)
    }

    fn count(&mut self, subjects: &[(Subject, u32)], now: Timestamp) -> Result<(), Timestamp> {
        for (subject, max) in subjects {
            if let Some(count) = self.counts.get(subject) {
                let until = count.since + WINDOW;
                if until > now && count.failures >= *max {
                    return Err(until);
                }
            }
        }
        for (subject, _) in subjects {
            self.make_room(now);
            let fresh = Count {
                failures: 0,
                since: now,
            };
            let count = self.counts.entry(subject.clone()).or_insert(fresh);
            if count.since + WINDOW <= now {
                count.failures = 0;
                count.since = now;
            }
            count.failures += 1;
        }
        Ok(())
    }

    /// The attempt was no failure, and proves nothing yet.
    pub(super) fn undo(&mut self, account: &str, from: IpAddr) {
        for (subject, _) in subjects(account, from) {
            if let Some(count) = self.counts.get_mut(&subject) {
                count.failures = count.failures.saturating_sub(1);
            }
        }
    }

    /// As [`Limiter::succeeded`], for a code.
    pub(super) fn succeeded_code(&mut self, account: &str, from: IpAddr) {
        self.succeeded(account, from);
        self.counts.remove(&Subject::Codes(account.to_owned()));
    }

    /// The attempt was right after all: its account starts afresh, its address has one failure less.
    pub(super) fn succeeded(&mut self, account: &str, from: IpAddr) {
        let [(of_account, _), (of_address, _)] = subjects(account, from);
        self.counts.remove(&of_account);
        if let Some(count) = self.counts.get_mut(&of_address) {
            count.failures = count.failures.saturating_sub(1);
        }
    }

    fn make_room(&mut self, now: Timestamp) {
        if self.counts.len() < COUNTS_MAX {
            return;
        }
        self.counts.retain(|_, count| count.since + WINDOW > now);
        // Many at once: each round looks at all of them.
        let surplus = self.counts.len().saturating_sub(COUNTS_LEFT);
        let mut ages: Vec<Timestamp> = self.counts.values().map(|count| count.since).collect();
        ages.sort_unstable();
        if let Some(youngest) = surplus.checked_sub(1).and_then(|nth| ages.get(nth)) {
            let mut surplus = surplus;
            self.counts.retain(|_, count| {
                let goes = surplus > 0 && count.since <= *youngest;
                surplus -= usize::from(goes);
                !goes
            });
        }
    }
}

fn subjects(account: &str, from: IpAddr) -> [(Subject, u32); 2] {
    let from = network(from);
    [
        (
            Subject::Account(account.to_owned(), from),
            ACCOUNT_FAILURES_MAX,
        ),
        (Subject::Address(from), ADDRESS_FAILURES_MAX),
    ]
}

/// One subscriber: an IPv4 address, or the first half of an IPv6 address.
fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => {
            let network = address.to_bits() & !u128::from(u64::MAX);
            Ipv6Addr::from_bits(network).into()
        }
        address @ IpAddr::V4(_) => address,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn at(minute: i64) -> Timestamp {
        Timestamp::from_second(1_800_000_000 + 60 * minute).unwrap()
    }

    fn address(last: u8) -> IpAddr {
        [192, 0, 2, last].into()
    }

    #[test]
    fn the_sixth_guess_waits_and_the_owner_elsewhere_does_not() {
        let mut limiter = Limiter::default();
        for _ in 0..5 {
            limiter.begin("alice", address(1), at(0)).unwrap();
        }
        assert_eq!(limiter.begin("alice", address(1), at(14)), Err(at(15)));
        assert_eq!(limiter.begin("alice", address(2), at(14)), Ok(()));
        assert_eq!(limiter.begin("bob", address(1), at(14)), Ok(()));
        assert_eq!(limiter.begin("alice", address(1), at(15)), Ok(()));
    }

    #[test]
    fn trying_on_does_not_lengthen_the_wait() {
        let mut limiter = Limiter::default();
        for _ in 0..5 {
            limiter.begin("alice", address(1), at(0)).unwrap();
        }
        for _ in 0..100 {
            assert_eq!(limiter.begin("alice", address(1), at(1)), Err(at(15)));
        }
    }

    #[test]
    fn an_address_that_guesses_many_accounts_waits() {
        let mut limiter = Limiter::default();
        for number in 0..50 {
            let name = format!("user{number}");
            limiter.begin(&name, address(1), at(0)).unwrap();
        }
        assert_eq!(limiter.begin("alice", address(1), at(1)), Err(at(15)));
    }

    #[test]
    fn right_passwords_are_no_failures() {
        let mut limiter = Limiter::default();
        for _ in 0..200 {
            limiter.begin("alice", address(1), at(0)).unwrap();
            limiter.succeeded("alice", address(1));
        }
    }

    #[test]
    fn one_ipv6_network_is_one_address() {
        let mut limiter = Limiter::default();
        for host in 0..5 {
            let from: IpAddr = format!("2001:db8:0:1::{host}").parse().unwrap();
            limiter.begin("alice", from, at(0)).unwrap();
        }
        let begin = |limiter: &mut Limiter, from: &str| {
            limiter.begin("alice", from.parse().unwrap(), at(1))
        };
        assert!(begin(&mut limiter, "2001:db8:0:1:ffff::").is_err());
        assert!(begin(&mut limiter, "2001:db8:0:2::").is_ok());
    }

    #[test]
    fn the_memory_is_bounded() {
        let mut limiter = Limiter::default();
        for number in 0..COUNTS_MAX + 500 {
            let from = Ipv6Addr::from_bits((number as u128) << 64).into();
            limiter
                .begin("alice", from, at(number as i64 / 1000))
                .unwrap();
        }
        assert!(limiter.counts.len() <= COUNTS_MAX);
        // The youngest are still counted.
        let last = Ipv6Addr::from_bits(((COUNTS_MAX + 499) as u128) << 64).into();
        let (subject, _) = &subjects("alice", last)[0];
        assert!(limiter.counts.contains_key(subject));
    }
}
