//! The address of a client, wherever it is recorded: behind a proxy on this machine the address
//! that the proxy saw, else that of the connection, whatever a client claims.

use std::sync::Arc;

use reqwest::RequestBuilder;
use serde_json::json;
use tagship::identity::account::Role;
use tagship::store::audit::Ledger;
use tagship::store::memory::MemoryKv;

use crate::client::{client, form};
use crate::credential_kinds::sources;
use crate::server::{Options, TestServer};

type Send = fn(&str, &str) -> RequestBuilder;

/// Each leaves an entry in the audit.
const PLACES: &[(&str, Send)] = &[
    ("the login of the page", |url, _| {
        let request = client().post(format!("{url}/login"));
        form(request, &[("name", "alice"), ("password", "wrong")])
    }),
    ("the login of CODO's API", |url, _| {
        let login = json!({ "username": "alice", "password": "wrong" });
        client()
            .post(format!("{url}/api/accounts/login/"))
            .json(&login)
    }),
    ("the present password of the API", |url, token| {
        let passwords = json!({ "present": "wrong", "password": "correct horse battery" });
        let request = client().post(format!("{url}/api/v1/users/alice/password"));
        request.bearer_auth(token).json(&passwords)
    }),
    ("the present password of the page", |url, token| {
        let request = client().post(format!("{url}/users/alice/password"));
        let fields = [("present", "wrong"), ("password", "correct horse battery")];
        form(request.bearer_auth(token), &fields)
    }),
    ("what is done by a token", |url, token| {
        let request = client().post(format!("{url}/api/v1/users/alice/tokens"));
        request.bearer_auth(token).json(&json!({}))
    }),
];

#[tokio::test]
async fn forwarded_address_is_kept_only_behind_a_proxy() {
    let behind = "public_url = \"http://tagship.example.com\"";
    for (agent, seen) in [("", "127.0.0.1"), (behind, "198.51.100.7")] {
        let kv = Arc::new(MemoryKv::new());
        let server = TestServer::start_with(Options {
            agent,
            kv: Some(kv.clone()),
            ..Options::default()
        })
        .await;
        let alice = server.account("alice", Role::Approver, &[]).await;
        server.password(&alice, "correct horse").await;
        let token = server.token(&alice).await;
        for (name, send) in PLACES {
            let request = send(&server.url, &token);
            // What the client claims, and what the proxy has added.
            let request = request.header("x-forwarded-for", "203.0.113.8");
            let request = request.header("x-forwarded-for", "203.0.113.9, 198.51.100.7");
            request.send().await.unwrap();
            let entries = Ledger::new(kv.clone()).list(None, 1).await.unwrap();
            let from = entries[0].action.from.split(',').next().unwrap();
            assert_eq!(from, seen, "{name}: {:?}", entries[0]);
        }
        server.end().await;
    }
}

/// The list above must have every place that reads the header or takes the peer for the client.
#[test]
fn peer_and_header_are_read_in_one_function() {
    let mut found: Vec<String> = Vec::new();
    for (file, text) in sources("src/server") {
        let code = text.split("#[cfg(test)]").next().unwrap().to_owned();
        let lines = code.lines().filter(|line| {
            line.contains("x-forwarded-for")
                || line.contains("FORWARDED_FOR")
                || line.contains("Peer::Network(") && !line.contains("=> ")
        });
        found.extend(lines.map(|line| format!("{file}: {}", line.trim())));
    }
    found.sort();
    assert_eq!(
        found,
        [
            "authentication.rs: let Peer::Network(peer) = call.peer else {",
            "authentication.rs: let forwarded = call.headers.get_all(FORWARDED_FOR).iter();",
            "authentication.rs: use super::call::{Call, FORWARDED_FOR, Peer};",
            "call.rs: let headers = [FORWARDED_FOR, \"forwarded\", \"via\"];",
            "call.rs: pub(super) const FORWARDED_FOR: &str = \"x-forwarded-for\";",
            "serve.rs: ServerSocket::Network(socket, Peer::Network(address.ip()))",
        ]
    );
}
