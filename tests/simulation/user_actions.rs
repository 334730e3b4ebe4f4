//! Actions of users in a simulated world, and what users see there.

use std::collections::BTreeMap;

use jiff::Timestamp;
use tagship::base::clock::Clock as _;
use tagship::domain::approval::{Actor, Role};
use tagship::domain::plan::{PlanDigest, PlannedHost};
use tagship::domain::rule::Schedule;
use tagship::domain::task::{ManualRequest, Origin, Submission, Supersede, Task};
use tagship::engine::request::{
    self, Present, PresentHosts, RequestError, RollbackRequest, RollbackTarget, TagsNeed,
    TaskRequest,
};
use tagship::store::kv::Commit;
use tagship::store::{Disabled, IdempotencyKey, Proposal, Store, StoreError};

use crate::driver::{Sim, object_of};
use crate::host::Disk;
use crate::immediate::at_once;
use crate::submission::{of_rule, pushed};

impl Sim {
    /// The hook writes a record, and the ref changes.
    pub(crate) fn push_tag(&self, tag: &str, object: &str) {
        self.hook(tag, object);
        self.move_ref(tag, object);
    }

    /// The hook writes a record; `object` is all zeros if the tag is deleted.
    pub(crate) fn hook(&self, tag: &str, object: &str) {
        self.hook_of("", tag, object);
    }

    /// Some tags are pushed together; the hook names the push.
    pub(crate) fn push_tags(&self, push: &str, tags: &[(&str, String)]) {
        for (tag, object) in tags {
            self.hook_of(push, tag, object);
            self.move_ref(tag, object);
        }
    }

    fn hook_of(&self, push: &str, tag: &str, object: &str) {
        let reference = format!("refs/tags/{tag}");
        let old = self.refs.lock().unwrap().get(&reference).cloned();
        let old = old.unwrap_or_else(|| object_of('0'));
        let time = self.clock.now().as_millisecond();
        self.records.write(&reference, &old, object, time, push);
        self.ring();
    }

    /// The agents scan the spool.
    pub(crate) fn ring(&self) {
        self.bell.send_modify(|rung| *rung += 1);
    }

    /// The ref changes on the git server.
    pub(crate) fn move_ref(&self, tag: &str, object: &str) {
        let reference = format!("refs/tags/{tag}");
        let accepted = self.records.accepted().len();
        let mut refs = self.refs.lock().unwrap();
        if refs.get(&reference).is_none_or(|current| current != object) {
            self.moved
                .lock()
                .unwrap()
                .insert(reference.clone(), accepted);
        }
        if object.bytes().all(|byte| byte == b'0') {
            refs.remove(&reference);
        } else {
            refs.insert(reference, object.to_owned());
        }
    }

    /// A tag is made or moved on the git server, and no hook runs.
    pub(crate) fn make_tag(&self, tag: &str, object: &str) {
        self.move_ref(tag, object);
        let made = (format!("refs/tags/{tag}"), object.to_owned());
        self.made.lock().unwrap().push(made);
        self.ring();
    }

    /// A tag exists on the git server, and is proposed for production without the spool.
    #[track_caller]
    pub(crate) fn push(&self, tag: &str, object: &str, schedule: Schedule) -> u64 {
        self.move_ref(tag, object);
        self.propose(&format!("refs/tags/{tag}"), object, schedule)
    }

    /// `release-N` is pushed onto the object of its digit, approved as task N, and released.
    #[track_caller]
    pub(crate) fn release(&mut self, number: u32) {
        let object = object_of(char::from_digit(number, 10).unwrap());
        self.push_tag(&format!("release-{number}"), &object);
        self.rest();
        self.approve(number.into()).unwrap();
        self.rest();
    }

    /// The agents scan the spool until nothing is left to do.
    #[track_caller]
    pub(crate) fn scan(&mut self) {
        self.ring();
        self.rest();
    }

    /// By a rule with `schedule = "ready"` and `supersede = false`.
    #[track_caller]
    pub(crate) fn push_kept(&self, tag: &str, object: &str) -> u64 {
        self.move_ref(tag, object);
        self.take(Submission {
            reference: format!("refs/tags/{tag}"),
            object: object.to_owned(),
            schedule: Schedule::Ready,
            origin: of_rule("release-", Supersede::Never),
            ..pushed()
        })
    }

    #[track_caller]
    pub(crate) fn propose(&self, reference: &str, object: &str, schedule: Schedule) -> u64 {
        self.take(Submission {
            reference: reference.to_owned(),
            object: object.to_owned(),
            schedule,
            ..pushed()
        })
    }

    /// A tag of a rule that supersedes nothing.
    #[track_caller]
    pub(crate) fn push_lasting(&self, tag: &str, object: &str, schedule: Schedule) -> u64 {
        self.move_ref(tag, object);
        self.take(Submission {
            reference: format!("refs/tags/{tag}"),
            object: object.to_owned(),
            schedule,
            origin: of_rule("release-", Supersede::Never),
            ..pushed()
        })
    }

    /// Of a rule that may refuse older releases, needs no approval and supersedes nothing.
    #[track_caller]
    pub(crate) fn propose_older(&self, reference: &str, object: &str, refuse_older: bool) -> u64 {
        self.take(Submission {
            reference: reference.to_owned(),
            object: object.to_owned(),
            schedule: Schedule::Ready,
            origin: of_rule("release-", Supersede::Never),
            refuse_older,
            ..pushed()
        })
    }

    #[track_caller]
    fn take(&self, submission: Submission) -> u64 {
        let submission = Submission {
            template: "test".to_owned(),
            ..submission
        };
        let store = self.store();
        let proposal = at_once(store.propose(submission, None, self.clock.now()));
        proposal.unwrap().id()
    }

    /// Alice submits a task of no project under a key, and again until it is answered.
    #[track_caller]
    pub(crate) fn submit(&self, key: &str, host: &str, schedule: Schedule) -> Proposal {
        let submission = Submission {
            schedule,
            hosts: BTreeMap::from([(1, vec![host.to_owned()])]),
            origin: Origin::Submitted(ManualRequest {
                idempotency_key: Some(key.to_owned()),
                ..ManualRequest::default()
            }),
            ..by_hand()
        };
        let idempotency = IdempotencyKey {
            submitter: "alice".to_owned(),
            key: key.to_owned(),
            digest: format!("{host} {schedule:?}"),
        };
        loop {
            let (store, now) = (self.store(), self.clock.now());
            match at_once(
                store.submit(submission.clone(), Some(&idempotency), now, &|_| {
                    Commit::new()
                }),
            ) {
                Err(StoreError::Unknown { .. } | StoreError::Kv(_)) => {}
                answer => {
                    let answer = answer.unwrap();
                    let mut submitted = self.submitted.lock().unwrap();
                    let id = *submitted.entry(key.to_owned()).or_insert(answer.id());
                    assert_eq!(id, answer.id(), "{key} is two tasks");
                    return answer;
                }
            }
        }
    }

    pub(crate) fn ask(
        &self,
        id: u64,
        who: &str,
        request: &TaskRequest,
    ) -> Result<Task, RequestError> {
        let store = self.store();
        let hosts = SimHosts::of(self, &store);
        let present = Present {
            now: self.clock.now(),
            calendar: &self.calendar,
            hosts: hosts.present(),
        };
        let (actor, none) = (actor(who), Commit::new());
        let asked = at_once(request::ask(&store, id, &actor, request, present, &none));
        match request {
            TaskRequest::Approve { plan, .. } if asked.is_ok() => {
                self.approval(id, who, plan.clone());
            }
            TaskRequest::Retry if asked.is_ok() => self.witness.retried(id),
            _ => {}
        }
        asked
    }

    /// Records who approved what, separate from the store, for comparison with it.
    fn approval(&self, id: u64, who: &str, plan: PlanDigest) {
        if who != "alice" {
            self.witness.approval(id, plan);
        }
    }

    pub(crate) fn approve(&self, id: u64) -> Result<Task, RequestError> {
        self.approve_from(id, "bob", None)
    }

    pub(crate) fn approve_from(
        &self,
        id: u64,
        who: &str,
        not_before: Option<Timestamp>,
    ) -> Result<Task, RequestError> {
        let landed = self.task(id).landed;
        let plan = landed.map_or(PlanDigest(String::new()), |landed| landed.terms.plan);
        let request = TaskRequest::Approve {
            plan,
            comment: String::new(),
            not_before,
            emergency: None,
        };
        self.ask(id, who, &request)
    }

    pub(crate) fn roll_back(&self, back: &RollbackTarget) -> Result<u64, RequestError> {
        self.roll_back_as(&actor("bob"), back, TagsNeed::Approval)
    }

    pub(crate) fn roll_back_as(
        &self,
        actor: &Actor,
        back: &RollbackTarget,
        tags: TagsNeed,
    ) -> Result<u64, RequestError> {
        let now = self.clock.now();
        let store = self.store();
        let hosts = SimHosts::of(self, &store);
        let task = at_once(request::roll_back(
            &store,
            &RollbackRequest {
                back,
                seen: None,
                override_freeze: None,
                emergency: None,
                tags,
                calendar: &self.calendar,
                hosts: hosts.present(),
            },
            actor,
            now,
            &|_| Commit::new(),
        ))?;
        self.witness.asked_back(task.id);
        Ok(task.id)
    }

    /// An admin excludes a host from releases, or includes it again.
    pub(crate) fn set_disabled(&self, host: &str, is_disabled: bool) {
        let disabled = is_disabled.then(|| Disabled {
            by: "root".to_owned(),
            reason: "a new disk".to_owned(),
            at: self.clock.now(),
        });
        let (store, none) = (self.store(), Commit::new());
        at_once(store.set_host_disabled(host, disabled.as_ref(), none)).unwrap();
    }

    #[track_caller]
    pub(crate) fn task(&self, id: u64) -> Task {
        Task::clone(&self.witness.task(id))
    }

    /// What each host of an environment serves: the commit to which its `current` points.
    pub(crate) fn served_in(&self, environment: &str) -> BTreeMap<String, Option<String>> {
        let disks = self.fleet.disks.lock().unwrap();
        let there = disks.iter().filter(|((place, _), _)| place == environment);
        there
            .map(|((_, host), disk)| (host.clone(), self.witness.commit_on(disk)))
            .collect()
    }

    pub(crate) fn served(&self) -> BTreeMap<String, Option<String>> {
        self.served_in("production")
    }

    /// All three hosts of production serve this commit.
    pub(crate) fn serves(&self, digit: char) -> bool {
        let (served, object) = (self.served(), Some(object_of(digit)));
        served.len() == 3 && served.values().all(|commit| *commit == object)
    }

    /// The disks of an environment.
    pub(crate) fn disks(&self, environment: &str) -> BTreeMap<String, Disk> {
        let disks = self.fleet.disks.lock().unwrap();
        let there = disks.iter().filter(|((place, _), _)| place == environment);
        there
            .map(|((_, host), disk)| (host.clone(), disk.clone()))
            .collect()
    }
}

/// The hosts as they are configured now.
pub(crate) struct SimHosts {
    enabled: BTreeMap<String, PlannedHost>,
    disabled: Vec<String>,
}

impl SimHosts {
    pub(crate) fn of(sim: &Sim, store: &Store) -> Self {
        let disabled = at_once(store.disabled_hosts()).unwrap();
        let mut enabled = sim.ground.lock().unwrap().machines.clone();
        enabled.retain(|name, _| !disabled.contains(name));
        Self { enabled, disabled }
    }

    pub(crate) fn present(&self) -> PresentHosts<'_> {
        PresentHosts {
            enabled: &self.enabled,
            disabled: &self.disabled,
        }
    }
}

/// What alice submits manually: it belongs to no project.
fn by_hand() -> Submission {
    Submission {
        origin: Origin::Submitted(ManualRequest::default()),
        project: String::new(),
        environment: String::new(),
        repository: String::new(),
        reference: String::new(),
        object: String::new(),
        template: "tool".to_owned(),
        ..pushed()
    }
}

pub(crate) fn actor(name: &str) -> Actor {
    let role = match name {
        "root" => Role::Admin,
        "viewer" => Role::Viewer,
        _ => Role::Approver,
    };
    Actor::new(name, role)
}
