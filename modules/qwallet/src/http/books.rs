//! The whole books.

use q_contract::Text;
use q_http::ApiBuilder;
use qwallet_api::{ExportLedger, GetTrialBalance, ListAccounts, ListHeads};

use crate::service::Service;

/// Adds the endpoints of this room.
pub fn mount(api: ApiBuilder<Service>) -> ApiBuilder<Service> {
    api.on::<GetTrialBalance, _, _, _>(|service, _, request| async move {
        service.trial_balance(request.at).await
    })
    .on::<ListAccounts, _, _, _>(|service, _, request| async move { service.ledger_accounts(request).await })
    .on::<ListHeads, _, _, _>(|service, _, _| async move { service.heads().await })
    .on::<ExportLedger, _, _, _>(|service, _, request| async move {
        service.export(request.format).await.map(Text)
    })
}
