//! The programs that scripts use on hosts are those whose absence is named before a release begins.

use std::collections::BTreeSet;

use regex::Regex;

/// What may be missing on a host: coreutils, findutils, and what is often used with them.
const PROGRAMS: &str = "arch awk b2sum base32 base64 basename cat chcon chgrp chmod chown chroot \
    cksum cmp comm cp csplit cut date dd df diff dir dirname du env expand expr factor find flock \
    fmt fold gawk getopt grep gunzip gzip head hostid hostname id ionice join link ln logger \
    logname ls lsattr lsof md5sum mkdir mkfifo mknod mktemp mount mv nice nl nohup nproc numfmt od \
    openssl paste pathchk perl pgrep pinky pkill pr printenv ps ptx python3 readlink realpath \
    renice rm rmdir rsync runcon sed seq setpriv setsid sha1sum sha224sum sha256sum sha384sum \
    sha512sum shred shuf sleep sort split stat stdbuf stty su sudo sum sync tac tail tar taskset \
    tee timeout touch tr truncate tsort tty umount uname unexpand uniq unlink uptime users vdir wc \
    whoami xargs";

/// Words in the place of a command.
fn commands(script: &str) -> BTreeSet<String> {
    let comment = Regex::new(r"(?m)^\s*#.*$|\s#\s.*$").unwrap();
    let script = comment.replace_all(script, "");
    // Messages, apart from the commands within them.
    let message =
        Regex::new(r#"ts_refuse "[^"$]*|set -- "\$\*;[^"]*"|: install [a-z, -]*"#).unwrap();
    let script = message.replace_all(&script, "");
    let command = Regex::new(
        r"(?m)(?:^|[|&;({!)]|\btimeout [0-9]+|-exec\b|xargs -0)[ \t]*(?:(?:then|do|else|if|while|until|exec)[ \t]+)?([a-z][a-z0-9]*)(?:[\s;)]|$)",
    )
    .unwrap();
    let mut found = BTreeSet::new();
    let mut from = 0;
    // One command may end where the next begins.
    while let Some(next) = command.captures_at(&script, from) {
        let word = next.get(1).unwrap();
        found.insert(word.as_str().to_owned());
        from = word.end();
    }
    found
}

fn scripts(directory: &std::path::Path, found: &mut Vec<String>) {
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            scripts(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "sh") {
            found.push(std::fs::read_to_string(path).unwrap());
        }
    }
}

#[test]
fn programs_of_scripts_are_the_ones_checked_for() {
    let mut texts = Vec::new();
    scripts("src/hosts".as_ref(), &mut texts);
    texts.push(std::fs::read_to_string("src/setup/doctor/probe.sh").unwrap());
    texts.push(tagship_listing());
    let used: BTreeSet<String> = texts.iter().flat_map(|text| commands(text)).collect();
    let known: BTreeSet<String> = PROGRAMS.split_whitespace().map(str::to_owned).collect();
    let used: BTreeSet<&String> = used.intersection(&known).collect();
    let names = std::fs::read_to_string("src/hosts/sync/tools.sh").unwrap();
    let names = names.split('\'').nth(1).unwrap().to_owned();
    let mut checked: BTreeSet<String> = names.split(' ').map(str::to_owned).collect();
    assert!(checked.is_subset(&known), "add them to the table here");
    checked.extend(["rsync", "setsid"].map(str::to_owned));
    assert_eq!(used, checked.iter().collect::<BTreeSet<&String>>());
}

/// The command that lists a tree.
fn tagship_listing() -> String {
    let text = std::fs::read_to_string("src/git/checkout/manifest.rs").unwrap();
    let (_, listing) = text.split_once("HOST_LISTING: &str").unwrap();
    let (listing, _) = listing.split_once(";\n").unwrap();
    listing.replace('"', " ").replace("LC_ALL=C ", "")
}

#[test]
fn commands_are_found_in_a_script() {
    let script = "# tar\nif grep -q x y; then cat z | sort; fi\nts_a=$(id -un)\nhead() { ! wc; }\n\
                  find . -exec chmod 700 {} +\nts_refuse \"no disk; install tee there\"\n";
    let found = commands(script);
    for name in ["grep", "cat", "sort", "id", "wc", "find", "chmod"] {
        assert!(found.contains(name), "{name}: {found:?}");
    }
    for name in ["tar", "tee"] {
        assert!(!found.contains(name), "{name}: {found:?}");
    }
}
