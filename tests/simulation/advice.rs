//! No advice is refused. In every state of a task, each offered request, and each command that
//! `tagship show` or a refusal names, is tried on a copy of the store.

use clap::Parser as _;
use tagship::api::{TaskView, next};
use tagship::base::clock::Clock as _;
use tagship::base::language::Language;
use tagship::cli::{Cli, CliCommand};
use tagship::domain::approval::Actor;
use tagship::domain::rule::Schedule;
use tagship::domain::task::{State, Task};
use tagship::engine::request::{
    self, AllowedRequest, Present, RequestContext, RequestError, RollbackRequest, RollbackTarget,
    Rollbacks, TagsNeed, TaskRequest,
};
use tagship::server::view::{TaskViewInputs, task_view};
use tagship::store::kv::{Commit, Kv as _, Row};
use tagship::store::memory::MemoryKv;
use tagship::store::{Filter, Store};

use crate::driver::{Sim, TEMPLATE, object_of};
use crate::immediate::at_once;
use crate::user_actions::{SimHosts, actor};

/// A submitter, an approver, an admin, and a viewer.
const PEOPLE: [&str; 4] = ["alice", "bob", "root", "viewer"];

/// Tries all advice that any user gets about any task of a world.
pub(crate) fn advice_is_accepted(sim: &Sim) {
    let rows = sim.backup();
    let heads = at_once(sim.store().list(&Filter::default(), None, 100)).unwrap();
    for head in heads {
        for who in PEOPLE {
            Advised::new(sim, &rows, head.id, who).tried();
        }
    }
}

/// A user views a task.
struct Advised<'s> {
    sim: &'s Sim,
    rows: &'s [Row],
    task: Task,
    who: &'static str,
    view: TaskView,
}

impl<'s> Advised<'s> {
    fn new(sim: &'s Sim, rows: &'s [Row], id: u64, who: &'static str) -> Self {
        let store = copy(rows);
        let task = at_once(store.task(id)).unwrap();
        let plan = at_once(store.plan_of(&task)).unwrap();
        let head = at_once(store.head(id)).unwrap();
        let can_approve = ["bob".to_owned()].into_iter().filter(|_| {
            let bob = actor("bob");
            granted(sim, &store, &task, &bob).contains(&AllowedRequest::Approve)
        });
        let can_approve: Vec<String> = can_approve.collect();
        let shown = TaskViewInputs {
            task: &task,
            head: &head,
            plan: plan.as_deref(),
            description: None,
            events: &at_once(store.events(id)).unwrap(),
            calendar: &sim.calendar,
            rollbacks: rollbacks(sim, &store, &task),
            newer: at_once(store.ran_since(&task)).unwrap(),
            ahead: None,
            live: &std::collections::BTreeMap::new(),
            can_approve: &can_approve,
            language: Language::English,
        };
        let view = task_view(shown, &actor(who), sim.clock.now());
        Self {
            sim,
            rows,
            task,
            who,
            view,
        }
    }

    fn tried(&self) {
        for may in &self.view.may {
            let command = self.command(*may);
            self.is_accepted(&command, &format!("{may:?}"), &[self.who]);
        }
        self.commands_of(&next(&self.view), &[self.who, "bob"]);
        for asked in self.requests() {
            if let Err(refused) = self.asked(&copy(self.rows), &actor(self.who), &asked) {
                self.commands_of(&refused.to_string(), &[self.who, "root"]);
            }
        }
    }

    /// All requests, sensible or not.
    fn requests(&self) -> Vec<TaskRequest> {
        let mays = AllowedRequest::OF_TASK
            .into_iter()
            .chain(AllowedRequest::OF_HOST);
        let commands = mays.map(|may| self.command(may));
        commands.filter_map(|one| self.request(&one)).collect()
    }

    fn command(&self, may: AllowedRequest) -> String {
        may.command(self.task.id, &self.view.project, &self.view.environment)
    }

    /// The request that a command makes; `None` for one that only reads, or rolls back.
    fn request(&self, command: &str) -> Option<TaskRequest> {
        let words = ["tagship"].into_iter().chain(command.split(' '));
        let cli = Cli::try_parse_from(words);
        let cli = cli.unwrap_or_else(|error| panic!("`tagship {command}`: {error}"));
        match cli.command {
            CliCommand::Approve(args) => Some(TaskRequest::Approve {
                plan: self
                    .view
                    .plan
                    .clone()
                    .unwrap_or_else(|| tagship::domain::plan::PlanDigest(String::new())),
                comment: args.comment,
                not_before: None,
                emergency: args.emergency,
            }),
            CliCommand::Verb(verb) => Some(verb.request().1),
            _ => None,
        }
    }

    /// Tries every command that a text names.
    fn commands_of(&self, text: &str, people: &[&str]) {
        for named in text.split("`tagship ").skip(1) {
            let command = named.split('`').next().unwrap();
            self.is_accepted(command, text, people);
        }
    }

    fn is_accepted(&self, command: &str, advice: &str, people: &[&str]) {
        let answers: Vec<String> = people
            .iter()
            .flat_map(|who| self.answers(command, &actor(who)))
            .collect();
        assert!(
            answers.iter().any(String::is_empty),
            "task {} is {:?}, and {} reads {advice:?}: `tagship {command}` is refused: {answers:?}\n{}",
            self.task.id,
            self.task.state,
            self.who,
            self.sim.faults.trace(0)
        );
    }

    /// The agent's errors for a command, on each host that it may name; empty if it is accepted.
    fn answers(&self, command: &str, actor: &Actor) -> Vec<String> {
        let hosts = self.view.stages.iter().flat_map(|stage| &stage.hosts);
        let hosts: Vec<&str> = hosts.map(|host| host.name.as_str()).collect();
        let commands: Vec<String> = if command.contains("NAME") {
            hosts
                .iter()
                .map(|host| command.replace("NAME", host))
                .collect()
        } else {
            vec![command.to_owned()]
        };
        let answered = commands.iter().map(|command| self.answer(command, actor));
        answered.collect()
    }

    fn asked(
        &self,
        store: &Store,
        actor: &Actor,
        request: &TaskRequest,
    ) -> Result<Task, RequestError> {
        let hosts = SimHosts::of(self.sim, store);
        let present = Present {
            now: self.sim.clock.now(),
            calendar: &self.sim.calendar,
            hosts: hosts.present(),
        };
        let (id, none) = (self.task.id, Commit::new());
        at_once(request::ask(store, id, actor, request, present, &none))
    }

    fn answer(&self, command: &str, actor: &Actor) -> String {
        let (store, now) = (copy(self.rows), self.sim.clock.now());
        if let Some(asked) = self.request(command) {
            let asked = self.asked(&store, actor, &asked);
            return asked.map_or_else(|refused| refused.to_string(), |_| String::new());
        }
        let Some(to) = command.strip_prefix("rollback ") else {
            return String::new();
        };
        let back = match to.parse() {
            Ok(id) => RollbackTarget::ToTask(id),
            Err(_) => RollbackTarget::Before {
                project: self.view.project.clone(),
                environment: self.view.environment.clone(),
            },
        };
        let hosts = SimHosts::of(self.sim, &store);
        let asked = RollbackRequest {
            back: &back,
            seen: None,
            override_freeze: None,
            emergency: None,
            tags: TagsNeed::Approval,
            calendar: &self.sim.calendar,
            hosts: hosts.present(),
        };
        let done = request::roll_back(&store, &asked, actor, now, &|_| Commit::new());
        at_once(done).map_or_else(|refused| refused.to_string(), |_| String::new())
    }
}

fn rollbacks(sim: &Sim, store: &Store, task: &Task) -> Rollbacks {
    let hosts = SimHosts::of(sim, store);
    at_once(request::possible_rollbacks(store, task, hosts.present())).unwrap()
}

fn granted(sim: &Sim, store: &Store, task: &Task, actor: &Actor) -> Vec<AllowedRequest> {
    let plan = at_once(store.plan_of(task)).unwrap();
    let moment = RequestContext {
        now: sim.clock.now(),
        calendar: &sim.calendar,
        plan: plan.as_deref(),
        newer: at_once(store.ran_since(task)).unwrap(),
        rollbacks: rollbacks(sim, store, task),
    };
    request::granted(task, actor, &moment)
}

fn copy(rows: &[Row]) -> Store {
    let kv = MemoryKv::new();
    for rows in rows.chunks(50) {
        let commit = rows.iter().fold(Commit::new(), |commit, row| {
            commit.put(row.key.clone(), row.value.clone())
        });
        at_once(kv.commit(commit)).unwrap();
    }
    at_once(Store::open(std::sync::Arc::new(kv))).unwrap()
}

#[test]
fn failed_task_is_not_retried_once_a_newer_one_ran() {
    let mut sim = Sim::new(TEMPLATE);
    *sim.well.lock().unwrap() = false;
    let failed = sim.push("qa-1", &object_of('1'), Schedule::Ready);
    sim.rest();
    assert!(matches!(sim.task(failed).state, State::Failed { .. }));
    let offered = |sim: &Sim| {
        let rows = sim.backup();
        let advised = Advised::new(sim, &rows, failed, "bob");
        advised.tried();
        next(&advised.view)
    };
    assert!(
        offered(&sim).contains("`tagship retry 1`"),
        "{}",
        offered(&sim)
    );
    *sim.well.lock().unwrap() = true;
    sim.push("qa-2", &object_of('2'), Schedule::Ready);
    sim.rest();
    assert!(sim.serves('2'));
    assert!(!offered(&sim).contains("retry"), "{}", offered(&sim));
}

/// What this user may do with a task.
pub(crate) fn may_of(sim: &Sim, id: u64, who: &'static str) -> Vec<AllowedRequest> {
    let rows = sim.backup();
    Advised::new(sim, &rows, id, who).view.may
}

/// What this user reads about a task; all of it was tried.
fn offered_to(sim: &Sim, id: u64, who: &'static str) -> String {
    let rows = sim.backup();
    let advised = Advised::new(sim, &rows, id, who);
    advised.tried();
    next(&advised.view)
}

#[test]
fn tag_that_can_never_land_is_not_retried() {
    let mut sim = Sim::new(TEMPLATE);
    let odd = sim.push("qa-1 x", &object_of('1'), Schedule::Ready);
    let missing = sim.propose("refs/tags/qa-2", &object_of('2'), Schedule::Ready);
    sim.rest();
    assert_eq!(offered_to(&sim, odd, "bob"), "push a new tag");
    assert_eq!(
        offered_to(&sim, missing, "bob"),
        "fix the cause, then retry it with `tagship retry 2`, or push a new tag"
    );
}

#[test]
fn rollback_to_a_gone_release_is_requested_again_not_retried() {
    let mut sim = Sim::new(TEMPLATE);
    for (tag, digit) in [("qa-1", '1'), ("qa-2", '2')] {
        sim.push(tag, &object_of(digit), Schedule::Ready);
        sim.rest();
    }
    let one = sim.task(1).work.unwrap().release;
    for disk in sim.fleet.disks.lock().unwrap().values_mut() {
        disk.releases.remove(&one);
    }
    let back = sim.roll_back(&RollbackTarget::ToTask(1)).unwrap();
    sim.rest();
    assert!(matches!(sim.task(back).state, State::Failed { .. }));
    assert_eq!(
        offered_to(&sim, back, "bob"),
        "see `tagship log 3`, then ask for it again with `tagship rollback 1`"
    );
}

#[test]
fn rollback_is_offered_only_where_a_host_is_enabled() {
    let mut sim = Sim::new(TEMPLATE);
    for (tag, digit) in [("qa-1", '1'), ("qa-2", '2')] {
        sim.push(tag, &object_of(digit), Schedule::Ready);
        sim.rest();
    }
    for host in sim.disks("production").into_keys() {
        let offered = offered_to(&sim, 1, "bob");
        assert!(offered.contains("`tagship rollback 1`"), "{offered}");
        sim.set_disabled(&host, true);
    }
    for id in [1, 2] {
        let offered = offered_to(&sim, id, "bob");
        assert!(!offered.contains("rollback"), "{offered}");
    }
}

#[test]
fn rollback_is_offered_only_where_a_host_is_configured() {
    let mut sim = Sim::new(TEMPLATE);
    for (tag, digit) in [("qa-1", '1'), ("qa-2", '2')] {
        sim.push(tag, &object_of(digit), Schedule::Ready);
        sim.rest();
    }
    for host in sim.disks("production").into_keys() {
        let may = may_of(&sim, 1, "bob");
        assert!(may.contains(&AllowedRequest::Rollback), "{may:?}");
        sim.ground.lock().unwrap().machines.remove(&host);
    }
    for id in [1, 2] {
        assert_eq!(may_of(&sim, id, "bob"), []);
        let offered = offered_to(&sim, id, "bob");
        assert!(!offered.contains("rollback"), "{offered}");
    }
}

#[test]
fn viewer_is_offered_no_action() {
    let mut sim = Sim::new(TEMPLATE);
    sim.push("release-1", &object_of('1'), Schedule::New);
    sim.rest();
    let rows = sim.backup();
    let advised = Advised::new(&sim, &rows, 1, "viewer");
    assert_eq!(advised.view.may, []);
    assert_eq!(
        next(&advised.view),
        "task 1 waits for 1 approval: bob; `tagship approve 1`"
    );
}
