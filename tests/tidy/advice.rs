//! Advice that people follow on hosts: each piece that deletes, renames or changes the owner of
//! something near releases was reviewed: can it take a site down?

use regex::Regex;

/// The reviewed advice, by its file.
const READ: &[(&str, &str)] = &[
    (
        "src/hosts/sync/prepare.sh",
        "$ts_base is on another file system than $ts_at, so current cannot be switched by a rename: put both on one file system, or let deploy_to name another directory",
    ),
    (
        "src/setup/doctor/probe.rs",
        "{value} is on another file system than deploy_to, so current cannot be switched by a rename",
    ),
    (
        "src/setup/doctor/probe.rs",
        "delete what has many small files on that file system, or lower keep_releases",
    ),
    (
        "src/setup/doctor/probe.rs",
        "delete there by hand what no rollback needs, but never what current points to",
    ),
    (
        "src/setup/doctor/probe.rs",
        "move it away, or correct deploy_to",
    ),
    (
        "src/setup/doctor/access.rs",
        "give it to that user (chown), or make each new directory of shared there yourself",
    ),
    // Only directories: a file there may be one of the live release, too.
    (
        "src/setup/doctor/access.rs",
        "run there as root, in deploy_to: find .tagship -type d ! -path '*/trash/*' ! -path '*/left-*' -exec chown {user} {{}} +",
    ),
    (
        "src/hosts/ssh/sh/answer.sh",
        "$*; $(id -un) may not write in $ts_denied; as root on the host, run: find $ts_base -type d ! -path '*/trash/*' ! -path '*/left-*' -exec chown $(id -un) {} +",
    ),
    (
        "src/hosts/ssh/sh/answer.sh",
        "$*; $(id -un) may not write in $ts_denied; as root on the host, run: chown $(id -un) $ts_denied",
    ),
    (
        "src/domain/host.rs",
        "as root on the host, run: rm -rf '{quoted}' (chattr -R -i on it first where it is immutable)",
    ),
    (
        "src/domain/host/drift.rs",
        "find out who put it there; run there, in deploy_to: mv -T current current.was && ln -s current.was current (the same stays live), then release or roll back",
    ),
    (
        "src/domain/host/fence.rs",
        "the host shows fence {held}, which no agent can have taken: if no other agent releases there, delete .tagship/fence-{held} on the host, or rename it to .tagship/fence-0 where it is the only one, then retry",
    ),
    (
        "src/hosts/ssh/script.rs",
        "delete files on the host until df -i shows free inodes there",
    ),
    (
        "src/hosts/ssh/sh/fence.sh",
        "$1/$2-$ts_odd has a number that is a time far ahead: if no other agent releases to $ts_at, rename it (mv -T $1/$2-$ts_odd $1/$2-0), then retry",
    ),
    (
        "src/hosts/ssh/sh/fence.sh",
        "$1/$2-$ts_odd is not tagship's, its number is a time far ahead: if no other agent releases to $ts_at, delete it (rm -rf $1/$2-$ts_odd), then retry",
    ),
    (
        "src/hosts/ssh/sh/fence.sh",
        "cannot write in $ts_at: $ts_error; let $(id -un) write there (chown $(id -un) $ts_at)",
    ),
    (
        "src/hosts/ssh/sh/host_state.sh",
        "$ts_at/current is a link whose text is no UTF-8, has control characters or over 1000 bytes, so it could not be led back there: rename a link with the plain path of that directory over it (ln -s DIRECTORY $ts_at/current.new && mv -T $ts_at/current.new $ts_at/current)",
    ),
    (
        "src/hosts/ssh/sh/host_state.sh",
        "$ts_at/current is no symbolic link, so it cannot be switched by a rename: find out who put it there; run there, in deploy_to: mv -T current current.was && ln -s current.was current (the same stays live), then retry",
    ),
    (
        "src/hosts/ssh/sh/start.sh",
        "cannot make $ts_at: $ts_error; make it once, for $(id -un): mkdir -p $ts_at && chown $(id -un) $ts_at",
    ),
    (
        "src/hosts/sync/prepare.sh",
        "$(id -un) may not write in $ts_at: chown $(id -un) $ts_at",
    ),
    (
        "src/hosts/sync/prepare.sh",
        "cannot make $ts_at: $ts_error; make it once, for $(id -un): mkdir -p $ts_at && chown $(id -un) $ts_at",
    ),
    // Nothing live is in the directory of a fence.
    (
        "src/hosts/sync/prepare.sh",
        "cannot rename $ts_entry: $ts_error; delete it as root on the host (chattr -R -i or umount first), then retry",
    ),
    // The release in which `current` points was refused before.
    (
        "src/hosts/sync/prepare.sh",
        "cannot rename $ts_at/releases/$ts_release: $ts_error; delete it as root on the host, then retry",
    ),
];

/// The texts of a file with such advice.
fn advice(path: &str, text: &str) -> Vec<String> {
    let does =
        Regex::new(r"\b(rm|delete|remove|removed|rename|move|mv|ln|chmod|chown|unlink)\b").unwrap();
    let there =
        Regex::new(r"current|releases|deploy_to|ts_at|\.tagship|shared|on the host").unwrap();
    let literal = Regex::new(r#"(?s)"((?:[^"\\]|\\.)*)""#).unwrap();
    let is_script = path.ends_with(".sh");
    let code = text.split("\n#[cfg(test)]\nmod ").next().unwrap();
    let lines = code.lines().filter(|line| match is_script {
        // `ts_refuse` itself adds advice to its text.
        true => line.contains("ts_refuse") || line.contains(r#"set -- "$*;"#),
        false => !line.trim_start().starts_with("//"),
    });
    let code: Vec<&str> = lines.collect();
    let code = code.join("\n");
    let texts = literal
        .captures_iter(&code)
        .map(|found| found[1].to_owned());
    texts
        .filter(|text| does.is_match(text) && there.is_match(text))
        .collect()
}

fn files(directory: &std::path::Path, found: &mut Vec<(String, String)>) {
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        let name = path.to_str().unwrap().to_owned();
        if path.is_dir() {
            files(&path, found);
        } else if (name.ends_with(".rs") && !name.ends_with("tests.rs")) || name.ends_with(".sh") {
            found.push((name, std::fs::read_to_string(&path).unwrap()));
        }
    }
}

#[test]
fn destructive_advice_was_reviewed() {
    let mut sources = Vec::new();
    // Users learn about hosts only from these.
    for directory in ["domain/host", "engine/executor", "hosts", "setup/doctor"] {
        files(&std::path::Path::new("src").join(directory), &mut sources);
    }
    let path = "src/domain/host.rs";
    sources.push((path.to_owned(), std::fs::read_to_string(path).unwrap()));
    let mut given: Vec<(String, String)> = Vec::new();
    for (path, text) in &sources {
        given.extend(
            advice(path, text)
                .into_iter()
                .map(|text| (path.clone(), text)),
        );
    }
    given.sort();
    let mut read: Vec<(String, String)> = READ
        .iter()
        .map(|(path, text)| ((*path).into(), (*text).into()))
        .collect();
    read.sort();
    let unread: Vec<_> = given.iter().filter(|one| !read.contains(one)).collect();
    assert!(unread.is_empty(), "can it take a site down? {unread:#?}");
    let gone: Vec<_> = read.iter().filter(|one| !given.contains(one)).collect();
    assert!(gone.is_empty(), "no longer there: {gone:#?}");
}

/// `key = value` in a text names a key that the documentation has.
#[test]
fn options_named_in_advice_exist() {
    let named = Regex::new(r#"\b([a-z][a-z_]+) = (?:\\"|true|false|[0-9])"#).unwrap();
    let literal = Regex::new(r#"(?s)"((?:[^"\\]|\\.)*)""#).unwrap();
    let mut sources = Vec::new();
    files(std::path::Path::new("src"), &mut sources);
    let docs = ["config", "templates", "codo", "people", "ssh"]
        .map(|page| std::fs::read_to_string(format!("docs/{page}.md")).unwrap());
    let mut seen = 0;
    for (path, text) in sources.iter().filter(|(path, _)| path.ends_with(".rs")) {
        let code = text.split("\n#[cfg(test)]\nmod ").next().unwrap();
        let lines = code
            .lines()
            .filter(|line| !line.trim_start().starts_with("//"));
        let code: Vec<&str> = lines.collect();
        let code = code.join("\n");
        for text in literal.captures_iter(&code) {
            for key in named.captures_iter(&text[1].replace("\\n", " ")) {
                let key = &key[1];
                let is_documented = docs.iter().any(|page| page.contains(&format!("`{key}")));
                assert!(is_documented, "{path}: {key} in {:?}", &text[1]);
                seen += 1;
            }
        }
    }
    assert!(seen > 10, "only {seen} were found");
}
