//! What others have to approve: each wallet with a rule is marked in the books, and each decision was made by somebody
//! else than the payer, under a signature over the intent.

use q_core::{AmountText, Did};
use q_db::{DbError, Reader};
use q_jose::jws;
use q_runtime::Finding;
use qwallet_api::{
    IntentId,
    signing::{APPROVAL_TYP, REJECTION_TYP},
};
use serde::Deserialize;

use super::{KeysAsked, Room, Scope, fees::proven};
use crate::store::{self, approvals::DecisionRow, intents::IntentRow};

/// The rules and the decisions under them.
#[derive(Default)]
pub(super) struct Approvals {
    asked: KeysAsked,
}

impl Room for Approvals {
    fn finish(
        &mut self,
        reader: &mut Reader<'_>,
        _: &Scope<'_>,
        found: &mut Vec<Finding>,
    ) -> Result<(), DbError> {
        store::approvals::for_each_rule(reader, |wallet, rules, is_marked| {
            let place = format!("approval_rules {wallet}");
            if let Err(error) = rules {
                found.push(Finding::new("approvals_unreadable", place, error.to_string()));
            } else if !is_marked {
                let detail = "an account of the wallet is not marked, so its payments would need no approval";
                found.push(Finding::new("approvals_unmarked", place, detail));
            }
            Ok(())
        })?;
        let mut decisions = Vec::new();
        store::approvals::for_each_decision(reader, |intent, decision| {
            match decision {
                Ok(decision) => decisions.push((intent, decision)),
                Err(error) => {
                    let place = format!("intent_approvals {intent}");
                    found.push(Finding::new("approval_unreadable", place, error.to_string()));
                }
            }
            Ok(())
        })?;
        for (id, decision) in decisions {
            let intent = store::intents::find(reader, id)?;
            let place = format!("intent_approvals {id} {}", decision.approver);
            match signed_with(&decision, intent.as_ref()) {
                Ok(kid) => {
                    self.asked.ask(kid, Some(&decision.approver), decision.at, &place);
                }
                Err(fault) => found.push(Finding::new("approval_mismatch", place, fault)),
            }
        }
        Ok(())
    }

    fn keys_asked(&mut self) -> KeysAsked {
        std::mem::take(&mut self.asked)
    }
}

/// What a signed intent says of itself.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Said {
    amount: AmountText,
    intent_id: IntentId,
    nonce: String,
    payer: Did,
    recipient: String,
}

/// The key that signed a decision about an intent, or what is wrong with it. That the key was the approver's, the log of
/// the approver says.
fn signed_with(decision: &DecisionRow, intent: Option<&IntentRow>) -> Result<String, &'static str> {
    let intent = intent.ok_or("its intent does not exist")?;
    if decision.approver == intent.payer {
        return Err("the payer decided");
    }
    let parsed = jws::Parsed::parse(&decision.signature, jws::JWS_BYTES_MAX);
    let parsed = parsed.map_err(|_| "its signature cannot be read")?;
    let typ = if decision.is_approved { APPROVAL_TYP } else { REJECTION_TYP };
    let said: Option<Said> = serde_json::from_slice(parsed.unverified_payload()).ok();
    let is_about_it = said.is_some_and(|said| {
        said.intent_id == intent.id
            && said.nonce == intent.nonce
            && said.payer == intent.payer
            && said.recipient == intent.recipient
            && said.amount == intent.amount
    });
    if parsed.header.typ.as_deref() != Some(typ) || !is_about_it {
        return Err("its signature is for something else");
    }
    let by = proven(&decision.signature, typ, parsed.unverified_payload());
    let by = by.ok_or("its signature does not hold")?;
    if by.signer == decision.approver { Ok(by.kid) } else { Err("its signature is somebody else's") }
}
