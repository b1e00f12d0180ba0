//! A world to test modules in: real stores, real routers, a clock that stands still and a seeded generator.
//!
//! The same test runs on both engines and over both transports; [`on_each_world!`] writes the four.
//!
//! **Invariant:** nothing here is compiled into the product.

mod env;
mod proxy;
pub mod walk;
mod world;

pub use env::{FrozenClock, SeededEntropy, frozen_env};
pub use proxy::Proxy;
pub use q_oracle as oracle;
pub use world::{Engine, Way, World, identity};

/// Writes the four tests of one body: on each engine, over each transport.
///
/// ```ignore
/// on_each_world!(pays_once, async |mut world: World| { …; world.close().await; });
/// ```
#[macro_export]
macro_rules! on_each_world {
    ($name:ident, $body:expr) => {
        mod $name {
            use super::*;

            #[tokio::test(flavor = "multi_thread")]
            async fn sqlite_in_process() {
                let body = $body;
                if let Some(world) = $crate::World::new($crate::Engine::Sqlite, $crate::Way::InProcess).await
                {
                    body(world).await;
                }
            }

            #[tokio::test(flavor = "multi_thread")]
            async fn sqlite_over_http() {
                let body = $body;
                if let Some(world) = $crate::World::new($crate::Engine::Sqlite, $crate::Way::Http).await {
                    body(world).await;
                }
            }

            #[tokio::test(flavor = "multi_thread")]
            async fn postgres_in_process() {
                let body = $body;
                if let Some(world) =
                    $crate::World::new($crate::Engine::Postgres, $crate::Way::InProcess).await
                {
                    body(world).await;
                }
            }

            #[tokio::test(flavor = "multi_thread")]
            async fn postgres_over_http() {
                let body = $body;
                if let Some(world) = $crate::World::new($crate::Engine::Postgres, $crate::Way::Http).await {
                    body(world).await;
                }
            }
        }
    };
}
