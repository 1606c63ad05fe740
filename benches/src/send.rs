//! A program that is sent along with a session, to many nodes at once: how long until all have run it, and how often each link
//! carried it.

use crate::Run;
use crate::cloud::{Cloud, name, text};
use crate::cost::Meter;
use crate::floor::{Program, spawn_loop};
use crate::table::{Better, Outcome, Racer, Sample, Who, race};
use crate::world::folder;
use host::client::{BOTH, Connection, READ, ROOT, WRITE};
use op::{Content, Op, Reply};
use std::cell::{Cell, RefCell};
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::time::Instant;

/// Children of a node.
const FAN: usize = 4;
/// Bytes of the program.
const SIZE: usize = 16 << 20;

/// A program that does nothing, of that size, and another one each time.
fn program(number: u64) -> Outcome<Vec<u8>> {
    let mut data = std::fs::read("/bin/true")?;
    let mut seed = number;
    while data.len() < SIZE {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        data.extend(seed.to_le_bytes());
    }
    Ok(data)
}

fn named(data: &[u8]) -> Content {
    Content { hash: *blake3::hash(data).as_bytes(), size: data.len() as u64 }
}

/// Writes it to the store of the node that is asked.
fn put(c: &mut Connection, content: Content, data: &[u8]) -> Outcome<()> {
    let said = |error: op::Error| error.to_string();
    let (fid, walked) = c.walk(ROOT, "self/store");
    c.wait_for(walked).map_err(said)?;
    c.call(Op::Create { fid, name: content.to_string(), mode: 0o444, access: WRITE }).map_err(said)?;
    let piece = c.max_io() as usize;
    for (at, data) in data.chunks(piece).enumerate() {
        c.call(Op::Write { fid, offset: (at * piece) as u64, data: data.to_vec() }).map_err(said)?;
    }
    c.call(Op::Clunk { fid }).map_err(said)?;
    Ok(())
}

/// Runs it on all nodes, in one flight from one client.
fn run_everywhere(c: &mut Connection, names: &[String], content: Content) -> Outcome<()> {
    let lines = format!("ns put {content} prog from=n0\nexec ./prog\n").into_bytes();
    let mut asked = Vec::with_capacity(names.len());
    for name in names {
        let (ctl, _) = c.walk(ROOT, &format!("net/{name}/clone"));
        c.send(Op::Open { fid: ctl, access: BOTH });
        let started = c.send(Op::Write { fid: ctl, offset: 0, data: lines.clone() });
        asked.push((ctl, started));
    }
    let mut waits = Vec::with_capacity(names.len());
    for (name, (ctl, started)) in names.iter().zip(&asked) {
        c.wait_for(*started).map_err(|error| format!("{name}: {error}"))?;
        let (wait, _) = c.walk(*ctl, "../wait");
        c.send(Op::Open { fid: wait, access: READ });
        waits.push((wait, c.send(Op::Read { fid: wait, offset: 0, count: 4096, wait: true })));
    }
    for (name, (_, status)) in names.iter().zip(&waits) {
        match c.wait_for(*status) {
            Ok(Reply::Data(line)) if line.windows(8).any(|part| part == b" exit=0 ") => {}
            Ok(other) => return Err(format!("{name}: {other:?}").into()),
            Err(error) => return Err(format!("{name}: {error}").into()),
        }
    }
    for ((ctl, _), (wait, _)) in asked.iter().zip(&waits) {
        let free = c.send(Op::Write { fid: *ctl, offset: 0, data: b"free\n".to_vec() });
        c.wait_for(free).map_err(|error| error.to_string())?;
        [*wait, *ctl].into_iter().for_each(|fid| c.clunk(fid));
    }
    Ok(())
}

/// Bytes of contents that each node has had over its link, which is the one to its parent.
fn got(c: &mut Connection, count: usize) -> Outcome<Vec<f64>> {
    (1..count)
        .map(|number| {
            let info = text(c, &format!("net/{}/info.json", name(number)))?;
            let info: serde_json::Value = serde_json::from_str(&info)?;
            Ok(info["store_got"].as_f64().ok_or("no store_got in info")?)
        })
        .collect()
}

/// What is had of each link, in copies of the program: the least and the most.
fn copies(before: &[f64], after: &[f64]) -> [f64; 2] {
    let all = before.iter().zip(after).map(|(before, after)| (after - before) / SIZE as f64);
    all.fold([f64::MAX, 0.0], |[least, most], n| [least.min(n), most.max(n)])
}

fn us<'a>(title: &str, cloud: &'a Cloud, last: &'a RefCell<Option<Content>>, fresh: bool) -> Racer<'a> {
    let (mut connection, number) = (None, Cell::new(0));
    Racer::new(Who::Us, title, move || {
        if connection.is_none() {
            connection = Some(cloud.connect(0)?);
        }
        let c = connection.as_mut().ok_or("there is no connection")?;
        let again = *last.borrow();
        let (content, data) = match again.filter(|_| !fresh) {
            Some(content) => (content, None),
            None => {
                number.set(number.get() + 1);
                let data = program(number.get())?;
                (named(&data), Some(data))
            }
        };
        let before = got(c, cloud.count)?;
        let meter = Meter::start(&cloud.pids());
        let begun = Instant::now();
        if let Some(data) = data {
            put(c, content, &data)?;
        }
        run_everywhere(c, &cloud.names(), content)?;
        let took = begun.elapsed().as_secs_f64() * 1e3;
        let cpu_us = meter.cpu_us(cloud.count);
        let [least, most] = copies(&before, &got(c, cloud.count)?);
        *last.borrow_mut() = Some(content);
        Ok(Sample { values: vec![took, least, most], cpu_us })
    })
}

/// One copy a node over loopback TCP, two at a time, into a file each; then as many spawns.
fn floor(count: usize) -> Outcome<Sample> {
    let data = program(0)?;
    let folder = folder()?;
    let nothing = Program::new("/bin/true".as_ref(), &[])?;
    let meter = Meter::start(&[]);
    let begun = Instant::now();
    for at in (0..count).step_by(2) {
        std::thread::scope(|scope| -> Outcome<()> {
            let mut copies = Vec::new();
            for number in at..count.min(at + 2) {
                let listener = TcpListener::bind("127.0.0.1:0")?;
                let addr = listener.local_addr()?;
                let data = &data;
                scope.spawn(move || -> std::io::Result<()> { listener.accept()?.0.write_all(data) });
                let file = folder.path().join(number.to_string());
                copies.push(scope.spawn(move || -> std::io::Result<u64> {
                    let (mut from, mut to) = (TcpStream::connect(addr)?, std::fs::File::create(file)?);
                    let (mut buffer, mut all) = (vec![0; 256 << 10], 0);
                    loop {
                        match from.read(&mut buffer)? {
                            0 => return Ok(all),
                            n => to.write_all(&buffer[..n])?,
                        }
                        all += 1;
                    }
                }));
            }
            for copy in copies {
                copy.join().map_err(|_| "a copy failed")??;
            }
            Ok(())
        })?;
    }
    spawn_loop(&nothing, count)?;
    let took = begun.elapsed().as_secs_f64() * 1e3;
    Ok(Sample { values: vec![took, 1.0, 1.0], cpu_us: meter.cpu_us(count) })
}

/// 16 MiB of program to 64 nodes, and started there.
pub(crate) fn send(run: &Run) -> Outcome<()> {
    let count = run.count(65, 7);
    // Room for two: what was sent before goes.
    let cloud = Cloud::of_daemons_with(count, FAN, &["--store", "40M"])?;
    let last = RefCell::new(None);
    let racers = vec![
        us("a program that nobody has", &cloud, &last, true),
        us("the same again", &cloud, &last, false),
        Racer::new(Who::Floor, "a copy a node over TCP, two at a time, and a spawn", || floor(count)),
    ];
    let title = format!(
        "16 MiB of program from the root of a tree to all of {count} daemons, fan-out {FAN}, and its status back from each"
    );
    let columns = [("ms", Better::Less), ("copies a link: least", Better::Less), ("most", Better::Less)];
    let mut table = race("send", title, &columns, run.repeats, racers);
    let (least, most) =
        (table.value("a program that nobody has", 1), table.value("a program that nobody has", 2));
    table.promise("each link carries it once", (least - 1.0).abs().max((most - 1.0).abs()), |x| x < 1e-9);
    let again = table.value("the same again", 2);
    table.promise("the second time nothing is sent", again, |x| x == 0.0);
    table.show(run.smoke)
}
