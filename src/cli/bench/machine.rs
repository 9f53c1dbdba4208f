//! What stands beside every number: machine, kernel, memory, and the disk that the broker writes to.

use std::fs;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::process;
use super::run::Target;

/// The machine that the bench (and, with a process id, the broker) runs on.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Machine {
    pub kernel: String,
    pub cpu: String,
    /// CPUs this process may use.
    pub cores: usize,
    pub memory_mb: u64,
    pub governor: Option<String>,
}

/// A cluster under test, as far as this machine can see it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Seen {
    pub name: String,
    pub bootstrap: String,
    /// The program behind the process id.
    pub program: Option<String>,
    pub disk: Option<Disk>,
}

/// Where the data of a broker lie.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Disk {
    pub file_system: String,
    pub mount_options: String,
    pub device: String,
    pub model: Option<String>,
    pub scheduler: Option<String>,
    pub write_cache: Option<String>,
}

impl Machine {
    pub fn here() -> Machine {
        let system = rustix::system::uname();
        let text = |part: &std::ffi::CStr| part.to_string_lossy().into_owned();
        let cpu = read("/proc/cpuinfo").and_then(|info| after(&info, "model name"));
        let memory = read("/proc/meminfo").and_then(|info| after(&info, "MemTotal"));
        let kib = memory.and_then(|text| text.split_whitespace().next()?.parse::<u64>().ok());
        Machine {
            kernel: format!("{} {} {}", text(system.sysname()), text(system.release()), text(system.machine())),
            cpu: cpu.unwrap_or_else(|| "unknown".to_owned()),
            cores: std::thread::available_parallelism().map_or(1, std::num::NonZero::get),
            memory_mb: kib.unwrap_or(0) * 1024 / 1_000_000,
            governor: read("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor"),
        }
    }

    /// Names and values for tables.
    pub fn rows(&self) -> Vec<(String, String)> {
        let mut rows = vec![
            ("kernel".to_owned(), self.kernel.clone()),
            ("CPU".to_owned(), self.cpu.clone()),
            ("cores".to_owned(), self.cores.to_string()),
            ("memory".to_owned(), format!("{} MB", super::units::number(self.memory_mb as f64))),
        ];
        rows.extend(self.governor.iter().map(|governor| ("governor".to_owned(), governor.clone())));
        rows
    }
}

impl Seen {
    /// Looks at the process and at the folder given or found through it.
    pub fn look(target: &Target, data: Option<&Path>) -> Seen {
        let folder = data.map(PathBuf::from).or_else(|| target.pid.and_then(process::data_folder));
        Seen {
            name: target.name.clone(),
            bootstrap: target.bootstrap.clone(),
            program: target.pid.and_then(process::command),
            disk: folder.and_then(|folder| Disk::of(&folder)),
        }
    }

    /// Names and values for tables.
    pub fn rows(&self) -> Vec<(String, String)> {
        let mut rows = vec![(format!("cluster {}", self.name), self.bootstrap.clone())];
        rows.extend(self.program.iter().map(|program| (format!("{}: process", self.name), program.clone())));
        let Some(disk) = &self.disk else { return rows };
        let fs = format!("{} ({})", disk.file_system, disk.mount_options);
        rows.push((format!("{}: file system", self.name), fs));
        let facts = [("model", &disk.model), ("scheduler", &disk.scheduler), ("write cache", &disk.write_cache)];
        let known = facts.iter().filter_map(|(name, value)| Some(format!("{name} {}", value.as_ref()?)));
        let device = std::iter::once(disk.device.clone()).chain(known).collect::<Vec<_>>().join(", ");
        rows.push((format!("{}: disk", self.name), device));
        rows
    }
}

impl Disk {
    /// The disk below a folder; `None` where /proc and /sys do not tell.
    pub fn of(folder: &Path) -> Option<Disk> {
        let folder = fs::canonicalize(folder).ok()?;
        let mut disk = mount_of(&folder, &read("/proc/self/mountinfo")?)?;
        let name = disk.device.rsplit('/').next()?.to_owned();
        // A partition lies below its disk, and the disk has the queue.
        let block = fs::canonicalize(format!("/sys/class/block/{name}")).ok();
        let queue =
            block.and_then(|block| block.ancestors().take(2).find(|at| at.join("queue").is_dir()).map(PathBuf::from));
        if let Some(at) = queue {
            disk.model = read(at.join("device/model"));
            disk.write_cache = read(at.join("queue/write_cache"));
            let scheduler = read(at.join("queue/scheduler"));
            disk.scheduler = scheduler.map(|all| {
                // "[none] mq-deadline": the one in brackets is in use.
                let used = all.split_once('[').and_then(|(_, rest)| rest.split_once(']'));
                used.map_or(all.clone(), |(used, _)| used.to_owned())
            });
        }
        Some(disk)
    }
}

/// The entry of the mount that holds a path: the longest mount point above it.
fn mount_of(path: &Path, mountinfo: &str) -> Option<Disk> {
    let mounts = mountinfo.lines().filter_map(|line| {
        let (left, right) = line.split_once(" - ")?;
        let left: Vec<&str> = left.split(' ').collect();
        let mut right = right.split(' ');
        let (file_system, device) = (right.next()?, right.next()?);
        // Spaces are written as \040.
        let point = left.get(4)?.replace("\\040", " ");
        path.starts_with(&point).then(|| {
            let disk = Disk {
                file_system: file_system.to_owned(),
                mount_options: (*left.get(5).unwrap_or(&"")).to_owned(),
                device: device.to_owned(),
                ..Disk::default()
            };
            (point.len(), disk)
        })
    });
    mounts.max_by_key(|(length, _)| *length).map(|(_, disk)| disk)
}

fn read(path: impl AsRef<Path>) -> Option<String> {
    let text = fs::read_to_string(path).ok()?;
    let text = text.trim();
    (!text.is_empty()).then(|| text.to_owned())
}

/// The value behind `name :` or `name:` in a list of lines.
fn after(text: &str, name: &str) -> Option<String> {
    let line = text.lines().find(|line| line.starts_with(name))?;
    line.split_once(':').map(|(_, value)| value.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_mount_above_a_folder_holds_it() {
        let info = "22 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda1 rw\n\
                    30 22 259:1 / /data\\040x rw,noatime shared:5 - xfs /dev/nvme0n1p2 rw,attr2\n";
        let disk = mount_of(Path::new("/data x/kafka"), info).unwrap();
        assert_eq!((disk.file_system.as_str(), disk.device.as_str()), ("xfs", "/dev/nvme0n1p2"));
        assert_eq!(disk.mount_options, "rw,noatime");
        assert_eq!(mount_of(Path::new("/elsewhere"), info).unwrap().device, "/dev/vda1");
    }

    #[test]
    fn this_machine_has_a_kernel_and_memory() {
        let machine = Machine::here();
        assert!(machine.kernel.starts_with("Linux ") && machine.cores > 0 && machine.memory_mb > 0, "{machine:?}");
    }
}
