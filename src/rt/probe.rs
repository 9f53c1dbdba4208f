//! Which driver this machine allows, found out by trying.

use std::fmt;
use std::io;

use io_uring::{IoUring, Probe, opcode};

pub use super::probe_disk::{DiskFacts, disk};
use super::uring::{build_ring, push_nop};
use super::{DriverKind, sys};

/// What the administrator asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Requested {
    /// io_uring unless this machine forbids it or lacks what we need.
    #[default]
    Auto,
    Uring,
    Posix,
    Glommio,
}

/// The driver to use, and one line that says why. An explicit wish is granted even where starting will fail, so that
/// the administrator sees the error instead of a silent change.
pub fn choose(requested: Requested) -> (DriverKind, String) {
    match requested {
        Requested::Posix => (DriverKind::Posix, "posix: asked for".to_owned()),
        Requested::Uring => {
            let found = uring().map_or_else(|error| format!("though {error}"), |facts| facts.to_string());
            (DriverKind::Uring, format!("io_uring: asked for; {found}"))
        }
        Requested::Glommio => {
            let found = glommio().map_or_else(|error| format!("; though {error}"), |()| String::new());
            (DriverKind::Glommio, format!("glommio: asked for{found}"))
        }
        Requested::Auto => match uring() {
            Ok(facts) => (DriverKind::Uring, format!("io_uring: {facts}")),
            Err(error) => (DriverKind::Posix, format!("posix: {error}")),
        },
    }
}

/// Whether the glommio driver is in this build and could run here; the error says what is missing.
pub fn glommio() -> Result<(), String> {
    DriverKind::Glommio.check_built().map_err(|error| error.to_string())?;
    #[cfg(feature = "glommio")]
    super::glommio::check_host()?;
    Ok(())
}

/// What the kernel's io_uring offers.
#[derive(Clone, Debug)]
pub struct UringFacts {
    /// DEFER_TASKRUN (6.1); without it completions run when the thread enters the kernel.
    pub deferred: bool,
    /// MSG_RING (5.18); without it cores wake one another by event counters.
    pub messages: bool,
    /// RLIMIT_MEMLOCK, bytes; `u64::MAX` for none.
    pub memlock: u64,
}

impl fmt::Display for UringFacts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let tasks = if self.deferred { "deferred completions" } else { "cooperative completions" };
        let wakes = if self.messages { "ring messages" } else { "event counters" };
        write!(f, "the kernel offers all we need ({tasks}, {wakes}, ")?;
        match self.memlock {
            u64::MAX => write!(f, "no limit on locked memory)"),
            bytes => write!(f, "{} KiB may be locked)", bytes / 1024),
        }
    }
}

/// What a failed call on a ring tells the administrator; `kernel` is the oldest one that would do.
pub(super) fn ring_error(what: &str, kernel: &str, error: &io::Error) -> String {
    let hint = match error.raw_os_error() {
        Some(libc::EPERM | libc::EACCES) => ": forbidden here (kernel.io_uring_disabled, seccomp)".to_owned(),
        Some(libc::ENOSYS) => ": this kernel has none".to_owned(),
        Some(libc::EINVAL) => format!(": this kernel is too old ({kernel} or later is needed)"),
        Some(libc::ENOMEM) => ": not enough lockable memory (RLIMIT_MEMLOCK)".to_owned(),
        _ => String::new(),
    };
    format!("io_uring {what} failed with \"{error}\"{hint}")
}

/// Sets a ring of the real size up and takes a no-op through it.
pub fn uring() -> Result<UringFacts, String> {
    let failed = |what: &'static str| move |error: io::Error| ring_error(what, "6.1", &error);
    let (mut ring, deferred) = build_ring().map_err(failed("set-up"))?;
    if !ring.params().is_feature_ext_arg() || !ring.params().is_feature_nodrop() {
        return Err("io_uring here lacks wait time-outs or keeps no overflow".to_owned());
    }
    let mut probe = Probe::new();
    ring.submitter().register_probe(&mut probe).map_err(failed("probe"))?;
    // SEND_ZC stands for 6.0: multishot accept has no operation of its own to ask for.
    let needed = [
        (opcode::Accept::CODE, "accept"),
        (opcode::Recv::CODE, "recv"),
        (opcode::Send::CODE, "send"),
        (opcode::SendMsg::CODE, "sendmsg"),
        (opcode::Read::CODE, "read"),
        (opcode::Write::CODE, "write"),
        (opcode::WriteFixed::CODE, "write_fixed"),
        (opcode::Fsync::CODE, "fsync"),
        (opcode::Fallocate::CODE, "fallocate"),
        (opcode::AsyncCancel::CODE, "async_cancel"),
        (opcode::SendZc::CODE, "send_zc"),
    ];
    for (code, name) in needed {
        if !probe.is_supported(code) {
            return Err(format!("io_uring here has no {name}: 6.0 or later is needed"));
        }
    }
    round_trip(&mut ring).map_err(failed("round trip"))?;
    let memlock = sys::soft_limit(libc::RLIMIT_MEMLOCK).map_err(failed("limit"))?;
    Ok(UringFacts { deferred, messages: probe.is_supported(opcode::MsgRingData::CODE), memlock })
}

fn round_trip(ring: &mut IoUring) -> io::Result<()> {
    push_nop(ring)?;
    ring.submit_and_wait(1)?;
    match ring.completion().next() {
        Some(completion) if completion.result() == 0 => Ok(()),
        _ => Err(io::Error::other("a no-op did not complete")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_explicit_wish_is_granted_and_the_reason_says_so() {
        let (kind, reason) = choose(Requested::Posix);
        assert_eq!(kind, DriverKind::Posix);
        assert!(reason.contains("asked for"), "{reason}");
        let (kind, reason) = choose(Requested::Uring);
        assert_eq!(kind, DriverKind::Uring);
        assert!(reason.contains("asked for"), "{reason}");
    }

    #[test]
    fn a_driver_that_is_not_in_this_build_says_how_to_build_it() {
        let (kind, reason) = choose(Requested::Glommio);
        assert_eq!(kind, DriverKind::Glommio);
        if cfg!(feature = "glommio") {
            kind.check_built().expect("it is in this build");
        } else {
            let error = kind.check_built().expect_err("not in this build").to_string();
            assert!(error.contains("--features glommio") && reason.contains(&error), "{error}; {reason}");
        }
    }

    #[test]
    fn auto_takes_io_uring_exactly_when_the_probe_succeeds() {
        let (kind, reason) = choose(Requested::Auto);
        assert_eq!(kind == DriverKind::Uring, uring().is_ok(), "{reason}");
        assert!(!reason.is_empty());
    }
}
