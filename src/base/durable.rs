//! Files put in place so that they survive a power failure.

use std::fs::{self, File};
use std::io;
use std::path::Path;

/// Puts a file that was written as `part` in place of `path`, in the same directory: syncs it,
/// renames it, and syncs the directory.
///
/// # Errors
/// One of these failed; the file at `path` is the former one or the new one.
pub fn put_in_place(file: &File, part: &Path, path: &Path) -> io::Result<()> {
    file.sync_all()?;
    fs::rename(part, path)?;
    File::open(directory_of(path))?.sync_all()
}

/// Returns the directory of a file, which has no name if the file is in the working directory.
#[must_use]
pub fn directory_of(file: &Path) -> &Path {
    match file.parent() {
        Some(directory) if !directory.as_os_str().is_empty() => directory,
        _ => Path::new("."),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn directory_of_a_bare_name_is_the_working_directory() {
        for (file, directory) in [
            ("update", "."),
            ("hooks/update", "hooks"),
            ("/srv/update", "/srv"),
            ("/update", "/"),
        ] {
            assert_eq!(
                directory_of(Path::new(file)),
                Path::new(directory),
                "{file}"
            );
        }
    }
}
