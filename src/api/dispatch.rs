//! Which file handles which API. The versions that are served are `wire::versions`; a request outside of them never gets here.

use bytes::Bytes;

use crate::wire::header::{RequestHead, parse_request};
use crate::wire::versions::key;

use super::{Ctx, Handled};

/// Reads the header of a frame. The error is what to log before hanging up.
pub fn open(frame: Bytes) -> Result<(RequestHead, Bytes), String> {
    parse_request(&frame).map_err(|error| error.to_string())
}

pub fn handle(ctx: &mut Ctx<'_>, body: Bytes) -> Handled {
    match ctx.head.api_key {
        key::PRODUCE => super::produce::handle(ctx, body),
        key::FETCH => super::fetch::handle(ctx, body),
        key::METADATA => super::metadata::handle(ctx, body),
        key::API_VERSIONS => super::api_versions::handle(ctx, body),
        other => Handled::Close(format!("API {other} has no handler")),
    }
}
