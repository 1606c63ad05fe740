//! `uem revoke`: takes back the certificates of a node or user. The list of what was taken back goes from node to node,
//! and breaks open links the moment it comes.

use crate::at::Common;
use crate::failure::{Failure, Outcome};
use link::identity::Home;
use std::io::Write;

/// Take a node or user out of this node's trust domain, now
#[derive(clap::Args, Clone, Debug)]
pub(crate) struct Args {
    /// The name or id of a node, or the name of a user; without one, list whom certificates were granted
    who: Option<String>,
    /// A line of JSON each
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(common: &Common, args: &Args) -> Outcome {
    let Some(state) = common.at()?.state else {
        return Err(Failure::new(
            "certificates are taken back by the machine that has the trust domain's key",
        )
        .hint("without --at, on that machine"));
    };
    let mut home = Home::open(&state)?;
    let mut out = std::io::stdout().lock();
    let Some(who) = &args.who else {
        for member in home.members()? {
            let kind = if member.user { "user" } else { "node" };
            match args.json {
                true => {
                    let record = serde_json::json!({ "kind": kind, "name": member.name, "id": member.id.to_string(),
                        "granted": member.granted, "revoked": member.revoked });
                    writeln!(out, "{record}")?;
                }
                false if member.revoked => writeln!(out, "{kind} {} {} revoked", member.name, member.id)?,
                false => writeln!(out, "{kind} {} {}", member.name, member.id)?,
            }
        }
        return Ok(0);
    };
    home.revoke(who)?;
    writeln!(out, "revoked: {who}")?;
    Ok(0)
}
