//! What is executed: the pod's words or the image's.

use watchbell_api::types::pod::Container;

use super::{ConfigError, expand};

/// | `command` | `args` | executed |
/// |---|---|---|
/// | –  | –  | image's Entrypoint + Cmd |
/// | –  | A  | image's Entrypoint + A |
/// | C  | –  | C |
/// | C  | A  | C + A |
///
/// `$(NAME)` reads the container's own variables, not the image's.
pub fn command(
    container: &Container,
    entrypoint: &[String],
    cmd: &[String],
    env: &[(String, String)],
) -> Result<Vec<String>, ConfigError> {
    // The last definition of a name counts.
    let find = |name: &str| env.iter().rev().find(|(n, _)| n == name).map(|(_, v)| v.as_str());
    let own = |words: &[String]| words.iter().map(|w| expand(w, find)).collect::<Vec<_>>();
    let mut argv = own(&container.command);
    if container.command.is_empty() {
        argv.extend_from_slice(entrypoint);
    }
    if !container.args.is_empty() {
        argv.extend(own(&container.args));
    } else if container.command.is_empty() {
        argv.extend_from_slice(cmd);
    }
    match argv.first() {
        Some(program) if !program.is_empty() => Ok(argv),
        Some(_) => Err(ConfigError(format!(
            "the command of container {:?} begins with an empty word",
            container.name
        ))),
        None => Err(ConfigError(format!(
            "no command specified: container {:?} has no command and its image neither Entrypoint nor Cmd; set command",
            container.name
        ))),
    }
}
