//! Package managers: versions that are stated, checks that are left on, caches that do not stay.

use super::{Call, Judge, Run};
use crate::dockerfile::shell::{Command, Word};

/// How a package manager is asked for packages, and what a stated version looks like.
struct Manager {
    rule: &'static str,
    programs: &'static [&'static str],
    verbs: &'static [&'static str],
    /// Flags whose value is the next word.
    valued: &'static [&'static str],
    is_pinned: fn(&str) -> bool,
}

const APT: &[&str] = &["apt-get", "apt", "aptitude"];
const DNF: &[&str] = &["dnf", "dnf5", "microdnf"];
const APT_VALUED: &[&str] = &["-t", "--target-release", "-o", "--option", "-c", "--config-file", "-a"];

const MANAGERS: [Manager; 8] = [
    Manager {
        rule: "DL3008",
        programs: APT,
        verbs: &["install", "satisfy"],
        valued: APT_VALUED,
        is_pinned: |word| word.contains(['=', '/']) || word.ends_with(".deb"),
    },
    Manager {
        rule: "DL3018",
        programs: &["apk"],
        verbs: &["add"],
        valued: &["-t", "--virtual", "-X", "--repository", "-p", "--root"],
        is_pinned: |word| word.contains(['=', '~', '<']) || word.ends_with(".apk") || word.starts_with('.'),
    },
    Manager {
        rule: "DL3033",
        programs: &["yum"],
        verbs: &["install", "localinstall", "reinstall"],
        valued: &["-c", "--enablerepo", "--disablerepo", "-x", "--setopt", "--installroot"],
        is_pinned: is_rpm_pinned,
    },
    Manager {
        rule: "DL3041",
        programs: DNF,
        verbs: &["install", "localinstall", "reinstall"],
        valued: &["-c", "--enablerepo", "--disablerepo", "-x", "--setopt", "--installroot"],
        is_pinned: is_rpm_pinned,
    },
    Manager {
        rule: "DL3037",
        programs: &["zypper"],
        verbs: &["install", "in"],
        valued: &["-R", "--root", "-r", "--repo", "--from", "-t", "--type"],
        is_pinned: |word| word.contains(['=', '<', '>']) || word.ends_with(".rpm"),
    },
    Manager {
        rule: "DL3016",
        programs: &["npm"],
        verbs: &["install", "i", "add"],
        valued: &["--prefix", "--registry", "-w", "--workspace", "--loglevel", "--cache", "--userconfig"],
        is_pinned: is_npm_pinned,
    },
    Manager {
        rule: "DL3028",
        programs: &["gem"],
        verbs: &["install", "i"],
        valued: &["-i", "--install-dir", "-n", "--bindir", "-s", "--source", "-P", "--trust-policy"],
        is_pinned: |word| word.contains(':') || word.ends_with(".gem"),
    },
    Manager {
        rule: "DL3062",
        programs: &["go"],
        verbs: &["install", "get"],
        valued: &["-ldflags", "-tags", "-gcflags", "-o", "-mod"],
        is_pinned: |word| {
            word.starts_with(['.', '/'])
                || word.split_once('@').is_some_and(|(_, version)| version != "latest" && !version.is_empty())
                || !word.contains('.')
        },
    },
];

/// `name-1.2`: what follows a dash begins with a digit. `@group` and `name` have no version.
fn is_rpm_pinned(word: &str) -> bool {
    let names_a_version = word
        .match_indices('-')
        .any(|(at, _)| word[at + 1..].starts_with(|c: char| c.is_ascii_digit() || c == '$'));
    names_a_version
        || word.contains(['=', '<', '>'])
        || word.ends_with(".rpm")
        || word.starts_with(['/', '.'])
}

/// `name@version`, a tarball, a directory, or a repository with its commit.
fn is_npm_pinned(word: &str) -> bool {
    if word.starts_with(['.', '/', '~']) || word.ends_with(".tgz") || word.ends_with(".tar.gz") {
        return true;
    }
    if word.contains("://") || word.starts_with("git") || word.starts_with("github:") {
        return word.contains('#') || !word.contains("git");
    }
    let bare = word.strip_prefix('@').unwrap_or(word);
    bare.split_once('@').is_some_and(|(_, version)| version != "latest" && !version.is_empty())
}

/// Flags of pip whose value is the next word, by its documentation of `pip install`.
const PIP_VALUED: [&str; 27] = [
    "-r",
    "--requirement",
    "-c",
    "--constraint",
    "-e",
    "--editable",
    "-t",
    "--target",
    "--platform",
    "--python-version",
    "--implementation",
    "--abi",
    "--root",
    "--prefix",
    "--src",
    "-i",
    "--index-url",
    "--extra-index-url",
    "-f",
    "--find-links",
    "--trusted-host",
    "--cache-dir",
    "--progress-bar",
    "--no-binary",
    "--only-binary",
    "--proxy",
    "--timeout",
];

/// The arguments of `pip install`, however pip is called.
fn pip_install(command: &Command) -> Option<Command> {
    let name = command.name();
    let mut command = command.clone();
    if name.starts_with("python") {
        let at = command.words.windows(2).position(|pair| pair[0].text == "-m" && pair[1].text == "pip")?;
        command.words.drain(..=at);
    } else if !name
        .strip_prefix("pip")
        .is_some_and(|rest| rest.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.'))
    {
        return None;
    }
    command
        .operands(&["--proxy", "--timeout", "--cache-dir", "--log"])
        .first()
        .is_some_and(|word| word.text == "install")
        .then_some(command)
}

fn is_pip_pinned(word: &str) -> bool {
    if ["git+", "hg+", "svn+", "bzr+"].iter().any(|scheme| word.starts_with(scheme)) {
        return word.rsplit('/').next().is_some_and(|last| last.contains('@'));
    }
    let is_local = word.starts_with('.') || word.contains('/');
    let is_archive = [".whl", ".tar.gz", ".zip"].iter().any(|ending| word.ends_with(ending));
    is_local || is_archive || ["==", "~=", "<", ">", "@"].iter().any(|operator| word.contains(operator))
}

/// Words that somebody else decides: variables, and the output of commands.
fn is_open(word: &Word) -> bool {
    word.text.starts_with('$') || word.text.contains("$(")
}

impl Manager {
    /// The packages that are asked for, if they are.
    fn packages<'a>(&self, command: &'a Command) -> Option<Vec<&'a Word>> {
        if !self.programs.contains(&command.name()) {
            return None;
        }
        let mut operands = command.operands(self.valued);
        if operands.is_empty() || !self.verbs.contains(&operands[0].text.as_str()) {
            return None;
        }
        operands.remove(0);
        Some(operands)
    }
}

impl Judge<'_> {
    pub(super) fn installs(&mut self, run: &Run<'_>) {
        for call in &run.calls {
            self.versions(run, call);
            self.unverified(run, call);
            self.upgrades(run, call);
        }
        self.caches(run);
    }

    fn versions(&mut self, run: &Run<'_>, call: &Call) {
        let command = &call.command;
        for manager in &MANAGERS {
            let Some(packages) = manager.packages(command) else { continue };
            // A version beside the names counts for them.
            if command.name() == "gem"
                && (command.has_flag("--version") || command.arguments().any(|w| w == "-v"))
            {
                continue;
            }
            let loose =
                packages.into_iter().filter(|word| !is_open(word) && !(manager.is_pinned)(&word.text));
            self.say_loose(manager.rule, run, call, loose.map(|word| word.text.as_str()).collect());
        }
        if let Some(pip) = pip_install(command) {
            let has_file =
                ["-r", "--requirement", "-c", "--constraint"].iter().any(|flag| pip.has_flag(flag));
            let packages = pip.operands(&PIP_VALUED);
            let loose = packages
                .iter()
                .skip(1)
                .filter(|word| !has_file && !is_open(word) && !is_pip_pinned(&word.text));
            self.say_loose("DL3013", run, call, loose.map(|word| word.text.as_str()).collect());
        }
    }

    fn say_loose(&mut self, rule: &str, run: &Run<'_>, call: &Call, loose: Vec<&str>) {
        const SHOWN_MAX: usize = 5;
        if loose.is_empty() {
            return;
        }
        let mut shown =
            loose.iter().take(SHOWN_MAX).map(|name| format!("{name:?}")).collect::<Vec<_>>().join(", ");
        if loose.len() > SHOWN_MAX {
            shown.push_str(&format!(" and {} more", loose.len() - SHOWN_MAX));
        }
        let verb = if loose.len() == 1 { "has" } else { "have" };
        self.say(rule, run.instruction, call.place, format!("{shown} {verb} no version"));
    }

    fn unverified(&mut self, run: &Run<'_>, call: &Call) {
        let command = &call.command;
        let name = command.name();
        let flags: &[&str] = match name {
            _ if APT.contains(&name) => {
                &["--allow-unauthenticated", "--force-yes", "--allow-insecure-repositories"]
            }
            "yum" => &["--nogpgcheck"],
            _ if DNF.contains(&name) => &["--nogpgcheck", "--no-gpgchecks"],
            "zypper" => &["--no-gpg-checks", "--no-gpg-check", "--allow-unsigned-rpm"],
            "apk" => &["--allow-untrusted"],
            "rpm" => &["--nosignature", "--nodigest"],
            "conda" | "mamba" | "micromamba" => &["--insecure", "-k"],
            _ if pip_install(command).is_some() => &["--trusted-host"],
            _ => &[],
        };
        let mut reason = flags.iter().find(|flag| command.has_flag(flag)).map(|flag| (*flag).to_owned());
        let has =
            |words: &[&str]| words.iter().all(|word| command.arguments().any(|argument| argument == *word));
        if matches!(name, "npm" | "yarn" | "pnpm")
            && (has(&["config", "set", "strict-ssl", "false"])
                || command.arguments().any(|word| word == "strict-ssl=false" || word == "--strict-ssl=false"))
        {
            reason = Some("strict-ssl=false".to_owned());
        }
        if let Some(word) = command.arguments().find(|word| {
            let word = word.to_ascii_lowercase();
            word.contains("[trusted=yes]")
                || word.contains("allowinsecurerepositories=true")
                || word.contains("allowunauthenticated=true")
                || word.starts_with("--setopt=sslverify=")
                    && matches!(&word["--setopt=sslverify=".len()..], "0" | "false")
        }) {
            reason = Some(word.to_owned());
        }
        if let Some(reason) = reason {
            let shown: String = reason.chars().take(60).collect();
            self.say("unverified-package", run.instruction, call.place, format!("{name} with {shown}"));
        }
    }

    fn upgrades(&mut self, run: &Run<'_>, call: &Call) {
        let command = &call.command;
        if command.name() == "zypper"
            && command
                .operands(&[])
                .first()
                .is_some_and(|word| ["dist-upgrade", "dup"].contains(&word.text.as_str()))
        {
            self.say("DL3035", run.instruction, call.place, "zypper takes all that is newer".into());
        }
    }

    /// What stays behind in the layer, told only of stages that end up in an image.
    fn caches(&mut self, run: &Run<'_>) {
        let instruction = run.instruction;
        let removes = |directory: &str| {
            run.calls(&["rm", "find"]).any(|call| {
                call.command.arguments().any(|word| {
                    let word = word.trim_end_matches(['*', '/']);
                    !word.is_empty()
                        && word.starts_with('/')
                        && (word == directory
                            || word.starts_with(directory) && { word[directory.len()..].starts_with('/') }
                            || directory.starts_with(word))
                })
            })
        };
        let calls_verb = |programs: &[&str], verbs: &[&str]| {
            run.calls(programs).find(|call| {
                call.command
                    .operands(APT_VALUED)
                    .first()
                    .is_some_and(|word| verbs.contains(&word.text.as_str()))
            })
        };
        if let Some(call) = calls_verb(APT, &["update"])
            && !removes("/var/lib/apt/lists")
            && !run.mounts_over("/var/lib/apt")
        {
            let message = "apt-get update leaves /var/lib/apt/lists".to_owned();
            self.hold_back("DL3009", instruction, call.place, message);
        }
        let without_recommends = run.calls(APT).find(|call| {
            MANAGERS[0].packages(&call.command).is_some_and(|packages| !packages.is_empty())
                && !call.command.has_flag("--no-install-recommends")
                && !call.command.arguments().any(|word| {
                    let word = word.to_ascii_lowercase();
                    word.contains("install-recommends=0") || word.contains("install-recommends=false")
                })
        });
        if let Some(call) = without_recommends {
            let message = "apt-get install takes what is recommended too".to_owned();
            self.hold_back("DL3015", instruction, call.place, message);
        }
        if let Some(call) = run.calls(&["apk"]).find(|call| {
            MANAGERS[1].packages(&call.command).is_some() && !call.command.has_flag("--no-cache")
        }) && !removes("/var/cache/apk")
            && !run.mounts_over("/var/cache/apk")
            && !run.mounts_over("/etc/apk/cache")
        {
            self.hold_back("DL3019", instruction, call.place, "apk add leaves /var/cache/apk".into());
        }
        let rpm: [(&str, &[&str], &[&str], &str); 3] = [
            ("DL3032", &["yum"], &["install", "update", "upgrade"], "/var/cache/yum"),
            ("DL3040", DNF, &["install", "update", "upgrade"], "/var/cache/dnf"),
            ("DL3036", &["zypper"], &["install", "in", "update", "up"], "/var/cache/zypp"),
        ];
        for (rule, programs, verbs, directory) in rpm {
            let Some(call) = calls_verb(programs, verbs) else { continue };
            let cleans = calls_verb(programs, &["clean", "cc"]).is_some()
                || (rule == "DL3040" && calls_verb(&["yum"], &["clean"]).is_some())
                || (rule == "DL3032" && calls_verb(DNF, &["clean"]).is_some());
            let keeps = call.command.arguments().any(|word| word == "--setopt=keepcache=0");
            // microdnf and dnf share a directory by the distribution's choice, so it is the program's own word that counts.
            if !cleans && !keeps && !removes(directory) && !run.mounts_over(directory) {
                let message = format!("{} leaves {directory}", call.command.name());
                self.hold_back(rule, instruction, call.place, message);
            }
        }
        let keeps_none = self.stage().is_some_and(|stage| stage.pip_keeps_no_cache);
        let pip = run.calls.iter().find(|call| {
            pip_install(&call.command).is_some_and(|pip| {
                !pip.has_flag("--no-cache-dir")
                    && !call.command.environment.iter().any(|word| {
                        word.strip_prefix("PIP_NO_CACHE_DIR=").is_some_and(|value| {
                            !matches!(&*value.to_ascii_lowercase(), "0" | "false" | "no" | "off" | "")
                        })
                    })
            })
        });
        if let Some(call) = pip
            && !keeps_none
            && !run.mounts_over(".cache")
            && !run.mounts_over("/cache")
            && !removes("/root/.cache")
        {
            self.hold_back("DL3042", instruction, call.place, "pip install leaves its cache".into());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{is_npm_pinned, is_pip_pinned, is_rpm_pinned};

    #[test]
    fn versions_are_known_by_each_managers_grammar() {
        let npm = |word: &str, expect: bool| assert_eq!(is_npm_pinned(word), expect, "npm {word}");
        npm("left-pad", false);
        npm("left-pad@1.3.0", true);
        npm("left-pad@latest", false);
        npm("@scope/name", false);
        npm("@scope/name@2", true);
        npm("./local", true);
        npm("git+https://example.org/a.git", false);
        npm("git+https://example.org/a.git#abc", true);
        let pip = |word: &str, expect: bool| assert_eq!(is_pip_pinned(word), expect, "pip {word}");
        pip("numpy", false);
        pip("numpy==2.1", true);
        pip("numpy[extra]>=2", true);
        pip(".", true);
        pip("git+https://example.org/a/b", false);
        pip("git+https://example.org/a/b@v1", true);
        let rpm = |word: &str, expect: bool| assert_eq!(is_rpm_pinned(word), expect, "rpm {word}");
        rpm("httpd", false);
        rpm("httpd-2.4.6", true);
        rpm("python3-devel", false);
        rpm("python3-devel-3.9.1", true);
        rpm("https://example.org/a.rpm", true);
    }
}
