//! Checks beyond key names: finds everything that cannot work, and collects all problems.

use std::collections::BTreeSet;

use super::inner_path;
use super::keys::{Config, EnvironmentConfig, Project, ReleaseLayout};
use crate::domain::document::{self, Document, DocumentProblem, Path, one_line};
use crate::domain::host::is_address;
use crate::domain::plan::AGENT;
use crate::domain::rule::RuleSet;
use crate::domain::template::name_problem;

mod deploy_directories;
mod grants;
mod users;

/// The maximum length of a Unix socket path on Linux, in bytes.
const SOCKET_PATH_MAX: usize = 107;

/// Returns everything that is wrong with `config`, which was read from `document`.
pub(super) fn problems(config: &Config, document: &Document<'_>) -> Vec<DocumentProblem> {
    let mut check = ConfigCheck {
        config,
        document,
        problems: Vec::new(),
    };
    check.agent();
    check.hosts();
    check.execution_users();
    check.local_run();
    check.groups();
    check.users();
    check.projects();
    check.deploy_directories();
    check.grants();
    check.freezes();
    check.problems
}

struct ConfigCheck<'c> {
    config: &'c Config,
    document: &'c Document<'c>,
    problems: Vec<DocumentProblem>,
}

impl ConfigCheck<'_> {
    fn refuse(&mut self, path: &Path, message: impl Into<String>) {
        self.problems.push(self.document.problem(path, message));
    }

    fn name(&mut self, path: &Path, kind: &str, name: &str) {
        if let Some(problem) = name_problem(kind, name) {
            self.refuse(path, problem);
        }
    }

    fn agent(&mut self) {
        let agent = &self.config.agent;
        let path = Path::root().join("agent");
        if let Some(name) = &agent.time_zone
            && jiff::tz::TimeZone::get(name).is_err()
        {
            self.refuse(
                &path.join("time_zone"),
                format!("no time zone is named `{name}`: write one like \"Europe/Berlin\""),
            );
        }
        if let Some(url) = &agent.public_url
            && !(url.starts_with("http://") || url.starts_with("https://"))
        {
            self.refuse(
                &path.join("public_url"),
                format!("`{url}` is no URL: begin with http:// or https://"),
            );
        }
        for (key, number) in [
            ("parallel_hosts", agent.parallel_hosts),
            ("parallel_tasks", agent.parallel_tasks),
            ("hook_log_entries", agent.hook_log_entries),
        ] {
            if number == 0 {
                self.refuse(&path.join(key), format!("`{key}` must be at least 1"));
            }
        }
        if agent.landing_timeout.is_zero() {
            self.refuse(
                &path.join("landing_timeout"),
                "a timeout of 0 expires every task: write a longer one",
            );
        }
        let socket = self.config.socket();
        if socket.as_os_str().len() > SOCKET_PATH_MAX {
            self.refuse(
                &path.join("socket"),
                format!(
                    "the socket {} is longer than the {SOCKET_PATH_MAX} bytes that Linux takes: \
                     set [agent] socket to a shorter path",
                    socket.display()
                ),
            );
        }
        let ssh = Path::root().join("ssh");
        if self.config.ssh.connect_timeout.is_zero() {
            self.refuse(
                &ssh.join("connect_timeout"),
                "a timeout of 0 fails every connection: write a longer one",
            );
        }
    }

    fn hosts(&mut self) {
        let all = Path::root().join("hosts");
        for (name, host) in &self.config.hosts {
            let path = all.join(name);
            self.name(&path, "host", name);
            if name == AGENT {
                self.refuse(
                    &path,
                    format!("`{AGENT}` is the name of the agent's own machine: choose another"),
                );
            }
            if let Some(address) = host.address.as_ref().filter(|text| !is_address(text)) {
                self.refuse(
                    &path.join("address"),
                    format!("`{address}` is no address: write a host name or an IP address (IPv6 also as [ADDRESS] or [ADDRESS]:PORT, with one `port`); write port and user as `port` and `user`"),
                );
            }
            if let Some(jump) = &host.jump {
                if !self.config.hosts.contains_key(jump) {
                    let message = self.unknown("host", jump, self.config.hosts.keys());
                    self.refuse(&path.join("jump"), message);
                } else if self.has_jump_cycle(name) {
                    self.refuse(
                        &path.join("jump"),
                        format!("host {name} is reached through itself: break the circle"),
                    );
                }
            }
        }
    }

    fn has_jump_cycle(&self, name: &str) -> bool {
        let mut seen = BTreeSet::new();
        let mut at = Some(name);
        while let Some(host) = at {
            if !seen.insert(host) {
                return host == name;
            }
            at = self
                .config
                .hosts
                .get(host)
                .and_then(|host| host.jump.as_deref());
        }
        false
    }

    fn execution_users(&mut self) {
        let all = Path::root().join("execution_users");
        for (name, user) in &self.config.execution_users {
            let path = all.join(name);
            self.name(&path, "user of `[execution_users]`", name);
            if !is_system_user(&user.user) {
                self.refuse(
                    &path.join("user"),
                    format!("`{}` is no name of a system user: write one", user.user),
                );
            }
        }
    }

    fn local_run(&mut self) {
        let Some(local) = &self.config.local_run else {
            return;
        };
        if let Err(error) = super::local::may_run(&local.user) {
            let path = Path::root().join("local_run").join("user");
            self.refuse(&path, error.to_string());
        }
    }

    fn groups(&mut self) {
        for (name, hosts) in &self.config.groups {
            let path = Path::root().join("groups").join(name);
            self.name(&path, "group", name);
            if hosts.is_empty() {
                self.refuse(&path, format!("group {name} is empty: add a host"));
            }
            for (index, host) in hosts.iter().enumerate() {
                if !self.config.hosts.contains_key(host) {
                    let message = self.unknown("host", host, self.config.hosts.keys());
                    self.refuse(&path.join(index), message);
                } else if hosts[..index].contains(host) {
                    self.refuse(
                        &path.join(index),
                        format!("host {host} is listed twice in group {name}: take one out"),
                    );
                }
            }
        }
    }

    /// "no host is named `wbe1`: did you mean `web1`?"
    fn unknown<'k>(
        &self,
        kind: &str,
        name: &str,
        known: impl Iterator<Item = &'k String>,
    ) -> String {
        let known: Vec<&str> = known.map(String::as_str).collect();
        let hint = document::hint(name, &known, || "add it".to_owned());
        format!("no {kind} is named `{name}`: {hint}")
    }

    fn freezes(&mut self) {
        let all = Path::root().join("freezes");
        let projects: Vec<&String> = self.config.projects.iter().map(|p| &p.name).collect();
        let environments: BTreeSet<&String> = self
            .config
            .projects
            .iter()
            .flat_map(|project| project.environments.keys())
            .collect();
        for (index, freeze) in self.config.freezes.iter().enumerate() {
            let path = all.join(index);
            if freeze.name.is_empty() || freeze.name.chars().any(char::is_control) {
                self.refuse(&path.join("name"), "a freeze needs a one-line name");
            }
            for name in freeze
                .projects
                .iter()
                .filter(|name| !projects.contains(name))
            {
                let message = self.unknown("project", name, projects.iter().copied());
                self.refuse(&path.join("projects"), message);
            }
            for name in &freeze.environments {
                if !environments.contains(name) {
                    let message = self.unknown("environment", name, environments.iter().copied());
                    self.refuse(&path.join("environments"), message);
                }
            }
            if let Err(error) = freeze.window() {
                self.refuse(&path.join("from"), error.to_string());
            }
        }
    }

    fn projects(&mut self) {
        let all = Path::root().join("projects");
        for (index, project) in self.config.projects.iter().enumerate() {
            let path = all.join(index);
            self.name(&path.join("name"), "project", &project.name);
            for other in &self.config.projects[..index] {
                if other.name == project.name {
                    self.refuse(
                        &path.join("name"),
                        format!("two projects are named `{}`: rename one", project.name),
                    );
                }
                if other.repository == project.repository && other.source == project.source {
                    self.refuse(
                        &path.join("repository"),
                        format!(
                            "project {} releases this repository already: give each its own \
                             `source` (a sub-directory), or join them",
                            other.name
                        ),
                    );
                }
            }
            self.origin(project, &path);
            let limits = project.limits;
            for (key, time) in [
                ("git_time", limits.git_time),
                ("fetch_time", limits.fetch_time),
            ] {
                if time.is_zero() {
                    let path = path.join("limits").join(key);
                    self.refuse(&path, "a limit of 0 ends git at once: write a longer one");
                }
            }
            for (name, environment) in &project.environments {
                let path = path.join("environments").join(name);
                self.name(&path, "environment", name);
                self.environment(environment, &path);
            }
            self.rules(project, &path.join("rules"));
        }
    }

    /// Checks repository, URL and sub-directory of a project.
    fn origin(&mut self, project: &Project, path: &Path) {
        let repository = &project.repository;
        if repository.is_empty() || repository.contains(char::is_control) {
            self.refuse(
                &path.join("repository"),
                "a repository needs a name: write the one by which the git server knows it",
            );
        }
        match &project.git_url {
            None => self.refuse(
                path,
                "key `git_url` is missing: say where the agent fetches from (a `repository` that \
                 is an absolute path needs none)",
            ),
            Some(url) if !is_git_url(url) => self.refuse(
                &path.join("git_url"),
                format!(
                    "`{url}` is no URL to fetch from: write https://…, ssh://…, user@host:path or \
                     an absolute path"
                ),
            ),
            Some(_) => {}
        }
        if let Some(web) = &project.web
            && !is_page(web)
        {
            self.refuse(
                &path.join("web"),
                format!(
                    "`{web}` is no page of a project: write its address in a browser, as https://gitlab.example.com/group/shop"
                ),
            );
        }
        if let Some(source) = &project.source
            && let Some(fault) = inner_path::fault(source)
        {
            let message = format!("`{source}` is no sub-directory: {fault}");
            self.refuse(&path.join("source"), message);
        }
    }

    fn environment(&mut self, environment: &EnvironmentConfig, path: &Path) {
        if !self.config.groups.contains_key(&environment.group) {
            let message = self.unknown("group", &environment.group, self.config.groups.keys());
            self.refuse(&path.join("group"), message);
        }
        if let Err(message) = check_deploy_to(&environment.deploy_to) {
            self.refuse(&path.join("deploy_to"), message);
        }
        if environment.layout == ReleaseLayout::InPlace {
            self.refuse(
                &path.join("layout"),
                "this version does not support layout \"in-place\": write \"releases\", and let the \
                 web server serve `current`",
            );
        }
        if environment.keep_releases < 2 {
            self.refuse(
                &path.join("keep_releases"),
                "`keep_releases` must be at least 2: the live release and one to go back to",
            );
        }
        for (index, pattern) in environment.exclude.iter().enumerate() {
            if pattern.is_empty() || pattern.contains(char::is_control) {
                self.refuse(
                    &path.join("exclude").join(index),
                    "an excluded path is empty or holds a control character: correct it",
                );
            }
        }
        self.shared(&environment.shared, &path.join("shared"));
        if let Some(owner) = &environment.owner
            && !is_owner(owner)
        {
            self.refuse(
                &path.join("owner"),
                format!("`{owner}` is no owner: write \"USER\" or \"USER:GROUP\""),
            );
        }
        self.approvals(&environment.approvals, &path.join("approvals"));
    }

    fn shared(&mut self, shared: &[String], path: &Path) {
        let nested =
            |a: &str, b: &str| a == b || a.strip_prefix(b).is_some_and(|r| r.starts_with('/'));
        for (index, name) in shared.iter().enumerate() {
            let path = path.join(index);
            // `uploads/`, as directories are often written.
            let name = name.strip_suffix('/').unwrap_or(name);
            if let Some(fault) = inner_path::fault(name) {
                self.refuse(&path, format!("`{name}` is no shared path: {fault}"));
            }
            for other in &shared[..index] {
                let other = other.strip_suffix('/').unwrap_or(other);
                if nested(name, other) || nested(other, name) {
                    self.refuse(
                        &path,
                        format!("shared paths `{other}` and `{name}` overlap: keep one"),
                    );
                }
            }
        }
    }

    fn rules(&mut self, project: &Project, path: &Path) {
        for (index, rule) in project.rules.iter().enumerate() {
            let path = path.join(index);
            let hook_rule = project.hook_rule(rule);
            if let Err(error) = RuleSet::checked(&project.name, vec![hook_rule]) {
                let message = one_line("bad regular expression", &error.reason);
                self.refuse(&path.join("pattern"), message);
            }
            if !project.environments.contains_key(&rule.environment) {
                let known = project.environments.keys();
                let message = self.unknown("environment of this project", &rule.environment, known);
                self.refuse(&path.join("environment"), message);
            }
            if rule.expires.is_zero() {
                self.refuse(
                    &path.join("expires"),
                    "a task that expires at once can't be approved",
                );
            }
        }
    }
}

/// Checks that a directory can hold an environment.
fn check_deploy_to(deploy_to: &str) -> Result<(), String> {
    let refuse = |why: &str| {
        Err(format!(
            "`deploy_to` {why}: write a path like \"/srv/shop\""
        ))
    };
    if !deploy_to.starts_with('/') {
        // The slash of "/" was stripped before.
        return refuse("is not an absolute path below /");
    }
    if deploy_to.contains(char::is_control) {
        return refuse("holds a newline or another control character");
    }
    if deploy_to[1..]
        .split('/')
        .any(|part| matches!(part, "" | "." | ".."))
    {
        return refuse("holds an empty part, `.` or `..`");
    }
    if deploy_to.replace("{HOST}", "").contains(['{', '}']) {
        return refuse("holds braces, and `{HOST}` is its only placeholder");
    }
    Ok(())
}

/// Whether git can fetch from this without running an arbitrary program.
fn is_git_url(url: &str) -> bool {
    if url.starts_with('-') || url.contains(|c: char| c.is_whitespace() || c.is_control()) {
        return false;
    }
    if let Some((scheme, rest)) = url.split_once("://") {
        let host_looks_like_option = rest.starts_with('-') || rest.contains("@-");
        return matches!(scheme, "https" | "http" | "ssh" | "file")
            && !rest.is_empty()
            && !host_looks_like_option;
    }
    if url.starts_with('/') {
        return true;
    }
    // user@host:path, in scp syntax; `ext::…` and similar run programs.
    url.split_once(':').is_some_and(|(host, path)| {
        !host.is_empty()
            && !host.contains('/')
            && !host.contains("@-")
            && !path.is_empty()
            && !path.starts_with(':')
    })
}

/// Whether this is the address of a page, without query and fragment.
fn is_page(url: &str) -> bool {
    let rest = url
        .strip_prefix("https://")
        .or_else(|| url.strip_prefix("http://"));
    let odd = |c: char| c.is_whitespace() || c.is_control() || "?#\"'<>\\".contains(c);
    rest.is_some_and(|rest| !rest.is_empty() && !rest.starts_with('/') && !rest.contains(odd))
}

/// Whether this is `USER` or `USER:GROUP`, names or numbers as in `chown`.
fn is_owner(owner: &str) -> bool {
    match owner.split_once(':') {
        Some((user, group)) => is_system_user(user) && is_system_user(group),
        None => is_system_user(owner),
    }
}

/// Whether a system user or group can have this name.
fn is_system_user(name: &str) -> bool {
    name.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '_')
        && name
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn project_page_is_a_plain_web_address() {
        let page = "https://gitlab.example.com/group/shop";
        for (url, is) in [
            (page, true),
            ("http://git.example.com:3000/a/b", true),
            ("javascript:alert(1)", false),
            ("git@gitlab.example.com:group/shop", false),
            ("https://", false),
            ("https://gitlab.example.com/shop?x=1", false),
            ("https://gitlab.example.com/a b", false),
        ] {
            assert_eq!(is_page(url), is, "{url}");
        }
    }
}
