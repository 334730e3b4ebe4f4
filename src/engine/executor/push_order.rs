//! Which task of one push is the newest: of the commits that are no ancestor of another, the tag with
//! the highest version. Pure but for [`heads`], which asks git.

use std::cmp::Ordering;
use std::collections::BTreeSet;

use jiff::SignedDuration;

use super::effects::World;
use crate::domain::task::Task;
use crate::store::StoreError;

/// The pause before a failed git query is retried.
pub(super) const RETRY_AFTER: SignedDuration = SignedDuration::from_secs(1);

/// Returns the commits that no other of these reaches.
pub(super) async fn heads(
    world: &World,
    project: &str,
    commits: &[String],
) -> Result<Vec<String>, String> {
    let source = world.plan_source.source(project)?;
    let heads = world.git.heads(&source, commits).await;
    heads.map_err(|error| error.to_string())
}

/// Returns the newer task of the same push that has begun already, if any; the inner error is
/// git's.
pub(super) async fn begun_newer_sibling(
    world: &World,
    task: &Task,
) -> Result<Result<Option<u64>, String>, StoreError> {
    if task.work.is_some() || !task.submission.yields_to_newer() {
        return Ok(Ok(None));
    }
    let Some(begun) = world.store.begun_sibling(task).await? else {
        return Ok(Ok(None));
    };
    let commits = [task, &begun].into_iter();
    let commits: BTreeSet<&str> = commits.filter_map(Task::commit).collect();
    let commits: Vec<String> = commits.into_iter().map(str::to_owned).collect();
    let heads = heads(world, &task.submission.project, &commits).await;
    Ok(heads.map(|heads| newest([task, &begun].into_iter(), &heads).filter(|id| *id != task.id)))
}

/// Returns the newest of some tasks: of the commits that are no ancestor of another, the tag with
/// the highest version.
pub(super) fn newest<'t>(tasks: impl Iterator<Item = &'t Task>, heads: &[String]) -> Option<u64> {
    let is_head = |task: &Task| {
        let commit = task.commit().unwrap_or_default();
        heads.iter().any(|head| head == commit)
    };
    let order = |one: &&Task, other: &&Task| {
        is_head(one)
            .cmp(&is_head(other))
            .then_with(|| by_version(one.tag(), other.tag()))
            .then_with(|| one.id.cmp(&other.id))
    };
    tasks.max_by(order).map(|task| task.id)
}

/// Words that mark a pre-release, as in `1.12-rc1`.
const PRERELEASES: [&str; 6] = ["alpha", "beta", "pre", "prerelease", "preview", "rc"];

/// What follows a number in a name, in ascending order.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
enum VersionSuffix<'n> {
    /// With its word, if it has one.
    Prerelease(String),
    End,
    Other(&'n str),
}

impl<'n> VersionSuffix<'n> {
    fn of(part: &'n str) -> Self {
        let separators = ['-', '.', '_', '~'];
        let text = part.strip_prefix(separators).unwrap_or(part);
        let word = text.chars().take_while(char::is_ascii_alphabetic);
        let word: String = word.map(|letter| letter.to_ascii_lowercase()).collect();
        if part.is_empty() {
            Self::End
        } else if part.starts_with('~') || PRERELEASES.contains(&word.as_str()) {
            Self::Prerelease(word)
        } else {
            Self::Other(part)
        }
    }
}

/// Compares names part by part: numbers by value, other text by its characters, so that `1.12` is
/// later than `1.9`. A pre-release such as `1.12-rc1` is earlier than `1.12`; `1.12-2` is later.
fn by_version(one: &str, other: &str) -> Ordering {
    let (mut one, mut other) = (one, other);
    let mut after_number = false;
    while !one.is_empty() || !other.is_empty() {
        let ((first, one_rest), (second, other_rest)) = (split(one), split(other));
        let number = |part: &str| part.starts_with(|letter: char| letter.is_ascii_digit());
        let numbers = number(first) && number(second);
        let order = if numbers {
            let value = |part: &'_ str| part.trim_start_matches('0').to_owned();
            let (first, second) = (value(first), value(second));
            first
                .len()
                .cmp(&second.len())
                .then_with(|| first.cmp(&second))
        } else if after_number {
            VersionSuffix::of(first).cmp(&VersionSuffix::of(second))
        } else {
            first.cmp(second)
        };
        if order.is_ne() {
            return order;
        }
        after_number = numbers;
        (one, other) = (one_rest, other_rest);
    }
    Ordering::Equal
}

/// Splits off the first run of digits, or of non-digits.
fn split(name: &str) -> (&str, &str) {
    let is_digit = |letter: char| letter.is_ascii_digit();
    let digits = name.starts_with(is_digit);
    let end = name.find(|letter| is_digit(letter) != digits);
    name.split_at(end.unwrap_or(name.len()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prerelease_is_earlier_than_its_release() {
        let ascending = [
            "release-1.11.9",
            "release-1.12~1",
            "release-1.12-alpha2",
            "release-1.12.beta1",
            "release-1.12-pre3",
            "release-1.12-RC1",
            "release-1.12rc2",
            "release-1.12_rc10",
            "release-1.12",
            "release-1.12-2",
            "release-1.12-hotfix1",
            "release-1.12.1-rc1",
            "release-1.12.1",
            "release-1.13-rc1",
        ];
        for (number, earlier) in ascending.iter().enumerate() {
            assert_eq!(by_version(earlier, earlier), Ordering::Equal);
            for later in &ascending[number + 1..] {
                let both = (earlier, later);
                assert_eq!(by_version(earlier, later), Ordering::Less, "{both:?}");
                assert_eq!(by_version(later, earlier), Ordering::Greater, "{both:?}");
            }
        }
        // At the beginning, and within a word, it says nothing.
        assert_eq!(by_version("rc-1", "qa-1"), Ordering::Greater);
        assert_eq!(by_version("v1-prefix", "v1"), Ordering::Greater);
    }

    #[test]
    fn numbers_in_names_of_tags_are_compared_by_value() {
        let ascending = [
            "qa-1.2", "qa-1.9", "qa-1.9.1", "qa-1.12", "qa-2", "qa-10", "qa-a", "v1",
        ];
        for pair in ascending.windows(2) {
            assert_eq!(by_version(pair[0], pair[1]), Ordering::Less, "{pair:?}");
            assert_eq!(by_version(pair[1], pair[0]), Ordering::Greater, "{pair:?}");
        }
        assert_eq!(by_version("qa-007", "qa-7"), Ordering::Equal);
        assert_eq!(
            by_version("99999999999999999999999", "9"),
            Ordering::Greater
        );
    }
}
