//! Relative paths that stay inside a directory.

/// Returns what is wrong with a relative path that must stay inside, and what to write.
pub(super) fn fault(path: &str) -> Option<&'static str> {
    let has = |part: &str| path.split('/').any(|found| found == part);
    if path.is_empty() {
        Some("it is empty: write a relative path")
    } else if path.starts_with('/') {
        Some("it begins with `/`: write a relative path")
    } else if path.contains(char::is_control) {
        Some("it has a control character: take it out")
    } else if has("..") {
        Some("it leads out with `..`: write a path that stays inside")
    } else if has(".") {
        Some("it has a part `.`: take that out")
    } else if has("") {
        Some("it has a `/` too many: take that out")
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_fault_of_a_relative_path_is_named() {
        for (path, words) in [
            ("", "is empty"),
            ("/apps/shop", "begins with `/`"),
            ("apps/\u{7}", "control character"),
            ("../shop", "with `..`"),
            ("apps/../shop", "with `..`"),
            ("./apps/shop", "a part `.`"),
            ("apps/shop/.", "a part `.`"),
            ("apps//shop", "a `/` too many"),
            ("apps/shop/", "a `/` too many"),
        ] {
            assert!(fault(path).is_some_and(|why| why.contains(words)), "{path}");
        }
        for path in ["apps/shop", ".well-known", "a/..b", "conf.d"] {
            assert_eq!(fault(path), None, "{path}");
        }
    }
}
