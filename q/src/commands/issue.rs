//! `q wallet issue`: one order, signed by every approver, handed in once.

use std::path::Path;

use anyhow::ensure;
use q_core::Span;
use q_jose::jws;
use qwallet_api::{
    IssuanceRequest, Issue, Transaction,
    signing::{ISSUANCE_TYP, IssuanceOrder, signing_input},
};

use crate::session::Session;

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

/// Has the `approvers`, all of this keyring, sign and hands the order in.
pub async fn run(data: &Path, issuance: &Issuance<'_>, approvers: &[String]) -> anyhow::Result<Transaction> {
    ensure!(approvers.len() >= 2, "an issuance needs two approvers: --approver operator --approver NAME");
    let sessions: Vec<Session> =
        approvers.iter().map(|name| Session::open(data, name)).collect::<anyhow::Result<_>>()?;
    let first = &sessions[0];
    let action = if issuance.is_burn { "BURN" } else { "MINT" };
    let aud = first.layout.read_instance()?.did.to_string();
    let expires_at = (first.env.now() + ORDER_LIFETIME).to_string();
    let (nonce, wallet) = (first.fresh_key(), first.identity_or_text(issuance.wallet));
    let input = signing_input(&IssuanceOrder {
        action,
        amount: issuance.amount,
        aud: &aud,
        client_ref: issuance.reference,
        currency: issuance.currency,
        expires_at: &expires_at,
        nonce: &nonce,
        v: 1,
        wallet: &wallet,
    });
    let approve = |session: &Session| {
        let header = jws::Header::typ(ISSUANCE_TYP).kid(session.keyring.key_id());
        jws::sign(&header, &input, &session.keyring.current)
    };
    let request = IssuanceRequest {
        action: action.to_owned(),
        amount: issuance.amount.into(),
        approvals: sessions.iter().map(approve).collect(),
        client_ref: issuance.reference.to_owned(),
        currency: issuance.currency.to_owned(),
        expires_at: expires_at.clone(),
        nonce: nonce.clone(),
        wallet: wallet.clone(),
    };
    Ok(first.client("qwallet")?.with_key(nonce).call::<Issue>(&request).await?)
}
