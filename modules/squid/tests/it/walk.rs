//! Every endpoint, tried the ways an author forgets.

use q_testkit::{World, on_each_world};

use crate::support::house;

on_each_world!(no_endpoint_lets_the_wrong_ones_in, async |world: World| {
    let house = house(world).await;
    let (stranger, _) = q_testkit::identity("stranger");
    let complaints = q_testkit::walk::walk(&house.world, "squid", &stranger).await;
    assert!(complaints.is_empty(), "{complaints:#?}");
    house.world.close().await;
});
