//! One connection: requests out in one call, whole answers in, in order.

use std::io::{self, BufReader, ErrorKind, IoSlice, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use super::wire;

/// An answer larger than this is no answer: a fetch asks for less.
const ANSWER_BYTES_MAX: usize = 256 << 20;
/// How much is read from the socket at once, at least.
const READ_BYTES: usize = 64 << 10;
/// A broker that says nothing for so long is gone.
const SILENCE_MAX: Duration = Duration::from_secs(60);
/// Slices a system call takes (IOV_MAX is 1024).
const SLICES_MAX: usize = 512;

/// The writing half.
#[derive(Debug)]
pub struct Requests(TcpStream);

/// The reading half.
#[derive(Debug)]
pub struct Answers {
    stream: BufReader<TcpStream>,
    answer: Vec<u8>,
}

/// Connects and makes sure that the other side speaks what the raw client speaks.
pub fn connect(address: SocketAddr, limit: Duration) -> io::Result<(Requests, Answers)> {
    let said = |error: io::Error| io::Error::new(error.kind(), format!("{address}: {error}"));
    let stream = TcpStream::connect_timeout(&address, limit).map_err(said)?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(limit))?;
    let answers = BufReader::with_capacity(READ_BYTES, stream.try_clone()?);
    let (mut requests, mut answers) = (Requests(stream), Answers { stream: answers, answer: Vec::new() });
    requests.send(&mut [wire::api_versions()], &[], 0).map_err(said)?;
    let offered = answers.receive(0).map_err(said)?;
    for (name, version) in [("Produce", wire::PRODUCE), ("Fetch", wire::FETCH)] {
        if !wire::offers(offered, version)? {
            return Err(said(io::Error::other(format!("the broker does not offer {name} {}", version.1))));
        }
    }
    requests.0.set_read_timeout(Some(SILENCE_MAX))?;
    requests.0.set_write_timeout(Some(SILENCE_MAX))?;
    Ok((requests, answers))
}

impl Requests {
    /// Sends a request: each of its heads, followed by the body.
    pub fn send(&mut self, heads: &mut [Vec<u8>], body: &[u8], correlation: i32) -> io::Result<()> {
        if let Some(first) = heads.first_mut() {
            wire::set_correlation(first, correlation);
        }
        for heads in heads.chunks(SLICES_MAX / 2) {
            let mut slices: Vec<IoSlice<'_>> =
                heads.iter().flat_map(|head| [IoSlice::new(head), IoSlice::new(body)]).collect();
            let mut slices = &mut slices[..];
            // Empty slices at the end are skipped here, so that what is left is worth a call.
            IoSlice::advance_slices(&mut slices, 0);
            while !slices.is_empty() {
                match self.0.write_vectored(slices) {
                    Ok(0) => return Err(ErrorKind::WriteZero.into()),
                    Ok(written) => IoSlice::advance_slices(&mut slices, written),
                    Err(error) if error.kind() == ErrorKind::Interrupted => {}
                    Err(error) => return Err(silence(error)),
                }
            }
        }
        Ok(())
    }

    /// Says that no more requests come; answers still do.
    pub fn end(&self) -> io::Result<()> {
        self.0.shutdown(std::net::Shutdown::Write)
    }
}

impl Answers {
    /// The next answer without its length; it must belong to this correlation id.
    pub fn receive(&mut self, correlation: i32) -> io::Result<&[u8]> {
        let mut length = [0; 4];
        self.stream.read_exact(&mut length).map_err(silence)?;
        let length = u32::from_be_bytes(length) as usize;
        if !(4..=ANSWER_BYTES_MAX).contains(&length) {
            return Err(io::Error::other(format!(
                "an answer of {length} bytes: is this a Kafka listener without TLS?"
            )));
        }
        self.answer.resize(length, 0);
        self.stream.read_exact(&mut self.answer).map_err(silence)?;
        if self.answer.first_chunk() != Some(&correlation.to_be_bytes()) {
            return Err(io::Error::other("answers came out of order"));
        }
        Ok(&self.answer)
    }
}

/// Says what an expired timeout of a socket means.
fn silence(error: io::Error) -> io::Error {
    match error.kind() {
        ErrorKind::WouldBlock | ErrorKind::TimedOut => {
            io::Error::new(ErrorKind::TimedOut, "the broker does not answer")
        }
        ErrorKind::UnexpectedEof => io::Error::new(ErrorKind::UnexpectedEof, "the broker closed the connection"),
        _ => error,
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    /// A listener that reads what comes and answers with these bytes.
    fn answering(bytes: &'static [u8]) -> (SocketAddr, std::thread::JoinHandle<Vec<u8>>) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let other = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            stream.write_all(bytes).unwrap();
            let mut read = Vec::new();
            stream.read_to_end(&mut read).unwrap();
            read
        });
        (address, other)
    }

    /// Correlation 0, no error; Produce 0 to 9 and Fetch 0 to 12.
    const VERSIONS: &[u8] = &[0, 0, 0, 22, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0, 0, 0, 9, 0, 1, 0, 0, 0, 12];

    #[test]
    fn what_is_no_broker_is_told_apart() {
        let (address, other) = answering(b"HTTP/1.1 400 Bad Request\r\n");
        let error = connect(address, Duration::from_secs(5)).unwrap_err().to_string();
        assert!(error.contains("is this a Kafka listener") && error.contains(&address.to_string()), "{error}");
        other.join().unwrap();
    }

    #[test]
    fn a_request_of_many_parts_arrives_whole() {
        let (address, other) = answering(VERSIONS);
        let (mut requests, answers) = connect(address, Duration::from_secs(5)).unwrap();
        let mut heads: Vec<Vec<u8>> = (0..700).map(|_| vec![b'h'; 12]).collect();
        let body = vec![b'b'; 5000];
        requests.send(&mut heads, &body, 7).unwrap();
        drop((requests, answers));
        let read = other.join().unwrap();
        let sent = wire::api_versions().len();
        assert_eq!(read.len(), sent + 700 * 5012);
        assert_eq!(read[sent + 8..sent + 12], [0, 0, 0, 7]);
        assert!(read[sent + 12..].chunks(5012).all(|part| part[..5000].iter().all(|&byte| byte == b'b')));
    }
}
