//! One server for many tests, a namespace for each. The first test starts it, the last one ends it.

use std::path::PathBuf;
use std::process::Command;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use crate::stand::Stand;

static SHARED: Mutex<Weak<Stand>> = Mutex::new(Weak::new());

/// A namespace of the shared server, and a directory beside it with a kubeconfig that names it.
pub(crate) struct Lab {
    stand: Option<Arc<Stand>>,
    pub(crate) namespace: String,
    dir: PathBuf,
}

impl Lab {
    /// `name` is the namespace's; no two tests share one.
    pub(crate) fn open(name: &str) -> Lab {
        let mut shared = SHARED.lock().unwrap_or_else(PoisonError::into_inner);
        let stand = shared.upgrade().unwrap_or_else(|| {
            let stand = Arc::new(Stand::with_busybox());
            *shared = Arc::downgrade(&stand);
            stand
        });
        drop(shared);
        Lab::on(stand, name)
    }

    /// With a server of its own, for what concerns the whole machine.
    pub(crate) fn alone(name: &str) -> Lab {
        Lab::on(Arc::new(Stand::with_busybox()), name)
    }

    /// The same, on a server that was started otherwise.
    pub(crate) fn alone_on(stand: Stand, name: &str) -> Lab {
        Lab::on(Arc::new(stand), name)
    }

    fn on(stand: Arc<Stand>, name: &str) -> Lab {
        let dir = stand.path(&format!("lab-{name}"));
        std::fs::create_dir(&dir).unwrap();
        stand
            .watchbell_with(
                &["apply", "-f", "-"],
                &format!("apiVersion: v1\nkind: Namespace\nmetadata: {{name: {name}}}\n"),
            )
            .ok();
        let config = std::fs::read_to_string(stand.kubeconfig()).unwrap();
        assert!(config.contains("namespace: default"), "{config}");
        std::fs::write(
            dir.join("kubeconfig"),
            config.replace("namespace: default", &format!("namespace: {name}")),
        )
        .unwrap();
        Lab { stand: Some(stand), namespace: name.to_owned(), dir }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    /// The command runs in the lab's directory, as its user, and finds the program that is tested.
    pub(crate) fn surround(&self, command: &mut Command) {
        let program = PathBuf::from(env!("CARGO_BIN_EXE_watchbell"));
        let mut path = program.parent().unwrap().as_os_str().to_owned();
        path.push(":");
        path.push(std::env::var_os("PATH").unwrap_or_default());
        let home = self.stand.as_ref().map(|s| s.path("home")).unwrap_or_default();
        command
            .current_dir(&self.dir)
            .env("PATH", path)
            .env("HOME", home)
            .env("KUBECONFIG", self.path("kubeconfig"))
            .env("NO_PROXY", "*")
            .env("TMPDIR", &self.dir)
            .env("LC_ALL", "C.UTF-8");
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        let Some(stand) = self.stand.take() else { return };
        // What a failed test leaves goes too, or the spawner would wait for its tasks.
        let deleted = stand.watchbell(&["delete", "namespace", &self.namespace, "--timeout", "60s"]);
        let mut shared = SHARED.lock().unwrap_or_else(PoisonError::into_inner);
        let is_shared = Weak::ptr_eq(&shared, &Arc::downgrade(&stand));
        if let Some(stand) = Arc::into_inner(stand) {
            if is_shared {
                *shared = Weak::new();
            }
            if !std::thread::panicking() {
                stand.end();
            }
        }
        drop(shared);
        if !std::thread::panicking() {
            deleted.ok();
        }
    }
}
