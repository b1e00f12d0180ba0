//! `resources/list`, `resources/templates/list`, `resources/read`.

use http::request::Parts;
use q_core::Caller;
use serde_json::{Value, json};

use super::{INVALID_PARAMS, Offered, ask, failure, success};
use crate::{Resource, mounted::Mounted};

/// The protocol's own number for a resource that is not there.
const NOT_FOUND: i32 = -32_002;
/// JSON-RPC 2.0 section 5.1: the request was understood and could not be carried out.
const REFUSED: i32 = -32_603;
const JSON: &str = "application/json";

pub(super) fn list(resources: &[Resource]) -> Value {
    let listed = resources.iter().filter(|resource| !resource.is_template()).map(|resource| {
        json!({"uri": resource.uri, "name": resource.name, "description": resource.about, "mimeType": JSON})
    });
    json!({"resources": listed.collect::<Vec<_>>()})
}

pub(super) fn templates(resources: &[Resource]) -> Value {
    let listed = resources.iter().filter(|resource| resource.is_template()).map(|resource| {
        json!({
            "uriTemplate": resource.uri, "name": resource.name, "description": resource.about, "mimeType": JSON,
        })
    });
    json!({"resourceTemplates": listed.collect::<Vec<_>>()})
}

pub(super) async fn read(
    mounted: &Mounted,
    offered: &Offered,
    head: &Parts,
    caller: Caller,
    id: &Value,
    parameters: &Value,
) -> Value {
    let Some(uri) = parameters.get("uri").and_then(Value::as_str) else {
        return failure(id, INVALID_PARAMS, "a resource is named by its uri");
    };
    match contents(mounted, offered, head, caller, uri).await {
        Ok(contents) => success(id, &json!({"contents": [contents]})),
        Err(error) => json!({"jsonrpc": "2.0", "id": id, "error": error}),
    }
}

/// What a resource holds for this caller, or the error to answer.
pub(super) async fn contents(
    mounted: &Mounted,
    offered: &Offered,
    head: &Parts,
    caller: Caller,
    uri: &str,
) -> Result<Value, Value> {
    let found = mounted.api.resources.iter().find_map(|resource| Some((resource, resource.fields(uri)?)));
    let endpoint = found.as_ref().and_then(|(resource, _)| offered.endpoint(resource.operation));
    let (Some((resource, filled)), Some(endpoint)) = (found, endpoint) else {
        return Err(
            json!({"code": NOT_FOUND, "message": format!("no resource {uri}"), "data": {"uri": uri}}),
        );
    };
    let mut fields = json!(filled);
    if let (Some(field), Some(did)) = (resource.reader_as, caller.did()) {
        fields[field] = json!(did);
    }
    match ask(mounted, endpoint, head, caller, fields).await {
        Ok(answer) => {
            let text = String::from_utf8_lossy(&answer.body).into_owned();
            Ok(json!({"uri": uri, "mimeType": answer.content_type, "text": text}))
        }
        Err(problem) => {
            let code = if problem.status == 404 { NOT_FOUND } else { REFUSED };
            Err(json!({"code": code, "message": problem.to_string(), "data": problem}))
        }
    }
}
