//! What a payment would cost, and quotes that hold.
//!
//! A quote is not stored: its id is what was quoted, sealed for the payer it was given to under the key that seals fields
//! (docs/decisions/0020). Every replica reads it, and nobody else writes one.

use std::sync::Arc;

use q_core::{AmountText, Caller, Did};
use q_jose::base64url;
use q_seal::Place;
use qwallet_api::{Quote, QuoteRequest, WithdrawalQuoteRequest, errors};

use super::{Service, directory::WalletEntry, payments::fees};
use crate::{
    domain::{
        currency::Currency,
        fees::{FeeAmounts, FeeClass, QUOTE_TTL},
        payment::{self, INTERNAL_RAIL, QuotedPrice, Refusal},
        quotes::{QuoteFault, Quoted},
    },
    error::Error,
};

/// What the ids of quotes begin with.
const PREFIX: &str = "quote_";

/// The longest id looked at.
const ID_BYTES_MAX: usize = 512;

/// What may be asked of the speed.
const PRIORITIES: [&str; 3] = ["low", "normal", "high"];

/// Seconds until a payment inside the instance settles.
const INTERNAL_SECONDS: u32 = 1;

impl Service {
    /// What a payment of the caller would cost.
    pub async fn quote(&self, caller: &Caller, asked: QuoteRequest) -> Result<Quote, Error> {
        asked.amount.check_form().map_err(Refusal::AmountForm)?;
        if asked.priority.as_deref().is_some_and(|priority| !PRIORITIES.contains(&priority)) {
            return Err(Refusal::Malformed("priority").into());
        }
        let class = asked.class.as_deref();
        let class = class.map(|class| FeeClass::from_name(class).ok_or(Refusal::Malformed("class")));
        let class = class.transpose()?;
        let payer = caller.did().ok_or(Refusal::WalletNotFound)?;
        let quote = match asked.network.as_deref() {
            None | Some(INTERNAL_RAIL) => {
                let class = self.class_of(payer, &asked, class).await?;
                let (quoted, currency) = self.price(&asked.currency, &asked.amount, class)?;
                self.told(payer, &asked, &quoted, currency)
            }
            Some(rail) => {
                if class.is_some_and(|class| class != FeeClass::P2p) {
                    return Err(Refusal::Malformed("class").into());
                }
                self.rail_quote(rail, &asked).await?
            }
        };
        let wanted = asked.to_currency.as_deref();
        let exchange_rate = wanted.map(|wanted| rate(&asked.currency, wanted)).transpose()?;
        Ok(Quote { exchange_rate, ..quote })
    }

    /// What a payment of this class costs now.
    pub(super) fn price(
        &self,
        currency: &str,
        amount: &AmountText,
        class: FeeClass,
    ) -> Result<(Quoted, &'static Currency), Refusal> {
        let (currency, amount) = payment::read_amount(currency, amount)?;
        let now = self.env.now();
        let schedule = self.schedules.at(now).now;
        let fees = schedule.fees(currency.id, class, amount);
        let fees = fees.ok_or(Refusal::AmountOutOfRange(Some(currency)))?;
        let (version, valid_until) = (schedule.version, now + QUOTE_TTL);
        Ok((Quoted { version, class, currency: currency.id, amount, fees, valid_until }, currency))
    }

    /// What a payment is, as far as its price goes.
    async fn class_of(
        &self,
        payer: &Did,
        asked: &QuoteRequest,
        class: Option<FeeClass>,
    ) -> Result<FeeClass, Error> {
        let own = self.directory.find(asked.wallet.as_deref().unwrap_or(payer.as_str())).await?;
        let own = own.filter(|own| own.row.owner == *payer);
        if asked.wallet.is_some() && own.is_none() {
            return Err(Refusal::WalletNotFound.into());
        }
        let Some(recipient) = asked.recipient.as_deref() else { return Ok(class.unwrap_or(FeeClass::P2p)) };
        let recipient = self.directory.find(recipient).await?.ok_or(Refusal::RecipientUnknown)?;
        if own.as_ref().is_some_and(|own| own.row.id == recipient.row.id) {
            return Err(Refusal::SelfPayment.into());
        }
        let of_recipient = class_between(own.as_deref(), &recipient);
        match class {
            Some(class) if class != of_recipient => Err(Refusal::Malformed("class").into()),
            Some(_) | None => Ok(of_recipient),
        }
    }

    fn told(&self, payer: &Did, asked: &QuoteRequest, quoted: &Quoted, currency: &Currency) -> Quote {
        let sealed = self.sealer.seal(place(payer.as_str()), &quoted.to_bytes(), &self.env);
        Quote {
            quote_id: Some(format!("{PREFIX}{}", base64url::encode(sealed))),
            amount: asked.amount.clone(),
            currency: currency.code.to_owned(),
            fees: fees(currency, quoted.fees),
            class: quoted.class.name().to_owned(),
            network: INTERNAL_RAIL.to_owned(),
            exchange_rate: None,
            schedule_version: quoted.version,
            estimated_time: Some(INTERNAL_SECONDS),
            valid_until: Some(quoted.valid_until),
        }
    }

    /// What a withdrawal would cost at this moment, as the rail says.
    async fn rail_quote(&self, rail: &str, asked: &QuoteRequest) -> Result<Quote, Error> {
        // Of a rail that there is not no address would do.
        if !self.rails.names(None).iter().any(|name| name == rail) {
            return Err(self.rails.unsupported());
        }
        let recipient = asked.recipient.clone().ok_or(Refusal::Malformed("recipient"))?;
        let (currency, _) = payment::read_amount(&asked.currency, &asked.amount)?;
        let request =
            WithdrawalQuoteRequest { rail: rail.to_owned(), amount: asked.amount.clone(), recipient };
        let told = self.withdrawal_quote(request).await?;
        if told.currency != currency.code {
            return Err(Refusal::CurrencyUnsupported.into());
        }
        Ok(Quote {
            quote_id: None,
            amount: told.amount,
            currency: told.currency,
            fees: told.fees,
            class: FeeClass::P2p.name().to_owned(),
            network: rail.to_owned(),
            exchange_rate: None,
            schedule_version: self.schedules.at(self.env.now()).now.version,
            estimated_time: None,
            valid_until: None,
        })
    }

    /// What a quote says that `payer` names, and the fees it was made from.
    pub(super) fn quoted(&self, id: &str, payer: &Did) -> Result<QuotedPrice, QuoteFault> {
        let sealed = id.strip_prefix(PREFIX).filter(|_| id.len() <= ID_BYTES_MAX);
        let sealed = sealed.and_then(|text| base64url::decode(text).ok()).ok_or(QuoteFault::NotGiven)?;
        let opened = self.sealer.open(place(payer.as_str()), &sealed).map_err(|_| QuoteFault::NotGiven)?;
        let quoted = Quoted::from_bytes(&opened).ok_or(QuoteFault::NotGiven)?;
        let schedule = self.schedules.version(quoted.version).ok_or(QuoteFault::Withdrawn)?;
        Ok(QuotedPrice { quoted, schedule })
    }

    /// The fees of a payment, for those who lack the money.
    pub(super) async fn fees_to(
        &self,
        wallet: &str,
        recipient: Option<&str>,
        (currency, amount): (&str, &AmountText),
    ) -> Result<FeeAmounts, Error> {
        let mut class = FeeClass::P2p;
        if let Some(recipient) = recipient {
            let mut found = self.directory.find_all([wallet, recipient].into_iter()).await?;
            let recipient = found.pop().flatten().ok_or(Refusal::RecipientUnknown)?;
            class = class_between(found.pop().flatten().as_deref(), &recipient);
        }
        Ok(self.price(currency, amount, class)?.0.fees)
    }
}

/// The class of a payment to `recipient`, by somebody who may have no wallet yet.
fn class_between(own: Option<&WalletEntry>, recipient: &Arc<WalletEntry>) -> FeeClass {
    FeeClass::of(own.map(|own| &own.accounts), &recipient.accounts)
}

/// Where a quote would stand if it were stored: it opens for its payer alone.
const fn place(payer: &str) -> Place<'_> {
    Place { module: "qwallet", table: "quotes", column: "id", row: payer }
}

/// How much of `to` one of `from` is. There is no rate between two: none is invented.
fn rate(from: &str, to: &str) -> Result<AmountText, Error> {
    let to = Currency::find(to).ok_or(Refusal::CurrencyUnsupported)?;
    if to.code == from {
        return Ok("1".into());
    }
    let detail = "this instance knows no rate between the two currencies, and changes none into the other";
    Err(Refusal::Record { code: &errors::NO_RATE, detail }.into())
}
