//! Groups of librdkafka consumers: members, one of them static, come and go; every record is seen; offsets are resumed.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::Message;

use crate::librdkafka::{LIMIT, Sender, check, config, new_topic, say};

#[derive(Default)]
struct State {
    seen: Mutex<BTreeSet<String>>,
    owned: AtomicUsize,
    stop: AtomicBool,
    error: Mutex<Option<String>>,
}

/// One consumer in a thread of its own; notes what it saw and commits what it noted.
struct Member {
    state: Arc<State>,
    thread: Option<JoinHandle<()>>,
}

impl Member {
    fn join(bootstrap: &str, topic: &str, assignor: &str, instance: Option<&str>) -> Result<Member, String> {
        let mut config = config(bootstrap, &[("group.id", topic), ("partition.assignment.strategy", assignor)]);
        config.set("auto.offset.reset", "earliest").set("enable.auto.commit", "false");
        config.set("session.timeout.ms", "10000").set("heartbeat.interval.ms", "500");
        if let Some(instance) = instance {
            config.set("group.instance.id", instance);
        }
        let consumer: BaseConsumer = config.create().map_err(say)?;
        consumer.subscribe(&[topic]).map_err(say)?;
        let state = Arc::new(State::default());
        let theirs = Arc::clone(&state);
        let thread = thread::spawn(move || {
            if let Err(error) = work(&consumer, &theirs) {
                *theirs.error.lock().expect("no panic under lock") = Some(error);
            }
        });
        Ok(Member { state, thread: Some(thread) })
    }

    fn owned(&self) -> usize {
        self.state.owned.load(Ordering::Relaxed)
    }

    fn seen(&self) -> BTreeSet<String> {
        self.state.seen.lock().expect("no panic under lock").clone()
    }

    fn healthy(&self) -> Result<(), String> {
        match &*self.state.error.lock().expect("no panic under lock") {
            Some(error) => Err(format!("a member failed: {error}")),
            None => Ok(()),
        }
    }

    fn leave(&mut self) -> Result<(), String> {
        self.state.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            thread.join().map_err(|_| "a member panicked".to_owned())?;
        }
        self.healthy()
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        self.state.stop.store(true, Ordering::Relaxed);
    }
}

fn work(consumer: &BaseConsumer, state: &State) -> Result<(), String> {
    while !state.stop.load(Ordering::Relaxed) {
        let mut new = false;
        let mut wait = Duration::from_millis(100);
        while let Some(record) = consumer.poll(wait) {
            let value = String::from_utf8_lossy(record.map_err(say)?.payload().unwrap_or_default()).into_owned();
            state.seen.lock().expect("no panic under lock").insert(value);
            (new, wait) = (true, Duration::ZERO);
        }
        if new {
            match consumer.commit_consumer_state(CommitMode::Sync) {
                Ok(()) => {}
                // A rebalance in between: the records come again, to whoever owns them then.
                Err(KafkaError::ConsumerCommit(
                    RDKafkaErrorCode::IllegalGeneration
                    | RDKafkaErrorCode::UnknownMemberId
                    | RDKafkaErrorCode::RebalanceInProgress
                    | RDKafkaErrorCode::NoOffset
                    | RDKafkaErrorCode::AssignmentLost,
                )) => {}
                Err(error) => return Err(format!("commit: {error}")),
            }
        }
        state.owned.store(consumer.assignment().map_err(say)?.count(), Ordering::Relaxed);
    }
    Ok(())
}

fn until(what: &str, members: &[&Member], holds: impl Fn() -> bool) -> Result<(), String> {
    let deadline = Instant::now() + LIMIT;
    while !holds() {
        for member in members {
            member.healthy()?;
        }
        let owned: Vec<usize> = members.iter().map(|m| m.owned()).collect();
        check(Instant::now() < deadline, || format!("not in time: {what} (members own {owned:?})"))?;
        thread::sleep(Duration::from_millis(50));
    }
    Ok(())
}

fn union(members: &[&Member]) -> usize {
    members.iter().flat_map(|m| m.seen()).collect::<BTreeSet<_>>().len()
}

pub fn group(bootstrap: &str) -> Result<String, String> {
    for assignor in ["range", "roundrobin", "cooperative-sticky"] {
        play(bootstrap, assignor).map_err(|why| format!("{assignor}: {why}"))?;
    }
    Ok("OK 3 assignors".to_owned())
}

fn play(bootstrap: &str, assignor: &str) -> Result<(), String> {
    let topic = new_topic(bootstrap, &format!("group-{assignor}"), 6)?;
    let join = |instance| Member::join(bootstrap, &topic, assignor, instance);
    let sender = Sender::new(bootstrap, &topic, &[])?;
    let produce = |from: usize, to: usize| -> Result<(), String> {
        for n in from..to {
            sender.send(&n.to_string(), &n.to_string(), None)?;
        }
        sender.finish().map(drop)
    };
    produce(0, 600)?;
    let (mut a, mut b) = (join(None)?, join(None)?);
    until("two members share", &[&a, &b], || a.owned() == 3 && b.owned() == 3)?;
    let mut c = join(Some("static-1"))?;
    until("three members share", &[&a, &b, &c], || [&a, &b, &c].iter().all(|m| m.owned() == 2))?;
    produce(600, 1200)?;
    until("three members see all", &[&a, &b, &c], || union(&[&a, &b, &c]) == 1200)?;
    a.leave()?;
    until("two are left with all", &[&b, &c], || b.owned() + c.owned() == 6)?;
    produce(1200, 1500)?;
    until("two members see all", &[&b, &c], || union(&[&a, &b, &c]) == 1500)?;
    b.leave()?;
    c.leave()?;
    produce(1500, 1560)?;
    // The static member is back before its session ended.
    let mut d = join(Some("static-1"))?;
    let new: BTreeSet<String> = (1500..1560).map(|n| n.to_string()).collect();
    until("the next member sees what is new", &[&d], || d.seen().is_superset(&new))?;
    d.leave()?;
    let count = d.seen().len();
    check(count == new.len(), || format!("a resumed group saw {count} records instead of 60: offsets were lost"))
}
