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
mod polls;
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
use crate::port::range::Part;
use crate::shard::Shard;
use crate::shard::message::{Ask, AskKey, Message, QUIET, Reply};
use crate::wire::WireError;
use crate::wire::cold::{self, ColdResponse};
use crate::wire::header::RequestHead;

use answer_room::AnswerRoom;
use fetch_session::FetchSessions;
use polls::Polls;
use producer_ids::{ProducerIds, Woken};

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
    pub parts: Vec<Part>,
    /// Close the connection once everything up to here is sent.
    pub close: bool,
}

/// What a handler did with a request.
#[derive(Debug)]
pub enum Handled {
    Answer(Vec<Part>),
    /// The protocol has no answer for it.
    Silent,
    /// The protocol has no answer for what is wrong with it; what was asked of others is carried out without reply.
    Close(String),
    /// Asked others; their replies go to the gather.
    Gather(Box<dyn Gather>),
}

/// What a gather did with a reply.
#[derive(Debug)]
pub enum Step {
    Wait,
    Answer(Vec<Part>),
    Silent,
    Close(String),
}

/// A request that waits for replies.
pub trait Gather: fmt::Debug {
    /// A reply to the ask that was made as `part`. May ask again through `ctx`.
    fn reply(&mut self, part: u32, reply: Reply, ctx: &mut Ctx<'_>) -> Step;

    /// The deadline set through `ctx` has passed; what was asked is forgotten after this unless it returns `Wait`.
    fn expired(&mut self, ctx: &mut Ctx<'_>) -> Step;

    /// What it waits for beside replies may be there now; after this it waits on unless it says otherwise.
    fn woken(&mut self, _ctx: &mut Ctx<'_>) -> Step {
        Step::Wait
    }

    /// It waits for news only, so a stopping node may end it at once.
    fn is_long_poll(&self) -> bool {
        false
    }

    /// Bytes that it holds while it waits; `None`: its frame.
    fn held_bytes(&self) -> Option<usize> {
        None
    }

    /// [`Gather::expired`] may be called before the deadline when those that wait hold too much.
    fn may_end_early(&self) -> bool {
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
        Ok(bytes) => Handled::Answer(vec![bytes.into()]),
        Err(error) => Handled::Close(unencodable(ctx, &error)),
    }
}

/// As [`respond`], as what a gather did.
fn answer<T: ColdResponse>(ctx: &Ctx<'_>, response: &T) -> Step {
    match cold::encode_response(ctx.head.api_key, ctx.head.api_version, ctx.head.correlation_id, response) {
        Ok(bytes) => Step::Answer(vec![bytes.into()]),
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
    /// As [`Polls`] counts it.
    poll_bytes: usize,
    gather: Box<dyn Gather>,
}

/// What the requests of one core may hold.
#[derive(Clone, Copy, Debug)]
pub struct ApiLimits {
    pub fetch_sessions: usize,
    /// Of fetch sessions.
    pub fetch_session_bytes: usize,
    /// Of fetches that wait for news.
    pub poll_bytes: usize,
    /// Of answers until their readers have them.
    pub answer_bytes: usize,
}

/// Requests in work on one core. Exists on every core; sees that core's connections.
#[derive(Debug)]
pub struct Api {
    core: CoreId,
    in_work: Slots<InWork>,
    asks: Slots<(Key, u32, CoreId)>,
    by_conn: BTreeSet<(ConnId, Key)>,
    deadlines: BTreeSet<(Mono, Key)>,
    polls: Polls,
    fetch_sessions: FetchSessions,
    producer_ids: ProducerIds,
    answer_room: AnswerRoom,
    random: Prng,
    answers: Vec<Answer>,
    outgoing: Vec<(CoreId, Message)>,
}

impl Api {
    pub fn new(core: CoreId, seed: u64, limits: ApiLimits) -> Api {
        Api {
            core,
            in_work: Slots::default(),
            asks: Slots::default(),
            by_conn: BTreeSet::new(),
            deadlines: BTreeSet::new(),
            polls: Polls::new(limits.poll_bytes),
            fetch_sessions: FetchSessions::new(limits.fetch_sessions, limits.fetch_session_bytes),
            producer_ids: ProducerIds::default(),
            answer_room: AnswerRoom::new(limits.answer_bytes),
            random: Prng::new(seed ^ 0x5eed_0001),
            answers: Vec::new(),
            outgoing: Vec::new(),
        }
    }

    /// How many bytes of answers fit beside those that wait for their readers.
    pub fn set_answer_room(&mut self, bytes: usize) {
        self.answer_room.set(bytes);
    }

    /// Handles one request. Answers how many bytes it holds from now on, unless it keeps its frame.
    pub fn request(&mut self, request: Request, peer: IpAddr, shard: &mut Shard, now: Now) -> Option<usize> {
        let Request { conn, place, frame } = request;
        let (mut head, body) = match dispatch::open(frame) {
            Ok(opened) => opened,
            Err(reason) => {
                self.hang_up(conn, place, &reason);
                return None;
            }
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
            Handled::Silent => {
                self.ask_quietly(asks, shard);
                self.answers.push(Answer { conn, place, parts: Vec::new(), close: false });
            }
            Handled::Close(reason) => {
                self.ask_quietly(asks, shard);
                self.hang_up(conn, place, &reason);
            }
            Handled::Gather(gather) => {
                // A slice of the frame, which would keep all of it.
                head.client_id = None;
                let held_bytes = gather.held_bytes();
                let poll_bytes = held_bytes.filter(|_| gather.may_end_early()).unwrap_or(0);
                let asked = Vec::new();
                let work = InWork { conn, place, peer, head, deadline: None, asks: asked, poll_bytes, gather };
                let inserted = self.in_work.insert(work);
                crate::invariant!(inserted == key, "request key {key} became {inserted}");
                self.by_conn.insert((conn, key));
                self.follow(key, asks, deadline, shard);
                self.polls_keep_within_bounds(key, poll_bytes, shard, now);
                return held_bytes;
            }
        }
        None
    }

    /// Counts a fetch that may wait, and ends those that hold too much.
    fn polls_keep_within_bounds(&mut self, key: Key, bytes: usize, shard: &Shard, now: Now) {
        if bytes > 0 {
            self.polls.add(key, bytes);
        }
        while let Some(key) = self.polls.take_excess() {
            self.step(key, shard, now, |gather, ctx| gather.expired(ctx));
        }
    }

    /// An acks=0 produce: asked, and done as far as the connection is concerned.
    fn ask_quietly(&mut self, asks: Vec<(u32, CoreId, Ask)>, shard: &Shard) {
        for (_, core, ask) in asks {
            self.outgoing.push((core, Message::Ask { key: QUIET, seen: shard.applied_end, ask }));
        }
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

    /// Requests that waited for producer ids go on when a block came, or when whoever asked for it is gone.
    fn wake_producer_ids(&mut self, shard: &Shard, now: Now) {
        for (key, woken) in self.producer_ids.take_woken() {
            self.step(key, shard, now, |gather, ctx| match woken {
                Woken::TryAgain => gather.woken(ctx),
                Woken::Refused => gather.expired(ctx),
            });
        }
    }

    fn finish(&mut self, key: Key, parts: Vec<Part>, close: bool) {
        if let Some(work) = self.drop_work(key) {
            self.answers.push(Answer { conn: work.conn, place: work.place, parts, close });
        }
    }

    /// Takes a request out of every table; owners that still work on it are told to forget it.
    fn drop_work(&mut self, key: Key) -> Option<InWork> {
        let work = self.in_work.remove(key)?;
        self.producer_ids.forget(key);
        self.polls.remove(key, work.poll_bytes);
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
    pub fn connection_gone(&mut self, conn: ConnId, shard: &Shard, now: Now) {
        let keys: Vec<Key> = self.by_conn.range((conn, 0)..=(conn, Key::MAX)).map(|(_, key)| *key).collect();
        for key in keys {
            self.drop_work(key);
        }
        self.wake_producer_ids(shard, now);
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
