//! Signed payment orders, made before the clock starts.
//!
//! Signing costs the payer about as much as verifying costs the house. Payers sign on machines of their own, so a run
//! signs a pool of requests while nothing is measured; a client whose pool runs dry signs by itself, which is counted.

use crate::connection::{Answer, laid_out};
use crate::generator::Workload;
use crate::report::Work;
use anyhow::{Context as _, Result};
use bytes::Bytes;
use http::header::{CONTENT_TYPE, HOST};
use http::{Request, StatusCode};
use q_core::{AmountText, Did, Env, Span, hash};
use q_jose::ed25519::SecretKey;
use q_jose::jws::{self, Header};
use qwallet_api::signing::{BatchOrder, PAYMENT_TYP, PaymentOrder, items_input, signing_input};
use qwallet_api::{BatchItem, BatchRequest, PaymentRequest};
use serde::{Deserialize, Serialize};
use std::collections::VecDeque;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

/// An identity that pays, its key and its wallet.
pub struct Payer {
    /// Who.
    pub did: Did,
    /// The DID URL of the key.
    pub key_id: String,
    /// The key, in the payer's own hands.
    pub key: SecretKey,
    /// The reference of the wallet.
    pub wallet: String,
}

/// Where orders go, and what an order leads to.
#[derive(Debug, Clone)]
pub struct Target {
    /// Host and port, for the `Host` header.
    pub authority: String,
    /// What stands before the wallet's paths, such as `/qwallet`.
    pub prefix: String,
    /// The DID of the instance, without which an order could be executed elsewhere.
    pub instance: String,
    /// The currency.
    pub currency: String,
    /// Ledger transfers (legs) one payment writes, as seen in one that was made.
    pub legs: u64,
}

/// What each request asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shape {
    /// `POST /payments`.
    Single,
    /// `POST /payments/batch` with this many items under one signature.
    Batch(usize),
}

/// A smallest sensible payment: wallets must last for a whole run.
const AMOUNT: &str = "0.01";
/// Per payment; more than the reference schedule takes.
const FEES_MAX_PER_PAYMENT: u64 = 1;
/// Orders live this long; the wallet takes at most a day.
const ORDER_TTL: Span = Span::seconds(20 * 3_600);

/// Signed orders for each client, and how answers to them are judged.
pub struct Orders {
    target: Target,
    payers: Vec<Payer>,
    shape: Shape,
    run: String,
    expires_at: String,
    made: AtomicU64,
    signed_late: AtomicU64,
    pools: Vec<Mutex<VecDeque<Bytes>>>,
}

impl Orders {
    /// Orders of these payers to one another, for this many clients.
    pub fn new(env: &Env, target: Target, payers: Vec<Payer>, shape: Shape, clients: usize) -> Result<Self> {
        anyhow::ensure!(payers.len() > 1, "it takes two to pay");
        Ok(Self {
            target,
            payers,
            shape,
            // Keeps nonces and idempotency keys of several runs on one instance apart.
            run: hash::hex(&env.random::<6>()),
            expires_at: (env.now() + ORDER_TTL).to_string(),
            made: AtomicU64::new(0),
            signed_late: AtomicU64::new(0),
            pools: (0..clients).map(|_| Mutex::new(VecDeque::new())).collect(),
        })
    }

    /// Signs until `total` orders are waiting, the same number for each client.
    pub fn fill(&self, total: usize) {
        let each = total.div_ceil(self.pools.len().max(1));
        for pool in &self.pools {
            let missing = each.saturating_sub(pool.lock().map_or(0, |pool| pool.len()));
            let fresh: Vec<_> = (0..missing).map(|_| self.sign_next()).collect();
            if let Ok(mut pool) = pool.lock() {
                pool.extend(fresh);
            }
        }
    }

    /// How many orders were signed while the clock was running, since the last call.
    pub fn take_signed_late(&self) -> u64 {
        self.signed_late.swap(0, Ordering::Relaxed)
    }

    fn sign_next(&self) -> Bytes {
        let number = self.made.fetch_add(1, Ordering::Relaxed);
        match self.shape {
            Shape::Single => self.payment(number),
            Shape::Batch(items) => self.batch(number, items),
        }
    }

    /// Payers take turns; recipients too, at another pace, so that over time everybody pays everybody.
    fn parties(&self, number: u64, item: usize) -> (&Payer, &Payer) {
        let count = self.payers.len();
        let turn = usize::try_from(number).unwrap_or(0);
        let payer = turn % count;
        let step = 1 + (turn / count + item) % (count - 1);
        (&self.payers[payer], &self.payers[(payer + step) % count])
    }

    fn payment(&self, number: u64) -> Bytes {
        let (payer, recipient) = self.parties(number, 0);
        let nonce = format!("{}-{number}", self.run);
        let fees_max = FEES_MAX_PER_PAYMENT.to_string();
        let signature = sign(
            payer,
            &PaymentOrder {
                amount: AMOUNT,
                aud: &self.target.instance,
                client_ref: Some(&nonce),
                currency: &self.target.currency,
                expires_at: &self.expires_at,
                intent_id: None,
                max_fees: &fees_max,
                nonce: &nonce,
                payer: payer.did.as_str(),
                rail: "internal",
                recipient: &recipient.wallet,
                v: 1,
                wallet: &payer.wallet,
            },
        );
        let body = PaymentRequest {
            amount: AmountText::from(AMOUNT),
            client_ref: nonce.clone(),
            currency: self.target.currency.clone(),
            expires_at: self.expires_at.clone(),
            max_fees: AmountText::from(fees_max.as_str()),
            nonce: nonce.clone(),
            payer: payer.did.clone(),
            purpose: None,
            quote_id: None,
            rail: None,
            recipient: recipient.wallet.clone(),
            signature,
            wallet: payer.wallet.clone(),
        };
        self.post("/payments", &nonce, &body)
    }

    fn batch(&self, number: u64, count: usize) -> Bytes {
        let nonce = format!("{}-{number}", self.run);
        let item = |index: usize| BatchItem {
            amount: AmountText::from(AMOUNT),
            client_ref: None,
            purpose: None,
            recipient: self.parties(number, index).1.wallet.clone(),
        };
        let items: Vec<BatchItem> = (0..count).map(item).collect();
        let payer = self.parties(number, 0).0;
        let fees_max = (FEES_MAX_PER_PAYMENT * count as u64).to_string();
        let items_hash = hash::hex(&hash::sha256(&items_input(&items)));
        let signature = sign(
            payer,
            &BatchOrder {
                atomic: false,
                aud: &self.target.instance,
                client_ref: &nonce,
                count,
                currency: &self.target.currency,
                document_hash: None,
                expires_at: &self.expires_at,
                items_hash: Some(&items_hash),
                max_fees: &fees_max,
                nonce: &nonce,
                payer: payer.did.as_str(),
                rail: "internal",
                v: 1,
                wallet: &payer.wallet,
            },
        );
        let body = BatchRequest {
            atomic: false,
            client_ref: nonce.clone(),
            currency: self.target.currency.clone(),
            expires_at: self.expires_at.clone(),
            items,
            max_fees: AmountText::from(fees_max.as_str()),
            nonce: nonce.clone(),
            payer: payer.did.clone(),
            rail: None,
            signature,
            wallet: payer.wallet.clone(),
        };
        self.post("/payments/batch", &nonce, &body)
    }

    fn post<T: Serialize>(&self, path: &str, key: &str, body: &T) -> Bytes {
        let body = serde_json::to_vec(body).expect("a request is plain JSON");
        let request = Request::post(format!("{}{path}", self.target.prefix))
            .header(HOST, &self.target.authority)
            .header(CONTENT_TYPE, "application/json")
            .header("idempotency-key", key)
            .body(Bytes::from(body))
            .expect("the parts of a request are plain text");
        laid_out(&request)
    }
}

impl Workload for Orders {
    fn request(&self, client: usize) -> Bytes {
        let ready = self.pools[client].lock().ok().and_then(|mut pool| pool.pop_front());
        ready.unwrap_or_else(|| {
            self.signed_late.fetch_add(1, Ordering::Relaxed);
            self.sign_next()
        })
    }

    fn judge(&self, answer: &Answer) -> Result<Work, String> {
        if !answer.status.is_success() {
            return Err(problem_code(answer));
        }
        let payments = match self.shape {
            Shape::Single if answer.status == StatusCode::CREATED => 1,
            Shape::Single => return Err(format!("STATUS_{}", answer.status.as_u16())),
            Shape::Batch(items) => {
                let committed = committed(&answer.body).ok_or("ANSWER_NOT_READABLE")?;
                if committed != items as u64 {
                    return Err("ITEMS_REFUSED".to_owned());
                }
                committed
            }
        };
        Ok(Work { payments, transfers: payments * self.target.legs })
    }
}

/// The detached compact JWS over an order: the house has the payload already, in the request (RFC 7515 appendix F).
fn sign<T: Serialize>(payer: &Payer, order: &T) -> String {
    let whole = jws::sign(&Header::typ(PAYMENT_TYP).kid(&payer.key_id), &signing_input(order), &payer.key);
    let mut parts = whole.split('.');
    let (header, _payload, signature) = (parts.next(), parts.next(), parts.next());
    format!("{}..{}", header.unwrap_or_default(), signature.unwrap_or_default())
}

/// The count of settled items, which stands before the results.
///
/// The answer to a large batch is hundreds of kilobytes; parsing all of it would measure this program.
fn committed(body: &[u8]) -> Option<u64> {
    const LABEL: &[u8] = b"\"committed\":";
    let head = &body[..body.len().min(256)];
    let at = head.windows(LABEL.len()).position(|window| window == LABEL)? + LABEL.len();
    let digits: Vec<u8> = body[at..].iter().copied().take_while(u8::is_ascii_digit).collect();
    std::str::from_utf8(&digits).ok()?.parse().ok()
}

fn problem_code(answer: &Answer) -> String {
    #[derive(Deserialize)]
    struct Coded {
        code: String,
    }
    match serde_json::from_slice::<Coded>(&answer.body) {
        Ok(problem) => problem.code,
        Err(_) => format!("STATUS_{}", answer.status.as_u16()),
    }
}

/// Splits an origin such as `http://127.0.0.1:8080` into its authority, refusing what is not plain HTTP.
pub fn authority(origin: &str) -> Result<String> {
    let rest =
        origin.strip_prefix("http://").context("the load generator speaks plain HTTP: http://host:port")?;
    Ok(rest.trim_end_matches('/').to_owned())
}
