//! Values of one kind (session, half-way login, CODO's `auth_key` and `csrf_key`, API token, CSRF
//! token) are never accepted as another: each kind is tried at each place that accepts a value.

use std::collections::BTreeSet;

use regex::Regex;
use reqwest::{Method, RequestBuilder, Response, StatusCode};
use serde_json::json;
use tagship::base::secret::ExposeSecret as _;
use tagship::identity::account::{Account, Role};

use crate::client::{client, form};
use crate::codo::{Codo, fields, options, said};
use crate::server::TestServer;

const ACCEPT: &str = "/api/task/v2/task/accept/";

/// The kinds of values. `Theirs`: a value of another user with the same permissions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    Session,
    Halfway,
    AuthKey,
    Token,
    Csrf,
    TheirCsrf,
    CsrfKey,
    TheirCsrfKey,
}

impl Kind {
    const ALL: [Self; 8] = [
        Self::Session,
        Self::Halfway,
        Self::AuthKey,
        Self::Token,
        Self::Csrf,
        Self::TheirCsrf,
        Self::CsrfKey,
        Self::TheirCsrfKey,
    ];
}

/// One user with a value of each kind.
struct User {
    /// `NAME=VALUE`.
    session: String,
    csrf: String,
    auth_key: String,
    account: Account,
    token: String,
}

impl User {
    async fn of(server: &TestServer, name: &str) -> Self {
        let account = server.account(name, Role::Admin, &[]).await;
        let (session, csrf) = server.session(&account).await;
        let auth_key = server.sessions.auth_key(&account).await.unwrap();
        Self {
            session,
            csrf,
            auth_key: auth_key.value.expose_secret().to_owned(),
            token: server.token(&account).await,
            account,
        }
    }

    /// A `csrf_key` is spent when it is accepted, so this returns a new one each time.
    async fn value(&self, server: &TestServer, other: &Self, kind: Kind) -> String {
        let of_cookie = |cookie: &str| {
            let value = cookie.split(';').next().unwrap().split_once('=').unwrap().1;
            value.to_owned()
        };
        match kind {
            Kind::Session => of_cookie(&self.session),
            Kind::Halfway => {
                let cookie = server.sessions.halfway(&self.account).await.unwrap();
                of_cookie(cookie.expose_secret())
            }
            Kind::AuthKey => self.auth_key.clone(),
            Kind::Token => self.token.clone(),
            Kind::Csrf => self.csrf.clone(),
            Kind::TheirCsrf => other.csrf.clone(),
            Kind::CsrfKey => Codo::with(server, &self.auth_key).key().await,
            Kind::TheirCsrfKey => Codo::with(server, &other.auth_key).key().await,
        }
    }
}

type Send = fn(&TestServer, &User, &str) -> RequestBuilder;

/// A place that accepts a value, its kinds, and the answer to an accepted value.
struct Place {
    name: &'static str,
    takes: &'static [Kind],
    send: Send,
    /// Status, and CODO's code if the answer has one.
    accepted: (u16, Option<i64>),
}

fn ask(server: &TestServer, method: Method, path: &str) -> RequestBuilder {
    client().request(method, format!("{}{path}", server.url))
}

fn task() -> String {
    fields(&json!({})).to_string()
}

const PLACES: &[Place] = &[
    Place {
        name: "session cookie of a page",
        takes: &[Kind::Session],
        send: |server, _, value| {
            ask(server, Method::GET, "/hosts").header("cookie", format!("tagship_session={value}"))
        },
        accepted: (200, None),
    },
    Place {
        name: "session cookie of the API",
        takes: &[Kind::Session],
        send: |server, _, value| {
            ask(server, Method::GET, "/api/v1/hosts")
                .header("cookie", format!("tagship_session={value}"))
        },
        accepted: (200, None),
    },
    Place {
        name: "session cookie of a stream",
        takes: &[Kind::Session],
        send: |server, _, value| {
            ask(server, Method::GET, "/events").header("cookie", format!("tagship_session={value}"))
        },
        accepted: (200, None),
    },
    Place {
        name: "half-way cookie, the page",
        takes: &[Kind::Halfway],
        send: |server, _, value| {
            ask(server, Method::GET, "/login/code")
                .header("cookie", format!("tagship_halfway={value}"))
        },
        accepted: (200, None),
    },
    Place {
        name: "half-way cookie, the form",
        takes: &[Kind::Halfway],
        send: |server, _, value| {
            let request = ask(server, Method::POST, "/login/code");
            let request = request.header("cookie", format!("tagship_halfway={value}"));
            form(request, &[("code", "000000")])
        },
        // Only the code is refused.
        accepted: (401, None),
    },
    Place {
        name: "auth_key, the cookie",
        takes: &[Kind::AuthKey, Kind::Token],
        send: |server, _, value| {
            ask(server, Method::GET, ACCEPT).header("cookie", format!("auth_key={value}"))
        },
        accepted: (200, Some(0)),
    },
    Place {
        name: "auth_key, the parameter",
        takes: &[Kind::AuthKey, Kind::Token],
        send: |server, _, value| ask(server, Method::GET, &format!("{ACCEPT}?auth_key={value}")),
        accepted: (200, Some(0)),
    },
    Place {
        name: "bearer of CODO's API",
        takes: &[Kind::Token],
        send: |server, _, value| ask(server, Method::GET, ACCEPT).bearer_auth(value),
        accepted: (200, Some(0)),
    },
    Place {
        name: "bearer of the API",
        takes: &[Kind::Token],
        send: |server, _, value| ask(server, Method::GET, "/api/v1/hosts").bearer_auth(value),
        accepted: (200, None),
    },
    Place {
        name: "bearer of a page",
        takes: &[Kind::Token],
        send: |server, _, value| ask(server, Method::GET, "/hosts").bearer_auth(value),
        accepted: (200, None),
    },
    Place {
        name: "csrf of a form",
        takes: &[Kind::Csrf],
        send: |server, user, value| {
            let path = "/users/alice/tokens/none/revoke";
            let request = ask(server, Method::POST, path).header("cookie", &user.session);
            form(request, &[("csrf", value)])
        },
        // There is no such token.
        accepted: (404, None),
    },
    Place {
        name: "x-csrf-token of the API",
        takes: &[Kind::Csrf],
        send: |server, user, value| {
            let request = ask(server, Method::DELETE, "/api/v1/users/alice/tokens/none");
            let request = request.header("cookie", &user.session);
            request.header("x-csrf-token", value)
        },
        accepted: (404, None),
    },
    Place {
        name: "csrf_key, the cookie",
        takes: &[Kind::CsrfKey],
        send: |server, user, value| Codo::with(server, &user.auth_key).post(value, task()),
        accepted: (200, Some(0)),
    },
    Place {
        name: "csrf_key, the parameter",
        takes: &[Kind::CsrfKey],
        send: |server, user, value| {
            let request = ask(server, Method::POST, &format!("{ACCEPT}?csrf_key={value}"));
            let cookie = format!("auth_key={}", user.auth_key);
            request.header("cookie", cookie).body(task())
        },
        accepted: (200, Some(0)),
    },
];

impl Place {
    async fn accepts(&self, response: Response) -> bool {
        let (status, code) = self.accepted;
        if response.status() != StatusCode::from_u16(status).unwrap() {
            return false;
        }
        // A stream has no end; its status suffices.
        code.is_none() || said(response).await.1["code"].as_i64() == code
    }
}

#[tokio::test]
async fn value_of_one_kind_is_never_accepted_as_another() {
    let server = TestServer::start_with(options()).await;
    let alice = User::of(&server, "alice").await;
    let eve = User::of(&server, "eve").await;
    for place in PLACES {
        for kind in Kind::ALL {
            let value = alice.value(&server, &eve, kind).await;
            let response = (place.send)(&server, &alice, &value).send().await.unwrap();
            let status = response.status();
            assert_eq!(
                place.accepts(response).await,
                place.takes.contains(&kind),
                "{}: {kind:?} is answered with {status}",
                place.name
            );
        }
    }
    server.end().await;
}

/// A logout ends a session, and entering the code ends the half-way login: nothing else does.
#[tokio::test]
async fn ending_one_kind_leaves_values_of_another_kind() {
    let server = TestServer::start().await;
    let alice = User::of(&server, "alice").await;
    let halfway = alice.value(&server, &alice, Kind::Halfway).await;
    let session = alice.value(&server, &alice, Kind::Session).await;
    for other in [&alice.auth_key, &halfway] {
        let cookie = format!("tagship_session={other}");
        server.sessions.end(&cookie).await.unwrap();
    }
    for other in [&alice.auth_key, &session] {
        let cookie = format!("tagship_halfway={other}");
        server.sessions.end_halfway(&cookie).await.unwrap();
    }
    let auth_key = alice.auth_key.as_str().into();
    let of = server.sessions.of_auth_key(&auth_key);
    assert!(of.await.unwrap().is_some());
    assert!(
        server
            .sessions
            .find(&alice.session)
            .await
            .unwrap()
            .is_some()
    );
    let cookie = format!("tagship_halfway={halfway}");
    assert!(server.sessions.is_halfway(&cookie).await.unwrap().is_some());
    server.end().await;
}

/// The code that reads such values, by file.
const READERS: &[(&str, &str)] = &[
    ("codo.rs", ".cookie(\"csrf_key\")"),
    ("codo.rs", ".parameter(\"csrf_key\")"),
    ("pages/login.rs", "sessions.end("),
    ("pages/login.rs", "sessions.end_halfway("),
    ("pages/login.rs", "sessions.is_halfway("),
    ("authentication.rs", ".authenticate("),
    ("authentication.rs", ".check_csrf("),
    ("authentication.rs", ".cookie(\"auth_key\")"),
    ("authentication.rs", ".parameter(\"auth_key\")"),
    ("authentication.rs", "get(CSRF_HEADER)"),
    ("authentication.rs", "header(header::AUTHORIZATION)"),
    ("authentication.rs", "sessions.find("),
    ("authentication.rs", "sessions.of_auth_key("),
];

/// A new place that accepts a value, or a new kind, fails here until [`PLACES`] has it.
#[test]
fn every_input_that_accepts_a_value_is_tested() {
    let reads = r#"\.(cookie|parameter)\("\w+"\)|\.(authenticate|check_csrf)\(|get\(CSRF_HEADER\)|header\(header::AUTHORIZATION\)|sessions\.\w+\("#;
    let (reads, spaces) = (Regex::new(reads).unwrap(), Regex::new(r"\s+").unwrap());
    let gives = ["begin", "halfway", "auth_key"].map(|name| format!("sessions.{name}("));
    let mut found = BTreeSet::new();
    for (file, text) in sources("src/server") {
        let text = spaces.replace_all(&text, "");
        let all = reads.find_iter(&text).map(|one| one.as_str().to_owned());
        let all = all.filter(|one| !gives.contains(one));
        found.extend(all.map(|one| (file.clone(), one)));
    }
    let known = READERS.iter();
    let known = known.map(|(file, one)| ((*file).to_owned(), (*one).to_owned()));
    assert_eq!(
        found,
        known.collect(),
        "add what is new to PLACES, then here"
    );
    let text = include_str!("../../src/identity/session.rs");
    let kinds = text
        .split_once("enum SecretKind {")
        .unwrap()
        .1
        .split_once('}')
        .unwrap()
        .0;
    let kinds: Vec<&str> = kinds
        .split(',')
        .map(|one| one.trim().trim_start_matches("#[default]").trim())
        .collect();
    assert_eq!(
        kinds,
        ["Session", "Halfway", "AuthKey", ""],
        "add what is new to SecretKind::ALL"
    );
}

/// The files below a directory of sources, by their paths within it.
pub(crate) fn sources(root: &str) -> Vec<(String, String)> {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join(root);
    let mut files = Vec::new();
    let mut directories = vec![root.clone()];
    while let Some(directory) = directories.pop() {
        for entry in std::fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                directories.push(path);
            } else if path.extension().is_some_and(|ext| ext == "rs") {
                let name = path
                    .strip_prefix(&root)
                    .unwrap()
                    .to_str()
                    .unwrap()
                    .to_owned();
                files.push((name, std::fs::read_to_string(&path).unwrap()));
            }
        }
    }
    files
}
