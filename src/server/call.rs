//! A request as the rest of `server` needs it: parsed here, within limits.

use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Mutex;
use std::time::Duration;

use futures::{Stream, StreamExt as _};
use hyper::body::Bytes;
use hyper::header::{self, HeaderName};
use hyper::{HeaderMap, Method};
use serde::de::DeserializeOwned;

use super::fault::Fault;
use crate::base::language::Language;
use crate::base::mutex::lock;
use crate::base::secret::{ExposeSecret as _, SecretString};

/// The methods that the server supports.
const METHODS: &str = "GET, HEAD, POST, DELETE";

/// The longest request body, in bytes.
const BODY_BYTES_MAX: usize = 64 * 1024;

/// How much of an overlong body is read before the connection is closed, in bytes.
const UNREAD_BYTES_MAX: usize = 32 * 1024 * 1024;

/// The header in which a proxy names the client.
pub(super) const FORWARDED_FOR: &str = "x-forwarded-for";

/// The cookie of the language that was chosen in a browser.
pub(super) const LANGUAGE_COOKIE: &str = "tagship_language";

/// The peer of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Peer {
    Network(IpAddr),
    /// A user of this machine, as reported by the kernel.
    Local {
        uid: u32,
    },
}

/// A body that has not been read yet.
pub(super) type Body = Pin<Box<dyn Stream<Item = Result<Bytes, warp::Error>> + Send>>;

/// A request.
pub(super) struct Call {
    pub(super) method: Method,
    pub(super) path: String,
    pub(super) query: String,
    pub(super) headers: HeaderMap,
    pub(super) peer: Peer,
    /// Locked only because a body is not `Sync`.
    pub(super) body: Mutex<Option<Body>>,
}

impl Call {
    /// Returns the fault for an unknown URL.
    pub(super) fn unknown(&self) -> Fault {
        if ["GET", "POST", "DELETE"].contains(&self.method.as_str()) {
            Fault::NotFound(format!(
                "there is nothing at {} {}; see the list of tasks, or /api/v1/openapi.json",
                self.method,
                self.path.escape_debug().take(200).collect::<String>()
            ))
        } else {
            Fault::Method(self.method.to_string(), METHODS)
        }
    }

    /// Returns the value of a header, if it is text.
    pub(super) fn header(&self, name: impl Into<HeaderName>) -> Option<&str> {
        self.headers.get(name.into())?.to_str().ok()
    }

    /// Whether a proxy claims to have forwarded the request. For messages only: it grants nothing.
    pub(super) fn is_proxied(&self) -> bool {
        let headers = [FORWARDED_FOR, "forwarded", "via"];
        headers.iter().any(|name| self.headers.contains_key(*name))
    }

    /// Returns the value of a cookie; the first one if the name occurs twice.
    pub(super) fn cookie(&self, name: &str) -> Option<SecretString> {
        crate::identity::session::cookie(self.header(header::COOKIE)?, name)
    }

    /// Returns the language that was chosen in this browser, else the one that it asks for.
    pub(super) fn language(&self) -> Language {
        let chosen = self.cookie(LANGUAGE_COOKIE);
        let chosen = chosen.and_then(|code| Language::of_code(code.expose_secret()));
        let asked = self.header(header::ACCEPT_LANGUAGE).unwrap_or_default();
        chosen.unwrap_or_else(|| Language::preferred(asked))
    }

    /// Returns the value of one query parameter, if it is not empty.
    pub(super) fn parameter(&self, name: &str) -> Option<SecretString> {
        let pairs: Vec<(String, String)> = serde_urlencoded::from_str(&self.query).ok()?;
        let found = pairs.into_iter().find(|(found, _)| found == name);
        found
            .map(|(_, value)| value)
            .filter(|value| !value.is_empty())
            .map(SecretString::from)
    }

    /// Returns the segments of the path. Names in our URLs need no percent-encoding.
    pub(super) fn segments(&self) -> Vec<String> {
        let path = self.path.trim_matches('/');
        path.split('/').map(str::to_owned).collect()
    }

    /// Parses the query string.
    pub(super) fn query<T: DeserializeOwned>(&self) -> Result<T, Fault> {
        serde_urlencoded::from_str(&self.query)
            .map_err(|error| Fault::Invalid(format!("the query is invalid: {error}; correct it")))
    }

    /// Parses the fields of a form.
    pub(super) async fn form<T: DeserializeOwned>(&mut self, within: Duration) -> Result<T, Fault> {
        let bytes = self.bytes(within).await?;
        serde_urlencoded::from_bytes(&bytes).map_err(|error| {
            Fault::Invalid(format!("the form is invalid: {error}; reload its page"))
        })
    }

    /// Parses the JSON body; an empty one counts as `{}`.
    pub(super) async fn json<T: DeserializeOwned>(&mut self, within: Duration) -> Result<T, Fault> {
        let bytes = self.bytes(within).await?;
        let kind = self.header(header::CONTENT_TYPE).unwrap_or_default();
        let kind = kind.split(';').next().unwrap_or_default().trim();
        if !bytes.is_empty() && !kind.eq_ignore_ascii_case("application/json") {
            return Err(Fault::Kind);
        }
        let text: &[u8] = if bytes.is_empty() { b"{}" } else { &bytes };
        serde_json::from_slice(text).map_err(|error| misread(error.to_string()))
    }

    /// Parses the JSON body, whatever its content type; `None` if it is not JSON.
    pub(super) async fn loose_json<T: DeserializeOwned>(
        &mut self,
        within: Duration,
    ) -> Result<Option<T>, Fault> {
        let bytes = self.bytes(within).await?;
        Ok(serde_json::from_slice(&bytes).ok())
    }

    /// Reads the whole body: at most [`BODY_BYTES_MAX`].
    async fn bytes(&mut self, within: Duration) -> Result<Vec<u8>, Fault> {
        self.bytes_up_to(BODY_BYTES_MAX, within).await
    }

    /// Reads the whole body, up to a limit. Excess bytes are read and discarded, up to a second
    /// limit, since a client that is still sending does not see a response.
    pub(super) async fn bytes_up_to(
        &mut self,
        most: usize,
        within: Duration,
    ) -> Result<Vec<u8>, Fault> {
        let body = lock(&self.body).take();
        let Some(mut body) = body else {
            return Ok(Vec::new());
        };
        let read = async move {
            let (mut bytes, mut read) = (Vec::new(), 0);
            while let Some(piece) = body.next().await {
                let piece = piece.map_err(|_| Fault::Cut)?;
                read += piece.len();
                if read > most {
                    bytes = Vec::new();
                } else {
                    bytes.extend_from_slice(&piece);
                }
                if read > most.max(UNREAD_BYTES_MAX) {
                    break;
                }
            }
            if read > most {
                return Err(Fault::TooLarge(most));
            }
            Ok(bytes)
        };
        tokio::time::timeout(within, read)
            .await
            .map_err(|_| Fault::Slow)?
    }
}

/// Returns the refusal of a JSON body, with what is wrong with it.
pub(super) fn misread(why: String) -> Fault {
    Fault::Invalid(format!("the body is invalid: {why}"))
}
