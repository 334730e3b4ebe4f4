//! Commands about users, tokens and hosts, against a real agent's web server.

use std::io::Read as _;

use tagship::base::clock::Clock as _;
use tagship::identity::account::Role;

use crate::command::agent::me;
use crate::command::lab::{Lab, holds, said};

#[tokio::test(flavor = "multi_thread")]
async fn hosts_are_disabled_and_enabled() {
    let lab = Lab::new().await;
    holds(
        lab.local(&["hosts", "disable", "web-2", "--reason", "new disk"])
            .stdout("web-2 is disabled: new disk\n"),
    );
    holds(lab.local(&["hosts", "list"]).stdout(&format!(
        "
        NAME   ADDRESS       GROUPS  ENABLED
        web-1  127.0.0.1:22  web     yes
        web-2  127.0.0.2:22  web     no, since 2026-11-21 16:00:00 CET by {}: new disk
        web-3  127.0.0.3:22  web     yes
        ",
        me()
    )));
    holds(
        lab.local(&["hosts", "enable", "web-2"])
            .stdout("web-2 is enabled\n"),
    );
    assert!(lab.server.store.disabled_hosts().await.unwrap().is_empty());
    let list = said(lab.local(&["hosts", "list", "--json"])).json();
    assert_eq!(list["hosts"][1]["disabled"], serde_json::Value::Null);
    let unknown = said(lab.local(&["hosts", "enable", "web-9"]));
    assert_eq!(
        unknown.stderr,
        "error: the configuration has no host web-9; see the list of hosts; did you mean web-1?\n"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn users_and_tokens_are_added_and_removed() {
    let lab = Lab::new().await;
    holds(
        lab.local(&[
            "user",
            "add",
            "alice",
            "--role",
            "approver",
            "--group",
            "pm",
            "--group",
            "@ops",
            "--password-stdin",
        ])
        .stdin("correct horse battery staple\n")
        .stdout("alice is added as approver\n"),
    );
    holds(lab.local(&["user", "list"]).stdout(
        "
        NAME   ROLE      GROUPS   CREATED                  DISPLAY
        alice  approver  ops, pm  2026-11-21 16:00:00 CET  alice
        ",
    ));
    holds(
        lab.local(&["user", "password", "alice", "--password-stdin"])
            .stdin("another horse battery staple\n")
            .stdout("the password of alice is set; sessions have ended\n"),
    );
    let made = said(lab.local(&["token", "new", "alice", "--label", "ci"]));
    assert_eq!(made.status, Some(0), "{made}");
    let token = made.stdout.trim_end();
    assert_eq!(made.stdout.lines().count(), 1, "the token alone: {made}");

    let listed = said(
        crate::command::program::Test::new()
            .variable("TAGSHIP_URL", &lab.server.url)
            .variable("TAGSHIP_TOKEN", token)
            .arguments(["token", "list", "alice", "--json"]),
    );
    let id = listed.json()["tokens"][0]["id"]
        .as_str()
        .unwrap()
        .to_owned();
    assert_eq!(listed.json()["tokens"][0]["name"], "ci");
    holds(
        lab.local(&["token", "revoke", "alice", &id])
            .stdout(&format!("token {id} of alice is revoked\n")),
    );
    let after = said(
        crate::command::program::Test::new()
            .variable("TAGSHIP_URL", &lab.server.url)
            .variable("TAGSHIP_TOKEN", token)
            .arguments(["tasks"]),
    );
    assert_eq!(after.status, Some(1));
    assert!(
        after.stderr.starts_with("error: the token is invalid"),
        "{after}"
    );
    holds(
        lab.local(&["user", "remove", "alice"])
            .stdout("alice is removed, with all their tokens\n"),
    );
    let again = said(lab.local(&["user", "remove", "alice"]));
    assert!(
        again
            .stderr
            .starts_with("error: no account is called alice"),
        "{again}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn user_rights_change_and_a_disabled_user_is_refused() {
    let lab = Lab::new().await;
    lab.server.account("alice", Role::Viewer, &["qa"]).await;
    holds(
        lab.local(&["user", "set", "alice", "--role", "admin", "--group", "@pm"])
            .stdout("alice is admin, in pm\n"),
    );
    let last = said(lab.local(&["user", "set", "alice", "--disable"]));
    assert_eq!(last.status, Some(1), "{last}");
    assert!(
        last.stderr
            .starts_with("error: alice is the only enabled admin"),
        "{last}"
    );
    lab.server.account("root", Role::Admin, &[]).await;
    holds(
        lab.local(&["user", "set", "alice", "--disable", "--no-groups"])
            .stdout("alice is admin, in no group, disabled\n"),
    );
    let nothing = said(lab.local(&["user", "set", "alice"]));
    assert!(
        nothing.stderr.starts_with("error: no change is requested"),
        "{nothing}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn remote_access_requires_a_token() {
    let lab = Lab::new().await;
    let nobody = said(
        crate::command::program::Test::new()
            .variable("TAGSHIP_URL", &lab.server.url)
            .arguments(["tasks"]),
    );
    assert_eq!(nobody.status, Some(1));
    assert!(
        nobody.stderr.starts_with("error: not logged in"),
        "{nobody}"
    );
    assert!(nobody.stderr.contains("tagship token new"), "{nobody}");
}

#[tokio::test(flavor = "multi_thread")]
async fn running_agent_creates_the_account() {
    let lab = Lab::new().await;
    let added = said(lab.local(&["user", "add", "alice", "--role", "admin"]));
    assert_eq!(added.stdout, "alice is added as admin\n", "{added}");
    let account = lab.server.accounts.get("alice").await.unwrap();
    assert_eq!(account.role, Role::Admin);
    assert_eq!(account.created, lab.clock.now());
}

#[tokio::test(flavor = "multi_thread")]
async fn token_is_never_sent_to_a_redirect_target() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let other = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let elsewhere = other.local_addr().unwrap();
    let answering = std::thread::spawn(move || {
        use std::io::Write as _;
        let (mut stream, _) = listener.accept().unwrap();
        let mut head = [0; 4096];
        let read = stream.read(&mut head).unwrap();
        let answer = format!(
            "HTTP/1.1 302 Found\r\nlocation: http://{elsewhere}/\r\ncontent-length: 0\r\n\r\n"
        );
        stream.write_all(answer.as_bytes()).unwrap();
        String::from_utf8_lossy(&head[..read]).into_owned()
    });
    let said = said(
        crate::command::program::Test::new()
            .variable("TAGSHIP_URL", &url)
            .variable("TAGSHIP_TOKEN", "tagship_secret")
            .arguments(["tasks"]),
    );
    assert_eq!(said.status, Some(1), "{said}");
    assert!(said.stderr.contains("answered 302"), "{said}");
    assert!(!said.stderr.contains("tagship_secret"), "{said}");
    let head = answering.join().unwrap().to_lowercase();
    assert!(
        head.contains("authorization: bearer tagship_secret"),
        "{head}"
    );
    other.set_nonblocking(true).unwrap();
    assert!(other.accept().is_err(), "nobody came");
}

#[tokio::test(flavor = "multi_thread")]
async fn cli_manages_scopes_delegations_and_second_factors() {
    let lab = Lab::new().await;
    lab.server.account("alice", Role::Approver, &["pm"]).await;
    lab.server.account("bob", Role::Viewer, &[]).await;
    let made = lab.local(&[
        "token", "new", "alice", "--scope", "read", "--scope", "submit",
    ]);
    let made = said(made.arguments(["--expires", "90d"]));
    assert!(made.stdout.starts_with("tagship_"), "{made}");
    let listed = said(lab.local(&["token", "list", "alice"]));
    assert!(listed.stdout.contains("read, submit"), "{listed}");
    let refused = said(lab.local(&["token", "new", "alice", "--scope", "write"]));
    assert!(
        refused
            .stderr
            .contains("choose read, submit, approve or admin"),
        "{refused}"
    );

    let until = ["--until", "2026-11-22 18:00", "--project", "shop"];
    let made = lab.local(&["user", "delegate", "alice", "bob"]);
    let made = said(made.arguments(until));
    assert!(
        made.stdout.starts_with(
            "bob may approve on behalf of alice in shop until 2026-11-22 18:00:00 CET"
        ),
        "{made}"
    );
    let listed = said(lab.local(&["user", "delegations", "--json"])).json();
    let id = listed["delegations"][0]["id"].as_str().unwrap().to_owned();
    let ended = said(lab.local(&["user", "undelegate", "alice", &id]));
    assert_eq!(ended.status, Some(0), "{ended}");

    let begun = said(lab.local(&["user", "totp", "alice"]));
    let secret = begun.stdout.lines().next().unwrap().to_owned();
    assert!(begun.stdout.contains("otpauth://totp/"), "{begun}");
    let code = tagship::identity::account::code_at(&secret.into(), lab.clock.now()).unwrap();
    let confirmed = said(lab.local(&["user", "totp", "alice", "--code", &code]));
    assert_eq!(confirmed.status, Some(0), "{confirmed}");
    let users = said(lab.local(&["user", "list"]));
    assert!(users.stdout.contains("approver + code"), "{users}");
    let reset = said(lab.local(&["user", "totp", "alice", "--reset"]));
    assert_eq!(reset.status, Some(0), "{reset}");
}

#[tokio::test(flavor = "multi_thread")]
async fn times_are_the_agents_wherever_the_command_runs() {
    let lab = Lab::new().await;
    lab.server.account("bob", Role::Viewer, &[]).await;
    let list = ["user", "list"];
    let far = lab.remote("alice", Role::Admin, &list).await;
    let listed = said(far.variable("TZ", "Asia/Tokyo"));
    assert!(listed.stdout.contains(" 16:00:00 CET"), "{listed}");
    let until = [
        "user",
        "delegate",
        "alice",
        "bob",
        "--until",
        "2030-07-01 18:00",
    ];
    let far = lab.remote("alice", Role::Admin, &until).await;
    let made = said(far.variable("TZ", "Asia/Tokyo"));
    assert!(made.stdout.contains("2030-07-01 18:00:00 CEST"), "{made}");
    let kept = said(lab.local(&["user", "delegations", "--json"])).json();
    assert_eq!(kept["delegations"][0]["until"], "2030-07-01T16:00:00Z");
}

#[tokio::test(flavor = "multi_thread")]
async fn check_reports_missing_named_users() {
    let lab = Lab::new().await;
    lab.server.account("alice", Role::Approver, &["pm"]).await;
    let config = format!(
        "[agent]\nsocket = \"{}\"\n[users.alice]\ngitlab = \"alice\"\n[users.robert]\ngitlab = \"bob\"\n",
        lab.server.socket.display()
    );
    let check = crate::command::program::Test::new()
        .config(&config)
        .arguments(["check"]);
    let found = said(check);
    let warned: Vec<&str> = found
        .stdout
        .lines()
        .filter(|line| line.starts_with("warn "))
        .collect();
    assert_eq!(
        warned,
        [
            "warn agent: [users.robert] maps the pusher bob to an account that does not exist: what \
             they push needs one approval more than the hook says; add it (tagship user add robert), or \
             correct the name"
        ]
    );
}
