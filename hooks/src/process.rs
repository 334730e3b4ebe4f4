//! The push that a ref belongs to: the hook sees one ref at a time, and all refs of a push are
//! written by one `git receive-pack`. It is searched among the hook's ancestors. GitLab starts
//! hooks from a daemon, so there it is not found and the record does not name it.

use std::fs;

/// How many ancestors are searched: a script or two run between git and the hook.
const ANCESTORS_MAX: u32 = 16;

/// Returns the push's name: the boot of this machine, the process namespace, the process ID and its
/// start time. `tagship` reads it to detect the end of the push.
pub(crate) fn push() -> Option<String> {
    let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
    let space = fs::read_link("/proc/self/ns/pid").ok()?;
    let mut process = std::process::id();
    for _ in 0..ANCESTORS_MAX {
        let (parent, began) = stat(process)?;
        if receives(process) {
            let space = space.to_str()?;
            return Some(format!("{} {space} {process} {began}", boot.trim_end()));
        }
        process = parent;
    }
    None
}

/// Whether a process is git receiving a push.
fn receives(process: u32) -> bool {
    let command = fs::read(format!("/proc/{process}/cmdline")).unwrap_or_default();
    let mut words = command.split(|byte| *byte == 0);
    let is = |word: Option<&[u8]>, name: &[u8]| word.is_some_and(|word| word.ends_with(name));
    let program = words.next();
    is(program, b"git-receive-pack")
        || (is(program, b"git") && words.any(|word| word == b"receive-pack"))
}

/// Returns the parent of a process, and its start time.
fn stat(process: u32) -> Option<(u32, u64)> {
    let text = fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
    // The program's name, in parentheses, may contain anything.
    let (_, fields) = text.rsplit_once(')')?;
    let mut fields = fields.split_ascii_whitespace().skip(1);
    let parent = fields.next()?.parse().ok()?;
    let began = fields.nth(17)?.parse().ok()?;
    Some((parent, began))
}
