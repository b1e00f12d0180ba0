//! The coverage walk: every declared endpoint, tried the ways an author forgets.

use bytes::Bytes;
use q_contract::{Access, CallError, Client, Declaration, Method, codes};
use q_core::{Caller, Did};

use crate::World;

/// What went wrong at one endpoint.
pub type Complaint = String;

/// Tries each endpoint of `module` anonymously, with a broken body and without a key; `stranger` has no rights.
///
/// Returns what should not have happened. An endpoint that cannot be tried is a complaint too.
pub async fn walk(world: &World, module: &str, stranger: &Did) -> Vec<Complaint> {
    let declarations: Vec<Declaration> = world
        .declarations()
        .into_iter()
        .filter(|(name, _)| *name == module)
        .flat_map(|(_, list)| list)
        .collect();
    let mut complaints = Vec::new();
    for declaration in &declarations {
        let place = format!("{module} {} {}", declaration.method.as_str(), declaration.path);
        let anonymous = world.client_as(module, Caller::Anonymous).with_key("walk-anonymous");
        let known = world.client(module, stranger).with_key("walk-stranger");
        complaints.extend(anonymously(declaration, &anonymous, &place).await);
        complaints.extend(without_rights(declaration, &known, &place).await);
        complaints.extend(broken(declaration, &known, &place).await);
        complaints.extend(without_key(declaration, &world.client(module, stranger), &place).await);
    }
    if declarations.is_empty() {
        complaints.push(format!("{module} declares no endpoint"));
    }
    complaints
}

async fn anonymously(declaration: &Declaration, client: &Client, place: &str) -> Option<Complaint> {
    let status = status(client, declaration, "{}").await;
    let is_guarded = matches!(declaration.access, Access::Identity(_) | Access::Service | Access::Operator);
    match status {
        Ok(401) if is_guarded => None,
        Ok(other) if is_guarded => Some(format!("{place}: anonymous caller got {other}, expected 401")),
        Ok(status) if status >= 500 => Some(format!("{place}: anonymous caller got {status}")),
        Ok(_) => None,
        Err(error) => Some(format!("{place}: {error}")),
    }
}

async fn without_rights(declaration: &Declaration, client: &Client, place: &str) -> Option<Complaint> {
    let is_closed = matches!(declaration.access, Access::Service | Access::Operator);
    match status(client, declaration, "{}").await {
        Ok(403) => None,
        Ok(other) if is_closed => Some(format!("{place}: a caller without rights got {other}, expected 403")),
        Ok(status) if status >= 500 => Some(format!("{place}: a caller without rights got {status}")),
        Ok(_) => None,
        Err(error) => Some(format!("{place}: {error}")),
    }
}

async fn broken(declaration: &Declaration, client: &Client, place: &str) -> Option<Complaint> {
    if !declaration.method.has_body() {
        return None;
    }
    for body in ["{", "[]", "{\"noSuchField\":1}", "\u{0}", "{\"a\":1,\"a\":2}"] {
        match status(client, declaration, body).await {
            Ok(400..=499) => {}
            Ok(other) => return Some(format!("{place}: the body {body:?} got {other}, expected a refusal")),
            Err(error) => return Some(format!("{place}: {error}")),
        }
    }
    None
}

async fn without_key(declaration: &Declaration, client: &Client, place: &str) -> Option<Complaint> {
    if !declaration.needs_key() || matches!(declaration.access, Access::Service | Access::Operator) {
        return None;
    }
    let media_type = declaration.media_type();
    let answer = client
        .send(declaration.method.as_str(), &concrete(declaration.path), Bytes::from("{}"), media_type)
        .await;
    let answer = match answer {
        Ok(answer) => answer,
        Err(error) => return Some(format!("{place}: {error}")),
    };
    let text = String::from_utf8_lossy(answer.body()).into_owned();
    let is_asked_for = text.contains(codes::IDEMPOTENCY_KEY_REQUIRED.code);
    (!is_asked_for).then(|| format!("{place}: a write without key got {}: {text}", answer.status()))
}

async fn status(client: &Client, declaration: &Declaration, body: &str) -> Result<u16, CallError> {
    let body = if declaration.method == Method::GET { Bytes::new() } else { Bytes::from(body.to_owned()) };
    let media_type = declaration.media_type();
    let answer =
        client.send(declaration.method.as_str(), &concrete(declaration.path), body, media_type).await?;
    Ok(answer.status().as_u16())
}

/// The path with every parameter replaced by something that does not exist.
fn concrete(path: &str) -> String {
    let mut concrete = String::new();
    for (at, part) in path.split(['{', '}']).enumerate() {
        concrete.push_str(if at % 2 == 1 { "no-such-thing" } else { part });
    }
    concrete
}
