//! Everything about an image in one pass over its layers: packages, secrets, configuration, minimality.

use std::collections::HashSet;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use watchbell_image::{ImageConfig, ImageContent, LayerDescriptor};

use crate::catalog::{Collector, with_unread};
use crate::configuration::{self, ConfigurationFinding};
use crate::layers::{
    Directory, FileContent, FileFacts, FileId, FileKind, Interest, ReadError, Tree, Want, read_directory,
    read_layers,
};
use crate::minimality::{self, Minimality, MinimalityCollector};
use crate::report::{SecretFinding, SecretPlace};
use crate::secret::{Hit, scan_file, scan_text};
use crate::{Gap, Inventory};

/// Larger files are not looked through for secrets: keys and configurations are small.
const SECRET_FILE_BYTES_MAX: u64 = 8 << 20;
/// Secrets of one image that are told.
const SECRETS_MAX: usize = 10_000;

/// What was found in an image or a directory.
#[derive(Debug)]
pub struct Examination {
    pub inventory: Inventory,
    pub secrets: Vec<SecretFinding>,
    /// Texts of all layers that were not looked through for secrets: too large, or in UTF-16.
    pub unsearched: usize,
    pub configuration: Vec<ConfigurationFinding>,
    pub minimality: Minimality,
}

/// Reads all layers, at most `threads` at a time. `tag` is that by which the image was asked for.
pub fn examine(image: &ImageContent, tag: Option<&str>, threads: usize) -> Result<Examination, ReadError> {
    let pass = Pass::default();
    let tree = pass.with(|interests| read_layers(image, interests, threads))?;
    pass.packages.follow_links(&tree, |links| read_layers(image, &[links], threads).map(drop))?;
    Ok(pass.finish(&tree, Some(&image.image.config), tag, &image.image.layers))
}

/// Reads the files of a directory, as if it were the root of an image.
pub fn examine_directory(root: &Path) -> Result<Examination, ReadError> {
    let pass = Pass::default();
    let Directory { tree, unread } = pass.with(|interests| read_directory(root, interests))?;
    pass.packages.follow_links(&tree, |links| read_directory(root, &[links]).map(drop))?;
    let found = pass.finish(&tree, None, None, &[]);
    Ok(Examination { inventory: with_unread(found.inventory, unread), ..found })
}

#[derive(Default)]
struct Pass {
    packages: Collector,
    minimality: MinimalityCollector,
    secrets: Mutex<Vec<(FileId, String, Hit)>>,
    unsearched: AtomicUsize,
}

impl Pass {
    fn with<T>(&self, read: impl FnOnce(&[Interest<'_>]) -> T) -> T {
        let packages = Interest {
            wants: &|facts| self.packages.wants(facts),
            takes: &|facts, content| self.packages.takes(facts, content),
        };
        let minimality = Interest {
            wants: &|facts| self.minimality.wants(facts),
            takes: &|facts, content| self.minimality.takes(facts, content),
        };
        let secrets = Interest {
            wants: &|facts| self.wants_secrets(facts),
            takes: &|facts, content| self.takes_secrets(facts, content),
        };
        read(&[packages, minimality, secrets])
    }

    fn wants_secrets(&self, facts: &FileFacts<'_>) -> Want {
        if is_unsearched(facts) {
            self.unsearched.fetch_add(1, Ordering::Relaxed);
        }
        wants_secrets(facts)
    }

    fn takes_secrets(&self, facts: &FileFacts<'_>, content: &FileContent) {
        if wants_secrets(facts) == Want::Nothing {
            return;
        }
        let Some(bytes) = content.whole() else { return };
        let hits = scan_file(facts.path, bytes);
        if !hits.is_empty() {
            let mut found = self.secrets.lock().unwrap_or_else(PoisonError::into_inner);
            let room = SECRETS_MAX.saturating_sub(found.len());
            found.extend(hits.into_iter().take(room).map(|hit| (facts.id, facts.path.to_owned(), hit)));
        }
    }

    fn finish(
        self,
        tree: &Tree,
        config: Option<&ImageConfig>,
        tag: Option<&str>,
        layers: &[LayerDescriptor],
    ) -> Examination {
        let left: HashSet<FileId> = tree.iter().map(|(_, node)| node.id).collect();
        let unsearched = self.unsearched.into_inner();
        let mut found = self.secrets.into_inner().unwrap_or_else(PoisonError::into_inner);
        found.sort_by_key(|(id, _, hit)| (*id, hit.range.start));
        let mut secrets: Vec<SecretFinding> = found
            .into_iter()
            .map(|(id, path, hit)| {
                let place = SecretPlace::File { path, layer: id.layer, is_hidden: !left.contains(&id) };
                finding(&hit, place)
            })
            .collect();
        if let Some(config) = config {
            secrets.extend(of_config(config));
        }
        let mut inventory = self.packages.finish(tree, layers);
        let mut say = |reason: String| inventory.gaps.push(Gap::of_all(reason));
        if secrets.len() >= SECRETS_MAX {
            say(format!("it has more secrets than the {SECRETS_MAX} that are told"));
        }
        match self.minimality.left_out() {
            0 => {}
            count => say(format!(
                "{count} lists of packages' files, scripts or programs are too large to be read for the minimality report"
            )),
        }
        Examination {
            inventory,
            secrets,
            unsearched,
            configuration: configuration::judge(&configuration::Subject { config, tag, tree }),
            minimality: minimality::report(self.minimality, tree, config),
        }
    }
}

/// Texts: what has no zero byte at its start. Keys inside of programs are those of their libraries' tests.
fn wants_secrets(facts: &FileFacts<'_>) -> Want {
    let is_text = *facts.kind == FileKind::File
        && (1..=SECRET_FILE_BYTES_MAX).contains(&facts.size)
        && !facts.head.contains(&0);
    if is_text { Want::Whole } else { Want::Nothing }
}

/// Texts that are not looked through: larger ones, and those in which every other byte is zero.
fn is_unsearched(facts: &FileFacts<'_>) -> bool {
    let is_utf16 = facts.head.starts_with(b"\xff\xfe") || facts.head.starts_with(b"\xfe\xff");
    let is_large = facts.size > SECRET_FILE_BYTES_MAX && !facts.head.contains(&0);
    *facts.kind == FileKind::File && (is_utf16 || is_large)
}

fn finding(hit: &Hit, place: SecretPlace) -> SecretFinding {
    SecretFinding { rule: hit.rule, place, line: hit.line, certainty: hit.certainty, shown: hit.shown() }
}

/// Secrets by their form in what the image's configuration holds: everybody who can pull it reads them.
fn of_config(config: &ImageConfig) -> Vec<SecretFinding> {
    let mut found = Vec::new();
    for variable in &config.env {
        let name = variable.split('=').next().unwrap_or_default();
        found.extend(
            scan_text(variable).iter().map(|hit| finding(hit, SecretPlace::Variable(name.to_owned()))),
        );
    }
    for (name, value) in &config.labels {
        found.extend(scan_text(value).iter().map(|hit| finding(hit, SecretPlace::Label(name.clone()))));
    }
    for (step, history) in config.history.iter().enumerate() {
        for text in [&history.created_by, &history.comment].into_iter().flatten() {
            found.extend(scan_text(text).iter().map(|hit| finding(hit, SecretPlace::History(step))));
        }
    }
    found
}

#[cfg(test)]
mod tests;
