//! Files that go along with a program: into the store of the node that we talk to, from where the others get them.

use crate::failure::Failure;
use host::client::{Connection, WRITE};
use op::{Content, Errno, Fid, Op};
use std::collections::VecDeque;
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{Read, Seek};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// Writes on their way to the node at a time.
const AHEAD: usize = 4;

/// Sees to it that the node has what these files have (FILE, or FILE=NAME), and gives the lines of `ctl` that put them into
/// a session's own directory, wherever it runs.
pub(crate) fn lines(node: &mut Connection, files: &[OsString]) -> Result<Vec<u8>, Failure> {
    let mut lines = Vec::new();
    if files.is_empty() {
        return Ok(lines);
    }
    let from = node.read_file("self/ctl")?;
    let from = String::from_utf8_lossy(from.trim_ascii()).into_owned();
    for file in files {
        let (path, name) = named(file)?;
        let about = |failure: Failure| failure.about(path.display());
        let content = content(node, "self/store", path, |_| {}).map_err(about)?;
        lines.extend(format!("ns put {content} ").bytes());
        kernel::quote(name.as_bytes(), &mut lines);
        lines.extend(format!(" from={from}\n").bytes());
    }
    Ok(lines)
}

/// A file, and what it is called where it goes.
fn named(file: &OsStr) -> Result<(&Path, String), Failure> {
    let bytes = file.as_bytes();
    let whole = Path::new(file);
    let at = bytes.iter().rposition(|b| *b == b'=').filter(|_| !whole.exists());
    let (path, name) = match at {
        Some(at) => (Path::new(OsStr::from_bytes(&bytes[..at])), Some(OsStr::from_bytes(&bytes[at + 1..]))),
        None => (whole, whole.file_name()),
    };
    let name = name.and_then(OsStr::to_str).filter(|name| !name.is_empty() && !name.contains(['/', '\n']));
    match name {
        Some(name) => Ok((path, name.into())),
        None => Err(Failure::misuse(format!("--put {}: it needs a name: FILE=NAME", file.display()))),
    }
}

/// Hashes a file, and sends it to a store if that has not got it. Says what it is called as soon as the store knows of it.
pub(crate) fn content(
    node: &mut Connection,
    store: &str,
    path: &Path,
    known: impl FnOnce(Content),
) -> Result<Content, Failure> {
    let mut file = File::open(path)?;
    if file.metadata()?.is_dir() {
        return Err(Failure::new("it is a directory; put the files in it, or a tar of it"));
    }
    let mut hash = blake3::Hasher::new();
    let mut buffer = vec![0; 1 << 20];
    let mut size = 0;
    loop {
        match file.read(&mut buffer)? {
            0 => break,
            n => {
                hash.update(&buffer[..n]);
                size += n as u64;
            }
        }
    }
    let content = Content { hash: *hash.finalize().as_bytes(), size };
    let dir = node.go(store)?;
    let (there, found) = node.walk(dir, &content.to_string());
    if node.wait_for(found).is_ok() {
        node.clunk(there);
        node.clunk(dir);
        known(content);
        return Ok(content);
    }
    let made = node.call(Op::Create { fid: dir, name: content.to_string(), mode: 0o444, access: WRITE });
    match made {
        Ok(_) => {}
        // Somebody else sends it at this moment.
        Err(error) if error.errno == Errno::EXIST => {
            node.clunk(dir);
            known(content);
            return Ok(content);
        }
        Err(error) => {
            node.clunk(dir);
            return Err(error.into());
        }
    }
    known(content);
    let sent = pour(node, dir, &mut file, buffer);
    node.call(Op::Clunk { fid: dir })?;
    match sent? {
        sent if sent == size => Ok(content),
        _ => Err(Failure::new("it has changed while it was read")),
    }
}

/// Writes a file to an open content.
fn pour(node: &mut Connection, fid: Fid, file: &mut File, mut buffer: Vec<u8>) -> Result<u64, Failure> {
    file.rewind()?;
    buffer.truncate(node.max_io() as usize);
    let (mut offset, mut flying) = (0, VecDeque::new());
    loop {
        let n = file.read(&mut buffer)?;
        if n > 0 {
            flying.push_back(node.send(Op::Write { fid, offset, data: buffer[..n].to_vec() }));
            node.flush();
            offset += n as u64;
        }
        let most = if n == 0 { 0 } else { AHEAD };
        while flying.len() > most {
            let tag = flying.pop_front().expect("there is one");
            node.wait_for(tag).map_err(|error| match error.errno {
                Errno::FBIG | Errno::BADMSG => Failure::from(error).hint("has it changed while it was read?"),
                _ => Failure::from(error),
            })?;
        }
        if n == 0 {
            return Ok(offset);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_has_its_own_name_or_another() {
        let check = |text: &str, path: &str, name: &str| {
            let word = OsString::from(text);
            let (of, called) = named(&word).unwrap();
            assert_eq!((of, called.as_str()), (Path::new(path), name));
        };
        check("./a/prog", "./a/prog", "prog");
        check("/no/x=y=prog", "/no/x=y", "prog");
        for wrong in ["/", "..", "x=", "x=a/b"] {
            assert_eq!(named(OsStr::new(wrong)).unwrap_err().status, crate::failure::MISUSE, "{wrong}");
        }
    }
}
