//! pain.002: what a bank says of the payments of a file before it makes them.
//!
//! Banks write many versions; what is read here is the same in 001.03 to 001.15. A rejection of the whole file, or of the
//! group that a file of ours has, is one of every payment in it.

use super::{StatementError, element::Element};

const NAMESPACE: &str = "urn:iso:std:iso:20022:tech:xsd:pain.002.001.";
/// `TransactionStatus` of ISO 20022: the payment will not be made.
const REJECTED: &str = "RJCT";

/// What a bank says of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PayoutReport {
    /// The `MsgId` of the file.
    pub message_id: String,
    /// Why nothing of the file will be paid, where that is so.
    pub rejected: Option<String>,
    /// What is said of single payments.
    pub payments: Vec<PaymentReport>,
}

/// What a bank says of a payment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PaymentReport {
    /// What whoever ordered it called it.
    pub end_to_end_id: String,
    /// Why it will not be made, where that is so: the bank's code and words.
    pub rejected: Option<String>,
}

/// Reads a report about one file.
pub fn read_report(document: &str) -> Result<PayoutReport, StatementError> {
    let root = Element::read(document)?;
    let is_report = root.attribute.as_deref().is_some_and(|name| name.starts_with(NAMESPACE));
    if root.name != "Document" || !is_report {
        return Err(StatementError::NoReport);
    }
    let report = root.at("CstmrPmtStsRpt").ok_or(StatementError::NoReport)?;
    let group = report.at("OrgnlGrpInfAndSts").ok_or(StatementError::Field("OrgnlGrpInfAndSts"))?;
    let message_id = group.text_at("OrgnlMsgId").ok_or(StatementError::Field("OrgnlMsgId"))?.to_owned();
    let mut rejected = refusal(group, "GrpSts");
    let mut payments = Vec::new();
    for part in report.all("OrgnlPmtInfAndSts") {
        // A file of ours has one group, so what is said of the group is said of the file.
        rejected = rejected.or_else(|| refusal(part, "PmtInfSts"));
        for payment in part.all("TxInfAndSts") {
            let id = payment.text_at("OrgnlEndToEndId").ok_or(StatementError::Field("OrgnlEndToEndId"))?;
            payments
                .push(PaymentReport { end_to_end_id: id.to_owned(), rejected: refusal(payment, "TxSts") });
        }
    }
    Ok(PayoutReport { message_id, rejected, payments })
}

/// Why it is rejected, if it is.
fn refusal(of: &Element, status: &str) -> Option<String> {
    if of.text_at(status) != Some(REJECTED) {
        return None;
    }
    let mut words: Vec<&str> = Vec::new();
    for reason in of.all("StsRsnInf") {
        words.extend(reason.text_at("Rsn/Cd").or_else(|| reason.text_at("Rsn/Prtry")));
        words.extend(reason.all("AddtlInf").map(|line| line.text.as_str()));
    }
    Some(words.join(" "))
}
