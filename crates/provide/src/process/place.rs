//! Where a program is to be looked for, and the sentence for one that could not be run.

use op::{Errno, Error, Launch};
use std::ffi::CString;
use std::io::Read;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// Where programs are looked for when the environment has no `PATH`: as sh does.
const PATH: &[u8] = b"/usr/local/bin:/usr/bin:/bin";

/// Where a program starts, and where it is looked for.
pub(super) struct Places {
    pub(super) dir: CString,
    /// `dir` is only a wish, the user's home: `/` does as well.
    pub(super) any_dir: bool,
    /// Files to try, in order.
    pub(super) programs: Vec<CString>,
}

/// The places of a launch; of its program: itself if it has a slash, else under each directory of its own `PATH`.
pub(super) fn places(launch: &Launch) -> Result<Places, Error> {
    let name = launch.argv.first().filter(|name| !name.is_empty());
    let name = name.ok_or_else(|| Error::new(Errno::NOENT, "exec: no program is named"))?;
    let text = |bytes: Vec<u8>, what: &str| {
        CString::new(bytes).map_err(|_| Error::new(Errno::INVAL, format!("a zero byte in the {what}")))
    };
    let dir = launch.dir.as_deref().unwrap_or(launch.user.home.as_bytes());
    let dir = text(dir.to_vec(), "directory: no program can be given one")?;
    let any_dir = launch.dir.is_none();
    if name.contains(&b'/') {
        return Ok(Places { dir, any_dir, programs: vec![text(name.clone(), "program's name")?] });
    }
    let path = launch.env.iter().rev().find_map(|line| line.strip_prefix(b"PATH=")).unwrap_or(PATH);
    let programs = path.split(|byte| *byte == b':').map(|dir| {
        let dir: &[u8] = if dir.is_empty() { b"." } else { dir };
        text([dir, b"/", name].concat(), "program's name")
    });
    Ok(Places { dir, any_dir, programs: programs.collect::<Result<_, _>>()? })
}

/// Why none of the places could be run, in a sentence.
pub(super) fn exec_failure(launch: &Launch, places: &Places, errno: Errno) -> String {
    let name = String::from_utf8_lossy(&launch.argv[0]);
    let direct = launch.argv[0].contains(&b'/');
    let why = errno.text();
    let file = found(places);
    match (errno, file) {
        (Errno::NOENT, Some(file)) => match head(&file).as_deref().and_then(interpreter) {
            Some(wanted) => format!("exec {name}: its interpreter {wanted} does not exist"),
            None => format!("exec {name}: the loader that {} asks for does not exist", file.display()),
        },
        (Errno::NOENT, None) if !direct => format!("exec {name}: not found in PATH"),
        (Errno::NOEXEC, _) => format!("exec {name}: {why} (no #! line, or a program for another machine)"),
        (Errno::ACCES, Some(file)) if file.is_dir() => {
            format!("exec {name}: {} is a directory", file.display())
        }
        (Errno::ACCES, Some(file)) => {
            format!("exec {name}: {why} ({} is not executable for {})", file.display(), launch.user.name)
        }
        (Errno::TOOBIG, _) => format!("exec {name}: {why} (arguments and environment together)"),
        _ => format!("exec {name}: {why}"),
    }
}

/// The first place where there is a file, as the program would have seen it.
fn found(places: &Places) -> Option<PathBuf> {
    let dir = Path::new(std::ffi::OsStr::from_bytes(places.dir.to_bytes()));
    let mut paths = places.programs.iter().map(|path| dir.join(std::ffi::OsStr::from_bytes(path.to_bytes())));
    paths.find(|path| path.exists())
}

/// How a file begins.
fn head(file: &Path) -> Option<Vec<u8>> {
    let mut head = [0u8; 256];
    let n = std::fs::File::open(file).and_then(|mut file| file.read(&mut head)).ok()?;
    Some(head[..n].to_vec())
}

/// What a script's first line asks for.
pub(super) fn interpreter(head: &[u8]) -> Option<String> {
    let line = head.strip_prefix(b"#!")?.split(|byte| *byte == b'\n').next()?;
    String::from_utf8_lossy(line).split_whitespace().next().map(str::to_owned)
}
