//! The client of the agent: over its Unix socket, or over HTTP if `TAGSHIP_URL` names one. It knows
//! addresses, tokens and errors; callers know the requests. It never follows a redirect, so that a
//! token is only sent where it was meant to go.

use std::error::Error as _;
use std::io;
use std::path::PathBuf;
use std::time::Duration;

use futures::{Stream, TryStreamExt};
use reqwest::header::{AUTHORIZATION, HeaderMap, HeaderValue, SERVER};
use reqwest::{Method, RequestBuilder, Response, StatusCode, Url, redirect};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::error::{ClientError, CommandError};
use crate::api::{ErrorBody, TaskView};

/// A response takes longer only if the agent has a problem.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// How many reconnects are attempted, once a second, before the connection counts as lost.
const RECONNECTS_MAX: u32 = 60;
const RECONNECT_PAUSE: Duration = Duration::from_secs(1);
/// The longest token, in bytes; real ones are far shorter.
const TOKEN_LENGTH_MAX: usize = 4096;

/// The address of the agent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Address {
    Socket(PathBuf),
    Http { url: String, token: Option<String> },
}

/// A client of one agent.
#[derive(Debug)]
pub(crate) struct Client {
    http: reqwest::Client,
    /// The prefix of every path.
    base: Url,
    /// The address as shown to people.
    shown: String,
}

/// A request to the agent.
#[derive(Debug)]
pub(crate) struct ApiRequest {
    method: Method,
    segments: Vec<String>,
    query: Vec<(&'static str, String)>,
    body: Option<Value>,
}

impl ApiRequest {
    /// For this path below `/api/v1`; each segment is escaped completely.
    pub(crate) fn get<'a>(segments: impl IntoIterator<Item = &'a str>) -> Self {
        let api = ["api", "v1"].into_iter();
        Self {
            method: Method::GET,
            segments: api.chain(segments).map(str::to_owned).collect(),
            query: Vec::new(),
            body: None,
        }
    }

    /// For a task.
    pub(crate) fn task(id: u64) -> Self {
        Self::get(["tasks", &id.to_string()])
    }

    /// For this path of the pages, outside the API.
    pub(crate) fn page<'a>(segments: impl IntoIterator<Item = &'a str>) -> Self {
        Self {
            segments: segments.into_iter().map(str::to_owned).collect(),
            ..Self::get([])
        }
    }

    pub(crate) fn post<'a>(
        segments: impl IntoIterator<Item = &'a str>,
        body: &impl Serialize,
    ) -> Self {
        Self {
            method: Method::POST,
            body: Some(serde_json::to_value(body).unwrap_or_default()),
            ..Self::get(segments)
        }
    }

    pub(crate) fn delete<'a>(segments: impl IntoIterator<Item = &'a str>) -> Self {
        Self {
            method: Method::DELETE,
            ..Self::get(segments)
        }
    }

    pub(crate) fn with(mut self, name: &'static str, value: Option<impl ToString>) -> Self {
        self.query
            .extend(value.map(|value| (name, value.to_string())));
        self
    }
}

impl Client {
    pub(crate) fn new(address: &Address) -> Result<Self, ClientError> {
        let builder = reqwest::Client::builder()
            .user_agent(concat!("tagship/", env!("CARGO_PKG_VERSION")))
            .redirect(redirect::Policy::none())
            .connect_timeout(CONNECT_TIMEOUT);
        let (builder, base, shown) = match address {
            Address::Socket(path) => (
                // A proxy from the environment is not used here.
                builder.unix_socket(path.clone()).no_proxy(),
                "http://localhost/".to_owned(),
                path.display().to_string(),
            ),
            Address::Http { url, token } => {
                let mut headers = HeaderMap::new();
                if let Some(token) = token {
                    headers.insert(AUTHORIZATION, bearer(token)?);
                }
                (builder.default_headers(headers), url.clone(), url.clone())
            }
        };
        let http = builder
            .build()
            .map_err(|error| ClientError::Setup(error.to_string()))?;
        Ok(Self {
            base: base_url(&base)?,
            http,
            shown,
        })
    }

    /// Sends a request and returns the JSON of the response unchanged.
    pub(crate) async fn json(&self, ask: &ApiRequest) -> Result<Value, ClientError> {
        let response = self.request(ask).timeout(ANSWER_TIMEOUT).send().await;
        let response = self.good(response).await?;
        response.json().await.map_err(|error| match error {
            error if error.is_decode() => self.unreadable(&error),
            error => self.broken(&error),
        })
    }

    /// Sends a request and parses the response.
    pub(crate) async fn ask<T: DeserializeOwned>(
        &self,
        ask: &ApiRequest,
    ) -> Result<T, ClientError> {
        let value = self.json(ask).await?;
        self.read(value)
    }

    /// Returns the task as it is now.
    pub(crate) async fn task(&self, id: u64) -> Result<TaskView, ClientError> {
        self.ask(&ApiRequest::task(id)).await
    }

    /// Sends a request whose response has no content.
    pub(crate) async fn run(&self, ask: &ApiRequest) -> Result<(), ClientError> {
        let response = self.request(ask).timeout(ANSWER_TIMEOUT).send().await;
        self.good(response).await.map(drop)
    }

    /// Parses a response of [`Client::json`].
    pub(crate) fn read<T: DeserializeOwned>(&self, value: Value) -> Result<T, ClientError> {
        serde_json::from_value(value).map_err(|error| self.unreadable(&error))
    }

    /// Sends a request whose response arrives in chunks, perhaps for hours.
    pub(crate) async fn stream(
        &self,
        ask: &ApiRequest,
    ) -> Result<impl Stream<Item = Result<Vec<u8>, ClientError>> + use<'_>, ClientError> {
        let response = self.good(self.request(ask).send().await).await?;
        Ok(response
            .bytes_stream()
            .map_ok(|bytes| bytes.to_vec())
            .map_err(|error| self.broken(&error)))
    }

    fn request(&self, ask: &ApiRequest) -> RequestBuilder {
        let mut url = self.base.clone();
        if let Ok(mut path) = url.path_segments_mut() {
            path.pop_if_empty().extend(&ask.segments);
        }
        if !ask.query.is_empty() {
            url.query_pairs_mut().extend_pairs(&ask.query);
        }
        let request = self.http.request(ask.method.clone(), url);
        match &ask.body {
            Some(body) => request.json(body),
            None => request,
        }
    }

    async fn good(
        &self,
        response: Result<Response, reqwest::Error>,
    ) -> Result<Response, ClientError> {
        let response = response.map_err(|error| self.unreached(&error))?;
        let status = response.status();
        if status.is_success() {
            return Ok(response);
        }
        let header = response.headers().get(SERVER);
        let server = header
            .and_then(|server| server.to_str().ok())
            .map(|server| format!(" (from {server})"))
            .unwrap_or_default();
        match response.json::<ErrorBody>().await {
            Ok(ErrorBody { error, .. }) => Err(ClientError::Refused(error)),
            Err(_) if status == StatusCode::UNAUTHORIZED => Err(ClientError::NoToken {
                address: self.shown.clone(),
            }),
            Err(_) => Err(ClientError::Foreign {
                address: self.shown.clone(),
                status: status.as_u16(),
                server,
            }),
        }
    }

    /// Returns the error if no response began.
    fn unreached(&self, error: &reqwest::Error) -> ClientError {
        let address = self.shown.clone();
        if !error.is_connect() {
            return if error.is_timeout() {
                ClientError::Silent { address }
            } else {
                self.broken(error)
            };
        }
        let kind = io_error(error).map(io::Error::kind);
        match kind {
            Some(io::ErrorKind::PermissionDenied) => ClientError::Forbidden { address },
            Some(io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused) => {
                ClientError::NoAgent { address }
            }
            _ => ClientError::Unreachable {
                address,
                reason: innermost(error),
            },
        }
    }

    fn broken(&self, error: &reqwest::Error) -> ClientError {
        ClientError::Broken {
            address: self.shown.clone(),
            reason: innermost(error),
        }
    }

    fn unreadable(&self, error: &dyn std::error::Error) -> ClientError {
        ClientError::Unreadable {
            address: self.shown.clone(),
            reason: innermost(error),
        }
    }
}

/// The one retry policy of the client: what follows a task connects again, for a while. All other
/// requests are sent once, because one whose connection was lost may have taken effect.
#[derive(Default)]
pub(crate) struct Reconnects {
    /// How many connections failed, one after another.
    failed: u32,
}

impl Reconnects {
    /// Returns what a connection led to. `None`: it ended, and the next one may be made. A failed one
    /// that received anything was reachable, and does not count.
    pub(crate) async fn ended<T>(
        &mut self,
        read: Result<Option<T>, CommandError>,
        has_received: bool,
    ) -> Result<Option<T>, CommandError> {
        self.failed = match read {
            // Streams have an end, and agents are restarted.
            Ok(None) => 0,
            Err(CommandError::Client(
                ClientError::NoAgent { .. }
                | ClientError::Broken { .. }
                | ClientError::Unreachable { .. },
            )) if self.failed < RECONNECTS_MAX => match has_received {
                true => 0,
                false => self.failed + 1,
            },
            read => return read,
        };
        tokio::time::sleep(RECONNECT_PAUSE).await;
        Ok(None)
    }
}

fn bearer(token: &str) -> Result<HeaderValue, ClientError> {
    if token.is_empty() || token.len() > TOKEN_LENGTH_MAX {
        return Err(ClientError::Token);
    }
    let mut value =
        HeaderValue::from_str(&format!("Bearer {token}")).map_err(|_| ClientError::Token)?;
    value.set_sensitive(true);
    Ok(value)
}

fn base_url(url: &str) -> Result<Url, ClientError> {
    let refused = |reason: String| ClientError::Url {
        url: url.to_owned(),
        reason,
    };
    let parsed = Url::parse(url).map_err(|error| refused(error.to_string()))?;
    match parsed.scheme() {
        "http" | "https" => Ok(parsed),
        other => Err(refused(format!("{other} is neither http nor https"))),
    }
}

/// Returns the system error behind an error of the client.
fn io_error(error: &reqwest::Error) -> Option<&io::Error> {
    let mut source = error.source();
    while let Some(inner) = source {
        if let Some(found) = inner.downcast_ref::<io::Error>() {
            return Some(found);
        }
        source = inner.source();
    }
    None
}

/// Returns the innermost message of an error: the outer layers only repeat the address.
fn innermost(error: &dyn std::error::Error) -> String {
    let mut inner = error;
    while let Some(source) = inner.source() {
        inner = source;
    }
    inner.to_string()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn http(url: &str, token: Option<&str>) -> Result<Client, ClientError> {
        Client::new(&Address::Http {
            url: url.to_owned(),
            token: token.map(str::to_owned),
        })
    }

    #[test]
    fn base_path_of_the_agent_address_is_kept() {
        let client = http("https://example.com/ship", None).unwrap();
        let request = client
            .request(&ApiRequest::get(["tasks", "7"]))
            .build()
            .unwrap();
        assert_eq!(
            request.url().as_str(),
            "https://example.com/ship/api/v1/tasks/7"
        );
    }

    #[test]
    fn names_in_request_paths_are_escaped() {
        let client = http("https://example.com/", None).unwrap();
        let ask = ApiRequest::get(["hosts", "../users?a=b", "enable"]).with("q", Some("a&b"));
        let request = client.request(&ask).build().unwrap();
        assert_eq!(
            request.url().as_str(),
            "https://example.com/api/v1/hosts/..%2Fusers%3Fa=b/enable?q=a%26b"
        );
    }

    #[test]
    fn only_http_addresses_and_plain_tokens_are_accepted() {
        assert!(matches!(
            http("ship.example.com", None),
            Err(ClientError::Url { .. })
        ));
        assert!(matches!(
            http("ftp://example.com", None),
            Err(ClientError::Url { .. })
        ));
        for token in ["", "a\nb"] {
            assert!(matches!(
                http("https://example.com", Some(token)),
                Err(ClientError::Token)
            ));
        }
    }
}
