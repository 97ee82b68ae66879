//! The rules, each with its reason and the way out. docs/lint.md shows the same table, and a test compares them.

/// How bad a finding is. What hadolint calls info is a note here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    Note,
    Warning,
    Error,
}

/// One rule.
#[derive(Debug)]
pub struct Rule {
    /// hadolint's number where it has the rule, else a name of ours.
    pub id: &'static str,
    pub level: Level,
    /// What is wrong where it speaks.
    pub summary: &'static str,
    pub why: &'static str,
    pub way_out: &'static str,
}

const fn rule(
    id: &'static str,
    level: Level,
    summary: &'static str,
    why: &'static str,
    way_out: &'static str,
) -> Rule {
    Rule { id, level, summary, why, way_out }
}

/// By number, then ours.
#[rustfmt::skip]
pub static RULES: [Rule; 46] = [
    rule("DL3000", Level::Error, "a WORKDIR that is relative", "where it leads depends on the base image, which may change", "write the whole path"),
    rule("DL3002", Level::Warning, "the last USER of a stage is root", "a mistake of the program is root's mistake", "end the stage with a USER that is not root"),
    rule("DL3004", Level::Error, "sudo in a RUN", "it is one more setuid program in the image, and changes the environment as its configuration says", "switch by USER, or use a program that only drops rights"),
    rule("DL3006", Level::Warning, "a base image without tag or digest", "what is built is what somebody pushed last", "write name:tag, best with its digest"),
    rule("DL3007", Level::Warning, "a base image with the tag latest", "what is built is what somebody pushed last", "name a version, best with its digest"),
    rule("DL3008", Level::Warning, "apt-get installs a package without a version", "the same file builds another image tomorrow", "write package=version, or build from a snapshot of the archive"),
    rule("DL3009", Level::Note, "the lists of apt stay in the layer", "they are dead weight and tell which mirror was used", "end the same RUN with rm -rf /var/lib/apt/lists/*, or mount a cache there"),
    rule("DL3013", Level::Warning, "pip installs a package without a version", "the same file builds another image tomorrow, with whatever was published meanwhile", "write package==version, or a requirements file with hashes"),
    rule("DL3015", Level::Note, "apt-get installs what packages only recommend", "what nobody asked for is there to be attacked", "add --no-install-recommends"),
    rule("DL3016", Level::Warning, "npm installs a package without a version", "the same file builds another image tomorrow, with whatever was published meanwhile", "write package@version, or use npm ci with a lock file"),
    rule("DL3018", Level::Warning, "apk adds a package without a version", "the same file builds another image tomorrow", "write package=version"),
    rule("DL3019", Level::Note, "apk leaves its index in the layer", "it is dead weight", "add --no-cache"),
    rule("DL3020", Level::Error, "ADD for files and directories of the context", "ADD also unpacks and downloads, whatever the name happens to be", "use COPY"),
    rule("DL3022", Level::Warning, "COPY --from names no earlier stage", "an image that is named only there is easily overlooked when versions are pinned", "give it a FROM of its own, with version and alias"),
    rule("DL3023", Level::Error, "COPY --from names its own stage", "a stage cannot copy from itself", "name an earlier stage"),
    rule("DL3024", Level::Error, "two stages have one name", "which of them is copied from depends on the place", "give each stage a name of its own"),
    rule("DL3026", Level::Error, "a base image of a registry that is not trusted", "what is built upon was not chosen by who answers for it", "take it from a registry that --trusted-registry names"),
    rule("DL3028", Level::Warning, "gem installs a package without a version", "the same file builds another image tomorrow, with whatever was published meanwhile", "write gem:version or -v version"),
    rule("DL3032", Level::Warning, "the cache of yum stays in the layer", "it is dead weight", "end the same RUN with yum clean all"),
    rule("DL3033", Level::Warning, "yum installs a package without a version", "the same file builds another image tomorrow", "write package-version"),
    rule("DL3035", Level::Warning, "zypper dist-upgrade in a RUN", "what the image holds depends on the day it was built", "take a newer base image"),
    rule("DL3036", Level::Warning, "the cache of zypper stays in the layer", "it is dead weight", "end the same RUN with zypper clean"),
    rule("DL3037", Level::Warning, "zypper installs a package without a version", "the same file builds another image tomorrow", "write package=version"),
    rule("DL3040", Level::Warning, "the cache of dnf stays in the layer", "it is dead weight", "end the same RUN with dnf clean all"),
    rule("DL3041", Level::Warning, "dnf installs a package without a version", "the same file builds another image tomorrow", "write package-version"),
    rule("DL3042", Level::Warning, "the cache of pip stays in the layer", "it is dead weight", "add --no-cache-dir, or mount a cache"),
    rule("DL3043", Level::Error, "ONBUILD with an instruction that it cannot have", "the build that is to trigger it fails", "take ONBUILD, FROM and MAINTAINER out of it"),
    rule("DL3047", Level::Note, "wget with its progress bar", "a log of many lines hides what matters in it", "add --progress=dot:giga or -q"),
    rule("DL3061", Level::Error, "an instruction before the first FROM", "there is nothing yet that it could apply to", "begin with FROM or ARG"),
    rule("DL3062", Level::Warning, "go installs a package without a version", "the same file builds another image tomorrow, with whatever was published meanwhile", "write package@version"),
    rule("DL3064", Level::Warning, "an ARG or ENV that by its name holds a secret", "both stay readable in the image: ENV in its configuration, ARG in its history", "mount it: RUN --mount=type=secret, or give it when the container starts"),
    rule("DL4006", Level::Warning, "a pipe without pipefail", "where an early command fails, the build goes on with what little it wrote", "write SHELL [\"/bin/bash\", \"-o\", \"pipefail\", \"-c\"] before it, or set -o pipefail"),
    rule("add-checksum", Level::Warning, "ADD of a URL without a checksum", "whoever serves the URL decides what is in the image", "add --checksum=sha256:…, or for a repository a whole commit"),
    rule("dockerfile", Level::Error, "a line that no builder takes", "the build ends there", "correct the line"),
    rule("from-digest", Level::Note, "a base image with a tag and no digest", "a tag can be moved; a digest is the content", "write name:tag@sha256:digest"),
    rule("mount-secret-copied", Level::Warning, "a mounted secret is written into the layer", "what a layer holds stays there, also when a later one deletes it", "use it where it is mounted"),
    rule("pipe-to-shell", Level::Error, "what was downloaded is run unseen", "whoever serves it, or stands on the way, runs code in the build; a cut connection runs half of it", "download to a file, compare its checksum, then run it"),
    rule("run-insecure", Level::Warning, "a RUN with more rights than a build has", "it reaches the machine that builds, or its network", "leave --security=insecure and --network=host out"),
    rule("secret-copied", Level::Error, "a file that by its name holds secrets is copied in", "everybody who can pull the image can read it", "mount it: RUN --mount=type=secret"),
    rule("secret-in-dockerfile", Level::Error, "what looks like a secret stands in the file", "everybody who can read the file, or the image's history, can read it", "revoke it, and mount the new one: RUN --mount=type=secret"),
    rule("setuid-made", Level::Warning, "a file gets the set-user-ID or set-group-ID bit, or a capability", "whoever runs it gets rights that they do not have", "give the rights to the container that needs them"),
    rule("ssh-host-unchecked", Level::Warning, "the keys of SSH hosts are not checked", "whoever stands on the way answers in the host's place", "COPY a known_hosts file whose keys you compared"),
    rule("unverified-download", Level::Warning, "a download without a check of the other side's certificate, or without TLS", "whoever stands on the way decides what arrives", "use https with its check, or compare a checksum in the same RUN"),
    rule("unverified-package", Level::Warning, "a package manager is told not to check signatures or certificates", "whoever stands on the way decides what is installed", "import the publisher's key, or the authority's certificate, and leave the flag out"),
    rule("no-user", Level::Note, "no stage that is run has a USER", "without one, most base images run as root", "end the file with a USER that is not root"),
    rule("world-writable", Level::Warning, "a file is made writable for everybody", "any program in the container can change what another one runs", "give it to the one user that writes it"),
];

/// The rule of that name.
///
/// # Panics
/// When there is none: names are written in this module's neighbours, and their tests use each.
pub(super) fn named(id: &str) -> &'static Rule {
    RULES.iter().find(|rule| rule.id == id).expect("a rule of the table")
}
