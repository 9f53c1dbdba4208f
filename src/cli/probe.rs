//! What this host offers a node: one line a fact, what is missing and what will be done instead.

use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::process::{Resource, getrlimit};
use serde_json::{Value, json};

use super::args::ProbeArgs;
use super::output::{Failure, Out};
use crate::base::limits::BLOCK;
use crate::rt::DriverKind;
use crate::rt::probe::{self, DiskFacts, Requested, UringFacts};

/// Open files below which a node with many partitions and clients runs short: three files a partition, one a client.
const OPEN_FILES_GOOD: u64 = 65_536;

/// One fact: its name, what is so, and what follows where something is missing.
struct Line {
    name: &'static str,
    found: String,
    instead: Option<String>,
    value: Value,
}

/// Probes the host and the folder.
pub fn run(args: &ProbeArgs, out: &mut Out<'_>) -> Result<(), Failure> {
    let folder = existing(&args.data);
    let mut lines = vec![kernel(), driver(), io_uring(&probe::uring()), glommio(&probe::glommio())];
    let facts = probe::disk(&folder)
        .map_err(|error| Failure::Message(format!("cannot measure in {}: {error}", folder.display())))?;
    lines.extend([direct_io(&facts), preallocation(&facts), sync_cost(&facts), cores(), open_files()]);
    if out.is_json() {
        let mut object = serde_json::Map::new();
        object.insert("folder".to_owned(), Value::from(folder.display().to_string()));
        for line in lines {
            let mut value = line.value;
            if let (Value::Object(fields), Some(instead)) = (&mut value, line.instead) {
                fields.insert("instead".to_owned(), Value::from(instead));
            }
            object.insert(line.name.replace(' ', "_").replace('/', "").to_lowercase(), value);
        }
        return out.json(&Value::from(object));
    }
    for line in lines {
        let instead = line.instead.map(|instead| format!("; {instead}")).unwrap_or_default();
        out.line(format_args!("{:14} {}{instead}", line.name, line.found))?;
    }
    out.line(format_args!("{:14} {}", "measured in", folder.display()))
}

/// The folder, or the nearest one above it that is there already: the same file system in all likelihood.
fn existing(folder: &Path) -> PathBuf {
    let absolute = std::path::absolute(folder).unwrap_or_else(|_| folder.to_owned());
    let found = absolute.ancestors().find(|ancestor| ancestor.is_dir()).map(Path::to_owned);
    found.unwrap_or(absolute)
}

fn kernel() -> Line {
    let system = rustix::system::uname();
    let text = |part: &std::ffi::CStr| part.to_string_lossy().into_owned();
    let (name, release, machine) = (text(system.sysname()), text(system.release()), text(system.machine()));
    let value = json!({"name": name, "release": release, "machine": machine});
    Line { name: "kernel", found: format!("{name} {release} on {machine}"), instead: None, value }
}

fn driver() -> Line {
    let (kind, reason) = probe::choose(Requested::Auto);
    let name = match kind {
        DriverKind::Uring => "uring",
        DriverKind::Posix => "posix",
        DriverKind::Glommio => "glommio",
    };
    Line {
        name: "driver",
        found: format!("{name} would be used"),
        instead: None,
        value: json!({"name": name, "reason": reason}),
    }
}

fn io_uring(found: &Result<UringFacts, String>) -> Line {
    match found {
        Ok(facts) => {
            let mut missing = Vec::new();
            if !facts.deferred {
                missing.push("no deferred completions: they run whenever the thread enters the kernel");
            }
            if !facts.messages {
                missing.push("no ring messages: cores wake one another by event counters");
            }
            Line {
                name: "io_uring",
                found: facts.to_string(),
                instead: (!missing.is_empty()).then(|| missing.join("; ")),
                value: json!({
                    "usable": true, "deferred_completions": facts.deferred, "ring_messages": facts.messages,
                    "memlock_bytes": (facts.memlock != u64::MAX).then_some(facts.memlock),
                }),
            }
        }
        Err(reason) => Line {
            name: "io_uring",
            found: format!("not usable: {reason}"),
            instead: Some("epoll and helper threads (the posix driver) instead".to_owned()),
            value: json!({"usable": false, "reason": reason}),
        },
    }
}

fn glommio(found: &Result<(), String>) -> Line {
    let built = DriverKind::Glommio.check_built().is_ok();
    match found {
        Ok(()) => Line {
            name: "glommio",
            found: "in this build and usable, on request only (--driver glommio)".to_owned(),
            instead: None,
            value: json!({"built": built, "usable": true}),
        },
        Err(reason) => Line {
            name: "glommio",
            found: format!("not usable: {reason}"),
            instead: None,
            value: json!({"built": built, "usable": false, "reason": reason}),
        },
    }
}

fn direct_io(facts: &DiskFacts) -> Line {
    let align = |bytes: Option<u32>| bytes.map_or_else(|| "unknown".to_owned(), |bytes| bytes.to_string());
    let too_coarse = [facts.memory_align, facts.offset_align].into_iter().flatten().any(|a| a as usize > BLOCK);
    let (memory, position) = (align(facts.memory_align), align(facts.offset_align));
    let instead = if !facts.direct {
        Some("files are written through the page cache and synced instead".to_owned())
    } else if too_coarse {
        Some(format!("our blocks of {BLOCK} bytes are too small for it, so writes will fail here: use another disk"))
    } else {
        None
    };
    let found = if facts.direct {
        format!("works, alignment of memory {memory} and of positions {position} bytes (we use {BLOCK})")
    } else {
        "refused by this file system".to_owned()
    };
    let value = json!({
        "usable": facts.direct && !too_coarse, "memory_align": facts.memory_align,
        "position_align": facts.offset_align, "block": BLOCK,
    });
    Line { name: "direct I/O", found, instead, value }
}

fn preallocation(facts: &DiskFacts) -> Line {
    let found = if facts.fallocate { "fallocate works" } else { "no fallocate" };
    let instead = (!facts.fallocate).then(|| "space is written with zeros only".to_owned());
    Line { name: "preallocation", found: found.to_owned(), instead, value: json!({"fallocate": facts.fallocate}) }
}

fn sync_cost(facts: &DiskFacts) -> Line {
    let us = |cost: Duration| u64::try_from(cost.as_micros()).unwrap_or(u64::MAX);
    let (inside, growing) = (us(facts.sync_inside), us(facts.sync_growing));
    Line {
        name: "sync cost",
        found: format!("16 KiB written and synced in {inside} µs, {growing} µs where the file grows (medians)"),
        instead: None,
        value: json!({"inside_us": inside, "growing_us": growing}),
    }
}

fn cores() -> Line {
    // Respects the affinity of this process and the CPU quota of its container.
    let usable = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    Line { name: "cores", found: format!("{usable} usable"), instead: None, value: json!({"usable": usable}) }
}

fn open_files() -> Line {
    let limit = getrlimit(Resource::Nofile);
    let text = |limit: Option<u64>| limit.map_or_else(|| "unlimited".to_owned(), |limit| limit.to_string());
    let short = limit.current.is_some_and(|current| current < OPEN_FILES_GOOD);
    Line {
        name: "open files",
        found: format!("at most {} (can be raised to {})", text(limit.current), text(limit.maximum)),
        instead: short.then(|| format!("raise it (ulimit -n {OPEN_FILES_GOOD}) for many partitions or clients")),
        value: json!({"limit": limit.current, "limit_max": limit.maximum}),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_fact_is_a_line_for_people_and_a_field_for_programs() {
        let folder = tempfile::tempdir().unwrap();
        let args = ProbeArgs { data: folder.path().join("not/there/yet") };
        let mut sink = Vec::new();
        run(&args, &mut Out::new(&mut sink, false)).unwrap();
        let text = String::from_utf8(sink).unwrap();
        for name in ["kernel", "driver", "io_uring", "glommio", "direct I/O", "sync cost", "cores", "open files"] {
            assert!(text.lines().any(|line| line.starts_with(name)), "{name} in {text}");
        }
        let mut sink = Vec::new();
        run(&args, &mut Out::new(&mut sink, true)).unwrap();
        let value: Value = serde_json::from_slice(&sink).unwrap();
        assert_eq!(value["glommio"]["built"], cfg!(feature = "glommio"), "{value}");
        assert!(value["direct_io"]["block"].is_u64() && value["sync_cost"]["inside_us"].is_u64(), "{value}");
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0, "nothing is left behind");
    }

    #[test]
    fn what_is_missing_is_told_with_what_is_done_instead() {
        let line = io_uring(&Err("forbidden here".to_owned()));
        assert!(line.instead.is_some_and(|instead| instead.contains("posix")));
        let facts = DiskFacts {
            direct: true,
            memory_align: Some(512),
            offset_align: Some(65_536),
            fallocate: true,
            sync_inside: Duration::from_micros(100),
            sync_growing: Duration::from_micros(200),
        };
        assert!(direct_io(&facts).instead.is_some_and(|instead| instead.contains("too small")));
        let buffered = DiskFacts { direct: false, offset_align: None, ..facts };
        assert!(direct_io(&buffered).instead.is_some_and(|instead| instead.contains("page cache")));
    }
}
