//! From what single files told to one list of packages.

use std::collections::{BTreeMap, HashMap, HashSet};

use watchbell_image::{Digest, LayerDescriptor};

use super::item::{Item, hash};
use super::links::Linked;
use super::owners::Owners;
use super::role::{self, Role, is_vendored};
use super::{Found, What, dpkg, python};
use crate::elf;
use crate::finding;
use crate::layers::{FileId, FileKind, Tree};
use crate::room::Room;
use crate::vendor;
use crate::{Distribution, Gap, Inventory, Location, Package, PackageKind};

/// Gaps of one reason that are told one by one.
const GAPS_MAX: usize = 50;
/// Gaps of an image that are told.
const GAPS_TOLD_MAX: usize = 10_000;
/// All packages and all their places: a lock file may have thousands of names by hard links, and each is a place of each of its
/// packages.
const PACKAGES_BYTES_MAX: usize = 256 << 20;
/// What a package takes beside its words, and a place beside its path.
const PACKAGE_BYTES: usize = 512;
const PLACE_BYTES: usize = 128;

/// What is left of the image, put together.
pub(super) fn inventory(
    found: Vec<Found>,
    unread: &Linked,
    tree: &Tree,
    layers: &[LayerDescriptor],
) -> Inventory {
    let mut places: HashMap<FileId, Vec<&str>> = HashMap::new();
    for (path, node) in tree.iter().filter(|(_, node)| node.kind == FileKind::File) {
        places.entry(node.id).or_default().push(path);
    }
    let mut assembly = Assembly {
        tree,
        layers,
        owners: Owners::new(tree),
        packages: BTreeMap::new(),
        gaps: Vec::new(),
        untold_gaps: 0,
        room: Room::new(PACKAGES_BYTES_MAX),
    };
    let distribution = assembly.distribution(&found);
    let left: Vec<(&Found, &str)> = found
        .iter()
        .flat_map(|f| {
            let linked = f.link.as_deref();
            let places = places.get(&f.id).filter(|_| linked.is_none());
            linked.into_iter().chain(places.into_iter().flatten().copied()).map(move |path| (f, path))
        })
        .collect();
    for (f, path) in &left {
        for problem in &f.problems {
            assembly.gap(f.id, path, problem);
        }
    }
    assembly.unread(unread);
    let own: Vec<(&Found, &str)> = assembly.own_databases(&found, &left, distribution.as_ref());
    let distribution_packages = assembly.distribution_packages(&found, &own);
    assembly.applications(&left, &distribution_packages, distribution.as_ref());
    assembly.missing_database(&distribution_packages, distribution.as_ref());
    assembly.finish(distribution, distribution_packages)
}

/// What makes two packages the same one.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Key {
    kind: PackageKind,
    name: String,
    version: String,
    architecture: Option<String>,
    /// One that a distribution owns and one that was put beside it are told apart.
    owned_by: Option<usize>,
}

struct Assembly<'a> {
    tree: &'a Tree,
    layers: &'a [LayerDescriptor],
    owners: Owners,
    packages: BTreeMap<Key, Package>,
    gaps: Vec<Gap>,
    untold_gaps: usize,
    room: Room,
}

impl Assembly<'_> {
    fn digest(&self, layer: u32) -> Option<Digest> {
        self.layers.get(layer as usize).map(|l| l.digest.clone())
    }

    fn location(&self, id: FileId, path: &str) -> Location {
        Location { layer: self.digest(id.layer), path: path.to_owned() }
    }

    fn gap(&mut self, id: FileId, path: &str, reason: &str) {
        if self.gaps.len() >= GAPS_TOLD_MAX {
            self.untold_gaps += 1;
            return;
        }
        self.gaps.push(Gap { location: self.location(id, path), reason: reason.to_owned() });
    }

    /// What has a name that tells of packages by a link, and was not read by that name.
    fn unread(&mut self, unread: &Linked) {
        for (id, paths) in &unread.files {
            for path in paths {
                self.gap(*id, path, "a link gives it this name, and it was not read by it");
            }
        }
        if unread.is_cut {
            let reason = "it has more links to directories than are followed, so packages may be missing";
            self.gaps.push(Gap::of_all(reason.to_owned()));
        }
    }

    fn distribution(&self, found: &[Found]) -> Option<Distribution> {
        self.release(&releases(found), "").cloned()
    }

    /// What the system at `root` says that it is.
    fn release<'f>(
        &self,
        releases: &HashMap<FileId, &'f Distribution>,
        root: &str,
    ) -> Option<&'f Distribution> {
        ["etc/os-release", "usr/lib/os-release"].iter().find_map(|path| {
            let (_, node) = self.tree.resolve(&format!("{root}{path}"))?;
            releases.get(&node.id).copied()
        })
    }

    /// What of the data bases, and of lists of files, is of the system that the image is. Another system within it, which is
    /// another release or says of no release what it is, would be asked for under this one's name: that is a gap instead.
    fn own_databases<'f, 'p>(
        &mut self,
        found: &[Found],
        left: &[(&'f Found, &'p str)],
        distribution: Option<&Distribution>,
    ) -> Vec<(&'f Found, &'p str)> {
        // By links it may lie anywhere, and is what package managers in the image see.
        let seen = role::databases_seen(self.tree);
        let releases = releases(found);
        let mut known: HashMap<&str, bool> = HashMap::from([("", true)]);
        let mut own = Vec::new();
        for (f, path) in left {
            let is_of_database = f.role.is_database() || f.role == Role::DpkgFiles;
            let is_another = is_of_database && !role::is_one_of(&seen, path);
            let Some(root) = role::root_of(path).filter(|_| is_another) else {
                own.push((*f, *path));
                continue;
            };
            let is_own = *known
                .entry(root)
                .or_insert_with(|| distribution.is_none_or(|own| self.release(&releases, root) == Some(own)));
            if is_own {
                own.push((*f, *path));
            } else if f.role.is_database() && !matches!(&f.what, What::Items(items) if items.is_empty()) {
                let reason = "it is the package database of another system within the image, whose packages are not looked at";
                self.gap(f.id, path, reason);
            }
        }
        own
    }

    /// The packages of the data bases, with whose files are whose. Each is attributed to the layer that brought it: the lowest
    /// from which on every layer's data base has it in this version.
    fn distribution_packages(&mut self, found: &[Found], left: &[(&Found, &str)]) -> Vec<Package> {
        let mut packages: Vec<Package> = Vec::new();
        let mut by_name: HashMap<(&str, Option<&str>), usize> = HashMap::new();
        let mut seen: HashSet<(PackageKind, &str, &str, Option<&str>)> = HashSet::new();
        for (f, path) in left.iter().filter(|(f, _)| f.role.is_database()) {
            let What::Items(items) = &f.what else { continue };
            let earlier = earlier_databases(found, f);
            for (item, _) in items {
                let identity =
                    (item.kind, item.name.as_str(), item.version.as_str(), item.architecture.as_deref());
                if !seen.insert(identity) {
                    continue;
                }
                if !self.room.take(PACKAGE_BYTES + PLACE_BYTES + path.len() + item.bytes()) {
                    continue;
                }
                let layer = earlier
                    .iter()
                    .take_while(|(_, known)| known.contains(&(item.name.as_str(), item.version.as_str())))
                    .last()
                    .map_or(f.id.layer, |(layer, _)| *layer);
                let id = FileId { layer, entry: f.id.entry };
                let index = packages.len();
                packages.push(package(item, self.location(id, path)));
                self.owners.add(index, &item.files);
                by_name.insert((&item.name, item.architecture.as_deref()), index);
                by_name.entry((&item.name, None)).or_insert(index);
            }
        }
        for (f, path) in left {
            match (&f.what, f.role) {
                (What::Files(files), Role::DpkgFiles) => {
                    let Some(list) = dpkg::list_of(file_name(path)) else { continue };
                    let owner = by_name.get(&(list.package.as_str(), list.architecture.as_deref()));
                    if let Some(owner) = owner {
                        self.owners.add(*owner, files);
                    }
                }
                (What::Licences(licences), _) => {
                    let name = path.strip_prefix("usr/share/doc/").and_then(|p| p.split('/').next());
                    if let Some(index) = name.and_then(|name| by_name.get(&(name, None))) {
                        packages[*index].licences.clone_from(licences);
                    }
                }
                _ => {}
            }
        }
        packages
    }

    /// What is installed beside the distribution, and what only lock files speak of.
    fn applications(
        &mut self,
        left: &[(&Found, &str)],
        distribution_packages: &[Package],
        distribution: Option<&Distribution>,
    ) {
        // What another vendor's package brought the distribution says nothing of.
        let distribution = distribution.and_then(finding::ecosystem_of);
        let is_own = |owner: usize| {
            let foreign = |package| distribution.as_ref().and_then(|own| vendor::foreign(package, own));
            distribution_packages.get(owner).is_none_or(|package| foreign(package).is_none())
        };
        // Files that belong to a package of Python's or conda's, which says so itself.
        let mut recorded: HashSet<u64> = HashSet::new();
        for (f, _) in left {
            match (&f.what, f.role) {
                (What::Files(files), Role::PythonRecord) => recorded.extend(&files.hashes),
                (What::Items(items), Role::Conda) => {
                    recorded.extend(items.iter().flat_map(|(item, _)| &item.files.hashes));
                }
                _ => {}
            }
        }
        let mut unknown: Vec<Location> = Vec::new();
        for (f, path) in left.iter().filter(|(f, _)| !f.role.is_database()) {
            match &f.what {
                What::Items(items) => {
                    for (item, inside) in items {
                        // A Java runtime's release file counts only where no package brought it.
                        if f.role == Role::JavaRelease && self.owners.of(path).is_some_and(is_own) {
                            continue;
                        }
                        let place = match inside {
                            Some(inside) => format!("{path}/{inside}"),
                            None => (*path).to_owned(),
                        };
                        self.add(item, f.id, &place, path);
                    }
                }
                What::Program(program, items) => {
                    let owner = self.owners.of(path);
                    let (is_owned, is_spoken_for) = (owner.is_some(), owner.is_some_and(is_own));
                    for item in items {
                        // An interpreter is known by its package where it has one.
                        let is_known = is_spoken_for || recorded.contains(&hash(path));
                        if item.kind == PackageKind::Generic && is_known {
                            continue;
                        }
                        self.add(item, f.id, path, path);
                    }
                    if is_vendored(path) && !is_spoken_for {
                        if let Some(item) = python::vendored(file_name(path)) {
                            self.add(&item, f.id, path, path);
                        }
                        continue;
                    }
                    let is_alone = items.is_empty()
                        && !program.lacks_auditable
                        && !is_owned
                        && !recorded.contains(&hash(path));
                    if is_alone && (program.role == elf::Role::Executable || is_shared_library(path, program))
                    {
                        unknown.push(self.location(f.id, path));
                    }
                }
                _ => {}
            }
        }
        self.unknown_programs(unknown, !distribution_packages.is_empty());
    }

    /// Adds a package, or another place of one that is known. `owned` is the file whose owner decides: the outermost archive.
    fn add(&mut self, item: &Item, id: FileId, path: &str, owned: &str) {
        let owned_by = self.owners.of(owned);
        let key = Key {
            kind: item.kind,
            name: item.name.clone(),
            version: item.version.clone(),
            architecture: item.architecture.clone(),
            owned_by,
        };
        let of_package = if self.packages.contains_key(&key) { 0 } else { PACKAGE_BYTES + item.bytes() };
        if !self.room.take(of_package + PLACE_BYTES + path.len()) {
            return;
        }
        let location = self.location(id, path);
        let known = self.packages.entry(key).or_insert_with(|| Package {
            owned_by,
            locations: Vec::new(),
            ..package(item, location.clone())
        });
        known.evidence = known.evidence.min(item.evidence);
        known.locations.push(location);
        for licence in &item.licences {
            if !known.licences.contains(licence) {
                known.licences.push(licence.clone());
            }
        }
    }

    /// Without a package database most would be the distribution's: they are counted then, and not told one by one.
    fn unknown_programs(&mut self, mut unknown: Vec<Location>, has_database: bool) {
        unknown.sort();
        let told = if has_database || unknown.len() <= 3 { GAPS_MAX } else { 0 };
        let more = unknown.len().saturating_sub(told);
        for location in unknown.iter().take(told) {
            let reason =
                "no package owns this program or library, and it says nothing of what it was built from";
            self.gaps.push(Gap { location: location.clone(), reason: reason.to_owned() });
        }
        if more > 0 {
            let location = unknown[told].clone();
            let reason = format!(
                "this and {} more programs and libraries are owned by no package and say nothing of what they \
                         were built from",
                more - 1
            );
            self.gaps.push(Gap { location, reason });
        }
    }

    /// A distribution without its data base: its packages are there all the same.
    fn missing_database(&mut self, packages: &[Package], distribution: Option<&Distribution>) {
        let Some(distribution) = distribution else { return };
        if !packages.is_empty() {
            return;
        }
        let path = if self.tree.resolve("etc/os-release").is_some() {
            "etc/os-release"
        } else {
            "usr/lib/os-release"
        };
        let layer = self.tree.resolve(path).and_then(|(_, node)| self.digest(node.id.layer));
        self.gaps.push(Gap {
            location: Location { layer, path: path.to_owned() },
            reason: format!(
                "the files are of {}, but no package database is left: which of its packages are here is not known",
                distribution.pretty_name.as_deref().unwrap_or(&distribution.id)
            ),
        });
    }

    /// One order, whatever the order of reading.
    fn finish(self, distribution: Option<Distribution>, distribution_packages: Vec<Package>) -> Inventory {
        let mut order: Vec<usize> = (0..distribution_packages.len()).collect();
        order.sort_by(|a, b| {
            let key = |i: &usize| {
                let p = &distribution_packages[*i];
                (p.kind, p.name.clone(), p.version.clone(), p.architecture.clone())
            };
            key(a).cmp(&key(b))
        });
        let mut place = vec![0; order.len()];
        for (new, old) in order.iter().enumerate() {
            place[*old] = new;
        }
        let mut packages: Vec<Package> = order.iter().map(|i| distribution_packages[*i].clone()).collect();
        for (_, mut package) in self.packages {
            package.owned_by = package.owned_by.map(|old| place[old]);
            packages.push(package);
        }
        for package in &mut packages {
            package.locations.sort();
            package.locations.dedup();
        }
        let mut gaps = self.gaps;
        let mut say = |reason: String| gaps.push(Gap::of_all(reason));
        match self.room.left_out() {
            0 => {}
            count => say(format!(
                "it has more packages, in more places, than are kept of one image: {count} of them are left out"
            )),
        }
        if self.untold_gaps > 0 {
            say(format!("{} more places could not be read", self.untold_gaps));
        }
        gaps.sort_by(|a, b| (&a.location, &a.reason).cmp(&(&b.location, &b.reason)));
        gaps.dedup();
        Inventory { distribution, packages, gaps }
    }
}

/// What the os-release files of all layers say. An image may have very many systems within it, so they are gone through once.
fn releases(found: &[Found]) -> HashMap<FileId, &Distribution> {
    let mut releases = HashMap::new();
    for f in found {
        if let What::Distribution(distribution) = &f.what {
            releases.entry(f.id).or_insert(distribution);
        }
    }
    releases
}

/// What the same data base had in lower layers, the nearest first.
fn earlier_databases<'f>(found: &'f [Found], of: &Found) -> Vec<(u32, HashSet<(&'f str, &'f str)>)> {
    if of.role == Role::DpkgStatusOfOne {
        // A file a package: its own layer brought it.
        return Vec::new();
    }
    let mut earlier: Vec<_> = found
        .iter()
        .filter(|f| f.role == of.role && f.id.layer < of.id.layer)
        .filter_map(|f| match &f.what {
            What::Items(items) => {
                let known = items.iter().map(|(i, _)| (i.name.as_str(), i.version.as_str())).collect();
                Some((f.id.layer, known))
            }
            _ => None,
        })
        .collect();
    earlier.reverse();
    earlier
}

fn package(item: &Item, location: Location) -> Package {
    Package {
        kind: item.kind,
        name: item.name.clone(),
        version: item.version.clone(),
        architecture: item.architecture.clone(),
        source: item.source.clone(),
        vendor: item.vendor.clone(),
        licences: item.licences.clone(),
        evidence: item.evidence,
        locations: vec![location],
        owned_by: None,
    }
}

fn file_name(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or(path)
}

/// A library that others are linked with, and not a module of an interpreter.
fn is_shared_library(path: &str, program: &elf::Program) -> bool {
    program.role == elf::Role::Library && program.soname.is_some() && file_name(path).starts_with("lib")
}
