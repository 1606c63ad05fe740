//! In the place of libFuzzer: the corpus of a target, then random changes of it, for some seconds.
//!
//! `TARGET CORPUS_DIR SECONDS`. An input that breaks the target is printed in hexadecimal before the program ends.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::path::Path;
use std::time::{Duration, Instant};

/// What fuzz targets call: makes `main` of a closure over bytes.
#[macro_export]
macro_rules! fuzz_target {
    (|$input:ident: &[u8]| $body:expr) => {
        /// Called by the C library; the targets are built without Rust's own `main`.
        #[unsafe(no_mangle)]
        pub extern "C" fn main(_: i32, _: *const *const u8) -> i32 {
            $crate::main(|$input: &[u8]| $body)
        }
    };
}

/// Replays, then changes; 0 if nothing broke.
pub fn main(mut target: impl FnMut(&[u8])) -> i32 {
    let args: Vec<String> = std::env::args().collect();
    let [_, corpus, seconds] = &args[..] else { return 2 };
    let Ok(seconds) = seconds.parse() else { return 2 };
    let corpus = read(Path::new(corpus));
    let mut play = |input: &[u8]| {
        if let Err(panic) = catch_unwind(AssertUnwindSafe(|| target(input))) {
            let hex: String = input.iter().map(|b| format!("{b:02x}")).collect();
            eprintln!("broken by {} bytes: {hex}", input.len());
            resume_unwind(panic);
        }
    };
    corpus.iter().for_each(|input| play(input));
    let now = std::time::SystemTime::UNIX_EPOCH.elapsed().map_or(1, |t| t.as_nanos() as u64);
    let (mut random, mut rounds) = (Random(now | 1), 0u64);
    println!("{} inputs replayed; seed {}", corpus.len(), random.0);
    let end = Instant::now() + Duration::from_secs(seconds);
    while Instant::now() < end {
        play(&changed(&corpus, &mut random));
        rounds += 1;
    }
    println!("{rounds} random inputs in {seconds} s");
    0
}

fn read(dir: &Path) -> Vec<Vec<u8>> {
    let files = std::fs::read_dir(dir).into_iter().flatten().flatten();
    let mut files: Vec<_> = files.map(|file| file.path()).collect();
    files.sort();
    files.iter().filter_map(|path| std::fs::read(path).ok()).collect()
}

/// One or two inputs of the corpus, joined, with some bytes changed, added or taken away.
fn changed(corpus: &[Vec<u8>], random: &mut Random) -> Vec<u8> {
    let mut pick = || corpus.get(random.below(corpus.len().max(1))).cloned().unwrap_or_default();
    let mut input = pick();
    let other = pick();
    if random.below(2) == 0 {
        input.truncate(random.below(input.len() + 1));
        input.extend(other);
    }
    for _ in 0..random.below(8) {
        let at = random.below(input.len() + 1);
        // Small numbers and the largest are often the interesting ones.
        let byte = match random.below(3) {
            0 => random.below(8) as u8,
            1 => 0xff,
            _ => random.below(256) as u8,
        };
        match random.below(3) {
            0 => input.insert(at, byte),
            1 if at < input.len() => drop(input.remove(at)),
            _ if at < input.len() => input[at] = byte,
            _ => input.push(byte),
        }
    }
    input
}

/// Xorshift (Marsaglia 2003).
struct Random(u64);

impl Random {
    fn below(&mut self, end: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 16) as usize % end
    }
}
