//! The way to a module that runs in another process, which may move to another address when it is started again.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use futures_util::future::BoxFuture;
use http::{Request, Response};
use parking_lot::Mutex;
use q_contract::{HttpTransport, Transport, Unreachable};

/// Finds the base URL of a module that runs elsewhere, as of now; `None` while it runs nowhere.
pub type Locate = Arc<dyn Fn(&str) -> Option<String> + Send + Sync>;

/// How long an address is used without looking it up again.
const ADDRESS_AGE_MAX: Duration = Duration::from_secs(1);

/// A transport to wherever the module is.
pub(crate) struct Located {
    module: String,
    locate: Locate,
    known: Mutex<Option<Known>>,
}

#[derive(Clone)]
struct Known {
    url: String,
    transport: Arc<HttpTransport>,
    /// `None` when the address has to be looked up again.
    looked_up_at: Option<Instant>,
}

impl Located {
    pub(crate) fn new(module: &str, locate: Locate) -> Self {
        Self { module: module.to_owned(), locate, known: Mutex::default() }
    }

    fn transport(&self) -> Result<Arc<HttpTransport>, Unreachable> {
        let mut known = self.known.lock();
        if let Some(known) = &*known
            && known.looked_up_at.is_some_and(|at| at.elapsed() < ADDRESS_AGE_MAX)
        {
            return Ok(known.transport.clone());
        }
        let url = (self.locate)(&self.module);
        let url = url.ok_or_else(|| {
            let why = "no process of this instance runs it now, and no setting says where it is";
            Unreachable::NoAnswer(self.module.clone(), why.into())
        })?;
        // The same address keeps its connections.
        let transport = match known.take() {
            Some(former) if former.url == url => former.transport,
            _ => Arc::new(HttpTransport::new(url.clone())),
        };
        *known = Some(Known { url, transport: transport.clone(), looked_up_at: Some(Instant::now()) });
        Ok(transport)
    }
}

impl Transport for Located {
    fn send(
        &self,
        request: Request<Bytes>,
        timeout: Duration,
    ) -> BoxFuture<'_, Result<Response<Bytes>, Unreachable>> {
        Box::pin(async move {
            let answer = self.transport()?.send(request, timeout).await;
            if answer.is_err()
                && let Some(known) = &mut *self.known.lock()
            {
                known.looked_up_at = None;
            }
            answer
        })
    }

    fn is_in_process(&self) -> bool {
        false
    }
}
