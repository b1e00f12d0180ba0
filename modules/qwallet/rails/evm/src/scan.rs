//! What arrived: found in logs or blocks, and believed when receipt, block and chain say the same.

use std::collections::{BTreeMap, HashSet};

use qwallet_rails::{Arrival, Block, ChainAmount, RailError};
use serde_json::json;

use crate::{
    chain::{Height, TRANSFER_TOPIC, hex},
    keys::Address,
    rpc::Node,
};

/// So many addresses fit into one question: nodes bound the list.
const ADDRESSES_MAX: usize = 500;

/// Transfers of a token to `ours`.
pub(crate) async fn token(
    node: &Node,
    token: Address,
    from: u64,
    to: u64,
    ours: &HashSet<Address>,
) -> Result<Vec<Arrival>, RailError> {
    let words: Vec<String> = ours.iter().map(|address| hex(&address.word())).collect();
    let mut found = Vec::new();
    for receivers in words.chunks(ADDRESSES_MAX) {
        let filter = json!({
            "fromBlock": Height(from), "toBlock": Height(to), "address": token.text(),
            "topics": [TRANSFER_TOPIC, null, receivers],
        });
        found.extend(node.logs(filter).await?);
    }
    let mut blocks = BTreeMap::new();
    let mut arrivals = Vec::new();
    for log in found {
        let Some(moved) = log.moved(token).filter(|moved| ours.contains(&moved.to)) else {
            return Err(RailError::Unbelievable("it tells of transfers nobody asked for".to_owned()));
        };
        if moved.amount == Some(ChainAmount(0)) {
            continue;
        }
        let hash = log.transaction_hash.text();
        let Some(receipt) = node.receipt(&hash).await? else {
            return Err(RailError::Unbelievable(format!("there is no receipt of {hash}")));
        };
        let place = receipt.logs.iter().position(|told| *told == log);
        let (Some(place), true) = (place, receipt.is_success()) else {
            return Err(RailError::Unbelievable(format!(
                "the receipt of {hash} does not tell of the transfer"
            )));
        };
        let block = receipt.block();
        if !(from..=to).contains(&block.height) || !is_in_chain(node, &mut blocks, &block).await? {
            // Rewritten while it was read: the next look finds it where it is then.
            continue;
        }
        arrivals.push(Arrival {
            hash,
            place: u32::try_from(place).unwrap_or(u32::MAX),
            block,
            from: moved.from.text(),
            to: moved.to.text(),
            amount: moved.amount,
        });
    }
    arrivals.sort_by(|one, other| {
        (one.block.height, &one.hash, one.place).cmp(&(other.block.height, &other.hash, other.place))
    });
    Ok(arrivals)
}

/// Native coin sent to `ours` by transactions.
pub(crate) async fn coin(
    node: &Node,
    from: u64,
    to: u64,
    ours: &HashSet<Address>,
) -> Result<Vec<Arrival>, RailError> {
    let mut arrivals = Vec::new();
    for height in from..=to {
        let (block, listed) = node.full_block(height).await?;
        for transaction in listed {
            let receiver = transaction.to.as_ref().and_then(crate::chain::Data::address);
            let Some(receiver) = receiver.filter(|receiver| ours.contains(receiver)) else { continue };
            if transaction.value.amount() == Some(ChainAmount(0)) {
                continue;
            }
            let hash = transaction.hash.text();
            let receipt = node.receipt(&hash).await?;
            match receipt {
                Some(receipt) if receipt.block() != block => {}
                Some(receipt) if !receipt.is_success() => {}
                Some(_) => arrivals.push(Arrival {
                    hash,
                    place: 0,
                    block: block.clone(),
                    from: transaction.from.address().map_or_else(String::new, Address::text),
                    to: receiver.text(),
                    amount: transaction.value.amount(),
                }),
                None => return Err(RailError::Unbelievable(format!("there is no receipt of {hash}"))),
            }
        }
    }
    Ok(arrivals)
}

async fn is_in_chain(
    node: &Node,
    known: &mut BTreeMap<u64, Option<Block>>,
    block: &Block,
) -> Result<bool, RailError> {
    if let Some(known) = known.get(&block.height) {
        return Ok(known.as_ref() == Some(block));
    }
    let found = node.block(block.height).await?;
    let is_in_chain = found.as_ref() == Some(block);
    known.insert(block.height, found);
    Ok(is_in_chain)
}
