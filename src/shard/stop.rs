//! A clean stop: every core closes its logs, core 0 writes the checkpoint files of the folder, and all may go.

use crate::base::ids::CoreId;
use crate::base::slots::Key;
use crate::base::time::Now;

use super::Shard;
use super::message::{LogCheckpoint, Message};

/// A stop in progress.
#[derive(Debug, Default)]
pub struct Stopping {
    /// Logs of this core that are not closed yet.
    open: Vec<Key>,
    /// This core was asked to stop; core 0 may hear that others have before it is asked itself.
    begun: bool,
    told: bool,
    /// On core 0: how many cores have closed their logs, and what they said.
    closed_cores: u16,
    checkpoints: Vec<LogCheckpoint>,
    all_clean: bool,
    own: Vec<LogCheckpoint>,
}

impl Stopping {
    fn new() -> Stopping {
        Stopping { all_clean: true, ..Stopping::default() }
    }
}

impl Shard {
    /// Closes every log. Requests are refused from here on.
    pub fn stop(&mut self, now: Now) {
        // What was to go to another core stays; what was to come is still heard of.
        let called_off = self.transit.cancel_all();
        self.call_off(called_off);
        let stopping = self.stopping.get_or_insert_with(Stopping::new);
        if stopping.begun {
            return;
        }
        stopping.begun = true;
        // What is being read may take long; what is being made does not.
        let closes = self.partitions.iter().filter(|(_, p)| p.ready || p.log.is_being_made());
        let keys: Vec<Key> = closes.map(|(key, _)| key).collect();
        stopping.open.clone_from(&keys);
        self.journal.stop();
        for key in keys {
            self.with_log(key, now, |log, now, out, _| log.close(now, out));
        }
        self.ask_all_early(now);
        self.stop_progress();
    }

    /// A log came from another core after the stop had begun.
    pub(super) fn close_late(&mut self, key: Key, now: Now) {
        if let Some(stopping) = &mut self.stopping {
            stopping.open.push(key);
        }
        self.with_log(key, now, |log, now, out, _| log.close(now, out));
    }

    pub(super) fn log_closed(&mut self, key: Key) {
        let checkpoint = self.partitions.get(key).map(|p| LogCheckpoint {
            topic: p.topic.clone(),
            partition: p.id.partition,
            log_start: p.log.start_offset(),
            recovery_point: p.log.durable_offset(),
            high_watermark: p.leader.high_watermark(),
        });
        if let Some(stopping) = &mut self.stopping {
            stopping.open.retain(|open| *open != key);
            stopping.own.extend(checkpoint);
        }
        self.stop_progress();
    }

    /// The log of a removed partition is out of the way: a stop does not wait for it.
    pub(super) fn log_not_to_close(&mut self, key: Key) {
        if let Some(stopping) = &mut self.stopping {
            stopping.open.retain(|open| *open != key);
            self.stop_progress();
        }
    }

    pub(super) fn stop_progress(&mut self) {
        let offline = self.folder_offline;
        let Some(stopping) = &mut self.stopping else { return };
        let waits = !stopping.open.is_empty() || self.transit.coming() > 0;
        if !stopping.begun || stopping.told || (waits && !offline) {
            return;
        }
        // A core that does not have the picture yet does not know its logs: the checkpoint files are left as they are.
        // A log that was read to its end only after the stop had begun is not closed, and the files cannot name it.
        let clean = !offline && self.serving && self.partitions.iter().all(|(_, p)| p.log.is_closed());
        // The segments of closed logs have everything; of others the journal may have more.
        if clean && !self.journal.close(&mut self.desk) {
            return;
        }
        if !clean {
            self.tell_why_unclean();
        }
        let Some(stopping) = &mut self.stopping else { return };
        stopping.told = true;
        let checkpoints = std::mem::take(&mut stopping.own);
        self.send(CoreId(0), Message::LogsClosed { checkpoints, clean });
        if self.config.core != CoreId(0) {
            self.stopped = true;
        }
    }

    fn tell_why_unclean(&self) {
        let core = self.config.core.0;
        let mut open = self.partitions.iter().filter(|(_, p)| !p.log.is_closed()).map(|(_, p)| p.log.dir());
        match open.next() {
            _ if self.folder_offline => tracing::warn!("core {core}: not stopped in order: the data folder is offline"),
            _ if !self.serving => tracing::warn!("core {core}: not stopped in order: the start was not over"),
            Some(dir) => {
                tracing::warn!("core {core}: not stopped in order: {dir} and {} more were not ready", open.count());
            }
            None => {}
        }
    }

    pub(super) fn logs_closed(&mut self, _from: CoreId, checkpoints: Vec<LogCheckpoint>, clean: bool) {
        let cores = self.config.cores;
        let stopping = self.stopping.get_or_insert_with(Stopping::new);
        stopping.closed_cores += 1;
        stopping.checkpoints.extend(checkpoints);
        stopping.all_clean &= clean;
        if stopping.closed_cores < cores {
            return;
        }
        let checkpoints = std::mem::take(&mut stopping.checkpoints);
        match (&mut self.folder, stopping.all_clean) {
            (Some(folder), true) => folder.finish(&checkpoints, &mut self.desk),
            _ => self.finished(),
        }
    }

    pub(super) fn finished(&mut self) {
        self.stopped = true;
        if !self.folder_offline && self.stopping.as_ref().is_some_and(|stopping| stopping.all_clean) {
            self.notices.push(super::Notice::StoppedClean);
        }
    }

    /// This core was asked to stop.
    pub fn is_stopping(&self) -> bool {
        self.stopping.as_ref().is_some_and(|stopping| stopping.begun)
    }

    /// Everything is on disk, nothing is left to do.
    pub fn is_stopped(&self) -> bool {
        self.stopped && self.desk.in_flight() == 0
    }
}
