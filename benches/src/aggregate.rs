//! A look at a thousand nodes, and at ten thousand: what is read of all of them at once, from memory and cold, and what that says
//! on each link. A thousand are real nodes with real links; ten thousand are the kernels alone, in this process.

use crate::Run;
use crate::cloud::{Cloud, text};
use crate::cost::Meter;
use crate::many::Many;
use crate::peers;
use crate::remote::figure;
use crate::table::{Better, Outcome, Racer, Sample, Who, race};
use crate::world::uem;
use host::client::Connection;
use std::collections::BTreeMap;
use std::process::{Command, Stdio};
use std::time::Duration;

/// Children of a node: a thousand nodes are then the root and three levels below it.
const FAN: usize = 10;

/// Reads a file or lists a directory; it must have so many lines.
fn look(node: &mut Connection, path: &str, count: usize) -> Outcome<()> {
    let rows = match path {
        "net" => node.list(path).map_err(|error| error.to_string())?.len(),
        _ => text(node, path)?.lines().count(),
    };
    if rows == count { Ok(()) } else { Err(format!("{path} has {rows} rows, not {count}").into()) }
}

/// A new connection each time, or one that is kept.
fn us<'a>(name: &str, cloud: &'a Cloud, at: usize, cold: bool, path: &'a str, rows: usize) -> Racer<'a> {
    let mut kept = None;
    Racer::new(Who::Us, name, move || {
        let pids = cloud.pids();
        if cold {
            kept = None;
        }
        let meter = Meter::start(&pids);
        let mut node = match kept.take() {
            Some(node) => node,
            None => cloud.connect(at)?,
        };
        let times = if cold { 1 } else { 10 };
        for _ in 0..times {
            look(&mut node, path, rows)?;
        }
        let sample = figure(meter.seconds() * 1e3 / times as f64, meter.cpu_us(times));
        kept = Some(node);
        Ok(sample)
    })
}

/// `cat net`, `status` and `tree/…/status` over a thousand nodes.
pub(crate) fn aggregate(run: &Run) -> Outcome<()> {
    let count = run.count(1_000, 25);
    uem()?;
    let cloud = Cloud::of_threads(count, FAN)?;
    let leaf = count - 1;
    // Node 1 and all that is below it.
    let below = (0..count)
        .filter(|number| {
            let mut at = *number;
            while at > 1 {
                at = (at - 1) / FAN;
            }
            at == 1
        })
        .count();
    let file = tempfile::NamedTempFile::new()?;
    std::fs::write(file.path(), text(&mut cloud.connect(0)?, "status")?)?;
    let repeats = run.repeats * 2;
    let racers = vec![
        us("status at the root, from memory", &cloud, 0, false, "status", count),
        us("status at a leaf, three links away", &cloud, leaf, false, "status", count),
        us("status at a leaf, with connecting", &cloud, leaf, true, "status", count),
        us("ls net at the root", &cloud, 0, false, "net", count),
        us("ls net at a leaf", &cloud, leaf, false, "net", count),
        us("topology at a leaf", &cloud, leaf, false, "topology", count),
        us("tree/n0/n1/status at the root", &cloud, 0, false, "tree/n0/n1/status", below),
        Racer::new(Who::Us, "uem status, at a leaf, with its own start", || {
            let meter = Meter::start(&cloud.pids());
            let mut command = Command::new(uem()?);
            command.arg("--state").arg(cloud.dir(leaf)).arg("status");
            peers::run(command.stdin(Stdio::null()).stdout(Stdio::null()))?;
            Ok(figure(meter.seconds() * 1e3, meter.cpu_us(1)))
        }),
        Racer::new(Who::Floor, "a file with the same text, read", || {
            let meter = Meter::start(&[]);
            let bytes = std::fs::read(file.path())?;
            assert!(!bytes.is_empty(), "there is something to read");
            Ok(figure(meter.seconds() * 1e3, meter.cpu_us(1)))
        }),
        clush(count).most(2),
    ];
    let title = format!(
        "all of {count} nodes: threads of a few processes, real links, fan-out {FAN}, names that do not fold"
    );
    let mut table = race("aggregate", title, &[("ms", Better::Less)], repeats, racers);
    let (memory, cold) = (table.value("status at the root", 0), table.value("status at a leaf, with", 0));
    table.promise("1,000 nodes ≤ 3 ms from memory", memory, |x| x <= 3.0);
    table.promise("1,000 nodes ≤ 60 ms cold", cold, |x| x <= 60.0);
    table.show(run.smoke)?;
    messages(run, &cloud)?;
    drop(cloud);
    kernels(run)
}

/// `query/os=linux/status` over kernels alone: with terms that nobody asked before, and from memory; and the messages that the busiest link
/// carries for it.
fn kernels(run: &Run) -> Outcome<()> {
    let counts = if run.smoke { [25, 600] } else { [1_000, 10_000] };
    let mut tables = Vec::new();
    for count in counts {
        let mut many = Many::new(count);
        let mut asked = 0;
        let mut look = |at: usize, cold: bool| -> Outcome<Sample> {
            let meter = Meter::start(&[]);
            asked += 1;
            let new = if cold { format!("cpus!={}/", 1_000 + asked) } else { String::new() };
            many.most_said();
            let lines = many.read(at, &format!("query/os=linux/{new}status"))?;
            if lines != count {
                return Err(format!("{lines} rows of {count}").into());
            }
            let values = vec![meter.seconds() * 1e3, many.most_said() as f64];
            Ok(Sample { values, cpu_us: meter.cpu_us(1) })
        };
        let look = std::cell::RefCell::new(&mut look);
        let racer = |name: &str, at: usize, cold: bool| {
            let look = &look;
            Racer::new(Who::Us, format!("{name}, {count}"), move || (look.borrow_mut())(at, cold))
        };
        let racers = vec![
            racer("at the root, cold", 0, true),
            racer("at the root, from memory", 0, false),
            racer("at a leaf, cold", count - 1, true),
            racer("at a leaf, from memory", count - 1, false),
        ];
        let columns = [("ms", Better::Less), ("messages, most on a link", Better::Less)];
        let title = format!("query/os=linux/status over {count} kernels in one process, no IO");
        let mut table = race("aggregate", title, &columns, run.repeats * 2, racers);
        let (cold, memory) = (table.value("at a leaf, cold", 0), table.value("at the root, from memory", 0));
        if count == 10_000 {
            table.promise("10,000 nodes ≤ 600 ms cold", cold, |x| x <= 600.0);
        } else {
            table.promise("1,000 nodes ≤ 60 ms cold", cold, |x| x <= 60.0);
            table.promise("1,000 nodes ≤ 3 ms from memory", memory, |x| x <= 3.0);
        }
        tables.push(table.value("at a leaf, cold", 1));
        table.show(run.smoke)?;
    }
    match tables[..] {
        [few, many] if few < many => {
            Err(format!("a link carries {few} messages, and {many} for more nodes").into())
        }
        _ => Ok(()),
    }
}

/// The same by a program that asks each node, here a local command for each.
fn clush<'a>(count: usize) -> Racer<'a> {
    let name = "clush -R exec, a local command each";
    if peers::find("clush").is_none() {
        return Racer::absent(Who::Peer, name, peers::absent("clustershell"));
    }
    Racer::new(Who::Peer, name, move || {
        let meter = Meter::start(&[]);
        let mut command = Command::new("clush");
        command.args(["-R", "exec", "-q", "-b", "-w", &format!("n[0-{}]", count - 1), "echo", "up"]);
        peers::run(command.stdin(Stdio::null()).stdout(Stdio::null()))?;
        Ok(figure(meter.seconds() * 1e3, meter.cpu_us(1)))
    })
}

/// Segments with data that each end of each connection on loopback has sent, as ss(8) tells.
fn segments() -> Outcome<BTreeMap<String, u64>> {
    let output = Command::new("ss").args(["-tinHO", "state", "established"]).output()?;
    let text = String::from_utf8_lossy(&output.stdout);
    let mut all = BTreeMap::new();
    for line in text.lines() {
        let words: Vec<&str> = line.split_whitespace().collect();
        let sent = words.iter().find_map(|word| word.strip_prefix("data_segs_out:")?.parse().ok());
        if let (Some(from), Some(to), Some(sent)) = (words.get(2), words.get(3), sent) {
            all.insert(format!("{from} {to}"), sent);
        }
    }
    Ok(all)
}

/// What is said on each link in two seconds in which so many times everything is read: the link that says most.
fn messages(run: &Run, cloud: &Cloud) -> Outcome<()> {
    let span = Duration::from_secs(if run.smoke { 1 } else { 4 });
    let reads = run.count(100, 3);
    let said = |at: Option<usize>| -> Outcome<Sample> {
        let (before, begun) = (segments()?, std::time::Instant::now());
        if let Some(at) = at {
            let mut node = cloud.connect(at)?;
            for _ in 0..reads {
                look(&mut node, "status", cloud.count)?;
            }
        }
        std::thread::sleep(span.saturating_sub(begun.elapsed()));
        let after = segments()?;
        let mut each: Vec<u64> = after
            .iter()
            .map(|(link, sent)| sent - before.get(link).copied().unwrap_or(0).min(*sent))
            .collect();
        each.sort_unstable();
        let most = each.last().copied().unwrap_or(0) as f64;
        let all: u64 = each.iter().sum();
        Ok(Sample { values: vec![most, all as f64], cpu_us: f64::NAN })
    };
    let racers = vec![
        Racer::new(Who::Us, "nobody asks", || said(None)),
        Racer::new(Who::Us, format!("status {reads} times at the root"), || said(Some(0))),
        Racer::new(Who::Us, format!("status {reads} times at a leaf"), || said(Some(cloud.count - 1))),
    ];
    if peers::find("ss").is_none() {
        println!("not counted: segments on each link, which ss (iproute2) tells");
        return Ok(());
    }
    let columns = [("most on one", Better::Less), ("on all links", Better::Less)];
    let title = format!("segments sent in {} s over links of {} nodes", span.as_secs(), cloud.count);
    race("aggregate", title, &columns, run.repeats.min(3), racers).show(run.smoke)
}
