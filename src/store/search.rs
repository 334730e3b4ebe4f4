//! Task search: newest first, by all indexed fields, in bounded pages.
//!
//! All indexes sort by creation time, so a search over several walks them side by side and skips
//! ahead ([`IndexWalk`]). Conditions without an index (short tag prefixes, words) are checked per
//! task; after [`BUDGET`] the answer says where to continue. So the cost of a search is bounded,
//! however many tasks there are.

use super::kv::{Key, Kv, Range, Row};
use super::search_rows::{self, ListPosition};
use super::{Filter, Head, Store, StoreError, index};
use crate::domain::permission::PermissionTarget;

/// The cost limit of one answer: a row passed costs 1, a read of the engine [`READ`].
const BUDGET: usize = 20_000;
const READ: usize = 10;
/// Rows per read when several indexes are walked, or text is read.
const STRIDE: usize = 256;
const TEXT_STRIDE: usize = 1_000;

/// The tasks that a search covers.
#[derive(Clone, Copy)]
pub struct SearchScope<'a> {
    /// Only tasks in these scopes, if given, which avoids reading all others.
    pub targets: Option<&'a [PermissionTarget]>,
    /// Of those, only tasks whose head matches this.
    pub matches: &'a (dyn Fn(&Head) -> bool + Sync),
}

impl SearchScope<'_> {
    const ALL: SearchScope<'static> = SearchScope {
        targets: None,
        matches: &|_| true,
    };
}

/// A page of tasks, newest first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SearchPage {
    pub heads: Vec<Head>,
    /// Continue after this position; `None` at the end. Also set if tasks were read and none
    /// matches.
    pub next: Option<ListPosition>,
}

/// A walk over one index, newest first.
struct IndexWalk {
    prefix: Key,
    rows: std::collections::VecDeque<Row>,
    /// The engine has no more rows.
    ended: bool,
    stride: usize,
}

impl IndexWalk {
    fn new(prefix: Key, stride: usize) -> Self {
        Self {
            prefix,
            rows: std::collections::VecDeque::new(),
            ended: false,
            stride,
        }
    }

    /// Returns the newest row whose position sorts before `below`.
    async fn below(
        &mut self,
        kv: &dyn Kv,
        below: &[u8],
        spent: &mut usize,
    ) -> Result<Option<&Row>, StoreError> {
        loop {
            while let Some(row) = self.rows.front() {
                if &row.key[self.prefix.len()..] < below {
                    break;
                }
                self.rows.pop_front();
                *spent += 1;
            }
            if !self.rows.is_empty() || self.ended {
                return Ok(self.rows.front());
            }
            *spent += READ;
            let range = Range::prefix(self.prefix.clone())
                .descending()
                .after([&self.prefix, below].concat())
                .limit(self.stride);
            let page = kv.range(range).await?;
            self.ended = !page.more;
            self.rows.extend(page.rows);
            // From now on read whole strides.
            self.stride = self.stride.max(STRIDE);
        }
    }
}

/// The union of several indexes, newest first.
struct Branch(Vec<IndexWalk>);

impl Branch {
    /// Returns position and value of the newest row whose position sorts before `below`.
    async fn below(
        &mut self,
        kv: &dyn Kv,
        below: &[u8],
        spent: &mut usize,
    ) -> Result<Option<(Vec<u8>, Option<Vec<u8>>)>, StoreError> {
        let mut newest: Option<(Vec<u8>, Option<Vec<u8>>)> = None;
        for walk in &mut self.0 {
            let length = walk.prefix.len();
            let of_text = walk.prefix == search_rows::TEXTS;
            let Some(row) = walk.below(kv, below, spent).await? else {
                continue;
            };
            let position = &row.key[length..];
            if newest
                .as_ref()
                .is_none_or(|(held, _)| position > held.as_slice())
            {
                newest = Some((position.to_vec(), of_text.then(|| row.value.clone())));
            }
        }
        Ok(newest)
    }
}

/// A task that every index contains.
struct Candidate {
    position: ListPosition,
    /// Its words, if the walk covers them.
    text: Option<Vec<u8>>,
}

impl Store {
    /// Returns matching tasks after a position, newest first.
    ///
    /// # Errors
    /// [`StoreError::Kv`], [`StoreError::Damaged`].
    pub async fn search(
        &self,
        filter: &Filter,
        after: Option<&ListPosition>,
        limit: usize,
    ) -> Result<SearchPage, StoreError> {
        self.search_scope(filter, after, limit, SearchScope::ALL)
            .await
    }

    /// Like [`Store::search`], limited to those tasks.
    ///
    /// # Errors
    /// As [`Store::search`].
    pub async fn search_scope(
        &self,
        filter: &Filter,
        after: Option<&ListPosition>,
        limit: usize,
        scope: SearchScope<'_>,
    ) -> Result<SearchPage, StoreError> {
        if let Some(id) = filter.id {
            let mut found = self.only(filter, id, after).await?;
            found.heads.retain(scope.matches);
            return Ok(found);
        }
        let below = after.map_or_else(|| vec![0xff], |position| position.0.as_bytes().to_vec());
        self.search_below(filter, below, limit, scope).await
    }

    /// Returns the task with this id, if it matches.
    async fn only(
        &self,
        filter: &Filter,
        id: u64,
        after: Option<&ListPosition>,
    ) -> Result<SearchPage, StoreError> {
        let nothing = SearchPage {
            heads: Vec::new(),
            next: None,
        };
        let head = match self.head(id).await {
            Err(StoreError::NoTask(_)) => return Ok(nothing),
            head => head?,
        };
        let position = search_rows::position(head.created_at, id);
        if after.is_some_and(|after| position >= *after) {
            return Ok(nothing);
        }
        let mut below = position.0.into_bytes();
        below.push(0);
        let filter = Filter {
            since: filter.since.max(Some(head.created_at)),
            id: None,
            ..filter.clone()
        };
        let mut found = self
            .search_below(&filter, below, 1, SearchScope::ALL)
            .await?;
        found.heads.retain(|head| head.id == id);
        found.next = None;
        Ok(found)
    }

    async fn search_below(
        &self,
        filter: &Filter,
        mut below: Vec<u8>,
        limit: usize,
        scope: SearchScope<'_>,
    ) -> Result<SearchPage, StoreError> {
        if let Some(until) = filter.until {
            let end = search_rows::time(until.as_millisecond().saturating_add(1));
            below = below.min(end.into_bytes());
        }
        let oldest = filter
            .since
            .map(|since| search_rows::time(since.as_millisecond()));
        let mut branches = branches(filter, scope.targets, limit);
        let (mut heads, mut spent) = (Vec::new(), 0);
        loop {
            let Some(candidate) = self
                .next_candidate(&mut branches, &below, &mut spent)
                .await?
            else {
                return Ok(SearchPage { heads, next: None });
            };
            if oldest
                .as_ref()
                .is_some_and(|oldest| candidate.position.0 < *oldest)
            {
                return Ok(SearchPage { heads, next: None });
            }
            let fitting = self.fitting(filter, &candidate, &mut spent).await?;
            if let Some(head) = fitting.filter(|head| (scope.matches)(head)) {
                if heads.len() == limit {
                    let last = heads.last().map(|head: &Head| (head.created_at, head.id));
                    let next = last.map(|(at, id)| search_rows::position(at, id));
                    return Ok(SearchPage { heads, next });
                }
                heads.push(head);
            }
            // Matches are covered by the limit; skipped rows, by the budget.
            if spent >= BUDGET + heads.len() * 2 * READ {
                let next = Some(candidate.position);
                return Ok(SearchPage { heads, next });
            }
            below = candidate.position.0.into_bytes();
        }
    }

    /// Returns the newest task before a position that every branch contains.
    async fn next_candidate(
        &self,
        branches: &mut [Branch],
        below: &[u8],
        spent: &mut usize,
    ) -> Result<Option<Candidate>, StoreError> {
        let mut below = below.to_vec();
        let mut agreed = 0;
        let mut round = 0;
        loop {
            let count = branches.len();
            let branch = &mut branches[round % count];
            let found = branch.below(self.kv.as_ref(), &below, spent).await?;
            let Some((position, text)) = found else {
                return Ok(None);
            };
            // After the first of them, `below` is the others' required position, plus a byte.
            let same = agreed > 0 && below.split_last().is_some_and(|(_, held)| held == position);
            if same {
                agreed += 1;
            } else {
                agreed = 1;
                below = [position.as_slice(), &[0]].concat();
            }
            if agreed == count {
                let position = ListPosition(String::from_utf8_lossy(&position).into_owned());
                return Ok(Some(Candidate { position, text }));
            }
            round += 1;
        }
    }

    /// Returns the head of a candidate, if all other conditions match.
    async fn fitting(
        &self,
        filter: &Filter,
        candidate: &Candidate,
        spent: &mut usize,
    ) -> Result<Option<Head>, StoreError> {
        if !filter.words.is_empty() {
            let read;
            let text = if let Some(text) = &candidate.text {
                text
            } else {
                *spent += READ;
                let entry = self
                    .kv
                    .get(&search_rows::text_row(&candidate.position))
                    .await?;
                read = entry.map(|entry| entry.value).unwrap_or_default();
                &read
            };
            let text = String::from_utf8_lossy(text);
            let has = |word: &String| search_rows::has(&text, &word.to_lowercase());
            if !filter.words.iter().all(has) {
                return Ok(None);
            }
        }
        *spent += READ;
        let head = self.head(candidate.position.id()).await?;
        Ok(index::matches(filter, &head).then_some(head))
    }

    /// Returns heads of tasks before `before`, newest first, up to `limit`.
    ///
    /// # Errors
    /// [`StoreError::Kv`], [`StoreError::Damaged`].
    pub async fn list(
        &self,
        filter: &Filter,
        before: Option<u64>,
        limit: usize,
    ) -> Result<Vec<Head>, StoreError> {
        let mut below = match before {
            Some(id) => match self.below_id(id).await? {
                Some(below) => below,
                None => return Ok(Vec::new()),
            },
            None => vec![0xff],
        };
        let mut heads = Vec::new();
        loop {
            let lack = limit - heads.len();
            let found = self
                .search_below(filter, below, lack, SearchScope::ALL)
                .await?;
            heads.extend(found.heads);
            match found.next {
                Some(next) if heads.len() < limit => below = next.0.into_bytes(),
                _ => return Ok(heads),
            }
        }
    }

    /// Returns the position of the task with this id, as an exclusive bound for a search; that of
    /// the next older task if it does not exist.
    ///
    /// # Errors
    /// [`StoreError::Kv`], [`StoreError::Damaged`].
    async fn below_id(&self, id: u64) -> Result<Option<Vec<u8>>, StoreError> {
        match self.head(id).await {
            Ok(head) => Ok(Some(
                search_rows::position(head.created_at, id).0.into_bytes(),
            )),
            Err(StoreError::NoTask(_)) => {
                let range = Range::prefix(index::HEADS).descending().limit(1);
                let page = self.kv.range(range.after(index::head_key(id))).await?;
                let older = page.rows.first().and_then(|row| index::id_of(&row.key));
                let Some(older) = older else { return Ok(None) };
                let head = self.head(older).await?;
                let mut below = search_rows::position(head.created_at, older).0.into_bytes();
                below.push(0);
                Ok(Some(below))
            }
            Err(error) => Err(error),
        }
    }

    /// Returns the position after which a search shows older tasks than this; see [`Store::list`].
    ///
    /// # Errors
    /// [`StoreError::Kv`], [`StoreError::Damaged`].
    pub async fn position_of(&self, id: u64) -> Result<Option<ListPosition>, StoreError> {
        let below = self.below_id(id).await?;
        Ok(below.map(|below| ListPosition(String::from_utf8_lossy(&below).into_owned())))
    }
}

/// Returns the indexes that a search walks; all tasks if no index applies.
fn branches(filter: &Filter, targets: Option<&[PermissionTarget]>, limit: usize) -> Vec<Branch> {
    let mut all: Vec<Vec<Key>> = search_rows::prefixes(filter)
        .into_iter()
        .map(|prefix| vec![prefix])
        .collect();
    let prefixes = targets.map(|targets| targets.iter().map(search_rows::prefix_of).collect());
    if let Some(Some(prefixes)) = prefixes {
        all.push(prefixes);
    }
    let page = limit.saturating_add(1);
    let stride = match all.len() {
        0 if filter.words.is_empty() && filter.tag.is_none() => page,
        0 => TEXT_STRIDE,
        1 => page,
        _ => STRIDE,
    };
    if all.is_empty() {
        all.push(vec![search_rows::TEXTS.to_vec()]);
    }
    let walk = |prefix: Key| IndexWalk::new(prefix, stride);
    all.into_iter()
        .map(|prefixes| Branch(prefixes.into_iter().map(walk).collect()))
        .collect()
}
