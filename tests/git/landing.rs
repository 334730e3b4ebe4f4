//! Refs on the git server, their copies in the mirror, and their meaning.

use std::sync::Mutex;

use tagship::git::landing::{self, LandingError, Relation, RemoteRef};
use tagship_tests::git::output_of;
use tagship_tests::world::Settings;

use crate::mirror::{Mirrored, wanted};

#[tokio::test]
async fn one_query_resolves_many_refs() {
    let world = Mirrored::new();
    let commit = world.tree().commit_files("first", &[("a", "1")]);
    world.release("v1", &commit);
    world.tree().annotate("v2", &commit);
    assert!(world.tree().push_tag("v2").success);
    // Names that end like what is asked for, and one that a shell would run.
    output_of(
        world
            .repo()
            .git()
            .args(["update-ref", "refs/x/refs/tags/v1", &commit]),
    );
    world.release("v1-$(touch${IFS}p)", &commit);
    let asked = ["v2", "v1", "v3", "v1-$(touch${IFS}p)"].map(|t| format!("refs/tags/{t}"));
    let mut refs = landing::ls_remote(&world.source, &asked).await.unwrap();
    refs.sort_by(|a, b| a.name.cmp(&b.name));
    let tag = world.repo().resolve("refs/tags/v2").unwrap();
    assert_ne!(tag, commit);
    let plain = |name: &str| RemoteRef {
        name: name.to_owned(),
        object: commit.clone(),
        peeled: None,
    };
    let annotated = RemoteRef {
        peeled: Some(commit.clone()),
        object: tag,
        ..plain("refs/tags/v2")
    };
    assert_eq!(refs, [plain("refs/tags/v1"), plain(&asked[3]), annotated]);
}

#[tokio::test]
async fn many_refs_are_queried_in_several_commands() {
    let world = Mirrored::new();
    let commit = world.tree().commit_files("first", &[("a", "1")]);
    let tags: Vec<String> = (0..1100).map(|n| format!("refs/tags/t{n}")).collect();
    let lines: String = tags
        .iter()
        .map(|t| format!("create {t} {commit}\n"))
        .collect();
    world.release("v1", &commit);
    let file = world.path("refs.txt");
    std::fs::write(&file, lines).unwrap();
    let mut git = world.repo().git();
    git.args(["update-ref", "--stdin"])
        .stdin(std::fs::File::open(file).unwrap());
    output_of(&mut git);
    let refs = landing::ls_remote(&world.source, &tags).await.unwrap();
    assert_eq!(refs.len(), 1100);
}

#[tokio::test]
async fn a_landed_object_is_pinned_for_its_task_until_unpinned() {
    let world = Mirrored::new();
    let commit = world.tree().commit_files("first", &[("a", "1")]);
    world.release("v1", &commit);
    world.land("v1", &commit, 7).await.unwrap();
    world.land("v1", &commit, 7).await.unwrap();
    let refs = world.in_mirror(&["for-each-ref", "--format=%(objectname) %(refname)"]);
    let expected = format!("{commit} refs/tagship/last\n{commit} refs/tagship/tasks/7");
    assert_eq!(refs, expected);
    landing::unpin(&world.source.mirror, 7).unwrap();
    landing::unpin(&world.source.mirror, 7).unwrap();
    let refs = world.in_mirror(&["for-each-ref", "--format=%(refname)"]);
    assert_eq!(refs, "refs/tagship/last");
}

#[tokio::test]
async fn second_fetch_transfers_only_new_objects() {
    let world = Mirrored::new();
    for number in 0..30 {
        let name = format!("file{number}");
        world.tree().commit_files("more", &[(&name, "x")]);
    }
    let first = world.tree().resolve("HEAD");
    world.release("v1", &first);
    world.land("v1", &first, 1).await.unwrap();
    landing::unpin(&world.source.mirror, 1).unwrap();
    let second = world.tree().commit_files("one more", &[("new", "y")]);
    world.release("v2", &second);
    let lines = Mutex::new(Vec::new());
    let progress = |line: &str| lines.lock().unwrap().push(line.to_owned());
    landing::fetch(&world.source, &wanted("v2", &second, 2), &progress)
        .await
        .unwrap();
    let lines = lines.into_inner().unwrap();
    let counted = lines.iter().find(|l| l.contains("Enumerating objects: "));
    assert!(counted.unwrap().contains("objects: 4, done"), "{lines:?}");
}

#[tokio::test]
async fn a_tag_that_moved_before_the_fetch_does_not_land() {
    let world = Mirrored::new();
    let old = world.tree().commit_files("first", &[("a", "1")]);
    world.release("v1", &old);
    let new = world.tree().commit_files("second", &[("a", "2")]);
    world.release("v1", &new);
    let error = world.land("v1", &old, 7).await.unwrap_err();
    let LandingError::Moved {
        expected, found, ..
    } = &error
    else {
        panic!("{error}");
    };
    assert_eq!((expected, found), (&old, &new));
    assert!(!error.is_transient());
    assert_eq!(world.in_mirror(&["for-each-ref"]), "", "nothing is pinned");
}

#[tokio::test]
async fn missing_tag_is_distinguished_from_missing_server() {
    let mut world = Mirrored::new();
    let commit = world.tree().commit_files("first", &[("a", "1")]);
    world.release("v1", &commit);
    let error = world.land("v2", &commit, 7).await.unwrap_err();
    assert!(matches!(error, LandingError::RefMissing { .. }), "{error}");
    assert!(error.is_transient());
    world.source.git_url = world.path("nowhere.git").display().to_string();
    let error = world.land("v1", &commit, 7).await.unwrap_err();
    let text = error.to_string();
    assert!(text.contains("project shop: git fetch: "), "{text}");
    assert!(text.contains("correct `git_url`"), "{text}");
}

#[tokio::test]
async fn sha256_repository_is_refused_explicitly() {
    let world = Mirrored::of(Settings::default().sha256().build());
    let commit = world.tree().commit_files("first", &[("a", "1")]);
    assert_eq!(commit.len(), 64);
    world.release("v1", &commit);
    let source = &world.source;
    let refs = ["refs/tags/v1".to_owned()];
    let error = landing::ls_remote(source, &refs).await.unwrap_err();
    assert!(
        matches!(error, LandingError::ObjectFormat { .. }),
        "{error}"
    );
    let error = landing::tags(source).await.unwrap_err();
    assert!(
        matches!(error, LandingError::ObjectFormat { .. }),
        "{error}"
    );
    let id = "a".repeat(40);
    let error = landing::fetch(source, &wanted("v1", &id, 1), &|_| {}).await;
    let error = error.unwrap_err();
    assert!(
        matches!(error, LandingError::ObjectFormat { .. }),
        "{error}"
    );
}

#[tokio::test]
async fn annotated_and_lightweight_tags_are_described() {
    let world = Mirrored::new();
    let commit = world
        .tree()
        .commit_files("Sell more\n\nbody", &[("a", "1")]);
    world.release("light", &commit);
    world.land("light", &commit, 1).await.unwrap();
    let light = world.describe("light", &commit, &[""]);
    assert_eq!(light.commit, commit);
    assert_eq!(light.tag, None);
    assert_eq!(light.subject, "Sell more");
    assert_eq!(light.author.email, "alice@example.com");
    assert_eq!(light.comparisons[0].relation, Relation::First);

    world.tree().annotate("v1", &commit);
    assert!(world.tree().push_tag("v1").success);
    let object = world.tree().resolve("refs/tags/v1");
    world.land("v1", &object, 2).await.unwrap();
    let annotated = world.describe("v1", &object, &[]);
    assert_eq!(annotated.commit, commit);
    let tag = annotated.tag.unwrap();
    assert_eq!((tag.name.as_str(), tag.message.as_str()), ("v1", "a tag"));
    assert_eq!(tag.tagger.unwrap().name, "Alice");
    assert!(tag.named_as_ref);
}

#[tokio::test]
async fn long_author_names_are_truncated() {
    let world = Mirrored::new();
    let first = world.tree().commit_files("first", &[("a", "1")]);
    let long = "x".repeat(300_000);
    let mut tip = first.clone();
    for number in 0..60 {
        let tree = world.tree().resolve("HEAD^{tree}");
        let text = format!(
            "tree {tree}\nparent {tip}\nauthor {long} <{long}> {number} +0000\ncommitter {long} <{long}> {number} +0000\n\nmore\n"
        );
        tip = world.object("commit", text.as_bytes());
    }
    world.release("v1", &tip);
    world.land("v1", &tip, 1).await.unwrap();
    let described = world.describe("v1", &tip, &[&first]);
    assert_eq!(described.author.name.len(), 200);
    assert_eq!(described.author.email.len(), 200);
    assert_eq!(described.comparisons[0].coming.len(), 50);
    let kept = serde_json::to_vec(&described).unwrap().len();
    assert!(kept < 40_000, "{kept} bytes");
}

#[tokio::test]
async fn tag_object_with_another_name_is_detected() {
    let world = Mirrored::new();
    let commit = world.tree().commit_files("first", &[("a", "1")]);
    world.tree().annotate("v1", &commit);
    let object = world.tree().resolve("refs/tags/v1");
    world.release("v9", &object);
    world.land("v9", &object, 1).await.unwrap();
    let tag = world.describe("v9", &object, &[]).tag.unwrap();
    assert_eq!(tag.name, "v1");
    assert!(!tag.named_as_ref);
}

#[tokio::test]
async fn nested_tag_is_followed_and_blob_or_tree_tag_refused() {
    let world = Mirrored::new();
    let commit = world.tree().commit_files("first", &[("a", "1")]);
    for (name, target) in [
        ("v1", "HEAD"),
        ("v2", "v1"),
        ("blob", "HEAD:a"),
        ("tree", "HEAD:"),
    ] {
        world.tree().annotate(name, target);
        assert!(world.tree().push_tag(name).success);
        let object = world.tree().resolve(&format!("refs/tags/{name}"));
        world.land(name, &object, 1).await.unwrap();
        let described = world.try_describe(name, &object, &[]);
        if name.starts_with('v') {
            assert_eq!(described.unwrap().commit, commit);
            continue;
        }
        let error = described.unwrap_err();
        let text = format!("refs/tags/{name} points to a {name}, not to a commit: tag a commit");
        assert_eq!(error.to_string(), text);
    }
    let blob = world.tree().resolve("HEAD:a");
    world.release("light-blob", &blob);
    world.land("light-blob", &blob, 2).await.unwrap();
    let error = world.try_describe("light-blob", &blob, &[]).unwrap_err();
    assert!(matches!(error, LandingError::NotACommit { .. }), "{error}");
    assert!(error.is_final());
}

#[tokio::test]
async fn ahead_back_diverged_and_same_are_named() {
    let world = Mirrored::new();
    let one = world
        .tree()
        .commit_files("one", &[("a", "1\n"), ("b", "1\n")]);
    let two = world.tree().commit_files("two", &[("a", "2\n")]);
    let three = world
        .tree()
        .commit_files("three", &[("a", "2\n3\n"), ("c/d", "x\n")]);
    output_of(
        world
            .tree()
            .git()
            .args(["checkout", "--quiet", "-b", "side", &one]),
    );
    let side = world.tree().commit_files("side", &[("side", "s\n")]);
    for (task, commit) in [&three, &side].into_iter().enumerate() {
        world.release(&format!("t{task}"), commit);
        world
            .land(&format!("t{task}"), commit, task as u64)
            .await
            .unwrap();
    }
    let unknown = "f".repeat(40);
    let live = [&three, &one, &one, &side, &unknown].map(String::as_str);
    let seen = world.describe("t0", &three, &live).comparisons;
    assert_eq!(seen.len(), 4);
    assert_eq!(seen[0].relation, Relation::Same);
    assert_eq!(seen[0].files_changed, 0);
    assert_eq!(seen[1].relation, Relation::Ahead { commits: 2 });
    assert_eq!(seen[1].hosts, ["web1", "web2"]);
    let coming: Vec<&str> = seen[1].coming.iter().map(|c| c.subject.as_str()).collect();
    assert_eq!(coming, ["three", "two"]);
    assert!(seen[1].going.is_empty());
    let counted = (seen[1].files_changed, seen[1].insertions, seen[1].deletions);
    assert_eq!(counted, (2, Some(3), Some(1)));
    let paths: Vec<_> = seen[1]
        .paths
        .iter()
        .map(|p| (p.status, p.path.as_str()))
        .collect();
    assert_eq!(paths, [('M', "a"), ('A', "c/d")]);
    assert_eq!(seen[2].relation, Relation::Diverged { ahead: 2, back: 1 });
    assert_eq!(seen[2].going[0].subject, "side");
    assert_eq!(seen[3].relation, Relation::Unknown);

    world.release("back", &one);
    world.land("back", &one, 9).await.unwrap();
    let seen = world.describe("back", &one, &[&three]).comparisons;
    assert_eq!(seen[0].relation, Relation::Back { commits: 2 });
    let going: Vec<&str> = seen[0].going.iter().map(|c| c.commit.as_str()).collect();
    assert_eq!(going, [&three, &two]);
    let json = serde_json::to_string(&seen[0]).unwrap();
    assert!(
        json.contains(r#""relation":{"kind":"back","commits":2}"#),
        "{json}"
    );
}

#[tokio::test]
async fn lists_are_bounded_and_carry_their_totals() {
    let world = Mirrored::new();
    let first = world.tree().commit_files("first", &[("a", "1")]);
    for number in 0..60 {
        world.tree().commit_files(&format!("commit {number}"), &[]);
    }
    for number in 0..250 {
        world.put(&format!("many/{number}"), "x\n");
    }
    let last = world.ship("v1", 1).await;
    let seen = &world.describe("v1", &last, &[&first]).comparisons[0];
    assert_eq!(seen.relation, Relation::Ahead { commits: 61 });
    assert_eq!(seen.coming.len(), 50);
    assert_eq!((seen.files_changed, seen.paths.len()), (250, 200));
}
