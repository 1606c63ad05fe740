//! `uem top`: a live page of all nodes and what runs on them. Without a terminal, or with `--once`, one look as text.

mod page;

use crate::at::Common;
use crate::failure::{Failure, Outcome};
use crate::id::Id;
use crate::nodes::{self, Found};
use crate::on::{On, Ons};
use crate::tree::{self, Record};
use host::client::Connection;
use page::{Page, Row};
use ratatui::crossterm::event::{self, Event, KeyCode, KeyEventKind, KeyModifiers};
use std::collections::BTreeMap;
use std::io::Write;
use std::time::{Duration, Instant};

/// Watch what runs: q leaves, k ends the chosen session, arrows choose
#[derive(clap::Args, Clone, Debug)]
pub(crate) struct Args {
    /// One look, as text; so it is too if stdout is no terminal
    #[arg(long)]
    once: bool,
    /// Only on this node, or in this place: b, n[1-3], tree/gw, phys/site/rack (repeatable)
    #[arg(long, value_name = "NODE", value_parser = On::parse_all)]
    on: Vec<Ons>,
    /// Between looks
    #[arg(long, value_name = "TIME", default_value = "1s", value_parser = |text: &str| op::parse_span(text).ok_or("write 1s or 500ms"))]
    every: Duration,
}

pub(crate) fn run(common: &Common, args: &Args) -> Outcome {
    let mut node = common.connect()?;
    let mut looks = Looks::default();
    if args.once || !rustix::termios::isatty(rustix::stdio::stdout()) {
        let page = looks.look(&mut node, &args.on)?;
        std::io::stdout().write_all(page.text().as_bytes())?;
        return Ok(0);
    }
    let mut terminal = ratatui::try_init()?;
    let result = live(&mut terminal, &mut node, &mut looks, args);
    ratatui::restore();
    result
}

fn live(
    terminal: &mut ratatui::DefaultTerminal,
    node: &mut Connection,
    looks: &mut Looks,
    args: &Args,
) -> Outcome {
    let mut page = looks.look(node, &args.on)?;
    let mut next = Instant::now() + args.every;
    loop {
        terminal.draw(|frame| page.draw(frame))?;
        if event::poll(next.saturating_duration_since(Instant::now()))? {
            if let Event::Key(key) = event::read()?
                && key.kind == KeyEventKind::Press
            {
                let control = key.modifiers.contains(KeyModifiers::CONTROL);
                match (key.code, page.asks()) {
                    (KeyCode::Char('c'), _) if control => return Ok(0),
                    (KeyCode::Char('y'), Some(session)) => {
                        let said = end(node, &session);
                        page.answered(said);
                    }
                    (_, Some(_)) => page.answered(String::new()),
                    (KeyCode::Char('q') | KeyCode::Esc, None) => return Ok(0),
                    (KeyCode::Char('k'), None) => page.ask(),
                    (KeyCode::Up, None) => page.choose(-1),
                    (KeyCode::Down, None) => page.choose(1),
                    (_, None) => {}
                }
            }
            continue;
        }
        let fresh = looks.look(node, &args.on)?;
        page.renew(fresh);
        next = Instant::now() + args.every;
    }
}

/// Ends a session; what there is to say of it.
fn end(node: &mut Connection, session: &str) -> String {
    let Ok(id) = Id::parse(session) else { return String::new() };
    match node.write_file(&id.file("ctl"), b"kill\n") {
        Ok(()) => format!("{session} was told to end"),
        Err(error) => format!("{session}: {error}"),
    }
}

/// Processor time of each session at the last look, for the share since then.
#[derive(Default)]
struct Looks {
    before: BTreeMap<String, (Instant, f64)>,
}

impl Looks {
    fn look(&mut self, node: &mut Connection, on: &[Ons]) -> Result<Page, Failure> {
        let one = if let [ons] = on { ons.one() } else { None };
        let file = one.map_or_else(|| "info.json".into(), |on| format!("{}/info.json", on.dir));
        let info = match (node.read_file(&file), one) {
            (Ok(info), _) => tree::record(&info)?,
            // What is known of a node that is down is in its row; what is wrong with a place is said below.
            (Err(_), Some(_)) => Record::new(),
            (Err(error), None) => return Err(error.into()),
        };
        let Found { nodes, sessions } = nodes::sessions(node, on, "info.json")?;
        let now = Instant::now();
        let mut before = std::mem::take(&mut self.before);
        let all = sessions.len();
        let running = sessions.iter().filter(|session| tree::text(session, "state") != "ended");
        let mut rows: Vec<Row> = running.map(|session| self.row(session, &mut before, now)).collect();
        rows.sort_by(|a, b| b.cpu.total_cmp(&a.cpu).then_with(|| a.path.cmp(&b.path)));
        Ok(Page::new(&nodes, &info, all, rows))
    }

    fn row(&mut self, session: &Record, before: &mut BTreeMap<String, (Instant, f64)>, now: Instant) -> Row {
        let path = tree::text(session, "path");
        let used = tree::number(session, "cpu_user") + tree::number(session, "cpu_sys");
        let real = tree::number(session, "real");
        // At first, the share of its whole life.
        let share = match before.remove(&path) {
            Some((at, then)) => (used - then) / now.saturating_duration_since(at).as_secs_f64().max(1e-3),
            None if real > 0.0 => used / real,
            None => 0.0,
        };
        self.before.insert(path.clone(), (now, used));
        Row {
            path: path.trim_start_matches("net/").into(),
            state: tree::text(session, "state"),
            user: tree::text(session, "user"),
            cpu: share.max(0.0) * 100.0,
            rss: tree::number(session, "maxrss") as u64,
            time: Duration::try_from_secs_f64(real).unwrap_or_default(),
            command: tree::text(session, "command").replace('\n', "\\n"),
        }
    }
}
