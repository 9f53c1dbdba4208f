//! What does a hop between cores cost? Two machines on the real driver send a batch of messages to and fro: one message
//! alone, and many together.
#![allow(clippy::disallowed_methods, reason = "measures on the outside of the machines")]

mod kit;

use std::sync::mpsc;

use kataract::base::ids::CoreId;
use kataract::base::time::{Mono, Now};
use kataract::port::turn::{Effects, Inputs, Machine, NextWake};
use kataract::rt::{DriverKind, DriverOptions, run};

/// Sends what it got back to where it came from; core 0 begins, counts and ends.
struct Player {
    core: CoreId,
    messages: usize,
    rounds_left: u64,
    began: Option<Mono>,
    told: mpsc::Sender<u64>,
}

impl Machine for Player {
    type Message = u64;

    fn turn(&mut self, now: Now, inputs: &mut Inputs<u64>, effects: &mut Effects<u64>) -> NextWake {
        inputs.disk.clear();
        inputs.net.clear();
        let first = self.core == CoreId(0);
        let mut batches: Vec<Vec<u64>> = inputs.mail.drain(..).map(|(_, batch)| batch).collect();
        if first && self.began.is_none() {
            self.began = Some(now.mono);
            batches.push((0..self.messages as u64).collect());
        }
        if inputs.stop {
            effects.stopped = true;
            return NextWake::Never;
        }
        for batch in batches {
            if first {
                if self.rounds_left == 0 {
                    // The receiver waits for exactly this.
                    let _ = self.told.send(now.mono - self.began.unwrap_or_default());
                    continue;
                }
                self.rounds_left -= 1;
            }
            effects.mail.push((CoreId(1 - self.core.0), batch));
        }
        NextWake::Never
    }
}

fn play(kind: DriverKind, messages: usize, rounds: u64) {
    let folder = tempfile::tempdir().expect("a folder");
    let mut options = DriverOptions::new(folder.path().to_owned());
    options.cores = vec![None, None];
    let (told, tell) = mpsc::channel();
    let build = move |core| Player { core, messages, rounds_left: rounds, began: None, told: told.clone() };
    let running = match run(kind, options, build) {
        Ok(running) => running,
        // A host may forbid io_uring, a build may have no glommio.
        Err(error) => return println!("{kind}: skipped: {error}"),
    };
    let nanoseconds = tell.recv().expect("the players finish");
    running.request_stop();
    running.join().expect("a clean end");
    let hop = nanoseconds as f64 / (2 * rounds) as f64;
    kit::line(&format!("{kind}, hop of {messages} together"), hop, 0);
    kit::line(&format!("{kind}, hop of {messages} together, a message"), hop / messages as f64, 0);
}

fn main() {
    let rounds = if kit::is_real() { 50_000 } else { 10 };
    for kind in [DriverKind::Uring, DriverKind::Posix, DriverKind::Glommio] {
        for messages in [1, 64] {
            play(kind, messages, rounds);
        }
    }
}
