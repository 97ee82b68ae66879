//! Who a container runs as.

use watchbell_api::types::pod::{Container, PodSpec};

use super::ConfigError;

/// The user that the pod or the image asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WantedUser {
    /// A number, or a name of the image's /etc/passwd.
    pub user: String,
    /// A number, or a name of the image's /etc/group; empty: the user's primary group.
    pub group: String,
    /// Whether the number was the pod's own word.
    is_stated: bool,
}

/// User, group and supplementary groups as numbers, and the home directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    pub uid: u32,
    pub gid: u32,
    pub groups: Vec<u32>,
    /// From /etc/passwd; `/` without an entry.
    pub home: String,
}

/// The image's files of names, where it has them.
pub type Names<'a> = (&'a str, &'a str);

/// `runAsUser` and `runAsGroup` of container or pod, else the image's User.
pub fn wanted_user(spec: &PodSpec, container: &Container, image_user: &str) -> WantedUser {
    let (own, pod) = (&container.security_context, &spec.security_context);
    let stated_user = own.run_as_user.or(pod.run_as_user);
    let stated_group = own.run_as_group.or(pod.run_as_group);
    let (image_name, image_group) = image_user.split_once(':').unwrap_or((image_user, ""));
    WantedUser {
        user: match stated_user {
            Some(uid) => uid.to_string(),
            None if image_name.is_empty() => "0".to_owned(),
            None => image_name.to_owned(),
        },
        group: match (stated_group, stated_user) {
            (Some(gid), _) => gid.to_string(),
            (None, None) => image_group.to_owned(),
            // The image's group goes with the image's user.
            (None, Some(_)) => String::new(),
        },
        is_stated: stated_user.is_some(),
    }
}

/// Makes numbers of it. `passwd` and `group` are the image's files, empty where it has none; lines that make no sense are
/// passed over.
pub fn identity(
    spec: &PodSpec,
    container: &Container,
    wanted: &WantedUser,
    (passwd, group): Names<'_>,
) -> Result<Identity, ConfigError> {
    let number = wanted.user.parse::<u32>().ok();
    let entry = passwd.lines().filter_map(PasswdLine::parse).find(|line| match number {
        Some(uid) => line.uid == uid,
        None => line.name == wanted.user,
    });
    let uid = number.or(entry.map(|e| e.uid)).ok_or_else(|| {
        ConfigError(format!(
            "unable to find user {}: no matching entries in the image's /etc/passwd; set runAsUser",
            wanted.user
        ))
    })?;
    let gid = if wanted.group.is_empty() {
        entry.map_or(0, |e| e.gid)
    } else {
        let by_name =
            || group.lines().filter_map(GroupLine::parse).find(|g| g.name == wanted.group).map(|g| g.gid);
        wanted.group.parse().ok().or_else(by_name).ok_or_else(|| {
            ConfigError(format!(
                "unable to find group {}: no matching entries in the image's /etc/group; set runAsGroup",
                wanted.group
            ))
        })?
    };
    check_not_root(spec, container, wanted, uid)?;
    let mut groups: Vec<u32> = Vec::new();
    let context = &spec.security_context;
    let stated =
        context.supplemental_groups.iter().chain(&context.fs_group).filter_map(|g| u32::try_from(*g).ok());
    // Kubernetes' default, `supplementalGroupsPolicy: Merge`: the image's groups of this user count too.
    let of_image = entry.into_iter().flat_map(|entry| {
        group.lines().filter_map(GroupLine::parse).filter(move |g| g.has_member(entry.name)).map(|g| g.gid)
    });
    for gid in stated.chain(of_image) {
        if !groups.contains(&gid) {
            groups.push(gid);
        }
    }
    let home = entry.map(|e| e.home).filter(|h| h.starts_with('/')).unwrap_or("/");
    Ok(Identity { uid, gid, groups, home: home.to_owned() })
}

/// `runAsNonRoot`: a name cannot be trusted, as the image decides what it means.
fn check_not_root(
    spec: &PodSpec,
    container: &Container,
    wanted: &WantedUser,
    uid: u32,
) -> Result<(), ConfigError> {
    let must = container.security_context.run_as_non_root.or(spec.security_context.run_as_non_root);
    if must != Some(true) {
        return Ok(());
    }
    if wanted.is_stated {
        return if uid == 0 {
            Err(ConfigError("container's runAsUser breaks non-root policy".to_owned()))
        } else {
            Ok(())
        };
    }
    if wanted.user.parse::<u32>().is_err() {
        return Err(ConfigError(format!(
            "container has runAsNonRoot and image has non-numeric user ({}), cannot verify user is non-root; set runAsUser",
            wanted.user
        )));
    }
    if uid == 0 {
        return Err(ConfigError(
            "container has runAsNonRoot and image will run as root; set runAsUser".to_owned(),
        ));
    }
    Ok(())
}

#[derive(Clone, Copy)]
struct PasswdLine<'a> {
    name: &'a str,
    uid: u32,
    gid: u32,
    home: &'a str,
}

impl<'a> PasswdLine<'a> {
    fn parse(line: &'a str) -> Option<PasswdLine<'a>> {
        let mut fields = line.split(':');
        let (name, _password) = (fields.next()?, fields.next()?);
        let (uid, gid) = (fields.next()?.parse().ok()?, fields.next()?.parse().ok()?);
        let _gecos = fields.next();
        let home = fields.next().unwrap_or("/");
        (!name.is_empty()).then_some(PasswdLine { name, uid, gid, home })
    }
}

#[derive(Clone, Copy)]
struct GroupLine<'a> {
    name: &'a str,
    gid: u32,
    members: &'a str,
}

impl<'a> GroupLine<'a> {
    fn parse(line: &'a str) -> Option<GroupLine<'a>> {
        let mut fields = line.split(':');
        let (name, _password) = (fields.next()?, fields.next()?);
        let gid = fields.next()?.parse().ok()?;
        Some(GroupLine { name, gid, members: fields.next().unwrap_or("") })
    }

    fn has_member(self, user: &str) -> bool {
        self.members.split(',').any(|m| m == user)
    }
}
