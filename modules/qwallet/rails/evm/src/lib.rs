//! The rail of Ethereum-type chains: the native coin, or one ERC-20 token.
//!
//! Complete against a node of one's own; live networks were not tried. Only what a node can prove is used: an arrival
//! counts when its receipt, its block and the chain at that height agree, and a second node may be asked as a witness.
//! Native coin sent from inside a contract leaves no trace a node lists: it shows as a difference of the balance.
//!
//! **Invariant:** nothing is sent that was not returned by [`Rail::prepare`] first.

mod chain;
mod keys;
mod rpc;
mod scan;
mod transaction;

use http::Uri;
use parking_lot::Mutex;
use qwallet_rails::{
    About, Answer, Arrival, Block, ChainAmount, Head, Payment, Rail, RailError, Signed, Slot, Status, What,
};
use serde_json::json;

use crate::{
    chain::{Data, Height},
    keys::{Address, Key},
    rpc::Node,
    transaction::Transaction,
};

/// A transfer of native coin costs exactly this.
const GAS_OF_A_TRANSFER: u64 = 21_000;
/// What a payment may cost at most: a token whose transfer needs more is none this rail carries.
const GAS_MAX: u64 = 300_000;

/// How the rail is set up.
#[derive(Debug, Clone)]
pub struct Config {
    /// The node that is asked.
    pub url: Uri,
    /// A node of somebody else that must agree about every final block.
    pub witness: Option<Uri>,
    /// Which chain it must be.
    pub chain_id: u64,
    /// The contract of the token; none for the native coin.
    pub token: Option<String>,
    /// The decimals the money is counted in on the chain.
    pub decimals: u8,
    /// How many blocks, its own included, make a transaction final.
    pub confirmations: u64,
    /// The most a unit of gas may cost, in the coin's smallest unit: a node that names a fortune gets no signature.
    pub fee_per_gas_max: u128,
}

/// The rail.
#[derive(Debug)]
pub struct Evm {
    about: About,
    config: Config,
    token: Option<Address>,
    node: Node,
    witness: Option<Node>,
    /// Whether the token's own count of decimals was compared with the setting.
    is_token_known: Mutex<bool>,
}

impl Evm {
    /// The rail of these settings; asks nobody yet.
    pub fn new(config: Config) -> Result<Self, RailError> {
        let token = config.token.as_deref().map(Address::read).transpose()?;
        let about = About {
            name: "evm",
            decimals: config.decimals,
            confirmations: config.confirmations.max(1),
            has_own_gas: token.is_none(),
            is_experimental: false,
        };
        let node = Node::new(config.url.clone());
        let witness = config.witness.clone().map(Node::new);
        Ok(Self { about, config, token, node, witness, is_token_known: Mutex::new(false) })
    }

    /// What a payment is for the chain: whom it calls, with what coin and what bytes.
    fn call_of(&self, payment: &Payment) -> Result<(Address, u128, Vec<u8>), RailError> {
        let to = Address::read(&payment.to)?;
        Ok(match (payment.what, self.token) {
            (What::Money, Some(token)) => (token, 0, chain::transfer_call(to, payment.amount)),
            (What::Money, None) | (What::Gas, _) => (to, payment.amount.0, Vec::new()),
        })
    }

    async fn gas_of(&self, from: &str, payment: &Payment) -> Result<u64, RailError> {
        let (to, value, data) = self.call_of(payment)?;
        let gas = self.node.estimate(Address::read(from)?, to, value, &data).await?;
        // What is simple has one price; a contract may find more to do by the time it is called.
        let limit = if gas <= GAS_OF_A_TRANSFER { GAS_OF_A_TRANSFER } else { gas.saturating_mul(5) / 4 };
        if limit > GAS_MAX {
            return Err(RailError::TooDear(format!("the transfer needs {gas} units of gas")));
        }
        Ok(limit)
    }

    /// The price of gas that is offered now: twice the base fee, so that it holds through six full blocks, and a tip.
    async fn price(&self) -> Result<(u128, u128), RailError> {
        let base = self.node.base_fee().await?;
        let tip = self.node.tip().await?;
        let offered = base.saturating_mul(2).saturating_add(tip);
        if base.saturating_add(tip) > self.config.fee_per_gas_max {
            return Err(RailError::TooDear(format!("{offered} per unit of gas")));
        }
        Ok((offered.min(self.config.fee_per_gas_max), tip))
    }

    async fn check_token(&self) -> Result<(), RailError> {
        let Some(token) = self.token.filter(|_| !*self.is_token_known.lock()) else { return Ok(()) };
        let decimals = self.node.token_decimals(token).await?;
        if decimals != u128::from(self.config.decimals) {
            return Err(RailError::Unbelievable(format!(
                "the token counts in {decimals} decimals and the settings say {}",
                self.config.decimals
            )));
        }
        *self.is_token_known.lock() = true;
        Ok(())
    }
}

/// A quarter more for each attempt; nodes want at least a tenth.
fn raised(price: u128, attempt: u32) -> u128 {
    (0..attempt).fold(price, |price, _| price.saturating_add(price / 4).saturating_add(1))
}

impl Rail for Evm {
    fn about(&self) -> &About {
        &self.about
    }

    fn read_address(&self, text: &str) -> Result<String, RailError> {
        let address = Address::read(text)?;
        // Money sent to nobody, or to the token's own contract, is lost.
        if address.0 == [0; 20] || Some(address) == self.token {
            return Err(RailError::NotAnAddress(text.to_owned()));
        }
        Ok(address.text())
    }

    fn address(&self, slot: Slot<'_>) -> Result<String, RailError> {
        Key::of(slot).map(|key| key.address().text())
    }

    fn head(&self) -> Answer<'_, Head> {
        Box::pin(async move {
            let expected = self.config.chain_id;
            for node in [Some(&self.node), self.witness.as_ref()].into_iter().flatten() {
                let chain_id = node.chain_id().await?;
                if chain_id != expected {
                    return Err(RailError::Unbelievable(format!(
                        "it is on chain {chain_id}, not {expected}"
                    )));
                }
            }
            self.check_token().await?;
            let latest = self.node.latest().await?;
            let seen_by_all = match &self.witness {
                Some(witness) => witness.latest().await?.height.min(latest.height),
                None => latest.height,
            };
            let Some(height) = (seen_by_all + 1).checked_sub(self.about.confirmations) else {
                return Ok(Head { latest, last_final: None });
            };
            let last_final = self.node.block(height).await?;
            if let Some(witness) = &self.witness
                && witness.block(height).await? != last_final
            {
                return Err(RailError::Unbelievable(format!("its block {height} is not the witness's")));
            }
            Ok(Head { latest, last_final })
        })
    }

    fn block(&self, height: u64) -> Answer<'_, Option<Block>> {
        Box::pin(self.node.block(height))
    }

    fn quote_fee<'a>(&'a self, from: &'a str, payment: &'a Payment) -> Answer<'a, ChainAmount> {
        Box::pin(async move {
            let gas = self.gas_of(from, payment).await?;
            let (price, _) = self.price().await?;
            Ok(ChainAmount(price.saturating_mul(u128::from(gas))))
        })
    }

    fn next_nonce<'a>(&'a self, address: &'a str) -> Answer<'a, u64> {
        Box::pin(async move { self.node.nonce(Address::read(address)?, json!("latest")).await })
    }

    fn nonce_at<'a>(&'a self, address: &'a str, height: u64) -> Answer<'a, u64> {
        Box::pin(async move { self.node.nonce(Address::read(address)?, json!(Height(height))).await })
    }

    fn prepare<'a>(
        &'a self,
        slot: Slot<'a>,
        payment: &'a Payment,
        nonce: u64,
        fee_max: Option<ChainAmount>,
        attempt: u32,
    ) -> Answer<'a, Signed> {
        Box::pin(async move {
            let from = Key::of(slot)?.address().text();
            let gas_limit = self.gas_of(&from, payment).await?;
            let (offered, tip) = self.price().await?;
            let (offered, tip) = (raised(offered, attempt), raised(tip, attempt));
            if offered > self.config.fee_per_gas_max {
                return Err(RailError::TooDear(format!("{offered} per unit of gas")));
            }
            let affordable = fee_max.map_or(offered, |fee| fee.0 / u128::from(gas_limit)).min(offered);
            // Half of what is above the tip is the base fee: with less, no block takes it.
            if affordable < offered.saturating_sub(tip) / 2 + tip {
                return Err(RailError::TooDear(format!("{offered} per unit of gas")));
            }
            let (to, value, data) = self.call_of(payment)?;
            let transaction = Transaction {
                chain_id: self.config.chain_id,
                nonce,
                tip_per_gas: tip.min(affordable),
                fee_per_gas_max: affordable,
                gas_limit,
                to,
                value,
                data,
            };
            // The key is derived again, so that none lives while a node is waited for.
            let (raw, hash) = transaction.sign(&Key::of(slot)?)?;
            let fee_max = ChainAmount(affordable.saturating_mul(u128::from(gas_limit)));
            Ok(Signed { hash: chain::hex(&hash), raw, nonce, fee_max })
        })
    }

    fn submit<'a>(&'a self, raw: &'a [u8]) -> Answer<'a, ()> {
        Box::pin(self.node.send(raw))
    }

    fn status<'a>(&'a self, hash: &'a str, payment: &'a Payment) -> Answer<'a, Status> {
        Box::pin(async move {
            let Some(receipt) = self.node.receipt(hash).await? else {
                let is_known = self.node.is_known(hash).await?;
                return Ok(if is_known { Status::Pending } else { Status::Unknown });
            };
            let block = receipt.block();
            // A receipt of a block that is not in the chain: it waits, or will.
            if self.node.block(block.height).await?.as_ref() != Some(&block) {
                return Ok(Status::Pending);
            }
            let did_move = match (payment.what, self.token) {
                // A token may answer "false" instead of failing; what counts is what it says it moved.
                (What::Money, Some(token)) => {
                    let to = Address::read(&payment.to)?;
                    receipt
                        .transfers(token)
                        .any(|moved| moved.to == to && moved.amount == Some(payment.amount))
                }
                (What::Money, None) | (What::Gas, _) => true,
            };
            Ok(Status::Mined { is_success: receipt.is_success() && did_move, fee: receipt.fee(), block })
        })
    }

    fn payer<'a>(&'a self, hash: &'a str, payment: &'a Payment) -> Answer<'a, Option<(String, u64)>> {
        Box::pin(async move {
            let Some(sent) = self.node.sent(hash).await? else { return Ok(None) };
            let (to, value, input) = self.call_of(payment)?;
            let is_it = sent.to.as_ref().and_then(Data::address) == Some(to)
                && sent.value.amount() == Some(ChainAmount(value))
                && sent.input.0 == input;
            let from = sent.from.address().filter(|_| is_it);
            from.map(|from| Ok((from.text(), sent.nonce()?))).transpose()
        })
    }

    fn scan_deposits<'a>(&'a self, from: u64, to: u64, addresses: &'a [String]) -> Answer<'a, Vec<Arrival>> {
        Box::pin(async move {
            let ours = addresses.iter().map(|text| Address::read(text)).collect::<Result<_, _>>()?;
            match self.token {
                Some(token) => scan::token(&self.node, token, from, to, &ours).await,
                None => scan::coin(&self.node, from, to, &ours).await,
            }
        })
    }

    fn balance<'a>(&'a self, address: &'a str, what: What, height: u64) -> Answer<'a, ChainAmount> {
        Box::pin(async move {
            let address = Address::read(address)?;
            match (what, self.token) {
                (What::Money, Some(token)) => self.node.token_balance(token, address, height).await,
                (What::Money, None) | (What::Gas, _) => self.node.coin_balance(address, height).await,
            }
        })
    }
}
