//! Where others reach this machine: the addresses of its interfaces, for the command that an invitation prints.

use crate::failure::Failure;
use link::dial::Addr;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Most addresses that are told: a machine may have hundreds, of bridges and containers.
const MOST: usize = 6;

/// Where a listener can be dialled from other machines, best first.
pub(crate) fn addresses(listen: &Addr) -> Result<Vec<Addr>, Failure> {
    let Addr::Tls(host, port) = listen else { return Ok(vec![listen.clone()]) };
    let any = host == "*" || host.parse::<IpAddr>().is_ok_and(|ip| ip.is_unspecified());
    if !any {
        return Ok(vec![listen.clone()]);
    }
    let all = if_addrs::get_if_addrs()
        .map_err(|error| Failure::new(format!("this machine's addresses cannot be read: {error}")))?;
    let four_only = host.parse::<Ipv4Addr>().is_ok();
    let mut ips: Vec<IpAddr> = all.into_iter().map(|interface| interface.ip()).collect();
    ips.retain(|ip| rank(*ip).is_some() && (ip.is_ipv4() || !four_only));
    ips.sort_by_key(|ip| rank(*ip));
    ips.dedup();
    ips.truncate(MOST);
    if ips.is_empty() {
        // A machine without a network: nodes of its own can still join.
        ips.push(Ipv4Addr::LOCALHOST.into());
    }
    Ok(ips.into_iter().map(|ip| Addr::Tls(ip.to_string(), *port)).collect())
}

/// Where to dial on this machine what listens at such a host.
pub(crate) fn dialled(host: &str) -> &str {
    match host {
        "*" | "0.0.0.0" => "127.0.0.1",
        "::" => "::1",
        host => host,
    }
}

/// Version 4 before version 6; what says nothing on another machine is left out.
fn rank(ip: IpAddr) -> Option<u8> {
    match ip {
        IpAddr::V4(ip) if ip.is_loopback() || ip.is_link_local() || ip.is_unspecified() => None,
        IpAddr::V4(_) => Some(0),
        IpAddr::V6(ip) if ip.is_loopback() || link_local(ip) || ip.is_unspecified() => None,
        IpAddr::V6(_) => Some(1),
    }
}

/// fe80::/10: means nothing without the name of an interface.
fn link_local(ip: Ipv6Addr) -> bool {
    ip.segments()[0] & 0xffc0 == 0xfe80
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_other_machines_can_dial_is_told() {
        let tls = |host: &str| Addr::Tls(host.into(), 7);
        assert_eq!(addresses(&tls("gw.example")).unwrap(), [tls("gw.example")]);
        for ip in ["127.0.0.1", "::1", "169.254.1.1", "fe80::1", "0.0.0.0"] {
            assert_eq!(rank(ip.parse().unwrap()), None, "{ip}");
        }
        assert!(rank("10.0.0.1".parse().unwrap()) < rank("fd00::1".parse().unwrap()));
        let all = addresses(&tls("*")).unwrap();
        assert!(!all.is_empty() && all.len() <= MOST);
    }
}
