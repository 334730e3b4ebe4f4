//! A host that is a directory: scripts are performed by the local shell, rsync by the local rsync.

use std::cell::Cell;
use std::io::Write as _;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, SystemTime};

use tagship::domain::host::{
    DeployTarget, Existing, HostError, HostState, Inodes, Leftover, Release, ReleaseId, Reply,
    TransferSet, TreeDigest,
};
use tagship::hosts::publish;
use tagship::hosts::ssh::script::{AnswerItem, AnswerLines, AnswerReader, OpSequence, overtaken};
use tagship::hosts::sync::{self, rsync};

/// The shells that hosts have as `sh`.
pub(crate) const SHELLS: [&[&str]; 2] = [&["sh"], &["bash", "--posix"]];

/// Another user, for whom root's permissions do not count.
pub(crate) const SERVICE: u32 = 65_534;

macro_rules! as_service {
    ($($shell:literal),*) => {
        &[
            "env",
            "--chdir=/",
            "setpriv",
            "--reuid=65534",
            "--regid=65534",
            "--clear-groups",
            $($shell),*
        ]
    };
}

/// The shells as that user; only root may start them.
pub(crate) const AS_SERVICE: [&[&str]; 2] = [as_service!("sh"), as_service!("bash", "--posix")];

pub(crate) struct Host {
    directory: tempfile::TempDir,
    name: String,
    pub(crate) shell: &'static [&'static str],
    seq: Cell<u64>,
    /// The inodes of a copy's files.
    pub(crate) inodes: Cell<Inodes>,
}

/// In memory if the system has such a directory: scripts sync to disk often.
pub(crate) fn quick_directory() -> tempfile::TempDir {
    tempfile::tempdir_in("/dev/shm").unwrap_or_else(|_| tempfile::tempdir().unwrap())
}

/// Something mounted, until the value is dropped.
pub(crate) struct Mounted(PathBuf);

impl Mounted {
    /// `mount ARGUMENTS PATH`; `None` if only root may do that.
    pub(crate) fn at(path: PathBuf, arguments: &[&str]) -> Option<Self> {
        let mut mount = Command::new("mount");
        let mount = mount.args(arguments).arg(&path).status();
        let mounted = mount.is_ok_and(|status| status.success());
        if !mounted {
            eprintln!("SKIPPED: only root mounts file systems");
        }
        mounted.then_some(Self(path))
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

impl Host {
    pub(crate) fn new(shell: &'static [&'static str]) -> Self {
        // A name that reveals every quoting mistake.
        Self::named(shell, "it's a \"shop\" $(reboot)")
    }

    /// The directory on the host has this name.
    pub(crate) fn named(shell: &'static [&'static str], name: &str) -> Self {
        Self {
            directory: quick_directory(),
            name: name.to_owned(),
            shell,
            seq: Cell::new(0),
            inodes: Cell::new(Inodes::Shared),
        }
    }

    /// On a file system that is not in memory.
    pub(crate) fn on_disk(shell: &'static [&'static str], name: &str) -> Self {
        Self {
            directory: tempfile::tempdir().unwrap(),
            ..Self::named(shell, name)
        }
    }

    pub(crate) fn path(&self) -> PathBuf {
        self.directory.path().join(&self.name)
    }

    pub(crate) fn deploy_to(&self) -> String {
        self.path().to_str().unwrap().to_owned()
    }

    pub(crate) fn place(&self, fence: u64) -> DeployTarget {
        DeployTarget {
            deploy_to: self.deploy_to(),
            fence,
        }
    }

    pub(crate) fn seq(&self) -> OpSequence {
        self.seq.set(self.seq.get() + 1);
        OpSequence(self.seq.get())
    }

    pub(crate) fn last_seq(&self) -> u64 {
        self.seq.get()
    }

    pub(crate) fn ask(&self, fence: u64, script: &[u8]) -> Result<AnswerLines, HostError> {
        answered(fence, &feed(self.shell, script))
    }

    pub(crate) fn prepare(
        &self,
        fence: u64,
        release: &Release,
        base: Option<&Release>,
        removed: &[&[u8]],
    ) -> Result<Reply, HostError> {
        let shared = ["log".to_owned(), "public/up loads".to_owned()];
        let script = self.preparation(fence, release, base, removed, &shared);
        sync::read_prepared(&self.ask(fence, &script)?)
    }

    /// The script that prepares a release.
    #[track_caller]
    pub(crate) fn preparation(
        &self,
        fence: u64,
        release: &Release,
        base: Option<&Release>,
        removed: &[&[u8]],
        shared: &[String],
    ) -> Vec<u8> {
        let removed: Vec<Vec<u8>> = removed.iter().map(|path| path.to_vec()).collect();
        let (place, seq) = (self.place(fence), self.seq());
        let base = base.map(|base| (base, self.inodes.get()));
        let equal = Existing::Equal;
        sync::prepare(&place, seq, release, base, &removed, shared, equal).unwrap()
    }

    /// The local rsync, with the very arguments that go to a host.
    pub(crate) fn transfer_command(&self, fence: u64, from: &Path, set: &TransferSet) -> Command {
        let transfer = rsync::transfer(&self.place(fence), from, set, self.inodes.get()).unwrap();
        let mut arguments = transfer.arguments;
        let target = arguments.pop().unwrap().into_string().unwrap();
        let dashes = arguments.iter().position(|word| word == "--").unwrap();
        arguments.remove(dashes);
        arguments.push(target.strip_prefix("host:").unwrap().into());
        let mut command = Command::new("rsync");
        command
            .args(arguments)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }

    /// Sends by the local rsync.
    pub(crate) fn transfer(
        &self,
        fence: u64,
        from: &Path,
        set: &TransferSet,
    ) -> rsync::TransferEnd {
        let transfer = rsync::transfer(&self.place(fence), from, set, self.inodes.get());
        let stdin = transfer.unwrap().stdin;
        let mut child = self
            .transfer_command(fence, from, set)
            .stdin(Stdio::piped())
            .spawn()
            .unwrap();
        let _ = child.stdin.take().unwrap().write_all(&stdin);
        let output = child.wait_with_output().unwrap();
        rsync::judge(output.status.code(), &output.stderr)
    }

    pub(crate) fn seal(&self, fence: u64, release: &Release) -> Result<Reply, HostError> {
        self.seal_for(fence, release, None)
    }

    pub(crate) fn seal_for(
        &self,
        fence: u64,
        release: &Release,
        owner: Option<&str>,
    ) -> Result<Reply, HostError> {
        let script = sync::seal(&self.place(fence), self.seq(), release, owner).unwrap();
        sync::read_sealed(&self.ask(fence, &script)?)
    }

    pub(crate) fn publish(
        &self,
        fence: u64,
        release: &Release,
        key: &str,
    ) -> Result<Option<String>, HostError> {
        let script = self.switch(fence, release, key);
        match publish::read_published(&self.ask(fence, &script)?)? {
            Reply::Published { was, .. } => Ok(was.map(|id| id.0)),
            other => panic!("{other:?}"),
        }
    }

    /// The script of a switch that may replace any release here.
    pub(crate) fn switch(&self, fence: u64, release: &Release, key: &str) -> Vec<u8> {
        let state = self.inspect().unwrap().releases;
        let over: Vec<ReleaseId> = state.into_iter().map(|release| release.id).collect();
        publish::publish(
            &self.place(fence),
            self.seq(),
            &release.id,
            &over,
            key,
            Existing::Equal,
        )
        .unwrap()
    }

    pub(crate) fn prune(
        &self,
        fence: u64,
        keep: u32,
        protect: &[&Release],
        failed: &[&Release],
    ) -> Result<Vec<String>, HostError> {
        let (deleted, left) = self.pruned(fence, keep, protect, failed)?;
        assert_eq!(left, []);
        Ok(deleted)
    }

    /// The deleted releases, and the leftovers.
    pub(crate) fn pruned(
        &self,
        fence: u64,
        keep: u32,
        protect: &[&Release],
        failed: &[&Release],
    ) -> Result<(Vec<String>, Vec<Leftover>), HostError> {
        let ids = |releases: &[&Release]| -> Vec<ReleaseId> {
            releases.iter().map(|release| release.id.clone()).collect()
        };
        let (protect, failed) = (ids(protect), ids(failed));
        let place = self.place(fence);
        let script = publish::prune(&place, self.seq(), keep, &protect, &failed).unwrap();
        match publish::read_pruned(&self.ask(fence, &script)?, &place.deploy_to)? {
            Reply::Pruned {
                deleted,
                leftovers: left,
            } => Ok((deleted.into_iter().map(|id| id.0).collect(), left)),
            other => panic!("{other:?}"),
        }
    }

    pub(crate) fn inspect(&self) -> Result<HostState, HostError> {
        let script = publish::inspect(&self.deploy_to()).unwrap();
        publish::read_host_state(&self.ask(0, &script)?)
    }

    /// Prepare, transfer, seal: from any current state.
    pub(crate) fn stage(&self, fence: u64, tree: &Tree, release: &Release) {
        self.prepare(fence, release, None, &[]).unwrap();
        let end = self.transfer(fence, tree.path(), &TransferSet::Whole);
        assert_eq!(end, rsync::TransferEnd::Complete);
        self.seal(fence, release).unwrap();
    }

    pub(crate) fn live(&self) -> Option<String> {
        let target = std::fs::read_link(self.path().join("current")).ok()?;
        let name = target.strip_prefix("releases").unwrap();
        Some(name.to_str().unwrap().to_owned())
    }

    pub(crate) fn release(&self, release: &Release) -> PathBuf {
        self.path().join("releases").join(&release.id.0)
    }
}

/// Performs a script and returns all that the shell said.
pub(crate) fn feed(shell: &[&str], script: &[u8]) -> Output {
    start(shell, script).wait_with_output().unwrap()
}

/// Performs a script in the background.
pub(crate) fn start(shell: &[&str], script: &[u8]) -> Child {
    let mut child = Command::new(shell[0])
        .args(&shell[1..])
        .arg("-s")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // A script that was killed on purpose reads no more.
    let _ = child.stdin.take().unwrap().write_all(script);
    child
}

/// The lines of an answer; [`HostError::Lost`] if it is incomplete.
pub(crate) fn answered(fence: u64, output: &Output) -> Result<AnswerLines, HostError> {
    let mut answer = AnswerReader::default();
    let mut lines = AnswerLines::default();
    let mut error = None;
    let mut receive = |item: AnswerItem| {
        if let Some(seq) = overtaken(&item) {
            error = Some(HostError::Refused(format!(
                "overtaken by sequence number {seq}"
            )));
        } else if let Err(refusal) = lines.add_item(item, fence) {
            error = Some(refusal);
        }
    };
    answer.feed(&output.stdout, &mut receive).unwrap();
    if let Some(error) = error {
        return Err(error);
    }
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    if !answer.is_done() {
        return Err(HostError::Lost(stderr));
    }
    assert_eq!(stderr, "", "a script says nothing but its answer");
    Ok(lines)
}

/// A tree on the agent.
pub(crate) struct Tree(tempfile::TempDir);

impl Tree {
    pub(crate) fn new() -> Self {
        Self(quick_directory())
    }

    /// Returns a copy to change.
    pub(crate) fn twin(&self) -> Self {
        let twin = Self::new();
        let status = Command::new("cp")
            .args(["-a", "--"])
            .arg(self.path().join("."))
            .arg(twin.path())
            .status();
        assert!(status.unwrap().success());
        twin
    }

    pub(crate) fn path(&self) -> &Path {
        self.0.path()
    }

    pub(crate) fn file(&self, path: &str, content: &str, mode: u32, mtime_s: u64) -> &Self {
        let path = self.path().join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, content).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
        let mtime = SystemTime::UNIX_EPOCH + Duration::from_secs(mtime_s);
        let file = std::fs::File::open(&path).unwrap();
        file.set_modified(mtime).unwrap();
        self
    }

    pub(crate) fn link(&self, path: &str, target: &str) -> &Self {
        let path = self.path().join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::os::unix::fs::symlink(target, path).unwrap();
        self
    }

    pub(crate) fn without(&self, path: &str) -> &Self {
        let path = self.path().join(path);
        if path.symlink_metadata().unwrap().is_dir() {
            std::fs::remove_dir_all(path).unwrap();
        } else {
            std::fs::remove_file(path).unwrap();
        }
        self
    }

    pub(crate) fn release(&self, name: &str) -> Release {
        Release {
            id: ReleaseId(name.to_owned()),
            digest: digest_of(self.path()),
        }
    }
}

fn listing_of(path: &Path, then: &str) -> Output {
    Command::new("sh")
        .arg("-c")
        .arg(format!("{} {then}", tagship::git::checkout::HOST_LISTING))
        .current_dir(path)
        .output()
        .unwrap()
}

pub(crate) fn digest_of(path: &Path) -> TreeDigest {
    let sum = String::from_utf8(listing_of(path, "| sha256sum").stdout).unwrap();
    TreeDigest(sum.split(' ').next().unwrap().to_owned())
}

/// Everything that a release must keep of a tree: bytes, modes, mtimes, links, directories.
pub(crate) fn picture_of(path: &Path) -> String {
    let mut picture = String::new();
    let mut directories = vec![path.to_owned()];
    while let Some(directory) = directories.pop() {
        let mut entries: Vec<_> = std::fs::read_dir(directory)
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .collect();
        entries.sort();
        for entry in entries {
            let metadata = entry.symlink_metadata().unwrap();
            let name = entry.strip_prefix(path).unwrap();
            let what = if metadata.is_dir() {
                directories.push(entry.clone());
                "directory".to_owned()
            } else if metadata.is_symlink() {
                format!("-> {}", std::fs::read_link(&entry).unwrap().display())
            } else {
                let content = std::fs::read(&entry).unwrap();
                let (mode, mtime) = (metadata.mode(), metadata.mtime());
                format!("{mode:o} {mtime} {}", content.escape_ascii())
            };
            picture.push_str(&format!("{} {what}\n", name.display()));
        }
    }
    picture
}
