//! What a task's page and `tagship show` call things: each by its usual name, and once.

use tagship::domain::host::ReleaseId;
use tagship::domain::task::{ComparedRelease, ComparedWith, Event, Relation, StepResult};

use crate::command::lab::{Lab, said};
use crate::server::{OLDER, at, description};

#[tokio::test(flavor = "multi_thread")]
async fn waiting_task_names_the_tag_of_what_is_live() {
    let lab = Lab::new().await;
    let mut described = description();
    described.comparisons[0].live = Some(OLDER.to_owned());
    described.comparisons[0].relation = Relation::Ahead { commits: 3 };
    let task = lab.server.waiting_with("release-2", &described).await;
    let with = ComparedWith {
        live: vec![ComparedRelease {
            release: ReleaseId("20261120-101500-0a1b2c3".to_owned()),
            task: 7,
            tag: "release-1".to_owned(),
            commit: Some(OLDER.to_owned()),
            since: None,
            hosts: 2,
        }],
        relations: vec![Relation::Ahead { commits: 3 }],
    };
    let blob = serde_json::to_vec(&described).unwrap();
    let description = lab.server.store.put_blob(&blob).await.unwrap();
    let compared = Event::Compared { description, with };
    lab.server.append(&task, vec![compared]).await;

    let page = lab.page(&format!("/tasks/{}", task.id)).await;
    let called = format!("compared with release-1 ({}) on ", &OLDER[..10]);
    assert!(page.contains(&called), "{page}");
    let shown = said(lab.local(&["show", &task.id.to_string()])).stdout;
    let called = format!("to release-1 ({}), live on ", &OLDER[..12]);
    assert!(shown.contains(&called), "{shown}");
}

#[tokio::test(flavor = "multi_thread")]
async fn exit_code_of_a_step_is_said_once() {
    let lab = Lab::new().await;
    let task = lab.server.running("release-1").await;
    let result = StepResult::Failed {
        message: "ended with 3: no such table".to_owned(),
        exit_code: Some(3),
        omits_exit: false,
        is_final: false,
    };
    let ended = Event::Ended {
        at: at(1, 1, 0),
        result,
    };
    lab.server.append(&task, vec![ended]).await;
    let page = lab.page(&format!("/tasks/{}", task.id)).await;
    let shown = said(lab.local(&["show", &task.id.to_string()])).stdout;
    for text in [page, shown] {
        assert!(text.contains("ended with 3: no such table"), "{text}");
        assert!(!text.contains("exit 3"), "{text}");
    }
}
