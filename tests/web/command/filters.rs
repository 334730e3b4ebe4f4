//! Filters with a name that the agent does not know: an error that asks for the one that was meant,
//! not an empty list.

use tagship::store::HookOutcome;

use crate::command::lab::{Lab, holds, said};
use crate::server::COMMIT;

#[tokio::test(flavor = "multi_thread")]
async fn a_filter_with_an_unknown_name_asks_which_was_meant() {
    let lab = Lab::new().await;
    lab.server.waiting("release-1").await;
    let project = "error: no project is named shpo; the agent knows shop; did you mean shop?\n";
    for arguments in [
        &["tasks", "--project", "shpo"][..],
        &["tasks", "--project", "shpo", "--json"],
        &["tasks", "--project", "shpo", "--environment", "qa"],
        &["live", "--project", "shpo"],
        &["hooks", "--project", "shpo"],
    ] {
        holds(lab.local(arguments).stderr(project).status(1));
    }
    holds(
        lab.local(&["tasks", "--project", "kiosk"])
            .stderr("error: no project is named kiosk; the agent knows shop\n")
            .status(1),
    );
    for arguments in [
        &["tasks", "--environment", "prodction"][..],
        &["live", "--project", "shop", "--environment", "prodction"],
    ] {
        let environment = "error: no environment is named prodction; the agent knows production, qa; did you mean production?\n";
        holds(lab.local(arguments).stderr(environment).status(1));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_known_name_without_entries_is_no_error() {
    let lab = Lab::new().await;
    let qa = ["tasks", "--project", "shop", "--environment", "qa"];
    holds(lab.local(&qa).stderr("no task matches\n"));
    let none = said(lab.local(&["tasks", "--project", "shop", "--json"]));
    assert_eq!(none.json()["tasks"], serde_json::json!([]), "{none}");
    // A former project is known by what was pushed to it.
    lab.server
        .heard(COMMIT, Some("shpo"), HookOutcome::Deleted)
        .await;
    let former = ["hooks", "--project", "shpo", "--pusher", "alice"];
    holds(lab.local(&former).stderr("no push matches\n"));
}
