//! Load on a running instance, as a subject that can be measured in rounds.

use crate::crowd;
use crate::generator::{self, Pace, Plan};
use crate::orders::{Orders, Shape};
use crate::report::Figures;
use crate::rounds::{Subject, note};
use crate::world::House;
use anyhow::Result;
use std::sync::Arc;
use std::time::Duration;
use tokio::runtime::Runtime;

/// Left out of the figures: connections open, caches fill.
const WARM_UP: Duration = Duration::from_secs(1);
/// Orders signed for the first round, per second of it; later rounds know the rate of the one before.
const FIRST_GUESS_PER_SECOND: f64 = 6_000.0;
/// More orders than the last round took, so that a faster round does not run dry.
const MARGIN: f64 = 1.5;

/// How to load.
#[derive(Debug, Clone, Copy)]
pub struct LoadPlan {
    /// One payment a request, or many.
    pub shape: Shape,
    /// Connections.
    pub clients: usize,
    /// Identities that pay.
    pub payers: usize,
    /// The wallets of [`crowd::fill`] that pay one another instead.
    pub crowd: Option<usize>,
    /// Length of the measured window.
    pub span: Duration,
    /// Requests a second, or as fast as answered.
    pub pace: Pace,
}

/// A running instance under load.
pub struct Load {
    plan: LoadPlan,
    // One thread: the generator must leave the cores to the house, and drives thousands of connections with one.
    runtime: Runtime,
    house: House,
    orders: Arc<Orders>,
    requests_per_second: f64,
}

impl Load {
    /// Makes payers on the instance whose front door is at `url` and which calls itself `origin`.
    pub fn on(url: &str, origin: &str, plan: LoadPlan) -> Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let mut house = House::at(url, origin)?;
        let orders = Arc::new(runtime.block_on(async {
            match plan.crowd {
                Some(count) => house.orders_among(crowd::payers(count)?, plan.clients).await,
                None => house.orders(plan.shape, plan.clients, plan.payers).await,
            }
        })?);
        let guess = match plan.shape {
            Shape::Single => FIRST_GUESS_PER_SECOND,
            // A batch is bound by its items, a small one by its request.
            Shape::Batch(items) => {
                (120_000.0 / f64::from(u32::try_from(items)?)).clamp(10.0, FIRST_GUESS_PER_SECOND)
            }
        };
        Ok(Self { plan, runtime, house, orders, requests_per_second: guess })
    }
}

impl Subject for Load {
    fn prepare(&mut self) -> Result<()> {
        let seconds = (WARM_UP + self.plan.span).as_secs_f64();
        let rate = match self.plan.pace {
            Pace::Closed => self.requests_per_second * MARGIN,
            Pace::Open { rate } => rate,
        };
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a positive number of requests"
        )]
        let total = (rate * seconds).ceil() as usize + self.plan.clients;
        self.orders.fill(total);
        Ok(())
    }

    fn measure(&mut self) -> Result<Figures> {
        let plan = Plan {
            address: self.house.address,
            clients: self.plan.clients,
            warm_up: WARM_UP,
            span: self.plan.span,
            pace: self.plan.pace,
        };
        let figures = self.runtime.block_on(generator::run(plan, Arc::clone(&self.orders)));
        let late = self.orders.take_signed_late();
        if late > 0 {
            note(&format!("{late} orders were signed while the clock ran: the pool was too small"));
        }
        self.requests_per_second = figures.requests_per_second.max(1.0);
        Ok(figures)
    }
}
