//! How git is run: over ssh, HTTP and paths, within limits, and without the settings of other
//! users.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::process::Command;
use std::sync::mpsc;
use std::time::Duration;

use tagship::git::checkout::{Checkout, MirrorCheckout};
use tagship::git::landing::{self, GitSource, LandingError, Relation, RemoteFailure, RemoteRef};
use tagship_tests::git::output_of;
use tagship_tests::sshd::{Kind, Sshd, make_key};
use tokio::io::AsyncReadExt;

use crate::mirror::{Mirrored, unpack, wanted};

/// How many processes show `text` in their arguments.
fn processes_with(text: &str) -> usize {
    let shows = |item: &fs::DirEntry| {
        let bytes = fs::read(item.path().join("cmdline")).unwrap_or_default();
        String::from_utf8_lossy(&bytes)
            .replace('\0', " ")
            .contains(text)
    };
    fs::read_dir("/proc")
        .unwrap()
        .flatten()
        .filter(shows)
        .count()
}

fn refs() -> Vec<String> {
    vec!["refs/tags/v1".to_owned()]
}

type Call = tokio::task::JoinHandle<Result<Vec<RemoteRef>, LandingError>>;

/// Queries a server that accepts connections and never answers. Returns the running call and ssh's
/// connection.
async fn ask_silence(timeout: Duration) -> (Call, tokio::net::TcpStream) {
    let world = Mirrored::new();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let mut source = world.source.clone();
    source.git_url = format!("ssh://alice@127.0.0.1:{port}/shop.git");
    source.timeouts.ls_remote = timeout;
    let call = tokio::spawn(async move { landing::ls_remote(&source, &refs()).await });
    let (connection, _) = listener.accept().await.unwrap();
    (call, connection)
}

/// The kernel closes the connection of a process that ends.
async fn ssh_ends(mut connection: tokio::net::TcpStream) {
    let mut said = Vec::new();
    let read = connection.read_to_end(&mut said);
    let ended = tokio::time::timeout(Duration::from_secs(10), read).await;
    let _ = ended.expect("ssh is still running");
}

#[tokio::test]
async fn silent_git_server_times_out_and_leaves_no_process() {
    let (call, connection) = ask_silence(Duration::from_secs(3)).await;
    let error = call.await.unwrap().unwrap_err();
    assert!(matches!(error, LandingError::TimedOut { .. }), "{error}");
    assert!(error.is_transient());
    ssh_ends(connection).await;
}

#[tokio::test]
async fn a_call_that_is_dropped_ends_git_and_ssh() {
    let (call, connection) = ask_silence(Duration::from_secs(600)).await;
    call.abort();
    ssh_ends(connection).await;
}

#[tokio::test]
async fn a_repository_of_another_user_can_be_fetched() {
    if !rustix::process::geteuid().is_root() {
        return;
    }
    let mut world = Mirrored::new();
    let commit = world.tree().commit_files("first", &[("a", "1")]);
    world.release("v1", &commit);
    let mut chown = Command::new("chown");
    output_of(chown.args(["-R", "65534:65534"]).arg(&world.repo().path));
    for url in [world.repo().url(), world.repo().path.display().to_string()] {
        world.source.git_url = url;
        let found = landing::ls_remote(&world.source, &refs()).await.unwrap();
        assert_eq!(found[0].object, commit);
        world.land("v1", &commit, 1).await.unwrap();
    }
}

#[tokio::test]
async fn leftovers_of_a_killed_fetch_are_removed() {
    let world = Mirrored::new();
    let commit = world.tree().commit_files("first", &[("a", "1")]);
    world.release("v1", &commit);
    world.land("v1", &commit, 1).await.unwrap();
    let mirror = &world.source.mirror;
    let left = [
        "packed-refs.lock",
        "refs/tagship/last.lock",
        "refs/tagship/tasks/2.lock",
        "refs/tagship/incoming/2.lock",
        "objects/pack/tmp_pack_abc",
    ];
    // Killed between the fetch and the comparison.
    world.in_mirror(&["update-ref", "refs/tagship/incoming/2", &commit]);
    for name in left {
        fs::create_dir_all(mirror.join(name).parent().unwrap()).unwrap();
        fs::write(mirror.join(name), "half").unwrap();
    }
    let second = world.tree().commit_files("second", &[("a", "2")]);
    world.release("v2", &second);
    world.land("v2", &second, 2).await.unwrap();
    for name in left {
        assert!(!mirror.join(name).exists(), "{name}");
    }
    let refs = world.in_mirror(&[
        "for-each-ref",
        "--format=%(refname)",
        "refs/tagship/incoming",
    ]);
    assert_eq!(refs, "");
}

#[tokio::test]
async fn fetches_into_one_mirror_are_serialized() {
    let world = Mirrored::new();
    let commit = world.tree().commit_files("first", &[("a", "1")]);
    world.release("v1", &commit);
    let fetches = (0..6).map(|task| world.land("v1", &commit, task));
    for landed in futures::future::join_all(fetches).await {
        landed.unwrap();
    }
    let lock = fs::File::open(world.source.mirror.join("tagship.lock")).unwrap();
    rustix::fs::flock(&lock, rustix::fs::FlockOperation::LockExclusive).unwrap();
    let error = world.land("v1", &commit, 7).await.unwrap_err();
    assert!(matches!(error, LandingError::Busy(_)), "{error}");
}

#[tokio::test]
async fn damaged_mirror_is_reported_and_deleted_one_recreated() {
    let world = Mirrored::new();
    let commit = world.tree().commit_files("first", &[("a", "1")]);
    world.release("v1", &commit);
    world.land("v1", &commit, 1).await.unwrap();
    fs::remove_file(world.source.mirror.join("HEAD")).unwrap();
    let error = world.land("v1", &commit, 1).await.unwrap_err();
    assert!(matches!(error, LandingError::Mirror { .. }), "{error}");
    fs::remove_dir_all(&world.source.mirror).unwrap();
    world.land("v1", &commit, 1).await.unwrap();
    assert_eq!(world.describe("v1", &commit, &[]).commit, commit);
}

/// Overwrites the second half of an object in the mirror, as a failing disk might.
fn damage(world: &Mirrored, object: &str) {
    unpack(&world.source.mirror);
    let file = world.source.mirror.join("objects");
    let file = file.join(&object[..2]).join(&object[2..]);
    let mut bytes = fs::read(&file).unwrap();
    let half = bytes.len() / 2;
    for byte in &mut bytes[half..] {
        *byte ^= 0xff;
    }
    fs::remove_file(&file).unwrap();
    fs::write(&file, bytes).unwrap();
}

#[tokio::test]
async fn damaged_mirror_is_created_again_by_the_next_fetch() {
    let world = Mirrored::new();
    let first = world
        .tree()
        .commit_files("first", &[("a", "1"), ("d/b", "2")]);
    for (number, revision) in ["", "^{tree}"].into_iter().enumerate() {
        let tag = format!("v{number}");
        let next = world.tree().commit_files(&tag, &[("a", tag.as_str())]);
        world.release(&tag, &next);
        world.land(&tag, &next, 1).await.unwrap();
        damage(&world, &world.tree().resolve(&format!("{first}{revision}")));
        let error = world.try_describe(&tag, &next, &[&first]).unwrap_err();
        let text = error.to_string();
        assert!(text.contains("the next fetch creates it again"), "{text}");
        assert!(error.is_transient(), "{text}");
        world.land(&tag, &next, 1).await.unwrap();
        let described = world.describe(&tag, &next, &[&first]);
        let commits = number as u64 + 1;
        assert_eq!(
            described.comparisons[0].relation,
            Relation::Ahead { commits }
        );
    }
}

#[tokio::test]
async fn checkout_of_a_damaged_mirror_succeeds_after_a_fetch() {
    let world = Mirrored::new();
    let commit = world
        .tree()
        .commit_files("first", &[("a", "1"), ("d/b", "2")]);
    world.release("v1", &commit);
    world.land("v1", &commit, 1).await.unwrap();
    let request = || world.request(&commit);
    let manifest = MirrorCheckout.plan(request()).await.unwrap();
    let write = || async {
        let (mirror, dir) = (world.source.mirror.clone(), world.path("tree"));
        MirrorCheckout.write(mirror, manifest.clone(), dir).await
    };
    damage(&world, &world.tree().resolve("HEAD:d"));
    let error = MirrorCheckout.plan(request()).await.unwrap_err();
    assert!(error.is_missing(), "{error}");
    world.land("v1", &commit, 1).await.unwrap();
    assert_eq!(MirrorCheckout.plan(request()).await.unwrap(), manifest);

    damage(&world, &world.tree().resolve("HEAD:d/b"));
    let error = write().await.unwrap_err();
    assert!(error.is_missing(), "{error}");
    world.land("v1", &commit, 1).await.unwrap();
    write().await.unwrap();
    let written = std::fs::read_to_string(world.path("tree").join("d/b"));
    assert_eq!(written.unwrap(), "2");
}

/// Answers one HTTP request with 401. Returns its head, and what `ps` shows meanwhile.
fn http_once(secret: &'static str) -> (u16, mpsc::Receiver<(String, usize)>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let (send, receive) = mpsc::channel();
    std::thread::spawn(move || {
        let (stream, _) = listener.accept().unwrap();
        let head = head_of(&stream);
        let shown = processes_with(secret);
        let mut stream = stream;
        let answer = "HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
        stream.write_all(answer.as_bytes()).unwrap();
        send.send((head, shown)).unwrap();
    });
    (port, receive)
}

fn head_of(stream: &TcpStream) -> String {
    let lines = BufReader::new(stream).lines().map(Result::unwrap);
    lines
        .take_while(|line| !line.is_empty())
        .collect::<Vec<_>>()
        .join("\n")
}

#[tokio::test]
async fn a_token_travels_in_a_header_and_is_shown_nowhere() {
    const BASIC: &str = "b2F1dGgyOnMzY3JldC10b2tlbg==";
    let mut world = Mirrored::new();
    let (port, heads) = http_once(BASIC);
    let token = world.path("token");
    fs::write(&token, "s3cret-token\n").unwrap();
    world.source.git_url = format!("http://127.0.0.1:{port}/shop.git");
    world.source.token_file = Some(token.clone());
    let error = landing::ls_remote(&world.source, &refs())
        .await
        .unwrap_err();
    let (head, shown) = heads.recv_timeout(Duration::from_secs(10)).unwrap();
    assert!(
        head.contains(&format!("Authorization: Basic {BASIC}")),
        "{head}"
    );
    assert_eq!(shown, 0, "in the arguments of a process");
    let LandingError::Remote { failure, .. } = &error else {
        panic!("{error}");
    };
    assert_eq!(*failure, RemoteFailure::Credentials, "{error}");
    let text = format!("{error} {error:?}");
    assert!(!text.contains("s3cret") && !text.contains(BASIC), "{text}");
    fs::remove_file(token).unwrap();
    let error = landing::ls_remote(&world.source, &refs())
        .await
        .unwrap_err();
    assert!(matches!(error, LandingError::File { .. }), "{error}");
}

#[tokio::test]
async fn other_transports_are_refused_before_git_starts() {
    let mut world = Mirrored::new();
    let mark = world.path("mark");
    for url in [
        format!("ext::touch {}", mark.display()),
        format!("ext::sh -c touch% {}", mark.display()),
        format!("--upload-pack=touch {}", mark.display()),
        "relative.git".to_owned(),
    ] {
        world.source.git_url = url;
        let error = landing::ls_remote(&world.source, &refs())
            .await
            .unwrap_err();
        assert!(matches!(error, LandingError::Url { .. }), "{error}");
    }
    assert!(!mark.exists());
}

/// The repository over ssh, with a key and a list of host keys whose names need quotes.
fn over_ssh(world: &Mirrored, sshd: &Sshd) -> GitSource {
    let path = world.repo().path.display();
    let mut source = world.source.clone();
    source.git_url = format!("ssh://{}@127.0.0.1:{}{path}", sshd.user, sshd.port);
    source.identity = Some(world.path("ssh d/alice's 100% key"));
    source.known_hosts = world.path("ssh d/known hosts");
    source
}

#[tokio::test]
async fn ssh_uses_only_configured_keys_and_host_keys() {
    let world = Mirrored::new();
    let commit = world.tree().commit_files("first", &[("a", "1")]);
    world.release("v1", &commit);
    let sshd = Sshd::settings()
        .line("PasswordAuthentication no")
        .line("KbdInteractiveAuthentication no")
        .start();
    let mut source = over_ssh(&world, &sshd);
    fs::create_dir(world.path("ssh d")).unwrap();
    for name in ["alice's 100% key", "other"] {
        make_key(&world.path("ssh d").join(name), Kind::Ed25519, "");
    }
    sshd.authorize(&world.path("ssh d/alice's 100% key.pub"));
    let failure = |error: LandingError| match error {
        LandingError::Remote { failure, .. } => failure,
        other => panic!("{other}"),
    };
    let error = landing::ls_remote(&source, &refs()).await.unwrap_err();
    let file = source.known_hosts.display().to_string();
    for part in [file.as_str(), "[git] known_hosts", "ssh-keyscan"] {
        assert!(error.to_string().contains(part), "no {part:?} in {error}");
    }
    assert_eq!(failure(error), RemoteFailure::HostKey);

    fs::copy(sshd.known_hosts(&[]), &source.known_hosts).unwrap();
    let found = landing::ls_remote(&source, &refs()).await.unwrap();
    assert_eq!(found[0].object, commit);
    let wanted = wanted("v1", &commit, 1);
    landing::fetch(&source, &wanted, &|_| {}).await.unwrap();

    source.identity = Some(world.path("ssh d/other"));
    let error = landing::ls_remote(&source, &refs()).await.unwrap_err();
    assert!(error.to_string().contains("[git] identity"), "{error}");
    assert_eq!(failure(error), RemoteFailure::Credentials);
}
