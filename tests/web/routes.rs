//! Every route, page, stream and form: the table of what each one requires, which a test compares
//! with the routes of the code. [`route_access`](crate::route_access) tries them.

use std::collections::BTreeSet;
use std::sync::LazyLock;

use serde_json::{Map, Value};
use tagship::domain::permission::Scope;
use tagship::engine::request::{VERBS, VerbSpec};
use tagship::identity::account::Role;

use crate::contract;

/// One route with a request that succeeds with the required permissions.
#[derive(Clone)]
pub(crate) struct Route {
    /// As written in the code: `POST /api/v1/tasks/{}/approve`.
    pub(crate) route: &'static str,
    pub(crate) needs: Needs,
    /// The path; a task is created for `{waiting}` and the like.
    pub(crate) path: &'static str,
    /// JSON below `/api/`, else a form.
    pub(crate) body: &'static str,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Needs {
    /// For everyone.
    Nothing,
    /// It decides by the content, not by who is logged in: logins, and CODO's submission.
    OwnProof,
    /// The role, and every one of the scopes.
    Right(Role, &'static [Scope]),
    /// As an admin, or for one's own account. The scopes are required for either.
    Oneself(&'static [Scope]),
}

use Needs::{Nothing, Oneself, OwnProof, Right};
use Role::{Admin, Approver, Submitter, Viewer};

const READ: &[Scope] = &[Scope::Read];
const SUBMIT: &[Scope] = &[Scope::Submit];
const APPROVE: &[Scope] = &[Scope::Approve];
const ADMIN: &[Scope] = &[Scope::Admin];
const READ_ADMIN: &[Scope] = &[Scope::Read, Scope::Admin];
const READ_APPROVE: &[Scope] = &[Scope::Read, Scope::Approve];
const READ_SUBMIT: &[Scope] = &[Scope::Read, Scope::Submit];
/// For every logged-in user. A list is filtered entry by entry.
const ANYBODY: Needs = Right(Role::None, &[]);
const LISTS: Needs = Right(Role::None, READ);
const SEES: Needs = Right(Viewer, READ);
const MANAGES: Needs = Right(Admin, ADMIN);
const RUNS: Needs = Right(Approver, APPROVE);

const fn get(route: &'static str, needs: Needs, path: &'static str) -> Route {
    send(route, needs, path, "")
}

const fn send(route: &'static str, needs: Needs, path: &'static str, body: &'static str) -> Route {
    Route {
        route,
        needs,
        path,
        body,
    }
}

const ORDER: &str =
    r#"{"template":70,"params":{"SERVICE":"nginx"},"hosts":{"1":"web-1","2":"web-2"}}"#;

pub(crate) static ROUTES: LazyLock<Vec<Route>> = LazyLock::new(|| {
    let verbs = VERBS.iter().flat_map(of_verb);
    OTHERS.iter().cloned().chain(verbs).collect()
});

/// The routes of a verb: the API gets its whole example, the page what the verb requires.
fn of_verb(verb: &'static VerbSpec) -> Vec<Route> {
    let example = &verb.example;
    let needs = match example.role {
        Admin => MANAGES,
        Approver => RUNS,
        role => panic!("say which scopes {role} needs"),
    };
    let body: Map<String, Value> = serde_json::from_str(example.body).unwrap();
    let required = verb.fields.iter().filter(|field| field.is_required);
    let form: Vec<String> = required
        .map(|field| format!("{}={}", field.name, body[field.name].as_str().unwrap()))
        .collect();
    let form: &str = form.join("&").leak();
    let names = [Some(verb.name), verb.alias].into_iter().flatten();
    let routes = names.flat_map(|name| {
        [("", form), ("/api/v1", example.body)].map(|(below, body)| {
            let route = format!("POST {below}/tasks/{{}}/{name}");
            let path = format!("{below}/tasks/{{{}}}/{name}", example.task);
            send(route.leak(), needs, path.leak(), body)
        })
    });
    routes.collect()
}

/// The routes of no verb.
#[rustfmt::skip]
const OTHERS: &[Route] = &[
    get("GET /healthz", Nothing, "/healthz"),
    get("GET /metrics", Nothing, "/metrics"),
    get("GET /assets/{}", Nothing, "/assets/page.js"),
    get("GET /login", Nothing, "/login"),
    get("GET /login/code", OwnProof, "/login/code"),
    get("GET /", LISTS, "/"),
    get("GET /tasks", LISTS, "/tasks"),
    get("GET /events", LISTS, "/events"),
    get("GET /tasks/{}", SEES, "/tasks/{waiting}"),
    get("GET /tasks/{}/events", SEES, "/tasks/{waiting}/events"),
    get("GET /tasks/{}/log", SEES, "/tasks/{waiting}/log"),
    get("GET /tasks/{}/rollback", Right(Approver, READ_APPROVE), "/tasks/{former}/rollback"),
    get("GET /rollback", Right(Approver, READ_APPROVE), "/rollback?project=shop&environment={environment}"),
    get("GET /hooks", SEES, "/hooks"),
    get("GET /hooks/{}", SEES, "/hooks/{hook}"),
    get("GET /submit", Right(Submitter, READ_SUBMIT), "/submit"),
    get("GET /hosts", LISTS, "/hosts"),
    get("GET /templates", LISTS, "/templates"),
    get("GET /templates/{}", SEES, "/templates/restart"),
    get("GET /projects/{}", SEES, "/projects/shop"),
    get("GET /audit", MANAGES, "/audit"),
    get("GET /users", Right(Admin, READ_ADMIN), "/users"),
    get("GET /users/{}", Oneself(READ_ADMIN), "/users/alice"),
    send("POST /login", OwnProof, "/login", "name=nobody&password=none"),
    send("POST /login/code", OwnProof, "/login/code", "code=000000"),
    send("POST /language", OwnProof, "/language", "language=zh"),
    send("POST /logout", OwnProof, "/logout", ""),
    send("POST /submit", Right(Submitter, SUBMIT), "/submit", "template=restart&param.SERVICE=nginx&hosts.1=web-1&hosts.2=web-2"),
    send("POST /rollback", RUNS, "/rollback", "task={former}"),
    send("POST /hooks/{}/replay", RUNS, "/hooks/{hook}/replay", ""),
    send("POST /hosts/{}/disable", MANAGES, "/hosts/web-2/disable", "reason=disk"),
    send("POST /hosts/{}/enable", MANAGES, "/hosts/web-2/enable", ""),
    send("POST /users", MANAGES, "/users", "name=page-user&role=viewer"),
    send("POST /users/{}/change", MANAGES, "/users/alice/change", "role=viewer&groups=pm"),
    send("POST /users/{}/disable", MANAGES, "/users/alice/disable", ""),
    send("POST /users/{}/enable", MANAGES, "/users/alice/enable", ""),
    send("POST /users/{}/remove", MANAGES, "/users/{user}/remove", ""),
    send("POST /users/{}/password", Oneself(ADMIN), "/users/alice/password", "password=correct horse battery"),
    send("POST /users/{}/tokens", Oneself(ADMIN), "/users/alice/tokens", "label=laptop&admin=on"),
    send("POST /users/{}/tokens/{}/revoke", Oneself(ADMIN), "/users/alice/tokens/{token}/revoke", ""),
    send("POST /users/{}/totp/begin", Oneself(ADMIN), "/users/alice/totp/begin", ""),
    send("POST /users/{}/totp/confirm", Oneself(ADMIN), "/users/alice/totp/confirm", "code={code}"),
    send("POST /users/{}/totp/reset", Oneself(ADMIN), "/users/alice/totp/reset", ""),
    send("POST /users/{}/delegations", Oneself(ADMIN), "/users/alice/delegations", "to=eve&until=2030-01-01 00:00"),
    send("POST /users/{}/delegations/{}/end", Oneself(ADMIN), "/users/alice/delegations/{delegation}/end", ""),
    get("GET /api/v1/openapi.json", Nothing, "/api/v1/openapi.json"),
    get("GET /api/v1/tasks", LISTS, "/api/v1/tasks"),
    get("GET /api/v1/tasks/{}", SEES, "/api/v1/tasks/{waiting}"),
    get("GET /api/v1/tasks/{}/order", SEES, "/api/v1/tasks/{waiting}/order"),
    get("GET /api/v1/tasks/{}/log", SEES, "/api/v1/tasks/{waiting}/log?follow=true"),
    get("GET /api/v1/users", Right(Admin, READ_ADMIN), "/api/v1/users"),
    get("GET /api/v1/users/{}/tokens", Oneself(READ_ADMIN), "/api/v1/users/alice/tokens"),
    get("GET /api/v1/hooks", SEES, "/api/v1/hooks"),
    get("GET /api/v1/hooks/{}", SEES, "/api/v1/hooks/{hook}"),
    get("GET /api/v1/delegations", LISTS, "/api/v1/delegations"),
    get("GET /api/v1/templates", LISTS, "/api/v1/templates"),
    get("GET /api/v1/templates/{}", SEES, "/api/v1/templates/restart"),
    get("GET /api/v1/agent", ANYBODY, "/api/v1/agent"),
    get("GET /api/v1/hosts", LISTS, "/api/v1/hosts"),
    get("GET /api/v1/live", LISTS, "/api/v1/live"),
    get("GET /api/v1/status", LISTS, "/api/v1/status"),
    get("GET /api/v1/audit", MANAGES, "/api/v1/audit"),
    get("GET /api/v1/audit/verify", MANAGES, "/api/v1/audit/verify"),
    send("POST /api/v1/tasks", Right(Submitter, SUBMIT), "/api/v1/tasks", ORDER),
    send("POST /api/v1/hooks/{}/replay", RUNS, "/api/v1/hooks/{hook}/replay", "{}"),
    send("POST /api/v1/rollback", RUNS, "/api/v1/rollback", r#"{"task":{former}}"#),
    send("POST /api/v1/backup", MANAGES, "/api/v1/backup", r#"{"without_logs":true}"#),
    send("POST /api/v1/users", MANAGES, "/api/v1/users", r#"{"name":"api-user","role":"viewer"}"#),
    send("POST /api/v1/users/{}", MANAGES, "/api/v1/users/alice", r#"{"groups":["qa"]}"#),
    send("POST /api/v1/users/{}/password", Oneself(ADMIN), "/api/v1/users/alice/password", r#"{"password":"correct horse staple"}"#),
    send("POST /api/v1/users/{}/tokens", Oneself(ADMIN), "/api/v1/users/alice/tokens", r#"{"name":"laptop"}"#),
    send("POST /api/v1/users/{}/totp/begin", Oneself(ADMIN), "/api/v1/users/alice/totp/begin", "{}"),
    send("POST /api/v1/users/{}/totp/confirm", Oneself(ADMIN), "/api/v1/users/alice/totp/confirm", r#"{"code":"{code}"}"#),
    send("POST /api/v1/users/{}/totp/reset", Oneself(ADMIN), "/api/v1/users/alice/totp/reset", "{}"),
    send("POST /api/v1/users/{}/delegations", Oneself(ADMIN), "/api/v1/users/alice/delegations", r#"{"to":"eve","until":"2030-01-01T00:00:00Z"}"#),
    send("POST /api/v1/hosts/{}/disable", MANAGES, "/api/v1/hosts/web-2/disable", r#"{"reason":"disk"}"#),
    send("POST /api/v1/hosts/{}/enable", MANAGES, "/api/v1/hosts/web-2/enable", "{}"),
    send("DELETE /api/v1/users/{}", MANAGES, "/api/v1/users/{user}", ""),
    send("DELETE /api/v1/users/{}/tokens/{}", Oneself(ADMIN), "/api/v1/users/alice/tokens/{token}", ""),
    send("DELETE /api/v1/users/{}/delegations/{}", Oneself(ADMIN), "/api/v1/users/alice/delegations/{delegation}", ""),
    send("POST /api/accounts/login", OwnProof, "/api/accounts/login/", r#"{"username":"nobody","password":"none"}"#),
    get("GET /api/task/v2/task/accept", Right(Role::None, &[]), "/api/task/v2/task/accept/"),
    send("POST /api/task/v2/task/accept", OwnProof, "/api/task/v2/task/accept/", "{}"),
];

impl Route {
    pub(crate) fn method(&self) -> &'static str {
        self.route.split(' ').next().unwrap()
    }

    pub(crate) fn changes(&self) -> bool {
        self.method() != "GET"
    }

    pub(crate) fn is_of_api(&self) -> bool {
        self.path.starts_with("/api/")
    }
}

/// All routes of the code.
fn routed() -> BTreeSet<String> {
    let text = include_str!("../../src/server/route.rs");
    let part = |begin: &str, end: &str| {
        let (_, text) = text.split_once(begin).unwrap();
        text.split_once(end).unwrap().0.to_owned()
    };
    let mut all = BTreeSet::new();
    for (method, text) in [
        ("GET", part("async fn page(", "(\"POST\", rest)")),
        ("POST", part("async fn post(", "_ => Err(")),
    ] {
        let (_, text) = text.split_once(" match ").unwrap();
        for (end, _) in text.match_indices(']') {
            let pattern = &text[text[..end].rfind('[').unwrap() + 1..end];
            let after = text[end + 1..]
                .trim_start()
                .trim_start_matches(')')
                .trim_start();
            if after.starts_with("=>") || after.starts_with('|') {
                let paths = contract::meant(&pattern.replace('\n', " ")).into_iter();
                all.extend(paths.map(|path| format!("{method} /{path}")));
            }
        }
    }
    assert!(all.remove("POST /tasks/{}/{}"), "{all:?}");
    let requests = contract::requests();
    all.extend(requests.iter().map(|one| one.replace(' ', " /")));
    let mut api = contract::routed();
    assert!(api.remove("POST tasks/{}/{}"), "{api:?}");
    api.extend(requests);
    all.extend(api.iter().map(|one| one.replace(' ', " /api/v1/")));
    all
}

/// The routes below `/api/` but not below `/api/v1/`.
const OUTSIDE_V1: [&str; 2] = [
    r#"(_, ["api", "task", "v2", "task", "accept"])"#,
    r#"("POST", ["api", "accounts", "login"])"#,
];

/// A new route fails here until [`OTHERS`] says what it needs.
#[test]
fn every_route_is_classified() {
    let mut routed = routed();
    assert!(
        routed.len() > 75,
        "they are written in another way: {routed:#?}"
    );
    let text = include_str!("../../src/server/api.rs");
    let outside = text.lines().filter(|line| {
        line.contains("[\"api\"") && line.contains("=>") && !line.contains("[\"api\", \"v1\"")
    });
    let outside: Vec<&str> = outside
        .map(|line| line.trim().split_once(" =>").unwrap().0)
        .collect();
    assert_eq!(outside, OUTSIDE_V1);
    routed.extend(
        [
            "GET /api/task/v2/task/accept",
            "POST /api/task/v2/task/accept",
            "POST /api/accounts/login",
        ]
        .map(str::to_owned),
    );
    let classified: BTreeSet<String> = ROUTES.iter().map(|one| one.route.to_owned()).collect();
    assert_eq!(classified.len(), ROUTES.len(), "one is there twice");
    let new: Vec<_> = routed.difference(&classified).collect();
    assert!(new.is_empty(), "say in OTHERS what these need: {new:#?}");
    let dead: Vec<_> = classified.difference(&routed).collect();
    assert!(dead.is_empty(), "in ROUTES, but not routed: {dead:#?}");
}
