//! Helper threads of one core: they carry out blocking work from a bounded queue, and what came of it waits in a list
//! that the core is rung for.
//!
//! Dropping the pool lets the threads finish what they have begun, throws away what they have not, and joins them.

use std::collections::VecDeque;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex};
use std::thread::{self, JoinHandle};

use super::control::{Control, lock};
use super::{RunError, panic_text};
use crate::base::ids::CoreId;
use crate::port::turn::Token;

/// Jobs that may wait for a thread; more wait with the core.
const QUEUE_MAX: usize = 256;

#[derive(Debug)]
struct Shared<J, D> {
    queue: Mutex<Queue<J>>,
    filled: Condvar,
    done: Mutex<Vec<(Token, D)>>,
}

#[derive(Debug)]
struct Queue<J> {
    jobs: VecDeque<(Token, J)>,
    closed: bool,
}

/// The threads, their queue, and the jobs that did not fit into it yet.
#[derive(Debug)]
pub struct Workers<J, D> {
    shared: Arc<Shared<J, D>>,
    threads: Vec<JoinHandle<()>>,
    backlog: VecDeque<(Token, J)>,
    in_flight: usize,
}

impl<J: Send + 'static, D: Send + 'static> Workers<J, D> {
    /// Starts `count` threads called `name-0`... With one thread, jobs are carried out in order.
    pub fn start(
        name: &str,
        count: usize,
        core: CoreId,
        control: &Arc<Control>,
        execute: impl Fn(J) -> D + Send + Clone + 'static,
    ) -> io::Result<Workers<J, D>> {
        let shared = Arc::new(Shared {
            queue: Mutex::new(Queue { jobs: VecDeque::new(), closed: false }),
            filled: Condvar::new(),
            done: Mutex::new(Vec::new()),
        });
        let mut workers = Workers { shared, threads: Vec::new(), backlog: VecDeque::new(), in_flight: 0 };
        for number in 0..count {
            let (shared, control, execute) = (workers.shared.clone(), control.clone(), execute.clone());
            let thread = thread::Builder::new().name(format!("{name}-{number}")).spawn(move || {
                let work = || serve(&shared, core, &control, execute);
                if let Err(panic) = catch_unwind(AssertUnwindSafe(work)) {
                    control.fail(RunError::Panicked { core, message: panic_text(panic.as_ref()) });
                }
            })?;
            workers.threads.push(thread);
        }
        Ok(workers)
    }

    pub fn submit(&mut self, token: Token, job: J) {
        self.in_flight += 1;
        self.backlog.push_back((token, job));
        self.refill();
    }

    fn refill(&mut self) {
        if self.backlog.is_empty() {
            return;
        }
        let mut queue = lock(&self.shared.queue);
        while queue.jobs.len() < QUEUE_MAX
            && let Some(job) = self.backlog.pop_front()
        {
            queue.jobs.push_back(job);
            self.shared.filled.notify_one();
        }
    }

    /// Takes what has ended since the last call.
    pub fn take_done(&mut self) -> Vec<(Token, D)> {
        if self.in_flight == 0 {
            return Vec::new();
        }
        let done = std::mem::take(&mut *lock(&self.shared.done));
        self.in_flight -= done.len();
        self.refill();
        done
    }

    pub fn in_flight(&self) -> usize {
        self.in_flight
    }
}

fn serve<J, D>(shared: &Shared<J, D>, core: CoreId, control: &Control, execute: impl Fn(J) -> D) {
    loop {
        let mut queue = lock(&shared.queue);
        let (token, job) = loop {
            if queue.closed {
                return;
            }
            match queue.jobs.pop_front() {
                Some(job) => break job,
                None => queue = shared.filled.wait(queue).unwrap_or_else(std::sync::PoisonError::into_inner),
            }
        };
        drop(queue);
        let done = execute(job);
        lock(&shared.done).push((token, done));
        control.post_and_ring(core);
    }
}

impl<J, D> Drop for Workers<J, D> {
    fn drop(&mut self) {
        let mut queue = lock(&self.shared.queue);
        queue.closed = true;
        queue.jobs.clear();
        drop(queue);
        self.shared.filled.notify_all();
        for thread in self.threads.drain(..) {
            // The thread's body catches panics and reports them itself.
            if thread.join().is_err() {
                tracing::error!("a helper thread ended by a panic");
            }
        }
    }
}
