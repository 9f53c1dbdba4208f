//! What happens when a machine fails, or a driver cannot start.

#![allow(unsafe_code, reason = "limits of the process and a socket without a connection yet")]

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::{AsRawFd, OwnedFd};
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use super::Acting;
use super::drivers::Real;
use super::net::{echo, serve, stop};
use crate::base::ids::CoreId;
use crate::base::time::Now;
use crate::port::turn::{Effects, Inputs, NextWake};
use crate::rt::{DriverKind, RunError, StartError, probe, run, sys};

/// Runs two cores, of which the second panics; the first heeds the wish to stop or does not.
fn run_with_a_panic(real: &Real, heeds: bool) -> (Result<(), RunError>, Duration) {
    let (_folder, options) = real.options(2);
    let running = run(real.0, options, move |core| {
        let mut turns = 0;
        Acting(move |now: Now, inputs: Inputs<u64>, effects: &mut Effects<u64>| {
            turns += 1;
            if core == CoreId(1) && turns > 1 {
                panic!("on purpose");
            }
            effects.stopped = inputs.stop && heeds;
            if core == CoreId(1) { NextWake::At(now.mono.plus_ms(20)) } else { NextWake::Never }
        })
    });
    let start = Instant::now();
    (running.expect("start").join(), start.elapsed())
}

fn assert_panicked(result: Result<(), RunError>) {
    match result {
        Err(RunError::Panicked { core: CoreId(1), message }) => assert_eq!(message, "on purpose"),
        other => panic!("expected the panic of core 1, got {other:?}"),
    }
}

/// The other cores are told to stop, and the one who joins hears of the panic.
pub fn a_panic_ends_the_process_in_order(real: &Real) {
    let (result, took) = run_with_a_panic(real, true);
    assert_panicked(result);
    assert!(took < Duration::from_millis(1500), "the other core was idle and should have stopped at once: {took:?}");
}

/// A machine that waits for the dead one for ever does not keep the process alive.
pub fn a_core_that_does_not_stop_after_a_failure_is_left_behind(real: &Real) {
    let (result, took) = run_with_a_panic(real, false);
    assert_panicked(result);
    assert!(took > Duration::from_secs(1), "it had its time to stop: {took:?}");
    assert!(took < Duration::from_secs(20), "{took:?}");
}

/// No cores, no folder, no address: an error that says so, and nothing left running.
pub fn what_cannot_start_says_why(real: &Real) {
    let idle = |_| Acting(|_: Now, _: Inputs<u64>, _: &mut Effects<u64>| NextWake::Never);
    let (folder, options) = real.options(1);

    let mut none = options.clone();
    none.cores.clear();
    assert!(matches!(run(real.0, none, idle), Err(StartError::Cores { count: 0 })));

    let mut nowhere = options.clone();
    nowhere.data_root = folder.path().join("missing");
    assert!(matches!(run(real.0, nowhere, idle), Err(StartError::DataRoot { .. })));

    let taken = TcpListener::bind("127.0.0.1:0").expect("bind");
    let address = taken.local_addr().expect("address");
    let mut clash = options;
    clash.listen = vec![address];
    match run(real.0, clash, idle) {
        Err(StartError::Listen { address: named, .. }) => assert_eq!(named, address),
        other => panic!("expected an address in use, got {other:?}"),
    }
}

/// Without descriptors accepting rests instead of spinning, and goes on once there are some again. The limit concerns
/// the whole process, so the case runs in one of its own.
pub fn accepting_rests_while_descriptors_are_short(real: &Real) {
    let program = std::env::current_exe().expect("own path");
    let case = match real.0 {
        DriverKind::Posix => "rt::contract::failures::short_of_descriptors_on_posix",
        DriverKind::Uring => "rt::contract::failures::short_of_descriptors_on_uring",
        DriverKind::Glommio => "rt::contract::failures::short_of_descriptors_on_glommio",
    };
    let output =
        Command::new(program).args(["--exact", case, "--nocapture"]).env(OWN_PROCESS, "1").output().expect("run");
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && text.contains("1 passed"), "{text}{}", String::from_utf8_lossy(&output.stderr));
}

/// Set in the process that a case starts for itself, where it may change limits.
const OWN_PROCESS: &str = "KATARACT_TEST_OWN_PROCESS";

#[test]
fn short_of_descriptors_on_posix() {
    if std::env::var_os(OWN_PROCESS).is_some() {
        short_of_descriptors(&Real(DriverKind::Posix));
    }
}

#[test]
fn short_of_descriptors_on_uring() {
    if std::env::var_os(OWN_PROCESS).is_some() && probe::uring().is_ok() {
        short_of_descriptors(&Real(DriverKind::Uring));
    }
}

#[cfg(feature = "glommio")]
#[test]
fn short_of_descriptors_on_glommio() {
    if std::env::var_os(OWN_PROCESS).is_some() && probe::glommio().is_ok() {
        short_of_descriptors(&Real(DriverKind::Glommio));
    }
}

fn limit_descriptors(count: u64) {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: a valid rlimit to write to.
    assert_eq!(unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &mut limit) }, 0);
    limit.rlim_cur = count.min(limit.rlim_max);
    // SAFETY: a valid rlimit to read from.
    assert_eq!(unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &limit) }, 0);
}

fn cpu_time() -> Duration {
    // SAFETY: all zeros is a valid rusage.
    let mut usage: libc::rusage = unsafe { std::mem::zeroed() };
    // SAFETY: a valid rusage to write to.
    assert_eq!(unsafe { libc::getrusage(libc::RUSAGE_SELF, &mut usage) }, 0);
    let part = |time: libc::timeval| Duration::new(time.tv_sec as u64, time.tv_usec as u32 * 1000);
    part(usage.ru_utime) + part(usage.ru_stime)
}

/// A socket made before descriptors run short, connected after.
fn connect_later(socket: &OwnedFd, address: SocketAddr) {
    let SocketAddr::V4(address) = address else { panic!("an IPv4 address was asked for") };
    let raw = libc::sockaddr_in {
        sin_family: libc::AF_INET as libc::sa_family_t,
        sin_port: address.port().to_be(),
        sin_addr: libc::in_addr { s_addr: u32::from_ne_bytes(address.ip().octets()) },
        sin_zero: [0; 8],
    };
    // SAFETY: an address of the announced size.
    let result = unsafe {
        let len = size_of::<libc::sockaddr_in>() as libc::socklen_t;
        libc::connect(socket.as_raw_fd(), (&raw const raw).cast(), len)
    };
    sys::check(result).expect("connect");
}

/// Every descriptor that the process may still have, those too that a starting thread opens and closes meanwhile.
fn take_all_descriptors(socket: &OwnedFd) -> Vec<OwnedFd> {
    let mut hoard = Vec::new();
    let mut quiet_since = Instant::now();
    while quiet_since.elapsed() < Duration::from_millis(200) {
        while let Ok(another) = sys::duplicate(socket.as_raw_fd()) {
            hoard.push(another);
            quiet_since = Instant::now();
        }
        thread::sleep(Duration::from_millis(5));
    }
    assert!(!hoard.is_empty());
    hoard
}

fn short_of_descriptors(real: &Real) {
    // Before the start: an accept that is armed keeps the limit it was armed under.
    limit_descriptors(200);
    let (_folder, running) = serve(real, 1, 100, echo);
    // SAFETY: no pointers are involved.
    let socket = sys::own(unsafe { libc::socket(libc::AF_INET, libc::SOCK_STREAM | libc::SOCK_CLOEXEC, 0) });
    let hoard = take_all_descriptors(&socket);
    let before = cpu_time();
    connect_later(&socket, running.local_addrs()[0]);
    thread::sleep(Duration::from_millis(600));
    let used = cpu_time() - before;
    assert!(used < Duration::from_millis(300), "accepting spins: {used:?} of CPU in 600 ms");
    assert_eq!(running.connections_open(), 0, "there was no descriptor for it");
    drop(hoard);
    let mut client = TcpStream::from(socket);
    client.set_read_timeout(Some(Duration::from_secs(20))).expect("time-out");
    client.write_all(b"hello").expect("write");
    let mut back = [0; 5];
    client.read_exact(&mut back).expect("served once there are descriptors again");
    assert_eq!(&back, b"hello");
    stop(running);
}
