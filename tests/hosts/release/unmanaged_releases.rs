//! Rollback, by command, API and page, to what another tool had left live on real hosts.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use tagship_tests::world::Settings;

use crate::stage::{HOSTS, Stage, Start as _, publishing};
use crate::tree::Tree;

const RELOAD: &str = r#"
[[stage.steps]]
name = "reload"
in = "release"
run = 'echo "$HOST tag=$TAG commit=$COMMIT release=$RELEASE in=$(pwd -P)" >>"{DIR}/trace"'
"#;

/// The target that another tool gave `current`: the link, and tagship's name for it.
fn of_host(root: &Path, host: &str) -> (String, String) {
    let old = root.join("old/v3").display().to_string();
    match host {
        "web1" => ("releases/20260101120000".into(), "20260101120000".into()),
        "web2" => ("releases/20260102120000".into(), "20260102120000".into()),
        _ => (old.clone(), old),
    }
}

fn another_tool_releases(root: &Path) {
    for host in HOSTS {
        let place = root.join("hosts").join(host).join("shop/qa");
        fs::create_dir_all(place.join("releases")).unwrap();
        let (link, _) = of_host(root, host);
        let directory = place.join(&link);
        fs::create_dir_all(&directory).unwrap();
        fs::write(directory.join("index.html"), format!("old of {host}\n")).unwrap();
        symlink(&link, place.join("current")).unwrap();
    }
}

fn stage() -> Stage {
    let rule = "keep_releases = 2\n--\nschedule = 'ready'\ntemplate = 'own'";
    let settings = Settings::default().template("own", &publishing(RELOAD));
    let settings = settings.environment("qa", "qa-", rule);
    settings.start_with(another_tool_releases)
}

/// Everything that another tool made, and the target of `current`.
fn others(stage: &Stage) -> Vec<(PathBuf, Tree)> {
    let directories = HOSTS.map(|host| {
        let (link, _) = of_host(stage.directory(), host);
        stage.place(host, "qa").join(link)
    });
    let trees = directories.into_iter();
    trees
        .map(|path| (path.clone(), Tree::read(&path)))
        .collect()
}

#[track_caller]
fn assert_others_live(stage: &Stage) {
    for host in HOSTS {
        let live = stage.place(host, "qa").join("current/index.html");
        let text = fs::read_to_string(live).unwrap();
        assert_eq!(text, format!("old of {host}\n"));
    }
}

fn releases(stage: &Stage, host: &str) -> Vec<String> {
    let entries = fs::read_dir(stage.place(host, "qa").join("releases")).unwrap();
    let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<String> = names.collect();
    names.sort();
    names
}

fn notes(task: &Value) -> String {
    task["notes"].to_string()
}

#[test]
fn command_rollback_restores_each_hosts_foreign_release() {
    let stage = stage();
    let first = stage.release("qa-1", &[("index.html", "one\n")]);
    let before = others(&stage);
    let built = HOSTS.map(|host| releases(&stage, host));
    fs::remove_file(stage.path("trace")).unwrap();

    let back = [
        "rollback",
        "--project",
        "shop",
        "--environment",
        "qa",
        "--wait",
    ];
    let printed = String::from_utf8(stage.command(&back)).unwrap();
    assert!(
        printed.contains("task 2 rolls back shop qa to "),
        "{printed}"
    );
    assert!(
        printed.contains("20260101120000 (not made by tagship) on web1"),
        "{printed}"
    );
    assert!(printed.contains(", from qa-1\n"), "{printed}");
    let from = format!(
        "rolls back to 20260102120000, from {}",
        first["release"].as_str().unwrap()
    );
    assert!(printed.contains(&format!("on web2: {from}\n")), "{printed}");
    assert_others_live(&stage);
    for (path, tree) in &before {
        let differences = Tree::read(path).differences(tree);
        assert_eq!(differences, [""; 0], "{}", path.display());
    }
    assert_eq!(
        HOSTS.map(|host| releases(&stage, host)),
        built,
        "nothing is built"
    );

    let trace = fs::read_to_string(stage.path("trace")).unwrap();
    for host in HOSTS {
        let (_, name) = of_host(stage.directory(), host);
        let place = stage.place(host, "qa").join("current");
        let directory = place.canonicalize().unwrap();
        let line = format!(
            "{host} tag= commit= release={name} in={}\n",
            directory.display()
        );
        assert!(trace.contains(&line), "{line}{trace}");
    }

    let live = stage.api.get("/live?project=shop&environment=qa");
    for host in HOSTS {
        let live = &live["live"][0]["hosts"][host];
        let (link, name) = of_host(stage.directory(), host);
        let directory = stage.place(host, "qa").join(link);
        assert_eq!(live["release"], name, "{live}");
        assert_eq!(live["directory"], directory.to_str().unwrap(), "{live}");
        assert_eq!(live["switched_by"], 2, "{live}");
        assert!(
            live["since"].is_string() && live["drift"].is_null(),
            "{live}"
        );
        assert!(live["task"].is_null() && live["tag"].is_null(), "{live}");
    }
    let listed = String::from_utf8(stage.command(&["live"])).unwrap();
    let page = stage.api.page("/hosts");
    for host in HOSTS {
        let (link, _) = of_host(stage.directory(), host);
        let directory = stage.place(host, "qa").join(link).display().to_string();
        let line = listed.lines().find(|line| line.contains(host)).unwrap();
        assert!(
            line.contains(&directory) && line.contains("restored by 2"),
            "{line}"
        );
        assert!(page.contains(&directory), "{page}");
    }

    // Nothing older is known; the next release replaces it, and keeps it.
    let (status, said) = stage.api.try_post(
        "/rollback",
        &json!({ "project": "shop", "environment": "qa" }),
    );
    assert_eq!(status, 409, "{said}");
    for number in 2..=4 {
        stage.release(&format!("qa-{number}"), &[("index.html", "new\n")]);
    }
    for (path, tree) in &before {
        let differences = Tree::read(path).differences(tree);
        assert_eq!(
            differences,
            [""; 0],
            "retention leaves it: {}",
            path.display()
        );
    }
    assert!(!releases(&stage, "web1").contains(&first["release"].as_str().unwrap().to_owned()));
}

#[test]
fn api_and_page_rollback_names_releases_and_switches_all() {
    let stage = stage();
    stage.release("qa-1", &[("index.html", "one\n")]);
    // By name, all hosts roll back to one release, which two hosts do not have.
    let named = json!({ "project": "shop", "environment": "qa", "to": "20260101120000" });
    let task = stage.api.post("/rollback", &named);
    let id = task["id"].as_u64().unwrap();
    assert_eq!(
        task["origin"],
        json!({ "kind": "rollback", "release": "20260101120000" })
    );
    assert_eq!(task["goes_back_to"]["web3"], "20260101120000");
    assert_eq!((&task["tag"], &task["commit"]), (&json!(""), &Value::Null));
    let words = "on web2 and web3: rolls back to 20260101120000, from ";
    assert!(notes(&task).contains(words), "{}", notes(&task));
    let unknown = "20260101120000 is not known to exist there: if it is gone, this task fails";
    assert!(notes(&task).contains(unknown), "{}", notes(&task));
    let failed = stage.api.at_rest(id);
    assert_eq!(failed["state"], "failed", "{failed:#}");
    let printed = String::from_utf8(stage.command(&["show", &id.to_string()])).unwrap();
    let heading = format!("task {id}: rollback to 20260101120000 in shop qa\n");
    assert!(printed.contains(&heading), "{printed}");
    let detail = failed["detail"].as_str().unwrap();
    assert!(
        detail.contains("20260101120000 is no longer there"),
        "{detail}"
    );
    stage.assert_live(&HOSTS, "qa", "qa-1");

    let unknown = json!({ "project": "shop", "environment": "qa", "to": "/etc" });
    let (status, said) = stage.api.try_post("/rollback", &unknown);
    assert_eq!(status, 409, "{said}");
    assert!(
        said.to_string()
            .contains("`/etc` is no release that was live"),
        "{said}"
    );

    // The page shows the target of each host, and sends exactly that.
    let path = "/rollback?project=shop&environment=qa";
    let page = stage.api.page(path);
    for host in HOSTS {
        let (_, name) = of_host(stage.directory(), host);
        assert!(
            page.contains(&format!(
                "{host}</th><td><code>{name}</code></td><td>not made by tagship</td>"
            )),
            "{page}"
        );
    }
    assert!(page.contains("&amp;to=20260102120000"), "{page}");
    let seen = |web1: &str| {
        let of = |host: &str| match host {
            "web1" => web1.to_owned(),
            _ => of_host(stage.directory(), host).1,
        };
        let hosts = HOSTS.map(|host| (host.to_owned(), Value::from(of(host))));
        Value::Object(hosts.into_iter().collect()).to_string()
    };
    let fields = |seen: String| {
        [
            ("project", "shop".to_owned()),
            ("environment", "qa".to_owned()),
            ("seen", seen),
        ]
    };
    let send = |seen: String| {
        let fields = fields(seen);
        let fields: Vec<(&str, &str)> = fields
            .iter()
            .map(|(name, value)| (*name, value.as_str()))
            .collect();
        stage.api.form("/rollback", &fields)
    };
    let (_, other) = send(seen("20250101120000"));
    assert!(
        other.contains("something else would go live than what was shown"),
        "{other}"
    );
    assert!(
        page.contains(&seen("20260101120000").replace('"', "&#34;")),
        "{page}"
    );
    let (place, _) = send(seen("20260101120000"));
    let id: u64 = place.trim_start_matches("/tasks/").parse().unwrap();
    stage.api.until_state(id, "succeeded");
    assert_others_live(&stage);
    let shown = stage.api.page(&format!("/tasks/{id}"));
    assert!(shown.contains("Rolls back to "), "{shown}");
    assert!(
        shown.contains("20260101120000 (not made by tagship) on web1"),
        "{shown}"
    );

    // Another rollback can return to that rollback's release.
    stage.release("qa-2", &[("index.html", "two\n")]);
    let again = stage.api.post("/rollback", &json!({ "task": id }));
    stage
        .api
        .until_state(again["id"].as_u64().unwrap(), "succeeded");
    assert_others_live(&stage);
}

#[test]
fn failed_release_goes_back_into_a_release_that_is_old() {
    let check = "[[stage.steps]]\nname = 'test'\nin = 'release'\nrun = 'test ! -e broken'\n";
    let rule = "keep_releases = 2\n--\nschedule = 'ready'\ntemplate = 'own'";
    let settings = Settings::default().template("own", &publishing(check));
    let stage = settings.environment("qa", "qa-", rule).start();
    let first = stage.release("qa-1", &[("public/index.html", "one\n")]);
    stage.release("qa-2", &[("public/index.html", "two\n")]);
    let led = format!("releases/{}/public", first["release"].as_str().unwrap());
    for host in HOSTS {
        let place = stage.place(host, "qa");
        symlink(&led, place.join("current.new")).unwrap();
        fs::rename(place.join("current.new"), place.join("current")).unwrap();
    }
    let id = stage.propose("qa-3", &[("broken", "")]);
    stage.api.until_state(id, "rolled-back");
    for host in HOSTS {
        let page = stage.place(host, "qa").join("current/index.html");
        assert_eq!(fs::read_to_string(page).unwrap(), "one\n", "{host}");
    }
}
