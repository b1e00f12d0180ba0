//! The way to a module that runs in other processes, which may be several and may move to other addresses when they
//! are started again.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use futures_util::future::BoxFuture;
use http::{Request, Response};
use parking_lot::Mutex;
use q_contract::{Replicas, Transport, Unreachable};

/// Finds the base URLs of a module that runs elsewhere, one for each replica, as of now; none while it runs nowhere.
pub type Locate = Arc<dyn Fn(&str) -> Vec<String> + Send + Sync>;

/// How long addresses are used without looking them up again.
const ADDRESS_AGE_MAX: Duration = Duration::from_secs(1);

/// A transport to wherever the module is.
pub(crate) struct Located {
    module: String,
    locate: Locate,
    replicas: Replicas,
    /// `None` when the addresses have to be looked up again.
    looked_up_at: Mutex<Option<Instant>>,
}

impl Located {
    pub(crate) fn new(module: &str, locate: Locate) -> Self {
        let replicas = Replicas::new(module, &[]);
        Self { module: module.to_owned(), locate, replicas, looked_up_at: Mutex::default() }
    }

    fn look_up(&self) -> Result<(), Unreachable> {
        let mut looked_up_at = self.looked_up_at.lock();
        if looked_up_at.is_some_and(|at| at.elapsed() < ADDRESS_AGE_MAX) {
            return Ok(());
        }
        let urls = (self.locate)(&self.module);
        if urls.is_empty() {
            let why = "no process of this instance runs it now, and no setting says where it is";
            return Err(Unreachable::NotConnected(self.module.clone(), why.into()));
        }
        self.replicas.set(&urls);
        *looked_up_at = Some(Instant::now());
        Ok(())
    }
}

impl Transport for Located {
    fn send(
        &self,
        request: Request<Bytes>,
        timeout: Duration,
    ) -> BoxFuture<'_, Result<Response<Bytes>, Unreachable>> {
        Box::pin(async move {
            self.look_up()?;
            let answer = self.replicas.send(request, timeout).await;
            if answer.is_err() {
                *self.looked_up_at.lock() = None;
            }
            answer
        })
    }

    fn is_in_process(&self) -> bool {
        false
    }
}

#[cfg(test)]
mod tests {
    use axum::{Router, routing::get};
    use q_contract::Client;
    use q_http::Ending;
    use tokio::{net::TcpListener, sync::watch};

    use super::*;

    /// A server that says `name`, and its address.
    async fn says(name: &'static str, stop: &watch::Sender<Ending>) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let router = Router::new().route("/", get(move || async move { name }));
        tokio::spawn(q_http::serve(listener, router, stop.subscribe()));
        url
    }

    async fn asked(client: &Client) -> Result<String, String> {
        client.send("POST", "/", Bytes::new(), "").await.map_err(|error| error.to_string())?;
        let answer = client.send("GET", "/", Bytes::new(), "").await.map_err(|error| error.to_string())?;
        Ok(String::from_utf8_lossy(answer.body()).into_owned())
    }

    #[tokio::test]
    async fn replicas_take_turns_and_one_that_is_gone_is_passed_over() {
        let stop = watch::Sender::new(Ending::No);
        let (one, two) = (says("one", &stop).await, says("two", &stop).await);
        let gone = {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            format!("http://{}", listener.local_addr().unwrap())
        };
        let urls = Arc::new(Mutex::new(vec![one, gone, two]));
        let known = urls.clone();
        let client = Client::new(Arc::new(Located::new("m", Arc::new(move |_| known.lock().clone()))));
        let mut heard = Vec::new();
        for _ in 0..12 {
            heard.push(asked(&client).await.expect("even a write without a key: nothing was connected to"));
        }
        assert!(
            heard.iter().any(|name| name == "one") && heard.iter().any(|name| name == "two"),
            "{heard:?}"
        );
        urls.lock().clear();
        let nowhere = Client::new(Arc::new(Located::new("m", Arc::new(move |_| urls.lock().clone()))));
        assert!(asked(&nowhere).await.unwrap_err().contains("m cannot be connected to"));
        stop.send_replace(Ending::Close);
    }
}
