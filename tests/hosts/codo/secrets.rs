//! Secret parameters of a template stay secret, however their values were submitted. The test
//! searches everything that users see, every file of the agent, and every row of its store.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use tagship::store::kv::all_rows;
use tagship::store::sled::SledKv;
use tagship_tests::world::Settings;

use crate::codo::script::Script;
use crate::stage::{Stage, Start as _, alone};

/// A step outputs the secret under another name, and another secret; a check and a program that fails say what they were given.
const LOCKED: &str = r#"
id = 50
params = [{ name = "KEY", alias = "Key of the shop", kind = "secret", pattern = ".*opened.*" }]
[[stage]]
name = "all"
hosts = "pair"
[[stage.steps]]
name = "first"
args = "KEY"
run = '''
printf 'first: %s and %s\n' "$KEY" "$1"
printf 'HANDED=%s\nTURNED=turned-%s\n' "$KEY" "$HOST-$((8000 + 250))" >>"$TAGSHIP_OUTPUT"
printf '%s' "$KEY" >"{DIR}/out/$HOST.$TASK_ID"
'''
outputs = ["HANDED"]
secret_outputs = ["TURNED"]
[[stage.steps]]
name = "second"
run = '''
printf 'second: %s and %s\n' "$TURNED" "$HANDED"
printf '%s %s' "$TURNED" "$HANDED" >>"{DIR}/out/$HOST.$TASK_ID"
'''
[[stage.steps]]
name = "fails"
use = "check"
command = ["sh", "-c", 'echo "cannot be opened with $1 or $HANDED or $TURNED"; exit 3', "sh", "{KEY}"]
retries = 1
"#;

const DOORS: [&str; 6] = ["rule", "api", "codo", "line", "form", "json"];

/// The value submitted by one interface; the search looks for its end.
fn value(door: &str) -> String {
    format!("{door}-opened-7731")
}

fn stage() -> Stage {
    let rule = format!(
        "on_failure = 'stop'\n--\nschedule = 'ready'\ntemplate = 'locked'\nparams = {{ KEY = '{}' }}",
        value("rule")
    );
    let stage = Settings::default()
        .agent("local_approval = true")
        .group("pair = [\"web1\", \"web2\"]")
        .template("locked", LOCKED)
        .environment("qa", "qa-", &rule)
        .start();
    fs::create_dir(stage.path("out")).unwrap();
    stage
}

/// One task by each interface, all of them at rest.
fn through_every_door(stage: &Stage) -> Vec<u64> {
    let token = stage.token("alice", "approver");
    let codo = Script::new(&stage.url(), &token);
    let bob = stage.person("bob", "approver");
    let mut ids = vec![stage.propose("qa-1", &[("index.html", "one\n")])];
    let order = |door: &str| {
        json!({
            "template": "locked", "schedule": "ready", "params": { "KEY": value(door) },
            "idempotency_key": door,
        })
    };
    let api = stage.api.post("/tasks", &order("api"));
    ids.push(api["id"].as_u64().unwrap());
    let fields = json!({
        "task_name": "by CODO", "temp_id": "50", "submitter": "x", "schedule": "ready",
        "exec_time": "2019-5-24 09:09:50", "args": format!("{{'KEY': '{}'}}", value("codo")),
    });
    let (status, taken) = codo.submit(&fields);
    assert_eq!((status, &taken["code"]), (200, &json!(0)), "{taken}");
    ids.push(taken["list_id"].as_u64().unwrap());
    let param = format!("KEY={}", value("line"));
    let line = ["submit", "locked", "--param", &param, "--id"];
    let printed = stage.command(&line);
    ids.push(String::from_utf8(printed).unwrap().trim().parse().unwrap());
    let key = value("form");
    let form = [("template", "locked"), ("param.KEY", &*key)];
    let pasted = order("json").to_string();
    for fields in [form.as_slice(), &[("json", pasted.as_str())]] {
        let (place, page) = stage.api.form("/submit", fields);
        let id = place.strip_prefix("/tasks/").and_then(|id| id.parse().ok());
        ids.push(id.unwrap_or_else(|| panic!("{place}: {page}")));
    }
    for id in &ids {
        // With a project, a failed host stops the task; otherwise the task waits for a person.
        let ended = |task: &Value| task["state"] == "failed" || task["state"] == "paused";
        let task = stage.api.until(*id, "waiting, or at its end", |task| {
            task["state"] == "waiting" || ended(task)
        });
        if task["state"] == "waiting" {
            let (status, said) = bob.approve(*id);
            assert_eq!(status, 200, "{said}");
            stage.api.until(*id, "at its end", ended);
        }
    }
    ids
}

/// Everything that users see.
fn shown(stage: &Stage, ids: &[u64]) -> Vec<(String, String)> {
    let mut paths: Vec<String> = [
        "/",
        "/tasks",
        "/hooks",
        "/submit",
        "/submit?template=locked",
    ]
    .map(str::to_owned)
    .to_vec();
    paths.extend(["/hooks/1", "/templates", "/templates/locked", "/metrics"].map(str::to_owned));
    for path in ["tasks", "tasks?words=opened", "hooks", "hooks/1", "audit"] {
        paths.push(format!("/api/v1/{path}"));
    }
    for path in ["templates/locked", "live", "delegations"] {
        paths.push(format!("/api/v1/{path}"));
    }
    for id in ids {
        paths.extend([
            format!("/tasks/{id}"),
            format!("/tasks/{id}/log"),
            format!("/submit?repeat={id}"),
        ]);
        for path in ["", "/order", "/log"] {
            paths.push(format!("/api/v1/tasks/{id}{path}"));
        }
    }
    let mut shown: Vec<(String, String)> = paths
        .into_iter()
        .map(|path| {
            let text = stage.api.text(&path);
            (path, text)
        })
        .collect();
    let id = ids[0].to_string();
    for line in [
        vec!["tasks"],
        vec!["tasks", "--json"],
        vec!["show", &id],
        vec!["show", &id, "--json"],
        vec!["log", &id],
        vec!["hooks", "list"],
        vec!["hooks", "show", "1", "--json"],
        vec!["templates", "show", "locked"],
    ] {
        let printed = stage.command(&line);
        shown.push((
            line.join(" "),
            String::from_utf8_lossy(&printed).into_owned(),
        ));
    }
    shown
}

fn files(directory: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(directory).unwrap().flatten() {
        match entry.file_type().unwrap() {
            kind if kind.is_dir() => files(&entry.path(), found),
            kind if kind.is_file() => found.push(entry.path()),
            _ => {}
        }
    }
}

fn holds(bytes: &[u8]) -> bool {
    [b"opened-7731".as_slice(), b"-8250"]
        .iter()
        .any(|secret| bytes.windows(secret.len()).any(|window| window == *secret))
}

#[test]
fn secret_is_shown_nowhere_for_any_input_channel() {
    let _alone = alone();
    let mut stage = stage();
    let ids = through_every_door(&stage);
    assert_eq!(ids.len(), DOORS.len());
    for (door, id) in DOORS.iter().zip(&ids) {
        for host in ["web1", "web2"] {
            let got = fs::read_to_string(stage.path(format!("out/{host}.{id}"))).unwrap();
            let (given, turned) = (value(door), format!("turned-{host}-8250"));
            assert_eq!(
                got,
                format!("{given}{turned} {given}"),
                "{door}: the steps have it"
            );
        }
        let task = stage.api.task(*id);
        assert_eq!(task["parameters"]["KEY"], "[REDACTED]", "{door}");
        assert_eq!(task["parameters"].as_object().unwrap().len(), 1, "{door}");
        let log = stage.api.log(*id);
        let stars = "*".repeat(value(door).len());
        assert!(
            log.contains(&format!("first: {stars} and {stars}")),
            "{door}: {log}"
        );
        let turned = "*".repeat("turned-web1-8250".len());
        assert!(
            log.contains(&format!("second: {turned} and {stars}")),
            "{door}: {log}"
        );
        assert!(log.contains("cannot be opened with"), "{door}: {log}");
        let order = stage.api.get(&format!("/tasks/{id}/order"));
        assert_eq!(order["secrets"], json!(["KEY"]), "{door}");
        assert_eq!(order["order"]["params"], Value::Null, "{door}");
    }
    for (place, text) in shown(&stage, &ids) {
        assert!(!holds(text.as_bytes()), "{place}: {text}");
    }
    it_lies_on_no_disk_but_in_the_tasks_own_events(&mut stage, &ids);
}

/// A rule's value for a secret is kept while it is unknown whether it is one: its template is being
/// written when the push comes.
#[test]
fn secret_submitted_before_its_template_loads_stays_secret() {
    let _alone = alone();
    let noted = LOCKED.replace("params = [", "params = [{ name = \"NOTE\" }, ");
    let rule = format!(
        "on_failure = 'stop'\n--\nschedule = 'ready'\ntemplate = 'locked'\nparams = {{ KEY = '{}', NOTE = 'plain' }}",
        value("early")
    );
    let mut stage = Settings::default()
        .group("pair = [\"web1\", \"web2\"]")
        .template("locked", &noted)
        .environment("qa", "qa-", &rule)
        .start();
    fs::create_dir(stage.path("out")).unwrap();
    let file = stage.path("templates/locked.toml");
    let whole = fs::read_to_string(&file).unwrap();
    fs::write(&file, &whole[..whole.len() / 2]).unwrap();
    let id = stage.propose("qa-1", &[("index.html", "one\n")]);
    let why = "not landed yet: template locked cannot be used: ";
    let task = stage.api.until(id, "waiting for its template", |task| {
        task["detail"].as_str().unwrap().starts_with(why)
    });
    assert_eq!(task["state"], "proposed");
    assert_eq!(
        task["parameters"],
        json!({ "KEY": "[REDACTED]", "NOTE": "[REDACTED]" })
    );
    let order = stage.api.get(&format!("/tasks/{id}/order"));
    assert_eq!(order["secrets"], json!(["KEY", "NOTE"]));
    let number = id.to_string();
    for line in [["show", &number].as_slice(), &["tasks", "--json"]] {
        let printed = String::from_utf8(stage.command(line)).unwrap();
        assert!(printed.contains("not landed yet"), "{line:?}: {printed}");
        assert!(!holds(printed.as_bytes()), "{printed}");
    }
    for path in [format!("/tasks/{id}"), "/".to_owned()] {
        let page = stage.api.text(&path);
        assert!(!holds(page.as_bytes()), "{path}: {page}");
    }
    let page = stage.api.text(&format!("/tasks/{id}"));
    assert!(
        page.contains("not landed yet") && page.contains("locked.toml"),
        "{page}"
    );
    assert!(
        stage.api.text("/").contains("not landed yet"),
        "the list says so"
    );
    fs::write(&file, &whole).unwrap();
    let task = stage.api.until_state(id, "failed");
    assert_eq!(
        task["parameters"],
        json!({ "KEY": "[REDACTED]", "NOTE": "plain" })
    );
    let order = stage.api.get(&format!("/tasks/{id}/order"));
    assert_eq!(order["secrets"], json!(["KEY"]));
    assert_eq!(order["order"]["params"], json!({ "NOTE": "plain" }));
    for host in ["web1", "web2"] {
        let got = fs::read_to_string(stage.path(format!("out/{host}.{id}"))).unwrap();
        assert!(got.starts_with(&value("early")), "the steps have it");
    }
    for (place, text) in shown(&stage, &[id]) {
        assert!(!holds(text.as_bytes()), "{place}: {text}");
    }
    it_lies_on_no_disk_but_in_the_tasks_own_events(&mut stage, &[id]);
}

fn it_lies_on_no_disk_but_in_the_tasks_own_events(stage: &mut Stage, ids: &[u64]) {
    assert!(!holds(stage.log.text().as_bytes()), "the agent's own log");
    stage.stop_agent();
    let data = stage.path("data");
    let mut found = Vec::new();
    files(&data, &mut found);
    files(&stage.path("spool"), &mut found);
    assert!(found.iter().any(|file| file.starts_with(data.join("logs"))));
    let store = data.join("store");
    for file in found.iter().filter(|file| !file.starts_with(&store)) {
        let bytes = fs::read(file).unwrap();
        assert!(!holds(&bytes), "{}", file.display());
    }
    the_store_holds_it_in_the_tasks_own_events_alone(&store, ids);
}

fn the_store_holds_it_in_the_tasks_own_events_alone(store: &Path, ids: &[u64]) {
    let kv = SledKv::open(store, 8 * 1024 * 1024).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap();
    let rows = runtime.block_on(all_rows(&kv, b"")).unwrap();
    assert!(rows.len() > 20 + 14 * ids.len(), "{}", rows.len());
    let own: Vec<String> = ids
        .iter()
        .map(|id| format!("task/{id:016x}/event/"))
        .collect();
    let holding = rows
        .iter()
        .filter(|row| holds(&row.key) || holds(&row.value));
    let keys: Vec<String> = holding
        .map(|row| String::from_utf8_lossy(&row.key).into_owned())
        .collect();
    assert!(keys.len() >= ids.len(), "a task needs it to run: {keys:?}");
    for key in keys {
        assert!(own.iter().any(|prefix| key.starts_with(prefix)), "{key}");
    }
}
