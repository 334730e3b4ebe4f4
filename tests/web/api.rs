//! Each address of the JSON API.

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use tagship::api::TaskView;
use tagship::domain::task::{Event, Outcome};
use tagship::identity::account::Role;

use crate::client::{Program, assert_error, plan_of};
use crate::server::{COMMIT, TestServer};

#[tokio::test]
async fn tasks_are_listed_newest_first_and_by_pages() {
    let server = TestServer::start().await;
    let bob = Program::of(&server, "bob", Role::Viewer).await;
    for number in 1..=5 {
        server.waiting(&format!("release-1.{number}")).await;
    }
    let (status, list) = bob.get("tasks?limit=2").await;
    assert_eq!(status, StatusCode::OK);
    let tags = |list: &Value| -> Vec<String> {
        let tasks = list["tasks"].as_array().unwrap();
        let tags = tasks.iter().map(|task| task["tag"].as_str().unwrap());
        tags.map(str::to_owned).collect()
    };
    assert_eq!(tags(&list), ["release-1.5", "release-1.4"]);
    let last = list["tasks"][1]["id"].as_u64().unwrap();
    let (_, list) = bob.get(&format!("tasks?limit=2&before={last}")).await;
    assert_eq!(tags(&list), ["release-1.3", "release-1.2"]);
    assert_eq!(list["tasks"][0]["state"], "waiting");
    assert_eq!(list["tasks"][0]["ref"], "refs/tags/release-1.3");
    let (_, list) = bob.get("tasks?state=running").await;
    assert_eq!(tags(&list), [""; 0]);
    let (_, list) = bob.get("tasks?project=shop&environment=production").await;
    assert_eq!(tags(&list).len(), 5);
    for wrong in ["tasks?state=waitin", "tasks?limit=many", "tasks?colour=red"] {
        let (status, answer) = bob.get(wrong).await;
        assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY, "{wrong}");
        assert!(answer["error"].is_string());
    }
    server.end().await;
}

#[tokio::test]
async fn task_json_has_every_field_the_cli_promises() {
    let server = TestServer::start().await;
    let alice = Program::of(&server, "alice", Role::Approver).await;
    let task = server.running("release-1.4").await;
    let (status, shown) = alice.get(&format!("tasks/{}", task.id)).await;
    assert_eq!(status, StatusCode::OK);
    assert_eq!(shown["id"], task.id);
    assert_eq!(shown["project"], "shop");
    assert_eq!(shown["environment"], "production");
    assert_eq!(shown["ref"], "refs/tags/release-1.4");
    assert_eq!(shown["tag"], "release-1.4");
    assert_eq!(shown["commit"], COMMIT);
    assert_eq!(shown["state"], "running");
    assert_eq!(shown["schedule"], "new");
    assert_eq!(shown["submitter"], "bob");
    assert!(shown["created_at"].is_string());
    assert_eq!(shown["approvals"][0]["by"], "alice");
    assert_eq!(shown["live_before"], json!({ "web-1": null }));
    assert_eq!(shown["plan"], plan_of(&task));
    assert_eq!(shown["description"]["commit"], COMMIT);
    assert_eq!(shown["may"], json!(["stop", "stop-host", "skip"]));
    let stages = shown["stages"].as_array().unwrap();
    assert_eq!(stages.len(), 3);
    let checkout = &stages[0]["hosts"][0];
    assert_eq!(checkout["name"], "agent");
    assert_eq!(checkout["steps"][0]["state"], "succeeded");
    let sync = |host: usize| &stages[1]["hosts"][host]["steps"][0];
    assert_eq!(sync(0)["state"], "succeeded");
    assert_eq!(sync(0)["log"], "stage.sync");
    assert!(sync(0)["started_at"].is_string() && sync(0)["ended_at"].is_string());
    assert_eq!(sync(0)["exit_code"], Value::Null);
    assert_eq!(
        (&sync(1)["state"], &sync(1)["attempt"]),
        (&json!("running"), &json!(1))
    );
    assert_eq!(
        (&sync(2)["state"], &sync(2)["attempt"]),
        (&json!("pending"), &json!(0))
    );
    assert_eq!(stages[1]["hosts"][1]["steps"][1]["state"], "elsewhere");
    let names: Vec<&str> = shown["events"]
        .as_array()
        .unwrap()
        .iter()
        .map(|event| event["name"].as_str().unwrap())
        .collect();
    assert_eq!(names[..4], ["proposed", "landed", "approved", "due"]);
    // The command line reads it back as the same type.
    let _: TaskView = serde_json::from_value(shown).unwrap();
    let (status, answer) = alice.get("tasks/999").await;
    assert_eq!(status, StatusCode::NOT_FOUND);
    assert_error(&answer, "task 999");
    for id in ["x", "+1", "-1", "18446744073709551616"] {
        let (status, _) = alice.get(&format!("tasks/{id}")).await;
        assert_eq!(status, StatusCode::NOT_FOUND, "{id}");
    }
    server.end().await;
}

#[tokio::test]
async fn an_approver_approves_the_plan_that_they_saw() {
    let server = TestServer::start().await;
    let alice = Program::of(&server, "alice", Role::Approver).await;
    let task = server.waiting("release-1.4").await;
    let path = format!("tasks/{}", task.id);
    let (_, shown) = alice.get(&path).await;
    assert_eq!(shown["missing"], json!(["1 (has 0)"]));
    assert_eq!(shown["may"], json!(["approve", "reject", "withdraw"]));
    let approve = format!("{path}/approve");
    let (status, answer) = alice.post(&approve, json!({ "comment": "go" })).await;
    assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY);
    assert_error(&answer, "plan");
    let (status, answer) = alice
        .post(&approve, json!({ "plan": "0".repeat(64) }))
        .await;
    assert_eq!(status, StatusCode::CONFLICT);
    assert_error(&answer, "plan has changed");
    assert_eq!(server.store.task(task.id).await.unwrap().approvals, []);
    let (status, approved) = alice
        .post(&approve, json!({ "plan": shown["plan"], "comment": "go" }))
        .await;
    assert_eq!(status, StatusCode::OK);
    assert_eq!(approved["state"], "scheduled");
    assert_eq!(approved["approvals"][0]["comment"], "go");
    let (status, _) = alice.post(&approve, json!({ "plan": shown["plan"] })).await;
    assert_eq!(status, StatusCode::CONFLICT);
    server.end().await;
}

#[tokio::test]
async fn an_approval_may_name_a_time() {
    let server = TestServer::start().await;
    let alice = Program::of(&server, "alice", Role::Approver).await;
    let task = server.waiting("release-1.4").await;
    let plan = plan_of(&task);
    let body = json!({ "plan": plan, "not_before": "2099-01-01T06:00:00Z" });
    let (status, approved) = alice
        .post(&format!("tasks/{}/approve", task.id), body)
        .await;
    assert_eq!(status, StatusCode::OK);
    assert_eq!(approved["detail"], "2099-01-01T06:00:00Z");
    server.end().await;
}

#[tokio::test]
async fn each_action_request_has_its_effect() {
    let server = TestServer::start().await;
    let alice = Program::of(&server, "alice", Role::Approver).await;
    let rejected = server.waiting("release-1.1").await;
    let reject = format!("tasks/{}/reject", rejected.id);
    let (status, _) = alice.post(&reject, json!({ "reason": " " })).await;
    assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY);
    let (status, answer) = alice
        .post(&reject, json!({ "reason": "no changelog" }))
        .await;
    assert_eq!(
        (status, &answer["state"]),
        (StatusCode::OK, &json!("rejected"))
    );
    assert_eq!(answer["detail"], "by alice: no changelog");

    let withdrawn = server.waiting("release-1.2").await;
    let path = format!("tasks/{}", withdrawn.id);
    let (_, answer) = alice.post(&format!("{path}/withdraw"), json!({})).await;
    assert_eq!(answer["state"], "withdrawn");
    let (_, answer) = alice.post(&format!("{path}/retry"), json!({})).await;
    assert_eq!(answer["state"], "waiting");

    let stopped = server.running("release-1.3").await;
    let path = format!("tasks/{}", stopped.id);
    // The body is optional if the request has no fields.
    let response = alice
        .ask(Method::POST, &format!("{path}/stop"))
        .send()
        .await
        .unwrap();
    assert_eq!(response.status(), StatusCode::OK);
    let (status, answer) = alice.post(&format!("{path}/resume"), json!({})).await;
    assert_eq!(status, StatusCode::CONFLICT);
    assert_error(&answer, "stopping");
    server.end().await;
}

#[tokio::test]
async fn replaced_task_cannot_be_retried() {
    let server = TestServer::start().await;
    let alice = Program::of(&server, "alice", Role::Approver).await;
    let failed = server.running("release-1.3").await;
    let event = Event::Ended {
        at: crate::server::at(1, 1, 0),
        result: tagship::domain::task::StepResult::Failed {
            message: "no space".to_owned(),
            exit_code: Some(11),
            omits_exit: true,
            is_final: false,
        },
    };
    let outcome = Outcome::Failed {
        message: "no space".to_owned(),
    };
    let failed = server
        .append(&failed, vec![event, Event::Finished(outcome)])
        .await;
    let path = format!("tasks/{}", failed.id);
    let (_, shown) = alice.get(&path).await;
    assert!(shown["may"].as_array().unwrap().contains(&json!("retry")));
    assert_eq!(shown["stages"][1]["hosts"][1]["steps"][0]["exit_code"], 11);
    server.succeeded("release-1.4").await;
    let (_, shown) = alice.get(&path).await;
    assert!(!shown["may"].as_array().unwrap().contains(&json!("retry")));
    let (status, _) = alice.post(&format!("{path}/retry"), json!({})).await;
    assert_eq!(status, StatusCode::CONFLICT);
    server.end().await;
}

#[tokio::test]
async fn rollback_targets_a_tasks_release_or_the_previous_one() {
    let server = TestServer::start().await;
    let alice = Program::of(&server, "alice", Role::Approver).await;
    let nothing = json!({ "project": "shop", "environment": "production" });
    let (status, _) = alice.post("rollback", nothing.clone()).await;
    assert_eq!(status, StatusCode::CONFLICT);
    let first = server.succeeded("release-1.3").await;
    server.succeeded("release-1.4").await;
    let (_, live) = alice.get("live?project=shop&environment=production").await;
    assert_eq!(live["live"][0]["hosts"]["web-2"]["task"], 2);
    let (_, shown) = alice.get(&format!("tasks/{}", first.id)).await;
    assert_eq!(shown["may"], json!(["rollback", "rollback-before"]));
    let (status, task) = alice.post("rollback", json!({ "task": first.id })).await;
    assert_eq!(status, StatusCode::CREATED, "{task}");
    assert_eq!(task["origin"]["to"], first.id);
    assert_eq!(task["tag"], "release-1.3");
    let (status, task) = alice.post("rollback", nothing).await;
    assert_eq!(status, StatusCode::CREATED, "{task}");
    assert_eq!(task["origin"]["to"], first.id);
    for wrong in [
        json!({}),
        json!({ "project": "shop" }),
        json!({ "task": 1, "project": "shop" }),
    ] {
        let (status, _) = alice.post("rollback", wrong).await;
        assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY);
    }
    server.end().await;
}

#[tokio::test]
async fn admin_manages_users_and_tokens() {
    let server = TestServer::start().await;
    let root = Program::of(&server, "root", Role::Admin).await;
    let new = json!({ "name": "dora", "role": "approver", "groups": ["pm"] });
    let (status, user) = root.post("users", new.clone()).await;
    assert_eq!(
        (status, &user["groups"]),
        (StatusCode::CREATED, &json!(["pm"]))
    );
    let (status, _) = root.post("users", new).await;
    assert_eq!(status, StatusCode::CONFLICT);
    let (_, users) = root.get("users").await;
    assert_eq!(users["users"].as_array().unwrap().len(), 2);
    let (status, made) = root
        .post("users/dora/tokens", json!({ "name": "laptop" }))
        .await;
    assert_eq!(status, StatusCode::CREATED);
    let dora = Program::with(&server, made["token"].as_str().unwrap());
    let (_, tokens) = dora.get("users/dora/tokens").await;
    assert_eq!(tokens["tokens"][0]["name"], "laptop");
    assert!(!tokens.to_string().contains(made["token"].as_str().unwrap()));
    let id = made["id"].as_str().unwrap();
    let (status, _) = dora.delete(&format!("users/dora/tokens/{id}")).await;
    assert_eq!(status, StatusCode::NO_CONTENT);
    let (status, _) = dora.get("tasks").await;
    assert_eq!(status, StatusCode::UNAUTHORIZED);
    let password = json!({ "password": "correct horse battery staple" });
    let (status, _) = root.post("users/dora/password", password).await;
    assert_eq!(status, StatusCode::NO_CONTENT);
    let (status, _) = root.delete("users/dora").await;
    assert_eq!(status, StatusCode::NO_CONTENT);
    let (status, _) = root.delete("users/dora").await;
    assert_eq!(status, StatusCode::NOT_FOUND);
    server.end().await;
}

#[tokio::test]
async fn admin_disables_hosts_with_a_reason() {
    let server = TestServer::start().await;
    let root = Program::of(&server, "root", Role::Admin).await;
    let (status, _) = root
        .post("hosts/web-3/disable", json!({ "reason": "" }))
        .await;
    assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY);
    let (status, host) = root
        .post("hosts/web-3/disable", json!({ "reason": "disk" }))
        .await;
    assert_eq!(
        (status, &host["disabled"]["reason"]),
        (StatusCode::OK, &json!("disk"))
    );
    let (_, hosts) = root.get("hosts").await;
    assert_eq!(hosts["hosts"][2]["disabled"]["by"], "root");
    assert_eq!(hosts["hosts"][0]["disabled"], Value::Null);
    assert_eq!(hosts["hosts"][0]["groups"], json!(["web"]));
    assert_eq!(hosts["hosts"][0]["port"], 22);
    let (_, host) = root.post("hosts/web-3/enable", json!({})).await;
    assert_eq!(host["disabled"], Value::Null);
    let (status, _) = root
        .post("hosts/db-1/disable", json!({ "reason": "disk" }))
        .await;
    assert_eq!(status, StatusCode::NOT_FOUND);
    server.end().await;
}

#[tokio::test]
async fn api_describes_every_route() {
    let server = TestServer::start().await;
    let root = Program::of(&server, "root", Role::Admin).await;
    let (status, document) = root.get("openapi.json").await;
    assert_eq!(status, StatusCode::OK);
    let methods = ["get", "post", "delete"];
    for (path, described) in document["paths"].as_object().unwrap() {
        for (method, _) in described.as_object().unwrap() {
            if !methods.contains(&method.as_str()) {
                continue;
            }
            // Addresses outside of v1 are requested relative to it.
            let path = path.replace("/api/v1/", "").replace("/api/", "../");
            let path = path
                .replace("{id}", "1")
                .replace("{name}", "x")
                .replace("{token}", "t");
            let method = Method::from_bytes(method.to_uppercase().as_bytes()).unwrap();
            let response = root.ask(method.clone(), &path).send().await.unwrap();
            let answer = response.text().await.unwrap();
            assert!(
                !answer.contains("there is nothing at"),
                "{method} {path}: {answer}"
            );
        }
    }
    server.end().await;
}
