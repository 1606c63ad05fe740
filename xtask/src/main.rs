//! The chores of the repository: `cargo xtask help` lists them.

mod bench;
mod ci;
mod clients;
mod elf;
mod fuzz;
mod machine;
mod man;
mod run;
mod tally;
mod test;
mod tidy;

use std::path::Path;
use std::process::ExitCode;

const HELP: &str = "\
cargo xtask test                    install what the tests need, run them all, end with `N passed, N failed`
cargo xtask ci                      formatting, clippy, tidy, test: what a change must pass
cargo xtask tidy                    the rules of the repository; `cargo test -p xtask` checks the same
cargo xtask man                     write docs/manual/files.md and verbs.md from the kernel's tables
cargo xtask bench NAME|all [--smoke]  build for release and run a bench; --smoke takes seconds and proves nothing
cargo xtask fuzz [TARGET] [SECONDS]  fuzz one target, or each, 60 s unless said
";

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = args.iter().map(String::as_str).collect();
    let root = root();
    let done = match words[..] {
        ["test"] => test::test(root),
        ["ci"] => ci::ci(root),
        ["tidy"] => tidy::tidy(root),
        ["man"] => man::write(root),
        ["bench", ref rest @ ..] if !rest.is_empty() => bench::bench(root, rest),
        ["fuzz", ref rest @ ..] if rest.len() <= 2 => fuzz::fuzz(root, rest),
        ["help" | "--help" | "-h"] => {
            print!("{HELP}");
            return ExitCode::SUCCESS;
        }
        _ => {
            eprint!("{HELP}");
            return ExitCode::from(2);
        }
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("xtask: {error}");
            ExitCode::FAILURE
        }
    }
}

/// The repository: this package's directory is in it.
fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("xtask is a directory of the repository")
}
