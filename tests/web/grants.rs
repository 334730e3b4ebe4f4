//! Grants, scopes, the second factor, delegation, and what users must not learn about what they may not
//! see.

use std::sync::Arc;
use std::time::Duration;

use reqwest::StatusCode;
use serde_json::{Value, json};
use tagship::base::clock::{Clock as _, ManualClock};
use tagship::domain::approval::{self, Terms};
use tagship::domain::permission::Scope;
use tagship::domain::task::{Event, Landed, ScheduleScope, Task};
use tagship::identity::account::{self, NewDelegation, Role};
use tagship::store::kv::Commit;

use crate::client::{Browser, Program, client, plan_of};
use crate::server::{Options, TestServer};

const GRANTS: &str = r#"
[[grants]]
to = ["gina"]
role = "approver"
project = "shop"
environment = "production"
[[grants]]
to = ["quinn"]
role = "admin"
project = "shop"
environment = "qa"
[[grants]]
to = ["@temps"]
role = "viewer"
template = "shop-release"
"#;

async fn granted() -> TestServer {
    TestServer::start_with(Options {
        grants: GRANTS,
        ..Options::default()
    })
    .await
}

fn error(answer: &Value) -> &str {
    answer["error"].as_str().unwrap_or_default()
}

#[tokio::test]
async fn grant_applies_in_its_environment() {
    let server = granted().await;
    let task = server.waiting("release-1.4").await;
    let gina = Program::of(&server, "gina", Role::None).await;
    let (_, list) = gina.get("tasks").await;
    assert_eq!(list["tasks"].as_array().unwrap().len(), 1);
    let path = format!("tasks/{}", task.id);
    let (_, shown) = gina.get(&path).await;
    assert_eq!(shown["may"], json!(["approve", "reject", "withdraw"]));
    let (_, live) = gina.get("live").await;
    assert_eq!(live["live"].as_array().unwrap().len(), 1);
    assert_eq!(live["live"][0]["environment"], "production");
    let (status, _) = gina
        .post(
            &format!("{path}/approve"),
            json!({ "plan": plan_of(&task) }),
        )
        .await;
    assert_eq!(status, StatusCode::OK);
    // An approver there has no role elsewhere.
    let (status, answer) = gina.get("users").await;
    assert_eq!(status, StatusCode::FORBIDDEN);
    assert!(
        error(&answer).contains("requires the role admin"),
        "{answer}"
    );
    server.end().await;
}

/// Every route to a task, for an admin of another environment.
#[tokio::test]
async fn hidden_task_looks_like_a_missing_one() {
    let server = granted().await;
    let task = server.succeeded("release-1.4").await;
    let quinn = Program::of(&server, "quinn", Role::None).await;
    let (_, list) = quinn.get("tasks").await;
    assert_eq!(list["tasks"], json!([]));
    let (_, list) = quinn.get("tasks?project=shop&environment=production").await;
    assert_eq!(list["tasks"], json!([]));
    let bodies = [
        ("approve", json!({ "plan": plan_of(&task) })),
        ("reject", json!({ "reason": "x" })),
        ("withdraw", json!({})),
        ("stop", json!({})),
        ("retry", json!({})),
        ("resume", json!({})),
    ];
    for id in [task.id, 999] {
        let refusal = |answer: Value| error(&answer).replace(&id.to_string(), "N");
        let unknown = "there is no task N; see `tagship tasks`, or the list of tasks";
        for path in [format!("tasks/{id}"), format!("tasks/{id}/log")] {
            let (status, answer) = quinn.get(&path).await;
            assert_eq!(status, StatusCode::NOT_FOUND, "{path}");
            assert_eq!(refusal(answer), unknown, "{path}");
        }
        for (what, body) in &bodies {
            let (status, answer) = quinn
                .post(&format!("tasks/{id}/{what}"), body.clone())
                .await;
            assert_eq!(status, StatusCode::NOT_FOUND, "{what}");
            assert_eq!(refusal(answer), unknown, "{what}");
        }
        let (status, answer) = quinn.post("rollback", json!({ "task": id })).await;
        assert_eq!(
            (status, refusal(answer).as_str()),
            (StatusCode::NOT_FOUND, unknown)
        );
    }
    for place in ["production", "moon"] {
        let body = json!({ "project": "shop", "environment": place });
        let (status, answer) = quinn.post("rollback", body).await;
        assert_eq!(status, StatusCode::CONFLICT);
        assert_eq!(error(&answer), format!("nothing is live in shop {place}"));
    }
    let account = server.accounts.get("quinn").await.unwrap();
    let (cookie, _) = server.session(&account).await;
    for path in [
        format!("/tasks/{}", task.id),
        format!("/tasks/{}/events", task.id),
        format!("/tasks/{}/log", task.id),
        format!("/tasks/{}/rollback", task.id),
    ] {
        let page = client().get(format!("{}{path}", server.url));
        let page = page.header("cookie", &cookie).send().await.unwrap();
        assert_eq!(page.status(), StatusCode::NOT_FOUND, "{path}");
        assert!(!page.text().await.unwrap().contains("release-1.4"));
    }
    let page = client().get(format!("{}/", server.url));
    let page = page.header("cookie", &cookie).header("accept", "text/html");
    let page = page.send().await.unwrap().text().await.unwrap();
    assert!(!page.contains("release-1.4"), "{page}");
    server.end().await;
}

#[tokio::test]
async fn hosts_are_shown_to_viewers_of_their_environments() {
    let server = granted().await;
    let root = Program::of(&server, "root", Role::Admin).await;
    root.post("hosts/web-3/disable", json!({ "reason": "disk" }))
        .await;
    let quinn = Program::of(&server, "quinn", Role::None).await;
    let (_, hosts) = quinn.get("hosts").await;
    assert_eq!(hosts["hosts"].as_array().unwrap().len(), 3);
    let (status, _) = quinn.post("hosts/web-3/enable", json!({})).await;
    assert_eq!(status, StatusCode::FORBIDDEN, "hosts are everybody's");
    let nobody = Browser::of(&server, "nobody", Role::None).await;
    let (status, page) = nobody.get("/hosts").await;
    assert_eq!(status, StatusCode::OK);
    assert!(
        !page.contains("web-3") && !page.contains("production"),
        "{page}"
    );
    server.end().await;
}

#[tokio::test]
async fn a_grant_of_a_template_shows_its_tasks_and_no_environment() {
    let server = granted().await;
    let task = server.waiting("release-1.4").await;
    let account = server.account("tim", Role::None, &["temps"]).await;
    let tim = Program::with(&server, &server.token(&account).await);
    assert_eq!(
        tim.get(&format!("tasks/{}", task.id)).await.0,
        StatusCode::OK
    );
    assert_eq!(tim.get("live").await.1["live"], json!([]));
    let plan = json!({ "plan": plan_of(&task) });
    let (status, answer) = tim.post(&format!("tasks/{}/approve", task.id), plan).await;
    assert_eq!(status, StatusCode::FORBIDDEN);
    assert!(
        error(&answer).starts_with(
            "tim has the role viewer in shop production (template shop-release); to approve a task requires the role approver"
        ),
        "{answer}"
    );
    server.end().await;
}

/// Each ability × each scope, over HTTP, by an admin's token.
#[tokio::test]
async fn token_is_limited_to_its_scopes_and_names_the_missing() {
    let server = TestServer::start().await;
    let account = server.account("alice", Role::Admin, &[]).await;
    let task = server.waiting("release-1.4").await;
    let path = |what: &str| format!("tasks/{}/{what}", task.id);
    for scope in Scope::ALL {
        let token = server.token_for(&account, [scope].into_iter().collect());
        let alone = Program::with(&server, &token.await);
        let plan = json!({ "plan": "0".repeat(64) });
        let asked = [
            (Scope::Read, alone.get("tasks").await),
            (Scope::Read, alone.get("hosts").await),
            (Scope::Read, alone.get("live").await),
            (Scope::Read, alone.get("delegations").await),
            (Scope::Approve, alone.post(&path("approve"), plan).await),
            (Scope::Approve, alone.post(&path("resume"), json!({})).await),
            (Scope::Approve, alone.post(&path("stop"), json!({})).await),
            (
                Scope::Approve,
                alone.post("rollback", json!({ "task": 1 })).await,
            ),
            (
                Scope::Admin,
                alone
                    .post("users/alice/tokens", json!({ "name": "x" }))
                    .await,
            ),
            (
                Scope::Admin,
                alone.post("users/alice/totp/reset", json!({})).await,
            ),
            (
                Scope::Admin,
                alone
                    .post("hosts/web-1/disable", json!({ "reason": "x" }))
                    .await,
            ),
        ];
        for (needs, (status, answer)) in asked {
            let refused = status == StatusCode::FORBIDDEN
                && error(&answer).contains(&format!("requires the scope {needs}"));
            assert_eq!(
                refused,
                needs != scope,
                "{scope}: {needs}: {status} {answer}"
            );
        }
    }
    server.end().await;
}

#[tokio::test]
async fn token_cannot_create_a_stronger_token() {
    let server = TestServer::start().await;
    let account = server.account("alice", Role::Admin, &[]).await;
    let scopes = [Scope::Read, Scope::Admin];
    let narrow = server.token_for(&account, scopes.into_iter().collect());
    let narrow = Program::with(&server, &narrow.await);
    let wide = json!({ "scopes": ["read", "approve"] });
    let (status, answer) = narrow.post("users/alice/tokens", wide).await;
    assert_eq!(status, StatusCode::FORBIDDEN);
    assert!(error(&answer).contains("approve"), "{answer}");
    let (status, _) = narrow.post("users/alice/tokens", json!({})).await;
    assert_eq!(status, StatusCode::CREATED);
    let (_, tokens) = narrow.get("users/alice/tokens").await;
    let last = tokens["tokens"].as_array().unwrap().last().unwrap();
    assert_eq!(last["scopes"], json!(["read", "admin"]));
    for wrong in [json!({ "scopes": [] }), json!({ "scopes": ["write"] })] {
        let (status, _) = narrow.post("users/alice/tokens", wrong).await;
        assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY);
    }
    server.end().await;
}

#[tokio::test]
async fn api_password_change_requires_the_current_one() {
    let server = TestServer::start().await;
    let account = server.account("alice", Role::Admin, &[]).await;
    server.password(&account, "correct horse").await;
    let alice = Program::with(&server, &server.token(&account).await);
    for present in [json!({}), json!({ "present": "a guess" })] {
        let mut body = present;
        body["password"] = json!("battery staple");
        let (status, answer) = alice.post("users/alice/password", body).await;
        assert_eq!(status, StatusCode::FORBIDDEN, "{answer}");
    }
    let body = json!({ "password": "battery staple", "present": "correct horse" });
    let (status, _) = alice.post("users/alice/password", body).await;
    assert_eq!(status, StatusCode::NO_CONTENT);
    server.end().await;
}

#[tokio::test]
async fn delegate_sees_and_approves_until_the_end() {
    let clock = Arc::new(ManualClock::at("2026-11-21T15:00:00Z".parse().unwrap()));
    let server = TestServer::start_with(Options {
        clock: clock.clone(),
        grants: GRANTS,
        ..Options::default()
    })
    .await;
    let gina = Program::of(&server, "gina", Role::None).await;
    let dave = Program::of(&server, "dave", Role::None).await;
    let until = (clock.now() + Duration::from_secs(3600)).to_string();
    let first = server.waiting("release-1.4").await;
    let second = server.waiting("release-1.5").await;
    let path = |task: &Task, what: &str| format!("tasks/{}{what}", task.id);
    assert_eq!(dave.get(&path(&first, "")).await.0, StatusCode::NOT_FOUND);
    let body = json!({ "to": "dave", "until": until, "project": "shop" });
    let (status, _) = dave.post("users/gina/delegations", body.clone()).await;
    assert_eq!(status, StatusCode::FORBIDDEN, "only oneself or an admin");
    let (status, made) = gina.post("users/gina/delegations", body).await;
    assert_eq!(status, StatusCode::CREATED, "{made}");
    let (_, list) = dave.get("delegations").await;
    assert_eq!(list["delegations"][0]["from"], "gina");
    let (_, shown) = dave.get(&path(&first, "")).await;
    assert_eq!(shown["may"], json!(["approve"]));
    let plan = |task: &Task| json!({ "plan": plan_of(task) });
    let (status, approved) = dave.post(&path(&first, "/approve"), plan(&first)).await;
    assert_eq!(status, StatusCode::OK, "{approved}");
    assert_eq!(approved["approvals"][0]["by"], "dave");
    assert_eq!(approved["approvals"][0]["in_stead_of"], "gina");
    clock.advance(Duration::from_secs(3600));
    let (status, _) = dave.post(&path(&second, "/approve"), plan(&second)).await;
    assert_eq!(status, StatusCode::NOT_FOUND, "it is over");
    server.end().await;
}

#[tokio::test]
async fn delegator_ends_a_delegation_early_on_their_page() {
    let server = TestServer::start().await;
    let carol = Browser::of(&server, "carol", Role::Approver).await;
    server.account("dave", Role::Viewer, &[]).await;
    let fields = [
        ("to", "dave"),
        ("until", "2099-01-01T06:00"),
        ("project", ""),
    ];
    let (status, _) = carol.post("/users/carol/delegations", &fields).await;
    assert_eq!(status, StatusCode::SEE_OTHER);
    let (_, page) = carol.get("/users/carol").await;
    assert!(page.contains("may approve on behalf of"), "{page}");
    let made = &server.accounts.delegations().await.unwrap()[0];
    let end = format!("/users/carol/delegations/{}/end", made.id);
    assert_eq!(carol.post(&end, &[]).await.0, StatusCode::SEE_OTHER);
    assert_eq!(server.accounts.delegations().await.unwrap(), []);
    server.end().await;
}

#[tokio::test]
async fn delegation_of_another_project_does_not_apply() {
    let server = TestServer::start().await;
    server.account("carol", Role::Approver, &[]).await;
    let dave = Program::of(&server, "dave", Role::Viewer).await;
    let new = NewDelegation {
        from: "carol".to_owned(),
        to: "dave".to_owned(),
        until: "2099-01-01T06:00:00Z".parse().unwrap(),
        project: Some("blog".to_owned()),
        by: "carol".to_owned(),
    };
    server.accounts.delegate(new, Commit::new()).await.unwrap();
    let task = server.waiting("release-1.4").await;
    let plan = json!({ "plan": plan_of(&task) });
    let (status, _) = dave.post(&format!("tasks/{}/approve", task.id), plan).await;
    assert_eq!(status, StatusCode::FORBIDDEN);
    server.end().await;
}

#[tokio::test]
async fn task_of_unknown_pusher_needs_one_more_approval() {
    let server = TestServer::start().await;
    let task = server.proposed("release-1.4").await;
    let plan = server.plan("production", crate::server::COMMIT);
    let terms = Terms {
        plan: server.store.put_plan(&plan).await.unwrap(),
        approvals: plan.approvals.clone(),
        self_approval: false,
        submitters: [].into(),
        more: approval::more_for(None),
    };
    let landed = Landed {
        commit: plan.commit.clone(),
        object: String::new(),
        compared: tagship::domain::task::ComparedWith::default(),
        waits: ScheduleScope::Task,
        terms,
        description: String::new(),
    };
    let task = server
        .append(&task, vec![Event::Landed(Box::new(landed))])
        .await;
    let approve = format!("tasks/{}/approve", task.id);
    let body = json!({ "plan": plan_of(&task) });
    let alice = Program::of(&server, "alice", Role::Approver).await;
    let (_, once) = alice.post(&approve, body.clone()).await;
    assert_eq!(once["state"], "waiting");
    let missing = once["missing"][0].as_str().unwrap();
    assert!(missing.contains("no account is known"), "{missing}");
    let vera = Browser::of(&server, "vera", account::Role::Viewer).await;
    let (_, page) = vera.get(&format!("/tasks/{}", task.id)).await;
    assert!(page.contains("no account is known"), "{page}");
    let carol = Program::of(&server, "carol", Role::Approver).await;
    let (_, twice) = carol.post(&approve, body).await;
    assert_eq!(twice["state"], "scheduled");
    server.end().await;
}

#[tokio::test]
async fn own_account_change_names_the_missing_token_scope() {
    let server = TestServer::start().await;
    let account = server.account("alice", Role::Approver, &[]).await;
    let token = server.token_for(&account, [Scope::Read].into_iter().collect());
    let alice = Program::with(&server, &token.await);
    let body = json!({ "password": "correct horse", "present": "x" });
    let (status, answer) = alice.post("users/alice/password", body.clone()).await;
    assert_eq!(status, StatusCode::FORBIDDEN);
    assert_eq!(
        error(&answer),
        "this token of alice has the scopes read; to manage your own account requires the scope admin: create a token with it"
    );
    let (_, answer) = alice.post("users/bob/password", body).await;
    assert!(
        error(&answer).contains("another user's password"),
        "{answer}"
    );
    server.end().await;
}

#[tokio::test]
async fn requested_approver_is_notified_without_new_rights() {
    let server = TestServer::start_with(Options {
        grants: "[[grants]]\nto = [\"carol\"]\nrole = \"approver\"\nproject = \"shop\"\nenvironment = \"qa\"\n",
        ..Options::default()
    })
    .await;
    let mallory = Program::of(&server, "mallory", Role::Submitter).await;
    let order = json!({
        "template": "restart", "params": { "SERVICE": "shop" },
        "hosts": { "1": ["web-1"], "2": ["web-2"] },
        "approvers": ["nils", "vera", "sam", "carol", "mallory", "ada"],
    });
    let (status, task) = mallory.post("tasks", order).await;
    assert_eq!(status, StatusCode::CREATED, "{task}");
    let task = server
        .store
        .task(task["id"].as_u64().unwrap())
        .await
        .unwrap();
    let ask_ops = |plan: &mut tagship::domain::plan::Plan| {
        plan.approvals = vec!["1 of @ops".parse().unwrap()];
    };
    let task = server.landed_with(&task, ask_ops).await;
    let path = format!("tasks/{}", task.id);
    let yes = json!({ "plan": plan_of(&task) });

    // A user who may not see it does not, even if asked to approve.
    for (name, role) in [("nils", Role::None), ("carol", Role::None)] {
        let friend = Browser::of(&server, name, role).await;
        let (status, _) = friend.get(&format!("/{path}")).await;
        assert_eq!(status, StatusCode::NOT_FOUND, "{name}");
        let (_, list) = friend.get("/").await;
        assert!(!list.contains("approval requested"), "{list}");
    }
    // A user who may see it learns of the request, and gets no right to approve.
    for (name, role) in [("vera", Role::Viewer), ("sam", Role::Submitter)] {
        let account = server.account(name, role, &[]).await;
        let friend = Program::with(&server, &server.token(&account).await);
        let (status, answer) = friend.post(&format!("{path}/approve"), yes.clone()).await;
        assert_eq!(status, StatusCode::FORBIDDEN);
        let needs = "to approve a task requires the role approver";
        assert!(error(&answer).contains(needs), "{answer}");
    }
    let (status, answer) = mallory.post(&format!("{path}/approve"), yes.clone()).await;
    assert_eq!(status, StatusCode::FORBIDDEN, "{answer}");
    let ada = Browser::of(&server, "ada", Role::Approver).await;
    let (_, list) = ada.get("/").await;
    assert_eq!(list.matches("approval requested").count(), 1, "{list}");
    let (_, page) = ada.get(&format!("/{path}")).await;
    assert!(
        page.contains("Your approval is requested.") && page.contains("<b>vera</b>"),
        "{page}"
    );
    let bob = Browser::of(&server, "bob", Role::Approver).await;
    let (_, list) = bob.get("/").await;
    assert!(!list.contains("approval requested"), "{list}");
    let (_, page) = bob.get(&format!("/{path}")).await;
    assert!(!page.contains("Your approval is requested."), "{page}");
    let (_, list) = mallory.get("tasks").await;
    assert_eq!(list["tasks"][0]["approvers"][0], "nils");

    // The plan requires one of @ops: a requested approver outside of the group does not count.
    let account = server.accounts.get("ada").await.unwrap();
    let asked = Program::with(&server, &server.token(&account).await);
    let (status, answer) = asked.post(&format!("{path}/approve"), yes.clone()).await;
    assert_eq!(status, StatusCode::FORBIDDEN);
    assert!(error(&answer).contains("none of the groups"), "{answer}");
    // An authorized approver who was not requested needs none of those who were.
    let account = server.account("oscar", Role::Approver, &["ops"]).await;
    let oscar = Program::with(&server, &server.token(&account).await);
    let (status, answer) = oscar.post(&format!("{path}/approve"), yes).await;
    assert_eq!(status, StatusCode::OK, "{answer}");
    assert_eq!(answer["missing"], json!([]));
    server.end().await;
}
