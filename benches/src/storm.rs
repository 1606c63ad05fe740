//! Launches: many small programs, two at a time. `storm` collects statuses, `echo` also keeps output and reads it.

use crate::cost::Meter;
use crate::floor::{Program, spawn_loop, spawn_reading};
use crate::lanes::{After, Lanes};
use crate::table::{Better, Outcome, Racer, Sample, Who, race};
use crate::world::{Kind, NodeUnderTest, folder, noop, uem};
use crate::{Run, peers};

/// Our racer: one connection to a node, `width` sessions under way.
fn us<'a>(
    kind: Kind,
    name: &str,
    width: usize,
    run: impl Fn(&mut Lanes, usize) -> Outcome<usize> + 'a,
) -> Racer<'a> {
    if let (Kind::Uem, Err(why)) = (kind, uem()) {
        return Racer::absent(Who::Us, name, why);
    }
    let mut node = None;
    Racer::new(Who::Us, name, move || {
        if node.is_none() {
            let server = NodeUnderTest::start(kind, false)?;
            let lanes = Lanes::new(server.connect()?)?;
            node = Some((server, lanes));
        }
        let (server, lanes) = node.as_mut().ok_or("there is no node")?;
        let meter = Meter::start(&server.pids());
        let count = run(lanes, width)?;
        let sample = Sample { values: vec![count as f64 / meter.seconds()], cpu_us: meter.cpu_us(count) };
        lanes.free_all()?;
        Ok(sample)
    })
}

/// 20,000 times a static program of 9 KB that exits 0.
pub(crate) fn storm(run: &Run) -> Outcome<()> {
    let count = run.count(20_000, 50);
    let place = folder()?;
    let program = noop(place.path());
    let line = format!("exec {}\n", program.display());
    let floor = Program::new(&program, &[])?;
    let go = |lanes: &mut Lanes, width: usize| lanes.run(count, width, &line, After::Free).map(|_| count);
    let words = |words: &[&str]| {
        words.iter().map(Into::into).chain([program.clone().into_os_string()]).collect::<Vec<_>>()
    };
    let racers = vec![
        us(Kind::Uem, "uem up, one 9P connection, two at a time", 2, go),
        us(Kind::Solo, "node without a keeper, two at a time", 2, go),
        us(Kind::Uem, "uem up, eight at a time", 8, go),
        Racer::new(Who::Floor, "posix_spawn loop, two at a time", || {
            let meter = Meter::start(&[]);
            spawn_loop(&floor, count)?;
            Ok(Sample { values: vec![count as f64 / meter.seconds()], cpu_us: meter.cpu_us(count) })
        }),
        peers::by_lines(
            "xargs -P2",
            "findutils",
            count.min(10_000),
            place.path(),
            words(&["xargs", "-P2", "-n1"]),
        ),
        peers::by_lines(
            "GNU parallel -j2",
            "parallel",
            count.min(600),
            place.path(),
            words(&["parallel", "--will-cite", "-j2", "-n0"]),
        ),
        peers::hq("rate", count.min(2_000), words(&[])),
    ];
    let mut table = race(
        "storm",
        format!("{count} × a 9 KB static program, every status collected"),
        &[("runs/s", Better::More)],
        run.repeats,
        racers,
    );
    let ours = table.value("uem up, one", 0);
    for (words, peer, least) in [
        ("≥ 0.7 of the floor", "posix_spawn", 0.7),
        ("≥ xargs", "xargs", 1.0),
        ("≥ 3.5 × HyperQueue", "HyperQueue", 3.5),
        ("≥ 17 × GNU parallel", "GNU parallel", 17.0),
    ] {
        let figure = ours / table.value(peer, 0);
        table.promise(words, figure, |x| x >= least);
    }
    table.show(run.smoke)
}

/// 2,000 times `echo hi`: stdout kept by whoever runs it, and read when all have ended.
pub(crate) fn echo(run: &Run) -> Outcome<()> {
    let count = run.count(2_000, 20);
    let place = folder()?;
    let line = "keep\nexec /bin/echo hi\n";
    let floor = Program::new("/bin/echo".as_ref(), &["hi"])?;
    let check = |outputs: &[Vec<u8>]| match outputs.len() == count && outputs.iter().all(|out| out == b"hi\n")
    {
        true => Ok(()),
        false => Err("an output is not `hi`"),
    };
    let go = |lanes: &mut Lanes, width: usize| {
        let ids = lanes.run(count, width, line, After::Keep)?;
        check(&lanes.read_all(&ids, 32)?)?;
        Ok(count)
    };
    let words = |words: &[&str]| words.iter().map(Into::into).collect::<Vec<_>>();
    let racers = vec![
        us(Kind::Uem, "uem up, one 9P connection, two at a time", 2, go),
        us(Kind::Solo, "node without a keeper, two at a time", 2, go),
        Racer::new(Who::Floor, "posix_spawn, pipe, read, wait; two at a time", || {
            let meter = Meter::start(&[]);
            check(&spawn_reading(&floor, count)?)?;
            Ok(Sample { values: vec![count as f64 / meter.seconds()], cpu_us: meter.cpu_us(count) })
        }),
        peers::by_lines(
            "GNU parallel -j2",
            "parallel",
            count.min(600),
            place.path(),
            words(&["parallel", "--will-cite", "-j2", "-n0", "/bin/echo hi"]),
        ),
        peers::hq("keep", count, words(&["/bin/echo", "hi"])),
    ];
    let mut table = race(
        "echo",
        format!("{count} × echo hi, stdout kept and read afterwards"),
        &[("runs/s", Better::More)],
        run.repeats,
        racers,
    );
    let ours = table.value("uem up", 0);
    for (words, peer, least) in
        [("≥ 4 × HyperQueue", "HyperQueue", 4.0), ("≥ 8 × GNU parallel", "GNU parallel", 8.0)]
    {
        let figure = ours / table.value(peer, 0);
        table.promise(words, figure, |x| x >= least);
    }
    let figure = ours / table.value("posix_spawn", 0);
    table.promise("of the floor (no promise)", figure, |_| true);
    table.show(run.smoke)
}
