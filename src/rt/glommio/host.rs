//! What glommio needs of the host, looked at before it does: where something is missing it would end the process, with
//! a joke for a reason.

use io_uring::{IoUring, Probe, opcode};

use crate::rt::probe::ring_error;
use crate::rt::sys;

/// RLIMIT_MEMLOCK that glommio insists on, bytes.
const MEMLOCK_MIN: u64 = 512 << 10;
/// The kernel that has every operation it asks for.
const KERNEL: &str = "5.8";

/// Whether an executor could be set up here; the error says what is missing.
pub fn check_host() -> Result<(), String> {
    let failed =
        |what: &'static str| move |error| format!("glommio cannot run here: {}", ring_error(what, KERNEL, &error));
    let memlock = sys::soft_limit(libc::RLIMIT_MEMLOCK).map_err(failed("limit"))?;
    if memlock < MEMLOCK_MIN {
        return Err(format!(
            "glommio cannot run here: {} KiB may be locked, it wants {} KiB at least (RLIMIT_MEMLOCK, ulimit -l)",
            memlock >> 10,
            MEMLOCK_MIN >> 10
        ));
    }
    let ring = IoUring::new(8).map_err(failed("set-up"))?;
    let polling: IoUring = IoUring::builder().setup_iopoll().build(8).map_err(failed("set-up for polling"))?;
    drop(polling);
    let mut probe = Probe::new();
    ring.submitter().register_probe(&mut probe).map_err(failed("probe"))?;
    match NEEDED.iter().find(|(code, _)| !probe.is_supported(*code)) {
        None => Ok(()),
        Some((_, name)) => Err(format!("glommio cannot run here: io_uring has no {name}, {KERNEL} or later is needed")),
    }
}

/// What an executor asks of its rings when it is made.
const NEEDED: [(u8, &str); 23] = [
    (opcode::Nop::CODE, "nop"),
    (opcode::Readv::CODE, "readv"),
    (opcode::Writev::CODE, "writev"),
    (opcode::Fsync::CODE, "fsync"),
    (opcode::ReadFixed::CODE, "read_fixed"),
    (opcode::WriteFixed::CODE, "write_fixed"),
    (opcode::PollAdd::CODE, "poll_add"),
    (opcode::PollRemove::CODE, "poll_remove"),
    (opcode::SendMsg::CODE, "sendmsg"),
    (opcode::RecvMsg::CODE, "recvmsg"),
    (opcode::Timeout::CODE, "timeout"),
    (opcode::TimeoutRemove::CODE, "timeout_remove"),
    (opcode::Accept::CODE, "accept"),
    (opcode::LinkTimeout::CODE, "link_timeout"),
    (opcode::Connect::CODE, "connect"),
    (opcode::Fallocate::CODE, "fallocate"),
    (opcode::OpenAt::CODE, "openat"),
    (opcode::Close::CODE, "close"),
    (opcode::Statx::CODE, "statx"),
    (opcode::Read::CODE, "read"),
    (opcode::Write::CODE, "write"),
    (opcode::Send::CODE, "send"),
    (opcode::Recv::CODE, "recv"),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_where_our_own_rings_work_is_good_enough() {
        if crate::rt::probe::uring().is_ok_and(|facts| facts.memlock >= MEMLOCK_MIN) {
            check_host().expect("glommio runs on any kernel that our own driver runs on");
        }
    }
}
