//! pain.001.001.09: what a bank is asked to pay.

use std::fmt::Write as _;

use q_core::{Amount, Scale, Timestamp};
use quick_xml::escape::escape;

use super::Account;

/// Euro payments have two decimals and at most eleven digits.
const DECIMALS: usize = 2;
const AMOUNT_MAX: u128 = 99_999_999_999;
/// `Max140Text`.
const TEXT_CHARS_MAX: usize = 140;

/// Who pays.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct House {
    /// The account that is debited.
    pub account: Account,
    /// Three letters, such as EUR.
    pub currency: String,
}

/// One payment of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Payout {
    /// At most 35 characters; comes back with the statement.
    pub end_to_end_id: String,
    /// Who is paid.
    pub to: Account,
    /// How much.
    pub amount: Amount,
    /// What the recipient reads.
    pub text: String,
}

/// An amount that a bank cannot pay exactly.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0} is not an amount of euro and cent")]
pub struct NotRepresentable(pub String);

/// The text of an amount, if a bank can pay exactly that.
pub(crate) fn amount_text(amount: Amount, scale: Scale) -> Result<String, NotRepresentable> {
    let text = amount.display(scale);
    let decimals = text.split_once('.').map_or(0, |(_, decimals)| decimals.len());
    let cents = cents(amount, scale);
    match cents {
        Some(cents) if decimals <= DECIMALS && (1..=AMOUNT_MAX).contains(&cents) => {
            Ok(format!("{}.{:02}", cents / 100, cents % 100))
        }
        _ => Err(NotRepresentable(text)),
    }
}

fn cents(amount: Amount, scale: Scale) -> Option<u128> {
    let (units, decimals) = (amount.units(), scale.decimals());
    if decimals <= 2 {
        units.checked_mul(10u128.pow(u32::from(2 - decimals)))
    } else {
        let step = 10u128.pow(u32::from(decimals - 2));
        units.is_multiple_of(step).then(|| units / step)
    }
}

/// Writes a file under the name `message_id` (at most 35 characters), to be carried out on the day of `at`.
pub fn payouts(
    message_id: &str,
    at: Timestamp,
    house: &House,
    scale: Scale,
    payments: &[Payout],
) -> Result<String, NotRepresentable> {
    let mut sum = Amount::ZERO;
    let mut transfers = String::new();
    for payment in payments {
        let amount = amount_text(payment.amount, scale)?;
        sum = sum.checked_add(payment.amount).ok_or_else(|| NotRepresentable("the sum".to_owned()))?;
        let Account { iban, name } = &payment.to;
        let text: String = payment.text.chars().take(TEXT_CHARS_MAX).collect();
        let end = [
            ("PmtId/EndToEndId", payment.end_to_end_id.as_str()),
            ("Cdtr/Nm", name),
            ("CdtrAcct/Id/IBAN", iban),
            ("RmtInf/Ustrd", &text),
        ];
        transfers.push_str("<CdtTrfTxInf>");
        leaf(&mut transfers, end[0].0, end[0].1);
        let currency = escape(house.currency.as_str());
        let _ = write!(transfers, "<Amt><InstdAmt Ccy=\"{currency}\">{amount}</InstdAmt></Amt>");
        end[1..].iter().for_each(|(path, text)| leaf(&mut transfers, path, text));
        transfers.push_str("</CdtTrfTxInf>\n");
    }
    let sum = amount_text(sum, scale).or_else(|error| {
        // A file may hold more than one payment may be.
        cents(sum, scale).map(|cents| format!("{}.{:02}", cents / 100, cents % 100)).ok_or(error)
    })?;
    let (created, count) = (at.to_string(), payments.len().to_string());
    let day = created.split('T').next().unwrap_or(&created).to_owned();
    let mut out = String::from(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n\
         <Document xmlns=\"urn:iso:std:iso:20022:tech:xsd:pain.001.001.09\">\n<CstmrCdtTrfInitn>\n<GrpHdr>",
    );
    leaf(&mut out, "MsgId", message_id);
    leaf(&mut out, "CreDtTm", &created);
    leaf(&mut out, "NbOfTxs", &count);
    leaf(&mut out, "CtrlSum", &sum);
    leaf(&mut out, "InitgPty/Nm", &house.account.name);
    out.push_str("</GrpHdr>\n<PmtInf>");
    leaf(&mut out, "PmtInfId", message_id);
    leaf(&mut out, "PmtMtd", "TRF");
    leaf(&mut out, "NbOfTxs", &count);
    leaf(&mut out, "CtrlSum", &sum);
    leaf(&mut out, "PmtTpInf/SvcLvl/Cd", "SEPA");
    leaf(&mut out, "ReqdExctnDt/Dt", &day);
    leaf(&mut out, "Dbtr/Nm", &house.account.name);
    leaf(&mut out, "DbtrAcct/Id/IBAN", &house.account.iban);
    // The bank knows itself by the account.
    leaf(&mut out, "DbtrAgt/FinInstnId/Othr/Id", "NOTPROVIDED");
    leaf(&mut out, "ChrgBr", "SLEV");
    out.push('\n');
    out.push_str(&transfers);
    out.push_str("</PmtInf>\n</CstmrCdtTrfInitn>\n</Document>\n");
    Ok(out)
}

/// An element at the end of a path of elements.
fn leaf(out: &mut String, path: &str, text: &str) {
    if text.is_empty() {
        return;
    }
    for name in path.split('/') {
        let _ = write!(out, "<{name}>");
    }
    out.push_str(&escape(text));
    for name in path.rsplit('/') {
        let _ = write!(out, "</{name}>");
    }
}
