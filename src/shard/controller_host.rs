//! Plugs the controller (`meta::controller`) into its log and into the cores. Lives on core 0, sees the cluster.
//!
//! commands → records (one batch) → durable → every core's picture → answer. The host's own picture runs ahead of the
//! committed one, so that the next command sees what the one before decided; nothing has to be taken back, because the
//! log is asked for room before anything is decided (a full disk refuses the commands that wait), and a failed write
//! takes the folder offline.
//!
//! The quorum has one voter, this node: a record is committed when it is durable here.

use std::collections::VecDeque;
use std::sync::Arc;

use crate::base::ids::{CoreId, NodeId};
use crate::base::prng::Prng;
use crate::base::slots::Key;
use crate::meta::controller::{Answer, Bootstrap, Command, Controller, Decision};
use crate::meta::image::ApplyError;
use crate::meta::record::Record;
use crate::meta::settings::BrokerSettings;

use super::message::AskKey;

/// Commands that may wait for the controller to start or for a removal to be carried out.
const COMMANDS_WAITING_MAX: usize = 10_000;

/// Who gave a command; `None`: the host itself.
pub type Commander = Option<(CoreId, AskKey)>;

/// Where the controller is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// The metadata log is being read.
    Loading,
    /// Decides.
    Active,
}

/// Records appended, not yet durable.
#[derive(Debug)]
struct Uncommitted {
    end: i64,
    records: Arc<Vec<Record>>,
    commander: Commander,
    answer: Option<Answer>,
}

/// Committed, waiting until every core has it in its picture.
#[derive(Debug)]
struct Unapplied {
    end: i64,
    commander: Commander,
    answer: Option<Answer>,
}

/// What a commit hands to the shard.
#[derive(Debug)]
pub struct Commit {
    pub end: i64,
    pub records: Arc<Vec<Record>>,
}

/// A decision that must go into the log.
#[derive(Debug)]
pub struct ToAppend {
    pub records: Vec<Record>,
    pub commander: Commander,
    pub answer: Option<Answer>,
}

#[derive(Debug)]
pub struct ControllerHost {
    /// The partition of the metadata log.
    pub partition: Key,
    pub phase: Phase,
    /// Next offset to read while loading.
    pub load_next: i64,
    /// The largest leader epoch seen in the log.
    pub epoch: i32,
    /// Everything is read, and the disk is too full to begin.
    pub waits_for_room: bool,
    node: NodeId,
    controller: Controller,
    loaded: Vec<Record>,
    random: Prng,
    uncommitted: VecDeque<Uncommitted>,
    unapplied: VecDeque<Unapplied>,
    applied: Vec<i64>,
    waiting: VecDeque<((CoreId, AskKey), Command)>,
    /// A removal is decided and not yet applied everywhere: later commands wait, so that a topic made anew never meets
    /// the folder of its predecessor.
    removal_end: Option<i64>,
}

impl ControllerHost {
    pub fn new(partition: Key, node: NodeId, cores: u16, seed: u64) -> ControllerHost {
        ControllerHost {
            partition,
            phase: Phase::Loading,
            load_next: 0,
            epoch: 0,
            waits_for_room: false,
            node,
            controller: Controller::default(),
            loaded: Vec::new(),
            random: Prng::new(seed),
            uncommitted: VecDeque::new(),
            unapplied: VecDeque::new(),
            applied: vec![0; usize::from(cores)],
            waiting: VecDeque::new(),
            removal_end: None,
        }
    }

    /// A record read from the log at start.
    pub fn replay(&mut self, record: Record) -> Result<(), ApplyError> {
        self.controller.replay(&record)?;
        self.loaded.push(record);
        Ok(())
    }

    pub fn node(&self) -> NodeId {
        self.node
    }

    /// Everything read from the log, to be handed to the cores; and the decision of this start: features on a new
    /// folder, and this node's registration.
    ///
    /// Commands wait until every core has applied what was read (up to `loaded_end`): a core may have to move the
    /// folder of a removed topic away first.
    pub fn begin(
        &mut self,
        settings: &BrokerSettings,
        bootstrap: Bootstrap,
        loaded_end: i64,
    ) -> (Vec<Record>, ToAppend) {
        self.phase = Phase::Active;
        if !self.loaded.is_empty() {
            self.removal_end = Some(loaded_end);
        }
        let decision = self.controller.decide(settings, Command::Bootstrap(bootstrap), &mut self.random);
        let append = ToAppend { records: decision.records, commander: None, answer: None };
        (std::mem::take(&mut self.loaded), append)
    }

    /// Queues a command. `Err`: too many wait already.
    pub fn command(&mut self, from: (CoreId, AskKey), command: Command) -> Result<(), Command> {
        if self.waiting.len() >= COMMANDS_WAITING_MAX {
            return Err(command);
        }
        self.waiting.push_back((from, command));
        Ok(())
    }

    /// Decides the next waiting command if one may be decided now.
    pub fn decide_next(&mut self, settings: &BrokerSettings) -> Option<ToAppend> {
        if self.phase != Phase::Active || self.removal_end.is_some() {
            return None;
        }
        let (from, command) = self.waiting.pop_front()?;
        let Decision { records, answer } = self.controller.decide(settings, command, &mut self.random);
        Some(ToAppend { records, commander: Some(from), answer: Some(answer) })
    }

    /// The records of a decision are in the log up to `end`, not yet durable.
    pub fn appended(&mut self, end: i64, append: ToAppend) {
        if append.records.iter().any(|record| matches!(record, Record::RemoveTopic { .. })) {
            self.removal_end = Some(end);
        }
        self.uncommitted.push_back(Uncommitted {
            end,
            records: Arc::new(append.records),
            commander: append.commander,
            answer: append.answer,
        });
    }

    /// A decision without records. It may rest on earlier ones that a power cut can still take or that a core has not
    /// seen, so its answer waits until theirs may go. Comes back when there is nothing to wait for.
    pub fn follow(&mut self, decided: ToAppend) -> Option<ToAppend> {
        let ToAppend { records, commander, answer } = decided;
        if let Some(last) = self.uncommitted.back() {
            let (end, records) = (last.end, Arc::new(records));
            self.uncommitted.push_back(Uncommitted { end, records, commander, answer });
        } else if let Some(last) = self.unapplied.back() {
            let end = last.end;
            self.unapplied.push_back(Unapplied { end, commander, answer });
        } else {
            return Some(ToAppend { records, commander, answer });
        }
        None
    }

    /// Everything below `high_watermark` is durable: the next decision with records that is thereby committed.
    pub fn commit(&mut self, high_watermark: i64) -> Option<Commit> {
        while self.uncommitted.front()?.end <= high_watermark {
            let Uncommitted { end, records, commander, answer } = self.uncommitted.pop_front()?;
            self.unapplied.push_back(Unapplied { end, commander, answer });
            if !records.is_empty() {
                return Some(Commit { end, records });
            }
        }
        None
    }

    /// `core` has everything below `end` in its picture.
    pub fn applied(&mut self, core: CoreId, end: i64) {
        let slot = &mut self.applied[usize::from(core.0)];
        *slot = end.max(*slot);
        if self.removal_end.is_some_and(|removal| self.applied_everywhere() >= removal) {
            self.removal_end = None;
        }
    }

    fn applied_everywhere(&self) -> i64 {
        self.applied.iter().copied().min().unwrap_or(0)
    }

    /// The next answer that every core's picture bears out.
    pub fn next_answer(&mut self) -> Option<((CoreId, AskKey), Answer)> {
        while let Some(front) = self.unapplied.front() {
            if front.end > self.applied_everywhere() {
                return None;
            }
            let done = self.unapplied.pop_front()?;
            if let (Some(commander), Some(answer)) = (done.commander, done.answer) {
                return Some((commander, answer));
            }
        }
        None
    }

    /// Whoever waits for a decision, taken out: none can be made now.
    pub fn refuse_waiting(&mut self) -> Vec<(CoreId, AskKey)> {
        std::mem::take(&mut self.waiting).into_iter().map(|(from, _)| from).collect()
    }

    /// Whoever waits for a decision or a commit, taken out: the folder has failed.
    pub fn abandon(&mut self) -> Vec<(CoreId, AskKey)> {
        let uncommitted = std::mem::take(&mut self.uncommitted).into_iter().filter_map(|u| u.commander);
        uncommitted.chain(self.refuse_waiting()).collect()
    }
}
