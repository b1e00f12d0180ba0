//! Withdrawals that others had to approve: each order opens and says what its row says, what was carried out has gone out,
//! and each decision was made by somebody else than the payer, under a signature over the order.

use q_core::{AmountText, Did};
use q_db::{DbError, Reader};
use q_jose::jws;
use q_runtime::Finding;
use q_seal::Place;
use qwallet_api::{
    WithdrawalRequest,
    signing::{APPROVAL_TYP, REJECTION_TYP},
};
use serde::Deserialize;

use super::{KeysAsked, Room, Scope, fees::proven};
use crate::{
    domain::rails::WaitingStatus,
    store::{self, approvals::DecisionRow, waiting_withdrawals::WaitingRow},
};

/// The check of withdrawals that had to be approved.
#[derive(Default)]
pub(super) struct Waiting {
    asked: KeysAsked,
}

impl Room for Waiting {
    fn finish(
        &mut self,
        reader: &mut Reader<'_>,
        scope: &Scope<'_>,
        found: &mut Vec<Finding>,
    ) -> Result<(), DbError> {
        let mut rows = Vec::new();
        store::waiting_withdrawals::for_each(reader, |row| {
            match row {
                Ok(row) => rows.push(row),
                Err(error) => {
                    let place = "waiting_withdrawals".to_owned();
                    found.push(Finding::new("waiting_unreadable", place, error.to_string()));
                }
            }
            Ok(())
        })?;
        for row in rows {
            let place = format!("waiting_withdrawals {}", row.id);
            let id = row.id.to_string();
            let at = Place { module: "qwallet", table: "waiting_withdrawals", column: "document", row: &id };
            let order = scope.sealer.open_text(at, &row.document).ok();
            let order = order.and_then(|text| serde_json::from_str::<WithdrawalRequest>(&text).ok());
            let Some(order) = order else {
                found.push(Finding::new("waiting_sealed", place, "its order does not open"));
                continue;
            };
            if order.payer != row.payer || order.nonce != row.nonce {
                found.push(Finding::new("waiting_mismatch", place.clone(), "its order is another one"));
            }
            let out = store::rails::find_outgoing(reader, row.id)?.and_then(|out| out.withdrawal);
            let is_so = match (row.status, out) {
                (WaitingStatus::CarriedOut, Some(part)) => {
                    (part.wallet, part.amount) == (row.wallet, row.amount)
                }
                (WaitingStatus::Waiting | WaitingStatus::Cancelled, None) => true,
                _ => false,
            };
            if !is_so {
                let detail = format!("it is {}, and what goes out says otherwise", row.status.name());
                found.push(Finding::new("waiting_mismatch", place, detail));
            }
            for decision in store::waiting_withdrawals::decisions(reader, row.id)? {
                let place = format!("withdrawal_approvals {} {}", row.id, decision.approver);
                if let Some(kid) = signed_with(&decision, &row, &order) {
                    self.asked.ask(kid, Some(&decision.approver), decision.at, &place);
                } else {
                    let detail = "its signature does not hold, is for something else, or not an approver's";
                    found.push(Finding::new("approval_mismatch", place, detail));
                }
            }
        }
        Ok(())
    }

    fn keys_asked(&mut self) -> KeysAsked {
        std::mem::take(&mut self.asked)
    }
}

/// What a signed order says of itself.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Said {
    amount: AmountText,
    nonce: String,
    payer: Did,
    rail: String,
    recipient: String,
}

/// The key with which somebody else than the payer signed this order. That it was theirs, their log says.
fn signed_with(decision: &DecisionRow, row: &WaitingRow, order: &WithdrawalRequest) -> Option<String> {
    let parsed = jws::Parsed::parse(&decision.signature, jws::JWS_BYTES_MAX).ok()?;
    let typ = if decision.is_approved { APPROVAL_TYP } else { REJECTION_TYP };
    let said: Said = serde_json::from_slice(parsed.unverified_payload()).ok()?;
    let is_about_it = said.nonce == order.nonce
        && said.payer == row.payer
        && said.rail == order.rail
        && said.recipient == order.recipient
        && said.amount == order.amount;
    let by = proven(&decision.signature, typ, parsed.unverified_payload())?;
    let is_right = is_about_it && by.signer == decision.approver && decision.approver != row.payer;
    is_right.then_some(by.kid)
}
