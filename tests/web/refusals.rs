//! Every operation of the API, as described: it succeeds, each described refusal occurs at least
//! once, and no other does.

use std::collections::{BTreeMap, BTreeSet};

use reqwest::{Method, RequestBuilder};
use serde_json::{Value, json};
use tagship::domain::permission::{Scope, Scopes};
use tagship::domain::task::{Event, Pause, Task};
use tagship::engine::request::{Verb, VerbExample};
use tagship::identity::account::{Account, Role, code_at};
use tagship::store::HookOutcome;
use tagship::store::kv::Commit;

use crate::client::{Program, both, client, plan_of};
use crate::contract::{self, DOCUMENT};
use crate::server::{Options, TestServer, at, ended, staged};
use crate::submit::restart;

/// It is always in force.
const FREEZE: &str =
    "[[freezes]]\nname = \"fair\"\nreason = \"all are out\"\nfrom = \"00:00\"\nuntil = \"00:00\"\n";

/// `POST /api/v1/users/{name}`, with the codes of its answers.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Operation {
    method: &'static str,
    path: &'static str,
}

impl std::fmt::Display for Operation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {}", self.method, self.path)
    }
}

impl Operation {
    fn described(self) -> &'static Value {
        &DOCUMENT["paths"][self.path][self.method.to_lowercase()]
    }

    fn codes(self) -> BTreeSet<u16> {
        let responses = self.described()["responses"].as_object().unwrap();
        responses
            .keys()
            .filter_map(|code| code.parse().ok())
            .collect()
    }

    fn takes_body(self) -> bool {
        self.described().get("requestBody").is_some()
    }

    fn takes_query(self) -> bool {
        let parameters = self.described()["parameters"].as_array();
        let mut parameters = parameters.into_iter().flatten();
        parameters.any(|parameter| parameter["in"] == "query")
    }

    fn method(self) -> Method {
        Method::from_bytes(self.method.as_bytes()).unwrap()
    }
}

/// All described operations below `/api/v1`.
fn operations() -> Vec<Operation> {
    let mut all = Vec::new();
    for (path, item) in DOCUMENT["paths"].as_object().unwrap() {
        for (name, method) in [("get", "GET"), ("post", "POST"), ("delete", "DELETE")] {
            if path.starts_with("/api/v1/") && item.get(name).is_some() {
                all.push(Operation { method, path });
            }
        }
    }
    all
}

/// A request: the address below `/api/v1/`, and the body.
#[derive(Clone, Debug)]
struct Asked {
    path: String,
    body: Value,
}

fn asked(path: impl Into<String>, body: Value) -> Asked {
    Asked {
        path: path.into(),
        body,
    }
}

/// A server with one admin, and clients for that account.
struct Lab {
    server: TestServer,
    root: Account,
    all: Program,
    /// The same account with a token that may only read, and with one that may only submit.
    looks: Program,
    submits: Program,
    nobody: Program,
    /// The received codes.
    seen: BTreeSet<u16>,
}

impl Lab {
    async fn new(operation: Operation) -> Self {
        let server = TestServer::start_with(Options {
            grants: match operation.path.ends_with("override-freeze") {
                true => FREEZE,
                false => "",
            },
            ..Options::default()
        })
        .await;
        let root = server.account("root", Role::Admin, &[]).await;
        server.account("dora", Role::Viewer, &[]).await;
        let token = async |scopes: Scopes| {
            let token = server.token_for(&root, scopes).await;
            Program::with(&server, &token)
        };
        Self {
            all: token(Scopes::default()).await,
            looks: token([Scope::Read].into_iter().collect()).await,
            submits: token([Scope::Submit].into_iter().collect()).await,
            nobody: Program::with(&server, "tagship_none"),
            seen: BTreeSet::new(),
            root,
            server,
        }
    }

    fn request(&self, who: &Program, operation: Operation, asked: &Asked) -> RequestBuilder {
        let request = who.ask(operation.method(), &asked.path);
        match operation.takes_body() {
            true => request.json(&asked.body),
            false => request,
        }
    }

    /// Sends it, checks the answer against the description, and records its code.
    async fn send(&mut self, operation: Operation, request: RequestBuilder) -> u16 {
        let response = request.send().await.unwrap();
        let kind = response.headers().get("content-type").cloned();
        let json = kind.is_none_or(|kind| kind == "application/json");
        let (status, text) = match json {
            true => both(response).await,
            // A log or a backup: other tests check its bytes.
            false => (response.status(), String::new()),
        };
        let answer = serde_json::from_str(&text).unwrap_or(Value::Null);
        let described = operation.path;
        if json {
            contract::keeps(operation.method, described, status, &answer);
        }
        self.seen.insert(status.as_u16());
        status.as_u16()
    }

    async fn as_all(&mut self, operation: Operation, asked: &Asked) -> u16 {
        let request = self.request(&self.all, operation, asked);
        self.send(operation, request).await
    }

    /// A task whose hosts are staged, before the gate of the last stage.
    async fn paused(&self) -> Task {
        let task = self.server.running("release-1").await;
        let gate = Event::Paused(Pause::Gate { stage: 2 });
        self.server
            .append(&task, vec![ended(at(1, 1, 0), staged()), gate])
            .await
    }

    async fn failed(&self) -> Task {
        let task = self.server.running("release-1").await;
        let message = "web-1: migrate: ended with 3".to_owned();
        let paused = Event::Paused(Pause::HostFailed { message });
        self.server.append(&task, vec![paused]).await
    }

    /// An entry of the hook log for a push of this object.
    async fn noted(&self, new: &str) {
        let unknown = HookOutcome::UnknownRepository;
        self.server.heard(&new.repeat(5), None, unknown).await;
    }

    /// Begins a second factor; one of its codes.
    async fn begun(&self, name: &str) -> String {
        let begun = self.server.accounts.begin_factor(name, Commit::new());
        let begun = begun.await.unwrap();
        code_at(&begun.secret, self.server.now()).unwrap()
    }

    async fn with_factor(&self, name: &str) {
        let code = self.begun(name).await;
        let confirmed = self
            .server
            .accounts
            .confirm_factor(name, &code, Commit::new());
        confirmed.await.unwrap();
    }

    /// The example of a verb, with a task that it is for.
    async fn verb(&self, path: &str, verb: Verb) -> Asked {
        let VerbExample { task, body, .. } = verb.spec().example;
        let task = match task {
            "waiting" => self.server.waiting("release-1").await,
            "running" => self.server.running("release-1").await,
            "failed" => self.failed().await,
            "gate" => self.paused().await,
            "frozen" => self.server.approved("release-1").await,
            other => panic!("no task is {other}: make one"),
        };
        let body = body.replace("{plan}", &plan_of(&task));
        let path = path.replace("{id}", &task.id.to_string());
        asked(path, serde_json::from_str(&body).unwrap())
    }

    /// A request that succeeds, with everything prepared for it.
    async fn good(&mut self, operation: Operation) -> Asked {
        let none = Value::Null;
        let path = operation.path.strip_prefix("/api/v1/").unwrap();
        let until = self.server.now() + jiff::SignedDuration::from_hours(1);
        if let Some(verb) = path.strip_prefix("tasks/{id}/").and_then(Verb::named) {
            return self.verb(path, verb).await;
        }
        match (operation.method, path) {
            ("POST", "tasks") => {
                let mut order = restart();
                order["idempotency_key"] = "k".into();
                asked(path, order)
            }
            ("GET", "tasks/{id}" | "tasks/{id}/order" | "tasks/{id}/log") => {
                self.server.succeeded("release-1").await;
                asked(path.replace("{id}", "1"), none)
            }
            ("POST", "rollback") => {
                self.server.succeeded("release-1").await;
                self.server.succeeded("release-2").await;
                asked(path, json!({ "task": 1 }))
            }
            ("GET", "templates/{name}") => asked("templates/restart", none),
            ("POST", "users") => asked(path, json!({ "name": "eve", "role": "viewer" })),
            ("POST", "users/{name}") => asked("users/dora", json!({ "role": "submitter" })),
            ("DELETE", "users/{name}") => asked("users/dora", none),
            ("POST", "users/{name}/password") => asked(
                "users/dora/password",
                json!({ "password": "another horse" }),
            ),
            ("GET", "users/{name}/tokens") => asked("users/dora/tokens", none),
            ("POST", "users/{name}/tokens") => asked("users/dora/tokens", json!({ "name": "x" })),
            ("DELETE", "users/{name}/tokens/{token}") => {
                let dora = self.server.accounts.get("dora").await.unwrap();
                self.server.token(&dora).await;
                let tokens = self.server.accounts.tokens("dora").await.unwrap();
                asked(format!("users/dora/tokens/{}", tokens[0].id), none)
            }
            ("GET", "hooks/{id}") => {
                self.noted("3f2a9c1b").await;
                asked("hooks/1", none)
            }
            ("POST", "hooks/{id}/replay") => {
                self.noted("3f2a9c1b").await;
                asked("hooks/1/replay", json!({}))
            }
            ("POST", "users/{name}/totp/begin") => asked("users/dora/totp/begin", json!({})),
            ("POST", "users/{name}/totp/confirm") => {
                let code = self.begun("dora").await;
                asked("users/dora/totp/confirm", json!({ "code": code }))
            }
            ("POST", "users/{name}/totp/reset") => asked("users/dora/totp/reset", json!({})),
            ("POST", "users/{name}/delegations") => {
                let body = json!({ "to": "dora", "until": until });
                asked("users/root/delegations", body)
            }
            ("DELETE", "users/{name}/delegations/{token}") => {
                let body = json!({ "to": "dora", "until": until });
                let (_, made) = self.all.post("users/root/delegations", body).await;
                let id = made["id"].as_str().unwrap();
                asked(format!("users/root/delegations/{id}"), none)
            }
            ("POST", "hosts/{name}/disable") => {
                asked("hosts/web-3/disable", json!({ "reason": "disk" }))
            }
            ("POST", "hosts/{name}/enable") => asked("hosts/web-3/enable", json!({})),
            ("POST", "backup") => asked(path, json!({})),
            ("GET", path) if !path.contains('{') => asked(path, none),
            _ => panic!("no request for {operation}: add one that succeeds"),
        }
    }

    /// The same request for a missing object.
    fn missing(operation: Operation, good: &Asked) -> Asked {
        if operation.path.ends_with("/rollback") {
            return asked("rollback", json!({ "task": 99 }));
        }
        let described = operation.path.trim_start_matches("/api/v1/").split('/');
        let last = operation.path.matches('{').count();
        let mut variables = 0;
        let path: Vec<&str> = described
            .zip(good.path.split('/'))
            .map(|(described, given)| {
                variables += usize::from(described.starts_with('{'));
                match described {
                    "{id}" => "99",
                    _ if described.starts_with('{') && variables == last => "nothing",
                    _ => given,
                }
            })
            .collect();
        asked(path.join("/"), good.body.clone())
    }

    /// A request that is refused after the valid one was accepted.
    async fn conflict(&mut self, operation: Operation, good: &Asked) -> Asked {
        match operation.path.strip_prefix("/api/v1/").unwrap() {
            "tasks" => {
                let mut order = good.body.clone();
                order["title"] = "another".into();
                asked("tasks", order)
            }
            "tasks/{id}/stop" => {
                let task = self.server.proposed("release-2").await;
                asked(format!("tasks/{}/stop", task.id), json!({}))
            }
            // No user disables or removes themselves.
            "users/{name}" => asked("users/root", json!({ "disabled": true })),
            "rollback" => asked(
                "rollback",
                json!({ "project": "shop", "environment": "qa" }),
            ),
            "hooks/{id}/replay" => {
                self.noted("00000000").await;
                asked("hooks/2/replay", json!({}))
            }
            "users/{name}/totp/begin" => {
                self.with_factor("dora").await;
                good.clone()
            }
            "users/{name}/totp/confirm" => {
                asked("users/root/totp/confirm", json!({ "code": "123456" }))
            }
            "users/{name}/tokens" | "users/{name}/delegations" => {
                // Repeats it up to the maximum number.
                while self.as_all(operation, good).await == 201 {}
                good.clone()
            }
            _ => good.clone(),
        }
    }

    /// Guesses until guesses are refused.
    async fn guess(&mut self, operation: Operation) {
        let asked = match operation.path.ends_with("/password") {
            true => {
                self.server.password(&self.root, "correct horse").await;
                let body = json!({ "password": "another horse", "present": "wrong" });
                asked("users/root/password", body)
            }
            false => {
                self.with_factor("root").await;
                asked("users/root/totp/reset", json!({ "code": "000000" }))
            }
        };
        while self.as_all(operation, &asked).await == 403 {}
    }

    /// Causes every documented answer.
    async fn every_answer(&mut self, operation: Operation) {
        let good = self.good(operation).await;
        let request = self.request(&self.nobody, operation, &good);
        assert_eq!(self.send(operation, request).await, 401, "{operation}");
        let narrow = match operation.method {
            "GET" => &self.submits,
            _ => &self.looks,
        };
        let request = self.request(narrow, operation, &good);
        // Every logged-in user may see the agent's own state.
        let refused = if operation.codes().contains(&403) {
            403
        } else {
            200
        };
        assert_eq!(self.send(operation, request).await, refused, "{operation}");
        if operation.codes().contains(&404) {
            let missing = Self::missing(operation, &good);
            assert_eq!(
                self.as_all(operation, &missing).await,
                404,
                "{operation}: {missing:?}"
            );
        }
        if operation.takes_body() {
            let long = asked(&good.path, json!("x".repeat(70_000)));
            assert_eq!(self.as_all(operation, &long).await, 413, "{operation}");
            let request = self.all.ask(operation.method(), &good.path);
            let request = request.header("content-type", "text/plain").body("{}");
            assert_eq!(self.send(operation, request).await, 415, "{operation}");
            let unknown = asked(&good.path, json!({ "no_such_field": 1 }));
            assert_eq!(self.as_all(operation, &unknown).await, 422, "{operation}");
        }
        if operation.takes_query() && operation.method == "GET" {
            let unknown = asked(format!("{}?no_such=1", good.path), Value::Null);
            assert_eq!(self.as_all(operation, &unknown).await, 422, "{operation}");
        }
        let status = self.as_all(operation, &good).await;
        assert!(
            (200..300).contains(&status),
            "{operation}: {status} to {good:?}"
        );
        if operation.path == "/api/v1/tasks" && operation.method == "POST" {
            assert_eq!(self.as_all(operation, &good).await, 200, "said before");
        }
        if operation.codes().contains(&409) {
            let asked = self.conflict(operation, &good).await;
            assert_eq!(
                self.as_all(operation, &asked).await,
                409,
                "{operation}: {asked:?}"
            );
        }
        if operation.codes().contains(&429) {
            self.guess(operation).await;
        }
    }
}

#[tokio::test]
async fn every_described_response_occurs_and_fits_its_schema() {
    let all = operations();
    assert!(all.len() > 35, "{}", all.len());
    for operation in all {
        if operation.path.ends_with("/openapi.json") {
            continue;
        }
        let mut lab = Lab::new(operation).await;
        lab.every_answer(operation).await;
        assert_eq!(
            lab.seen,
            operation.codes(),
            "{operation}: what came, and what is described"
        );
        lab.server.end().await;
    }
}

#[tokio::test]
async fn codo_routes_give_every_described_response() {
    let server = TestServer::start().await;
    let alice = server.account("alice", Role::Submitter, &[]).await;
    server.password(&alice, "correct horse").await;
    let token = server.token(&alice).await;
    let narrow = server
        .token_for(&alice, [Scope::Read].into_iter().collect())
        .await;
    let mut seen: BTreeMap<(&str, &str), BTreeSet<u16>> = BTreeMap::new();
    let mut send = async |method: &'static str, path: &'static str, request: RequestBuilder| {
        let (status, text) = both(request.send().await.unwrap()).await;
        let answer: Value = serde_json::from_str(&text).unwrap();
        contract::keeps(method, path, status, &answer);
        let codes = seen.entry((method, path)).or_default();
        codes.insert(status.as_u16());
        answer
    };
    let long = "x".repeat(2 * 1024 * 1024);
    let (login, accept) = ("/api/accounts/login/", "/api/task/v2/task/accept/");
    let post = |path: &str, body: String| client().post(format!("{}{path}", server.url)).body(body);
    let of = |password: &str| json!({ "username": "alice", "password": password }).to_string();
    send("POST", login, post(login, of("correct horse"))).await;
    let foreign = post(login, of("x")).header("origin", "https://example.org");
    send("POST", login, foreign).await;
    send("POST", login, post(login, long.clone())).await;
    for _ in 0..6 {
        send("POST", login, post(login, of("wrong"))).await;
    }
    let get = |cookie: String| {
        let request = client().get(format!("{}{accept}", server.url));
        request.header("cookie", cookie)
    };
    send("GET", accept, get("auth_key=none".to_owned())).await;
    let key = send("GET", accept, get(format!("auth_key={token}"))).await;
    let key = key["csrf_key"].as_str().unwrap().to_owned();
    let narrow_key = send("GET", accept, get(format!("auth_key={narrow}"))).await;
    let narrow_key = narrow_key["csrf_key"].as_str().unwrap().to_owned();
    let task = json!({
        "task_name": "n", "temp_id": 70, "submitter": "x", "args": "{'SERVICE': 'shop'}",
        "hosts": "{1: '127.0.0.1', 2: '127.0.0.2'}",
    });
    for (auth, key, body) in [
        ("none", "none", task.to_string()),
        (token.as_str(), "none", task.to_string()),
        (narrow.as_str(), narrow_key.as_str(), task.to_string()),
        (token.as_str(), key.as_str(), long),
        (token.as_str(), key.as_str(), task.to_string()),
    ] {
        let cookie = format!("auth_key={auth}; csrf_key={key}");
        send("POST", accept, post(accept, body).header("cookie", cookie)).await;
    }
    for ((method, path), codes) in seen {
        let item = &DOCUMENT["paths"][path][method.to_lowercase()]["responses"];
        let described = item.as_object().unwrap().keys();
        let described: BTreeSet<u16> = described.filter_map(|code| code.parse().ok()).collect();
        assert_eq!(codes, described, "{method} {path}");
    }
    server.end().await;
}
