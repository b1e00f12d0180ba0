//! Every endpoint, tried the ways an author forgets.

use q_testkit::{World, identity, on_each_world, walk::walk};

use crate::support::raise;

on_each_world!(no_endpoint_is_open, async |world: World| {
    let setting = raise(world).await;
    let complaints = walk(&setting.world, "qonsent", &identity("stranger").0).await;
    assert!(complaints.is_empty(), "{complaints:#?}");
    setting.world.close().await;
});
