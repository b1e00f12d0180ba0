//! What the replicas of a module tell each other of their callers several times a second, and forget.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use futures_util::StreamExt as _;
use q_db::Standing;
use tokio::sync::watch;

use super::{Nats, mark::MARK_BYTES};

/// How often it is told.
pub const EVERY: Duration = Duration::from_millis(200);

/// Takes in what another replica told.
pub type Hear = Arc<dyn Fn(&[u8]) + Send + Sync>;

/// What is told, and what is done with what others tell.
#[derive(Clone)]
pub struct Murmur {
    /// What to tell since it was last asked; nothing when it is empty.
    pub tell: Arc<dyn Fn() -> Vec<u8> + Send + Sync>,
    /// Takes in what another replica told.
    pub hear: Hear,
    /// Takes in how many replicas there are, and whether they can be heard now.
    pub among: Arc<dyn Fn(u32, bool) + Send + Sync>,
}

impl Murmur {
    /// Murmurs for `module` until `stop`. Without a server nobody is heard.
    pub(crate) async fn run(
        self,
        nats: Option<Nats>,
        module: String,
        standing: watch::Receiver<Standing>,
        mut stop: watch::Receiver<bool>,
    ) {
        let hearing = self.clone().keep_hearing(nats.clone(), module.clone());
        let telling = async {
            loop {
                tokio::time::sleep(EVERY).await;
                let replicas = standing.borrow().replicas;
                let can_hear = nats.as_ref().is_some_and(Nats::is_connected);
                (self.among)(replicas.max(1), can_hear);
                if let Some(nats) = nats.as_ref().filter(|_| replicas > 1) {
                    let told = (self.tell)();
                    if !told.is_empty() {
                        let mut message = nats.0.me.clone().into_bytes();
                        message.push(b'\n');
                        message.extend(told);
                        let mark = nats.0.settings.key.mark(&parts(&module, &message));
                        let message = [mark.into_bytes(), message].concat();
                        nats.say(&module, "murmur", Bytes::from(message)).await;
                    }
                }
            }
        };
        tokio::select! {
            () = hearing => {}
            () = telling => {}
            _ = stop.wait_for(|is_stopping| *is_stopping) => {}
        }
    }

    async fn keep_hearing(self, nats: Option<Nats>, module: String) {
        if let Some(nats) = nats {
            let topic = format!("{}.{module}.said.murmur", nats.0.settings.namespace);
            match nats.0.client.subscribe(topic).await {
                Ok(mut said) => {
                    while let Some(message) = said.next().await {
                        let Some((mark, said)) = message.payload.split_at_checked(MARK_BYTES) else {
                            continue;
                        };
                        if !nats.0.settings.key.is_mark(mark, &parts(&module, said)) {
                            continue;
                        }
                        let line = said.iter().position(|byte| *byte == b'\n');
                        if let Some((who, told)) = line.map(|end| said.split_at(end))
                            && who != nats.0.me.as_bytes()
                        {
                            (self.hear)(&told[1..]);
                        }
                    }
                }
                Err(error) => tracing::error!(%error, "the replicas cannot be heard"),
            }
        }
        std::future::pending::<()>().await;
    }
}

/// What the mark of a murmur covers.
fn parts<'a>(module: &'a str, said: &'a [u8]) -> [&'a [u8]; 3] {
    [b"murmur", module.as_bytes(), said]
}
