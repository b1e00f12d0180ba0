//! The keys that sign access tokens: kept sealed, the next one published before it is used.

use std::sync::Arc;

use q_auth::claims::{LIFETIME_MAX, SKEW_MAX};
use q_core::{AuditEntry, Did, Env, RequestKey, Timestamp};
use q_db::{Db, DbError, Tx};
use q_jose::{Jwk, JwkSet, SecretKey, thumbprint};
use q_seal::{Place, Sealer};
use squid_api::events::SessionRevoked;

use crate::{
    Squid,
    error::Error,
    store::{
        epoch,
        signing_keys::{self as store, State, Stored},
    },
};

/// The keys in memory: one signs, all are published.
#[derive(Debug)]
pub struct Signers {
    pub(crate) active: SecretKey,
    pub(crate) active_kid: String,
    pub(crate) active_since: Timestamp,
    pub(crate) published: JwkSet,
}

impl Squid {
    /// The published keys.
    pub fn key_set(&self) -> JwkSet {
        self.signers.load().published.clone()
    }

    /// Makes the next key the active one and a fresh key the next one.
    ///
    /// With `compromised` the old key is denied to everybody by event, and all its tokens die.
    pub async fn rotate_signing_key(
        &self,
        by: Option<&Did>,
        compromised: bool,
        request: Option<RequestKey>,
    ) -> Result<JwkSet, Error> {
        let fresh = SecretKey::generate(&self.env);
        let sealed = seal_seed(&self.sealer, &fresh, &self.env);
        let by = by.cloned();
        let kid = thumbprint(&fresh.public());
        let rotate = move |tx: &mut Tx<'_>| -> Result<(), Error> {
            if let Some(request) = &request
                && tx.claim(request)?
            {
                return Ok(());
            }
            let keys = store::all(tx)?;
            let kid_in = |state| keys.iter().find(|key| key.state == state).map(|key| key.kid.clone());
            let (Some(active), Some(next)) = (kid_in(State::Active), kid_in(State::Next)) else {
                return Err(DbError::NotOneRow(0).into());
            };
            store::set_state(tx, &active, if compromised { State::Revoked } else { State::Retired })?;
            store::set_state(tx, &next, State::Active)?;
            store::insert(tx, &kid, &sealed, State::Next)?;
            if compromised {
                let epoch = epoch::next(tx)?;
                tx.emit(&SessionRevoked { kid: Some(active.clone()), epoch, ..SessionRevoked::default() })?;
            }
            let action = if compromised { "KEY_COMPROMISED" } else { "KEY_ROTATED" };
            tx.audit(AuditEntry::change(action, by.as_ref(), format!("signing-key:{active}")))?;
            Ok(())
        };
        self.db.write(rotate).await?;
        self.load_signing_keys().await?;
        Ok(self.key_set())
    }

    /// Reads the keys again; also how a replica hears of a rotation made by another.
    pub(crate) async fn load_signing_keys(&self) -> Result<(), Error> {
        let signers = read(&self.db, &self.sealer, self.env.now()).await?;
        self.signers.store(Arc::new(signers));
        Ok(())
    }
}

/// The keys of a store, the first two made where there are none.
pub(crate) async fn ready(db: &Db, sealer: &Sealer, env: &Env) -> Result<Signers, Error> {
    let fresh = [State::Active, State::Next].map(|state| {
        let key = SecretKey::generate(env);
        (thumbprint(&key.public()), seal_seed(sealer, &key, env), state)
    });
    let ensure = move |tx: &mut Tx<'_>| -> Result<(), DbError> {
        if !store::all(tx)?.is_empty() {
            return Ok(());
        }
        for (kid, seed, state) in &fresh {
            store::insert(tx, kid, seed, *state)?;
        }
        Ok(())
    };
    db.write(ensure).await?;
    read(db, sealer, env.now()).await
}

async fn read(db: &Db, sealer: &Sealer, now: Timestamp) -> Result<Signers, Error> {
    let keys = db.read(store::all).await?;
    // A retired key is published as long as a token it signed may live.
    let is_published = |key: &&Stored| match key.state {
        State::Active | State::Next => true,
        State::Retired => key.retired_at.is_none_or(|at| at + LIFETIME_MAX + SKEW_MAX > now),
        State::Revoked => false,
    };
    let mut published = JwkSet::default();
    let mut active = None;
    for stored in keys.iter().filter(is_published) {
        let key = open_seed(sealer, stored)?;
        published.keys.push(Jwk::from(key.public()).published(&stored.kid));
        if stored.state == State::Active {
            active = Some((key, stored.kid.clone(), stored.created_at));
        }
    }
    let (active, active_kid, active_since) = active.ok_or(DbError::NotOneRow(0))?;
    Ok(Signers { active, active_kid, active_since, published })
}

/// Opens the seed of a stored key.
pub(crate) fn open_seed(sealer: &Sealer, stored: &Stored) -> Result<SecretKey, Error> {
    let seed = sealer.open(seed_place(&stored.kid), &stored.seed)?;
    let seed: &[u8; 32] = seed.as_slice().try_into().map_err(|_| q_seal::OpenError::Malformed)?;
    Ok(SecretKey::from_seed(seed))
}

fn seal_seed(sealer: &Sealer, key: &SecretKey, env: &Env) -> Vec<u8> {
    sealer.seal(seed_place(&thumbprint(&key.public())), key.seed(), env)
}

fn seed_place(kid: &str) -> Place<'_> {
    Place { module: "squid", table: "signing_keys", column: "seed", row: kid }
}
