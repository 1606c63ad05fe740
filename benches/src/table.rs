//! Races and their tables: who runs, interleaved; medians and spread; JSON lines beside what is printed.

use serde_json::json;
use std::io::Write;
use std::sync::OnceLock;

/// What a bench can fail with.
pub(crate) type Outcome<T> = Result<T, Box<dyn std::error::Error>>;

/// What one run gave: a value a column, and CPU microseconds of all processes concerned for each piece of work.
pub(crate) struct Sample {
    pub(crate) values: Vec<f64>,
    pub(crate) cpu_us: f64,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Who {
    Us,
    Peer,
    Floor,
}

/// Which way is better.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Better {
    More,
    Less,
}

type Run<'a> = Box<dyn FnMut() -> Outcome<Sample> + 'a>;

/// Somebody who takes part.
pub(crate) struct Racer<'a> {
    who: Who,
    name: String,
    note: String,
    /// What is missing, in place of a run.
    run: Result<Run<'a>, String>,
    /// Runs at most so often, because it is slow.
    most: usize,
}

impl<'a> Racer<'a> {
    pub(crate) fn new(
        who: Who,
        name: impl Into<String>,
        run: impl FnMut() -> Outcome<Sample> + 'a,
    ) -> Racer<'a> {
        Racer { who, name: name.into(), note: String::new(), run: Ok(Box::new(run)), most: usize::MAX }
    }

    /// One that cannot run here, and why.
    pub(crate) fn absent(who: Who, name: impl Into<String>, why: impl Into<String>) -> Racer<'a> {
        Racer { who, name: name.into(), note: String::new(), run: Err(why.into()), most: 0 }
    }

    pub(crate) fn most(self, most: usize) -> Racer<'a> {
        Racer { most, ..self }
    }
}

struct Row {
    who: Who,
    name: String,
    note: String,
    /// A list a column.
    values: Vec<Vec<f64>>,
    cpu_us: Vec<f64>,
}

/// The result of a race.
pub(crate) struct Table {
    bench: &'static str,
    title: String,
    columns: Vec<(&'static str, Better)>,
    rows: Vec<Row>,
    promises: Vec<(String, bool)>,
}

/// What the note of a row begins with that could not go on.
const FAILED: &str = "failed:";

/// Only rows with this in their names are run (`--only`): to look into one, not to compare it.
pub(crate) static ONLY: OnceLock<String> = OnceLock::new();

/// Runs everybody in turn, `repeats` times.
pub(crate) fn race(
    bench: &'static str,
    title: impl Into<String>,
    columns: &[(&'static str, Better)],
    repeats: usize,
    racers: Vec<Racer<'_>>,
) -> Table {
    let title = title.into();
    let mut runs = Vec::new();
    let wanted = |racer: &Racer<'_>| ONLY.get().is_none_or(|only| racer.name.contains(only));
    for racer in racers.into_iter().filter(wanted) {
        let mut row = Row {
            who: racer.who,
            name: racer.name,
            note: racer.note,
            values: vec![Vec::new(); columns.len()],
            cpu_us: Vec::new(),
        };
        let run = racer.run.map_err(|why| row.note = why).ok();
        runs.push((row, run, racer.most));
    }
    for turn in 0..repeats {
        for (row, run, most) in &mut runs {
            let (true, Some(go)) = (turn < *most, run.as_mut()) else { continue };
            eprint!("\r\x1b[K{bench}: {title}: {}/{repeats} {}", turn + 1, row.name);
            match go() {
                Ok(sample) => {
                    assert_eq!(sample.values.len(), columns.len(), "a value a column");
                    row.values.iter_mut().zip(sample.values).for_each(|(list, value)| list.push(value));
                    row.cpu_us.push(sample.cpu_us);
                }
                Err(error) => {
                    row.note = format!("{FAILED} {error}");
                    *run = None;
                }
            }
        }
    }
    eprint!("\r\x1b[K");
    let rows = runs.into_iter().map(|(row, ..)| row).collect();
    Table { bench, title, columns: columns.to_vec(), rows, promises: Vec::new() }
}

pub(crate) fn median(list: &[f64]) -> f64 {
    quantile(list, 0.5)
}

/// The value below which so much of the list lies.
pub(crate) fn quantile(list: &[f64], part: f64) -> f64 {
    let mut sorted = list.to_vec();
    sorted.sort_by(f64::total_cmp);
    match sorted.len() {
        0 => f64::NAN,
        n if part == 0.5 && n % 2 == 0 => (sorted[n / 2 - 1] + sorted[n / 2]) / 2.0,
        n => sorted[((n - 1) as f64 * part).round() as usize],
    }
}

impl Table {
    /// The median of a row's column; NaN if it did not run.
    pub(crate) fn value(&self, name: &str, column: usize) -> f64 {
        let row = self.rows.iter().find(|row| row.name.starts_with(name));
        row.map_or(f64::NAN, |row| median(&row.values[column]))
    }

    /// The median CPU of a row.
    pub(crate) fn cpu_us(&self, name: &str) -> f64 {
        let row = self.rows.iter().find(|row| row.name.starts_with(name));
        row.map_or(f64::NAN, |row| median(&row.cpu_us))
    }

    /// Holds a figure against a promise; says nothing about what did not run.
    pub(crate) fn promise(&mut self, words: &str, figure: f64, kept: impl Fn(f64) -> bool) {
        if figure.is_finite() {
            self.promises.push((format!("{words}: {}", short(figure)), kept(figure)));
        }
    }

    /// Prints the table, and appends it to `target/bench/NAME.json`.
    pub(crate) fn show(&self, smoke: bool) -> Outcome<()> {
        let width = self.rows.iter().map(|row| row.name.chars().count()).max().unwrap_or(0).max(12);
        println!("\n## {} — {}\n", self.bench, self.title);
        print!("| who | {:width$} |", "what");
        for (column, _) in &self.columns {
            print!(" {column:>10} | {:>17} |", "min..max");
        }
        println!(" CPU µs each | to us | runs |");
        println!("|---|---|{}--:|--:|--:|", "--:|--:|".repeat(self.columns.len()));
        let us = self.rows.iter().find(|row| row.who == Who::Us && !row.cpu_us.is_empty());
        for row in &self.rows {
            let who = match row.who {
                Who::Us => "us",
                Who::Peer => "peer",
                Who::Floor => "floor",
            };
            print!("| {who:5} | {:width$} |", row.name);
            if row.cpu_us.is_empty() {
                println!(" – {} |", row.note);
                continue;
            }
            for list in &row.values {
                let spread = format!("{}..{}", short(quantile(list, 0.0)), short(quantile(list, 1.0)));
                print!(" {:>10} | {spread:>17} |", short(median(list)));
            }
            let ratio = us.map_or(f64::NAN, |us| median(&row.values[0]) / median(&us.values[0]));
            let note = if row.note.is_empty() { String::new() } else { format!(" {}", row.note) };
            let cpu = if median(&row.cpu_us).is_finite() { short(median(&row.cpu_us)) } else { "–".into() };
            println!(" {cpu:>11} | {ratio:.2} | {} |{note}", row.cpu_us.len());
        }
        println!();
        // A smoke run proves nothing, and so promises nothing.
        for (words, kept) in self.promises.iter().filter(|_| !smoke) {
            println!("- {} {words}", if *kept { "kept:" } else { "NOT KEPT:" });
        }
        self.write(smoke, us)?;
        // A peer may be broken here; we and the floors may not.
        match self.rows.iter().find(|row| row.who != Who::Peer && row.note.starts_with(FAILED)) {
            Some(row) => Err(format!("{}: {} {}", self.bench, row.name, row.note).into()),
            None => Ok(()),
        }
    }

    fn write(&self, smoke: bool, us: Option<&Row>) -> Outcome<()> {
        let dir = crate::world::results();
        std::fs::create_dir_all(&dir)?;
        let path = dir.join(format!("{}.json", self.bench));
        let mut file = std::fs::OpenOptions::new().create(true).append(true).open(path)?;
        let at = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH)?.as_secs();
        for row in &self.rows {
            for ((column, better), list) in self.columns.iter().zip(&row.values) {
                let ratio = us.map(|us| median(&row.values[0]) / median(&us.values[0]));
                let line = json!({
                    "bench": self.bench, "table": self.title, "at": at, "smoke": smoke,
                    "who": format!("{:?}", row.who).to_lowercase(), "name": row.name, "column": column,
                    "better": format!("{better:?}").to_lowercase(), "median": median(list),
                    "min": quantile(list, 0.0), "max": quantile(list, 1.0), "runs": list,
                    "cpu_us": median(&row.cpu_us), "ratio_to_us": ratio, "note": row.note,
                });
                writeln!(file, "{line}")?;
            }
        }
        for (words, kept) in &self.promises {
            let line = json!({ "bench": self.bench, "table": self.title, "at": at, "smoke": smoke, "promise": words, "kept": kept });
            writeln!(file, "{line}")?;
        }
        Ok(())
    }
}

/// A number as people read it: three or four digits that mean something.
fn short(x: f64) -> String {
    match x.abs() {
        _ if !x.is_finite() => "–".into(),
        a if a >= 100.0 => format!("{x:.0}"),
        a if a >= 10.0 => format!("{x:.1}"),
        a if a >= 1.0 => format!("{x:.2}"),
        _ => format!("{x:.3}"),
    }
}
