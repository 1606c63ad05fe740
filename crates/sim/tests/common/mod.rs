//! Clouds with contents in their stores.
#![expect(clippy::unwrap_used, reason = "a test that finds nothing to unwrap has failed")]

use op::{Access, Content, Op, Reply, Result};
use sim::{
    cloud::{Cloud, Plan, client::Who, model::SETTLED},
    store::content,
};

/// Nodes `n0`, `n1` and so on; each below the one whose number is given.
pub(crate) fn cloud(parents: &[Option<usize>]) -> Cloud {
    let mut cloud = Cloud::new(1);
    for (at, parent) in parents.iter().enumerate() {
        let plan = Plan::named(&format!("n{at}"));
        match parent {
            Some(parent) => cloud.add_below(*parent, plan),
            None => cloud.add(plan),
        };
    }
    cloud.run(SETTLED);
    cloud
}

/// So many bytes, others for each seed.
pub(crate) fn bytes(len: usize, seed: u64) -> Vec<u8> {
    (0..len as u64).map(|at| ((at ^ seed << 32).wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 40) as u8).collect()
}

/// An operation that may fail.
pub(crate) fn called(cloud: &mut Cloud, who: Who, op: Op) -> Result<Reply> {
    match cloud.call(who, op) {
        Reply::Failed(error) => Err(error),
        reply => Ok(reply),
    }
}

/// Writes a content to a node's store, under this name.
pub(crate) fn write(cloud: &mut Cloud, who: Who, store: &str, name: Content, data: &[u8]) -> Result<()> {
    let fid = cloud.walk(who, store)?;
    let access = Access { write: true, ..Access::default() };
    let result = (|| {
        called(cloud, who, Op::Create { fid, name: name.to_string(), mode: 0o644, access })?;
        for (at, chunk) in data.chunks(100_000).enumerate() {
            called(cloud, who, Op::Write { fid, offset: at as u64 * 100_000, data: chunk.to_vec() })?;
        }
        Ok(())
    })();
    cloud.call(who, Op::Clunk { fid });
    result
}

/// The same with its own name, at a node.
pub(crate) fn put(cloud: &mut Cloud, at: usize, data: &[u8]) -> Content {
    let who = cloud.connect(at, "ericvh");
    write(cloud, who, "self/store", content(data), data).unwrap();
    cloud.hang_up(who);
    content(data)
}
