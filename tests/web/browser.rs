//! A real browser: a product manager logs in, reads, approves, and watches the task.
//!
//! Chromium is driven over the WebDriver protocol (W3C) by its chromedriver. With `PICTURES=1` the
//! test also renews the pictures of the documentation.

use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use base64::Engine as _;
use reqwest::Method;
use serde_json::{Value, json};
use tagship::domain::task::{Event, StopRequester};
use tagship::identity::account::Role;
use tagship::store::HookOutcome;
use tempfile::TempDir;

use crate::server::TestServer;

const PASSWORD: &str = "a long enough password";

/// The key under which WebDriver names an element.
const ELEMENT: &str = "element-6066-11e4-a52e-4f735466cecf";

/// How long to wait for a page before the browser is asked again for the current one.
const SCRIPT_MS: u64 = 2_000;

/// How often: thirty seconds in all, with a margin for slow machines.
const PAGES: u32 = 15;

/// A headless browser with one page.
struct Browser {
    driver: Child,
    base: String,
    session: String,
    client: reqwest::Client,
    _profile: TempDir,
}

impl Browser {
    async fn open(width: u32, height: u32) -> Self {
        let mut driver = Command::new("chromedriver")
            .args(["--port=0", "--log-level=SEVERE"])
            .stdout(Stdio::piped())
            .spawn()
            .expect("chromedriver is missing: `make test` installs chromium and chromium-driver");
        let lines = BufReader::new(driver.stdout.take().unwrap()).lines();
        let port = lines
            .map_while(Result::ok)
            .find_map(|line| {
                let rest = line.split("successfully on port ").nth(1)?;
                rest.trim_end_matches('.').parse::<u16>().ok()
            })
            .expect("chromedriver says its port");
        let profile = tempfile::tempdir().unwrap();
        let mut browser = Self {
            driver,
            base: format!("http://127.0.0.1:{port}"),
            session: String::new(),
            client: crate::client::client(),
            _profile: profile,
        };
        let arguments = [
            "--headless=new".to_owned(),
            "--no-sandbox".to_owned(),
            "--disable-gpu".to_owned(),
            "--disable-quic".to_owned(),
            "--disable-dev-shm-usage".to_owned(),
            "--no-first-run".to_owned(),
            "--disable-background-networking".to_owned(),
            "--disable-component-update".to_owned(),
            "--disable-sync".to_owned(),
            format!("--window-size={width},{height}"),
            format!("--user-data-dir={}", browser._profile.path().display()),
        ];
        let made = browser
            .ask(
                Method::POST,
                "/session",
                json!({"capabilities": {"alwaysMatch": {
                    "browserName": "chrome",
                    "timeouts": {"script": SCRIPT_MS},
                    "goog:chromeOptions": {"args": arguments},
                }}}),
            )
            .await;
        browser.session = format!("/session/{}", made["sessionId"].as_str().unwrap());
        browser
    }

    async fn ask(&self, method: Method, path: &str, body: Value) -> Value {
        match self.try_to_ask(method, path, body).await {
            Ok(value) => value,
            Err(error) => panic!("{path}: {error}"),
        }
    }

    async fn try_to_ask(&self, method: Method, path: &str, body: Value) -> Result<Value, Value> {
        let mut request = self
            .client
            .request(method.clone(), format!("{}{path}", self.base));
        if method == Method::POST {
            request = request.json(&body);
        }
        let answer: Value = request.send().await.unwrap().json().await.unwrap();
        let value = answer["value"].clone();
        if value["error"].is_null() {
            Ok(value)
        } else {
            Err(value)
        }
    }

    async fn post(&self, path: &str, body: Value) -> Value {
        let path = format!("{}{path}", self.session);
        self.ask(Method::POST, &path, body).await
    }

    async fn go(&self, url: &str) {
        self.post("/url", json!({ "url": url })).await;
    }

    async fn find(&self, css: &str) -> String {
        let found = self
            .post("/element", json!({"using": "css selector", "value": css}))
            .await;
        found[ELEMENT].as_str().unwrap().to_owned()
    }

    async fn click(&self, css: &str) {
        let element = self.find(css).await;
        self.post(&format!("/element/{element}/click"), json!({}))
            .await;
    }

    async fn fill(&self, css: &str, text: &str) {
        let element = self.find(css).await;
        let body = json!({ "text": text });
        self.post(&format!("/element/{element}/value"), body).await;
    }

    async fn run(&self, script: &str) -> Value {
        self.post("/execute/sync", json!({"script": script, "args": []}))
            .await
    }

    /// Waits until the page's text holds these words, woken by the page's own changes. The page
    /// that a click leads to may replace the waiting one, which then never answers: every
    /// [`SCRIPT_MS`] the current page is queried again.
    async fn sees(&self, words: &str) {
        self.sees_at("", words).await;
    }

    /// As [`Self::sees`], on a page of whose address this is a part: the page before may hold the same
    /// words.
    async fn sees_at(&self, address: &str, words: &str) {
        let script = "
            const [address, words, done] = arguments;
            const look = () => location.href.includes(address)
                && document.body.innerText.includes(words) && (done(true), true);
            if (!look()) new MutationObserver((_, self) => look() && self.disconnect())
                .observe(document.body, {childList: true, subtree: true, characterData: true});
        ";
        let body = json!({"script": script, "args": [address, words]});
        let path = format!("{}/execute/async", self.session);
        for _ in 0..PAGES {
            match self.try_to_ask(Method::POST, &path, body.clone()).await {
                Ok(_) => return,
                Err(error) => assert!(
                    error["error"] == "script timeout" || error["error"] == "javascript error",
                    "waiting for {words:?}: {error}"
                ),
            }
        }
        let text = self.run("return document.body.innerText").await;
        panic!("waiting for {words:?}, there is {text}");
    }

    async fn picture(&self, name: &str) {
        let path = format!("{}/screenshot", self.session);
        let picture = self.ask(Method::GET, &path, Value::Null).await;
        let bytes = base64::engine::general_purpose::STANDARD
            .decode(picture.as_str().unwrap())
            .unwrap();
        assert!(bytes.starts_with(b"\x89PNG"));
        if std::env::var_os("PICTURES").is_some() {
            let images = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/images");
            std::fs::write(images.join(format!("{name}.png")), bytes).unwrap();
        }
    }

    async fn close(mut self) {
        let path = self.session.clone();
        self.ask(Method::DELETE, &path, Value::Null).await;
        let _ = self.driver.kill();
        let _ = self.driver.wait();
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        let _ = self.driver.kill();
        let _ = self.driver.wait();
    }
}

async fn log_in(browser: &Browser, server: &TestServer) {
    let account = server.account("alice", Role::Approver, &["pm"]).await;
    server.password(&account, PASSWORD).await;
    browser.go(&format!("{}/login", server.url)).await;
    browser.fill("input[name=name]", "alice").await;
    browser.fill("input[name=password]", PASSWORD).await;
    browser.click("form button").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn manager_approves_in_a_browser_and_sees_progress() {
    let server = TestServer::start().await;
    let task = server.waiting("release-1.4").await;
    let browser = Browser::open(1200, 1000).await;
    log_in(&browser, &server).await;
    browser.sees("release-1.4").await;
    browser
        .go(&format!("{}/tasks/{}", server.url, task.id))
        .await;
    browser.sees("release-1.4").await;
    browser.picture("task").await;
    browser.fill("input[name=comment]", "looks good").await;
    browser
        .click("form[action$='/approve'] button.primary")
        .await;
    browser.sees("scheduled").await;
    let approved = server.store.task(task.id).await.unwrap();
    assert_eq!(approved.approvals.len(), 1);
    assert_eq!(approved.approvals[0].by, "alice");
    assert_eq!(approved.approvals[0].comment, "looks good");
    // The page is not reloaded from here on: events update it.
    let due = server.append(&approved, vec![Event::Due]).await;
    let running = server.start_work(&due).await;
    browser.sees("running").await;
    let stopped_by = Event::StopRequested {
        by: "bob".to_owned(),
        requester: StopRequester::Person,
    };
    server.append(&running, vec![stopped_by]).await;
    browser.sees("stopping").await;
    browser.close().await;
    server.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn page_fits_a_phone_and_loads_nothing_external() {
    let server = TestServer::start().await;
    let task = server.waiting("release-1.4").await;
    let browser = Browser::open(500, 900).await;
    log_in(&browser, &server).await;
    for path in ["/".to_owned(), format!("/tasks/{}", task.id)] {
        browser.go(&format!("{}{path}", server.url)).await;
        browser.sees("release-1.4").await;
        let wide = browser
            .run("return document.documentElement.scrollWidth > window.innerWidth")
            .await;
        assert_eq!(wide, json!(false), "{path} must be scrolled sideways");
        let foreign = browser
            .run(
                "return performance.getEntriesByType('resource').map(e => e.name)
                    .filter(name => !name.startsWith(location.origin))",
            )
            .await;
        assert_eq!(foreign, json!([]), "{path}");
    }
    browser.picture("phone").await;
    browser.close().await;
    server.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_task_is_submitted_on_a_phone() {
    let server = TestServer::start().await;
    let browser = Browser::open(500, 1500).await;
    let patience = json!({ "implicit": 20_000 });
    browser.post("/timeouts", patience).await;
    log_in(&browser, &server).await;
    browser.find("a[href='/submit']").await;
    for path in ["/submit", "/submit?template=restart"] {
        browser.go(&format!("{}{path}", server.url)).await;
        browser.sees("restart").await;
        let wide = browser
            .run("return document.documentElement.scrollWidth > window.innerWidth")
            .await;
        assert_eq!(wide, json!(false), "{path} must be scrolled sideways");
    }
    browser.fill("input[name='param.SERVICE']", "shop").await;
    browser.fill("input[name='secret.KEY']", "hunter2").await;
    browser.click("input[name='hosts.1'][value='web-1']").await;
    browser.picture("submit").await;
    browser.click("form[action='/submit'] button.primary").await;
    // A script of the previous page would wait forever: the next page is recognized by an element.
    browser.find("div[role=alert]").await;
    browser.sees("Nothing was submitted").await;
    browser.sees("hosts.2").await;
    browser.click("input[name='hosts.2'][value='web-3']").await;
    browser.fill("input[name='secret.KEY']", "hunter2").await;
    browser.fill("input[name=title]", "weekly").await;
    browser.picture("submit-again").await;
    browser.click("form[action='/submit'] button.primary").await;
    browser.find("article[data-live]").await;
    browser.picture("submitted").await;
    browser.sees("being planned").await;
    let task = server.store.task(1).await.unwrap().submission;
    assert_eq!(task.title, "weekly");
    assert_eq!(task.hosts[&1], ["web-1"], "what was ticked stays so");
    assert_eq!(task.secrets["KEY"].expose(), "hunter2");
    browser.close().await;
    server.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn history_and_the_hook_log_are_searched_on_a_phone() {
    let server = TestServer::start().await;
    for number in 1..=60 {
        server.waiting(&format!("release-1.{number}")).await;
    }
    let no_rule = HookOutcome::NoRule {
        reasons: vec!["rule 1 (release-1): does not match".to_owned()],
    };
    let object = "3".repeat(40);
    server.heard(&object, Some("shop"), no_rule).await;
    let browser = Browser::open(390, 844).await;
    log_in(&browser, &server).await;
    browser.sees("You can approve").await;
    browser.fill("input[name=words]", "ROUND prices").await;
    browser.click("form[role=search] button").await;
    browser.sees_at("words=", "release-1.60").await;
    browser.click(".pager a[href*=cursor]").await;
    browser.sees_at("cursor=", "release-1.9").await;
    let kept = browser
        .run("return document.querySelector('input[name=words]').value")
        .await;
    assert_eq!(kept, "ROUND prices", "the search is kept while paging");
    browser
        .go(&format!("{}/?tag=release-1.7", server.url))
        .await;
    browser.sees("release-1.7").await;
    let fits = "return document.documentElement.scrollWidth <= innerWidth";
    assert_eq!(browser.run(fits).await, true);
    browser.go(&format!("{}/hooks", server.url)).await;
    browser.sees("release-2.0").await;
    assert_eq!(browser.run(fits).await, true);
    browser.click("a.task").await;
    browser.sees_at("/hooks/", "no rule matches").await;
    assert_eq!(browser.run(fits).await, true);
    browser.click("form[action$='/replay'] button").await;
    browser.sees("Replays").await;
    let task = server.store.task(61).await.unwrap();
    assert_eq!(task.submission.object, object);
    browser.close().await;
    server.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn board_follows_without_losing_focus_or_place() {
    let mut server = TestServer::start().await;
    for number in 1..=30 {
        server.waiting(&format!("release-1.{number}")).await;
    }
    let browser = Browser::open(1200, 700).await;
    log_in(&browser, &server).await;
    browser.sees("You can approve 30.").await;
    let focus = "
        const link = document.querySelector(\"a[href='/tasks/20']\");
        link.scrollIntoView({block: 'center'});
        link.focus();
        return link.getBoundingClientRect().top";
    let before = browser.run(focus).await;
    let first = server.store.task(1).await.unwrap();
    let rejected = Event::Rejected {
        by: "bob".to_owned(),
        reason: "no".to_owned(),
    };
    server.append(&first, vec![rejected]).await;
    // The row of task 1, above, is gone.
    browser.sees("You can approve 29.").await;
    let focused = "
        const focused = document.activeElement;
        return [focused.getAttribute('href'), focused.getBoundingClientRect().top]";
    let after = browser.run(focused).await;
    assert_eq!(after[0], "/tasks/20");
    let moved = after[1].as_f64().unwrap() - before.as_f64().unwrap();
    assert!(moved.abs() < 2.0, "{before} {after}");
    server.ask_to_end();
    server.ended().await;
    browser.sees("The agent does not answer.").await;
    browser.close().await;
}
