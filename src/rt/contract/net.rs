//! Network cases: real clients on loopback against a driver whose machines do as each case says.
#![allow(unsafe_code, reason = "a client that resets its connection")]

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::os::fd::AsRawFd;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};

use super::Acting;
use super::drivers::Real;
use crate::base::ids::{ConnId, CoreId};
use crate::base::prng::Prng;
use crate::base::time::Now;
use crate::port::net::{NetInput, NetOp};
use crate::port::range::Part;
use crate::port::turn::{Effects, Inputs, NextWake};
use crate::rt::{Running, run};

/// No answer to a client takes longer.
const PATIENCE: Duration = Duration::from_secs(60);

/// Starts machines that call `behave` for every network input and stop when asked to.
pub fn serve<B: FnMut(NetInput, &mut Vec<NetOp>)>(
    real: &Real,
    cores: u16,
    connections_max: usize,
    behave: impl Fn(CoreId) -> B + Send + Sync + Clone + 'static,
) -> (tempfile::TempDir, Running) {
    let (folder, mut options) = real.options(cores);
    options.listen = vec![SocketAddr::from(([127, 0, 0, 1], 0))];
    options.connections_max = connections_max;
    let running = run(real.0, options, move |core| {
        let mut behave = behave(core);
        Acting(move |_: Now, inputs: Inputs<u64>, effects: &mut Effects<u64>| {
            for input in inputs.net {
                behave(input, &mut effects.net);
            }
            effects.stopped = inputs.stop;
            NextWake::Never
        })
    });
    (folder, running.expect("start"))
}

pub fn stop(running: Running) {
    running.request_stop();
    running.join().expect("a run without failures");
}

pub fn connect(running: &Running) -> TcpStream {
    let stream = TcpStream::connect(running.local_addrs()[0]).expect("connect");
    stream.set_read_timeout(Some(PATIENCE)).expect("time-out");
    stream.set_write_timeout(Some(PATIENCE)).expect("time-out");
    stream
}

fn recv(conn: ConnId) -> NetOp {
    NetOp::Recv { conn, buffer: BytesMut::with_capacity(64 << 10) }
}

/// Cuts bytes into parts of random sizes, some empty.
fn cut(random: &mut Prng, mut bytes: Bytes) -> Vec<Part> {
    let mut parts = Vec::new();
    // Sometimes thousands of parts, more than one system call takes.
    let largest = [7, 100, 5000, 1 << 20][random.below(4) as usize];
    while !bytes.is_empty() {
        let len = (random.below(largest) as usize).min(bytes.len());
        parts.push(bytes.split_to(len).into());
    }
    parts
}

/// Sends back what it gets, cut into parts, and closes when the client has finished.
pub fn echo(core: CoreId) -> impl FnMut(NetInput, &mut Vec<NetOp>) {
    let mut random = Prng::new(u64::from(core.0));
    move |input, ops| match input {
        NetInput::Accepted { conn, .. } => ops.push(recv(conn)),
        NetInput::Received { conn, count: 0, .. } => ops.push(NetOp::Close { conn }),
        NetInput::Received { conn, buffer, count } => {
            assert_eq!(buffer.len(), count, "the buffer was empty before");
            ops.push(NetOp::Send { conn, parts: cut(&mut random, buffer.freeze()) });
        }
        NetInput::Sent { conn } => ops.push(recv(conn)),
        NetInput::Broken { conn } => ops.push(NetOp::Close { conn }),
        NetInput::Closed { .. } => {}
    }
}

fn random_bytes(seed: u64, len: usize) -> Vec<u8> {
    let mut random = Prng::new(seed);
    (0..len).map(|_| random.next_u64() as u8).collect()
}

/// Writes and reads at the same time, as neither side may wait for the other to take everything first.
fn exchange(stream: &TcpStream, bytes: &[u8]) {
    thread::scope(|scope| {
        scope.spawn(|| {
            let mut writer = stream;
            writer.write_all(bytes).expect("write");
        });
        let mut back = vec![0; bytes.len()];
        let mut reader = stream;
        reader.read_exact(&mut back).expect("read");
        assert!(back == bytes, "{} bytes came back changed", bytes.len());
    });
}

fn assert_ended(stream: &mut TcpStream, what: &str) {
    loop {
        match stream.read(&mut [0]) {
            Ok(0) => return,
            Err(error) if error.kind() == ErrorKind::ConnectionReset => return,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            other => panic!("{what}: expected the end of the connection, got {other:?}"),
        }
    }
}

/// Echo of sizes from one byte to 4 MiB, one part or thousands, on two cores.
pub fn bytes_come_back_as_they_were_sent(real: &Real) {
    let (_folder, running) = serve(real, 2, 100, echo);
    thread::scope(|scope| {
        for client in 0..4 {
            let running = &running;
            scope.spawn(move || {
                let mut stream = connect(running);
                let mut random = Prng::new(client);
                for round in 0..8 {
                    let largest = [10, 5000, 200_000, 4 << 20][round % 4];
                    exchange(&stream, &random_bytes(client + 10, 1 + random.below(largest) as usize));
                }
                exchange(&stream, &random_bytes(99, 4 << 20));
                stream.shutdown(Shutdown::Write).expect("shutdown");
                assert_ended(&mut stream, "after the client has finished");
            });
        }
    });
    stop(running);
}

/// 0 bytes received means that the client sends no more; it may still read, and gets what is sent before the close.
pub fn a_half_closed_client_still_gets_its_answer(real: &Real) {
    let (_folder, running) = serve(real, 1, 10, |_| {
        |input: NetInput, ops: &mut Vec<NetOp>| match input {
            NetInput::Accepted { conn, .. } => ops.push(recv(conn)),
            NetInput::Received { conn, count: 0, .. } => {
                ops.push(NetOp::Send {
                    conn,
                    parts: vec![Bytes::from_static(b"good").into(), Bytes::from_static(b"bye").into()],
                });
            }
            NetInput::Received { conn, .. } => ops.push(recv(conn)),
            NetInput::Sent { conn } | NetInput::Broken { conn } => ops.push(NetOp::Close { conn }),
            NetInput::Closed { .. } => {}
        }
    });
    let mut stream = connect(&running);
    stream.write_all(b"hello").expect("write");
    stream.shutdown(Shutdown::Write).expect("shutdown");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("read to the end");
    assert_eq!(answer, "goodbye");
    stop(running);
}

/// What a machine was told, for a test to look at.
fn tell(news: &Sender<String>, text: String) {
    // The test may have ended already.
    let _ = news.send(text);
}

fn await_news(news: &Receiver<String>, expected: &str) {
    match news.recv_timeout(PATIENCE) {
        Ok(text) => assert_eq!(text, expected),
        Err(error) => panic!("waiting for {expected:?}: {error}"),
    }
}

fn reset(stream: TcpStream) {
    let linger = libc::linger { l_onoff: 1, l_linger: 0 };
    // SAFETY: a linger structure of the announced size.
    let result = unsafe {
        libc::setsockopt(
            stream.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_LINGER,
            (&raw const linger).cast(),
            size_of::<libc::linger>() as libc::socklen_t,
        )
    };
    assert_eq!(result, 0);
}

/// A reset during a receive is told once, and the close that must follow is answered.
pub fn a_reset_is_noticed_and_closed(real: &Real) {
    let (news, heard) = channel();
    let (_folder, running) = serve(real, 1, 10, move |_| {
        let news = news.clone();
        move |input: NetInput, ops: &mut Vec<NetOp>| match input {
            NetInput::Accepted { conn, .. } => {
                // Both directions are in flight: the reset ends both, but is told once.
                ops.push(recv(conn));
                ops.push(NetOp::Send { conn, parts: vec![Bytes::from(vec![1; 32 << 20]).into()] });
                tell(&news, "accepted".to_owned());
            }
            NetInput::Broken { conn } => {
                ops.push(NetOp::Close { conn });
                tell(&news, "broken".to_owned());
            }
            // The send may have swallowed the error that the receive then did not see.
            NetInput::Received { count: 0, .. } => {}
            NetInput::Closed { .. } => tell(&news, "closed".to_owned()),
            other => panic!("{other:?}"),
        }
    });
    for _ in 0..20 {
        let stream = connect(&running);
        await_news(&heard, "accepted");
        reset(stream);
        await_news(&heard, "broken");
        await_news(&heard, "closed");
    }
    assert_eq!(running.connections_open(), 0);
    stop(running);
}

/// Without a receive in flight nothing is read: the client's writes stop, and all of it arrives once the machine reads.
pub fn a_machine_that_does_not_read_holds_its_client_back(real: &Real) {
    let (news, heard) = channel();
    let (_folder, running) = serve(real, 1, 10, move |_| {
        let news = news.clone();
        let mut first = None;
        let mut total = 0;
        move |input: NetInput, ops: &mut Vec<NetOp>| match input {
            NetInput::Accepted { conn, .. } => match first {
                None => first = Some(conn),
                // The second connection is the sign to read the first one.
                Some(first) => ops.push(recv(first)),
            },
            NetInput::Received { conn, count: 0, .. } => {
                tell(&news, total.to_string());
                ops.push(NetOp::Close { conn });
            }
            NetInput::Received { conn, count, .. } => {
                total += count;
                ops.push(recv(conn));
            }
            _ => {}
        }
    });
    let mut stream = connect(&running);
    stream.set_nonblocking(true).expect("non-blocking");
    let block = vec![7; 1 << 20];
    let mut written = 0;
    let mut blocked_since: Option<Instant> = None;
    while blocked_since.is_none_or(|since| since.elapsed() < Duration::from_millis(300)) {
        match stream.write(&block) {
            Ok(count) => {
                written += count;
                blocked_since = None;
                assert!(written < 256 << 20, "nobody holds the client back");
            }
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                blocked_since.get_or_insert_with(Instant::now);
                thread::sleep(Duration::from_millis(5));
            }
            Err(error) => panic!("{error}"),
        }
    }
    let _sign = connect(&running);
    stream.set_nonblocking(false).expect("blocking");
    stream.write_all(&block).expect("write");
    stream.shutdown(Shutdown::Write).expect("shutdown");
    await_news(&heard, &(written + block.len()).to_string());
    stop(running);
}

/// A close with a receive and a send in flight: neither is answered, the close is, and the client sees the end.
pub fn a_close_ends_what_is_in_flight(real: &Real) {
    let (news, heard) = channel();
    let (_folder, running) = serve(real, 1, 10, move |_| {
        let news = news.clone();
        let mut stuck: Vec<ConnId> = Vec::new();
        let mut closed: BTreeSet<ConnId> = BTreeSet::new();
        move |input: NetInput, ops: &mut Vec<NetOp>| match input {
            NetInput::Accepted { conn, .. } if stuck.len() < 3 => {
                stuck.push(conn);
                ops.push(recv(conn));
                ops.push(NetOp::Send { conn, parts: vec![Bytes::from(vec![1; 64 << 20]).into()] });
            }
            NetInput::Accepted { conn, .. } => {
                // The sign: all are closed, and once more, which changes nothing.
                ops.extend(stuck.iter().map(|&conn| NetOp::Close { conn }));
                ops.extend(stuck.iter().map(|&conn| NetOp::Close { conn }));
                ops.push(NetOp::Close { conn });
            }
            NetInput::Closed { conn } => {
                assert!(closed.insert(conn), "closed twice");
                tell(&news, format!("closed {}", closed.len()));
            }
            other => panic!("{other:?}"),
        }
    });
    let mut clients: Vec<TcpStream> = (0..3).map(|_| connect(&running)).collect();
    for client in &mut clients {
        // Some bytes have come, so the send is under way; the client reads no further.
        client.read_exact(&mut [0; 1000]).expect("first bytes");
    }
    let _sign = connect(&running);
    for number in 1..=4 {
        await_news(&heard, &format!("closed {number}"));
    }
    for client in &mut clients {
        match io::copy(client, &mut io::sink()) {
            Ok(count) => assert!(count < 64 << 20, "the send should have been cut"),
            Err(error) => assert_eq!(error.kind(), ErrorKind::ConnectionReset),
        }
    }
    stop(running);
}

type Seen = Arc<Mutex<BTreeMap<CoreId, BTreeSet<ConnId>>>>;

/// Echo that notes which core got which ids.
fn noting(seen: Seen, core: CoreId) -> impl FnMut(NetInput, &mut Vec<NetOp>) {
    let mut echo = echo(core);
    move |input, ops| {
        if let NetInput::Accepted { conn, .. } = &input {
            let fresh = seen.lock().expect("lock").entry(core).or_default().insert(*conn);
            assert!(fresh, "{conn:?} was given twice on core {}", core.0);
        }
        echo(input, ops);
    }
}

/// Two hundred connections at once, dealt evenly to four cores, each served.
pub fn two_hundred_connections_are_dealt_to_the_cores(real: &Real) {
    let seen = Seen::default();
    let noted = seen.clone();
    let (_folder, running) = serve(real, 4, 1000, move |core| noting(noted.clone(), core));
    let clients: Vec<TcpStream> = (0..200).map(|_| connect(&running)).collect();
    for round in 0..3 {
        for (number, mut client) in clients.iter().enumerate() {
            client.write_all(&random_bytes(number as u64 + round, 300)).expect("write");
        }
        for (number, mut client) in clients.iter().enumerate() {
            let mut back = vec![0; 300];
            client.read_exact(&mut back).expect("read");
            assert_eq!(back, random_bytes(number as u64 + round, 300));
        }
    }
    assert_eq!(running.connections_open(), 200);
    let counts: Vec<usize> = seen.lock().expect("lock").values().map(BTreeSet::len).collect();
    assert_eq!(counts, vec![50; 4]);
    drop(clients);
    let start = Instant::now();
    while running.connections_open() > 0 {
        assert!(start.elapsed() < PATIENCE, "{} connections were not closed", running.connections_open());
        thread::sleep(Duration::from_millis(5));
    }
    stop(running);
}

/// Beyond `connections_max` a client is closed at once and counted; a place that becomes free is used again.
pub fn connections_beyond_the_limit_are_closed_at_once(real: &Real) {
    let (_folder, running) = serve(real, 2, 3, echo);
    let mut clients: Vec<TcpStream> = (0..3).map(|_| connect(&running)).collect();
    for client in &clients {
        exchange(client, b"first");
    }
    for number in 1..=4 {
        assert_ended(&mut connect(&running), "beyond the limit");
        assert_eq!(running.connections_refused(), number);
    }
    let mut last = clients.pop().expect("three");
    last.shutdown(Shutdown::Write).expect("shutdown");
    assert_ended(&mut last, "the last one");
    let start = Instant::now();
    while running.connections_open() > 2 {
        assert!(start.elapsed() < PATIENCE, "the place was not given back");
        thread::sleep(Duration::from_millis(5));
    }
    exchange(&connect(&running), b"in its place");
    stop(running);
}

/// Connections that follow one another in the same slot have different ids.
pub fn ids_are_never_given_twice(real: &Real) {
    let seen = Seen::default();
    let noted = seen.clone();
    let (_folder, running) = serve(real, 1, 10, move |core| noting(noted.clone(), core));
    for _ in 0..100 {
        let mut client = connect(&running);
        exchange(&client, b"hello");
        client.shutdown(Shutdown::Write).expect("shutdown");
        assert_ended(&mut client, "echo");
    }
    assert_eq!(seen.lock().expect("lock")[&CoreId(0)].len(), 100);
    stop(running);
}
