//! Volumes with tokens of service accounts: their files are made anew before the tokens end, while the pod runs.

use std::cell::Cell;
use std::time::Duration;

use watchbell_api::node::{Assignment, TokenQuery};
use watchbell_api::types::pod::{TokenProjection, Volume};
use watchbell_core::pod::{ConfigError, Tokens, files_of, is_changing};
use watchbell_core::service_account::{LIFE_SECONDS_DEFAULT, refresh_at};
use watchbell_sandbox::{FileEntry, OwnedFile};

use super::pod::Pod;
use super::spec::Site;
use super::{Agent, Effect, Now};

/// After a token was refused.
const RETRY: Duration = Duration::from_secs(60);

/// Asks for a pod's tokens, and notes when the first of them has to be replaced.
pub(super) struct TokenSource<'a> {
    site: &'a Site,
    pod: &'a Assignment,
    /// Unix seconds.
    refresh_at: Cell<Option<i64>>,
}

impl<'a> TokenSource<'a> {
    pub(super) fn new(site: &'a Site, pod: &'a Assignment) -> TokenSource<'a> {
        TokenSource { site, pod, refresh_at: Cell::new(None) }
    }

    pub(super) fn get(&self, asked: &TokenProjection) -> Result<String, ConfigError> {
        let query = TokenQuery {
            namespace: self.pod.namespace.clone(),
            pod_name: self.pod.name.clone(),
            pod_uid: self.pod.uid,
            audience: asked.audience.clone(),
            expiration_seconds: asked.expiration_seconds.unwrap_or(LIFE_SECONDS_DEFAULT),
        };
        let issued = (self.site.tokens)(&query)
            .map_err(|error| ConfigError(format!("failed to fetch token: {}", error.message)))?;
        let due = refresh_at(issued.issued_at, issued.expires_at);
        self.refresh_at.set(Some(self.refresh_at.get().map_or(due, |first| first.min(due))));
        Ok(issued.token)
    }

    /// When to ask again, if a token was asked for at all.
    pub(super) fn due(&self, now: Now) -> Option<Duration> {
        let left = self.refresh_at.get()?.saturating_sub(now.wall);
        Some(now.mono + Duration::from_secs(u64::try_from(left).unwrap_or(0)))
    }
}

/// Whether the pod has such a volume.
pub(super) fn has_tokens(pod: &Assignment) -> bool {
    pod.spec.volumes.iter().any(is_changing)
}

impl Site {
    /// The files of a volume of the pod.
    pub(super) fn owned_files(
        &self,
        pod: &Assignment,
        volume: &Volume,
        tokens: Tokens<'_>,
    ) -> Result<Vec<OwnedFile>, ConfigError> {
        let objects = |resource, name: &str| (self.lookup)(resource, &pod.namespace, name);
        let files = files_of(&self.facts(pod), volume, &objects, tokens).map_err(|e| {
            ConfigError(format!("MountVolume.SetUp failed for volume {:?} : {e}", volume.name))
        })?;
        let has_group = pod.spec.security_context.fs_group.is_some();
        let owned = files.into_iter().map(|file| OwnedFile {
            uid: file.uid,
            file: FileEntry {
                path: file.path,
                // Kubernetes' fsGroup may read whatever the mode says.
                mode: if has_group { file.mode | 0o440 } else { file.mode },
                contents: file.contents,
            },
        });
        Ok(owned.collect())
    }
}

impl Agent {
    /// Has the tokens of all pods be replaced now, whatever is left of their lives.
    pub(super) fn renew_tokens(&mut self, now: Now) {
        let mut due = Vec::new();
        for (uid, pod) in &mut self.pods {
            // One that has not asked yet gets a new one by itself.
            if pod.refresh_at.is_some() {
                pod.refresh_at = Some(now.mono);
                due.push(*uid);
            }
        }
        for uid in due {
            self.touch(uid);
        }
    }

    /// Replaces the files of the pod's volumes with tokens when their time has come.
    pub(super) fn refresh_tokens(&mut self, pod: &mut Pod, now: Now) {
        if pod.refresh_at.is_none_or(|at| at > now.mono) {
            return;
        }
        // A container that starts later begins with new ones too, should the spawner have to make the volumes again.
        pod.environment = None;
        let site = self.site.clone();
        let source = TokenSource::new(&site, &pod.assignment);
        let mut failed = None;
        for (id, volume) in pod.assignment.spec.volumes.iter().enumerate() {
            if !is_changing(volume) {
                continue;
            }
            match site.owned_files(&pod.assignment, volume, &|asked| source.get(asked)) {
                Ok(files) => {
                    let (uid, volume) = (pod.assignment.uid, id as u16);
                    self.effects.push(Effect::UpdateFiles { uid, volume, files });
                }
                Err(error) => failed = Some(error),
            }
        }
        pod.refresh_at = match &failed {
            None => source.due(now),
            Some(_) => Some(now.mono + RETRY),
        };
        if let Some(error) = failed {
            self.tell(pod, true, "FailedMount", || error.to_string());
        }
    }
}
