//! Every action of a user leaves an entry, in the commit of the action.

use std::sync::Arc;
use std::time::Duration;

use reqwest::StatusCode;
use serde_json::json;
use tagship::base::clock::{Clock as _, ManualClock};
use tagship::domain::permission::Scope;
use tagship::identity::account::{Role, code_at};
use tagship::store::HookOutcome;
use tagship::store::kv::Commit;

use crate::client::{Browser, Program, client, form, plan_of};
use crate::server::{Options, TestServer};

#[tokio::test]
async fn every_action_or_refusal_leaves_a_matching_audit_entry() {
    let server = TestServer::start().await;
    let task = server.waiting("release-1.4").await;
    let plan = plan_of(&task);
    let root = Program::of(&server, "root", Role::Admin).await;
    let vera = Program::of(&server, "vera", Role::Viewer).await;
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
    let hana = Browser::of(&server, "hana", Role::Admin).await;
    let form = [("reason", "wrong tag")];
    hana.post(&format!("/tasks/{}/reject", task.id), &form)
        .await;

    let (status, _) = vera.get("audit").await;
    assert_eq!(status, StatusCode::FORBIDDEN);
    let (_, audit) = root.get("audit").await;
    let entries = audit["entries"].as_array().unwrap();
    let audited: Vec<String> = entries
        .iter()
        .rev()
        .map(|entry| {
            let text = |key: &str| entry[key].as_str().unwrap_or("").to_owned();
            let result: String = text("result").chars().take(7).collect();
            format!("{} {} {} {result}", text("by"), text("what"), text("on"))
        })
        .collect();
    assert_eq!(
        audited,
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

    // Event and entry have the same version: they were written in one commit.
    let kv = server.store.kv();
    let entry = kv.get(b"audit/entry/0000000000000002").await.unwrap();
    let event = format!("task/{:016x}/event/", task.id);
    let events = tagship::store::kv::all_rows(kv.as_ref(), event.as_bytes()).await;
    let version = entry.unwrap().version;
    assert!(events.unwrap().iter().any(|row| row.version == version));

    let forged = Commit::new().put("audit/entry/0000000000000003", "{}");
    kv.commit(forged).await.unwrap();
    let (_, verdict) = root.get("audit/verify").await;
    assert_eq!(verdict["fault"], "entry 3 was changed or is missing");
    server.end().await;
}

#[tokio::test]
async fn a_replay_leaves_an_entry_as_its_refusal_does() {
    let server = TestServer::start().await;
    let unknown = HookOutcome::UnknownRepository;
    server.heard(&"3".repeat(40), None, unknown).await;
    let root = Program::of(&server, "root", Role::Admin).await;
    let vera = Program::of(&server, "vera", Role::Viewer).await;
    let (status, _) = vera.post("hooks/1/replay", json!({})).await;
    assert_eq!(status, StatusCode::FORBIDDEN);
    let (status, entry) = root.post("hooks/1/replay", json!({})).await;
    assert_eq!(status, StatusCode::OK);
    assert_eq!(entry["replays"][0]["became"][0]["outcome"], "proposed");
    let (_, audit) = root.get("audit").await;
    let audited: Vec<_> = audit["entries"].as_array().unwrap().iter().collect();
    assert_eq!(audited.len(), 2, "{audit:#}");
    assert_eq!(
        (&audited[0]["by"], &audited[0]["result"]),
        (&json!("root"), &json!("done"))
    );
    assert_eq!(audited[0]["what"], "replay push");
    assert_eq!(audited[1]["by"], "vera");
    server.end().await;
}

/// Who, what, on whom, and the result, oldest first.
async fn audited(root: &Program) -> Vec<String> {
    let (_, audit) = root.get("audit?limit=200").await;
    let entries = audit["entries"].as_array().unwrap().iter().rev();
    let words = entries.map(|entry| {
        let words = ["by", "what", "on", "result"].map(|key| entry[key].as_str().unwrap_or(""));
        words.join("|")
    });
    words.collect()
}

#[tokio::test]
async fn every_login_attempt_is_audited_on_every_endpoint() {
    let clock = Arc::new(ManualClock::at("2026-11-21T15:00:00Z".parse().unwrap()));
    let options = Options {
        clock: clock.clone(),
        ..Options::default()
    };
    let server = TestServer::start_with(options).await;
    let root = Program::of(&server, "root", Role::Admin).await;
    for name in ["alice", "bob"] {
        let account = server.account(name, Role::Approver, &[]).await;
        server.password(&account, "correct horse").await;
    }
    let begun = server.accounts.begin_factor("alice", Commit::new()).await;
    let secret = begun.unwrap().secret;
    let code = |at| code_at(&secret, at).unwrap();
    let first = code(clock.now());
    let confirmed = server
        .accounts
        .confirm_factor("alice", &first, Commit::new());
    confirmed.await.unwrap();
    clock.advance(Duration::from_secs(30));
    let code = code(clock.now());

    let page = async |path: &str, cookie: &str, fields: &[(&str, &str)]| {
        let request = client().post(format!("{}{path}", server.url));
        let sent = form(request.header("cookie", cookie), fields).send().await;
        let sent = sent.unwrap();
        let cookie = sent.headers().get("set-cookie");
        let cookie = cookie.map(|cookie| cookie.to_str().unwrap().split(';').next().unwrap());
        (sent.status().as_u16(), cookie.unwrap_or("").to_owned())
    };
    let codo = async |password: &str, dynamic: &str| {
        let url = format!("{}/api/accounts/login/", server.url);
        let body = json!({ "username": "alice", "password": password, "dynamic": dynamic });
        let said = client().post(url).body(body.to_string()).send().await;
        let said: serde_json::Value = said.unwrap().json().await.unwrap();
        said["code"].as_i64().unwrap()
    };
    // A user types their password into the name field.
    let typed = [("name", "s3cret-of-bob"), ("password", "correct horse")];
    assert_eq!(page("/login", "", &typed).await.0, 401);
    let bob = [("name", "bob"), ("password", "correct horse")];
    assert_eq!(page("/login", "", &bob).await.0, 303);
    let alice = [("name", "alice"), ("password", "correct horse")];
    let (_, halfway) = page("/login", "", &alice).await;
    assert_eq!(
        page("/login/code", &halfway, &[("code", "000000")]).await.0,
        401
    );
    assert_eq!(
        page("/login/code", &halfway, &[("code", &code)]).await.0,
        303
    );
    assert_eq!(codo("correct horse", "").await, 1);
    assert_eq!(codo("correct horse", &code).await, -5, "a replay");
    assert_eq!(codo("wrong", "").await, -4);
    clock.advance(Duration::from_secs(30));
    assert_eq!(
        codo("correct horse", &code_at(&secret, clock.now()).unwrap()).await,
        0
    );
    for _ in 0..5 {
        assert_eq!(codo("wrong", "").await, -4);
    }
    for _ in 0..5 {
        assert_eq!(codo("correct horse", "").await, -6);
    }

    let denied = "refused: the name or the password is wrong, or the user is disabled";
    let halfway = "refused: the password is correct, the code is missing";
    let mut wanted = vec![
        format!("(unknown)|log in|as an unknown name|{denied}"),
        "bob|log in||done".to_owned(),
        format!("(unknown)|log in|as alice|{halfway}"),
        "(unknown)|log in|as alice|refused: the code is wrong".to_owned(),
        "alice|log in||done".to_owned(),
        format!("(unknown)|log in for CODO's API|as alice|{halfway}"),
        "(unknown)|log in for CODO's API|as alice|refused: the code was used before".to_owned(),
        format!("(unknown)|log in for CODO's API|as alice|{denied}"),
        "alice|log in for CODO's API||done".to_owned(),
    ];
    let denied = format!("(unknown)|log in for CODO's API|as alice|{denied}");
    wanted.extend(std::iter::repeat_n(denied, 5));
    let shut = "too many failed logins, until 2026-11-21T15:16:00Z";
    wanted.push(format!(
        "(unknown)|log in for CODO's API|as alice|refused: {shut}"
    ));
    assert_eq!(audited(&root).await, wanted);
    let (_, audit) = root.get("audit").await;
    let entries = audit["entries"].as_array().unwrap();
    assert!(entries.iter().all(|entry| entry["from"] == "127.0.0.1"));
    assert!(!audit.to_string().contains("s3cret-of-bob"));
    let (_, verdict) = root.get("audit/verify").await;
    assert_eq!(verdict["fault"], json!(null));
    server.end().await;
}

#[tokio::test]
async fn refused_tokens_passwords_and_factors_are_audited() {
    let server = TestServer::start().await;
    let root = Program::of(&server, "root", Role::Admin).await;
    let account = server.account("vera", Role::Viewer, &[]).await;
    server.password(&account, "correct horse").await;
    let vera = Program::with(&server, &server.token(&account).await);
    let scopes = [Scope::Read, Scope::Admin].into_iter().collect();
    let narrow = Program::with(&server, &server.token_for(&account, scopes).await);
    let forbidden = async |sent: (StatusCode, serde_json::Value)| {
        assert_eq!(sent.0, StatusCode::FORBIDDEN, "{}", sent.1);
    };
    forbidden(
        vera.post("users/root/tokens", json!({ "name": "mine" }))
            .await,
    )
    .await;
    let wide = json!({ "name": "wide", "scopes": ["approve"] });
    forbidden(narrow.post("users/vera/tokens", wide).await).await;
    forbidden(vera.delete("users/root/tokens/1").await).await;
    let wrong = json!({ "password": "a longer horse", "present": "wrong" });
    forbidden(vera.post("users/vera/password", wrong).await).await;
    let (status, made) = vera
        .post("users/vera/tokens", json!({ "name": "own" }))
        .await;
    assert_eq!(status, StatusCode::CREATED);
    let id = made["id"].as_str().unwrap();
    let (status, _) = vera.delete(&format!("users/vera/tokens/{id}")).await;
    assert_eq!(status, StatusCode::NO_CONTENT);
    let audited = audited(&root).await;
    let begins = [
        "vera|make token|root: mine (read, submit, approve, admin)|refused: vera has the role viewer",
        "vera|make token|vera: wide (approve)|refused: this token of vera has the scopes read, admin",
        "vera|revoke token|root: 1|refused: vera has the role viewer",
        "vera|set password|vera|refused: wrong name or password",
        "vera|make token|vera: own (read, submit, approve, admin)|done",
        &format!("vera|revoke token|vera: {id}|done"),
    ];
    assert_eq!(audited.len(), begins.len(), "{audited:#?}");
    for (audited, begins) in audited.iter().zip(begins) {
        assert!(audited.starts_with(begins), "{audited}");
    }
    assert!(!audited.concat().contains(made["token"].as_str().unwrap()));
    server.end().await;
}
