//! The journal, cut at every byte, and opened again. What was answered is kept, and nothing panics.
#![expect(clippy::unwrap_used, reason = "a test that finds nothing to unwrap has failed")]

use kernel::{Effect, Event, Kernel};
use op::{Exit, Fid, How, Op, SessionId, Stream, Tell, Uid, Usage};
use sim::{
    machine::{EPOCH, node},
    provider::started,
    world::World,
};

const ME: Uid = Uid(1000);

/// One write to a new session's `ctl`, or what its program does.
fn a_busy_hour() -> (World, Vec<(usize, String)>) {
    let mut world = World::new();
    let client = world.connect(true);
    world.attach(client, ME, Fid(0));
    let mut promises = Vec::new();
    let open = |world: &mut World, fid: u32, path: &str| {
        let names = path.split('/').map(String::from).collect();
        world.call(client, ME, Op::Walk { fid: Fid(0), newfid: Fid(fid), names });
        let access = op::Access { read: true, write: true, truncate: false };
        world.call(client, ME, Op::Open { fid: Fid(fid), access });
    };
    let write = |world: &mut World, fid: u32, text: &str| {
        world.ask(client, ME, Op::Write { fid: Fid(fid), offset: 0, data: text.into() });
    };
    let mut promise = |world: &World, what: &str| promises.push((world.journal().0.len(), what.to_string()));
    open(&mut world, 1, "net/n1/clone");
    promise(&world, "0 fresh");
    write(&mut world, 1, "tag job=long\nkeep\nlease 90\n");
    open(&mut world, 2, "net/n1/0/args");
    write(&mut world, 2, "sh\n-c\n'echo \"x y\" %'\n");
    write(&mut world, 1, "exec\n");
    world.tell(started(SessionId(0), 7));
    promise(&world, "0 running");
    open(&mut world, 3, "net/n1/clone");
    promise(&world, "1 fresh");
    open(&mut world, 4, "net/n1/1/clone");
    promise(&world, "2 fresh");
    write(&mut world, 3, "exec worker {rank}\n");
    world.tell(started(SessionId(2), 8));
    promise(&world, "2 running");
    write(&mut world, 1, "stop\n");
    promise(&world, "0 stopped");
    let tell = world.provider.output(SessionId(0), Stream::Out, b"out\n");
    world.tell(tell);
    let exit = Exit { how: How::Code(3), usage: Usage::default(), at: EPOCH.wall };
    world.tell(Tell::Exited { session: SessionId(0), exit });
    // Nobody waited for that, so it is promised by the next answer.
    open(&mut world, 5, "net/n1/0/wait");
    promise(&world, "0 ended");
    write(&mut world, 1, "free\n");
    promise(&world, "0 gone");
    open(&mut world, 6, "net/n1/clone");
    promise(&world, "3 fresh");
    (world, promises)
}

/// What a kernel remembers of a journal, as it writes it anew.
fn recalled(journal: &[u8]) -> Vec<String> {
    let mut kernel = Kernel::new(node());
    let mut effects = Vec::new();
    // The host drops a last line without its newline.
    let whole = journal.iter().rposition(|b| *b == b'\n').map_or(0, |at| at + 1);
    for line in journal[..whole].split(|b| *b == b'\n').filter(|line| !line.is_empty()) {
        kernel.handle(EPOCH, Event::Recall(line.to_vec()), &mut effects);
    }
    kernel.handle(EPOCH, Event::Recalled, &mut effects);
    kernel.check();
    let lines = effects.into_iter().find_map(|effect| match effect {
        Effect::Rewrite(lines) => Some(lines),
        _ => None,
    });
    String::from_utf8(lines.unwrap()).unwrap().lines().map(String::from).collect()
}

fn state_of(lines: &[String], id: &str) -> String {
    let Some(line) = lines.iter().find(|l| l.starts_with(&format!("{id} "))) else { return "gone".into() };
    let state = line.split(' ').find_map(|field| field.strip_prefix("state="));
    state.unwrap_or("fresh").into()
}

#[test]
fn a_journal_cut_at_any_byte_keeps_what_was_promised_before_that_byte() {
    let (world, promises) = a_busy_hour();
    let (journal, promised) = world.journal();
    assert_eq!(promised, journal.len(), "the last answer promised all of it");
    let order = ["gone", "fresh", "starting", "running", "stopped", "ended", "gone"];
    for cut in 0..=journal.len() {
        let lines = recalled(&journal[..cut]);
        for (at, promise) in promises.iter().filter(|(at, _)| *at <= cut) {
            let (id, state) = promise.split_once(' ').unwrap();
            let is = state_of(&lines, id);
            // It may have gone on since, and never back.
            let past = order.iter().rposition(|s| *s == state).unwrap();
            let now =
                if is == "gone" { order.len() - 1 } else { order.iter().position(|s| *s == is).unwrap() };
            let later = promises.iter().any(|(_, p)| *p == format!("{id} gone"));
            assert!(
                now >= past && (is != "gone" || later),
                "cut at {cut}: {promise} at {at}, and it is {is}"
            );
        }
        // No number that was promised to somebody is given out again.
        let next: u64 = lines[0].strip_prefix("next ").unwrap().parse().unwrap();
        let known = promises.iter().filter(|(at, _)| *at <= cut);
        let used = known.map(|(_, p)| p.split(' ').next().unwrap().parse::<u64>().unwrap() + 1).max();
        assert!(next >= used.unwrap_or(0), "cut at {cut}: {next} is next, and {used:?} was promised");
    }
}

#[test]
fn a_journal_written_anew_reads_back_the_same() {
    let (world, _) = a_busy_hour();
    let once = recalled(world.journal().0);
    let again = recalled(format!("{}\n", once.join("\n")).as_bytes());
    assert_eq!(once, again);
    assert!(once.len() > 3, "{once:?}");
}

/// A group of five on a node of two slots: rank 0 has ended and is freed, rank 1 has failed, 2 and 3 run, 4 waits.
fn a_group_at_work() -> World {
    let mut world = World::new();
    let client = world.connect(true);
    world.attach(client, ME, Fid(0));
    let write = |world: &mut World, path: &str, text: &str| {
        let names = path.split('/').map(String::from).collect();
        world.call(client, ME, Op::Walk { fid: Fid(0), newfid: Fid(1), names });
        let access = op::Access { read: true, write: true, truncate: false };
        world.call(client, ME, Op::Open { fid: Fid(1), access });
        world.ask(client, ME, Op::Write { fid: Fid(1), offset: 0, data: text.into() });
    };
    let exited = |id, code| {
        let exit = Exit { how: How::Code(code), usage: Usage::default(), at: EPOCH.wall };
        Tell::Exited { session: SessionId(id), exit }
    };
    write(&mut world, "net/n1/clone", "keep\nrun 5 -- work {rank}\n");
    world.tell(started(SessionId(1), 7));
    world.tell(started(SessionId(2), 8));
    world.call(client, ME, Op::Clunk { fid: Fid(1) });
    world.tell(exited(1, 0));
    world.tell(started(SessionId(3), 9));
    write(&mut world, "net/n1/1/ctl", "free\n");
    world.tell(exited(2, 3));
    world.tell(started(SessionId(4), 10));
    world
}

#[test]
fn a_group_s_journal_cut_at_any_byte_has_each_rank_once_and_how_it_ended() {
    let world = a_group_at_work();
    let (journal, _) = world.journal();
    let place = format!("place 0 - {} ", node().id);
    let text = String::from_utf8_lossy(journal);
    let begun = text.find("queue 0 0-4\n").unwrap() + "queue 0 0-4\n".len();
    for cut in begun..=journal.len() {
        let lines = recalled(&journal[..cut]);
        let said = |verb: &str| lines.iter().filter_map(|l| l.strip_prefix(verb)).collect::<Vec<_>>();
        let mut ranks: Vec<u32> = Vec::new();
        let sets = said("queue 0 ").into_iter().chain(said(&place));
        ranks.extend(
            sets.filter(|set| !set.is_empty())
                .flat_map(|set| kernel::RankSet::parse(set).unwrap().iter().collect::<Vec<_>>()),
        );
        for end in said("ended 0 ") {
            let rank = end.split_once(" rank=").map(|(_, rank)| rank.parse().unwrap());
            // By its session, which says its rank.
            let of = |id: &str| {
                let line = lines.iter().find(|line| line.starts_with(&format!("{id} "))).unwrap();
                line.split(' ').find_map(|field| field.strip_prefix("rank=")).unwrap().parse().unwrap()
            };
            ranks.push(rank.unwrap_or_else(|| of(end.split(' ').next().unwrap())));
        }
        ranks.sort_unstable();
        assert_eq!(ranks, [0, 1, 2, 3, 4], "cut at {cut}: {lines:#?}");
    }
    let whole = recalled(journal);
    for line in ["queue 0 4", &format!("{place}2-3"), "ended 0 2 0"] {
        assert!(whole.iter().any(|l| l == line), "{line}: {whole:#?}");
    }
    let freed = whole.iter().filter(|l| l.starts_with("ended 0 n1/1 7 exit=0 ")).count();
    assert_eq!(freed, 1, "{whole:#?}");
    let again = recalled(format!("{}\n", whole.join("\n")).as_bytes());
    assert_eq!(whole, again);
}

#[test]
fn a_journal_with_any_byte_changed_is_read_without_a_panic() {
    let (world, _) = a_busy_hour();
    let (journal, _) = world.journal();
    let mut changed = journal.to_vec();
    for at in 0..journal.len() {
        for byte in [b' ', b'=', b'%', b'0', b'9', b'-', b'\n', 0xff] {
            changed[at] = byte;
            recalled_and_used(&changed);
        }
        changed[at] = journal[at];
    }
}

/// Opens it, and then lets everything that it remembers end and be freed.
fn recalled_and_used(journal: &[u8]) {
    let mut kernel = Kernel::new(node());
    let mut effects = Vec::new();
    for line in journal.split(|b| *b == b'\n') {
        kernel.handle(EPOCH, Event::Recall(line.to_vec()), &mut effects);
    }
    kernel.handle(EPOCH, Event::Recalled, &mut effects);
    for id in 0..5 {
        let exit = Exit { how: How::Lost, usage: Usage::default(), at: EPOCH.wall };
        kernel.handle(EPOCH, Event::Told(Tell::Exited { session: SessionId(id), exit }), &mut effects);
    }
    let mut later = EPOCH;
    later.mono.0 += 1_000_000_000_000;
    kernel.handle(later, Event::Tick, &mut effects);
    kernel.check();
}
