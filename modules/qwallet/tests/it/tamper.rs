//! What `verify` says about a store somebody touched.

use q_db::params;
use q_runtime::Module;
use q_testkit::{Engine, World, on_each_world};
use qwallet_api::{CreateImport, CreateIntentRequest, CreatePayment, ImportRequest, WalletId};

use crate::support::{Bank, ask, fresh, intend, intend_as, sign_it};

/// Runs `sql` behind the module's back and answers the codes and places of what `verify` then finds.
async fn findings_after(bank: &Bank, sql: &'static str) -> Vec<String> {
    let changed = bank.module.db().write(move |tx| tx.execute(sql, &[])).await.unwrap();
    assert_eq!(changed, 1, "{sql}");
    let findings = bank.module.verify().await.unwrap();
    findings.iter().map(|finding| format!("{} {}", finding.code, finding.place)).collect()
}

on_each_world!(names_the_row_the_account_and_the_commit, async |world: World| {
    let bank = Bank::open_with_one_lane(world).await;
    let (ann, bob) = (bank.person("ann", "100").await, bank.person("bob", "0").await);
    for _ in 0..3 {
        let order = bank.signed(bank.order(&ann, bob.did.as_str(), "1"), &ann);
        ann.client.clone().with_key(fresh()).call::<CreatePayment>(&order).await.unwrap();
    }
    bank.module.service().catch_up().await.unwrap();
    assert_eq!(bank.module.verify().await.unwrap(), []);
    let has = |findings: &[String], start: &str| findings.iter().any(|finding| finding.starts_with(start));

    let found = findings_after(&bank, "UPDATE transfers SET purpose = 1 WHERE seq = 5").await;
    assert_eq!(found.len(), 1, "{found:?}");
    assert!(
        found[0].starts_with("transfer_changed transfers 5 (accounts ") && found[0].ends_with("commit 3)")
    );
    findings_after(&bank, "UPDATE transfers SET purpose = 0 WHERE seq = 5").await;
    assert_eq!(bank.module.verify().await.unwrap(), []);

    let found = findings_after(&bank, "UPDATE accounts SET version = version + 1 WHERE id = 8").await;
    assert!(has(&found, "account_mismatch accounts 8"), "{found:?}");
    findings_after(&bank, "UPDATE accounts SET version = version - 1 WHERE id = 8").await;

    let found = findings_after(&bank, "UPDATE orders SET signer = 'did:key:zThief' WHERE id = 1").await;
    assert!(has(&found, "order_changed orders 1"), "{found:?}");

    let found = findings_after(&bank, "UPDATE transactions SET client_ref = 'OTHER' WHERE first_seq = 5");
    assert!(has(&found.await, "transaction_changed transactions tx_"));

    let sql =
        "UPDATE wallets SET owner = 'did:key:zThief' WHERE id = (SELECT wallet FROM accounts WHERE id = 9)";
    assert!(has(&findings_after(&bank, sql).await, "wallet_changed wallets wallet_"));

    let found = findings_after(&bank, "UPDATE commits SET transfer_count = 2 WHERE id = 2").await;
    assert!(has(&found, "head_mismatch commits 2") && has(&found, "commit_gap commits 3"), "{found:?}");

    let found = findings_after(&bank, "DELETE FROM transfers WHERE seq = 9").await;
    assert!(
        has(&found, "transfer_missing transfers 9") && has(&found, "root_mismatch commits 4"),
        "{found:?}"
    );
    assert!(has(&found, "version_gap transfers 10"), "{found:?}");
    assert!(has(&found, "transfer_changed") || has(&found, "history_mismatch"), "{found:?}");
    bank.world.abandon().await;
});

on_each_world!(goes_on_behind_a_row_that_cannot_be_read, async |world: World| {
    let is_sqlite = world.engine == Engine::Sqlite;
    let bank = Bank::open_with_one_lane(world).await;
    let (ann, bob) = (bank.person("ann", "100").await, bank.person("bob", "0").await);
    for _ in 0..3 {
        let order = bank.signed(bank.order(&ann, bob.did.as_str(), "1"), &ann);
        ann.client.clone().with_key(fresh()).call::<CreatePayment>(&order).await.unwrap();
    }
    let has = |findings: &[String], start: &str| findings.iter().any(|finding| finding.starts_with(start));

    let sql = "UPDATE commits SET transfer_count = 4611686018427387904 WHERE id = 2";
    let found = findings_after(&bank, sql).await;
    assert!(has(&found, "head_mismatch commits 2") && found.len() < 100, "{} findings", found.len());
    findings_after(&bank, "UPDATE commits SET transfer_count = 3 WHERE id = 2").await;
    assert_eq!(bank.module.verify().await.unwrap(), []);

    let found = findings_after(&bank, "UPDATE accounts SET kind = 99 WHERE id = 9").await;
    assert!(has(&found, "account_unreadable accounts"), "{found:?}");
    findings_after(&bank, "UPDATE accounts SET kind = 0 WHERE id = 9").await;
    if is_sqlite {
        // A flipped high bit makes a text unreadable; a server's own checks find that.
        let sql = "UPDATE orders SET signer = CAST(x'6469643aff' AS TEXT) WHERE id = 1";
        let found = findings_after(&bank, sql).await;
        assert!(has(&found, "order_unreadable orders 1"), "{found:?}");
        let found = findings_after(&bank, "UPDATE commits SET number = 'two' WHERE id = 2").await;
        assert!(has(&found, "commit_unreadable commits 2"), "{found:?}");
        assert!(has(&found, "order_unreadable orders 1"), "the damage before it is still named: {found:?}");
    }
    bank.world.abandon().await;
});

on_each_world!(nobody_gets_anothers_account_or_a_limit_by_a_column, async |world: World| {
    let bank = Bank::open_with_one_lane(world).await;
    let (ann, bob) = (bank.person("ann", "100").await, bank.person("bob", "0").await);
    assert_eq!(bank.module.verify().await.unwrap(), []);
    let has = |findings: &[String], start: &str| findings.iter().any(|finding| finding.starts_with(start));
    let (rich, poor) = (ann.wallet.wallet_id, bob.wallet.wallet_id);
    let (changed, limit) = (format!("wallet_changed wallets {rich}"), "UPDATE accounts SET credit_limit = ");
    let give = async |from: WalletId, to: WalletId| {
        let sql = "UPDATE accounts SET wallet = $1 WHERE wallet = $2 AND currency = 1";
        let write = bank.module.db().write(move |tx| tx.execute(sql, params![to.bytes(), from.bytes()]));
        write.await.unwrap();
    };
    // Bob's own account of the currency makes room first.
    let aside = "UPDATE accounts SET wallet = NULL WHERE id = 11";
    let found = findings_after(&bank, aside).await;
    assert!(has(&found, "account_misplaced accounts 11"), "{found:?}");
    give(rich, poor).await;
    let found = bank.module.verify().await.unwrap();
    let found: Vec<_> = found.iter().map(|finding| format!("{} {}", finding.code, finding.place)).collect();
    assert!(has(&found, &changed) && has(&found, &format!("wallet_changed wallets {poor}")), "{found:?}");
    give(poor, rich).await;
    let back = bank
        .module
        .db()
        .write(move |tx| tx.execute("UPDATE accounts SET wallet = $1 WHERE id = 11", params![poor.bytes()]));
    back.await.unwrap();
    assert_eq!(bank.module.verify().await.unwrap(), []);
    let bytes = if bank.world.engine == Engine::Sqlite { "x'" } else { "'\\x" };
    let sql = format!("{limit}{bytes}{}' WHERE id = 9", "01".repeat(16));
    let found = findings_after(&bank, Box::leak(sql.into_boxed_str())).await;
    assert!(has(&found, &changed), "{found:?}");
    bank.world.abandon().await;
});

on_each_world!(notices_intents_and_payout_files_somebody_touched, async |world: World| {
    let is_sqlite = world.engine == Engine::Sqlite;
    let bank = Bank::open(world).await;
    let (ann, bob) = (bank.person("ann", "100").await, bank.person("bob", "0").await);
    let mut names = Vec::new();
    for is_signed in [true, false] {
        let intent =
            intend_as(&ann, &CreateIntentRequest { purpose: Some("rent".into()), ..ask(&bob, "1") }).await;
        names.push(intent.intent_id.to_string());
        if is_signed {
            sign_it(&intent, &ann).await.unwrap();
        }
    }
    let document = crate::imports::file(&ann.wallet.wallet_ref, [&bob.wallet.wallet_ref; 2], "M1");
    let request = ImportRequest { wallet: None, document };
    let import = ann.client.clone().with_key(fresh()).call::<CreateImport>(&request).await.unwrap().import_id;
    assert_eq!(bank.module.verify().await.unwrap(), []);
    let (signed, pending) = (&names[0], &names[1]);

    let found = findings_after(&bank, "UPDATE intents SET status = 3 WHERE status = 1").await;
    assert_eq!(found, [format!("intent_mismatch intents {signed}")]);
    let found = findings_after(&bank, "UPDATE intents SET status = 1 WHERE status = 3").await;
    assert_eq!(found, Vec::<String>::new());
    let found = findings_after(&bank, "UPDATE intents SET status = 2 WHERE status = 0").await;
    assert_eq!(found, [format!("intent_mismatch intents {pending}")]);
    findings_after(&bank, "UPDATE intents SET status = 0 WHERE status = 2").await;
    let found = findings_after(&bank, "UPDATE intents SET amount = 'much' WHERE status = 0").await;
    assert_eq!(found, [format!("intent_mismatch intents {pending}")]);
    let found = findings_after(&bank, "UPDATE intents SET amount = '1', status = 9 WHERE status = 0").await;
    assert_eq!(found, [format!("intent_unreadable intents {pending}")]);
    let moved = "UPDATE intents SET purpose = (SELECT purpose FROM intents WHERE status = 1), status = 0 \
                 WHERE status = 9";
    assert_eq!(findings_after(&bank, moved).await, [format!("sealed_field intents {pending}")]);
    let found = findings_after(&bank, "DELETE FROM intents WHERE status = 1").await;
    assert_eq!(found, [format!("sealed_field intents {pending}"), "intent_missing intents".into()]);
    findings_after(&bank, "DELETE FROM intents WHERE status = 0").await;

    let imports = |found: Vec<String>| -> Vec<String> {
        found.into_iter().filter(|finding| finding.contains("import_")).collect()
    };
    let found = imports(findings_after(&bank, "UPDATE imports SET batch = id").await);
    assert_eq!(found, [format!("import_mismatch imports {import}")]);
    let found = imports(findings_after(&bank, "UPDATE imports SET batch = NULL, items = report").await);
    assert_eq!(found, [format!("sealed_field imports {import}")]);
    if is_sqlite {
        let found = imports(findings_after(&bank, "UPDATE imports SET created_at = 'once'").await);
        assert_eq!(found, [format!("import_unreadable imports {import}")]);
    }
    bank.world.abandon().await;
});

on_each_world!(an_incremental_look_finds_what_is_newer_and_trusts_what_is_older, async |world: World| {
    let bank = Bank::open_with_one_lane(world).await;
    let (ann, bob) = (bank.person("ann", "100").await, bank.person("bob", "0").await);
    let intent = intend(&ann, &bob, "1").await;
    let held = sign_it(&intent, &ann).await.unwrap();
    let mut commits = Vec::new();
    for _ in 0..2 {
        bank.world.clock.advance(q_core::Span::seconds(1));
        let order = bank.signed(bank.order(&ann, bob.did.as_str(), "1"), &ann);
        let paid = ann.client.clone().with_key(fresh()).call::<CreatePayment>(&order).await.unwrap();
        commits.push(paid.commit);
        bank.module.service().catch_up().await.unwrap();
    }
    bank.world.clock.advance(q_core::Span::seconds(1));
    let since = commits[0];
    let look = async || bank.module.verify_since(since).await.unwrap().unwrap();
    // What was held before ends after it.
    let settle = qwallet_api::PayRequest { transaction_id: held.transaction_id };
    ann.client.clone().with_key(fresh()).call::<qwallet_api::Pay>(&settle).await.unwrap();
    assert_eq!(look().await, []);
    assert_eq!(bank.module.verify().await.unwrap(), []);

    let after = async |sql: &'static str| {
        assert_eq!(bank.module.db().write(move |tx| tx.execute(sql, &[])).await.unwrap(), 1, "{sql}");
        let found = look().await;
        found.iter().map(|finding| format!("{} {}", finding.code, finding.place)).collect::<Vec<_>>()
    };
    // The faucet's transfer is older, the second payment's principal newer.
    assert!(after("UPDATE transfers SET purpose = 0 WHERE seq = 1").await.is_empty());
    let newer = after("UPDATE transfers SET purpose = 1 WHERE seq = 8").await;
    assert!(newer.iter().any(|finding| finding.starts_with("transfer_changed transfers 8 ")), "{newer:?}");
    after("UPDATE transfers SET purpose = 0 WHERE seq = 8").await;
    after("UPDATE transfers SET purpose = 3 WHERE seq = 1").await;
    assert!(look().await.is_empty());
    let gone = after("DELETE FROM transfers WHERE seq = 9").await;
    assert!(gone.iter().any(|finding| finding.starts_with("transfer_missing transfers 9")), "{gone:?}");
    let unknown = bank.module.verify_since(since + 1_000).await.unwrap().unwrap();
    assert_eq!(unknown[0].code, "commit_missing");
    bank.world.abandon().await;
});

on_each_world!(a_history_that_lost_an_entry_is_found, async |world: World| {
    let bank = Bank::open_with_one_lane(world).await;
    let (ann, bob) = (bank.person("ann", "100").await, bank.person("bob", "0").await);
    let order = bank.signed(bank.order(&ann, bob.did.as_str(), "1"), &ann);
    ann.client.clone().with_key(fresh()).call::<CreatePayment>(&order).await.unwrap();
    bank.module.service().catch_up().await.unwrap();
    let found = findings_after(&bank, "DELETE FROM history WHERE account = 9 AND version = 1").await;
    let named = ["history_mismatch history of account 9, version 1", "history_mismatch history"];
    assert_eq!(found, named);
    bank.world.abandon().await;
});
