//! `/audit`: record, search, read, prove.

use std::{sync::Arc, time::Duration};

use q_contract::{Problem, Text};
use q_core::{Caller, audit::AuditId, hash::hex};
use q_http::Context;
use qerberos_api::{
    Ack, AuditEvent, EventPage, GapReport, GapsRequest, GetEventRequest, GetProofRequest, LineResult, Proof,
    RecordBatchRequest, RecordEventRequest, RecordedBatch, RecordedEvent, SearchEventsRequest, errors,
};

use super::Desk;
use crate::{
    error::Error,
    service::{Recorded, search::concerns},
};

/// How long `ack: included` waits for a checkpoint.
const INCLUSION_PATIENCE: Duration = Duration::from_millis(1_500);
/// The most lines of a batch.
const BATCH_LINES_MAX: usize = 5_000;
/// The longest line of a batch, in bytes.
const LINE_BYTES_MAX: usize = 256 << 10;

pub(super) async fn record(
    desk: Arc<Desk>,
    context: Context,
    request: RecordEventRequest,
) -> Result<RecordedEvent, Error> {
    may_record(&desk, &context.caller, &request)?;
    let (id, ack) = (request.id, request.ack);
    let recorded = desk.trail.record(vec![request]).await?.pop().ok_or(Error::EventNotFound)??;
    let mut answer = answer(id, recorded);
    if ack == Ack::Included && desk.trail.covered(recorded.log_index, INCLUSION_PATIENCE).await {
        answer.proof = Some(desk.trail.prove(id, None).await?);
    }
    Ok(answer)
}

pub(super) async fn record_batch(
    desk: Arc<Desk>,
    context: Context,
    request: RecordBatchRequest,
) -> Result<RecordedBatch, Error> {
    if !desk.is_trusted(&context.caller) {
        return Err(Error::Forbidden);
    }
    let lines: Vec<(usize, &str)> =
        (1..).zip(request.document.lines()).filter(|(_, line)| !line.trim().is_empty()).collect();
    if lines.len() > BATCH_LINES_MAX {
        return Err(Error::Invalid(format!("a batch has at most {BATCH_LINES_MAX} lines")));
    }
    let mut results = Vec::with_capacity(lines.len());
    let (mut events, mut waiting) = (Vec::new(), Vec::new());
    for (number, line) in lines {
        let read = read_line(line).and_then(|event| match may_record(&desk, &context.caller, &event) {
            Ok(()) => Ok(event),
            Err(error) => Err(Box::new(error.into())),
        });
        let mut result = LineResult { line: number, status: 201, recorded: None, code: None, detail: None };
        match read {
            Err(problem) => refuse(&mut result, *problem),
            Ok(event) => {
                waiting.push((results.len(), event.id));
                events.push(event);
            }
        }
        results.push(result);
    }
    let outcomes = desk.trail.record(events).await?;
    for ((place, id), outcome) in waiting.into_iter().zip(outcomes) {
        match outcome {
            Ok(recorded) => results[place].recorded = Some(answer(id, recorded)),
            Err(error) => refuse(&mut results[place], error.into()),
        }
    }
    Ok(RecordedBatch { results })
}

pub(super) async fn search(
    desk: Arc<Desk>,
    context: Context,
    request: SearchEventsRequest,
) -> Result<EventPage, Error> {
    let is_own = request.actor.is_some() && request.actor.as_ref() == context.caller.did();
    if !is_own {
        if !desk.is_trusted(&context.caller) {
            return Err(Error::Forbidden);
        }
        let asked = SearchEventsRequest { actor: None, ..request.clone() };
        let asked = serde_json::to_value(asked).unwrap_or_default();
        let target = request.actor.as_ref().map_or_else(|| "trail".to_owned(), ToString::to_string);
        desk.looked(&context.caller, "audit.search", target, asked).await;
    }
    desk.trail.search(request).await
}

pub(super) async fn gaps(desk: Arc<Desk>, context: Context, _: GapsRequest) -> Result<GapReport, Error> {
    if desk.is_trusted(&context.caller) { desk.trail.gaps().await } else { Err(Error::Forbidden) }
}

pub(super) async fn event(
    desk: Arc<Desk>,
    context: Context,
    request: GetEventRequest,
) -> Result<AuditEvent, Error> {
    read(&desk, &context, request.id, "audit.read").await
}

pub(super) async fn proof(
    desk: Arc<Desk>,
    context: Context,
    request: GetProofRequest,
) -> Result<Proof, Error> {
    read(&desk, &context, request.id, "audit.prove").await?;
    desk.trail.prove(request.id, request.size).await
}

pub(super) async fn proof_file(
    desk: Arc<Desk>,
    context: Context,
    request: GetProofRequest,
) -> Result<Text, Error> {
    read(&desk, &context, request.id, "audit.prove").await?;
    desk.trail.prove_file(request.id, request.size).await.map(Text)
}

/// One event, if the caller may read it: operators and modules all, people those they took part in.
async fn read(
    desk: &Desk,
    context: &Context,
    id: AuditId,
    action: &'static str,
) -> Result<AuditEvent, Error> {
    let event = desk.trail.event(id).await?;
    if context.caller.did().is_some_and(|did| concerns(&event, did)) {
        return Ok(event);
    }
    if !desk.is_trusted(&context.caller) {
        return Err(Error::EventNotFound);
    }
    desk.looked(&context.caller, action, id.to_string(), serde_json::Value::Null).await;
    Ok(event)
}

/// Operators and modules record; a module speaks for itself only.
fn may_record(desk: &Desk, caller: &Caller, event: &RecordEventRequest) -> Result<(), Error> {
    match caller {
        Caller::Service(_, module) if *module == event.layer => Ok(()),
        Caller::Service(..) => Err(Error::ProducerMismatch),
        Caller::Identity(_) if (desk.is_operator)(caller) => Ok(()),
        Caller::Identity(_) | Caller::Anonymous => Err(Error::Forbidden),
    }
}

fn answer(id: AuditId, recorded: Recorded) -> RecordedEvent {
    let Recorded { log_index, leaf_hash, received_at } = recorded;
    RecordedEvent { id, timestamp: received_at, log_index, leaf_hash: hex(&leaf_hash), proof: None }
}

fn read_line(line: &str) -> Result<RecordEventRequest, Box<Problem>> {
    let refused = |detail: &str| Box::new(Problem::new(&errors::INVALID_EVENT).detail(detail));
    if line.len() > LINE_BYTES_MAX {
        return Err(refused("the line is longer than 256 KiB"));
    }
    serde_json::from_str(line).map_err(|error| {
        let message = error.to_string();
        refused(message.strip_prefix("INVALID_EVENT: ").unwrap_or(&message))
    })
}

fn refuse(result: &mut LineResult, problem: Problem) {
    result.status = problem.status;
    result.code = Some(problem.code);
    result.detail = Some(problem.detail.unwrap_or(problem.title));
}
