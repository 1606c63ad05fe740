//! Where nodes are talked to, and where they listen in the clear.

pub use link::dial::{Addr, Wire};
use std::net::{SocketAddr, TcpListener, ToSocketAddrs};

/// Listens on a TCP address, which must be of this machine only: what is not encrypted goes no further.
pub(crate) fn listen_tcp(host: &str, port: u16) -> Result<TcpListener, String> {
    let addrs: Vec<SocketAddr> =
        (host, port).to_socket_addrs().map_err(|e| format!("tcp!{host}!{port}: {e}"))?.collect();
    if let Some(addr) = addrs.iter().find(|a| !a.ip().is_loopback()) {
        return Err(format!(
            "tcp!{host}!{port}: {} is not loopback, and 9P is not encrypted; use 127.0.0.1 or localhost",
            addr.ip()
        ));
    }
    TcpListener::bind(&addrs[..]).map_err(|e| format!("tcp!{host}!{port}: {e}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_but_loopback_listens_in_the_clear() {
        assert!(listen_tcp("0.0.0.0", 0).is_err_and(|e| e.contains("not loopback")));
        assert!(listen_tcp("127.0.0.1", 0).is_ok());
    }
}
