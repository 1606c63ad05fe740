//! Errors: a number that programs understand and a sentence that people do.

use alloc::string::String;
use core::fmt;

/// An error number, as Linux counts them on every architecture that uem runs on (errno(3)).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Errno(pub u16);

macro_rules! errnos {
    ($($name:ident $number:literal $text:literal)*) => {
        impl Errno {
            $(#[doc = $text] pub const $name: Errno = Errno($number);)*

            /// Its symbol, as in errno(3): `ENOENT`.
            pub fn symbol(self) -> &'static str {
                match self.0 { $($number => concat!("E", stringify!($name)),)* _ => "E?" }
            }

            /// What strerror(3) says of it.
            pub fn text(self) -> &'static str {
                match self.0 { $($number => $text,)* _ => "Unknown error" }
            }

            /// All that are known here.
            pub const ALL: &'static [Errno] = &[$(Errno($number)),*];
        }
    };
}

errnos! {
    PERM 1 "Operation not permitted"
    NOENT 2 "No such file or directory"
    SRCH 3 "No such process"
    INTR 4 "Interrupted system call"
    IO 5 "Input/output error"
    NXIO 6 "No such device or address"
    TOOBIG 7 "Argument list too long"
    NOEXEC 8 "Exec format error"
    BADF 9 "Bad file descriptor"
    CHILD 10 "No child processes"
    AGAIN 11 "Resource temporarily unavailable"
    NOMEM 12 "Cannot allocate memory"
    ACCES 13 "Permission denied"
    FAULT 14 "Bad address"
    BUSY 16 "Device or resource busy"
    EXIST 17 "File exists"
    XDEV 18 "Invalid cross-device link"
    NODEV 19 "No such device"
    NOTDIR 20 "Not a directory"
    ISDIR 21 "Is a directory"
    INVAL 22 "Invalid argument"
    NFILE 23 "Too many open files in system"
    MFILE 24 "Too many open files"
    TXTBSY 26 "Text file busy"
    FBIG 27 "File too large"
    NOSPC 28 "No space left on device"
    SPIPE 29 "Illegal seek"
    ROFS 30 "Read-only file system"
    PIPE 32 "Broken pipe"
    NAMETOOLONG 36 "File name too long"
    NOSYS 38 "Function not implemented"
    NOTEMPTY 39 "Directory not empty"
    LOOP 40 "Too many levels of symbolic links"
    PROTO 71 "Protocol error"
    BADMSG 74 "Bad message"
    LIBBAD 80 "Accessing a corrupted shared library"
    OPNOTSUPP 95 "Operation not supported"
    TIMEDOUT 110 "Connection timed out"
    CONNREFUSED 111 "Connection refused"
    HOSTUNREACH 113 "No route to host"
    ALREADY 114 "Operation already in progress"
    STALE 116 "Stale file handle"
    DQUOT 122 "Disk quota exceeded"
    CANCELED 125 "Operation canceled"
}

impl fmt::Debug for Errno {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}({})", self.symbol(), self.0)
    }
}

/// A failure: the errno, and a sentence with cause and hint where there is more to say than the errno does.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Error {
    /// What a program is told.
    pub errno: Errno,
    /// What a person is told; empty where the errno says it all.
    pub cause: String,
}

/// The usual result here.
pub type Result<T> = core::result::Result<T, Error>;

impl Error {
    /// An errno with its sentence.
    pub fn new(errno: Errno, cause: impl Into<String>) -> Error {
        Error { errno, cause: cause.into() }
    }
}

impl From<Errno> for Error {
    fn from(errno: Errno) -> Error {
        Error { errno, cause: String::new() }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.cause.is_empty() { self.errno.text() } else { &self.cause })
    }
}

impl core::error::Error for Error {}
