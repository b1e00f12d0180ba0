//! Money to a bank account and from it with the real program: files that people carry, judged by the published schemas.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;

use q_testkit::oracle;
use q_tests::{Instance, Outcome};
use serde_json::Value;

const IBAN: &str = "DE75512108001245126199";
const TO: &str = "payto://iban/FR1420041010050500013M02606?receiver-name=Zo%C3%A9";
const RAILS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../modules/qwallet/rails");

fn said(house: &Instance, arguments: &[&str]) -> String {
    let outcome = house.q(arguments);
    assert_eq!(outcome.code, Some(0), "{arguments:?}: {}{}", outcome.said, outcome.complained);
    outcome.said
}

fn refused(outcome: &Outcome, code: &str) {
    assert_eq!(outcome.code, Some(5), "{}{}", outcome.said, outcome.complained);
    assert!(outcome.complained.contains(code), "{}", outcome.complained);
}

/// What the published schema says of a document; nothing without the oracle.
fn judged(form: &str, document: &str) -> Option<Value> {
    let mut command = oracle::script("schemas of payments", RAILS, "sepa.py")?;
    let told = oracle::ask(command.arg(form), document).expect("the schema accepts it");
    Some(serde_json::from_slice(&told).expect("JSON"))
}

/// A statement as a bank writes it.
fn statement(id: &str, opening: &str, closing: &str, entries: &str) -> String {
    let balance = |code: &str, amount: &str| {
        format!(
            "<Bal><Tp><CdOrPrtry><Cd>{code}</Cd></CdOrPrtry></Tp><Amt Ccy=\"EUR\">{amount}</Amt>\
             <CdtDbtInd>CRDT</CdtDbtInd><Dt><Dt>2026-11-22</Dt></Dt></Bal>"
        )
    };
    format!(
        "<?xml version=\"1.0\"?><Document xmlns=\"urn:iso:std:iso:20022:tech:xsd:camt.053.001.08\">\
         <BkToCstmrStmt><GrpHdr><MsgId>M</MsgId><CreDtTm>2026-11-22T10:00:00Z</CreDtTm></GrpHdr><Stmt><Id>{id}</Id>\
         <CreDtTm>2026-11-22T10:00:00Z</CreDtTm><Acct><Id><IBAN>{IBAN}</IBAN></Id><Ccy>EUR</Ccy></Acct>\
         {}{}{entries}</Stmt></BkToCstmrStmt></Document>",
        balance("OPBD", opening),
        balance("CLBD", closing)
    )
}

fn entry(reference: &str, amount: &str, side: &str, id: &str, text: &str) -> String {
    let text =
        if text.is_empty() { String::new() } else { format!("<RmtInf><Ustrd>{text}</Ustrd></RmtInf>") };
    format!(
        "<Ntry><Amt Ccy=\"EUR\">{amount}</Amt><CdtDbtInd>{side}</CdtDbtInd><Sts><Cd>BOOK</Cd></Sts>\
         <AcctSvcrRef>{reference}</AcctSvcrRef><BkTxCd><Prtry><Cd>X</Cd></Prtry></BkTxCd><NtryDtls><TxDtls>\
         <Refs><EndToEndId>{id}</EndToEndId></Refs><Amt Ccy=\"EUR\">{amount}</Amt><CdtDbtInd>{side}</CdtDbtInd>\
         {text}</TxDtls></NtryDtls></Ntry>"
    )
}

/// Writes a file and gives its path.
fn file(house: &Instance, name: &str, document: &str) -> String {
    judged("camt053", document);
    let path = house.scratch().join(name);
    fs::write(&path, document).expect("a file");
    path.display().to_string()
}

fn balance(house: &Instance, name: &str) -> (String, String) {
    let told = house.q(&["wallet", "balance", "--as", name, "--json"]).json();
    let own = &told["balances"]["QToken"];
    (own["available"].as_str().unwrap().to_owned(), own["pendingOut"].as_str().unwrap().to_owned())
}

/// A withdrawal that waits for approvals is its payer's to take back, and nobody else's.
fn is_taken_back(house: &Instance) {
    let mistake = said(house, &["wallet", "rail", "withdraw", "sepa-file", TO, "70", "--as", "bob"]);
    let mistake = mistake.split_whitespace().next().unwrap();
    refused(&house.q(&["wallet", "rail", "cancel", mistake, "--as", "carol"]), "TRANSACTION_NOT_FOUND");
    let cancelled = said(house, &["wallet", "rail", "cancel", mistake, "--as", "bob"]);
    assert!(
        cancelled.contains(" CANCELLED\n") && cancelled.contains("its payer took it back"),
        "{cancelled}"
    );
    refused(&house.q(&["wallet", "approve", mistake, "--as", "carol"]), "INVALID_STATE");
}

#[test]
fn money_goes_to_a_bank_account_and_comes_from_one() {
    let settings = [
        ("QWALLET_RAIL_SEPA_IBAN", IBAN),
        ("QWALLET_RAIL_SEPA_NAME", "The House"),
        ("QWALLET_RAIL_SEPA_FEE", "0.5"),
    ];
    let Some(mut house) = Instance::demo(&settings) else { return };
    let listed = said(&house, &["wallet", "rail", "list", "--as", "operator"]);
    assert!(listed.contains("sepa-file  UP (QToken)") && listed.contains(IBAN), "{listed}");

    // Somebody pays into the account and names bob's wallet; the bank's statement says so.
    let address = said(&house, &["wallet", "rail", "address", "sepa-file", "--as", "bob"]);
    let reference = address.split("message=").nth(1).unwrap().split_whitespace().next().unwrap().to_owned();
    assert!(
        address.starts_with(&format!("payto://iban/{IBAN}?receiver-name=The%20House&message=Q")),
        "{address}"
    );
    let came = entry("R1", "100.00", "CRDT", "NOTPROVIDED", &format!("for {reference}, thanks"));
    let first = file(&house, "s1.xml", &statement("S-1", "500.00", "600.00", &came));
    refused(&house.q(&["wallet", "rail", "statement", &first, "--as", "bob"]), "FORBIDDEN");
    let taken = said(&house, &["wallet", "rail", "statement", &first, "--as", "operator"]);
    assert!(
        taken.contains("S-1: 0 paid, 1 credited, 1 for nobody yet, 0 costs; difference 0 QToken"),
        "{taken}"
    );
    assert_eq!(balance(&house, "bob"), ("112.5".to_owned(), "0".to_owned()));
    let told = said(&house, &["wallet", "rail", "deposits", "--as", "bob"]);
    assert!(told.contains("CREDITED") && told.contains("100 QToken"), "{told}");

    // Two withdrawals to a bank account leave in one file.
    let withdraw = |amount: &str| {
        let asked = said(&house, &["wallet", "rail", "withdraw", "sepa-file", TO, amount, "--as", "bob"]);
        assert!(asked.contains(" PENDING\n") && asked.contains("over sepa-file"), "{asked}");
        asked.split_whitespace().next().unwrap().to_owned()
    };
    let (paid, rejected) = (withdraw("40"), withdraw("20"));
    // 0.5 for the bank and half a percent for the house, each time.
    assert_eq!(balance(&house, "bob"), ("51.2".to_owned(), "61.3".to_owned()));
    let out = house.scratch().join("payouts.xml").display().to_string();
    let made = said(&house, &["wallet", "rail", "payouts", &out, "--as", "operator"]);
    let message = made.split_whitespace().next().unwrap().to_owned();
    let document = fs::read_to_string(&out).unwrap();
    if let Some(told) = judged("pain001", &document) {
        assert_eq!(
            (&told["id"], &told["count"], &told["sum"]),
            (&message.as_str().into(), &"2".into(), &"60.00".into())
        );
        let ids: Vec<&str> =
            told["payments"].as_array().unwrap().iter().map(|row| row[0].as_str().unwrap()).collect();
        assert_eq!(ids, [paid.as_str(), rejected.as_str()]);
        assert_eq!(told["payments"][0][4], "FR1420041010050500013M02606");
    }
    let none = house.scratch().join("none.xml").display().to_string();
    refused(
        &house.q(&["wallet", "rail", "payouts", &none, "--as", "operator"]),
        "nothing waits to be paid out",
    );
    house.stop();
    house.start(&["up"]);
    let again = house.scratch().join("again.xml").display().to_string();
    said(&house, &["wallet", "rail", "payouts", &again, "--again", &message, "--as", "operator"]);
    assert_eq!(fs::read_to_string(&again).unwrap(), document, "the same file, not another one");

    // The bank reports that it took one and not the other, and then that it paid.
    let shown = |id: &str| house.q(&["wallet", "rail", "show", id, "--as", "bob", "--json"]).json();
    assert_eq!(shown(&paid)["status"], "BROADCASTING");
    let report = report(&message, &[(&paid, "ACSP", ""), (&rejected, "RJCT", "AC04")]);
    let report = file_of(&house, "report.xml", &report);
    let taken = said(&house, &["wallet", "rail", "report", &report, "--as", "operator"]);
    assert!(taken.contains("1 rejected, 1 on their way"), "{taken}");
    let failed = shown(&rejected);
    assert_eq!(failed["status"], "FAILED");
    assert!(failed["reason"].as_str().unwrap().contains("AC04"), "{failed}");
    assert_eq!(balance(&house, "bob"), ("71.8".to_owned(), "40.7".to_owned()));
    assert_eq!(shown(&paid)["status"], "BROADCASTING", "paid when the statement says so");
    let left = entry("R2", "40.00", "DBIT", &paid, "");
    let second = file(&house, "s2.xml", &statement("S-2", "600.00", "560.00", &left));
    let taken = said(&house, &["wallet", "rail", "statement", &second, "--as", "operator"]);
    assert!(
        taken.contains("S-2: 1 paid, 0 credited, 0 for nobody yet, 0 costs; difference 0 QToken"),
        "{taken}"
    );
    assert_eq!(shown(&paid)["status"], "SETTLED");
    assert_eq!(balance(&house, "bob"), ("71.8".to_owned(), "0".to_owned()));

    // Above what others have to approve, it waits for them and leaves with the last approval.
    for name in ["carol", "dora"] {
        said(&house, &["id", "new", name]);
    }
    let set = ["wallet", "approvals", "set", "--above", "50", "--required", "2", "--as", "bob"];
    said(&house, &[&set[..], &["--approver", "carol", "--approver", "dora"]].concat());
    let asked = said(&house, &["wallet", "rail", "withdraw", "sepa-file", TO, "60", "--as", "bob"]);
    let id = asked.split_whitespace().next().unwrap().to_owned();
    assert!(asked.contains(" AWAITING_APPROVAL\n") && asked.contains("0 of the 2 approvals"), "{asked}");
    assert!(said(&house, &["wallet", "approvals", "waiting", "--as", "carol"]).contains(&id));
    is_taken_back(&house);
    refused(&house.q(&["wallet", "rail", "cancel", &paid, "--as", "bob"]), "INVALID_STATE");
    refused(&house.q(&["wallet", "approve", &id, "--as", "bob"]), "SELF_APPROVAL");
    assert!(said(&house, &["wallet", "approve", &id, "--as", "carol"]).contains("1 of the 2 approvals"));
    assert_eq!(balance(&house, "bob"), ("71.8".to_owned(), "0".to_owned()), "nothing is held yet");
    assert!(said(&house, &["wallet", "approve", &id, "--as", "dora"]).contains(" PENDING\n"));
    assert_eq!(balance(&house, "bob"), ("11".to_owned(), "60.8".to_owned()));
    said(&house, &["wallet", "rail", "payouts", &none, "--as", "operator"]);
    assert!(fs::read_to_string(&none).unwrap().contains(&id));
    let trial = said(&house, &["wallet", "trial-balance", "--as", "operator"]);
    assert!(trial.lines().all(|row| row.contains("  difference 0  ")), "{trial}");
    assert_eq!(house.q(&["verify"]).code, Some(0));
}

/// What a bank says of each payment of a file, as pain.002.
fn report(message: &str, payments: &[(&str, &str, &str)]) -> String {
    let payments = payments.iter().map(|(id, status, reason)| {
        let reason = if reason.is_empty() {
            String::new()
        } else {
            format!("<StsRsnInf><Rsn><Cd>{reason}</Cd></Rsn></StsRsnInf>")
        };
        format!("<TxInfAndSts><OrgnlEndToEndId>{id}</OrgnlEndToEndId><TxSts>{status}</TxSts>{reason}</TxInfAndSts>")
    });
    format!(
        "<?xml version=\"1.0\"?><Document xmlns=\"urn:iso:std:iso:20022:tech:xsd:pain.002.001.12\"><CstmrPmtStsRpt>\
         <GrpHdr><MsgId>R-1</MsgId><CreDtTm>2026-11-22T11:00:00Z</CreDtTm></GrpHdr><OrgnlGrpInfAndSts>\
         <OrgnlMsgId>{message}</OrgnlMsgId><OrgnlMsgNmId>pain.001.001.09</OrgnlMsgNmId></OrgnlGrpInfAndSts>\
         <OrgnlPmtInfAndSts><OrgnlPmtInfId>{message}</OrgnlPmtInfId>{}</OrgnlPmtInfAndSts></CstmrPmtStsRpt></Document>",
        payments.collect::<String>()
    )
}

fn file_of(house: &Instance, name: &str, document: &str) -> String {
    judged("pain002", document);
    let path = house.scratch().join(name);
    fs::write(&path, document).expect("a file");
    path.display().to_string()
}
