//! The bar of `--wait`, on a terminal.

use super::*;

const ROWS: usize = 8;

#[tokio::test(flavor = "multi_thread")]
async fn bar_shows_stage_hosts_and_time_on_a_terminal() {
    let lab = Lab::new().await;
    lab.server.running("release-1").await;
    let config = lab.local(&[]);
    let program = env!("CARGO_BIN_EXE_tagship");
    let call = format!(
        "stty cols 100 rows {ROWS}; exec {program} --config {} stop 1 --wait",
        config.path("config.toml").display()
    );
    let mut child = std::process::Command::new("script")
        .args(["-qefc", &call, "/dev/null"])
        .env("TERM", "xterm")
        .env_remove("NO_COLOR")
        .stdin(std::process::Stdio::null())
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let mut screen = BufReader::new(child.stdout.take().unwrap());
    let mut text = String::new();
    while !text.contains("hosts done") {
        let read = tokio::task::block_in_place(|| screen.read_line(&mut text).unwrap());
        assert!(read > 0, "{text:?}");
    }
    let task = lab.server.store.task(1).await.unwrap();
    lab.server.append(&task, to_the_end(Outcome::Stopped)).await;
    tokio::task::block_in_place(|| screen.read_to_string(&mut text).unwrap());
    for part in [
        "task 1 shop to production: \u{1b}[36mstopping\u{1b}[0m: asked by ",
        "\n  [#####-------------------------] 18%, stage stage (2 of 3), 0 of 3 hosts done, ",
        "\n  [########----------------------] 27%, stage stage (2 of 3), 0 of 3 hosts done, ",
        "\n  \u{2026} and 2 more hosts, ",
        "task 1 shop to production: \u{1b}[33mstopped\u{1b}[0m",
    ] {
        assert!(text.contains(part), "no {part:?} in {text:?}");
    }
    let ups = text.split("\u{1b}[").filter_map(|part| {
        let (lines, _) = part.split_once('A')?;
        lines.parse::<usize>().ok()
    });
    let ups: Vec<usize> = ups.collect();
    let all_fit = ups.iter().all(|lines| *lines < ROWS);
    assert!(!ups.is_empty() && all_fit, "{ups:?}: {text:?}");
    assert!(!text.contains("\u{1b}[?"), "no mode is changed: {text:?}");
    assert!(tokio::task::block_in_place(|| child.wait().unwrap()).success());
}
