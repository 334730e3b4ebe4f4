//! `tagship check`: a world without faults, and one fault at a time.

mod hook;
mod hosts;
mod users;

use std::ops::{Deref, DerefMut};
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::process::Command;

use tagship_tests::git::output_of;
use tagship_tests::hook::hook_program;
use tagship_tests::program::script;
use tagship_tests::sshd::{Kind, Sshd, chmod, make_key};
use tagship_tests::world::{Settings, World};

use crate::command::program::{Said, Test};

/// A world and the programs that `tagship check` finds in it.
pub(crate) struct Checked {
    world: World,
    /// A directory in front of `PATH`.
    programs: Option<PathBuf>,
}

impl Deref for Checked {
    type Target = World;

    fn deref(&self) -> &World {
        &self.world
    }
}

impl DerefMut for Checked {
    fn deref_mut(&mut self) -> &mut World {
        &mut self.world
    }
}

/// One host, and one rule with this template.
fn settings(template: &str) -> Settings {
    settings_with(template, "")
}

/// The same with these keys of the environment.
fn settings_with(template: &str, more: &str) -> Settings {
    let keys = format!("deploy_to = '{{DIR}}/srv/shop'\n{more}\n--\nschedule = 'ready'");
    Settings::default()
        .agent("listen = '127.0.0.1:0'")
        .ssh("connect_timeout = '5s'")
        .with_sshd()
        .environment("qa", "qa-*", &format!("{keys}\ntemplate = '{template}'"))
}

impl Checked {
    fn new() -> Self {
        Self {
            world: settings("git-release").build(),
            programs: None,
        }
    }

    /// The same, with the hook in place.
    pub(crate) fn installed() -> Self {
        let checked = Self::new();
        checked.install();
        checked
    }

    #[track_caller]
    fn install(&self) {
        let hook = hook_program().display().to_string();
        let said = self.run(&["install", "--project", "shop", "--hook", &hook]);
        assert_eq!(said.status, Some(0), "{said}");
    }

    /// The same, with another sshd for the host.
    fn served_by(mut self, sshd: Sshd) -> Self {
        self.world.serve(sshd);
        self
    }

    pub(crate) fn deploy_to(&self) -> PathBuf {
        self.path("srv/shop")
    }

    pub(crate) fn run(&self, arguments: &[&str]) -> Said {
        let config = self.configure().display().to_string();
        let mut path = std::env::var("PATH").unwrap();
        if let Some(programs) = &self.programs {
            path = format!("{}:{path}", programs.display());
        }
        Test::new()
            .arguments(["--config", &config])
            .arguments(arguments.iter().copied())
            .variable("PATH", &path)
            .said()
    }

    /// The git user's own configuration: what a login finds in the home directory.
    fn git_configuration(&mut self, text: &str) {
        let (programs, file) = (self.path("programs"), self.path("gitconfig"));
        std::fs::create_dir_all(&programs).unwrap();
        std::fs::write(&file, text).unwrap();
        let path = std::env::var("PATH").unwrap();
        let line = format!(
            "#!/bin/sh\nPATH='{path}'\nGIT_CONFIG_GLOBAL='{}' exec git \"$@\"\n",
            file.display()
        );
        script(&programs.join("git"), &line);
        let open = |path: &std::path::Path, mode| {
            std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
        };
        open(self.directory(), 0o755);
        open(&file, 0o644);
        self.programs = Some(programs);
    }

    fn check(&self) -> Said {
        self.run(&["check"])
    }

    /// Checks, and finds exactly one failure that names all of `words`.
    #[track_caller]
    fn fails_by(&self, words: &[&str]) {
        let said = self.check();
        let failures: Vec<&str> = said
            .stdout
            .lines()
            .filter(|line| line.starts_with("FAIL "))
            .collect();
        assert_eq!(failures.len(), 1, "{said}");
        let (first, last) = (said.stdout.lines().next(), said.stdout.lines().last());
        assert_eq!(first, Some(failures[0]), "{said}");
        assert!(last.unwrap().starts_with("1 failed, "), "{said}");
        for word in words {
            assert!(failures[0].contains(word), "no {word:?} in {said}");
        }
        assert_eq!(said.status, Some(1), "{said}");
        assert!(said.stderr.starts_with("error: 1 of "), "{said}");
    }
}

#[test]
fn healthy_setup_has_no_failure() {
    let world = Checked::installed();
    let said = world.check();
    assert_eq!((said.status, said.stderr.as_str()), (Some(0), ""), "{said}");
    let (findings, summary) = said.stdout.trim_end().rsplit_once('\n').unwrap();
    assert!(
        findings.lines().all(|line| line.starts_with("ok   ")),
        "{said}"
    );
    assert_eq!(summary, format!("{} passed", findings.lines().count()));
    for part in [
        "ok   agent: 1 template, and it fits the rules\n",
        "ok   project shop: its hook is installed in ",
        "ok   host web1: logged in as ",
        "ok   host web1: all programs are there\n",
        "srv/shop can be written, ",
        "ok   host web1: a file can be sent by rsync\n",
        " MiB are free for data_dir ",
    ] {
        assert!(said.stdout.contains(part), "no {part:?} in {said}");
    }
    assert!(!world.deploy_to().exists(), "looking changes nothing");
    std::fs::create_dir_all(world.deploy_to()).unwrap();
    assert_eq!(world.check().status, Some(0));
    let left = std::fs::read_dir(world.deploy_to()).unwrap().count();
    assert_eq!(left, 0, "what was sent is deleted");
}

#[test]
fn programs_get_findings_as_json() {
    let world = Checked::installed();
    std::fs::create_dir_all(world.deploy_to().join("current")).unwrap();
    let said = world.run(&["check", "--json"]);
    assert_eq!(said.status, Some(1), "{said}");
    let findings = said.json();
    let failures: Vec<&serde_json::Value> = findings
        .as_array()
        .unwrap()
        .iter()
        .filter(|finding| finding["verdict"] == "fail")
        .collect();
    assert_eq!(failures.len(), 1, "{findings}");
    assert_eq!(failures[0]["subject"]["kind"], "host");
    assert_eq!(failures[0]["subject"]["name"], "web1");
    assert!(!failures[0]["remedy"].as_str().unwrap().is_empty());
}

#[test]
fn a_host_that_does_not_answer() {
    let mut world = Checked::installed();
    world.misplace_sshd();
    world.fails_by(&["host web1: cannot reach web1", "check that the host is up"]);
}

#[test]
fn a_host_whose_key_is_not_known() {
    let world = Checked::installed();
    std::fs::write(world.path("known_hosts"), "").unwrap();
    world.fails_by(&["host web1", "is not known", "tagship hosts enroll web1"]);
}

#[test]
fn a_host_whose_key_has_changed() {
    let world = Checked::installed();
    make_key(&world.path("other"), Kind::Ed25519, "");
    let other = std::fs::read_to_string(world.path("other.pub")).unwrap();
    let line = format!("[127.0.0.1]:{} {other}", world.sshd().port);
    std::fs::write(world.path("known_hosts"), line).unwrap();
    world.fails_by(&["host web1", "has CHANGED", &world.sshd().fingerprint()]);
}

#[test]
fn missing_key_finding_shows_the_command_to_create_it() {
    let mut world = Checked::installed();
    world.settings.tables = "[git]\nidentity = \"no-key\"\n".to_owned();
    std::fs::remove_file(world.path("key")).unwrap();
    world.fails_by(&[
        "host web1: ",
        "there is no key ",
        "ssh-keygen -q -t ed25519 -N '' -f ",
    ]);
    // Only an address over ssh uses git's key; an unreachable one is reported.
    let repository = &world.repo().path;
    std::fs::rename(repository, world.path("away.git")).unwrap();
    let said = world.check();
    let line = said
        .stdout
        .lines()
        .find(|line| line.starts_with("FAIL project shop"));
    let line = line.unwrap();
    assert!(
        line.contains("no-key; make the key as the agent's user: ssh-keygen"),
        "{said}"
    );
    // The remedy works although the directory is missing.
    world.settings.tables = "[git]\nidentity = \"no/key\"\n".to_owned();
    let key = world.path("no/key");
    let directory = key.parent().unwrap().display();
    let remedy = format!(
        "install -d -m 700 {directory} && ssh-keygen -q -t ed25519 -N '' -f {}",
        key.display()
    );
    assert!(world.check().stdout.contains(&remedy), "{remedy}");
    output_of(Command::new("sh").args(["-c", &remedy]));
    assert!(key.exists());
}

#[test]
fn rsync_that_cannot_be_reached_through_the_login_is_found() {
    let rsync = "#!/bin/sh\ncase $1 in --version) exec /usr/bin/rsync --version;; esac\n\
                 echo 'no transfers here' >&2\nexit 5\n";
    let world = with_programs(&["rsync"], &[("rsync", rsync)]);
    std::fs::create_dir_all(world.deploy_to()).unwrap();
    world.fails_by(&[
        "host web1: a file cannot be sent by rsync: rsync ended with ",
        "no transfers here",
        "print nothing else",
    ]);
    let left = std::fs::read_dir(world.deploy_to()).unwrap().count();
    assert_eq!(left, 0, "the directory for it is deleted");
}

#[test]
fn a_host_that_refuses_the_key() {
    let world = Checked::installed();
    std::fs::write(world.sshd().directory().join("authorized_keys"), "").unwrap();
    world.fails_by(&["host web1", "refused the key", "authorized_keys"]);
}

/// A host with all programs of the system except these, and with these scripts.
fn with_programs(leave_out: &[&str], own: &[(&str, &str)]) -> Checked {
    let checked = Checked::new();
    let bin = checked.path("bin");
    std::fs::create_dir(&bin).unwrap();
    let programs = programs();
    let there = programs.iter().map(String::as_str);
    for name in there.filter(|name| !leave_out.contains(name)) {
        let real = ["/usr/bin", "/bin", "/usr/local/bin"]
            .iter()
            .map(|dir| PathBuf::from(dir).join(name))
            .find(|path| path.exists())
            .unwrap_or_else(|| panic!("no {name} on this machine"));
        std::os::unix::fs::symlink(real, bin.join(name)).unwrap();
    }
    for (name, text) in own {
        script(&bin.join(name), text);
    }
    let sshd = Sshd::settings()
        .line(&format!("SetEnv PATH={}", bin.display()))
        .start();
    let checked = checked.served_by(sshd);
    checked.install();
    checked
}

/// What scripts use on a host.
fn programs() -> Vec<String> {
    let names = std::fs::read_to_string("src/hosts/sync/tools.sh").unwrap();
    let names = names.split('\'').nth(1).unwrap().split(' ');
    let names = names.chain(["sh", "rsync", "setsid"]);
    names.map(str::to_owned).collect()
}

#[test]
fn a_host_without_rsync() {
    with_programs(&["rsync"], &[])
        .fails_by(&["host web1: no rsync on the host; install rsync there"]);
}

#[test]
fn a_host_without_setsid() {
    with_programs(&["setsid"], &[]).fails_by(&["host web1: no setsid on the host"]);
}

#[test]
fn a_host_without_grep() {
    with_programs(&["grep"], &[]).fails_by(&["host web1: no grep on the host; install grep there"]);
}

#[test]
fn a_host_without_readlink() {
    with_programs(&["readlink"], &[])
        .fails_by(&["host web1: no readlink on the host; install coreutils there"]);
}

#[test]
fn a_host_whose_find_is_not_gnus() {
    let other = "#!/bin/sh\nfor word in \"$@\"; do [ \"$word\" != -printf ] || exit 1; done\n";
    with_programs(&["find"], &[("find", other)])
        .fails_by(&["host web1: find on the host is not GNU's; install findutils there"]);
}

#[test]
fn a_host_with_an_old_rsync() {
    let old = "#!/bin/sh\necho 'rsync  version 3.0.9  protocol version 30'\n";
    with_programs(&["rsync"], &[("rsync", old)])
        .fails_by(&["host web1: rsync 3.0.9 on the host is older"]);
}

#[test]
fn a_host_whose_login_runs_no_shell() {
    let forced = Sshd::settings().line("ForceCommand echo no").start();
    let world = Checked::installed().served_by(forced);
    world.fails_by(&["host web1", "ran no shell script", "ForceCommand"]);
}

#[test]
fn a_real_directory_where_the_link_should_be() {
    let world = Checked::installed();
    std::fs::create_dir_all(world.deploy_to().join("current")).unwrap();
    world.fails_by(&[
        "host web1",
        "srv/shop/current is a real directory",
        "mv -T current current.was && ln -s current.was current",
    ]);
}

#[test]
fn a_dangling_current_link() {
    let world = Checked::installed();
    std::fs::create_dir_all(world.deploy_to()).unwrap();
    std::os::unix::fs::symlink("releases/gone", world.deploy_to().join("current")).unwrap();
    world.fails_by(&["host web1", "points to what is not there"]);
}

#[test]
fn a_leftover_that_is_live_is_not_to_be_deleted() {
    let world = Checked::installed();
    let at = world.deploy_to();
    std::fs::create_dir_all(at.join(".tagship/trash")).unwrap();
    for name in ["r1", "r2"] {
        std::fs::create_dir_all(at.join("releases").join(name).join("public")).unwrap();
        let mark = at.join(".tagship/trash").join(format!("{name}.stays"));
        std::fs::write(mark, "").unwrap();
    }
    std::os::unix::fs::symlink("releases/r1/public", at.join("current")).unwrap();
    let said = world.check();
    assert!(said.stdout.contains("rm -rf"), "{said}");
    assert!(
        said.stdout.contains("releases/r2 could not be deleted"),
        "{said}"
    );
    assert!(!said.stdout.contains("releases/r1"), "{said}");
}

#[test]
fn leftover_of_another_login_user_is_named() {
    let world = Checked::installed();
    let at = world.deploy_to();
    let [own, other] = ["7", "8"].map(|number| at.join(format!(".tagship.new.{number}")));
    for directory in [&own, &other] {
        std::fs::create_dir_all(directory).unwrap();
    }
    if std::os::unix::fs::chown(&other, Some(4242), None).is_err() {
        eprintln!("SKIPPED: only root gives a directory to another user");
        return;
    }
    let said = world.check();
    let words = ".tagship.new.8 could not be deleted";
    assert!(said.stdout.contains(words), "{said}");
    assert!(!said.stdout.contains(".tagship.new.7"), "{said}");
}

#[test]
fn releases_that_are_not_recorded_are_counted() {
    let world = Checked::installed();
    let at = world.deploy_to();
    let names = [
        "20261121-160314-3f2a9c1",
        "20261122-160314-3f2a9c1",
        "20261123-160314-3f2a9c1",
    ];
    std::fs::create_dir_all(at.join(".tagship/manifests")).unwrap();
    std::fs::write(at.join(".tagship/manifests").join(names[1]), "").unwrap();
    for name in names.iter().chain(&["20261121160314", "v1-2-3"]) {
        std::fs::create_dir_all(at.join("releases").join(name)).unwrap();
    }
    let counted = |count: &str| {
        let said = world.check();
        let words = format!("srv/shop/releases without a record in .tagship: {count};");
        assert!(said.stdout.contains(&words), "{said}");
    };
    counted("2");
    let live = format!("releases/{}", names[0]);
    std::os::unix::fs::symlink(live, at.join("current")).unwrap();
    counted("1");
}

#[test]
fn a_file_where_the_directory_should_be() {
    let world = Checked::installed();
    std::fs::write(world.path("srv"), "").unwrap();
    world.fails_by(&["host web1", "srv is no directory"]);
}

#[test]
fn a_target_that_the_login_user_cannot_write() {
    let mut world = Checked::installed();
    let above = world.path("srv");
    std::fs::create_dir(&above).unwrap();
    std::fs::set_permissions(&above, std::fs::Permissions::from_mode(0o555)).unwrap();
    if rustix::process::geteuid().is_root() {
        // Everything is writable for root: on the host we switch to the user `nobody`.
        let nobody = "setpriv --reuid=65534 --regid=65534 --clear-groups sh -s";
        let sshd = Sshd::settings().line(&format!("ForceCommand {nobody}"));
        world = world.served_by(sshd.start());
        chmod(world.directory(), 0o755);
    }
    world.fails_by(&[
        "host web1: ",
        "srv/shop is not there, and the login user cannot make it; make it there as root: install -d -o ",
    ]);
}

#[test]
fn a_repository_that_cannot_be_fetched() {
    let world = Checked::installed();
    let away = world.path("away.git");
    std::fs::rename(&world.repo().path, &away).unwrap();
    let said = world.check();
    assert!(said.stdout.contains("FAIL project shop: "), "{said}");
    assert!(said.stdout.contains("shop.git: git ls-remote"), "{said}");
    assert!(said.stdout.contains("correct `git_url`"), "{said}");
    assert_eq!(said.status, Some(1));
}

#[test]
fn a_template_that_does_not_parse() {
    let world = Checked::installed();
    std::fs::create_dir(world.path("templates")).unwrap();
    let text = "name = \"own\"\n[[stage]]\nname = \"x\"\nstep = []\n";
    std::fs::write(world.path("templates/own.toml"), text).unwrap();
    let said = world.check();
    assert!(said.stdout.contains("FAIL agent: "), "{said}");
    assert!(said.stdout.contains("templates/own.toml:4:1: "), "{said}");
    assert_eq!(said.status, Some(1));
}

#[test]
fn a_missing_template() {
    let mut world = Checked::installed();
    world.settings = settings("git-relaese");
    let said = world.check();
    assert!(
        said.stdout.contains("did you mean `git-release`?"),
        "{said}"
    );
    assert_eq!(said.status, Some(1));
}

#[test]
fn a_spool_that_is_missing() {
    let world = Checked::installed();
    std::fs::remove_dir_all(world.path("spool")).unwrap();
    let said = world.check();
    assert!(said.stdout.contains("FAIL agent: the spool "), "{said}");
    let remedy = format!("{}, and restart the agent", world.path("spool").display());
    assert!(
        said.stdout.contains("run as root: install -d -m 3770 -o "),
        "{said}"
    );
    assert!(said.stdout.contains(&remedy), "{said}");
    assert_eq!(said.status, Some(1));
}

#[test]
fn a_file_in_the_place_of_the_spool() {
    let world = Checked::installed();
    let spool = world.path("spool");
    for file in [spool.join("new"), spool] {
        std::fs::remove_dir_all(&file).unwrap();
        std::fs::write(&file, "").unwrap();
        let said = world.check();
        assert!(said.stdout.contains("FAIL agent: spool_dir "), "{said}");
        let remedy = format!("{} is not one: move that file away", file.display());
        assert!(said.stdout.contains(&remedy), "{said}");
        assert_eq!(said.status, Some(1));
        let said = world.run(&["install", "--project", "shop"]);
        assert!(said.stderr.contains(&remedy), "{said}");
    }
}

#[test]
fn a_spool_that_others_may_read() {
    let world = Checked::installed();
    let spool = world.path("spool");
    std::fs::set_permissions(spool, std::fs::Permissions::from_mode(0o777)).unwrap();
    world.fails_by(&[
        "agent: the spool ",
        "has mode 0777, not 3770",
        "restart the agent",
    ]);
}

#[test]
fn rules_that_the_agent_has_not_published() {
    let mut world = Checked::installed();
    world.settings = settings("other");
    let said = world.check();
    assert!(
        said.stdout.contains("older than the configuration"),
        "{said}"
    );
    assert_eq!(said.status, Some(1));
}

#[test]
fn single_project_is_checked_alone() {
    let world = Checked::installed();
    let said = world.run(&["check", "--project", "shoe"]);
    assert_eq!(
        said.stderr,
        "error: no project is named shoe; the configuration has shop; did you mean shop?\n"
    );
    assert_eq!(world.run(&["check", "--project", "shop"]).status, Some(0));
}
