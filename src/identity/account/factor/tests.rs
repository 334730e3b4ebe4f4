#![allow(clippy::unwrap_used)]

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use super::super::tests::{HOME, World};
use super::super::{Accounts, Login};
use super::*;
use crate::base::clock::Clock as _;

const STEP: Duration = Duration::from_secs(STEP_S);

/// Alice, with a second factor in force since this moment.
async fn with_factor() -> (World, SecretString) {
    let (world, _) = World::with_alice().await;
    let begun = world
        .accounts
        .begin_factor("alice", Commit::new())
        .await
        .unwrap();
    let code = code_at(&begun.secret, world.clock.now()).unwrap();
    let confirmed = world
        .accounts
        .confirm_factor("alice", &code, Commit::new())
        .await;
    assert!(confirmed.unwrap().second_factor.is_some());
    (world, begun.secret)
}

impl World {
    async fn say(&self, code: &str) -> Result<Account, LoginError> {
        self.accounts.verify_code("alice", code, HOME).await
    }

    fn code(&self, secret: &SecretString) -> String {
        code_at(secret, self.clock.now()).unwrap()
    }

    async fn password(&self, password: &str) -> Result<Login, LoginError> {
        let password = password.into();
        self.accounts
            .verify_password("alice", &password, HOME)
            .await
    }
}

/// RFC 6238, appendix B, cut to six digits.
#[test]
fn codes_match_the_rfc() {
    let secret = Secret::from(*b"12345678901234567890").to_base32();
    for (second, code) in [
        (59, "287082"),
        (1_111_111_109, "081804"),
        (2_000_000_000, "279037"),
    ] {
        let at = Timestamp::from_second(second).unwrap();
        assert_eq!(code_at(&secret.clone().into(), at).unwrap(), code);
    }
}

#[tokio::test]
async fn unconfirmed_factor_requires_no_code() {
    let (world, alice) = World::with_alice().await;
    let accounts = &world.accounts;
    let early = accounts.confirm_factor("alice", "000000", Commit::new());
    assert!(matches!(early.await, Err(AccountError::NoFactor(_))));
    let first = accounts.begin_factor("alice", Commit::new()).await.unwrap();
    assert!(first.uri.expose_secret().starts_with("otpauth://totp/"));
    // Started again: only the last secret counts.
    let begun = accounts.begin_factor("alice", Commit::new()).await.unwrap();
    let login = world.password("correct horse").await.unwrap();
    assert!(matches!(login, Login::In(_)));
    let old = world.code(&first.secret);
    let wrong = accounts.confirm_factor("alice", &old, Commit::new()).await;
    assert!(matches!(wrong, Err(AccountError::WrongCode)));
    let code = world.code(&begun.secret);
    let now = accounts.confirm_factor("alice", &code, Commit::new()).await;
    assert!(now.unwrap().epoch > alice.epoch, "sessions end");
    let login = world.password("correct horse").await.unwrap();
    assert!(matches!(login, Login::CodeNeeded(_)));
    let again = accounts.begin_factor("alice", Commit::new()).await;
    assert!(matches!(again, Err(AccountError::HasFactor(_))));
}

#[tokio::test]
async fn code_is_accepted_once_across_agents() {
    let (world, secret) = with_factor().await;
    let confirmed_with = world.code(&secret);
    let replayed = world.say(&confirmed_with).await;
    assert!(matches!(replayed, Err(LoginError::UsedCode)));
    world.clock.advance(STEP);
    let code = world.code(&secret);
    world.say(&code).await.unwrap();
    assert!(matches!(world.say(&code).await, Err(LoginError::UsedCode)));
    let restarted = Accounts::new(Arc::clone(&world.kv) as _, Arc::clone(&world.clock) as _);
    let replayed = restarted.verify_code("alice", &code, HOME).await;
    assert!(matches!(replayed, Err(LoginError::UsedCode)));
    // Nor is a code of an earlier step, although it was never used.
    world.clock.advance(STEP);
    world.clock.advance(STEP);
    let skipped = code_at(&secret, world.clock.now() - STEP).unwrap();
    world.say(&world.code(&secret)).await.unwrap();
    assert!(matches!(
        world.say(&skipped).await,
        Err(LoginError::UsedCode)
    ));
}

#[tokio::test]
async fn concurrent_use_of_a_code_admits_one() {
    let (world, secret) = with_factor().await;
    world.clock.advance(STEP);
    let code = world.code(&secret);
    let both = futures::future::join(world.say(&code), world.say(&code)).await;
    let let_in = [both.0.is_ok(), both.1.is_ok()];
    assert_eq!(let_in.iter().filter(|one| **one).count(), 1, "{let_in:?}");
}

#[tokio::test]
async fn code_is_accepted_at_most_one_step_early_or_late() {
    let (world, secret) = with_factor().await;
    world.clock.advance(10 * STEP);
    let at = |steps: i64| {
        let by = jiff::SignedDuration::from_secs(steps * STEP_S as i64);
        code_at(&secret, world.clock.now() + by).unwrap()
    };
    for steps in [-2, 2] {
        let refused = world.say(&at(steps)).await;
        assert!(matches!(refused, Err(LoginError::WrongCode)), "{steps}");
    }
    world.say(&at(-1)).await.unwrap();
    world.say(&at(0)).await.unwrap();
    // As apps show it, with a gap.
    let next = at(1);
    let shown = format!("{} {}", &next[..3], &next[3..]);
    world.say(&shown).await.unwrap();
}

#[tokio::test]
async fn correct_password_does_not_reset_the_wrong_code_count() {
    let (world, secret) = with_factor().await;
    world.clock.advance(STEP);
    for _ in 0..5 {
        world.password("correct horse").await.unwrap();
        assert!(matches!(
            world.say("000000").await,
            Err(LoginError::WrongCode)
        ));
    }
    let refused = world.say(&world.code(&secret)).await;
    assert!(matches!(refused, Err(LoginError::TooMany(_))));
    world.clock.advance(Duration::from_secs(15 * 60));
    world.say(&world.code(&secret)).await.unwrap();
}

#[tokio::test]
async fn codes_are_counted_from_all_addresses_together() {
    let (world, secret) = with_factor().await;
    world.clock.advance(STEP);
    for number in 0..20 {
        let from = IpAddr::from([192, 0, 2, 100 + number]);
        let wrong = world.accounts.verify_code("alice", "000000", from).await;
        assert!(matches!(wrong, Err(LoginError::WrongCode)), "{number}");
    }
    let refused = world.say(&world.code(&secret)).await;
    assert!(matches!(refused, Err(LoginError::TooMany(_))));
}

#[tokio::test]
async fn factor_reset_requires_only_the_password_afterwards() {
    let (world, secret) = with_factor().await;
    world
        .accounts
        .reset_factor("alice", Commit::new())
        .await
        .unwrap();
    let login = world.password("correct horse").await.unwrap();
    assert!(matches!(login, Login::In(_)));
    world.clock.advance(STEP);
    let refused = world.say(&world.code(&secret)).await;
    assert!(matches!(refused, Err(LoginError::Denied)));
}
