//! Who may run steps on the agent's own machine: a system user that is neither the agent's own nor
//! root. What a template says comes from people who may not read the agent's keys.

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

/// Why nothing may run as a user.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LocalRunError {
    #[error("this machine has no user `{0}` (in /etc/passwd): make one for it, or write another")]
    Unknown(String),
    #[error(
        "`{0}` is root: what a template says would own this machine; make a user for it and write that one"
    )]
    Root(String),
    #[error(
        "`{0}` is the agent's own user: what a template says could read every host's key; make a user for it and write that one"
    )]
    Own(String),
}

/// The user of this name, by `/etc/passwd`.
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

/// The name of the user of this number, by `/etc/passwd`.
#[must_use]
pub fn user_name(uid: u32) -> Option<String> {
    let passwd = std::fs::read_to_string("/etc/passwd").ok()?;
    passwd.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        let number: u32 = fields.nth(1)?.parse().ok()?;
        (number == uid).then(|| name.to_owned())
    })
}

/// The user of this name, if steps may run as them.
///
/// # Errors
/// There is no such user, or it is root or the agent's own, whatever its name.
pub fn may_run(name: &str) -> Result<SystemUser, LocalRunError> {
    let user = system_user(name).ok_or_else(|| LocalRunError::Unknown(name.to_owned()))?;
    let own = [rustix::process::getuid(), rustix::process::geteuid()];
    beside(user, own.map(rustix::process::Uid::as_raw))
}

/// The user, if it is another one than root and than an agent of these numbers.
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
    /// Who runs steps on the agent's own machine, and where their tasks are kept; `None` where
    /// nothing runs there.
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
    fn an_agents_own_user_is_known_by_its_number_whatever_its_name() {
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
    fn nothing_runs_as_root_or_as_the_agents_own_user() {
        assert_eq!(may_run("root"), Err(LocalRunError::Root("root".to_owned())));
        let nobody = LocalRunError::Unknown("no-such-user".to_owned());
        assert_eq!(may_run("no-such-user"), Err(nobody));
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

    #[test]
    fn a_user_of_the_machine_has_a_name_by_their_number() {
        assert_eq!(user_name(0).as_deref(), Some("root"));
        assert_eq!(user_name(4_000_000_000), None);
    }
}
