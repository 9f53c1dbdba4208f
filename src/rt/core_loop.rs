//! The life of one core, the same in every driver: collect → read both clocks → turn → carry out → wait.
//!
//! Invariants: a turn happens only when there is an input, a due time or news of a stop; the work of one round is
//! bounded (`INPUTS_PER_TURN_MAX` of a kind, one batch of mail a sender); the thread ends only when no operation of the
//! machine is in flight any more, unless another core has failed.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::accept::Dealer;
use super::backend::{Backend, Events};
use super::cold::{self, ColdDone, ColdOp, Piece};
use super::control::Control;
use super::file::{FileOp, OpenFile, invalid};
use super::mailbox::{Mesh, Outbox};
use super::worker::Workers;
use super::{RunError, clock};
use crate::base::ids::CoreId;
use crate::base::limits::INPUTS_PER_TURN_MAX;
use crate::port::disk::{DiskError, DiskErrorKind, DiskOp, FileId};
use crate::port::net::NetOp;
use crate::port::turn::{Effects, Inputs, Machine, NextWake, Token};

/// How long sends in flight may take after the machine has stopped; a client that does not read is not waited for.
const LAST_SENDS_MS: u64 = 1000;
/// Longest wait while ending, so that a grace period is noticed.
const LAST_WAIT: Duration = Duration::from_millis(20);

type ColdJob = (Option<FileId>, ColdOp);
type ColdAnswer = (Option<FileId>, ColdDone);

#[derive(Debug)]
enum FileSlot {
    Opening,
    Open(Arc<OpenFile>),
    Closing,
}

/// Helper threads for cold operations: enough for the file system to sync several folders with one commit of its
/// journal.
const COLD_LANES: usize = 4;
/// Helper threads that bring parts of files into the page cache: each waits for the disk with one of them.
const STAGE_THREADS: usize = 4;

/// One core of a running driver.
#[derive(Debug)]
pub struct Core<T, B> {
    id: CoreId,
    control: Arc<Control>,
    mesh: Arc<Mesh<T>>,
    outbox: Outbox<T>,
    backend: B,
    /// What concerns one folder stays in order; folders do not wait for one another's syncs.
    cold: Vec<Workers<ColdJob, ColdAnswer>>,
    /// Of what is staged: in any order, and not in the way of the others.
    stage: Workers<ColdJob, ColdAnswer>,
    files: HashMap<FileId, FileSlot>,
    dealer: Option<Dealer>,
    events: Events,
    /// A lane holds more mail than the last turn took.
    mail_waits: bool,
}

impl<T: Send + std::fmt::Debug + 'static, B: Backend> Core<T, B> {
    pub fn new(
        id: CoreId,
        cores: usize,
        data_root: PathBuf,
        control: Arc<Control>,
        mesh: Arc<Mesh<T>>,
        dealer: Option<Dealer>,
        backend: B,
    ) -> io::Result<Core<T, B>> {
        let execute = move |(file, op): ColdJob| (file, cold::execute(&data_root, id, op));
        let lane_work = execute.clone();
        let start = |lane| Workers::start(&format!("core-{}-cold{lane}", id.0), 1, id, &control, lane_work.clone());
        let cold = (0..COLD_LANES).map(start).collect::<io::Result<_>>()?;
        let stage = Workers::start(&format!("core-{}-stage", id.0), STAGE_THREADS, id, &control, execute)?;
        Ok(Core {
            id,
            control,
            mesh,
            outbox: Outbox::new(id, cores),
            backend,
            cold,
            stage,
            files: HashMap::new(),
            dealer,
            events: Events::default(),
            mail_waits: false,
        })
    }

    /// Runs the machine until it has stopped.
    pub fn run<M: Machine<Message = T>>(mut self, mut machine: M) -> Result<(), RunError> {
        let core = self.id;
        self.turns(&mut machine).and_then(|()| self.finish()).map_err(|source| RunError::Driver { core, source })
    }

    fn turns<M: Machine<Message = T>>(&mut self, machine: &mut M) -> io::Result<()> {
        let mut inputs = Inputs::default();
        let mut effects = Effects::default();
        let mut next_wake = NextWake::Now;
        let mut told_to_stop = false;
        loop {
            self.gather(&mut inputs);
            inputs.stop = self.control.stopping();
            let stop_is_news = inputs.stop && !told_to_stop;
            told_to_stop = inputs.stop;
            let now = clock::now();
            let due = match next_wake {
                NextWake::Now => true,
                NextWake::At(time) => now.mono >= time,
                NextWake::Never => false,
            };
            let news = !(inputs.disk.is_empty() && inputs.mail.is_empty() && inputs.net.is_empty());
            if due || news || stop_is_news {
                next_wake = machine.turn(now, &mut inputs, &mut effects);
                let taken = inputs.disk.is_empty() && inputs.mail.is_empty() && inputs.net.is_empty();
                crate::invariant!(taken, "the machine of core {} left inputs behind", self.id.0);
                self.carry_out(&mut effects);
                if effects.stopped {
                    return Ok(());
                }
            }
            if self.control.grace_left().is_some_and(|left| left.is_zero()) {
                return Ok(());
            }
            let timeout = match next_wake {
                NextWake::Now => Some(Duration::ZERO),
                NextWake::At(time) => Some(Duration::from_nanos(time - clock::mono())),
                NextWake::Never => None,
            };
            self.wait(timeout)?;
        }
    }

    /// Moves what has happened into the inputs of the next turn.
    fn gather(&mut self, inputs: &mut Inputs<T>) {
        let posted = self.control.take_posted(self.id);
        if posted {
            self.take_posted();
        }
        if posted || self.mail_waits {
            let taken = self.mesh.take(self.id, &mut inputs.mail);
            self.mail_waits = taken.more;
            for sender in taken.unblocked {
                self.wake(sender);
            }
        }
        self.deal();
        cut(&mut self.events.disk, &mut inputs.disk);
        cut(&mut self.events.net, &mut inputs.net);
    }

    /// Something was posted for this core: looks where it may lie, mail excepted.
    fn take_posted(&mut self) {
        let helpers = self.cold.iter_mut().chain([&mut self.stage]);
        let done: Vec<_> = helpers.flat_map(Workers::take_done).collect();
        for (token, (id, done)) in done {
            let settled = id.map_or(Ok(()), |id| self.settle_file(id, done.opened));
            self.events.disk.push((token, settled.and(done.result)));
        }
        self.backend.take_posted(&mut self.events);
        for accepted in self.control.take_handed(self.id) {
            self.backend.adopt(accepted, &mut self.events);
        }
        let (control, backend) = (&self.control, &mut self.backend);
        self.outbox.flush(&self.mesh, |to| {
            if control.post(to) {
                backend.wake(to);
            }
        });
    }

    fn wake(&mut self, core: CoreId) {
        if self.control.post(core) {
            self.backend.wake(core);
        }
    }

    /// An open or close has been answered.
    fn settle_file(&mut self, id: FileId, opened: Option<OpenFile>) -> Result<(), DiskError> {
        let taken_over = opened.map(|file| {
            let file = Arc::new(file);
            self.backend.file_opened(id, &file).map(|()| file)
        });
        match taken_over {
            Some(Ok(file)) => {
                self.files.insert(id, FileSlot::Open(file));
                Ok(())
            }
            Some(Err(error)) => {
                self.files.remove(&id);
                Err(error)
            }
            None => {
                self.files.remove(&id);
                Ok(())
            }
        }
    }

    fn deal(&mut self) {
        let Some(dealer) = &mut self.dealer else { return };
        for fd in std::mem::take(&mut self.events.accepted) {
            let Some((core, accepted)) = dealer.deal(fd) else { continue };
            if core == self.id {
                self.backend.adopt(accepted, &mut self.events);
            } else if self.control.hand(core, accepted) {
                self.backend.wake(core);
            }
        }
    }

    fn carry_out(&mut self, effects: &mut Effects<T>) {
        for (token, op) in effects.disk.drain(..) {
            self.disk(token, op);
        }
        for op in effects.net.drain(..) {
            if let NetOp::Close { conn } = op {
                self.events.forget(conn);
            }
            self.backend.net(op, &mut self.events);
        }
        for (to, batch) in effects.mail.drain(..) {
            if self.outbox.send(&self.mesh, to, batch) {
                self.wake(to);
            }
        }
    }

    fn disk(&mut self, token: Token, op: DiskOp) {
        let (id, op) = match op {
            DiskOp::Write { file, position, data, sync } => (file, FileOp::Write { position, data, sync }),
            DiskOp::Read { file, position, len } => (file, FileOp::Read { position, len }),
            DiskOp::Sync { file } => (file, FileOp::Sync),
            DiskOp::ZeroFill { file, from, to } => (file, FileOp::ZeroFill { from, to }),
            DiskOp::Reserve { file, from, to } => (file, FileOp::Reserve { from, to }),
            DiskOp::Stage { file, position, len, look, fill } => {
                return self.stage(token, file, Piece { position, len, look }, fill);
            }
            cold => return self.cold(token, cold),
        };
        let Some(FileSlot::Open(file)) = self.files.get(&id) else {
            return self.refuse(token, format!("file {} is not open", id.0));
        };
        match file.validate(&op) {
            Ok(()) => self.backend.disk(token, id, file, op, &mut self.events),
            Err(error) => self.events.disk.push((token, Err(error))),
        }
    }

    fn cold(&mut self, token: Token, op: DiskOp) {
        let job = match op {
            DiskOp::Open { file, path, mode } => match self.files.entry(file) {
                Entry::Occupied(_) => return self.refuse(token, format!("open {path}: file {} is in use", file.0)),
                Entry::Vacant(slot) => {
                    slot.insert(FileSlot::Opening);
                    (Some(file), ColdOp::Open { path, mode })
                }
            },
            DiskOp::Close { file: id } => match self.files.get_mut(&id) {
                Some(slot @ FileSlot::Open(_)) => {
                    let FileSlot::Open(file) = std::mem::replace(slot, FileSlot::Closing) else { return };
                    self.backend.file_closed(id);
                    (Some(id), ColdOp::Close { file })
                }
                _ => return self.refuse(token, format!("close: file {} is not open", id.0)),
            },
            DiskOp::SetLen { file: id, len } => match self.files.get(&id) {
                Some(FileSlot::Open(file)) => (None, ColdOp::SetLen { file: file.clone(), len }),
                _ => return self.refuse(token, format!("set length: file {} is not open", id.0)),
            },
            DiskOp::ReadFile { path, len_max } => (None, ColdOp::ReadFile { path, len_max }),
            DiskOp::WriteFile { path, data } => (None, ColdOp::WriteFile { path, data }),
            DiskOp::MakeDir { path } => (None, ColdOp::MakeDir { path }),
            DiskOp::List { path } => (None, ColdOp::List { path }),
            DiskOp::Rename { from, to } => (None, ColdOp::Rename { from, to }),
            DiskOp::Remove { path } => (None, ColdOp::Remove { path }),
            DiskOp::RemoveDir { path } => (None, ColdOp::RemoveDir { path }),
            DiskOp::Write { .. } | DiskOp::Read { .. } | DiskOp::Sync { .. } => {
                unreachable!("hot operations went the other way")
            }
            DiskOp::ZeroFill { .. } | DiskOp::Reserve { .. } | DiskOp::Stage { .. } => {
                unreachable!("hot operations went the other way")
            }
        };
        let lane = job.1.folder_hash() as usize % self.cold.len();
        self.cold[lane].submit(token, job);
    }

    fn stage(&mut self, token: Token, id: FileId, piece: Piece, fill: bool) {
        let Some(FileSlot::Open(file)) = self.files.get(&id) else {
            return self.refuse(token, format!("file {} is not open", id.0));
        };
        let end = piece.position.checked_add(u64::from(piece.len)).filter(|end| *end <= i64::MAX as u64);
        if end.is_none() || piece.look > piece.len {
            return self.refuse(token, format!("stage {piece:?} of {}", file.path));
        }
        if let Some(result) = cold::staged_already(file, piece) {
            self.events.disk.push((token, result));
        } else if fill {
            self.stage.submit(token, (None, ColdOp::Stage { file: file.clone(), piece }));
        } else {
            let detail = format!("stage {piece:?} of {}", file.path);
            self.events.disk.push((token, Err(DiskError { kind: DiskErrorKind::NotCached, detail })));
        }
    }

    fn refuse(&mut self, token: Token, detail: String) {
        self.events.disk.push((token, Err(invalid(detail))));
    }

    /// Waits at most `timeout`, not at all when something is there already.
    fn wait(&mut self, timeout: Option<Duration>) -> io::Result<()> {
        let mut timeout = if self.events.is_empty() && !self.mail_waits { timeout } else { Some(Duration::ZERO) };
        if let Some(left) = self.control.grace_left() {
            // One millisecond more, so that the grace is over when the wait is.
            let left = left + Duration::from_millis(1);
            timeout = Some(timeout.map_or(left, |timeout| timeout.min(left)));
        }
        if timeout != Some(Duration::ZERO) && !self.control.fall_asleep(self.id) {
            timeout = Some(Duration::ZERO);
        }
        let waited = self.backend.wait(timeout, &mut self.events);
        self.control.wake_up(self.id);
        waited
    }

    /// The machine has stopped: lets what it asked for end, then closes everything.
    fn finish(&mut self) -> io::Result<()> {
        let sends_until = clock::mono().plus_ms(LAST_SENDS_MS);
        // First, so that two ending cores do not wait for one another to take their mail.
        for sender in self.mesh.close(self.id) {
            self.wake(sender);
        }
        loop {
            if self.control.take_posted(self.id) {
                self.take_posted();
            }
            self.events = Events::default();
            let sends_wait = self.backend.sends_in_flight() > 0 && clock::mono() < sends_until;
            let idle = self.backend.disk_in_flight() == 0
                && self.cold.iter().chain([&self.stage]).all(|lane| lane.in_flight() == 0)
                && self.outbox.is_empty();
            let patience_over = self.control.grace_left().is_some_and(|left| left.is_zero());
            if (idle && !sends_wait) || patience_over {
                break;
            }
            self.wait(Some(LAST_WAIT))?;
        }
        self.backend.shut_down();
        Ok(())
    }
}

/// Moves at most as much as one turn takes in.
fn cut<E>(source: &mut Vec<E>, target: &mut Vec<E>) {
    if source.len() <= INPUTS_PER_TURN_MAX && target.is_empty() {
        std::mem::swap(source, target);
    } else {
        target.extend(source.drain(..source.len().min(INPUTS_PER_TURN_MAX)));
    }
}
