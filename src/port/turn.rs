//! The one seam between machines and drivers: `turn(now, inputs, effects) -> next wake`.
//!
//! A driver gathers inputs, reads the clocks once, calls `turn` and carries the effects out; every operation is
//! answered by an input of a later turn. The engine is the machine that real drivers run; the contract suite of the
//! drivers runs small ones of its own.

use std::fmt;

use super::disk::{DiskOp, DiskResult};
use super::net::{NetInput, NetOp};
use crate::base::ids::CoreId;
use crate::base::time::{Mono, Now};

/// Names an operation in flight, so that its answer finds its asker. Chosen by the machine, unique while in flight.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Token(pub u64);

/// All that has happened since the last turn, each list in order of arrival.
#[derive(Debug)]
pub struct Inputs<M> {
    pub disk: Vec<(Token, DiskResult)>,
    /// One batch per sending core and turn; the messages of a pair of cores stay in order.
    pub mail: Vec<(CoreId, Vec<M>)>,
    pub net: Vec<NetInput>,
    /// Someone asked the process to stop; stays true once it is.
    pub stop: bool,
}

/// All that a turn asks for.
#[derive(Debug)]
pub struct Effects<M> {
    pub disk: Vec<(Token, DiskOp)>,
    pub net: Vec<NetOp>,
    /// At most one batch a receiving core (itself too). A driver whose queue to that core is full keeps the batch and
    /// delivers it later, in order; what bounds it is the machine's own limit on requests in flight.
    pub mail: Vec<(CoreId, Vec<M>)>,
    /// The machine has stopped: no more turns, the thread may end once these effects are carried out. Disk operations
    /// and mail to cores that still run are; sends get a second; connections are then closed. Mail to this core from
    /// here on is dropped.
    pub stopped: bool,
}

impl<M> Default for Inputs<M> {
    fn default() -> Self {
        Inputs { disk: Vec::new(), mail: Vec::new(), net: Vec::new(), stop: false }
    }
}

impl<M> Default for Effects<M> {
    fn default() -> Self {
        Effects { disk: Vec::new(), net: Vec::new(), mail: Vec::new(), stopped: false }
    }
}

impl<M> Inputs<M> {
    pub fn is_empty(&self) -> bool {
        self.disk.is_empty() && self.mail.is_empty() && self.net.is_empty() && !self.stop
    }
}

/// When a machine wants its next turn if nothing happens before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NextWake {
    /// At once: there is work left over from this turn.
    Now,
    At(Mono),
    Never,
}

/// A synchronous state machine that a driver can run. It gets its first turn at once, with nothing in it; later ones
/// when there is an input, the wake it asked for is due (never early), or a stop is asked for. Not `Send` by
/// requirement: it is built on the thread it lives on.
pub trait Machine {
    /// What one core may say to another.
    type Message: Send + fmt::Debug + 'static;

    /// Takes the inputs (leaving the lists empty) and appends effects.
    fn turn(&mut self, now: Now, inputs: &mut Inputs<Self::Message>, effects: &mut Effects<Self::Message>) -> NextWake;
}
