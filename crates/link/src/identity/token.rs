//! Tokens: one word that says which trust domain, and the right to join it once.

use super::{Pin, TOKEN_SECRET, sha256};

/// What each begins with; the digit is the version.
const MARK: &str = "uem1-";
const ALPHABET: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz234567";
/// What a token holds: kind, pin, secret, and four bytes by which a slip of the hand is seen.
const BYTES: usize = 1 + 32 + TOKEN_SECRET + 4;
/// So many characters are that, at five bits each.
const CHARACTERS: usize = (BYTES * 8).div_ceil(5);

/// Who is invited.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Kind {
    /// A node; it says its name when it joins.
    Node,
    /// A user of this name, wherever he comes from.
    User(String),
}

/// The right to join a trust domain, once. Its `Display` is the word to hand over; its `Debug` tells nothing.
#[derive(Clone, PartialEq, Eq)]
pub struct Token {
    pub(super) pin: Pin,
    pub(super) secret: [u8; TOKEN_SECRET],
    pub(super) user: bool,
}

impl Token {
    /// Which trust domain it is for.
    pub fn pin(&self) -> &Pin {
        &self.pin
    }

    /// A user is invited with it, not a node. Which, the authority knows.
    pub fn for_user(&self) -> bool {
        self.user
    }

    fn checksum(body: &[u8]) -> [u8; 4] {
        let hash = sha256(&[b"uem token", body]);
        [hash[0], hash[1], hash[2], hash[3]]
    }
}

impl std::fmt::Debug for Token {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Token(for {}, secret)", self.pin.short())
    }
}

impl std::fmt::Display for Token {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut bytes = Vec::with_capacity(BYTES);
        bytes.push(u8::from(self.user));
        bytes.extend_from_slice(&self.pin.0);
        bytes.extend_from_slice(&self.secret);
        bytes.extend_from_slice(&Token::checksum(&bytes));
        write!(f, "{MARK}{}", base32(&bytes))
    }
}

impl std::str::FromStr for Token {
    type Err = String;

    fn from_str(word: &str) -> Result<Token, String> {
        let wrong = |what: &str| format!("{what}: copy the whole word that \"uem invite\" printed");
        let word = word.trim().to_ascii_lowercase();
        let Some(body) = word.strip_prefix(MARK) else {
            return Err(wrong(&format!("this is not a token, which would begin with {MARK}")));
        };
        if body.len() != CHARACTERS {
            let is = if body.len() < CHARACTERS { "short" } else { "long" };
            return Err(wrong(&format!("this token is too {is}")));
        }
        let bytes = unbase32(body).ok_or_else(|| wrong("this token is mistyped"))?;
        let (body, sum) = bytes.split_at(BYTES - 4);
        if sum != Token::checksum(body) || body[0] > 1 {
            return Err(wrong("this token is mistyped"));
        }
        let mut token = Token { pin: Pin([0; 32]), secret: [0; TOKEN_SECRET], user: body[0] == 1 };
        token.pin.0.copy_from_slice(&body[1..33]);
        token.secret.copy_from_slice(&body[33..]);
        Ok(token)
    }
}

/// RFC 4648's base 32, in small letters and without padding.
fn base32(bytes: &[u8]) -> String {
    let mut out = String::with_capacity(CHARACTERS);
    let (mut bits, mut count) = (0u32, 0);
    for byte in bytes {
        bits = bits << 8 | u32::from(*byte);
        count += 8;
        while count >= 5 {
            count -= 5;
            out.push(char::from(ALPHABET[(bits >> count & 31) as usize]));
        }
    }
    if count > 0 {
        out.push(char::from(ALPHABET[(bits << (5 - count) & 31) as usize]));
    }
    out
}

/// The bytes, if all characters are of the alphabet and the bits that fill up the last one are none.
fn unbase32(text: &str) -> Option<Vec<u8>> {
    let mut out = Vec::with_capacity(BYTES);
    let (mut bits, mut count) = (0u32, 0);
    for character in text.bytes() {
        let value = ALPHABET.iter().position(|known| *known == character)?;
        bits = bits << 5 | value as u32;
        count += 5;
        if count >= 8 {
            count -= 8;
            out.push((bits >> count & 0xff) as u8);
        }
    }
    (bits & ((1 << count) - 1) == 0).then_some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token(user: bool) -> Token {
        Token { pin: Pin([0x5a; 32]), secret: [0xc3; TOKEN_SECRET], user }
    }

    #[test]
    fn base32_is_the_rfcs() {
        for (plain, text) in [
            ("", ""),
            ("f", "my"),
            ("fo", "mzxq"),
            ("foo", "mzxw6"),
            ("foob", "mzxw6yq"),
            ("foobar", "mzxw6ytboi"),
        ] {
            assert_eq!(base32(plain.as_bytes()), text);
            assert_eq!(unbase32(text).unwrap(), plain.as_bytes());
        }
        assert_eq!(unbase32("mz"), None, "bits that mean nothing");
        assert_eq!(unbase32("m1"), None, "not in the alphabet");
    }

    #[test]
    fn a_token_is_one_word_and_comes_back() {
        for user in [false, true] {
            let word = token(user).to_string();
            assert!(word.starts_with(MARK) && word.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-'));
            assert_eq!(word.parse(), Ok(token(user)));
            assert_eq!(format!(" {}\n", word.to_ascii_uppercase()).parse(), Ok(token(user)));
        }
    }

    #[test]
    fn every_mistyped_character_and_every_cut_is_seen() {
        let word = token(false).to_string();
        for at in MARK.len()..word.len() {
            for other in
                "abcdefghijklmnopqrstuvwxyz234567018-é".chars().filter(|c| !word[at..].starts_with(*c))
            {
                let typed = format!("{}{other}{}", &word[..at], &word[at + 1..]);
                let why = typed.parse::<Token>().unwrap_err();
                assert!(why.contains("mistyped") || why.contains("too long"), "{typed}: {why}");
            }
            assert!(word[..at].parse::<Token>().unwrap_err().contains("too short"));
        }
        assert!(format!("{word}a").parse::<Token>().unwrap_err().contains("too long"));
        assert!("hello".parse::<Token>().unwrap_err().contains("not a token"));
    }

    #[test]
    fn debugging_output_has_no_secret() {
        let shown = format!("{:?}", token(false));
        assert!(!shown.contains("c3") && !shown.contains("195"), "{shown}");
    }
}
