//! What differs between the drivers: how hot operations and waiting are done. Everything else is `core_loop.rs`.

use std::fmt;
use std::io;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::control::{Accepted, Control};
use super::file::{FileOp, OpenFile};
use crate::base::ids::{ConnId, CoreId};
use crate::port::disk::{DiskError, DiskResult, FileId};
use crate::port::net::{NetInput, NetOp};
use crate::port::turn::Token;

/// What a core's backend starts from.
#[derive(Debug)]
pub struct Setup {
    pub core: CoreId,
    pub control: Arc<Control>,
    /// Core 0 only.
    pub listeners: Vec<OwnedFd>,
    /// Connections this core may come to own.
    pub connections_max: usize,
    /// The data folder.
    pub data_root: PathBuf,
}

/// What happened, until the next turn takes it.
#[derive(Debug, Default)]
pub struct Events {
    pub disk: Vec<(Token, DiskResult)>,
    pub net: Vec<NetInput>,
    /// Fresh connections, for the dealer.
    pub accepted: Vec<OwnedFd>,
}

impl Events {
    pub fn is_empty(&self) -> bool {
        self.disk.is_empty() && self.net.is_empty() && self.accepted.is_empty()
    }

    /// A connection is being closed. Answers that wait for the next turn are of operations that count as in flight
    /// still: they are never given.
    pub fn forget(&mut self, closed: ConnId) {
        self.net.retain(|input| match input {
            NetInput::Received { conn, .. } | NetInput::Sent { conn } | NetInput::Broken { conn } => *conn != closed,
            NetInput::Accepted { .. } | NetInput::Closed { .. } => true,
        });
    }
}

/// One core's half of a driver. Lives on the core's thread.
pub trait Backend: Sized + fmt::Debug {
    /// epoll wants non-blocking listeners; a ring waits for them itself and wants blocking ones.
    const LISTENERS_BLOCK: bool;

    fn start(setup: Setup) -> io::Result<Self>;

    /// A file got a number. Nothing is in flight on it yet. An error is the answer of the open, and the number is free.
    fn file_opened(&mut self, id: FileId, file: &Arc<OpenFile>) -> Result<(), DiskError>;

    /// The number is given up; called when nothing of the machine's is in flight on the file.
    fn file_closed(&mut self, id: FileId);

    /// Begins a hot operation that [`OpenFile::validate`] has passed.
    fn disk(&mut self, token: Token, id: FileId, file: &Arc<OpenFile>, op: FileOp, events: &mut Events);

    fn net(&mut self, op: NetOp, events: &mut Events);

    /// Takes a connection over and says so.
    fn adopt(&mut self, accepted: Accepted, events: &mut Events);

    /// Wakes a sleeping core, at the latest when this core waits next.
    fn wake(&mut self, core: CoreId);

    /// Collects what helpers of the backend have finished; called after a post.
    fn take_posted(&mut self, events: &mut Events);

    /// Begins what is prepared, then waits until something happened, at most `timeout` (`None`: as long as it takes);
    /// collects a bounded number of events. May return early with nothing.
    fn wait(&mut self, timeout: Option<Duration>, events: &mut Events) -> io::Result<()>;

    fn disk_in_flight(&self) -> usize;

    fn sends_in_flight(&self) -> usize;

    /// Closes every connection and listener and waits for whatever is left in the kernel's hands.
    fn shut_down(&mut self);
}
