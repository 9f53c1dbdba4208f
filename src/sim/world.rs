//! One node in a made-up world: machines, a disk, a network, mailboxes and clocks, all driven by one seed in one
//! thread.
//!
//! Time is virtual: [`World::step`] takes the next event and jumps to it. A core's turn happens only when there is an
//! input, a due time or news of a stop, and takes time itself; what arrives meanwhile is gathered by the next turn. The
//! mail of a pair of cores stays in order, at most one batch of a sender a turn. Nothing in here asks what the machines
//! are for: the engine and the small machines of the contract suite run alike.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;

use bytes::Bytes;

use super::disk::{self, Disk, DiskProfile};
use super::net::{ClientSees, LinkId, Net, NetEvent, NetOut, NetProfile};
use super::trace::Trace;
use crate::base::ids::CoreId;
use crate::base::prng::Prng;
use crate::base::time::{Mono, Now, WallMs};
use crate::port::turn::{Effects, Inputs, Machine, NextWake, Token};

/// Wall time at the beginning of every run, milliseconds since 1970.
const WALL_START_MS: WallMs = 1_750_000_000_000;

/// A core with so many turns in a row without any input or effect, within so many milliseconds, is spinning.
const IDLE_TURNS_MAX: u32 = 1_000;
const IDLE_TURNS_MS: u64 = 1_000;

/// Something to happen.
#[derive(Clone, Debug)]
enum Event {
    Turn { core: CoreId },
    Disk { core: CoreId, token: Token },
    Net(NetEvent),
    Timer(u64),
    Cut,
}

/// What a step brings to whoever runs the world.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outward {
    /// A timer set with [`World::set_timer`].
    Timer(u64),
    /// A client's connection.
    Client(LinkId, ClientSees),
    /// The planned power cut is due: [`World::power_cut`] is the next thing to call.
    CutDue,
    /// Every machine has stopped.
    Stopped,
    /// A core wants turn after turn, and neither gets nor does anything in them.
    Spins(CoreId),
}

struct Core<M: Machine> {
    machine: M,
    inputs: Inputs<M::Message>,
    /// Mail on its way, by sender, with the time it arrives.
    lanes: Vec<VecDeque<(Mono, Vec<M::Message>)>>,
    turn_at: Option<Mono>,
    wake: NextWake,
    busy_until: Mono,
    told_to_stop: bool,
    stopped: bool,
    /// Turns in a row without any input or effect, and since when.
    idle_turns: u32,
    idle_since: Mono,
}

impl<M: Machine> Core<M> {
    /// Counts a turn; true when the core is spinning.
    fn counts_idle(&mut self, idle: bool, now: Mono) -> bool {
        if !idle || now.ms_since(self.idle_since) > IDLE_TURNS_MS {
            (self.idle_turns, self.idle_since) = (0, now);
        }
        self.idle_turns += u32::from(idle);
        self.idle_turns == IDLE_TURNS_MAX
    }
}

/// The world of one node. Sees everything.
pub struct World<M: Machine> {
    pub now: Mono,
    pub random: Prng,
    pub disk: Disk,
    pub net: Net,
    pub trace: Trace,
    /// What the wall clock is ahead of (or behind) its start plus the time passed, milliseconds.
    pub wall_shift_ms: i64,
    queue: BTreeMap<(Mono, u64), (u64, Event)>,
    next_event: u64,
    cores: Vec<Core<M>>,
    /// Counts starts and ends of the node: events of an earlier life are dropped.
    life: u64,
    stopping: bool,
    outward: VecDeque<Outward>,
    cut_at_write: Option<u64>,
}

impl<M: Machine> fmt::Debug for World<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("World").field("now", &self.now).field("life", &self.life).finish_non_exhaustive()
    }
}

impl<M: Machine> World<M> {
    /// A world without a running node. `cores`: of every life of the node.
    pub fn new(seed: u64, cores: u16, disk: DiskProfile, net: NetProfile, keep_trace: bool) -> World<M> {
        World {
            now: Mono(1_000_000_000),
            random: Prng::new(seed),
            disk: Disk::new(disk),
            net: Net::new(net, cores),
            trace: Trace::new(keep_trace),
            wall_shift_ms: 0,
            queue: BTreeMap::new(),
            next_event: 0,
            cores: Vec::new(),
            life: 0,
            stopping: false,
            outward: VecDeque::new(),
            cut_at_write: None,
        }
    }

    /// Both clocks.
    pub fn clock(&self) -> Now {
        Now { mono: self.now, wall_ms: WALL_START_MS + (self.now.0 / 1_000_000) as i64 + self.wall_shift_ms }
    }

    /// Starts a life of the node, one machine a core.
    pub fn start(&mut self, machines: Vec<M>) {
        crate::invariant!(self.cores.is_empty(), "the node runs already");
        self.life += 1;
        self.stopping = false;
        let count = machines.len();
        for machine in machines {
            self.cores.push(Core {
                machine,
                inputs: Inputs::default(),
                lanes: (0..count).map(|_| VecDeque::new()).collect(),
                turn_at: None,
                wake: NextWake::Now,
                busy_until: self.now,
                told_to_stop: false,
                stopped: false,
                idle_turns: 0,
                idle_since: self.now,
            });
        }
        for core in 0..count {
            self.poke(core, self.now);
        }
        self.trace.event(self.now, "start", &[self.life, count as u64], || format!("life {}", self.life));
    }

    /// Whether a life of the node is running.
    pub fn is_running(&self) -> bool {
        !self.cores.is_empty()
    }

    /// The node was asked to stop, and has not been started again since.
    pub fn is_stopping(&self) -> bool {
        self.stopping
    }

    /// The machines of the running node.
    pub fn machines(&self) -> impl Iterator<Item = &M> {
        self.cores.iter().map(|core| &core.machine)
    }

    /// Asks every machine to stop; [`Outward::Stopped`] follows.
    pub fn request_stop(&mut self) {
        self.trace.event(self.now, "stop", &[], String::new);
        self.stopping = true;
        for core in 0..self.cores.len() {
            self.poke(core, self.now);
        }
    }

    /// After [`Outward::Stopped`]: takes the machines out; the disk keeps everything.
    pub fn take_stopped(&mut self) -> Vec<M> {
        self.life += 1;
        self.disk.stopped();
        let mut out = NetOut::default();
        self.net.node_gone(&mut out);
        self.net_out(out);
        self.cores.drain(..).map(|core| core.machine).collect()
    }

    /// The power is gone: the machines with it, and of the disk what was not on stable storage.
    pub fn power_cut(&mut self) {
        self.disk.power_cut(&mut self.random);
        self.gone("power cut");
    }

    /// The process is gone: the machines, and nothing that the disk was told.
    pub fn process_dies(&mut self) {
        self.disk.process_dies(&mut self.random);
        self.gone("kill");
    }

    fn gone(&mut self, how: &'static str) {
        self.life += 1;
        self.cut_at_write = None;
        self.cores.clear();
        let mut out = NetOut::default();
        self.net.node_gone(&mut out);
        self.net_out(out);
        self.trace.event(self.now, how, &[self.disk.writes], || format!("after {} writes", self.disk.writes));
    }

    /// Plans [`Outward::CutDue`] for when the operation number `write` (of those that change the disk) is in flight.
    pub fn cut_at_write(&mut self, write: u64) {
        self.cut_at_write = Some(write);
    }

    /// [`Outward::Timer`] after `delay_ns`; timers outlive the node.
    pub fn set_timer(&mut self, delay_ns: u64, timer: u64) {
        self.later_in(0, delay_ns, Event::Timer(timer));
    }

    /// A client connects. Refused by nobody: a node that is down ends the connection at once.
    pub fn connect(&mut self, slow_reader: bool) -> LinkId {
        let mut out = NetOut::default();
        let link = self.net.connect(slow_reader, &mut self.random, &mut out);
        self.trace.event(self.now, "connect", &[link.0], || format!("{link:?}"));
        if self.is_running() {
            self.net_out(out);
        } else {
            self.net.reset(link, &mut out);
            out.inputs.clear();
            self.net_out(out);
        }
        link
    }

    pub fn client_send(&mut self, link: LinkId, bytes: Bytes) {
        self.trace.event(self.now, "client sends", &[link.0], || format!("{link:?} {} bytes", bytes.len()));
        self.trace.bytes(&bytes);
        let mut out = NetOut::default();
        self.net.client_send(link, bytes, self.now.0, &mut self.random, &mut out);
        self.net_out(out);
    }

    pub fn client_close(&mut self, link: LinkId) {
        let mut out = NetOut::default();
        self.net.client_close(link, self.now.0, &mut self.random, &mut out);
        self.net_out(out);
    }

    pub fn reset(&mut self, link: LinkId) {
        self.trace.event(self.now, "reset", &[link.0], || format!("{link:?}"));
        let mut out = NetOut::default();
        self.net.reset(link, &mut out);
        self.net_out(out);
    }

    fn later(&mut self, delay_ns: u64, event: Event) {
        self.later_in(self.life, delay_ns, event);
    }

    fn later_in(&mut self, life: u64, delay_ns: u64, event: Event) {
        self.next_event += 1;
        self.queue.insert((self.now + delay_ns, self.next_event), (life, event));
    }

    fn net_out(&mut self, out: NetOut) {
        for (delay, event) in out.later {
            self.later(delay, Event::Net(event));
        }
        for (core, input) in out.inputs {
            if let Some(target) = self.cores.get_mut(usize::from(core.0)) {
                target.inputs.net.push(input);
                self.poke(usize::from(core.0), self.now);
            }
        }
        self.outward.extend(out.seen.into_iter().map(|(link, seen)| Outward::Client(link, seen)));
    }

    /// Makes sure that `core` has a turn not long after `at`.
    fn poke(&mut self, core: usize, at: Mono) {
        let jitter = self.random.below(5_000);
        let Some(target) = self.cores.get_mut(core) else { return };
        if target.stopped {
            return;
        }
        let at = at.max(target.busy_until).max(self.now) + jitter;
        if target.turn_at.is_none_or(|planned| planned > at) {
            target.turn_at = Some(at);
            let delay = at - self.now;
            self.later(delay, Event::Turn { core: CoreId(core as u16) });
        }
    }

    /// The next thing that concerns the one who runs the world; `None`: nothing will ever happen again, or not before
    /// `until`.
    pub fn step(&mut self, until: Mono) -> Option<Outward> {
        loop {
            if let Some(outward) = self.outward.pop_front() {
                return Some(outward);
            }
            let (&(at, _), _) = self.queue.first_key_value()?;
            if at > until {
                self.now = until;
                return None;
            }
            let (_, (life, event)) = self.queue.pop_first()?;
            self.now = at;
            if life == self.life || life == 0 {
                self.happen(event);
            }
        }
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Turn { core } => {
                if self.cores.get(usize::from(core.0)).is_some_and(|target| target.turn_at == Some(self.now)) {
                    self.turn(core);
                }
            }
            Event::Disk { core, token } => self.disk_done(core, token),
            Event::Net(event) => {
                let mut out = NetOut::default();
                self.net.event(event, &mut self.random, &mut out);
                self.net_out(out);
            }
            Event::Timer(timer) => self.outward.push_back(Outward::Timer(timer)),
            Event::Cut => self.outward.push_back(Outward::CutDue),
        }
    }

    fn disk_done(&mut self, core: CoreId, token: Token) {
        let Some((op, result)) = self.disk.complete(core, token, &mut self.random) else { return };
        let ok = u64::from(result.is_ok());
        self.trace.event(self.now, "disk", &[u64::from(core.0), token.0, ok], || {
            format!("core {} {} -> {}", core.0, describe::op(&op), describe::result(&result))
        });
        if let Ok(crate::port::disk::DiskOutput::Data(data)) = &result {
            self.trace.bytes(data);
        }
        if let Some(target) = self.cores.get_mut(usize::from(core.0))
            && !target.stopped
        {
            target.inputs.disk.push((token, result));
            self.poke(usize::from(core.0), self.now);
        }
        self.maybe_all_stopped();
    }

    fn turn(&mut self, core: CoreId) {
        let index = usize::from(core.0);
        let now = self.clock();
        let stopping = self.stopping;
        let Some(target) = self.cores.get_mut(index) else { return };
        target.turn_at = None;
        let mut mail_waits = None;
        for (from, lane) in target.lanes.iter_mut().enumerate() {
            if lane.front().is_some_and(|(at, _)| *at <= now.mono)
                && let Some((_, batch)) = lane.pop_front()
            {
                target.inputs.mail.push((CoreId(from as u16), batch));
            }
            mail_waits = mail_waits.into_iter().chain(lane.front().map(|(at, _)| *at)).min();
        }
        target.inputs.stop = stopping;
        let due = match target.wake {
            NextWake::Now => true,
            NextWake::At(time) => now.mono >= time,
            NextWake::Never => false,
        };
        let inputs = &target.inputs;
        let news = !(inputs.disk.is_empty() && inputs.mail.is_empty() && inputs.net.is_empty());
        if !(due || news || stopping && !target.told_to_stop) {
            self.plan(index, mail_waits);
            return;
        }
        let counts = [inputs.disk.len(), inputs.mail.len(), inputs.net.len()].map(|count| count as u64);
        target.told_to_stop = stopping;
        let mut effects = Effects::default();
        target.wake = target.machine.turn(now, &mut target.inputs, &mut effects);
        crate::invariant!(
            target.inputs.disk.is_empty() && target.inputs.mail.is_empty() && target.inputs.net.is_empty(),
            "the machine of core {} left inputs behind",
            core.0
        );
        target.stopped = effects.stopped;
        let idle = !news && effects.disk.is_empty() && effects.mail.is_empty() && effects.net.is_empty();
        if target.counts_idle(idle, now.mono) {
            self.outward.push_back(Outward::Spins(core));
        }
        let cost = 500 + self.random.below(20_000);
        let target = &mut self.cores[index];
        target.busy_until = now.mono + cost;
        let numbers = [u64::from(core.0), counts[0], counts[1], counts[2], effects.disk.len() as u64];
        self.trace.event(now.mono, "turn", &numbers, || {
            format!("core {}: {} disk, {} mail, {} net", core.0, counts[0], counts[1], counts[2])
        });
        self.carry_out(core, effects);
        self.plan(index, mail_waits);
        self.maybe_all_stopped();
    }

    /// The next turn of a core, for its timer and its waiting mail.
    fn plan(&mut self, core: usize, mail_waits: Option<Mono>) {
        let Some(target) = self.cores.get(core) else { return };
        let wake = match target.wake {
            NextWake::Now => Some(self.now),
            NextWake::At(time) => Some(time),
            NextWake::Never => None,
        };
        if let Some(at) = wake.into_iter().chain(mail_waits).min() {
            self.poke(core, at);
        }
    }

    fn carry_out(&mut self, core: CoreId, effects: Effects<M::Message>) {
        for (token, op) in effects.disk {
            let before = self.disk.writes;
            self.trace.event(self.now, "ask", &[u64::from(core.0), token.0], || {
                format!("core {} {}", core.0, describe::op(&op))
            });
            if let crate::port::disk::DiskOp::Write { data, position, .. } = &op {
                self.trace.bytes(&position.to_be_bytes());
                self.trace.bytes(data);
            }
            let changes = disk::changes(&op);
            let latency = self.disk.submit(core, token, op, &mut self.random);
            self.later(latency, Event::Disk { core, token });
            if changes && self.cut_at_write == Some(before) {
                let delay = self.random.below(latency + 1);
                self.later(delay, Event::Cut);
            }
        }
        let mut out = NetOut::default();
        for op in effects.net {
            if let crate::port::net::NetOp::Send { parts, .. } = &op {
                parts.iter().for_each(|part| self.trace.bytes(&disk::sent_bytes(part)));
            }
            if let crate::port::net::NetOp::Close { conn } = &op {
                // Answers that wait for the next turn are of operations that count as in flight still.
                let inputs = &mut self.cores[usize::from(core.0)].inputs.net;
                inputs.retain(|input| !answers(input, *conn));
            }
            self.net.op(core, op, &mut self.random, &mut out);
        }
        self.net_out(out);
        for (to, batch) in effects.mail {
            let delay = 200 + self.random.below(30_000);
            let at = self.now + delay;
            let lane = &mut self.cores[usize::from(to.0)].lanes[usize::from(core.0)];
            let at = lane.back().map_or(at, |(last, _)| at.max(*last));
            lane.push_back((at, batch));
            self.poke(usize::from(to.0), at);
        }
    }

    fn maybe_all_stopped(&mut self) {
        let all = !self.cores.is_empty() && self.cores.iter().all(|core| core.stopped);
        if all && self.disk.in_flight() == 0 && !self.outward.contains(&Outward::Stopped) {
            self.outward.push_back(Outward::Stopped);
        }
    }
}

/// Whether an input answers an operation on this connection.
fn answers(input: &crate::port::net::NetInput, closed: crate::base::ids::ConnId) -> bool {
    use crate::port::net::NetInput;
    match input {
        NetInput::Received { conn, .. } | NetInput::Sent { conn } | NetInput::Broken { conn } => *conn == closed,
        NetInput::Accepted { .. } | NetInput::Closed { .. } => false,
    }
}

/// Words for the trace.
mod describe {
    use crate::port::disk::{DiskOp, DiskOutput, DiskResult};

    pub fn op(op: &DiskOp) -> String {
        match op {
            DiskOp::Write { file, position, data, sync } => {
                format!(
                    "write file {} at {position}, {} bytes{}",
                    file.0,
                    data.len(),
                    if *sync { ", sync" } else { "" }
                )
            }
            DiskOp::WriteFile { path, data } => format!("write {path}, {} bytes", data.len()),
            other => format!("{other:?}"),
        }
    }

    pub fn result(result: &DiskResult) -> String {
        match result {
            Ok(DiskOutput::Data(data)) => format!("{} bytes", data.len()),
            Ok(other) => format!("{other:?}"),
            Err(error) => format!("{:?}: {}", error.kind, error.detail),
        }
    }
}
