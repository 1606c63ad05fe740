//! Errors of 9P2000 are sentences: the customary ones, and the errno that a sentence most likely meant.

use alloc::string::String;
use op::{Errno, Error};

/// Longest sentence sent, in bytes; it fits the smallest message.
const ENAME_MAX: usize = 500;

/// What Plan 9 says where there is nothing better to say. The first sentence of an errno is the one sent; all
/// are understood.
const CUSTOMARY: &[(Errno, &str)] = &[
    (Errno::NOENT, "file does not exist"),
    (Errno::NOENT, "file not found"),
    (Errno::NOENT, "directory entry not found"),
    (Errno::ACCES, "permission denied"),
    (Errno::PERM, "not permitted"),
    (Errno::PERM, "not owner"),
    (Errno::PERM, "wstat prohibited"),
    (Errno::EXIST, "file already exists"),
    (Errno::EXIST, "file exists"),
    (Errno::NOTDIR, "not a directory"),
    (Errno::NOTDIR, "walk in non-directory"),
    (Errno::NOTDIR, "create in non-directory"),
    (Errno::ISDIR, "file is a directory"),
    (Errno::BADF, "unknown fid"),
    (Errno::BADF, "fid unknown or out of range"),
    (Errno::BADF, "bad use of fid"),
    (Errno::BUSY, "file in use"),
    (Errno::INVAL, "bad arg in system call"),
    (Errno::INVAL, "bad offset in directory read"),
    (Errno::IO, "i/o error"),
    (Errno::PIPE, "i/o on hungup channel"),
    (Errno::INTR, "interrupted"),
    (Errno::NOSPC, "file system full"),
    (Errno::NOSPC, "disk full"),
    (Errno::ROFS, "file system read only"),
    (Errno::OPNOTSUPP, "not supported"),
    (Errno::OPNOTSUPP, "unknown or unsupported message"),
    (Errno::NAMETOOLONG, "file name too long"),
];

/// The sentence for `Rerror`.
pub(crate) fn sentence(error: &Error) -> String {
    if !error.cause.is_empty() {
        return String::from(clipped(&error.cause));
    }
    match CUSTOMARY.iter().find(|(errno, _)| *errno == error.errno) {
        Some((_, text)) => String::from(*text),
        None => error.errno.text().to_lowercase(),
    }
}

/// A cause that fits a message.
pub(crate) fn clipped(cause: &str) -> &str {
    let mut end = cause.len().min(ENAME_MAX);
    while !cause.is_char_boundary(end) {
        end -= 1;
    }
    &cause[..end]
}

/// The errno that the sentence of an `Rerror` most likely meant: a customary one, or one of strerror(3), or one
/// with such words in it; else `EIO`.
pub(crate) fn guessed(sentence: &str) -> Errno {
    let lower = sentence.to_lowercase();
    let customary = CUSTOMARY.iter().map(|(errno, text)| (*errno, String::from(*text)));
    let posix = Errno::ALL.iter().map(|errno| (*errno, errno.text().to_lowercase()));
    let known = || customary.clone().chain(posix.clone());
    let whole = known().find(|(_, text)| *text == lower);
    whole
        .or_else(|| known().find(|(_, text)| lower.contains(text.as_str())))
        .map_or(Errno::IO, |(errno, _)| errno)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sentences_are_the_cause_or_the_customary_words() {
        let check = |error: Error, text: &str| assert_eq!(sentence(&error), text);
        check(Errno::NOENT.into(), "file does not exist");
        check(Errno::ACCES.into(), "permission denied");
        check(Errno::DQUOT.into(), "disk quota exceeded");
        check(Error::new(Errno::NOENT, "no node matches arch=vax"), "no node matches arch=vax");
        assert_eq!(sentence(&Error::new(Errno::IO, "ü".repeat(400))).len(), 500);
        assert_eq!(clipped(&alloc::format!("x{}", "ü".repeat(400))).len(), 499);
    }

    #[test]
    fn sentences_are_understood() {
        for (text, errno) in [
            ("file does not exist", Errno::NOENT),
            ("No such file or directory", Errno::NOENT),
            ("'/tmp/x' file does not exist", Errno::NOENT),
            ("Permission denied", Errno::ACCES),
            ("unknown fid", Errno::BADF),
            ("the dog ate it", Errno::IO),
        ] {
            assert_eq!(guessed(text), errno, "{text}");
        }
    }

    #[test]
    fn every_errno_survives_its_sentence() {
        for &errno in Errno::ALL {
            assert_eq!(guessed(&sentence(&errno.into())), errno);
        }
    }
}
