//! Releases of an environment, and its next task.

#![allow(clippy::unwrap_used)]

use super::*;
use crate::domain::host::{Drift, ReleaseId};

fn head(id: u64, state: &str) -> Head {
    let head = serde_json::json!({
        "id": id, "state": state, "project": "shop", "environment": "production",
        "ref": format!("refs/tags/release-{id}"), "commit": null, "submitter": "bob",
        "created_at": "2026-11-21T15:00:00Z", "updated_at": "2026-11-21T15:00:00Z", "events": 3,
    });
    serde_json::from_value(head).unwrap()
}

fn live(task: u64, switched_by: u64, minute: i64) -> LiveRelease {
    LiveRelease {
        release: ReleaseId(format!("r-{task}")),
        task: Some(task),
        commit: Some("2".repeat(40)),
        switched_by,
        since: Some(Timestamp::from_second(1_800_000_000 + minute * 60).unwrap()),
        kept: Vec::new(),
        drift: None,
    }
}

fn place(live: Vec<(&str, LiveRelease)>) -> BoardEnvironment {
    let hosts = ["web-1", "web-2", "web-3"].map(str::to_owned);
    environment(PlaceFacts {
        project: "shop",
        environment: "production",
        hosts: &hosts,
        disabled: vec!["web-3".to_owned()],
        live: live
            .into_iter()
            .map(|(host, live)| (host.to_owned(), live))
            .collect(),
        made: [7, 8].map(|id| (id, head(id, "succeeded"))).into(),
        last: Some(head(9, "failed")),
    })
}

#[test]
fn release_of_most_hosts_comes_first() {
    let shown = place(vec![
        ("web-1", live(8, 8, 5)),
        ("web-2", live(7, 9, 2)),
        ("web-3", live(7, 9, 1)),
    ]);
    let releases: Vec<_> = shown
        .live
        .iter()
        .map(|release| (release.called(), release.hosts, release.switched_by))
        .collect();
    assert_eq!(
        releases,
        [("release-7", 2, Some(9)), ("release-8", 1, None)],
        "{shown:?}"
    );
    assert_eq!(shown.live[0].since, live(7, 9, 1).since);
    assert_eq!(shown.last.unwrap().name, "release-9");
    assert_eq!((shown.hosts, shown.disabled_hosts), (3, 1));
}

#[test]
fn environment_names_drift_and_hosts_without_a_release() {
    let mut drifted = live(7, 7, 0);
    drifted.drift = Some(Drift {
        from: drifted.release.clone(),
        to: None,
        since: Timestamp::from_second(1_800_000_000).unwrap(),
        changed: None,
        broken: None,
    });
    let shown = place(vec![("web-1", drifted)]);
    assert_eq!((shown.drift, shown.drifted), (vec!["web-1".to_owned()], 1));
    assert_eq!(place(Vec::new()).empty_hosts(), 3);
}

#[test]
fn next_task_is_the_one_nearest_to_its_start() {
    let mut shown = place(Vec::new());
    let other = Head {
        environment: "qa".to_owned(),
        ..head(1, "queued")
    };
    let active = [
        other,
        head(2, "proposed"),
        head(3, "waiting"),
        head(4, "running"),
        head(5, "scheduled"),
        head(6, "scheduled"),
    ];
    with_tasks(&mut shown, &active);
    assert_eq!(shown.next.map(|next| next.task), Some(5));
    assert_eq!(shown.running.map(|running| running.task), Some(4));
    assert_eq!(shown.waiting, 4);
}
