use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::is_name;

/// One entry of `approvals`: how many approvals are required, and of whom. Written `"2"`,
/// `"1 of @pm"` or `"1 of alice"`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Requirement {
    /// At least 1.
    pub count: u32,
    pub of: Approvers,
}

/// Whose approval counts for a [`Requirement`].
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Approvers {
    /// Every user whose role permits approving.
    Anyone,
    /// The members of this user group; written `@NAME`.
    Group(String),
    /// Only this account.
    User(String),
}

impl Approvers {
    /// Returns `@pm` for a group, `alice` for an account.
    pub(in crate::domain) fn name(&self) -> Option<String> {
        match self {
            Self::Anyone => None,
            Self::Group(group) => Some(format!("@{group}")),
            Self::User(user) => Some(user.clone()),
        }
    }
}

/// A text that is not a valid requirement.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no approval: write \"1\", \"2 of @GROUP\" or \"1 of NAME\"")]
pub struct NoRequirement(String);

impl FromStr for Requirement {
    type Err = NoRequirement;

    fn from_str(text: &str) -> Result<Self, NoRequirement> {
        let refuse = || NoRequirement(text.to_owned());
        let mut words = text.split_whitespace();
        let count: u32 = words
            .next()
            .filter(|word| word.bytes().all(|byte| byte.is_ascii_digit()))
            .and_then(|word| word.parse().ok())
            .ok_or_else(refuse)?;
        let of = match (words.next(), words.next(), words.next()) {
            (None, ..) => Approvers::Anyone,
            (Some("of"), Some(who), None) => match who.strip_prefix('@') {
                Some(group) if is_name(group) => Approvers::Group(group.to_owned()),
                None if is_name(who) && count == 1 => Approvers::User(who.to_owned()),
                _ => return Err(refuse()),
            },
            _ => return Err(refuse()),
        };
        if count == 0 {
            return Err(refuse());
        }
        Ok(Self { count, of })
    }
}

impl fmt::Display for Requirement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let count = self.count;
        match self.of.name() {
            None => write!(f, "{count}"),
            Some(name) => write!(f, "{count} of {name}"),
        }
    }
}

impl TryFrom<String> for Requirement {
    type Error = NoRequirement;

    fn try_from(text: String) -> Result<Self, NoRequirement> {
        text.parse()
    }
}

impl From<Requirement> for String {
    fn from(requirement: Requirement) -> Self {
        requirement.to_string()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn requirements_read_and_write_back() {
        for text in ["1", "12", "1 of @pm", "2 of @ops-team", "1 of alice"] {
            assert_eq!(text.parse::<Requirement>().unwrap().to_string(), text);
        }
        assert_eq!(
            "2  of  @pm".parse(),
            Ok(Requirement {
                count: 2,
                of: Approvers::Group("pm".into())
            })
        );
    }

    #[test]
    fn impossible_or_empty_requirement_is_refused() {
        for text in [
            "",
            "0",
            "0 of @pm",
            "-1",
            "+1",
            "one",
            "1 of",
            "1 @pm",
            "1 of @",
            "1 of @a b",
            "2 of alice",
            "1 of @pm @ops",
        ] {
            assert!(text.parse::<Requirement>().is_err(), "{text}");
        }
    }
}
