//! Names: of files, which are bytes and must become text; of users and groups, which are numbers.

use super::file::Sys;
use super::limits;
use op::User;
use std::collections::HashMap;
use std::io::Read;
use std::sync::Arc;
use std::time::Instant;

/// Bytes that are no text are shown as these characters of the private use area, byte 0x80 as the first one.
const FIRST: u32 = 0xF780;

/// A name or the target of a link as text, from which [`bytes`] makes the same bytes again.
pub fn text(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        text.push_str(chunk.valid());
        text.extend(
            chunk.invalid().iter().filter_map(|byte| char::from_u32(FIRST + u32::from(*byte) - 0x80)),
        );
    }
    text
}

/// The bytes that were shown as this; `None` if it is text through and through.
pub fn bytes(text: &str) -> Option<Vec<u8>> {
    let byte =
        |c: char| u32::from(c).checked_sub(FIRST).and_then(|n| u8::try_from(n).ok()).filter(|n| *n < 0x80);
    text.chars().any(|c| byte(c).is_some()).then(|| {
        let mut bytes = Vec::with_capacity(text.len());
        for c in text.chars() {
            match byte(c) {
                Some(low) => bytes.push(0x80 + low),
                None => bytes.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes()),
            }
        }
        bytes
    })
}

/// A name as the kernel of this machine may be told it.
pub(super) fn step_name(name: &str) -> Sys<&str> {
    match name {
        "" | "." => Err(rustix::io::Errno::NOENT),
        _ if name.len() > limits::NAME => Err(rustix::io::Errno::NAMETOOLONG),
        _ if name.contains(['/', '\0']) => Err(rustix::io::Errno::INVAL),
        _ => Ok(name),
    }
}

/// Who owns what: from `/etc/passwd` and `/etc/group`. (Other name services may take for ever; a number says as much.)
#[derive(Default)]
pub(super) struct Names {
    users: HashMap<u32, Arc<str>>,
    groups: HashMap<u32, Arc<str>>,
    read: Option<Instant>,
}

impl Names {
    pub(super) fn user(&mut self, uid: u32, asking: &User) -> Arc<str> {
        if uid == asking.uid.0 {
            return asking.name.clone();
        }
        self.refresh();
        self.users.get(&uid).cloned().unwrap_or_else(|| uid.to_string().into())
    }

    pub(super) fn group(&mut self, gid: u32, asking: &User) -> Arc<str> {
        if let Some((_, name)) = asking.groups.iter().find(|(known, _)| *known == gid) {
            return name.clone();
        }
        self.refresh();
        self.groups.get(&gid).cloned().unwrap_or_else(|| gid.to_string().into())
    }

    fn refresh(&mut self) {
        if self.read.is_some_and(|at| at.elapsed() < limits::NAMES) {
            return;
        }
        self.users = table("/etc/passwd");
        self.groups = table("/etc/group");
        self.read = Some(Instant::now());
    }
}

/// Third field to first field. Of two names for a number, the first counts, as for getpwuid(3).
fn table(path: &str) -> HashMap<u32, Arc<str>> {
    let mut text = Vec::new();
    if let Ok(file) = std::fs::File::open(path) {
        let _what_could_be_read = file.take(limits::PASSWD).read_to_end(&mut text);
    }
    let mut table = HashMap::new();
    for line in String::from_utf8_lossy(&text).lines() {
        let mut fields = line.split(':');
        if let (Some(name), Some(Ok(number))) = (fields.next(), fields.nth(1).map(str::parse)) {
            table.entry(number).or_insert_with(|| name.into());
        }
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_comes_back_as_it_was() {
        for name in
            [&b"plain"[..], b"gr\xc3\xbc\xc3\x9fe", b"lat\xedn", b"\xff\xfe", b"\xc3", b"a\x80\xc3\xbc"]
        {
            let shown = text(name);
            assert_eq!(bytes(&shown).unwrap_or_else(|| shown.clone().into_bytes()), name, "{shown:?}");
        }
        assert_eq!(bytes("gr\u{fc}\u{df}e"), None);
    }
}
