//! The system user that may run steps on the agent's own machine: neither the agent's own nor root,
//! since template authors must not be able to read the agent's keys.

use std::path::PathBuf;

use super::Config;
use crate::domain::plan::LocalUser;

/// A user of this machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SystemUser {
    pub name: String,
    pub uid: u32,
    pub gid: u32,
    pub home: PathBuf,
}

/// Why a user cannot run steps.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LocalRunError {
    #[error("this machine has no user `{0}` (in /etc/passwd): make one for it, or write another")]
    Unknown(String),
    #[error(
        "`{0}` is root: a template could do anything on this machine; make a user for it and write that one"
    )]
    Root(String),
    #[error(
        "`{0}` is the agent's own user: a template could read every host's key; make a user for it and write that one"
    )]
    Own(String),
}

/// Looks up a user by name in `/etc/passwd`.
#[must_use]
pub fn system_user(name: &str) -> Option<SystemUser> {
    let passwd = std::fs::read_to_string("/etc/passwd").ok()?;
    passwd.lines().find_map(|line| {
        let mut fields = line.split(':');
        (fields.next() == Some(name)).then_some(())?;
        Some(SystemUser {
            name: name.to_owned(),
            uid: fields.nth(1)?.parse().ok()?,
            gid: fields.next()?.parse().ok()?,
            home: fields.nth(1)?.into(),
        })
    })
}

/// Returns the user with this name, if steps may run as them.
///
/// # Errors
/// The user does not exist, or is root or the agent's own by uid.
pub fn may_run(name: &str) -> Result<SystemUser, LocalRunError> {
    let user = system_user(name).ok_or_else(|| LocalRunError::Unknown(name.to_owned()))?;
    let own = [rustix::process::getuid(), rustix::process::geteuid()];
    beside(user, own.map(rustix::process::Uid::as_raw))
}

/// Refuses root and the agent's own uids.
fn beside(user: SystemUser, own: [u32; 2]) -> Result<SystemUser, LocalRunError> {
    if user.uid == 0 {
        return Err(LocalRunError::Root(user.name));
    }
    if own.contains(&user.uid) {
        return Err(LocalRunError::Own(user.name));
    }
    Ok(user)
}

impl Config {
    /// Returns the user for steps on the agent's own machine, and their directory for tasks; `None`
    /// if that is disabled.
    #[must_use]
    pub fn local_user(&self) -> Option<LocalUser> {
        let local = self.local_run.as_ref()?;
        let home = || Some(system_user(&local.user)?.home.join(".local/state/tagship"));
        let directory = local.directory.clone().or_else(home)?;
        Some(LocalUser {
            user: local.user.clone(),
            directory: directory.display().to_string(),
        })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn agents_user_is_recognized_by_uid_not_name() {
        let user = |uid| SystemUser {
            name: "build".to_owned(),
            uid,
            gid: 7,
            home: PathBuf::from("/home/build"),
        };
        for own in [[901, 901], [0, 901], [901, 0]] {
            let refused = LocalRunError::Own("build".to_owned());
            assert_eq!(beside(user(901), own), Err(refused), "{own:?}");
            assert!(beside(user(902), own).is_ok());
        }
        let root = LocalRunError::Root("build".to_owned());
        assert_eq!(beside(user(0), [901, 901]), Err(root));
    }

    #[test]
    fn local_run_as_root_or_the_agents_user_is_refused() {
        assert_eq!(may_run("root"), Err(LocalRunError::Root("root".to_owned())));
        let unknown_user = LocalRunError::Unknown("no-such-user".to_owned());
        assert_eq!(may_run("no-such-user"), Err(unknown_user));
        // A number is a name like another: `setpriv` and `sudo` never see it.
        assert!(matches!(may_run("0"), Err(LocalRunError::Unknown(_))));
        let passwd = std::fs::read_to_string("/etc/passwd").unwrap();
        let own = rustix::process::geteuid().as_raw().to_string();
        for line in passwd.lines() {
            let fields: Vec<&str> = line.split(':').collect();
            let allowed = may_run(fields[0]).is_ok();
            assert_eq!(allowed, fields[2] != "0" && fields[2] != own, "{line}");
        }
    }
}
