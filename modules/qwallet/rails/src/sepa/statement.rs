//! camt.053: what a bank did, entry by entry, between two balances.
//!
//! Banks write many versions; what is read here is the same in 001.02 to 001.13. A statement whose entries do not lead
//! from its opening to its closing balance is refused: something would be missing.

use q_core::{Amount, AmountText, Scale};

use super::element::Element;

const NAMESPACE: &str = "urn:iso:std:iso:20022:tech:xsd:camt.053.001.";
/// The most payments one statement may hold.
const PAYMENTS_MAX: usize = 200_000;

/// Why a statement or a report is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StatementError {
    /// The XML.
    #[error("not well-formed: {0}")]
    Xml(String),
    /// Not a statement.
    #[error("not a camt.053 statement")]
    Namespace,
    /// Not a report about payments.
    #[error("not a pain.002 report")]
    NoReport,
    /// Not exactly one statement of one account.
    #[error("a file holds exactly one statement")]
    Count,
    /// Something is missing or not what it should be.
    #[error("{0} is missing or not what it should be")]
    Field(&'static str),
    /// The entries do not lead from one balance to the other.
    #[error("the entries do not lead from the opening to the closing balance")]
    Sum,
}

/// What happened to an account.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Statement {
    /// Its name.
    pub id: String,
    /// The account's IBAN.
    pub iban: String,
    /// The currency's three letters.
    pub currency: String,
    /// What was there before.
    pub opening: Money,
    /// What was there afterwards.
    pub closing: Money,
    /// What was booked, payment by payment.
    pub entries: Vec<Entry>,
}

/// An amount with a side.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Money {
    /// How much.
    pub amount: Amount,
    /// Whether it is owed, or left the account.
    pub is_debit: bool,
}

/// One payment that was booked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// How much, and whether it left.
    pub money: Money,
    /// What the bank calls it, unique in the account; made from its place where the bank gives none.
    pub reference: String,
    /// What whoever ordered it called it.
    pub end_to_end_id: Option<String>,
    /// Whether it comes back because it could not be made.
    pub is_return: bool,
    /// What stands with it, line by line.
    pub text: String,
    /// Who sent it.
    pub sender: Option<String>,
}

/// Reads a statement whose amounts are counted with `scale`.
pub fn read_statement(document: &str, scale: Scale) -> Result<Statement, StatementError> {
    let root = Element::read(document)?;
    let is_statement = root.attribute.as_deref().is_some_and(|name| name.starts_with(NAMESPACE));
    if root.name != "Document" || !is_statement {
        return Err(StatementError::Namespace);
    }
    let report = root.at("BkToCstmrStmt").ok_or(StatementError::Namespace)?;
    let mut statements = report.all("Stmt");
    let (Some(statement), None) = (statements.next(), statements.next()) else {
        return Err(StatementError::Count);
    };
    let iban = statement.text_at("Acct/Id/IBAN").ok_or(StatementError::Field("Acct/Id/IBAN"))?.to_owned();
    let id = statement.text_at("Id").ok_or(StatementError::Field("Id"))?.to_owned();
    let (opening, currency) = balance(statement, &["OPBD", "PRCD"], scale)?;
    let (closing, closing_currency) = balance(statement, &["CLBD"], scale)?;
    if currency != closing_currency {
        return Err(StatementError::Field("Bal/Amt/@Ccy"));
    }
    let mut entries = Vec::new();
    for (entry, number) in statement.all("Ntry").zip(1..) {
        // Only what is booked counts: what is announced may still not come.
        let status = entry.text_at("Sts/Cd").or_else(|| entry.text_at("Sts"));
        if status.is_some_and(|status| status != "BOOK") {
            continue;
        }
        read_entry(&mut entries, entry, &format!("{id}/{number}"), &currency, scale)?;
        if entries.len() > PAYMENTS_MAX {
            return Err(StatementError::Field("Ntry"));
        }
    }
    let statement = Statement { id, iban, currency, opening, closing, entries };
    if statement.adds_up() { Ok(statement) } else { Err(StatementError::Sum) }
}

impl Statement {
    fn adds_up(&self) -> bool {
        let signed = |money: &Money| {
            let amount = i128::try_from(money.amount.units()).ok()?;
            Some(if money.is_debit { -amount } else { amount })
        };
        let opening = signed(&self.opening);
        let mut moved = self.entries.iter().map(|entry| signed(&entry.money));
        let end = moved.try_fold(opening, |sum, moved| Some(sum?.checked_add(moved?))).flatten();
        end.is_some() && end == signed(&self.closing)
    }
}

fn balance(statement: &Element, codes: &[&str], scale: Scale) -> Result<(Money, String), StatementError> {
    const FIELD: StatementError = StatementError::Field("Bal");
    let find =
        |code: &&str| statement.all("Bal").find(|balance| balance.text_at("Tp/CdOrPrtry/Cd") == Some(*code));
    let balance = codes.iter().find_map(find).ok_or(FIELD)?;
    let currency = balance.at("Amt").and_then(|amount| amount.attribute.clone()).ok_or(FIELD)?;
    Ok((money(balance, balance, "Amt", &currency, scale)?, currency))
}

/// The amount at `path` of `within`, on the side that `sided` tells.
fn money(
    within: &Element,
    sided: &Element,
    path: &str,
    currency: &str,
    scale: Scale,
) -> Result<Money, StatementError> {
    let amount = within.at(path).ok_or(StatementError::Field("Amt"))?;
    if amount.attribute.as_deref() != Some(currency) {
        return Err(StatementError::Field("Amt/@Ccy"));
    }
    // Banks write every decimal, as many as the currency has or five.
    let text = amount.text.as_str();
    let text = match text.split_once('.') {
        Some((whole, decimals)) => {
            let decimals = decimals.trim_end_matches('0');
            if decimals.is_empty() { whole.to_owned() } else { format!("{whole}.{decimals}") }
        }
        None => text.to_owned(),
    };
    let amount = AmountText::from(text.as_str()).parse(scale).map_err(|_| StatementError::Field("Amt"))?;
    let is_debit = match sided.text_at("CdtDbtInd") {
        Some("DBIT") => true,
        Some("CRDT") => false,
        _ => return Err(StatementError::Field("CdtDbtInd")),
    };
    Ok(Money { amount, is_debit })
}

/// An entry may stand for many payments: each is an entry of its own, if their sum is the entry's.
fn read_entry(
    entries: &mut Vec<Entry>,
    entry: &Element,
    place: &str,
    currency: &str,
    scale: Scale,
) -> Result<(), StatementError> {
    let whole = money(entry, entry, "Amt", currency, scale)?;
    let reference = entry.text_at("AcctSvcrRef").or_else(|| entry.text_at("NtryRef"));
    let parts: Vec<&Element> = entry.all("NtryDtls").flat_map(|details| details.all("TxDtls")).collect();
    let is_return = entry.text_at("RvslInd") == Some("true");
    if parts.len() <= 1 {
        let part = parts.first().copied();
        let reference = reference.unwrap_or(place).to_owned();
        entries.push(payment(part.unwrap_or(entry), whole, reference, is_return));
        return Ok(());
    }
    let mut sum = Amount::ZERO;
    for (part, number) in parts.into_iter().zip(1..) {
        // Older versions have the amount one level deeper.
        let path = if part.at("Amt").is_some() { "Amt" } else { "AmtDtls/TxAmt/Amt" };
        let sided = if part.at("CdtDbtInd").is_some() { part } else { entry };
        let money = money(part, sided, path, currency, scale)?;
        if money.is_debit != whole.is_debit {
            return Err(StatementError::Field("TxDtls/CdtDbtInd"));
        }
        sum = sum.checked_add(money.amount).ok_or(StatementError::Sum)?;
        let own = part.text_at("Refs/AcctSvcrRef").map(str::to_owned);
        let reference = own.unwrap_or_else(|| format!("{}/{number}", reference.unwrap_or(place)));
        entries.push(payment(part, money, reference, is_return));
    }
    if sum == whole.amount { Ok(()) } else { Err(StatementError::Sum) }
}

fn payment(part: &Element, money: Money, reference: String, is_reversal: bool) -> Entry {
    let end_to_end_id = part.text_at("Refs/EndToEndId").filter(|id| *id != "NOTPROVIDED");
    let mut lines: Vec<&str> = Vec::new();
    if let Some(info) = part.at("RmtInf") {
        lines.extend(info.all("Ustrd").map(|line| line.text.as_str()));
        lines.extend(info.all("Strd").filter_map(|line| line.text_at("CdtrRefInf/Ref")));
    }
    let sender =
        ["RltdPties/Dbtr/Pty/Nm", "RltdPties/Dbtr/Nm"].into_iter().find_map(|path| part.text_at(path));
    Entry {
        money,
        reference,
        end_to_end_id: end_to_end_id.map(str::to_owned),
        is_return: is_reversal || part.at("RtrInf").is_some(),
        text: lines.join("\n"),
        sender: sender.map(str::to_owned),
    }
}
