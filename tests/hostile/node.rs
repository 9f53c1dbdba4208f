//! A node process of a test's own, and how much memory it takes. It is gone when dropped.

use std::fs::{self, File};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio, id};
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::CEILING;
use crate::client::Client;
use crate::witness::Witness;

/// A running node and its folder.
#[derive(Debug)]
pub struct Node {
    pub address: SocketAddr,
    folder: TempDir,
    child: Child,
    /// Resident bytes once it served and had done each kind of work once.
    idle: u64,
}

impl Node {
    /// A node that serves, with `settings` on top of a free port and a folder of its own.
    pub fn start(settings: &[&str]) -> Node {
        Node::start_with_files(None, settings)
    }

    /// The same with no more than `files` descriptors.
    pub fn start_with_files(files: Option<u32>, settings: &[&str]) -> Node {
        let folder = tempfile::Builder::new().prefix("kataract-hostile-").tempdir().expect("a temporary folder");
        let address = free_address();
        let child = command(files, &folder.path().join("data"), address, settings, &log_path(folder.path())).spawn();
        let mut node = Node { address, folder, child: child.expect("the node's binary starts"), idle: 0 };
        let deadline = Instant::now() + Duration::from_secs(60);
        // Its own word, since somebody else may have taken the port meanwhile.
        while !node.log_text().contains("ready after") {
            node.assert_alive();
            assert!(Instant::now() < deadline, "the node is not ready\n{}", node.log_tail());
            thread::sleep(Duration::from_millis(20));
        }
        let mut client = Client::connect(address);
        client.patience(Duration::from_secs(30));
        client.ask(&crate::requests::api_versions()).unwrap_or_else(|why| panic!("{why}\n{}", node.log_tail()));
        // Buffers, caches and the internal structures of a first write and read are part of an idle node.
        let mut witness = Witness::new(address, "warm-up");
        for _ in 0..3 {
            witness.works(Duration::from_secs(30)).unwrap_or_else(|why| panic!("{why}\n{}", node.log_tail()));
        }
        node.rest();
        node
    }

    /// Takes the present resident memory for the idle one and forgets the peak.
    pub fn rest(&mut self) {
        self.idle = self.resident();
        // 5 resets the peak (proc(5)); where it may not be written, the peak stays that of the whole life.
        if let Err(error) = fs::write(format!("/proc/{}/clear_refs", self.child.id()), "5") {
            println!("the peak counts from the start of the node: {error}");
        }
    }

    pub fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    /// What lies beside the data folder: nothing but the log may appear there.
    pub fn surroundings(&self) -> PathBuf {
        self.folder.path().to_owned()
    }

    /// Bytes in memory now.
    pub fn resident(&self) -> u64 {
        self.status("VmRSS:")
    }

    /// Most bytes above idle since [`Node::rest`].
    pub fn peak_above_idle(&self) -> u64 {
        self.status("VmHWM:").saturating_sub(self.idle)
    }

    pub fn idle(&self) -> u64 {
        self.idle
    }

    fn status(&self, field: &str) -> u64 {
        let text = fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap_or_default();
        let line = text.lines().find_map(|line| line.strip_prefix(field));
        let Some(kib) = line.and_then(|rest| rest.split_whitespace().next()?.parse::<u64>().ok()) else {
            panic!("no {field} in the status of the node: it is gone\n{}", self.log_tail());
        };
        kib << 10
    }

    /// Seconds of processor time it has used.
    pub fn cpu_seconds(&self) -> f64 {
        let text = fs::read_to_string(format!("/proc/{}/stat", self.child.id())).expect("a running node");
        let fields: Vec<&str> = text.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
        let ticks: f64 = fields[11..13].iter().map(|field| field.parse::<f64>().expect("ticks")).sum();
        ticks / 100.0
    }

    pub fn assert_alive(&mut self) {
        if let Some(status) = self.child.try_wait().expect("the state of a child") {
            panic!("the node ended with {status}\n{}", self.log_tail());
        }
        let log = self.log_text();
        assert!(!log.contains("panicked at"), "a thread of the node panicked\n{}", self.log_tail());
    }

    /// It lives, its memory stayed below the ceiling, and it still works for others.
    pub fn assert_unharmed(&mut self) {
        self.assert_alive();
        let mut witness = Witness::new(self.address, "after");
        let limit = Duration::from_secs(5);
        if let Err(why) = witness.works(limit).and_then(|()| witness.administers(limit)) {
            panic!("the node serves no more: {why}\n{}", self.log_tail());
        }
        self.assert_memory(CEILING);
    }

    pub fn assert_memory(&self, ceiling: u64) {
        let above = self.peak_above_idle();
        assert!(above <= ceiling, "memory rose {} KiB above idle ({} KiB)", above >> 10, self.idle >> 10);
    }

    fn log_text(&self) -> String {
        String::from_utf8_lossy(&fs::read(log_path(self.folder.path())).unwrap_or_default()).into_owned()
    }

    /// The last lines that the node printed.
    pub fn log_tail(&self) -> String {
        let text = self.log_text();
        let lines: Vec<&str> = text.lines().collect();
        format!("--- the node said ---\n{}\n--- end ---", lines[lines.len().saturating_sub(40)..].join("\n"))
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        // Fails only when the process has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn log_path(folder: &Path) -> PathBuf {
    folder.join("node.log")
}

/// The words that start a node, on the driver of `KATARACT_HOSTILE_DRIVER` (the default: what fits the host).
pub fn command(files: Option<u32>, data: &Path, address: SocketAddr, settings: &[&str], log: &Path) -> Command {
    let log = File::options().create(true).append(true).open(log).expect("the node's log file");
    // Another build of the same program, for instance an optimised one.
    let binary = std::env::var("KATARACT_HOSTILE_BINARY").unwrap_or(env!("CARGO_BIN_EXE_kataract").to_owned());
    let mut command = match files {
        None => Command::new(binary),
        Some(files) => {
            let mut shell = Command::new("sh");
            shell.args(["-c", r#"ulimit -n "$0" && exec "$@""#, &files.to_string(), &binary]);
            shell
        }
    };
    command.arg("start").arg("--data").arg(data);
    command.args(["--driver", &std::env::var("KATARACT_HOSTILE_DRIVER").unwrap_or("auto".to_owned())]);
    command.args(["--set", &format!("listeners=PLAINTEXT://{address}")]);
    command.args(["--set", "group.initial.rebalance.delay.ms=0"]);
    // Mail between cores is a part of what is tested, also where a node would take one by itself.
    command.args(["--set", "kataract.cores=2"]);
    for setting in settings {
        command.args(["--set", setting]);
    }
    command.stdin(Stdio::null()).stdout(log.try_clone().expect("a second handle")).stderr(log);
    command
}

/// Waits for a process that should end by itself.
pub fn ends_within(child: &mut Child, limit: Duration) -> Option<ExitStatus> {
    let deadline = Instant::now() + limit;
    while Instant::now() < deadline {
        if let Some(status) = child.try_wait().expect("the state of a child") {
            return Some(status);
        }
        thread::sleep(Duration::from_millis(10));
    }
    let _ = child.kill();
    let _ = child.wait();
    None
}

/// A port nobody listens on, below the range from which outgoing connections are numbered.
pub fn free_address() -> SocketAddr {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    for _ in 0..12_000 {
        let step = NEXT.fetch_add(1, Ordering::Relaxed);
        let port = u16::try_from(20_000 + (id().wrapping_mul(89).wrapping_add(step)) % 12_000).expect("below 32,000");
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        if TcpListener::bind(address).is_ok() {
            return address;
        }
    }
    panic!("no free port between 20,000 and 32,000");
}
