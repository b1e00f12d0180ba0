//! A module to be looked after: it fails when told to, and its sweeper falls when told to.

use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicU64, Ordering},
};

use futures_util::future::BoxFuture;
use q_contract::{Access, Problem, codes, endpoint, json_types};
use q_core::Span;
use q_db::{Db, DbError, Migrations};
use q_http::{Api, Check};
use q_runtime::{Finding, Job, Module};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub const MIGRATIONS: Migrations = Migrations::new("shop", &[], &[]);
pub const TILL_MIGRATIONS: Migrations = Migrations::new("till", &[], &[]);

/// What a test does to a shop.
#[derive(Debug, Default)]
pub struct Switches {
    /// The shelf broke: the shop cannot serve.
    pub is_down: AtomicBool,
    /// Whoever buys gets an error.
    pub is_broken: AtomicBool,
    /// The sweeper falls at its next step.
    pub falls: AtomicBool,
    /// The books do not verify.
    pub is_damaged: AtomicBool,
    /// How often it was swept.
    pub swept: AtomicU64,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Nothing {}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Bread {
    /// How many loaves.
    pub loaves: u32,
}

json_types!(Bread);

endpoint! {
    /// Buys bread.
    pub Buy = GET "/bread" (Nothing) -> Bread;
    access Access::Public("bread is for everybody");
}

/// A shop, or a till that needs one.
pub struct Shop {
    pub name: &'static str,
    pub db: Db,
    pub switches: Arc<Switches>,
    pub checks: Vec<Check>,
}

impl Module for Shop {
    fn name(&self) -> &'static str {
        self.name
    }

    fn api(&self) -> Api {
        Api::build(self.name, "sells bread", self.switches.clone())
            .on::<Buy, _, _, _>(|switches, _, _| async move {
                if switches.is_broken.load(Ordering::SeqCst) {
                    return Err(Problem::new(&codes::INTERNAL));
                }
                Ok(Bread { loaves: 1 })
            })
            .done()
    }

    fn db(&self) -> &Db {
        &self.db
    }

    fn jobs(&self) -> Vec<Job> {
        let switches = self.switches.clone();
        vec![Job::every("sweep", Span::millis(10), move || {
            let switches = switches.clone();
            async move {
                assert!(!switches.falls.swap(false, Ordering::SeqCst), "the broom broke");
                switches.swept.fetch_add(1, Ordering::SeqCst);
                Ok(())
            }
        })]
    }

    fn checks(&self) -> Vec<Check> {
        let switches = self.switches.clone();
        let shelf = Check::required("shelf", move || {
            let is_down = switches.is_down.load(Ordering::SeqCst);
            async move { if is_down { Err("the shelf broke".to_owned()) } else { Ok(()) } }
        });
        [vec![shelf], self.checks.clone()].concat()
    }

    fn verify(&self) -> BoxFuture<'_, Result<Vec<Finding>, DbError>> {
        let is_damaged = self.switches.is_damaged.load(Ordering::SeqCst);
        let finding = Finding::new("bread_missing", "shelf 3", "three loaves, two are there");
        Box::pin(async move { Ok(if is_damaged { vec![finding] } else { Vec::new() }) })
    }
}
