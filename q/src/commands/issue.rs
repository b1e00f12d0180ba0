//! `q wallet issue`: one order, signed by every approver, handed in once.

use std::{fs, path::Path};

use anyhow::ensure;
use q_contract::CallError;
use q_core::{Span, hash};
use q_jose::jws;
use qwallet_api::{
    IssuanceRequest, Issue, Transaction,
    signing::{ISSUANCE_TYP, IssuanceOrder, signing_input},
};
use serde_json::json;

use crate::{output::usage, session::Session};

/// How long the order may wait for its last approver.
const ORDER_LIFETIME: Span = Span::seconds(600);

/// What is to be issued, or withdrawn.
pub struct Issuance<'a> {
    /// Decimal text.
    pub amount: &'a str,
    /// A keyring name, DID or wallet reference.
    pub wallet: &'a str,
    /// The currency's code.
    pub currency: &'a str,
    /// The resolution or ticket that decided it.
    pub reference: &'a str,
    /// Whether money is taken out of circulation.
    pub is_burn: bool,
}

/// Has the `approvers`, all of this keyring, sign and hands the order in; under the same `key` it happens once.
///
/// Without a key the order is known by what it says: the same reference, amount, wallet and currency again is the same
/// issuance. The signed order is kept before it is sent, so that a repetition hands in the very same one.
pub async fn run(
    data: &Path,
    issuance: &Issuance<'_>,
    approvers: &[String],
    key: Option<&str>,
) -> anyhow::Result<Transaction> {
    if approvers.len() < 2 {
        return Err(usage("an issuance needs two approvers: --approver operator --approver NAME"));
    }
    let sessions: Vec<Session> =
        approvers.iter().map(|name| Session::open(data, name)).collect::<anyhow::Result<_>>()?;
    let first = &sessions[0];
    let wallet = first.wallet_of(issuance.wallet)?;
    let key = key.map_or_else(|| key_of(issuance, &wallet), str::to_owned);
    let order: IssuanceRequest = if let Some(order) = first.layout.kept_order(&key)? {
        order
    } else {
        let order = signed_order(&sessions, issuance, &wallet)?;
        first.layout.keep_order(&key, &order)?;
        order
    };
    let is_same = order.action == issuance.action()
        && order.amount.as_str() == issuance.amount
        && order.currency == issuance.currency
        && order.client_ref == issuance.reference
        && order.wallet == wallet;
    ensure!(is_same, "the key {key} was used for another issuance; use a new key for a new issuance");
    let issued = first.client("qwallet")?.with_key(&key).call::<Issue>(&order).await;
    if let Err(CallError::Problem(problem)) = &issued
        && problem.status < 500
    {
        // What the instance refuses has not happened and will not, so the next attempt signs anew: with an approver
        // who is one, or in time.
        fs::remove_file(first.layout.order(&key))?;
    }
    Ok(issued?)
}

impl Issuance<'_> {
    const fn action(&self) -> &'static str {
        if self.is_burn { "BURN" } else { "MINT" }
    }
}

/// The key of an issuance that was given none.
fn key_of(issuance: &Issuance<'_>, wallet: &str) -> String {
    let said = [issuance.action(), issuance.reference, issuance.amount, wallet, issuance.currency];
    format!("issue-{}", hash::hex(&hash::sha256(json!(said).to_string().as_bytes())[..16]))
}

fn signed_order(
    sessions: &[Session],
    issuance: &Issuance<'_>,
    wallet: &str,
) -> anyhow::Result<IssuanceRequest> {
    let first = &sessions[0];
    let aud = first.layout.read_instance()?.did.to_string();
    let expires_at = (first.env.now() + ORDER_LIFETIME).to_string();
    let nonce = first.fresh_key();
    let input = signing_input(&IssuanceOrder {
        action: issuance.action(),
        amount: issuance.amount,
        aud: &aud,
        client_ref: issuance.reference,
        currency: issuance.currency,
        expires_at: &expires_at,
        nonce: &nonce,
        v: 1,
        wallet,
    });
    let approve = |session: &Session| {
        let header = jws::Header::typ(ISSUANCE_TYP).kid(session.keyring.key_id());
        jws::sign(&header, &input, &session.keyring.current)
    };
    Ok(IssuanceRequest {
        action: issuance.action().to_owned(),
        amount: issuance.amount.into(),
        approvals: sessions.iter().map(approve).collect(),
        client_ref: issuance.reference.to_owned(),
        currency: issuance.currency.to_owned(),
        expires_at: expires_at.clone(),
        nonce: nonce.clone(),
        wallet: wallet.to_owned(),
    })
}
