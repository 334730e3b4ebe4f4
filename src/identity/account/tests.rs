#![allow(clippy::unwrap_used)]

use std::time::Duration;

use crate::base::clock::ManualClock;
use crate::base::secret::ExposeSecret;
use crate::store::memory::{CommitFault, MemoryKv};

use crate::domain::permission::Scope;

use super::*;

pub(super) const HOME: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 1));

pub(super) struct World {
    pub(super) kv: Arc<MemoryKv>,
    pub(super) clock: Arc<ManualClock>,
    pub(super) accounts: Accounts,
}

fn world() -> World {
    let kv = Arc::new(MemoryKv::new());
    let clock = Arc::new(ManualClock::at("2026-03-01T12:00:00Z".parse().unwrap()));
    let accounts = Accounts::new(Arc::clone(&kv) as _, Arc::clone(&clock) as _);
    World {
        kv,
        clock,
        accounts,
    }
}

pub(super) fn named(name: &str) -> NewAccount {
    NewAccount {
        name: name.into(),
        display: String::new(),
        role: Role::Approver,
        groups: BTreeSet::from(["pm".into()]),
        password: None,
    }
}

impl World {
    pub(super) async fn with_alice() -> (Self, Account) {
        let world = world();
        let new = NewAccount {
            password: Some("correct horse".into()),
            ..named("alice")
        };
        let alice = world.accounts.add(new, Commit::new()).await.unwrap();
        (world, alice)
    }

    pub(super) async fn add(&self, name: &str) -> Account {
        self.accounts.add(named(name), Commit::new()).await.unwrap()
    }

    async fn log_in(&self, name: &str, password: &str) -> Result<Account, LoginError> {
        let login = self
            .accounts
            .verify_password(name, &password.into(), HOME)
            .await;
        login.map(|login| login.account().clone())
    }

    pub(super) async fn set(&self, name: &str, change: AccountChange) -> Account {
        self.accounts
            .update(name, change, Commit::new())
            .await
            .unwrap()
    }

    async fn token(&self, user: &str) -> NewToken {
        let made = self
            .accounts
            .new_token(user, labelled("ci"), Commit::new())
            .await;
        made.unwrap()
    }
}

fn labelled(label: &str) -> TokenTerms {
    TokenTerms {
        label: label.to_owned(),
        ..TokenTerms::default()
    }
}

fn until(expires: Timestamp) -> TokenTerms {
    TokenTerms {
        expires: Some(expires),
        ..labelled("ci")
    }
}

pub(super) fn status(status: Status) -> AccountChange {
    AccountChange {
        status: Some(status),
        ..AccountChange::default()
    }
}

#[test]
fn each_role_includes_the_lower_roles() {
    assert!(Role::Viewer < Role::Submitter);
    assert!(Role::Submitter < Role::Approver);
    assert!(Role::Approver < Role::Admin);
    for role in Role::ALL {
        assert_eq!(role.to_string().parse::<Role>().unwrap(), role);
    }
    assert!(Role::None < Role::Viewer);
    assert!("root".parse::<Role>().is_err());
}

#[tokio::test]
async fn an_account_is_added_once_and_found_again() {
    let (world, alice) = World::with_alice().await;
    assert_eq!(alice.display, "alice");
    assert_eq!(world.accounts.get("alice").await.unwrap(), alice);
    let again = world.accounts.add(named("alice"), Commit::new()).await;
    assert!(matches!(again, Err(AccountError::Exists(_))));
    let bob = world.add("bob").await;
    assert_eq!(world.accounts.list().await.unwrap(), [alice, bob]);
}

#[tokio::test]
async fn names_that_would_confuse_are_refused() {
    let world = world();
    let long = "x".repeat(65);
    for name in [
        "", "Alice", "al ice", "al/ice", "os:alice", "älice", ".", "..", "a\n", &long,
    ] {
        let refused = world.accounts.add(named(name), Commit::new()).await;
        assert!(matches!(refused, Err(AccountError::BadName(_))), "{name}");
        let group = NewAccount {
            groups: BTreeSet::from([name.to_owned()]),
            ..named("bob")
        };
        let refused = world.accounts.add(group, Commit::new()).await;
        assert!(matches!(refused, Err(AccountError::BadName(_))), "{name}");
    }
    let display = NewAccount {
        display: "Zoë Müller\u{1b}[2J".into(),
        ..named("zoe")
    };
    let refused = world.accounts.add(display, Commit::new()).await;
    assert!(matches!(refused, Err(AccountError::BadDisplay)));
    let display = NewAccount {
        display: "Zoë Müller".into(),
        ..named("zoe")
    };
    world.accounts.add(display, Commit::new()).await.unwrap();
    assert_eq!(world.accounts.list().await.unwrap().len(), 1);
}

#[tokio::test]
async fn change_affects_only_its_named_fields() {
    let (world, alice) = World::with_alice().await;
    let role = AccountChange {
        role: Some(Role::Admin),
        ..AccountChange::default()
    };
    let changed = world.set("alice", role).await;
    assert_eq!(
        changed,
        Account {
            role: Role::Admin,
            ..alice
        }
    );
    world.log_in("alice", "correct horse").await.unwrap();
    let nobody = world
        .accounts
        .update("bob", AccountChange::default(), Commit::new())
        .await;
    assert!(matches!(nobody, Err(AccountError::NoSuchAccount(_))));
}

#[tokio::test]
async fn only_the_right_password_logs_in() {
    let (world, alice) = World::with_alice().await;
    assert_eq!(world.log_in("alice", "correct horse").await.unwrap(), alice);
    for (name, password) in [("alice", "wrong horse"), ("bob", "correct horse"), ("", "")] {
        let refused = world.log_in(name, password).await;
        assert!(matches!(refused, Err(LoginError::Denied)), "{name}");
    }
    world.add("robot").await;
    assert!(matches!(
        world.log_in("robot", "").await,
        Err(LoginError::Denied)
    ));
}

#[tokio::test]
async fn a_new_password_replaces_the_old_one_and_ends_sessions() {
    let (world, alice) = World::with_alice().await;
    let password = "battery staple".into();
    let set = world
        .accounts
        .set_password("alice", &password, Commit::new());
    set.await.unwrap();
    assert!(matches!(
        world.log_in("alice", "correct horse").await,
        Err(LoginError::Denied)
    ));
    let now = world.log_in("alice", "battery staple").await.unwrap();
    assert!(now.epoch > alice.epoch);
}

#[tokio::test]
async fn disabled_account_cannot_log_in() {
    let (world, alice) = World::with_alice().await;
    let token = world.token("alice").await;
    world.set("alice", status(Status::Disabled)).await;
    assert!(matches!(
        world.log_in("alice", "correct horse").await,
        Err(LoginError::Denied)
    ));
    let found = world.accounts.authenticate(&token.secret).await;
    assert!(matches!(found, Err(LoginError::Denied)));
    let back = world.set("alice", status(Status::Active)).await;
    assert_eq!(
        back.epoch,
        alice.epoch + 2,
        "sessions from before stay ended"
    );
    world.accounts.authenticate(&token.secret).await.unwrap();
}

#[tokio::test]
async fn guessing_is_limited_and_even_the_right_password_waits() {
    let (world, _) = World::with_alice().await;
    for _ in 0..5 {
        assert!(matches!(
            world.log_in("alice", "a guess").await,
            Err(LoginError::Denied)
        ));
    }
    let refused = world.log_in("alice", "correct horse").await;
    assert!(matches!(refused, Err(LoginError::TooMany(_))));
    let elsewhere = IpAddr::from([192, 0, 2, 9]);
    let password = "correct horse".into();
    let owner = world
        .accounts
        .verify_password("alice", &password, elsewhere);
    owner.await.unwrap();
    world.clock.advance(Duration::from_secs(15 * 60));
    world.log_in("alice", "correct horse").await.unwrap();
}

#[tokio::test]
async fn token_authenticates_its_account_until_revoked() {
    let (world, alice) = World::with_alice().await;
    let NewToken { secret, token } = world.token("alice").await;
    let found = world.accounts.authenticate(&secret).await.unwrap();
    assert_eq!((found.account, &found.token), (alice, &token.id));
    assert_eq!(
        world.accounts.tokens("alice").await.unwrap(),
        std::slice::from_ref(&token)
    );
    world
        .accounts
        .revoke("alice", &token.id, Commit::new())
        .await
        .unwrap();
    assert!(matches!(
        world.accounts.authenticate(&secret).await,
        Err(LoginError::Denied)
    ));
    assert_eq!(world.accounts.tokens("alice").await.unwrap(), []);
    let again = world
        .accounts
        .revoke("alice", &token.id, Commit::new())
        .await;
    assert!(matches!(again, Err(AccountError::NoSuchToken { .. })));
}

#[tokio::test]
async fn a_token_ends_with_its_time() {
    let (world, _) = World::with_alice().await;
    let expires = world.clock.now() + Duration::from_secs(60);
    let made = world
        .accounts
        .new_token("alice", until(expires), Commit::new());
    let token = made.await.unwrap();
    world.clock.advance(Duration::from_secs(59));
    world.accounts.authenticate(&token.secret).await.unwrap();
    world.clock.advance(Duration::from_secs(1));
    let found = world.accounts.authenticate(&token.secret).await;
    assert!(matches!(found, Err(LoginError::Denied)));
}

#[tokio::test]
async fn store_contains_no_plaintext_secret() {
    let (world, _) = World::with_alice().await;
    let token = world.token("alice").await;
    let secret = token
        .secret
        .expose_secret()
        .trim_start_matches(token::TOKEN_PREFIX);
    for row in all_rows(&*world.kv, b"").await.unwrap() {
        let text = [row.key, row.value].concat();
        let text = String::from_utf8(text).unwrap();
        assert!(
            !text.contains(secret) && !text.contains("correct horse"),
            "{text}"
        );
    }
}

#[tokio::test]
async fn using_a_token_writes_nothing() {
    let (world, _) = World::with_alice().await;
    let token = world.token("alice").await;
    world.kv.on_commit(|_| panic!("a commit"));
    world.accounts.authenticate(&token.secret).await.unwrap();
}

#[tokio::test]
async fn recreated_account_inherits_nothing() {
    let (world, alice) = World::with_alice().await;
    let mut tokens = Vec::new();
    for _ in 0..40 {
        tokens.push(world.token("alice").await);
    }
    let more = world
        .accounts
        .new_token("alice", labelled("ci"), Commit::new())
        .await;
    assert!(matches!(more, Err(AccountError::TooManyTokens(_))));
    world.accounts.remove("alice", Commit::new()).await.unwrap();
    assert_eq!(all_rows(&*world.kv, b"").await.unwrap(), []);
    let successor = world.add("alice").await;
    assert_ne!(successor.uid, alice.uid);
    for token in tokens {
        let found = world.accounts.authenticate(&token.secret).await;
        assert!(matches!(found, Err(LoginError::Denied)));
    }
    let gone = world.accounts.remove("bob", Commit::new()).await;
    assert!(matches!(gone, Err(AccountError::NoSuchAccount(_))));
}

#[tokio::test]
async fn changes_side_by_side_are_all_made() {
    let (world, alice) = World::with_alice().await;
    let accounts = Arc::new(world.accounts);
    let changes = (0..4).map(|number| {
        let accounts = Arc::clone(&accounts);
        let next = match number % 2 {
            0 => AccountChange {
                role: Some(Role::Admin),
                ..AccountChange::default()
            },
            _ => AccountChange {
                display: Some("Alice".into()),
                ..AccountChange::default()
            },
        };
        tokio::spawn(async move { accounts.update("alice", next, Commit::new()).await })
    });
    for change in futures::future::join_all(changes).await {
        change.unwrap().unwrap();
    }
    let expected = Account {
        role: Role::Admin,
        display: "Alice".into(),
        ..alice
    };
    assert_eq!(accounts.get("alice").await.unwrap(), expected);
}

#[tokio::test]
async fn change_and_its_extra_writes_commit_together() {
    let (world, alice) = World::with_alice().await;
    let audit = |at: &str| {
        Commit::new()
            .require("audit/1", Require::Absent)
            .put("audit/1", at)
    };
    let role = AccountChange {
        role: Some(Role::Submitter),
        ..AccountChange::default()
    };
    let changed = world
        .accounts
        .update("alice", role.clone(), audit("one"))
        .await;
    changed.unwrap();
    assert_eq!(
        world.kv.get(b"audit/1").await.unwrap().unwrap().value,
        b"one"
    );
    let password = "battery staple".into();
    let refused = world
        .accounts
        .set_password("alice", &password, audit("two"));
    assert!(matches!(refused.await, Err(AccountError::Overtaken)));
    let refused = world
        .accounts
        .new_token("alice", labelled("ci"), audit("two"))
        .await;
    assert!(matches!(refused, Err(AccountError::Overtaken)));
    let refused = world.accounts.remove("alice", audit("two")).await;
    assert!(matches!(refused, Err(AccountError::Overtaken)));
    let refused = world.accounts.add(named("bob"), audit("two")).await;
    assert!(matches!(refused, Err(AccountError::Overtaken)));
    let accounts = world.accounts.list().await.unwrap();
    assert_eq!(accounts.len(), 1);
    assert_eq!(accounts[0].epoch, alice.epoch);
}

#[tokio::test]
async fn unconfirmed_change_is_reported() {
    let (world, _) = World::with_alice().await;
    for (fault, there) in [
        (CommitFault::UnknownApplied, true),
        (CommitFault::UnknownLost, false),
    ] {
        let name = if there { "bob" } else { "carol" };
        world.kv.on_commit(move |_| fault.clone());
        let added = world.accounts.add(named(name), Commit::new()).await;
        assert!(matches!(added, Err(AccountError::Unconfirmed { .. })));
        assert_eq!(world.accounts.get(name).await.is_ok(), there);
    }
    world.kv.on_commit(|_| CommitFault::Refuse);
    let refused = world.accounts.add(named("dave"), Commit::new()).await;
    assert!(matches!(refused, Err(AccountError::Store(_))));
}

#[tokio::test]
async fn token_keeps_its_scopes_and_needs_a_future_end() {
    let (world, _) = World::with_alice().await;
    let with = |scopes: &[Scope]| TokenTerms {
        scopes: scopes.iter().copied().collect(),
        ..labelled("ci")
    };
    let read = with(&[Scope::Read]);
    let made = world
        .accounts
        .new_token("alice", read.clone(), Commit::new());
    let made = made.await.unwrap();
    assert_eq!(made.token.scopes, read.scopes);
    let found = world.accounts.authenticate(&made.secret).await.unwrap();
    assert_eq!(found.scopes, read.scopes);
    let none = world
        .accounts
        .new_token("alice", with(&[]), Commit::new())
        .await;
    assert!(matches!(none, Err(AccountError::NoScope)));
    let past = until(world.clock.now());
    let past = world.accounts.new_token("alice", past, Commit::new()).await;
    assert!(matches!(past, Err(AccountError::Past(_))));
}

/// The stored form from before scopes existed.
#[tokio::test]
async fn token_without_stored_scopes_has_all_scopes() {
    let (world, _) = World::with_alice().await;
    let made = world.token("alice").await;
    for row in all_rows(&*world.kv, b"token/").await.unwrap() {
        let mut value: serde_json::Value = serde_json::from_slice(&row.value).unwrap();
        value.as_object_mut().unwrap().remove("scopes").unwrap();
        let commit = Commit::new().put(row.key, value.to_string());
        world.kv.commit(commit).await.unwrap();
    }
    let found = world.accounts.authenticate(&made.secret).await.unwrap();
    assert_eq!(found.scopes, crate::domain::permission::Scopes::default());
}
