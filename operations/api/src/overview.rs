//! What the desk looks after.

use q_contract::{Access, endpoint, json_types};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Nothing to say.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct GetOverviewRequest {}

/// What the desk looks after.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Overview {
    /// The modules whose health, figures and alerts are kept here.
    pub watched: Vec<String>,
}

json_types!(Overview);

endpoint! {
    /// Lists the modules the desk looks after.
    pub GetOverview = GET "/overview" (GetOverviewRequest) -> Overview;
    access Access::Operator;
}
