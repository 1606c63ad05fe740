//! Bytes of many: what eight members on eight daemons write, merged at the node above them; and what is written to a group, dealt to
//! them line by line.

use crate::cloud::Cloud;
use crate::cost::Meter;
use crate::peers;
use crate::table::{Better, Outcome, Racer, Sample, Who, race};
use crate::world::folder;
use crate::{Run, members};
use host::client::{BOTH, Connection, READ, ROOT, WRITE};
use op::{Fid, Op, Reply};
use std::collections::VecDeque;
use std::ffi::OsString;
use std::io::{Read, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};

/// Members, each on a daemon of its own.
const MEMBERS: usize = 8;
/// Reads and writes under way at a time.
const UNDER_WAY: usize = 4;
/// What every member writes, again and again; with its newline 64 bytes.
const LINE: &str = "012345678901234567890123456789012345678901234567890123456789012";

fn sample(bytes: usize, meter: &Meter) -> Sample {
    // CPU of each MB.
    Sample { values: vec![bytes as f64 / 1e6 / meter.seconds()], cpu_us: meter.cpu_us(bytes / 1_000_000) }
}

/// The words of a program that writes so many bytes of lines.
fn writer(bytes: usize) -> [String; 3] {
    ["sh".into(), "-c".into(), format!("yes {LINE} | head -c {bytes}")]
}

/// A connection to the root, whose users and lanes are known from a first group.
fn connect(cloud: &Cloud) -> Outcome<Connection> {
    let mut c = cloud.connect(0)?;
    members::group(&mut c, "run each -- true\n", false)?;
    Ok(c)
}

/// A group of one member on each leaf, and what it was made with.
fn made(c: &mut Connection, lines: &str) -> Outcome<Fid> {
    let (ctl, _) = c.walk(ROOT, "clone");
    c.send(Op::Open { fid: ctl, access: BOTH });
    let said = c.send(Op::Write { fid: ctl, offset: 0, data: lines.as_bytes().to_vec() });
    match c.wait_for(said) {
        Ok(Reply::Wrote(_)) => Ok(ctl),
        other => Err(format!("{lines:?}: {other:?}").into()),
    }
}

fn told(c: &mut Connection, ctl: Fid, line: &[u8]) -> Outcome<()> {
    let told = c.send(Op::Write { fid: ctl, offset: 0, data: line.to_vec() });
    c.wait_for(told).map_err(|error| error.to_string())?;
    Ok(())
}

/// Bytes and lines of a file of the group, to its end.
fn drained(c: &mut Connection, ctl: Fid, name: &str, mut each: impl FnMut(&[u8])) -> Outcome<usize> {
    let (fid, _) = c.walk(ctl, &format!("../{name}"));
    let opened = c.send(Op::Open { fid, access: READ });
    c.wait_for(opened).map_err(|error| error.to_string())?;
    let mut at = 0;
    loop {
        let count = c.max_io();
        let asked = c.send(Op::Read { fid, offset: at as u64, count, wait: true });
        match c.wait_for(asked) {
            Ok(Reply::Data(data)) if data.is_empty() => break,
            Ok(Reply::Data(data)) => {
                at += data.len();
                each(&data);
            }
            other => return Err(format!("{name}: {other:?}").into()),
        }
    }
    c.clunk(fid);
    Ok(at)
}

/// `more`: bytes that stand before each line.
fn merged<'a>(name: &str, cloud: &'a Cloud, mode: &'a str, more: usize, each: usize) -> Racer<'a> {
    let mut connection = None;
    Racer::new(Who::Us, name, move || {
        if connection.is_none() {
            connection = Some(connect(cloud)?);
        }
        let c = connection.as_mut().ok_or("there is no connection")?;
        let [sh, flag, script] = writer(each);
        let meter = Meter::start(&cloud.pids());
        let lines = format!("stdout {mode}\nroll\nrun each node!=n0 -- {sh} {flag} '{script}'\n");
        let ctl = made(c, &lines)?;
        let mut newlines = 0;
        let bytes =
            drained(c, ctl, "stdout", |data| newlines += data.iter().filter(|b| **b == b'\n').count())?;
        let sample = sample(bytes, &meter);
        told(c, ctl, b"free\n")?;
        c.clunk(ctl);
        let lines = MEMBERS * each / 64;
        match (bytes, newlines) == (lines * (64 + more), lines) {
            true => Ok(sample),
            false => Err(format!("{bytes} bytes and {newlines} lines came").into()),
        }
    })
}

/// Children that are killed and waited for, whatever happens.
struct Children(Vec<Child>);

impl Drop for Children {
    fn drop(&mut self) {
        for child in &mut self.0 {
            let _ended_already = child.kill();
            let _ended_already = child.wait();
        }
    }
}

/// As many pipes, one reader that takes turns.
fn pipes(each: usize) -> Outcome<Sample> {
    let meter = Meter::start(&[]);
    let mut children = Children(Vec::new());
    let mut outs = VecDeque::new();
    for _ in 0..MEMBERS {
        let [sh, flag, script] = writer(each);
        let mut child = Command::new(sh).arg(flag).arg(script).stdout(Stdio::piped()).spawn()?;
        outs.extend(child.stdout.take());
        children.0.push(child);
    }
    let (mut buffer, mut bytes) = (vec![0; 1 << 16], 0);
    while let Some(mut out) = outs.pop_front() {
        let n = out.read(&mut buffer)?;
        bytes += n;
        if n > 0 {
            outs.push_back(out);
        }
    }
    for child in &mut children.0 {
        child.wait()?;
    }
    Ok(sample(bytes, &meter))
}

/// A peer whose stdout is counted.
fn counted<'a>(
    name: &str,
    package: &str,
    bytes: usize,
    words: Vec<OsString>,
    from: Option<&'a Path>,
) -> Racer<'a> {
    let Some(path) = peers::find(&words[0].to_string_lossy()) else {
        return Racer::absent(Who::Peer, name, peers::absent(package));
    };
    Racer::new(Who::Peer, name, move || {
        let meter = Meter::start(&[]);
        let stdin = from.map_or(Ok(Stdio::null()), |file| std::fs::File::open(file).map(Into::into))?;
        let mut child = Command::new(&path)
            .args(&words[1..])
            .stdin(stdin)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()?;
        let mut out = child.stdout.take().ok_or("it has no stdout")?;
        let mut text = Vec::new();
        let (mut buffer, mut came) = (vec![0; 1 << 16], 0);
        loop {
            let n = out.read(&mut buffer)?;
            came += n;
            if from.is_some() {
                text.extend(&buffer[..n]);
            }
            if n == 0 {
                break;
            }
        }
        child.wait()?;
        let whole = match from {
            Some(_) => sum(&text) == bytes / 64,
            None => came >= bytes,
        };
        if whole { Ok(sample(bytes, &meter)) } else { Err(format!("{came} bytes came").into()) }
    })
}

/// The sum of the numbers in some lines.
fn sum(text: &[u8]) -> usize {
    String::from_utf8_lossy(text).split_whitespace().filter_map(|word| word.parse::<usize>().ok()).sum()
}

fn dealt<'a>(name: &str, cloud: &'a Cloud, mode: &'a str, data: &'a [u8]) -> Racer<'a> {
    let mut connection = None;
    Racer::new(Who::Us, name, move || {
        if connection.is_none() {
            connection = Some(connect(cloud)?);
        }
        let c = connection.as_mut().ok_or("there is no connection")?;
        let meter = Meter::start(&cloud.pids());
        let ctl = made(c, &format!("stdin {mode}\nstdout lines\nrun each node!=n0 -- wc -l\n"))?;
        let (fid, _) = c.walk(ctl, "../stdin");
        c.send(Op::Open { fid, access: WRITE });
        let mut under_way = VecDeque::new();
        let size = c.max_io() as usize;
        for (at, part) in data.chunks(size).enumerate() {
            if under_way.len() == UNDER_WAY
                && let Some(tag) = under_way.pop_front()
            {
                c.wait_for(tag).map_err(|error| format!("stdin: {error}"))?;
            }
            under_way.push_back(c.send(Op::Write { fid, offset: (at * size) as u64, data: part.to_vec() }));
        }
        for tag in under_way {
            c.wait_for(tag).map_err(|error| format!("stdin: {error}"))?;
        }
        told(c, ctl, b"close stdin\n")?;
        let mut text = Vec::new();
        drained(c, ctl, "stdout", |data| text.extend(data))?;
        let sample = sample(data.len(), &meter);
        told(c, ctl, b"free\n")?;
        [fid, ctl].into_iter().for_each(|fid| c.clunk(fid));
        match sum(&text) == data.len() / 64 {
            true => Ok(sample),
            false => Err(format!("{} lines arrived of {}", sum(&text), data.len() / 64).into()),
        }
    })
}

/// As many pipes, written to in turn, in blocks of whole lines.
fn filled(data: &[u8]) -> Outcome<Sample> {
    let meter = Meter::start(&[]);
    let mut children = Children(Vec::new());
    for _ in 0..MEMBERS {
        let child = Command::new("wc").arg("-l").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        children.0.push(child);
    }
    for (at, block) in data.chunks(1 << 16).enumerate() {
        let stdin = children.0[at % MEMBERS].stdin.as_mut().ok_or("it has no stdin")?;
        stdin.write_all(block)?;
    }
    let mut text = Vec::new();
    for child in &mut children.0 {
        drop(child.stdin.take());
    }
    for child in &mut children.0 {
        child.stdout.take().ok_or("it has no stdout")?.read_to_end(&mut text)?;
        child.wait()?;
    }
    if sum(&text) == data.len() / 64 {
        Ok(sample(data.len(), &meter))
    } else {
        Err("lines are missing".into())
    }
}

/// Outputs of eight members merged, and one input dealt to them.
pub(crate) fn flow(run: &Run) -> Outcome<()> {
    let each = run.count(32 << 20, 1 << 16);
    let cloud = Cloud::of_daemons(MEMBERS + 1, MEMBERS)?;
    let words = |words: &[&str]| words.iter().map(OsString::from).collect::<Vec<_>>();
    let [_, _, script] = writer(each);
    let numbers: Vec<String> = (0..MEMBERS).map(|number| number.to_string()).collect();
    let racers = vec![
        merged("stdout lines, records of all as they come", &cloud, "lines", 0, each),
        merged("stdout tag", &cloud, "tag", 3, each),
        merged("stdout rank", &cloud, "rank", 0, each),
        Racer::new(Who::Floor, "eight pipes, read in turn", || pipes(each)),
        counted(
            "pdsh -R exec, on this machine",
            "pdsh",
            MEMBERS * each,
            words(&["pdsh", "-N", "-R", "exec", "-w", "[1-8]", "sh", "-c", &script]),
            None,
        ),
        counted(
            "GNU parallel --line-buffer, on this machine",
            "parallel",
            MEMBERS * each,
            [
                words(&["parallel", "--will-cite", "--line-buffer", "-j8", "-n0", &script, ":::"]),
                words(&numbers.iter().map(String::as_str).collect::<Vec<_>>()),
            ]
            .concat(),
            None,
        ),
    ];
    let title = format!("{MEMBERS} × {} MB of lines of 64 bytes, from {MEMBERS} daemons", each as f64 / 1e6);
    race("flow", title, &[("MB/s", Better::More)], run.repeats, racers).show(run.smoke)?;

    let folder = folder()?;
    let file = folder.path().join("lines");
    let data = format!("{LINE}\n").repeat(MEMBERS * each / 64).into_bytes();
    std::fs::write(&file, &data)?;
    let racers = vec![
        dealt("stdin robin, eight × wc -l", &cloud, "robin", &data),
        dealt("stdin hash", &cloud, "hash", &data),
        Racer::new(Who::Floor, "eight pipes, a block each in turn", || filled(&data)),
        counted(
            "split -n r/8, on this machine",
            "coreutils",
            data.len(),
            words(&["split", "-n", "r/8", "--filter=wc -l"]),
            Some(&file),
        ),
        counted(
            "GNU parallel --pipe -j8, on this machine",
            "parallel",
            data.len(),
            words(&["parallel", "--will-cite", "--pipe", "-j8", "wc -l"]),
            Some(&file),
        ),
    ];
    let title = format!("{} MB of lines of 64 bytes dealt to {MEMBERS} daemons", data.len() as f64 / 1e6);
    race("flow", title, &[("MB/s", Better::More)], run.repeats, racers).show(run.smoke)
}
