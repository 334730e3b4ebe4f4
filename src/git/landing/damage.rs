//! Damage of a mirror: how it shows, and the mark that lets the next call create the mirror again.
//! Whatever a release needs of it is still on the git server.

use std::fs;
use std::io;
use std::path::Path;

use git2::ErrorClass;

/// A file in a mirror of which objects are lost or cannot be read.
const MARK: &str = "tagship.damaged";

/// How git names an object that it cannot read.
const UNREAD: [&str; 9] = [
    "is corrupt",
    "corrupt loose object",
    "unable to unpack ",
    "unable to stream ",
    "unable to read ",
    "object file ",
    "bad object ",
    "Could not read ",
    "cannot read ",
];

/// Marks a mirror as damaged. A disk that refuses this is full or lost, which other calls report.
pub(crate) fn mark(mirror: &Path) {
    tracing::warn!(mirror = %mirror.display(), "the mirror is damaged, and will be created again");
    let _ = fs::write(mirror.join(MARK), b"");
}

pub(super) fn is_marked(mirror: &Path) -> bool {
    mirror.join(MARK).exists()
}

/// Removes a mirror. It is renamed first: a half of it must never pass for one.
pub(super) fn remove(mirror: &Path) -> io::Result<()> {
    let aside = mirror.with_extension("damaged");
    remove_directory(&aside)?;
    fs::rename(mirror, &aside)?;
    remove_directory(&aside)
}

fn remove_directory(directory: &Path) -> io::Result<()> {
    match fs::remove_dir_all(directory) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// Whether libgit2 has lost an object, or cannot read it.
pub(crate) fn lost_object(error: &git2::Error) -> bool {
    matches!(
        error.class(),
        ErrorClass::Zlib | ErrorClass::Odb | ErrorClass::Object
    )
}

/// Returns the line in which a git on a mirror reports an object that it cannot read, if any.
pub(crate) fn unread_object(messages: &[String]) -> Option<&str> {
    let names_one = |line: &&String| {
        let named = names_object(line) || line.contains("/objects/");
        let unread = named && UNREAD.iter().any(|pattern| line.contains(pattern));
        unread || line.starts_with("error: inflate: ")
    };
    messages.iter().rfind(names_one).map(String::as_str)
}

/// Whether a line contains an object id.
pub(super) fn names_object(line: &str) -> bool {
    line.split(|c: char| !c.is_ascii_hexdigit())
        .any(|token| token.len() == 40)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn lines_about_unread_objects_are_recognised() {
        let id = "86616f54a9c070f9a210b53011ea3114e5e4127b";
        for line in [
            format!("fatal: loose object {id} (stored in /m/objects/86/616f) is corrupt"),
            "error: object file /m/objects/86/616f is empty".to_owned(),
            format!("error: Could not read {id}"),
            format!("fatal: unable to read tree ({id})"),
            format!("fatal: unable to stream {id} to stdout"),
            format!("error: cannot read '{id}'"),
            format!("fatal: bad object {id}"),
            "error: inflate: data stream error (incorrect data check)".to_owned(),
        ] {
            let messages = [line.clone(), "fatal: bad revision 'HEAD'".to_owned()];
            assert_eq!(unread_object(&messages), Some(line.as_str()));
        }
        for line in [
            "fatal: bad revision 'HEAD'".to_owned(),
            format!("fatal: Not a valid commit name {id}"),
            "warning: a file that is corrupt".to_owned(),
        ] {
            assert_eq!(unread_object(&[line]), None);
        }
    }

    #[test]
    fn a_marked_mirror_is_removed_with_what_is_left_of_another() {
        let dir = tempfile::tempdir().unwrap();
        let mirror = dir.path().join("shop.git");
        fs::create_dir_all(mirror.join("objects")).unwrap();
        assert!(!is_marked(&mirror));
        mark(&mirror);
        assert!(is_marked(&mirror));
        fs::create_dir_all(dir.path().join("shop.damaged/objects")).unwrap();
        remove(&mirror).unwrap();
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
    }
}
