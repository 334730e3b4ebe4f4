//! git decides what a commit is: whatever `git log` reads lands and is released.

use tagship::git::checkout::CheckoutError;
use tagship::git::landing::{LandingError, Relation};
use tagship_tests::git::{Repository, WorkTree, output_of};

use crate::mirror::{Mirrored, source, tree};

const ALICE: &str = "Alice <alice@example.com> 1700000000 +0000";

/// Commits `lines` (author, committer and other header lines) with the tree of `parent`.
fn commit(world: &Mirrored, parent: &str, lines: &[u8], message: &[u8]) -> String {
    let tree = world.tree().resolve(&format!("{parent}^{{tree}}"));
    let mut text = format!("tree {tree}\nparent {parent}\n").into_bytes();
    text.extend_from_slice(lines);
    text.extend_from_slice(b"\n\n");
    text.extend_from_slice(message);
    world.object("commit", &text)
}

/// What `git log` shows of it in a clone.
fn shown(world: &Mirrored, commit: &str) -> (String, String, String) {
    let mut git = world.tree().git();
    git.args(["log", "-1", "--format=%an%x00%ae%x00%s", commit]);
    let text = String::from_utf8(output_of(&mut git)).unwrap();
    let mut fields = text
        .splitn(3, '\0')
        .map(|field| field.trim_end().to_owned());
    let mut next = || fields.next().unwrap();
    (next(), next(), next())
}

#[tokio::test]
async fn any_author_line_git_log_reads_is_released() {
    let world = Mirrored::new();
    let first = world.tree().commit_files("first", &[("a", "1")]);
    let authors = [
        "author Alice <alice\n@example.com> 5 +0000",
        "author Alice <al\nice@example.com\n> 5 +0000",
        "author Alice 5 +0000",
        "author Alice <> 5 +0000",
        "author <alice@example.com> 5 +0000",
        "author  <> 5 +0000",
        "author Alice<alice@example.com> 5 +0000",
        "author Alice <alice@example.com>5 +0000",
        "author Alice <alice@example.com> 5",
        "author Alice <alice@example.com> 5 +051800",
        "author Alice <alice@example.com> soon +0000",
        "author Alice <alice@example.com> 0005 +0000",
        "author Alice <alice@example.com> 99999999999999999999 +0000",
        "author Alice <alice@<example>.com>> 5 +0000",
        "author Alice <alice@example.com> 5 +0000\nauthor Bob <bob@example.com> 6 +0000",
    ];
    for (number, author) in authors.iter().enumerate() {
        let head = format!("{author}\ncommitter {ALICE}");
        let odd = commit(&world, &first, head.as_bytes(), b"odd\n");
        let tag = format!("v{number}");
        world.release(&tag, &odd);
        world.land(&tag, &odd, 1).await.unwrap();
        let described = world.describe(&tag, &odd, &[&first]);
        let actual = (
            described.author.name,
            described.author.email,
            described.subject,
        );
        assert_eq!(actual, shown(&world, &odd), "{author}");
        assert_eq!(described.commit, odd);
        let compared = &described.comparisons[0];
        assert_eq!(
            compared.relation,
            Relation::Ahead { commits: 1 },
            "{author}"
        );
        assert_eq!(compared.coming[0].commit, odd);
        assert_eq!(world.plan(&odd).unwrap().entries().len(), 1, "{author}");
        // A commit after an unusual one lands, too, and the live commit may be unusual.
        let next = commit(
            &world,
            &odd,
            format!("author {ALICE}\ncommitter {ALICE}").as_bytes(),
            b"next",
        );
        let tag = format!("next-{number}");
        world.release(&tag, &next);
        world.land(&tag, &next, 2).await.unwrap();
        let described = world.describe(&tag, &next, &[&odd]);
        assert_eq!(
            described.comparisons[0].relation,
            Relation::Ahead { commits: 1 }
        );
    }
}

#[tokio::test]
async fn odd_heads_and_messages_are_released() {
    let world = Mirrored::new();
    let first = world.tree().commit_files("first", &[("a", "1")]);
    let people = format!("author {ALICE}\ncommitter {ALICE}");
    for (number, (head, message)) in [
        (format!("{people}\nnote of-another-tool"), &b"more\n"[..]),
        (people.clone(), &b"a NUL \0 within\n"[..]),
        (people.clone(), &b""[..]),
        (
            format!("author {ALICE}\ncommitter Alice"),
            &b"committer\n"[..],
        ),
    ]
    .into_iter()
    .enumerate()
    {
        let odd = commit(&world, &first, head.as_bytes(), message);
        let tag = format!("v{number}");
        world.release(&tag, &odd);
        world.land(&tag, &odd, 1).await.unwrap();
        let described = world.describe(&tag, &odd, &[&first]);
        assert_eq!(described.subject, shown(&world, &odd).2, "{head}");
        world.plan(&odd).unwrap();
    }
}

#[tokio::test]
async fn texts_are_decoded_by_the_commits_encoding() {
    let world = Mirrored::new();
    let first = world.tree().commit_files("first", &[("a", "1")]);
    for (encoding, bytes, text) in [
        ("GBK", &b"\xd6\xd0\xce\xc4"[..], "\u{4e2d}\u{6587}"),
        ("ISO-8859-1", &b"Zo\xeb"[..], "Zo\u{eb}"),
        ("Shift_JIS", &b"\x93\xfa\x96\x7b"[..], "\u{65e5}\u{672c}"),
        (
            "KOI8-R",
            &b"\xe1\xcc\xc9\xd3\xc1"[..],
            "\u{410}\u{43b}\u{438}\u{441}\u{430}",
        ),
        ("no-such-encoding", &b"Zo\xeb"[..], "Zo\u{fffd}"),
    ] {
        let mut head = b"author ".to_vec();
        head.extend_from_slice(bytes);
        head.extend_from_slice(
            format!(" <a@example.com> 5 +0000\ncommitter {ALICE}\nencoding {encoding}").as_bytes(),
        );
        let coded = commit(&world, &first, &head, &[b"on: ", bytes].concat());
        world.release(encoding, &coded);
        world.land(encoding, &coded, 1).await.unwrap();
        let described = world.describe(encoding, &coded, &[&first]);
        assert_eq!(described.author.name, text, "{encoding}");
        assert_eq!(described.subject, format!("on: {text}"));
        assert_eq!(
            described.comparisons[0].coming[0].subject,
            format!("on: {text}")
        );
    }
}

#[tokio::test]
async fn tags_need_neither_tagger_nor_message() {
    let world = Mirrored::new();
    let first = world.tree().commit_files("first", &[("a", "1")]);
    let head = format!("object {first}\ntype commit\ntag v1\n");
    for (number, rest) in [
        "",
        "\n",
        "\na message\n",
        "tagger Alice\n\na message\n",
        "tagger Alice <al\nice@example.com> 5 +0000\n\na message\n",
    ]
    .iter()
    .enumerate()
    {
        let tag = world.object("tag", format!("{head}{rest}").as_bytes());
        let name = format!("v{number}");
        world.release(&name, &tag);
        world.land(&name, &tag, 1).await.unwrap();
        let described = world.describe(&name, &tag, &[]);
        assert_eq!(described.commit, first);
        let actual = described.tag.unwrap();
        assert_eq!(actual.name, "v1");
        let message = if rest.contains("message") {
            "a message"
        } else {
            ""
        };
        assert_eq!(actual.message, message, "{rest:?}");
    }
}

#[tokio::test]
async fn a_shallow_server_repository_is_released() {
    let world = Mirrored::new();
    let old = world.tree().commit_files("old", &[("a", "1")]);
    world.release("v1", &old);
    let second = world.tree().commit_files("second", &[("a", "2")]);
    world.release("v2", &second);
    let path = world.path("shallow.git");
    let mut clone = world.tree().git();
    clone.args([
        "clone",
        "--quiet",
        "--bare",
        "--depth=1",
        "--branch=v2",
        &world.repo().url(),
    ]);
    output_of(clone.arg(&path));
    let server = Repository { path };
    let mut shallow = Mirrored::new();
    shallow.source = source(&server.url(), shallow.directory());
    shallow.land("v2", &second, 1).await.unwrap();
    let described = shallow.describe("v2", &second, &[&old]);
    assert_eq!(described.comparisons[0].relation, Relation::Unknown);
    assert_eq!(described.subject, "second");
    assert_eq!(shallow.plan(&second).unwrap().entries().len(), 1);

    let work = WorkTree::clone(&server, world.path("work2"));
    output_of(
        work.git()
            .args(["checkout", "--quiet", "--detach", &second]),
    );
    let third = work.commit_files("third", &[("a", "3")]);
    work.tag("v3", &third);
    assert!(work.push_tag("v3").success);
    shallow.land("v3", &third, 2).await.unwrap();
    let described = shallow.describe("v3", &third, &[&second]);
    let compared = &described.comparisons[0];
    assert_eq!(compared.relation, Relation::Ahead { commits: 1 });
    assert_eq!((compared.insertions, compared.files_changed), (Some(1), 1));
}

#[tokio::test]
async fn old_tools_directories_are_released() {
    let world = Mirrored::new();
    world.tree().commit_files("first", &[("d/a", "1")]);
    let (directory, file) = (
        world.tree().resolve("HEAD:d"),
        world.tree().resolve("HEAD:d/a"),
    );
    for (number, (mode, id)) in [("040000", directory), ("0100644", file)]
        .iter()
        .enumerate()
    {
        let odd = world.commit_tree(&tree([(*mode, "d".to_owned(), id.as_str())]), "");
        let tag = format!("v{number}");
        world.release(&tag, &odd);
        world.land(&tag, &odd, 1).await.unwrap();
        assert_eq!(world.plan(&odd).unwrap().entries().len(), 1);
    }
}

#[tokio::test]
async fn settings_files_that_git_leaves_unread_are_released() {
    let long = format!("*.x {}\n*.tmp export-ignore\n", "a".repeat(5_000));
    for (files, released) in [
        (vec![(".gitattributes", long.as_str()), ("x.tmp", "1")], 1),
        (vec![(".gitattributes/x", "*.tmp export-ignore\n")], 1),
        (vec![(".gitmodules/x", "1")], 1),
    ] {
        let world = Mirrored::new();
        let commit = world.tree().commit_files("odd", &files);
        world.release("v1", &commit);
        world.land("v1", &commit, 1).await.unwrap();
        let described = world.describe("v1", &commit, &[]);
        assert_eq!(described.subject, "odd");
        let entries = world.plan(&commit).unwrap().entries().len();
        assert_eq!(entries, released, "{}", files[0].0);
    }
}

#[tokio::test]
async fn objects_refused_by_fsck_are_named_and_do_not_land() {
    let world = Mirrored::new();
    world
        .tree()
        .commit_files("first", &[("a", "1"), ("b", "2")]);
    let (a, b) = (
        world.tree().resolve("HEAD:a"),
        world.tree().resolve("HEAD:b"),
    );
    let entries = [
        ("100644", "b".to_owned(), b.as_str()),
        ("100644", "a".to_owned(), &a),
    ];
    let unsorted = tree(entries);
    let odd = world.commit_tree(&unsorted, "");
    let object = world.object("tree", &unsorted);
    world.release("v1", &odd);
    let error = world.land("v1", &odd, 1).await.unwrap_err();
    let LandingError::Fsck { detail, .. } = &error else {
        panic!("{error}");
    };
    assert!(
        detail.contains(&object) && detail.contains("treeNotSorted"),
        "{error}"
    );
    assert!(!error.is_transient());
}

/// Each kind of object, in each way in which a disk damages it.
#[tokio::test]
async fn damaged_object_on_the_server_is_named_with_what_to_do() {
    for (revision, damage) in [
        ("HEAD:a", "garbage"),
        ("HEAD:a", ""),
        ("HEAD:d", "garbage"),
        ("HEAD~1", "garbage"),
        ("HEAD", "garbage"),
        ("HEAD", ""),
        ("HEAD", "gone"),
    ] {
        let world = Mirrored::new();
        world.tree().commit_files("first", &[("a", "1")]);
        let head = world
            .tree()
            .commit_files("second", &[("a", "2"), ("d/b", "3")]);
        let object = world.tree().resolve(revision);
        world.release("v1", &head);
        let file = world.repo().path.join("objects");
        let file = file.join(&object[..2]).join(&object[2..]);
        std::fs::remove_file(&file).unwrap();
        if damage != "gone" {
            std::fs::write(&file, damage).unwrap();
        }
        let error = world.land("v1", &head, 1).await.unwrap_err();
        let text = error.to_string();
        assert!(text.contains(&object), "{revision} {damage:?}: {text}");
        assert!(text.contains("git server is damaged"), "{text}");
        assert!(text.contains("`git fsck` in it there"), "{text}");
        assert!(!text.contains("reaches the git server"), "{text}");
        assert!(error.is_transient(), "the server may be mended meanwhile");
    }
}

#[tokio::test]
async fn damaged_pack_on_the_server_is_reported() {
    let world = Mirrored::new();
    let head = world.tree().commit_files("first", &[("a", "1")]);
    world.release("v1", &head);
    output_of(world.repo().git().args(["gc", "--quiet"]));
    let packs = std::fs::read_dir(world.repo().path.join("objects/pack")).unwrap();
    let packs = packs.map(|entry| entry.unwrap().path());
    let is_pack = |path: &std::path::PathBuf| path.extension().is_some_and(|end| end == "pack");
    let pack = packs.into_iter().find(is_pack).unwrap();
    let mut bytes = std::fs::read(&pack).unwrap();
    // The first object begins after the head of the pack, its data after one or two more bytes.
    bytes[14..18].fill(0xff);
    std::fs::remove_file(&pack).unwrap();
    std::fs::write(&pack, bytes).unwrap();
    let error = world.land("v1", &head, 1).await.unwrap_err().to_string();
    assert!(error.contains("git server is damaged"), "{error}");
}

#[tokio::test]
async fn server_repository_without_its_alternate_is_reported() {
    let world = Mirrored::new();
    let commit = world.tree().commit_files("first", &[("a", "1")]);
    world.release("v1", &commit);
    let path = world.path("borrower.git");
    let mut clone = world.tree().git();
    clone.args(["clone", "--quiet", "--bare", "--shared"]);
    output_of(clone.arg(&world.repo().path).arg(&path));
    let server = Repository { path };
    let mut other = Mirrored::new();
    other.source = source(&server.url(), other.directory());
    std::fs::rename(&world.repo().path, world.path("moved.git")).unwrap();
    let error = other.land("v1", &commit, 1).await.unwrap_err();
    let text = error.to_string();
    let gone = world.repo().path.join("objects");
    assert!(text.contains(gone.to_str().unwrap()), "{text}");
    assert!(text.contains("correct `objects/info/alternates`"), "{text}");
    std::fs::rename(world.path("moved.git"), &world.repo().path).unwrap();
    other.land("v1", &commit, 1).await.unwrap();
}

#[tokio::test]
async fn partial_server_repository_lands_after_the_remedy() {
    let world = Mirrored::new();
    let commit = world.tree().commit_files("first", &[("a", "1")]);
    let mut push = world.tree().git();
    push.args([
        "push",
        "--quiet",
        &world.repo().url(),
        "HEAD:refs/heads/main",
    ]);
    output_of(&mut push);
    world.release("v1", &commit);
    let mut filters = world.repo().git();
    output_of(filters.args(["config", "uploadpack.allowFilter", "true"]));
    let path = world.path("partial.git");
    let mut clone = world.tree().git();
    clone.args(["clone", "--quiet", "--bare", "--filter=blob:none"]);
    output_of(clone.arg(world.repo().url()).arg(&path));
    let server = Repository { path };
    let mut other = Mirrored::new();
    other.source = source(&server.url(), other.directory());
    let error = other.land("v1", &commit, 1).await.unwrap_err();
    let text = error.to_string();
    assert!(text.contains("is a partial clone"), "{text}");
    assert!(error.is_transient(), "the remedy needs no new push");
    let mut remedy = server.git();
    output_of(remedy.args(["fetch", "--quiet", "--refetch", "--no-filter", "--tags"]));
    other.land("v1", &commit, 1).await.unwrap();
}

#[tokio::test]
async fn a_commit_without_its_objects_is_no_damaged_mirror() {
    let world = Mirrored::new();
    let first = world.tree().commit_files("first", &[("a", "1")]);
    world.release("v1", &first);
    world.land("v1", &first, 1).await.unwrap();
    // Written to the mirror manually: no fetch would accept it.
    let text = format!("tree {}\nauthor x\n\nlost\n", "e".repeat(40));
    let repository = git2::Repository::open_bare(&world.source.mirror).unwrap();
    let odb = repository.odb().unwrap();
    let lost = odb
        .write(git2::ObjectType::Commit, text.as_bytes())
        .unwrap();
    let error = world.plan(&lost.to_string()).unwrap_err();
    assert!(matches!(error, CheckoutError::NoCommit { .. }), "{error}");
    let text = format!("object {}\ntype commit\ntag v2\n", "e".repeat(40));
    let tag = odb.write(git2::ObjectType::Tag, text.as_bytes()).unwrap();
    let error = world.try_describe("v2", &tag.to_string(), &[]).unwrap_err();
    assert!(matches!(error, LandingError::Unreadable { .. }), "{error}");
    assert!(error.to_string().contains(&tag.to_string()));
}
