//! What COPY and ADD bring in.

use super::Judge;
use crate::dockerfile::parse::{Instruction, Keyword};

/// What ADD unpacks.
const ARCHIVES: [&str; 10] =
    [".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tbz2", ".tbz", ".tar.xz", ".txz", ".tar.zst", ".gz"];
/// Files that hold secrets and nothing else.
const SECRET_FILES: [&str; 16] = [
    ".env",
    ".netrc",
    ".pypirc",
    ".git-credentials",
    ".dockercfg",
    ".dockerconfigjson",
    ".htpasswd",
    ".pgpass",
    ".my.cnf",
    ".vault-token",
    "id_rsa",
    "id_dsa",
    "id_ecdsa",
    "id_ed25519",
    "kubeconfig",
    "credentials.json",
];
/// The same by the end of the path.
const SECRET_PATHS: [&str; 4] = [".aws/credentials", ".docker/config.json", ".kube/config", ".gnupg"];
const SECRET_ENDINGS: [&str; 5] = [".key", ".p12", ".pfx", ".jks", ".keystore"];
/// Endings of files that show what such a file looks like.
const SAMPLES: [&str; 6] = ["example", "sample", "template", "dist", "defaults", "schema"];

fn is_secret_file(path: &str) -> bool {
    let path = path.trim_end_matches('/').to_ascii_lowercase();
    let name = path.rsplit('/').next().unwrap_or(&path);
    if SAMPLES.iter().any(|sample| name.ends_with(sample)) || name.ends_with(".pub.key") {
        return false;
    }
    SECRET_FILES.contains(&name)
        || name.starts_with(".env.")
        || SECRET_PATHS.iter().any(|end| {
            path.strip_suffix(end).is_some_and(|before| before.is_empty() || before.ends_with('/'))
        })
        || SECRET_ENDINGS.iter().any(|ending| name.ends_with(ending))
}

fn is_url(source: &str) -> bool {
    ["http://", "https://", "ftp://"].iter().any(|scheme| source.starts_with(scheme))
}

/// A repository that ADD clones.
fn is_repository(source: &str) -> bool {
    let bare = source.split('#').next().unwrap_or(source);
    ["git@", "git://", "ssh://"].iter().any(|start| bare.starts_with(start))
        || (is_url(bare) && bare.ends_with(".git"))
}

/// `…#COMMIT`, whole.
fn names_a_commit(source: &str) -> bool {
    let reference = source.split_once('#').map_or("", |(_, part)| part.split(':').next().unwrap_or(part));
    matches!(reference.len(), 40 | 64) && reference.bytes().all(|byte| byte.is_ascii_hexdigit())
}

impl Judge<'_> {
    pub(super) fn copy(&mut self, instruction: &Instruction) {
        let place = instruction.place;
        if let Some(from) = instruction.flag("from") {
            self.copied_from(instruction, from);
        }
        if let Some(mode) = instruction.flag("chmod") {
            if super::run::is_world_writable(mode) {
                let message = format!("mode {mode} lets everybody write");
                self.say("world-writable", instruction, place, message);
            }
            if super::run::sets_ids(mode) {
                let message = format!("mode {mode} sets the user or group of who runs it");
                self.say("setuid-made", instruction, place, message);
            }
        }
        let words = match &instruction.json {
            Some(words) => words.iter().map(|word| (word.clone(), 0..instruction.text.len())).collect(),
            None => instruction.words(),
        };
        let Some((_, sources)) = words.split_last() else { return };
        let sources = sources.iter().filter(|(source, _)| !source.starts_with("<<"));
        for (source, range) in sources {
            let place = instruction.place_of(range.clone());
            if instruction.keyword == Keyword::Add {
                let is_archive = ARCHIVES.iter().any(|ending| source.ends_with(ending));
                if is_repository(source) {
                    if !names_a_commit(source) {
                        let message = format!("{source:?} names no commit");
                        self.say("add-checksum", instruction, place, message);
                    }
                } else if is_url(source) {
                    if instruction.flag("checksum").is_none() {
                        let message = format!("{source:?} has no checksum");
                        self.say("add-checksum", instruction, place, message);
                    }
                } else if !is_archive && !source.starts_with('$') {
                    self.say("DL3020", instruction, place, format!("{source:?} is copied by ADD"));
                }
            }
            if instruction.flag("from").is_none() && is_secret_file(source) {
                let message = format!("{source:?} is copied into the image");
                self.say("secret-copied", instruction, place, message);
            }
        }
    }

    fn copied_from(&mut self, instruction: &Instruction, from: &str) {
        let place = instruction.place;
        let last = self.stages.len().checked_sub(1);
        match self.stage_named(from) {
            Some(at) if Some(at) == last => {
                let message = format!("{from:?} is this very stage");
                self.say("DL3023", instruction, place, message);
            }
            Some(at) => self.stages[at].is_used = true,
            // An image that is named here is one that is built upon.
            None if from.contains([':', '@']) => self.pins(instruction, place, from),
            None if from.starts_with('$') => {}
            None => {
                let message = format!("{from:?} is no earlier stage");
                self.say("DL3022", instruction, place, message);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::is_secret_file;

    #[test]
    fn files_that_hold_secrets_are_known_by_name() {
        let check = |path: &str, expect: bool| assert_eq!(is_secret_file(path), expect, "{path}");
        check(".env", true);
        check("./app/.env.production", true);
        check("keys/server.key", true);
        check("home/.aws/credentials", true);
        check(".docker/config.json", true);
        check("id_rsa", true);
        check(".env.example", false);
        check("config.json", false);
        check("id_rsa.pub", false);
        check("src/key.rs", false);
        check("my.aws/credentials", false);
    }
}
