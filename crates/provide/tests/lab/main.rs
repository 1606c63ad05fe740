//! Real processes. Each test runs in a process of its own, because children, signals, limits and the reaper's
//! role belong to a process; whatever a test leaves behind, also when it fails, is ended here.

#![expect(clippy::unwrap_used, clippy::wildcard_enum_match_arm, reason = "a test that cannot go on fails")]

mod ends;
mod flows;
mod fuse;
mod keeps;
mod outlives;
mod room;
mod starts;
mod stuck;
mod world;

use std::os::unix::process::ExitStatusExt;
use std::process::{Command, ExitCode};
use std::time::{Duration, Instant};

type Test = (&'static str, fn());

fn tests() -> Vec<Test> {
    [starts::TESTS, stuck::TESTS, flows::TESTS, ends::TESTS, keeps::TESTS, outlives::TESTS, room::TESTS]
        .concat()
}

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    match args.first().map(String::as_str) {
        Some("as-keeper") => keeps::as_keeper(),
        Some("as-node") => keeps::as_node(),
        _ => {}
    }
    if let Ok(name) = std::env::var("LAB_TEST") {
        let test = tests().into_iter().find(|(known, _)| *known == name);
        test.expect("a test of this name").1();
        return ExitCode::SUCCESS;
    }
    rustix::process::set_child_subreaper(Some(rustix::process::getpid())).unwrap();
    let wanted: Vec<&String> = args.iter().filter(|arg| !arg.starts_with('-')).collect();
    if args.iter().any(|arg| arg == "--list") {
        tests().iter().for_each(|(name, _)| println!("{name}: test"));
        return ExitCode::SUCCESS;
    }
    let mut failed = Vec::new();
    for (name, _) in tests() {
        if wanted.is_empty() || wanted.iter().any(|want| name.contains(want.as_str())) {
            let began = Instant::now();
            let good = run(name);
            println!("test {name} ... {} ({:.1?})", if good { "ok" } else { "FAILED" }, began.elapsed());
            if !good {
                failed.push(name);
            }
        }
    }
    if failed.is_empty() {
        return ExitCode::SUCCESS;
    }
    println!("failed: {}", failed.join(", "));
    ExitCode::FAILURE
}

/// Runs one test, ends all that it left.
fn run(name: &str) -> bool {
    let mut child = Command::new(std::env::current_exe().unwrap()).env("LAB_TEST", name).spawn().unwrap();
    let deadline = Instant::now() + Duration::from_secs(120);
    let status = loop {
        if let Some(status) = child.try_wait().unwrap() {
            break status;
        }
        if Instant::now() > deadline {
            println!("{name}: not done after 120 s");
            child.kill().unwrap();
        }
        std::thread::sleep(Duration::from_millis(2));
    };
    if let Some(signal) = status.signal() {
        println!("{name}: ended by signal {signal}");
    }
    world::end_descendants();
    world::remove_cgroups();
    status.success()
}
