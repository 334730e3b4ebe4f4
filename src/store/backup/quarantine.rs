//! A task that was unfinished at the backup may have continued since, and a newer release may be
//! live. So a restored agent resumes none by itself: a person checks and resumes it.

use futures::{StreamExt as _, TryStreamExt as _};
use jiff::Timestamp;

use crate::domain::task::{Event, Pause, Recorded, State, StopRequester};
use crate::store::{Store, StoreError};

/// The author of these events in the tasks' history.
const BY: &str = "tagship restore";

/// Tasks held per flush of the store.
const TOGETHER: usize = 64;

/// Holds every active task; returns their ids.
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

/// Returns the event that holds a task in this state, with `detail`; `None` if it only ends.
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
        // Neither opening its gate nor its scheduled time may resume the task unchecked.
        State::Paused { .. } => Event::Paused(Pause::Unknown {
            message: format!("{reason}; it was paused then: {detail}"),
        }),
        // It ends as stopped, and may be retried as such.
        State::RollingBack { .. } => Event::StopRequested {
            by: BY.to_owned(),
            requester: StopRequester::Tagship,
        },
        _ => return None,
    })
}
