//! Which process holds a port, as far as this user may see it.
//!
//! **Invariant:** reads what the kernel shows of other processes and touches none of them.

use std::{
    fs,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
};

/// The state of a listening socket in `/proc/net/tcp` (proc(5)).
const LISTENING: &str = "0A";

/// The process that listens on `address`, or on its port at every address: `nginx (process 812)`.
pub fn of(address: SocketAddr) -> Option<String> {
    let inode = inode_of(address)?;
    let socket = format!("socket:[{inode}]");
    let holds = |pid: &str| {
        let descriptors =
            fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().filter_map(Result::ok);
        let mut targets = descriptors.filter_map(|entry| fs::read_link(entry.path()).ok());
        targets.any(|target| target.as_os_str() == socket.as_str())
    };
    let processes = fs::read_dir("/proc").ok()?.filter_map(Result::ok);
    let mut pids = processes.filter_map(|entry| {
        let pid = entry.file_name().into_string().ok()?;
        pid.bytes().all(|byte| byte.is_ascii_digit()).then_some(pid)
    });
    let Some(pid) = pids.find(|pid| holds(pid)) else {
        return Some("a process of another user".to_owned());
    };
    let name = fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
    Some(format!("{} (process {pid})", name.trim()))
}

/// The number of the socket that listens there.
fn inode_of(address: SocketAddr) -> Option<String> {
    let tables =
        ["/proc/net/tcp", "/proc/net/tcp6"].map(|table| fs::read_to_string(table).unwrap_or_default());
    tables.iter().flat_map(|table| table.lines().skip(1)).find_map(|line| listening(line, address))
}

/// The socket's number where `line` is about one that listens in the way of `wanted`.
fn listening(line: &str, wanted: SocketAddr) -> Option<String> {
    let mut fields = line.split_ascii_whitespace();
    let (local, state) = (fields.nth(1)?, fields.nth(1)?);
    let (address, port) = local.split_once(':')?;
    let port = u16::from_str_radix(port, 16).ok()?;
    let address = parsed(address)?;
    let is_in_the_way = port == wanted.port()
        && (address.is_unspecified() || wanted.ip().is_unspecified() || address == wanted.ip());
    if state != LISTENING || !is_in_the_way {
        return None;
    }
    // tx:rx, timer, retransmits, uid and timeout stand between the state and the number.
    fields.nth(5).map(str::to_owned)
}

/// An address as the kernel prints it: words of 32 bits, each with the byte order of this machine.
fn parsed(text: &str) -> Option<IpAddr> {
    let words: Vec<[u8; 4]> = text
        .as_bytes()
        .chunks(8)
        .map(|word| {
            let word = std::str::from_utf8(word).ok()?;
            Some(u32::from_str_radix(word, 16).ok()?.to_ne_bytes())
        })
        .collect::<Option<_>>()?;
    match words.as_slice() {
        [word] => Some(Ipv4Addr::from(*word).into()),
        [..] if words.len() == 4 => {
            let bytes: [u8; 16] = words.concat().try_into().ok()?;
            Some(Ipv6Addr::from(bytes).to_canonical())
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    #[test]
    fn a_port_of_this_process_is_found() {
        let socket = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = socket.local_addr().expect("a bound socket");
        let holder = of(address).expect("somebody listens");
        assert!(holder.contains(&format!("(process {})", std::process::id())), "{holder}");
        drop(socket);
        assert_eq!(of(address), None);
    }

    #[test]
    fn who_listens_everywhere_is_in_the_way_of_one_address() {
        let line = "0: 00000000000000000000000000000000:1F90 00000000000000000000000000000000:0000 0A \
            00000000:00000000 00:00000000 00000000     0        0 4711 1 0000000000000000 100 0 0 10 0";
        assert_eq!(listening(line, "127.0.0.1:8080".parse().expect("an address")), Some("4711".into()));
        assert_eq!(listening(line, "127.0.0.1:8081".parse().expect("an address")), None);
    }
}
