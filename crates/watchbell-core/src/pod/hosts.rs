//! `/etc/hosts` and the name that `hostname` prints.

use std::fmt::Write as _;

use watchbell_api::types::pod::HostAlias;

/// Kubernetes cuts host names here; the kernel would take 64.
pub const HOSTNAME_BYTES_MAX: usize = 63;

/// Cuts a name to what a host name may be.
pub fn short_hostname(name: &str) -> &str {
    if name.len() <= HOSTNAME_BYTES_MAX {
        return name;
    }
    name[..name.floor_char_boundary(HOSTNAME_BYTES_MAX)].trim_end_matches(['-', '.'])
}

/// The file of a pod with `hostAliases`. A line break in a name cannot forge a line.
pub fn hosts(hostname: &str, aliases: &[HostAlias]) -> String {
    let mut text = format!("127.0.0.1\tlocalhost\n::1\tlocalhost\n127.0.0.1\t{hostname}\n");
    for alias in aliases {
        let words = std::iter::once(&alias.ip).chain(&alias.hostnames);
        let clean: Vec<String> =
            words.map(|w| w.chars().filter(|c| !c.is_whitespace() && !c.is_control()).collect()).collect();
        let _ = writeln!(text, "{}", clean.join("\t"));
    }
    text
}
