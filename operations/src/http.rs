//! The endpoints and what answers them: the table of contents, room by room.
//!
//! **Invariant:** decodes and calls the rooms; decides nothing.

use std::sync::Arc;

use q_http::{Api, Context};
use q_ops_api::overview::{GetOverview, GetOverviewRequest, Overview};

use crate::{Desk, Error, NAME, incidents, maintenance, reports, status, watch};

/// Every endpoint.
pub(crate) fn api(desk: Arc<Desk>) -> Api {
    let api =
        Api::build(NAME, "the operator's desk: objectives, alerts, incidents, maintenance, status", desk)
            .on::<GetOverview, _, _, _>(overview);
    let api = watch::routes(api);
    let api = incidents::routes(api);
    let api = maintenance::routes(api);
    let api = reports::routes(api);
    status::routes(api).done()
}

async fn overview(desk: Arc<Desk>, _: Context, _: GetOverviewRequest) -> Result<Overview, Error> {
    Ok(Overview { watched: desk.watched.clone() })
}
