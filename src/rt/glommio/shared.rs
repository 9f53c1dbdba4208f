//! What the tasks of one executor leave for the core, and how the core is told: each task ends with an event here,
//! which wakes the one task that waits for any.

use std::cell::{Cell, RefCell};
use std::io;
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::task::Waker;

use crate::base::ids::ConnId;
use crate::port::disk::DiskResult;
use crate::port::net::NetInput;
use crate::port::turn::Token;
use crate::rt::backend::Events;
use crate::rt::file_pipe::FilePipe;

/// Shared by the core and its tasks, all on one thread.
#[derive(Debug, Default)]
pub struct Shared {
    events: RefCell<Events>,
    /// What came of accepting, with the number of the listener.
    accepts: RefCell<Vec<(usize, io::Result<OwnedFd>)>>,
    rung: Cell<bool>,
    waiter: RefCell<Option<Waker>>,
    /// For what is sent out of files.
    pub pipe: RefCell<FilePipe>,
    /// The core stops: tasks that would go on for ever end at their next step.
    pub ending: Cell<bool>,
}

impl Shared {
    pub fn disk(&self, token: Token, result: DiskResult) {
        self.events.borrow_mut().disk.push((token, result));
        self.tell();
    }

    pub fn net(&self, input: NetInput) {
        self.events.borrow_mut().net.push(input);
        self.tell();
    }

    pub fn accepted(&self, listener: usize, result: io::Result<OwnedFd>) {
        self.accepts.borrow_mut().push((listener, result));
        self.tell();
    }

    /// Another thread has left something for the core.
    pub fn ring(&self) {
        self.rung.set(true);
        self.tell();
    }

    fn tell(&self) {
        if let Some(waiter) = self.waiter.borrow_mut().take() {
            waiter.wake();
        }
    }

    pub fn has_news(&self) -> bool {
        self.rung.get() || !self.accepts.borrow().is_empty() || !self.events.borrow().is_empty()
    }

    /// Who is to be woken by the next event.
    pub fn wait_with(&self, waker: &Waker) {
        *self.waiter.borrow_mut() = Some(waker.clone());
    }

    /// Whoever waited does not any more. Called by that task itself: a waker must not outlive the run it belongs to.
    pub fn waited(&self) {
        self.waiter.borrow_mut().take();
        self.rung.set(false);
    }

    /// Moves what has happened to the core's own lists.
    pub fn collect(&self, events: &mut Events) {
        let mut own = self.events.borrow_mut();
        events.disk.append(&mut own.disk);
        events.net.append(&mut own.net);
    }

    pub fn take_accepts(&self) -> Vec<(usize, io::Result<OwnedFd>)> {
        std::mem::take(&mut *self.accepts.borrow_mut())
    }

    pub fn forget(&self, conn: ConnId) {
        self.events.borrow_mut().forget(conn);
    }
}

/// Counts what is under way, by guards.
#[derive(Clone, Debug, Default)]
pub struct Count(Rc<Cell<usize>>);

impl Count {
    pub fn get(&self) -> usize {
        self.0.get()
    }

    /// One more, until the guard is dropped.
    pub fn one(&self) -> One {
        self.0.set(self.0.get() + 1);
        One(self.clone())
    }
}

/// One of a [`Count`].
#[derive(Debug)]
pub struct One(Count);

impl Drop for One {
    fn drop(&mut self) {
        self.0.0.set(self.0.0.get() - 1);
    }
}
