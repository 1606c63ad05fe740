//! A token is exchanged for a certificate: TLS to a node that shows the pinned key, one `Join`, one `Grant`.

use link::dial::{Addr, Ssh, Wire};
use link::identity::{Home, Token};
use link::secure::Secure;
use link::wire::{Frame, Frames};
use rustix::buffer::spare_capacity;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use std::net::{TcpStream, ToSocketAddrs};
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

/// How long the other end may take for all of it; the request may have to go up a few links.
const LONGEST: Duration = Duration::from_secs(20);
/// How long a machine may take to accept a connection.
const CONNECTS: Duration = Duration::from_secs(5);
/// Bytes read at a time.
const PIECE: usize = 64 << 10;

/// The answer of the node at that address, or why there is none.
pub(super) fn exchange(addr: &Addr, home: &Home, token: &Token, name: &str) -> Result<Vec<u8>, String> {
    let wire = dial(addr)?;
    let answer = converse(&wire, home, token, name);
    answer.map_err(|why| wire.complaint().unwrap_or(why))
}

fn dial(addr: &Addr) -> Result<Wire, String> {
    let (host, port) = match addr {
        Addr::Tls(host, port) => (host, *port),
        Addr::Ssh(host) => return Ssh::link(host).map(Wire::Ssh).map_err(|error| error.to_string()),
        Addr::Unix(_) | Addr::Tcp(..) => return Err("a token goes to tls!host!port or ssh!host".into()),
    };
    let mut missed = "its name has no address".to_string();
    for addr in (host.as_str(), port).to_socket_addrs().map_err(|error| error.to_string())? {
        match TcpStream::connect_timeout(&addr, CONNECTS) {
            Ok(stream) => return Ok(Wire::Tcp(stream)),
            Err(error) => missed = error.to_string(),
        }
    }
    Err(missed)
}

fn converse(wire: &Wire, home: &Home, token: &Token, name: &str) -> Result<Vec<u8>, String> {
    rustix::io::ioctl_fionbio(wire, true).map_err(|errno| errno.to_string())?;
    let mut secure = Secure::dial_pinned(token.pin());
    let (mut asked, mut frames, mut plain) = (false, Frames::default(), Vec::new());
    let until = Instant::now() + LONGEST;
    loop {
        // The secret goes to nobody who has not shown the domain's key.
        if !secure.handshaking() && !std::mem::replace(&mut asked, true) {
            let mut frame = Vec::new();
            Frame::Join(home.join(token, name)).encode(&mut frame);
            secure.send(&frame);
        }
        write(wire, &mut secure)?;
        wait(wire, &secure, until)?;
        let mut bytes = Vec::with_capacity(PIECE);
        match rustix::io::read(wire, spare_capacity(&mut bytes)) {
            Ok(0) => return Err(secure.hung_up()),
            Ok(_) => {}
            Err(Errno::AGAIN | Errno::INTR) => continue,
            Err(errno) => return Err(errno.to_string()),
        }
        let received = secure.receive(&bytes, &mut plain);
        let mut answer = None;
        let understood = frames.feed(&plain, |frame| {
            match Frame::decode(frame)? {
                Frame::Grant(grant) => answer = Some(Ok(grant)),
                Frame::Bye { why, .. } => answer = Some(Err(why)),
                _ => return Err("it answers something else: is uem there of another version?".into()),
            }
            Ok(())
        });
        plain.clear();
        if let Some(answer) = answer {
            return answer;
        }
        understood?;
        if received.is_err() {
            let _the_alert = write(wire, &mut secure);
        }
        received?;
    }
}

fn write(wire: &Wire, secure: &mut Secure) -> Result<(), String> {
    while !secure.output().is_empty() {
        match rustix::io::write(wire, secure.output()) {
            Ok(n) => secure.consume(n),
            Err(Errno::INTR) => {}
            Err(Errno::AGAIN) => break,
            Err(errno) => return Err(errno.to_string()),
        }
    }
    Ok(())
}

fn wait(wire: &Wire, secure: &Secure, until: Instant) -> Result<(), String> {
    let left = until.saturating_duration_since(Instant::now());
    let mut flags = PollFlags::IN;
    flags.set(PollFlags::OUT, !secure.output().is_empty());
    let fd = wire.as_fd();
    match poll(&mut [PollFd::from_borrowed_fd(fd, flags)], Timespec::try_from(left).ok().as_ref()) {
        Ok(0) => Err(format!("no answer within {} s", LONGEST.as_secs())),
        Ok(_) | Err(Errno::INTR) => Ok(()),
        Err(errno) => Err(errno.to_string()),
    }
}
