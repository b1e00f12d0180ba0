//! HTTP POST, signed by the Standard Webhooks specification.

use bytes::Bytes;
use http::Uri;

use crate::{Message, Post, Poster, Reach, Secret, SendError};

/// Sends alerts as webhooks, to addresses that operators set.
pub(crate) struct Webhooks(Poster);

impl Default for Webhooks {
    fn default() -> Self {
        Self(Poster::new(Reach::Anywhere))
    }
}

impl Webhooks {
    /// Sends once.
    pub(crate) async fn send(
        &self,
        to: &Uri,
        secret: &Secret,
        message: &Message,
        now: i64,
    ) -> Result<String, SendError> {
        let body = message.body();
        let signatures = secret.sign(&message.id, now, &body);
        let post = Post { id: message.id.clone(), at: now, signatures, body: Bytes::from(body) };
        let status = self.0.post(to, post).await?;
        match status {
            200..=299 => Ok(format!("answered {status}")),
            // The receiver says that it is gone for good.
            410 => Err(SendError::refused(format!("answered {status}"))),
            _ => Err(SendError::failed(format!("answered {status}"))),
        }
    }
}
