//! The order in which data reaches the disk: the system calls of the program, traced by strace, and
//! every rename in the sources.

use std::fs;
use std::path::Path;
use std::process::Command;

/// The calls of a command that sync or rename, with their paths.
fn watched(directory: &Path, arguments: &[&str]) -> Vec<String> {
    let trace = directory.join("trace");
    let output = Command::new("strace")
        .args(["-f", "-y", "-z", "-qq", "-s", "4096"])
        .args([
            "-e",
            "trace=fsync,fdatasync,syncfs,rename,renameat,renameat2",
        ])
        .arg("-o")
        .arg(&trace)
        .arg(env!("CARGO_BIN_EXE_tagship"))
        .args(arguments)
        .current_dir(directory)
        .output()
        .expect("strace is installed (apt-get install strace)");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{arguments:?}: {said}");
    let text = fs::read_to_string(&trace).unwrap();
    let calls = text.lines().filter_map(|line| line.split_once(' '));
    calls.map(|(_, call)| call.trim().to_owned()).collect()
}

fn first(calls: &[String], is: impl Fn(&str) -> bool) -> usize {
    calls
        .iter()
        .position(|call| is(call))
        .unwrap_or_else(|| panic!("{calls:#?}"))
}

fn last(calls: &[String], is: impl Fn(&str) -> bool) -> usize {
    calls
        .iter()
        .rposition(|call| is(call))
        .unwrap_or_else(|| panic!("{calls:#?}"))
}

fn syncs(call: &str, path: &str) -> bool {
    !call.starts_with("rename") && call.contains(path)
}

#[test]
fn backup_and_restore_sync_before_the_final_rename() {
    let directory = tempfile::tempdir().unwrap();
    let at = directory.path();
    let fixture = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/store-1.backup");
    fs::write(
        at.join("config.toml"),
        format!(
            "[agent]\ndata_dir = \"{}/data\"\nspool_dir = \"{}/spool\"\n",
            at.display(),
            at.display()
        ),
    )
    .unwrap();
    let config = ["--config", "config.toml"];
    let fixture = fixture.to_str().unwrap();
    let calls = watched(at, &[&["restore", fixture], &config[..]].concat());
    let exchanged = first(&calls, |call| {
        call.starts_with("rename") && call.contains("/data/")
    });
    let filled = first(&calls, |call| call.starts_with("syncfs"));
    assert!(filled < exchanged, "{calls:#?}");
    assert!(
        last(&calls, |call| syncs(call, "/data>")) > exchanged,
        "{calls:#?}"
    );

    let calls = watched(at, &[&["backup", "all.backup"], &config[..]].concat());
    let unfinished = |call: &str| call.contains("all.backup.") && call.contains(".unfinished");
    let written = last(&calls, |call| {
        !call.starts_with("rename") && unfinished(call)
    });
    let renamed = first(&calls, |call| {
        call.starts_with("rename") && unfinished(call)
    });
    assert!(written < renamed, "{calls:#?}");
    let directory = format!("{}>", at.display());
    assert!(
        last(&calls, |call| syncs(call, &directory)) > renamed,
        "{calls:#?}"
    );
}

/// Each rename that puts something in place, and whether it must be durable; otherwise the reason
/// why not.
const RENAMES: &[(&str, usize, Result<(), &str>)] = &[
    ("hooks/src/spool/directory.rs", 1, Ok(())),
    (
        "hooks/src/spool/directory.rs",
        2,
        Err("a record that cannot be read is set aside again"),
    ),
    ("hooks/src/spool/rules.rs", 1, Ok(())),
    ("src/base/durable.rs", 1, Ok(())),
    (
        "src/git/checkout/write.rs",
        1,
        Err("it counts for this boot alone"),
    ),
    (
        "src/git/checkout/write.rs",
        2,
        Err("the tree counts by its record, for this boot alone"),
    ),
    (
        "src/git/landing/damage.rs",
        1,
        Err("it only makes room for a mirror that is fetched again"),
    ),
    (
        "src/git/landing/system.rs",
        1,
        Err("it is written anew where it is missing"),
    ),
    (
        "src/setup/install/file.rs",
        1,
        Err("an installation is repeated"),
    ),
    ("src/store/backup/restore.rs", 1, Ok(())),
];

/// Its caller syncs the directory, after the last of several files.
const DIRECTORY_SYNCED_BY_CALLER: &str = "hooks/src/spool/rules.rs";

/// A new rename fails here until its entry says whether its result must be durable; one that must
/// be has a sync before it in its own function, and one of the directory after it.
#[test]
fn every_rename_is_synced_or_justified() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut found = Vec::new();
    for source in ["src", "hooks/src"] {
        renames(root, &root.join(source), &mut found);
    }
    found.sort();
    let places: Vec<(&str, usize)> = found
        .iter()
        .map(|(file, n, ..)| (file.as_str(), *n))
        .collect();
    let known: Vec<(&str, usize)> = RENAMES.iter().map(|(file, n, _)| (*file, *n)).collect();
    assert_eq!(places, known, "say in RENAMES what must be durable");
    let has = |text: &str, calls: &[&str]| calls.iter().any(|call| text.contains(call));
    for ((file, number, before, after), (.., durable)) in found.iter().zip(RENAMES) {
        if durable.is_err() {
            continue;
        }
        assert!(
            has(before, &["sync_all()", "syncfs(", "write_durably("]),
            "{file}, rename {number}: nothing is synced before it"
        );
        assert!(
            has(after, &["sync_all()", "sync_directory(", "sync("])
                || file.as_str() == DIRECTORY_SYNCED_BY_CALLER,
            "{file}, rename {number}: no directory is synced after it"
        );
    }
}

/// File, number in the file, and what its function has before and after it.
type Rename = (String, usize, String, String);

fn renames(root: &Path, directory: &Path, found: &mut Vec<Rename>) {
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        let name = path
            .strip_prefix(root)
            .unwrap()
            .to_str()
            .unwrap()
            .to_owned();
        if path.is_dir() {
            renames(root, &path, found);
        } else if name.ends_with(".rs") && !name.contains("tests") {
            let text = fs::read_to_string(&path).unwrap();
            let code = text.split("#[cfg(test)]").next().unwrap();
            for (number, (at, _)) in code.match_indices("fs::rename(").enumerate() {
                let begin = code[..at].rfind("fn ").unwrap();
                let end = code[at..].find("\n}\n").map_or(code.len(), |end| at + end);
                let (before, after) = (code[begin..at].to_owned(), code[at..end].to_owned());
                found.push((name.clone(), number + 1, before, after));
            }
        }
    }
}
