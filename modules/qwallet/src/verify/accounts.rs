//! Accounts: each is the replay of its transfers and one wallet's or the house's, none is below its limit, and the two
//! sides of the books are equal.

use std::collections::HashMap;

use q_core::SignedAmount;
use q_db::{DbError, Reader};
use qwallet_api::WalletId;
use ruint::aliases::U256;

use super::{Check, Replayed};
use crate::{
    domain::{
        account::{Account, AccountId, AccountKind},
        currency::{Currency, CurrencyId},
    },
    store,
};

/// What all accounts of a currency have turned over: more than any one of them may.
#[derive(Debug, Default)]
struct Sum {
    credits_posted: U256,
    debits_posted: U256,
    credits_pending: U256,
    debits_pending: U256,
}

impl Sum {
    fn add(&mut self, account: &Account) {
        // A sum of fewer than 2^128 numbers below 2^128.
        self.credits_posted += U256::from(account.credits_posted.units());
        self.debits_posted += U256::from(account.debits_posted.units());
        self.credits_pending += U256::from(account.credits_pending.units());
        self.debits_pending += U256::from(account.debits_pending.units());
    }

    fn is_balanced(&self) -> bool {
        self.credits_posted == self.debits_posted && self.credits_pending == self.debits_pending
    }
}

impl Check {
    /// Each stored account is the replay of its transfers, no wallet is below its limit, and the sides balance.
    pub(super) fn accounts(&mut self, reader: &mut Reader<'_>) -> Result<(), DbError> {
        let mut sums: HashMap<CurrencyId, Sum> = HashMap::new();
        store::ledger::for_each_account(reader, |account| {
            match account {
                Ok((account, wallet)) => {
                    self.owner(&account, wallet);
                    self.account(&account);
                    for room in &mut self.rooms {
                        room.account(&account, wallet);
                    }
                    sums.entry(account.currency).or_default().add(&account);
                }
                Err(error) => self.find("account_unreadable", "accounts".to_owned(), error.to_string()),
            }
            Ok::<_, DbError>(())
        })?;
        let unknown: Vec<AccountId> = self.accounts.keys().copied().collect();
        for id in unknown {
            self.find("account_missing", format!("accounts {}", id.0), "transfers name it".to_owned());
        }
        for (currency, sum) in sums {
            let code = Currency::by_id(currency).map_or("unknown", |currency| currency.code);
            if !sum.is_balanced() {
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
                self.stopped.entry(wallet).or_insert(account.is_frozen);
                if self.stopped.get(&wallet) != Some(&account.is_frozen) {
                    let detail = "some of the wallet's accounts may pay and be paid, and others may not";
                    self.find("status_mismatch", format!("wallets {wallet}"), detail.to_owned());
                }
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
        let is_counted = self.counted.get(&account.id).is_some_and(|row| !row.is_lost);
        let is_of_zone = account.zone.as_deref().is_none_or(|zone| account.spent.is_of(zone));
        if is_counted && !is_of_zone {
            let detail = format!("{:?} are no day and month of {:?}", account.spent.periods(), account.zone);
            self.find("spent_mismatch", place.to_owned(), detail);
        } else if is_counted && account.spent != replayed.spent {
            let detail = format!("{:?}, its transfers say {:?}", account.spent, replayed.spent);
            self.find("spent_mismatch", place.to_owned(), detail);
        }
    }
}

#[cfg(test)]
mod tests {
    use q_core::Total;

    use super::*;

    #[test]
    fn books_that_have_turned_over_more_than_one_account_may_are_balanced() {
        let account = |credits: u128, debits: u128| Account {
            credits_posted: Total::from_units(credits),
            debits_posted: Total::from_units(debits),
            ..Account::new(AccountId(1), CurrencyId(1), AccountKind::Wallet)
        };
        let mut sum = Sum::default();
        for _ in 0..3 {
            sum.add(&account(u128::MAX, 0));
            sum.add(&account(0, u128::MAX));
        }
        assert!(sum.is_balanced());
        sum.add(&account(1, 0));
        assert!(!sum.is_balanced());
    }
}
