//! ISO 20022 camt.053.001.08, bank to customer statement.
//!
//! Its amounts have a code of three letters, at most five decimals and at most 18 digits. So a currency needs a code the
//! operator chose for it, and each amount and balance must fit as it is; otherwise the statement is refused, because a
//! rounded one would not add up.

use q_core::SignedAmount;

use super::{NotRepresentable, text::one_line, xml::Xml};
use crate::domain::{
    statement::{Entry, Statement},
    transfer::Purpose,
};

const PROLOG: &str = "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n";
const DOCUMENT: &str = "Document xmlns=\"urn:iso:std:iso:20022:tech:xsd:camt.053.001.08\"";

/// `ActiveOrHistoricCurrencyAndAmount`: `fractionDigits` and `totalDigits`.
const DECIMALS_MAX: usize = 5;
const DIGITS_MAX: usize = 18;
/// `Max140Text`, of which `Ustrd` takes as many as there are.
const UNSTRUCTURED_MAX: usize = 140;

const INSTEAD: &str = "ask for format=csv, ofx, hledger or ledger, which hold every decimal";

/// Writes a statement.
pub fn statement(statement: &Statement) -> Result<String, NotRepresentable> {
    let Some(code) = &statement.iso_alias else {
        let what = format!("{} has no three-letter code here (qwallet.iso_alias)", statement.currency.code);
        return Err(NotRepresentable::new(what, INSTEAD));
    };
    let amount = |amount: SignedAmount| {
        let text = amount.magnitude().display(statement.currency.scale);
        let (whole, decimals) = text.split_once('.').unwrap_or((&text, ""));
        let digits = whole.trim_start_matches('0').len() + decimals.len();
        if decimals.len() > DECIMALS_MAX || digits > DIGITS_MAX {
            let what = format!("{text} {} needs more digits than camt.053 has", statement.currency.code);
            return Err(NotRepresentable::new(what, INSTEAD));
        }
        Ok(Money { code, text, is_debit: amount.is_negative() })
    };
    let (opening, closing) = (amount(statement.opening)?, amount(statement.closing)?);
    let amounts: Result<Vec<Money<'_>>, NotRepresentable> =
        statement.entries.iter().map(|entry| amount(entry.change)).collect();
    let amounts = amounts?;
    let mut xml = Xml::begin(PROLOG);
    let (id, made_at) = (statement.id(), statement.made_at.to_string());
    xml.within(DOCUMENT, |xml| {
        xml.within("BkToCstmrStmt", |xml| {
            xml.within("GrpHdr", |xml| {
                xml.leaf("MsgId", &id);
                xml.leaf("CreDtTm", &made_at);
            });
            xml.within("Stmt", |xml| {
                xml.leaf("Id", &id);
                if let Some(number) = statement.number {
                    xml.leaf("ElctrncSeqNb", &number.to_string());
                    xml.leaf("LglSeqNb", &number.to_string());
                }
                xml.leaf("CreDtTm", &made_at);
                xml.within("FrToDt", |xml| {
                    xml.leaf("FrDtTm", &statement.period.from.to_string());
                    xml.leaf("ToDtTm", &statement.period.to.to_string());
                });
                xml.within("Acct", |xml| {
                    account_id(xml, &statement.wallet);
                    xml.leaf("Ccy", code);
                    xml.within("Ownr", |xml| xml.leaf("Nm", &statement.owner));
                });
                balance(xml, "OPBD", &opening, &statement.period.from.to_string());
                balance(xml, "CLBD", &closing, &statement.period.to.to_string());
                xml.within("TxsSummry", |xml| {
                    xml.within("TtlNtries", |xml| {
                        xml.leaf("NbOfNtries", &statement.entries.len().to_string());
                    });
                });
                for (entry, money) in statement.entries.iter().zip(&amounts) {
                    xml.within("Ntry", |xml| self::entry(xml, statement, entry, money));
                }
            });
        });
    });
    Ok(xml.finish())
}

/// An amount that fits, with its direction.
struct Money<'a> {
    code: &'a str,
    text: String,
    is_debit: bool,
}

impl Money<'_> {
    fn write(&self, xml: &mut Xml) {
        xml.leaf(&format!("Amt Ccy=\"{}\"", self.code), &self.text);
        xml.leaf("CdtDbtInd", if self.is_debit { "DBIT" } else { "CRDT" });
    }
}

fn account_id(xml: &mut Xml, id: &str) {
    xml.within("Id", |xml| xml.within("Othr", |xml| xml.leaf("Id", id)));
}

fn balance(xml: &mut Xml, code: &str, money: &Money<'_>, at: &str) {
    xml.within("Bal", |xml| {
        xml.within("Tp", |xml| xml.within("CdOrPrtry", |xml| xml.leaf("Cd", code)));
        money.write(xml);
        xml.within("Dt", |xml| xml.leaf("DtTm", at));
    });
}

fn entry(xml: &mut Xml, statement: &Statement, entry: &Entry, money: &Money<'_>) {
    xml.leaf("NtryRef", &entry.seq.to_string());
    money.write(xml);
    xml.within("Sts", |xml| xml.leaf("Cd", "BOOK"));
    xml.within("BookgDt", |xml| xml.leaf("DtTm", &entry.at.to_string()));
    xml.within("ValDt", |xml| xml.leaf("DtTm", &entry.at.to_string()));
    xml.leaf("AcctSvcrRef", &entry.transaction.to_string());
    xml.within("BkTxCd", |xml| transaction_code(xml, entry, money.is_debit));
    xml.within("NtryDtls", |xml| {
        xml.within("TxDtls", |xml| {
            xml.within("Refs", |xml| {
                xml.leaf("EndToEndId", entry.client_ref.as_deref().unwrap_or("NOTPROVIDED"));
                xml.leaf("TxId", &entry.transaction.to_string());
            });
            let (own, other) = (statement.wallet.as_str(), entry.counterparty.as_str());
            let (debtor, creditor) = if money.is_debit { (own, other) } else { (other, own) };
            xml.within("RltdPties", |xml| {
                xml.within("DbtrAcct", |xml| account_id(xml, debtor));
                xml.within("CdtrAcct", |xml| account_id(xml, creditor));
            });
            remittance(xml, entry.purpose.as_deref().unwrap_or_default());
        });
    });
}

/// A domain, family and sub-family of the external code list, and our own words.
fn transaction_code(xml: &mut Xml, entry: &Entry, is_debit: bool) {
    let sub_family = match entry.leg {
        Purpose::Principal => "BOOK",
        _ if entry.is_fee() => "FEES",
        _ => "OTHR",
    };
    xml.within("Domn", |xml| {
        xml.leaf("Cd", "PMNT");
        xml.within("Fmly", |xml| {
            xml.leaf("Cd", if is_debit { "ICDT" } else { "RCDT" });
            xml.leaf("SubFmlyCd", sub_family);
        });
    });
    xml.within("Prtry", |xml| {
        xml.leaf("Cd", &format!("{}:{}", entry.kind, entry.leg.name()));
        xml.leaf("Issr", "Q");
    });
}

fn remittance(xml: &mut Xml, purpose: &str) {
    let purpose: Vec<char> = one_line(purpose).chars().collect();
    if purpose.is_empty() {
        return;
    }
    xml.within("RmtInf", |xml| {
        for part in purpose.chunks(UNSTRUCTURED_MAX) {
            xml.leaf("Ustrd", &part.iter().collect::<String>());
        }
    });
}
