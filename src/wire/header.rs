//! Request headers: who asks what, in which version, and where the body starts. Response headers are written by
//! [`super::ResponseParts`].
//!
//! Header v1 carries an optional client id, v2 tagged fields after it; which one depends on API and version. The client
//! id keeps its two-byte length in v2. An ApiVersions request of an unknown version is not an error: its header is read
//! (v2 from version 3 on), its body never is, and it is answered in version 0 layout (KIP-511).

use bytes::Bytes;
use kafka_protocol::protocol::StrBytes;

use super::WireError;
use super::reader::Reader;
use super::versions::{self, key};

/// The header of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestHead {
    pub api_key: i16,
    pub api_version: i16,
    pub correlation_id: i32,
    /// What the client calls itself; null is legal, and it is not unique.
    pub client_id: Option<StrBytes>,
}

impl RequestHead {
    /// An ApiVersions request of a version that is not served: answer it with
    /// [`versions::unsupported_api_versions_response`] and do not look at its body.
    pub fn is_unsupported_api_versions(&self) -> bool {
        self.api_key == key::API_VERSIONS && versions::served(self.api_key, self.api_version).is_err()
    }
}

/// Reads the header of a frame and returns the body as a slice of it.
///
/// Any error means: close the connection. That includes an unknown API and an unsupported version of any API but
/// ApiVersions, as in Kafka.
pub fn parse_request(frame: &Bytes) -> Result<(RequestHead, Bytes), WireError> {
    let mut prefix = Reader::new(frame, false);
    let api_key = prefix.i16()?;
    let api_version = prefix.i16()?;
    let correlation_id = prefix.i32()?;
    let api = versions::find(api_key).ok_or(WireError::UnknownApi(api_key))?;
    if api_key != key::API_VERSIONS {
        versions::served(api_key, api_version)?;
    }
    let client_id = read_client_id(&mut prefix)?;
    let rest = prefix.rest();
    let mut tail = Reader::new(&rest, api.is_flexible(api_version));
    tail.skip_tags()?;
    Ok((RequestHead { api_key, api_version, correlation_id, client_id }, tail.rest()))
}

/// The client id. Bytes that are not UTF-8 are replaced as Java does it, since the name is only ever shown.
fn read_client_id(reader: &mut Reader<'_>) -> Result<Option<StrBytes>, WireError> {
    let length = match reader.i16()? {
        -1 => return Ok(None),
        length => usize::try_from(length).map_err(|_| WireError::NegativeLength(length.into()))?,
    };
    let bytes = reader.slice(length)?;
    let name = StrBytes::from_utf8(bytes.clone())
        .unwrap_or_else(|_| StrBytes::from_string(String::from_utf8_lossy(&bytes).into_owned()));
    Ok(Some(name))
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::{BufMut, BytesMut};
    use kafka_protocol::messages::RequestHeader;
    use kafka_protocol::protocol::Encodable;

    fn framed(api_key: i16, version: i16, client_id: Option<&'static str>, header_version: i16) -> Bytes {
        let mut header = RequestHeader::default()
            .with_request_api_key(api_key)
            .with_request_api_version(version)
            .with_correlation_id(99)
            .with_client_id(client_id.map(StrBytes::from_static_str));
        if header_version >= 2 {
            // A newer client's tag must not matter.
            header = header.with_unknown_tagged_field(3, Bytes::from_static(b"tag"));
        }
        let mut frame = BytesMut::new();
        header.encode(&mut frame, header_version).expect("encodes");
        frame.put_slice(b"BODY");
        frame.freeze()
    }

    #[test]
    fn headers_of_every_served_version_are_read_and_the_body_starts_behind_them() {
        for api in versions::APIS {
            for version in api.min..=api.max {
                let header_version = if api.is_flexible(version) { 2 } else { 1 };
                for client_id in [None, Some(""), Some("client")] {
                    let frame = framed(api.key, version, client_id, header_version);
                    let (head, body) = parse_request(&frame).expect("parses");
                    assert_eq!((head.api_key, head.api_version, head.correlation_id), (api.key, version, 99));
                    assert_eq!(head.client_id.as_deref(), client_id);
                    assert!(!head.is_unsupported_api_versions());
                    assert_eq!(body, "BODY");
                    assert!(frame.as_ptr_range().contains(&body.as_ptr()), "not copied");
                }
            }
        }
    }

    #[test]
    fn an_unknown_version_of_api_versions_is_read_without_its_body() {
        for (version, header_version) in [(5, 2), (99, 2), (i16::MAX, 2), (-1, 1)] {
            let (head, _) = parse_request(&framed(18, version, Some("c"), header_version)).expect("parses");
            assert!(head.is_unsupported_api_versions());
            assert_eq!((head.correlation_id, head.client_id.as_deref()), (99, Some("c")));
        }
    }

    #[test]
    fn any_other_unknown_api_or_version_is_an_error() {
        assert_eq!(parse_request(&framed(999, 0, None, 1)), Err(WireError::UnknownApi(999)));
        assert_eq!(parse_request(&framed(-1, 0, None, 1)), Err(WireError::UnknownApi(-1)));
        let unsupported = |api_key, version| Err(WireError::UnsupportedVersion { api_key, version });
        assert_eq!(parse_request(&framed(3, 14, None, 2)), unsupported(3, 14));
        assert_eq!(parse_request(&framed(0, 2, None, 1)), unsupported(0, 2), "advertised, not served");
        assert_eq!(parse_request(&framed(22, 6, None, 2)), unsupported(22, 6), "unstable");
    }

    #[test]
    fn truncated_headers_and_bad_lengths_are_refused() {
        let frame = framed(3, 9, Some("client"), 2);
        let header_len = frame.len() - 4;
        for length in 0..header_len {
            assert!(parse_request(&frame.slice(..length)).is_err(), "{length} bytes");
        }
        let negative = Bytes::from_static(b"\x00\x03\x00\x01\x00\x00\x00\x01\xff\xfe");
        assert_eq!(parse_request(&negative), Err(WireError::NegativeLength(-2)));
    }

    #[test]
    fn a_client_id_that_is_not_utf8_is_shown_with_replacements() {
        let frame = Bytes::from_static(b"\x00\x03\x00\x01\x00\x00\x00\x01\x00\x02\xffaBODY");
        let (head, body) = parse_request(&frame).expect("tolerated");
        assert_eq!((head.client_id.as_deref(), &body[..]), (Some("\u{fffd}a"), &b"BODY"[..]));
    }
}
