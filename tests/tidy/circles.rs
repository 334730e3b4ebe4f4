//! Which files of `src` name what other files define. Methods have no path, so calls of them do not count.

use std::collections::{BTreeMap, BTreeSet};

use regex::Regex;

use crate::source::{Source, expand_tree, sources};

/// A `use` of a file: the path, the name that it gives it, and whether it hands it on.
struct Import {
    path: Vec<String>,
    name: String,
    is_public: bool,
}

/// A file as a module.
struct ModuleFile {
    path: String,
    module: Vec<String>,
    defined: BTreeSet<String>,
    imports: Vec<Import>,
    /// Its code without imports and declarations of modules.
    body: String,
}

impl ModuleFile {
    fn new(source: &Source) -> Self {
        let definition = r"(?m)^(?:pub(?:\([^)]*\))? )?(?:const |async |unsafe )*(?:fn|struct|enum|trait|type|static|const|union) (\w+)";
        let definition = Regex::new(definition).unwrap();
        let import =
            Regex::new(r"(?m)^\s*(pub(?:\([^)]*\))? )?(?:use ([^;]+)|mod (\w+));").unwrap();
        let below = source
            .path
            .trim_start_matches("src/")
            .trim_end_matches(".rs");
        let names = below
            .split('/')
            .filter(|name| !["mod", "lib"].contains(name));
        let mut imports = Vec::new();
        for found in import.captures_iter(&source.code) {
            let mut paths = Vec::new();
            if let Some(tree) = found.get(2) {
                expand_tree("", tree.as_str(), &mut paths);
            }
            imports.extend(
                paths
                    .iter()
                    .map(|path| Import::new(path, found.get(1).is_some())),
            );
        }
        Self {
            path: source.path.clone(),
            module: names.map(str::to_owned).collect(),
            defined: definition
                .captures_iter(&source.code)
                .map(|found| found[1].to_owned())
                .collect(),
            imports,
            body: import.replace_all(&source.code, "").into_owned(),
        }
    }
}

impl ModuleFile {
    /// Whether the code names this type, or calls a function of this name.
    fn names(&self, name: &str) -> bool {
        let is_type = name.starts_with(char::is_uppercase);
        let in_word = |c: char| c.is_alphanumeric() || c == '_';
        self.body.match_indices(name).any(|(at, _)| {
            let (before, after) = (&self.body[..at], &self.body[at + name.len()..]);
            let whole = !before.ends_with(in_word) && !after.starts_with(in_word);
            let called = after.starts_with('(') && !before.ends_with(['.', ':']);
            whole && (is_type || called && !before.ends_with("fn "))
        })
    }
}

impl Import {
    fn new(path: &str, is_public: bool) -> Self {
        let (path, alias) = path.split_once(" as ").unwrap_or((path, ""));
        let path: Vec<String> = segments(path.trim().trim_end_matches("::self"));
        let name = match alias.trim() {
            "" => path.last().unwrap(),
            alias => alias,
        };
        Self {
            name: name.to_owned(),
            path,
            is_public,
        }
    }
}

fn segments(path: &str) -> Vec<String> {
    path.split("::")
        .map(|name| name.trim().to_owned())
        .collect()
}

struct Modules(BTreeMap<Vec<String>, ModuleFile>);

impl Modules {
    /// Returns the file that defines what a path in this module names, through re-exports.
    fn defining(&self, module: &[String], path: &[String], depth: usize) -> Option<&ModuleFile> {
        let mut at = module.to_vec();
        let mut path = path;
        while let [first, rest @ ..] = path
            && ["crate", "self", "super"].contains(&first.as_str())
        {
            match first.as_str() {
                "crate" => at.clear(),
                "super" => drop(at.pop()),
                _ => {}
            }
            path = rest;
        }
        while let [first, rest @ ..] = path {
            let child = [at.as_slice(), std::slice::from_ref(first)].concat();
            if self.0.contains_key(&child) {
                (at, path) = (child, rest);
                continue;
            }
            let file = self.0.get(&at)?;
            if first == "*" || file.defined.contains(first) {
                return Some(file);
            }
            let mut imports = file.imports.iter().filter(|_| depth < 8);
            return imports.find_map(|import| {
                let rest = match import.name.as_str() {
                    "*" => path,
                    name if name == first => rest,
                    _ => return None,
                };
                let named = import.path.iter().filter(|name| *name != "*");
                let path: Vec<String> = named.chain(rest).cloned().collect();
                self.defining(&at, &path, depth + 1)
            });
        }
        None
    }

    /// Returns the other files whose definitions a file uses. What it only re-exports does not count.
    fn used_by(&self, file: &ModuleFile) -> BTreeSet<&str> {
        let path = Regex::new(r"(?:\w+::)+\w+").unwrap();
        let imports = file.imports.iter();
        let imports = imports.filter(|import| !import.is_public || file.names(&import.name));
        let imports = imports.map(|import| import.path.clone());
        let named = path
            .find_iter(&file.body)
            .map(|path| segments(path.as_str()));
        let used = imports
            .chain(named)
            .filter_map(|path| self.defining(&file.module, &path, 0));
        let used = used.map(|used| used.path.as_str());
        used.filter(|used| *used != file.path).collect()
    }
}

fn circles(sources: &[Source]) -> BTreeSet<Vec<String>> {
    let files = sources.iter().map(ModuleFile::new);
    let modules = Modules(files.map(|file| (file.module.clone(), file)).collect());
    let uses = modules
        .0
        .values()
        .map(|file| (file.path.as_str(), modules.used_by(file)));
    let uses: BTreeMap<&str, BTreeSet<&str>> = uses.collect();
    let reached = |from: &str| {
        let mut reached = BTreeSet::new();
        let mut open: Vec<&str> = uses[from].iter().copied().collect();
        while let Some(next) = open.pop() {
            if reached.insert(next) {
                open.extend(&uses[next]);
            }
        }
        reached
    };
    let reached: BTreeMap<&str, BTreeSet<&str>> =
        uses.keys().map(|path| (*path, reached(path))).collect();
    let in_circle = reached
        .iter()
        .filter(|(path, others)| others.contains(*path));
    let circle = |(path, others): (&&str, &BTreeSet<&str>)| {
        let others = others.iter().filter(|other| reached[*other].contains(path));
        others.map(|other| (*other).to_owned()).collect()
    };
    in_circle.map(circle).collect()
}

#[test]
fn files_of_a_module_form_no_circle() {
    let files: Vec<Source> = sources(&["src"])
        .into_iter()
        .filter(|source| source.path != "src/main.rs")
        .collect();
    assert_eq!(circles(&files), BTreeSet::new());
}

#[test]
fn circles_are_found_through_exports_but_not_in_them() {
    let file = |path: &str, text: &str| Source::new(path, text.to_owned());
    let parent = file(
        "src/a.rs",
        "mod b;\nmod c;\npub use b::{B as Bee, made};\npub struct A;\n",
    );
    let b = file(
        "src/a/b.rs",
        "use super::A;\npub struct B;\npub fn made() -> super::c::C {}\n",
    );
    let c = file("src/a/c.rs", "use crate::a;\npub struct C(a::Bee);\n");
    let found = circles(&[parent, b, c]);
    assert_eq!(
        found,
        BTreeSet::from([vec!["src/a/b.rs".to_owned(), "src/a/c.rs".to_owned()]])
    );
}
