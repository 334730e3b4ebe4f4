//! The repository and the pusher, from the environment that a git server sets for its hooks. Pure:
//! the environment is passed as a function. Only the program `update` calls it.
//!
//! The kind of server: `GL_REPOSITORY` = GitLab, `GL_REPO` = gitolite, `GITEA_REPO_NAME` = Gitea
//! and Forgejo, else a plain repository. It is always a plain one if the hook's settings name the
//! repository. A repository is never identified by its path on disk: GitLab's hashed storage,
//! replicas and snapshots move it.

use crate::settings::Settings;

/// A longer name is cut: it is displayed, never looked up.
const PUSHER_LENGTH: usize = 255;

/// The kind of server that started the hook.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Server {
    GitLab,
    Gitea,
    Gitolite,
    Plain,
}

/// The repository and the pusher.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PushOrigin {
    pub server: Server,
    /// The possible keys of the repository, the most specific first; none for a wiki or another
    /// repository without a project, or for a plain one (its settings name it).
    pub keys: Vec<String>,
    /// The pusher's name from the server; empty if unknown.
    pub pusher: String,
}

impl PushOrigin {
    /// Reads the environment through `variable`, which returns the value of a variable.
    pub fn new(variable: impl Fn(&str) -> Option<String>) -> Self {
        let get = |name: &str| variable(name).filter(|value| !value.is_empty());
        let (server, keys, pusher) = if let Some(id) = get("GL_REPOSITORY") {
            // `wiki-7`, `design-7`, `snippet-7`: not a project's code.
            let keys = if id.starts_with("project-") {
                get("GL_PROJECT_PATH").into_iter().chain([id]).collect()
            } else {
                Vec::new()
            };
            let pusher = get("GL_USERNAME").or_else(|| get("GL_ID"));
            (Server::GitLab, keys, pusher)
        } else if let Some(repository) = get("GL_REPO") {
            (Server::Gitolite, vec![repository], get("GL_USER"))
        } else if let Some(name) = get("GITEA_REPO_NAME") {
            let wiki = get("GITEA_REPO_IS_WIKI").is_some_and(|value| value == "true");
            let owner = get("GITEA_REPO_USER_NAME").filter(|_| !wiki);
            let keys = owner.map(|owner| format!("{owner}/{name}"));
            (
                Server::Gitea,
                keys.into_iter().collect(),
                get("GITEA_PUSHER_NAME"),
            )
        } else {
            (Server::Plain, Vec::new(), None)
        };
        let pusher = pusher.unwrap_or_default();
        Self {
            server,
            keys,
            pusher: pusher.chars().take(PUSHER_LENGTH).collect(),
        }
    }

    /// Returns the origin for a hook with these settings. If they name the repository, it is a plain
    /// one: variables of another server can only come from the pusher's own session.
    #[must_use]
    pub fn with_settings(self, settings: &Settings) -> Self {
        match settings.repository {
            Some(_) => Self::new(|_| None),
            None => self,
        }
    }
}
