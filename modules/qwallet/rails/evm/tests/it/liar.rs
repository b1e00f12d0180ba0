//! A node that lies: a proxy of our own before anvil that changes its answers.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex},
};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt as _, Full};
use hyper_util::{
    client::legacy::Client,
    rt::{TokioExecutor, TokioIo},
    service::TowerToHyperService,
};
use q_oracle::Anvil;
use qwallet_rail_evm::{Config, Evm};
use qwallet_rails::{Rail as _, RailError, Slot};
use tokio::net::TcpListener;

use crate::chain::{COIN, config, seed};

type Lie = Arc<Mutex<Box<dyn Fn(&str, String) -> String + Send>>>;

/// Starts it: `lie` gets the question and the true answer, and says what is answered.
async fn liar(anvil: &Anvil) -> (Config, Lie) {
    let lie: Lie = Arc::new(Mutex::new(Box::new(|_, truth| truth)));
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address: SocketAddr = listener.local_addr().expect("it is bound");
    let (url, told) = (anvil.url(), lie.clone());
    tokio::spawn(async move {
        let client = Client::builder(TokioExecutor::new()).build_http::<Full<Bytes>>();
        while let Ok((stream, _)) = listener.accept().await {
            let (client, url, told) = (client.clone(), url.clone(), told.clone());
            let answer = tower::service_fn(move |request: Request<hyper::body::Incoming>| {
                let (client, url, told) = (client.clone(), url.clone(), told.clone());
                async move {
                    let question = request.into_body().collect().await.expect("a question").to_bytes();
                    let asked = Request::post(&url).header("content-type", "application/json");
                    let asked = asked.body(Full::new(question.clone())).expect("a request");
                    let truth = client.request(asked).await.expect("anvil answers");
                    let truth = truth.into_body().collect().await.expect("an answer").to_bytes();
                    let truth = String::from_utf8(truth.to_vec()).expect("text");
                    let question = String::from_utf8_lossy(&question).into_owned();
                    let said = told.lock().expect("nobody panicked")(&question, truth);
                    Ok::<_, std::convert::Infallible>(Response::new(Full::new(Bytes::from(said))))
                }
            });
            tokio::spawn(
                hyper::server::conn::http1::Builder::new()
                    .serve_connection(TokioIo::new(stream), TowerToHyperService::new(answer)),
            );
        }
    });
    let url = format!("http://{address}").parse().expect("a URL");
    (Config { url, ..config(anvil, None) }, lie)
}

fn tell(lie: &Lie, how: impl Fn(&str, String) -> String + Send + 'static) {
    *lie.lock().expect("nobody panicked") = Box::new(how);
}

#[tokio::test]
async fn arrivals_that_receipts_and_chain_do_not_confirm_are_not_believed() {
    let Some(anvil) = Anvil::start() else { return };
    let Some(token) = anvil.deploy_token(1_000 * COIN) else { return };
    let (config, lie) = liar(&anvil).await;
    let rail = Evm::new(Config { token: Some(token.clone()), ..config }).expect("the settings are right");
    let seed = seed();
    let deposit = rail.address(Slot { seed: &seed, index: 3 }).expect("a key");
    let addresses = [deposit.clone()];
    let from = anvil.height() + 1;
    anvil.send_token(&token, &deposit, COIN);
    let height = anvil.height();
    let scan = || rail.scan_deposits(from, height, &addresses);
    assert_eq!(scan().await.expect("the truth").len(), 1);

    let (one, many) = (format!("{COIN:064x}"), format!("{:064x}", 900 * COIN));
    tell(
        &lie,
        move |question, truth| {
            if question.contains("eth_getLogs") { truth.replace(&one, &many) } else { truth }
        },
    );
    assert!(matches!(scan().await, Err(RailError::Unbelievable(_))), "a larger sum than the receipt's");
    tell(&lie, |question, truth| {
        if question.contains("Receipt") {
            truth.replace(r#""status":"0x1""#, r#""status":"0x0""#)
        } else {
            truth
        }
    });
    assert!(matches!(scan().await, Err(RailError::Unbelievable(_))), "a receipt of failure");
    let other = token.to_lowercase();
    tell(&lie, move |_, truth| truth.replace(&other, "0x00000000000000000000000000000000000000aa"));
    assert!(matches!(scan().await, Err(RailError::Unbelievable(_))), "another token's transfers");
    tell(&lie, |question, truth| {
        let is_block = question.contains("eth_getBlockByNumber");
        if is_block {
            r#"{"jsonrpc":"2.0","id":ID,"result":null}"#.to_owned().replace("ID", &id(question))
        } else {
            truth
        }
    });
    assert_eq!(scan().await, Ok(Vec::new()), "a block that is not in the chain");
}

#[tokio::test]
async fn answers_that_are_none_are_told_apart_from_refusals() {
    let Some(anvil) = Anvil::start() else { return };
    let (config, lie) = liar(&anvil).await;
    let rail = Evm::new(config).expect("the settings are right");
    for answer in [
        "",
        "not JSON",
        "[]",
        r#"{"id":1}"#,
        r#"{"id":99,"result":"0x7a69"}"#,
        r#"{"id":ID,"result":"0xzz"}"#,
    ] {
        tell(&lie, move |question, _| answer.replace("ID", &id(question)));
        assert!(matches!(rail.head().await, Err(RailError::Unbelievable(_))), "{answer}");
    }
    tell(&lie, |question, _| {
        format!(r#"{{"id":{},"error":{{"code":-32000,"message":"overloaded"}}}}"#, id(question))
    });
    assert!(matches!(rail.head().await, Err(RailError::Refused(text)) if text.contains("overloaded")));
}

#[tokio::test]
async fn a_witness_that_sees_another_chain_stops_everything_and_one_that_is_behind_delays_it() {
    let Some(anvil) = Anvil::start() else { return };
    anvil.mine(10);
    let (config, lie) = liar(&anvil).await;
    let rail = Evm::new(Config {
        witness: Some(config.url.clone()),
        url: anvil.url().parse().expect("a URL"),
        ..config
    })
    .expect("the settings are right");
    assert_eq!(rail.head().await.expect("they agree").last_final.expect("old enough").height, 8);
    // The witness sees two blocks less.
    tell(&lie, |question, truth| {
        if question.contains("latest") {
            truth.replace(r#""number":"0xa""#, r#""number":"0x8""#)
        } else {
            truth
        }
    });
    assert_eq!(rail.head().await.expect("they agree").last_final.expect("old enough").height, 6);
    tell(&lie, |question, truth| {
        let hash = truth.find(r#""hash":"0x"#).filter(|_| question.contains("eth_getBlockByNumber"));
        hash.map_or(truth.clone(), |at| format!("{}ffff{}", &truth[..at + 10], &truth[at + 14..]))
    });
    assert!(matches!(rail.head().await, Err(RailError::Unbelievable(_))));
}

fn id(question: &str) -> String {
    let after = question.split_once(r#""id":"#).expect("a question has a number").1;
    after.chars().take_while(char::is_ascii_digit).collect()
}
