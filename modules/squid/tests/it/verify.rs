//! `q verify squid` finds a damaged byte and names the identity and the rule.

use q_runtime::Module as _;
use q_testkit::{World, on_each_world};
use squid::SquidModule;

use squid_api::IdentityType;

use crate::support::house;

on_each_world!(damage_is_found_and_named, async |world: World| {
    let house = house(world).await;
    let (alice, bob) = (house.owner("Alice").await, house.owner("Bob").await);
    let module = SquidModule(house.squid.clone());
    assert_eq!(module.verify().await.unwrap(), []);
    let (alice, bob) = (alice.keyring.did.to_string(), bob.keyring.did.to_string());
    let damages = [
        (
            format!(
                "UPDATE log_entries SET line = replace(line, 'assertionMethod', 'assertionMethoe') WHERE did = '{alice}'"
            ),
            "log_invalid",
            &alice,
        ),
        (
            format!(
                "UPDATE identities SET head = replace(head, '\"version\":1', '\"version\":2') WHERE did = '{bob}'"
            ),
            "head_mismatch",
            &bob,
        ),
        (format!("UPDATE identities SET status = 'DELETED' WHERE did = '{bob}'"), "status_mismatch", &bob),
        (format!("UPDATE identities SET status = 'ACTIVF' WHERE did = '{bob}'"), "row_unreadable", &bob),
        (
            format!(
                "UPDATE identities SET profile = (SELECT profile FROM identities WHERE did = '{alice}') WHERE did = '{bob}'"
            ),
            "profile_unreadable",
            &bob,
        ),
    ];
    for (sql, code, did) in damages {
        let (db, restore) = (module.db().clone(), did.clone());
        let saved = db
            .read(move |reader| -> Result<_, q_db::DbError> {
                let sql = "SELECT head, status, profile, (SELECT line FROM log_entries WHERE did = $1) \
                           FROM identities WHERE did = $1";
                reader.query_one(sql, q_db::params![restore])
            })
            .await
            .unwrap();
        db.write(move |tx| -> Result<_, q_db::DbError> { tx.execute(&sql, &[]) }).await.unwrap();
        let findings = module.verify().await.unwrap();
        let found = findings.iter().find(|finding| finding.code == code);
        assert_eq!(found.map(|finding| &finding.place), Some(did), "{code}: {findings:?}");
        if code == "log_invalid" {
            assert!(found.unwrap().detail.contains("breaks the rule"), "{findings:?}");
        }
        let did = did.clone();
        db.write(move |tx| -> Result<_, q_db::DbError> {
            let values = saved.values();
            let (head, status, profile, line) =
                (values[0].clone(), values[1].clone(), values[2].clone(), values[3].clone());
            tx.execute(
                "UPDATE identities SET head = $1, status = $2, profile = $3 WHERE did = $4",
                &[head, status, profile, did.as_str().into()],
            )?;
            tx.execute("UPDATE log_entries SET line = $1 WHERE did = $2", &[line, did.as_str().into()])
        })
        .await
        .unwrap();
    }
    let db = module.db().clone();
    db.write(|tx| -> Result<_, q_db::DbError> {
        tx.execute("UPDATE signing_keys SET state = 'ACTIVE'", &[])
    })
    .await
    .unwrap();
    let findings = module.verify().await.unwrap();
    assert!(findings.iter().any(|finding| finding.code == "signing_key_count"), "{findings:?}");
    house.world.abandon().await;
});

on_each_world!(kinship_that_nobody_signed_is_found, async |world: World| {
    let house = house(world).await;
    let (alice, bob) = (house.owner("Alice").await, house.owner("Bob").await);
    let child = house.child(&[&alice.keyring], IdentityType::Root).await.unwrap().keyring.did.to_string();
    let module = SquidModule(house.squid.clone());
    assert_eq!(module.verify().await.unwrap(), []);
    let bob = bob.keyring.did.to_string();
    for (sql, undo, code) in [
        (
            format!("UPDATE links SET parent = '{bob}'"),
            format!("UPDATE links SET parent = '{}'", alice.keyring.did),
            "link_unsigned",
        ),
        (
            "UPDATE links SET by_child = by_parent, by_parent = by_child".to_owned(),
            "UPDATE links SET by_child = by_parent, by_parent = by_child".to_owned(),
            "link_unsigned",
        ),
        (
            format!("UPDATE identities SET type = 'AID' WHERE did = '{child}'"),
            format!("UPDATE identities SET type = 'ROOT' WHERE did = '{child}'"),
            "link_forbidden",
        ),
    ] {
        let db = module.db().clone();
        db.write(move |tx| -> Result<_, q_db::DbError> { tx.execute(&sql, &[]) }).await.unwrap();
        let findings = module.verify().await.unwrap();
        let found = findings.iter().find(|finding| finding.code == code);
        assert_eq!(found.map(|finding| &finding.place), Some(&child), "{code}: {findings:?}");
        db.write(move |tx| -> Result<_, q_db::DbError> { tx.execute(&undo, &[]) }).await.unwrap();
    }
    assert_eq!(module.verify().await.unwrap(), []);
    house.world.close().await;
});
