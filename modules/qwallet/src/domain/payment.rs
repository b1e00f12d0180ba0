//! Whether a payment order is right, and which transfers it means.
//!
//! The refusals stand in the order in which they are checked; `tests` walks that order, each row mending
//! the fault of the row before.

use std::sync::Arc;

use q_contract::ErrorCode;
use q_core::{Amount, AmountError, AmountText, Span, Timestamp};
use qwallet_api::{TransactionId, WalletId};

use super::{
    account::AccountId,
    books::{self, Group},
    currency::{self, AmountRefusal, Currency, CurrencyId},
    fees::{FeeAmounts, FeeClass, FeeSchedule, InForce},
    limits::Exceeded,
    order::SignatureFault,
    profile::Profile,
    quotes::{QuoteFault, Quoted},
    transfer::{Leg, Purpose},
};

/// The rail on which both wallets are of this instance.
pub const INTERNAL_RAIL: &str = "internal";

/// How far ahead an order may expire.
pub const ORDER_TTL_MAX: Span = Span::seconds(86_400);

/// The longest reference of a payer, ISO 20022 `Max35Text`.
pub const CLIENT_REF_CHARACTERS_MAX: usize = 35;

/// The longest purpose.
pub const PURPOSE_CHARACTERS_MAX: usize = 500;

/// Why a payment order is refused, in the order of checking.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// A field does not have the declared form.
    #[error("the field {0} does not have the declared form")]
    Malformed(&'static str),
    /// An amount's text does not have the declared form.
    #[error("{0}")]
    AmountForm(AmountError),
    /// A batch has no items or too many.
    #[error("a batch has between 1 and {max} items", max = qwallet_api::BATCH_ITEMS_MAX)]
    BatchSize,
    /// The idempotency key was used for another order.
    #[error("the idempotency key was used for another request")]
    KeyReused,
    /// The paying wallet is not there or not the payer's.
    #[error("the paying wallet does not exist")]
    WalletNotFound,
    /// The intent is not there or not the signer's.
    #[error("the intent does not exist")]
    IntentNotFound,
    /// The payment is not in a state that allows this.
    #[error("the payment is {0}")]
    InvalidState(&'static str),
    /// The order's time is over.
    #[error("the order has expired")]
    Expired,
    /// The signature does not authorise it.
    #[error("{0}")]
    Signature(SignatureFault),
    /// The recipient has no wallet here.
    #[error("the recipient has no wallet here")]
    RecipientUnknown,
    /// Payer and recipient are one.
    #[error("payer and recipient are one wallet")]
    SelfPayment,
    /// Another rail than the internal one.
    #[error("this instance does not offer the rail")]
    RailUnsupported,
    /// No such currency.
    #[error("this instance does not know the currency")]
    CurrencyUnsupported,
    /// More decimals than the currency has.
    #[error("the amount has more decimals than the currency")]
    AmountPrecision,
    /// Zero or too large, of this currency where it is known.
    #[error("{}", range(*.0))]
    AmountOutOfRange(Option<&'static Currency>),
    /// The wallet's profile does not allow it.
    #[error("{0}")]
    Profile(&'static str),
    /// A wallet is frozen.
    #[error("a wallet of this payment is frozen, suspended or closed: it neither pays nor is paid")]
    WalletFrozen,
    /// The recipient's identity may not act, so money for it would lie where nobody can use it.
    #[error("the recipient's identity is suspended or ended: nothing can be paid to it now")]
    RecipientSuspended,
    /// Others have to approve it first.
    #[error("{given} of the {required} approvals that this payment needs are given")]
    ApprovalRequired {
        /// How many did.
        given: u8,
        /// How many have to.
        required: u8,
    },
    /// So much is paid only by a payer who proved a second key just now.
    #[error("payments above {} {} need a second key", currency.text(*above).as_str(), currency.code)]
    StepUpRequired {
        /// Above how much.
        above: Amount,
        /// Of what.
        currency: &'static Currency,
    },
    /// The payer's limits do not allow it.
    #[error("the {}'s {} limit would be exceeded", if limit.exceeded.is_inherited { "parent wallet" } else { "wallet" }, limit.exceeded.kind.name())]
    LimitExceeded {
        /// Which, and how much was used.
        limit: LimitOf,
    },
    /// More was to be taken than is held.
    #[error("more than is left of what is held")]
    CaptureExceeds {
        /// The currency, where it is known.
        currency: Option<&'static Currency>,
        /// What is held.
        held: books::Held,
    },
    /// The quote does not hold for this payment.
    #[error("{0}")]
    Quote(QuoteFault),
    /// Fees above the signed maximum.
    #[error("the fees are above the signed maximum")]
    FeesExceedMaximum,
    /// Not enough money.
    #[error("the wallet does not hold enough")]
    InsufficientFunds,
    /// A wallet that is to end holds something, or something is held for it.
    #[error("the wallet is not empty")]
    NotEmpty,
    /// A record besides the books does not allow it: a refund, an escrow, a schedule.
    #[error("{detail}")]
    Record {
        /// The code of the room that refuses.
        code: &'static ErrorCode,
        /// What is wrong and what to do.
        detail: &'static str,
    },
    /// Another item of the atomic batch was refused.
    #[error("another item of the atomic batch was refused")]
    RolledBack,
}

/// A limit and the currency it is in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LimitOf {
    /// The currency, where it is known.
    pub currency: Option<&'static Currency>,
    /// The limit.
    pub exceeded: Exceeded,
}

/// What an amount may be.
fn range(currency: Option<&'static Currency>) -> String {
    match currency {
        Some(currency) => format!(
            "an amount of {} is from {} to {}, and its fees are added to it",
            currency.code,
            currency.least().as_str(),
            currency.greatest().as_str()
        ),
        None => "the amount is zero or too large".to_owned(),
    }
}

impl Refusal {
    /// The refusal of an amount of `currency`.
    #[must_use]
    pub fn of(self, currency: &'static Currency) -> Self {
        match self {
            Self::AmountOutOfRange(_) => Self::AmountOutOfRange(Some(currency)),
            Self::LimitExceeded { limit } => {
                Self::LimitExceeded { limit: LimitOf { currency: Some(currency), ..limit } }
            }
            Self::CaptureExceeds { held, .. } => Self::CaptureExceeds { currency: Some(currency), held },
            other => other,
        }
    }
}

impl From<AmountRefusal> for Refusal {
    fn from(refusal: AmountRefusal) -> Self {
        match refusal {
            AmountRefusal::Text(fault @ (AmountError::NotAString | AmountError::Malformed)) => {
                Self::AmountForm(fault)
            }
            AmountRefusal::Text(AmountError::Precision) => Self::AmountPrecision,
            AmountRefusal::Text(AmountError::OutOfRange) | AmountRefusal::Zero => {
                Self::AmountOutOfRange(None)
            }
        }
    }
}

impl From<books::Refusal> for Refusal {
    fn from(refusal: books::Refusal) -> Self {
        match refusal {
            books::Refusal::HoldUnknown => Self::InvalidState("not held"),
            books::Refusal::HoldEnded(_) => Self::InvalidState("finished"),
            books::Refusal::HoldExpired => Self::Expired,
            books::Refusal::HoldNotExpired => Self::InvalidState("held"),
            books::Refusal::CaptureExceeds(held) => Self::CaptureExceeds { currency: None, held },
            books::Refusal::GroupMalformed
            | books::Refusal::AmountZero
            | books::Refusal::CurrencyMismatch
            | books::Refusal::Overflow => Self::AmountOutOfRange(None),
            books::Refusal::AccountsSame => Self::SelfPayment,
            books::Refusal::AccountUnknown => Self::RecipientUnknown,
            books::Refusal::AccountFrozen => Self::WalletFrozen,
            books::Refusal::LimitExceeded(exceeded) => {
                Self::LimitExceeded { limit: LimitOf { currency: None, exceeded } }
            }
            books::Refusal::InsufficientFunds => Self::InsufficientFunds,
            books::Refusal::NotEmpty => Self::NotEmpty,
            books::Refusal::CreditInUse => {
                Self::InvalidState("deeper below zero than this credit limit would allow")
            }
        }
    }
}

/// A wallet, as far as a payment needs to know it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WalletAccounts {
    /// Its id.
    pub wallet: WalletId,
    /// Its account of each currency.
    pub accounts: Vec<(CurrencyId, AccountId)>,
    /// What the kind of its owner means for it.
    pub profile: Profile,
    /// The wallet whose limits it draws on besides its own.
    pub parent: Option<WalletId>,
}

impl WalletAccounts {
    /// Its account of a currency.
    pub fn account(&self, currency: CurrencyId) -> Option<AccountId> {
        self.accounts.iter().find(|(of, _)| *of == currency).map(|(_, account)| *account)
    }

    /// Whether both belong to one family: a parent and those who draw on its limits.
    pub fn is_family_of(&self, other: &Self) -> bool {
        self.parent.unwrap_or(self.wallet) == other.parent.unwrap_or(other.wallet)
    }
}

/// The house's accounts of one currency.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HouseAccounts {
    /// The currency.
    pub currency: CurrencyId,
    /// Where the house's fees go; one per writer, so that writers do not meet in it.
    pub platform_fees: AccountId,
    /// Where the rail's fees go.
    pub network_fees: AccountId,
    /// The other side of all money.
    pub issuance: AccountId,
    /// What is held for two parties.
    pub escrow: AccountId,
}

/// What the payer asked for in one payment.
#[derive(Debug, Clone, Copy)]
pub struct Terms<'a> {
    /// What the recipient is to get.
    pub amount: &'a AmountText,
    /// The currency's code.
    pub currency: &'a str,
    /// The most to pay in fees, where one was signed for this payment alone.
    pub max_fees: Option<&'a AmountText>,
    /// The rail.
    pub rail: &'a str,
    /// Until when the order may be executed.
    pub expires_at: Timestamp,
}

/// What is known about it.
#[derive(Debug, Clone)]
pub struct Facts<'a> {
    /// The present instant.
    pub now: Timestamp,
    /// The paying wallet, if it exists and is the payer's.
    pub payer: Option<&'a WalletAccounts>,
    /// Whether the signature holds.
    pub signature: Result<(), SignatureFault>,
    /// The recipient's wallet, if there is one.
    pub recipient: Option<&'a WalletAccounts>,
    /// Whether the recipient's identity may not act.
    pub is_recipient_suspended: bool,
    /// The house's accounts.
    pub house: &'a [HouseAccounts],
    /// What payments cost.
    pub schedules: InForce,
    /// What the payer was quoted, where a quote is named: the fees are what it says.
    pub quote: Option<Result<QuotedPrice, QuoteFault>>,
    /// Its parts as far as their price goes, where that does not follow from the two wallets.
    pub parts: Option<&'a [(FeeClass, Amount)]>,
    /// Whether the payer proved a second key, where that is asked for.
    pub step_up: StepUp<'a>,
}

/// A quote, and the version of the fee schedule it was made from.
#[derive(Debug, Clone)]
pub struct QuotedPrice {
    /// What was quoted.
    pub quoted: Quoted,
    /// The version.
    pub schedule: Arc<FeeSchedule>,
}

impl QuotedPrice {
    /// The payment at the price that was quoted, if it is the one that was quoted and the quote still holds.
    fn plan(
        &self,
        planned: &Plan,
        class: FeeClass,
        now: Timestamp,
        plan_by: impl Fn(&FeeSchedule) -> Result<Plan, Refusal>,
    ) -> Result<Plan, Refusal> {
        let asked = (planned.currency.id, planned.amount);
        self.quoted.check(asked, class, now).map_err(Refusal::Quote)?;
        let planned = plan_by(&self.schedule)?;
        if planned.fees == self.quoted.fees {
            Ok(planned)
        } else {
            Err(Refusal::Quote(QuoteFault::Withdrawn))
        }
    }
}

/// Whether a large payment needs a payer who proved a second key just now.
#[derive(Debug, Clone, Copy)]
pub enum StepUp<'a> {
    /// It does not: nothing is paid now, or the payer did, or did when the money was agreed to.
    Done,
    /// It does, above these amounts.
    Missing(&'a [(CurrencyId, Amount)]),
}

impl StepUp<'_> {
    /// Whether so much may be paid.
    pub fn check(&self, currency: &'static Currency, amount: Amount) -> Result<(), Refusal> {
        let Self::Missing(bounds) = self else { return Ok(()) };
        match bounds.iter().find(|(of, _)| *of == currency.id) {
            Some((_, above)) if amount > *above => Err(Refusal::StepUpRequired { above: *above, currency }),
            Some(_) | None => Ok(()),
        }
    }
}

/// A payment that is right but for the money, which only the books know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// The currency.
    pub currency: &'static Currency,
    /// What the recipient gets.
    pub amount: Amount,
    /// What the payer pays on top.
    pub fees: FeeAmounts,
    /// The transfers: the principal, then each fee that is not nothing.
    pub legs: Vec<Leg>,
}

impl Plan {
    /// The group to apply.
    pub fn group(&self, id: TransactionId) -> Group {
        Group { id, legs: self.legs.clone() }
    }
}

/// The checks that need the payer and the signature but no item: the head of a batch, or of a payment.
pub fn decide_order<'a>(
    facts: &Facts<'a>,
    rail: &str,
    expires_at: Timestamp,
) -> Result<&'a WalletAccounts, Refusal> {
    let payer = facts.payer.ok_or(Refusal::WalletNotFound)?;
    if expires_at <= facts.now {
        return Err(Refusal::Expired);
    }
    facts.signature.map_err(Refusal::Signature)?;
    if rail == INTERNAL_RAIL { Ok(payer) } else { Err(Refusal::RailUnsupported) }
}

/// Decides one payment.
pub fn decide(terms: &Terms<'_>, facts: &Facts<'_>) -> Result<Plan, Refusal> {
    check_form(terms, facts.now)?;
    // The rail is checked after the recipient, so the order is decided as if it were right.
    let payer = decide_order(facts, INTERNAL_RAIL, terms.expires_at)?;
    let recipient = facts.recipient.ok_or(Refusal::RecipientUnknown)?;
    if payer.wallet == recipient.wallet {
        return Err(Refusal::SelfPayment);
    }
    if terms.rail != INTERNAL_RAIL {
        return Err(Refusal::RailUnsupported);
    }
    let (currency, amount) = read_amount(terms.currency, terms.amount)?;
    let max_fees = terms.max_fees.map(|max_fees| max_fees.parse(currency.scale)).transpose();
    let plan_by = |schedule: &FeeSchedule| plan(payer, recipient, currency, amount, facts, schedule);
    let planned = plan_by(&facts.schedules.now)?;
    facts.step_up.check(currency, amount)?;
    let max_fees = max_fees.map_err(|fault| Refusal::from(AmountRefusal::Text(fault)).of(currency))?;
    // A quote says by which version; without one it is the present one, or as below the one before.
    let (planned, before) = match &facts.quote {
        None => (planned, facts.schedules.before.as_deref()),
        Some(quote) => {
            let quote = quote.as_ref().map_err(|fault| Refusal::Quote(*fault))?;
            (quote.plan(&planned, FeeClass::of(Some(payer), recipient), facts.now, plan_by)?, None)
        }
    };
    let Some(max_fees) = max_fees else { return Ok(planned) };
    match (check_fees(planned.fees.total(), max_fees), before) {
        // Who was quoted a moment before the fees rose pays what was quoted.
        (Err(refusal), Some(before)) => {
            let planned = plan_by(before)?;
            check_fees(planned.fees.total(), max_fees).map_err(|_| refusal)?;
            Ok(planned)
        }
        (checked, _) => checked.map(|()| planned),
    }
}

/// Decides one item of a batch whose head is decided, at the prices of `schedule`.
pub fn decide_item(
    payer: &WalletAccounts,
    currency: &'static Currency,
    amount: &AmountText,
    recipient: Option<&WalletAccounts>,
    facts: &Facts<'_>,
    schedule: &FeeSchedule,
) -> Result<Plan, Refusal> {
    let recipient = recipient.ok_or(Refusal::RecipientUnknown)?;
    if payer.wallet == recipient.wallet {
        return Err(Refusal::SelfPayment);
    }
    let amount = currency.read(amount).map_err(|fault| Refusal::from(fault).of(currency))?;
    plan(payer, recipient, currency, amount, facts, schedule)
}

/// The currency and the amount of a payment.
pub fn read_amount(code: &str, amount: &AmountText) -> Result<(&'static Currency, Amount), Refusal> {
    let currency = Currency::find(code).ok_or(Refusal::CurrencyUnsupported)?;
    let amount = currency.read(amount).map_err(|fault| Refusal::from(fault).of(currency))?;
    Ok((currency, amount))
}

/// Whether fees of `total` are within what was signed.
pub fn check_fees(total: Option<Amount>, max_fees: Amount) -> Result<(), Refusal> {
    match total {
        Some(total) if total <= max_fees => Ok(()),
        Some(_) | None => Err(Refusal::FeesExceedMaximum),
    }
}

/// Whether a reference of the payer has the declared form.
pub fn is_client_ref(text: &str) -> bool {
    !text.is_empty()
        && text.chars().count() <= CLIENT_REF_CHARACTERS_MAX
        && !text.chars().any(char::is_control)
}

/// Whether a purpose has the declared form.
pub fn is_purpose(text: &str) -> bool {
    text.chars().count() <= PURPOSE_CHARACTERS_MAX && !text.contains('\0')
}

/// Whether a nonce has the declared form.
pub fn is_nonce(text: &str) -> bool {
    (8..=64).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic())
}

/// Whether an order may expire at that instant: not further ahead than a day.
pub fn is_expiry(expires_at: Timestamp, now: Timestamp) -> bool {
    expires_at <= now + ORDER_TTL_MAX
}

fn check_form(terms: &Terms<'_>, now: Timestamp) -> Result<(), Refusal> {
    terms.amount.check_form().map_err(Refusal::AmountForm)?;
    if let Some(max_fees) = terms.max_fees {
        max_fees.check_form().map_err(Refusal::AmountForm)?;
    }
    if is_expiry(terms.expires_at, now) { Ok(()) } else { Err(Refusal::Malformed("expiresAt")) }
}

fn plan(
    payer: &WalletAccounts,
    recipient: &WalletAccounts,
    currency: &'static Currency,
    amount: Amount,
    facts: &Facts<'_>,
    schedule: &FeeSchedule,
) -> Result<Plan, Refusal> {
    if facts.is_recipient_suspended {
        return Err(Refusal::RecipientSuspended);
    }
    let house = facts.house.iter().find(|house| house.currency == currency.id);
    let house = house.ok_or(Refusal::CurrencyUnsupported)?;
    let debit = payer.account(currency.id).ok_or(Refusal::CurrencyUnsupported)?;
    let credit = recipient.account(currency.id).ok_or(Refusal::CurrencyUnsupported)?;
    let whole = [(FeeClass::of(Some(payer), recipient), amount)];
    let fees = schedule.fees_of_parts(currency.id, facts.parts.unwrap_or(&whole));
    let fees = fees.ok_or(Refusal::AmountOutOfRange(Some(currency)))?;
    let legs = legs(debit, credit, house, amount, fees);
    Ok(Plan { currency, amount, fees, legs })
}

/// The transfers of a payment: the principal, then each fee that is not nothing.
pub fn legs(
    debit: AccountId,
    credit: AccountId,
    house: &HouseAccounts,
    amount: Amount,
    fees: FeeAmounts,
) -> Vec<Leg> {
    let legs = [
        Leg { debit, credit, amount, purpose: Purpose::Principal },
        Leg { debit, credit: house.platform_fees, amount: fees.platform, purpose: Purpose::PlatformFee },
        Leg { debit, credit: house.network_fees, amount: fees.network, purpose: Purpose::NetworkFee },
    ];
    legs.into_iter().filter(|leg| !leg.amount.is_zero()).collect()
}

/// The instance's first currency, for questions that name none.
pub const fn default_currency() -> &'static Currency {
    &currency::ALL[0]
}

#[cfg(test)]
mod tests {
    use super::{super::fees::Rates, *};

    fn wallet(number: u8) -> WalletAccounts {
        let account =
            |currency: u8| (CurrencyId(currency), AccountId(i64::from(number) * 10 + i64::from(currency)));
        WalletAccounts {
            wallet: WalletId::from_bytes([number; 16]),
            accounts: vec![account(1), account(2)],
            profile: Profile::Root,
            parent: None,
        }
    }

    fn house() -> Vec<HouseAccounts> {
        [1, 2]
            .map(|currency| HouseAccounts {
                currency: CurrencyId(currency),
                platform_fees: AccountId(1),
                network_fees: AccountId(2),
                issuance: AccountId(3),
                escrow: AccountId(4),
            })
            .to_vec()
    }

    /// Everything a case can get wrong, worst first; each row of the table mends one fault.
    struct Case {
        amount: AmountText,
        max_fees: AmountText,
        currency: &'static str,
        rail: &'static str,
        expires_at: Timestamp,
        payer: Option<WalletAccounts>,
        recipient: Option<WalletAccounts>,
        signature: Result<(), SignatureFault>,
        step_up: StepUp<'static>,
        is_recipient_suspended: bool,
        quote: Option<Result<QuotedPrice, QuoteFault>>,
    }

    impl Case {
        fn decide(&self) -> Result<Plan, Refusal> {
            let house = house();
            let terms = Terms {
                amount: &self.amount,
                currency: self.currency,
                max_fees: Some(&self.max_fees),
                rail: self.rail,
                expires_at: self.expires_at,
            };
            let facts = Facts {
                now: Timestamp::from_seconds(1_000),
                payer: self.payer.as_ref(),
                signature: self.signature,
                recipient: self.recipient.as_ref(),
                is_recipient_suspended: self.is_recipient_suspended,
                house: &house,
                schedules: InForce {
                    now: Arc::new(FeeSchedule::of_settings(Rates::REFERENCE)),
                    before: None,
                },
                quote: self.quote.clone(),
                parts: None,
                step_up: self.step_up,
            };
            decide(&terms, &facts)
        }
    }

    /// A quote of so much PI, by the fees of the instance.
    fn quote(amount: u128, platform: u128, valid_until: i64) -> QuotedPrice {
        let quoted = Quoted {
            version: 1,
            class: FeeClass::P2p,
            currency: CurrencyId(2),
            amount: Amount::from_units(amount),
            fees: FeeAmounts {
                platform: Amount::from_units(platform),
                network: Amount::from_units(amount / 1_000),
            },
            valid_until: Timestamp::from_seconds(valid_until),
        };
        QuotedPrice { quoted, schedule: Arc::new(FeeSchedule::of_settings(Rates::REFERENCE)) }
    }

    type Mend = fn(&mut Case);

    const ABOVE: [(CurrencyId, Amount); 1] = [(CurrencyId(2), Amount::from_units(99_999_999))];

    #[test]
    fn refuses_in_the_documented_order() {
        let mut case = Case {
            amount: AmountText::NotAString,
            max_fees: "-1".into(),
            currency: "EUR",
            rail: "evm",
            expires_at: Timestamp::from_seconds(1_000_000),
            payer: None,
            recipient: None,
            signature: Err(SignatureFault::DoesNotHold),
            step_up: StepUp::Missing(&ABOVE),
            is_recipient_suspended: true,
            quote: Some(Err(QuoteFault::NotGiven)),
        };
        let pi = Currency::find("PI").unwrap();
        let rows: Vec<(Refusal, Mend)> = vec![
            (Refusal::AmountForm(AmountError::NotAString), |case| case.amount = "1e3".into()),
            (Refusal::AmountForm(AmountError::Malformed), |case| case.amount = "0.000000001".into()),
            (Refusal::AmountForm(AmountError::Malformed), |case| case.max_fees = "0.00000001".into()),
            (Refusal::Malformed("expiresAt"), |case| case.expires_at = Timestamp::from_seconds(1_000)),
            (Refusal::WalletNotFound, |case| {
                case.payer = Some(wallet(1));
            }),
            (Refusal::Expired, |case| case.expires_at = Timestamp::from_seconds(1_001)),
            (Refusal::Signature(SignatureFault::DoesNotHold), |case| case.signature = Ok(())),
            (Refusal::RecipientUnknown, |case| case.recipient = Some(wallet(1))),
            (Refusal::SelfPayment, |case| case.recipient = Some(wallet(2))),
            (Refusal::RailUnsupported, |case| case.rail = INTERNAL_RAIL),
            (Refusal::CurrencyUnsupported, |case| case.currency = "PI"),
            (Refusal::AmountPrecision, |case| case.amount = "9999999999999999999999".into()),
            (Refusal::AmountOutOfRange(Currency::find("PI")), |case| case.amount = "0".into()),
            (Refusal::AmountOutOfRange(Currency::find("PI")), |case| case.amount = "1".into()),
            (Refusal::RecipientSuspended, |case| case.is_recipient_suspended = false),
            (Refusal::StepUpRequired { above: ABOVE[0].1, currency: pi }, |case| case.step_up = StepUp::Done),
            (Refusal::Quote(QuoteFault::NotGiven), |case| case.quote = Some(Ok(quote(99_999_999, 6, 7)))),
            (Refusal::Quote(QuoteFault::OtherAmount), |case| {
                case.quote = Some(Ok(QuotedPrice {
                    quoted: Quoted { class: FeeClass::Merchant, ..quote(100_000_000, 6, 999).quoted },
                    ..quote(0, 0, 0)
                }));
            }),
            (Refusal::Quote(QuoteFault::OtherClass), |case| {
                case.quote = Some(Ok(quote(100_000_000, 6, 999)));
            }),
            (Refusal::Quote(QuoteFault::Expired(Timestamp::from_seconds(999))), |case| {
                case.quote = Some(Ok(quote(100_000_000, 500_001, 1_000)));
            }),
            (Refusal::Quote(QuoteFault::Withdrawn), |case| {
                case.quote = Some(Ok(quote(100_000_000, 500_000, 1_000)));
            }),
            (Refusal::FeesExceedMaximum, |case| case.max_fees = "0.006".into()),
        ];
        for (row, (refusal, mend)) in rows.into_iter().enumerate() {
            assert_eq!(case.decide().map(|_| ()), Err(refusal), "row {row}");
            mend(&mut case);
        }
        let plan = case.decide().unwrap();
        let moved: Vec<_> = plan.legs.iter().map(|leg| (leg.purpose, leg.amount.units())).collect();
        assert_eq!(
            moved,
            [
                (Purpose::Principal, 100_000_000),
                (Purpose::PlatformFee, 500_000),
                (Purpose::NetworkFee, 100_000)
            ]
        );
    }

    #[test]
    fn references_and_nonces_have_bounds() {
        assert!(is_client_ref("INV-1") && is_client_ref(&"é".repeat(35)));
        assert!(!is_client_ref("") && !is_client_ref(&"x".repeat(36)) && !is_client_ref("a\nb"));
        assert!(is_nonce("12345678") && !is_nonce("1234567") && !is_nonce("with space"));
        assert!(is_purpose("") && is_purpose(&"ü".repeat(500)) && !is_purpose(&"x".repeat(501)));
    }
}
