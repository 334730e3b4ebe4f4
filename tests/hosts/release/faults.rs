//! Faults of a real network and real disks, one in each test. The task fails with place and remedy,
//! nothing is switched, and a retry succeeds after the repair.

use std::fs;
use std::net::SocketAddr;
use std::path::PathBuf;

use tagship_tests::program::script;
use tagship_tests::proxy::{Fault, Proxy};
use tagship_tests::sshd::{Kind, free_port, make_key};
use tagship_tests::world::Settings;

use crate::disk::Disk;
use crate::stage::{HOSTS, Stage, Start as _};

/// An environment whose second host gets the fault.
fn with_host(lines: &str) -> Settings {
    Settings::default()
        .more(&format!("[hosts.other]\n{lines}"))
        .group("odd = ['web1', 'other', 'web3']")
        .environment("qa", "qa-", "group = 'odd'\n--\nschedule = 'ready'")
}

fn with_three() -> Settings {
    Settings::default().environment("qa", "qa-", "--\nschedule = 'ready'")
}

const ODD: [&str; 3] = ["web1", "other", "web3"];

/// Releases, breaks something, fails to release, repairs it, retries.
fn survives(
    stage: &Stage,
    hosts: &[&str],
    words: &[&str],
    break_it: impl FnOnce(),
    mend: impl FnOnce(),
) {
    let large = "0123456789abcdef".repeat(20_000);
    stage.release("qa-1", &[("index.html", "one\n"), ("same", "same\n")]);
    stage.assert_live(hosts, "qa", "qa-1");
    let before: Vec<Option<PathBuf>> = hosts.iter().map(|host| stage.live(host, "qa")).collect();
    break_it();
    let id = stage.propose("qa-2", &[("index.html", "two\n"), ("large", &large)]);
    let task = stage.api.at_rest(id);
    assert_eq!(task["state"], "failed", "{task:#}");
    let detail = task["detail"].as_str().unwrap();
    for word in words {
        assert!(detail.contains(word), "{word} is missing in: {detail}");
    }
    eprintln!("told: {detail}");
    for (host, before) in hosts.iter().zip(&before) {
        let live = stage.live(host, "qa");
        assert!(
            live.is_none() || live == *before,
            "{host} was switched: {live:?}"
        );
    }
    mend();
    stage.api.retry(id);
    stage.api.until_state(id, "succeeded");
    stage.assert_live(hosts, "qa", "qa-2");
    let third = stage.release("qa-3", &[("index.html", "three\n")]);
    assert_eq!(third["live_before"][hosts[1]], task["release"]);
    stage.assert_live(hosts, "qa", "qa-3");
}

#[test]
fn a_host_that_cannot_be_reached_is_named_and_retried() {
    let port = free_port();
    let address = SocketAddr::from(([127, 0, 0, 1], port));
    let stage = with_host(&format!("address = '127.0.0.1'\nport = {port}"))
        .port(port)
        .start();
    let mut proxy = Some(Proxy::start_at(address, stage.sshd().socket(), Fault::None));
    let mut again = None;
    let words = ["other", "cannot reach", "check that the host is up"];
    survives(
        &stage,
        &ODD,
        &words,
        || drop(proxy.take()),
        || again = Some(Proxy::start_at(address, stage.sshd().socket(), Fault::None)),
    );
    drop(again);
}

#[test]
fn a_key_file_that_is_missing_is_named_and_retried() {
    let stage = with_host("address = '127.0.1.2'\nidentity = 'key2'").start_with(|root| {
        fs::copy(root.join("key"), root.join("key2")).unwrap();
    });
    let (key, away) = (stage.path("key2"), stage.path("away"));
    let words = ["other", "key2", "there is no key"];
    survives(
        &stage,
        &ODD,
        &words,
        || fs::rename(&key, &away).unwrap(),
        || fs::rename(&away, &key).unwrap(),
    );
}

#[test]
fn changed_host_key_stops_the_task_before_sending() {
    let stage = with_three().start();
    let file = stage.path("known_hosts");
    let good = fs::read_to_string(&file).unwrap();
    let other = stage.path("other_key");
    make_key(&other, Kind::Ed25519, "");
    let public = fs::read_to_string(other.with_extension("pub")).unwrap();
    let of_web2 = format!("[127.0.1.2]:{}", stage.sshd().port);
    let changed: String = good
        .lines()
        .map(|line| match line.starts_with(&of_web2) {
            true => format!("{of_web2} {public}"),
            false => format!("{line}\n"),
        })
        .collect();
    let words = ["web2", "CHANGED", "tagship hosts enroll web2"];
    survives(
        &stage,
        &HOSTS,
        &words,
        || fs::write(&file, changed).unwrap(),
        || fs::write(&file, &good).unwrap(),
    );
}

#[test]
fn partial_rsync_is_never_published() {
    let stage = with_three()
        .sshd("SetEnv PATH={DIR}/bin:/usr/local/bin:/usr/bin:/bin")
        .start();
    let broken = stage.path("broken");
    script(
        &stage.path("bin/rsync"),
        &format!(
            "#!/bin/sh\nPATH=/usr/local/bin:/usr/bin:/bin\ncase $SSH_CONNECTION in\n\
             *' 127.0.1.2 '*) if [ -e {0} ]; then rsync \"$@\"; exit 23; fi ;;\nesac\nexec rsync \"$@\"\n",
            broken.display()
        ),
    );
    let words = ["web2", "rsync ended with 23", "mend what rsync names"];
    survives(
        &stage,
        &HOSTS,
        &words,
        || fs::write(&broken, "").unwrap(),
        || fs::remove_file(&broken).unwrap(),
    );
}

#[test]
fn a_real_directory_at_current_is_left_alone_and_named() {
    let stage = with_three().start();
    let current = stage.place("web2", "qa").join("current");
    let away = stage.path("away");
    let words = ["web2", "current", "mv -T current current.was"];
    survives(
        &stage,
        &HOSTS,
        &words,
        || {
            fs::rename(&current, &away).unwrap();
            fs::create_dir(&current).unwrap();
            fs::write(current.join("precious"), "precious\n").unwrap();
        },
        || {
            assert_eq!(fs::read(current.join("precious")).unwrap(), b"precious\n");
            fs::remove_dir_all(&current).unwrap();
            fs::rename(&away, &current).unwrap();
        },
    );
}

#[test]
fn full_disk_is_named_and_the_release_completes_later() {
    let stage = with_three().start();
    let Some(disk) = Disk::at(&stage.path("hosts/web2"), "2m") else {
        return;
    };
    let ballast = disk.0.join("ballast");
    let words = ["web2", "No space left on device", "free space"];
    survives(
        &stage,
        &HOSTS,
        &words,
        || assert!(fs::write(&ballast, vec![7; 3 << 20]).is_err()),
        || fs::remove_file(&ballast).unwrap(),
    );
}

#[test]
fn unwritable_target_is_named_with_a_remedy() {
    let stage = with_three().start();
    let Some(disk) = Disk::at(&stage.path("hosts/web2"), "2m") else {
        return;
    };
    let words = [
        "web2",
        "Read-only file system",
        "mount the host's file system writable",
    ];
    survives(
        &stage,
        &HOSTS,
        &words,
        || disk.remount("ro"),
        || disk.remount("rw"),
    );
}
