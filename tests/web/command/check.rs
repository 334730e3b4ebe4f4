//! `tagship check`: a world in which all is well, and one fault at a time.

mod hosts;
mod users;

use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::process::Command;

use tagship_tests::git::{Repository, output_of};
use tagship_tests::hook::hook_program;
use tagship_tests::program::script;
use tagship_tests::sshd::{Kind, Sshd, make_key};

use crate::command::program::{Said, Test};

/// A git server, a host, and a configuration that fits them.
pub(crate) struct World {
    test: Test,
    sshd: Sshd,
    pub(crate) repository: Repository,
    /// More lines of `[ssh]`.
    ssh: String,
    template: &'static str,
    /// More tables.
    pub(crate) more: String,
    /// In front of where programs are found.
    programs: Option<PathBuf>,
}

impl World {
    fn new() -> Self {
        let test = Test::new();
        let sshd = Sshd::settings().start();
        sshd.known_hosts(&[]);
        let repository = Repository::bare(test.path("shop.git"));
        Self {
            test,
            sshd,
            repository,
            ssh: String::new(),
            template: "git-release",
            more: String::new(),
            programs: None,
        }
    }

    /// The same, with the hook in place.
    pub(crate) fn installed() -> Self {
        let world = Self::new();
        let hook = hook_program().display().to_string();
        let said = world.run(&["install", "--project", "shop", "--hook", &hook]);
        assert_eq!(said.status, Some(0), "{said}");
        world
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.test.path(name)
    }

    pub(crate) fn deploy_to(&self) -> PathBuf {
        self.path("srv/shop")
    }

    fn configuration(&self) -> String {
        let Self {
            sshd,
            ssh,
            template,
            more,
            ..
        } = self;
        let dir = self.test.directory().display();
        let (user, port) = (&sshd.user, sshd.port);
        let identity = sshd.identity().display().to_string();
        let known_hosts = sshd.directory().join("known_hosts").display().to_string();
        format!(
            r#"
[agent]
listen = "127.0.0.1:0"
data_dir = "{dir}/data"
spool_dir = "{dir}/spool"
templates_dir = "{dir}/templates"
[ssh]
user = "{user}"
identity = "{identity}"
known_hosts = "{known_hosts}"
connect_timeout = "5s"
{ssh}
[hosts.web1]
address = "127.0.0.1"
port = {port}
[groups]
web = ["web1"]
[[projects]]
name = "shop"
repository = "{dir}/shop.git"
environments.qa = {{ group = "web", deploy_to = "{dir}/srv/shop" }}
rules = [{{ pattern = "qa-*", environment = "qa", schedule = "ready", template = "{template}" }}]
{more}
"#
        )
    }

    pub(crate) fn run(&self, arguments: &[&str]) -> Said {
        std::fs::write(self.path("config.toml"), self.configuration()).unwrap();
        let config = self.path("config.toml").display().to_string();
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
        open(self.test.directory(), 0o755);
        open(&file, 0o644);
        self.programs = Some(programs);
    }

    fn check(&self) -> Said {
        self.run(&["check"])
    }

    /// Checks, and finds exactly one failure that names all of `words`.
    fn fails_by(&self, words: &[&str]) {
        let said = self.check();
        let failures: Vec<&str> = said
            .stdout
            .lines()
            .filter(|line| line.starts_with("FAIL "))
            .collect();
        assert_eq!(failures.len(), 1, "{said}");
        for word in words {
            assert!(failures[0].contains(word), "no {word:?} in {said}");
        }
        assert_eq!(said.status, Some(1), "{said}");
        assert!(said.stderr.starts_with("error: 1 of "), "{said}");
    }
}

#[test]
fn healthy_setup_has_no_failure() {
    let world = World::installed();
    let said = world.check();
    assert_eq!((said.status, said.stderr.as_str()), (Some(0), ""), "{said}");
    assert!(
        said.stdout.lines().all(|line| line.starts_with("ok   ")),
        "{said}"
    );
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
fn hooks_path_of_the_git_user_is_found_through_an_include() {
    let mut world = World::installed();
    let (hooks, more) = (world.path("hooks-of-all"), world.path("more"));
    std::fs::write(&more, format!("[core]\nhooksPath = {}\n", hooks.display())).unwrap();
    let include = format!("[include]\npath = {}\n", more.display());
    world.git_configuration(&include);
    let said_by = format!("core.hooksPath in {}", more.display());
    world.fails_by(&["project shop: ", "hooks-of-all", &said_by, "no tag is seen"]);
    let said = world.run(&["install", "--project", "shop"]);
    assert_eq!(said.status, Some(1), "{said}");
    assert!(said.stderr.contains(&said_by), "{said}");

    world.git_configuration("[core]\nhooksPath = hooks\n");
    assert_eq!(world.check().status, Some(0), "it is the repository's own");
}

#[test]
fn unreadable_git_configuration_is_a_failure() {
    let mut world = World::installed();
    world.git_configuration("[core\n");
    let said = world.check();
    let line = "-    project shop: git does not say what core.hooksPath is: ";
    assert!(said.stdout.contains(line), "{said}");
}

#[test]
fn programs_get_findings_as_json() {
    let world = World::installed();
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
    let mut world = World::installed();
    world.sshd.port = tagship_tests::sshd::free_port();
    world.fails_by(&["host web1: cannot reach web1", "check that the host is up"]);
}

#[test]
fn a_host_whose_key_is_not_known() {
    let world = World::installed();
    std::fs::write(world.sshd.directory().join("known_hosts"), "").unwrap();
    world.fails_by(&["host web1", "is not known", "tagship hosts enroll web1"]);
}

#[test]
fn a_host_whose_key_has_changed() {
    let world = World::installed();
    make_key(&world.path("other"), Kind::Ed25519, "");
    let other = std::fs::read_to_string(world.path("other.pub")).unwrap();
    let line = format!("[127.0.0.1]:{} {other}", world.sshd.port);
    std::fs::write(world.sshd.directory().join("known_hosts"), line).unwrap();
    world.fails_by(&["host web1", "has CHANGED", &world.sshd.fingerprint()]);
}

#[test]
fn missing_key_finding_shows_the_command_to_create_it() {
    let mut world = World::installed();
    world.more = "[git]\nidentity = \"no-key\"\n".to_owned();
    std::fs::remove_file(world.sshd.identity()).unwrap();
    world.fails_by(&[
        "host web1: ",
        "there is no key ",
        "ssh-keygen -q -t ed25519 -N '' -f ",
    ]);
    // Only an address that is reached over ssh takes git's key; one that can't be reached says so.
    let repository = &world.repository.path;
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
    world.more = "[git]\nidentity = \"no/key\"\n".to_owned();
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
    let world = World::installed();
    std::fs::write(world.sshd.directory().join("authorized_keys"), "").unwrap();
    world.fails_by(&["host web1", "refused the key", "authorized_keys"]);
}

/// A host on which only these programs of the system are found, and these scripts.
fn with_programs(leave_out: &[&str], own: &[(&str, &str)]) -> World {
    let test = Test::new();
    let bin = test.path("bin");
    std::fs::create_dir(&bin).unwrap();
    for name in PROGRAMS.iter().filter(|name| !leave_out.contains(name)) {
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
    sshd.known_hosts(&[]);
    let repository = Repository::bare(test.path("shop.git"));
    let world = World {
        test,
        sshd,
        repository,
        ssh: String::new(),
        template: "git-release",
        more: String::new(),
        programs: None,
    };
    let hook = hook_program().display().to_string();
    let said = world.run(&["install", "--project", "shop", "--hook", &hook]);
    assert_eq!(said.status, Some(0), "{said}");
    world
}

const PROGRAMS: [&str; 22] = [
    "sh",
    "rsync",
    "find",
    "sort",
    "xargs",
    "sha256sum",
    "cut",
    "wc",
    "cp",
    "ln",
    "mv",
    "rm",
    "mkdir",
    "rmdir",
    "sync",
    "setsid",
    "sed",
    "grep",
    "id",
    "date",
    "df",
    "cat",
];

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
    let test = World::installed();
    let forced = Sshd::settings().line("ForceCommand echo no").start();
    forced.known_hosts(&[]);
    let world = World {
        sshd: forced,
        ..test
    };
    world.fails_by(&["host web1", "ran no shell script", "ForceCommand"]);
}

#[test]
fn a_real_directory_where_the_link_should_be() {
    let world = World::installed();
    std::fs::create_dir_all(world.deploy_to().join("current")).unwrap();
    world.fails_by(&[
        "host web1",
        "srv/shop/current is a real directory",
        "let deploy_to name another directory",
    ]);
}

#[test]
fn a_dangling_current_link() {
    let world = World::installed();
    std::fs::create_dir_all(world.deploy_to()).unwrap();
    std::os::unix::fs::symlink("releases/gone", world.deploy_to().join("current")).unwrap();
    world.fails_by(&["host web1", "leads to what is not there"]);
}

#[test]
fn a_file_where_the_directory_should_be() {
    let world = World::installed();
    std::fs::write(world.path("srv"), "").unwrap();
    world.fails_by(&["host web1", "srv is no directory"]);
}

#[test]
fn a_target_that_the_login_user_cannot_write() {
    let mut world = World::installed();
    let above = world.path("srv");
    std::fs::create_dir(&above).unwrap();
    std::fs::set_permissions(&above, std::fs::Permissions::from_mode(0o555)).unwrap();
    if rustix::process::geteuid().is_root() {
        // Everything is writable for root: on the host we switch to the user `nobody`.
        let nobody = "setpriv --reuid=65534 --regid=65534 --clear-groups sh -s";
        world.sshd = Sshd::settings()
            .line(&format!("ForceCommand {nobody}"))
            .start();
        world.sshd.known_hosts(&[]);
        std::fs::set_permissions(
            world.test.directory(),
            std::fs::Permissions::from_mode(0o755),
        )
        .unwrap();
    }
    world.fails_by(&[
        "host web1: ",
        "srv/shop is not there, and the login user cannot make it; make it there as root: install -d -o ",
    ]);
}

#[test]
fn a_repository_that_cannot_be_fetched() {
    let world = World::installed();
    let away = world.path("away.git");
    std::fs::rename(&world.repository.path, &away).unwrap();
    let said = world.check();
    assert!(said.stdout.contains("FAIL project shop: "), "{said}");
    assert!(said.stdout.contains("shop.git: git ls-remote"), "{said}");
    assert!(said.stdout.contains("correct `git_url`"), "{said}");
    assert_eq!(said.status, Some(1));
}

#[test]
fn a_hook_that_is_missing() {
    let world = World::new();
    // The rules are there, the hook is not.
    let hook = hook_program().display().to_string();
    world.run(&["install", "--project", "shop", "--hook", &hook]);
    world.run(&["uninstall", "--project", "shop"]);
    let said = world.check();
    assert!(said.stdout.contains("FAIL project shop: "), "{said}");
    assert!(
        said.stdout
            .contains("has no hook of tagship's: its tags are not seen; run tagship install"),
        "{said}"
    );
    assert_eq!(said.status, Some(1));
}

#[test]
fn a_hook_that_is_not_executable() {
    let world = World::installed();
    let program = world.repository.path.join("hooks/update.tagship");
    std::fs::set_permissions(program, std::fs::Permissions::from_mode(0o644)).unwrap();
    world.fails_by(&["project shop", "is not executable"]);
}

#[test]
fn a_hook_of_another_version() {
    let world = World::installed();
    let program = world.repository.path.join("hooks/update.tagship");
    std::fs::remove_file(&program).unwrap();
    let old = "#!/bin/sh\n[ \"$1\" != --version ] || echo 'tagship-hook 0.0.1'\n";
    script(&program, old);
    world.fails_by(&["project shop", "has version 0.0.1"]);
}

#[test]
fn a_template_that_does_not_parse() {
    let world = World::installed();
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
    let world = World {
        template: "git-relaese",
        ..World::installed()
    };
    let said = world.check();
    assert!(
        said.stdout.contains("did you mean `git-release`?"),
        "{said}"
    );
    assert_eq!(said.status, Some(1));
}

#[test]
fn a_spool_that_is_missing() {
    let world = World::installed();
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
fn a_spool_that_others_may_read() {
    let world = World::installed();
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
    let mut world = World::installed();
    world.template = "other";
    let said = world.check();
    assert!(
        said.stdout.contains("older than the configuration"),
        "{said}"
    );
    assert_eq!(said.status, Some(1));
}

#[test]
fn single_project_is_checked_alone() {
    let world = World::installed();
    let said = world.run(&["check", "--project", "shoe"]);
    assert_eq!(
        said.stderr,
        "error: no project is named shoe; the configuration has shop\n"
    );
    assert_eq!(world.run(&["check", "--project", "shop"]).status, Some(0));
}
