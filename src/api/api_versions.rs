//! 18 ApiVersions: what this node serves, from the table in `wire::versions`.

use bytes::Bytes;

use crate::wire::messages::ApiVersionsRequest;
use crate::wire::messages::api_versions_response::{FinalizedFeatureKey, SupportedFeatureKey};
use crate::wire::{ErrorCode, StrBytes, cold, versions};

use super::{Ctx, Handled, respond};

/// Features whose levels clients may know: those this version acts on.
const FEATURES: [(&str, i16, i16); 1] = [("metadata.version", 7, 30)];

pub fn handle(ctx: &mut Ctx<'_>, body: Bytes) -> Handled {
    if ctx.head.is_unsupported_api_versions() {
        return Handled::Answer(vec![versions::unsupported_api_versions_response(ctx.head.correlation_id).into()]);
    }
    let request: ApiVersionsRequest = match cold::decode_request(ctx.head.api_key, ctx.head.api_version, body) {
        Ok(request) => request,
        Err(error) => return Handled::Close(format!("ApiVersions: {error}")),
    };
    let mut response = versions::api_versions_response();
    if ctx.head.api_version >= 3
        && !(is_software_word(&request.client_software_name) && is_software_word(&request.client_software_version))
    {
        response.api_keys.clear();
        response.error_code = ErrorCode::InvalidRequest.code();
        return respond(ctx, &response);
    }
    for (name, min, max) in FEATURES {
        response.supported_features.push(
            SupportedFeatureKey::default()
                .with_name(StrBytes::from_static_str(name))
                .with_min_version(min)
                .with_max_version(max),
        );
        let level = ctx.shard.image.feature(name);
        if level > 0 {
            response.finalized_features.push(
                FinalizedFeatureKey::default()
                    .with_name(StrBytes::from_static_str(name))
                    .with_min_version_level(level)
                    .with_max_version_level(level),
            );
        }
    }
    response.finalized_features_epoch = ctx.shard.applied_end - 1;
    respond(ctx, &response)
}

/// `[a-zA-Z0-9](?:[a-zA-Z0-9\-.]*[a-zA-Z0-9])?` (KIP-511).
fn is_software_word(word: &str) -> bool {
    let bytes = word.as_bytes();
    let ends = |b: Option<&u8>| b.is_some_and(u8::is_ascii_alphanumeric);
    ends(bytes.first())
        && ends(bytes.last())
        && bytes.iter().all(|b| b.is_ascii_alphanumeric() || *b == b'-' || *b == b'.')
}

#[cfg(test)]
mod tests {
    use super::is_software_word;

    #[test]
    fn a_software_name_starts_and_ends_with_a_letter_or_digit() {
        for good in ["a", "apache-kafka-java", "4.2.0", "librdkafka"] {
            assert!(is_software_word(good), "{good}");
        }
        for bad in ["", "-a", "a.", "a b", "a_b", "ä"] {
            assert!(!is_software_word(bad), "{bad}");
        }
    }
}
