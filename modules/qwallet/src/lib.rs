//! qwallet: exact balances, signed payments, books that balance.
//!
//! A payment is decided on the request's own task (`service`: names, signature, fees), carried out by the one
//! executor of the process (`service::executor`, one commit for everything that waits), and answered when it
//! is on disk. The rules of money are pure (`domain`), the rows are an append-only journal (`store`), and
//! `verify` proves one from the other.
//!
//! **Invariant:** nothing but the executor changes a balance, and nothing is answered before its commit.

pub mod domain;
pub mod error;
mod forms;
mod http;
mod rails;
pub mod service;
pub mod store;
mod verify;

use std::{str::FromStr, sync::Arc};

use futures_util::future::BoxFuture;
use parking_lot::Mutex;
use prometheus_client::registry::Registry;
use q_auth::KeyDirectory;
use q_core::{Amount, AmountError, Span, amount};
use q_db::{Db, DbError};
use q_http::{Api, Check};
use q_pdp::Pdp;
use q_runtime::{ConfigError, Finding, Ground, Job, Module, Peers, Setting, Settings};
use q_seal::Sealer;

use crate::{
    domain::{
        clock::Guard,
        currency,
        currency::CurrencyId,
        fees::{FeeSchedule, Rates},
        limits::Defaults,
    },
    service::{
        Service,
        deliveries::Hooks,
        directory::Directory,
        executor::{Executor, Options},
        fees::Schedules,
        limits::Told,
        rails::Rails,
        telling::Telling,
    },
};
pub use store::MIGRATIONS;

/// The settings of this module besides the common ones.
pub const SETTINGS: &[Setting] = &[
    Setting {
        key: "iso_alias",
        default: "",
        about: "the three-letter code under which payout files name QToken; XTS on a demonstration when unset",
    },
    Setting {
        key: "fee_platform_basis_points",
        default: "50",
        about: "the house's fee on a payment, in hundredths of a percent",
    },
    Setting {
        key: "fee_network_basis_points",
        default: "10",
        about: "the rail's fee on a payment, in hundredths of a percent",
    },
    Setting {
        key: "lanes",
        default: "2",
        about: "how many commits of payments run side by side on a PostgreSQL server, 1 to 4; a file has one",
    },
    Setting {
        key: "limit_transaction",
        default: "10000",
        about: "the most QToken one payment may be, whatever its payer chose; none for no limit",
    },
    Setting {
        key: "limit_daily",
        default: "1000",
        about: "the most QToken a wallet pays in a day whose owner chose nothing; none for no limit",
    },
    Setting {
        key: "limit_monthly",
        default: "10000",
        about: "the most QToken a wallet pays in a month whose owner chose nothing; none for no limit",
    },
    Setting {
        key: "step_up",
        default: "1000 QToken",
        about: "above which amounts a payer must have proved a second key within five minutes, divided by commas; none for never",
    },
    Setting {
        key: "limit_dao",
        default: "50000",
        about: "the most QToken a DAO's wallet pays in a month until two operators delegate another amount to it, in place of the two above; none for no limit",
    },
    Setting {
        key: "webhook_allow",
        default: "",
        about: "names and networks that webhooks may reach although they are not public, divided by commas; none when empty",
    },
    Setting {
        key: "rail_evm_url",
        default: "",
        about: "the node of the Ethereum-type chain that money comes from and leaves to, such as http://127.0.0.1:8545; no such rail when empty",
    },
    Setting {
        key: "rail_evm_witness",
        default: "",
        about: "a node of somebody else that must agree about every final block before anything is credited",
    },
    Setting { key: "rail_evm_chain_id", default: "1", about: "the id the chain must have" },
    Setting {
        key: "rail_evm_token",
        default: "",
        about: "the contract of the ERC-20 token that the rail carries; the chain's own coin when empty",
    },
    Setting {
        key: "rail_evm_decimals",
        default: "18",
        about: "the decimals the token or coin is counted in",
    },
    Setting { key: "rail_evm_currency", default: "QToken", about: "the currency that is credited for it" },
    Setting {
        key: "rail_evm_confirmations",
        default: "12",
        about: "how many blocks, its own included, make a transaction final",
    },
    Setting {
        key: "rail_evm_fee",
        default: "0",
        about: "what a withdrawal of a token costs, in the currency; of the coin itself, the chain's own fee",
    },
    Setting {
        key: "rail_evm_gas_price_max",
        default: "500",
        about: "the most a unit of gas may cost before anything is signed, in thousand millionths of the coin",
    },
    Setting {
        key: "rail_evm_stuck_seconds",
        default: "600",
        about: "how long a transaction waits for a block before a higher fee is offered",
    },
    Setting {
        key: "rail_sepa_iban",
        default: "",
        about: "the bank account whose files people carry (pain.001 out, camt.053 in); no such rail when empty",
    },
    Setting { key: "rail_sepa_name", default: "", about: "the holder of that account" },
    Setting { key: "rail_sepa_code", default: "EUR", about: "the three letters of that account's currency" },
    Setting {
        key: "rail_sepa_currency",
        default: "QToken",
        about: "the currency that is credited and paid out for it, one for one",
    },
    Setting {
        key: "rail_sepa_fee",
        default: "0",
        about: "what a withdrawal to a bank costs, in the currency",
    },
    Setting {
        key: "rail_evm_sweep_from",
        default: "1",
        about: "from how much on the money of a deposit address is moved to the address that pays out, in the currency",
    },
];

/// The ISO 4217 code for testing: what a demonstration's money is called in payout files.
const DEMO_ALIAS: &str = "XTS";

/// Why the module cannot open.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// A setting.
    #[error(transparent)]
    Setting(#[from] ConfigError),
    /// The store.
    #[error(transparent)]
    Storage(#[from] DbError),
}

/// The wallet module.
pub struct Wallets {
    service: Arc<Service>,
    peers: Peers,
}

/// Opens the module on its ground. `keys` tells whose key is whose, `pdp` who may read whose wallet, and
/// `sealer` seals what must not be readable in a stolen store.
pub async fn open(
    ground: Ground,
    pdp: Pdp,
    keys: Arc<KeyDirectory>,
    sealer: Sealer,
) -> Result<Arc<Wallets>, OpenError> {
    let settings = &ground.settings;
    let rates = Rates {
        platform_basis_points: settings.parse("fee_platform_basis_points", "a number from 0 to 65535")?,
        network_basis_points: settings.parse("fee_network_basis_points", "a number from 0 to 65535")?,
    };
    let demo_alias = ground.instance.is_demo.then_some(DEMO_ALIAS);
    let iso_alias = settings.optional("iso_alias").or(demo_alias).map(str::to_owned);
    let step_up = settings.parse::<AmountsSetting>("step_up", AmountsSetting::EXPECTED)?.0;
    let limits = vec![(currency::ALL[0].id, limits(settings)?)];
    let lanes = settings.parse("lanes", "a number from 1 to 4")?;
    ground.db.derive_events(Arc::new(Telling::default()));
    let reach = settings.parse("webhook_allow", "names and networks such as 127.0.0.1, divided by commas")?;
    let directory = Directory::open(&ground.db).await?;
    let executor = Executor::open(&ground.db, &Options { lanes, limits: limits.clone() }).await?;
    executor.learn_stripes(&ground.db).await?;
    let rails = Rails::open(&ground.db, rails::setups(settings)?, rails::bank(settings)?).await?;
    let service = Service {
        directory,
        executor,
        limits,
        told: Told::default(),
        hooks: Hooks::new(reach),
        clock: Mutex::new(Guard::default()),
        env: ground.env,
        db: ground.db,
        instance: ground.instance,
        keys,
        pdp,
        sealer,
        signer: ground.signer,
        rails,
        schedules: Schedules::new(FeeSchedule::of_settings(rates)),
        step_up,
        iso_alias,
    };
    service.note_settings(rates).await?;
    service.learn_fees().await?;
    Ok(Arc::new(Wallets { service: Arc::new(service), peers: ground.peers }))
}

/// The instance's limits on spending its own currency.
fn limits(settings: &Settings) -> Result<Defaults, ConfigError> {
    let limit = |key| Ok::<_, ConfigError>(settings.parse::<LimitSetting>(key, LimitSetting::EXPECTED)?.0);
    Ok(Defaults {
        transaction: limit("limit_transaction")?,
        daily: limit("limit_daily")?,
        monthly: limit("limit_monthly")?,
        dao: limit("limit_dao")?,
    })
}

/// A limit in a setting: an amount of the instance's own currency, or none.
struct LimitSetting(Option<Amount>);

impl LimitSetting {
    const EXPECTED: &'static str = "an amount of QToken such as 1000, or none";
}

impl FromStr for LimitSetting {
    type Err = AmountError;

    fn from_str(text: &str) -> Result<Self, AmountError> {
        if text == "none" {
            return Ok(Self(None));
        }
        amount::parse(text, currency::ALL[0].scale).map(|amount| Self(Some(amount)))
    }
}

/// Amounts of several currencies in a setting, such as `1000 QToken, 50 PI`; none for none.
#[derive(Debug)]
pub struct AmountsSetting(pub Vec<(CurrencyId, Amount)>);

impl AmountsSetting {
    /// What such a setting looks like.
    pub const EXPECTED: &'static str = "amounts such as 1000 QToken, 50 PI, or none";
}

impl FromStr for AmountsSetting {
    type Err = AmountError;

    fn from_str(text: &str) -> Result<Self, AmountError> {
        if text == "none" {
            return Ok(Self(Vec::new()));
        }
        let read = |part: &str| {
            let (number, code) = part.trim().split_once(' ').ok_or(AmountError::Malformed)?;
            let currency = currency::Currency::find(code.trim()).ok_or(AmountError::Malformed)?;
            Ok((currency.id, amount::parse(number, currency.scale)?))
        };
        text.split(',').map(read).collect::<Result<_, _>>().map(Self)
    }
}

impl Wallets {
    /// The use cases without their endpoints, for measuring and for other fronts.
    pub fn service(&self) -> &Arc<Service> {
        &self.service
    }
}

impl Module for Wallets {
    fn name(&self) -> &'static str {
        "qwallet"
    }

    fn api(&self) -> Api {
        http::api(&self.service)
    }

    fn db(&self) -> &Db {
        &self.service.db
    }

    fn jobs(&self) -> Vec<Job> {
        let anchoring = self.service.clone();
        let (expiring, merging, sorting) = (self.service.clone(), self.service.clone(), self.service.clone());
        let tending_escrows = self.service.clone();
        let tending_schedules = self.service.clone();
        let (keeping, sweeping, measuring) =
            (self.service.clone(), self.service.clone(), self.service.clone());
        let (delivering, forgetting) = (self.service.clone(), self.service.clone());
        let tending = self.service.clone();
        let rails = Job::every("tend-rails", Span::seconds(5), move || {
            let service = tending.clone();
            async move { service.tend_rails().await }
        });
        let learning = self.service.clone();
        let mut jobs = vec![
            Job::every("learn-fees", service::fees::LEARN_EVERY, move || {
                let service = learning.clone();
                async move { service.learn_fees().await.map_err(|error| error.to_string()) }
            }),
            Job::every("deliver-webhooks", Span::seconds(1), move || {
                let service = delivering.clone();
                async move { service.deliver().await.map_err(|error| error.to_string()) }
            }),
            Job::every("forget-deliveries", Span::seconds(3_600), move || {
                let service = forgetting.clone();
                async move { service.forget_deliveries().await.map_err(|error| error.to_string()) }
            }),
            Job::every("expire-holds", Span::seconds(5), move || {
                let service = expiring.clone();
                async move { service.expire().await.map_err(|error| error.to_string()) }
            }),
            Job::every("keep-writer-numbers", Span::seconds(10), move || {
                let service = keeping.clone();
                async move { service.executor.keep_numbers(&service.db).await.map_err(|error| error.to_string()) }
            }),
            Job::every("sweep-stripes", Span::seconds(1), move || {
                let service = sweeping.clone();
                async move { service.sweep_stripes().await.map_err(|error| error.to_string()) }
            }),
            Job::every("anchor-heads", service::heads::ANCHOR_EVERY, move || {
                let service = anchoring.clone();
                async move { service.anchor_heads().await.map_err(|error| error.to_string()) }
            }),
            Job::every("measure", Span::seconds(30), move || {
                let service = measuring.clone();
                async move { service.measure().await.map_err(|error| error.to_string()) }
            }),
            Job::every("tend-escrows", Span::seconds(5), move || {
                let service = tending_escrows.clone();
                async move { service.tend_escrows().await.map_err(|error| error.to_string()) }
            }),
            Job::every("tend-schedules", Span::seconds(5), move || {
                let service = tending_schedules.clone();
                async move { service.tend_schedules().await.map_err(|error| error.to_string()) }
            }),
            Job::every("sort-requests", Span::seconds(1), move || {
                let service = sorting.clone();
                async move { service.sort_requests().await.map_err(|error| error.to_string()) }
            }),
            Job::every("merge-histories", Span::seconds(1), move || {
                let service = merging.clone();
                async move { service.merge_histories().await.map_err(|error| error.to_string()) }
            }),
        ];
        if !self.service.rails.is_empty() {
            jobs.push(rails);
        }
        jobs
    }

    fn checks(&self) -> Vec<Check> {
        let service = self.service.clone();
        // Without either, payments go on as long as what is known of keys and permissions is young enough.
        let permissions = Check::optional("qonsent", move || {
            let current = service.pdp.check_current(service.env.now());
            async move { current }
        });
        let payments = self.service.executor.clone();
        let executor = Check::required("executor", move || {
            let is_running = payments.is_running();
            async move { if is_running { Ok(()) } else { Err("payments are no longer carried out".to_owned()) } }
        });
        let service = self.service.clone();
        let clock = Check::optional("clock", move || {
            let ahead = service.clock_jump();
            async move {
                ahead.map_or(Ok(()), |ahead| {
                    let seconds = ahead.as_seconds();
                    Err(format!(
                        "the clock jumped {seconds} s ahead, so no hold lapses: set it right, or start anew if it is"
                    ))
                })
            }
        });
        let service = self.service.clone();
        let rails = Check::optional("rails", move || {
            let trouble = service.rails.trouble();
            async move { trouble.map_or(Ok(()), Err) }
        });
        let mut checks = vec![self.peers.check("squid"), permissions, executor, clock];
        if !self.service.rails.is_empty() {
            checks.push(rails);
        }
        checks
    }

    fn metrics(&self, registry: &mut Registry) {
        self.service.executor.metrics().register(registry);
    }

    fn settle(&self) -> BoxFuture<'_, Result<(), String>> {
        Box::pin(async {
            self.service.stop_delivering().await;
            // While writes are stopped the numbers cannot be given back; their leases end by themselves.
            if let Err(error) = self.service.executor.release_numbers(&self.service.db).await {
                tracing::info!(%error, "the writer numbers are given back by the end of their leases");
            }
            Ok(())
        })
    }

    fn verify(&self) -> BoxFuture<'_, Result<Vec<Finding>, DbError>> {
        Box::pin(verify::verify(&self.service, &self.peers, None))
    }

    fn verify_since(&self, commit: i64) -> BoxFuture<'_, Result<Option<Vec<Finding>>, DbError>> {
        Box::pin(async move { verify::verify(&self.service, &self.peers, Some(commit)).await.map(Some) })
    }
}
