//! All tests, on a machine that is made fit for them.

use crate::run::{Result, cargo, listen, run};
use crate::tally::Tally;
use crate::{clients, elf, machine};
use std::path::Path;
use std::process::Command;

/// Rooms that open descriptors: their tests run a second time with few to be had.
const FEW: [&str; 3] = ["provide", "host", "uem"];
const DESCRIPTORS: u32 = 256;

/// Prepares, runs everything, and ends with `N passed, N failed`.
pub(crate) fn test(root: &Path) -> Result<()> {
    machine::prepare(root);
    let mut tally = Tally::default();
    let mut step = |what: &str, command: &mut Command| -> Result<()> {
        println!("\n=== {what}");
        let before = tally.failed;
        let success = listen(command, |line| tally.hear(line))?;
        tally.end(success, before);
        Ok(())
    };
    let tests = ["test", "--workspace", "--no-fail-fast"];
    step("all tests; corpora and transcripts are among them", cargo(root).args(tests))?;
    step(&format!("{} again with {DESCRIPTORS} descriptors", FEW.join(", ")), &mut with_few(root))?;
    println!(
        "\n=== the release: static and small, other people's clients with it, and each bench for a moment"
    );
    match elf::release(root) {
        Ok([uem, benches]) => {
            tally.verdict("the release binary is static and small", elf::check(&uem));
            clients::check(root, &uem, &mut tally);
            let smoke = run(Command::new(benches).current_dir(root).args(["all", "--smoke"]));
            tally.verdict("each bench runs", smoke);
        }
        Err(error) => tally.verdict("the release builds", Err(error)),
    }
    println!("\n{} passed, {} failed", tally.passed, tally.failed);
    if tally.failed == 0 { Ok(()) } else { Err("not all tests passed".into()) }
}

/// `ulimit -n` holds for cargo and all that it starts. It lowers the hard limit too, so that nobody raises it.
fn with_few(root: &Path) -> Command {
    let mut shell = Command::new("sh");
    shell.current_dir(root).args(["-c", &format!("ulimit -n {DESCRIPTORS} && exec \"$@\""), "sh"]);
    shell.arg(cargo(root).get_program()).args(["test", "--no-fail-fast"]);
    shell.args(FEW.iter().flat_map(|name| ["--package", name]));
    shell
}
