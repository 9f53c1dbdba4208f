//! The rounds of a classic group: when a rebalance begins, when its join phase ends, what a new generation looks like,
//! and what the group does when time passes.

use super::answer::{GroupError, GroupState, SyncAnswer};
use super::group_classic::{ClassicGroup, InitialDelay};
use super::limits::ROUND_MS_MIN;
use super::turn::Turn;
use crate::base::time::Mono;

impl ClassicGroup {
    /// Something changed: a rebalance begins, or a join phase that waited for it may end.
    pub fn advance(&mut self, turn: &mut Turn<'_>) {
        match self.state {
            GroupState::PreparingRebalance => self.complete_if_all_joined(turn),
            GroupState::Empty | GroupState::CompletingRebalance | GroupState::Stable => self.prepare(turn),
            GroupState::Dead => {}
        }
    }

    /// Begins a rebalance.
    pub fn prepare(&mut self, turn: &mut Turn<'_>) {
        if self.state == GroupState::CompletingRebalance {
            self.cancel_syncs(turn, GroupError::RebalanceInProgress);
        }
        self.sync_deadline = None;
        self.pending_sync.clear();
        let was_empty = self.state == GroupState::Empty;
        self.set_state(GroupState::PreparingRebalance, turn.now);
        let timeout_ms = self.rebalance_timeout_ms();
        if was_empty {
            let delay_ms = turn.shared.settings.initial_rebalance_delay_ms;
            self.initial = Some(InitialDelay { delay_ms, remaining_ms: timeout_ms.saturating_sub(delay_ms) });
            self.new_member_added = false;
            self.end_join_in(turn, delay_ms);
        } else if self.all_joined() {
            self.complete_join(turn);
        } else {
            self.end_join_in(turn, timeout_ms);
        }
    }

    /// Everybody who waits for an assignment gets `error`, and the assignments of the last round are void.
    pub fn cancel_syncs(&mut self, turn: &mut Turn<'_>, error: GroupError) {
        let ids: Vec<String> = self.members.keys().cloned().collect();
        for id in ids {
            self.alter_member(&id, |member| member.assignment.clear());
            self.answer_sync(turn, &id, SyncAnswer::refused(error));
        }
    }

    /// Ends the join phase when nobody is missing. The first round of an empty group always waits its delay.
    pub fn complete_if_all_joined(&mut self, turn: &mut Turn<'_>) {
        let waits_delay = self.initial.is_some() && !self.members.is_empty();
        if self.state == GroupState::PreparingRebalance && !waits_delay && self.all_joined() {
            self.complete_join(turn);
        }
    }

    fn end_join_in(&mut self, turn: &mut Turn<'_>, ms: u64) {
        let at = turn.now.mono.plus_ms(ms);
        self.join_deadline = Some(at);
        self.arm(turn, at);
    }

    /// The join phase is over: laggards go (static ones stay until their session ends), a generation begins.
    fn complete_join(&mut self, turn: &mut Turn<'_>) {
        self.join_deadline = None;
        self.initial = None;
        let laggards: Vec<String> = self
            .members
            .values()
            .filter(|member| !member.join.is_waiting() && member.instance_id.is_none())
            .map(|member| member.id.clone())
            .collect();
        for id in laggards {
            self.take_member(&id);
        }
        if self.members.is_empty() {
            return self.become_empty(turn);
        }
        if !self.elect() {
            // Only absent static members are left. Wait for one of them, or for their sessions to end.
            let pause_ms = self.rebalance_timeout_ms().max(ROUND_MS_MIN);
            return self.end_join_in(turn, pause_ms);
        }
        self.begin_generation(turn);
    }

    /// A leader that has rejoined stays; otherwise somebody who has rejoined takes over. False: nobody has.
    fn elect(&mut self) -> bool {
        let waits = |id: &String| self.members.get(id).is_some_and(|member| member.join.is_waiting());
        if self.leader.as_ref().is_some_and(waits) {
            return true;
        }
        let Some(next) = self.members.values().find(|member| member.join.is_waiting()) else { return false };
        self.leader = Some(next.id.clone());
        true
    }

    fn become_empty(&mut self, turn: &mut Turn<'_>) {
        self.next_generation();
        self.protocol = None;
        self.leader = None;
        self.subscribed = self.compute_subscribed_when_empty();
        self.set_state(GroupState::Empty, turn.now);
        let written = self.persist(turn);
        crate::invariant!(written, "the record of empty group {} does not fit into a batch", self.id);
    }

    fn compute_subscribed_when_empty(&self) -> Option<std::collections::BTreeSet<String>> {
        self.is_consumer_type().then(Default::default)
    }

    fn next_generation(&mut self) {
        self.generation = self.generation.checked_add(1).unwrap_or(1);
    }

    fn begin_generation(&mut self, turn: &mut Turn<'_>) {
        self.next_generation();
        self.protocol = self.choose_protocol();
        crate::invariant!(self.protocol.is_some(), "members of group {} without a common protocol", self.id);
        self.subscribed = self.compute_subscribed();
        self.set_state(GroupState::CompletingRebalance, turn.now);
        let ids: Vec<String> = self.members.keys().cloned().collect();
        for id in ids {
            // An absent static member keeps what is left of its session, and nobody waits for its sync.
            if !self.members.get(&id).is_some_and(|member| member.join.is_waiting()) {
                continue;
            }
            let answer = self.current(&id, self.is_leader(&id));
            self.answer_join(turn, &id, || answer);
            if let Some(member) = self.members.get_mut(&id) {
                member.is_new = false;
            }
            self.touch(turn, &id);
            self.pending_sync.insert(id);
        }
        let at = turn.now.mono.plus_ms(self.rebalance_timeout_ms().max(ROUND_MS_MIN));
        self.sync_deadline = Some(at);
        self.arm(turn, at);
    }

    /// A member goes, by its own wish or because its session ended.
    pub fn remove_member(&mut self, turn: &mut Turn<'_>, id: &str) {
        self.expel(turn, id, GroupError::UnknownMemberId);
        self.advance(turn);
    }

    /// The earliest time at which something must happen.
    pub fn next_deadline(&self) -> Option<Mono> {
        let sessions = self.members.values().filter_map(|member| member.expires());
        let pending = self.pending.values().copied();
        sessions.chain(pending).chain(self.join_deadline).chain(self.sync_deadline).min()
    }

    /// Time has passed.
    pub fn pass_time(&mut self, turn: &mut Turn<'_>) {
        let now = turn.now.mono;
        let pending_before = self.pending.len();
        self.pending.retain(|_, lapses| *lapses > now);
        if self.pending.len() < pending_before {
            self.complete_if_all_joined(turn);
        }
        let silent: Vec<String> =
            self.members.values().filter(|m| m.expires().is_some_and(|at| at <= now)).map(|m| m.id.clone()).collect();
        for id in silent {
            // The removal of another one may have given this one a new session.
            if self.members.get(&id).and_then(|m| m.expires()).is_some_and(|at| at <= now) {
                self.remove_member(turn, &id);
            }
        }
        if self.join_deadline.is_some_and(|at| at <= now) {
            self.join_time_is_up(turn);
        }
        if self.sync_deadline.is_some_and(|at| at <= now) {
            self.sync_time_is_up(turn);
        }
    }

    fn join_time_is_up(&mut self, turn: &mut Turn<'_>) {
        self.join_deadline = None;
        if self.state != GroupState::PreparingRebalance {
            return;
        }
        match self.initial.take() {
            Some(initial) if self.new_member_added && initial.remaining_ms > 0 => {
                self.new_member_added = false;
                let delay_ms = turn.shared.settings.initial_rebalance_delay_ms.min(initial.remaining_ms);
                let remaining_ms = initial.remaining_ms.saturating_sub(initial.delay_ms);
                self.initial = Some(InitialDelay { delay_ms, remaining_ms });
                self.end_join_in(turn, delay_ms);
            }
            _ => self.complete_join(turn),
        }
    }

    /// Members that got a generation and never fetched their assignment go, and the others rebalance.
    fn sync_time_is_up(&mut self, turn: &mut Turn<'_>) {
        self.sync_deadline = None;
        let silent = std::mem::take(&mut self.pending_sync);
        if silent.is_empty() || !matches!(self.state, GroupState::CompletingRebalance | GroupState::Stable) {
            return;
        }
        for id in silent {
            self.expel(turn, &id, GroupError::UnknownMemberId);
        }
        self.prepare(turn);
    }
}
