//! Names that a client may use: one element of a path, as every file system here has them.

use alloc::format;
use op::{Errno, Error};

/// The longest name, in bytes; that of Linux.
pub(crate) const NAME_MAX: usize = 255;

/// Whether a name can be walked to.
pub(crate) fn walkable(name: &str) -> Result<(), Error> {
    if name.is_empty() {
        return Err(Error::new(Errno::INVAL, "a name is empty"));
    }
    if name.len() > NAME_MAX {
        return Err(Error::new(Errno::NAMETOOLONG, format!("a name has more than {NAME_MAX} bytes")));
    }
    if name.contains(['/', '\0']) {
        return Err(Error::new(Errno::INVAL, format!("{name:?} has a '/' or a NUL in it")));
    }
    Ok(())
}

/// Whether a file can be made or removed under this name.
pub(crate) fn creatable(name: &str) -> Result<(), Error> {
    if name == "." || name == ".." {
        return Err(Error::new(Errno::INVAL, format!("{name:?} always exists")));
    }
    walkable(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names() {
        let check = |name: &str, walk: Option<Errno>, create: Option<Errno>| {
            assert_eq!(walkable(name).err().map(|e| e.errno), walk, "walk {name:?}");
            assert_eq!(creatable(name).err().map(|e| e.errno), create, "create {name:?}");
        };
        let invalid = Some(Errno::INVAL);
        check("ctl", None, None);
        check("über", None, None);
        check("..", None, invalid);
        check(".", None, invalid);
        check("...", None, None);
        check("", invalid, invalid);
        check("a/b", invalid, invalid);
        check("a\0", invalid, invalid);
        check(&"n".repeat(255), None, None);
        check(&"n".repeat(256), Some(Errno::NAMETOOLONG), Some(Errno::NAMETOOLONG));
    }
}
