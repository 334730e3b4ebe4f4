//! What a user may not see is not revealed by errors: not listed, not suggested, not
//! confirmed.

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use tagship::identity::account::Role;

use crate::client::{Browser, Program};
use crate::codo::Codo;
use crate::server::{Options, TestServer};

/// Another project, with a template of its own, and rights to little.
const MORE: &str = r#"
[[projects]]
name = "vault"
repository = "/srv/git/vault.git"
[projects.environments.cellar]
group = "web"
deploy_to = "/srv/vault"
[[projects.rules]]
pattern = "rotate-*"
environment = "cellar"
template = "vault-rotate"
[[grants]]
to = ["tim"]
role = "submitter"
template = "restart"
[[grants]]
to = ["quinn"]
role = "submitter"
project = "shop"
environment = "qa"
"#;

const TEMPLATES: &[&str] = &[
    "id = 80\nname = \"vault-rotate\"\n[[stage]]\nname = \"all\"\nhosts = \"{group}\"\nsteps = [{ run = \"true\" }]\n",
    "id = 81\nname = \"notice\"\n[[stage]]\nname = \"all\"\nhosts = \"{group}\"\nsteps = [{ run = \"true\" }]\n",
];

async fn server() -> TestServer {
    TestServer::start_with(Options {
        grants: MORE,
        templates: TEMPLATES,
        ..Options::default()
    })
    .await
}

/// The error for a refused order.
async fn refused(program: &Program, order: Value) -> String {
    let (status, answer) = program.call(Method::POST, "tasks", Some(order)).await;
    assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY, "{answer}");
    answer["error"].as_str().unwrap().to_owned()
}

fn silent_of(text: &str, names: &[&str]) {
    for name in names {
        assert!(!text.contains(name), "{name} is told: {text}");
    }
}

#[tokio::test]
async fn errors_list_no_names_hidden_from_their_reader() {
    let server = server().await;
    let hidden = [
        "vault",
        "cellar",
        "git-release",
        "web-",
        "shop",
        "production",
    ];
    for (name, known) in [("tim", "restart"), ("nobody", "you may see none")] {
        let program = Program::of(&server, name, Role::None).await;
        for template in ["x", "vault-rotat", "restar", "80", "git-releas"] {
            let text = refused(&program, json!({ "template": template })).await;
            assert!(text.contains(known), "{text}");
            silent_of(&text.replace(&format!("`{template}`"), ""), &hidden);
        }
    }
    let tim = Program::with(
        &server,
        &server
            .token(&server.accounts.get("tim").await.unwrap())
            .await,
    );
    let order = |more: Value| {
        let mut order = json!({
            "template": "restart", "params": { "SERVICE": "shop-web" },
            "hosts": { "1": ["127.0.0.1"], "2": ["127.0.0.2"] },
        });
        for (name, value) in more.as_object().unwrap() {
            order[name] = value.clone();
        }
        order
    };
    let hosts = json!({ "hosts": { "1": ["web-11"], "2": ["127.0.0.2"] } });
    let text = refused(&tim, order(hosts)).await;
    silent_of(&text.replace("web-11", ""), &["web-"]);
    let text = refused(&tim, order(json!({ "project": "vaul" }))).await;
    silent_of(&text.replace("`vaul`", ""), &["vault", "production"]);
    let text = refused(
        &tim,
        order(json!({ "project": "shop", "environment": "production1" })),
    )
    .await;
    silent_of(&text.replace("production1", ""), &["production", "qa"]);
    server.end().await;
}

#[tokio::test]
async fn guessed_hidden_name_looks_like_a_missing_one() {
    let server = server().await;
    let quinn = Program::of(&server, "quinn", Role::None).await;
    let order = |project: &str, environment: &str| json!({ "template": "notice", "project": project, "environment": environment });
    // The same text for existing and for missing objects.
    let there = refused(&quinn, order("vault", "cellar")).await;
    let not = refused(&quinn, order("vaulx", "cellar")).await;
    assert_eq!(there.replace("vault", "vaulx"), not);
    silent_of(&not, &["vault", "cellar", "production"]);
    let there = refused(&quinn, order("shop", "production")).await;
    let not = refused(&quinn, order("shop", "productiox")).await;
    assert_eq!(there.replace("production", "productiox"), not);
    assert!(not.contains("there are qa"), "{not}");
    let by_url = |url: &str| json!({ "template": "notice", "params": { "GIT_URL": url } });
    let there = refused(&quinn, by_url("/srv/git/vault.git")).await;
    assert_eq!(there, refused(&quinn, by_url("/srv/git/none.git")).await);
    let (status, task) = quinn.post("tasks", order("shop", "qa")).await;
    assert_eq!(status, StatusCode::CREATED, "{task}");

    let tim = Program::of(&server, "tim", Role::None).await;
    let there = refused(&tim, json!({ "template": "vault-rotate" })).await;
    let not = refused(&tim, json!({ "template": "vault-rotatx" })).await;
    assert_eq!(there, not);
    let codo = Codo::of(&server, "tim2", Role::None).await;
    let (_, there) = codo.submit(&json!({ "temp_id": "vault-rotate" })).await;
    let (_, not) = codo.submit(&json!({ "temp_id": "vault-rotatx" })).await;
    assert_eq!(there["code"], -2);
    let there = there.to_string().replace("vault-rotate", "vault-rotatx");
    assert_eq!(there, not.to_string());
    server.end().await;
}

#[tokio::test]
async fn form_offers_only_templates_its_reader_may_use() {
    let server = server().await;
    server.proposed("release-7.7").await;
    let tim = Browser::of(&server, "tim", Role::None).await;
    let (_, page) = tim.get("/submit").await;
    assert!(page.contains("template=restart"), "{page}");
    silent_of(&page, &["vault", "cellar", "git-release", "notice"]);
    let (status, page) = tim.get("/submit?template=vault-rotate").await;
    assert_eq!(status, StatusCode::NOT_FOUND);
    let (_, other) = tim.get("/submit?template=vault-rotatx").await;
    assert_eq!(page.replace("vault-rotate", "vault-rotatx"), other);
    let (_, page) = tim.get("/submit?template=restart").await;
    silent_of(&page, &["release-7.7", "web-1", "vault"]);
    let pasted = json!({ "template": "vault-rotat" }).to_string();
    let (status, page) = tim.post("/submit", &[("json", &pasted)]).await;
    assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY);
    silent_of(
        &page.replace("vault-rotat", ""),
        &["vault", "rotate", "cellar"],
    );
    let quinn = Browser::of(&server, "quinn", Role::None).await;
    let (_, page) = quinn.get("/submit").await;
    assert!(
        page.contains("template=notice"),
        "no rule uses it, and qa may: {page}"
    );
    silent_of(&page, &["vault", "cellar"]);
    server.end().await;
}
