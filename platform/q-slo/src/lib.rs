//! Service levels as arithmetic: what was promised, what was kept, what to tell whom and when.
//!
//! Requests are counted good or bad per module and class ([`Book`]), rules read those counts and other figures
//! ([`Rule`]), an alert moves from quiet to pending to firing and back ([`Phase`]), alerts of one cause become one page
//! ([`group`]), and a page climbs a ladder of people until somebody takes it ([`Ladder`]). The same rules are written
//! for Prometheus ([`prometheus`]) and drawn for Grafana ([`grafana`]).
//!
//! **Invariant:** no clock, no chance and no I/O: every instant is an argument, every state is data the caller keeps.

mod alert;
mod book;
mod class;
pub mod exposition;
pub mod grafana;
pub mod group;
mod ladder;
mod objective;
pub mod prometheus;
mod rule;
mod series;
mod span;
mod totals;

pub use alert::{Phase, Turn, advance};
pub use book::{Book, Change, ClassReport, Key, Report};
pub use class::{ClassRule, Classes, NotClasses};
pub use ladder::{Ladder, Level, Policy, RUNGS, Step, StepKind};
pub use objective::{Objectives, Sli};
pub use rule::{NotRules, Recovery, Rule, Severity, Signal, Unit, rules, rules_with};
pub use series::{Bucket, Counts, Series};
pub use span::{NotASpan, parse_span, text_of};
pub use totals::{ClassTotals, Totals};
