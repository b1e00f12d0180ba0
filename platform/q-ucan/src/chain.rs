//! Judging chains: signatures, times, alignment of principals, subjects, commands and policies.

use std::sync::Arc;

use ipld_core::ipld::Ipld;
use q_core::{Did, Span, Timestamp};

use crate::{
    Command, Delegation, Invocation, Issuer, Refusal, TokenCid, VerifyingKey, envelope::Signed,
    policy::Violation,
};

/// The longest chain.
pub const LINKS_MAX: usize = 8;

/// Finds the keys that may sign for an issuer.
pub trait Keys {
    /// The keys in the issuer's `capabilityDelegation`, narrowed to the one its fragment names.
    ///
    /// `token` is what they are asked for: a key that was rotated out still counts for tokens registered before.
    /// `did:key` issuers are never asked for; they carry their key.
    fn find(&self, issuer: &Issuer, token: &TokenCid) -> Result<Vec<VerifyingKey>, Refusal>;
}

/// Finds the delegations an invocation names.
pub trait Proofs {
    /// The delegation with this identifier.
    fn find(&self, cid: &TokenCid) -> Option<Arc<Delegation>>;
}

/// Knows what was withdrawn.
pub trait Revocations {
    /// Whether this delegation counts as withdrawn: by itself, by its issuer, by its key or by its age.
    fn is_revoked(&self, delegation: &Delegation) -> bool;
}

/// Resolves `did:key` and nothing else.
#[derive(Debug, Default, Clone, Copy)]
pub struct DidKeyOnly;

impl Keys for DidKeyOnly {
    fn find(&self, _: &Issuer, _: &TokenCid) -> Result<Vec<VerifyingKey>, Refusal> {
        Err(Refusal::UnknownIssuer)
    }
}

/// Nothing was ever withdrawn.
#[derive(Debug, Default, Clone, Copy)]
pub struct NoneRevoked;

impl Revocations for NoneRevoked {
    fn is_revoked(&self, _: &Delegation) -> bool {
        false
    }
}

impl Proofs for [Arc<Delegation>] {
    fn find(&self, cid: &TokenCid) -> Option<Arc<Delegation>> {
        self.iter().find(|delegation| delegation.cid() == *cid).cloned()
    }
}

/// How strict to be beyond the specification.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rules {
    /// How far clocks may differ.
    pub skew: Span,
    /// How far ahead an invocation may expire; `None` accepts any, and invocations without end.
    pub invocation_ahead_max: Option<Span>,
    /// Whether a delegation may be without end.
    pub allows_endless_delegations: bool,
}

impl Rules {
    /// The rules of the house: 60 s of skew, invocations of at most 10 min, no delegation without end.
    pub const HOUSE: Self = Self {
        skew: Span::seconds(60),
        invocation_ahead_max: Some(Span::seconds(600)),
        allows_endless_delegations: false,
    };

    /// What the specification asks for and no more.
    pub const SPECIFICATION: Self =
        Self { skew: Span::seconds(60), invocation_ahead_max: None, allows_endless_delegations: true };
}

/// What a judgement is made with.
#[derive(Clone, Copy)]
pub struct Verifier<'a> {
    /// Whose keys are whose.
    pub keys: &'a dyn Keys,
    /// What was withdrawn.
    pub revocations: &'a dyn Revocations,
    /// How strict to be.
    pub rules: Rules,
    /// The present instant.
    pub now: Timestamp,
}

impl Verifier<'_> {
    /// Judges one delegation by itself: times, signature, withdrawal.
    pub fn delegation(&self, delegation: &Delegation) -> Result<(), Refusal> {
        self.delegation_times(delegation)?;
        check_signature(delegation, self.keys)?;
        self.withdrawal(delegation)
    }

    /// Judges what may have changed since the signature was checked: times and withdrawal.
    pub fn still_holds(&self, delegation: &Delegation) -> Result<(), Refusal> {
        self.delegation_times(delegation)?;
        self.withdrawal(delegation)
    }

    fn delegation_times(&self, delegation: &Delegation) -> Result<(), Refusal> {
        if delegation.expires_at().is_none() && !self.rules.allows_endless_delegations {
            return Err(Refusal::InvalidClaim("a delegation has an end"));
        }
        self.times(delegation.not_before(), delegation.expires_at())
    }

    fn withdrawal(&self, delegation: &Delegation) -> Result<(), Refusal> {
        if self.revocations.is_revoked(delegation) { Err(Refusal::Revoked(delegation.cid())) } else { Ok(()) }
    }

    /// Judges each delegation, and that together, root first, they are one chain.
    pub fn chain(&self, links: Vec<Arc<Delegation>>) -> Result<Chain, Refusal> {
        let chain = Chain::assemble(links)?;
        chain.links().iter().try_for_each(|link| self.delegation(link))?;
        Ok(chain)
    }

    /// Judges an invocation addressed to `executor`, with the arguments the executor computed from its own data.
    ///
    /// Gives back the proving chain; empty when the invoker is the subject. That the invocation is not a replay is
    /// for the caller to note, in the transaction of its effect.
    pub fn invocation(
        &self,
        invocation: &Invocation,
        proofs: &(impl Proofs + ?Sized),
        executor: &Did,
        args: &Ipld,
    ) -> Result<Vec<Arc<Delegation>>, Refusal> {
        self.invocation_times(invocation)?;
        check_signed(self.keys, invocation.issuer(), invocation.signed())?;
        if invocation.executor() != executor && invocation.subject() != executor {
            return Err(Refusal::InvalidAudience);
        }
        if invocation.issuer().did == *invocation.subject() {
            return Ok(Vec::new());
        }
        let links = invocation
            .proofs()
            .iter()
            .map(|cid| proofs.find(cid).ok_or(Refusal::UnavailableProof(*cid)))
            .collect::<Result<Vec<_>, _>>()?;
        let chain = self.chain(links)?;
        chain.allows(&invocation.issuer().did, invocation.subject(), invocation.command(), args)?;
        Ok(chain.0)
    }

    fn invocation_times(&self, invocation: &Invocation) -> Result<(), Refusal> {
        if let Some(ahead_max) = self.rules.invocation_ahead_max {
            match invocation.expires_at() {
                None => return Err(Refusal::InvalidClaim("an invocation has an end")),
                Some(end) if end > self.now + ahead_max + self.rules.skew => {
                    return Err(Refusal::InvalidClaim("an invocation ends within 10 minutes"));
                }
                Some(_) => {}
            }
        }
        self.times(invocation.not_before(), invocation.expires_at())
    }

    fn times(&self, not_before: Option<Timestamp>, expires_at: Option<Timestamp>) -> Result<(), Refusal> {
        if expires_at.is_some_and(|end| end + self.rules.skew < self.now) {
            return Err(Refusal::Expired);
        }
        if not_before.is_some_and(|start| start > self.now + self.rules.skew) {
            return Err(Refusal::TooEarly);
        }
        Ok(())
    }
}

/// Checks that one of the issuer's keys signed the delegation, and tells which. Not whether it is in time.
pub fn check_signature(delegation: &Delegation, keys: &dyn Keys) -> Result<VerifyingKey, Refusal> {
    check_signed(keys, delegation.issuer(), delegation.signed())
}

fn check_signed(keys: &dyn Keys, issuer: &Issuer, signed: &Signed) -> Result<VerifyingKey, Refusal> {
    let keys = if issuer.did.method() == "key" {
        if issuer.key.as_deref().is_some_and(|key| key != issuer.did.specific_id()) {
            return Err(Refusal::UnknownIssuer);
        }
        vec![VerifyingKey::from_did_key(issuer.did.as_str())?]
    } else {
        keys.find(issuer, &signed.cid)?
    };
    keys.into_iter()
        .find(|key| key.verifies(signed.algorithm, signed.message(), signed.signature()))
        .ok_or(Refusal::InvalidSignature)
}

/// The first of `links` whose policy does not hold on `args`, and which statement of it: why [`Chain::allows`] answered
/// [`Refusal::MatchError`].
pub fn violation<'a>(
    links: impl IntoIterator<Item = &'a Arc<Delegation>>,
    args: &Ipld,
) -> Option<(TokenCid, Violation)> {
    links.into_iter().find_map(|link| Some((link.cid(), link.policy().violation(args)?)))
}

/// How many delegations a search for a chain looks at.
const SEARCH_STEPS_MAX: u32 = 4_096;

/// A search from the holder up to the subject.
struct Search<'a> {
    pool: &'a [Arc<Delegation>],
    subject: &'a Did,
    command: &'a Command,
    args: &'a Ipld,
    steps_left: u32,
}

impl Search<'_> {
    /// Extends `path` (leaf first), whose next audience is to be `audience`.
    fn upwards(&mut self, audience: &Did, path: &mut Vec<Arc<Delegation>>) -> Option<Chain> {
        if path.len() == LINKS_MAX {
            return None;
        }
        let pool = self.pool;
        for link in pool {
            self.steps_left = self.steps_left.checked_sub(1)?;
            let fits = link.audience() == audience
                && link.command().covers(self.command)
                && link.subject().is_none_or(|subject| subject == self.subject)
                && link.policy().check(self.args).is_ok();
            if !fits {
                continue;
            }
            path.push(link.clone());
            let found = if link.issuer().did == *self.subject {
                Chain::assemble(path.iter().rev().cloned().collect()).ok()
            } else {
                self.upwards(&link.issuer().did, path)
            };
            if found.is_some() {
                return found;
            }
            path.pop();
        }
        None
    }
}

/// Delegations that fit together, root first: one authority, handed on from link to link.
///
/// Assembling checks what never changes. Signatures, times and withdrawals are [`Verifier`]'s.
#[derive(Debug, Clone, PartialEq)]
pub struct Chain(Vec<Arc<Delegation>>);

impl Chain {
    /// Checks that `links`, root first, are one chain.
    pub fn assemble(links: Vec<Arc<Delegation>>) -> Result<Self, Refusal> {
        if links.len() > LINKS_MAX {
            return Err(Refusal::TooLarge("a chain has at most 8 links"));
        }
        let root = links.first().ok_or(Refusal::InvalidClaim("an authority is proved by a chain"))?;
        let subject = root.subject().ok_or(Refusal::InvalidClaim("the root of a chain names its subject"))?;
        if root.issuer().did != *subject {
            return Err(Refusal::InvalidSubject);
        }
        for (link, next) in links.iter().zip(links.iter().skip(1)) {
            if *link.audience() != next.issuer().did {
                return Err(Refusal::InvalidAudience);
            }
            // A powerline inherits the subject of the chain it is used in.
            if next.subject().is_some_and(|next| next != subject) {
                return Err(Refusal::InvalidSubject);
            }
            if !link.command().covers(next.command()) {
                return Err(Refusal::InvalidCommand);
            }
        }
        // A chain that comes back to a principal adds nothing, and hides who really decided.
        let returns = |at: usize, link: &Arc<Delegation>| {
            let seen = &links[..=at];
            seen.iter().any(|earlier| earlier.issuer().did == *link.audience())
        };
        if links.iter().enumerate().any(|(at, link)| returns(at, link)) {
            return Err(Refusal::InvalidClaim("a chain does not come back to a principal"));
        }
        Ok(Self(links))
    }

    /// Finds among `pool` a chain by which `holder` may do `command` with `args` to what `subject` owns.
    ///
    /// For containers, which hold their tokens in no particular order. Looks at a bounded number of paths.
    pub fn find(
        pool: &[Arc<Delegation>],
        holder: &Did,
        subject: &Did,
        command: &Command,
        args: &Ipld,
    ) -> Result<Self, Refusal> {
        let mut search = Search { pool, subject, command, args, steps_left: SEARCH_STEPS_MAX };
        search
            .upwards(holder, &mut Vec::new())
            .ok_or(Refusal::InvalidClaim("no chain leads from the owner to the holder"))
    }

    /// The links, root first.
    pub fn links(&self) -> &[Arc<Delegation>] {
        &self.0
    }

    /// Whose authority it is.
    pub fn subject(&self) -> &Did {
        &self.root().issuer().did
    }

    /// Who holds it in the end.
    pub fn holder(&self) -> &Did {
        self.leaf().audience()
    }

    /// What may be done in the end: the narrowest command.
    pub fn command(&self) -> &Command {
        self.leaf().command()
    }

    /// When the first link ends, if one does.
    pub fn expires_at(&self) -> Option<Timestamp> {
        self.0.iter().filter_map(|link| link.expires_at()).min()
    }

    /// When the last link begins, if one waits.
    pub fn not_before(&self) -> Option<Timestamp> {
        self.0.iter().filter_map(|link| link.not_before()).max()
    }

    /// Whether `principal` may do `command` with `args` to what `subject` owns, going by this chain.
    pub fn allows(
        &self,
        principal: &Did,
        subject: &Did,
        command: &Command,
        args: &Ipld,
    ) -> Result<(), Refusal> {
        if self.holder() != principal {
            return Err(Refusal::InvalidAudience);
        }
        if self.subject() != subject {
            return Err(Refusal::InvalidSubject);
        }
        if !self.command().covers(command) {
            return Err(Refusal::InvalidCommand);
        }
        self.0.iter().try_for_each(|link| link.policy().check(args))
    }

    fn root(&self) -> &Delegation {
        self.0.first().expect("a chain has at least one link")
    }

    fn leaf(&self) -> &Delegation {
        self.0.last().expect("a chain has at least one link")
    }
}
