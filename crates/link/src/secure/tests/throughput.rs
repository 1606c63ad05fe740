//! How fast it is.

use super::*;

/// `cargo test --release -p link --lib -- --ignored --nocapture throughput`
#[test]
#[ignore = "a measurement, which takes a release build"]
fn throughput_of_a_pair_in_memory() {
    let (one, two) = domain();
    let start = std::time::Instant::now();
    let rounds = 200;
    for _ in 0..rounds {
        let (mut child, mut parent) = (Secure::dial(&two.home).unwrap(), Secure::accept(&one.home).unwrap());
        talk(&mut child, &mut parent).0.unwrap();
    }
    println!("{:.2} ms a handshake, both ends", start.elapsed().as_secs_f64() * 1e3 / f64::from(rounds));
    let (mut child, mut parent) = (Secure::dial(&two.home).unwrap(), Secure::accept(&one.home).unwrap());
    talk(&mut child, &mut parent).0.unwrap();
    for (size, piece) in
        [(1 << 20, 64 << 10), (128 << 10, 64 << 10), (64 << 10, 16 << 10), (4 << 10, 64 << 10)]
    {
        let block = vec![0x5a; size];
        let mut plain = Vec::with_capacity(size);
        let (mut out, mut back) = (Duration::ZERO, Duration::ZERO);
        let blocks = (512 << 20) / size;
        for _ in 0..blocks {
            let start = std::time::Instant::now();
            parent.send(&block);
            out += start.elapsed();
            let start = std::time::Instant::now();
            while !parent.output().is_empty() {
                let piece = piece.min(parent.output().len());
                child.receive(&parent.output()[..piece], &mut plain).unwrap();
                parent.consume(piece);
            }
            back += start.elapsed();
            assert_eq!(plain.len(), size);
            plain.clear();
        }
        let rate = |time: Duration| 512.0 / time.as_secs_f64() * 1.048_576;
        println!(
            "blocks of {size}, read by {piece}: send {:.0} MB/s, receive {:.0} MB/s, both {:.0} MB/s",
            rate(out),
            rate(back),
            rate(out + back)
        );
    }
}
