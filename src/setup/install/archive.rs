//! The tar for `gitaly hooks set`, which replaces the whole `custom_hooks` directory: so it
//! includes the existing hooks.

use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use tagship_hook::settings::Settings;
use tar::{Builder, EntryType, Header};

use super::InstallError;
use super::layout::{GitServerKind, HookLayout};

/// Writes the tar: the `custom_hooks/` of the repository `existing` (if given), with tagship's hook
/// and its settings.
///
/// # Errors
/// The program is missing, or something can't be read or written.
pub fn archive(
    existing: Option<&Path>,
    hook_program: &Path,
    settings: &Settings,
    out: &mut dyn Write,
) -> Result<(), InstallError> {
    if !hook_program.is_file() {
        return Err(InstallError::ProgramMissing(hook_program.to_owned()));
    }
    let program = fs::read(hook_program).map_err(InstallError::io("read", hook_program))?;
    let text = settings.to_text().map_err(InstallError::Settings)?;
    let layout = HookLayout::new(Path::new(""), GitServerKind::GitLab);
    let root = Path::new("custom_hooks");

    let mut tar = Builder::new(out);
    let to_stdout = || InstallError::io("write the tar to", Path::new("the output"));
    directory(&mut tar, root, 0o755).map_err(to_stdout())?;
    let mut has_update_d = false;
    if let Some(repo) = existing {
        let from = repo.join(root);
        for path in listing(&from, root)? {
            has_update_d |= path == layout.directory;
            if path != layout.program && path != layout.settings {
                copy(&mut tar, &repo.join(&path), &path)
                    .map_err(InstallError::io("copy into the tar", &path))?;
            }
        }
    }
    if !has_update_d {
        directory(&mut tar, &layout.directory, 0o755).map_err(to_stdout())?;
    }
    file(&mut tar, &layout.program, 0o755, &program).map_err(to_stdout())?;
    file(&mut tar, &layout.settings, 0o644, text.as_bytes()).map_err(to_stdout())?;
    tar.into_inner().and_then(Write::flush).map_err(to_stdout())
}

/// Lists everything below `from`, with names below `name`: parents before children.
fn listing(from: &Path, name: &Path) -> Result<Vec<PathBuf>, InstallError> {
    let entries = match fs::read_dir(from) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        other => other.map_err(InstallError::io("read", from))?,
    };
    let mut entries: Vec<_> = entries
        .collect::<Result<_, _>>()
        .map_err(InstallError::io("read", from))?;
    entries.sort_by_key(fs::DirEntry::file_name);
    let mut paths = Vec::new();
    for entry in entries {
        let path = name.join(entry.file_name());
        let is_dir = entry
            .file_type()
            .map_err(InstallError::io("read", &entry.path()))?
            .is_dir();
        paths.push(path.clone());
        if is_dir {
            paths.extend(listing(&entry.path(), &path)?);
        }
    }
    Ok(paths)
}

fn copy(tar: &mut Builder<&mut dyn Write>, from: &Path, name: &Path) -> io::Result<()> {
    let data = fs::symlink_metadata(from)?;
    let mode = data.permissions().mode() & 0o755;
    if data.is_symlink() {
        let mut header = header(EntryType::Symlink, 0o777, 0);
        tar.append_link(&mut header, name, fs::read_link(from)?)
    } else if data.is_dir() {
        directory(tar, name, mode)
    } else if data.is_file() {
        file(tar, name, mode, &fs::read(from)?)
    } else {
        Ok(())
    }
}

fn directory(tar: &mut Builder<&mut dyn Write>, name: &Path, mode: u32) -> io::Result<()> {
    tar.append_data(
        &mut header(EntryType::Directory, mode, 0),
        // With a trailing slash, as GNU tar names directories and Gitaly's callers expect.
        name.join(""),
        io::empty(),
    )
}

fn file(tar: &mut Builder<&mut dyn Write>, name: &Path, mode: u32, bytes: &[u8]) -> io::Result<()> {
    let mut header = header(EntryType::Regular, mode, bytes.len() as u64);
    tar.append_data(&mut header, name, bytes)
}

/// Returns a header without time and owner: equal hooks result in equal tars.
fn header(kind: EntryType, mode: u32, size: u64) -> Header {
    let mut header = Header::new_gnu();
    header.set_entry_type(kind);
    header.set_mode(mode);
    header.set_size(size);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    header
}
