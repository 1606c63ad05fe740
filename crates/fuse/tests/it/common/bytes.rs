//! Bytes to events: what the fuzz target `fuse_receive` does with its input, and what replaying its corpus does.

use super::wire::{Call, message};
use super::world::World;

/// Plays `input` as a script of messages, replies and flushes, then ends the mount. Panics when a promise is broken.
///
/// ```text
///   0x00‥0x7f OPCODE NODE LENGTH bytes…   a request, after INIT was answered
///   0x80‥0x9f LENGTH bytes…               bytes as they are
///   0xa0‥0xbf N                           the tree does the Nth thing that it was asked
///   0xc0‥0xdf N                           the same; a flush comes after what it flushes was done
///   0xe0‥0xef N                           an INTERRUPT of request N
///   0xf0‥0xff                             the tree does everything
/// ```
pub(crate) fn play(input: &[u8]) {
    let mut world = World::new();
    let mut input = Script(input);
    let mut unique = 2;
    world.send(&Call::Init.message(unique, 0, 0));
    if input.byte() % 8 != 0 {
        world.run_all();
    }
    while let Some(code) = input.next()
        && !world.unmounted
    {
        unique += 2;
        match code {
            0x00..=0x7f => {
                let (opcode, node) = (u32::from(input.byte() % 54), u64::from(input.byte() % 16));
                let body = input.bytes();
                world.send(&message(
                    opcode,
                    if opcode == 36 { unique | 1 } else { unique },
                    node,
                    1000,
                    body,
                ));
            }
            0x80..=0x9f => {
                // A number that nothing else has, lest the world take one request for another.
                let mut raw = input.bytes().to_vec();
                let interrupt = raw.get(4..8) == Some(&36u32.to_ne_bytes());
                if let Some(number) = raw.get_mut(8..16) {
                    number.copy_from_slice(&(unique | u64::from(interrupt)).to_ne_bytes());
                }
                world.send(&raw);
            }
            0xa0..=0xdf if !world.held.is_empty() => {
                let at = usize::from(input.byte()) % world.held.len();
                world.run(at, code >= 0xc0);
            }
            0xa0..=0xdf => {}
            0xe0..=0xef => {
                let victim = u64::from(input.byte()) * 2;
                world.send(&Call::Interrupt(victim).message(unique | 1, 0, 0));
            }
            0xf0..=0xff => world.run_all(),
        }
        world.answers.clear();
    }
    world.end();
}

struct Script<'a>(&'a [u8]);

impl<'a> Script<'a> {
    fn next(&mut self) -> Option<u8> {
        let (&first, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(first)
    }

    fn byte(&mut self) -> u8 {
        self.next().unwrap_or(0)
    }

    fn bytes(&mut self) -> &'a [u8] {
        let length = usize::from(self.byte()).min(self.0.len());
        let (head, rest) = self.0.split_at(length);
        self.0 = rest;
        head
    }
}
