#![allow(clippy::unwrap_used)]

use std::time::Duration;

use super::super::tests::{World, named, status};
use super::*;
use crate::base::clock::Clock as _;

/// Alice and Bob; the delegation ends in an hour.
async fn world() -> (World, Delegation, Account) {
    let (world, _) = World::with_alice().await;
    let bob = world.accounts.add(named("bob"), Commit::new());
    let bob = bob.await.unwrap();
    let made = world.accounts.delegate(new(&world), Commit::new());
    let made = made.await.unwrap();
    (world, made, bob)
}

fn new(world: &World) -> NewDelegation {
    NewDelegation {
        from: "alice".to_owned(),
        to: "bob".to_owned(),
        until: world.clock.now() + Duration::from_secs(3600),
        project: Some("shop".to_owned()),
        by: "alice".to_owned(),
    }
}

impl World {
    async fn stands_in(&self, to: &Account) -> Vec<String> {
        let found = self.accounts.delegated_to(to).await.unwrap();
        found.into_iter().map(|(_, from)| from.name).collect()
    }
}

#[tokio::test]
async fn delegation_expires_exactly_at_its_end() {
    let (world, made, bob) = world().await;
    assert_eq!(world.accounts.delegations().await.unwrap(), [made]);
    world.clock.advance(Duration::from_secs(3599));
    assert_eq!(world.stands_in(&bob).await, ["alice"]);
    world.clock.advance(Duration::from_secs(1));
    assert_eq!(world.stands_in(&bob).await, [""; 0]);
    assert_eq!(world.accounts.delegations().await.unwrap(), []);
}

#[tokio::test]
async fn only_the_delegator_ends_a_delegation_early() {
    let (world, made, bob) = world().await;
    let accounts = &world.accounts;
    let refused = accounts.end_delegation("bob", &made.id, Commit::new());
    assert!(matches!(
        refused.await,
        Err(AccountError::NoSuchDelegation(..))
    ));
    let ended = accounts.end_delegation("alice", &made.id, Commit::new());
    ended.await.unwrap();
    assert_eq!(world.stands_in(&bob).await, [""; 0]);
}

#[tokio::test]
async fn delegation_is_void_for_disabled_or_recreated_accounts() {
    let (world, _, bob) = world().await;
    world.set("alice", status(Status::Disabled)).await;
    assert_eq!(world.stands_in(&bob).await, [""; 0]);
    world.set("alice", status(Status::Active)).await;
    assert_eq!(world.stands_in(&bob).await, ["alice"]);
    world.accounts.remove("bob", Commit::new()).await.unwrap();
    let other = world.accounts.add(named("bob"), Commit::new());
    let other = other.await.unwrap();
    assert_eq!(world.stands_in(&other).await, [""; 0]);
    assert_eq!(world.accounts.delegations().await.unwrap(), []);
}

#[tokio::test]
async fn unusable_values_are_refused() {
    let (world, _, _) = world().await;
    let refused = async |change: fn(&mut NewDelegation)| {
        let mut asked = new(&world);
        change(&mut asked);
        world.accounts.delegate(asked, Commit::new()).await
    };
    let error = refused(|asked| asked.to = "alice".to_owned()).await;
    assert!(matches!(error, Err(AccountError::ToOneself)));
    let error = refused(|asked| asked.to = "nobody".to_owned()).await;
    assert!(matches!(error, Err(AccountError::NoSuchAccount(_))));
    let error = refused(|asked| asked.until -= Duration::from_secs(3600)).await;
    assert!(matches!(error, Err(AccountError::Past(_))));
}
