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
}

/// The driver to use, and one line that says why. An explicit wish is granted even where starting will fail, so that
/// the administrator sees the error instead of a silent change.
pub fn choose(requested: Requested) -> (DriverKind, String) {
    match (requested, uring()) {
        (Requested::Posix, _) => (DriverKind::Posix, "posix: asked for".to_owned()),
        (Requested::Uring, Ok(facts)) => (DriverKind::Uring, format!("io_uring: asked for; {facts}")),
        (Requested::Uring, Err(error)) => (DriverKind::Uring, format!("io_uring: asked for, though {error}")),
        (Requested::Auto, Ok(facts)) => (DriverKind::Uring, format!("io_uring: {facts}")),
        (Requested::Auto, Err(error)) => (DriverKind::Posix, format!("posix: {error}")),
    }
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

/// Sets a ring of the real size up and takes a no-op through it.
pub fn uring() -> Result<UringFacts, String> {
    let failed = |what: &str| {
        let what = what.to_owned();
        move |error: io::Error| {
            let hint = match error.raw_os_error() {
                Some(libc::EPERM | libc::EACCES) => ": forbidden here (kernel.io_uring_disabled, seccomp)",
                Some(libc::ENOSYS) => ": this kernel has none",
                Some(libc::EINVAL) => ": this kernel is too old (6.1 or later is needed)",
                Some(libc::ENOMEM) => ": not enough lockable memory (RLIMIT_MEMLOCK)",
                _ => "",
            };
            format!("io_uring {what} failed with \"{error}\"{hint}")
        }
    };
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
    fn auto_takes_io_uring_exactly_when_the_probe_succeeds() {
        let (kind, reason) = choose(Requested::Auto);
        assert_eq!(kind == DriverKind::Uring, uring().is_ok(), "{reason}");
        assert!(!reason.is_empty());
    }
}
