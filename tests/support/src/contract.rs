//! The fields that programs may rely on.

use serde_json::Value;

/// Panics unless the task, as `/api/v1/tasks/ID` gives it, has every field that programs may rely on.
#[track_caller]
pub fn assert_task(task: &Value) {
    for field in [
        "id",
        "project",
        "environment",
        "ref",
        "commit",
        "state",
        "schedule",
        "submitter",
        "created_at",
        "approvals",
        "stages",
        "live_before",
        "goes_back_to",
    ] {
        assert!(!task[field].is_null(), "{field} is missing: {task:#}");
    }
    let stages = task["stages"].as_array().unwrap();
    let hosts = stages
        .iter()
        .flat_map(|stage| stage["hosts"].as_array().unwrap());
    for step in hosts.flat_map(|host| host["steps"].as_array().unwrap()) {
        for field in ["name", "state", "started_at", "ended_at", "exit_code"] {
            assert!(step.get(field).is_some(), "{field} is missing: {step:#}");
        }
    }
}
