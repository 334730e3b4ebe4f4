//! An agent's web server over a store in memory, and the program that calls it: over the Unix
//! socket, or over HTTP with a user's token.

use std::process::{Child, Stdio};
use std::sync::Arc;

use tagship::base::clock::ManualClock;
use tagship::identity::account::Role;
use tagship::server::WebLimits;

use crate::command::program::{Said, Test};
use crate::server::{Options, TestServer};

pub(crate) struct Lab {
    pub(crate) server: TestServer,
    pub(crate) clock: Arc<ManualClock>,
}

impl Lab {
    /// It is 16:00 in Berlin.
    pub(crate) async fn new() -> Self {
        Self::made(Options::default()).await
    }

    pub(crate) async fn with(limits: WebLimits) -> Self {
        Self::made(Options {
            limits,
            ..Options::default()
        })
        .await
    }

    /// With further tables in the configuration.
    pub(crate) async fn with_tables(tables: &'static str) -> Self {
        Self::made(Options {
            grants: tables,
            ..Options::default()
        })
        .await
    }

    async fn made(options: Options) -> Self {
        let clock = Arc::new(ManualClock::at("2026-11-21T15:00:00Z".parse().unwrap()));
        let options = Options {
            clock: clock.clone(),
            ..options
        };
        Self {
            server: TestServer::start_with(options).await,
            clock,
        }
    }

    /// The program as a user of the agent's machine.
    pub(crate) fn local(&self, arguments: &[&str]) -> Test {
        let socket = self.server.socket.display();
        let config = format!("[agent]\nsocket = \"{socket}\"\ntime_zone = \"Europe/Berlin\"\n");
        Test::new()
            .config(&config)
            .arguments(arguments.iter().copied())
    }

    /// The program of a user with a token, on another machine.
    pub(crate) async fn remote(&self, name: &str, role: Role, arguments: &[&str]) -> Test {
        let account = match self.server.accounts.get(name).await {
            Ok(account) => account,
            Err(_) => self.server.account(name, role, &["pm"]).await,
        };
        let token = self.server.token(&account).await;
        Test::new()
            .variable("TAGSHIP_URL", &self.server.url)
            .variable("TAGSHIP_TOKEN", &token)
            .arguments(arguments.iter().copied())
    }

    /// `tagship check` of a project whose host does not answer; the rest comes from the agent.
    pub(crate) fn checking(&self) -> Test {
        let socket = self.server.socket.display();
        let config = format!(
            r#"
            [agent]
            socket = "{socket}"
            time_zone = "Europe/Berlin"
            [ssh]
            user = "deploy"
            connect_timeout = "1s"
            [hosts.web-1]
            address = "127.0.0.1"
            port = 1
            [groups]
            web = ["web-1"]
            [[projects]]
            name = "shop"
            repository = "/srv/git/shop.git"
            environments.production = {{ group = "web", deploy_to = "/srv/shop" }}
            rules = [{{ pattern = "release-*", environment = "production" }}]
            "#
        );
        Test::new().config(&config).arguments(["check"])
    }

    /// A page as an approver reads it.
    pub(crate) async fn page(&self, path: &str) -> String {
        let account = match self.server.accounts.get("ann").await {
            Ok(account) => account,
            Err(_) => self.server.account("ann", Role::Approver, &["pm"]).await,
        };
        let (cookie, _) = self.server.session(&account).await;
        let answer = reqwest::Client::new()
            .get(format!("{}{path}", self.server.url))
            .header("cookie", cookie)
            .header("accept", "text/html")
            .send()
            .await
            .unwrap();
        assert_eq!(answer.status(), 200, "{path}");
        let text = answer.text().await.unwrap();
        text.replace("&#39;", "'").replace("&#x27;", "'")
    }
}

/// Runs it, and lets the server work meanwhile.
pub(crate) fn said(test: Test) -> Said {
    tokio::task::block_in_place(|| test.said())
}

/// Runs it, lets the server work meanwhile, and compares it.
#[track_caller]
pub(crate) fn holds(test: Test) {
    let output = tokio::task::block_in_place(|| test.output());
    test.compare(&Said::of(&output));
}

/// Starts it with its output piped.
pub(crate) fn started(test: &Test) -> Child {
    test.command()
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
}
