//! Accounts: each is the replay of its transfers and one wallet's or the house's, none is below its limit, and the two
//! sides of the books are equal.

use std::collections::HashMap;

use q_core::{Amount, SignedAmount, Total};
use q_db::{DbError, Reader};
use qwallet_api::WalletId;

use super::{Check, Replayed, journal::add};
use crate::{
    domain::{
        account::{Account, AccountId, AccountKind},
        currency::{Currency, CurrencyId},
    },
    store,
};

/// The sums of all accounts of a currency, and whether they could be formed.
type Sums = HashMap<CurrencyId, (Replayed, bool)>;

impl Check {
    /// Each stored account is the replay of its transfers, no wallet is below its limit, and the sides balance.
    pub(super) fn accounts(&mut self, reader: &mut Reader<'_>) -> Result<(), DbError> {
        let mut sums = Sums::new();
        store::ledger::for_each_account(reader, |account| {
            match account {
                Ok((account, wallet)) => {
                    self.owner(&account, wallet);
                    self.account(&account);
                    for room in &mut self.rooms {
                        room.account(&account, wallet);
                    }
                    sum(&mut sums, &account);
                }
                Err(error) => self.find("account_unreadable", "accounts".to_owned(), error.to_string()),
            }
            Ok::<_, DbError>(())
        })?;
        let unknown: Vec<AccountId> = self.accounts.keys().copied().collect();
        for id in unknown {
            self.find("account_missing", format!("accounts {}", id.0), "transfers name it".to_owned());
        }
        for (currency, (sum, fits)) in sums {
            let code = Currency::by_id(currency).map_or("unknown", |currency| currency.code);
            let is_balanced =
                sum.credits_posted == sum.debits_posted && sum.credits_pending == sum.debits_pending;
            if !fits || !is_balanced {
                let detail = format!("{sum:?}");
                self.find("trial_balance", format!("currency {code}"), detail);
            }
        }
        Ok(())
    }

    /// An account is a wallet's, whose checksum covers it, or the only one of its kind; escrows have one each.
    fn owner(&mut self, account: &Account, wallet: Option<WalletId>) {
        let is_sound = match wallet {
            Some(wallet) => {
                self.terms.entry(wallet).or_default().extend(account.terms());
                account.kind == AccountKind::Wallet
            }
            None => {
                account.kind != AccountKind::Wallet
                    && !account.is_frozen
                    && account.credit_limit.is_zero()
                    && (account.stripe == 0 || !account.kind.is_unlimited())
                    && (matches!(account.kind, AccountKind::Escrow | AccountKind::Rail)
                        || self.house.insert((account.currency, account.kind, account.stripe)))
            }
        };
        if !is_sound {
            let detail = format!("{:?} of {wallet:?}, which cannot be", account.kind);
            self.find("account_misplaced", format!("accounts {}", account.id.0), detail);
        }
    }

    fn account(&mut self, account: &Account) {
        let place = format!("accounts {}", account.id.0);
        let is_whole = self.is_whole();
        match self.accounts.remove(&account.id) {
            // Unchanged since the commit after which the journal was read.
            None if !is_whole => {}
            replayed => self.compare(account, &replayed.unwrap_or_default(), &place),
        }
        let floor = SignedAmount::minus(account.credit_limit);
        let is_below = account.posted().to_bytes() < floor.to_bytes();
        if !account.kind.is_unlimited() && is_below {
            self.find("below_limit", place, format!("{:?}", account.posted()));
        }
    }

    fn compare(&mut self, account: &Account, replayed: &Replayed, place: &str) {
        let balance = replayed.credits_posted.less(replayed.debits_posted);
        let is_equal = replayed.version == account.version
            && if self.is_whole() {
                replayed.credits_posted == account.credits_posted
                    && replayed.debits_posted == account.debits_posted
                    && replayed.credits_pending == account.credits_pending
                    && replayed.debits_pending == account.debits_pending
            } else {
                balance == account.posted()
            };
        if !is_equal {
            let detail = format!("{account:?}, its transfers say {replayed:?}");
            self.find("account_mismatch", place.to_owned(), detail);
        }
        if account.changed.at < replayed.changed_at {
            let detail =
                format!("says {}, its last transfer is of {}", account.changed.at, replayed.changed_at);
            self.find("changed_earlier", place.to_owned(), detail);
        }
        if self.counted.contains_key(&account.id) && account.spent != replayed.spent {
            let detail = format!("{:?}, its transfers say {:?}", account.spent, replayed.spent);
            self.find("spent_mismatch", place.to_owned(), detail);
        }
    }
}

fn sum(sums: &mut Sums, account: &Account) {
    let (sum, fits) = sums.entry(account.currency).or_insert((Replayed::default(), true));
    let amount = |total: Total| Amount::from_units(total.units());
    *fits &= add(&mut sum.credits_posted, amount(account.credits_posted))
        && add(&mut sum.debits_posted, amount(account.debits_posted))
        && add(&mut sum.credits_pending, amount(account.credits_pending))
        && add(&mut sum.debits_pending, amount(account.debits_pending));
}
