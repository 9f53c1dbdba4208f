//! A node process of these tests: any binary, any folder, killed and started again at will, gone when dropped.
//!
//! The port comes from below the range of outgoing connections: a client that keeps dialling a killed node's port can
//! otherwise meet itself there and keep the port from the node's next life.

use std::fs::{self, File};
use std::io::{self, Write};
use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio, id};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};
use std::{env, thread};

use tempfile::TempDir;

use crate::wire::Wire;

/// Longest wait for a node to serve, recovery included; slower is a failure of another kind than the promised second.
pub const START_LIMIT: Duration = Duration::from_secs(60);

/// Which driver a node runs on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Driver {
    Posix,
    Uring,
    #[cfg(feature = "glommio")]
    Glommio,
}

impl Driver {
    pub fn name(self) -> &'static str {
        match self {
            Driver::Posix => "posix",
            Driver::Uring => "uring",
            #[cfg(feature = "glommio")]
            Driver::Glommio => "glommio",
        }
    }

    /// Whether this host can run it; if not, one line says so.
    pub fn is_possible(self) -> bool {
        if self == Driver::Posix {
            return true;
        }
        #[cfg(feature = "glommio")]
        if self == Driver::Glommio {
            return kataract::rt::probe::glommio().map_err(|error| skipped(&error)).is_ok();
        }
        let mut builder: io_uring::Builder = io_uring::IoUring::builder();
        match builder.setup_single_issuer().setup_defer_taskrun().build(8) {
            Ok(_) => true,
            Err(error) => {
                skipped(&format!("this host does not allow io_uring ({error})"));
                false
            }
        }
    }
}

/// One line about a test that does not run here; past the capture of the test runner, so that it is seen.
pub fn skipped(why: &str) {
    // Nobody is left to tell when standard error is gone.
    let _ = writeln!(io::stderr(), "skipped: {why}");
}

/// The binary under test: the one of this build, or that of `KATARACT_BIN` (a release build, say).
pub fn binary() -> PathBuf {
    env::var_os("KATARACT_BIN").map_or_else(|| env!("CARGO_BIN_EXE_kataract").into(), PathBuf::from)
}

/// Whether the binary is one whose speed counts.
pub fn is_release() -> bool {
    !cfg!(debug_assertions) || env::var_os("KATARACT_BIN").is_some()
}

/// A node process and its folder.
#[derive(Debug)]
pub struct Node {
    pub address: String,
    driver: Driver,
    data: PathBuf,
    settings: Vec<String>,
    folder: TempDir,
    child: Option<Child>,
    started: Instant,
}

impl Node {
    /// Nothing runs yet; `settings` are `key=value`.
    pub fn new(driver: Driver, settings: &[&str]) -> Node {
        let folder = tempfile::Builder::new().prefix("kataract-kills-").tempdir().expect("a temporary folder");
        let mut settings: Vec<String> = settings.iter().map(|&setting| setting.to_owned()).collect();
        if !settings.iter().any(|setting| setting.starts_with("kataract.cores=")) {
            // Mail between cores is a part of what is tested, also where a node would take one by itself.
            settings.push("kataract.cores=2".to_owned());
        }
        Node {
            address: format!("127.0.0.1:{}", free_port()),
            driver,
            data: folder.path().join("data"),
            settings,
            folder,
            child: None,
            started: Instant::now(),
        }
    }

    /// Puts the data elsewhere, for instance on a disk that fills up.
    pub fn with_data(mut self, data: &Path) -> Node {
        data.clone_into(&mut self.data);
        self
    }

    /// Another value of a setting, or the first, from the next start on.
    pub fn set(&mut self, key: &str, value: &str) {
        self.settings.retain(|setting| setting.split('=').next() != Some(key));
        self.settings.push(format!("{key}={value}"));
    }

    pub fn data(&self) -> &Path {
        &self.data
    }

    /// The command that runs a node on this folder.
    pub fn command(&self) -> Command {
        let mut command = Command::new(binary());
        command
            .arg("start")
            .arg("--data")
            .arg(&self.data)
            .args(["--driver", self.driver.name()])
            .args(["--set", &format!("listeners=PLAINTEXT://{}", self.address)])
            .args(["--set", "group.initial.rebalance.delay.ms=0"]);
        for setting in &self.settings {
            command.args(["--set", setting]);
        }
        command
    }

    /// Starts the process and does not wait.
    pub fn spawn(&mut self) {
        assert!(self.child.is_none(), "the node runs already");
        let log = File::options().create(true).append(true).open(self.log_path()).expect("the node's log file");
        self.started = Instant::now();
        let mut command = self.command();
        command.stdin(Stdio::null()).stdout(log.try_clone().expect("a second handle")).stderr(log);
        self.child = Some(command.spawn().expect("the node's binary starts"));
    }

    /// Starts the process and waits until it answers ApiVersions.
    pub fn start(&mut self) {
        self.spawn();
        self.until(|node| Wire::connect(&node.address)?.api_versions());
    }

    /// Asks again and again until there is an answer; how long after the start of the process that was.
    pub fn until(&mut self, ask: impl Fn(&Node) -> Result<(), String>) -> Duration {
        let mut why = match ask(self) {
            Ok(()) => return self.started.elapsed(),
            Err(why) => why,
        };
        while self.started.elapsed() < START_LIMIT {
            if let Some(status) = self.ended() {
                panic!("the node ended at its start with {status}\n{}", self.log_tail());
            }
            thread::sleep(Duration::from_millis(3));
            match ask(self) {
                Ok(()) => return self.started.elapsed(),
                Err(again) => why = again,
            }
        }
        panic!("the node does not serve: {why}\n{}", self.log_tail());
    }

    /// Time since the start of the process.
    pub fn age(&self) -> Duration {
        self.started.elapsed()
    }

    /// How the process ended, if it did.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.child.as_mut()?.try_wait().expect("the state of a child")
    }

    /// SIGKILL: nothing is flushed, nothing is said. The node must have been alive.
    pub fn kill(&mut self) {
        if let Some(status) = self.ended() {
            panic!("the node ended by itself with {status}\n{}", self.log_tail());
        }
        self.end();
    }

    fn end(&mut self) {
        if let Some(mut child) = self.child.take() {
            // Fails only when the process has ended already, which wait() then reports.
            let _ = child.kill();
            child.wait().expect("the end of a killed node");
        }
    }

    /// SIGTERM; the node must end by itself, with success. How long that took.
    pub fn stop(&mut self) -> Duration {
        let asked = Instant::now();
        let status = self.terminate(Duration::from_secs(30));
        assert!(status.success(), "the node ended with {status} when asked to stop\n{}", self.log_tail());
        asked.elapsed()
    }

    /// SIGTERM; how the node ended within the limit.
    pub fn terminate(&mut self, limit: Duration) -> ExitStatus {
        let mut child = self.child.take().expect("a node that runs");
        let asked = Command::new("kill").args(["-TERM", &child.id().to_string()]).status().expect("kill(1)");
        assert!(asked.success(), "the node was gone before it was asked to stop\n{}", self.log_tail());
        let deadline = Instant::now() + limit;
        loop {
            if let Some(status) = child.try_wait().expect("the state of a child") {
                return status;
            }
            if Instant::now() > deadline {
                let _ = child.kill();
                let _ = child.wait();
                panic!("the node did not stop within {limit:?}\n{}", self.log_tail());
            }
            thread::sleep(Duration::from_millis(5));
        }
    }

    /// Resident memory of the process, bytes.
    pub fn resident(&self) -> u64 {
        let pid = self.child.as_ref().expect("a node that runs").id();
        let text = fs::read_to_string(format!("/proc/{pid}/status")).expect("the state of a running process");
        let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("a line about memory");
        1024 * line.trim().trim_end_matches("kB").trim().parse::<u64>().expect("kilobytes")
    }

    fn log_path(&self) -> PathBuf {
        self.folder.path().join("node.log")
    }

    /// Everything the node printed, in all its lives.
    pub fn log(&self) -> String {
        String::from_utf8_lossy(&fs::read(self.log_path()).unwrap_or_default()).into_owned()
    }

    /// The last lines the node printed.
    pub fn log_tail(&self) -> String {
        let text = self.log();
        let lines: Vec<&str> = text.lines().collect();
        let tail = lines[lines.len().saturating_sub(80)..].join("\n");
        format!("--- the node on {} said ---\n{tail}\n--- end ---", self.driver.name())
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        self.end();
        if thread::panicking() {
            // What went wrong can be looked at: the folder stays.
            self.folder.disable_cleanup(true);
            eprintln!("the folder of the failed test stays: {}", self.folder.path().display());
        }
    }
}

/// A port nobody listens on, below the range from which outgoing connections are numbered.
fn free_port() -> u16 {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    for _ in 0..12_000 {
        let step = NEXT.fetch_add(1, Ordering::Relaxed);
        let port = 20_000 + (id().wrapping_mul(89).wrapping_add(step)) % 12_000;
        let port = u16::try_from(port).expect("below 32,000");
        if TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok() {
            return port;
        }
    }
    panic!("no free port between 20,000 and 32,000");
}
