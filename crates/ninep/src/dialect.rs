//! Which of the 9Ps is spoken: agreed by `Tversion`, and then the same until the next one.

/// A dialect of 9P.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Dialect {
    /// `9P2000`: Plan 9's own. Errors are sentences; directories are read as stat records.
    Plain,
    /// `9P2000.L`: that of Linux. Errors are errnos; attributes and open flags are those of Linux.
    L,
    /// `9P2000.uem`: `9P2000.L` with nothing of an [`op::Op`] and its [`op::Reply`] lost. The differences:
    ///
    /// - `Rlerror errno[4] cause[s]`: sentences survive.
    /// - `Rlopen` and `Rlcreate` end in `shape[1]`: 0 text, 1 stream, 2 spool.
    /// - `Tread` with the top bit of `count` set does not wait: what is not there yet is `EAGAIN`.
    /// - `Tlcreate` with `S_IFDIR` in `mode` makes a directory.
    /// - `Tstat` is admitted, and stat records end in `n_uid[4] n_gid[4] mtime_ns[4]`.
    /// - `Trenameat` ends in `flags[4]`: 1 leaves what has the new name already.
    /// - `Rreaddir` holds `cookie[8]` and a stat record an entry.
    Uem,
}

impl Dialect {
    /// As it stands in `Tversion`.
    pub fn name(self) -> &'static str {
        match self {
            Dialect::Plain => "9P2000",
            Dialect::L => "9P2000.L",
            Dialect::Uem => "9P2000.uem",
        }
    }

    /// What a server answers to a version: an unknown variant of 9P2000 is met on 9P2000, as version(5) says;
    /// `None` is answered `unknown`.
    pub fn offered(version: &str) -> Option<Dialect> {
        match version {
            "9P2000.L" => Some(Dialect::L),
            "9P2000.uem" => Some(Dialect::Uem),
            "9P2000" => Some(Dialect::Plain),
            _ => version.starts_with("9P2000.").then_some(Dialect::Plain),
        }
    }

    /// Exactly this version, as a client reads `Rversion`.
    pub(crate) fn named(version: &str) -> Option<Dialect> {
        Dialect::offered(version).filter(|dialect| dialect.name() == version)
    }

    /// Its bit in the column of the message tables that says which dialects have a message.
    pub(crate) fn bit(self) -> u8 {
        match self {
            Dialect::Plain => 1,
            Dialect::L => 2,
            Dialect::Uem => 4,
        }
    }

    /// Whether it is 9P2000.L or stands on it.
    pub(crate) fn is_linux(self) -> bool {
        self != Dialect::Plain
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_met_as_version_5_says() {
        for (asked, met) in [
            ("9P2000", Some(Dialect::Plain)),
            ("9P2000.L", Some(Dialect::L)),
            ("9P2000.uem", Some(Dialect::Uem)),
            ("9P2000.u", Some(Dialect::Plain)),
            ("9P2000.foo", Some(Dialect::Plain)),
            ("9P1999", None),
            ("9P20000", None),
            ("", None),
        ] {
            assert_eq!(Dialect::offered(asked), met, "{asked}");
        }
    }
}
