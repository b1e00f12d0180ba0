//! What is asked of a node, and its answers read strictly.
//!
//! **Invariant:** a number that does not fit is an error, never cut.

use data_encoding::{HEXLOWER, HEXLOWER_PERMISSIVE};
use qwallet_rails::{Block, ChainAmount, RailError};
use ruint::aliases::U256;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use serde_json::{Value, json};

use crate::{
    keys::{Address, keccak},
    rpc::Node,
};

/// `keccak("Transfer(address,address,uint256)")`: the first topic of a token's transfers (ERC-20).
pub(crate) const TRANSFER_TOPIC: &str = "0xddf252ad1be2c89b69c2b068fc378daa952ba7f163c4a11628f55a4df523b3ef";
/// What is offered to whoever builds the block where the node has no opinion.
const TIP_FALLBACK: u128 = 1_000_000_000;

/// Calls a contract: the first four bytes of the hash of the signature, then the arguments in words.
const TRANSFER: [u8; 4] = [0xa9, 0x05, 0x9c, 0xbb];
const BALANCE_OF: [u8; 4] = [0x70, 0xa0, 0x82, 0x31];
const DECIMALS: [u8; 4] = [0x31, 0x3c, 0xe5, 0x67];

/// The call by which a token moves.
pub(crate) fn transfer_call(to: Address, amount: ChainAmount) -> Vec<u8> {
    let mut word = [0; 32];
    word[16..].copy_from_slice(&amount.0.to_be_bytes());
    [&TRANSFER[..], &to.word(), &word].concat()
}

/// Bytes as the chain writes them.
pub(crate) fn hex(bytes: &[u8]) -> String {
    format!("0x{}", HEXLOWER.encode(bytes))
}

/// A height as the chain writes it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Height(pub u64);

impl Serialize for Height {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&format_args!("{:#x}", self.0))
    }
}

/// A number as the chain writes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Quantity(pub U256);

impl<'de> Deserialize<'de> for Quantity {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let text = String::deserialize(from)?;
        let digits = text.strip_prefix("0x").filter(|digits| !digits.is_empty());
        let number = digits.and_then(|digits| U256::from_str_radix(digits, 16).ok());
        number.map(Self).ok_or_else(|| de::Error::custom("not a number of the chain"))
    }
}

impl Quantity {
    fn narrow<T: TryFrom<U256>>(self) -> Result<T, RailError> {
        T::try_from(self.0)
            .map_err(|_| RailError::Unbelievable("a number is too large to be true".to_owned()))
    }

    /// A sum no amount can hold is none.
    pub(crate) fn amount(self) -> Option<ChainAmount> {
        u128::try_from(self.0).ok().map(ChainAmount)
    }
}

/// Bytes as the chain writes them, in small letters: two spellings of one hash are one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Data(pub Vec<u8>);

impl<'de> Deserialize<'de> for Data {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let text = String::deserialize(from)?;
        let bytes = text.strip_prefix("0x").and_then(|text| HEXLOWER_PERMISSIVE.decode(text.as_bytes()).ok());
        bytes.map(Self).ok_or_else(|| de::Error::custom("not bytes of the chain"))
    }
}

impl Data {
    pub(crate) fn text(&self) -> String {
        hex(&self.0)
    }

    /// The address in a word.
    pub(crate) fn address(&self) -> Option<Address> {
        let bytes = match self.0.len() {
            20 => &self.0[..],
            32 if self.0[..12] == [0; 12] => &self.0[12..],
            _ => return None,
        };
        bytes.try_into().ok().map(Address)
    }

    /// The number in a word.
    fn number(&self) -> Option<Quantity> {
        <[u8; 32]>::try_from(self.0.as_slice()).ok().map(|word| Quantity(U256::from_be_bytes(word)))
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct BlockSaid {
    number: Quantity,
    hash: Data,
    base_fee_per_gas: Option<Quantity>,
    #[serde(default)]
    transactions: Vec<Value>,
}

/// A transaction as a block lists it.
#[derive(Deserialize)]
pub(crate) struct Listed {
    pub hash: Data,
    pub from: Data,
    pub to: Option<Data>,
    pub value: Quantity,
}

/// A transaction as it was signed.
#[derive(Deserialize)]
pub(crate) struct Sent {
    pub from: Data,
    pub to: Option<Data>,
    pub value: Quantity,
    pub input: Data,
    nonce: Quantity,
}

impl Sent {
    /// Its number among those of its sender.
    pub(crate) fn nonce(&self) -> Result<u64, RailError> {
        self.nonce.narrow()
    }
}

/// A log as a node tells it.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Log {
    pub address: Data,
    pub topics: Vec<Data>,
    pub data: Data,
    pub block_number: Quantity,
    pub block_hash: Data,
    pub transaction_hash: Data,
    #[serde(rename = "logIndex")]
    pub place: Quantity,
}

/// A transfer a token tells of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Moved {
    pub from: Address,
    pub to: Address,
    pub amount: Option<ChainAmount>,
}

impl Log {
    /// The transfer it tells of, if it is one of this token.
    pub(crate) fn moved(&self, token: Address) -> Option<Moved> {
        let [topic, from, to] = self.topics.as_slice() else { return None };
        if self.address.address() != Some(token) || topic.text() != TRANSFER_TOPIC {
            return None;
        }
        Some(Moved { from: from.address()?, to: to.address()?, amount: self.data.number()?.amount() })
    }
}

/// What a transaction did.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Receipt {
    status: Quantity,
    block_number: Quantity,
    block_hash: Data,
    gas_used: Quantity,
    effective_gas_price: Quantity,
    /// What chains above another one add for it.
    l1_fee: Option<Quantity>,
    pub logs: Vec<Log>,
}

impl Receipt {
    pub(crate) fn is_success(&self) -> bool {
        self.status.0 == U256::from(1)
    }

    pub(crate) fn block(&self) -> Block {
        // A height beyond 64 bits names no block and so is in no chain.
        Block { height: u64::try_from(self.block_number.0).unwrap_or(u64::MAX), hash: self.block_hash.text() }
    }

    pub(crate) fn fee(&self) -> ChainAmount {
        let fee = self.gas_used.0.saturating_mul(self.effective_gas_price.0);
        let fee = fee.saturating_add(self.l1_fee.map_or(U256::ZERO, |fee| fee.0));
        ChainAmount(u128::try_from(fee).unwrap_or(u128::MAX))
    }

    pub(crate) fn transfers(&self, token: Address) -> impl Iterator<Item = Moved> {
        self.logs.iter().filter_map(move |log| log.moved(token))
    }
}

impl Node {
    pub(crate) async fn chain_id(&self) -> Result<u64, RailError> {
        self.call::<Quantity>("eth_chainId", json!([])).await?.narrow()
    }

    pub(crate) async fn latest(&self) -> Result<Block, RailError> {
        let block: BlockSaid = self.call("eth_getBlockByNumber", json!(["latest", false])).await?;
        Ok(Block { height: block.number.narrow()?, hash: block.hash.text() })
    }

    pub(crate) async fn block(&self, height: u64) -> Result<Option<Block>, RailError> {
        let block: Option<BlockSaid> =
            self.call("eth_getBlockByNumber", json!([Height(height), false])).await?;
        block.map(|block| checked(&block, height)).transpose()
    }

    /// The block and its transactions.
    pub(crate) async fn full_block(&self, height: u64) -> Result<(Block, Vec<Listed>), RailError> {
        let block: Option<BlockSaid> =
            self.call("eth_getBlockByNumber", json!([Height(height), true])).await?;
        let block = block.ok_or_else(|| RailError::Unbelievable(format!("block {height} is gone")))?;
        let place = checked(&block, height)?;
        let listed = block.transactions.into_iter().map(serde_json::from_value).collect::<Result<_, _>>();
        let listed = listed
            .map_err(|error| RailError::Unbelievable(format!("a transaction of block {height}: {error}")));
        Ok((place, listed?))
    }

    pub(crate) async fn base_fee(&self) -> Result<u128, RailError> {
        let block: BlockSaid = self.call("eth_getBlockByNumber", json!(["latest", false])).await?;
        let fee = block.base_fee_per_gas;
        fee.ok_or_else(|| RailError::Refused("the chain has no base fee (EIP-1559)".to_owned()))?.narrow()
    }

    pub(crate) async fn tip(&self) -> Result<u128, RailError> {
        match self.call::<Quantity>("eth_maxPriorityFeePerGas", json!([])).await {
            Ok(tip) => tip.narrow(),
            Err(RailError::Refused(_)) => Ok(TIP_FALLBACK),
            Err(error) => Err(error),
        }
    }

    pub(crate) async fn estimate(
        &self,
        from: Address,
        to: Address,
        value: u128,
        data: &[u8],
    ) -> Result<u64, RailError> {
        let call = json!({ "from": from.text(), "to": to.text(), "value": format!("{value:#x}"), "data": hex(data) });
        // What waits is left out: it may never be made, and then more gas is needed than with it.
        self.call::<Quantity>("eth_estimateGas", json!([call, "latest"])).await?.narrow()
    }

    pub(crate) async fn nonce(&self, address: Address, at: Value) -> Result<u64, RailError> {
        self.call::<Quantity>("eth_getTransactionCount", json!([address.text(), at])).await?.narrow()
    }

    pub(crate) async fn send(&self, raw: &[u8]) -> Result<(), RailError> {
        match self.call::<Data>("eth_sendRawTransaction", json!([hex(raw)])).await {
            Ok(hash) if hash.0 == keccak(raw) => Ok(()),
            Ok(_) => Err(RailError::Unbelievable("it took another transaction than was sent".to_owned())),
            // It has it already, or the chain has: what became of it is asked separately.
            Err(RailError::Refused(text))
                if ["already", "known", "nonce too low"]
                    .iter()
                    .any(|word| text.to_lowercase().contains(word)) =>
            {
                Ok(())
            }
            Err(error) => Err(error),
        }
    }

    pub(crate) async fn receipt(&self, hash: &str) -> Result<Option<Receipt>, RailError> {
        self.call("eth_getTransactionReceipt", json!([hash])).await
    }

    pub(crate) async fn is_known(&self, hash: &str) -> Result<bool, RailError> {
        let found: Option<Value> = self.call("eth_getTransactionByHash", json!([hash])).await?;
        Ok(found.is_some_and(|found| !found.is_null()))
    }

    pub(crate) async fn sent(&self, hash: &str) -> Result<Option<Sent>, RailError> {
        self.call("eth_getTransactionByHash", json!([hash])).await
    }

    pub(crate) async fn logs(&self, filter: Value) -> Result<Vec<Log>, RailError> {
        self.call("eth_getLogs", json!([filter])).await
    }

    pub(crate) async fn coin_balance(&self, address: Address, height: u64) -> Result<ChainAmount, RailError> {
        let balance: Quantity = self.call("eth_getBalance", json!([address.text(), Height(height)])).await?;
        balance.narrow().map(ChainAmount)
    }

    pub(crate) async fn token_balance(
        &self,
        token: Address,
        address: Address,
        height: u64,
    ) -> Result<ChainAmount, RailError> {
        let data = [&BALANCE_OF[..], &address.word()].concat();
        self.read_number(token, &data, json!(Height(height))).await?.narrow().map(ChainAmount)
    }

    pub(crate) async fn token_decimals(&self, token: Address) -> Result<u128, RailError> {
        self.read_number(token, &DECIMALS, json!("latest")).await?.narrow()
    }

    async fn read_number(&self, contract: Address, data: &[u8], at: Value) -> Result<Quantity, RailError> {
        let call = json!({ "to": contract.text(), "data": hex(data) });
        let answer: Data = self.call("eth_call", json!([call, at])).await?;
        let number = answer.number();
        number.ok_or_else(|| RailError::Unbelievable(format!("{} is not a token", contract.text())))
    }
}

fn checked(block: &BlockSaid, height: u64) -> Result<Block, RailError> {
    let number: u64 = block.number.narrow()?;
    if number != height {
        return Err(RailError::Unbelievable(format!("asked for block {height} it gave {number}")));
    }
    Ok(Block { height, hash: block.hash.text() })
}
