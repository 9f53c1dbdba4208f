//! Where results are kept: `NAME.jsonl`, one line a session (who ran what, on which machine) and one a result. Lines
//! are only ever added, each in one write, so that a run that ends early keeps what it had.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{ErrorKind, Read, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::machine::{Machine, Seen};
use super::outcome::Outcome;
use super::units::Goal;
use super::workload::Workload;
use crate::cli::output::Failure;

/// The format of the lines; a reader refuses newer ones.
const VERSION: u32 = 1;

/// One invocation of the bench.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Session {
    pub version: u32,
    /// Of kataract, which is the client.
    pub kataract: String,
    /// `produce`, `matrix`, ...
    pub command: String,
    /// Milliseconds since 1970.
    pub started_ms: i64,
    /// What a rerun under the same name must have asked for too; null where anything may be added.
    pub plan: serde_json::Value,
    pub machine: Machine,
    pub clusters: Vec<Seen>,
}

/// The highest rate that a goal allowed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Found {
    pub goal: Goal,
    /// Records a second asked for; the outcome is the run at this rate. 0: no rate met the goal.
    pub records_per_second: f64,
    /// Every rate tried, records a second, and whether it met the goal.
    pub tried: Vec<(f64, bool)>,
}

/// One run and everything that shaped it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Entry {
    /// Milliseconds since 1970, at its end.
    pub at_ms: i64,
    /// The cluster's name.
    pub target: String,
    /// What differs between the cells of a matrix, in the order of its axes; empty elsewhere.
    pub axes: Vec<(String, String)>,
    /// Counts from 0.
    pub repeat: u32,
    pub workload: Workload,
    pub outcome: Outcome,
    pub found: Option<Found>,
}

/// What tells one planned run from another.
pub type Key = (String, Vec<(String, String)>, u32);

impl Entry {
    pub fn key(&self) -> Key {
        (self.target.clone(), self.axes.clone(), self.repeat)
    }
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Line {
    Session(Box<Session>),
    Result(Box<Entry>),
}

/// Everything stored under one name.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Stored {
    pub name: String,
    pub sessions: Vec<Session>,
    pub entries: Vec<Entry>,
}

impl Stored {
    pub fn done(&self) -> BTreeSet<Key> {
        self.entries.iter().map(Entry::key).collect()
    }
}

/// The file under one name, open for more.
#[derive(Debug)]
pub struct Store {
    path: PathBuf,
    file: File,
    pub stored: Stored,
}

/// The file of a name, with this ending.
pub fn path(folder: &Path, name: &str, ending: &str) -> PathBuf {
    folder.join(format!("{name}.{ending}"))
}

impl Store {
    /// Opens or makes the file. A plan that is stored there already must be the same.
    pub fn open(folder: &Path, name: &str, session: Session) -> Result<Store, Failure> {
        let path = path(folder, name, "jsonl");
        let told = |error: std::io::Error| Failure::new(format!("cannot keep results in {}: {error}", path.display()));
        fs::create_dir_all(folder).map_err(told)?;
        let mut stored = match read(folder, name) {
            Err(NotRead::Missing) => Stored { name: name.to_owned(), ..Stored::default() },
            read => read.map_err(NotRead::failure)?,
        };
        if let Some(earlier) = stored.sessions.first()
            && (&earlier.command, &earlier.plan) != (&session.command, &session.plan)
        {
            let what = format!(
                "{} holds another plan ({}); take another --name, or remove the file",
                path.display(),
                earlier.command
            );
            return Err(Failure::new(what));
        }
        let file = File::options().create(true).append(true).open(&path).map_err(told)?;
        // Half a line of a process that was killed would spoil the next one.
        let whole = fs::read(&path).map_err(told)?.iter().rposition(|&byte| byte == b'\n').map_or(0, |at| at + 1);
        file.set_len(whole as u64).map_err(told)?;
        let mut store = Store { path, file, stored: Stored::default() };
        store.append(&Line::Session(Box::new(session.clone())))?;
        stored.sessions.push(session);
        store.stored = stored;
        Ok(store)
    }

    /// Keeps one result.
    pub fn add(&mut self, entry: Entry) -> Result<(), Failure> {
        self.append(&Line::Result(Box::new(entry.clone())))?;
        self.stored.entries.push(entry);
        Ok(())
    }

    fn append(&mut self, line: &Line) -> Result<(), Failure> {
        let told = |error: std::io::Error| Failure::new(format!("cannot write {}: {error}", self.path.display()));
        let mut text = serde_json::to_vec(line).map_err(|error| told(error.into()))?;
        text.push(b'\n');
        self.file.write_all(&text).map_err(told)
    }
}

impl Session {
    pub fn new(command: &str, plan: serde_json::Value, clusters: Vec<Seen>) -> Session {
        Session {
            version: VERSION,
            kataract: env!("CARGO_PKG_VERSION").to_owned(),
            command: command.to_owned(),
            started_ms: now_ms(),
            plan,
            machine: Machine::here(),
            clusters,
        }
    }
}

/// Milliseconds since 1970.
pub fn now_ms() -> i64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    since.map_or(0, |since| since.as_millis() as i64)
}

/// Why a stored run could not be read.
#[derive(Debug)]
pub enum NotRead {
    Missing,
    Failed(String),
}

impl NotRead {
    fn failure(self) -> Failure {
        match self {
            NotRead::Missing => Failure::new("no such results"),
            NotRead::Failed(why) => Failure::new(why),
        }
    }
}

/// Reads what is stored under a name.
pub fn read(folder: &Path, name: &str) -> Result<Stored, NotRead> {
    let path = path(folder, name, "jsonl");
    let mut text = String::new();
    let opened = File::open(&path).and_then(|mut file| file.read_to_string(&mut text));
    match opened {
        Err(error) if error.kind() == ErrorKind::NotFound => return Err(NotRead::Missing),
        Err(error) => return Err(NotRead::Failed(format!("cannot read {}: {error}", path.display()))),
        Ok(_) => {}
    }
    let mut stored = Stored { name: name.to_owned(), ..Stored::default() };
    let lines: Vec<&str> = text.split_inclusive('\n').collect();
    for (at, line) in lines.iter().enumerate() {
        match serde_json::from_str::<Line>(line) {
            Ok(Line::Session(session)) if session.version > VERSION => {
                return Err(NotRead::Failed(format!("{} was written by a newer version", path.display())));
            }
            Ok(Line::Session(session)) => stored.sessions.push(*session),
            Ok(Line::Result(entry)) => stored.entries.push(*entry),
            // The last line of a process that was killed while it wrote.
            Err(_) if at + 1 == lines.len() && !line.ends_with('\n') => {}
            Err(error) => return Err(NotRead::Failed(format!("{}, line {}: {error}", path.display(), at + 1))),
        }
    }
    Ok(stored)
}

/// Reads what is stored under a name, or says which names there are.
pub fn load(folder: &Path, name: &str) -> Result<Stored, Failure> {
    match read(folder, name) {
        Err(NotRead::Missing) => {
            let there = names(folder);
            let known = if there.is_empty() { "nothing is there".to_owned() } else { there.join(", ") };
            Err(Failure::new(format!("no results named {name} in {} ({known})", folder.display())))
        }
        read => read.map_err(NotRead::failure),
    }
}

fn names(folder: &Path) -> Vec<String> {
    let Ok(files) = fs::read_dir(folder) else { return Vec::new() };
    let name = |file: fs::DirEntry| Some(file.file_name().to_str()?.strip_suffix(".jsonl")?.to_owned());
    let mut names: Vec<String> = files.filter_map(|file| name(file.ok()?)).collect();
    names.sort();
    names
}

#[cfg(test)]
pub mod tests {
    use super::*;
    use crate::cli::bench::outcome::tests::sample;
    use crate::cli::bench::workload::tests::plain;

    pub fn entry(target: &str, axes: &[(&str, &str)], repeat: u32, p99_us: f64) -> Entry {
        let axes = axes.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        Entry {
            at_ms: 1_700_000_000_000 + i64::from(repeat) * 1000,
            target: target.to_owned(),
            axes,
            repeat,
            workload: plain(),
            outcome: sample(p99_us),
            found: None,
        }
    }

    pub fn session(plan: &str) -> Session {
        Session::new("matrix", plan.into(), Vec::new())
    }

    #[test]
    fn what_was_kept_is_read_again_and_a_torn_end_is_left_out() {
        let folder = tempfile::tempdir().unwrap();
        let mut store = Store::open(folder.path(), "one", session("a")).unwrap();
        store.add(entry("k", &[("acks", "1")], 0, 1000.0)).unwrap();
        store.add(entry("k", &[("acks", "all")], 0, 2000.0)).unwrap();
        let stored = read(folder.path(), "one").unwrap();
        assert_eq!(stored, store.stored);
        let path = path(folder.path(), "one", "jsonl");
        let whole = fs::read(&path).unwrap();
        fs::write(&path, &whole[..whole.len() - 9]).unwrap();
        assert_eq!(read(folder.path(), "one").unwrap().entries.len(), 1);
        let again = Store::open(folder.path(), "one", session("a")).unwrap();
        assert_eq!(read(folder.path(), "one").unwrap(), again.stored, "half a line does not spoil the next");
        fs::write(&path, [b"{}\n", &whole[..]].concat()).unwrap();
        let Err(NotRead::Failed(why)) = read(folder.path(), "one") else { panic!("read") };
        assert!(why.contains("line 1"), "{why}");
    }

    #[test]
    fn a_rerun_goes_on_and_another_plan_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let mut store = Store::open(folder.path(), "one", session("a")).unwrap();
        store.add(entry("k", &[], 0, 1000.0)).unwrap();
        let again = Store::open(folder.path(), "one", session("a")).unwrap();
        assert_eq!((again.stored.entries.len(), again.stored.sessions.len()), (1, 2));
        let Err(Failure::Message(message)) = Store::open(folder.path(), "one", session("b")) else { panic!("taken") };
        assert!(message.contains("another plan"), "{message}");
        let Err(Failure::Message(message)) = load(folder.path(), "two") else { panic!("found") };
        assert!(message.contains("no results named two") && message.contains("(one)"), "{message}");
    }
}
