//! The other end of a link or of a join, by hand: what a node must bear from whoever connects.

use crate::cloud::{BEAT, PATIENCE};
use host::now;
use link::identity::{Home, Pin};
use link::secure::Secure;
use link::wire::{Frame, Frames, Hello, Kind, Lane, Said, VERSION};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

/// A TLS connection to a node.
pub(crate) struct ByHand {
    stream: TcpStream,
    pub(crate) secure: Secure,
    plain: Vec<u8>,
}

impl ByHand {
    pub(crate) fn dial(port: u16, secure: Secure) -> ByHand {
        let stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
        stream.set_read_timeout(Some(Duration::from_millis(20))).unwrap();
        ByHand { stream, secure, plain: Vec::new() }
    }

    pub(crate) fn as_member(port: u16, home: &Home) -> ByHand {
        ByHand::dial(port, Secure::dial(home).unwrap())
    }

    pub(crate) fn as_nobody(port: u16, pin: &Pin) -> ByHand {
        ByHand::dial(port, Secure::dial_pinned(pin))
    }

    pub(crate) fn send(&mut self, plain: &[u8]) {
        self.secure.send(plain);
        self.push();
    }

    fn push(&mut self) {
        let sent = self.stream.write(self.secure.output()).unwrap_or(0);
        self.secure.consume(sent);
    }

    /// What has come, if anything; an error at the end.
    pub(crate) fn receive(&mut self) -> Result<Vec<u8>, String> {
        let mut bytes = [0; 16 << 10];
        self.push();
        match self.stream.read(&mut bytes) {
            Ok(0) => return Err("it hung up".into()),
            Ok(n) => self.secure.receive(&bytes[..n], &mut self.plain)?,
            Err(e) if matches!(e.kind(), std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut) => {}
            Err(e) => return Err(e.to_string()),
        }
        self.push();
        Ok(std::mem::take(&mut self.plain))
    }

    /// The first frame that comes.
    pub(crate) fn frame(&mut self) -> Result<Frame, String> {
        let (end, mut frames, mut first) = (Instant::now() + PATIENCE, Frames::default(), None);
        while Instant::now() < end {
            let bytes = self.receive()?;
            frames.feed(&bytes, |frame| {
                first.get_or_insert(Frame::decode(frame)?);
                Ok(())
            })?;
            if let Some(first) = first {
                return Ok(first);
            }
        }
        panic!("nothing comes");
    }

    /// Reads until the other end hangs up.
    pub(crate) fn until_hung_up(&mut self) -> Vec<u8> {
        let (end, mut all) = (Instant::now() + PATIENCE, Vec::new());
        while Instant::now() < end {
            match self.receive() {
                Ok(bytes) => all.extend(bytes),
                Err(_) => return all,
            }
        }
        panic!("it never hangs up");
    }
}

/// A child that does as the test says.
pub(crate) struct Child {
    pub(crate) tls: ByHand,
    pub(crate) lane: Lane,
    pub(crate) said: Vec<Said>,
}

impl Child {
    /// Links; the other end has said Hello when this returns.
    pub(crate) fn link(port: u16, home: &Home, epoch: u64, kind: Kind) -> Result<Child, String> {
        let hello = Hello { version: VERSION, kind, epoch, beat: BEAT, above: true };
        let lane = Lane::new(hello, now().mono);
        let mut child = Child { tls: ByHand::as_member(port, home), lane, said: Vec::new() };
        child.until(|child| child.lane.is_up())?;
        // What that brought has to go too.
        child.turn()?;
        Ok(child)
    }

    pub(crate) fn turn(&mut self) -> Result<(), String> {
        let (lane, secure) = (&mut self.lane, &mut self.tls.secure);
        lane.pour(1 << 20, now().mono, |frame| secure.send(frame));
        let bytes = self.tls.receive()?;
        self.lane.receive(&bytes, now().mono, &mut self.said)
    }

    pub(crate) fn until(&mut self, is: impl Fn(&Child) -> bool) -> Result<(), String> {
        let end = Instant::now() + PATIENCE;
        while !is(self) {
            assert!(Instant::now() < end, "never; it said {:?}", self.said);
            self.turn()?;
        }
        Ok(())
    }
}

/// Asks to join, and gives the answer.
pub(crate) fn ask_to_join(port: u16, pin: &Pin, body: Vec<u8>) -> Result<Vec<u8>, String> {
    let mut tls = ByHand::as_nobody(port, pin);
    let mut bytes = Vec::new();
    Frame::Join(body).encode(&mut bytes);
    tls.send(&bytes);
    match tls.frame()? {
        Frame::Grant(grant) => Ok(grant),
        other => panic!("{other:?}"),
    }
}
