//! Names and homes of this machine's users and groups. Reads `/etc`; changes nothing.

/// Returns the user's name, if the machine has one for this number.
#[must_use]
pub fn user_name(uid: u32) -> Option<String> {
    name_in("/etc/passwd", uid)
}

/// Returns the user's home, if the machine has an absolute one for this number.
#[must_use]
pub fn user_home(uid: u32) -> Option<String> {
    let home = field_in("/etc/passwd", uid, 5)?;
    home.starts_with('/').then_some(home)
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
    field_in(file, number, 0)
}

/// Returns a field of the first line with this number. The number is the third field.
fn field_in(file: &str, number: u32, field: usize) -> Option<String> {
    let file = std::fs::read_to_string(file).ok()?;
    let mut lines = file.lines().map(|line| line.split(':'));
    let mut found = lines.find(|fields| {
        let shown = fields.clone().nth(2);
        shown.and_then(|shown| shown.parse().ok()) == Some(number)
    })?;
    found.nth(field).map(str::to_owned)
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
        assert_eq!(user_home(0).as_deref(), Some("/root"));
        assert_eq!(user_home(4_000_000_000), None);
    }
}
