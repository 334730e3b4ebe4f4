//! `tagship status`: the board in a terminal.

use tagship::identity::account::Role;

use crate::command::lab::{Lab, holds, said};

#[tokio::test(flavor = "multi_thread")]
async fn status_prints_the_board() {
    let lab = Lab::new().await;
    lab.server.succeeded("release-1").await;
    lab.server.running("release-2").await;
    lab.server.waiting("release-3").await;
    let status = lab.remote("carol", Role::Approver, &["status"]).await;
    holds(status.stdout(
        r#"
        You can approve 1.

        For you
        ID  STATE    TAG        PLACE            BY   CREATED                  WHAT
        3   waiting  release-3  shop production  bob  2026-11-21 16:00:00 CET  needs 1 approval; first release; Round prices at the till, not in the basket

        In progress
        ID  STATE    TAG        PLACE            BY   CREATED                  WHAT
        2   running  release-2  shop production  bob  2026-11-21 16:00:00 CET  stage 2 of 3, stage: 0 of 3 hosts done (2/11); first release; Round prices at the till, not in the basket

        Live
        PROJECT  ENVIRONMENT  LIVE       COMMIT        HOSTS  SINCE                    BY   RUNNING                 NEXT                    LAST
        shop     production   release-1  3f2a9c1b2d5e  3      2026-11-21 16:00:00 CET  bob  release-2 (2, running)  release-3 (3, waiting)  release-2 (2, running)
        shop     qa           nothing    -             3      -                        -    -                       -                       -

        Recent
        ID  STATE      TAG        PLACE            BY   CREATED                  WHAT
        1   succeeded  release-1  shop production  bob  2026-11-21 16:00:00 CET  first release; Round prices at the till, not in the basket
        "#,
    ));
}

#[tokio::test(flavor = "multi_thread")]
async fn status_json_is_the_agents_answer() {
    let lab = Lab::new().await;
    lab.server.waiting("release-1").await;
    let board = said(lab.local(&["status", "--json", "--project", "shop"])).json();
    assert_eq!(board["waiting"]["total"], 1, "{board}");
    assert_eq!(board["environments"].as_array().unwrap().len(), 2);
    let other = said(lab.local(&["status", "--json", "--environment", "none"])).json();
    assert_eq!(other["waiting"]["total"], 0, "{other}");
}
