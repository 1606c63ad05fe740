//! The page of `uem top`: what it shows, which row is chosen, and whether a question is open.

use crate::nodes;
use crate::tree::{self, Record};
use ratatui::Frame;
use ratatui::layout::{Constraint, Layout};
use ratatui::style::{Modifier, Style};
use ratatui::text::Line;
use ratatui::widgets::{Cell, Paragraph, Row as TableRow, Table, TableState};
use std::time::Duration;

/// One session.
#[derive(Clone, Debug)]
pub(super) struct Row {
    pub(super) path: String,
    pub(super) state: String,
    pub(super) user: String,
    /// In percent of one processor.
    pub(super) cpu: f64,
    /// In bytes.
    pub(super) rss: u64,
    pub(super) time: Duration,
    pub(super) command: String,
}

/// What is shown.
#[derive(Clone, Debug)]
pub(super) struct Page {
    head: Vec<String>,
    rows: Vec<Row>,
    /// The session that is chosen, whichever row it is in.
    chosen: Option<String>,
    /// Whether it is asked if that is to be ended.
    asks: bool,
    /// What came of the last answer.
    said: String,
}

const TITLES: [&str; 7] = ["SESSION", "STATE", "USER", "CPU%", "MAXRSS", "TIME", "COMMAND"];

impl Row {
    fn cells(&self) -> [String; 7] {
        [
            self.path.clone(),
            self.state.clone(),
            self.user.clone(),
            format!("{:.1}", self.cpu),
            op::format_size(self.rss >> 20 << 20),
            op::format_span(self.time),
            self.command.clone(),
        ]
    }
}

/// Nodes that have a line each at the top.
const NODES: usize = 6;

fn node_line(row: &Record) -> String {
    let (name, state) = (tree::text(row, "node"), tree::text(row, "state"));
    match nodes::is_down(row) {
        true => format!("{name} down {}", nodes::down_since(row)).trim_end().into(),
        false => {
            let up = Duration::try_from_secs_f64(tree::number(row, "up_secs")).unwrap_or_default();
            let load = tree::number(row, "load");
            format!(
                "{name} {state} {}, {} users, load {load:.2}",
                op::format_span(up),
                tree::text(row, "users")
            )
        }
    }
}

impl Page {
    pub(super) fn new(nodes: &[Record], info: &Record, sessions: usize, rows: Vec<Row>) -> Page {
        let size = |key: &str| op::format_size((tree::number(info, key) as u64) >> 20 << 20);
        let mut facts = vec![nodes::counts(nodes)];
        // What the cloud remembers of its parts may be a heartbeat old; what is listed is counted.
        facts.push(format!("{sessions} sessions, {} running", rows.len()));
        facts.push(format!("{} processors", tree::text(info, "cpus")));
        facts.push(format!("{} of memory free of {}", size("mem_free"), size("mem")));
        let mut head = vec![facts.join("; ")];
        // Who is down comes first, since there is not room for everybody.
        let (down, up): (Vec<&Record>, Vec<&Record>) = nodes.iter().partition(|row| nodes::is_down(row));
        head.extend(down.iter().chain(&up).take(NODES).map(|row| node_line(row)));
        if nodes.len() > NODES {
            head.push(format!("… and {} more nodes (uem status)", nodes.len() - NODES));
        }
        Page { head, rows, chosen: None, asks: false, said: String::new() }
    }

    /// New rows under the same choice.
    pub(super) fn renew(&mut self, fresh: Page) {
        (self.head, self.rows) = (fresh.head, fresh.rows);
    }

    fn at(&self) -> Option<usize> {
        let chosen = self.chosen.as_ref()?;
        self.rows.iter().position(|row| row.path == *chosen)
    }

    /// The next row, or the one before.
    pub(super) fn choose(&mut self, step: isize) {
        let last = self.rows.len().saturating_sub(1);
        let next = self.at().map_or(0, |at| at.saturating_add_signed(step).min(last));
        self.chosen = self.rows.get(next).map(|row| row.path.clone());
    }

    /// Asks whether the chosen one is to be ended.
    pub(super) fn ask(&mut self) {
        self.asks = self.at().is_some();
        self.said = if self.asks { String::new() } else { "choose a session first, with the arrows".into() };
    }

    /// The session about which a question is open.
    pub(super) fn asks(&self) -> Option<String> {
        self.chosen.clone().filter(|_| self.asks)
    }

    /// It was answered.
    pub(super) fn answered(&mut self, said: String) {
        (self.asks, self.said) = (false, said);
    }

    fn foot(&self) -> String {
        match (self.asks(), self.said.is_empty()) {
            (Some(session), _) => format!("end {session}? y ends it, any other key does not"),
            (None, false) => self.said.clone(),
            (None, true) => "q leaves  ↑↓ choose  k ends".into(),
        }
    }

    pub(super) fn draw(&self, frame: &mut Frame<'_>) {
        let head_lines = u16::try_from(self.head.len()).unwrap_or(u16::MAX).min(frame.area().height / 2);
        let parts = [Constraint::Length(head_lines), Constraint::Min(1), Constraint::Length(1)];
        let [head, body, foot] = Layout::vertical(parts).areas(frame.area());
        frame.render_widget(
            Paragraph::new(self.head.iter().map(|line| Line::from(line.as_str())).collect::<Vec<_>>()),
            head,
        );
        let widths = [18, 9, 10, 6, 8, 10].map(Constraint::Length).into_iter().chain([Constraint::Fill(1)]);
        let rows = self.rows.iter().map(|row| TableRow::new(row.cells().map(Cell::from)));
        let bold = Style::new().add_modifier(Modifier::BOLD);
        let table = Table::new(rows, widths)
            .header(TableRow::new(TITLES.map(Cell::from)).style(bold))
            .row_highlight_style(Style::new().add_modifier(Modifier::REVERSED));
        frame.render_stateful_widget(table, body, &mut TableState::new().with_selected(self.at()));
        frame.render_widget(Line::styled(self.foot(), bold), foot);
    }

    /// All of it as text.
    pub(super) fn text(&self) -> String {
        let titles = TITLES.map(String::from).to_vec();
        let rows: Vec<Vec<String>> =
            [titles].into_iter().chain(self.rows.iter().map(|row| row.cells().to_vec())).collect();
        format!("{}\n{}", self.head.join("\n"), tree::table(&rows))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(path: &str, cpu: f64) -> Row {
        let (state, user, command) = ("running".into(), "me".into(), "x".into());
        Row { path: path.into(), state, user, cpu, rss: 0, time: Duration::ZERO, command }
    }

    #[test]
    fn the_choice_stays_with_its_session() {
        let page = |rows| Page::new(&[], &Record::new(), 0, rows);
        let mut shown = page(vec![row("n/1", 2.0), row("n/2", 1.0)]);
        shown.ask();
        assert_eq!(shown.asks(), None, "nothing is chosen");
        shown.choose(1);
        shown.choose(1);
        shown.choose(1);
        shown.renew(page(vec![row("n/2", 3.0), row("n/1", 2.0)]));
        assert_eq!(shown.at(), Some(0));
        shown.ask();
        assert_eq!(shown.asks().as_deref(), Some("n/2"));
        shown.answered("done".into());
        assert_eq!((shown.asks(), shown.foot().as_str()), (None, "done"));
        shown.renew(page(Vec::new()));
        shown.ask();
        assert_eq!(shown.asks(), None, "it is gone");
    }

    fn node(line: &str) -> Record {
        tree::record(line.as_bytes()).unwrap()
    }

    #[test]
    fn it_draws_and_is_text_without_a_terminal() {
        let nodes = [node(r#"{"node":"n","state":"up","up_secs":60,"users":1,"load":0.5}"#)];
        let page = Page::new(&nodes, &Record::new(), 1, vec![row("n/1", 12.34)]);
        let mut terminal = ratatui::Terminal::new(ratatui::backend::TestBackend::new(80, 6)).unwrap();
        terminal.draw(|frame| page.draw(frame)).unwrap();
        let drawn = format!("{:?}", terminal.backend().buffer());
        for text in [drawn, page.text()] {
            let wanted = ["1 up; ", "n up 00:01:00, 1 users, load 0.50", "n/1", "12.3"];
            assert!(wanted.iter().all(|wanted| text.contains(wanted)), "{text}");
        }
    }

    #[test]
    fn who_is_down_is_shown_before_who_is_up() {
        let up = |at| node(&format!(r#"{{"node":"n{at}","state":"up"}}"#));
        let mut nodes: Vec<Record> = (0..20).map(up).collect();
        nodes.push(node(r#"{"node":"b","state":"down","since":"then"}"#));
        let text = Page::new(&nodes, &Record::new(), 0, Vec::new()).text();
        let lines: Vec<&str> = text.lines().collect();
        assert!(lines[0].starts_with("20 up, 1 down; "), "{text}");
        assert_eq!((lines[1], lines[7]), ("b down since then", "… and 15 more nodes (uem status)"));
    }
}
