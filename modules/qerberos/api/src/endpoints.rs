//! The endpoints.

use q_contract::{Access, Blob, Text, codes::FORBIDDEN, endpoint};

use crate::{
    errors::{
        DUPLICATE_CONFLICT, EVENT_NOT_FOUND, INVALID_EVENT, NOT_YET_INCLUDED, PRODUCER_MISMATCH,
        RESOURCE_NOT_FOUND,
    },
    types::{
        AuditEvent, EventPage, GapReport, GapsRequest, GetEventRequest, GetProofRequest,
        LogCheckpointRequest, LogEntriesRequest, LogPolicyRequest, LogTileRequest, Proof, RecordBatchRequest,
        RecordEventRequest, RecordedBatch, RecordedEvent, SearchEventsRequest,
    },
};

endpoint! {
    /// Records an event in the audit trail.
    ///
    /// The id is made by the caller and is the idempotency key: the same event again is answered like the first
    /// time, another event under the same id is refused. Answered after the event is on disk and has its place in
    /// the log; with `ack: included`, after a signed checkpoint covers it, with the proof.
    pub RecordEvent = POST "/audit" (RecordEventRequest) -> RecordedEvent;
    status 201;
    access Access::Identity("audit:write");
    errors [FORBIDDEN, PRODUCER_MISMATCH, INVALID_EVENT, DUPLICATE_CONFLICT];
    tool "qerberos.audit";
    body_max 256 << 10;
    idempotent true;
    example {
        "id": "aud_0193a0c0de007000800000000000002a", "type": "configuration", "subtype": "mail.relay.changed",
        "layer": "qmail", "verdict": "ALLOW", "ref": "relay:primary"
    };
}

endpoint! {
    /// Records up to 5,000 events, one JSON object per line; each line has its own result.
    pub RecordBatch = POST "/audit/batch" (RecordBatchRequest) -> RecordedBatch;
    access Access::Identity("audit:write");
    errors [FORBIDDEN, INVALID_EVENT];
    consumes "application/x-ndjson" document;
    body_max 8 << 20;
    idempotent true;
}

endpoint! {
    /// Searches the audit trail, newest first.
    ///
    /// Operators see every event; anybody sees the events in which they acted, by naming themselves as `actor`.
    /// A page may hold fewer events than asked for, even none, and still have a `nextCursor`: filters other than
    /// `actor` and `ref` look at 100,000 events at a time. What operators read is recorded in turn.
    pub SearchEvents = GET "/audit" (SearchEventsRequest) -> EventPage;
    access Access::Identity("audit:read");
    errors [FORBIDDEN];
    tool "qerberos.search";
}

endpoint! {
    /// Tells which events of which producer are missing from the trail.
    pub GetGaps = GET "/audit/gaps" (GapsRequest) -> GapReport;
    access Access::Identity("audit:read");
    errors [FORBIDDEN];
}

endpoint! {
    /// Reads one event.
    pub GetEvent = GET "/audit/{id}" (GetEventRequest) -> AuditEvent;
    access Access::Identity("audit:read");
    errors [EVENT_NOT_FOUND];
}

endpoint! {
    /// Proves that an event is in the log, and opens its commitment so that anybody can check its content.
    pub GetProof = GET "/audit/{id}/proof" (GetProofRequest) -> Proof;
    access Access::Identity("audit:read");
    errors [EVENT_NOT_FOUND, NOT_YET_INCLUDED];
    tool "qerberos.prove";
}

endpoint! {
    /// The proof as a c2sp.org/tlog-proof file, which holds no content of the event.
    pub GetProofFile = GET "/audit/{id}/tlog-proof" (GetProofRequest) -> Text;
    access Access::Identity("audit:read");
    errors [EVENT_NOT_FOUND, NOT_YET_INCLUDED];
}

endpoint! {
    /// The newest signed tree head (c2sp.org/tlog-checkpoint).
    pub GetCheckpoint = GET "/log/checkpoint" (LogCheckpointRequest) -> Text;
    access Access::Public("whoever holds a checkpoint can prove that the trail was not rewritten; it holds no personal data");
    errors [RESOURCE_NOT_FOUND];
}

endpoint! {
    /// The keys that sign the log and the witnesses asked for (c2sp.org/tlog-policy).
    pub GetPolicy = GET "/log/policy" (LogPolicyRequest) -> Text;
    access Access::Public("a verifier needs the log's public key");
}

endpoint! {
    /// Log entries, each after its length (c2sp.org/tlog-tiles): salted commitments, no personal data.
    pub GetLogEntries = GET "/log/tile/entries/{*position}" (LogEntriesRequest) -> Blob;
    access Access::Public("monitors follow the log; entries are salted commitments");
    errors [RESOURCE_NOT_FOUND];
}

endpoint! {
    /// Hashes of the Merkle tree (c2sp.org/tlog-tiles).
    pub GetLogTile = GET "/log/tile/{level}/{*position}" (LogTileRequest) -> Blob;
    access Access::Public("verifiers compute their own proofs from the tiles");
    errors [RESOURCE_NOT_FOUND];
}
