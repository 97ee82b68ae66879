//! What the server asks of a pod's volumes while the pod is there.

use std::io;
use std::os::fd::OwnedFd;

use super::Host;
use super::modes::ExactModes;
use crate::OwnedFile;

impl Host {
    /// Replaces the files of one of the pod's volumes. A pod of which nothing is there will be made with its new ones.
    pub(crate) fn update_files(&mut self, uid: u128, volume: u16, files: &[OwnedFile]) -> io::Result<()> {
        let Some(pod) = self.pods.get_mut(&uid) else { return Ok(()) };
        let _modes = ExactModes::begin();
        pod.volumes.get_mut(&volume).ok_or(io::ErrorKind::NotFound)?.change(&pod.ids, files)
    }

    pub(crate) fn without_images(&self) -> Option<&str> {
        self.without_images.as_deref()
    }

    /// What the pod's containers wrote into a layered volume. Nobody writes to it any more: none of them runs.
    pub(crate) fn upper(&self, uid: u128, volume: u16) -> io::Result<OwnedFd> {
        let lost =
            "it does not have the pod: the spawner that did has ended, and what was written went with it";
        let pod = self.pods.get(&uid).ok_or_else(|| io::Error::other(lost))?;
        if pod.runs > 0 {
            return Err(io::Error::other("a container of the pod still runs"));
        }
        pod.volumes.get(&volume).ok_or_else(|| io::Error::other("the pod has no such volume"))?.upper()
    }
}
