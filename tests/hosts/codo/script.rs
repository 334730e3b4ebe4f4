//! The documents' scripts: what they send, in the order and the form in which Python sends it.

use std::process::ExitCode;

use reqwest::header::{CONTENT_TYPE, COOKIE};
use serde_json::{Value, json};
use tagship::base::clock::{Clock as _, SystemClock};
use tokio::runtime::Runtime;

/// A script with the address and the token that were put into it.
pub(crate) struct Script {
    runtime: Runtime,
    client: reqwest::Client,
    url: String,
    auth_key: String,
}

impl Script {
    pub(crate) fn new(agent: &str, auth_key: &str) -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build();
        Self {
            runtime: runtime.unwrap(),
            client: reqwest::Client::builder()
                .user_agent("python-requests/2.31.0")
                .no_proxy()
                .build()
                .unwrap(),
            url: format!("{agent}/api/task/v2/task/accept/"),
            auth_key: auth_key.to_owned(),
        }
    }

    /// POST of the login, as text that was typed; the script has the key from then on.
    pub(crate) fn log_in(&mut self, body: &Value) -> (u16, Value) {
        let url = self.url.replace("task/v2/task/accept", "accounts/login");
        let (status, answer) = self.said(self.client.post(url).body(body.to_string()));
        if let Some(auth_key) = answer["auth_key"].as_str() {
            auth_key.clone_into(&mut self.auth_key);
        }
        (status, answer)
    }

    fn said(&self, request: reqwest::RequestBuilder) -> (u16, Value) {
        self.runtime.block_on(async {
            let response = request.send().await.unwrap();
            let status = response.status().as_u16();
            let text = response.text().await.unwrap();
            (status, serde_json::from_str(&text).expect("JSON"))
        })
    }

    /// `requests.get(url, cookies=dict(auth_key=…))`.
    fn csrf_key(&self) -> String {
        let cookie = format!("auth_key={}", self.auth_key);
        let (_, answer) = self.said(self.client.get(&self.url).header(COOKIE, cookie));
        answer["csrf_key"].as_str().expect("a csrf_key").to_owned()
    }

    fn post(&self, body: String) -> reqwest::RequestBuilder {
        let cookie = format!("auth_key={}; csrf_key={}", self.auth_key, self.csrf_key());
        self.client
            .post(&self.url)
            .header(COOKIE, cookie)
            .body(body)
    }

    /// `requests.post(url, data=json.dumps(…), cookies=…)`: no content type says that it is JSON.
    pub(crate) fn submit(&self, fields: &Value) -> (u16, Value) {
        self.said(self.post(dumps(fields)))
    }

    /// Sends what Postman sends: the text as typed.
    pub(crate) fn submit_typed(&self, body: &str) -> (u16, Value) {
        let request = self.post(body.to_owned());
        self.said(request.header(CONTENT_TYPE, "application/json"))
    }

    /// `post_task(temp_id, schedule)` of the documents.
    pub(crate) fn post_task(&self, task: &Task<'_>) -> ExitCode {
        let (_, answer) = self.submit(&task.fields());
        if answer["code"] == 0 {
            println!("Asynchronous task has been submitted successfully!!!");
            ExitCode::SUCCESS
        } else {
            println!("task commit failed Please contact  OPS Group");
            println!("{answer}");
            ExitCode::from(145)
        }
    }
}

/// The body of the scripts that take a tag.
pub(crate) struct Task<'a> {
    pub(crate) name: &'a str,
    pub(crate) template: &'a str,
    pub(crate) schedule: &'a str,
    pub(crate) tag: &'a str,
    pub(crate) git_url: &'a str,
    pub(crate) address: &'a str,
}

impl Task<'_> {
    pub(crate) fn fields(&self) -> Value {
        let args = [
            ("TAG", self.tag),
            ("GIT_URL", self.git_url),
            ("APP_NAME", "DBTT"),
        ];
        let now = SystemClock.now();
        json!({
            "task_name": self.name,
            "temp_id": self.template,
            "args": str_of(&args),
            "details": "git hook auto exec",
            "hosts": format!("{{1: {}}}", repr(self.address)),
            "submitter": "githook",
            "exec_time": now.strftime("%Y-%m-%d %H:%M:%S").to_string(),
            "schedule": self.schedule,
            "executor": "githook",
        })
    }
}

/// `str(dict)`.
fn str_of(dict: &[(&str, &str)]) -> String {
    let items: Vec<String> = dict
        .iter()
        .map(|(key, value)| format!("{}: {}", repr(key), repr(value)))
        .collect();
    format!("{{{}}}", items.join(", "))
}

/// `repr(str)`: single quotes, unless the text holds such and no double ones.
fn repr(text: &str) -> String {
    let quote = if text.contains('\'') && !text.contains('"') {
        '"'
    } else {
        '\''
    };
    let mut out = String::from(quote);
    for c in text.chars() {
        if c == quote || c == '\\' {
            out.push('\\');
        }
        out.push(c);
    }
    out.push(quote);
    out
}

/// `json.dumps(…)`: nothing beyond ASCII.
fn dumps(value: &Value) -> String {
    let mut out = String::new();
    for c in value.to_string().chars() {
        if c.is_ascii() {
            out.push(c);
        } else {
            let mut units = [0; 2];
            for unit in c.encode_utf16(&mut units) {
                out.push_str(&format!("\\u{unit:04x}"));
            }
        }
    }
    out
}
