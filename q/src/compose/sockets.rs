//! The sockets of a process: taken first, served last.

use std::{collections::BTreeMap, net::SocketAddr};

use q_http::{FrontDoor, Upstream};
use q_runtime::{Config, House};
use tokio::net::TcpListener;

use super::{FIXED_PATHS, ModuleEntry, assemble::Options, remote_urls, site::Site};
use crate::output::{exit, with_code};

/// Sockets taken before anything is opened, so that a taken port is refused before work begins.
pub(super) struct Sockets {
    pub(super) front_door: Option<TcpListener>,
    pub(super) modules: BTreeMap<&'static str, TcpListener>,
}

impl Sockets {
    pub(super) async fn take(
        config: &Config,
        options: &Options,
        entries: &[&'static ModuleEntry],
    ) -> anyhow::Result<Self> {
        let mut sockets = Self { front_door: None, modules: BTreeMap::new() };
        if !options.is_online {
            return Ok(sockets);
        }
        for entry in entries {
            sockets.modules.insert(entry.name, bind(config, entry.name).await?);
        }
        if options.modules.is_empty() {
            sockets.front_door = Some(bind(config, "front_door").await?);
        }
        Ok(sockets)
    }
}

async fn bind(config: &Config, section: &str) -> anyhow::Result<TcpListener> {
    let settings = config.section(section);
    let address: SocketAddr = settings
        .parse("listen", "an address with a port, such as 127.0.0.1:3000")
        .map_err(|error| with_code(exit::CANNOT_START, error))?;
    TcpListener::bind(address).await.map_err(|error| {
        let variable = q_runtime::config::variable_name(section, "listen");
        with_code(
            exit::CANNOT_START,
            format!(
                "{section} cannot listen on {address}: {error}; stop what uses the port, or set {variable}"
            ),
        )
    })
}

pub(super) fn listen(house: &mut House, sockets: Sockets, site: &Site) {
    let routers: BTreeMap<&'static str, _> =
        house.beams().iter().map(|beam| (beam.module.name(), beam.router.clone())).collect();
    for (name, listener) in sockets.modules {
        house.listen(listener, routers[name].clone());
    }
    if let Some(listener) = sockets.front_door {
        let local = routers.into_iter().map(|(name, router)| (name.to_owned(), Upstream::Local(router)));
        let remote = remote_urls(&site.config).into_iter().map(|(name, urls)| {
            let upstream = Upstream::remote(&name, &urls);
            (name, upstream)
        });
        let fixed = FIXED_PATHS.iter().map(|(path, module)| (*path, (*module).to_owned())).collect();
        house.listen(listener, FrontDoor::new(remote.chain(local).collect(), fixed).router());
    }
}
