//! Request bodies in memory: each within its own bound, all together within what the process can afford.

use std::sync::atomic::{AtomicUsize, Ordering};

use axum::body::Body;
use bytes::Bytes;
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use q_contract::{Problem, codes};

/// The most bytes of request bodies that a process keeps at one time. Decoded they are several times as large, and a
/// process has to live in a gibibyte; a thousand of the largest payouts at once have to wait.
pub(crate) const BODIES_BYTES_MAX: usize = 128 << 20;

/// The memory of a process is one, however many modules share it.
static KEPT: Budget = Budget { kept: AtomicUsize::new(0), most: BODIES_BYTES_MAX };

/// How much is kept, and may be.
struct Budget {
    kept: AtomicUsize,
    most: usize,
}

/// A part of the budget, given back when dropped.
struct Share {
    budget: &'static Budget,
    bytes: usize,
}

impl Share {
    /// Takes `bytes` more; never waits, since bodies that wait for each other's room would wait for ever.
    fn grow(&mut self, bytes: usize) -> Result<(), Problem> {
        let before = self.budget.kept.fetch_add(bytes, Ordering::Relaxed);
        self.bytes += bytes;
        if before + bytes <= self.budget.most {
            return Ok(());
        }
        Err(Problem::new(&codes::OVERLOADED)
            .detail("more request bodies are on their way than fit into memory")
            .with("retryAfter", 1))
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.budget.kept.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

/// A body and its share, let go of together.
struct Kept {
    bytes: Bytes,
    _share: Share,
}

impl AsRef<[u8]> for Kept {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

/// The whole body, of at most `bound` bytes; its share of the memory is free when the last copy of it is dropped.
pub(crate) async fn collect(body: Body, bound: usize) -> Result<Bytes, Problem> {
    collect_within(&KEPT, body, bound).await
}

async fn collect_within(budget: &'static Budget, body: Body, bound: usize) -> Result<Bytes, Problem> {
    let mut share = Share { budget, bytes: 0 };
    let mut body = Limited::new(body, bound);
    let (mut first, mut rest) = (Bytes::new(), Vec::new());
    while let Some(frame) = body.frame().await {
        let Ok(piece) = frame.map_err(|error| broken(&*error, bound))?.into_data() else { continue };
        share.grow(piece.len())?;
        if first.is_empty() && rest.is_empty() {
            first = piece;
        } else {
            if rest.is_empty() {
                rest.extend_from_slice(&first);
            }
            rest.extend_from_slice(&piece);
        }
    }
    let bytes = if rest.is_empty() { first } else { rest.into() };
    if bytes.is_empty() {
        return Ok(bytes);
    }
    Ok(Bytes::from_owner(Kept { bytes, _share: share }))
}

fn broken(error: &(dyn std::error::Error + Send + Sync + 'static), bound: usize) -> Problem {
    if error.is::<LengthLimitError>() {
        return too_large(bound);
    }
    Problem::new(&codes::INVALID_REQUEST).detail(format!("the body broke off: {error}"))
}

pub(crate) fn too_large(bound: usize) -> Problem {
    Problem::new(&codes::PAYLOAD_TOO_LARGE).detail(format!("at most {bound} bytes are accepted here"))
}

#[cfg(test)]
mod tests {
    use super::*;

    static SMALL: Budget = Budget { kept: AtomicUsize::new(0), most: 10 };

    #[tokio::test]
    async fn bodies_share_the_memory_and_give_it_back() {
        let first = collect_within(&SMALL, Body::from("1234567"), 100).await.unwrap();
        let again = first.clone();
        drop(first);
        let refused = collect_within(&SMALL, Body::from("12345"), 100).await.unwrap_err();
        assert_eq!((refused.status, refused.code.as_ref()), (503, "OVERLOADED"));
        assert_eq!(again, "1234567");
        drop(again);
        let pieces = ["12", "34", "5"].map(|piece| Ok::<_, std::io::Error>(Bytes::from(piece)));
        let body = Body::from_stream(futures_util::stream::iter(pieces));
        assert_eq!(collect_within(&SMALL, body, 100).await.unwrap(), "12345");
        let large = collect_within(&SMALL, Body::from("12345"), 4).await.unwrap_err();
        assert_eq!(large.status, 413);
        assert_eq!(SMALL.kept.load(Ordering::Relaxed), 0);
    }
}
