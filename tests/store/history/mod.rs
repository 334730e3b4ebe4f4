//! Searches find tasks by all indexed fields, page by page, at a cost that does not grow with their
//! number.

use std::sync::Arc;

use futures::FutureExt as _;
use jiff::Timestamp;
use tagship::domain::approval::Approval;
use tagship::domain::plan::PlanDigest;
use tagship::domain::task::{
    CommitPerson, Description, Event, Landed, Recorded, Submission, Submitter, Supersede, TagInfo,
};
use tagship::store::kv::{Commit, KeyWrite, Kv, Range};
use tagship::store::{Filter, ListPosition, Store};

use crate::counting::Counting;
use crate::submission::{of_rule, pushed};

mod visibility;

fn at_once<T>(future: impl Future<Output = T>) -> T {
    future.now_or_never().unwrap()
}

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(1_800_000_000 + second).unwrap()
}

fn object(number: u64) -> String {
    format!("{number:040x}")
}

/// The commit of the task with this id, if it has landed.
fn commit(id: u64) -> String {
    format!("{:08x}{:032x}", 0x00ab_cde0 + id, id)
}

/// The task with this number: every 2nd to qa, every 3rd by bob, every 5th with another template.
fn submission(number: u64) -> Submission {
    let of = |every: u64, yes: &str, no: &str| {
        if number.is_multiple_of(every) {
            yes
        } else {
            no
        }
        .to_owned()
    };
    let submitter = of(3, "bob", "alice");
    Submission {
        project: of(7, "cart", "shop"),
        environment: of(2, "qa", "production"),
        reference: format!("refs/tags/{}{number}", of(2, "qa-", "release-2026-")),
        object: object(number),
        template: of(5, "hotfix", "release"),
        submitter: Submitter {
            name: format!("{submitter}@git"),
            account: Some(submitter),
        },
        expires_s: None,
        origin: of_rule("release-", Supersede::Never),
        title: of(11, "The Winter Sale", ""),
        ..pushed()
    }
}

fn propose(store: &Store, number: u64) -> u64 {
    // Three of them at the same time.
    let second = i64::try_from(number / 3).unwrap();
    at_once(store.propose(submission(number), None, at(second)))
        .unwrap()
        .id()
}

fn append(store: &Store, id: u64, events: Vec<Event>) {
    let task = at_once(store.task(id)).unwrap();
    let time = task.updated;
    let recorded = events.into_iter().map(|event| Recorded { time, event });
    at_once(store.append(&task, recorded.collect())).unwrap();
}

fn withdraw(store: &Store, id: u64, reason: &str) {
    let by = "alice".to_owned();
    let reason = reason.to_owned();
    append(store, id, vec![Event::Withdrawn { by, reason }]);
}

fn person() -> CommitPerson {
    CommitPerson {
        name: "carol".to_owned(),
        email: "carol@example.com".to_owned(),
        at: at(0),
    }
}

/// Lands a task and approves it.
fn approve(store: &Store, id: u64, by: &str, comment: &str) {
    let description = Description {
        commit: commit(id),
        tag: Some(TagInfo {
            name: "v".to_owned(),
            named_as_ref: true,
            tagger: None,
            message: "Ships the Überraschung".to_owned(),
        }),
        subject: "Round prices at the till".to_owned(),
        author: person(),
        committed_at: at(0),
        comparisons: Vec::new(),
    };
    let blob = serde_json::to_vec(&description).unwrap();
    let plan = PlanDigest("0".repeat(64));
    let landed: Landed = serde_json::from_value(serde_json::json!({
        "commit": commit(id),
        "terms": { "plan": plan, "approvals": ["2"], "self_approval": true, "submitter": null },
        "description": at_once(store.put_blob(&blob)).unwrap(),
    }))
    .unwrap();
    let approval: Approval = serde_json::from_value(serde_json::json!({
        "by": by, "groups": [], "plan": plan, "comment": comment, "not_before": null, "at": at(9),
    }))
    .unwrap();
    append(
        store,
        id,
        vec![Event::Landed(Box::new(landed)), Event::Approved(approval)],
    );
}

fn world(tasks: u64) -> (Arc<Counting>, Store) {
    let kv = Counting::new();
    let store = at_once(Store::open(kv.clone())).unwrap();
    for number in 1..=tasks {
        assert_eq!(propose(&store, number), number);
    }
    (kv, store)
}

/// All results of a search, in pages of this size.
fn found(store: &Store, filter: &Filter, size: usize) -> Vec<u64> {
    let mut ids = Vec::new();
    let mut after: Option<ListPosition> = None;
    loop {
        let page = at_once(store.search(filter, after.as_ref(), size)).unwrap();
        assert!(page.heads.len() <= size);
        ids.extend(page.heads.iter().map(|head| head.id));
        after = page.next;
        if after.is_none() {
            return ids;
        }
    }
}

fn text(text: &str) -> Option<String> {
    Some(text.to_owned())
}

/// Its name, its filter, and which tasks match.
type Choice = (&'static str, fn(&mut Filter), fn(u64) -> bool);

#[test]
fn every_filter_combination_matches_a_full_scan() {
    let (_, store) = world(60);
    for id in [4, 8, 9, 12, 33] {
        withdraw(&store, id, "no changelog");
    }
    for id in [5, 10, 11, 21] {
        approve(&store, id, "dora", "looks fine");
    }
    let choices: [Choice; 11] = [
        ("project", |f| f.project = text("shop"), |n| n % 7 != 0),
        (
            "environment",
            |f| f.environment = text("qa"),
            |n| n % 2 == 0,
        ),
        ("template", |f| f.template = text("hotfix"), |n| n % 5 == 0),
        ("account", |f| f.submitter = text("bob"), |n| n % 3 == 0),
        (
            "submitter",
            |f| f.submitter = text("bob@git"),
            |n| n % 3 == 0,
        ),
        (
            "approver",
            |f| f.approver = text("dora"),
            |n| [5, 10, 11, 21].contains(&n),
        ),
        (
            "state",
            |f| f.state = text("withdrawn"),
            |n| [4, 8, 9, 12, 33].contains(&n),
        ),
        (
            "tag",
            |f| f.tag = text("release-2026-1"),
            |n| n % 2 == 1 && n.to_string().starts_with('1'),
        ),
        ("short tag", |f| f.tag = text("qa"), |n| n % 2 == 0),
        (
            "words",
            |f| f.words = vec!["winter".to_owned(), "SALE".to_owned()],
            |n| n % 11 == 0,
        ),
        (
            "time",
            |f| (f.since, f.until) = (Some(at(8)), Some(at(14))),
            |n| (8..=14).contains(&(n / 3)),
        ),
    ];
    for (first, ask_first, fits_first) in &choices {
        for (second, ask_second, fits_second) in &choices {
            let mut filter = Filter::default();
            ask_first(&mut filter);
            ask_second(&mut filter);
            if (first.contains("tag") && second.contains("tag") && first != second)
                || (filter.submitter == text("bob") && *first == "submitter")
            {
                continue;
            }
            let wanted: Vec<u64> = (1..=60)
                .rev()
                .filter(|n| fits_first(*n) && fits_second(*n))
                .collect();
            for size in [1, 2, 7, 200] {
                assert_eq!(
                    found(&store, &filter, size),
                    wanted,
                    "{first} and {second}, {size}"
                );
            }
        }
    }
    for id in 1..=60 {
        let one = Filter {
            id: Some(id),
            environment: text("qa"),
            ..Filter::default()
        };
        let wanted = if id % 2 == 0 { vec![id] } else { vec![] };
        assert_eq!(found(&store, &one, 5), wanted);
    }
}

#[test]
fn words_are_found_in_every_text_field() {
    let (_, store) = world(3);
    approve(&store, 2, "dora", "After the STANDUP");
    withdraw(&store, 3, "the changelog is missing");
    let by = |words: &str| {
        let words = words.split(' ').map(str::to_owned).collect();
        found(
            &store,
            &Filter {
                words,
                ..Filter::default()
            },
            10,
        )
    };
    assert_eq!(by("standup"), [2], "a comment");
    assert_eq!(
        by("überraschung TILL"),
        [2],
        "the tag's message and the commit's subject"
    );
    assert_eq!(by("changelog"), [3], "a reason");
    assert_eq!(by("release-2026-3"), [3], "the tag");
    assert_eq!(by("changelog standup"), [0; 0], "both in one task");
}

#[test]
fn task_is_found_by_its_commit_prefix() {
    let (_, store) = world(3);
    approve(&store, 2, "dora", &"words ".repeat(2_000));
    approve(&store, 3, "dora", "");
    let by = |words: &str| {
        let words = words.split(' ').map(str::to_owned).collect();
        let filter = Filter {
            words,
            ..Filter::default()
        };
        found(&store, &filter, 10)
    };
    let hash = commit(2);
    for digits in [8, 10, 12, 39, 40] {
        assert_eq!(by(&hash[..digits]), [2], "{digits} digits");
        assert_eq!(by(&hash[..digits].to_uppercase()), [2], "{digits} digits");
    }
    assert_eq!(by(&hash[..7]), [3, 2], "both begin so");
    assert_eq!(by(&format!("till {}", &hash[..10])), [2], "beside a word");
    assert_eq!(by(&format!("nowhere {}", &hash[..10])), [0; 0]);
    assert_eq!(by(&hash[..6]), [0; 0], "too short for a hash");
    assert_eq!(by(&hash[1..12]), [0; 0], "not its beginning");
    assert_eq!(by(&format!("{hash}0")), [0; 0], "longer than the hash");
    assert_eq!(by(&object(1)), [1], "the object that was pushed");
    let long = "5".repeat(60) + "abcd";
    let pushed = Submission {
        object: long.clone(),
        ..submission(4)
    };
    at_once(store.propose(pushed, None, at(9))).unwrap();
    for digits in [7, 40, 64] {
        assert_eq!(by(&long[..digits]), [4], "SHA-256, {digits} digits");
    }
}

#[test]
fn cursor_is_stable_while_tasks_are_added() {
    let (_, store) = world(30);
    let filter = Filter {
        project: text("shop"),
        ..Filter::default()
    };
    let wanted = found(&store, &filter, 100);
    let mut ids = Vec::new();
    let mut after: Option<ListPosition> = None;
    let mut number = 30;
    loop {
        let page = at_once(store.search(&filter, after.as_ref(), 4)).unwrap();
        ids.extend(page.heads.iter().map(|head| head.id));
        for _ in 0..3 {
            number += 1;
            propose(&store, number);
        }
        let Some(next) = page.next else { break };
        // As it is passed in a URL.
        after = Some(ListPosition::parse(next.as_str()).unwrap());
    }
    assert_eq!(ids, wanted);
    for wrong in ["", "/", "0/0", "x000000000000000/0000000000000000", "a/b/c"] {
        assert_eq!(ListPosition::parse(wrong), None, "{wrong}");
    }
}

#[test]
fn page_cost_is_independent_of_the_task_count() {
    let searches: [(&str, Filter); 6] = [
        ("everything", Filter::default()),
        (
            "state",
            Filter {
                state: text("proposed"),
                ..Filter::default()
            },
        ),
        (
            "project",
            Filter {
                project: text("shop"),
                ..Filter::default()
            },
        ),
        (
            "time",
            Filter {
                since: Some(at(1)),
                until: Some(at(900)),
                ..Filter::default()
            },
        ),
        (
            "submitter",
            Filter {
                submitter: text("bob"),
                ..Filter::default()
            },
        ),
        (
            "id",
            Filter {
                id: Some(500),
                ..Filter::default()
            },
        ),
    ];
    let mut costs = Vec::new();
    for tasks in [1_000, 50_000] {
        let (kv, store) = world(tasks);
        let mut cost = Vec::new();
        for (name, filter) in &searches {
            kv.taken();
            let page = at_once(store.search(filter, None, 50)).unwrap();
            let first = kv.taken();
            if let Some(next) = &page.next {
                at_once(store.search(filter, Some(next), 50)).unwrap();
            }
            cost.push((*name, first, kv.taken()));
        }
        costs.push(cost);
    }
    assert_eq!(costs[0], costs[1]);
    assert!(
        costs[0].iter().all(|(_, (reads, _), _)| *reads <= 60),
        "{costs:?}"
    );
}

#[test]
fn fruitless_search_bounds_each_answer() {
    let (kv, store) = world(25_000);
    for filter in [
        Filter {
            words: vec!["nowhere".to_owned()],
            ..Filter::default()
        },
        Filter {
            tag: text("zz"),
            ..Filter::default()
        },
        Filter {
            project: text("cart"),
            tag: text("re"),
            template: text("none"),
            ..Filter::default()
        },
        Filter {
            project: text("cart"),
            words: vec!["nowhere".to_owned()],
            ..Filter::default()
        },
    ] {
        kv.taken();
        let page = at_once(store.search(&filter, None, 50)).unwrap();
        let (reads, rows) = kv.taken();
        assert!(
            reads <= 2_100 && rows <= 23_000,
            "{filter:?}: {reads} reads of {rows} rows"
        );
        assert_eq!(page.heads, []);
        assert_eq!(found(&store, &filter, 50), [0; 0]);
    }
}

#[test]
fn a_store_from_before_the_index_is_indexed_when_it_is_opened() {
    let (kv, store) = world(40);
    approve(&store, 7, "dora", "looks fine");
    withdraw(&store, 8, "no changelog");
    let filters = [
        Filter {
            state: text("withdrawn"),
            ..Filter::default()
        },
        Filter {
            approver: text("dora"),
            ..Filter::default()
        },
        Filter {
            project: text("cart"),
            environment: text("qa"),
            ..Filter::default()
        },
        Filter {
            words: vec!["till".to_owned(), "fine".to_owned()],
            ..Filter::default()
        },
        Filter {
            tag: text("release-2026-1"),
            ..Filter::default()
        },
        Filter {
            words: vec![commit(7)[..10].to_owned()],
            ..Filter::default()
        },
        Filter::default(),
    ];
    let before: Vec<_> = filters.iter().map(|f| found(&store, f, 7)).collect();
    assert!(before.iter().all(|found| !found.is_empty()));
    let rows = |prefix: &str| at_once(kv.range(Range::prefix(prefix))).unwrap().rows;
    let all = || [rows("by/"), rows("text/")].concat();
    let indexed: Vec<_> = all().into_iter().map(|row| (row.key, row.value)).collect();
    for row in all() {
        at_once(kv.commit(Commit::new().delete(row.key))).unwrap();
    }
    // The former rows.
    let old = Commit::new()
        .delete("index")
        .put("state/withdrawn/0000000000000008", "")
        .put("project/shop/qa/0000000000000008", "");
    assert!(
        old.writes()
            .values()
            .any(|write| *write == KeyWrite::Delete)
    );
    at_once(kv.commit(old)).unwrap();
    let store = at_once(Store::open(kv.clone())).unwrap();
    let after: Vec<_> = filters.iter().map(|f| found(&store, f, 7)).collect();
    assert_eq!(before, after);
    let again: Vec<_> = all().into_iter().map(|row| (row.key, row.value)).collect();
    assert_eq!(indexed.len(), again.len());
    assert!(rows("state/").is_empty() && rows("project/").is_empty());
}
