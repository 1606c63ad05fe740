//! `uem join`: this machine becomes a node of somebody's cloud, or this user one of its users, by a token from
//! `uem invite`; or machines that can be reached by ssh(1) become nodes of this one's.

mod exchange;
mod ssh;

use crate::at::{At, Common};
use crate::failure::{Failure, Outcome, say};
use crate::start::{self, NodeArgs};
use crate::tree;
use host::client::Connection;
use link::dial::Addr;
use link::identity::{Home, Token, Who};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Join a cloud: ADDR… TOKEN, as uem invite printed them; or bring machines into this node's: ssh!HOST…
#[derive(clap::Args, Clone, Debug)]
pub(crate) struct Args {
    #[command(flatten)]
    node: NodeArgs,
    /// For ssh!HOST: where there are programs uem for other kinds of machine, named uem-<what uname -m says there>
    #[arg(long, value_name = "DIR")]
    binaries: Option<PathBuf>,
    /// For ssh!HOST: so many hosts at a time
    #[arg(long, value_name = "N", default_value_t = 16)]
    at_once: usize,
    /// Addresses of nodes, in the order in which they are to be tried as parents, and a token, or - to read it from
    /// standard input; or hosts, as ssh!HOST or ssh!USER@HOST
    #[arg(required = true, value_name = "ADDR")]
    words: Vec<String>,
}

/// How long a node may take to be linked, once it has its certificate.
const LINKED: Duration = Duration::from_secs(20);
const TRY: Duration = Duration::from_millis(10);
/// What a token begins with.
const MARK: &str = "uem1-";

pub(crate) fn run(common: &Common, args: &Args) -> Outcome {
    if args.node.stdio {
        return Err(Failure::misuse("--stdio is of uem up"));
    }
    let node = args.node.clone().of(common);
    crate::up::check(&node)?;
    let (last, rest) = args.words.split_last().expect("clap asks for one at least");
    let is_token = last == "-" || last.to_ascii_lowercase().starts_with(MARK);
    if !is_token && args.words.iter().all(|word| word.starts_with("ssh!")) {
        return ssh::join(common, args, &node);
    }
    if rest.is_empty() || !is_token {
        return Err(Failure::misuse(format!("{last:?} is no token, which would begin with {MARK}"))
            .hint("uem join ADDR… TOKEN, as uem invite printed it"));
    }
    let addrs: Vec<Addr> =
        rest.iter().map(|word| Addr::parse_link(word)).collect::<Result<_, _>>().map_err(Failure::misuse)?;
    let token: Token = read_token(last)?.parse().map_err(|why: String| Failure::misuse(why))?;
    let Some(state) = common.at()?.state else {
        return Err(Failure::misuse("it is this machine that joins").hint("without --at"));
    };
    join(&state, &node, &addrs, &token)
}

/// It may have come by standard input, so that it stands in no command line.
fn read_token(word: &str) -> Result<String, Failure> {
    let mut line = word.to_string();
    if word == "-" {
        line.clear();
        std::io::stdin().read_line(&mut line)?;
    }
    Ok(line.trim().into())
}

fn join(state: &Path, args: &NodeArgs, addrs: &[Addr], token: &Token) -> Outcome {
    start::make_state(state)?;
    let mut home = Home::open(state)?;
    let at = At::local(state.to_path_buf());
    let mut up = at.dial().ok();
    let name = name(&home, up.as_mut(), args)?;
    if let (true, Some(Who::Node { .. })) = (token.for_user(), home.who()) {
        return Err(Failure::new(
            "this token makes a user known, and this machine is a node, whose users are known already",
        )
        .hint("on a machine that is no node, or with another --state DIR"));
    }
    home.may_join(token, &name)?;
    let (answered, who) = ask(&mut home, addrs, token, &name)?;
    if let Who::User { name } = who {
        let addr = &addrs[answered];
        return tell(&format!(
            "{name} is known: uem --at {addr} status, or UEM_AT={addr} in the environment"
        ));
    }
    // The one that answered comes first; --parent says otherwise.
    let mut parents: Vec<String> = args.parent.clone();
    if parents.is_empty() {
        parents = addrs[answered..].iter().chain(&addrs[..answered]).map(Addr::to_string).collect();
    }
    home.set_parents(&parents)?;
    // Machines that reach only this one join through it.
    if home.listen()?.is_none() {
        home.set_listen(crate::invite::ANYWHERE)?;
    }
    let mut node = match up {
        Some(node) => node,
        None => {
            let up = start::start(&NodeArgs { name: Some(name), parent: Vec::new(), ..args.clone() })?;
            say("join", &format!("no node was up here; {up} is now"));
            at.connect()?
        }
    };
    wait_until_linked(&mut node)
}

/// What this node is to be called: what it is called already.
fn name(home: &Home, up: Option<&mut Connection>, args: &NodeArgs) -> Result<String, Failure> {
    let called = match (up, home.who()) {
        (Some(node), _) => Some(tree::text(&tree::record(&node.read_file("self/info.json")?)?, "node")),
        (None, Some(Who::Node { name, .. })) => Some(name),
        (None, Some(Who::User { .. }) | None) => None,
    };
    match (called, &args.name) {
        (Some(called), Some(name)) if called != *name => {
            Err(Failure::new(format!("this node is called {called} already"))
                .hint(format!("without --name; or uem down, and uem up --name {name} first")))
        }
        (Some(called), _) => Ok(called),
        (None, Some(name)) => Ok(name.clone()),
        (None, None) => Ok(host::host_name()),
    }
}

/// Who we are, by the first node of the trust domain that can be reached; and at which address that was.
fn ask(home: &mut Home, addrs: &[Addr], token: &Token, name: &str) -> Result<(usize, Who), Failure> {
    let mut missed: Vec<String> = Vec::new();
    for (at, addr) in addrs.iter().enumerate() {
        let answer = exchange::exchange(addr, home, token, name);
        match answer.and_then(|grant| home.accept(token, &grant)) {
            Ok(who) => return Ok((at, who)),
            Err(why) => missed.push(why),
        }
    }
    // They all may have gone to the same node.
    if missed.iter().all(|why| *why == missed[0]) {
        return Err(Failure::new(missed.swap_remove(0)).about(&addrs[0]));
    }
    let missed: Vec<String> = addrs.iter().zip(missed).map(|(addr, why)| format!("{addr}: {why}")).collect();
    Err(Failure::new(missed.join("; ")))
}

fn wait_until_linked(node: &mut Connection) -> Outcome {
    let until = Instant::now() + LINKED;
    loop {
        let info = tree::record(&node.read_file("self/info.json")?)?;
        let (name, parent) = (tree::text(&info, "node"), tree::text(&info, "parent"));
        if !parent.is_empty() {
            let listens = match tree::text(&info, "link").as_str() {
                "" | crate::role::NONE => String::new(),
                link => format!("; others can join through it at {link}"),
            };
            return tell(&format!("{name} has joined: its parent is {parent}{listens}"));
        }
        if Instant::now() >= until {
            let seeking = tree::text(&info, "seeking");
            let why = if seeking.is_empty() { "it does not say why".into() } else { seeking };
            return Err(Failure::new(format!(
                "{name} has its certificate, and is not linked to a parent yet: {why}"
            ))
            .hint("it goes on trying; uem status tells how that goes"));
        }
        std::thread::sleep(TRY);
    }
}

fn tell(line: &str) -> Outcome {
    writeln!(std::io::stdout(), "{line}")?;
    Ok(0)
}
