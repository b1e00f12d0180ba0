//! `/log`: the public read paths of a tiled transparency log.

use std::sync::Arc;

use q_contract::{Blob, Text};
use q_http::Context;
use q_tlog::LogResource;
use qerberos_api::{LogCheckpointRequest, LogEntriesRequest, LogPolicyRequest, LogTileRequest};

use super::Desk;
use crate::error::Error;

pub(super) async fn checkpoint(desk: Arc<Desk>, _: Context, _: LogCheckpointRequest) -> Result<Text, Error> {
    desk.trail.checkpoint().await.map(Text)
}

pub(super) async fn policy(desk: Arc<Desk>, _: Context, _: LogPolicyRequest) -> Result<Text, Error> {
    Ok(Text(desk.trail.policy(&desk.log_url)))
}

pub(super) async fn entries(desk: Arc<Desk>, _: Context, request: LogEntriesRequest) -> Result<Blob, Error> {
    resource(&desk, &format!("tile/entries/{}", request.position)).await
}

pub(super) async fn tile(desk: Arc<Desk>, _: Context, request: LogTileRequest) -> Result<Blob, Error> {
    resource(&desk, &format!("tile/{}/{}", request.level, request.position)).await
}

async fn resource(desk: &Desk, path: &str) -> Result<Blob, Error> {
    let resource: LogResource = path.parse().map_err(|_| Error::ResourceNotFound)?;
    desk.trail.resource(resource).await.map(Blob)
}
