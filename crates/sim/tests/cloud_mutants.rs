//! Every broken kernel is found by the random clouds, and soon.

use sim::cloud::{mutants::Fault, seeds};
use std::panic;

/// Within so many seeds.
const SEEDS: u64 = 60;

#[test]
fn every_broken_kernel_of_a_cloud_is_found() {
    let (mut found, mut missed) = (Vec::new(), Vec::new());
    let hook = panic::take_hook();
    panic::set_hook(Box::new(|_| {}));
    for fault in Fault::ALL {
        let finds = |seed: &u64| panic::catch_unwind(|| seeds::run(*seed, fault.wrap())).is_err();
        match (0..SEEDS).find(finds) {
            Some(seed) => found.push(format!("{fault:?} by seed {seed}")),
            None => missed.push(fault),
        }
    }
    panic::set_hook(hook);
    println!("{}", found.join("\n"));
    assert!(missed.is_empty(), "nothing finds {missed:?}");
}
