//! Words as in sh: what a control line is made of, and how a word is written so that it reads back the same.
//!
//! Understood: white space between words, `'…'`, `"…"` with `\"`, `\\`, `\$`, `` \` ``, `$'…'` with `\n`, `\r`, `\'` and `\\`, and
//! `\c` outside quotes. A control line ends at its newline, so a word with newlines is written as `$'…'`.
//! Nothing is expanded. Bytes need not be UTF-8.

use alloc::{boxed::Box, string::String, vec::Vec};
use op::{Errno, Error, Result};

/// Splits a line into words; an unclosed quote or a trailing backslash is an error.
pub fn split(line: &[u8]) -> Result<Vec<Vec<u8>>> {
    let mut words = Vec::new();
    let mut word: Option<Vec<u8>> = None;
    let mut bytes = line.iter();
    while let Some(&byte) = bytes.next() {
        match byte {
            b' ' | b'\t' | b'\r' | b'\n' => words.extend(word.take()),
            b'\'' => quoted(&mut bytes.by_ref().copied(), b'\'', word.get_or_insert_default())?,
            b'$' if bytes.as_slice().first() == Some(&b'\'') => {
                bytes.next();
                escaped(&mut bytes.by_ref().copied(), word.get_or_insert_default())?;
            }
            b'"' => quoted(&mut bytes.by_ref().copied(), b'"', word.get_or_insert_default())?,
            b'\\' => match bytes.next() {
                Some(next) => word.get_or_insert_default().push(*next),
                None => {
                    return Err(Error::new(Errno::INVAL, "the line ends in a backslash; write \\\\ for one"));
                }
            },
            byte => word.get_or_insert_default().push(byte),
        }
    }
    words.extend(word);
    Ok(words)
}

fn quoted(bytes: &mut impl Iterator<Item = u8>, quote: u8, word: &mut Vec<u8>) -> Result<()> {
    while let Some(byte) = bytes.next() {
        match byte {
            b if b == quote => return Ok(()),
            b'\\' if quote == b'"' => match bytes.next() {
                Some(c @ (b'"' | b'\\' | b'$' | b'`')) => word.push(c),
                Some(c) => word.extend([b'\\', c]),
                None => break,
            },
            b => word.push(b),
        }
    }
    Err(Error::new(Errno::INVAL, alloc::format!("a quote ({}) is opened and never closed", quote as char)))
}

/// The inside of `$'…'`, up to its end.
fn escaped(bytes: &mut impl Iterator<Item = u8>, word: &mut Vec<u8>) -> Result<()> {
    while let Some(byte) = bytes.next() {
        match byte {
            b'\'' => return Ok(()),
            b'\\' => match bytes.next() {
                Some(b'n') => word.push(b'\n'),
                Some(b'r') => word.push(b'\r'),
                Some(b't') => word.push(b'\t'),
                Some(c @ (b'\\' | b'\'' | b'"')) => word.push(c),
                Some(c) => word.extend([b'\\', c]),
                None => break,
            },
            b => word.push(b),
        }
    }
    Err(Error::new(Errno::INVAL, "a quote ($') is opened and never closed"))
}

/// A number, where `format!` would take longer than what is written about.
pub(crate) fn digits(value: u64, out: &mut Vec<u8>) {
    let mut digits = [0; 20];
    let mut rest = value;
    let mut i = digits.len();
    // Two by two: times have 19 of them.
    while rest >= 10 {
        let pair = (rest % 100) as u8;
        rest /= 100;
        i -= 2;
        digits[i..i + 2].copy_from_slice(&[b'0' + pair / 10, b'0' + pair % 10]);
    }
    if rest > 0 || i == digits.len() {
        i -= 1;
        digits[i] = b'0' + rest as u8;
    }
    out.extend_from_slice(&digits[i..]);
}

/// `node/id`, in as many bytes as it has.
pub(crate) fn path(node: &str, id: u64) -> Box<str> {
    let mut path = Vec::with_capacity(node.len() + 1 + id.checked_ilog10().unwrap_or(0) as usize + 1);
    path.extend_from_slice(node.as_bytes());
    path.push(b'/');
    digits(id, &mut path);
    String::from_utf8(path).expect("a name and digits").into_boxed_str()
}

/// Seconds with two decimals, of microseconds.
pub(crate) fn hundredths(micros: u64, out: &mut Vec<u8>) {
    let all = micros / 10_000 + u64::from(micros % 10_000 >= 5_000);
    digits(all / 100, out);
    out.extend_from_slice(&[b'.', b'0' + (all / 10 % 10) as u8, b'0' + (all % 10) as u8]);
}

/// A word for a control line: as [`quote`], but without a newline in it.
pub fn quote_line(word: &[u8], out: &mut Vec<u8>) {
    if !word.contains(&b'\n') {
        return quote(word, out);
    }
    out.extend(b"$'");
    for &byte in word {
        match byte {
            b'\n' => out.extend(b"\\n"),
            b'\\' => out.extend(b"\\\\"),
            b'\'' => out.extend(b"\\'"),
            byte => out.push(byte),
        }
    }
    out.push(b'\'');
}

/// Writes a word so that [`split`] and sh read it back.
pub fn quote(word: &[u8], out: &mut Vec<u8>) {
    let plain = |b: &u8| b.is_ascii_alphanumeric() || b"_-+=./,:@%^{}".contains(b) || *b >= 0x80;
    if !word.is_empty() && word.iter().all(plain) {
        return out.extend(word);
    }
    out.push(b'\'');
    for &byte in word {
        match byte {
            b'\'' => out.extend(b"'\\''"),
            byte => out.push(byte),
        }
    }
    out.push(b'\'');
}

/// Words on one line, quoted where needed. A newline inside a word stays inside its quotes.
pub fn join<W: AsRef<[u8]>>(words: &[W]) -> Vec<u8> {
    let mut out = Vec::new();
    for (i, word) in words.iter().enumerate() {
        if i > 0 {
            out.push(b' ');
        }
        quote(word.as_ref(), &mut out);
    }
    out
}

/// Text for people from bytes of a program: what is not UTF-8 is shown as U+FFFD.
pub(crate) fn lossy(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Writes bytes as one word without spaces or newlines, for the journal: `%XX` for all but the plainest.
pub(crate) fn pack(bytes: &[u8], out: &mut Vec<u8>) {
    for &byte in bytes {
        match byte {
            b if b.is_ascii_alphanumeric() || b"_-./:@+".contains(&b) => out.push(b),
            b => {
                let hex = |n: u8| b"0123456789abcdef"[usize::from(n & 15)];
                out.extend([b'%', hex(b >> 4), hex(b)]);
            }
        }
    }
}

/// The contrary of [`pack`]; `None` if it was not made by it.
pub(crate) fn unpack(word: &[u8]) -> Option<Vec<u8>> {
    let mut out = Vec::with_capacity(word.len());
    let mut bytes = word.iter();
    while let Some(&byte) = bytes.next() {
        out.push(match byte {
            b'%' => {
                let mut digit = || (*bytes.next()? as char).to_digit(16);
                (digit()? * 16 + digit()?) as u8
            }
            byte => byte,
        });
    }
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec;

    #[test]
    fn numbers_are_written_as_format_writes_them() {
        for n in [0, 1, 9, 10, 99, 100, 65_535, 999_999_999_999, u64::MAX] {
            let (mut out, mut secs) = (Vec::new(), Vec::new());
            digits(n, &mut out);
            assert_eq!(lossy(&out), alloc::format!("{n}"));
            assert_eq!(&*path("a", n), alloc::format!("a/{n}"));
            hundredths(n, &mut secs);
            let nearest = (u128::from(n) + 5_000) / 10_000;
            assert_eq!(lossy(&secs), alloc::format!("{}.{:02}", nearest / 100, nearest % 100));
        }
    }

    #[test]
    fn words_split_as_sh_splits_them() {
        for (line, words) in [
            ("", vec![]),
            ("  a  b\t c ", vec!["a", "b", "c"]),
            ("'a b' \"c d\"", vec!["a b", "c d"]),
            ("a'b'\"c\"d", vec!["abcd"]),
            ("'' x", vec!["", "x"]),
            (r#"\'a \\ "\"" "\n" '\n'"#, vec!["'a", "\\", "\"", "\\n", "\\n"]),
            ("sh -c \"echo out; echo err >&2\"", vec!["sh", "-c", "echo out; echo err >&2"]),
        ] {
            let words: Vec<Vec<u8>> = words.iter().map(|w| w.as_bytes().to_vec()).collect();
            assert_eq!(split(line.as_bytes()).unwrap(), words, "{line}");
        }
        for line in ["'a", "\"a", "a\\", "\"a\\"] {
            assert!(split(line.as_bytes()).is_err(), "{line}");
        }
    }

    #[test]
    fn every_word_of_up_to_three_awkward_bytes_reads_back() {
        let bytes = b"a '\"\\\n$%\xff\0";
        let mut words: Vec<Vec<u8>> = vec![vec![]];
        for _ in 0..3 {
            words = words
                .iter()
                .flat_map(|w| bytes.iter().map(move |b| [&w[..], &[*b]].concat()).chain([w.clone()]))
                .collect();
        }
        for word in words {
            let line = join(&[&word[..], b"x"]);
            assert_eq!(split(&line).unwrap(), [word.clone(), b"x".to_vec()]);
            let mut packed = Vec::new();
            pack(&word, &mut packed);
            assert!(!packed.iter().any(|b| b" \n=".contains(b)));
            assert_eq!(unpack(&packed).unwrap(), word);
        }
        assert_eq!(unpack(b"%4"), None);
        assert_eq!(unpack(b"%zz"), None);
    }
}
