//! Invalid requests to CODO's API, by mistake or by malice: a clear error with a number, and
//! nothing is created.

use reqwest::StatusCode;
use serde_json::{Value, json};
use tagship::identity::account::Role;

use crate::codo::{Codo, count, fields, said, server};

/// CODO's message for a number, which its clients may print; ours if it has none.
fn words_for(code: i64, detail: &str) -> &'static str {
    match code {
        5 => "ip格式有误",
        6 => "必要参数缺失",
        -1 => "请求内容有误: ",
        -2 => "模板不存在: ",
        -3 => "Host groupings and template groupings mismatch",
        -4 if detail.contains("at most 100") => "Too many hosts, please execute in groups",
        -4 => "The exec host cannot be empty",
        -5 => "参数与模板不符: ",
        other => panic!("no words for {other}: {detail}"),
    }
}

async fn assert_refused(cases: &[(Value, i64, &str)]) {
    let server = server().await;
    let alice = Codo::of(&server, "alice", Role::Admin).await;
    for (changed, code, words) in cases {
        let shown: String = changed.to_string().chars().take(200).collect();
        let (status, answer) = alice.submit(changed).await;
        assert_eq!(status, StatusCode::OK, "{shown}: {answer}");
        assert_eq!(answer["code"], *code, "{shown}: {answer}");
        let detail = answer["detail"].as_str().unwrap();
        assert!(detail.contains(words), "{shown}: {detail}");
        let msg = answer["msg"].as_str().unwrap();
        assert!(msg.starts_with(words_for(*code, detail)), "{shown}: {msg}");
    }
    assert_eq!(count(&server).await, 0, "something was made");
    server.end().await;
}

#[tokio::test]
async fn missing_fields_are_refused() {
    assert_refused(&[
        (json!({ "task_name": null }), 6, "task_name"),
        (json!({ "temp_id": null }), 6, "temp_id"),
        (json!({ "submitter": null }), 6, "submitter"),
        (json!({ "submitter": " " }), 6, "submitter"),
        (json!({ "hosts": null }), -4, "requires group 1"),
        (json!({ "temp_id": 41, "args": null }), 6, "args: VERSION"),
    ])
    .await;
}

#[tokio::test]
async fn fields_of_the_wrong_type_are_refused() {
    let mut cases = Vec::new();
    for field in [
        "task_name",
        "submitter",
        "executor",
        "schedule",
        "exec_time",
        "args",
        "hosts",
        "associated_user",
        "details",
    ] {
        for wrong in [json!(1.5), json!(true), json!(["x"]), json!({ "x": 1 })] {
            cases.push((json!({ field: wrong }), -1, field));
        }
    }
    for wrong in [json!(-1), json!(1.5), json!(["40"]), json!({})] {
        cases.push((json!({ "temp_id": wrong }), -1, "temp_id"));
    }
    assert_refused(&cases).await;
}

#[tokio::test]
async fn invalid_dicts_are_refused_with_their_position() {
    let mut cases = Vec::new();
    for field in ["args", "hosts", "associated_user"] {
        for (text, words) in [
            ("{", "character 2"),
            ("{'A': 'B'", "character 10"),
            ("__import__('os').system('x')", "character 1"),
            ("{'A': open('/etc/passwd')}", "character 7"),
            ("{'A': 1 + 1}", "character 9"),
            ("{'中': x}", "character 7"),
            ("dict(A=1)", "character 1"),
            ("['A']", "must hold a dict"),
            ("'A'", "must hold a dict"),
        ] {
            cases.push((json!({ field: text }), -1, words));
        }
        let deep = format!("{}{}", "[".repeat(40), "]".repeat(40));
        cases.push((json!({ field: deep }), -1, "deeper than"));
        let long = format!("{{'A': '{}'}}", "x".repeat(70_000));
        cases.push((json!({ field: long }), -1, "bytes"));
    }
    assert_refused(&cases).await;
}

#[tokio::test]
async fn invalid_hosts_and_groups_are_refused() {
    let many = |count: usize| {
        let hosts: Vec<String> = (0..count).map(|n| format!("127.0.1.{n}")).collect();
        json!({ "temp_id": 43, "hosts": format!("{{1: '{}'}}", hosts.join(",")) })
    };
    assert_refused(&[
        (json!({ "hosts": "{}" }), -4, "requires group 1"),
        (json!({ "hosts": "{1: ''}" }), -4, "group 1 is empty"),
        (json!({ "hosts": "{1: None}" }), -4, "group 1 is empty"),
        (many(101), -4, "at most 100"),
        (
            json!({ "hosts": "{2: '127.0.0.1'}" }),
            -3,
            "requires group 1",
        ),
        (
            json!({ "hosts": "{1: '127.0.0.1', 2: '127.0.0.2'}" }),
            -3,
            "the task has groups 1, 2",
        ),
        (json!({ "temp_id": 42 }), -3, "requires groups 1, 2"),
        (json!({ "hosts": "{0: '127.0.0.1'}" }), -1, "is not a group"),
        (
            json!({ "hosts": "{'a': '127.0.0.1'}" }),
            -1,
            "is not a group",
        ),
        (json!({ "hosts": "{1: 'web-1'}" }), 5, "is not an address"),
        (
            json!({ "hosts": "{1: '127.0.0.1,'}" }),
            5,
            "is not an address",
        ),
        (
            json!({ "hosts": "{1: '127.0.0.1 127.0.0.2'}" }),
            5,
            "is not an address",
        ),
        (
            json!({ "hosts": "{1: '999.0.0.1'}" }),
            5,
            "is not an address",
        ),
        (
            json!({ "hosts": "{1: '127.0.0.1; reboot'}" }),
            5,
            "is not an address",
        ),
        (
            json!({ "hosts": "{1: '-oProxyCommand=x'}" }),
            5,
            "is not an address",
        ),
        (
            json!({ "hosts": "{1: '127.0.0.1,127.0.0.9'}" }),
            5,
            "no configured host has the address 127.0.0.9",
        ),
        (
            json!({ "temp_id": 43, "hosts": "{1: 'elsewhere.example.com'}" }),
            5,
            "is not an address",
        ),
    ])
    .await;
}

#[tokio::test]
async fn hundred_hosts_in_a_group_are_accepted() {
    let server = server().await;
    let alice = Codo::of(&server, "alice", Role::Submitter).await;
    let hosts: Vec<String> = (0..100).map(|n| format!("127.0.1.{n}")).collect();
    let task = json!({ "temp_id": 43, "hosts": format!("{{1: '{}'}}", hosts.join(",")) });
    let task = alice.submitted(&server, &task).await;
    assert_eq!(task.hosts[&1], hosts);
    server.end().await;
}

#[tokio::test]
async fn unfitting_templates_times_and_values_are_refused() {
    assert_refused(&[
        (json!({ "temp_id": "99" }), -2, "`99`"),
        (json!({ "temp_id": "../../etc/passwd" }), -2, "no template"),
        (json!({ "temp_id": "'; drop table" }), -2, "no template"),
        (json!({ "exec_time": "soon" }), -1, "exec_time"),
        (
            json!({ "exec_time": "2026-02-30 00:00:00" }),
            -1,
            "exec_time",
        ),
        (json!({ "schedule": "observe" }), -1, "schedule"),
        (json!({ "schedule": "ready; x" }), -1, "schedule"),
        (
            json!({ "temp_id": 41, "args": "{'VERSION': 'v', 'MODE': 'slow; reboot'}" }),
            -5,
            "args.MODE",
        ),
        (
            json!({ "temp_id": 41, "args": "{'VERSION': 'a\\x00b'}" }),
            -5,
            "args.VERSION",
        ),
        (
            json!({ "temp_id": 41, "args": "{'VERSION': '\\x1b[2J'}" }),
            -5,
            "args.VERSION",
        ),
    ])
    .await;
}

#[tokio::test]
async fn control_characters_in_shown_texts_are_refused() {
    assert_refused(&[
        (json!({ "task_name": "a\u{1b}[2Jb" }), -1, "task_name"),
        (json!({ "task_name": "a\nb" }), -1, "task_name"),
        (json!({ "submitter": "a\u{0}b" }), -1, "submitter"),
        (json!({ "executor": "a\u{7f}b" }), -1, "executor"),
        (json!({ "details": "a\u{8}b" }), -1, "details"),
    ])
    .await;
}

#[tokio::test]
async fn overlong_texts_are_refused() {
    let long = |count: usize| "长".repeat(count);
    assert_refused(&[
        (json!({ "task_name": long(300) }), -1, "task_name"),
        (json!({ "submitter": long(100) }), -1, "submitter"),
        (json!({ "details": long(20_000) }), -1, "details"),
        (json!({ "temp_id": long(1000) }), -2, "no template"),
        (json!({ "exec_time": long(1000) }), -1, "exec_time"),
        (
            json!({ "temp_id": 41, "args": format!("{{'VERSION': '{}'}}", long(3000)) }),
            -5,
            "args.VERSION",
        ),
    ])
    .await;
}

#[tokio::test]
async fn non_object_json_bodies_are_refused() {
    let server = server().await;
    let alice = Codo::of(&server, "alice", Role::Admin).await;
    for body in [
        "",
        "{",
        "[]",
        "null",
        "\"x\"",
        "task_name=a&temp_id=1",
        "{'task_name': 'python'}",
        "\u{0}\u{1}",
    ] {
        let (status, answer) = alice.send(body).await;
        assert_eq!(
            (status, &answer["code"]),
            (StatusCode::OK, &json!(-1)),
            "{body}"
        );
    }
    let (_, answer) = alice.send(vec![b'{', 0xff, 0xfe]).await;
    assert_eq!(answer["code"], -1);
    assert_eq!(count(&server).await, 0);
    server.end().await;
}

#[tokio::test]
async fn codo_ten_megabyte_fields_are_answered_without_blocking() {
    let server = server().await;
    let alice = Codo::of(&server, "alice", Role::Admin).await;
    let long = "x".repeat(10 * 1024 * 1024);
    let key = alice.key().await;
    for field in [
        "task_name",
        "args",
        "hosts",
        "details",
        "temp_id",
        "anything",
    ] {
        let body = fields(&json!({ field: long })).to_string();
        let (status, answer) = said(alice.post(&key, body).send().await.unwrap()).await;
        assert_eq!(status, StatusCode::PAYLOAD_TOO_LARGE, "{field}");
        assert_eq!(answer["code"], 413, "{answer}");
    }
    // The refused request did not spend the key.
    let taken = alice.post(&key, fields(&json!({})).to_string());
    assert_eq!(said(taken.send().await.unwrap()).await.1["code"], 0);
    assert_eq!(count(&server).await, 1);
    server.end().await;
}

#[tokio::test]
async fn unsupported_methods_are_answered() {
    let server = server().await;
    let address = format!("{}/api/task/v2/task/accept/", server.url);
    let put = crate::client::client().put(&address).send().await.unwrap();
    assert_eq!(put.status(), StatusCode::METHOD_NOT_ALLOWED);
    server.end().await;
}
