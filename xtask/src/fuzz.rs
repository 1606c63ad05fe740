//! Fuzzing. With nightly Rust and cargo-fuzz, libFuzzer does it. Without, the same targets are built with the
//! small `libfuzzer-sys` in `xtask/fuzz-plain`, which replays the corpus and then changes bytes of it at random:
//! it sees no coverage and finds less, but it runs wherever Rust does.

use crate::run::{Result, build, cargo, output, run};
use std::path::Path;
use std::process::Command;

const SECONDS: &str = "60";

/// One target, or each.
pub(crate) fn fuzz(root: &Path, words: &[&str]) -> Result<()> {
    let manifest = root.join("fuzz/Cargo.toml");
    let manifest = std::fs::read_to_string(&manifest).map_err(|e| format!("{}: {e}", manifest.display()))?;
    let known = targets(&manifest);
    let (wanted, seconds) = match words {
        [target, seconds] => (vec![*target], *seconds),
        [seconds] if seconds.parse::<u32>().is_ok() => (known.clone(), *seconds),
        [target] => (vec![*target], SECONDS),
        _ => (known.clone(), SECONDS),
    };
    if let Some(unknown) = wanted.iter().find(|target| !known.contains(target)) {
        return Err(format!("no target {unknown}; known are {}", known.join(" ")));
    }
    if seconds.parse::<u32>().is_err() {
        return Err(format!("{seconds:?} is no number of seconds"));
    }
    let nightly = output(Command::new("cargo").args(["+nightly", "fuzz", "--version"]).current_dir(root));
    println!(
        "{}",
        if nightly.is_some() { "with libFuzzer" } else { "without nightly and cargo-fuzz: at random" }
    );
    for target in wanted {
        match nightly {
            Some(_) => with_libfuzzer(root, target, seconds)?,
            None => at_random(root, target, seconds)?,
        }
    }
    Ok(())
}

/// Names of `[[bin]]` tables.
fn targets(manifest: &str) -> Vec<&str> {
    let bins = manifest.split("[[bin]]").skip(1);
    bins.filter_map(|bin| bin.lines().find_map(|line| line.strip_prefix("name = \"")?.strip_suffix('"')))
        .collect()
}

fn with_libfuzzer(root: &Path, target: &str, seconds: &str) -> Result<()> {
    let limit = format!("-max_total_time={seconds}");
    // What it finds worth keeping goes into the first directory; the corpus has only what somebody chose.
    let found = root.join("target/fuzz-found").join(target);
    std::fs::create_dir_all(&found).map_err(|e| format!("{}: {e}", found.display()))?;
    let corpus = root.join("fuzz/corpus").join(target);
    // Through rustup's cargo: the one that runs us may be of another toolchain.
    let mut command = Command::new("cargo");
    command.current_dir(root).env_remove("CARGO").env_remove("RUSTUP_TOOLCHAIN");
    run(command.args(["+nightly", "fuzz", "run", target]).args([found, corpus]).args(["--", &limit]))
}

fn at_random(root: &Path, target: &str, seconds: &str) -> Result<()> {
    let patch = format!("patch.crates-io.libfuzzer-sys.path={:?}", root.join("xtask/fuzz-plain"));
    let lock = root.join("fuzz/Cargo.lock");
    let before = std::fs::read(&lock).ok();
    // A lock that names the real library would hold it; ours names all the rest, which is here already.
    std::fs::copy(root.join("Cargo.lock"), &lock).map_err(|e| format!("{}: {e}", lock.display()))?;
    let mut command = cargo(root);
    command.args(["--config", &patch, "build", "--release", "--manifest-path", "fuzz/Cargo.toml"]);
    let built = build(command.args(["--target-dir", "target/fuzz-plain", "--bin", target]), [target]);
    let _as_it_was = match before {
        Some(bytes) => std::fs::write(&lock, bytes),
        None => std::fs::remove_file(&lock),
    };
    let corpus = root.join("fuzz/corpus").join(target);
    let [program] = built?;
    run(Command::new(program).arg(corpus).arg(seconds))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_are_found_by_their_tables() {
        let text = "[package]\nname = \"fuzz\"\n[[bin]]\nname = \"a\"\npath = \"x\"\n\n[[bin]]\npath = \"y\"\nname = \"b\"\n";
        assert_eq!(targets(text), ["a", "b"]);
    }
}
