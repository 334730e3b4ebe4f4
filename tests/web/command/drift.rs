//! Drift of a host's `current`: the same text everywhere.

use std::time::Duration;

use jiff::Timestamp;
use tagship::domain::host::{BrokenCurrent, HostState, ReleaseId};
use tagship_tests::world::Settings;

use crate::command::lab::{Lab, said};
use crate::command::program::Test;

async fn seen(lab: &Lab, state: &HostState) {
    let store = &lab.server.store;
    let known = store.live("shop", "production").await.unwrap();
    let place = ("shop", "production", "web-1");
    let now = lab.server.now();
    let drift = store
        .note_host_state(place, &known["web-1"], state, now)
        .await;
    assert!(drift.unwrap().is_some());
}

#[tokio::test(flavor = "multi_thread")]
async fn drift_is_shown_identically_everywhere() {
    let lab = Lab::new().await;
    lab.server.succeeded("release-1").await;
    lab.server.succeeded("release-2").await;
    let live = lab.server.store.live("shop", "production").await.unwrap();
    let from = live["web-1"].release.clone();
    lab.clock.advance(Duration::from_secs(3600));
    let led = |to: Option<&str>, broken| HostState {
        live: to.map(|to| ReleaseId(to.to_owned())),
        broken,
        ..HostState::default()
    };
    let changed: Timestamp = "2026-11-21T15:30:00Z".parse().unwrap();
    let relinked = HostState {
        changed: Some(changed),
        ..led(Some("/srv/old/v3"), None)
    };
    let gone = Some(BrokenCurrent::Dangling);
    let cases = [
        (relinked, "current points to /srv/old/v3"),
        (
            led(Some("/srv/old/v4"), None),
            "current points to /srv/old/v4",
        ),
        (led(None, None), "current is missing"),
        (led(Some(&from.0), gone), "which is not there"),
        (led(None, gone), "current is a link that points to itself"),
        (
            led(None, Some(BrokenCurrent::Directory)),
            "current is a directory and no link",
        ),
        (
            led(None, Some(BrokenCurrent::File)),
            "current is a file and no link",
        ),
        (
            led(None, Some(BrokenCurrent::Text)),
            "current is a link whose text cannot be shown",
        ),
    ];
    for (state, words) in cases {
        seen(&lab, &state).await;
        let what = format!("{words}, tagship switched it to {from}");
        let since = |first: &str, then: &str| match state.changed {
            Some(_) => format!("(changed {then} by the host's clock, first seen {first})"),
            None => format!("(first seen {first}; time of change unknown)"),
        };
        let utc = since("2026-11-21 16:00:00 UTC", "2026-11-21 15:30:00 UTC");
        let local = since("2026-11-21 17:00:00 CET", "2026-11-21 16:30:00 CET");
        let listed = said(lab.local(&["live"])).stdout;
        let line = "drift: shop production web-1: ";
        let line = listed.lines().find(|seen| seen.starts_with(line)).unwrap();
        assert!(line.contains(&what) && line.contains(&local), "{line}");
        let hosts = lab.page("/hosts").await;
        assert!(hosts.contains(&what) && hosts.contains(&utc), "{hosts}");
        let checked = said(lab.checking()).stdout;
        let line = checked.lines().find(|line| line.contains(words));
        let line = line.unwrap_or_else(|| panic!("{words}: {checked}"));
        assert!(
            line.starts_with("warn host web-1: shop production: "),
            "{line}"
        );
        assert!(line.contains(&what) && line.contains(&utc), "{line}");
        let api = said(lab.local(&["live", "--json"])).json();
        let drift = &api["live"][0]["hosts"]["web-1"]["drift"];
        assert_eq!(drift["from"], from.0, "{drift}");
        assert_eq!(drift["to"], serde_json::to_value(&state.live).unwrap());
        assert_eq!(drift["since"], "2026-11-21T16:00:00Z", "{drift}");
        let changed = serde_json::to_value(state.changed).unwrap();
        assert_eq!(drift["changed"], changed, "{drift}");
        let broken = serde_json::to_value(state.broken).unwrap();
        assert_eq!(drift["broken"], broken, "{drift}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn check_looks_itself_where_current_points() {
    let lab = Lab::new().await;
    lab.server.succeeded("release-1").await;
    let live = lab.server.store.live("shop", "production").await.unwrap();
    let live = live["web-1"].release.clone();
    let socket = lab.server.socket.display();
    let world = Settings::default()
        .agent(&format!("socket = '{socket}'"))
        .with_sshd()
        .more("[hosts.web-1]\naddress = '127.0.0.1'")
        .group("one = ['web-1']")
        .environment(
            "production",
            "release-*",
            "group = 'one'\ndeploy_to = '{DIR}/shop'",
        )
        .build();
    let at = world.path("shop");
    let current = at.join("current");
    for release in [live.0.as_str(), "other"] {
        std::fs::create_dir_all(at.join("releases").join(release)).unwrap();
    }
    let lead = |to: &str| {
        let _ = std::fs::remove_file(&current);
        std::os::unix::fs::symlink(format!("releases/{to}"), &current).unwrap();
    };
    let config = world.path("config.toml").display().to_string();
    let check = || said(Test::new().arguments(["--config", &config, "check"])).stdout;
    let switched = format!("tagship switched it to {live}");
    lead(&live.0);
    let said = check();
    assert!(!said.contains(&switched), "{said}");
    lead("other");
    let said = check();
    let line = format!("warn host web-1: shop production: current points to other, {switched}");
    assert!(said.contains(&line), "{said}");
    // The drift that the agent saw earlier has ended.
    let old = HostState {
        live: Some(ReleaseId("/srv/old/v3".to_owned())),
        ..HostState::default()
    };
    seen(&lab, &old).await;
    lead(&live.0);
    let said = check();
    assert!(!said.contains(&switched), "{said}");
    // What replaced the link has one finding.
    std::fs::remove_file(&current).unwrap();
    std::fs::create_dir(&current).unwrap();
    let said = check();
    assert!(said.contains("current is a real directory"), "{said}");
    assert!(!said.contains(&switched), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn rollback_over_a_drifted_host_names_what_it_replaces() {
    let lab = Lab::new().await;
    lab.server.succeeded("release-1").await;
    lab.server.succeeded("release-2").await;
    let old = HostState {
        live: Some(ReleaseId("/srv/old/v3".to_owned())),
        ..HostState::default()
    };
    seen(&lab, &old).await;
    let words = "web-1: current points to /srv/old/v3, tagship switched it to ";
    let replaces = "; this task replaces it";
    // Also for a rollback to what tagship believes to be live.
    for (back, task) in [("1", 3), ("2", 4)] {
        let said_back = said(lab.local(&["rollback", back]));
        let line = said_back.stdout.lines().find(|line| line.contains(words));
        let line = line.unwrap_or_else(|| panic!("{said_back}"));
        assert!(line.ends_with(replaces), "{line}");
        assert!(!said_back.stdout.contains("changes nothing"), "{said_back}");
        let shown = said(lab.local(&["show", &task.to_string()])).stdout;
        assert!(shown.contains(words) && shown.contains(replaces), "{shown}");
        assert!(!shown.contains("changes nothing"), "{shown}");
        let page = lab.page(&format!("/tasks/{task}")).await;
        assert!(page.contains(words) && page.contains(replaces), "{page}");
        assert!(!page.contains("changes nothing"), "{page}");
        let json = said(lab.local(&["show", &task.to_string(), "--json"])).json();
        assert_eq!(json["drift"]["web-1"]["to"], "/srv/old/v3", "{json}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn rollback_to_what_another_tool_made_live_says_so() {
    let lab = Lab::new().await;
    lab.server.succeeded("release-1").await;
    let live = lab.server.store.live("shop", "production").await.unwrap();
    let one = live["web-1"].release.clone();
    lab.server.succeeded("release-2").await;
    let state = HostState {
        live: Some(one.clone()),
        ..HostState::default()
    };
    seen(&lab, &state).await;
    let words = format!("web-1: current points to {one}, tagship switched it to ");
    let there = "; it points to this task's release already";
    for (back, then) in [("1", there), ("2", "; this task replaces it")] {
        let said_back = said(lab.local(&["rollback", back]));
        let line = said_back.stdout.lines().find(|line| line.contains(&words));
        let line = line.unwrap_or_else(|| panic!("{said_back}"));
        assert!(line.ends_with(then), "{line}");
    }
}
