//! What an approver answers, whatever has to be approved: read, attributed to who signed it, kept as it was signed.
//!
//! **Invariant:** nobody approves what they pay themselves, and who rejected something does not approve it later.

use q_core::{Did, Timestamp};
use qwallet_api::{
    ApproverDecision,
    signing::{APPROVAL_TYP, REJECTION_TYP},
};

use super::Service;
use crate::{domain::payment::Refusal, error::Error, store::approvals::DecisionRow};

/// An answer as it came.
pub(super) struct Answer<'a> {
    /// `APPROVE` or `REJECT`.
    pub decision: &'a str,
    /// Over exactly what the payer signs.
    pub signature: String,
}

/// An answer of somebody whose signature holds.
#[derive(Clone)]
pub(super) struct Ballot {
    pub by: Did,
    pub is_approved: bool,
    signature: String,
}

impl Service {
    /// Who answered, and what, about what `payer` signs as `input`.
    pub(super) async fn ballot(
        &self,
        answer: Answer<'_>,
        input: &[u8],
        payer: &Did,
    ) -> Result<Ballot, Error> {
        let (is_approved, typ) = match answer.decision {
            APPROVE => (true, APPROVAL_TYP),
            REJECT => (false, REJECTION_TYP),
            _ => return Err(Refusal::Malformed("decision").into()),
        };
        let by = self.signer_of(&answer.signature, typ, input).await?.map_err(Refusal::Signature)?;
        if by == *payer {
            return Err(Error::SelfApproval(by.to_string()));
        }
        Ok(Ballot { by, is_approved, signature: attached(answer.signature, input) })
    }
}

const APPROVE: &str = "APPROVE";
const REJECT: &str = "REJECT";

impl Ballot {
    /// The answer to keep, unless it takes a rejection back. A signature says nothing of when it was made: an approval
    /// from before could be handed in once more.
    pub(super) fn after(&self, earlier: &[DecisionRow], at: Timestamp) -> Result<DecisionRow, Refusal> {
        if self.is_approved && against(earlier).any(|approver| *approver == self.by) {
            return Err(Refusal::InvalidState("rejected by this approver, which stands"));
        }
        let Self { by: approver, is_approved, signature } = self.clone();
        Ok(DecisionRow { approver, is_approved, signature, at })
    }
}

/// How an answer is told.
pub(super) fn told(row: DecisionRow) -> ApproverDecision {
    let decision = if row.is_approved { APPROVE } else { REJECT };
    ApproverDecision { approver: row.approver, decision: decision.to_owned(), at: row.at }
}

/// Those of `decisions` that were made since a parent or guardian was asked, which they answer.
pub(super) fn made_since(decisions: &[DecisionRow], since: Timestamp) -> impl Iterator<Item = &DecisionRow> {
    decisions.iter().filter(move |decision| decision.at >= since)
}

/// Who approved.
pub(super) fn in_favour<'a>(
    decisions: impl IntoIterator<Item = &'a DecisionRow>,
) -> impl Iterator<Item = &'a Did> {
    decisions.into_iter().filter(|decision| decision.is_approved).map(|decision| &decision.approver)
}

/// Who rejected.
pub(super) fn against(decisions: &[DecisionRow]) -> impl Iterator<Item = &Did> {
    decisions.iter().filter(|decision| !decision.is_approved).map(|decision| &decision.approver)
}

/// A signature with its payload, so that it can be checked by itself.
fn attached(signature: String, input: &[u8]) -> String {
    match signature.split_once("..") {
        Some((header, rest)) => format!("{header}.{}.{rest}", q_jose::base64url::encode(input)),
        None => signature,
    }
}
