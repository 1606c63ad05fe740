//! Programs that run by themselves: what they do stands in their arguments. They outlive their node, and write whether
//! it is there or not.
//!
//! | command | what it does |
//! |---|---|
//! | `true` · `exit N` · `odd N` | ends at once; `odd` with 1 if N is odd, else with 0 |
//! | `sleep SECONDS` | ends after that |
//! | `emit BYTES CHUNK` | writes so many bytes of its own [`pattern`], a chunk a millisecond, and ends |
//! | `cat` | writes what it is fed, and ends with its stdin |
//! | `teecat` | the same, to both outputs |
//! | `sum` | writes how many lines it was fed, and the sum of their hashes, as a line of its own kind; such a line counts for what it says ([`summed`]) |
//! | `slowcat R … R` | the same; if both are the same number, 20 ms for each piece |
//! | `stuckcat R … R` | the same; if both are the same number, it takes nothing |
//! | `nosuch` | cannot be started |
//! | anything else | runs until it is killed |

use crate::provider::{Stand, started};
use crate::world::World;
use op::{Act, Errno, Error, Exit, How, SessionId, Stream, Tell, Usage, Wall};
use std::time::Duration;

/// What a program does next, and what it does after that.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Step {
    Start,
    Emit { left: usize, chunk: usize },
    Fed,
    Swallow,
    Eof,
    Exit(How),
}

/// The byte that `emit` writes at an offset: no two programs write the same.
pub fn pattern(node: usize, session: SessionId, offset: u64) -> u8 {
    let mixed = (offset ^ (node as u64) << 40 ^ session.0 << 24).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    b' ' + ((mixed >> 33) % 95) as u8
}

/// What `sum` writes when it was fed this: the same however the lines were ordered, and whether some were summed before.
pub fn summed(bytes: &[u8]) -> String {
    let (mut count, mut hashes) = (0_u64, 0_u64);
    for line in bytes.split_inclusive(|b| *b == b'\n') {
        let line = line.strip_suffix(b"\n").unwrap_or(line);
        let text = std::str::from_utf8(line).ok();
        let sums = text.and_then(|text| text.strip_prefix('=')?.split_once('='));
        let sums = sums.and_then(|(count, hash)| Some((count.parse().ok()?, hash.parse().ok()?)));
        let (n, hash): (u64, u64) = sums.unwrap_or_else(|| (1, fnv(line)));
        count += n;
        hashes = hashes.wrapping_add(hash);
    }
    format!("={count}={hashes}\n")
}

/// Fowler, Noll and Vo's hash 1a, of 64 bits.
pub(super) fn fnv(bytes: &[u8]) -> u64 {
    bytes
        .iter()
        .fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3))
}

/// The step that an act leads to, and when it is taken.
pub(super) fn after(act: &Act) -> Option<(SessionId, Step, Duration)> {
    let soon = Duration::from_micros(300);
    Some(match act {
        Act::Start(launch) => (launch.session, Step::Start, soon),
        Act::Feed { session, .. } | Act::Unfeed(session) => (*session, Step::Fed, soon),
        Act::Signal { session, signal, .. } => (*session, Step::Exit(How::Signal(*signal as u8)), soon),
        Act::CloseStdin(session) => (*session, Step::Eof, soon),
        Act::Adopt { .. }
        | Act::Freeze(_)
        | Act::Thaw(_)
        | Act::Resize { .. }
        | Act::Limit { .. }
        | Act::Trim { .. }
        | Act::Append { .. }
        | Act::Free(_) => return None,
    })
}

/// Takes a step: what is told, and the step after it.
pub(super) fn take(
    (node, session): (usize, SessionId),
    step: Step,
    world: &mut World,
    now: Wall,
) -> (Vec<Tell>, Option<(Step, Duration)>) {
    let Some(program) = world.provider.programs.get(&session) else { return (vec![], None) };
    if program.stand == Stand::Ended {
        return (vec![], None);
    }
    let argv = &program.launch.argv;
    let word = |at: usize| argv.get(at).map(|w| String::from_utf8_lossy(w).into_owned()).unwrap_or_default();
    let number = |at: usize| word(at).parse::<usize>().unwrap_or(0);
    let ends = |how, world: &World| {
        let closed = [Stream::Out, Stream::Err].map(|stream| Tell::Closed { session, stream });
        let program = &world.provider.programs[&session];
        let still = closed.into_iter().enumerate().filter(|(at, _)| !program.closed[*at]).map(|(_, t)| t);
        still.chain([Tell::Exited { session, exit: exit(how, now) }]).collect()
    };
    let is_cat = matches!(&*word(0), "cat" | "teecat" | "slowcat" | "stuckcat");
    let chosen = argv.len() > 2 && argv[1] == argv[argv.len() - 1];
    match step {
        Step::Start => {
            if word(0) == "nosuch" {
                let error = Error::new(Errno::NOENT, "nosuch is in no directory of PATH");
                return (vec![Tell::Refused { session, error }], None);
            }
            let next = match word(0).as_str() {
                "true" => Some((Step::Exit(How::Code(0)), Duration::ZERO)),
                "exit" => Some((Step::Exit(How::Code(number(1) as u8)), Duration::ZERO)),
                "odd" => Some((Step::Exit(How::Code((number(1) % 2) as u8)), Duration::ZERO)),
                "sleep" => Some((Step::Exit(How::Code(0)), Duration::from_secs(number(1) as u64))),
                "emit" => Some((Step::Emit { left: number(1), chunk: number(2).max(1) }, Duration::ZERO)),
                _ => None,
            };
            let pid = world.provider.pid();
            (vec![started(session, pid)], next)
        }
        Step::Emit { left: 0, .. } => (ends(How::Code(0), world), None),
        Step::Emit { left, chunk } => {
            let from = program.spool[Stream::Out as usize].len() as u64;
            let now = left.min(chunk) as u64;
            let data: Vec<u8> = (from..from + now).map(|at| pattern(node, session, at)).collect();
            let tell = world.provider.output(session, Stream::Out, &data);
            let next = Step::Emit { left: left - now as usize, chunk };
            (vec![tell], Some((next, Duration::from_millis(1))))
        }
        Step::Fed if word(0) == "slowcat" && chosen && !program.unfed => {
            (vec![], Some((Step::Swallow, Duration::from_millis(20))))
        }
        Step::Fed if word(0) == "stuckcat" && chosen && !program.unfed => (vec![], None),
        Step::Fed | Step::Swallow => {
            let Some(data) = program.feeding.clone() else { return (vec![], None) };
            let echoes = is_cat && !program.unfed;
            let tees = echoes && word(0) == "teecat";
            let mut tells = vec![];
            if echoes {
                tells.push(world.provider.output(session, Stream::Out, &data));
            }
            if tees {
                tells.push(world.provider.output(session, Stream::Err, &data));
            }
            tells.push(Tell::Fed { session, result: Ok(()) });
            (tells, None)
        }
        Step::Eof if !is_cat && word(0) != "sum" => (vec![], None),
        Step::Eof if program.feeding.is_some() => (vec![], Some((step, Duration::from_millis(1)))),
        Step::Eof if word(0) == "sum" => {
            let sum = summed(&program.taken);
            let wrote = world.provider.output(session, Stream::Out, sum.as_bytes());
            let mut tells: Vec<Tell> = ends(How::Code(0), world);
            tells.insert(0, wrote);
            (tells, None)
        }
        Step::Eof => (ends(How::Code(0), world), None),
        Step::Exit(_) if program.stand == Stand::Starting => (vec![], Some((step, Duration::from_millis(1)))),
        Step::Exit(how) => (ends(how, world), None),
    }
}

fn exit(how: How, at: Wall) -> Exit {
    Exit { how, usage: Usage { user_us: 10_000, sys_us: 0, maxrss_kib: 1024 }, at }
}
