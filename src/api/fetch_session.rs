//! Fetch sessions (KIP-227): a client names its partitions once, later requests and answers carry changes only.
//!
//! Sessions are bounded in number and in bytes, since clients choose what they hold: what finds no room is answered
//! without a session, and one that grows beyond it is given up. Names in a session are copies, never slices of a frame.
//!
//! The cache belongs to one core: a session used over a connection of another core is "not found", and the client
//! starts anew with a full fetch, which is always legal.

use std::collections::BTreeMap;

use crate::base::prng::Prng;
use crate::base::time::{Mono, Now};
use crate::wire::TopicRef;

/// A session that was not used this long may be evicted for a new one, milliseconds (Kafka's constant).
const EVICTABLE_AFTER_MS: u64 = 120_000;

/// What a partition of a session takes, its name aside, bytes: its place in both maps, whose leaves may be half empty.
const PARTITION_BYTES: usize =
    2 * (size_of::<PartitionRef>() + size_of::<Cached>()) + 2 * size_of::<(u64, PartitionRef)>();
/// What a session takes without partitions, bytes.
const SESSION_BYTES: usize = 2 * size_of::<Session>();

/// One partition as the client wants it fetched.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wanted {
    pub topic: TopicRef,
    pub partition: i32,
    pub offset: i64,
    pub max_bytes: u32,
    pub leader_epoch: i32,
    pub last_fetched_epoch: i32,
}

/// What was last told about a partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Told {
    high_watermark: i64,
    log_start: i64,
}

#[derive(Debug)]
struct Cached {
    wanted: Wanted,
    told: Option<Told>,
    order: u64,
}

type PartitionRef = (TopicRef, i32);

#[derive(Debug)]
struct Session {
    epoch: i32,
    by_id: bool,
    used_at: Mono,
    next_order: u64,
    bytes: usize,
    partitions: BTreeMap<PartitionRef, Cached>,
    order: BTreeMap<u64, PartitionRef>,
}

/// Why a session cannot be used; top-level error of the answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SessionError {
    NotFound,
    InvalidEpoch,
    /// The client switched between names and ids.
    TopicIdMismatch,
}

/// What to fetch and how to answer.
#[derive(Debug)]
pub struct Opened {
    /// Session id of the answer; 0: no session.
    pub id: i32,
    /// Leave partitions without news out of the answer.
    pub incremental: bool,
    pub wanted: Vec<Wanted>,
}

/// What a request says of sessions.
#[derive(Debug)]
pub struct SessionRequest {
    pub id: i32,
    pub epoch: i32,
    pub by_id: bool,
    pub wanted: Vec<Wanted>,
    pub forgotten: Vec<(TopicRef, i32)>,
}

/// What an answer says of one partition, as far as "is it news?" goes.
#[derive(Clone, Copy, Debug)]
pub struct Telling {
    pub high_watermark: i64,
    pub log_start: i64,
    pub bytes: usize,
    pub is_error: bool,
    pub is_diverging: bool,
}

/// The sessions of one core.
#[derive(Debug)]
pub struct FetchSessions {
    slots_max: usize,
    bytes_max: usize,
    /// What all sessions take.
    bytes: usize,
    sessions: BTreeMap<i32, Session>,
}

impl FetchSessions {
    pub fn new(slots_max: usize, bytes_max: usize) -> FetchSessions {
        FetchSessions { slots_max, bytes_max, bytes: 0, sessions: BTreeMap::new() }
    }

    /// Finds or makes the session of a request and says what to fetch.
    pub fn open(&mut self, request: SessionRequest, now: Now, random: &mut Prng) -> Result<Opened, SessionError> {
        if request.epoch == -1 || request.epoch == 0 {
            self.drop_session(request.id);
            let id = if request.epoch == 0 { self.create(&request, now, random) } else { 0 };
            return Ok(Opened { id, incremental: false, wanted: request.wanted });
        }
        let session = self.sessions.get_mut(&request.id).ok_or(SessionError::NotFound)?;
        if session.epoch != request.epoch {
            return Err(SessionError::InvalidEpoch);
        }
        let names_topics = !request.wanted.is_empty() || !request.forgotten.is_empty();
        if names_topics && session.by_id != request.by_id {
            return Err(SessionError::TopicIdMismatch);
        }
        session.epoch = if session.epoch == i32::MAX { 1 } else { session.epoch + 1 };
        session.used_at = now.mono;
        let bytes_before = session.bytes;
        for forgotten in &request.forgotten {
            session.forget(forgotten);
        }
        let bytes_max = bytes_before + self.bytes_max.saturating_sub(self.bytes);
        let fits = request.wanted.into_iter().all(|wanted| {
            session.want(wanted);
            session.bytes <= bytes_max
        });
        self.bytes = self.bytes - bytes_before + session.bytes;
        if !fits {
            // The client starts anew with a full fetch, which needs no session.
            self.drop_session(request.id);
            return Err(SessionError::NotFound);
        }
        let wanted = session
            .order
            .values()
            .filter_map(|place| session.partitions.get(place).map(|cached| cached.wanted.clone()))
            .collect();
        Ok(Opened { id: request.id, incremental: true, wanted })
    }

    fn create(&mut self, request: &SessionRequest, now: Now, random: &mut Prng) -> i32 {
        let bytes = request.wanted.iter().map(partition_bytes).fold(SESSION_BYTES, usize::saturating_add);
        if bytes > self.bytes_max {
            return 0;
        }
        while self.sessions.len() >= self.slots_max || self.bytes + bytes > self.bytes_max {
            if !self.evict(now) {
                return 0;
            }
        }
        let id = loop {
            let id = (random.next_u64() & 0x7fff_ffff) as i32;
            if id != 0 && !self.sessions.contains_key(&id) {
                break id;
            }
        };
        let mut session = Session {
            epoch: 1,
            by_id: request.by_id,
            used_at: now.mono,
            next_order: 0,
            bytes: SESSION_BYTES,
            partitions: BTreeMap::new(),
            order: BTreeMap::new(),
        };
        for wanted in &request.wanted {
            session.want(wanted.clone());
        }
        self.bytes += session.bytes;
        self.sessions.insert(id, session);
        id
    }

    fn drop_session(&mut self, id: i32) {
        if let Some(session) = self.sessions.remove(&id) {
            self.bytes -= session.bytes;
        }
    }

    fn evict(&mut self, now: Now) -> bool {
        let oldest = self.sessions.iter().min_by_key(|(_, session)| session.used_at).map(|(id, s)| (*id, s.used_at));
        match oldest {
            Some((id, used_at)) if now.mono.ms_since(used_at) >= EVICTABLE_AFTER_MS => {
                self.drop_session(id);
                true
            }
            _ => false,
        }
    }

    /// Whether the answer to session `id` must hold this partition; remembers what is told.
    pub fn is_news(&mut self, id: i32, topic: &TopicRef, partition: i32, told: Telling) -> bool {
        let Some(session) = self.sessions.get_mut(&id) else { return true };
        let place = (topic.clone(), partition);
        let Some(cached) = session.partitions.get_mut(&place) else { return true };
        let before = cached.told;
        let after = Told { high_watermark: told.high_watermark, log_start: told.log_start };
        // An error is told again and again until it is gone.
        cached.told = if told.is_error { None } else { Some(after) };
        if told.bytes > 0 {
            session.order.remove(&cached.order);
            cached.order = session.next_order;
            session.order.insert(cached.order, place);
            session.next_order += 1;
        }
        told.bytes > 0 || told.is_error || told.is_diverging || before != Some(after)
    }

    pub fn len(&self) -> usize {
        self.sessions.len()
    }
}

/// What a partition takes in a session.
fn partition_bytes(wanted: &Wanted) -> usize {
    PARTITION_BYTES + wanted.topic.name().map_or(0, str::len)
}

impl Session {
    fn want(&mut self, wanted: Wanted) {
        let place = (wanted.topic.clone(), wanted.partition);
        match self.partitions.get_mut(&place) {
            Some(cached) => cached.wanted = wanted,
            None => {
                let order = self.next_order;
                self.next_order += 1;
                self.order.insert(order, place.clone());
                self.bytes += partition_bytes(&wanted);
                self.partitions.insert(place, Cached { wanted, told: None, order });
            }
        }
    }

    fn forget(&mut self, place: &PartitionRef) {
        if let Some(cached) = self.partitions.remove(place) {
            self.order.remove(&cached.order);
            self.bytes -= partition_bytes(&cached.wanted);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wanted(partition: i32) -> Wanted {
        Wanted {
            topic: TopicRef::named("t"),
            partition,
            offset: 0,
            max_bytes: 1,
            leader_epoch: -1,
            last_fetched_epoch: -1,
        }
    }

    fn request(id: i32, epoch: i32, partitions: &[i32]) -> SessionRequest {
        let wanted = partitions.iter().map(|p| wanted(*p)).collect();
        SessionRequest { id, epoch, by_id: false, wanted, forgotten: Vec::new() }
    }

    fn at(ms: u64) -> Now {
        Now { mono: Mono(0).plus_ms(ms), wall_ms: 0 }
    }

    fn told(high_watermark: i64, bytes: usize) -> Telling {
        Telling { high_watermark, log_start: 0, bytes, is_error: false, is_diverging: false }
    }

    #[test]
    fn an_incremental_fetch_remembers_partitions_drops_forgotten_ones_and_counts_epochs() {
        let (mut sessions, mut random) = (FetchSessions::new(10, 1 << 20), Prng::new(1));
        let full = sessions.open(request(0, 0, &[0, 1]), at(0), &mut random).unwrap();
        assert!(full.id != 0 && !full.incremental);
        let next = sessions.open(request(full.id, 1, &[]), at(1), &mut random).unwrap();
        assert_eq!(next.wanted.len(), 2);
        let mut forgetting = request(full.id, 2, &[]);
        forgetting.forgotten = vec![(TopicRef::named("t"), 0)];
        let less = sessions.open(forgetting, at(2), &mut random).unwrap();
        assert_eq!(less.wanted.iter().map(|w| w.partition).collect::<Vec<_>>(), [1]);
        let stale = sessions.open(request(full.id, 2, &[]), at(3), &mut random);
        assert_eq!(stale.unwrap_err(), SessionError::InvalidEpoch);
        let mut by_id = request(full.id, 3, &[7]);
        by_id.by_id = true;
        assert_eq!(sessions.open(by_id, at(4), &mut random).unwrap_err(), SessionError::TopicIdMismatch);
    }

    #[test]
    fn only_partitions_with_news_are_told_and_those_with_data_move_to_the_end() {
        let (mut sessions, mut random) = (FetchSessions::new(10, 1 << 20), Prng::new(1));
        let id = sessions.open(request(0, 0, &[0, 1]), at(0), &mut random).unwrap().id;
        let topic = TopicRef::named("t");
        assert!(sessions.is_news(id, &topic, 0, told(5, 0)), "never told before");
        assert!(!sessions.is_news(id, &topic, 0, told(5, 0)));
        assert!(sessions.is_news(id, &topic, 0, told(6, 0)), "the high watermark moved");
        assert!(sessions.is_news(id, &topic, 0, told(6, 10)));
        let order = sessions.open(request(id, 1, &[]), at(1), &mut random).unwrap().wanted;
        assert_eq!(order.iter().map(|w| w.partition).collect::<Vec<_>>(), [1, 0]);
    }

    #[test]
    fn a_full_cache_gives_no_session_until_one_is_old_enough_to_go() {
        let (mut sessions, mut random) = (FetchSessions::new(1, 1 << 20), Prng::new(1));
        let first = sessions.open(request(0, 0, &[0]), at(0), &mut random).unwrap().id;
        assert_eq!(sessions.open(request(0, 0, &[0]), at(1), &mut random).unwrap().id, 0);
        assert_ne!(sessions.open(request(0, 0, &[0]), at(EVICTABLE_AFTER_MS), &mut random).unwrap().id, 0);
        let gone = sessions.open(request(first, 1, &[]), at(EVICTABLE_AFTER_MS), &mut random);
        assert_eq!(gone.unwrap_err(), SessionError::NotFound);
        assert_eq!(sessions.len(), 1);
    }

    #[test]
    fn sessions_are_bounded_in_bytes_and_one_that_outgrows_them_is_given_up() {
        let room = SESSION_BYTES * 2 + 100 * partition_bytes(&wanted(0));
        let (mut sessions, mut random) = (FetchSessions::new(10, room), Prng::new(1));
        let many: Vec<i32> = (0..90).collect();
        let first = sessions.open(request(0, 0, &many), at(0), &mut random).unwrap();
        assert_ne!(first.id, 0);
        let late = sessions.open(request(0, 0, &many), at(1), &mut random).unwrap();
        assert_eq!((late.id, late.wanted.len()), (0, 90), "served, without a session");
        let small = sessions.open(request(0, 0, &[0]), at(1), &mut random).unwrap().id;
        assert_ne!(small, 0);
        // Nine more fit, in exchange for others any number.
        let nine: Vec<i32> = (90..99).collect();
        assert_eq!(sessions.open(request(first.id, 1, &nine), at(2), &mut random).unwrap().wanted.len(), 99);
        let mut exchange = request(first.id, 2, &(100..150).collect::<Vec<_>>());
        exchange.forgotten = (0..50).map(|partition| (TopicRef::named("t"), partition)).collect();
        assert_eq!(sessions.open(exchange, at(3), &mut random).unwrap().wanted.len(), 99);
        let beyond = sessions.open(request(small, 1, &[1, 2]), at(4), &mut random);
        assert_eq!(beyond.unwrap_err(), SessionError::NotFound);
        assert_eq!(sessions.open(request(small, 2, &[]), at(4), &mut random).unwrap_err(), SessionError::NotFound);
        // Old ones make room for as many as it takes.
        let new = sessions.open(request(0, 0, &many), at(3 + EVICTABLE_AFTER_MS), &mut random).unwrap().id;
        assert_ne!(new, 0);
        assert_eq!(sessions.len(), 1);
        sessions.open(request(new, -1, &[]), at(3 + EVICTABLE_AFTER_MS), &mut random).unwrap();
        assert_eq!((sessions.len(), sessions.bytes), (0, 0));
        assert_eq!(sessions.open(request(0, 0, &(0..102).collect::<Vec<_>>()), at(0), &mut random).unwrap().id, 0);
    }
}
