//! The rails that the settings describe.
//!
//! **Invariant:** the only place that names a chain.

use std::str::FromStr;

use q_core::{Amount, amount};
use q_runtime::{ConfigError, Settings};
use qwallet_rails::sepa::{Account, House};

use crate::{
    domain::currency::Currency,
    service::rails::{BankSetup, Setup},
};

/// The rails to open. Nobody is asked yet.
pub fn setups(settings: &Settings) -> Result<Vec<Setup>, ConfigError> {
    #[cfg(feature = "evm")]
    if settings.optional("rail_evm_url").is_some() {
        return Ok(vec![evm::setup(settings)?]);
    }
    let _ = settings;
    Ok(Vec::new())
}

/// The bank account to open, if there is one.
pub fn bank(settings: &Settings) -> Result<Option<BankSetup>, ConfigError> {
    let Some(iban) = settings.optional("rail_sepa_iban") else { return Ok(None) };
    let account = Account::new(iban, settings.text("rail_sepa_name"));
    let account = account
        .map_err(|_| settings.bad_value("rail_sepa_iban", "an IBAN, with its holder in rail_sepa_name"))?;
    let currency = settings.parse::<CurrencyName>("rail_sepa_currency", CURRENCY)?.0;
    let house = House { account, currency: settings.text("rail_sepa_code").to_owned() };
    Ok(Some(BankSetup { house, currency, flat_fee: money(settings, "rail_sepa_fee", currency)? }))
}

#[cfg(feature = "evm")]
mod evm {
    use std::sync::Arc;

    use http::Uri;
    use q_core::Span;
    use q_runtime::{ConfigError, Settings};
    use qwallet_rail_evm::{Config, Evm};

    use super::{CURRENCY, CurrencyName, money};
    use crate::service::rails::Setup;

    const URL: &str = "the URL of a node such as http://127.0.0.1:8545";
    const GWEI: u128 = 1_000_000_000;

    pub(super) fn setup(settings: &Settings) -> Result<Setup, ConfigError> {
        let currency = settings.parse::<CurrencyName>("rail_evm_currency", CURRENCY)?.0;
        let flat_fee = money(settings, "rail_evm_fee", currency)?;
        let sweep_from = money(settings, "rail_evm_sweep_from", currency)?;
        let witness = match settings.optional("rail_evm_witness") {
            Some(_) => Some(settings.parse::<Uri>("rail_evm_witness", URL)?),
            None => None,
        };
        let gas_price_max: u128 =
            settings.parse("rail_evm_gas_price_max", "a number of thousand millionths")?;
        let token = settings.optional("rail_evm_token").map(str::to_owned);
        let decimals: u8 = settings.parse("rail_evm_decimals", "a number from 0 to 36")?;
        // Fees of the coin itself are booked to the last unit.
        if decimals > 36 || (token.is_none() && decimals > currency.scale.decimals()) {
            return Err(settings.bad_value(
                "rail_evm_decimals",
                "at most 36, and of a coin at most the decimals of its currency",
            ));
        }
        let config = Config {
            url: settings.parse("rail_evm_url", URL)?,
            witness,
            chain_id: settings.parse("rail_evm_chain_id", "a number")?,
            token,
            decimals,
            confirmations: settings.parse("rail_evm_confirmations", "a number of blocks")?,
            fee_per_gas_max: gas_price_max.saturating_mul(GWEI),
        };
        let rail = Evm::new(config);
        let rail = rail.map_err(|_| settings.bad_value("rail_evm_token", "the address of a contract"))?;
        let stuck: u32 = settings.parse("rail_evm_stuck_seconds", "a number of seconds")?;
        let stuck_after = Span::seconds(stuck.into());
        Ok(Setup { rail: Arc::new(rail), currency, flat_fee, stuck_after, sweep_from })
    }
}

struct CurrencyName(&'static Currency);

impl FromStr for CurrencyName {
    type Err = ();

    fn from_str(code: &str) -> Result<Self, ()> {
        Currency::find(code).map(Self).ok_or(())
    }
}

const CURRENCY: &str = "a currency of this instance";

fn money(settings: &Settings, key: &str, currency: &Currency) -> Result<Amount, ConfigError> {
    let read = amount::parse(settings.text(key), currency.scale);
    read.map_err(|_| settings.bad_value(key, "an amount of the rail's currency such as 0.5"))
}
