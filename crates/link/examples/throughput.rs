//! How fast identities are opened and TLS between two nodes is, both ends in memory and on one core:
//! `cargo run --release -p link --example throughput`.

use link::{
    identity::{Home, Kind},
    secure::Secure,
};
use std::time::{Duration, Instant};

const BYTES: usize = 512 << 20;
const HANDSHAKES: u32 = 200;
const REFRESHES: u32 = 10_000;

/// An authority and a node of its domain, and what removes their files.
fn domain() -> Result<(Home, Home, tempfile::TempDir), String> {
    let dir = tempfile::tempdir().map_err(|error| error.to_string())?;
    let start = Instant::now();
    Home::open(&dir.path().join("new"))?;
    println!("{:.2} ms to open an identity for the first time", start.elapsed().as_secs_f64() * 1e3);
    let (mut one, mut two) = (Home::open(&dir.path().join("one"))?, Home::open(&dir.path().join("two"))?);
    one.found("one")?;
    let token = one.invite(Kind::Node, Duration::from_secs(60))?;
    let grant = one.answer(&two.join(&token, "two"));
    two.accept(&token, &grant)?;
    let start = Instant::now();
    Home::open(&dir.path().join("two"))?;
    println!("{:.2} ms to open that of a node of a domain", start.elapsed().as_secs_f64() * 1e3);
    let start = Instant::now();
    while start.elapsed() < Duration::from_millis(150) {
        // Files that were just changed are read again each time.
        two.refresh()?;
    }
    let start = Instant::now();
    for _ in 0..REFRESHES {
        two.refresh()?;
    }
    println!(
        "{:.1} µs to see that nothing has changed",
        start.elapsed().as_secs_f64() * 1e6 / f64::from(REFRESHES)
    );
    Ok((one, two, dir))
}

/// Carries what one has to say to the other, so many bytes at a time.
fn carry(from: &mut Secure, to: &mut Secure, piece: usize, plain: &mut Vec<u8>) -> Result<(), String> {
    while !from.output().is_empty() {
        let piece = piece.min(from.output().len());
        to.receive(&from.output()[..piece], plain)?;
        from.consume(piece);
    }
    Ok(())
}

fn pair(one: &Home, two: &Home) -> Result<(Secure, Secure), String> {
    let (mut child, mut parent) = (Secure::dial(two)?, Secure::accept(one)?);
    while parent.handshaking() {
        carry(&mut child, &mut parent, usize::MAX, &mut Vec::new())?;
        carry(&mut parent, &mut child, usize::MAX, &mut Vec::new())?;
    }
    Ok((child, parent))
}

fn main() -> Result<(), String> {
    let (one, two, _dir) = domain()?;
    let start = Instant::now();
    for _ in 0..HANDSHAKES {
        pair(&one, &two)?;
    }
    println!("{:.2} ms a handshake, both ends", start.elapsed().as_secs_f64() * 1e3 / f64::from(HANDSHAKES));
    let (mut child, mut parent) = pair(&one, &two)?;
    for (block, piece) in
        [(1 << 20, 64 << 10), (128 << 10, 64 << 10), (64 << 10, 16 << 10), (4 << 10, 64 << 10)]
    {
        let bytes = vec![0x5a; block];
        let mut plain = Vec::with_capacity(block);
        let (mut sending, mut receiving) = (Duration::ZERO, Duration::ZERO);
        for _ in 0..BYTES / block {
            let start = Instant::now();
            parent.send(&bytes);
            sending += start.elapsed();
            let start = Instant::now();
            carry(&mut parent, &mut child, piece, &mut plain)?;
            receiving += start.elapsed();
            if plain != bytes {
                return Err("what came is not what was sent".into());
            }
            plain.clear();
        }
        let rate = |time: Duration| BYTES as f64 / 1e6 / time.as_secs_f64();
        println!(
            "blocks of {block}, read by {piece}: send {:.0} MB/s, receive {:.0} MB/s, one after the other {:.0} MB/s",
            rate(sending),
            rate(receiving),
            rate(sending + receiving)
        );
    }
    Ok(())
}
