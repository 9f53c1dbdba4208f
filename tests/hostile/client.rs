//! The plainest client: frames out, frames in, and the patience of a test.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

/// How a wait for an answer ended.
#[derive(Debug, PartialEq, Eq)]
pub enum Heard {
    /// A whole frame, without its length.
    Answer(Vec<u8>),
    /// The node closed the connection.
    Closed,
    /// Nothing (more) came in time.
    Silence,
}

/// One connection.
#[derive(Debug)]
pub struct Client {
    pub stream: TcpStream,
    patience: Duration,
    pending: Vec<u8>,
}

impl Client {
    pub fn connect(address: SocketAddr) -> Client {
        Client::try_connect(address).unwrap_or_else(|error| panic!("{address}: {error}"))
    }

    pub fn try_connect(address: SocketAddr) -> std::io::Result<Client> {
        let stream = TcpStream::connect_timeout(&address, Duration::from_secs(5))?;
        stream.set_nodelay(true)?;
        stream.set_write_timeout(Some(Duration::from_secs(10)))?;
        Ok(Client { stream, patience: Duration::from_secs(5), pending: Vec::new() })
    }

    /// How long to wait for an answer.
    pub fn patience(&mut self, patience: Duration) {
        self.patience = patience;
    }

    /// Sends bytes as they are; false when the node has closed the connection.
    pub fn send(&mut self, bytes: &[u8]) -> bool {
        self.stream.write_all(bytes).is_ok()
    }

    /// The next frame, or why there is none.
    pub fn hear(&mut self) -> Heard {
        let deadline = Instant::now() + self.patience;
        let mut buffer = vec![0; 64 << 10];
        loop {
            if let Some(answer) = self.take_frame() {
                return Heard::Answer(answer);
            }
            let left = deadline.saturating_duration_since(Instant::now()).max(Duration::from_millis(1));
            self.stream.set_read_timeout(Some(left)).expect("a timeout above zero");
            match self.stream.read(&mut buffer) {
                Ok(0) => return Heard::Closed,
                Ok(count) => self.pending.extend_from_slice(&buffer[..count]),
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                    return Heard::Silence;
                }
                Err(_) => return Heard::Closed,
            }
        }
    }

    fn take_frame(&mut self) -> Option<Vec<u8>> {
        let length = u32::from_be_bytes(*self.pending.first_chunk::<4>()?) as usize;
        let frame = self.pending.get(4..4 + length)?.to_vec();
        self.pending.drain(..4 + length);
        Some(frame)
    }

    /// Sends one frame and waits for its answer.
    pub fn ask(&mut self, frame: &[u8]) -> Result<Vec<u8>, String> {
        if !self.send(frame) {
            return Err("the connection was closed before the request".to_owned());
        }
        match self.hear() {
            Heard::Answer(answer) => Ok(answer),
            Heard::Closed => Err("the connection was closed instead of an answer".to_owned()),
            Heard::Silence => Err(format!("no answer within {:?}", self.patience)),
        }
    }
}
