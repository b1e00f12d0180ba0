//! What was promised.

use q_core::Span;
use serde::{Deserialize, Serialize};

/// How a promise is measured: each makes events of which a share must be good.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Sli {
    /// Looks at a module; good when it answers that it can serve.
    Availability,
    /// Requests; good when not answered with a 5xx status.
    Errors,
    /// Requests; good when answered within the promised time.
    Latency,
}

impl Sli {
    /// All three.
    pub const ALL: [Self; 3] = [Self::Availability, Self::Errors, Self::Latency];

    /// The name in stores, on the wire and in labels.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Availability => "availability",
            Self::Errors => "errors",
            Self::Latency => "latency",
        }
    }
}

impl std::str::FromStr for Sli {
    type Err = ();
    fn from_str(text: &str) -> Result<Self, ()> {
        Self::ALL.into_iter().find(|sli| sli.name() == text).ok_or(())
    }
}

/// The promises, the same for every module and class.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Objectives {
    /// The share of looks that find a module serving.
    pub availability: f64,
    /// The share of requests answered without a 5xx status.
    pub errors: f64,
    /// The share of requests answered within [`Objectives::fast_seconds`].
    pub latency: f64,
    /// The promised time, in seconds; an upper bound of a bucket of the duration histogram.
    pub fast_seconds: f64,
    /// Over how long the promises are kept or broken.
    pub window: Span,
}

/// The runbook's: available 99.9 %, error rate below 0.1 %, p99 below 200 ms, over 30 days.
impl Default for Objectives {
    fn default() -> Self {
        Self {
            availability: 0.999,
            errors: 0.999,
            latency: 0.99,
            fast_seconds: 0.2,
            window: Span::seconds(30 * 86_400),
        }
    }
}

impl Objectives {
    /// The promised share of good events.
    pub const fn target(&self, sli: Sli) -> f64 {
        match sli {
            Sli::Availability => self.availability,
            Sli::Errors => self.errors,
            Sli::Latency => self.latency,
        }
    }

    /// The share of bad events that is allowed: the error budget.
    pub fn allowed(&self, sli: Sli) -> f64 {
        1.0 - self.target(sli)
    }
}
