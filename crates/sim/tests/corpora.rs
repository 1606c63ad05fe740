//! The fuzz targets' corpora, replayed; and random bytes, for what a corpus has not got.
#![expect(clippy::unwrap_used, reason = "a test that finds nothing to unwrap has failed")]

use sim::fuzzing;
use std::{fs, path::Path};

fn replay(target: &str, run: impl Fn(&[u8])) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus").join(target);
    let mut count = 0;
    for entry in fs::read_dir(&folder).unwrap() {
        run(&fs::read(entry.unwrap().path()).unwrap());
        count += 1;
    }
    assert!(count >= 10, "{} has {count} files", folder.display());
}

#[test]
fn the_corpus_of_ctl_words_breaks_no_promise() {
    replay("ctl_words", fuzzing::words);
}

#[test]
fn the_corpus_of_kernel_events_breaks_no_promise() {
    replay("kernel_events", fuzzing::events);
}

#[test]
fn random_bytes_break_no_promise() {
    let mut rng = fastrand::Rng::with_seed(7);
    for _ in 0..1500 {
        let bytes: Vec<u8> = (0..rng.usize(0..2000)).map(|_| rng.u8(..)).collect();
        fuzzing::events(&bytes);
        let awkward = b"exec kill'\"\\ \n\t{}=#\0\xff09az";
        let text: Vec<u8> = (0..rng.usize(0..60)).map(|_| awkward[rng.usize(0..awkward.len())]).collect();
        fuzzing::words(&text);
    }
}
