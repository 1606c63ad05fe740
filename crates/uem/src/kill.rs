//! `uem kill`: a signal to sessions, or the polite end; and giving back what has ended.

use crate::at::Common;
use crate::failure::{Failure, Outcome};
use crate::id::{Id, Ids};
use host::client::{Connection, ROOT, WRITE};
use op::{Errno, Error, Op, Tag};

/// End sessions: TERM, and after 5 s KILL for all that came of them
#[derive(clap::Args, Clone, Debug)]
pub(crate) struct Args {
    /// Only this signal, by name or number
    #[arg(short, long, value_name = "SIG")]
    signal: Option<String>,
    /// Give everything back: what runs is killed, output and status are forgotten
    #[arg(long, conflicts_with = "signal")]
    free: bool,
    /// Sessions, or sets such as n[1-64]/3; nodes, as net/b or n[1-3]: all of yours there. A signal's name may follow
    #[arg(required = true, value_name = "ID")]
    sessions: Vec<String>,
}

pub(crate) fn run(common: &Common, args: &Args) -> Outcome {
    let (ids, signal) = understand(args)?;
    let line = match (&signal, args.free) {
        (_, true) => "free\n".to_string(),
        (Some(signal), _) => format!("kill {signal}\n"),
        (None, _) => "kill\n".to_string(),
    };
    let mut node = common.connect()?;
    // All are told before anybody's answer is waited for.
    let told: Vec<[Tag; 3]> = ids.iter().map(|id| tell(&mut node, &id.file("ctl"), &line)).collect();
    let mut first = None;
    for (id, tags) in ids.iter().zip(told) {
        if let Err(error) = answer(&mut node, tags) {
            let failure = id.failed(&mut node, error);
            if let Some(earlier) = first.replace(failure) {
                earlier.tell("kill");
            }
        }
    }
    first.map_or(Ok(0), Err)
}

fn tell(node: &mut Connection, ctl: &str, line: &str) -> [Tag; 3] {
    let (fid, walked) = node.walk(ROOT, ctl);
    let opened = node.send(Op::Open { fid, access: WRITE });
    // Not clunked: that would give up a write which another node has not answered yet.
    [walked, opened, node.send(Op::Write { fid, offset: 0, data: line.as_bytes().to_vec() })]
}

fn answer(node: &mut Connection, tags: [Tag; 3]) -> Result<(), Error> {
    let [walked, opened, written] = tags.map(|tag| node.wait_for(tag));
    walked?;
    // A walk that stopped half-way made no fid.
    opened.map_err(|error| if error.errno == Errno::BADF { Errno::NOENT.into() } else { error })?;
    written.map(drop)
}

/// `uem kill 56 57 INT`: what is no session at the end is a signal.
fn understand(args: &Args) -> Result<(Vec<Id>, Option<String>), Failure> {
    let (mut names, mut signal) = (&args.sessions[..], args.signal.clone());
    if let (None, false, [rest @ .., last]) = (&signal, args.free, names)
        && !rest.is_empty()
        && is_signal(last)
    {
        (names, signal) = (rest, Some(last.clone()));
    }
    if let Some(word) = signal.as_ref().filter(|word| !is_signal(word) && word.parse::<u8>().is_err()) {
        return Err(Failure::misuse(format!("{word:?} is no signal; write INT, TERM, 9 or the like")));
    }
    let mut ids = Vec::new();
    for name in names {
        let named = Ids::parse(name).map_err(Failure::misuse)?.0;
        // A slip of the finger must not end all that runs on a node.
        if named.iter().any(Id::is_node) && !name.contains(['[', '/']) {
            let hint = format!("for everything of yours on the node of that name: net/{name}");
            return Err(Failure::misuse(format!("{name:?} is no session and no signal")).hint(hint));
        }
        ids.extend(named);
    }
    Ok((ids, signal))
}

fn is_signal(word: &str) -> bool {
    let upper = word.to_ascii_uppercase();
    let name = upper.strip_prefix("SIG").unwrap_or(&upper);
    kernel::manual::SIGNALS.iter().any(|(known, _)| *known == name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signal_may_follow_the_sessions() {
        let args = |words: &[&str], signal: Option<&str>| Args {
            signal: signal.map(String::from),
            free: false,
            sessions: words.iter().map(ToString::to_string).collect(),
        };
        let check = |words: &[&str], flag, count, signal: Option<&str>| {
            let (ids, found) = understand(&args(words, flag)).unwrap();
            assert_eq!((ids.len(), found.as_deref()), (count, signal), "{words:?}");
        };
        check(&["1"], None, 1, None);
        check(&["1", "n/2", "sigint"], None, 2, Some("sigint"));
        check(&["1", "2"], Some("9"), 2, Some("9"));
        check(&["n[1-3]/2", "b/[1,3]", "KILL"], None, 5, Some("KILL"));
        check(&["n[1-3]", "net/b"], None, 4, None);
        assert!(understand(&args(&["b"], None)).is_err(), "a node is not ended by a word alone");
        assert!(understand(&args(&["1", "bogus"], None)).is_err());
        assert!(understand(&args(&["1"], Some("bogus"))).is_err());
    }
}
