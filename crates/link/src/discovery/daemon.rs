//! The thread that speaks multicast DNS, from our side: told to announce, listened to while browsing.

use super::{ADDRESSES, About, NEIGHBOURS, Neighbour, Seen, TYPE};
use mdns_sd::{ResolvedService, ScopedIp, ServiceDaemon, ServiceEvent, ServiceInfo};
use op::NodeId;
use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};
use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr, SocketAddrV6};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::time::{Duration, Instant};

/// How often the thread of a node that announces itself looks whether the machine has other addresses: a node at rest is to
/// rest.
const LOOK_SECS: u32 = 10;
/// Likewise of one that is looking: for a short time, perhaps while the network comes up.
const LOOK_OFTEN_SECS: u32 = 2;
/// How long a goodbye may take.
const GOODBYE: Duration = Duration::from_millis(500);

/// Tells the local network that a node is here. Dropped, it says goodbye, as far as the process lives long enough for that.
pub struct Announce {
    daemon: ServiceDaemon,
}

/// Hears of nodes on the local network.
pub struct Browse {
    daemon: ServiceDaemon,
    /// The next thing to be heard of.
    next: Pin<Box<dyn Future<Output = Option<ServiceEvent>> + Send>>,
    events: mdns_sd::Receiver<ServiceEvent>,
    bell: Arc<Bell>,
    /// Nodes by what they are called in DNS.
    known: BTreeMap<String, NodeId>,
    over: bool,
}

struct Bell(OwnedFd);

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        let _rings_already = rustix::io::write(&self.0, &1u64.to_ne_bytes());
    }
}

fn daemon(look_secs: u32) -> Result<ServiceDaemon, String> {
    let daemon =
        ServiceDaemon::new().map_err(|e| format!("cannot look for nodes on the local network: {e}"))?;
    let _every_5_s = daemon.set_ip_check_interval(look_secs);
    Ok(daemon)
}

impl Announce {
    /// Says that this node listens for links there. If it listens on all addresses of the machine, those are announced that it
    /// has, on the interfaces that have them, now and later. What listens on the loopback only is not to be announced.
    ///
    /// Its thread is made with the signals blocked that the caller has blocked.
    ///
    /// # Errors
    /// A sentence that says what is missing. (That there is no network is no error: there may be one later.)
    pub fn new(about: &About, listen: SocketAddr) -> Result<Announce, String> {
        if listen.ip().is_loopback() {
            return Err(format!(
                "{listen} is of this machine only: there is nobody to be told of it; listen on 0.0.0.0"
            ));
        }
        let said = |e: mdns_sd::Error| format!("cannot announce this node on the local network: {e}");
        let id = about.id.to_string();
        // A label of DNS has at most 63 bytes.
        let short: String =
            about.name.char_indices().take_while(|(at, c)| at + c.len_utf8() <= 50).map(|(_, c)| c).collect();
        let (instance, host) = (format!("{short}-{}", &id[..8]), format!("uem-{}.local.", &id[..16]));
        let txt = about.to_txt();
        let ip = if listen.ip().is_unspecified() { String::new() } else { listen.ip().to_string() };
        let mut info = ServiceInfo::new(TYPE, &instance, &host, ip.as_str(), listen.port(), txt.as_slice())
            .map_err(said)?;
        if listen.ip().is_unspecified() {
            info = info.enable_addr_auto();
        }
        // Both names have the id in them, which nobody else has: there is nothing to probe for.
        info.set_requires_probe(false);
        let daemon = daemon(LOOK_SECS)?;
        daemon.register(info).map_err(said)?;
        Ok(Announce { daemon })
    }

    /// Says goodbye and waits until that is sent, half a second at most.
    pub fn stop(self) {
        if let Ok(done) = self.daemon.shutdown() {
            let _late = done.recv_timeout(GOODBYE);
        }
    }
}

impl Drop for Announce {
    fn drop(&mut self) {
        let _gone_already = self.daemon.shutdown();
    }
}

impl Browse {
    /// Asks the local network. Its thread is made with the signals blocked that the caller has blocked.
    ///
    /// # Errors
    /// A sentence that says what is missing. (On a machine without network, nobody is seen.)
    pub fn new() -> Result<Browse, String> {
        let said = |e: &dyn std::fmt::Display| format!("cannot look for nodes on the local network: {e}");
        let bell = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK).map_err(|e| said(&e))?;
        let daemon = daemon(LOOK_OFTEN_SECS)?;
        let events = daemon.browse(TYPE).map_err(|e| said(&e))?;
        let bell = Arc::new(Bell(bell));
        bell.clone().wake(); // the first turn is what begins to listen
        let next = Box::pin(heard(events.clone()));
        Ok(Browse { daemon, next, events, bell, known: BTreeMap::new(), over: false })
    }

    /// Readable when [`Browse::turn`] has something, and once at the beginning.
    pub fn poll_fd(&self) -> BorrowedFd<'_> {
        self.bell.0.as_fd()
    }

    /// Gives what was heard.
    pub fn turn(&mut self, seen: &mut Vec<Seen>) {
        let _count = rustix::io::read(&self.bell.0, &mut [0u8; 8]);
        let waker = Waker::from(self.bell.clone());
        let mut context = Context::from_waker(&waker);
        while !self.over {
            match self.next.as_mut().poll(&mut context) {
                Poll::Pending => return,
                Poll::Ready(None) => self.over = true,
                Poll::Ready(Some(event)) => {
                    self.next = Box::pin(heard(self.events.clone()));
                    seen.extend(self.take(event));
                }
            }
        }
    }

    /// Everybody who is heard of within that time, by name.
    pub(super) fn collect(mut self, timeout: Duration) -> Vec<Neighbour> {
        let deadline = Instant::now() + timeout;
        let (mut all, mut seen) = (BTreeMap::new(), Vec::new());
        loop {
            self.turn(&mut seen);
            for seen in seen.drain(..) {
                match seen {
                    Seen::There(node) => drop(all.insert(node.about.id, node)),
                    Seen::Gone(id) => drop(all.remove(&id)),
                }
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() || self.over {
                break;
            }
            let span =
                Timespec { tv_sec: left.as_secs().cast_signed(), tv_nsec: i64::from(left.subsec_nanos()) };
            let mut fds = [PollFd::new(&self.bell.0, PollFlags::IN)];
            let _interrupted = poll(&mut fds, Some(&span));
        }
        let mut all: Vec<Neighbour> = all.into_values().collect();
        all.sort_by(|a, b| (&a.about.name, a.about.id).cmp(&(&b.about.name, b.about.id)));
        all
    }

    fn take(&mut self, event: ServiceEvent) -> Option<Seen> {
        match event {
            ServiceEvent::ServiceResolved(service) => {
                let node = neighbour(&service)?;
                if self.known.len() >= NEIGHBOURS && !self.known.contains_key(&service.fullname) {
                    return None;
                }
                self.known.insert(service.fullname.clone(), node.about.id);
                Some(Seen::There(node))
            }
            ServiceEvent::ServiceRemoved(_, name) => self.known.remove(&name).map(Seen::Gone),
            ServiceEvent::SearchStopped(_) => {
                self.over = true;
                None
            }
            _ => None,
        }
    }
}

impl Drop for Browse {
    fn drop(&mut self) {
        let _gone_already = self.daemon.shutdown();
    }
}

async fn heard(events: mdns_sd::Receiver<ServiceEvent>) -> Option<ServiceEvent> {
    events.recv_async().await.ok()
}

fn neighbour(service: &ResolvedService) -> Option<Neighbour> {
    let about = About::from_txt(|key| service.get_property_val_str(key))?;
    let mut addrs: Vec<SocketAddr> =
        service.get_addresses().iter().filter_map(|ip| address(ip, service.get_port())).collect();
    by_likelihood(&mut addrs);
    (!addrs.is_empty() && service.get_port() != 0).then_some(Neighbour { about, addrs })
}

fn address(ip: &ScopedIp, port: u16) -> Option<SocketAddr> {
    match ip {
        ScopedIp::V6(v6) => {
            let scope = if v6.addr().is_unicast_link_local() { v6.scope_id().index } else { 0 };
            Some(SocketAddrV6::new(*v6.addr(), port, 0, scope).into())
        }
        other => Some(SocketAddr::new(other.to_ip_addr(), port)),
    }
    .filter(|addr| !addr.ip().is_unspecified() && !addr.ip().is_multicast())
}

/// Those first that are likely to work; no more than are remembered.
pub(super) fn by_likelihood(addrs: &mut Vec<SocketAddr>) {
    addrs.sort_by_key(|addr| (likely(addr.ip()), *addr));
    addrs.truncate(ADDRESSES);
}

/// Lower is likelier to work, and for longer.
fn likely(ip: IpAddr) -> u8 {
    match ip {
        ip if ip.is_loopback() => 4,
        IpAddr::V4(ip) if ip.is_link_local() => 2,
        IpAddr::V4(_) => 0,
        IpAddr::V6(ip) if ip.is_unicast_link_local() => 3,
        IpAddr::V6(_) => 1,
    }
}
