//! Keys of rails, and the addresses derived from them.
//!
//! qlock cannot sign for these chains (their digest is none its backend signs), so the seed is in this store, sealed by
//! the house's sealer, and opened for one signature or address at a time.

use q_core::{AuditEntry, Caller, Did};
use q_db::{DbError, Reader};
use q_seal::Place;
use qwallet_api::{
    DepositAddress, DepositAddressRequest, RAIL_KEY_TYP, RailKeyOrder, RailState, SetRailKeyRequest,
    WalletId, errors, signing,
};
use qwallet_rails::{SEED_BYTES, Seed, Slot};
use zeroize::Zeroizing;

use super::{Entry, down};
use crate::{
    domain::payment::{self, Refusal},
    error::Error,
    service::Service,
    store::{
        self,
        rails::{AddressRow, KeyRow},
    },
};

/// The most signatures looked at.
const APPROVALS_MAX: usize = 8;

/// How many different approvers a key needs.
const APPROVERS_MIN: usize = 2;

/// How many numbers are tried when one makes no key, which happens once in 2^127.
const PLACES_TRIED_MAX: u32 = 4;

impl Service {
    /// Gives a rail a new key under two signatures.
    pub async fn set_rail_key(&self, asked: SetRailKeyRequest) -> Result<RailState, Error> {
        let now = self.env.now();
        let expires_at = asked.expires_at.parse().map_err(|_| Refusal::Malformed("expiresAt"))?;
        if !payment::is_expiry(expires_at, now) {
            return Err(Refusal::Malformed("expiresAt").into());
        }
        if asked.approvals.len() > APPROVALS_MAX {
            return Err(Refusal::Malformed("approvals").into());
        }
        let entry = self.rails.find(&asked.rail)?;
        if expires_at <= now {
            return Err(Refusal::Expired.into());
        }
        let input = signing::signing_input(&RailKeyOrder {
            aud: self.instance.did.as_str(),
            expires_at: &asked.expires_at,
            generation: asked.generation,
            rail: &asked.rail,
            v: 1,
        });
        let approvers = self.approvers_of(&asked.approvals, RAIL_KEY_TYP, &input).await?;
        let bytes = Zeroizing::new(self.env.random::<SEED_BYTES>());
        let seed = Seed::new(*bytes);
        let house = entry.rail().address(Slot { seed: &seed, index: 0 });
        let house = house.map_err(|_| down("the rail makes no address; try again"))?;
        let (rail, generation) = (entry.name(), asked.generation);
        let row = format!("{rail} {generation}");
        let place = Place { module: "qwallet", table: "rail_keys", column: "seed", row: &row };
        let key = KeyRow { generation, seed: self.sealer.seal(place, &bytes[..], &self.env), house };
        let approvers: Vec<String> = approvers.iter().map(Did::to_string).collect();
        self.db
            .write(move |tx| {
                tx.lock("qwallet rails")?;
                let last = store::rails::keys(tx, rail)?.last().map_or(0, |key| key.generation);
                if generation != last + 1 {
                    let detail = "the generation is one more than the present one, see GET /rails";
                    return Err(Error::from(Refusal::Record { code: &errors::RAIL_KEY_CHANGED, detail }));
                }
                store::rails::insert_key(tx, rail, &key)?;
                let facts = serde_json::json!({
                    "generation": generation, "house": key.house, "approvers": approvers,
                });
                tx.audit(AuditEntry::change("rail.key", None, rail).details(facts))?;
                Ok(())
            })
            .await?;
        self.rail_state(entry).await
    }

    /// Who signed `input`: at least two different approvers, and nobody else.
    async fn approvers_of(&self, approvals: &[String], typ: &str, input: &[u8]) -> Result<Vec<Did>, Error> {
        let mut approvers: Vec<Did> = Vec::new();
        for approval in approvals {
            let approver = self.signer_of(approval, typ, input).await?.map_err(Refusal::Signature)?;
            // A second signature of one person is not a second person.
            if !approvers.contains(&approver) {
                approvers.push(approver);
            }
        }
        if let Some(stranger) = approvers.iter().find(|approver| !self.is_approver(approver)) {
            return Err(Error::NotAnApprover(stranger.to_string()));
        }
        if approvers.len() < APPROVERS_MIN { Err(Error::ApprovalRequired) } else { Ok(approvers) }
    }

    /// Where a wallet gets money from outside.
    pub async fn deposit_address(
        &self,
        caller: &Caller,
        asked: DepositAddressRequest,
    ) -> Result<DepositAddress, Error> {
        let wallet = self.readable(caller, &asked.squid_id).await?;
        if !wallet.accounts.profile.has_rails() {
            return Err(super::withdrawals::NO_RAILS.into());
        }
        if let Ok(bank) = self.rails.bank(&asked.rail) {
            return Ok(Self::bank_address(bank, &wallet));
        }
        let entry = self.rails.find(&asked.rail)?;
        // What comes before the first look at the chain would never be found.
        if self.rail_row(entry.name()).await?.scanned.is_none() {
            return Err(down("the rail has not read its chain yet; see GET /rails"));
        }
        let address = self.address_of(entry, wallet.row.id).await?;
        Ok(DepositAddress {
            wallet_id: wallet.row.id,
            rail: asked.rail,
            currency: entry.setup.currency.code.to_owned(),
            address,
            confirmations: entry.setup.rail.about().confirmations,
        })
    }

    async fn address_of(&self, entry: &Entry, wallet: WalletId) -> Result<String, Error> {
        let rail = entry.name();
        let read = self.db.read(move |reader| {
            let Some(key) = store::rails::keys(reader, rail)?.pop() else { return Ok((None, None)) };
            let known = store::rails::address_of(reader, rail, key.generation, wallet)?;
            Ok::<_, DbError>((Some(key), known))
        });
        let (key, known) = read.await?;
        if let Some(known) = known {
            return Ok(known.address);
        }
        let key = key.ok_or_else(|| down("the rail has no key yet"))?;
        let seed = self.open_seed(rail, &key)?;
        // Derived before the write, which must not be slow: the next few numbers, one of which is free.
        loop {
            let (generation, last) = (key.generation, self.last_place(rail, key.generation).await?);
            let places = last.saturating_add(1)..=last.saturating_add(PLACES_TRIED_MAX);
            let made = places.into_iter().find_map(|place| {
                let address = entry.rail().address(Slot { seed: &seed, index: place }).ok()?;
                Some(AddressRow { address, generation, place, wallet: Some(wallet) })
            });
            let made = made.ok_or_else(|| down("the rail makes no address; try again"))?;
            let given = self.db.write(move |tx| {
                tx.lock("qwallet rails")?;
                if let Some(known) = store::rails::address_of(tx, rail, generation, wallet)? {
                    return Ok(Some(known.address));
                }
                if store::rails::last_place(tx, rail, generation)? != last {
                    return Ok(None);
                }
                store::rails::insert_address(tx, rail, &made)?;
                Ok::<_, DbError>(Some(made.address.clone()))
            });
            if let Some(address) = given.await? {
                return Ok(address);
            }
        }
    }

    async fn last_place(&self, rail: &'static str, generation: u32) -> Result<u32, DbError> {
        self.db.read(move |reader| store::rails::last_place(reader, rail, generation)).await
    }

    /// The newest key of a rail.
    pub(super) async fn rail_key(&self, rail: &'static str) -> Result<Option<KeyRow>, DbError> {
        self.db.read(move |reader| Ok(store::rails::keys(reader, rail)?.pop())).await
    }

    /// The seed an address is derived from.
    pub(super) async fn seed_of(&self, rail: &'static str, generation: u32) -> Result<Seed, Error> {
        let find = move |reader: &mut Reader<'_>| {
            let keys = store::rails::keys(reader, rail)?;
            Ok::<_, DbError>(keys.into_iter().find(|key| key.generation == generation))
        };
        let key = self.db.read(find).await?.ok_or(Error::Inconsistent("a rail's key"))?;
        self.open_seed(rail, &key)
    }

    fn open_seed(&self, rail: &str, key: &KeyRow) -> Result<Seed, Error> {
        let row = format!("{rail} {}", key.generation);
        let place = Place { module: "qwallet", table: "rail_keys", column: "seed", row: &row };
        let bytes = self.sealer.open(place, &key.seed)?;
        let bytes: [u8; SEED_BYTES] =
            bytes.as_slice().try_into().map_err(|_| Error::Inconsistent("a rail's whole key"))?;
        Ok(Seed::new(bytes))
    }
}
