//! The regular reports: written once for each period, told to those who want them, honest about what they lack.

use q_core::Span;
use q_ops_api::{
    reports::{
        GetReport, ListReports, ListReportsRequest, ReportKind, ReportRequest, RunReport, RunReportRequest,
    },
    status::{Subscribe, SubscribeRequest, SubscriberKind, Topic},
};
use q_testkit::{World, on_each_world};

use crate::hall::{Hall, Receiver};

async fn kinds(hall: &Hall) -> Vec<ReportKind> {
    let page = hall.ask::<ListReports>(&ListReportsRequest::default()).await;
    page.items.iter().filter(|report| report.is_scheduled).map(|report| report.kind).collect()
}

on_each_world!(each_period_is_reported_once, async |world: World| {
    let hall = Hall::new(world).await;
    let (receiver, address) = Receiver::listen().await;
    let subscribe = |path: &str, topic| SubscribeRequest {
        kind: SubscriberKind::Webhook,
        address: format!("http://{address}/{path}"),
        topic,
    };
    hall.ask::<Subscribe>(&subscribe("everybody", Topic::Status)).await;
    hall.ask::<Subscribe>(&subscribe("operators", Topic::Reports)).await;
    hall.round("look-at-modules").await;
    hall.round("write-reports").await;
    hall.round("write-reports").await;
    let first = kinds(&hall).await;
    assert_eq!(first.len(), 3, "nobody looked yesterday, so there is no report of yesterday: {first:?}");
    hall.world.clock.advance(Span::seconds(86_400));
    hall.round("write-reports").await;
    hall.round("write-reports").await;
    let second = kinds(&hall).await;
    assert_eq!(second.len(), 4, "{second:?}");
    assert_eq!(second[0], ReportKind::Health);

    let newest = hall.ask::<ListReports>(&ListReportsRequest::default()).await.items.remove(0);
    assert_eq!(newest.text, "", "lists are short");
    let text = hall.ask::<GetReport>(&ReportRequest { id: newest.id }).await.text;
    assert!(text.contains("| shop | 100 % | 1 | 0 | healthy |"), "{text}");
    for _ in 0..3 {
        hall.round("tell-subscribers").await;
    }
    let heard = receiver.heard();
    assert_eq!(heard.len(), 4, "operators hear of four reports, everybody of none: {heard:?}");
    hall.world.close().await;
});

on_each_world!(a_report_says_what_nobody_could_measure, async |world: World| {
    let hall = Hall::new(world).await;
    let access = hall.ask::<RunReport>(&RunReportRequest { kind: ReportKind::Access }).await;
    assert!(access.text.contains("nothing can be said about access"), "{}", access.text);
    let built = hall.ask::<RunReport>(&RunReportRequest { kind: ReportKind::Dependencies }).await;
    assert!(built.text.contains("Not known here: how old they are"), "{}", built.text);
    let health = hall.ask::<RunReport>(&RunReportRequest { kind: ReportKind::Health }).await;
    assert!(health.text.contains("| shop | no data | 0 | 0 |"), "{}", health.text);
    let review = hall.ask::<RunReport>(&RunReportRequest { kind: ReportKind::Review }).await;
    assert!(review.text.contains("since its process began"), "{}", review.text);
    hall.world.close().await;
});
