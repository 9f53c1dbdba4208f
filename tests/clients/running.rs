//! A scenario on its way: a process of another language, or a thread with librdkafka in it.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::process::{Child, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use crate::build::Client;
use crate::librdkafka;

/// What a scenario and its harness tell one another.
#[derive(Debug, Default)]
pub struct Shared {
    /// Records acknowledged so far (`survive`).
    pub acked: AtomicU64,
    /// The harness wants no more records.
    pub ended: AtomicBool,
}

enum Kind {
    Process { child: Child, lines: Arc<Mutex<Vec<String>>> },
    Thread { verdict: Receiver<Result<String, String>> },
}

/// One line about a test that does not run here; past the capture of the test runner, so that it is seen.
pub fn skipped(why: &str) {
    // Nobody is left to tell when standard error is gone.
    let _ = writeln!(io::stderr(), "skipped: {why}");
}

/// A scenario that was started; a process among them is killed when this is dropped.
pub struct Running {
    shared: Arc<Shared>,
    kind: Kind,
}

impl Running {
    /// `None` when the client cannot be had here.
    pub fn start(client: Client, bootstrap: &str, scenario: &str) -> Option<Running> {
        let shared = Arc::new(Shared::default());
        if client == Client::Librdkafka {
            let (sender, verdict) = channel();
            let (bootstrap, scenario, theirs) = (bootstrap.to_owned(), scenario.to_owned(), Arc::clone(&shared));
            thread::spawn(move || sender.send(librdkafka::run(&bootstrap, &scenario, &theirs)));
            return Some(Running { shared, kind: Kind::Thread { verdict } });
        }
        let mut child = client
            .command()?
            .args([bootstrap, scenario])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("a built client starts");
        let lines = Arc::new(Mutex::new(Vec::new()));
        follow(child.stdout.take().expect("piped"), "", &lines, &shared);
        follow(child.stderr.take().expect("piped"), "stderr: ", &lines, &shared);
        Some(Running { shared, kind: Kind::Process { child, lines } })
    }

    pub fn acked(&self) -> u64 {
        self.shared.acked.load(Ordering::Relaxed)
    }

    /// Asks a `survive` to stop producing and verify; other scenarios take no notice.
    pub fn end_input(&mut self) {
        self.shared.ended.store(true, Ordering::Relaxed);
        if let Kind::Process { child, .. } = &mut self.kind {
            drop(child.stdin.take());
        }
    }

    /// The verdict if there is one already.
    pub fn finished(&mut self) -> Option<Result<String, String>> {
        match self.wait_until(Instant::now()) {
            Err(None) => None,
            Err(Some(why)) => Some(Err(why)),
            Ok(line) => Some(Ok(line)),
        }
    }

    /// The `OK` line, or everything that explains why there is none.
    pub fn wait(&mut self, limit: Duration) -> Result<String, String> {
        self.wait_until(Instant::now() + limit).map_err(|why| match (why, &self.kind) {
            (Some(why), _) => why,
            (None, Kind::Process { lines, .. }) => format!("no end within {limit:?}; it said\n{}", said(lines)),
            (None, Kind::Thread { .. }) => format!("no end within {limit:?}"),
        })
    }

    /// `Err(None)`: not ended by then.
    fn wait_until(&mut self, deadline: Instant) -> Result<String, Option<String>> {
        match &mut self.kind {
            Kind::Thread { verdict } => {
                match verdict.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
                    Ok(verdict) => verdict.map_err(Some),
                    Err(RecvTimeoutError::Timeout) => Err(None),
                    Err(RecvTimeoutError::Disconnected) => Err(Some("the scenario panicked".to_owned())),
                }
            }
            Kind::Process { child, lines } => loop {
                if let Some(status) = child.try_wait().expect("the state of a child") {
                    // The readers need a moment for the last lines, which are in the pipe already.
                    thread::sleep(Duration::from_millis(100));
                    let last =
                        lines.lock().expect("no panic under lock").iter().rev().find(|l| l.starts_with("OK ")).cloned();
                    return match last {
                        Some(line) if status.success() => Ok(line),
                        _ => Err(Some(format!("ended with {status}; it said\n{}", said(lines)))),
                    };
                }
                if Instant::now() >= deadline {
                    return Err(None);
                }
                thread::sleep(Duration::from_millis(20));
            },
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.shared.ended.store(true, Ordering::Relaxed);
        if let Kind::Process { child, .. } = &mut self.kind {
            // Fails only when the process has ended already.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// Keeps the lines of a pipe, and the count in `ACKED` lines, until the pipe ends.
fn follow(pipe: impl Read + Send + 'static, mark: &'static str, lines: &Arc<Mutex<Vec<String>>>, shared: &Arc<Shared>) {
    let (lines, shared) = (Arc::clone(lines), Arc::clone(shared));
    thread::spawn(move || {
        for line in BufReader::new(pipe).lines().map_while(Result::ok) {
            if let Some(count) = line.strip_prefix("ACKED ") {
                shared.acked.store(count.trim().parse().unwrap_or(0), Ordering::Relaxed);
            } else {
                lines.lock().expect("no panic under lock").push(format!("{mark}{line}"));
            }
        }
    });
}

fn said(lines: &Mutex<Vec<String>>) -> String {
    let lines = lines.lock().expect("no panic under lock");
    lines[lines.len().saturating_sub(40)..].join("\n")
}
