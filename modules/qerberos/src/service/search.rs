//! Reading the trail.

use q_core::{Did, audit::AuditId, hash::hex};
use qerberos_api::{AuditEvent, EventPage, Gap, GapReport, ProducerState, SearchEventsRequest};

use super::{Trail, append::CLOCK_SKEW_MAX};
use crate::{
    domain::{Leaf, Record, Section, commitment::Core, record::Opened},
    error::Error,
    store::{
        self,
        events::{Filter, StoredEvent, severity_number, verdict_number},
    },
};

/// The most rows a page looks at when no index leads to its matches.
pub const SCAN_ROWS_MAX: u64 = 100_000;

impl Trail {
    /// One page of what matches, newest first.
    pub async fn search(&self, request: SearchEventsRequest) -> Result<EventPage, Error> {
        self.search_within(request, SCAN_ROWS_MAX).await
    }

    /// Like [`Trail::search`], looking at no more than `scan_rows_max` rows where no index helps. A page may then be
    /// short, or empty, and still have a next one: no question can keep the store busy for long.
    pub async fn search_within(
        &self,
        request: SearchEventsRequest,
        scan_rows_max: u64,
    ) -> Result<EventPage, Error> {
        let mut filter = self.filter(&request)?;
        let limit = request.limit.rows();
        let (rows, tree_size, floor) = self
            .db
            .read(move |reader| -> Result<_, Error> {
                let tree_size = store::head::get(reader)?.size;
                let below = filter.below.unwrap_or(tree_size).min(tree_size);
                let floor = if filter.is_indexed() { 0 } else { below.saturating_sub(scan_rows_max) };
                filter.at_least = Some(floor);
                // One more than asked for tells whether there is a next page.
                Ok((store::events::search(reader, &filter, limit + 1)?, tree_size, floor))
            })
            .await?;
        let limit = usize::try_from(limit).unwrap_or(usize::MAX);
        let next = if rows.len() > limit { rows[limit - 1].log_index } else { floor };
        let events = rows.iter().take(limit).map(|row| self.readable(row)).collect::<Result<Vec<_>, _>>()?;
        let next_cursor = (next > 0).then(|| next.to_string());
        Ok(EventPage { events, next_cursor, tree_size })
    }

    /// One event.
    pub async fn event(&self, id: AuditId) -> Result<AuditEvent, Error> {
        let row = self.db.read(move |reader| store::events::find(reader, id)).await?;
        self.readable(&row.ok_or(Error::EventNotFound)?)
    }

    /// How complete the trail is.
    pub async fn gaps(&self) -> Result<GapReport, Error> {
        let producers = self.db.read(store::producers::all).await?;
        let rolled_back = self.rolled_back_producers();
        let state = |producer: store::producers::Producer| ProducerState {
            rolled_back_to: rolled_back.get(&producer.name).copied(),
            producer: producer.name,
            expected_seq: producer.head.next_seq,
            seen: producer.seen,
            missing: producer
                .head
                .missing
                .iter()
                .map(|gap| Gap { from: gap.from, to: gap.to, noticed_at: gap.noticed_at })
                .collect(),
            conflicts: producer.conflicts,
            last_received_at: producer.last_received_at,
        };
        Ok(GapReport { producers: producers.into_iter().map(state).collect() })
    }

    fn filter(&self, request: &SearchEventsRequest) -> Result<Filter, Error> {
        let mut filter = Filter { from: request.start_date, until: request.end_date, ..Filter::default() };
        let texts = [("family", &request.family), ("action", &request.action), ("layer", &request.layer)];
        for (column, text) in texts {
            if let Some(text) = text {
                if text.contains('\0') {
                    return Err(Error::Invalid("a filter holds a NUL character".into()));
                }
                filter.equal.push((column, text.into()));
            }
        }
        if let Some(severity) = request.severity {
            filter.equal.push(("severity", severity_number(severity).into()));
        }
        if let Some(verdict) = request.verdict {
            filter.equal.push(("verdict", verdict_number(verdict).into()));
        }
        if let Some(actor) = &request.actor {
            filter.equal.push(("actor_token", self.keys.actor_token(actor.as_str()).into()));
        }
        if let Some(reference) = &request.reference {
            filter.equal.push(("reference_token", self.keys.reference_token(reference).into()));
        }
        if let Some(cursor) = &request.cursor {
            let below: u32 = cursor.len().try_into().unwrap_or(u32::MAX);
            let place =
                cursor.parse::<u64>().ok().filter(|place| below <= 19 && i64::try_from(*place).is_ok());
            filter.below =
                Some(place.ok_or_else(|| Error::Invalid("cursor is not a nextCursor of this list".into()))?);
        }
        Ok(filter)
    }

    /// The event a row holds, as far as it may still be known.
    fn readable(&self, row: &StoredEvent) -> Result<AuditEvent, Error> {
        let opened = Record::decode(&row.record)?.open(row.id, &self.sealer)?;
        Ok(readable(row, &opened))
    }
}

/// Whether `did` took part in the event.
pub fn concerns(event: &AuditEvent, did: &Did) -> bool {
    event.actor.iter().chain(&event.targets).any(|subject| subject.squid_id == *did)
}

/// The leaf of a stored event.
pub fn leaf(row: &StoredEvent) -> Leaf<'_> {
    Leaf { commitment: row.commitment, producer: &row.producer, seq: row.seq, happened_at: row.happened_at }
}

fn readable(row: &StoredEvent, opened: &[Opened]) -> AuditEvent {
    let mut event = AuditEvent {
        id: row.id,
        producer: row.producer.clone(),
        seq: row.seq,
        timestamp: row.happened_at,
        received_at: row.received_at,
        is_clock_skewed: row.received_at.since(row.happened_at).as_micros().abs()
            > CLOCK_SKEW_MAX.as_micros(),
        family: row.terms.family.clone(),
        action: row.terms.action.clone(),
        severity: row.terms.severity,
        layer: row.terms.layer.clone(),
        verdict: row.terms.verdict,
        reference: None,
        actor: None,
        targets: Vec::new(),
        network: None,
        details: qerberos_api::Details::default(),
        cid: None,
        log_index: row.log_index,
        leaf_hash: hex(&leaf(row).hash()),
    };
    for section in opened.iter().filter_map(Opened::section) {
        match section {
            Section::Core(core) => {
                let Core { reference, details, cid, .. } = *core;
                (event.reference, event.details, event.cid) = (reference, details, cid);
            }
            Section::Actor(actor) => event.actor = Some(actor),
            Section::Target(target) => event.targets.push(target),
            Section::Network(network) => event.network = Some(network),
        }
    }
    event
}
