#![allow(clippy::unwrap_used)]

use std::sync::Arc;

use crate::store::kv::Kv as _;

use super::super::tests::{World, status};
use super::*;

fn role(role: Role) -> AccountChange {
    AccountChange {
        role: Some(role),
        ..AccountChange::default()
    }
}

#[tokio::test]
async fn last_admin_cannot_be_demoted_disabled_or_removed() {
    let (world, _) = World::with_alice().await;
    world.set("alice", role(Role::Admin)).await;
    world.add("bob").await;
    let is_last = |result: Result<(), AccountError>| {
        assert!(
            matches!(&result, Err(AccountError::LastAdmin(name)) if name == "alice"),
            "{result:?}"
        );
    };
    for change in [role(Role::Approver), status(Status::Disabled)] {
        let changed = world.accounts.update("alice", change, Commit::new()).await;
        is_last(changed.map(|_| ()));
    }
    is_last(world.accounts.remove("alice", Commit::new()).await);
    // A disabled admin manages no account.
    world.set("bob", status(Status::Disabled)).await;
    world.set("bob", role(Role::Admin)).await;
    is_last(world.accounts.remove("alice", Commit::new()).await);
    world.set("bob", status(Status::Active)).await;
    world.accounts.remove("alice", Commit::new()).await.unwrap();
}

#[tokio::test]
async fn concurrent_mutual_demotion_leaves_one_admin() {
    let (world, _) = World::with_alice().await;
    world.set("alice", role(Role::Admin)).await;
    world.add("bob").await;
    world.set("bob", role(Role::Admin)).await;
    // The other admin's change is made just before this one.
    let kv = Arc::clone(&world.kv);
    let bob = kv.get(b"account/bob").await.unwrap().unwrap();
    let mut viewer: AccountRecord = decode("bob", &bob.value).unwrap();
    viewer.account.role = Role::Viewer;
    let commit = Commit::new().put("account/bob", encode("bob", &viewer).unwrap());
    let guard = world
        .accounts
        .requires_another_admin("alice")
        .await
        .unwrap();
    kv.commit(commit).await.unwrap();
    let overtaken = world.accounts.commit("alice", guard).await.unwrap();
    assert!(matches!(overtaken, Committed::Conflict));
    let demoted = world
        .accounts
        .update("alice", role(Role::Viewer), Commit::new());
    assert!(matches!(demoted.await, Err(AccountError::LastAdmin(_))));
}
