#![allow(clippy::unwrap_used)]
use std::io::Write as _;
use std::process::{Command, Stdio};

use proptest::prelude::*;

use super::*;

/// Performs a text in a real shell and returns what it printed.
fn shell(shell: &str, text: &[u8]) -> Vec<u8> {
    let mut words = shell.split(' ');
    let mut child = Command::new(words.next().unwrap())
        .args(words)
        .arg("-s")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(text).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success());
    output.stdout
}

const SHELLS: [&str; 2] = ["sh", "bash --posix"];

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn quoted_value_roundtrips(value in "[^\0]{0,80}") {
        for name in SHELLS {
            let text = format!("ts_value={}\nprintf %s \"$ts_value\"\n", quote("value", &value).unwrap());
            prop_assert_eq!(shell(name, text.as_bytes()), value.as_bytes());
        }
    }

    #[test]
    fn hostile_values_roundtrip(value in "['\"\\\\$`(){};&|<>*?#~! \n\r\t\u{80}-\u{9f}-]{0,60}") {
        for name in SHELLS {
            let text = format!("ts_value={}\nprintf %s \"$ts_value\"\n", quote("value", &value).unwrap());
            prop_assert_eq!(shell(name, text.as_bytes()), value.as_bytes());
        }
    }

    #[test]
    fn paths_of_any_bytes_roundtrip(paths in prop::collection::vec(prop::collection::vec(1u8.., 1..40), 0..20)) {
        let mut expected = Vec::new();
        for path in &paths {
            expected.extend_from_slice(b"./");
            expected.extend_from_slice(path);
            expected.push(0);
        }
        let encoded = encode_paths(paths.iter().map(Vec::as_slice));
        for name in SHELLS {
            let text = format!("ts_paths={}\nprintf %b \"$ts_paths\"\n", quote("paths", &encoded).unwrap());
            prop_assert_eq!(shell(name, text.as_bytes()), &expected[..]);
        }
    }

    #[test]
    fn answer_parsing_is_independent_of_chunk_size(sizes in prop::collection::vec(1usize..9, 1..200)) {
        let answer = b"motd\n@tagship-\n\n@tagship-answer-1\nfence 7\ndata 5 4\nab\ndended 3\nvalues 3\nA=1late\ndone\n";
        let (whole, end) = read(&[answer]);
        let mut pieces = Vec::new();
        let mut rest = &answer[..];
        for size in sizes.iter().cycle() {
            if rest.is_empty() { break; }
            let (piece, after) = rest.split_at((*size).min(rest.len()));
            pieces.push(piece);
            rest = after;
        }
        let (pieced, pieced_end) = read(&pieces);
        prop_assert_eq!(joined(whole), joined(pieced));
        prop_assert!(end.is_ok() && pieced_end.is_ok());
    }
}

#[test]
fn list_roundtrips_every_byte_except_nul() {
    let all: Vec<u8> = (1..=255).collect();
    let encoded = encode_paths([&all[..]]);
    let text = format!(
        "ts_paths={}\nprintf %b \"$ts_paths\"\n",
        quote("paths", &encoded).unwrap()
    );
    for name in SHELLS {
        assert_eq!(shell(name, text.as_bytes())[2..257], all);
    }
}

fn read(pieces: &[&[u8]]) -> (Vec<AnswerItem>, Result<bool, InvalidAnswer>) {
    let mut answer = AnswerReader::default();
    let mut parts = Vec::new();
    for piece in pieces {
        if let Err(error) = answer.feed(piece, &mut |item| parts.push(item)) {
            return (parts, Err(error));
        }
    }
    (parts, Ok(answer.is_done()))
}

/// Data that arrived in several pieces, joined.
fn joined(parts: Vec<AnswerItem>) -> Vec<AnswerItem> {
    let mut joined: Vec<AnswerItem> = Vec::new();
    for item in parts {
        match (joined.last_mut(), item) {
            (
                Some(AnswerItem::Data { offset, bytes }),
                AnswerItem::Data {
                    offset: next,
                    bytes: more,
                },
            ) if *offset + bytes.len() as u64 == next => bytes.extend(more),
            (_, item) => joined.push(item),
        }
    }
    joined
}

#[test]
fn login_output_before_the_marker_is_skipped() {
    let noise: [&[u8]; 5] = [
        b"",
        b"\n\n",
        b"Welcome to shop!\nrefused everything\ndone\n",
        b"no newline",
        b"\n@tagship-answer-\n\n@tagship-answer",
    ];
    for noise in noise {
        let answer = [noise, b"\n@tagship-answer-1\nsealed\ndone\n"].concat();
        let (parts, end) = read(&[&answer]);
        assert_eq!(end, Ok(true));
        let sealed = AnswerItem::Line {
            word: "sealed".into(),
            value: String::new(),
        };
        assert_eq!(parts, [sealed], "{noise:?}");
    }
}

#[test]
fn an_answer_without_its_last_line_is_not_done() {
    for answer in [
        "",
        "noise",
        "\n@tagship-answer-1\n",
        "\n@tagship-answer-1\nsealed\ndon",
        "\n@tagship-answer-1\ndata 0 9\nab",
    ] {
        assert_eq!(read(&[answer.as_bytes()]).1, Ok(false), "{answer:?}");
    }
}

#[test]
fn bytes_that_are_no_answer_are_refused() {
    let long = "x".repeat(LINE_BYTES_MAX + 1);
    for rest in [
        "done\nmore",
        "data 1\n",
        "data -1 2\n",
        "data 1 +2\n",
        "values 65537\n",
        "values 0\n",
        &long,
    ] {
        let answer = format!("\n@tagship-answer-1\n{rest}");
        assert!(read(&[answer.as_bytes()]).1.is_err(), "{rest:.20}");
    }
}

/// Whatever part of a script arrives before the connection is cut, its body runs completely or not
/// at all.
#[test]
fn truncated_script_starts_nothing() {
    let script = Script::new()
        .set("ts_value", "a'b")
        .unwrap()
        .arguments(&["one".into(), "two words".into()])
        .unwrap();
    let text = script.text(&["ts_main() { printf '%s|' STARTED \"$ts_value\" \"$@\"; }\n"]);
    let whole = shell("sh", &text);
    assert!(whole.ends_with(b"STARTED|a'b|one|two words|"));
    for end in (0..text.len() - 1)
        .step_by(7)
        .chain(text.len() - 60..text.len() - 1)
    {
        let mut child = Command::new("sh")
            .arg("-s")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let _ = child.stdin.take().unwrap().write_all(&text[..end]);
        let printed = child.wait_with_output().unwrap().stdout;
        let started = printed.windows(7).any(|seen| seen == b"STARTED");
        assert!(
            !started || printed == whole,
            "{end}: {}",
            String::from_utf8_lossy(&printed)
        );
    }
}

#[test]
fn answer_of_any_length_uses_bounded_memory() {
    let mut lines = AnswerLines::default();
    let line = |lines: &mut AnswerLines| lines.add("release".into(), "r".repeat(4096), 1);
    let parts = (0..LINES_BYTES_MAX).take_while(|_| line(&mut lines).is_ok());
    assert!(parts.count() < LINES_BYTES_MAX / 4096 + 1);
}

#[test]
fn overflowing_output_offset_is_refused() {
    for line in [
        "data 18446744073709551615 10",
        "data 99999999999999999999 1",
    ] {
        let (_, end) = read(&[format!("\n@tagship-answer-1\n{line}\n0123456789").as_bytes()]);
        assert!(end.is_err(), "{line}");
    }
}

const ACTS: &str = "ts_main() { ts_say acted; ts_done; }\n";

#[test]
fn script_whose_beginning_was_read_does_nothing() {
    let script = Script::new().set("ts_at", "/srv/shop").unwrap();
    let text = script.text(&[ACTS]);
    let second_line = text.iter().position(|&byte| byte == b'\n').unwrap() + 1;
    for name in SHELLS {
        let whole = String::from_utf8(shell(name, &text)).unwrap();
        assert_eq!(whole, "\n@tagship-answer-1\nacted\ndone\n");
        let rest = String::from_utf8(shell(name, &text[second_line..])).unwrap();
        assert!(rest.contains("refused a startup file"), "{rest}");
        assert!(!rest.contains("acted"), "{rest}");
    }
}

#[test]
fn script_that_zsh_reads_does_nothing() {
    if !std::path::Path::new("/usr/bin/zsh").exists() {
        eprintln!("SKIPPED: zsh is not installed");
        return;
    }
    let printed = String::from_utf8(shell("/usr/bin/zsh", &Script::new().text(&[ACTS]))).unwrap();
    assert!(printed.contains("by zsh"), "{printed}");
    assert!(!printed.contains("acted"), "{printed}");
}
