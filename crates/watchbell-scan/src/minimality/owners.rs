//! Which package brought a file: dpkg's and apk's lists, and what Python's installers record.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::Leftover;
use super::collect::Collected;
use crate::layers::Tree;

/// Packages by number, and whose each file is.
#[derive(Debug, Default)]
pub(super) struct Owners {
    names: Vec<String>,
    /// Paths with the links of their directories followed.
    files: HashMap<String, usize>,
}

impl Owners {
    pub(super) fn of(tree: &Tree, collected: &Collected) -> Owners {
        let mut owners = Owners::default();
        for (path, node) in tree.iter() {
            let Some(text) = collected.texts.get(&node.id) else { continue };
            let file_name = path.rsplit('/').next().unwrap_or(path);
            if let Some(name) =
                file_name.strip_suffix(".list").filter(|_| path.starts_with("var/lib/dpkg/info/"))
            {
                let name = name.split(':').next().unwrap_or(name);
                owners.add(tree, format!("deb {name}"), text.lines());
            } else if let Some(name) =
                file_name.strip_suffix(".md5sums").filter(|_| path.starts_with("var/lib/dpkg/status.d/"))
            {
                let files = text.lines().filter_map(|line| line.split_once("  ")).map(|(_, path)| path);
                owners.add(tree, format!("deb {name}"), files);
            } else if path.ends_with("lib/apk/db/installed") {
                owners.apk(tree, text);
            } else if let Some(directory) = path.strip_suffix("/RECORD") {
                owners.python(tree, directory, text);
            }
        }
        owners
    }

    fn add<'f>(&mut self, tree: &Tree, name: String, files: impl Iterator<Item = &'f str>) {
        let number = self.names.len();
        self.names.push(name);
        for file in files {
            self.own(tree, file.trim_start_matches('/'), number);
        }
    }

    /// A distribution's package comes first: what it owns is not a second one's.
    fn own(&mut self, tree: &Tree, path: &str, number: usize) {
        // Lists name files as they were packed, before `/lib` became a link.
        let (directory, name) = path.rsplit_once('/').unwrap_or(("", path));
        let real = match directory {
            "" => path.to_owned(),
            directory => match tree.resolve(directory) {
                Some((real, _)) => format!("{real}/{name}"),
                None => path.to_owned(),
            },
        };
        self.files.entry(real).or_insert(number);
    }

    /// `P:` begins a package, `F:` a directory, `R:` a file in it.
    fn apk(&mut self, tree: &Tree, text: &str) {
        let mut directory = "";
        for line in text.lines() {
            match line.split_once(':') {
                Some(("P", name)) => self.names.push(format!("apk {name}")),
                Some(("F", path)) => directory = path,
                Some(("R", file)) if !self.names.is_empty() => {
                    let path =
                        if directory.is_empty() { file.to_owned() } else { format!("{directory}/{file}") };
                    self.own(tree, &path, self.names.len() - 1);
                }
                _ => {}
            }
        }
    }

    /// Paths beside the `.dist-info` directory, the first column of a table with commas.
    fn python(&mut self, tree: &Tree, info: &str, text: &str) {
        let (site, name) = info.rsplit_once('/').unwrap_or(("", info));
        let name = name.trim_end_matches(".dist-info");
        let name = name.split('-').next().unwrap_or(name).replace('_', "-").to_ascii_lowercase();
        let number = self.names.len();
        self.names.push(format!("pypi {name}"));
        for line in text.lines() {
            let path = match line.strip_prefix('"') {
                Some(quoted) => quoted.split('"').next().unwrap_or_default(),
                None => line.split(',').next().unwrap_or_default(),
            };
            if path.starts_with('/') || path.is_empty() {
                continue;
            }
            let mut parts: Vec<&str> = site.split('/').collect();
            for part in path.split('/') {
                match part {
                    ".." => drop(parts.pop()),
                    "." => {}
                    part => parts.push(part),
                }
            }
            self.own(tree, &parts.join("/"), number);
        }
    }

    pub(super) fn len(&self) -> usize {
        self.names.len()
    }

    pub(super) fn owner(&self, path: &str) -> Option<usize> {
        self.files.get(path).copied()
    }
}

/// What of each package, and of each directory of files without one, is there and reached.
#[derive(Debug, Default)]
pub(super) struct Usage {
    packages: BTreeMap<usize, (u64, usize)>,
    reached: BTreeSet<usize>,
    directories: BTreeMap<String, (u64, usize)>,
}

impl Usage {
    pub(super) fn count(&mut self, owner: Option<usize>, path: &str, bytes: u64, is_reached: bool) {
        match owner {
            Some(owner) => {
                let sum = self.packages.entry(owner).or_default();
                *sum = (sum.0 + bytes, sum.1 + 1);
                if is_reached {
                    self.reached.insert(owner);
                }
            }
            None if !is_reached => {
                let sum = self.directories.entry(directory_of(path)).or_default();
                *sum = (sum.0 + bytes, sum.1 + 1);
            }
            None => {}
        }
    }

    pub(super) fn reached_packages(&self) -> usize {
        self.reached.len()
    }

    pub(super) fn leftovers(self, owners: &Owners) -> Vec<Leftover> {
        let packages = self
            .packages
            .into_iter()
            .filter(|(owner, _)| !self.reached.contains(owner))
            .map(|(owner, (bytes, files))| Leftover { name: owners.names[owner].clone(), bytes, files });
        let directories =
            self.directories.into_iter().map(|(name, (bytes, files))| Leftover { name, bytes, files });
        let mut all: Vec<Leftover> =
            packages.chain(directories).filter(|leftover| leftover.bytes > 0).collect();
        all.sort_by(|a, b| b.bytes.cmp(&a.bytes).then_with(|| a.name.cmp(&b.name)));
        all
    }
}

/// Two levels say enough: `/usr/share`, `/opt/conda`.
fn directory_of(path: &str) -> String {
    let directory = path.rsplit_once('/').map_or("", |(directory, _)| directory);
    let parts: Vec<&str> = directory.split('/').take(2).collect();
    format!("/{}", parts.join("/"))
}
