//! Stages and what they are built upon: FROM, ARG, ENV, USER, WORKDIR, SHELL.

use super::{Judge, LastUser, Stage, found};
use crate::dockerfile::parse::{Instruction, Place};
use crate::dockerfile::shell::SHELLS;
use crate::secret;

/// The registry of a name that states none, and its other name.
const DEFAULT_REGISTRY: [&str; 2] = ["docker.io", "hub.docker.com"];

/// `registry/path:tag@digest`, taken apart without being judged.
struct Base<'a> {
    name: &'a str,
    tag: Option<&'a str>,
    has_digest: bool,
}

impl<'a> Base<'a> {
    fn parse(text: &'a str) -> Base<'a> {
        let (rest, digest) = text.split_once('@').map_or((text, None), |(rest, digest)| (rest, Some(digest)));
        let (name, tag) = match rest.rsplit_once(':') {
            Some((name, tag)) if !tag.contains('/') => (name, Some(tag)),
            _ => (rest, None),
        };
        Base { name, tag, has_digest: digest.is_some() }
    }

    fn registry(&self) -> &'a str {
        match self.name.split_once('/') {
            Some((first, _)) if first.contains(['.', ':']) || first == "localhost" => first,
            _ => DEFAULT_REGISTRY[0],
        }
    }
}

impl Judge<'_> {
    pub(super) fn from(&mut self, instruction: &Instruction) {
        let place = instruction.place;
        let words = instruction.words();
        let mut stage = Stage { place: Some(place), ..Stage::default() };
        if let [_, (word, _), (name, _), ..] = &words[..]
            && word.eq_ignore_ascii_case("as")
        {
            let lower = name.to_ascii_lowercase();
            if self.stages.iter().any(|stage| stage.name.as_ref() == Some(&lower)) {
                self.say("DL3024", instruction, place, format!("there is a stage {name:?} already"));
            }
            stage.name = Some(lower);
        }
        let Some((written, range)) = words.into_iter().next() else {
            self.stages.push(stage);
            return;
        };
        if let Some(parent) = self.stages.iter().rposition(|earlier| {
            earlier.name.as_deref().is_some_and(|name| name.eq_ignore_ascii_case(&written))
        }) {
            let parent_stage = &mut self.stages[parent];
            parent_stage.is_used = true;
            stage.parent = Some(parent);
            stage.pip_keeps_no_cache = parent_stage.pip_keeps_no_cache;
            stage.has_pipefail = parent_stage.has_pipefail;
        } else if written != "scratch"
            && let Some(image) = self.expanded(&written)
        {
            stage.is_nonroot_base = image.contains("nonroot") || image.contains("rootless");
            self.pins(instruction, instruction.place_of(range), &image);
        }
        self.stages.push(stage);
    }

    /// Whether an image that is named says which one, and comes from where images may come from.
    pub(super) fn pins(&mut self, instruction: &Instruction, place: Place, image: &str) {
        let base = Base::parse(image);
        match base.tag {
            _ if base.has_digest => {}
            None => self.say("DL3006", instruction, place, format!("{image:?} has neither tag nor digest")),
            Some("latest") => {
                self.say("DL3007", instruction, place, format!("{image:?} is whatever is newest"));
            }
            Some(tag) if tag.contains('$') => {}
            Some(_) => self.say("from-digest", instruction, place, format!("{image:?} has no digest")),
        }
        if !self.is_trusted(base.registry()) {
            let message = format!("{image:?} comes from {}", base.registry());
            self.say("DL3026", instruction, place, message);
        }
    }

    fn is_trusted(&self, registry: &str) -> bool {
        let trusted = self.options.trusted_registries;
        trusted.is_empty()
            || trusted.iter().any(|known| match known.strip_prefix('*') {
                Some("") => true,
                Some(ending) => registry.ends_with(ending),
                None => {
                    known == registry
                        || (DEFAULT_REGISTRY.contains(&known.as_str())
                            && DEFAULT_REGISTRY.contains(&registry))
                }
            })
    }

    /// A name with the defaults of the ARGs put in; nothing where one has none, since then whoever builds decides.
    fn expanded(&self, text: &str) -> Option<String> {
        let mut done = String::new();
        let mut rest = text;
        while let Some((before, after)) = rest.split_once('$') {
            done.push_str(before);
            let (name, default, after) = match after.strip_prefix('{') {
                Some(inner) => {
                    let (inner, after) = inner.split_once('}')?;
                    let end =
                        inner.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(inner.len());
                    let operator = &inner[end..];
                    let default = operator.strip_prefix(":-").or_else(|| operator.strip_prefix('-'));
                    if !operator.is_empty() && default.is_none() {
                        return None;
                    }
                    (&inner[..end], default, after)
                }
                None => {
                    let end =
                        after.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(after.len());
                    (&after[..end], None, &after[end..])
                }
            };
            let value = self.arguments.get(name).and_then(Option::as_deref).or(default)?;
            if value.contains('$') {
                return None;
            }
            done.push_str(value);
            rest = after;
        }
        done.push_str(rest);
        Some(done)
    }

    pub(super) fn argument(&mut self, instruction: &Instruction, is_global: bool) {
        for (word, range) in instruction.words() {
            let (name, value) = word.split_once('=').map_or((&*word, None), |(n, v)| (n, Some(v)));
            if is_global {
                self.arguments.insert(name.to_owned(), value.map(str::to_owned));
            }
            // Without a default the value is given at the build, and stays in the image's history.
            if secret::is_secret_name(name) && value.is_none_or(secret::may_be_secret_value) {
                let message = format!("the argument {name:?} is to hold a secret");
                self.say("DL3064", instruction, instruction.place_of(range), message);
            }
        }
    }

    pub(super) fn environment(&mut self, instruction: &Instruction) {
        let words = instruction.words();
        // The old form: `ENV NAME the rest`.
        let is_old = words.first().is_some_and(|(word, _)| !word.contains('='));
        let pairs: Vec<(String, String, _)> = if is_old {
            let rest = words.iter().skip(1).map(|(word, _)| word.as_str()).collect::<Vec<_>>().join(" ");
            words.first().map(|(name, range)| (name.clone(), rest, range.clone())).into_iter().collect()
        } else {
            let pair = |(word, range): (String, std::ops::Range<usize>)| {
                let (name, value) = word.split_once('=')?;
                Some((name.to_owned(), value.to_owned(), range))
            };
            words.into_iter().filter_map(pair).collect()
        };
        for (name, value, range) in pairs {
            if secret::is_secret_name(&name) && secret::may_be_secret_value(&value) {
                let message = format!("the variable {name:?} holds a secret");
                self.say("DL3064", instruction, instruction.place_of(range.clone()), message);
            }
            let is_unchecked = matches!(
                (name.as_str(), value.as_str()),
                ("NODE_TLS_REJECT_UNAUTHORIZED" | "PYTHONHTTPSVERIFY", "0")
                    | ("GIT_SSL_NO_VERIFY", "1" | "true")
            );
            if is_unchecked {
                let message = format!("{name} turns the check of certificates off, in the container too");
                self.say("unverified-download", instruction, instruction.place_of(range), message);
            }
            if name == "PIP_NO_CACHE_DIR"
                && !matches!(&*value.to_ascii_lowercase(), "0" | "false" | "no" | "off" | "")
                && let Some(stage) = self.stage()
            {
                stage.pip_keeps_no_cache = true;
            }
        }
    }

    pub(super) fn user(&mut self, instruction: &Instruction) {
        let text = instruction.text.trim_matches(['"', '\'']);
        let user = text.split(':').next().unwrap_or_default().trim();
        // A variable may be anything.
        let is_root = user == "root" || (!user.is_empty() && user.bytes().all(|byte| byte == b'0'));
        let is_ignored = instruction.ignored_rules.iter().any(|rule| rule == "DL3002");
        let place = instruction.place;
        if instruction.is_onbuild {
            return;
        }
        if let Some(stage) = self.stage() {
            stage.user = Some(LastUser { is_root, place, is_ignored });
        }
    }

    pub(super) fn workdir(&mut self, instruction: &Instruction) {
        let path = instruction.text.trim().trim_matches(['"', '\'']);
        let is_drive = |path: &str| {
            let bytes = path.as_bytes();
            bytes.len() > 1 && bytes[0].is_ascii_alphabetic() && bytes[1] == b':'
        };
        if !path.starts_with(['/', '\\', '$']) && !is_drive(path) && !path.is_empty() {
            self.say("DL3000", instruction, instruction.place, format!("{path:?} is relative"));
        }
    }

    pub(super) fn shell(&mut self, instruction: &Instruction) {
        let words = instruction.json.clone().unwrap_or_default();
        let program = words.first().map_or("", String::as_str);
        let program = program.rsplit(['/', '\\']).next().unwrap_or(program).to_ascii_lowercase();
        let has_pipefail = words.iter().any(|word| word == "pipefail");
        // PowerShell and cmd have other pipes.
        let is_posix = SHELLS.contains(&program.as_str());
        if let Some(stage) = self.stage() {
            stage.has_pipefail = has_pipefail || !is_posix;
        }
    }

    /// Keeps a finding until it is known whether the stage's layers are part of an image.
    pub(super) fn hold_back(&mut self, id: &str, instruction: &Instruction, place: Place, message: String) {
        let finding = found(id, instruction, place, message);
        match self.stage() {
            Some(stage) => stage.held_back.push(finding),
            None => self.findings.push(finding),
        }
    }
}
