//! Directory entries, packed: whole ones only, as many as fit.

use crate::Dialect;
use crate::wire::{self, put_dirent, put_entry, put_record};
use alloc::vec::Vec;
use op::{Entry, Errno, Error};

/// Entries as they are sent.
pub(super) struct Packed {
    /// Their bytes.
    pub(super) data: Vec<u8>,
    /// Of the last that fitted; `None` if there are none.
    pub(super) cookie: Option<u64>,
}

/// How many entries to ask for to fill `count` bytes. Those that do not fit after all are asked for again.
pub(super) fn estimate(count: u32, dialect: Dialect) -> u32 {
    let usual = match dialect {
        Dialect::Plain => 72,
        Dialect::L => 32,
        Dialect::Uem => 88,
    };
    count / usual + 1
}

/// Packs what fits into `count` bytes.
pub(super) fn pack(entries: &[Entry], count: u32, dialect: Dialect) -> Result<Packed, Error> {
    let mut packed = Packed { data: Vec::new(), cookie: None };
    for entry in entries {
        let before = packed.data.len();
        match dialect {
            Dialect::Plain => put_record(&wire::Stat::new(&entry.stat, dialect), &mut packed.data, dialect),
            Dialect::L => put_dirent(entry, &mut packed.data),
            Dialect::Uem => put_entry(entry, &mut packed.data),
        }
        if packed.data.len() > count as usize {
            packed.data.truncate(before);
            if packed.cookie.is_none() {
                return Err(Error::new(Errno::INVAL, "the read is too small for a directory entry"));
            }
            break;
        }
        packed.cookie = Some(entry.cookie);
    }
    Ok(packed)
}
