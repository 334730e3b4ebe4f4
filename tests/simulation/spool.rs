//! The spool in memory, with the hook's durable records.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, OnceLock};

use futures::FutureExt as _;
use futures::future::BoxFuture;
use tagship::config::{self, Config, RuleSets};
use tagship::domain::rule::FORMAT;
use tagship::engine::intake::Spool;
use tagship::engine::spool::{Received, Record, RecordId, SpoolError, Waiting};

use crate::faults::{Fault, Faults, REFUSED};

/// The git user, whose records name the pusher.
pub(crate) const GIT_USER: u32 = 990;

/// Records by file name.
#[derive(Clone, Default)]
pub(crate) struct Records {
    waiting: Arc<Mutex<BTreeMap<String, Record>>>,
    /// Every record that was ever accepted.
    accepted: Arc<Mutex<Vec<Record>>>,
}

impl Records {
    /// The hook has written a record: from now on the push is accepted.
    pub(crate) fn write(&self, reference: &str, old: &str, new: &str, time: i64, push: &str) {
        let mut accepted = self.accepted.lock().unwrap();
        let id = format!("{:032x}", accepted.len() + 1);
        let id: RecordId = serde_json::from_value(id.into()).unwrap();
        let record = Record {
            format: FORMAT,
            id,
            repository: "alice/shop".to_owned(),
            reference: reference.to_owned(),
            old: old.to_owned(),
            new: new.to_owned(),
            pusher: "alice".to_owned(),
            ssh_key: String::new(),
            time,
            push: Some(match push {
                "" => format!("push {}", accepted.len() + 1),
                push => push.to_owned(),
            }),
        };
        let name = format!("{:013}-{}.toml", record.time, record.id);
        accepted.push(record.clone());
        self.waiting.lock().unwrap().insert(name, record);
    }

    pub(crate) fn accepted(&self) -> Vec<Record> {
        self.accepted.lock().unwrap().clone()
    }

    pub(crate) fn waiting(&self) -> Vec<Record> {
        self.waiting.lock().unwrap().values().cloned().collect()
    }
}

pub(crate) struct SimSpool {
    pub(crate) records: Records,
    pub(crate) faults: Faults,
}

/// An error of the disk.
fn failed(doing: &'static str, name: &str) -> SpoolError {
    SpoolError::Io {
        doing,
        path: PathBuf::from(name),
        error: std::io::Error::other(REFUSED),
    }
}

impl Spool for SimSpool {
    fn waiting(&self) -> BoxFuture<'_, Result<Vec<Waiting>, SpoolError>> {
        async {
            let fault = self.faults.before("spool.waiting", "").await;
            self.faults.after(fault).await;
            if fault == Some(Fault::Refuse) {
                return Err(failed("read", "spool"));
            }
            let waiting = self.records.waiting.lock().unwrap();
            let names = waiting.keys().map(|name| Waiting { name: name.into() });
            Ok(names.collect())
        }
        .boxed()
    }

    fn read<'a>(&'a self, waiting: &'a Waiting) -> BoxFuture<'a, Result<Received, SpoolError>> {
        async {
            let name = waiting.name.to_str().unwrap();
            let fault = self.faults.before("spool.read", "").await;
            self.faults.after(fault).await;
            if fault == Some(Fault::Refuse) || self.faults.refusal("spool.read", "").is_some() {
                return Err(failed("read", name));
            }
            let record = self.records.waiting.lock().unwrap().get(name).cloned();
            let record = record.ok_or_else(|| SpoolError::Io {
                doing: "read",
                path: PathBuf::from(name),
                error: std::io::ErrorKind::NotFound.into(),
            })?;
            let owner = GIT_USER;
            Ok(Received { record, owner })
        }
        .boxed()
    }

    fn set_aside<'a>(&'a self, waiting: &'a Waiting) -> BoxFuture<'a, Result<PathBuf, SpoolError>> {
        async { panic!("{:?} was set aside", waiting.name) }.boxed()
    }

    fn remove<'a>(&'a self, waiting: &'a Waiting) -> BoxFuture<'a, Result<(), SpoolError>> {
        async {
            let name = waiting.name.to_str().unwrap();
            let fault = self.faults.before("spool.remove", "").await;
            if fault == Some(Fault::Refuse) {
                return Err(failed("remove", name));
            }
            // A file system may bring a removed file back; so does this fault.
            if !matches!(fault, Some(Fault::CutBefore | Fault::Twice)) {
                self.records.waiting.lock().unwrap().remove(name);
            }
            self.faults.after(fault).await;
            Ok(())
        }
        .boxed()
    }
}

/// `qa-…` runs at once in qa, `release-…` waits for an approval in production.
const CONFIG: &str = r#"
[hosts.a]
address = "192.0.2.1"
[groups]
web = ["a"]
[[projects]]
name = "shop"
repository = "alice/shop"
git_url = "/git/shop.git"
[projects.environments.qa]
group = "web"
deploy_to = "/srv/qa"
[projects.environments.production]
group = "web"
deploy_to = "/srv/shop"
[[projects.rules]]
pattern = "qa-"
environment = "qa"
schedule = "ready"
[[projects.rules]]
pattern = "prod-"
environment = "production"
schedule = "ready"
[[projects.rules]]
pattern = "release-"
environment = "production"
schedule = "new"
[users.alice]
gitlab = "alice"
"#;

pub(crate) fn configuration() -> Arc<Config> {
    static CONFIGURATION: OnceLock<Arc<Config>> = OnceLock::new();
    CONFIGURATION
        .get_or_init(|| {
            let base = std::path::Path::new("/etc/tagship");
            Arc::new(config::parse("sim.toml", CONFIG, base).unwrap())
        })
        .clone()
}

/// Compiled once for all worlds.
pub(crate) fn rules() -> Arc<RuleSets> {
    static RULES: OnceLock<Arc<RuleSets>> = OnceLock::new();
    RULES
        .get_or_init(|| Arc::new(configuration().rule_sets()))
        .clone()
}
