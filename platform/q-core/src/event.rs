//! What one module tells the others: CloudEvents 1.0, written to the outbox in the commit that caused them.

use serde::{Deserialize, Serialize, de::DeserializeOwned};

use crate::Timestamp;

crate::typed_id!(
    /// The CloudEvents `id`: what a reaction notes in its inbox so that a second delivery changes nothing.
    EventId,
    "evt_"
);

/// The `data` of one kind of event, declared in the producer's `-api` crate.
pub trait EventPayload: Serialize + DeserializeOwned + Send + 'static {
    /// `q.<module>.<noun>.<happened>.v1`.
    const TOPIC: &'static str;

    /// What the event is about; events of one subject are delivered in order.
    fn subject(&self) -> String;
}

/// An event as it is stored, delivered and sent.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Event {
    /// Unique per event.
    pub id: EventId,
    /// The producing module.
    pub source: String,
    /// The topic (CloudEvents `type`).
    #[serde(rename = "type")]
    pub topic: String,
    /// What it is about.
    pub subject: String,
    /// When it happened, by the producer's clock.
    pub time: Timestamp,
    /// The payload.
    pub data: serde_json::Value,
}

impl Event {
    /// Reads the payload, if the event is of `P`'s topic and shape.
    pub fn payload<P: EventPayload>(&self) -> Option<P> {
        if self.topic == P::TOPIC { P::deserialize(&self.data).ok() } else { None }
    }
}
