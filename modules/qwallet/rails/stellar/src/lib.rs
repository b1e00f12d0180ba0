//! Experimental: transactions of Stellar-type chains (Pi Network among them), built and signed offline.
//!
//! Nothing here asks or tells a network: whoever uses it carries the signed bytes there. They are compared byte for byte
//! with those of the reference SDK. No payment was ever settled with it, and qwallet does not offer it as a rail.
//!
//! **Invariant:** an amount has seven decimals or is refused; nothing is rounded.

use aws_lc_rs::{
    digest, hmac,
    signature::{Ed25519KeyPair, KeyPair as _},
};
use data_encoding::{BASE64, HEXLOWER};
use q_core::{Amount, AmountError, Scale};
use qwallet_rails::{RailError, Slot, to_chain};
use stellar_strkey::ed25519::PublicKey;
use stellar_xdr::{
    Asset, CreateAccountOp, DecoratedSignature, Limits, Memo, MuxedAccount, Operation, OperationBody,
    PaymentOp, Preconditions, SequenceNumber, Signature, SignatureHint, TimeBounds, TimePoint, Transaction,
    TransactionEnvelope, TransactionExt, TransactionV1Envelope, Uint256, WriteXdr as _,
};
use zeroize::Zeroizing;

/// The decimals of every amount of such a chain.
pub const DECIMALS: u8 = 7;

/// The longest memo, in bytes.
pub const MEMO_BYTES_MAX: usize = 28;

/// SEP-5: purpose 44, coin 148; every step hardened, as Ed25519 demands.
const PATH: [u32; 2] = [44, 148];
const HARDENED: u32 = 1 << 31;

/// Which chain, by the phrase its signatures cover.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Network {
    /// Stellar.
    Stellar,
    /// Stellar's test network.
    StellarTest,
    /// Pi Network.
    Pi,
    /// Pi's test network.
    PiTest,
}

impl Network {
    /// The phrase.
    pub const fn passphrase(self) -> &'static str {
        match self {
            Self::Stellar => "Public Global Stellar Network ; September 2015",
            Self::StellarTest => "Test SDF Network ; September 2015",
            Self::Pi => "Pi Network",
            Self::PiTest => "Pi Testnet",
        }
    }
}

/// A payment of the chain's own coin.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Payment {
    /// Who gets it: a `G…` address.
    pub to: String,
    /// How much, in the currency's units.
    pub amount: Amount,
    /// The currency's decimals.
    pub scale: Scale,
    /// Whether the recipient's account is made by it; then it must not exist.
    pub is_first: bool,
    /// The number of the transaction: one more than the account's last.
    pub sequence: i64,
    /// The most it costs, in the chain's smallest units.
    pub fee: u32,
    /// Until when a chain takes it, in seconds of Unix time.
    pub valid_until: u64,
    /// What stands beside it, at most 28 bytes.
    pub memo: String,
}

/// A signed transaction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Signed {
    /// Its name on the chain.
    pub hash: String,
    /// The envelope in XDR, base64.
    pub envelope: String,
}

/// Why nothing was signed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// Not an address of the chain.
    #[error("{0} is no address of this chain")]
    Address(String),
    /// More than seven decimals, or more than the chain counts.
    #[error(transparent)]
    Amount(#[from] AmountError),
    /// The memo.
    #[error("the memo is longer than {MEMO_BYTES_MAX} bytes")]
    Memo,
    /// The key.
    #[error("{0}")]
    Key(RailError),
}

/// The address of a slot.
pub fn address(slot: Slot<'_>) -> Result<String, Refused> {
    let key = key_of(slot)?;
    Ok(PublicKey(public(&key)).to_string().as_str().to_owned())
}

/// Signs a payment for a network. The same payment makes the same bytes.
pub fn sign(slot: Slot<'_>, network: Network, payment: &Payment) -> Result<Signed, Refused> {
    let key = key_of(slot)?;
    let own = public(&key);
    let transaction = transaction(own, payment)?;
    let network = digest::digest(&digest::SHA256, network.passphrase().as_bytes());
    let mut network_id = [0; 32];
    network_id.copy_from_slice(network.as_ref());
    let hash = transaction.hash(network_id).map_err(|_| AmountError::OutOfRange)?;
    let signature = key.sign(&hash);
    let mut hint = [0; 4];
    hint.copy_from_slice(&own[28..]);
    let signature = Signature(signature.as_ref().to_vec().try_into().map_err(|_| AmountError::OutOfRange)?);
    let signature = DecoratedSignature { hint: SignatureHint(hint), signature };
    let signatures = vec![signature].try_into().map_err(|_| AmountError::OutOfRange)?;
    let envelope = TransactionEnvelope::Tx(TransactionV1Envelope { tx: transaction, signatures });
    let bytes = envelope.to_xdr(Limits::none()).map_err(|_| AmountError::OutOfRange)?;
    Ok(Signed { hash: HEXLOWER.encode(&hash), envelope: BASE64.encode(&bytes) })
}

fn transaction(own: [u8; 32], payment: &Payment) -> Result<Transaction, Refused> {
    let to = PublicKey::from_string(&payment.to);
    let to = to.map_err(|_| Refused::Address(payment.to.chars().take(64).collect()))?;
    let units = to_chain(payment.amount, payment.scale, DECIMALS)?;
    let amount = i64::try_from(units.0).ok().filter(|units| *units > 0).ok_or(AmountError::OutOfRange)?;
    let body = if payment.is_first {
        let key = stellar_xdr::PublicKey::PublicKeyTypeEd25519(Uint256(to.0));
        let destination = stellar_xdr::AccountId(key);
        OperationBody::CreateAccount(CreateAccountOp { destination, starting_balance: amount })
    } else {
        let destination = MuxedAccount::Ed25519(Uint256(to.0));
        OperationBody::Payment(PaymentOp { destination, asset: Asset::Native, amount })
    };
    let memo = if payment.memo.is_empty() {
        Memo::None
    } else {
        Memo::Text(payment.memo.as_str().try_into().map_err(|_| Refused::Memo)?)
    };
    let operations = vec![Operation { source_account: None, body }];
    Ok(Transaction {
        source_account: MuxedAccount::Ed25519(Uint256(own)),
        fee: payment.fee,
        seq_num: SequenceNumber(payment.sequence),
        cond: Preconditions::Time(TimeBounds {
            min_time: TimePoint(0),
            max_time: TimePoint(payment.valid_until),
        }),
        memo,
        operations: operations.try_into().map_err(|_| AmountError::OutOfRange)?,
        ext: TransactionExt::V0,
    })
}

fn public(key: &Ed25519KeyPair) -> [u8; 32] {
    let mut public = [0; 32];
    public.copy_from_slice(key.public_key().as_ref());
    public
}

/// SLIP-10 for Ed25519.
fn key_of(slot: Slot<'_>) -> Result<Ed25519KeyPair, Refused> {
    let no_key = || Refused::Key(RailError::NoKey(slot.index));
    if slot.index >= HARDENED {
        return Err(no_key());
    }
    let mut node = hmac_sha512(b"ed25519 seed", &[slot.seed.bytes()]);
    for step in PATH.into_iter().chain([slot.index]) {
        node = hmac_sha512(&node[32..], &[&[0], &node[..32], &(step + HARDENED).to_be_bytes()]);
    }
    Ed25519KeyPair::from_seed_unchecked(&node[..32]).map_err(|_| no_key())
}

fn hmac_sha512(key: &[u8], parts: &[&[u8]]) -> Zeroizing<[u8; 64]> {
    let key = hmac::Key::new(hmac::HMAC_SHA512, key);
    let mut context = hmac::Context::with_key(&key);
    for part in parts {
        context.update(part);
    }
    let mut node = Zeroizing::new([0; 64]);
    node.copy_from_slice(context.sign().as_ref());
    node
}
