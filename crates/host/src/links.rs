//! Who dials, who listens, and when: the connections of links, from the first byte to the last.
//!
//! ```text
//!              ┌─ dial ──▶ Connecting ──▶ Greeting ─┐ certificate, Hello
//!   parents ───┘                                    ▼
//!                                                  Lane ──▶ up: kernel::Event::Linked … Unlinked
//!   listener ── accept ──▶ Unknown ─┬─ Hello ───────┘
//!                                   ├─ Tversion ──▶ a guest: a 9P client whose certificate says who he is
//!                                   └─ Join ──────▶ answered, or passed on towards the authority
//! ```
//!
//! A link is a control lane, and a bulk lane once a stream is moved; what is said on them is `link::wire`'s. A lane that
//! breaks breaks the link. Nothing here decides anything about the tree of nodes: the kernel hears of links, and says
//! when one has to go.
//!
//! All that happens to links happens in [`Links::ready`], [`Links::tick`] and in what the kernel wants; it is told as events,
//! in order, in [`Links::events`].

mod end;
mod joins;
mod lane;
mod limits;
mod lookup;
mod near;
mod opening;
mod refused;
mod seek;
mod stream;
mod time;

pub(crate) use opening::Guest;

use crate::{Settings, dial::Addr, poll::Poll};
use joins::Relay;
use kernel::{ClientId, Event, LinkId};
use lane::Link;
use link::identity::Home;
use link::secure::Secure;
use link::wire::{Frame, Kind};
use lookup::Lookup;
use near::Near;
use op::Mono;
use refused::Refused;
use seek::Seek;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::TcpListener;
use std::rc::Rc;
use std::time::Duration;
use stream::Stream;

/// Tokens of `poll`: of connections, from here on.
pub(crate) const CONNS: u64 = 1 << 48;
/// The listener's and the lookup's.
pub(crate) const LISTENER: u64 = 4;
pub(crate) const LOOKUP: u64 = 5;
/// What is heard on the local network.
pub(crate) const NEAR: u64 = 6;
/// Clients of the kernel that are other nodes are numbered from here on.
const CALLERS: u64 = 1 << 60;

/// All links of a node, and what may become one.
pub(crate) struct Links {
    pub(crate) home: Home,
    /// What has happened, for the kernel.
    pub(crate) events: Vec<Event>,
    /// Who has come to speak 9P, for the doors.
    pub(crate) guests: Vec<Guest>,
    /// Certificates were revoked: guests that have one of them are to be hung up.
    pub(crate) revoked: bool,
    poll: Rc<Poll>,
    settings: Settings,
    epoch: u64,
    conns: BTreeMap<u64, Conn>,
    links: BTreeMap<LinkId, Link>,
    callers: BTreeMap<ClientId, (LinkId, Kind)>,
    listener: Option<TcpListener>,
    /// Where that is: the host as it was told, with the port that was given.
    listening: Option<Addr>,
    /// Connections could not be accepted; that is tried again with the next beat.
    paused: bool,
    /// What is wrong and was said.
    complaints: BTreeSet<String>,
    seek: Seek,
    lookup: Lookup,
    near: Near,
    relays: BTreeMap<u64, Relay>,
    refused: Refused,
    /// Connections with something to send.
    touched: BTreeSet<u64>,
    next_number: u64,
    next_beat: Mono,
    next_tick: Mono,
    plain: Vec<u8>,
}

/// A connection to or from another machine.
struct Conn {
    stream: Stream,
    secure: Secure,
    what: What,
    /// Who is there, as the network knows him.
    peer: String,
    /// When it has to have become something else.
    until: Option<Mono>,
    /// Said before it was known what it is.
    early: Vec<u8>,
    writing: bool,
}

/// What a connection is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum What {
    /// TCP is being connected.
    Connecting(For),
    /// Dialled; certificates are being shown.
    Greeting(For),
    /// Accepted; nothing was said yet.
    Unknown,
    /// A lane of a link.
    Lane(LinkId, Kind),
    /// Somebody who waits for his certificate, which is asked for under this number.
    Joining(u64),
    /// Given up; what was said last is still sent.
    Closing,
}

/// What it was dialled for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum For {
    Parent,
    Bulk(LinkId),
}

impl Links {
    /// Opens `trust/`. Nothing is dialled before the first [`tick`](Links::tick).
    pub(crate) fn open(settings: &Settings, poll: &Rc<Poll>) -> Result<Links, String> {
        let lookup = Lookup::new().map_err(|e| format!("a pair of sockets: {e}"))?;
        poll.add(&lookup, LOOKUP, true, false).map_err(|e| format!("epoll: {e}"))?;
        let mut epoch = [0; 8];
        rustix::rand::getrandom(&mut epoch[..], rustix::rand::GetRandomFlags::empty())
            .map_err(|e| format!("random numbers: {e}"))?;
        Ok(Links {
            home: Home::open(&settings.state)?,
            events: Vec::new(),
            guests: Vec::new(),
            revoked: false,
            poll: poll.clone(),
            settings: settings.clone(),
            epoch: u64::from_ne_bytes(epoch),
            conns: BTreeMap::new(),
            links: BTreeMap::new(),
            callers: BTreeMap::new(),
            listener: None,
            listening: None,
            paused: false,
            complaints: BTreeSet::new(),
            seek: Seek::default(),
            lookup,
            near: Near::default(),
            relays: BTreeMap::new(),
            refused: Refused::default(),
            touched: BTreeSet::new(),
            next_number: 1,
            next_beat: Mono::default(),
            next_tick: Mono::default(),
            plain: Vec::new(),
        })
    }

    /// The last connections that were refused, as the log has them.
    pub(crate) fn refusals(&self) -> impl Iterator<Item = &str> {
        self.refused.last()
    }

    /// Connections of all kinds, and links that are up; for tests of leaks.
    pub(crate) fn count(&self) -> (usize, usize) {
        (self.conns.len(), self.links.values().filter(|link| link.up).count())
    }

    fn number(&mut self) -> u64 {
        self.next_number += 1;
        self.next_number
    }

    fn insert(&mut self, conn: Conn) -> Result<u64, String> {
        let n = self.number();
        self.poll.add(&conn.stream, CONNS + n, true, conn.writing).map_err(|e| format!("epoll: {e}"))?;
        if let Some(until) = conn.until {
            self.next_tick = self.next_tick.min(until);
        }
        self.conns.insert(n, conn);
        self.touched.insert(n);
        Ok(n)
    }

    // ── bytes ──────────────────────────────────────────────────────────────────────────────

    /// A connection can be read or written.
    pub(crate) fn ready(&mut self, token: u64, now: Mono, buffer: &mut [u8]) {
        let n = token - CONNS;
        let Some(conn) = self.conns.get_mut(&n) else { return };
        self.touched.insert(n);
        if let What::Connecting(goal) = conn.what {
            return self.connected(n, goal, now);
        }
        let read = match conn.stream.read(buffer) {
            Ok(None) => return,
            Ok(Some(0)) => Err(match conn.what {
                What::Lane(..) => "it hung up without saying why".into(),
                _ => conn.secure.hung_up(),
            }),
            Ok(Some(count)) => Ok(count),
            Err(error) => Err(error.to_string()),
        };
        let mut plain = std::mem::take(&mut self.plain);
        plain.clear();
        let received = read.and_then(|count| conn.secure.receive(&buffer[..count], &mut plain));
        // What came before the end counts: a Bye says more than the end itself.
        self.dispatch(n, &plain, now);
        plain.clear();
        plain.shrink_to(limits::TURN * 2);
        self.plain = plain;
        if let Err(why) = received {
            self.lost(n, &why, now);
        }
    }

    /// Gives plain bytes to whoever they are for.
    fn dispatch(&mut self, n: u64, plain: &[u8], now: Mono) {
        let Some(conn) = self.conns.get_mut(&n) else { return };
        match conn.what {
            What::Greeting(goal) => self.greeted(n, goal, plain, now),
            What::Unknown => {
                conn.early.extend_from_slice(plain);
                self.unknown_said(n, now);
            }
            What::Lane(link, kind) => self.lane_said(link, kind, plain, now),
            What::Connecting(_) | What::Joining(_) | What::Closing => {}
        }
    }

    /// A connection has broken, or has to be broken off.
    fn lost(&mut self, n: u64, why: &str, now: Mono) {
        let Some(conn) = self.conns.get(&n) else { return };
        let why = conn.stream.complaint().unwrap_or_else(|| why.to_owned());
        let what = conn.what;
        match what {
            What::Connecting(goal) | What::Greeting(goal) => {
                self.close(n, now);
                self.undialled(goal, &why, now);
            }
            What::Unknown => {
                let peer = conn.peer.clone();
                self.refused.note(&peer, &why, now);
                self.close(n, now);
            }
            What::Lane(link, _) => self.unlink(link, &why, Some(&why), now),
            What::Joining(_) | What::Closing => self.drop_conn(n),
        }
    }

    /// Gives a connection up; what waits to be sent, such as TLS's own word for what is wrong, may still go.
    fn close(&mut self, n: u64, now: Mono) {
        let Some(conn) = self.conns.get_mut(&n) else { return };
        if let What::Connecting(_) = conn.what {
            return self.drop_conn(n);
        }
        conn.secure.close();
        conn.what = What::Closing;
        conn.early = Vec::new();
        let until = now + limits::CLOSING;
        conn.until = Some(until);
        self.next_tick = self.next_tick.min(until);
        self.touched.insert(n);
    }

    fn drop_conn(&mut self, n: u64) {
        if let Some(conn) = self.conns.remove(&n) {
            self.poll.remove(&conn.stream);
        }
    }

    /// Sends what there is to send, as far as it is taken.
    pub(crate) fn flush(&mut self, now: Mono) {
        while let Some(n) = self.touched.pop_first() {
            if let Err(why) = self.send(n, now) {
                self.lost(n, &why, now);
            }
        }
    }

    pub(crate) fn wants_flush(&self) -> bool {
        !self.touched.is_empty()
    }

    fn send(&mut self, n: u64, now: Mono) -> Result<(), String> {
        let Some(conn) = self.conns.get_mut(&n) else { return Ok(()) };
        let secure = &mut conn.secure;
        let mut lane = match conn.what {
            What::Connecting(_) => return Ok(()),
            What::Lane(link, kind) => self.links.get_mut(&link).and_then(|link| link.half(kind)),
            What::Greeting(_) | What::Unknown | What::Joining(_) | What::Closing => None,
        };
        let mut full = false;
        let mut left = 16 * limits::TURN;
        while !full && left > 0 {
            if let Some(half) = &mut lane {
                let room = limits::TURN.saturating_sub(secure.output().len());
                half.lane.pour(room, now, |frame| secure.send(frame));
            }
            if secure.output().is_empty() {
                break;
            }
            match conn.stream.write(secure.output()).map_err(|e| e.to_string())? {
                Some(count) => {
                    secure.consume(count);
                    left = left.saturating_sub(count);
                }
                None => full = true,
            }
        }
        let more = full || left == 0;
        if conn.what == What::Closing && !more {
            conn.stream.end();
        }
        if more != conn.writing {
            conn.writing = more;
            self.poll.change(&conn.stream, CONNS + n, true, more).map_err(|e| format!("epoll: {e}"))?;
        }
        match (conn.what, lane) {
            (What::Lane(link, kind), Some(half)) if half.lane.holds() => self.resume(link, kind, now),
            (_, _) => {}
        }
        Ok(())
    }

    fn soon(&mut self, at: Mono) {
        self.next_tick = self.next_tick.min(at);
    }
}

/// Whether a client of the kernel is another node.
pub(crate) fn is_caller(client: ClientId) -> bool {
    client.0 >= CALLERS
}

/// How long, give or take a quarter: those who lost the same parent do not come back at the same moment.
fn jitter(span: Duration) -> Duration {
    let mut byte = [128];
    let _half_if_there_are_none =
        rustix::rand::getrandom(&mut byte[..], rustix::rand::GetRandomFlags::NONBLOCK);
    span.mul_f64(0.75 + f64::from(byte[0]) / 512.0)
}

/// All frames that a conversation ends with.
fn last_word(bye: &Frame) -> Vec<u8> {
    let mut bytes = Vec::new();
    bye.encode(&mut bytes);
    bytes
}

/// Events in order, for the node to take.
impl Links {
    pub(crate) fn take_events(&mut self, into: &mut VecDeque<Event>) {
        into.extend(self.events.drain(..));
    }
}
