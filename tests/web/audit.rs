//! Every action of a person leaves an entry, in the commit that does it.

use reqwest::StatusCode;
use serde_json::json;
use tagship::account::Role;
use tagship::store::kv::Commit;
use tagship::store::{Became, HookOutcome, SeenPush};

use crate::client::{Browser, Program};
use crate::world::World;

#[tokio::test]
async fn whatever_a_person_does_or_is_refused_leaves_an_entry_that_fits() {
    let world = World::start().await;
    let task = world.waiting("release-1.4").await;
    let plan = task.landed.as_ref().unwrap().terms.plan.0.clone();
    let root = Program::of(&world, "root", Role::Admin).await;
    let vera = Program::of(&world, "vera", Role::Viewer).await;
    let path = format!("tasks/{}", task.id);

    vera.post(&format!("{path}/approve"), json!({ "plan": plan }))
        .await;
    root.post(&format!("{path}/approve"), json!({ "plan": plan }))
        .await;
    let bob = json!({ "name": "bob", "role": "approver", "password": "long enough it is" });
    root.post("users", bob).await;
    let password = json!({ "password": "another long enough" });
    root.post("users/bob/password", password).await;
    let (_, token) = root.post("users/bob/tokens", json!({ "name": "ci" })).await;
    let id = token["id"].as_str().unwrap();
    root.delete(&format!("users/bob/tokens/{id}")).await;
    root.delete("users/bob").await;
    let host = json!({ "reason": "disk" });
    let (status, _) = root.post("hosts/web-1/disable", host).await;
    assert_eq!(status, StatusCode::OK);
    root.post("hosts/web-1/enable", json!({})).await;
    let hana = Browser::of(&world, "hana", Role::Admin).await;
    let form = [("reason", "wrong tag")];
    hana.post(&format!("/tasks/{}/reject", task.id), &form)
        .await;

    let (status, _) = vera.get("audit").await;
    assert_eq!(status, StatusCode::FORBIDDEN);
    let (_, audit) = root.get("audit").await;
    let entries = audit["entries"].as_array().unwrap();
    let told: Vec<String> = entries
        .iter()
        .rev()
        .map(|entry| {
            let text = |key: &str| entry[key].as_str().unwrap_or("").to_owned();
            let result: String = text("result").chars().take(7).collect();
            format!("{} {} {} {result}", text("by"), text("what"), text("on"))
        })
        .collect();
    assert_eq!(
        told,
        [
            "vera approve  refused".to_owned(),
            "root approve  done".to_owned(),
            "root add user bob as approver done".to_owned(),
            "root set password bob done".to_owned(),
            "root make token bob: ci (read, submit, approve, admin) done".to_owned(),
            format!("root revoke token bob: {id} done"),
            "root remove user bob done".to_owned(),
            "root disable host web-1: disk done".to_owned(),
            "root enable host web-1 done".to_owned(),
            "hana reject wrong tag done".to_owned(),
        ]
    );
    assert_eq!(entries.last().unwrap()["task"], task.id);
    let from = entries.last().unwrap()["from"].as_str().unwrap();
    assert!(from.starts_with("127.0.0.1, token "), "{from}");
    let (_, verdict) = root.get("audit/verify").await;
    assert_eq!(verdict["entries"], 10);
    assert_eq!(verdict["fault"], json!(null));

    // Event and entry have one version: they came to stand together.
    let kv = world.store.kv();
    let entry = kv.get(b"audit/entry/0000000000000002").await.unwrap();
    let event = format!("task/{:016x}/event/", task.id);
    let events = tagship::store::kv::all_rows(kv.as_ref(), event.as_bytes()).await;
    let version = entry.unwrap().version;
    assert!(events.unwrap().iter().any(|row| row.version == version));

    let forged = Commit::new().put("audit/entry/0000000000000003", "{}");
    kv.commit(forged).await.unwrap();
    let (_, verdict) = root.get("audit/verify").await;
    assert_eq!(verdict["fault"], "entry 3 was changed or is missing");
    world.end().await;
}

#[tokio::test]
async fn a_replay_leaves_an_entry_as_its_refusal_does() {
    let world = World::start().await;
    let push = SeenPush {
        record: "0".repeat(32),
        repository: "/srv/git/shop.git".to_owned(),
        reference: "refs/tags/release-2.0".to_owned(),
        old: "0".repeat(40),
        new: "3".repeat(40),
        pusher: "bob".to_owned(),
        owner: 990,
        pushed_at: None,
    };
    let note = world.store.hook_note("1.toml", world.now(), Some(&push));
    let became = Became {
        project: None,
        outcome: HookOutcome::UnknownRepository,
        doubted: Vec::new(),
    };
    let note = note.await.unwrap();
    world.store.note_hook(&note, became).await.unwrap();
    let root = Program::of(&world, "root", Role::Admin).await;
    let vera = Program::of(&world, "vera", Role::Viewer).await;
    let (status, _) = vera.post("hooks/1/replay", json!({})).await;
    assert_eq!(status, StatusCode::FORBIDDEN);
    let (status, entry) = root.post("hooks/1/replay", json!({})).await;
    assert_eq!(status, StatusCode::OK);
    assert_eq!(entry["replays"][0]["became"][0]["outcome"], "proposed");
    let (_, audit) = root.get("audit").await;
    let told: Vec<_> = audit["entries"].as_array().unwrap().iter().collect();
    assert_eq!(told.len(), 2, "{audit:#}");
    assert_eq!(
        (&told[0]["by"], &told[0]["result"]),
        (&json!("root"), &json!("done"))
    );
    assert_eq!(told[0]["what"], "replay push");
    assert_eq!(told[1]["by"], "vera");
    world.end().await;
}
