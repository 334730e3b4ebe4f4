#![allow(clippy::unwrap_used)]

use crate::base::clock::ManualClock;
use crate::identity::account::{AccountChange, NewAccount, Role};
use crate::store::kv::all_rows;
use crate::store::memory::{CommitFault, MemoryKv};

use super::*;

struct World {
    kv: Arc<MemoryKv>,
    clock: Arc<ManualClock>,
    accounts: Arc<Accounts>,
    sessions: Sessions,
    alice: Account,
}

async fn world() -> World {
    let kv = Arc::new(MemoryKv::new());
    let clock = Arc::new(ManualClock::at("2026-03-01T12:00:00Z".parse().unwrap()));
    let accounts = Accounts::new(Arc::clone(&kv) as _, Arc::clone(&clock) as _);
    let accounts = Arc::new(accounts);
    let alice = NewAccount {
        name: "alice".into(),
        display: String::new(),
        role: Role::Approver,
        groups: [].into(),
        password: None,
    };
    let alice = accounts.add(alice, Commit::new()).await.unwrap();
    let sessions = Sessions::new(
        Arc::clone(&kv) as _,
        Arc::clone(&clock) as _,
        Arc::clone(&accounts),
        WebTransport::Http,
    );
    World {
        kv,
        clock,
        accounts,
        sessions,
        alice,
    }
}

impl World {
    /// Logs alice in; returns the cookie that her browser sends from then on.
    async fn cookie(&self) -> String {
        let new = self.sessions.begin(&self.alice).await.unwrap();
        let set_cookie = new.set_cookie.expose_secret();
        set_cookie.split(';').next().unwrap().to_owned()
    }

    async fn who(&self, cookie: &str) -> Option<String> {
        let session = self.sessions.find(cookie).await.unwrap();
        session.map(|session| session.account.name)
    }

    async fn change(&self, change: AccountChange) {
        self.accounts
            .update("alice", change, Commit::new())
            .await
            .unwrap();
    }

    async fn stored(&self) -> usize {
        all_rows(&*self.kv, SESSIONS.as_bytes())
            .await
            .unwrap()
            .len()
    }
}

fn hours(hours: u64) -> Duration {
    Duration::from_secs(3600 * hours)
}

#[tokio::test]
async fn cookie_identifies_the_user_until_logout() {
    let world = world().await;
    let cookie = world.cookie().await;
    assert_eq!(
        world.who(&format!("a=b; {cookie}; c=d")).await.as_deref(),
        Some("alice")
    );
    let forget = world.sessions.end(&cookie).await.unwrap();
    assert_eq!(
        forget,
        "tagship_session=; Path=/; HttpOnly; SameSite=Lax; Max-Age=0"
    );
    assert_eq!(world.who(&cookie).await, None);
    assert_eq!(world.stored().await, 0);
    world.sessions.end(&cookie).await.unwrap();
}

#[tokio::test]
async fn unknown_cookies_identify_no_user() {
    let world = world().await;
    let cookie = world.cookie().await;
    let value = cookie.split_once('=').unwrap().1;
    for other in [
        String::new(),
        "tagship_session".into(),
        "tagship_session=".into(),
        format!("tagship_session={}", "0".repeat(64)),
        format!("tagship_session={}", &value[1..]),
        format!("tagship_session=\"{value}\""),
        format!("xtagship_session={value}"),
        format!("__Host-tagship_session={value}"),
        format!("tagship_session={}", "x".repeat(100_000)),
    ] {
        assert_eq!(world.who(&other).await, None);
    }
}

#[tokio::test]
async fn store_does_not_contain_cookie_values() {
    let world = world().await;
    let cookie = world.cookie().await;
    let session = world.sessions.find(&cookie).await.unwrap().unwrap();
    let secret = session.secret.expose_secret();
    for row in all_rows(&*world.kv, b"").await.unwrap() {
        let text = String::from_utf8([row.key, row.value].concat()).unwrap();
        assert!(!text.contains(secret));
        assert!(!text.contains(&session.csrf_token()));
    }
}

#[tokio::test]
async fn a_session_ends_after_twelve_hours_without_a_request() {
    let world = world().await;
    let (used, unused) = (world.cookie().await, world.cookie().await);
    world.clock.advance(hours(11));
    assert!(world.who(&used).await.is_some());
    world.clock.advance(hours(1));
    assert!(world.who(&used).await.is_some());
    assert!(world.who(&unused).await.is_none());
}

#[tokio::test]
async fn session_ends_after_seven_days_despite_use() {
    let world = world().await;
    let cookie = world.cookie().await;
    for _ in 0..167 {
        world.clock.advance(hours(1));
        assert!(world.who(&cookie).await.is_some());
    }
    world.clock.advance(hours(1));
    assert!(world.who(&cookie).await.is_none());
}

#[tokio::test]
async fn frequent_requests_write_nothing() {
    let world = world().await;
    let cookie = world.cookie().await;
    world.clock.advance(Duration::from_secs(9 * 60));
    world.kv.on_commit(|_| panic!("a commit"));
    assert!(world.who(&cookie).await.is_some());
}

#[tokio::test]
async fn session_works_when_its_use_cannot_be_stored() {
    let world = world().await;
    let cookie = world.cookie().await;
    world.clock.advance(hours(1));
    world.kv.on_commit(|_| CommitFault::UnknownLost);
    assert!(world.who(&cookie).await.is_some());
}

#[tokio::test]
async fn role_change_applies_from_the_next_request() {
    let world = world().await;
    let cookie = world.cookie().await;
    world
        .change(AccountChange {
            role: Some(Role::Viewer),
            ..AccountChange::default()
        })
        .await;
    let session = world.sessions.find(&cookie).await.unwrap().unwrap();
    assert_eq!(session.account.role, Role::Viewer);
}

#[tokio::test]
async fn reenabled_account_does_not_regain_sessions() {
    let world = world().await;
    let cookie = world.cookie().await;
    for status in [Status::Disabled, Status::Active] {
        world
            .change(AccountChange {
                status: Some(status),
                ..AccountChange::default()
            })
            .await;
        assert_eq!(world.who(&cookie).await, None);
    }
}

#[tokio::test]
async fn a_new_password_ends_every_session() {
    let world = world().await;
    let cookie = world.cookie().await;
    let password = "battery staple".into();
    let set = world
        .accounts
        .set_password("alice", &password, Commit::new());
    set.await.unwrap();
    assert_eq!(world.who(&cookie).await, None);
}

#[tokio::test]
async fn session_is_not_inherited_by_a_recreated_account() {
    let world = world().await;
    let cookie = world.cookie().await;
    world.accounts.remove("alice", Commit::new()).await.unwrap();
    assert_eq!(world.who(&cookie).await, None);
    let successor = NewAccount {
        name: "alice".into(),
        display: String::new(),
        role: Role::Admin,
        groups: [].into(),
        password: None,
    };
    world.accounts.add(successor, Commit::new()).await.unwrap();
    assert_eq!(world.who(&cookie).await, None);
}

#[tokio::test]
async fn form_requires_the_token_of_its_session() {
    let world = world().await;
    let mine = world
        .sessions
        .find(&world.cookie().await)
        .await
        .unwrap()
        .unwrap();
    let other = world
        .sessions
        .find(&world.cookie().await)
        .await
        .unwrap()
        .unwrap();
    assert_eq!(mine.check_csrf(&mine.csrf_token()), Ok(()));
    assert_eq!(mine.check_csrf(&other.csrf_token()), Err(CsrfMismatch));
    assert_eq!(mine.check_csrf(""), Err(CsrfMismatch));
    assert_eq!(
        mine.check_csrf(mine.secret.expose_secret()),
        Err(CsrfMismatch)
    );
}

#[tokio::test]
async fn only_expired_sessions_are_purged() {
    let world = world().await;
    for _ in 0..120 {
        world.cookie().await;
    }
    world.clock.advance(hours(12));
    let kept = world.cookie().await;
    assert_eq!(world.sessions.purge().await.unwrap(), 120);
    assert_eq!(world.stored().await, 1);
    assert!(world.who(&kept).await.is_some());
    world.accounts.remove("alice", Commit::new()).await.unwrap();
    assert_eq!(world.sessions.purge().await.unwrap(), 1);
    assert_eq!(world.stored().await, 0);
}

/// Each kind is valid until one moment before its end, and is deleted only at its end.
#[tokio::test]
async fn every_session_kind_ends_and_is_deleted_on_time() {
    let moment = Duration::from_nanos(1);
    for kind in [
        SecretKind::Session,
        SecretKind::Halfway,
        SecretKind::AuthKey,
    ] {
        let life = match kind {
            SecretKind::Session => hours(12),
            SecretKind::Halfway => Duration::from_secs(5 * 60),
            SecretKind::AuthKey => hours(24),
        };
        for (after, is_good) in [(life - moment, true), (life, false)] {
            let world = world().await;
            let (secret, ends) = world.sessions.insert(&world.alice, kind).await.unwrap();
            assert_eq!(ends, world.clock.now() + life, "{kind:?}");
            world.clock.advance(after);
            let value = secret.expose_secret();
            let sessions = &world.sessions;
            let good = match kind {
                SecretKind::Session => {
                    let cookie = format!("tagship_session={value}");
                    sessions.find(&cookie).await.unwrap().is_some()
                }
                SecretKind::Halfway => {
                    let cookie = format!("{HALFWAY_COOKIE}={value}");
                    sessions.is_halfway(&cookie).await.unwrap().is_some()
                }
                SecretKind::AuthKey => sessions.of_auth_key(&secret).await.unwrap().is_some(),
            };
            assert_eq!(good, is_good, "{kind:?} after {after:?}");
            let purged = sessions.purge().await.unwrap();
            assert_eq!(purged, usize::from(!is_good), "{kind:?} after {after:?}");
            assert_eq!(world.stored().await, usize::from(is_good));
        }
    }
}

#[test]
fn over_tls_the_cookie_is_bound_to_tls_and_to_the_host() {
    let transport = WebTransport::of_url("HTTPS://ship.example.com/");
    assert_eq!(
        transport.set_cookie("x", Duration::from_secs(60)),
        "__Host-tagship_session=x; Path=/; HttpOnly; SameSite=Lax; Max-Age=60; Secure"
    );
    for url in ["http://127.0.0.1:8080", "ship.example.com", "httpsx://", ""] {
        assert_eq!(WebTransport::of_url(url), WebTransport::Http);
    }
}
