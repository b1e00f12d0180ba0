//! The bank account whose files people carry.

use q_runtime::Module;
use q_testkit::{World, identity, on_each_world};
use qwallet_api::{
    CreateWithdrawal, DepositAddressRequest, GetDepositAddress, GetPayoutFile, GetWithdrawal, ListDeposits,
    ListRails, ListRailsRequest, MakePayouts, PayoutFilePath, RailPath, RailState, RejectPayout,
    RejectPayoutRequest, StatementReport, TakeStatement, TakeStatementRequest, WalletPath, Withdrawal,
    WithdrawalPath,
};

use crate::support::{Bank, Person, code, fresh, settings};

const IBAN: &str = "DE75512108001245126199";
pub const TO: &str = "payto://iban/FR1420041010050500013M02606?receiver-name=Zo%C3%A9";

/// A bank with a bank account.
pub struct Desk {
    pub bank: Bank,
}

impl Desk {
    pub async fn open(world: World) -> Self {
        let settings = settings(&[
            ("limit_transaction", "none"),
            ("limit_daily", "none"),
            ("limit_monthly", "none"),
            ("rail_sepa_iban", IBAN),
            ("rail_sepa_name", "The House"),
            ("rail_sepa_fee", "0.5"),
        ]);
        let bank = Bank::open_with(world, settings).await;
        bank.world.make_operator(&identity("operator").0);
        Self { bank }
    }

    pub fn operator(&self) -> q_contract::Client {
        self.bank.world.client("qwallet", &identity("operator").0).with_key(fresh())
    }

    pub async fn state(&self) -> RailState {
        self.operator().call::<ListRails>(&ListRailsRequest {}).await.unwrap().items.remove(0)
    }

    pub async fn withdraw(&self, payer: &Person, to: &str, amount: &str) -> Result<Withdrawal, String> {
        let order = self.bank.withdrawal(payer, "sepa-file", to, amount);
        let client = payer.client.clone().with_key(fresh());
        client.call::<CreateWithdrawal>(&order).await.map_err(|refused| code(Err::<(), _>(refused)))
    }

    pub async fn withdrawal(&self, payer: &Person, withdrawal: &Withdrawal) -> Withdrawal {
        let path = WithdrawalPath { withdrawal_id: withdrawal.withdrawal_id };
        payer.client.call::<GetWithdrawal>(&path).await.unwrap()
    }

    pub async fn take(&self, document: String) -> Result<StatementReport, String> {
        let request = TakeStatementRequest { rail: "sepa-file".into(), document };
        let taken = self.operator().call::<TakeStatement>(&request).await;
        taken.map_err(|refused| code(Err::<(), _>(refused)))
    }

    pub async fn deposits(&self, person: &Person) -> Vec<(String, String)> {
        let path = WalletPath { squid_id: person.wallet.wallet_ref.clone() };
        let list = person.client.call::<ListDeposits>(&path).await.unwrap();
        let text = |amount: Option<q_core::AmountText>| amount.map(|amount| amount.as_str().to_owned());
        list.items.into_iter().map(|item| (item.status, text(item.amount).unwrap_or_default())).collect()
    }

    pub async fn close(self) {
        assert_eq!(self.bank.module.verify().await.unwrap(), []);
        self.bank.close().await;
    }
}

pub fn statement(id: &str, from: &str, to: &str, entries: &[String]) -> String {
    let balance = |code: &str, amount: &str| {
        format!(
            "<Bal><Tp><CdOrPrtry><Cd>{code}</Cd></CdOrPrtry></Tp><Amt Ccy=\"EUR\">{amount}</Amt>\
             <CdtDbtInd>CRDT</CdtDbtInd></Bal>"
        )
    };
    format!(
        "<Document xmlns=\"urn:iso:std:iso:20022:tech:xsd:camt.053.001.08\"><BkToCstmrStmt><Stmt><Id>{id}</Id>\
         <Acct><Id><IBAN>{IBAN}</IBAN></Id></Acct>{}{}{}</Stmt></BkToCstmrStmt></Document>",
        balance("OPBD", from),
        balance("CLBD", to),
        entries.concat()
    )
}

pub fn entry(reference: &str, amount: &str, side: &str, id: &str, text: &str) -> String {
    format!(
        "<Ntry><Amt Ccy=\"EUR\">{amount}</Amt><CdtDbtInd>{side}</CdtDbtInd><Sts><Cd>BOOK</Cd></Sts>\
         <AcctSvcrRef>{reference}</AcctSvcrRef><NtryDtls><TxDtls><Refs><EndToEndId>{id}</EndToEndId></Refs>\
         <RmtInf><Ustrd>{text}</Ustrd></RmtInf></TxDtls></NtryDtls></Ntry>"
    )
}

on_each_world!(files_go_to_a_bank_and_statements_come_back, async |world: World| {
    let desk = Desk::open(world).await;
    let (ann, bob) = (desk.bank.person("ann", "100").await, desk.bank.person("bob", "0").await);
    // Somebody pays into the account, naming bob's wallet.
    let request = DepositAddressRequest { squid_id: bob.wallet.wallet_ref.clone(), rail: "sepa-file".into() };
    let address = bob.client.call::<GetDepositAddress>(&request).await.unwrap().address;
    assert!(address.starts_with("payto://iban/DE75512108001245126199?receiver-name=The%20House&message=QQ"));
    let reference = bob.wallet.wallet_ref.as_str();
    let first = [
        entry("R1", "25.00", "CRDT", "NOTPROVIDED", &format!("for {reference}, thanks")),
        entry("R2", "3.00", "CRDT", "NOTPROVIDED", "who knows"),
        entry("R3", "1.20", "DBIT", "NOTPROVIDED", "account fee"),
    ];
    let document = statement("S-1", "500.00", "526.80", &first);
    let taken = desk.take(document.clone()).await.unwrap();
    assert_eq!((taken.credited, taken.unassigned, taken.costs, taken.difference.as_str()), (1, 2, 1, "0"));
    assert_eq!(desk.bank.balance(&bob).await.1, "25");
    let again = desk.take(document).await.unwrap();
    assert_eq!((again.credited, again.unassigned, again.costs, again.settled), (0, 0, 0, 0));
    assert_eq!(desk.bank.balance(&bob).await.1, "25", "once");

    for (to, amount, refusal) in [
        (TO, "10.001", "AMOUNT_PRECISION"),
        ("payto://iban/FR1420041010050500013M02607?receiver-name=Zo", "10", "ADDRESS_INVALID"),
        ("payto://iban/DE75512108001245126199?receiver-name=Us", "10", "ADDRESS_INVALID"),
    ] {
        assert_eq!(desk.withdraw(&ann, to, amount).await.unwrap_err(), refusal);
    }
    let paid = desk.withdraw(&ann, TO, "40").await.unwrap();
    let rejected = desk.withdraw(&ann, TO, "20").await.unwrap();
    let path = RailPath { rail: "sepa-file".into() };
    let file = desk.operator().call::<MakePayouts>(&path).await.unwrap();
    assert!(
        file.document.contains(&paid.withdrawal_id.to_string()) && file.document.contains("<Nm>Zoé</Nm>")
    );
    assert!(file.document.contains("<CtrlSum>60.00</CtrlSum>"));
    let none = desk.operator().call::<MakePayouts>(&path).await;
    assert_eq!(code(none), "IMPORT_INVALID", "each stands in one file");
    let asked = PayoutFilePath { rail: "sepa-file".into(), message_id: file.message_id.clone() };
    assert_eq!(desk.operator().call::<GetPayoutFile>(&asked).await.unwrap(), file);
    assert_eq!(desk.withdrawal(&ann, &paid).await.status, "BROADCASTING");

    let id = paid.withdrawal_id.to_string();
    let second = [entry("R4", "40.00", "DBIT", &id, ""), entry("R5", "40.00", "CRDT", &id, "returned")];
    let skipped = statement("S-3", "400.00", "400.00", &second);
    assert_eq!(desk.take(skipped).await.unwrap_err(), "IMPORT_INVALID", "one is missing in between");
    let taken = desk.take(statement("S-2", "526.80", "526.80", &second)).await.unwrap();
    assert_eq!((taken.settled, taken.credited, taken.difference.as_str()), (1, 1, "0"));
    assert_eq!(desk.withdrawal(&ann, &paid).await.status, "SETTLED");
    assert_eq!(
        desk.deposits(&ann).await,
        [("CREDITED".to_owned(), "40".to_owned())],
        "what came back is the sender's"
    );

    let reject = RejectPayoutRequest { withdrawal_id: rejected.withdrawal_id };
    assert_eq!(desk.operator().call::<RejectPayout>(&reject).await.unwrap().status, "FAILED");
    assert_eq!(code(desk.operator().call::<RejectPayout>(&reject).await), "INVALID_STATE");
    // 40 went and came back; its fees of 0.5 and 0.2 stay paid.
    assert_eq!(desk.bank.balance(&ann).await, ("99.3".into(), "99.3".into(), "0".into()));
    assert_eq!(desk.state().await.reconciled.unwrap().chain.as_str(), "526.8");
    desk.close().await;
});

on_each_world!(a_balance_that_is_not_the_books_pauses_the_bank, async |world: World| {
    let desk = Desk::open(world).await;
    let ann = desk.bank.person("ann", "100").await;
    desk.take(statement("S-1", "500.00", "500.00", &[])).await.unwrap();
    // The same reference for two payments: the second is taken for the first, and the sum says so.
    let twice = [entry("R1", "5.00", "CRDT", "X", ""), entry("R1", "5.00", "CRDT", "X", "")];
    let taken = desk.take(statement("S-2", "500.00", "510.00", &twice)).await.unwrap();
    assert_eq!(taken.difference, "5");
    assert_eq!(desk.state().await.status, "PAUSED");
    assert_eq!(desk.withdraw(&ann, TO, "1").await.unwrap_err(), "RAIL_DOWN");
    desk.close().await;
});
