//! Outputs that a step passes to later steps: only names that its template declares.

use std::collections::BTreeMap;

use super::reader::TemplateReader;
use super::{SUPPLIED, StepAction, Template, is_parameter_name};
use crate::domain::document::{Document, DocumentProblem, Path};

/// Variables that change how programs are found, loaded or run, in addition to [`PREFIXES`] and
/// [`SUFFIXES`].
const VARIABLES: &str = "\
    ANT_ARGS ANT_HOME ANT_OPTS AR AS AWKLIBPATH AWKPATH BROWSER CATALINA_OPTS CC CDPATH CFLAGS \
    CLASSPATH COMPILER_PATH CONFIG_SHELL CONFIG_SITE CONTAINER_HOST CPATH CPP CXX CXXFLAGS \
    C_INCLUDE_PATH DISPLAY ENV EUID EXECIGNORE EXINIT FC FPATH GCC_EXEC_PREFIX GCONV_PATH GHCRTS \
    GIO_EXTRA_MODULES GIO_MODULE_DIR GLOBIGNORE GNUPGHOME GREP_OPTIONS GTK_MODULES GTK_PATH \
    HISTFILE HOME HOSTALIASES IFS INPUTRC JRUBY_OPTS KRB5_CONFIG LANG LANGUAGE LD LDFLAGS LESS \
    LESSCLOSE LESSOPEN LIBRARY_PATH LINENO LOCALDOMAIN LOCPATH LOGNAME M2_HOME MAKE MAKEFILES \
    MAKEFLAGS MANPATH MAVEN_HOME MAVEN_OPTS MONO_PATH NETRC NLSPATH OLDPWD OPTARG OPTERR OPTIND \
    PATH POSIXLY_CORRECT PPID PROMPT_COMMAND PS1 PS2 PS4 PSMODULEPATH PWD QT_PLUGIN_PATH RANDOM \
    RES_OPTIONS R_ENVIRON R_ENVIRON_USER R_HOME R_LIBS R_LIBS_SITE R_LIBS_USER R_PROFILE \
    R_PROFILE_USER SASL_PATH SBT_OPTS SECONDS SHELL SHELLOPTS SHLIB_PATH TAR_OPTIONS TCLLIBPATH \
    TEMP TERM TMOUT TMP TMPDIR TZ TZDIR UID USER VIMINIT VIRTUAL_ENV VISUAL WGETRC ZDOTDIR _";

/// Prefixes of such variables: of the loader, shells, interpreters, tools and their servers.
const PREFIXES: &str = "\
    ANSIBLE_ ASDF_ AWS_ BASH BUNDLE_ CARGO_ CLOUDSDK_ CMAKE_ COMPOSER_ COMPOSE_ CONDA_ CORECLR_ \
    COR_ CURL_ DBUS_ DENO_ DOCKER_ DOTNET_ DYLD_ ERL_ GEM_ GIT_ GLIBC_ GNUMAKE GOFLAGS GOPATH \
    GOPROXY GOROOT GRADLE_ GUILE_ HELM_ JAVA_ JDK_ JULIA_ KUBE LC_ LD_ LEIN_ LUA_ MALLOC_ MIX_ \
    NIX_ NODE_ NPM_ NVM_ OCAML OPENSSL_ PERL PHP PIP_ PKG_CONFIG POWERSHELL_ PYENV_ PYTHON RBENV_ \
    RSYNC_ RUBY RUST SSH_ SSL_CERT_ SUDO_ SYSTEMD_ TERMINFO TF_ XDG_ YARN_ _JAVA_";

/// Suffixes of such variables: programs, libraries, proxies and trusted authorities.
const SUFFIXES: &str = "EDITOR LD_LIBRARY_PATH PAGER _CA_BUNDLE _PROXY";

/// Whether this variable changes how programs are found, loaded or run. The declaration keeps out
/// other names; this list keeps template authors from names that are never just a value.
fn changes_programs(name: &str) -> bool {
    VARIABLES.split(' ').any(|variable| name == variable)
        || PREFIXES.split(' ').any(|prefix| name.starts_with(prefix))
        || SUFFIXES.split(' ').any(|suffix| name.ends_with(suffix))
}

impl StepAction {
    /// Returns the names of its outputs: visible ones, and secret ones.
    #[must_use]
    pub fn outputs(&self) -> (&[String], &[String]) {
        match self {
            Self::Run(program) => (&program.outputs, &program.secret_outputs),
            _ => (&[], &[]),
        }
    }

    /// Whether it may output a value under this name.
    #[must_use]
    pub fn has_output(&self, name: &str) -> bool {
        let (seen, secret) = self.outputs();
        seen.iter().chain(secret).any(|declared| declared == name)
    }
}

impl TemplateReader<'_> {
    /// Checks the output names that a step declares under this key.
    pub(super) fn outputs(&mut self, names: Vec<String>, path: &Path) -> Vec<String> {
        for (index, name) in names.iter().enumerate() {
            let path = path.join(index);
            if !is_parameter_name(name) {
                self.refuse(
                    &path,
                    format!(
                        "`{}` is no name for an output: use A-Z, 0-9 and _, up to 64 characters",
                        name.escape_debug()
                    ),
                );
            } else if SUPPLIED.contains(&name.as_str()) || name.starts_with("TAGSHIP_") {
                self.refuse(
                    &path,
                    format!("output {name} is supplied by tagship: choose another name"),
                );
            } else if self.parameters.contains(name) {
                self.refuse(
                    &path,
                    format!(
                        "output {name} is a parameter of the template, whose value was approved: choose another name"
                    ),
                );
            } else if changes_programs(name) {
                self.refuse(
                    &path,
                    format!(
                        "output {name} changes how programs are loaded or run: choose another name, and set {name} in the step that needs it"
                    ),
                );
            } else if names[..index].contains(name) {
                self.refuse(&path, format!("output {name} is named twice: take one out"));
            }
        }
        names
    }
}

/// Checks that a name is secret either in the whole template or in no step of it.
pub(super) fn problems(template: &Template, document: &Document<'_>) -> Vec<DocumentProblem> {
    let mut seen: BTreeMap<&str, &str> = BTreeMap::new();
    for (_, step) in template.steps() {
        let names = step.action.outputs().0.iter();
        seen.extend(names.map(|name| (name.as_str(), step.name.as_str())));
    }
    let mut problems = Vec::new();
    for (stage, in_stage) in template.stages.iter().enumerate() {
        let path = Path::root().join("stage").join(stage).join("steps");
        for (step, in_step) in in_stage.steps.iter().enumerate() {
            for name in in_step.action.outputs().1 {
                if let Some(other) = seen.get(name.as_str()) {
                    problems.push(document.problem(
                        &path.join(step).join("secret_outputs"),
                        format!(
                            "output {name} is secret here and not in step `{other}`: name it in `secret_outputs` of both"
                        ),
                    ));
                }
            }
        }
    }
    problems
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    /// The template of a step with these keys, after another one.
    fn parse(first: &str, second: &str) -> Result<Template, String> {
        let text = format!(
            "name = \"t\"\nparams = [{{ name = \"MODE\" }}]\n[[stage]]\nname = \"s\"\nhosts = \"g\"\n\
             [[stage.steps]]\nrun = \"true\"\n{first}\n[[stage.steps]]\nrun = \"true\"\n{second}\n"
        );
        Template::parse("t.toml", &text).map_err(|problems| problems.to_string())
    }

    #[test]
    fn declared_outputs_are_part_of_the_step() {
        let template = parse(
            "outputs = [\"BUILD_ID\", \"_1\"]\nsecret_outputs = [\"TOKEN\"]",
            "outputs = [\"BUILD_ID\"]",
        );
        let template = template.unwrap();
        let actions: Vec<&StepAction> = template.steps().map(|(_, step)| &step.action).collect();
        let names = |names: &[&str]| -> Vec<String> { names.iter().map(|&n| n.into()).collect() };
        let (seen, secret) = actions[0].outputs();
        assert_eq!(
            (seen, secret),
            (&*names(&["BUILD_ID", "_1"]), &*names(&["TOKEN"]))
        );
        assert!(actions[0].has_output("TOKEN") && !actions[1].has_output("TOKEN"));
        assert!(actions[1].has_output("BUILD_ID") && !actions[1].has_output("PATH"));
    }

    #[test]
    fn output_that_overrides_something_is_refused_by_name() {
        let loading = [
            "PATH",
            "BASH_ENV",
            "ENV",
            "IFS",
            "LD_PRELOAD",
            "LD_LIBRARY_PATH",
            "PYTHONPATH",
            "PYTHONSTARTUP",
            "PERL5LIB",
            "PERL5OPT",
            "RUBYOPT",
            "NODE_OPTIONS",
            "GIT_SSH_COMMAND",
            "SHELLOPTS",
            "BASHOPTS",
            "PS4",
            "HOME",
            "DYLD_INSERT_LIBRARIES",
            "GLIBC_TUNABLES",
            "JAVA_TOOL_OPTIONS",
            "_JAVA_OPTIONS",
            "CDPATH",
            "ZDOTDIR",
            "LC_ALL",
            "SSH_AUTH_SOCK",
            "RUSTFLAGS",
            "MAKEFLAGS",
            "PROMPT_COMMAND",
            "_",
            "UID",
        ];
        let given = [
            "TAG",
            "COMMIT",
            "RELEASE",
            "HOST",
            "FLOW_ID",
            "TAGSHIP_OUTPUT",
            "TAGSHIP_X",
        ];
        let cases = loading
            .map(|name| (name, "changes how programs are loaded or run"))
            .into_iter()
            .chain(given.map(|name| (name, "supplied by tagship")))
            .chain([
                ("MODE", "parameter of the template"),
                ("build", "no name for an output"),
            ])
            .chain([
                ("A B", "no name for an output"),
                ("", "no name for an output"),
            ]);
        for (name, why) in cases {
            for key in ["outputs", "secret_outputs"] {
                let refused = parse("", &format!("{key} = [\"{name}\"]")).unwrap_err();
                assert!(
                    refused.contains(why) && refused.contains(name),
                    "{name}: {refused}"
                );
                assert!(refused.starts_with("t.toml:"), "{refused}");
            }
        }
        for name in [
            "BUILD_ID",
            "LDAP_TOKEN",
            "PATHS",
            "TAGS",
            "MACHINE",
            "HOMES",
        ] {
            parse("", &format!("outputs = [\"{name}\"]")).unwrap();
        }
    }

    #[test]
    fn output_that_changes_a_family_of_tools_is_refused() {
        for name in [
            "MANPAGER",
            "PAGER",
            "GIT_PAGER",
            "EDITOR",
            "PSMODULEPATH",
            "REQUESTS_CA_BUNDLE",
            "SSL_CERT_FILE",
            "CURL_HOME",
            "ALL_PROXY",
            "HTTPS_PROXY",
            "NO_PROXY",
            "DOCKER_HOST",
            "KUBECONFIG",
            "AWS_PROFILE",
            "HELM_KUBECONTEXT",
            "PKG_CONFIG_PATH",
            "CAML_LD_LIBRARY_PATH",
            "OCAMLRUNPARAM",
            "CMAKE_TOOLCHAIN_FILE",
            "COR_PROFILER",
            "GTK_MODULES",
            "JRUBY_OPTS",
            "R_LIBS_USER",
            "RBENV_VERSION",
            "TMP",
        ] {
            let refused = parse("", &format!("outputs = [\"{name}\"]")).unwrap_err();
            let why = format!("output {name} changes how programs are loaded or run");
            assert!(refused.contains(&why), "{refused}");
        }
        for name in [
            "IMAGE",
            "PAGERS",
            "PROXY_ID",
            "CLUSTER",
            "MAKES",
            "R_VERSION",
        ] {
            parse("", &format!("outputs = [\"{name}\"]")).unwrap();
        }
    }

    #[test]
    fn output_is_secret_in_all_steps_or_in_none() {
        for (first, second) in [
            ("outputs = [\"A\"]", "secret_outputs = [\"A\"]"),
            ("secret_outputs = [\"A\"]", "outputs = [\"A\"]"),
            ("", "outputs = [\"A\"]\nsecret_outputs = [\"A\"]"),
        ] {
            let refused = parse(first, second).unwrap_err();
            assert!(
                refused.contains("output A is secret here and not in step"),
                "{refused}"
            );
        }
        let refused = parse("", "outputs = [\"A\", \"A\"]").unwrap_err();
        assert!(refused.contains("output A is named twice"), "{refused}");
    }

    #[test]
    fn only_programs_hand_values_on() {
        for uses in ["use = \"check\"\ncommand = \"true\"", "use = \"checkout\""] {
            let text = format!(
                "name = \"t\"\n[[stage]]\nname = \"s\"\n[[stage.steps]]\n{uses}\noutputs = [\"A\"]\n"
            );
            let refused = Template::parse("t.toml", &text).unwrap_err().to_string();
            assert!(
                refused.contains("`outputs` means nothing in a check"),
                "{refused}"
            );
        }
    }
}
