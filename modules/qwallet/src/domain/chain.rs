//! What makes the books tamper-evident: a hash per row, a Merkle root per commit, a chain of heads per writer.
//!
//! Leaves and nodes are domain-separated as in RFC 9162 section 2.1.1 (a leaf begins with 0x00, a node with
//! 0x01), so that no node can pass for a row. One chain per writer, because a single head would be the
//! hottest row of the whole store.

use q_core::{
    Timestamp,
    hash::{self, Sha256},
};

use super::transfer::Transfer;

/// The head before a writer's first commit.
pub const GENESIS: Sha256 = [0; 32];

/// A commit, as it is chained.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Commit {
    /// Whose chain.
    pub writer: i64,
    /// Its number, from 1, gap-free.
    pub number: i64,
    /// The first transfer in it.
    pub first_seq: i64,
    /// How many transfers.
    pub transfer_count: i64,
    /// How many transactions.
    pub transaction_count: i64,
    /// When; never before the commit before it.
    pub at: Timestamp,
    /// The Merkle root of its leaves: transfers by place, then transactions by id.
    pub root: Sha256,
}

impl Commit {
    /// The head after it.
    pub fn head(&self, before: &Sha256) -> Sha256 {
        hash::sha256_of(&[
            b"q-ledger-head/1",
            before,
            &self.root,
            &self.writer.to_be_bytes(),
            &self.number.to_be_bytes(),
            &self.first_seq.to_be_bytes(),
            &self.transfer_count.to_be_bytes(),
            &self.transaction_count.to_be_bytes(),
            &self.at.micros().to_be_bytes(),
        ])
    }
}

/// The leaf hash of a transfer.
pub fn transfer_leaf(transfer: &Transfer) -> Sha256 {
    // One buffer and one call: the hash of a row costs less than the row.
    let mut row = [0u8; 163];
    let mut at = 0;
    let mut put = |bytes: &[u8]| {
        row[at..at + bytes.len()].copy_from_slice(bytes);
        at += bytes.len();
    };
    put(b"\0q-transfer/1");
    put(&transfer.seq.to_be_bytes());
    put(&transfer.transaction.bytes());
    put(&transfer.leg.debit.0.to_be_bytes());
    put(&transfer.leg.credit.0.to_be_bytes());
    put(&transfer.leg.amount.to_bytes());
    put(&transfer.leg.purpose.code().to_be_bytes());
    put(&transfer.phase.code().to_be_bytes());
    // Places begin at 1, so 0 is free to mean none.
    put(&transfer.pending_of.unwrap_or(0).to_be_bytes());
    put(&transfer.debit_version.to_be_bytes());
    put(&transfer.debit_balance.to_bytes());
    put(&transfer.credit_version.to_be_bytes());
    put(&transfer.credit_balance.to_bytes());
    debug_assert!(at <= row.len(), "the row fits");
    hash::sha256(&row[..at])
}

/// What is hashed of a transaction besides its id.
#[derive(Debug, Clone, Copy)]
pub struct TransactionLeaf<'a> {
    /// The number of its kind.
    pub kind: i64,
    /// The place of its first transfer.
    pub first_seq: i64,
    /// How many transfers it began with.
    pub transfer_count: i64,
    /// The digest of the order behind it.
    pub order_digest: &'a Sha256,
    /// The bytes of the intent it fulfils.
    pub intent: Option<[u8; 16]>,
    /// The payer's reference.
    pub client_ref: Option<&'a str>,
    /// What it is for, sealed.
    pub purpose: Option<&'a [u8]>,
}

impl TransactionLeaf<'_> {
    /// The leaf hash of the transaction `id`.
    pub fn hash(&self, id: [u8; 16]) -> Sha256 {
        // The length first, so that no two rows share one spelling; none is not empty.
        let length = |text: Option<&[u8]>| {
            text.map_or(0, |text| i64::try_from(text.len()).unwrap_or(i64::MAX) + 1).to_be_bytes()
        };
        let client_ref = self.client_ref.map(str::as_bytes);
        hash::sha256_of(&[
            b"\0q-transaction/1",
            &id,
            &self.kind.to_be_bytes(),
            &self.first_seq.to_be_bytes(),
            &self.transfer_count.to_be_bytes(),
            self.order_digest,
            &self.intent.unwrap_or_default(),
            &length(client_ref),
            client_ref.unwrap_or_default(),
            &length(self.purpose),
            self.purpose.unwrap_or_default(),
        ])
    }
}

/// The hash of an order that a transaction's leaf covers.
pub fn order_digest(kind: i64, signer: &str, input: &str, signatures: &str) -> Sha256 {
    let length = |text: &str| u64::try_from(text.len()).unwrap_or(u64::MAX).to_be_bytes();
    hash::sha256_of(&[
        b"q-order/1",
        &kind.to_be_bytes(),
        &length(signer),
        signer.as_bytes(),
        &length(input),
        input.as_bytes(),
        signatures.as_bytes(),
    ])
}

/// A whole tree, from which the way of each leaf to the root is read off.
#[derive(Debug)]
pub struct Paths {
    /// The leaves, then the nodes above them, up to the root; a node without a neighbour goes up as it is, which makes
    /// the tree of RFC 9162 section 2.1.1.
    levels: Vec<Vec<Sha256>>,
}

impl Paths {
    /// The tree over `leaves`, which are already hashes.
    pub fn of(leaves: &[Sha256]) -> Self {
        let mut levels = vec![leaves.to_vec()];
        while let Some(below) = levels.last().filter(|below| below.len() > 1) {
            let above = below.chunks(2).map(|pair| match pair {
                [left, right] => node(left, right),
                alone => alone[0],
            });
            levels.push(above.collect());
        }
        Self { levels }
    }

    /// The hashes beside the way from the leaf at `index` to the root, from the leaf up (RFC 9162 section 2.1.3.1).
    pub fn path(&self, index: usize) -> Vec<Sha256> {
        let mut index = index;
        let mut path = Vec::with_capacity(self.levels.len());
        for level in &self.levels {
            path.extend(level.get(index ^ 1));
            index /= 2;
        }
        path
    }
}

/// The Merkle root of `leaves`, which are already hashes (RFC 9162 section 2.1.1).
pub fn root(leaves: &[Sha256]) -> Sha256 {
    match leaves {
        [] => hash::sha256(b""),
        [only] => *only,
        _ => {
            let half = leaves.len().next_power_of_two() / 2;
            node(&root(&leaves[..half]), &root(&leaves[half..]))
        }
    }
}

fn node(left: &Sha256, right: &Sha256) -> Sha256 {
    let mut pair = [1; 65];
    pair[1..33].copy_from_slice(left);
    pair[33..].copy_from_slice(right);
    hash::sha256(&pair)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_leads_from_each_leaf_to_the_root_and_from_no_other() {
        for count in 1..=20u8 {
            let leaves: Vec<Sha256> = (0..count).map(|byte| hash::sha256(&[byte])).collect();
            let (size, top) = (u64::from(count), root(&leaves));
            for (index, leaf) in (0u64..).zip(&leaves) {
                let path = Paths::of(&leaves).path(usize::try_from(index).unwrap());
                assert_eq!(q_tlog::verify_inclusion(leaf, index, size, &path, &top), Ok(()));
                assert!(q_tlog::verify_inclusion(&[7; 32], index, size, &path, &top).is_err());
            }
        }
    }

    #[test]
    fn the_root_of_the_rfc_6962_test_tree() {
        // The reference leaves of the Certificate Transparency test vectors.
        let inputs: [&[u8]; 8] = [
            b"",
            b"\x00",
            b"\x10",
            b"\x20\x21",
            b"\x30\x31",
            b"\x40\x41\x42\x43",
            b"\x50\x51\x52\x53\x54\x55\x56\x57",
            b"\x60\x61\x62\x63\x64\x65\x66\x67\x68\x69\x6a\x6b\x6c\x6d\x6e\x6f",
        ];
        let leaves: Vec<Sha256> = inputs.iter().map(|input| hash::sha256_of(&[b"\0", input])).collect();
        let expected = [
            "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
            "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
            "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
            "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
            "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
            "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
            "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
            "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
        ];
        for (count, expected) in (1..).zip(expected) {
            assert_eq!(hash::hex(&root(&leaves[..count])), expected, "{count} leaves");
        }
    }
}
