//! `uem invite`: the whole command that another machine joins with. The first invitation makes the trust domain.

use crate::at::Common;
use crate::failure::{Failure, Outcome, say};
use crate::{own, start};
use host::client::Connection;
use link::dial::Addr;
use link::identity::{Home, Kind};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Let another machine, or a user, into this node's trust domain, once; prints the command to type there
#[derive(clap::Args, Clone, Debug)]
pub(crate) struct Args {
    /// How long the token is good
    #[arg(long, value_name = "TIME", default_value = "1h", value_parser = ttl)]
    ttl: Duration,
    /// For this user, on any machine, and not for a node
    #[arg(long, value_name = "NAME")]
    user: Option<String>,
    /// Print the token alone
    #[arg(long)]
    token_only: bool,
    /// A line of JSON
    #[arg(long, conflicts_with = "token_only")]
    json: bool,
}

/// How long a node may take to listen, once it has a trust domain.
const LISTENS: Duration = Duration::from_secs(10);
const TRY: Duration = Duration::from_millis(5);

/// The authority's side of an invitation.
pub(crate) struct Authority {
    pub(crate) home: Home,
    /// Where others reach it.
    pub(crate) addresses: Vec<Addr>,
}

pub(crate) fn run(common: &Common, args: &Args) -> Outcome {
    let kind = args.user.clone().map_or(Kind::Node, Kind::User);
    let mut authority = Authority::here(common, "invite")?;
    let token = authority.home.invite(kind, args.ttl)?;
    let addresses: Vec<String> = authority.addresses.iter().map(Addr::to_string).collect();
    let command = format!("uem join {} {token}", addresses.join(" "));
    let mut out = std::io::stdout().lock();
    if args.json {
        let token = token.to_string();
        let seconds = args.ttl.as_secs();
        let record = serde_json::json!({ "token": token, "addresses": addresses, "ttl": seconds });
        writeln!(out, "{record}")?;
    } else if args.token_only {
        writeln!(out, "{token}")?;
    } else {
        writeln!(out, "{command}")?;
        out.flush()?;
        let whom = args.user.as_ref().map_or("one machine".into(), |user| format!("the user {user}"));
        say("invite", &format!("good once, for {whom}, within {}", span(args.ttl)));
    }
    Ok(0)
}

impl Authority {
    /// This machine's node, which is or becomes the authority of its trust domain, and listens.
    pub(crate) fn here(common: &Common, command: &str) -> Result<Authority, Failure> {
        let at = common.at()?;
        let Some(state) = at.state.clone() else {
            return Err(Failure::new(
                "an invitation is given by the machine that has the trust domain's key",
            )
            .hint("without --at, on that machine"));
        };
        let mut node = at.connect_or_start(command)?;
        let name = start::describe(&mut node, at.addr)?.name;
        let mut home = Home::open(&state)?;
        if home.domain().is_none() {
            home.found(&name)?;
            let pin = home.domain().map(|pin| pin.short()).unwrap_or_default();
            say(
                command,
                &format!(
                    "{name} is the authority of a new trust domain ({pin}); its key is in {}",
                    trust(&state).display()
                ),
            );
        }
        if !home.is_authority() {
            let pin = home.domain().map(|pin| pin.short()).unwrap_or_default();
            return Err(Failure::new(format!(
                "{name} is a member of the trust domain {pin}, and has not its key"
            ))
            .hint(format!("uem {command} works on the node where the first invitation was given")));
        }
        let listen = wait_until_it_listens(&mut node, &mut home)?;
        Ok(Authority { addresses: own::addresses(&listen)?, home })
    }
}

/// Where keys and certificates are.
pub(crate) fn trust(state: &Path) -> PathBuf {
    state.join("trust")
}

/// Where a node listens that was not told where: on every address, at a port that it is given once and keeps.
pub(crate) const ANYWHERE: &str = "tls!*!0";

/// The node sees within a heartbeat that it has a trust domain now, and listens; where, its `info` says then.
fn wait_until_it_listens(node: &mut Connection, home: &mut Home) -> Result<Addr, Failure> {
    if home.listen()?.is_none() {
        home.set_listen(ANYWHERE)?;
    }
    let until = Instant::now() + LISTENS;
    loop {
        let info = crate::tree::record(&node.read_file("self/info.json")?)?;
        match crate::tree::text(&info, "link").as_str() {
            crate::role::NONE => {
                return Err(Failure::new("this node does not listen: it was started with --link none")
                    .hint("uem down --keep, and uem up without it"));
            }
            "" if Instant::now() >= until => {
                let kept = home.listen()?.unwrap_or_default();
                return Err(Failure::new(format!("this node does not listen for others at {kept}"))
                    .hint("the log in the state directory says why; uem up --link ADDR, where else"));
            }
            "" => std::thread::sleep(TRY),
            link => return Addr::parse_link(link).map_err(Failure::new),
        }
    }
}

/// A time as it is given on a command line.
fn span(time: Duration) -> String {
    let units = [(86_400, "d"), (3_600, "h"), (60, "m")];
    let secs = time.as_secs();
    match units.iter().find(|(unit, _)| secs >= *unit && secs.is_multiple_of(*unit)) {
        Some((unit, name)) => format!("{}{name}", secs / unit),
        None => format!("{}s", time.as_secs_f64()),
    }
}

fn ttl(text: &str) -> Result<Duration, String> {
    let span = op::parse_span(text).filter(|span| !span.is_zero());
    span.ok_or_else(|| format!("{text:?} is no time; write 10m, 1h or 2d"))
}
