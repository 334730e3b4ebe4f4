//! How to open a connection: name → address → TCP (or a channel of the jump host) → handshake →
//! host key → login. Limits how many are being opened at once. Retries if a server refuses
//! connections because too many are being opened (sshd's `MaxStartups`). It never retries after
//! permanent failures: an unknown host key, a refused login, a closed port.

use std::collections::{HashMap, HashSet};
use std::net::SocketAddr;
use std::sync::{Arc, Weak};
use std::time::Duration;

use jiff::Timestamp;
use thrussh::client::{Config, Handle};
use thrussh::{Limits, Preferred, cipher, mac};
use thrussh_keys::key;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::{Mutex, Semaphore, watch};
use tokio::time::Instant;

use super::SshTarget;
use super::channel::Keepalive;
use super::error::{RemoteError, WaitPhase, has_no_file_left};
use super::identity::Keyring;
use super::idle::{IdleConnections, IdleLimits};
use super::jump::{self, JumpHost};
use super::known_hosts::{HostKey, HostKeyTrust, HostName, KnownHosts};
use super::link::{Link, LinkState, Metered, Route, Router};
use super::pin::PinCache;
use crate::base::clock::{Clock as _, SystemClock};
use crate::base::mutex::lock;

/// Limits and timeouts for connecting to hosts.
#[derive(Clone, Debug)]
pub struct DialSettings {
    /// Maximum number of connections that are being opened at once.
    pub parallel: usize,
    /// For the TCP connection, name resolution included.
    pub connect_timeout: Duration,
    /// From the first byte to the end of the login; also for opening a channel.
    pub handshake_timeout: Duration,
    /// How long to retry a server that refuses connections.
    pub refusal_patience: Duration,
    pub keepalive: Keepalive,
    pub idle: IdleLimits,
}

impl Default for DialSettings {
    fn default() -> Self {
        Self {
            parallel: 20,
            connect_timeout: Duration::from_secs(10),
            handshake_timeout: Duration::from_secs(30),
            refusal_patience: Duration::from_secs(60),
            keepalive: Keepalive::default(),
            idle: IdleLimits::default(),
        }
    }
}

/// A host that refuses every connection, and is retried.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unreachable {
    /// Names the host, and what it does.
    pub reason: String,
    /// When retries end.
    pub until: Timestamp,
}

/// Whether one host is unreachable, for those that wait for it.
#[derive(Clone, Debug)]
pub struct Reachability(Arc<watch::Sender<Option<Unreachable>>>);

impl Default for Reachability {
    fn default() -> Self {
        Self(Arc::new(watch::Sender::new(None)))
    }
}

impl Reachability {
    /// Returns a receiver that wakes when the host becomes unreachable or reachable.
    #[must_use]
    pub fn changes(&self) -> watch::Receiver<Option<Unreachable>> {
        self.0.subscribe()
    }

    fn report(&self, away: Option<Unreachable>) {
        self.0.send_if_modified(|reported| {
            let changed = *reported != away;
            *reported = away;
            changed
        });
    }
}

/// A busy server accepts again soon; it is reported from this number of attempts on.
const ATTEMPTS_UNREPORTED: u32 = 4;

/// The open connection to a jump host, if there is one: all hosts behind it share it.
type JumpSlot = Arc<Mutex<Option<Weak<dyn JumpHost>>>>;

/// Opens the connection to the jump host of a target, if it has one.
pub(super) trait JumpOpening:
    Future<Output = Result<Option<Arc<dyn JumpHost>>, RemoteError>> + Send
{
}
impl<F: Future<Output = Result<Option<Arc<dyn JumpHost>>, RemoteError>> + Send> JumpOpening for F {}

/// Opens connections. One for the whole agent: it holds the limit, the decoded keys, the connections
/// to jump hosts, and the idle ones.
pub struct Dialer {
    pub(super) settings: DialSettings,
    pub(super) idle: Arc<IdleConnections>,
    opening: Semaphore,
    keys: Keyring,
    pins: PinCache,
    jumps: Mutex<HashMap<SshTarget, JumpSlot>>,
    rekeying: std::sync::Mutex<HashSet<HostName>>,
}

/// Ciphers in order of preference. The library cannot rekey under AES-GCM: it leaves the padding in
/// the messages that it hashes, so the server's signature is then wrong. OpenSSH rekeys after 64
/// GiB under that cipher unless its `RekeyLimit` says otherwise. So the faster cipher comes first,
/// until a host is seen to rekey.
#[derive(Clone, Copy)]
enum Ciphers {
    Fast,
    Renewable,
}

impl Ciphers {
    fn names(self) -> &'static [cipher::Name] {
        match self {
            Self::Fast => &[
                cipher::aes256_gcm::NAME,
                cipher::chacha20poly1305::NAME,
                cipher::aes256_ctr::NAME,
            ],
            Self::Renewable => &[cipher::chacha20poly1305::NAME, cipher::aes256_ctr::NAME],
        }
    }
}

impl Dialer {
    #[must_use]
    pub fn new(settings: DialSettings) -> Arc<Self> {
        Arc::new(Self {
            idle: IdleConnections::new(settings.idle, settings.keepalive),
            opening: Semaphore::new(settings.parallel.max(1)),
            keys: Keyring::default(),
            pins: PinCache::default(),
            jumps: Mutex::default(),
            rekeying: std::sync::Mutex::default(),
            settings,
        })
    }

    /// Notes that this host rekeys sooner than the preferred cipher allows: the next link uses
    /// another one.
    pub(super) fn note_rekeying(&self, target: &SshTarget) {
        let host = HostName::new(&target.address, target.port);
        lock(&self.rekeying).insert(host);
    }

    fn ciphers(&self, host: &HostName) -> Ciphers {
        let rekeying = lock(&self.rekeying);
        if rekeying.contains(host) {
            Ciphers::Renewable
        } else {
            Ciphers::Fast
        }
    }

    pub(super) fn trust(&self) -> (&Keyring, &PinCache) {
        (&self.keys, &self.pins)
    }

    /// Lock it while the connection is opened: a hundred hosts behind it must open it only once.
    pub(super) async fn jump_slot(&self, target: &SshTarget) -> JumpSlot {
        let mut jumps = self.jumps.lock().await;
        Arc::clone(jumps.entry(target.clone()).or_default())
    }
}

/// Returns the host key that a server shows, without logging in; `jump` opens its jump host.
pub(super) async fn offered_key(
    dialer: &Dialer,
    target: &SshTarget,
    jump: impl JumpOpening,
) -> Result<HostKey, RemoteError> {
    let pins = Arc::default();
    let presence = Reachability::default();
    match dial_with_retries(dialer, target, &pins, Purpose::LookAtKey, &presence, jump).await? {
        DialOutcome::Shown(key) => Ok(key),
        DialOutcome::Link(_) => Err(RemoteError::Handshake {
            host: target.to_string(),
            reason: "it showed no host key".into(),
        }),
    }
}

/// Opens an authenticated link to `target`; `jump` opens its jump host.
pub(super) async fn dial(
    dialer: &Dialer,
    target: &SshTarget,
    presence: &Reachability,
    jump: impl JumpOpening,
) -> Result<Link, RemoteError> {
    let pins = dialer.pins.of(target).await?;
    match dial_with_retries(dialer, target, &pins, Purpose::LogIn, presence, jump).await? {
        DialOutcome::Link(link) => Ok(*link),
        DialOutcome::Shown(key) => Err(unknown(target, &key)),
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Purpose {
    LogIn,
    LookAtKey,
}

enum DialOutcome {
    Link(Box<Link>),
    Shown(HostKey),
}

/// Why one attempt failed.
enum DialFailure {
    /// The server closed the connection before authentication: it may be too busy.
    TurnedAway(String),
    /// A retry would fail the same way.
    Final(Box<RemoteError>),
}

impl From<RemoteError> for DialFailure {
    fn from(error: RemoteError) -> Self {
        Self::Final(Box::new(error))
    }
}

/// Retries until the server accepts us, refuses permanently, or the time limit is reached.
async fn dial_with_retries(
    dialer: &Dialer,
    target: &SshTarget,
    pins: &Arc<KnownHosts>,
    purpose: Purpose,
    presence: &Reachability,
    jump: impl JumpOpening,
) -> Result<DialOutcome, RemoteError> {
    let jump = jump.await.map_err(|source| RemoteError::Jump {
        host: target.to_string(),
        source: Box::new(source),
    })?;
    let patience = dialer.settings.refusal_patience;
    let until = Instant::now() + patience;
    let told_until = SystemClock.now() + patience;
    let mut attempts = 0;
    loop {
        attempts += 1;
        match attempt(dialer, target, pins, jump.as_ref(), purpose).await {
            Ok(outcome) => {
                presence.report(None);
                return Ok(outcome);
            }
            Err(DialFailure::Final(error)) => return Err(*error),
            Err(DialFailure::TurnedAway(reason)) => {
                if attempts >= ATTEMPTS_UNREPORTED {
                    presence.report(Some(Unreachable {
                        reason: format!("{target} refuses every connection ({reason})"),
                        until: told_until,
                    }));
                }
                let pause = back_off(attempts);
                if Instant::now() + pause > until {
                    return Err(RemoteError::Dropped {
                        host: target.to_string(),
                        attempts,
                        within: patience,
                        reason,
                    });
                }
                tokio::time::sleep(pause).await;
            }
        }
    }
}

/// Returns between half and all of 100 ms, 200 ms, 400 ms … 3.2 s: connections refused together
/// must not retry together.
fn back_off(attempts: u32) -> Duration {
    let whole = Duration::from_millis(100 << attempts.saturating_sub(1).min(5));
    let mut random = [0; 2];
    // Without randomness use the longest pause.
    let share = match getrandom::fill(&mut random) {
        Ok(()) => f64::from(u16::from_le_bytes(random)) / f64::from(u16::MAX),
        Err(_) => 1.0,
    };
    whole.mul_f64(0.5 + share / 2.0)
}

async fn attempt(
    dialer: &Dialer,
    target: &SshTarget,
    pins: &Arc<KnownHosts>,
    jump: Option<&Arc<dyn JumpHost>>,
    purpose: Purpose,
) -> Result<DialOutcome, DialFailure> {
    // First what needs no network: an unusable key fails the same for every host.
    let key = match purpose {
        Purpose::LogIn => Some(dialer.keys.key(&target.identity).await.map_err(|source| {
            RemoteError::Identity {
                host: target.to_string(),
                source,
            }
        })?),
        Purpose::LookAtKey => None,
    };
    // Before taking a slot: reconnecting to the jump host may need a slot itself.
    let bridge = match jump {
        None => None,
        Some(jump) => {
            let stream = jump::stream(jump.as_ref(), &target.address, target.port).await;
            let (stream, link) = stream.map_err(|source| RemoteError::Jump {
                host: target.to_string(),
                source: Box::new(source),
            })?;
            let route = Route::Jump {
                link,
                _connection: Box::new(Arc::clone(jump)),
            };
            Some((stream, route))
        }
    };
    let settings = &dialer.settings;
    let _slot = dialer.opening.acquire().await;
    let work = async {
        let shared = LinkState::new();
        let (mut handle, route) = match bridge {
            Some((stream, route)) => {
                let handle = shake_hands(dialer, target, pins, &shared, stream).await?;
                (handle, route)
            }
            None => {
                let (stream, peer) = tcp(settings, target).await?;
                let handle = shake_hands(dialer, target, pins, &shared, stream).await?;
                (handle, Route::Direct(peer))
            }
        };
        judge(target, &shared, purpose)?;
        let Some(key) = key else {
            return Ok(shared.shown().map(|(key, _)| DialOutcome::Shown(key)));
        };
        log_in(target, Arc::clone(&key), &mut handle, &shared).await?;
        let link = Link::new(handle, shared, key, route);
        Ok(Some(DialOutcome::Link(Box::new(link))))
    };
    match tokio::time::timeout(settings.handshake_timeout, work).await {
        Ok(Ok(Some(outcome))) => Ok(outcome),
        Ok(Ok(None)) => Err(DialFailure::from(RemoteError::Handshake {
            host: target.to_string(),
            reason: "it showed no host key".into(),
        })),
        Ok(Err(failure)) => Err(failure),
        Err(_) => Err(DialFailure::from(RemoteError::Silent {
            host: target.to_string(),
            phase: WaitPhase::ShakingHands,
            after: settings.handshake_timeout,
        })),
    }
}

/// Opens a TCP connection without Nagle's algorithm, which would add 40 ms to every request.
async fn tcp(
    settings: &DialSettings,
    target: &SshTarget,
) -> Result<(TcpStream, SocketAddr), RemoteError> {
    let address = (target.address.as_str(), target.port);
    let connecting = tokio::time::timeout(settings.connect_timeout, TcpStream::connect(address));
    let connected = connecting.await.map_err(|_| RemoteError::Silent {
        host: target.to_string(),
        phase: WaitPhase::Connecting,
        after: settings.connect_timeout,
    })?;
    let unreachable = |error: std::io::Error| match has_no_file_left(&error) {
        true => RemoteError::Local {
            host: target.to_string(),
            what: "open a connection".to_owned(),
            source: error,
        },
        false => RemoteError::Unreachable {
            host: target.to_string(),
            reason: error.to_string().to_lowercase(),
        },
    };
    let stream = connected.map_err(unreachable)?;
    stream.set_nodelay(true).map_err(unreachable)?;
    let peer = stream.peer_addr().map_err(unreachable)?;
    Ok((stream, peer))
}

async fn shake_hands<S>(
    dialer: &Dialer,
    target: &SshTarget,
    pins: &Arc<KnownHosts>,
    shared: &Arc<LinkState>,
    stream: S,
) -> Result<Handle<Router>, DialFailure>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let host = HostName::new(&target.address, target.port);
    let ciphers = dialer.ciphers(&host);
    let held = pins.key_types(&host);
    let Some(algorithms) = algorithms(&held) else {
        return Err(no_usable_key(target, held).into());
    };
    let config = Config {
        client_id: concat!("SSH-2.0-tagship_", env!("CARGO_PKG_VERSION")).into(),
        // The server rekeys. We never request it: the library accepts little incoming data while it
        // waits for the answer.
        limits: Limits {
            rekey_write_limit: usize::MAX,
            rekey_read_limit: usize::MAX,
            rekey_time_limit: Duration::MAX,
        },
        preferred: Preferred {
            key: algorithms,
            cipher: ciphers.names(),
            // The library requires one even with a cipher that needs none.
            mac: &[mac::hmac_sha256::NAME],
            compression: &["none"],
            ..Preferred::DEFAULT_CLIENT
        },
        ..Config::default()
    };
    let stream = Metered {
        stream,
        pulse: Arc::clone(&shared.pulse),
    };
    let router = Router::new(Arc::clone(shared), host, Arc::clone(pins));
    let turned_away = |error: &thrussh::Error| match error {
        thrussh::Error::NoCommonKeyAlgo => no_usable_key(target, held.clone()).into(),
        error if is_hang_up(error) => DialFailure::TurnedAway(error.to_string().to_lowercase()),
        error => DialFailure::from(RemoteError::Handshake {
            host: target.to_string(),
            reason: error.to_string().to_lowercase(),
        }),
    };
    let mut handle = thrussh::client::connect_stream(Arc::new(config), stream, router)
        .await
        .map_err(|error| turned_away(&error))?;
    if shared.ended() && shared.shown().is_none() {
        return Err(match (&mut handle).await {
            Err(error) => turned_away(&error),
            Ok(()) => DialFailure::TurnedAway("it hung up".into()),
        });
    }
    Ok(handle)
}

/// Returns the host key algorithms to request: those with a pinned key, or all without one.
/// RSA signatures are SHA-256 only: the library checks only that, whatever was negotiated.
fn algorithms(held: &[String]) -> Option<&'static [key::Name]> {
    let holds = |key_type: &str| held.iter().any(|held| held == key_type);
    match (holds("ssh-ed25519"), holds("ssh-rsa")) {
        (true, true) => Some(&[key::ED25519, key::RSA_SHA2_256]),
        (true, false) => Some(&[key::ED25519]),
        (false, true) => Some(&[key::RSA_SHA2_256]),
        (false, false) if held.is_empty() => Some(&[key::ED25519, key::RSA_SHA2_256]),
        (false, false) => None,
    }
}

fn no_usable_key(target: &SshTarget, held: Vec<String>) -> RemoteError {
    RemoteError::NoUsableHostKey {
        host: target.to_string(),
        name: target.name.clone(),
        known_hosts: target.known_hosts.clone(),
        held: match held.is_empty() {
            true => "nothing".into(),
            false => held.join(", "),
        },
    }
}

/// Whether the connection ended without a protocol error.
fn is_hang_up(error: &thrussh::Error) -> bool {
    use std::io::ErrorKind;
    match error {
        thrussh::Error::Disconnect | thrussh::Error::HUP => true,
        thrussh::Error::IO(error) => matches!(
            error.kind(),
            ErrorKind::UnexpectedEof
                | ErrorKind::ConnectionReset
                | ErrorKind::ConnectionAborted
                | ErrorKind::BrokenPipe
        ),
        _ => false,
    }
}

/// Checks the shown key against the pinned ones.
fn judge(target: &SshTarget, shared: &LinkState, purpose: Purpose) -> Result<(), DialFailure> {
    let Some((key, verdict)) = shared.shown() else {
        return Err(DialFailure::TurnedAway("it showed no host key".into()));
    };
    let (host, name) = (target.to_string(), target.name.clone());
    let known_hosts = target.known_hosts.clone();
    match verdict {
        HostKeyTrust::Trusted => Ok(()),
        _ if purpose == Purpose::LookAtKey => Ok(()),
        HostKeyTrust::Unknown => Err(unknown(target, &key).into()),
        HostKeyTrust::OtherTypes { held } => Err(no_usable_key(target, held).into()),
        HostKeyTrust::Changed { line, expected } => Err(RemoteError::ChangedHostKey {
            host,
            name,
            known_hosts,
            line,
            expected: expected.fingerprint(),
            offered: key.fingerprint(),
            algorithm: key.key_type,
        }
        .into()),
        HostKeyTrust::Revoked { line } => Err(RemoteError::RevokedHostKey {
            host,
            known_hosts,
            line,
            fingerprint: key.fingerprint(),
        }
        .into()),
    }
}

fn unknown(target: &SshTarget, key: &HostKey) -> RemoteError {
    RemoteError::UnknownHostKey {
        host: target.to_string(),
        name: target.name.clone(),
        known_hosts: target.known_hosts.clone(),
        algorithm: key.key_type.clone(),
        fingerprint: key.fingerprint(),
    }
}

async fn log_in(
    target: &SshTarget,
    key: Arc<key::KeyPair>,
    handle: &mut Handle<Router>,
    shared: &LinkState,
) -> Result<(), DialFailure> {
    let fingerprint = format!("SHA256:{}", key.clone_public_key().fingerprint());
    let accepted = handle.authenticate_publickey(&target.user, key).await;
    if let Ok(true) = accepted {
        return Ok(());
    }
    if shared.ended() {
        match handle.await {
            Err(thrussh::Error::NoAuthMethod) => {}
            Err(error) => return Err(DialFailure::TurnedAway(error.to_string().to_lowercase())),
            Ok(()) => {
                return Err(DialFailure::TurnedAway(
                    "it hung up during the login".into(),
                ));
            }
        }
    }
    Err(DialFailure::from(RemoteError::Unauthorized {
        host: target.to_string(),
        identity: target.identity.file.clone(),
        fingerprint,
    }))
}
