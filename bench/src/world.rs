//! Makes payers on a running demonstration instance, through its public API like anybody else.

use crate::connection::{Answer, Connection, laid_out};
use crate::orders::{Orders, Payer, Shape, Target, authority};
use anyhow::{Context as _, Result, bail, ensure};
use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_TYPE, HOST};
use http::{Method, Request};
use q_auth::prove;
use q_core::{Did, Env, hash};
use q_did::Keyring;
use q_jose::ed25519::SecretKey;
use serde_json::{Value, json};
use std::net::{SocketAddr, ToSocketAddrs as _};

/// What each payer gets from the faucet, in whole units: enough for half a million payments.
const FUNDS: &str = "10000";
/// Where the house serves the modules behind its front door.
const IDENTITIES: &str = "/squid";
const WALLETS: &str = "/qwallet";

/// A running instance and how to reach it.
pub struct House {
    /// Where its wallets listen.
    pub address: SocketAddr,
    identities: Place,
    wallets: Place,
    /// The origin under which the instance knows itself: issuer of tokens and home of identities.
    origin: String,
    env: Env,
}

/// Where a module listens.
struct Place {
    address: SocketAddr,
    /// Host and port of that, for the `Host` header.
    authority: String,
    /// What stands before the module's paths.
    prefix: &'static str,
    connection: Connection,
}

impl Place {
    fn at(url: &str, prefix: &'static str) -> Result<Self> {
        let authority = authority(url)?;
        // Names below localhost need no name server: they are loopback by definition (RFC 6761).
        let loopback = authority.split_once("localhost:").and_then(|(_, port)| port.parse::<u16>().ok());
        let address = match loopback {
            Some(port) => SocketAddr::from(([127, 0, 0, 1], port)),
            None => {
                authority.to_socket_addrs()?.next().with_context(|| format!("no address for {authority}"))?
            }
        };
        Ok(Self { address, authority, prefix, connection: Connection::new(address) })
    }
}

/// An identity with its keys and a token that opens its wallet.
struct Person {
    did: Did,
    key_id: String,
    key: SecretKey,
    token: String,
}

/// Somebody who may read a wallet.
pub struct Reader {
    authority: String,
    path: String,
    token: String,
}

impl Reader {
    /// Asks for the balance.
    pub fn request(&self) -> Bytes {
        let request = Request::get(&self.path)
            .header(HOST, &self.authority)
            .header(AUTHORIZATION, format!("Bearer {}", self.token))
            .body(Bytes::new())
            .expect("the parts of a request are plain text");
        laid_out(&request)
    }

    /// The same question for another program: path and token.
    pub fn question(&self) -> (&str, &str) {
        (&self.path, &self.token)
    }
}

impl House {
    /// The instance whose front door is at `url`, and which calls itself `origin`.
    pub fn at(url: &str, origin: &str) -> Result<Self> {
        Ok(Self::of(Place::at(url, IDENTITIES)?, Place::at(url, WALLETS)?, origin))
    }

    /// The instance whose identities and wallets are at addresses of their own, as behind a load balancer.
    pub fn apart(identities: &str, wallets: &str, origin: &str) -> Result<Self> {
        Ok(Self::of(Place::at(identities, "")?, Place::at(wallets, "")?, origin))
    }

    fn of(identities: Place, wallets: Place, origin: &str) -> Self {
        let origin = origin.trim_end_matches('/').to_owned();
        Self { address: wallets.address, identities, wallets, origin, env: Env::system() }
    }

    /// Makes `count` payers with money and the orders of a run.
    pub async fn orders(&mut self, shape: Shape, clients: usize, count: usize) -> Result<Orders> {
        Ok(self.orders_and_readers(shape, clients, count).await?.0)
    }

    /// Like [`House::orders`], with what the payers need to read their wallets for ten minutes.
    pub async fn orders_and_readers(
        &mut self,
        shape: Shape,
        clients: usize,
        count: usize,
    ) -> Result<(Orders, Vec<Reader>)> {
        ensure!(count > 1, "it takes two to pay");
        let mut payers = Vec::with_capacity(count);
        let mut readers = Vec::with_capacity(count);
        let mut target = None;
        for _ in 0..count {
            let person = self.person().await?;
            let wallet = self.wallet(&person.token).await?;
            if target.is_none() {
                target = Some(self.target(&person.token, &wallet).await?);
            }
            let currency = target.as_ref().map_or("", |target| target.currency.as_str());
            let ask = json!({ "amount": FUNDS, "currency": currency });
            self.ask(Method::POST, "/faucet", &person.token, &ask).await?;
            readers.push(Reader {
                authority: self.wallets.authority.clone(),
                path: format!("{}/balance/{wallet}", self.wallets.prefix),
                token: person.token,
            });
            payers.push(Payer { did: person.did, key_id: person.key_id, key: person.key, wallet });
        }
        let mut target = target.context("no payer was made")?;
        let token = self.token(&payers[0].did, &payers[0].key).await?;
        target.legs = self.legs(&target, [&payers[0], &payers[1]], &token).await?;
        Ok((Orders::new(&self.env, target, payers, shape, clients)?, readers))
    }

    /// The orders of payers who have wallets already.
    pub async fn orders_among(&mut self, payers: Vec<Payer>, clients: usize) -> Result<Orders> {
        let person = self.person().await?;
        let wallet = self.wallet(&person.token).await?;
        let mut target = self.target(&person.token, &wallet).await?;
        let first = payers.first().context("it takes two to pay")?;
        let Person { did, key_id, key, token } = person;
        target.legs = self.legs(&target, [first, &Payer { did, key_id, key, wallet }], &token).await?;
        Orders::new(&self.env, target, payers, Shape::Single, clients)
    }

    /// An identity in its owner's own custody, logged in with its own key.
    async fn person(&mut self) -> Result<Person> {
        let host = self.origin.split_once("://").map_or(self.origin.as_str(), |(_, host)| host);
        let (keyring, log, _phrase) = Keyring::create(host, &self.env).context("making an identity")?;
        let entry: Value = serde_json::from_str(log.to_text().trim_end())?;
        let body = json!({ "logEntry": entry, "profile": { "name": "payer of a load run" } });
        let env = &self.env;
        send(&mut self.identities, env, Method::POST, "/identity", None, &body).await?;
        let key_id = keyring.key_id();
        let token = self.token(&keyring.did, &keyring.current).await?;
        Ok(Person { did: keyring.did, key_id, key: keyring.current, token })
    }

    /// Logs in with one self-signed assertion (RFC 7523).
    async fn token(&mut self, did: &Did, key: &SecretKey) -> Result<String> {
        let assertion = prove::login_assertion(did, key, &self.origin, &self.env);
        let form =
            format!("grant_type=urn%3Aietf%3Aparams%3Aoauth%3Agrant-type%3Ajwt-bearer&assertion={assertion}");
        let place = &mut self.identities;
        let request = Request::post(format!("{}/oauth2/token", place.prefix))
            .header(HOST, &place.authority)
            .header(CONTENT_TYPE, "application/x-www-form-urlencoded")
            .body(Bytes::from(form))?;
        let answer = read(&place.connection.send(&laid_out(&request)).await?)?;
        Ok(text(&answer, "access_token")?.to_owned())
    }

    async fn wallet(&mut self, token: &str) -> Result<String> {
        let wallet = self.ask(Method::POST, "/wallets", token, &json!({})).await?;
        Ok(text(&wallet, "walletRef")?.to_owned())
    }

    /// Learns currency and instance from the house itself: an intent tells the exact text a payer must sign.
    async fn target(&mut self, token: &str, wallet: &str) -> Result<Target> {
        let currencies = self.ask(Method::GET, "/currencies", token, &Value::Null).await?;
        let currency = text(&currencies["items"][0], "code")?.to_owned();
        let person = self.person_with_wallet().await?;
        let ask = json!({ "amount": "1", "currency": currency, "recipient": person, "wallet": wallet });
        let intent = self.ask(Method::POST, "/intents", token, &ask).await?;
        let signed: Value = serde_json::from_str(text(&intent, "signingInput")?)?;
        let instance = text(&signed, "aud")?.to_owned();
        Ok(Target {
            authority: self.wallets.authority.clone(),
            prefix: self.wallets.prefix.to_owned(),
            instance,
            currency,
            legs: 0,
        })
    }

    /// A recipient for the first intent.
    async fn person_with_wallet(&mut self) -> Result<String> {
        let person = self.person().await?;
        self.wallet(&person.token).await
    }

    /// Has the first pay the second, and counts the transfers it wrote, with the token of one of them.
    async fn legs(&mut self, target: &Target, [first, second]: [&Payer; 2], token: &str) -> Result<u64> {
        let copy = |payer: &Payer| Payer {
            did: payer.did.clone(),
            key_id: payer.key_id.clone(),
            key: SecretKey::from_seed(payer.key.seed()),
            wallet: payer.wallet.clone(),
        };
        let probe =
            Orders::new(&self.env, target.clone(), vec![copy(first), copy(second)], Shape::Single, 1)?;
        let paid =
            read(&self.wallets.connection.send(&crate::generator::Workload::request(&probe, 0)).await?)?;
        let path = format!("/tx/{}", text(&paid, "transactionId")?);
        let transaction = self.ask(Method::GET, &path, token, &Value::Null).await?;
        let legs = transaction["legs"].as_array().map_or(0, Vec::len);
        ensure!(legs > 0, "the transaction shows no transfers: {transaction}");
        Ok(legs as u64)
    }

    /// Asks the wallets.
    async fn ask(&mut self, method: Method, path: &str, token: &str, body: &Value) -> Result<Value> {
        send(&mut self.wallets, &self.env, method, path, Some(token), body).await
    }
}

async fn send(
    place: &mut Place,
    env: &Env,
    method: Method,
    path: &str,
    token: Option<&str>,
    body: &Value,
) -> Result<Value> {
    let uri = format!("{}{path}", place.prefix);
    let mut request = Request::builder().method(&method).uri(uri).header(HOST, &place.authority);
    if let Some(token) = token {
        request = request.header(AUTHORIZATION, format!("Bearer {token}"));
    }
    let bytes = if body.is_null() { Bytes::new() } else { Bytes::from(serde_json::to_vec(body)?) };
    if !bytes.is_empty() {
        request = request.header(CONTENT_TYPE, "application/json");
        request = request.header("idempotency-key", hash::hex(&env.random::<16>()));
    }
    let answer = place.connection.send(&laid_out(&request.body(bytes)?)).await?;
    read(&answer).with_context(|| format!("{method} {path}"))
}

fn read(answer: &Answer) -> Result<Value> {
    if !answer.status.is_success() {
        bail!("{}: {}", answer.status, String::from_utf8_lossy(&answer.body));
    }
    serde_json::from_slice(&answer.body).context("the answer is not JSON")
}

fn text<'a>(value: &'a Value, name: &str) -> Result<&'a str> {
    value[name].as_str().with_context(|| format!("the answer has no {name}: {value}"))
}
