//! What the executor has to do next.

use jiff::Timestamp;

use super::{Event, StepRef};

/// One action for the executor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NextAction {
    /// Check that the ref points to the pushed object, fetch, pin, plan.
    Land,
    /// Check that the ref of a landed task still exists.
    Recheck,
    /// Append this event at this time.
    At(Timestamp, Event),
    /// Claim the work when the queue of the project and environment is free.
    Start,
    /// Append the intent, then do the step.
    Perform { at: StepRef, attempt: u32 },
    /// The intent is logged, the result is not: determine the result, or repeat the step.
    Resume { at: StepRef, attempt: u32 },
    /// End what still runs of this step.
    Kill { at: StepRef },
    /// Append this event now.
    Record(Event),
}
