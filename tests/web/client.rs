//! A minimal browser and API client.

use reqwest::{Client, Method, RequestBuilder, Response, StatusCode, redirect};
use serde_json::Value;
use tagship::domain::task::Task;
use tagship::identity::account::Role;

use crate::contract;
use crate::server::TestServer;

/// A user with a session, as in a browser.
pub(crate) struct Browser {
    client: Client,
    url: String,
    pub(crate) cookie: String,
    pub(crate) csrf: String,
}

pub(crate) fn client() -> Client {
    Client::builder()
        .redirect(redirect::Policy::none())
        .no_proxy()
        .build()
        .unwrap()
}

impl Browser {
    /// A new account with a session.
    pub(crate) async fn of(server: &TestServer, name: &str, role: Role) -> Self {
        let account = server.account(name, role, &[]).await;
        let (cookie, csrf) = server.session(&account).await;
        Self {
            client: client(),
            url: server.url.clone(),
            cookie,
            csrf,
        }
    }

    pub(crate) fn ask(&self, method: Method, path: &str) -> RequestBuilder {
        self.client
            .request(method, format!("{}{path}", self.url))
            .header("cookie", &self.cookie)
            .header("accept", "text/html")
    }

    pub(crate) async fn get(&self, path: &str) -> (StatusCode, String) {
        both(self.ask(Method::GET, path).send().await.unwrap()).await
    }

    /// Sends a form, with the CSRF token of the session.
    pub(crate) async fn post(&self, path: &str, fields: &[(&str, &str)]) -> (StatusCode, String) {
        let mut fields = fields.to_vec();
        fields.push(("csrf", &self.csrf));
        self.post_bare(path, &fields).await
    }

    pub(crate) async fn post_bare(
        &self,
        path: &str,
        fields: &[(&str, &str)],
    ) -> (StatusCode, String) {
        let request = self.ask(Method::POST, path);
        both(form(request, fields).send().await.unwrap()).await
    }
}

pub(crate) fn form(request: RequestBuilder, fields: &[(&str, &str)]) -> RequestBuilder {
    request
        .header("content-type", "application/x-www-form-urlencoded")
        .body(serde_urlencoded::to_string(fields).unwrap())
}

/// A user with a token, like a program.
pub(crate) struct Program {
    client: Client,
    url: String,
    token: String,
}

impl Program {
    pub(crate) async fn of(server: &TestServer, name: &str, role: Role) -> Self {
        let account = server.account(name, role, &[]).await;
        Self::with(server, &server.token(&account).await)
    }

    pub(crate) fn with(server: &TestServer, token: &str) -> Self {
        Self {
            client: client(),
            url: server.url.clone(),
            token: token.to_owned(),
        }
    }

    pub(crate) fn ask(&self, method: Method, path: &str) -> RequestBuilder {
        self.client
            .request(method, format!("{}/api/v1/{path}", self.url))
            .bearer_auth(&self.token)
    }

    /// Sends a request, and checks the answer against the description of the API.
    pub(crate) async fn call(
        &self,
        method: Method,
        path: &str,
        body: Option<Value>,
    ) -> (StatusCode, Value) {
        let mut request = self.ask(method.clone(), path);
        if let Some(body) = body {
            request = request.json(&body);
        }
        let (status, answer) = json(request.send().await.unwrap()).await;
        contract::keeps(method.as_str(), &format!("/api/v1/{path}"), status, &answer);
        (status, answer)
    }

    pub(crate) async fn get(&self, path: &str) -> (StatusCode, Value) {
        self.call(Method::GET, path, None).await
    }

    pub(crate) async fn post(&self, path: &str, body: Value) -> (StatusCode, Value) {
        self.call(Method::POST, path, Some(body)).await
    }

    pub(crate) async fn delete(&self, path: &str) -> (StatusCode, Value) {
        self.call(Method::DELETE, path, None).await
    }
}

pub(crate) async fn both(response: Response) -> (StatusCode, String) {
    let status = response.status();
    (status, response.text().await.unwrap())
}

/// The API answered with an error that says this.
#[track_caller]
pub(crate) fn assert_error(answer: &Value, words: &str) {
    let error = answer["error"].as_str().unwrap_or_default();
    assert!(error.contains(words), "no {words:?} in {answer}");
}

/// The digest of a task's plan, as an approval names it.
pub(crate) fn plan_of(task: &Task) -> String {
    task.landed.as_ref().unwrap().terms.plan.0.clone()
}

async fn json(response: Response) -> (StatusCode, Value) {
    let (status, text) = both(response).await;
    let value = if text.is_empty() {
        Value::Null
    } else {
        serde_json::from_str(&text).unwrap_or_else(|_| panic!("no JSON: {text}"))
    };
    (status, value)
}
