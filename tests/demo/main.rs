//! `tagship demo`, the real program with the real hook, as a new user runs it. What a demo
//! leaves behind becomes a child of this process, and it must have no other: these tests have a
//! process of their own.

#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::net::TcpStream;
use std::process::{Child, ChildStdout, Command, Output, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};

use rustix::process::{Pid, Signal, WaitOptions, kill_process, set_child_subreaper, wait};
use tagship_tests::{hook, until};

/// One demo at a time: what one leaves behind becomes a child of this process, and must not be taken
/// for another's.
static PORT_LOCK: Mutex<()> = Mutex::new(());

/// An empty directory in which a demo runs, with a home of its own beside it.
struct Place {
    directory: tempfile::TempDir,
    _guard: MutexGuard<'static, ()>,
}

impl Place {
    fn new() -> Self {
        let guard = PORT_LOCK.lock().unwrap_or_else(PoisonError::into_inner);
        hook::hook_program();
        set_child_subreaper(Some(rustix::process::getpid())).unwrap();
        let directory = tempfile::tempdir().unwrap();
        for name in ["here", "home", "tmp"] {
            fs::create_dir(directory.path().join(name)).unwrap();
        }
        Self {
            directory,
            _guard: guard,
        }
    }

    fn demo(&self) -> Command {
        let path = self.directory.path();
        let mut command = Command::new(env!("CARGO_BIN_EXE_tagship"));
        command
            .args(["demo", "--auto", "--hook"])
            .arg(hook::hook_program())
            .current_dir(path.join("here"))
            .env("HOME", path.join("home"))
            .env("TMPDIR", path.join("tmp"))
            // No other agent is queried.
            .env("TAGSHIP_URL", "http://127.0.0.1:9")
            .env("TAGSHIP_TOKEN", "none")
            .env("GIT_DIR", "/nowhere")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }

    fn names(&self, below: &str) -> Vec<String> {
        let entries = fs::read_dir(self.directory.path().join(below)).unwrap();
        let mut names: Vec<String> = entries
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    /// Nothing runs or listens any more, and all written files are below `var/`.
    #[track_caller]
    fn assert_clean(&self, said: &str) {
        assert_eq!(children(), Vec::<String>::new());
        for address in addresses(said) {
            assert!(TcpStream::connect(&address).is_err(), "{address} answers");
        }
        assert_eq!(self.names("here"), ["var"]);
        assert_eq!(self.names("here/var"), ["demo", "demo.lock"]);
        assert_eq!(self.names("home"), Vec::<String>::new());
        assert_eq!(self.names("tmp"), Vec::<String>::new());
    }
}

/// The addresses of the page and the hosts, as printed by the demo.
fn addresses(said: &str) -> Vec<String> {
    let after = |mark: &str| {
        let (_, rest) = said.split_once(mark)?;
        Some(rest.lines().next()?.to_owned())
    };
    let mut found = Vec::new();
    found.extend(after("lib: http://"));
    if let Some(port) = after(", port ") {
        found.extend((1..=3).map(|host| format!("127.0.1.{host}:{port}")));
    }
    found
}

/// The processes of which this one is the parent: what a demo left behind is among them.
fn children() -> Vec<String> {
    while matches!(wait(WaitOptions::NOHANG), Ok(Some(_))) {}
    let own = std::process::id().to_string();
    let entries = fs::read_dir("/proc").unwrap().flatten();
    entries
        .filter_map(|entry| fs::read_to_string(entry.path().join("stat")).ok())
        .filter(|stat| {
            let (_, rest) = stat.rsplit_once(')').unwrap();
            rest.split_whitespace().nth(1) == Some(&own)
        })
        .collect()
}

/// Returns the production version of each host, from the table with `before` tables after it.
fn production(said: &str, before: usize) -> Vec<String> {
    let lines: Vec<&str> = said.lines().collect();
    let headings = lines.iter().enumerate();
    let headings = headings.filter(|(_, line)| line.contains("PRODUCTION SERVES"));
    let (heading, _) = headings.rev().nth(before).unwrap();
    let rows = lines[heading + 1..heading + 4].iter();
    rows.map(|row| {
        let cells: Vec<&str> = row.split("  ").filter(|cell| !cell.is_empty()).collect();
        let version = cells[2].trim().split(' ').next().unwrap();
        format!("{} {version}", cells[0].trim())
    })
    .collect()
}

fn all(version: &str) -> Vec<String> {
    ["web1", "web2", "web3"]
        .map(|host| format!("{host} {version}"))
        .to_vec()
}

fn text(output: &Output) -> (String, String) {
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    (text(&output.stdout), text(&output.stderr))
}

#[test]
fn demo_releases_rolls_back_and_leaves_only_var() {
    let place = Place::new();
    let output = place.demo().output().unwrap();
    let (said, complained) = text(&output);
    assert!(output.status.success(), "{said}{complained}");
    assert_eq!(complained, "");

    let story: Vec<_> = (0..7)
        .rev()
        .map(|before| production(&said, before))
        .collect();
    // qa-1.0; release-1.0, approved; release-2.0, approved; back, approved.
    let versions = ["nothing", "nothing", "1.0", "1.0", "2.0", "2.0", "1.0"];
    assert_eq!(story, versions.map(all), "{said}");
    assert!(said.contains("REMOVES 1 commit"), "{said}");

    // The files equal the table.
    for host in ["web1", "web2", "web3"] {
        for environment in ["qa", "production"] {
            let shop = format!("here/var/demo/hosts/{host}/shop/{environment}/current");
            let shop = place.directory.path().join(shop);
            assert_eq!(fs::read_to_string(shop.join("version")).unwrap(), "1.0\n");
            let home = fs::read_to_string(shop.join("home.html")).unwrap();
            assert!(home.contains("Shop 1.0"), "{home}");
        }
    }
    assert_eq!(addresses(&said).len(), 4, "{said}");
    place.assert_clean(&said);
}

/// Reads up to the line with these words.
fn read_to(words: &str, from: &mut BufReader<ChildStdout>, said: &mut String) {
    while !said.contains(words) {
        assert_ne!(from.read_line(said).unwrap(), 0, "{said}");
    }
}

fn signal(child: &Child, signal: Signal) {
    let pid = Pid::from_raw(i32::try_from(child.id()).unwrap()).unwrap();
    kill_process(pid, signal).unwrap();
}

#[test]
fn interrupted_demo_stops_its_services() {
    let place = Place::new();
    let mut demo = place.demo().spawn().unwrap();
    let mut stdout = BufReader::new(demo.stdout.take().unwrap());
    let mut said = String::new();
    // The hosts run steps then.
    read_to("approve 2 --wait", &mut stdout, &mut said);
    signal(&demo, Signal::INT);
    stdout.read_to_string(&mut said).unwrap();
    let output = demo.wait_with_output().unwrap();
    let (_, complained) = text(&output);
    assert_eq!(output.status.code(), Some(1), "{said}{complained}");
    assert!(complained.contains("interrupted"), "{complained}");
    place.assert_clean(&said);
}

#[test]
fn killed_demo_ends_its_services_and_locks_until_then() {
    let place = Place::new();
    let mut demo = place.demo().spawn().unwrap();
    let mut stdout = BufReader::new(demo.stdout.take().unwrap());
    let mut said = String::new();
    read_to("Two people", &mut stdout, &mut said);

    let second = place.demo().output().unwrap();
    let (_, complained) = text(&second);
    assert_eq!(second.status.code(), Some(1));
    assert!(complained.contains("another demo runs in "), "{complained}");

    signal(&demo, Signal::KILL);
    demo.wait().unwrap();
    let gone = until(|| children().is_empty());
    assert!(gone, "{:?}", children());
    place.assert_clean(&said);
}

#[test]
fn directory_name_needing_quotes_is_refused_first() {
    let place = Place::new();
    let odd = place.directory.path().join("here/a b");
    fs::create_dir(&odd).unwrap();
    let output = place.demo().current_dir(&odd).output().unwrap();
    let (_, complained) = text(&output);
    assert_eq!(output.status.code(), Some(1));
    assert!(
        complained.contains("start the demo in a directory"),
        "{complained}"
    );
    assert_eq!(place.names("here/a b"), Vec::<String>::new());
}
