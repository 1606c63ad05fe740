//! Every broken kernel is found by the random clouds, and soon; a few by the transcripts.
#![expect(clippy::unwrap_used, reason = "a test that finds nothing to unwrap has failed")]

use sim::{
    cloud::{mutants::Fault, play::Stage, seeds},
    player,
};
use std::{fs, panic};

/// What only a transcript looks at: random clouds make no circles.
const BY_TRANSCRIPTS: &[Fault] = &[Fault::KeepsALoop];

/// Whether a transcript of many nodes is not as it is written.
fn a_transcript_finds(fault: Fault) -> bool {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/clouds");
    fs::read_dir(folder).unwrap().any(|entry| {
        let text = fs::read_to_string(entry.unwrap().path()).unwrap();
        let differs = || player::play(&text, &mut Stage::driver_of(fault.wrap())).check().is_err();
        panic::catch_unwind(differs).unwrap_or(true)
    })
}

/// Within so many seeds.
const SEEDS: u64 = 60;

/// None where it is known that they find nothing.
fn seeds_of(fault: Fault) -> std::ops::Range<u64> {
    if BY_TRANSCRIPTS.contains(&fault) { 0..0 } else { 0..SEEDS }
}

#[test]
fn every_broken_kernel_of_a_cloud_is_found() {
    let (mut found, mut missed) = (Vec::new(), Vec::new());
    let hook = panic::take_hook();
    panic::set_hook(Box::new(|_| {}));
    for fault in Fault::ALL {
        println!("{fault:?} …");
        let finds = |seed: &u64| panic::catch_unwind(|| seeds::run(*seed, fault.wrap())).is_err();
        match seeds_of(fault).find(finds) {
            None if BY_TRANSCRIPTS.contains(&fault) && a_transcript_finds(fault) => {
                found.push(format!("{fault:?} by a transcript"));
            }
            Some(seed) => found.push(format!("{fault:?} by seed {seed}")),
            None => missed.push(fault),
        }
    }
    panic::set_hook(hook);
    println!("{}", found.join("\n"));
    assert!(missed.is_empty(), "nothing finds {missed:?}");
}
