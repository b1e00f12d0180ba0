//! Who permits a payment, and by what: a signature of the payer, or an invocation by the payer or their delegate.

use q_auth::directory::DirectoryError;
use q_contract::Problem;
use q_core::{Did, Principal, Timestamp};
use q_db::uses::Allotment;
use q_pdp::{Reason, resolve_keys};
use qwallet_api::{
    PaymentRequest,
    signing::{PAYMENT_ACTION, PAYMENT_TYP},
};

use super::Service;
use crate::{
    domain::{
        invocation::{Denied, Presented},
        order::SignatureFault,
        payment::Refusal,
    },
    error::Error,
};

/// Lets somebody in who proved by what they sent who they are, or says why not now.
pub type Admit<'a> = &'a (dyn Fn(&Principal) -> Result<(), Problem> + Sync);

/// What permits a payment, or why nothing does.
pub(super) struct Permission {
    /// Whether it holds.
    pub(super) verdict: Result<(), SignatureFault>,
    /// Who gives it: the payer, or whoever acts for the payer.
    pub(super) signer: Did,
    /// What is kept of it.
    pub(super) evidence: String,
    /// When what was signed for this payment ends.
    pub(super) ends_at: Timestamp,
    /// When everything it rests on has ended; not after `ends_at`.
    pub(super) lasts_until: Timestamp,
    /// The delegations whose uses are counted.
    pub(super) uses: Vec<Allotment>,
    /// Whether it is an invocation.
    pub(super) is_invoked: bool,
    /// What of a delegation does not allow it.
    denied: Option<Denied>,
}

impl Permission {
    /// The refusal, which says which statement of a delegation does not hold, and more where nobody asks who could have
    /// proved a second key.
    pub(super) fn explain(&self, error: Error) -> Error {
        match error {
            Error::Refused(Refusal::Signature(fault)) if self.denied.is_some() => match &self.denied {
                Some(denied) => Error::Denied(fault, Box::new(denied.clone())),
                None => error,
            },
            Error::Refused(refusal @ Refusal::StepUpRequired { .. }) if self.is_invoked => {
                Error::OneKeyOnly(refusal)
            }
            other => other,
        }
    }
}

impl Service {
    /// Judges the signature of a payment whose signing input is `input` and which ends at `expires_at`.
    pub(super) async fn permission(
        &self,
        admit: Admit<'_>,
        payment: &PaymentRequest,
        input: &[u8],
        expires_at: Timestamp,
    ) -> Result<Permission, Error> {
        let mut permission = Permission {
            verdict: Ok(()),
            signer: payment.payer.clone(),
            evidence: payment.signature.clone(),
            ends_at: expires_at,
            lasts_until: expires_at,
            uses: Vec::new(),
            is_invoked: Presented::is_meant(&payment.signature),
            denied: None,
        };
        if !permission.is_invoked {
            let checked = self.check_signature(&payment.signature, PAYMENT_TYP, input, &payment.payer);
            permission.verdict = checked.await?;
            return Ok(permission);
        }
        let presented = match Presented::read(&payment.signature, input) {
            Ok(presented) => presented,
            Err(fault) => return Ok(Permission { verdict: Err(fault), ..permission }),
        };
        permission.signer = presented.invoker().clone();
        permission.ends_at = presented.ends_at().map_or(expires_at, |end| end.min(expires_at));
        permission.lasts_until = permission.ends_at;
        if let Err(fault) = self.judge_invocation(&presented, &mut permission).await? {
            return Ok(Permission { verdict: Err(fault), ..permission });
        }
        // It has proved whom it is from: from here on it is counted as theirs.
        admit(&self.principal(&permission.signer).await).map_err(Box::new)?;
        Ok(permission)
    }

    async fn judge_invocation(
        &self,
        presented: &Presented,
        permission: &mut Permission,
    ) -> Result<Result<(), SignatureFault>, Error> {
        if let Err(refusal) = presented.check_names() {
            return Ok(Err(refusal.into()));
        }
        let (now, issuers) = (self.env.now(), presented.issuers());
        let keys = resolve_keys(&issuers, &*self.keys, now).await?;
        let chain = match presented.check(&keys, &self.pdp, &self.instance.did, now) {
            Ok(chain) => chain,
            Err(refusal) => {
                // Its signatures hold: whoever invokes reads of nothing but what they sent.
                permission.denied = presented.denied(refusal);
                return Ok(Err(refusal.into()));
            }
        };
        if issuers.iter().any(|issuer| self.keys.is_blocked(&issuer.did)) {
            return Ok(Err(SignatureFault::KeyUnknown));
        }
        let is_commanded = match self.keys.resolve(presented.invoker()).await {
            Ok(keys) => presented.is_commanded(&keys.methods),
            Err(error @ DirectoryError::Unavailable(_)) => return Err(error.into()),
            Err(_) => false,
        };
        if !is_commanded {
            return Ok(Err(SignatureFault::KeyUnknown));
        }
        if !chain.is_empty() {
            let judged = self.pdp.judge_presented(presented.invoker(), &chain, PAYMENT_ACTION, now);
            let uses = match judged {
                Ok(uses) => uses,
                Err(reason) => {
                    if reason == Reason::OutsideTimeWindow {
                        permission.denied = presented.denied_now(&chain, now.max(self.pdp.proved_at()));
                    }
                    return Ok(Err(SignatureFault::Delegation(reason)));
                }
            };
            permission.uses = uses.iter().map(|one| Allotment { name: one.name(), most: one.max }).collect();
        }
        let ends = chain.iter().filter_map(|link| link.expires_at());
        permission.lasts_until = ends.fold(permission.ends_at, Timestamp::min);
        permission.evidence = presented.evidence(&chain);
        Ok(Ok(()))
    }

    /// Whoever signed, as far as limits on requests go.
    async fn principal(&self, did: &Did) -> Principal {
        let principal = Principal::new(did.clone(), self.env.now());
        match self.keys.standing(did).await {
            Ok(standing) => {
                Principal { kind: Some(standing.kind), parent: standing.parent.clone(), ..principal }
            }
            Err(_) => principal,
        }
    }
}
