//! Who comes to the link port: listening, and finding out what each connection is.

use super::{Conn, LISTENER, Links, What, last_word, limits, stream::Stream};
use crate::dial::Addr;
use kernel::{Attr, Event};
use link::identity::Who;
use link::secure::Secure;
use link::wire::{self, First, Frame};
use op::Mono;
use std::io::ErrorKind;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener};
use std::os::fd::OwnedFd;

/// Somebody with a certificate who speaks 9P.
pub(crate) struct Guest {
    pub(crate) fd: OwnedFd,
    pub(crate) secure: Box<Secure>,
    /// What he has said already.
    pub(crate) said: Vec<u8>,
    pub(crate) who: Who,
}

/// Connections taken in at a time, before others have their turn.
const ACCEPTS: usize = 64;

impl Links {
    /// Where it listens; of port 0, the port that was given.
    pub(crate) fn address(&self) -> Option<Addr> {
        self.listening.clone()
    }

    /// Listens where it is to, if it does not yet: as told, else as kept; not before there is a certificate to show.
    pub(crate) fn listen(&mut self) {
        if self.home.domain().is_none() {
            return;
        }
        let kept = match self.home.listen() {
            Ok(kept) => kept,
            Err(why) => return self.complain(why),
        };
        // What was told begins; a port that another process keeps for us is followed afterwards.
        let told = self.settings.link.as_ref().map(Addr::to_string);
        let listening = self.listening.as_ref().map(Addr::to_string);
        let wanted = match (&listening, told, kept) {
            (None, Some(told), kept) => Some(same_port(told, kept.as_deref())),
            (None, None, kept) => kept,
            (Some(_), _, Some(kept)) => Some(kept),
            (Some(_), _, None) => None,
        };
        let Some(wanted) = wanted.filter(|wanted| listening.as_ref() != Some(wanted)) else { return };
        match bind(&wanted) {
            Ok((listener, addr)) => self.listens(listener, addr),
            Err(why) => self.complain(format!("links cannot be listened for at {why}")),
        }
    }

    fn listens(&mut self, listener: TcpListener, addr: Addr) {
        if let Some(old) = self.listener.take() {
            self.poll.remove(&old);
        }
        if let Err(error) = self.poll.add(&listener, LISTENER, true, false) {
            return self.complain(format!("links cannot be listened for: {error}"));
        }
        (self.listener, self.paused) = (Some(listener), false);
        let text = addr.to_string();
        // Children have this port: it is taken again after a restart.
        if let Err(why) = self.home.set_listen(&text) {
            self.complain(why);
        }
        self.events.push(Event::Attr("link".into(), Some(Attr::Text(text))));
        self.listening = Some(addr);
    }

    /// Accepts again, after a pause.
    pub(super) fn listen_again(&mut self) {
        if let Some(listener) = self.listener.as_ref().filter(|_| self.paused) {
            self.paused = self.poll.add(listener, LISTENER, true, false).is_err();
        }
    }

    /// Somebody connects.
    pub(crate) fn accept(&mut self, now: Mono) {
        for _ in 0..ACCEPTS {
            let Some(listener) = &self.listener else { return };
            let (stream, peer) = match listener.accept() {
                Ok(accepted) => accepted,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                Err(error) => {
                    // It would be ready again at once, and for as long as descriptors are short.
                    self.poll.remove(listener);
                    self.paused = true;
                    return self.refused.note("somebody", &error.to_string(), now);
                }
            };
            let peer = SocketAddr::new(peer.ip().to_canonical(), peer.port()).to_string();
            let made = Stream::tcp(stream).map_err(|e| e.to_string());
            let conn = made.and_then(|stream| {
                let secure = Secure::accept(&self.home)?;
                let (what, until) = (What::Unknown, Some(now + limits::OPENING));
                Ok(Conn {
                    stream,
                    secure,
                    what,
                    peer: peer.clone(),
                    until,
                    early: Vec::new(),
                    writing: false,
                })
            });
            self.make_room(now);
            if let Err(why) = conn.and_then(|conn| self.insert(conn)) {
                self.refused.note(&peer, &why, now);
            }
        }
    }

    /// The oldest of those of which nothing is known goes, if there are too many.
    fn make_room(&mut self, now: Mono) {
        let mut unknown = self.conns.iter().filter(|(_, conn)| conn.what == What::Unknown);
        let oldest = unknown.next().map(|(n, conn)| (*n, conn.peer.clone()));
        if let Some((n, peer)) = oldest
            && unknown.count() + 1 >= limits::UNKNOWN
        {
            self.refused.note(&peer, "too many connect and say nothing", now);
            self.drop_conn(n);
        }
    }

    /// Something came from whoever connected; perhaps what he wants is known now.
    pub(super) fn unknown_said(&mut self, n: u64, now: Mono) {
        let Some(conn) = self.conns.get(&n) else { return };
        if conn.secure.handshaking() {
            return;
        }
        let who = conn.secure.peer().cloned();
        if conn.secure.peer_revoked(&self.home) {
            return self.refuse(n, "its certificate was revoked", now);
        }
        match (wire::first(&conn.early), who) {
            (None, _) => {}
            (Some(First::Ninep), Some(who)) => self.admit(n, who),
            (Some(First::Ninep), None) => {
                self.refuse(n, "it shows no certificate, and wants something else than to join", now);
            }
            (Some(first @ (First::Link | First::Join)), who) => match wire::opening(&conn.early) {
                Ok(None) => {}
                Ok(Some((frame, _))) => self.opened(n, first, &frame, who.as_ref(), now),
                Err(why) => self.refuse(n, &why, now),
            },
        }
    }

    fn opened(&mut self, n: u64, first: First, frame: &Frame, who: Option<&Who>, now: Mono) {
        match (first, frame, who) {
            (First::Link, Frame::Hello(hello), Some(Who::Node { id, name })) => {
                if let Err(why) = self.child_said_hello(n, hello, *id, name, now) {
                    return self.refuse(n, &why, now);
                }
                let Some(conn) = self.conns.get_mut(&n) else { return };
                let early = std::mem::take(&mut conn.early);
                self.dispatch(n, &early, now);
            }
            (First::Link, _, Some(Who::User { name })) => {
                self.refuse(n, &format!("only nodes are linked, and this is the user {name}"), now);
            }
            (First::Link, _, _) => self.refuse(n, "it shows no certificate, and wants to link", now),
            (First::Join, Frame::Join(body), _) => {
                let body = body.clone();
                self.wants_to_join(n, &body, now);
            }
            (First::Join | First::Ninep, _, _) => self.refuse(n, "it begins with something else", now),
        }
    }

    /// Breaks off with somebody who is told why, if he understands it.
    fn refuse(&mut self, n: u64, why: &str, now: Mono) {
        let Some(conn) = self.conns.get_mut(&n) else { return };
        let peer = conn.peer.clone();
        if let Some(First::Link | First::Join) = wire::first(&conn.early) {
            conn.secure.send(&last_word(&Frame::Bye { left: false, why: why.into() }));
        }
        self.refused.note(&peer, why, now);
        self.close(n, now);
    }

    /// A client that speaks 9P goes to the doors.
    fn admit(&mut self, n: u64, who: Who) {
        let Some(conn) = self.conns.remove(&n) else { return };
        self.poll.remove(&conn.stream);
        if let Some(fd) = conn.stream.into_fd() {
            self.guests.push(Guest { fd, secure: Box::new(conn.secure), said: conn.early, who });
        }
    }
}

/// Port 0 means any port, and so the one that was given before, if it was for the same host.
fn same_port(told: String, kept: Option<&str>) -> String {
    let host = |text: &str| match Addr::parse_link(text) {
        Ok(Addr::Tls(host, port)) => Some((host, port)),
        Ok(_) | Err(_) => None,
    };
    match (host(&told), kept.and_then(host)) {
        (Some((told_host, 0)), Some((kept_host, port))) if told_host == kept_host => {
            Addr::Tls(kept_host, port).to_string()
        }
        _ => told,
    }
}

/// Listens, and says where: the port is that which was given.
fn bind(wanted: &str) -> Result<(TcpListener, Addr), String> {
    let said = |e: std::io::Error| format!("{wanted}: {e}");
    let Addr::Tls(host, port) = Addr::parse_link(wanted)? else {
        return Err(format!("{wanted}: only tls!host!port can be listened at"));
    };
    let listener = match host.as_str() {
        // Both families on one socket, where there are both.
        "*" => TcpListener::bind((Ipv6Addr::UNSPECIFIED, port))
            .or_else(|_| TcpListener::bind((Ipv4Addr::UNSPECIFIED, port))),
        // A number, or a name of this machine, which its own files know.
        host => TcpListener::bind((host, port)),
    };
    let listener = listener.map_err(said)?;
    listener.set_nonblocking(true).map_err(said)?;
    let port = listener.local_addr().map_err(said)?.port();
    Ok((listener, Addr::Tls(host, port)))
}
