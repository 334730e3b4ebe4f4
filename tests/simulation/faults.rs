//! The outcome of each effect: success, its agent ends before or after it, its connection is cut,
//! its commit is not confirmed. Faults are given by number (exhaustive tests) or drawn from a seed;
//! both see the same effects in the same order in every run.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::future::{pending, poll_fn};
use std::sync::{Arc, Mutex};
use std::task::{Poll, Waker};

use tagship::store::memory::CommitFault;
use tagship_tests::random::Random;

/// What happens to one effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// The agent ends before the effect acts.
    CrashBefore,
    /// The agent ends after the effect acted, before its reply.
    CrashAfter,
    /// The connection is lost before the host acts; a commit is refused.
    CutBefore,
    /// The connection is lost after the host acted; a commit happens and is not confirmed.
    CutAfter,
    /// The host acts twice, as when a question that was believed lost is asked again. A commit does
    /// not happen and is not confirmed.
    Twice,
    /// It does not happen, and the answer is an error: the disk is full, or the host refuses.
    Refuse,
    /// The connection is lost, and the request reaches the host later.
    Late,
    /// The agent ends, and its request reaches the host later.
    CrashLate,
}

/// The error of an effect that a fault refused.
pub(crate) const REFUSED: &str = "refused by the test";

pub(crate) const BLOWS: [Fault; 8] = [
    Fault::CrashBefore,
    Fault::CrashAfter,
    Fault::CutBefore,
    Fault::CutAfter,
    Fault::Twice,
    Fault::Refuse,
    Fault::Late,
    Fault::CrashLate,
];

/// So many effects. Before or after each the agent ends, or its answer is lost, or it is repeated.
pub(crate) fn crashes_and_repetitions(effects: usize) -> impl Iterator<Item = (usize, Fault)> {
    let faults = [
        Fault::CrashBefore,
        Fault::CrashAfter,
        Fault::CutAfter,
        Fault::Twice,
    ];
    (0..effects).flat_map(move |effect| faults.map(|fault| (effect, fault)))
}

/// More effects than any scenario has.
const EFFECTS_MAX: usize = 100_000;

/// How a crash treats the commit during which it happens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ending {
    /// What is pending in the store is lost.
    Lost,
    /// What is pending in the store was just made durable.
    Kept,
}

#[derive(Default)]
struct State {
    /// Every effect so far, in order; the label, and where.
    seen: Vec<(&'static str, String)>,
    faults: BTreeMap<usize, Fault>,
    /// Draws faults: the generator, and how many effects in a thousand fail.
    drawn: Option<(Random, u64)>,
    /// How many effects in a thousand wait for users to act.
    interrupts: u64,
    refusals: Vec<(String, String, String)>,
    /// The fault of the next commit by users.
    for_people: Option<CommitFault>,
    /// The agent that is being polled; `None` while people act.
    polled: Option<usize>,
    crashed: BTreeMap<usize, Ending>,
    /// How many agents share the store: one store then survives their crashes.
    shared_store: bool,
    /// People act before the effect with this number.
    pause_at: Option<usize>,
    interrupted: bool,
    /// What happens to the world before the effect with this number, of whatever kind.
    meanwhile: Option<(usize, Box<dyn FnOnce() + Send>)>,
    resumed: u64,
    wait: Vec<Waker>,
}

impl State {
    /// The agent ends here; none of its further effects happen.
    fn end(&mut self, ending: Ending) {
        if let Some(agent) = self.polled {
            self.crashed.entry(agent).or_insert(ending);
        }
    }

    fn is_dead(&self) -> bool {
        self.polled
            .is_some_and(|agent| self.crashed.contains_key(&agent))
    }
}

/// Decides the outcome of each effect; shared by all parts of the world.
#[derive(Clone, Default)]
pub(crate) struct Faults {
    state: Arc<Mutex<State>>,
}

impl Faults {
    fn state<T>(&self, with: impl FnOnce(&mut State) -> T) -> T {
        with(&mut self.state.lock().unwrap())
    }

    /// The effect with this number (in the order of a run without faults) fails.
    pub(crate) fn inject(&self, effect: usize, fault: Fault) {
        self.state(|state| state.faults.insert(effect, fault));
    }

    /// From now on, this many effects in a thousand fail, drawn from this seed; at `interrupts` of
    /// them, users act.
    pub(crate) fn draw(&self, seed: u64, per_mille: u64, interrupts: u64) {
        self.state(|state| {
            state.drawn = Some((Random::new(seed), per_mille));
            state.interrupts = interrupts;
        });
    }

    /// People act once, before the effect with this number (or the next one that can wait).
    pub(crate) fn pause_at(&self, effect: usize) {
        self.state(|state| state.pause_at = Some(effect));
    }

    /// This happens before the effect with this number.
    pub(crate) fn meanwhile(&self, effect: usize, act: impl FnOnce() + Send + 'static) {
        self.state(|state| state.meanwhile = Some((effect, Box::new(act))));
    }

    /// Nothing is drawn any more.
    pub(crate) fn draw_nothing(&self) {
        self.state(|state| state.drawn = None);
    }

    /// Whether the store survives the crash of an agent.
    pub(crate) fn share_store(&self, shared: bool) {
        self.state(|state| state.shared_store = shared);
    }

    /// Operations of this label on this host are refused until [`Faults::refuse_nothing`].
    pub(crate) fn refuse(&self, label: &str, host: &str, message: &str) {
        let refusal = (label.to_owned(), host.to_owned(), message.to_owned());
        self.state(|state| state.refusals.push(refusal));
    }

    pub(crate) fn refuse_nothing(&self) {
        self.state(|state| state.refusals.clear());
    }

    pub(crate) fn refusal(&self, label: &str, host: &str) -> Option<String> {
        self.state(|state| {
            let mut refusals = state.refusals.iter();
            let found = refusals.find(|(refused, on, _)| refused == label && on == host);
            found.map(|(_, _, message)| message.clone())
        })
    }

    /// How many effects there were.
    pub(crate) fn count(&self) -> usize {
        self.state(|state| state.seen.len())
    }

    /// Where the effect with this number was, and its label.
    pub(crate) fn effect(&self, number: usize) -> (&'static str, String) {
        self.state(|state| state.seen[number].clone())
    }

    /// The effects from number `from` on, one a line.
    pub(crate) fn trace(&self, from: usize) -> String {
        self.state(|state| {
            let mut text = String::new();
            for (number, (label, on)) in state.seen.iter().enumerate().skip(from) {
                let fault = state.faults.get(&number);
                let fault = fault.map_or(String::new(), |fault| format!("  <- {fault:?}"));
                writeln!(text, "  {number} {label} {on}{fault}").unwrap();
            }
            text
        })
    }

    /// Users' actions are in the trace beside the effects.
    pub(crate) fn note(&self, what: String) {
        self.state(|state| state.seen.push(("--", what)));
    }

    /// From now on effects are those of this agent.
    pub(crate) fn poll(&self, agent: Option<usize>) {
        self.state(|state| state.polled = agent);
    }

    /// Whether a fault has ended this agent.
    pub(crate) fn take_crash(&self, agent: usize) -> Option<Ending> {
        self.state(|state| state.crashed.remove(&agent))
    }

    /// Whether an effect waits until people have acted.
    pub(crate) fn take_interrupt(&self) -> bool {
        self.state(|state| std::mem::take(&mut state.interrupted))
    }

    /// Effects that waited for users resume.
    pub(crate) fn resume(&self) {
        let wait = self.state(|state| {
            state.resumed += 1;
            std::mem::take(&mut state.wait)
        });
        for waker in wait {
            waker.wake();
        }
    }

    /// Numbers an effect and returns its fault.
    fn number(&self, label: &'static str, on: &str) -> Option<Fault> {
        let next = self.count();
        let is_next = |act: &mut (usize, _)| act.0 == next;
        if let Some((_, act)) = self.state(|state| state.meanwhile.take_if(is_next)) {
            act();
        }
        self.state(|state| {
            if state.is_dead() {
                return Some(Fault::CrashBefore);
            }
            let number = state.seen.len();
            assert!(number < EFFECTS_MAX, "it does not come to rest");
            state.seen.push((label, on.to_owned()));
            if let Some((random, per_mille)) = &mut state.drawn
                && random.per_mille(*per_mille)
            {
                let fault = *random.pick(&BLOWS).unwrap();
                state.faults.insert(number, fault);
            }
            state.faults.get(&number).copied()
        })
    }

    /// People may act before this effect.
    async fn interrupt(&self) {
        let resumed_before = self.state(|state| {
            let interrupts = state.interrupts;
            let drawn = match &mut state.drawn {
                Some((random, _)) => random.per_mille(interrupts),
                None => false,
            };
            let due = state.pause_at.is_some_and(|at| state.seen.len() >= at);
            if due {
                state.pause_at = None;
            }
            if !drawn && !due {
                return None;
            }
            state.interrupted = true;
            Some(state.resumed)
        });
        let Some(resumed_before) = resumed_before else {
            return;
        };
        poll_fn(|context| {
            self.state(|state| {
                if state.resumed > resumed_before {
                    return Poll::Ready(());
                }
                state.wait.push(context.waker().clone());
                Poll::Pending
            })
        })
        .await;
    }

    /// An effect that no connection carries; hand the answer to [`Faults::after`].
    pub(crate) async fn before(&self, label: &'static str, on: &str) -> Option<Fault> {
        self.interrupt().await;
        let fault = self.number(label, on);
        if fault == Some(Fault::CrashBefore) {
            self.state(|state| state.end(Ending::Lost));
            pending::<()>().await;
        }
        fault
    }

    /// An effect without waiting. An agent that ends here stops at its next effect, at the latest.
    pub(crate) fn sudden(&self, label: &'static str) -> Option<Fault> {
        let fault = self.number(label, "");
        if let Some(Fault::CrashBefore | Fault::CrashAfter | Fault::CrashLate) = fault {
            self.state(|state| state.end(Ending::Lost));
        }
        fault
    }

    pub(crate) async fn after(&self, fault: Option<Fault>) {
        if let Some(Fault::CrashAfter | Fault::CrashLate) = fault {
            self.state(|state| state.end(Ending::Lost));
            pending::<()>().await;
        }
    }

    /// Sets the fault of the next commit by users.
    pub(crate) fn inject_for_users(&self, fault: CommitFault) {
        self.state(|state| state.for_people = Some(fault));
    }

    /// A commit of the store. Only commits of agents fail.
    pub(crate) fn commit(&self, label: &'static str) -> CommitFault {
        if let Some(fault) = self.state(|state| match state.polled {
            None => Some(state.for_people.take().unwrap_or_default()),
            Some(_) => None,
        }) {
            return fault;
        }
        if self.state(|state| state.is_dead()) {
            return CommitFault::Refuse;
        }
        let Some(fault) = self.number(label, "") else {
            return CommitFault::None;
        };
        self.state(|state| match (fault, state.shared_store) {
            (Fault::CutBefore | Fault::Refuse, _) => CommitFault::Refuse,
            (Fault::CutAfter, _) => CommitFault::UnknownApplied,
            (Fault::Twice | Fault::Late, _) => CommitFault::UnknownLost,
            // The commit never answers, and the store ends with the agent.
            (Fault::CrashBefore, false) => {
                state.end(Ending::Lost);
                CommitFault::Hold
            }
            (Fault::CrashAfter | Fault::CrashLate, false) => {
                state.end(Ending::Kept);
                CommitFault::Hold
            }
            (Fault::CrashBefore, true) => {
                state.end(Ending::Lost);
                CommitFault::UnknownLost
            }
            (Fault::CrashAfter | Fault::CrashLate, true) => {
                state.end(Ending::Lost);
                CommitFault::UnknownApplied
            }
        })
    }
}
