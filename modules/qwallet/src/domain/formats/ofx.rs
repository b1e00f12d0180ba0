//! Open Financial Exchange 2.2, a bank statement response (section 11.4.2).
//!
//! Tokens are no ISO 4217 currency, so `CURDEF` is `XXX`, the code for "no currency"; amounts keep every digit. An
//! `ACCTID` has at most 22 characters and a wallet reference 26, so the first four stand in `BANKID`, which with the rest
//! is the reference.

use q_core::{SignedAmount, Timestamp};

use super::{
    text::{at_most, one_line},
    xml::Xml,
};
use crate::domain::statement::{Entry, Statement};

const PROLOG: &str = "<?xml version=\"1.0\" encoding=\"UTF-8\" standalone=\"no\"?>\n\
    <?OFX OFXHEADER=\"200\" VERSION=\"220\" SECURITY=\"NONE\" OLDFILEUID=\"NONE\" NEWFILEUID=\"NONE\"?>\n";

/// The longest `NAME`, `MEMO` and `DESC`.
const NAME_MAX: usize = 32;
const MEMO_MAX: usize = 255;

/// Writes a statement.
pub fn statement(statement: &Statement) -> String {
    let mut xml = Xml::begin(PROLOG);
    xml.within("OFX", |xml| {
        xml.within("SIGNONMSGSRSV1", |xml| {
            xml.within("SONRS", |xml| {
                succeeded(xml);
                xml.leaf("DTSERVER", &instant(statement.made_at));
                xml.leaf("LANGUAGE", "ENG");
            });
        });
        xml.within("BANKMSGSRSV1", |xml| {
            xml.within("STMTTRNRS", |xml| {
                xml.leaf("TRNUID", &statement.id());
                succeeded(xml);
                xml.within("STMTRS", |xml| account(xml, statement));
            });
        });
    });
    xml.finish()
}

fn succeeded(xml: &mut Xml) {
    xml.within("STATUS", |xml| {
        xml.leaf("CODE", "0");
        xml.leaf("SEVERITY", "INFO");
    });
}

fn account(xml: &mut Xml, statement: &Statement) {
    let text = |amount: SignedAmount| amount.display(statement.currency.scale);
    let (bank, account) = statement.wallet.split_at(4);
    xml.leaf("CURDEF", "XXX");
    xml.within("BANKACCTFROM", |xml| {
        xml.leaf("BANKID", bank);
        xml.leaf("ACCTID", account);
        xml.leaf("ACCTTYPE", "CHECKING");
    });
    xml.within("BANKTRANLIST", |xml| {
        xml.leaf("DTSTART", &instant(statement.period.from));
        xml.leaf("DTEND", &instant(statement.period.to));
        for entry in &statement.entries {
            xml.within("STMTTRN", |xml| transaction(xml, entry, &text(entry.change)));
        }
    });
    xml.within("LEDGERBAL", |xml| {
        xml.leaf("BALAMT", &text(statement.closing));
        xml.leaf("DTASOF", &instant(statement.period.to));
    });
    xml.within("BALLIST", |xml| {
        xml.within("BAL", |xml| {
            let name = statement.number.map_or("Opening".to_owned(), |number| format!("Opening {number}"));
            xml.leaf("NAME", &name);
            xml.leaf("DESC", &format!("{} before the first entry", statement.currency.code));
            xml.leaf("BALTYPE", "NUMBER");
            xml.leaf("VALUE", &text(statement.opening));
            xml.leaf("DTASOF", &instant(statement.period.from));
        });
    });
}

fn transaction(xml: &mut Xml, entry: &Entry, amount: &str) {
    let kind = match entry.change {
        _ if entry.is_fee() => "FEE",
        change if change.is_negative() => "DEBIT",
        _ => "CREDIT",
    };
    let purpose = one_line(entry.purpose.as_deref().unwrap_or_default());
    let words = [entry.client_ref.as_deref().unwrap_or_default(), &purpose];
    let memo: Vec<&str> = words.into_iter().filter(|word| !word.is_empty()).collect();
    xml.leaf("TRNTYPE", kind);
    xml.leaf("DTPOSTED", &instant(entry.at));
    xml.leaf("TRNAMT", amount);
    xml.leaf("FITID", &entry.reference());
    xml.leaf("NAME", &at_most(&entry.counterparty, NAME_MAX));
    xml.leaf("MEMO", &at_most(&memo.join(" "), MEMO_MAX));
}

/// `YYYYMMDDHHMMSS.XXX[0:GMT]` (section 3.2.8.2).
fn instant(at: Timestamp) -> String {
    let text = at.to_string();
    let digits: String = text.chars().take(19).filter(char::is_ascii_digit).collect();
    format!("{digits}.{:03}[0:GMT]", at.millis().rem_euclid(1_000))
}
