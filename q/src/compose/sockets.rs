//! The sockets of a process: taken first, served last.

use std::{collections::BTreeMap, net::SocketAddr};

use q_http::{FrontDoor, Listener, Passed, Upstream};
use q_runtime::{Config, House};
use tokio::net::TcpListener;

use super::{FIXED_PATHS, ModuleEntry, assemble::Options, remote_urls, site::Site};
use crate::{
    holder,
    output::{exit, with_code},
};

/// Sockets taken before anything is opened, so that a taken port is refused before work begins.
pub(super) struct Sockets {
    pub(super) front_door: Option<TcpListener>,
    pub(super) modules: BTreeMap<&'static str, TcpListener>,
    /// Connections that another process accepted on them.
    begun: Vec<Passed>,
}

/// What a process that takes over from another one goes on with.
#[derive(Default)]
pub struct Inherited {
    /// The listening sockets by module, with `front_door` among them.
    pub sockets: BTreeMap<String, std::net::TcpListener>,
    /// Connections between two requests.
    pub connections: Vec<Passed>,
}

impl Sockets {
    /// Takes the sockets that the settings name; those of `inherited` that are there already are gone on with.
    pub(super) async fn take(
        config: &Config,
        options: &Options,
        entries: &[&'static ModuleEntry],
        inherited: Inherited,
    ) -> anyhow::Result<Self> {
        let Inherited { mut sockets, connections } = inherited;
        let mut taken = Self { front_door: None, modules: BTreeMap::new(), begun: connections };
        if !options.is_online {
            return Ok(taken);
        }
        for entry in entries {
            let socket = take(config, entry.name, &mut sockets).await?;
            taken.modules.insert(entry.name, socket);
        }
        if options.modules.is_empty() {
            taken.front_door = Some(take(config, FRONT_DOOR, &mut sockets).await?);
        }
        Ok(taken)
    }

    /// The sockets once more, for handing them over: as long as one of the two is open, nobody is refused.
    pub(super) fn again(&self) -> anyhow::Result<BTreeMap<String, std::net::TcpListener>> {
        let door = self.front_door.iter().map(|socket| (FRONT_DOOR, socket));
        let modules = self.modules.iter().map(|(name, socket)| (*name, socket));
        let again = door.chain(modules).map(|(name, socket)| {
            let socket = rustix::io::fcntl_dupfd_cloexec(socket, 0)?;
            Ok((name.to_owned(), socket.into()))
        });
        again.collect()
    }
}

/// Checks, for a process that is about to take over, that the sockets can be taken, and takes none.
pub async fn check_sockets(
    config: &Config,
    options: &Options,
    sockets: &BTreeMap<String, std::net::TcpListener>,
) -> anyhow::Result<()> {
    let again = sockets.iter().map(|(name, socket)| Ok((name.clone(), socket.try_clone()?)));
    let inherited = Inherited { sockets: again.collect::<std::io::Result<_>>()?, connections: Vec::new() };
    Sockets::take(config, options, &options.entries(config), inherited).await.map(drop)
}

/// The name of the front door's socket, and of its settings.
const FRONT_DOOR: &str = "front_door";

/// The socket that was inherited where it is the one the settings name, a new one otherwise.
async fn take(
    config: &Config,
    section: &str,
    inherited: &mut BTreeMap<String, std::net::TcpListener>,
) -> anyhow::Result<TcpListener> {
    let asked = address(config, section)?;
    if let Some(socket) = inherited.remove(section) {
        let is_asked = |now: SocketAddr| now == asked || (asked.port() == 0 && now.ip() == asked.ip());
        if socket.local_addr().is_ok_and(is_asked) {
            return Ok(TcpListener::from_std(socket)?);
        }
    }
    bind(section, asked).await
}

fn address(config: &Config, section: &str) -> anyhow::Result<SocketAddr> {
    let parsed = config.section(section).parse("listen", "an address with a port, such as 127.0.0.1:3000");
    parsed.map_err(|error| with_code(exit::CANNOT_START, error))
}

async fn bind(section: &str, address: SocketAddr) -> anyhow::Result<TcpListener> {
    TcpListener::bind(address)
        .await
        .map_err(|error| with_code(exit::CANNOT_START, cannot(section, address, &error)))
}

/// Why `section` cannot listen, who is in the way as far as that can be seen, and what to do.
pub fn cannot(section: &str, address: SocketAddr, error: &std::io::Error) -> String {
    let variable = q_runtime::config::variable_name(section, "listen");
    let holder = holder::of(address).map(|holder| format!(", held by {holder}")).unwrap_or_default();
    format!(
        "{section} cannot listen on {address}: {error}{holder}; stop what uses the port, or set {variable}"
    )
}

/// Lets `house` serve on `sockets`, and go on with the connections that came with them.
pub(super) fn listen(house: &mut House, sockets: Sockets, site: &Site) -> anyhow::Result<()> {
    let Sockets { front_door, modules, mut begun } = sockets;
    let per_address = site.connections_per_address()?;
    let proxies = site.proxies()?;
    let routers: BTreeMap<&'static str, _> =
        house.beams().iter().map(|beam| (beam.module.name(), beam.router.clone())).collect();
    let mut listener = |name: &str, socket| {
        let own = begun.extract_if(.., |connection| *connection.listener == *name).collect();
        Listener { name: name.into(), socket, begun: own, per_address, proxies: proxies.clone() }
    };
    for (name, socket) in modules {
        house.listen(listener(name, socket), routers[name].clone());
    }
    if let Some(socket) = front_door {
        let local = routers.into_iter().map(|(name, router)| (name.to_owned(), Upstream::Local(router)));
        let remote = remote_urls(&site.config).into_iter().map(|(name, urls)| {
            let upstream = Upstream::remote(&name, &urls);
            (name, upstream)
        });
        let fixed = FIXED_PATHS.iter().map(|(path, module)| (*path, (*module).to_owned())).collect();
        house.listen(
            listener(FRONT_DOOR, socket),
            FrontDoor::new(remote.chain(local).collect(), fixed).router(),
        );
    }
    Ok(())
}
