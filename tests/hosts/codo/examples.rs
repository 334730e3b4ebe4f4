//! The documents' examples, one after another, by the numbers in them.

use std::fs;

use jiff::SignedDuration;
use serde_json::{Value, json};
use tagship::base::clock::{Clock as _, SystemClock};
use tagship::base::secret::SecretString;
use tagship::identity::account::code_at;
use tagship_tests::world::Settings;

use crate::codo::script::{Script, Task};
use crate::stage::{Stage, Start as _, alone};

/// Number 1: prints its inputs.
const SAYS: &str = r#"
id = 1
params = [{ name = "VERSION", alias = "版本" }]
[[stage]]
name = "say"
hosts = "{1}"
steps = [{ name = "say", run = 'echo "VERSION is [$VERSION] in flow $FLOW_ID"' }]
"#;

/// Number 35: buys nothing, and prints what it would buy.
const PURCHASE: &str = r#"
id = 35
params = [
    { name = "HOSTNAME", required = true },
    { name = "INSTANCE_TYPE", required = true },
    { name = "RDS_TYPE" }, { name = "RDS_CLUSTER" }, { name = "RDS_SIZE" },
    { name = "REDIS_TYPE" }, { name = "ALB" }, { name = "DOMAIN" }, { name = "CDN" },
    { name = "END_TIME" },
    { name = "ENV", required = true },
]
[[stage]]
name = "buy"
hosts = "{1}"
[[stage.steps]]
name = "buy"
run = '''
for name in HOSTNAME INSTANCE_TYPE RDS_TYPE RDS_CLUSTER RDS_SIZE REDIS_TYPE ALB DOMAIN CDN END_TIME ENV; do
    eval "printf '%s=[%s]\n' $name \"\$$name\""
done
'''
"#;

/// The published flow, step by step as CODO's templates have it: all on one host, where `{DIR}` is.
const FLOW: &str = r#"
id = 33
params = [{ name = "APP_NAME", required = true }]
[[stage]]
name = "build"
hosts = "{1}"
[[stage.steps]]
name = "enable-deploy-key"
run = 'echo "the deploy key of $GIT_URL is enabled"'
[[stage.steps]]
name = "git-clone"
run = 'git clone -q "$GIT_URL" "{DIR}/flow/$APP_NAME"'
[[stage.steps]]
name = "git-pull"
run = 'git -C "{DIR}/flow/$APP_NAME" pull -q origin HEAD'
[[stage.steps]]
name = "git-checkout"
run = 'git -C "{DIR}/flow/$APP_NAME" checkout -q "refs/tags/$TAG"'
[[stage]]
name = "release"
hosts = "{2}"
[[stage.steps]]
name = "rsync_code"
run = 'rsync -a --exclude .git "{DIR}/flow/$APP_NAME/" "{DIR}/flow/$HOST.new/"'
[[stage.steps]]
name = "code_backup"
run = 'if [ -d "{DIR}/flow/$HOST" ]; then mv "{DIR}/flow/$HOST" "{DIR}/flow/$HOST.$FLOW_ID"; fi'
[[stage.steps]]
name = "publish_code"
run = 'mv "{DIR}/flow/$HOST.new" "{DIR}/flow/$HOST" && echo publish OK'
"#;

/// The same flow in tagship's own steps.
const OWN_FLOW: &str = r#"
id = 34
[[stage]]
name = "checkout"
steps = [{ name = "git-checkout", use = "checkout" }]
[[stage]]
name = "sync"
hosts = "{group}"
steps = [{ name = "rsync_code", use = "sync" }]
[[stage]]
name = "publish"
hosts = "{group}"
steps = [{ name = "publish_code", use = "publish" }, { name = "publish_ok", run = "echo publish OK" }]
"#;

fn stage() -> Stage {
    Settings::default()
        .agent("parallel_tasks = 1")
        .environment("production", "release-", "")
        .template("says", SAYS)
        .template("purchase", PURCHASE)
        .template("flow", FLOW)
        .template("own-flow", OWN_FLOW)
        .start()
}

fn taken(answer: &(u16, Value)) -> u64 {
    assert_eq!(answer.0, 200, "{}", answer.1);
    assert_eq!(answer.1["code"], 0, "{}", answer.1);
    let id = answer.1["list_id"].as_u64().unwrap();
    assert_eq!(answer.1["msg"], format!("Task creation success, ID：{id}"));
    id
}

/// Names and states of all steps, in order.
fn steps(task: &Value) -> Vec<(String, String)> {
    let list = |value: &Value, key: &str| value[key].as_array().unwrap().clone();
    let mut found = Vec::new();
    for stage in list(task, "stages") {
        for host in list(&stage, "hosts") {
            for step in list(&host, "steps") {
                let text = |key: &str| step[key].as_str().unwrap().to_owned();
                found.push((text("name"), text("state")));
            }
        }
    }
    found
}

#[test]
fn documented_codo_examples_run() {
    let _alone = alone();
    let stage = stage();
    let script = Script::new(&stage.url(), &stage.token("alice", "approver"));
    let api = &stage.api;

    // A task without parameters, which waits for approval.
    let asked = json!({
        "task_name": "最简单的任务", "temp_id": "1", "submitter": "alice",
        "hosts": "{1: '127.0.1.1'}",
    });
    let id = taken(&script.submit(&asked));
    api.until_state(id, "waiting");
    let approver = stage.person("carol", "approver");
    assert_eq!(approver.approve(id).0, 200);
    api.until_state(id, "succeeded");
    api.until_logged(id, &["web1"], &[&format!("VERSION is [] in flow {id}")]);

    // A task with a parameter that has an alias, submitted as JSON.
    let typed = "{\n\t\"task_name\": \"这是通过JSON提交的任务\",\n\t\"submitter\": \"bob\",\n\t\
         \"temp_id\": \"1\",\n\t\"schedule\": \"ready\",\n\t\"exec_time\": \"2019-5-24 09:09:50\",\n\t\
         \"associated_user\": \"{'group-1': ['爱丽丝']}\",\n\t\
         \"args\": \"{'VERSION':'传入的参数是VERSION，显示成了版本'}\",\n\t\
         \"details\": \"这里是备注\",\n\t\"hosts\": \"{1: '127.0.1.2'}\"\n}";
    let id = taken(&script.submit_typed(typed));
    api.until_state(id, "succeeded");
    let line = format!("VERSION is [传入的参数是VERSION，显示成了版本] in flow {id}");
    api.until_logged(id, &["web2"], &[&line]);

    // The script, which sends more parameters than the template has.
    let task = Task {
        name: "脚本任务",
        template: "1",
        schedule: "new",
        tag: "codo-beta0.3",
        git_url: "git@git.example.com:alice/web.git",
        address: "127.0.1.1",
    };
    let id = taken(&script.submit(&task.fields()));
    api.until_state(id, "waiting");
    assert_eq!(approver.approve(id).0, 200);
    api.until_state(id, "succeeded");

    // The purchase of cloud resources.
    let asked = json!({
        "task_name": "这是任务名字", "submitter": "杨", "temp_id": "35", "schedule": "ready",
        "exec_time": "2019-03-22 16:09:50",
        "args": "{'HOSTNAME': 'FT-VA-01-web01,FT-VA-01-web02', 'INSTANCE_TYPE': 'c5.2xlarge', \
            'RDS_TYPE': 'None', 'RDS_CLUSTER': 'M1', 'RDS_SIZE': '100', 'REDIS_TYPE': 'cache.r4.large', \
            'ALB': 'yes', 'DOMAIN': 'yes', 'CDN': 'yes', 'END_TIME': '', \
            'ENV': 'php72,python3,nginx,zabbix,salt'}",
        "details": "这是自动化购买资源组",
        "hosts": "{1: '127.0.1.3'}",
    });
    let id = taken(&script.submit(&asked));
    api.until_state(id, "succeeded");
    api.until_logged(
        id,
        &["web3"],
        &[
            "HOSTNAME=[FT-VA-01-web01,FT-VA-01-web02]",
            "INSTANCE_TYPE=[c5.2xlarge]",
            "RDS_TYPE=[None]",
            "END_TIME=[]",
            "ENV=[php72,python3,nginx,zabbix,salt]",
        ],
    );
}

#[test]
fn published_codo_flow_runs_as_named_steps() {
    let _alone = alone();
    let stage = stage();
    let script = Script::new(&stage.url(), &stage.token("alice", "approver"));
    fs::create_dir(stage.path("flow")).unwrap();
    fs::remove_file(stage.repo().path.join("hooks/update")).unwrap();
    for (round, tag) in ["release-dbtt-1", "release-dbtt-2"].into_iter().enumerate() {
        let _ = fs::remove_dir_all(stage.path("flow/DBTT"));
        stage.commit(tag, &[("README.md", tag)]);
        assert!(
            stage
                .tree()
                .push(["origin", "HEAD:refs/heads/main", tag])
                .success
        );
        let task = Task {
            name: "DBTT",
            template: "33",
            schedule: "ready",
            tag,
            git_url: &stage.repo().url(),
            address: "127.0.1.1",
        };
        let mut fields = task.fields();
        fields["hosts"] = json!("{1: '127.0.1.1', 2: '127.0.1.2,127.0.1.3'}");
        let id = taken(&script.submit(&fields));
        let task = stage.api.until_state(id, "succeeded");
        let steps = steps(&task);
        let names: Vec<&str> = steps.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(
            names,
            [
                "enable-deploy-key",
                "git-clone",
                "git-pull",
                "git-checkout",
                "rsync_code",
                "code_backup",
                "publish_code",
                "rsync_code",
                "code_backup",
                "publish_code",
            ]
        );
        assert!(
            steps.iter().all(|(_, state)| state == "succeeded"),
            "{steps:?}"
        );
        for host in ["web2", "web3"] {
            let live = stage.path(format!("flow/{host}/README.md"));
            let read = fs::read_to_string(live).unwrap();
            assert_eq!(read, tag);
            let kept = stage.path(format!("flow/{host}.{id}"));
            assert_eq!(kept.exists(), round == 1, "the backup of round {round}");
        }
    }
}

#[test]
fn codo_flow_as_tagship_steps_releases_the_tags_commit() {
    let _alone = alone();
    let stage = stage();
    let script = Script::new(&stage.url(), &stage.token("alice", "approver"));
    fs::remove_file(stage.repo().path.join("hooks/update")).unwrap();
    let tag = "release-dbtt-1";
    stage.commit(tag, &[("README.md", "one\n")]);
    assert!(stage.tree().push_tag(tag).success);
    let task = Task {
        name: "DBTT",
        template: "34",
        schedule: "ready",
        tag,
        git_url: &stage.repo().url(),
        address: "127.0.1.1,127.0.1.2,127.0.1.3",
    };
    let id = taken(&script.submit(&task.fields()));
    let task = stage.api.until_state(id, "succeeded");
    let names: Vec<String> = steps(&task).into_iter().map(|(name, _)| name).collect();
    assert_eq!(names[..2], ["git-checkout", "rsync_code"]);
    stage.assert_live(&["web1", "web2", "web3"], "production", tag);
}

#[test]
fn ten_waiting_tasks_do_not_block_another_task() {
    let _alone = alone();
    let stage = stage();
    let script = Script::new(&stage.url(), &stage.token("alice", "approver"));
    let asked = |schedule: &str| {
        json!({
            "task_name": "waits", "temp_id": "1", "submitter": "alice", "schedule": schedule,
            "exec_time": "2019-5-24 09:09:50", "hosts": "{1: '127.0.1.1'}",
        })
    };
    let waiting: Vec<u64> = (0..10)
        .map(|_| taken(&script.submit(&asked("new"))))
        .collect();
    for id in &waiting {
        stage.api.until_state(*id, "waiting");
    }
    let id = taken(&script.submit(&asked("ready")));
    stage.api.until_state(id, "succeeded");
    for id in waiting {
        assert_eq!(stage.api.task(id)["state"], "waiting");
    }
}

#[test]
fn user_with_a_one_time_code_submits_and_reads_the_result() {
    let _alone = alone();
    let stage = stage();
    let api = &stage.api;
    let password = "correct horse battery";
    api.post(
        "/users",
        &json!({ "name": "alice", "role": "approver", "password": password }),
    );
    let begun = api.post("/users/alice/totp/begin", &json!({}));
    let secret = SecretString::from(begun["secret"].as_str().unwrap());
    // Each code is accepted once, and the user's clock may be half a minute off.
    let code = |later: i64| {
        let at = SystemClock.now() + SignedDuration::from_secs(later);
        code_at(&secret, at).unwrap()
    };
    api.post("/users/alice/totp/confirm", &json!({ "code": code(0) }));

    let mut script = Script::new(&stage.url(), "");
    let login =
        |dynamic: &str| json!({ "username": "alice", "password": password, "dynamic": dynamic });
    let (_, answer) = script.log_in(&login(""));
    assert_eq!(answer["code"], 1, "{answer}");
    let (_, answer) = script.log_in(&login(&code(30)));
    assert_eq!(
        (&answer["code"], &answer["msg"]),
        (&json!(0), &json!("登录成功")),
        "{answer}"
    );
    let asked = json!({
        "task_name": "这是任务名字", "temp_id": 1, "submitter": "alice", "schedule": "ready",
        "exec_time": "2019-03-22 16:09:50", "args": "{'VERSION': 'v7'}",
        "hosts": "{1: '127.0.1.1'}",
    });
    let id = taken(&script.submit(&asked));
    let task = api.until_state(id, "succeeded");
    assert_eq!(task["submitter"], "alice");
    api.until_logged(id, &["web1"], &[&format!("VERSION is [v7] in flow {id}")]);
}
