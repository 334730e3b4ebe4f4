//! Every route of [`ROUTES`] × role, scopes, CSRF token and site: a user who lacks anything is
//! refused, and a user with all of it is accepted.

use std::collections::BTreeMap;

use reqwest::{Client, Method, RequestBuilder, StatusCode};
use serde_json::json;
use tagship::domain::permission::{Scope, Scopes};
use tagship::domain::task::{Event, Pause, Submission};
use tagship::identity::account::{Account, Role, code_at};
use tagship::server::WebLimits;
use tagship::store::HookOutcome;

use crate::client::{Program, client};
use crate::codo::{self, Codo};
use crate::routes::{Needs, ROUTES, Route};
use crate::server::{COMMIT, Options, TestServer, description, submission};

const TABLES: &str = r#"
[[freezes]]
name = "fair"
environments = ["qa"]
from = "00:00"
until = "00:00"
[[projects]]
name = "manual"
repository = "/srv/git/shop.git"
source = "manual"
[projects.environments.production]
group = "web"
deploy_to = "/srv/manual"
[[projects.rules]]
pattern = "release-*"
environment = "production"
"#;

/// Releases to qa are frozen, those to production are not; two projects have one repository. Many
/// streams are open at once.
pub(crate) fn options() -> Options {
    Options {
        grants: TABLES,
        limits: WebLimits {
            streams: 10_000,
            streams_each: 10_000,
            ..WebLimits::default()
        },
        ..codo::options()
    }
}

/// A request of a route, with the objects that it names.
#[derive(Clone)]
pub(crate) struct Prepared {
    method: Method,
    pub(crate) path: String,
    pub(crate) body: String,
    json: bool,
    client: Client,
}

impl Prepared {
    /// Creates the objects that the path and the body name.
    pub(crate) async fn of(
        server: &TestServer,
        route: &Route,
        number: usize,
        root: &str,
        client: &Client,
    ) -> Self {
        let mut made: BTreeMap<&str, String> = BTreeMap::new();
        let tag = format!("release-{number}.0");
        let named = |name: &str| {
            let name = format!("{{{name}}}");
            route.path.contains(&name) || route.body.contains(&name)
        };
        if named("waiting") {
            let task = server.waiting(&tag).await;
            made.insert("waiting", task.id.to_string());
            made.insert("plan", task.landed.unwrap().terms.plan.0.clone());
        }
        // Each in an environment of its own, where nothing else runs.
        let environment = format!("e{number}");
        let approved = async |tag: &str, environment: &str| {
            let pushed = Submission {
                environment: environment.to_owned(),
                ..submission(tag)
            };
            let task = server.propose(pushed).await;
            let task = server.landed(&task, &description()).await;
            server.approve(&task).await
        };
        let failed = Pause::HostFailed {
            message: "web-1: migrate: ended with 3".to_owned(),
        };
        for (name, pause) in [
            ("running", None),
            ("gate", Some(Pause::Gate { stage: 1 })),
            ("failed", Some(failed)),
        ] {
            if named(name) {
                let task = approved(&tag, &environment).await;
                let task = server.start_work(&task).await;
                if let Some(pause) = pause {
                    server.append(&task, vec![Event::Paused(pause)]).await;
                }
                made.insert(name, task.id.to_string());
            }
        }
        if named("frozen") {
            made.insert("frozen", approved(&tag, "qa").await.id.to_string());
        }
        if named("former") || named("environment") {
            for (name, tag) in [("former", tag.clone()), ("latter", format!("{tag}.1"))] {
                let task = approved(&tag, &environment).await;
                let task = server.start_work(&task).await;
                made.insert(name, server.finished(task).await.id.to_string());
            }
            made.insert("environment", environment.clone());
        }
        if named("hook") {
            let object = format!("{number:02}{}", &COMMIT[2..]);
            let outcome = HookOutcome::NoRule { reasons: vec![] };
            server.heard(&object, Some("shop"), outcome).await;
            let newest = server
                .store
                .hooks(&Default::default(), None, 1)
                .await
                .unwrap();
            made.insert("hook", newest.entries[0].id.to_string());
        }
        if named("user") {
            let name = format!("user-{number}");
            server.account(&name, Role::Viewer, &[]).await;
            made.insert("user", name);
        }
        let root = Program::with(server, root);
        if named("token") {
            let (_, made_one) = root.post("users/alice/tokens", json!({})).await;
            made.insert("token", made_one["id"].as_str().unwrap().to_owned());
        }
        if named("delegation") {
            let new = json!({ "to": "eve", "until": "2030-01-01T00:00:00Z" });
            let (_, made_one) = root.post("users/alice/delegations", new).await;
            made.insert("delegation", made_one["id"].as_str().unwrap().to_owned());
        }
        if named("code") {
            root.post("users/alice/totp/reset", json!({})).await;
            let (_, begun) = root.post("users/alice/totp/begin", json!({})).await;
            let secret = begun["secret"].as_str().unwrap().into();
            made.insert("code", code_at(&secret, server.now()).unwrap());
        }
        let put = |text: &str| {
            let mut text = text.to_owned();
            for (name, value) in &made {
                text = text.replace(&format!("{{{name}}}"), value);
            }
            text
        };
        Self {
            method: route.method().parse().unwrap(),
            path: put(route.path),
            body: put(route.body),
            json: route.is_of_api(),
            client: client.clone(),
        }
    }

    /// The request, with this CSRF token where it is one.
    fn with(&self, server: &TestServer, csrf: Option<&str>) -> RequestBuilder {
        let url = format!("{}{}", server.url, self.path);
        let request = self.client.request(self.method.clone(), url);
        if self.method == Method::GET {
            return request;
        }
        if self.json {
            let request = match csrf {
                Some(csrf) => request.header("x-csrf-token", csrf),
                None => request,
            };
            return request
                .header("content-type", "application/json")
                .body(self.body.clone());
        }
        let csrf = csrf.map(|csrf| format!("csrf={csrf}"));
        let parts: Vec<String> = [Some(self.body.clone()), csrf]
            .into_iter()
            .flatten()
            .collect();
        let body = parts.join("&").trim_start_matches('&').replace(' ', "%20");
        let kind = "application/x-www-form-urlencoded";
        request.header("content-type", kind).body(body)
    }

    pub(crate) async fn by_token(&self, server: &TestServer, token: &str) -> StatusCode {
        let request = self.with(server, None).bearer_auth(token);
        request.send().await.unwrap().status()
    }

    async fn by_session(
        &self,
        server: &TestServer,
        cookie: &str,
        csrf: Option<&str>,
    ) -> StatusCode {
        let request = self.with(server, csrf).header("cookie", cookie);
        request.send().await.unwrap().status()
    }
}

/// All users who send requests.
struct People {
    /// By role, with all scopes.
    roles: Vec<(Role, String)>,
    /// Of an admin, by scopes.
    admin: Vec<(Vec<Scope>, String)>,
    /// Of `vera`, who looks after her own account alone.
    own: Vec<(Vec<Scope>, String)>,
    root: Account,
    other_csrf: String,
}

fn scope_sets() -> impl Iterator<Item = Vec<Scope>> {
    (1..16_usize).map(|set| {
        let chosen = Scope::ALL.into_iter().enumerate();
        let chosen = chosen.filter(|(place, _)| set & (1 << place) != 0);
        chosen.map(|(_, scope)| scope).collect()
    })
}

impl People {
    async fn of(server: &TestServer) -> Self {
        server.account("alice", Role::Approver, &[]).await;
        let root = server.account("root", Role::Admin, &[]).await;
        let vera = server.account("vera", Role::Viewer, &[]).await;
        let other = server.account("eve", Role::Admin, &[]).await;
        let mut people = Self {
            roles: Vec::new(),
            admin: Vec::new(),
            own: Vec::new(),
            root: root.clone(),
            other_csrf: server.session(&other).await.1,
        };
        for role in Role::ALL {
            // An admin's may do everything: it creates the named objects.
            let account = server.account(&format!("role-{role}"), role, &[]).await;
            people.roles.push((role, server.token(&account).await));
        }
        for set in scope_sets() {
            let scopes: Scopes = set.iter().copied().collect();
            let token = server.token_for(&root, scopes.clone()).await;
            people.admin.push((set.clone(), token));
            people
                .own
                .push((set, server.token_for(&vera, scopes).await));
        }
        people
    }

    /// Tokens, with whether each has what a route needs.
    fn tokens(&self, role: Role, scopes: &[Scope]) -> Vec<(bool, String, &str)> {
        let roles = self
            .roles
            .iter()
            .map(move |(has, token)| (*has >= role, format!("the role {has}"), token.as_str()));
        let sets = self.admin.iter().map(move |(set, token)| {
            let enough = scopes.iter().all(|scope| set.contains(scope));
            (
                enough,
                format!("an admin's token for {set:?}"),
                token.as_str(),
            )
        });
        roles.chain(sets).collect()
    }
}

/// A token of an admin with all scopes.
fn root(people: &People) -> &str {
    let (_, token) = people.roles.last().unwrap();
    token
}

/// What a user may not see does not exist for them: no task, nothing that is live in an environment, no
/// template and no host.
fn is_refused(route: &Route, status: StatusCode) -> bool {
    match status.as_u16() {
        401 | 403 | 404 => true,
        409 => route.route == "GET /rollback",
        422 => submits(route),
        _ => false,
    }
}

/// Changing one's own password requires the present one, and a second factor an unused code.
fn takes_a_proof(route: &Route) -> bool {
    ["/password", "/totp/confirm"]
        .iter()
        .any(|end| route.route.ends_with(end))
}

fn submits(route: &Route) -> bool {
    ["POST /submit", "POST /api/v1/tasks"].contains(&route.route)
}

/// Logins prove the sender by their content, and CODO's API has a token of its own.
const WITHOUT_CSRF: [&str; 4] = [
    "POST /login",
    "POST /login/code",
    "POST /api/accounts/login",
    "POST /api/task/v2/task/accept",
];

async fn those_who_lack_anything_are_refused(
    server: &TestServer,
    people: &People,
    route: &Route,
    asked: &Prepared,
) {
    let name = route.route;
    let (role, scopes) = match route.needs {
        Needs::Right(role, scopes) => (role, scopes),
        Needs::Oneself(scopes) => (Role::Admin, scopes),
        Needs::Nothing | Needs::OwnProof => return,
    };
    for bearer in [None, Some("tagship_0000")] {
        let request = asked.with(server, None);
        let request = match bearer {
            Some(token) => request.bearer_auth(token),
            None => request,
        };
        let status = request.send().await.unwrap().status();
        assert_eq!(status, StatusCode::UNAUTHORIZED, "{name}: {bearer:?}");
    }
    for (_, who, token) in people
        .tokens(role, scopes)
        .iter()
        .filter(|(enough, ..)| !enough)
    {
        let status = asked.by_token(server, token).await;
        let unseen = who == "the role none" && name.contains("/tasks/{}");
        assert!(
            is_refused(route, status) && (!unseen || status == StatusCode::NOT_FOUND),
            "{name}: {who} is answered with {status}"
        );
    }
}

async fn those_who_have_everything_are_let_through(
    server: &TestServer,
    people: &People,
    route: &Route,
    asked: &Prepared,
) {
    let (role, scopes) = match route.needs {
        Needs::Right(role, scopes) => (role, scopes),
        Needs::Oneself(scopes) => (Role::Admin, scopes),
        Needs::Nothing | Needs::OwnProof => return,
    };
    let mut revision = None;
    for (_, who, token) in people
        .tokens(role, scopes)
        .iter()
        .filter(|(enough, ..)| *enough)
    {
        let status = asked.by_token(server, token).await;
        let done = status.is_success() || status.is_redirection();
        let let_through = if route.changes() && !submits(route) {
            // Another user has made the same request before.
            !matches!(status.as_u16(), 401 | 403) || takes_a_proof(route)
        } else {
            done
        };
        assert!(
            let_through,
            "{}: {who} is refused with {status}",
            route.route
        );
        if !route.changes() {
            let now = server.store.revision().await.unwrap();
            let before = *revision.get_or_insert(now);
            assert_eq!(before, now, "{}: a GET changes something", route.route);
        }
    }
}

/// Requests on one's own account need the scopes, too; those on other accounts stay refused.
async fn scopes_are_needed_for_oneself(
    server: &TestServer,
    people: &People,
    route: &Route,
    asked: &Prepared,
) {
    if !asked.path.contains("/users/alice") {
        return;
    }
    let own = Prepared {
        path: asked.path.replace("/users/alice", "/users/vera"),
        ..asked.clone()
    };
    for (set, token) in &people.own {
        let enough = match route.needs {
            Needs::Oneself(scopes) => scopes.iter().all(|scope| set.contains(scope)),
            _ => false,
        };
        let status = own.by_token(server, token).await;
        let refused = status == StatusCode::FORBIDDEN && !(enough && takes_a_proof(route));
        assert_eq!(
            !refused, enough,
            "{}: {set:?} for oneself: {status}",
            route.route
        );
    }
}

async fn session_needs_its_csrf_token(
    server: &TestServer,
    people: &People,
    route: &Route,
    asked: &Prepared,
) {
    if !route.changes() || WITHOUT_CSRF.contains(&route.route) {
        return;
    }
    let (cookie, csrf) = server.session(&people.root).await;
    let secret = cookie.split_once('=').unwrap().1;
    let wrong = ["", "0", &csrf[1..], secret, &people.other_csrf];
    for csrf in [None].into_iter().chain(wrong.map(Some)) {
        let status = asked.by_session(server, &cookie, csrf).await;
        assert_eq!(
            status,
            StatusCode::FORBIDDEN,
            "{}: csrf {csrf:?}",
            route.route
        );
    }
    let status = asked.by_session(server, &cookie, Some(&csrf)).await;
    let done = status.is_success() || status.is_redirection();
    assert!(done, "{}: {status} for an admin", route.route);
}

async fn page_of_another_site_is_refused(
    server: &TestServer,
    people: &People,
    route: &Route,
    asked: &Prepared,
) {
    if !route.changes() {
        return;
    }
    let (cookie, csrf) = server.session(&people.root).await;
    for (name, value) in [
        ("origin", "https://evil.example.com"),
        ("origin", "null"),
        ("sec-fetch-site", "cross-site"),
        ("sec-fetch-site", "same-site"),
    ] {
        let request = asked.with(server, Some(&csrf)).header("cookie", &cookie);
        let request = request.bearer_auth(root(people)).header(name, value);
        let status = request.send().await.unwrap().status();
        assert_eq!(
            status,
            StatusCode::FORBIDDEN,
            "{}: {name}: {value}",
            route.route
        );
    }
}

#[tokio::test]
async fn every_route_refuses_missing_credentials_or_rights() {
    let server = TestServer::start_with(options()).await;
    let people = People::of(&server).await;
    let client = client();
    for (number, route) in ROUTES.iter().enumerate() {
        let asked = Prepared::of(&server, route, number, root(&people), &client).await;
        those_who_lack_anything_are_refused(&server, &people, route, &asked).await;
        scopes_are_needed_for_oneself(&server, &people, route, &asked).await;
        page_of_another_site_is_refused(&server, &people, route, &asked).await;
        session_needs_its_csrf_token(&server, &people, route, &asked).await;
        those_who_have_everything_are_let_through(&server, &people, route, &asked).await;
    }
    server.end().await;
}

/// CODO's submission has a body and a `csrf_key` of its own.
#[tokio::test]
async fn codo_submission_requires_the_right_to_submit() {
    let server = TestServer::start_with(options()).await;
    let people = People::of(&server).await;
    for (enough, who, token) in people.tokens(Role::Submitter, &[Scope::Submit]) {
        let (_, answer) = Codo::with(&server, token).submit(&json!({})).await;
        assert_eq!(answer["code"] == 0, enough, "{who}: {answer}");
    }
    server.end().await;
}
