//! Pages of long lists: a bound on the number of rows and an opaque place to go on from.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The most rows one page may hold.
pub const PAGE_ROWS_MAX: u32 = 200;

/// One page of a list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Page<T> {
    /// The rows, in the order the list documents.
    pub items: Vec<T>,
    /// Where the next page begins; absent on the last one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_cursor: Option<String>,
}

/// How many rows a page may hold: between 1 and [`PAGE_ROWS_MAX`], 50 when not said.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "u32", into = "u32")]
pub struct PageLimit(u32);

impl PageLimit {
    /// The number of rows.
    pub const fn rows(self) -> u32 {
        self.0
    }
}

impl Default for PageLimit {
    fn default() -> Self {
        Self(50)
    }
}

impl TryFrom<u32> for PageLimit {
    type Error = String;
    fn try_from(rows: u32) -> Result<Self, String> {
        if (1..=PAGE_ROWS_MAX).contains(&rows) {
            Ok(Self(rows))
        } else {
            Err(format!("limit must be between 1 and {PAGE_ROWS_MAX}"))
        }
    }
}

impl From<PageLimit> for u32 {
    fn from(limit: PageLimit) -> Self {
        limit.0
    }
}

impl JsonSchema for PageLimit {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "PageLimit".into()
    }
    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({"type": "integer", "minimum": 1, "maximum": PAGE_ROWS_MAX})
    }
}
