//! The failures of qwallet and their one mapping to codes.

use q_auth::directory::DirectoryError;
use q_contract::{ErrorCode, Problem, codes, step_up_required};
use q_core::{Amount, AmountError};
use q_db::DbError;
use q_pdp::{KeysUnavailable, Reason};
use q_ucan::{Ipld, Refusal as Ucan, dag_json};
use qwallet_api::{IntentId, errors as api};

use crate::{
    domain::{
        currency::{self, Currency},
        formats::NotRepresentable,
        invocation::{Denial, Denied},
        limits::{self, LimitKind},
        order::SignatureFault,
        payment::{LimitOf, Refusal},
        payouts,
        quotes::QuoteFault,
        recurrence,
    },
    forms::form_of,
    service::executor::Fault,
};

/// Why a request has no result.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The payment is refused.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// The payout file is refused.
    #[error(transparent)]
    Import(#[from] payouts::Refused),
    /// The payout file is refused for what is known of it here.
    #[error("{0}")]
    ImportFacts(String),
    /// The identity has a wallet already.
    #[error("the identity has a wallet already")]
    WalletExists,
    /// A wallet that is to end is not empty: what is left.
    #[error("the wallet is not empty")]
    WalletNotEmpty(serde_json::Value),
    /// The parent's wallet, on whose limits a new one would draw, is not there.
    #[error("the parent of this identity has no wallet yet, on whose limits this one would draw")]
    ParentWithoutWallet,
    /// Who asks may not change this of a wallet.
    #[error("{0}")]
    NotTheirs(&'static str),
    /// Only operators open wallets for others.
    #[error("only an operator opens a wallet for somebody else")]
    NotForOthers,
    /// The rail is none of those of this instance.
    #[error("this instance does not offer the rail")]
    RailUnsupported(Vec<String>),
    /// The transaction is not there, or not the caller's to see.
    #[error("the transaction does not exist")]
    TransactionNotFound,
    /// The import is not there, or not the caller's to see.
    #[error("the import does not exist")]
    ImportNotFound,
    /// The intent is settled, lapsed or cancelled.
    #[error("the intent is {0}")]
    NotCancellable(&'static str),
    /// Somebody signed who may not approve.
    #[error("{0} may not approve this")]
    NotAnApprover(String),
    /// Fewer than two different approvers.
    #[error("two different approvers must sign the same order")]
    ApprovalRequired,
    /// Somebody would approve a payment of their own.
    #[error("{0} pays, or belongs to whoever pays, and approves nothing of it")]
    SelfApproval(String),
    /// An intent that is to be signed is not approved yet.
    #[error("{given} of the {required} approvals that this payment needs are given")]
    Unapproved {
        /// How many did.
        given: u8,
        /// How many have to.
        required: u8,
        /// The intent.
        intent: IntentId,
        /// Where a person reads what is to be approved.
        link: String,
    },
    /// What others have to approve, and cannot as it is.
    #[error("{given} of the {required} approvals that this payment needs are given")]
    NotByItself {
        /// How many did.
        given: u8,
        /// How many have to.
        required: u8,
        /// What they can approve.
        instead: &'static str,
    },
    /// A payment beyond the own limits of a wallet, which a parent or guardian may approve.
    #[error("{}", if *is_approved {
        "the payment was approved: sign the intent that was made of it".to_owned()
    } else {
        format!("the payment is beyond the wallet's {kind} limit: its parent or a guardian has to approve it")
    })]
    BeyondLimits {
        /// Which limit.
        kind: &'static str,
        /// The intent they are asked about.
        intent: IntentId,
        /// Whether one of them approved it.
        is_approved: bool,
        /// Where a person reads what is to be approved.
        link: String,
    },
    /// More than a limit allows, and what can be done about it.
    #[error("{refusal}")]
    OverLimit {
        /// The refusal of the books.
        refusal: Refusal,
        /// Whether a guardian has the say.
        is_guarded: bool,
        /// What can be done, by whom.
        way_out: String,
        /// What is left, for who may know that.
        within: String,
    },
    /// A withdrawal has left that is open in the books.
    #[error("{0}")]
    LeftUnbooked(String),
    /// More test money at once than the faucet gives.
    #[error("the faucet gives at most {0} {1} at once")]
    FaucetMaximum(u128, &'static str),
    /// The books cannot be written in this form.
    #[error("the format {0} is not one of hledger, ledger, beancount and ndjson")]
    FormatUnknown(String),
    /// The format asked for cannot hold it.
    #[error(transparent)]
    NotRepresentable(#[from] NotRepresentable),
    /// The recurrence rule of a schedule is refused.
    #[error(transparent)]
    Rule(#[from] recurrence::Fault),
    /// A webhook may not go there.
    #[error("{0}")]
    WebhookUrl(String),
    /// Whoever signed is not let in now.
    #[error("{0}")]
    Gate(Box<Problem>),
    /// A delegation does not allow the payment: as what it is refused, and what of it says so.
    #[error("{1}")]
    Denied(SignatureFault, Box<Denied>),
    /// Somebody would pay so much by an invocation, which proves one key.
    #[error("{0}")]
    OneKeyOnly(Refusal),
    /// The executor has no outcome.
    #[error(transparent)]
    Executor(#[from] Fault),
    /// The store.
    #[error(transparent)]
    Storage(#[from] DbError),
    /// The identity directory does not answer.
    #[error(transparent)]
    Directory(#[from] DirectoryError),
    /// A sealed field does not open: another key, or damage.
    #[error("a sealed field does not open")]
    Sealed(#[from] q_seal::OpenError),
    /// A row that must be there is not, or cannot be read.
    #[error("the store lacks {0}")]
    Inconsistent(&'static str),
}

impl From<Box<Problem>> for Error {
    fn from(problem: Box<Problem>) -> Self {
        Self::Gate(problem)
    }
}

impl From<KeysUnavailable> for Error {
    fn from(error: KeysUnavailable) -> Self {
        DirectoryError::Unavailable(error.0).into()
    }
}

impl From<Error> for Problem {
    fn from(error: Error) -> Self {
        let detail = error.to_string();
        match error {
            Error::Refused(refusal) => refusal.into(),
            Error::Import(refused) => Self::new(&api::IMPORT_INVALID)
                .detail(detail)
                .with("line", refused.place.line)
                .with("xpath", refused.place.xpath),
            Error::ImportFacts(_) => Self::new(&api::IMPORT_INVALID).detail(detail),
            Error::WalletExists => Self::new(&api::WALLET_EXISTS).hint("see GET /wallets"),
            Error::WalletNotEmpty(left) => Self::new(&api::WALLET_NOT_EMPTY)
                .hint("pay out what is left, and wait for what is held; then close it")
                .with("left", left),
            Error::ParentWithoutWallet => Self::new(&api::WALLET_NOT_FOUND)
                .detail(detail)
                .hint("the parent opens one first: POST /wallets"),
            Error::NotTheirs(_) => Self::new(&codes::FORBIDDEN).detail(detail),
            Error::NotForOthers => Self::new(&codes::FORBIDDEN).detail(detail).hint("leave `owner` out"),
            Error::RailUnsupported(rails) => Self::new(&api::RAIL_UNSUPPORTED).hint(format!(
                "the rails of this instance are {}; payments between its wallets go over internal, GET /rails tells of the \
                 others",
                rails.join(", ")
            )),
            Error::TransactionNotFound => Self::new(&api::TRANSACTION_NOT_FOUND)
                .hint("only who may read one of its two wallets sees it; GET /transactions/{squidId} lists them"),
            Error::ImportNotFound => Self::new(&api::IMPORT_NOT_FOUND),
            Error::NotCancellable(_) => Self::new(&api::INTENT_NOT_CANCELLABLE).detail(detail),
            Error::NotAnApprover(_) => Self::new(&api::NOT_AN_APPROVER)
                .detail(detail)
                .hint("an approver is allowed `admin` on the instance"),
            Error::ApprovalRequired => Self::new(&api::APPROVAL_REQUIRED).detail(detail),
            Error::SelfApproval(_) => Self::new(&api::SELF_APPROVAL).detail(detail),
            Error::Unapproved { given, required, intent, link } => unapproved(given, required)
                .hint(if given < required {
                    format!("approvers open {link}, which tells them how; then sign {intent}: POST /sign")
                } else {
                    format!("sign {intent}, as GET /intents/{{intentId}} shows it: POST /sign")
                })
                .with("intentId", intent.to_string())
                .with("link", link),
            Error::NotByItself { given, required, instead } => unapproved(given, required).hint(instead),
            Error::BeyondLimits { kind, intent, is_approved, link } => Self::new(&api::APPROVAL_REQUIRED)
                .detail(detail)
                .hint(if is_approved {
                    format!("sign {intent}, as GET /intents/{{intentId}} shows it: POST /sign")
                } else {
                    format!("a person opens {link}, which tells how; then sign {intent}: POST /sign")
                })
                .with("kind", kind)
                .with("intentId", intent.to_string())
                .with("approvals", serde_json::json!({ "given": u8::from(is_approved), "required": 1 }))
                .with("link", link),
            Error::OverLimit { refusal, is_guarded, way_out, within } => {
                over_limit(refusal, is_guarded, &way_out, &within)
            }
            Error::LeftUnbooked(_) => Self::new(&api::INVALID_STATE).detail(detail),
            Error::FaucetMaximum(..) => {
                Self::new(&api::AMOUNT_OUT_OF_RANGE).detail(detail).hint("ask again for more")
            }
            Error::FormatUnknown(_) => Self::new(&api::EXPORT_NOT_REPRESENTABLE).detail(detail),
            Error::NotRepresentable(NotRepresentable { instead, .. }) => {
                Self::new(&api::EXPORT_NOT_REPRESENTABLE).detail(detail).hint(instead)
            }
            Error::Rule(fault) => Self::new(&api::RRULE_INVALID)
                .detail(detail)
                .hint("such as FREQ=MONTHLY;BYMONTHDAY=1 in Europe/Berlin; RFC 5545 section 3.3.10 has the parts")
                .with("part", fault.part),
            Error::WebhookUrl(_) => Self::new(&api::WEBHOOK_URL_FORBIDDEN)
                .detail(detail)
                .hint("an operator allows other addresses with the setting webhook_allow"),
            Error::Gate(problem) => *problem,
            Error::Denied(fault, denied) => denies(&fault, &denied).detail(detail),
            Error::OneKeyOnly(refusal) => Self::from(refusal).hint(
                "an invocation proves one key: the payer sends it with a token of a login with two (`q auth step-up`), and \
                 nobody pays so much under a delegation",
            ),
            Error::Executor(Fault::QueueFull) => Self::new(&api::QUEUE_FULL)
                .hint("try again with the same Idempotency-Key; nothing is done twice")
                .with("retryAfter", 1),
            Error::Executor(Fault::Storage(error)) | Error::Storage(error) => q_http::storage_problem(&error),
            Error::Directory(error) => {
                // What the directory said names places inside; the log has it.
                tracing::warn!(%error, "the identity directory could not be asked");
                Self::new(&codes::DEPENDENCY_UNAVAILABLE)
                    .detail("the signer's keys cannot be looked up at present")
                    .hint("try again with the same Idempotency-Key; nothing is done twice")
                    .with("retryAfter", 1)
            }
            Error::Sealed(error) => internal(&error),
            Error::Inconsistent(_) => internal(&error),
        }
    }
}

/// What says that a limit is in the way, and what can be done.
fn over_limit(refusal: Refusal, is_guarded: bool, way_out: &str, within: &str) -> Problem {
    let hint = if within.is_empty() { way_out.to_owned() } else { format!("{way_out}. {within}") };
    let limited = Problem::from(refusal).hint(hint);
    if is_guarded {
        let code = Problem::new(&api::APPROVAL_REQUIRED);
        Problem { detail: limited.detail, hint: limited.hint, extra: limited.extra, ..code }
    } else {
        limited
    }
}

/// What says that a delegation does not allow a payment.
fn denies(fault: &SignatureFault, denied: &Denied) -> Problem {
    let mut facts = serde_json::json!({ "delegation": denied.link.to_string() });
    match &denied.why {
        Denial::Policy { violation, .. } => {
            let json = |value: Option<&Ipld>| value.map_or(serde_json::Value::Null, dag_json::to_json);
            facts["selector"] = violation.selector().into();
            facts["operator"] = violation.operator().into();
            facts["bound"] = json(violation.bound().as_ref());
            facts["given"] = json(violation.given());
        }
        Denial::Command(command) => facts["command"] = command.as_str().into(),
        Denial::Window(window) => facts["timeWindow"] = serde_json::json!(window),
    }
    unsigned(Problem::new(code_of_signature(fault)), fault)
        .hint("pay as the delegation says, or have whoever gave it give another")
        .with("violation", facts)
}

/// A fault of ours: the log has the chain, the caller gets the code and the trace id.
fn internal(error: &(dyn std::error::Error + 'static)) -> Problem {
    tracing::error!(error, "a request met an inconsistent store");
    Problem::new(&codes::INTERNAL)
}

/// What says that others have to approve first.
fn unapproved(given: u8, required: u8) -> Problem {
    Problem::new(&api::APPROVAL_REQUIRED)
        .detail(format!("{given} of the {required} approvals that this payment needs are given"))
        .with("approvals", serde_json::json!({ "given": given, "required": required }))
}

impl From<Refusal> for Problem {
    fn from(refusal: Refusal) -> Self {
        if let Refusal::StepUpRequired { above, currency } = refusal {
            return step_up_required(&format!(
                "payments above {} {}",
                currency.text(above).as_str(),
                currency.code
            ));
        }
        if let Refusal::ApprovalRequired { given, required } = refusal {
            return unapproved(given, required)
                .hint("make an intent of it (POST /intents), have it approved, and sign it then");
        }
        let problem = Self::new(code_of(&refusal));
        match refusal {
            Refusal::Signature(fault) => unsigned(problem, &fault),
            Refusal::Malformed(field) => {
                let problem = problem.detail(refusal.to_string()).with("field", field);
                match form_of(field) {
                    Some(form) => problem.hint(format!("{field} is {form}")),
                    None => problem,
                }
            }
            Refusal::CurrencyUnsupported => {
                let known: Vec<_> = currency::ALL.iter().map(|currency| currency.code).collect();
                problem.hint(format!("the currencies here are {}", known.join(" and ")))
            }
            Refusal::Profile(_)
            | Refusal::WalletFrozen
            | Refusal::RecipientSuspended
            | Refusal::InvalidState(_)
            | Refusal::BatchSize
            | Refusal::Record { .. } => {
                problem.detail(refusal.to_string())
            }
            Refusal::AmountOutOfRange(_) => problem
                .detail(refusal.to_string())
                .hint("GET /currencies lists the least and the greatest amount of each currency"),
            Refusal::RecipientUnknown => problem.hint(
                "a recipient is a DID, a wallet id or a wallet reference, of somebody who opened a wallet here; the names \
                 of a keyring mean something to the command line alone",
            ),
            Refusal::KeyReused => {
                problem.hint("use a new key for a new request, or repeat the first one unchanged")
            }
            Refusal::Expired => problem.hint("make and sign a new order"),
            Refusal::LimitExceeded { limit: LimitOf { currency, exceeded } } => {
                let text = |amount: Amount| match currency {
                    Some(currency) => limits::text(exceeded.kind, amount, currency).as_str().to_owned(),
                    None => amount.units().to_string(),
                };
                let problem = problem
                    .detail(refusal.to_string())
                    .hint("GET /wallets/{squidId}/limits tells what is left, and PUT /wallets/{squidId}/limits asks for more")
                    .with("inherited", exceeded.is_inherited)
                    .with("kind", exceeded.kind.name())
                    .with("limit", text(exceeded.limit))
                    .with("used", text(exceeded.used))
                    .with("attempted", text(exceeded.attempted));
                let problem = match currency {
                    Some(currency) => problem.with("currency", currency.code),
                    None => problem,
                };
                match exceeded.resets_at {
                    Some(at) => problem.with("resetsAt", at.to_string()),
                    None => problem,
                }
            }
            Refusal::CaptureExceeds { currency, held } => {
                let text = |amount: Amount| text(currency, amount);
                let left = held.amount.checked_sub(held.captured).unwrap_or_default();
                problem
                    .detail(format!("{} is left of {}, and {} is asked for", text(left), text(held.amount), text(held.asked)))
                    .hint("leave `amount` out to take all that is left")
                    .with("held", text(held.amount))
                    .with("captured", text(held.captured))
                    .with("left", text(left))
                    .with("attempted", text(held.asked))
            }
            Refusal::RailUnsupported => problem.hint(
                "payments between wallets of this instance go over `internal`; GET /rails lists what else is set up, for \
                 POST /withdrawals",
            ),
            Refusal::Quote(_) => {
                problem.detail(refusal.to_string()).hint("ask for another, GET /quote, and name it within 300 s")
            }
            Refusal::IntentNotFound => problem.hint(
                "its payer sees it, who is to approve it, and once it is held its payee; GET /intents lists one's own",
            ),
            Refusal::FeesExceedMaximum => problem.hint("see GET /quote for the present fees"),
            Refusal::AmountForm(_)
            | Refusal::WalletNotFound
            | Refusal::SelfPayment
            | Refusal::AmountPrecision
            | Refusal::ApprovalRequired { .. }
            | Refusal::StepUpRequired { .. }
            | Refusal::InsufficientFunds
            | Refusal::NotEmpty
            | Refusal::RolledBack => problem,
        }
    }
}

/// What is wrong with a signature or invocation, and what would not be.
fn unsigned(problem: Problem, fault: &SignatureFault) -> Problem {
    let problem = problem.detail(fault.to_string());
    match fault {
        SignatureFault::Ucan(Ucan::UnavailableProof(cid)) => problem
            .hint("send it in the same container as the invocation")
            .with("prf", [cid.to_string()]),
        SignatureFault::Ucan(refusal) => problem
            .hint(
                "invoke /qwallet/wallet/pay with the members of the signing input as arguments, the payer as subject and \
                 the instance as audience; a delegation bounds it by these, `resource`, `action` and `costMicros`",
            )
            .with("rule", refusal.name()),
        SignatureFault::Delegation(reason) => problem.with("rule", reason.code()),
        _ => problem.hint("sign the exact signing input of the request with a current key of the payer"),
    }
}

/// An amount, in units where its currency is not known.
fn text(currency: Option<&Currency>, amount: Amount) -> String {
    currency.map_or_else(|| amount.units().to_string(), |currency| currency.text(amount).as_str().to_owned())
}

const fn code_of(refusal: &Refusal) -> &'static ErrorCode {
    match refusal {
        Refusal::Malformed(_) => &codes::INVALID_REQUEST,
        Refusal::AmountForm(AmountError::NotAString) => &api::AMOUNT_MUST_BE_STRING,
        Refusal::AmountForm(AmountError::Malformed | AmountError::Precision | AmountError::OutOfRange) => {
            &api::AMOUNT_MALFORMED
        }
        Refusal::BatchSize => &api::BATCH_TOO_LARGE,
        Refusal::KeyReused => &codes::IDEMPOTENCY_KEY_REUSED,
        Refusal::WalletNotFound => &api::WALLET_NOT_FOUND,
        Refusal::IntentNotFound => &api::INTENT_NOT_FOUND,
        Refusal::InvalidState(_) => &api::INVALID_STATE,
        Refusal::Expired => &api::INTENT_EXPIRED,
        Refusal::Signature(fault) => code_of_signature(fault),
        Refusal::RecipientUnknown => &api::RECIPIENT_UNKNOWN,
        Refusal::SelfPayment => &api::SELF_PAYMENT,
        Refusal::RailUnsupported => &api::RAIL_UNSUPPORTED,
        Refusal::CurrencyUnsupported => &api::CURRENCY_UNSUPPORTED,
        Refusal::AmountPrecision => &api::AMOUNT_PRECISION,
        Refusal::AmountOutOfRange(_) => &api::AMOUNT_OUT_OF_RANGE,
        Refusal::Profile(_) => &codes::FORBIDDEN,
        Refusal::WalletFrozen | Refusal::RecipientSuspended => &api::WALLET_FROZEN,
        Refusal::NotEmpty => &api::WALLET_NOT_EMPTY,
        Refusal::ApprovalRequired { .. } => &api::APPROVAL_REQUIRED,
        Refusal::StepUpRequired { .. } => &codes::MFA_REQUIRED,
        Refusal::LimitExceeded { limit } => match limit.exceeded.kind {
            LimitKind::Transaction => &api::TX_LIMIT_EXCEEDED,
            LimitKind::Daily => &api::DAILY_LIMIT_EXCEEDED,
            LimitKind::Monthly => &api::MONTHLY_LIMIT_EXCEEDED,
            LimitKind::CountPerHour => &api::COUNT_LIMIT_EXCEEDED,
            LimitKind::Dao => &api::DAO_LIMIT_EXCEEDED,
        },
        Refusal::CaptureExceeds { .. } => &api::CAPTURE_EXCEEDS_HOLD,
        Refusal::Quote(QuoteFault::Expired(_)) => &api::QUOTE_EXPIRED,
        Refusal::Quote(_) => &api::QUOTE_INVALID,
        Refusal::FeesExceedMaximum => &api::FEES_EXCEED_MAXIMUM,
        Refusal::InsufficientFunds => &api::INSUFFICIENT_FUNDS,
        Refusal::Record { code, .. } => code,
        Refusal::RolledBack => &api::BATCH_ROLLED_BACK,
    }
}

const fn code_of_signature(fault: &SignatureFault) -> &'static ErrorCode {
    match fault {
        SignatureFault::Ucan(Ucan::Malformed(_) | Ucan::InvalidClaim(_) | Ucan::TooLarge(_))
        | SignatureFault::Delegation(Reason::NoGrant) => &api::UCAN_INVALID,
        SignatureFault::Ucan(Ucan::Expired) => &api::UCAN_EXPIRED,
        SignatureFault::Ucan(Ucan::TooEarly) => &api::UCAN_TOO_EARLY,
        SignatureFault::Ucan(Ucan::InvalidCommand | Ucan::MatchError)
        | SignatureFault::Delegation(Reason::OutsideTimeWindow) => &api::UCAN_POLICY_VIOLATION,
        SignatureFault::Ucan(Ucan::UnavailableProof(_)) => &api::MISSING_PROOFS,
        SignatureFault::Ucan(Ucan::Revoked(_)) => &api::UCAN_REVOKED,
        SignatureFault::Delegation(Reason::Stale) => &api::QONSENT_STALE,
        _ => &api::SIGNATURE_INVALID,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::currency::Currency;

    #[test]
    fn a_refused_amount_says_what_may_be_asked_for() {
        let said = |error: Error| Problem::from(error).detail.unwrap_or_default();
        let pi = said(Refusal::AmountOutOfRange(Currency::find("PI")).into());
        assert!(pi.contains("from 0.00000001 to 999999999999999999999.99999999"), "{pi}");
        let own = said(Refusal::AmountOutOfRange(Currency::find("QToken")).into());
        assert!(own.contains("to 340282366920938463463.374607431768211455"), "{own}");
        let faucet = said(Error::FaucetMaximum(10_000, "QToken"));
        assert!(faucet.contains("10000 QToken"), "{faucet}");
    }

    #[test]
    fn nobody_outside_reads_what_the_directory_said() {
        let inside = DirectoryError::Unavailable("connect to 10.0.0.7:4711 refused".into());
        let problem = Problem::from(Error::Directory(inside));
        assert_eq!((problem.code.as_str(), problem.status), ("DEPENDENCY_UNAVAILABLE", 503));
        let told = serde_json::to_string(&problem).unwrap_or_default();
        assert!(told.contains("retryAfter") && !told.contains("10.0.0.7"), "{told}");
    }

    #[test]
    fn an_unknown_recipient_learns_what_names_one() {
        let hint = Problem::from(Error::from(Refusal::RecipientUnknown)).hint.unwrap_or_default();
        assert!(hint.contains("DID") && hint.contains("wallet reference"), "{hint}");
    }
}
