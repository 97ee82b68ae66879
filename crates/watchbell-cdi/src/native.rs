//! Hooks whose work is done without running them.
//!
//! NVIDIA's generated specs name `nvidia-cdi-hook` (before: `nvidia-ctk hook`), which changes the container's root as root of
//! the host. A taken-over image has tricked it (CVE-2024-0132, CVE-2025-23266), and what it does is small, so it is done here
//! by other means:
//!
//! | hook | done by |
//! |---|---|
//! | `create-symlinks` | links in the layer below the image; what the image has itself stays |
//! | `update-ldcache`, `create-soname-symlinks` | links by SONAME, and `LD_LIBRARY_PATH` |
//! | `chmod` | directories on the way to device nodes are open anyway |
//! | `disable-device-node-modification` | no task makes device nodes: no capability, and /dev is read-only |
//! | `enable-cuda-compat` | left out: which of the image's libraries is loaded is the image's own choice |

use crate::edits::Hook;
use crate::hand_out::Link;

/// What a hook would have done.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Work {
    pub links: Vec<Link>,
    pub library_dirs: Vec<String>,
}

/// The work of a hook that is known; `None`: another program.
pub fn understand(hook: &Hook) -> Option<Result<Work, String>> {
    let program = hook.path.rsplit('/').next()?;
    let mut args = hook.args.iter().skip(1).map(String::as_str);
    let name = match program {
        "nvidia-cdi-hook" => args.next()?,
        "nvidia-ctk" => {
            if args.next()? != "hook" {
                return None;
            }
            args.next()?
        }
        _ => return None,
    };
    let work = |flags: &[&str]| options(args, flags);
    Some(match name {
        "create-symlinks" => work(&["link"]).and_then(|given| {
            let links = given.into_iter().map(|(_, value)| link(value)).collect::<Result<_, _>>()?;
            Ok(Work { links, ..Work::default() })
        }),
        "update-ldcache" | "create-soname-symlinks" => work(&["folder", "ldconfig-path", "container-spec"])
            .and_then(|given| {
                let dirs =
                    given.into_iter().filter(|(flag, _)| *flag == "folder").map(|(_, value)| folder(value));
                Ok(Work { library_dirs: dirs.collect::<Result<_, _>>()?, ..Work::default() })
            }),
        "chmod" => work(&["mode", "path", "container-spec"]).and_then(|given| {
            let is_mode = |(flag, value): &(&str, &str)| *flag == "mode" && !["755", "0755"].contains(value);
            let is_path = |(flag, value): &(&str, &str)| *flag == "path" && !value.starts_with("/dev/");
            match given.iter().find(|one| is_mode(one) || is_path(one)) {
                Some((flag, value)) => {
                    Err(format!("chmod with {flag} {value} is not done; 755 below /dev is"))
                }
                None => Ok(Work::default()),
            }
        }),
        "disable-device-node-modification" | "enable-cuda-compat" => Ok(Work::default()),
        _ => return None,
    })
}

/// `--flag value` and `--flag=value`.
fn options<'a>(
    mut args: impl Iterator<Item = &'a str>,
    known: &[&str],
) -> Result<Vec<(&'a str, &'a str)>, String> {
    let mut given = Vec::new();
    while let Some(arg) = args.next() {
        let Some(flag) = arg.strip_prefix("--") else {
            return Err(format!("argument {arg:?} is not understood"));
        };
        let (flag, value) = match flag.split_once('=') {
            Some((flag, value)) => (flag, value),
            None => (flag, args.next().ok_or_else(|| format!("--{flag} lacks its value"))?),
        };
        if !known.contains(&flag) {
            return Err(format!("--{flag} is not understood"));
        }
        given.push((flag, value));
    }
    Ok(given)
}

/// `target::path`
fn link(value: &str) -> Result<Link, String> {
    match value.split_once("::") {
        Some((target, path)) if !target.is_empty() && path.starts_with('/') => {
            Ok(Link { path: path.to_owned(), target: target.to_owned() })
        }
        _ => Err(format!("--link {value:?} is not target::/path")),
    }
}

fn folder(value: &str) -> Result<String, String> {
    // Two of them would be read as two directories, and an empty one as the working directory.
    if value.starts_with('/') && !value.contains(':') {
        Ok(value.to_owned())
    } else {
        Err(format!("--folder {value:?} is no absolute path"))
    }
}
