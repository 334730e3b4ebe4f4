//! Results and cost of a search by a user with access to some environments; cost of a page of many tasks.

use std::sync::Arc;

use tagship::domain::permission::PermissionTarget;
use tagship::domain::task::Submission;
use tagship::store::{Filter, Head, ListPosition, SearchScope, Store};

use super::{at, at_once, found, propose, submission, text, world};
use crate::counting::Counting;

/// All results of a search by a user who sees only these environments, in pages of this size.
fn seen(store: &Store, filter: &Filter, places: &[PermissionTarget], size: usize) -> Vec<u64> {
    let scope = SearchScope {
        targets: Some(places),
        matches: &|head| sees(places, head),
    };
    let mut ids = Vec::new();
    let mut after: Option<ListPosition> = None;
    loop {
        let page = at_once(store.search_scope(filter, after.as_ref(), size, scope)).unwrap();
        ids.extend(page.heads.iter().map(|head| head.id));
        after = page.next;
        if after.is_none() {
            return ids;
        }
    }
}

fn sees(places: &[PermissionTarget], head: &Head) -> bool {
    let fits = |wanted: &str, value: &str| wanted.is_empty() || wanted == value;
    places.iter().any(|place| {
        fits(&place.project, &head.project)
            && fits(&place.environment, &head.environment)
            && fits(&place.template, &head.template)
    })
}

#[test]
fn restricted_search_matches_a_full_scan() {
    let (_, store) = world(60);
    let all: Vec<Head> = at_once(store.list(&Filter::default(), None, 100)).unwrap();
    let place = PermissionTarget::new;
    let sights = [
        vec![],
        vec![place("cart", "", "")],
        vec![place("cart", "qa", ""), place("shop", "production", "")],
        vec![place("", "qa", "hotfix"), place("cart", "", "release")],
        vec![
            place("", "", "hotfix"),
            place("cart", "", ""),
            place("cart", "", ""),
        ],
        vec![place("", "production", ""), place("gone", "", "")],
        vec![place("cart", "", ""), place("", "", "")],
    ];
    let filters = [
        Filter::default(),
        Filter {
            project: text("shop"),
            ..Filter::default()
        },
        Filter {
            submitter: text("bob"),
            tag: text("qa"),
            ..Filter::default()
        },
        Filter {
            words: vec!["winter".to_owned()],
            ..Filter::default()
        },
    ];
    for places in &sights {
        for filter in &filters {
            let fitting = found(&store, filter, 100);
            let heads = all.iter().filter(|head| fitting.contains(&head.id));
            let wanted: Vec<u64> = heads
                .filter(|head| sees(places, head))
                .map(|head| head.id)
                .collect();
            for size in [1, 2, 7, 100] {
                let ids = seen(&store, filter, places, size);
                assert_eq!(ids, wanted, "{places:?} {filter:?} by {size}");
            }
        }
    }
}

#[test]
fn restricted_search_costs_only_the_visible_tasks() {
    let kv = Counting::new();
    let store = at_once(Store::open(kv.clone())).unwrap();
    for number in 1..=3 {
        let rare = Submission {
            project: "rare".to_owned(),
            ..submission(number)
        };
        at_once(store.propose(rare, None, at(0))).unwrap();
    }
    for number in 4..=25_000 {
        propose(&store, number);
    }
    let places = [PermissionTarget::new("rare", "", "")];
    let scope = SearchScope {
        targets: Some(&places),
        matches: &|head| sees(&places, head),
    };
    kv.taken();
    let page = at_once(store.search_scope(&Filter::default(), None, 50, scope)).unwrap();
    let (reads, rows) = kv.taken();
    let ids: Vec<u64> = page.heads.iter().map(|head| head.id).collect();
    assert_eq!((ids, page.next), (vec![3, 2, 1], None));
    assert!(reads <= 10 && rows <= 10, "{reads} reads of {rows} rows");
}

/// What a page of a list costs: `TASKS=100000 cargo test --test store history::visibility::a_page_of_many -- --ignored
/// --nocapture`. The store is the one on disk.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "writes hundreds of megabytes, and only measures"]
#[allow(
    clippy::disallowed_methods,
    reason = "it measures by the machine's clock"
)]
async fn a_page_of_many() {
    use futures::StreamExt as _;
    let tasks: u64 = std::env::var("TASKS").map_or(100_000, |text| text.parse().unwrap());
    let dir = tempfile::tempdir().unwrap();
    let kv = tagship::store::sled::SledKv::open(dir.path(), 64 << 20).unwrap();
    let store = Store::open(Arc::new(kv)).await.unwrap();
    let made = futures::stream::iter(1..=tasks).map(|number| {
        let mut submission = submission(number);
        if number % 1_000 == 1 {
            "rare".clone_into(&mut submission.project);
        }
        let second = i64::try_from(number).unwrap();
        store.propose(submission, None, at(second))
    });
    let mut made = made.buffer_unordered(64);
    while let Some(made) = made.next().await {
        made.unwrap();
    }
    drop(made);
    let rare = [PermissionTarget::new("rare", "", "")];
    let by = |change: fn(&mut Filter)| {
        let mut filter = Filter::default();
        change(&mut filter);
        filter
    };
    let searches = [
        ("sees all: everything", by(|_| ()), None),
        (
            "sees all: a state",
            by(|f| f.state = text("proposed")),
            None,
        ),
        (
            "sees all: a project",
            by(|f| f.project = text("cart")),
            None,
        ),
        (
            "sees all: words that are nowhere",
            by(|f| f.words = vec!["nowhere".to_owned()]),
            None,
        ),
        ("sees 1 task of 1,000: everything", by(|_| ()), Some(&rare)),
        (
            "sees 1 task of 1,000: a state",
            by(|f| f.state = text("proposed")),
            Some(&rare),
        ),
    ];
    for (name, filter, places) in searches {
        let mut took = Vec::new();
        let mut shown = 0;
        for _ in 0..200 {
            let scope = SearchScope {
                targets: places.map(|places| &places[..]),
                matches: &|head| places.is_none_or(|places| sees(places, head)),
            };
            let before = std::time::Instant::now();
            let page = store.search_scope(&filter, None, 50, scope).await.unwrap();
            took.push(before.elapsed());
            shown = page.heads.len();
        }
        took.sort();
        let (median, p99) = (took[100], took[197]);
        eprintln!("{tasks} tasks, {name}: {shown} shown, median {median:?}, p99 {p99:?}");
    }
}
