//! Which trace is at hand: W3C Trace Context, level 1.

use std::{fmt, future::Future, sync::Arc};

use data_encoding::{HEXLOWER, HEXLOWER_PERMISSIVE};

/// The sampled bit of the trace flags (Trace Context section 3.2.2.5.1).
const SAMPLED: u8 = 1;
/// The longest request id that is taken over from whoever asks.
const REQUEST_ID_BYTES_MAX: usize = 128;

/// Sixteen bytes, shown as 32 hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct TraceId(pub [u8; 16]);

/// Eight bytes, shown as 16 hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct SpanId(pub [u8; 8]);

macro_rules! shown_as_hex {
    ($($id:ty),*) => {$(
        impl fmt::Display for $id {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                // Both ids stand in several lines and headers of each request.
                let mut digits = [0; 32];
                let digits = &mut digits[..2 * self.0.len()];
                HEXLOWER.encode_mut(&self.0, digits);
                f.write_str(std::str::from_utf8(digits).map_err(|_| fmt::Error)?)
            }
        }

        impl fmt::Debug for $id {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }
    )*};
}

shown_as_hex!(TraceId, SpanId);

/// The trace of the work at hand, and the span in it that whatever is caused now belongs to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Context {
    /// The trace.
    pub trace: TraceId,
    /// The span.
    pub span: SpanId,
    /// Whether its spans are recorded.
    pub is_sampled: bool,
    /// The module that works.
    pub module: Arc<str>,
    /// The id of the request under which whoever asked knows it; the span's when nobody gave one.
    pub request: Option<Arc<str>>,
}

/// A trace as somebody else told it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Remote {
    /// The trace.
    pub trace: TraceId,
    /// The span that caused the work, where it is known.
    pub parent: Option<SpanId>,
    /// Whether they record it, where it is known.
    pub is_sampled: Option<bool>,
}

impl Remote {
    /// Reads a `traceparent` (Trace Context section 3.2), or the trace id alone.
    ///
    /// Versions after 00 are read as far as 00 goes, which the standard asks for; what is no trace is `None`.
    pub fn parse(text: &str) -> Option<Self> {
        let text = text.trim();
        if text.len() == 32 {
            return Some(Self { trace: TraceId(some_bytes(text)?), parent: None, is_sampled: None });
        }
        let mut parts = text.split('-');
        let [version]: [u8; 1] = bytes(parts.next()?)?;
        let trace = TraceId(some_bytes(parts.next()?)?);
        let parent = SpanId(some_bytes(parts.next()?)?);
        let [flags]: [u8; 1] = bytes(parts.next()?)?;
        if version == 0xff || (version == 0 && parts.next().is_some()) {
            return None;
        }
        Some(Self { trace, parent: Some(parent), is_sampled: Some(flags & SAMPLED != 0) })
    }
}

impl Context {
    /// The value of the `traceparent` header of what is caused now.
    pub fn traceparent(&self) -> String {
        format!("00-{}-{}-{:02x}", self.trace, self.span, u8::from(self.is_sampled) * SAMPLED)
    }

    /// The id of the request in log lines and in the `x-request-id` header.
    pub fn request_id(&self) -> String {
        self.request.as_ref().map_or_else(|| self.span.to_string(), ToString::to_string)
    }

    /// The request id somebody gave, if it can stand in a log line and a header.
    pub fn checked_request_id(given: &str) -> Option<Arc<str>> {
        let is_sound = (1..=REQUEST_ID_BYTES_MAX).contains(&given.len())
            && given.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.:+/=@".contains(&byte));
        is_sound.then(|| given.into())
    }
}

/// All zeros mean "no id" (Trace Context sections 3.2.2.3 and 3.2.2.4).
fn some_bytes<const N: usize>(hex: &str) -> Option<[u8; N]> {
    bytes(hex).filter(|bytes| *bytes != [0; N])
}

fn bytes<const N: usize>(hex: &str) -> Option<[u8; N]> {
    let mut bytes = [0; N];
    (hex.len() == 2 * N && HEXLOWER_PERMISSIVE.decode_mut(hex.as_bytes(), &mut bytes).ok()? == N)
        .then_some(bytes)
}

tokio::task_local! {
    static CURRENT: Context;
}

/// Runs `future`; whatever it causes belongs to `context`.
pub async fn scope<F: Future>(context: Context, future: F) -> F::Output {
    CURRENT.scope(context, future).await
}

/// The context of the surrounding [`scope`], if there is one.
pub fn current() -> Option<Context> {
    CURRENT.try_with(Clone::clone).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";

    #[test]
    fn reads_what_the_standard_writes() {
        let read = |text: &str| {
            Remote::parse(text).map(|remote| (remote.trace.to_string(), remote.parent, remote.is_sampled))
        };
        let parent = Some(SpanId([0, 0xf0, 0x67, 0xaa, 0x0b, 0xa9, 0x02, 0xb7]));
        for (text, sampled) in [
            (format!("00-{TRACE}-00f067aa0ba902b7-01"), true),
            (format!("00-{TRACE}-00f067aa0ba902b7-00"), false),
            (format!("00-{TRACE}-00f067aa0ba902b7-03"), true),
            (format!("cc-{TRACE}-00f067aa0ba902b7-01-what-the-future-brings"), true),
            (format!("00-{}-00f067aa0ba902b7-01", TRACE.to_uppercase()), true),
        ] {
            assert_eq!(read(&text), Some((TRACE.to_owned(), parent, Some(sampled))), "{text}");
        }
        assert_eq!(read(TRACE), Some((TRACE.to_owned(), None, None)));
    }

    #[test]
    fn what_is_no_trace_is_none() {
        for text in [
            "",
            "00",
            "trace-7",
            "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-more",
            "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e473-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e473g-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-1",
        ] {
            assert_eq!(Remote::parse(text), None, "{text}");
        }
    }

    #[test]
    fn a_request_id_that_could_forge_a_line_is_not_taken_over() {
        for given in ["", "a b", "a\nb", "a\"b", "ä", &"x".repeat(129)] {
            assert_eq!(Context::checked_request_id(given), None, "{given:?}");
        }
        assert_eq!(Context::checked_request_id("7f/a-1").as_deref(), Some("7f/a-1"));
    }
}
