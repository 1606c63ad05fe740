//! What each verb of a node does. A function a row of `verbs`.

use super::{Words, none, usage};
use crate::{Effect, Kernel, limits, words::lossy};
use alloc::{format, string::String, vec::Vec};
use op::{Errno, Error, Result, Uid};

pub(crate) fn down(k: &mut Kernel, uid: Uid, words: Words<'_>) -> Result<()> {
    let keep = match words {
        [] => false,
        [word] if word == b"keep" => true,
        _ => return Err(usage("down")),
    };
    if !k.stands_for(uid, k.node.owner.uid) {
        let cause = format!("only {} and root can stop this node", k.node.owner.name);
        return Err(Error::new(Errno::PERM, cause));
    }
    if !keep {
        k.end_all();
    }
    k.out.push(Effect::Down { keep });
    Ok(())
}

fn owner_only(k: &Kernel, uid: Uid, verb: &str) -> Result<()> {
    if k.stands_for(uid, k.node.owner.uid) {
        return Ok(());
    }
    let cause = format!("{verb}: only {} and root can do that on {}", k.node.owner.name, k.node.name);
    Err(Error::new(Errno::PERM, cause))
}

pub(crate) fn drain(k: &mut Kernel, uid: Uid, words: Words<'_>) -> Result<()> {
    none("drain", words)?;
    owner_only(k, uid, "drain")?;
    k.drain(true);
    Ok(())
}

pub(crate) fn resume(k: &mut Kernel, uid: Uid, words: Words<'_>) -> Result<()> {
    none("resume", words)?;
    owner_only(k, uid, "resume")?;
    k.drain(false);
    Ok(())
}

/// What the node itself says of it, and nobody else can.
const OWN: [&str; 16] = [
    "node", "state", "user", "sessions", "running", "started", "up_secs", "id", "path", "parent", "above",
    "children", "seeking", "since", "why", "age",
];

pub(crate) fn label(k: &mut Kernel, uid: Uid, words: Words<'_>) -> Result<()> {
    owner_only(k, uid, "label")?;
    let words: Vec<String> = words.iter().map(|word| lossy(word)).collect();
    let pairs: Vec<(&str, &str)> = words.iter().filter_map(|word| word.split_once('=')).collect();
    if pairs.is_empty() || pairs.len() < words.len() {
        return Err(usage("label"));
    }
    for (key, value) in &pairs {
        let plain = |c: char| c.is_alphanumeric() || "_-.".contains(c);
        if key.is_empty() || key.len() > limits::NAME || !key.chars().all(plain) || OWN.contains(key) {
            let cause =
                format!("label {key}: a key is letters, digits and _ - . and no attribute of every node");
            return Err(Error::new(Errno::INVAL, cause));
        }
        let odd = |part: &str| part.is_empty() || matches!(part, "." | ".." | "...");
        if *key == "loc" && !value.is_empty() && value.trim_matches('/').split('/').any(odd) {
            let cause = format!("label loc={value}: a location is a path, as in site/room/rack");
            return Err(Error::new(Errno::INVAL, cause));
        }
        if value.len() > limits::NOTICE {
            let cause = format!("label {key}: a value has at most {} bytes", limits::NOTICE);
            return Err(Error::new(Errno::TOOBIG, cause));
        }
    }
    let new = pairs.iter().filter(|(key, _)| !k.node.attrs.iter().any(|(known, _)| known == key)).count();
    if k.node.attrs.len() + new > limits::ATTRS {
        let cause = format!("a node has at most {} attributes", limits::ATTRS);
        return Err(Error::new(Errno::AGAIN, cause));
    }
    for (key, value) in pairs {
        k.label(key, value);
    }
    Ok(())
}

pub(crate) fn leave(k: &mut Kernel, uid: Uid, words: Words<'_>) -> Result<()> {
    none("leave", words)?;
    owner_only(k, uid, "leave")?;
    if k.cloud.above.is_none() && k.cloud.seeking.is_empty() {
        let cause = format!("{} has no parent to leave", k.node.name);
        return Err(Error::new(Errno::SRCH, cause));
    }
    k.out.push(Effect::Leave);
    Ok(())
}
