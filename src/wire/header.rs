//! Request headers: who asks what, in which version, and where the body starts. Response headers are written by
//! [`super::ResponseParts`].
//!
//! Header v1 carries an optional client id, v2 tagged fields after it; which one depends on API and version. The client id
//! keeps its two-byte length in v2. An ApiVersions request of an unknown version is not an error: its header is read (v2
//! from version 3 on), its body never is, and it is answered in version 0 layout (KIP-511).

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
