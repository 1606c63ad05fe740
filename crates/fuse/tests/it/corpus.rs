//! Replays the fuzz target's corpus, and random scripts, through what the target does.

use crate::common::bytes::play;
use std::fs;
use std::path::Path;

#[test]
fn the_corpus_of_fuse_receive_replays() {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus/fuse_receive");
    let mut files: Vec<_> = fs::read_dir(&dir).unwrap().map(|file| file.unwrap().path()).collect();
    files.sort();
    assert!(!files.is_empty(), "no corpus in {}", dir.display());
    for file in files {
        println!("{}", file.display());
        play(&fs::read(&file).unwrap());
    }
}

#[test]
fn no_bytes_break_it() {
    let mut state = 0x2545_f491_4f6c_dd1d_u64;
    let mut random = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as u8
    };
    for round in 0..3000 {
        let length = usize::from(random()) * (1 + round % 4);
        // Small numbers are often good ones: nodes, handles, names' ends.
        let script: Vec<u8> =
            (0..length).map(|_| if random() & 3 == 0 { random() & 7 } else { random() }).collect();
        play(&script);
    }
}
