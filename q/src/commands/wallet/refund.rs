//! `q wallet refund`: gives back all or part of a payment.

use clap::Args;
use qwallet_api::{CreateRefund, REFUND_TYP, Refund, RefundOrder, RefundRequest, signing::signing_input};

use super::{ORDER_LIFETIME, sign_as};
use crate::{
    cli::{AsArgs, positive},
    output::{self, usage},
    session::Session,
};

/// `q wallet refund`.
#[derive(Debug, Args)]
pub struct RefundArgs {
    /// The transaction id of the payment.
    pub transaction: String,
    /// How much; all that is left when absent.
    #[arg(allow_negative_numbers = true, value_parser = positive)]
    pub amount: Option<String>,
    /// Why, for both parties to read.
    #[arg(long, default_value = "")]
    pub reason: String,
    /// The house gives back the same share of its fees.
    #[arg(long)]
    pub with_fees: bool,
    /// Who received the payment.
    #[command(flatten)]
    pub acting: AsArgs,
}

pub async fn run(session: &Session, args: &RefundArgs) -> anyhow::Result<()> {
    let transaction_id = args.transaction.parse().map_err(|error| {
        usage(format!(
            "{:?} is not a transaction id: {error}; `q wallet history` lists them",
            args.transaction
        ))
    })?;
    let nonce = session.fresh_key();
    let expires_at = (session.env.now() + ORDER_LIFETIME).to_string();
    let refund_fees = if args.with_fees { "proportional" } else { "none" };
    let input = signing_input(&RefundOrder {
        amount: args.amount.as_deref(),
        aud: session.layout.read_instance()?.did.as_str(),
        expires_at: &expires_at,
        nonce: &nonce,
        payee: session.did().as_str(),
        reason: &args.reason,
        refund_fees,
        transaction_id: &args.transaction,
        v: 1,
    });
    let request = RefundRequest {
        transaction_id,
        amount: args.amount.as_deref().map(Into::into),
        reason: args.reason.clone(),
        refund_fees: refund_fees.to_owned(),
        payee: session.did().clone(),
        expires_at: expires_at.clone(),
        nonce: nonce.clone(),
        signature: sign_as(session, REFUND_TYP, &input),
    };
    let refund = session.client("qwallet")?.with_key(nonce.as_str()).call::<CreateRefund>(&request).await?;
    output::show(args.acting.json, &refund, show);
    Ok(())
}

fn show(refund: &Refund) {
    output::line(format!(
        "{} gave back {} {} of {}\n  fees given back {}, still to give back {}",
        refund.refund_id,
        refund.amount.as_str(),
        refund.currency,
        refund.transaction_id,
        refund.fees.total.as_str(),
        refund.remaining.as_str(),
    ));
}
