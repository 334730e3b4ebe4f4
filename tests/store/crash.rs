//! The store on disk, when its process or its disk fails. Each test runs this program again as a
//! child, which opens a store and commits until it is killed or its disk is full.

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;

use tagship::store::kv::{
    Commit, CommitError, Kv, KvError, Range, Require, Revision, Row, WatchEnd, all_rows,
};
use tagship::store::sled::{SledKv, StoreOpenError};

const CACHE_BYTES: u64 = 8 * 1024 * 1024;
/// Names the store in which the child is to commit.
const CHILD_STORE: &str = "TAGSHIP_TEST_STORE";

/// A child that is killed when its test ends, however it ends.
struct Committer(Child);

impl Drop for Committer {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Committer {
    fn start(mut command: Command, dir: &Path, role: &str) -> Self {
        command
            .args([role, "--exact", "--ignored", "--nocapture"])
            .env(CHILD_STORE, dir)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null());
        Self(command.spawn().unwrap())
    }

    fn lines(&mut self) -> impl Iterator<Item = String> + use<> {
        let stdout = self.0.stdout.take().unwrap();
        BufReader::new(stdout).lines().map_while(Result::ok)
    }
}

fn this_program() -> Command {
    Command::new(std::env::current_exe().unwrap())
}

fn open(dir: &Path) -> Result<SledKv, StoreOpenError> {
    SledKv::open(dir, CACHE_BYTES)
}

/// Prints a line for the parent, bypassing the test harness.
fn say(line: &str) {
    let mut stdout = std::io::stdout().lock();
    writeln!(stdout, "{line}").unwrap();
    stdout.flush().unwrap();
}

/// What one commit of the child writes: two rows that must exist together, one of them long.
fn pair(task: usize, number: usize) -> Commit {
    let long = format!("{task} {number} ").repeat(1 + (number * 37) % 1500);
    Commit::new()
        .put(format!("left/{task:02}/{number:06}"), number.to_string())
        .put(format!("right/{task:02}/{number:06}"), long)
        .put(format!("latest/{task:02}"), number.to_string())
}

#[test]
#[ignore = "the child of the tests below"]
fn child_commits_until_it_is_killed() {
    let Some(dir) = std::env::var_os(CHILD_STORE) else {
        return;
    };
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let kv = Arc::new(open(Path::new(&dir)).unwrap());
        let tasks = (0..8).map(|task| {
            let kv = Arc::clone(&kv);
            tokio::spawn(async move {
                for number in 0.. {
                    match kv.commit(pair(task, number)).await {
                        Ok(revision) => say(&format!("done {task} {number} {revision}")),
                        Err(error) => return say(&format!("failed {task} {number} {error:?}")),
                    }
                }
            })
        });
        futures::future::join_all(tasks).await;
        // The disk has failed: no commit and no read succeeds.
        let read = kv.get(b"latest/00").await;
        assert!(matches!(read, Err(KvError::Stopped(_))), "{read:?}");
        let read = kv.range(Range::prefix("")).await;
        assert!(matches!(read, Err(KvError::Stopped(_))));
        let write = kv.commit(pair(0, 0)).await;
        assert!(matches!(
            write,
            Err(CommitError::Failed(KvError::Stopped(_)))
        ));
        let ended = kv.watch(b"", Revision(u64::MAX)).next().await;
        assert!(ended == Err(WatchEnd::Closed) || ended == Err(WatchEnd::Lagged));
        say("stopped");
    });
}

#[test]
#[ignore = "the child of the test of system calls"]
fn child_commits_one_after_another() {
    let Some(dir) = std::env::var_os(CHILD_STORE) else {
        return;
    };
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let kv = open(Path::new(&dir)).unwrap();
        for number in 0..10 {
            kv.commit(pair(0, number)).await.unwrap();
            say(&format!("done {number}"));
        }
    });
}

/// No test can cut the power, but strace shows the order: a commit's bytes are written, then
/// synced, and only then is the commit answered.
#[test]
fn a_commit_is_synced_to_the_disk_before_it_is_answered() {
    let dir = tempfile::tempdir().unwrap();
    let trace = dir.path().join("trace");
    let mut traced = Command::new("strace");
    traced
        .args(["-f", "-y", "-e", "trace=pwrite64,fdatasync,write", "-o"])
        .arg(&trace)
        .arg(std::env::current_exe().unwrap());
    if Command::new("strace").arg("-V").output().is_err() {
        eprintln!("strace is not installed here: the order of system calls was not looked at");
        return;
    }
    let store = dir.path().join("store");
    let mut child = Committer::start(traced, &store, "crash::child_commits_one_after_another");
    assert_eq!(
        child.lines().filter(|line| line.contains("done ")).count(),
        10
    );
    assert!(child.0.wait().unwrap().success());

    let trace = std::fs::read_to_string(&trace).unwrap();
    assert_eq!(answers_after_a_sync(&trace), 10);
}

/// Counts the answers in a trace. Each must follow a sync that began after the last write to the
/// log had ended; the file `confirmed` beside the log is written without one.
fn answers_after_a_sync(trace: &str) -> usize {
    let log = "/db>";
    let (mut written, mut syncing, mut synced, mut answers) = (false, false, false, 0);
    let mut writers = BTreeSet::new();
    for line in trace.lines() {
        let (thread, call) = line.split_once(' ').unwrap();
        let begins = |name: &str| call.trim_start().starts_with(name) && call.contains(log);
        let write_ends = call.contains("pwrite64 resumed") && writers.remove(thread);
        if begins("pwrite64(") || write_ends {
            (written, syncing, synced) = (true, false, false);
            if call.ends_with("<unfinished ...>") {
                writers.insert(thread);
            }
        } else if begins("fdatasync(") {
            syncing = writers.is_empty();
        } else if call.trim_start().starts_with("write(1<") && call.contains("\"done ") {
            answers += 1;
            assert!(written, "answer {answers} before its bytes were written");
            assert!(synced, "answer {answers} before its sync");
            (written, syncing, synced) = (false, false, false);
        }
        if call.contains("fdatasync") && call.ends_with("= 0") {
            synced = syncing;
        }
    }
    answers
}

/// For each task, how many commits were acknowledged to the child as durable; and the last revision.
fn acknowledged(lines: &[String]) -> (Vec<usize>, u64) {
    let mut counts = vec![0; 8];
    let mut last = 0;
    for line in lines {
        let mut words = line.split(' ').skip_while(|word| *word != "done").skip(1);
        let mut number = || words.next()?.parse::<usize>().ok();
        if let (Some(task), Some(nth), Some(revision)) = (number(), number(), number()) {
            counts[task] = nth + 1;
            last = last.max(revision as u64);
        }
    }
    (counts, last)
}

/// Everything acknowledged is present, at most one commit per task beyond it, and none partially.
async fn check(kv: &SledKv, counts: &[usize], last: u64) {
    let mut written = 0;
    for (task, count) in counts.iter().enumerate() {
        let left = all_rows(kv, format!("left/{task:02}/").as_bytes())
            .await
            .unwrap();
        let right = all_rows(kv, format!("right/{task:02}/").as_bytes())
            .await
            .unwrap();
        assert!(left.len() >= *count, "{} of {count} are there", left.len());
        assert!(left.len() <= count + 1);
        assert_eq!(left.len(), right.len());
        for (number, (left, right)) in left.iter().zip(&right).enumerate() {
            let writes = pair(task, number);
            for row in [left, right] {
                let write = tagship::store::kv::KeyWrite::Put(row.value.clone());
                assert!(writes.writes().get(&row.key) == Some(&write));
            }
            assert_eq!(left.version, right.version);
        }
        if let Some(number) = left.len().checked_sub(1) {
            let latest = kv
                .get(format!("latest/{task:02}").as_bytes())
                .await
                .unwrap()
                .unwrap();
            assert_eq!(latest.value, number.to_string().into_bytes());
        }
        written += left.len();
    }
    let revision = kv.range(Range::prefix("").limit(0)).await.unwrap().revision;
    assert!(revision.0 >= last);
    assert_eq!(
        revision.0, written as u64,
        "every commit has a revision of its own"
    );
}

#[tokio::test]
async fn acknowledged_commits_survive_a_killed_process() {
    for acknowledgements in [1, 40, 900] {
        let dir = tempfile::tempdir().unwrap();
        let mut child = Committer::start(
            this_program(),
            dir.path(),
            "crash::child_commits_until_it_is_killed",
        );
        let mut output = child.lines();
        let mut lines = Vec::new();
        while acknowledged(&lines[lines.len().saturating_sub(1)..]).1 < acknowledgements {
            lines.push(output.next().unwrap());
        }
        child.0.kill().unwrap();
        child.0.wait().unwrap();
        lines.extend(output);
        let (counts, last) = acknowledged(&lines);
        assert!(last >= acknowledgements);

        let kv = open(dir.path()).unwrap();
        check(&kv, &counts, last).await;
        // And it continues from there.
        let next = kv.commit(pair(9, 0)).await.unwrap();
        assert!(next.0 > last);
        drop(kv);
        assert!(
            open(dir.path())
                .unwrap()
                .get(b"latest/09")
                .await
                .unwrap()
                .is_some()
        );
    }
}

#[tokio::test]
async fn full_disk_stops_the_engine_without_losing_commits() {
    let dir = tempfile::tempdir().unwrap();
    // No file of the child may pass 4 MiB; a write beyond that fails like one on a full disk.
    let mut limited = Command::new("sh");
    limited
        .args(["-c", "trap '' XFSZ; ulimit -f 8192; exec \"$0\" \"$@\""])
        .arg(std::env::current_exe().unwrap());
    let mut child = Committer::start(
        limited,
        dir.path(),
        "crash::child_commits_until_it_is_killed",
    );
    let lines: Vec<String> = child.lines().collect();
    assert!(
        child.0.wait().unwrap().success(),
        "{:?}",
        &lines[lines.len() - 5..]
    );
    let failed: Vec<&String> = lines
        .iter()
        .filter(|line| line.starts_with("failed "))
        .collect();
    assert_eq!(failed.len(), 8);
    assert!(
        failed.iter().any(|line| line.contains("Unknown")),
        "{failed:?}"
    );
    assert!(lines.iter().any(|line| line.contains("stopped")));

    let (counts, last) = acknowledged(&lines);
    let kv = open(dir.path()).unwrap();
    check(&kv, &counts, last).await;
}

#[tokio::test]
async fn concurrent_commits_share_a_flush() {
    let dir = tempfile::tempdir().unwrap();
    let kv = Arc::new(open(dir.path()).unwrap());
    let tasks = (0..64).map(|task| {
        let kv = Arc::clone(&kv);
        tokio::spawn(async move {
            for number in 0..20 {
                let commit = pair(task, number)
                    .require(format!("left/{task:02}/{number:06}"), Require::Absent);
                kv.commit(commit).await.unwrap();
            }
        })
    });
    for task in futures::future::join_all(tasks).await {
        task.unwrap();
    }
    let counters = kv.counters();
    assert_eq!(counters.commits, 64 * 20);
    assert!(counters.flushes < counters.commits / 4, "{counters:?}");
}

#[test]
fn second_agent_gets_a_store_in_use_error() {
    let dir = tempfile::tempdir().unwrap();
    let mut child = Committer::start(
        this_program(),
        dir.path(),
        "crash::child_commits_until_it_is_killed",
    );
    // It ends when its output is no longer read.
    let mut lines = child.lines();
    assert!(lines.any(|line| line.contains("done")));
    let error = open(dir.path()).err().unwrap();
    drop(lines);
    assert!(matches!(error, StoreOpenError::Held { .. }), "{error}");
    assert!(error.to_string().contains("another agent holds"));
}

/// All files of a directory.
fn files(dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut open = vec![dir.to_owned()];
    while let Some(directory) = open.pop() {
        for entry in std::fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                open.push(path);
            } else {
                found.push(path);
            }
        }
    }
    found.sort();
    found
}

/// Opens a store with a damaged file: it has every row, or the error names a remedy.
async fn whole_or_refused(harmed: &Path, rows: &[Row], what: &str) -> bool {
    match open(harmed) {
        Ok(kv) => {
            let read = all_rows(&kv, b"").await;
            let read = read.unwrap_or_else(|error| panic!("{what}: opened, then {error}"));
            assert!(
                read == rows,
                "{what}: opened with {} rows of {}",
                read.len(),
                rows.len()
            );
            // And it continues: a commit is durable.
            kv.commit(pair(9, 9)).await.unwrap();
            true
        }
        Err(error) => {
            let words = error.to_string();
            let named = words.contains(&harmed.display().to_string());
            let advised = words.contains("tagship restore") || words.contains("look at the disk");
            assert!(named && advised, "{what}: {words}");
            false
        }
    }
}

#[tokio::test]
async fn damaged_store_has_every_row_or_names_a_remedy() {
    let original = tempfile::tempdir().unwrap();
    let kv = open(original.path()).unwrap();
    for number in 0..150 {
        kv.commit(pair(number % 8, number)).await.unwrap();
    }
    let rows = all_rows(&kv, b"").await.unwrap();
    drop(kv);
    let (mut whole, mut refused) = (0, 0);
    for path in files(original.path()) {
        let name = path.strip_prefix(original.path()).unwrap();
        let bytes = std::fs::read(&path).unwrap();
        let step = (bytes.len() / 61).max(1);
        for offset in (0..bytes.len()).step_by(step) {
            for cut in [true, false] {
                let harmed = tempfile::tempdir().unwrap();
                std::fs::create_dir(harmed.path().join("blobs")).unwrap();
                for file in files(original.path()) {
                    let same = file.strip_prefix(original.path()).unwrap();
                    std::fs::copy(&file, harmed.path().join(same)).unwrap();
                }
                let mut bytes = bytes.clone();
                if cut {
                    bytes.truncate(offset);
                } else {
                    bytes
                        .iter_mut()
                        .skip(offset)
                        .take(16)
                        .for_each(|byte| *byte ^= 0x5a);
                }
                std::fs::write(harmed.path().join(name), bytes).unwrap();
                let how = if cut { "cut" } else { "damaged" };
                let what = format!("{} {how} at {offset}", name.display());
                match whole_or_refused(harmed.path(), &rows, &what).await {
                    true => whole += 1,
                    false => refused += 1,
                }
            }
        }
    }
    eprintln!("{whole} stores had every row, {refused} were refused");
    assert!(whole > 0 && refused > 60, "{whole} {refused}");
}
