//! What a payer's profile allows, beyond what holds for every payment.

use super::{Service, directory::WalletEntry};
use crate::{
    domain::{payment::Refusal, profile::Profile},
    error::Error,
    store::{self, wallets::WalletRow},
};

/// Why an AID's payment is refused.
const NO_TEXTS: &str = "an AID pays without texts, which may tell whose it is: leave `purpose` out";

/// Why an undertaking's payment is refused.
pub(super) const NOT_ALLOWED: &str = "the recipient is not among the wallet's allowedRecipients; its owner adds it with PATCH \
                           /wallets/{squidId}";

/// Why an undertaking's withdrawal is refused.
const ADDRESS_NOT_ALLOWED: &str = "the address is not among the wallet's allowedRecipients; its owner adds it as \
                                   RAIL:ADDRESS with PATCH /wallets/{squidId}";

/// What a payer's profile asks of each payment, read once for all payments of an order.
#[derive(Debug)]
pub(super) struct Rules {
    has_texts: bool,
    allowed: Option<Vec<qwallet_api::WalletId>>,
}

/// Whether money of a wallet may leave to this address over this rail.
pub(super) fn check_address(wallet: &WalletRow, rail: &str, address: &str) -> Result<(), Refusal> {
    let is_listed = || wallet.allowed_addresses.contains(&listed(rail, address));
    if wallet.allowed.is_some() && !is_listed() {
        return Err(Refusal::Profile(ADDRESS_NOT_ALLOWED));
    }
    Ok(())
}

/// An address of a rail as it stands on a list.
pub(super) fn listed(rail: &str, address: &str) -> String {
    format!("{rail}:{address}")
}

impl Rules {
    /// Whether a payment to this wallet, with a text or without, is allowed.
    pub fn check(&self, recipient: &WalletEntry, has_text: bool) -> Result<(), Refusal> {
        if has_text && !self.has_texts {
            return Err(Refusal::Profile(NO_TEXTS));
        }
        if self.allowed.as_ref().is_some_and(|allowed| !allowed.contains(&recipient.row.id)) {
            return Err(Refusal::Profile(NOT_ALLOWED));
        }
        Ok(())
    }

    /// The same for somebody who has no wallet yet, and so stands on no list.
    pub const fn check_unknown(&self) -> Result<(), Refusal> {
        if self.allowed.is_some() { Err(Refusal::Profile(NOT_ALLOWED)) } else { Ok(()) }
    }
}

impl Service {
    /// The rules of a payer's profile. Only an undertaking's are asked of the store: its list may change.
    pub(super) async fn profile_rules(&self, payer: &WalletEntry) -> Result<Rules, Error> {
        let (profile, id) = (payer.row.profile, payer.row.id);
        let allowed = if profile == Profile::Enterprise {
            let row = self.db.read(move |reader| store::wallets::find(reader, id)).await?;
            row.and_then(|row| row.allowed)
        } else {
            None
        };
        Ok(Rules { has_texts: profile.has_texts(), allowed })
    }
}
