//! Races: `benches NAME|all [--smoke] [--repeats N]` runs peer, floor and us in turn and prints one table;
//! `benches setup` installs peers. docs/PERFORMANCE.md has what came out.
//!
//! ```text
//!   table     who runs, interleaved; medians, spread, promises
//!   cost      wall and CPU        world   nodes, folders, pinning     floor   the same with nothing around it
//!   lanes     sessions in numbers over one connection                 peers   the others      ssh  one of them
//!   cloud     many nodes, linked
//!   storm control local decay wire remote fanout members flow deaf aggregate query send idle the benches
//! ```

mod aggregate;
mod cloud;
mod control;
mod cost;
mod deaf;
mod decay;
mod fanout;
mod floor;
mod flow;
mod idle;
mod lanes;
mod local;
mod many;
mod members;
mod peers;
mod query;
mod remote;
mod roles;
mod send;
mod ssh;
mod storm;
mod table;
mod wire;
mod world;

use std::ffi::OsString;
use std::path::Path;
use table::Outcome;

/// How a bench is run.
pub(crate) struct Run {
    /// Seconds instead of minutes, and nothing proved.
    pub(crate) smoke: bool,
    pub(crate) repeats: usize,
}

impl Run {
    pub(crate) fn count(&self, full: usize, smoke: usize) -> usize {
        if self.smoke { smoke } else { full }
    }
}

struct Bench {
    name: &'static str,
    doc: &'static str,
    run: fn(&Run) -> Outcome<()>,
}

const BENCHES: &[Bench] = &[
    Bench {
        name: "storm",
        doc: "20,000 tiny programs, two at a time, every status collected",
        run: storm::storm,
    },
    Bench { name: "echo", doc: "2,000 × echo hi, stdout kept and read afterwards", run: storm::echo },
    Bench { name: "null", doc: "1 M sessions that run nothing: CPU and memory of each", run: control::null },
    Bench { name: "local", doc: "one command: clone, exec, stdout, wait", run: local::local },
    Bench { name: "decay", doc: "launch rate with history; an idle node; its start", run: decay::decay },
    Bench { name: "wire", doc: "small reads and stats over 9P and FUSE", run: wire::wire },
    Bench { name: "remote", doc: "one command on another node, over TLS", run: remote::remote },
    Bench { name: "fanout", doc: "true on 100 daemons; what 1 to 1,000 nodes cost", run: fanout::fanout },
    Bench { name: "members", doc: "2,048 × date over 64 daemons, output collected", run: members::members },
    Bench { name: "flow", doc: "bytes of eight daemons merged, and dealt to them", run: flow::flow },
    Bench { name: "deaf", doc: "status while 10,000 members of a group start", run: deaf::deaf },
    Bench {
        name: "aggregate",
        doc: "a look at all of 1,000 nodes, and of 10,000 kernels",
        run: aggregate::aggregate,
    },
    Bench { name: "query", doc: "ls of a query over 10,000 nodes that change", run: query::query },
    Bench { name: "send", doc: "16 MiB of program to 64 nodes, and started there", run: send::send },
    Bench { name: "idle", doc: "a node with 100 children and nothing to do", run: idle::idle },
];

fn main() -> std::process::ExitCode {
    let args: Vec<OsString> = std::env::args_os().skip(1).collect();
    match begin(&args) {
        Ok(()) => std::process::ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("benches: {error}");
            std::process::ExitCode::FAILURE
        }
    }
}

fn begin(args: &[OsString]) -> Outcome<()> {
    let words: Vec<&str> = args.iter().filter_map(|word| word.to_str()).collect();
    let number = |at: usize| words.get(at).and_then(|word| word.parse().ok()).unwrap_or(0);
    let mount = || args.get(2).map(Into::into);
    match words[..] {
        ["role-solo", state, ..] => roles::solo(state.as_ref(), mount()),
        ["role-null", state, ..] => roles::null(state.as_ref(), mount()),
        ["role-echo", socket, _, _] => roles::echo(socket.as_ref(), number(2), number(3)),
        ["role-cloud", dir, ..] => cloud::threads(dir.as_ref(), number(2), number(3), number(4)),
        ["role-empty", dir] => roles::empty(Path::new(dir)),
        ["setup"] => peers::setup(),
        [name, ref rest @ ..] => bench(name, rest),
        [] => Err(help().into()),
    }
}

fn bench(name: &str, flags: &[&str]) -> Outcome<()> {
    let (mut smoke, mut repeats) = (false, None);
    let mut flags = flags.iter();
    while let Some(flag) = flags.next() {
        match *flag {
            "--smoke" => smoke = true,
            "--only" => flags.next().into_iter().for_each(|text| drop(table::ONLY.set(String::from(*text)))),
            "--repeats" => repeats = flags.next().and_then(|word| word.parse().ok()),
            other => return Err(format!("{other}: unknown\n{}", help()).into()),
        }
    }
    let run = Run { smoke, repeats: repeats.unwrap_or(if smoke { 1 } else { 5 }) };
    let chosen: Vec<&Bench> = BENCHES.iter().filter(|bench| name == "all" || bench.name == name).collect();
    if chosen.is_empty() {
        return Err(format!("{name}: unknown\n{}", help()).into());
    }
    chosen.into_iter().try_for_each(|bench| (bench.run)(&run))
}

fn help() -> String {
    let mut text = String::from(
        "benches NAME|all [--smoke] [--repeats N] [--only TEXT]; benches setup installs peers\n",
    );
    BENCHES.iter().for_each(|bench| text.push_str(&format!("  {:10}{}\n", bench.name, bench.doc)));
    text
}
