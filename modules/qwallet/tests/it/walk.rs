//! Every endpoint, tried the ways an author forgets.

use q_testkit::{World, identity, on_each_world, walk::walk};

use crate::support::Bank;

on_each_world!(every_endpoint_is_guarded, async |world: World| {
    let bank = Bank::open(world).await;
    let (stranger, _) = identity("stranger");
    assert_eq!(walk(&bank.world, "qwallet", &stranger).await, Vec::<String>::new());
    bank.close().await;
});
