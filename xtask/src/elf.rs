//! The release binary: static, so that it runs on any Linux of its architecture, and small.
//!
//! An ELF file is static when it asks for no interpreter: it has no program header of type `PT_INTERP` (elf(5)).

use crate::run::{Result, build, cargo};
use std::path::{Path, PathBuf};

/// Bytes that the binary may have.
const MOST: usize = 10 << 20;

/// Builds the release and the benches, which start it; where they are. Together, since two builds of different
/// packages would make what they share twice.
pub(crate) fn release(root: &Path) -> Result<[PathBuf; 2]> {
    let both = ["build", "--release", "--package", "uem", "--package", "benches"];
    build(cargo(root).args(both), ["uem", "benches"])
}

/// Looks at it.
pub(crate) fn check(path: &Path) -> Result<()> {
    let bytes = std::fs::read(path).map_err(|e| format!("{}: {e}", path.display()))?;
    println!("{}: {} bytes, at most {MOST}", path.display(), bytes.len());
    if bytes.len() > MOST {
        return Err(format!("the release binary has {} bytes, more than {MOST}", bytes.len()));
    }
    match interpreter(&bytes) {
        Some(false) => Ok(()),
        Some(true) => Err("the release binary is not static: it asks for an interpreter".into()),
        None => Err("the release binary is no 64-bit ELF file".into()),
    }
}

/// Whether a 64-bit ELF file of this machine's byte order asks for an interpreter; `None` if it is none.
fn interpreter(file: &[u8]) -> Option<bool> {
    const PT_INTERP: u32 = 3;
    if file.get(..5)? != b"\x7fELF\x02" {
        return None;
    }
    let u16_at = |at: usize| Some(u16::from_ne_bytes(file.get(at..at + 2)?.try_into().ok()?));
    let offset = usize::try_from(u64::from_ne_bytes(file.get(32..40)?.try_into().ok()?)).ok()?;
    let (size, count) = (usize::from(u16_at(54)?), usize::from(u16_at(56)?));
    let mut found = false;
    for i in 0..count {
        let at = offset.checked_add(i * size)?;
        found |= u32::from_ne_bytes(file.get(at..at.checked_add(4)?)?.try_into().ok()?) == PT_INTERP;
    }
    Some(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_interpreter_is_seen_and_a_cut_file_is_none() {
        let mut file = b"\x7fELF\x02".to_vec();
        file.resize(64 + 2 * 56, 0);
        file[32..40].copy_from_slice(&64u64.to_ne_bytes());
        file[54..56].copy_from_slice(&56u16.to_ne_bytes());
        file[56..58].copy_from_slice(&2u16.to_ne_bytes());
        assert_eq!(interpreter(&file), Some(false));
        file[64 + 56..64 + 60].copy_from_slice(&3u32.to_ne_bytes());
        assert_eq!(interpreter(&file), Some(true));
        for cut in 0..=64 + 56 {
            assert_eq!(interpreter(&file[..cut]), None, "{cut}");
        }
    }
}
