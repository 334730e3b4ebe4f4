//! Checks whether a symbolic link of a release stays inside the release. Pure.
//!
//! rsync's `--safe-links` would silently drop such a link; here the plan fails. Links are resolved
//! as the kernel does, through other links of the same tree: `a/b -> ../c/..` may stay or leave
//! depending on `c`.

use std::collections::HashMap;

/// The maximum number of links to follow, as in the kernel.
const LINKS_MAX: usize = 40;

/// The links of one tree: those of the repository and those into `shared/`. A tree of names, so
/// that each step costs the same however long the target is.
pub(super) struct Links<'a> {
    /// The first is the root of the release.
    nodes: Vec<Node<'a>>,
}

/// A link, or a directory above one.
#[derive(Default)]
struct Node<'a> {
    below: HashMap<&'a [u8], usize>,
    target: Option<LinkTarget<'a>>,
}

impl Default for Links<'_> {
    fn default() -> Self {
        Self {
            nodes: vec![Node::default()],
        }
    }
}

enum LinkTarget<'a> {
    Repository(&'a [u8]),
    /// Leaves the release on purpose. A path may end or continue there, but not ascend.
    Shared,
}

impl<'a> Links<'a> {
    pub(super) fn add(&mut self, path: &'a [u8], target: &'a [u8]) {
        self.insert(path, LinkTarget::Repository(target));
    }

    pub(super) fn add_shared(&mut self, path: &'a [u8]) {
        self.insert(path, LinkTarget::Shared);
    }

    fn insert(&mut self, path: &'a [u8], target: LinkTarget<'a>) {
        let mut at = 0;
        for name in names(path) {
            let fresh = self.nodes.len();
            at = *self.nodes[at].below.entry(name).or_insert(fresh);
            if at == fresh {
                self.nodes.push(Node::default());
            }
        }
        self.nodes[at].target = Some(target);
    }

    /// Returns the node of a name below the last of `at`, if it is or contains a link.
    fn below(&self, at: &[Option<usize>], name: &[u8]) -> Option<usize> {
        let parent = at.last().copied().unwrap_or(Some(0))?;
        self.nodes[parent].below.get(name).copied()
    }

    /// Whether resolving the link at `path` ever leaves the tree. A dangling or cyclic link stays
    /// inside.
    pub(super) fn escapes(&self, path: &[u8], target: &[u8]) -> bool {
        // One for each name of the current position.
        let mut at: Vec<Option<usize>> = Vec::new();
        for name in names(path) {
            at.push(self.below(&at, name));
        }
        at.pop();
        if target.starts_with(b"/") {
            return true;
        }
        // The remaining names, in reverse order.
        let mut ahead: Vec<&[u8]> = names(target).rev().collect();
        let mut hops = 0;
        while let Some(name) = ahead.pop() {
            match name {
                b"." => {}
                b".." if at.pop().is_none() => return true,
                b".." => {}
                _ => {
                    let here = self.below(&at, name);
                    at.push(here);
                    match here.and_then(|here| self.nodes[here].target.as_ref()) {
                        None => {}
                        Some(LinkTarget::Shared) => return ahead.contains(&b"..".as_slice()),
                        Some(LinkTarget::Repository(next)) => {
                            hops += 1;
                            if hops > LINKS_MAX {
                                return false;
                            }
                            if next.starts_with(b"/") {
                                return true;
                            }
                            at.pop();
                            ahead.extend(names(next).rev());
                        }
                    }
                }
            }
        }
        false
    }
}

fn names(path: &[u8]) -> impl DoubleEndedIterator<Item = &[u8]> {
    path.split(|byte| *byte == b'/')
        .filter(|name| !name.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn escapes(path: &str, target: &str, others: &[(&'static str, &'static str)]) -> bool {
        let mut links = Links::default();
        for (path, target) in others {
            if *target == "SHARED" {
                links.add_shared(path.as_bytes());
            } else {
                links.add(path.as_bytes(), target.as_bytes());
            }
        }
        links.escapes(path.as_bytes(), target.as_bytes())
    }

    #[test]
    fn links_inside_the_tree_stay() {
        for (path, target) in [
            ("a", "b"),
            ("a", "./b/c"),
            ("d/a", "../b"),
            ("d/e/a", "../../b"),
            ("d/a", ".."),
            ("a", "."),
            ("a", "nowhere/../b"),
            ("a", "b//c/"),
        ] {
            assert!(!escapes(path, target, &[]), "{path} -> {target}");
        }
    }

    #[test]
    fn links_out_of_the_tree_are_detected() {
        for (path, target) in [
            ("a", "/etc/passwd"),
            ("a", ".."),
            ("a", "../x"),
            ("d/a", "../../x"),
            ("d/a", "../../releases/x"),
            ("a", "d/../../x"),
            ("a", "/"),
        ] {
            assert!(escapes(path, target, &[]), "{path} -> {target}");
        }
    }

    #[test]
    fn a_link_through_other_links_is_followed_as_the_kernel_does() {
        // a/b/root is the root of the tree, so root/.. is outside although it looks inside.
        assert!(escapes("a/b/t", "root/../x", &[("a/b/root", "../..")]));
        assert!(!escapes("t", "deep/..", &[("deep", "a/b")]));
        assert!(!escapes("x", "y", &[("x", "y"), ("y", "x")]), "a circle");
        assert!(escapes("x", "y", &[("y", "/etc")]));
    }

    #[test]
    fn link_into_shared_may_not_climb_out() {
        let shared = [("log", "SHARED")];
        assert!(!escapes("today", "log/today", &shared));
        assert!(escapes("up", "log/../../x", &shared));
    }
}
