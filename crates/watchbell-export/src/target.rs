//! One target: how it names itself, where it goes on, what it makes of an entry, how it takes a batch.

use std::path::Path;
use std::time::Duration;

use watchbell_audit::export::cursor::{Cursor, Lives};
use watchbell_audit::export::ecs::{self, Context, DEFAULT_INDEX};
use watchbell_audit::export::shipper::{Answer, Dead, Item, Limits};
use watchbell_audit::export::{Entry, otlp};

use crate::StartError;
use crate::elasticsearch::Elasticsearch;
use crate::file::LineFile;
use crate::options::Options;
use crate::otlp::Otlp;
use crate::place::Place;

enum Kind {
    File(LineFile),
    Elasticsearch(Elasticsearch),
    Otlp(Otlp),
}

/// A target that is open.
pub(crate) struct Target {
    label: &'static str,
    name: String,
    context: Context,
    place: Place,
    /// How far it came, as it is noted next.
    cursor: Cursor,
    kind: Kind,
}

impl Target {
    /// All that are asked for.
    pub(crate) fn open_all(dir: &Path, options: &Options) -> Result<Vec<Target>, StartError> {
        let program = format!("watchbell/{}", options.version);
        let mut targets = Vec::new();
        let mut add = |label: &'static str, name: String, index: &str, kind: Kind| {
            let context = Context::new(&options.hostname, &options.version, index, options.original);
            let place = Place::open(dir, label, &name)
                .map_err(|cause| StartError::Target { target: name.clone(), cause })?;
            let cursor = Cursor::default();
            targets.push(Target { label, name, context, place, cursor, kind });
            Ok::<(), StartError>(())
        };
        if let Some(file) = &options.file {
            let name = file.path.display().to_string();
            let open =
                LineFile::open(file).map_err(|cause| StartError::Target { target: name.clone(), cause })?;
            add("file", name, DEFAULT_INDEX, Kind::File(open))?;
        }
        if let Some(elasticsearch) = &options.elasticsearch {
            let open = Elasticsearch::open(elasticsearch, &program)?;
            add("elasticsearch", open.name(), &elasticsearch.index, Kind::Elasticsearch(open))?;
        }
        if let Some(options) = &options.otlp {
            let open = Otlp::open(options, &program)?;
            add("otlp", open.name(), DEFAULT_INDEX, Kind::Otlp(open))?;
        }
        Ok(targets)
    }

    /// Of metrics and threads.
    pub(crate) fn label(&self) -> &'static str {
        self.label
    }

    /// For people.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    pub(crate) fn dead_letters(&self) -> &Path {
        self.place.dead_letters()
    }

    /// The index of the first entry to send.
    pub(crate) fn resume(&mut self, lives: &Lives) -> Result<u64, String> {
        self.cursor = self.place.cursor()?;
        if let Kind::File(file) = &self.kind {
            let written = file.last_written()?;
            if self.cursor.is_beyond(written) {
                tracing::warn!(
                    file = self.name,
                    "lines that were written are not in the file any more; somebody else moved them, and they are not \
                     written again"
                );
            }
            if let Some((epoch, index)) = written {
                self.cursor.reach(epoch, index + 1);
            }
        }
        lives.resume(&self.cursor).map_err(|e| e.to_string())
    }

    pub(crate) fn limits(&self) -> Limits {
        let usual = Limits::default();
        match &self.kind {
            // Who reads along sees it at once, and a note costs an fsync.
            Kind::File(_) => {
                Limits { pace: Duration::from_millis(200), persist_interval: Duration::from_secs(5), ..usual }
            }
            Kind::Elasticsearch(_) => usual,
            // Without names that the receiver must know again, what is sent again is there twice: note each batch.
            Kind::Otlp(_) => Limits { persist_interval: Duration::ZERO, ..usual },
        }
    }

    /// The entry as it is sent.
    pub(crate) fn item(&self, entry: &Entry) -> Item {
        let document = match &self.kind {
            Kind::File(_) | Kind::Elasticsearch(_) => {
                let mut line = Vec::with_capacity(entry.body.len() * 2 + 512);
                ecs::write(&self.context, entry, &mut line);
                line
            }
            Kind::Otlp(_) => otlp::record(&self.context, entry),
        };
        Item { index: entry.index, id: entry.id(), document, at_unix_nanos: entry.at_unix_nanos }
    }

    pub(crate) fn send(&mut self, items: &[Item]) -> Answer {
        match &mut self.kind {
            Kind::File(file) => file.write(items),
            Kind::Elasticsearch(elasticsearch) => elasticsearch.send(items),
            Kind::Otlp(otlp) => otlp.send(&self.context, items),
        }
    }

    pub(crate) fn bury(&self, dead: &[Dead]) -> std::io::Result<()> {
        self.place.bury(dead)
    }

    /// Whether it may have lost what it took since the last note.
    pub(crate) fn is_in_doubt(&self) -> bool {
        matches!(&self.kind, Kind::File(file) if file.is_in_doubt())
    }

    /// Ends the doubt. Returns the index of the first entry to send again.
    pub(crate) fn cut_back(&mut self, lives: &Lives) -> Result<u64, String> {
        if let Kind::File(file) = &mut self.kind {
            file.cut_back().map_err(|e| format!("cannot cut {}: {e}", self.name))?;
        }
        self.resume(lives)
    }

    #[cfg(test)]
    pub(crate) fn file(&mut self) -> &mut LineFile {
        match &mut self.kind {
            Kind::File(file) => file,
            Kind::Elasticsearch(_) | Kind::Otlp(_) => panic!("{} is no file", self.name),
        }
    }

    /// Notes that it has everything before `next`.
    pub(crate) fn persist(&mut self, lives: &Lives, next: u64) -> std::io::Result<()> {
        if let Kind::File(file) = &mut self.kind {
            file.sync()?;
        }
        lives.note(&mut self.cursor, next);
        self.place.persist(&self.cursor)
    }
}
