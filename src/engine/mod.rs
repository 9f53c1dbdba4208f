//! Floor 7: one engine a core: sessions, requests, shard and timers as a single synchronous machine.
//!
//! The order inside a turn is fixed (`turn`): completions of the disk, messages of other cores, the network, timers,
//! then one flush for every log that has something to write, then the effects. The engine runs at its own pace: what
//! arrives while a write is in flight is gathered by the next turn, which is the group commit.

mod line;
mod room;
mod session;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod tests_requests;

use std::collections::VecDeque;
use std::fmt;

use crate::api::{Api, ApiLimits};
use crate::base::ids::{ConnId, CoreId};
use crate::base::time::{Mono, Now};
use crate::port::net::NetInput;
use crate::port::turn::{Effects, Inputs, Machine, NextWake};
use crate::shard::message::{Message, Reply};
use crate::shard::{Notice, Shard, ShardConfig};

pub use session::SessionLimits;
use session::Sessions;

/// How long a stopping engine waits for requests in flight, milliseconds.
const STOP_GRACE_MS: u64 = 1_000;

/// What an engine tells people while it runs.
pub type Reporter = Box<dyn FnMut(CoreId, Notice)>;

/// One core's engine. Exists on every core; sees its own connections and shard.
pub struct Engine {
    core: CoreId,
    shard: Shard,
    api: Api,
    sessions: Sessions,
    /// Messages of this core to itself.
    local: VecDeque<Message>,
    /// Messages to other cores, one batch a core and turn.
    mail: Vec<Vec<Message>>,
    serving: bool,
    stop_at: Option<Mono>,
    reporter: Reporter,
}

impl fmt::Debug for Engine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Engine").field("core", &self.core).field("serving", &self.serving).finish_non_exhaustive()
    }
}

impl Engine {
    pub fn new(config: ShardConfig, limits: SessionLimits, now: Now, reporter: Reporter) -> Engine {
        let (core, cores, seed) = (config.core, config.cores, config.seed);
        let shard = Shard::new(config, now);
        Engine {
            core,
            api: Api::new(core, seed, api_limits(&limits, cores)),
            sessions: Sessions::new(limits),
            shard,
            local: VecDeque::new(),
            mail: (0..cores).map(|_| Vec::new()).collect(),
            serving: false,
            stop_at: None,
            reporter,
        }
    }

    /// For checkers of the simulator: eyes, not hands.
    pub fn shard(&self) -> &Shard {
        &self.shard
    }

    fn receive(&mut self, from: CoreId, message: Message, now: Now) {
        match message {
            Message::Reply { key, reply } if !matches!(reply, Reply::Kept) => {
                self.api.reply(key, reply, &mut self.shard, now);
            }
            Message::HangUp { conn } => self.sessions.hang_up(conn, now),
            other => self.shard.receive(from, other, now),
        }
    }

    fn net(&mut self, input: NetInput, now: Now) {
        match input {
            NetInput::Accepted { conn, peer } => {
                self.sessions.accepted(conn, peer, now);
                if self.serving {
                    self.sessions.begin(conn, now);
                }
            }
            NetInput::Received { conn, buffer, count } => {
                self.sessions.received(conn, buffer, count, now);
                self.work(conn, now);
            }
            NetInput::Sent { conn } => {
                self.sessions.sent(conn, now);
                self.api.set_answer_room(self.sessions.answer_room());
                self.work(conn, now);
            }
            NetInput::Broken { conn } => {
                self.sessions.close(conn);
                self.api.connection_gone(conn, &self.shard, now);
            }
            NetInput::Closed { conn } => {
                self.sessions.closed(conn);
                self.api.set_answer_room(self.sessions.answer_room());
                self.api.connection_gone(conn, &self.shard, now);
            }
        }
    }

    /// Hands the whole frames that a connection has, as far as its limits allow, to the API floor.
    fn work(&mut self, conn: ConnId, now: Now) {
        while let Some((request, peer)) = self.sessions.next_request(conn, now) {
            let place = request.place;
            if let Some(bytes) = self.api.request(request, peer, &mut self.shard, now) {
                self.sessions.holds(conn, place, bytes);
            }
        }
    }

    /// Moves messages and answers until nothing moves any more within this core.
    fn pump(&mut self, now: Now) {
        loop {
            for (to, message) in self.api.take_messages().into_iter().chain(self.shard.take_messages()) {
                if to == self.core {
                    self.local.push_back(message);
                } else {
                    self.mail[usize::from(to.0)].push(message);
                }
            }
            let Some(message) = self.local.pop_front() else {
                if !self.deliver(now) {
                    return;
                }
                continue;
            };
            self.receive(self.core, message, now);
            while let Some(message) = self.local.pop_front() {
                self.receive(self.core, message, now);
            }
        }
    }

    /// Gives finished answers to their sessions; a session that has room again may bring new requests.
    fn deliver(&mut self, now: Now) -> bool {
        let answers = self.api.take_answers();
        let moved = !answers.is_empty();
        for answer in answers {
            let conn = answer.conn;
            self.sessions.answer(answer, now);
            self.api.set_answer_room(self.sessions.answer_room());
            self.work(conn, now);
        }
        for conn in self.sessions.take_fed() {
            self.work(conn, now);
        }
        moved
    }

    fn notices(&mut self, now: Now) {
        for notice in self.shard.take_notices() {
            if notice == Notice::Serving {
                self.serving = true;
                self.sessions.begin_all(now);
            }
            (self.reporter)(self.core, notice);
        }
    }

    /// Stops reading, waits a moment for requests in flight, then closes connections and logs.
    fn stop_progress(&mut self, stop: bool, now: Now) {
        if !stop {
            return;
        }
        let stop_at = *self.stop_at.get_or_insert_with(|| {
            self.sessions.stop_reading();
            now.mono.plus_ms(STOP_GRACE_MS)
        });
        if self.shard.is_stopping() {
            return;
        }
        if self.api.stop_long_polls(&mut self.shard, now) == 0 || now.mono >= stop_at {
            self.shard.stop(now);
        }
    }
}

fn api_limits(limits: &SessionLimits, cores: u16) -> ApiLimits {
    ApiLimits {
        fetch_sessions: limits.fetch_sessions / usize::from(cores).max(1),
        fetch_session_bytes: limits.fetch_session_bytes,
        // The other half is for requests that are being worked on, whatever waits for news.
        poll_bytes: limits.bytes_in_flight / 2,
        answer_bytes: limits.bytes_out,
    }
}

impl Machine for Engine {
    type Message = Message;

    fn turn(&mut self, now: Now, inputs: &mut Inputs<Message>, effects: &mut Effects<Message>) -> NextWake {
        for (token, result) in inputs.disk.drain(..) {
            self.shard.disk_done(token, result, now);
        }
        for (from, messages) in inputs.mail.drain(..) {
            for message in messages {
                self.receive(from, message, now);
            }
        }
        for input in inputs.net.drain(..) {
            self.net(input, now);
        }
        self.shard.wake(now);
        self.api.wake(&mut self.shard, now);
        self.sessions.close_idle(now);
        self.pump(now);
        self.stop_progress(inputs.stop, now);
        self.pump(now);
        self.shard.flush(now);
        self.notices(now);

        effects.disk.append(&mut self.shard.take_disk());
        for (core, batch) in self.mail.iter_mut().enumerate() {
            if !batch.is_empty() {
                effects.mail.push((CoreId(core as u16), std::mem::take(batch)));
            }
        }
        self.sessions.take_ops(&mut effects.net);
        if self.shard.is_stopped() && self.stop_at.is_some() {
            self.sessions.close_all();
            self.sessions.take_ops(&mut effects.net);
            effects.stopped = true;
        }
        self.next_wake()
    }
}

impl Engine {
    fn next_wake(&self) -> NextWake {
        // Once the shard is stopping, the end of the grace has no meaning any more.
        let stop_at = self.stop_at.filter(|_| !self.shard.is_stopping());
        let wakes = [self.shard.next_wake(), self.api.next_wake(), self.sessions.next_wake(), stop_at];
        match wakes.into_iter().flatten().min() {
            Some(at) => NextWake::At(at),
            None => NextWake::Never,
        }
    }
}
