//! Names of this machine's users and groups. Reads `/etc`; changes nothing.

/// Returns the user's name, if the machine has one for this number.
#[must_use]
pub fn user_name(uid: u32) -> Option<String> {
    name_in("/etc/passwd", uid)
}

/// Returns the user's name, else the number.
#[must_use]
pub fn user_or_number(uid: u32) -> String {
    user_name(uid).unwrap_or_else(|| uid.to_string())
}

/// Returns the group's name, else the number.
#[must_use]
pub fn group_or_number(gid: u32) -> String {
    name_in("/etc/group", gid).unwrap_or_else(|| gid.to_string())
}

fn name_in(file: &str, number: u32) -> Option<String> {
    let file = std::fs::read_to_string(file).ok()?;
    file.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        (fields.nth(1)?.parse() == Ok(number)).then(|| name.to_owned())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users_and_groups_are_named_by_number() {
        assert_eq!(user_name(0).as_deref(), Some("root"));
        assert_eq!(user_name(4_000_000_000), None);
        assert_eq!(user_or_number(4_000_000_000), "4000000000");
        assert_eq!(group_or_number(0), "root");
        assert_eq!(group_or_number(4_000_000_000), "4000000000");
    }
}
