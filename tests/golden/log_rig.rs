//! One log of ours over a temporary folder: carries its disk operations out one by one, with plain file calls.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, ErrorKind};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use kataract::base::ids::Uuid;
use kataract::base::time::{Mono, Now, WallMs};
use kataract::log::{
    AheadRoom, Appended, FileSlots, LoadHints, LogConfig, LogEvent, LogOut, LogTag, PartitionLog, ReadId, ReadOutcome,
    RecoveryReport, Wanted,
};
use kataract::port::disk::{DirEntry, DiskError, DiskErrorKind, DiskOp, DiskOutput, DiskResult, FileId};
use kataract::port::range::Part;
use tempfile::TempDir;

/// The disk, plainly.
struct Disk {
    root: TempDir,
    open: BTreeMap<FileId, File>,
}

impl Disk {
    fn path(&self, path: &str) -> PathBuf {
        self.root.path().join(path)
    }

    fn run(&mut self, op: DiskOp) -> DiskResult {
        self.carry_out(op).map_err(|error| {
            let kind = if error.kind() == ErrorKind::NotFound { DiskErrorKind::NotFound } else { DiskErrorKind::Io };
            DiskError { kind, detail: error.to_string() }
        })
    }

    fn carry_out(&mut self, op: DiskOp) -> io::Result<DiskOutput> {
        let file = |id: FileId| self.open.get(&id).unwrap_or_else(|| panic!("{id:?} is not open"));
        match op {
            DiskOp::Open { file, path, mode } => {
                let opened = File::options().read(true).write(true).create(mode.create).open(self.path(&path))?;
                let len = opened.metadata()?.len();
                assert!(self.open.insert(file, opened).is_none(), "{file:?} is taken");
                return Ok(DiskOutput::Opened { len });
            }
            DiskOp::Close { file } => drop(self.open.remove(&file).expect("an open file")),
            DiskOp::Write { file: id, position, data, .. } => file(id).write_all_at(&data, position)?,
            DiskOp::Read { file: id, position, len } => {
                let mut bytes = vec![0; len as usize];
                let mut got = 0;
                while got < bytes.len() {
                    match file(id).read_at(&mut bytes[got..], position + got as u64)? {
                        0 => break,
                        more => got += more,
                    }
                }
                bytes.truncate(got);
                return Ok(DiskOutput::Data(Bytes::from(bytes)));
            }
            DiskOp::Stage { .. } => unreachable!("nobody here sends what is read"),
            DiskOp::Sync { .. } => {}
            DiskOp::ZeroFill { file: id, from, to } => {
                let zeros = vec![0; usize::try_from(to - from).expect("a small fill")];
                file(id).write_all_at(&zeros, from)?;
            }
            DiskOp::Reserve { file: id, to, .. } => {
                let len = file(id).metadata()?.len();
                file(id).set_len(len.max(to))?;
            }
            DiskOp::SetLen { file: id, len } => file(id).set_len(len)?,
            DiskOp::ReadFile { path, .. } => return Ok(DiskOutput::Data(Bytes::from(fs::read(self.path(&path))?))),
            DiskOp::WriteFile { path, data } => fs::write(self.path(&path), data)?,
            DiskOp::MakeDir { path } => fs::create_dir_all(self.path(&path))?,
            DiskOp::List { path } => return Ok(DiskOutput::Entries(list(&self.path(&path))?)),
            DiskOp::Rename { from, to } => fs::rename(self.path(&from), self.path(&to))?,
            DiskOp::Remove { path } => match fs::remove_file(self.path(&path)) {
                Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
                _ => {}
            },
            DiskOp::RemoveDir { path } => fs::remove_dir_all(self.path(&path))?,
        }
        Ok(DiskOutput::Done)
    }
}

fn list(folder: &Path) -> io::Result<Vec<DirEntry>> {
    let mut entries = Vec::new();
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let metadata = entry.metadata()?;
        let name = entry.file_name().into_string().expect("ASCII");
        entries.push(DirEntry { name, is_dir: metadata.is_dir(), len: metadata.len() });
    }
    entries.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(entries)
}

/// A log, its folder and its clock.
pub struct Rig {
    dir: String,
    topic_id: Uuid,
    config: LogConfig,
    disk: Disk,
    slots: FileSlots,
    ahead: AheadRoom,
    now: Now,
    log: Option<PartitionLog>,
    events: Vec<LogEvent>,
}

impl Rig {
    pub fn new(dir: &str, topic_id: Uuid, config: LogConfig, wall_ms: WallMs) -> Rig {
        Rig {
            dir: dir.to_owned(),
            topic_id,
            config,
            disk: Disk { root: tempfile::tempdir().expect("a temporary folder"), open: BTreeMap::new() },
            slots: FileSlots::new(0, 64),
            ahead: AheadRoom::new(0),
            now: Now { mono: Mono(1), wall_ms },
            log: None,
            events: Vec::new(),
        }
    }

    /// The partition's folder.
    pub fn folder(&self) -> PathBuf {
        self.disk.path(&self.dir)
    }

    /// Fills the partition's folder.
    pub fn copy_in(&self, from: &Path) {
        fs::create_dir_all(self.folder()).expect("a folder");
        for entry in fs::read_dir(from).expect("a folder").map(|entry| entry.expect("an entry")) {
            fs::copy(entry.path(), self.folder().join(entry.file_name())).expect("a copy");
        }
    }

    pub fn log(&self) -> &PartitionLog {
        self.log.as_ref().expect("an open log")
    }

    pub fn create(&mut self) {
        let (dir, id, config) = (self.dir.clone(), self.topic_id, self.config.clone());
        self.begin(|now, out| PartitionLog::create(dir, id, config, now, out));
    }

    pub fn load(&mut self, hints: LoadHints) {
        let (dir, id, config) = (self.dir.clone(), self.topic_id, self.config.clone());
        self.begin(|now, out| PartitionLog::load(dir, id, config, hints, now, out));
    }

    fn begin(&mut self, start: impl FnOnce(Now, &mut LogOut<'_>) -> PartitionLog) {
        let mut ops = Vec::new();
        self.log = Some(start(self.now, &mut LogOut { ops: &mut ops, files: &mut self.slots, ahead: &self.ahead }));
        self.settle(ops);
        assert!(self.log().is_ready(), "{}: {:?}", self.dir, self.events);
    }

    /// Carries out operations, and those that follow from them, until none is left.
    fn settle(&mut self, mut ops: Vec<(LogTag, DiskOp)>) {
        let log = self.log.as_mut().expect("an open log");
        while !ops.is_empty() {
            for (tag, op) in std::mem::take(&mut ops) {
                self.now.mono = self.now.mono + 1;
                let result = self.disk.run(op);
                let mut out = LogOut { ops: &mut ops, files: &mut self.slots, ahead: &self.ahead };
                log.complete(tag, result, self.now, &mut out, &mut self.events);
            }
        }
        let failed = self.events.iter().find(|event| matches!(event, LogEvent::Failed(_)));
        assert_eq!(failed, None, "{}", self.dir);
    }

    fn act<R>(&mut self, act: impl FnOnce(&mut PartitionLog, Now, &mut LogOut<'_>) -> R) -> R {
        let mut ops = Vec::new();
        let log = self.log.as_mut().expect("an open log");
        let result = act(log, self.now, &mut LogOut { ops: &mut ops, files: &mut self.slots, ahead: &self.ahead });
        self.settle(ops);
        result
    }

    pub fn report(&mut self) -> RecoveryReport {
        self.log.as_mut().and_then(PartitionLog::take_report).expect("a report of the start")
    }

    /// Appends as a leader; durable when this returns.
    pub fn append(&mut self, batch: &[u8], epoch: i32) -> Appended {
        let appended = self.act(|log, now, out| {
            let appended = log.append(batch, epoch, now);
            log.flush(now, out);
            appended
        });
        let appended = appended.unwrap_or_else(|error| panic!("{}: {error:?}", self.dir));
        assert_eq!(self.log().durable_offset(), appended.last_offset + 1, "{}", self.dir);
        appended
    }

    pub fn delete_records(&mut self, before: i64) {
        let start = self.act(|log, now, out| log.delete_records(before, now, out));
        assert_eq!(start, Ok(before), "{}", self.dir);
    }

    /// Everything from the log start on.
    pub fn read_everything(&mut self) -> Vec<u8> {
        let mut all = Vec::new();
        let (mut next, end) = (self.log().start_offset(), self.log().end_offset());
        while next < end {
            let outcome = self.act(|log, _, out| {
                let wanted = Wanted { from: next, upper: end, max_bytes: 3_000, at_least_one: true, to_send: false };
                log.read(ReadId(1), wanted, out)
            });
            let data = match outcome {
                ReadOutcome::Ready(data) => data,
                ReadOutcome::Pending => self
                    .events
                    .drain(..)
                    .find_map(|event| match event {
                        LogEvent::ReadDone { result, .. } => Some(result.expect("a read")),
                        _ => None,
                    })
                    .expect("the end of a read"),
                other => panic!("{} from {next}: {other:?}", self.dir),
            };
            assert!(data.next_offset > next, "{}: no progress at {next}", self.dir);
            all.extend(Part::join(&data.parts).expect("memory"));
            next = data.next_offset;
        }
        all
    }

    pub fn close(&mut self) {
        self.act(|log, now, out| log.close(now, out));
        assert_eq!(self.events.last(), Some(&LogEvent::Closed), "{}", self.dir);
        assert!(self.disk.open.is_empty(), "{}: files stay open", self.dir);
    }

    /// A clean stop and start, after which the log is led in a new epoch.
    pub fn lead_anew(&mut self, epoch: i32) {
        self.close();
        let end = self.log().end_offset();
        self.load(LoadHints { clean: true, recovery_point: Some(end), log_start: None });
        self.act(|log, now, out| log.assign_epoch(epoch, now, out));
    }
}
