//! Contents: bytes that are known by what they are, wherever they are kept.

use alloc::string::String;
use core::fmt;

/// What a content is called: the BLAKE3 hash of its bytes, and how many they are. Written `HASH-SIZE`, the hash in 64
/// lower-case hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Content {
    /// Of all its bytes.
    pub hash: [u8; 32],
    /// Bytes.
    pub size: u64,
}

/// A content that a program finds under a name in its own directory.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Put {
    /// Which.
    pub content: Content,
    /// One path element.
    pub name: String,
}

impl fmt::Display for Content {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.hash.iter().try_for_each(|byte| write!(f, "{byte:02x}"))?;
        write!(f, "-{}", self.size)
    }
}

impl fmt::Debug for Content {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl core::str::FromStr for Content {
    type Err = ();

    /// Only as it is written: one content has one name.
    fn from_str(text: &str) -> Result<Content, ()> {
        let (hex, size) = text.split_once('-').ok_or(())?;
        let mut hash = [0; 32];
        if hex.len() != 64 || !hex.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')) {
            return Err(());
        }
        for (byte, at) in hash.iter_mut().zip((0..64).step_by(2)) {
            *byte = u8::from_str_radix(&hex[at..at + 2], 16).map_err(|_| ())?;
        }
        let plain = size == "0" || !size.starts_with('0') && size.bytes().all(|b| b.is_ascii_digit());
        let size = size.parse().ok().filter(|size| plain && *size < 1 << 60).ok_or(())?;
        Ok(Content { hash, size })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::format;

    #[test]
    fn a_name_reads_back_and_nothing_else_is_one() {
        let content = Content { hash: core::array::from_fn(|i| i as u8 * 7), size: 16 << 20 };
        let name = format!("{content}");
        assert_eq!(name.parse(), Ok(content));
        let hex = &name[..64];
        for bad in [
            "",
            "-",
            hex,
            &format!("{hex}-"),
            &format!("{hex}-+1"),
            &format!("{hex}-01"),
            &format!("{hex}-1 "),
            &format!("{}-1", hex.to_uppercase()),
            &format!("{}-1", &hex[1..]),
            &format!("{hex}-{}", u64::MAX),
            &format!("{hex}-1-1"),
        ] {
            assert_eq!(bad.parse::<Content>(), Err(()), "{bad:?}");
        }
        assert!(format!("{hex}-0").parse::<Content>().is_ok());
    }
}
