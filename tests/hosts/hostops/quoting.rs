//! Passes hostile values through every builder and a real shell. Names of tags, parameters, files
//! and directories arrive byte for byte, and nothing in them is executed.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;
use std::time::{Duration, SystemTime};

use proptest::prelude::*;
use tagship::domain::host::{HOME, Run, RunCommand, TransferSet};
use tagship::domain::template::fill;
use tagship::hosts::sync::rsync::TransferEnd;

use crate::hostops::attempt::ended;
use crate::hostops::local_host::{Host, SHELLS, Tree, picture_of};

/// Characters that are special to shells, `printf`, `test` and options, among ordinary letters.
const HOSTILE: &str = "[-'\"\\\\$`(){};&|<>*?#~!%=\\[\\] \n\r\ta-c0\u{e9}\u{85}]{0,24}";
/// The same for a name on the host, which holds no slash and no control character.
const HOSTILE_NAME: &str = "[-'\"\\\\$`(){};&|<>*?#~!%=\\[\\] a-c0\u{e9}]{1,24}";

/// The name of a file in a repository: any bytes but NUL and slash.
fn file_name() -> impl Strategy<Value = Vec<u8>> {
    let trap = prop::sample::select(&b"-'\"\\$`(){};&|<>*?#~!% \n\r\t\xff\x80"[..]);
    let byte = prop_oneof![3 => trap, 1 => 1u8..=255];
    prop::collection::vec(byte, 1..12).prop_map(|mut name| {
        for byte in &mut name {
            if *byte == b'/' {
                *byte = b'-';
            }
        }
        // `.` and `..` are no names.
        name.push(b'x');
        name
    })
}

fn write(tree: &Path, directory: &[u8], name: &[u8], content: &str, mtime_s: u64) -> Vec<u8> {
    let path = [directory, b"/", name].concat();
    let file = tree.join(OsStr::from_bytes(&path));
    std::fs::create_dir_all(file.parent().unwrap()).unwrap();
    std::fs::write(&file, content).unwrap();
    let mtime = SystemTime::UNIX_EPOCH + Duration::from_secs(mtime_s);
    std::fs::File::options()
        .write(true)
        .open(&file)
        .unwrap()
        .set_modified(mtime)
        .unwrap();
    path
}

/// Each word ended by a NUL.
fn words(words: &[String]) -> Vec<u8> {
    words
        .iter()
        .flat_map(|word| word.bytes().chain([0]))
        .collect()
}

fn say_all(key: &str, command: RunCommand, environment: BTreeMap<String, String>) -> Run {
    Run {
        key: key.to_owned(),
        command,
        directory: HOME.to_owned(),
        environment,
        timeout: Duration::from_secs(30),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]

    #[test]
    fn arguments_and_variables_reach_a_program_byte_for_byte(
        tag in HOSTILE,
        host in HOSTILE,
        deploy_to in HOSTILE_NAME,
        shell in prop::sample::select(&SHELLS[..]),
    ) {
        let host_directory = Host::named(shell, &format!("{deploy_to}x"));
        let values = BTreeMap::from([
            ("TAG".to_owned(), tag.clone()),
            ("HOST".to_owned(), host.clone()),
        ]);
        let script = "printf '%s\\0' \"$TAG\" \"$HOST\" \"$@\"";
        let arguments = ["{TAG}", "--tag={TAG}", "{HOST}{TAG}", "-{HOST}"].map(|word| fill(word, &values));
        let mut argv: Vec<String> = ["sh", "-c", script, "name"].map(str::to_owned).into();
        argv.extend(arguments.clone());
        let heard = host_directory.run(&say_all("1-a", RunCommand::Argv(argv), values.clone()));
        prop_assert_eq!(&heard.end, &ended(0));
        let mut expected = vec![tag.clone(), host.clone()];
        expected.extend(arguments);
        prop_assert_eq!(heard.output, words(&expected));

        let heard = host_directory.run(&say_all("1-b", RunCommand::Shell(script.to_owned()), values));
        prop_assert_eq!(&heard.end, &ended(0));
        prop_assert_eq!(heard.output, words(&[tag, host]));
    }

    #[test]
    fn files_of_any_name_are_added_changed_and_deleted(
        deploy_to in HOSTILE_NAME,
        directory in file_name(),
        names in prop::collection::btree_set(file_name(), 3..8),
        shell in prop::sample::select(&SHELLS[..]),
    ) {
        let host = Host::named(shell, &format!("{deploy_to}x"));
        let names: Vec<Vec<u8>> = names.into_iter().collect();
        let tree = Tree::new();
        for name in &names {
            write(tree.path(), &directory, name, "one", 1_700_000_000);
        }
        let first = tree.release("r1");
        host.stage(1, &tree, &first);
        prop_assert_eq!(picture_of(&host.release(&first)), picture_of(tree.path()));
        host.publish(1, &first, "1").unwrap();
        let before = picture_of(&host.release(&first));

        // One file is deleted, one changes, one is new.
        let next = tree.twin();
        let gone = [&directory[..], b"/", &names[0]].concat();
        std::fs::remove_file(next.path().join(OsStr::from_bytes(&gone))).unwrap();
        let changed = vec![
            write(next.path(), &directory, &names[1], "two", 1_700_000_001),
            write(next.path(), &names[0], &directory, "new", 1_700_000_001),
        ];
        let second = next.release("r2");
        host.prepare(2, &second, Some(&first), &[&gone]).unwrap();
        let end = host.transfer(2, next.path(), &TransferSet::Changed(changed));
        prop_assert_eq!(end, TransferEnd::Complete);
        host.seal(2, &second).unwrap();
        prop_assert_eq!(host.publish(2, &second, "2").unwrap(), Some("r1".to_owned()));
        prop_assert_eq!(picture_of(&host.release(&second)), picture_of(next.path()));
        prop_assert_eq!(picture_of(&host.release(&first)), before);
        prop_assert_eq!(host.prune(2, 1, &[], &[]).unwrap(), ["r1"]);
        prop_assert_eq!(host.live(), Some("r2".to_owned()));
    }
}
