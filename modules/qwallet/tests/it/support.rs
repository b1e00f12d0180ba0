//! A bank in a world: the module raised, people with wallets and money, orders signed.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use futures_util::future::BoxFuture;
use parking_lot::Mutex;
use q_auth::{KeyDirectory, LogLoader, Revocations, Standing, directory::DirectoryError};
use q_contract::{CallError, Client, Problem};
use q_core::{Caller, Did, IdentityKind, IdentityStatus, Principal, Span, Timestamp, hash};
use q_jose::{SecretKey, jws};
use q_pdp::{Change, GrantId, GrantIssued, GrantRevoked, Pdp, Projector, Resource, command};
use q_runtime::{Module as _, Setting};
use q_seal::{DataKey, DataKeyId, Sealer};
use q_testkit::{World, identity};
use q_ucan::{Delegation, DelegationDraft, container, policy::Policy};
use qwallet::{MIGRATIONS, SETTINGS, Wallets};
use qwallet_api::{
    BatchItem, BatchRequest, CreateIntent, CreateIntentRequest, CreateWallet, CreateWalletRequest, Faucet,
    FaucetRequest, GetBalance, GetBalanceRequest, Intent, IssuanceRequest, Issue, NewLimit, PaymentRequest,
    SetLimitsRequest, SignIntent, SignRequest, SignedIntent, UpdateWalletRequest, WALLET_TYP, Wallet,
    WalletOrder, WithdrawalRequest,
    signing::{self, BatchOrder, ISSUANCE_TYP, IssuanceOrder, PAYMENT_TYP, PaymentOrder},
};

static KEYS: AtomicU64 = AtomicU64::new(0);

/// A fresh idempotency key.
pub fn fresh() -> String {
    format!("key-{}", KEYS.fetch_add(1, Ordering::Relaxed))
}

/// Nearly all identities of these tests are `did:key` and have no log; the others are registered here. What kind they are,
/// and whose, is said here.
#[derive(Default)]
pub struct Logs(Mutex<HashMap<Did, Standing>>, Mutex<HashMap<String, String>>);

impl LogLoader for Logs {
    fn load<'a>(&'a self, scid: &'a str) -> BoxFuture<'a, Result<Option<String>, DirectoryError>> {
        let log = self.1.lock().get(scid).cloned();
        Box::pin(async { Ok(log) })
    }

    fn standing<'a>(&'a self, did: &'a Did) -> BoxFuture<'a, Result<Option<Standing>, DirectoryError>> {
        let found = self.0.lock().get(did).cloned();
        Box::pin(async { Ok(found) })
    }
}

/// Somebody who may sign for the instance.
pub type Approver = (Did, SecretKey);

/// Somebody with a key and a wallet.
#[derive(Clone)]
pub struct Person {
    pub did: Did,
    pub key: SecretKey,
    pub wallet: Wallet,
    pub client: Client,
}

pub struct Bank {
    pub world: World,
    pub module: Arc<Wallets>,
    pub projector: Projector,
    pub revocations: Arc<Revocations>,
    standings: Arc<Logs>,
    epoch: AtomicU64,
}

impl Bank {
    /// A bank without limits on spending, which have tests of their own.
    pub async fn open(world: World) -> Self {
        Self::open_with(world, without_limits()).await
    }

    /// A bank whose only lane writes the same rows on a server as on a file.
    pub async fn open_with_one_lane(world: World) -> Self {
        Self::open_with(world, settings(&[&NO_LIMITS[..], &[("lanes", "1")]].concat())).await
    }

    pub async fn open_with(mut world: World, settings: &'static [Setting]) -> Self {
        let ground = world.ground("qwallet", &MIGRATIONS, settings).await;
        let (authority, _) = identity("qonsent");
        let pdp = Pdp::new(authority, world.env.now());
        let revocations = Arc::new(Revocations::new());
        let standings = Arc::new(Logs::default());
        let keys = Arc::new(KeyDirectory::new(world.env.clone(), standings.clone(), revocations.clone()));
        let projector = Projector::new(pdp.clone(), keys.clone());
        let module = qwallet::open(ground, pdp, keys, sealer()).await.unwrap();
        world.raise(module.clone()).await;
        Self { world, module, projector, revocations, standings, epoch: AtomicU64::new(0) }
    }

    /// An identity with a log: its own name, and one of the many with a host that it has besides.
    pub fn registered(&self) -> (Approver, Approver) {
        let (keyring, log, _) = q_did::Keyring::create("q.example", &self.world.env).unwrap();
        let scid = log.head().scid.clone();
        self.standings.0.lock().insert(keyring.did.clone(), Standing::root(keyring.did.clone()));
        self.standings.1.lock().insert(scid.clone(), log.to_text());
        let alias = format!("did:webvh:{scid}:elsewhere.example:id:{scid}").parse().unwrap();
        ((keyring.did, keyring.current.clone()), (alias, keyring.current))
    }

    /// Says what kind of identity a name is, and whose.
    pub fn stands(&self, name: &str, kind: IdentityKind, parents: &[&Person]) {
        let did = identity(name).0;
        let parent = parents.first().map(|parent| parent.did.clone());
        let guardians = if kind == IdentityKind::Root { &[] } else { parents };
        let standing = Standing {
            kind,
            root: parent.clone(),
            parent,
            guardians: guardians.iter().map(|guardian| guardian.did.clone()).collect(),
            ..Standing::root(did.clone())
        };
        self.standings.0.lock().insert(did, standing);
    }

    /// Lets squid say that `name` may no longer act, or may again.
    pub fn suspends(&self, name: &str, is_suspended: bool) {
        let (did, _) = identity(name);
        let status = if is_suspended { IdentityStatus::Suspended } else { IdentityStatus::Active };
        let standing = Standing { status, ..Standing::root(did.clone()) };
        self.standings.0.lock().insert(did, standing);
    }

    /// Two operators with wallets, who sign what needs two.
    pub async fn operators(&self) -> [Person; 2] {
        let operators = [self.person("first", "0").await, self.person("second", "0").await];
        self.approvers().await;
        operators
    }

    /// Two who sign what needs two, `first` and `second`, without wallets.
    pub async fn approvers(&self) -> [Approver; 2] {
        let (instance, key) = identity("instance");
        let resource = Resource::instance(&instance);
        let approvers = [identity("first"), identity("second")];
        for (approver, _) in &approvers {
            self.grant(&instance, &key, approver, &resource, "admin").await;
        }
        approvers
    }

    /// The payer's signed order to withdraw.
    pub fn withdrawal(&self, payer: &Person, rail: &str, to: &str, amount: &str) -> WithdrawalRequest {
        let request = WithdrawalRequest {
            amount: amount.into(),
            client_ref: "OUT-1".into(),
            currency: "QToken".into(),
            expires_at: (self.now() + Span::seconds(600)).to_string(),
            max_fees: "1".into(),
            nonce: format!("nonce-{}", fresh()),
            payer: payer.did.clone(),
            rail: rail.into(),
            recipient: to.into(),
            signature: String::new(),
            wallet: payer.wallet.wallet_ref.clone(),
        };
        let input = self.withdrawal_input(&request);
        WithdrawalRequest { signature: sign(&input, &payer.did, &payer.key), ..request }
    }

    /// The bytes that are signed to withdraw, and to approve it.
    pub fn withdrawal_input(&self, request: &WithdrawalRequest) -> Vec<u8> {
        signing::signing_input(&PaymentOrder {
            amount: request.amount.as_str(),
            aud: self.world.instance.did.as_str(),
            client_ref: Some(&request.client_ref),
            currency: &request.currency,
            expires_at: &request.expires_at,
            intent_id: None,
            max_fees: request.max_fees.as_str(),
            nonce: &request.nonce,
            payer: request.payer.as_str(),
            rail: &request.rail,
            recipient: &request.recipient,
            v: 1,
            wallet: &request.wallet,
        })
    }

    /// The request with the signatures of those who approve it.
    pub fn approved(&self, asked: UpdateWalletRequest, signers: &[&Person]) -> UpdateWalletRequest {
        let expires_at = (self.now() + Span::seconds(600)).to_string();
        let asked = UpdateWalletRequest { expires_at, nonce: format!("nonce-{}", fresh()), ..asked };
        let input = signing::signing_input(&WalletOrder::of(self.world.instance.did.as_str(), &asked));
        let sign = |signer: &&Person| sign_as(WALLET_TYP, &input, &signer.did, &signer.key);
        UpdateWalletRequest { approvals: signers.iter().map(sign).collect(), ..asked }
    }

    /// What `verify` says.
    pub async fn findings(&self) -> Vec<String> {
        let findings = self.module.verify().await.unwrap();
        findings.into_iter().map(|finding| format!("{finding:?}")).collect()
    }

    /// Somebody with a wallet and so much money.
    pub async fn person(&self, name: &str, money: &str) -> Person {
        self.person_of(identity(name), name, money).await
    }

    /// Somebody with this key, with a wallet and so much money.
    pub async fn person_of(&self, (did, key): Approver, name: &str, money: &str) -> Person {
        let client = self.world.client("qwallet", &did);
        let request =
            CreateWalletRequest { label: Some(format!("{name}'s")), ..CreateWalletRequest::default() };
        let wallet = client.clone().with_key(fresh()).call::<CreateWallet>(&request).await.unwrap();
        let person = Person { did, key, wallet, client };
        if money != "0" {
            let request = FaucetRequest { amount: money.into(), currency: "QToken".into(), wallet: None };
            person.client.clone().with_key(fresh()).call::<Faucet>(&request).await.unwrap();
        }
        person
    }

    /// An order of `payer` to pay, ready to be changed and signed.
    pub fn order(&self, payer: &Person, recipient: &str, amount: &str) -> PaymentRequest {
        PaymentRequest {
            amount: amount.into(),
            client_ref: "INV-1".into(),
            currency: "QToken".into(),
            expires_at: (self.now() + Span::seconds(600)).to_string(),
            max_fees: "10".into(),
            nonce: format!("nonce-{}", fresh()),
            payer: payer.did.clone(),
            purpose: Some("bread".into()),
            quote_id: None,
            rail: None,
            recipient: recipient.into(),
            signature: String::new(),
            wallet: payer.wallet.wallet_ref.clone(),
        }
    }

    /// The order with the payer's signature.
    pub fn signed(&self, order: PaymentRequest, payer: &Person) -> PaymentRequest {
        let signature = sign(&payment_input(&self.world.instance.did, &order), &payer.did, &payer.key);
        PaymentRequest { signature, ..order }
    }

    pub fn batch(&self, payer: &Person, items: Vec<BatchItem>) -> BatchRequest {
        BatchRequest {
            atomic: false,
            client_ref: "RUN-1".into(),
            currency: "QToken".into(),
            expires_at: (self.now() + Span::seconds(600)).to_string(),
            items,
            max_fees: "1000".into(),
            nonce: format!("nonce-{}", fresh()),
            payer: payer.did.clone(),
            rail: None,
            signature: String::new(),
            wallet: payer.wallet.wallet_ref.clone(),
        }
    }

    pub fn signed_batch(&self, batch: BatchRequest, payer: &Person) -> BatchRequest {
        let items_hash = hash::hex(&hash::sha256(&signing::items_input(&batch.items)));
        let input = signing::signing_input(&BatchOrder {
            atomic: batch.atomic,
            aud: self.world.instance.did.as_str(),
            client_ref: &batch.client_ref,
            count: batch.items.len(),
            currency: &batch.currency,
            document_hash: None,
            expires_at: &batch.expires_at,
            items_hash: Some(&items_hash),
            max_fees: batch.max_fees.as_str(),
            nonce: &batch.nonce,
            payer: batch.payer.as_str(),
            rail: "internal",
            v: 1,
            wallet: &batch.wallet,
        });
        BatchRequest { signature: sign(&input, &payer.did, &payer.key), ..batch }
    }

    /// Available, posted and held money.
    pub async fn balance(&self, person: &Person) -> (String, String, String) {
        let request =
            GetBalanceRequest { squid_id: person.wallet.wallet_ref.clone(), currency: None, at: None };
        let report = person.client.call::<GetBalance>(&request).await.unwrap();
        let balance = &report.balances["QToken"];
        let text = |amount: &q_core::AmountText| amount.as_str().to_owned();
        (text(&balance.available), text(&balance.posted), text(&balance.pending_out))
    }

    pub fn now(&self) -> Timestamp {
        self.world.env.now()
    }

    /// Lets `owner` allow `to` to do `action` to `resource`, proved by a signed delegation.
    pub async fn grant(
        &self,
        owner: &Did,
        key: &SecretKey,
        to: &Did,
        resource: &Resource,
        action: &str,
    ) -> GrantIssued {
        let epoch = self.epoch.fetch_add(1, Ordering::Relaxed) + 1;
        let draft = DelegationDraft {
            issuer: owner.clone().into(),
            audience: to.clone(),
            subject: Some(owner.clone()),
            command: command(resource, action).unwrap(),
            policy: Policy::pins_resource(resource.as_str()),
            nonce: epoch.to_be_bytes().repeat(2),
            not_before: None,
            expires_at: Some(self.now() + Span::seconds(86_400)),
            meta: BTreeMap::new(),
        };
        let link: Delegation = draft.sign(key).unwrap();
        let grant = GrantIssued {
            grant_id: GrantId::from_bytes(u128::from(epoch).to_be_bytes()),
            resource: resource.to_string(),
            owner: owner.clone(),
            identity: to.clone(),
            permissions: vec![action.to_owned()],
            granted_by: owner.clone(),
            granted_at: self.now(),
            expires_at: self.now() + Span::seconds(3_600),
            cids: vec![link.cid()],
            ucan: container::encode_text([link.bytes()]),
            epoch,
        };
        self.projector.take_in(Change::Issued(grant.clone())).await.unwrap();
        grant
    }

    /// Puts money into circulation, whatever amount.
    pub async fn mint(&self, person: &Person, amount: &str) {
        let [first, second] = self.approvers().await;
        let order = issuance(self, person, "MINT", amount, &[&first, &second]);
        person.client.clone().with_key(fresh()).call::<Issue>(&order).await.unwrap();
    }

    pub async fn revoke(&self, grant: &GrantIssued) {
        let epoch = self.epoch.fetch_add(1, Ordering::Relaxed) + 1;
        let revoked = GrantRevoked {
            resource: Some(grant.resource.clone()),
            identity: Some(grant.identity.clone()),
            revoked_permissions: grant.permissions.clone(),
            revoked_by: grant.owner.clone(),
            reason: "owner".into(),
            cids: grant.cids.clone(),
            epoch,
        };
        self.projector.take_in(Change::Revoked(revoked)).await.unwrap();
    }

    pub async fn close(self) {
        self.world.close().await;
    }
}

/// The module's settings with other defaults.
pub fn settings(changed: &[(&str, &'static str)]) -> &'static [Setting] {
    let settings = SETTINGS.iter().map(|setting| {
        let default = changed.iter().find(|(key, _)| *key == setting.key);
        Setting { default: default.map_or(setting.default, |(_, default)| default), ..*setting }
    });
    settings.collect::<Vec<_>>().leak()
}

const NO_LIMITS: [(&str, &str); 4] =
    [("limit_transaction", "none"), ("limit_daily", "none"), ("limit_monthly", "none"), ("step_up", "none")];

pub fn without_limits() -> &'static [Setting] {
    settings(&NO_LIMITS)
}

/// Somebody as a service sees them, for calls that reach it by another way than its router.
pub fn caller(did: &Did, now: Timestamp) -> Caller {
    Caller::Identity(Principal::new(did.clone(), now))
}

/// The same, who proved a second key at `at`.
pub fn stepped_up(did: &Did, at: Timestamp) -> Caller {
    let acr = Some(q_core::caller::ACR_TWO_KEYS.to_owned());
    Caller::Identity(Principal { acr, ..Principal::new(did.clone(), at) })
}

pub fn sealer() -> Sealer {
    Sealer::new(DataKey::new(DataKeyId([1; 16]), &[2; 32]), Vec::new())
}

/// The bytes a payer signs for an order.
pub fn payment_input(instance: &Did, order: &PaymentRequest) -> Vec<u8> {
    signing::signing_input(&PaymentOrder {
        amount: order.amount.as_str(),
        aud: instance.as_str(),
        client_ref: Some(&order.client_ref),
        currency: &order.currency,
        expires_at: &order.expires_at,
        intent_id: None,
        max_fees: order.max_fees.as_str(),
        nonce: &order.nonce,
        payer: order.payer.as_str(),
        rail: order.rail.as_deref().unwrap_or("internal"),
        recipient: &order.recipient,
        v: 1,
        wallet: &order.wallet,
    })
}

/// A payment signature over `input`.
pub fn sign(input: &[u8], did: &Did, key: &SecretKey) -> String {
    sign_as(PAYMENT_TYP, input, did, key)
}

pub fn sign_as(typ: &str, input: &[u8], did: &Did, key: &SecretKey) -> String {
    let kid = format!("{did}#{}", key.public().to_multikey());
    jws::sign(&jws::Header::typ(typ).kid(kid), input, key)
}

/// The code a call was refused with.
pub fn code<T: std::fmt::Debug>(outcome: Result<T, CallError>) -> String {
    problem(outcome).code
}

pub fn problem<T: std::fmt::Debug>(outcome: Result<T, CallError>) -> Problem {
    match outcome {
        Err(CallError::Problem(problem)) => problem,
        other => panic!("expected a problem, got {other:?}"),
    }
}

/// What asks to pay `recipient` when its payer has signed it.
pub fn ask(recipient: &Person, amount: &str) -> CreateIntentRequest {
    CreateIntentRequest {
        amount: amount.into(),
        currency: "QToken".into(),
        recipient: recipient.wallet.wallet_ref.clone(),
        purpose: None,
        expires_in: Some(600),
        wallet: None,
        capture: None,
        quote_id: None,
        hold_for: None,
    }
}

pub async fn intend(payer: &Person, recipient: &Person, amount: &str) -> Intent {
    intend_as(payer, &ask(recipient, amount)).await
}

pub async fn intend_as(payer: &Person, asked: &CreateIntentRequest) -> Intent {
    payer.client.clone().with_key(fresh()).call::<CreateIntent>(asked).await.unwrap()
}

/// What its payer signs of an intent.
pub fn signature(intent: &Intent, payer: &Person) -> SignRequest {
    let signature = sign(intent.signing_input.as_bytes(), &payer.did, &payer.key);
    SignRequest { intent_id: intent.intent_id, signature }
}

pub async fn sign_it(intent: &Intent, payer: &Person) -> Result<SignedIntent, CallError> {
    payer.client.clone().with_key(fresh()).call::<SignIntent>(&signature(intent, payer)).await
}

pub fn item(recipient: &str, amount: &str) -> BatchItem {
    BatchItem { amount: amount.into(), client_ref: None, purpose: None, recipient: recipient.into() }
}

/// The limits of somebody's wallet, by kind and amount.
pub fn new_limits(of: &Person, limits: &[(&str, &str)]) -> SetLimitsRequest {
    let limits = limits.iter().map(|(kind, amount)| NewLimit {
        kind: (*kind).into(),
        currency: "QToken".into(),
        amount: (*amount).into(),
    });
    SetLimitsRequest { squid_id: of.wallet.wallet_ref.clone(), limits: limits.collect(), timezone: None }
}

/// An order to issue, approved by `signers`.
pub fn issuance(
    bank: &Bank,
    wallet: &Person,
    action: &str,
    amount: &str,
    signers: &[&(Did, SecretKey)],
) -> IssuanceRequest {
    let mut order = IssuanceRequest {
        action: action.into(),
        amount: amount.into(),
        approvals: Vec::new(),
        client_ref: "RES-1".into(),
        currency: "QToken".into(),
        expires_at: (bank.now() + Span::seconds(600)).to_string(),
        nonce: format!("nonce-{}", fresh()),
        wallet: wallet.wallet.wallet_ref.clone(),
    };
    let input = signing::signing_input(&IssuanceOrder {
        action: &order.action,
        amount: order.amount.as_str(),
        aud: bank.world.instance.did.as_str(),
        client_ref: &order.client_ref,
        currency: &order.currency,
        expires_at: &order.expires_at,
        nonce: &order.nonce,
        v: 1,
        wallet: &order.wallet,
    });
    order.approvals = signers.iter().map(|(did, key)| sign_as(ISSUANCE_TYP, &input, did, key)).collect();
    order
}
