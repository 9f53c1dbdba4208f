//! One request of the protocol to one broker, by hand: for what the client library cannot ask.

use std::io::{self, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};
use kafka_protocol::messages::{RequestHeader, ResponseHeader};
use kafka_protocol::protocol::{Decodable, Encodable, HeaderVersion, Request, StrBytes};

/// An answer larger than this is no answer to what is asked here, bytes.
const ANSWER_BYTES_MAX: usize = 64 << 20;

/// Connects, asks, reads the answer. Each step may take `limit`.
///
/// # Errors
/// What went wrong, without the broker's name.
pub fn ask<R: Request>(
    (host, port): (&str, u16),
    request: &R,
    version: i16,
    limit: Duration,
) -> Result<R::Response, String> {
    let frame = encode(request, version).map_err(|error| format!("the request: {error}"))?;
    let body = exchange((host, port), &frame, limit).map_err(|error| match error.kind() {
        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => "the broker does not answer".to_owned(),
        io::ErrorKind::UnexpectedEof => "the broker closed the connection".to_owned(),
        _ => error.to_string(),
    })?;
    decode::<R>(body, version).map_err(|error| format!("the answer cannot be read: {error}"))
}

fn encode<R: Request>(request: &R, version: i16) -> Result<Bytes, String> {
    let header = RequestHeader::default()
        .with_request_api_key(R::KEY)
        .with_request_api_version(version)
        .with_correlation_id(1)
        .with_client_id(Some(StrBytes::from_static_str("kataract-cli")));
    let mut bytes = BytesMut::new();
    bytes.put_u32(0);
    header.encode(&mut bytes, R::header_version(version)).map_err(|error| error.to_string())?;
    request.encode(&mut bytes, version).map_err(|error| error.to_string())?;
    let len = u32::try_from(bytes.len() - 4).map_err(|error| error.to_string())?;
    bytes[..4].copy_from_slice(&len.to_be_bytes());
    Ok(bytes.freeze())
}

fn exchange((host, port): (&str, u16), frame: &[u8], limit: Duration) -> io::Result<Bytes> {
    let mut last = io::Error::new(io::ErrorKind::NotFound, format!("{host} has no address"));
    for address in (host, port).to_socket_addrs()? {
        match TcpStream::connect_timeout(&address, limit) {
            Ok(mut stream) => {
                stream.set_read_timeout(Some(limit))?;
                stream.set_write_timeout(Some(limit))?;
                stream.write_all(frame)?;
                return receive(&mut stream);
            }
            Err(error) => last = error,
        }
    }
    Err(last)
}

fn receive(stream: &mut impl Read) -> io::Result<Bytes> {
    let mut len = [0; 4];
    stream.read_exact(&mut len)?;
    let len = u32::from_be_bytes(len) as usize;
    if len > ANSWER_BYTES_MAX {
        return Err(io::Error::other(format!("an answer of {len} bytes: is this a Kafka listener without TLS?")));
    }
    let mut body = vec![0; len];
    stream.read_exact(&mut body)?;
    Ok(body.into())
}

fn decode<R: Request>(mut body: Bytes, version: i16) -> Result<R::Response, String> {
    let header = ResponseHeader::decode(&mut body, R::Response::header_version(version));
    header.map_err(|error| error.to_string())?;
    R::Response::decode(&mut body, version).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use kafka_protocol::messages::{ApiVersionsRequest, IncrementalAlterConfigsRequest};

    use super::*;

    /// Asks a listener that answers with these bytes.
    fn asked<R: Request>(answer: &'static [u8], request: &R) -> Result<R::Response, String> {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let other = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut len = [0; 4];
            stream.read_exact(&mut len).unwrap();
            let mut frame = vec![0; u32::from_be_bytes(len) as usize];
            stream.read_exact(&mut frame).unwrap();
            stream.write_all(answer).unwrap();
            frame
        });
        let result = ask(("127.0.0.1", port), request, 0, Duration::from_secs(10));
        let frame = other.join().unwrap();
        assert_eq!(frame[..2], R::KEY.to_be_bytes());
        result
    }

    #[test]
    fn an_answer_is_read_and_what_is_none_is_told() {
        // Correlation 1, throttle 0, one resource: error 40, message "no", type 4, name "1".
        let answer = b"\0\0\0\x16\0\0\0\x01\0\0\0\0\0\0\0\x01\0\x28\0\x02no\x04\0\x011";
        let response = asked(answer, &IncrementalAlterConfigsRequest::default()).unwrap();
        assert_eq!((response.responses.len(), response.responses[0].error_code), (1, 40));
        assert_eq!(response.responses[0].error_message.as_deref(), Some("no"));
        let closed = asked(b"\0\0\0\x17\0", &ApiVersionsRequest::default()).unwrap_err();
        assert_eq!(closed, "the broker closed the connection");
        let strange = asked(b"HTTP/1.1 400", &ApiVersionsRequest::default()).unwrap_err();
        assert!(strange.contains("is this a Kafka listener"), "{strange}");
        let short = asked(b"\0\0\0\x05\0\0\0\x01\0", &ApiVersionsRequest::default()).unwrap_err();
        assert!(short.starts_with("the answer cannot be read"), "{short}");
    }
}
