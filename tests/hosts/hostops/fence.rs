//! A fence or sequence number read from a host is untrusted input: it may be anything.

use tagship::domain::host::{Existing, HostError, Reply};
use tagship::hosts::ssh::script::OpSequence;
use tagship::hosts::sync;

use crate::hostops::local_host::{Host, SHELLS, Tree};

const HOUR: u64 = 1_700_000_000;
/// Beyond what a shell counts, beyond 64 bits, and centuries ahead.
const ODD: [&str; 4] = [
    "9223372036854775807",
    "9223372036854775808",
    "99999999999999999999999999",
    "4000000000000000000",
];

fn tree() -> Tree {
    let tree = Tree::new();
    tree.file("a", "a", 0o644, HOUR);
    tree
}

fn refusal(answer: Result<Reply, HostError>, what: &str) -> String {
    match answer {
        Err(HostError::Refused(why)) => why,
        other => panic!("{what}: {other:?}"),
    }
}

/// Runs the command in parentheses.
fn follow(remedy: &str) {
    let (_, rest) = remedy.split_once('(').unwrap();
    let (command, _) = rest.rsplit_once("), then retry").unwrap();
    let mut shell = std::process::Command::new("sh");
    assert!(shell.args(["-c", command]).status().unwrap().success());
}

#[test]
fn implausible_fence_is_refused_with_its_remedy() {
    let tree = tree();
    let (first, second) = (tree.release("r1"), tree.release("r2"));
    for shell in SHELLS {
        for odd in ODD {
            for only in [false, true] {
                let host = Host::named(shell, "shop");
                host.stage(7, &tree, &first);
                let base = host.path().join(".tagship");
                let named = base.join(format!("fence-{odd}"));
                if only {
                    std::fs::rename(base.join("fence-7"), &named).unwrap();
                } else {
                    std::fs::create_dir(&named).unwrap();
                }
                let what = format!("{odd}, the only one: {only}");
                let why = refusal(host.prepare(8, &second, None, &[]), &what);
                assert!(why.contains(named.to_str().unwrap()), "{why}");
                follow(&why);
                host.stage(8, &tree, &second);
                assert_eq!(host.inspect().unwrap().fence, 8, "{what}");
            }
        }
    }
}

#[test]
fn implausible_sequence_number_is_refused_with_a_remedy() {
    let tree = tree();
    let release = tree.release("r1");
    for shell in SHELLS {
        for odd in ODD {
            let host = Host::named(shell, "shop");
            host.stage(7, &tree, &release);
            let named = host.path().join(format!(".tagship/fence-7/turn-{odd}"));
            std::fs::create_dir(&named).unwrap();
            let why = refusal(host.prepare(7, &tree.release("r2"), None, &[]), odd);
            assert!(why.contains(named.to_str().unwrap()), "{why}");
            follow(&why);
            host.stage(7, &tree, &tree.release("r2"));
        }
    }
}

/// By length first, then digit by digit, also beyond the numbers of a shell.
#[test]
fn fences_are_compared_as_numbers_of_any_size() {
    let tree = tree();
    let release = tree.release("r1");
    let pairs = [
        (9, 10),
        (99, 100),
        (i64::MAX.cast_unsigned() - 1, i64::MAX.cast_unsigned() + 9),
        (u64::MAX - 1, u64::MAX),
    ];
    for shell in SHELLS {
        for (lower, higher) in pairs {
            let host = Host::named(shell, "shop");
            let prepare = |fence, seq| {
                let place = host.place(fence);
                let none = (None, &[][..], &[][..]);
                let script = sync::prepare(
                    &place,
                    OpSequence(seq),
                    &release,
                    none.0,
                    none.1,
                    none.2,
                    Existing::Equal,
                );
                sync::read_prepared(&host.ask(fence, &script.unwrap())?)
            };
            prepare(lower, 1).unwrap();
            prepare(higher, 1).unwrap();
            let fenced = HostError::Fenced {
                ours: lower,
                held: higher,
            };
            assert_eq!(prepare(lower, 2), Err(fenced));
            prepare(higher, 10).unwrap();
            let overtaken = refusal(prepare(higher, 9), "an earlier sequence number");
            assert!(
                overtaken.contains("overtaken by sequence number 10"),
                "{overtaken}"
            );
        }
    }
}

/// Nothing can be renamed into place from inside a file.
#[test]
fn file_named_like_a_fence_is_not_a_fence() {
    let tree = tree();
    let (one, two) = (tree.release("r1"), tree.release("r2"));
    for shell in SHELLS {
        let host = Host::named(shell, "shop");
        host.stage(5, &tree, &one);
        let own = host.path().join(".tagship");
        std::fs::write(own.join("fence-8"), "").unwrap();
        std::fs::write(own.join("fence-5/turn-99"), "").unwrap();
        host.publish(5, &one, "5-forward").unwrap();
        host.stage(9, &tree, &two);
        host.publish(9, &two, "9-forward").unwrap();
        assert_eq!(host.live().as_deref(), Some("r2"), "{shell:?}");
    }
}
