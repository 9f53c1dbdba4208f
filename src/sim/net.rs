//! The made-up network: byte streams between clients and a node, cut at random places, delayed, held back and reset.
//!
//! ```text
//!   client ── segments, each with its delay ──► arrived ── Recv ──► engine
//!   client ◄── reads at its own pace ── out (at most a window counts as sent) ◄── Send ── engine
//! ```
//! Bytes are never lost or changed on a connection that lives; a reset loses what is under way in both directions.

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;

use bytes::{Buf, BufMut, Bytes, BytesMut};

use super::disk;
use super::mutation::Mutation;
use crate::base::ids::{ConnId, CoreId};
use crate::base::prng::Prng;
use crate::port::net::{NetInput, NetOp};

/// Names a connection for its client; never used again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct LinkId(pub u64);

/// What this network does to connections.
#[derive(Clone, Debug)]
pub struct NetProfile {
    /// Delay of a segment, nanoseconds.
    pub delay_ns: (u64, u64),
    /// Largest segment, bytes: small ones cut frames in many places.
    pub segment_max: u64,
    /// Bytes that a send may leave behind in the kernel and still count as sent.
    pub window: usize,
    pub mutation: Option<Mutation>,
}

impl Default for NetProfile {
    fn default() -> Self {
        NetProfile { delay_ns: (20_000, 300_000), segment_max: 16_384, window: 65_536, mutation: None }
    }
}

/// Something to happen on a link later.
#[derive(Clone, Debug)]
pub enum NetEvent {
    /// A segment reaches the node; empty: the client has closed its side.
    Arrives { link: LinkId, bytes: Bytes },
    /// The client reads.
    Drain { link: LinkId },
}

/// What a client sees.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ClientSees {
    Data(Bytes),
    /// The connection has ended.
    Ended,
}

/// What came of a step.
#[derive(Debug, Default)]
pub struct NetOut {
    /// Events and their delay from now, nanoseconds.
    pub later: Vec<(u64, NetEvent)>,
    pub inputs: Vec<(CoreId, NetInput)>,
    pub seen: Vec<(LinkId, ClientSees)>,
}

#[derive(Debug)]
struct Link {
    core: CoreId,
    conn: ConnId,
    arrived: VecDeque<u8>,
    client_closed: bool,
    recv: Option<BytesMut>,
    out: VecDeque<Bytes>,
    out_bytes: usize,
    send_waits: bool,
    drain_due: bool,
    /// Bytes the client takes at once, and how long it waits in between.
    read_bytes: usize,
    read_ns: u64,
    /// When the last segment arrives, so that none overtakes it; counted from the beginning.
    last_arrival_ns: u64,
    broken: bool,
    told_broken: bool,
    server_closed: bool,
    client_gone: bool,
    /// Whole frames wait here under [`Mutation::SwapAnswers`].
    held: BytesMut,
}

/// All connections to one node.
#[derive(Debug)]
pub struct Net {
    pub profile: NetProfile,
    links: BTreeMap<LinkId, Link>,
    by_conn: BTreeMap<(CoreId, ConnId), LinkId>,
    next_link: u64,
    cores: u16,
}

impl Net {
    pub fn new(profile: NetProfile, cores: u16) -> Net {
        Net { profile, links: BTreeMap::new(), by_conn: BTreeMap::new(), next_link: 0, cores }
    }

    fn delay(&self, random: &mut Prng) -> u64 {
        let (least, most) = self.profile.delay_ns;
        least + random.below((most - least).max(1))
    }

    /// A client connects; cores take turns. A slow reader takes few bytes at long intervals.
    pub fn connect(&mut self, slow_reader: bool, random: &mut Prng, out: &mut NetOut) -> LinkId {
        self.next_link += 1;
        let id = LinkId(self.next_link);
        let core = CoreId((self.next_link % u64::from(self.cores)) as u16);
        let conn = ConnId(self.next_link);
        let (read_bytes, read_ns) = if slow_reader {
            (500 + random.below(4_000) as usize, 1_000_000 + random.below(20_000_000))
        } else {
            (1 + random.below(64 << 10) as usize, 1_000 + random.below(100_000))
        };
        let link = Link {
            core,
            conn,
            arrived: VecDeque::new(),
            client_closed: false,
            recv: None,
            out: VecDeque::new(),
            out_bytes: 0,
            send_waits: false,
            drain_due: false,
            read_bytes,
            read_ns,
            last_arrival_ns: 0,
            broken: false,
            told_broken: false,
            server_closed: false,
            client_gone: false,
            held: BytesMut::new(),
        };
        self.links.insert(id, link);
        self.by_conn.insert((core, conn), id);
        let peer = SocketAddr::from(([127, 0, 0, 1], 1_024 + (self.next_link % 60_000) as u16));
        out.inputs.push((core, NetInput::Accepted { conn, peer }));
        id
    }

    /// A client writes; the bytes travel in segments. Nothing happens on a link that has ended.
    pub fn client_send(&mut self, id: LinkId, mut bytes: Bytes, now_ns: u64, random: &mut Prng, out: &mut NetOut) {
        while !bytes.is_empty() {
            let len = (1 + random.below(self.profile.segment_max) as usize).min(bytes.len());
            let segment = bytes.split_to(len);
            self.schedule(id, segment, now_ns, random, out);
        }
    }

    /// A client closes its side.
    pub fn client_close(&mut self, id: LinkId, now_ns: u64, random: &mut Prng, out: &mut NetOut) {
        self.schedule(id, Bytes::new(), now_ns, random, out);
        if let Some(link) = self.links.get_mut(&id) {
            link.client_gone = true;
        }
    }

    fn schedule(&mut self, id: LinkId, bytes: Bytes, now_ns: u64, random: &mut Prng, out: &mut NetOut) {
        let delay = self.delay(random);
        let Some(link) = self.links.get_mut(&id) else { return };
        let arrival = (now_ns + delay).max(link.last_arrival_ns + 1);
        link.last_arrival_ns = arrival;
        out.later.push((arrival - now_ns, NetEvent::Arrives { link: id, bytes }));
    }

    /// The connection breaks; both sides notice in their own way.
    pub fn reset(&mut self, id: LinkId, out: &mut NetOut) {
        let Some(link) = self.links.get_mut(&id) else { return };
        if link.broken {
            return;
        }
        link.broken = true;
        link.arrived.clear();
        link.out.clear();
        link.out_bytes = 0;
        if !link.client_gone {
            link.client_gone = true;
            out.seen.push((id, ClientSees::Ended));
        }
        if (link.recv.is_some() || link.send_waits) && !link.server_closed {
            Net::tell_broken(link, out);
        }
        if link.server_closed {
            self.forget(id);
        }
    }

    fn tell_broken(link: &mut Link, out: &mut NetOut) {
        link.recv = None;
        link.send_waits = false;
        if !link.told_broken {
            link.told_broken = true;
            out.inputs.push((link.core, NetInput::Broken { conn: link.conn }));
        }
    }

    fn forget(&mut self, id: LinkId) {
        if let Some(link) = self.links.remove(&id) {
            self.by_conn.remove(&(link.core, link.conn));
        }
    }

    /// The node loses power or has stopped: every client sees its connection end.
    pub fn node_gone(&mut self, out: &mut NetOut) {
        for (id, link) in std::mem::take(&mut self.links) {
            if !link.client_gone {
                out.seen.push((id, ClientSees::Ended));
            }
        }
        self.by_conn.clear();
    }

    /// Carries out what a machine asks for.
    pub fn op(&mut self, core: CoreId, op: NetOp, random: &mut Prng, out: &mut NetOut) {
        let conn = match &op {
            NetOp::Recv { conn, .. } | NetOp::Send { conn, .. } | NetOp::Close { conn } => *conn,
        };
        let Some(id) = self.by_conn.get(&(core, conn)).copied() else { return };
        let window = self.profile.window;
        let Some(link) = self.links.get_mut(&id) else { return };
        if link.server_closed {
            return;
        }
        match op {
            NetOp::Recv { buffer, .. } => {
                crate::invariant!(link.recv.is_none(), "two receives in flight on {conn:?}");
                link.recv = Some(buffer);
                if link.broken {
                    Net::tell_broken(link, out);
                } else {
                    Net::give(link, random, out);
                }
            }
            NetOp::Send { parts, .. } => {
                crate::invariant!(!link.send_waits, "two sends in flight on {conn:?}");
                link.send_waits = true;
                if link.broken {
                    return Net::tell_broken(link, out);
                }
                for part in parts.into_iter().filter(|part| !part.is_empty()) {
                    link.out_bytes += part.len();
                    link.out.push_back(disk::sent_bytes(&part));
                }
                Net::settle_send(link, window, out);
                Net::drain_later(id, link, out);
            }
            NetOp::Close { .. } => {
                link.server_closed = true;
                link.recv = None;
                link.send_waits = false;
                // What the kernel has taken still goes out; the rest is cut off.
                while link.out_bytes > window
                    && let Some(last) = link.out.pop_back()
                {
                    link.out_bytes -= last.len();
                }
                out.inputs.push((core, NetInput::Closed { conn }));
                if link.broken || link.client_gone {
                    self.forget(id);
                } else {
                    Net::drain_later(id, link, out);
                }
            }
        }
    }

    fn settle_send(link: &mut Link, window: usize, out: &mut NetOut) {
        if link.send_waits && link.out_bytes <= window {
            link.send_waits = false;
            out.inputs.push((link.core, NetInput::Sent { conn: link.conn }));
        }
    }

    fn drain_later(id: LinkId, link: &mut Link, out: &mut NetOut) {
        if !link.drain_due {
            link.drain_due = true;
            out.later.push((link.read_ns, NetEvent::Drain { link: id }));
        }
    }

    /// Fulfils a receive if there is something to receive.
    fn give(link: &mut Link, random: &mut Prng, out: &mut NetOut) {
        if link.arrived.is_empty() && !link.client_closed {
            return;
        }
        let Some(mut buffer) = link.recv.take() else { return };
        let spare = buffer.capacity() - buffer.len();
        crate::invariant!(spare > 0, "a receive without room");
        let most = spare.min(link.arrived.len());
        // Mostly all there is, sometimes less.
        let count = if most > 1 && random.chance(1, 8) { 1 + random.below(most as u64 - 1) as usize } else { most };
        for byte in link.arrived.drain(..count) {
            buffer.put_u8(byte);
        }
        out.inputs.push((link.core, NetInput::Received { conn: link.conn, buffer, count }));
    }

    /// Something that was to happen later happens now.
    pub fn event(&mut self, event: NetEvent, random: &mut Prng, out: &mut NetOut) {
        match event {
            NetEvent::Arrives { link: id, bytes } => {
                let Some(link) = self.links.get_mut(&id) else { return };
                if link.broken {
                    return;
                }
                link.client_closed |= bytes.is_empty();
                link.arrived.extend(bytes);
                Net::give(link, random, out);
            }
            NetEvent::Drain { link } => self.drain(link, random, out),
        }
    }

    fn drain(&mut self, id: LinkId, random: &mut Prng, out: &mut NetOut) {
        let swaps = self.profile.mutation == Some(Mutation::SwapAnswers);
        let window = self.profile.window;
        let Some(link) = self.links.get_mut(&id) else { return };
        link.drain_due = false;
        if link.broken {
            return;
        }
        let mut budget = 1 + random.below(link.read_bytes as u64) as usize;
        let mut bytes = BytesMut::new();
        while budget > 0
            && let Some(front) = link.out.front_mut()
        {
            let count = budget.min(front.len());
            bytes.extend_from_slice(&front.split_to(count));
            budget -= count;
            link.out_bytes -= count;
            if front.is_empty() {
                link.out.pop_front();
            }
        }
        if !link.server_closed {
            Net::settle_send(link, window, out);
        }
        if swaps {
            link.held.extend_from_slice(&bytes);
            bytes = swapped(&mut link.held);
        }
        if !bytes.is_empty() && !link.client_gone {
            out.seen.push((id, ClientSees::Data(bytes.freeze())));
        }
        if !link.out.is_empty() {
            Net::drain_later(id, link, out);
        } else if link.server_closed {
            if !link.client_gone {
                out.seen.push((id, ClientSees::Ended));
            }
            self.forget(id);
        }
    }

    /// Links whose client side still hears.
    pub fn open_links(&self) -> Vec<LinkId> {
        self.links.iter().filter(|(_, link)| !link.client_gone).map(|(id, _)| *id).collect()
    }
}

/// Takes the whole frames; where there are two, the first two change places.
fn swapped(held: &mut BytesMut) -> BytesMut {
    let mut frames: Vec<BytesMut> = Vec::new();
    while held.len() >= 4 {
        let len = 4 + u32::from_be_bytes([held[0], held[1], held[2], held[3]]) as usize;
        if held.len() < len {
            break;
        }
        frames.push(held.split_to(len));
    }
    if frames.len() >= 2 {
        frames.swap(0, 1);
    }
    let mut bytes = BytesMut::new();
    for mut frame in frames {
        bytes.extend_from_slice(&frame.copy_to_bytes(frame.len()));
    }
    bytes
}
