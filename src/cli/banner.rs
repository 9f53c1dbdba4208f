//! What `kataract start` tells before it serves: enough to see at a glance what runs where, and with how much memory.

use std::path::PathBuf;

use serde_json::{Value, json};

use super::output::{Failure, Out};

/// One part of the memory plan.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MemoryPart {
    pub name: String,
    pub bytes: u64,
}

/// What is told at start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Banner {
    pub cluster_id: String,
    pub node_id: i32,
    /// As bound, with the port that the system chose where 0 was asked for: `PLAINTEXT://127.0.0.1:9092`.
    pub listeners: Vec<String>,
    /// As told to clients, in the same order.
    pub advertised: Vec<String>,
    /// `io_uring`, `posix` or `glommio`.
    pub driver: String,
    /// Why it is this driver, when it is not the one that was hoped for.
    pub driver_note: Option<String>,
    /// One engine each: the CPU it is pinned to, `None` when it is not.
    pub cores: Vec<Option<usize>>,
    pub memory: Vec<MemoryPart>,
    pub data_dir: PathBuf,
    /// `new`, `clean` or `needs recovery`.
    pub data_state: String,
}

impl Banner {
    /// Prints it (and flushes: whoever waits for these lines reads them now).
    pub fn print(&self, out: &mut Out<'_>) -> Result<(), Failure> {
        if out.is_json() {
            out.json(&self.to_json())?;
        } else {
            self.print_text(out)?;
        }
        out.flush()
    }

    fn print_text(&self, out: &mut Out<'_>) -> Result<(), Failure> {
        out.line(format_args!("kataract {}", env!("CARGO_PKG_VERSION")))?;
        out.line(format_args!("  cluster    {}, node {}", self.cluster_id, self.node_id))?;
        for (bound, advertised) in self.listeners.iter().zip(&self.advertised) {
            if bound == advertised {
                out.line(format_args!("  listening  {bound}"))?;
            } else {
                out.line(format_args!("  listening  {bound}, told to clients as {advertised}"))?;
            }
        }
        let note = self.driver_note.as_ref().map(|note| format!(" ({note})")).unwrap_or_default();
        out.line(format_args!("  driver     {}{note}", self.driver))?;
        let cpu = |cpu: &Option<usize>| cpu.map_or("any".to_owned(), |cpu| cpu.to_string());
        let cores: Vec<String> = self.cores.iter().map(cpu).collect();
        out.line(format_args!("  cores      {} (CPU {})", cores.len(), cores.join(", ")))?;
        let total = self.memory.iter().fold(0u64, |total, part| total.saturating_add(part.bytes));
        let parts: Vec<String> =
            self.memory.iter().map(|part| format!("{} {}", part.name, bytes_text(part.bytes))).collect();
        out.line(format_args!("  memory     {}: {}", bytes_text(total), parts.join(", ")))?;
        out.line(format_args!("  data       {} ({})", self.data_dir.display(), self.data_state))
    }

    fn to_json(&self) -> Value {
        let memory: serde_json::Map<String, Value> =
            self.memory.iter().map(|part| (part.name.clone(), Value::from(part.bytes))).collect();
        json!({
            "version": env!("CARGO_PKG_VERSION"), "cluster_id": self.cluster_id, "node_id": self.node_id,
            "listeners": self.listeners, "advertised": self.advertised, "driver": self.driver,
            "driver_note": self.driver_note, "cores": self.cores, "memory": memory,
            "data": self.data_dir.display().to_string(), "data_state": self.data_state,
        })
    }
}

/// Bytes for people: `640 B`, `4.0 KiB`, `1.5 GiB`.
pub fn bytes_text(bytes: u64) -> String {
    const UNITS: [&str; 6] = ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    if bytes < 1024 {
        return format!("{bytes} B");
    }
    let mut unit = 0;
    let mut scale: u64 = 1024;
    while bytes / scale >= 1024 {
        scale *= 1024;
        unit += 1;
    }
    let tenths = u128::from(bytes) * 10 / u128::from(scale);
    format!("{}.{} {}", tenths / 10, tenths % 10, UNITS[unit])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn banner() -> Banner {
        Banner {
            cluster_id: "D6DHC-9FRsmEOGhUi56h5w".to_owned(),
            node_id: 1,
            listeners: vec!["PLAINTEXT://0.0.0.0:9092".to_owned()],
            advertised: vec!["PLAINTEXT://host:9092".to_owned()],
            driver: "posix".to_owned(),
            driver_note: Some("io_uring is forbidden here".to_owned()),
            cores: vec![Some(0), Some(2)],
            memory: vec![
                MemoryPart { name: "buffers".to_owned(), bytes: 1 << 30 },
                MemoryPart { name: "tail cache".to_owned(), bytes: 1 << 29 },
            ],
            data_dir: PathBuf::from("/data"),
            data_state: "clean".to_owned(),
        }
    }

    #[test]
    fn people_see_every_part_and_programs_get_the_same() {
        let mut sink = Vec::new();
        banner().print(&mut Out::new(&mut sink, false)).unwrap();
        let text = String::from_utf8(sink).unwrap();
        for word in [
            "D6DHC",
            "node 1",
            "0.0.0.0:9092, told to clients as PLAINTEXT://host",
            "posix (io_uring is",
            "2 (CPU 0, 2)",
            "1.5 GiB: buffers 1.0 GiB, tail cache 512.0 MiB",
            "/data (clean)",
        ] {
            assert!(text.contains(word), "{word} in {text}");
        }
        let mut sink = Vec::new();
        banner().print(&mut Out::new(&mut sink, true)).unwrap();
        let value: Value = serde_json::from_slice(&sink).unwrap();
        assert_eq!((&value["driver"], &value["memory"]["buffers"]), (&json!("posix"), &json!(1u64 << 30)));
    }

    #[test]
    fn bytes_are_rounded_down_to_a_tenth() {
        for (bytes, text) in [(0, "0 B"), (1023, "1023 B"), (1536, "1.5 KiB"), (u64::MAX, "15.9 EiB")] {
            assert_eq!(bytes_text(bytes), text);
        }
    }
}
