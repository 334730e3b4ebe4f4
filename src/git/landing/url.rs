//! Which URLs are passed to git, and the transport of each. Pure.
//!
//! git itself would accept `ext::sh -c …` as a URL. Only the forms below are accepted here, and git
//! is restricted to the transport that was recognised.

/// How git reaches a repository.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum GitTransport {
    File,
    Ssh,
    Https,
    /// Unencrypted, to this machine itself.
    HttpLoopback,
    /// Unencrypted: no token is sent.
    Http,
}

impl GitTransport {
    /// Returns the value of `GIT_ALLOW_PROTOCOL`.
    pub(super) fn allowed(self) -> &'static str {
        match self {
            Self::File => "file",
            Self::Ssh => "ssh",
            Self::Https => "https",
            Self::HttpLoopback | Self::Http => "http:https",
        }
    }

    /// Whether a token may be sent over this transport.
    pub(super) fn keeps_secrets(self) -> bool {
        matches!(self, Self::Https | Self::HttpLoopback)
    }
}

/// Recognises the transport of a URL.
///
/// # Errors
/// A predicate for a message that starts with the URL.
pub(super) fn transport(url: &str) -> Result<GitTransport, &'static str> {
    if url.is_empty() {
        return Err("is empty: name the repository to fetch from");
    }
    if url.chars().any(char::is_control) {
        return Err("holds a control character: correct it");
    }
    if url.starts_with('/') {
        return Ok(GitTransport::File);
    }
    if let Some(path) = url.strip_prefix("file://") {
        return match path.starts_with('/') {
            true => Ok(GitTransport::File),
            false => Err("must be file:///ABSOLUTE/PATH"),
        };
    }
    let Some((scheme, rest)) = url.split_once("://") else {
        return scp_like(url);
    };
    let authority = rest.split('/').next().unwrap_or_default();
    let (user, host) = match authority.rsplit_once('@') {
        Some((user, host)) => (Some(user), host),
        None => (None, authority),
    };
    if user.is_some_and(|user| user.contains(':')) {
        return Err("holds a password, which every process could read: use `[git] token_file`");
    }
    if host.is_empty() || host.starts_with('-') || user.is_some_and(|user| user.starts_with('-')) {
        return Err("names no host: correct it");
    }
    match scheme {
        "ssh" => Ok(GitTransport::Ssh),
        "https" => Ok(GitTransport::Https),
        "http" if is_loopback(host) => Ok(GitTransport::HttpLoopback),
        "http" => Ok(GitTransport::Http),
        _ => Err(FORMS),
    }
}

const FORMS: &str =
    "has none of the forms ssh://HOST/PATH, USER@HOST:PATH, https://HOST/PATH, file:///PATH, /PATH";

/// Recognises `user@host:path`, in scp syntax.
fn scp_like(url: &str) -> Result<GitTransport, &'static str> {
    let Some((host, path)) = url.split_once(':') else {
        return Err("is a relative path: write the absolute one");
    };
    let plain = !host.is_empty()
        && !host.contains('/')
        && !host.starts_with('-')
        && !host.contains("@-")
        && !path.is_empty()
        && !path.starts_with(':');
    if plain {
        Ok(GitTransport::Ssh)
    } else {
        Err(FORMS)
    }
}

fn is_loopback(host: &str) -> bool {
    let name = match host.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or_default(),
        None => host.split(':').next().unwrap_or_default(),
    };
    let address = name.parse::<std::net::IpAddr>();
    name == "localhost" || address.is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_repository_url_form_is_recognised() {
        for (url, expected) in [
            ("/srv/git/shop.git", GitTransport::File),
            ("file:///srv/git/shop.git", GitTransport::File),
            ("ssh://git@git.example.com:2222/shop.git", GitTransport::Ssh),
            ("git@git.example.com:team/shop.git", GitTransport::Ssh),
            ("git.example.com:shop.git", GitTransport::Ssh),
            ("https://git.example.com/shop.git", GitTransport::Https),
            (
                "https://alice@git.example.com/shop.git",
                GitTransport::Https,
            ),
            ("http://127.0.0.1:3000/shop.git", GitTransport::HttpLoopback),
            ("http://[::1]:3000/shop.git", GitTransport::HttpLoopback),
            ("http://localhost/shop.git", GitTransport::HttpLoopback),
            ("http://git.example.com/shop.git", GitTransport::Http),
            ("http://127.0.0.1.example.com/shop.git", GitTransport::Http),
        ] {
            assert_eq!(transport(url), Ok(expected), "{url}");
        }
    }

    #[test]
    fn other_repository_url_forms_are_refused() {
        for url in [
            "",
            "shop.git",
            "../shop.git",
            "ext::sh -c id",
            "ext::sh%20-c%20id",
            "file://shop.git",
            "git://git.example.com/shop.git",
            "ftp://example.com/x",
            "-oProxyCommand=id",
            "-oProxyCommand=id:x",
            "ssh://-oProxyCommand=id/x",
            "git@-oProxyCommand=id:x",
            "ssh://-oX@host/x",
            "ssh:///x",
            "https://alice:secret@example.com/x",
            "a/b:c",
            "host:",
            "https://example.com/x\ny",
        ] {
            assert!(transport(url).is_err(), "{url}");
        }
    }
}
