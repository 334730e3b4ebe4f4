//! The agent's JSON API over its Unix socket or over HTTP with a token, and its event streams,
//! which all waiting here uses.

use std::path::PathBuf;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::runtime::Runtime;

/// The limit of every wait.
const DEADLINE: Duration = Duration::from_secs(180);

/// A client of the agent.
pub(crate) struct Api {
    runtime: Runtime,
    client: reqwest::Client,
    base: String,
    token: Option<String>,
}

impl Api {
    /// As the agent's own user, an admin.
    pub(crate) fn local(socket: PathBuf) -> Self {
        let builder = reqwest::Client::builder().unix_socket(socket);
        Self::new(builder, "http://localhost".to_owned(), None)
    }

    /// As the owner of a token.
    pub(crate) fn network(port: u16, token: String) -> Self {
        let base = format!("http://127.0.0.1:{port}");
        Self::new(reqwest::Client::builder(), base, Some(token))
    }

    fn new(builder: reqwest::ClientBuilder, base: String, token: Option<String>) -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build();
        Self {
            runtime: runtime.unwrap(),
            // A restarted agent does not know an old connection.
            client: builder
                .pool_max_idle_per_host(0)
                .no_proxy()
                .build()
                .unwrap(),
            base,
            token,
        }
    }

    fn request(&self, method: reqwest::Method, path: &str) -> reqwest::RequestBuilder {
        let request = self.client.request(method, format!("{}{path}", self.base));
        match &self.token {
            Some(token) => request.bearer_auth(token),
            None => request,
        }
    }

    async fn answer(request: reqwest::RequestBuilder) -> (u16, Value) {
        let response = request.timeout(DEADLINE).send().await.unwrap();
        let status = response.status().as_u16();
        let text = response.text().await.unwrap();
        let value = serde_json::from_str(&text).unwrap_or(Value::String(text));
        (status, value)
    }

    async fn read(&self, path: &str) -> Value {
        let request = self.request(reqwest::Method::GET, &format!("/api/v1{path}"));
        let (status, value) = Self::answer(request).await;
        assert_eq!(status, 200, "GET {path}: {value}");
        value
    }

    /// `GET /api/v1…`, which must succeed.
    #[track_caller]
    pub(crate) fn get(&self, path: &str) -> Value {
        self.runtime.block_on(self.read(path))
    }

    /// `POST /api/v1…`: status and answer.
    pub(crate) fn try_post(&self, path: &str, body: &Value) -> (u16, Value) {
        let path = format!("/api/v1{path}");
        let request = self.request(reqwest::Method::POST, &path).json(body);
        self.runtime.block_on(Self::answer(request))
    }

    /// `POST /api/v1…`, which must succeed.
    #[track_caller]
    pub(crate) fn post(&self, path: &str, body: &Value) -> Value {
        let (status, value) = self.try_post(path, body);
        assert!(
            (200..300).contains(&status),
            "POST {path}: {status} {value}"
        );
        value
    }

    /// `POST /api/v1…` to an agent that may end meanwhile; ignores the result.
    pub(crate) fn say(&self, path: &str, body: &Value) {
        let path = format!("/api/v1{path}");
        let request = self.request(reqwest::Method::POST, &path).json(body);
        let said = async { request.timeout(DEADLINE).send().await };
        let _ = self.runtime.block_on(said);
    }

    /// A page as its reader gets it.
    #[track_caller]
    pub(crate) fn page(&self, path: &str) -> String {
        let request = self.request(reqwest::Method::GET, path);
        let (status, page) = self.runtime.block_on(Self::answer(request));
        assert_eq!(status, 200, "GET {path}: {page}");
        page.as_str().unwrap_or_default().to_owned()
    }

    /// The resource at an address, as text.
    #[track_caller]
    pub(crate) fn text(&self, path: &str) -> String {
        let request = self.request(reqwest::Method::GET, path);
        let (status, text) = self.runtime.block_on(async {
            let response = request.timeout(DEADLINE).send().await.unwrap();
            (response.status().as_u16(), response.text().await.unwrap())
        });
        assert_eq!(status, 200, "GET {path}: {text}");
        text
    }

    /// Submits a form of a page; returns the address it led to, and its content.
    pub(crate) fn form(&self, path: &str, fields: &[(&str, &str)]) -> (String, String) {
        let request = self.request(reqwest::Method::POST, path);
        let request = request
            .header("content-type", "application/x-www-form-urlencoded")
            .body(serde_urlencoded::to_string(fields).unwrap());
        self.runtime.block_on(async {
            let response = request.timeout(DEADLINE).send().await.unwrap();
            let place = response.url().path().to_owned();
            (place, response.text().await.unwrap())
        })
    }

    pub(crate) fn task(&self, id: u64) -> Value {
        self.get(&format!("/tasks/{id}"))
    }

    /// All tasks (at most 200), newest first.
    pub(crate) fn tasks(&self) -> Vec<Value> {
        let list = self.get("/tasks?limit=200");
        list["tasks"].as_array().unwrap().clone()
    }

    /// The log of a task, as far as it is written.
    pub(crate) fn log(&self, id: u64) -> String {
        let request = self.request(reqwest::Method::GET, &format!("/api/v1/tasks/{id}/log"));
        let (_, value) = self.runtime.block_on(Self::answer(request));
        value
            .as_str()
            .map_or_else(|| value.to_string(), str::to_owned)
    }

    /// Waits until `found` returns something; calls it after each event of a stream.
    fn wait<T>(
        &self,
        stream: &str,
        what: &str,
        mut found: impl AsyncFnMut(&Self) -> Option<T>,
    ) -> T {
        let waiting = async {
            let request = self.request(reqwest::Method::GET, stream);
            let mut events = request.send().await.unwrap();
            assert_eq!(events.status().as_u16(), 200, "{stream}");
            while events.chunk().await.unwrap().is_some() {
                if let Some(found) = found(self).await {
                    return found;
                }
            }
            panic!("the stream {stream} ended before: {what}");
        };
        let waited = self
            .runtime
            .block_on(async { tokio::time::timeout(DEADLINE, waiting).await });
        waited.unwrap_or_else(|_| panic!("in vain: {what}; {:#?}", self.tasks()))
    }

    /// Waits until there is a task with this number.
    #[track_caller]
    pub(crate) fn until_task(&self, id: u64) {
        self.wait("/events", &format!("task {id}"), async |api: &Self| {
            let list = api.read(&format!("/tasks?limit=1&before={}", id + 1)).await;
            let newest = list["tasks"].as_array().unwrap().first()?["id"].as_u64();
            (newest == Some(id)).then_some(())
        });
    }

    /// Waits until a condition on a task holds.
    pub(crate) fn until(&self, id: u64, what: &str, holds: impl Fn(&Value) -> bool) -> Value {
        self.wait(
            &format!("/tasks/{id}/events"),
            &format!("task {id} {what}"),
            async |api: &Self| {
                let task = api.read(&format!("/tasks/{id}")).await;
                holds(&task).then_some(task)
            },
        )
    }

    /// Waits until a task is in this state, or at rest in another.
    pub(crate) fn until_state_or_rest(&self, id: u64, state: &str) -> Value {
        self.until(id, state, |task| {
            task["state"] == state || task["at_rest"] == true
        })
    }

    /// Waits until a task is in this state; it must not settle in another.
    #[track_caller]
    pub(crate) fn until_state(&self, id: u64, state: &str) -> Value {
        let task = self.until_state_or_rest(id, state);
        assert_eq!(task["state"], state, "{}: {}", task["detail"], self.log(id));
        task
    }

    /// Waits until each of these hosts has printed each of these lines.
    pub(crate) fn until_logged(&self, id: u64, hosts: &[&str], lines: &[&str]) {
        let what = format!("{lines:?} in the log of task {id}");
        self.wait(&format!("/tasks/{id}/events"), &what, async |api: &Self| {
            for host in hosts {
                let path = format!("/api/v1/tasks/{id}/log?host={host}");
                let (_, log) = Self::answer(api.request(reqwest::Method::GET, &path)).await;
                let log = log.as_str().unwrap_or_default().to_owned();
                if !lines.iter().all(|line| log.contains(line)) {
                    return None;
                }
            }
            Some(())
        });
    }

    /// Waits until a task is at rest.
    pub(crate) fn at_rest(&self, id: u64) -> Value {
        self.until(id, "at rest", |task| task["at_rest"] == true)
    }

    /// Waits until this tag has `count` tasks; returns their ids, oldest first.
    pub(crate) fn tasks_of(&self, tag: &str, count: usize) -> Vec<u64> {
        self.wait(
            "/events",
            &format!("{count} tasks of {tag}"),
            async |api: &Self| {
                let list = api.read("/tasks?limit=200").await;
                let tasks = list["tasks"].as_array().unwrap().iter().rev();
                let ids: Vec<u64> = tasks
                    .filter(|task| task["tag"] == tag)
                    .map(|task| task["id"].as_u64().unwrap())
                    .collect();
                (ids.len() >= count).then_some(ids)
            },
        )
    }

    /// Waits for the first task of this tag.
    pub(crate) fn task_of(&self, tag: &str) -> u64 {
        self.tasks_of(tag, 1)[0]
    }

    /// Approves a task's plan.
    pub(crate) fn approve(&self, id: u64) -> (u16, Value) {
        let plan = self.task(id)["plan"].clone();
        self.try_post(&format!("/tasks/{id}/approve"), &json!({ "plan": plan }))
    }

    #[track_caller]
    pub(crate) fn retry(&self, id: u64) -> Value {
        self.post(&format!("/tasks/{id}/retry"), &json!({}))
    }
}
