//! What the executor is to do next.

use jiff::Timestamp;

use super::{Event, StepRef};

/// One thing that the executor is to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NextAction {
    /// Look whether the ref stands on the pushed object, fetch, pin, plan.
    Land,
    /// Look whether the ref of a landed task still stands.
    Recheck,
    /// Append this event when the time has come.
    At(Timestamp, Event),
    /// Claim the work when the queue of the project and environment is free.
    Start,
    /// Append the intent, then do the step.
    Perform { at: StepRef, attempt: u32 },
    /// The intent stands, the result does not: find out, or do it again.
    Resume { at: StepRef, attempt: u32 },
    /// End what still runs of this step.
    Kill { at: StepRef },
    /// Append this event now.
    Record(Event),
}
