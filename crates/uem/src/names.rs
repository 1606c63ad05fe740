//! Names of many at once: `n[1-64,70]`, as ClusterShell and Slurm write them, and what they stand for.
//!
//! A list has names with commas between them; in a name, `[…]` stands for each number and range in it. A range whose
//! first number has zeros before it is padded to that width. More brackets than one are all their combinations. What follows a
//! `!` is left out: `n[1-64]!n[7-8]`. [`fold`] writes names so again.

use std::collections::{BTreeMap, BTreeSet};
use std::mem::take;

/// Most names that one word may stand for.
const MOST: usize = 10_000;

/// All names that a word stands for, in the order in which it names them.
pub(crate) fn expand(text: &str) -> Result<Vec<String>, String> {
    let mut all = Vec::new();
    for name in parts(text)? {
        let rest = MOST - all.len();
        all.extend(combinations(name, rest)?);
    }
    Ok(all)
}

/// All names of a list, but those that follow a `!`, in the order in which it names them, each once.
pub(crate) fn expand_set(text: &str) -> Result<Vec<String>, String> {
    let mut lists = text.split('!');
    let mut all = expand(lists.next().unwrap_or_default())?;
    let mut seen = BTreeSet::new();
    for list in lists {
        seen.extend(expand(list)?);
    }
    all.retain(|name| seen.insert(name.clone()));
    match all.is_empty() {
        true => Err(format!("{text:?}: nothing is left of it")),
        false => Ok(all),
    }
}

/// Names as few words, which [`expand`] reads back; sorted, numbers as numbers.
pub(crate) fn fold<'a>(names: impl IntoIterator<Item = &'a str>) -> String {
    let unique: BTreeSet<&str> = names.into_iter().collect();
    let mut all: Vec<Folded> = unique.into_iter().map(Folded::of).collect();
    // The last number first: in r1n1, r1n2 it is what counts nodes.
    let most = all.iter().map(|name| name.numbers.len()).max().unwrap_or(0);
    for at in (0..most).rev() {
        all = merged(all, at);
    }
    all.sort();
    all.iter().map(Folded::text).collect::<Vec<_>>().join(",")
}

/// Numbers that names are told apart by; in what is longer, digits are letters.
const DIMENSIONS: usize = 4;
const DIGITS: usize = 18;

/// A name, or several that differ in their numbers only.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Folded {
    /// Before, between and after the numbers: one more.
    texts: Vec<String>,
    /// Each with the width to which it is padded, if it is.
    numbers: Vec<(Vec<u64>, usize)>,
}

impl Folded {
    fn of(name: &str) -> Folded {
        let mut folded = Folded { texts: vec![String::new()], numbers: Vec::new() };
        for run in runs(name) {
            let number = run.parse::<u64>().ok().filter(|_| run.len() <= DIGITS);
            match number {
                Some(number)
                    if folded.numbers.len() < DIMENSIONS && run.starts_with(|c: char| c.is_ascii_digit()) =>
                {
                    let width = if run.len() > 1 && run.starts_with('0') { run.len() } else { 0 };
                    folded.numbers.push((vec![number], width));
                    folded.texts.push(String::new());
                }
                Some(_) | None => folded.texts.last_mut().expect("there is one always").push_str(run),
            }
        }
        folded
    }

    fn text(&self) -> String {
        let mut out = self.texts[0].clone();
        for ((numbers, width), after) in self.numbers.iter().zip(&self.texts[1..]) {
            let words: Vec<String> = ranges(numbers)
                .into_iter()
                .map(|(from, to)| match from == to {
                    true => format!("{from:0width$}"),
                    false => format!("{from:0width$}-{to:0width$}"),
                })
                .collect();
            match numbers.len() {
                1 => out.push_str(&words[0]),
                _ => out.push_str(&format!("[{}]", words.join(","))),
            }
            out.push_str(after);
        }
        out
    }
}

/// Joins what differs in the number at one place only.
fn merged(all: Vec<Folded>, at: usize) -> Vec<Folded> {
    let mut same: BTreeMap<Folded, Vec<(Vec<u64>, usize)>> = BTreeMap::new();
    let mut merged = Vec::new();
    for mut name in all {
        match name.numbers.get_mut(at) {
            Some(numbers) => {
                let numbers = take(numbers);
                same.entry(name).or_default().push(numbers);
            }
            None => merged.push(name),
        }
    }
    for (rest, numbers) in same {
        // 10 belongs to 08 and 09, and not to 8 and 9.
        let padded: BTreeSet<usize> = numbers.iter().map(|(_, width)| *width).collect();
        let mut by_width: BTreeMap<usize, BTreeSet<u64>> = BTreeMap::new();
        for (numbers, width) in numbers {
            let width_of = |n: u64| if width == 0 { n.to_string().len() } else { width };
            let of_all = numbers.first().map_or(0, |first| width_of(*first));
            let alike = numbers.iter().all(|n| width_of(*n) == of_all) && padded.contains(&of_all);
            by_width.entry(if alike { of_all } else { width }).or_default().extend(numbers);
        }
        for (width, numbers) in by_width {
            let mut name = rest.clone();
            name.numbers[at] = (numbers.into_iter().collect(), width);
            merged.push(name);
        }
    }
    merged
}

/// A name's pieces, of digits and of what is none, in turn.
fn runs(name: &str) -> impl Iterator<Item = &str> {
    let mut rest = name;
    std::iter::from_fn(move || {
        let digits = rest.chars().next()?.is_ascii_digit();
        let end = rest.find(|c: char| c.is_ascii_digit() != digits).unwrap_or(rest.len());
        let (run, after) = rest.split_at(end);
        rest = after;
        Some(run)
    })
}

/// Numbers that follow one another, first and last; they are sorted.
fn ranges(numbers: &[u64]) -> Vec<(u64, u64)> {
    let mut ranges: Vec<(u64, u64)> = Vec::new();
    for &number in numbers {
        match ranges.last_mut() {
            Some((_, last)) if *last + 1 == number => *last = number,
            _ => ranges.push((number, number)),
        }
    }
    ranges
}

/// What stands between commas that are in no brackets.
fn parts(text: &str) -> Result<Vec<&str>, String> {
    let mut parts = Vec::new();
    let (mut from, mut inside) = (0, false);
    for (at, c) in text.char_indices() {
        match (c, inside) {
            ('[', false) => inside = true,
            (']', true) => inside = false,
            ('[', true) | (']', false) => return Err(format!("{text:?}: its brackets do not match")),
            (',', false) => {
                parts.push(&text[from..at]);
                from = at + 1;
            }
            _ => {}
        }
    }
    parts.push(&text[from..]);
    match (inside, parts.iter().any(|part| part.is_empty())) {
        (true, _) => Err(format!("{text:?}: its brackets do not match")),
        (false, true) => Err(format!("{text:?}: a name is missing")),
        (false, false) => Ok(parts),
    }
}

fn combinations(name: &str, most: usize) -> Result<Vec<String>, String> {
    let Some((before, rest)) = name.split_once('[') else {
        return if most == 0 { Err(too_many()) } else { Ok(vec![name.into()]) };
    };
    let (set, after) = rest.split_once(']').unwrap_or((rest, ""));
    let afters = combinations(after, most)?;
    let mut all = Vec::new();
    for range in set.split(',') {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        let number = |digits: &str| {
            let plain = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
            digits.parse::<u64>().ok().filter(|_| plain)
        };
        let (Some(from), Some(to)) = (number(first), number(last)) else {
            return Err(format!("{name:?}: {range:?} is no number and no range such as 1-64"));
        };
        if from > to {
            return Err(format!("{name:?}: the range {range:?} is empty"));
        }
        let width = if first.starts_with('0') { first.len() } else { 0 };
        for number in from..=to {
            if all.len() + afters.len() > most {
                return Err(too_many());
            }
            all.extend(afters.iter().map(|after| format!("{before}{number:0width$}{after}")));
        }
    }
    Ok(all)
}

fn too_many() -> String {
    format!("that is more than {MOST} names")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sets_stand_for_their_names() {
        for (text, names) in [
            ("n", "n"),
            ("n1,b", "n1 b"),
            ("n[1-3]", "n1 n2 n3"),
            ("n[1-2,7]/3", "n1/3 n2/3 n7/3"),
            ("n[08-11]", "n08 n09 n10 n11"),
            ("r[1-2]n[1-2]", "r1n1 r1n2 r2n1 r2n2"),
            ("b/[4,6],c/1", "b/4 b/6 c/1"),
            ("n[5]x,y[1-2]", "n5x y1 y2"),
            ("n[0]", "n0"),
        ] {
            assert_eq!(expand(text).unwrap().join(" "), names, "{text}");
        }
    }

    #[test]
    fn what_is_no_set_is_said_to_be_none() {
        for text in
            ["", "n[", "n]", "n[[1]]", "n[]", "n[a-b]", "n[3-1]", "n[-1]", "n[1-]", "a,,b", "n[1,]", "n[+1]"]
        {
            assert!(expand(text).is_err(), "{text}");
        }
        for text in ["n[1-10001]", "n[1-9999999999999]", "a[1-1000]b[1-1000]", "a[1-9999],b,c"] {
            assert!(expand(text).is_err_and(|why| why.contains("more than")), "{text}");
        }
        assert_eq!(expand("n[1-10000]").unwrap().len(), 10_000);
    }

    #[test]
    fn what_follows_an_exclamation_mark_is_left_out() {
        for (text, names) in [
            ("n[1-5]!n3", "n1 n2 n4 n5"),
            ("n[1-5],b!n[2-4]!b", "n1 n5"),
            ("n[1-2]!n9", "n1 n2"),
            ("b,a,b", "b a"),
        ] {
            assert_eq!(expand_set(text).unwrap().join(" "), names, "{text}");
        }
        for text in ["n1!n1", "n1!", "!n1", "n[1-2]!n["] {
            assert!(expand_set(text).is_err(), "{text}");
        }
    }

    #[test]
    fn names_are_folded() {
        for (names, folded) in [
            ("", ""),
            ("n1", "n1"),
            ("n1 n2 n3 n7", "n[1-3,7]"),
            ("n10 n9 n8 b", "b,n[8-10]"),
            ("n08 n09 n10 n11", "n[08-11]"),
            ("n8 n9 n08 n09 n10", "n[8-9],n[08-10]"),
            ("n9 n10", "n[9-10]"),
            ("r1n1 r1n2 r2n1 r2n2", "r[1-2]n[1-2]"),
            ("r1n1 r1n2 r2n1", "r1n[1-2],r2n1"),
            ("n1.site n2.site", "n[1-2].site"),
            ("n1.s9 n2.s9", "n[1-2].s9"),
            ("gw a b", "a,b,gw"),
            ("0 1 2 3 70", "[0-3,70]"),
            ("n0 n00 n1", "n00,n[0-1]"),
            ("n99999999999999999999 n1", "n1,n99999999999999999999"),
        ] {
            assert_eq!(fold(names.split_whitespace()), folded, "{names}");
        }
    }

    /// All sets of some awkward names.
    #[test]
    fn what_is_folded_reads_back() {
        let names = [
            "a",
            "a1",
            "a01",
            "a2",
            "a10",
            "a9b1",
            "a9b2",
            "a10b1",
            "a1b2c3d4e5",
            "a1b2c3d4e6",
            "007",
            "0",
            "b-1.2",
        ];
        for bits in 1..1_u32 << names.len() {
            let some: Vec<&str> = names
                .iter()
                .enumerate()
                .filter(|(at, _)| bits >> at & 1 == 1)
                .map(|(_, name)| *name)
                .collect();
            let folded = fold(some.iter().copied());
            let back: BTreeSet<String> = expand(&folded).unwrap().into_iter().collect();
            assert!(
                back.iter().map(String::as_str).eq(some.iter().copied().collect::<BTreeSet<_>>()),
                "{folded}"
            );
        }
    }

    #[test]
    fn many_names_are_folded_at_once() {
        let odd: Vec<String> = (0..10_000).map(|n| format!("n{}-{}", n * 7919 % 10_007, n % 13)).collect();
        let started = std::time::Instant::now();
        let folded = fold(odd.iter().map(String::as_str));
        assert!(started.elapsed() < std::time::Duration::from_secs(2), "{:?}", started.elapsed());
        let plain: Vec<String> = (0..10_000).map(|n| format!("n{n}")).collect();
        assert_eq!(fold(plain.iter().map(String::as_str)), "n[0-9999]");
        assert!(folded.contains('['));
    }
}
