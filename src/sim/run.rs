//! One run: a node and its clients under the faults of a seed, then peace, then the reckoning.
//!
//! ```text
//!   work (faults, restarts) ──► drain (no faults, clients finish) ──► last restart ──► check ──► end
//!          each restart: everyone holds still until the checker has read everything
//! ```

use std::any::Any;
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;

use super::client::admin::Admin;
use super::client::checker::Checker;
use super::client::committer::Committer;
use super::client::consumer::Consumer;
use super::client::member::Member;
use super::client::pinner::Pinner;
use super::client::producer::{Producer, ProducerKind};
use super::client::{Client, Cx};
use super::faults;
use super::model::Model;
use super::mutation::Mutation;
use super::net::{ClientSees, LinkId};
use super::node::{NodePlan, Notices};
pub use super::outcome::{Options, Outcome};
use super::swarm::Swarm;
use super::world::{Outward, World};
use crate::base::prng::Prng;
use crate::base::time::Mono;
use crate::engine::Engine;
use crate::shard::Notice;

/// A client waits this long for an answer, milliseconds.
const ANSWER_MS_MAX: u64 = 30_000;
/// After the faults everything must be done within this time, milliseconds.
const PEACE_MS_MAX: u64 = 300_000;
const TICK_MS: u64 = 100;
/// Numbers of timers that belong to no client.
const TICK: u64 = u64::MAX;
const FAULT: u64 = u64::MAX - 1;
const START: u64 = u64::MAX - 2;
const RESET: u64 = u64::MAX - 3;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Work,
    Drain,
    LastRestart,
    Check,
}

#[derive(Clone, Copy, Debug)]
enum Fault {
    Cut,
    Kill,
    CleanRestart,
    ErrorsOn,
    ErrorsOff,
    Fill,
    Room,
    Clock,
}

#[derive(Debug)]
struct Seat {
    client: Box<dyn Client>,
    timer: u64,
}

#[derive(Debug)]
struct Run {
    world: World<Engine>,
    model: Model,
    swarm: Swarm,
    plan: NodePlan,
    seats: Vec<Seat>,
    owners: BTreeMap<LinkId, usize>,
    notices: Notices,
    phase: Phase,
    /// The checker reads; the others hold still.
    checking: bool,
    serving: u32,
    started_at: Mono,
    /// The last life ended in order.
    clean: bool,
    restarts: u32,
    flips: u32,
    faults: Vec<(u64, Fault)>,
    peace_since: Mono,
    restart_planned: bool,
}

/// Runs one seed from beginning to end. A machine that panics is a finding like any other.
pub fn run(options: &Options) -> Outcome {
    // Nothing outside sees what a broken run leaves behind.
    catch_unwind(AssertUnwindSafe(|| run_to_end(options))).unwrap_or_else(|panic| {
        let words = |panic: &(dyn Any + Send)| match panic.downcast_ref::<String>() {
            Some(words) => words.clone(),
            None => panic.downcast_ref::<&str>().copied().unwrap_or("no words").to_owned(),
        };
        Outcome::broken(format!("a panic: {}", words(&*panic)))
    })
}

fn run_to_end(options: &Options) -> Outcome {
    let swarm = options.swarm.clone();
    let plan = match NodePlan::new(&swarm) {
        Ok(plan) => plan,
        Err(error) => return Outcome::broken(format!("the simulator's settings: {error}")),
    };
    let world = World::new(options.seed, swarm.cores, swarm.disk.clone(), swarm.net.clone(), options.keep_trace);
    let model = Model::new(swarm.retention, swarm.value_max);
    let mut run = Run {
        world,
        model,
        plan,
        seats: Vec::new(),
        owners: BTreeMap::new(),
        notices: Rc::new(RefCell::new(Vec::new())),
        phase: Phase::Work,
        checking: false,
        serving: 0,
        started_at: Mono(0),
        clean: true,
        restarts: 0,
        flips: 0,
        faults: Vec::new(),
        peace_since: Mono(0),
        restart_planned: false,
        swarm,
    };
    if let Some(write) = options.cut_at_write {
        run.world.cut_at_write(write);
    }
    run.seat_clients();
    run.plan_faults(&mut Prng::new(options.seed ^ 0xfa01_75fa_0175_fa01));
    run.start();
    run.world.set_timer(TICK_MS * 1_000_000, TICK);
    let begun = run.world.now;
    while run.model.finding.is_none() && run.step() {}
    Outcome {
        finding: run.model.finding.clone(),
        trace_hash: run.world.trace.hash(),
        events: run.world.trace.events(),
        writes: run.world.disk.writes,
        acked: run.model.acked,
        read: run.model.read,
        staged: run.world.disk.staged,
        restarts: run.restarts,
        flips: run.flips,
        lasted_ms: run.world.now.ms_since(begun),
        trace: run.world.trace.take_lines(),
    }
}

impl Run {
    fn seat_clients(&mut self) {
        let swarm = self.swarm.clone();
        let setup = swarm.topics.iter().enumerate().map(|(number, count)| (format!("t{number}"), *count)).collect();
        // The checker has the first seat, the administrator the second.
        self.seat(Box::new(Checker::default()));
        self.seat(Box::new(Admin::new(setup, swarm.admin_changes)));
        for number in 0..swarm.producers {
            let random = &mut self.world.random;
            let idempotent = random.chance(2, 3);
            let acks = if idempotent || random.chance(1, 2) { -1 } else { random.below(2) as i16 };
            let depth = 1 + random.below(5) as usize;
            let kind = ProducerKind { idempotent, acks, depth, sleepy: swarm.sleepy };
            let slow = swarm.slow_readers && random.chance(1, 3);
            self.seat(Box::new(Producer::new(number + 1, kind, swarm.batches, slow)));
        }
        for _ in 0..swarm.consumers {
            let with_session = self.world.random.chance(1, 2);
            let slow = swarm.slow_readers && self.world.random.chance(1, 3);
            self.seat(Box::new(Consumer::new(with_session, slow)));
        }
        for number in 0..swarm.committers {
            self.seat(Box::new(Committer::new(number, swarm.commits)));
        }
        for number in 0..swarm.members {
            self.seat(Box::new(Member::new(number % 2, number, "t0", swarm.commits)));
        }
        if swarm.moves > 0 {
            self.seat(Box::new(Pinner::new(swarm.moves)));
        }
    }

    fn seat(&mut self, client: Box<dyn Client>) {
        self.seats.push(Seat { client, timer: 0 });
        let seat = self.seats.len() - 1;
        let delay = self.world.random.below(1_000_000);
        self.set_timer(seat, delay);
    }

    fn set_timer(&mut self, seat: usize, delay_ns: u64) {
        self.seats[seat].timer += 1;
        let timer = (seat as u64) << 32 | self.seats[seat].timer;
        self.world.set_timer(delay_ns, timer);
    }

    /// When which fault happens, in order of time.
    fn plan_faults(&mut self, random: &mut Prng) {
        let swarm = &self.swarm;
        let mut faults: Vec<(u64, Fault)> = Vec::new();
        let work_ms = swarm.work_ms;
        let mut at = |random: &mut Prng, fault| faults.push((random.below(work_ms), fault));
        (0..swarm.cuts).for_each(|_| at(random, Fault::Cut));
        (0..swarm.kills).for_each(|_| at(random, Fault::Kill));
        (0..swarm.clean_restarts).for_each(|_| at(random, Fault::CleanRestart));
        if swarm.disk.write_error_one_in + swarm.disk.read_error_one_in > 0 {
            at(random, Fault::ErrorsOn);
            at(random, Fault::ErrorsOff);
        }
        if swarm.full_disk {
            at(random, Fault::Fill);
            at(random, Fault::Room);
        }
        if swarm.clock_jumps {
            (0..3).for_each(|_| at(random, Fault::Clock));
        }
        faults.sort_by_key(|(at, _)| std::cmp::Reverse(*at));
        if let Some((at, _)) = faults.last() {
            self.world.set_timer(at * 1_000_000, FAULT);
        }
        if swarm.reset_every_ms > 0 {
            self.world.set_timer(swarm.reset_every_ms * 1_000_000, RESET);
        }
        self.faults = faults;
    }

    fn start(&mut self) {
        self.restart_planned = false;
        self.notices.borrow_mut().clear();
        self.serving = 0;
        self.started_at = self.world.now;
        if self.restarts > 0 && self.swarm.mutation == Some(Mutation::ForgetSnapshots) {
            faults::forget_snapshots(&mut self.world.disk);
        }
        let seed = self.world.random.next_u64();
        let engines = self.plan.engines(seed, self.clean, self.world.clock(), &self.notices);
        self.clean = false;
        self.world.start(engines);
        if self.restarts > 0 {
            self.checking = true;
            if self.phase == Phase::LastRestart {
                self.phase = Phase::Check;
            }
            self.with_checker(Checker::begin);
            self.set_timer(0, 1_000_000);
        }
    }

    fn with_checker(&mut self, act: impl FnOnce(&mut Checker)) {
        // The first seat is the checker's; it is kept beside its type.
        let mut checker = Checker::default();
        act(&mut checker);
        if let Some(link) = self.seats[0].client.line().drop_link() {
            self.world.client_close(link);
            self.owners.remove(&link);
        }
        self.seats[0].client = Box::new(checker);
    }

    /// One thing that happens. False: the run is over.
    fn step(&mut self) -> bool {
        let until = self.world.now.plus_ms(PEACE_MS_MAX);
        let Some(outward) = self.world.step(until) else {
            self.model.fail(|| "nothing happens any more".to_owned());
            return false;
        };
        match outward {
            Outward::Timer(TICK) => {
                self.world.set_timer(TICK_MS * 1_000_000, TICK);
                return self.tick();
            }
            Outward::Timer(FAULT) => self.fault(),
            Outward::Timer(START) => {
                if !self.world.is_running() {
                    self.start();
                }
            }
            Outward::Timer(RESET) => self.reset_one(),
            Outward::Timer(timer) => self.client_timer(timer),
            Outward::Client(link, sees) => self.client_sees(link, sees),
            Outward::CutDue => {
                if self.world.is_running() {
                    self.cut();
                }
            }
            Outward::Stopped => self.stopped(),
            Outward::Spins(core) => self.model.fail(|| format!("core {} turns for ever with nothing to do", core.0)),
        }
        self.look_at_notices();
        true
    }

    fn client_timer(&mut self, timer: u64) {
        let seat = (timer >> 32) as usize;
        if self.seats.get(seat).is_none_or(|s| s.timer != timer & 0xffff_ffff) {
            return;
        }
        if self.checking && seat != 0 || !self.world.is_running() {
            // Everyone holds still while the checker reads.
            return self.set_timer(seat, 20_000_000);
        }
        self.act(seat, |client, cx| client.wake(cx));
    }

    fn act(&mut self, seat: usize, act: impl FnOnce(&mut dyn Client, &mut Cx<'_>)) {
        let mut cx = Cx {
            world: &mut self.world,
            model: &mut self.model,
            swarm: &self.swarm,
            draining: self.phase != Phase::Work,
            wake_in_ns: None,
        };
        let client = self.seats[seat].client.as_mut();
        act(client, &mut cx);
        let wake = cx.wake_in_ns;
        if let Some(link) = client.line().link {
            self.owners.insert(link, seat);
        }
        if let Some(delay) = wake {
            self.set_timer(seat, delay);
        }
    }

    fn client_sees(&mut self, link: LinkId, sees: ClientSees) {
        let Some(seat) = self.owners.get(&link).copied() else { return };
        if self.seats[seat].client.line().link != Some(link) {
            return;
        }
        match sees {
            ClientSees::Data(bytes) => {
                self.seats[seat].client.line().feed(&bytes);
                while self.seats[seat].client.line().link == Some(link) {
                    match self.seats[seat].client.line().next_answer() {
                        Ok(Some(answer)) => self.act(seat, |client, cx| client.answer(answer, cx)),
                        Ok(None) => return,
                        Err(problem) => return self.model.fail(|| format!("client {seat}: {problem}")),
                    }
                }
            }
            ClientSees::Ended => self.lose(seat),
        }
    }

    fn lose(&mut self, seat: usize) {
        if let Some(link) = self.seats[seat].client.line().drop_link() {
            self.owners.remove(&link);
        }
        self.act(seat, |client, cx| client.lost(cx));
    }

    fn reset_one(&mut self) {
        if self.phase != Phase::Work {
            return;
        }
        let links = self.world.net.open_links();
        if !links.is_empty() {
            let link = links[self.world.random.below(links.len() as u64) as usize];
            self.world.reset(link);
        }
        let delay = self.world.random.below(2 * self.swarm.reset_every_ms * 1_000_000) + 1;
        self.world.set_timer(delay, RESET);
    }

    fn fault(&mut self) {
        let Some((_, fault)) = self.faults.pop() else { return };
        let begun = self.world.now;
        if self.phase == Phase::Work {
            self.world.trace.event(begun, "fault", &[], || format!("{fault:?}"));
            match fault {
                Fault::Cut if self.world.is_running() => self.cut(),
                Fault::Kill if self.world.is_running() => self.kill(),
                Fault::CleanRestart if self.world.is_running() => self.world.request_stop(),
                Fault::Cut | Fault::Kill | Fault::CleanRestart => {}
                Fault::ErrorsOn => self.world.disk.errors_on = true,
                Fault::ErrorsOff => self.world.disk.errors_on = false,
                Fault::Fill => {
                    let room = self.world.random.below(self.swarm.fill_room);
                    self.world.disk.profile.capacity = Some(self.world.disk.used() + room);
                }
                Fault::Room => self.world.disk.profile.capacity = None,
                Fault::Clock => {
                    let jump = self.world.random.below(600_000) as i64 - 300_000;
                    self.world.wall_shift_ms += jump;
                }
            }
        }
        if let Some((next, _)) = self.faults.last() {
            let passed = self.world.now.0 / 1_000_000 - 1_000;
            self.world.set_timer(next.saturating_sub(passed) * 1_000_000, FAULT);
        }
    }

    fn cut(&mut self) {
        self.world.power_cut();
        match self.swarm.mutation {
            Some(Mutation::JournalReuse) => faults::reuse_journals(&mut self.world.disk),
            Some(Mutation::JournalSkipped) => faults::skip_journals(&mut self.world.disk),
            _ => {}
        }
        if self.swarm.flips {
            let (disk, model) = (&mut self.world.disk, &mut self.model);
            if let Some(flipped) = faults::flip(disk, model, self.swarm.mutation, &mut self.world.random) {
                self.flips += 1;
                let now = self.world.now;
                self.world.trace.event(now, "flip", &[], || flipped);
            }
        }
        self.clean = false;
        self.plan_start();
    }

    /// The process dies; what it has not synced may still be lost to a later cut.
    fn kill(&mut self) {
        self.world.process_dies();
        self.clean = false;
        self.plan_start();
    }

    fn stopped(&mut self) {
        self.world.take_stopped();
        let told = self.notices.borrow().iter().any(|(_, notice)| *notice == Notice::StoppedClean);
        self.clean |= told;
        if self.world.random.chance(1, 8) {
            // The power goes before the node has noted that it stopped in order.
            self.clean = false;
        }
        self.plan_start();
    }

    fn plan_start(&mut self) {
        self.restarts += 1;
        self.checking = false;
        let delay = 1_000_000 + self.world.random.below(200_000_000);
        self.world.set_timer(delay, START);
    }

    fn look_at_notices(&mut self) {
        let notices = std::mem::take(&mut *self.notices.borrow_mut());
        for (core, notice) in notices {
            let now = self.world.now;
            self.world.trace.event(now, "notice", &[u64::from(core.0)], || format!("core {}: {notice:?}", core.0));
            match notice {
                Notice::Serving => self.serving += 1,
                Notice::StartFailed { reason } if self.is_peaceful() => {
                    self.model.fail(|| format!("the node cannot start: {reason}"));
                }
                Notice::FolderOffline { reason } if self.is_peaceful() => {
                    self.model.fail(|| format!("the folder failed though the disk did not: {reason}"));
                }
                Notice::StartFailed { .. } | Notice::FolderOffline { .. } => {
                    if !self.restart_planned && self.world.is_running() {
                        self.restart_planned = true;
                        // Whoever runs the node takes it down, in order or not.
                        if self.world.random.chance(1, 2) { self.cut() } else { self.world.request_stop() }
                    }
                }
                Notice::StoppedClean => self.clean = true,
                Notice::Recovered { .. } | Notice::ConnectionsMax(_) => {}
            }
        }
    }

    /// Nothing that was done to the disk excuses a failure. A full disk excuses only that a stop is not in order.
    fn is_peaceful(&self) -> bool {
        let disk = &self.world.disk;
        let stops_full = self.swarm.full_disk && self.world.is_stopping();
        !disk.errors_on && disk.errors == 0 && !stops_full
    }

    /// Looks after time-outs and phases. False: the run is over.
    fn tick(&mut self) -> bool {
        let now = self.world.now;
        for seat in 0..self.seats.len() {
            let line = self.seats[seat].client.line();
            if line.oldest().is_some_and(|since| now.ms_since(since) > ANSWER_MS_MAX) {
                if self.phase != Phase::Work && self.world.is_running() {
                    let client = format!("{:?}", self.seats[seat].client);
                    self.model.fail(|| format!("client {seat} got no answer for {ANSWER_MS_MAX} ms: {client:.400}"));
                }
                if let Some(link) = self.seats[seat].client.line().link {
                    self.world.client_close(link);
                }
                self.lose(seat);
            }
        }
        if self.checking && self.seats[0].client.is_idle() {
            self.checking = false;
        }
        self.phase_over()
    }

    fn phase_over(&mut self) -> bool {
        let now = self.world.now;
        let quiet = !self.checking && self.world.is_running() && self.serving == u32::from(self.swarm.cores);
        let idle = quiet && self.seats.iter().all(|seat| seat.client.is_idle());
        let patience_over = now.ms_since(self.peace_since) > PEACE_MS_MAX;
        match self.phase {
            Phase::Work if now.0 / 1_000_000 > 1_000 + self.swarm.work_ms => {
                self.phase = Phase::Drain;
                self.peace_since = now;
                self.world.disk.errors_on = false;
                self.world.disk.profile.capacity = None;
                if self.world.disk.errors > 0 && self.world.is_running() {
                    // Whoever repairs a disk starts the node again.
                    self.cut();
                }
            }
            Phase::Work => {}
            Phase::Drain if idle => {
                self.phase = Phase::LastRestart;
                match self.world.random.chance(1, 2) {
                    // A power cut may take what such a node has acknowledged.
                    true if self.swarm.page_cache => self.kill(),
                    true => self.cut(),
                    false => self.world.request_stop(),
                }
            }
            Phase::Check if quiet => return false,
            _ if patience_over => {
                let waiting: Vec<String> = (self.seats.iter().enumerate())
                    .filter(|(_, seat)| !seat.client.is_idle())
                    .map(|(number, seat)| format!("client {number}: {:?}", seat.client))
                    .collect();
                let (phase, serving) = (self.phase, self.serving);
                self.model.fail(|| format!("no end in {phase:?}, {serving} cores serve: {:.2000}", waiting.join("; ")));
            }
            _ => {}
        }
        true
    }
}
