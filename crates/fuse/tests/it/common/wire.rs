//! Messages as the kernel makes them. The numbers are written out a second time here, from linux/fuse.h, so that a slip in
//! the crate shows.

/// A request: opcode, number, node, asking uid, and what comes after the header.
pub(crate) fn message(opcode: u32, unique: u64, node: u64, uid: u32, body: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    out.extend_from_slice(&(40 + body.len() as u32).to_ne_bytes());
    out.extend_from_slice(&opcode.to_ne_bytes());
    out.extend_from_slice(&unique.to_ne_bytes());
    out.extend_from_slice(&node.to_ne_bytes());
    out.extend_from_slice(&uid.to_ne_bytes());
    out.resize(40, 0);
    out.extend_from_slice(body);
    out
}

/// What a request asks for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Call {
    Init,
    Lookup(String),
    Forget(u64),
    GetAttr(Option<u64>),
    Chmod(u32),
    Truncate(u64),
    Touch,
    ReadLink,
    Mknod(String),
    Mkdir(String),
    Unlink(String),
    Symlink {
        name: String,
        target: String,
    },
    /// To the directory of this node, with flags.
    Rename {
        name: String,
        dir: u64,
        to: String,
        flags: u32,
    },
    /// RENAME, which has no flags.
    OldRename {
        name: String,
        dir: u64,
        to: String,
    },
    Open(u32),
    Read {
        fh: u64,
        offset: u64,
        size: u32,
        flags: u32,
    },
    Write {
        fh: u64,
        data: Vec<u8>,
    },
    StatFs,
    Release(u64),
    Flush(u64),
    OpenDir,
    ReadDir {
        fh: u64,
        offset: u64,
        size: u32,
    },
    ReleaseDir(u64),
    Create {
        name: String,
        flags: u32,
    },
    Interrupt(u64),
    Destroy,
    BatchForget(Vec<(u64, u64)>),
}

fn u32s(values: &[u32]) -> Vec<u8> {
    values.iter().flat_map(|value| value.to_ne_bytes()).collect()
}

fn u64s(values: &[u64]) -> Vec<u8> {
    values.iter().flat_map(|value| value.to_ne_bytes()).collect()
}

fn name(text: &str) -> Vec<u8> {
    [text.as_bytes(), &[0]].concat()
}

fn set(valid: u32, fields: impl FnOnce(&mut [u8])) -> Vec<u8> {
    let mut body = vec![0; 88];
    body[..4].copy_from_slice(&valid.to_ne_bytes());
    fields(&mut body);
    body
}

impl Call {
    /// Its opcode and body.
    pub(crate) fn body(&self) -> (u32, Vec<u8>) {
        match self {
            Call::Init => (26, u32s(&[7, 38, 131_072, 0x73ff_fffb, 0])),
            Call::Lookup(text) => (1, name(text)),
            Call::Forget(count) => (2, u64s(&[*count])),
            Call::GetAttr(fh) => {
                (3, [u32s(&[u32::from(fh.is_some()), 0]), u64s(&[fh.unwrap_or(0)])].concat())
            }
            Call::Chmod(mode) => (4, set(1, |body| body[68..72].copy_from_slice(&mode.to_ne_bytes()))),
            Call::Truncate(size) => (4, set(8, |body| body[16..24].copy_from_slice(&size.to_ne_bytes()))),
            Call::Touch => (4, set(0x1b0, |_| {})),
            Call::ReadLink => (5, Vec::new()),
            Call::Mknod(text) => (8, [u32s(&[0o100_644, 0, 0o22, 0]), name(text)].concat()),
            Call::Mkdir(text) => (9, [u32s(&[0o755, 0o22]), name(text)].concat()),
            Call::Unlink(text) => (10, name(text)),
            Call::Symlink { name: new, target } => (6, [name(new), name(target)].concat()),
            Call::Rename { name: old, dir, to, flags } => {
                (45, [u64s(&[*dir]), u32s(&[*flags, 0]), name(old), name(to)].concat())
            }
            Call::OldRename { name: old, dir, to } => (12, [u64s(&[*dir]), name(old), name(to)].concat()),
            Call::Open(flags) => (14, u32s(&[*flags, 0])),
            Call::Read { fh, offset, size, flags } => {
                (15, [u64s(&[*fh, *offset]), u32s(&[*size, 0, 0, 0, *flags, 0])].concat())
            }
            Call::Write { fh, data } => {
                (16, [u64s(&[*fh, 0]), u32s(&[data.len() as u32, 0, 0, 0, 1, 0]), data.clone()].concat())
            }
            Call::StatFs => (17, Vec::new()),
            Call::Release(fh) => (18, [u64s(&[*fh]), u32s(&[0, 0, 0, 0])].concat()),
            Call::Flush(fh) => (25, [u64s(&[*fh]), u32s(&[0, 0, 0, 0])].concat()),
            Call::OpenDir => (27, u32s(&[0o200_000, 0])),
            Call::ReadDir { fh, offset, size } => {
                (28, [u64s(&[*fh, *offset]), u32s(&[*size, 0, 0, 0, 0, 0])].concat())
            }
            Call::ReleaseDir(fh) => (29, [u64s(&[*fh]), u32s(&[0, 0, 0, 0])].concat()),
            Call::Create { name: text, flags } => {
                (35, [u32s(&[*flags, 0o100_644, 0o22, 0]), name(text)].concat())
            }
            Call::Interrupt(unique) => (36, u64s(&[*unique])),
            Call::Destroy => (38, Vec::new()),
            Call::BatchForget(list) => {
                let pairs: Vec<u64> = list.iter().flat_map(|&(node, count)| [node, count]).collect();
                (42, [u32s(&[list.len() as u32, 0]), u64s(&pairs)].concat())
            }
        }
    }

    /// The whole message.
    pub(crate) fn message(&self, unique: u64, node: u64, uid: u32) -> Vec<u8> {
        let (opcode, body) = self.body();
        message(opcode, unique, node, uid, &body)
    }
}

/// The `u64` at `at`.
pub(crate) fn u64_at(body: &[u8], at: usize) -> u64 {
    u64::from_ne_bytes(body[at..at + 8].try_into().unwrap())
}

/// The `u32` at `at`.
pub(crate) fn u32_at(body: &[u8], at: usize) -> u32 {
    u32::from_ne_bytes(body[at..at + 4].try_into().unwrap())
}

/// The names in an answer to `READDIR`, each with the offset after it.
pub(crate) fn names(mut body: &[u8]) -> Vec<(String, u64)> {
    let mut found = Vec::new();
    while !body.is_empty() {
        let length = u32_at(body, 16) as usize;
        found.push((String::from_utf8(body[24..24 + length].to_vec()).unwrap(), u64_at(body, 8)));
        body = &body[(24 + length).next_multiple_of(8)..];
    }
    found
}
