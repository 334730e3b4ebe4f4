//! One request, as far as the rest of `server` needs it: read here, and bounded here.

use std::net::IpAddr;
use std::pin::Pin;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use futures::{Stream, StreamExt as _};
use hyper::body::Bytes;
use hyper::header::{self, HeaderName};
use hyper::{HeaderMap, Method};
use serde::de::DeserializeOwned;

use super::fault::Fault;
use crate::base::secret::SecretString;

/// The methods that something here is done by.
const METHODS: &str = "GET, HEAD, POST, DELETE";

/// The body of a request, in bytes.
const BODY_BYTES_MAX: usize = 64 * 1024;

/// How much is read of a body that is too long, before its connection is given up.
const UNREAD_BYTES_MAX: usize = 32 * 1024 * 1024;

/// The header in which a proxy names the client.
pub(super) const FORWARDED_FOR: &str = "x-forwarded-for";

/// Who is on the other end of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Peer {
    Network(IpAddr),
    /// A user of this machine, as the kernel says.
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
    /// Behind a lock only because a body may not be looked at from two sides.
    pub(super) body: Mutex<Option<Body>>,
}

impl Call {
    /// What is answered to an address that is none.
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

    /// The value of a header, if it is text.
    pub(super) fn header(&self, name: impl Into<HeaderName>) -> Option<&str> {
        self.headers.get(name.into())?.to_str().ok()
    }

    /// Whether a proxy says that it passed the call on. A hint for texts: it grants nothing.
    pub(super) fn is_proxied(&self) -> bool {
        let headers = [FORWARDED_FOR, "forwarded", "via"];
        headers.iter().any(|name| self.headers.contains_key(*name))
    }

    /// The value of a cookie; the first one where a name comes twice.
    pub(super) fn cookie(&self, name: &str) -> Option<SecretString> {
        crate::identity::session::cookie(self.header(header::COOKIE)?, name)
    }

    /// The value of one parameter of the address, if it says anything.
    pub(super) fn parameter(&self, name: &str) -> Option<SecretString> {
        let pairs: Vec<(String, String)> = serde_urlencoded::from_str(&self.query).ok()?;
        let found = pairs.into_iter().find(|(found, _)| found == name);
        found
            .map(|(_, value)| value)
            .filter(|value| !value.is_empty())
            .map(SecretString::from)
    }

    /// The parts of the path between its slashes. Names of ours need no percent signs.
    pub(super) fn segments(&self) -> Vec<String> {
        let path = self.path.trim_matches('/');
        path.split('/').map(str::to_owned).collect()
    }

    /// What the address says after the question mark.
    pub(super) fn query<T: DeserializeOwned>(&self) -> Result<T, Fault> {
        serde_urlencoded::from_str(&self.query).map_err(|error| {
            Fault::Invalid(format!(
                "the address says after `?` what is not understood: {error}; correct it"
            ))
        })
    }

    /// The fields of a form.
    pub(super) async fn form<T: DeserializeOwned>(&mut self, within: Duration) -> Result<T, Fault> {
        let bytes = self.bytes(within).await?;
        serde_urlencoded::from_bytes(&bytes).map_err(|error| {
            Fault::Invalid(format!(
                "the form is not understood: {error}; load its page again"
            ))
        })
    }

    /// The JSON of the body; an empty one counts as `{}`.
    pub(super) async fn json<T: DeserializeOwned>(&mut self, within: Duration) -> Result<T, Fault> {
        let bytes = self.bytes(within).await?;
        let kind = self.header(header::CONTENT_TYPE).unwrap_or_default();
        let kind = kind.split(';').next().unwrap_or_default().trim();
        if !bytes.is_empty() && !kind.eq_ignore_ascii_case("application/json") {
            return Err(Fault::Kind);
        }
        let text: &[u8] = if bytes.is_empty() { b"{}" } else { &bytes };
        serde_json::from_slice(text)
            .map_err(|error| Fault::Invalid(format!("the body is not understood: {error}")))
    }

    /// The JSON of the body, whatever the client says that it is: `None` where it is none.
    pub(super) async fn loose_json<T: DeserializeOwned>(
        &mut self,
        within: Duration,
    ) -> Result<Option<T>, Fault> {
        let bytes = self.bytes(within).await?;
        Ok(serde_json::from_slice(&bytes).ok())
    }

    /// The body, read whole: at most [`BODY_BYTES_MAX`].
    async fn bytes(&mut self, within: Duration) -> Result<Vec<u8>, Fault> {
        self.bytes_up_to(BODY_BYTES_MAX, within).await
    }

    /// The body, read whole: at most so many bytes. What is beyond them is read and thrown away, up to
    /// a limit, since a client that still sends does not see an answer.
    pub(super) async fn bytes_up_to(
        &mut self,
        most: usize,
        within: Duration,
    ) -> Result<Vec<u8>, Fault> {
        let body = self.body.get_mut().unwrap_or_else(PoisonError::into_inner);
        let Some(mut body) = body.take() else {
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
