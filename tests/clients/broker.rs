//! A node as a real process: started on a free port with a folder of its own, killed, started again, ended on drop.
//!
//! Ports come from below the range of outgoing connections: a client that keeps dialling a killed node's port can
//! otherwise meet itself there and keep the port from the node's next life.

use std::fs::{self, File};
use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio, id};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};
use std::{env, thread};

use tempfile::TempDir;

use crate::running::skipped;

/// How long a node may take until it answers, recovery after a kill included.
const START_LIMIT: Duration = Duration::from_secs(60);

/// Which driver a node runs on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Driver {
    Posix,
    Uring,
    #[cfg(feature = "glommio")]
    Glommio,
}

impl Driver {
    fn name(self) -> &'static str {
        match self {
            Driver::Posix => "posix",
            Driver::Uring => "uring",
            #[cfg(feature = "glommio")]
            Driver::Glommio => "glommio",
        }
    }
}

/// What a test speaks to: a node of its own, or the broker of `KATARACT_TEST_BROKER`.
#[derive(Debug)]
pub enum Broker {
    Own(Node),
    Running(String),
}

impl Broker {
    /// `None` (with a line that says why) when this host or this kind of run leaves the driver out.
    pub fn for_test(driver: Driver) -> Option<Broker> {
        if let Ok(address) = env::var("KATARACT_TEST_BROKER") {
            if driver != Driver::Posix {
                skipped(&format!("one run is enough against {address}"));
                return None;
            }
            return Some(Broker::Running(address));
        }
        Node::start_if_possible(driver).map(Broker::Own)
    }

    pub fn address(&self) -> &str {
        match self {
            Broker::Own(node) => &node.address,
            Broker::Running(address) => address,
        }
    }

    /// Whether the broker offers what a scenario needs; if not, one line says so.
    pub fn offers(&self, scenario: &str) -> bool {
        let (key, name) = match scenario {
            "transactions" => (26, "EndTxn"),
            "group848" => (68, "ConsumerGroupHeartbeat"),
            _ => return true,
        };
        let keys = api_versions(self.address()).unwrap_or_else(|why| panic!("{why}\n{}", self.log_tail()));
        let offered = keys.contains(&key);
        if !offered {
            skipped(&format!("{scenario}, the broker does not offer {name}"));
        }
        offered
    }

    pub fn log_tail(&self) -> String {
        match self {
            Broker::Own(node) => node.log_tail(),
            Broker::Running(address) => format!("(the broker at {address} keeps its own log)"),
        }
    }
}

/// A node process and its folder; both are gone when this is dropped.
#[derive(Debug)]
pub struct Node {
    pub address: String,
    driver: Driver,
    folder: TempDir,
    /// `name=value`, besides those that every node gets.
    settings: Vec<String>,
    child: Option<Child>,
}

impl Node {
    /// A running node, or `None` when a test needs a node of its own and may not have one, or the host has no io_uring.
    pub fn start_if_possible(driver: Driver) -> Option<Node> {
        Node::start_with(driver, &[], |_| {})
    }

    /// The same with settings of its own, and a data folder that `fill` may make before the start.
    pub fn start_with(driver: Driver, settings: &[&str], fill: impl FnOnce(&Path)) -> Option<Node> {
        if let Ok(address) = env::var("KATARACT_TEST_BROKER") {
            skipped(&format!("needs a node of its own, not {address}"));
            return None;
        }
        #[cfg(feature = "glommio")]
        if driver == Driver::Glommio
            && let Err(error) = kataract::rt::probe::glommio()
        {
            skipped(&error);
            return None;
        }
        if driver == Driver::Uring {
            let mut builder: io_uring::Builder = io_uring::IoUring::builder();
            if let Err(error) = builder.setup_single_issuer().setup_defer_taskrun().build(8) {
                skipped(&format!("this host does not allow io_uring ({error})"));
                return None;
            }
        }
        let folder = tempfile::Builder::new().prefix("kataract-").tempdir().expect("a temporary folder");
        let address = format!("127.0.0.1:{}", free_port());
        let settings = settings.iter().map(|setting| (*setting).to_owned()).collect();
        let mut node = Node { address, driver, folder, settings, child: None };
        fill(&node.data());
        node.start();
        Some(node)
    }

    /// Starts the process and waits until it answers ApiVersions.
    pub fn start(&mut self) {
        self.spawn();
        let deadline = Instant::now() + START_LIMIT;
        while let Err(why) = api_versions(&self.address) {
            let child = self.child.as_mut().expect("a process was just started");
            if let Some(status) = child.try_wait().expect("the state of a child") {
                panic!("the node ended at its start with {status}\n{}", self.log_tail());
            }
            assert!(Instant::now() < deadline, "the node does not answer: {why}\n{}", self.log_tail());
            thread::sleep(Duration::from_millis(20));
        }
    }

    /// Starts the process and does not wait.
    pub fn spawn(&mut self) {
        let log = File::options().create(true).append(true).open(self.log_path()).expect("the node's log file");
        let child = Command::new(env!("CARGO_BIN_EXE_kataract"))
            .arg("start")
            .arg("--data")
            .arg(self.data())
            .args(["--driver", self.driver.name()])
            .args(["--set", &format!("listeners=PLAINTEXT://{}", self.address)])
            .args(["--set", "group.initial.rebalance.delay.ms=0"])
            // Mail between cores is a part of what is tested, also where a node would take one by itself.
            .args(["--set", "kataract.cores=2"])
            .args(self.settings.iter().flat_map(|setting| ["--set", setting]))
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("a second handle"))
            .stderr(log)
            .spawn()
            .expect("the node's binary starts");
        self.child = Some(child);
    }

    /// SIGKILL: nothing is flushed, nothing is said.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            // Fails only when the process has ended already, which wait() then reports.
            let _ = child.kill();
            child.wait().expect("the end of a killed node");
        }
    }

    /// SIGTERM; the node must end by itself, with success.
    pub fn stop(&mut self) {
        let Some(mut child) = self.child.take() else { return };
        let asked = Command::new("kill").args(["-TERM", &child.id().to_string()]).status().expect("kill(1)");
        assert!(asked.success(), "the node was gone before it was asked to stop\n{}", self.log_tail());
        let deadline = Instant::now() + Duration::from_secs(30);
        loop {
            if let Some(status) = child.try_wait().expect("the state of a child") {
                assert!(status.success(), "the node ended with {status} when asked to stop\n{}", self.log_tail());
                return;
            }
            if Instant::now() > deadline {
                let _ = child.kill();
                let _ = child.wait();
                panic!("the node did not stop within 30 s\n{}", self.log_tail());
            }
            thread::sleep(Duration::from_millis(20));
        }
    }

    /// The running process.
    #[allow(dead_code, reason = "the bench tests read its CPU time")]
    pub fn pid(&self) -> u32 {
        self.child.as_ref().expect("a node that was started").id()
    }

    /// The data folder of the node.
    pub fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    fn log_path(&self) -> PathBuf {
        self.folder.path().join("node.log")
    }

    /// The last lines the node printed, in all its lives.
    pub fn log_tail(&self) -> String {
        let bytes = fs::read(self.log_path()).unwrap_or_default();
        let text = String::from_utf8_lossy(&bytes);
        let lines: Vec<&str> = text.lines().collect();
        let tail = lines[lines.len().saturating_sub(60)..].join("\n");
        format!("--- the node on {} said ---\n{tail}\n--- end ---", self.driver.name())
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        self.kill();
    }
}

/// A port nobody listens on, below the range from which outgoing connections are numbered.
fn free_port() -> u16 {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    for _ in 0..12_000 {
        let step = NEXT.fetch_add(1, Ordering::Relaxed);
        let port = u16::try_from(20_000 + (id().wrapping_mul(97).wrapping_add(step)) % 12_000).expect("below 32,000");
        if TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok() {
            return port;
        }
    }
    panic!("no free port between 20,000 and 32,000");
}

/// Asks for ApiVersions 0, the one request that any broker answers to anybody. The keys of the APIs it offers.
fn api_versions(address: &str) -> Result<Vec<i16>, String> {
    let limit = Duration::from_secs(5);
    let address: SocketAddr = address.parse().map_err(|error| format!("{address}: {error}"))?;
    let say = |error: std::io::Error| match error.kind() {
        ErrorKind::ConnectionRefused => "nobody listens".to_owned(),
        _ => error.to_string(),
    };
    let mut stream = TcpStream::connect_timeout(&address, limit).map_err(say)?;
    stream.set_read_timeout(Some(limit)).map_err(say)?;
    // Length 10, key 18, version 0, correlation id 7, no client id.
    stream.write_all(&[0, 0, 0, 10, 0, 18, 0, 0, 0, 0, 0, 7, 0xff, 0xff]).map_err(say)?;
    let mut head = [0; 14];
    stream.read_exact(&mut head).map_err(say)?;
    // Length, correlation id, error code, then the count of entries: key, lowest and highest version.
    if head[..2] != [0, 0] || head[4..12] != [0, 0, 0, 7, 0, 0, 0, 0] {
        return Err(format!("an odd answer: {head:?}"));
    }
    let mut entries = vec![0; 6 * usize::from(u16::from_be_bytes([head[12], head[13]]))];
    stream.read_exact(&mut entries).map_err(say)?;
    Ok(entries.chunks_exact(6).map(|entry| i16::from_be_bytes([entry[0], entry[1]])).collect())
}
