//! Clients of the made-up network. They speak Kafka's protocol with the crate's codecs, as any client does, and tell
//! the model what they were told.

pub mod admin;
pub mod aside;
pub mod checker;
pub mod committer;
pub mod consumer;
pub mod member;
pub mod pinner;
pub mod producer;
pub mod records;

use std::collections::VecDeque;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use kafka_protocol::messages::{RequestHeader, ResponseHeader};
use kafka_protocol::protocol::{Decodable, Encodable, HeaderVersion, Request};

use super::model::Model;
use super::net::LinkId;
use super::swarm::Swarm;
use super::world::World;
use crate::base::time::Mono;
use crate::engine::Engine;
use crate::wire::{ErrorCode, StrBytes};

/// What a client may touch while it acts.
#[derive(Debug)]
pub struct Cx<'a> {
    pub world: &'a mut World<Engine>,
    pub model: &'a mut Model,
    pub swarm: &'a Swarm,
    /// No new work: finish what is begun.
    pub draining: bool,
    /// When this client wants [`Client::wake`], nanoseconds from now; the last word counts.
    pub wake_in_ns: Option<u64>,
}

impl Cx<'_> {
    pub fn wake_in_ms(&mut self, ms: u64) {
        self.wake_in_ns = Some(ms * 1_000_000);
    }

    pub fn below(&mut self, bound: u64) -> u64 {
        self.world.random.below(bound)
    }

    pub fn chance(&mut self, numerator: u64, denominator: u64) -> bool {
        self.world.random.chance(numerator, denominator)
    }

    /// A version of a range, mostly the newest.
    pub fn version(&mut self, least: i16, most: i16) -> i16 {
        if self.chance(1, 2) { most } else { least + self.below((most - least + 1) as u64) as i16 }
    }

    /// A client was told to try again: in a run in which nothing fails nobody has a reason to say so.
    pub fn told_to_wait(&mut self, what: &str, code: i16) {
        if self.swarm.calm && !self.draining {
            let error = ErrorCode::from_code(code);
            self.model.fail(|| format!("{what} was answered with {error:?} though nothing had failed"));
        }
    }

    pub fn now(&self) -> Mono {
        self.world.now
    }
}

/// A client with one connection.
pub trait Client: std::fmt::Debug {
    /// Its time has come.
    fn wake(&mut self, cx: &mut Cx<'_>);
    /// A request was answered.
    fn answer(&mut self, answer: Answer, cx: &mut Cx<'_>);
    /// The connection has ended, or an answer took too long.
    fn lost(&mut self, cx: &mut Cx<'_>);
    fn line(&mut self) -> &mut Line;
    /// Nothing begun is unfinished.
    fn is_idle(&self) -> bool;
}

/// The answer to a request.
#[derive(Debug)]
pub struct Answer {
    /// What the client called the request.
    pub tag: u64,
    pub version: i16,
    pub body: Bytes,
}

impl Answer {
    /// The body, decoded; a finding when it cannot be.
    pub fn decode<T: Decodable>(&self, cx: &mut Cx<'_>) -> Option<T> {
        let mut body = self.body.clone();
        match T::decode(&mut body, self.version) {
            Ok(response) if body.is_empty() => Some(response),
            Ok(_) => {
                cx.model.fail(|| format!("an answer with {} bytes too many", body.len()));
                None
            }
            Err(error) => {
                cx.model.fail(|| format!("an answer that cannot be read: {error}"));
                None
            }
        }
    }
}

#[derive(Debug)]
struct Pending {
    correlation: i32,
    version: i16,
    header_version: i16,
    tag: u64,
    since: Mono,
}

/// A connection and the requests on it that are not answered.
#[derive(Debug, Default)]
pub struct Line {
    pub link: Option<LinkId>,
    pending: VecDeque<Pending>,
    input: BytesMut,
    correlation: i32,
    pub slow_reader: bool,
}

impl Line {
    /// Requests not yet answered.
    pub fn waiting(&self) -> usize {
        self.pending.len()
    }

    /// Since when the oldest request waits.
    pub fn oldest(&self) -> Option<Mono> {
        self.pending.front().map(|pending| pending.since)
    }

    /// Forgets the connection.
    pub fn drop_link(&mut self) -> Option<LinkId> {
        self.pending.clear();
        self.input.clear();
        self.link.take()
    }

    /// Sends a request; `answered` is false for the one kind that has no answer (acks=0).
    pub fn send<R: Request>(&mut self, request: &R, version: i16, tag: u64, answered: bool, cx: &mut Cx<'_>) {
        let slow = self.slow_reader;
        let link = *self.link.get_or_insert_with(|| cx.world.connect(slow));
        self.correlation = self.correlation.wrapping_add(1);
        let header = RequestHeader::default()
            .with_request_api_key(R::KEY)
            .with_request_api_version(version)
            .with_correlation_id(self.correlation)
            .with_client_id(Some(StrBytes::from_static_str("sim")));
        let mut bytes = BytesMut::new();
        bytes.put_u32(0);
        let encoded = header.encode(&mut bytes, R::header_version(version));
        if let Err(error) = encoded.and_then(|()| request.encode(&mut bytes, version)) {
            cx.model.fail(|| format!("the simulator cannot write its request of key {}: {error}", R::KEY));
            return;
        }
        let len = (bytes.len() - 4) as u32;
        bytes[..4].copy_from_slice(&len.to_be_bytes());
        if answered {
            self.pending.push_back(Pending {
                correlation: self.correlation,
                version,
                header_version: R::Response::header_version(version),
                tag,
                since: cx.now(),
            });
        }
        cx.world.client_send(link, bytes.freeze());
    }

    /// Takes bytes that arrived.
    pub fn feed(&mut self, bytes: &[u8]) {
        self.input.extend_from_slice(bytes);
    }

    /// The next whole answer. `Err`: it is not the answer to the oldest request.
    pub fn next_answer(&mut self) -> Result<Option<Answer>, String> {
        let Some(prefix) = self.input.first_chunk::<4>() else { return Ok(None) };
        let len = u32::from_be_bytes(*prefix) as usize;
        if self.input.len() < 4 + len {
            return Ok(None);
        }
        self.input.advance(4);
        let mut body = self.input.split_to(len).freeze();
        let Some(pending) = self.pending.pop_front() else {
            return Err("an answer to nothing".to_owned());
        };
        let header = ResponseHeader::decode(&mut body, pending.header_version)
            .map_err(|error| format!("an answer without a header: {error}"))?;
        if header.correlation_id != pending.correlation {
            let found = header.correlation_id;
            return Err(format!("answer {found} came where {} was due", pending.correlation));
        }
        Ok(Some(Answer { tag: pending.tag, version: pending.version, body }))
    }
}

/// What a client does about an error code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    Done,
    /// Try again.
    Later,
    /// The topic is not there.
    Gone,
    Wrong(ErrorCode),
}

/// The verdict on an error code, as clients of Kafka sort them.
pub fn verdict(code: i16) -> Verdict {
    match ErrorCode::from_code(code) {
        Some(ErrorCode::None) => Verdict::Done,
        Some(ErrorCode::UnknownTopicOrPartition | ErrorCode::UnknownTopicId) => Verdict::Gone,
        Some(
            ErrorCode::KafkaStorageError
            | ErrorCode::NotLeaderOrFollower
            | ErrorCode::LeaderNotAvailable
            | ErrorCode::RequestTimedOut
            | ErrorCode::CoordinatorLoadInProgress
            | ErrorCode::CoordinatorNotAvailable
            | ErrorCode::NotCoordinator
            | ErrorCode::NotController
            | ErrorCode::BrokerNotAvailable
            | ErrorCode::UnknownLeaderEpoch
            | ErrorCode::FencedLeaderEpoch
            | ErrorCode::OffsetNotAvailable
            | ErrorCode::ThrottlingQuotaExceeded
            | ErrorCode::NotEnoughReplicas
            | ErrorCode::NetworkException,
        ) => Verdict::Later,
        Some(other) => Verdict::Wrong(other),
        None => Verdict::Wrong(ErrorCode::UnknownServerError),
    }
}

/// A name as the generated messages carry it.
pub fn text(value: &str) -> StrBytes {
    StrBytes::from_string(value.to_owned())
}
