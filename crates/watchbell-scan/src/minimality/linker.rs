//! Where the dynamic linker looks for a library: the GNU C library's rules (ld.so(8)) and musl's (`ldso/dynlink.c`).

use std::collections::HashMap;

use super::collect::Collected;
use crate::layers::{FileKind, Tree};

/// Configurations that include one another.
const INCLUDES_MAX: usize = 64;
const DIRECTORIES_MAX: usize = 1000;

/// The directories of one image.
pub(super) struct Linker<'a> {
    tree: &'a Tree,
    /// `LD_LIBRARY_PATH` of the image's configuration.
    from_environment: Vec<String>,
    /// What `ld.so.conf` names.
    configured: Vec<String>,
    /// `/etc/ld-musl-ARCH.path` by architecture.
    musl_paths: HashMap<String, Vec<String>>,
    /// Library and directories that were asked before.
    known: HashMap<(String, Vec<String>, String), Option<String>>,
}

impl<'a> Linker<'a> {
    pub(super) fn new(tree: &'a Tree, collected: &Collected, environment: &[String]) -> Linker<'a> {
        let text = |path: &str| {
            let (_, node) = tree.resolve(path)?;
            collected.texts.get(&node.id).map(String::as_str)
        };
        let from_environment = environment
            .iter()
            .filter_map(|variable| variable.strip_prefix("LD_LIBRARY_PATH="))
            .flat_map(|list| list.split([':', ';']))
            .filter(|directory| !directory.is_empty())
            .map(str::to_owned)
            .collect();
        let mut configured = Vec::new();
        let mut pending = vec!["etc/ld.so.conf".to_owned()];
        let mut read = 0;
        while let Some(path) = pending.pop() {
            read += 1;
            let Some(content) = text(&path).filter(|_| read <= INCLUDES_MAX) else { continue };
            for line in content.lines().map(|line| line.split('#').next().unwrap_or_default().trim()) {
                if let Some(pattern) = line.strip_prefix("include ") {
                    pending.extend(included(tree, pattern.trim()));
                } else if line.starts_with('/') && configured.len() < DIRECTORIES_MAX {
                    configured.push(line.to_owned());
                }
            }
        }
        let mut musl_paths = HashMap::new();
        for (path, node) in tree.below("etc") {
            let architecture = path.strip_prefix("etc/ld-musl-").and_then(|rest| rest.strip_suffix(".path"));
            if let (Some(architecture), Some(list)) = (architecture, collected.texts.get(&node.id)) {
                let directories = list.split([':', '\n']).filter(|part| !part.is_empty()).map(str::to_owned);
                musl_paths.insert(architecture.to_owned(), directories.take(DIRECTORIES_MAX).collect());
            }
        }
        Linker { tree, from_environment, configured, musl_paths, known: HashMap::new() }
    }

    /// The file that a program at `origin` gets for `name`, when its loader is `interpreter`.
    pub(super) fn find(
        &mut self,
        name: &str,
        run_path: &[String],
        origin: &str,
        interpreter: &str,
    ) -> Option<String> {
        if name.contains('/') {
            return self.file(name);
        }
        let own: Vec<String> = run_path.iter().map(|part| expanded(part, origin)).collect();
        let key = (name.to_owned(), own.clone(), interpreter.to_owned());
        if let Some(known) = self.known.get(&key) {
            return known.clone();
        }
        let defaults = self.defaults(interpreter);
        // DT_RPATH comes before the environment and DT_RUNPATH behind it; which of the two it is matters only where both have
        // the library.
        let found = self
            .from_environment
            .iter()
            .chain(&own)
            .chain(&defaults)
            .find_map(|directory| self.file(&format!("{directory}/{name}")));
        self.known.insert(key, found.clone());
        found
    }

    /// The path as it was found: what it links to is found by who follows it.
    fn file(&self, path: &str) -> Option<String> {
        let path = path.trim_start_matches('/');
        let (_, node) = self.tree.resolve(path)?;
        (node.kind == FileKind::File).then(|| path.to_owned())
    }

    /// Behind what the program itself says.
    fn defaults(&self, interpreter: &str) -> Vec<String> {
        let file = interpreter.rsplit('/').next().unwrap_or(interpreter);
        if let Some(architecture) = file.strip_prefix("ld-musl-").and_then(|rest| rest.strip_suffix(".so.1"))
        {
            let fixed = || ["/lib", "/usr/local/lib", "/usr/lib"].map(str::to_owned).to_vec();
            return self.musl_paths.get(architecture).cloned().unwrap_or_else(fixed);
        }
        // Debian's loaders have their own directories built in.
        let triplet = match file {
            "ld-linux-x86-64.so.2" => "x86_64-linux-gnu",
            "ld-linux-aarch64.so.1" => "aarch64-linux-gnu",
            "ld-linux.so.2" => "i386-linux-gnu",
            "ld-linux-armhf.so.3" => "arm-linux-gnueabihf",
            "ld64.so.2" => "powerpc64le-linux-gnu",
            "ld64.so.1" => "s390x-linux-gnu",
            "ld-linux-riscv64-lp64d.so.1" => "riscv64-linux-gnu",
            _ => "",
        };
        let mut list = self.configured.clone();
        if !triplet.is_empty() {
            list.extend([format!("/lib/{triplet}"), format!("/usr/lib/{triplet}")]);
        }
        list.extend(["/lib64", "/usr/lib64", "/lib", "/usr/lib", "/usr/local/lib"].map(str::to_owned));
        list
    }
}

/// Files that an `include` names, its pattern relative to `/etc`; only the last part may have a star.
fn included(tree: &Tree, pattern: &str) -> Vec<String> {
    let path = if pattern.starts_with('/') { pattern.to_owned() } else { format!("etc/{pattern}") };
    let path = path.trim_start_matches('/');
    let (directory, name) = path.rsplit_once('/').unwrap_or(("", path));
    let Some((start, end)) = name.split_once('*') else { return vec![path.to_owned()] };
    let mut found: Vec<String> = tree
        .below(directory)
        .map(|(path, _)| path)
        .filter(|path| {
            let file = path[directory.len()..].trim_start_matches('/');
            !file.contains('/')
                && file.len() >= start.len() + end.len()
                && file.starts_with(start)
                && file.ends_with(end)
        })
        .map(str::to_owned)
        .collect();
    // They are taken from the end.
    found.reverse();
    found
}

/// `$ORIGIN` is the directory of the file that names it; `$LIB` and `$PLATFORM` are left as nothing is known of them.
fn expanded(part: &str, origin: &str) -> String {
    let directory = origin.rsplit_once('/').map_or("", |(directory, _)| directory);
    let directory = format!("/{directory}");
    part.replace("${ORIGIN}", &directory).replace("$ORIGIN", &directory)
}
