//! What a process has used, from proc(5), and where it keeps its data.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use serde::{Deserialize, Serialize};

use crate::cli::output::Failure;

/// Linux counts CPU time in hundredths of a second for programs (USER_HZ).
const TICKS_PER_SECOND: f64 = 100.0;

/// CPU seconds of all threads, ended ones included.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Cpu {
    pub user: f64,
    pub system: f64,
}

impl Cpu {
    pub fn total(self) -> f64 {
        self.user + self.system
    }

    pub fn since(self, earlier: Cpu) -> Cpu {
        Cpu { user: self.user - earlier.user, system: self.system - earlier.system }
    }
}

/// None when there is no such process (any more).
pub fn cpu(pid: u32) -> Option<Cpu> {
    parse_stat(&fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
}

fn parse_stat(stat: &str) -> Option<Cpu> {
    // The name in brackets may hold anything; fields 14 and 15 are counted from behind it.
    let fields: Vec<&str> = stat.rsplit(')').next()?.split_whitespace().collect();
    let ticks = |at: usize| fields.get(at).and_then(|field| field.parse::<f64>().ok());
    Some(Cpu { user: ticks(11)? / TICKS_PER_SECOND, system: ticks(12)? / TICKS_PER_SECOND })
}

/// Resident memory now and at its highest, MB (10^6).
pub fn memory(pid: u32) -> Option<(f64, f64)> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let field = |name: &str| {
        let line = status.lines().find(|line| line.starts_with(name))?;
        line.split_whitespace().nth(1)?.parse::<f64>().ok().map(|kib| kib * 1024.0 / 1e6)
    };
    Some((field("VmRSS:")?, field("VmHWM:")?))
}

/// Writes what the page cache of this machine holds to its disks, by sync(1), and waits for it.
pub fn write_page_cache() -> Result<(), Failure> {
    let ended = Command::new("sync").status();
    let ended = ended.map_err(|error| Failure::new(format!("sync, which --settle needs, did not start: {error}")))?;
    if ended.success() { Ok(()) } else { Err(Failure::new(format!("sync, which --settle needs, ended with {ended}"))) }
}

/// The command of a process: what was run, without its arguments.
pub fn command(pid: u32) -> Option<String> {
    fs::read_to_string(format!("/proc/{pid}/comm")).ok().map(|name| name.trim().to_owned())
}

/// The folder of a log segment that the process has open: its data lie there.
pub fn data_folder(pid: u32) -> Option<PathBuf> {
    let links = fs::read_dir(format!("/proc/{pid}/fd")).ok()?;
    let open = links.filter_map(|link| fs::read_link(link.ok()?.path()).ok());
    let mut segments = open.filter(|path| {
        let name = path.file_stem().and_then(|name| name.to_str()).unwrap_or_default();
        let is_log = path.extension().is_some_and(|extension| extension == "log");
        is_log && name.len() == 20 && name.bytes().all(|byte| byte.is_ascii_digit())
    });
    segments.find_map(|path| path.parent().map(PathBuf::from))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_may_be_called_anything() {
        let stat = "42 (a) b (c)) S 1 2 3 4 5 6 7 8 9 10 250 50 0 0 20 0 1";
        assert_eq!(parse_stat(stat), Some(Cpu { user: 2.5, system: 0.5 }));
        assert_eq!(parse_stat("42 (short) S 1"), None);
    }

    #[test]
    fn this_process_has_memory_and_time() {
        let own = std::process::id();
        assert!(memory(own).is_some_and(|(now, peak)| now > 1.0 && peak >= now) && cpu(own).is_some());
        assert_eq!((cpu(u32::MAX), memory(u32::MAX), data_folder(u32::MAX)), (None, None, None));
    }
}
