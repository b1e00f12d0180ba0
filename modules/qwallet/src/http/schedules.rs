//! Schedules, plans and subscriptions.

use q_http::ApiBuilder;
use qwallet_api::{
    CreateSchedule, CreateScheduleRequest, CreateSubscription, EndSchedule, EndSubscription, GetPlan,
    GetSchedule, GetSubscription, ListPlans, ListSchedules, ListSubscriptions, PutPlan, UpdateSchedule,
};

use super::explained;
use crate::service::{Service, explaining::Wanted};

/// Adds the endpoints of these rooms.
pub fn mount(api: ApiBuilder<Service>) -> ApiBuilder<Service> {
    api.on::<CreateSchedule, _, _, _>(|service, context, request| async move {
        let wanted = wanted(&request);
        let taken = service.create_schedule(&context.caller, context.request_key.as_ref(), request).await;
        explained(&service, &context.caller, taken, &wanted).await
    })
    .on::<ListSchedules, _, _, _>(|service, context, request| async move {
        service.schedules(&context.caller, request).await
    })
    .on::<GetSchedule, _, _, _>(|service, context, request| async move {
        service.schedule(&context.caller, request.schedule_id).await
    })
    .on::<UpdateSchedule, _, _, _>(|service, context, request| async move {
        service.update_schedule(&context.caller, context.request_key.as_ref(), request).await
    })
    .on::<EndSchedule, _, _, _>(|service, context, request| async move {
        service.end_schedule(&context.caller, context.request_key.as_ref(), request.schedule_id).await
    })
    .on::<PutPlan, _, _, _>(|service, context, request| async move {
        service.put_plan(&context.caller, context.request_key.as_ref(), request).await
    })
    .on::<ListPlans, _, _, _>(|service, _, request| async move { service.plans(request).await })
    .on::<GetPlan, _, _, _>(|service, _, request| async move {
        service.plan(request.plan_id, request.version).await
    })
    .on::<CreateSubscription, _, _, _>(|service, context, request| async move {
        let wanted = wanted(&request.mandate);
        let subscribed = service.subscribe(&context.caller, context.request_key.as_ref(), request).await;
        explained(&service, &context.caller, subscribed, &wanted).await
    })
    .on::<ListSubscriptions, _, _, _>(|service, context, request| async move {
        service.subscriptions(&context.caller, request).await
    })
    .on::<GetSubscription, _, _, _>(|service, context, request| async move {
        service.subscription(&context.caller, request.subscription_id).await
    })
    .on::<EndSubscription, _, _, _>(|service, context, request| async move {
        service.end_subscription(&context.caller, context.request_key.as_ref(), request.subscription_id).await
    })
}

/// What a mandate pays each time.
fn wanted(mandate: &CreateScheduleRequest) -> Wanted {
    Wanted::of(&mandate.wallet, Some(&mandate.recipient), &mandate.currency, &mandate.amount)
}
