//! The cost of opening a large store.

use super::*;

/// The cost of opening a store, which counts every row: `TASKS=200000 cargo test --release --test
/// store large_store -- --ignored --nocapture`. A task has as many rows here as one with a dozen
/// events has in the store, of about their size.
#[tokio::test]
#[ignore = "writes hundreds of megabytes, and only measures"]
#[allow(
    clippy::disallowed_methods,
    reason = "it measures by the machine's clock"
)]
async fn opening_a_large_store() {
    let tasks: u64 = std::env::var("TASKS").map_or(200_000, |text| text.parse().unwrap());
    let dir = tempfile::tempdir().unwrap();
    let kv = on_disk(dir.path());
    let mut writes = Vec::new();
    for id in 0..tasks {
        let mut commit = Commit::new().put(format!("head/{id:016x}"), vec![b'h'; 400]);
        for event in 0..12 {
            commit = commit.put(format!("event/{id:016x}/{event:08x}"), vec![b'e'; 300]);
        }
        for index in [
            "state",
            "project",
            "template",
            "submitter",
            "day",
            "tag",
            "text",
        ] {
            commit = commit.put(format!("{index}/shop/{id:016x}"), vec![b'i'; 20]);
        }
        writes.push(kv.commit(commit));
        if writes.len() == 512 {
            futures::future::try_join_all(writes.drain(..))
                .await
                .unwrap();
        }
    }
    futures::future::try_join_all(writes.drain(..))
        .await
        .unwrap();
    drop(writes);
    drop(kv);
    let size = std::fs::metadata(dir.path().join("db")).unwrap().len() >> 20;
    for round in 1..=3 {
        let before = std::time::Instant::now();
        drop(on_disk(dir.path()));
        let took = before.elapsed();
        eprintln!(
            "{tasks} tasks, {} rows, {size} MiB: opened in {took:?} (round {round})",
            tasks * 20
        );
    }
}
