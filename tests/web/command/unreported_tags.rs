//! Tags that no hook reported, and that cannot be queried on the git server: shown wherever pushes
//! are listed.

use std::time::Duration;

use crate::command::lab::{Lab, said};

#[tokio::test(flavor = "multi_thread")]
async fn failing_tag_polls_show_their_cause_and_start() {
    let lab = Lab::new().await;
    let store = &lab.server.store;
    let repository = &lab.server.config.projects[0].repository;
    let cause = "project shop: git ls-remote: Permission denied (publickey)";
    let note = |cause| store.note_failed_scan(repository, cause, lab.server.now());
    note(Some("the server is away")).await.unwrap();
    lab.clock.advance(Duration::from_secs(600));
    note(Some(cause)).await.unwrap();

    let words = |first: &str, last: &str| {
        format!(
            "tags that the hook did not report are not detected since {first} (last attempt {last}): {cause}"
        )
    };
    let whole = words("2026-11-21 16:00:00 CET", "2026-11-21 16:10:00 CET");
    let listed = said(lab.local(&["hooks"])).stderr;
    assert!(
        listed.contains(&format!("warning: shop: {whole}\n")),
        "{listed}"
    );
    let checked = said(lab.checking()).stdout;
    let line = format!("warn project shop: {whole}; correct git_url");
    assert!(checked.contains(&line), "{checked}");
    let page = lab.page("/hooks").await;
    let short = words("2026-11-21 16:00 CET", "2026-11-21 16:10 CET");
    assert!(page.contains(&format!("shop: {short}")), "{page}");
    let api = said(lab.local(&["hooks", "--json"])).json();
    let unseen = &api["unseen"][0];
    assert_eq!(unseen["project"], "shop", "{api}");
    assert_eq!(unseen["since"], "2026-11-21T15:00:00Z", "{api}");
    assert_eq!(unseen["at"], "2026-11-21T15:10:00Z", "{api}");
    assert_eq!(unseen["cause"], cause, "{api}");

    note(None).await.unwrap();
    let api = said(lab.local(&["hooks", "--json"])).json();
    assert_eq!(api["unseen"], serde_json::json!([]));
    assert!(!lab.page("/hooks").await.contains("not found since"));
    let checked = said(lab.checking()).stdout;
    assert!(!checked.contains("not found since"), "{checked}");
}
