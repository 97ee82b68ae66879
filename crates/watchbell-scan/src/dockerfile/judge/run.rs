//! What a RUN does, but for package managers.

use super::{Call, Judge, Run};
use crate::dockerfile::shell::{Command, SHELLS, Script};

/// Programs that fetch.
const FETCHERS: [&str; 6] = ["curl", "wget", "fetch", "aria2c", "lwp-download", "http"];
/// Programs besides shells that run what comes by standard input.
const INTERPRETERS: [&str; 8] = ["python", "python3", "perl", "ruby", "node", "php", "lua", "pwsh"];
/// Programs that compare what was fetched with what was expected.
const CHECKERS: [&str; 11] = [
    "sha256sum",
    "sha384sum",
    "sha512sum",
    "shasum",
    "b2sum",
    "gpg",
    "gpgv",
    "cosign",
    "minisign",
    "openssl",
    "slsa-verifier",
];

impl Judge<'_> {
    pub(super) fn run(&mut self, run: &Run<'_>) {
        let instruction = run.instruction;
        self.insecure(run);
        if let Some((_, place)) = run.written.iter().find(|(name, _)| name == "sudo") {
            self.say("DL3004", instruction, *place, "the command is started by sudo".into());
        }
        self.pipes(run);
        self.downloads(run);
        self.modes(run);
        self.mounted_secrets(run);
        self.installs(run);
    }

    fn insecure(&mut self, run: &Run<'_>) {
        let instruction = run.instruction;
        for (name, value) in [("security", "insecure"), ("network", "host")] {
            if instruction.flag(name) == Some(value) {
                let message = format!("--{name}={value}");
                self.say("run-insecure", instruction, instruction.place, message);
            }
        }
        let ssh = run.calls.iter().find(|call| {
            call.command.words.iter().any(|word| {
                let text = word.text.to_ascii_lowercase();
                ["stricthostkeychecking=no", "stricthostkeychecking no", "userknownhostsfile=/dev/null"]
                    .iter()
                    .any(|sign| text.contains(sign))
            })
        });
        if let Some(place) = ssh.map(|call| call.place) {
            let message = "SSH is told to take any key for the host's".to_owned();
            self.say("ssh-host-unchecked", instruction, place, message);
        }
    }

    fn pipes(&mut self, run: &Run<'_>) {
        let instruction = run.instruction;
        let sets_pipefail =
            run.calls(&["set"]).any(|call| call.command.arguments().any(|word| word == "pipefail"))
                || run.calls.iter().any(|call| {
                    SHELLS.contains(&call.command.name())
                        && call.command.arguments().any(|word| word == "pipefail")
                });
        let stage_has_it = self.stage().is_some_and(|stage| stage.has_pipefail);
        if run.has_pipe
            && !sets_pipefail
            && !stage_has_it
            && let Some(call) = run.calls.iter().find(|call| call.command.feeds)
        {
            let message = format!("{:?} may fail unseen", call.command.name());
            self.say("DL4006", instruction, call.place, message);
        }
        for (at, call) in run.calls.iter().enumerate() {
            if let Some(fetcher) = runs_fetched(&run.calls, at) {
                let message = format!("{} runs what {fetcher} fetches", call.command.name());
                self.say("pipe-to-shell", instruction, call.place, message);
            }
        }
    }

    fn downloads(&mut self, run: &Run<'_>) {
        let instruction = run.instruction;
        let is_checked = run.calls(&CHECKERS).next().is_some();
        for call in &run.calls {
            let command = &call.command;
            let mut reasons = Vec::new();
            match command.name() {
                "curl" if command.has_flag("-k") || command.has_flag("--insecure") => {
                    reasons.push("curl takes any certificate".to_owned());
                }
                "wget" if command.has_flag("--no-check-certificate") => {
                    reasons.push("wget takes any certificate".to_owned());
                }
                "git" if command.arguments().any(is_git_unchecked) => {
                    reasons.push("git takes any certificate".to_owned());
                }
                _ => {}
            }
            let git_unchecked = command
                .environment
                .iter()
                .any(|word| word == "GIT_SSL_NO_VERIFY=1" || word == "GIT_SSL_NO_VERIFY=true");
            if git_unchecked {
                reasons.push("git takes any certificate".to_owned());
            }
            if FETCHERS.contains(&command.name())
                && !is_checked
                && let Some(url) = command.arguments().find(|word| is_plain_http(word))
            {
                reasons.push(format!("{url:?} comes without TLS"));
            }
            if command.name() == "wget"
                && ![
                    "--progress",
                    "-q",
                    "--quiet",
                    "-nv",
                    "--no-verbose",
                    "-o",
                    "--output-file",
                    "-a",
                    "--append-output",
                ]
                .iter()
                .any(|flag| command.has_flag(flag))
                && command.words.len() > 1
            {
                self.say("DL3047", instruction, call.place, "wget shows its progress".into());
            }
            for reason in reasons {
                self.say("unverified-download", instruction, call.place, reason);
            }
        }
    }

    fn modes(&mut self, run: &Run<'_>) {
        let instruction = run.instruction;
        for call in &run.calls {
            let command = &call.command;
            let mode = match command.name() {
                "chmod" => command.operands(&["--reference"]).first().map(|word| word.text.clone()),
                "install" => mode_of_install(command),
                "setcap" => {
                    let message = "setcap gives a file capabilities".to_owned();
                    self.say("setuid-made", instruction, call.place, message);
                    None
                }
                _ => None,
            };
            let Some(mode) = mode else { continue };
            if is_world_writable(&mode) {
                let message = format!("mode {mode} lets everybody write");
                self.say("world-writable", instruction, call.place, message);
            }
            if sets_ids(&mode) {
                let message = format!("mode {mode} sets the user or group of who runs it");
                self.say("setuid-made", instruction, call.place, message);
            }
        }
    }

    fn mounted_secrets(&mut self, run: &Run<'_>) {
        let instruction = run.instruction;
        let mut targets = Vec::new();
        for flag in instruction.flags.iter().filter(|flag| flag.name == "mount") {
            let mut parts = flag.value.split(',').filter_map(|part| part.split_once('='));
            if !parts.clone().any(|part| part == ("type", "secret")) {
                continue;
            }
            let target = parts.find(|(name, _)| ["target", "dst", "destination"].contains(name));
            targets.push(target.map_or("/run/secrets/", |(_, path)| path).to_owned());
        }
        for call in run.calls(&["cp", "mv", "install", "ln"]) {
            let operands = call.command.operands(&["-m", "--mode", "-o", "-g", "-t"]);
            let Some((_, sources)) = operands.split_last() else { continue };
            let copied =
                sources.iter().find(|word| targets.iter().any(|target| word.text.starts_with(target)));
            if let Some(word) = copied {
                let message = format!("{:?} is copied out of its mount", word.text);
                self.say("mount-secret-copied", instruction, call.place, message);
            }
        }
    }
}

/// The fetcher whose output the call at that place runs.
fn runs_fetched(calls: &[Call], at: usize) -> Option<String> {
    let command = &calls[at].command;
    let name = command.name();
    let is_shell = SHELLS.contains(&name);
    let is_reader = is_shell || ["eval", "source", "."].contains(&name);
    let fetched_inside = || {
        command.substituted.iter().find_map(|text| {
            let script = Script::parse(text);
            script.commands.iter().map(Command::unwrapped).find_map(|inner| fetcher(&inner))
        })
    };
    if is_reader && let Some(fetcher) = fetched_inside() {
        return Some(fetcher);
    }
    if !command.is_fed || !(is_shell || INTERPRETERS.contains(&name)) {
        return None;
    }
    // `python -c …` and `sh file` read their input as data.
    let reads_input = match command.operands(&["-o", "-O"]).first() {
        None => !command.has_flag("-c") && !command.has_flag("-m") && !command.has_flag("-e"),
        Some(word) => word.text == "-" || (is_shell && command.has_flag("-s")),
    };
    if !reads_input {
        return None;
    }
    let mut before = at;
    while calls[before].command.is_fed {
        before = before.checked_sub(1)?;
        if let Some(fetcher) = fetcher(&calls[before].command) {
            return Some(fetcher);
        }
    }
    None
}

fn fetcher(command: &Command) -> Option<String> {
    FETCHERS.contains(&command.name()).then(|| command.name().to_owned())
}

fn is_plain_http(word: &str) -> bool {
    let Some(rest) = word.strip_prefix("http://") else { return false };
    let host = rest.split(['/', ':', '?', '#']).next().unwrap_or_default();
    !matches!(host, "localhost" | "127.0.0.1" | "[" | "") && !host.starts_with('$')
}

fn is_git_unchecked(word: &str) -> bool {
    word.eq_ignore_ascii_case("http.sslverify=false")
}

fn mode_of_install(command: &Command) -> Option<String> {
    let mut words = command.arguments();
    while let Some(word) = words.next() {
        if word == "-m" || word == "--mode" {
            return words.next().map(str::to_owned);
        }
        if let Some(mode) = word.strip_prefix("--mode=").or_else(|| word.strip_prefix("-m")) {
            return Some(mode.to_owned());
        }
    }
    None
}

/// A numeric mode.
fn octal(mode: &str) -> Option<u32> {
    u32::from_str_radix(mode, 8).ok().filter(|_| mode.len() <= 5)
}

/// A mode of chmod that lets others write, but for a directory whose files only their owners remove (as /tmp).
pub(super) fn is_world_writable(mode: &str) -> bool {
    if let Some(bits) = octal(mode) {
        return bits & 0o002 != 0 && bits & 0o1000 == 0;
    }
    let is_sticky =
        mode.split(',').any(|clause| clause.starts_with(['+', 'a', 'o']) && clause.ends_with('t'));
    !is_sticky
        && mode.split(',').any(|clause| {
            clause.split_once(['+', '=']).is_some_and(|(who, what)| {
                who.bytes().all(|byte| b"ugoa".contains(&byte))
                    && who.contains(['o', 'a'])
                    && what.contains('w')
            })
        })
}

/// A mode of chmod that sets the set-user-ID or set-group-ID bit.
pub(super) fn sets_ids(mode: &str) -> bool {
    if let Some(bits) = octal(mode) {
        return bits & 0o6000 != 0;
    }
    mode.split(',').any(|clause| {
        clause.split_once(['+', '=']).is_some_and(|(who, what)| {
            who.bytes().all(|byte| b"ugoa".contains(&byte))
                && what.bytes().all(|byte| b"rwxXst".contains(&byte))
                && what.contains('s')
        })
    })
}

#[cfg(test)]
mod tests {
    use super::{is_world_writable, sets_ids};

    #[test]
    fn modes_are_read_as_chmod_reads_them() {
        let check = |mode: &str, writable: bool, ids: bool| {
            assert_eq!((is_world_writable(mode), sets_ids(mode)), (writable, ids), "{mode}");
        };
        check("777", true, false);
        check("0666", true, false);
        check("1777", false, false);
        check("755", false, false);
        check("4755", false, true);
        check("2755", false, true);
        check("6777", true, true);
        check("a+w", true, false);
        check("go=rw", true, false);
        check("ug+w", false, false);
        check("u+s", false, true);
        check("+x", false, false);
        check("u=rwx,g+s", false, true);
        check("a+rwxt", false, false);
        check("$MODE", false, false);
    }
}
