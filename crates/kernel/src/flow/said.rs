//! The verbs `stdin`, `stdout`, `stderr` and `records`, and the words of each.

use super::merge::{Form, Layout, Order};
use crate::{Kernel, group::Begun};
use alloc::{format, vec::Vec};
use op::{Errno, Error, Result, SessionId};

pub(super) fn form_of(verb: &str, words: &[&str]) -> Result<Form> {
    let form = |order, layout| Ok(Form { order, layout });
    match words {
        ["lines"] => form(Order::Mixed, Layout::Plain),
        ["tag"] => form(Order::Mixed, Layout::Tag),
        ["fold"] => form(Order::Fold, Layout::Plain),
        ["rank"] => form(Order::Rank, Layout::Plain),
        ["frames"] => form(Order::Mixed, Layout::Frames),
        ["frames", "fold"] => form(Order::Fold, Layout::Frames),
        ["frames", "rank"] => form(Order::Rank, Layout::Frames),
        _ => {
            let cause = format!(
                "{verb} is one of lines, tag, fold, rank, reduce CMD…, frames, frames fold, frames rank"
            );
            Err(Error::new(Errno::INVAL, cause))
        }
    }
}

pub(super) fn words_of(form: Form) -> &'static str {
    match (form.layout, form.order) {
        (Layout::Frames, Order::Mixed) => "frames",
        (Layout::Frames, Order::Fold) => "frames fold",
        (Layout::Frames, Order::Rank) => "frames rank",
        (Layout::Plain, Order::Mixed) => "lines",
        (Layout::Tag, _) => "tag",
        (Layout::Plain, Order::Fold) => "fold",
        (Layout::Plain, Order::Rank) => "rank",
    }
}

pub(super) type Words<'a> = &'a [Vec<u8>];

pub(crate) fn stdin(k: &mut Kernel, id: SessionId, words: Words<'_>, dry: bool) -> Result<Begun> {
    k.set_flow(id, "stdin", words, dry)
}

pub(crate) fn stdout(k: &mut Kernel, id: SessionId, words: Words<'_>, dry: bool) -> Result<Begun> {
    k.set_flow(id, "stdout", words, dry)
}

pub(crate) fn stderr(k: &mut Kernel, id: SessionId, words: Words<'_>, dry: bool) -> Result<Begun> {
    k.set_flow(id, "stderr", words, dry)
}

pub(crate) fn records(k: &mut Kernel, id: SessionId, words: Words<'_>, dry: bool) -> Result<Begun> {
    k.set_flow(id, "records", words, dry)
}

/// Whoever made this share adds no members: when these have ended, so have their outputs.
pub(crate) fn whole(k: &mut Kernel, id: SessionId, _: Words<'_>, dry: bool) -> Result<Begun> {
    k.can_be_group(id, "whole")?;
    if !dry {
        k.flow_mut(id)?.whole = true;
        k.append(format!("flow {} whole", id.0).into_bytes());
        k.flows.insert(id);
    }
    Ok(Begun::default())
}
