//! Rails.

use q_http::ApiBuilder;
use qwallet_api::{
    CancelWithdrawal, CorrectRail, CreateWithdrawal, DecideWithdrawal, GetDepositAddress, GetPayoutFile,
    GetWithdrawal, GetWithdrawalQuote, ListDeposits, ListRailCorrections, ListRails, ListSuspense,
    ListWaitingWithdrawals, MakePayouts, ReconcileRail, RejectPayout, SetRailKey, TakePayoutReport,
    TakeStatement,
};

use crate::service::Service;

/// Adds the endpoints of this room.
pub fn mount(api: ApiBuilder<Service>) -> ApiBuilder<Service> {
    api.on::<ListRails, _, _, _>(|service, _, _| async move { service.rail_states().await })
        .on::<ReconcileRail, _, _, _>(
            |service, _, request| async move { service.reconcile_rail(&request).await },
        )
        .on::<SetRailKey, _, _, _>(|service, _, request| async move { service.set_rail_key(request).await })
        .on::<GetDepositAddress, _, _, _>(|service, context, request| async move {
            service.deposit_address(&context.caller, request).await
        })
        .on::<ListDeposits, _, _, _>(|service, context, request| async move {
            service.deposits(&context.caller, &request.squid_id).await
        })
        .on::<GetWithdrawalQuote, _, _, _>(|service, _, request| async move {
            service.withdrawal_quote(request).await
        })
        .on::<MakePayouts, _, _, _>(|service, _, request| async move { service.make_payouts(&request).await })
        .on::<GetPayoutFile, _, _, _>(
            |service, _, request| async move { service.payout_file(&request).await },
        )
        .on::<RejectPayout, _, _, _>(
            |service, _, request| async move { service.reject_payout(request).await },
        )
        .on::<TakeStatement, _, _, _>(
            |service, _, request| async move { service.take_statement(request).await },
        )
        .on::<TakePayoutReport, _, _, _>(|service, _, request| async move {
            service.take_payout_report(request).await
        })
        .on::<ListSuspense, _, _, _>(|service, _, request| async move { service.suspense(&request).await })
        .on::<CorrectRail, _, _, _>(|service, context, request| async move {
            service.correct_rail(context.request_key.as_ref(), request).await
        })
        .on::<ListRailCorrections, _, _, _>(|service, _, request| async move {
            service.rail_corrections(&request).await
        })
        .on::<CreateWithdrawal, _, _, _>(|service, context, request| async move {
            service.withdraw(&context.caller, context.request_key.as_ref(), request).await
        })
        .on::<DecideWithdrawal, _, _, _>(|service, context, request| async move {
            service.decide_withdrawal(context.request_key.as_ref(), request).await
        })
        .on::<CancelWithdrawal, _, _, _>(|service, context, request| async move {
            let key = context.request_key.as_ref();
            service.cancel_withdrawal(&context.caller, key, request.withdrawal_id).await
        })
        .on::<ListWaitingWithdrawals, _, _, _>(|service, context, _| async move {
            service.withdrawals_waiting_for(&context.caller).await
        })
        .on::<GetWithdrawal, _, _, _>(|service, context, request| async move {
            service.withdrawal(&context.caller, request.withdrawal_id).await
        })
}
