//! The reader of payout files against good, broken and hostile documents.

use super::*;

/// A file of two payments; `{…}` marks are replaced by the cases.
const FILE: &str = r#"<?xml version="1.0" encoding="UTF-8"?>
<Document xmlns="urn:iso:std:iso:20022:tech:xsd:pain.001.001.09">
  <CstmrCdtTrfInitn>
    <GrpHdr>
      <MsgId>PAYROLL-1</MsgId><CreDtTm>2026-11-21T09:00:00</CreDtTm>
      <NbOfTxs>2</NbOfTxs>
      <CtrlSum>3.75</CtrlSum>
    </GrpHdr>
    <PmtInf>
      <PmtInfId>P1</PmtInfId><PmtMtd>TRF</PmtMtd><NbOfTxs>2</NbOfTxs><CtrlSum>3.75</CtrlSum>
      <DbtrAcct><Id><IBAN>QQ00PAYER</IBAN></Id></DbtrAcct>
      <CdtTrfTxInf>
        <PmtId><EndToEndId>E1</EndToEndId></PmtId>
        <Amt><InstdAmt Ccy="XTS">1.25</InstdAmt></Amt>
        <Cdtr><Nm>Ann &amp; Bob &#233;</Nm></Cdtr>
        <CdtrAcct><Id><IBAN>QQ00ANN</IBAN></Id></CdtrAcct>
        <RmtInf><Ustrd>wages &lt;1&gt;</Ustrd></RmtInf>
      </CdtTrfTxInf>
      <CdtTrfTxInf>
        <PmtId><EndToEndId>E2</EndToEndId></PmtId>
        <Amt><InstdAmt Ccy="XTS">2.50</InstdAmt></Amt>
        <Cdtr><Nm>Ann &amp; Bob &#233;</Nm></Cdtr>
        <CdtrAcct><Id><Othr><Id>QQ00BOB</Id></Othr></Id></CdtrAcct>
      </CdtTrfTxInf>
    </PmtInf>
  </CstmrCdtTrfInitn>
</Document>
"#;

#[test]
fn reads_both_versions() {
    for version in ["09", "03"] {
        let file = read(&FILE.replace("001.001.09", &format!("001.001.{version}"))).unwrap();
        assert_eq!(file.format, format!("pain.001.001.{version}"));
        assert_eq!((file.message_id.as_str(), file.currency.as_str()), ("PAYROLL-1", "XTS"));
        assert_eq!(file.debtor.as_deref(), Some("QQ00PAYER"));
        let lines: Vec<_> = file
            .payments
            .iter()
            .map(|payment| {
                (
                    payment.end_to_end_id.as_str(),
                    payment.creditor.as_str(),
                    payment.amount.as_str(),
                    payment.place.line,
                )
            })
            .collect();
        assert_eq!(lines, [("E1", "QQ00ANN", "1.25", 12), ("E2", "QQ00BOB", "2.50", 19)]);
        assert_eq!(file.payments[0].purpose.as_deref(), Some("wages <1>"));
        assert_eq!(file.payments[1].purpose.as_deref(), Some("Ann & Bob é"));
        assert_eq!(file.payments[1].place.xpath, "/Document/CstmrCdtTrfInitn/PmtInf[1]/CdtTrfTxInf[2]");
    }
}

#[test]
fn a_prefix_for_the_namespace_changes_nothing() {
    let prefixed =
        FILE.replace("xmlns=", "xmlns:p=").replace('<', "<p:").replace("<p:/", "</p:").replace("<p:?", "<?");
    assert_eq!(read(&prefixed).map(|file| file.payments.len()), Ok(2));
}

#[test]
fn names_the_place_of_each_fault() {
    let bomb = r#"<!DOCTYPE d [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;&a;&a;">]><Document"#;
    let group = "/Document/CstmrCdtTrfInitn/GrpHdr";
    let payment = "/Document/CstmrCdtTrfInitn/PmtInf[1]/CdtTrfTxInf";
    let rows: Vec<(&str, &str, Fault, String, u32)> = vec![
        ("<Document", bomb, Fault::DocumentType, "/".into(), 2),
        ("wages", "&b;", Fault::Entity("b".into()), format!("{payment}[1]/RmtInf/Ustrd"), 17),
        ("pain.001.001.09", "pain.008.001.02", Fault::Namespace, "/Document".into(), 2),
        ("<GrpHdr>", "<GrpHdr xmlns=\"urn:x\">", Fault::Namespace, group.into(), 4),
        ("<MsgId>PAYROLL-1</MsgId>", "", Fault::Missing("GrpHdr/MsgId"), "/".into(), 28),
        (
            "<NbOfTxs>2</NbOfTxs>\n      <CtrlSum>",
            "<NbOfTxs>3</NbOfTxs>\n      <CtrlSum>",
            Fault::Count { said: "3".into(), found: 2 },
            format!("{group}/NbOfTxs"),
            6,
        ),
        (
            "<CtrlSum>3.75</CtrlSum>\n    </GrpHdr>",
            "<CtrlSum>3.74</CtrlSum>\n    </GrpHdr>",
            Fault::ControlSum { said: "3.74".into(), found: "3.75".into() },
            format!("{group}/CtrlSum"),
            7,
        ),
        (
            ">TRF<",
            ">CHK<",
            Fault::Method("CHK".into()),
            "/Document/CstmrCdtTrfInitn/PmtInf[1]/PmtMtd".into(),
            10,
        ),
        ("\"XTS\">2.50", "\"EUR\">2.50", Fault::Mixed("Ccy"), format!("{payment}[2]/Amt/InstdAmt"), 21),
        (
            " Ccy=\"XTS\">1",
            ">1",
            Fault::Missing("the attribute Ccy"),
            format!("{payment}[1]/Amt/InstdAmt"),
            14,
        ),
        (">1.25<", ">1.2e1<", Fault::Malformed("InstdAmt"), format!("{payment}[1]/Amt/InstdAmt"), 14),
        (">E2<", ">E1<", Fault::DuplicateReference("E1".into()), format!("{payment}[2]"), 19),
        ("<IBAN>QQ00ANN</IBAN>", "", Fault::Missing("CdtrAcct/Id"), format!("{payment}[1]"), 12),
    ];
    for (from, to, what, xpath, line) in rows {
        let broken = FILE.replacen(from, to, 1);
        assert_ne!(broken, FILE, "{from} is in the file");
        let place = Place { xpath, line };
        assert_eq!(read(&broken), Err(Refused { place, what }), "{from} -> {to}");
    }
}

#[test]
fn refuses_what_is_not_a_document_at_all() {
    let deep = format!("{}{}", &FILE[..FILE.find("<GrpHdr>").unwrap()], "<GrpHdr>".repeat(100));
    let long = FILE.replace("wages", &"w".repeat(10_000));
    let second = format!("{FILE}{}", &FILE[FILE.find("<Document").unwrap()..]);
    for hostile in ["", "{}", "<a/>", "<Document>", &FILE[..400], &deep, &long, &second, "\u{0}", "<!--"] {
        assert!(read(hostile).is_err(), "{hostile:.60}");
    }
}

proptest::proptest! {
    #[test]
    fn never_panics(at in 0usize..FILE.len(), insert in "[<>&/a-z\"= ]{0,6}") {
        if FILE.is_char_boundary(at) {
            let _ = read(&format!("{}{insert}{}", &FILE[..at], &FILE[at..]));
        }
    }
}
