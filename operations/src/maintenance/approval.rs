//! Whether an emergency was approved: by whose signature, over exactly what.

use q_core::{Caller, Did, Principal};
use q_jose::jws;
use q_ops_api::maintenance::{EmergencyOrder, EmergencyRequest, MAINTENANCE_TYP};

use crate::Desk;

/// The longest signature accepted, in bytes.
const APPROVAL_BYTES_MAX: usize = 32 << 10;

/// Why an approval does not count. None of these tells a forger more than the text shows.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unapproved {
    /// There is none.
    #[error("there is no approval")]
    Missing,
    /// Not a compact JWS of the right type.
    #[error("the approval is not a compact EdDSA JWS of type {MAINTENANCE_TYP}")]
    Malformed,
    /// Signed something else.
    #[error("the approval is for another order than this one")]
    OtherOrder,
    /// Not by a current key of an identity that may act.
    #[error("the approval is not signed by a current key of its signer")]
    Signature,
    /// The identities' keys cannot be learned now.
    #[error("the signer's keys cannot be learned now; try again")]
    Unavailable,
    /// The signer is no operator.
    #[error("the signer is no operator of this instance")]
    NotAnOperator,
    /// The setting wants a second person.
    #[error("the approver must be another operator than the one who asks (setting ops.emergency_approver)")]
    SamePerson,
    /// Used or too old.
    #[error("the approval has expired, waits longer than an hour, or was used before")]
    Spent,
}

impl Desk {
    /// Who approved `request`, which `asked_by` sent.
    pub(super) async fn approver(
        &self,
        request: &EmergencyRequest,
        asked_by: Option<&Did>,
    ) -> Result<Did, Unapproved> {
        if request.approval.is_empty() {
            return Err(Unapproved::Missing);
        }
        let parsed = jws::Parsed::parse(&request.approval, APPROVAL_BYTES_MAX)
            .ok()
            .filter(|parsed| parsed.header.typ.as_deref() == Some(MAINTENANCE_TYP))
            .ok_or(Unapproved::Malformed)?;
        let kid = parsed.header.kid.clone().ok_or(Unapproved::Malformed)?;
        let order = EmergencyOrder::of(request, &self.instance.did);
        if parsed.unverified_payload() != order.signing_input() {
            return Err(Unapproved::OtherOrder);
        }
        let message = parsed.signing_input().as_bytes().to_vec();
        let verified = self.identities.verify(&kid, &message, parsed.signature()).await;
        let approver = verified.map_err(|refused| match refused {
            q_auth::SignatureRefused::Directory(q_auth::directory::DirectoryError::Unavailable(_)) => {
                Unapproved::Unavailable
            }
            _ => Unapproved::Signature,
        })?;
        if !(self.is_operator)(&as_caller(&approver, self.env.now())) {
            return Err(Unapproved::NotAnOperator);
        }
        // Whatever is not plainly "any" is taken in the strict sense.
        let needs_second = self.settings.text("emergency_approver") != "any";
        if needs_second && asked_by == Some(&approver) {
            return Err(Unapproved::SamePerson);
        }
        Ok(approver)
    }
}

/// The signer as the one who decides about operators knows people. A signature proves more than a token does.
fn as_caller(did: &Did, now: q_core::Timestamp) -> Caller {
    Caller::Identity(Principal::new(did.clone(), now))
}
