//! The keeper as the loop sees it: always there when a run is executed, started again when it dies.

use std::io;
use std::os::fd::OwnedFd;

use rustix::event::epoll::{self, EventData, EventFlags};

use super::{EventLoop, KEEPER};
use crate::spawner::keeper_link::{KeeperLink, prepare_log_dir};
use crate::spawner::live::Live;
use crate::spawner::machine::Input;
use crate::wire::Notice;
use crate::{Event, LogSummary, LogTrouble, clock};

/// A keeper that died sooner than this after its start is not started again at once.
const LIFE_MIN_NS: i64 = 1_000_000_000;
/// So many failures in a row, a second apart, and tasks that ended do not wait for their logs any more.
const FAILURES_MAX: u32 = 5;

impl EventLoop {
    /// Makes sure that there is a keeper, and that it watches all that is executed.
    pub(super) fn need_keeper(&mut self) -> io::Result<()> {
        if self.keeper.is_some() {
            return Ok(());
        }
        let now = clock::monotonic();
        if now.saturating_sub(self.keeper_started) < LIFE_MIN_NS {
            self.keeper_failures += 1;
            return Err(io::Error::other("it died right after its start"));
        }
        self.keeper_started = now;
        // Each time: somebody may have removed the directory, and the keeper with it.
        prepare_log_dir(&self.parts.keeper, self.parts.settings.client_uid)?;
        let keeper = KeeperLink::start(&self.parts.keeper)?;
        epoll::add(&self.epoll, keeper.socket(), EventData::new_u64(KEEPER), EventFlags::IN)?;
        self.keeper = Some(keeper);
        self.keeper_waits = false;
        // The spawner holds the read ends, so what the old one had not read is still there.
        let watched = self.serials(|live| live.watched);
        for serial in watched {
            if let Some(live) = self.live.get(serial) {
                live.handed = false;
            }
            self.hand_over_log(serial);
        }
        Ok(())
    }

    pub(super) fn watch(&mut self, serial: u64) {
        let Some(live) = self.live.get(serial) else { return };
        live.watched = true;
        if self.keeper.is_some() {
            return self.hand_over_log(serial);
        }
        if let Err(error) = self.need_keeper() {
            tracing::error!("nobody reads what tasks print: {error}");
            self.timers.retry_keeper(clock::monotonic());
        }
    }

    /// Gives the keeper what a run prints to. Where that fails, for want of descriptors, the run waits in its own write, and it is
    /// tried again.
    fn hand_over_log(&mut self, serial: u64) {
        let now = clock::monotonic();
        let (Some(live), Some(keeper)) = (self.live.get(serial), &mut self.keeper) else { return };
        match pipes_of(live) {
            Ok(pipes) => {
                keeper.watch(serial, live.target.clone(), pipes);
                (live.handed, live.handing_failures) = (true, 0);
                if live.reaped {
                    self.timers.finish_later(serial, now);
                }
            }
            Err(error) => {
                live.handing_failures += 1;
                if live.handing_failures == 1 {
                    tracing::error!("the log of {} is not read yet: {error}", live.id);
                }
                if live.reaped && live.handing_failures >= FAILURES_MAX {
                    // As without a keeper.
                    tracing::error!("the log of {} is given up: {error}", live.id);
                    return self.log_complete(serial, LogSummary::default());
                }
                self.timers.hand_over_later(now);
            }
        }
    }

    pub(super) fn hand_over_waiting_logs(&mut self) {
        for serial in self.serials(|live| live.watched && !live.handed) {
            self.hand_over_log(serial);
        }
    }

    pub(super) fn finish_log(&mut self, serial: u64) {
        if let Some(keeper) = &mut self.keeper {
            keeper.finish(serial);
        }
    }

    fn log_complete(&mut self, serial: u64, summary: LogSummary) {
        if let Some(live) = self.live.get(serial)
            && live.watched
        {
            live.watched = false;
            let id = live.id;
            self.feed(id, Input::LogComplete(summary));
        }
    }

    /// News for the server that is there; who comes later reads the sum when the run has ended.
    fn log_trouble(&mut self, serial: u64, trouble: LogTrouble) {
        if let Some(live) = self.live.get(serial)
            && let Some(client) = &mut self.client
        {
            client.tell(Event::LogTrouble { id: live.id, trouble });
        }
    }

    pub(super) fn take_notices(&mut self) {
        let Some(keeper) = &mut self.keeper else { return };
        let mut notices = Vec::new();
        let taken = keeper.take(&mut notices);
        for notice in notices {
            match notice {
                Notice::Complete { serial, summary } => self.log_complete(serial, summary),
                Notice::Trouble { serial, trouble } => self.log_trouble(serial, trouble),
                Notice::Shown { session } => self.is_shown(session),
            }
        }
        if let Err(error) = taken {
            self.keeper_died(&error);
        }
    }

    fn keeper_died(&mut self, error: &io::Error) {
        tracing::error!("the keeper is gone: {error}");
        if let Some(keeper) = self.keeper.take() {
            keeper.discard();
        }
        self.keeper_is_gone();
        if clock::monotonic().saturating_sub(self.keeper_started) >= LIFE_MIN_NS {
            self.keeper_failures = 0;
        }
        self.retry_keeper();
    }

    pub(super) fn retry_keeper(&mut self) {
        if self.keeper.is_some() || !self.live.iter().any(|(_, live)| live.watched) {
            return;
        }
        match self.need_keeper() {
            Ok(()) => {}
            Err(error) if self.keeper_failures < FAILURES_MAX => {
                tracing::error!("nobody reads what tasks print: {error}");
                self.timers.retry_keeper(clock::monotonic());
            }
            Err(error) => {
                // An end that is never told would be worse than a log that is lost.
                tracing::error!("there is no keeper; logs of ended tasks are given up: {error}");
                for serial in self.serials(|live| live.watched && live.reaped) {
                    self.log_complete(serial, LogSummary::default());
                }
                self.timers.retry_keeper(clock::monotonic());
            }
        }
    }

    pub(super) fn flush_keeper(&mut self) {
        let Some(keeper) = &mut self.keeper else { return };
        let waits = &mut self.keeper_waits;
        let sent = keeper
            .flush()
            .and_then(|all| Self::watch_sends(&self.epoll, keeper.socket(), KEEPER, waits, all));
        if let Err(error) = sent {
            self.keeper_died(&error);
        }
    }
}

/// All read ends once more, for the keeper; ours stay, so that a dead keeper costs no task a SIGPIPE.
fn pipes_of(live: &Live) -> io::Result<Vec<OwnedFd>> {
    live.begun.outputs.iter().map(OwnedFd::try_clone).collect()
}
