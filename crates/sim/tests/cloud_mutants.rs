//! Every broken kernel is found by the random clouds, and soon; a few by the transcripts.
#![expect(clippy::unwrap_used, reason = "a test that finds nothing to unwrap has failed")]

use sim::{
    cloud::{
        flows, groups,
        mutants::{Fault, FlowFault, GroupFault},
        play::Stage,
        seeds,
    },
    player,
};
use std::{
    fmt::Debug,
    fs,
    ops::Range,
    panic::{self, RefUnwindSafe},
};

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
fn seeds_of(fault: Fault) -> Range<u64> {
    if BY_TRANSCRIPTS.contains(&fault) { 0..0 } else { 0..SEEDS }
}

/// How each of these is found, if it is.
///
/// # Panics
/// If one is not.
fn all_are_found<F: Copy + Debug>(faults: impl IntoIterator<Item = F>, find: impl Fn(F) -> Option<String>) {
    let mut missed = Vec::new();
    // Two tests of this binary may run at once: the hook stays as it is once it is quiet.
    panic::set_hook(Box::new(|_| {}));
    for fault in faults {
        match find(fault) {
            Some(how) => println!("{fault:?} {how}"),
            None => missed.push(fault),
        }
    }
    let _ = panic::take_hook();
    assert!(missed.is_empty(), "nothing finds {missed:?}");
}

/// The first seed that fails for one of these reasons, and why.
fn by_seed(seeds: Range<u64>, reasons: &[&str], run: impl Fn(u64) + RefUnwindSafe) -> Option<String> {
    seeds.into_iter().find_map(|seed| {
        let why = panic::catch_unwind(|| run(seed)).err()?;
        let why = why.downcast_ref::<String>().cloned().unwrap_or_default();
        let first = why.lines().next().unwrap_or_default();
        reasons.iter().any(|reason| why.contains(reason)).then(|| format!("by seed {seed}: {first}"))
    })
}

#[test]
fn every_broken_kernel_of_a_cloud_is_found() {
    all_are_found(Fault::ALL, |fault| {
        let transcripts = || BY_TRANSCRIPTS.contains(&fault) && a_transcript_finds(fault);
        by_seed(seeds_of(fault), &[""], |seed| drop(seeds::run(seed, fault.wrap())))
            .or_else(|| transcripts().then(|| "by a transcript".into()))
    });
}

/// What is said of a kernel that breaks groups this way, one of these: that it fails anyhow shows nothing.
fn is_found_by(fault: GroupFault) -> &'static [&'static str] {
    match fault {
        GroupFault::MakesAgainAfterABreak => &["runs twice at once"],
        GroupFault::OutlivesItsLease => &["runs twice at once", "lost=node"],
        GroupFault::ForgetsThePlaces => &["runs twice at once", "was started"],
        GroupFault::RemembersAnEndTwice => &["ends twice"],
        GroupFault::SaysItWentWell => &["exit=0 "],
        GroupFault::GivesAPart => &["of two who ask"],
        GroupFault::RetriesTooOften => &["was started"],
        GroupFault::LeavesAShare => &["of two who ask", "still has"],
        GroupFault::ForgetsTheTries
        | GroupFault::LosesAnEnd
        | GroupFault::ForgetsAnEnd
        | GroupFault::ForgetsARank
        | GroupFault::ForgetsTheQueue
        | GroupFault::KillsOnlyHere => &["has not ended", "not all of it has ended"],
    }
}

/// Within so many seeds.
const GROUP_SEEDS: Range<u64> = 1_000..1_400;

#[test]
fn every_broken_rule_of_groups_is_found() {
    all_are_found(GroupFault::ALL, |fault| {
        by_seed(GROUP_SEEDS, is_found_by(fault), |seed| drop(groups::run(seed, fault.wrap())))
    });
}

#[test]
fn every_broken_rule_of_flows_is_found() {
    all_are_found(FlowFault::ALL, |fault| {
        let reasons: &[&str] = match fault {
            FlowFault::FeedsTwice | FlowFault::LosesAByte => &["took something else", "took all"],
            FlowFault::TearsARecord => {
                &["nobody wrote", "in order", "to the byte", "no tag", "is no rank", "frame", "equal outputs"]
            }
            FlowFault::SaysItIsWhole => &["lacks nothing"],
        };
        by_seed(GROUP_SEEDS, reasons, |seed| drop(flows::run(seed, fault.wrap())))
    });
}
