//! The protocol alone: cores that are nothing but a route, the two machines, and logs that are lists of numbers. Mail
//! is late and overtakes other mail except within a pair of cores; numbered asks of many connections must all be in the
//! logs, once and in order, and no ask may meet a core that knows nothing of its partition.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::{Move, Mover, Transit};
use crate::base::ids::{CoreId, TopicPartition, Uuid};
use crate::base::prng::Prng;
use crate::base::time::Mono;

const CORES: u16 = 3;
const PARTITIONS: i32 = 4;
const CONNECTIONS: usize = 5;

/// An ask: its connection, its number there.
type Ask = (usize, u32);

#[derive(Clone, Debug)]
enum Mail {
    Ask(TopicPartition, Ask),
    Asked(Move),
    Refused(u64),
    Expected(Move),
    Ready(u64),
    Turn(Move),
    Turned(u64),
    Handed(Move, Option<Vec<Ask>>),
    Moved(u64),
}

struct Core {
    route: BTreeMap<TopicPartition, CoreId>,
    transit: Transit,
    held: Vec<(TopicPartition, Ask)>,
    logs: BTreeMap<TopicPartition, Vec<Ask>>,
}

struct World {
    cores: Vec<Core>,
    mover: Mover,
    wanted: BTreeMap<TopicPartition, CoreId>,
    /// By sender and receiver.
    lanes: Vec<VecDeque<Mail>>,
    random: Prng,
    now: Mono,
    asked: Vec<BTreeMap<TopicPartition, u32>>,
    moves: u32,
}

fn id(partition: i32) -> TopicPartition {
    TopicPartition { topic: Uuid([7; 16]), partition }
}

impl World {
    /// `turns`: how many cores an old owner waits for; a right one waits for all.
    fn new(seed: u64, turns: u16) -> World {
        let home = |partition: i32| CoreId(partition as u16 % CORES);
        let route: BTreeMap<_, _> = (0..PARTITIONS).map(|partition| (id(partition), home(partition))).collect();
        let core = |number: u16| Core {
            route: route.clone(),
            transit: Transit::new(turns),
            held: Vec::new(),
            logs: route.iter().filter(|(_, core)| core.0 == number).map(|(id, _)| (*id, Vec::new())).collect(),
        };
        World {
            cores: (0..CORES).map(core).collect(),
            mover: Mover::default(),
            wanted: route,
            lanes: (0..CORES * CORES).map(|_| VecDeque::new()).collect(),
            random: Prng::new(seed),
            now: Mono(0),
            asked: vec![BTreeMap::new(); CONNECTIONS],
            moves: 0,
        }
    }

    fn below(&mut self, bound: usize) -> usize {
        self.random.below(bound as u64) as usize
    }

    fn send(&mut self, from: CoreId, to: CoreId, mail: Mail) {
        self.lanes[usize::from(from.0 * CORES + to.0)].push_back(mail);
    }

    fn core(&mut self, core: CoreId) -> &mut Core {
        &mut self.cores[usize::from(core.0)]
    }

    /// One thing happens; `working`: clients and the operator do something, too.
    fn step(&mut self, working: bool) -> Result<(), String> {
        self.now = self.now.plus_ms(1);
        match self.below(10) {
            0 if working => self.change_mind(),
            1..4 if working => self.ask(),
            4 => self.depart(),
            _ => return self.deliver(),
        }
        self.begin();
        Ok(())
    }

    fn change_mind(&mut self) {
        let (partition, core) = (self.below(PARTITIONS as usize), self.below(usize::from(CORES)));
        self.wanted.insert(id(partition as i32), CoreId(core as u16));
        self.mover.want(self.wanted.keys().copied().collect());
    }

    fn begin(&mut self) {
        let (route, wanted) = (&self.cores[0].route, &self.wanted);
        let place = |id| (route[&id] != wanted[&id]).then(|| (route[&id], wanted[&id]));
        if let Some(begun) = self.mover.next(self.now, place) {
            self.send(CoreId(0), begun.from, Mail::Asked(begun));
        }
    }

    fn ask(&mut self) {
        let (conn, partition) = (self.below(CONNECTIONS), id(self.random.below(PARTITIONS as u64) as i32));
        let number = self.asked[conn].entry(partition).or_insert(0);
        *number += 1;
        let ask = (conn, *number);
        let here = CoreId(conn as u16 % CORES);
        let owner = self.core(here).route[&partition];
        self.send(here, owner, Mail::Ask(partition, ask));
    }

    /// Logs for which all asks are in leave, some of them.
    fn depart(&mut self) {
        let number = self.below(usize::from(CORES));
        let core = &mut self.cores[number];
        let Some(due) = core.transit.due().next() else { return };
        core.transit.leave(due);
        assert!(core.transit.is_leaving(due));
        let (log, of) = (core.logs.remove(&due), core.transit.left(due).expect("it was due"));
        self.send(CoreId(number as u16), of.to, Mail::Handed(of, log));
    }

    fn deliver(&mut self) -> Result<(), String> {
        let full: Vec<usize> = (0..self.lanes.len()).filter(|lane| !self.lanes[*lane].is_empty()).collect();
        if full.is_empty() {
            return Ok(());
        }
        let lane = full[self.below(full.len())];
        let here = CoreId(lane as u16 % CORES);
        let Some(mail) = self.lanes[lane].pop_front() else { return Ok(()) };
        self.receive(here, mail)
    }

    fn serve(&mut self, here: CoreId, partition: TopicPartition, ask: Ask) -> Result<(), String> {
        let core = self.core(here);
        if core.transit.awaits(partition) {
            core.held.push((partition, ask));
            return Ok(());
        }
        let log = core.logs.get_mut(&partition);
        log.ok_or_else(|| format!("{here:?} was asked {ask:?} of {partition:?}, which is not here"))?.push(ask);
        Ok(())
    }

    fn receive(&mut self, here: CoreId, mail: Mail) -> Result<(), String> {
        match mail {
            Mail::Ask(partition, ask) => return self.serve(here, partition, ask),
            Mail::Asked(asked) => {
                // A log that is not ready says no.
                if self.below(4) > 0 && self.core(here).transit.depart(asked) {
                    self.send(here, asked.to, Mail::Expected(asked));
                } else {
                    self.send(here, CoreId(0), Mail::Refused(asked.number));
                }
            }
            Mail::Refused(number) => self.mover.refused(number, self.now),
            Mail::Expected(expected) => {
                self.core(here).transit.expect(expected);
                self.send(here, CoreId(0), Mail::Ready(expected.number));
            }
            Mail::Ready(number) => {
                let ready = self.mover.ready(number).ok_or("nobody waits for it to be ready")?;
                (0..CORES).for_each(|core| self.send(CoreId(0), CoreId(core), Mail::Turn(ready)));
            }
            Mail::Turn(turn) => {
                self.core(here).route.insert(turn.partition, turn.to);
                self.send(here, turn.from, Mail::Turned(turn.number));
            }
            Mail::Turned(number) => self.core(here).transit.turned(number),
            Mail::Handed(of, log) => {
                let core = self.core(here);
                core.transit.handed(of).ok_or("nobody expects it")?;
                core.logs.insert(of.partition, log.ok_or("it was not there")?);
                for (partition, ask) in std::mem::take(&mut core.held) {
                    self.serve(here, partition, ask)?;
                }
                self.send(here, CoreId(0), Mail::Moved(of.number));
            }
            Mail::Moved(number) => {
                self.moves += 1;
                let over = self.mover.moved(number).ok_or("nobody waits for it to be over")?;
                self.mover.again(over.partition);
                self.begin();
            }
        }
        Ok(())
    }

    /// Everything asked is there, in order, and every partition where it is wanted.
    fn check(&self) -> Result<(), String> {
        let mut seen = BTreeSet::new();
        for (number, core) in self.cores.iter().enumerate() {
            for (partition, log) in &core.logs {
                if self.wanted[partition].0 != number as u16 || !seen.insert(*partition) {
                    return Err(format!("{partition:?} is on core {number}"));
                }
                for conn in 0..CONNECTIONS {
                    let numbers: Vec<u32> = log.iter().filter(|ask| ask.0 == conn).map(|ask| ask.1).collect();
                    let all: Vec<u32> = (1..=self.asked[conn].get(partition).copied().unwrap_or(0)).collect();
                    if numbers != all {
                        return Err(format!("connection {conn} asked {all:?} of {partition:?} and finds {numbers:?}"));
                    }
                }
            }
            if !core.transit.is_idle() {
                return Err(format!("core {number} still waits: {:?}", core.transit));
            }
        }
        if seen.len() == PARTITIONS as usize { Ok(()) } else { Err(format!("only {seen:?} are left")) }
    }
}

/// Returns how many moves there were.
fn run(seed: u64, turns: u16) -> Result<u32, String> {
    let mut world = World::new(seed, turns);
    for _ in 0..2_000 {
        world.step(true)?;
    }
    // Patience for what was refused, and for the mail.
    for _ in 0..20_000 {
        world.step(false)?;
        world.begin();
    }
    world.check()?;
    Ok(world.moves)
}

#[test]
fn every_ask_is_served_once_and_in_order_while_partitions_move() {
    let moves: u32 = (0..60).map(|seed| run(seed, CORES).unwrap_or_else(|why| panic!("seed {seed}: {why}"))).sum();
    assert!(moves > 600, "only {moves} moves");
}

#[test]
fn an_old_owner_that_does_not_wait_for_every_core_is_noticed() {
    assert!((0..60).any(|seed| run(seed, CORES - 1).is_err()));
}

#[test]
fn a_topic_that_is_removed_on_the_way_is_deleted_where_it_arrives_and_nobody_waits_for_it() {
    let mut transit = Transit::new(1);
    let of = Move { number: 1, partition: id(0), from: CoreId(1), to: CoreId(0) };
    transit.expect(of);
    assert!(transit.awaits(id(0)) && transit.awaited_of(id(0).topic).eq([id(0)]));
    assert_eq!(transit.doom_topic(Uuid([8; 16]), "other", 5), 0);
    assert_eq!(transit.doom_topic(id(0).topic, "gone", 9), 1);
    assert!(!transit.awaits(id(0)), "whoever asks hears that it is gone");
    assert_eq!(transit.coming(), 1, "but a stop waits for what comes");
    let arrival = transit.handed(of).expect("it was expected");
    assert_eq!((arrival.doomed, arrival.removed.len()), (Some(9), 1));
    assert_eq!(transit.handed(of).map(|arrival| arrival.of), None);
}

#[test]
fn what_is_called_off_is_told_once_and_asks_for_it_wait_for_the_end() {
    let of = Move { number: 3, partition: id(0), from: CoreId(0), to: CoreId(1) };
    let (mut old, mut new) = (Transit::new(1), Transit::new(1));
    assert!(old.depart(of) && !old.depart(of), "one move at a time");
    new.expect(of);
    assert_eq!(old.cancel_topic(Uuid([8; 16])), []);
    assert_eq!(old.cancel_all(), [of]);
    old.turned(3);
    assert_eq!((old.due().count(), old.left(id(0))), (0, None));
    let arrival = new.handed(of).expect("it was expected");
    new.keep(arrival);
    assert_eq!((new.coming(), new.awaits(id(0))), (0, true));
    assert_eq!(new.doom_topic(id(0).topic, "gone", 9), 0, "nothing of it will come");
    assert!(new.is_idle());
}

#[test]
fn what_was_refused_is_asked_again_after_the_others() {
    let mut mover = Mover::default();
    let place = |id: TopicPartition| (id.partition < 2).then_some((CoreId(0), CoreId(1)));
    mover.want(vec![id(0), id(2), id(1)]);
    let first = mover.next(Mono(0), place).expect("a move");
    assert_eq!((first.partition, mover.next(Mono(0), place)), (id(0), None), "one at a time");
    mover.refused(first.number, Mono(0));
    let second = mover.next(Mono(0), place).expect("another");
    assert_eq!((second.partition, mover.next_wake()), (id(1), None), "the third has nothing to do");
    assert_eq!((mover.ready(first.number), mover.ready(second.number)), (None, Some(second)));
    assert_eq!(mover.ready(second.number), None, "once");
    assert_eq!(mover.moved(second.number), Some(second));
    let again = mover.next_wake().expect("the first is still wanted");
    assert_eq!(mover.next(Mono(0), place), None);
    assert_eq!(mover.next(again, place).map(|begun| begun.partition), Some(id(0)));
}
