//! The endpoints and who answers them. Each handler decodes nothing and decides nothing.
//!
//! **Invariant:** no SQL and no rule.

mod approval_page;
mod approvals;
mod books;
mod escrows;
mod fees;
mod holds;
mod mcp;
mod money_requests;
mod notes;
mod quotes;
mod rails;
mod receipts;
mod refunds;
mod request_page;
mod schedules;
mod snapshots;
mod statements;
mod uses;
mod webhooks;

use std::sync::Arc;

use q_contract::{Problem, Text};
use q_core::Caller;
use q_http::{Api, Context};
use qwallet_api::{
    CancelIntent, CreateBatch, CreateImport, CreateIntent, CreatePayment, CreateWallet, ExecuteImport,
    Faucet, GetBalance, GetImport, GetImportStatus, GetIntent, GetLimits, GetTransaction, GetWallet,
    IntentPage, Issue, ListCurrencies, ListIntents, ListTransactions, ListWallets, Pay, PaymentRequest,
    SetLimits, SetStripes, SignIntent, Transaction, UpdateWallet, WalletList,
};

use crate::{
    error::Error,
    service::{Service, explaining::Wanted},
};

/// What heads the OpenAPI document.
const ABOUT: &str =
    "Wallets and payments: balances that are exact, payments that are signed, books that balance.";

/// The table of contents. The faucet exists only on a demonstration.
pub fn api(service: &Arc<Service>) -> Api {
    let api = Api::build("qwallet", ABOUT, service.clone())
        .on::<CreateWallet, _, _, _>(|service, context, request| async move {
            service.create_wallet(&context.caller, context.request_key.as_ref(), request).await
        })
        .on::<ListWallets, _, _, _>(|service, context, _| async move {
            service.wallets(&context.caller).await.map(|items| WalletList { items })
        })
        .on::<GetWallet, _, _, _>(|service, context, request| async move {
            service.wallet(&context.caller, &request.squid_id).await
        })
        .on::<UpdateWallet, _, _, _>(|service, context, request| async move {
            service.update_wallet(&context.caller, context.request_key.as_ref(), request).await
        })
        .on::<GetLimits, _, _, _>(|service, context, request| async move {
            service.limits(&context.caller, &request.squid_id).await
        })
        .on::<SetLimits, _, _, _>(|service, context, request| async move {
            service.set_limits(&context.caller, context.request_key.as_ref(), request).await
        })
        .on::<SetStripes, _, _, _>(|service, context, request| async move {
            service.set_stripes(&context.caller, request).await
        })
        .on::<GetBalance, _, _, _>(|service, context, request| async move {
            service.balance(&context.caller, request).await
        })
        .on::<ListTransactions, _, _, _>(|service, context, request| async move {
            service.transactions(&context.caller, request).await
        })
        .on::<GetTransaction, _, _, _>(|service, context, request| async move {
            service.transaction_for(&context.caller, request.transaction_id).await
        })
        .on::<ListCurrencies, _, _, _>(|service, _, _| async move { Ok::<_, Error>(service.currencies()) })
        .on::<CreateIntent, _, _, _>(|service, context, request| async move {
            service.create_intent(&context.caller, context.request_key.as_ref(), request).await
        })
        .on::<ListIntents, _, _, _>(|service, context, request| async move {
            let page = service.intents(&context.caller, request).await?;
            Ok::<_, Error>(IntentPage { items: page.items, next_cursor: page.next_cursor })
        })
        .on::<GetIntent, _, _, _>(|service, context, request| async move {
            service.intent(&context.caller, request.intent_id).await
        })
        .on::<CancelIntent, _, _, _>(|service, context, request| async move {
            service.cancel_intent(&context.caller, context.request_key.as_ref(), request.intent_id).await
        })
        .on::<SignIntent, _, _, _>(|service, context, request| async move {
            service.sign(&context.caller, context.request_key.as_ref(), request).await
        })
        .on::<Pay, _, _, _>(|service, context, request| async move {
            service.pay(&context.caller, context.request_key.as_ref(), request.transaction_id).await
        })
        .on::<CreatePayment, _, _, _>(pay_once)
        .on::<CreateBatch, _, _, _>(|service, context, request| async move {
            service.pay_batch(&context.caller, context.request_key.as_ref(), request).await
        })
        .on::<Issue, _, _, _>(|service, context, request| async move {
            service.issue(context.request_key.as_ref(), request).await
        })
        .on::<CreateImport, _, _, _>(|service, context, request| async move {
            service.create_import(&context.caller, context.request_key.as_ref(), request).await
        })
        .on::<GetImport, _, _, _>(|service, context, request| async move {
            service.import(&context.caller, request.import_id).await
        })
        .on::<GetImportStatus, _, _, _>(|service, context, request| async move {
            service.import_status(&context.caller, request.import_id).await.map(Text)
        })
        .on::<ExecuteImport, _, _, _>(|service, context, request| async move {
            service.execute_import(&context.caller, context.request_key.as_ref(), request).await
        });
    let api = approvals::mount(api);
    let api = fees::mount(api);
    let api = quotes::mount(api);
    let api = books::mount(api);
    let api = rails::mount(api);
    let api = refunds::mount(api);
    let api = escrows::mount(api);
    let api = holds::mount(api);
    let api = money_requests::mount(api);
    let api = schedules::mount(api);
    let api = statements::mount(api);
    let api = receipts::mount(api);
    let api = notes::mount(api);
    let api = snapshots::mount(api);
    let api = uses::mount(api);
    let api = webhooks::mount(api);
    let api = mcp::mount(api);
    if service.instance.is_demo {
        return api
            .on::<Faucet, _, _, _>(|service, context, request| async move {
                service.faucet(&context.caller, context.request_key.as_ref(), request).await
            })
            .done();
    }
    api.done()
}

/// Carries out a payment that came over the network.
async fn pay_once(
    service: Arc<Service>,
    context: Context,
    request: PaymentRequest,
) -> Result<Transaction, Problem> {
    let wanted = Wanted::of(&request.wallet, Some(&request.recipient), &request.currency, &request.amount);
    let (caller, key) = (&context.caller, context.request_key.as_ref());
    let paid = service.pay_through(&|who| context.gate.admit(who), caller, key, request).await;
    explained(&service, caller, paid, &wanted).await
}

/// What was done, or its refusal with figures for whoever may know them.
async fn explained<T>(
    service: &Service,
    caller: &Caller,
    done: Result<T, Error>,
    wanted: &Wanted,
) -> Result<T, Problem> {
    match done {
        Ok(done) => Ok(done),
        Err(error) => Err(service.explained(caller, error, wanted).await),
    }
}
