//! What is copied: a local file, or a tree with all that is in it, looked through once, whoever it goes to.

use crate::failure::Failure;
use op::{Content, Wall};
use provide::files::name_text;
use std::fs::{self, Metadata};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Mutex;

/// A file or a tree, and what it is called where it goes.
pub(super) struct Source {
    pub(super) name: String,
    /// A directory before what is in it; the first is the source itself.
    pub(super) items: Vec<Item>,
}

/// One thing of a source.
pub(super) struct Item {
    /// Its path below the source, as names are written in the tree; empty for the source itself.
    pub(super) below: String,
    /// Where it is here.
    pub(super) path: PathBuf,
    pub(super) mode: u32,
    pub(super) mtime: Wall,
    pub(super) what: What,
}

pub(super) enum What {
    Dir,
    /// With what it is called in the store, once somebody has looked.
    File(Mutex<Option<Result<Content, Failure>>>),
    Link(String),
}

impl Source {
    /// Looks at a local path; what cannot be copied is said, and the rest is.
    pub(super) fn local(
        path: &Path,
        name: Option<String>,
        recursive: bool,
        failures: &mut Vec<Failure>,
    ) -> Result<Source, Failure> {
        let about = |error: std::io::Error| Failure::from(error).about(path.display());
        // A link that is named itself means what it leads to.
        let real = fs::canonicalize(path).map_err(about)?;
        let meta = fs::metadata(&real).map_err(about)?;
        if meta.is_dir() && !recursive {
            let failure = Failure::misuse(format!("{} is a directory", path.display()));
            return Err(failure.hint("-r copies it with all that is in it"));
        }
        let named = path.file_name().or(real.file_name()).map(|name| name_text(name.as_bytes()));
        let name =
            name.or(named).ok_or_else(|| Failure::misuse(format!("{} has no name", path.display())))?;
        let mut source = Source { name, items: Vec::new() };
        source.add(&real, "", &meta, failures).map_err(|failure| failure.about(path.display()))?;
        if source.items.is_empty() {
            return Err(failures.pop().unwrap_or_else(|| Failure::new("there is nothing to copy")));
        }
        Ok(source)
    }

    fn add(
        &mut self,
        path: &Path,
        below: &str,
        meta: &Metadata,
        failures: &mut Vec<Failure>,
    ) -> Result<(), Failure> {
        let kind = meta.file_type();
        let what = if kind.is_dir() {
            What::Dir
        } else if kind.is_file() {
            What::File(Mutex::new(None))
        } else if kind.is_symlink() {
            What::Link(name_text(fs::read_link(path)?.as_os_str().as_bytes()))
        } else {
            let what = match () {
                () if kind.is_fifo() => "a named pipe",
                () if kind.is_socket() => "a socket",
                () => "a device",
            };
            failures.push(Failure::new(format!("{} is {what}: left out", path.display())));
            return Ok(());
        };
        let is_dir = matches!(what, What::Dir);
        let mtime = Wall(u64::try_from(meta.mtime()).unwrap_or(0) * 1_000_000_000 + meta.mtime_nsec() as u64);
        let mode = meta.permissions().mode() & 0o777;
        self.items.push(Item { below: below.into(), path: path.into(), mode, mtime, what });
        if !is_dir {
            return Ok(());
        }
        let mut entries = fs::read_dir(path)?.collect::<Result<Vec<_>, _>>()?;
        entries.sort_by_key(fs::DirEntry::file_name);
        for entry in entries {
            let name = name_text(entry.file_name().as_bytes());
            let inside = if below.is_empty() { name } else { format!("{below}/{name}") };
            let path = entry.path();
            let added = entry
                .metadata()
                .map_err(Failure::from)
                .and_then(|meta| self.add(&path, &inside, &meta, failures));
            added.unwrap_or_else(|failure| failures.push(failure.about(path.display())));
        }
        Ok(())
    }
}
