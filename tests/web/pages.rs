//! Pages: their text, their actions, and that no content in them is executed.

use reqwest::{Method, StatusCode};
use tagship::domain::task::{ChangedPath, CommitLine, Event, Relation, State, TagInfo};
use tagship::identity::account::{NewAccount, Role};
use tagship::store::kv::Commit;

use crate::client::{Browser, both, client, form, plan_of};
use crate::server::{OLDER, Options, TestServer, description, person};

const PASSWORD: &str = "correct horse battery staple";

async fn with_password(server: &TestServer, name: &str) {
    let new = NewAccount {
        name: name.to_owned(),
        display: String::new(),
        role: Role::Approver,
        groups: Default::default(),
        password: Some(PASSWORD.into()),
    };
    server.accounts.add(new, Commit::new()).await.unwrap();
}

async fn log_in(server: &TestServer, name: &str, password: &str, next: &str) -> reqwest::Response {
    let fields = [("name", name), ("password", password), ("next", next)];
    let request = client().post(format!("{}/login", server.url));
    let request = form(request, &fields).header("accept", "text/html");
    request.header("origin", &server.url).send().await.unwrap()
}

#[tokio::test]
async fn user_logs_in_and_out() {
    let server = TestServer::start().await;
    with_password(&server, "alice").await;
    let response = log_in(&server, "alice", PASSWORD, "/tasks/7").await;
    assert_eq!(response.status(), StatusCode::SEE_OTHER);
    assert_eq!(response.headers()["location"], "/tasks/7");
    let cookie = response.headers()["set-cookie"]
        .to_str()
        .unwrap()
        .to_owned();
    assert!(cookie.contains("HttpOnly") && cookie.contains("SameSite=Lax"));
    let cookie = cookie.split(';').next().unwrap();
    let get = |path: &str| {
        client()
            .get(format!("{}{path}", server.url))
            .header("cookie", cookie)
    };
    let (status, page) = both(get("/").send().await.unwrap()).await;
    assert_eq!(status, StatusCode::OK);
    let csrf = page.split("name=\"csrf\" value=\"").nth(1).unwrap();
    let csrf = csrf.split('"').next().unwrap();
    let leave = client()
        .post(format!("{}/logout", server.url))
        .header("cookie", cookie);
    let response = form(leave, &[("csrf", csrf)]).send().await.unwrap();
    assert_eq!(response.status(), StatusCode::SEE_OTHER);
    assert!(
        response.headers()["set-cookie"]
            .to_str()
            .unwrap()
            .contains("Max-Age=0")
    );
    assert_eq!(
        get("/").send().await.unwrap().status(),
        StatusCode::UNAUTHORIZED
    );
    server.end().await;
}

#[tokio::test]
async fn wrong_name_and_wrong_password_get_the_same_answer() {
    let server = TestServer::start().await;
    with_password(&server, "alice").await;
    let mut pages = Vec::new();
    for name in ["alice", "nobody", "../x"] {
        let (status, page) = both(log_in(&server, name, "wrong", "/").await).await;
        assert_eq!(status, StatusCode::UNAUTHORIZED);
        pages.push(page.replace(&format!("value=\"{name}\""), ""));
    }
    assert_eq!(pages[0], pages[1]);
    assert_eq!(pages[0], pages[2]);
    for _ in 0..4 {
        log_in(&server, "alice", "wrong", "/").await;
    }
    let (status, page) = both(log_in(&server, "alice", PASSWORD, "/").await).await;
    assert_eq!(status, StatusCode::TOO_MANY_REQUESTS);
    assert!(page.contains("Try again after"));
    server.end().await;
}

#[tokio::test]
async fn behind_https_the_cookie_is_secure() {
    let server = TestServer::start_with(Options {
        agent: "public_url = \"https://ship.example.com\"",
        ..Options::default()
    })
    .await;
    with_password(&server, "alice").await;
    let fields = [("name", "alice"), ("password", PASSWORD)];
    let request = form(client().post(format!("{}/login", server.url)), &fields);
    let request = request.header("origin", "https://ship.example.com");
    let response = request.send().await.unwrap();
    assert_eq!(response.status(), StatusCode::SEE_OTHER);
    let cookie = response.headers()["set-cookie"].to_str().unwrap();
    assert!(
        cookie.starts_with("__Host-") && cookie.contains("Secure"),
        "{cookie}"
    );
    server.end().await;
}

/// A browser that keeps the cookies that this address allows.
async fn login_page_after(server: &TestServer, cookies: &str) -> (String, String) {
    let fields = [
        ("name", "alice"),
        ("password", PASSWORD),
        ("next", "/hosts"),
    ];
    let request = form(client().post(format!("{}/login", server.url)), &fields);
    let response = request.send().await.unwrap();
    assert_eq!(response.status(), StatusCode::SEE_OTHER);
    let set = response.headers()["set-cookie"].to_str().unwrap();
    let kept = set.split(';').next().unwrap_or_default().to_owned();
    let location = response.headers()["location"].to_str().unwrap().to_owned();
    let again = client().get(format!("{}{location}", server.url));
    let again = again.header("cookie", if cookies == "kept" { &kept } else { "" });
    let response = again.header("accept", "text/html").send().await.unwrap();
    let onward = response.headers().get("location").cloned();
    let onward = onward.map_or_else(String::new, |value| value.to_str().unwrap().to_owned());
    (onward, response.text().await.unwrap())
}

#[tokio::test]
async fn login_over_plain_http_names_the_address_that_works() {
    let server = TestServer::start_with(Options {
        agent: "public_url = \"https://ship.example.com\"",
        ..Options::default()
    })
    .await;
    with_password(&server, "alice").await;
    let (_, page) = login_page_after(&server, "dropped").await;
    for part in [
        "did not send its cookie back",
        "public_url is https://ship.example.com",
        "open https://ship.example.com/login",
    ] {
        assert!(page.contains(part), "no {part:?} in {page}");
    }
    assert_eq!(login_page_after(&server, "kept").await.0, "/hosts");
    let code = client().get(format!("{}/login/code?next=%2F&entered=1", server.url));
    let sent_back = code.send().await.unwrap();
    assert_eq!(sent_back.headers()["location"], "/login?entered=1");

    let show = |header: (&'static str, &'static str), host: &'static str| {
        let get = client().get(format!("{}/login", server.url));
        get.header("host", host).header(header.0, header.1)
    };
    let over_http = "opened over plain http";
    for (header, host, plain) in [
        (("accept", "text/html"), "192.0.2.7:8424", true),
        (("x-forwarded-proto", "http"), "ship.example.com", true),
        (("x-forwarded-proto", "https"), "ship.example.com", false),
        (("x-forwarded-for", "192.0.2.9"), "127.0.0.1:8424", false),
        (("accept", "text/html"), "ship.example.com", false),
        (("accept", "text/html"), "127.0.0.1:8424", false),
    ] {
        let (_, page) = both(show(header, host).send().await.unwrap()).await;
        assert_eq!(page.contains(over_http), plain, "{header:?} {host}");
    }
    server.end().await;
}

#[tokio::test]
async fn browser_without_cookies_sees_the_cause() {
    let server = TestServer::start().await;
    let get = |path: &str, from: &str| {
        let get = client().get(format!("{}{path}", server.url));
        get.header("referer", format!("{}{from}", server.url))
    };
    let page = |path: &'static str, from: &'static str| async move {
        both(get(path, from).send().await.unwrap()).await.1
    };
    let said = "your browser keeps no cookies";
    assert!(page("/login?next=%2F", "/login").await.contains(said));
    assert!(page("/login?next=%2F", "/login/code").await.contains(said));
    assert!(!page("/login?next=%2F", "/tasks/7").await.contains(said));
    assert!(
        !page("/login", "/login").await.contains(said),
        "it was typed"
    );
    server.end().await;
}

#[tokio::test]
async fn task_list_is_filtered_by_state() {
    let server = TestServer::start().await;
    server.succeeded("release-1.1").await;
    server.waiting("release-1.2").await;
    let vera = Browser::of(&server, "vera", Role::Viewer).await;
    let (status, page) = vera.get("/tasks").await;
    assert_eq!(status, StatusCode::OK);
    let place = |text: &str| page.find(text).unwrap_or_else(|| panic!("no {text}"));
    assert!(place("release-1.2") < place("release-1.1"), "newest first");
    assert!(page.contains("CE"), "times name their zone");
    let (_, page) = vera.get("/tasks?state=succeeded&project=").await;
    assert!(page.contains("release-1.1") && !page.contains("release-1.2"));
    server.end().await;
}

#[tokio::test]
async fn old_tasks_are_reached_page_by_page() {
    let server = TestServer::start().await;
    for number in 1..=52 {
        let task = server.waiting(&format!("release-{number}-")).await;
        let withdrawn = Event::Withdrawn {
            by: "bob".to_owned(),
            reason: String::new(),
        };
        server.append(&task, vec![withdrawn]).await;
    }
    let vera = Browser::of(&server, "vera", Role::Viewer).await;
    let (_, page) = vera.get("/tasks?project=shop").await;
    assert!(page.contains("release-3-") && !page.contains("release-2-<"));
    let more = page.split("class=\"pager\"").nth(1).unwrap();
    let older = more.split("href=\"/tasks?").nth(1).unwrap();
    let older = older.split('"').next().unwrap();
    let older = older.replace("&#38;", "&").replace("&amp;", "&");
    assert!(older.starts_with("project=shop&cursor="), "{older}");
    let (_, page) = vera.get(&format!("/tasks?{older}")).await;
    assert!(page.contains("release-2-") && page.contains("release-1-"));
    assert!(!page.contains("release-3-"));
    // An address from when the board was the list.
    let old = vera.ask(Method::GET, &format!("/?{older}"));
    let moved = old.send().await.unwrap();
    assert_eq!(moved.status(), StatusCode::SEE_OTHER);
    assert_eq!(moved.headers()["location"], format!("/tasks?{older}"));
    server.end().await;
}

#[tokio::test]
async fn waiting_task_page_describes_its_plan() {
    let server = TestServer::start().await;
    let mut described = description();
    described.comparisons[0].live = Some(OLDER.to_owned());
    described.comparisons[0].relation = Relation::Back { commits: 3 };
    let mut other = described.comparisons[0].clone();
    other.hosts = vec!["web-9".to_owned()];
    other.relation = Relation::Diverged { ahead: 1, back: 2 };
    described.comparisons.push(other);
    let task = server.waiting_with("release-1.4", &described).await;
    let alice = Browser::of(&server, "alice", Role::Approver).await;
    let (status, page) = alice.get(&format!("/tasks/{}", task.id)).await;
    assert_eq!(status, StatusCode::OK);
    for said in [
        "waits for 1 approval",
        "REMOVES 3 commits",
        "DIVERGED: adds 1 commit, removes 2 commits",
        "The hosts ran different releases.",
        "bin/migrate --check",
        "sudo systemctl reload shop",
        "1 host at a time",
        "switched hosts roll back",
        "<b>Approve</b><span class=\"object\"><span>release-1.4</span>&nbsp;<span>\u{2192} production</span></span>",
        "Start no earlier than (time zone Europe/Berlin)",
    ] {
        assert!(page.contains(said), "{said}");
    }
    let plan = plan_of(&task);
    assert!(page.contains(&format!("name=\"plan\" value=\"{plan}\"")));
    let bob = Browser::of(&server, "bob", Role::Approver).await;
    let (_, page) = bob.get(&format!("/tasks/{}", task.id)).await;
    assert!(page.contains("another approver has to") && !page.contains("/approve\""));
    server.end().await;
}

#[tokio::test]
async fn page_offers_only_permitted_actions() {
    let server = TestServer::start().await;
    let waiting = server.waiting("release-1.3").await;
    let running = server.running("release-1.4").await;
    let alice = Browser::of(&server, "alice", Role::Approver).await;
    let vera = Browser::of(&server, "vera", Role::Viewer).await;
    let offered = async |browser: &Browser, id: u64| -> Vec<String> {
        let (_, page) = browser.get(&format!("/tasks/{id}")).await;
        let action = format!("action=\"/tasks/{id}/");
        let actions = page.split(&action).skip(1);
        actions
            .map(|rest| rest.split('"').next().unwrap().to_owned())
            .collect()
    };
    assert_eq!(
        offered(&alice, waiting.id).await,
        ["approve", "reject", "withdraw"]
    );
    // The whole task, and one host of it.
    assert_eq!(offered(&alice, running.id).await, ["stop", "stop", "skip"]);
    assert_eq!(offered(&vera, waiting.id).await, [""; 0]);
    assert_eq!(offered(&vera, running.id).await, [""; 0]);
    let (_, page) = vera.get(&format!("/tasks/{}", waiting.id)).await;
    assert!(page.contains("to approve a task requires the role approver"));
    server.end().await;
}

#[tokio::test]
async fn forms_approve_reject_and_roll_back() {
    let server = TestServer::start().await;
    let alice = Browser::of(&server, "alice", Role::Approver).await;
    let task = server.waiting("release-1.3").await;
    let plan = plan_of(&task);
    let approve = format!("/tasks/{}/approve", task.id);
    let (status, page) = alice
        .post(&approve, &[("plan", "0000"), ("comment", "")])
        .await;
    assert_eq!(status, StatusCode::CONFLICT);
    assert!(page.contains("the plan has changed"));
    let late = [("plan", plan.as_str()), ("not_before", "2001-01-01T00:00")];
    let (status, page) = alice.post(&approve, &late).await;
    assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY);
    assert!(page.contains("has passed"));
    let fields = [
        ("plan", plan.as_str()),
        ("comment", "go"),
        ("not_before", "2099-07-01T18:00"),
    ];
    let (status, _) = alice.post(&approve, &fields).await;
    assert_eq!(status, StatusCode::SEE_OTHER);
    let at = "2099-07-01T16:00:00Z".parse().unwrap();
    assert_eq!(
        server.store.task(task.id).await.unwrap().state,
        State::Scheduled { at }
    );
    let reject = format!("/tasks/{}/reject", task.id);
    let (status, _) = alice.post(&reject, &[("reason", "")]).await;
    assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY);
    let (status, _) = alice.post(&reject, &[("reason", "too late")]).await;
    assert_eq!(status, StatusCode::SEE_OTHER);

    let first = server.succeeded("release-1.4").await;
    server.succeeded("release-1.5").await;
    let (status, page) = alice
        .get("/rollback?project=shop&environment=production")
        .await;
    assert_eq!(status, StatusCode::OK);
    assert!(page.contains("Roll back to release-1.4"), "{page}");
    let (status, page) = alice.get(&format!("/tasks/{}/rollback", first.id)).await;
    assert_eq!(status, StatusCode::OK);
    assert!(page.contains("Roll back to release-1.4"));
    let (status, _) = alice
        .post("/rollback", &[("task", &first.id.to_string())])
        .await;
    assert_eq!(status, StatusCode::SEE_OTHER);
    server.end().await;
}

#[tokio::test]
async fn an_admin_finds_hosts_and_users() {
    let server = TestServer::start().await;
    let root = Browser::of(&server, "root", Role::Admin).await;
    let vera = Browser::of(&server, "vera", Role::Viewer).await;
    let (status, _) = root
        .post("/hosts/web-2/disable", &[("reason", "<b>disk</b>")])
        .await;
    assert_eq!(status, StatusCode::SEE_OTHER);
    for path in ["/", "/hosts"] {
        let (_, page) = vera.get(path).await;
        assert!(
            page.contains("web-2") && page.contains("root: &#60;b&#62;disk"),
            "{path}"
        );
    }
    let (status, _) = root.post("/hosts/web-2/enable", &[]).await;
    assert_eq!(status, StatusCode::SEE_OTHER);
    let new = [
        ("name", "dora"),
        ("role", "approver"),
        ("groups", "@pm, ops"),
        ("password", ""),
    ];
    let (status, _) = root.post("/users", &new).await;
    assert_eq!(status, StatusCode::SEE_OTHER);
    let (_, page) = root.get("/users").await;
    assert!(page.contains("dora") && page.contains("@pm") && page.contains("@ops"));
    let (status, page) = root
        .post(
            "/users/dora/tokens",
            &[("label", "laptop"), ("read", "yes")],
        )
        .await;
    assert_eq!(status, StatusCode::OK);
    assert!(page.contains("tagship_") && page.contains("laptop"));
    let (status, page) = vera.get("/users").await;
    assert_eq!(status, StatusCode::FORBIDDEN);
    assert!(page.contains("requires the role admin"));
    assert_eq!(vera.get("/users/vera").await.0, StatusCode::OK);
    assert_eq!(vera.get("/users/dora").await.0, StatusCode::FORBIDDEN);
    let (status, _) = root.post("/users/dora/remove", &[]).await;
    assert_eq!(status, StatusCode::SEE_OTHER);
    server.end().await;
}

#[tokio::test]
async fn own_password_change_requires_the_current_one() {
    let server = TestServer::start().await;
    with_password(&server, "alice").await;
    let account = server.accounts.get("alice").await.unwrap();
    let (cookie, csrf) = server.session(&account).await;
    let change = async |present: &str| {
        let request = client().post(format!("{}/users/alice/password", server.url));
        let fields = [
            ("csrf", csrf.as_str()),
            ("present", present),
            ("password", "another long password"),
        ];
        let request = form(request, &fields).header("cookie", &cookie);
        request.send().await.unwrap().status()
    };
    assert_eq!(change("wrong").await, StatusCode::FORBIDDEN);
    assert_eq!(change(PASSWORD).await, StatusCode::SEE_OTHER);
    // Its sessions have ended with it.
    assert_eq!(change(PASSWORD).await, StatusCode::UNAUTHORIZED);
    server.end().await;
}

#[tokio::test]
async fn repository_content_is_escaped_in_pages() {
    const EVIL: &str = "\"'><script>alert(1)</script><img src=x onerror=alert(1)>";
    let server = TestServer::start().await;
    let mut described = description();
    described.subject = EVIL.to_owned();
    described.author = person(EVIL);
    described.tag = Some(TagInfo {
        name: EVIL.to_owned(),
        named_as_ref: false,
        tagger: Some(person(EVIL)),
        message: EVIL.to_owned(),
    });
    described.comparisons[0].relation = Relation::Ahead { commits: 1 };
    described.comparisons[0].hosts = vec![EVIL.to_owned()];
    described.comparisons[0].coming = vec![CommitLine {
        commit: OLDER.to_owned(),
        subject: EVIL.to_owned(),
        author: EVIL.to_owned(),
        at: server.now(),
    }];
    described.comparisons[0].paths = vec![ChangedPath {
        status: 'M',
        path: EVIL.to_owned(),
    }];
    let task = server
        .waiting_with(&format!("release-{EVIL}"), &described)
        .await;
    let rejected = Event::Rejected {
        by: "alice".to_owned(),
        reason: EVIL.to_owned(),
    };
    let alice = Browser::of(&server, "alice", Role::Admin).await;
    let path = format!("/tasks/{}", task.id);
    let mut pages = vec![alice.get(&path).await.1];
    server.append(&task, vec![rejected]).await;
    let addresses = [
        "/".to_owned(),
        path,
        "/?project=%22%3E%3Cscript%3E".to_owned(),
        "/tasks".to_owned(),
        "/tasks?project=%22%3E%3Cscript%3E&words=%22%3E%3Cscript%3E".to_owned(),
        "/login?next=%22%3E%3Cscript%3E".to_owned(),
        "/tasks/%22%3E%3Cscript%3E".to_owned(),
        "/<script>alert(1)</script>".to_owned(),
    ];
    for address in &addresses {
        pages.push(alice.get(address).await.1);
    }
    let (_, page) = both(log_in(&server, EVIL, EVIL, "/").await).await;
    pages.push(page);
    for page in &pages {
        assert!(page.contains("<!doctype html>") || page.is_empty());
        let alive = page.to_lowercase();
        assert_eq!(
            alive.matches("<script").count(),
            alive.matches("<script src=\"/assets/").count(),
            "{page}"
        );
        assert!(!alive.contains("<img"), "{page}");
        assert!(!page.contains(&EVIL[..3]), "{page}");
        assert!(!alive.contains("style=\"") && !alive.contains("javascript:"));
    }
    assert!(pages[0].contains("&#60;script&#62;"));
    server.end().await;
}

#[tokio::test]
async fn every_response_has_its_security_headers() {
    let server = TestServer::start().await;
    let alice = Browser::of(&server, "alice", Role::Admin).await;
    for path in [
        "/",
        "/login",
        "/tasks/9",
        "/nowhere",
        "/healthz",
        "/api/v1/tasks",
        "/hosts",
    ] {
        let response = alice.ask(Method::GET, path).send().await.unwrap();
        let headers = response.headers();
        let policy = headers["content-security-policy"].to_str().unwrap();
        assert!(
            policy.starts_with("default-src 'none'; script-src 'self';"),
            "{path}"
        );
        assert!(policy.contains("frame-ancestors 'none'") && !policy.contains("unsafe"));
        assert_eq!(headers["x-content-type-options"], "nosniff");
        assert_eq!(headers["referrer-policy"], "same-origin");
        assert_eq!(headers["cache-control"], "no-store", "{path}");
    }
    server.end().await;
}

#[tokio::test]
async fn pages_load_no_external_and_no_inline_script() {
    let server = TestServer::start().await;
    let task = server.running("release-1.4").await;
    let alice = Browser::of(&server, "alice", Role::Admin).await;
    let handler = regex::Regex::new(r"\son[a-z]+=").unwrap();
    for path in [
        "/",
        "/tasks",
        &format!("/tasks/{}", task.id),
        "/hosts",
        "/users",
        "/users/alice",
    ] {
        let (status, page) = alice.get(path).await;
        assert_eq!(status, StatusCode::OK, "{path}");
        for attribute in ["src=\"", "href=\"", "action=\"", "data-live=\""] {
            for rest in page.split(attribute).skip(1) {
                assert!(
                    rest.starts_with('/') || rest.starts_with('#'),
                    "{path}: {attribute}{}",
                    &rest[..40]
                );
                assert!(!rest.starts_with("//"));
            }
        }
        assert!(!page.contains("<style"), "{path}");
        assert!(!handler.is_match(&page), "{path}");
    }
    server.end().await;
}

#[tokio::test]
async fn style_and_script_are_cached_by_content() {
    let server = TestServer::start().await;
    let (_, page) = both(
        client()
            .get(format!("{}/login", server.url))
            .send()
            .await
            .unwrap(),
    )
    .await;
    for asset in page.split("/assets/").skip(1) {
        let asset = asset.split('"').next().unwrap();
        let url = format!("{}/assets/{asset}", server.url);
        let response = client().get(&url).send().await.unwrap();
        assert_eq!(response.status(), StatusCode::OK);
        assert!(
            response.headers()["cache-control"]
                .to_str()
                .unwrap()
                .contains("immutable")
        );
        let tag = response.headers()["etag"].clone();
        let again = client()
            .get(&url)
            .header("if-none-match", tag)
            .send()
            .await
            .unwrap();
        assert_eq!(again.status(), StatusCode::NOT_MODIFIED);
    }
    let old = format!("{}/assets/style.css?v=0000", server.url);
    let response = client().get(old).send().await.unwrap();
    assert_eq!(response.headers()["cache-control"], "no-cache");
    server.end().await;
}

#[tokio::test]
async fn approver_sees_that_another_release_went_live() {
    let server = TestServer::start().await;
    let task = server.waiting("release-1.5").await;
    let alice = Browser::of(&server, "alice", Role::Approver).await;
    let path = format!("/tasks/{}", task.id);
    assert!(!alice.get(&path).await.1.contains("went live there"));
    let other = server.succeeded("release-1.4").await;
    let said = format!("task {} went live there", other.id);
    assert!(alice.get(&path).await.1.contains(&said));
    server.end().await;
}
