//! An identity of the instance that signs orders itself, as a program of a stranger would.

use std::sync::Arc;

use q_contract::{CallError, Client, HttpTransport};
use q_core::{Did, Env, Span};
use q_did::Keyring;
use q_jose::jws;
use qwallet_api::{
    BatchItem, BatchRequest, BatchResult, CreateBatch, CreatePayment, PaymentRequest, Transaction,
    signing::{BatchOrder, PAYMENT_TYP, PaymentOrder, items_input, signing_input},
};

use crate::Instance;

const CURRENCY: &str = "QToken";
/// More than any fee in these tests.
const FEES_MAX: &str = "1000";

/// An identity with a wallet.
pub struct Payer {
    keyring: Keyring,
    instance_did: String,
    wallet: String,
    client: Client,
    env: Env,
}

impl Payer {
    /// The identity `name` of the instance's keyring.
    ///
    /// # Panics
    /// When the instance has no such identity or it has no wallet.
    pub fn of(instance: &Instance, name: &str) -> Self {
        let keys = instance.scratch().join("q-data.keys/keyring").join(format!("{name}.json"));
        let keyring =
            serde_json::from_slice(&std::fs::read(keys).expect("a keyring file")).expect("a keyring");
        let about = std::fs::read(instance.data().join("instance.json")).expect("an instance");
        let about: serde_json::Value = serde_json::from_slice(&about).expect("JSON");
        let balance = instance.q(&["wallet", "balance", "--as", name, "--json"]).json();
        Self {
            keyring,
            instance_did: about["did"].as_str().expect("a DID").to_owned(),
            wallet: balance["walletRef"].as_str().expect("a reference").to_owned(),
            client: Client::new(Arc::new(HttpTransport::new(instance.url("qwallet")))),
            env: Env::system(),
        }
    }

    /// The same payer, asking the wallet at `url`.
    #[must_use]
    pub fn at(mut self, url: &str) -> Self {
        self.client = Client::new(Arc::new(HttpTransport::new(url)));
        self
    }

    /// Whose it is.
    pub fn did(&self) -> &Did {
        &self.keyring.did
    }

    /// The wallet's reference.
    pub fn wallet(&self) -> &str {
        &self.wallet
    }

    /// A signed order; the same `nonce` is the same order.
    pub fn order(&self, recipient: &str, amount: &str, nonce: &str) -> PaymentRequest {
        self.order_for(recipient, amount, nonce, nonce)
    }

    /// The same with a reference of its own.
    pub fn order_for(&self, recipient: &str, amount: &str, nonce: &str, client_ref: &str) -> PaymentRequest {
        let expires_at = self.in_an_hour();
        let payer = self.did().to_string();
        let order = PaymentOrder {
            amount,
            aud: &self.instance_did,
            client_ref: Some(client_ref),
            currency: CURRENCY,
            expires_at: &expires_at,
            intent_id: None,
            max_fees: FEES_MAX,
            nonce,
            payer: &payer,
            rail: "internal",
            recipient,
            v: 1,
            wallet: &self.wallet,
        };
        PaymentRequest {
            signature: self.sign(&signing_input(&order)),
            amount: amount.into(),
            client_ref: client_ref.to_owned(),
            currency: CURRENCY.to_owned(),
            expires_at: expires_at.clone(),
            max_fees: FEES_MAX.into(),
            nonce: nonce.to_owned(),
            payer: self.did().clone(),
            purpose: None,
            quote_id: None,
            rail: None,
            recipient: recipient.to_owned(),
            wallet: self.wallet.clone(),
        }
    }

    /// A signed batch that pays `amount` to `recipient` `count` times.
    pub fn batch(&self, recipient: &str, amount: &str, count: usize, nonce: &str) -> BatchRequest {
        let item = BatchItem {
            amount: amount.into(),
            client_ref: None,
            purpose: None,
            recipient: recipient.to_owned(),
        };
        self.batch_of(vec![item; count], false, nonce)
    }

    /// A signed batch of these items.
    pub fn batch_of(&self, items: Vec<BatchItem>, atomic: bool, nonce: &str) -> BatchRequest {
        let items_hash = q_core::hash::hex(&q_core::hash::sha256(&items_input(&items)));
        let expires_at = self.in_an_hour();
        let payer = self.did().to_string();
        let order = BatchOrder {
            atomic,
            aud: &self.instance_did,
            client_ref: nonce,
            count: items.len(),
            currency: CURRENCY,
            document_hash: None,
            expires_at: &expires_at,
            items_hash: Some(&items_hash),
            max_fees: FEES_MAX,
            nonce,
            payer: &payer,
            rail: "internal",
            v: 1,
            wallet: &self.wallet,
        };
        BatchRequest {
            atomic,
            signature: self.sign(&signing_input(&order)),
            client_ref: nonce.to_owned(),
            currency: CURRENCY.to_owned(),
            expires_at: expires_at.clone(),
            items,
            max_fees: FEES_MAX.into(),
            nonce: nonce.to_owned(),
            payer: self.did().clone(),
            rail: None,
            wallet: self.wallet.clone(),
        }
    }

    /// Has an order executed under `key`.
    pub async fn pay(&self, order: &PaymentRequest, key: &str) -> Result<Transaction, CallError> {
        self.client.clone().with_key(key).call::<CreatePayment>(order).await
    }

    /// Has a batch executed under `key`.
    pub async fn pay_batch(&self, batch: &BatchRequest, key: &str) -> Result<BatchResult, CallError> {
        self.client.clone().with_key(key).call::<CreateBatch>(batch).await
    }

    /// The payer's signature over `input`.
    pub fn sign(&self, input: &[u8]) -> String {
        self.sign_as(PAYMENT_TYP, input)
    }

    /// Its signature over an order of another kind.
    pub fn sign_as(&self, typ: &str, input: &[u8]) -> String {
        jws::sign(&jws::Header::typ(typ).kid(self.keyring.key_id()), input, &self.keyring.current)
    }

    /// For whom orders are signed.
    pub fn instance_did(&self) -> &str {
        &self.instance_did
    }

    /// Until when an order that is signed now may be executed.
    pub fn in_an_hour(&self) -> String {
        (self.env.now() + Span::seconds(3_600)).to_string()
    }
}
