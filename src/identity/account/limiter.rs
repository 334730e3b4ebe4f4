//! Limits guessing: counts failed logins per account and address, per address, and per account from
//! all addresses. In memory, bounded, reset by a restart. Guessing from a few addresses never locks
//! the owner out.

use std::collections::HashMap;
use std::hash::Hash;
use std::net::{IpAddr, Ipv6Addr};
use std::time::Duration;

use jiff::Timestamp;

/// Failures are forgotten this long after the first of them.
const WINDOW: Duration = Duration::from_secs(15 * 60);
/// Failures in the window for one account from one address.
const ACCOUNT_FAILURES_MAX: u32 = 5;
/// Failures in the window from one address, for all accounts.
const ADDRESS_FAILURES_MAX: u32 = 50;
/// Wrong passwords in the window for one account, from all addresses: one address adds at most
/// [`ACCOUNT_FAILURES_MAX`].
const PASSWORD_FAILURES_MAX: u32 = 100;
/// Wrong codes in the window for one account, from all addresses.
const CODE_FAILURES_MAX: u32 = 20;
/// The maximum number of counts, for origins and for accounts each; beyond it some are dropped.
const COUNTS_MAX: usize = 10_000;
/// How many counts are kept then.
const COUNTS_KEPT: usize = 9_000;

/// Where guesses come from.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum GuessOrigin {
    Account(String, IpAddr),
    Address(IpAddr),
}

/// What is guessed, from any address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Secret {
    Password,
    /// To guess at codes one must know the password already.
    Code,
}

impl Secret {
    fn failures_max(self) -> u32 {
        match self {
            Self::Password => PASSWORD_FAILURES_MAX,
            Self::Code => CODE_FAILURES_MAX,
        }
    }
}

#[derive(Clone, Copy)]
struct Count {
    failures: u32,
    since: Timestamp,
}

struct GuessCounts<K>(HashMap<K, Count>);

impl<K> Default for GuessCounts<K> {
    fn default() -> Self {
        Self(HashMap::new())
    }
}

impl<K: Clone + Eq + Hash> GuessCounts<K> {
    /// Returns until when attempts are blocked by too many failures.
    fn full_until(&self, key: &K, max: u32, now: Timestamp) -> Option<Timestamp> {
        let count = self.0.get(key)?;
        let until = count.since + WINDOW;
        (until > now && count.failures >= max).then_some(until)
    }

    /// Counts a failure. If there are too many counts, those with the lowest `rank` are dropped.
    fn add<W: Ord + Copy>(&mut self, key: K, now: Timestamp, rank: fn(&Count) -> W) {
        self.make_room(now, rank);
        let fresh = Count {
            failures: 0,
            since: now,
        };
        let count = self.0.entry(key).or_insert(fresh);
        if count.since + WINDOW <= now {
            *count = fresh;
        }
        count.failures += 1;
    }

    fn uncount(&mut self, key: &K) {
        if let Some(count) = self.0.get_mut(key) {
            count.failures = count.failures.saturating_sub(1);
        }
    }

    fn make_room<W: Ord + Copy>(&mut self, now: Timestamp, rank: fn(&Count) -> W) {
        if self.0.len() < COUNTS_MAX {
            return;
        }
        self.0.retain(|_, count| count.since + WINDOW > now);
        // Many at once, since each round reads all of them.
        let mut surplus = self.0.len().saturating_sub(COUNTS_KEPT);
        let mut worths: Vec<W> = self.0.values().map(rank).collect();
        worths.sort_unstable();
        if let Some(most) = surplus.checked_sub(1).and_then(|nth| worths.get(nth)) {
            self.0.retain(|_, count| {
                let goes = surplus > 0 && rank(count) <= *most;
                surplus -= usize::from(goes);
                !goes
            });
        }
    }
}

/// Ranks origins by age: the oldest count is dropped first.
fn age(count: &Count) -> Timestamp {
    count.since
}

/// Ranks accounts by failures: the fewest are dropped first, so that guesses at many unknown names
/// do not displace a high count.
fn severity(count: &Count) -> (u32, Timestamp) {
    (count.failures, count.since)
}

#[derive(Default)]
pub(super) struct Limiter {
    /// An attacker can add as many as they have addresses.
    origins: GuessCounts<GuessOrigin>,
    /// Separate, so that many counted addresses do not displace these.
    accounts: GuessCounts<(Secret, String)>,
}

impl Limiter {
    /// Counts an attempt as failed before it is made, so that concurrent attempts count too. The
    /// error is when the next one is allowed.
    pub(super) fn begin(
        &mut self,
        account: &str,
        from: IpAddr,
        now: Timestamp,
    ) -> Result<(), Timestamp> {
        self.count(Secret::Password, account, from, now)
    }

    /// Like [`Limiter::begin`], for a code.
    pub(super) fn begin_code(
        &mut self,
        account: &str,
        from: IpAddr,
        now: Timestamp,
    ) -> Result<(), Timestamp> {
        self.count(Secret::Code, account, from, now)
    }

    fn count(
        &mut self,
        secret: Secret,
        account: &str,
        from: IpAddr,
        now: Timestamp,
    ) -> Result<(), Timestamp> {
        let counted = origins(account, from);
        let guessed = (secret, account.to_owned());
        let mut until = self
            .accounts
            .full_until(&guessed, secret.failures_max(), now);
        for (origin, max) in &counted {
            until = until.or_else(|| self.origins.full_until(origin, *max, now));
        }
        if let Some(until) = until {
            return Err(until);
        }
        for (origin, _) in counted {
            self.origins.add(origin, now, age);
        }
        self.accounts.add(guessed, now, severity);
        Ok(())
    }

    /// Uncounts an attempt: the password was correct, but proves nothing yet.
    pub(super) fn undo(&mut self, account: &str, from: IpAddr) {
        for (origin, _) in origins(account, from) {
            self.origins.uncount(&origin);
        }
        self.accounts
            .uncount(&(Secret::Password, account.to_owned()));
    }

    /// Like [`Limiter::succeeded`], for a code.
    pub(super) fn succeeded_code(&mut self, account: &str, from: IpAddr) {
        self.clear(account, from);
        self.accounts.0.remove(&(Secret::Code, account.to_owned()));
    }

    /// Records that the attempt succeeded: clears the count of this account and address, and takes
    /// one failure off the address and off the account from all addresses.
    pub(super) fn succeeded(&mut self, account: &str, from: IpAddr) {
        self.clear(account, from);
        self.accounts
            .uncount(&(Secret::Password, account.to_owned()));
    }

    fn clear(&mut self, account: &str, from: IpAddr) {
        let [(of_account, _), (of_address, _)] = origins(account, from);
        self.origins.0.remove(&of_account);
        self.origins.uncount(&of_address);
    }
}

fn origins(account: &str, from: IpAddr) -> [(GuessOrigin, u32); 2] {
    let from = network(from);
    [
        (
            GuessOrigin::Account(account.to_owned(), from),
            ACCOUNT_FAILURES_MAX,
        ),
        (GuessOrigin::Address(from), ADDRESS_FAILURES_MAX),
    ]
}

/// Returns the network of one subscriber: an IPv4 address, or the first half of an IPv6 address.
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
    fn sixth_guess_waits_but_not_from_other_addresses() {
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
    fn further_attempts_do_not_extend_the_wait() {
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

    fn address_number(number: usize) -> IpAddr {
        Ipv6Addr::from_bits((number as u128) << 64).into()
    }

    #[test]
    fn account_guessed_from_many_addresses_waits() {
        let mut limiter = Limiter::default();
        for number in 0..100 {
            limiter
                .begin("alice", address_number(number), at(0))
                .unwrap();
        }
        assert_eq!(limiter.begin("alice", address(1), at(14)), Err(at(15)));
        assert_eq!(limiter.begin("bob", address(1), at(14)), Ok(()));
        assert_eq!(limiter.begin("alice", address(1), at(15)), Ok(()));
    }

    #[test]
    fn flood_of_addresses_does_not_reset_account_guesses() {
        let mut limiter = Limiter::default();
        for number in 0..20 {
            limiter
                .begin_code("alice", address_number(number), at(0))
                .unwrap();
        }
        for number in 0..3 * COUNTS_MAX {
            let name = format!("user{number}");
            limiter.begin(&name, address_number(number), at(1)).unwrap();
        }
        assert_eq!(limiter.begin_code("alice", address(1), at(2)), Err(at(15)));
    }

    #[test]
    fn the_memory_is_bounded() {
        let mut limiter = Limiter::default();
        for number in 0..COUNTS_MAX + 500 {
            let name = format!("user{number}");
            let now = at(number as i64 / 1000);
            limiter.begin(&name, address_number(number), now).unwrap();
        }
        assert!(limiter.origins.0.len() <= COUNTS_MAX);
        assert!(limiter.accounts.0.len() <= COUNTS_MAX);
        // The youngest are still counted.
        let last = COUNTS_MAX + 499;
        let (origin, _) = &origins(&format!("user{last}"), address_number(last))[0];
        assert!(limiter.origins.0.contains_key(origin));
    }
}
