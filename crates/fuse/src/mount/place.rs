//! The directory to mount on: whether something is mounted there already, and whether that still lives. The kernel's list
//! of mounts (proc_pid_mountinfo(5)) is asked, since looking at the directory itself could wait for a server.

use super::{detach, failed_io};
use op::{Errno, Error, Result};
use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};
use std::{fs, io};

/// Something that is mounted.
struct Mounted {
    /// Major and minor number.
    device: String,
    /// Type of the file system: `fuse.uem`.
    kind: String,
}

/// Makes `dir` ready to be mounted on, and gives its absolute name.
pub(super) fn prepare(dir: &Path) -> Result<PathBuf> {
    recover(dir)?;
    let os = |error: io::Error| failed_io(&error, format!("{} cannot be mounted on: {error}", dir.display()));
    fs::create_dir_all(dir).map_err(os)?;
    let dir = resolve(dir).map_err(os)?;
    if let Some(mounted) = mounted_on(&dir) {
        let (dir, kind) = (dir.display(), mounted.kind);
        let cause = format!(
            "something is mounted on {dir} already (a {kind}); unmount it (umount {dir}), or mount elsewhere"
        );
        return Err(Error::new(Errno::BUSY, cause));
    }
    if fs::read_dir(&dir).map_err(os)?.next().is_some() {
        let cause = format!(
            "{} is not empty, and a mount would hide what is in it; empty it, or mount elsewhere",
            dir.display()
        );
        return Err(Error::new(Errno::NOTEMPTY, cause));
    }
    Ok(dir)
}

/// See [`super::recover`].
pub(super) fn recover(dir: &Path) -> Result<bool> {
    let Ok(dir) = resolve(dir) else { return Ok(false) };
    let mut found = false;
    while mounted_on(&dir).is_some() && is_dead(&dir) {
        detach(&dir)?;
        found = true;
    }
    Ok(found)
}

/// The device number of what is mounted on `dir`.
pub(super) fn device(dir: &Path) -> Option<String> {
    mounted_on(dir).map(|mounted| mounted.device)
}

/// Whether the server of the mount is gone. (One that lives and does not answer makes this wait.)
fn is_dead(dir: &Path) -> bool {
    let error = fs::symlink_metadata(dir).err().and_then(|error| error.raw_os_error());
    error == Some(rustix::io::Errno::NOTCONN.raw_os_error())
}

/// The absolute name of `dir`, without looking at `dir` itself unless it is a link.
fn resolve(dir: &Path) -> io::Result<PathBuf> {
    let absolute = std::path::absolute(dir)?;
    match (absolute.parent(), absolute.file_name()) {
        (Some(parent), Some(name)) => {
            let plain = fs::canonicalize(parent)?.join(name);
            if mounted_on(&plain).is_some() { Ok(plain) } else { fs::canonicalize(&plain) }
        }
        _ => fs::canonicalize(&absolute),
    }
}

/// What is mounted on exactly this directory, uppermost.
fn mounted_on(dir: &Path) -> Option<Mounted> {
    let list = fs::read("/proc/self/mountinfo").ok()?;
    let lines = list.split(|&byte| byte == b'\n').rev();
    lines
        .filter_map(|line| {
            let mut words = line.split(|&byte| byte == b' ');
            let device = words.nth(2)?;
            let point = words.nth(1)?;
            if unescape(point) != dir.as_os_str() {
                return None;
            }
            let kind = words.skip_while(|&word| word != b"-").nth(1)?;
            let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
            Some(Mounted { device: text(device), kind: text(kind) })
        })
        .next()
}

/// Spaces, tabs, newlines and backslashes stand there as a backslash and three octal digits.
fn unescape(word: &[u8]) -> OsString {
    let mut plain = Vec::with_capacity(word.len());
    let mut rest = word;
    while let Some((&byte, after)) = rest.split_first() {
        let digits =
            after.get(..3).filter(|digits| byte == b'\\' && digits.iter().all(|d| (b'0'..b'8').contains(d)));
        match digits {
            Some(digits) => {
                plain.push(
                    digits.iter().fold(0u8, |value, digit| value.wrapping_mul(8).wrapping_add(digit - b'0')),
                );
                rest = &after[3..];
            }
            None => {
                plain.push(byte);
                rest = after;
            }
        }
    }
    OsString::from_vec(plain)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::ffi::OsStrExt;

    #[test]
    fn names_in_the_list_of_mounts_are_read_back() {
        let check = |input: &str, expected: &str| {
            assert_eq!(unescape(input.as_bytes()).as_bytes(), expected.as_bytes())
        };
        check("/mnt", "/mnt");
        check(r"/a\040b\134c\011", "/a b\\c\t");
        check(r"/odd\04", r"/odd\04");
        check(r"\999", r"\999");
        check("", "");
    }

    #[test]
    fn the_root_is_mounted_and_a_new_directory_is_not() {
        assert!(mounted_on(Path::new("/proc")).is_some());
        assert!(mounted_on(Path::new("/proc/self")).is_none());
    }

    #[test]
    fn what_is_mounted_and_alive_is_left_alone() {
        assert_eq!(recover(Path::new("/proc")), Ok(false));
        let error = prepare(Path::new("/proc")).unwrap_err();
        assert_eq!(error.errno, Errno::BUSY);
        assert!(error.cause.contains("a proc"), "{error}");
    }
}
