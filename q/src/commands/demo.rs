//! The demonstration: two identities made through the real API, test money, a first payment.

use q_core::Did;
use qwallet_api::BalanceReport;

use crate::{
    commands::{id, wallet},
    layout::Layout,
    output,
    running::Running,
    session::Session,
};

const CURRENCY: &str = "QToken";
const TEST_MONEY: &str = "10000";
const FIRST_PAYMENT: &str = "12.5";

/// Plays it on a fresh instance; on one that has played it already, only shows the balances.
pub async fn play(layout: &Layout, running: &Running) -> anyhow::Result<()> {
    let (alice, is_new) = member(layout, running, "alice").await?;
    let (bob, _) = member(layout, running, "bob").await?;
    if is_new {
        let money = wallet::faucet(&alice, TEST_MONEY, CURRENCY).await?;
        output::announce(format!("faucet gives alice {} {CURRENCY} of test money", money.amount.as_str()));
        let payment = wallet::Payment {
            recipient: bob.did().to_string(),
            amount: FIRST_PAYMENT.to_owned(),
            currency: CURRENCY.to_owned(),
            purpose: Some("a first payment".to_owned()),
            client_ref: None,
            quote_id: None,
        };
        let paid = wallet::pay(&alice, &payment, "demo-first-payment").await?;
        output::announce(format!(
            "alice pays bob {FIRST_PAYMENT} {CURRENCY}: {} {}",
            paid.transaction_id, paid.status
        ));
    }
    show("alice", alice.did(), &wallet::balance(&alice, None).await?);
    show("bob", bob.did(), &wallet::balance(&bob, None).await?);
    let data = layout.data.display();
    output::announce(format!(
        "\ntry next, in another terminal:\n  \
         q --data {data} wallet pay alice 3 --as bob\n  \
         q --data {data} wallet history --as alice\n  \
         q --data {data} wallet export hledger > books.journal && hledger -f books.journal balance\n"
    ));
    Ok(())
}

/// The identity called `name` with an open wallet, and whether it was made just now.
async fn member(layout: &Layout, running: &Running, name: &str) -> anyhow::Result<(Session, bool)> {
    let is_new = !layout.keyring(name).exists();
    if is_new {
        id::create(layout, running, name).await?;
    }
    let session = Session::with(layout.clone(), running.clone(), layout.read_keyring(name)?)?;
    if is_new {
        wallet::open_wallet(&session).await?;
    }
    Ok((session, is_new))
}

fn show(name: &str, did: &Did, report: &BalanceReport) {
    let balance = report.balances.get(CURRENCY).map_or("0", |balance| balance.available.as_str());
    output::announce(format!("{name:<6} {balance} {CURRENCY}   {}   {did}", report.wallet_ref));
}
