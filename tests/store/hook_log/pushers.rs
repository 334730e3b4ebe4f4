//! The account of a push: by the git server's name, by system user, by SSH key. The data published
//! for the hook's line agrees with the agent's decision.

use std::path::Path;
use std::sync::Arc;

use tagship::config;
use tagship::domain::approval::Role;
use tagship::domain::rule::Pusher;

use super::{Fixture, GIT_USER, at_once, configuration};

const KEY: &str =
    "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIGFhYWFhYWFhYWFhYWFhYWFhYWFhYWFhYWFhYWFhYWFh";
const PRINT: &str = "SHA256:TGIk2D1DFZBKmjWssB2+Qdiona/OUK1TSuWAAHMK+n0";
const OTHER_KEY: &str =
    "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIGJiYmJiYmJiYmJiYmJiYmJiYmJiYmJiYmJiYmJiYmJi";
const OTHER_PRINT: &str = "SHA256:tY51GDtdgY+0w0jAi5adr0DjfLY3KB1G5pQLtXMQD38";

/// System users that exist on every machine, with the same numbers.
const ROOT: u32 = 0;
const DAEMON: u32 = 1;
const BIN: u32 = 2;

/// alice is `alice.a` for the git server, the system user daemon, and has a key; bob is `root` for
/// the git server and the system user bin. The second repository is known by its path.
fn fixture() -> Fixture {
    let text = configuration().replace("alice/mono", "/srv/git/mono.git");
    let text = format!(
        "{text}[users.alice]\ngitlab = \"alice.a\"\nsystem = \"daemon\"\n\
         ssh_keys = [\"{KEY} alice@example.com\"]\n\
         [users.bob]\ngitlab = \"root\"\nsystem = \"bin\"\n"
    );
    let mut fixture = Fixture::new();
    fixture.config = Arc::new(config::parse("c.toml", &text, Path::new("/etc")).unwrap());
    fixture
}

/// Pushes `v1`; returns the pusher's name and account.
fn push(
    fixture: &mut Fixture,
    to: &str,
    owner: u32,
    said: &str,
    key: &str,
) -> (String, Option<String>) {
    let tag = match to {
        "alice/shop" => format!("release-{}", fixture.records),
        _ => format!("v{}", fixture.records),
    };
    let mut record = fixture.record(to, &tag, '0', '1');
    said.clone_into(&mut record.pusher);
    key.clone_into(&mut record.ssh_key);
    *fixture.files.owner.lock().unwrap() = Some(owner);
    let pusher = Pusher::from_record(said, key, owner, Some(GIT_USER));
    let published = fixture.config.rules_files().into_iter();
    let mut pushers = published.filter_map(|file| (file.repository == to).then_some(file.pushers));
    let pushers = pushers.next().flatten().unwrap();
    let told = pushers.account(&pusher).map(str::to_owned);
    fixture.write(&format!("{}.toml", fixture.records), Some(record));
    fixture.take_all().unwrap();
    let newest = fixture.all().remove(0);
    let task = newest.outcomes[0].outcome.task().unwrap();
    let task = at_once(fixture.store.task(task)).unwrap();
    let submitter = task.submission.submitter.clone();
    assert_eq!(
        submitter.account, told,
        "the pusher's line says another one"
    );
    (submitter.name, submitter.account)
}

#[test]
fn pusher_is_identified_by_name_key_or_system_user() {
    let mut fixture = fixture();
    let (shop, path) = ("alice/shop", "/srv/git/mono.git");
    for (to, owner, said, key, name, account) in [
        (shop, GIT_USER, "alice.a", "", "alice.a", Some("alice")),
        (shop, GIT_USER, "uid:1", "", "daemon", Some("alice")),
        (shop, DAEMON, "", "", "daemon", Some("alice")),
        (shop, GIT_USER, "uid:1", KEY, PRINT, Some("alice")),
        // An unknown key is not attributed to the owner of the process.
        (shop, GIT_USER, "uid:1", OTHER_KEY, OTHER_PRINT, None),
        // A record of another system user is not trusted.
        (shop, BIN, "alice.a", KEY, "bin", Some("bob")),
        // A name on the git server is not that of a system user, and vice versa.
        (shop, GIT_USER, "daemon", "", "daemon", None),
        (shop, ROOT, "", "", "root", None),
        // Except without a git server that has names.
        (path, ROOT, "", "", "root", Some("bob")),
    ] {
        let found = push(&mut fixture, to, owner, said, key);
        let wanted = (name.to_owned(), account.map(str::to_owned));
        assert_eq!(found, wanted, "{to} {owner} {said:?} {key:?}");
    }
}

#[test]
fn replay_maps_the_key_by_the_current_configuration() {
    let mut fixture = fixture();
    push(&mut fixture, "alice/shop", GIT_USER, "uid:1", KEY);
    let text = configuration() + &format!("[users.carol]\nssh_keys = [\"{KEY}\"]\n");
    fixture.config = Arc::new(config::parse("c.toml", &text, Path::new("/etc")).unwrap());
    let entry = fixture.all().remove(0);
    fixture.withdraw(entry.outcomes[0].outcome.task().unwrap());
    let replayed = fixture.replay(entry.id, Role::Approver).unwrap();
    let task = replayed.replays[0].outcomes[0].outcome.task().unwrap();
    let task = at_once(fixture.store.task(task)).unwrap();
    let submitter = task.submission.submitter.clone();
    assert_eq!(submitter.account.as_deref(), Some("carol"));
    assert_eq!(
        submitter.display_name(),
        "carol",
        "no fingerprint where an account is known"
    );
}
