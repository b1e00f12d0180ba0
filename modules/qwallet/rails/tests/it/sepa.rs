//! What we write is valid by the published schemas and says what was meant; what banks write is read to the last cent.

use q_core::{Amount, Scale, Timestamp};
use q_oracle::{ask, script};
use qwallet_rails::sepa::{Account, House, Payout, StatementError, payouts, read_report, read_statement};
use serde_json::{Value, json};

const SCALE: Scale = Scale::new(18).expect("18 decimals are allowed");
const CENT: u128 = 10_000_000_000_000_000;

fn account(name: &str) -> Account {
    Account::new("DE75 5121 0800 1245 1261 99", name).expect("an account")
}

fn judged(form: &str, document: &str) -> Option<Result<Value, String>> {
    let mut command = script("schemas of payments", env!("CARGO_MANIFEST_DIR"), "sepa.py")?;
    let told = ask(command.arg(form), document);
    Some(told.map(|told| serde_json::from_slice(&told).expect("the script tells JSON")))
}

#[test]
fn what_a_bank_is_asked_to_pay_is_valid_and_exact() {
    let house = House { account: account("House & Söhne"), currency: "EUR".into() };
    let payment = |number: u8, cents: u128, name: &str| Payout {
        end_to_end_id: format!("tx_{number:032x}"),
        to: account(name),
        amount: Amount::from_units(cents * CENT),
        text: format!("<withdrawal> {number} \"&\""),
    };
    let payments = [payment(1, 1, "Ann"), payment(2, 99_999_999_999, "Bob & Co. <Ltd>")];
    let at: Timestamp = "2026-11-22T10:00:00Z".parse().expect("an instant");
    let file = payouts("MSG-1", at, &house, SCALE, &payments).expect("cents");
    let Some(told) = judged("pain001", &file) else { return };
    let told = told.expect("the schema accepts it");
    assert_eq!((&told["count"], &told["sum"]), (&json!("2"), &json!("1000000000.00")));
    assert_eq!((&told["id"], &told["debtor"]), (&json!("MSG-1"), &json!("DE75512108001245126199")));
    let row = |number: u8, amount: &str, name: &str| {
        let text = format!("<withdrawal> {number} \"&\"");
        json!([format!("tx_{number:032x}"), amount, "EUR", name, "DE75512108001245126199", text])
    };
    assert_eq!(told["payments"], json!([row(1, "0.01", "Ann"), row(2, "999999999.99", "Bob & Co. <Ltd>")]));
    for units in [0, CENT / 10, CENT + 1, 100_000_000_000 * CENT] {
        let odd = Payout { amount: Amount::from_units(units), ..payment(3, 1, "Ann") };
        assert!(payouts("MSG-2", at, &house, SCALE, &[odd]).is_err(), "{units}");
    }
}

/// A statement as a bank writes it.
fn statement(version: &str, closing: &str, entries: &str) -> String {
    let day = "<Dt><Dt>2026-11-22</Dt></Dt>";
    let balance = |code: &str, amount: &str| {
        format!(
            "<Bal><Tp><CdOrPrtry><Cd>{code}</Cd></CdOrPrtry></Tp><Amt Ccy=\"EUR\">{amount}</Amt>\
             <CdtDbtInd>CRDT</CdtDbtInd>{day}</Bal>"
        )
    };
    format!(
        "<?xml version=\"1.0\"?><Document xmlns=\"urn:iso:std:iso:20022:tech:xsd:camt.053.001.{version}\">\
         <BkToCstmrStmt><GrpHdr><MsgId>M</MsgId><CreDtTm>2026-11-22T10:00:00Z</CreDtTm></GrpHdr><Stmt><Id>S-7</Id>\
         <CreDtTm>2026-11-22T10:00:00Z</CreDtTm><Acct><Id><IBAN>DE75512108001245126199</IBAN></Id><Ccy>EUR</Ccy></Acct>\
         {}{}{entries}</Stmt></BkToCstmrStmt></Document>",
        balance("OPBD", "100.00"),
        balance("CLBD", closing)
    )
}

fn entry(version: &str, amount: &str, side: &str, details: &str) -> String {
    let status = if version >= "08" { "<Sts><Cd>BOOK</Cd></Sts>" } else { "<Sts>BOOK</Sts>" };
    format!(
        "<Ntry><Amt Ccy=\"EUR\">{amount}</Amt><CdtDbtInd>{side}</CdtDbtInd>{status}<AcctSvcrRef>R{amount}</AcctSvcrRef>\
         <BkTxCd><Prtry><Cd>X</Cd></Prtry></BkTxCd><NtryDtls>{details}</NtryDtls></Ntry>"
    )
}

#[test]
fn what_a_bank_did_is_read_from_old_and_new_statements() {
    for version in ["02", "08", "13"] {
        let side = |side: &str| {
            if version == "02" { String::new() } else { format!("<CdtDbtInd>{side}</CdtDbtInd>") }
        };
        let amount = |amount: &str, sided: &str| match version {
            "02" => format!("<AmtDtls><TxAmt><Amt Ccy=\"EUR\">{amount}</Amt></TxAmt></AmtDtls>"),
            _ => format!("<Amt Ccy=\"EUR\">{amount}</Amt>{}", side(sided)),
        };
        let name = |name: &str| {
            if version == "02" { format!("<Nm>{name}</Nm>") } else { format!("<Pty><Nm>{name}</Nm></Pty>") }
        };
        let part = |id: &str, sum: &str| {
            format!("<TxDtls><Refs><EndToEndId>{id}</EndToEndId></Refs>{}</TxDtls>", amount(sum, "DBIT"))
        };
        let came = format!(
            "<TxDtls><Refs><EndToEndId>NOTPROVIDED</EndToEndId></Refs>{}<RltdPties><Dbtr>{}</Dbtr></RltdPties>\
             <RmtInf><Ustrd>for QQ12 &amp; me</Ustrd><Strd><CdtrRefInf><Ref>QQ34</Ref></CdtrRefInf></Strd></RmtInf></TxDtls>",
            amount("20.00000", "CRDT"),
            name("Cy")
        );
        let entries = [
            entry(version, "30.50", "DBIT", &(part("tx_1", "10.00") + &part("tx_2", "20.50"))),
            entry(version, "20.00000", "CRDT", &came),
        ];
        let document = statement(version, "89.50", &entries.concat());
        if let Some(told) = judged("camt053", &document) {
            assert_eq!(
                told.map(|told| told["version"].clone()),
                Ok(json!(format!("camt.053.001.{version}")))
            );
        }
        let read = read_statement(&document, SCALE).expect("it adds up");
        assert_eq!((read.id.as_str(), read.iban.as_str()), ("S-7", "DE75512108001245126199"));
        let told: Vec<_> = read
            .entries
            .iter()
            .map(|entry| {
                let cents = entry.money.amount.units() / CENT;
                (entry.end_to_end_id.as_deref(), cents, entry.money.is_debit, entry.reference.as_str())
            })
            .collect();
        let expected = [
            (Some("tx_1"), 1_000, true, "R30.50/1"),
            (Some("tx_2"), 2_050, true, "R30.50/2"),
            (None, 2_000, false, "R20.00000"),
        ];
        assert_eq!(told, expected, "version {version}");
        assert_eq!(
            (read.entries[2].text.as_str(), read.entries[2].sender.as_deref()),
            ("for QQ12 & me\nQQ34", Some("Cy"))
        );
    }
}

#[test]
fn a_statement_that_hides_something_is_refused() {
    let good = entry("08", "1.00", "CRDT", "");
    let read = |document: &str| read_statement(document, SCALE).map(drop);
    assert_eq!(read(&statement("08", "101.00", &good)), Ok(()));
    assert_eq!(read(&statement("08", "102.00", &good)), Err(StatementError::Sum));
    assert_eq!(read(&statement("08", "101.00", &(good.clone() + &good))), Err(StatementError::Sum));
    let announced = good.replace("BOOK", "PDNG");
    assert_eq!(read(&statement("08", "100.00", &announced)), Ok(()));
    let other = good.replace("EUR", "USD");
    assert_eq!(read(&statement("08", "101.00", &other)), Err(StatementError::Field("Amt/@Ccy")));
    let part = "<TxDtls><Amt Ccy=\"EUR\">0.50</Amt></TxDtls>";
    let parts = entry("08", "1.00", "CRDT", &[part, part, part].concat());
    assert_eq!(read(&statement("08", "101.00", &parts)), Err(StatementError::Sum));
    let bomb = "<!DOCTYPE d [<!ENTITY a \"aaaa\">]>";
    let bombed = statement("08", "101.00", &good).replacen("<Document", &format!("{bomb}<Document"), 1);
    assert!(matches!(read(&bombed), Err(StatementError::Xml(_))));
    let entity = statement("08", "101.00", &good.replace("<Cd>X", "<Cd>&x;"));
    assert!(matches!(read(&entity), Err(StatementError::Xml(_))));
    let deep = format!("<Document>{}", "<a>".repeat(40));
    assert!(matches!(read(&deep), Err(StatementError::Xml(_))));
    assert_eq!(read("<Document xmlns=\"urn:other\"></Document>"), Err(StatementError::Namespace));
}

#[test]
fn what_a_bank_says_of_a_file_is_read_from_old_and_new_reports() {
    let report = |version: &str, group: &str, payments: &str| {
        format!(
            "<?xml version=\"1.0\"?><Document xmlns=\"urn:iso:std:iso:20022:tech:xsd:pain.002.001.{version}\">\
             <CstmrPmtStsRpt><GrpHdr><MsgId>R</MsgId><CreDtTm>2026-11-22T11:00:00Z</CreDtTm></GrpHdr>\
             <OrgnlGrpInfAndSts><OrgnlMsgId>MSG-1</OrgnlMsgId><OrgnlMsgNmId>pain.001.001.09</OrgnlMsgNmId>{group}\
             </OrgnlGrpInfAndSts>{payments}</CstmrPmtStsRpt></Document>"
        )
    };
    let reason =
        "<StsRsnInf><Rsn><Cd>AC04</Cd></Rsn><AddtlInf>account &amp; all closed</AddtlInf></StsRsnInf>";
    for version in ["03", "12", "15"] {
        let payments = format!(
            "<OrgnlPmtInfAndSts><OrgnlPmtInfId>MSG-1</OrgnlPmtInfId>\
             <TxInfAndSts><OrgnlEndToEndId>tx_1</OrgnlEndToEndId><TxSts>ACSP</TxSts></TxInfAndSts>\
             <TxInfAndSts><OrgnlEndToEndId>tx_2</OrgnlEndToEndId><TxSts>RJCT</TxSts>{reason}</TxInfAndSts>\
             </OrgnlPmtInfAndSts>"
        );
        let document = report(version, "", &payments);
        if let Some(told) = judged("pain002", &document) {
            assert_eq!(told, Ok(json!({ "version": format!("pain.002.001.{version}") })));
        }
        let read = read_report(&document).expect("a report");
        assert_eq!((read.message_id.as_str(), read.rejected), ("MSG-1", None));
        let told: Vec<_> = read
            .payments
            .iter()
            .map(|payment| (payment.end_to_end_id.as_str(), payment.rejected.as_deref()))
            .collect();
        assert_eq!(told, [("tx_1", None), ("tx_2", Some("AC04 account & all closed"))]);
        let whole = report(version, &format!("<GrpSts>RJCT</GrpSts>{reason}"), "");
        assert!(judged("pain002", &whole).is_none_or(|told| told.is_ok()));
        assert!(read_report(&whole).expect("a report").rejected.is_some());
    }
    assert_eq!(read_report("<Document/>"), Err(StatementError::NoReport));
    assert_eq!(read_report(&statement("08", "100.00", "")), Err(StatementError::NoReport));
}
