//! `/audit`: who may record and read what, and what is refused.

use q_contract::{CallError, Client, codes};
use q_core::{
    Caller, Span,
    audit::AuditId,
    caller::Principal,
    hash::{hex, sha256_of},
};
use q_testkit::{World, identity, on_each_world, walk};
use q_tlog::{LogProof, leaf_hash, verify_inclusion};
use qerberos_api::{
    Ack, GetEvent, GetEventRequest, GetProof, GetProofFile, GetProofRequest, RecordBatch, RecordBatchRequest,
    RecordEvent, RecordEventRequest, SearchEvents, SearchEventsRequest, errors,
};
use serde_json::{Value, json};

use crate::{as_operator, event, raise};

fn refusal<T: std::fmt::Debug>(answer: Result<T, CallError>) -> String {
    match answer {
        Err(CallError::Problem(problem)) => problem.code,
        other => panic!("expected a refusal, got {other:?}"),
    }
}

async fn send(client: &Client, body: &str) -> (u16, Value) {
    let answer = client.send("POST", "/audit", body.to_owned().into(), "application/json").await.unwrap();
    (answer.status().as_u16(), serde_json::from_slice(answer.body()).unwrap())
}

fn changed(event: &RecordEventRequest, changes: &Value) -> String {
    let mut body = serde_json::to_value(event).unwrap();
    for (name, value) in changes.as_object().unwrap() {
        body[name] = value.clone();
    }
    body.to_string()
}

on_each_world!(an_event_is_recorded_found_and_proved, async |mut world: World| {
    let module = raise(&mut world).await;
    let operator = as_operator(&world);
    let sent = event(&world);
    let recorded = operator.call::<RecordEvent>(&sent).await.unwrap();
    assert_eq!((recorded.id, recorded.log_index), (sent.id, 0));

    let early = operator.call::<GetProof>(&GetProofRequest { id: sent.id, size: None }).await;
    assert_eq!(refusal(early), "NOT_YET_INCLUDED");
    assert_eq!(module.trail().publish().await.unwrap(), 1);
    let filler = event(&world);
    operator.call::<RecordEvent>(&filler).await.unwrap();
    module.trail().publish().await.unwrap();

    let read = operator.call::<GetEvent>(&GetEventRequest { id: sent.id }).await.unwrap();
    assert_eq!((read.producer.as_str(), read.seq, read.layer.as_str()), ("qerberos.post", 1, "qmail"));
    assert_eq!((read.reference, read.details), (sent.reference.clone(), sent.details.clone()));
    assert_eq!(read.leaf_hash, recorded.leaf_hash);

    let proof = operator.call::<GetProof>(&GetProofRequest { id: sent.id, size: None }).await.unwrap();
    assert_eq!((proof.tree_size, proof.leaf_hash.as_str()), (2, recorded.leaf_hash.as_str()));
    let hash = |text: &str| <[u8; 32]>::try_from(unhex(text)).unwrap();
    let path: Vec<_> = proof.hashes.iter().map(|one| hash(one)).collect();
    let leaf = leaf_hash(proof.leaf.as_bytes());
    verify_inclusion(&leaf, proof.log_index, proof.tree_size, &path, &hash(&proof.root_hash)).unwrap();
    // The commitment opens: content and salts lead to the leaf.
    let sections: Vec<[u8; 32]> = proof
        .sections
        .iter()
        .map(|one| {
            let opened =
                sha256_of(&[&unhex(one.nonce.as_ref().unwrap()), one.content.as_ref().unwrap().as_bytes()]);
            assert_eq!(hex(&opened), one.hash);
            opened
        })
        .collect();
    let mut parts: Vec<&[u8]> = vec![b"q-audit-v1"];
    parts.extend(sections.iter().map(<[u8; 32]>::as_slice));
    let leaf_json: Value = serde_json::from_str(&proof.leaf).unwrap();
    assert_eq!(leaf_json["c"], base64url(&sha256_of(&parts)));
    assert!(proof.sections[0].content.as_ref().unwrap().contains("relay:primary"));

    let file = operator.call::<GetProofFile>(&GetProofRequest { id: sent.id, size: Some(1) }).await.unwrap();
    let file: LogProof = file.0.parse().unwrap();
    assert_eq!(file.verify(&leaf, module.trail().verifier()).unwrap().size, 1);
    let never = operator.call::<GetProof>(&GetProofRequest { id: filler.id, size: Some(1) }).await;
    assert_eq!(refusal(never), "NOT_YET_INCLUDED");
    world.close().await;
});

on_each_world!(
    the_same_event_again_is_answered_alike_and_another_under_its_id_is_refused,
    async |mut world: World| {
        raise(&mut world).await;
        let operator = as_operator(&world);
        let sent = event(&world);
        let first = operator.call::<RecordEvent>(&sent).await.unwrap();
        world.clock.advance(Span::seconds(60));
        assert_eq!(operator.call::<RecordEvent>(&sent).await.unwrap(), first);
        let other = RecordEventRequest { action: "relay.remove".into(), ..sent.clone() };
        assert_eq!(refusal(operator.call::<RecordEvent>(&other).await), "DUPLICATE_CONFLICT");
        let page = operator.call::<SearchEvents>(&SearchEventsRequest::default()).await.unwrap();
        assert_eq!((page.events.len(), page.tree_size), (1, 1));
        assert_eq!(page.events[0].action, "relay.change");
        world.close().await;
    }
);

on_each_world!(
    only_operators_and_modules_record_and_people_see_what_they_took_part_in,
    async |mut world: World| {
        raise(&mut world).await;
        let (ada, bob) = (identity("ada").0, identity("bob").0);
        let operator = as_operator(&world);
        let principal = Principal::new(identity("service-qmail").0, world.env.now());
        let qmail = world.client_as("qerberos", Caller::Service(principal, "qmail".into()));
        let mut sent = event(&world);
        sent.actor = Some(serde_json::from_value(json!({"squidId": ada, "daoId": "dao_1"})).unwrap());
        sent.targets = vec![serde_json::from_value(json!({"squidId": bob})).unwrap()];
        sent.network = Some(serde_json::from_value(json!({"ip": "192.0.2.7"})).unwrap());
        qmail.call::<RecordEvent>(&sent).await.unwrap();
        let foreign =
            RecordEventRequest { layer: "qwallet".into(), id: AuditId::new(&world.env), ..sent.clone() };
        assert_eq!(refusal(qmail.call::<RecordEvent>(&foreign).await), "PRODUCER_MISMATCH");
        let (as_ada, as_bob) = (world.client("qerberos", &ada), world.client("qerberos", &bob));
        let as_eve = world.client("qerberos", &identity("eve").0);
        assert_eq!(refusal(as_ada.call::<RecordEvent>(&event(&world)).await), "FORBIDDEN");
        operator.call::<RecordEvent>(&event(&world)).await.unwrap();

        let own = SearchEventsRequest { actor: Some(ada.clone()), ..SearchEventsRequest::default() };
        let page = as_ada.call::<SearchEvents>(&own).await.unwrap();
        assert_eq!(page.events.iter().map(|event| event.id).collect::<Vec<_>>(), [sent.id]);
        assert_eq!(page.events[0].actor.as_ref().unwrap().dao_id.as_deref(), Some("dao_1"));
        assert_eq!(refusal(as_ada.call::<SearchEvents>(&SearchEventsRequest::default()).await), "FORBIDDEN");
        assert_eq!(refusal(as_bob.call::<SearchEvents>(&own).await), "FORBIDDEN");
        let get = GetEventRequest { id: sent.id };
        assert_eq!(
            as_bob.call::<GetEvent>(&get).await.unwrap().network,
            sent.network,
            "a target may read the event"
        );
        assert_eq!(refusal(as_eve.call::<GetEvent>(&get).await), "EVENT_NOT_FOUND");
        let prove = GetProofRequest { id: sent.id, size: None };
        assert_eq!(refusal(as_eve.call::<GetProof>(&prove).await), "EVENT_NOT_FOUND");
        assert_eq!(refusal(as_eve.call::<GetProofFile>(&prove).await), "EVENT_NOT_FOUND");
        assert_eq!(as_operator(&world).call::<SearchEvents>(&own).await.unwrap().events.len(), 1);
        world.close().await;
    }
);

on_each_world!(every_filter_narrows_and_pages_lose_no_row, async |mut world: World| {
    raise(&mut world).await;
    let operator = as_operator(&world);
    let (ada, start) = (identity("ada").0, world.env.now());
    for number in 0..25_u32 {
        let mut one = event(&world);
        if number % 5 == 0 {
            one.actor = Some(serde_json::from_value(json!({"squidId": ada})).unwrap());
        }
        one.family = if number % 2 == 0 { "authentication".into() } else { "data_access".into() };
        one.reference = Some(format!("thing:{}", number % 3));
        one.severity = serde_json::from_value(json!(if number == 7 { "critical" } else { "info" })).unwrap();
        one.verdict = serde_json::from_value(json!(if number < 3 { "DENY" } else { "ALLOW" })).unwrap();
        operator.call::<RecordEvent>(&one).await.unwrap();
        world.clock.advance(Span::seconds(1));
    }
    let count = async |filter: Value| {
        let request: SearchEventsRequest = serde_json::from_value(filter).unwrap();
        operator.call::<SearchEvents>(&request).await.unwrap().events.len()
    };
    assert_eq!(count(json!({})).await, 25);
    assert_eq!(count(json!({"type": "authentication"})).await, 13);
    assert_eq!(count(json!({"type": "authentication' OR '1'='1"})).await, 0);
    assert_eq!(count(json!({"subtype": "relay.change", "layer": "qmail"})).await, 25);
    assert_eq!(count(json!({"actor": ada})).await, 5);
    assert_eq!(count(json!({"ref": "thing:2"})).await, 8);
    assert_eq!(count(json!({"severity": "critical"})).await, 1);
    assert_eq!(count(json!({"verdict": "DENY", "actor": ada})).await, 1);
    let (from, until) = ((start + Span::seconds(5)).to_string(), (start + Span::seconds(15)).to_string());
    assert_eq!(count(json!({"startDate": from, "endDate": until})).await, 10);

    let mut places = Vec::new();
    let mut request = SearchEventsRequest { limit: 10.try_into().unwrap(), ..SearchEventsRequest::default() };
    loop {
        let page = operator.call::<SearchEvents>(&request).await.unwrap();
        places.extend(page.events.iter().map(|event| event.log_index));
        let Some(next) = page.next_cursor else { break };
        request.cursor = Some(next);
    }
    assert_eq!(places, (0..25).rev().collect::<Vec<_>>(), "newest first, every row once");
    for cursor in ["-1", "x", "99999999999999999999", ""] {
        let request = SearchEventsRequest { cursor: Some(cursor.into()), ..SearchEventsRequest::default() };
        assert_eq!(refusal(operator.call::<SearchEvents>(&request).await), "INVALID_REQUEST", "{cursor}");
    }
    let answer = operator.send("GET", "/audit?limit=1001", bytes(""), "").await.unwrap();
    assert_eq!(answer.status(), 400);
    world.close().await;
});

on_each_world!(a_search_without_an_index_looks_at_so_many_rows_and_goes_on, async |mut world: World| {
    let qerberos = raise(&mut world).await;
    let mut rare = Vec::new();
    for number in 0..50 {
        let mut one = event(&world);
        if number % 20 == 3 {
            one.family = "rare".into();
            rare.push(one.id);
        }
        qerberos.trail().record(vec![one]).await.unwrap().pop().unwrap().unwrap();
    }
    let mut request = SearchEventsRequest { family: Some("rare".into()), ..SearchEventsRequest::default() };
    let (mut found, mut pages) = (Vec::new(), 0);
    loop {
        let page = qerberos.trail().search_within(request.clone(), 8).await.unwrap();
        found.extend(page.events.iter().map(|event| event.id));
        pages += 1;
        let Some(next) = page.next_cursor else { break };
        request.cursor = Some(next);
    }
    rare.reverse();
    assert_eq!((found, pages), (rare, 7), "50 rows, 8 at a time");
    let by_reference =
        SearchEventsRequest { reference: Some("relay:primary".into()), ..SearchEventsRequest::default() };
    let page = qerberos.trail().search_within(by_reference, 8).await.unwrap();
    assert_eq!((page.events.len(), page.next_cursor), (50, None), "an index needs no bound");
    world.close().await;
});

on_each_world!(
    what_an_operator_reads_is_recorded_and_what_people_read_of_themselves_is_not,
    async |mut world: World| {
        raise(&mut world).await;
        world.start();
        let ada = identity("ada").0;
        let mut sent = event(&world);
        sent.actor = Some(serde_json::from_value(json!({"squidId": ada})).unwrap());
        let operator = as_operator(&world);
        operator.call::<RecordEvent>(&sent).await.unwrap();
        let as_ada = world.client("qerberos", &ada);
        let own = SearchEventsRequest { actor: Some(ada.clone()), ..SearchEventsRequest::default() };
        as_ada.call::<SearchEvents>(&own).await.unwrap();
        as_ada.call::<GetEvent>(&GetEventRequest { id: sent.id }).await.unwrap();
        operator.call::<SearchEvents>(&own).await.unwrap();
        operator.call::<GetEvent>(&GetEventRequest { id: sent.id }).await.unwrap();
        world.settle().await;
        let looks = SearchEventsRequest { layer: Some("qerberos".into()), ..SearchEventsRequest::default() };
        let page = operator.call::<SearchEvents>(&looks).await.unwrap();
        // The present look may be in the trail already; the first two are those before it.
        let looks: Vec<_> = page.events.iter().rev().take(2).collect();
        let seen: Vec<_> = looks
            .iter()
            .map(|event| (event.action.as_str(), event.actor.as_ref().unwrap().squid_id.clone()))
            .collect();
        assert_eq!(seen, [("audit.search", crate::operator()), ("audit.read", crate::operator())]);
        assert_eq!(looks[1].reference, Some(sent.id.to_string()));
        assert_eq!(looks[0].targets[0].squid_id, ada, "whose events were read is a part that can be erased");
        world.close().await;
    }
);

on_each_world!(hostile_events_are_refused_or_kept_as_data, async |mut world: World| {
    raise(&mut world).await;
    let operator = as_operator(&world);
    let base = event(&world);
    let fresh = || json!(AuditId::new(&world.env));
    for (what, changes) in [
        ("details over 64 KiB", json!({"id": fresh(), "details": "x".repeat(65_536)})),
        ("a secret", json!({"id": fresh(), "details": {"password": "hunter2"}})),
        ("an empty type", json!({"id": fresh(), "type": ""})),
        ("a NUL", json!({"id": fresh(), "subtype": "a\u{0}b"})),
        ("17 targets", json!({"id": fresh(), "targets": vec![json!({"squidId": "did:squid:Qm1"}); 17]})),
    ] {
        let (status, body) = send(&operator, &changed(&base, &changes)).await;
        assert_eq!((status, body["code"].as_str()), (422, Some("INVALID_EVENT")), "{what}: {body}");
    }
    let repeated = changed(&base, &json!({})).replace("\"details\":{", "\"details\":{\"to\":1,");
    let (status, body) = send(&operator, &repeated).await;
    assert_eq!((status, body["code"].as_str()), (422, Some("INVALID_EVENT")), "a repeated member: {body}");
    let deep = format!("{}1{}", "[".repeat(1_000), "]".repeat(1_000));
    let deep = changed(&base, &json!({"details": "DEEP"})).replace("\"DEEP\"", &deep);
    let (status, body) = send(&operator, &deep).await;
    assert_eq!((status, body["code"].as_str()), (422, Some("INVALID_EVENT")), "nested 1,000 deep: {body}");
    for (what, body) in [
        ("a lone surrogate", changed(&base, &json!({"details": "S"})).replace("\"S\"", "\"\\ud800\"")),
        ("NaN", changed(&base, &json!({"details": "S"})).replace("\"S\"", "NaN")),
        ("an unknown member", changed(&base, &json!({"colour": "red"}))),
        ("another id", changed(&base, &json!({"id": "aud_1"}))),
    ] {
        let (status, body) = send(&operator, &body).await;
        assert_eq!(status, 400, "{what}: {body}");
    }

    let forged = json!({
        "id": fresh(),
        "subtype": "ok\n2026-11-21 ALLOW root",
        "ref": "=HYPERLINK(\"http://evil\")\u{1b}[31m<script>\u{2028}",
        "details": {"line": "a\r\nb\u{0}"}
    });
    let (status, _) = send(&operator, &changed(&base, &forged)).await;
    assert_eq!(status, 201);
    let page = operator.call::<SearchEvents>(&SearchEventsRequest::default()).await.unwrap();
    assert_eq!(page.events.len(), 1, "nothing else was recorded");
    assert_eq!(page.events[0].action, forged["subtype"].as_str().unwrap());
    assert_eq!(page.events[0].reference.as_deref(), forged["ref"].as_str());
    assert_eq!(page.events[0].details.0, forged["details"]);
    world.close().await;
});

on_each_world!(a_batch_keeps_the_good_lines_and_names_the_bad_ones, async |mut world: World| {
    raise(&mut world).await;
    let operator = as_operator(&world);
    let (first, second) = (event(&world), event(&world));
    let line = |event: &RecordEventRequest| serde_json::to_string(event).unwrap();
    let other = RecordEventRequest { action: "other".into(), ..first.clone() };
    let document = [
        line(&first),
        String::new(),
        "{\"id\":".into(),
        line(&second),
        line(&first),
        line(&other),
        changed(&event(&world), &json!({"details": {"token": "t"}})),
    ]
    .join("\n");
    let request = RecordBatchRequest { document };
    let batch = operator.call::<RecordBatch>(&request).await.unwrap();
    let seen: Vec<_> = batch.results.iter().map(|one| (one.line, one.status, one.code.as_deref())).collect();
    let invalid = Some("INVALID_EVENT");
    let expected = [
        (1, 201, None),
        (3, 422, invalid),
        (4, 201, None),
        (5, 201, None),
        (6, 409, Some("DUPLICATE_CONFLICT")),
        (7, 422, invalid),
    ];
    assert_eq!(seen, expected);
    assert_eq!(batch.results[0].recorded, batch.results[3].recorded, "the same event is one event");
    let again = operator.call::<RecordBatch>(&request).await.unwrap();
    assert_eq!(again.results[2].recorded, batch.results[2].recorded);
    let page = operator.call::<SearchEvents>(&SearchEventsRequest::default()).await.unwrap();
    assert_eq!(page.tree_size, 2);
    let many = RecordBatchRequest { document: "{}\n".repeat(5_001) };
    assert_eq!(refusal(operator.call::<RecordBatch>(&many).await), "INVALID_REQUEST");
    let stranger = world.client("qerberos", &identity("eve").0);
    assert_eq!(refusal(stranger.call::<RecordBatch>(&request).await), "FORBIDDEN");
    world.close().await;
});

on_each_world!(who_asks_for_inclusion_gets_the_proof, async |mut world: World| {
    raise(&mut world).await;
    world.start();
    let operator = as_operator(&world);
    let sent = RecordEventRequest { ack: Ack::Included, ..event(&world) };
    let recorded = operator.call::<RecordEvent>(&sent).await.unwrap();
    let proof = recorded.proof.expect("a checkpoint follows within a second");
    assert_eq!((proof.id, proof.log_index), (sent.id, recorded.log_index));
    world.close().await;
});

on_each_world!(no_endpoint_is_open_by_accident, async |mut world: World| {
    raise(&mut world).await;
    let complaints = walk::walk(&world, "qerberos", &identity("eve").0).await;
    assert!(complaints.is_empty(), "{complaints:#?}");
    assert!(errors::ALL.iter().all(|code| !codes::ALL.iter().any(|common| common.code == code.code)));
    world.close().await;
});

fn bytes(text: &str) -> bytes::Bytes {
    bytes::Bytes::from(text.to_owned())
}

fn unhex(text: &str) -> Vec<u8> {
    (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap()).collect()
}

fn base64url(bytes: &[u8]) -> String {
    use base64::Engine as _;
    base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(bytes)
}
