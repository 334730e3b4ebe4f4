//! The same over real connections: `SshHosts` against an sshd, connections that are cut included.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tagship::base::clock::SystemClock;
use tagship::domain::host::{
    DeployTarget, Existing, HostError, HostState, Hosts, Inodes, Op, Output, Release, Reply, Run,
    RunCommand, RunEnd, TransferSet,
};
use tagship::engine::executor::RetryingHosts;
use tagship::hosts::ssh::{
    DialSettings, Dialer, Keepalive, RsyncTransport, SshIdentity, SshTarget,
};
use tagship::hosts::ssh_host::SshHosts;
use tagship_tests::proxy::{Direction, Fault, Proxy};
use tagship_tests::sshd::Sshd;
use tagship_tests::until;

use crate::hostops::local_host::{Tree, digest_of, picture_of, quick_directory};

const HOUR: u64 = 1_700_000_000;

/// One server with some hosts, all on one file system.
pub(crate) struct Site {
    sshd: Sshd,
    directory: tempfile::TempDir,
}

impl Site {
    pub(crate) fn new(hosts: u8) -> Self {
        Self::on(Sshd::settings().hosts(hosts).start())
    }

    pub(crate) fn on(sshd: Sshd) -> Self {
        let directory = quick_directory();
        Self { sshd, directory }
    }

    pub(crate) fn target(&self, host: u8) -> SshTarget {
        SshTarget {
            name: format!("web{host}"),
            address: self.sshd.address(host).to_string(),
            port: self.sshd.port,
            user: self.sshd.user.clone(),
            identity: SshIdentity {
                file: self.sshd.identity(),
                passphrase_file: None,
            },
            known_hosts: self.sshd.known_hosts(&[]),
            jump: None,
        }
    }

    /// The hosts as they are reached directly.
    pub(crate) fn hosts(&self, count: u8) -> SshHosts {
        self.hosts_of((1..=count).map(|host| self.target(host)).collect())
    }

    /// One host, `web0`, behind a proxy, with operations retried as in the agent.
    fn host_behind(&self, proxy: &Proxy) -> RetryingHosts {
        let mut target = self.target(0);
        target.port = proxy.port();
        target.known_hosts = self.sshd.known_hosts(&[proxy.port()]);
        RetryingHosts {
            hosts: Arc::new(self.hosts_of(vec![target])),
            clock: Arc::new(SystemClock),
        }
    }

    pub(crate) fn hosts_of(&self, targets: Vec<SshTarget>) -> SshHosts {
        let dialer = Dialer::new(DialSettings {
            connect_timeout: Duration::from_secs(2),
            handshake_timeout: Duration::from_secs(5),
            refusal_patience: Duration::from_secs(5),
            keepalive: Keepalive {
                interval: Duration::from_millis(500),
                missed: 3,
            },
            ..DialSettings::default()
        });
        let transport = RsyncTransport {
            program: PathBuf::from(env!("CARGO_BIN_EXE_tagship")),
            runtime_dir: self.sshd.directory().join("run"),
            rsync: PathBuf::from("rsync"),
        };
        SshHosts::new(targets, dialer, transport)
    }

    pub(crate) fn path(&self, host: &str) -> PathBuf {
        self.directory.path().join(host).join("it's the shop")
    }

    pub(crate) fn place(&self, host: &str, fence: u64) -> DeployTarget {
        DeployTarget {
            deploy_to: self.path(host).to_str().unwrap().to_owned(),
            fence,
        }
    }

    pub(crate) fn live(&self, host: &str) -> String {
        let target = std::fs::read_link(self.path(host).join("current")).unwrap();
        target.file_name().unwrap().to_str().unwrap().to_owned()
    }
}

/// The log of a step.
#[derive(Default)]
struct Log {
    bytes: Mutex<Vec<u8>>,
    lines: Mutex<Vec<String>>,
}

impl Output for Log {
    fn write_at(&self, offset: u64, bytes: &[u8]) {
        let offset = usize::try_from(offset).unwrap();
        let mut all = self.bytes.lock().unwrap();
        let end = offset + bytes.len();
        if all.len() < end {
            all.resize(end, 0);
        }
        all[offset..end].copy_from_slice(bytes);
    }

    fn line(&self, text: &str) {
        self.lines.lock().unwrap().push(text.to_owned());
    }
}

impl Log {
    fn text(&self) -> String {
        String::from_utf8(self.bytes.lock().unwrap().clone()).unwrap()
    }
}

pub(crate) async fn ask(hosts: &dyn Hosts, host: &str, op: Op) -> Result<Reply, HostError> {
    hosts.perform(host, &op, &Log::default()).await
}

/// Prepare, transfer, seal; the files that were sent.
pub(crate) async fn stage(
    hosts: &dyn Hosts,
    host: &str,
    place: &DeployTarget,
    tree: &Tree,
    release: &Release,
    base: Option<(&Release, TransferSet, Vec<Vec<u8>>)>,
) -> Result<u64, HostError> {
    let (base, set, removed) = match base {
        Some((base, set, removed)) => (Some(base.clone()), set, removed),
        None => (None, TransferSet::Whole, vec![]),
    };
    let prepare = Op::Prepare {
        target: place.clone(),
        release: release.clone(),
        base,
        inodes: Inodes::Shared,
        removed,
        shared: vec!["log".into()],
        existing: Existing::Equal,
    };
    match ask(hosts, host, prepare).await? {
        Reply::Prepared { staged: true, .. } => return Ok(0),
        Reply::Prepared { .. } => {}
        other => panic!("{other:?}"),
    }
    let transfer = Op::Transfer {
        target: place.clone(),
        from: tree.path().to_owned(),
        set,
        inodes: Inodes::Shared,
    };
    let Reply::Transferred { files_sent, .. } = ask(hosts, host, transfer).await? else {
        panic!("a transfer ends otherwise");
    };
    let seal = Op::Seal {
        target: place.clone(),
        release: release.clone(),
        owner: None,
    };
    assert_eq!(ask(hosts, host, seal).await?, Reply::Sealed);
    Ok(files_sent)
}

pub(crate) async fn publish(
    hosts: &dyn Hosts,
    host: &str,
    place: &DeployTarget,
    release: &Release,
    key: &str,
) -> Result<Option<String>, HostError> {
    let deploy_to = place.deploy_to.clone();
    let state = match ask(hosts, host, Op::Inspect { deploy_to }).await? {
        Reply::Inspected(state) => state.releases,
        other => panic!("{other:?}"),
    };
    let op = Op::Publish {
        target: place.clone(),
        release: release.id.clone(),
        over: state.into_iter().map(|release| release.id).collect(),
        key: key.into(),
        existing: Existing::Equal,
    };
    match ask(hosts, host, op).await? {
        Reply::Published { was, .. } => Ok(was.map(|id| id.0)),
        other => panic!("{other:?}"),
    }
}

fn shell(key: &str, text: &str) -> Run {
    Run {
        key: key.into(),
        command: RunCommand::Shell(text.into()),
        directory: "/".into(),
        environment: BTreeMap::from([("TAG".to_owned(), "qa-'1'".to_owned())]),
        timeout: Duration::from_secs(60),
    }
}

fn small_tree() -> Tree {
    let tree = Tree::new();
    tree.file("a", "one", 0o644, HOUR)
        .file("ü b/c\nd", "x", 0o755, HOUR)
        .file("gone", "x", 0o644, HOUR)
        .link("l", "a");
    tree
}

#[tokio::test(flavor = "multi_thread")]
async fn releases_deploy_and_roll_back_on_several_hosts() {
    let site = Site::new(2);
    let hosts = site.hosts(2);
    let one = small_tree();
    let two = one.twin();
    two.file("a", "two", 0o644, HOUR + 60).without("gone");
    let (r1, r2) = (one.release("r1"), two.release("r2"));
    for host in ["web1", "web2"] {
        let place = site.place(host, 4);
        let sent = stage(&hosts, host, &place, &one, &r1, None).await.unwrap();
        assert_eq!(sent, 3);
        assert_eq!(publish(&hosts, host, &place, &r1, "1").await, Ok(None));
        let changed = TransferSet::Changed(vec![b"a".to_vec()]);
        let base = Some((&r1, changed, vec![b"gone".to_vec()]));
        let sent = stage(&hosts, host, &place, &two, &r2, base).await.unwrap();
        assert_eq!(sent, 1);
        assert_eq!(
            picture_of(&site.path(host).join("releases/r2")),
            picture_of(two.path())
        );
        let was = publish(&hosts, host, &place, &r2, "2").await;
        assert_eq!(was, Ok(Some("r1".into())));
        let was = publish(&hosts, host, &place, &r1, "2-back").await;
        assert_eq!(was, Ok(Some("r2".into())));
        assert_eq!(site.live(host), "r1");
        let prune = Op::Prune {
            target: place.clone(),
            keep: 3,
            protect: vec![],
            failed: vec![r2.id.clone()],
        };
        let deleted = vec![r2.id.clone()];
        assert_eq!(
            ask(&hosts, host, prune).await,
            Ok(Reply::Pruned {
                deleted,
                leftovers: vec![]
            })
        );
        let inspect = Op::Inspect {
            deploy_to: place.deploy_to,
        };
        let state = HostState {
            live: Some(r1.id.clone()),
            releases: vec![r1.clone()],
            fence: 4,
            ..HostState::default()
        };
        let mut found = ask(&hosts, host, inspect).await;
        if let Ok(Reply::Inspected(found)) = &mut found {
            assert!(found.changed.take().is_some(), "when the link was made");
        }
        assert_eq!(found, Ok(Reply::Inspected(state)));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn lost_fence_is_reported_by_every_operation() {
    let site = Site::new(1);
    let (stale, newer) = (site.hosts(1), site.hosts(1));
    let tree = small_tree();
    let (r1, r2) = (tree.release("r1"), tree.release("r2"));
    let (low, high) = (site.place("web1", 3), site.place("web1", 8));
    stage(&stale, "web1", &low, &tree, &r1, None).await.unwrap();
    let prepare = Op::Prepare {
        target: low.clone(),
        release: r2.clone(),
        base: None,
        inodes: Inodes::Shared,
        removed: vec![],
        shared: vec![],
        existing: Existing::Equal,
    };
    ask(&stale, "web1", prepare).await.unwrap();
    publish(&newer, "web1", &high, &r1, "8").await.unwrap();
    let transfer = Op::Transfer {
        target: low.clone(),
        from: tree.path().to_owned(),
        set: TransferSet::Whole,
        inodes: Inodes::Shared,
    };
    let run = Op::Run {
        target: low.clone(),
        run: shell("k", "true"),
    };
    let seal = Op::Seal {
        target: low.clone(),
        release: r2,
        owner: None,
    };
    for op in [transfer, seal, run] {
        let fenced = HostError::Fenced { ours: 3, held: 8 };
        assert_eq!(ask(&stale, "web1", op).await, Err(fenced));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn program_is_followed_queried_and_stopped() {
    let site = Site::new(1);
    let hosts = Arc::new(site.hosts(1));
    let place = site.place("web1", 1);
    std::fs::create_dir_all(site.path("web1")).unwrap();
    let log = Log::default();
    let op = Op::Run {
        target: place.clone(),
        run: shell(
            "k-1",
            "echo \"$TAG\"; echo A=1 >>\"$TAGSHIP_OUTPUT\"; exit 3",
        ),
    };
    let values = BTreeMap::from([("A".to_owned(), "1".to_owned())]);
    let end = RunEnd::Ended { code: 3, values };
    assert_eq!(
        hosts.perform("web1", &op, &log).await,
        Ok(Reply::Run(end.clone()))
    );
    assert_eq!(log.text(), "qa-'1'\n");
    let result = |key: &str| Op::RunResult {
        deploy_to: place.deploy_to.clone(),
        key: key.into(),
    };
    assert_eq!(
        ask(&*hosts, "web1", result("k-1")).await,
        Ok(Reply::Run(end))
    );
    assert_eq!(
        ask(&*hosts, "web1", result("k-2")).await,
        Ok(Reply::Run(RunEnd::NotBegun))
    );

    let up = site.path("web1").with_file_name("up");
    let run = shell(
        "k-2",
        &format!("trap '' TERM; : >'{}'; sleep 300; sleep 300", up.display()),
    );
    let op = Op::Run {
        target: place.clone(),
        run,
    };
    let running = tokio::spawn({
        let hosts = Arc::clone(&hosts);
        async move { ask(&*hosts, "web1", op).await }
    });
    assert!(until(|| up.exists()));
    assert_eq!(
        ask(&*hosts, "web1", result("k-2")).await,
        Ok(Reply::Run(RunEnd::Running))
    );
    let kill = Op::Kill {
        deploy_to: place.deploy_to.clone(),
        key: "k-2".into(),
    };
    assert_eq!(ask(&*hosts, "web1", kill).await, Ok(Reply::Killed));
    let end = RunEnd::Ended {
        code: 137,
        values: BTreeMap::new(),
    };
    assert_eq!(running.await.unwrap(), Ok(Reply::Run(end)));
}

#[tokio::test(flavor = "multi_thread")]
async fn program_with_cut_connections_runs_once_without_loss() {
    let site = Site::new(0);
    let proxy = Proxy::start(site.sshd.socket(), Fault::None);
    let hosts = Arc::new(site.host_behind(&proxy));
    let place = site.place("web0", 1);
    std::fs::create_dir_all(site.path("web0")).unwrap();
    let marks = site.path("web0").with_file_name("marks");
    let gate = |number: usize| site.path("web0").with_file_name(format!("gate-{number}"));
    let text = format!(
        "echo begun >>'{}'; for n in 1 2 3; do echo line $n; until [ -e '{}'$n ]; do sleep 0.02; done; done; exit 9",
        marks.display(),
        gate(0).display().to_string().trim_end_matches('0'),
    );
    let log = Arc::new(Log::default());
    let op = Op::Run {
        target: place,
        run: shell("k", &text),
    };
    let running = tokio::spawn({
        let (hosts, log) = (Arc::clone(&hosts), Arc::clone(&log));
        async move { hosts.perform("web0", &op, &*log).await }
    });
    for number in 1..=3 {
        let seen = format!("line {number}\n");
        assert!(
            until(|| log.text().ends_with(&seen)),
            "{number}: {:?}",
            log.text()
        );
        proxy.cut();
        std::fs::write(gate(number), "").unwrap();
    }
    let end = RunEnd::Ended {
        code: 9,
        values: BTreeMap::new(),
    };
    assert_eq!(running.await.unwrap(), Ok(Reply::Run(end)));
    assert_eq!(log.text(), "line 1\nline 2\nline 3\n");
    assert_eq!(std::fs::read_to_string(marks).unwrap(), "begun\n");
}

/// Closes open connections once so many bytes have passed.
fn cut_after(proxy: &Arc<Proxy>, direction: Direction, bytes: u64) -> Arc<AtomicBool> {
    let over = Arc::new(AtomicBool::new(false));
    let (proxy, ended) = (Arc::clone(proxy), Arc::clone(&over));
    std::thread::spawn(move || {
        while proxy.passed(direction) < bytes {
            if ended.load(Ordering::SeqCst) {
                return;
            }
            std::thread::yield_now();
        }
        proxy.cut();
    });
    over
}

/// A release whose connection is cut at some byte is complete, or nothing has changed and the next
/// try completes it.
#[tokio::test(flavor = "multi_thread")]
async fn a_release_survives_a_cut_at_any_byte() {
    let site = Site::new(0);
    let one = small_tree();
    one.file("large", &"0123456789abcdef".repeat(20_000), 0o644, HOUR);
    let two = one.twin();
    two.file(
        "large",
        &"fedcba9876543210".repeat(20_000),
        0o644,
        HOUR + 60,
    )
    .without("gone");
    let (r1, r2) = (one.release("r1"), two.release("r2"));
    let mut cuts = 0;
    for step in 0..14_u64 {
        let host = format!("round{step}");
        let proxy = Arc::new(Proxy::start(site.sshd.socket(), Fault::None));
        let hosts = site.host_behind(&proxy);
        let place = site.place(&host, 1);
        std::fs::create_dir_all(site.path(&host)).unwrap();
        stage(&hosts, "web0", &place, &one, &r1, None)
            .await
            .unwrap();
        publish(&hosts, "web0", &place, &r1, "1").await.unwrap();

        let direction =
            [Direction::ToServer, Direction::ToClient][usize::try_from(step % 2).unwrap()];
        let span = if direction == Direction::ToServer {
            60_000
        } else {
            900
        };
        let over = cut_after(
            &proxy,
            direction,
            proxy.passed(direction) + 1 + step / 2 * span,
        );
        let changed = TransferSet::Changed(vec![b"large".to_vec()]);
        let base = || Some((&r1, changed.clone(), vec![b"gone".to_vec()]));
        let mut staged = stage(&hosts, "web0", &place, &two, &r2, base()).await;
        if staged.is_err() {
            cuts += 1;
            assert_eq!(site.live(&host), "r1");
            staged = stage(&hosts, "web0", &place, &two, &r2, base()).await;
        }
        staged.unwrap();
        let was = publish(&hosts, "web0", &place, &r2, "2").await;
        assert_eq!(was, Ok(Some("r1".into())), "{step}");
        over.store(true, Ordering::SeqCst);
        let digest = |name: &str| digest_of(&site.path(&host).join("releases").join(name));
        assert_eq!(
            (digest("r1"), digest("r2")),
            (r1.digest.clone(), r2.digest.clone())
        );
    }
    assert!(cuts < 7, "what may be repeated is repeated: {cuts}");
}

#[tokio::test(flavor = "multi_thread")]
async fn noisy_login_shell_breaks_no_operation() {
    let noisy = Sshd::settings()
        .line("ForceCommand echo 'Welcome! refused done'; printf 'no newline'; exec sh -c \"$SSH_ORIGINAL_COMMAND\"")
        .start();
    let site = Site::on(noisy);
    let hosts = site.hosts_of(vec![site.target(0)]);
    let inspect = |path: &Path| Op::Inspect {
        deploy_to: path.to_str().unwrap().to_owned(),
    };
    let path = site.path("web0");
    assert_eq!(
        ask(&hosts, "web0", inspect(&path)).await,
        Ok(Reply::Inspected(HostState::default()))
    );
}

/// rsync's data begins after the marker, whatever a login prints on either output.
#[tokio::test(flavor = "multi_thread")]
async fn login_that_prints_does_not_break_a_release() {
    let says = "echo Welcome; head -c 300000 /dev/zero | tr '\\000' x; echo 'rsync: not found' >&2";
    let joined = "exec 2>&1; echo mind the step";
    for noise in [
        says,
        "printf 'no newline'",
        "echo mind the step >&2",
        joined,
    ] {
        let line = format!("ForceCommand {noise}; exec sh -c \"$SSH_ORIGINAL_COMMAND\"");
        let site = Site::on(Sshd::settings().line(&line).start());
        let hosts = site.hosts_of(vec![site.target(0)]);
        let tree = small_tree();
        let release = tree.release("r1");
        let place = site.place("web0", 1);
        stage(&hosts, "web0", &place, &tree, &release, None)
            .await
            .unwrap();
        publish(&hosts, "web0", &place, &release, "1")
            .await
            .unwrap();
        let stood = site.path("web0").join("current/.");
        assert_eq!(picture_of(&stood), picture_of(tree.path()), "{noise}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn endless_login_output_is_reported() {
    let line = "ForceCommand yes; exec sh -c \"$SSH_ORIGINAL_COMMAND\"";
    let site = Site::on(Sshd::settings().line(line).start());
    let hosts = site.hosts_of(vec![site.target(0)]);
    let place = site.place("web0", 1);
    let tree = small_tree();
    let inspect = Op::Inspect {
        deploy_to: place.deploy_to.clone(),
    };
    let transfer = Op::Transfer {
        target: place,
        from: tree.path().to_owned(),
        set: TransferSet::Whole,
        inodes: Inodes::Shared,
    };
    for op in [inspect, transfer] {
        let label = op.label();
        let Err(HostError::Refused(why)) = ask(&hosts, "web0", op).await else {
            panic!("{label}: an endless login is no answer");
        };
        assert!(why.contains(".bashrc"), "{label}: {why}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_that_is_down_was_not_reached() {
    let site = Site::new(0);
    let mut target = site.target(0);
    target.port = tagship_tests::sshd::free_port();
    let hosts = site.hosts_of(vec![target]);
    let inspect = || Op::Inspect {
        deploy_to: "/srv/shop".into(),
    };
    for host in ["web0", "no-such-host"] {
        let answer = ask(&hosts, host, inspect()).await;
        assert!(
            matches!(answer, Err(HostError::NotReached(_))),
            "{answer:?}"
        );
    }
}
