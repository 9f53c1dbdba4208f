//! A machine that writes to files through a driver, each write with its data sync if asked for.

use std::collections::BTreeMap;
use std::sync::mpsc;

use bytes::Bytes;
use kataract::base::chunk::Chunk;
use kataract::base::time::{Mono, Now};
use kataract::port::disk::{DiskOp, FileId, OpenMode};
use kataract::port::turn::{Effects, Inputs, Machine, NextWake, Token};

/// Answers of set-up operations carry it.
const SETUP: u64 = u64::MAX;

#[derive(Clone, Copy)]
pub struct Case {
    pub bytes: usize,
    /// Files written to, each with one write in flight, as partitions do.
    pub files: u32,
    pub writes: u64,
    pub sync: bool,
    /// Writes go to where zeros were written before.
    pub filled: bool,
}

/// Keeps one write in flight on each file until enough are done.
pub struct Writer {
    case: Case,
    data: Bytes,
    setup_left: u32,
    opened: u32,
    issued: u64,
    began: BTreeMap<u64, Mono>,
    start: Option<Mono>,
    latencies: Vec<f64>,
    told: mpsc::Sender<(Vec<f64>, u64)>,
}

impl Writer {
    pub fn new(case: Case, told: mpsc::Sender<(Vec<f64>, u64)>) -> Writer {
        let data = Chunk::zeroed(case.bytes).freeze();
        let (began, latencies) = (BTreeMap::new(), Vec::new());
        Writer { case, data, setup_left: 0, opened: 0, issued: 0, began, start: None, latencies, told }
    }

    fn set_up(&mut self, effects: &mut Effects<()>) {
        for file in 0..self.case.files {
            let mode = OpenMode { direct: true, create: true };
            effects.disk.push((Token(SETUP), DiskOp::Open { file: FileId(file), path: format!("file-{file}"), mode }));
        }
        self.opened = 1;
        self.setup_left = self.case.files;
    }

    fn fill(&mut self, effects: &mut Effects<()>) {
        let to = self.case.writes.div_ceil(u64::from(self.case.files)) * self.case.bytes as u64;
        for file in 0..self.case.files {
            effects.disk.push((Token(SETUP), DiskOp::ZeroFill { file: FileId(file), from: 0, to }));
        }
        self.opened = 2;
        self.setup_left = self.case.files;
    }

    fn write(&mut self, file: u32, now: Now, effects: &mut Effects<()>) {
        if self.issued == self.case.writes {
            return;
        }
        let (number, files) = (self.issued, u64::from(self.case.files));
        self.issued += 1;
        self.began.insert(number * files + u64::from(file), now.mono);
        // Each file is written from its start on; the files take turns strictly enough for this to stay inside.
        let position = (number / files) * self.case.bytes as u64;
        let op = DiskOp::Write { file: FileId(file), position, data: self.data.clone(), sync: self.case.sync };
        effects.disk.push((Token(number * files + u64::from(file)), op));
    }
}

impl Machine for Writer {
    type Message = ();

    fn turn(&mut self, now: Now, inputs: &mut Inputs<()>, effects: &mut Effects<()>) -> NextWake {
        inputs.mail.clear();
        inputs.net.clear();
        if inputs.stop {
            inputs.disk.clear();
            effects.stopped = true;
            return NextWake::Never;
        }
        if self.opened == 0 {
            self.set_up(effects);
        }
        for (token, result) in std::mem::take(&mut inputs.disk) {
            result.expect("the disk works");
            if token.0 != SETUP {
                let began = self.began.remove(&token.0).unwrap_or_default();
                self.latencies.push((now.mono - began) as f64);
                self.write((token.0 % u64::from(self.case.files)) as u32, now, effects);
                continue;
            }
            self.setup_left -= 1;
            if self.setup_left == 0 && self.opened == 1 && self.case.filled {
                self.fill(effects);
            } else if self.setup_left == 0 {
                self.start = Some(now.mono);
                (0..self.case.files).for_each(|file| self.write(file, now, effects));
            }
        }
        if self.latencies.len() as u64 == self.case.writes {
            // The receiver waits for exactly this.
            let _ = self.told.send((std::mem::take(&mut self.latencies), now.mono - self.start.unwrap_or_default()));
        }
        NextWake::Never
    }
}
