//! A UCAN invocation in place of a signature: the payer's own, or that of somebody who holds a delegation of theirs.
//!
//! **Invariant:** the arguments are exactly the signing input, so that what is invoked is what is paid; and what policies
//! are judged on follows from the signing input alone, so that a stranger who is shown both judges alike.

use std::{collections::BTreeMap, fmt, sync::Arc};

use q_core::{Did, Scale, Span, Timestamp, amount, hash};
use q_did::VerificationMethod;
use q_pdp::conditions::{WindowText, closed_window};
use q_ucan::{
    Command, Delegation, Invocation, Ipld, Issuer, Keys, Refusal, Revocations, Rules, TokenCid, Verifier,
    VerifyingKey, container, dag_json, policy::Violation,
};
use qwallet_api::{
    WalletId,
    signing::{COST_MICROS, PAYMENT_ACTION, PAYMENT_COMMAND},
};

use super::{
    order::{SignatureFault, canonical},
    payment::ORDER_TTL_MAX,
};

/// The longest container accepted with an order, in bytes.
pub const CONTAINER_BYTES_MAX: usize = 16 * 1024;

/// How many smallest units of 18 decimals a millionth has.
const UNITS_PER_MICRO: u128 = 1_000_000_000_000;

/// How strict to be. That an invocation has an end within a day is checked here.
const RULES: Rules =
    Rules { skew: Span::seconds(60), invocation_ahead_max: None, allows_endless_delegations: false };

/// An invocation whose content fits, and the delegations it names that came with it. No signature is checked yet.
#[derive(Debug)]
pub struct Presented {
    invocation: Invocation,
    proofs: Vec<Arc<Delegation>>,
    order: BTreeMap<String, Ipld>,
}

/// Finds the keys that tokens name themselves, for strangers: whose they are, the logs of identities say.
struct Named;

impl Keys for Named {
    fn find(&self, issuer: &Issuer, _: &TokenCid) -> Result<Vec<VerifyingKey>, Refusal> {
        let key = issuer.key.as_deref().ok_or(Refusal::UnknownIssuer)?;
        Ok(vec![VerifyingKey::from_multikey(key)?])
    }
}

impl Presented {
    /// Whether a signature is meant as a container: a JWS has points, and begins otherwise.
    pub fn is_meant(signature: &str) -> bool {
        signature.starts_with(['B', 'C']) && !signature.contains('.')
    }

    /// Reads a container whose one invocation must be of exactly `input`, a signing input.
    pub fn read(text: &str, input: &[u8]) -> Result<Self, SignatureFault> {
        if text.len() > CONTAINER_BYTES_MAX {
            return Err(Refusal::TooLarge("an order comes with at most 16 KiB of tokens").into());
        }
        let (mut invocations, mut delegations) = (Vec::new(), Vec::new());
        for token in container::decode(text.as_bytes())? {
            match Invocation::decode(&token) {
                Ok(invocation) => invocations.push(invocation),
                Err(Refusal::OTHER_KIND) => delegations.push(Arc::new(Delegation::decode(&token)?)),
                Err(refusal) => return Err(refusal.into()),
            }
        }
        let one = "the container holds one invocation and the delegations it names";
        let [invocation] = <[_; 1]>::try_from(invocations).map_err(|_| Refusal::Malformed(one))?;
        let told = hash::canonical_json(&dag_json::to_json(invocation.args()));
        let Ipld::Map(order) = invocation.args().clone() else { return Err(SignatureFault::OtherContent) };
        if told.is_ok_and(|told| told == input) {
            let is_named = |link: &Arc<Delegation>| invocation.proofs().contains(&link.cid());
            delegations.retain(is_named);
            Ok(Self { invocation, proofs: delegations, order })
        } else {
            Err(SignatureFault::OtherContent)
        }
    }

    /// Who invokes.
    pub fn invoker(&self) -> &Did {
        &self.invocation.issuer().did
    }

    /// The delegations by which somebody else than the payer invokes, the payer's own first; none where the payer does.
    pub fn delegations(&self) -> impl Iterator<Item = &Delegation> {
        let named = self.invocation.proofs().iter();
        named.filter_map(|cid| self.proofs.iter().map(|link| &**link).find(|link| link.cid() == *cid))
    }

    /// Whose wallet pays.
    pub fn payer(&self) -> &Did {
        self.invocation.subject()
    }

    /// Everybody whose key is needed.
    pub fn issuers(&self) -> Vec<Issuer> {
        let links = self.proofs.iter().map(|link| link.issuer());
        std::iter::once(self.invocation.issuer()).chain(links).cloned().collect()
    }

    /// Everybody is named as the books name them: a name with a host in it is one of many of the same identity, and what is
    /// counted or stopped under one of them would not be under another.
    pub fn check_names(&self) -> Result<(), Refusal> {
        let is_canonical = |issuer: &Issuer| canonical(&issuer.did) == issuer.did;
        let subject = self.invocation.subject();
        if self.issuers().iter().all(is_canonical) && canonical(subject) == *subject {
            return Ok(());
        }
        Err(Refusal::InvalidClaim(
            "each identity is named as did:squid:…, without a host: not as did:webvh:…",
        ))
    }

    /// Whether `methods`, the keys of the invoker, have the one that signed among those that log in and sign commands.
    pub fn is_commanded(&self, methods: &[VerificationMethod]) -> bool {
        commands(self.invocation.issuer(), methods)
    }

    /// When the validity of the invocation ends.
    pub fn ends_at(&self) -> Option<Timestamp> {
        self.invocation.expires_at()
    }

    /// The DID URLs of the keys that signed the invocation and the delegations.
    pub fn key_ids(&self) -> Vec<String> {
        self.issuers().iter().map(key_id).collect()
    }

    /// Judges it at `now`, addressed to `instance`. Gives back the proving delegations, root first; none where the payer
    /// invokes.
    pub fn check(
        &self,
        keys: &dyn Keys,
        revocations: &dyn Revocations,
        instance: &Did,
        now: Timestamp,
    ) -> Result<Vec<Arc<Delegation>>, Refusal> {
        self.check_claims(instance, now)?;
        let verifier = Verifier { keys, revocations, rules: RULES, now };
        verifier.invocation(&self.invocation, self.proofs.as_slice(), instance, &self.judged())
    }

    /// Which delegation does not allow it, and what of it, where [`Self::check`] gave this refusal: its command, or a
    /// statement of its policy.
    pub fn denied(&self, refusal: Refusal) -> Option<Denied> {
        let find = |cid: &TokenCid| self.proofs.iter().find(|link| link.cid() == *cid);
        let mut links = self.invocation.proofs().iter().filter_map(find);
        let (link, why) = match refusal {
            Refusal::MatchError => {
                let (link, violation) = q_ucan::chain::violation(links, &self.judged())?;
                let text = |member| self.text(member).unwrap_or_default().to_owned();
                let (amount, max_fees, currency) = (text("amount"), text("maxFees"), text("currency"));
                (link, Denial::Policy { violation: Box::new(violation), amount, max_fees, currency })
            }
            Refusal::InvalidCommand => {
                let link = links.find(|link| !link.command().covers(self.invocation.command()))?;
                (link.cid(), Denial::Command(link.command().clone()))
            }
            _ => return None,
        };
        Some(self.denied_by(link, why))
    }

    /// The same where the time window of one of the delegations is not open at `now`.
    pub fn denied_now(&self, chain: &[Arc<Delegation>], now: Timestamp) -> Option<Denied> {
        let (link, window) = closed_window(chain.iter().map(|link| &**link), now)?;
        Some(self.denied_by(link, Denial::Window(window)))
    }

    fn denied_by(&self, link: TokenCid, why: Denial) -> Denied {
        Denied { link, is_one_of_many: self.invocation.proofs().len() > 1, why }
    }

    /// The same for a stranger, who takes each token's key from the token and knows of no revocation.
    pub fn check_as_stranger(&self, instance: &Did, at: Timestamp) -> Result<(), Refusal> {
        self.check(&Named, &q_ucan::chain::NoneRevoked, instance, at).map(drop)
    }

    /// What is kept as evidence: a container of the invocation and of what proves it, and of nothing else.
    pub fn evidence(&self, chain: &[Arc<Delegation>]) -> String {
        let links = chain.iter().map(|link| link.bytes());
        container::encode_text(std::iter::once(self.invocation.bytes()).chain(links))
    }

    fn check_claims(&self, instance: &Did, now: Timestamp) -> Result<(), Refusal> {
        if self.invocation.command().as_str() != PAYMENT_COMMAND {
            return Err(Refusal::InvalidClaim("the command of a payment is /qwallet/wallet/pay"));
        }
        if self.invocation.executor() != instance || self.text("aud") != Some(instance.as_str()) {
            return Err(Refusal::InvalidAudience);
        }
        if self.text("payer") != Some(self.invocation.subject().as_str()) {
            return Err(Refusal::InvalidSubject);
        }
        let end = self.ends_at().ok_or(Refusal::InvalidClaim("an invocation has an end"))?;
        if end > now + ORDER_TTL_MAX {
            return Err(Refusal::InvalidClaim("the invocation of a payment ends within a day"));
        }
        // Evidence that names no key is none to somebody who cannot ask whose key it was.
        let is_named = |issuer: &Issuer| issuer.key.is_some() || issuer.did.method() == "key";
        if !self.issuers().iter().all(is_named) {
            return Err(Refusal::InvalidClaim("each token names its key, as in did:squid:…#z6Mk…"));
        }
        let is_own = self.invoker() == self.invocation.subject();
        if !is_own && self.text("wallet").is_none_or(|wallet| wallet.parse::<WalletId>().is_err()) {
            return Err(Refusal::InvalidClaim("under a delegation the wallet is named by its id"));
        }
        Ok(())
    }

    /// What policies are judged on: the order, and what follows from it.
    fn judged(&self) -> Ipld {
        let mut judged = self.order.clone();
        let wallet = self.text("wallet").unwrap_or_default();
        judged.insert("resource".to_owned(), Ipld::String(format!("qwallet:wallet:{wallet}")));
        judged.insert("action".to_owned(), Ipld::String(PAYMENT_ACTION.to_owned()));
        let cost = cost_micros(self.text("amount"), self.text("maxFees"));
        judged.insert(COST_MICROS.to_owned(), Ipld::Integer(cost));
        Ipld::Map(judged)
    }

    fn text(&self, member: &str) -> Option<&str> {
        match self.order.get(member) {
            Some(Ipld::String(text)) => Some(text),
            _ => None,
        }
    }
}

/// The DID URL of the key that an issuer signed with.
pub fn key_id(issuer: &Issuer) -> String {
    match &issuer.key {
        Some(_) => issuer.to_string(),
        None => format!("{issuer}#{}", issuer.did.specific_id()),
    }
}

/// Why a delegation does not allow a payment.
#[derive(Debug, Clone)]
pub struct Denied {
    /// The delegation.
    pub link: TokenCid,
    is_one_of_many: bool,
    /// What of it.
    pub why: Denial,
}

/// What of a delegation does not allow a payment.
#[derive(Debug, Clone)]
pub enum Denial {
    /// It allows something else.
    Command(Command),
    /// It counts at other times.
    Window(WindowText),
    /// A statement of its policy.
    Policy {
        /// Which, and on what.
        violation: Box<Violation>,
        /// The amount, as it was invoked.
        amount: String,
        /// The most in fees.
        max_fees: String,
        /// The currency's code.
        currency: String,
    },
}

impl fmt::Display for Denial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (violation, amount, max_fees, currency) = match self {
            Self::Command(command) => {
                return write!(f, "the delegation allows {}, and not {PAYMENT_COMMAND}", command.as_str());
            }
            Self::Window(window) => return write!(f, "the delegation counts {window}, and not now"),
            Self::Policy { violation, amount, max_fees, currency } => (violation, amount, max_fees, currency),
        };
        match (violation.selector(), violation.relation(), violation.bound()) {
            (Some(".costMicros"), Some(relation), Some(Ipld::Integer(bound))) => write!(
                f,
                "amount {amount} and fees of at most {max_fees} together are {relation} the delegation's {} {currency} \
                 ({}, in millionths)",
                in_whole(bound),
                violation.rule(),
            ),
            _ => violation.fmt(f),
        }
    }
}

impl fmt::Display for Denied {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.why.fmt(f)?;
        if self.is_one_of_many { write!(f, ", says the delegation {}", self.link) } else { Ok(()) }
    }
}

/// Millionths as a decimal.
fn in_whole(micros: i128) -> String {
    let (whole, rest) = (micros.unsigned_abs() / 1_000_000, micros.unsigned_abs() % 1_000_000);
    let text = format!("{}{whole}.{rest:06}", if micros < 0 { "-" } else { "" });
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// Whether the key that the issuer names is one with which it authenticates: only to hand something on, another will do.
fn commands(issuer: &Issuer, methods: &[VerificationMethod]) -> bool {
    // The name is the key.
    issuer.did.method() == "key"
        || methods.iter().any(|method| {
            method.is_authentication && issuer.key.as_deref() == method.id.split_once('#').map(|(_, key)| key)
        })
}

/// The most a payment takes from the payer, in millionths of the currency, rounded up. What cannot be paid costs more
/// than any bound allows.
fn cost_micros(amount: Option<&str>, max_fees: Option<&str>) -> i128 {
    let units = |text: Option<&str>| amount::parse(text?, Scale::new(18)?).ok();
    let cost = units(amount).zip(units(max_fees)).and_then(|(amount, fees)| amount.checked_add(fees));
    let micros = cost.map(|cost| cost.units().div_ceil(UNITS_PER_MICRO));
    micros.and_then(|micros| i128::try_from(micros).ok()).unwrap_or(i128::MAX)
}

#[cfg(test)]
mod tests {
    use q_jose::SecretKey;

    use super::*;

    #[test]
    fn a_key_that_only_hands_on_commands_nothing() {
        let did: Did = "did:squid:QmbnQXj7DhWFrmgjDPKZCybn8fkKW7Wze57SQHpwsSQ7NZ".parse().unwrap();
        let method = |seed: u8, is_authentication: bool| {
            let key = SecretKey::from_seed(&[seed; 32]).public();
            VerificationMethod { id: q_did::key_id(&did, &key), key, is_authentication, is_assertion: true }
        };
        let methods = [method(1, true), method(2, false)];
        let by = |method: &VerificationMethod| {
            let mut issuer = Issuer::from(did.clone());
            issuer.key = method.id.split_once('#').map(|(_, key)| key.to_owned());
            issuer
        };
        assert!(commands(&by(&methods[0]), &methods));
        assert!(!commands(&by(&methods[1]), &methods), "it is no key to authenticate with");
        assert!(!commands(&by(&method(3, true)), &methods), "it is no key of theirs");
        assert!(!commands(&did.clone().into(), &methods), "no key is named");
    }

    #[test]
    fn millionths_are_told_as_what_they_are_of() {
        for (micros, text) in
            [(35_000_000, "35"), (1, "0.000001"), (10_500_000, "10.5"), (0, "0"), (-250_000, "-0.25")]
        {
            assert_eq!(in_whole(micros), text);
        }
    }

    #[test]
    fn the_cost_is_never_less_than_what_is_paid() {
        for (amount, fees, micros) in [
            ("25", "0", 25_000_000),
            ("25", "0.5", 25_500_000),
            ("25.000000000000000001", "0", 25_000_001),
            ("0.000000000000000001", "0.000000000000000001", 1),
            ("340282366920938463463.374607431768211455", "0", 340_282_366_920_938_463_463_374_608),
            ("340282366920938463463.374607431768211455", "1", i128::MAX),
            ("x", "0", i128::MAX),
        ] {
            assert_eq!(cost_micros(Some(amount), Some(fees)), micros, "{amount} and {fees}");
        }
        assert_eq!(cost_micros(Some("1"), None), i128::MAX);
    }
}
