//! The transcripts of `crates/sim`, through a real socket and a real mount: the whole loop, with a provider that
//! does as the transcript says and a clock that it turns.

#![expect(clippy::unwrap_used, reason = "a test that finds nothing to unwrap has failed")]

mod byhand;
mod cloud;
mod links;
mod mount;
mod socket;
mod ssh;
mod strangers;
mod world;

use sim::{driver::Driver, player};

/// Plays all transcripts, each with a fresh driver; how many were played and skipped.
fn play_all(driver: impl Fn() -> Box<dyn Driver>) -> (usize, usize) {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../sim/transcripts");
    let mut paths: Vec<_> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    let (mut played, mut skipped, mut wrong) = (0, 0, Vec::new());
    for path in paths {
        let text = std::fs::read_to_string(&path).unwrap();
        if text.contains("\n! down") {
            // A real node would stop, and be no node to go on with.
            skipped += 1;
            continue;
        }
        let result = player::play(&text, &mut *driver());
        match (&result.skipped, result.check()) {
            (Some(why), _) => {
                println!("{} is skipped: this driver {why}", path.display());
                skipped += 1;
            }
            (None, Ok(())) => played += 1,
            (None, Err(why)) => wrong.push(format!("{}: {why}", path.display())),
        }
    }
    assert!(wrong.is_empty(), "{} differ\n\n{}", wrong.len(), wrong.join("\n"));
    (played, skipped)
}

#[test]
fn transcripts_are_the_same_through_a_real_socket() {
    let (played, skipped) = play_all(|| Box::new(socket::driver(ninep::Dialect::Uem)));
    assert!(played >= 10, "{played} played, {skipped} skipped");
}

#[test]
fn transcripts_are_the_same_through_a_real_socket_in_the_dialect_of_linux() {
    let (played, skipped) = play_all(|| Box::new(socket::driver(ninep::Dialect::L)));
    assert!(played >= 10, "{played} played, {skipped} skipped");
}

#[test]
fn transcripts_are_the_same_through_a_real_mount() {
    if !mount::possible() {
        println!("SKIPPED: no /dev/fuse, or neither root nor fusermount3");
        return;
    }
    let (played, skipped) = play_all(|| Box::new(mount::Mounted::new()));
    assert!(played >= 10, "{played} played, {skipped} skipped");
}

#[test]
fn what_a_hang_up_brings_is_answered_in_the_same_turn() {
    if !mount::possible() {
        println!("SKIPPED: no /dev/fuse, or neither root nor fusermount3");
        return;
    }
    let mut mounted = mount::Mounted::new();
    mounted.a_hang_up_frees_what_somebody_waits_for();
}
