//! Thin, typed wrappers of the system calls that std does not offer: sockets set up for a ring or epoll, event
//! counters, O_DIRECT opens, vectored sends. Each returns `io::Error` of errno; none decides anything.
#![allow(unsafe_code, reason = "system calls")]

use std::ffi::CString;
use std::io;
use std::mem;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::OnceLock;

use bytes::BytesMut;

use super::file_pipe::FilePipe;
use super::send::Outgoing;

/// Turns the -1 of a system call into errno.
pub fn check(result: libc::c_int) -> io::Result<libc::c_int> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

/// As [`check`], for calls that return a count.
pub fn check_size(result: libc::ssize_t) -> io::Result<usize> {
    usize::try_from(result).map_err(|_| io::Error::last_os_error())
}

/// Wraps a descriptor that a system call has just made.
pub fn own(fd: RawFd) -> OwnedFd {
    crate::invariant!(fd >= 0, "descriptor {fd}");
    // SAFETY: the caller has just received `fd` from the kernel and nobody else owns it.
    unsafe { OwnedFd::from_raw_fd(fd) }
}

/// Opens for reading and writing (close-on-exec), with `extra` flags such as O_DIRECT or O_CREAT.
pub fn open_rw(path: &Path, extra: libc::c_int) -> io::Result<OwnedFd> {
    let name = CString::new(path.as_os_str().as_bytes()).map_err(|_| io::Error::from_raw_os_error(libc::EINVAL))?;
    loop {
        // SAFETY: `name` is a NUL-terminated string that outlives the call; the mode matters for O_CREAT only.
        let fd = unsafe { libc::open(name.as_ptr(), libc::O_RDWR | libc::O_CLOEXEC | extra, 0o644 as libc::c_uint) };
        match check(fd) {
            Ok(fd) => return Ok(own(fd)),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

/// An event counter: readable while it is not 0, so that another thread can end a wait.
pub fn event_counter() -> io::Result<OwnedFd> {
    // SAFETY: no pointers are involved.
    Ok(own(check(unsafe { libc::eventfd(0, libc::EFD_CLOEXEC) })?))
}

/// Adds 1 to an event counter. The counter would have to be read never in 2^64 calls to block here.
pub fn ring_bell(counter: &OwnedFd) {
    let one: u64 = 1;
    // SAFETY: eight readable bytes, as an eventfd wants.
    let result = unsafe { libc::write(counter.as_raw_fd(), (&raw const one).cast(), 8) };
    crate::invariant!(result == 8, "eventfd write: {}", io::Error::last_os_error());
}

/// Empties an event counter that epoll called readable.
pub fn silence_bell(counter: &OwnedFd) {
    let mut count: u64 = 0;
    // SAFETY: eight writable bytes, as an eventfd wants.
    unsafe { libc::read(counter.as_raw_fd(), (&raw mut count).cast(), 8) };
}

/// A descriptor of the same open file.
pub fn duplicate(fd: RawFd) -> io::Result<OwnedFd> {
    // SAFETY: no pointers are involved; an invalid `fd` is an error, not a fault.
    Ok(own(check(unsafe { libc::fcntl(fd, libc::F_DUPFD_CLOEXEC, 3) })?))
}

fn set_option(fd: RawFd, level: libc::c_int, name: libc::c_int, value: &[u8]) -> io::Result<()> {
    // SAFETY: `value` is readable for its length, and the kernel copies from it.
    check(unsafe { libc::setsockopt(fd, level, name, value.as_ptr().cast(), value.len() as libc::socklen_t) }).map(drop)
}

/// What switches a socket option on.
const ON: [u8; 4] = (1 as libc::c_int).to_ne_bytes();

/// Sends small answers at once instead of waiting for acknowledgements (tcp(7)).
pub fn set_no_delay(fd: &OwnedFd) -> io::Result<()> {
    set_option(fd.as_raw_fd(), libc::IPPROTO_TCP, libc::TCP_NODELAY, &ON)
}

/// The congestion control of connections that never leave the host. The system's choice may be one that paces (bbr): a
/// timer and an interrupt for every few packets, for a network that is not there (figures: `tuning/budget.md`). This
/// one every kernel has.
const LOOPBACK_CONGESTION_CONTROL: &[u8] = b"reno";

/// Accepted connections inherit it.
fn set_loopback_congestion_control(listener: &OwnedFd) {
    let (fd, name) = (listener.as_raw_fd(), LOOPBACK_CONGESTION_CONTROL);
    if let Err(error) = set_option(fd, libc::IPPROTO_TCP, libc::TCP_CONGESTION, name) {
        tracing::debug!(%error, "loopback connections use the system's congestion control");
    }
}

/// A listening TCP socket; `non_blocking` for epoll.
pub fn listen(address: SocketAddr, backlog: i32, non_blocking: bool) -> io::Result<OwnedFd> {
    let family = if address.is_ipv4() { libc::AF_INET } else { libc::AF_INET6 };
    let kind = libc::SOCK_STREAM | libc::SOCK_CLOEXEC | if non_blocking { libc::SOCK_NONBLOCK } else { 0 };
    // SAFETY: no pointers are involved.
    let socket = own(check(unsafe { libc::socket(family, kind, 0) })?);
    set_option(socket.as_raw_fd(), libc::SOL_SOCKET, libc::SO_REUSEADDR, &ON)?;
    let (storage, len) = to_storage(address);
    // SAFETY: `storage` holds a socket address of `len` bytes.
    check(unsafe { libc::bind(socket.as_raw_fd(), (&raw const storage).cast(), len) })?;
    if address.ip().is_loopback() {
        set_loopback_congestion_control(&socket);
    }
    // SAFETY: no pointers are involved.
    check(unsafe { libc::listen(socket.as_raw_fd(), backlog) })?;
    Ok(socket)
}

/// Accepts one waiting connection as a non-blocking socket.
pub fn accept(listener: &OwnedFd) -> io::Result<OwnedFd> {
    // SAFETY: no address is asked for, so both pointers may be null.
    let fd = unsafe {
        libc::accept4(
            listener.as_raw_fd(),
            std::ptr::null_mut(),
            std::ptr::null_mut(),
            libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK,
        )
    };
    Ok(own(check(fd)?))
}

/// Receives once into the spare capacity of `buffer` without waiting; `None`: the kernel has nothing yet.
pub fn receive_now(fd: &impl AsRawFd, buffer: &mut BytesMut) -> Option<io::Result<usize>> {
    let spare = buffer.spare_capacity_mut();
    loop {
        // SAFETY: the kernel writes at most `spare.len()` bytes into memory that `buffer` owns.
        let result = unsafe { libc::recv(fd.as_raw_fd(), spare.as_mut_ptr().cast(), spare.len(), libc::MSG_DONTWAIT) };
        match check_size(result) {
            Ok(count) => {
                let len = buffer.len() + count;
                // SAFETY: the kernel has written `count` bytes behind the old length, within the capacity.
                unsafe { buffer.set_len(len) };
                return Some(Ok(count));
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return None,
            Err(error) => return Some(Err(error)),
        }
    }
}

/// Sends as much as the kernel takes without waiting; `None`: it has no room for the rest yet.
pub fn send_now(fd: &impl AsRawFd, send: &mut Outgoing, pipe: &mut FilePipe) -> Option<io::Result<()>> {
    while !send.is_done() {
        let more = send.file_follows();
        if let Some(piece) = send.file() {
            match pipe.send(&piece, fd)? {
                Ok(count) => send.advance(count),
                Err(error) => return Some(Err(error)),
            }
            continue;
        }
        let slices = send.slices();
        // SAFETY: all zeros is a valid msghdr.
        let mut message: libc::msghdr = unsafe { mem::zeroed() };
        message.msg_iov = slices.as_mut_ptr();
        message.msg_iovlen = slices.len() as _;
        let flags = libc::MSG_NOSIGNAL | libc::MSG_DONTWAIT | if more { libc::MSG_MORE } else { 0 };
        // SAFETY: `message` and the slices it names, owned by `send`, outlive the call.
        let result = unsafe { libc::sendmsg(fd.as_raw_fd(), &message, flags) };
        match check_size(result) {
            Ok(count) => send.advance(count),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return None,
            Err(error) => return Some(Err(error)),
        }
    }
    Some(Ok(()))
}

/// Both directions at once: a send or receive in flight ends soon after.
pub fn shut_down(fd: &impl AsRawFd) {
    // SAFETY: no pointers are involved. ENOTCONN after a reset is expected and harmless.
    unsafe { libc::shutdown(fd.as_raw_fd(), libc::SHUT_RDWR) };
}

fn to_storage(address: SocketAddr) -> (libc::sockaddr_storage, libc::socklen_t) {
    // SAFETY: all zeros is a valid sockaddr_storage.
    let mut storage: libc::sockaddr_storage = unsafe { mem::zeroed() };
    match address {
        SocketAddr::V4(v4) => {
            let raw = libc::sockaddr_in {
                sin_family: libc::AF_INET as libc::sa_family_t,
                sin_port: v4.port().to_be(),
                sin_addr: libc::in_addr { s_addr: u32::from_ne_bytes(v4.ip().octets()) },
                sin_zero: [0; 8],
            };
            // SAFETY: sockaddr_storage is large enough and aligned for every address type.
            unsafe { (&raw mut storage).cast::<libc::sockaddr_in>().write(raw) };
            (storage, mem::size_of::<libc::sockaddr_in>() as libc::socklen_t)
        }
        SocketAddr::V6(v6) => {
            let raw = libc::sockaddr_in6 {
                sin6_family: libc::AF_INET6 as libc::sa_family_t,
                sin6_port: v6.port().to_be(),
                sin6_flowinfo: v6.flowinfo(),
                sin6_addr: libc::in6_addr { s6_addr: v6.ip().octets() },
                sin6_scope_id: v6.scope_id(),
            };
            // SAFETY: as above.
            unsafe { (&raw mut storage).cast::<libc::sockaddr_in6>().write(raw) };
            (storage, mem::size_of::<libc::sockaddr_in6>() as libc::socklen_t)
        }
    }
}

fn from_storage(storage: &libc::sockaddr_storage) -> io::Result<SocketAddr> {
    match libc::c_int::from(storage.ss_family) {
        libc::AF_INET => {
            // SAFETY: the family says that a sockaddr_in is there.
            let raw = unsafe { &*(&raw const *storage).cast::<libc::sockaddr_in>() };
            let ip = Ipv4Addr::from(raw.sin_addr.s_addr.to_ne_bytes());
            Ok(SocketAddr::V4(SocketAddrV4::new(ip, u16::from_be(raw.sin_port))))
        }
        libc::AF_INET6 => {
            // SAFETY: the family says that a sockaddr_in6 is there.
            let raw = unsafe { &*(&raw const *storage).cast::<libc::sockaddr_in6>() };
            let ip = Ipv6Addr::from(raw.sin6_addr.s6_addr);
            let port = u16::from_be(raw.sin6_port);
            Ok(SocketAddr::V6(SocketAddrV6::new(ip, port, raw.sin6_flowinfo, raw.sin6_scope_id)))
        }
        family => Err(io::Error::other(format!("socket address of family {family}"))),
    }
}

/// The address of the other side.
pub fn peer_address(fd: &OwnedFd) -> io::Result<SocketAddr> {
    let mut len = mem::size_of::<libc::sockaddr_storage>() as libc::socklen_t;
    // SAFETY: all zeros is a valid sockaddr_storage.
    let mut storage: libc::sockaddr_storage = unsafe { mem::zeroed() };
    // SAFETY: `len` says how much room there is.
    check(unsafe { libc::getpeername(fd.as_raw_fd(), (&raw mut storage).cast(), &mut len) })?;
    from_storage(&storage)
}

/// The address a socket is bound to, with the port the system chose.
pub fn local_address(fd: &OwnedFd) -> io::Result<SocketAddr> {
    let mut len = mem::size_of::<libc::sockaddr_storage>() as libc::socklen_t;
    // SAFETY: all zeros is a valid sockaddr_storage.
    let mut storage: libc::sockaddr_storage = unsafe { mem::zeroed() };
    // SAFETY: `len` says how much room there is.
    check(unsafe { libc::getsockname(fd.as_raw_fd(), (&raw mut storage).cast(), &mut len) })?;
    from_storage(&storage)
}

/// The soft limit of a resource, `u64::MAX` when there is none.
pub fn soft_limit(resource: libc::__rlimit_resource_t) -> io::Result<u64> {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: `limit` is a valid rlimit to write to.
    check(unsafe { libc::getrlimit(resource, &mut limit) })?;
    Ok(limit.rlim_cur)
}

/// 64 bits from the system's generator: what a machine's own generator starts from.
pub fn random_seed() -> io::Result<u64> {
    let mut seed = 0u64;
    // SAFETY: eight writable bytes; so few are never cut short (getrandom(2)).
    let count = check_size(unsafe { libc::getrandom((&raw mut seed).cast(), 8, 0) })?;
    if count == 8 { Ok(seed) } else { Err(io::Error::other("getrandom gave too few bytes")) }
}

/// The same file by a descriptor of its own that reads through the page cache; its name may be gone meanwhile.
pub fn open_again(fd: &impl AsRawFd) -> io::Result<OwnedFd> {
    let path = format!("/proc/self/fd/{}", fd.as_raw_fd());
    Ok(std::fs::File::open(path)?.into())
}

/// cachestat(2), newer than the C library's headers; the number is the same on all architectures of ours.
const SYS_CACHESTAT: libc::c_long = 451;

/// Whether all of a range is in the page cache.
pub fn is_cached(file: &impl AsRawFd, position: u64, len: u64) -> io::Result<bool> {
    #[repr(C)]
    struct Range {
        position: u64,
        len: u64,
    }
    #[repr(C)]
    #[derive(Default)]
    struct Pages {
        cached: u64,
        dirty: u64,
        in_writeback: u64,
        evicted: u64,
        recently_evicted: u64,
    }
    // SAFETY: asks for a number.
    let page = unsafe { libc::sysconf(libc::_SC_PAGESIZE) } as u64;
    let range = Range { position, len };
    let mut pages = Pages::default();
    // SAFETY: a range to read and counts to write, in the layout of the call; both outlive it.
    let result =
        unsafe { libc::syscall(SYS_CACHESTAT, file.as_raw_fd(), &raw const range, &raw mut pages, 0 as libc::c_uint) };
    check(result as libc::c_int)?;
    Ok(len > 0 && pages.cached == (position + len - 1) / page - position / page + 1)
}

/// Sends `len` bytes of a file to nowhere, so that the page cache has them. An error where the file ends before.
pub fn send_nowhere(file: &impl AsRawFd, from: u64, len: u64) -> io::Result<()> {
    let to = from + len;
    static NOWHERE: OnceLock<std::fs::File> = OnceLock::new();
    if NOWHERE.get().is_none() {
        let _ = NOWHERE.set(std::fs::OpenOptions::new().write(true).open("/dev/null")?);
    }
    let Some(nowhere) = NOWHERE.get() else { unreachable!("set above") };
    // Positions of files are signed; the caller has checked them.
    let mut at = from as libc::off_t;
    while (at as u64) < to {
        // SAFETY: `at` is a valid offset to read and to write.
        let sent =
            unsafe { libc::sendfile(nowhere.as_raw_fd(), file.as_raw_fd(), &raw mut at, (to - at as u64) as usize) };
        match check_size(sent) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Fills `buffer` from a position of a file; an error where the file ends before.
pub fn read_exact_at(file: &impl AsRawFd, buffer: &mut [u8], position: u64) -> io::Result<()> {
    let mut done = 0;
    while done < buffer.len() {
        let rest = &mut buffer[done..];
        let at = (position + done as u64) as libc::off_t;
        // SAFETY: the kernel writes at most `rest.len()` bytes into `rest`.
        match check_size(unsafe { libc::pread(file.as_raw_fd(), rest.as_mut_ptr().cast(), rest.len(), at) }) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(count) => done += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// A pipe: where it is read, where it is written, and how many bytes of whole pages it takes at most, `bytes` if the
/// system lets it.
pub fn pipe(bytes: usize) -> io::Result<(OwnedFd, OwnedFd, usize)> {
    let mut ends = [0; 2];
    // SAFETY: two writable descriptors, as pipe2(2) wants.
    check(unsafe { libc::pipe2(ends.as_mut_ptr(), libc::O_CLOEXEC | libc::O_NONBLOCK) })?;
    let (read, write) = (own(ends[0]), own(ends[1]));
    // What an unprivileged user may have together is limited (pipe(7)); the usual size does as well.
    // SAFETY: no pointers are involved.
    unsafe { libc::fcntl(write.as_raw_fd(), libc::F_SETPIPE_SZ, bytes as libc::c_int) };
    // SAFETY: no pointers are involved.
    let size = check(unsafe { libc::fcntl(write.as_raw_fd(), libc::F_GETPIPE_SZ) })?;
    Ok((read, write, size as usize))
}

/// Moves up to `len` bytes between a pipe and something else without a copy (splice(2)), from `position` if `from` is a
/// file. Never waits for room in a pipe or a socket.
pub fn splice(
    from: &impl AsRawFd,
    position: Option<u64>,
    to: &impl AsRawFd,
    len: usize,
    more: bool,
) -> io::Result<usize> {
    let flags = libc::SPLICE_F_NONBLOCK | if more { libc::SPLICE_F_MORE } else { 0 };
    let mut at = position.unwrap_or(0) as libc::off_t;
    let at_pointer = if position.is_some() { &raw mut at } else { std::ptr::null_mut() };
    loop {
        // SAFETY: `at_pointer` is null or names `at`, which outlives the call.
        let moved =
            unsafe { libc::splice(from.as_raw_fd(), at_pointer, to.as_raw_fd(), std::ptr::null_mut(), len, flags) };
        match check_size(moved) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            result => return result,
        }
    }
}

/// Reserves space without writing; the file grows to the end of it.
pub fn reserve(fd: &impl AsRawFd, from: u64, to: u64) -> io::Result<()> {
    let position = |value: u64| libc::off_t::try_from(value).map_err(|_| io::Error::from_raw_os_error(libc::EFBIG));
    // SAFETY: no pointers are involved.
    check(unsafe { libc::fallocate(fd.as_raw_fd(), 0, position(from)?, position(to - from)?) }).map(drop)
}

/// Alignment of memory and of positions for direct I/O; `None` when kernel or file system do not say.
pub fn direct_alignment(path: &Path) -> io::Result<Option<(u32, u32)>> {
    let name = CString::new(path.as_os_str().as_bytes()).map_err(|_| io::Error::from_raw_os_error(libc::EINVAL))?;
    // SAFETY: all zeros is a valid statx.
    let mut stat: libc::statx = unsafe { mem::zeroed() };
    // SAFETY: a NUL-terminated path and a statx to write to, both outliving the call.
    check(unsafe { libc::statx(libc::AT_FDCWD, name.as_ptr(), 0, libc::STATX_DIOALIGN, &mut stat) })?;
    let said = stat.stx_mask & libc::STATX_DIOALIGN != 0 && stat.stx_dio_mem_align > 0;
    Ok(said.then_some((stat.stx_dio_mem_align, stat.stx_dio_offset_align)))
}

#[cfg(test)]
mod tests {
    use std::net::TcpStream;

    use super::*;

    fn congestion_control(socket: &impl AsRawFd) -> String {
        let mut name = [0u8; 16];
        let mut len = name.len() as libc::socklen_t;
        let (fd, option) = (socket.as_raw_fd(), libc::TCP_CONGESTION);
        // SAFETY: `len` says how much room there is.
        check(unsafe { libc::getsockopt(fd, libc::IPPROTO_TCP, option, name.as_mut_ptr().cast(), &mut len) })
            .expect("a TCP socket has a congestion control");
        String::from_utf8_lossy(&name[..len as usize]).trim_end_matches('\0').to_owned()
    }

    #[test]
    fn what_a_loopback_listener_accepts_is_not_paced() {
        let listener = listen(SocketAddr::from(([127, 0, 0, 1], 0)), 1, false).expect("a listener");
        let client = TcpStream::connect(local_address(&listener).expect("an address")).expect("a connection");
        let accepted = accept(&listener).expect("it is accepted");
        assert_eq!(congestion_control(&accepted), "reno", "the client has {}", congestion_control(&client));
    }
}
