//! A store in memory that counts what is read, for tests of the cost of an answer.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use futures::FutureExt as _;
use futures::future::BoxFuture;
use tagship::store::kv::{
    Commit, CommitError, Kv, KvError, Range, Revision, RowPage, Snapshot, StoredValue, Watch,
};
use tagship::store::memory::MemoryKv;

/// A store in memory that counts what is read.
pub(crate) struct Counting {
    kv: MemoryKv,
    reads: AtomicUsize,
    rows: AtomicUsize,
}

impl Counting {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self {
            kv: MemoryKv::new(),
            reads: AtomicUsize::new(0),
            rows: AtomicUsize::new(0),
        })
    }

    /// Reads and rows since the last time.
    pub(crate) fn taken(&self) -> (usize, usize) {
        let take = |count: &AtomicUsize| count.swap(0, Ordering::SeqCst);
        (take(&self.reads), take(&self.rows))
    }
}

impl Kv for Counting {
    fn get<'a>(&'a self, key: &'a [u8]) -> BoxFuture<'a, Result<Option<StoredValue>, KvError>> {
        self.reads.fetch_add(1, Ordering::SeqCst);
        self.rows.fetch_add(1, Ordering::SeqCst);
        self.kv.get(key)
    }

    fn range(&self, range: Range) -> BoxFuture<'_, Result<RowPage, KvError>> {
        self.reads.fetch_add(1, Ordering::SeqCst);
        async {
            let page = self.kv.range(range).await?;
            self.rows.fetch_add(page.rows.len(), Ordering::SeqCst);
            Ok(page)
        }
        .boxed()
    }

    fn commit(&self, commit: Commit) -> BoxFuture<'_, Result<Revision, CommitError>> {
        self.kv.commit(commit)
    }

    fn watch(&self, prefix: &[u8], after: Revision) -> Watch {
        self.kv.watch(prefix, after)
    }

    fn snapshot(&self) -> BoxFuture<'_, Result<Snapshot, KvError>> {
        self.kv.snapshot()
    }
}
