//! A push costs bounded work, before and after its approval.

use std::fs;
use std::io::Write as _;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use tagship::domain::plan::PushLimits;
use tagship::git::checkout::{self, CheckoutError, PlanOptions, PlanRequest};
use tagship::git::landing::{LandingError, Relation};
use tagship_tests::eventually::until;
use tagship_tests::git::output_of;
use tagship_tests::random::Random;

use crate::mirror::{Mirrored, NOW, source, tree, unpack, wait};

const LARGE: &str = "TAGSHIP_TEST_LARGE";
const LARGE_BYTES: u64 = 200_000_000;

/// Lines that git reports, each on its standard error.
fn bad_lines(count: usize) -> String {
    let mut text = "*.md export-ignore\n".to_owned();
    for number in 0..count {
        text += &format!("!bad{number} export-ignore\n");
    }
    text
}

#[tokio::test]
async fn thousands_of_bad_attribute_lines_are_read_to_the_end() {
    let world = Mirrored::new();
    world.put(".gitattributes", bad_lines(5_000));
    world.put("d/.gitattributes", bad_lines(3_000));
    world.put("d/a.txt", "1");
    world.put("d/a.md", "1");
    let commit = world.ship("v1", 1).await;
    let manifest = world.plan(&commit).unwrap();
    let paths: Vec<&[u8]> = manifest
        .entries()
        .iter()
        .map(|e| e.path.as_slice())
        .collect();
    let expected: [&[u8]; 3] = [b".gitattributes", b"d/.gitattributes", b"d/a.txt"];
    assert_eq!(paths, expected);
}

/// A plan for which git needs minutes.
async fn slow_plan(world: &Mirrored) -> PlanRequest {
    let lines = format!("{}z export-ignore\n", "a*".repeat(60)).repeat(60_000);
    let (attributes, empty) = (
        world.object("blob", lines.as_bytes()),
        world.object("blob", b""),
    );
    let file = |number| {
        (
            "100644",
            format!("{}{number:04}", "a".repeat(180)),
            empty.as_str(),
        )
    };
    let files = (0..2_000).map(file);
    let attributes = ("100644", ".gitattributes".to_owned(), attributes.as_str());
    let commit = world.commit_tree(&tree([attributes].into_iter().chain(files)), "");
    world.release("v1", &commit);
    world.land("v1", &commit, 1).await.unwrap();
    PlanRequest {
        limits: PushLimits {
            attributes_bytes: u64::MAX,
            ..PushLimits::default()
        },
        ..world.request(&commit)
    }
}

/// Whether a git works on attributes of this mirror.
fn asks_attributes(mirror: &Path) -> bool {
    let name = mirror.display().to_string();
    let processes = fs::read_dir("/proc").unwrap().flatten();
    processes
        .filter_map(|item| fs::read(item.path().join("cmdline")).ok())
        .map(|line| String::from_utf8_lossy(&line).into_owned())
        .any(|line| line.contains("check-attr") && line.contains(&name))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_ends_git_over_attributes() {
    let world = Mirrored::new();
    let request = slow_plan(&world).await;
    let mirror = request.mirror.clone();
    let planning = tokio::spawn(checkout::plan(request));
    assert!(until(|| asks_attributes(&mirror)));
    planning.abort();
    assert!(until(|| !asks_attributes(&mirror)));
}

/// The end of the agent is the end of its runtime, which waits for its threads.
#[test]
fn agent_shutdown_ends_git_over_attributes() {
    let world = Mirrored::new();
    let request = wait(slow_plan(&world));
    let mirror = request.mirror.clone();
    let agent = tokio::runtime::Runtime::new().unwrap();
    agent.spawn(checkout::plan(request));
    assert!(until(|| asks_attributes(&mirror)));
    drop(agent);
    assert!(until(|| !asks_attributes(&mirror)));
}

#[tokio::test(flavor = "multi_thread")]
async fn git_over_attributes_times_out() {
    let world = Mirrored::new();
    let mut request = slow_plan(&world).await;
    request.limits.git_time = Duration::from_secs(2);
    let (mirror, commit) = (request.mirror.clone(), request.commit.clone());
    let error = checkout::plan(request).await.unwrap_err();
    assert!(matches!(error, CheckoutError::TooSlow { .. }), "{error}");
    let text = error.to_string();
    assert!(
        text.contains(&commit) && text.contains("`git_time`"),
        "{text}"
    );
    assert!(until(|| !asks_attributes(&mirror)));
}

#[tokio::test]
async fn every_limit_of_a_release_names_commit_path_and_key() {
    let mut world = Mirrored::new();
    world.put("a/b/c/deep.txt", "1");
    world.put("large.bin", "x".repeat(1000));
    world.put("other.bin", "x".repeat(900));
    world.put("a/.gitattributes", "*.md export-ignore\n");
    let commit = world.ship("v1", 1).await;
    world.plan(&commit).unwrap();
    let none = PushLimits::default();
    for (limits, key, path) in [
        (PushLimits { entries: 5, ..none }, "entries", ""),
        (PushLimits { depth: 2, ..none }, "depth", "a/b/c"),
        (
            PushLimits {
                path_bytes: 10,
                ..none
            },
            "path_bytes",
            "",
        ),
        (
            PushLimits {
                file_bytes: 999,
                ..none
            },
            "file_bytes",
            "large.bin",
        ),
        (
            PushLimits {
                release_bytes: 1800,
                ..none
            },
            "release_bytes",
            ".bin",
        ),
        (
            PushLimits {
                attributes_bytes: 10,
                ..none
            },
            "attributes_bytes",
            "a/.gitattributes",
        ),
    ] {
        world.source.limits = limits;
        let error = world.plan(&commit).unwrap_err();
        assert!(
            matches!(error, CheckoutError::Limit { .. }),
            "{key}: {error}"
        );
        assert!(!error.is_missing());
        let text = error.to_string();
        for part in [
            commit.as_str(),
            path,
            &format!("`{key}` in `[projects.limits]`"),
        ] {
            assert!(text.contains(part), "{part}: {text}");
        }
        let excludable = key != "attributes_bytes";
        assert_eq!(text.contains("exclude it"), excludable, "{text}");
    }
    // Each of them is the largest value that suffices.
    world.source.limits = PushLimits {
        depth: 3,
        file_bytes: 1000,
        attributes_bytes: 19,
        ..none
    };
    world.plan(&commit).unwrap();
}

/// Ten directories in ten directories, and so on: a million files, or directories, in seven objects.
#[tokio::test]
async fn a_tree_that_explodes_ends_plan_and_comparison() {
    let mut world = Mirrored::new();
    let first = world.ship("v1", 1).await;
    world.tree().commit_files("file", &[("x", "1")]);
    let file = world.tree().resolve("HEAD:x");
    let empty = world.object("tree", b"");
    world.source.limits.entries = 10_000;
    world.source.limits.git_time = Duration::from_secs(60);
    for (tag, mode, innermost) in [("v2", "40000", &empty), ("v3", "100644", &file)] {
        let (mut mode, mut inner) = (mode, innermost.clone());
        let mut bomb = String::new();
        for _ in 0..6 {
            let entries = (0..10).map(|name| (mode, name.to_string(), inner.as_str()));
            let bytes = tree(entries);
            bomb = world.commit_tree(&bytes, &first);
            inner = world.object("tree", &bytes);
            mode = "40000";
        }
        world.release(tag, &bomb);
        world.land(tag, &bomb, 2).await.unwrap();
        let error = world.try_describe(tag, &bomb, &[&first]).unwrap_err();
        assert!(
            matches!(error, LandingError::Limit { key: "entries", .. }),
            "{error}"
        );
        assert!(!error.is_transient() && !error.is_final());
        let error = world.plan(&bomb).unwrap_err();
        assert!(
            matches!(error, CheckoutError::Limit { key: "entries", .. }),
            "{error}"
        );
        // Outside of what is released it costs nothing.
        let options = PlanOptions {
            exclude: vec!["/[1-9]/".to_owned(), "/0/".to_owned()],
            ..PlanOptions::default()
        };
        let planned = world.plan_with(&bomb, options, None, NOW).unwrap();
        assert!(planned.entries().is_empty());
    }
}

#[tokio::test]
async fn lines_are_counted_only_in_small_comparisons() {
    let mut world = Mirrored::new();
    world.put("a", "1\n2\n3\n");
    world.put("b", b"\0binary".as_slice());
    let first = world.ship("v1", 1).await;
    world.put("a", "1\n3\n4\n5\n");
    world.put("b", b"\0other".as_slice());
    let second = world.ship("v2", 2).await;
    let none = PushLimits::default();
    for (limits, counted) in [
        (none, Some((2, 1))),
        (
            PushLimits {
                counted_bytes: 27,
                ..none
            },
            Some((2, 1)),
        ),
        (
            PushLimits {
                counted_bytes: 26,
                ..none
            },
            None,
        ),
        (
            PushLimits {
                count_time: Duration::ZERO,
                ..none
            },
            None,
        ),
    ] {
        world.source.limits = limits;
        let described = world.describe("v2", &second, &[&first]);
        let compared = &described.comparisons[0];
        assert_eq!(
            compared.insertions.zip(compared.deletions),
            counted,
            "{limits:?}"
        );
        assert_eq!((compared.files_changed, compared.paths.len()), (2, 2));
        assert_eq!(compared.relation, Relation::Ahead { commits: 1 });
    }
}

/// Two files of one-letter lines that take minutes to compare line by line.
#[tokio::test]
async fn line_comparison_times_out() {
    let mut world = Mirrored::new();
    let mut random = Random::new(7);
    let mut letters = || {
        let next = |_| [*random.pick(b"ab").unwrap(), b'\n'];
        (0..3_000_000).flat_map(next).collect::<Vec<u8>>()
    };
    world.put("a", letters());
    let first = world.ship("v1", 1).await;
    world.put("a", letters());
    let second = world.ship("v2", 2).await;
    world.source.limits.count_time = Duration::from_millis(300);
    let described = world.describe("v2", &second, &[&first]);
    assert_eq!(described.comparisons[0].insertions, None);
    assert_eq!(described.comparisons[0].files_changed, 1);
}

#[tokio::test]
async fn content_that_is_not_its_blob_is_not_written() {
    let world = Mirrored::new();
    world.put("a", "1");
    world.put("b", "2");
    let commit = world.ship("v1", 1).await;
    let manifest = world.plan(&commit).unwrap();
    unpack(&world.source.mirror);
    let loose = |path: &[u8]| {
        let blob = &manifest.get(path).unwrap().blob;
        world
            .source
            .mirror
            .join("objects")
            .join(&blob[..2])
            .join(&blob[2..])
    };
    let (a, b) = (loose(b"a"), loose(b"b"));
    fs::remove_file(&a).unwrap();
    fs::copy(&b, &a).unwrap();
    let error = world.try_write(&manifest, &world.path("tree")).unwrap_err();
    assert!(
        matches!(error, CheckoutError::MissingBlob { .. }),
        "{error}"
    );
    assert!(!world.path("tree/a").exists());
}

/// Its memory is watched from a process of its own, which does nothing else.
#[tokio::test]
async fn a_large_file_costs_the_agent_no_memory() {
    let world = Mirrored::new();
    let first = world.tree().commit_files("first", &[("a", "1")]);
    world.release("v1", &first);
    let mut file =
        std::io::BufWriter::new(fs::File::create(world.tree().path.join("large")).unwrap());
    for number in 0..LARGE_BYTES / 8 {
        file.write_all(&number.to_le_bytes()).unwrap();
    }
    file.into_inner().unwrap();
    output_of(world.tree().git().args(["config", "core.compression", "1"]));
    let second = world.tree().commit_files("second", &[("large.id", "$Id$")]);
    world.release("v2", &second);
    world.put(".gitattributes", "large* ident\n");
    let third = world.tree().commit_files("third", &[]);
    world.release("v3", &third);
    let output = Command::new(std::env::current_exe().unwrap())
        .args([
            "--exact",
            "bounds::releases_a_large_file",
            "--ignored",
            "--nocapture",
        ])
        .env(LARGE, world.directory())
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success(),
        "{text}{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let grown = text
        .lines()
        .find_map(|line| line.strip_prefix("grown by KiB: "));
    let grown: u64 = grown.unwrap().parse().unwrap();
    assert!(grown < 64 * 1024, "grown by {grown} KiB");
    let written = world.path("tree/large");
    assert_eq!(fs::metadata(&written).unwrap().len(), LARGE_BYTES);
    let mut hash = world.tree().git();
    let id = output_of(hash.args(["hash-object", "--no-filters"]).arg(&written));
    assert_eq!(
        String::from_utf8(id).unwrap(),
        world.tree().resolve("HEAD:large")
    );
}

#[test]
#[ignore = "started by the test above, in a process of its own"]
fn releases_a_large_file() {
    let Some(dir) = std::env::var_os(LARGE) else {
        return;
    };
    let dir = Path::new(&dir);
    let server = dir.join("git/shop.git");
    let mut world = Mirrored::new();
    world.source = source(&format!("file://{}", server.display()), dir);
    let resolve = |tag: &str| {
        let mut git = tagship_tests::git::git();
        git.arg("--git-dir").arg(&server).args(["rev-parse", tag]);
        String::from_utf8(output_of(&mut git)).unwrap()
    };
    let [first, second, third] = ["v1", "v2", "v3"].map(resolve);
    let before = peak_kib();
    wait(world.land("v1", &first, 1)).unwrap();
    let rest = peak_kib();
    for (tag, commit, task) in [("v2", &second, 2), ("v3", &third, 3)] {
        wait(world.land(tag, commit, task)).unwrap();
        world.describe(tag, commit, &[&first]);
        let manifest = Arc::new(world.plan(commit).unwrap());
        let tree = dir.join("tree");
        world.write(&manifest, &tree);
        // There is no record of the content, so all of it is read.
        fs::remove_file(dir.join("tree.manifest")).unwrap();
        world.write(&manifest, &tree);
    }
    println!("at rest: {rest} KiB, before: {before} KiB");
    println!("grown by KiB: {}", peak_kib() - rest);
}

/// The most memory that this process has had.
#[tokio::test]
async fn fetch_of_too_many_bytes_ends_with_the_key() {
    let mut world = Mirrored::new();
    let first = world.ship("v1", 1).await;
    fs::write(
        world.tree().path.join("large"),
        Random::new(1).bytes(4_000_000),
    )
    .unwrap();
    let second = world.tree().commit_files("large", &[]);
    world.release("v2", &second);
    world.source.limits.fetch_bytes = 1_000_000;
    let error = world.land("v2", &second, 2).await.unwrap_err();
    assert!(
        matches!(
            &error,
            LandingError::Limit {
                key: "fetch_bytes",
                ..
            }
        ),
        "{error}"
    );
    let text = error.to_string();
    assert!(
        text.contains("refs/tags/v2") && text.contains("1000000 bytes"),
        "{text}"
    );
    let pin = world.source.mirror.join("refs/tagship/tasks/2");
    assert!(!pin.exists(), "it is not pinned");
    world.describe("v1", &first, &[]);
    world.source.limits.fetch_bytes = PushLimits::default().fetch_bytes;
    world.land("v2", &second, 2).await.unwrap();
    world.describe("v2", &second, &[&first]);
}

fn peak_kib() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    line.unwrap()
        .trim()
        .trim_end_matches(" kB")
        .parse()
        .unwrap()
}

#[tokio::test]
async fn git_that_needs_too_much_memory_ends_with_the_key() {
    let mut world = Mirrored::new();
    let first = world.ship("v1", 1).await;
    let tree = world.tree().resolve("HEAD^{tree}");
    let people = "Alice <alice@example.com> 5 +0000";
    let head = format!("tree {tree}\nparent {first}\nauthor {people}\ncommitter {people}\n");
    let message = "a word\n".repeat(12_000_000);
    let huge = world.object("commit", format!("{head}\n{message}").as_bytes());
    world.release("v2", &huge);
    world.land("v2", &huge, 2).await.unwrap();
    world.source.limits.git_memory_bytes = 50_000_000;
    let error = world.try_describe("v2", &huge, &[&first]).unwrap_err();
    let key = "git_memory_bytes";
    assert!(
        matches!(&error, LandingError::Limit { key: named, .. } if *named == key),
        "{error}"
    );
    let error = world.plan(&huge).unwrap_err();
    assert!(
        matches!(&error, CheckoutError::Limit { key: named, .. } if *named == key),
        "{error}"
    );
    // Small objects are read as before.
    world.describe("v1", &first, &[]);
    world.source.limits.git_memory_bytes = PushLimits::default().git_memory_bytes;
    world.describe("v2", &huge, &[&first]);
}
