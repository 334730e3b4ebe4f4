//! What was unfinished when the backup was taken may have gone on since, and something newer may be
//! live by now. So a restored agent begins none of it by itself: a person looks, and takes it up
//! again.

use futures::{StreamExt as _, TryStreamExt as _};
use jiff::Timestamp;

use crate::domain::task::{Event, Pause, Recorded, State, StopRequester};
use crate::store::{Store, StoreError};

/// Who speaks in the history of the tasks.
const BY: &str = "tagship restore";

/// Tasks that are held by one flush of the store.
const TOGETHER: usize = 64;

/// Holds every task that is not at rest; returns their ids.
pub(super) async fn hold(
    store: &Store,
    backup: Timestamp,
    now: Timestamp,
) -> Result<Vec<u64>, StoreError> {
    let (ids, _) = store.active().await?;
    let held = ids.iter().map(|id| async move {
        let task = store.task(*id).await?;
        let detail = store.head(*id).await?.detail;
        if let Some(event) = held_by(&task.state, backup, &detail) {
            let held = Recorded { time: now, event };
            store.append(&task, vec![held]).await?;
        }
        Ok::<_, StoreError>(())
    });
    let held = futures::stream::iter(held).buffer_unordered(TOGETHER);
    held.try_collect::<()>().await?;
    Ok(ids)
}

/// What holds a task in this state, of which `detail` is shown; `None` where it only ends.
fn held_by(state: &State, backup: Timestamp, detail: &str) -> Option<Event> {
    let reason = format!(
        "restored from a backup of {backup:.0}: it may have run since; look at what is live first"
    );
    Some(match state {
        State::Proposed | State::Waiting | State::Scheduled { .. } | State::Queued => {
            Event::Withdrawn {
                by: BY.to_owned(),
                reason,
            }
        }
        State::Running => Event::Paused(Pause::Unknown { message: reason }),
        // Whoever opens its gate, or the time for which it waits, must not let it go on unseen.
        State::Paused { .. } => Event::Paused(Pause::Unknown {
            message: format!("{reason}; it was paused then: {detail}"),
        }),
        // It ends as stopped, and may be tried again as such.
        State::RollingBack { .. } => Event::StopRequested {
            by: BY.to_owned(),
            asker: StopRequester::Tagship,
        },
        _ => return None,
    })
}
