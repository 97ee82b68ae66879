//! What an image's configuration and its files make easier for whoever gets in.

use watchbell_image::ImageConfig;

use crate::dockerfile;
use crate::finding::Severity;
use crate::layers::{Capabilities, FileKind, Node, Tree};
use crate::secret;
use crate::surface;

/// Files that one rule tells of; what is beyond is counted.
const PATHS_MAX: usize = 1000;

/// One rule.
#[derive(Debug)]
pub struct Rule {
    pub id: &'static str,
    pub severity: Severity,
    /// What is wrong where it speaks.
    pub title: &'static str,
    pub way_out: &'static str,
}

impl PartialEq for Rule {
    fn eq(&self, other: &Rule) -> bool {
        self.id == other.id
    }
}

const fn rule(id: &'static str, severity: Severity, title: &'static str, way_out: &'static str) -> Rule {
    Rule { id, severity, title, way_out }
}

#[rustfmt::skip]
pub static RULES: [Rule; 12] = [
    rule("root-user", Severity::Medium, "the image runs as root", "set USER to a number that is not 0, or runAsUser in the pod"),
    rule("secret-in-env", Severity::High, "a variable of the image by its name holds a secret", "take it out of ENV, revoke it, and give the new one when the container starts"),
    rule("setuid-file", Severity::Medium, "a program that runs as its file's owner (set-user-ID)", "remove the package, or chmod u-s in the layer that has the file"),
    rule("setgid-file", Severity::Low, "a program that runs with its file's group (set-group-ID)", "remove the package, or chmod g-s in the layer that has the file"),
    rule("file-capabilities", Severity::Medium, "a program that gives its process capabilities", "give the capability to the container that needs it, and setcap -r the file"),
    rule("world-writable-file", Severity::Medium, "a file that everybody may change", "chmod o-w, or give it to the one user that writes it"),
    rule("world-writable-directory", Severity::Low, "a directory in which everybody may replace files of others", "chmod o-w, or chmod +t as /tmp has it"),
    rule("add-url", Severity::Medium, "a layer that ADD fetched from a URL without a checksum", "add --checksum=sha256:…"),
    rule("pipe-to-shell", Severity::Medium, "a layer whose command ran what it downloaded unseen", "download to a file, compare its checksum, then run it"),
    rule("latest-tag", Severity::Low, "the image is named by the tag latest", "name a version, best with its digest"),
    rule("package-manager", Severity::Low, "a package manager is left in the image", "build upon a distroless image, or copy what is needed into one"),
    rule("shell", Severity::Low, "a shell is left in the image", "build upon a distroless image, or copy what is needed into one"),
];

/// What was found.
#[derive(Clone, Debug, PartialEq)]
pub struct ConfigurationFinding {
    pub rule: &'static Rule,
    /// A file, or nothing for what the image's configuration says.
    pub path: Option<String>,
    /// Of the layers that hold files, counted from 0 at the bottom.
    pub layer: Option<u32>,
    pub message: String,
}

/// Names of programs that install packages of distributions and languages.
const PACKAGE_MANAGERS: [&str; 24] = [
    "apt", "apt-get", "aptitude", "dpkg", "yum", "dnf", "dnf5", "microdnf", "rpm", "zypper", "apk", "pacman",
    "opkg", "pip", "pip3", "uv", "conda", "mamba", "npm", "yarn", "pnpm", "gem", "bundle", "composer",
];
/// Where programs are looked for.
pub(crate) const PROGRAM_DIRECTORIES: [&str; 6] =
    ["bin", "sbin", "usr/bin", "usr/sbin", "usr/local/bin", "usr/local/sbin"];

/// What is judged.
#[derive(Clone, Copy, Debug)]
pub struct Subject<'a> {
    /// Nothing for a plain directory.
    pub config: Option<&'a ImageConfig>,
    /// The tag by which the image was asked for; nothing where a digest was.
    pub tag: Option<&'a str>,
    pub tree: &'a Tree,
}

/// Everything that is found, by rule and then by path. Pure.
pub fn judge(subject: &Subject<'_>) -> Vec<ConfigurationFinding> {
    let mut findings = Vec::new();
    let mut counts = [0; RULES.len()];
    let mut say = |id: &str, path: Option<&str>, layer: Option<u32>, message: String| {
        let at = RULES.iter().position(|rule| rule.id == id).expect("a rule of the table");
        counts[at] += 1;
        if counts[at] <= PATHS_MAX {
            let path = path.map(str::to_owned);
            findings.push(ConfigurationFinding { rule: &RULES[at], path, layer, message });
        }
    };
    if let Some(config) = subject.config {
        if is_root(&config.user) {
            let said =
                if config.user.is_empty() { "no USER".to_owned() } else { format!("USER {}", config.user) };
            say("root-user", None, None, format!("the configuration has {said}"));
        }
        for variable in &config.env {
            let (name, value) = variable.split_once('=').unwrap_or((variable, ""));
            if secret::has_password(value)
                || (secret::is_secret_name(name) && secret::may_be_secret_value(value))
            {
                say(
                    "secret-in-env",
                    None,
                    None,
                    format!("the variable {name} holds a secret ({} characters)", value.len()),
                );
            }
        }
        for (layer, command) in commands(config) {
            for (rule, message) in history(command) {
                say(rule, None, layer, message);
            }
        }
    }
    if subject.tag == Some("latest") {
        say("latest-tag", None, None, "the image was asked for by latest".to_owned());
    }
    for (path, node) in subject.tree.iter() {
        for (rule, message) in file(node) {
            say(rule, Some(path), Some(node.id.layer), message);
        }
    }
    for (path, node) in programs(subject.tree, &PACKAGE_MANAGERS) {
        say("package-manager", Some(&path), Some(node.id.layer), format!("/{path}"));
    }
    for (path, node) in surface::shells(subject.tree) {
        say("shell", Some(&path), Some(node.id.layer), format!("/{path}"));
    }
    let order = |rule: &Rule| RULES.iter().position(|known| known.id == rule.id);
    findings.sort_by(|a, b| (order(a.rule), &a.path).cmp(&(order(b.rule), &b.path)));
    count_others(&mut findings, &counts);
    findings
}

/// The last of a rule that has more than are told says how many.
fn count_others(findings: &mut [ConfigurationFinding], counts: &[usize]) {
    for (rule, count) in RULES.iter().zip(counts).filter(|(_, count)| **count > PATHS_MAX) {
        if let Some(last) = findings.iter_mut().rfind(|finding| finding.rule == rule) {
            last.message = format!("{} files more, all beyond the first {PATHS_MAX}", count - PATHS_MAX + 1);
            last.path = None;
        }
    }
}

/// Whether a `USER` is root: the unsaid one too.
pub(crate) fn is_root(user: &str) -> bool {
    let name = user.split(':').next().unwrap_or_default().trim();
    name == "root" || name.bytes().all(|byte| byte == b'0')
}

/// What each step of the history ran, with its layer.
fn commands(config: &ImageConfig) -> Vec<(Option<u32>, &str)> {
    let mut layer = 0;
    let mut found = Vec::new();
    for step in &config.history {
        let is_empty = step.empty_layer == Some(true);
        found.push(((!is_empty).then_some(layer), step.created_by.as_deref().unwrap_or_default()));
        layer += u32::from(!is_empty);
    }
    found
}

/// The step of the history that made a layer, without what the builder put around it.
pub fn history_of(config: &ImageConfig, layer: u32) -> Option<String> {
    let made = commands(config).into_iter().find(|(at, _)| *at == Some(layer));
    made.map(|(_, command)| bare(command).to_owned()).filter(|command| !command.is_empty())
}

/// `/bin/sh -c #(nop) ADD …`, `RUN /bin/sh -c … # buildkit`, `|1 A=b /bin/sh -c …` as they stood in the Dockerfile.
fn bare(command: &str) -> &str {
    let command = command.trim().trim_end_matches("# buildkit").trim_end();
    match command.split_once("#(nop)") {
        Some((_, instruction)) => instruction.trim_start(),
        None => command,
    }
}

fn history(command: &str) -> Vec<(&'static str, String)> {
    let command = bare(command);
    // As a line of a Dockerfile: the classic builder wrote a RUN as the shell's own command.
    let line = match command.split_once("/bin/sh -c ") {
        Some((_, script)) => format!("RUN {script}"),
        None => command.to_owned(),
    };
    let file = dockerfile::Dockerfile::parse(&line.replace('\n', " "));
    let findings = dockerfile::judge(&file, &dockerfile::Options::default());
    let told = findings.into_iter().filter_map(|finding| match finding.rule.id {
        "add-checksum" => Some(("add-url", finding.message)),
        "pipe-to-shell" => Some(("pipe-to-shell", finding.message)),
        _ => None,
    });
    told.collect()
}

fn file(node: &Node) -> Vec<(&'static str, String)> {
    let mut found = Vec::new();
    let mode = node.mode;
    match node.kind {
        FileKind::File => {
            let is_program = mode & 0o111 != 0;
            if mode & 0o4000 != 0 && is_program {
                found.push(("setuid-file", format!("mode {mode:04o}, owner {}", node.uid)));
            }
            if mode & 0o2000 != 0 && is_program {
                found.push(("setgid-file", format!("mode {mode:04o}, group {}", node.gid)));
            }
            if node.capabilities == Capabilities::Some {
                found.push(("file-capabilities", "security.capability is set".to_owned()));
            }
            if mode & 0o002 != 0 {
                found.push(("world-writable-file", format!("mode {mode:04o}")));
            }
        }
        FileKind::Directory if mode & 0o002 != 0 && mode & 0o1000 == 0 => {
            found.push(("world-writable-directory", format!("mode {mode:04o}")));
        }
        _ => {}
    }
    found
}

/// Programs of these names in the usual directories, links followed, each file once.
pub(crate) fn programs<'t>(tree: &'t Tree, names: &[&str]) -> Vec<(String, &'t Node)> {
    let mut found: Vec<(String, &Node)> = Vec::new();
    for directory in PROGRAM_DIRECTORIES {
        for name in names {
            let Some((path, node)) = tree.resolve(&format!("{directory}/{name}")) else { continue };
            if node.kind == FileKind::File
                && node.mode & 0o111 != 0
                && !found.iter().any(|(known, _)| *known == path)
            {
                found.push((path, node));
            }
        }
    }
    found.sort_by(|a, b| a.0.cmp(&b.0));
    found
}

pub(crate) fn package_managers(tree: &Tree) -> Vec<String> {
    programs(tree, &PACKAGE_MANAGERS).into_iter().map(|(path, _)| path).collect()
}

#[cfg(test)]
mod tests;
