//! `exec` and `attach`: finds the container's present run and asks the spawner.

use std::sync::{Arc, Mutex, PoisonError};

use watchbell_api::node::{Session, SessionRequest, Sessions};
use watchbell_api::{ApiError, Reason};
use watchbell_sandbox::Spawner;

use crate::logs::Live;

/// The connection to the spawner, which the executor replaces when it breaks.
pub(crate) struct SharedSpawner(Mutex<Spawner>);

impl SharedSpawner {
    pub(crate) fn new(spawner: Spawner) -> Self {
        Self(Mutex::new(spawner))
    }

    pub(crate) fn set(&self, spawner: Spawner) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = spawner;
    }

    fn get(&self) -> Spawner {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

pub(crate) struct NodeSessions {
    pub(crate) live: Arc<Live>,
    pub(crate) spawner: Arc<SharedSpawner>,
}

impl Sessions for NodeSessions {
    fn open(&self, request: &SessionRequest) -> Result<Session, ApiError> {
        let Some(id) = self.live.newest(request.pod_uid.0, request.container) else {
            return Err(ApiError::bad_request("the container is not running"));
        };
        let _spawner = self.spawner.get();
        let message = format!("container {id}: this node cannot open sessions yet");
        Err(ApiError::new(Reason::ServiceUnavailable, message))
    }
}
