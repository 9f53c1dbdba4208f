//! Floor 6: a file per Kafka API: decode, fan out to the owners, gather, answer.
//!
//! A request is handled on its connection's core. A handler answers at once from this core's picture, or asks the cores
//! that own the answer and leaves a [`Gather`] that takes their replies. The API floor speaks to owners by messages; it
//! does not reach into their logs.

mod answer_room;
mod api_versions;
mod cluster;
mod configs;
mod coordinator;
mod dispatch;
mod errors;
mod fetch;
mod fetch_session;
mod group_admin;
mod group_membership;
mod init_producer_id;
mod metadata;
mod offset_commit;
mod offset_fetch;
mod offsets;
mod produce;
mod producer_ids;
mod topic_names;
mod topics;

use std::collections::BTreeSet;
use std::fmt;
use std::net::IpAddr;

use bytes::Bytes;

use crate::base::ids::{ConnId, CoreId};
use crate::base::prng::Prng;
use crate::base::slots::{Key, Slots};
use crate::base::time::{Mono, Now};
use crate::shard::Shard;
use crate::shard::message::{Ask, AskKey, Message, Reply};
use crate::wire::WireError;
use crate::wire::cold::{self, ColdResponse};
use crate::wire::header::RequestHead;

use answer_room::AnswerRoom;
use fetch_session::FetchSessions;
use producer_ids::ProducerIds;

/// A whole frame of a connection, without its length.
#[derive(Debug)]
pub struct Request {
    pub conn: ConnId,
    /// The place of its answer among the answers of the connection.
    pub place: u64,
    pub frame: Bytes,
}

/// What goes back for one [`Request`]; no parts: nothing is sent (acks=0).
#[derive(Debug)]
pub struct Answer {
    pub conn: ConnId,
    pub place: u64,
    pub parts: Vec<Bytes>,
    /// Close the connection once everything up to here is sent.
    pub close: bool,
}

/// What a handler did with a request.
#[derive(Debug)]
pub enum Handled {
    Answer(Vec<Bytes>),
    /// The protocol has no answer for it.
    Silent,
    /// The protocol has no answer for what is wrong with it.
    Close(String),
    /// Asked others; their replies go to the gather.
    Gather(Box<dyn Gather>),
}

/// What a gather did with a reply.
#[derive(Debug)]
pub enum Step {
    Wait,
    Answer(Vec<Bytes>),
    Silent,
    Close(String),
}

/// A request that waits for replies.
pub trait Gather: fmt::Debug {
    /// A reply to the ask that was made as `part`. May ask again through `ctx`.
    fn reply(&mut self, part: u32, reply: Reply, ctx: &mut Ctx<'_>) -> Step;

    /// The deadline set through `ctx` has passed; what was asked is forgotten after this unless it returns `Wait`.
    fn expired(&mut self, ctx: &mut Ctx<'_>) -> Step;

    /// It waits for news only, so a stopping node may end it at once.
    fn is_long_poll(&self) -> bool {
        false
    }
}

/// How long a request waits for a topic that is made on its way, milliseconds.
const AUTO_CREATE_TIMEOUT_MS: u64 = 10_000;

/// What a handler sees of its node, and how it asks.
#[derive(Debug)]
pub struct Ctx<'a> {
    pub shard: &'a Shard,
    pub head: &'a RequestHead,
    pub conn: ConnId,
    pub peer: IpAddr,
    pub now: Now,
    pub random: &'a mut Prng,
    pub fetch_sessions: &'a mut FetchSessions,
    pub producer_ids: &'a mut ProducerIds,
    pub answer_room: &'a AnswerRoom,
    /// This request, as others of the API floor name it.
    pub request: Key,
    asks: Vec<(u32, CoreId, Ask)>,
    deadline: Option<Mono>,
}

impl Ctx<'_> {
    /// Asks `core`; the reply comes to the request's gather as `part`.
    pub fn ask(&mut self, part: u32, core: CoreId, ask: Ask) {
        self.asks.push((part, core, ask));
    }

    /// Asks the controller.
    pub fn ask_controller(&mut self, part: u32, command: crate::meta::controller::Command) {
        self.asks.push((part, CoreId(0), Ask::Control(command)));
    }

    /// Calls [`Gather::expired`] in `ms` milliseconds if the request is still in work then.
    pub fn expire_in(&mut self, ms: u64) {
        self.deadline = Some(self.now.mono.plus_ms(ms));
    }
}

/// The answer of a cold API, encoded for the version that was asked, as what a handler did.
fn respond<T: ColdResponse>(ctx: &Ctx<'_>, response: &T) -> Handled {
    match cold::encode_response(ctx.head.api_key, ctx.head.api_version, ctx.head.correlation_id, response) {
        Ok(bytes) => Handled::Answer(vec![bytes]),
        Err(error) => Handled::Close(unencodable(ctx, &error)),
    }
}

/// As [`respond`], as what a gather did.
fn answer<T: ColdResponse>(ctx: &Ctx<'_>, response: &T) -> Step {
    match cold::encode_response(ctx.head.api_key, ctx.head.api_version, ctx.head.correlation_id, response) {
        Ok(bytes) => Step::Answer(vec![bytes]),
        Err(error) => Step::Close(unencodable(ctx, &error)),
    }
}

/// A mistake of ours, not of the client: it is told to the operator.
fn unencodable(ctx: &Ctx<'_>, error: &WireError) -> String {
    let reason = format!("API {} version {}: the answer: {error}", ctx.head.api_key, ctx.head.api_version);
    tracing::error!("{reason}");
    reason
}

#[derive(Debug)]
struct InWork {
    conn: ConnId,
    place: u64,
    peer: IpAddr,
    head: RequestHead,
    deadline: Option<Mono>,
    asks: Vec<AskKey>,
    gather: Box<dyn Gather>,
}

/// Requests in work on one core. Exists on every core; sees that core's connections.
#[derive(Debug)]
pub struct Api {
    core: CoreId,
    in_work: Slots<InWork>,
    asks: Slots<(Key, u32, CoreId)>,
    by_conn: BTreeSet<(ConnId, Key)>,
    deadlines: BTreeSet<(Mono, Key)>,
    fetch_sessions: FetchSessions,
    producer_ids: ProducerIds,
    answer_room: AnswerRoom,
    random: Prng,
    answers: Vec<Answer>,
    outgoing: Vec<(CoreId, Message)>,
}

impl Api {
    /// `answer_bytes`: how much the answers of the core may take until their readers have them.
    pub fn new(core: CoreId, seed: u64, fetch_sessions: usize, answer_bytes: usize) -> Api {
        Api {
            core,
            in_work: Slots::default(),
            asks: Slots::default(),
            by_conn: BTreeSet::new(),
            deadlines: BTreeSet::new(),
            fetch_sessions: FetchSessions::new(fetch_sessions),
            producer_ids: ProducerIds::default(),
            answer_room: AnswerRoom::new(answer_bytes),
            random: Prng::new(seed ^ 0x5eed_0001),
            answers: Vec::new(),
            outgoing: Vec::new(),
        }
    }

    /// How many bytes of answers fit beside those that wait for their readers.
    pub fn set_answer_room(&mut self, bytes: usize) {
        self.answer_room.set(bytes);
    }

    /// Handles one request.
    pub fn request(&mut self, request: Request, peer: IpAddr, shard: &mut Shard, now: Now) {
        let Request { conn, place, frame } = request;
        let (head, body) = match dispatch::open(frame) {
            Ok(opened) => opened,
            Err(reason) => return self.hang_up(conn, place, &reason),
        };
        let key = self.in_work.next_key();
        let (handled, asks, deadline) = {
            let mut ctx = Ctx {
                shard,
                head: &head,
                conn,
                peer,
                now,
                random: &mut self.random,
                fetch_sessions: &mut self.fetch_sessions,
                producer_ids: &mut self.producer_ids,
                answer_room: &self.answer_room,
                request: key,
                asks: Vec::new(),
                deadline: None,
            };
            let handled = dispatch::handle(&mut ctx, body);
            (handled, ctx.asks, ctx.deadline)
        };
        match handled {
            Handled::Answer(parts) => self.answers.push(Answer { conn, place, parts, close: false }),
            Handled::Silent => self.silent(conn, place, key, asks, shard),
            Handled::Close(reason) => self.hang_up(conn, place, &reason),
            Handled::Gather(gather) => {
                let inserted =
                    self.in_work.insert(InWork { conn, place, peer, head, deadline: None, asks: Vec::new(), gather });
                crate::invariant!(inserted == key, "request key {key} became {inserted}");
                self.by_conn.insert((conn, key));
                self.follow(key, asks, deadline, shard);
            }
        }
    }

    /// An acks=0 produce: asked, and done as far as the connection is concerned.
    fn silent(&mut self, conn: ConnId, place: u64, key: Key, asks: Vec<(u32, CoreId, Ask)>, shard: &Shard) {
        for (_, core, ask) in asks {
            // Nobody replies to it, so its key names nothing.
            self.outgoing.push((core, Message::Ask { key, seen: shard.applied_end, ask }));
        }
        self.answers.push(Answer { conn, place, parts: Vec::new(), close: false });
    }

    fn hang_up(&mut self, conn: ConnId, place: u64, reason: &str) {
        tracing::debug!("connection closed: {reason}");
        self.answers.push(Answer { conn, place, parts: Vec::new(), close: true });
    }

    /// Sends what a handler or gather asked and keeps its deadline.
    fn follow(&mut self, key: Key, asks: Vec<(u32, CoreId, Ask)>, deadline: Option<Mono>, shard: &Shard) {
        let Some(work) = self.in_work.get_mut(key) else { return };
        if let Some(at) = deadline {
            if let Some(before) = work.deadline.replace(at) {
                self.deadlines.remove(&(before, key));
            }
            self.deadlines.insert((at, key));
        }
        for (part, core, ask) in asks {
            let ask_key = self.asks.insert((key, part, core));
            work.asks.push(ask_key);
            self.outgoing.push((core, Message::Ask { key: ask_key, seen: shard.applied_end, ask }));
        }
    }

    /// An owner has replied.
    pub fn reply(&mut self, ask_key: AskKey, reply: Reply, shard: &mut Shard, now: Now) {
        let Some((key, part, _)) = self.asks.remove(ask_key) else { return };
        if let Some(work) = self.in_work.get_mut(key) {
            work.asks.retain(|ask| *ask != ask_key);
        }
        self.step(key, shard, now, |gather, ctx| gather.reply(part, reply, ctx));
    }

    fn step(&mut self, key: Key, shard: &Shard, now: Now, act: impl FnOnce(&mut dyn Gather, &mut Ctx<'_>) -> Step) {
        let Some(work) = self.in_work.get_mut(key) else { return };
        let (step, asks, deadline) = {
            let mut ctx = Ctx {
                shard,
                head: &work.head,
                conn: work.conn,
                peer: work.peer,
                now,
                random: &mut self.random,
                fetch_sessions: &mut self.fetch_sessions,
                producer_ids: &mut self.producer_ids,
                answer_room: &self.answer_room,
                request: key,
                asks: Vec::new(),
                deadline: None,
            };
            let step = act(work.gather.as_mut(), &mut ctx);
            (step, ctx.asks, ctx.deadline)
        };
        match step {
            Step::Wait => self.follow(key, asks, deadline, shard),
            Step::Answer(parts) => self.finish(key, parts, false),
            Step::Silent => self.finish(key, Vec::new(), false),
            Step::Close(reason) => {
                tracing::debug!("connection closed: {reason}");
                self.finish(key, Vec::new(), true);
            }
        }
        self.wake_producer_ids(shard, now);
    }

    /// Requests that waited for producer ids go on when a block came.
    fn wake_producer_ids(&mut self, shard: &Shard, now: Now) {
        for key in self.producer_ids.take_woken() {
            self.step(key, shard, now, |gather, ctx| gather.expired(ctx));
        }
    }

    fn finish(&mut self, key: Key, parts: Vec<Bytes>, close: bool) {
        if let Some(work) = self.drop_work(key) {
            self.answers.push(Answer { conn: work.conn, place: work.place, parts, close });
        }
    }

    /// Takes a request out of every table; owners that still work on it are told to forget it.
    fn drop_work(&mut self, key: Key) -> Option<InWork> {
        let work = self.in_work.remove(key)?;
        self.by_conn.remove(&(work.conn, key));
        if let Some(at) = work.deadline {
            self.deadlines.remove(&(at, key));
        }
        for ask in &work.asks {
            if let Some((_, _, core)) = self.asks.remove(*ask) {
                self.outgoing.push((core, Message::Forget { key: *ask }));
            }
        }
        Some(work)
    }

    /// Deadlines that have passed.
    pub fn wake(&mut self, shard: &mut Shard, now: Now) {
        while let Some(&(at, key)) = self.deadlines.first()
            && at <= now.mono
        {
            self.deadlines.pop_first();
            if let Some(work) = self.in_work.get_mut(key) {
                work.deadline = None;
            }
            self.step(key, shard, now, |gather, ctx| gather.expired(ctx));
        }
    }

    pub fn next_wake(&self) -> Option<Mono> {
        self.deadlines.first().map(|(at, _)| *at)
    }

    /// Nobody reads the answers of this connection any more.
    pub fn connection_gone(&mut self, conn: ConnId) {
        let keys: Vec<Key> = self.by_conn.range((conn, 0)..=(conn, Key::MAX)).map(|(_, key)| *key).collect();
        for key in keys {
            self.drop_work(key);
        }
    }

    /// Ends every fetch that only waits for news; returns how many requests are still in work.
    pub fn stop_long_polls(&mut self, shard: &mut Shard, now: Now) -> usize {
        let polls: Vec<Key> =
            self.in_work.iter().filter(|(_, work)| work.gather.is_long_poll()).map(|(key, _)| key).collect();
        for key in polls {
            self.step(key, shard, now, |gather, ctx| gather.expired(ctx));
        }
        self.in_work.len()
    }

    pub fn take_answers(&mut self) -> Vec<Answer> {
        std::mem::take(&mut self.answers)
    }

    pub fn take_messages(&mut self) -> Vec<(CoreId, Message)> {
        std::mem::take(&mut self.outgoing)
    }

    pub fn core(&self) -> CoreId {
        self.core
    }
}
