//! Handshakes that are cut, and bytes that mean nothing.

use super::*;

/// The records that both ends have said, each end's in order, when all goes well.
fn records(one: &Home, two: &Home) -> (Vec<u8>, Vec<u8>) {
    let (mut child, mut parent) = (Secure::dial(two).unwrap(), Secure::accept(one).unwrap());
    let (mut up, mut down) = (Vec::new(), Vec::new());
    child.send(b"hello");
    while !child.output().is_empty() || !parent.output().is_empty() {
        up.extend_from_slice(child.output());
        let bytes = child.output().to_vec();
        child.consume(bytes.len());
        parent.receive(&bytes, &mut Vec::new()).unwrap();
        down.extend_from_slice(parent.output());
        let bytes = parent.output().to_vec();
        parent.consume(bytes.len());
        child.receive(&bytes, &mut Vec::new()).unwrap();
    }
    (up, down)
}

#[test]
fn a_handshake_that_is_cut_anywhere_makes_nobody_known() {
    let (one, two) = domain();
    for cut in (0..10_000).step_by(31) {
        let (mut child, mut parent) = (Secure::dial(&two.home).unwrap(), Secure::accept(&one.home).unwrap());
        let mut left = cut;
        while left > 0 && !(child.output().is_empty() && parent.output().is_empty()) {
            for (from, to) in [(true, false), (false, true)] {
                let (from, to) =
                    if from && !to { (&mut child, &mut parent) } else { (&mut parent, &mut child) };
                let bytes = from.output()[..from.output().len().min(left)].to_vec();
                from.consume(bytes.len());
                left -= bytes.len();
                to.receive(&bytes, &mut Vec::new()).unwrap();
            }
        }
        if left > 0 {
            assert!(parent.peer().is_some(), "that was all of it");
            assert!(cut > 1_000);
            return;
        }
        assert_eq!(parent.peer(), None, "after {cut} bytes");
        let said = parent.hung_up();
        assert!(
            said.contains("without a word") && cut == 0 || said.contains("in the middle"),
            "{cut}: {said}"
        );
    }
    panic!("a handshake has less than 10,000 bytes");
}

fn random(seed: &mut u64) -> u64 {
    *seed ^= *seed << 13;
    *seed ^= *seed >> 7;
    *seed ^= *seed << 17;
    *seed
}

#[test]
fn bytes_from_anywhere_neither_panic_nor_grow_nor_pass_for_somebody() {
    let (one, two) = domain();
    let (up, down) = records(&one.home, &two.home);
    let mut seed = 0x9e37_79b9_7f4a_7c15;
    let (mut refusals, mut waiting) = (0, 0);
    for round in 0..600 {
        let dialled = round % 2 == 0;
        let mut secure =
            if dialled { Secure::dial(&two.home).unwrap() } else { Secure::accept(&one.home).unwrap() };
        let greeting = secure.output().len();
        // Another connection's bytes, changed here and there, or records of nothing but noise.
        let mut bytes = if dialled { down.clone() } else { up.clone() };
        match random(&mut seed) % 3 {
            0 => {
                for _ in 0..random(&mut seed) % 6 {
                    let at = random(&mut seed) as usize % bytes.len();
                    bytes[at] = random(&mut seed) as u8;
                }
            }
            1 => {
                let kind = 0x14 + (random(&mut seed) % 4) as u8;
                let length = random(&mut seed) as u16;
                bytes = vec![kind, 3, 3, (length >> 8) as u8, length as u8];
                bytes.extend((0..length).map(|_| random(&mut seed) as u8));
            }
            _ => bytes.iter_mut().skip(5).for_each(|byte| *byte = random(&mut seed) as u8),
        }
        let mut plain = Vec::new();
        let mut failed = None;
        for _ in 0..20 {
            let piece = 1 + random(&mut seed) as usize % 3_000;
            for piece in bytes.chunks(piece) {
                match secure.receive(piece, &mut plain) {
                    Ok(()) => assert!(failed.is_none()),
                    Err(why) => assert_eq!(failed.get_or_insert_with(|| why.clone()), &why),
                }
            }
        }
        assert!(plain.is_empty() && secure.peer().is_none());
        assert!(secure.output().len() < greeting + 16 * 1024, "{} bytes to send", secure.output().len());
        if failed.is_some() { refusals += 1 } else { waiting += 1 }
    }
    assert!(refusals > 500, "{refusals} refused, {waiting} waiting");
}
