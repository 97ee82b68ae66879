//! The files that the entry point could load.

use std::collections::{BTreeSet, HashSet, VecDeque};

use watchbell_image::ImageConfig;

use super::Entry;
use super::collect::Collected;
use super::linker::Linker;
use crate::configuration::PROGRAM_DIRECTORIES;
use crate::dockerfile::commands_of_script;
use crate::layers::{FileKind, Tree};

/// Programs that are followed; no image's entry point reaches as many.
const PROGRAMS_MAX: usize = 100_000;
/// Where programs are looked for when the image does not say (Docker's default).
const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// What any program may open without naming it in its file: accounts, the name service with its libraries, certificates, time
/// zones, the linker's and the C library's own data.
const COMMON_FILES: [&str; 17] = [
    "etc/passwd",
    "etc/group",
    "etc/nsswitch.conf",
    "etc/hosts",
    "etc/resolv.conf",
    "etc/services",
    "etc/protocols",
    "etc/localtime",
    "etc/timezone",
    "etc/ld.so.cache",
    "etc/ld.so.conf",
    "etc/os-release",
    "usr/lib/os-release",
    "etc/gai.conf",
    "etc/host.conf",
    "etc/mime.types",
    "etc/ssl/openssl.cnf",
];
const COMMON_DIRECTORIES: [&str; 6] = [
    "etc/ssl/certs",
    "usr/share/ca-certificates",
    "etc/pki/tls/certs",
    "etc/pki/ca-trust",
    "usr/share/zoneinfo",
    "etc/ld.so.conf.d",
];
/// The same by the start of a library's name.
const COMMON_LIBRARIES: [&str; 4] = ["libnss_files", "libnss_dns", "libresolv", "libgcc_s"];

/// Interpreters whose library is counted as a whole: by the program's name, how the class is called, the directories.
const CLASSES: [(&str, &str, &[&str]); 6] = [
    (
        "python",
        "Python with its library and all installed packages",
        &["usr/lib/python", "usr/local/lib/python", "opt/conda/lib/python", "lib/python"],
    ),
    (
        "node",
        "Node.js with all installed packages",
        &["usr/lib/node_modules", "usr/local/lib/node_modules", "usr/share/nodejs", "usr/share/node"],
    ),
    (
        "ruby",
        "Ruby with its library and all installed gems",
        &["usr/lib/ruby", "usr/local/lib/ruby", "var/lib/gems", "usr/share/rubygems", "usr/local/bundle"],
    ),
    (
        "perl",
        "Perl with its library",
        &["usr/lib/perl", "usr/share/perl", "usr/local/lib/perl", "usr/local/share/perl"],
    ),
    ("java", "a Java runtime with all of its directory", &["usr/lib/jvm", "opt/java", "usr/share/java"]),
    ("php", "PHP with its library", &["usr/lib/php", "usr/local/lib/php", "usr/share/php"]),
];

/// What was reached.
pub(super) struct Reached {
    pub(super) program: Option<String>,
    pub(super) entry: Entry,
    pub(super) paths: HashSet<String>,
    pub(super) missing: BTreeSet<String>,
}

pub(super) fn reach(
    tree: &Tree,
    collected: &Collected,
    config: Option<&ImageConfig>,
    command: &[String],
) -> Reached {
    let environment = config.map(|config| config.env.as_slice()).unwrap_or_default();
    let search: Vec<String> = environment
        .iter()
        .find_map(|variable| variable.strip_prefix("PATH="))
        .unwrap_or(DEFAULT_PATH)
        .split(':')
        .map(|directory| directory.trim_start_matches('/').to_owned())
        .collect();
    let directory = config.map(|config| config.working_dir.trim_matches('/')).unwrap_or_default();
    let mut walk = Walk {
        tree,
        collected,
        linker: Linker::new(tree, collected, environment),
        search,
        directory: directory.to_owned(),
        reached: Reached {
            program: None,
            entry: Entry::None,
            paths: HashSet::new(),
            missing: BTreeSet::new(),
        },
        pending: VecDeque::new(),
        classes: BTreeSet::new(),
    };
    let Some(first) = command.first() else { return walk.reached };
    let Some(start) = walk.locate(first) else {
        walk.reached.entry = Entry::Missing(first.clone());
        return walk.reached;
    };
    walk.reached.program = Some(start.clone());
    walk.add(&start, None);
    walk.words(command);
    walk.common();
    walk.run();
    walk.reached.entry = walk.entry(&start);
    walk.reached
}

/// A file to look at, and for a library the loader of the program that wants it.
struct Pending {
    path: String,
    loader: Option<String>,
}

struct Walk<'a> {
    tree: &'a Tree,
    collected: &'a Collected,
    linker: Linker<'a>,
    search: Vec<String>,
    /// Of the image's configuration.
    directory: String,
    reached: Reached,
    pending: VecDeque<Pending>,
    classes: BTreeSet<usize>,
}

impl Walk<'_> {
    /// Where a program of that name lies, as `execvp` finds it.
    fn locate(&self, name: &str) -> Option<String> {
        let is_program = |path: &str| {
            let (real, node) = self.tree.resolve(path)?;
            (node.kind == FileKind::File && node.mode & 0o111 != 0).then_some(real)
        };
        if let Some(absolute) = name.strip_prefix('/') {
            return is_program(absolute);
        }
        if name.contains('/') {
            return is_program(&format!("{}/{name}", self.directory));
        }
        self.search.iter().find_map(|directory| is_program(&format!("{directory}/{name}")))
    }

    /// Counts a file, with the links that lead to it, and looks at it later.
    fn add(&mut self, path: &str, loader: Option<&str>) {
        let Some((real, node)) = self.tree.resolve(path) else { return };
        let (directory, name) = path.rsplit_once('/').unwrap_or(("", path));
        let link = match self.tree.resolve(directory) {
            Some((directory, _)) => format!("{directory}/{name}"),
            None => path.to_owned(),
        };
        if link != real && self.tree.get(&link).is_some() {
            self.reached.paths.insert(link);
        }
        if node.kind == FileKind::File
            && self.reached.paths.insert(real.clone())
            && self.pending.len() < PROGRAMS_MAX
        {
            self.pending.push_back(Pending { path: real, loader: loader.map(str::to_owned) });
        }
    }

    fn add_below(&mut self, directory: &str, loader: Option<&str>) {
        // Archives need not name the directories of their files.
        let real = self.tree.resolve(directory).map_or_else(|| directory.to_owned(), |(real, _)| real);
        let paths: Vec<String> = self.tree.below(&real).map(|(path, _)| path.to_owned()).collect();
        for path in paths {
            if matches!(self.tree.get(&path).map(|node| &node.kind), Some(FileKind::Directory)) {
                continue;
            }
            self.reached.paths.insert(path.clone());
            self.add(&path, loader);
        }
    }

    /// What any program may open.
    fn common(&mut self) {
        for path in COMMON_FILES {
            self.add(path, None);
        }
        for directory in COMMON_DIRECTORIES {
            self.add_below(directory, None);
        }
    }

    /// Files and directories of the image that the command line names.
    fn words(&mut self, command: &[String]) {
        let mut is_module = false;
        for word in command.iter().skip(1) {
            let path = match word.strip_prefix('/') {
                Some(absolute) => absolute.to_owned(),
                None => format!("{}/{word}", self.directory).trim_start_matches('/').to_owned(),
            };
            match self.tree.resolve(&path).map(|(real, node)| (real, node.kind.clone())) {
                Some((real, FileKind::File)) => {
                    self.add(&path, None);
                    // Beside a script lie the modules that it imports.
                    if !real.contains("/bin/") && !word.starts_with('-') {
                        self.beside(&real);
                    }
                }
                Some((real, FileKind::Directory)) if !real.is_empty() => self.add_below(&real, None),
                _ => {}
            }
            if std::mem::replace(&mut is_module, word == "-m") && !self.directory.is_empty() {
                let directory = self.directory.clone();
                self.add_below(&directory, None);
            }
        }
    }

    fn beside(&mut self, path: &str) {
        let Some((directory, _)) = path.rsplit_once('/') else { return };
        // The root and the system's own directories are nobody's application.
        let is_system = PROGRAM_DIRECTORIES.contains(&directory)
            || matches!(directory, "etc" | "usr" | "usr/lib" | "lib" | "tmp" | "var");
        if !is_system {
            self.add_below(directory, None);
        }
    }

    fn run(&mut self) {
        while let Some(Pending { path, loader }) = self.pending.pop_front() {
            let Some(node) = self.tree.get(&path) else { continue };
            if let Some(program) = self.collected.programs.get(&node.id) {
                let loader = program.interpreter.clone().or(loader);
                if let Some(loader) = &loader {
                    self.add(loader.trim_start_matches('/'), None);
                }
                let wanted = loader.as_deref().unwrap_or_default();
                for name in &program.needed {
                    match self.linker.find(name, &program.run_path, &path, wanted) {
                        Some(found) => self.add(&found, loader.as_deref()),
                        // musl is its own C library, under whatever name.
                        None if wanted.contains("ld-musl-") && name.starts_with("libc.") => {}
                        None => drop(self.reached.missing.insert(name.clone())),
                    }
                }
                if program.interpreter.is_some() && !program.needed.is_empty() {
                    for library in COMMON_LIBRARIES {
                        for suffix in [".so.2", ".so.1"] {
                            let name = format!("{library}{suffix}");
                            if let Some(found) = self.linker.find(&name, &[], &path, wanted) {
                                self.add(&found, loader.as_deref());
                            }
                        }
                    }
                }
                self.class(&path, loader.as_deref());
            } else if let Some(line) = self.collected.interpreters.get(&node.id) {
                let words: Vec<&str> = line.split_whitespace().collect();
                self.script(&words, node.id);
            }
        }
    }

    fn script(&mut self, interpreter: &[&str], id: crate::layers::FileId) {
        let Some((program, arguments)) = interpreter.split_first() else { return };
        self.add(program.trim_start_matches('/'), None);
        if program.rsplit('/').next() == Some("env")
            && let Some(name) = arguments.iter().find(|word| !word.starts_with('-') && !word.contains('='))
            && let Some(found) = self.locate(name)
        {
            self.add(&found, None);
        }
        if let Some(text) = self.collected.texts.get(&id) {
            for name in commands_of_script(text) {
                if let Some(found) = self.locate(&name) {
                    self.add(&found, None);
                }
            }
        }
    }

    /// Everything that an interpreter may load, once for each class.
    fn class(&mut self, path: &str, loader: Option<&str>) {
        let name = path.rsplit('/').next().unwrap_or(path);
        let found = CLASSES.iter().position(|(program, _, _)| {
            name.strip_prefix(program)
                .is_some_and(|rest| rest.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.'))
        });
        let Some(at) = found.filter(|at| self.classes.insert(*at)) else { return };
        // A virtual environment or a runtime of its own: the directory above `bin`.
        if let Some((home, _)) = path.split_once("/bin/")
            && !matches!(home, "usr" | "usr/local" | "")
        {
            self.add_below(home, loader);
        }
        let mut directories: Vec<String> = Vec::new();
        for prefix in CLASSES[at].2 {
            let (parent, start) = prefix.rsplit_once('/').unwrap_or(("", prefix));
            let parent = self.tree.resolve(parent).map_or_else(|| parent.to_owned(), |(real, _)| real);
            let children = self.tree.below(&parent).filter_map(|(path, _)| {
                let rest = path[parent.len()..].trim_start_matches('/');
                let child = rest.split('/').next().unwrap_or(rest);
                child.starts_with(start).then(|| format!("{parent}/{child}"))
            });
            directories.extend(children);
            directories.dedup();
        }
        for directory in directories {
            self.add_below(&directory, loader);
        }
        let directory = self.directory.clone();
        if !directory.is_empty() {
            self.add_below(&directory, loader);
        }
    }

    fn entry(&self, start: &str) -> Entry {
        if let Some(at) = self.classes.first() {
            return Entry::Interpreted(CLASSES[*at].1);
        }
        let id = self.tree.get(start).map(|node| node.id);
        match id.and_then(|id| self.collected.programs.get(&id)) {
            Some(program) if program.interpreter.is_none() && program.needed.is_empty() => Entry::Static,
            Some(_) => Entry::Dynamic,
            None => Entry::Script,
        }
    }
}
