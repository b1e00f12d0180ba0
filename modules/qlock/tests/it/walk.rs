use q_testkit::{World, on_each_world, walk::walk};

use crate::setting::{Setting, did};

on_each_world!(every_endpoint_is_tried_the_ways_an_author_forgets, async |world: World| {
    let setting = Setting::new(world).await;
    let complaints = walk(&setting.world, qlock::NAME, &did("stranger")).await;
    assert_eq!(complaints, Vec::<String>::new());
    setting.world.close().await;
});
