//! The writer's thread: takes what came in, decides, makes it durable, publishes, answers.

use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender};
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use watchbell_api::node::{Command, Report};
use watchbell_api::{ApiError, Reason, Resource};
use watchbell_core::request::{DryRun, Request, Write, Written};
use watchbell_core::world::{AuditRecord, Stage, World};
use watchbell_store::{Batch, Error, ReserveState, Store};

use crate::journal;
use crate::log_files::LogFiles;
use crate::maintenance::{Checkpoints, Due};
use crate::notes::{Noted, Notes};
use crate::state::{Answer, Awaited, Input, Shared};

/// How many inputs one batch takes.
const BATCH: usize = 1024;
/// How long word of what still runs waits for company. A short task has ended by then: both are one change, one fsync, and
/// the end does not wait behind the start's.
const LINGER: Duration = Duration::from_millis(10);
/// The longest the writer sleeps: a bound on how late a stepped clock is noticed should the kernel not say so.
const LONGEST_SLEEP: Duration = Duration::from_secs(60);
/// How long the writer waits before it tries a refused disk again with the node's reports.
const DISK_RETRY: Duration = Duration::from_secs(1);
/// How often it tries to take the journal's reserve back.
const RESERVE_RETRY: Duration = Duration::from_secs(10);

pub(crate) struct Task {
    pub(crate) world: World,
    pub(crate) store: Store,
    pub(crate) shared: Arc<Shared>,
    pub(crate) node: Sender<Command>,
    /// Reports of batches that the disk refused: they are told again, as the node says a thing once.
    pub(crate) unsaved: Vec<Report>,
    /// The last batch was refused by the disk.
    pub(crate) was_refused: bool,
    /// Reads and early refusals that wait for the next commit.
    pub(crate) notes: Notes,
    pub(crate) checkpoints: Checkpoints,
    pub(crate) log_files: LogFiles,
    /// The journal's reserve is (or may be) used up: when it is tried to take it back, whatever else there is to do.
    pub(crate) reserve_due: Option<Instant>,
}

#[derive(Debug)]
pub(crate) enum CommitFailure {
    /// Nothing was written; the journal is whole (a full disk). `asked` are the entries of the requests, in their order.
    Refused { cause: Error, asked: Vec<AuditRecord> },
    /// What the file holds is not known: only a new start, which replays it, is safe.
    Fatal(Error),
}

/// Whether the writer goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Next {
    Go,
    End,
}

impl Task {
    pub(crate) fn run(mut self, inputs: &Receiver<Input>) {
        loop {
            let first = match inputs.recv_timeout(self.patience()) {
                Ok(input) => Some(input),
                Err(RecvTimeoutError::Timeout) => None,
                Err(RecvTimeoutError::Disconnected) => break,
            };
            let is_idle = first.is_none();
            let inputs = first.map_or_else(Vec::new, |first| gather(first, inputs, LINGER));
            if self.batch(inputs) == Next::End {
                break;
            }
            let is_due = self.reserve_due.is_some_and(|due| is_idle || due <= Instant::now());
            if is_due && self.take_back_reserve() == Next::End {
                break;
            }
            if is_idle {
                self.rest();
            }
        }
        // A journal that failed takes no more.
        if self.shared.ended.lock().unwrap_or_else(PoisonError::into_inner).is_none() {
            self.notes.end();
            if let Err(CommitFailure::Refused { cause, .. } | CommitFailure::Fatal(cause)) =
                self.commit(Timestamp::now())
            {
                tracing::error!("the last entries of the audit journal may be lost: {cause}");
            }
            let (requests, events) = self.notes.waiting();
            if requests + events > 0 {
                tracing::error!(
                    requests,
                    events,
                    "entries of the audit journal for which the disk had no room are lost: reads and refusals (requests), and how \
                     sessions and changes ended and which keys are in use (events)"
                );
            }
        }
        self.shared.hub.close();
        self.log_files.end();
        self.checkpoints.end();
    }

    /// Takes what came in, decides, makes it durable, then answers.
    fn batch(&mut self, inputs: Vec<Input>) -> Next {
        let now = Timestamp::now();
        let mut next = Next::Go;
        let (mut noted, mut awaited) = (0, Vec::new());
        let mut writes = Vec::new();
        let mut reports = std::mem::take(&mut self.unsaved);
        let is_disk_full = !reports.is_empty();
        for input in inputs {
            match input {
                Input::Write(request, answer) => writes.push((request, answer)),
                Input::Report(report) => reports.push(report),
                Input::Note(note) => {
                    noted += 1;
                    self.notes.add(note);
                }
                Input::Counted => self.notes.wake(),
                Input::Record(one) => awaited.push(*one),
                // The node's end of the channel lives as long as the server.
                Input::RefreshTokens => drop(self.node.send(Command::RefreshTokens)),
                Input::ClockStep => {}
                Input::Fatal(cause) => return self.fail(&cause),
                Input::End => next = Next::End,
            }
        }
        self.notes.arrived(noted);
        if is_disk_full {
            if self.record_on_full_disk(std::mem::take(&mut awaited)) == Next::End {
                return Next::End;
            }
            // What only takes away may use the journal's reserve, alone in its batch.
            let (deletes, others): (Vec<_>, Vec<_>) =
                writes.into_iter().partition(|(request, _)| takes_away(request));
            writes = others;
            for (request, answer) in deletes {
                if self.delete_on_full_disk(*request, answer, now) == Next::End {
                    return Next::End;
                }
            }
        }
        for report in &reports {
            self.world.report(report.clone(), now);
        }
        // Deletions may be tried again.
        let mut again = Vec::new();
        let mut answers = Vec::new();
        for (request, answer) in writes {
            again.push(takes_away(&request).then(|| request.clone()));
            answers.push((answer, self.world.write(*request, now)));
        }
        self.world.settle(now);
        // What the node tells may be much, and no deletion.
        let is_alone = reports.is_empty() && awaited.is_empty();
        match self.commit_with(&awaited, is_alone, now) {
            Ok(()) => {
                self.was_refused = false;
                for (answer, result) in answers {
                    answer.send(result);
                }
                for one in awaited {
                    // Who went away does not hear it.
                    let _ = one.done.send(Ok(()));
                }
                next
            }
            Err(CommitFailure::Refused { cause, asked }) => {
                self.unsaved = reports;
                self.was_refused = true;
                if self.record_on_full_disk(awaited) == Next::End {
                    return Next::End;
                }
                let mut asked = asked.into_iter();
                for ((answer, result), request) in answers.into_iter().zip(again) {
                    let entry = asked.next();
                    let outcome = match request {
                        Some(request) => self.delete_on_full_disk(*request, answer, now),
                        None => {
                            self.refuse(answer, result, entry, &cause);
                            Next::Go
                        }
                    };
                    if outcome == Next::End {
                        return Next::End;
                    }
                }
                next
            }
            Err(CommitFailure::Fatal(error)) => self.fail(&error.to_string()),
        }
    }

    /// Deletes in a batch of its own, so that the journal's reserve may serve it.
    fn delete_on_full_disk(&mut self, request: Request, answer: Answer, now: Timestamp) -> Next {
        // A policy of networks that is gone opens nothing to pods that run.
        let closes_doors = request.resource == Resource::NetworkPolicy;
        let result = self.world.write(request, now);
        if closes_doors {
            self.world.tell_doors_alone();
        }
        let stage = self.world.take_stage(now);
        match self.commit_stage(stage, Vec::new(), &[], true, now) {
            Ok(()) => answer.send(result),
            Err(CommitFailure::Fatal(error)) => return self.fail(&error.to_string()),
            Err(CommitFailure::Refused { cause, mut asked }) => {
                self.refuse(answer, result, asked.pop(), &cause);
            }
        }
        Next::Go
    }

    /// Entries of which somebody waits, in batches of their own, so that the journal's reserve may serve those that are for it.
    fn record_on_full_disk(&mut self, awaited: Vec<Awaited>) -> Next {
        let (before_removals, others): (Vec<_>, Vec<_>) =
            awaited.into_iter().partition(|one| one.may_use_reserve);
        for (awaited, may_use_reserve) in [(before_removals, true), (others, false)] {
            if awaited.is_empty() {
                continue;
            }
            let mut batch = self.entries_alone(awaited.iter().map(|one| &one.record));
            batch.may_use_reserve = may_use_reserve;
            let told = match self.make_durable(&batch) {
                Ok(()) => Ok(()),
                Err(error) if error.is_fatal() => return self.fail(&error.to_string()),
                Err(error) => {
                    self.was_refused_by(&error);
                    Err(full(&error))
                }
            };
            for one in awaited {
                let _ = one.done.send(told.clone());
            }
        }
        Next::Go
    }

    /// Answers a request whose batch was not written: an error stays the error it was. Its entry waits for room.
    fn refuse(
        &mut self,
        answer: Answer,
        result: Result<Written, ApiError>,
        entry: Option<AuditRecord>,
        cause: &Error,
    ) {
        let (error, entry) = match result {
            Ok(_) => {
                let error = full(cause);
                let entry = entry.map(|entry| entry.refused(&error));
                (error, entry)
            }
            Err(error) => (error, entry),
        };
        if let Some(entry) = entry {
            self.notes.refused(entry);
        }
        answer.send(Err(error));
    }

    fn take_back_reserve(&mut self) -> Next {
        match self.store.refill_reserve() {
            Ok(ReserveState::Held) => self.disk_has_room(),
            Ok(ReserveState::Released) => self.reserve_due = Some(Instant::now() + RESERVE_RETRY),
            Err(error) if error.is_fatal() => return self.fail(&error.to_string()),
            Err(error) => {
                tracing::warn!("the journal's reserve is not taken back: {error}");
                self.reserve_due = Some(Instant::now() + RESERVE_RETRY);
            }
        }
        Next::Go
    }

    /// Nothing came in for a while: tidies the journal.
    fn rest(&mut self) {
        if self.reserve_due.is_none() {
            self.checkpoints.idle();
        }
    }

    fn fail(&mut self, cause: &str) -> Next {
        tracing::error!("the journal failed, the server ends and will replay it: {cause}");
        *self.shared.ended.lock().unwrap_or_else(PoisonError::into_inner) = Some(cause.to_owned());
        Next::End
    }

    /// How long to wait for input.
    fn patience(&self) -> Duration {
        // What the disk refused is due still, and would be tried again without a breath.
        if !self.unsaved.is_empty() || self.was_refused {
            return DISK_RETRY;
        }
        let longest =
            self.reserve_due.map_or(LONGEST_SLEEP, |due| due.saturating_duration_since(Instant::now()));
        let longest = self.notes.due().map_or(longest, |due| due.min(longest));
        let Some(at) = self.world.wake_at() else { return longest };
        let left = at.duration_since(Timestamp::now());
        Duration::try_from(left).unwrap_or(Duration::ZERO).min(longest)
    }

    pub(crate) fn commit(&mut self, now: Timestamp) -> Result<(), CommitFailure> {
        self.commit_with(&[], true, now)
    }

    /// `awaited` are in this commit or never: who waits for one hears whether it is durable, and acts on that. `is_alone`: what is
    /// staged was asked for, and nothing else is in the batch but notes.
    fn commit_with(
        &mut self,
        awaited: &[Awaited],
        is_alone: bool,
        now: Timestamp,
    ) -> Result<(), CommitFailure> {
        let stage = self.world.take_stage(now);
        if stage.is_empty() && awaited.is_empty() && self.notes.due() != Some(Duration::ZERO) {
            return Ok(());
        }
        // What the disk had no room for is not tried with every change.
        let waits = self.notes.were_refused() && self.notes.due() != Some(Duration::ZERO);
        let notes = if waits { Vec::new() } else { self.notes.take(now) };
        self.commit_stage(stage, notes, awaited, is_alone, now)
    }

    fn commit_stage(
        &mut self,
        mut stage: Stage,
        notes: Vec<Noted>,
        awaited: &[Awaited],
        is_alone: bool,
        now: Timestamp,
    ) -> Result<(), CommitFailure> {
        let version = self.world.resource_version();
        // What was seen before this batch stands before it.
        let before = notes.iter().map(|note| &note.record).chain(awaited.iter().map(|one| &one.record));
        let may_use_reserve = is_alone && journal::is_deletion(&stage);
        let batch = journal::batch(&mut stage, before, version);
        if let Err(error) = self.write_batch(batch, notes, may_use_reserve) {
            self.world.rollback(now);
            if error.is_fatal() {
                return Err(CommitFailure::Fatal(error));
            }
            let asked = stage.audit.into_iter().filter(|entry| entry.body["kind"] == "Event").collect();
            return Err(CommitFailure::Refused { cause: error, asked });
        }
        self.world.committed();
        self.shared.published.store(Arc::new(self.world.snapshot()));
        let durable_at = Timestamp::now();
        for change in &stage.changes {
            self.shared.metrics.change(change, durable_at);
        }
        stage.audit.iter().for_each(|entry| self.shared.metrics.audited(entry));
        self.shared.hub.publish(stage.take_told(), version);
        for command in stage.commands {
            // The node's end of the channel lives as long as the server.
            let _ = self.node.send(command);
        }
        Ok(())
    }

    /// Where the disk has no room for the notes, which come first in the batch, they wait, and nothing else waits for them.
    fn write_batch(
        &mut self,
        mut batch: Batch,
        notes: Vec<Noted>,
        may_use_reserve: bool,
    ) -> Result<(), Error> {
        let has_notes = !notes.is_empty();
        if has_notes {
            match self.make_durable(&batch) {
                Ok(()) => {
                    self.notes.went();
                    return Ok(());
                }
                Err(error) if error.is_fatal() => return Err(error),
                Err(error) => {
                    batch.audit.drain(..notes.len());
                    self.keep_notes(notes, &error)?;
                }
            }
        }
        if batch.puts.is_empty() && batch.deletes.is_empty() && batch.audit.is_empty() {
            // Where more comes, it tells how full the disk is.
            if has_notes {
                self.disk_is_full();
            }
            return Ok(());
        }
        batch.may_use_reserve = may_use_reserve;
        self.make_durable(&batch).inspect_err(|error| {
            if !error.is_fatal() {
                self.was_refused_by(error);
            }
        })
    }

    /// The disk had no room for the notes. Those that may not be lost are few: they are tried without the others.
    fn keep_notes(&mut self, notes: Vec<Noted>, cause: &Error) -> Result<(), Error> {
        if !self.notes.were_refused() {
            tracing::warn!("notes for the audit journal wait for room on the disk: {cause}");
        }
        let (requests, events): (Vec<_>, Vec<_>) = notes.into_iter().partition(|note| note.may_be_lost);
        self.notes.put_back(requests);
        if events.is_empty() {
            return Ok(());
        }
        let batch = self.entries_alone(events.iter().map(|note| &note.record));
        match self.make_durable(&batch) {
            Err(error) if error.is_fatal() => return Err(error),
            Err(_) => self.notes.put_back(events),
            Ok(()) => {}
        }
        Ok(())
    }

    /// A batch that changes no object.
    fn entries_alone<'a>(&self, records: impl Iterator<Item = &'a AuditRecord>) -> Batch {
        Batch {
            resource_version: self.store.last_resource_version(),
            audit: records.map(journal::audit_entry).collect(),
            ..Batch::default()
        }
    }

    /// The journal refused a batch.
    fn was_refused_by(&mut self, cause: &Error) {
        tracing::error!("{cause}");
        self.shared.metrics.commit_refused();
        self.disk_is_full();
    }

    /// What is left of it is for the writer.
    fn disk_is_full(&mut self) {
        self.reserve_due.get_or_insert_with(|| Instant::now() + RESERVE_RETRY);
        self.log_files.hold();
        self.checkpoints.hold();
    }

    fn disk_has_room(&mut self) {
        self.reserve_due = None;
        self.log_files.go_on();
        self.checkpoints.go_on();
    }

    fn make_durable(&mut self, batch: &Batch) -> Result<(), Error> {
        let started = Instant::now();
        let committed = match self.store.commit(batch) {
            // What the WAL holds may have room in the database: then the WAL is written over.
            Err(refused @ Error::DiskFull { .. }) => match self.store.checkpoint() {
                Ok(_) => self.store.commit(batch)?,
                Err(error) if error.is_fatal() => return Err(error),
                Err(_) => return Err(refused),
            },
            other => other?,
        };
        self.shared.metrics.committed(started.elapsed(), committed.wal_bytes);
        if committed.reserve == ReserveState::Released {
            self.disk_is_full();
        } else {
            self.disk_has_room();
        }
        if !committed.audit.is_empty() {
            self.log_files.after_commit();
        }
        if self.checkpoints.after_commit(committed.wal_bytes) == Due::Here
            && let Err(error) = self.store.checkpoint()
        {
            if error.is_fatal() {
                return Err(error);
            }
            // The batch is durable; the WAL shrinks when there is room again.
            tracing::warn!("the journal's WAL stays large: {error}");
        }
        Ok(())
    }
}

/// What came in. As long as nobody waits for any of it, more may come.
fn gather(first: Input, inputs: &Receiver<Input>, linger: Duration) -> Vec<Input> {
    let mut gathered = vec![first];
    let mut judged = 0;
    let due = Instant::now() + linger;
    loop {
        gathered.extend(inputs.try_iter().take(BATCH.saturating_sub(gathered.len())));
        let is_urgent = !gathered[judged..].iter().all(Input::can_wait);
        judged = gathered.len();
        let left = due.saturating_duration_since(Instant::now());
        if is_urgent || judged >= BATCH || left.is_zero() {
            return gathered;
        }
        match inputs.recv_timeout(left) {
            Ok(input) => gathered.push(input),
            Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => return gathered,
        }
    }
}

/// What a full disk takes, alone in its batch. It holds nothing large, so it may be kept to be tried again.
fn takes_away(request: &Request) -> bool {
    matches!(request.write, Write::Delete(_) | Write::Evict(_) | Write::DeleteCollection { .. })
        && request.options.dry_run == DryRun::No
}

fn full(cause: &Error) -> ApiError {
    ApiError::new(Reason::InsufficientStorage, format!("nothing was changed: {cause}"))
}

#[cfg(test)]
mod tests;
